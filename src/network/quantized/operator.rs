//! int8 operators as tract runs them.

use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use crate::int8::{
    Add, AveragePool, Concat, Convolution, FullyConnected, GlobalAveragePool, MaxPool, Quantize,
    Requantize, Separable, Shape,
};

/// An operator of the quantized network. Pictures are `[1, height, width, channels]`.
#[derive(Debug)]
pub(super) enum Operator {
    /// A picture, and the one to be added where it does that.
    Convolution(Box<Convolution>),
    /// A picture, and the one to be added where it does that.
    Separable(Box<Separable>),
    /// Two pictures of the same shape.
    Add(Add),
    /// A picture.
    MaxPool(MaxPool),
    /// A picture.
    AveragePool(AveragePool),
    /// A picture, to one pixel.
    GlobalAveragePool(GlobalAveragePool),
    /// Pictures of the same height and width.
    Concat(Concat),
    /// Rows of inputs, to f32.
    FullyConnected(FullyConnected),
    /// Rows of inputs.
    Linear(Box<Convolution>),
    /// Any shape.
    Requantize(Requantize),
    /// Any shape, from f32.
    Quantize(Quantize),
}

impl Operator {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Convolution(_) => "Convolution",
            Self::Separable(_) => "SeparableConvolution",
            Self::Add(_) => "Add",
            Self::MaxPool(_) => "MaxPool",
            Self::AveragePool(_) => "AveragePool",
            Self::GlobalAveragePool(_) => "GlobalAveragePool",
            Self::Concat(_) => "Concat",
            Self::FullyConnected(_) => "FullyConnected",
            Self::Linear(_) => "Linear",
            Self::Requantize(_) => "Requantize",
            Self::Quantize(_) => "Quantize",
        }
    }

    fn input_type(&self) -> DatumType {
        if matches!(self, Self::Quantize(_)) { f32::datum_type() } else { u8::datum_type() }
    }

    fn output_type(&self) -> DatumType {
        if matches!(self, Self::FullyConnected(_)) { f32::datum_type() } else { u8::datum_type() }
    }

    /// The shape of the output for the shapes of the inputs.
    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        let first = *inputs.first().context("an operator without input")?;
        let to = match self {
            Self::Requantize(_) | Self::Quantize(_) => return Ok(first.into()),
            Self::FullyConnected(op) => return linear(first, op.inputs(), op.outputs()),
            Self::Linear(op) => {
                let outputs = op.output_shape(rows(first)).channels;
                return linear(first, op.input_channels(), outputs);
            }
            Self::Convolution(op) => {
                with_added(op.output_shape(picture_of(first, op.input_channels())?), inputs)?
            }
            Self::Separable(op) => {
                with_added(op.output_shape(picture_of(first, op.input_channels())?), inputs)?
            }
            Self::Add(_) => {
                let shape = picture(first)?;
                ensure!(
                    inputs.get(1) == Some(&first),
                    "an addition of different shapes, {inputs:?}"
                );
                shape
            }
            Self::MaxPool(op) => op.output_shape(picture(first)?),
            Self::AveragePool(op) => op.output_shape(picture(first)?),
            Self::GlobalAveragePool(_) => Shape { height: 1, width: 1, ..picture(first)? },
            Self::Concat(op) => {
                let shape = picture(first)?;
                let mut channels = 0;
                for (i, input) in inputs.iter().enumerate() {
                    let other = picture(input)?;
                    ensure!(
                        (other.height, other.width) == (shape.height, shape.width)
                            && op.channels().nth(i) == Some(other.channels),
                        "a concatenation of shapes that do not fit, {inputs:?}"
                    );
                    channels += other.channels;
                }
                Shape { channels, ..shape }
            }
        };
        ensure!(!to.is_empty(), "an output without pixels");
        Ok(tvec![1, to.height, to.width, to.channels])
    }

    /// Multiply-accumulates for the shapes of the inputs; 0 where it is no weighted sum.
    fn multiplications(&self, inputs: &[&[usize]]) -> TractResult<usize> {
        let depth = match self {
            Self::Convolution(op) | Self::Linear(op) => op.depth(),
            Self::FullyConnected(op) => op.inputs(),
            Self::Separable(op) => {
                let first = *inputs.first().context("an operator without input")?;
                return Ok(op.multiplications(picture(first)?));
            }
            _ => 0,
        };
        Ok(self.output_shape(inputs)?.iter().product::<usize>() * depth)
    }

    fn run(&self, inputs: &[TValue], output: &mut Tensor) -> TractResult<()> {
        let shape = |i: usize| picture(inputs[i].shape());
        let bytes =
            |i: usize| -> TractResult<&[u8]> { inputs[i].try_as_plain_ram()?.as_slice::<u8>() };
        if let Self::FullyConnected(op) = self {
            let mut view = output.try_as_plain_ram_mut()?;
            let to = view.as_slice_mut::<f32>()?.chunks_exact_mut(op.outputs());
            bytes(0)?.chunks_exact(op.inputs()).zip(to).for_each(|(from, to)| op.run(from, to));
            return Ok(());
        }
        let mut view = output.try_as_plain_ram_mut()?;
        let to = view.as_slice_mut::<u8>()?;
        let added = || if inputs.len() > 1 { bytes(1).map(Some) } else { Ok(None) };
        match self {
            Self::Convolution(op) => op.run(bytes(0)?, shape(0)?, added()?, to),
            Self::Separable(op) => op.run(bytes(0)?, shape(0)?, added()?, to),
            Self::Add(op) => op.run(bytes(0)?, bytes(1)?, to),
            Self::MaxPool(op) => op.run(bytes(0)?, shape(0)?, to),
            Self::AveragePool(op) => op.run(bytes(0)?, shape(0)?, to),
            Self::GlobalAveragePool(op) => op.run(bytes(0)?, shape(0)?, to),
            Self::Concat(op) => {
                let pixels = shape(0)?.pixels();
                let inputs: TVec<&[u8]> =
                    (0..inputs.len()).map(bytes).collect::<TractResult<_>>()?;
                op.run(&inputs, pixels, to);
            }
            Self::FullyConnected(_) => unreachable!("it has run"),
            Self::Linear(op) => op.run(bytes(0)?, rows(inputs[0].shape()), None, to),
            Self::Requantize(op) => op.run(bytes(0)?, to),
            Self::Quantize(op) => op.run(inputs[0].try_as_plain_ram()?.as_slice::<f32>()?, to),
        }
        Ok(())
    }
}

