//! Feed-forward values of vertices, without a relaxation.

use crate::{
    Error, Result,
    graph::{Graph, GraphLinearisation, GraphTensor},
    network::{Forward, Network, Settings},
    paths,
    topology::{PredictionId, Topology, VertexId, foreign_vertex},
};

/// Finds feed-forward values of a graph's vertices, in the same memory each time.
///
/// Values go outward from the vertices that are given, as a relaxation's forward start does: every
/// other vertex takes its prediction's value. Only what leads to the wanted vertices is evaluated.
/// Any vertex may be given, not only an input; its own prediction is then not asked for. On a
/// cyclic graph it has to be a vertex on the cycle.
///
/// [`Graph::predict`] is the same in one call, which allocates anew each time.
///
/// # Example
/// ```
/// use pc_core::{Graph, Predictor, host::{Activation, HostLayers, HostTensor, Init}};
/// let mut init = Init::new(7);
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let x = b.input("x", &[2])?;
/// let h = b.dense("h", x, 8, Activation::Tanh, &mut init)?;
/// let y = b.dense("y", h, 3, Activation::Identity, &mut init)?;
/// let mut graph = b.build()?;
///
/// let mut predictor = Predictor::new(&graph);
/// for batch in [4, 4, 1] {
///     let inputs = HostTensor::zeroed(&[batch, 2])?;
///     predictor.run(&mut graph, &[(x, &inputs)], &[y])?;
///     assert_eq!(predictor.value(y)?.dims(), [batch, 3]);
/// }
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Predictor<T> {
    signature: u64,
    at: GraphLinearisation<T>,
    values: Vec<T>,
    /// By vertex: which are given, and which are wanted, in the last run.
    given: Vec<bool>,
    wanted: Vec<bool>,
    /// For these: the predictions to visit, which vertices they set, and whose values are known
    /// then. Empty where nothing has been found for them.
    order: Vec<PredictionId>,
    follows: Vec<bool>,
    known: Vec<bool>,
    /// Whether the values are those of the last run, which must have gone well for that.
    ready: bool,
}

impl<T: GraphTensor> Predictor<T> {
    /// For graphs like this one.
    pub fn new(graph: &Graph<T>) -> Self {
        Self {
            signature: graph.signature(),
            at: graph.linearisation(),
            values: Vec::new(),
            given: Vec::new(),
            wanted: Vec::new(),
            order: Vec::new(),
            follows: Vec::new(),
            known: Vec::new(),
            ready: false,
        }
    }

    /// Finds the values of the `wanted` vertices from those that are `given`. A second run with as
    /// large a batch allocates nothing, if it is given and wants the same vertices.
    ///
    /// # Errors
    /// A vertex that is given twice, or is not in this graph; tensors of a wrong shape, of unequal
    /// batches or with numbers that are not finite; a wanted vertex that nothing given leads to,
    /// with what is missing; a value that comes out not finite; another graph than this was made
    /// for; what the framework reports.
    pub fn run(
        &mut self,
        graph: &mut Graph<T>,
        given: &[(VertexId, &T)],
        wanted: &[VertexId],
    ) -> Result<()> {
        self.ready = false;
        if graph.signature() != self.signature {
            return Err(Error::misuse(
                "this predictor was made for another graph, of other vertices, wiring or shapes: \
                 make a `Predictor` for each",
            ));
        }
        graph.check()?;
        let batch = check(graph, given)?;
        self.find(&graph.topology, given, wanted)?;
        if let Some((_, like)) = given.first()
            && graph.make_room(batch, like, &mut self.values)?
        {
            self.at = graph.linearisation();
        }
        for (vertex, value) in given {
            self.values[vertex.index()].copy_from(value);
        }
        let pass = Forward {
            values: &mut self.values,
            order: &self.order,
            follows: &self.follows,
            projects: &self.follows,
            offsets: &[],
            settings: Settings::default(),
            sweep: None,
        };
        graph.forward(pass, &mut self.at)?;
        let found = || graph.topology.vertices().filter(|vertex| self.wanted[vertex.index()]);
        if !T::all_finite(found().map(|vertex| &self.values[vertex.index()])) {
            let bad = found().find(|vertex| !self.values[vertex.index()].is_finite());
            let name = bad.map_or("?", |vertex| graph.topology.label(vertex));
            return Err(Error::not_finite(
                "a number of its feed-forward value is not finite: a \
                weight is too large, or is not a number",
            )
            .at(name));
        }
        self.ready = true;
        Ok(())
    }

    /// The value of a vertex after the last run: one that was wanted or given, or that lies on the
    /// way.
    ///
    /// # Errors
    /// The last run did not find it, or failed; there was none.
    pub fn value(&self, vertex: VertexId) -> Result<&T> {
        let known = self.ready && self.known.get(vertex.index()).copied().unwrap_or(false);
        self.values.get(vertex.index()).filter(|_| known).ok_or_else(|| {
            Error::misuse(format!(
                "vertex {} has no value: the last `run` did not want it, or failed",
                vertex.index()
            ))
        })
    }

