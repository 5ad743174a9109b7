//! A moving camera over photographs that are part of the program: for a first look, for pictures
//! of the program itself and for tests, with the box of the object known in every frame.

use std::f64::consts::TAU;
use std::thread;
use std::time::{Duration, Instant};

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::{PATIENCE, Pace, Source, Step};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::{Rect, Size};

/// Every frame has this size.
pub const SIZE: Size = Size::new(640, 480);

/// Frames a second.
pub const RATE: u64 = 30;

/// Frames until the camera turns to the next photograph.
const SHOT_FRAMES: u64 = 4 * RATE;

/// A photograph and the camera's way over it. All lengths are in the photograph's pixels.
struct Shot {
    jpeg: &'static [u8],
    size: Size,
    label: &'static str,
    /// The object's edges: left, top, right, bottom.
    object: [f64; 4],
    /// Where the camera points on average.
    center: [f64; 2],
    /// How far it swings to each side.
    swing: [f64; 2],
    /// Width of what it sees, on average, and how far that changes.
    width: f64,
    zoom: f64,
}

const SHOTS: [Shot; 2] = [
    Shot {
        jpeg: include_bytes!("demo/chelsea.jpg"),
        size: Size::new(451, 300),
        label: "Egyptian cat",
        object: [0.0, 0.0, 402.0, 300.0],
        center: [215.0, 150.0],
        swing: [14.0, 2.0],
        width: 387.0,
        zoom: 6.0,
    },
    Shot {
        jpeg: include_bytes!("demo/coffee.jpg"),
        size: Size::new(600, 400),
        label: "espresso",
        object: [76.0, 18.0, 480.0, 389.0],
        center: [292.0, 200.0],
        swing: [40.0, 5.0],
        width: 500.0,
        zoom: 14.0,
    },
];

/// What the camera sees: left, top, width, height in the photograph's pixels.
type View = [f64; 4];

impl Shot {
    /// The view at `turn` of the camera's way, 0 to 1: it swings to both sides and nods twice,
    /// comes near and goes back.
    fn view(&self, turn: f64) -> View {
        let angle = TAU * turn;
        let width = self.width - self.zoom * angle.cos();
        let height = width * f64::from(SIZE.height) / f64::from(SIZE.width);
        let x = self.center[0] + self.swing[0] * angle.sin();
        let y = self.center[1] + self.swing[1] * (2.0 * angle).sin();
        [x - width / 2.0, y - height / 2.0, width, height]
    }
}

/// The shot and the camera's view of it at a place on the time line.
fn at(sequence: u64) -> (usize, View) {
    let shot = (sequence / SHOT_FRAMES % SHOTS.len() as u64) as usize;
    let turn = (sequence % SHOT_FRAMES) as f64 / SHOT_FRAMES as f64;
    (shot, SHOTS[shot].view(turn))
}

/// The object that is known to be in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truth {
    pub label: &'static str,
    /// Its box, clipped to the frame.
    pub rect: Rect,
}

/// What is to be found in the frame of this sequence number.
pub fn truth(sequence: u64) -> Truth {
    let (shot, [left, top, width, height]) = at(sequence);
    let Shot { label, object: [x0, y0, x1, y1], .. } = SHOTS[shot];
    let x = |v: f64| ((v - left) / width).clamp(0.0, 1.0) * f64::from(SIZE.width);
    let y = |v: f64| ((v - top) / height).clamp(0.0, 1.0) * f64::from(SIZE.height);
    let rect = Rect::new(
        x(x0).floor() as u32,
        y(y0).floor() as u32,
        x(x1).ceil() as u32,
        y(y1).ceil() as u32,
    );
    Truth { label, rect }
}

/// The demo as a live source.
#[derive(Debug)]
pub struct Demo {
    photographs: Vec<Image<'static>>,
    resizer: Resizer,
    start: Instant,
    /// The sequence number of the first frame that was not yet asked for.
    next: u64,
}

impl Demo {
    /// Decodes the photographs and starts the clock.
    ///
    /// # Errors
    /// None, unless the program was built with a broken photograph.
    pub fn open() -> Result<Self> {
        let broken = |e: &dyn std::fmt::Display| Error::invalid(format!("demo photograph: {e}"));
        let photographs = SHOTS
            .iter()
            .map(|shot| {
                let picture = image::load_from_memory(shot.jpeg).map_err(|e| broken(&e))?;
                let Size { width, height } = shot.size;
                let rgb = picture.into_rgb8().into_raw();
                Image::from_vec_u8(width, height, rgb, PixelType::U8x3).map_err(|e| broken(&e))
            })
            .collect::<Result<_>>()?;
        Ok(Self { photographs, resizer: Resizer::new(), start: Instant::now(), next: 0 })
    }

