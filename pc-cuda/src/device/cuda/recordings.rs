//! What the stream is asked for while it is recorded: graphs, and the lists of addresses that their
//! products read.
#![allow(unsafe_code)]

use cudarc::driver::sys;
use pc_core::Result;

use super::{Cuda, check};
use crate::device::{Address, Gemm, Machine, batched::Batched, failed};

/// What becomes of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It goes to the stream.
    Direct,
    /// It is only prepared: kernels loaded, plans found and lists brought over, which cannot be
    /// done while a stream is captured.
    Preparing,
    Recording,
}

/// A graph that can run, and the lists of addresses that its products read.
pub(super) struct Recorded {
    pub(super) graph: sys::CUgraphExec,
    pub(super) lists: Vec<Address>,
}

impl Cuda {
    pub(super) fn prepares(&self) -> bool {
        self.phase.get() == Phase::Preparing
    }

    /// Brings the addresses of products to the device; the lists stay for as long as the recording.
    fn list(&self, gemms: &[Gemm]) -> Result<()> {
        let lists = Batched::lists(gemms);
        let bytes: Vec<u8> = lists.iter().flat_map(|address| address.to_ne_bytes()).collect();
        let address = self.allocate(bytes.len())?;
        self.lists.borrow_mut().push_back(address);
        self.upload(address, &bytes)
    }

    /// Captures what `work` asks for.
    fn capture(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<sys::CUgraphExec> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: this stream is only ever used by this thread.
        check("recording", unsafe { sys::cuStreamBeginCapture_v2(self.stream, mode) })?;
        let done = work();
        let mut graph = std::ptr::null_mut();
        // SAFETY: ends the capture begun above, whether or not the work went well.
        let ended =
            check("recording", unsafe { sys::cuStreamEndCapture(self.stream, &raw mut graph) });
        done.and(ended)?;
        let mut runnable = std::ptr::null_mut();
        // SAFETY: the graph came from the capture; what can run is a copy of it.
        let made = check("making a graph", unsafe {
            sys::cuGraphInstantiateWithFlags(&raw mut runnable, graph, 0)
        });
        // SAFETY: not used again.
        check("making a graph", unsafe { sys::cuGraphDestroy(graph) })?;
        made.map(|()| runnable)
    }

    /// As [`Machine::gemms`].
    pub(super) fn products(&self, gemms: &[Gemm]) -> Result<()> {
        self.enter()?;
        if self.batched.borrow().is_none() {
            let workspace = self.with_blas(|blas| Ok(blas.workspace()))?;
            self.batched.replace(Some(Batched::new(workspace, self.stream)?));
        }
        let batched = self.batched.borrow();
        let (Some(Some(batched)), Some(first)) = (&*batched, gemms.first()) else {
            return gemms.iter().try_for_each(|gemm| self.gemm(gemm));
        };
        match self.phase.get() {
            // Nobody keeps the lists.
            Phase::Direct => gemms.iter().try_for_each(|gemm| self.gemm(gemm)),
            Phase::Preparing => self.list(gemms),
            Phase::Recording => {
                let lists = self.lists.borrow_mut().pop_front();
                let lists = lists.ok_or_else(|| failed("products were not prepared"))?;
                batched.products(first, gemms.len(), lists)
            }
        }
    }

    /// As [`Machine::record`].
    pub(super) fn recorded(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<u64> {
        self.enter()?;
        self.phase.set(Phase::Preparing);
        let prepared = work();
        // The lists in their order; all are kept with what is recorded, or given back.
        let lists: Vec<Address> = self.lists.borrow().iter().copied().collect();
        self.phase.set(Phase::Recording);
        let graph = prepared.and_then(|()| self.capture(work));
        self.phase.set(Phase::Direct);
        self.lists.borrow_mut().clear();
        match graph {
            Ok(graph) => {
                let number = graph as u64;
                self.graphs.borrow_mut().insert(number, Recorded { graph, lists });
                Ok(number)
            }
            Err(error) => {
                // The first failure is the one to tell.
                let _ = lists.into_iter().try_for_each(|list| self.free(list));
                Err(error)
            }
        }
    }

    pub(super) fn release(&self, known: Recorded) -> Result<()> {
        // SAFETY: instantiated in `capture`; a launch that still runs keeps what it needs.
        check("forgetting a graph", unsafe { sys::cuGraphExecDestroy(known.graph) })?;
        // In the order of the stream, so after the last launch that reads them.
        known.lists.into_iter().try_for_each(|list| self.free(list))
    }
}
