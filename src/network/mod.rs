//! A classifier that ends in global pooling and a linear head: what it takes in and what it gives.
//!
//! [`check`](check::check) reads a model file and finds its head; [`Network::load`] hands the rest to a
//! [`Backend`]: tract, or ONNX Runtime where the program was built with it.
//! A frame goes through [`Network::prepare`] and [`Network::run`], and comes out as
//! [`Activations`]: the last feature maps, the logits and the scores.

pub mod activations;
mod backend;
pub mod check;
mod detail;
mod graph;
mod guard;
mod head;
mod labels;
mod mapping;
mod metadata;
#[cfg(feature = "ort")]
mod ort;
mod preprocess;
mod quantized;
mod receptive;
mod resize;
mod tract;
mod wire;

pub use backend::{Backend, Timed};
pub use labels::Labels;
pub use quantized::{Left, Report};
pub use receptive::{ReceptiveField, Span};

use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use activations::{Activations, Head};
use backend::{Engine, Means, Picture};
use check::Checked;
use metadata::Metadata;
use preprocess::{Format, Preprocess};

use crate::error::{Error, ErrorKind, Result};
use crate::frame::Frame;
use crate::geometry::Size;
use crate::int8::Isa;

/// EfficientNet-Lite0, ImageNet-1k, int8.
static EMBEDDED: &[u8] = include_bytes!("../../models/efficientnet-lite0-int8.onnx");
const EMBEDDED_NAME: &str = "the embedded model (EfficientNet-Lite0 int8)";

/// Width and height where neither the network nor the user gives them.
const DEFAULT_SIDE: u32 = 224;

/// The mean and standard deviation where neither the network nor the user gives them, a channel.
const DEFAULT_MEAN: f32 = 127.0;
const DEFAULT_STD: f32 = 128.0;

/// Which network, and what its file does not say. What is given here outranks the file's metadata.
#[derive(Debug, Clone, Default)]
pub struct ModelOptions {
    /// An ONNX file; none for the embedded model.
    pub path: Option<PathBuf>,
    /// Input size, for a network that takes any.
    pub input_size: Option<Size>,
    /// In pixel units (0 to 255), in the order of the network's channels: `(pixel - mean) / std`.
    pub mean: Option<[f32; 3]>,
    pub std: Option<[f32; 3]>,
    /// A text file with the name of one class a line.
    pub labels: Option<PathBuf>,
    pub backend: Backend,
    /// Among which an operator divides its work; as many as the machine has processors, else.
    pub threads: Option<usize>,
    pub mapping: Mapping,
}

/// How much finer the last feature maps are than those that the network was trained with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mapping {
    /// As it is.
    #[default]
    Whole,
    /// Twice as many rows and columns.
    Double,
    /// Four times as many.
    Fourfold,
}

impl Mapping {
    fn doublings(self) -> usize {
        match self {
            Self::Whole => 0,
            Self::Double => 1,
            Self::Fourfold => 2,
        }
    }
}

/// A network with its buffers.
#[derive(Debug)]
pub struct Network {
    name: String,
    engine: Box<dyn Engine>,
    preprocess: Preprocess,
    takes_bytes: bool,
    assumed: bool,
    head: Head,
    receptive_field: Option<ReceptiveField>,
    labels: Arc<Labels>,
    threads: usize,
}

