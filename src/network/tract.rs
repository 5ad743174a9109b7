//! tract, given a checked model: one picture in, feature maps and logits out.

use std::sync::Arc;
use std::time::Instant;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::plan::eval;
use tract_onnx::tract_hir::internal::{InferenceFact, ensure, expand};
use tract_onnx::tract_hir::ops::unimpl::UnimplementedOp;

use super::activations::{Activations, Features};
use super::backend::{Backend, Maps, Means, Picture, Shape, Takes, Timed, Values};
use super::check::{Checked, MAX_VALUES};
use super::quantized::{self, Int8, Report, Rewritten};
use super::{backend, guard};
use crate::geometry::Size;
use crate::int8::{Quantization, Team};

/// A network ready to run.
#[derive(Debug)]
pub(super) struct Engine {
    /// The network runs in it, so that int8 operators divide their work among its threads.
    team: Team,
    state: TypedSimpleState,
    /// The input tensor; shared with tract only during a run.
    input: Arc<Tensor>,
    takes: Takes,
    shape: Shape,
    /// How the bytes of the feature maps read, where they are bytes.
    features: Option<Quantization>,
    /// Likewise for the early features.
    early: Option<Quantization>,
    report: Report,
}

impl Engine {
    /// Builds the network for pictures of `size` and runs it once.
    pub(super) fn new(checked: &Checked, size: Size, means: Means) -> Result<Self, String> {
        guard::catch(|| build(checked, size, means))
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
        let (state, input) = (&mut self.state, &self.input);
        let run = || state.run(tvec!(TValue::from_const(input.clone())));
        let outputs = self.team.install(run)?;
        copy(&self.shape.features, &outputs[0], self.features, &mut out.features)?;
        if let Some(maps) = &self.shape.early {
            copy(maps, &outputs[2], self.early, &mut out.early)?;
        }
        out.logits.clear();
        out.logits.extend_from_slice(outputs[1].try_as_plain_ram()?.as_slice()?);
        Ok(())
    }
}

/// Copies maps, which may be bytes that read so.
fn copy(
    maps: &Maps,
    tensor: &Tensor,
    bytes: Option<Quantization>,
    to: &mut Features,
) -> TractResult<()> {
    let tensor = tensor.try_as_plain_ram()?;
    match bytes {
        Some(quantization) => maps.dequantize(tensor.as_slice()?, quantization, to),
        None => maps.copy(tensor.as_slice()?, to),
    }
    Ok(())
}

impl backend::Engine for Engine {
    fn backend(&self) -> Backend {
        Backend::Tract
    }

    fn report(&self) -> Option<&Report> {
        Some(&self.report)
    }

    fn takes(&self) -> Takes {
        self.takes
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

    fn run_timed(&mut self) -> Result<Vec<Timed>, String> {
        let (state, input) = (&mut self.state, &self.input);
        let mut times = Vec::new();
        let run = || {
            let input = tvec!(TValue::from_const(input.clone()));
            state.run_plan_with_eval(input, |context, state, node, inputs| {
                let multiplications = match node.op_as::<Int8>() {
                    Some(int8) => {
                        let shapes: TVec<_> = inputs.iter().map(|input| input.shape()).collect();
                        Some(int8.multiplications(&shapes)?)
                    }
                    None => None,
                };
                let start = Instant::now();
                let outputs = eval(context, state, node, inputs)?;
                times.push(Timed {
                    took: start.elapsed(),
                    name: node.name.clone(),
                    operator: node.op.name().into_owned(),
                    output: outputs.first().map_or(Vec::new(), |output| output.shape().to_vec()),
                    multiplications,
                });
                TractResult::Ok(outputs)
            })
        };
        self.team.install(run).map_err(|error| explain(&error))?;
        Ok(times)
    }
}

fn build(checked: &Checked, size: Size, means: Means) -> Result<Engine, String> {
    let rewritten = match means.isa {
        Some(isa) => quantized::rewrite(checked, size, isa)?,
        None => Rewritten::untouched(&checked.proto),
    };
    let takes = match rewritten.input {
        Some(quantization) => {
            Takes { values: Values::Quantized(quantization), channels_last: true }
        }
        None => Takes::plain(&checked.input),
    };
    let dims = takes.dims(size);
    let kind = match takes.values {
        Values::Normalized => f32::datum_type(),
        Values::Pixels | Values::Quantized(_) => u8::datum_type(),
    };
    let (features, early) = (rewritten.features, rewritten.early);
    let report = rewritten.report.clone();
    let channels_last = [checked.head.pool.channels_last || features.is_some(), early.is_some()];
    let typed = analyse(rewritten, kind, &dims).map_err(|error| explain(&error))?;
    let shapes: Option<Vec<Vec<usize>>> = (0..typed.outputs.len())
        .map(|i| Some(typed.output_fact(i).ok()?.shape.as_concrete()?.to_vec()))
        .collect();
    let shapes =
        shapes.ok_or("the shapes of its feature maps and logits are not known beforehand")?;
    let shape = Shape::new(&checked.head, channels_last, &shapes)?;
    let state = typed
        .into_optimized()
        .and_then(|model| model.into_runnable())
        .and_then(|plan| plan.spawn())
        .map_err(|error| explain(&error))?;
    let input = Tensor::zero_dt(kind, &dims).map_err(|error| explain(&error))?.into_arc_tensor();
    let team = Team::new(means.threads)
        .map_err(|error| format!("cannot start {} threads: {error}", means.threads))?;
    let mut engine = Engine { team, state, input, takes, shape, features, early, report };
    engine.run_plan(&mut Activations::default()).map_err(|error| explain(&error))?;
    Ok(engine)
}

fn analyse(mut rewritten: Rewritten, kind: DatumType, shape: &[usize]) -> TractResult<TypedModel> {
    let mut model = tract_onnx::onnx()
        .with_ignore_value_info(true)
        .model_for_proto_model(&rewritten.proto)?
        .with_input_fact(0, InferenceFact::dt_shape(kind, shape))?;
    for node in model.nodes_mut() {
        if node.op.as_op().downcast_ref::<UnimplementedOp>().is_some()
            && let Some(operator) = rewritten.operators.remove(&node.name)
        {
            node.op = expand(operator);
        }
    }
    let typed = model.into_typed()?;
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
