//! Work that has been asked for and is kept: launches, products and copies in their order.

use std::hash::{Hash, Hasher};

use pc_core::Result;

use crate::device::{Address, Gemm, Launch, Machine};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    /// A launch, and how many bytes it takes of the parameters.
    Launch(Launch, usize),
    Gemm(Gemm),
    Copy {
        to: Address,
        from: Address,
        bytes: usize,
    },
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

    pub(crate) fn launch(&mut self, launch: &Launch, params: &[u8]) {
        self.works.push(Work::Launch(*launch, params.len()));
        self.params.extend_from_slice(params);
    }

    pub(crate) fn gemm(&mut self, gemm: &Gemm) {
        self.works.push(Work::Gemm(*gemm));
    }

    pub(crate) fn copy(&mut self, to: Address, from: Address, bytes: usize) {
        self.works.push(Work::Copy { to, from, bytes });
    }

    /// Asks a machine for all of it.
    ///
    /// # Errors
    /// The first failure; what comes after it is left out.
    pub(crate) fn run(&self, machine: &dyn Machine) -> Result<()> {
        let mut params = self.params.as_slice();
        self.works.iter().try_for_each(|work| match work {
            Work::Launch(launch, length) => {
                let (own, rest) = params.split_at(*length);
                params = rest;
                machine.launch(launch, own)
            }
            Work::Gemm(gemm) => machine.gemm(gemm),
            Work::Copy { to, from, bytes } => machine.copy(*to, *from, *bytes),
        })
    }
}
