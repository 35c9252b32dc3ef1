//! The host layer as a device.
#![allow(unsafe_code)]

use std::{
    alloc,
    cell::{Cell, RefCell},
    collections::HashMap,
    ffi::{CStr, CString, c_char, c_int, c_void},
    rc::Rc,
};

use pc_core::Result;

use crate::{
    device::{
        Address, DeviceProps, Gemm, Launch, Layout, Machine, Touches, failed, many,
        together::{Allocations, addresses, allocation},
        works::Works,
    },
    precision::Precision,
};

/// Runs one kernel: name, grid, how many grids, block, cluster, bytes of shared memory, seed,
/// parameters and their size, room for a message.
pub(crate) type LaunchFn = unsafe extern "C" fn(
    *const c_char,
    u32,
    u32,
    u32,
    u32,
    u32,
    u64,
    *const c_void,
    usize,
    *mut c_char,
    usize,
) -> c_int;

unsafe extern "C" {
    fn pcsim_launch(
        name: *const c_char,
        grid: u32,
        members: u32,
        block: u32,
        cluster: u32,
        shared: u32,
        seed: u64,
        params: *const c_void,
        size: usize,
        message: *mut c_char,
        room: usize,
    ) -> c_int;
}

/// How the host layer runs kernels.
///
/// # Example
/// ```
/// use pc_cuda::{Device, Simulation};
/// let device = Device::simulated(&Simulation::new(7))?;
/// assert_eq!(device.tensor(&[2], &[1.0, 2.0])?.numbers()?, [1.0, 2.0]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Simulation {
    seed: u64,
    pub(crate) props: DeviceProps,
    launch: LaunchFn,
    memory: usize,
    calls: u64,
    watches: bool,
}

impl Simulation {
    /// Threads and blocks in order for seed 0; else in an order drawn from the seed, which starves
    /// some threads: all but one block or warp for odd seeds, one warp for even ones. The blocks of
    /// a launch (its clusters, where it has them) go from last to first for odd seeds, and are
    /// shuffled for even ones.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            props: DeviceProps::h100(),
            launch: pcsim_launch,
            memory: usize::MAX,
            calls: u64::MAX,
            watches: false,
        }
    }

    /// As this device would be planned for.
    #[must_use]
    pub fn of(self, props: DeviceProps) -> Self {
        Self { props, ..self }
    }

    /// With so many bytes of memory.
    #[must_use]
    pub fn with_memory(self, bytes: usize) -> Self {
        Self { memory: bytes, ..self }
    }

    /// Compares all memory before and after every launch, and fails where a kernel wrote what it
    /// says it reads. Slow.
    #[must_use]
    pub fn watched(self) -> Self {
        Self { watches: true, ..self }
    }

    /// A device that is lost after so many calls (allocations, copies, launches, products): from
    /// then on every one fails.
    #[must_use]
    pub fn lost_after(self, calls: u64) -> Self {
        Self { calls, ..self }
    }

    /// With the kernels of another library, whose symbol `pcsim_launch` this is. For testing tests.
    ///
    /// # Safety
    /// It must be that function, and stay loaded.
    #[doc(hidden)]
    #[must_use]
    pub unsafe fn with_library(self, symbol: *const c_void) -> Self {
        // SAFETY: the caller vouches for the signature.
        Self { launch: unsafe { std::mem::transmute::<*const c_void, LaunchFn>(symbol) }, ..self }
    }

    pub(crate) fn machine(&self) -> HostLayer {
        HostLayer {
            launch: self.launch,
            seed: self.seed,
            memory: self.memory,
            calls: Cell::new(self.calls),
            launches: Cell::new(0),
            blocks: RefCell::default(),
            watches: self.watches,
            recording: RefCell::default(),
            recorded: RefCell::default(),
        }
    }
}

/// Device memory is host memory, each allocation of its exact length, so that a sanitizer sees its
/// end.
pub(crate) struct HostLayer {
    launch: LaunchFn,
    seed: u64,
    memory: usize,
    /// How many are left.
    calls: Cell<u64>,
    launches: Cell<u64>,
    blocks: RefCell<Allocations>,
    watches: bool,
    /// What is being recorded.
    recording: RefCell<Option<Works>>,
    recorded: RefCell<HashMap<u64, Rc<Works>>>,
}

impl HostLayer {
    fn call(&self) -> Result<()> {
        match self.calls.get() {
            0 => Err(failed("the device is lost")),
            u64::MAX => Ok(()),
            left => {
                self.calls.set(left - 1);
                Ok(())
            }
        }
    }

