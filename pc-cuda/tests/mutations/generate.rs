//! Mutants, made from the text of the kernels.

use std::{fs, path::Path};

pub(crate) const FAMILIES: [&str; 5] = ["relax_cluster", "relax_graph", "learn", "tensor", "primitives"];

/// A family of kernels with one mistake.
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) family: String,
    pub(crate) source: String,
}

/// Mistakes that no rule makes: the family, what is replaced, by what. Each occurrence is a mutant of its own.
const SWAPS: &[(&str, &str, &str)] = &[
    ("relax_cluster", "(step & 1) *", "0 *"),
    ("relax_cluster", "(u32)(k / below.rows)", "(u32)((k + 1) / below.rows)"),
    ("relax_cluster", "(int)me * below.rows + k % below.rows", "(int)me * below.rows + (k + 1) % below.rows"),
    ("relax_cluster", "float even[4] = {0.f, 0.f, 0.f, 0.f}", "float even[4] = {0.f, 0.f, 0.f, 1.f}"),
    ("relax_cluster", "high[k], low[k + 4]", "low[k + 4], high[k]"),
    ("relax_cluster", "even[3] + odd[3]", "even[3] + odd[2]"),
    ("relax_cluster", "if (q + splits < eighths)", "if (q + splits <= eighths)"),
    ("relax_cluster", "x[4 * PC_SLICE]}", "x[0]}"),
    ("relax_cluster", "high = column + 8 < K", "high = low"),
    ("relax_cluster", "*E = D + size", "*E = D"),
    ("relax_cluster", "*Z = D + 2 * size;\n      for", "*Z = D + size;\n      for"),
    ("relax_cluster", "G = shared + y.gate_at", "G = shared + y.state_at"),
    ("relax_cluster", "r + (D[q] - change)", "r - (D[q] - change)"),
    ("relax_cluster", "in ? y.precision * slope * e", "in ? y.precision * e"),
    ("relax_cluster", "y.n < y.rows ? y.n : y.rows", "y.rows"),
    ("relax_cluster", "bool in = q / PC_SLICE < count;", "bool in = true;"),
    ("relax_cluster", "S[q] = in ? y.slope[at] * y.precision", "S[q] = in ? y.slope[at]"),
    ("relax_cluster", "- y.precision * E[q])", "+ y.precision * E[q])"),
    (
        "relax_cluster",
        "pc_block_sync();\n    if (step == p.steps) break;",
        "if (tid < 100) pc_block_sync();\n    if (step == p.steps) break;",
    ),
    ("relax_cluster", "i < count && k < K ? row[k]", "k < K ? row[k]"),
    ("relax_cluster", "bool vectors = (K & 3) == 0", "bool vectors = true"),
    ("relax_cluster", "bool in = i < count && s < p.batch", "bool in = i < count"),
    ("relax_cluster", "if (s >= p.batch) continue;", ""),
    ("relax_cluster", "if (s < p.batch) y.e", "y.e"),
    ("relax_cluster", "y.v[at] = y.ref[at] + D[q]", "y.v[at] = D[q]"),
    ("relax_cluster", "q / PC_SLICE] = slope;", "q / PC_SLICE] = 1.f;"),
    ("relax_cluster", "pc_bid() / (int)blocks * PC_SLICE", "pc_bid() * PC_SLICE"),
    ("relax_graph", "(y.d ? y.d[i] : 0.f) - change", "change - (y.d ? y.d[i] : 0.f)"),
    ("relax_graph", "dz += y.shift[i % y.width]", "dz -= y.shift[i % y.width]"),
    ("relax_graph", "end = y.count;", "end = y.count + 1;"),
    ("relax_graph", "end = p.count;", "end = p.count + 1;"),
    ("relax_graph", "y.v[i] = y.ref[i] + d", "y.v[i] = d"),
    ("relax_graph", "(block - y.first) * PC_CHUNK", "block * PC_CHUNK"),
    ("learn", "in && i0 + k < y.outputs", "in"),
    ("learn", "in && j0 + k < y.inputs", "in"),
    ("learn", "if (i0 + i + r < y.outputs)", "if (true)"),
    ("learn", "bool in = s0 + s < p.batch", "bool in = true"),
    ("learn", "momentum * y.m[i]", "momentum * y.g[i]"),
    ("learn", "pc_sqrt(y.correction * v)", "pc_sqrt(v)"),
    ("learn", "(1.f - b2) * g * g", "(1.f - b2) * g"),
    ("tensor", "end = p.count;", "end = p.count + 1;"),
    ("tensor", "p.momentum * p.velocity[i]", "p.velocity[i]"),
    ("tensor", "sum += pc_shfl_xor(sum, half)", "sum += pc_shfl_xor(sum, 1)"),
];

