//! What a device can do, whichever it is: the interface between the launch layer and everything
//! above it.
#![allow(unsafe_code)]

use std::{ffi::c_void, mem::offset_of};

use pc_core::Result;

use crate::{
    device::{Launch, Launches, failed},
    params,
    precision::Precision,
};

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

/// An address among what a kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    /// Where it stands, in bytes.
    pub(crate) at: usize,
    /// Whether the kernel writes what lies there; else it only reads.
    pub(crate) writes: bool,
}

/// What a kernel touches: all addresses that it takes. Where it is not said, the kernel may touch
/// anything.
pub(crate) type Touches = Option<&'static [Touch]>;

/// The bytes of structs that one launch of several takes at most, as `PC_MANY` in
/// `kernels/pc_dev.cuh`.
pub(crate) const MANY: usize = 4096;

/// The second form of a launch's kernel, and what it takes: the structs of several launches, of so
/// many bytes each, with zeros behind them.
///
/// # Errors
/// More structs than there is room for.
pub(crate) fn many(launch: &Launch, params: &[u8], each: usize) -> Result<(String, Vec<u8>)> {
    let mut all = vec![0u8; MANY / each * each];
    let Some(room) = all.get_mut(..params.len()) else {
        return Err(failed(format!("{}: too many launches in one", launch.kernel)));
    };
    room.copy_from_slice(params);
    Ok((format!("{}_many", launch.kernel), all))
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
    fn launch(&self, launch: &Launch, params: &[u8], touches: Touches) -> Result<()>;
    /// Several launches of one size in one, in no order: their structs one after the other, of so
    /// many bytes each, and no more than [`MANY`] in all. The kernel says what it touches.
    fn launch_many(&self, launch: &Launch, params: &[u8], each: usize) -> Result<()>;
    fn gemm(&self, gemm: &Gemm) -> Result<()>;
    /// Several products that differ in their addresses alone, in no order.
    fn gemms(&self, gemms: &[Gemm]) -> Result<()>;
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
    /// What was asked for, and what was made of it.
    fn launches(&self) -> Launches {
        Launches::default()
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
    /// What kernels that take it touch. Where this is said, they have a second form for several
    /// launches in one (`PC_KERNEL_MANY`).
    const TOUCHES: Touches;

    fn bytes(&self) -> &[u8] {
        // SAFETY: implementors are plain numbers without padding, so every byte is initialised.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

macro_rules! arguments {
    ($($name:ident $({ reads $($read:ident)*; writes $($written:ident)* })?)*) => {
        $(
            // SAFETY: `repr(C)` numbers; the tests compare the sizes with the kernels', and fields
            // are laid out by falling alignment.
            unsafe impl Arguments for params::$name {
                const TOUCHES: Touches = touches!($name $({
                    $(false $read)* $(true $written)*
                })?);
            }
        )*
    };
}
macro_rules! touches {
    ($name:ident) => { None };
    ($name:ident { $($writes:literal $field:ident)* }) => {
        Some(&[$(Touch { at: offset_of!(params::$name, $field), writes: $writes }),*])
    };
}
// What one kernel of several writes, all of them do.
arguments! {
    Cluster Gemms Pack Fused Drive Predict Weights Optimise Reduce CrossEntropy Primitives
    Map { reads a b c; writes out }
    Step { reads reference e force; writes d v velocity }
    Lay { reads input; writes out }
    Swap { reads input; writes out }
    Turn { reads input; writes out }
    Tile { reads a; writes out }
    Sums { reads a b; writes out }
    Patches { reads input; writes out }
    Pool { reads a d old; writes out index }
    Pooled { reads a d bias moved old; writes out kept index slope }
    Products { reads a b; writes c }
    Embed { reads index input; writes out }
    Activate { reads a d; writes out slope }
    Softmax { reads a d s; writes out current }
    Norm { reads a d gain bias old_gain old_bias; writes out centred normal before inverse }
}

/// The bytes of numbers.
pub(crate) fn bytes_of(numbers: &[f32]) -> &[u8] {
    // SAFETY: any f32 is four initialised bytes, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}
