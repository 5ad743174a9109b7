//! From feature maps to boxes.

pub mod affinity;
pub mod components;
pub mod map;
pub mod tracks;

use crate::geometry::{Point, Rect, Size};
use crate::network::activations::{Activations, Head};
use affinity::Affinity;
use components::{Component, Labeller};
use map::{Map, Upsampler, class_activation_map};

/// One thing that was found in a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Index of the class in the network's labels.
    pub class: usize,
    /// Softmax score of the class, 0 to 1.
    pub score: f32,
    /// Where it is, in the frame's pixels.
    pub rect: Rect,
    /// Where the class activation map is highest, in the frame's pixels.
    pub peak: Point,
    /// The same number for the same thing from frame to frame; 0 before a [`tracks::Tracker`]
    /// gave one.
    pub track: u64,
}

/// Which connected components of the thresholded map become boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boxes {
    /// The largest one.
    Largest,
    /// Every one, from the largest down.
    All,
}

/// What a user may change while frames are analysed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Fraction of the map's maximum that a place must exceed to belong to the thing, 0 to 1.
    pub threshold: f32,
    pub boxes: Boxes,
    /// Which class has its map shown, counted from the highest score; starts again at the end.
    pub shown: usize,
}

/// Which classes are looked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// So many classes with the highest scores.
    Top(usize),
    /// These classes, whatever their scores.
    Classes(Vec<usize>),
}

/// How many of the top classes can have their map shown, where fewer than that get boxes.
const SHOWABLE: usize = 5;

/// What was found in one frame.
#[derive(Debug, Default)]
pub struct Findings {
    /// From the highest score down.
    pub detections: Vec<Detection>,
    /// The class whose map is shown.
    pub shown: usize,
    /// Its class activation map, upsampled to the network's input grid; it spans the whole frame.
    pub heat: Map,
}

/// Turns activations into boxes, frame after frame.
///
/// # Source
/// Zhou et al., CVPR 2016, sections 2 and 3.2: the map of equation 2, upsampled to the input,
/// thresholded at a fraction of its maximum; the largest connected component gives the box. Before
/// that the map is spread along the [`Affinity`] of places.
#[derive(Debug)]
pub struct Localizer {
    wanted: Wanted,
    grid: Size,
    spreads: bool,
    ranked: Vec<usize>,
    affinity: Affinity,
    /// Whether the last frame's places were compared.
    compared: bool,
    coarse: Map,
    on_grid: Map,
    fine: Map,
    upsampler: Upsampler,
    labeller: Labeller,
    components: Vec<Component>,
    rects: Vec<Rect>,
}

impl Localizer {
    /// Looks for `wanted` with maps upsampled to `grid`, the network's input size. If `spreads`, and
    /// the network gives early features, maps are first spread among places that look alike.
    pub fn new(wanted: Wanted, grid: Size, spreads: bool) -> Self {
        Self {
            wanted,
            grid,
            spreads,
            ranked: Vec::new(),
            affinity: Affinity::default(),
            compared: false,
            coarse: Map::default(),
            on_grid: Map::default(),
            fine: Map::default(),
            upsampler: Upsampler::default(),
            labeller: Labeller::default(),
            components: Vec::new(),
            rects: Vec::new(),
        }
    }

