//! The boxes of a score map's contours, at every threshold.
//!
//! What is contoured are the 8-connected components of the places above the threshold, and their
//! holes: the 4-connected components of the others that do not reach the border. From one
//! threshold to the next only a few places change, so each row keeps a bit a place, and a threshold
//! costs as much as there are runs of equal bits.
//!
//! The area inside a contour is that of the polygon through the centres of its places: of each
//! square between four places the whole where all of them belong to the component, and half where
//! three do. A hole has what is left: half of each square for each corner, but never more than all.

use std::ops::{Range, RangeInclusive};

use crate::geometry::Rect;

/// The largest of the 8-bit thresholds; at 255 nothing is above.
pub const LAST_LEVEL: u8 = 254;

/// The most places of a map: bits, runs and areas are counted in 32 bits.
pub const MAX_PLACES: usize = 1 << 24;

/// The boxes of one threshold, as `wsolevaluation` takes them from OpenCV: a box reaches one place
/// further to the right and down than its contour, where the map goes on there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Boxes<'a> {
    /// That of the contour around the largest area; of equal ones, the last that begins, row by row.
    pub largest: Rect,
    /// Those of all contours, in no order. Where nothing is above the threshold: the first place.
    pub all: &'a [Rect],
}

/// Finds contours; keeps its buffers from map to map.
#[derive(Debug, Default)]
pub struct Contours {
    /// Whether a place is above the threshold: so many words a row.
    bits: Vec<u64>,
    /// The bits of the places of each value, from the first on.
    places: Vec<Vec<u32>>,
    runs: Vec<Run>,
    boxes: Vec<Rect>,
}

/// Neighbouring places of one row that are all above the threshold, or all not and between such;
/// and what is known of the component that begins with it.
#[derive(Debug, Clone, Copy)]
struct Run {
    above_threshold: bool,
    rect: Rect,
    /// An earlier run of the same component, or the run itself.
    root: u32,
    /// The run in the row above, at the first place.
    upper: u32,
    /// Number of places.
    count: i32,
    /// Twice the area of the squares and triangles between places.
    twice_area: i32,
    /// Twice the area inside the contours of what lies within.
    within: i32,
}

/// The run that stands for what lies around the map. What is not above the threshold and reaches the
/// border is part of it.
const OUTSIDE: u32 = 0;

impl Contours {
    /// Hands the boxes of each threshold to `each`, from [`LAST_LEVEL`] down to 0: those of the
    /// places whose value exceeds it. Thresholds that leave the same places come as one range.
    ///
    /// # Panics
    /// Where `map` is not rows of `width` values, or has more than [`MAX_PLACES`].
    pub fn visit(
        &mut self,
        map: &[u8],
        width: usize,
        mut each: impl FnMut(RangeInclusive<u8>, Boxes),
    ) {
        assert!(width > 0 && map.len().is_multiple_of(width), "not a map of rows of {width}");
        assert!(map.len() <= MAX_PLACES, "a map of {} places", map.len());
        let words = width.div_ceil(64);
        self.bits.clear();
        self.bits.resize(words * (map.len() / width), 0);
        self.places.resize(256, Vec::new());
        self.places.iter_mut().for_each(Vec::clear);
        for (row, first) in map.chunks_exact(width).zip((0u32..).step_by(64 * words)) {
            for (&value, bit) in row.iter().zip(first..) {
                self.places[usize::from(value)].push(bit);
            }
        }
        let mut level = LAST_LEVEL;
        // The rows that have places above the threshold, and those between.
        let mut rows = map.len() / width..0;
        loop {
            let places = &self.places[usize::from(level) + 1];
            for bit in places {
                self.bits[*bit as usize / 64] |= 1 << (bit % 64);
            }
            if let (Some(first), Some(last)) = (places.first(), places.last()) {
                let row = |bit: &u32| *bit as usize / 64 / words;
                rows = rows.start.min(row(first))..rows.end.max(row(last) + 1);
            }
            let first =
                (0..level).rev().take_while(|&l| self.places[usize::from(l) + 1].is_empty());
            let lowest = first.last().unwrap_or(level);
            self.find_runs(width as u32, rows.clone());
            let largest = self.find_boxes(width as u32);
            each(lowest..=level, Boxes { largest, all: &self.boxes });
            match lowest.checked_sub(1) {
                Some(next) => level = next,
                None => break,
            }
        }
    }

