//! tract, given a checked model: one picture in, feature maps and logits out.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{InferenceFact, ensure};

use super::activations::{Activations, Features};
use super::check::{Checked, Input, MAX_VALUES};
use super::guard;
use super::head::FoundHead;
use crate::geometry::Size;

/// A network ready to run.
#[derive(Debug)]
pub(super) struct Engine {
    state: TypedSimpleState,
    /// The input tensor; shared with tract only during a run.
    input: Arc<Tensor>,
    channels_last: bool,
    pub(super) channels: usize,
    pub(super) map: Size,
    pub(super) classes: usize,
}

impl Engine {
    /// Builds the network for pictures of `size` and runs it once.
    pub(super) fn new(checked: &Checked, size: Size) -> Result<Self, String> {
        guard::catch(|| build(checked, size))
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
        let maps = maps.as_slice::<f32>()?;
        let Features { channels, height, width, values } = &mut out.features;
        (*channels, *height, *width) =
            (self.channels, self.map.height as usize, self.map.width as usize);
        values.clear();
        if self.channels_last {
            for k in 0..self.channels {
                values.extend(maps.iter().skip(k).step_by(self.channels));
            }
        } else {
            values.extend_from_slice(maps);
        }
        Ok(())
    }
}

fn build(checked: &Checked, size: Size) -> Result<Engine, String> {
    let shape = input_shape(&checked.input, size);
    let kind = if checked.input.bytes { u8::datum_type() } else { f32::datum_type() };
    let typed = analyse(checked, kind, &shape).map_err(|error| explain(&error))?;
    let facts = [0, 1].map(|i| {
        typed.output_fact(i).ok().and_then(|fact| fact.shape.as_concrete().map(<[_]>::to_vec))
    });
    let [Some(features), Some(logits)] = facts else {
        return Err("the shapes of its feature maps and logits are not known beforehand".into());
    };
    let (channels, map) = check_shapes(&checked.head, &features)?;
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
    let mut engine = Engine {
        state,
        input,
        channels_last: checked.head.pool.channels_last,
        channels,
        map,
        classes,
    };
    engine.run(&mut Activations::default()).map_err(|error| explain(&error))?;
    Ok(engine)
}

fn input_shape(input: &Input, size: Size) -> [usize; 4] {
    let (height, width) = (size.height as usize, size.width as usize);
    if input.channels_last { [1, height, width, 3] } else { [1, 3, height, width] }
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

/// Number of feature maps and their size.
fn check_shapes(head: &FoundHead, features: &[usize]) -> Result<(usize, Size), String> {
    let pool = &head.pool;
    let (channels, height, width) = match (features, pool.channels_last) {
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
