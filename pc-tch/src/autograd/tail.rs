//! From the loss to the vertices that it drives.

use pc_core::{Result, VertexId};
use tch::Tensor;

use crate::{
    autograd::{
        Autograd, Pulls, Slots,
        costless::is_costless,
        loss, misuse,
        structure::{NodeRole, Structure},
    },
    sys::Nodes,
};

/// Takes hold of the graph, and finds its drives.
pub(super) fn build(loss: &Tensor, outputs: &[&Tensor], keep: bool) -> Result<Autograd> {
    let one = loss::check(loss)?;
    let nodes = Nodes::below(&[loss])?;
    let Ends { driven, tail } = Ends::new(&nodes, outputs)?;
    let structure = Structure::new(nodes.list(), &tail, &driven)?;
    let topology = structure.topology(nodes.list())?;
    let direct = structure.leaves.iter().map(|_| None).collect();
    let mut graph = Autograd {
        nodes,
        structure,
        topology,
        drives: Vec::new(),
        direct,
        keep,
        pulls: Pulls::default(),
    };
    let root = loss::root(&graph.nodes, loss)?;
    graph.sweep_tail(root, one, &tail, &driven)?;
    Ok(graph)
}

/// By node: whether it is driven, and whether it lies between such nodes and the loss.
struct Ends {
    driven: Vec<bool>,
    tail: Vec<bool>,
}

impl Ends {
    fn new(nodes: &Nodes, outputs: &[&Tensor]) -> Result<Self> {
        let list = nodes.list();
        let (mut driven, mut tail) = (vec![false; list.len()], vec![false; list.len()]);
        if outputs.is_empty() {
            // The loss itself, unless it is a leaf.
            if let (Some(first), Some(root)) = (driven.first_mut(), list.first()) {
                *first = !root.leaf;
            }
            return Ok(Self { driven, tail });
        }
        for (index, output) in outputs.iter().enumerate() {
            match nodes.find(output)? {
                Some((node, _)) if !list[node].leaf => driven[node] = true,
                Some(_) => {
                    return Err(misuse(format!(
                        "output {index} is a leaf, which nothing predicts"
                    )));
                }
                None => return Err(misuse(format!("the loss does not depend on output {index}"))),
            }
        }
        // An output that only passes values on hands its drive further down, so that it costs no
        // step. Nodes come before those that they lead to.
        for (index, node) in list.iter().enumerate() {
            if driven[index] && is_costless(&node.name) {
                driven[index] = false;
                for (target, _) in node.edges.iter().flatten() {
                    driven[*target] |= !list[*target].leaf;
                }
            }
        }
        let mut below = vec![false; list.len()];
        for (index, node) in list.iter().enumerate() {
            if below[index] && driven[index] {
                return Err(misuse(
                    "one output feeds another: give it an identity of its own, such as \
                     `output * 1.0`",
                )
                .at(&node.name));
            }
            let reached = below[index] || driven[index];
            for (target, _) in node.edges.iter().flatten().filter(|_| reached) {
                below[*target] = true;
            }
        }
        for (index, node) in list.iter().enumerate() {
            tail[index] = !below[index] && !driven[index] && !node.leaf;
        }
        Ok(Self { driven, tail })
    }
}

impl Autograd {
    /// Pulls the loss back to the driven vertices, once.
    fn sweep_tail(
        &mut self,
        (root, slot): (usize, usize),
        one: Tensor,
        tail: &[bool],
        driven: &[bool],
    ) -> Result<()> {
        let how = self.last();
        self.pulls.others +=
            self.nodes.sweep((root, slot), one, Some(tail), how)?.iter().sum::<usize>();
        let list = self.nodes.list();
        let past = list.iter().zip(tail).filter(|(_, tail)| **tail);
        let mut past: Vec<(usize, usize)> = past
            .flat_map(|(node, _)| node.edges.iter().flatten().copied())
            .filter(|(target, _)| !tail[*target] && !driven[*target] && !list[*target].leaf)
            .collect();
        past.sort_unstable();
        past.dedup();
        for (target, slot) in past {
            if self.nodes.arrived(target, slot).is_some() {
                return Err(misuse(
                    "the loss depends on it past the outputs that were named: name it too",
                )
                .at(&self.nodes.list()[target].name));
            }
        }
        for (parameter, leaf) in self.structure.leaves.iter().enumerate() {
            self.direct[parameter] = self.nodes.arrived(*leaf, 0);
        }
        for (node, role) in self.structure.roles.iter().enumerate() {
            if let (true, NodeRole::Vertex(vertex)) = (driven[node], role) {
                let slots = self.nodes.list()[node].slots;
                let parts = (0..slots).map(|slot| self.nodes.arrived(node, slot)).collect();
                self.drives.push((VertexId::new(*vertex), Slots::new(parts)));
            }
        }
        Ok(())
    }
}
