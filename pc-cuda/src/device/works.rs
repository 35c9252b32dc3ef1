//! Work that has been asked for and is kept: launches, products and copies in their order.

use std::hash::{Hash, Hasher};

use pc_core::Result;

use crate::device::{Address, Gemm, Launch, Machine, Touches};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A launch, how many bytes it takes of the parameters, and what it touches.
    Launch(Launch, usize, Touches),
    /// So many launches in one, each with so many bytes of the parameters.
    Many(Launch, usize, usize),
    Gemm(Gemm),
    /// Products in one.
    Gemms(Vec<Gemm>),
    Copy {
        to: Address,
        from: Address,
        bytes: usize,
    },
}

impl Work {
    /// The bytes that it takes of the parameters.
    pub(super) fn length(&self) -> usize {
        match self {
            Work::Launch(_, length, _) => *length,
            Work::Many(_, each, count) => each * count,
            Work::Gemm(_) | Work::Gemms(_) | Work::Copy { .. } => 0,
        }
    }
}

// A kernel's name says what it touches.
impl Hash for Work {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Work::Launch(launch, length, _) => (launch, length).hash(state),
            Work::Many(launch, each, count) => (launch, each, count).hash(state),
            Work::Gemm(gemm) => gemm.hash(state),
            Work::Gemms(gemms) => gemms.hash(state),
            Work::Copy { to, from, bytes } => (to, from, bytes).hash(state),
        }
    }
}

/// Work in its order, with all that it depends on: what is equal here does the same to the same
/// memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Works {
    works: Vec<Work>,
    /// Of all launches, one after the other.
    params: Vec<u8>,
}

impl Hash for Works {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.works.hash(state);
        state.write(&self.params);
    }
}

impl Works {
    pub(crate) fn len(&self) -> usize {
        self.works.len()
    }

    pub(crate) fn clear(&mut self) {
        self.works.clear();
        self.params.clear();
    }

    pub(crate) fn launch(&mut self, launch: &Launch, params: &[u8], touches: Touches) {
        self.works.push(Work::Launch(*launch, params.len(), touches));
        self.params.extend_from_slice(params);
    }

    /// Several launches in one, whose parameters are of one length.
    pub(crate) fn many<'a>(
        &mut self,
        launch: &Launch,
        each: usize,
        params: impl Iterator<Item = &'a [u8]>,
    ) {
        let before = self.params.len();
        params.for_each(|own| self.params.extend_from_slice(own));
        let count = (self.params.len() - before) / each.max(1);
        self.works.push(Work::Many(*launch, each, count));
    }

    pub(crate) fn gemm(&mut self, gemm: &Gemm) {
        self.works.push(Work::Gemm(*gemm));
    }

    pub(crate) fn gemms(&mut self, gemms: Vec<Gemm>) {
        self.works.push(Work::Gemms(gemms));
    }

    pub(crate) fn copy(&mut self, to: Address, from: Address, bytes: usize) {
        self.works.push(Work::Copy { to, from, bytes });
    }

    /// A work as it is.
    pub(super) fn push(&mut self, work: &Work, params: &[u8]) {
        self.works.push(work.clone());
        self.params.extend_from_slice(params);
    }

    /// Each work with its parameters.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Work, &[u8])> {
        let mut params = self.params.as_slice();
        self.works.iter().map(move |work| {
            let (own, rest) = params.split_at(work.length());
            params = rest;
            (work, own)
        })
    }

    /// Asks a machine for all of it.
    ///
    /// # Errors
    /// The first failure; what comes after it is left out.
    pub(crate) fn run(&self, machine: &dyn Machine) -> Result<()> {
        self.each().try_for_each(|(work, own)| match work {
            Work::Launch(launch, _, touches) => machine.launch(launch, own, *touches),
            Work::Many(launch, each, _) => machine.launch_many(launch, own, *each),
            Work::Gemm(gemm) => machine.gemm(gemm),
            Work::Gemms(gemms) => machine.gemms(gemms),
            Work::Copy { to, from, bytes } => machine.copy(*to, *from, *bytes),
        })
    }
}
