//! Quantized networks in int8, against what ONNX Runtime recorded for them
//! (tests/quantized/make.py).

mod common;

use std::path::PathBuf;

use camlive::frame::Frame;
use camlive::geometry::Size;
use camlive::network::activations::Activations;
use camlive::network::{ModelOptions, Network};
use common::{Array, networks, read_npy};

const BODIES: [&str; 4] = ["squeezenet", "resnet", "mobilenetv2", "googlenet"];
const VARIANTS: [&str; 4] = ["u8", "s8", "per-tensor", "symmetric"];

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

fn picture(body: &str) -> Frame {
    let pixels: Array<u8> = recorded(body, "input");
    let mut frame = Frame::empty();
    frame.reshape(Size::new(pixels.shape[1] as u32, pixels.shape[0] as u32)).unwrap();
    frame.rgb.copy_from_slice(&pixels.values);
    frame
}

#[test]
fn look() {
    for body in BODIES {
        for variant in VARIANTS {
            for format in ["qdq", "qop"] {
                let name = format!("{body}-{variant}-{format}");
                let path = Some(folder().join(format!("{name}.onnx")));
                let mut network = match Network::load(&ModelOptions { path, ..Default::default() })
                {
                    Ok(n) => n,
                    Err(e) => {
                        println!("{name}: {e}");
                        continue;
                    }
                };
                let out: Activations = networks::run(&mut network, &picture(body));
                let diff = |a: &[f32], b: &[f32]| {
                    let n = a.iter().zip(b).filter(|(a, b)| a != b).count();
                    let m = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
                    let mut v = b.to_vec();
                    v.sort_by(f32::total_cmp);
                    v.dedup();
                    let step = v.windows(2).map(|w| w[1] - w[0]).fold(f32::MAX, f32::min);
                    format!("{n}/{} max {:.2} steps", b.len(), m / step)
                };
                let f: Array<f32> = recorded(&name, "features");
                let l: Array<f32> = recorded(&name, "logits");
                let report = network.int8().unwrap();
                println!(
                    "{name}: features {} logits {} ops {} left {:?}",
                    diff(&out.features.values, &f.values),
                    diff(&out.logits, &l.values),
                    report.operators,
                    report.left
                );
            }
        }
    }
}
