//! Reading a model: from modules to the vertices of a graph.

use std::collections::{BTreeMap, BTreeSet};

use dfdx::{
    prelude::Device,
    shapes::{HasShape, Shape},
    tensor::{Cpu, Tensor},
};
use pc_core::{
    Error, ErrorKind, Graph, GraphBuilder, ParamId, Result, Tensor as _, VertexId,
    host::{HostChain, HostTensor, HostVertex},
};

use crate::{
    Granularity, Scalar, Value,
    parameters::{Entries, host_numbers},
    taped::Buffers,
    value::{Open, Piece, dimensions, of_sample},
};

/// A graph under construction, as [`crate::Vertices::read`] sees it.
///
/// # Example
/// A module of one's own that is two vertices: its layers one after the other, each under its name.
/// ```
/// use dfdx::{nn::modules::{Linear, Tanh}, prelude::*};
/// use pc_core::Result;
/// use pc_dfdx::{Reader, Scalar, Value, Vertices};
///
/// struct Encoder<E: Dtype> { first: Linear<4, 3, E, Cpu>, second: Linear<3, 2, E, Cpu> }
///
/// impl<B: Dim, E: Scalar> Vertices<Value<(B, Const<4>), E>, E> for Encoder<E>
/// where
///     Cpu: Device<E>,
/// {
///     type Output = Value<(B, Const<2>), E>;
///     fn read(&self, x: Value<(B, Const<4>), E>, r: &mut Reader<'_, E>) -> Result<Self::Output> {
///         let h = r.within("first", |r| self.first.read(x, r))?;
///         let h = Tanh.read(h, r)?;
///         r.within("second", |r| self.second.read(h, r))
///     }
/// }
/// ```
pub struct Reader<'a, E: Scalar> {
    pub(crate) builder: GraphBuilder<HostTensor<E>>,
    entries: &'a Entries,
    /// The model's device, whose random numbers are drawn.
    pub(crate) device: Cpu,
    /// By entry, once a vertex has asked for it.
    pub(crate) registered: Vec<Option<ParamId>>,
    /// Tensors of an earlier reading, to be written over.
    spare: BTreeMap<Vec<usize>, Vec<HostTensor<E>>>,
    granularity: Granularity,
    path: Vec<String>,
    names: BTreeSet<String>,
    /// The vertices that are parents.
    parents: BTreeSet<VertexId>,
    roots: Vec<(HostTensor<E>, Option<VertexId>)>,
    pub(crate) held: Vec<(VertexId, HostTensor<E>)>,
    pub(crate) buffers: Vec<Buffers<E>>,
}

impl<E: Scalar> std::fmt::Debug for Reader<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("builder", &self.builder).finish_non_exhaustive()
    }
}

impl<'a, E: Scalar> Reader<'a, E> {
    pub(crate) fn new(
        entries: &'a Entries,
        device: Cpu,
        granularity: Granularity,
        spare: Vec<HostTensor<E>>,
    ) -> Self {
        let mut by_shape: BTreeMap<Vec<usize>, Vec<HostTensor<E>>> = BTreeMap::new();
        for tensor in spare {
            by_shape.entry(tensor.shape()).or_default().push(tensor);
        }
        Self {
            builder: Graph::builder(),
            entries,
            device,
            registered: vec![None; entries.len()],
            spare: by_shape,
            granularity,
            path: Vec::new(),
            names: BTreeSet::new(),
            parents: BTreeSet::new(),
            roots: Vec::new(),
            held: Vec::new(),
            buffers: Vec::new(),
        }
    }

    pub(crate) fn entries(&self) -> &Entries {
        self.entries
    }

    /// Reads a part under a name of its own: vertices and parameters in it are called
    /// `path.name...`.
    ///
    /// # Errors
    /// What `part` returns.
    pub fn within<R>(
        &mut self,
        name: &str,
        part: impl FnOnce(&mut Self) -> Result<R>,
    ) -> Result<R> {
        self.path.push(name.to_owned());
        let read = part(self);
        self.path.pop();
        read
    }

