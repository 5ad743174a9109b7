//! Folders of XML files as of Pascal VOC: `Annotations/*.xml` beside `JPEGImages/`, or as others
//! call them.
//!
//! A photograph with things of several classes is an example of each; the second and later are
//! called `PHOTOGRAPH-CLASS`, by the index of the class. Boxes that are marked as difficult count.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::annotation::Annotation;
use super::{Example, Truth, folder_of, inside};
use crate::error::{Error, Result};
use crate::geometry::{Rect, Size};
use crate::network::Labels;

/// Whether the folder holds such files.
pub fn fits(folder: &Path) -> bool {
    xml_folder(folder).is_some()
}

fn xml_folder(folder: &Path) -> Option<PathBuf> {
    let places = [folder.join("Annotations"), folder.join("annotations"), folder.to_owned()];
    places.into_iter().find(|place| xml_files(place).is_ok_and(|files| !files.is_empty()))
}

/// The XML files of a folder, sorted by name.
///
/// # Errors
/// The folder cannot be read.
pub fn xml_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::invalid(format!("{}: cannot read the folder: {e}", folder.display()));
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xml")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A photograph, and everything that its file boxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotated {
    /// That of the file within the folder of photographs.
    pub name: String,
    pub photograph: PathBuf,
    /// In whose pixels the boxes are; none where it is that of the photograph.
    pub size: Option<Size>,
    /// At least one: its name, whether or not a network knows it, and its box.
    pub things: Vec<(String, Rect)>,
}

/// Reads the files. What cannot be used is an error in its place, which names it.
///
/// # Errors
/// There are none, or no folder of photographs.
pub fn annotated(folder: &Path, images: Option<&Path>) -> Result<Vec<Result<Annotated>>> {
    let annotations = xml_folder(folder).ok_or_else(|| {
        Error::invalid(format!("{}: no XML files there or in Annotations", folder.display()))
    })?;
    let images = match images {
        Some(images) => images.to_owned(),
        None => folder_of(&["JPEGImages", "images"].map(|name| folder.join(name)))
            .unwrap_or_else(|| annotations.clone()),
    };
    let read = |file: PathBuf| {
        let annotation = Annotation::read(&file, 1)?;
        of_file(&file, annotation, &images)
            .map_err(|error| error.within(&file.display().to_string()))
    };
    Ok(xml_files(&annotations)?.into_iter().map(read).collect())
}

fn of_file(file: &Path, annotation: Annotation, images: &Path) -> Result<Annotated> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = annotation.file_name.unwrap_or_else(|| format!("{stem}.jpg"));
    if annotation.things.is_empty() {
        return Err(Error::invalid("nothing is boxed"));
    }
    let photograph = inside(images, &name)?;
    Ok(Annotated { name, photograph, size: annotation.size, things: annotation.things })
}

/// Reads the files as examples of the network's classes.
///
/// # Errors
/// As [`annotated`].
pub fn read(folder: &Path, images: Option<&Path>, labels: &Labels) -> Result<Vec<Result<Example>>> {
    let mut classes = HashMap::new();
    let mut class_of = |name: &str| {
        let find = || labels.find(name);
        classes.entry(name.to_owned()).or_insert_with(find).clone()
    };
    let mut examples = Vec::new();
    for annotated in annotated(folder, images)? {
        match annotated {
            Ok(annotated) => examples.extend(examples_of(annotated, &mut class_of)),
            Err(error) => examples.push(Err(error)),
        }
    }
    Ok(examples)
}

/// One example a class.
fn examples_of(
    annotated: Annotated,
    class_of: &mut dyn FnMut(&str) -> Result<usize>,
) -> Vec<Result<Example>> {
    let Annotated { name, photograph, size, things } = annotated;
    let mut found: Vec<(String, Vec<Rect>)> = Vec::new();
    for (thing, rect) in things {
        match found.iter_mut().find(|(known, _)| *known == thing) {
            Some((_, boxes)) => boxes.push(rect),
            None => found.push((thing, vec![rect])),
        }
    }
    let example = |(i, (thing, boxes)): (usize, (String, Vec<Rect>))| {
        let class = class_of(&thing).map_err(|error| error.within(&name))?;
        let id = if i == 0 { name.clone() } else { format!("{name}-{class}") };
        Ok(Example { id, photograph: photograph.clone(), class, size, truth: Truth::Boxes(boxes) })
    };
    found.into_iter().enumerate().map(example).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(things: &[(&str, Rect)]) -> Annotation {
        let things = things.iter().map(|&(name, rect)| (name.to_owned(), rect)).collect();
        Annotation { file_name: None, size: Some(Size::new(50, 40)), things }
    }

    fn examples(things: &[(&str, Rect)]) -> Result<Vec<Result<Example>>> {
        let mut class_of = |name: &str| match name {
            "cat" => Ok(281),
            "dog" => Ok(207),
            _ => Err(Error::usage(format!("no class is called `{name}`"))),
        };
        let annotated = of_file(Path::new("xml/7.xml"), annotation(things), Path::new("images"))?;
        Ok(examples_of(annotated, &mut class_of))
    }

    const A: Rect = Rect::new(0, 0, 5, 5);
    const B: Rect = Rect::new(5, 5, 9, 9);
    const C: Rect = Rect::new(1, 1, 2, 2);

    #[test]
    fn a_photograph_is_an_example_of_each_of_its_classes() {
        let found = examples(&[("cat", A), ("dog", B), ("cat", C)]).unwrap();
        let [Ok(cat), Ok(dog)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((cat.id.as_str(), cat.class), ("7.jpg", 281));
        assert_eq!(cat.truth, Truth::Boxes(vec![A, C]));
        assert_eq!((dog.id.as_str(), dog.class), ("7.jpg-207", 207));
        assert_eq!(dog.photograph, Path::new("images/7.jpg"));
    }

    #[test]
    fn a_thing_that_the_network_does_not_know_spoils_its_example_only() {
        let found = examples(&[("unicorn", A), ("dog", B)]).unwrap();
        let line = found[0].as_ref().unwrap_err().to_string();
        assert_eq!(line, "7.jpg: no class is called `unicorn`");
        assert!(found[1].is_ok());
    }

    #[test]
    fn a_file_without_boxes_is_an_error() {
        assert!(examples(&[]).is_err());
    }
}
