//! Random quantized graphs, rewritten against as they are.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, ValueInfoProto};
use tract_onnx::prelude::*;

use super::super::super::activations::Activations;
use super::super::super::backend::{Engine as _, Means, Picture, Values};
use super::super::super::check::check_proto;
use super::super::super::tract::Engine;
use super::super::Report;
use super::builder::{Builder, Random, Real, int, ints, text};
use super::means;
use crate::geometry::Size;

impl Builder {
    /// A convolution, padded by itself, by rule or by a Pad node before it.
    pub(super) fn convolution(&mut self, from: &Real) -> Real {
        let depthwise = self.random.coin();
        let (kernel, strides) =
            (self.random.pick(&[1, 2, 3, 5]), self.random.pick(&[[1, 1], [2, 2], [1, 2]]));
        let dilation = if kernel > 1 { 1 + self.random.below(2) } else { 1 };
        let extent = (kernel - 1) * dilation + 1;
        let pads: [usize; 4] = std::array::from_fn(|_| self.random.below(extent));
        let automatic = self.random.pick(&["SAME_UPPER", "SAME_LOWER", "", "", ""]);
        let size = if automatic.is_empty() {
            let padded = [0, 1].map(|axis| from.size[axis] + pads[axis] + pads[axis + 2]);
            if padded[0] < extent || padded[1] < extent {
                return from.clone();
            }
            [0, 1].map(|axis| (padded[axis] - extent) / strides[axis] + 1)
        } else {
            [0, 1].map(|axis| from.size[axis].div_ceil(strides[axis]))
        };
        let outputs = if depthwise { from.channels } else { self.random.pick(&[4, 7, 16, 20]) };
        let inputs = if depthwise { 1 } else { from.channels };
        let [weights, bias] = self.weights(&[outputs, inputs, kernel, kernel], from.scale);
        let mut attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &strides),
            ints("dilations", &[dilation; 2]),
            int("group", if depthwise { outputs as i64 } else { 1 }),
        ];
        let mut tensor = from.tensor.clone();
        if !automatic.is_empty() {
            attributes.push(text("auto_pad", automatic));
        } else if self.random.coin() {
            tensor = self.padded(from, pads);
        } else {
            attributes.push(ints("pads", &pads));
        }
        let tensor = self.node("Conv", &[&tensor, &weights, &bias], attributes);
        let tensor = self.activation(tensor);
        self.requantized(&tensor, outputs, size)
    }

    /// A Pad node, with quantization nodes behind it or without.
    fn padded(&mut self, from: &Real, [top, left, bottom, right]: [usize; 4]) -> String {
        let pads = [0, 0, top, left, 0, 0, bottom, right].map(|pad| pad as f32);
        let pads = self.constant(&[8], DataType::Int64, &pads);
        let tensor = self.node("Pad", &[&from.tensor, &pads], vec![]);
        if self.random.coin() {
            return tensor;
        }
        let Real { channels, size, parameters, scale, .. } = from.clone();
        self.quantized_as(&tensor, channels, size, parameters, scale).tensor
    }

    /// A maximum or an average, with sizes rounded down or up.
    fn pool(&mut self, from: &Real) -> Real {
        let (kernel, stride) = (self.random.pick(&[2, 3]), self.random.pick(&[1, 2]));
        let pads: [usize; 4] = std::array::from_fn(|_| self.random.below(kernel));
        let padded = [0, 1].map(|axis| from.size[axis] + pads[axis] + pads[axis + 2]);
        if padded[0] < kernel || padded[1] < kernel {
            return from.clone();
        }
        let rounds_up = self.random.coin();
        let size = [0, 1].map(|axis| {
            let beyond = padded[axis] - kernel;
            let up = beyond.div_ceil(stride);
            // No place begins behind the picture.
            let up = if up * stride < pads[axis] + from.size[axis] { up } else { beyond / stride };
            if rounds_up { up + 1 } else { beyond / stride + 1 }
        });
        let mut attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &pads),
            int("ceil_mode", i64::from(rounds_up)),
        ];
        if self.random.coin() {
            let counts = !rounds_up && self.random.coin();
            attributes.push(int("count_include_pad", i64::from(counts)));
            let tensor = self.node("AveragePool", &[&from.tensor], attributes);
            return self.requantized(&tensor, from.channels, size);
        }
        let tensor = self.node("MaxPool", &[&from.tensor], attributes);
        match self.random.below(3) {
            0 => Real { tensor, size, ..from.clone() },
            1 => self.requantized(&tensor, from.channels, size),
            _ => {
                let Real { parameters, scale, .. } = from.clone();
                self.quantized_as(&tensor, from.channels, size, parameters, scale)
            }
        }
    }

    fn operator(&mut self, made: &[Real]) -> Real {
        let from = made[made.len() - 1].clone();
        let fits: Vec<&Real> = made.iter().filter(|other| other.size == from.size).collect();
        let other = fits[self.random.below(fits.len())].clone();
        match self.random.below(6) {
            0 => self.pool(&from),
            1 if other.channels == from.channels => {
                let operands = [&from.tensor, &other.tensor].map(|name| name.as_str());
                let tensor = self.node("Add", &operands, vec![]);
                let tensor = self.activation(tensor);
                self.requantized(&tensor, from.channels, from.size)
            }
            2 if from.channels + other.channels < 64 => {
                let parts = [&other.tensor, &from.tensor].map(|name| name.as_str());
                let tensor = self.node("Concat", &parts, vec![int("axis", 1)]);
                self.requantized(&tensor, from.channels + other.channels, from.size)
            }
            3 => {
                let tensor = self.activation(from.tensor.clone());
                self.requantized(&tensor, from.channels, from.size)
            }
            _ => self.convolution(&from),
        }
    }

    /// The network's input as bytes, with operators of f32 before them or without.
    fn input(&mut self, size: [usize; 2]) -> Real {
        if self.random.coin() {
            return self.requantized("x", 3, size);
        }
        let factor = self.constant(&[], DataType::Float, &[-1.5]);
        let tensor = self.node("Mul", &["x", &factor], vec![]);
        let tensor = self.activation(tensor);
        self.requantized(&tensor, 3, size)
    }

    /// Some operators on a picture, global pooling, and a linear layer to bytes or to f32.
    fn network(mut self, size: [usize; 2], operators: usize) -> Network {
        let mut made = vec![self.input(size)];
        let first = self.convolution(&made[0].clone());
        made.push(first);
        for _ in 0..operators {
            let next = self.operator(&made);
            made.push(next);
        }
        let maps = made.pop().unwrap();
        let pool = self.random.pick(&["GlobalAveragePool", "GlobalMaxPool"]);
        self.classified(&maps, pool, size)
    }

    /// Global pooling of `maps`, and a linear layer to bytes or to f32.
    pub(super) fn classified(mut self, maps: &Real, pool: &str, size: [usize; 2]) -> Network {
        let pooled = self.node(pool, &[&maps.tensor], vec![]);
        let pooled = self.requantized(&pooled, maps.channels, [1, 1]);
        let flat = self.node("Flatten", &[&pooled.tensor], vec![]);
        let [weights, bias] = self.weights(&[5, maps.channels], pooled.scale);
        let logits = self.node("Gemm", &[&flat, &weights, &bias], vec![int("transB", 1)]);
        let to_bytes = self.random.coin();
        let logits = if to_bytes { self.requantized(&logits, 5, [1, 1]).tensor } else { logits };
        let (features, step) = (maps.tensor.clone(), maps.scale);
        Network { features, step, model: self.model(logits, size) }
    }
}

