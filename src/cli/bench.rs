//! `camlive bench`: frames a second, and where the time goes.

mod operators;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use crossbeam_channel::RecvTimeoutError;
use serde::Serialize;

use crate::cli::model::Model;
use crate::cli::output::{Output, say};
use crate::cli::progress::Progress;
use crate::cli::{open_source, seconds, stop_on_signal};
use crate::clock::milliseconds;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::Size;
use crate::int8::Isa;
use crate::localize::Findings;
use crate::pipeline::analyse::Analyser;
use crate::pipeline::{Hooks, Options, Pipeline, SharedSettings, Stop};
use crate::source::Spec;
use crate::source::demo::Demo;
use operators::Operators;

/// Measure how many frames a second this machine analyses, and where the time goes.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct Arguments {
    /// Where frames come from; see camlive run --help
    #[arg(long, value_name = "SOURCE", default_value = "demo", conflicts_with = "network_only")]
    source: String,

    /// Run the network alone, again and again on one frame
    #[arg(long)]
    network_only: bool,

    /// Tell how long each operator of the network takes, too: every second run is timed so
    #[arg(long, requires = "network_only")]
    operators: bool,

    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    duration: Duration,

    /// Write the result as one JSON object to a file, or print it with `-`
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,

    #[command(flatten)]
    model: Model,
}

const HELP: &str = "\
Stages:
  decode    from what the source delivers to RGB
  prepare   resizing to the network's input
  network   running the network
  localize  class activation maps and boxes
  age       from the light on the sensor to the boxes; live sources only

A live source is analysed as fast as it delivers: the built-in demo 30 times a second. Files show
what the machine can do, and --network-only how fast it runs the network and nothing else. p50 is
the median; 95 and 99 of 100 frames took no longer than p95 and p99.";

/// What was measured.
#[derive(Serialize)]
struct Report {
    model: String,
    input_size: u32,
    map: Size,
    backend: &'static str,
    /// That of the int8 operators; none where another library runs the network.
    isa: Option<&'static str>,
    threads: usize,
    frames: usize,
    dropped: u64,
    fps: f64,
    network_ms: Option<Percentiles>,
    /// None for what was not measured.
    stages: Stages<Option<Percentiles>>,
    peak_rss_mb: Option<f64>,
    /// In the order in which they run, where they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    operators: Option<Operators>,
}

/// One value a stage.
#[derive(Default, Serialize)]
struct Stages<T> {
    decode: T,
    prepare: T,
    network: T,
    localize: T,
    age: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Percentiles {
    p50: f64,
    p95: f64,
    p99: f64,
}

impl Percentiles {
    /// Nearest-rank percentiles; none where nothing was measured.
    fn of(mut milliseconds: Vec<f64>) -> Option<Self> {
        milliseconds.sort_unstable_by(f64::total_cmp);
        let at = |p: usize| {
            let rank = (milliseconds.len() * p).div_ceil(100);
            milliseconds.get(rank.checked_sub(1)?).copied()
        };
        Some(Self { p50: at(50)?, p95: at(95)?, p99: at(99)? })
    }
}

/// Milliseconds of every analysed frame, a stage.
#[derive(Default)]
struct Times {
    stages: Stages<Vec<f64>>,
    dropped: u64,
    operators: Option<Operators>,
}

/// Runs the command.
///
/// # Errors
/// As `camlive run`.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut json = arguments.json.as_deref().map(Output::open).transpose()?;
    let analyser = arguments.model.load()?;
    let network = analyser.network();
    say(format_args!("network: {}", network.describe()));
    let map = network.map_size();
    let (model, input_size) = (network.name().to_owned(), network.input_size().width);
    let (backend, threads) = (network.backend().name(), network.threads());
    let isa = network.int8().and_then(|report| report.isa).map(Isa::name);
    let stop = stop_on_signal()?;
    let mut progress = Progress::new();
    let (times, elapsed) = if arguments.network_only {
        run_network(analyser, &stop, arguments, &mut progress)?
    } else {
        run_pipeline(analyser, &stop, arguments, &mut progress)?
    };
    progress.clear();

    let frames = times.stages.network.len();
    if frames == 0 {
        return Err(Error::invalid("no frame was analysed; measure for longer with --duration"));
    }
    let Stages { decode, prepare, network, localize, age } = times.stages;
    let network = Percentiles::of(network);
    let report = Report {
        model,
        input_size,
        map,
        backend,
        isa,
        threads,
        frames,
        dropped: times.dropped,
        fps: frames as f64 / elapsed.as_secs_f64(),
        network_ms: network,
        stages: Stages {
            decode: Percentiles::of(decode),
            prepare: Percentiles::of(prepare),
            network,
            localize: Percentiles::of(localize),
            age: Percentiles::of(age),
        },
        peak_rss_mb: peak_rss_mb(),
        operators: times.operators,
    };
    match &mut json {
        Some(output) => output.json(&report),
        None => Output::stdout().text(&report.table()),
    }
}

