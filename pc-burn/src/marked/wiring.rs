//! What depends on what in a program, as one backward pass finds it.
//!
//! Burn keeps the graph of a backward pass to itself, and shows it in one place: to the operations
//! that it runs, as the `Debug` of their checkpointer, which has the parents of every node. So the
//! wiring of a whole program is read in the backward pass that runs anyway, at a cost linear in
//! its operations.

use std::{
    collections::{HashMap, HashSet},
    fmt::{self, Debug, Write},
    sync::{Arc, Mutex, PoisonError},
};

use pc_core::{Error, ErrorKind, Result};

/// The nodes of one backward pass, each with its parents.
#[derive(Debug, Default)]
pub(super) struct Ancestry(HashMap<u64, Vec<u64>>);

/// The autodiff nodes of one mark: of what was predicted, where it has any, and of what the mark
/// gave back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nodes {
    pub(super) predicted: Option<u64>,
    pub(super) out: u64,
}

/// Where the first mark that a backward pass comes to leaves the ancestry of all nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch(Arc<Mutex<Option<Ancestry>>>);

impl Watch {
    /// Reads the ancestry off a checkpointer, once.
    pub(super) fn see(&self, checkpointer: &impl Debug) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_none() {
            *seen = Some(Ancestry::of(checkpointer));
        }
    }

    /// What was read. Returns `None` if no mark was come to.
    pub(super) fn take(&self) -> Option<Ancestry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Ancestry {
    fn of(checkpointer: &impl Debug) -> Self {
        let mut reader = Reader::default();
        // The reader never fails.
        let _ = write!(reader, "{checkpointer:?}");
        Self(reader.found)
    }

    /// Whether this backward pass came by a node.
    fn has(&self, node: u64) -> bool {
        self.0.contains_key(&node)
    }

    /// The nodes that are nobody's parent: where the pass began.
    fn roots(&self) -> Vec<u64> {
        let parents: HashSet<u64> = self.0.values().flatten().copied().collect();
        self.0.keys().copied().filter(|node| !parents.contains(node)).collect()
    }

    /// The ancestors of `from`, itself among them, as far as the first of `ends`.
    fn reached(&self, from: &[u64], ends: &HashMap<u64, usize>) -> HashSet<u64> {
        let mut reached = HashSet::new();
        let mut open = from.to_vec();
        while let Some(node) = open.pop() {
            if reached.insert(node) && !ends.contains_key(&node) {
                open.extend(self.0.get(&node).into_iter().flatten());
            }
        }
        reached
    }
}

/// Picks `NodeTree { map: {NodeId { value: 3 }: [NodeId { value: 1 }, ..], ..} }` out of a text
/// that comes in pieces.
#[derive(Default)]
struct Reader {
    found: HashMap<u64, Vec<u64>>,
    inside: bool,
    number: Option<u64>,
    node: Option<u64>,
    parents: Option<Vec<u64>>,
}

