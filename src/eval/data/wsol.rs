//! The lists of `wsolevaluation`: one line a photograph or box, fields between commas.
//!
//! ```text
//! image_ids.txt     val/1.JPEG
//! class_labels.txt  val/1.JPEG,472
//! image_sizes.txt   val/1.JPEG,500,375
//! localization.txt  val/1.JPEG,20,175,111,292      first and last pixel, of the size above
//!                   val/1.JPEG,val/1_a.png,val/1_ignore.png    or masks, the second name once
//! ```
//!
//! Photographs and masks lie in the same folder as the lists, where no other is given.

use std::collections::HashMap;
use std::path::Path;

use super::{
    Example, LARGEST_LIST, Truth, inside, lines, numbers, read_text, rect_of_pixels, size_of,
};
use crate::error::{Error, Result};
use crate::eval::pixels::Masks;
use crate::geometry::{Rect, Size};

pub const IDS: &str = "image_ids.txt";
const LABELS: &str = "class_labels.txt";
const SIZES: &str = "image_sizes.txt";
pub const BOXES: &str = "localization.txt";

/// Whether the folder holds such lists.
pub fn fits(folder: &Path) -> bool {
    folder.join(IDS).is_file() && folder.join(BOXES).is_file()
}

/// Reads the lists; a line that cannot be used spoils its photograph only.
///
/// # Errors
/// A list that cannot be read.
pub fn read(folder: &Path, images: Option<&Path>) -> Result<Vec<Result<Example>>> {
    let images = images.unwrap_or(folder);
    let text = |name: &str| read_text(&folder.join(name), LARGEST_LIST);
    let [ids, labels, sizes, boxes] = [text(IDS)?, text(LABELS)?, text(SIZES)?, text(BOXES)?];
    let labels = records(&labels, LABELS, |fields| match fields {
        [class] => class.trim().parse().map_err(|_| Error::invalid(format!("class `{class}`"))),
        _ => Err(Error::invalid("not a photograph and its class")),
    });
    let sizes = records(&sizes, SIZES, |fields| size_of(numbers(fields)?));
    let truths = records(&boxes, BOXES, |fields| match *fields {
        [thing, ignored] => {
            let ignored = (!ignored.is_empty()).then(|| inside(images, ignored)).transpose()?;
            Ok(Part::Mask { thing: inside(images, thing)?, ignored })
        }
        _ => Ok(Part::Box(rect_of_pixels(numbers(fields)?)?)),
    });
    let lists = Lists { images, labels, sizes, truths };
    Ok(lines(&ids).map(|(_, id)| lists.example(id).map_err(|e| e.within(id))).collect())
}

/// What one line says about where a thing is.
#[derive(Clone)]
enum Part {
    Box(Rect),
    Mask { thing: std::path::PathBuf, ignored: Option<std::path::PathBuf> },
}

/// What the lines of a list say about each photograph.
type Records<'a, T> = HashMap<&'a str, Vec<Result<T>>>;

fn records<'a, T>(
    text: &'a str,
    list: &str,
    read: impl Fn(&[&'a str]) -> Result<T>,
) -> Records<'a, T> {
    let mut records = Records::new();
    for (number, line) in lines(text) {
        let mut fields = line.split(',');
        let id = fields.next().unwrap_or_default();
        let fields: Vec<&str> = fields.collect();
        let record = read(&fields).map_err(|e| e.within(&format!("{list}, line {number}")));
        records.entry(id).or_default().push(record);
    }
    records
}

struct Lists<'a> {
    images: &'a Path,
    labels: Records<'a, usize>,
    sizes: Records<'a, Size>,
    truths: Records<'a, Part>,
}