    /// Runs a kernel over so many grids.
    fn kernel(&self, launch: &Launch, kernel: &str, params: &[u8], members: usize) -> Result<()> {
        let name = CString::new(kernel).map_err(|error| failed(error.to_string()))?;
        let mut message: [c_char; 512] = [0; 512];
        let number = self.launches.get();
        self.launches.set(number + 1);
        // Every launch has another order, of the same oddness.
        let seed = if self.seed == 0 { 0 } else { self.seed + 2 * number };
        let sizes = [launch.grid, members, launch.block, launch.cluster, launch.shared];
        let [Ok(grid), Ok(members), Ok(block), Ok(cluster), Ok(shared)] = sizes.map(u32::try_from)
        else {
            return Err(failed(format!("{kernel}: the launch is too large")));
        };
        // Kernels read the struct in place, so it has to be aligned.
        let mut aligned = vec![0u64; params.len().div_ceil(8)];
        // SAFETY: the copy is at least as long; the callee checks the size against its own struct
        // and writes the message within its room.
        let status = unsafe {
            std::ptr::copy_nonoverlapping(
                params.as_ptr(),
                aligned.as_mut_ptr().cast::<u8>(),
                params.len(),
            );
            (self.launch)(
                name.as_ptr(),
                grid,
                members,
                block,
                cluster,
                shared,
                seed,
                aligned.as_ptr().cast(),
                params.len(),
                message.as_mut_ptr(),
                message.len(),
            )
        };
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the callee ends its message with a zero.
        let message = unsafe { CStr::from_ptr(message.as_ptr()) };
        Err(failed(format!("{kernel}: {}", message.to_string_lossy())))
    }

    /// Sees to it that a kernel that says what it touches has said so of every address it takes.
    fn declared(&self, launch: &Launch, params: &[u8], touches: Touches) -> Result<()> {
        let Some(touches) = touches else { return Ok(()) };
        let blocks = self.blocks.borrow();
        for (index, word) in params.as_chunks::<8>().0.iter().enumerate() {
            let at = 8 * index;
            if allocation(&blocks, u64::from_ne_bytes(*word)).is_some()
                && !touches.iter().any(|touch| touch.at == at)
            {
                let why = format!("{}: does not say what it does at byte {at}", launch.kernel);
                return Err(failed(why));
            }
        }
        Ok(())
    }

    /// Where all launches are watched: copies of all memory that this one says it does not write.
    fn watched(&self, params: &[u8], touches: Touches) -> Vec<(Address, Vec<u8>)> {
        let Some(all) = self.watches.then(|| addresses(touches, params)).flatten() else {
            return Vec::new();
        };
        let blocks = self.blocks.borrow();
        let written: Vec<Address> = all
            .iter()
            .filter(|(_, writes)| *writes)
            .filter_map(|(address, _)| allocation(&blocks, *address))
            .collect();
        let others = blocks.iter().filter(|(address, _)| !written.contains(address));
        others.map(|(address, bytes)| (*address, memory(*address, *bytes).to_vec())).collect()
    }

    fn unchanged(&self, launch: &Launch, others: Vec<(Address, Vec<u8>)>) -> Result<()> {
        match others.iter().any(|(address, before)| memory(*address, before.len()) != before) {
            true => Err(failed(format!("{}: wrote what it says it reads", launch.kernel))),
            false => Ok(()),
        }
    }

    /// Whether work was recorded instead.
    fn records(&self, note: impl FnOnce(&mut Works)) -> bool {
        self.recording.borrow_mut().as_mut().map(note).is_some()
    }
}

impl Drop for HostLayer {
    fn drop(&mut self) {
        for (address, bytes) in std::mem::take(self.blocks.get_mut()) {
            release(address, bytes);
        }
    }
}

/// How memory is aligned.
const ALIGNED: usize = 256;

/// Gives back what `allocate` gave.
fn release(address: Address, bytes: usize) {
    if let Ok(layout) = alloc::Layout::from_size_align(bytes, ALIGNED) {
        // SAFETY: allocated with this layout, and not freed since.
        unsafe { alloc::dealloc(address as *mut u8, layout) }
    }
}

fn memory<'a>(address: Address, bytes: usize) -> &'a [u8] {
    // SAFETY: an allocation of that length, which outlives the call.
    unsafe { std::slice::from_raw_parts(address as *const u8, bytes) }
}

fn slice<'a>(address: Address, length: usize) -> &'a [f32] {
    // SAFETY: addresses come from tensors of that length, whose memory outlives the call.
    unsafe { std::slice::from_raw_parts(address as *const f32, length) }
}

