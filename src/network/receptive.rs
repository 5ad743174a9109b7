//! How much of the picture a cell of the last feature maps sees.

use std::collections::HashMap;

use serde::Serialize;
use tract_onnx::pb::NodeProto;

use super::check::Checked;
use super::graph::{Graph, attribute, int};
use super::quantized::window::window;
use crate::geometry::{Rect, Size};
use crate::int8::Shape;

/// No picture reaches so far.
const FARTHEST: u64 = 1 << 32;

/// Operators whose result at a place depends on the same place of their inputs.
const PLACE_BY_PLACE: [&str; 38] = [
    "Abs",
    "Add",
    "BatchNormalization",
    "Cast",
    "Celu",
    "Clip",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LRN",
    "LeakyRelu",
    "Log",
    "Max",
    "Mean",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "PRelu",
    "Pow",
    "QuantizeLinear",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Sum",
    "Tanh",
    "ThresholdedRelu",
];

/// The receptive fields of the cells of the last feature maps: the pixels of the network's input
/// that a cell can depend on, by the geometry of the windows in between. They are rectangles of one
/// size, evenly spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ReceptiveField {
    pub down: Span,
    pub across: Span,
}

/// Receptive fields along an axis, in pixels of the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Pixels that a cell sees.
    pub size: i64,
    /// From the first pixel of a cell to that of the next.
    pub stride: i64,
    /// First pixel of the first cell; below 0 where that lies in the padding.
    pub first: i64,
}

impl ReceptiveField {
    /// The part of an input of size `input` that the cell in column `x` and row `y` sees.
    pub fn of(&self, x: usize, y: usize, input: Size) -> Rect {
        let range = |span: Span, cell: usize, side: u32| {
            let first = span.first + cell as i64 * span.stride;
            let inside = |pixel: i64| pixel.clamp(0, side.into()) as u32;
            (inside(first), inside(first + span.size))
        };
        let ((x0, x1), (y0, y1)) =
            (range(self.across, x, input.width), range(self.down, y, input.height));
        Rect { x0, y0, x1, y1 }
    }
}

/// Follows the windows from an input of size `input` to the feature maps. Where ways of different
/// reach meet, the cell sees what any of them sees. None where some way has a node that looks at the
/// whole picture, or at places that its attributes do not tell.
pub(super) fn find(checked: &Checked, input: Size) -> Option<ReceptiveField> {
    let proto = checked.proto.graph.as_ref()?;
    let graph = Graph::new(proto);
    let pixel = Span { size: 1, stride: 1, first: 0 };
    let picture = Seen {
        spans: [pixel; 2],
        places: [input.height as usize, input.width as usize],
        channels_last: checked.input.channels_last,
    };
    // What depends on the picture.
    let mut seen = HashMap::from([(checked.input.name.as_str(), Some(picture))]);
    for node in &proto.node {
        let inputs = node.input.iter().filter_map(|name| seen.get(name.as_str()).copied());
        let Some(before) = inputs.reduce(|a, b| a?.join(b?)) else { continue };
        let after = before.and_then(|before| before.through(&graph, node));
        seen.extend(node.output.iter().map(|name| (name.as_str(), after)));
    }
    let Seen { spans: [down, across], .. } = (*seen.get(checked.head.features.as_str())?)?;
    Some(ReceptiveField { down, across })
}

/// What the places of a tensor see of the picture.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Down and across.
    spans: [Span; 2],
    places: [usize; 2],
    channels_last: bool,
}

impl Seen {
    /// What places see through either.
    fn join(self, other: Self) -> Option<Self> {
        if self.places != other.places || self.channels_last != other.channels_last {
            return None;
        }
        let mut spans = self.spans;
        for (a, b) in spans.iter_mut().zip(other.spans) {
            if a.stride != b.stride {
                return None;
            }
            let end = (a.first + a.size).max(b.first + b.size);
            a.first = a.first.min(b.first);
            a.size = end - a.first;
        }
        Some(Self { spans, ..self })
    }

    /// What the places of a node's outputs see.
    fn through(self, graph: &Graph, node: &NodeProto) -> Option<Self> {
        let op = node.op_type.as_str();
        match op {
            "Conv" | "MaxPool" | "AveragePool" if !self.channels_last => self.window(graph, node),
            "Pad" => self.pad(graph, node),
            "Transpose" => {
                let perm = &attribute(node, "perm")?.ints[..];
                let wanted: [i64; 4] = if self.channels_last { [0, 3, 1, 2] } else { [0, 2, 3, 1] };
                (perm == wanted).then_some(Self { channels_last: !self.channels_last, ..self })
            }
            "Concat" | "Split" => {
                let axis = int(node, "axis", 0);
                let channels = if self.channels_last { 3 } else { 1 };
                (axis.rem_euclid(4) == channels).then_some(self)
            }
            _ => PLACE_BY_PLACE.contains(&op).then_some(self),
        }
    }

    fn window(mut self, graph: &Graph, node: &NodeProto) -> Option<Self> {
        let kernel = match node.op_type.as_str() {
            "Conv" => match graph.shape(node.input.get(1)?)?[..] {
                [_, _, down, across] if down > 0 && across > 0 => Some([down, across]),
                _ => return None,
            },
            _ => None,
        };
        let window = window(node, kernel, Some(self.places)).ok()?;
        for (axis, span) in self.spans.iter_mut().enumerate() {
            let reach = (window.kernel[axis] - 1) * window.dilations[axis];
            *span = Span {
                size: span.size.checked_add(span.stride.checked_mul(reach as i64)?)?,
                stride: span.stride.checked_mul(window.strides[axis] as i64)?,
                first: before(*span, window.pads[axis] as i64)?,
            };
        }
        let [height, width] = self.places;
        let shape = window.output_shape(Shape { height, width, channels: 1 });
        self.places = [shape.height, shape.width];
        self.bounded()
    }

    fn pad(mut self, graph: &Graph, node: &NodeProto) -> Option<Self> {
        if node.input.get(3).is_some_and(|axes| !axes.is_empty()) {
            return None;
        }
        let pads = match (attribute(node, "pads"), node.input.get(1)) {
            (Some(pads), _) => pads.ints.clone(),
            (None, name) => graph.constant(name?)?.values.iter().map(|&pad| pad as i64).collect(),
        };
        let &[_, a, b, c, _, d, e, f] = &pads[..] else { return None };
        let pads = if self.channels_last { [[a, d], [b, e]] } else { [[b, e], [c, f]] };
        for (axis, [begin, end]) in pads.into_iter().enumerate() {
            self.spans[axis].first = before(self.spans[axis], begin)?;
            let places = i64::try_from(self.places[axis]).ok()?;
            self.places[axis] = places.checked_add(begin)?.checked_add(end)?.try_into().ok()?;
        }
        self.bounded()
    }

    /// None where it is so large that sums of it could overflow.
    fn bounded(self) -> Option<Self> {
        let near = |span: &Span| {
            [span.size, span.stride, span.first].iter().all(|far| far.unsigned_abs() <= FARTHEST)
        };
        let small = |&places: &usize| places as u64 <= FARTHEST;
        (self.spans.iter().all(near) && self.places.iter().all(small)).then_some(self)
    }
}

/// Where the first place sees from, after so many places were put before it.
fn before(span: Span, pad: i64) -> Option<i64> {
    span.first.checked_sub(span.stride.checked_mul(pad)?)
}
