//! The nodes of an autograd graph.

use std::{
    cell::OnceCell,
    ffi::{CStr, c_int},
    ptr::{self, NonNull},
    rc::Rc,
};

use pc_core::{Error, ErrorKind, Result};
use tch::Tensor;
use torch_sys::C_tensor;

#[allow(clippy::wildcard_imports)] // As in the module above.
use super::ffi::*;
use super::{checked, from_raw, into_raw, raw, raw_or_null};

/// `PC_TCH_LEAF` and `PC_TCH_HOOKED` of the header.
const LEAF: c_int = 1;
const HOOKED: c_int = 2;

/// Which work a pull is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pull {
    /// The node will be pulled again.
    Again,
    /// With the final errors, so that hooks which must run once do; what the node saved stays.
    LastKept,
    /// As [`Pull::LastKept`], and what the node saved is freed.
    Last,
}

/// A node of the autograd graph.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The operation's name, as libtorch gives it.
    pub(crate) name: Rc<str>,
    /// Whether it puts gradients into the `.grad` of a leaf.
    pub(crate) leaf: bool,
    /// Whether hooks of the user's want to see its final cotangents.
    pub(crate) hooked: bool,
    /// How many tensors the operation returned, each with its cotangent.
    pub(crate) slots: usize,
    /// Where the gradients of its inputs go: a node and a slot there.
    pub(crate) edges: Vec<Option<(usize, usize)>>,
}

/// The nodes of an autograd graph below some tensors, held. They are numbered in the order in which
/// backprop would run them.
#[derive(Debug)]
pub(crate) struct Nodes {
    raw: NonNull<RawGraph>,
    /// Made where somebody asks: a sweep of the whole graph does not.
    nodes: OnceCell<Vec<Node>>,
}

impl Nodes {
    /// Takes hold of the graph below `roots`.
    ///
    /// # Errors
    /// A root that is undefined or needs no gradient.
    pub(crate) fn below(roots: &[&Tensor]) -> Result<Self> {
        let handles: Vec<*mut C_tensor> = roots.iter().map(|root| raw(root)).collect();
        let mut graph = ptr::null_mut();
        // SAFETY: the handles are of live tensors, as many as said, and the shim writes one
        // pointer.
        checked(unsafe { pc_tch_graph_new(handles.as_ptr(), handles.len(), &raw mut graph) })?;
        let raw = NonNull::new(graph)
            .ok_or_else(|| Error::new(ErrorKind::Backend, "the shim made no graph"))?;
        Ok(Self { raw, nodes: OnceCell::new() })
    }

    fn describe(&self) -> Vec<Node> {
        let graph = self.raw.as_ptr();
        let names = self.names();
        // SAFETY: the graph is live, as in every call below.
        let (nodes, edges) = unsafe { (pc_tch_nodes(graph), pc_tch_edges(graph)) };
        let (mut name, mut kind, mut slots) =
            (vec![0_usize; nodes], vec![0 as c_int; nodes], vec![0_usize; nodes]);
        let (mut first, mut targets, mut target_slots) =
            (vec![0_usize; nodes + 1], vec![0_i64; edges], vec![0_usize; edges]);
        // SAFETY: there is room for every node, one more for where edges begin, and for every edge.
        unsafe {
            pc_tch_describe(
                graph,
                name.as_mut_ptr(),
                kind.as_mut_ptr(),
                slots.as_mut_ptr(),
                first.as_mut_ptr(),
                targets.as_mut_ptr(),
                target_slots.as_mut_ptr(),
            );
        }
        let node = |node: usize| Node {
            name: Rc::clone(&names[name[node]]),
            leaf: kind[node] == LEAF,
            hooked: kind[node] == HOOKED,
            slots: slots[node],
            edges: (first[node]..first[node + 1])
                .map(|edge| {
                    usize::try_from(targets[edge]).ok().map(|target| (target, target_slots[edge]))
                })
                .collect(),
        };
        (0..nodes).map(node).collect()
    }

