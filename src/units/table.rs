//! Units and their patches as JSON and CSV.

use std::io::{self, Write};

use serde::Serialize;

use crate::geometry::{Point, Rect, Size};
use crate::network::ReceptiveField;

/// What was found, as JSON.
#[derive(Debug, Serialize)]
pub struct Table<'a> {
    pub class: &'a str,
    /// Index of the class in the network's labels.
    pub index: usize,
    /// Columns and rows of the feature maps.
    pub map: Size,
    /// The network's input size.
    pub input: Size,
    /// In pixels of the network's input; null for all of it.
    pub receptive_field: Option<ReceptiveField>,
    /// Photographs that were looked at, and those that could not be read.
    pub images: usize,
    pub failed: usize,
    /// From the highest weight down.
    pub units: Vec<UnitRow<'a>>,
}

/// A unit.
#[derive(Debug, Serialize)]
pub struct UnitRow<'a> {
    pub unit: usize,
    pub weight: f32,
    /// 1 for the highest weight.
    pub rank: usize,
    /// From the highest activation down.
    pub patches: Vec<PatchRow<'a>>,
}

/// A patch; places in pixels of the photograph.
#[derive(Debug, Serialize)]
pub struct PatchRow<'a> {
    pub file: &'a str,
    pub activation: f32,
    pub peak: Point,
    #[serde(rename = "box")]
    pub rect: Rect,
}

impl Table<'_> {
    /// Writes one line a patch, after a line of names (RFC 4180).
    ///
    /// # Errors
    /// As the writer.
    pub fn write_csv(&self, mut to: impl Write) -> io::Result<()> {
        writeln!(to, "unit,weight,rank,patch,file,activation,peak_x,peak_y,x0,y0,x1,y1")?;
        for UnitRow { unit, weight, rank, patches } in &self.units {
            for (i, PatchRow { file, activation, peak, rect }) in patches.iter().enumerate() {
                let Rect { x0, y0, x1, y1 } = rect;
                writeln!(
                    to,
                    "{unit},{weight},{rank},{},{},{activation},{},{},{x0},{y0},{x1},{y1}",
                    i + 1,
                    field(file),
                    peak.x,
                    peak.y
                )?;
            }
        }
        Ok(())
    }
}

/// A field as it is, or in quotes where it must be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_and_quotes_are_one_field() {
        assert_eq!(field("a b.jpg"), "a b.jpg");
        assert_eq!(field("a, \"b\".jpg"), "\"a, \"\"b\"\".jpg\"");
    }
}