    /// Finds all runs, row by row, and joins those of one component; the other rows have none.
    fn find_runs(&mut self, width: u32, rows: Range<usize>) {
        let Self { bits, runs, .. } = self;
        runs.clear();
        push(runs, false, Rect::default());
        let words = width.div_ceil(64) as usize;
        let mut above = 1..1;
        // One row more: what reaches it lies outside.
        for y in rows.start..rows.end + 1 {
            let row = if y < rows.end { &bits[y * words..][..words] } else { &[] };
            let start = runs.len();
            push_row(runs, y as u32, row, width);
            let current = start..runs.len();
            join_outside(runs, above.clone(), current.clone());
            join_outside(runs, current.clone(), above.clone());
            for run in current.clone() {
                let Rect { x0, x1, .. } = runs[run].rect;
                while !above.is_empty() && runs[above.start].rect.x1 < x0 {
                    above.start += 1;
                }
                for upper in above.clone() {
                    if runs[upper].rect.x0 > x1 {
                        break;
                    }
                    meet(runs, upper, run);
                }
            }
            above = current;
        }
    }

    /// Fills `boxes`, and gives that of the largest contour.
    fn find_boxes(&mut self, width: u32) -> Rect {
        let Self { bits, runs, boxes, .. } = self;
        let height = (bits.len() / width.div_ceil(64) as usize) as u32;
        for i in 1..runs.len() {
            // The root of an earlier run is known already.
            let root = runs[runs[i].root as usize].root;
            runs[i].root = root;
            if root as usize != i && root != OUTSIDE {
                let Run { rect, count, twice_area, .. } = runs[i];
                let whole = &mut runs[root as usize];
                whole.rect.x0 = whole.rect.x0.min(rect.x0);
                whole.rect.x1 = whole.rect.x1.max(rect.x1);
                whole.rect.y1 = whole.rect.y1.max(rect.y1);
                whole.count += count;
                whole.twice_area += twice_area;
            }
        }
        boxes.clear();
        let mut largest = None;
        // What lies within a component begins after it.
        for i in (1..runs.len()).rev() {
            let Run { above_threshold, rect, root, upper, count, twice_area, within } = runs[i];
            if root as usize != i {
                continue;
            }
            let (contour, own) = if above_threshold {
                (rect, twice_area)
            } else {
                let around = Rect::new(rect.x0 - 1, rect.y0 - 1, rect.x1 + 1, rect.y1 + 1);
                (around, 4 * count - twice_area)
            };
            let inside = own + within;
            let (x1, y1) = ((contour.x1 + 1).min(width), (contour.y1 + 1).min(height));
            let contour = Rect { x1, y1, ..contour };
            boxes.push(contour);
            let around = runs[upper as usize].root;
            if around != OUTSIDE {
                runs[around as usize].within += inside;
            } else if largest.is_none_or(|(most, _)| inside > most) {
                largest = Some((inside, contour));
            }
        }
        largest.map(|(_, contour)| contour).unwrap_or_else(|| {
            let first = Rect::new(0, 0, 1, 1);
            boxes.push(first);
            first
        })
    }
}

fn push(runs: &mut Vec<Run>, above_threshold: bool, rect: Rect) {
    let count = rect.area() as i32;
    runs.push(Run {
        above_threshold,
        rect,
        root: runs.len() as u32,
        upper: OUTSIDE,
        count,
        twice_area: 0,
        within: 0,
    });
}

/// Appends the runs of row `y`: those above the threshold, and what lies between them.
fn push_row(runs: &mut Vec<Run>, y: u32, row: &[u64], width: u32) {
    let start = runs.len();
    let (mut x0, mut above_threshold, mut before) = (0, false, 0);
    for (i, &word) in row.iter().enumerate() {
        let mut changes = word ^ (word << 1 | before);
        before = word >> 63;
        while changes != 0 {
            let x = 64 * i as u32 + changes.trailing_zeros();
            changes &= changes - 1;
            // What lies before the first change reaches the border.
            if above_threshold || runs.len() > start {
                push(runs, above_threshold, Rect::new(x0, y, x, y + 1));
            }
            (x0, above_threshold) = (x, !above_threshold);
        }
    }
    if above_threshold {
        push(runs, true, Rect::new(x0, y, width, y + 1));
    }
}