    /// Each name that a node has, once.
    pub(crate) fn names(&self) -> Vec<Rc<str>> {
        let graph = self.raw.as_ptr();
        // SAFETY: the graph is live.
        let count = unsafe { pc_tch_names(graph) };
        let name = |name| {
            // SAFETY: the name is below the graph's count, and a C string that lives as long as the
            // graph and is copied here.
            let text = unsafe { CStr::from_ptr(pc_tch_name(graph, name)) };
            Rc::from(text.to_string_lossy().into_owned())
        };
        (0..count).map(name).collect()
    }

    /// The nodes.
    pub(crate) fn list(&self) -> &[Node] {
        self.nodes.get_or_init(|| self.describe())
    }

    /// How many vertices the graph has below its one root, and how deep it is, where `costless`
    /// says of each name whether such nodes only pass values on.
    ///
    /// # Errors
    /// Not a flag for each name.
    pub(crate) fn measure(&mut self, costless: &[bool]) -> Result<(usize, usize)> {
        let flags: Vec<u8> = costless.iter().map(|flag| u8::from(*flag)).collect();
        // SAFETY: the graph is live.
        if flags.len() != unsafe { pc_tch_names(self.raw.as_ptr()) } {
            return Err(Error::new(ErrorKind::Misuse, "not a flag for each name"));
        }
        let (mut vertices, mut depth) = (0, 0);
        // SAFETY: there is a flag for each name, and the shim writes two numbers.
        unsafe {
            pc_tch_measure(self.raw.as_ptr(), flags.as_ptr(), &raw mut vertices, &raw mut depth);
        }
        Ok((vertices, depth))
    }

    /// One reverse sweep from a cotangent at a node, as backprop makes it: pulls every operation
    /// that `pulled` selects (all, where there is none) and at which something arrives. What
    /// arrives elsewhere is left for [`Nodes::arrived`]. How many vertices were pulled, and how
    /// many nodes that only pass on.
    ///
    /// # Errors
    /// As [`Nodes::pull`].
    pub(crate) fn sweep(
        &mut self,
        (node, slot): (usize, usize),
        cotangent: Tensor,
        pulled: Option<&[bool]>,
        how: Pull,
    ) -> Result<[usize; 2]> {
        // SAFETY: the graph is live.
        let count = unsafe { pc_tch_nodes(self.raw.as_ptr()) };
        if node >= count || pulled.is_some_and(|pulled| pulled.len() != count) {
            return Err(Error::new(ErrorKind::Misuse, "the sweep does not fit its graph"));
        }
        let pulled: Option<Vec<u8>> =
            pulled.map(|pulled| pulled.iter().map(|flag| u8::from(*flag)).collect());
        let mut counts = [0; 3];
        // SAFETY: the node is below the graph's count, flags are null or one for each node, the
        // cotangent's handle is given up to the shim, which writes three numbers.
        let message = unsafe {
            pc_tch_sweep(
                self.raw.as_ptr(),
                node,
                slot,
                into_raw(cotangent),
                pulled.as_ref().map_or(ptr::null(), |flags| flags.as_ptr()),
                c_int::from(how != Pull::Again),
                c_int::from(how == Pull::Last),
                counts.as_mut_ptr(),
            )
        };
        let [vertices, others, last] = counts;
        checked(message).map_err(|error| {
            explained(error, self.list().get(last).map_or("a node", |node| &node.name))
        })?;
        Ok([vertices, others])
    }

    /// Adds what the last sweep has left at leaves to their `.grad`, as [`Nodes::accumulate`].
    ///
    /// # Errors
    /// What libtorch reports.
    pub(crate) fn accumulate_arrived(&mut self) -> Result<()> {
        // SAFETY: the graph is live.
        checked(unsafe { pc_tch_accumulate_arrived(self.raw.as_ptr()) })
            .map_err(|error| explained(error, "a leaf"))
    }

