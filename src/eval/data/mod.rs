//! Data sets: photographs, their class, and where the thing is.

pub mod annotation;
pub mod cub;
pub mod ilsvrc;
pub mod voc;
pub mod wsol;

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::eval::pixels::Masks;
use crate::geometry::{Rect, Size};
use crate::network::Labels;

/// A photograph of a class, and where the thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// What the data set calls it: a path within a folder.
    pub id: String,
    pub photograph: PathBuf,
    /// Index in the network's labels.
    pub class: usize,
    /// In whose pixels the boxes are; none where it is that of the photograph.
    pub size: Option<Size>,
    pub truth: Truth,
}

/// Where the thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// At least one; each of them is right.
    Boxes(Vec<Rect>),
    Masks(Masks),
}

/// How a data set is laid out in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Lists as of `wsolevaluation`: of ILSVRC, CUB-200-2011, OpenImages.
    Wsol,
    /// The ILSVRC localization task, as ImageNet and Kaggle give it.
    Ilsvrc,
    /// CUB-200-2011.
    Cub,
    /// XML files as of Pascal VOC.
    Voc,
}

impl Layout {
    pub const ALL: [Self; 4] = [Self::Wsol, Self::Ilsvrc, Self::Cub, Self::Voc];

    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wsol => "wsol",
            Self::Ilsvrc => "ilsvrc",
            Self::Cub => "cub",
            Self::Voc => "voc",
        }
    }

    /// Looks which files there are.
    ///
    /// # Errors
    /// No layout has files like these, or the folder cannot be read.
    pub fn detect(folder: &Path) -> Result<Self> {
        folder.read_dir().map_err(|e| {
            Error::invalid(format!("{}: cannot read the data set's folder: {e}", folder.display()))
        })?;
        let fits = |layout: &Self| match layout {
            Self::Wsol => wsol::fits(folder),
            Self::Ilsvrc => ilsvrc::fits(folder),
            Self::Cub => cub::fits(folder),
            Self::Voc => voc::fits(folder),
        };
        Self::ALL.into_iter().find(fits).ok_or_else(|| {
            Error::invalid(format!(
                "{}: not a data set that is known by its files: {} and {} (wsol), {} or {} (ilsvrc), {} and {} (cub), or *.xml (voc)",
                folder.display(),
                wsol::IDS, wsol::BOXES, ilsvrc::XML, ilsvrc::CSV, cub::IMAGES, cub::BOXES
            ))
        })
    }
}

/// Reads the annotations of a data set; photographs are looked for in `images` where it is given.
/// What cannot be used is an error in its place, which names it.
///
/// # Errors
/// The data set as a whole cannot be read.
pub fn read(
    layout: Layout,
    folder: &Path,
    images: Option<&Path>,
    labels: &Labels,
    classes: usize,
) -> Result<Vec<Result<Example>>> {
    let mut examples = match layout {
        Layout::Wsol => wsol::read(folder, images)?,
        Layout::Ilsvrc => ilsvrc::read(folder, images, labels, classes)?,
        Layout::Cub => cub::read(folder, images, classes)?,
        Layout::Voc => voc::read(folder, images, labels)?,
    };
    if examples.is_empty() {
        return Err(Error::invalid(format!("{}: the data set is empty", folder.display())));
    }
    for example in &mut examples {
        if let Ok(Example { id, class, .. }) = example
            && *class >= classes
        {
            let why = format!("{id}: class {class}, but the network has {classes} classes");
            *example = Err(Error::invalid(why));
        }
    }
    Ok(examples)
}

/// The largest list that is read: those of ILSVRC's 1.3 million training photographs have 60 MB.
const LARGEST_LIST: u64 = 256 << 20;

/// The text of a file of at most `limit` bytes.
fn read_text(path: &Path, limit: u64) -> Result<String> {
    let failed = |why: String| Error::invalid(format!("{}: {why}", path.display()));
    let unreadable = |e| failed(format!("cannot read the file: {e}"));
    // Asked before opening, which would wait for ever at a named pipe.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(failed("not a file".into()));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|f| f.take(limit + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(failed(format!("the file is larger than {} KiB", limit >> 10)));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed("the file is not text".into()))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The lines of a list that are not empty, numbered from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())).filter(|(_, l)| !l.is_empty())
}

