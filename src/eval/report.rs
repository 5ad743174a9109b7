//! The measures, and what they come to over a data set.

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::eval::bootstrap;
use crate::eval::contours::LAST_LEVEL;
use crate::eval::outcome::{Boxes, Levels, Located, Outcome};
use crate::eval::pixels::average_precision;

/// A measure by its name.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    /// Its definition, for a reader who knows the field.
    pub meaning: &'static str,
    measure: Measure,
}

#[derive(Debug)]
enum Measure {
    /// The mean of a number a photograph.
    Mean(fn(&Outcome, &Thresholds) -> Option<f64>),
    /// That of the pixels of all photographs together.
    AveragePrecision,
}

/// Every measure, in the order of the table.
pub const METRICS: [Metric; 11] = [
    Metric {
        name: "cls_top1_error",
        meaning: "share of photographs whose class is not the one with the highest score",
        measure: Measure::Mean(|of, _| share(of.rank >= 1)),
    },
    Metric {
        name: "cls_top5_error",
        meaning: "share of photographs whose class is not among the five with the highest scores",
        measure: Measure::Mean(|of, _| share(of.rank >= 5)),
    },
    Metric {
        name: "loc_top1_error",
        meaning: "share of photographs where the class with the highest score is wrong, or its box is: \
                  the box around the largest connected part of its map above --threshold times the maximum. \
                  A box is right if its IoU with any box of the ground truth is at least 0.5",
        measure: Measure::Mean(|of, _| Some(f64::from(!(boxes(of)?.rule && of.rank < 1)))),
    },
    Metric {
        name: "loc_top5_error",
        meaning: "the same for the five classes with the highest scores, a box for each: share of \
                  photographs where none has both the right class and a right box",
        measure: Measure::Mean(|of, _| Some(f64::from(!(boxes(of)?.rule && of.rank < 5)))),
    },
    Metric {
        name: "loc_top5_error_two_boxes",
        meaning: "the same for the paper's five boxes of its test set: a tight and a loose one (cut at \
                  --tight and --loose) for the first and the second class, a loose one for the third",
        measure: Measure::Mean(|of, _| {
            let boxes = boxes(of)?;
            let right = match of.rank {
                0 | 1 => boxes.tight || boxes.loose,
                2 => boxes.loose,
                _ => false,
            };
            Some(f64::from(!right))
        }),
    },
    Metric {
        name: "gt_known",
        meaning: "share of photographs where the box is right that the right class's map gives, cut \
                  at --threshold, whatever the scores (GT-known localization)",
        measure: Measure::Mean(|of, _| share(boxes(of)?.rule)),
    },
    Metric {
        name: "chance_full_frame",
        meaning: "the same for a box that is the whole photograph",
        measure: Measure::Mean(|of, _| share(boxes(of)?.full_frame)),
    },
    Metric {
        name: "chance_centre_box",
        meaning: "the same for the box in the middle of the photograph that has half its area",
        measure: Measure::Mean(|of, _| share(boxes(of)?.centre)),
    },
    Metric {
        name: "max_box_acc",
        meaning: "MaxBoxAcc of wsolevaluation: share of photographs where the box of the largest \
                  contour of the right class's score map is right (224x224, lowest value 0, highest 1, in 8 \
                  bits), cut at that one threshold for all photographs which makes the share largest",
        measure: Measure::Mean(|of, at| share(boxes(of)?.largest.has(at.largest))),
    },
    Metric {
        name: "max_box_acc_v2",
        meaning: "MaxBoxAccV2 of wsolevaluation: the same, but the box of any contour may be the \
                  right one; mean of the shares for an IoU of at least 0.3, 0.5 and 0.7, each at its own best \
                  threshold",
        measure: Measure::Mean(|of, at| {
            let sets = boxes(of)?.any.iter().zip(at.any);
            Some(sets.map(|(set, level)| f64::from(set.has(level))).sum::<f64>() / 3.0)
        }),
    },
    Metric {
        name: "pxap",
        meaning: "PxAP of wsolevaluation, where the data set has masks: area under the curve of \
                  precision over recall of the score maps' pixels",
        measure: Measure::AveragePrecision,
    },
];

