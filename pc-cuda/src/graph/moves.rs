//! Launches that several layers share.

use pc_core::Result;

use crate::{
    device::{Address, Arguments, Device, Family, Gemm, Launch, Layout, failed},
    params::{self, Sums, Swap, Tile},
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

/// The numbers of a channel of images.
pub(super) fn plane(images: &DeviceTensor) -> usize {
    images.dims().iter().skip(2).product()
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
    kernel: (Family, &'static str),
    rows: usize,
    params: &impl Arguments,
) -> Result<()> {
    blocks(device, kernel, (rows.div_ceil(THREADS / 32), 0), params)
}

/// A product of the library's, `c [m, n]` of operands with `k` between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub(super) layout: Layout,
    /// `m`, `n`, `k`.
    pub(super) sizes: [usize; 3],
    pub(super) add: bool,
    pub(super) precision: Precision,
    /// Whether the operands are bf16 numbers in memory.
    pub(super) halves: bool,
}

impl Product {
    pub(super) fn run(self, device: &Device, a: Address, b: Address, c: Address) -> Result<()> {
        let Self { layout, sizes: [m, n, k], add, precision, halves } = self;
        device.check()?;
        device.machine().gemm(&Gemm { layout, m, n, k, a, b, c, add, precision, halves })
    }
}

/// `[outer, a, b, inner]` to `[outer, b, a, inner]`.
pub(super) fn swap(
    device: &Device,
    [from, to]: [Address; 2],
    [outer, a, b, inner]: [usize; 4],
) -> Result<()> {
    if inner == 1 {
        return Turn::new(outer, a, b).run(device, from, to);
    }
    let params =
        Swap { input: from, out: to, outer: int(outer), a: int(a), b: int(b), inner: int(inner) };
    each(device, Family::Layers, "pc_layer_swap", outer * a * b * inner, &params)
}

/// The side of a tile that a block turns over.
const SIDE: usize = 32;

/// `[outer, a, b]` to `[outer, b, a]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) sizes: [usize; 3],
    /// The numbers from row to row of the source, at least `b`, and of the result, at least `a`:
    /// there zeros lie behind its numbers.
    pub(super) rows: [usize; 2],
    /// A factor.
    pub(super) scale: f64,
    /// Whether it is added to what is there.
    pub(super) add: bool,
    /// Whether the result is of bf16 numbers. Then its rows are of even length, and nothing is
    /// added.
    pub(super) halves: bool,
}

impl Turn {
    pub(super) fn new(outer: usize, a: usize, b: usize) -> Self {
        Self { sizes: [outer, a, b], rows: [b, a], scale: 1.0, add: false, halves: false }
    }

    pub(super) fn run(self, device: &Device, from: Address, to: Address) -> Result<()> {
        let Self { sizes: [outer, a, b], rows: [in_row, out_row], scale, add, halves } = self;
        let params = params::Turn {
            input: from,
            out: to,
            x: scale as f32,
            outer: int(outer),
            a: int(a),
            b: int(b),
            in_row: int(in_row),
            out_row: int(out_row),
            add: i32::from(add),
            unused: 0,
        };
        let kernel = if halves { "pc_layer_turn_bf16" } else { "pc_layer_turn" };
        let tiles = outer * out_row.div_ceil(SIDE) * b.div_ceil(SIDE);
        let shared = 4 * SIDE * (SIDE + 1);
        blocks(device, (Family::Layers, kernel), (tiles, shared), &params)
    }
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
    let sums = Sums {
        a: place(of)?,
        b: times.map_or(Ok(0), place)?,
        out: place(to)?,
        x: x as f32,
        outer: int(of.count() / (columns * inner).max(1)),
        columns: int(columns),
        inner: int(inner),
    };
    column_sums(to.device(), columns, sums)
}

/// The same of what lies anywhere.
pub(super) fn column_sums(device: &Device, columns: usize, sums: Sums) -> Result<()> {
    blocks(device, (Family::Layers, "pc_layer_sums"), (columns, SUMS), &sums)
}
