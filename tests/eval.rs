//! `camlive eval` on small data sets of the demo's photographs.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use camlive::geometry::Rect;
use serde_json::Value;

use common::{camlive, error_lines, photograph, read_npy, stderr, stdout};

/// A photograph with its class, its WordNet id, its name, its size and the thing's first and last pixels.
struct Known {
    file: &'static str,
    class: usize,
    synset: &'static str,
    name: &'static str,
    size: [u32; 2],
    thing: [u32; 4],
}

const KNOWN: [Known; 2] = [
    Known {
        file: "chelsea",
        class: 285,
        synset: "n02124075",
        name: "Egyptian cat",
        size: [451, 300],
        thing: [0, 0, 401, 299],
    },
    Known {
        file: "coffee",
        class: 967,
        synset: "n07920052",
        name: "espresso",
        size: [600, 400],
        thing: [76, 18, 479, 388],
    },
];

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn put_photograph(folder: &Path, known: &Known, name: &str) {
    write(folder, name, fs::read(photograph(known.file)).unwrap());
}

fn commas(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// The lists of `wsolevaluation`, with what is given in the place of each box.
fn wsol_lists(folder: &Path, boxes: impl Fn(&Known) -> String) {
    let list = |line: &dyn Fn(&Known) -> String| -> String {
        KNOWN.iter().map(|known| format!("val/{}.jpg{}\n", known.file, line(known))).collect()
    };
    write(folder, "image_ids.txt", list(&|_| String::new()));
    write(folder, "class_labels.txt", list(&|known| format!(",{}", known.class)));
    write(folder, "image_sizes.txt", list(&|known| format!(",{}", commas(&known.size))));
    write(folder, "localization.txt", list(&|known| format!(",{}", boxes(known))));
}

fn wsol() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    wsol_lists(folder.path(), |known| commas(&known.thing));
    for known in &KNOWN {
        put_photograph(folder.path(), known, &format!("val/{}.jpg", known.file));
    }
    folder
}

/// An XML file whose first pixel is `first`.
fn xml(known: &Known, thing: &str, first: u32) -> String {
    let [width, height] = known.size;
    let [x0, y0, x1, y1] = known.thing.map(|pixel| pixel + first);
    format!(
        "<annotation><filename>{}.jpg</filename><size><width>{width}</width><height>{height}</height></size>\
         <object><name>{thing}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax>\
         <ymax>{y1}</ymax></bndbox></object></annotation>",
        known.file
    )
}

fn ilsvrc(folder: &Path) {
    for known in &KNOWN {
        let name = format!("Annotations/CLS-LOC/val/{}.xml", known.file);
        write(folder, &name, xml(known, known.synset, 0));
        put_photograph(folder, known, &format!("Data/CLS-LOC/val/{}.JPEG", known.file));
    }
}

fn kaggle(folder: &Path) {
    let mut csv = "ImageId,PredictionString\n".to_owned();
    for known in &KNOWN {
        let thing = commas(&known.thing).replace(',', " ");
        csv += &format!("{},{} {thing} \n", known.file, known.synset);
        put_photograph(folder, known, &format!("ILSVRC/Data/CLS-LOC/val/{}.JPEG", known.file));
    }
    write(folder, "LOC_val_solution.csv", csv);
}

fn voc(folder: &Path) {
    for known in &KNOWN {
        write(folder, &format!("Annotations/{}.xml", known.file), xml(known, known.name, 1));
        put_photograph(folder, known, &format!("JPEGImages/{}.jpg", known.file));
    }
}

fn eval(folder: &Path, arguments: &[&str]) -> Output {
    camlive(&["eval", folder.to_str().unwrap()]).args(arguments).output().unwrap()
}

