//! What lies over the picture in the window: status bar, keys, messages.

use std::fmt::Write;

use super::canvas::{Area, Canvas};
use super::colormap::Colormap;
use super::text::Text;

const DARK: u32 = 0x0b0e11;
const BRIGHT: u32 = 0xf2f5f7;
const MUTED: u32 = 0x9fb0bd;
const ACCENT: u32 = 0xffb000;

/// The keys and what they do, as the help shows them.
const KEYS: [(&str, &str); 9] = [
    ("q, Esc", "quit"),
    ("space", "pause, go on"),
    ("m", "heat map on, off"),
    ("c", "colours: jet, inferno"),
    ("n", "heat map of the next class"),
    ("+  −  or  ↑  ↓", "threshold up, down"),
    ("b", "largest component, all"),
    ("s", "snapshot: PNG and JSON"),
    ("h", "this help"),
];

/// What the status bar tells. What is most wanted stands first: a narrow window shows only the
/// beginning.
#[derive(Debug)]
pub struct Status<'a> {
    /// Frames shown in a second; `None` while paused.
    pub rate: Option<f64>,
    pub age_ms: f64,
    pub dropped: u64,
    pub threshold: f32,
    pub all_boxes: bool,
    /// Colours and class of the heat map.
    pub heat: Option<(Colormap, &'a str)>,
}

/// Height of the status bar.
pub fn status_height(size: u32) -> i32 {
    size as i32 * 7 / 4
}

/// Writes one row of items from left to right, as long as they fit.
struct Bar<'a> {
    text: &'a mut Text,
    canvas: &'a mut Canvas,
    buffer: &'a mut String,
    size: u32,
    pen: i32,
    base: i32,
    end: i32,
    full: bool,
}

impl Bar<'_> {
    /// Adds a muted caption and a bright value, then a gap; nothing once something did not fit.
    fn item(&mut self, before: &str, value: std::fmt::Arguments<'_>, after: &str, colour: u32) {
        self.buffer.clear();
        // Writing to a String cannot fail.
        _ = self.buffer.write_fmt(value);
        let parts = [(before, MUTED), (self.buffer, colour), (after, MUTED)];
        let width: i32 = parts.iter().map(|(part, _)| self.text.measure(part, self.size)).sum();
        self.full |= self.pen + width > self.end;
        if !self.full {
            for (part, colour) in parts {
                let at = (self.pen, self.base);
                self.pen = self.text.draw(self.canvas, part, self.size, at, colour);
            }
            self.pen += self.size as i32;
        }
    }

    /// Adds the colours from cold to hot.
    fn legend(&mut self, colours: Colormap) {
        let (width, height) = (3 * self.size as i32, self.text.cap_height(self.size));
        self.full |= self.pen + width > self.end;
        if !self.full {
            for x in 0..width {
                let colour = colours.colours()[(x * 255 / (width - 1)) as usize];
                self.canvas.fill(Area::new(self.pen + x, self.base - height, 1, height), colour);
            }
            self.pen += width + self.size as i32 / 2;
        }
    }
}

/// Draws the status bar along the canvas's lower edge. `buffer` is room to write in.
pub fn status(
    canvas: &mut Canvas,
    text: &mut Text,
    size: u32,
    status: &Status<'_>,
    buffer: &mut String,
) {
    let (width, height) = (canvas.size().width as i32, canvas.size().height as i32);
    let bar = Area::new(0, height - status_height(size), width, status_height(size));
    canvas.fill_round(bar, 0, DARK, 190);
    let margin = size as i32 * 2 / 3;
    let base = bar.y + (bar.height + text.cap_height(size)) / 2;
    let end = width - margin;
    let mut bar = Bar { text, canvas, buffer, size, pen: margin, base, end, full: false };
    match status.rate {
        Some(rate) => bar.item("", format_args!("{rate:.1}"), " fps", BRIGHT),
        None => bar.item("", format_args!("paused"), "", ACCENT),
    }
    if status.age_ms < 10_000.0 {
        bar.item("age ", format_args!("{:.0}", status.age_ms), " ms", BRIGHT);
    } else {
        bar.item("age ", format_args!("{:.0}", status.age_ms / 1e3), " s", BRIGHT);
    }
    bar.item("dropped ", format_args!("{}", status.dropped), "", BRIGHT);
    bar.item("threshold ", format_args!("{:.2}", status.threshold), "", BRIGHT);
    bar.item("", format_args!("{}", boxes(status.all_boxes)), "", BRIGHT);
    if let Some((colours, class)) = status.heat {
        bar.legend(colours);
        let fitting = bar.text.fitting(class, size, end - bar.pen);
        let rest = if fitting < class.len() { "…" } else { "" };
        bar.item("", format_args!("{}{rest}", &class[..fitting]), "", BRIGHT);
    }
}

/// How the boxes are called that are cut out of a map.
pub fn boxes(all: bool) -> &'static str {
    if all { "all" } else { "largest" }
}

/// Draws the keys on a panel in the middle; smaller where they would not fit.
pub fn help(canvas: &mut Canvas, text: &mut Text, size: u32) {
    let (width, height) = (canvas.size().width as i32, canvas.size().height as i32);
    let layout = |text: &mut Text, size: u32| {
        let widest = |text: &mut Text, column: [&str; KEYS.len()]| {
            column.iter().map(|t| text.measure(t, size)).max().unwrap_or(0)
        };
        let keys = widest(text, KEYS.map(|(key, _)| key));
        let meanings = widest(text, KEYS.map(|(_, meaning)| meaning));
        let (line, padding, gap) = (size as i32 * 8 / 5, size as i32, size as i32 * 3 / 2);
        let panel = (keys + gap + meanings + 2 * padding, line * KEYS.len() as i32 + 2 * padding);
        (panel, line, padding, keys + gap)
    };
    let mut size = size;
    let (panel, line, padding, second) = loop {
        let layout = layout(text, size);
        let (panel_width, panel_height) = layout.0;
        if size <= 8 || panel_width <= width && panel_height <= height - status_height(size) {
            break layout;
        }
        size -= 1;
    };
    let x = (width - panel.0) / 2;
    let y = (height - status_height(size) - panel.1) / 2;
    canvas.fill_round(Area::new(x, y, panel.0, panel.1), padding, DARK, 215);
    let mut base = y + padding + (line + text.cap_height(size)) / 2;
    for (key, meaning) in KEYS {
        text.draw(canvas, key, size, (x + padding, base), ACCENT);
        text.draw(canvas, meaning, size, (x + padding + second, base), BRIGHT);
        base += line;
    }
}

/// Draws one line of text on a panel above the status bar, its beginning where it is too long.
pub fn message(canvas: &mut Canvas, text: &mut Text, size: u32, message: &str) {
    let (width, height) = (canvas.size().width as i32, canvas.size().height as i32);
    let padding = size as i32 * 2 / 3;
    let shown = &message[..text.fitting(message, size, width - 4 * padding)];
    let ellipsis = if shown.len() < message.len() { "…" } else { "" };
    let long = text.measure(shown, size) + text.measure(ellipsis, size) + 2 * padding;
    let tall = size as i32 * 2;
    let y = height - status_height(size) - tall - padding;
    let panel = Area::new((width - long) / 2, y, long, tall);
    canvas.fill_round(panel, padding, DARK, 215);
    let base = panel.y + (tall + text.cap_height(size)) / 2;
    let pen = text.draw(canvas, shown, size, (panel.x + padding, base), BRIGHT);
    text.draw(canvas, ellipsis, size, (pen, base), BRIGHT);
}
