//! Connected components of a thresholded map.

use crate::geometry::Rect;
use crate::localize::map::Map;

/// A connected component: places that touch at an edge or a corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component {
    /// Number of places.
    pub area: u64,
    /// The smallest rectangle that holds them all, in the map's grid.
    pub rect: Rect,
}

/// Finds 8-connected components. Works on the runs of each row, joined to the runs they touch in
/// the row above by union-find, so that its cost depends on outlines and not on areas.
#[derive(Debug, Default)]
pub struct Labeller {
    runs: Vec<Run>,
    components: Vec<Component>,
}

/// Neighbouring places of one row that all exceed the threshold.
#[derive(Debug)]
struct Run {
    rect: Rect,
    /// An earlier run of the same component, or the run itself.
    parent: usize,
    /// Index of the component; meaningful once the run was counted.
    component: usize,
}

impl Labeller {
    /// The components of the places whose value exceeds `limit`, in the order of their first
    /// places, row by row. NaN exceeds nothing.
    pub fn components(&mut self, map: &Map, limit: f32) -> &[Component] {
        self.find_runs(map, limit);
        self.components.clear();
        for i in 0..self.runs.len() {
            let root = self.root(i);
            let rect = self.runs[i].rect;
            if root == i {
                self.runs[i].component = self.components.len();
                self.components.push(Component { area: 0, rect });
            }
            let component = &mut self.components[self.runs[root].component];
            component.area += rect.area();
            component.rect.x0 = component.rect.x0.min(rect.x0);
            component.rect.x1 = component.rect.x1.max(rect.x1);
            component.rect.y1 = rect.y1;
        }
        &self.components
    }

    fn find_runs(&mut self, map: &Map, limit: f32) {
        self.runs.clear();
        let mut above = 0..0;
        for (y, row) in map.values.chunks_exact(map.width.max(1)).enumerate() {
            let start = self.runs.len();
            let mut x = 0;
            loop {
                x += leading(&row[x..], limit, false);
                let length = leading(&row[x..], limit, true);
                if length == 0 {
                    break;
                }
                let (x0, x1, y) = (x as u32, (x + length) as u32, y as u32);
                // Corners touch, so the run above may end where this one begins.
                while !above.is_empty() && self.runs[above.start].rect.x1 < x0 {
                    above.start += 1;
                }
                let parent = self.runs.len();
                self.runs.push(Run { rect: Rect::new(x0, y, x1, y + 1), parent, component: 0 });
                for other in above.clone() {
                    if self.runs[other].rect.x0 > x1 {
                        break;
                    }
                    self.join(parent, other);
                }
                x += length;
            }
            above = start..self.runs.len();
        }
    }

    fn root(&mut self, mut i: usize) -> usize {
        while self.runs[i].parent != i {
            let grandparent = self.runs[self.runs[i].parent].parent;
            self.runs[i].parent = grandparent;
            i = grandparent;
        }
        i
    }

    /// Makes one component of the two runs' components; its root is the earliest run.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.runs[a.max(b)].parent = a.min(b);
    }
}

/// How many values come before the first that exceeds `limit`; if `above`, that does not.
fn leading(values: &[f32], limit: f32, above: bool) -> usize {
    let goes_on = |value: &f32| (*value > limit) == above;
    // Several at a time, as far as it goes on for all of them.
    let all = |chunk: &&[f32; 16]| chunk.iter().fold(true, |all, value| all & goes_on(value));
    let whole = 16 * values.as_chunks().0.iter().take_while(all).count();
    whole + values[whole..].iter().take_while(|value| goes_on(value)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Visits place after place from each place not yet visited.
    fn flood_fill(map: &Map, limit: f32) -> Vec<Component> {
        let (width, height) = (map.width as i64, map.height as i64);
        let mut left: Vec<bool> = map.values.iter().map(|&v| v > limit).collect();
        let mut components = Vec::new();
        for start in 0..left.len() {
            if !left[start] {
                continue;
            }
            left[start] = false;
            let mut waiting = vec![start as i64];
            let mut component = Component { area: 0, rect: Rect::new(u32::MAX, u32::MAX, 0, 0) };
            while let Some(i) = waiting.pop() {
                let (x, y) = (i % width, i / width);
                component.area += 1;
                let rect = &mut component.rect;
                *rect = Rect::new(
                    rect.x0.min(x as u32),
                    rect.y0.min(y as u32),
                    rect.x1.max(x as u32 + 1),
                    rect.y1.max(y as u32 + 1),
                );
                for (u, v) in (x - 1..=x + 1).flat_map(|u| (y - 1..=y + 1).map(move |v| (u, v))) {
                    let inside = (0..width).contains(&u) && (0..height).contains(&v);
                    if inside && std::mem::take(&mut left[(v * width + u) as usize]) {
                        waiting.push(v * width + u);
                    }
                }
            }
            components.push(component);
        }
        components
    }

    proptest! {
        #[test]
        fn components_equal_those_of_a_flood_fill(
            width in 1usize..60, height in 1usize..24, density in 0.02f32..0.98, seed: u64,
        ) {
            let mut state = seed | 1;
            let values = (0..width * height).map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1u64 << 24) as f32
            });
            let map = Map { width, height, values: values.collect() };
            let expected = flood_fill(&map, density);
            let mut labeller = Labeller::default();
            prop_assert_eq!(labeller.components(&map, density), expected);
        }
    }

    #[test]
    fn places_that_touch_at_a_corner_are_connected() {
        let map = Map { width: 2, height: 2, values: vec![1.0, 0.0, 0.0, 1.0] };
        let rect = Rect::new(0, 0, 2, 2);
        assert_eq!(Labeller::default().components(&map, 0.5), [Component { area: 2, rect }]);
    }

    #[test]
    fn a_value_at_the_limit_and_nan_are_left_out() {
        let map = Map { width: 2, height: 1, values: vec![0.5, f32::NAN] };
        assert_eq!(Labeller::default().components(&map, 0.5), []);
    }
}