/// A measure's value, and between which the middle 95 % of its resampled values lie.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Measured {
    pub value: f64,
    pub ci95: [f64; 2],
}

/// What the measures come to.
#[derive(Debug)]
pub struct Report {
    /// In the order of [`METRICS`]; none where the data set lacks what it takes.
    statistics: Vec<Option<Statistic>>,
    /// How many photographs they are of.
    images: usize,
    /// How many others could not be scored.
    failed: usize,
}

/// A measure's value, and its values on resampled photographs.
#[derive(Debug)]
struct Statistic {
    value: f64,
    resampled: Vec<f64>,
}

impl Statistic {
    fn measured(&self) -> Option<Measured> {
        let ci95 = bootstrap::interval(self.resampled.iter().copied())?;
        Some(Measured { value: self.value, ci95 })
    }

    /// How much more it is than `other`, which is of the same photographs.
    fn more_than(&self, other: &Self) -> Option<Measured> {
        let pairs = self.resampled.iter().zip(&other.resampled);
        let ci95 = bootstrap::interval(pairs.map(|(own, other)| own - other))?;
        Some(Measured { value: self.value - other.value, ci95 })
    }
}

/// The thresholds of the score maps that make most boxes right.
struct Thresholds {
    largest: u8,
    any: [u8; 3],
}

fn share(counts: bool) -> Option<f64> {
    Some(f64::from(counts))
}

fn boxes(of: &Outcome) -> Option<&Boxes> {
    match &of.located {
        Located::Boxes(boxes) => Some(boxes),
        Located::Pixels(_) => None,
    }
}

impl Report {
    /// Takes every measure. Thresholds are chosen once, on all photographs.
    pub fn of(outcomes: &[Outcome], failed: usize) -> Self {
        let thresholds = Thresholds {
            largest: best_level(outcomes, |boxes| &boxes.largest),
            any: [0, 1, 2].map(|i| best_level(outcomes, |boxes| &boxes.any[i])),
        };
        let statistics = METRICS.iter().map(|metric| match metric.measure {
            Measure::Mean(of) => {
                let values = outcomes.iter().map(|outcome| of(outcome, &thresholds));
                values.collect::<Option<Vec<f64>>>().map(|values| mean(&values))
            }
            Measure::AveragePrecision => precision(outcomes),
        });
        Self { statistics: statistics.collect(), images: outcomes.len(), failed }
    }

    /// What each of [`METRICS`] comes to; none where the data set lacks what it takes.
    pub fn measured(&self) -> impl Iterator<Item = Option<Measured>> {
        self.statistics.iter().map(|statistic| statistic.as_ref()?.measured())
    }

    /// How much more each of [`METRICS`] comes to than in another report on the same photographs, with
    /// the interval of the difference.
    pub fn more_than(&self, other: &Self) -> impl Iterator<Item = Option<Measured>> {
        let pairs = self.statistics.iter().zip(&other.statistics);
        pairs.map(|(own, other)| own.as_ref()?.more_than(other.as_ref()?))
    }

    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        for (metric, measured) in METRICS.iter().zip(self.measured()) {
            map.serialize_entry(metric.name, &measured)?;
        }
        map.serialize_entry("images", &self.images)?;
        map.serialize_entry("failed", &self.failed)
    }
}

/// Reports on the same photographs, measured in different ways.
#[derive(Debug)]
pub struct Comparison {
    pub first: Report,
    /// Each with its way.
    pub others: Vec<(String, Report)>,
}

impl Comparison {
    /// For a reader: a line a measure, in percent; below it the same for the others, with what they
    /// are more than the first.
    pub fn table(&self) -> String {
        let first = &self.first;
        let mut text = format!("{:26}{:>7}   95 % interval\n", "", "%");
        for (metric, measured) in METRICS.iter().zip(first.measured()) {
            let Some(measured) = measured else { continue };
            text += &format!("{:26}{}\n", metric.name, percent(measured).trim_end());
        }
        for (way, other) in &self.others {
            text += &format!(
                "\n{way}\n{:26}{:>7}   {:19}  more   95 % interval\n",
                "", "%", "95 % interval"
            );
            let pairs = other.measured().zip(other.more_than(first));
            for (metric, (measured, more)) in METRICS.iter().zip(pairs) {
                let (Some(measured), Some(more)) = (measured, more) else { continue };
                let more = percent(more);
                text += &format!("{:26}{}{}\n", metric.name, percent(measured), more.trim_end());
            }
        }
        text + &format!("\n{} photographs, {} failed\n", first.images, first.failed)
    }
}

