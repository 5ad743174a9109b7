//! One photograph's XML file, as of Pascal VOC; ImageNet's are like it.

use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};

use super::{numbers, read_text, rect_of_pixels, size_of};
use crate::error::{Error, Result};
use crate::geometry::{Rect, Size};

/// The largest file that is read: 500 boxes. The parser compares each attribute of a node with all
/// others, which takes minutes for a hostile file of 1 MiB.
const LARGEST_FILE: u64 = 128 << 10;

/// So many namespaces are let pass. The parser hands all of them to every node; a small file of many
/// would take hours.
const MOST_NAMESPACES: usize = 8;

/// What an XML file says.
#[derive(Debug, PartialEq)]
pub struct Annotation {
    /// Of the photograph.
    pub file_name: Option<String>,
    pub size: Option<Size>,
    /// The name of each thing and its box.
    pub things: Vec<(String, Rect)>,
}

impl Annotation {
    /// Reads a file whose first pixel is `first`: 1 in Pascal VOC, 0 in ImageNet.
    ///
    /// # Errors
    /// The file cannot be read, is not such XML, or has a box that cannot be one; its line names
    /// the file.
    pub fn read(path: &Path, first: u32) -> Result<Self> {
        let text = read_text(path, LARGEST_FILE)?;
        Self::parse(&text, first).map_err(|error| error.within(&path.display().to_string()))
    }

    fn parse(text: &str, first: u32) -> Result<Self> {
        if text.matches("xmlns").count() > MOST_NAMESPACES {
            return Err(Error::invalid("broken XML: too many namespaces"));
        }
        // Without a document type there are no entities to expand.
        let options = ParsingOptions { nodes_limit: 1 << 18, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text, options)
            .map_err(|error| Error::invalid(format!("broken XML: {error}")))?;
        let root = document.root_element();
        let size = match child(root, "size") {
            Some(size) => {
                let sides = [text_of(size, "width")?, text_of(size, "height")?];
                Some(size_of(numbers(&sides)?)?)
            }
            None => None,
        };
        let objects = root.children().filter(|node| node.has_tag_name("object"));
        Ok(Self {
            file_name: text_of(root, "filename").ok().map(str::to_owned),
            size,
            things: objects.map(|object| thing(object, first)).collect::<Result<_>>()?,
        })
    }
}

fn thing(object: Node, first: u32) -> Result<(String, Rect)> {
    let name = text_of(object, "name")?;
    let within = |error: Error| error.within(name);
    let rect = child(object, "bndbox")
        .ok_or_else(|| Error::invalid("<bndbox> is missing"))
        .and_then(|bndbox| {
            let sides = ["xmin", "ymin", "xmax", "ymax"].map(|side| text_of(bndbox, side));
            let sides = sides.into_iter().collect::<Result<Vec<_>>>()?;
            let [x0, y0, x1, y1] = numbers(&sides)?;
            // Some files that call themselves VOC count from 0.
            let from_0 = |pixel: f64| (pixel - f64::from(first)).max(0.0);
            rect_of_pixels([from_0(x0), from_0(y0), from_0(x1), from_0(y1)])
        })
        .map_err(within)?;
    Ok((name.to_owned(), rect))
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn text_of<'a>(node: Node<'a, '_>, name: &str) -> Result<&'a str> {
    let text = child(node, name).and_then(|child| child.text()).map(str::trim);
    text.filter(|t| !t.is_empty()).ok_or_else(|| Error::invalid(format!("<{name}> is missing")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "<annotation><filename>a.jpg</filename>\
        <size><width>500</width><height>375</height><depth>3</depth></size>\
        <object><name>cat</name><bndbox><xmin>1</xmin><ymin>11</ymin><xmax>10</xmax><ymax>20</ymax></bndbox>\
        <part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part></object>\
        <object><name>dog</name><bndbox><ymin>5</ymin><xmin>5.0</xmin><ymax>5</ymax><xmax>5</xmax></bndbox></object>\
        </annotation>";

    #[test]
    fn a_file_names_its_photograph_and_boxes_its_things() {
        let found = Annotation::parse(TWO, 1).unwrap();
        let things =
            vec![("cat".into(), Rect::new(0, 10, 10, 20)), ("dog".into(), Rect::new(4, 4, 5, 5))];
        let expected =
            Annotation { file_name: Some("a.jpg".into()), size: Some(Size::new(500, 375)), things };
        assert_eq!(found, expected);
        assert_eq!(Annotation::parse(TWO, 0).unwrap().things[0].1, Rect::new(1, 11, 11, 21));
    }

    #[test]
    fn hostile_files_are_one_line() {
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;\">]><a>&c;</a>";
        let deep = "<a>".repeat(300_000);
        let spaces: String = (0..6000).map(|i| format!("<a xmlns:b{i}=\"u{i}\">")).collect();
        let nan = TWO.replace("500", "NaN");
        let reversed = TWO.replace("<xmax>10<", "<xmax>0<").replace("<xmin>1<", "<xmin>9<");
        let unnamed = TWO.replace("<name>cat</name>", "");
        for text in ["", "<annotation>", "not XML", bomb, &deep, &spaces, &nan, &reversed, &unnamed]
        {
            let line = Annotation::parse(text, 1).unwrap_err().to_string();
            assert!(!line.is_empty() && line.len() < 200, "{line}");
        }
    }
}
