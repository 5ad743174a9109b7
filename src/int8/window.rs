//! Windows that slide over pictures.

use std::ops::Range;

use super::Shape;

/// A window that slides over a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Height and width.
    pub kernel: [usize; 2],
    /// Rows and pixels between two places of the window.
    pub strides: [usize; 2],
    /// Rows and pixels between two rows and pixels of the window.
    pub dilations: [usize; 2],
    /// Rows and pixels added around the picture: top, left, bottom, right.
    pub pads: [usize; 4],
}

impl Window {
    /// The whole of the window is one pixel, and it stops at each.
    pub const POINT: Self =
        Self { kernel: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0] };

    pub(super) fn check(&self) -> Result<(), String> {
        let limit = 1 << 16;
        for (what, values) in
            [("kernel", self.kernel), ("strides", self.strides), ("dilations", self.dilations)]
        {
            if values.iter().any(|&value| value == 0 || value > limit) {
                return Err(format!("{what} {values:?} of a window are not in 1..={limit}"));
            }
        }
        if self.pads.iter().any(|&pad| pad > limit) {
            return Err(format!("pads {:?} of a window are above {limit}", self.pads));
        }
        Ok(())
    }

    /// From the window's first to its last row (0) or pixel (1), both counted.
    #[inline(always)]
    pub(super) fn extent(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }

    /// How many places the window has, down and across.
    pub(super) fn places(&self, shape: Shape) -> [usize; 2] {
        [shape.height, shape.width].iter().enumerate().fold([0, 0], |mut places, (axis, &size)| {
            let padded = size + self.pads[axis] + self.pads[axis + 2];
            let extent = self.extent(axis);
            places[axis] = if padded < extent || size == 0 {
                0
            } else {
                (padded - extent) / self.strides[axis] + 1
            };
            places
        })
    }

    /// The place of one tap along an axis (0 down, 1 across) in the picture, if not in its padding.
    #[inline(always)]
    pub(super) fn tap(&self, axis: usize, place: usize, tap: usize, size: usize) -> Option<usize> {
        let padded = place * self.strides[axis] + tap * self.dilations[axis];
        padded.checked_sub(self.pads[axis]).filter(|&at| at < size)
    }

    /// The places along an axis where the window lies in the picture whole.
    #[inline(always)]
    pub(super) fn inside(&self, axis: usize, size: usize) -> Range<usize> {
        let (pad, stride) = (self.pads[axis], self.strides[axis]);
        let end = (size + pad).checked_sub(self.extent(axis)).map_or(0, |last| last / stride + 1);
        pad.div_ceil(stride)..end
    }

    /// Calls `each` for every tap of the window at a place that lies in the picture, row by row,
    /// with the number of the tap and of the pixel.
    #[inline(always)]
    pub(super) fn taps(
        &self,
        [y, x]: [usize; 2],
        shape: Shape,
        mut each: impl FnMut(usize, usize),
    ) {
        for tap_y in 0..self.kernel[0] {
            let Some(row) = self.tap(0, y, tap_y, shape.height) else { continue };
            for tap_x in 0..self.kernel[1] {
                let Some(column) = self.tap(1, x, tap_x, shape.width) else { continue };
                each(tap_y * self.kernel[1] + tap_x, row * shape.width + column);
            }
        }
    }

    /// The shape of the output of a pool; one pixel a place of the window.
    pub fn output_shape(&self, shape: Shape) -> Shape {
        let [height, width] = self.places(shape);
        Shape { height, width, channels: shape.channels }
    }
}
