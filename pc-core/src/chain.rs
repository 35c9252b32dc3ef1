//! Several vertices' functions as one vertex.

use crate::{
    Error, Result,
    graph::GraphTensor,
    parts,
    structure::Structure,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// One prediction made of links, each the only parent of the next: `mu = f_n(... f_1(parents))`,
/// such as pool(relu(conv(v))). Only the end is a vertex with a state: what counts as one vertex
/// changes every rule but backprop.
///
/// The first link may have several parents. Parameters are shared out in order. A chain of chains
/// says of itself that it is one chain.
///
/// # Example
/// ```
/// use pc_core::{Activation, backend::{Structure, Vertex}, host::{Activate, HostChain}};
/// let tanh = || Box::new(Activate(Activation::Tanh));
/// let inner: HostChain<f32> = HostChain::new(vec![tanh(), tanh()])?;
/// let chain: HostChain<f32> = HostChain::new(vec![tanh(), Box::new(inner)])?;
/// let links = vec![Structure::Activation(Activation::Tanh); 3];
/// assert_eq!(chain.structure(), Structure::Chain(links));
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct Chain<T: GraphTensor> {
    links: Vec<T::Vertex>,
    kind: String,
}

impl<T: GraphTensor> std::fmt::Debug for Chain<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain({})", self.kind)
    }
}

/// Slots of the cache, for each link: its output at the reference; that output's displacement while
/// the chain is evaluated, and the cotangent there while it is pulled, neither of which is read
/// after the call that wrote it, so that they share their memory; and its value where that is asked
/// for.
const SLOTS: usize = 3;
const REFERENCE: usize = 0;
const DISPLACEMENT: usize = 1;
const COTANGENT: usize = DISPLACEMENT;
const VALUE: usize = 2;

impl<T: GraphTensor> Chain<T> {
    /// A chain of these links.
    ///
    /// # Errors
    /// There are no links.
    pub fn new(links: Vec<T::Vertex>) -> Result<Self> {
        if links.is_empty() {
            return Err(Error::graph("a chain needs at least one link"));
        }
        let kind = links.iter().map(|link| link.kind()).collect::<Vec<_>>().join(" + ");
        Ok(Self { links, kind })
    }

    fn last(&self) -> usize {
        self.links.len() - 1
    }

    /// Whether link `k` needs its parent's value as a tensor of its own.
    fn needs_value(&self, k: usize) -> bool {
        self.links[k].reads_values() || self.links[k].parameters() > 0
    }

    /// Makes the slots between the links, where the batch is new. The batch is the output's: the
    /// first link may have no parent.
    fn prepare(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, like: &T) -> Result<()> {
        let batch = like.batch();
        let fits = (0..self.last())
            .all(|k| cache.get(SLOTS * k + REFERENCE).is_ok_and(|held| held.batch() == batch));
        if fits {
            return Ok(());
        }
        // What follows goes by shapes, which a tensor that could not be made does not have.
        T::failure()?;
        let mut shapes: Vec<Vec<usize>> =
            (0..at.len()).map(|k| at.value(k).shape().into_iter().skip(1).collect()).collect();
        let parameters: Vec<Vec<usize>> =
            (0..at.parameter_count()).map(|k| at.parameter(k).shape()).collect();
        let parameters: Vec<&[usize]> = parameters.iter().map(Vec::as_slice).collect();
        let mut first = 0;
        for (k, link) in self.links.iter().enumerate().take(self.last()) {
            let parents: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
            let count = link.parameters();
            let shape = link.shape(&parents, &parameters[first..first + count])?;
            first += count;
            let full: Vec<usize> = std::iter::once(batch).chain(shape.iter().copied()).collect();
            for slot in [REFERENCE, DISPLACEMENT] {
                cache.put(SLOTS * k + slot, like.zeros(&full));
            }
            if self.needs_value(k + 1) {
                cache.put(SLOTS * k + VALUE, like.zeros(&full));
            }
            shapes = vec![shape];
        }
        Ok(())
    }

    /// Takes a slot out; [`Chain::prepare`] has made it.
    fn take(cache: &mut Cache<T>, slot: usize) -> Result<T> {
        cache.take_out(slot)
    }
}

