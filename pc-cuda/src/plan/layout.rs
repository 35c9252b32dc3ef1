//! How a cluster lays a net out in shared memory.

use crate::{
    params::SLICE,
    plan::{
        cost,
        shape::{NetShape, Operand, Output},
    },
};

/// Where everything lies in a block's shared memory, counted in floats.
#[derive(Clone, Debug)]
pub(crate) struct ClusterLayout {
    pub(crate) layers: Vec<LayerLayout>,
    pub(crate) signal_at: usize,
    floats: usize,
    blocks: usize,
}

/// One layer's share of a block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LayerLayout {
    pub(crate) rows: usize,
    pub(crate) senders: usize,
    pub(crate) stride: usize,
    pub(crate) groups: usize,
    pub(crate) shift: usize,
    pub(crate) weight_at: usize,
    pub(crate) gather_at: usize,
    pub(crate) partial_at: usize,
    pub(crate) state_at: usize,
    pub(crate) gate_at: usize,
    pub(crate) residual_at: usize,
    pub(crate) scratch_at: usize,
}

/// The distance between rows of `n` numbers, as in `pc_products.cuh`.
fn stride(n: usize) -> usize {
    (n.next_multiple_of(16) + 23) / 32 * 32 + 8
}

/// The rows that a warp takes together in a forward product, as there.
fn group(rows: usize, tensor_cores: bool) -> usize {
    match (tensor_cores, rows % 32) {
        (false, _) => 8,
        (true, 0) => 32,
        (true, _) => 16,
    }
}

/// The warps that share a product, as there.
const WARPS: usize = 8;
/// Room for two signals, 16 bytes apart.
const SIGNALS: usize = 8;

impl ClusterLayout {
    /// For a relaxation from a feed-forward pass, where only the output has an error at the
    /// reference; with `residuals` from anywhere.
    pub(crate) fn new(net: &NetShape, blocks: usize, residuals: bool) -> Self {
        let tensor_cores = net.operand().is_some();
        let count = net.widths.len() - 1;
        let mut floats = 0;
        let mut take = |size: usize| {
            let at = floats;
            floats += size.next_multiple_of(32);
            at
        };
        let mut layers: Vec<LayerLayout> = net.widths[1..]
            .iter()
            .enumerate()
            .map(|(l, n)| {
                let whole = net.live && net.output == Output::CrossEntropy && l + 1 == count;
                let share = if whole { *n } else { n.div_ceil(blocks) };
                LayerLayout {
                    rows: share.next_multiple_of(if tensor_cores { 16 } else { 8 }),
                    ..LayerLayout::default()
                }
            })
            .collect();
        for l in 0..count {
            let rows = layers[l].rows;
            layers[l].groups = rows / group(rows, tensor_cores);
            layers[l].shift = (WARPS / layers[l].groups).max(1).ilog2() as usize;
            layers[l].senders =
                if l + 1 < count { net.widths[l + 2].div_ceil(layers[l + 1].rows) } else { 0 };
            if l > 0 {
                layers[l].stride = stride(net.widths[l]);
                layers[l].weight_at = take(rows.min(net.widths[l + 1]) * layers[l].stride);
                layers[l].gate_at = take(rows * SLICE);
            }
            if l + 1 < count {
                if net.live {
                    layers[l].gather_at = take(SLICE * net.widths[l + 1].next_multiple_of(16));
                }
                layers[l].partial_at =
                    take(if net.live { 1 } else { 2 } * layers[l].senders * rows * SLICE);
            }
            // What cross-entropy drives keeps its prediction, too.
            let entropy = net.live && net.output == Output::CrossEntropy && l + 1 == count;
            layers[l].state_at = take(if entropy { 3 } else { 2 } * rows * SLICE);
            if net.live && (l + 1 == count || residuals) {
                layers[l].residual_at = take(rows * SLICE);
            }
            if net.live && l > 0 {
                layers[l].scratch_at = take((rows * SLICE) << layers[l].shift);
            }
        }
        let signal_at = take(SIGNALS);
        Self { layers, signal_at, floats, blocks }
    }

    pub(crate) fn bytes(&self) -> usize {
        4 * self.floats
    }

    /// Estimated microseconds a step.
    pub(super) fn time(&self, net: &NetShape) -> f64 {
        // Products of bf16 numbers take half of the instructions, but read as much.
        let rate = match net.operand().map(Operand::parts) {
            None => cost::EXACT,
            Some(1) => cost::ROUNDED,
            Some(_) => cost::SPLIT,
        };
        let products = if net.live { 2.0 } else { 1.0 };
        let work: usize =
            (1..self.layers.len()).map(|l| self.layers[l].rows * net.widths[l] * SLICE).sum();
        let barriers = if self.blocks == 1 { 0.1 } else { cost::BARRIER };
        products * (work as f64 / rate + barriers)
    }
}
