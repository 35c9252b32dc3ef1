//! The host backend in both precisions passes its own suite; a backend that is wrong does not.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(feature = "conformance")]

use pc_core::{
    Abilities, Clamps, Drives, Forward, Gradients, Graph, GraphLinearisation, GraphTensor,
    Identity, Network, ParamId, Residuals, Result, Settings, State, StateStep, Tensor, Topology,
    Vertex, VertexId, Want,
    conformance::{Backend, Built, Case, HostBackend, Net, Report, Verdict, run},
    host::HostTensor,
};

type Host = HostTensor<f64>;
type HostGraph = Graph<Host>;

fn passes(report: &Report, least: usize) {
    if let Err(failures) = report.check() {
        panic!("{failures}");
    }
    assert!(report.passed() >= least, "only {} cases passed", report.passed());
    assert_eq!(report.skipped(), 0);
}

#[test]
fn host_in_f64() {
    passes(&run(&HostBackend::<f64>::new()).unwrap(), 150);
}

#[test]
fn host_in_f32() {
    passes(&run(&HostBackend::<f32>::new()).unwrap(), 150);
}

/// The host with one weight a thousandth off.
struct Wrong;

impl Backend for Wrong {
    type Tensor = Host;
    type Network = HostGraph;

    fn name(&self) -> String {
        "wrong".to_owned()
    }

    fn tolerance(&self) -> f64 {
        1e-10
    }

    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<Host> {
        HostBackend::<f64>::new().tensor(shape, values)
    }

    fn build(&self, net: &Net) -> Result<Option<Built<HostGraph>>> {
        let mut built = HostBackend::<f64>::new().build(net)?;
        if let Some(built) = &mut built {
            built.network.parameters_mut()[0].data_mut()[0] *= 1.001;
        }
        Ok(built)
    }
}

#[test]
fn a_wrong_backend_fails() {
    let report = run(&Wrong).unwrap();
    let failures = report.check().unwrap_err();
    assert!(failures.contains("tanh chain, held, standard PC"), "{failures}");
}

/// A host graph whose gradient of the first parameter, a weight, is NaN wherever it is asked for.
struct NanGradient(HostGraph);

fn spoil(gradients: Option<&mut Gradients<Host>>) {
    if let Some((first, _)) = gradients.and_then(|gradients| gradients.slot(ParamId::new(0))) {
        first.fill(f64::NAN);
    }
}

impl Network for NanGradient {
    type Tensor = Host;
    type Linearisation = GraphLinearisation<Host>;

    fn topology(&self) -> &Topology {
        self.0.topology()
    }
    fn abilities(&self) -> Abilities {
        self.0.abilities()
    }
    fn prepare(&mut self, clamps: &Clamps<Host>, values: &mut Vec<Host>) -> Result<bool> {
        self.0.prepare(clamps, values)
    }
    fn linearisation(&self) -> GraphLinearisation<Host> {
        self.0.linearisation()
    }
    fn forward(
        &mut self,
        pass: Forward<'_, Host>,
        into: &mut GraphLinearisation<Host>,
    ) -> Result<()> {
        self.0.forward(pass, into)
    }
    fn refer(
        &mut self,
        state: &State<Host>,
        settings: Settings,
        after_forward: bool,
        into: &mut GraphLinearisation<Host>,
    ) -> Result<()> {
        self.0.refer(state, settings, after_forward, into)
    }
    fn prediction<'a>(&self, at: &'a GraphLinearisation<Host>, index: usize) -> Option<&'a Host> {
        self.0.prediction(at, index)
    }
    fn linearise(
        &mut self,
        state: &State<Host>,
        settings: Settings,
        residuals: Residuals<'_, Host>,
        errors: &mut [Host],
        into: &mut GraphLinearisation<Host>,
    ) -> Result<()> {
        self.0.linearise(state, settings, residuals, errors, into)
    }
    fn pull(
        &mut self,
        state: &State<Host>,
        cotangents: &[Host],
        want: Want<'_>,
        mut gradients: Option<&mut Gradients<Host>>,
        at: &mut GraphLinearisation<Host>,
    ) -> Result<()> {
        self.0.pull(state, cotangents, want, gradients.as_deref_mut(), at)?;
        spoil(gradients);
        Ok(())
    }
    fn forget_pulls(&self, at: &mut GraphLinearisation<Host>) {
        self.0.forget_pulls(at);
    }
    fn force<'a>(&self, at: &'a GraphLinearisation<Host>, vertex: VertexId) -> Option<&'a Host> {
        self.0.force(at, vertex)
    }
    fn reverse(
        &mut self,
        state: &State<Host>,
        drives: Drives<'_, Host>,
        mut gradients: Option<&mut Gradients<Host>>,
        at: &mut GraphLinearisation<Host>,
    ) -> Result<()> {
        self.0.reverse(state, drives, gradients.as_deref_mut(), at)?;
        spoil(gradients);
        Ok(())
    }
    fn gradients(&self) -> Gradients<Host> {
        self.0.gradients()
    }
}

