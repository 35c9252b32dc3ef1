//! What explicit graphs of libtorch's tensors are built and trained with: layers whose weights are
//! those of a `VarStore`, losses, and tch's own optimisers.

mod layers;
mod losses;
mod weights;

pub use layers::{TchLayers, identity};
pub use losses::{CrossEntropy, LossFunction};
pub use weights::StoredWeights;
