//! Which neuron sends to which.

use std::ops::Range;

use pc_core::{Error, ErrorKind, Result};

/// Which neurons send to which: any directed graph, cycles allowed, and how the neurons are grouped
/// in blocks.
///
/// A block is one vertex of the graph that is built. Blocks change nothing about what the neurons
/// compute: they say what can be clamped by name, where a forward start can go, and which products
/// are taken. Layers that do not connect within themselves cost least as blocks of their own, and a
/// fully connected graph as one block.
///
/// # Example
/// ```
/// use pc_models::Wiring;
/// let chain = Wiring::layered(&[("pixels", 4), ("hidden", 3), ("label", 2)])?;
/// assert!(chain.sends(0, 4)? && !chain.sends(4, 0)?);
/// let full = Wiring::full(&[("neurons", 9)])?;
/// assert_eq!((chain.edges(), full.edges()), (4 * 3 + 3 * 2, 9 * 8));
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wiring {
    blocks: Vec<(String, Range<usize>)>,
    neurons: usize,
    /// `[to, from]`.
    edges: Vec<bool>,
}

fn graph_error(message: String) -> Error {
    Error::new(ErrorKind::Graph, message)
}

impl Wiring {
    /// Blocks without any edge.
    ///
    /// # Errors
    /// No blocks; a block without neurons; more neurons than their edges can be counted.
    pub fn empty(blocks: &[(&str, usize)]) -> Result<Self> {
        let (mut ranges, mut neurons) = (Vec::with_capacity(blocks.len()), 0_usize);
        for (name, width) in blocks {
            if *width == 0 {
                return Err(graph_error(format!("the block `{name}` has no neurons")));
            }
            let end = neurons.checked_add(*width).filter(|end| *end <= 1 << 20);
            let end = end.ok_or_else(|| {
                graph_error(format!("with the block `{name}` there are over a million neurons"))
            })?;
            ranges.push(((*name).to_owned(), neurons..end));
            neurons = end;
        }
        if blocks.is_empty() {
            return Err(graph_error("a wiring needs a block of neurons".to_owned()));
        }
        let mut edges = Vec::new();
        edges.try_reserve_exact(neurons * neurons).map_err(|_| {
            graph_error(format!("there is no memory for the edges of {neurons} neurons"))
        })?;
        edges.resize(neurons * neurons, false);
        Ok(Self { blocks: ranges, neurons, edges })
    }

    /// Every neuron sends to every other, and none to itself.
    ///
    /// # Errors
    /// As [`Wiring::empty`].
    pub fn full(blocks: &[(&str, usize)]) -> Result<Self> {
        let mut own = Self::empty(blocks)?;
        own.edges.fill(true);
        own.edges.iter_mut().step_by(own.neurons + 1).for_each(|own| *own = false);
        Ok(own)
    }

    /// Each block sends to the next.
    ///
    /// # Errors
    /// As [`Wiring::empty`].
    pub fn layered(blocks: &[(&str, usize)]) -> Result<Self> {
        let mut own = Self::empty(blocks)?;
        for k in 1..own.blocks.len() {
            own.set(k, k - 1, true);
        }
        Ok(own)
    }

    /// By an adjacency matrix `[to, from]` of zeros and ones, row by row.
    ///
    /// # Errors
    /// As [`Wiring::empty`]; another number of elements; one that is neither 0 nor 1.
    ///
    /// # Example
    /// ```
    /// use pc_models::Wiring;
    /// // 0 -> 1 -> 2 -> 0.
    /// let cycle = [0., 0., 1., 1., 0., 0., 0., 1., 0.];
    /// assert_eq!(Wiring::of_matrix(&[("neurons", 3)], &cycle)?.edges(), 3);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn of_matrix(blocks: &[(&str, usize)], adjacency: &[f64]) -> Result<Self> {
        let mut own = Self::empty(blocks)?;
        let (neurons, count) = (own.neurons, adjacency.len());
        if count != own.edges.len() {
            return Err(graph_error(format!(
                "an adjacency matrix of {neurons} neurons has {neurons} x {neurons} elements, not \
                 {count}"
            )));
        }
        for (index, (edge, given)) in own.edges.iter_mut().zip(adjacency).enumerate() {
            let (to, from) = (index / neurons, index % neurons);
            *edge = match given {
                0.0 => false,
                1.0 => true,
                other => {
                    return Err(graph_error(format!(
                        "an adjacency matrix is of 0 and 1, and from neuron {from} to {to} it has \
                         {other}"
                    )));
                }
            };
        }
        Ok(own)
    }

    /// Connects every neuron of a block to every neuron of another, or to every other one of the
    /// same block.
    ///
    /// # Errors
    /// A block that is not here.
    ///
    /// # Example
    /// ```
    /// use pc_models::Wiring;
    /// let both_ways = Wiring::layered(&[("x", 3), ("y", 2)])?.connect("y", "x")?;
    /// assert_eq!(both_ways.edges(), 12);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn connect(mut self, from: &str, to: &str) -> Result<Self> {
        let (from, to) = (self.index(from)?, self.index(to)?);
        self.set(to, from, true);
        if from == to {
            let range = self.blocks[to].1.clone();
            range.for_each(|k| self.edges[k * (self.neurons + 1)] = false);
        }
        Ok(self)
    }

    /// Whether one neuron sends to another.
    ///
    /// # Errors
    /// A neuron that is not here.
    pub fn sends(&self, from: usize, to: usize) -> Result<bool> {
        match self.edges.get(to * self.neurons + from) {
            Some(edge) if from < self.neurons && to < self.neurons => Ok(*edge),
            _ => Err(graph_error(format!(
                "from neuron {from} to {to}: there are {} neurons, counted from 0",
                self.neurons
            ))),
        }
    }

    /// The number of neurons.
    pub fn neurons(&self) -> usize {
        self.neurons
    }

    /// The number of edges.
    pub fn edges(&self) -> usize {
        self.edges.iter().filter(|edge| **edge).count()
    }

    /// The blocks: their names, and which neurons are in each.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = (&str, Range<usize>)> {
        self.blocks.iter().map(|(name, range)| (name.as_str(), range.clone()))
    }

    /// The edges between two blocks, `[to, from]`, as zeros and ones.
    pub(super) fn between(&self, to: &Range<usize>, from: &Range<usize>) -> Vec<f64> {
        let row = |to: usize| self.edges[to * self.neurons..][from.clone()].iter();
        to.clone().flat_map(row).map(|edge| f64::from(u8::from(*edge))).collect()
    }

    fn set(&mut self, to: usize, from: usize, edge: bool) {
        let (to, from) = (self.blocks[to].1.clone(), self.blocks[from].1.clone());
        for row in to {
            self.edges[row * self.neurons..][from.clone()].fill(edge);
        }
    }

    fn index(&self, name: &str) -> Result<usize> {
        self.blocks.iter().position(|(own, _)| own == name).ok_or_else(|| {
            let names: Vec<&str> = self.blocks.iter().map(|(own, _)| own.as_str()).collect();
            graph_error(format!("no block is called `{name}`; there are {}", names.join(", ")))
        })
    }
}
