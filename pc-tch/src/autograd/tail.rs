//! From the loss to the vertices that it drives.

use pc_core::{Error, ErrorKind, Result, VertexId};
use tch::Tensor;

use crate::{
    autograd::{
        Autograd, Pulls, Slots,
        costless::is_costless,
        structure::{NodeRole, Structure},
    },
    sys::{Nodes, Pull},
    tensor::reported,
};

fn misuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misuse, message)
}

/// Takes hold of the graph, and finds its drives.
pub(super) fn build(loss: &Tensor, outputs: &[&Tensor], keep: bool) -> Result<Autograd> {
    if !loss.defined() {
        return Err(misuse("the loss is an undefined tensor"));
    }
    if loss.numel() != 1 {
        return Err(Error::new(
            ErrorKind::Shape,
            format!(
                "the loss has shape {:?}, but must be one number: take its sum or mean",
                loss.size()
            ),
        ));
    }
    if !loss.requires_grad() {
        return Err(misuse(
            "the loss depends on nothing that requires a gradient: were the parameters frozen, the \
             model run under `no_grad`, or the result detached?",
        ));
    }
    let nodes = Nodes::below(&[loss])?;
    let one = loss.f_ones_like().map_err(reported)?;
    let (driven, tail) = ends(&nodes, outputs)?;
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
    graph.sweep_tail(one, &driven)?;
    Ok(graph)
}

/// Which nodes are driven, and which lie between them and the loss.
fn ends(nodes: &Nodes, outputs: &[&Tensor]) -> Result<(Vec<usize>, Vec<bool>)> {
    let list = nodes.list();
    let mut tail = vec![false; list.len()];
    if outputs.is_empty() {
        // The loss itself, unless it is a leaf.
        return Ok((if list[0].leaf { Vec::new() } else { vec![0] }, tail));
    }
    let mut driven = Vec::new();
    for (index, output) in outputs.iter().enumerate() {
        match nodes.find(output)? {
            Some((node, _)) if !list[node].leaf => driven.push(node),
            Some(_) => {
                return Err(misuse(format!("output {index} is a leaf, which nothing predicts")));
            }
            None => return Err(misuse(format!("the loss does not depend on output {index}"))),
        }
    }
    // An output that only passes values on hands its drive further down, so that it costs no step.
    while let Some(place) = driven.iter().position(|node| is_costless(&list[*node].name)) {
        let node = driven.swap_remove(place);
        driven.extend(
            list[node]
                .edges
                .iter()
                .flatten()
                .map(|(target, _)| *target)
                .filter(|target| !list[*target].leaf),
        );
    }
    driven.sort_unstable();
    driven.dedup();
    let mut below = vec![false; list.len()];
    for (index, node) in list.iter().enumerate() {
        let reached = below[index] || driven.contains(&index);
        if below[index] && driven.contains(&index) {
            return Err(misuse(
                "one output feeds another: give it an identity of its own, such as `output * 1.0`",
            )
            .at(&node.name));
        }
        for (target, _) in node.edges.iter().flatten().filter(|_| reached) {
            below[*target] = true;
        }
    }
    for (index, node) in list.iter().enumerate() {
        tail[index] = !below[index] && !driven.contains(&index) && !node.leaf;
    }
    Ok((driven, tail))
}

impl Autograd {
    /// Pulls the loss back to the driven vertices, once.
    fn sweep_tail(&mut self, one: Tensor, driven: &[usize]) -> Result<()> {
        let mut arrived: Vec<Slots> =
            self.nodes.list().iter().map(|node| Slots::zero(node.slots)).collect();
        if let Some(slots) = arrived.first_mut() {
            slots.add(0, &one)?;
        }
        let how = if self.keep { Pull::LastKept } else { Pull::Last };
        for node in 0..arrived.len() {
            if self.structure.roles[node] != NodeRole::Tail {
                continue;
            }
            let cotangents = std::mem::take(&mut arrived[node]);
            let results = self.pull_node(node, cotangents.parts()?, how)?;
            for (result, edge) in results.into_iter().zip(&self.nodes.list()[node].edges) {
                let (Some(result), Some((target, slot))) = (result, *edge) else { continue };
                let passes =
                    matches!(self.structure.roles[target], NodeRole::Tail | NodeRole::Leaf(_))
                        || driven.contains(&target);
                if !passes {
                    return Err(misuse(
                        "the loss depends on it past the outputs that were named: name it too",
                    )
                    .at(&self.nodes.list()[target].name));
                }
                arrived[target].add(slot, &result)?;
            }
        }
        for (parameter, leaf) in self.structure.leaves.iter().enumerate() {
            self.direct[parameter] = std::mem::take(&mut arrived[*leaf]).into_first();
        }
        for node in driven {
            if let Some(vertex) = self.structure.vertex(*node) {
                self.drives.push((VertexId::new(vertex), std::mem::take(&mut arrived[*node])));
            }
        }
        Ok(())
    }
}
