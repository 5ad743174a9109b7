//! What several test programs share.
#![allow(dead_code)] // Each test program uses a part of it.

pub mod networks;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Output};

use camlive::geometry::Rect;
use camlive::network::activations::{Features, Head};

/// Skips a test that needs something the machine lacks; fails where CAMLIVE_NO_SKIP is set.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CAMLIVE_NO_SKIP").is_none(), "would be skipped: {why}");
    println!("SKIPPED: {why}");
}

/// A recorded array, in C order.
pub struct Array<T> {
    pub shape: Vec<usize>,
    pub values: Vec<T>,
}

pub fn read_npy<T: npyz::Deserialize>(path: &Path) -> Array<T> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let npy = npyz::NpyFile::new(BufReader::new(file)).unwrap();
    assert_eq!(npy.order(), npyz::Order::C, "{}", path.display());
    let shape = npy.shape().iter().map(|&side| side as usize).collect();
    Array { shape, values: npy.into_vec().unwrap() }
}

pub fn read_json(path: &Path) -> serde_json::Value {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_reader(BufReader::new(file)).unwrap()
}

/// Channel by channel, as ONNX has them.
pub fn channels_first(features: &Features) -> Vec<f32> {
    (0..features.channels).flat_map(|k| features.unit(k)).collect()
}

/// `M_c(x, y) = sum_k w_k^c f_k(x, y)`, summed in f64.
pub fn cam(head: &Head, features: &Features, class: usize) -> Vec<f32> {
    let Head::Linear { channels, weights } = head else { return features.unit(class).collect() };
    let mut map = vec![0f64; features.height * features.width];
    for (k, weight) in weights[class * channels..(class + 1) * channels].iter().enumerate() {
        for (sum, value) in map.iter_mut().zip(features.unit(k)) {
            *sum += f64::from(*weight) * f64::from(value);
        }
    }
    map.into_iter().map(|v| v as f32).collect()
}

/// The program under test, without a display.
pub fn camlive(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_camlive"));
    command.args(arguments).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    command
}

/// Standard output as text.
pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text on standard output")
}

/// Standard error as text.
pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text on standard error")
}

/// The rectangle `[x0, y0, x1, y1]`.
pub fn rect(value: &serde_json::Value) -> Rect {
    let side = |i: usize| value[i].as_u64().expect("a pixel") as u32;
    Rect::new(side(0), side(1), side(2), side(3))
}

/// The path of a photograph of the demo.
pub fn photograph(name: &str) -> String {
    format!("{}/src/source/demo/{name}.jpg", env!("CARGO_MANIFEST_DIR"))
}

/// The lines of standard error that tell of a failure.
pub fn error_lines(output: &Output) -> Vec<&str> {
    stderr(output).lines().filter(|line| line.starts_with("error:")).collect()
}
