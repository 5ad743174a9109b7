//! Class activation maps.

/// A map of one value a place; for a class activation map, `M_c(x, y)`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` values, rows from the top.
    pub values: Vec<f32>,
}