impl Network {
    /// Reads, checks and optimises the network, and runs it once.
    ///
    /// # Errors
    /// `Invalid` where the file is no network that ends in global pooling and a linear head: the
    /// line names the node where it stops fitting; where the backend's library cannot be loaded. `Usage`
    /// where an option does not go with the network or names a backend that was not compiled in.
    pub fn load(options: &ModelOptions) -> Result<Self> {
        options.backend.open()?;
        let (name, bytes) = match &options.path {
            None => (EMBEDDED_NAME.to_owned(), Cow::Borrowed(EMBEDDED)),
            Some(path) => {
                let name = path.display().to_string();
                let bytes = read_capped(path, check::MAX_BYTES as u64).map_err(|why| {
                    Error::invalid(format!("cannot read the model {name}: {why}"))
                })?;
                (name, Cow::Owned(bytes))
            }
        };
        let in_file = |why: String| Error::invalid(format!("{name}: {why}"));
        let mut checked = check::check(&bytes).map_err(|error| in_file(error.to_string()))?;
        for _ in 0..options.mapping.doublings() {
            mapping::double(&mut checked).map_err(|why| {
                Error::usage(format!(
                    "{name}: the mapping resolution cannot be raised: {why}; leave --mapping out"
                ))
            })?;
        }
        drop(bytes);
        let metadata = Metadata::read(&checked.proto).map_err(in_file)?;
        let size = input_size(&checked, options.input_size, &name)?;
        let format = format(&checked, &metadata, options, size)?;
        let threads = options.threads.unwrap_or_else(processors);
        let means = Means { isa: Isa::from_env()?, threads };
        let engine = options.backend.engine(&checked, size, means).map_err(in_file)?;
        let classes = engine.shape().classes;
        let labels =
            Labels::new(metadata.labels, metadata.wordnet_ids, options.labels.as_deref(), classes)
                .map_err(|error| match error.kind() {
                    ErrorKind::Usage => error,
                    _ => in_file(error.to_string()),
                })?;
        let receptive_field = receptive::find(&checked, size);
        let head = match checked.head.linear {
            Some(linear) => Head::Linear { channels: linear.channels, weights: linear.weights },
            None => Head::Identity { classes },
        };
        let given = [options.mean.or(metadata.mean), options.std.or(metadata.std)];
        Ok(Self {
            name,
            preprocess: Preprocess::new(format, engine.takes()),
            engine,
            takes_bytes: checked.input.bytes,
            assumed: !checked.input.bytes && given.contains(&None),
            head,
            receptive_field,
            labels: Arc::new(labels),
            threads,
        })
    }

    /// Stretches the whole frame to the input size and normalizes it into the input tensor.
    ///
    /// # Errors
    /// `Skip` for a frame whose size and pixels do not agree.
    pub fn prepare(&mut self, frame: &Frame) -> Result<()> {
        self.preprocess.check(frame)?;
        let mut write = |tensor: Picture| self.preprocess.write(frame, tensor);
        self.engine.fill(&mut write).map_err(Error::invalid)
    }

    /// Runs the network on the frame of the last [`prepare`](Self::prepare), into the buffers of `out`.
    ///
    /// # Errors
    /// `Invalid` where the backend fails.
    pub fn run(&mut self, out: &mut Activations) -> Result<()> {
        self.engine.run(out).map_err(|why| Error::invalid(why).within(&self.name))?;
        softmax(&out.logits, &mut out.scores);
        Ok(())
    }

    /// Runs the network on the frame of the last [`prepare`](Self::prepare), and tells how long each
    /// operator took, in the order in which they run.
    ///
    /// # Errors
    /// `Invalid` where the backend fails or does not tell.
    pub fn run_timed(&mut self) -> Result<Vec<Timed>> {
        self.engine.run_timed().map_err(|why| Error::invalid(why).within(&self.name))
    }

    /// The linear classifier on the pooled features.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Size of the pictures that the network takes.
    pub fn input_size(&self) -> Size {
        self.preprocess.format().size
    }

    /// Size of the last feature maps: the mapping resolution.
    pub fn map_size(&self) -> Size {
        self.engine.shape().features.size
    }

    /// What the cells of the last feature maps see of the input; none where each of them sees all of
    /// it, or where the graph does not tell.
    pub fn receptive_field(&self) -> Option<ReceptiveField> {
        self.receptive_field
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.engine.shape().classes
    }

    /// The names of the classes.
    pub fn labels(&self) -> &Arc<Labels> {
        &self.labels
    }

    /// What runs it.
    pub fn backend(&self) -> Backend {
        self.engine.backend()
    }

