//! Informative objects: which annotated objects the maps of a class lie on.
//!
//! # Source
//! Zhou et al., CVPR 2016, section 4.2 and figure 9: the objects that most often overlap the places of
//! high activation in photographs of one scene category.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::eval::data::voc::Annotated;
use crate::frame::Frame;
use crate::geometry::{Rect, Size};
use crate::localize::map::Map;
use crate::localize::{Localizer, Wanted};
use crate::network::Network;
use crate::network::activations::Activations;
use crate::pipeline::batch::batch;
use crate::source::still::read_stored;

/// A box overlaps the region of high activation where at least this part of it lies in the region.
pub const OVERLAP: f64 = 0.5;

/// Whose maps, and where they are high.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub class: usize,
    /// Of the map's maximum, 0 to 1.
    pub threshold: f32,
    /// Whether maps are spread among places that look alike.
    pub spreads: bool,
}

/// Things of one name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Object {
    pub name: String,
    /// In how many photographs one is annotated.
    pub photographs: usize,
    /// In how many of them one of its boxes overlaps the region of high activation.
    pub overlapping: usize,
    /// The one by the other.
    pub share: f64,
}

/// What came of the photographs.
#[derive(Debug, Default)]
pub struct Counted {
    /// From those that overlap in most photographs down; of equally many the larger share first.
    pub objects: Vec<Object>,
    /// Photographs that were looked at.
    pub images: usize,
    /// Those that could not be used, each named.
    pub failed: Vec<Error>,
}

/// Counts over the photographs, as many at a time as there are `networks`.
///
/// # Errors
/// A network that cannot be run. A photograph that cannot be read is among the failed.
pub fn count(
    photographs: &[Result<Annotated>],
    options: Options,
    networks: Vec<Network>,
    progress: &mut dyn FnMut(usize),
) -> Result<Counted> {
    let workers = networks.into_iter().map(|network| Worker::new(network, options)).collect();
    let work = |worker: &mut Worker, i: usize| match &photographs[i] {
        Ok(annotated) => worker.look(annotated),
        Err(error) => Ok(Err(error.clone())),
    };
    let mut counted = Counted::default();
    let mut objects = Vec::new();
    for result in batch(photographs.len(), workers, &work, progress)? {
        match result {
            Ok(found) => objects.push(found),
            Err(error) => counted.failed.push(error),
        }
    }
    counted.images = objects.len();
    counted.objects = rank(objects);
    Ok(counted)
}

/// Which names a photograph has, and whether one of their boxes overlaps.
type Names = BTreeMap<String, bool>;

fn rank(photographs: Vec<Names>) -> Vec<Object> {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (name, overlaps) in photographs.into_iter().flatten() {
        let (photographs, overlapping) = counts.entry(name).or_default();
        *photographs += 1;
        *overlapping += usize::from(overlaps);
    }
    let object = |(name, (photographs, overlapping)): (String, (usize, usize))| Object {
        name,
        photographs,
        overlapping,
        share: overlapping as f64 / photographs as f64,
    };
    let mut objects: Vec<Object> = counts.into_iter().map(object).collect();
    // Of equally many in fewer photographs; the sort keeps the order of names.
    objects.sort_by_key(|object| (Reverse(object.overlapping), object.photographs));
    objects
}

/// A network with the buffers to look at one photograph after the other.
struct Worker {
    network: Network,
    options: Options,
    localizer: Localizer,
    frame: Frame,
    activations: Activations,
}

impl Worker {
    fn new(network: Network, options: Options) -> Self {
        let wanted = Wanted::Classes(Vec::new());
        Self {
            localizer: Localizer::new(wanted, network.input_size(), options.spreads),
            network,
            options,
            frame: Frame::empty(),
            activations: Activations::default(),
        }
    }

    /// The outer error ends the run, the inner one is that of the photograph.
    fn look(&mut self, annotated: &Annotated) -> Result<Result<Names>> {
        if let Err(error) = read_stored(&annotated.photograph, &mut self.frame) {
            return Ok(Err(error));
        }
        self.network.prepare(&self.frame)?;
        self.network.run(&mut self.activations)?;
        self.localizer.compare(&self.activations);
        let Options { class, threshold, .. } = self.options;
        self.localizer.find_map(&self.activations, self.network.head(), class);
        let map = self.localizer.map();
        let limit = map.limit(threshold);
        let size = annotated.size.unwrap_or(self.frame.size);
        let mut names = Names::new();
        for (name, rect) in &annotated.things {
            let overlaps = limit.is_some_and(|limit| share(map, limit, *rect, size) >= OVERLAP);
            *names.entry(name.clone()).or_default() |= overlaps;
        }
        Ok(Ok(names))
    }
}

/// The part of a box, in pixels of a picture of size `size` that the map spans, where the map exceeds
/// `limit`; 0 for a box beside the picture.
fn share(map: &Map, limit: f32, rect: Rect, size: Size) -> f64 {
    let grid = Size::new(map.width as u32, map.height as u32);
    let rect = rect.intersection(Rect::new(0, 0, size.width, size.height));
    if rect.area() == 0 {
        return 0.0;
    }
    let Rect { x0, y0, x1, y1 } = rect.scaled(size, grid);
    let rows = map.values.chunks_exact(map.width).take(y1 as usize).skip(y0 as usize);
    let places = rows.flat_map(|row| &row[x0 as usize..x1 as usize]);
    let (high, all) =
        places.fold((0u64, 0u64), |(high, all), &value| (high + u64::from(value > limit), all + 1));
    high as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// High in the left half.
    fn half() -> Map {
        let values = (0..40).map(|i| if i % 8 < 4 { 2.0 } else { 0.1 }).collect();
        Map { width: 8, height: 5, values }
    }

    #[test]
    fn a_box_overlaps_by_the_part_of_it_where_the_map_is_high() {
        let (map, size) = (half(), Size::new(80, 50));
        let limit = map.limit(0.2).unwrap();
        let share = |rect| share(&map, limit, rect, size);
        assert_eq!(share(Rect::new(0, 0, 40, 50)), 1.0);
        assert_eq!(share(Rect::new(0, 0, 80, 10)), 0.5);
        assert_eq!(share(Rect::new(30, 10, 70, 20)), 0.25);
        assert_eq!(share(Rect::new(50, 0, 51, 1)), 0.0);
        assert_eq!(share(Rect::new(0, 0, 400, 500)), 0.5);
        assert_eq!(share(Rect::new(90, 0, 95, 9)), 0.0);
    }

    #[test]
    fn a_map_without_a_peak_has_no_region() {
        for values in [vec![-1.0, -2.0], vec![3.0, 3.0], vec![f32::NAN, f32::NAN]] {
            assert_eq!(Map { width: 2, height: 1, values }.limit(0.2), None);
        }
    }

    #[test]
    fn a_name_counts_once_a_photograph() {
        let photograph = |names: &[(&str, bool)]| -> Names {
            names.iter().map(|&(name, overlaps)| (name.to_owned(), overlaps)).collect()
        };
        let objects = rank(vec![
            photograph(&[("bed", true), ("lamp", false), ("wall", true)]),
            photograph(&[("bed", true), ("wall", false)]),
            photograph(&[("curtain", true), ("wall", true)]),
        ]);
        let names: Vec<_> = objects.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["bed", "wall", "curtain", "lamp"]);
        assert_eq!((objects[1].photographs, objects[1].overlapping), (3, 2));
        assert_eq!((objects[0].share, objects[3].share), (1.0, 0.0));
    }
}
