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

/// Does `work` on so many photographs, which tells how many are done; a bar shows that as long as it
/// lasts.
pub fn with_bar<T>(all: usize, work: impl FnOnce(&mut dyn FnMut(usize)) -> T) -> T {
    let (mut progress, start) = (Progress::new(), Instant::now());
    let result = work(&mut |done| progress.show(|| bar(done, all, start.elapsed())));
    progress.clear();
    result
}

/// How far a run is, and when it will end if it goes on like this.
fn bar(done: usize, all: usize, elapsed: Duration) -> String {
    const WIDTH: usize = 30;
    let filled = "=".repeat(WIDTH * done / all);
    let left = elapsed.as_secs_f64() / done as f64 * (all - done) as f64;
    let left = humantime::format_duration(Duration::from_secs(left.ceil() as u64));
    format!("[{filled:WIDTH$}] {done} of {all} photographs, {left} left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_tells_what_is_done_and_left() {
        assert_eq!(
            bar(100, 300, Duration::from_secs(60)),
            "[==========                    ] 100 of 300 photographs, 2m left"
        );
    }
}
