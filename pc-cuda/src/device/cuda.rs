//! An NVIDIA GPU as a device, through the driver alone: context, stream, memory, launches, recorded
//! graphs.
#![allow(unsafe_code)]

mod recordings;

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    ffi::{CString, c_void},
    mem::MaybeUninit,
};

use cudarc::driver::{result, sys};
use pc_core::Result;

use crate::device::{
    Address, DeviceProps, Family, Gemm, Launch, Machine, Touches, batched::Batched, blas::Blas,
    compile, failed, many,
};

use recordings::{Phase, Recorded};

/// Says which call failed, and what it usually means.
fn check(what: &str, status: sys::CUresult) -> Result<()> {
    let Err(error) = status.result() else { return Ok(()) };
    let text = error.error_string().ok().map(|text| text.to_string_lossy().into_owned());
    let hint = match status {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => "; a smaller batch needs less",
        sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
        | sys::CUresult::CUDA_ERROR_LAUNCH_FAILED
        | sys::CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE
        | sys::CUresult::CUDA_ERROR_ECC_UNCORRECTABLE => {
            "; the device is lost to this process, which has to start again"
        }
        _ => "",
    };
    Err(failed(format!("{what}: {}{hint}", text.unwrap_or_else(|| format!("{status:?}")))))
}

/// A stream in the primary context of one GPU.
pub(crate) struct Cuda {
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    architecture: String,
    modules: RefCell<HashMap<Family, sys::CUmodule>>,
    functions: RefCell<HashMap<String, sys::CUfunction>>,
    graphs: RefCell<HashMap<u64, Recorded>>,
    blas: RefCell<Option<Blas>>,
    /// None inside where the library is not there.
    batched: RefCell<Option<Option<Batched>>>,
    phase: Cell<Phase>,
    /// The lists of addresses of what is being recorded, in the order in which they are used.
    lists: RefCell<VecDeque<Address>>,
}

impl Cuda {
    pub(crate) fn new(ordinal: usize) -> Result<(Self, DeviceProps)> {
        // SAFETY: only looks for the library.
        if !unsafe { sys::is_culib_present() } {
            return Err(failed("there is no CUDA driver on this machine (libcuda was not found)"));
        }
        // SAFETY: initialising twice is allowed.
        check("starting the CUDA driver", unsafe { sys::cuInit(0) })?;
        let mut version = 0;
        // SAFETY: into a local.
        check("asking for the driver's version", unsafe {
            sys::cuDriverGetVersion(&raw mut version)
        })?;
        if version < 13_000 {
            return Err(failed(format!(
                "the driver is of CUDA {}.{}, and 13.0 is needed",
                version / 1000,
                version % 1000 / 10
            )));
        }
        let number =
            i32::try_from(ordinal).map_err(|_| failed(format!("there is no GPU {ordinal}")))?;
        let (mut device, mut context, mut stream) = (0, std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: plain queries into locals; the context is released in `drop`.
        unsafe {
            check(
                &format!("looking for GPU {ordinal}"),
                sys::cuDeviceGet(&raw mut device, number),
            )?;
            check("making a context", sys::cuDevicePrimaryCtxRetain(&raw mut context, device))?;
        }
        let mut cuda = Self {
            device,
            context,
            stream,
            architecture: String::new(),
            modules: RefCell::default(),
            functions: RefCell::default(),
            graphs: RefCell::default(),
            blas: RefCell::default(),
            batched: RefCell::default(),
            phase: Cell::new(Phase::Direct),
            lists: RefCell::default(),
        };
        cuda.enter()?;
        // SAFETY: the context is current.
        check("making a stream", unsafe {
            sys::cuStreamCreate(&raw mut stream, sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32)
        })?;
        cuda.stream = stream;
        cuda.keep_memory()?;
        let mut props = cuda.props()?;
        cuda.architecture = props.architecture();
        if props.capability < (8, 0) {
            return Err(failed(format!(
                "{props} is older than sm_80, for which the kernels are written"
            )));
        }
        if props.capability >= (9, 0) {
            props.clusters = cuda.clusters(props.shared_memory)?;
        }
        Ok((cuda, props))
    }

    /// Lets freed memory stay with the process, for the next tensor.
    fn keep_memory(&self) -> Result<()> {
        let mut pool = std::ptr::null_mut();
        let mut threshold = u64::MAX;
        // SAFETY: queries and settings of the device's own pool, from and into locals.
        unsafe {
            check(
                "asking for the memory pool",
                sys::cuDeviceGetDefaultMemPool(&raw mut pool, self.device),
            )?;
            let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            check(
                "setting up the memory pool",
                sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast()),
            )
        }
    }

