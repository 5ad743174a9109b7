//! `camlive image`: photographs, one after the other.

use std::collections::HashSet;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use npyz::WriterBuilder;

use crate::cli::model::Model;
use crate::cli::output::{Output, say};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::Rect;
use crate::localize::Findings;
use crate::localize::map::{Map, class_activation_map};
use crate::localize::tracks::Tracker;
use crate::network::Labels;
use crate::pipeline::analyse::Analyser;
use crate::pipeline::event::PhotographEvent;
use crate::source::still::{photographs, read_photograph};
use crate::view::canvas::{Area, Canvas};
use crate::view::colormap::Colormap;
use crate::view::draw::{Painter, text_size};

/// Find things in photographs.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct Arguments {
    /// Photographs, or folders of photographs
    #[arg(required = true, value_name = "FILES")]
    files: Vec<PathBuf>,

    /// Print one JSON line a photograph
    #[arg(long)]
    json: bool,

    /// Write the class activation maps of the found classes: float32, [classes, rows, columns];
    /// into a folder of that name, where there is one, as PHOTOGRAPH.npy
    #[arg(long, value_name = "OUT.npy")]
    cam: Option<PathBuf>,

    /// Write the photograph with its boxes and heat map; into a folder of that name, where there is
    /// one, as PHOTOGRAPH.png
    #[arg(long, value_name = "OUT.png")]
    overlay: Option<PathBuf>,

    #[command(flatten)]
    model: Model,
}

const HELP: &str = "\
Examples:
  camlive image cat.jpg --overlay out.png
  camlive image photographs/ --json --top 5
  camlive image dog.jpg --class \"Egyptian cat\" --cam cat.npy

A photograph that cannot be read is told on standard error, the others are still analysed, and the
exit status is 1.";

/// Runs the command.
///
/// # Errors
/// A model or output that cannot be used; at the end, photographs that could not be read.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut files = Vec::new();
    for file in &arguments.files {
        if file.is_dir() {
            files.extend(photographs(file)?);
        } else {
            files.push(file.clone());
        }
    }
    let maps = targets(arguments.cam.as_deref(), &files, "npy")?;
    let overlays = targets(arguments.overlay.as_deref(), &files, "png")?;

    let mut analyser = arguments.model.load()?;
    let labels = analyser.network().labels().clone();
    let settings = arguments.model.settings();
    let mut output = Output::stdout();
    let mut frame = Frame::empty();
    let mut painter = Painter::new()?;
    let mut canvas = Canvas::default();
    let mut failed = 0;
    for (i, file) in files.iter().enumerate() {
        let mut findings = Findings::default();
        if let Err(error) = read_photograph(file, &mut frame) {
            if files.len() == 1 {
                return Err(error);
            }
            say(format_args!("error: {error}"));
            failed += 1;
            continue;
        }
        analyser.analyse(&frame, &settings, &mut findings)?;
        Tracker::default().number(&mut findings.detections);
        if arguments.json {
            output.json(&PhotographEvent {
                file: &file.to_string_lossy(),
                size: frame.size,
                detections: &findings.detections,
                labels: &labels,
            })?;
        } else {
            output.text(&text(file, &findings, &labels))?;
        }
        if let Some(target) = maps.get(i) {
            write_maps(target, &analyser, &findings)?;
        }
        if let Some(target) = overlays.get(i) {
            canvas.reshape(frame.size);
            painter.scene(
                &mut canvas,
                Area::new(0, 0, frame.size.width as i32, frame.size.height as i32),
                text_size(frame.size),
                &frame,
                Some((&findings.heat, Colormap::Jet)),
                &findings.detections,
                &|class| labels.name(class),
            )?;
            write_overlay(target, &canvas)?;
        }
        if output.is_closed() {
            return Ok(());
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Error::invalid(format!(
            "{failed} of {} photographs could not be analysed; see above",
            files.len()
        ))),
    }
}

/// Where what belongs to each file is written: nowhere, to the one file `out`, or into the folder
/// `out`.
fn targets(out: Option<&Path>, files: &[PathBuf], extension: &str) -> Result<Vec<PathBuf>> {
    let Some(out) = out else { return Ok(Vec::new()) };
    if !out.is_dir() {
        return match files.len() {
            1 => Ok(vec![out.to_owned()]),
            n => Err(Error::usage(format!(
                "{n} photographs cannot be written to the one file {}; name a folder that exists",
                out.display()
            ))),
        };
    }
    let mut targets: Vec<PathBuf> = Vec::new();
    let mut taken = HashSet::new();
    for file in files {
        let name = Path::new(file.file_name().unwrap_or_default()).with_extension(extension);
        let target = out.join(name);
        if !taken.insert(target.clone()) {
            return Err(Error::usage(format!(
                "two of the photographs would be written to {}; take them one at a time",
                target.display()
            )));
        }
        targets.push(target);
    }
    Ok(targets)
}

/// One line for a reader.
fn text(file: &Path, findings: &Findings, labels: &Labels) -> String {
    let mut line = format!("{}:", file.display());
    for (i, found) in findings.detections.iter().enumerate() {
        let Rect { x0, y0, x1, y1 } = found.rect;
        let comma = if i > 0 { "," } else { "" };
        let name = labels.name(found.class);
        let percent = 100.0 * found.score;
        line += &format!("{comma} {name} {percent:.0} % [{x0}, {y0}, {x1}, {y1}]");
    }
    if findings.detections.is_empty() {
        line += " nothing stands out";
    }
    line + "\n"
}

/// Writes the map of each found class, in the order of the detections.
fn write_maps(path: &Path, analyser: &Analyser, findings: &Findings) -> Result<()> {
    let features = &analyser.activations().features;
    let mut classes: Vec<usize> = findings.detections.iter().map(|found| found.class).collect();
    classes.dedup();
    let shape = [classes.len() as u64, features.height as u64, features.width as u64];
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let mut writer =
            npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut file).begin_nd()?;
        let mut map = Map::default();
        for class in classes {
            class_activation_map(features, analyser.network().head(), class, &mut map);
            for &value in &map.values {
                writer.push(&value)?;
            }
        }
        writer.finish()?;
        file.flush()
    };
    write().map_err(|error| Error::invalid(format!("cannot write {}: {error}", path.display())))
}

fn write_overlay(path: &Path, canvas: &Canvas) -> Result<()> {
    let failed =
        |error: &dyn Display| Error::invalid(format!("cannot write {}: {error}", path.display()));
    let mut file = BufWriter::new(File::create(path).map_err(|error| failed(&error))?);
    canvas.write_png(&mut file).map_err(|error| failed(&error))?;
    file.flush().map_err(|error| failed(&error))
}
