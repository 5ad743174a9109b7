//! A picture as it is shown, kept as files.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::canvas::Canvas;
use crate::error::{Error, Result};

/// How many names are tried where files of that time are there already.
const NAMES: u32 = 100;

/// Writes the canvas as PNG and `event` beside it as one line of JSON, in `folder`, named for the
/// time; returns the picture's name. Never overwrites a file, never leaves half of one.
///
/// # Errors
/// The folder cannot be written to, or the disk is full.
pub fn save(
    folder: &Path,
    time: SystemTime,
    canvas: &Canvas,
    event: &serde_json::Value,
) -> Result<String> {
    let (name, picture, json) =
        create(folder, time).map_err(|error| failed(folder, &error.to_string()))?;
    let written = write_picture(picture.1, canvas).and_then(|()| {
        let mut file = json.1;
        writeln!(file, "{event}").map_err(|error| Error::invalid(error.to_string()))
    });
    written.map_err(|error| {
        // Where even removing fails there is nothing left to do.
        _ = fs::remove_file(&picture.0);
        _ = fs::remove_file(&json.0);
        failed(&picture.0, &error.to_string())
    })?;
    Ok(name)
}

type Named = (PathBuf, File);

fn create(folder: &Path, time: SystemTime) -> io::Result<(String, Named, Named)> {
    let time = humantime::format_rfc3339_millis(time).to_string().replace(':', "-");
    let mut number = 1;
    loop {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let name = format!("camlive-{time}{suffix}.png");
        let paths = (folder.join(&name), folder.join(format!("camlive-{time}{suffix}.json")));
        let attempt = File::create_new(&paths.0).and_then(|picture| {
            File::create_new(&paths.1)
                .map(|json| (picture, json))
                .inspect_err(|_| _ = fs::remove_file(&paths.0))
        });
        match attempt {
            Ok((picture, json)) => return Ok((name, (paths.0, picture), (paths.1, json))),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < NAMES => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn write_picture(file: File, canvas: &Canvas) -> Result<()> {
    let mut file = BufWriter::new(file);
    canvas.write_png(&mut file)?;
    file.flush().map_err(|error| Error::invalid(error.to_string()))
}

fn failed(path: &Path, why: &str) -> Error {
    Error::invalid(format!("cannot save the snapshot to {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use serde_json::json;

    fn canvas() -> Canvas {
        let mut canvas = Canvas::default();
        canvas.reshape(Size::new(5, 4));
        canvas
    }

    #[test]
    fn a_snapshot_is_a_picture_and_its_event_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let name =
            save(folder.path(), SystemTime::UNIX_EPOCH, &canvas(), &json!({"frame": 7})).unwrap();
        assert_eq!(name, "camlive-1970-01-01T00-00-00.000Z.png");
        assert_eq!(image::image_dimensions(folder.path().join(&name)).unwrap(), (5, 4));
        let event = folder.path().join("camlive-1970-01-01T00-00-00.000Z.json");
        assert_eq!(fs::read_to_string(event).unwrap(), "{\"frame\":7}\n");
    }

    #[test]
    fn a_file_that_is_there_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("camlive-1970-01-01T00-00-00.000Z.json");
        fs::write(&old, "mine").unwrap();
        let name = save(folder.path(), SystemTime::UNIX_EPOCH, &canvas(), &json!(1)).unwrap();
        assert_eq!(name, "camlive-1970-01-01T00-00-00.000Z-2.png");
        assert_eq!(fs::read_to_string(&old).unwrap(), "mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let error = save(&gone, SystemTime::UNIX_EPOCH, &canvas(), &json!(1)).unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
    }
}
