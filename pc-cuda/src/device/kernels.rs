//! The kernels' sources, by family.

/// A `.cu` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    RelaxCluster,
    RelaxGraph,
    Learn,
    Tensor,
    Primitives,
}

include!(concat!(env!("OUT_DIR"), "/cubins.rs"));

const HEADERS: [&str; 3] =
    [include_str!("../../kernels/pc_dev.cuh"), include_str!("../../kernels/pc_math.cuh"), include_str!("../../kernels/pc_params.cuh")];

/// The architectures for which machine code came with this program.
pub(crate) fn embedded() -> Vec<&'static str> {
    let mut all: Vec<&str> = CUBINS.iter().map(|(_, architecture, _)| *architecture).collect();
    all.sort_unstable();
    all.dedup();
    all
}

impl Family {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::RelaxCluster => "relax_cluster",
            Family::RelaxGraph => "relax_graph",
            Family::Learn => "learn",
            Family::Tensor => "tensor",
            Family::Primitives => "primitives",
        }
    }

    /// The family's source with its headers in front: a compiler at run time has no include path.
    pub(crate) fn source(self) -> String {
        let own = match self {
            Family::RelaxCluster => include_str!("../../kernels/relax_cluster.cu"),
            Family::RelaxGraph => include_str!("../../kernels/relax_graph.cu"),
            Family::Learn => include_str!("../../kernels/learn.cu"),
            Family::Tensor => include_str!("../../kernels/tensor.cu"),
            Family::Primitives => include_str!("../../kernels/primitives.cu"),
        };
        let mut source = String::new();
        for line in HEADERS.into_iter().chain([own]).flat_map(str::lines) {
            // The one include outside is behind PC_SIM, which a device is not.
            if !line.starts_with("#include") && !line.starts_with("#pragma once") {
                source.push_str(line);
                source.push('\n');
            }
        }
        source
    }

    /// Machine code that came with this program, for this architecture.
    pub(crate) fn embedded(self, architecture: &str) -> Option<&'static [u8]> {
        CUBINS.iter().find(|(family, built, _)| *family == self.name() && *built == architecture).map(|(_, _, code)| *code)
    }
}
