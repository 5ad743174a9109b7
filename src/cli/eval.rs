//! `camlive eval`: how good the boxes are on a data set.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::cli::model::{NetworkOptions, fraction};
use crate::cli::one_line;
use crate::cli::output::{Output, say, tell_failed};
use crate::cli::progress::with_bar;
use crate::error::{Error, Result};
use crate::eval::bootstrap::RESAMPLINGS;
use crate::eval::data::{self, Example, Layout};
use crate::eval::report::{Comparison, METRICS, Report};
use crate::eval::run::{Maps, Options, Scored, score};
use crate::network::Network;

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

    /// Measure with these options too, in place of those below, and tell the difference photograph by
    /// photograph; may be repeated
    #[arg(long, value_name = "OPTIONS", value_parser = way, allow_hyphen_values = true)]
    against: Vec<Way>,

    #[command(flatten)]
    setup: Setup,
}

/// How boxes are found.
#[derive(Debug, Clone, Args)]
struct Setup {
    /// What boxes are cut from: class activation maps, or occlusion maps, which take 197 runs of the
    /// network a photograph
    #[arg(long, value_name = "cam|occlusion", default_value = "cam", value_parser = maps, help_heading = "Boxes")]
    maps: Maps,

    /// Fraction of the map's maximum above which a place belongs to the thing
    #[arg(long, value_name = "0..1", default_value_t = 0.2, value_parser = fraction, help_heading = "Boxes")]
    threshold: f32,

    /// The same for the tight boxes of loc_top5_error_two_boxes [default: 0.5, with --plain 0.6]
    #[arg(long, value_name = "0..1", value_parser = fraction, help_heading = "Boxes")]
    tight: Option<f32>,

    /// The same for its loose boxes [default: 0.1, with --plain 0.2]
    #[arg(long, value_name = "0..1", value_parser = fraction, help_heading = "Boxes")]
    loose: Option<f32>,

    /// Cut boxes from the maps as they are, which is the paper's rule, instead of spreading them first
    /// over what looks alike
    #[arg(long, help_heading = "Boxes")]
    plain: bool,

    #[command(flatten)]
    network: NetworkOptions,
}

impl Setup {
    fn options(&self, dump: Option<PathBuf>) -> Options {
        Options {
            threshold: self.threshold,
            tight: self.tight.unwrap_or(if self.plain { 0.6 } else { 0.5 }),
            loose: self.loose.unwrap_or(if self.plain { 0.2 } else { 0.1 }),
            maps: self.maps,
            spreads: !self.plain,
            dump,
        }
    }
}

/// A setup as it was written.
#[derive(Debug, Clone)]
struct Way {
    text: String,
    setup: Setup,
}

fn way(text: &str) -> Result<Way> {
    #[derive(Parser)]
    #[command(no_binary_name = true, disable_help_flag = true)]
    struct Alone {
        #[command(flatten)]
        setup: Setup,
    }
    let words = shlex::split(text).ok_or_else(|| Error::usage("a quotation mark is not closed"))?;
    match Alone::try_parse_from(words) {
        Ok(Alone { setup }) => Ok(Way { text: text.into(), setup }),
        Err(error) => Err(one_line(&error)),
    }
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
         thread, but no more than there are processors; the result does not depend on\n\
         it. 95 % intervals are percentiles of {RESAMPLINGS} bootstrap resamplings of the\n\
         photographs; thresholds that are chosen are chosen once, on all of them. JSON\n\
         has shares from 0 to 1, the table percent. A photograph that cannot be read is\n\
         named on standard error and counted.\n\n\
         Examples:\n  \
         camlive eval ilsvrc-dev --against \"--mapping 2\"\n  \
         camlive eval ilsvrc-dev --plain --against \"--plain --maps occlusion\"\n  \
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
    let networks = arguments.setup.network.load_workers()?;
    let (labels, classes) = (networks[0].labels().clone(), networks[0].classes());
    let images = arguments.images.as_deref();
    let examples = data::read(layout, folder, images, &labels, classes)?;
    let all = examples.len();
    say(format_args!(
        "data set: {}, layout {}, {all} photographs",
        folder.display(),
        layout.name()
    ));

    let first = measure(&examples, &arguments.setup, networks, arguments.dump_cams.clone())?;
    tell_failed(&first.failed);
    if first.failed.len() == all {
        return Err(Error::invalid(format!(
            "{}: none of the {all} photographs could be scored; see above, and name their folder with --images",
            folder.display()
        )));
    }
    let report = |scored: &Scored| Report::of(&scored.outcomes, scored.failed.len());
    let mut comparison = Comparison { first: report(&first), others: Vec::new() };
    for Way { text, setup } in &arguments.against {
        say(format_args!("against: {text}"));
        let networks = setup.network.load_workers()?;
        if networks[0].labels() != &labels {
            return Err(Error::usage(format!(
                "--against \"{text}\": the network has other classes than the first"
            )));
        }
        let other = measure(&examples, setup, networks, None)?;
        if other.failed != first.failed {
            return Err(Error::invalid(format!(
                "{}: other photographs can be read than the first time; run it again",
                folder.display()
            )));
        }
        comparison.others.push((text.clone(), report(&other)));
    }
    match &mut json {
        Some(output) => output.json(&comparison),
        None => Output::stdout().text(&comparison.table()),
    }
}

fn measure(
    examples: &[Result<Example>],
    setup: &Setup,
    networks: Vec<Network>,
    dump: Option<PathBuf>,
) -> Result<Scored> {
    let options = setup.options(dump);
    with_bar(examples.len(), |show| score(examples, networks, &options, show))
}

fn layout(text: &str) -> Result<Layout> {
    Layout::ALL
        .into_iter()
        .find(|layout| layout.name() == text)
        .ok_or_else(|| Error::usage("wsol, ilsvrc, cub or voc is wanted"))
}

fn maps(text: &str) -> Result<Maps> {
    match text {
        "cam" => Ok(Maps::Cam),
        "occlusion" => Ok(Maps::Occlusion),
        _ => Err(Error::usage("cam or occlusion is wanted")),
    }
}
