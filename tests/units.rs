//! `camlive units` and `camlive objects` on the demo's photographs and parts of them.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use camlive::frame::Frame;
use camlive::geometry::{Rect, Size};
use camlive::network::activations::Activations;
use camlive::network::{Mapping, ModelOptions, Network};
use camlive::source::still::{photographs, read_photograph};
use camlive::units::{Cutter, highest, search};
use image::imageops::{self, FilterType};
use serde_json::Value;
use tempfile::TempDir;

use common::{camlive, error_lines, photograph, rect, stderr, stdout};

const CAT: usize = 285;

/// The demo's photographs, and parts of them.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, parts) in [
        ("chelsea", [(0, 0, 300, 300), (150, 20, 300, 280), (40, 60, 200, 200)]),
        ("coffee", [(0, 0, 400, 400), (172, 18, 236, 290), (300, 150, 300, 250)]),
    ] {
        fs::copy(photograph(name), folder.path().join(format!("{name}.jpg"))).unwrap();
        let whole = image::open(photograph(name)).unwrap();
        for (i, (x, y, width, height)) in parts.into_iter().enumerate() {
            let part = whole.crop_imm(x, y, width, height);
            part.save(folder.path().join(format!("{name}, part {i}.png"))).unwrap();
        }
    }
    folder
}

/// Writes a JPEG that is cut short.
fn put_broken(folder: &Path) {
    let whole = fs::read(photograph("coffee")).unwrap();
    fs::write(folder.join("broken.jpg"), &whole[..600]).unwrap();
}

fn units(class: &str, images: &Path, out: &Path, more: &[&str]) -> Output {
    let [images, out] = [images, out].map(|path| path.to_str().unwrap());
    camlive(&["units", "--class", class, "--images", images, "--out", out])
        .args(more)
        .output()
        .unwrap()
}

