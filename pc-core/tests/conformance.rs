//! The host backend in both precisions passes its own suite; a backend that is wrong does not.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(feature = "conformance")]

use pc_core::{
    Activation, Chain, Clamps, Gradients, Graph, Network, ParamId, PredictionId, Result, Tensor,
    Topology, VertexId,
    backend::{
        Abilities, Cache, Drives, Forward, GraphLinearisation, GraphTensor, Inputs, Pulled,
        Residuals, Settings, State, StateStep, Vertex, Want,
    },
    conformance::{
        Backend, Built, Case, HostBackend, Net, Operation, Report, Verdict, layers, run,
    },
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

/// Beside those in `f64`; activations and softmax from every region of theirs to every other.
#[test]
fn layers_of_the_host_in_f32() {
    passes(&layers(&HostBackend::<f32>::new(), Ok).unwrap(), 60);
}

/// One relaxation takes batches of any size, wherever its states start.
#[test]
fn batches_that_change_size_with_every_start() {
    let report = run(&HostBackend::<f64>::new()).unwrap();
    for (start, cases) in [("forward", 52), ("zero", 45), ("noise", 45), ("carried", 36)] {
        let of = |case: &&Case| case.name.contains("batches") && case.name.ends_with(start);
        assert_eq!(report.cases.iter().filter(of).count(), cases, "{start}");
    }
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
    fn prediction<'a>(
        &self,
        at: &'a GraphLinearisation<Host>,
        id: PredictionId,
    ) -> Option<&'a Host> {
        self.0.prediction(at, id)
    }
    fn change<'a>(
        &self,
        at: &'a Self::Linearisation,
        id: PredictionId,
    ) -> Option<&'a Self::Tensor> {
        self.0.change(at, id)
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
    assert_eq!((tensors.len(), nets.len()), (12, 480));
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
    fn assign(&mut self, numbers: &[f64]) {
        self.0.assign(numbers);
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

    fn boxed(vertex: impl Vertex<Self> + Send + Sync + 'static) -> Self::Vertex {
        Box::new(vertex)
    }

    fn chained(chain: Chain<Self>) -> Self::Vertex {
        Box::new(chain)
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

    /// The chains of dense layers: the host's vertices know no other tensor than the host's.
    fn build(&self, net: &Net) -> Result<Option<Built<Graph<NanStep>>>> {
        let mut b = Graph::builder();
        let mut parameters = Vec::new();
        for (name, shape, values) in &net.parameters {
            parameters.push(b.parameter(name, self.tensor(shape, values)?)?);
        }
        let mut vertices = Vec::new();
        for (index, (shape, _)) in net.inputs.iter().enumerate() {
            vertices.push(b.input(&format!("x{index}"), shape)?);
        }
        for drawn in &net.vertices {
            let Operation::Dense(activation) = drawn.operation else { return Ok(None) };
            let [parent] = drawn.parents[..] else { return Ok(None) };
            let uses: Vec<ParamId> = drawn.parameters.iter().map(|p| parameters[*p]).collect();
            let dense = Box::new(Dense(activation));
            let vertex = b.vertex(&drawn.name, dense, &[vertices[parent]], &uses)?;
            b.precision(vertex, drawn.precision)?;
            vertices.push(vertex);
        }
        Ok(Some(Built { network: b.build()?, vertices, parameters }))
    }
}

/// `f(W v + b)`, by loops.
struct Dense(Activation);

impl Vertex<NanStep> for Dense {
    fn kind(&self) -> &str {
        "dense"
    }
    fn shape(&self, _parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        Ok(vec![parameters[0][0]])
    }
    fn parameters(&self) -> usize {
        2
    }
    fn predict(
        &self,
        at: &Inputs<'_, NanStep>,
        cache: &mut Cache<NanStep>,
        output: &mut NanStep,
    ) -> Result<()> {
        let (x, w, b) = (at.value(0).0.data(), at.parameter(0).0.data(), at.parameter(1).0.data());
        let inputs = w.len() / b.len();
        let rows = x.chunks_exact(inputs).flat_map(|x| {
            let row =
                move |(w, b): (&[f64], &f64)| b + w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
            w.chunks_exact(inputs).zip(b).map(row)
        });
        let sums: Vec<f64> = rows.collect();
        let derivative = cache.slot(0, &output.shape(), output);
        let (derivative, output) = (derivative.0.data_mut(), output.0.data_mut());
        self.0.evaluate_slices(&sums, None, derivative, output);
        Ok(())
    }
    fn pull(
        &self,
        at: &Inputs<'_, NanStep>,
        cache: &mut Cache<NanStep>,
        cotangent: &NanStep,
        pulled: &mut Pulled<'_, NanStep>,
    ) -> Result<()> {
        let mut u = cotangent.clone();
        u.multiply(cache.get(0)?);
        let (u, x, w) = (u.0.data(), at.value(0).0.data(), at.parameter(0).0.data());
        let outputs = at.parameter(1).0.data().len();
        let (inputs, scale) = (w.len() / outputs, pulled.scale());
        let samples = || u.chunks_exact(outputs).zip(x.chunks_exact(inputs));
        if let Some(force) = pulled.force(0) {
            force.fill(0.0);
            for ((u, _), force) in samples().zip(force.0.data_mut().chunks_exact_mut(inputs)) {
                for (u, w) in u.iter().zip(w.chunks_exact(inputs)) {
                    force.iter_mut().zip(w).for_each(|(f, w)| *f += u * w);
                }
            }
        }
        if let Some(gradient) = pulled.gradient(0) {
            for (u, x) in samples() {
                for (u, g) in u.iter().zip(gradient.0.data_mut().chunks_exact_mut(inputs)) {
                    g.iter_mut().zip(x).for_each(|(g, x)| *g += scale * u * x);
                }
            }
        }
        if let Some(gradient) = pulled.gradient(1) {
            for (u, _) in samples() {
                gradient.0.data_mut().iter_mut().zip(u).for_each(|(g, u)| *g += scale * u);
            }
        }
        Ok(())
    }
}

/// One case of the tensor operations calls `step_state`, and so do the rules that move states: all
/// forms of standard PC, and Z-IL. All of these must fail. The others move errors or nothing and
/// pass, so that nothing else is wrong with this backend.
#[test]
fn a_step_of_nan_fails_every_case_that_steps() {
    let report = run(&NanSteps).unwrap();
    let ran = |case: &&Case| !matches!(case.verdict, Verdict::Skipped(_));
    let (batches, once): (Vec<&Case>, Vec<&Case>) =
        report.cases.iter().filter(ran).partition(|case| case.name.contains("batches"));
    for case in batches {
        let steps = ["standard PC", "Z-IL"].iter().any(|rule| case.name.contains(rule));
        assert_eq!(matches!(case.verdict, Verdict::Failed(_)), steps, "{case}");
    }
    let of = |rule: &str| -> Vec<&Verdict> {
        let named = once.iter().filter(|case| case.name.contains(rule));
        named.map(|case| &case.verdict).collect()
    };
    let failed = |verdicts: &[&Verdict]| {
        verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Failed(_))).count()
    };
    for (rule, fail, ran) in [
        ("tensor: ", 1, 12),
        ("tensor: step_state", 1, 1),
        ("standard PC", 56, 56),
        ("Z-IL", 28, 28),
    ] {
        let verdicts = of(rule);
        assert_eq!((failed(&verdicts), verdicts.len()), (fail, ran), "{rule}");
    }
    let all = of("");
    assert_eq!((failed(&all), all.len()), (1 + 56 + 28, 12 + 7 * 2 * 14));
}
