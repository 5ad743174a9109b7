//! Finds things in a live camera picture with a network that was never shown a box.
//!
//! An image classifier that ends in global average pooling adds up, for each class, how much
//! evidence its last feature maps hold at every place. Not added up, the same sum is a map of where
//! the evidence lies: the class activation map, `M_c(x, y) = sum_k w_k^c f_k(x, y)`. Its highest
//! part is boxed. (Zhou, Khosla, Lapedriza, Oliva, Torralba: Learning Deep Features for
//! Discriminative Localization, CVPR 2016.)
//!
//! # The way of the data
//!
//! The modules stand in layers, and data goes down through them; a file imports only from layers
//! above its own.
//!
//! 0. [`error`], [`geometry`], [`frame`], [`clock`] are the words that everything speaks. An error
//!    is one line and a hint what to do next; a [`Frame`](frame::Frame) is an RGB picture that
//!    knows when it was taken.
//! 1. [`int8`] holds the operators of a quantized network, for several instruction sets. They compute
//!    bit for bit what ONNX Runtime computes, and know nothing of graphs: a
//!    [`Convolution`](int8::Convolution) is built once and run on bytes, channels last, by a
//!    [`Team`](int8::Team) of threads.
//! 1. [`source`] fills frames: cameras, videos, photographs, the demo. A
//!    [`Source`](source::Source) never blocks for long, so that whoever reads it can always stop.
//! 2. [`network`] loads an ONNX classifier, finds its head in the graph, and turns a frame into
//!    [`Activations`](network::activations::Activations): feature maps, logits, scores. tract runs
//!    the graph, with operators of [`int8`] in the place of its quantized part; or ONNX Runtime does,
//!    where the program is built with it.
//! 3. [`localize`] turns activations into boxes: map, spread among places that look alike, upsampling,
//!    threshold, connected components.
//! 4. [`pipeline`] joins a source and a network by threads. At each hand-off of a live source the
//!    newest frame wins; what is lost on the way is counted by gaps in the frames' numbers. Frames
//!    go round and are filled again.
//! 5. [`view`] draws frames with what was found in them, shows them in a window, and draws contact
//!    sheets.
//! 5. [`eval`] measures how good the boxes are on a data set, as the paper does, and tells which
//!    annotated objects the maps lie on.
//! 5. [`units`] shows what the units that a class weighs most stand for.
//! 6. [`cli`] is the command line, one file a subcommand.

#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]

pub mod cli;
pub mod clock;
pub mod error;
pub mod eval;
pub mod frame;
pub mod geometry;
pub mod int8;
pub mod localize;
pub mod network;
pub mod pipeline;
pub mod source;
pub mod units;
pub mod view;
