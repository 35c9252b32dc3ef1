//! Products that differ in their addresses alone, by one call of cuBLAS, which reads the addresses
//! from lists on the device.
#![allow(unsafe_code)]

use std::{ffi::c_void, ptr};

use cudarc::{cublas::sys, driver};
use pc_core::Result;

use crate::{
    device::{Address, Gemm, Layout, blas::Blas, failed},
    precision::Precision,
};

fn check(what: &str, status: sys::cublasStatus_t) -> Result<()> {
    if status == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS {
        Ok(())
    } else {
        Err(failed(format!("cuBLAS: {what}: {status:?}")))
    }
}

/// A handle for one stream.
pub(crate) struct Batched {
    handle: sys::cublasHandle_t,
}

impl Drop for Batched {
    fn drop(&mut self) {
        // SAFETY: made in `new`.
        unsafe {
            let _ = sys::cublasDestroy_v2(self.handle);
        }
    }
}

impl Batched {
    /// With the workspace of [`Blas`], which the same stream uses. None where the library is not on
    /// this machine.
    pub(crate) fn new(workspace: Address, stream: driver::sys::CUstream) -> Result<Option<Self>> {
        // SAFETY: only looks for the library.
        if !unsafe { sys::is_culib_present() } {
            return Ok(None);
        }
        let mut handle = ptr::null_mut();
        // SAFETY: into a local; destroyed in `drop`.
        check("making a handle", unsafe { sys::cublasCreate_v2(&raw mut handle) })?;
        let made = Self { handle };
        // SAFETY: the stream and the workspace live as long as the device, which holds the handle.
        unsafe {
            check("choosing a stream", sys::cublasSetStream_v2(handle, stream.cast()))?;
            let room = workspace as *mut c_void;
            check("giving a workspace", sys::cublasSetWorkspace_v2(handle, room, Blas::WORKSPACE))?;
        }
        Ok(Some(made))
    }

    /// The addresses of products as the lists of [`Batched::products`]: of all second operands, of
    /// all first ones, of all results.
    pub(crate) fn lists(gemms: &[Gemm]) -> Vec<Address> {
        let of = |address: fn(&Gemm) -> Address| gemms.iter().map(address);
        of(|gemm| gemm.b).chain(of(|gemm| gemm.a)).chain(of(|gemm| gemm.c)).collect()
    }

    /// Runs products of which `gemm` is one, with their addresses in lists on the device.
    pub(crate) fn products(&self, gemm: &Gemm, count: usize, lists: Address) -> Result<()> {
        use sys::{
            cublasComputeType_t as Compute, cublasOperation_t as Operation, cudaDataType as Kind,
        };
        let compute = match gemm.precision {
            _ if gemm.halves => Compute::CUBLAS_COMPUTE_32F,
            Precision::F32 => Compute::CUBLAS_COMPUTE_32F,
            Precision::Tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
            Precision::Bf16 => Compute::CUBLAS_COMPUTE_32F_FAST_16BF,
        };
        let operand = if gemm.halves { Kind::CUDA_R_16BF } else { Kind::CUDA_R_32F };
        let sizes = [gemm.m, gemm.n, gemm.k, count].map(i32::try_from);
        let [Ok(m), Ok(n), Ok(k), Ok(batch)] = sizes else {
            return Err(failed(format!("cuBLAS: {gemm:?} is too large")));
        };
        // In column-major terms each is C^T[n, m] = op(B) A^T.
        let (operation, row) = match gemm.layout {
            Layout::Transposed => (Operation::CUBLAS_OP_T, k),
            Layout::Plain => (Operation::CUBLAS_OP_N, n),
        };
        let (alpha, beta) = (1f32, if gemm.add { 1f32 } else { 0f32 });
        let list = |number: usize| lists + (8 * number * count) as u64;
        // SAFETY: the lists hold addresses of matrices of these sizes and stay for as long as the
        // recording; the scalars are read before the call returns.
        check("products", unsafe {
            sys::cublasGemmBatchedEx(
                self.handle,
                operation,
                Operation::CUBLAS_OP_N,
                n,
                m,
                k,
                ptr::from_ref(&alpha).cast(),
                list(0) as *const *const c_void,
                operand,
                row,
                list(1) as *const *const c_void,
                operand,
                k,
                ptr::from_ref(&beta).cast(),
                list(2) as *const *mut c_void,
                Kind::CUDA_R_32F,
                n,
                batch,
                compute,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        })
    }
}
