//! The whole graph below a loss, pulled back in one sweep: rate 1, where nobody looks at errors on
//! their way. Nothing is kept of it but what the sweep needs.

use pc_core::Result;
use tch::Tensor;

use crate::{
    autograd::{Pulls, costless::is_costless, loss, structure::refuse_fused},
    sys::{Nodes, Pull},
};

/// The graph below a loss, measured.
#[derive(Debug)]
pub(crate) struct Whole {
    nodes: Nodes,
    root: (usize, usize),
    one: Tensor,
    /// The operations that are vertices.
    pub(crate) vertices: usize,
    /// The longest path from the loss to one of them, in edges.
    pub(crate) depth: usize,
}

impl Whole {
    /// Takes hold of the graph below `loss`.
    ///
    /// # Errors
    /// A loss that is not one real number, or needs no gradient; TorchScript's fused blocks.
    pub(crate) fn below(loss: &Tensor) -> Result<Self> {
        let one = loss::check(loss)?;
        let mut nodes = Nodes::below(&[loss])?;
        let names = nodes.names();
        names.iter().try_for_each(|name| refuse_fused(name))?;
        let costless: Vec<bool> = names.iter().map(|name| is_costless(name)).collect();
        let (vertices, depth) = nodes.measure(&costless)?;
        let root = loss::root(&nodes, loss)?;
        Ok(Self { nodes, root, one, vertices, depth })
    }

    /// Backprop's gradients, into the leaves' `.grad`. Keeps what nodes saved with `keep`.
    ///
    /// # Errors
    /// What libtorch reports; no `.grad` has been touched then, unless the error comes from a hook
    /// on a leaf itself.
    pub(crate) fn sweep(mut self, keep: bool) -> Result<Pulls> {
        let how = if keep { Pull::LastKept } else { Pull::Last };
        let [vertices, others] = self.nodes.sweep(self.root, self.one, None, how)?;
        self.nodes.accumulate_arrived()?;
        Ok(Pulls { vertices, others })
    }
}
