//! Findings as JSON lines.

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use crate::clock::{WallClock, milliseconds};
use crate::geometry::Size;
use crate::localize::Detection;
use crate::network::Labels;
use crate::pipeline::Analysed;

/// One analysed frame of a running source, as `run --events` writes it.
#[derive(Debug)]
pub struct FrameEvent<'a> {
    pub analysed: &'a Analysed,
    /// Since the light fell on the sensor.
    pub age: Duration,
    pub labels: &'a Labels,
    pub clock: WallClock,
}

impl Serialize for FrameEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Analysed { frame, findings, dropped, .. } = self.analysed;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("frame", &frame.sequence)?;
        map.serialize_entry("captured_at", &Text(self.clock.rfc3339(frame.captured)))?;
        map.serialize_entry("age_ms", &rounded(milliseconds(self.age), 10.0))?;
        map.serialize_entry("size", &frame.size)?;
        map.serialize_entry("detections", &Detections(&findings.detections, self.labels))?;
        map.serialize_entry("dropped", dropped)?;
        map.end()
    }
}

/// One photograph, as `image --json` writes it.
#[derive(Debug)]
pub struct PhotographEvent<'a> {
    pub file: &'a str,
    pub size: Size,
    pub detections: &'a [Detection],
    pub labels: &'a Labels,
}

impl Serialize for PhotographEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("file", self.file)?;
        map.serialize_entry("size", &self.size)?;
        map.serialize_entry("detections", &Detections(self.detections, self.labels))?;
        map.end()
    }
}

struct Detections<'a>(&'a [Detection], &'a Labels);

impl Serialize for Detections<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for detection in self.0 {
            seq.serialize_element(&Labelled(detection, self.1))?;
        }
        seq.end()
    }
}

struct Labelled<'a>(&'a Detection, &'a Labels);

impl Serialize for Labelled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Labelled(detection, labels) = self;
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("class", labels.name(detection.class))?;
        map.serialize_entry("index", &detection.class)?;
        map.serialize_entry("score", &rounded(f64::from(detection.score), 1e4))?;
        map.serialize_entry("box", &detection.rect)?;
        map.serialize_entry("peak", &detection.peak)?;
        map.serialize_entry("track", &detection.track)?;
        map.end()
    }
}

/// Writes a value as its text, without a string in between.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Keeps as many decimals as are worth reading.
fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}
