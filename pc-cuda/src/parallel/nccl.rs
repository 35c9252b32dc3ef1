//! Sums over GPUs by NCCL.
#![allow(unsafe_code)]

use std::{ffi::c_void, ptr};

use cudarc::nccl::{result, sys};
use pc_core::{Error, ErrorKind, Result};

use crate::{
    device::{Device, failed},
    parallel::reduce::{self, AllReduce},
    tensor::DeviceTensor,
};

/// Sums from GPU to GPU, by NVIDIA's library NCCL. It is loaded when this is made, so that machines
/// without it build and run everything else.
///
/// NCCL wants a GPU for each device: two streams of one GPU are for [`super::ThroughHost`]. **It
/// has never run**: no machine that this was written on had two GPUs. What it asks of the library
/// and what it refuses follow NCCL's own documentation.
pub struct Nccl {
    /// In the order of the devices, which live as long.
    members: Vec<(Device, sys::ncclComm_t)>,
}

impl std::fmt::Debug for Nccl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.members.iter().map(|(device, _)| device)).finish()
    }
}

fn check(
    what: &str,
    done: std::result::Result<result::NcclStatus, result::NcclError>,
) -> Result<()> {
    match done {
        Ok(_) => Ok(()),
        Err(result::NcclError(status)) => Err(failed(format!("NCCL: {what}: {status:?}"))),
    }
}

impl Nccl {
    /// For these devices, in this order.
    ///
    /// # Errors
    /// NCCL is not on this machine; a device that is simulated; two devices on one GPU; what NCCL
    /// reports.
    ///
    /// # Example
    /// ```
    /// use pc_cuda::{Device, Nccl};
    /// match Device::cuda(0).and_then(|device| Nccl::new(&[device])) {
    ///     Ok(sums) => println!("{sums:?}"),
    ///     Err(error) => println!("no sums by NCCL here: {error}"),
    /// }
    /// ```
    pub fn new(devices: &[Device]) -> Result<Self> {
        // SAFETY: only looks for the library.
        if !unsafe { sys::is_culib_present() } {
            return Err(failed(
                "NCCL was not found on this machine (libnccl): install it, or sum by `ThroughHost`",
            ));
        }
        let mut ordinals = Vec::with_capacity(devices.len());
        for (index, device) in devices.iter().enumerate() {
            let (ordinal, _) = device.machine().stream().ok_or_else(|| {
                failed(format!("device {index} is simulated, and NCCL sums over GPUs alone"))
            })?;
            if ordinals.contains(&ordinal) {
                return Err(Error::new(
                    ErrorKind::Misuse,
                    format!(
                        "device {index} is a second stream of GPU {ordinal}, and NCCL wants a GPU \
                         for each device: sum by `ThroughHost`"
                    ),
                ));
            }
            ordinals.push(ordinal);
        }
        if ordinals.is_empty() {
            return Err(Error::new(ErrorKind::Misuse, "there are no devices to sum over"));
        }
        let mut members = vec![ptr::null_mut(); ordinals.len()];
        let count = i32::try_from(ordinals.len()).unwrap_or(i32::MAX);
        // SAFETY: there is room for as many members as there are numbers.
        check("joining the devices", unsafe {
            result::comm_init_all(members.as_mut_ptr(), count, ordinals.as_ptr())
        })?;
        Ok(Self { members: devices.iter().cloned().zip(members).collect() })
    }
}

impl AllReduce for Nccl {
    fn sum(&mut self, parts: &mut [Vec<&mut DeviceTensor>]) -> Result<()> {
        reduce::check(parts)?;
        let same = parts.len() == self.members.len()
            && parts
                .iter()
                .zip(&self.members)
                .all(|(part, (device, _))| part.iter().all(|tensor| tensor.device().is(device)));
        if !same {
            return Err(Error::new(
                ErrorKind::Misuse,
                "these are tensors of other devices than NCCL was joined for",
            ));
        }
        // NCCL puts its sums behind what is in the streams.
        self.members.iter().try_for_each(|(device, _)| device.flush())?;
        check("beginning a sum", result::group_start())?;
        let mut outcome = Ok(());
        for (part, (device, member)) in parts.iter().zip(&self.members) {
            let Some((_, stream)) = device.machine().stream() else { continue };
            for tensor in part {
                let place = tensor.address();
                // SAFETY: the tensor has this many numbers on this member's GPU, and its memory is
                // freed in the order of the stream; a sum in place is allowed.
                let asked = unsafe {
                    result::all_reduce(
                        place as *const c_void,
                        place as *mut c_void,
                        tensor.count(),
                        sys::ncclDataType_t::ncclFloat32,
                        sys::ncclRedOp_t::ncclSum,
                        *member,
                        stream.cast(),
                    )
                };
                outcome = outcome.and(check("summing", asked));
            }
        }
        // The group ends whether or not all went well.
        let ended = check("summing", result::group_end());
        outcome.and(ended)
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        for (device, member) in &self.members {
            // Errors on the way out have nobody to be told to.
            let _ = device.machine().synchronize();
            // SAFETY: made in `new`, used by nobody else; its work is done.
            let _ = unsafe { result::comm_destroy(*member) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine with NCCL it is the empty list that is refused, elsewhere the library is named.
    #[test]
    fn what_is_missing_is_named() {
        let error = Nccl::new(&[]).map(|_| ()).map_err(|error| error.to_string());
        // SAFETY: only looks for the library.
        let says = if unsafe { sys::is_culib_present() } { "no devices" } else { "libnccl" };
        assert!(error.as_ref().is_err_and(|error| error.contains(says)), "{error:?}");
    }
}
