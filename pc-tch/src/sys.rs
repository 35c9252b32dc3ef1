//! The shim's functions, made safe. All of this crate's `unsafe` is here and
//! in its parts.
#![allow(unsafe_code)]

pub(crate) mod marks;
pub(crate) mod optimizer;

use std::{
    ffi::{CStr, c_char, c_int},
    ptr::{self, NonNull},
};

use pc_core::{Error, ErrorKind, Result};
use tch::Tensor;
use torch_sys::C_tensor;

#[repr(C)]
struct RawGraph {
    _private: [u8; 0],
}

// As shim/pc_tch.h declares them.
unsafe extern "C" {
    fn pc_tch_graph_new(
        roots: *const *mut C_tensor,
        count: usize,
        graph: *mut *mut RawGraph,
    ) -> *mut c_char;
    fn pc_tch_graph_free(graph: *mut RawGraph);
    safe fn pc_tch_live() -> usize;
    fn pc_tch_nodes(graph: *const RawGraph) -> usize;
    fn pc_tch_name(graph: *const RawGraph, node: usize) -> *const c_char;
    fn pc_tch_kind(graph: *const RawGraph, node: usize) -> c_int;
    fn pc_tch_slots(graph: *const RawGraph, node: usize) -> usize;
    fn pc_tch_edges(graph: *const RawGraph, node: usize) -> usize;
    fn pc_tch_edge(
        graph: *const RawGraph,
        node: usize,
        edge: usize,
        target: *mut i64,
        slot: *mut usize,
    );
    fn pc_tch_find(
        graph: *const RawGraph,
        value: *mut C_tensor,
        node: *mut i64,
        slot: *mut usize,
    ) -> *mut c_char;
    fn pc_tch_pull(
        graph: *mut RawGraph,
        node: usize,
        cotangents: *const *mut C_tensor,
        last: c_int,
        release: c_int,
        results: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn pc_tch_release(graph: *mut RawGraph, node: usize) -> *mut c_char;
    fn pc_tch_accumulate(graph: *mut RawGraph, node: usize, gradient: *mut C_tensor)
    -> *mut c_char;
    fn pc_tch_add(sum: *mut *mut C_tensor, x: *mut C_tensor) -> *mut c_char;
    fn pc_tch_axpby(y: *mut *mut C_tensor, a: f64, x: *mut C_tensor, b: f64) -> *mut c_char;
    fn pc_tch_norm_squared(x: *mut C_tensor, norm: *mut f64) -> *mut c_char;
    fn pc_tch_free_text(text: *mut c_char);
}

/// `PC_TCH_LEAF` and `PC_TCH_HOOKED` of the header.
const LEAF: c_int = 1;
const HOOKED: c_int = 2;

/// How many autograd graphs are held just now, over all threads: none between steps, or something
/// leaks.
///
/// # Example
/// ```
/// assert_eq!(pc_tch::live_graphs(), 0);
/// ```
pub fn live_graphs() -> usize {
    pc_tch_live()
}

/// Turns the shim's message, if there is one, into an error.
fn checked(message: *mut c_char) -> Result<()> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a message that is not null is a C string of the shim's, ours until it is given back
    // on the next line.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().trim_end().to_owned();
    // SAFETY: it came from the shim and is given back once.
    unsafe { pc_tch_free_text(message) };
    Err(Error::new(ErrorKind::Backend, text))
}

fn raw(tensor: &Tensor) -> *mut C_tensor {
    // The shim reads tensors through these, and writes to none.
    tensor.as_ptr().cast_mut()
}

fn raw_or_null(tensor: Option<&Tensor>) -> *mut C_tensor {
    tensor.map_or(ptr::null_mut(), raw)
}

/// Gives up a tensor to the shim.
fn into_raw(mut tensor: Tensor) -> *mut C_tensor {
    let handle = tensor.as_mut_ptr();
    std::mem::forget(tensor);
    handle
}

fn from_raw(handle: *mut C_tensor) -> Option<Tensor> {
    // SAFETY: the shim makes its tensors as tch does, by `new`, and gives each out once.
    NonNull::new(handle).map(|handle| unsafe { Tensor::from_ptr(handle.as_ptr()) })
}

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
    pub(crate) name: String,
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
    nodes: Vec<Node>,
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
        let mut held = Self { raw, nodes: Vec::new() };
        // SAFETY: the graph is live, as in every call below; the indices are below the counts that
        // it gave.
        let count = unsafe { pc_tch_nodes(held.raw.as_ptr()) };
        held.nodes = (0..count).map(|node| held.describe(node)).collect();
        Ok(held)
    }

    fn describe(&self, node: usize) -> Node {
        let graph = self.raw.as_ptr();
        let edge = |edge| {
            let (mut target, mut slot) = (-1, 0);
            // SAFETY: node and edge are below the graph's counts, and the shim writes two numbers.
            unsafe { pc_tch_edge(graph, node, edge, &raw mut target, &raw mut slot) };
            usize::try_from(target).ok().map(|target| (target, slot))
        };
        // SAFETY: the node is below the graph's count.
        let (count, kind) = unsafe { (pc_tch_edges(graph, node), pc_tch_kind(graph, node)) };
        Node {
            // SAFETY: as above; the name is a C string that lives as long as the graph and is
            // copied here.
            name: unsafe { CStr::from_ptr(pc_tch_name(graph, node)) }
                .to_string_lossy()
                .into_owned(),
            leaf: kind == LEAF,
            hooked: kind == HOOKED,
            // SAFETY: as above.
            slots: unsafe { pc_tch_slots(graph, node) },
            edges: (0..count).map(edge).collect(),
        }
    }

    /// The nodes.
    pub(crate) fn list(&self) -> &[Node] {
        &self.nodes
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
        let Some(of) = self.nodes.get(node).filter(|of| of.slots == cotangents.len()) else {
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
        if node >= self.nodes.len() {
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
        let Some(of) = self.nodes.get(node).filter(|of| of.leaf) else {
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
fn explained(error: Error, name: &str) -> Error {
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

/// `sum <- sum + x`, in place where nothing else can see the sum.
pub(crate) fn add(sum: &mut Option<Tensor>, x: &Tensor) -> Result<()> {
    // A tensor is held as it is, without a copy, until a second one comes.
    in_place(sum, |handle| {
        // SAFETY: both handles are of live tensors or null; the shim replaces the first by one that
        // is ours.
        unsafe { pc_tch_add(handle, raw(x)) }
    })
}

/// `y <- a y + b x`, in place where nothing else can see `y`; absent tensors are zero.
pub(crate) fn axpby(y: &mut Option<Tensor>, a: f64, x: Option<&Tensor>, b: f64) -> Result<()> {
    in_place(y, |handle| {
        // SAFETY: as in `add`.
        unsafe { pc_tch_axpby(handle, a, raw_or_null(x), b) }
    })
}

/// Lends the shim a handle that it may write to or replace.
fn in_place(
    tensor: &mut Option<Tensor>,
    work: impl FnOnce(*mut *mut C_tensor) -> *mut c_char,
) -> Result<()> {
    let mut handle = tensor.take().map_or(ptr::null_mut(), into_raw);
    let message = work(&raw mut handle);
    *tensor = from_raw(handle);
    checked(message)
}

/// `sum |x|^2`, in f64.
pub(crate) fn norm_squared(x: &Tensor) -> Result<f64> {
    let mut norm = 0.0;
    // SAFETY: the tensor is live, and the shim writes one number.
    checked(unsafe { pc_tch_norm_squared(raw(x), &raw mut norm) })?;
    Ok(norm)
}