/// The measures of a run that went well.
fn measures(folder: &Path, arguments: &[&str]) -> Value {
    let output = eval(folder, &[arguments, &["--json", "-"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(stdout(&output)).unwrap()
}

#[test]
fn photographs_that_the_network_knows_are_right() {
    let found = measures(wsol().path(), &[]);
    for error in ["cls_top1_error", "cls_top5_error", "loc_top1_error", "loc_top5_error"] {
        assert_eq!(found[error]["value"], 0.0, "{error}");
        assert_eq!(found[error]["ci95"], serde_json::json!([0.0, 0.0]), "{error}");
    }
    for share in ["gt_known", "max_box_acc", "chance_full_frame"] {
        assert_eq!(found[share]["value"], 1.0, "{share}");
    }
    assert!(found["pxap"].is_null());
    assert_eq!((&found["images"], &found["failed"]), (&2.into(), &0.into()));
}

#[test]
fn every_layout_is_found_out_and_gives_the_same() {
    let expected = measures(wsol().path(), &["--layout", "wsol"]);
    for (layout, make) in [("ilsvrc", ilsvrc as fn(&Path)), ("ilsvrc", kaggle), ("voc", voc)] {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        assert_eq!(measures(folder.path(), &[]), expected, "{layout}");
        assert_eq!(measures(folder.path(), &["--layout", layout]), expected, "{layout}");
    }
}

#[test]
fn cub_asks_for_a_network_that_knows_its_classes() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("images.txt", "1 001.Albatross/a.jpg\n"),
        ("image_class_labels.txt", "1 1\n"),
        ("train_test_split.txt", "1 0\n"),
        ("bounding_boxes.txt", "1 0.0 0.0 9.0 9.0\n"),
    ] {
        write(folder.path(), name, text);
    }
    let output = eval(folder.path(), &[]);
    let [line] = error_lines(&output)[..] else { panic!("{}", stderr(&output)) };
    assert!(line.contains("200 classes") && line.contains("--model"), "{line}");
}

#[test]
fn photographs_may_lie_elsewhere() {
    let (lists, photographs) = (tempfile::tempdir().unwrap(), wsol());
    wsol_lists(lists.path(), |known| commas(&known.thing));
    let images = photographs.path().to_str().unwrap();
    assert_eq!(measures(lists.path(), &["--images", images])["images"], 2);
}

#[test]
fn boxes_are_in_the_pixels_of_the_size_that_is_listed() {
    let folder = wsol();
    for known in &KNOWN {
        let small = image::open(photograph(known.file)).unwrap();
        let small = small.resize_exact(227, 227, image::imageops::FilterType::Triangle);
        small.save(folder.path().join(format!("val/{}.jpg", known.file))).unwrap();
    }
    assert_eq!(measures(folder.path(), &[])["gt_known"]["value"], 1.0);
}

#[test]
fn the_result_does_not_depend_on_how_many_photographs_are_scored_at_a_time() {
    let folder = wsol();
    // Boxes that fit badly, so that not all figures are 0 or 1.
    wsol_lists(folder.path(), |known| commas(&[0, 0, known.size[0] / 3, known.size[1] / 2]));
    let expected = measures(folder.path(), &["--threads", "1"]);
    assert_eq!(measures(folder.path(), &["--threads", "2"]), expected);
    assert_eq!(measures(folder.path(), &["--threads", "7"]), expected);
}

#[test]
fn the_options_of_the_network_and_the_thresholds_work() {
    let folder = wsol();
    let options = ["--mapping", "2", "--input-size", "192", "--tight", "0.5", "--loose", "0.1"];
    assert_eq!(measures(folder.path(), &options)["gt_known"]["value"], 1.0);
    assert_eq!(measures(folder.path(), &["--threshold", "0.95"])["gt_known"]["value"], 0.0);
}

#[test]
fn other_options_are_measured_on_the_same_photographs() {
    let folder = wsol();
    let json = measures(folder.path(), &["--against", "--threshold 0.9", "--against", ""]);
    let [strict, same] = &json["against"].as_array().unwrap()[..] else { panic!("{json}") };
    assert_eq!(strict["options"], "--threshold 0.9");
    for other in [strict, same] {
        for measure in ["loc_top1_error", "gt_known", "max_box_acc"] {
            let [of, first] = [other, &json].map(|of| of[measure]["value"].as_f64().unwrap());
            assert_eq!(other["more"][measure]["value"].as_f64(), Some(of - first), "{measure}");
        }
    }
    assert_eq!(strict["gt_known"]["value"], 0.0);
    assert_eq!(same["gt_known"], json["gt_known"]);
}

#[test]
fn other_options_that_cannot_be_used_are_one_line() {
    let folder = wsol();
    let labels = folder.path().join("labels.txt");
    fs::write(&labels, (0..1000).map(|i| format!("thing {i}\n")).collect::<String>()).unwrap();
    let relabelled = format!("--labels '{}'", labels.display());
    for (other, word) in [
        ("--mapping 3", "1, 2 or 4"),
        ("--nonsense", "--nonsense"),
        ("--labels 'a", "quotation mark"),
        (&relabelled, "other classes"),
    ] {
        let output = eval(folder.path(), &["--against", other]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let [line] = error_lines(&output)[..] else { panic!("{}", stderr(&output)) };
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn occlusion_maps_are_highest_where_the_thing_is() {
    let folder = wsol();
    let maps = folder.path().join("maps");
    let json = measures(
        folder.path(),
        &["--maps", "occlusion", "--plain", "--dump-cams", maps.to_str().unwrap()],
    );
    assert_eq!(json["images"], 2);
    for known in &KNOWN {
        let map = read_npy::<f32>(&maps.join(format!("val/{}.jpg.npy", known.file))).values;
        let highest = (0..map.len()).max_by(|&a, &b| map[a].total_cmp(&map[b])).unwrap() as u32;
        let [x, y] = [highest % 224 * known.size[0] / 224, highest / 224 * known.size[1] / 224];
        let [x0, y0, x1, y1] = known.thing;
        assert!((x0..=x1).contains(&x) && (y0..=y1).contains(&y), "{}: {x}, {y}", known.file);
    }
}

#[test]
fn a_missing_or_broken_photograph_is_named_and_counted() {
    let folder = wsol();
    let lists = ["image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt"];
    for (name, fields) in lists.iter().zip(["", ",1", ",9,9", ",0,0,5,5"]) {
        let path = folder.path().join(name);
        let mut text = fs::read_to_string(&path).unwrap();
        for id in ["broken.jpg", "missing.jpg"] {
            text += &format!("{id}{fields}\n");
        }
        // A third is listed, but not its box.
        text += if fields.is_empty() { "unboxed.jpg\n" } else { "" };
        fs::write(&path, text).unwrap();
    }
    let whole = fs::read(photograph("coffee")).unwrap();
    write(folder.path(), "broken.jpg", &whole[..600]);
    let output = eval(folder.path(), &["--json", "-"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told: Vec<_> = stderr(&output).lines().filter(|l| l.starts_with("failed: ")).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for name in ["broken.jpg", "missing.jpg", "unboxed.jpg"] {
        assert_eq!(told.iter().filter(|line| line.contains(name)).count(), 1, "{told:?}");
    }
    let found: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!((&found["images"], &found["failed"]), (&2.into(), &3.into()));
}

#[test]
fn a_broken_annotation_spoils_its_photograph_only() {
    let folder = tempfile::tempdir().unwrap();
    voc(folder.path());
    write(folder.path(), "Annotations/a.xml", "<annotation><object>");
    write(folder.path(), "Annotations/b.xml", xml(&KNOWN[0], "no such thing", 1));
    let output = eval(folder.path(), &["--json", "-"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("a.xml: broken XML"), "{}", stderr(&output));
    assert!(stderr(&output).contains("no class is called `no such thing`"), "{}", stderr(&output));
    let found: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!((&found["images"], &found["failed"]), (&2.into(), &2.into()));
}

#[test]
fn a_data_set_of_which_nothing_can_be_scored_is_one_error() {
    let folder = tempfile::tempdir().unwrap();
    wsol_lists(folder.path(), |known| commas(&known.thing));
    let output = eval(folder.path(), &["--json", "-"]);
    assert_eq!(output.status.code(), Some(1));
    let [line] = error_lines(&output)[..] else { panic!("{}", stderr(&output)) };
    assert!(line.contains("none of the 2 photographs") && line.contains("--images"), "{line}");
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_folder_that_is_no_data_set_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for (path, status) in [(folder.path(), 1), (Path::new("/no/such/folder"), 1)] {
        let output = eval(path, &[]);
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        let [line] = error_lines(&output)[..] else { panic!("{}", stderr(&output)) };
        assert!(line.contains(path.to_str().unwrap()), "{line}");
    }
    let output = eval(folder.path(), &["--layout", "wsol"]);
    assert!(error_lines(&output)[0].contains("image_ids.txt"), "{}", stderr(&output));
    assert_eq!(eval(folder.path(), &["--layout", "hologram"]).status.code(), Some(2));
}

#[test]
fn score_maps_are_written_by_the_names_of_the_photographs() {
    let (folder, maps) = (wsol(), tempfile::tempdir().unwrap());
    measures(folder.path(), &["--dump-cams", maps.path().to_str().unwrap()]);
    for known in &KNOWN {
        let map = read_npy::<f32>(&maps.path().join(format!("val/{}.jpg.npy", known.file)));
        assert_eq!(map.shape, [224, 224]);
        let lowest = map.values.iter().copied().fold(f32::INFINITY, f32::min);
        let highest = map.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!((lowest, highest), (0.0, 1.0));
    }
}

#[test]
fn masks_are_measured_pixel_by_pixel() {
    let folder = wsol();
    wsol_lists(folder.path(), |known| format!("{0}-mask.png,{0}-ignore.png", known.file));
    for Known { file, size: [width, height], thing, .. } in &KNOWN {
        let [x0, y0, x1, y1] = *thing;
        let thing = Rect::new(x0, y0, x1 + 1, y1 + 1);
        let mask = |white: &dyn Fn(u32, u32) -> bool| {
            image::GrayImage::from_fn(*width, *height, |x, y| {
                image::Luma([255 * u8::from(white(x, y))])
            })
        };
        let inside = |x, y| thing.intersection(Rect::new(x, y, x + 1, y + 1)).area() == 1;
        mask(&inside).save(folder.path().join(format!("{file}-mask.png"))).unwrap();
        mask(&|_, _| true).save(folder.path().join(format!("{file}-ignore.png"))).unwrap();
    }
    let found = measures(folder.path(), &[]);
    // Whatever does not belong to the thing is not to count.
    let pxap = found["pxap"]["value"].as_f64().unwrap();
    assert!((pxap - 1.0).abs() < 1e-12, "{pxap}");
    assert!(found["gt_known"].is_null() && found["cls_top1_error"]["value"] == 0.0);

    wsol_lists(folder.path(), |known| format!("{}-mask.png,", known.file));
    let counted = measures(folder.path(), &[])["pxap"]["value"].as_f64().unwrap();
    assert!((0.7..1.0).contains(&counted), "{counted}");
}

#[test]
fn without_json_the_measures_are_a_table() {
    let output = eval(wsol().path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let line = stdout(&output).lines().find(|line| line.starts_with("gt_known")).unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["gt_known", "100.00", "100.00", "to", "100.00"]
    );
    assert!(!stderr(&output).contains('\r'), "no progress without a terminal");
}

#[test]
fn every_measure_is_defined_in_the_help_and_in_the_documentation() {
    let output = camlive(&["eval", "--help"]).output().unwrap();
    let documentation = include_str!("../docs/eval.md");
    for metric in &camlive::eval::report::METRICS {
        assert!(stdout(&output).contains(&format!("\n  {}\n", metric.name)), "{}", metric.name);
        assert!(documentation.contains(&format!("| `{}` |", metric.name)), "{}", metric.name);
    }
}
