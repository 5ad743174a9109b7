//! Counts what a protobuf file makes a decoder allocate, before it is decoded.
//!
//! An empty message of two bytes becomes a structure of hundreds: without this, a hostile file
//! within the size limit could ask for a hundred times its size.

/// The messages of onnx.proto that hold others.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Value,
    Type,
    TensorType,
    Shape,
    Annotation,
    /// Holds no message.
    Flat,
}

/// What the field `number` of `message` holds, where that is a message.
fn field(message: Message, number: u64) -> Option<Message> {
    use Message::*;
    Some(match (message, number) {
        (Model, 7) | (Training, 1 | 2) | (Attribute, 6 | 11) => Graph,
        (Model, 20) => Training,
        (Model, 25) => Function,
        (Model, 8 | 14) | (Training, 3 | 4) | (Tensor, 3 | 13) | (Shape, 1) | (Annotation, 2) => {
            Flat
        }
        (Function, 9) => Flat,
        (Graph, 1) | (Function, 7) => Node,
        (Function, 11) | (Node, 5) => Attribute,
        (Graph, 5) | (Attribute, 5 | 10) | (Sparse, 1 | 2) => Tensor,
        (Graph, 15) | (Attribute, 22 | 23) => Sparse,
        (Graph, 11..=13) => Value,
        (Graph, 14) => Annotation,
        (Value, 2) | (Attribute, 14 | 15) => Type,
        (Type, 1) => TensorType,
        (TensorType, 2) => Shape,
        _ => return None,
    })
}

/// How deep messages may nest: a model holds a graph, a node, an attribute, a tensor.
const MAX_DEPTH: usize = 32;

/// Refuses what is no protobuf of a model, or holds more than `limit` fields.
pub(super) fn check(bytes: &[u8], limit: usize) -> Result<(), String> {
    let mut left = limit;
    walk(bytes, Message::Model, MAX_DEPTH, &mut left)
}

fn walk(mut bytes: &[u8], message: Message, depth: usize, left: &mut usize) -> Result<(), String> {
    let broken = || "it is not an ONNX model, or is cut off".to_owned();
    while !bytes.is_empty() {
        *left = left.checked_sub(1).ok_or("it holds more fields than any network needs")?;
        let key = varint(&mut bytes).ok_or_else(broken)?;
        let length = match key & 7 {
            0 => varint(&mut bytes).map(|_| 0),
            1 => Some(8),
            2 => varint(&mut bytes),
            5 => Some(4),
            _ => None,
        };
        let length = length.and_then(|n| usize::try_from(n).ok()).ok_or_else(broken)?;
        let (content, rest) = bytes.split_at_checked(length).ok_or_else(broken)?;
        bytes = rest;
        if key & 7 == 2
            && let Some(inner) = field(message, key >> 3)
        {
            let depth = depth.checked_sub(1).ok_or("its messages nest too deep")?;
            walk(content, inner, depth, left)?;
        }
    }
    Ok(())
}

/// Takes a number of up to ten bytes, seven bits each, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for i in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(7 * i).unwrap_or(0);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_empty_messages_are_refused() {
        let nodes: Vec<u8> = [0x0a, 0].repeat(60);
        let model = [&[0x3a, 120], &nodes[..]].concat();
        assert_eq!(check(&model, 61), Ok(()));
        assert!(check(&model, 60).unwrap_err().contains("more fields"));
    }

    #[test]
    fn a_field_that_ends_after_the_file_is_refused() {
        assert!(check(&[0x3a, 120, 0x0a], 100).is_err());
        assert!(check(&[0x80; 20], 100).is_err());
    }

    #[test]
    fn deep_nesting_is_refused() {
        // A graph in an attribute of a node of a graph, and so on.
        let mut message: Vec<u8> = Vec::new();
        for i in 0..45 {
            let tag = [0x32, 0x2a, 0x0a][i % 3];
            let mut outer = vec![tag];
            let mut length = message.len();
            while length >= 0x80 {
                outer.push(length as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            outer.append(&mut message);
            message = outer;
        }
        let mut left = 1000;
        let error = walk(&message, Message::Graph, MAX_DEPTH, &mut left).unwrap_err();
        assert!(error.contains("too deep"), "{error}");
    }
}