/// In columns of the same width.
fn percent(measured: Measured) -> String {
    let Measured { value, ci95: [low, high] } = measured;
    let [value, low, high] = [value, low, high].map(|share| 100.0 * share);
    format!("{value:7.2}   {:19}", format!("{low:.2} to {high:.2}"))
}

/// One JSON object: `{"value":x,"ci95":[a,b]}` a measure, as shares from 0 to 1, or null; the counts;
/// and for each of the others an object of the same, of what it is more than the first, and its way.
impl Serialize for Comparison {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.first.entries(&mut map)?;
        if !self.others.is_empty() {
            let others = self.others.iter().map(|other| Other { first: &self.first, other });
            map.serialize_entry("against", &others.collect::<Vec<_>>())?;
        }
        map.end()
    }
}

struct Other<'a> {
    first: &'a Report,
    other: &'a (String, Report),
}

impl Serialize for Other<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (way, other) = self.other;
        let more: BTreeMap<_, _> =
            METRICS.iter().map(|metric| metric.name).zip(other.more_than(self.first)).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("options", way)?;
        other.entries(&mut map)?;
        map.serialize_entry("more", &more)?;
        map.end()
    }
}

/// The lowest of the thresholds that are in most sets.
fn best_level(outcomes: &[Outcome], set: impl Fn(&Boxes) -> &Levels) -> u8 {
    let count = |level: u8| outcomes.iter().filter_map(boxes).filter(|b| set(b).has(level)).count();
    (0..=LAST_LEVEL).rev().max_by_key(|&level| count(level)).unwrap_or(0)
}

fn mean(values: &[f64]) -> Statistic {
    let all = values.len() as f64;
    let resampled = bootstrap::resample(values.len(), |drawn| {
        Some(drawn.iter().zip(values).map(|(&n, value)| f64::from(n) * value).sum::<f64>() / all)
    });
    Statistic { value: values.iter().sum::<f64>() / all, resampled }
}