    /// What the user calls the network: its file, or that it is the embedded one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One line for the user: name, classes, sizes, normalization, backend.
    pub fn describe(&self) -> String {
        let Format { size, mean, std, .. } = self.preprocess.format();
        let comma = |triple: &[f32; 3]| triple.map(|v| v.to_string()).join(",");
        let normalization = if self.takes_bytes {
            "takes bytes".to_owned()
        } else {
            let assumed = if self.assumed { " (assumed)" } else { "" };
            format!("mean {}, std {}{assumed}", comma(mean), comma(std))
        };
        let int8 = match self.int8() {
            Some(Report { operators, left, isa: Some(isa) }) if operators + left.len() > 0 => {
                let share = match left.len() {
                    0 => String::new(),
                    left => format!("{operators} of {} quantized operators ", operators + left),
                };
                format!(", {share}in int8 on {isa}")
            }
            _ => String::new(),
        };
        format!(
            "{}: {} classes, input {size}, {} feature maps of {}, {normalization}, run by {}{int8}",
            self.name,
            self.classes(),
            self.engine.shape().features.channels,
            self.map_size(),
            self.backend().title()
        )
    }

    /// Among which an operator divides its work.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// How much of the network is int8 operators of camlive; none where another library runs it.
    pub fn int8(&self) -> Option<&Report> {
        self.engine.report()
    }
}

fn input_size(checked: &Checked, asked: Option<Size>, name: &str) -> Result<Size> {
    let (input, stride) = (&checked.input, checked.stride.filter(|&stride| stride > 0));
    let wanted = asked.unwrap_or(Size::new(DEFAULT_SIDE, DEFAULT_SIDE));
    let size =
        Size::new(input.width.unwrap_or(wanted.width), input.height.unwrap_or(wanted.height));
    if asked.is_some_and(|asked| asked != size) {
        return Err(Error::usage(format!(
            "{name} takes pictures of {size} only; leave the input size out"
        )));
    }
    if size.area() == 0 || size.width.max(size.height) > check::MAX_SIDE {
        return Err(Error::usage(format!(
            "the input size {size} is not between 1 and {} a side",
            check::MAX_SIDE
        )));
    }
    let fits =
        |free: bool, side: u32| !free || stride.is_none_or(|stride| side.is_multiple_of(stride));
    if !fits(input.width.is_none(), size.width) || !fits(input.height.is_none(), size.height) {
        let stride = stride.unwrap_or(1);
        return Err(Error::usage(format!(
            "the input size {size} is not a multiple of the stride of {name}, {stride}; try {}",
            size.width.next_multiple_of(stride)
        )));
    }
    Ok(size)
}

fn format(
    checked: &Checked,
    metadata: &Metadata,
    options: &ModelOptions,
    size: Size,
) -> Result<Format> {
    if checked.input.bytes && (options.mean.is_some() || options.std.is_some()) {
        return Err(Error::usage("the network takes bytes; leave mean and std out"));
    }
    let mean = options.mean.or(metadata.mean).unwrap_or([DEFAULT_MEAN; 3]);
    let std = options.std.or(metadata.std).unwrap_or([DEFAULT_STD; 3]);
    if !mean.iter().chain(&std).all(|v| v.is_finite()) || std.iter().any(|&v| v <= 0.0) {
        return Err(Error::usage(format!(
            "mean {mean:?} and std {std:?} cannot normalize a pixel"
        )));
    }
    Ok(Format { size, bgr: metadata.bgr, mean, std })
}

/// How many threads the machine runs at a time.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get())
}

/// Writes the softmax of `logits`.
fn softmax(logits: &[f32], scores: &mut Vec<f32>) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.clear();
    scores.extend(logits.iter().map(|logit| (logit - highest).exp()));
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The content of a file of at most `limit` bytes; a larger one is refused unread.
fn read_capped(path: &Path, limit: u64) -> std::result::Result<Vec<u8>, String> {
    let too_large = || format!("it is larger than {} MB", limit >> 20);
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    if file.metadata().is_ok_and(|metadata| metadata.len() > limit) {
        return Err(too_large());
    }
    // What is no plain file does not tell its length.
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests;
