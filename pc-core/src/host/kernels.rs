//! The innermost loops of the `gemm` crates' products.

use gemm_common::microkernel::MicroKernelFn;

/// The loops that this machine runs quickest: `dst <- alpha dst + beta lhs rhs` for a tile of
/// `dst`, whose columns lie in one piece. A tile is up to so many vectors high and so many columns
/// wide.
///
/// The arguments of a kernel: the sizes `m`, `n` and `k` of the product; `dst`; `lhs`, whole
/// vectors of every column of it; `rhs`; the strides of `dst` (column, row), of `lhs` (column) and
/// of `rhs` (row, column); `alpha` and `beta`; what `alpha` is: 0, so that `dst` is not read, 1, or
/// 2 for any other; three conjugations that mean nothing here; a hint, which may be null.
#[derive(Clone, Copy, Debug)]
pub struct Kernels<F> {
    /// The numbers of a vector.
    pub(super) lanes: usize,
    /// The vectors of a tile's columns, at most.
    pub(super) vectors: usize,
    /// The columns of a tile, at most.
    pub(super) columns: usize,
    /// The kernel for tiles of so many vectors and columns, each at least 1.
    pub(super) of: fn(usize, usize) -> MicroKernelFn<F>,
}

/// The kernels for `f32` and `f64` that this machine has, the quickest first. Where none are known
/// there is nothing, and products are left to the whole function of the `gemm` crates.
macro_rules! kernels {
    ($name:ident, $scalar:ty, $crate_name:ident, $module:ident, $wide:expr, $narrow:expr) => {
        pub(super) fn $name() -> [Option<Kernels<$scalar>>; 2] {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate_name::microkernel::{avx512f, fma};
                let wide = Kernels {
                    lanes: $wide,
                    vectors: avx512f::$module::MR_DIV_N,
                    columns: avx512f::$module::NR,
                    of: |vectors, columns| avx512f::$module::UKR[vectors - 1][columns - 1],
                };
                let narrow = Kernels {
                    lanes: $narrow,
                    vectors: fma::$module::MR_DIV_N,
                    columns: fma::$module::NR,
                    of: |vectors, columns| fma::$module::UKR[vectors - 1][columns - 1],
                };
                [
                    is_x86_feature_detected!("avx512f").then_some(wide),
                    is_x86_feature_detected!("fma").then_some(narrow),
                ]
            }
            #[cfg(not(target_arch = "x86_64"))]
            [None, None]
        }
    };
}

kernels!(of_f32, f32, gemm_f32, f32, 16, 8);
kernels!(of_f64, f64, gemm_f64, f64, 8, 4);
