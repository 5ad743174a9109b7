//! The pipeline, with sources that play a script.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use camlive::error::{Error, ErrorKind, Result};
use camlive::frame::Frame;
use camlive::geometry::Size;
use camlive::localize::{Boxes, Localizer, Settings, Wanted};
use camlive::network::{ModelOptions, Network};
use camlive::pipeline::analyse::Analyser;
use camlive::pipeline::{Analysed, Hooks, Options, Pipeline, SharedSettings, Stop, Summary};
use camlive::source::{Pace, Source, Step};

const SETTINGS: Settings = Settings { threshold: 0.2, boxes: Boxes::Largest, shown: 0 };

/// What a source does when it is asked.
enum Act {
    /// Gives the frame of this number.
    Give(u64),
    Lose,
    Fail,
    Panic,
}

/// A source that does one act after the other, then ends.
struct Script {
    acts: VecDeque<Act>,
    pace: Pace,
}

impl Source for Script {
    fn next(&mut self, frame: &mut Frame) -> Result<Step> {
        match self.acts.pop_front() {
            None => Ok(Step::End),
            Some(Act::Lose) => Err(Error::skip("a broken picture")),
            Some(Act::Fail) => Err(Error::gone("the camera is gone")),
            Some(Act::Panic) => panic!("a bug"),
            Some(Act::Give(sequence)) => {
                if self.pace == Pace::Live {
                    std::thread::sleep(Duration::from_millis(1));
                }
                frame.reshape(Size::new(64, 48))?;
                frame.rgb.fill(sequence as u8);
                frame.sequence = sequence;
                frame.captured = Instant::now();
                Ok(Step::Frame)
            }
        }
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn describe(&self) -> String {
        "a script".into()
    }
}

/// What was seen of the frames on their way.
#[derive(Debug, Default)]
struct Seen {
    sequences: Vec<u64>,
    buffers: BTreeSet<usize>,
    lost: Vec<String>,
}

struct Run {
    pipeline: Pipeline,
    settings: SharedSettings,
    seen: Arc<Mutex<Seen>>,
}

impl Run {
    fn start(
        acts: impl IntoIterator<Item = Act>,
        pace: Pace,
        watched: bool,
        frames: Option<u64>,
    ) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/networks/squeezenet.onnx");
        let network =
            Network::load(&ModelOptions { path: Some(path), ..Default::default() }).unwrap();
        let localizer = Localizer::new(Wanted::Top(1), network.input_size(), true);
        let settings = SharedSettings::new(SETTINGS);
        let options =
            Options { frames, watched, settings: settings.clone(), stop: Stop::default() };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let hooks = Hooks {
            analysed: Box::new({
                let seen = seen.clone();
                move |analysed| {
                    if pace == Pace::Live {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    let mut seen = seen.lock().unwrap();
                    seen.sequences.push(analysed.frame.sequence);
                    seen.buffers.insert(analysed.frame.rgb.as_ptr() as usize);
                    Ok(())
                }
            }),
            lost: Box::new({
                let seen = seen.clone();
                move |error| seen.lock().unwrap().lost.push(error.to_string())
            }),
        };
        let source = Box::new(Script { acts: acts.into_iter().collect(), pace });
        let analyser = Analyser::new(network, localizer);
        let pipeline = Pipeline::start(source, analyser, options, hooks).unwrap();
        Self { pipeline, settings, seen }
    }

    /// The next result; they come within seconds.
    fn result(&self) -> Option<Analysed> {
        self.pipeline.results.recv_timeout(Duration::from_secs(60)).ok()
    }

    /// Takes results until there are no more.
    fn finish(self) -> (Result<Summary>, Seen) {
        while let Some(result) = self.result() {
            self.pipeline.recycle(result);
        }
        let summary = self.pipeline.finish();
        (summary, Arc::try_unwrap(self.seen).unwrap().into_inner().unwrap())
    }
}

const RECORDED: Pace = Pace::Recorded(Duration::ZERO);

#[test]
fn every_recorded_frame_is_analysed_in_order() {
    let (summary, seen) = Run::start((0..40).map(Act::Give), RECORDED, false, None).finish();
    assert_eq!(summary.unwrap(), Summary { analysed: 40, dropped: 0 });
    assert_eq!(seen.sequences, Vec::from_iter(0..40));
}

#[test]
fn frames_go_round_instead_of_being_allocated() {
    let (_, seen) = Run::start((0..200).map(Act::Give), RECORDED, false, None).finish();
    assert!(seen.buffers.len() <= 8, "{} buffers for 200 frames", seen.buffers.len());
}

#[test]
fn of_a_live_source_each_frame_is_analysed_or_counted() {
    let (summary, seen) = Run::start((0..200).map(Act::Give), Pace::Live, false, None).finish();
    let Summary { analysed, dropped } = summary.unwrap();
    assert!(dropped > 0, "the source is faster than the analysis");
    let passed = seen.sequences.last().unwrap() - seen.sequences[0] + 1;
    assert_eq!(analysed + dropped, passed);
    assert!(seen.sequences.is_sorted(), "{:?}", seen.sequences);
}

#[test]
fn a_gap_in_the_numbers_is_a_loss() {
    let acts = [0, 1, 5, 6].map(Act::Give);
    let (summary, _) = Run::start(acts, RECORDED, false, None).finish();
    assert_eq!(summary.unwrap(), Summary { analysed: 4, dropped: 3 });
}

#[test]
fn a_lost_frame_is_told_and_the_run_goes_on() {
    let acts = [Act::Give(0), Act::Lose, Act::Give(2)];
    let (summary, seen) = Run::start(acts, RECORDED, false, None).finish();
    assert_eq!(summary.unwrap(), Summary { analysed: 2, dropped: 1 });
    assert_eq!(seen.lost, ["a broken picture"]);
}

#[test]
fn a_source_that_fails_ends_the_run_with_its_error() {
    let (summary, _) = Run::start([Act::Give(0), Act::Fail], RECORDED, false, None).finish();
    let error = summary.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Gone, "the camera is gone"));
}

#[test]
fn a_source_that_panics_is_an_error_too() {
    let (summary, _) = Run::start([Act::Give(0), Act::Panic], RECORDED, false, None).finish();
    let line = summary.unwrap_err().to_string();
    assert!(line.contains("the source") && line.contains("a bug"), "{line}");
}

#[test]
fn so_many_frames_and_no_more() {
    let run = Run::start((0..1000).map(Act::Give), RECORDED, false, Some(7));
    assert_eq!(run.finish().0.unwrap().analysed, 7);
}

#[test]
fn the_last_photograph_is_analysed_again_where_settings_change() {
    let slides = Pace::Slides(Duration::from_millis(1));
    let run = Run::start([0, 1].map(Act::Give), slides, true, Some(3));
    while run.result().unwrap().frame.sequence != 1 {}
    run.settings.set(Settings { threshold: 0.6, ..SETTINGS });
    let again = run.result().unwrap();
    assert_eq!((again.frame.sequence, again.dropped), (1, 0));
    assert_eq!(run.finish().0.unwrap(), Summary { analysed: 3, dropped: 0 });
}
