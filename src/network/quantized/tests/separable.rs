//! Depthwise convolutions joined with the pointwise ones around them.

use super::super::super::backend::Means;
use super::builder::{Builder, Random, Real, int, ints};
use super::random::{Network, rewritten};
use crate::int8::Isa;

/// Convolutions of 1 x 1 and, depthwise, of 3 x 3 of a picture, with 48 channels between them, which
/// the network's output is a sum of, too, where `read_twice`; and one of 1 x 1 behind them, where the
/// network `projects`.
fn network(size: [usize; 2], read_twice: bool, projects: bool) -> Network {
    let mut builder = Builder::new(3);
    let convolution = |builder: &mut Builder, from: &Real, outputs, kernel, groups| {
        let inputs = from.channels / groups;
        let [weights, bias] = builder.weights(&[outputs, inputs, kernel, kernel], from.scale);
        let attributes = vec![ints("pads", &[kernel / 2; 4]), int("group", groups as i64)];
        let made = builder.node("Conv", &[&from.tensor, &weights, &bias], attributes);
        builder.requantized(&made, outputs, size)
    };
    let from = builder.requantized("x", 3, size);
    let from = convolution(&mut builder, &from, 4, 1, 1);
    let between = convolution(&mut builder, &from, 48, 1, 1);
    let mut maps = convolution(&mut builder, &between, 48, 3, 48);
    if read_twice {
        let sum = builder.node("Add", &[&between.tensor, &maps.tensor], vec![]);
        maps = builder.requantized(&sum, 48, size);
    }
    if projects {
        maps = convolution(&mut builder, &maps, 24, 1, 1);
    }
    builder.classified(&maps, "GlobalAveragePool", size)
}

/// How many operators fewer an instruction set with kernels for joined convolutions has than the
/// reference, which gives the same numbers.
#[track_caller]
fn joined(size: [usize; 2], read_twice: bool, projects: bool) -> usize {
    let mut random = Random(5);
    let picture: Vec<f32> = (0..3 * size[0] * size[1]).map(|_| random.real()).collect();
    let run = |isa| {
        let means = Means { isa: Some(isa), threads: 1 };
        rewritten(network(size, read_twice, projects), &picture, size, means)
    };
    let [(expected, reference), (found, report)] = [Isa::Scalar, Isa::Emulated16].map(run);
    assert_eq!((found, report.left), (expected, vec![]));
    reference.operators - report.operators
}

#[test]
fn a_large_picture_between_two_convolutions_is_not_stored() {
    assert_eq!(joined([64, 64], false, false), 1);
}

#[test]
fn a_small_picture_between_them_is() {
    assert_eq!(joined([16, 16], false, false), 0);
}

#[test]
fn so_is_one_that_is_read_twice() {
    assert_eq!(joined([64, 64], true, false), 0);
}

#[test]
fn a_projection_joins_pictures_of_any_size() {
    assert_eq!(joined([16, 16], false, true), 1);
    assert_eq!(joined([64, 64], false, true), 2);
}

#[test]
fn it_does_not_where_it_is_not_the_only_one_to_read() {
    assert_eq!(joined([16, 16], true, true), 0);
}
