//! What a network gives for one picture, and the linear head that reads it.

/// The last feature maps, `f_k(x, y)`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    /// Number of units `k`.
    pub channels: usize,
    /// Rows of the map.
    pub height: usize,
    /// Columns of the map.
    pub width: usize,
    /// `height * width * channels` values, rows from the top, the units of a place side by side.
    pub values: Vec<f32>,
}

impl Features {
    /// What the units give at each place, rows from the top.
    ///
    /// # Panics
    /// Where there are no units.
    pub fn places(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.channels)
    }

    /// The map of unit `k`, rows from the top.
    ///
    /// # Panics
    /// Where there is no unit `k`.
    pub fn unit(&self, k: usize) -> impl Iterator<Item = f32> {
        self.places().map(move |units| units[k])
    }
}

/// What a network gives for one picture.
#[derive(Debug, Clone, Default)]
pub struct Activations {
    pub features: Features,
    /// Features of an earlier layer, with finer maps; without channels where the network has none.
    pub early: Features,
    /// `S_c`: one value a class, before softmax.
    pub logits: Vec<f32>,
    /// Softmax of the logits.
    pub scores: Vec<f32>,
}

/// The linear classifier on pooled features.
#[derive(Debug, Clone, PartialEq)]
pub enum Head {
    /// `S_c = sum_k w_k^c F_k + b_c`.
    Linear {
        /// Number of units that every class weighs.
        channels: usize,
        /// `classes * channels` values, class by class.
        weights: Vec<f32>,
    },
    /// One feature map a class (NIN, SqueezeNet): the maps are the class activation maps.
    Identity {
        /// Number of classes, and of feature maps.
        classes: usize,
    },
}

impl Head {
    /// Number of classes.
    pub fn classes(&self) -> usize {
        match self {
            Head::Linear { channels, weights } => weights.len() / channels,
            Head::Identity { classes } => *classes,
        }
    }
}
