//! Pictures side by side in their channels.

use super::{Clamp, Quantization, Requantize, expect_len};

/// Joins pictures of one height and width along their channels. An input whose quantization is not
/// the output's is brought to it as [`Requantize`] does.
#[derive(Debug, Clone)]
pub struct Concat {
    /// The channels of each input, and its requantization where it needs one.
    inputs: Vec<(usize, Option<Requantize>)>,
    channels: usize,
}

impl Concat {
    /// A concatenation of inputs of so many channels each.
    ///
    /// # Errors
    /// A scale that is not positive and finite.
    pub fn new(inputs: &[(usize, Quantization)], output: Quantization) -> Result<Self, String> {
        output.check("the output")?;
        let mut parts = Vec::with_capacity(inputs.len());
        for &(channels, from) in inputs {
            let requantize = Requantize::new(from, output, Clamp::NONE)?;
            parts.push((channels, (from != output).then_some(requantize)));
        }
        let channels = parts.iter().map(|part| part.0).sum();
        Ok(Self { inputs: parts, channels })
    }

    /// The channels of each input.
    pub fn channels(&self) -> impl Iterator<Item = usize> + '_ {
        self.inputs.iter().map(|(channels, _)| *channels)
    }

    /// Joins the inputs' pixels.
    ///
    /// # Panics
    /// If the number of inputs or the length of a buffer is wrong.
    pub fn run(&self, inputs: &[&[u8]], pixels: usize, output: &mut [u8]) {
        assert_eq!(inputs.len(), self.inputs.len(), "number of inputs");
        expect_len("output", output.len(), pixels * self.channels);
        let mut first = 0;
        for (input, (channels, requantize)) in inputs.iter().zip(&self.inputs) {
            expect_len("input", input.len(), pixels * channels);
            if *channels == 0 {
                continue;
            }
            let pixels = output.chunks_exact_mut(self.channels);
            for (pixel, input) in pixels.zip(input.chunks_exact(*channels)) {
                let pixel = &mut pixel[first..first + channels];
                match requantize {
                    Some(requantize) => requantize.run(input, pixel),
                    None => pixel.copy_from_slice(input),
                }
            }
            first += channels;
        }
    }
}
