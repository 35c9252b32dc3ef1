//! What a planner has to know of a device.

use std::fmt;

/// The properties that decide between kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceProps {
    /// Its name.
    pub name: String,
    /// The compute capability, such as `(9, 0)`.
    pub capability: (u32, u32),
    /// The multiprocessors.
    pub multiprocessors: usize,
    /// The most shared memory of one block, in bytes.
    pub shared_memory: usize,
    /// How many clusters of so many blocks run at once, each block with a multiprocessor's whole
    /// shared memory; no entry where none can.
    pub clusters: Vec<(usize, usize)>,
}

impl DeviceProps {
    /// An A100: no clusters.
    pub fn a100() -> Self {
        Self {
            name: "NVIDIA A100-SXM4-40GB".to_owned(),
            capability: (8, 0),
            multiprocessors: 108,
            shared_memory: 163 << 10,
            clusters: Vec::new(),
        }
    }

    /// An RTX 4090: no clusters.
    pub fn rtx_4090() -> Self {
        Self {
            name: "NVIDIA GeForce RTX 4090".to_owned(),
            capability: (8, 9),
            multiprocessors: 128,
            shared_memory: 99 << 10,
            clusters: Vec::new(),
        }
    }

    /// An H100 of 132 multiprocessors. Clusters of 16 are left out: whether they fit depends on
    /// which multiprocessors a chip has, and a real device is asked.
    pub fn h100() -> Self {
        Self {
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            capability: (9, 0),
            multiprocessors: 132,
            shared_memory: 227 << 10,
            clusters: vec![(1, 132), (2, 66), (4, 32), (8, 16)],
        }
    }

    /// How many clusters of `blocks` blocks run at once.
    pub fn resident_clusters(&self, blocks: usize) -> usize {
        self.clusters.iter().find(|(size, _)| *size == blocks).map_or(0, |(_, count)| *count)
    }

    /// The architecture its kernels are compiled for, such as `sm_90a`.
    pub fn architecture(&self) -> String {
        let (major, minor) = self.capability;
        format!("sm_{major}{minor}{}", if major == 9 { "a" } else { "" })
    }
}

impl fmt::Display for DeviceProps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}, {} multiprocessors, {} KB shared)",
            self.name,
            self.architecture(),
            self.multiprocessors,
            self.shared_memory >> 10
        )
    }
}