    /// Finds boxes in a frame of size `frame`.
    ///
    /// A map that is flat or nowhere positive gives no box.
    ///
    /// # Panics
    /// Where a wanted class does not exist, or the head belongs to another network.
    pub fn localize(
        &mut self,
        activations: &Activations,
        head: &Head,
        frame: Size,
        settings: &Settings,
        findings: &mut Findings,
    ) {
        let scores = &activations.scores;
        let boxed = match &self.wanted {
            Wanted::Top(n) => {
                highest(scores, (*n).max(SHOWABLE), &mut self.ranked);
                (*n).min(self.ranked.len())
            }
            Wanted::Classes(classes) => {
                self.ranked.clear();
                self.ranked.extend(classes);
                self.ranked.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]));
                classes.len()
            }
        };
        findings.detections.clear();
        self.compare(activations);
        let shown = settings.shown % self.ranked.len().max(1);
        for rank in 0..self.ranked.len() {
            if rank >= boxed && rank != shown {
                continue;
            }
            let class = self.ranked[rank];
            self.find_map(activations, head, class);
            if rank < boxed {
                self.detect(class, scores[class], frame, settings, &mut findings.detections);
            }
            if rank == shown {
                findings.shown = class;
                std::mem::swap(&mut findings.heat, &mut self.fine);
            }
        }
    }

    /// Compares the places of a frame, once before its maps are found.
    pub fn compare(&mut self, activations: &Activations) {
        self.compared = self.spreads && self.affinity.compare(&activations.early);
    }

    /// Finds the map of `class` from which its boxes are cut: its class activation map,
    /// [refined](Self::refine).
    ///
    /// # Panics
    /// Where the class does not exist, or the head belongs to another network.
    pub fn find_map(&mut self, activations: &Activations, head: &Head, class: usize) {
        let mut coarse = std::mem::take(&mut self.coarse);
        class_activation_map(&activations.features, head, class, &mut coarse);
        self.refine(&coarse);
        self.coarse = coarse;
    }

    /// Makes of a map the one from which boxes are cut: spreads it, if the places of the frame were
    /// [compared](Self::compare), and upsamples it to the grid.
    pub fn refine(&mut self, coarse: &Map) {
        let mut map = coarse;
        if self.compared {
            let (width, height) = self.affinity.size();
            self.upsampler.upsample(map, width, height, &mut self.on_grid);
            self.affinity.spread(&mut self.on_grid);
            map = &self.on_grid;
        }
        let Size { width, height } = self.grid;
        self.upsampler.upsample(map, width as usize, height as usize, &mut self.fine);
    }

    /// The last map that was found or refined.
    pub fn map(&self) -> &Map {
        &self.fine
    }

    /// The boxes of the last [map](Self::map) in a frame of size `frame`: the connected
    /// components of the places that exceed `threshold` times the map's maximum, from the largest
    /// down. A map that is flat or nowhere positive has none.
    pub fn find_boxes(&mut self, threshold: f32, boxes: Boxes, frame: Size) -> &[Rect] {
        self.rects.clear();
        let Some(limit) = self.fine.limit(threshold) else { return &self.rects };
        self.components.clear();
        self.components.extend(self.labeller.components(&self.fine, limit));
        self.components.sort_unstable_by_key(|component| {
            (std::cmp::Reverse(component.area), component.rect.y0, component.rect.x0)
        });
        if boxes == Boxes::Largest {
            self.components.truncate(1);
        }
        self.rects.extend(self.components.iter().map(|c| c.rect.scaled(self.grid, frame)));
        &self.rects
    }

    /// Appends what the last map shows.
    fn detect(
        &mut self,
        class: usize,
        score: f32,
        frame: Size,
        settings: &Settings,
        detections: &mut Vec<Detection>,
    ) {
        let Some((x, y, _)) = self.fine.peak() else { return };
        let peak = self.fine.middle((x, y), frame);
        let rects = self.find_boxes(settings.threshold, settings.boxes, frame);
        detections.extend(rects.iter().map(|&rect| Detection {
            class,
            score,
            rect,
            peak,
            track: 0,
        }));
    }
}

