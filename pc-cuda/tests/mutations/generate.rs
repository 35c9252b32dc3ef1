//! Mutants, made from the text of the kernels: each a mistake in one place. Many are compiled
//! together, each behind a switch of its own.

use std::{collections::BTreeMap, fs, path::Path};

/// What a text is replaced by.
#[derive(Clone, Copy)]
enum By {
    /// An expression, by another.
    Expression(&'static str),
    /// A statement, by one that runs where this holds.
    Where(&'static str),
}

/// Mistakes that no rule makes: the file, what stands before, what is replaced and by what, and
/// what stands behind. Each occurrence is a mutant.
const SWAPS: &[(&str, &str, &str, By, &str)] = &[
    ("relax_cluster.cu", "", "(step & 1)", By::Expression("0"), " *"),
    ("pc_products.cuh", "", "pc_owner(below, k)", By::Expression("pc_owner(below, k + 16)"), ","),
    ("pc_products.cuh", "own = ", "k - owner * below.rows", By::Expression("k"), ""),
    ("pc_products.cuh", "left[4] = {a.x, ", "b.x", By::Expression("a.y"), ", a.y"),
    ("pc_products.cuh", "low[2] = {f0[at], ", "f1[at]", By::Expression("f0[at]"), "}"),
    ("pc_products.cuh", "chunks = ", "(K + 15) >> 4", By::Expression("K >> 4"), ";"),
    ("pc_products.cuh", "if (", "k + g + 8 < K", By::Expression("k + g < K"), ")"),
    ("pc_products.cuh", "if (", "k + g < K", By::Expression("true"), ") pc_send2(to, "),
    ("pc_products.cuh", "b[2] = {x, ", "x4", By::Expression("x"), "}"),
    ("pc_products.cuh", "return ", "y.n < y.rows ? y.n : y.rows", By::Expression("y.rows"), ";"),
    ("pc_products.cuh", "a2[i] = pc_tf32(", "a[i] - a1[i]", By::Expression("a[i]"), ")"),
    ("pc_products.cuh", "b2[i] = pc_tf32(", "b[i] - b1[i]", By::Expression("0.f"), ")"),
    ("pc_products.cuh", "", "pc_mma(d, a2, b1);", By::Where("false"), ""),
    ("pc_products.cuh", "", "pc_mma(d, a1, b2);", By::Where("false"), ""),
    ("relax_cluster.cu", "", "pc_await(moved, moves, step, alone);", By::Where("false"), ""),
    ("relax_cluster.cu", "", "pc_await(summed, sums, step, alone);", By::Where("false"), ""),
    ("relax_cluster.cu", "", "pc_signal_wait(s, round);", By::Where("false"), ""),
    ("relax_cluster.cu", "", "if (step > 0) pc_cluster_wait();", By::Where("false"), ""),
    (
        "relax_cluster.cu",
        "float pi = ",
        "q / PC_SLICE < count ? y.precision : 0.f",
        By::Expression("y.precision"),
        ";",
    ),
    ("relax_cluster.cu", "float x0 = ", "pi * slope.x * e.x", By::Expression("pi * e.x"), ","),
    (
        "relax_cluster.cu",
        "return {",
        "r.x + (d.x - change.x)",
        By::Expression("r.x - (d.x - change.x)"),
        ",",
    ),
    (
        "relax_cluster.cu",
        "pc_store2(D + q, ",
        "d.x - p.rate * (y.precision * e.x)",
        By::Expression("d.x + p.rate * (y.precision * e.x)"),
        ",",
    ),
    (
        "relax_cluster.cu",
        "(force.x - ",
        "y.precision * e.x",
        By::Expression("-y.precision * e.x"),
        ")",
    ),
    ("relax_cluster.cu", "l == last && ", "step > 1", By::Expression("step > 0"), ")"),
    ("relax_cluster.cu", "y.v[at] = ", "y.ref[at] + move", By::Expression("move"), ";"),
    ("relax_cluster.cu", "y.slope[at] = ", "i ? slope.y : slope.x", By::Expression("1.f"), ";"),
    ("relax_cluster.cu", "in ? ", "y.slope[at] * y.precision", By::Expression("y.slope[at]"), ""),
    ("relax_cluster.cu", "= ", "i < count && k < K", By::Expression("k < K"), " ? row[k]"),
    ("relax_cluster.cu", "vectors = ", "(K & 3) == 0", By::Expression("true"), ";"),
    (
        "relax_cluster.cu",
        "bool in = ",
        "i < count && s < p.batch",
        By::Expression("i < count"),
        ";",
    ),
    ("relax_cluster.cu", "if (", "s >= p.batch", By::Expression("false"), ") continue;"),
    ("relax_cluster.cu", "if (", "s < p.batch", By::Expression("true"), ") y.e"),
    ("relax_cluster.cu", "", "pc_bid() / (int)blocks", By::Expression("pc_bid()"), " * PC_SLICE"),
    // Outputs that losses drive.
    ("relax_cluster.cu", "e = {", "-change.x", By::Expression("d.x - change.x"), ", -change.y}"),
    (
        "relax_cluster.cu",
        "p.lambda * ((r.x - d.x) - ",
        "change.x",
        By::Expression("change.x - change.x"),
        ")",
    ),
    ("relax_cluster.cu", "y.gate_at + q, ", "pi * slope.x", By::Expression("pi"), ", pi * slope.y"),
    ("relax_cluster.cu", "in ? (driven ? ", "y.ref[at]", By::Expression("0.f"), ""),
    ("relax_cluster.cu", "in ? (driven ? ", "p.target[at]", By::Expression("0.f"), ""),
    ("relax_cluster.cu", "float drive = ", "p.lambda", By::Expression("1.f"), " * (target[q]"),
    ("relax_cluster.cu", "pc_exp_both(", "E[q] - largest", By::Expression("E[q]"), ","),
    (
        "relax_graph.cu",
        "= (y.r ? y.r[i] : 0.f) + ",
        "((y.d ? y.d[i] : 0.f) - change)",
        By::Expression("(change - (y.d ? y.d[i] : 0.f))"),
        "",
    ),
    (
        "relax_graph.cu",
        "dz += ",
        "y.shift[i % y.width]",
        By::Expression("-y.shift[i % y.width]"),
        "",
    ),
    ("relax_graph.cu", "end = ", "y.count", By::Expression("y.count + 1"), ";"),
    ("relax_graph.cu", "end = ", "p.count", By::Expression("p.count + 1"), ";"),
    ("relax_graph.cu", "y.v[i] = ", "y.ref[i] + d", By::Expression("d"), ";"),
    ("relax_graph.cu", "", "(block - y.first)", By::Expression("block"), " * PC_CHUNK"),
    (
        "relax_graph.cu",
        "",
        "p.layer[l + 1].first <= block",
        By::Expression("p.layer[l + 1].first < block"),
        "",
    ),
    ("relax_graph.cu", "if (", "row >= p.rows", By::Expression("row > p.rows"), ") return"),
    ("relax_graph.cu", "float drive = ", "p.lambda", By::Expression("1.f"), ""),
    ("relax_graph.cu", "(target[k] - ref[k]) + ", "e[k]", By::Expression("(-e[k])"), ")"),
    ("relax_graph.cu", "g[k] = ", "slope[k] * drive", By::Expression("drive"), ";"),
    (
        "learn.cu",
        "G[s * PC_TILE_STRIDE + k] = ",
        "in && i0 + k < y.outputs",
        By::Expression("in"),
        "",
    ),
    (
        "learn.cu",
        "V[s * PC_TILE_STRIDE + k] = ",
        "in && j0 + k < y.inputs",
        By::Expression("in"),
        "",
    ),
    ("learn.cu", "if (", "i0 + i + r < y.outputs", By::Expression("true"), ")"),
    ("learn.cu", "bool in = ", "s0 + s < p.batch", By::Expression("true"), ""),
    ("learn.cu", "(", "y.add_w", By::Expression("!y.add_w"), " ?"),
    ("learn.cu", "", "momentum * y.m[i]", By::Expression("momentum * y.g[i]"), ""),
    ("learn.cu", "pc_sqrt(", "y.correction * v", By::Expression("v"), ")"),
    ("learn.cu", "", "(1.f - b2) * g * g", By::Expression("(1.f - b2) * g"), ""),
    ("learn.cu", "y.m[i] = ", "y.theta[i] - y.g[i]", By::Expression("y.g[i] - y.theta[i]"), ""),
    ("learn.cu", "if (", "row >= p.rows", By::Expression("row > p.rows"), ") return"),
    ("tensor.cu", "end = ", "p.count", By::Expression("p.count + 1"), ";"),
    ("tensor.cu", "end = ", "y.count", By::Expression("y.count + 1"), ";"),
    ("tensor.cu", "", "(block - y.first)", By::Expression("block"), " * PC_CHUNK"),
    ("tensor.cu", "((double*)y.v)[", "block - y.first", By::Expression("block"), "]"),
    ("tensor.cu", "", "p.momentum * p.velocity[i]", By::Expression("p.velocity[i]"), ""),
    // Activations and softmax.
    ("pc_math.cuh", "return ", "x <= 0.f ? below : both", By::Expression("both"), ";"),
    ("pc_math.cuh", "below = ", "a > 0.f ? -a : 0.f", By::Expression("0.f"), ";"),
    (
        "pc_math.cuh",
        "float top = ",
        "(a < 0.f) == (x < 0.f) ? (ea > ex ? ea : ex) : 1.f",
        By::Expression("1.f"),
        ";",
    ),
    (
        "pc_math.cuh",
        "largest = ",
        "other > largest ? other : largest",
        By::Expression("other"),
        ";",
    ),
    ("pc_math.cuh", "sum += pc_shfl_xor(sum, ", "half", By::Expression("1"), ")"),
];

/// A mistake: the file and the place, what stands there, and what comes in its stead where the
/// switch is on.
pub(crate) struct Mutant {
    pub(crate) name: String,
    file: &'static str,
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
        "relax_graph.cu",
        "learn.cu",
        "tensor.cu",
        "pc_math.cuh",
    ] {
        let source = read(file);
        barriers(file, &source, &mut made);
        bounds(file, &source, &mut made);
    }
    for (file, before, from, by, behind) in SWAPS {
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
            made.push(Mutant { name, file, at: *at, length: from.len(), by });
        }
    }
    made
}

/// The function that a place lies in.
fn function(source: &str, at: usize) -> &str {
    let heads = source[..at]
        .lines()
        .rev()
        .find(|line| line.contains("PC_DEV ") || line.starts_with("PC_KERNEL("));
    let head = heads.unwrap_or("nothing");
    match head.strip_prefix("PC_KERNEL(") {
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
    for what in ["pc_block_sync();", "pc_copy_wait();", both] {
        for (at, _) in source.match_indices(what) {
            let length = match source[at..].find("pc_cluster_wait();") {
                Some(wait) if what == both => wait + "pc_cluster_wait();".len(),
                _ => what.len(),
            };
            let name = format!("{file}: without {}", place(source, at, what));
            made.push(Mutant { name, file, at, length, by: Text::Where("false".to_owned()) });
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
        made.push(Mutant { name, file, at: at + first.len() + 1, length: condition.len(), by });
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
