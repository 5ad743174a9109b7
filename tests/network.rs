//! Networks of many shapes, against what ONNX Runtime recorded for them (tests/networks/make.py).

mod common;

use std::path::Path;

use camlive::error::ErrorKind;
use camlive::frame::Frame;
use camlive::geometry::Size;
use camlive::network::activations::{Activations, Features, Head};
use camlive::network::{Mapping, ModelOptions, Network};
use common::networks::{
    assert_close, assert_reproduces, expected, folder, frame, number, options, recorded, run,
};
use common::{Array, cam};

#[test]
fn features_logits_and_cams_equal_onnx_runtimes() {
    for (name, entry) in expected("accepted") {
        let mut network = Network::load(&options(&name, &entry)).unwrap();
        assert_reproduces(&name, &entry, &mut network);
    }
}

#[test]
fn head_weights_are_those_of_the_graph() {
    for (name, entry) in expected("accepted") {
        let network = Network::load(&options(&name, &entry)).unwrap();
        if entry["head"].is_null() {
            assert_eq!(
                *network.head(),
                Head::Identity { classes: number(&entry["classes"]) },
                "{name}"
            );
            continue;
        }
        let recorded: Array<f32> = recorded(&name, "weights");
        let Head::Linear { channels, weights } = network.head() else {
            panic!("{name} has no linear head")
        };
        assert_eq!([weights.len() / channels, *channels], recorded.shape[..], "{name}");
        assert_close(&name, weights, &recorded.values, 1e-6, true);
    }
}

#[test]
fn scores_are_the_softmax_of_the_logits() {
    for (name, entry) in expected("accepted") {
        let mut network = Network::load(&options(&name, &entry)).unwrap();
        let out = run(&mut network, &frame(&name));
        let sum: f64 = out.logits.iter().map(|&l| f64::from(l).exp()).sum();
        for (score, logit) in out.scores.iter().zip(&out.logits) {
            assert!((f64::from(*score) - f64::from(*logit).exp() / sum).abs() < 1e-6, "{name}");
        }
    }
}

#[test]
fn running_again_gives_the_same_and_reuses_the_buffers() {
    for (name, entry) in expected("accepted") {
        let mut network = Network::load(&options(&name, &entry)).unwrap();
        let first = run(&mut network, &frame(&name));
        let mut out = first.clone();
        let buffers = [out.features.values.as_ptr(), out.logits.as_ptr(), out.scores.as_ptr()];
        network.prepare(&frame(&name)).unwrap();
        network.run(&mut out).unwrap();
        assert_eq!(out.features, first.features, "{name}");
        assert_eq!(out.logits, first.logits, "{name}");
        assert_eq!(
            buffers,
            [out.features.values.as_ptr(), out.logits.as_ptr(), out.scores.as_ptr()],
            "{name}"
        );
    }
}

#[test]
fn networks_that_do_not_fit_are_refused_with_the_node_in_the_line() {
    for (name, entry) in expected("refused") {
        let options = ModelOptions {
            path: Some(folder().join(format!("{name}.onnx"))),
            ..Default::default()
        };
        let error = Network::load(&options).expect_err(&name);
        let line = error.to_string();
        let word = entry["error_contains"].as_str().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{line}");
        assert!(
            line.split_once(".onnx: ").unwrap().1.contains(word),
            "{name}: {line} lacks {word}"
        );
    }
}

fn load(
    name: &str,
    change: impl FnOnce(&mut ModelOptions),
) -> Result<Network, camlive::error::Error> {
    let mut options =
        ModelOptions { path: Some(folder().join(format!("{name}.onnx"))), ..Default::default() };
    change(&mut options);
    Network::load(&options)
}

#[test]
fn a_network_of_fixed_size_refuses_another() {
    let error = load("resnet", |o| o.input_size = Some(Size::new(96, 96))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("64x64"), "{error}");
    assert_eq!(
        load("resnet", |o| o.input_size = Some(Size::new(64, 64))).unwrap().input_size(),
        Size::new(64, 64)
    );
}

#[test]
fn a_network_of_free_size_takes_multiples_of_its_stride_and_224_by_itself() {
    assert_eq!(load("free-size", |_| ()).unwrap().input_size(), Size::new(224, 224));
    let network = load("free-size", |o| o.input_size = Some(Size::new(160, 96))).unwrap();
    assert_eq!((network.input_size(), network.map_size()), (Size::new(160, 96), Size::new(10, 6)));
    let error = load("free-size", |o| o.input_size = Some(Size::new(100, 100))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("16") && error.to_string().contains("try 112"), "{error}");
    for side in [0, 1 << 20] {
        let error = load("free-size", |o| o.input_size = Some(Size::new(side, side))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }
}

#[test]
fn labels_and_wordnet_ids_come_from_the_metadata() {
    let network = load("resnet", |_| ()).unwrap();
    assert_eq!(network.labels().name(1), "kit fox");
    assert_eq!(network.labels().wordnet_id(1), Some("n02119789"));
    assert_eq!(network.labels().find("Goldfish"), Ok(3));
    let bare = load("vgg16-gap", |_| ()).unwrap();
    assert_eq!((bare.labels().name(9), bare.labels().wordnet_id(9)), ("class 9", None));
}

#[test]
fn options_outrank_the_metadata() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n").unwrap();
    let mut network = load("resnet", |o| {
        o.labels = Some(file.path().into());
        o.mean = Some([100.0; 3]);
        o.std = Some([256.0; 3]);
    })
    .unwrap();
    assert_eq!(network.labels().name(1), "b");
    assert!(
        network.describe().contains("mean 100,100,100, std 256,256,256"),
        "{}",
        network.describe()
    );
    let logits: Array<f32> = recorded("resnet", "logits");
    assert_ne!(run(&mut network, &frame("resnet")).logits, logits.values);
}