/// The picture that a tensor is.
fn picture(shape: &[usize]) -> TractResult<Shape> {
    match *shape {
        [1, height, width, channels] => Ok(Shape { height, width, channels }),
        _ => bail!("a tensor of shape {shape:?} is no picture"),
    }
}

/// The picture that a tensor is, of as many channels as a convolution takes.
fn picture_of(shape: &[usize], channels: usize) -> TractResult<Shape> {
    let picture = picture(shape)?;
    ensure!(
        picture.channels == channels,
        "{} channels for a convolution of {channels}",
        picture.channels
    );
    Ok(picture)
}

/// The shape of the output of a convolution, which that of a picture to be added has to be, too.
fn with_added(to: Shape, inputs: &[&[usize]]) -> TractResult<Shape> {
    let added = inputs.get(1).copied().map(picture).transpose()?;
    ensure!(
        added.is_none_or(|added| added == to),
        "an addition of different shapes, {added:?} and {to:?}"
    );
    Ok(to)
}

/// The rows of a tensor, as the pixels of a picture.
fn rows(shape: &[usize]) -> Shape {
    let (channels, rows) =
        shape.split_last().map_or((0, 1), |(&last, rest)| (last, rest.iter().product()));
    Shape { height: 1, width: rows, channels }
}

/// The shape of the output of a linear layer.
fn linear(shape: &[usize], inputs: usize, outputs: usize) -> TractResult<TVec<usize>> {
    let Some((&last, rest)) = shape.split_last() else { bail!("a linear layer of a number") };
    ensure!(last == inputs, "{last} values for a linear layer of {inputs}");
    ensure!(!shape.contains(&0) && inputs > 0 && outputs > 0, "a linear layer without values");
    Ok(rest.iter().copied().chain([outputs]).collect())
}

/// An operator with its place in tract's graph.
#[derive(Debug, Clone)]
pub(in crate::network) struct Int8 {
    operator: Arc<Operator>,
    /// The shape of its output, where that is not the operator's but holds the same bytes.
    reshaped: Option<TVec<usize>>,
    buffers: Buffers,
}

impl Int8 {
    /// Its output comes from `buffers`, which all operators of a network share.
    pub(super) fn new(operator: Operator, buffers: &Buffers) -> Self {
        Self { operator: Arc::new(operator), reshaped: None, buffers: buffers.clone() }
    }

    /// Multiply-accumulates for the shapes of the inputs; 0 where it is no weighted sum.
    pub(in crate::network) fn multiplications(&self, inputs: &[&[usize]]) -> TractResult<usize> {
        self.operator.multiplications(inputs)
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        let shape = self.operator.output_shape(inputs)?;
        Ok(self.reshaped.clone().unwrap_or(shape))
    }
}

