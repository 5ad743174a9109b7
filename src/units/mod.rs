//! Which units of the last feature maps speak for a class, and what each of them stands for: the
//! parts of photographs where it is highest.
//!
//! # Source
//! Zhou et al., CVPR 2016, section 5: units ranked by the class's weight `w_k^c`, each shown by its
//! top activating photographs, cut to the unit's receptive field and segmented by its map.

mod patch;
pub mod table;

pub use patch::{Cutter, Patch};

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::localize::map::Map;
use crate::network::Network;
use crate::network::activations::{Activations, Features, Head};
use crate::pipeline::batch::batch;
use crate::source::still::read_photograph;

/// A unit of the last feature maps, as a class weighs it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// The index `k` of its map.
    pub number: usize,
    /// `w_k^c`.
    pub weight: f32,
}

/// The `count` units with the highest weights of `class`, from the highest down; of equal ones the
/// first. Where the maps are those of the classes, the class's own map, with a weight of 1.
///
/// # Panics
/// Where the head has no such class.
pub fn highest(head: &Head, class: usize, count: usize) -> Vec<Unit> {
    let mut units: Vec<Unit> = match head {
        Head::Identity { .. } => vec![Unit { number: class, weight: 1.0 }],
        Head::Linear { channels, weights } => weights[class * channels..(class + 1) * channels]
            .iter()
            .enumerate()
            .map(|(number, &weight)| Unit { number, weight })
            .collect(),
    };
    units.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    units.truncate(count);
    units
}

/// The highest place of a unit in a photograph.
#[derive(Debug, Clone, PartialEq)]
pub struct Peak {
    /// Index among the photographs.
    pub photograph: usize,
    /// `f_k` there; above 0.
    pub activation: f32,
    /// The sum of the map over that cell and its eight neighbours, as far as there are any.
    pub around: f32,
    /// Column and row of the feature map; of equally high ones that with the most around it.
    pub cell: (usize, usize),
    /// The whole map of the unit.
    pub map: Map,
}

impl Peak {
    fn of(features: &Features, unit: usize, photograph: usize) -> Option<Self> {
        let map = Map {
            width: features.width,
            height: features.height,
            values: features.unit(unit).collect(),
        };
        let (_, _, activation) = map.peak().filter(|&(_, _, value)| value > 0.0)?;
        let (cell, around) = (0..map.values.len())
            .filter(|&i| map.values[i] == activation)
            .map(|i| (i % map.width, i / map.width))
            .map(|cell| (cell, around(&map, cell)))
            .reduce(|best, next| if next.1 > best.1 { next } else { best })?;
        Some(Self { photograph, activation, around, cell, map })
    }

    /// Which of two comes first: the higher one; of equally high ones, since activations may saturate,
    /// that with the most around it.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let by_activation = other.activation.total_cmp(&self.activation);
        by_activation
            .then(other.around.total_cmp(&self.around))
            .then(self.photograph.cmp(&other.photograph))
    }
}

fn around(map: &Map, (x, y): (usize, usize)) -> f32 {
    let columns = x.saturating_sub(1)..(x + 2).min(map.width);
    let rows = y.saturating_sub(1)..(y + 2).min(map.height);
    rows.flat_map(|y| &map.values[y * map.width..][columns.clone()]).sum()
}

/// What the photographs of a folder show of units.
#[derive(Debug, Default)]
pub struct Found {
    /// The highest peaks of each unit, at most one a photograph, from the highest down.
    pub peaks: Vec<Vec<Peak>>,
    /// Photographs that could not be read, each named.
    pub failed: Vec<Error>,
}

