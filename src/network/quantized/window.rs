//! The windows of convolutions and pools, with the padding that a node leaves to be computed from
//! the size of its input.

use tract_onnx::pb::NodeProto;

use super::super::graph::{attribute, int};
use super::read::{Fit, malformed, unsuited};
use crate::int8::Window;

/// The window of a Conv, MaxPool or AveragePool node on a picture of height and width `size`, where
/// they are known. `kernel` is that of the weights.
pub(in crate::network) fn window(
    node: &NodeProto,
    kernel: Option<[usize; 2]>,
    size: Option<[usize; 2]>,
) -> Fit<Window> {
    let declared = pair(node, "kernel_shape", kernel)?;
    if kernel.is_some_and(|kernel| kernel != declared) {
        return malformed(format!("its kernel_shape is {declared:?}, its weights say otherwise"));
    }
    let mut window = Window {
        kernel: declared,
        strides: pair(node, "strides", Some([1, 1]))?,
        dilations: pair(node, "dilations", Some([1, 1]))?,
        pads: [0; 4],
    };
    let size = || size.map_or_else(|| unsuited("the size of its input is not known"), Ok);
    let rounds_up = int(node, "ceil_mode", 0) != 0;
    match attribute(node, "auto_pad").map_or(&b"NOTSET"[..], |a| &a.s) {
        b"NOTSET" | b"" => {
            window.pads = pads(node)?;
            if rounds_up {
                round_up(&mut window, size()?);
            }
        }
        b"VALID" if rounds_up => return unsuited("its size is rounded up without padding"),
        b"VALID" => {}
        b"SAME_UPPER" => pad_for_same(&mut window, size()?, false),
        b"SAME_LOWER" => pad_for_same(&mut window, size()?, true),
        other => {
            return malformed(format!("its auto_pad is {:?}", String::from_utf8_lossy(other)));
        }
    }
    Ok(window)
}

fn pair(node: &NodeProto, name: &str, default: Option<[usize; 2]>) -> Fit<[usize; 2]> {
    let given = match attribute(node, name).map(|a| &a.ints[..]) {
        None => return default.map_or_else(|| malformed(format!("it has no {name}")), Ok),
        Some(&[down, across]) => [down, across],
        Some(other) => return unsuited(format!("its {name} are {other:?}")),
    };
    match given.map(usize::try_from) {
        [Ok(down), Ok(across)] if down > 0 && across > 0 => Ok([down, across]),
        _ => malformed(format!("its {name} are {given:?}")),
    }
}

fn pads(node: &NodeProto) -> Fit<[usize; 4]> {
    let Some(pads) = attribute(node, "pads") else { return Ok([0; 4]) };
    let sides: Option<Vec<usize>> = pads.ints.iter().map(|&pad| pad.try_into().ok()).collect();
    match sides.as_deref() {
        Some(&[top, left, bottom, right]) => Ok([top, left, bottom, right]),
        _ => unsuited(format!("its pads are {:?}", pads.ints)),
    }
}

/// How many pixels a window reaches along an axis.
fn extent(window: &Window, axis: usize) -> usize {
    (window.kernel[axis] - 1) * window.dilations[axis] + 1
}

/// The padding with which a window has `size / stride` places, rounded up.
fn pad_for_same(window: &mut Window, size: [usize; 2], more_before: bool) {
    for (axis, size) in size.into_iter().enumerate() {
        let steps = size.div_ceil(window.strides[axis]).saturating_sub(1);
        let reach = steps * window.strides[axis] + extent(window, axis);
        let total = reach.saturating_sub(size);
        let (less, more) = (total / 2, total.div_ceil(2));
        let (before, after) = if more_before { (more, less) } else { (less, more) };
        (window.pads[axis], window.pads[axis + 2]) = (before, after);
    }
}

/// Pads for one more place where the last pixels do not fill a stride, unless it would begin behind
/// the picture.
fn round_up(window: &mut Window, size: [usize; 2]) {
    for (axis, size) in size.into_iter().enumerate() {
        let (stride, before) = (window.strides[axis], window.pads[axis]);
        let padded = before + size + window.pads[axis + 2];
        let Some(beyond) = padded.checked_sub(extent(window, axis)) else { continue };
        let last = beyond.next_multiple_of(stride);
        if last < before + size {
            window.pads[axis + 2] += last - beyond;
        }
    }
}
