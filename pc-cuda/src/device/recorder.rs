//! Work that repeats, recorded and replayed: what the engine asks of a device in one step of a
//! relaxation is what it asks in the next, and a recording of it takes one call of the driver
//! instead of one for each kernel.
//!
//! Work is collected until someone needs it done (a copy to or from the host, memory given back,
//! the end of a step), and what was collected is a *piece*. A piece that has been met before is
//! recorded, and from then on replayed whenever exactly the same work is asked for: the same
//! kernels on the same addresses with the same numbers. So a recording never depends on what the
//! engine, a schedule or a vertex does, and nothing has to tell it that something has changed. What
//! of a piece can be done at the same time is put into one launch when it is recorded.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    ffi::c_void,
    hash::BuildHasher,
};

use foldhash::fast::FixedState;
use pc_core::Result;

use crate::device::{
    Address, Gemm, Launch, Launches, Machine, Touches,
    together::{Allocations, together},
    works::Works,
};

/// Fewer things than this are done as they are.
const FEWEST: usize = 4;
/// A piece is closed at this many, so that the device is not left waiting.
const MOST: usize = 4096;
/// How many things all recordings have that are kept; the one that was longest not used goes first.
/// A driver takes about a kilobyte for each.
const KEPT: usize = 1 << 17;
/// How many pieces are known that were met once.
const MET: usize = 4096;

/// A fast one: whole pieces are compared where their hashes agree.
const HASHER: FixedState = FixedState::with_seed(0);

/// A recorded piece.
struct Recording {
    works: Works,
    graph: u64,
    /// How many launches it makes.
    made: usize,
    used: u64,
}

/// A machine that collects work, and replays what it knows.
pub(crate) struct Recorder {
    machine: Box<dyn Machine>,
    collected: RefCell<Works>,
    recordings: RefCell<HashMap<u64, Recording>>,
    /// The hashes of pieces that were met once.
    met: RefCell<HashSet<u64>>,
    /// Counts pieces.
    clock: Cell<u64>,
    /// How many pieces were replayed.
    replayed: Cell<u64>,
    launches: Cell<Launches>,
    /// Whether work goes straight on: somebody else records it.
    open: Cell<bool>,
    memory: RefCell<Allocations>,
}

impl Recorder {
    pub(crate) fn new(machine: Box<dyn Machine>) -> Self {
        Self {
            machine,
            collected: RefCell::default(),
            recordings: RefCell::default(),
            met: RefCell::default(),
            clock: Cell::new(0),
            replayed: Cell::new(0),
            launches: Cell::default(),
            open: Cell::new(false),
            memory: RefCell::default(),
        }
    }

    /// Notes work, or does it where it is not to be collected.
    fn take(&self, note: impl FnOnce(&mut Works), work: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.open.get() {
            return work();
        }
        let full = {
            let mut collected = self.collected.borrow_mut();
            note(&mut collected);
            collected.len() >= MOST
        };
        if full { self.flush() } else { Ok(()) }
    }

    /// Does a piece: by its recording, by a new one where it was met before, or as it is.
    fn close(&self, piece: &Works) -> Result<()> {
        if piece.len() < FEWEST {
            return self.run(piece);
        }
        let key = HASHER.hash_one(piece);
        self.clock.set(self.clock.get() + 1);
        let known = self.recordings.borrow_mut().get_mut(&key).map(|known| {
            known.used = self.clock.get();
            (known.works == *piece).then_some((known.graph, known.made))
        });
        let (graph, made) = match known {
            Some(Some(known)) => known,
            // Another piece with the same hash.
            Some(None) => return self.run(piece),
            None => {
                let mut met = self.met.borrow_mut();
                if !met.remove(&key) {
                    if met.len() >= MET {
                        met.clear();
                    }
                    met.insert(key);
                    return self.run(piece);
                }
                drop(met);
                self.record_piece(key, piece)?
            }
        };
        self.replayed.set(self.replayed.get() + 1);
        self.count(piece.len(), made);
        self.machine.replay(graph)
    }

