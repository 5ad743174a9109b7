//! A line on the terminal that tells how far a command is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line changes at most.
const SHOWN: Duration = Duration::from_millis(200);

/// The line; nothing where standard error is no terminal.
pub struct Progress {
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self { shown: None, terminal: std::io::stderr().is_terminal() }
    }

    /// Shows a line in the place of the last one, unless that is shown for a moment only.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        if !self.terminal || self.shown.is_some_and(|shown| shown.elapsed() < SHOWN) {
            return;
        }
        self.shown = Some(Instant::now());
        // The work does not depend on whether its progress can be told.
        let _ = write!(std::io::stderr(), "\r\x1b[K{}", line());
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
