//! Quantized networks in integers: what stands between DequantizeLinear and QuantizeLinear nodes
//! becomes operators of [`int8`](crate::int8), which tract then runs as its own.
//!
//! The rewrite works on the ONNX graph, where the integer weights still are what they were. When a
//! network is loaded, [`unfold`] brings the operators of ONNX Runtime's own quantized form
//! (QLinearConv and its like) into that of QuantizeLinear and DequantizeLinear nodes, which
//! [`read`] checks, [`propagate`] puts these around operators that only move numbers, and
//! [`padding`] takes Pad nodes into convolutions. When the size of the picture is known, [`plan`]
//! reads int8 operators out of the graph, with the help of [`pictures`] and [`window`], [`place`]
//! puts them there, some of them joined, and [`operator`] is such an operator in tract's graph. What fits none of them
//! is left to tract, which computes it in f32, and is reported.
//!
//! Pictures lie channels last between int8 operators: the tensor `t` of the graph is `t` with a
//! suffix there, and a Transpose stands where other operators read or write it.

mod operator;
mod padding;
mod pictures;
mod place;
mod plan;
mod propagate;
mod read;
#[cfg(test)]
mod tests;
pub(super) mod unfold;
pub(super) mod window;

use std::collections::{BTreeMap, HashMap, HashSet};

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto};

use super::check::{self, Checked, Input};
use super::graph::{Graph, title};
use crate::geometry::Size;
use crate::int8::{
    Add, AddSpec, Convolution, Isa, Operand, Quantization, Quantize, Separable, Shape,
};
pub(super) use operator::Int8;
use operator::{Buffers, Operator};
use pictures::Dims;
use place::{Placed, transpose};
use plan::{Planned, Planner};
use read::{Misfit, input, output};

/// A network whose quantized part is int8 operators.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) proto: ModelProto,
    /// The int8 operators, by the names of their nodes, whose types tract does not know.
    pub(super) operators: HashMap<String, Int8>,
    /// The input takes bytes that read so, channels last, in place of f32.
    pub(super) input: Option<Quantization>,
    /// The feature maps are given as bytes that read so, channels last, in place of f32.
    pub(super) features: Option<Quantization>,
    /// Likewise the early features.
    pub(super) early: Option<Quantization>,
    pub(super) report: Report,
}

/// How much of a network is int8 operators.
#[derive(Debug, Clone)]
pub struct Report {
    /// What they were built for; none where this processor has no kernels for them.
    pub isa: Option<Isa>,
    /// Their number.
    pub operators: usize,
    /// The quantized operators that are none.
    pub left: Vec<Left>,
}

/// A quantized operator that is left to tract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its node.
    pub node: String,
    /// Why it is no int8 operator.
    pub why: String,
}

/// The type of the nodes that stand for int8 operators.
const INT8: &str = "CamliveInt8";

/// Where an operator is put out channels last.
const CHANNELS_LAST: &str = "/channels_last";

/// Rewrites a checked network for pictures of `size` and an instruction set.
///
/// # Errors
/// Where what a node says contradicts itself; names the node.
pub(super) fn rewrite(checked: &Checked, size: Size, isa: Isa) -> Result<Rewritten, String> {
    let graph = checked.proto.graph.as_ref().ok_or("it holds no graph")?;
    let Input { name, channels_last, .. } = &checked.input;
    let (height, width) = (Some(size.height as usize), Some(size.width as usize));
    let dims = if *channels_last { [height, width, Some(3)] } else { [Some(3), height, width] };
    let mut rewrite = Rewrite::new(graph, pictures::pictures(&Graph::new(graph), name, dims), isa);
    rewrite.plan()?;
    rewrite.join_separable();
    let mut placed = rewrite.place()?;
    let mut left = rewrite.left;
    let mut proto = checked.proto.clone();
    let graph = proto.graph.as_mut().ok_or("it holds no graph")?;
    let input = placed.take_bytes(name, *channels_last);
    graph.node = placed.nodes;
    let [features, early] = [0, 2].map(|i| place::give_bytes(graph, i));
    let outputs = graph.output.iter().map(|value| value.name.clone()).collect::<Vec<_>>();
    check::keep(graph, &outputs);
    add_left(graph, &mut left);
    let used: HashSet<&str> = graph.node.iter().map(|node| node.name.as_str()).collect();
    let buffers = Buffers::default();
    let operators: HashMap<_, _> = placed
        .operators
        .into_iter()
        .filter(|(name, _)| used.contains(name.as_str()))
        .map(|(name, operator)| (name, Int8::new(operator, &buffers)))
        .collect();
    let report = Report { isa: Some(isa), operators: operators.len(), left };
    Ok(Rewritten { proto, operators, input, features, early, report })
}

