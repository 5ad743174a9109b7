//! One frame from pixels to boxes.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::frame::Frame;
use crate::localize::{Findings, Localizer, Settings};
use crate::network::activations::Activations;
use crate::network::{Network, Timed};

/// How long each stage of the analysis of one frame took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stages {
    /// Resizing to the network's input.
    pub prepare: Duration,
    /// Running the network.
    pub network: Duration,
    /// Class activation maps and boxes.
    pub localize: Duration,
}

/// A network and what reads boxes out of it.
#[derive(Debug)]
pub struct Analyser {
    network: Network,
    localizer: Localizer,
    activations: Activations,
}

impl Analyser {
    /// Joins a network and the localizer of what is looked for.
    pub fn new(network: Network, localizer: Localizer) -> Self {
        Self { network, localizer, activations: Activations::default() }
    }

    /// Finds boxes in `frame`, reusing the buffers of `findings`.
    ///
    /// # Errors
    /// The network fails on this input.
    pub fn analyse(
        &mut self,
        frame: &Frame,
        settings: &Settings,
        findings: &mut Findings,
    ) -> Result<Stages> {
        let start = Instant::now();
        self.network.prepare(frame)?;
        let prepare = start.elapsed();
        let network = self.run_network()?;
        let start = Instant::now();
        self.localizer.localize(
            &self.activations,
            self.network.head(),
            frame.size,
            settings,
            findings,
        );
        Ok(Stages { prepare, network, localize: start.elapsed() })
    }

    /// What the network gave for the last frame.
    pub fn activations(&self) -> &Activations {
        &self.activations
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Runs the network on the frame that was prepared last, and tells how long that took.
    ///
    /// # Errors
    /// The network fails on this input.
    pub fn run_network(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.network.run(&mut self.activations)?;
        Ok(start.elapsed())
    }

    /// Runs the network once more on the last frame, operator by operator.
    ///
    /// # Errors
    /// As [`Network::run_timed`].
    pub fn operators(&mut self) -> Result<Vec<Timed>> {
        self.network.run_timed()
    }
}
