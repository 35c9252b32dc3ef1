//! Devices: where memory lies and kernels run.

mod batched;
mod blas;
mod compile;
mod cuda;
mod kernels;
mod machine;
mod props;
mod recorder;
#[cfg(feature = "simulation")]
mod simulation;
mod together;
mod works;

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::{Rc, Weak},
};

use pc_core::{Error, ErrorKind, Result};

use crate::tensor::DeviceTensor;

pub use props::DeviceProps;
#[cfg(feature = "simulation")]
pub use simulation::Simulation;

pub(crate) use kernels::Family;
use recorder::Recorder;

pub(crate) use machine::{Address, Arguments, Gemm, Layout, Machine, bytes_of};
use machine::{MANY, Touches, many};

/// One stream of work on one device. Clones are the same stream; another stream, or another thread,
/// takes a device of its own.
///
/// # Example
/// ```
/// match pc_cuda::Device::cuda(0) {
///     Ok(device) => println!("{}", device.props()),
///     Err(error) => println!("no GPU here: {error}"),
/// }
/// ```
#[derive(Clone)]
pub struct Device {
    inner: Rc<Inner>,
}

struct Inner {
    machine: Box<dyn Machine>,
    props: DeviceProps,
    /// What failed in a call that could not say so; the next call that can, says it.
    failure: RefCell<Option<Error>>,
    /// Room for sums that are brought to the host at once, and its bytes.
    room: Cell<(Address, usize)>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (address, bytes) = self.room.get();
        if bytes > 0 {
            // Nobody is left who could be told.
            let _ = self.machine.free(address);
        }
    }
}

thread_local! {
    /// The devices of this thread on which a call failed that could not say so.
    static FAILED: RefCell<Vec<Weak<Inner>>> = const { RefCell::new(Vec::new()) };
}

/// Reports a failure of any device of this thread that nobody has been told of.
pub(crate) fn failure() -> Result<()> {
    while let Some(inner) = FAILED.with_borrow_mut(Vec::pop) {
        if let Some(error) = inner.upgrade().and_then(|inner| inner.failure.borrow_mut().take()) {
            return Err(error);
        }
    }
    Ok(())
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.inner.props.name)
    }
}

/// One launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Launch {
    pub(crate) family: Family,
    pub(crate) kernel: &'static str,
    pub(crate) grid: usize,
    pub(crate) block: usize,
    pub(crate) cluster: usize,
    pub(crate) shared: usize,
}

/// How much a device was asked for, launches, products and copies together: see
/// [`Device::launches`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Launches {
    /// How many were asked for one by one.
    pub asked: u64,
    /// How many they became, where recordings have several in one.
    pub made: u64,
}

impl Device {
    /// The GPU of this number, with a stream of its own.
    ///
    /// # Errors
    /// No driver, no GPU of this number, no memory; no compiler library (NVRTC) where the kernels
    /// are not in the cache yet.
    pub fn cuda(ordinal: usize) -> Result<Self> {
        let (machine, props) = cuda::Cuda::new(ordinal)?;
        Ok(Self::of(Box::new(machine), props))
    }

    /// The host layer: kernels run on the CPU, thread by thread. For tests.
    ///
    /// # Errors
    /// None today.
    #[cfg(feature = "simulation")]
    pub fn simulated(simulation: &Simulation) -> Result<Self> {
        Ok(Self::of(Box::new(simulation.machine()), simulation.props.clone()))
    }

    fn of(machine: Box<dyn Machine>, props: DeviceProps) -> Self {
        let machine = Box::new(Recorder::new(machine));
        let (failure, room) = (RefCell::new(None), Cell::new((0, 0)));
        Self { inner: Rc::new(Inner { machine, props, failure, room }) }
    }

