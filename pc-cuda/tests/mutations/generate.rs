//! Mutants, made from the text of the kernels: each a mistake in one place. Many are compiled
//! together, each behind a switch of its own.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    layers,
    swaps::{By, SWAPS},
    wgmma,
};

/// A mistake: the file and the place, what stands there, and what comes in its stead where the
/// switch is on.
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) file: &'static str,
    /// The function that it lies in.
    pub(crate) function: String,
    at: usize,
    length: usize,
    by: Text,
}

enum Text {
    Expression(String),
    Where(String),
}

/// Every mutant. A mutant's switch is its place in the list, plus one.
pub(crate) fn mutants(kernels: &Path) -> Vec<Mutant> {
    let read = |file: &str| fs::read_to_string(kernels.join(file)).unwrap();
    let mut made = Vec::new();
    for file in [
        "relax_cluster.cu",
        "pc_products.cuh",
        "pc_grouped.cuh",
        "relax_gemm.cu",
        "relax_wgmma.cu",
        "relax_graph.cu",
        "learn.cu",
        "tensor.cu",
        "layers.cu",
        "pooled.cu",
        "functions.cu",
        "pc_functions.cuh",
        "pc_math.cuh",
    ] {
        let source = read(file);
        barriers(file, &source, &mut made);
        bounds(file, &source, &mut made);
    }
    for (file, before, from, by, behind) in SWAPS.iter().chain(layers::SWAPS).chain(wgmma::SWAPS) {
        let source = read(file);
        let text = format!("{before}{from}{behind}");
        let places: Vec<usize> =
            source.match_indices(&text).map(|(at, _)| at + before.len()).collect();
        assert!(!places.is_empty(), "{file} no longer says `{text}`");
        for (index, at) in places.iter().enumerate() {
            let (words, by) = match by {
                By::Expression(to) => {
                    (format!("`{to}` for `{from}`"), Text::Expression((*to).to_owned()))
                }
                By::Where(holds) => {
                    (format!("`{from}` only where `{holds}`"), Text::Where((*holds).to_owned()))
                }
            };
            let name = format!(
                "{file}: {words} ({} of {}, {})",
                index + 1,
                places.len(),
                function(&source, *at)
            );
            let function = function(&source, *at).to_owned();
            made.push(Mutant { name, file, function, at: *at, length: from.len(), by });
        }
    }
    made
}

/// The function that a place lies in.
fn function(source: &str, at: usize) -> &str {
    let heads = source[..at].lines().rev().find(|line| {
        line.contains("PC_DEV ")
            || line.starts_with("PC_KERNEL")
            || line.starts_with("#define PC_EACH")
    });
    let head = heads.unwrap_or("nothing");
    let kernel = ["PC_KERNEL(", "PC_KERNEL_OF(", "PC_KERNEL_MANY("];
    match kernel.into_iter().find_map(|macro_| head.strip_prefix(macro_)) {
        Some(rest) => rest.split(',').next().unwrap_or(rest),
        None => {
            head.split('(').next().and_then(|words| words.split_whitespace().last()).unwrap_or(head)
        }
    }
}

/// The same, and which of its like in it a place is.
fn place(source: &str, at: usize, what: &str) -> String {
    let own = function(source, at);
    let earlier = source
        .match_indices(what)
        .take_while(|(other, _)| *other < at)
        .filter(|(other, _)| function(source, *other) == own);
    format!("{what} {} of {own}", earlier.count() + 1)
}

/// Each barrier and each wait taken out.
fn barriers(file: &'static str, source: &str, made: &mut Vec<Mutant>) {
    let both = "pc_cluster_arrive();";
    let some = "pc_copy_wait_but<";
    for what in ["pc_block_sync();", "pc_copy_wait();", some, "pc_copy_commit();", both] {
        // The statement's end, where it is not what it begins with.
        let end = match what {
            _ if what == both => "pc_cluster_wait();",
            _ if what == some => "();",
            _ => what,
        };
        for (at, _) in source.match_indices(what) {
            let length = source[at..].find(end).map_or(what.len(), |from| from + end.len());
            let name = format!("{file}: without {}", place(source, at, what));
            let function = function(source, at).to_owned();
            let by = Text::Where("false".to_owned());
            made.push(Mutant { name, file, function, at, length, by });
        }
    }
}

/// Each bound of a loop one further.
fn bounds(file: &'static str, source: &str, made: &mut Vec<Mutant>) {
    for (at, _) in source.match_indices("for (") {
        let line = source[at..].lines().next().unwrap_or_default();
        let mut parts = line.split(';');
        let (Some(first), Some(condition)) = (parts.next(), parts.next()) else { continue };
        let Some((left, right)) = condition.split_once('<') else { continue };
        // `<` becomes `<=`, and where it is that, the bound grows by one.
        let further = right
            .strip_prefix('=')
            .map_or_else(|| format!("{left}<={right}"), |right| format!("{left}<= 1 + {right}"));
        let name = format!(
            "{file}: one further in {}, `{}`",
            place(source, at, "for ("),
            condition.trim()
        );
        let by = Text::Expression(further);
        let function = function(source, at).to_owned();
        let (at, length) = (at + first.len() + 1, condition.len());
        made.push(Mutant { name, file, function, at, length, by });
    }
}

/// Which mutants can be compiled together, none of them within another: for each, its group.
pub(crate) fn groups(mutants: &[Mutant]) -> Vec<usize> {
    let mut groups: Vec<Vec<&Mutant>> = Vec::new();
    let apart = |one: &Mutant, other: &Mutant| {
        one.file != other.file
            || one.at + one.length <= other.at
            || other.at + other.length <= one.at
    };
    let mut chosen = Vec::new();
    for mutant in mutants {
        let fits = groups.iter().position(|group| group.iter().all(|other| apart(mutant, other)));
        let index = fits.unwrap_or(groups.len());
        if index == groups.len() {
            groups.push(Vec::new());
        }
        groups[index].push(mutant);
        chosen.push(index);
    }
    chosen
}

/// Writes all kernels to a folder, with these mutants (each with its switch) in them.
pub(crate) fn write(kernels: &Path, folder: &Path, mutants: &[(usize, &Mutant)]) {
    fs::create_dir_all(folder).unwrap();
    for entry in fs::read_dir(kernels).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let source = fs::read_to_string(&path).unwrap();
        let own = mutants.iter().filter(|(_, mutant)| mutant.file == name);
        let places: BTreeMap<usize, _> =
            own.map(|(switch, mutant)| (mutant.at, (switch, mutant))).collect();
        let mut text = String::new();
        let mut done = 0;
        for (at, (switch, mutant)) in places {
            let was = &source[at..at + mutant.length];
            text.push_str(&source[done..at]);
            text.push_str(&match &mutant.by {
                Text::Expression(by) => format!("(pcsim_mutant == {switch} ? ({by}) : ({was}))"),
                Text::Where(holds) => {
                    format!("if (pcsim_mutant != {switch} || ({holds})) {{ {was} }}")
                }
            });
            done = at + mutant.length;
        }
        text.push_str(&source[done..]);
        fs::write(folder.join(name), text).unwrap();
    }
}
