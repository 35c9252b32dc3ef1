//! A device whose kernels are a library's, and what is said where they are wrong.
#![allow(unsafe_code)]

use std::env;

use pc_cuda::{Device, DeviceProps, Simulation};

pub(crate) fn device(seed: u64, props: &DeviceProps) -> Device {
    let path = env::var_os("PC_CUDA_BATTERY").unwrap();
    // SAFETY: the library is made of the host layer's own sources; it is never unloaded, and the
    // symbol is what it is taken for.
    let simulation = unsafe {
        let library = Box::leak(Box::new(libloading::Library::new(path).unwrap()));
        let symbol = library.get::<unsafe extern "C" fn()>(b"pcsim_launch").unwrap();
        Simulation::new(seed).of(props.clone()).with_library(*symbol as *const std::ffi::c_void)
    };
    Device::simulated(&simulation).unwrap()
}

pub(crate) fn object(what: &str) -> ! {
    eprintln!("objection: {what}");
    std::process::exit(1)
}
