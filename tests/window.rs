//! The window as a user meets it, on a display of its own.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{camlive, error_lines, skip, stderr};
use image::RgbImage;

/// How long anything may take on the slowest machine before the test gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// What stands around a picture of other proportions than the window's, and before the first one.
const BACKGROUND: [u8; 3] = [0x14, 0x18, 0x1c];

/// The colour of `paused` in the status bar.
const ACCENT: [u8; 3] = [0xff, 0xb0, 0x00];

/// Ends a process with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// A display without a screen.
struct Display {
    name: String,
    _server: Running,
}

impl Display {
    /// `None` where the programs for it are missing.
    fn start(depth: u32) -> Option<Self> {
        for program in ["Xvfb", "xdotool", "import", "openbox", "wmctrl"] {
            let known = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
            if !known.is_ok_and(|output| output.status.success()) {
                skip(&format!("{program} is not installed"));
                return None;
            }
        }
        // The server chooses a free number and writes it to descriptor 1.
        let screen = format!("1600x1200x{depth}");
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", &screen, "-nolisten", "tcp"])
            // Otherwise it starts anew whenever its last client leaves, and drops one that comes.
            .arg("-noreset")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb starts");
        let mut number = String::new();
        let output = server.stdout.take().expect("a pipe");
        let server = Running(server);
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut number).unwrap();
        assert!(!number.trim().is_empty(), "Xvfb did not start");
        Some(Self { name: format!(":{}", number.trim()), _server: server })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new(program)
            .args(arguments)
            .env("DISPLAY", &self.name)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        output.stdout
    }
}

/// `camlive run demo` with its window.
struct Session {
    display: Display,
    folder: tempfile::TempDir,
    window: String,
    program: Running,
}

impl Session {
    /// Waits until a picture is shown.
    fn start() -> Option<Self> {
        let display = Display::start(24)?;
        let folder = tempfile::tempdir().unwrap();
        let program = camlive(&["run", "demo", "--view", "window"])
            .env("DISPLAY", &display.name)
            .current_dir(folder.path())
            .spawn()
            .unwrap();
        let mut session =
            Self { display, folder, window: String::new(), program: Running(program) };
        session.window = until("a window", || {
            assert_eq!(session.program.0.try_wait().unwrap(), None, "the program ended");
            let found = session.display.command("xdotool", &["search", "--name", "^camlive$"]);
            let found = String::from_utf8(found).unwrap().trim().to_owned();
            (!found.is_empty()).then_some(found)
        });
        until("the first picture", || {
            (session.screenshot()?.get_pixel(0, 0).0 != BACKGROUND).then_some(())
        });
        // Without a window manager keys go to the window under the pointer.
        session.display.command("xdotool", &["mousemove", "800", "600"]);
        Some(session)
    }

    fn key(&self, key: &str) {
        self.display.command("xdotool", &["key", key]);
    }

    fn screenshot(&self) -> Option<RgbImage> {
        let png = self.display.command("import", &["-window", &self.window, "png:-"]);
        Some(image::load_from_memory(&png).ok()?.to_rgb8())
    }

    /// The screen without the strip at the bottom that messages and status come and go in.
    fn picture(&self) -> RgbImage {
        let screen = until("a screenshot", || self.screenshot());
        above_messages(&screen)
    }

    fn pause(&self) {
        self.key("space");
        until("the word `paused`", || {
            let screen = self.screenshot()?;
            let status = screen.height() - screen.height() / 20;
            let mut pixels = screen.enumerate_pixels().filter(|(_, y, _)| *y >= status);
            pixels.any(|(_, _, pixel)| pixel.0 == ACCENT).then_some(())
        });
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
    }

    /// Waits for the program's end, and tells whether it was a good one.
    fn ends_well(&mut self) -> bool {
        until("the end", || self.program.0.try_wait().unwrap()).success()
    }
}

fn above_messages(screen: &RgbImage) -> RgbImage {
    let height = screen.height() * 4 / 5;
    image::imageops::crop_imm(screen, 0, 0, screen.width(), height).to_image()
}

