//! Video files and cameras on the network, read by an `ffmpeg` that runs as a child process.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::reader::{Keep, Pictures, Reader};
use super::{Pace, SILENCE, Source, Step, y4m};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::Frame;

/// Exit status of an ffmpeg that was told to stop by a signal, such as the terminal's Ctrl-C.
const STOPPED: i32 = 255;

/// How long an ffmpeg whose output has ended may take to end itself.
const ENDING: Duration = Duration::from_secs(1);

/// The longest line of ffmpeg's messages that is kept.
const LONGEST_MESSAGE: u64 = 1024;

/// A video: a file of which every picture is wanted, or a live stream.
#[derive(Debug)]
pub struct Video {
    /// As the user may see it: without a password.
    name: String,
    is_live: bool,
    reader: Reader,
    /// None for a file that needs no ffmpeg.
    ffmpeg: Option<Ffmpeg>,
    last_arrival: Instant,
}

impl Video {
    /// Opens a video file and waits for its first picture. A YUV4MPEG2 file needs no ffmpeg.
    ///
    /// # Errors
    /// `Invalid` where the file cannot be read, ffmpeg is missing or does not understand the file.
    pub fn open_file(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let failed = |e: io::Error| Error::invalid(format!("{name}: cannot read the file: {e}"));
        let mut start = Vec::new();
        let mut file = File::open(path).map_err(failed)?;
        (&mut file).take(y4m::MAGIC.len() as u64).read_to_end(&mut start).map_err(failed)?;
        if start == y4m::MAGIC {
            let input = BufReader::new(io::Cursor::new(start).chain(file));
            let reader = Reader::start(Keep::All, move || y4m_pictures(input))
                .map_err(|e| e.within(&name))?;
            let last_arrival = Instant::now();
            return Ok(Self { name, is_live: false, reader, ffmpeg: None, last_arrival });
        }
        // Without it, ffmpeg takes `a:b.mp4` for an address and `-b.mp4` for an option.
        let mut address = OsString::from("file:");
        address.push(path);
        let command = ffmpeg_command(&[], &address, &[]);
        Self::start(name, false, command, address.to_string_lossy().into_owned())
    }

    /// Opens a network camera and waits for its first picture.
    ///
    /// # Errors
    /// `Gone` where the camera cannot be reached or sends nothing; `Invalid` where ffmpeg is
    /// missing.
    pub fn open_rtsp(address: &str) -> Result<Self> {
        let name = without_password(address);
        let low_delay = ["-rtsp_transport", "tcp", "-fflags", "nobuffer", "-flags", "low_delay"];
        let open = |passthrough: [&str; 2]| {
            let command = ffmpeg_command(&low_delay, address.as_ref(), &passthrough);
            Self::start(name.clone(), true, command, address.to_owned())
        };
        // Pictures as they come, instead of repeated or left out to keep a rate. The option has
        // another name before ffmpeg 5.1.
        match open(["-fps_mode", "passthrough"]) {
            Err(e) if e.to_string().contains("fps_mode") => open(["-vsync", "passthrough"]),
            opened => opened,
        }
    }

    fn start(name: String, is_live: bool, mut command: Command, address: String) -> Result<Self> {
        let (mut ffmpeg, output) = Ffmpeg::start(&mut command, address, name.clone())?;
        let keep = if is_live { Keep::Newest } else { Keep::All };
        let started = Reader::start(keep, move || y4m_pictures(BufReader::new(output)));
        let last_arrival = Instant::now();
        match started {
            Ok(reader) => Ok(Self { name, is_live, reader, ffmpeg: Some(ffmpeg), last_arrival }),
            // ffmpeg's own words say more than that its output was empty.
            Err(error) => Err(match ffmpeg.end() {
                Ending::Failed(reason) => of_kind(is_live, format!("{name}: {reason}")),
                Ending::Silent | Ending::Stopped => of_kind(is_live, format!("{name}: {error}")),
            }),
        }
    }

    /// What the end of the stream means: the end of a file, or a failure.
    fn ended(&mut self, error: Option<Error>) -> Result<Step> {
        let reason = match (self.ffmpeg.as_mut().map(Ffmpeg::end), error) {
            (Some(Ending::Stopped), _) => return Ok(Step::End),
            (Some(Ending::Failed(reason)), _) => reason,
            (_, Some(error)) => error.to_string(),
            (_, None) if self.is_live => "the stream has ended".into(),
            (_, None) => return Ok(Step::End),
        };
        Err(of_kind(self.is_live, format!("{}: {reason}", self.name)))
    }
}

impl Source for Video {
    fn next(&mut self, frame: &mut Frame) -> Result<Step> {
        match self.reader.next(frame) {
            Ok(Step::Frame) => {
                self.last_arrival = Instant::now();
                Ok(Step::Frame)
            }
            Ok(Step::Waiting) if self.is_live && self.last_arrival.elapsed() > SILENCE => {
                Err(Error::gone(format!(
                    "{}: no picture for {} s; check the camera and the network",
                    self.name,
                    SILENCE.as_secs()
                )))
            }
            Ok(Step::Waiting) => Ok(Step::Waiting),
            Ok(Step::End) => self.ended(None),
            Err(e) if e.kind() == ErrorKind::Skip => Err(e),
            Err(e) => self.ended(Some(e)),
        }
    }