impl PartialEq for Int8 {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.operator, &other.operator) && self.reshaped == other.reshaped
    }
}

impl Eq for Int8 {}

impl Expansion for Int8 {
    fn name(&self) -> StaticName {
        self.operator.name().into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        for input in inputs {
            solver.equals(&input.datum_type, self.operator.input_type())?;
        }
        solver.equals(&outputs[0].datum_type, self.operator.output_type())?;
        solver.given_all(inputs.iter().map(|i| &i.shape), move |solver, shapes: Vec<TVec<TDim>>| {
            let concrete = shapes
                .iter()
                .map(|shape| shape.iter().map(|side| Ok(side.to_usize()?)).collect())
                .collect::<TractResult<Vec<TVec<usize>>>>()?;
            let concrete: Vec<&[usize]> = concrete.iter().map(|shape| &shape[..]).collect();
            let to: TVec<TDim> =
                self.output_shape(&concrete)?.iter().map(|&side| side.to_dim()).collect();
            solver.equals(&outputs[0].shape, to)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }

    fn runs_out_of_plan(&self) -> bool {
        false
    }
}

impl Op for Int8 {
    fn name(&self) -> StaticName {
        self.operator.name().into()
    }

    op_as_typed_op!();
}

impl EvalOp for Int8 {
    not_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let shapes: TVec<&[usize]> = inputs.iter().map(|input| input.shape()).collect();
        let shape = self.output_shape(&shapes)?;
        let mut output = self.buffers.take(self.operator.output_type(), &shape)?;
        self.operator.run(&inputs, Arc::get_mut(&mut output).context("a tensor in use")?)?;
        self.buffers.give(&output);
        Ok(tvec![TValue::from_const(output)])
    }
}

impl TypedOp for Int8 {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        for input in inputs {
            ensure!(
                input.datum_type == self.operator.input_type(),
                "{} of a tensor of {:?}",
                self.operator.name(),
                input.datum_type
            );
        }
        let shapes = inputs.iter().map(|input| {
            input.shape.as_concrete().context("an int8 operator on a shape that is not known")
        });
        let shapes = shapes.collect::<TractResult<Vec<_>>>()?;
        Ok(tvec![self.operator.output_type().fact(&self.output_shape(&shapes)?)])
    }

    /// Lets the operator before this one give the shape that this one takes, where the tensor between
    /// them is a vector that is only reshaped: tract would copy it.
    fn declutter(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        let &[input] = &node.inputs[..] else { return Ok(None) };
        let mut before = model.node(input.node);
        while before.op_is::<AxisOp>() && before.outputs[0].successors.len() == 1 {
            before = model.node(before.inputs[0].node);
        }
        let fact = model.outlet_fact(input)?;
        let (Some(shape), Some(maker)) = (fact.shape.as_concrete(), before.op_as::<Self>()) else {
            return Ok(None);
        };
        let is_vector = shape.iter().filter(|&&side| side != 1).count() <= 1;
        if before.id == input.node || before.outputs[0].successors.len() != 1 || !is_vector {
            return Ok(None);
        }
        let mut patch = TypedModelPatch::default();
        let inputs = patch.taps(model, &before.inputs)?;
        let maker = Self { reshaped: Some(shape.into()), ..maker.clone() };
        let made = patch.wire_node(&before.name, maker, &inputs)?;
        let output = patch.wire_node(&node.name, self.clone(), &made)?;
        patch.shunt_outside(model, node.id.into(), output[0])?;
        Ok(Some(patch))
    }
}

/// The tensors that operators write. One that nobody reads any more is written again by the next
/// operator whose output has as many values: no frame allocates a tensor or clears one first, and a
/// network works in little more memory than its largest layers need, which caches may hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Arc<Tensor>>>>);

impl Buffers {
    /// A tensor that nobody else has, of any content.
    fn take(&self, kind: DatumType, shape: &[usize]) -> TractResult<Arc<Tensor>> {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let volume: usize = shape.iter().product();
        // The last one was used last, and is likeliest to be in a cache.
        let free = buffers.iter_mut().rposition(|tensor| {
            tensor.datum_type() == kind && tensor.len() == volume && Arc::get_mut(tensor).is_some()
        });
        let Some(free) = free else {
            return Ok(Tensor::zero_aligned_dt(kind, shape, 64)?.into_arc_tensor());
        };
        let mut buffer = buffers.remove(free);
        Arc::get_mut(&mut buffer).context("a tensor in use")?.set_shape(shape)?;
        Ok(buffer)
    }

    /// Takes a tensor back, which may still be read.
    fn give(&self, tensor: &Arc<Tensor>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(tensor.clone());
    }
}
