//! The shim's functions, made safe. All of this crate's `unsafe` is here and
//! in its parts.
#![allow(unsafe_code)]

mod ffi;
pub(crate) mod marks;
mod nodes;
pub(crate) mod optimizer;

use std::{
    ffi::{CStr, c_char},
    ptr::{self, NonNull},
};

use pc_core::{Error, ErrorKind, Result};
use tch::Tensor;
use torch_sys::C_tensor;

#[allow(clippy::wildcard_imports)] // The whole interface, and nothing else.
use ffi::*;

use nodes::explained;
pub(crate) use nodes::{Node, Nodes, Pull};

/// How many autograd graphs are held just now, over all threads: none between steps, or something
/// leaks.
///
/// # Example
/// ```
/// assert_eq!(pc_tch::live_graphs(), 0);
/// ```
pub fn live_graphs() -> usize {
    pc_tch_live()
}

/// Turns the shim's message, if there is one, into an error.
fn checked(message: *mut c_char) -> Result<()> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a message that is not null is a C string of the shim's, ours until it is given back
    // on the next line.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().trim_end().to_owned();
    // SAFETY: it came from the shim and is given back once.
    unsafe { pc_tch_free_text(message) };
    Err(Error::new(ErrorKind::Backend, text))
}

fn raw(tensor: &Tensor) -> *mut C_tensor {
    // The shim reads tensors through these, and writes to none.
    tensor.as_ptr().cast_mut()
}

fn raw_or_null(tensor: Option<&Tensor>) -> *mut C_tensor {
    tensor.map_or(ptr::null_mut(), raw)
}

/// Gives up a tensor to the shim.
fn into_raw(mut tensor: Tensor) -> *mut C_tensor {
    let handle = tensor.as_mut_ptr();
    std::mem::forget(tensor);
    handle
}

fn from_raw(handle: *mut C_tensor) -> Option<Tensor> {
    // SAFETY: the shim makes its tensors as tch does, by `new`, and gives each out once.
    NonNull::new(handle).map(|handle| unsafe { Tensor::from_ptr(handle.as_ptr()) })
}

/// The gradients of an output with respect to those `leaves` that are wanted, by one sweep that
/// goes nowhere else. The graph is kept, and must be nobody else's.
///
/// # Errors
/// What libtorch reports; a batch norm that keeps running statistics.
pub(crate) fn gradients(
    output: &Tensor,
    cotangent: &Tensor,
    leaves: &[Option<&Tensor>],
) -> Result<Vec<Option<Tensor>>> {
    let handles: Vec<*mut C_tensor> = leaves.iter().map(|leaf| raw_or_null(*leaf)).collect();
    let mut results = vec![ptr::null_mut(); leaves.len()];
    // SAFETY: all handles are of live tensors or null, and there is room for a result for each.
    let message = unsafe {
        pc_tch_gradients(
            raw(output),
            raw(cotangent),
            handles.as_ptr(),
            handles.len(),
            results.as_mut_ptr(),
        )
    };
    let results = results.into_iter().map(from_raw).collect();
    checked(message)?;
    Ok(results)
}

/// Checks that evaluating the function that made this output moves no running statistics.
///
/// # Errors
/// It does.
pub(crate) fn check_function(output: &Tensor) -> Result<()> {
    // SAFETY: the tensor is live.
    checked(unsafe { pc_tch_check_function(raw(output)) })
        .map_err(|error| Error::new(ErrorKind::Unsupported, error.to_string()))
}

/// Where libtorch's default generator stands for the device of a tensor: elsewhere after a draw.
///
/// # Errors
/// What libtorch reports.
pub(crate) fn position(like: &Tensor) -> Result<u64> {
    let mut position = 0;
    // SAFETY: the tensor is live, and the shim writes one number.
    checked(unsafe { pc_tch_position(raw(like), &raw mut position) })?;
    Ok(position)
}

/// `x.grad <- gradient`.
///
/// # Errors
/// What libtorch reports.
pub(crate) fn set_grad(x: &Tensor, gradient: Option<Tensor>) -> Result<()> {
    let handle = gradient.map_or(ptr::null_mut(), into_raw);
    // SAFETY: the tensor is live, and the gradient's handle is given up to the shim. `.grad` is
    // shared by all handles of a tensor, as in libtorch itself.
    checked(unsafe { pc_tch_set_grad(raw(x), handle) })
}

/// `sum <- sum + x`, in place where nothing else can see the sum.
pub(crate) fn add(sum: &mut Option<Tensor>, x: &Tensor) -> Result<()> {
    // A tensor is held as it is, without a copy, until a second one comes.
    in_place(sum, |handle| {
        // SAFETY: both handles are of live tensors or null; the shim replaces the first by one that
        // is ours.
        unsafe { pc_tch_add(handle, raw(x)) }
    })
}

/// `y <- a y + b x`, in place where nothing else can see `y`; absent tensors are zero.
pub(crate) fn axpby(y: &mut Option<Tensor>, a: f64, x: Option<&Tensor>, b: f64) -> Result<()> {
    in_place(y, |handle| {
        // SAFETY: as in `add`.
        unsafe { pc_tch_axpby(handle, a, raw_or_null(x), b) }
    })
}

/// Lends the shim a handle that it may write to or replace.
fn in_place(
    tensor: &mut Option<Tensor>,
    work: impl FnOnce(*mut *mut C_tensor) -> *mut c_char,
) -> Result<()> {
    let mut handle = tensor.take().map_or(ptr::null_mut(), into_raw);
    let message = work(&raw mut handle);
    *tensor = from_raw(handle);
    checked(message)
}

/// `sum |x|^2`, in f64.
pub(crate) fn norm_squared(x: &Tensor) -> Result<f64> {
    let mut norm = 0.0;
    // SAFETY: the tensor is live, and the shim writes one number.
    checked(unsafe { pc_tch_norm_squared(raw(x), &raw mut norm) })?;
    Ok(norm)
}
