//! The autograd graph, as the engine sees it.

use pc_core::{
    Clamps, Error, ErrorKind, Gradients, Network, ParamId, PredictionId, Result, Topology,
    VertexId,
    backend::{Abilities, Drives, Forward, Residuals, Settings, State, Want},
};
use tch::Tensor;

use crate::{
    autograd::{
        Autograd, Slots,
        structure::{Incoming, NodeRole},
    },
    sys::Pull,
};

/// What pulls have left.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// By node and edge: what was sent along it last.
    sent: Vec<Vec<Option<Tensor>>>,
    /// By vertex: the sum of what was sent to it.
    forces: Vec<Option<Slots>>,
    /// By vertex: a prediction, which nobody reads.
    blank: Vec<Slots>,
}

impl Arrivals {
    /// The sum of what was sent to a node.
    fn gather(&self, slots: usize, incoming: &[Incoming]) -> Result<Slots> {
        let mut sum = Slots::zero(slots);
        for Incoming { from, edge, slot } in incoming {
            if let Some(sent) = self.sent[*from].get(*edge).and_then(Option::as_ref) {
                sum.add(*slot, sent)?;
            }
        }
        Ok(sum)
    }
}

/// Cotangents on their way through one traversal.
struct Flow {
    /// By node: what arrives, as it is.
    plain: Vec<Slots>,
    /// By node: what arrives for parameters, weighed; empty where all weights are 1.
    weighed: Vec<Slots>,
    /// By node: whether a vertex whose weight is not zero is reached from it. What leads to none is
    /// not pulled, so that leaves which no error reaches have no gradient rather than zeros.
    matters: Vec<bool>,
}

impl Autograd {
    fn empty(&self) -> Vec<Slots> {
        self.nodes.list().iter().map(|node| Slots::zero(node.slots)).collect()
    }

    /// Recomputes the forces on parents, from the errors of the predictions that `want` selects.
    fn pull_forces(
        &mut self,
        cotangents: &[Slots],
        want: Want<'_>,
        at: &mut Arrivals,
    ) -> Result<()> {
        let mut dirty = vec![false; self.structure.roles.len()];
        for node in 0..dirty.len() {
            match self.structure.roles[node] {
                NodeRole::Vertex(vertex) => {
                    if dirty[node] {
                        let sum = at.gather(
                            self.nodes.list()[node].slots,
                            &self.structure.incoming[node],
                        )?;
                        at.forces[vertex] =
                            (!sum.parts()?.iter().all(Option::is_none)).then_some(sum);
                    }
                    if !want.predictions[vertex]
                        || !self
                            .structure
                            .leads(&self.nodes.list()[node], &self.structure.to_vertex)
                    {
                        continue;
                    }
                    let results = self.pull_node(node, cotangents[vertex].parts()?, Pull::Again)?;
                    self.send(node, results, &mut dirty, at);
                }
                NodeRole::Costless if dirty[node] && self.structure.to_vertex[node] => {
                    let sum =
                        at.gather(self.nodes.list()[node].slots, &self.structure.incoming[node])?;
                    let results = self.pull_node(node, sum.parts()?, Pull::Again)?;
                    self.send(node, results, &mut dirty, at);
                }
                NodeRole::Costless | NodeRole::Leaf(_) | NodeRole::Tail => {}
            }
        }
        Ok(())
    }

    /// Keeps what goes towards vertices.
    fn send(
        &self,
        node: usize,
        mut results: Vec<Option<Tensor>>,
        dirty: &mut [bool],
        at: &mut Arrivals,
    ) {
        for (result, edge) in results.iter_mut().zip(&self.nodes.list()[node].edges) {
            match edge {
                Some((target, _)) if self.structure.to_vertex[*target] => dirty[*target] = true,
                _ => *result = None,
            }
        }
        at.sent[node] = results;
    }