    /// Draws the frame of this sequence number, the same for every call.
    ///
    /// # Errors
    /// None: every view lies within its photograph.
    pub fn at(&mut self, sequence: u64, frame: &mut Frame) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| Error::invalid(format!("demo: {e}"));
        let (shot, [left, top, width, height]) = at(sequence);
        frame.reshape(SIZE)?;
        frame.sequence = sequence;
        frame.captured = self.moment(sequence);
        let mut target =
            Image::from_slice_u8(SIZE.width, SIZE.height, &mut frame.rgb, PixelType::U8x3)
                .map_err(|e| failed(&e))?;
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .crop(left, top, width, height);
        self.resizer.resize(&self.photographs[shot], &mut target, &options).map_err(|e| failed(&e))
    }

    /// When the frame of this sequence number falls due.
    fn moment(&self, sequence: u64) -> Instant {
        self.start + Duration::from_nanos(sequence * 1_000_000_000 / RATE)
    }
}

impl Source for Demo {
    fn next(&mut self, frame: &mut Frame) -> Result<Step> {
        let wait = self.moment(self.next).saturating_duration_since(Instant::now());
        thread::sleep(wait.min(PATIENCE));
        if wait > PATIENCE {
            return Ok(Step::Waiting);
        }
        let elapsed = self.start.elapsed();
        let newest = (elapsed.as_nanos() * u128::from(RATE) / 1_000_000_000) as u64;
        let sequence = newest.max(self.next);
        self.next = sequence + 1;
        let begun = Instant::now();
        self.at(sequence, frame)?;
        frame.decoding = begun.elapsed();
        Ok(Step::Frame)
    }

    fn pace(&self) -> Pace {
        Pace::Live
    }

    fn describe(&self) -> String {
        format!("demo (a moving camera over {} photographs), {SIZE}, {RATE} fps", SHOTS.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One round over all photographs.
    fn round() -> std::ops::Range<u64> {
        0..SHOT_FRAMES * SHOTS.len() as u64
    }

    #[test]
    fn the_camera_never_looks_beyond_the_photograph() {
        for sequence in round() {
            let (shot, [left, top, width, height]) = at(sequence);
            let Size { width: w, height: h } = SHOTS[shot].size;
            assert!(left >= 0.0 && top >= 0.0, "frame {sequence}");
            assert!(left + width <= f64::from(w), "frame {sequence}");
            assert!(top + height <= f64::from(h), "frame {sequence}");
        }
    }

    #[test]
    fn at_least_85_percent_of_the_object_is_in_every_frame() {
        for sequence in round() {
            let (shot, [left, top, width, height]) = at(sequence);
            let [x0, y0, x1, y1] = SHOTS[shot].object;
            let shown =
                (x1.min(left + width) - x0.max(left)) * (y1.min(top + height) - y0.max(top));
            let share = shown / ((x1 - x0) * (y1 - y0));
            assert!(share >= 0.85, "frame {sequence}: {share}");
        }
    }

    #[test]
    fn the_truth_is_the_objects_box_seen_through_the_view() {
        let (shot, [left, top, width, _]) = at(SHOT_FRAMES + 7);
        let scale = f64::from(SIZE.width) / width;
        let truth = truth(SHOT_FRAMES + 7);
        assert_eq!(truth.label, SHOTS[shot].label);
        let [x0, y0, x1, y1] = SHOTS[shot].object;
        for (edge, expected, side) in [
            (truth.rect.x0, (x0 - left) * scale, SIZE.width),
            (truth.rect.y0, (y0 - top) * scale, SIZE.height),
            (truth.rect.x1, (x1 - left) * scale, SIZE.width),
            (truth.rect.y1, (y1 - top) * scale, SIZE.height),
        ] {
            let expected = expected.clamp(0.0, f64::from(side));
            assert!((f64::from(edge) - expected).abs() <= 1.0, "{edge} for {expected}");
        }
    }

    #[test]
    fn the_camera_moves_smoothly_within_a_shot() {
        for sequence in round().filter(|s| (s + 1) % SHOT_FRAMES != 0) {
            let (_, now) = at(sequence);
            let (_, then) = at(sequence + 1);
            let step = (now[0] - then[0]).abs().max((now[1] - then[1]).abs());
            assert!(step < 5.0, "frame {sequence}: {step} pixels");
        }
    }

    #[test]
    fn a_frame_depends_on_its_sequence_number_alone() {
        let mut demo = Demo::open().unwrap();
        let (mut first, mut again, mut other) = (Frame::empty(), Frame::empty(), Frame::empty());
        demo.at(130, &mut first).unwrap();
        demo.at(7, &mut other).unwrap();
        Demo::open().unwrap().at(130, &mut again).unwrap();
        assert_eq!(first.rgb, again.rgb);
        assert_ne!(first.rgb, other.rgb);
        demo.at(130 + SHOT_FRAMES * SHOTS.len() as u64, &mut again).unwrap();
        assert_eq!(first.rgb, again.rgb, "the demo repeats itself");
    }

    #[test]
    fn sequence_numbers_follow_the_clock_and_frames_that_are_late_are_missed() {
        let mut demo = Demo::open().unwrap();
        demo.start -= Duration::from_secs(10);
        let mut frame = Frame::empty();
        assert_eq!(demo.next(&mut frame).unwrap(), Step::Frame);
        assert!(frame.sequence >= 300);
        let late = frame.sequence;
        assert_eq!(demo.next(&mut frame).unwrap(), Step::Frame);
        assert!(frame.sequence > late);
        assert!(frame.captured <= Instant::now());
    }
}
