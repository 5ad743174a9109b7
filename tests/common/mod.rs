//! What several test files share.
#![allow(dead_code)] // Each test file uses a part of it.

use std::process::{Command, Output};

/// Says why a test cannot run here; fails where nothing may be skipped.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CAMLIVE_NO_SKIP").is_none(), "nothing may be skipped here: {why}");
    println!("SKIPPED: {why}");
}

/// The program under test, without a display.
pub fn camlive(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_camlive"));
    command.args(arguments).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    command
}

/// Standard output as text.
pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text on standard output")
}

/// Standard error as text.
pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text on standard error")
}

/// The lines of standard error that tell of a failure.
pub fn error_lines(output: &Output) -> Vec<&str> {
    stderr(output).lines().filter(|line| line.starts_with("error:")).collect()
}
