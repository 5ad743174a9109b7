//! The window on the desktop.

use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use minifb::{ScaleMode, WindowOptions};

use super::keys::{Command, Keys};
use super::screen::Screen;
use crate::error::{Error, Result};
use crate::geometry::Size;
use crate::localize::Settings;
use crate::pipeline::Analysed;

/// A window is not opened smaller or larger than this, whatever the camera's picture.
const SMALLEST: f64 = 640.0;
const LARGEST: (f64, f64) = (1280.0, 960.0);

/// The window is drawn at least this often, so that the age goes on where no frames come, and
/// what another window had covered comes back.
const REDRAW: Duration = Duration::from_millis(200);

/// A resizable window that shows analysed frames and obeys keys (`h` shows them).
#[derive(Debug)]
pub struct Window {
    /// Never dropped: minifb frees the display's own graphics context, which closing the display
    /// frees again. The display's server tidies up when the program ends.
    window: ManuallyDrop<minifb::Window>,
    keys: Keys,
    screen: Screen,
    quit: bool,
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
        // Held until the window is open: a display without clients may start anew, and hangs up on
        // whoever comes at that moment.
        #[cfg(target_os = "linux")]
        let _display = check_display().map_err(|why| no_window(&why))?;
        let window = minifb::Window::new(&title, width, height, options);
        let mut window = ManuallyDrop::new(window.map_err(|error| no_window(&error.to_string()))?);
        // Whoever calls `update` sets the pace.
        window.set_target_fps(0);
        let keys = Keys::default();
        window.set_input_callback(Box::new(keys.clone()));
        Ok(Self { window, keys, screen: Screen::new(Instant::now())?, quit: false, drawn: None })
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
        // Before the fresh frame is taken over: a snapshot is of what was on the screen.
        while let Some(command) = self.keys.take() {
            self.quit |= command == Command::Quit;
            self.screen.obey(command, settings, event, now);
        }
        let spent = fresh.and_then(|fresh| self.screen.show(fresh, now));
        if self.screen.is_stale(size, now) || self.drawn.is_none_or(|drawn| now - drawn >= REDRAW) {
            self.drawn = Some(now);
            self.screen.draw(size, settings, names, now)?;
            self.window
                .update_with_buffer(self.screen.canvas().pixels(), width, height)
                .map_err(|error| Error::gone(format!("the window cannot be drawn: {error}")))?;
        } else {
            self.window.update();
        }
        if !self.window.is_active() {
            self.keys.release();
        }
        Ok(spent)
    }
}

fn no_window(why: &str) -> Error {
    Error::invalid(format!("cannot open a window ({why}); --view none does without one"))
}

/// Asks the display for what minifb needs. Where it is missing minifb does not fail but crashes.
#[cfg(target_os = "linux")]
fn check_display() -> std::result::Result<impl Sized, String> {
    use x11rb::connection::Connection;
    use x11rb::protocol::xproto::ConnectionExt;
    if std::env::var_os("DISPLAY").is_none() {
        return Err("DISPLAY is not set".into());
    }
    let (connection, screen) = x11rb::connect(None).map_err(|error| error.to_string())?;
    let setup = connection.setup();
    let depth = setup.roots[screen].root_depth;
    if !setup.pixmap_formats.iter().any(|f| f.depth == depth && f.bits_per_pixel == 32) {
        return Err(format!("the display has {depth} bits a pixel, not 24 or 32"));
    }
    // An input method offers itself as the owner of a selection.
    let modifiers = std::env::var("XMODIFIERS").unwrap_or_default();
    let method = modifiers.strip_prefix("@im=").filter(|m| !["", "none", "local"].contains(m));
    if let Some(method) = method {
        let server = format!("@server={method}");
        let owner = connection
            .intern_atom(false, server.as_bytes())
            .map_err(|error| error.to_string())?
            .reply()
            .and_then(|atom| Ok(connection.get_selection_owner(atom.atom)?.reply()?.owner))
            .map_err(|error| error.to_string())?;
        if owner == x11rb::NONE {
            return Err(format!(
                "the input method {method} that XMODIFIERS names is not running; unset XMODIFIERS"
            ));
        }
    }
    Ok(connection)
}

/// The frame's size, enlarged or reduced where the window would be very small or large.
fn opening_size(frame: Size) -> (usize, usize) {
    let (width, height) = (f64::from(frame.width.max(1)), f64::from(frame.height.max(1)));
    let (widest, highest) = LARGEST;
    let scale = (SMALLEST / width).max(1.0).min(widest / width).min(highest / height);
    let scaled = |side: f64| ((side * scale).round() as usize).max(1);
    (scaled(width), scaled(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_at_the_pictures_size_within_bounds() {
        assert_eq!(opening_size(Size::new(800, 600)), (800, 600));
        assert_eq!(opening_size(Size::new(160, 120)), (640, 480));
        assert_eq!(opening_size(Size::new(1920, 1080)), (1280, 720));
        assert_eq!(opening_size(Size::new(1000, 4000)), (240, 960));
        assert_eq!(opening_size(Size::new(0, 0)), (640, 640));
    }
}