/// Joins what is not above the threshold to the outside, where it reaches beyond the runs of the row
/// above or below.
fn join_outside(runs: &mut [Run], row: Range<usize>, other: Range<usize>) {
    if row.len() < 2 {
        return; // A run alone is above the threshold.
    }
    let (x0, x1) = match other.is_empty() {
        true => (u32::MAX, 0),
        false => (runs[other.start].rect.x0, runs[other.end - 1].rect.x1),
    };
    let left = row.clone().take_while(|&run| runs[run].rect.x0 < x0).count();
    let right = row.clone().rev().take_while(|&run| runs[run].rect.x1 > x1).count();
    for run in row.clone().take(left).chain(row.rev().take(right)) {
        if !runs[run].above_threshold {
            join(runs, run as u32, OUTSIDE);
        }
    }
}

/// Joins a run to one in the row above, where they are alike and touch.
fn meet(runs: &mut [Run], upper: usize, run: usize) {
    let (a, b) = (runs[upper], runs[run]);
    if (a.rect.x0..a.rect.x1).contains(&b.rect.x0) {
        runs[run].upper = upper as u32;
    }
    if a.above_threshold != b.above_threshold {
        return;
    }
    let shared = a.rect.x1.min(b.rect.x1) as i32 - a.rect.x0.max(b.rect.x0) as i32;
    if shared > 0 {
        // Squares between four places, and triangles where only three of them belong to it.
        let ends = (a.rect.x0 != b.rect.x0) as i32 + (a.rect.x1 != b.rect.x1) as i32;
        runs[run].twice_area += 2 * (shared - 1) + ends;
    }
    // Corners touch above the threshold only.
    if shared > 0 || a.above_threshold {
        join(runs, upper as u32, run as u32);
    }
}

/// Makes one component of the two runs' components; its root is the earliest run.
fn join(runs: &mut [Run], a: u32, b: u32) {
    let (a, b) = (root(runs, a), root(runs, b));
    runs[a.max(b) as usize].root = a.min(b);
}

