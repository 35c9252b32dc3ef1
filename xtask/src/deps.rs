//! Who may depend on whom.
//!
//! The core knows no tensor framework, adapters do not know each other, nothing knows the
//! benchmarks, and no crate is compiled in two versions without a reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::step::{Failure, Step, timed};

const CORE: &str = "pc-core";
const BENCH: &str = "pc-bench";
const ADAPTERS: [&str; 4] = ["pc-tch", "pc-burn", "pc-dfdx", "pc-cuda"];

/// Tensor frameworks and accelerator bindings, each with the crates named after it.
const FRAMEWORKS: [&str; 7] = ["tch", "torch-sys", "burn", "dfdx", "candle", "cudarc", "ort"];

/// Crates that may be compiled in two versions, and why.
const TWICE: [(&str, &str); 25] = [
    ("bitflags", OF_DFDX),
    ("cpufeatures", OF_TCH),
    ("darling", OF_BURN),
    ("darling_core", OF_BURN),
    ("darling_macro", OF_BURN),
    ("dyn-stack", OF_DFDX),
    ("gemm", OF_DFDX),
    ("gemm-c32", OF_DFDX),
    ("gemm-c64", OF_DFDX),
    ("gemm-common", OF_DFDX),
    ("gemm-f16", OF_DFDX),
    ("gemm-f32", OF_DFDX),
    ("gemm-f64", OF_DFDX),
    ("getrandom", OF_TCH),
    ("hashbrown", OF_BURN),
    ("miniz_oxide", "png 0.18 uses the one before that of flate2"),
    ("ndarray", OF_TCH),
    ("rand", OF_TCH),
    ("rand_core", OF_TCH),
    ("rand_distr", OF_DFDX),
    ("raw-cpuid", OF_DFDX),
    ("safetensors", OF_TCH),
    ("syn", OF_BURN),
    ("thiserror", OF_TCH),
    ("thiserror-impl", OF_TCH),
];

const OF_TCH: &str = "tch 0.26 and the crates it is built on are of an earlier generation";
const OF_DFDX: &str = "dfdx 0.13, its last release, multiplies by gemm 0.15 and draws by rand 0.8";
const OF_BURN: &str = "Burn 0.22 and the crates it is built on use both";

/// A crate in one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
}

/// Runs all checks of dependencies.
pub(crate) fn check() -> Vec<Failure> {
    let mut failures = timed("which crate depends on which", direction);
    failures.extend(timed("crates in two versions", versions));
    failures
}

fn direction() -> Vec<Failure> {
    let members = match read(&["--workspace", "--depth", "0"]) {
        Ok(members) => members,
        Err(failure) => return vec![failure],
    };
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut failures = Vec::new();
    for member in &names {
        for (edges, rule) in rules(member) {
            let args = ["-p", member, "-e", edges, "--all-features"];
            match read(&args) {
                Ok(packages) => failures.extend(broken(member, rule, edges, &packages)),
                Err(failure) => failures.push(failure),
            }
        }
    }
    failures
}

fn versions() -> Vec<Failure> {
    let args = [
        "--workspace",
        "-e",
        "normal",
        "--features",
        crate::FEATURES,
        "--duplicates",
        "--depth",
        "0",
    ];
    let packages = match read(&args) {
        Ok(packages) => packages,
        Err(failure) => return vec![failure],
    };
    let (failures, stale) = twice(&packages, &TWICE);
    for name in stale {
        println!("warning: {name} may be compiled twice but is not; drop it from the list");
    }
    failures
}

/// Reads the packages that `cargo tree` lists.
fn read(args: &[&str]) -> Result<BTreeSet<Package>, Failure> {
    let step = Step::cargo(&["tree", "--prefix", "none", "--quiet"]).args(args);
    step.read().map(|text| parse(&text))
}

/// The packages in the output of `cargo tree --prefix none`.
fn parse(text: &str) -> BTreeSet<Package> {
    let package = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let version = words.next()?.strip_prefix('v')?;
        version
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| Package { name: name.to_owned(), version: version.to_owned() })
    };
    text.lines().filter_map(package).collect()
}

/// What a member must not depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Frameworks, adapters and the benchmarks.
    Core,
    /// Other adapters.
    Adapter,
    /// The benchmarks.
    Bench,
}

const ANY: &str = "normal,build,dev";

/// The rules for a member and the kinds of dependency they hold for.
fn rules(member: &str) -> Vec<(&'static str, Rule)> {
    let mut rules = Vec::new();
    if member == CORE {
        rules.push(("normal", Rule::Core));
    }
    if ADAPTERS.contains(&member) {
        rules.push((ANY, Rule::Adapter));
    }
    if member != BENCH {
        rules.push((ANY, Rule::Bench));
    }
    rules
}

fn allowed(rule: Rule, member: &str, name: &str) -> bool {
    let adapter = ADAPTERS.contains(&name);
    match rule {
        Rule::Core => !adapter && name != BENCH && !is_framework(name),
        Rule::Adapter => !adapter || name == member,
        Rule::Bench => name != BENCH,
    }
}