/// Runs the network again and again on one frame of the demo.
fn run_network(
    mut analyser: Analyser,
    stop: &Stop,
    arguments: &Arguments,
    progress: &mut Progress,
) -> Result<(Times, Duration)> {
    let mut frame = Frame::empty();
    Demo::open()?.at(0, &mut frame)?;
    let operators = arguments.operators.then(|| {
        let network = analyser.network();
        let isa = network.int8().and_then(|report| report.isa);
        Operators::new(isa.and_then(Isa::peak).map(|peak| peak * network.threads() as f64))
    });
    let mut times = Times { operators, ..Times::default() };
    // The first run prepares the frame, and pays for caches and page faults.
    analyser.analyse(&frame, &arguments.model.settings(), &mut Findings::default())?;
    let start = Instant::now();
    while start.elapsed() < arguments.duration && !stop.requested() {
        times.stages.network.push(milliseconds(analyser.run_network()?));
        if let Some(operators) = &mut times.operators {
            operators.add(analyser.operators()?);
        }
        let frames = times.stages.network.len();
        progress.show(|| line(start.elapsed(), arguments.duration, frames));
    }
    Ok((times, start.elapsed()))
}

/// Runs a source as `camlive run` does, without a view.
fn run_pipeline(
    analyser: Analyser,
    stop: &Stop,
    arguments: &Arguments,
    progress: &mut Progress,
) -> Result<(Times, Duration)> {
    let source = open_source(&Spec::parse(&arguments.source)?)?;
    say(format_args!("source: {}", source.describe()));
    let times = Arc::new(Mutex::new(Times::default()));
    let options = Options {
        frames: None,
        watched: false,
        settings: SharedSettings::new(arguments.model.settings()),
        stop: stop.clone(),
    };
    let hooks = Hooks {
        lost: Box::new(|_| ()),
        analysed: Box::new({
            let times = times.clone();
            move |analysed| {
                let Times { stages, dropped, .. } =
                    &mut *times.lock().unwrap_or_else(PoisonError::into_inner);
                stages.decode.push(milliseconds(analysed.frame.decoding));
                stages.prepare.push(milliseconds(analysed.stages.prepare));
                stages.network.push(milliseconds(analysed.stages.network));
                stages.localize.push(milliseconds(analysed.stages.localize));
                stages.age.push(milliseconds(analysed.frame.captured.elapsed()));
                *dropped = analysed.dropped;
                Ok(())
            }
        }),
    };
    let start = Instant::now();
    let pipeline = Pipeline::start(source, analyser, options, hooks)?;
    let mut frames = 0;
    while start.elapsed() < arguments.duration && !stop.requested() {
        match pipeline.results.recv_timeout(Duration::from_millis(100)) {
            Ok(analysed) => {
                pipeline.recycle(analysed);
                frames += 1;
                progress.show(|| line(start.elapsed(), arguments.duration, frames));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let elapsed = start.elapsed();
    pipeline.finish()?;
    let times = std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((times, elapsed))
}

impl Report {
    fn table(&self) -> String {
        let Report { model, input_size, map, backend, threads, fps, frames, .. } = self;
        let isa = self.isa.map_or(String::new(), |isa| format!(", {isa}"));
        let plural = if *threads == 1 { "" } else { "s" };
        let mut text = format!(
            "{model}, input {input_size}x{input_size}, map {map}, {backend}{isa}, {threads} thread{plural}\n\n\
             {:10}{:>9}{:>9}{:>9}\n",
            "ms", "p50", "p95", "p99"
        );
        let Stages { decode, prepare, network, localize, age } = &self.stages;
        let stages = [
            ("decode", decode),
            ("prepare", prepare),
            ("network", network),
            ("localize", localize),
            ("age", age),
        ];
        for (name, measured) in stages {
            let Some(Percentiles { p50, p95, p99 }) = measured else { continue };
            text += &format!("{name:10}{p50:9.2}{p95:9.2}{p99:9.2}\n");
        }
        if let Some(operators) = &self.operators {
            text += &operators.table();
        }
        text += &format!("\n{fps:.1} frames a second ({frames} frames, {} dropped)", self.dropped);
        if let Some(peak) = self.peak_rss_mb {
            text += &format!(", {peak:.0} MB at most");
        }
        text + "\n"
    }
}

/// How far the measurement is.
fn line(elapsed: Duration, duration: Duration, frames: usize) -> String {
    let (now, all) = (elapsed.as_secs_f64(), duration.as_secs_f64());
    let fps = frames as f64 / now;
    format!("{now:4.0} of {all:.0} s, {fps:.1} frames a second")
}

/// The most memory that this process has held so far, in megabytes, where the system tells.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred = (1..=100).rev().map(f64::from).collect();
        assert_eq!(Percentiles::of(hundred), Some(Percentiles { p50: 50.0, p95: 95.0, p99: 99.0 }));
        assert_eq!(Percentiles::of(vec![7.0]), Some(Percentiles { p50: 7.0, p95: 7.0, p99: 7.0 }));
        assert_eq!(Percentiles::of(Vec::new()), None);
    }
}
