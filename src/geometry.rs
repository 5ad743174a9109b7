//! Pixel geometry: sizes, points and half-open rectangles.

use serde::Serialize;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl Size {
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Number of pixels.
    pub const fn area(self) -> u64 {
        self.width as u64 * self.height as u64
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A pixel's column and row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Point {
    pub x: u32,
    pub y: u32,
}

/// A half-open rectangle of pixels: columns `x0..x1`, rows `y0..y1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rect {
    pub x0: u32,
    pub y0: u32,
    pub x1: u32,
    pub y1: u32,
}

impl Rect {
    pub const fn new(x0: u32, y0: u32, x1: u32, y1: u32) -> Self {
        Self { x0, y0, x1, y1 }
    }

    /// Number of pixels; 0 where an edge is reversed.
    pub const fn area(self) -> u64 {
        self.x1.saturating_sub(self.x0) as u64 * self.y1.saturating_sub(self.y0) as u64
    }

    /// The pixels that both hold; an area of 0 where there are none.
    pub fn intersection(self, other: Self) -> Self {
        Self {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        }
    }

    /// Intersection over union, 0 to 1; 0 where both are empty.
    pub fn iou(self, other: Self) -> f64 {
        let shared = self.intersection(other).area();
        let union = self.area() + other.area() - shared;
        if union == 0 { 0.0 } else { shared as f64 / union as f64 }
    }

    /// The smallest rectangle of the grid `to` that covers this one of the grid `from`, when both
    /// grids span the same picture.
    pub fn scaled(self, from: Size, to: Size) -> Self {
        let floor = |v: u32, from: u32, to: u32| (v as u64 * to as u64 / from as u64) as u32;
        let ceil = |v: u32, from: u32, to: u32| (v as u64 * to as u64).div_ceil(from as u64) as u32;
        Self {
            x0: floor(self.x0, from.width, to.width),
            y0: floor(self.y0, from.height, to.height),
            x1: ceil(self.x1, from.width, to.width),
            y1: ceil(self.y1, from.height, to.height),
        }
    }
}

/// Written as `[x0, y0, x1, y1]`.
impl Serialize for Rect {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.x0, self.y0, self.x1, self.y1].serialize(serializer)
    }
}

/// Written as `[x, y]`.
impl Serialize for Point {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.x, self.y].serialize(serializer)
    }
}

/// Written as `[width, height]`.
impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.width, self.height].serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rect() -> impl Strategy<Value = Rect> {
        (0u32..100, 0u32..100, 0u32..100, 0u32..100)
            .prop_map(|(x, y, w, h)| Rect::new(x, y, x + w, y + h))
    }

    proptest! {
        #[test]
        fn iou_equals_counting_pixels(a in rect(), b in rect()) {
            let holds = |r: Rect, x, y| (r.x0..r.x1).contains(&x) && (r.y0..r.y1).contains(&y);
            let (mut shared, mut union) = (0, 0);
            for (x, y) in (0..200).flat_map(|x| (0..200).map(move |y| (x, y))) {
                shared += (holds(a, x, y) && holds(b, x, y)) as u32;
                union += (holds(a, x, y) || holds(b, x, y)) as u32;
            }
            let expected = if union == 0 { 0.0 } else { f64::from(shared) / f64::from(union) };
            prop_assert!((a.iou(b) - expected).abs() < 1e-12);
        }

        #[test]
        fn a_scaled_rectangle_covers_the_original_and_stays_inside(
            r in rect(), width in 1u32..2000, height in 1u32..2000,
        ) {
            let from = Size::new(200, 200);
            let scaled = r.scaled(from, Size::new(width, height));
            prop_assert!(scaled.x1 <= width && scaled.y1 <= height);
            let covers = |v0: u32, v1: u32, s0: u32, s1: u32, to: u32| {
                f64::from(s0) <= f64::from(v0) * f64::from(to) / 200.0
                    && f64::from(s1) >= f64::from(v1) * f64::from(to) / 200.0
            };
            prop_assert!(covers(r.x0, r.x1, scaled.x0, scaled.x1, width));
            prop_assert!(covers(r.y0, r.y1, scaled.y0, scaled.y1, height));
        }
    }
}