/// The file `name` of a folder.
///
/// # Errors
/// A name that leads out of the folder.
fn inside(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    let mut parts = path.components().peekable();
    if parts.peek().is_none() || !parts.all(|part| matches!(part, Component::Normal(_))) {
        return Err(Error::invalid(format!("`{name}`: not the name of a file in a folder")));
    }
    Ok(folder.join(path))
}

/// Larger numbers are no pixels.
const MOST_PIXELS: f64 = 1e6;

fn number(text: &str) -> Result<f64> {
    let value = text.trim().parse().ok().filter(|value| (0.0..=MOST_PIXELS).contains(value));
    value.ok_or_else(|| Error::invalid(format!("`{text}` is not a number of pixels")))
}

fn numbers<const N: usize>(texts: &[&str]) -> Result<[f64; N]> {
    let values = texts.iter().map(|text| number(text)).collect::<Result<Vec<_>>>()?;
    let count = values.len();
    values.try_into().map_err(|_| Error::invalid(format!("{count} numbers instead of {N}")))
}

/// The pixels that a box from one corner to the other touches.
fn rect([x0, y0, x1, y1]: [f64; 4]) -> Result<Rect> {
    if x0 >= x1 || y0 >= y1 {
        return Err(Error::invalid("a box without pixels"));
    }
    Ok(Rect::new(x0 as u32, y0 as u32, x1.ceil() as u32, y1.ceil() as u32))
}

/// A box whose first and last pixels are given; the first of a picture is 0.
fn rect_of_pixels([x0, y0, x1, y1]: [f64; 4]) -> Result<Rect> {
    rect([x0.floor(), y0.floor(), x1.floor() + 1.0, y1.floor() + 1.0])
}

fn size_of([width, height]: [f64; 2]) -> Result<Size> {
    if width < 1.0 || height < 1.0 {
        return Err(Error::invalid("a picture without pixels"));
    }
    Ok(Size::new(width as u32, height as u32))
}

/// The first of the folders that exists.
fn folder_of(places: &[PathBuf]) -> Option<PathBuf> {
    places.iter().find(|place| place.is_dir()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_refused() {
        let folder = Path::new("photographs");
        assert_eq!(inside(folder, "a/b.jpg"), Ok(folder.join("a/b.jpg")));
        for name in ["", "../a.jpg", "a/../../b.jpg", "/etc/passwd", ".."] {
            assert!(inside(folder, name).is_err(), "{name}");
        }
    }

    #[test]
    fn numbers_that_are_no_pixels_are_refused() {
        assert_eq!(numbers(&["1", " 2.5"]), Ok([1.0, 2.5]));
        for bad in ["NaN", "inf", "-1", "1e9", "", "one"] {
            assert!(numbers::<1>(&[bad]).is_err(), "{bad}");
        }
        assert!(numbers::<4>(&["1", "2"]).is_err());
    }

    #[test]
    fn a_box_holds_the_pixels_it_touches() {
        assert_eq!(rect([0.5, 2.0, 3.2, 4.0]), Ok(Rect::new(0, 2, 4, 4)));
        assert_eq!(rect_of_pixels([1.0, 2.0, 4.0, 2.0]), Ok(Rect::new(1, 2, 5, 3)));
        assert!(rect([3.0, 0.0, 3.0, 9.0]).is_err());
        assert!(rect_of_pixels([4.0, 2.0, 1.0, 5.0]).is_err());
    }

    #[test]
    fn a_list_that_is_no_text_or_no_file_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.txt");
        assert!(read_text(&path, 9).is_err());
        assert!(read_text(folder.path(), 9).is_err());
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read_text(&path, 9).unwrap_err().to_string().ends_with("the file is not text"));
        std::fs::write(&path, "ten bytes.").unwrap();
        assert!(read_text(&path, 9).unwrap_err().to_string().contains("larger than"));
        assert_eq!(read_text(&path, 10).unwrap(), "ten bytes.");
    }
}