    /// The path of the module that is being read, followed by `name` where there is one; another
    /// ending where an earlier vertex has that name.
    fn fresh_name(&mut self, name: &str) -> String {
        let named = self.name_of(name);
        let mut fresh = named.clone();
        let mut count = 1;
        while !self.names.insert(fresh.clone()) {
            count += 1;
            fresh = format!("{named}~{count}");
        }
        fresh
    }

    pub(crate) fn name_of(&self, name: &str) -> String {
        let own = Some(name).filter(|name| !name.is_empty());
        let parts: Vec<&str> = self.path.iter().map(String::as_str).chain(own).collect();
        if parts.is_empty() { "model".to_owned() } else { parts.join(".") }
    }

    /// Makes a parameter of a tensor of the model; the same one where it has been asked for before.
    ///
    /// # Errors
    /// A tensor that the model's `TensorCollection` does not list; one that does not lie in memory
    /// in the order of its shape (`.contiguous()` mends it); numbers that are not finite.
    pub fn parameter<S: Shape>(&mut self, name: &str, tensor: &Tensor<S, E, Cpu>) -> Result<ParamId>
    where
        Cpu: Device<E>,
    {
        let name = self.name_of(name);
        let Some(entry) = self.entries.position(tensor) else {
            return Err(Error::new(
                ErrorKind::Graph,
                format!(
                    "the tensor `{name}` is no part of the model: list it in `iter_tensors` of its \
                     module's `TensorCollection`"
                ),
            ));
        };
        if let Some(known) = self.registered[entry] {
            return Ok(known);
        }
        let shape = dimensions(tensor.shape());
        let spare = self.spare.get_mut(&shape).and_then(Vec::pop);
        let mut held = spare.map_or_else(|| HostTensor::zeroed(&shape), Ok)?;
        host_numbers(tensor, held.data_mut()).map_err(|error| error.at(&name))?;
        let id = self.builder.parameter(&name, held)?;
        self.registered[entry] = Some(id);
        Ok(id)
    }

    /// Data that the model is handed. It becomes a vertex, or one for each step of a sequence, when
    /// a module takes it.
    pub(crate) fn root<S: Shape>(&mut self, shape: S, numbers: HostTensor<E>) -> Value<S, E> {
        self.roots.push((numbers, None));
        Value { shape, piece: Piece::Root(self.roots.len() - 1) }
    }

    /// A held vertex with these numbers, batch first.
    ///
    /// # Errors
    /// As [`GraphBuilder::input`].
    pub fn hold(&mut self, name: &str, numbers: HostTensor<E>) -> Result<VertexId> {
        let name = self.fresh_name(name);
        let vertex = self.builder.input(&name, &numbers.dims()[1..])?;
        self.held.push((vertex, numbers));
        Ok(vertex)
    }

    /// Makes the vertex of a value, if it has not been made.
    ///
    /// # Errors
    /// Shapes that do not fit one another.
    pub fn close<S: Shape>(&mut self, value: Value<S, E>) -> Result<VertexId> {
        let Value { shape, piece } = value;
        match piece {
            Piece::Vertex(vertex) => Ok(vertex),
            Piece::Root(index) => self.hold_root(index),
            Piece::Open(Open { name, parents, mut links, parameters, .. }) => {
                let vertex: HostVertex<E> = match links.pop() {
                    Some(only) if links.is_empty() => only,
                    Some(last) => {
                        links.push(last);
                        Box::new(HostChain::new(links)?)
                    }
                    None => return Err(Error::new(ErrorKind::Graph, "a vertex of no modules")),
                };
                let made = self.builder.vertex(&name, vertex, &parents, &parameters)?;
                self.parents.extend(parents);
                let (found, wanted) = (self.builder.shape(made)?, of_sample(&shape));
                if found != wanted {
                    return Err(Error::new(
                        ErrorKind::Shape,
                        format!("its vertex has shape {found:?} for a sample, its type {wanted:?}"),
                    )
                    .at(&name));
                }
                Ok(made)
            }
        }
    }

