//! The one error type: a single line for the user, and what the caller should do next.

use std::fmt;

/// What the caller should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// This one item is lost (a truncated JPEG); the next may be fine.
    Skip,
    /// The source stopped delivering; opening it again may bring it back.
    Gone,
    /// Nothing helps but a change by the user: another file, another option, a right.
    Invalid,
    /// The command line asks for something impossible; exit status 2.
    Usage,
}

/// A failure, told in one line: what happened, to what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// `Result` with camlive's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The loss of one item of a stream.
    pub fn skip(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Skip, message)
    }

    /// A source that stopped delivering.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Gone, message)
    }

    /// An input that cannot be used.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Invalid, message)
    }

    /// A command line that cannot be followed.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Usage, message)
    }

    fn of(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The same failure, told of the thing that it happened to.
    pub fn within(self, name: &str) -> Self {
        Self { message: format!("{name}: {}", self.message), ..self }
    }

    /// What the caller should do next.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    /// Writes the message on one line: a library's error text may hold line breaks and control
    /// characters of a hostile file, and neither may reach a terminal or split a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in
            self.message.split(|c: char| c.is_control()).filter(|w| !w.is_empty()).enumerate()
        {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(word)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_without_control_characters() {
        let error = Error::invalid("cat.png: bad\n\x1b[31mchunk\r\n");
        assert_eq!(error.to_string(), "cat.png: bad [31mchunk");
    }
}
