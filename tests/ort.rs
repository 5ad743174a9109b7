//! ONNX Runtime as the backend, by the shared library that ORT_DYLIB_PATH names.
#![cfg(feature = "ort")]

mod common;

use std::path::{Path, PathBuf};

use camlive::network::{Backend, ModelOptions, Network};
use common::networks::{
    assert_close, assert_reproduces, expected, folder, frame, options, recorded, run,
};
use common::{Array, cam, camlive, error_lines, photograph, rect, skip, stderr, stdout};
use serde_json::Value;

/// The library; none, with the test skipped, where there is none.
fn library() -> Option<PathBuf> {
    let file = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from).filter(|file| file.exists());
    if file.is_none() {
        skip("ORT_DYLIB_PATH names no libonnxruntime");
    }
    file
}

fn on_onnx_runtime(options: ModelOptions) -> Network {
    Network::load(&ModelOptions { backend: Backend::Ort, ..options }).unwrap()
}

fn detections(backend: &str, name: &str) -> Vec<Value> {
    let output =
        camlive(&["image", &photograph(name), "--json", "--backend", backend]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "", "the library's own messages are kept away");
    let line: Value = serde_json::from_str(stdout(&output)).unwrap();
    line["detections"].as_array().unwrap().clone()
}

#[test]
fn photographs_give_the_classes_and_boxes_of_tract() {
    if library().is_none() {
        return;
    }
    for name in ["chelsea", "coffee"] {
        let (found, known) = (&detections("ort", name)[0], &detections("tract", name)[0]);
        assert_eq!(found["class"], known["class"], "{name}");
        let iou = rect(&found["box"]).iou(rect(&known["box"]));
        assert!(iou > 0.95, "{name}: {found}, {known}");
    }
}

#[test]
fn features_logits_and_cams_are_those_recorded() {
    if library().is_none() {
        return;
    }
    for (name, entry) in expected("accepted") {
        let mut network = on_onnx_runtime(options(&name, &entry));
        assert_reproduces(&name, &entry, &mut network);
        // The recordings are ONNX Runtime's own: quantized networks are not a step off.
        let out = run(&mut network, &frame(&name));
        let maps = (0..network.classes()).flat_map(|c| cam(network.head(), &out.features, c));
        let cams: Array<f32> = recorded(&name, "cams");
        assert_close(&name, &maps.collect::<Vec<_>>(), &cams.values, 1e-4, true);
    }
}

#[test]
fn running_again_gives_the_same() {
    if library().is_none() {
        return;
    }
    for (name, entry) in expected("accepted") {
        let mut network = on_onnx_runtime(options(&name, &entry));
        let first = run(&mut network, &frame(&name));
        let again = run(&mut network, &frame(&name));
        assert_eq!(first.features, again.features, "{name}");
        assert_eq!(first.logits, again.logits, "{name}");
    }
}

#[test]
fn a_network_that_does_not_fit_is_refused_as_by_tract() {
    if library().is_none() {
        return;
    }
    for (name, _) in expected("refused") {
        let options = ModelOptions {
            path: Some(folder().join(format!("{name}.onnx"))),
            ..Default::default()
        };
        let told = [Backend::Tract, Backend::Ort].map(|backend| {
            let options = ModelOptions { backend, ..options.clone() };
            Network::load(&options).expect_err(&name).to_string()
        });
        assert_eq!(told[0], told[1]);
    }
}

#[test]
fn bench_tells_the_backend() {
    if library().is_none() {
        return;
    }
    let arguments = ["bench", "--network-only", "--duration", "1", "--backend", "ort"];
    let output = camlive(&arguments).args(["--json", "-"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(report["backend"], "ort");
    assert!(stderr(&output).contains("run by ONNX Runtime"), "{}", stderr(&output));
}

/// The one line that `camlive image` ends with.
fn failure(backend: &str, library: &Path) -> String {
    failure_of(&["image", &photograph("coffee"), "--backend", backend], library)
}

/// The one line that camlive ends with.
fn failure_of(arguments: &[&str], library: &Path) -> String {
    let output = camlive(arguments).env("ORT_DYLIB_PATH", library).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    error_lines(&output)[0].to_owned()
}

#[test]
fn a_missing_library_is_one_line_that_tells_where_it_was_looked_for() {
    let line = failure("ort", Path::new("/no/such/libonnxruntime.so"));
    for word in ["/no/such/libonnxruntime.so", "ORT_DYLIB_PATH", "pip install onnxruntime`"] {
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn a_missing_library_is_one_line_where_networks_are_loaded_side_by_side() {
    let coffee = photograph("coffee");
    let folder = Path::new(&coffee).parent().unwrap().to_str().unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut arguments = vec!["units", "--class", "tabby cat", "--images", folder];
    arguments.extend(["--out", out.path().to_str().unwrap(), "--threads", "2", "--backend", "ort"]);
    // Whether two of them ask for the library at once is a matter of luck.
    for _ in 0..8 {
        let line = failure_of(&arguments, Path::new("/no/such/libonnxruntime.so"));
        assert!(line.contains("/no/such/libonnxruntime.so"), "{line}");
    }
}

#[test]
fn a_file_that_is_no_library_is_one_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "not a library").unwrap();
    let line = failure("ort", file.path());
    assert!(line.contains(file.path().to_str().unwrap()), "{line}");
}

#[test]
#[cfg(all(feature = "cuda", feature = "tensorrt"))]
fn a_provider_that_is_missing_is_one_line_and_not_the_processor_instead() {
    let Some(library) = library() else { return };
    for (backend, provider) in [("ort-cuda", "CUDA"), ("ort-tensorrt", "TensorRT")] {
        let file = format!("libonnxruntime_providers_{}.so", provider.to_lowercase());
        if library.with_file_name(&file).exists() {
            skip(&format!("{file} is there"));
            continue;
        }
        let line = failure(backend, &library);
        assert!(line.contains(&format!("ONNX Runtime ({provider}) cannot be used")), "{line}");
        assert!(line.contains("onnxruntime-gpu"), "{line}");
    }
}
