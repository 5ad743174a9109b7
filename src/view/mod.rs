//! Drawing, and the window that shows it.

pub mod canvas;
pub mod colormap;
pub mod draw;
mod heat;
mod keys;
mod panel;
mod screen;
pub mod sheet;
mod snapshot;
pub mod text;
pub mod window;
