//! Files that are no model, or were one once: an error line each, never a panic or a kill.

use std::path::PathBuf;

use camlive::error::{Error, ErrorKind};
use camlive::frame::Frame;
use camlive::geometry::Size;
use camlive::network::activations::Activations;
use camlive::network::check::check;
use camlive::network::{ModelOptions, Network};
use proptest::prelude::*;

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/networks").join(name);
    std::fs::read(path).unwrap()
}

/// Loads `bytes` as a model, and runs it where it loads.
fn load(bytes: &[u8]) -> Result<(), Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut network =
        Network::load(&ModelOptions { path: Some(file.path().into()), ..Default::default() })?;
    let frame = Frame { rgb: vec![90; 3 * 32 * 32], size: Size::new(32, 32), ..Frame::empty() };
    let mut out = Activations::default();
    network.prepare(&frame)?;
    network.run(&mut out)?;
    assert_eq!((out.logits.len(), out.scores.len()), (network.classes(), network.classes()));
    Ok(())
}

#[track_caller]
fn assert_refused(bytes: &[u8], word: &str) {
    let error = load(bytes).unwrap_err();
    let line = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{line}");
    assert!(!line.contains('\n') && line.contains(word), "{line}");
}

#[test]
fn an_empty_file_is_refused() {
    assert_refused(b"", "empty");
}

#[test]
fn a_text_and_a_photograph_are_refused() {
    assert_refused(
        b"It is a truth universally acknowledged, that a single man in possession",
        "not an ONNX model",
    );
    let jpeg = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/source/demo/chelsea.jpg");
    assert_refused(&std::fs::read(jpeg).unwrap(), "not an ONNX model");
}

#[test]
fn a_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error =
        Network::load(&ModelOptions { path: Some(folder.path().into()), ..Default::default() })
            .unwrap_err();
    assert!(error.to_string().contains("cannot read the model"), "{error}");
}

#[test]
fn a_file_beyond_the_size_limit_is_refused_unread() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(2 << 30).unwrap();
    let error =
        Network::load(&ModelOptions { path: Some(file.path().into()), ..Default::default() })
            .unwrap_err();
    assert!(error.to_string().contains("larger than 1024 MB"), "{error}");
}

#[test]
fn a_model_that_is_cut_off_is_refused_wherever_the_cut_is() {
    for name in ["resnet.onnx", "resnet-qdq.onnx", "keras-style.onnx"] {
        let bytes = fixture(name);
        let start = 0..bytes.len().min(2000);
        let steps = (2000..bytes.len()).step_by(331);
        for end in start.chain(steps) {
            let error = check(&bytes[..end]).expect_err("a part is no whole");
            assert_eq!(error.kind(), ErrorKind::Invalid, "{name}, {end} bytes: {error}");
        }
        assert!(load(&bytes[..bytes.len() / 2]).is_err());
        assert!(check(&bytes).is_ok(), "{name}");
    }
}

#[test]
fn a_weight_that_claims_more_values_than_it_holds_is_refused() {
    // `conv.weight` is [4, 3, 3, 3]; its dims lie before its name.
    let bytes = fixture("refuse-no-gap.onnx");
    let dims = [8, 4, 8, 3, 8, 3, 8, 3];
    let at = bytes.windows(8).position(|w| w == dims).expect("the dims of conv.weight");
    let mut changed = bytes.clone();
    changed[at + 1] = 127;
    assert_refused(&changed, "conv.weight");
}

#[test]
fn bytes_that_flip_give_a_network_or_a_line() {
    // A fixed sequence: a multiplicative generator modulo a prime.
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state * 48271 % 2147483647;
        state as usize % below
    };
    for name in [
        "refuse-no-gap.onnx",
        "resnet.onnx",
        "mobilenetv2-qdq.onnx",
        "nin.onnx",
        "free-size.onnx",
        "squeezenet.onnx",
    ] {
        let bytes = fixture(name);
        for _ in 0..60 {
            let mut changed = bytes.clone();
            for _ in 0..1 + random(4) {
                let at = random(changed.len());
                changed[at] ^= 1 << random(8);
            }
            let _ = load(&changed);
        }
    }
}

#[test]
fn the_description_of_a_network_may_be_hit_anywhere() {
    // Weights are most of a file, and any weight will do: this hits what is between them.
    for name in [
        "refuse-two-layer-head.onnx",
        "refuse-transformer-ish.onnx",
        "densenet-style.onnx",
        "keras-conv-head.onnx",
    ] {
        let bytes = fixture(name);
        for at in (0..bytes.len().min(4000)).step_by(if bytes.len() > 4000 { 23 } else { 7 }) {
            for value in [0x00, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                let _ = load(&changed);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_at_all_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = check(&bytes);
    }
}