    /// The architectures for which machine code came with this program (where it was built with
    /// `PC_CUDA_CUBINS`); kernels for others are compiled at first use.
    pub fn embedded() -> Vec<&'static str> {
        kernels::embedded()
    }

    /// What the device is.
    pub fn props(&self) -> &DeviceProps {
        &self.inner.props
    }

    /// Sees to it that what was asked for is on its way: work is collected until somebody needs it,
    /// or a step of a relaxation ends, so that steps that repeat can be recorded and replayed.
    ///
    /// # Errors
    /// What the device reports of work that failed meanwhile.
    ///
    /// # Example
    /// ```
    /// # #[cfg(feature = "simulation")] {
    /// use pc_core::Tensor;
    /// use pc_cuda::{Device, Simulation};
    /// let device = Device::simulated(&Simulation::new(0))?;
    /// let mut a = device.tensor(&[1, 2], &[1.0, 2.0])?;
    /// for _ in 0..3 {
    ///     for _ in 0..4 {
    ///         a.scale(2.0);
    ///     }
    ///     device.flush()?; // The same four for the second and third time: recorded, replayed.
    /// }
    /// assert_eq!(device.replayed(), 2);
    /// assert_eq!(a.numbers()?, [4096.0, 8192.0]);
    /// # }
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.check()?;
        self.machine().flush()
    }

    /// How many times a recording has been replayed in place of the launches it was made of: see
    /// [`Device::flush`].
    pub fn replayed(&self) -> u64 {
        self.machine().replayed()
    }

    /// What vertices and schedules asked for so far in graphs that run step by step, and how much
    /// less it became: of a piece of work that is recorded, launches of one kernel and size that
    /// need not wait for one another are one, and so are products of one size. So an LSTM's gates
    /// at all times share launches.
    ///
    /// A product that is one of several may be summed in another order than alone, so a piece that
    /// is replayed may differ from its first run within rounding. Each way is repeatable.
    ///
    /// # Example
    /// ```
    /// # #[cfg(feature = "simulation")] {
    /// use pc_core::Tensor;
    /// use pc_cuda::{Device, Launches, Simulation};
    /// let device = Device::simulated(&Simulation::new(0))?;
    /// let mut all = (0..8)
    ///     .map(|_| device.tensor(&[1, 2], &[1.0, 2.0]))
    ///     .collect::<Result<Vec<_>, _>>()?;
    /// device.flush()?;
    /// let before = device.launches();
    /// for _ in 0..3 {
    ///     all.iter_mut().for_each(|tensor| tensor.scale(2.0));
    ///     device.flush()?;
    /// }
    /// let Launches { asked, made } = device.launches();
    /// // Eight the first time, then one for all of them.
    /// assert_eq!((asked - before.asked, made - before.made), (24, 10));
    /// # }
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn launches(&self) -> Launches {
        self.machine().launches()
    }

    /// Waits until everything asked for has been done.
    ///
    /// # Errors
    /// What the device reports of work that failed meanwhile.
    pub fn synchronize(&self) -> Result<()> {
        self.check()?;
        self.inner.machine.synchronize()
    }

    /// The seconds that work took, by the device's own clock (marks in the stream) where it has
    /// one.
    ///
    /// # Errors
    /// What the work returns; what the device reports.
    pub fn time(&self, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
        self.check()?;
        self.inner.machine.time(&mut work)
    }

    /// A tensor of these numbers.
    ///
    /// # Errors
    /// Numbers that do not fill the shape; no memory.
    pub fn tensor(&self, shape: &[usize], numbers: &[f32]) -> Result<DeviceTensor> {
        DeviceTensor::new(self, shape, numbers)
    }

    /// Reports what failed earlier in a call that could not say so.
    pub(crate) fn check(&self) -> Result<()> {
        match self.inner.failure.borrow_mut().take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Keeps the first failure of calls that cannot report one.
    pub(crate) fn note<T>(&self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.inner.failure.borrow_mut().get_or_insert(error);
                let own = Rc::downgrade(&self.inner);
                FAILED.with_borrow_mut(|all| {
                    if !all.iter().any(|known| known.ptr_eq(&own)) {
                        all.push(own);
                    }
                });
                None
            }
        }
    }

    /// Does what cannot report a failure, unless something has failed already: then memory may be
    /// missing.
    pub(crate) fn attempt(&self, work: impl FnOnce() -> Result<()>) {
        if self.inner.failure.borrow().is_none() {
            self.note(work());
        }
    }

    pub(crate) fn machine(&self) -> &dyn Machine {
        &*self.inner.machine
    }

    pub(crate) fn launch<P: Arguments>(&self, launch: &Launch, params: &P) -> Result<()> {
        if launch.grid == 0 {
            return Ok(());
        }
        self.machine().launch(launch, params.bytes(), P::TOUCHES)
    }

    /// The `f64`s that `work` writes to a place that it is told, brought to the host. It is the
    /// same place every time, so that work that repeats is the same work.
    pub(crate) fn doubles(
        &self,
        count: usize,
        work: impl FnOnce(Address) -> Result<()>,
    ) -> Result<Vec<f64>> {
        let mut bytes = vec![0u8; 8 * count];
        let (mut room, held) = self.inner.room.get();
        if bytes.len() > held || held == 0 {
            if held > 0 {
                self.inner.room.set((0, 0));
                self.machine().free(room)?;
            }
            let larger = bytes.len().max(16).next_power_of_two();
            room = self.machine().allocate(larger)?;
            self.inner.room.set((room, larger));
        }
        work(room)?;
        self.machine().download(room, &mut bytes)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|word| f64::from_ne_bytes(*word)).collect())
    }

    /// Whether both are one stream.
    pub(crate) fn is(&self, other: &Device) -> bool {
        Rc::ptr_eq(&self.inner, &other.inner)
    }
}

/// Device memory, freed with the last handle.
pub(crate) struct Memory {
    device: Device,
    address: Address,
}

impl Memory {
    pub(crate) fn new(device: &Device, bytes: usize) -> Result<Self> {
        let address = device.machine().allocate(bytes.max(16))?;
        Ok(Self { device: device.clone(), address })
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let freed = self.device.machine().free(self.address);
        self.device.note(freed);
    }
}

pub(crate) fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Backend, message)
}