    /// The parameters' gradients, from the final errors.
    fn pull_gradients(
        &mut self,
        cotangents: &[Slots],
        want: Want<'_>,
        gradients: &mut Gradients<Slots>,
    ) -> Result<()> {
        let mut flow = Flow { plain: Vec::new(), weighed: self.empty(), matters: Vec::new() };
        for node in 0..flow.weighed.len() {
            let results = match self.structure.roles[node] {
                NodeRole::Vertex(vertex) => {
                    let of = &self.nodes.list()[node];
                    let learns = want.predictions[vertex]
                        && (of.hooked || self.structure.leads(of, &self.structure.to_leaf));
                    let none = Slots::zero(of.slots);
                    let cotangent = if learns { &cotangents[vertex] } else { &none };
                    self.pull_node(node, cotangent.parts()?, self.last())?
                }
                NodeRole::Costless => {
                    let arrived = std::mem::take(&mut flow.weighed[node]);
                    self.pull_node(node, arrived.parts()?, self.last())?
                }
                NodeRole::Leaf(_) | NodeRole::Tail => continue,
            };
            for (result, edge) in results.iter().zip(&self.nodes.list()[node].edges) {
                if let (Some(result), Some((target, slot))) = (result, *edge)
                    && self.structure.to_leaf[target]
                {
                    flow.weighed[target].add(slot, result)?;
                }
            }
        }
        self.hand_out(&mut flow.weighed, gradients);
        Ok(())
    }

    fn hand_out(&self, arrived: &mut [Slots], gradients: &mut Gradients<Slots>) {
        for (parameter, leaf) in self.structure.leaves.iter().enumerate() {
            if let Some(gradient) = std::mem::take(&mut arrived[*leaf]).into_first() {
                gradients.set(ParamId::new(parameter), Slots::new(vec![Some(gradient)]));
            }
        }
    }

    /// Passes a node's results on in a traversal of the whole graph. Results that are `weighed` go
    /// to parameters, the others to vertices too.
    fn pass(
        &self,
        node: usize,
        results: Vec<Option<Tensor>>,
        weight: Option<f64>,
        drives: &Drives<'_, Slots>,
        flow: &mut Flow,
    ) -> Result<()> {
        let uniform = flow.weighed.is_empty();
        for (result, edge) in results.into_iter().zip(&self.nodes.list()[node].edges) {
            let (Some(result), Some((target, slot))) = (result, *edge) else { continue };
            let wanted = match self.structure.roles[target] {
                NodeRole::Vertex(vertex) => drives.forces[vertex] && flow.matters[target],
                NodeRole::Costless => {
                    flow.matters[target] || (uniform && self.structure.to_leaf[target])
                }
                NodeRole::Leaf(_) => uniform,
                NodeRole::Tail => false,
            };
            if wanted && (uniform || !self.is_weighed(node, weight)) {
                flow.plain[target].add(slot, &result)?;
            }
            if let (false, true, Some(weight)) =
                (uniform, self.structure.to_leaf[target], weight.filter(|weight| *weight != 0.0))
            {
                flow.weighed[target].add_scaled(slot, &result, weight)?;
            }
        }
        Ok(())
    }

    /// By node: whether it is a vertex whose weight is not zero, or reaches one.
    fn matters(&self, weights: &[f64]) -> Vec<bool> {
        let mut matters = vec![false; self.structure.roles.len()];
        for (index, node) in self.nodes.list().iter().enumerate().rev() {
            let own = self
                .structure
                .vertex(index)
                .is_some_and(|vertex| weights.get(vertex).is_none_or(|weight| *weight != 0.0));
            matters[index] = own || node.edges.iter().flatten().any(|(target, _)| matters[*target]);
        }
        matters
    }

    /// Whether results are the weighed ones of a node that only passes on.
    fn is_weighed(&self, node: usize, weight: Option<f64>) -> bool {
        self.structure.is_costless(node) && weight.is_some()
    }
}

fn unsupported() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "an autograd graph cannot predict at other values than those of its forward pass",
    )
}

impl Network for Autograd {
    type Tensor = Slots;
    type Linearisation = Arrivals;

    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn abilities(&self) -> Abilities {
        let mut abilities = Abilities::NONE;
        abilities.repull = true;
        abilities.single = true;
        abilities.edges = true;
        abilities.traverse = true;
        abilities
    }

    fn prepare(&mut self, _clamps: &Clamps<Slots>, values: &mut Vec<Slots>) -> Result<bool> {
        let fresh = values.len() != self.structure.vertices.len();
        *values = self
            .structure
            .vertices
            .iter()
            .map(|node| Slots::zero(self.nodes.list()[*node].slots))
            .collect();
        Ok(fresh)
    }

    fn linearisation(&self) -> Arrivals {
        let vertices = self.structure.vertices.iter();
        Arrivals {
            sent: vec_of_empty(self.nodes.list().len()),
            forces: self.structure.vertices.iter().map(|_| None).collect(),
            blank: vertices.map(|node| Slots::zero(self.nodes.list()[*node].slots)).collect(),
        }
    }