pub(super) struct Network {
    model: ModelProto,
    /// The tensor of the feature maps.
    features: String,
    /// Between two bytes of them.
    step: f32,
}

/// Feature maps and logits as tract's own operators compute them.
fn as_it_is(network: &Network, picture: &[f32], [height, width]: [usize; 2]) -> [Vec<f32>; 2] {
    let mut model = network.model.clone();
    let name = network.features.clone();
    let outputs = &mut model.graph.as_mut().unwrap().output;
    outputs.insert(0, ValueInfoProto { name, ..Default::default() });
    let plan = tract_onnx::onnx()
        .with_ignore_value_info(true)
        .model_for_proto_model(&model)
        .and_then(|model| model.into_typed())
        .and_then(|model| model.into_runnable())
        .unwrap();
    let tensor = Tensor::from_shape(&[1, 3, height, width], picture).unwrap();
    let found = plan.run(tvec!(tensor.into())).unwrap();
    [0, 1].map(|i| found[i].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec())
}

/// Feature maps and logits in int8.
pub(super) fn rewritten(
    network: Network,
    picture: &[f32],
    [height, width]: [usize; 2],
    means: Means,
) -> ([Vec<f32>; 2], Report) {
    let checked = check_proto(network.model).unwrap();
    let size = Size::new(width as u32, height as u32);
    let mut engine = Engine::new(&checked, size, means).unwrap();
    let takes = engine.takes();
    let mut fill = |tensor: Picture| {
        let at = |i: usize| {
            let pixels = height * width;
            if takes.channels_last { i % 3 * pixels + i / 3 } else { i }
        };
        match (tensor, takes.values) {
            (Picture::Bytes(bytes), Values::Quantized(to)) => {
                for (i, byte) in bytes.iter_mut().enumerate() {
                    let steps = (picture[at(i)] / to.scale).round_ties_even();
                    *byte = (steps + f32::from(to.zero_point)).clamp(0.0, 255.0) as u8;
                }
            }
            (Picture::Floats(numbers), Values::Normalized) => {
                numbers.iter_mut().enumerate().for_each(|(i, number)| *number = picture[at(i)]);
            }
            other => panic!("{other:?}"),
        }
    };
    engine.fill(&mut fill).unwrap();
    let mut out = Activations::default();
    engine.run(&mut out).unwrap();
    let maps = &out.features;
    let features = (0..maps.channels).flat_map(|k| maps.unit(k)).collect();
    ([features, out.logits], engine.report().unwrap().clone())
}

