//! CUB-200-2011 as it is distributed; of its photographs, those of the test split.
//!
//! ```text
//! images.txt              1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg
//! image_class_labels.txt  1 1                            classes from 1
//! bounding_boxes.txt      1 60.0 27.0 325.0 304.0        left, top, width, height
//! train_test_split.txt    1 0                            1 for training
//! images/                 the photographs
//! ```

use std::collections::HashMap;
use std::path::Path;

use super::{Example, LARGEST_LIST, Truth, inside, lines, numbers, read_text, rect};
use crate::error::{Error, Result};

pub const IMAGES: &str = "images.txt";
pub const BOXES: &str = "bounding_boxes.txt";
const LABELS: &str = "image_class_labels.txt";
const SPLIT: &str = "train_test_split.txt";

/// Number of classes, whose indices mean nothing to a network for others.
const CLASSES: usize = 200;

/// Whether the folder holds such a data set.
pub fn fits(folder: &Path) -> bool {
    folder.join(IMAGES).is_file() && folder.join(BOXES).is_file()
}

/// Reads the lists; a line that cannot be used spoils its photograph only.
///
/// # Errors
/// A list that cannot be read; a network for other classes.
pub fn read(folder: &Path, images: Option<&Path>, classes: usize) -> Result<Vec<Result<Example>>> {
    if classes != CLASSES {
        return Err(Error::invalid(format!(
            "{}: CUB-200-2011 has {CLASSES} classes, but the network has {classes}; give one that knows them with --model",
            folder.display()
        )));
    }
    let photographs = images.map_or_else(|| folder.join("images"), Path::to_owned);
    let text = |name: &str| read_text(&folder.join(name), LARGEST_LIST);
    let [images, labels, boxes, split] = [text(IMAGES)?, text(LABELS)?, text(BOXES)?, text(SPLIT)?];
    let [labels, boxes, split] = [records(&labels), records(&boxes), records(&split)];
    let example = |key: &str, id: &str| -> Result<Example> {
        let label = of(&labels, key, LABELS)?;
        let class = label.parse().ok().filter(|class| (1..=CLASSES).contains(class));
        let sides: Vec<&str> = of(&boxes, key, BOXES)?.split_whitespace().collect();
        let [x, y, width, height] = numbers(&sides).map_err(|error| error.within(BOXES))?;
        let thing = rect([x, y, x + width, y + height]).map_err(|error| error.within(BOXES))?;
        Ok(Example {
            id: id.to_owned(),
            photograph: inside(&photographs, id)?,
            class: class.ok_or_else(|| Error::invalid(format!("class `{label}`")))? - 1,
            size: None,
            truth: Truth::Boxes(vec![thing]),
        })
    };
    let mut examples = Vec::new();
    for (_, line) in lines(&images) {
        let (key, id) = line.split_once(' ').unwrap_or((line, ""));
        match of(&split, key, SPLIT) {
            Ok("1") => {}
            Ok(_) => examples.push(example(key, id).map_err(|error| error.within(line))),
            Err(error) => examples.push(Err(error.within(line))),
        }
    }
    Ok(examples)
}

/// What follows the number of each photograph.
fn records(text: &str) -> HashMap<&str, &str> {
    lines(text).filter_map(|(_, line)| line.split_once(' ')).collect()
}

fn of<'a>(records: &HashMap<&str, &'a str>, key: &str, list: &str) -> Result<&'a str> {
    let found = records.get(key).copied();
    found.ok_or_else(|| Error::invalid(format!("not in {list}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Rect;

    fn folder(boxes: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            (IMAGES, "1 001.Albatross/a.jpg\n2 001.Albatross/b.jpg\n3 200.Yellowthroat/c.jpg\n"),
            (LABELS, "1 1\n2 1\n3 200\n"),
            (SPLIT, "1 0\n2 1\n3 0\n"),
            (BOXES, boxes),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn photographs_of_the_test_split_have_their_class_and_box() {
        let folder = folder("1 60.0 27.0 325.0 304.0\n2 0.0 0.0 1.0 1.0\n3 1.5 0.0 2.0 9.0\n");
        let found = read(folder.path(), None, 200).unwrap();
        let [Ok(a), Ok(c)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((a.id.as_str(), a.class), ("001.Albatross/a.jpg", 0));
        assert_eq!(a.photograph, folder.path().join("images/001.Albatross/a.jpg"));
        assert_eq!(a.truth, Truth::Boxes(vec![Rect::new(60, 27, 385, 331)]));
        assert_eq!((c.class, &c.truth), (199, &Truth::Boxes(vec![Rect::new(1, 0, 4, 9)])));
    }

    #[test]
    fn a_box_that_is_missing_or_none_spoils_its_photograph_only() {
        let folder = folder("1 NaN 27.0 325.0 304.0\n");
        let found = read(folder.path(), None, 200).unwrap();
        let told: Vec<_> = found.iter().map(|e| e.as_ref().unwrap_err().to_string()).collect();
        assert_eq!(
            told[0],
            "1 001.Albatross/a.jpg: bounding_boxes.txt: `NaN` is not a number of pixels"
        );
        assert_eq!(told[1], "3 200.Yellowthroat/c.jpg: not in bounding_boxes.txt");
    }

    #[test]
    fn a_network_for_other_classes_is_refused() {
        let error = read(folder("").path(), None, 1000).unwrap_err().to_string();
        assert!(error.contains("200") && error.contains("1000"), "{error}");
    }
}
