//! How long each operator of the network takes.

use serde::{Serialize, Serializer};

use crate::clock::milliseconds;
use crate::network::Timed;

/// The operators of a network in the order in which they run.
pub(super) struct Operators {
    operators: Vec<Operator>,
    /// Multiply-accumulates a second that the instruction set achieves on all threads together.
    peak: Option<f64>,
}

struct Operator {
    what: Timed,
    milliseconds: Vec<f64>,
}

/// What is told of an operator.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    operator: &'a str,
    output: &'a [usize],
    /// The median.
    ms: f64,
    /// Of int8 operators.
    macs: Option<usize>,
    gmac_per_s: Option<f64>,
    /// Of what the multiplying instructions achieve alone, 0 to 1.
    share_of_peak: Option<f64>,
}

impl Operators {
    /// None yet; `peak` is in multiply-accumulates a second.
    pub(super) fn new(peak: Option<f64>) -> Self {
        Self { operators: Vec::new(), peak }
    }

    /// Adds what a run of the network took.
    pub(super) fn add(&mut self, run: Vec<Timed>) {
        if self.operators.is_empty() {
            self.operators = run
                .into_iter()
                .map(|what| Operator { milliseconds: vec![milliseconds(what.took)], what })
                .collect();
            return;
        }
        for (operator, timed) in self.operators.iter_mut().zip(run) {
            operator.milliseconds.push(milliseconds(timed.took));
        }
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.operators.iter().map(|Operator { what, milliseconds }| {
            let mut sorted = milliseconds.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let ms = sorted[sorted.len() / 2];
            let macs = what.multiplications.filter(|&macs| macs > 0);
            let speed = macs.map(|macs| macs as f64 / (ms * 1e6));
            Row {
                name: &what.name,
                operator: &what.operator,
                output: &what.output,
                ms,
                macs,
                gmac_per_s: speed,
                share_of_peak: speed.zip(self.peak).map(|(speed, peak)| speed * 1e9 / peak),
            }
        })
    }

    /// For a reader.
    pub(super) fn table(&self) -> String {
        let sum: f64 = self.rows().map(|row| row.ms).sum();
        let mut text = format!(
            "\n{:20}{:>18}{:>9}{:>8}{:>8}{:>8}{:>9}\n",
            "operator", "output", "ms", "share", "MMAC", "GMAC/s", "of peak"
        );
        for Row { operator, output, ms, macs, gmac_per_s, share_of_peak, .. } in self.rows() {
            let sides: Vec<_> = output.iter().map(usize::to_string).collect();
            let share = format!("{:.1} %", 100.0 * ms / sum);
            text += &format!("{operator:20}{:>18}{ms:9.3}{share:>8}", sides.join("x"));
            if let (Some(macs), Some(speed)) = (macs, gmac_per_s) {
                text += &format!("{:8.1}{speed:8.1}", macs as f64 / 1e6);
            }
            if let Some(share) = share_of_peak {
                text += &format!("{:>9}", format!("{:.0} %", 100.0 * share));
            }
            text.push('\n');
        }
        if let Some(peak) = self.peak {
            text += &format!("\npeak of the multiplying instructions: {:.1} GMAC/s\n", peak / 1e9);
        }
        text
    }
}

impl Serialize for Operators {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows())
    }
}