#[test]
fn random_graphs_compute_in_int8_what_they_compute_in_f32() {
    let (mut values, mut off, mut distinct, mut operators) = (0, 0, 0, 0);
    for seed in 0..300 {
        let size = [5 + seed as usize % 7, 4 + seed as usize % 5];
        let network = Builder::new(seed).network(size, seed as usize % 6);
        let step = network.step;
        let mut random = Random(seed ^ 0xabcd);
        let picture: Vec<f32> = (0..3 * size[0] * size[1]).map(|_| random.real()).collect();
        let [features, logits] = as_it_is(&network, &picture, size);
        let ([found, found_logits], report) = rewritten(network, &picture, size, means());
        assert_eq!(report.left, [], "seed {seed}");
        operators += report.operators;
        assert_eq!(found.len(), features.len(), "seed {seed}");
        for (found, expected) in found.iter().zip(&features) {
            let steps = (found - expected).abs() / step;
            assert!(steps < 2.5, "seed {seed}: off by {steps} steps");
            off += usize::from(steps > 0.5);
        }
        values += found.len();
        assert_eq!(found_logits.len(), logits.len(), "seed {seed}");
        for (found, expected) in found_logits.iter().zip(&logits) {
            assert!((found - expected).abs() < 0.1, "seed {seed}: {found} for {expected}");
        }
        let mut sorted = features;
        sorted.sort_by(f32::total_cmp);
        sorted.dedup();
        distinct += usize::from(sorted.len() > 8);
    }
    // Sums in f32 and in integers fall on different sides of a tie now and then, no more.
    assert!(off * 200 < values, "{off} of {values} values are off");
    assert!(operators > 1500, "only {operators} operators");
    assert!(distinct > 150, "only {distinct} graphs are alive");
}