impl Lists<'_> {
    /// Errors do not name the photograph.
    fn example(&self, id: &str) -> Result<Example> {
        fn last<T: Copy>(records: &Records<T>, id: &str, list: &str) -> Result<T> {
            let found = records.get(id).and_then(|records| records.last());
            found.cloned().unwrap_or_else(|| Err(Error::invalid(format!("not in {list}"))))
        }
        let parts = self.truths.get(id).map(Vec::as_slice).unwrap_or_default();
        let mut boxes = Vec::new();
        let mut masks = Masks { things: Vec::new(), ignored: None };
        for part in parts {
            match part.clone()? {
                Part::Box(rect) => boxes.push(rect),
                Part::Mask { thing, ignored } => {
                    masks.things.push(thing);
                    masks.ignored = masks.ignored.or(ignored);
                }
            }
        }
        let truth = match (boxes.is_empty(), masks.things.is_empty()) {
            (false, true) => Truth::Boxes(boxes),
            (true, false) => Truth::Masks(masks),
            (true, true) => return Err(Error::invalid(format!("not in {BOXES}"))),
            (false, false) => return Err(Error::invalid(format!("boxes and masks in {BOXES}"))),
        };
        Ok(Example {
            id: id.to_owned(),
            photograph: inside(self.images, id)?,
            class: last(&self.labels, id, LABELS)?,
            size: Some(last(&self.sizes, id, SIZES)?),
            truth,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_lists(lists: [&str; 4]) -> Vec<Result<Example>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [IDS, LABELS, SIZES, BOXES].iter().zip(lists) {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        assert!(fits(folder.path()));
        read(folder.path(), Some(Path::new("images"))).unwrap()
    }

    #[test]
    fn a_photograph_has_its_class_its_size_and_all_its_boxes() {
        let examples = read_lists([
            "val/b.JPEG\r\nval/a.JPEG\r\n",
            "val/a.JPEG,7\nval/b.JPEG,8\n",
            "val/a.JPEG,500,375\nval/b.JPEG,50,40\n",
            "val/a.JPEG,20,175,111,292\nval/b.JPEG,0,0,49,39\nval/a.JPEG,1,2,1,2\n",
        ]);
        assert_eq!(examples.len(), 2);
        assert_eq!(examples[0].as_ref().unwrap().id, "val/b.JPEG");
        let expected = Example {
            id: "val/a.JPEG".into(),
            photograph: "images/val/a.JPEG".into(),
            class: 7,
            size: Some(Size::new(500, 375)),
            truth: Truth::Boxes(vec![Rect::new(20, 175, 112, 293), Rect::new(1, 2, 2, 3)]),
        };
        assert_eq!(examples[1], Ok(expected));
    }

    #[test]
    fn masks_come_with_one_list_of_what_does_not_count() {
        let examples = read_lists([
            "a.jpg\n",
            "a.jpg,0\n",
            "a.jpg,5,5\n",
            "a.jpg,m/1.png,m/no.png\na.jpg,m/2.png,\n",
        ]);
        let masks = Masks {
            things: vec!["images/m/1.png".into(), "images/m/2.png".into()],
            ignored: Some("images/m/no.png".into()),
        };
        assert_eq!(examples[0].as_ref().unwrap().truth, Truth::Masks(masks));
    }

    #[test]
    fn a_line_that_cannot_be_used_spoils_its_photograph_only() {
        let examples = read_lists([
            "good.jpg\nnan.jpg\nno-label.jpg\nno-size.jpg\nno-box.jpg\nfew.jpg\n../out.jpg\nzero.jpg\n",
            "good.jpg,1\nnan.jpg,1\nno-size.jpg,1\nno-box.jpg,1\nfew.jpg,1\n../out.jpg,1\nzero.jpg,1\n",
            "good.jpg,9,9\nnan.jpg,9,9\nno-label.jpg,9,9\nno-box.jpg,9,9\nfew.jpg,9,9\n../out.jpg,9,9\nzero.jpg,0,9\n",
            "nan.jpg,NaN,0,1,1\ngood.jpg,0,0,1,1\nno-label.jpg,0,0,1,1\nno-size.jpg,0,0,1,1\nfew.jpg,0,0,1\n../out.jpg,0,0,1,1\nzero.jpg,0,0,1,1\n",
        ]);
        assert!(examples[0].is_ok());
        let told: Vec<String> =
            examples[1..].iter().map(|e| e.as_ref().unwrap_err().to_string()).collect();
        assert_eq!(
            told,
            [
                "nan.jpg: localization.txt, line 1: `NaN` is not a number of pixels",
                "no-label.jpg: not in class_labels.txt",
                "no-size.jpg: not in image_sizes.txt",
                "no-box.jpg: not in localization.txt",
                "few.jpg: localization.txt, line 5: 3 numbers instead of 4",
                "../out.jpg: `../out.jpg`: not the name of a file in a folder",
                "zero.jpg: image_sizes.txt, line 7: a picture without pixels",
            ]
        );
    }

    #[test]
    fn a_list_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(IDS), "a.jpg\n").unwrap();
        let error = read(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("class_labels.txt"), "{error}");
    }
}
