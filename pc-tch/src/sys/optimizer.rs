//! libtorch's optimisers through the shim.

use std::{
    ffi::{c_char, c_int},
    ptr::{self, NonNull},
};

use pc_core::{Error, ErrorKind, Result};
use tch::Tensor;
use torch_sys::C_tensor;

use super::{checked, from_raw, raw, raw_or_null};

#[repr(C)]
struct RawOptimizer {
    _private: [u8; 0],
}

/// Which optimiser, and its numbers, as shim/pc_tch.h says.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) kind: c_int,
    pub(crate) flag: c_int,
    pub(crate) rate: f64,
    pub(crate) first: f64,
    pub(crate) second: f64,
    pub(crate) eps: f64,
    pub(crate) decay: f64,
}

/// The kinds, as shim/pc_tch.h numbers them.
pub(crate) const SGD: c_int = 0;
pub(crate) const ADAM: c_int = 1;
pub(crate) const ADAMW: c_int = 2;
pub(crate) const RMS_PROP: c_int = 3;

/// The tensors that one parameter's state has at most.
pub(crate) const PARTS: usize = 3;

/// A parameter's state: its steps, and its tensors.
pub(crate) type State = (i64, [Option<Tensor>; PARTS]);

// As shim/pc_tch.h declares them.
unsafe extern "C" {
    fn pc_tch_optimizer_new(
        settings: *const Settings,
        parameters: *const *mut C_tensor,
        count: usize,
        optimizer: *mut *mut RawOptimizer,
    ) -> *mut c_char;
    fn pc_tch_optimizer_free(optimizer: *mut RawOptimizer);
    fn pc_tch_optimizer_step(optimizer: *mut RawOptimizer) -> *mut c_char;
    fn pc_tch_optimizer_zero_grad(optimizer: *mut RawOptimizer) -> *mut c_char;
    fn pc_tch_optimizer_set_rate(optimizer: *mut RawOptimizer, rate: f64) -> *mut c_char;
    fn pc_tch_optimizer_state(
        optimizer: *mut RawOptimizer,
        parameter: usize,
        step: *mut i64,
        parts: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn pc_tch_optimizer_set_state(
        optimizer: *mut RawOptimizer,
        parameter: usize,
        step: i64,
        parts: *const *mut C_tensor,
    ) -> *mut c_char;
}

/// An optimiser of libtorch over parameters that it keeps alive.
#[derive(Debug)]
pub(crate) struct Raw {
    raw: NonNull<RawOptimizer>,
    parameters: usize,
}

// SAFETY: libtorch's optimisers have no tie to a thread, and `&mut` keeps two from stepping at
// once.
unsafe impl Send for Raw {}

impl Raw {
    /// An optimiser by these settings.
    ///
    /// # Errors
    /// Settings that libtorch refuses; parameters that are no leaves, or that come twice.
    pub(crate) fn new(settings: Settings, parameters: &[&Tensor]) -> Result<Self> {
        let handles: Vec<*mut C_tensor> = parameters.iter().map(|tensor| raw(tensor)).collect();
        let mut optimizer = ptr::null_mut();
        // SAFETY: the handles are of live tensors, as many as said; the shim writes one pointer.
        checked(unsafe {
            pc_tch_optimizer_new(
                &raw const settings,
                handles.as_ptr(),
                handles.len(),
                &raw mut optimizer,
            )
        })?;
        let raw = NonNull::new(optimizer)
            .ok_or_else(|| Error::new(ErrorKind::Backend, "the shim made no optimiser"))?;
        Ok(Self { raw, parameters: parameters.len() })
    }

    /// A step by the gradients in `.grad`.
    pub(crate) fn step(&mut self) -> Result<()> {
        // SAFETY: the optimiser is live, as in every call below.
        checked(unsafe { pc_tch_optimizer_step(self.raw.as_ptr()) })
    }

    /// Drops the gradients.
    pub(crate) fn zero_grad(&mut self) -> Result<()> {
        // SAFETY: as above.
        checked(unsafe { pc_tch_optimizer_zero_grad(self.raw.as_ptr()) })
    }

    /// Another rate for all parameters.
    pub(crate) fn set_rate(&mut self, rate: f64) -> Result<()> {
        // SAFETY: as above.
        checked(unsafe { pc_tch_optimizer_set_rate(self.raw.as_ptr(), rate) })
    }

    /// A copy of one parameter's state; none before its first step.
    pub(crate) fn state(&self, parameter: usize) -> Result<Option<State>> {
        self.known(parameter)?;
        let mut step = -1;
        let mut parts = [ptr::null_mut(); PARTS];
        // SAFETY: the parameter is one of its own; there is room for what the shim writes.
        let message = unsafe {
            pc_tch_optimizer_state(self.raw.as_ptr(), parameter, &raw mut step, parts.as_mut_ptr())
        };
        let parts = parts.map(from_raw);
        checked(message)?;
        Ok((step >= 0).then_some((step, parts)))
    }

    /// Puts a copy of a state in place of what one parameter has.
    pub(crate) fn set_state(
        &mut self,
        parameter: usize,
        step: i64,
        parts: &[Option<Tensor>; PARTS],
    ) -> Result<()> {
        self.known(parameter)?;
        let handles = parts.each_ref().map(|part| raw_or_null(part.as_ref()));
        // SAFETY: the parameter is one of its own; the handles are null or of live tensors.
        checked(unsafe {
            pc_tch_optimizer_set_state(self.raw.as_ptr(), parameter, step, handles.as_ptr())
        })
    }

    fn known(&self, parameter: usize) -> Result<()> {
        if parameter < self.parameters {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Misuse, format!("the optimiser has no parameter {parameter}")))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the optimiser is live and ours alone.
        unsafe { pc_tch_optimizer_free(self.raw.as_ptr()) };
    }
}
