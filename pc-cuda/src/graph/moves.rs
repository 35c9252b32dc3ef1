//! Launches that several layers share.

use pc_core::Result;

use crate::{
    device::{Address, Arguments, Device, Family, Gemm, Launch, Layout, failed},
    params::{Sums, Swap, Tile},
    precision::Precision,
    tensor::{DeviceTensor, elements, int},
};

/// The threads of a block.
const THREADS: usize = 256;
/// A warp's number for each warp of a block.
const SUMS: usize = 8 * THREADS / 32;

/// Where a tensor lies.
///
/// # Errors
/// Its memory could not be had.
pub(super) fn place(tensor: &DeviceTensor) -> Result<Address> {
    match tensor.address() {
        0 => {
            tensor.device().check()?;
            Err(failed("a tensor has no memory: an earlier allocation failed"))
        }
        address => Ok(address),
    }
}

/// `address`, so many numbers on.
pub(super) fn after(address: Address, numbers: usize) -> Address {
    address + 4 * numbers as u64
}

/// A kernel over so many elements.
pub(super) fn each(
    device: &Device,
    family: Family,
    kernel: &'static str,
    count: usize,
    params: &impl Arguments,
) -> Result<()> {
    device.check()?;
    device.launch(&elements(kernel, family, count), params)
}

/// A kernel with so many blocks and so much shared memory.
pub(super) fn blocks(
    device: &Device,
    (family, kernel): (Family, &'static str),
    (grid, shared): (usize, usize),
    params: &impl Arguments,
) -> Result<()> {
    device.check()?;
    device.launch(&Launch { family, kernel, grid, block: THREADS, cluster: 1, shared }, params)
}

/// A kernel with a warp for each row.
pub(super) fn warps(
    device: &Device,
    kernel: &'static str,
    rows: usize,
    params: &impl Arguments,
) -> Result<()> {
    blocks(device, (Family::Functions, kernel), (rows.div_ceil(THREADS / 32), 0), params)
}

/// A product of the library's, `c [m, n]` of operands with `k` between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub(super) layout: Layout,
    /// `m`, `n`, `k`.
    pub(super) sizes: [usize; 3],
    pub(super) add: bool,
    pub(super) precision: Precision,
}

impl Product {
    pub(super) fn run(self, device: &Device, a: Address, b: Address, c: Address) -> Result<()> {
        let Self { layout, sizes: [m, n, k], add, precision } = self;
        device.check()?;
        device.machine().gemm(&Gemm { layout, m, n, k, a, b, c, add, precision })
    }
}

/// `[outer, a, b, inner]` to `[outer, b, a, inner]`, times `x`.
pub(super) fn swap(
    device: &Device,
    [from, to]: [Address; 2],
    [outer, a, b, inner]: [usize; 4],
    x: f64,
    add: bool,
) -> Result<()> {
    let params = Swap {
        input: from,
        out: to,
        x: x as f32,
        outer: int(outer),
        a: int(a),
        b: int(b),
        inner: int(inner),
        add: i32::from(add),
    };
    each(device, Family::Layers, "pc_layer_swap", outer * a * b * inner, &params)
}

/// Adds `x` times a list to `to`, each of its numbers `inner` times, over and over.
pub(super) fn tile(to: &DeviceTensor, list: &DeviceTensor, inner: usize, x: f64) -> Result<()> {
    let params = Tile {
        a: place(list)?,
        out: place(to)?,
        x: x as f32,
        length: int(list.count()),
        inner: int(inner),
        count: int(to.count()),
    };
    each(to.device(), Family::Layers, "pc_layer_tile", to.count(), &params)
}

/// Adds to a list, by column of `of [outer, columns, inner]`, `x` times its sum, or that of its
/// products with another.
pub(super) fn sums(
    to: &DeviceTensor,
    of: &DeviceTensor,
    times: Option<&DeviceTensor>,
    inner: usize,
    x: f64,
) -> Result<()> {
    let columns = to.count();
    let params = Sums {
        a: place(of)?,
        b: times.map_or(Ok(0), place)?,
        out: place(to)?,
        x: x as f32,
        outer: int(of.count() / (columns * inner).max(1)),
        columns: int(columns),
        inner: int(inner),
    };
    blocks(to.device(), (Family::Layers, "pc_layer_sums"), (columns, SUMS), &params)
}
