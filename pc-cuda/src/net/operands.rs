//! What grouped products read and write.

use pc_core::Result;

use crate::{
    device::{Address, Device},
    plan::Operand,
    tensor::DeviceTensor,
};

/// The bytes of a row that a stage holds; every operand's rows are multiples of it.
pub(super) const CHUNK: usize = 64;

/// A matrix of operands: rows that begin `row` bytes apart, each of `part` bytes, or of three such
/// parts. Everything behind a row's numbers, and all rows behind the last, are zeros always.
#[derive(Debug)]
pub(super) struct Rows {
    held: DeviceTensor,
    pub(super) row: usize,
    pub(super) part: usize,
}

impl Rows {
    /// Zeros, for `rows` rows of `columns` numbers, in whole tiles of `tile` rows.
    pub(super) fn new(
        device: &Device,
        operand: Operand,
        rows: usize,
        columns: usize,
        tile: usize,
    ) -> Result<Self> {
        let part = (columns * operand.size()).next_multiple_of(CHUNK);
        let row = operand.parts() * part;
        let held = DeviceTensor::zeroed(device, &[rows.next_multiple_of(tile), row / 4])?;
        Ok(Self { held, row, part })
    }

    pub(super) fn address(&self) -> Address {
        self.held.address()
    }
}

/// One link's operands.
#[derive(Debug)]
pub(super) struct LinkOperands {
    /// The weight by outputs, and by inputs.
    pub(super) weight: [Rows; 2],
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
    pub(super) operand: Operand,
    pub(super) live: bool,
}

impl Operands {
    /// Every address, in a fixed order.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Address> {
        self.links.iter().flat_map(|link| {
            let rows = link.weight.iter().chain(&link.moves).chain(&link.pulls);
            rows.map(Rows::address)
        })
    }
}