fn is_framework(name: &str) -> bool {
    let name = name.replace('_', "-");
    FRAMEWORKS.iter().any(|framework| {
        let rest = name.strip_prefix(framework);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

/// One failure per dependency that a rule forbids, with the command that shows where it enters.
fn broken(member: &str, rule: Rule, edges: &str, packages: &BTreeSet<Package>) -> Vec<Failure> {
    let names: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let wrong = names.into_iter().filter(|name| !allowed(rule, member, name));
    wrong
        .map(|name| {
            let see = format!("cargo tree -p {member} -e {edges} --all-features -i {name}");
            Failure::new(see, format!("{member} must not depend on {name}"))
        })
        .collect()
}

/// One failure per crate in several versions that is not on the list, and what the list no
/// longer needs.
fn twice<'a>(
    packages: &BTreeSet<Package>,
    list: &[(&'a str, &str)],
) -> (Vec<Failure>, Vec<&'a str>) {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Package { name, version } in packages {
        versions.entry(name).or_default().push(version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let stale = list.iter().map(|entry| entry.0);
    let stale = stale.filter(|name| !versions.contains_key(name)).collect();
    let unlisted =
        versions.into_iter().filter(|(name, _)| list.iter().all(|entry| entry.0 != *name));
    let failures = unlisted.map(|(name, versions)| {
        let see = "cargo tree --workspace -e normal --all-features --duplicates";
        Failure::new(see, format!("{name} is compiled in versions {}", versions.join(" and ")))
    });
    (failures.collect(), stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
pc-core v0.1.0 (/somewhere/pc-core)
gemm v0.19.0
dyn-stack v0.13.2
bytemuck v1.25.2
dyn-stack-macros v0.1.3 (proc-macro)
dyn-stack v0.13.2 (*)

[dev-dependencies]
candle-core v0.9.1
burn_tensor v0.18.0
burner v1.0.0
pc-bench v0.1.0 (/somewhere/benchmarks)
";

    const DUPLICATES: &str = "\
syn v2.0.119

syn v3.0.10

syn v3.0.10 (*)

libm v0.2.16

libm v0.2.16

hashbrown v0.15.5
hashbrown v0.16.1
";

    fn shown(failures: &[Failure]) -> Vec<String> {
        failures.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn packages_are_read_once_each() {
        let packages = parse(TREE);
        let names: Vec<&str> = packages.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "bytemuck",
                "burn_tensor",
                "burner",
                "candle-core",
                "dyn-stack",
                "dyn-stack-macros",
                "gemm",
                "pc-bench",
                "pc-core",
            ]
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
        );
        assert!(packages.iter().any(|p| p.name == "gemm" && p.version == "0.19.0"));
        assert!(parse("").is_empty());
        assert!(parse("warning: nothing to print.\n").is_empty());
    }

    #[test]
    fn the_core_knows_no_framework() {
        for name in ["tch", "torch-sys", "burn", "burn-core", "dfdx-core", "candle-nn", "ort-sys"] {
            assert!(is_framework(name), "{name}");
        }
        for name in ["burner", "sort", "ortho", "gemm", "pc-core"] {
            assert!(!is_framework(name), "{name}");
        }
        let failures = shown(&broken(CORE, Rule::Core, "normal", &parse(TREE)));
        assert_eq!(failures.len(), 3);
        assert!(failures[0].ends_with("pc-core must not depend on burn_tensor"));
        assert!(failures[1].contains("-p pc-core -e normal --all-features -i candle-core"));
        assert!(failures[2].ends_with("pc-core must not depend on pc-bench"));
    }

    #[test]
    fn adapters_stay_apart() {
        let packages = parse("pc-tch v0.1.0\npc-core v0.1.0\ntch v0.20.0\n");
        for (edges, rule) in rules("pc-tch") {
            assert!(broken("pc-tch", rule, edges, &packages).is_empty());
        }
        let packages = parse("pc-tch v0.1.0\npc-burn v0.1.0\n");
        let failures = shown(&broken("pc-tch", Rule::Adapter, ANY, &packages));
        assert_eq!(failures.len(), 1);
        assert!(failures[0].ends_with("pc-tch must not depend on pc-burn"));
    }

    #[test]
    fn every_member_but_the_benchmarks_is_kept_from_them() {
        assert_eq!(rules(CORE), [("normal", Rule::Core), (ANY, Rule::Bench)]);
        assert_eq!(rules("pc-burn"), [(ANY, Rule::Adapter), (ANY, Rule::Bench)]);
        assert_eq!(rules("xtask"), [(ANY, Rule::Bench)]);
        assert!(rules(BENCH).is_empty());
        let failures = broken("xtask", Rule::Bench, ANY, &parse(TREE));
        assert_eq!(failures.len(), 1);
    }

    #[test]
    fn two_versions_need_a_reason() {
        let packages = parse(DUPLICATES);
        let (failures, stale) = twice(&packages, &[]);
        let failures = shown(&failures);
        assert_eq!(failures.len(), 2, "{failures:?}");
        assert!(failures[0].ends_with("hashbrown is compiled in versions 0.15.5 and 0.16.1"));
        assert!(failures[1].ends_with("syn is compiled in versions 2.0.119 and 3.0.10"));
        assert!(stale.is_empty());
        let list = [("syn", "macros only"), ("rand", "left over")];
        let (failures, stale) = twice(&packages, &list);
        assert_eq!(failures.len(), 1);
        assert_eq!(stale, ["rand"]);
    }
}
