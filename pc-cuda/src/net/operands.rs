//! What grouped products read and write.

use pc_core::Result;

use crate::{
    device::{Address, Device},
    plan::Products,
    tensor::DeviceTensor,
};

/// The bytes of a row that a stage holds; every operand's rows are multiples of it.
const CHUNK: usize = 64;
/// The same of operands in tiles, and the numbers that these are.
const TILE_CHUNK: usize = 128;
const TILE_NUMBERS: usize = TILE_CHUNK / 2;

/// A matrix of operands: rows that begin `row` bytes apart, each of `part` bytes, or of three such
/// parts. In tiles it is chunks of 64 columns that begin `row` bytes apart, each of every row's 128
/// bytes. Everything behind a row's numbers, and all rows behind the last, are zeros always.
#[derive(Debug)]
pub(super) struct Rows {
    held: DeviceTensor,
    pub(super) row: usize,
    pub(super) part: usize,
    /// The chunks of a row.
    pub(super) chunks: usize,
}

impl Rows {
    /// Zeros, for `rows` rows of `columns` numbers, in whole tiles of the first operand of a
    /// product, or of the `second`.
    pub(super) fn new(
        device: &Device,
        products: Products,
        rows: usize,
        columns: usize,
        second: bool,
    ) -> Result<Self> {
        let tile = if second { products.columns() } else { products.rows() };
        let Products::Warps(operand) = products else {
            // Products across take the second operand's columns by whole tiles as well.
            let across = if second { tile } else { TILE_NUMBERS };
            let row = rows.next_multiple_of(tile) * TILE_CHUNK;
            let chunks = columns.next_multiple_of(across) / TILE_NUMBERS;
            let held = DeviceTensor::zeroed(device, &[chunks, row / 4])?;
            return Ok(Self { held, row, part: 0, chunks: columns.div_ceil(TILE_NUMBERS) });
        };
        let part = (columns * operand.size()).next_multiple_of(CHUNK);
        let row = operand.parts() * part;
        let held = DeviceTensor::zeroed(device, &[rows.next_multiple_of(tile), row / 4])?;
        Ok(Self { held, row, part, chunks: row / CHUNK })
    }

    pub(super) fn address(&self) -> Address {
        self.held.address()
    }
}

/// One link's operands.
#[derive(Debug)]
pub(super) struct LinkOperands {
    /// The weight by outputs.
    pub(super) weight: Rows,
    /// The weight by inputs; none where products read the other one across.
    pub(super) turned: Option<Rows>,
    /// The displacements of its parent; none where predictions are frozen.
    pub(super) moves: Option<Rows>,
    /// What is pulled of its errors: in two places in turn where predictions are frozen, since
    /// blocks read them while others write the next.
    pub(super) pulls: Vec<Rows>,
}

/// The operands of every link but the first, whose input is held.
#[derive(Debug)]
pub(super) struct Operands {
    pub(super) links: Vec<LinkOperands>,
    pub(super) products: Products,
    pub(super) live: bool,
}

impl Operands {
    /// Every address, in a fixed order.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Address> {
        self.links.iter().flat_map(|link| {
            let weights = std::iter::once(&link.weight).chain(&link.turned);
            weights.chain(&link.moves).chain(&link.pulls).map(Rows::address)
        })
    }
}
