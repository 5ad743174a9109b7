//! What runs a checked network: one picture in, feature maps and logits out.

use std::fmt::Debug;
use std::time::Duration;

use multiversion::multiversion;

use super::activations::{Activations, Features};
use super::check::{Checked, Input};
use super::head::FoundHead;
use super::quantized::Report;
use super::tract;
use crate::error::{Error, Result};
use crate::geometry::Size;
use crate::int8::{Isa, Quantization};

/// Which library runs the network, and on what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backend {
    /// tract, part of the program.
    #[default]
    Tract,
    /// ONNX Runtime on the processor.
    Ort,
    /// ONNX Runtime with its CUDA provider.
    OrtCuda,
    /// ONNX Runtime with its TensorRT provider.
    OrtTensorRt,
}

impl Backend {
    pub const ALL: [Self; 4] = [Self::Tract, Self::Ort, Self::OrtCuda, Self::OrtTensorRt];

    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tract => "tract",
            Self::Ort => "ort",
            Self::OrtCuda => "ort-cuda",
            Self::OrtTensorRt => "ort-tensorrt",
        }
    }

    /// What it is, in words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Tract => "tract",
            Self::Ort => "ONNX Runtime",
            Self::OrtCuda => "ONNX Runtime (CUDA)",
            Self::OrtTensorRt => "ONNX Runtime (TensorRT)",
        }
    }

    /// The Cargo feature that this program lacks for it; none where it is compiled in.
    pub fn missing_feature(self) -> Option<&'static str> {
        let (compiled, feature) = match self {
            Self::Tract => return None,
            Self::Ort => (cfg!(feature = "ort"), "ort"),
            Self::OrtCuda => (cfg!(feature = "cuda"), "cuda"),
            Self::OrtTensorRt => (cfg!(feature = "tensorrt"), "tensorrt"),
        };
        (!compiled).then_some(feature)
    }

    /// Loads what it needs beside the program.
    pub(super) fn open(self) -> Result<()> {
        if let Some(feature) = self.missing_feature() {
            return Err(Error::usage(format!(
                "this camlive was built without the backend {}; build it with `cargo build --release --features {feature}`",
                self.name()
            )));
        }
        #[cfg(feature = "ort")]
        if self != Self::Tract {
            super::ort::open(self)?;
        }
        Ok(())
    }

    /// Builds the network for pictures of `size` and runs it once; to be called after [`open`](Self::open).
    pub(super) fn engine(
        self,
        checked: &Checked,
        size: Size,
        means: Means,
    ) -> std::result::Result<Box<dyn Engine>, String> {
        #[cfg(feature = "ort")]
        if self != Self::Tract {
            return Ok(Box::new(super::ort::Engine::new(self, checked, size, means.threads)?));
        }
        Ok(Box::new(tract::Engine::new(checked, size, means)?))
    }
}

/// What a network is run with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means {
    /// That of the int8 operators; none where there are to be none.
    pub(super) isa: Option<Isa>,
    /// Among which an operator divides its work; at least one.
    pub(super) threads: usize,
}

/// A network ready to run.
pub(super) trait Engine: Debug + Send {
    fn backend(&self) -> Backend;

    /// How much of the network is int8 operators of ours; none where another library runs all of it.
    fn report(&self) -> Option<&Report> {
        None
    }

    fn takes(&self) -> Takes;

    fn shape(&self) -> &Shape;

    /// Lets `write` fill the input tensor.
    fn fill(&mut self, write: &mut dyn FnMut(Picture)) -> std::result::Result<(), String>;

    /// Runs the network on the input tensor; `out.scores` are left as they are.
    fn run(&mut self, out: &mut Activations) -> std::result::Result<(), String>;

    /// Runs the network on the input tensor, operator by operator, in the order in which they run.
    fn run_timed(&mut self) -> std::result::Result<Vec<Timed>, String> {
        Err(format!("{} does not tell its operators' times", self.backend().title()))
    }
}

/// An operator of a network, and how long it took.
#[derive(Debug, Clone)]
pub struct Timed {
    /// In the model file.
    pub name: String,
    /// What it does.
    pub operator: String,
    /// The shape of its output; int8 pictures are `[1, height, width, channels]`.
    pub output: Vec<usize>,
    /// Multiply-accumulates, where it is an int8 operator.
    pub multiplications: Option<usize>,
    pub took: Duration,
}

/// An input tensor of `3 * height * width` values.
#[derive(Debug)]
pub(super) enum Picture<'a> {
    Bytes(&'a mut [u8]),
    Floats(&'a mut [f32]),
}

/// What an input tensor holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Takes {
    pub(super) values: Values,
    /// `[1, height, width, 3]`; else `[1, 3, height, width]`.
    pub(super) channels_last: bool,
}

/// The values of an input tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Values {
    /// f32, normalized.
    Normalized,
    /// The pixels' bytes.
    Pixels,
    /// Bytes that stand for normalized pixels.
    Quantized(Quantization),
}

