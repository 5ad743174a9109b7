//! Averages and maxima over windows.

use super::{Isa, Quantization, Shape, expect_len, reference};

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

    /// How many places the window has, down and across.
    pub(super) fn places(&self, shape: Shape) -> [usize; 2] {
        [shape.height, shape.width].iter().enumerate().fold([0, 0], |mut places, (axis, &size)| {
            let padded = size + self.pads[axis] + self.pads[axis + 2];
            let extent = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
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

    fn output_shape(&self, shape: Shape) -> Shape {
        let [height, width] = self.places(shape);
        Shape { height, width, channels: shape.channels }
    }
}

/// The mean over a window.
///
/// `y = clamp(round(m / sy + zy))` to 0..=255, where `m` is the sum of the dequantized bytes
/// `sx * (x - zx)`, added in `f32` row by row, divided by their number.
#[derive(Debug, Clone)]
pub struct AveragePool {
    window: Window,
    count_include_pad: bool,
    input: Quantization,
    output: Quantization,
}

impl AveragePool {
    /// A mean over windows. With `count_include_pad` padding counts as zeros, else it does not
    /// count.
    ///
    /// # Errors
    /// A window with a kernel or stride of 0, a dilation other than 1, or padding not less than the
    /// kernel; a scale that is not positive and finite.
    pub fn new(
        window: Window,
        count_include_pad: bool,
        input: Quantization,
        output: Quantization,
        isa: Isa,
    ) -> Result<Self, String> {
        isa.checked()?;
        check_pool(&window)?;
        if window.dilations != [1, 1] {
            return Err(format!("a dilation of {:?} of an average", window.dilations));
        }
        input.check("the input")?;
        output.check("the output")?;
        Ok(Self { window, count_include_pad, input, output })
    }

    /// The shape of the output for an input.
    pub fn output_shape(&self, shape: Shape) -> Shape {
        self.window.output_shape(shape)
    }

    /// Averages.
    ///
    /// # Panics
    /// If a buffer is not as long as its shape says.
    pub fn run(&self, input: &[u8], shape: Shape, output: &mut [u8]) {
        let to = self.output_shape(shape);
        expect_len("input", input.len(), shape.len());
        expect_len("output", output.len(), to.len());
        let quantizations = [self.input, self.output];
        let include = self.count_include_pad;
        reference::average_pool(&self.window, include, quantizations, input, shape, output);
    }
}

/// The maximum over a window. Padding does not count. Input and output have one quantization.
#[derive(Debug, Clone)]
pub struct MaxPool {
    window: Window,
}

impl MaxPool {
    /// A maximum over windows.
    ///
    /// # Errors
    /// A window with a kernel, stride or dilation of 0, or padding not less than the kernel.
    pub fn new(window: Window, isa: Isa) -> Result<Self, String> {
        isa.checked()?;
        check_pool(&window)?;
        Ok(Self { window })
    }

    /// The shape of the output for an input.
    pub fn output_shape(&self, shape: Shape) -> Shape {
        self.window.output_shape(shape)
    }

    /// Takes maxima.
    ///
    /// # Panics
    /// If a buffer is not as long as its shape says.
    pub fn run(&self, input: &[u8], shape: Shape, output: &mut [u8]) {
        let to = self.output_shape(shape);
        expect_len("input", input.len(), shape.len());
        expect_len("output", output.len(), to.len());
        reference::max_pool(&self.window, input, shape, output);
    }
}

/// A window of a pool holds at least one pixel of the picture at every place.
fn check_pool(window: &Window) -> Result<(), String> {
    window.check()?;
    let [top, left, bottom, right] = window.pads;
    if top.max(bottom) >= window.kernel[0] || left.max(right) >= window.kernel[1] {
        return Err(format!(
            "pads {:?} of a pool are not less than its kernel {:?}",
            window.pads, window.kernel
        ));
    }
    Ok(())
}

/// The mean over the whole picture, one byte a channel:
/// `y = clamp(round(sum(x - zx) * (sx / (sy * pixels))) + zy)`, clamped to 0..=255.
#[derive(Debug, Clone)]
pub struct GlobalAveragePool {
    input: Quantization,
    output: Quantization,
}

impl GlobalAveragePool {
    /// A mean over pictures.
    ///
    /// # Errors
    /// A scale that is not positive and finite.
    pub fn new(input: Quantization, output: Quantization, isa: Isa) -> Result<Self, String> {
        isa.checked()?;
        input.check("the input")?;
        output.check("the output")?;
        Ok(Self { input, output })
    }

    /// Averages; the output holds one byte a channel.
    ///
    /// # Panics
    /// If a buffer is not as long as its shape says, or the picture has no pixel, or more than 2^23.
    pub fn run(&self, input: &[u8], shape: Shape, output: &mut [u8]) {
        expect_len("input", input.len(), shape.len());
        expect_len("output", output.len(), shape.channels);
        let pixels = shape.pixels();
        assert!((1..=1 << 23).contains(&pixels), "the mean of {pixels} pixels");
        reference::global_average_pool([self.input, self.output], input, shape, output);
    }
}
