//! Structural causal models: conditioning, interventions, counterfactuals.

mod acyclic;
mod search;
mod world;

use std::fmt;

use pc_core::{
    Activation, Clamp, Clamps, Error, ErrorKind, Gradients, Graph, GraphBuilder, Outcome,
    PredictionId, Relaxation, Result, Schedule, Tensor, VertexId, backend::GraphTensor,
    composites::AddParameter, host::Init,
};

use crate::{Backend, Dense, settled::settled};

pub use acyclic::acyclicity;
pub use search::StructureSearch;
pub use world::{Variable, World};

/// A structural causal model that is asked by relaxation (Salvatori, Pinchetti, M'Charrak, Millidge
/// and Lukasiewicz, "Predictive coding beyond correlations", ICML 2024; Pearl, "Causality", 2009).
///
/// Every variable is `x_i = sum over its parents of W_ij f(x_j) + b_i + n_i`, with noise `n_i` of
/// variance `1 / pi_i`. So `F = sum 1/2 pi_i |x_i - mu_i|^2` is minus the logarithm of the joint
/// density, and
/// - **conditioning** is holding ([`Clamps::hold`], or a part by [`Clamps::mask`]): relaxation goes
///   to the most probable values of the rest;
/// - an **intervention** `do(x_i = a)` holds and cuts the error ([`Clamps::intervene`], or a part
///   by [`Clamps::intervene_part`]), which is what deleting the edges into `x_i` does;
/// - a **counterfactual** is abduction (relax with what was seen; the noise is what the errors then
///   are), action (intervene) and prediction (with that noise, [`Causal::counterfactual`]).
///
/// Where `f` is the identity, these are the exact means. Noise has a vertex of its own, `noise of
/// NAME`, which is held at 0 unless it is clamped, so that errors hold the noise.
///
/// # Example
/// Wet ground says that it has rained; wetting it does not.
/// ```
/// use pc_core::{Activation, Clamps, Schedule, Tensor, host::{HostTensor, Init}};
/// use pc_models::{Causal, Host, Variable};
/// let diagram = [Variable::new("rain", 1, &[]), Variable::new("ground", 1, &["rain"])];
/// let schedule = Schedule::standard(0.1, 1000)?.until(1e-10)?;
/// let (f, mut init) = (Activation::Identity, Init::new(0));
/// let mut model = Causal::new(&Host::<f64>::new(), &diagram, f, schedule, &mut init)?;
/// let weight = model.graph().parameter("ground.weight")?;
/// model.graph_mut().set_parameter(weight, HostTensor::new(&[1, 1], vec![2.0])?)?;
///
/// let wet = || HostTensor::new(&[1, 1], vec![2.0]);
/// let ground = model.graph().vertex("ground")?;
/// let seen = model.query(&Clamps::new().hold(ground, wet()?))?;
/// let made = model.query(&Clamps::new().intervene(ground, wet()?))?;
/// assert!((seen.get("rain")?.data()[0] - 0.8).abs() < 1e-6);
/// assert_eq!(made.get("rain")?.data(), [0.0]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct Causal<B: Backend> {
    graph: Graph<B::Tensor>,
    relaxation: Relaxation<Graph<B::Tensor>>,
    /// A forward pass and no step.
    forward: Relaxation<Graph<B::Tensor>>,
    variables: Vec<Own>,
}

/// One variable, its noise, and its prediction.
#[derive(Debug)]
struct Own {
    name: String,
    value: VertexId,
    noise: VertexId,
    prediction: PredictionId,
}