impl Write for Reader {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if !self.inside {
            self.inside = piece.contains("NodeTree");
            return Ok(());
        }
        for byte in piece.bytes() {
            if byte.is_ascii_digit() {
                let digit = u64::from(byte - b'0');
                self.number = Some(self.number.unwrap_or(0).wrapping_mul(10).wrapping_add(digit));
                continue;
            }
            if let Some(number) = self.number.take() {
                match &mut self.parents {
                    Some(parents) => parents.push(number),
                    None => self.node = Some(number),
                }
            }
            match byte {
                b'[' => self.parents = Some(Vec::new()),
                b']' => {
                    if let (Some(node), Some(parents)) = (self.node.take(), self.parents.take()) {
                        self.found.insert(node, parents);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What one prediction is made of: the marks before it, and parameters, by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) parents: Vec<usize>,
    pub(super) uses: Vec<usize>,
}

/// What every mark of a program is made of, and the loss.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wiring {
    /// By mark. It is `None` for a mark that the loss does not depend on.
    pub(super) marks: Vec<Option<Made>>,
    pub(super) loss: Made,
    /// Whether parameters were tracked.
    pub(super) with_uses: bool,
}

impl Wiring {
    /// Reads the wiring off one backward pass.
    ///
    /// # Errors
    /// An ancestry in which not even the marks that were come to are to be found.
    pub(super) fn new(
        ancestry: Option<Ancestry>,
        marks: &[Option<Nodes>],
        parameters: Option<&[Vec<u64>]>,
    ) -> Result<Self> {
        let with_uses = parameters.is_some();
        let parameters = parameters.unwrap_or_default();
        let Some(ancestry) = ancestry else {
            // No mark feeds the loss: it is the only vertex, and any parameter may be its own.
            let uses = (0..parameters.len()).collect();
            let loss = Made { parents: Vec::new(), uses };
            return Ok(Self { marks: vec![None; marks.len()], loss, with_uses });
        };
        let ends: HashMap<u64, usize> = marks
            .iter()
            .enumerate()
            .filter_map(|(mark, nodes)| Some((nodes.as_ref()?.out, mark)))
            .collect();
        if !ends.keys().any(|out| ancestry.has(*out)) {
            return Err(Error::new(
                ErrorKind::Backend,
                "Burn does not show the graph of its backward pass as this version of pc-burn \
                 reads it: it is made for Burn 0.22.1",
            ));
        }
        let made = |from: &[u64]| {
            let reached = ancestry.reached(from, &ends);
            let mut parents: Vec<usize> =
                reached.iter().filter_map(|node| ends.get(node).copied()).collect();
            parents.sort_unstable();
            let uses = parameters
                .iter()
                .enumerate()
                .filter(|(_, nodes)| nodes.iter().any(|node| reached.contains(node)))
                .map(|(index, _)| index)
                .collect();
            Made { parents, uses }
        };
        let of_mark = |nodes: &Option<Nodes>| {
            let nodes = nodes.as_ref().filter(|nodes| ancestry.has(nodes.out))?;
            Some(made(nodes.predicted.as_slice()))
        };
        Ok(Self {
            marks: marks.iter().map(of_mark).collect(),
            loss: made(&ancestry.roots()),
            with_uses,
        })
    }

    /// Whether anything is made of a parameter.
    pub(super) fn uses_any(&self) -> bool {
        self.marks.iter().flatten().chain([&self.loss]).any(|made| !made.uses.is_empty())
    }

    /// The first mark that is made of something else in `other`, by index; the number of marks for
    /// the loss. Parameters count where both know them. Returns `None` if there is no difference.
    pub(super) fn differs(&self, other: &Self) -> Option<usize> {
        let uses = self.with_uses && other.with_uses;
        let same = |a: &Made, b: &Made| a.parents == b.parents && (!uses || a.uses == b.uses);
        let count = self.marks.len().max(other.marks.len());
        let of = |wiring: &Self, mark: usize| wiring.marks.get(mark).cloned().flatten();
        (0..count)
            .find(|&mark| match (of(self, mark), of(other, mark)) {
                (Some(a), Some(b)) => !same(&a, &b),
                (a, b) => a.is_some() != b.is_some(),
            })
            .or_else(|| (!same(&self.loss, &other.loss)).then_some(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[allow(dead_code)]
    struct NodeId {
        value: u64,
    }

    #[derive(Debug)]
    #[allow(dead_code)]
    struct NodeTree {
        map: Vec<(u64, Vec<u64>)>,
    }

    /// As Burn shows it.
    struct Shown(Vec<(u64, Vec<u64>)>);

    impl Debug for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            struct Map<'a>(&'a [(u64, Vec<u64>)]);
            impl Debug for Map<'_> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    let id = |value: &u64| NodeId { value: *value };
                    f.debug_map()
                        .entries(self.0.iter().map(|(node, parents)| {
                            (id(node), parents.iter().map(id).collect::<Vec<_>>())
                        }))
                        .finish()
                }
            }
            write!(f, "Checkpointer {{ states: {{7: [8]}}, node_tree: ")?;
            f.debug_struct("NodeTree").field("map", &Map(&self.0)).finish()?;
            f.write_str(" }")
        }
    }

    #[test]
    fn an_ancestry_is_read_off_its_debug() {
        let shown = vec![(30, vec![12, 25]), (25, vec![12]), (12, vec![])];
        let mut read: Vec<_> = Ancestry::of(&Shown(shown.clone())).0.into_iter().collect();
        read.sort();
        let mut expected = shown;
        expected.sort();
        assert_eq!(read, expected);
    }

    #[test]
    fn shared_parts_belong_to_every_mark_that_they_reach() {
        // Node 3 is made of mark 0 (out 2) and a parameter (1), and predicts marks 1 and 2; the
        // loss (9) is made of both, and mark 3 of nothing that the loss sees.
        let nodes = [
            (2, vec![]),
            (1, vec![]),
            (3, vec![2, 1]),
            (4, vec![3]),
            (5, vec![4]),
            (6, vec![3]),
            (7, vec![6]),
            (9, vec![5, 7]),
        ];
        let ancestry = Ancestry(nodes.into_iter().collect());
        let mark = |predicted, out| Some(Nodes { predicted, out });
        let marks = [mark(None, 2), mark(Some(4), 5), mark(Some(6), 7), mark(Some(10), 11)];
        let wiring = Wiring::new(Some(ancestry), &marks, Some(&[vec![1], vec![8]])).unwrap();
        let made = |parents: &[usize], uses: &[usize]| {
            Some(Made { parents: parents.to_vec(), uses: uses.to_vec() })
        };
        assert_eq!(wiring.marks, [made(&[], &[]), made(&[0], &[0]), made(&[0], &[0]), None]);
        assert_eq!(Some(wiring.loss.clone()), made(&[1, 2], &[]));
        let mut other = wiring.clone();
        other.marks[2] = made(&[1], &[0]);
        assert_eq!((wiring.differs(&wiring), wiring.differs(&other)), (None, Some(2)));
    }
}
