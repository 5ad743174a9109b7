//! What the file says about the picture that its network wants, and about its classes.

use std::path::Path;

use tract_onnx::pb::ModelProto;

/// The `metadata_props` that camlive reads. Lists are one entry a line.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Metadata {
    /// In pixel units (0 to 255), in the order of the network's channels.
    pub(super) mean: Option<[f32; 3]>,
    pub(super) std: Option<[f32; 3]>,
    /// The first channel is blue.
    pub(super) bgr: bool,
    pub(super) labels: Option<Vec<String>>,
    pub(super) wordnet_ids: Option<Vec<String>>,
}

impl Metadata {
    pub(super) fn read(proto: &ModelProto) -> Result<Self, String> {
        let value = |key: &str| {
            proto.metadata_props.iter().find(|p| p.key == key).map(|p| p.value.as_str())
        };
        let triple = |key: &str| value(key).map(|text| triple(key, text)).transpose();
        let list = |key: &str| value(key).map(lines);
        Ok(Self {
            mean: triple("mean")?,
            std: triple("std")?,
            bgr: match value("color") {
                None | Some("RGB") => false,
                Some("BGR") => true,
                Some(other) => {
                    return Err(format!(
                        "its metadata gives the color as `{other}`; RGB or BGR is expected"
                    ));
                }
            },
            labels: list("labels"),
            wordnet_ids: list("wordnet_ids"),
        })
    }
}

/// Three numbers with commas between them.
fn triple(key: &str, text: &str) -> Result<[f32; 3], String> {
    let numbers: Option<Vec<f32>> =
        text.split(',').map(|n| n.trim().parse().ok().filter(|n: &f32| n.is_finite())).collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| format!("its metadata gives the {key} as `{text}`; three numbers are expected, as in 127,127,127"))
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// The largest labels file, in bytes.
const MAX_LABELS: u64 = 16 << 20;

/// The lines of a labels file.
pub(super) fn labels_file(path: &Path) -> Result<Vec<String>, String> {
    let bytes = super::read_capped(path, MAX_LABELS)?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    Ok(lines(text.trim_start_matches('\u{feff}').trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_std_are_three_finite_numbers() {
        assert_eq!(triple("mean", "123.5, 116,103"), Ok([123.5, 116.0, 103.0]));
        for text in ["", "127", "1,2,3,4", "1,2,x", "1,2,inf"] {
            assert!(triple("mean", text).is_err(), "{text}");
        }
    }
}
