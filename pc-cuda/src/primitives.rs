//! Comparing devices bit by bit: every call of the kernels' device layer, run with the same inputs,
//! as numbers.
//!
//! A machine with a GPU runs [`outputs`] on it and on the host layer, whose emulation all other
//! tests rest on; they have to agree in every bit.

use pc_core::Result;

use crate::{
    device::{Device, Family, Launch},
    params,
    tensor::{DeviceTensor, int},
};

/// What one kernel made of its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Which calls it makes.
    pub name: &'static str,
    /// Its numbers, as bits.
    pub bits: Vec<u32>,
}

/// Runs every primitive that the device has: those of clusters only where it has clusters.
///
/// # Errors
/// What the device reports.
///
/// # Example
/// ```
/// # #[cfg(feature = "simulation")] {
/// use pc_cuda::{Device, Simulation, primitives::outputs};
/// let orders = [0, 1].map(|seed| Device::simulated(&Simulation::new(seed)));
/// let [one, other] = orders;
/// assert_eq!(outputs(&one?)?, outputs(&other?)?);
/// # }
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn outputs(device: &Device) -> Result<Vec<Output>> {
    // Numbers of every size and both signs, those at the edges of the exponential's pieces among
    // them.
    let mut inputs: Vec<f32> = (0..4096i32).map(|i| ((i - 2048) as f32) * 0.0137).collect();
    inputs.extend(
        (-60..12).flat_map(|power| [2f32.powi(power), -2f32.powi(power), 1.3 * 2f32.powi(power)]),
    );
    inputs.extend([0.0, -0.0, 87.0, -87.0, 86.999, 88.0, 0.346_573_6, -0.346_573_6]);
    let mut found = vec![run(
        device,
        "pc_check_math",
        "exponentials, activations, tf32, division, roots",
        &inputs,
        9 * inputs.len(),
        4,
        1,
    )?];
    let small: Vec<f32> = (0..64).map(|i| i as f32 - 20.0).collect();
    found.push(run(
        device,
        "pc_check_warp",
        "asynchronous copies, shuffles, products of fragments",
        &small,
        640,
        1,
        1,
    )?);
    for blocks in [2, 4, 8] {
        if device.props().resident_clusters(blocks) > 0 {
            found.push(run(
                device,
                "pc_check_cluster",
                "clusters: ranks, barriers, peers' memory",
                &small,
                64 * blocks,
                blocks,
                blocks,
            )?);
        }
    }
    Ok(found)
}

fn run(
    device: &Device,
    kernel: &'static str,
    name: &'static str,
    inputs: &[f32],
    outputs: usize,
    grid: usize,
    cluster: usize,
) -> Result<Output> {
    let input = DeviceTensor::new(device, &[inputs.len()], inputs)?;
    let out = DeviceTensor::zeroed(device, &[outputs])?;
    let params = params::Primitives {
        input: input.address(),
        out: out.address(),
        count: int(inputs.len()),
        unused: 0,
    };
    let launch =
        Launch { family: Family::Primitives, kernel, grid, block: 64, cluster, shared: 256 };
    device.launch(&launch, &params)?;
    Ok(Output { name, bits: out.numbers()?.into_iter().map(f32::to_bits).collect() })
}
