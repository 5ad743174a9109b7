//! What the window shows: the picture and its state, without the window itself.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::canvas::{Area, Canvas};
use super::colormap::Colormap;
use super::draw::{Painter, text_size};
use super::keys::Command;
use super::panel::{self, Status};
use super::snapshot;
use crate::clock::milliseconds;
use crate::error::Result;
use crate::geometry::Size;
use crate::localize::{Boxes, Settings};
use crate::pipeline::Analysed;

/// How long a message stays.
const MESSAGE: Duration = Duration::from_secs(3);

const THRESHOLD_STEP: f32 = 0.05;

const BACKGROUND: u32 = 0x14181c;
const BRIGHT: u32 = 0xf2f5f7;

/// The frame that is shown, how, and its picture.
#[derive(Debug)]
pub struct Screen {
    painter: Painter,
    canvas: Canvas,
    buffer: String,
    shown: Option<Analysed>,
    rate: Rate,
    heat: bool,
    colours: Colormap,
    paused: bool,
    help: bool,
    /// A text, and when it vanishes.
    message: Option<(String, Instant)>,
    /// Whether something changed since the canvas was drawn.
    stale: bool,
}

impl Screen {
    /// A screen that waits for its first picture.
    ///
    /// # Errors
    /// Where the built-in font cannot be read.
    pub fn new(now: Instant) -> Result<Self> {
        Ok(Self {
            painter: Painter::new()?,
            canvas: Canvas::default(),
            buffer: String::new(),
            shown: None,
            rate: Rate::default(),
            heat: true,
            colours: Colormap::Jet,
            paused: false,
            help: false,
            message: Some(("press h for the keys".to_owned(), now + 2 * MESSAGE)),
            stale: true,
        })
    }

    /// What was drawn last.
    pub fn canvas(&self) -> &Canvas {
        &self.canvas
    }

    /// Whether the canvas differs from what it should show on a window of this size.
    pub fn is_stale(&self, size: Size, now: Instant) -> bool {
        self.stale
            || size != self.canvas.size()
            || self.message.as_ref().is_some_and(|(_, until)| *until <= now)
    }

    /// Takes over a frame and gives back the one before; while paused, gives back the fresh one.
    pub fn show(&mut self, fresh: Analysed, now: Instant) -> Option<Analysed> {
        if self.paused {
            return Some(fresh);
        }
        self.stale = true;
        self.rate.count(now);
        self.shown.replace(fresh)
    }