/// Finds the `count` photographs in which each of the units is highest, looking at as many at a time
/// as there are `networks`. A photograph where a unit is nowhere above 0 is none of its. Keeps no more
/// than that many maps a unit, and a photograph a worker.
///
/// # Errors
/// A network that cannot be run. A photograph that cannot be read is among the failed.
pub fn search(
    photographs: &[PathBuf],
    units: &[Unit],
    count: usize,
    networks: Vec<Network>,
    progress: &mut dyn FnMut(usize),
) -> Result<Found> {
    let peaks = Mutex::new(vec![Vec::<Peak>::new(); units.len()]);
    let worker = |network| (network, Frame::empty(), Activations::default());
    let workers = networks.into_iter().map(worker).collect();
    let work = |(network, frame, activations): &mut (Network, Frame, Activations), i: usize| {
        if let Err(error) = read_photograph(&photographs[i], frame) {
            return Ok(Some(error));
        }
        network.prepare(frame)?;
        network.run(activations)?;
        let mut peaks = peaks.lock().unwrap_or_else(PoisonError::into_inner);
        for (kept, unit) in peaks.iter_mut().zip(units) {
            let Some(peak) = Peak::of(&activations.features, unit.number, i) else { continue };
            let place = kept.partition_point(|other| other.order(&peak).is_lt());
            if place < count {
                kept.truncate(count - 1);
                kept.insert(place, peak);
            }
        }
        Ok(None)
    };
    let failed = batch(photographs.len(), workers, &work, progress)?;
    Ok(Found {
        peaks: peaks.into_inner().unwrap_or_else(PoisonError::into_inner),
        failed: failed.into_iter().flatten().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_come_by_their_weight_for_the_class() {
        let head = Head::Linear { channels: 3, weights: vec![9.0, 9.0, 9.0, -1.0, 2.0, 0.5] };
        let units = highest(&head, 1, 2);
        assert_eq!(units, [Unit { number: 1, weight: 2.0 }, Unit { number: 2, weight: 0.5 }]);
        assert_eq!(highest(&head, 0, 9).iter().map(|u| u.number).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_class_with_a_map_of_its_own_has_that_unit_only() {
        let units = highest(&Head::Identity { classes: 5 }, 3, 8);
        assert_eq!(units, [Unit { number: 3, weight: 1.0 }]);
    }

    /// A row of cells.
    fn features(values: &[f32]) -> Features {
        Features { channels: 1, width: values.len(), height: 1, values: values.to_vec() }
    }

    #[test]
    fn the_peak_is_the_highest_place_above_zero() {
        let peak = Peak::of(&features(&[0.0, 1.0, 4.0, 2.0]), 0, 7).unwrap();
        assert_eq!((peak.photograph, peak.activation, peak.cell), (7, 4.0, (2, 0)));
        assert_eq!(Peak::of(&features(&[0.0, -1.0, 0.0, f32::NAN]), 0, 7), None);
    }

    #[test]
    fn of_equally_high_places_the_peak_is_that_with_the_most_around_it() {
        let peak = Peak::of(&features(&[6.0, 1.0, 0.0, 2.0, 6.0, 1.0]), 0, 0).unwrap();
        assert_eq!((peak.cell, peak.around), ((4, 0), 9.0));
        let equal = Peak::of(&features(&[6.0, 1.0, 6.0, 0.0, 6.0]), 0, 0).unwrap();
        assert_eq!(equal.cell, (0, 0), "the first of them");
    }

    #[test]
    fn eight_neighbours_are_around_a_cell_and_fewer_at_the_edge() {
        let map = Map { width: 4, height: 3, values: (0..12).map(|v| v as f32).collect() };
        assert_eq!(around(&map, (1, 1)), 45.0);
        assert_eq!(around(&map, (3, 0)), 2.0 + 3.0 + 6.0 + 7.0);
    }

    #[test]
    fn of_equally_high_peaks_that_with_the_most_around_it_comes_first() {
        let peak = |values, i| Peak::of(&features(values), 0, i).unwrap();
        let mut peaks = [
            peak(&[6.0, 0.0, 5.0, 5.0], 0),
            peak(&[6.0, 5.0, 0.0, 0.0], 1),
            peak(&[7.0, 0.0, 0.0, 0.0], 2),
            peak(&[0.0, 0.0, 0.0, 6.0], 3),
        ];
        peaks.sort_by(Peak::order);
        assert_eq!(peaks.map(|peak| peak.photograph), [2, 1, 0, 3]);
    }
}