/// Asks until there is an answer.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_snapshot_is_what_the_window_shows_with_its_event() {
    let Some(session) = Session::start() else { return };
    session.pause();
    let shown = session.picture();
    session.key("s");
    // The event is written last, and ends its line.
    let event = until("the event", || {
        let text = fs::read_to_string(session.files("json").first()?).ok()?;
        text.ends_with('\n').then_some(text)
    });
    let event: serde_json::Value = serde_json::from_str(&event).unwrap();
    assert_eq!(event["size"], serde_json::json!([640, 480]));
    assert!(event["detections"].is_array() && event["captured_at"].is_string(), "{event}");
    let [picture] = &session.files("png")[..] else { panic!("one picture") };
    assert_eq!(picture.file_stem(), session.files("json")[0].file_stem());
    let saved = image::open(picture).unwrap().to_rgb8();
    assert!(above_messages(&saved) == shown, "the saved picture differs from the screen");
}

#[test]
fn keys_switch_heat_map_colours_and_help_on_and_off() {
    let Some(session) = Session::start() else { return };
    session.pause();
    let before = session.picture();
    for key in ["m", "c", "h"] {
        session.key(key);
        until(&format!("another picture after {key}"), || {
            (session.picture() != before).then_some(())
        });
        session.key(key);
        until(&format!("the former picture after {key} twice"), || {
            (session.picture() == before).then_some(())
        });
    }
}

#[test]
fn a_resized_window_keeps_the_proportions_of_the_picture() {
    let Some(session) = Session::start() else { return };
    session.display.command("xdotool", &["windowsize", &session.window, "480", "800"]);
    // 480x360 in the middle; a box's outline may reach two pixels over the picture's edge.
    until("bars above and below", || {
        let screen = session.screenshot()?;
        if screen.dimensions() != (480, 800) {
            return None;
        }
        let bar = |y: u32| screen.rows().nth(y as usize).unwrap().all(|p| p.0 == BACKGROUND);
        (bar(0) && bar(217) && bar(582) && !bar(222) && !bar(577)).then_some(())
    });
}

#[test]
fn q_escape_and_the_window_manager_end_the_run_well() {
    for key in ["q", "Escape"] {
        let Some(mut session) = Session::start() else { return };
        session.key(key);
        assert!(session.ends_well(), "{key}");
    }
    let Some(mut session) = Session::start() else { return };
    let manager = Command::new("openbox")
        .env("DISPLAY", &session.display.name)
        .stderr(Stdio::null())
        .spawn()
        .expect("openbox starts");
    let _manager = Running(manager);
    let ended = until("the end", || {
        session.display.command("wmctrl", &["-c", "camlive"]);
        session.program.0.try_wait().unwrap()
    });
    assert!(ended.success(), "closed");
}

#[test]
fn without_a_display_auto_goes_on_and_says_so() {
    for display in [None, Some(":987"), Some("nonsense")] {
        let mut command = camlive(&["run", "demo", "--frames", "1"]);
        command.envs(display.map(|display| ("DISPLAY", display)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let mut lines = stderr(&output).lines();
        assert!(lines.any(|line| line.contains("cannot open a window")), "{}", stderr(&output));
    }
}

#[test]
fn without_a_display_a_window_that_was_asked_for_is_an_error() {
    let output = camlive(&["run", "demo", "--view", "window"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(error_lines(&output).len(), 1, "{}", stderr(&output));
    assert!(error_lines(&output)[0].contains("DISPLAY is not set"), "{}", stderr(&output));
}

#[test]
fn a_display_with_too_few_colours_is_one_without_a_window() {
    let Some(display) = Display::start(16) else { return };
    let output =
        camlive(&["run", "demo", "--frames", "1"]).env("DISPLAY", &display.name).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot open a window"), "{}", stderr(&output));
}

#[test]
fn an_input_method_that_does_not_run_is_named() {
    let Some(display) = Display::start(24) else { return };
    let output = camlive(&["run", "demo", "--view", "window", "--frames", "1"])
        .envs([("DISPLAY", display.name.as_str()), ("XMODIFIERS", "@im=nothing")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(error_lines(&output)[0].contains("XMODIFIERS"), "{}", stderr(&output));
}
