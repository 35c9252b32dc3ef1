//! The shim's functions, as shim/pc_tch.h declares and describes them.

use std::ffi::{c_char, c_int};

use torch_sys::C_tensor;

#[repr(C)]
pub(super) struct RawGraph {
    _private: [u8; 0],
}

unsafe extern "C" {
    pub(super) fn pc_tch_graph_new(
        roots: *const *mut C_tensor,
        count: usize,
        graph: *mut *mut RawGraph,
    ) -> *mut c_char;
    pub(super) fn pc_tch_graph_free(graph: *mut RawGraph);
    pub(super) safe fn pc_tch_live() -> usize;
    pub(super) fn pc_tch_nodes(graph: *const RawGraph) -> usize;
    pub(super) fn pc_tch_edges(graph: *const RawGraph) -> usize;
    pub(super) fn pc_tch_names(graph: *const RawGraph) -> usize;
    pub(super) fn pc_tch_name(graph: *const RawGraph, name: usize) -> *const c_char;
    pub(super) fn pc_tch_describe(
        graph: *const RawGraph,
        names: *mut usize,
        kinds: *mut c_int,
        slots: *mut usize,
        first: *mut usize,
        targets: *mut i64,
        target_slots: *mut usize,
    );
    pub(super) fn pc_tch_measure(
        graph: *mut RawGraph,
        costless: *const u8,
        vertices: *mut usize,
        depth: *mut usize,
    );
    pub(super) fn pc_tch_find(
        graph: *const RawGraph,
        value: *mut C_tensor,
        node: *mut i64,
        slot: *mut usize,
    ) -> *mut c_char;
    pub(super) fn pc_tch_pull(
        graph: *mut RawGraph,
        node: usize,
        cotangents: *const *mut C_tensor,
        last: c_int,
        release: c_int,
        results: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn pc_tch_sweep(
        graph: *mut RawGraph,
        node: usize,
        slot: usize,
        cotangent: *mut C_tensor,
        pulled: *const u8,
        last: c_int,
        release: c_int,
        counts: *mut usize,
    ) -> *mut c_char;
    pub(super) fn pc_tch_accumulate_arrived(graph: *mut RawGraph) -> *mut c_char;
    pub(super) fn pc_tch_arrived(graph: *mut RawGraph, node: usize, slot: usize) -> *mut C_tensor;
    pub(super) fn pc_tch_gradients(
        output: *mut C_tensor,
        cotangent: *mut C_tensor,
        leaves: *const *mut C_tensor,
        count: usize,
        results: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn pc_tch_check_function(output: *mut C_tensor) -> *mut c_char;
    pub(super) fn pc_tch_position(like: *mut C_tensor, position: *mut u64) -> *mut c_char;
    pub(super) fn pc_tch_set_grad(x: *mut C_tensor, gradient: *mut C_tensor) -> *mut c_char;
    pub(super) fn pc_tch_release(graph: *mut RawGraph, node: usize) -> *mut c_char;
    pub(super) fn pc_tch_accumulate(
        graph: *mut RawGraph,
        node: usize,
        gradient: *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn pc_tch_add(sum: *mut *mut C_tensor, x: *mut C_tensor) -> *mut c_char;
    pub(super) fn pc_tch_axpby(
        y: *mut *mut C_tensor,
        a: f64,
        x: *mut C_tensor,
        b: f64,
    ) -> *mut c_char;
    pub(super) fn pc_tch_norm_squared(x: *mut C_tensor, norm: *mut f64) -> *mut c_char;
    pub(super) fn pc_tch_free_text(text: *mut c_char);
}
