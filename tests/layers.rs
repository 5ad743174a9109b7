//! The import rule: a file imports only from layers above its own.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of each layer, from the top.
const LAYERS: [&[&str]; 7] = [
    &["error", "geometry", "frame", "clock"],
    &["int8", "source"],
    &["network"],
    &["localize"],
    &["pipeline"],
    &["view", "eval", "units"],
    &["cli"],
];

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|modules| modules.contains(&module))
        .unwrap_or_else(|| panic!("{module} is in no layer; lib.rs and this test name them all"))
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The modules named as `crate::module`, also in `use crate::{a, b}`.
fn imports(code: &str) -> Vec<String> {
    let name = |text: &str| {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut modules: Vec<String> = Vec::new();
    for text in code.split("crate::").skip(1) {
        match text.strip_prefix('{') {
            None => modules.push(name(text)),
            Some(list) => {
                let mut depth = 0;
                let items = list.split(|c| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    depth == 0 && c == ','
                });
                modules.extend(items.take_while(|item| !item.trim().starts_with('}')).map(name));
            }
        }
    }
    modules.retain(|module| !module.is_empty());
    modules
}

#[test]
fn files_import_only_from_layers_above_their_own() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for file in rust_files(&source) {
        let inside = file.strip_prefix(&source).unwrap();
        let first = inside.iter().next().unwrap().to_str().unwrap();
        let module = first.strip_suffix(".rs").unwrap_or(first);
        if module == "lib" || module == "main" {
            continue;
        }
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            let allowed = import == module || layer(&import) < layer(module) || layer(module) == 0;
            assert!(allowed, "{} imports {import}", inside.display());
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} imports were found");
}
