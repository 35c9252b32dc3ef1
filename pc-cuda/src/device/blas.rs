//! Products by cuBLASLt. Plans (layouts, descriptor, algorithm) are found once for every shape and
//! kept, and the compute type is the caller's: full `f32`, or operands that the library may round
//! to tf32 or bf16 on its way to tensor cores.
#![allow(unsafe_code)]

use std::{collections::HashMap, ffi::c_void, ptr};

use cudarc::{cublaslt::sys, driver};
use pc_core::Result;

use crate::{
    device::{Address, Gemm, Layout, failed},
    precision::Precision,
};

fn check(what: &str, status: sys::cublasStatus_t) -> Result<()> {
    if status == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS {
        Ok(())
    } else {
        Err(failed(format!("cuBLASLt: {what}: {status:?}")))
    }
}

/// A handle with its plans and workspace.
pub(crate) struct Blas {
    handle: sys::cublasLtHandle_t,
    workspace: Address,
    plans: HashMap<Key, GemmPlan>,
}

/// What a plan depends on.
type Key = (Layout, [usize; 3], Precision, bool);

fn key(gemm: &Gemm) -> Key {
    (gemm.layout, [gemm.m, gemm.n, gemm.k], gemm.precision, gemm.halves)
}

/// One shape's plan. In column-major terms it is `C^T[n, m] = op(B) A^T`.
struct GemmPlan {
    descriptor: sys::cublasLtMatmulDesc_t,
    a: sys::cublasLtMatrixLayout_t,
    b: sys::cublasLtMatrixLayout_t,
    c: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Drop for GemmPlan {
    fn drop(&mut self) {
        // SAFETY: made in `Blas::plan`, used by nobody else. Null is allowed for none of them, so
        // each is asked for.
        unsafe {
            for layout in [self.a, self.b, self.c] {
                if !layout.is_null() {
                    let _ = sys::cublasLtMatrixLayoutDestroy(layout);
                }
            }
            if !self.descriptor.is_null() {
                let _ = sys::cublasLtMatmulDescDestroy(self.descriptor);
            }
        }
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: made in `new`; the plans are gone.
        unsafe {
            let _ = sys::cublasLtDestroy(self.handle);
        }
    }
}

impl Blas {
    /// The bytes of workspace that algorithms may use, as the vendor advises for this generation.
    pub(crate) const WORKSPACE: usize = 32 << 20;

    /// With a workspace that lives as long as the context.
    pub(crate) fn new(workspace: Address) -> Result<Self> {
        // SAFETY: only looks for the library.
        if !unsafe { sys::is_culib_present() } {
            return Err(failed("cuBLASLt was not found on this machine (libcublasLt)"));
        }
        let mut handle = ptr::null_mut();
        // SAFETY: into a local; destroyed in `drop`.
        check("making a handle", unsafe { sys::cublasLtCreate(&raw mut handle) })?;
        Ok(Self { handle, workspace, plans: HashMap::new() })
    }

    /// The memory given to [`Blas::new`].
    pub(crate) fn workspace(&self) -> Address {
        self.workspace
    }

    /// Finds the plan of a product.
    pub(crate) fn prepare(&mut self, gemm: &Gemm) -> Result<()> {
        let key = key(gemm);
        if !self.plans.contains_key(&key) {
            let plan = self.plan(gemm)?;
            self.plans.insert(key, plan);
        }
        Ok(())
    }

    /// Runs one product on a stream.
    pub(crate) fn product(&mut self, gemm: &Gemm, stream: driver::sys::CUstream) -> Result<()> {
        self.prepare(gemm)?;
        let key = key(gemm);
        let Some(plan) = self.plans.get(&key) else { return Err(failed("cuBLASLt: no plan")) };
        let (alpha, beta) = (1f32, if gemm.add { 1f32 } else { 0f32 });
        let (one, zero) =
            (ptr::from_ref(&alpha).cast::<c_void>(), ptr::from_ref(&beta).cast::<c_void>());
        // SAFETY: layouts and addresses are of matrices of these sizes; the scalars are read before
        // the call returns; the workspace is used by this stream alone.
        check("a product", unsafe {
            sys::cublasLtMatmul(
                self.handle,
                plan.descriptor,
                one,
                gemm.b as *const c_void,
                plan.b,
                gemm.a as *const c_void,
                plan.a,
                zero,
                gemm.c as *const c_void,
                plan.c,
                gemm.c as *mut c_void,
                plan.c,
                &raw const plan.algorithm,
                self.workspace as *mut c_void,
                Self::WORKSPACE,
                stream.cast(),
            )
        })
    }