    /// Takes what the last sweep has left in a slot of a node.
    pub(crate) fn arrived(&mut self, node: usize, slot: usize) -> Option<Tensor> {
        // SAFETY: the graph is live; the shim checks both numbers, and gives the tensor up.
        from_raw(unsafe { pc_tch_arrived(self.raw.as_ptr(), node, slot) })
    }

    /// The node that made a tensor, and as which of its outputs.
    ///
    /// # Errors
    /// What libtorch reports of a view whose base was changed in place.
    pub(crate) fn find(&self, tensor: &Tensor) -> Result<Option<(usize, usize)>> {
        let (mut node, mut slot) = (-1, 0);
        // SAFETY: graph and tensor are live, and the shim writes two numbers.
        checked(unsafe {
            pc_tch_find(self.raw.as_ptr(), raw(tensor), &raw mut node, &raw mut slot)
        })?;
        Ok(usize::try_from(node).ok().map(|node| (node, slot)))
    }

    /// Pulls cotangents, one for each slot, back through a node, and returns what arrives at each
    /// of its edges. The results may share memory with the cotangents, with one another and with
    /// the model's tensors.
    ///
    /// # Errors
    /// What libtorch reports: a graph that has been freed, a saved tensor that was changed in
    /// place.
    pub(crate) fn pull(
        &mut self,
        node: usize,
        cotangents: &[Option<Tensor>],
        how: Pull,
    ) -> Result<Vec<Option<Tensor>>> {
        let Some(of) = self.list().get(node).filter(|of| of.slots == cotangents.len()) else {
            return Err(Error::new(
                ErrorKind::Misuse,
                format!("{} cotangents do not fit node {node}", cotangents.len()),
            ));
        };
        let handles: Vec<*mut C_tensor> =
            cotangents.iter().map(|cotangent| raw_or_null(cotangent.as_ref())).collect();
        let mut results = vec![ptr::null_mut(); of.edges.len()];
        let (last, release) = (c_int::from(how != Pull::Again), c_int::from(how == Pull::Last));
        // SAFETY: the node is below the graph's count; there is a handle, of a live tensor or null,
        // for each of its slots and room for a result for each of its edges.
        let message = unsafe {
            pc_tch_pull(
                self.raw.as_ptr(),
                node,
                handles.as_ptr(),
                last,
                release,
                results.as_mut_ptr(),
            )
        };
        let results = results.into_iter().map(from_raw).collect();
        checked(message).map_err(|error| explained(error, &of.name))?;
        Ok(results)
    }

    /// Frees what a node saved for its pull.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(crate) fn release(&mut self, node: usize) -> Result<()> {
        if node >= self.list().len() {
            return Ok(());
        }
        // SAFETY: the node is below the graph's count.
        checked(unsafe { pc_tch_release(self.raw.as_ptr(), node) })
    }

    /// Adds a gradient to the `.grad` of a leaf, by libtorch's own rules of layout and
    /// accumulation.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(crate) fn accumulate(&mut self, node: usize, gradient: Tensor) -> Result<()> {
        let Some(of) = self.list().get(node).filter(|of| of.leaf) else {
            return Err(Error::new(ErrorKind::Misuse, format!("node {node} is no leaf")));
        };
        // SAFETY: the node is below the graph's count, and the gradient's handle is given up to the
        // shim.
        checked(unsafe { pc_tch_accumulate(self.raw.as_ptr(), node, into_raw(gradient)) })
            .map_err(|error| explained(error, &of.name))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // SAFETY: the graph is live and ours alone.
        unsafe { pc_tch_graph_free(self.raw.as_ptr()) };
    }
}

/// Says which node it was, and what to do about the commonest two.
pub(super) fn explained(error: Error, name: &str) -> Error {
    let message = error.to_string();
    let hint = if message.contains("second time") {
        "the graph below this loss was freed by an earlier backward pass: keep it with \
         `keep_graph`, or run the model again. "
    } else if message.contains("modified by an inplace operation") {
        "a tensor that the pullback needs was changed in place after the forward pass. "
    } else {
        ""
    };
    Error::new(ErrorKind::Backend, format!("{hint}libtorch says: {message}")).at(name)
}
