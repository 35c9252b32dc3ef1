//! Rough costs in microseconds, for choosing between kernels only. They are estimates from data
//! sheets; those of libraries' and grouped products are fitted to ten layers of 1024 on an H100,
//! those by warpgroups on an H200.

use crate::{
    device::DeviceProps,
    params::LAYERS,
    plan::{
        products::Products,
        shape::{NetShape, Operand, Output},
    },
    precision::Precision,
};

/// A cluster barrier, with the exchange before it.
pub(super) const BARRIER: f64 = 0.8;
/// A launch inside a recorded graph.
const LAUNCH: f64 = 2.2;
/// Multiply-adds a multiprocessor does in a microsecond out of shared memory.
pub(super) const EXACT: f64 = 80e3;
/// The same of rounded operands on tensor cores.
pub(super) const ROUNDED: f64 = 300e3;
/// The same with operands split in two.
pub(super) const SPLIT: f64 = 110e3;
/// Multiply-adds that a multiprocessor does in a microsecond in a library's products, in full
/// and in tf32; what rounds further is taken to be no faster, for its operands are `f32` in memory.
const LIBRARY_EXACT: f64 = 120e3;
const LIBRARY_ROUNDED: f64 = 220e3;
/// The same in grouped products: by warpgroups, and by warps with operands of two bytes and of
/// four.
const GROUPED_TILES: f64 = 840e3;
const GROUPED_BF16: f64 = 650e3;
const GROUPED_TF32: f64 = 400e3;
/// What a tile takes before its first product and after its last.
const TILE: f64 = 2.0;

fn driven(net: &NetShape) -> bool {
    net.live && net.output != Output::Held
}

/// The launches of a step of `relax_graph`.
pub(super) fn graph_launches(net: &NetShape) -> usize {
    let layers = net.widths.len() - 1;
    if net.live { 2 * (layers - 1) + 2 + usize::from(driven(net)) } else { layers }
}

/// The multiply-adds of one product of every layer but the first, whose input is held.
fn work(net: &NetShape) -> f64 {
    net.widths[1..].windows(2).map(|pair| (net.batch * pair[0] * pair[1]) as f64).sum()
}

/// What a step of `relax_graph` takes.
pub(super) fn graph_time(net: &NetShape, device: &DeviceProps, launches: usize) -> f64 {
    let rate = match net.library() {
        Precision::F32 => LIBRARY_EXACT,
        Precision::Tf32 | Precision::Bf16 => LIBRARY_ROUNDED,
    };
    let products = if net.live { 2.0 } else { 1.0 };
    let all = device.multiprocessors.max(1) as f64;
    launches as f64 * LAUNCH + products * work(net) / (rate * all)
}

/// A step of `relax_gemm`.
pub(super) struct GroupedStep {
    pub(super) time: f64,
    /// The most of one launch.
    pub(super) tiles: usize,
    pub(super) launches: usize,
    pub(super) products: Products,
}

/// What a step of `relax_gemm` takes; none in full precision.
pub(super) fn grouped(net: &NetShape, device: &DeviceProps) -> Option<GroupedStep> {
    let products = Products::new(net, device)?;
    let rate = match products {
        Products::Warpgroups => GROUPED_TILES,
        Products::Warps(Operand::Bf16 { .. }) => GROUPED_BF16,
        Products::Warps(Operand::Tf32 { .. }) => GROUPED_TF32,
    };
    let all = device.multiprocessors.max(1);
    let down = net.batch.div_ceil(products.rows());
    let (mut most, mut time, mut launches) = (0, 0.0, 0);
    for forward in [true, false].into_iter().filter(|forward| net.live || !forward) {
        // A launch of up to so many layers.
        let pairs: Vec<(usize, usize)> = net.widths[1..]
            .windows(2)
            .map(|pair| if forward { (pair[1], pair[0]) } else { (pair[0], pair[1]) })
            .collect();
        for group in pairs.chunks(LAYERS) {
            let tiles: usize =
                group.iter().map(|(columns, _)| down * columns.div_ceil(products.columns())).sum();
            let longest = group.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
            let each =
                (products.rows() * products.columns() * longest * products.parts()) as f64 / rate;
            time += LAUNCH + TILE + tiles.div_ceil(all) as f64 * each;
            most = most.max(tiles);
            launches += 1;
        }
    }
    if driven(net) {
        // The drive, and what is pulled of it as an operand.
        launches += 2;
        time += 2.0 * LAUNCH;
    }
    Some(GroupedStep { time, tiles: most, launches, products })
}