impl Takes {
    /// What the input of a model file takes.
    pub(super) fn plain(input: &Input) -> Self {
        let values = if input.bytes { Values::Pixels } else { Values::Normalized };
        Self { values, channels_last: input.channels_last }
    }

    /// The shape of a picture of `size`.
    pub(super) fn dims(&self, size: Size) -> [usize; 4] {
        let (height, width) = (size.height as usize, size.width as usize);
        if self.channels_last { [1, height, width, 3] } else { [1, 3, height, width] }
    }
}

/// The shapes of what a network gives.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    pub(super) features: Maps,
    /// None where the network gives no early features.
    pub(super) early: Option<Maps>,
    pub(super) classes: usize,
}

impl Shape {
    /// From the shapes of the output tensors, which must go with the head. Which tensors are channels
    /// last is told for the feature maps and the early features.
    pub(super) fn new(
        head: &FoundHead,
        channels_last: [bool; 2],
        outputs: &[Vec<usize>],
    ) -> std::result::Result<Self, String> {
        let [features, logits, early @ ..] = outputs else {
            return Err("it does not give feature maps and logits".into());
        };
        let features = check_features(head, channels_last[0], features)?;
        let classes = logits.iter().product();
        if classes != head.linear.as_ref().map_or(features.channels, |linear| linear.classes) {
            return Err(format!(
                "its logits `{}` have the shape {logits:?}, not one value a class",
                head.logits
            ));
        }
        let early = early.first().and_then(|early| Maps::new(channels_last[1], early));
        Ok(Self { features, early, classes })
    }
}

/// Maps of the same size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Maps {
    /// Their number.
    pub(super) channels: usize,
    pub(super) size: Size,
    /// They come as `[1, height, width, channels]`; else `[1, channels, height, width]`.
    channels_last: bool,
}

impl Maps {
    /// None where a tensor of this shape is none.
    fn new(channels_last: bool, shape: &[usize]) -> Option<Self> {
        let (channels, height, width) = match (shape, channels_last) {
            (&[1, c, h, w], false) | (&[1, h, w, c], true) => (c, h, w),
            _ => return None,
        };
        Some(Self { channels, size: Size::new(width as u32, height as u32), channels_last })
    }

    /// Number of values together.
    #[cfg(feature = "ort")]
    pub(super) fn volume(&self) -> usize {
        self.channels * self.size.width as usize * self.size.height as usize
    }

    /// Copies maps into a buffer.
    pub(super) fn copy(&self, maps: &[f32], to: &mut Features) {
        let values = self.shaped(to);
        values.clear();
        if self.channels_last {
            values.extend_from_slice(maps);
        } else {
            let area = maps.len() / self.channels;
            for place in 0..area {
                values.extend(maps.iter().skip(place).step_by(area));
            }
        }
    }

    /// Copies maps of bytes, channels last, into a buffer.
    pub(super) fn dequantize(&self, maps: &[u8], from: Quantization, to: &mut Features) {
        let values = self.shaped(to);
        values.resize(maps.len(), 0.0);
        dequantize(maps, from, values);
    }

    fn shaped<'a>(&self, to: &'a mut Features) -> &'a mut Vec<f32> {
        let Features { channels, height, width, values } = to;
        (*channels, *height, *width) =
            (self.channels, self.size.height as usize, self.size.width as usize);
        values
    }
}

#[multiversion(targets("x86_64+avx512bw+avx512vl", "x86_64+avx2"))]
fn dequantize(bytes: &[u8], Quantization { scale, zero_point }: Quantization, to: &mut [f32]) {
    for (to, &byte) in to.iter_mut().zip(bytes) {
        *to = scale * (i32::from(byte) - i32::from(zero_point)) as f32;
    }
}

/// The feature maps, which must be what is pooled and weighed.
fn check_features(
    head: &FoundHead,
    channels_last: bool,
    features: &[usize],
) -> std::result::Result<Maps, String> {
    let pool = &head.pool;
    let Some(maps) = Maps::new(channels_last, features) else {
        return Err(format!(
            "does not end in global pooling and a linear layer: {} pools a tensor of shape {features:?}, \
             not feature maps",
            pool.title
        ));
    };
    let Size { width, height } = maps.size;
    if pool.window.is_some_and(|window| window != [height as usize, width as usize]) {
        return Err(format!(
            "does not end in global pooling and a linear layer: {} pools windows of {:?}, not the whole map of \
             [{height}, {width}]",
            pool.title,
            pool.window.unwrap_or_default()
        ));
    }
    if let Some(linear) = &head.linear
        && linear.channels != maps.channels
    {
        return Err(format!(
            "does not end in global pooling and a linear layer: {} weighs {} values, but there are {} \
             feature maps",
            linear.title, linear.channels, maps.channels
        ));
    }
    Ok(maps)
}

/// A library's error text, cut to a bearable length.
pub(super) fn shorten(mut text: String) -> String {
    const LONGEST: usize = 300;
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}
