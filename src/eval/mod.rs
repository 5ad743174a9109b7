//! How good the boxes are: the measures of the paper, and those of `wsolevaluation`, over a data set.
//!
//! [`data`] reads annotations, [`run`] scores photographs with the network and the localizer that
//! run on a camera, and [`report`] defines the measures, in [`METRICS`](report::METRICS). [`objects`]
//! asks which annotated objects a class's maps lie on.
//!
//! # Source
//! Zhou et al., CVPR 2016, section 3.2: localization errors, GT-known localization at 20 % of the
//! maximum, the five boxes of the test set. Choe et al.: Evaluating Weakly Supervised Object
//! Localization Methods Right, CVPR 2020: MaxBoxAcc, MaxBoxAccV2, PxAP.

pub mod bootstrap;
pub mod contours;
pub mod data;
pub mod objects;
pub mod occlusion;
pub mod outcome;
pub mod pixels;
pub mod report;
pub mod run;
pub mod score_map;
