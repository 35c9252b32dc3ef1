//! Which kernels relax a net on a device.

use std::fmt;

use pc_core::{Error, ErrorKind, Result};

use crate::{
    device::DeviceProps,
    net::Precision,
    params::{LAYERS, SLICE},
};

/// What a plan is made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetShape {
    /// The widths of the chain, input first.
    pub widths: Vec<usize>,
    /// The samples of a batch.
    pub batch: usize,
    /// Live predictions, or frozen ones.
    pub live: bool,
    /// The precision of the products.
    pub precision: Precision,
    /// Whether any vertex is a relu.
    pub relu: bool,
    /// What the output does.
    pub output: Output,
}

/// What the output of a net does while it relaxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Output {
    /// It is held; or its predictions are frozen, so that what drives it is constant.
    #[default]
    Held,
    /// It follows its live prediction, and the squared error there drives it.
    SquaredError,
    /// It follows its live prediction, and cross-entropy there drives it. A cluster keeps all of
    /// such an output in one block.
    CrossEntropy,
}

impl NetShape {
    /// What its products are made of.
    pub(crate) fn products(&self) -> Products {
        match self.precision {
            Precision::F32 => Products::Full,
            _ if self.live && self.relu => Products::Split,
            Precision::Tf32 | Precision::Bf16 => Products::Rounded,
        }
    }

    /// What grouped products are made of; none where they would have to be full.
    pub(crate) fn operand(&self) -> Option<Operand> {
        let split = self.products() == Products::Split;
        match self.precision {
            Precision::F32 => None,
            Precision::Tf32 => Some(Operand::Tf32 { split }),
            Precision::Bf16 => Some(Operand::Bf16 { split }),
        }
    }
}

/// What products are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Products {
    /// Numbers as they are.
    Full,
    /// Numbers rounded to tf32.
    Rounded,
    /// A rounded part and the rest of every number: three products for one.
    Split,
}

/// The numbers that grouped products are made of; split ones are two numbers each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Tf32 { split: bool },
    Bf16 { split: bool },
}

impl Operand {
    /// The bytes of a number.
    pub(crate) fn size(self) -> usize {
        match self {
            Operand::Tf32 { .. } => 4,
            Operand::Bf16 { .. } => 2,
        }
    }

    /// The products that one takes.
    pub(crate) fn parts(self) -> usize {
        match self {
            Operand::Tf32 { split } | Operand::Bf16 { split } => {
                if split {
                    3
                } else {
                    1
                }
            }
        }
    }
}

/// Which kernels to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// What [`plan`] estimates to be fastest.
    #[default]
    Fastest,
    /// `relax_cluster` with so many blocks a cluster.
    Cluster(
        /// 1, 2, 4, 8 or 16.
        usize,
    ),
    /// `relax_gemm`.
    Gemm,
    /// `relax_graph`.
    Graph,
}

/// The kernel that a plan came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// The whole relaxation in one launch, weights kept in the shared memory of a cluster for each
    /// 8 samples.
    Cluster {
        /// Blocks a cluster.
        blocks: usize,
        /// Clusters in all.
        clusters: usize,
        /// Bytes of shared memory a block.
        shared: usize,
    },
    /// Grouped products: those of all layers in one launch, with errors and moves made of their
    /// sums; recorded once and replayed.
    Gemm {
        /// The most tiles of one launch.
        tiles: usize,
        /// Launches a step.
        launches: usize,
    },
    /// Library products with fused kernels between them, recorded once and replayed.
    Graph {
        /// Launches a step.
        launches: usize,
    },
}

/// A choice of kernel with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    kernel: Kernel,
    reasons: Vec<String>,
}

impl Plan {
    /// What was chosen.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// What was considered, what it would take, and why it was taken or not, one line each.
    pub fn explain(&self) -> String {
        self.reasons.join("\n")
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kernel {
            Kernel::Cluster { blocks, clusters, shared } => {
                write!(
                    f,
                    "relax_cluster: {clusters} clusters of {blocks} blocks, {} KB shared each",
                    shared.div_ceil(1 << 10)
                )
            }
            Kernel::Gemm { tiles, launches } => {
                write!(f, "relax_gemm: {launches} launches a step, of up to {tiles} tiles")
            }
            Kernel::Graph { launches } => write!(f, "relax_graph: {launches} launches a step"),
        }
    }
}