/// Every mutant.
pub(crate) fn mutants(kernels: &Path) -> Vec<Mutant> {
    let mut made = Vec::new();
    for family in FAMILIES.iter().filter(|family| **family != "primitives") {
        let source = fs::read_to_string(kernels.join(format!("{family}.cu"))).unwrap();
        barriers(family, &source, &mut made);
        bounds(family, &source, &mut made);
    }
    for (family, from, to) in SWAPS {
        let source = fs::read_to_string(kernels.join(format!("{family}.cu"))).unwrap();
        let places: Vec<usize> = source.match_indices(from).map(|(at, _)| at).collect();
        assert!(!places.is_empty(), "{family} no longer says `{from}`");
        for (index, at) in places.iter().enumerate() {
            let name = format!("{family}: `{}` for `{}` ({})", to.replace('\n', " "), from.replace('\n', " "), index + 1);
            made.push(replaced(family, &source, *at, from.len(), to, name));
        }
    }
    made
}

fn replaced(family: &str, source: &str, at: usize, length: usize, by: &str, name: String) -> Mutant {
    let source = format!("{}{by}{}", &source[..at], &source[at + length..]);
    Mutant { name, family: family.to_owned(), source }
}

/// The kernel or function that a place lies in, and which of its like it is.
fn place(source: &str, at: usize, what: &str) -> String {
    let start = source[..at].rfind("PC_DEV void ").max(source[..at].rfind("PC_KERNEL(")).unwrap_or(0);
    let head = &source[start..];
    let name = head.trim_start_matches("PC_DEV void ").trim_start_matches("PC_KERNEL(");
    let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    format!("{what} {} of {name}", source[start..at].matches(what).count() + 1)
}

/// Each barrier and each wait taken out.
fn barriers(family: &str, source: &str, made: &mut Vec<Mutant>) {
    for what in ["pc_block_sync();", "pc_copy_wait();"] {
        for (at, _) in source.match_indices(what) {
            made.push(replaced(family, source, at, what.len(), "", format!("{family}: without {}", place(source, at, what))));
        }
    }
    let arrive = "pc_cluster_arrive();";
    for (at, _) in source.match_indices(arrive) {
        let rest = &source[at + arrive.len()..];
        let end = at + arrive.len() + rest.find("pc_cluster_wait();").unwrap() + "pc_cluster_wait();".len();
        made.push(replaced(family, source, at, end - at, "", format!("{family}: without {}", place(source, at, arrive))));
    }
}

/// Each bound of a loop one further.
fn bounds(family: &str, source: &str, made: &mut Vec<Mutant>) {
    for (at, _) in source.match_indices("for (") {
        let line = source[at..].lines().next().unwrap_or_default();
        let Some(condition) = line.find(';').map(|first| first + 1) else { continue };
        let Some(less) = line[condition..].find('<').map(|found| condition + found) else { continue };
        let already = line[less..].starts_with("<=");
        // One further: `<` becomes `<=`, and where it is that, the bound grows by one.
        let (length, by) = if already { (2, "<= 1 +") } else { (1, "<=") };
        let end = line[less..].find(';').map_or(line.len(), |end| less + end);
        let name = format!("{family}: one further in {}, `{}`", place(source, at, "for ("), line[condition..end].trim());
        made.push(replaced(family, source, at + less, length, by, name));
    }
}
