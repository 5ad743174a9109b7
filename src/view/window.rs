//! The window on the desktop.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use minifb::{ScaleMode, WindowOptions};

use super::canvas::{Area, Canvas};
use super::colormap::Colormap;
use super::draw::{Painter, text_size};
use super::keys::{Command, Keys};
use super::panel::{self, Status};
use super::snapshot;
use crate::clock::milliseconds;
use crate::error::{Error, Result};
use crate::geometry::Size;
use crate::localize::{Boxes, Settings};
use crate::pipeline::Analysed;

/// A window is not opened smaller or larger than this, whatever the camera's picture.
const SMALLEST: f64 = 640.0;
const LARGEST: (f64, f64) = (1280.0, 960.0);

/// How long a message stays.
const MESSAGE: Duration = Duration::from_secs(3);

/// The window is drawn at least this often, so that the age goes on where no frames come, and
/// what another window had covered comes back.
const REDRAW: Duration = Duration::from_millis(200);

const THRESHOLD_STEP: f32 = 0.05;

const BACKGROUND: u32 = 0x14181c;
const BRIGHT: u32 = 0xf2f5f7;

/// A resizable window that shows analysed frames and obeys keys (`h` shows them).
#[derive(Debug)]
pub struct Window {
    window: minifb::Window,
    keys: Keys,
    painter: Painter,
    canvas: Canvas,
    buffer: String,
    /// What is on the canvas.
    shown: Option<Analysed>,
    rate: Rate,
    heat: bool,
    colours: Colormap,
    paused: bool,
    help: bool,
    quit: bool,
    message: Option<(String, Instant)>,
    drawn: Option<Instant>,
}

impl Window {
    /// Opens a window for frames of this size.
    ///
    /// # Errors
    /// Where there is no display; says what to do without one.
    pub fn open(title: &str, frame: Size) -> Result<Self> {
        let (width, height) = opening_size(frame);
        let options = WindowOptions {
            resize: true,
            // The buffer has the window's size: a copy, pixel for pixel.
            scale_mode: ScaleMode::UpperLeft,
            ..WindowOptions::default()
        };
        let title: String = title.chars().filter(|c| !c.is_control()).collect();
        let mut window = minifb::Window::new(&title, width, height, options).map_err(no_window)?;
        // Whoever calls `update` sets the pace.
        window.set_target_fps(0);
        let keys = Keys::default();
        window.set_input_callback(Box::new(keys.clone()));
        Ok(Self {
            window,
            keys,
            painter: Painter::new()?,
            canvas: Canvas::default(),
            buffer: String::new(),
            shown: None,
            rate: Rate::default(),
            heat: true,
            colours: Colormap::Jet,
            paused: false,
            help: false,
            quit: false,
            message: Some(("press h for the keys".to_owned(), Instant::now() + 2 * MESSAGE)),
            drawn: None,
        })
    }

    /// False once the user has closed it.
    pub fn is_open(&self) -> bool {
        !self.quit && self.window.is_open()
    }