struct NanGradients;

impl Backend for NanGradients {
    type Tensor = Host;
    type Network = NanGradient;

    fn name(&self) -> String {
        "NaN for the first weight's gradient".to_owned()
    }

    fn tolerance(&self) -> f64 {
        1e-10
    }

    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<Host> {
        HostBackend::<f64>::new().tensor(shape, values)
    }

    fn build(&self, net: &Net) -> Result<Option<Built<NanGradient>>> {
        let built = HostBackend::<f64>::new().build(net)?;
        Ok(built.map(|Built { network, vertices, parameters }| Built {
            network: NanGradient(network),
            vertices,
            parameters,
        }))
    }
}

/// The tensor operations are the host's and pass. All other cases compare the gradients of all
/// parameters, so every one of them must fail.
#[test]
fn a_gradient_of_nan_fails_every_case_of_a_net() {
    let report = run(&NanGradients).unwrap();
    let (tensors, nets): (Vec<&Case>, Vec<&Case>) =
        report.cases.iter().partition(|case| case.name.starts_with("tensor: "));
    assert_eq!((tensors.len(), nets.len()), (11, 274));
    for case in tensors {
        assert!(matches!(case.verdict, Verdict::Passed(_)), "{case}");
    }
    for case in nets {
        assert!(matches!(case.verdict, Verdict::Failed(_)), "{case}");
    }
}

/// A host tensor whose fused step writes NaN wherever it writes.
#[derive(Clone)]
struct NanStep(Host);

impl Tensor for NanStep {
    fn shape(&self) -> Vec<usize> {
        self.0.shape()
    }
    fn zeros(&self, shape: &[usize]) -> Self {
        Self(self.0.zeros(shape))
    }
    fn fill(&mut self, value: f64) {
        self.0.fill(value);
    }
    fn copy_from(&mut self, source: &Self) {
        self.0.copy_from(&source.0);
    }
    fn axpy(&mut self, a: f64, x: &Self) {
        self.0.axpy(a, &x.0);
    }
    fn scale(&mut self, a: f64) {
        self.0.scale(a);
    }
    fn multiply(&mut self, x: &Self) {
        self.0.multiply(&x.0);
    }
    fn dot(&self, x: &Self) -> f64 {
        self.0.dot(&x.0)
    }
    fn add_normal(&mut self, deviation: f64, stream: u64) {
        self.0.add_normal(deviation, stream);
    }
    fn is_finite(&self) -> bool {
        self.0.is_finite()
    }
    fn to_vec(&self) -> Vec<f64> {
        self.0.to_vec()
    }
    fn step_state(step: StateStep<'_, Self>) {
        step.displacement.fill(f64::NAN);
        step.value.fill(f64::NAN);
        if let Some((velocity, _)) = step.velocity {
            velocity.fill(f64::NAN);
        }
    }
}

impl GraphTensor for NanStep {
    type Vertex = Box<dyn Vertex<Self>>;

    fn identity_vertex() -> Self::Vertex {
        Box::new(Identity)
    }
}

struct NanSteps;

impl Backend for NanSteps {
    type Tensor = NanStep;
    type Network = Graph<NanStep>;

    fn name(&self) -> String {
        "NaN for every step of a state".to_owned()
    }

    fn tolerance(&self) -> f64 {
        1e-10
    }

    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<NanStep> {
        HostBackend::<f64>::new().tensor(shape, values).map(NanStep)
    }

    fn build(&self, _net: &Net) -> Result<Option<Built<Graph<NanStep>>>> {
        Ok(None)
    }
}

/// The host's vertices know no other tensor, so this backend builds no net. Of the cases of the
/// tensor operations one calls `step_state`, and it must fail.
#[test]
fn a_step_of_nan_fails_the_case_that_steps() {
    let report = run(&NanSteps).unwrap();
    let failed = |case: &&Case| matches!(case.verdict, Verdict::Failed(_));
    let failures: Vec<&str> =
        report.cases.iter().filter(failed).map(|case| case.name.as_str()).collect();
    assert_eq!(failures, ["tensor: step_state in all its forms"]);
    assert_eq!((report.passed(), failures.len()), (10, 1));
}
