//! What the marks of a program are to one another, read off the graph that a forward pass has left,
//! anew at every step of training.

use std::collections::HashMap;

use pc_core::{
    Error, ErrorKind, ParamId, Result, Tensor as _, Topology, VertexId, backend::Prediction,
};
use tch::{Kind, Tensor};

use super::pass::Sight;
use crate::{
    sys::marks::{self, Segments},
    tensor::TchTensor,
};

/// What one mark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A vertex of the network.
    Vertex(usize),
    /// It feeds the loss and no other vertex. The loss holds it at its drive, so it is part of how
    /// the loss is predicted.
    Output,
    /// The loss does not depend on it.
    Idle,
}

/// What a segment depends on: marks, and parameters by the layout's numbers, each ascending.
type Roots = (Vec<usize>, Vec<usize>);

/// The marks of one forward pass.
#[derive(Debug)]
pub(super) struct Layout {
    names: Vec<Option<String>>,
    shapes: Vec<Vec<i64>>,
    kinds: Vec<Kind>,
    places: Vec<Place>,
    /// By mark, and the loss last; empty for marks that are idle.
    depends: Vec<Roots>,
    /// The vertices in the order of their marks, then the loss, then relays.
    pub(super) topology: Topology,
    /// The mark of each vertex.
    pub(super) marks: Vec<usize>,
    /// Zeros shaped as each vertex, in the topology's order.
    pub(super) zeros: Vec<TchTensor>,
    /// By prediction: the vertex that each of its parents stands for, itself where it is no relay.
    pub(super) sources: Vec<Vec<usize>>,
    /// By relay: the vertex that it passes on.
    pub(super) relays: Vec<usize>,
    /// What learns, in the order of the parameters' ids.
    pub(super) parameters: Vec<Tensor>,
    numbers: HashMap<usize, usize>,
}

impl Layout {
    /// The layout of a pass.
    ///
    /// # Errors
    /// No vertex between data and loss; nothing that learns.
    pub(super) fn of(sights: &[Sight], segments: &Segments, loss: &Tensor) -> Result<Self> {
        let end = sights.len();
        let live = live(segments, end);
        let mut has_children = vec![false; end];
        for root in (0..end).filter(|root| live[*root]) {
            segments.marks(root).for_each(|parent| has_children[parent] = true);
        }
        let mut direct = vec![false; end];
        segments.marks(end).for_each(|mark| direct[mark] = true);
        let mut marks = Vec::new();
        let places: Vec<Place> = (0..end)
            .map(|mark| match (live[mark], direct[mark] && !has_children[mark]) {
                (false, _) => Place::Idle,
                (true, true) => Place::Output,
                (true, false) => {
                    marks.push(mark);
                    Place::Vertex(marks.len() - 1)
                }
            })
            .collect();
        if marks.is_empty() {
            return Err(Error::new(
                ErrorKind::Graph,
                format!(
                    "the program marks {end} values, of which none lies between its data and the \
                     output that the loss is taken of: there is nothing to relax, and every \
                     schedule would be backprop. Mark hidden values with `pc_tch::vertex`"
                ),
            ));
        }
        let mut parameters = Vec::new();
        let mut numbers = HashMap::new();
        let mut depends = Vec::with_capacity(end + 1);
        for root in 0..=end {
            if live.get(root) == Some(&false) {
                depends.push(Roots::default());
                continue;
            }
            for index in segments.uses(root) {
                let Some(parameter) = segments.parameters().get(index) else { continue };
                numbers.entry(marks::identity(parameter)).or_insert_with(|| {
                    parameters.push(parameter.shallow_clone());
                    parameters.len() - 1
                });
            }
            depends.push(roots_of(segments, root, &numbers)?);
        }
        if parameters.is_empty() {
            return Err(Error::new(
                ErrorKind::Graph,
                "nothing that the loss depends on requires a gradient: all parameters are frozen",
            ));
        }
        let topology = wire(sights, &places, &depends, &parameters)?;
        let index = |parent: &VertexId| parent.index();
        let sources =
            topology.predictions().iter().map(|own| own.parents.iter().map(index).collect());
        let sources = sources.collect();
        let zero = |tensor: &Tensor| {
            let tensor = TchTensor::new(tensor);
            tensor.zeros(&tensor.shape())
        };
        let mut zeros: Vec<TchTensor> =
            marks.iter().map(|mark| zero(&sights[*mark].predicted)).collect();
        zeros.push(TchTensor::new(loss).zeros(&[1]));
        Ok(Self {
            names: sights.iter().map(|sight| sight.name.clone()).collect(),
            shapes: sights.iter().map(|sight| sight.predicted.size()).collect(),
            kinds: sights.iter().map(|sight| sight.predicted.kind()).collect(),
            places,
            depends,
            topology,
            marks,
            zeros,
            sources,
            relays: Vec::new(),
            parameters,
            numbers,
        })
    }