/// The JSON of a run that went well.
fn found(images: &Path, out: &Path, more: &[&str]) -> Value {
    let output = units("Egyptian cat", images, out, more);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    common::read_json(&out.join("units.json"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn units_come_by_weight_and_their_patches_by_activation() {
    let (images, out) = (folder(), tempfile::tempdir().unwrap());
    let table = found(images.path(), out.path(), &["--units", "5", "--patches", "3"]);
    assert_eq!((&table["class"], &table["index"]), (&"Egyptian cat".into(), &CAT.into()));
    assert_eq!((&table["images"], &table["failed"]), (&8.into(), &0.into()));

    let mut network = Network::load(&ModelOptions::default()).unwrap();
    let expected = highest(network.head(), CAT, 5);
    let mut activations = Activations::default();
    let mut frame = Frame::empty();
    assert_eq!(list(&table["units"]).len(), 5);
    for (i, (row, unit)) in list(&table["units"]).iter().zip(expected).enumerate() {
        assert_eq!(row["unit"], unit.number);
        assert_eq!(number(&row["weight"]) as f32, unit.weight);
        assert_eq!(row["rank"], i + 1);
        let patches = list(&row["patches"]);
        assert!(patches.len() <= 3);
        for pair in patches.windows(2) {
            assert!(number(&pair[0]["activation"]) >= number(&pair[1]["activation"]));
            assert_ne!(pair[0]["file"], pair[1]["file"], "one patch a photograph");
        }
        for patch in patches {
            let file = images.path().join(patch["file"].as_str().unwrap());
            read_photograph(&file, &mut frame).unwrap();
            network.prepare(&frame).unwrap();
            network.run(&mut activations).unwrap();
            let highest = activations.features.unit(unit.number).fold(0.0, f32::max);
            assert_eq!(number(&patch["activation"]) as f32, highest);
            let shown = rect(&patch["box"]);
            let [x, y] = [0, 1].map(|i| patch["peak"][i].as_u64().unwrap() as u32);
            assert!((shown.x0..shown.x1).contains(&x) && (shown.y0..shown.y1).contains(&y));
            let Size { width, height } = frame.size;
            assert_eq!(shown.intersection(Rect::new(0, 0, width, height)), shown);
        }
    }
    assert!(list(&table["units"]).iter().any(|row| list(&row["patches"]).len() == 3));
}

#[test]
fn photographs_that_hardly_show_a_unit_are_left_out() {
    let (images, out) = (folder(), tempfile::tempdir().unwrap());
    let patches = |threshold: &str| {
        let table = found(images.path(), out.path(), &["--threshold", threshold]);
        let activations = |row: &Value| -> Vec<f32> {
            list(&row["patches"]).iter().map(|patch| number(&patch["activation"]) as f32).collect()
        };
        list(&table["units"]).iter().map(activations).collect::<Vec<_>>()
    };
    let (all, most, few) = (patches("0"), patches("0.5"), patches("0.75"));
    for (threshold, some) in [(0.5, &most), (0.75, &few)] {
        for (all, some) in all.iter().zip(some) {
            let above = all.iter().filter(|&&value| value > threshold * all[0]).count();
            assert_eq!(some[..], all[..above]);
        }
    }
    let count = |units: &[Vec<f32>]| units.iter().map(Vec::len).sum::<usize>();
    assert!(count(&all) > count(&most) && count(&most) > count(&few));
}

#[test]
fn the_photographs_of_a_unit_are_those_where_it_is_highest() {
    let (images, out) = (folder(), tempfile::tempdir().unwrap());
    let all = found(images.path(), out.path(), &["--patches", "8"]);
    let few = found(images.path(), out.path(), &["--patches", "2"]);
    for (all, few) in list(&all["units"]).iter().zip(list(&few["units"])) {
        let (all, few) = (list(&all["patches"]), list(&few["patches"]));
        assert_eq!(few, &all[..all.len().min(2)]);
    }
}

#[test]
fn a_patch_shows_the_pixels_of_its_photograph_in_a_rim_and_dims_the_rest() {
    let images = folder();
    let files = photographs(images.path()).unwrap();
    let options = ModelOptions { mapping: Mapping::Double, ..Default::default() };
    let load = || Network::load(&options).unwrap();
    let network = load();
    let wanted = highest(network.head(), CAT, 6);
    let found = search(&files, &wanted, 3, vec![load(), load()], &mut |_| {}).unwrap();
    let cutter = Cutter {
        receptive_field: network.receptive_field(),
        input: network.input_size(),
        threshold: 0.5,
        side: 128,
    };
    let (mut shown, mut rim, mut dimmed) = (0, 0, 0);
    for patch in cutter.cut(&files, &found.peaks, 2).unwrap().iter().flatten() {
        let photograph = image::open(&files[patch.photograph]).unwrap().to_rgb8();
        let Rect { x0, y0, x1, y1 } = patch.rect;
        let part = imageops::crop_imm(&photograph, x0, y0, x1 - x0, y1 - y0).to_image();
        let (width, height) = patch.picture.dimensions();
        assert_eq!(width.max(height), 128);
        let part = imageops::resize(&part, width, height, FilterType::Triangle);
        let at = |v: u32, first: u32, end: u32, pixels: u32| (v - first) * pixels / (end - first);
        let peak = (at(patch.peak.x, x0, x1, width), at(patch.peak.y, y0, y1, height));
        assert_eq!(patch.picture.get_pixel(peak.0, peak.1), part.get_pixel(peak.0, peak.1));
        for (pixel, original) in patch.picture.pixels().zip(part.pixels()) {
            if pixel == original {
                shown += 1;
            } else if pixel.0 == [255; 3] {
                rim += 1;
            } else {
                let [r, g, b] = pixel.0;
                assert!(r == g && g == b && r <= *original.0.iter().max().unwrap());
                dimmed += 1;
            }
        }
    }
    assert!(shown > 1000 && dimmed > 1000, "{shown} {dimmed}");
    assert!(rim > 100 && rim < shown / 4, "{rim} of {shown}");
}

/// The fields of each line (RFC 4180, without line breaks in a field).
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let line = |line: &str| {
        let (mut fields, mut quoted) = (vec![String::new()], false);
        let mut characters = line.chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '"' if quoted && characters.peek() == Some(&'"') => {
                    characters.next();
                    fields.last_mut().unwrap().push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                c => fields.last_mut().unwrap().push(c),
            }
        }
        fields
    };
    text.lines().map(line).collect()
}

#[test]
fn the_csv_says_what_the_json_says() {
    let (images, out) = (folder(), tempfile::tempdir().unwrap());
    let table = found(images.path(), out.path(), &[]);
    let lines = parse_csv(&fs::read_to_string(out.path().join("units.csv")).unwrap());
    let names = "unit,weight,rank,patch,file,activation,peak_x,peak_y,x0,y0,x1,y1";
    assert_eq!(lines[0], names.split(',').collect::<Vec<_>>());
    let mut rest = lines[1..].iter();
    for unit in list(&table["units"]) {
        for (i, patch) in list(&unit["patches"]).iter().enumerate() {
            let fields = rest.next().expect("a line a patch");
            assert_eq!(fields.len(), 12);
            let json: Vec<f64> = [&unit["unit"], &unit["weight"], &unit["rank"]]
                .into_iter()
                .chain([&(i + 1).into(), &patch["activation"]])
                .chain(list(&patch["peak"]))
                .chain(list(&patch["box"]))
                .map(number)
                .collect();
            let csv = fields.iter().enumerate().filter(|(column, _)| *column != 4);
            let csv: Vec<f64> = csv.map(|(_, field)| field.parse().unwrap()).collect();
            assert!(json.iter().zip(&csv).all(|(a, b)| (a - b).abs() < 1e-6), "{json:?} {csv:?}");
            assert_eq!(patch["file"], fields[4].as_str());
        }
    }
    assert!(rest.next().is_none());
    assert!(lines.iter().any(|line| line[4].contains(", part")));
}

#[test]
fn a_broken_photograph_is_named_and_counted() {
    let (images, out) = (folder(), tempfile::tempdir().unwrap());
    put_broken(images.path());
    let output = units("Egyptian cat", images.path(), out.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told: Vec<_> = stderr(&output).lines().filter(|l| l.starts_with("failed: ")).collect();
    assert!(matches!(told[..], [line] if line.contains("broken.jpg")), "{told:?}");
    let table = common::read_json(&out.path().join("units.json"));
    assert_eq!((&table["images"], &table["failed"]), (&9.into(), &1.into()));
}

#[test]
fn what_cannot_be_done_is_one_line() {
    let (images, empty, out) =
        (folder(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = |output: Output, status: i32, words: &str| {
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        let [line] = error_lines(&output)[..] else { panic!("{}", stderr(&output)) };
        assert!(line.contains(words), "{line}");
    };
    one(units("cat", empty.path(), out.path(), &[]), 1, "no photographs in this folder");
    one(units("unicorn", images.path(), out.path(), &[]), 2, "unicorn");
    let file = images.path().join("chelsea.jpg");
    one(units("Egyptian cat", images.path(), &file, &[]), 1, "cannot write");
    one(units("Egyptian cat", images.path(), out.path(), &["--units", "0"]), 2, "--units");
    one(units("Egyptian cat", images.path(), out.path(), &["--threshold", "1"]), 2, "--threshold");
    put_broken(empty.path());
    one(units("Egyptian cat", empty.path(), out.path(), &[]), 1, "none of the 1 photographs");
    assert!(out.path().read_dir().unwrap().next().is_none());
}

#[test]
fn the_result_does_not_depend_on_how_many_photographs_are_looked_at_at_a_time() {
    let (images, out) = (folder(), tempfile::tempdir().unwrap());
    let read = |name: &str| fs::read(out.path().join(name)).unwrap();
    found(images.path(), out.path(), &["--threads", "1"]);
    let first = ["units.json", "units.csv", "sheet.png"].map(read);
    found(images.path(), out.path(), &["--threads", "5"]);
    assert!(["units.json", "units.csv", "sheet.png"].map(read) == first);
}

#[test]
fn the_sheet_has_a_row_a_unit_and_takes_the_place_of_the_last() {
    let images = folder();
    let out = tempfile::tempdir().unwrap();
    // A folder that is not there yet.
    let out = out.path().join("new/folder");
    let size = |units: &str, patches: &str| {
        let more = ["--units", units, "--patches", patches, "--threshold", "0"];
        let table = found(images.path(), &out, &more);
        let sheet = image::open(out.join("sheet.png")).unwrap();
        let columns = list(&table["units"]).iter().map(|unit| list(&unit["patches"]).len()).max();
        (sheet.width(), sheet.height(), columns.unwrap() as u32)
    };
    let (few, many) = (size("2", "3"), size("5", "8"));
    let row = (many.1 - few.1) / 3;
    assert!(row > 100 && few.2 == 3 && many.2 > 3);
    assert_eq!(many.0 - few.0, (many.2 - 3) * row);
    let sheet = image::open(out.join("sheet.png")).unwrap().to_rgb8();
    let coloured = sheet.pixels().filter(|p| p.0[0].abs_diff(p.0[2]) > 20).count();
    assert!(coloured > 2000, "{coloured} pixels of photographs");
}

#[test]
fn a_finer_map_has_closer_receptive_fields() {
    let (images, out) = (folder(), tempfile::tempdir().unwrap());
    for (mapping, stride, side) in [("1", 32, 7), ("2", 16, 14)] {
        let table = found(images.path(), out.path(), &["--mapping", mapping]);
        assert_eq!(table["receptive_field"]["down"]["stride"], stride);
        assert_eq!(table["receptive_field"]["across"]["size"], 851);
        assert_eq!(table["map"], serde_json::json!([side, side]));
    }
}

#[test]
fn a_network_with_a_map_a_class_has_one_unit() {
    let (images, out) = (folder(), tempfile::tempdir().unwrap());
    let model = common::networks::folder().join("squeezenet.onnx");
    let output = units("2", images.path(), out.path(), &["--model", model.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let table = common::read_json(&out.path().join("units.json"));
    let [unit] = list(&table["units"]) else { panic!("{table}") };
    assert_eq!(
        (&unit["unit"], &unit["weight"], &unit["rank"]),
        (&2.into(), &1.0.into(), &1.into())
    );
}

/// A thing in an XML file, by its first and last pixels from 1.
fn thing(name: &str, [x0, y0, x1, y1]: [u32; 4]) -> String {
    format!(
        "<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax>\
         <ymax>{y1}</ymax></bndbox></object>"
    )
}

/// Two photographs of an espresso, with what is in them, and one that is not there.
fn annotated() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, file: &str, things: &[String]| {
        let things = things.concat();
        let xml = format!("<annotation><filename>{file}</filename>{things}</annotation>");
        fs::write(folder.path().join(name), xml).unwrap();
    };
    fs::copy(photograph("coffee"), folder.path().join("coffee.jpg")).unwrap();
    let part = image::open(photograph("coffee")).unwrap().crop_imm(60, 0, 440, 400);
    part.save(folder.path().join("part.png")).unwrap();
    let cup = thing("the cup", [173, 19, 408, 308]);
    let corners = [[1, 381, 20, 400], [581, 1, 600, 20]].map(|corner| thing("corner", corner));
    write("a.xml", "coffee.jpg", &[cup, corners[0].clone(), corners[1].clone()]);
    let things = [thing("the cup", [113, 19, 348, 308]), thing("spoon", [280, 200, 340, 300])];
    write("b.xml", "part.png", &things);
    write("c.xml", "missing.jpg", &[thing("spoon", [1, 1, 5, 5])]);
    fs::write(folder.path().join("d.xml"), "<annotation><object>").unwrap();
    folder
}

fn objects(folder: &Path, more: &[&str]) -> Output {
    camlive(&["objects", "--class", "espresso", "--annotations", folder.to_str().unwrap()])
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn objects_are_counted_where_the_map_is_high() {
    let folder = annotated();
    let output = objects(folder.path(), &["--json", "-"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told: Vec<_> = stderr(&output).lines().filter(|l| l.starts_with("failed: ")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("missing.jpg") && told[1].contains("d.xml"), "{told:?}");
    let found: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!((&found["class"], &found["index"]), (&"espresso".into(), &967.into()));
    assert_eq!((&found["images"], &found["failed"]), (&2.into(), &2.into()));
    let objects = list(&found["objects"]);
    assert_eq!(objects.len(), 3);
    let cup =
        serde_json::json!({"name": "the cup", "photographs": 2, "overlapping": 2, "share": 1.0});
    assert_eq!(objects[0], cup);
    let corner =
        serde_json::json!({"name": "corner", "photographs": 1, "overlapping": 0, "share": 0.0});
    assert!(objects[1..].contains(&corner));
}

#[test]
fn without_json_the_objects_are_a_table() {
    let output = objects(annotated().path(), &["--plain", "--threshold", "0.3"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let lines: Vec<_> = stdout(&output).lines().collect();
    assert_eq!(lines[0], "espresso: 2 photographs");
    let names = ["name", "photographs", "overlapping", "share"];
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), names);
    assert_eq!(
        lines[2].split_whitespace().collect::<Vec<_>>(),
        ["the", "cup", "2", "2", "100.0", "%"]
    );
}

#[test]
fn annotations_without_a_photograph_are_one_line() {
    let folder = annotated();
    for name in ["coffee.jpg", "part.png"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let output = objects(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let [line] = error_lines(&output)[..] else { panic!("{}", stderr(&output)) };
    assert!(line.contains("none of the 4 photographs") && line.contains("--images"), "{line}");
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(error_lines(&objects(empty.path(), &[])).len(), 1);
    let photographs = tempfile::tempdir().unwrap();
    fs::copy(photograph("coffee"), photographs.path().join("coffee.jpg")).unwrap();
    let elsewhere = photographs.path().to_str().unwrap();
    assert!(objects(folder.path(), &["--images", elsewhere]).status.success());
}

#[test]
fn the_help_says_what_overlaps() {
    let output = camlive(&["objects", "--help"]).output().unwrap();
    assert!(stdout(&output).contains("at least half of one of its boxes"));
    assert!(include_str!("../docs/units.md").contains("at least half of one of its boxes"));
}