/// Rough costs in microseconds, for choosing between kernels only. They are estimates from data
/// sheets, not measurements.
mod cost {
    /// A cluster barrier, with the exchange before it.
    pub(super) const BARRIER: f64 = 0.8;
    /// A launch inside a recorded graph.
    pub(super) const LAUNCH: f64 = 2.2;
    /// Multiply-adds a multiprocessor does in a microsecond out of shared memory.
    pub(super) const EXACT: f64 = 80e3;
    /// The same in tf32 on tensor cores.
    pub(super) const TF32: f64 = 300e3;
    /// The same with operands split in two.
    pub(super) const SPLIT: f64 = 110e3;
    /// Multiply-adds that a multiprocessor does in a microsecond in a library's products, in full
    /// and in tf32.
    pub(super) const LIBRARY_EXACT: f64 = 180e3;
    pub(super) const LIBRARY_TF32: f64 = 600e3;
    /// The same in grouped products, with operands of two bytes and of four.
    pub(super) const GROUPED_BF16: f64 = 1000e3;
    pub(super) const GROUPED_TF32: f64 = 400e3;
    /// What a tile takes before its first product and after its last.
    pub(super) const TILE: f64 = 2.0;
}

/// Chooses a kernel. A pure function of its arguments: what a device can hold at once is in its
/// properties.
///
/// # Errors
/// A net without a layer, an empty batch or layer.
///
/// # Example
/// ```
/// use pc_cuda::{DeviceProps, Kernel, NetShape, Output, Precision, plan};
/// let widths = vec![784, 512, 512, 10];
/// let net = NetShape {
///     widths,
///     batch: 64,
///     live: true,
///     precision: Precision::Tf32,
///     relu: false,
///     output: Output::Held,
/// };
/// let plan = plan(&net, &DeviceProps::h100())?;
/// assert!(matches!(plan.kernel(), Kernel::Cluster { blocks: 8, .. }));
/// println!("{}", plan.explain());
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn plan(net: &NetShape, device: &DeviceProps) -> Result<Plan> {
    something(net)?;
    let launches = graph_launches(net);
    let mut best = (graph_time(net, device, launches), Kernel::Graph { launches });
    let mut reasons = vec![
        format!("{device}"),
        format!("relax_graph: {launches} launches a step, about {:.1} us", best.0),
    ];
    if net.products() == Products::Split {
        reasons.push(
            "live relus: split products in a cluster and in relax_gemm, full ones elsewhere"
                .to_owned(),
        );
    }
    if net.precision == Precision::Bf16 {
        reasons.push("bf16: operands of relax_gemm; tf32 elsewhere".to_owned());
    }
    match gemm(net, device) {
        None => reasons.push("relax_gemm: not in f32".to_owned()),
        Some((time, kernel)) => {
            if let Kernel::Gemm { tiles, launches } = kernel {
                reasons.push(format!(
                    "relax_gemm: {launches} launches a step, of up to {tiles} tiles, about \
                     {time:.1} us"
                ));
            }
            if time < best.0 {
                best = (time, kernel);
            }
        }
    }
    if net.widths.len() - 1 > LAYERS {
        reasons.push(format!("relax_cluster: not for more than {LAYERS} layers"));
    } else if device.clusters.is_empty() {
        reasons.push(
            "relax_cluster: not on this device, which has no clusters (sm_90 and later)".to_owned(),
        );
    } else {
        for (blocks, resident) in &device.clusters {
            let layout = ClusterLayout::new(net, *blocks, false);
            let clusters = net.batch.div_ceil(SLICE);
            let name = format!("relax_cluster, {blocks} blocks");
            if layout.bytes() > device.shared_memory {
                let (needs, has) = (layout.bytes() >> 10, device.shared_memory >> 10);
                reasons
                    .push(format!("{name}: needs {needs} KB of shared memory a block, of {has}"));
            } else if *resident == 0 {
                reasons.push(format!("{name}: no cluster of that size fits"));
            } else {
                let waves = clusters.div_ceil(*resident);
                let time = waves as f64 * layout.time(net);
                reasons.push(format!(
                    "{name}: {clusters} clusters of which {resident} run at once, {} KB a block, \
                     about {time:.1} us a step",
                    layout.bytes() >> 10
                ));
                if time < best.0 {
                    best = (
                        time,
                        Kernel::Cluster { blocks: *blocks, clusters, shared: layout.bytes() },
                    );
                }
            }
        }
    }
    let plan = Plan { kernel: best.1, reasons };
    let chosen = format!("chosen: {plan}");
    Ok(Plan { reasons: plan.reasons.into_iter().chain([chosen]).collect(), ..plan })
}

/// Whether there is something to relax.
fn something(net: &NetShape) -> Result<()> {
    if net.widths.len() < 2 || net.batch == 0 || net.widths.contains(&0) {
        return Err(Error::new(ErrorKind::Shape, format!("there is nothing to relax in {net:?}")));
    }
    Ok(())
}

fn driven(net: &NetShape) -> bool {
    net.live && net.output != Output::Held
}

/// The launches of a step of `relax_graph`.
fn graph_launches(net: &NetShape) -> usize {
    let layers = net.widths.len() - 1;
    if net.live { 2 * (layers - 1) + 2 + usize::from(driven(net)) } else { layers }
}

