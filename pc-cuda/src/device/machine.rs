//! What a device can do, whichever it is: the interface between the launch layer and everything
//! above it.
#![allow(unsafe_code)]

use std::ffi::c_void;

use pc_core::Result;

use crate::{device::Launch, params, precision::Precision};

/// An address in device memory, 0 for none.
pub(crate) type Address = u64;

/// How the operands of a product lie; all are row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// `C[m, n] = A[m, k] B[n, k]^T`
    Transposed,
    /// `C[m, n] = A[m, k] B[k, n]`
    Plain,
}

/// A product of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Gemm {
    pub(crate) layout: Layout,
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) c: Address,
    /// Whether the product is added to `c`.
    pub(crate) add: bool,
    /// How far operands may be rounded.
    pub(crate) precision: Precision,
    /// Whether the operands are bf16 numbers in memory.
    pub(crate) halves: bool,
}

/// A stream of a device. Work runs in the order in which it is asked for.
pub(crate) trait Machine {
    /// Memory of so many bytes, aligned to 256, contents unknown.
    fn allocate(&self, bytes: usize) -> Result<Address>;
    fn free(&self, address: Address) -> Result<()>;
    fn upload(&self, to: Address, bytes: &[u8]) -> Result<()>;
    /// Waits for what was asked for before.
    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<()>;
    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<()>;
    fn launch(&self, launch: &Launch, params: &[u8]) -> Result<()>;
    fn gemm(&self, gemm: &Gemm) -> Result<()>;
    /// Records the launches, products and copies that `work` asks for, without running them. It is
    /// called more than once.
    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<u64>;
    /// Runs what was recorded, with the addresses it had then.
    fn replay(&self, graph: u64) -> Result<()>;
    fn forget(&self, graph: u64) -> Result<()>;
    /// Sees to it that what was asked for is on its way to the device.
    fn flush(&self) -> Result<()> {
        Ok(())
    }
    /// How often collected work was run by a recording.
    fn replayed(&self) -> u64 {
        0
    }
    fn synchronize(&self) -> Result<()>;
    /// The number of its GPU and the stream, for libraries, which call [`Machine::flush`] before
    /// they use it; none where it is no GPU.
    fn stream(&self) -> Option<(i32, *mut c_void)> {
        None
    }
    /// The seconds that work took on the device.
    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64>;
}

/// Structs that kernels take.
///
/// # Safety
/// `repr(C)`, no padding, nothing but plain numbers.
pub(crate) unsafe trait Arguments: Copy {
    fn bytes(&self) -> &[u8] {
        // SAFETY: implementors are plain numbers without padding, so every byte is initialised.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

macro_rules! arguments {
    ($($name:ident { $($field:ident)* })*) => {
        $(
            // SAFETY: `repr(C)` numbers; the tests compare the sizes with the kernels', and fields
            // are laid out by falling alignment.
            unsafe impl Arguments for params::$name {}
        )*
    };
}
arguments! {
    Cluster {} Gemms {} Pack {} Fused {} Drive {} Predict {} Weights {} Optimise {} Map {} Reduce {}
    Step {} CrossEntropy {} Primitives {}
    Lay {} Swap {} Turn {} Tile {} Sums {} Patches {} Pool {} Pooled {} Products {} Embed {}
    Activate {} Softmax {} Norm {}
}

/// The bytes of numbers.
pub(crate) fn bytes_of(numbers: &[f32]) -> &[u8] {
    // SAFETY: any f32 is four initialised bytes, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}
