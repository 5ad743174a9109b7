//! Writing for the user and for other programs.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::error::{Error, Result};

/// Tells the user something on standard error.
pub fn say(text: impl std::fmt::Display) {
    // Nobody is left to be told where standard error is closed.
    let _ = writeln!(io::stderr(), "{text}");
}

/// How many failures are told one by one.
const TOLD: usize = 20;

/// Names what could not be used, and counts the rest where that is much.
pub fn tell_failed(failed: &[Error]) {
    for error in failed.iter().take(TOLD) {
        say(format_args!("failed: {error}"));
    }
    if failed.len() > TOLD {
        say(format_args!("failed: {} more", failed.len() - TOLD));
    }
}

/// A file or standard output that is written line by line.
pub struct Output {
    name: String,
    writer: Box<dyn Write + Send>,
    line: Vec<u8>,
    closed: bool,
}

impl Output {
    /// Standard output.
    pub fn stdout() -> Self {
        Self::of("standard output", Box::new(io::stdout()))
    }

    /// Standard output for `-`, else the file of that name, appended to.
    ///
    /// # Errors
    /// The file cannot be opened for writing.
    pub fn open(name: &str) -> Result<Self> {
        if name == "-" {
            return Ok(Self::stdout());
        }
        match OpenOptions::new().create(true).append(true).open(name) {
            Ok(file) => Ok(Self::of(name, Box::new(file))),
            Err(error) => Err(Error::invalid(format!("cannot write to {name}: {error}"))),
        }
    }

    fn of(name: &str, writer: Box<dyn Write + Send>) -> Self {
        Self { name: name.into(), writer, line: Vec::new(), closed: false }
    }

    /// Whether the reader has gone, so that no more need be written.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes one line of JSON, whole and at once.
    ///
    /// # Errors
    /// The line cannot be written, for a full disk for example. A reader that has gone (a pipe to
    /// `head`) is not an error; see [`Output::is_closed`].
    pub fn json(&mut self, value: &impl Serialize) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)
            .map_err(|e| Error::invalid(format!("cannot express a result as JSON: {e}")))?;
        self.line.push(b'\n');
        let line = std::mem::take(&mut self.line);
        let written = self.bytes(&line);
        self.line = line;
        written
    }

    /// Writes text as it is.
    ///
    /// # Errors
    /// As [`Output::json`].
    pub fn text(&mut self, text: &str) -> Result<()> {
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match self.writer.write_all(bytes).and_then(|()| self.writer.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Error::invalid(format!(
                "cannot write to {}: {error}; what was written before is kept",
                self.name
            ))),
        }
    }
}