/// The multiply-adds of one product of every layer but the first, whose input is held.
fn work(net: &NetShape) -> f64 {
    net.widths[1..].windows(2).map(|pair| (net.batch * pair[0] * pair[1]) as f64).sum()
}

fn graph_time(net: &NetShape, device: &DeviceProps, launches: usize) -> f64 {
    let rate = match net.products() {
        Products::Rounded => cost::LIBRARY_TF32,
        _ => cost::LIBRARY_EXACT,
    };
    let products = if net.live { 2.0 } else { 1.0 };
    let all = device.multiprocessors.max(1) as f64;
    launches as f64 * cost::LAUNCH + products * work(net) / (rate * all)
}

/// The rows and columns of a tile of grouped products, as in `relax_gemm.cu`.
pub(crate) const GEMM_ROWS: usize = 128;
pub(crate) const GEMM_COLUMNS: usize = 64;

/// `relax_gemm` and what a step of it takes; none in full precision.
fn gemm(net: &NetShape, device: &DeviceProps) -> Option<(f64, Kernel)> {
    let operand = net.operand()?;
    let rate = match operand {
        Operand::Bf16 { .. } => cost::GROUPED_BF16,
        Operand::Tf32 { .. } => cost::GROUPED_TF32,
    };
    let all = device.multiprocessors.max(1);
    let down = net.batch.div_ceil(GEMM_ROWS);
    let (mut most, mut time, mut launches) = (0, 0.0, 0);
    for forward in [true, false].into_iter().filter(|forward| net.live || !forward) {
        // A launch of up to so many layers.
        let pairs: Vec<(usize, usize)> = net.widths[1..]
            .windows(2)
            .map(|pair| if forward { (pair[1], pair[0]) } else { (pair[0], pair[1]) })
            .collect();
        for group in pairs.chunks(LAYERS) {
            let tiles: usize =
                group.iter().map(|(columns, _)| down * columns.div_ceil(GEMM_COLUMNS)).sum();
            let longest = group.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
            let each = (GEMM_ROWS * GEMM_COLUMNS * longest * operand.parts()) as f64 / rate;
            time += cost::LAUNCH + cost::TILE + tiles.div_ceil(all) as f64 * each;
            most = most.max(tiles);
            launches += 1;
        }
    }
    if driven(net) {
        // The drive, and what is pulled of it as an operand.
        launches += 2;
        time += 2.0 * cost::LAUNCH;
    }
    Some((time, Kernel::Gemm { tiles: most, launches }))
}

impl Strategy {
    /// The plan for this strategy.
    pub(crate) fn plan(self, net: &NetShape, device: &DeviceProps) -> Result<Plan> {
        match self {
            Strategy::Fastest => plan(net, device),
            Strategy::Gemm => {
                something(net)?;
                let Some((_, kernel)) = gemm(net, device) else {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "relax_gemm: not in f32, for its products run on tensor cores",
                    ));
                };
                Ok(Plan { kernel, reasons: vec!["relax_gemm was asked for".to_owned()] })
            }
            Strategy::Graph => {
                something(net)?;
                let kernel = Kernel::Graph { launches: graph_launches(net) };
                Ok(Plan { kernel, reasons: vec!["relax_graph was asked for".to_owned()] })
            }
            Strategy::Cluster(blocks) => {
                let resident = device.resident_clusters(blocks);
                let layout = ClusterLayout::new(net, blocks, false);
                let refused = |why: &str| {
                    Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("relax_cluster with {blocks} blocks: {why}"),
                    ))
                };
                if resident == 0 {
                    return refused("no such cluster runs on this device");
                }
                if net.widths.len() - 1 > LAYERS || layout.bytes() > device.shared_memory {
                    return refused("the net does not fit");
                }
                let kernel = Kernel::Cluster {
                    blocks,
                    clusters: net.batch.div_ceil(SLICE),
                    shared: layout.bytes(),
                };
                Ok(Plan { kernel, reasons: vec!["relax_cluster was asked for".to_owned()] })
            }
        }
    }
}

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
        let tensor_cores = net.products() != Products::Full;
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
    fn time(&self, net: &NetShape) -> f64 {
        let rate = match net.products() {
            Products::Full => cost::EXACT,
            Products::Rounded => cost::TF32,
            Products::Split => cost::SPLIT,
        };
        let products = if net.live { 2.0 } else { 1.0 };
        let work: usize =
            (1..self.layers.len()).map(|l| self.layers[l].rows * net.widths[l] * SLICE).sum();
        let barriers = if self.blocks == 1 { 0.1 } else { cost::BARRIER };
        products * (work as f64 / rate + barriers)
    }
}
