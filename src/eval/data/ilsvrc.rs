//! The ILSVRC localization task (CLS-LOC), validation photographs, as ImageNet and Kaggle give it.
//!
//! ```text
//! Annotations/CLS-LOC/val/*.xml    or LOC_val_solution.csv, where there are none
//! Data/CLS-LOC/val/*.JPEG          or the folders images, val, ILSVRC2012_img_val
//! ```
//!
//! All of it may lie in a folder `ILSVRC`, as in Kaggle's archive. Classes are WordNet ids.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::annotation::Annotation;
use super::voc::xml_files;
use super::{
    Example, LARGEST_LIST, Truth, folder_of, inside, lines, numbers, read_text, rect_of_pixels,
};
use crate::error::{Error, Result};
use crate::geometry::{Rect, Size};
use crate::network::Labels;

pub const XML: &str = "Annotations/CLS-LOC/val/*.xml";
pub const CSV: &str = "LOC_val_solution.csv";

/// Where the data set may lie in its folder.
fn places(folder: &Path, name: &str) -> [PathBuf; 2] {
    [folder.join(name), folder.join("ILSVRC").join(name)]
}

fn xml_folder(folder: &Path) -> Option<PathBuf> {
    folder_of(&places(folder, "Annotations/CLS-LOC/val"))
}

fn csv(folder: &Path) -> Option<PathBuf> {
    places(folder, CSV).into_iter().find(|path| path.is_file())
}

/// Whether the folder holds such a data set.
pub fn fits(folder: &Path) -> bool {
    xml_folder(folder).is_some() || csv(folder).is_some()
}

/// Reads the annotations.
///
/// # Errors
/// There are none; no photographs; a network that does not tell WordNet ids.
pub fn read(
    folder: &Path,
    images: Option<&Path>,
    labels: &Labels,
    classes: usize,
) -> Result<Vec<Result<Example>>> {
    let images = match images {
        Some(images) => images.to_owned(),
        None => {
            let names = ["Data/CLS-LOC/val", "images", "val", "ILSVRC2012_img_val"];
            let all: Vec<PathBuf> = names.iter().flat_map(|name| places(folder, name)).collect();
            folder_of(&all).unwrap_or_else(|| folder.to_owned())
        }
    };
    let mut synsets = HashMap::new();
    for class in 0..classes {
        // A labels file may name classes by their WordNet ids.
        synsets.insert(labels.wordnet_id(class).unwrap_or(labels.name(class)), class);
    }
    let reader = Reader { images, synsets };
    if let Some(folder) = xml_folder(folder) {
        let files = xml_files(&folder)?;
        return Ok(files.iter().map(|file| reader.xml(file)).collect());
    }
    let Some(csv) = csv(folder) else {
        return Err(Error::invalid(format!("{}: neither {XML} nor {CSV}", folder.display())));
    };
    let text = read_text(&csv, LARGEST_LIST)?;
    let records = lines(&text).filter(|(_, line)| !line.starts_with("ImageId"));
    Ok(records.map(|(number, line)| reader.record(number, line)).collect())
}

struct Reader<'a> {
    images: PathBuf,
    /// The class of each WordNet id.
    synsets: HashMap<&'a str, usize>,
}

impl Reader<'_> {
    fn xml(&self, file: &Path) -> Result<Example> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let Annotation { size, things, .. } = Annotation::read(file, 0)?;
        self.example(&name, things, size).map_err(|error| error.within(&file.display().to_string()))
    }

    /// `NAME,SYNSET x0 y0 x1 y1 SYNSET x0 y0 x1 y1 ...`
    fn record(&self, number: usize, line: &str) -> Result<Example> {
        let (name, boxes) = line.split_once(',').unwrap_or((line, ""));
        let fields: Vec<&str> = boxes.split_whitespace().collect();
        let thing = |fields: &[&str]| {
            let sides = numbers(fields.get(1..).unwrap_or_default())?;
            Ok((fields[0].to_owned(), rect_of_pixels(sides)?))
        };
        let things = fields.chunks(5).map(thing).collect::<Result<Vec<_>>>();
        things
            .and_then(|things| self.example(name, things, None))
            .map_err(|error| error.within(&format!("{CSV}, line {number}")))
    }

    fn example(
        &self,
        name: &str,
        things: Vec<(String, Rect)>,
        size: Option<Size>,
    ) -> Result<Example> {
        let Some((synset, _)) = things.first() else {
            return Err(Error::invalid("nothing is boxed"));
        };
        let class = *self.synsets.get(synset.as_str()).ok_or_else(|| {
            Error::invalid(format!(
                "the network tells no class `{synset}`; name its classes by WordNet ids with --labels"
            ))
        })?;
        let boxes = things.iter().filter(|thing| thing.0 == *synset).map(|thing| thing.1).collect();
        let id = format!("{name}.JPEG");
        let photograph = inside(&self.images, &id)?;
        Ok(Example { id, photograph, class, size, truth: Truth::Boxes(boxes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader<'static> {
        let synsets = HashMap::from([("n01440764", 0), ("n03995372", 740)]);
        Reader { images: "val".into(), synsets }
    }

    #[test]
    fn a_record_gives_the_class_of_its_synset_and_all_boxes() {
        let line = "ILSVRC2012_val_00048981,n03995372 85 1 499 272 n03995372 0 0 9 9 ";
        let expected = Example {
            id: "ILSVRC2012_val_00048981.JPEG".into(),
            photograph: "val/ILSVRC2012_val_00048981.JPEG".into(),
            class: 740,
            size: None,
            truth: Truth::Boxes(vec![Rect::new(85, 1, 500, 273), Rect::new(0, 0, 10, 10)]),
        };
        assert_eq!(reader().record(2, line), Ok(expected));
    }

    #[test]
    fn a_broken_record_is_named() {
        for (line, why) in [
            ("a,n01440764 1 2 3", "3 numbers instead of 4"),
            ("a,n01440764 1 2 3 NaN", "`NaN` is not a number of pixels"),
            ("a,n99999999 1 2 3 4", "no class `n99999999`"),
            ("a", "nothing is boxed"),
            ("../../a,n01440764 1 2 3 4", "not the name of a file"),
        ] {
            let told = reader().record(3, line).unwrap_err().to_string();
            assert!(told.starts_with("LOC_val_solution.csv, line 3: "), "{told}");
            assert!(told.contains(why), "{told}");
        }
    }
}