    /// Puts relays on edges that span more than one level: vertices, after the loss, that pass a
    /// value on. A pass gives every use of a mark one value, so relays serve rules that pull level
    /// by level where nothing has moved.
    ///
    /// # Errors
    /// What the topology reports.
    pub(super) fn level(&mut self) -> Result<()> {
        let topology = &self.topology;
        let level = |vertex: VertexId| topology.level(vertex).unwrap_or(0);
        let mut names = Vec::with_capacity(topology.len());
        for vertex in topology.vertices() {
            names.push(topology.name(vertex)?.to_owned());
        }
        let mut predictions = topology.predictions().to_vec();
        let mut chains: Vec<Vec<VertexId>> =
            topology.vertices().map(|vertex| vec![vertex]).collect();
        let count = names.len();
        for prediction in &mut predictions {
            let target = level(prediction.of);
            for parent in &mut prediction.parents {
                let wanted = level(*parent).saturating_sub(target + 1);
                let Some(chain) = chains.get_mut(parent.index()) else { continue };
                while chain.len() <= wanted {
                    names.push(format!("{}~{}", topology.name(*parent)?, chain.len()));
                    self.relays.push(parent.index());
                    chain.push(VertexId::new(names.len() - 1));
                }
                *parent = chain[wanted];
            }
        }
        let mut relayed: Vec<Option<VertexId>> = vec![None; names.len() - count];
        for pair in chains.iter().flat_map(|chain| chain.windows(2)) {
            relayed[pair[1].index() - count] = Some(pair[0]);
        }
        for (relay, from) in relayed.into_iter().enumerate() {
            let from = from.into_iter().collect();
            predictions.push(Prediction::new(VertexId::new(count + relay), from, Vec::new()));
            self.sources.push(vec![self.relays[relay]]);
            self.zeros.push(self.zeros[self.relays[relay]].clone());
        }
        self.topology = Topology::new(names, topology.parameter_names().to_vec(), predictions)?;
        Ok(())
    }

    /// The number of vertices, the loss not counted.
    pub(super) fn vertices(&self) -> usize {
        self.marks.len()
    }

    /// The number of marks, which is also the loss's place among the roots.
    pub(super) fn loss(&self) -> usize {
        self.places.len()
    }

    /// What a mark is.
    pub(super) fn place(&self, mark: usize) -> Place {
        self.places.get(mark).copied().unwrap_or(Place::Idle)
    }

    /// The number of samples: the first dimension of the first mark.
    pub(super) fn samples(&self) -> usize {
        let first = self.shapes.first().and_then(|shape| shape.first());
        first.and_then(|size| usize::try_from(*size).ok()).unwrap_or(1).max(1)
    }

    /// Checks a mark of a later pass.
    ///
    /// # Errors
    /// It was not there before, or had another name, shape or kind.
    pub(super) fn meet(
        &self,
        index: usize,
        name: Option<&str>,
        shape: &[i64],
        kind: Kind,
    ) -> Result<()> {
        let (Some(own), Some(before)) = (self.names.get(index), self.shapes.get(index)) else {
            return Err(changed(format!(
                "the program marks more values than in its first pass, where they were {}",
                self.places.len()
            )));
        };
        if own.as_deref() != name {
            return Err(changed(format!(
                "the program marked `{}` in its place in the first pass",
                label(index, own.as_deref())
            )));
        }
        if before != shape || self.kinds.get(index) != Some(&kind) {
            return Err(changed(format!(
                "it is shaped {shape:?} ({kind:?}), and was {before:?} in the first pass"
            )));
        }
        Ok(())
    }

