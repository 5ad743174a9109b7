//! The embedded network on the demo photographs, against what ONNX Runtime recorded (tests/recorded/record.py).

mod common;

use std::path::{Path, PathBuf};

use camlive::frame::Frame;
use camlive::geometry::{Rect, Size};
use camlive::localize::{Boxes, Findings, Localizer, Settings, Wanted};
use camlive::network::activations::{Activations, Features, Head};
use camlive::network::{ModelOptions, Network};
use common::{Array, cam, channels_first, read_json, read_npy, skip};

const PHOTOGRAPHS: [&str; 2] = ["chelsea", "coffee"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

fn recorded<T: npyz::Deserialize>(photograph: &str, kind: &str, what: &str) -> Array<T> {
    read_npy(&root().join(format!("tests/recorded/{photograph}-{kind}-{what}.npy")))
}

fn top1(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("logits")
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// What the network gives for the 224x224 pixels that the recording was made with.
fn run_on_recorded_pixels(network: &mut Network, photograph: &str) -> Activations {
    let pixels: Array<u8> = recorded(photograph, "float", "input");
    let frame = Frame { rgb: pixels.values, size: Size::new(224, 224), ..Frame::empty() };
    run(network, &frame)
}

fn run(network: &mut Network, frame: &Frame) -> Activations {
    let mut out = Activations::default();
    network.prepare(frame).unwrap();
    network.run(&mut out).unwrap();
    out
}

fn embedded() -> Network {
    Network::load(&ModelOptions::default()).unwrap()
}

/// The embedded network; none where it does not run in int8.
fn embedded_int8() -> Option<Network> {
    let network = embedded();
    if network.int8().is_some_and(|report| report.isa.is_some()) {
        return Some(network);
    }
    skip("there are no int8 kernels for this processor");
    None
}

#[test]
fn the_embedded_network_has_1000_named_classes_and_a_7x7_map() {
    let network = embedded();
    assert_eq!(network.classes(), 1000);
    assert_eq!(network.input_size(), Size::new(224, 224));
    assert_eq!(network.map_size(), Size::new(7, 7));
    assert_eq!(network.labels().name(285), "Egyptian cat");
    assert_eq!(network.labels().wordnet_id(285), Some("n02124075"));
    assert_eq!(network.labels().find("egyptian CAT"), Ok(285));
    assert!(!network.describe().contains("assumed"), "{}", network.describe());
}

#[test]
fn class_and_activation_map_agree_with_onnx_runtime() {
    let expected = read_json(&root().join("tests/recorded/expected.json"));
    let mut network = embedded();
    for photograph in PHOTOGRAPHS {
        let out = run_on_recorded_pixels(&mut network, photograph);
        for (kind, least) in [("float", 0.999), ("int8", 0.99)] {
            let class = expected[photograph][kind]["top1"].as_u64().unwrap() as usize;
            assert_eq!(top1(&out.logits), class, "{photograph}, {kind}");
            let similar = |what: &str, found: &[f32]| {
                let expected: Array<f32> = recorded(photograph, kind, what);
                let cosine = cosine(found, &expected.values);
                println!("{photograph}, {kind}: {what} cosine {cosine:.6}");
                cosine
            };
            let map = cam(network.head(), &out.features, class);
            assert!(similar("cam", &map) > least, "{photograph}, {kind}");
            assert!(
                similar("features", &channels_first(&out.features)) > 0.97,
                "{photograph}, {kind}"
            );
            assert!(similar("logits", &out.logits) > 0.97, "{photograph}, {kind}");
        }
    }
}

/// The box of one class in a frame of this size, by the default settings.
fn found_box(head: &Head, activations: &Activations, class: usize, frame: Size) -> Rect {
    let settings = Settings { threshold: 0.2, boxes: Boxes::Largest, shown: 0 };
    let mut localizer = Localizer::new(Wanted::Classes(vec![class]), Size::new(224, 224), false);
    let mut findings = Findings::default();
    localizer.localize(activations, head, frame, &settings, &mut findings);
    findings.detections[0].rect
}

#[track_caller]
fn assert_within_3_pixels(found: Rect, recorded: &serde_json::Value, of: &str) {
    let found = [found.x0, found.y0, found.x1, found.y1];
    let recorded: [u32; 4] = serde_json::from_value(recorded.clone()).unwrap();
    let near = found.iter().zip(recorded).all(|(a, b)| a.abs_diff(b) <= 3);
    assert!(near, "{of}: {found:?}, recorded {recorded:?}");
}

fn size_of(photograph: &serde_json::Value) -> Size {
    let side = |i: usize| photograph["size"][i].as_u64().expect("pixels") as u32;
    Size::new(side(0), side(1))
}

#[test]
fn boxes_are_those_that_the_reference_cuts_out_of_the_same_feature_maps() {
    let expected = read_json(&root().join("tests/recorded/expected.json"));
    let network = embedded();
    for photograph in PHOTOGRAPHS {
        for kind in ["float", "int8"] {
            let recording = &expected[photograph][kind];
            let features: Array<f32> = recorded(photograph, kind, "features");
            let logits: Array<f32> = recorded(photograph, kind, "logits");
            let &[channels, height, width] = &features.shape[..] else { panic!("three axes") };
            let area = height * width;
            let values = (0..area * channels)
                .map(|i| features.values[i % channels * area + i / channels])
                .collect();
            let activations = Activations {
                features: Features { channels, height, width, values },
                scores: logits.values.clone(),
                logits: logits.values,
                ..Activations::default()
            };
            let class = recording["top1"].as_u64().unwrap() as usize;
            let size = size_of(&expected[photograph]);
            let found = found_box(network.head(), &activations, class, size);
            assert_within_3_pixels(found, &recording["box"], &format!("{photograph}, {kind}"));
        }
    }
}

#[test]
fn boxes_are_those_of_onnx_runtime() {
    let expected = read_json(&root().join("tests/recorded/expected.json"));
    let Some(mut network) = embedded_int8() else { return };
    for photograph in PHOTOGRAPHS {
        let recording = &expected[photograph];
        let out = run_on_recorded_pixels(&mut network, photograph);
        let class = recording["int8"]["top1"].as_u64().unwrap() as usize;
        let found = found_box(network.head(), &out, class, size_of(recording));
        assert_within_3_pixels(found, &recording["int8"]["box"], photograph);
    }
}

#[test]
fn a_photograph_is_stretched_to_the_input_as_the_reference_does_it() {
    let expected = read_json(&root().join("tests/recorded/expected.json"));
    let mut network = embedded();
    for photograph in PHOTOGRAPHS {
        let path = root().join(format!("src/source/demo/{photograph}.jpg"));
        let picture = image::open(path).unwrap().into_rgb8();
        let size = Size::new(picture.width(), picture.height());
        let out = run(&mut network, &Frame { rgb: picture.into_raw(), size, ..Frame::empty() });
        let class = expected[photograph]["float"]["top1"].as_u64().unwrap() as usize;
        let from_pixels = run_on_recorded_pixels(&mut network, photograph);
        let maps = [&out, &from_pixels].map(|out| cam(network.head(), &out.features, class));
        let cosine = cosine(&maps[0], &maps[1]);
        println!("{photograph}: {cosine:.6}");
        assert_eq!(top1(&out.logits), class, "{photograph}");
        assert!(cosine > 0.99, "{photograph}: {cosine}");
    }
}

#[test]
fn other_multiples_of_32_work_and_what_is_none_is_refused() {
    let sized = |width, height| {
        Network::load(&ModelOptions {
            input_size: Some(Size::new(width, height)),
            ..Default::default()
        })
    };
    assert_eq!(sized(320, 192).unwrap().map_size(), Size::new(10, 6));
    let line = sized(225, 225).unwrap_err().to_string();
    assert!(line.contains("stride") && line.contains("try 256"), "{line}");
}

#[test]
fn the_embedded_network_computes_what_onnx_runtime_computes_bit_for_bit() {
    let Some(mut network) = embedded_int8() else { return };
    for photograph in PHOTOGRAPHS {
        let out = run_on_recorded_pixels(&mut network, photograph);
        let logits: Array<f32> = recorded(photograph, "int8", "logits");
        let features: Array<f32> = recorded(photograph, "int8", "features");
        assert!(channels_first(&out.features) == features.values, "{photograph}: features");
        assert!(out.logits == logits.values, "{photograph}: logits");
    }
}
