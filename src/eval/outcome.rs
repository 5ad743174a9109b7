//! What the network made of one photograph.

use crate::eval::contours::Contours;
use crate::eval::pixels::Histogram;
use crate::geometry::{Rect, Size};

/// The IoU from which a box is right, but for MaxBoxAccV2.
pub const RIGHT: f64 = 0.5;

/// The IoUs of MaxBoxAccV2.
pub const RIGHT_V2: [f64; 3] = [0.3, 0.5, 0.7];

/// One photograph, scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How many classes have a higher score than the right one.
    pub rank: usize,
    pub located: Located,
}

/// How well the thing was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Located {
    Boxes(Box<Boxes>),
    Pixels(Histogram),
}

/// Which boxes of the right class's map are right.
#[derive(Debug, Clone, PartialEq)]
pub struct Boxes {
    /// That of the paper's rule.
    pub rule: bool,
    /// The tight and the loose one of the paper's heuristic.
    pub tight: bool,
    pub loose: bool,
    /// Those that need no network.
    pub full_frame: bool,
    pub centre: bool,
    /// That of the score map's largest contour, a threshold.
    pub largest: Levels,
    /// Any of the score map's contours, a threshold, for each of [`RIGHT_V2`].
    pub any: [Levels; 3],
}

/// A set of 8-bit thresholds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Levels([u64; 4]);

impl Levels {
    /// Whether `level` is in the set.
    pub fn has(&self, level: u8) -> bool {
        self.0[usize::from(level / 64)] >> (level % 64) & 1 == 1
    }

    pub(super) fn insert(&mut self, level: u8) {
        self.0[usize::from(level / 64)] |= 1 << (level % 64);
    }
}

/// Whether the box fits any of those in the ground truth.
pub fn is_right(found: Rect, truth: &[Rect]) -> bool {
    truth.iter().any(|&truth| found.iou(truth) >= RIGHT)
}

/// The box in the middle of a picture that has half its area: its sides are 0.71 times as long.
pub fn centre_box(size: Size) -> Rect {
    let margin = |pixels: u32| {
        let half = f64::from(pixels) * (1.0 - std::f64::consts::FRAC_1_SQRT_2) / 2.0;
        half.round() as u32
    };
    let (x, y) = (margin(size.width), margin(size.height));
    Rect::new(x, y, size.width - x, size.height - y)
}

/// The thresholds at which the box of the largest contour, and any contour's box, fit the ground
/// truth, which is given in the score map's grid.
pub fn levels(
    contours: &mut Contours,
    bytes: &[u8],
    width: usize,
    truth: &[Rect],
) -> (Levels, [Levels; 3]) {
    let (mut largest, mut any) = (Levels::default(), [Levels::default(); 3]);
    contours.visit(bytes, width, |levels, boxes| {
        let best = |found: Rect| truth.iter().map(|&t| found.iou(t)).fold(0.0, f64::max);
        let of_largest = best(boxes.largest);
        let of_any = boxes.all.iter().map(|&found| best(found)).fold(0.0, f64::max);
        for level in levels {
            if of_largest >= RIGHT {
                largest.insert(level);
            }
            for (set, right) in any.iter_mut().zip(RIGHT_V2) {
                if of_any >= right {
                    set.insert(level);
                }
            }
        }
    });
    (largest, any)
}

/// The rank of `class`: as many classes have a higher score, or the same and a lower index. A score
/// that is not a number comes last.
pub fn rank(scores: &[f32], class: usize) -> usize {
    let of_class = scores[class];
    let before = |(other, &score): (usize, &f32)| {
        score > of_class
            || (score == of_class && other < class)
            || (of_class.is_nan() && (!score.is_nan() || other < class))
    };
    scores.iter().enumerate().filter(|&other| before(other)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_counts_the_classes_before() {
        let scores = [0.1, 0.4, 0.4, 0.05];
        assert_eq!([0, 1, 2, 3].map(|class| rank(&scores, class)), [2, 0, 1, 3]);
        assert_eq!([0, 1, 2].map(|class| rank(&[f32::NAN, 0.1, f32::NAN], class)), [1, 0, 2]);
    }

    #[test]
    fn the_centre_box_has_half_the_area() {
        let rect = centre_box(Size::new(1000, 500));
        assert_eq!(rect, Rect::new(146, 73, 854, 427));
        assert_eq!(centre_box(Size::new(1, 1)), Rect::new(0, 0, 1, 1));
    }

    #[test]
    fn a_box_is_right_from_half_its_union_on() {
        let truth = [Rect::new(50, 50, 60, 60), Rect::new(0, 0, 10, 10)];
        assert!(is_right(Rect::new(0, 0, 10, 5), &truth));
        assert!(!is_right(Rect::new(0, 0, 10, 4), &truth));
        assert!(!is_right(Rect::new(0, 0, 10, 10), &[]));
    }

    #[test]
    fn a_threshold_counts_where_the_box_above_it_fits() {
        // A bright place in a dim square of 4x4, which is the truth but for the box's extra place.
        let mut map = vec![0; 100];
        for (x, y) in (3..7).flat_map(|x| (3..7).map(move |y| (x, y))) {
            map[10 * y + x] = 100;
        }
        map[55] = 255;
        let truth = [Rect::new(3, 3, 8, 8)];
        let (largest, any) = levels(&mut Contours::default(), &map, 10, &truth);
        for level in 0..=254 {
            assert_eq!(largest.has(level), level < 100);
            assert!(any.iter().all(|set| set.has(level) == (level < 100)));
        }
    }

    #[test]
    fn any_contour_may_fit_where_the_largest_does_not() {
        let mut map = vec![0; 200];
        map[..100].fill(255);
        map[150] = 255;
        let truth = [Rect::new(0, 15, 2, 17)];
        let (largest, any) = levels(&mut Contours::default(), &map, 10, &truth);
        assert!(!largest.has(7) && any.iter().all(|set| set.has(7)));
    }
}
