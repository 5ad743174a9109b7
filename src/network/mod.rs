//! A classifier that ends in global pooling and a linear head: what it takes in and what it gives.

pub mod activations;