    fn hold_root(&mut self, index: usize) -> Result<VertexId> {
        if let (_, Some(vertex)) = self.roots[index] {
            return Ok(vertex);
        }
        let name = if self.roots.len() == 1 { "x".to_owned() } else { format!("x{index}") };
        let path = std::mem::take(&mut self.path);
        let numbers = self.roots[index].0.clone();
        let held = self.hold(&name, numbers);
        self.path = path;
        let vertex = held?;
        self.roots[index].1 = Some(vertex);
        Ok(vertex)
    }

    /// The steps of a sequence `[batch, steps, width]`, each a vertex `[width]`: data is held step
    /// by step; of anything else each step is cut out.
    ///
    /// # Errors
    /// As [`Reader::close`].
    pub fn steps<S: Shape>(&mut self, value: Value<S, E>) -> Result<Vec<VertexId>> {
        let shape = dimensions(&value.shape);
        let &[batch, steps, width] = shape.as_slice() else {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("a sequence is [batch, steps, width], not {shape:?}"),
            )
            .at(&self.name_of("")));
        };
        if let Piece::Root(index) = value.piece
            && self.roots[index].1.is_none()
        {
            let numbers = self.roots[index].0.clone();
            let mut all = Vec::with_capacity(steps);
            for step in 0..steps {
                let samples = numbers.data().chunks_exact((steps * width).max(1));
                let part = samples.flat_map(|s| &s[step * width..][..width]).copied().collect();
                all.push(self.hold(&format!("x{step}"), HostTensor::new(&[batch, width], part)?)?);
            }
            return Ok(all);
        }
        let whole = self.close(value)?;
        let cut = |step| {
            let links: Vec<HostVertex<E>> = vec![
                Box::new(pc_core::host::Split { axis: 0, start: step, length: 1 }),
                Box::new(pc_core::host::Reshape::to(&[width])),
            ];
            self.add(&format!("step{step}"), Box::new(HostChain::new(links)?), &[whole], &[])
        };
        (0..steps).map(cut).collect()
    }

    /// Adds a vertex of its own.
    ///
    /// # Errors
    /// As [`GraphBuilder::vertex`].
    pub fn add(
        &mut self,
        name: &str,
        vertex: HostVertex<E>,
        parents: &[VertexId],
        parameters: &[ParamId],
    ) -> Result<VertexId> {
        let name = self.fresh_name(name);
        self.parents.extend(parents);
        self.builder.vertex(&name, vertex, parents, parameters)
    }

    /// Hands the builder to what adds several vertices at once, under names that begin with the one
    /// that it is given. `parents` are the vertices that it makes parents.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn add_all<R>(
        &mut self,
        name: &str,
        parents: &[VertexId],
        work: impl FnOnce(&mut GraphBuilder<HostTensor<E>>, &str) -> Result<R>,
    ) -> Result<R> {
        let name = self.fresh_name(name);
        self.parents.extend(parents);
        work(&mut self.builder, &name)
    }

    /// Notes that a vertex has children which were added beside the reader.
    pub(crate) fn used(&mut self, vertex: VertexId) {
        self.parents.insert(vertex);
    }

    /// A vertex of the graph as a value.
    ///
    /// # Errors
    /// A vertex of another graph, or of another shape.
    pub fn value<S: Shape>(&self, vertex: VertexId, shape: S) -> Result<Value<S, E>> {
        let (found, wanted) = (self.builder.shape(vertex)?, of_sample(&shape));
        if found != wanted {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("a value of {wanted:?} is asked for, of a vertex of {found:?}"),
            )
            .at(&self.name_of("")));
        }
        Ok(Value { shape, piece: Piece::Vertex(vertex) })
    }

    /// A module with parameters: it begins a vertex.
    ///
    /// # Errors
    /// As [`Reader::close`].
    pub fn layer<S: Shape, T: Shape>(
        &mut self,
        value: Value<S, E>,
        vertex: HostVertex<E>,
        parameters: &[ParamId],
        shape: T,
    ) -> Result<Value<T, E>> {
        let name = self.fresh_name("");
        // Where its parent has only been given another shape, that is part of this vertex.
        let (parents, mut links) = match value.piece {
            Piece::Open(Open { parents, links, begun: false, .. }) => (parents, links),
            piece => (vec![self.close(Value { shape: value.shape, piece })?], Vec::new()),
        };
        links.push(vertex);
        // Before it is made: an output that is its parent must know.
        self.parents.extend(parents.iter().copied());
        let parameters = parameters.to_vec();
        let open = Open { name, parents, links, parameters, begun: true };
        Ok(Value { shape, piece: Piece::Open(open) })
    }

    /// A module that joins the vertex before, where that may still grow, and else begins one: a
    /// bias.
    ///
    /// # Errors
    /// As [`Reader::close`].
    pub fn join<S: Shape, T: Shape>(
        &mut self,
        value: Value<S, E>,
        vertex: HostVertex<E>,
        parameters: &[ParamId],
        shape: T,
    ) -> Result<Value<T, E>> {
        match value.piece {
            Piece::Open(mut open) if open.begun && self.granularity == Granularity::Layers => {
                open.links.push(vertex);
                open.parameters.extend(parameters);
                Ok(Value { shape, piece: Piece::Open(open) })
            }
            piece => self.layer(Value { shape: value.shape, piece }, vertex, parameters, shape),
        }
    }

    /// A module without parameters: it joins the vertex of the module with parameters that it
    /// follows, and is a vertex of its own where it follows none.
    ///
    /// # Errors
    /// As [`Reader::close`].
    pub fn follow<S: Shape, T: Shape>(
        &mut self,
        value: Value<S, E>,
        vertex: HostVertex<E>,
        shape: T,
    ) -> Result<Value<T, E>> {
        let joins = matches!(&value.piece, Piece::Open(open) if open.begun)
            && self.granularity == Granularity::Layers;
        let value = self.join(value, vertex, &[], shape)?;
        if joins {
            return Ok(value);
        }
        let vertex = self.close(value)?;
        Ok(Value { shape, piece: Piece::Vertex(vertex) })
    }

    /// The same numbers in another shape, which is no vertex of its own: it belongs to the vertex
    /// before, where that may still grow, and else to the one after.
    ///
    /// # Errors
    /// As [`Reader::close`].
    pub fn reshape<S: Shape, T: Shape>(
        &mut self,
        value: Value<S, E>,
        shape: T,
    ) -> Result<Value<T, E>> {
        let (from, to) = (dimensions(&value.shape), dimensions(&shape));
        if from.first() != to.first() {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("a reshape from {from:?} to {to:?} changes the batch, the first axis"),
            )
            .at(&self.name_of("")));
        }
        let link: HostVertex<E> = Box::new(pc_core::host::Reshape::to(&of_sample(&shape)));
        let open = match value.piece {
            Piece::Open(mut open) => {
                open.links.push(link);
                open
            }
            piece => {
                let name = self.fresh_name("");
                let parents = vec![self.close(Value { shape: value.shape, piece })?];
                self.parents.extend(parents.iter().copied());
                Open { name, parents, links: vec![link], parameters: Vec::new(), begun: false }
            }
        };
        Ok(Value { shape, piece: Piece::Open(open) })
    }

    /// The vertex of an output, for a loss: one without children.
    pub(crate) fn output<S: Shape>(
        &mut self,
        value: Value<S, E>,
        others: &[VertexId],
    ) -> Result<VertexId> {
        let vertex = self.close(value)?;
        let taken = self.parents.contains(&vertex)
            || others.contains(&vertex)
            || self.held.iter().any(|(held, _)| *held == vertex);
        if !taken {
            return Ok(vertex);
        }
        let name = self.fresh_name("output");
        self.parents.insert(vertex);
        self.builder.output(&name, vertex)
    }
}