/// Fills `ranked` with the indices of the `n` highest scores, from the highest down.
fn highest(scores: &[f32], n: usize, ranked: &mut Vec<usize>) {
    ranked.clear();
    for (class, &score) in scores.iter().enumerate() {
        let rank = ranked.partition_point(|&other| scores[other] >= score);
        if rank < n {
            ranked.truncate(n - 1);
            ranked.insert(rank, class);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::activations::Features;

    const SETTINGS: Settings = Settings { threshold: 0.2, boxes: Boxes::Largest, shown: 0 };

    /// A network with one unit a class: the feature maps are the class activation maps.
    fn localize(
        maps: &[[f32; 16]],
        scores: &[f32],
        wanted: Wanted,
        settings: &Settings,
    ) -> Findings {
        let features = Features {
            channels: maps.len(),
            height: 4,
            width: 4,
            values: (0..16).flat_map(|place| maps.iter().map(move |map| map[place])).collect(),
        };
        let activations =
            Activations { features, scores: scores.to_vec(), ..Activations::default() };
        let head = Head::Identity { classes: maps.len() };
        let mut findings = Findings::default();
        let mut localizer = Localizer::new(wanted, Size::new(4, 4), true);
        localizer.localize(&activations, &head, Size::new(40, 80), settings, &mut findings);
        findings
    }

    #[rustfmt::skip]
    const TWO_BLOBS: [f32; 16] = [
        9.0, 0.0, 0.0, 0.0,
        0.0, 0.0, 2.0, 2.0,
        0.0, 0.0, 2.0, 2.0,
        0.0, 0.0, 0.0, 0.0,
    ];

    #[test]
    fn the_largest_component_above_the_threshold_becomes_the_box() {
        let findings = localize(&[TWO_BLOBS], &[0.7], Wanted::Top(1), &SETTINGS);
        let [detection] = findings.detections[..] else { panic!("{findings:?}") };
        assert_eq!(detection.rect, Rect::new(20, 20, 40, 60));
        assert_eq!(detection.peak, Point { x: 5, y: 10 });
        assert_eq!((detection.class, detection.score, detection.track), (0, 0.7, 0));
    }

    #[test]
    fn a_higher_threshold_leaves_what_exceeds_it() {
        let settings = Settings { threshold: 0.5, ..SETTINGS };
        let findings = localize(&[TWO_BLOBS], &[0.7], Wanted::Top(1), &settings);
        assert_eq!(findings.detections[0].rect, Rect::new(0, 0, 10, 20));
    }

    #[test]
    fn all_components_come_from_the_largest_down() {
        let settings = Settings { boxes: Boxes::All, ..SETTINGS };
        let findings = localize(&[TWO_BLOBS], &[0.7], Wanted::Top(1), &settings);
        let rects: Vec<_> = findings.detections.iter().map(|d| d.rect).collect();
        assert_eq!(rects, [Rect::new(20, 20, 40, 60), Rect::new(0, 0, 10, 20)]);
    }

    #[test]
    fn a_negative_or_flat_map_gives_no_box() {
        for map in [[-1.0; 16], [0.0; 16], [3.0; 16], TWO_BLOBS.map(|v| v - 10.0)] {
            let findings = localize(&[map], &[0.9], Wanted::Top(1), &SETTINGS);
            assert_eq!(findings.detections, []);
        }
    }

    #[test]
    fn a_map_that_is_not_a_number_gives_no_box() {
        let findings = localize(&[[f32::NAN; 16]], &[f32::NAN], Wanted::Top(1), &SETTINGS);
        assert_eq!(findings.detections, []);
    }

    #[test]
    fn the_top_classes_come_from_the_highest_score_down() {
        let findings = localize(&[TWO_BLOBS; 3], &[0.1, 0.6, 0.3], Wanted::Top(2), &SETTINGS);
        assert_eq!(findings.detections.iter().map(|d| d.class).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_named_class_is_localized_whatever_its_score() {
        let wanted = Wanted::Classes(vec![0]);
        let findings = localize(&[TWO_BLOBS; 3], &[0.1, 0.6, 0.3], wanted, &SETTINGS);
        assert_eq!(findings.detections.iter().map(|d| d.class).collect::<Vec<_>>(), [0]);
        assert_eq!(findings.shown, 0);
    }

    #[test]
    fn the_map_of_a_class_without_a_box_can_be_shown() {
        let maps = [[1.0; 16], TWO_BLOBS];
        let settings = Settings { shown: 1, ..SETTINGS };
        let findings = localize(&maps, &[0.6, 0.4], Wanted::Top(1), &settings);
        assert_eq!(findings.shown, 1);
        assert_eq!(findings.heat.values, TWO_BLOBS);
    }
}
