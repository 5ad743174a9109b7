//! Scores the photographs of a data set, several at a time.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::eval::contours::Contours;
use crate::eval::data::{Example, Truth};
use crate::eval::occlusion::Occlusion;
use crate::eval::outcome::{Boxes, Located, Outcome, centre_box, is_right, levels, rank};
use crate::eval::pixels::Histogram;
use crate::eval::score_map::{SIDE, ScoreMap, on_grid};
use crate::frame::Frame;
use crate::geometry::{Rect, Size};
use crate::localize::{self, Localizer, Wanted};
use crate::network::Network;
use crate::network::activations::Activations;
use crate::pipeline::batch::batch;
use crate::source::still::read_stored;

/// What the paper's rules are asked with, and where score maps go.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of the one box a class: a fraction of the map's maximum, 0 to 1.
    pub threshold: f32,
    /// Of the heuristic's tight boxes.
    pub tight: f32,
    /// Of the heuristic's loose boxes.
    pub loose: f32,
    pub maps: Maps,
    /// Whether maps are spread among places that look alike.
    pub spreads: bool,
    /// The folder that score maps are written to.
    pub dump: Option<PathBuf>,
}

/// Where maps come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maps {
    /// They are class activation maps.
    Cam,
    /// [`Occlusion`] gives them.
    Occlusion,
}

/// What came of the photographs, in the order of the data set.
#[derive(Debug, Default)]
pub struct Scored {
    pub outcomes: Vec<Outcome>,
    /// Those that could not be scored, each named.
    pub failed: Vec<Error>,
}

/// Scores the photographs of a data set, as many at a time as there are `networks`. `progress` is told
/// now and then how many photographs are done.
///
/// # Errors
/// A network that cannot be run; a score map that cannot be written. A photograph that cannot be
/// read is among the failed.
pub fn score(
    examples: &[Result<Example>],
    networks: Vec<Network>,
    options: &Options,
    progress: &mut dyn FnMut(usize),
) -> Result<Scored> {
    let workers = networks.into_iter().map(|network| Worker::new(network, options)).collect();
    let work = |worker: &mut Worker, i: usize| match &examples[i] {
        Ok(example) => worker.score(example),
        Err(error) => Ok(Err(error.clone())),
    };
    let results = batch(examples.len(), workers, &work, progress)?;
    let mut scored = Scored::default();
    for result in results {
        match result {
            Ok(outcome) => scored.outcomes.push(outcome),
            Err(error) => scored.failed.push(error),
        }
    }
    Ok(scored)
}

/// A network with the buffers to score one photograph after the other.
struct Worker<'a> {
    network: Network,
    options: &'a Options,
    frame: Frame,
    activations: Activations,
    /// With maps as large as the network's input.
    paper: Localizer,
    /// With maps as large as score maps, where these are not so large.
    square: Option<Localizer>,
    scores: ScoreMap,
    contours: Contours,
    occlusion: Occlusion,
}

impl<'a> Worker<'a> {
    fn new(network: Network, options: &'a Options) -> Self {
        let localizer = |grid| Localizer::new(Wanted::Classes(Vec::new()), grid, options.spreads);
        let square = Size::new(SIDE, SIDE);
        Self {
            paper: localizer(network.input_size()),
            square: (network.input_size() != square).then(|| localizer(square)),
            network,
            options,
            frame: Frame::empty(),
            activations: Activations::default(),
            scores: ScoreMap::default(),
            contours: Contours::default(),
            occlusion: Occlusion::default(),
        }
    }

    /// The outer error ends the run, the inner one is that of the photograph.
    fn score(&mut self, example: &Example) -> Result<Result<Outcome>> {
        if let Err(error) = read_stored(&example.photograph, &mut self.frame) {
            return Ok(Err(error));
        }
        let size = example.size.unwrap_or(self.frame.size);
        self.network.prepare(&self.frame)?;
        self.network.run(&mut self.activations)?;
        let (class, activations) = (example.class, &self.activations);
        let occluded = match self.options.maps {
            Maps::Cam => None,
            Maps::Occlusion => {
                let logit = activations.logits[class];
                Some(self.occlusion.map(&mut self.network, &self.frame, class, logit)?)
            }
        };
        let head = self.network.head();
        for localizer in [&mut self.paper].into_iter().chain(&mut self.square) {
            localizer.compare(activations);
            match occluded {
                None => localizer.find_map(activations, head, class),
                Some(map) => localizer.refine(map),
            };
        }
        let map = self.square.as_ref().unwrap_or(&self.paper).map();
        self.scores.fill(map);
        if let Some(folder) = &self.options.dump {
            self.scores.write(&folder.join(format!("{}.npy", example.id)))?;
        }
        let located = match &example.truth {
            Truth::Boxes(truth) => Located::Boxes(Box::new(self.boxes(truth, size))),
            Truth::Masks(masks) => match Histogram::of(&self.scores.scores, masks) {
                Ok(histogram) => Located::Pixels(histogram),
                Err(error) => return Ok(Err(error)),
            },
        };
        Ok(Ok(Outcome { rank: rank(&self.activations.scores, class), located }))
    }

    /// Which boxes of the last maps are right.
    fn boxes(&mut self, truth: &[Rect], size: Size) -> Boxes {
        let mut at = |threshold| {
            let found = self.paper.find_boxes(threshold, localize::Boxes::Largest, size);
            found.iter().any(|&found| is_right(found, truth))
        };
        let Options { threshold, tight, loose, .. } = *self.options;
        let (rule, tight, loose) = (at(threshold), at(tight), at(loose));
        let on_grid: Vec<Rect> = truth.iter().map(|&rect| on_grid(rect, size)).collect();
        let (largest, any) =
            levels(&mut self.contours, &self.scores.bytes, SIDE as usize, &on_grid);
        Boxes {
            rule,
            tight,
            loose,
            full_frame: is_right(Rect::new(0, 0, size.width, size.height), truth),
            centre: is_right(centre_box(size), truth),
            largest,
            any,
        }
    }
}
