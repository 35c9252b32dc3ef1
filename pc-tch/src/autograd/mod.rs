//! libtorch's autograd graph as a network: operations are its vertices, and their pullbacks are
//! there as long as the graph is kept.

mod costless;
mod loss;
mod network;
mod slots;
mod structure;
mod tail;
mod whole;

use pc_core::{Error, ErrorKind, Result, Topology, VertexId};
use tch::Tensor;

use crate::sys::{Nodes, Pull};

pub(crate) use loss::check as check_loss;
pub(crate) use slots::Slots;
use structure::Structure;
pub(crate) use whole::Whole;

fn misuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misuse, message)
}

/// How often nodes were pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pulls {
    /// Vertices.
    pub(crate) vertices: usize,
    /// Nodes that only pass values on, and those between the loss and named outputs.
    pub(crate) others: usize,
}

/// The autograd graph below a loss.
///
/// Inside, an error is held with its sign turned, as `dL/dv = -e`: the recursion is linear and does
/// not care, and libtorch's nodes and hooks see what they see in backprop. A vertex's value is
/// never needed, so a value here is nothing but a place.
#[derive(Debug)]
pub(crate) struct Autograd {
    nodes: Nodes,
    structure: Structure,
    topology: Topology,
    /// Where errors start, and with what; by vertex.
    drives: Vec<(VertexId, Slots)>,
    /// What reaches leaves from between the loss and the driven vertices; by parameter.
    direct: Vec<Option<Tensor>>,
    keep: bool,
    pulls: Pulls,
}

impl Autograd {
    /// The graph below `loss`, driven at its own operation, or at `outputs` where there are any.
    /// Keeps what its nodes saved with `keep`.
    ///
    /// # Errors
    /// A loss that is not one real number, or needs no gradient; outputs that do not stand between
    /// the loss and the rest; TorchScript's fused blocks.
    pub(crate) fn below(loss: &Tensor, outputs: &[&Tensor], keep: bool) -> Result<Self> {
        tail::build(loss, outputs, keep)
    }

    /// Where errors start.
    pub(crate) fn drives(&self) -> &[(VertexId, Slots)] {
        &self.drives
    }

    /// How often nodes have been pulled.
    pub(crate) fn pulls(&self) -> Pulls {
        self.pulls
    }

    /// Puts the gradients into the leaves' `.grad`, each moved in.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(crate) fn accumulate(
        &mut self,
        mut gradients: impl FnMut(usize) -> Option<Tensor>,
    ) -> Result<()> {
        for parameter in 0..self.structure.leaves.len() {
            let mut gradient = gradients(parameter);
            if let Some(direct) = self.direct[parameter].take() {
                crate::sys::add(&mut gradient, &direct)?;
            }
            if let Some(gradient) = gradient {
                self.nodes.accumulate(self.structure.leaves[parameter], gradient)?;
            }
        }
        Ok(())
    }

    /// Pulls a node; where nothing has arrived there is nothing to pull, but for what it saved to
    /// be freed.
    fn pull_node(
        &mut self,
        node: usize,
        cotangents: &[Option<Tensor>],
        how: Pull,
    ) -> Result<Vec<Option<Tensor>>> {
        if cotangents.iter().all(Option::is_none) {
            if how == Pull::Last {
                self.nodes.release(node)?;
            }
            return Ok(self.nodes.list()[node].edges.iter().map(|_| None).collect());
        }
        if self.structure.vertex(node).is_some() {
            self.pulls.vertices += 1;
        } else {
            self.pulls.others += 1;
        }
        self.nodes.pull(node, cotangents, how)
    }

    /// How the last pull of a node is to be made.
    fn last(&self) -> Pull {
        if self.keep { Pull::LastKept } else { Pull::Last }
    }
}