    /// The user's forward pass was it.
    fn forward(&mut self, pass: Forward<'_, Slots>, _into: &mut Arrivals) -> Result<()> {
        if pass.offsets.is_empty() { Ok(()) } else { Err(unsupported()) }
    }

    fn refer(
        &mut self,
        _state: &State<Slots>,
        _settings: Settings,
        after_forward: bool,
        _into: &mut Arrivals,
    ) -> Result<()> {
        if after_forward { Ok(()) } else { Err(unsupported()) }
    }

    fn prediction<'a>(&self, at: &'a Arrivals, prediction: PredictionId) -> Option<&'a Slots> {
        at.blank.get(prediction.index())
    }

    fn change<'a>(&self, _at: &'a Arrivals, _prediction: PredictionId) -> Option<&'a Slots> {
        None
    }

    fn linearise(
        &mut self,
        _state: &State<Slots>,
        _settings: Settings,
        _residuals: Residuals<'_, Slots>,
        _errors: &mut [Slots],
        _into: &mut Arrivals,
    ) -> Result<()> {
        Err(unsupported())
    }

    fn pull(
        &mut self,
        _state: &State<Slots>,
        cotangents: &[Slots],
        want: Want<'_>,
        gradients: Option<&mut Gradients<Slots>>,
        at: &mut Arrivals,
    ) -> Result<()> {
        if !want.forces.is_empty() {
            self.pull_forces(cotangents, want, at)?;
        }
        if let Some(gradients) = gradients {
            if want.forces.is_empty() {
                // The last pull: what was sent before is done with.
                self.forget_pulls(at);
            }
            self.pull_gradients(cotangents, want, gradients)?;
        }
        Ok(())
    }

    fn forget_pulls(&self, at: &mut Arrivals) {
        at.sent.iter_mut().for_each(Vec::clear);
        at.forces.fill_with(|| None);
    }

    fn force<'a>(&self, at: &'a Arrivals, vertex: VertexId) -> Option<&'a Slots> {
        at.forces.get(vertex.index())?.as_ref()
    }

    fn reverse(
        &mut self,
        _state: &State<Slots>,
        drives: Drives<'_, Slots>,
        gradients: Option<&mut Gradients<Slots>>,
        at: &mut Arrivals,
    ) -> Result<()> {
        self.forget_pulls(at);
        let uniform = drives.weights.iter().all(|weight| *weight == 1.0);
        let weighed = if uniform { Vec::new() } else { self.empty() };
        let mut flow = Flow { plain: self.empty(), weighed, matters: self.matters(drives.weights) };
        let how = self.last();
        for node in 0..flow.plain.len() {
            match self.structure.roles[node] {
                NodeRole::Vertex(vertex) => {
                    let arrived = std::mem::take(&mut flow.plain[node]);
                    let cotangent =
                        if drives.driven[vertex] { &drives.cotangents[vertex] } else { &arrived };
                    let results = self.pull_node(node, cotangent.parts()?, how)?;
                    let weight = drives.weights.get(vertex).copied().unwrap_or(1.0);
                    self.pass(node, results, Some(weight), &drives, &mut flow)?;
                    if drives.arrivals && !arrived.parts()?.iter().all(Option::is_none) {
                        at.forces[vertex] = Some(arrived);
                    }
                }
                NodeRole::Costless => {
                    let arrived = std::mem::take(&mut flow.plain[node]);
                    let weighed =
                        flow.weighed.get_mut(node).map(std::mem::take).unwrap_or_default();
                    let again = !weighed.parts()?.iter().all(Option::is_none);
                    let results = self.pull_node(
                        node,
                        arrived.parts()?,
                        if again { Pull::Again } else { how },
                    )?;
                    self.pass(node, results, None, &drives, &mut flow)?;
                    if again {
                        let results = self.pull_node(node, weighed.parts()?, how)?;
                        self.pass(node, results, Some(1.0), &drives, &mut flow)?;
                    }
                }
                NodeRole::Leaf(_) | NodeRole::Tail => {}
            }
        }
        if let Some(gradients) = gradients {
            self.hand_out(if uniform { &mut flow.plain } else { &mut flow.weighed }, gradients);
        }
        Ok(())
    }

    fn gradients(&self) -> Gradients<Slots> {
        Gradients::empty(self.structure.leaves.len())
    }
}

fn vec_of_empty(count: usize) -> Vec<Vec<Option<Tensor>>> {
    (0..count).map(|_| Vec::new()).collect()
}