    /// What has to be evaluated, unless the last run asked the same.
    fn find(
        &mut self,
        topology: &Topology,
        given: &[(VertexId, &T)],
        wanted: &[VertexId],
    ) -> Result<()> {
        if wanted.is_empty() {
            return Err(Error::misuse("no vertex is wanted, so there is nothing to predict"));
        }
        if let Some(vertex) = wanted.iter().find(|vertex| vertex.index() >= topology.len()) {
            return Err(foreign_vertex(*vertex));
        }
        let is_given = |v: VertexId| given.iter().any(|(vertex, _)| *vertex == v);
        let same = !self.known.is_empty()
            && topology.vertices().all(|v| {
                self.given[v.index()] == is_given(v)
                    && self.wanted[v.index()] == wanted.contains(&v)
            });
        if same {
            return Ok(());
        }
        // What is found below must not be taken for found if it fails.
        self.known.clear();
        self.given.clear();
        self.given.extend(topology.vertices().map(is_given));
        self.wanted.clear();
        self.wanted.extend(topology.vertices().map(|vertex| wanted.contains(&vertex)));
        paths::as_far_as_known(topology, &self.given, &mut self.order);
        let mut known = self.given.clone();
        self.order.retain(|id| {
            let prediction = topology.at(*id);
            let sets = !known[prediction.of.index()]
                && prediction.parents.iter().all(|parent| known[parent.index()]);
            known[prediction.of.index()] |= sets;
            sets
        });
        if let Some(vertex) = wanted.iter().find(|vertex| !known[vertex.index()]) {
            return Err(unreached(topology, &known, *vertex));
        }
        let mut needed = self.wanted.clone();
        self.follows.clear();
        self.follows.resize(topology.len(), false);
        for id in self.order.iter().rev() {
            let prediction = topology.at(*id);
            if needed[prediction.of.index()] {
                self.follows[prediction.of.index()] = true;
                prediction.parents.iter().for_each(|parent| needed[parent.index()] = true);
            }
        }
        self.order.retain(|id| self.follows[topology.at(*id).of.index()]);
        self.known.extend(self.given.iter().zip(&self.follows).map(|(given, set)| *given || *set));
        Ok(())
    }
}

/// The batch size of what is given.
///
/// # Errors
/// What is given does not fit the graph, or one another.
fn check<T: GraphTensor>(graph: &Graph<T>, given: &[(VertexId, &T)]) -> Result<usize> {
    let Some((_, first)) = given.first() else {
        return Err(Error::misuse("no vertex is given a value, so there is nothing to start from"));
    };
    let (batch, like) = (first.batch(), graph.parameters.first().unwrap_or(first));
    for (k, (vertex, value)) in given.iter().enumerate() {
        let shape = graph.shape(*vertex)?;
        let name = graph.topology.label(*vertex);
        if given[..k].iter().any(|(earlier, _)| earlier == vertex) {
            return Err(Error::misuse("it is given two values").at(name));
        }
        if batch == 0 || !value.has_batch_shape(batch, shape) {
            return Err(Error::shape(format!(
                "its value has shape {:?}, which is no batch of {batch} of {shape:?}",
                value.shape()
            ))
            .at(name));
        }
        like.check_like(value).map_err(|error| error.at(name))?;
        if !value.is_finite() {
            return Err(Error::not_finite("a number given for it is not finite").at(name));
        }
    }
    Ok(batch)
}

/// Why nothing given leads to a vertex: the input that is missing, or the cycle.
fn unreached(topology: &Topology, known: &[bool], vertex: VertexId) -> Error {
    let mut seen = vec![false; topology.len()];
    let mut waiting = vec![vertex];
    while let Some(next) = waiting.pop() {
        if known[next.index()] || std::mem::replace(&mut seen[next.index()], true) {
            continue;
        }
        match topology.own(next).first() {
            None => {
                let missing = topology.label(next);
                let message = if next == vertex {
                    "nothing predicts it, and it is given no value".to_owned()
                } else {
                    format!("it takes a value for `{missing}` to predict it, and none is given")
                };
                return Error::misuse(message).at(topology.label(vertex));
            }
            Some(first) => waiting.extend(topology.at(*first).parents.iter().rev()),
        }
    }
    Error::misuse(
        "nothing that is given leads to it: it lies on a cycle, or below one. Give a value to a \
         vertex on the cycle",
    )
    .at(topology.label(vertex))
}

impl<T: GraphTensor> Graph<T> {
    /// The feed-forward value of one vertex from the values of others: [`Predictor`] in one call.
    ///
    /// # Errors
    /// As [`Predictor::run`].
    ///
    /// # Example
    /// ```
    /// use pc_core::{Graph, host::{Activation, HostLayers, HostTensor, Init}};
    /// let mut b = Graph::<HostTensor<f32>>::builder();
    /// let x = b.input("x", &[2])?;
    /// let y = b.dense("y", x, 3, Activation::Tanh, &mut Init::new(7))?;
    /// let mut graph = b.build()?;
    /// let inputs = HostTensor::new(&[1, 2], vec![0.5, -1.0])?;
    /// assert_eq!(graph.predict(&[(x, &inputs)], y)?.dims(), [1, 3]);
    /// let error = graph.predict(&[(y, &HostTensor::zeroed(&[1, 3])?)], x).unwrap_err();
    /// assert!(error.to_string().contains("`x`: nothing predicts it"));
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn predict(&mut self, given: &[(VertexId, &T)], wanted: VertexId) -> Result<T> {
        let mut predictor = Predictor::new(self);
        predictor.run(self, given, &[wanted])?;
        predictor.value(wanted).cloned()
    }
}