    /// Does what a key stands for; leaving the window is the window's own business.
    pub fn obey(
        &mut self,
        command: Command,
        settings: &mut Settings,
        event: &dyn Fn(&Analysed) -> serde_json::Value,
        now: Instant,
    ) {
        self.stale = true;
        let text = match command {
            Command::Quit => return,
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

    /// Draws everything onto the canvas, which gets this size.
    ///
    /// # Errors
    /// Where the frame has fewer bytes than its size says.
    pub fn draw<'n>(
        &mut self,
        size: Size,
        settings: &Settings,
        names: &dyn Fn(usize) -> &'n str,
        now: Instant,
    ) -> Result<()> {
        self.stale = false;
        self.message.take_if(|(_, until)| *until <= now);
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
    use crate::frame::Frame;
    use crate::geometry::{Point, Rect};
    use crate::localize::map::Map;
    use crate::localize::{Detection, Findings};
    use proptest::prelude::*;

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

    fn analysed(sequence: u64, classes: &[usize]) -> Analysed {
        let mut frame = Frame::empty();
        frame.reshape(Size::new(64, 48)).unwrap();
        frame.rgb.fill(0x80);
        frame.sequence = sequence;
        let rect = Rect::new(10, 10, 30, 30);
        let detections = classes
            .iter()
            .map(|&class| Detection {
                class,
                score: 0.5,
                rect,
                peak: Point { x: 20, y: 20 },
                track: 0,
            })
            .collect();
        let heat = Map { width: 2, height: 1, values: vec![0.0, 1.0] };
        let findings = Findings { detections, shown: 0, heat };
        Analysed { frame, findings, dropped: 0, stages: Default::default() }
    }

    const SETTINGS: Settings = Settings { threshold: 0.2, boxes: Boxes::Largest, shown: 0 };

    fn obey(screen: &mut Screen, settings: &mut Settings, command: Command) {
        screen.obey(command, settings, &|_| serde_json::Value::Null, Instant::now());
    }

    fn picture(screen: &mut Screen, settings: &Settings) -> Vec<u32> {
        // Long after the first message has gone.
        let now = Instant::now() + 10 * MESSAGE;
        screen.draw(Size::new(640, 480), settings, &|_| "cat", now).unwrap();
        // Without the status bar: the age in it goes on.
        screen.canvas().pixels()[..640 * 440].to_vec()
    }

    #[test]
    fn a_frame_comes_back_when_the_next_is_shown() {
        let mut screen = Screen::new(Instant::now()).unwrap();
        assert!(screen.show(analysed(1, &[]), Instant::now()).is_none());
        assert_eq!(screen.show(analysed(2, &[]), Instant::now()).unwrap().frame.sequence, 1);
    }

    #[test]
    fn while_paused_the_shown_frame_stays_and_fresh_ones_come_back() {
        let mut screen = Screen::new(Instant::now()).unwrap();
        screen.show(analysed(1, &[]), Instant::now());
        obey(&mut screen, &mut SETTINGS.clone(), Command::Pause);
        assert_eq!(screen.show(analysed(2, &[]), Instant::now()).unwrap().frame.sequence, 2);
        obey(&mut screen, &mut SETTINGS.clone(), Command::Pause);
        assert_eq!(screen.show(analysed(3, &[]), Instant::now()).unwrap().frame.sequence, 1);
    }

    #[test]
    fn heat_map_colours_and_help_change_the_picture_and_change_it_back() {
        let mut screen = Screen::new(Instant::now()).unwrap();
        screen.show(analysed(1, &[3]), Instant::now());
        let mut settings = SETTINGS;
        let before = picture(&mut screen, &settings);
        for command in [Command::Heat, Command::Colours, Command::Help] {
            obey(&mut screen, &mut settings, command);
            assert_ne!(picture(&mut screen, &settings), before, "{command:?}");
            obey(&mut screen, &mut settings, command);
            assert_eq!(picture(&mut screen, &settings), before, "{command:?}");
        }
        assert_eq!(settings, SETTINGS);
    }

    #[test]
    fn threshold_boxes_and_class_are_set_by_their_keys() {
        let mut screen = Screen::new(Instant::now()).unwrap();
        screen.show(analysed(1, &[3]), Instant::now());
        let mut settings = SETTINGS;
        obey(&mut screen, &mut settings, Command::ThresholdUp);
        obey(&mut screen, &mut settings, Command::Boxes);
        obey(&mut screen, &mut settings, Command::NextClass);
        assert!((settings.threshold - 0.25).abs() < 1e-6);
        assert_eq!((settings.boxes, settings.shown), (Boxes::All, 1));
        obey(&mut screen, &mut settings, Command::ThresholdDown);
        obey(&mut screen, &mut settings, Command::Boxes);
        assert!((settings.threshold - 0.2).abs() < 1e-6);
        assert_eq!(settings.boxes, Boxes::Largest);
    }

    #[test]
    fn a_screen_is_drawn_again_only_where_something_changed() {
        let (mut screen, size) = (Screen::new(Instant::now()).unwrap(), Size::new(640, 480));
        picture(&mut screen, &SETTINGS);
        assert!(!screen.is_stale(size, Instant::now()));
        assert!(screen.is_stale(Size::new(641, 480), Instant::now()));
        screen.show(analysed(1, &[]), Instant::now());
        assert!(screen.is_stale(size, Instant::now()));
    }

    #[test]
    fn the_smallest_windows_can_be_drawn() {
        let mut screen = Screen::new(Instant::now()).unwrap();
        for _ in 0..2 {
            for (width, height) in [(1, 1), (1, 400), (400, 1), (30, 20)] {
                let size = Size::new(width, height);
                screen.draw(size, &SETTINGS, &|_| "cat", Instant::now()).unwrap();
            }
            screen.show(analysed(1, &[3]), Instant::now());
            obey(&mut screen, &mut SETTINGS.clone(), Command::Help);
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