    /// Makes the context this thread's.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context is retained for as long as `self` lives.
        check("entering the context", unsafe { sys::cuCtxSetCurrent(self.context) })
    }

    fn attribute(&self, attribute: sys::CUdevice_attribute) -> Result<usize> {
        let mut value = 0;
        // SAFETY: a query into a local.
        check("asking the device for its properties", unsafe {
            sys::cuDeviceGetAttribute(&raw mut value, attribute, self.device)
        })?;
        Ok(usize::try_from(value).unwrap_or(0))
    }

    fn props(&self) -> Result<DeviceProps> {
        use sys::CUdevice_attribute as A;
        let capability = (
            self.attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            self.attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        Ok(DeviceProps {
            name: result::device::get_name(self.device)
                .map_err(|error| failed(format!("asking the device for its name: {error:?}")))?,
            capability: (capability.0 as u32, capability.1 as u32),
            multiprocessors: self.attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_memory: self
                .attribute(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            clusters: Vec::new(),
        })
    }

    /// Asks how many clusters of each size run at once, each block with all the shared memory it
    /// may have.
    fn clusters(&self, shared: usize) -> Result<Vec<(usize, usize)>> {
        let function = self.function(Family::RelaxCluster, "pc_relax_live_f32")?;
        let mut found = Vec::new();
        for blocks in [1, 2, 4, 8, 16] {
            let launch = Launch {
                family: Family::RelaxCluster,
                kernel: "pc_relax_live_f32",
                grid: blocks,
                block: 256,
                cluster: blocks,
                shared,
            };
            self.allow(function, &launch)?;
            let mut attributes = [cluster_attribute(blocks)];
            let config = self.config(&launch, &mut attributes);
            let mut count = 0;
            // SAFETY: the config and its attributes live through the call.
            let status = unsafe {
                sys::cuOccupancyMaxActiveClusters(&raw mut count, function, &raw const config)
            };
            // A size that the device does not know is one of which none fit.
            if status == sys::CUresult::CUDA_SUCCESS && count > 0 {
                found.push((blocks, count as usize));
            }
        }
        Ok(found)
    }

    /// Launches a kernel over so many grids.
    fn kernel(&self, launch: &Launch, kernel: &str, params: &[u8], members: usize) -> Result<()> {
        self.enter()?;
        let function = self.function(launch.family, kernel)?;
        self.allow(function, launch)?;
        if self.prepares() {
            return Ok(());
        }
        // Before sm_90 there are no such attributes. What sends to a cluster has to run in one, if
        // of one block.
        let mut attributes = Vec::new();
        if launch.cluster > 1 || matches!(launch.family, Family::RelaxCluster | Family::RelaxWgmma)
        {
            attributes.push(cluster_attribute(launch.cluster));
        }
        if launch.family == Family::RelaxWgmma {
            attributes.push(early_attribute());
        }
        let mut config = self.config(launch, &mut attributes);
        config.gridDimY = members as u32;
        let mut arguments = [params.as_ptr().cast_mut().cast::<c_void>()];
        // SAFETY: every kernel takes one struct, of the type whose bytes these are; the driver
        // copies it before it returns.
        check(kernel, unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                function,
                arguments.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        })
    }

    /// Sees to it that the library is there, with a workspace.
    fn with_blas<T>(&self, work: impl FnOnce(&mut Blas) -> Result<T>) -> Result<T> {
        let mut blas = self.blas.borrow_mut();
        if blas.is_none() {
            *blas = Some(Blas::new(self.allocate(Blas::WORKSPACE)?)?);
        }
        match blas.as_mut() {
            Some(blas) => work(blas),
            None => Err(failed("cuBLASLt is not there")),
        }
    }

    fn config(
        &self,
        launch: &Launch,
        attributes: &mut [sys::CUlaunchAttribute],
    ) -> sys::CUlaunchConfig {
        sys::CUlaunchConfig {
            gridDimX: launch.grid as u32,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: launch.block as u32,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: launch.shared as u32,
            hStream: self.stream,
            attrs: attributes.as_mut_ptr(),
            numAttrs: attributes.len() as u32,
        }
    }

    /// Lets a kernel have more shared memory, and larger clusters, than every device gives.
    fn allow(&self, function: sys::CUfunction, launch: &Launch) -> Result<()> {
        use sys::CUfunction_attribute_enum as A;
        let set = |what: &str, attribute, value| {
            // SAFETY: the function belongs to a module that is never unloaded before `self` is
            // dropped.
            check(&format!("{}: {what}", launch.kernel), unsafe {
                sys::cuFuncSetAttribute(function, attribute, value)
            })
        };
        if launch.shared > 48 << 10 {
            set(
                "asking for shared memory",
                A::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                launch.shared as i32,
            )?;
        }
        if launch.cluster > 8 {
            set(
                "asking for clusters of 16",
                A::CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED,
                1,
            )?;
        }
        Ok(())
    }

    fn function(&self, family: Family, kernel: &str) -> Result<sys::CUfunction> {
        if let Some(function) = self.functions.borrow().get(kernel) {
            return Ok(*function);
        }
        let loaded = self.modules.borrow().get(&family).copied();
        let module = match loaded {
            Some(module) => module,
            None => {
                let module = self.load(family)?;
                self.modules.borrow_mut().insert(family, module);
                module
            }
        };
        let name = CString::new(kernel).map_err(|error| failed(error.to_string()))?;
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded and the name ends with a zero.
        check(&format!("looking for the kernel {kernel}"), unsafe {
            sys::cuModuleGetFunction(&raw mut function, module, name.as_ptr())
        })?;
        self.functions.borrow_mut().insert(kernel.to_owned(), function);
        Ok(function)
    }

    /// Machine code that came with the program, or from the cache, or compiled now.
    fn load(&self, family: Family) -> Result<sys::CUmodule> {
        if let Some(code) = family.embedded(&self.architecture) {
            return self.load_code(family, code);
        }
        let source = family.source();
        let cache = compile::Cache::of_user();
        let code = cache.get_or_compile(family.name(), &source, &self.architecture)?;
        self.load_code(family, &code).or_else(|_| {
            // What lies in the cache may have been made by something else that calls itself the
            // same.
            let code = cache.compile_anew(family.name(), &source, &self.architecture)?;
            self.load_code(family, &code)
        })
    }

    fn load_code(&self, family: Family, code: &[u8]) -> Result<sys::CUmodule> {
        let mut module = std::ptr::null_mut();
        // SAFETY: a cubin says its own length; those here are whole, as their checksum or their
        // compiler has said.
        check(&format!("loading the kernels of {}", family.name()), unsafe {
            sys::cuModuleLoadData(&raw mut module, code.as_ptr().cast::<c_void>())
        })?;
        Ok(module)
    }

    /// A mark in the stream, for timing.
    fn mark(&self) -> Result<sys::CUevent> {
        self.enter()?;
        let mut event = std::ptr::null_mut();
        // SAFETY: into a local; `elapsed` destroys it.
        unsafe {
            check(
                "making an event",
                sys::cuEventCreate(&raw mut event, sys::CUevent_flags::CU_EVENT_DEFAULT as u32),
            )?;
            check("recording an event", sys::cuEventRecord(event, self.stream))?;
        }
        Ok(event)
    }
}

