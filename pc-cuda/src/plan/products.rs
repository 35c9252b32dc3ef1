//! What grouped products are made of, and what multiplies it.

use crate::{
    device::DeviceProps,
    plan::shape::{NetShape, Operand},
};

/// Grouped products: by warps (`mma`), of operands by rows; or by warpgroups (`wgmma`), of bf16
/// operands in tiles, on devices of capability 9.0 alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Products {
    Warps(Operand),
    Warpgroups,
}

/// The architecture that has warpgroups' products: those after it have others.
const WARPGROUPS: (u32, u32) = (9, 0);

impl Products {
    /// Those of a net on a device; none in full precision.
    pub(crate) fn new(net: &NetShape, device: &DeviceProps) -> Option<Self> {
        match net.operand()? {
            Operand::Bf16 { split: false } if device.capability == WARPGROUPS => {
                Some(Products::Warpgroups)
            }
            operand => Some(Products::Warps(operand)),
        }
    }

    /// The rows of a tile, as in `relax_gemm.cu` and `relax_wgmma.cu`.
    pub(crate) fn rows(self) -> usize {
        128
    }

    /// Its columns.
    pub(crate) fn columns(self) -> usize {
        match self {
            Products::Warps(_) => 64,
            Products::Warpgroups => 192,
        }
    }

    /// The parts of a number that are multiplied one by one.
    pub(crate) fn parts(self) -> usize {
        match self {
            Products::Warps(operand) => operand.parts(),
            Products::Warpgroups => 1,
        }
    }
}