    /// Obeys keys, and draws where something changed. To be called about 60 times a second, with
    /// a fresh frame or without; does not wait.
    ///
    /// Gives back the frame that is no longer shown, for its buffers: the one before, or, while
    /// paused, the fresh one itself. `names` tells a class's name, `event` what a snapshot keeps
    /// beside the picture.
    ///
    /// # Errors
    /// Where the window cannot be drawn; not where a snapshot fails, which the window itself says.
    pub fn update<'n>(
        &mut self,
        fresh: Option<Analysed>,
        settings: &mut Settings,
        names: &dyn Fn(usize) -> &'n str,
        event: &dyn Fn(&Analysed) -> serde_json::Value,
    ) -> Result<Option<Analysed>> {
        let now = Instant::now();
        let (width, height) = self.window.get_size();
        let size = Size::new(width as u32, height as u32);
        let mut changed = size != self.canvas.size();
        // Before the fresh frame is taken over: a snapshot is of what was on the screen.
        while let Some(command) = self.keys.take() {
            self.obey(command, settings, event, now);
            changed = true;
        }
        let spent = match fresh {
            Some(fresh) if self.paused => Some(fresh),
            Some(fresh) => {
                changed = true;
                self.rate.count(now);
                self.shown.replace(fresh)
            }
            None => None,
        };
        if self.message.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.message = None;
            changed = true;
        }
        if changed || self.drawn.is_none_or(|drawn| now - drawn >= REDRAW) {
            self.drawn = Some(now);
            self.draw(size, settings, names, now)?;
            self.window
                .update_with_buffer(self.canvas.pixels(), width, height)
                .map_err(|error| Error::gone(format!("the window cannot be drawn: {error}")))?;
        } else {
            self.window.update();
        }
        if !self.window.is_active() {
            self.keys.release();
        }
        Ok(spent)
    }

    fn obey(
        &mut self,
        command: Command,
        settings: &mut Settings,
        event: &dyn Fn(&Analysed) -> serde_json::Value,
        now: Instant,
    ) {
        let text = match command {
            Command::Quit => {
                self.quit = true;
                return;
            }
            Command::Help => {
                self.help = !self.help;
                return;
            }
            Command::Pause => {
                self.paused = !self.paused;
                return;
            }
            Command::Heat => {
                self.heat = !self.heat;
                return;
            }
            Command::Colours => {
                self.colours = self.colours.other();
                format!("colours: {}", self.colours.name())
            }
            Command::NextClass => {
                settings.shown = settings.shown.wrapping_add(1);
                return;
            }
            Command::ThresholdUp | Command::ThresholdDown => {
                let up = command == Command::ThresholdUp;
                settings.threshold = step(settings.threshold, up);
                format!("threshold {:.2} of the maximum", settings.threshold)
            }
            Command::Boxes => {
                let all = settings.boxes == Boxes::Largest;
                settings.boxes = if all { Boxes::All } else { Boxes::Largest };
                format!("boxes: {}", panel::boxes(all))
            }
            Command::Snapshot => match &self.shown {
                None => "nothing to save yet".to_owned(),
                Some(shown) => self.snapshot(&event(shown)),
            },
        };
        self.message = Some((text, now + MESSAGE));
    }

    /// Saves what is on the screen; returns what to say about it.
    fn snapshot(&self, event: &serde_json::Value) -> String {
        match snapshot::save(Path::new("."), SystemTime::now(), &self.canvas, event) {
            Ok(name) => format!("saved {name}"),
            Err(error) => {
                // Where nobody reads standard error any more the window still says it.
                _ = writeln!(std::io::stderr(), "warning: {error}");
                error.to_string()
            }
        }
    }

    fn draw<'n>(
        &mut self,
        size: Size,
        settings: &Settings,
        names: &dyn Fn(usize) -> &'n str,
        now: Instant,
    ) -> Result<()> {
        let Self { canvas, painter, buffer, .. } = self;
        let em = text_size(size);
        if canvas.size() != size {
            canvas.reshape(size);
        }
        let Some(shown) = &self.shown else {
            canvas.fill(whole(size), BACKGROUND);
            let text = "waiting for the first picture …";
            let at = ((size.width as i32 - painter.text.measure(text, em)) / 2, {
                size.height as i32 / 2
            });
            painter.text.draw(canvas, text, em, at, BRIGHT);
            return Ok(());
        };
        let area = letterbox(shown.frame.size, size);
        bars(canvas, area);
        let heat = self.heat.then_some((&shown.findings.heat, self.colours));
        painter.scene(canvas, area, em, &shown.frame, heat, &shown.findings.detections, names)?;
        let status = Status {
            rate: (!self.paused).then(|| self.rate.per_second(now)),
            age_ms: milliseconds(now.saturating_duration_since(shown.frame.captured)),
            dropped: shown.dropped,
            threshold: settings.threshold,
            all_boxes: settings.boxes == Boxes::All,
            heat: self.heat.then(|| (self.colours, names(shown.findings.shown))),
        };
        panel::status(canvas, &mut painter.text, em, &status, buffer);
        if self.help {
            panel::help(canvas, &mut painter.text, em);
        }
        if let Some((message, _)) = &self.message {
            panel::message(canvas, &mut painter.text, em, message);
        }
        Ok(())
    }
}

fn no_window(error: minifb::Error) -> Error {
    let unset = cfg!(target_os = "linux") && std::env::var_os("DISPLAY").is_none();
    let why = if unset { "DISPLAY is not set".to_owned() } else { error.to_string() };
    Error::invalid(format!("cannot open a window ({why}); --view none needs none"))
}

/// The frame's size, enlarged or reduced where the window would be very small or large.
fn opening_size(frame: Size) -> (usize, usize) {
    let (width, height) = (f64::from(frame.width.max(1)), f64::from(frame.height.max(1)));
    let (widest, highest) = LARGEST;
    let scale = (SMALLEST / width).max(1.0).min(widest / width).min(highest / height);
    let scaled = |side: f64| ((side * scale).round() as usize).max(1);
    (scaled(width), scaled(height))
}

