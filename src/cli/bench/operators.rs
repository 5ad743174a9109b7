//! How long each operator of the network takes.

use serde::{Serialize, Serializer};

use crate::clock::milliseconds;
use crate::network::Timed;

/// The operators of a network in the order in which they run.
#[derive(Default)]
pub(super) struct Operators(Vec<Operator>);

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
}

impl Operators {
    /// Adds what a run of the network took.
    pub(super) fn add(&mut self, run: Vec<Timed>) {
        if self.0.is_empty() {
            self.0 = run
                .into_iter()
                .map(|what| Operator { milliseconds: vec![milliseconds(what.took)], what })
                .collect();
            return;
        }
        for (operator, timed) in self.0.iter_mut().zip(run) {
            operator.milliseconds.push(milliseconds(timed.took));
        }
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.0.iter().map(|Operator { what, milliseconds }| {
            let mut sorted = milliseconds.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let ms = sorted[sorted.len() / 2];
            let macs = what.multiplications.filter(|&macs| macs > 0);
            Row {
                name: &what.name,
                operator: &what.operator,
                output: &what.output,
                ms,
                macs,
                gmac_per_s: macs.map(|macs| macs as f64 / (ms * 1e6)),
            }
        })
    }

    /// For a reader.
    pub(super) fn table(&self) -> String {
        let sum: f64 = self.rows().map(|row| row.ms).sum();
        let mut text = format!(
            "\n{:20}{:>18}{:>9}{:>7}{:>9}{:>9}\n",
            "operator", "output", "ms", "share", "MMAC", "GMAC/s"
        );
        for Row { operator, output, ms, macs, gmac_per_s, .. } in self.rows() {
            let sides: Vec<_> = output.iter().map(usize::to_string).collect();
            let share = format!("{:.1} %", 100.0 * ms / sum);
            text += &format!("{operator:20}{:>18}{ms:9.3}{share:>7}", sides.join("x"));
            if let (Some(macs), Some(speed)) = (macs, gmac_per_s) {
                text += &format!("{:9.1}{speed:9.1}", macs as f64 / 1e6);
            }
            text.push('\n');
        }
        text
    }
}

impl Serialize for Operators {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows())
    }
}
