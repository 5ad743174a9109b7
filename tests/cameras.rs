//! Cameras of Debian's kernel in an emulated machine: `vivid`, which breaks on demand, and
//! `v4l2loopback`, fed with a known photograph by ffmpeg. `tests/vm/README.md` tells how.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

/// `run.sh` ends so where this computer lacks a part.
const LACKING: i32 = 69;

/// The folder that the guest wrote to; or why there is no guest.
static GUEST: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cameras");
    if out.exists() {
        std::fs::remove_dir_all(&out).expect("the last guest's folder goes");
    }
    let boot = Command::new("tests/vm/run.sh")
        .arg(&out)
        .args([env!("CARGO_BIN_EXE_camlive"), "src/source/demo/chelsea.jpg"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("run.sh runs");
    let said = String::from_utf8_lossy(&boot.stderr).trim().to_owned();
    match boot.status.code() {
        Some(0) => Ok(out),
        Some(LACKING) => Err(said),
        status => panic!("the guest failed with {status:?}: {said}"),
    }
});

/// One run of camlive in the guest.
struct Run {
    name: &'static str,
    status: i32,
    events: Vec<Value>,
    log: String,
}

impl Run {
    /// The run of that name in `scenarios.sh`; nothing where there is no guest.
    fn named(name: &'static str) -> Option<Self> {
        let read = |kind: &str| guest_file(&format!("{name}.{kind}"));
        let (status, events, log) = (read("status")?, read("events")?, read("log")?);
        Some(Self {
            name,
            status: status.trim().parse().expect("a status"),
            events: events
                .lines()
                .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
                .collect(),
            log,
        })
    }

    #[track_caller]
    fn succeeded(&self) {
        assert_eq!(self.status, 0, "{}: {}", self.name, self.log);
        assert!(!self.log.contains("error:"), "{}: {}", self.name, self.log);
    }

    #[track_caller]
    fn failed_in_one_line_about(&self, camera: &str) {
        assert_eq!(self.status, 1, "{}: {}", self.name, self.log);
        let errors: Vec<_> = self.log.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(
            matches!(errors[..], [line] if line.contains(camera)),
            "{}: {}",
            self.name,
            self.log
        );
        assert!(!self.log.contains("panicked"), "{}: {}", self.name, self.log);
    }

    #[track_caller]
    fn found_the_photograph(&self) {
        self.succeeded();
        let found = &self.events[0]["detections"][0];
        assert_eq!(found["class"], "Egyptian cat", "{}: {}", self.name, self.events[0]);
        let corners: [f64; 4] = serde_json::from_value(found["box"].clone()).expect("a box");
        assert!(iou(corners, CAT) >= 0.5, "{}: {corners:?}", self.name);
    }
}