impl<T: GraphTensor> Vertex<T> for Chain<T> {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let mut shapes: Vec<Vec<usize>> = parents.iter().map(|parent| parent.to_vec()).collect();
        let mut first = 0;
        for link in &self.links {
            let parents: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
            let count = link.parameters();
            let own = parameters.get(first..first + count).ok_or_else(|| {
                Error::graph(format!("its {} has too few parameters", link.kind()))
            })?;
            shapes = vec![link.shape(&parents, own)?];
            first += count;
        }
        Ok(shapes.swap_remove(0))
    }

    fn structure(&self) -> Structure {
        // A chain of chains is one chain, so that a backend may join some links in one.
        let links = self.links.iter().flat_map(|link| match link.structure() {
            Structure::Chain(links) => links,
            own => vec![own],
        });
        Structure::Chain(links.collect())
    }

    fn inputs_first(&self, k: usize) -> bool {
        parts::inputs_first(&self.links, k)
    }

    fn statistics(&self) -> Vec<(String, T)> {
        parts::statistics(&self.links)
    }

    fn set_statistics(&self, statistics: Vec<T>) -> Result<()> {
        parts::set_statistics(&self.links, statistics)
    }

    fn parameters(&self) -> usize {
        self.links.iter().map(|link| link.parameters()).sum()
    }

    fn reads_values(&self) -> bool {
        self.links[0].reads_values()
    }

    fn predict(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        self.prepare(at, cache, output)?;
        let mut first = 0;
        let mut input: Option<T> = None;
        for (k, link) in self.links.iter().enumerate() {
            let count = link.parameters();
            let mut own = if k < self.last() {
                Some(Self::take(cache, SLOTS * k + REFERENCE)?)
            } else {
                None
            };
            let result = own.as_mut().unwrap_or(output);
            match &input {
                None => link.predict(&at.share(first, count), cache.child(k), result)?,
                Some(x) => {
                    link.predict(&at.link(x, x, None, first, count), cache.child(k), result)?
                }
            }
            if let Some(x) = input.take() {
                if self.needs_value(k) {
                    let mut value = Self::take(cache, SLOTS * (k - 1) + VALUE)?;
                    value.copy_from(&x);
                    cache.put(SLOTS * (k - 1) + VALUE, value);
                }
                cache.put(SLOTS * (k - 1) + REFERENCE, x);
            }
            input = own;
            first += count;
        }
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        let mut first = 0;
        for (k, link) in self.links.iter().enumerate() {
            let count = link.parameters();
            let mut own = if k < self.last() {
                Some(Self::take(cache, SLOTS * k + DISPLACEMENT)?)
            } else {
                None
            };
            let reference = if k < self.last() {
                Some(Self::take(cache, SLOTS * k + REFERENCE)?)
            } else {
                None
            };
            let result = own.as_mut().unwrap_or(output);
            let predicted = reference.as_ref().unwrap_or(predicted);
            if k == 0 {
                link.change(&at.share(first, count), cache.child(k), predicted, result)?;
            } else {
                let x = Self::take(cache, SLOTS * (k - 1) + REFERENCE)?;
                let d = Self::take(cache, SLOTS * (k - 1) + DISPLACEMENT)?;
                if self.needs_value(k) {
                    let mut value = Self::take(cache, SLOTS * (k - 1) + VALUE)?;
                    value.set_sum(&x, &d);
                    link.change(
                        &at.link(&value, &x, Some(&d), first, count),
                        cache.child(k),
                        predicted,
                        result,
                    )?;
                    cache.put(SLOTS * (k - 1) + VALUE, value);
                } else {
                    link.change(
                        &at.link(&x, &x, Some(&d), first, count),
                        cache.child(k),
                        predicted,
                        result,
                    )?;
                }
                cache.put(SLOTS * (k - 1) + REFERENCE, x);
                cache.put(SLOTS * (k - 1) + DISPLACEMENT, d);
            }
            if let Some(own) = own {
                cache.put(SLOTS * k + DISPLACEMENT, own);
            }
            if let Some(reference) = reference {
                cache.put(SLOTS * k + REFERENCE, reference);
            }
            first += count;
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        let mut first = self.parameters();
        let mut arrived: Option<T> = None;
        for (k, link) in self.links.iter().enumerate().rev() {
            let count = link.parameters();
            first -= count;
            let mut force =
                [if k > 0 { Some(Self::take(cache, SLOTS * (k - 1) + COTANGENT)?) } else { None }];
            let u = arrived.as_ref().unwrap_or(cotangent);
            if k == 0 {
                link.pull(
                    &at.share(first, count),
                    cache.child(0),
                    u,
                    &mut pulled.share(first, count),
                )?;
            } else {
                let x = Self::take(cache, SLOTS * (k - 1) + REFERENCE)?;
                let value = if self.needs_value(k) {
                    Some(Self::take(cache, SLOTS * (k - 1) + VALUE)?)
                } else {
                    None
                };
                // A link that reads no values is content with any.
                let at = at.link(value.as_ref().unwrap_or(&x), &x, None, first, count);
                link.pull(&at, cache.child(k), u, &mut pulled.link(&mut force, first, count))?;
                cache.put(SLOTS * (k - 1) + REFERENCE, x);
                if let Some(value) = value {
                    cache.put(SLOTS * (k - 1) + VALUE, value);
                }
            }
            if let Some(u) = arrived.take() {
                cache.put(SLOTS * k + COTANGENT, u);
            }
            arrived = force[0].take();
            // Below, nothing may be wanted any more.
            if !pulled.wants_forces() && (first == 0 || !pulled.wants_gradients()) {
                if let (Some(u), true) = (arrived.take(), k > 0) {
                    cache.put(SLOTS * (k - 1) + COTANGENT, u);
                }
                break;
            }
        }
        Ok(())
    }
}
