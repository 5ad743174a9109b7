//! `camlive units`: what the units that a class weighs most stand for.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::model::{NetworkOptions, fraction};
use crate::cli::output::{say, tell_failed};
use crate::cli::progress::with_bar;
use crate::error::{Error, Result};
use crate::source::still::photographs;
use crate::units::table::{PatchRow, Table, UnitRow};
use crate::units::{Cutter, Patch, Unit, highest, search};
use crate::view::sheet::{self, Row};

/// Show what the units that a class weighs most stand for, on the photographs of a folder.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct Arguments {
    /// The class: a label, a WordNet id or an index
    #[arg(long, value_name = "NAME")]
    class: String,

    /// Folder of the photographs, of any content; folders within it are left out
    #[arg(long, value_name = "DIR")]
    images: PathBuf,

    /// Folder for sheet.png, units.json and units.csv, which are overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// How many units, from the highest weight down
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=32))]
    units: u8,

    /// At most how many photographs a unit, from the highest activation down
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=32))]
    patches: u8,

    /// Fraction of the highest activation above which a photograph shows the unit, and of the
    /// photograph's highest above which a place belongs to what the unit stands for
    #[arg(long, value_name = "0..1", default_value_t = 0.5, value_parser = fraction)]
    threshold: f32,

    #[command(flatten)]
    network: NetworkOptions,
}

const HELP: &str = "\
A unit is one of the last feature maps; the class weighs each of them. For each
of the units with the highest weights, the photographs are taken where its map
is highest, one patch a photograph: the connected part around the highest place
where the map exceeds --threshold times it, within the receptive field. What is
outside of that part is grey and darker. Photographs whose highest place does
not exceed --threshold times that of the unit's first one are left out.
Photographs of the class and of things like it, all of the same kind, tell most
about its units; --mapping 2 cuts closer.

As many photographs are looked at at a time as --threads says, each on one
thread, but no more than there are processors. A photograph that cannot be read
is named on standard error and counted.
docs/units.md explains the files.

Example:
  camlive units --class \"Egyptian cat\" --images photographs/ --out cat/";

/// Runs the command.
///
/// # Errors
/// A class, model, folder or output that cannot be used; no photograph that could be read.
pub fn run(arguments: &Arguments) -> Result<()> {
    let files = photographs(&arguments.images)?;
    let networks = arguments.network.load_workers()?;
    let (network, workers) = (&networks[0], networks.len());
    let labels = network.labels().clone();
    let class = labels.find(&arguments.class)?;
    let out = &arguments.out;
    fs::create_dir_all(out).map_err(|error| cannot_write(out, &error))?;

    let (map, input) = (network.map_size(), network.input_size());
    let receptive_field = network.receptive_field();
    let units = highest(network.head(), class, usize::from(arguments.units));
    let count = usize::from(arguments.patches);
    let found = with_bar(files.len(), |show| search(&files, &units, count, networks, show))?;
    tell_failed(&found.failed);
    if found.failed.len() == files.len() {
        return Err(Error::invalid(format!(
            "{}: none of the {} photographs could be read; see above",
            arguments.images.display(),
            files.len()
        )));
    }
    let cutter =
        Cutter { receptive_field, input, threshold: arguments.threshold, side: sheet::SIDE };
    let patches = cutter.cut(&files, &found.peaks, workers)?;

    let names: Vec<_> = files
        .iter()
        .map(|file| file.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    let table = Table {
        class: labels.name(class),
        index: class,
        map,
        input,
        receptive_field,
        images: files.len(),
        failed: found.failed.len(),
        units: rows(&units, &patches, &names),
    };
    let heading = format!("{}: the units with the highest weights", labels.name(class));
    let sheet = sheet::draw(&heading, &sheet_rows(&units, &patches))?;
    write(&out.join("sheet.png"), |to| sheet.write_png(to))?;
    write(&out.join("units.json"), |to| {
        serde_json::to_writer_pretty(to, &table).map_err(|error| Error::invalid(error.to_string()))
    })?;
    write(&out.join("units.csv"), |to| {
        table.write_csv(to).map_err(|error| Error::invalid(error.to_string()))
    })?;
    say(format_args!(
        "{} units, {} of {} photographs read: {}, units.json, units.csv",
        units.len(),
        files.len() - found.failed.len(),
        files.len(),
        out.join("sheet.png").display()
    ));
    Ok(())
}

fn rows<'a>(units: &[Unit], patches: &[Vec<Patch>], names: &'a [String]) -> Vec<UnitRow<'a>> {
    let patch = |patch: &Patch| PatchRow {
        file: names[patch.photograph].as_str(),
        activation: patch.activation,
        peak: patch.peak,
        rect: patch.rect,
    };
    let unit = |(i, (unit, patches)): (usize, (&Unit, &Vec<Patch>))| UnitRow {
        unit: unit.number,
        weight: unit.weight,
        rank: i + 1,
        patches: patches.iter().map(patch).collect(),
    };
    units.iter().zip(patches).enumerate().map(unit).collect()
}

fn sheet_rows<'a>(units: &[Unit], patches: &'a [Vec<Patch>]) -> Vec<Row<'a>> {
    let row = |(i, (unit, patches)): (usize, (&Unit, &'a Vec<Patch>))| {
        let mut caption =
            vec![format!("{}.  unit {}", i + 1, unit.number), format!("weight {:.3}", unit.weight)];
        if patches.is_empty() {
            caption.push("nowhere active".into());
        }
        let picture = |patch: &'a Patch| (&patch.picture, format!("{:.1}", patch.activation));
        Row { caption, pictures: patches.iter().map(picture).collect() }
    };
    units.iter().zip(patches).enumerate().map(row).collect()
}

/// Writes a file, in the place of one that is there.
fn write(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let mut file = BufWriter::new(File::create(path).map_err(|error| cannot_write(path, &error))?);
    content(&mut file).map_err(|error| cannot_write(path, &error))?;
    file.flush().map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &dyn Display) -> Error {
    Error::invalid(format!("cannot write {}: {error}", path.display()))
}