fn precision(outcomes: &[Outcome]) -> Option<Statistic> {
    let histograms = outcomes.iter().map(|outcome| match &outcome.located {
        Located::Pixels(histogram) => Some(histogram),
        Located::Boxes(_) => None,
    });
    let histograms: Vec<_> = histograms.collect::<Option<_>>()?;
    let value = average_precision(histograms.iter().map(|&histogram| (histogram, 1)))?;
    let resampled = bootstrap::resample(outcomes.len(), |drawn| {
        average_precision(histograms.iter().copied().zip(drawn.iter().copied()))
    });
    Some(Statistic { value, resampled })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A photograph whose class has this rank, and the right boxes among these: that of the rule, the
    /// tight, the loose one.
    fn outcome(rank: usize, [rule, tight, loose]: [bool; 3], levels: &[u8]) -> Outcome {
        let mut set = Levels::default();
        levels.iter().for_each(|&level| set.insert(level));
        let boxes = Boxes {
            rule,
            tight,
            loose,
            full_frame: rule,
            centre: false,
            largest: set,
            any: [set, set, Levels::default()],
        };
        Outcome { rank, located: Located::Boxes(Box::new(boxes)) }
    }

    fn values(outcomes: &[Outcome]) -> Vec<Option<f64>> {
        let report = Report::of(outcomes, 0);
        report.measured().map(|measured| measured.map(|m| m.value)).collect()
    }

    fn value(name: &str, outcomes: &[Outcome]) -> f64 {
        let i = METRICS.iter().position(|metric| metric.name == name).unwrap();
        values(outcomes)[i].unwrap()
    }

    #[test]
    fn a_class_is_wrong_from_the_second_and_sixth_rank_on() {
        let outcomes = [0, 1, 4, 5].map(|rank| outcome(rank, [true; 3], &[]));
        assert_eq!(value("cls_top1_error", &outcomes), 0.75);
        assert_eq!(value("cls_top5_error", &outcomes), 0.25);
        assert_eq!(value("loc_top1_error", &outcomes), 0.75);
        assert_eq!(value("loc_top5_error", &outcomes), 0.25);
    }

    #[test]
    fn a_right_class_with_a_wrong_box_is_a_localization_error() {
        let outcomes = [[true; 3], [false; 3]].map(|right| outcome(0, right, &[]));
        assert_eq!(value("loc_top1_error", &outcomes), 0.5);
        assert_eq!(value("loc_top5_error", &outcomes), 0.5);
        assert_eq!(value("cls_top1_error", &outcomes), 0.0);
    }

    #[test]
    fn gt_known_localization_does_not_ask_for_the_rank() {
        assert_eq!(value("gt_known", &[outcome(900, [true, false, false], &[])]), 1.0);
    }

    #[test]
    fn the_heuristic_has_five_boxes() {
        let error = |rank, right| value("loc_top5_error_two_boxes", &[outcome(rank, right, &[])]);
        let (tight, loose) = ([false, true, false], [false, false, true]);
        assert_eq!([0, 1, 2, 3].map(|rank| error(rank, tight)), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!([0, 1, 2, 3].map(|rank| error(rank, loose)), [0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn the_best_threshold_is_the_same_for_all_photographs() {
        let outcomes = [&[3, 7][..], &[7, 200], &[200], &[9, 7]];
        let outcomes = outcomes.map(|levels| outcome(0, [true; 3], levels));
        assert_eq!(value("max_box_acc", &outcomes), 0.75);
        assert_eq!(value("max_box_acc_v2", &outcomes), 0.5);
    }

    #[test]
    fn a_data_set_without_masks_has_no_pixel_precision() {
        assert_eq!(values(&[outcome(0, [true; 3], &[])]).last(), Some(&None));
    }

    #[test]
    fn json_is_one_object_of_measures_and_counts() {
        let first = Report::of(&[outcome(0, [true; 3], &[1])], 2);
        let json = serde_json::to_value(Comparison { first, others: Vec::new() }).unwrap();
        for metric in METRICS.iter().filter(|metric| metric.name != "pxap") {
            let measured = &json[metric.name];
            assert!(measured["value"].is_f64() && measured["ci95"][1].is_f64(), "{measured}");
        }
        assert!(json["pxap"].is_null());
        assert_eq!((json["images"].as_u64(), json["failed"].as_u64()), (Some(1), Some(2)));
        assert_eq!(json.as_object().unwrap().len(), METRICS.len() + 2);
    }

    #[test]
    fn a_comparison_tells_what_the_other_is_more_photograph_by_photograph() {
        // The same photographs are right but for one, so that the difference varies less than both.
        let right = |i: usize, also: usize| outcome(0, [i.is_multiple_of(2) || i == also; 3], &[]);
        let report =
            |also: usize| Report::of(&(0..40).map(|i| right(i, also)).collect::<Vec<_>>(), 0);
        let comparison =
            Comparison { first: report(0), others: vec![("--plain".into(), report(1))] };
        let json = serde_json::to_value(&comparison).unwrap();
        assert_eq!(json["gt_known"]["value"], 0.5);
        let other = &json["against"][0];
        assert_eq!(
            (&other["options"], &other["gt_known"]["value"]),
            (&"--plain".into(), &0.525.into())
        );
        let more = &other["more"]["gt_known"];
        let [low, high] = [0, 1].map(|i| more["ci95"][i].as_f64().unwrap());
        assert!((more["value"].as_f64().unwrap() - 0.025).abs() < 1e-9);
        assert!(low == 0.0 && (0.025..0.1).contains(&high), "{low} to {high}");
        let table = comparison.table();
        assert!(table.contains("--plain") && table.contains("   2.50   0.00 to "), "{table}");
    }
}
