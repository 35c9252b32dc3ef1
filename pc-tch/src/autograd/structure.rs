//! What each node of an autograd graph is to the relaxation, and what leads where.

use pc_core::{Error, ErrorKind, ParamId, Result, Topology, VertexId, backend::Prediction};

use crate::{autograd::costless::is_costless, sys::Node};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeRole {
    /// An operation, which is a vertex.
    Vertex(usize),
    /// A node that only passes values on.
    Costless,
    /// A leaf, which is a parameter.
    Leaf(usize),
    /// A node between the loss and the driven vertices, done with before relaxation.
    Tail,
}

/// One edge into a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    pub(super) from: usize,
    pub(super) edge: usize,
    pub(super) slot: usize,
}

/// Refuses the nodes that cannot be pulled one by one.
///
/// # Errors
/// This is one of them.
pub(super) fn refuse_fused(name: &str) -> Result<()> {
    if name.contains("DifferentiableGraph") {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "TorchScript has fused operations into one block, whose pullback is another graph: \
             call `tch::jit::set_graph_executor_optimize(false)` before the module first runs on \
             this thread, or run the model unscripted",
        )
        .at(name));
    }
    Ok(())
}

/// The roles of the nodes, and what follows from them.
#[derive(Debug)]
pub(super) struct Structure {
    pub(super) roles: Vec<NodeRole>,
    /// The node of each vertex.
    pub(super) vertices: Vec<usize>,
    /// The node of each parameter.
    pub(super) leaves: Vec<usize>,
    /// The edges into each node, in the order in which backprop would sum them.
    pub(super) incoming: Vec<Vec<Incoming>>,
    /// Whether a vertex is reached from a node: the node itself, or through nodes that only pass
    /// on.
    pub(super) to_vertex: Vec<bool>,
    /// Whether a leaf is.
    pub(super) to_leaf: Vec<bool>,
}

impl Structure {
    /// Gives every node its role. `tail` are done with already, `driven` are vertices whatever they
    /// do.
    ///
    /// # Errors
    /// Nodes that cannot be pulled one by one.
    pub(super) fn new(nodes: &[Node], tail: &[bool], driven: &[bool]) -> Result<Self> {
        let count = nodes.len();
        let (mut roles, mut vertices, mut leaves) =
            (Vec::with_capacity(count), Vec::new(), Vec::new());
        for (index, node) in nodes.iter().enumerate() {
            refuse_fused(&node.name)?;
            roles.push(if tail[index] {
                NodeRole::Tail
            } else if node.leaf {
                leaves.push(index);
                NodeRole::Leaf(leaves.len() - 1)
            } else if is_costless(&node.name) && !driven[index] {
                NodeRole::Costless
            } else {
                vertices.push(index);
                NodeRole::Vertex(vertices.len() - 1)
            });
        }
        let mut incoming = vec![Vec::new(); count];
        for (from, node) in
            nodes.iter().enumerate().filter(|(from, _)| roles[*from] != NodeRole::Tail)
        {
            for (edge, target) in node.edges.iter().enumerate() {
                if let Some((target, slot)) = *target {
                    incoming[target].push(Incoming { from, edge, slot });
                }
            }
        }
        let (mut to_vertex, mut to_leaf) = (vec![false; count], vec![false; count]);
        for (index, node) in nodes.iter().enumerate().rev() {
            let reached =
                |which: &[bool]| node.edges.iter().flatten().any(|(target, _)| which[*target]);
            (to_vertex[index], to_leaf[index]) = match roles[index] {
                NodeRole::Vertex(_) => (true, false),
                NodeRole::Leaf(_) => (false, true),
                NodeRole::Costless => (reached(&to_vertex), reached(&to_leaf)),
                NodeRole::Tail => (false, false),
            };
        }
        Ok(Self { roles, vertices, leaves, incoming, to_vertex, to_leaf })
    }

    pub(super) fn is_costless(&self, node: usize) -> bool {
        self.roles[node] == NodeRole::Costless
    }

    /// The vertex that a node is.
    pub(super) fn vertex(&self, node: usize) -> Option<usize> {
        if let NodeRole::Vertex(vertex) = self.roles[node] { Some(vertex) } else { None }
    }

    /// Whether something of a node's pull goes where `which` leads.
    pub(super) fn leads(&self, node: &Node, which: &[bool]) -> bool {
        node.edges.iter().flatten().any(|(target, _)| which[*target])
    }

    /// Vertices and predictions: a vertex is predicted from those that its node reaches through
    /// nodes that only pass on.
    pub(super) fn topology(&self, nodes: &[Node]) -> Result<Topology> {
        // For every node that only passes on, the vertices and parameters behind it.
        let mut behind: Vec<(Vec<VertexId>, Vec<ParamId>)> =
            vec![(Vec::new(), Vec::new()); nodes.len()];
        for (index, node) in nodes.iter().enumerate().rev() {
            if matches!(self.roles[index], NodeRole::Tail | NodeRole::Leaf(_)) {
                continue;
            }
            let (mut parents, mut parameters) = (Vec::new(), Vec::new());
            for (target, _) in node.edges.iter().flatten() {
                match self.roles[*target] {
                    NodeRole::Vertex(vertex) => parents.push(VertexId::new(vertex)),
                    NodeRole::Leaf(parameter) => parameters.push(ParamId::new(parameter)),
                    // What nobody else asks for is moved: a concatenation of concatenations would
                    // else hold one list for each, every one longer than the last.
                    NodeRole::Costless if self.incoming[*target].len() == 1 => {
                        let (mut more, mut those) = std::mem::take(&mut behind[*target]);
                        if more.len() > parents.len() {
                            std::mem::swap(&mut parents, &mut more);
                        }
                        parents.append(&mut more);
                        parameters.append(&mut those);
                    }
                    NodeRole::Costless => {
                        parents.extend_from_slice(&behind[*target].0);
                        parameters.extend_from_slice(&behind[*target].1);
                    }
                    NodeRole::Tail => {}
                }
            }
            parents.sort_unstable();
            parents.dedup();
            parameters.sort_unstable();
            parameters.dedup();
            behind[index] = (parents, parameters);
        }
        let names =
            self.vertices.iter().map(|node| format!("{} #{node}", nodes[*node].name)).collect();
        let parameter_names = (0..self.leaves.len()).map(|leaf| format!("leaf {leaf}")).collect();
        let predictions = self.vertices.iter().enumerate().map(|(vertex, node)| {
            let (parents, parameters) = std::mem::take(&mut behind[*node]);
            Prediction::new(VertexId::new(vertex), parents, parameters)
        });
        Topology::new(names, parameter_names, predictions.collect())
    }
}
