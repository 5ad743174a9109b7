//! tract, given a checked model: one picture in, feature maps and logits out.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{InferenceFact, ensure, expand};
use tract_onnx::tract_hir::ops::unimpl::UnimplementedOp;

use super::activations::{Activations, Features};
use super::check::{Checked, MAX_VALUES};
use super::guard;
use super::head::FoundHead;
use super::quantized::{self, Left, Rewritten};
use crate::geometry::Size;
use crate::int8::{Isa, Quantization};

/// A network ready to run.
#[derive(Debug)]
pub(super) struct Engine {
    state: TypedSimpleState,
    /// The input tensor; shared with tract only during a run.
    input: Arc<Tensor>,
    pub(super) takes: Takes,
    gives: Gives,
    pub(super) channels: usize,
    pub(super) map: Size,
    pub(super) classes: usize,
    /// How much of it is int8 operators.
    pub(super) int8: Int8Share,
}

/// What the input tensor holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Takes {
    pub(super) values: Values,
    /// `[1, height, width, 3]`; else `[1, 3, height, width]`.
    pub(super) channels_last: bool,
}

/// The values of an input tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Values {
    /// f32, normalized.
    Normalized,
    /// The pixels' bytes.
    Pixels,
    /// Bytes that stand for normalized pixels.
    Quantized(Quantization),
}

/// How the feature maps are put out.
#[derive(Debug, Clone, Copy)]
struct Gives {
    /// As bytes that read so; else as f32.
    quantization: Option<Quantization>,
    channels_last: bool,
}

/// How much of a network is int8 operators.
#[derive(Debug, Clone)]
pub(super) struct Int8Share {
    pub(super) isa: Isa,
    /// Number of int8 operators.
    pub(super) operators: usize,
    /// The quantized operators that tract runs in its own way.
    pub(super) left: Vec<Left>,
}

impl Engine {
    /// Builds the network for pictures of `size` and runs it once.
    pub(super) fn new(checked: &Checked, size: Size, isa: Isa) -> Result<Self, String> {
        guard::catch(|| build(checked, size, isa))
            .unwrap_or_else(|panic| Err(format!("tract panicked on it: {panic}")))
    }

    /// Lets `write` fill the input tensor.
    pub(super) fn fill<T: Datum>(&mut self, write: impl FnOnce(&mut [T])) -> TractResult<()> {
        write(Arc::make_mut(&mut self.input).try_as_plain_ram_mut()?.as_slice_mut()?);
        Ok(())
    }

    /// Runs the network on the input tensor; `out.scores` are left as they are.
    pub(super) fn run(&mut self, out: &mut Activations) -> TractResult<()> {
        let outputs = self.state.run(tvec!(TValue::from_const(self.input.clone())))?;
        let logits = outputs[1].try_as_plain_ram()?;
        out.logits.clear();
        out.logits.extend_from_slice(logits.as_slice::<f32>()?);
        let maps = outputs[0].try_as_plain_ram()?;
        let Features { channels, height, width, values } = &mut out.features;
        (*channels, *height, *width) =
            (self.channels, self.map.height as usize, self.map.width as usize);
        values.clear();
        match self.gives {
            Gives { quantization: Some(Quantization { scale, zero_point }), .. } => {
                let maps = maps.as_slice::<u8>()?;
                let real = |byte: &u8| scale * (i32::from(*byte) - i32::from(zero_point)) as f32;
                for k in 0..self.channels {
                    values.extend(maps.iter().skip(k).step_by(self.channels).map(real));
                }
            }
            Gives { channels_last: true, .. } => {
                let maps = maps.as_slice::<f32>()?;
                for k in 0..self.channels {
                    values.extend(maps.iter().skip(k).step_by(self.channels));
                }
            }
            _ => values.extend_from_slice(maps.as_slice::<f32>()?),
        }
        Ok(())
    }
}