    /// Checks the graph of a later pass, and finds which parameter each of its parameters is.
    ///
    /// # Errors
    /// Fewer marks than before; a value that depends on others than before.
    pub(super) fn check(&self, count: usize, segments: &Segments) -> Result<()> {
        if count != self.places.len() {
            return Err(changed(format!(
                "the program marked {count} values, and {} in its first pass",
                self.places.len()
            )));
        }
        for (root, before) in self.depends.iter().enumerate() {
            if root < count && self.place(root) == Place::Idle {
                continue;
            }
            let now = roots_of(segments, root, &self.numbers);
            if now.as_ref().ok() != Some(before) {
                let name = self
                    .names
                    .get(root)
                    .map_or_else(|| "loss".to_owned(), |name| label(root, name.as_deref()));
                return Err(changed(
                    "it depends on other vertices or parameters than in the first pass".to_owned(),
                )
                .at(&name));
            }
        }
        Ok(())
    }

    /// Which of the parameters each one of a pass is.
    pub(super) fn ids(&self, segments: &Segments) -> Vec<Option<ParamId>> {
        let id = |parameter| self.numbers.get(&marks::identity(parameter)).copied();
        segments.parameters().iter().map(|parameter| id(parameter).map(ParamId::new)).collect()
    }
}

/// By mark: whether the loss depends on it.
fn live(segments: &Segments, end: usize) -> Vec<bool> {
    let mut live = vec![false; end];
    let mut stack = vec![end];
    while let Some(root) = stack.pop() {
        for mark in segments.marks(root) {
            if !std::mem::replace(&mut live[mark], true) {
                stack.push(mark);
            }
        }
    }
    live
}

/// # Errors
/// A parameter without a number.
fn roots_of(segments: &Segments, root: usize, numbers: &HashMap<usize, usize>) -> Result<Roots> {
    let number = |index: usize| {
        let parameter = segments.parameters().get(index)?;
        numbers.get(&marks::identity(parameter)).copied()
    };
    let uses: Option<Vec<usize>> = segments.uses(root).map(number).collect();
    let mut uses = uses.ok_or_else(|| changed("another parameter is used".to_owned()))?;
    uses.sort_unstable();
    Ok((segments.marks(root).collect(), uses))
}

/// The vertices of a layout, and what predicts each.
fn wire(
    sights: &[Sight],
    places: &[Place],
    depends: &[Roots],
    parameters: &[Tensor],
) -> Result<Topology> {
    let vertex = |mark: &usize| match places[*mark] {
        Place::Vertex(vertex) => Some(VertexId::new(vertex)),
        Place::Output | Place::Idle => None,
    };
    let ids = |uses: &[usize]| uses.iter().map(|&parameter| ParamId::new(parameter)).collect();
    let (mut names, mut predictions) = (Vec::new(), Vec::new());
    let mut of_loss: Roots = depends.last().cloned().unwrap_or_default();
    for (mark, (parents, uses)) in depends.iter().enumerate().take(sights.len()) {
        match places[mark] {
            Place::Vertex(own) => {
                names.push(label(mark, sights[mark].name.as_deref()));
                let parents = parents.iter().filter_map(vertex).collect();
                predictions.push(Prediction::new(VertexId::new(own), parents, ids(uses)));
            }
            // What an output depends on, the loss depends on through it.
            Place::Output => {
                of_loss.0.extend(parents);
                of_loss.1.extend(uses);
            }
            Place::Idle => {}
        }
    }
    of_loss.0.sort_unstable();
    of_loss.0.dedup();
    of_loss.1.sort_unstable();
    of_loss.1.dedup();
    let parents = of_loss.0.iter().filter_map(vertex).collect();
    predictions.push(Prediction::new(VertexId::new(names.len()), parents, ids(&of_loss.1)));
    names.push("loss".to_owned());
    let named =
        |(index, tensor): (usize, &Tensor)| format!("parameter {index} {:?}", tensor.size());
    Topology::new(names, parameters.iter().enumerate().map(named).collect(), predictions)
}

/// What errors call a mark. Two may have one name (a layer in a loop): the number tells them apart.
pub(super) fn label(index: usize, name: Option<&str>) -> String {
    name.map_or_else(|| format!("vertex {index}"), |name| format!("{name} ({index})"))
}

fn changed(message: String) -> Error {
    Error::new(
        ErrorKind::Graph,
        format!(
            "{message}: within one step of learning every forward pass must take the same way \
             (no branch on values that relax)"
        ),
    )
}
