//! Averages and maxima over windows.

use super::arithmetic::{self, dequantize};
use super::isa::{Kernel, Simd};
use super::{Clamp, Isa, Quantization, Shape, Window, expect_len, parallel, reference};

/// The mean over a window.
///
/// `y = clamp(round(m / sy + zy))` to 0..=255, where `m` is the sum of the dequantized bytes
/// `sx * (x - zx)`, added in `f32` row by row, divided by their number. A window that is the whole
/// picture, without padding, is a [`GlobalAveragePool`].
#[derive(Debug, Clone)]
pub struct AveragePool {
    window: Window,
    count_include_pad: bool,
    input: Quantization,
    output: Quantization,
    isa: Isa,
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
        Ok(Self { window, count_include_pad, input, output, isa })
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
        if self.window.kernel == [shape.height, shape.width] && self.window.pads == [0; 4] {
            let pool = GlobalAveragePool { input: self.input, output: self.output, isa: self.isa };
            pool.run(input, shape, output);
            return;
        }
        let to = self.output_shape(shape);
        expect_len("input", input.len(), shape.len());
        expect_len("output", output.len(), to.len());
        if self.isa == Isa::Scalar {
            let quantizations = [self.input, self.output];
            let include = self.count_include_pad;
            reference::average_pool(&self.window, include, quantizations, input, shape, output);
            return;
        }
        for_each_pixel(self.window, to, output, |place, pixel| {
            self.isa.run(Average { pool: self, input, shape, place, pixel });
        });
    }
}

/// One pixel of an average.
struct Average<'a> {
    pool: &'a AveragePool,
    input: &'a [u8],
    shape: Shape,
    place: [usize; 2],
    pixel: &'a mut [u8],
}

impl Kernel for Average<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { pool, input, shape, place, pixel } = self;
        for (block, bytes) in pixel.chunks_mut(BLOCK).enumerate() {
            let mut sums = [0f32; BLOCK];
            let mut count = 0;
            pool.window.taps(place, shape, |_, from| {
                count += 1;
                let from = &input[from * shape.channels + block * BLOCK..][..bytes.len()];
                for (sum, &byte) in sums.iter_mut().zip(from) {
                    *sum += dequantize(byte, pool.input);
                }
            });
            let area = pool.window.kernel[0] * pool.window.kernel[1];
            let count = if pool.count_include_pad { area } else { count } as f32;
            for (byte, sum) in bytes.iter_mut().zip(sums) {
                *byte = reference::average_to_byte(sum / count, pool.output);
            }
        }
    }
}

/// Channels whose sums are kept in registers or near.
const BLOCK: usize = 64;

/// Calls `work` with the place and the bytes of every pixel of a pool's output.
fn for_each_pixel(
    window: Window,
    to: Shape,
    output: &mut [u8],
    work: impl Fn([usize; 2], &mut [u8]) + Sync,
) {
    if to.is_empty() {
        return;
    }
    let threads = parallel::threads(to.len() * window.kernel[0] * window.kernel[1]);
    let rows = parallel::part(to.height, to.height, 1, threads);
    let row = to.width * to.channels;
    parallel::for_each_chunk(output, rows * row, threads, |i, output| {
        for (pixel, bytes) in output.chunks_exact_mut(to.channels).enumerate() {
            work([i * rows + pixel / to.width, pixel % to.width], bytes);
        }
    });
}

/// The maximum over a window. Padding does not count. Input and output have one quantization.
#[derive(Debug, Clone)]
pub struct MaxPool {
    window: Window,
    isa: Isa,
}

impl MaxPool {
    /// A maximum over windows.
    ///
    /// # Errors
    /// A window with a kernel, stride or dilation of 0, or padding not less than the kernel.
    pub fn new(window: Window, isa: Isa) -> Result<Self, String> {
        isa.checked()?;
        check_pool(&window)?;
        Ok(Self { window, isa })
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
        if self.isa == Isa::Scalar {
            reference::max_pool(&self.window, input, shape, output);
            return;
        }
        for_each_pixel(self.window, to, output, |place, pixel| {
            self.isa.run(Maximum { window: &self.window, input, shape, place, pixel });
        });
    }
}

/// One pixel of a maximum.
struct Maximum<'a> {
    window: &'a Window,
    input: &'a [u8],
    shape: Shape,
    place: [usize; 2],
    pixel: &'a mut [u8],
}

impl Kernel for Maximum<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { window, input, shape, place, pixel } = self;
        pixel.fill(0);
        window.taps(place, shape, |_, from| {
            let bytes = &input[from * shape.channels..][..shape.channels];
            for (maximum, &byte) in pixel.iter_mut().zip(bytes) {
                *maximum = byte.max(*maximum);
            }
        });
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
    isa: Isa,
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
        Ok(Self { input, output, isa })
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
        let quantizations = [self.input, self.output];
        match self.isa {
            Isa::Scalar => reference::global_average_pool(quantizations, input, shape, output),
            isa => isa.run(GlobalAverage { quantizations, input, shape, output }),
        }
    }
}

/// The sums of a global average; the compiler vectorises them.
struct GlobalAverage<'a> {
    quantizations: [Quantization; 2],
    input: &'a [u8],
    shape: Shape,
    output: &'a mut [u8],
}

impl Kernel for GlobalAverage<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [from, to] = self.quantizations;
        let pixels = self.shape.pixels();
        let scale = from.scale / (to.scale * pixels as f32);
        let zero = pixels as i32 * i32::from(from.zero_point);
        let requantize =
            |sum: i32| arithmetic::requantize(sum - zero, scale, to.zero_point, Clamp::NONE);
        let channels = self.shape.channels;
        let Some(last) = channels.checked_sub(BLOCK) else {
            for (channel, byte) in self.output.iter_mut().enumerate() {
                let [sum] = sums(self.input, channels, channel);
                *byte = requantize(sum);
            }
            return;
        };
        // The last block ends with the channels; it may overlap the one before it.
        for first in (0..channels).step_by(BLOCK).map(|first| first.min(last)) {
            let sums: [i32; BLOCK] = sums(self.input, channels, first);
            for (byte, sum) in self.output[first..].iter_mut().zip(sums) {
                *byte = requantize(sum);
            }
        }
    }
}

/// Sums of `N` channels over all pixels; of a number that the compiler knows, they stay in registers.
#[inline(always)]
fn sums<const N: usize>(input: &[u8], channels: usize, first: usize) -> [i32; N] {
    let mut sums = [0; N];
    for pixel in input.chunks_exact(channels) {
        for (sum, &byte) in sums.iter_mut().zip(&pixel[first..][..N]) {
            *sum += i32::from(byte);
        }
    }
    sums
}
