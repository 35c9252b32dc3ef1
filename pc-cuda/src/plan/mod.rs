//! Which kernels relax a net on a device.

mod cost;
mod layout;
mod products;
mod shape;

use std::fmt;

use cost::GroupedStep;
use pc_core::{Error, ErrorKind, Result};

use crate::{
    device::DeviceProps,
    params::{LAYERS, SLICE},
    precision::Precision,
};

pub use shape::{NetShape, Output};

pub(crate) use layout::ClusterLayout;
pub(crate) use products::Products;
pub(crate) use shape::Operand;

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
        /// Whether warpgroups multiply (`wgmma`: bf16 on devices of capability 9.0), not warps.
        warpgroups: bool,
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
            Kernel::Gemm { tiles, launches, warpgroups } => write!(
                f,
                "relax_gemm: {launches} launches a step, of up to {tiles} tiles by {}",
                multiply(*warpgroups)
            ),
            Kernel::Graph { launches } => write!(f, "relax_graph: {launches} launches a step"),
        }
    }
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
    let launches = cost::graph_launches(net);
    let mut best = (cost::graph_time(net, device, launches), Kernel::Graph { launches });
    let mut reasons = vec![
        format!("{device}"),
        format!("relax_graph: {launches} launches a step, about {:.1} us", best.0),
    ];
    if net.operand().is_some_and(|operand| operand.parts() > 1) {
        reasons.push(
            "live relus: split products in a cluster and in relax_gemm, full ones elsewhere"
                .to_owned(),
        );
    }
    if net.precision == Precision::Bf16 {
        reasons.push(
            "bf16: estimated as tf32 but in relax_gemm, which alone keeps operands in two bytes"
                .to_owned(),
        );
    }
    match cost::grouped(net, device) {
        None => reasons.push("relax_gemm: not in f32".to_owned()),
        Some(GroupedStep { time, tiles, launches, products }) => {
            let warpgroups = products == Products::Warpgroups;
            reasons.push(format!(
                "relax_gemm: {launches} launches a step, of up to {tiles} tiles by {}, about \
                 {time:.1} us",
                multiply(warpgroups)
            ));
            if time < best.0 {
                best = (time, Kernel::Gemm { tiles, launches, warpgroups });
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

/// What multiplies.
fn multiply(warpgroups: bool) -> &'static str {
    if warpgroups { "warpgroups" } else { "warps" }
}

/// Whether there is something to relax.
fn something(net: &NetShape) -> Result<()> {
    if net.widths.len() < 2 || net.batch == 0 || net.widths.contains(&0) {
        return Err(Error::new(ErrorKind::Shape, format!("there is nothing to relax in {net:?}")));
    }
    Ok(())
}

impl Strategy {
    /// The plan for this strategy.
    pub(crate) fn plan(self, net: &NetShape, device: &DeviceProps) -> Result<Plan> {
        match self {
            Strategy::Fastest => plan(net, device),
            Strategy::Gemm => {
                something(net)?;
                let Some(GroupedStep { tiles, launches, products, .. }) =
                    cost::grouped(net, device)
                else {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "relax_gemm: not in f32, for its products run on tensor cores",
                    ));
                };
                let warpgroups = products == Products::Warpgroups;
                let kernel = Kernel::Gemm { tiles, launches, warpgroups };
                Ok(Plan { kernel, reasons: vec!["relax_gemm was asked for".to_owned()] })
            }
            Strategy::Graph => {
                something(net)?;
                let kernel = Kernel::Graph { launches: cost::graph_launches(net) };
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
