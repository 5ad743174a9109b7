//! tract, given a checked model: one picture in, feature maps and logits out.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{InferenceFact, ensure};

use super::activations::Activations;
use super::backend::{Backend, Picture, Shape};
use super::check::{Checked, MAX_VALUES};
use super::{backend, guard};
use crate::geometry::Size;

/// A network ready to run.
#[derive(Debug)]
pub(super) struct Engine {
    state: TypedSimpleState,
    /// The input tensor; shared with tract only during a run.
    input: Arc<Tensor>,
    shape: Shape,
}

impl Engine {
    /// Builds the network for pictures of `size` and runs it once.
    pub(super) fn new(checked: &Checked, size: Size) -> Result<Self, String> {
        guard::catch(|| build(checked, size))
            .unwrap_or_else(|panic| Err(format!("tract panicked on it: {panic}")))
    }

    fn with_input(&mut self, write: &mut dyn FnMut(Picture)) -> TractResult<()> {
        let mut tensor = Arc::make_mut(&mut self.input).try_as_plain_ram_mut()?;
        if tensor.datum_type() == u8::datum_type() {
            write(Picture::Bytes(tensor.as_slice_mut()?));
        } else {
            write(Picture::Floats(tensor.as_slice_mut()?));
        }
        Ok(())
    }

    fn run_plan(&mut self, out: &mut Activations) -> TractResult<()> {
        let outputs = self.state.run(tvec!(TValue::from_const(self.input.clone())))?;
        let maps = outputs[0].try_as_plain_ram()?;
        let logits = outputs[1].try_as_plain_ram()?;
        self.shape.copy(maps.as_slice()?, logits.as_slice()?, out);
        Ok(())
    }
}

impl backend::Engine for Engine {
    fn backend(&self) -> Backend {
        Backend::Tract
    }

    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn fill(&mut self, write: &mut dyn FnMut(Picture)) -> Result<(), String> {
        self.with_input(write).map_err(|error| explain(&error))
    }

    fn run(&mut self, out: &mut Activations) -> Result<(), String> {
        self.run_plan(out).map_err(|error| explain(&error))
    }
}

fn build(checked: &Checked, size: Size) -> Result<Engine, String> {
    let shape = checked.input.shape(size);
    let kind = if checked.input.bytes { u8::datum_type() } else { f32::datum_type() };
    let typed = analyse(checked, kind, &shape).map_err(|error| explain(&error))?;
    let facts = [0, 1].map(|i| {
        typed.output_fact(i).ok().and_then(|fact| fact.shape.as_concrete().map(<[_]>::to_vec))
    });
    let [Some(features), Some(logits)] = facts else {
        return Err("the shapes of its feature maps and logits are not known beforehand".into());
    };
    let outputs = Shape::new(&checked.head, &features, &logits)?;
    let state = typed
        .into_optimized()
        .and_then(|model| model.into_runnable())
        .and_then(|plan| plan.spawn())
        .map_err(|error| explain(&error))?;
    let input = Tensor::zero_dt(kind, &shape).map_err(|error| explain(&error))?.into_arc_tensor();
    let mut engine = Engine { state, input, shape: outputs };
    engine.run_plan(&mut Activations::default()).map_err(|error| explain(&error))?;
    Ok(engine)
}

fn analyse(checked: &Checked, kind: DatumType, shape: &[usize]) -> TractResult<TypedModel> {
    let typed = tract_onnx::onnx()
        .with_ignore_value_info(true)
        .model_for_proto_model(&checked.proto)?
        .with_input_fact(0, InferenceFact::dt_shape(kind, shape))?
        .into_typed()?;
    for node in typed.nodes() {
        for output in &node.outputs {
            let volume = output.fact.shape.as_concrete().map_or(Some(0), |shape| {
                shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
            });
            ensure!(
                volume.is_some_and(|volume| volume <= MAX_VALUES),
                "{} makes a tensor of shape {:?}, which is too large",
                node.name,
                output.fact.shape
            );
        }
    }
    Ok(typed)
}

/// tract's chain of errors on one line of bearable length.
fn explain(error: &TractError) -> String {
    backend::shorten(format!("tract cannot run it: {error:#}"))
}
