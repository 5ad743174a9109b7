//! The recorded networks of many shapes (tests/networks/make.py).

use std::path::PathBuf;

use camlive::frame::Frame;
use camlive::geometry::Size;
use camlive::network::activations::Activations;
use camlive::network::{ModelOptions, Network};
use serde_json::Value;

use super::{Array, cam, channels_first, read_json, read_npy};

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/networks")
}

pub fn expected(kind: &str) -> Vec<(String, Value)> {
    let json = read_json(&folder().join("expected.json"));
    let entries = json[kind].as_object().expect("an object of networks");
    assert!(!entries.is_empty());
    entries.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

pub fn recorded<T: npyz::Deserialize>(name: &str, kind: &str) -> Array<T> {
    read_npy(&folder().join(format!("{name}-{kind}.npy")))
}

pub fn number(value: &Value) -> usize {
    value.as_u64().expect("a whole number") as usize
}

fn triple(value: &Value) -> [f32; 3] {
    [0, 1, 2].map(|i| value[i].as_f64().expect("a number") as f32)
}

pub fn options(name: &str, entry: &Value) -> ModelOptions {
    let input = &entry["input"];
    let size = Size::new(number(&input["width"]) as u32, number(&input["height"]) as u32);
    let said =
        |key: &str| entry["metadata"].as_array().is_some_and(|keys| keys.iter().any(|k| k == key));
    ModelOptions {
        path: Some(folder().join(format!("{name}.onnx"))),
        input_size: (input["free"] == true).then_some(size),
        mean: (!said("mean")).then(|| triple(&entry["mean"])),
        std: (!said("std")).then(|| triple(&entry["std"])),
        ..Default::default()
    }
}

pub fn frame(name: &str) -> Frame {
    let pixels: Array<u8> = recorded(name, "input");
    let mut frame = Frame::empty();
    frame.reshape(Size::new(pixels.shape[1] as u32, pixels.shape[0] as u32)).unwrap();
    frame.rgb.copy_from_slice(&pixels.values);
    frame
}

pub fn run(network: &mut Network, frame: &Frame) -> Activations {
    let mut out = Activations::default();
    network.prepare(frame).unwrap();
    network.run(&mut out).unwrap();
    out
}

/// Asserts that no value is further off than `tolerance`; a fraction of the largest magnitude
/// where `relative`, else in the tensor's own units (quantization steps).
#[track_caller]
pub fn assert_close(name: &str, found: &[f32], expected: &[f32], tolerance: f64, relative: bool) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
    let off = found
        .iter()
        .zip(expected)
        .map(|(a, b)| f64::from((a - b).abs()))
        .fold(0f64, |m, d| if d.is_nan() { f64::NAN } else { m.max(d) });
    let limit = if relative { tolerance * largest } else { tolerance };
    assert!(off <= limit, "{name}: off by {off}, limit {limit}");
}

/// Asserts that features, logits and class activation maps are those recorded for `name`.
#[track_caller]
pub fn assert_reproduces(name: &str, entry: &Value, network: &mut Network) {
    let out = run(network, &frame(name));
    let relative = entry["quantized"] == false;
    let tolerance = |kind: &str| entry["tolerance"][kind].as_f64().unwrap();

    let features: Array<f32> = recorded(name, "features");
    let shape = [out.features.channels, out.features.height, out.features.width];
    assert_eq!(&shape[..], &features.shape[..], "{name}");
    assert_eq!(network.map_size(), Size::new(shape[2] as u32, shape[1] as u32), "{name}");
    assert_close(
        name,
        &channels_first(&out.features),
        &features.values,
        tolerance("features"),
        relative,
    );

    let logits: Array<f32> = recorded(name, "logits");
    assert_eq!(network.classes(), number(&entry["classes"]), "{name}");
    assert_close(name, &out.logits, &logits.values, tolerance("logits"), relative);

    let cams: Array<f32> = recorded(name, "cams");
    let found: Vec<f32> = (0..network.classes())
        .flat_map(|class| cam(network.head(), &out.features, class))
        .collect();
    assert_close(name, &found, &cams.values, tolerance("cams"), relative);
}