/// A file that the guest left; nothing where there is no guest.
fn guest_file(name: &str) -> Option<String> {
    match &*GUEST {
        Ok(out) => {
            Some(std::fs::read_to_string(out.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")))
        }
        Err(why) => {
            common::skip(why);
            None
        }
    }
}

/// The cat in the picture that `scenarios.sh` feeds: 0..395 of 451 columns and all rows of the
/// photograph, which lies in [240, 640) x [180, 480).
const CAT: [f64; 4] = [240.0, 180.0, 590.0, 480.0];

/// Intersection over union of two boxes x0, y0, x1, y1.
fn iou(a: [f64; 4], b: [f64; 4]) -> f64 {
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    let area = |r: [f64; 4]| (r[2] - r[0]) * (r[3] - r[1]);
    let both = side(0) * side(1);
    both / (area(a) + area(b) - both)
}

fn number(event: &Value, name: &str) -> f64 {
    event[name].as_f64().unwrap_or_else(|| panic!("no number {name} in {event}"))
}

#[test]
fn without_a_camera_the_demo_runs_and_one_line_says_so() {
    let Some(run) = Run::named("no-camera") else { return };
    run.succeeded();
    assert_eq!(run.events.len(), 1);
    let told = run.log.lines().filter(|line| line.contains("no camera") && line.contains("demo"));
    assert_eq!(told.count(), 1, "{}", run.log);
}

#[test]
fn frames_ends_the_run_after_so_many_events() {
    let Some(run) = Run::named("vivid") else { return };
    run.succeeded();
    assert_eq!(run.events.len(), 3);
}

#[test]
fn events_tell_the_size_that_the_camera_was_set_to() {
    let Some(run) = Run::named("vivid") else { return };
    let Some(format) = guest_file("vivid.format") else { return };
    for event in &run.events {
        let [width, height] = [&event["size"][0], &event["size"][1]];
        assert!(format.contains(&format!(": {width}/{height}\n")), "{event} with {format}");
    }
}

#[test]
fn frame_numbers_rise_and_ages_are_not_negative() {
    let Some(run) = Run::named("vivid") else { return };
    assert!(run.events.is_sorted_by(|a, b| number(a, "frame") < number(b, "frame")));
    assert!(run.events.iter().all(|event| number(event, "age_ms") >= 0.0), "{:?}", run.events);
}

#[test]
fn a_photograph_before_a_yuyv_camera_is_found() {
    let Some(run) = Run::named("yuyv") else { return };
    run.found_the_photograph();
}

#[test]
fn a_photograph_before_an_mjpeg_camera_is_found() {
    let Some(run) = Run::named("mjpeg") else { return };
    run.found_the_photograph();
}

#[test]
fn a_photograph_before_an_nv12_camera_is_found() {
    let Some(run) = Run::named("nv12") else { return };
    run.found_the_photograph();
}

#[test]
fn a_photograph_before_an_rgb24_camera_is_found() {
    let Some(run) = Run::named("rgb24") else { return };
    run.found_the_photograph();
}

// nokhwa cannot open one.
#[cfg(not(feature = "nokhwa"))]
#[test]
fn a_photograph_before_a_grey_camera_is_found() {
    let Some(run) = Run::named("grey") else { return };
    run.found_the_photograph();
}

#[test]
fn a_camera_that_falls_silent_ends_the_run() {
    let Some(run) = Run::named("silent") else { return };
    run.failed_in_one_line_about("/dev/video25");
    assert!(run.events.len() >= 2, "{}", run.log);
}

#[test]
fn a_camera_that_is_unplugged_ends_the_run() {
    let Some(run) = Run::named("disconnected") else { return };
    run.failed_in_one_line_about("/dev/video0");
    assert!(run.events.len() >= 2, "{}", run.log);
}

#[test]
fn a_camera_that_loses_its_driver_ends_the_run() {
    let Some(run) = Run::named("removed") else { return };
    run.failed_in_one_line_about("/dev/video1");
    assert!(run.events.len() >= 2, "{}", run.log);
}

#[test]
fn a_camera_that_takes_a_buffer_no_more_ends_the_run() {
    let Some(run) = Run::named("refusing") else { return };
    run.failed_in_one_line_about("/dev/video0");
    assert!(run.events.len() >= 2, "{}", run.log);
}

#[test]
fn a_camera_that_reports_a_fatal_error_ends_the_run() {
    let Some(run) = Run::named("broken") else { return };
    run.failed_in_one_line_about("/dev/video0");
    assert!(run.events.len() >= 2, "{}", run.log);
}

// nokhwa hands damaged pictures out like others.
#[cfg(not(feature = "nokhwa"))]
#[test]
fn damaged_and_missing_pictures_are_counted_and_the_run_goes_on() {
    let Some(run) = Run::named("damaged") else { return };
    run.succeeded();
    assert!(run.log.contains("damaged"), "{}", run.log);
    let (first, last) = (&run.events[0], &run.events[run.events.len() - 1]);
    let missing = number(last, "frame") - number(first, "frame") - (run.events.len() - 1) as f64;
    assert!(missing > 0.0, "{:?}", run.events);
    assert_eq!(number(last, "dropped") - number(first, "dropped"), missing);
}

#[test]
fn an_interrupt_ends_the_run_with_success() {
    let Some(run) = Run::named("interrupted") else { return };
    run.succeeded();
    assert!(run.events.len() >= 2, "{}", run.log);
}