fn whole(size: Size) -> Area {
    Area::new(0, 0, size.width as i32, size.height as i32)
}

/// The largest area in the middle of `window` with the proportions of `frame`.
fn letterbox(frame: Size, window: Size) -> Area {
    let (width, height) = (u64::from(window.width), u64::from(window.height));
    let (frame_width, frame_height) =
        (u64::from(frame.width.max(1)), u64::from(frame.height.max(1)));
    let rounded = |a: u64, b: u64, by: u64| ((a * b + by / 2) / by).max(1);
    let (w, h) = if frame_width * height > width * frame_height {
        (width, rounded(width, frame_height, frame_width).min(height))
    } else {
        (rounded(height, frame_width, frame_height).min(width), height)
    };
    Area::new(((width - w) / 2) as i32, ((height - h) / 2) as i32, w as i32, h as i32)
}

/// Fills what `area` leaves free.
fn bars(canvas: &mut Canvas, area: Area) {
    let Area { width, height, .. } = whole(canvas.size());
    for bar in [
        Area::new(0, 0, width, area.y),
        Area::new(0, area.bottom(), width, height - area.bottom()),
        Area::new(0, area.y, area.x, area.height),
        Area::new(area.right(), area.y, width - area.right(), area.height),
    ] {
        canvas.fill(bar, BACKGROUND);
    }
}

/// The threshold one step up or down, on whole steps, never 0 nor 1.
fn step(threshold: f32, up: bool) -> f32 {
    let steps = (threshold / THRESHOLD_STEP).round() + if up { 1.0 } else { -1.0 };
    steps.clamp(1.0, (1.0 / THRESHOLD_STEP).round() - 1.0) * THRESHOLD_STEP
}

/// Frames shown in the last second.
#[derive(Debug, Default)]
struct Rate(VecDeque<Instant>);

impl Rate {
    fn count(&mut self, now: Instant) {
        self.forget(now);
        self.0.push_back(now);
    }

    fn forget(&mut self, now: Instant) {
        while self.0.front().is_some_and(|at| now - *at > Duration::from_secs(1)) {
            self.0.pop_front();
        }
    }

    fn per_second(&mut self, now: Instant) -> f64 {
        self.forget(now);
        match (self.0.front(), self.0.back()) {
            (Some(first), Some(last)) if first < last => {
                (self.0.len() - 1) as f64 / (*last - *first).as_secs_f64()
            }
            _ => self.0.len() as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_window_opens_at_the_pictures_size_within_bounds() {
        assert_eq!(opening_size(Size::new(800, 600)), (800, 600));
        assert_eq!(opening_size(Size::new(160, 120)), (640, 480));
        assert_eq!(opening_size(Size::new(1920, 1080)), (1280, 720));
        assert_eq!(opening_size(Size::new(1000, 4000)), (240, 960));
        assert_eq!(opening_size(Size::new(0, 0)), (640, 640));
    }

    proptest! {
        #[test]
        fn a_letterbox_keeps_the_proportions_and_touches_two_sides(
            w in 1u32..5000, h in 1u32..5000, width in 1u32..4000, height in 1u32..4000,
        ) {
            let area = letterbox(Size::new(w, h), Size::new(width, height));
            prop_assert!(area.x >= 0 && area.right() <= width as i32);
            prop_assert!(area.y >= 0 && area.bottom() <= height as i32);
            prop_assert!(area.width == width as i32 || area.height == height as i32);
            let proportion = f64::from(w) / f64::from(h);
            let tall = f64::from(area.width) / proportion;
            let wide = f64::from(area.height) * proportion;
            prop_assert!(
                (tall - f64::from(area.height)).abs() <= 1.0
                    || (wide - f64::from(area.width)).abs() <= 1.0
            );
        }
    }

    #[test]
    fn the_threshold_moves_in_whole_steps_and_never_reaches_the_ends() {
        let mut threshold = 0.2;
        threshold = step(threshold, true);
        assert!((threshold - 0.25).abs() < 1e-6);
        for _ in 0..50 {
            threshold = step(threshold, true);
        }
        assert!((threshold - 0.95).abs() < 1e-6);
        for _ in 0..50 {
            threshold = step(threshold, false);
        }
        assert!((threshold - 0.05).abs() < 1e-6);
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut rate = Rate::default();
        (0..60).for_each(|i| rate.count(at(i * 50)));
        assert!((rate.per_second(at(59 * 50)) - 20.0).abs() < 1e-9);
        assert_eq!(rate.per_second(at(10_000)), 0.0);
    }
}
