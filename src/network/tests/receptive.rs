//! Receptive fields against the pixels that change a cell when they change.

use super::super::mapping::double;
use super::super::receptive::{ReceptiveField, Span, find};
use super::super::{Mapping, ModelOptions, Network};
use super::*;
use crate::geometry::Rect;

/// Checks a network of `nodes` from `x` to `maps`, on pictures of `size`.
fn checked(nodes: Vec<NodeProto>, weights: Vec<TensorProto>, size: Size) -> Checked {
    let pool = node("GlobalAveragePool", &["maps"], "output", []);
    let mut model = model([nodes, vec![pool]].concat(), weights);
    let dims = [1, 3, size.height.into(), size.width.into()];
    model.graph.as_mut().unwrap().input = vec![value("x", DataType::Float, &dims)];
    check_proto(model).unwrap()
}

/// The smallest rectangle around the pixels that change each cell: cell by cell, rows from the top.
fn seen(checked: &Checked, size: Size) -> (usize, Vec<Option<Rect>>) {
    let mut engine = Engine::new(checked, size, MEANS).unwrap();
    let (width, area) = (size.width, size.area() as usize);
    let mut activations = |lit: Option<usize>| {
        let mut fill = |tensor: Picture| {
            let Picture::Floats(tensor) = tensor else { panic!("floats are expected") };
            tensor.fill(1.0);
            lit.iter().for_each(|&pixel| tensor[pixel] = 3.0);
        };
        engine.fill(&mut fill).unwrap();
        let mut out = Activations::default();
        engine.run(&mut out).unwrap();
        out.features
    };
    let dark = activations(None);
    let mut rects = vec![None; dark.width * dark.height];
    for pixel in 0..area {
        let (x, y) = (pixel as u32 % width, pixel as u32 / width);
        let bright = activations(Some(pixel));
        for ((rect, a), b) in rects.iter_mut().zip(dark.places()).zip(bright.places()) {
            if a != b {
                let Rect { x0, y0, x1, y1 } = rect.unwrap_or(Rect::new(x, y, x, y));
                *rect = Some(Rect::new(x0.min(x), y0.min(y), x1.max(x + 1), y1.max(y + 1)));
            }
        }
    }
    (dark.width, rects)
}

/// Asserts that the field of every cell is what changes it.
#[track_caller]
fn assert_seen(nodes: Vec<NodeProto>, weights: Vec<TensorProto>, size: Size) {
    assert_seen_by(&checked(nodes, weights, size), size);
}

#[track_caller]
fn assert_seen_by(checked: &Checked, size: Size) {
    let field = find(checked, size).unwrap();
    let (width, rects) = seen(checked, size);
    assert!(rects.len() > 1);
    for (cell, rect) in rects.into_iter().enumerate() {
        assert_eq!(
            Some(field.of(cell % width, cell / width, size)),
            rect,
            "cell {cell}: {field:?}"
        );
    }
}

/// A weight of ones for a convolution of three channels.
fn ones(name: &str, down: i64, across: i64) -> TensorProto {
    floats(name, &[3, 3, down, across], &vec![0.1; (9 * down * across) as usize])
}

fn same(way: &str) -> AttributeProto {
    AttributeProto { s: way.into(), r#type: 3, ..attribute("auto_pad") }
}

#[test]
fn convolutions_with_strides_and_pads() {
    let nodes = vec![
        node("Conv", &["x", "a"], "1", [ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1])]),
        node("Relu", &["1"], "2", []),
        node("Conv", &["2", "b"], "maps", [ints("strides", &[1, 2]), ints("pads", &[1, 0, 0, 1])]),
    ];
    assert_seen(nodes, vec![ones("a", 3, 3), ones("b", 2, 3)], Size::new(13, 10));
}

#[test]
fn padding_that_depends_on_the_size_of_the_picture() {
    for way in ["SAME_UPPER", "SAME_LOWER"] {
        for size in [Size::new(9, 12), Size::new(10, 11)] {
            let nodes = vec![
                node("Conv", &["x", "a"], "1", [ints("strides", &[2, 2]), same(way)]),
                node("Conv", &["1", "b"], "maps", [ints("strides", &[2, 2]), same(way)]),
            ];
            assert_seen(nodes, vec![ones("a", 3, 3), ones("b", 2, 2)], size);
        }
    }
}

