//! The command line: one file a subcommand.

mod bench;
mod doctor;
mod eval;
mod image;
mod model;
mod objects;
mod output;
mod progress;
mod run;
mod units;

use std::ffi::OsString;
use std::time::{Duration, Instant};

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::pipeline::Stop;
use crate::source::demo::Demo;
use crate::source::{self, Source, Spec};

/// Finds things in a live camera picture with a network that was never shown a box.
///
/// An image classifier runs on this machine; where in the picture the evidence for its answer
/// lies (the class activation map) becomes a box. Without a command, camlive runs the first
/// camera in a window, or its built-in demo where there is no camera.
#[derive(Debug, Parser)]
#[command(name = "camlive", version, max_term_width = 100, after_long_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  camlive                                  the first camera in a window
  camlive run demo                         the built-in demo; needs no camera
  camlive image cat.jpg --overlay out.png  boxes and heat map drawn on a photograph
  camlive run --view none --events -       boxes as JSON lines on standard output
  camlive eval DATASET                     how good the boxes are on a data set
  camlive units --class \"Egyptian cat\" --images DIR --out DIR
                                           what the class's strongest units stand for
  camlive bench                            how many frames a second this machine analyses
  camlive doctor                           what cameras and instruction sets this machine has";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Image(image::Arguments),
    Eval(eval::Arguments),
    Units(units::Arguments),
    Objects(objects::Arguments),
    Bench(bench::Arguments),
    Doctor(doctor::Arguments),
}

/// Runs the command line `args`, whose first item is the program's name.
///
/// # Errors
/// `Usage` where the command line cannot be followed; else what made the command fail.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.len() <= 1 {
        args = vec!["camlive".into(), "run".into()];
    }
    let parsed = Arguments::command()
        .try_get_matches_from(args)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    match parsed {
        Ok(Arguments { command: Some(Command::Run(arguments)) }) => run::run(&arguments),
        Ok(Arguments { command: Some(Command::Image(arguments)) }) => image::run(&arguments),
        Ok(Arguments { command: Some(Command::Eval(arguments)) }) => eval::run(&arguments),
        Ok(Arguments { command: Some(Command::Units(arguments)) }) => units::run(&arguments),
        Ok(Arguments { command: Some(Command::Objects(arguments)) }) => objects::run(&arguments),
        Ok(Arguments { command: Some(Command::Bench(arguments)) }) => bench::run(&arguments),
        Ok(Arguments { command: Some(Command::Doctor(arguments)) }) => doctor::run(&arguments),
        Ok(Arguments { command: None }) => {
            Err(Error::usage("no command; camlive --help lists them"))
        }
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                // A reader that has gone (a pipe to `head`) wants no more.
                let _ = error.print();
                Ok(())
            }
            _ => Err(one_line(&error)),
        },
    }
}

/// What clap has to say, without its usage block: its first paragraph and its tips.
fn one_line(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    let said = said.join("; ");
    let said = said.strip_prefix("error: ").unwrap_or(&said).replace(":; ", ": ");
    Error::usage(format!("{said}; --help tells what is possible"))
}

/// A request to end that comes so soon after the first is the same one: `timeout` and others send
/// theirs to the process and then to its group.
const SAME_REQUEST: Duration = Duration::from_millis(500);

/// A flag that Ctrl-C or a request to terminate sets; a second one ends the program at once. To be
/// called when all is open, since until then Ctrl-C should end the program.
fn stop_on_signal() -> Result<Stop> {
    let stop = Stop::default();
    let flag = stop.clone();
    let mut first = None;
    ctrlc::set_handler(move || {
        let first = *first.get_or_insert_with(Instant::now);
        if first.elapsed() > SAME_REQUEST {
            std::process::exit(130);
        }
        flag.request();
    })
    .map_err(|error| Error::invalid(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(stop)
}

fn seconds(text: &str) -> Result<Duration> {
    text.parse()
        .ok()
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| Error::usage("a number of seconds above 0 is wanted, such as 10"))
}

/// Opens a source; the demo where the first camera is asked for and there is none.
fn open_source(spec: &Spec) -> Result<Box<dyn Source>> {
    match source::open(spec)? {
        Some(source) => Ok(source),
        None => {
            output::say("no camera found: running the built-in demo instead");
            Ok(Box::new(Demo::open()?))
        }
    }
}
