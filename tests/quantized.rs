//! Quantized networks in int8, against what ONNX Runtime recorded for them
//! (tests/quantized/make.py).

mod common;

use std::path::PathBuf;

use camlive::frame::Frame;
use camlive::geometry::Size;
use camlive::network::activations::Activations;
use camlive::network::{ModelOptions, Network};
use common::{Array, channels_first, networks, read_npy};

const BODIES: [&str; 4] = ["squeezenet", "resnet", "mobilenetv2", "googlenet"];
const VARIANTS: [&str; 4] = ["u8", "s8", "per-tensor", "symmetric"];
const FORMATS: [&str; 2] = ["qdq", "qop"];

/// Every network with the name of its picture.
fn fixtures() -> Vec<(String, &'static str)> {
    let mut fixtures = vec![("resnet-pytorch".to_owned(), "resnet-pytorch")];
    for body in BODIES {
        for variant in VARIANTS {
            fixtures.extend(FORMATS.map(|format| (format!("{body}-{variant}-{format}"), body)));
        }
    }
    fixtures
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/quantized")
}

fn recorded<T: npyz::Deserialize>(name: &str, kind: &str) -> Array<T> {
    read_npy(&folder().join(format!("{name}-{kind}.npy")))
}

fn load(name: &str) -> Network {
    let path = Some(folder().join(format!("{name}.onnx")));
    Network::load(&ModelOptions { path, ..Default::default() })
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn run(network: &mut Network, picture: &str) -> Activations {
    let pixels: Array<u8> = recorded(picture, "input");
    let mut frame = Frame::empty();
    frame.reshape(Size::new(pixels.shape[1] as u32, pixels.shape[0] as u32)).unwrap();
    frame.rgb.copy_from_slice(&pixels.values);
    networks::run(network, &frame)
}

#[test]
fn features_and_logits_are_those_of_onnx_runtime_bit_for_bit() {
    for (name, picture) in fixtures() {
        let out = run(&mut load(&name), picture);
        let features = channels_first(&out.features);
        assert_eq!(features, recorded::<f32>(&name, "features").values, "{name}");
        assert_eq!(out.logits, recorded::<f32>(&name, "logits").values, "{name}");
    }
}

/// The types of the nodes that are left to tract. With the zero point in the middle, an activation
/// function is no clamp, and the quantizer of ONNX Runtime leaves the last one in f32, and with it
/// the pooling.
fn left(name: &str) -> &'static [&'static str] {
    match name {
        "mobilenetv2-symmetric-qop" => &["(GlobalAveragePool)", "(Clip)"],
        _ if name.ends_with("symmetric-qop") => &["(GlobalAveragePool)", "(Relu)"],
        _ => &[],
    }
}

#[test]
fn every_quantized_operator_is_int8() {
    for (name, _) in fixtures() {
        let network = load(&name);
        let report = network.int8().unwrap();
        let types = report.left.iter().map(|left| left.node.split_whitespace().last().unwrap());
        assert_eq!(types.collect::<Vec<_>>(), left(&name), "{name}");
        assert!(report.operators > 10, "{name}");
    }
}

#[test]
fn both_formats_of_a_network_give_the_same_bits() {
    for body in ["squeezenet", "resnet", "mobilenetv2"] {
        for variant in ["u8", "s8", "per-tensor"] {
            let [first, second] =
                FORMATS.map(|format| run(&mut load(&format!("{body}-{variant}-{format}")), body));
            assert_eq!(first.features, second.features, "{body}-{variant}");
            assert_eq!(first.logits, second.logits, "{body}-{variant}");
        }
    }
}