#[test]
fn a_mean_and_std_that_nobody_gave_are_said_to_be_assumed() {
    let bare = load("vgg16-gap", |_| ()).unwrap().describe();
    assert!(bare.contains("mean 127,127,127, std 128,128,128 (assumed)"), "{bare}");
    let told = load("resnet", |_| ()).unwrap().describe();
    assert!(!told.contains("assumed"), "{told}");
}

#[test]
fn a_missing_file_is_named() {
    let error = load("no-such-network", |_| ()).unwrap_err();
    assert!(error.to_string().contains("no-such-network.onnx"), "{error}");
}

/// As many of the unit's values as the coarse map has, at every other row and column from `first` on.
fn every_other(fine: &Features, coarse: &Features, unit: usize, first: usize) -> Vec<f32> {
    let fine_unit: Vec<f32> = fine.unit(unit).collect();
    let rows = fine_unit.chunks(fine.width).skip(first).step_by(2).take(coarse.height);
    let kept = |row: &[f32]| -> Vec<f32> {
        row.iter().skip(first).step_by(2).take(coarse.width).copied().collect()
    };
    rows.flat_map(kept).collect()
}

#[test]
fn a_finer_mapping_has_what_the_coarse_one_had_at_every_other_place() {
    // The first place that is kept depends on which side of the picture is padded more.
    for (name, first) in [
        ("alexnet-gap", 0),
        ("googlenet-gap", 0),
        ("mobilenetv2", 0),
        ("mobilenetv2-qdq", 0),
        ("resnet", 0),
        ("resnet-qdq", 0),
        ("nin", 0),
        ("vgg16-gap", 0),
        ("the embedded one", 1),
    ] {
        let file = format!("tests/networks/{name}.onnx");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let path = (name != "the embedded one").then_some(path);
        let run = |mapping| {
            let options = ModelOptions { path: path.clone(), mapping, ..Default::default() };
            let mut network = Network::load(&options).unwrap();
            let size = network.input_size();
            let rgb = (0..3 * size.area()).map(|i| (i * i * 31 % 251) as u8).collect();
            network.prepare(&Frame { rgb, size, ..Frame::empty() }).unwrap();
            let mut out = Activations::default();
            network.run(&mut out).unwrap();
            (network.map_size(), out.features)
        };
        let (coarse_size, coarse) = run(Mapping::Whole);
        let (fine_size, fine) = run(Mapping::Double);
        // A pooling may leave out or make up the last place of an odd side.
        assert!(fine_size.width.abs_diff(2 * coarse_size.width) <= 1, "{name}: {fine_size}");
        assert!(fine_size.height.abs_diff(2 * coarse_size.height) <= 1, "{name}: {fine_size}");
        for unit in 0..coarse.channels {
            let kept = every_other(&fine, &coarse, unit, first);
            assert_eq!(kept.len(), coarse.unit(unit).count(), "{name}: {fine_size}");
            let pairs = kept.iter().zip(coarse.unit(unit));
            for (fine, coarse) in pairs {
                assert!(
                    (fine - coarse).abs() <= 1e-4 * coarse.abs().max(1.0),
                    "{name}: {fine}, {coarse}"
                );
            }
        }
    }
}

#[test]
fn finer_class_activation_maps_equal_those_of_the_same_change_in_pytorch() {
    // Recorded by tests/networks/finer.py.
    for name in ["resnet", "mobilenetv2"] {
        for (mapping, kind) in [(Mapping::Double, "cams-2"), (Mapping::Fourfold, "cams-4")] {
            let mut network = load(name, |options| {
                options.mapping = mapping;
                options.mean = Some([127.0; 3]);
                options.std = Some([128.0; 3]);
            })
            .unwrap();
            let out = run(&mut network, &frame(name));
            let found: Vec<f32> = (0..network.classes())
                .flat_map(|class| cam(network.head(), &out.features, class))
                .collect();
            let expected: Array<f32> = recorded(name, kind);
            let Size { width, height } = network.map_size();
            assert_eq!(expected.shape[1..], [height as usize, width as usize], "{name}, {kind}");
            assert_close(name, &found, &expected.values, 1e-4, true);
        }
    }
}