/// Lists the nodes that still read dequantized numbers.
fn add_left(graph: &GraphProto, left: &mut Vec<Left>) {
    let lookup = Graph::new(graph);
    let dequantized = |tensor: &str| {
        lookup.producer(tensor).is_some_and(|(node, _)| node.op_type == "DequantizeLinear")
    };
    for node in &graph.node {
        let title = title(node);
        let why = if node.op_type.ends_with("Integer") {
            "it is quantized as the network runs"
        } else if dequantized(input(node, 0)) {
            "its output is not quantized"
        } else if node.input.iter().any(|tensor| dequantized(tensor)) {
            "its first input is not quantized"
        } else {
            continue;
        };
        if node.op_type != "QuantizeLinear" && left.iter().all(|left| left.node != title) {
            left.push(Left { node: title, why: why.to_owned() });
        }
    }
}

impl Rewritten {
    /// The network as it is.
    pub(super) fn untouched(proto: &ModelProto) -> Self {
        let report = Report { isa: None, operators: 0, left: Vec::new() };
        let (operators, proto) = (HashMap::new(), proto.clone());
        Self { proto, operators, input: None, features: None, early: None, report }
    }
}

struct Rewrite<'a> {
    planner: Planner<'a>,
    /// What stands in the place of a node, by the node's number, with the tensor that it makes.
    planned: BTreeMap<usize, (String, Planned)>,
    /// The numbers of the nodes that read a tensor; one past the last for an output of the graph.
    readers: HashMap<&'a str, Vec<usize>>,
    left: Vec<Left>,
}

