//! The kernels' sources, by family.

/// A `.cu` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    RelaxCluster,
    RelaxGemm,
    RelaxWgmma,
    RelaxGraph,
    Learn,
    Tensor,
    Primitives,
    Layers,
    Pooled,
    Functions,
}

include!(concat!(env!("OUT_DIR"), "/cubins.rs"));

const HEADERS: [&str; 6] = [
    include_str!("../../kernels/pc_dev.cuh"),
    include_str!("../../kernels/pc_math.cuh"),
    include_str!("../../kernels/pc_functions.cuh"),
    include_str!("../../kernels/pc_params.cuh"),
    include_str!("../../kernels/pc_grouped.cuh"),
    include_str!("../../kernels/pc_products.cuh"),
];

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
            Family::RelaxGemm => "relax_gemm",
            Family::RelaxWgmma => "relax_wgmma",
            Family::RelaxGraph => "relax_graph",
            Family::Learn => "learn",
            Family::Tensor => "tensor",
            Family::Primitives => "primitives",
            Family::Layers => "layers",
            Family::Pooled => "pooled",
            Family::Functions => "functions",
        }
    }

    /// The family's source with its headers in front: a compiler at run time has no include path.
    pub(crate) fn source(self) -> String {
        let own = match self {
            Family::RelaxCluster => include_str!("../../kernels/relax_cluster.cu"),
            Family::RelaxGemm => include_str!("../../kernels/relax_gemm.cu"),
            Family::RelaxWgmma => include_str!("../../kernels/relax_wgmma.cu"),
            Family::RelaxGraph => include_str!("../../kernels/relax_graph.cu"),
            Family::Learn => include_str!("../../kernels/learn.cu"),
            Family::Tensor => include_str!("../../kernels/tensor.cu"),
            Family::Primitives => include_str!("../../kernels/primitives.cu"),
            Family::Layers => include_str!("../../kernels/layers.cu"),
            Family::Pooled => include_str!("../../kernels/pooled.cu"),
            Family::Functions => include_str!("../../kernels/functions.cu"),
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

    /// Machine code that came with this program and runs on this architecture.
    pub(crate) fn embedded(self, architecture: &str) -> Option<&'static [u8]> {
        let own = CUBINS.iter().filter(|(family, ..)| *family == self.name());
        let built: Vec<&(&str, &str, &[u8])> = own.collect();
        let chosen = runs_on(built.iter().map(|(_, built, _)| *built), architecture)?;
        built.into_iter().find(|(_, built, _)| *built == chosen).map(|(.., code)| *code)
    }
}

/// Of machine code for these architectures the best that runs on a device: its own, or the newest
/// that is older within the same generation. What is made for one alone (`sm_90a`) runs on nothing
/// else.
fn runs_on<'a>(built: impl Iterator<Item = &'a str>, device: &str) -> Option<&'a str> {
    let number = |name: &str| name.strip_prefix("sm_")?.trim_end_matches('a').parse::<u32>().ok();
    let own = number(device)?;
    let runs = |name: &str| {
        number(name)
            .filter(|n| name == device || (!name.ends_with('a') && n / 10 == own / 10 && *n <= own))
    };
    built
        .filter_map(|name| Some((runs(name)?, name)))
        .max_by_key(|(number, name)| (*number, *name == device))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::runs_on;

    #[test]
    fn machine_code_is_for_its_own_generation() {
        let built = ["sm_80", "sm_89", "sm_90a"];
        for (device, expected) in [
            ("sm_80", Some("sm_80")),
            ("sm_86", Some("sm_80")),
            ("sm_89", Some("sm_89")),
            ("sm_90a", Some("sm_90a")),
            ("sm_90", None),
            ("sm_75", None),
            ("sm_100", None),
            ("sm_120", None),
        ] {
            assert_eq!(runs_on(built.into_iter(), device), expected, "{device}");
        }
    }
}
