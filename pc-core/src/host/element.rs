//! The scalars of the host backend.

use std::{cell::RefCell, fmt};

use crate::host::{
    exponential::Exponential,
    kernels::{self, Kernels},
};

/// A scalar that host tensors hold: `f32` or `f64`.
pub trait Element:
    num_traits::Float
    + num_traits::NumAssign
    + Default
    + Send
    + Sync
    + fmt::Debug
    + fmt::Display
    + sealed::Sealed
    + 'static
{
    /// The nearest value to `x`.
    fn of(x: f64) -> Self;

    /// Its value as `f64`.
    fn value(self) -> f64;

    /// `e^x` and `e^x - 1` for `x <= 0`, in a form that vectorises.
    #[doc(hidden)]
    fn exp_both(self) -> (Self, Self);

    /// The product `gemm` that suits this machine.
    #[doc(hidden)]
    fn gemm_function() -> GemmFunction<Self>;

    /// Its innermost loops, where they are known for this machine.
    #[doc(hidden)]
    fn kernels() -> Option<Kernels<Self>>;

    /// Lends this thread's working memory, at least `length` elements of unspecified contents.
    #[doc(hidden)]
    fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [Self]) -> R) -> R;
}

/// `dst <- alpha dst + beta lhs rhs` as the `gemm` crates have it: sizes `m, n, k`; then each
/// matrix as a pointer with its column and row stride, `dst` with whether it is read; the factors;
/// three conjugations that mean nothing here; threads.
pub(crate) type GemmFunction<F> = unsafe fn(
    usize,
    usize,
    usize,
    *mut F,
    isize,
    isize,
    bool,
    *const F,
    isize,
    isize,
    *const F,
    isize,
    isize,
    F,
    F,
    bool,
    bool,
    bool,
    gemm_common::Parallelism,
);

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

macro_rules! element {
    ($scalar:ty, $scratch:ident, $gemm:path, $kernels:path) => {
        thread_local! {
            static $scratch: RefCell<Vec<$scalar>> = const { RefCell::new(Vec::new()) };
        }

        impl Element for $scalar {
            fn of(x: f64) -> Self {
                x as $scalar
            }

            fn value(self) -> f64 {
                f64::from(self)
            }

            #[inline(always)]
            fn exp_both(self) -> (Self, Self) {
                Exponential::exp_both(self)
            }

            fn gemm_function() -> GemmFunction<Self> {
                $gemm()
            }

            fn kernels() -> Option<Kernels<Self>> {
                $kernels().into_iter().flatten().next()
            }

            fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [Self]) -> R) -> R {
                // Taken out while in use, so that a job stolen by this thread meanwhile finds an
                // empty one rather than a locked one.
                let mut buffer = $scratch.take();
                if buffer.len() < length {
                    buffer.resize(length, 0.0);
                }
                let result = work(&mut buffer[..length]);
                $scratch.replace(buffer);
                result
            }
        }
    };
}

element!(f32, SCRATCH_F32, gemm_f32::gemm::f32::get_gemm_fn, kernels::of_f32);
element!(f64, SCRATCH_F64, gemm_f64::gemm::f64::get_gemm_fn, kernels::of_f64);
