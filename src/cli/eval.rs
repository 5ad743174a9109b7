//! `camlive eval`: how good the boxes are on a data set.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::cli::model::{NetworkOptions, fraction};
use crate::cli::output::{Output, say, tell_failed};
use crate::cli::progress::{Progress, bar};
use crate::error::{Error, Result};
use crate::eval::bootstrap::RESAMPLINGS;
use crate::eval::data::{self, Layout};
use crate::eval::report::{METRICS, Report};
use crate::eval::run::{Options, score};

/// Measure how good the boxes are on a data set, as the paper does and as wsolevaluation does.
#[derive(Debug, Args)]
#[command(after_long_help = help())]
pub struct Arguments {
    /// Folder of the annotations; see below for what it may hold
    #[arg(value_name = "DATASET")]
    folder: PathBuf,

    /// How the data set is laid out [default: found out from its files]
    #[arg(long, value_name = "wsol|ilsvrc|cub|voc", value_parser = layout)]
    layout: Option<Layout>,

    /// Folder of the photographs and masks [default: looked for in DATASET]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,

    /// Write the result as one JSON object to a file, or print it with `-`
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,

    /// Write the score map of each photograph's class, for other programs to measure: float32 from 0
    /// to 1, 224x224, as DIR/PHOTOGRAPH.npy
    #[arg(long, value_name = "DIR")]
    dump_cams: Option<PathBuf>,

    /// Fraction of the map's maximum above which a place belongs to the thing
    #[arg(long, value_name = "0..1", default_value_t = 0.2, value_parser = fraction, help_heading = "Boxes")]
    threshold: f32,

    /// The same for the tight boxes of loc_top5_error_two_boxes [default: 0.5, with --plain 0.6]
    #[arg(long, value_name = "0..1", value_parser = fraction, help_heading = "Boxes")]
    tight: Option<f32>,

    /// The same for its loose boxes [default: 0.1, with --plain 0.2]
    #[arg(long, value_name = "0..1", value_parser = fraction, help_heading = "Boxes")]
    loose: Option<f32>,

    /// Cut boxes from the class activation maps as they are, which is the paper's rule, instead of
    /// spreading them first over what looks alike
    #[arg(long, help_heading = "Boxes")]
    plain: bool,

    #[command(flatten)]
    network: NetworkOptions,
}

const LAYOUTS: &str = "\
Data sets:
  wsol    image_ids.txt, class_labels.txt, image_sizes.txt, localization.txt,
          as of wsolevaluation; boxes or masks
  ilsvrc  Annotations/CLS-LOC/val/*.xml, or LOC_val_solution.csv where there
          are none; photographs in Data/CLS-LOC/val
  cub     images.txt, image_class_labels.txt, bounding_boxes.txt and
          train_test_split.txt of CUB-200-2011; its test split
  voc     *.xml, or Annotations/*.xml beside JPEGImages; the names of things
          are looked for among the network's labels
";

fn help() -> String {
    let mut text = format!("{LAYOUTS}\nMeasures:\n");
    for metric in &METRICS {
        text += &format!("  {}\n", metric.name);
        let mut line = String::new();
        for word in metric.meaning.split_whitespace() {
            if line.len() + word.len() > 70 {
                text += &format!("     {line}\n");
                line.clear();
            }
            line += " ";
            line += word;
        }
        text += &format!("     {line}\n");
    }
    text + &format!(
        "\nAs many photographs are scored at a time as --threads says, each on one\n\
         thread; the result does not depend on it. 95 % intervals are percentiles of\n\
         {RESAMPLINGS} bootstrap resamplings of the photographs; thresholds that are chosen\n\
         are chosen once, on all of them. JSON has shares from 0 to 1, the table\n\
         percent. A photograph that cannot be read is named on standard error and\n\
         counted.\n\n\
         Examples:\n  \
         camlive eval ilsvrc-dev --mapping 2\n  \
         camlive eval metadata/ILSVRC/val --images dataset/ILSVRC --json -"
    )
}

/// Runs the command.
///
/// # Errors
/// A data set, model or output that cannot be used; no photograph that could be scored.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut json = arguments.json.as_deref().map(Output::open).transpose()?;
    let folder = &arguments.folder;
    let layout = arguments.layout.map_or_else(|| Layout::detect(folder), Ok)?;
    let workers = arguments.network.workers();
    let load = || arguments.network.load(Some(1));
    let network = load()?;
    say(format_args!("network: {}", network.describe()));
    arguments.network.tell_left(&network);
    let (labels, classes) = (network.labels().clone(), network.classes());
    let images = arguments.images.as_deref();
    let examples = data::read(layout, folder, images, &labels, classes)?;
    let all = examples.len();
    say(format_args!(
        "data set: {}, layout {}, {all} photographs",
        folder.display(),
        layout.name()
    ));

    let options = Options {
        threshold: arguments.threshold,
        tight: arguments.tight.unwrap_or(if arguments.plain { 0.6 } else { 0.5 }),
        loose: arguments.loose.unwrap_or(if arguments.plain { 0.2 } else { 0.1 }),
        spreads: !arguments.plain,
        dump: arguments.dump_cams.clone(),
    };
    let mut progress = Progress::new();
    let start = Instant::now();
    let mut show = |done: usize| progress.show(|| bar(done, all, start.elapsed()));
    let scored = score(&examples, network, &load, workers, &options, &mut show)?;
    progress.clear();
    tell_failed(&scored.failed);
    if scored.failed.len() == all {
        return Err(Error::invalid(format!(
            "{}: none of the {all} photographs could be scored; see above, and name their folder with --images",
            folder.display()
        )));
    }
    let report = Report::of(&scored.outcomes, scored.failed.len());
    match &mut json {
        Some(output) => output.json(&report),
        None => Output::stdout().text(&report.table()),
    }
}

fn layout(text: &str) -> Result<Layout> {
    Layout::ALL
        .into_iter()
        .find(|layout| layout.name() == text)
        .ok_or_else(|| Error::usage("wsol, ilsvrc, cub or voc is wanted"))
}
