//! Vertices and cells that are written once, for the tensors of every backend: sums, products and
//! gates, rearrangements, and the wiring of an LSTM's step and of self-attention.
//!
//! They are made of the operations of [`Tensor`](crate::Tensor) and
//! [`GraphTensor`](crate::backend::GraphTensor), so that a backend has them as soon as it has
//! those. What is its own (linear maps, convolutions, softmax, norms) is in its own crate, and in
//! [`crate::host`] for the host. Each crate shows the vertices here beside its own.
//!
//! # Example
//! ```
//! use pc_core::{Graph, composites::{Concat, Scale, Split, Sum}, host::HostTensor};
//! let mut b = Graph::<HostTensor<f32>>::builder();
//! let (x, y) = (b.input("x", &[3])?, b.input("y", &[3])?);
//! let sum = b.vertex("sum", Box::new(Sum::weighted(&[1.0, -0.5])), &[x, y], &[])?;
//! let twice = b.vertex("twice", Box::new(Scale(2.0)), &[sum], &[])?;
//! let both = b.vertex("both", Box::new(Concat { axis: 0 }), &[x, twice], &[])?;
//! let cut = Split { axis: 0, start: 1, length: 4 };
//! let middle = b.vertex("middle", Box::new(cut), &[both], &[])?;
//! assert_eq!(b.shape(middle)?, [4]);
//! # Ok::<(), pc_core::Error>(())
//! ```

mod arrange;
mod attention;
pub(crate) mod blocks;
mod linear;
mod products;
mod rebuilt;
mod recurrent;
mod shapes;
mod sums;

pub use arrange::{Concat, Reshape, Split, SwapAxes};
pub use attention::{Attention, AttentionMap, AttentionParts, self_attention};
pub use products::{Gated, Product, SumOfProducts};
pub use rebuilt::rebuilt;
pub use recurrent::{Gate, LstmCell, lstm_cell};
pub(crate) use shapes::{common, single};
pub use sums::{AddParameter, Scale, Sum};
pub(crate) use sums::{add_parameter, add_parameter_change, learn_parameter};
