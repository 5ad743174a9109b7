//! `camlive objects`: which annotated objects the maps of a class lie on.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::model::{NetworkOptions, fraction};
use crate::cli::output::{Output, tell_failed};
use crate::cli::progress::with_bar;
use crate::error::{Error, Result};
use crate::eval::data::voc::annotated;
use crate::eval::objects::{Counted, Object, Options, count};

/// List the annotated objects that the maps of a class lie on most often.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct Arguments {
    /// The class: a label, a WordNet id or an index
    #[arg(long, value_name = "NAME")]
    class: String,

    /// Folder of XML files as of Pascal VOC, or with a folder Annotations of them
    #[arg(long, value_name = "DIR")]
    annotations: PathBuf,

    /// Folder of the photographs [default: JPEGImages or images beside Annotations, or the folder of
    /// the XML files]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,

    /// Write the result as one JSON object to a file, or print it with `-`
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,

    /// Fraction of the map's maximum above which activation is high
    #[arg(long, value_name = "0..1", default_value_t = 0.2, value_parser = fraction, help_heading = "Boxes")]
    threshold: f32,

    /// Use the class activation maps as they are, instead of spreading them first over what looks
    /// alike
    #[arg(long, help_heading = "Boxes")]
    plain: bool,

    #[command(flatten)]
    network: NetworkOptions,
}

const HELP: &str = "\
Give photographs of one category (scenes, say, of which the class is one), with
everything in them annotated: all that the folder annotates are looked at.

An object overlaps where at least half of one of its boxes lies where the map of
the class exceeds --threshold times its maximum. Columns of the table, and names
in the JSON:
  name         as annotated; it need not be a class of the network
  photographs  in how many photographs it is annotated
  overlapping  in how many of them it overlaps; the table is sorted by it
  share        overlapping by photographs; percent in the table, 0 to 1 in JSON

Example:
  camlive objects --class \"dining table\" --annotations dining-rooms/";

/// As `--json` prints it.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    class: &'a str,
    index: usize,
    threshold: f32,
    images: usize,
    failed: usize,
    objects: &'a [Object],
}

/// Runs the command.
///
/// # Errors
/// A class, folder or output that cannot be used; no photograph that could be read.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut json = arguments.json.as_deref().map(Output::open).transpose()?;
    let photographs = annotated(&arguments.annotations, arguments.images.as_deref())?;
    let all = photographs.len();
    let networks = arguments.network.load_workers()?;
    let labels = networks[0].labels().clone();
    let class = labels.find(&arguments.class)?;
    let options = Options { class, threshold: arguments.threshold, spreads: !arguments.plain };
    let counted = with_bar(all, |show| count(&photographs, options, networks, show))?;
    tell_failed(&counted.failed);
    if counted.images == 0 {
        return Err(Error::invalid(format!(
            "{}: none of the {all} photographs could be used; see above, and name their folder with --images",
            arguments.annotations.display()
        )));
    }
    match &mut json {
        Some(output) => output.json(&Listed {
            class: labels.name(class),
            index: class,
            threshold: arguments.threshold,
            images: counted.images,
            failed: counted.failed.len(),
            objects: &counted.objects,
        }),
        None => Output::stdout().text(&table(labels.name(class), &counted)),
    }
}

fn table(class: &str, counted: &Counted) -> String {
    let mut text = format!("{class}: {} photographs\n", counted.images);
    let longest = counted.objects.iter().map(|object| object.name.chars().count()).max();
    let width = longest.unwrap_or(0).clamp(4, 40);
    text += &format!("{:width$}  photographs  overlapping   share\n", "name");
    for Object { name, photographs, overlapping, share } in &counted.objects {
        // A name comes from a file, and may hold what a terminal obeys.
        let name = name.replace(char::is_control, " ");
        let percent = 100.0 * share;
        text += &format!("{name:width$}  {photographs:11}  {overlapping:11}  {percent:5.1} %\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_a_name() {
        let object = |name: &str, photographs, overlapping, share| Object {
            name: name.into(),
            photographs,
            overlapping,
            share,
        };
        let objects = vec![object("desk lamp", 4, 3, 0.75), object("bed", 20, 0, 0.0)];
        let counted = Counted { objects, images: 21, failed: vec![] };
        assert_eq!(
            table("studio couch", &counted),
            "studio couch: 21 photographs\n\
             name       photographs  overlapping   share\n\
             desk lamp            4            3   75.0 %\n\
             bed                 20            0    0.0 %\n"
        );
    }
}