#[test]
fn dilated_windows_and_pools() {
    let nodes = vec![
        node("Conv", &["x", "a"], "1", [ints("dilations", &[2, 1]), ints("pads", &[2, 1, 2, 1])]),
        node(
            "AveragePool",
            &["1"],
            "maps",
            [ints("kernel_shape", &[3, 2]), ints("strides", &[3, 2]), int("ceil_mode", 1)],
        ),
    ];
    assert_seen(nodes, vec![ones("a", 3, 3)], Size::new(7, 8));
}

#[test]
fn ways_that_meet_see_what_either_sees() {
    let nodes = vec![
        node("Conv", &["x", "a"], "1", [ints("pads", &[0, 1, 0, 1])]),
        node("Conv", &["x", "b"], "2", [ints("pads", &[1, 0, 1, 0])]),
        node("Concat", &["1", "2"], "maps", [int("axis", 1)]),
    ];
    assert_seen(nodes, vec![ones("a", 1, 3), ones("b", 3, 1)], Size::new(6, 5));
}

#[test]
fn maps_made_finer() {
    let (halves, size) = (ints("strides", &[2, 2]), Size::new(16, 12));
    let pads = || ints("pads", &[1, 1, 1, 1]);
    let nodes = vec![
        node("Conv", &["x", "a"], "1", [halves.clone(), pads()]),
        node("Conv", &["1", "b"], "2", [halves, pads()]),
        node("Conv", &["2", "c"], "maps", [pads()]),
    ];
    let mut checked = checked(nodes, ["a", "b", "c"].map(|name| ones(name, 3, 3)).into(), size);
    let before = find(&checked, size).unwrap();
    double(&mut checked).unwrap();
    let after = find(&checked, size).unwrap();
    assert_eq!((before.down.stride, after.down.stride), (4, 2));
    assert_seen_by(&checked, size);
}

#[test]
fn padding_as_a_node() {
    let nodes = vec![
        node("Pad", &["x"], "1", [ints("pads", &[0, 0, 1, 2, 0, 0, 0, 1])]),
        node("Conv", &["1", "a"], "maps", [ints("strides", &[2, 2])]),
    ];
    let checked = checked(nodes, vec![ones("a", 3, 3)], Size::new(8, 7));
    let down = Span { size: 3, stride: 2, first: -1 };
    let across = Span { size: 3, stride: 2, first: -2 };
    assert_eq!(find(&checked, Size::new(8, 7)), Some(ReceptiveField { down, across }));
}

#[test]
fn a_gate_that_looks_at_the_whole_picture_leaves_no_smaller_field() {
    let nodes = vec![
        node("Relu", &["x"], "1", []),
        node("GlobalAveragePool", &["1"], "2", []),
        node("Mul", &["1", "2"], "maps", []),
    ];
    let size = Size::new(4, 2);
    assert_eq!(find(&checked(nodes, vec![], size), size), None);
}

#[test]
fn the_embedded_network_sees_more_than_its_input_whatever_the_mapping_resolution() {
    for (mapping, stride) in [(Mapping::Whole, 32), (Mapping::Double, 16), (Mapping::Fourfold, 8)] {
        let network = Network::load(&ModelOptions { mapping, ..Default::default() }).unwrap();
        let field = network.receptive_field().unwrap();
        for span in [field.down, field.across] {
            // From the kernels, strides and dilations of its layers.
            assert_eq!((span.size, span.stride), (851, stride), "{mapping:?}");
            // Cells at either end see equally far beyond the picture, but for the padding that
            // leans to one side.
            let cells = i64::from(network.map_size().width);
            let beyond = span.first + (cells - 1) * stride + span.size - 224;
            assert!((beyond + span.first).abs() <= 32, "{mapping:?}: {span:?}");
        }
    }
}