impl Machine for HostLayer {
    fn allocate(&self, bytes: usize) -> Result<Address> {
        self.call()?;
        let held: usize = self.blocks.borrow().values().sum();
        if bytes > self.memory.saturating_sub(held) {
            return Err(failed(format!("allocating {bytes} bytes: out of memory")));
        }
        let layout = alloc::Layout::from_size_align(bytes, ALIGNED)
            .map_err(|error| failed(error.to_string()))?;
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc::alloc(layout) };
        if memory.is_null() {
            return Err(failed(format!("out of memory: {bytes} bytes")));
        }
        // SAFETY: just allocated; NaNs, so that nothing is taken for zero that was not written.
        unsafe { memory.write_bytes(0xff, bytes) }
        self.blocks.borrow_mut().insert(memory as Address, bytes);
        Ok(memory as Address)
    }

    fn free(&self, address: Address) -> Result<()> {
        let bytes = self
            .blocks
            .borrow_mut()
            .remove(&address)
            .ok_or_else(|| failed("memory was freed that was not allocated"))?;
        release(address, bytes);
        Ok(())
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<()> {
        self.call()?;
        // SAFETY: tensors upload no more than they have allocated.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) }
        Ok(())
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.call()?;
        // SAFETY: tensors download no more than they have allocated.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, bytes.as_mut_ptr(), bytes.len()) }
        Ok(())
    }

    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<()> {
        self.call()?;
        if self.records(|works| works.copy(to, from, bytes)) {
            return Ok(());
        }
        // SAFETY: both are allocations of at least this length; one onto itself is allowed.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) }
        Ok(())
    }

    fn launch(&self, launch: &Launch, params: &[u8], touches: Touches) -> Result<()> {
        self.call()?;
        if self.records(|works| works.launch(launch, params, touches)) {
            return Ok(());
        }
        self.declared(launch, params, touches)?;
        let others = self.watched(params, touches);
        self.kernel(launch, launch.kernel, params, 1)?;
        self.unchanged(launch, others)
    }

    fn launch_many(&self, launch: &Launch, params: &[u8], each: usize) -> Result<()> {
        self.call()?;
        if self.records(|works| works.many(launch, each, params.chunks_exact(each))) {
            return Ok(());
        }
        let (kernel, all) = many(launch, params, each)?;
        self.kernel(launch, &kernel, &all, params.len() / each)
    }

    fn gemm(&self, gemm: &Gemm) -> Result<()> {
        self.call()?;
        if self.records(|works| works.gemm(gemm)) {
            return Ok(());
        }
        let Gemm { layout, m, n, k, a, b, c, add, precision, halves } = *gemm;
        // Ties away from zero for tf32, and to even for bf16.
        let round = |x: f32| match precision {
            Precision::Tf32 if x.is_finite() => f32::from_bits((x.to_bits() + 0x1000) & !0x1fff),
            Precision::Bf16 if x.is_finite() => {
                let bits = x.to_bits();
                f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & !0xffff)
            }
            _ => x,
        };
        let operand = |address, count: usize| -> Vec<f32> {
            if !halves {
                return slice(address, count).iter().copied().map(round).collect();
            }
            let words = slice(address, count.div_ceil(2)).iter().map(|word| word.to_bits());
            let both = |word: u32| [word << 16, word & 0xffff_0000].map(f32::from_bits);
            words.flat_map(both).take(count).collect()
        };
        let (a, b) = (operand(a, m * k), operand(b, n * k));
        // SAFETY: the result is a tensor of its own, of this length.
        let c = unsafe { std::slice::from_raw_parts_mut(c as *mut f32, m * n) };
        for (row, a) in c.chunks_exact_mut(n).zip(a.chunks_exact(k)) {
            let mut sums = vec![0f32; n];
            match layout {
                Layout::Plain => {
                    for (x, b) in a.iter().zip(b.chunks_exact(n)) {
                        sums.iter_mut().zip(b).for_each(|(sum, y)| *sum += x * y);
                    }
                }
                Layout::Transposed => {
                    for (sum, b) in sums.iter_mut().zip(b.chunks_exact(k)) {
                        *sum = a.iter().zip(b).map(|(x, y)| x * y).sum();
                    }
                }
            }
            row.iter_mut().zip(sums).for_each(|(c, sum)| *c = if add { *c + sum } else { sum });
        }
        Ok(())
    }

    fn gemms(&self, gemms: &[Gemm]) -> Result<()> {
        self.call()?;
        if self.records(|works| works.gemms(gemms.to_vec())) {
            return Ok(());
        }
        // None may rest on which comes first.
        let mut all: Vec<&Gemm> = gemms.iter().collect();
        if self.seed % 2 == 1 {
            all.reverse();
        }
        all.into_iter().try_for_each(|gemm| self.gemm(gemm))
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<u64> {
        // Once to prepare and once to record, as a GPU does.
        let mut kept = Works::default();
        for _ in 0..2 {
            self.recording.replace(Some(Works::default()));
            let done = work();
            kept = self.recording.take().unwrap_or_default();
            done?;
        }
        let mut recorded = self.recorded.borrow_mut();
        let number = (1..).find(|number| !recorded.contains_key(number)).unwrap_or(0);
        recorded.insert(number, Rc::new(kept));
        Ok(number)
    }

    fn replay(&self, graph: u64) -> Result<()> {
        let works = self.recorded.borrow().get(&graph).cloned();
        works.ok_or_else(|| failed("a recording that was forgotten cannot be replayed"))?.run(self)
    }

    fn forget(&self, graph: u64) -> Result<()> {
        self.recorded.borrow_mut().remove(&graph);
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        self.call()
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        let start = std::time::Instant::now();
        work()?;
        Ok(start.elapsed().as_secs_f64())
    }
}