impl<B: Backend> fmt::Debug for Causal<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Causal")
            .field("variables", &self.variables)
            .field("relaxation", &self.relaxation)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> Causal<B> {
    /// A model of this diagram with new weights (`name.weight` or `name.weight.0`, ..., one for
    /// each parent, and `name.bias`, which starts at 0). Variables come after their parents.
    /// `schedule` relaxes live states.
    ///
    /// # Errors
    /// A variable whose parents do not come before it, are named twice or whose precision is no
    /// positive number; what the builder and the backend report; a schedule that the graph cannot
    /// honour.
    pub fn new(
        backend: &B,
        diagram: &[Variable<'_>],
        f: Activation,
        schedule: Schedule,
        init: &mut Init,
    ) -> Result<Self> {
        let mut b = Graph::builder();
        let mut variables: Vec<Own> = Vec::with_capacity(diagram.len());
        for variable in diagram {
            let mut parents = Vec::with_capacity(variable.parents.len() + 1);
            for parent in variable.parents {
                let known = variables.iter().find(|own| own.name == *parent);
                let known = known.ok_or_else(|| {
                    Error::new(
                        ErrorKind::Graph,
                        format!("its cause `{parent}` does not come before it"),
                    )
                    .at(variable.name)
                })?;
                if parents.contains(&known.value) {
                    let why = format!("its cause `{parent}` is named twice");
                    return Err(Error::new(ErrorKind::Graph, why).at(variable.name));
                }
                parents.push(known.value);
            }
            variables.push(add(backend, &mut b, variable, parents, f, init)?);
        }
        let graph = b.build()?;
        let relaxation = Relaxation::new(&graph, schedule)?;
        let forward = Relaxation::new(&graph, Schedule::standard(1.0, 1)?.unrelaxed())?;
        Ok(Self { graph, relaxation, forward, variables })
    }

    /// The graph.
    pub fn graph(&self) -> &Graph<B::Tensor> {
        &self.graph
    }

    /// The graph, to be loaded or learned by another rule.
    pub fn graph_mut(&mut self) -> &mut Graph<B::Tensor> {
        &mut self.graph
    }

    /// Relaxes with these clamps and lets `learn` move the mechanisms. What is intervened on
    /// teaches its own mechanism nothing, so that samples of experiments are learned from as they
    /// are.
    ///
    /// # Errors
    /// As [`Relaxation::train`].
    pub fn learn(
        &mut self,
        clamps: &Clamps<B::Tensor>,
        learn: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
    ) -> Result<Outcome> {
        let clamps = self.with_noise(clamps, None)?;
        settled(self.relaxation.train(&mut self.graph, &clamps, learn)?, "learning")
    }

    /// The values of all variables where some are seen and some are intervened on.
    ///
    /// # Errors
    /// As [`Relaxation::infer`]; a relaxation that diverges.
    pub fn query(&mut self, clamps: &Clamps<B::Tensor>) -> Result<World<B::Tensor>> {
        let clamps = self.with_noise(clamps, None)?;
        let outcome = self.relaxation.infer(&mut self.graph, &clamps)?;
        self.world(outcome, |relaxation, graph, own| relaxation.value(graph, own.value))
    }

    /// Abduction: the noise of all variables, given what is seen. Of what is intervened on it is 0,
    /// about which nothing is learned.
    ///
    /// # Errors
    /// As [`Causal::query`].
    pub fn noise(&mut self, evidence: &Clamps<B::Tensor>) -> Result<World<B::Tensor>> {
        let clamps = self.with_noise(evidence, None)?;
        let outcome = self.relaxation.infer(&mut self.graph, &clamps)?;
        self.world(outcome, |relaxation, graph, own| {
            // What the noise's own clamp adds is noise, too.
            let mut noise = relaxation.value(graph, own.noise)?;
            noise.axpy(1.0, relaxation.error(own.prediction)?);
            Some(noise)
        })
    }

    /// The values that all variables would have had, had `action` been taken when `evidence` was
    /// seen.
    ///
    /// # Errors
    /// An action that does more than intervene; as [`Causal::query`].
    pub fn counterfactual(
        &mut self,
        evidence: &Clamps<B::Tensor>,
        action: &Clamps<B::Tensor>,
    ) -> Result<World<B::Tensor>> {
        for (vertex, clamp) in action.iter() {
            let fits = match clamp {
                Clamp::Intervened(_) => true,
                Clamp::PartIntervened { mask, .. } => mask.norm_squared() == 0.0,
                _ => false,
            };
            if !fits {
                let name = self.variables.iter().find(|own| own.value == vertex);
                let name = name.map_or("?", |own| own.name.as_str());
                let why = "an action intervenes and sees nothing: what is seen is evidence";
                return Err(Error::new(ErrorKind::Clamp, why).at(name));
            }
        }
        let noise = self.noise(evidence)?;
        let clamps = self.with_noise(action, Some(&noise))?;
        settled(self.forward.infer(&mut self.graph, &clamps)?, "the action")?;
        // Abduction is what relaxes; from there on all is exact.
        let outcome = noise.outcome().clone();
        let forward = &self.forward;
        let of = |own: &Own| forward.value(&self.graph, own.value);
        World::new(outcome, self.variables.iter().map(|own| (own.name.as_str(), of(own))))
    }

    /// The relaxation as it stands, whose errors and energies are read by id.
    pub fn relaxation(&self) -> &Relaxation<Graph<B::Tensor>> {
        &self.relaxation
    }

    /// These clamps, and noise: what was found, or 0.
    fn with_noise(
        &self,
        clamps: &Clamps<B::Tensor>,
        found: Option<&World<B::Tensor>>,
    ) -> Result<Clamps<B::Tensor>> {
        let batch = match found.and_then(World::batch) {
            Some(batch) => batch,
            None => clamps.batch(self.graph.topology())?,
        };
        let like = self.graph.parameters().first();
        let like = like
            .ok_or_else(|| Error::new(ErrorKind::Graph, "the model has no mechanism to go by"))?;
        let mut all = clamps.clone();
        for own in &self.variables {
            if clamps.get(own.noise).is_none() {
                let noise = match found {
                    Some(world) => world.get(&own.name)?.clone(),
                    None => {
                        let shape = self.graph.shape(own.noise)?;
                        let full: Vec<usize> =
                            std::iter::once(batch).chain(shape.iter().copied()).collect();
                        like.zeros(&full)
                    }
                };
                all = all.hold(own.noise, noise);
            }
        }
        Ok(all)
    }

    /// What `of` reads of every variable after a relaxation.
    fn world(
        &self,
        outcome: Outcome,
        of: impl Fn(&Relaxation<Graph<B::Tensor>>, &Graph<B::Tensor>, &Own) -> Option<B::Tensor>,
    ) -> Result<World<B::Tensor>> {
        let outcome = settled(outcome, "the relaxation")?;
        let each = self.variables.iter();
        let read = |own: &Own| of(&self.relaxation, &self.graph, own);
        World::new(outcome, each.map(|own| (own.name.as_str(), read(own))))
    }
}

/// Adds a variable, its noise and its mechanism.
fn add<B: Backend>(
    backend: &B,
    b: &mut GraphBuilder<B::Tensor>,
    variable: &Variable<'_>,
    mut parents: Vec<VertexId>,
    f: Activation,
    init: &mut Init,
) -> Result<Own> {
    let Variable { name, width, precision, .. } = *variable;
    let value = b.input(name, &[width])?;
    let noise = b.input(&format!("noise of {name}"), &[width])?;
    let map = Dense::new(width).before(f).without_bias();
    let mut parameters = match parents.len() {
        0 => Vec::new(),
        _ => map.parameters(backend, b, name, &parents, init)?,
    };
    parameters
        .push(b.parameter(&format!("{name}.bias"), backend.tensor(&[width], &vec![0.0; width])?)?);
    let mut parts = parents.iter().map(|_| backend.dense(&map, 1)).collect::<Result<Vec<_>>>()?;
    parts.push(B::Tensor::boxed(AddParameter));
    parents.push(noise);
    let prediction = b.predict(value, backend.sum_of(parts), &parents, &parameters, precision)?;
    Ok(Own { name: name.to_owned(), value, noise, prediction })
}
