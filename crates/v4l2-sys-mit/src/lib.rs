//! Raw bindings to `<linux/videodev2.h>`: a drop-in for the registry's `v4l2-sys-mit`, which runs
//! bindgen, and so needs libclang, at every build.
//!
//! bindgen writes the same file for x86-64, i686, aarch64 and armv7, because what differs between
//! them is behind `c_long` and `usize`. `README.md` has the command.
#![allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    dead_code,
    clippy::all
)] // Generated code keeps the names of the C header.

mod bindings;
pub use bindings::*;
