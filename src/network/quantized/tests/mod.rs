//! Quantized graphs that the tests make themselves.

mod builder;
mod left;
mod random;
mod refused;
mod separable;

use tract_onnx::pb::ModelProto;

use super::super::backend::{Engine as _, Means};
use super::super::check::check_proto;
use super::super::tract::Engine;
use super::Report;
use crate::geometry::Size;
use crate::int8::Isa;

/// The best kernels of this processor.
fn means() -> Means {
    Means { isa: Some(Isa::best()), threads: 1 }
}

/// Builds a network for pictures of 6 x 6.
fn built(model: ModelProto) -> Result<Report, String> {
    let checked = check_proto(model)?;
    let engine = Engine::new(&checked, Size::new(6, 6), means())?;
    Ok(engine.report().unwrap().clone())
}