fn build(checked: &Checked, size: Size, isa: Isa) -> Result<Engine, String> {
    let rewritten = quantized::rewrite(&checked.proto, isa, checked.input.channels_last)?;
    let values = match rewritten.input {
        Some(quantization) => Values::Quantized(quantization),
        None if checked.input.bytes => Values::Pixels,
        None => Values::Normalized,
    };
    let channels_last = checked.input.channels_last || rewritten.input.is_some();
    let takes = Takes { values, channels_last };
    let shape = input_shape(takes, size);
    let kind = match values {
        Values::Normalized => f32::datum_type(),
        Values::Pixels | Values::Quantized(_) => u8::datum_type(),
    };
    let gives = Gives {
        quantization: rewritten.features,
        channels_last: checked.head.pool.channels_last || rewritten.features.is_some(),
    };
    let int8 =
        Int8Share { isa, operators: rewritten.operators.len(), left: rewritten.left.clone() };
    let typed = analyse(rewritten, kind, &shape).map_err(|error| explain(&error))?;
    let facts = [0, 1].map(|i| {
        typed.output_fact(i).ok().and_then(|fact| fact.shape.as_concrete().map(<[_]>::to_vec))
    });
    let [Some(features), Some(logits)] = facts else {
        return Err("the shapes of its feature maps and logits are not known beforehand".into());
    };
    let (channels, map) = check_shapes(&checked.head, gives.channels_last, &features)?;
    let classes = logits.iter().product();
    if classes != checked.head.linear.as_ref().map_or(channels, |linear| linear.classes) {
        return Err(format!(
            "its logits `{}` have the shape {logits:?}, not one value a class",
            checked.head.logits
        ));
    }
    let state = typed
        .into_optimized()
        .and_then(|model| model.into_runnable())
        .and_then(|plan| plan.spawn())
        .map_err(|error| explain(&error))?;
    let input = Tensor::zero_dt(kind, &shape).map_err(|error| explain(&error))?.into_arc_tensor();
    let mut engine = Engine { state, input, takes, gives, channels, map, classes, int8 };
    engine.run(&mut Activations::default()).map_err(|error| explain(&error))?;
    Ok(engine)
}

fn input_shape(input: Takes, size: Size) -> [usize; 4] {
    let (height, width) = (size.height as usize, size.width as usize);
    if input.channels_last { [1, height, width, 3] } else { [1, 3, height, width] }
}

fn analyse(
    mut rewritten: Rewritten,
    kind: DatumType,
    shape: &[usize],
) -> TractResult<TypedModel> {
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

/// Number of feature maps and their size.
fn check_shapes(
    head: &FoundHead,
    channels_last: bool,
    features: &[usize],
) -> Result<(usize, Size), String> {
    let pool = &head.pool;
    let (channels, height, width) = match (features, channels_last) {
        (&[1, c, h, w], false) | (&[1, h, w, c], true) => (c, h, w),
        _ => {
            return Err(format!(
                "does not end in global pooling and a linear layer: {} pools a tensor of shape {features:?}, \
                 not feature maps",
                pool.title
            ));
        }
    };
    if pool.window.is_some_and(|window| window != [height, width]) {
        return Err(format!(
            "does not end in global pooling and a linear layer: {} pools windows of {:?}, not the whole map of \
             [{height}, {width}]",
            pool.title,
            pool.window.unwrap_or_default()
        ));
    }
    if let Some(linear) = &head.linear
        && linear.channels != channels
    {
        return Err(format!(
            "does not end in global pooling and a linear layer: {} weighs {} values, but there are {channels} \
             feature maps",
            linear.title, linear.channels
        ));
    }
    Ok((channels, Size::new(width as u32, height as u32)))
}

/// tract's chain of errors on one line of bearable length.
pub(super) fn explain(error: &TractError) -> String {
    const LONGEST: usize = 300;
    let mut text = format!("tract cannot run it: {error:#}");
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}