    fn pace(&self) -> Pace {
        if self.is_live { Pace::Live } else { Pace::Recorded(self.reader.interval()) }
    }

    fn describe(&self) -> String {
        let by = if self.ffmpeg.is_some() { " by ffmpeg" } else { "" };
        format!("{}, {}{by}", self.name, self.reader.describe())
    }
}

fn y4m_pictures(input: impl BufRead + Send + 'static) -> Result<Box<dyn Pictures>> {
    Ok(Box::new(y4m::Stream::open(input)?))
}

/// A live stream may come back; a file will not change by itself.
fn of_kind(is_live: bool, message: String) -> Error {
    if is_live { Error::gone(message) } else { Error::invalid(message) }
}

/// `rtsp://user:password@host/` without what stands before the `@`.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let authority = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => address.to_owned(),
    }
}

fn ffmpeg_command(input: &[&str], address: &OsStr, output: &[&str]) -> Command {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-hide_banner", "-loglevel", "error", "-nostdin"])
        .args(input)
        .arg("-i")
        .arg(address)
        .args(["-map", "0:v:0"])
        .args(output)
        .args(["-f", "yuv4mpegpipe", "-pix_fmt", "yuv420p", "-"]);
    command
}

/// A running ffmpeg; dropping it ends it.
#[derive(Debug)]
struct Ffmpeg {
    child: Child,
    /// The last line that it wrote on standard error, once it has closed that.
    last_words: Receiver<String>,
}

/// How an ffmpeg ended.
enum Ending {
    /// With success, or not yet: it has nothing to say.
    Silent,
    /// By a signal that was meant for camlive too.
    Stopped,
    /// Its last words.
    Failed(String),
}

impl Ffmpeg {
    /// Starts it. In its messages, `address` reads `name`.
    fn start(command: &mut Command, address: String, name: String) -> Result<(Self, ChildStdout)> {
        let spawned = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => Error::invalid(format!(
                    "{name}: ffmpeg reads this, and it is not installed; install it \
                     (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg)"
                )),
                _ => Error::invalid(format!("{name}: cannot start ffmpeg: {e}")),
            });
        let mut child = spawned?;
        let (output, messages) = (child.stdout.take(), child.stderr.take());
        let (sender, last_words) = bounded(1);
        let ffmpeg = Self { child, last_words };
        let (Some(output), Some(messages)) = (output, messages) else {
            return Err(Error::invalid(format!("{name}: cannot start ffmpeg: no pipes")));
        };
        thread::Builder::new()
            .name("ffmpeg messages".into())
            .spawn(move || drop(sender.send(told(&last_line(messages), &address, &name))))
            .map_err(|e| Error::invalid(format!("cannot start a thread: {e}")))?;
        Ok((ffmpeg, output))
    }

    /// Waits for its end, shortly, and says how that was.
    fn end(&mut self) -> Ending {
        let deadline = Instant::now() + ENDING;
        let last_words = self.last_words.recv_deadline(deadline).unwrap_or_default();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                _ => return Ending::Silent,
            }
        };
        match status.code() {
            Some(0) => Ending::Silent,
            Some(STOPPED) if last_words.is_empty() => Ending::Stopped,
            _ if last_words.is_empty() => Ending::Failed(format!("ffmpeg failed ({status})")),
            _ => Ending::Failed(last_words),
        }
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        // Fails where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A message of ffmpeg without the address, which every error of a [`Video`] begins with.
fn told(message: &str, address: &str, name: &str) -> String {
    message
        .strip_prefix(address)
        .unwrap_or(message)
        .trim_start_matches([':', ' '])
        .replace(address, name)
}

/// The last line that is not empty, or as much of it as is kept.
fn last_line(messages: impl Read) -> String {
    let mut messages = BufReader::new(messages);
    let (mut last, mut line) = (String::new(), Vec::new());
    loop {
        line.clear();
        match (&mut messages).take(LONGEST_MESSAGE).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            _ => return last,
        }
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            last = text.trim().to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        for (address, shown) in [
            ("rtsp://host/x@y", "rtsp://host/x@y"),
            ("rtsp://user:p@ss@host:554/x", "rtsp://host:554/x"),
            ("rtsp://user@host", "rtsp://host"),
        ] {
            assert_eq!(without_password(address), shown);
        }
    }

    #[test]
    fn a_message_of_ffmpeg_names_the_video_once_and_not_its_password() {
        let told = |message| told(message, "rtsp://a:b@host/x", "rtsp://host/x");
        assert_eq!(told("rtsp://a:b@host/x: Connection refused"), "Connection refused");
        assert_eq!(told("cannot open rtsp://a:b@host/x now"), "cannot open rtsp://host/x now");
    }

    #[test]
    fn the_last_line_of_many_messages_is_kept_and_bounded() {
        assert_eq!(last_line(&b"first\n\nlast\n\n"[..]), "last");
        assert_eq!(last_line(&b""[..]), "");
        assert!(last_line(&[b'x'; 100_000][..]).len() as u64 <= LONGEST_MESSAGE);
    }
}
