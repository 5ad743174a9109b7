//! The options that choose a network and what is looked for with it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::output::say;
use crate::error::{Error, Result};
use crate::geometry::Size;
use crate::localize::{Boxes, Localizer, Settings, Wanted};
use crate::network::{Backend, Left, Mapping, ModelOptions, Network, processors};
use crate::pipeline::analyse::Analyser;
use crate::pipeline::batch::batch;

/// The options that choose a network.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkOptions {
    /// ONNX classifier that ends in global pooling and a linear layer [default: the built-in
    /// EfficientNet-Lite0 for the 1000 classes of ImageNet]
    #[arg(long, value_name = "FILE.onnx")]
    model: Option<PathBuf>,

    /// Side of the square that frames are resized to, in pixels; larger finds smaller things and
    /// takes longer [default: 224 where the model leaves it open]
    #[arg(long, value_name = "PIXELS")]
    input_size: Option<u32>,

    /// Make the last feature maps so many times finer, without retraining; a frame takes longer
    #[arg(long, value_name = "1|2|4", default_value = "1", value_parser = mapping)]
    mapping: Mapping,

    /// Names of the classes, one a line, where the model does not tell them
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// Subtracted from each channel of a pixel (0 to 255) [default: what the model tells, else 127]
    #[arg(long, value_name = "R,G,B", value_parser = channels)]
    mean: Option<[f32; 3]>,

    /// Divides each channel after that [default: what the model tells, else 128]
    #[arg(long, value_name = "R,G,B", value_parser = channels)]
    std: Option<[f32; 3]>,

    /// What runs the network: the built-in tract, or ONNX Runtime on the processor, with CUDA or with
    /// TensorRT (Cargo features ort, cuda, tensorrt)
    #[arg(long, value_name = "tract|ort|ort-cuda|ort-tensorrt", default_value = "tract", value_parser = backend,
        hide_default_value = true)]
    backend: Backend,

    /// Threads that the network runs on [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,

    /// Tell which quantized operators of the network are not run in int8, and why
    #[arg(long, short)]
    verbose: bool,
}

/// The options that choose a network and what is looked for with it.
#[derive(Debug, Args)]
pub struct Model {
    #[command(flatten)]
    network: NetworkOptions,

    /// Look for this class, whatever its score: a label, a WordNet id or an index; may be repeated
    #[arg(long = "class", value_name = "NAME", help_heading = "Boxes")]
    classes: Vec<String>,

    /// Look for so many classes with the highest scores
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..),
        conflicts_with = "classes", help_heading = "Boxes")]
    top: u32,

    /// Fraction of the map's maximum above which a place belongs to the thing
    #[arg(long, value_name = "0..1", default_value_t = 0.2, value_parser = fraction, help_heading = "Boxes")]
    threshold: f32,

    /// Cut boxes from the class activation maps as they are, instead of spreading them first over what
    /// looks alike
    #[arg(long, help_heading = "Boxes")]
    plain: bool,

    /// Box the largest connected part of the map, or all parts
    #[arg(long, value_enum, default_value_t = BoxesArgument::Largest, help_heading = "Boxes")]
    boxes: BoxesArgument,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BoxesArgument {
    Largest,
    All,
}

impl NetworkOptions {
    /// Loads the network; it runs on `threads`, where they are given.
    ///
    /// # Errors
    /// A model that cannot be used.
    pub fn load(&self, threads: Option<usize>) -> Result<Network> {
        Network::load(&ModelOptions {
            path: self.model.clone(),
            input_size: self.input_size.map(|side| Size::new(side, side)),
            mean: self.mean,
            std: self.std,
            labels: self.labels.clone(),
            backend: self.backend,
            threads: threads.or(self.threads.map(usize::from)),
            mapping: self.mapping,
        })
    }

    /// Loads networks that run side by side, each on one thread: as many as there are to be threads,
    /// but no more than processors. Tells which network it is.
    ///
    /// # Errors
    /// A model that cannot be used.
    pub fn load_workers(&self) -> Result<Vec<Network>> {
        let count = self.threads.map_or(usize::MAX, usize::from).min(processors());
        let networks = batch(count, vec![(); count], &|_, _| self.load(Some(1)), &mut |_| {})?;
        say(format_args!("network: {}", networks[0].describe()));
        self.tell_left(&networks[0]);
        Ok(networks)
    }

    /// Tells what is not run in int8, where that is asked for.
    fn tell_left(&self, network: &Network) {
        if let Some(report) = network.int8()
            && self.verbose
        {
            for Left { node, why } in &report.left {
                say(format_args!("network: {node} is not run in int8: {why}"));
            }
        }
    }
}

impl Model {
    /// Loads the network and prepares what is looked for.
    ///
    /// # Errors
    /// A model that cannot be used; a class that it does not have.
    pub fn load(&self) -> Result<Analyser> {
        let network = self.network.load(None)?;
        self.network.tell_left(&network);
        let wanted = if self.classes.is_empty() {
            Wanted::Top(self.top as usize)
        } else {
            let mut classes = Vec::new();
            for name in &self.classes {
                let class = network.labels().find(name)?;
                if !classes.contains(&class) {
                    classes.push(class);
                }
            }
            Wanted::Classes(classes)
        };
        let localizer = Localizer::new(wanted, network.input_size(), !self.plain);
        Ok(Analyser::new(network, localizer))
    }

    /// The settings to start with.
    pub fn settings(&self) -> Settings {
        Settings {
            threshold: self.threshold,
            boxes: match self.boxes {
                BoxesArgument::Largest => Boxes::Largest,
                BoxesArgument::All => Boxes::All,
            },
            shown: 0,
        }
    }
}

fn mapping(text: &str) -> Result<Mapping> {
    match text {
        "1" => Ok(Mapping::Whole),
        "2" => Ok(Mapping::Double),
        "4" => Ok(Mapping::Fourfold),
        _ => Err(Error::usage("1, 2 or 4 is wanted")),
    }
}

fn backend(text: &str) -> Result<Backend> {
    Backend::ALL
        .into_iter()
        .find(|backend| backend.name() == text)
        .ok_or_else(|| Error::usage("tract, ort, ort-cuda or ort-tensorrt is wanted"))
}

fn channels(text: &str) -> Result<[f32; 3]> {
    let values: Vec<f32> = text
        .split(',')
        .map(|value| value.trim().parse().ok().filter(|v: &f32| v.is_finite()))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::usage("three numbers are wanted, such as 123.7,116.3,103.5"))?;
    match values[..] {
        [all] => Ok([all; 3]),
        [r, g, b] => Ok([r, g, b]),
        _ => Err(Error::usage("one number or three are wanted, such as 123.7,116.3,103.5")),
    }
}

pub fn fraction(text: &str) -> Result<f32> {
    text.parse()
        .ok()
        .filter(|value| (0.0..1.0).contains(value))
        .ok_or_else(|| Error::usage("a number from 0 to below 1 is wanted, such as 0.2"))
}