impl<'a> Rewrite<'a> {
    fn new(graph: &'a GraphProto, pictures: HashMap<&'a str, Dims>, isa: Isa) -> Self {
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, node) in graph.node.iter().enumerate() {
            node.input.iter().for_each(|name| readers.entry(name).or_default().push(i));
        }
        for value in &graph.output {
            readers.entry(&value.name).or_default().push(graph.node.len());
        }
        let planner = Planner { graph: Graph::new(graph), pictures, isa };
        Self { planner, planned: BTreeMap::new(), readers, left: Vec::new() }
    }

    fn plan(&mut self) -> Result<(), String> {
        // Where the convolutions stand, by the tensors that they make.
        let mut convolutions = HashMap::new();
        for (i, node) in self.planner.graph.proto.node.iter().enumerate() {
            let planned = match node.op_type.as_str() {
                "QuantizeLinear" if self.planner.graph.constant(input(node, 0)).is_none() => {
                    self.planner.quantized(node)
                }
                "Gemm" | "MatMul" if self.planner.bytes(input(node, 0)).is_ok() => {
                    self.planner.linear(node)
                }
                _ => continue,
            };
            let planned = match planned {
                Ok(Planned::Add { inputs, spec }) => self.joined(inputs, spec, &convolutions),
                Ok(planned) => planned,
                Err(Misfit::Malformed(why)) => return Err(format!("{}: {why}", self.named(node))),
                Err(Misfit::Unsuited(why)) => {
                    self.left.push(Left { node: self.named(node), why });
                    continue;
                }
            };
            if let Planned::Convolution { .. } = planned {
                convolutions.insert(output(node), i);
            }
            self.planned.insert(i, (output(node).to_owned(), planned));
        }
        Ok(())
    }

    /// What to call the operator whose result `node` quantizes, or that it is.
    fn named(&self, node: &'a NodeProto) -> String {
        let computes = match node.op_type.as_str() {
            "QuantizeLinear" => self.planner.graph.producer(self.planner.before_activation(node)),
            _ => None,
        };
        title(computes.map_or(node, |(computes, _)| computes))
    }

    /// An addition, joined with the later of the convolutions before it that nothing else reads.
    fn joined(
        &mut self,
        inputs: [String; 2],
        spec: AddSpec,
        convolutions: &HashMap<&str, usize>,
    ) -> Planned {
        let candidate = inputs
            .iter()
            .zip([Operand::First, Operand::Second])
            .filter(|(tensor, _)| self.is_read_once(tensor))
            .filter_map(|(tensor, operand)| Some((*convolutions.get(tensor.as_str())?, operand)))
            .max_by_key(|(i, _)| *i);
        if let Some((i, operand)) = candidate
            && let Some((_, Planned::Convolution { inputs: from, plan, .. })) = self.planned.get(&i)
            && let [from] = &from[..]
        {
            let plan = Box::new(plan.followed_by(spec, operand));
            if let Ok(built) = plan.build(self.planner.isa) {
                let other = usize::from(operand == Operand::First);
                let inputs = vec![from.clone(), inputs[other].clone()];
                self.planned.remove(&i);
                return Planned::Convolution { inputs, plan, built };
            }
        }
        Planned::Add { inputs, spec }
    }

    /// Joins depthwise convolutions with the pointwise ones around them, where nothing else reads what lies
    /// between.
    fn join_separable(&mut self) {
        let convolutions: Vec<usize> = self
            .planned
            .iter()
            .filter(|(_, (_, planned))| matches!(planned, Planned::Convolution { .. }))
            .map(|(&i, _)| i)
            .collect();
        for &depthwise in &convolutions {
            let Some((others, last, joined)) = self.separable(depthwise, &convolutions) else {
                continue;
            };
            for i in others {
                self.planned.remove(&i);
            }
            self.planned.entry(last).and_modify(|(_, planned)| *planned = joined);
        }
    }

    /// A depthwise convolution, joined with others; which these are, but for the last of all, and the last.
    fn separable(
        &self,
        depthwise: usize,
        convolutions: &[usize],
    ) -> Option<(Vec<usize>, usize, Planned)> {
        let (makes, inputs, built) = self.convolution(depthwise)?;
        let [picture] = inputs else { return None };
        let before = convolutions.iter().find_map(|&i| {
            let (makes, ..) = self.convolution(i)?;
            (makes == picture && self.pays(picture, built) && self.is_read_once(picture))
                .then_some(i)
        });
        let behind = convolutions.iter().find_map(|&i| {
            let (_, inputs, _) = self.convolution(i)?;
            (inputs.first() == Some(makes) && self.is_read_once(makes)).then_some(i)
        });
        [(before, behind), (None, behind), (before, None)].into_iter().find_map(
            |(before, behind)| {
                let of = |i: Option<usize>| i.and_then(|i| self.convolution(i));
                let (first, third) = (of(before), of(behind));
                let operator = Separable::of(
                    first.map(|(_, _, built)| built),
                    built,
                    third.map(|(_, _, built)| built),
                )?;
                let mut inputs = vec![first.map_or(picture, |(_, inputs, _)| &inputs[0]).clone()];
                inputs.extend(third.iter().flat_map(|(_, inputs, _)| &inputs[1..]).cloned());
                let mut all: Vec<usize> =
                    [before, Some(depthwise), behind].into_iter().flatten().collect();
                let last = all.pop()?;
                let operator = Operator::Separable(Box::new(operator));
                Some((all, last, Planned::Pictures { inputs, operator }))
            },
        )
    }

    /// A planned convolution: what it makes, and of what.
    fn convolution(&self, i: usize) -> Option<(&String, &[String], &Convolution)> {
        match self.planned.get(&i) {
            Some((makes, Planned::Convolution { inputs, built, .. })) => {
                Some((makes, inputs, built))
            }
            _ => None,
        }
    }

    /// Whether it pays to join the convolution that makes this picture with the depthwise one that reads it.
    fn pays(&self, picture: &str, depthwise: &Convolution) -> bool {
        let Some(&[Some(channels), Some(height), Some(width)]) = self.planner.pictures.get(picture)
        else {
            return false;
        };
        Separable::pays(Shape { height, width, channels }, depthwise)
    }

    /// Whether only one node reads the numbers that these bytes stand for.
    fn is_read_once(&self, tensor: &str) -> bool {
        let nodes = &self.planner.graph.proto.node;
        let only_reader = |tensor: &str| match self.readers.get(tensor).map(|readers| &readers[..])
        {
            Some(&[reader]) => nodes.get(reader),
            _ => None,
        };
        only_reader(tensor).is_some_and(|node| {
            node.op_type == "DequantizeLinear" && only_reader(output(node)).is_some()
        })
    }

    /// The graph's nodes with the int8 operators in their places.
    fn place(&mut self) -> Result<Placed, String> {
        let isa = self.planner.isa;
        let mut placed = Placed::default();
        let mut channels_last = HashSet::new();
        for (i, node) in self.planner.graph.proto.node.iter().enumerate() {
            let Some((makes, planned)) = self.planned.remove(&i) else {
                placed.nodes.push(node.clone());
                continue;
            };
            let (inputs, operator) = match planned {
                Planned::Bytes(mut bytes) => {
                    bytes.output = vec![makes];
                    placed.nodes.push(bytes);
                    continue;
                }
                Planned::Elements { input, operator } => {
                    placed.push(&makes, vec![input], makes.clone(), operator);
                    continue;
                }
                Planned::Quantize { input, to } => {
                    let quantize = Operator::Quantize(Quantize::new(to, isa)?);
                    placed.push(&makes, vec![input], makes.clone(), quantize);
                    placed.quantizations.insert(makes, to);
                    continue;
                }
                Planned::Pictures { inputs, operator } => (inputs, operator),
                Planned::Add { inputs, spec } => {
                    (inputs.to_vec(), Operator::Add(Add::new(&spec, isa)?))
                }
                Planned::Convolution { inputs, built, .. } => {
                    (inputs, Operator::Convolution(built))
                }
            };
            let suffixed = |name: &String| format!("{name}{CHANNELS_LAST}");
            for input in &inputs {
                if channels_last.insert(input.clone()) {
                    placed.nodes.push(transpose(input, suffixed(input), [0, 2, 3, 1]));
                }
            }
            let to = suffixed(&makes);
            let inputs = inputs.iter().map(suffixed).collect();
            placed.push(&makes, inputs, to.clone(), operator);
            placed.nodes.push(transpose(&to, makes.clone(), [0, 3, 1, 2]));
            channels_last.insert(makes);
        }
        Ok(placed)
    }
}

fn attribute_of(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind as i32, ..Default::default() }
}