    fn plan(&self, gemm: &Gemm) -> Result<GemmPlan> {
        let compute = match gemm.precision {
            _ if gemm.halves => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            Precision::F32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            Precision::Tf32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            Precision::Bf16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_16BF,
        };
        let real = sys::cudaDataType_t::CUDA_R_32F;
        let (m, n, k) = (gemm.m as u64, gemm.n as u64, gemm.k as u64);
        // SAFETY: an algorithm is plain numbers, for which zero bytes are values.
        let algorithm = unsafe { std::mem::zeroed() };
        let mut plan = GemmPlan {
            descriptor: ptr::null_mut(),
            a: ptr::null_mut(),
            b: ptr::null_mut(),
            c: ptr::null_mut(),
            algorithm,
        };
        let transposed = gemm.layout == Layout::Transposed;
        // `cublasOperation_t`, which these bindings leave out: CUBLAS_OP_N is 0, CUBLAS_OP_T is 1.
        let operation = i32::from(transposed);
        let operand = if gemm.halves { sys::cudaDataType_t::CUDA_R_16BF } else { real };
        let layout = |out: &mut sys::cublasLtMatrixLayout_t, kind, rows: u64, columns: u64| {
            // SAFETY: into the plan, which destroys it.
            check("a layout", unsafe {
                sys::cublasLtMatrixLayoutCreate(out, kind, rows, columns, rows as i64)
            })
        };
        // SAFETY: every object goes into the plan, which destroys it; attributes are read before
        // the calls return.
        unsafe {
            check(
                "a descriptor",
                sys::cublasLtMatmulDescCreate(&raw mut plan.descriptor, compute, real),
            )?;
            check(
                "a descriptor",
                sys::cublasLtMatmulDescSetAttribute(
                    plan.descriptor,
                    sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                    ptr::from_ref(&operation).cast(),
                    size_of_val(&operation),
                ),
            )?;
        }
        if transposed {
            layout(&mut plan.b, operand, k, n)?
        } else {
            layout(&mut plan.b, operand, n, k)?
        }
        layout(&mut plan.a, operand, k, m)?;
        layout(&mut plan.c, real, n, m)?;
        let mut preference = ptr::null_mut();
        let workspace = Self::WORKSPACE;
        let mut found = 0;
        // SAFETY: zero bytes are values of this struct of numbers.
        let mut heuristic: sys::cublasLtMatmulHeuristicResult_t = unsafe { std::mem::zeroed() };
        // SAFETY: the preference is destroyed below; the result is a local.
        let status = unsafe {
            check("a preference", sys::cublasLtMatmulPreferenceCreate(&raw mut preference))?;
            let set = sys::cublasLtMatmulPreferenceSetAttribute(
                preference,
                sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                ptr::from_ref(&workspace).cast(),
                size_of_val(&workspace),
            );
            let status = check("a preference", set).and(check(
                "choosing an algorithm",
                sys::cublasLtMatmulAlgoGetHeuristic(
                    self.handle,
                    plan.descriptor,
                    plan.b,
                    plan.a,
                    plan.c,
                    plan.c,
                    preference,
                    1,
                    &raw mut heuristic,
                    &raw mut found,
                ),
            ));
            let _ = sys::cublasLtMatmulPreferenceDestroy(preference);
            status
        };
        status?;
        if found == 0 {
            return Err(failed(format!("cuBLASLt: no algorithm for {gemm:?}")));
        }
        plan.algorithm = heuristic.algo;
        Ok(plan)
    }
}