    /// Does a piece as it is.
    fn run(&self, piece: &Works) -> Result<()> {
        self.count(piece.len(), piece.len());
        piece.run(&*self.machine)
    }

    fn count(&self, asked: usize, made: usize) {
        let Launches { asked: before, made: then } = self.launches.get();
        let (asked, made) = (before + asked as u64, then + made as u64);
        self.launches.set(Launches { asked, made });
    }

    fn record_piece(&self, key: u64, piece: &Works) -> Result<(u64, usize)> {
        let mut recordings = self.recordings.borrow_mut();
        let mut left: usize = recordings.values().map(|known| known.works.len()).sum();
        while left + piece.len() > KEPT {
            let oldest = recordings.iter().min_by_key(|(_, known)| known.used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
            if let Some(known) = recordings.remove(&oldest) {
                left -= known.works.len();
                self.machine.forget(known.graph)?;
            }
        }
        let fewer = together(piece, &self.memory.borrow());
        let graph = self.machine.record(&mut || fewer.run(&*self.machine))?;
        let (used, made) = (self.clock.get(), fewer.len());
        recordings.insert(key, Recording { works: piece.clone(), graph, made, used });
        Ok((graph, made))
    }
}

impl Machine for Recorder {
    // Memory that is handed out again was given back before, and `free` has closed the piece.
    fn allocate(&self, bytes: usize) -> Result<Address> {
        let address = self.machine.allocate(bytes)?;
        self.memory.borrow_mut().insert(address, bytes);
        Ok(address)
    }

    fn free(&self, address: Address) -> Result<()> {
        let done = self.flush();
        self.memory.borrow_mut().remove(&address);
        self.machine.free(address)?;
        done
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<()> {
        self.flush()?;
        self.machine.upload(to, bytes)
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.flush()?;
        self.machine.download(from, bytes)
    }

    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<()> {
        self.take(|works| works.copy(to, from, bytes), || self.machine.copy(to, from, bytes))
    }

    fn launch(&self, launch: &Launch, params: &[u8], touches: Touches) -> Result<()> {
        self.take(
            |works| works.launch(launch, params, touches),
            || self.machine.launch(launch, params, touches),
        )
    }

    fn launch_many(&self, launch: &Launch, params: &[u8], each: usize) -> Result<()> {
        self.take(
            |works| works.many(launch, each, params.chunks_exact(each.max(1))),
            || self.machine.launch_many(launch, params, each),
        )
    }

    fn gemm(&self, gemm: &Gemm) -> Result<()> {
        self.take(|works| works.gemm(gemm), || self.machine.gemm(gemm))
    }

    fn gemms(&self, gemms: &[Gemm]) -> Result<()> {
        self.take(|works| works.gemms(gemms.to_vec()), || self.machine.gemms(gemms))
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<u64> {
        self.flush()?;
        self.open.set(true);
        let recorded = self.machine.record(work);
        self.open.set(false);
        recorded
    }

    fn replay(&self, graph: u64) -> Result<()> {
        self.flush()?;
        self.machine.replay(graph)
    }

    fn forget(&self, graph: u64) -> Result<()> {
        self.machine.forget(graph)
    }

    fn flush(&self) -> Result<()> {
        if self.collected.borrow().len() == 0 {
            return Ok(());
        }
        let mut piece = self.collected.take();
        let done = self.close(&piece);
        // Its room is used again.
        piece.clear();
        self.collected.replace(piece);
        done
    }

    fn synchronize(&self) -> Result<()> {
        self.flush()?;
        self.machine.synchronize()
    }

    fn stream(&self) -> Option<(i32, *mut c_void)> {
        self.machine.stream()
    }

    fn replayed(&self) -> u64 {
        self.replayed.get()
    }

    fn launches(&self) -> Launches {
        self.launches.get()
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        self.flush()?;
        self.machine.time(&mut || {
            let done = work();
            done.and(self.flush())
        })
    }
}
