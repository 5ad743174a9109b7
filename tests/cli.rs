//! The command line as a user meets it.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use camlive::geometry::Rect;
use camlive::int8::Isa;
use camlive::source::demo;
use common::{camlive, error_lines, photograph, rect, stderr, stdout};
use serde_json::Value;

#[test]
fn the_demo_gives_one_event_a_frame_and_its_known_boxes() {
    let output = camlive(&["run", "demo", "--view", "none", "--frames", "100", "--events", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let events: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 100);
    let mut met = 0;
    for event in &events {
        let truth = demo::truth(event["frame"].as_u64().unwrap());
        let found = event["detections"].as_array().unwrap().iter();
        let found = found.filter(|d| d["class"] == truth.label);
        met += u32::from(found.map(|d| rect(&d["box"])).any(|r| r.iou(truth.rect) >= 0.5));
        assert_eq!(event["size"], serde_json::json!([640, 480]));
        assert!(event["age_ms"].as_f64().unwrap() > 0.0);
    }
    assert!(met >= 90, "{met} of 100 known boxes were met");
    let last = &events[99];
    let first = events[0]["frame"].as_u64().unwrap();
    let passed = last["frame"].as_u64().unwrap() - first + 1;
    assert_eq!(last["dropped"].as_u64().unwrap(), passed - 100, "each frame is seen or counted");
}

#[test]
fn photographs_give_their_class_and_box() {
    for (name, class, known) in
        [("chelsea", "Egyptian cat", (0, 0, 402, 300)), ("coffee", "espresso", (76, 18, 480, 389))]
    {
        let output = camlive(&["image", &photograph(name), "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let line: Value = serde_json::from_str(stdout(&output)).unwrap();
        assert_eq!(line["file"], photograph(name).as_str());
        assert_eq!(line["detections"][0]["class"], class);
        let found = rect(&line["detections"][0]["box"]);
        assert!(
            found.iou(Rect::new(known.0, known.1, known.2, known.3)) >= 0.5,
            "{name}: {found:?}"
        );
    }
}

#[test]
fn maps_and_overlays_are_written_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (cam, overlay) = (folder.path().join("cam.npy"), folder.path().join("out.png"));
    let output = camlive(&["image", &photograph("coffee"), "--top", "2"])
        .arg("--cam")
        .arg(&cam)
        .arg("--overlay")
        .arg(&overlay)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let maps = npyz::NpyFile::new(std::fs::File::open(cam).unwrap()).unwrap();
    assert_eq!(maps.shape(), [2, 7, 7]);
    let drawn = image::open(overlay).unwrap();
    let plain = image::open(photograph("coffee")).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (plain.width(), plain.height()));
    assert_ne!(drawn.to_rgb8(), plain.to_rgb8());
}

#[test]
fn a_folder_takes_one_overlay_a_photograph() {
    let folder = tempfile::tempdir().unwrap();
    let output = camlive(&["image", &photograph("coffee"), &photograph("chelsea"), "--overlay"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        folder.path().join("coffee.png").exists() && folder.path().join("chelsea.png").exists()
    );
}

#[test]
fn a_broken_photograph_is_named_and_the_others_are_analysed() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.jpg");
    let whole = std::fs::read(photograph("coffee")).unwrap();
    std::fs::write(&broken, &whole[..600]).unwrap();
    let output = camlive(&["image", broken.to_str().unwrap(), &photograph("coffee"), "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output).lines().count(), 1);
    let errors = error_lines(&output);
    assert!(errors[0].contains("broken.jpg"), "{errors:?}");
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn a_silly_option_is_one_line_and_status_2() {
    for arguments in [
        &["run", "--frames", "0"][..],
        &["run", "--threshold", "1.5"],
        &["run", "--view", "hologram"],
        &["run", "--backend", "abacus"],
        &["run", "--mapping", "3"],
        &["run", "--threads", "0"],
        &["run", "demo", "--class", "no such thing", "--view", "none"],
        &["run", "--duration", "-3"],
        &["image"],
        &["image", "a.jpg", "--mean", "1,2"],
        &["dance"],
        &["--nonsense"],
    ] {
        let output = camlive(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert_eq!(error_lines(&output).len(), 1, "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
}

#[test]
fn the_doctor_tells_of_cameras_backends_instruction_sets_and_the_network() {
    let output = camlive(&["doctor"]).env("CAMLIVE_ISA", "scalar").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    for expected in ["Cameras", "tract", "scalar  (chosen)", "1000 classes", "in int8 on scalar"] {
        assert!(stdout(&output).contains(expected), "{expected}: {}", stdout(&output));
    }
}

#[test]
fn an_instruction_set_that_the_machine_lacks_is_one_line_with_those_it_has() {
    let photograph = photograph("coffee");
    let mut command = camlive(&["image", &photograph]);
    let output = command.env("CAMLIVE_ISA", "abacus").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let [line] = error_lines(&output)[..] else { panic!("{}", stderr(&output)) };
    assert!(line.contains("abacus") && line.contains("scalar"), "{line}");
}

#[test]
fn every_instruction_set_and_number_of_threads_finds_the_same() {
    let photograph = photograph("coffee");
    let run = |isa: Isa, threads: &str| {
        let mut command = camlive(&["image", &photograph, "--json", "--threads", threads]);
        let output = command.env("CAMLIVE_ISA", isa.name()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).to_owned()
    };
    let expected = run(Isa::Scalar, "1");
    for isa in Isa::available() {
        for threads in ["1", "3"] {
            assert_eq!(run(isa, threads), expected, "{isa}, {threads} threads");
        }
    }
}

#[test]
fn a_finer_mapping_finds_the_same_thing() {
    let photograph = photograph("coffee");
    for mapping in ["1", "2", "4"] {
        let output =
            camlive(&["image", &photograph, "--json", "--mapping", mapping]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let line: Value = serde_json::from_str(stdout(&output)).unwrap();
        assert_eq!(line["detections"][0]["class"], "espresso");
        let found = rect(&line["detections"][0]["box"]);
        assert!(found.iou(Rect::new(76, 18, 480, 389)) >= 0.5, "--mapping {mapping}: {found:?}");
    }
}

#[test]
fn a_backend_that_was_not_compiled_in_names_its_feature() {
    for (backend, feature) in [
        ("ort", (!cfg!(feature = "ort")).then_some("ort")),
        ("ort-cuda", (!cfg!(feature = "cuda")).then_some("cuda")),
        ("ort-tensorrt", (!cfg!(feature = "tensorrt")).then_some("tensorrt")),
    ] {
        let Some(feature) = feature else { continue };
        for command in [&["run", "demo"][..], &["image", &photograph("coffee")], &["bench"]] {
            let output = camlive(command).args(["--backend", backend]).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{command:?}: {}", stderr(&output));
            let [line] = error_lines(&output)[..] else { panic!("{}", stderr(&output)) };
            let advice = format!("--features {feature}`");
            assert!(line.contains(backend) && line.contains(&advice), "{line}");
        }
    }
}

#[test]
fn a_source_that_is_not_there_is_one_line() {
    for source in ["/dev/video99", "no/such/file.mp4", "/dev/null", "37"] {
        let output = camlive(&["run", source, "--view", "none"]).output().unwrap();
        assert_ne!(output.status.code(), Some(0), "{source}");
        let [line] = error_lines(&output)[..] else { panic!("{source}: {}", stderr(&output)) };
        assert!(line.contains(source), "{source}: {line}");
    }
}

#[test]
fn a_full_disk_ends_the_run_with_one_line() {
    let output =
        camlive(&["run", "demo", "--view", "none", "--events", "/dev/full"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let [line] = error_lines(&output)[..] else { panic!("{}", stderr(&output)) };
    assert!(line.contains("/dev/full") && line.contains("space"), "{line}");
}

#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    let mut child = camlive(&["run", "demo", "--view", "none", "--events", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with("}\n"), "{line}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(error_lines(&output), [""; 0]);
}

#[test]
fn events_are_appended_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    std::fs::write(&file, "kept\n").unwrap();
    let output = camlive(&["run", "demo", "--view", "none", "--frames", "2", "--events"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("kept\n{") && text.lines().count() == 3, "{text}");
}

#[test]
fn a_run_ends_after_its_duration() {
    let output = camlive(&["run", "demo", "--view", "none", "--duration", "0.5"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn without_a_display_auto_says_so_and_goes_on() {
    let output = camlive(&["run", "demo", "--frames", "1"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("without a window"), "{}", stderr(&output));
}

#[test]
fn bench_reports_every_stage_that_was_measured_as_json() {
    for (only, stages) in
        [(&[][..], &["prepare", "network", "localize"][..]), (&["--network-only"], &["network"])]
    {
        let output = camlive(&["bench", "--duration", "1", "--json", "-"]).args(only).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let report: Value = serde_json::from_str(stdout(&output)).unwrap();
        for percentile in ["p50", "p95", "p99"] {
            assert!(report["network_ms"][percentile].as_f64().unwrap() > 0.0);
            for stage in ["prepare", "network", "localize"] {
                let measured = report["stages"][stage][percentile].as_f64();
                assert_eq!(measured.is_some_and(|ms| ms > 0.0), stages.contains(&stage), "{stage}");
            }
        }
        assert!(report["fps"].as_f64().unwrap() > 0.0);
        assert_eq!(report["backend"], "tract");
        assert_eq!(report["input_size"], 224);
        assert_eq!(report["map"], serde_json::json!([7, 7]));
    }
}

#[test]
fn bench_tells_the_operators_times_on_request() {
    let arguments =
        ["bench", "--network-only", "--operators", "--duration", "0.5", "--threads", "1"];
    let output = camlive(&arguments).args(["--json", "-"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_str(stdout(&output)).unwrap();
    let operators = report["operators"].as_array().unwrap();
    let milliseconds: f64 = operators.iter().map(|row| row["ms"].as_f64().unwrap()).sum();
    assert!(milliseconds > 0.0);
    let [.., pool, linear] = &operators[..] else { panic!("{operators:?}") };
    // Without kernels for this processor tract's own operators run.
    if report["isa"].is_string() {
        assert_eq!(pool["operator"], "GlobalAveragePool");
        assert_eq!(linear["output"], serde_json::json!([1, 1000]));
        assert_eq!(linear["macs"], 1_280_000);
        assert!(linear["share_of_peak"].as_f64().unwrap() > 0.0);
    }
    let table = camlive(&arguments).output().unwrap();
    assert!(stdout(&table).contains("GMAC/s"), "{}", stdout(&table));
}

#[cfg(unix)]
#[test]
fn a_request_to_end_that_comes_twice_ends_the_run_well() {
    let mut run = camlive(&["run", "demo", "--view", "none", "--events", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut event = String::new();
    BufReader::new(run.stdout.as_mut().unwrap()).read_line(&mut event).unwrap();
    let id = run.id().to_string();
    let twice = format!("kill -INT {id}; kill -INT {id}");
    assert!(std::process::Command::new("sh").args(["-c", &twice]).status().unwrap().success());
    assert!(run.wait().unwrap().success());
}
