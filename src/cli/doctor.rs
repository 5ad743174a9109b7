//! `camlive doctor`: what this machine has.

use std::fmt::Write;

use clap::Args;

use super::model::Model;
use super::output::Output;
use crate::error::Result;
use crate::int8::Isa;
use crate::network::{Backend, Left, Network};
use crate::source::camera::{CameraInfo, Wanted, cameras, choose};

/// Tell what cameras, instruction sets and backends this machine has, and how the network runs
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    model: Model,
}

/// Runs the command.
///
/// # Errors
/// A model that cannot be used.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut text = String::new();
    // Writing to a string does not fail.
    _ = write_cameras(&mut text);
    _ = write_backends(&mut text);
    Output::stdout().text(&text)?;
    text.clear();
    let isa = Isa::from_env()?;
    let analyser = arguments.model.load()?;
    _ = write_network(&mut text, isa, analyser.network());
    Output::stdout().text(&text)
}

fn write_cameras(text: &mut String) -> std::fmt::Result {
    writeln!(text, "Cameras")?;
    let cameras = cameras();
    if cameras.is_empty() {
        writeln!(text, "  none; `camlive run demo` needs none")?;
    }
    for CameraInfo { path, name, by_id, modes } in &cameras {
        writeln!(text, "  {} ({name})", path.display())?;
        if let Some(by_id) = by_id {
            writeln!(text, "    wherever it is plugged in: {}", by_id.display())?;
        }
        match modes {
            Err(error) => writeln!(text, "    cannot be used: {error}")?,
            Ok(modes) => {
                let chosen = choose(modes, &Wanted::default());
                for mode in modes {
                    let mark = if Some(*mode) == chosen { "  (chosen)" } else { "" };
                    writeln!(text, "    {mode}{mark}")?;
                }
            }
        }
    }
    Ok(())
}

fn write_backends(text: &mut String) -> std::fmt::Result {
    writeln!(text, "\nBackends")?;
    for backend in Backend::ALL {
        let name = format!("{} ({})", backend.name(), backend.title());
        match backend.missing_feature() {
            None => writeln!(text, "  {name}")?,
            Some(feature) => {
                writeln!(
                    text,
                    "  {name}: not in this program; build it with --features {feature}"
                )?;
            }
        }
    }
    Ok(())
}

fn write_network(text: &mut String, isa: Option<Isa>, network: &Network) -> std::fmt::Result {
    writeln!(text, "\nInstruction sets for int8")?;
    for available in Isa::available() {
        let mark = if Some(available) == isa { "  (chosen)" } else { "" };
        writeln!(text, "  {available}{mark}")?;
    }
    if isa.is_none() {
        writeln!(text, "  none is fast enough to be used: tract computes in f32")?;
    }
    writeln!(text, "\nNetwork\n  {}", network.describe())?;
    for Left { node, why } in network.int8().map_or(&[][..], |report| &report.left) {
        writeln!(text, "  {node} is not run in int8: {why}")?;
    }
    Ok(())
}