fn root(runs: &mut [Run], mut i: u32) -> u32 {
    while runs[i as usize].root != i {
        let earlier = runs[runs[i as usize].root as usize].root;
        runs[i as usize].root = earlier;
        i = earlier;
    }
    i
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The boxes at threshold 0 of a drawing: `#` is above it.
    fn boxes(rows: &[&str]) -> (Rect, Vec<Rect>) {
        let map: Vec<u8> = rows.concat().bytes().map(|b| if b == b'#' { 255 } else { 0 }).collect();
        let mut found = None;
        Contours::default().visit(&map, rows[0].len(), |levels, boxes| {
            assert_eq!(levels, 0..=LAST_LEVEL);
            let mut all = boxes.all.to_vec();
            all.sort_unstable_by_key(|rect| (rect.y0, rect.x0, rect.y1, rect.x1));
            found = Some((boxes.largest, all));
        });
        found.unwrap()
    }

    #[test]
    fn a_box_reaches_one_place_further_but_not_beyond_the_map() {
        assert_eq!(boxes(&["....", ".#..", "...."]).0, Rect::new(1, 1, 3, 3));
        assert_eq!(boxes(&["....", "..##", "..##"]).0, Rect::new(2, 1, 4, 3));
    }

    #[test]
    fn a_map_without_places_above_the_threshold_gives_its_first_place() {
        let first = Rect::new(0, 0, 1, 1);
        assert_eq!(boxes(&["...", "..."]), (first, vec![first]));
    }

    #[test]
    fn a_hole_has_a_contour_through_the_places_around_it() {
        let (largest, all) = boxes(&["......", ".####.", ".#..#.", ".####.", "......"]);
        assert_eq!(largest, Rect::new(1, 1, 6, 5));
        assert_eq!(all, [Rect::new(1, 1, 6, 5); 2]);
        let ring = boxes(&["#####", "#...#", "#.#.#", "#...#", "#####"]).1;
        assert_eq!(ring, [Rect::new(0, 0, 5, 5), Rect::new(0, 0, 5, 5), Rect::new(2, 2, 4, 4)]);
    }

    #[test]
    fn the_largest_contour_is_by_the_area_inside_and_not_by_places() {
        // 8 places around 4 squares against 9 places in a line around nothing.
        let (largest, _) =
            boxes(&["###......", "#.#......", "###......", ".........", "#########"]);
        assert_eq!(largest, Rect::new(0, 0, 4, 4));
    }

    #[test]
    fn of_equal_areas_the_last_that_begins_counts() {
        assert_eq!(boxes(&["##.##", "##.##"]).0, Rect::new(3, 0, 5, 2));
        assert_eq!(boxes(&["#....", ".....", "....."]).0, Rect::new(0, 0, 2, 2));
        assert_eq!(boxes(&["..#..", ".....", "#...."]).0, Rect::new(0, 2, 2, 3));
    }

    #[test]
    fn rows_of_whole_words_end_where_they_end() {
        let full = "#".repeat(128);
        assert_eq!(boxes(&[&full, &full]).1, [Rect::new(0, 0, 128, 2)]);
    }

    /// Follows the outline of the component of `start` with the region on its right hand, and gives
    /// twice the area inside.
    fn trace(inside: &dyn Fn(i64, i64) -> bool, start: (i64, i64)) -> i64 {
        const AROUND: [(i64, i64); 8] =
            [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)];
        let next = |(x, y): (i64, i64), from: usize| {
            (0..8).map(|turn| (from + turn) % 8).find(|&direction| {
                let (dx, dy) = AROUND[direction];
                inside(x + dx, y + dy)
            })
        };
        // The first place, row by row, has neighbours to the right and below only.
        let Some(first) = next(start, 0) else { return 0 };
        let (mut at, mut direction, mut area) = (start, first, 0);
        loop {
            let to = (at.0 + AROUND[direction].0, at.1 + AROUND[direction].1);
            area += at.0 * to.1 - to.0 * at.1;
            at = to;
            direction = next(at, (direction + 5) % 8).unwrap();
            if at == start && direction == first {
                return area;
            }
        }
    }

    proptest! {
        #[test]
        fn the_largest_area_equals_that_of_a_traced_outline(
            width in 1usize..20, height in 1usize..20, density in 0.2f32..0.9, seed: u64,
        ) {
            let mut state = seed | 1;
            let map: Vec<u8> = (0..width * height).map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                if ((state >> 40) as f32) < density * (1u64 << 24) as f32 { 255 } else { 0 }
            }).collect();
            let above = |x: i64, y: i64| {
                (0..width as i64).contains(&x) && (0..height as i64).contains(&y)
                    && map[y as usize * width + x as usize] > 0
            };
            let mut expected = 0;
            for (x, y) in (0..height as i64).flat_map(|y| (0..width as i64).map(move |x| (x, y))) {
                // Where an outline may begin; one that begins within another is smaller.
                if above(x, y) && !above(x - 1, y) && !above(x - 1, y - 1) && !above(x, y - 1)
                    && !above(x + 1, y - 1)
                {
                    expected = expected.max(trace(&above, (x, y)));
                }
            }
            let mut contours = Contours::default();
            contours.visit(&map, width, |_, _| ());
            let found = contours.runs.iter().zip(0..)
                .filter(|(run, i)| run.root == *i && run.above_threshold)
                .map(|(run, _)| i64::from(run.twice_area + run.within)).max().unwrap_or(0);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn every_threshold_comes_once_with_the_boxes_of_its_places(
            map in prop::collection::vec(any::<u8>(), 63),
        ) {
            let mut next = Some(LAST_LEVEL);
            let mut contours = Contours::default();
            contours.visit(&map, 9, |levels, boxes| {
                assert_eq!(Some(*levels.end()), next);
                next = levels.start().checked_sub(1);
                for level in levels {
                    let above: Vec<u8> =
                        map.iter().map(|&v| if v > level { 255 } else { 0 }).collect();
                    Contours::default().visit(&above, 9, |_, alone| assert_eq!(alone, boxes));
                }
            });
            prop_assert_eq!(next, None);
        }
    }
}