fn cluster_attribute(blocks: usize) -> sys::CUlaunchAttribute {
    // SAFETY: the attribute is plain numbers, for which zero bytes are values.
    let mut attribute: sys::CUlaunchAttribute = unsafe { MaybeUninit::zeroed().assume_init() };
    attribute.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim.x = blocks as u32;
    attribute.value.clusterDim.y = 1;
    attribute.value.clusterDim.z = 1;
    attribute
}

/// Lets a launch begin while the one in front of it runs: its kernel waits by itself for the end.
fn early_attribute() -> sys::CUlaunchAttribute {
    // SAFETY: as in `cluster_attribute`.
    let mut attribute: sys::CUlaunchAttribute = unsafe { MaybeUninit::zeroed().assume_init() };
    attribute.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
    attribute
}

impl Machine for Cuda {
    fn allocate(&self, bytes: usize) -> Result<Address> {
        self.enter()?;
        let mut address = 0;
        // SAFETY: into a local; freed in `free`.
        check(&format!("allocating {bytes} bytes"), unsafe {
            sys::cuMemAllocAsync(&raw mut address, bytes, self.stream)
        })?;
        Ok(address)
    }

    fn free(&self, address: Address) -> Result<()> {
        self.enter()?;
        // SAFETY: allocated in `allocate` on this stream; work that still uses it runs before.
        check("freeing memory", unsafe { sys::cuMemFreeAsync(address, self.stream) })
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<()> {
        self.enter()?;
        // SAFETY: tensors upload no more than they have allocated; from pageable memory the call
        // returns when the bytes have been read.
        check("copying to the device", unsafe {
            sys::cuMemcpyHtoDAsync_v2(to, bytes.as_ptr().cast(), bytes.len(), self.stream)
        })
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.enter()?;
        // SAFETY: as for `upload`, and the bytes are not looked at before the stream has been
        // waited for.
        check("copying from the device", unsafe {
            sys::cuMemcpyDtoHAsync_v2(bytes.as_mut_ptr().cast(), from, bytes.len(), self.stream)
        })?;
        self.synchronize()
    }

    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<()> {
        self.enter()?;
        if self.prepares() {
            return Ok(());
        }
        // SAFETY: both are allocations of at least this length.
        check("copying on the device", unsafe {
            sys::cuMemcpyDtoDAsync_v2(to, from, bytes, self.stream)
        })
    }

    fn launch(&self, launch: &Launch, params: &[u8], _touches: Touches) -> Result<()> {
        self.kernel(launch, launch.kernel, params, 1)
    }

    fn launch_many(&self, launch: &Launch, params: &[u8], each: usize) -> Result<()> {
        let (kernel, all) = many(launch, params, each)?;
        self.kernel(launch, &kernel, &all, params.len() / each)
    }

    fn gemm(&self, gemm: &Gemm) -> Result<()> {
        self.enter()?;
        let prepares = self.prepares();
        self.with_blas(|blas| match prepares {
            true => blas.prepare(gemm),
            false => blas.product(gemm, self.stream),
        })
    }

    fn gemms(&self, gemms: &[Gemm]) -> Result<()> {
        self.products(gemms)
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<u64> {
        self.recorded(work)
    }

    fn replay(&self, graph: u64) -> Result<()> {
        self.enter()?;
        let graphs = self.graphs.borrow();
        let known = graphs
            .get(&graph)
            .ok_or_else(|| failed("a recording that was forgotten cannot be replayed"))?;
        // SAFETY: instantiated in `capture`, destroyed only in `forget`.
        check("replaying a graph", unsafe { sys::cuGraphLaunch(known.graph, self.stream) })
    }

    fn forget(&self, graph: u64) -> Result<()> {
        self.enter()?;
        match self.graphs.borrow_mut().remove(&graph) {
            Some(known) => self.release(known),
            None => Ok(()),
        }
    }

    fn synchronize(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the stream lives as long as `self`.
        check("waiting for the device", unsafe { sys::cuStreamSynchronize(self.stream) })
    }

    fn stream(&self) -> Option<(i32, *mut c_void)> {
        Some((self.device, self.stream.cast()))
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        let start = self.mark()?;
        let done = work();
        let end = self.mark()?;
        let mut milliseconds = 0f32;
        // SAFETY: both events were recorded in this stream, and are destroyed once.
        let measured = unsafe {
            let waited = check("waiting for an event", sys::cuEventSynchronize(end));
            let elapsed =
                check("timing", sys::cuEventElapsedTime_v2(&raw mut milliseconds, start, end));
            check("freeing an event", sys::cuEventDestroy_v2(start))
                .and(check("freeing an event", sys::cuEventDestroy_v2(end)))?;
            waited.and(elapsed)
        };
        done.and(measured)?;
        Ok(f64::from(milliseconds) * 1e-3)
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // Errors on the way out have nobody to be told to.
        let _ = self.enter();
        self.batched.get_mut().take();
        let mut memory: Vec<Address> = self.lists.get_mut().drain(..).collect();
        memory.extend(self.blas.get_mut().take().map(|blas| blas.workspace()));
        let graphs: Vec<Recorded> = self.graphs.get_mut().drain().map(|(_, known)| known).collect();
        memory.extend(graphs.iter().flat_map(|known| known.lists.iter().copied()));
        // SAFETY: everything here was made by `self` and is used by nobody else; tensors hold the
        // device, so none is left.
        unsafe {
            for address in memory {
                let _ = sys::cuMemFreeAsync(address, self.stream);
            }
            let _ = sys::cuStreamSynchronize(self.stream);
            for known in graphs {
                let _ = sys::cuGraphExecDestroy(known.graph);
            }
            for (_, module) in self.modules.get_mut().drain() {
                let _ = sys::cuModuleUnload(module);
            }
            if !self.stream.is_null() {
                let _ = sys::cuStreamDestroy_v2(self.stream);
            }
            let _ = sys::cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}
