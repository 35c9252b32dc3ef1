//! Explicit graphs of tch functions: the engine's own suite, and a graph whose figures are known.

use crate::common::{device, double, seeded};
use pc_tch::{
    Function, TchTensor,
    pc_core::{
        Agreement, Clamps, Error, ErrorKind, Evaluation, Graph, GraphBuilder, ParamId, Relaxation,
        Result, Schedule, SquaredError, Tensor as _, VertexId,
        backend::GraphTensor,
        composites::{
            AttentionMap, AttentionParts, Gate, Product, Reshape, Sum, lstm_cell, self_attention,
        },
        conformance::{
            Backend, Built, Net, NetVertex, Operation, Report, additions, composites, run,
        },
        host::{Activation, HostLayers, HostTensor, Init},
    },
};
use tch::{Device, Kind, TchError, Tensor};

type TchVertex = <TchTensor as GraphTensor>::Vertex;

type Answer = std::result::Result<Tensor, TchError>;

struct Tch(Kind);

fn activate(f: Activation, x: &Tensor) -> Answer {
    match f {
        Activation::Identity => Ok(x.shallow_clone()),
        Activation::Tanh => x.f_tanh(),
        Activation::Relu => x.f_relu(),
        Activation::HardTanh => x.f_hardtanh(),
        Activation::Sigmoid => x.f_sigmoid(),
        Activation::Gelu => x.f_gelu("none"),
        other => Err(TchError::Kind(format!("no {other:?} in this test"))),
    }
}

/// One vertex's prediction, from its parents and its parameters.
type Compute = Box<dyn Fn(&[Tensor], &[Tensor]) -> Answer>;

fn compute(operation: Operation) -> Compute {
    match operation {
        Operation::Dense(f) => {
            Box::new(move |x, w| activate(f, &x[0].f_linear(&w[0], Some(&w[1]))?))
        }
        Operation::DenseSum(f) => Box::new(move |x, w| {
            let first = x[0].f_linear(&w[0], None::<Tensor>)?;
            let sum = x
                .iter()
                .zip(w)
                .skip(1)
                .try_fold(first, |sum, (x, w)| sum.f_add(&x.f_linear(w, None::<Tensor>)?))?;
            activate(f, &sum)
        }),
        Operation::Conv { padding, activation, pool } => Box::new(move |x, w| {
            let (padding, pool) = (padding as i64, pool as i64);
            let h = activate(
                activation,
                &x[0].f_conv2d(&w[0], Some(&w[1]), [1, 1], [padding, padding], [1, 1], 1)?,
            )?;
            h.f_max_pool2d([pool, pool], [pool, pool], [0, 0], [1, 1], false)
        }),
        Operation::Activate(f) => Box::new(move |x, _| activate(f, &x[0])),
        Operation::Flatten | Operation::Sum | Operation::Product => {
            Box::new(|_, _| Err(TchError::Kind("a vertex of pc-core's".to_owned())))
        }
    }
}

/// One of pc-core's vertices where it has one, a function of libtorch's else.
fn vertex(drawn: &NetVertex, options: (Kind, Device)) -> TchVertex {
    match &drawn.operation {
        Operation::Flatten => Box::new(Reshape::flatten()),
        Operation::Sum => Box::new(Sum::new()),
        Operation::Product => Box::new(Product),
        other => {
            let compute = compute(other.clone());
            Box::new(Function::new(&drawn.name, options, drawn.parameters.len(), compute))
        }
    }
}

impl Backend for Tch {
    type Tensor = TchTensor;
    type Network = Graph<TchTensor>;

    fn name(&self) -> String {
        format!("tch, {:?}", self.0)
    }

    fn tolerance(&self) -> f64 {
        if self.0 == Kind::Double { 1e-10 } else { 1e-5 }
    }

    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<TchTensor> {
        let sizes: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        let tensor = Tensor::f_from_slice(values)
            .and_then(|x| x.f_reshape(sizes)?.f_to_kind(self.0)?.f_to_device(device()));
        tensor
            .map(|x| TchTensor::new(&x))
            .map_err(|error| Error::new(ErrorKind::Backend, error.to_string()))
    }

    fn build(&self, net: &Net) -> Result<Option<Built<Self::Network>>> {
        let mut b = Graph::<TchTensor>::builder();
        let mut parameters: Vec<ParamId> = Vec::new();
        for (name, shape, values) in &net.parameters {
            parameters.push(b.parameter(name, self.tensor(shape, values)?)?);
        }
        let mut vertices: Vec<VertexId> = Vec::new();
        for (index, (shape, _)) in net.inputs.iter().enumerate() {
            vertices.push(b.input(&format!("x{index}"), shape)?);
        }
        for vertex in &net.vertices {
            vertices.push(b.input(&vertex.name, &vertex.shape)?);
        }
        for (index, drawn) in net.vertices.iter().enumerate() {
            let parents: Vec<VertexId> =
                drawn.parents.iter().map(|parent| vertices[*parent]).collect();
            let uses: Vec<ParamId> =
                drawn.parameters.iter().map(|parameter| parameters[*parameter]).collect();
            b.predict(
                vertices[net.inputs.len() + index],
                vertex(drawn, (self.0, device())),
                &parents,
                &uses,
                drawn.precision,
            )?;
        }
        Ok(Some(Built { network: b.build()?, vertices, parameters }))
    }
}

fn check(report: &Report, least: usize) {
    if let Err(failures) = report.check() {
        panic!("{failures}");
    }
    println!("{}: {} cases passed", report.backend, report.passed());
    assert!(
        report.passed() >= least && report.skipped() == 0,
        "{} passed, {} skipped",
        report.passed(),
        report.skipped()
    );
}

fn passes(kind: Kind) {
    tch::set_num_threads(1);
    check(&run(&Tch(kind)).unwrap(), 150);
    check(&composites(&Tch(kind)).unwrap(), 26);
    check(&additions(&Tch(kind)).unwrap(), 80);
}

#[test]
fn conforms_in_f64() {
    let _turn = seeded();
    passes(Kind::Double);
}

#[test]
fn conforms_in_f32() {
    let _turn = seeded();
    passes(Kind::Float);
}

/// y1 = theta y0, y2 = sqrt y1, y3 = y0^2, y4 = tan y2 + sin y3, L = 1/2 (target - y4)^2, at theta
/// 2, y0 5.
struct Toy {
    graph: Graph<TchTensor>,
    clamps: Clamps<TchTensor>,
}

fn number(x: f64) -> TchTensor {
    TchTensor::new(&Tensor::full([1, 1], x, double()))
}

fn toy(target: f64) -> Toy {
    let mut b = Graph::<TchTensor>::builder();
    // The wanted gradient is y0's, so y0 is a parameter; each vertex that starts from it takes it
    // as such.
    let y0 = b.parameter("y0", number(5.0)).unwrap();
    let theta = b.parameter("theta", number(2.0)).unwrap();
    let make = |name: &str, uses: usize, f: fn(&[Tensor], &[Tensor]) -> Answer| {
        Box::new(Function::new(name, double(), uses, f))
    };
    let one = b.input("one", &[1]).unwrap();
    let y1 = b
        .vertex("y1", make("y1", 2, |x, w| x[0].f_mul(&w[0])?.f_mul(&w[1])), &[one], &[theta, y0])
        .unwrap();
    let y2 = b.vertex("y2", make("y2", 0, |x, _| x[0].f_sqrt()), &[y1], &[]).unwrap();
    let y3 =
        b.vertex("y3", make("y3", 1, |x, w| x[0].f_mul(&w[0].f_square()?)), &[one], &[y0]).unwrap();
    let y4 = b
        .vertex("y4", make("y4", 0, |x, _| x[0].f_tan()?.f_add(&x[1].f_sin()?)), &[y2, y3], &[])
        .unwrap();
    let clamps = Clamps::new().hold(one, number(1.0)).drive(y4, SquaredError::new(number(target)));
    Toy { graph: b.build().unwrap(), clamps }
}

fn slope(target: f64, schedule: Schedule) -> f64 {
    let Toy { mut graph, clamps } = toy(target);
    let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
    relaxation.run(&mut graph, &clamps).unwrap();
    relaxation.gradients().get(ParamId::new(0)).map_or(0.0, |gradient| gradient.to_vec()[0])
}

#[test]
fn the_toy_graph_has_its_slopes() {
    let _turn = seeded();
    for (target, known) in [(3.0, -31.8273), (1.0, -11.3705)] {
        let found = slope(
            target,
            Schedule::fixed_prediction(1.0, 2).unwrap().evaluated_by(Evaluation::Simulate),
        );
        println!("target {target}: dL/dy0 = {found:.4}");
        assert!((found - known).abs() < 5e-5, "{found} is not {known}");
    }
}

#[test]
fn the_toy_graph_settles_in_known_steps() {
    let _turn = seeded();
    let exact = slope(3.0, Schedule::backprop());
    for (gamma, known) in [(0.02, 352), (0.05, 139), (0.1, 68), (0.2, 32), (0.5, 11), (1.0, 2)] {
        let off = |steps: usize| {
            let schedule = Schedule::fixed_prediction(gamma, steps)
                .unwrap()
                .evaluated_by(Evaluation::Simulate);
            (slope(3.0, schedule) / exact - 1.0).abs()
        };
        let steps = (1..500).find(|steps| off(*steps) < 1e-3).unwrap();
        println!("gamma {gamma}: {steps} steps");
        assert_eq!(steps, known, "at gamma {gamma}");
    }
}

/// A linear map of some parents and an activation, by libtorch: a weight for each parent, then a
/// bias.
fn dense(parents: usize, f: Activation) -> TchVertex {
    let compute = move |x: &[Tensor], w: &[Tensor]| {
        let first = x[0].f_linear(&w[0], Some(&w[parents]))?;
        let sum = x
            .iter()
            .zip(w)
            .skip(1)
            .try_fold(first, |sum, (x, w)| sum.f_add(&x.f_linear(w, None::<Tensor>)?))?;
        activate(f, &sum)
    };
    Box::new(Function::new("dense", double(), parents + 1, compute))
}

/// The host's parameters, in the order in which the wiring asks for them.
struct Parts<'a> {
    b: &'a mut GraphBuilder<TchTensor>,
    parameters: std::slice::Iter<'a, TchTensor>,
}

impl AttentionParts for Parts<'_> {
    type Tensor = TchTensor;

    fn builder(&mut self) -> &mut GraphBuilder<TchTensor> {
        self.b
    }
    fn map(&mut self, _map: AttentionMap, name: &str) -> Result<(TchVertex, Vec<ParamId>)> {
        let both = self.parameters.by_ref().take(2).enumerate();
        let ids = both.map(|(k, value)| self.b.parameter(&format!("{name}.{k}"), value.clone()));
        Ok((dense(1, Activation::Identity), ids.collect::<Result<_>>()?))
    }
    fn product(&self, transpose_b: bool, scale: f64) -> TchVertex {
        let compute = move |x: &[Tensor], _: &[Tensor]| {
            let b = if transpose_b { x[1].f_transpose(-2, -1)? } else { x[1].shallow_clone() };
            x[0].f_matmul(&b)?.f_mul_scalar(scale)
        };
        Box::new(Function::new("matmul", double(), 0, compute))
    }
    fn softmax(&self, causal: bool) -> TchVertex {
        let compute = move |x: &[Tensor], _: &[Tensor]| {
            let hidden = x[0].f_ones_like()?.f_triu(1)?.f_to_kind(Kind::Bool)?;
            let x = x[0].shallow_clone();
            let x = if causal { x.f_masked_fill(&hidden, f64::NEG_INFINITY)? } else { x };
            x.f_softmax(-1, None::<Kind>)
        };
        Box::new(Function::new("softmax", double(), 0, compute))
    }
}

fn of_host(x: &HostTensor<f64>) -> TchTensor {
    Tch(Kind::Double).tensor(x.dims(), x.data()).unwrap()
}

/// An LSTM's step over attention, wired around libtorch's maps, has the host's gradients.
#[test]
fn cells_are_wired_as_the_hosts() {
    let _turn = seeded();
    for (heads, causal) in [(1, false), (2, true)] {
        let mut init = Init::new(4);
        let mut b = Graph::<HostTensor<f64>>::builder();
        let x = b.input("x", &[3, 4]).unwrap();
        let (h, c) = (b.input("h", &[5]).unwrap(), b.input("c", &[5]).unwrap());
        let attention = b.self_attention("a", x, heads, causal, &mut init).unwrap();
        let row = b.flatten("row", attention.output).unwrap();
        let gates = b.lstm_parameters("l", 12, 5, &mut init).unwrap();
        let y = b.lstm_cell("t", row, h, c, &gates).unwrap().hidden;
        let mut host = b.build().unwrap();

        let known: Vec<TchTensor> = host.parameters().iter().map(of_host).collect();
        let (maps, rest) = known.split_at(8);
        let mut b = Graph::<TchTensor>::builder();
        for (name, shape) in [("x", &[3, 4][..]), ("h", &[5]), ("c", &[5])] {
            b.input(name, shape).unwrap();
        }
        let mut parts = Parts { b: &mut b, parameters: maps.iter() };
        let attention = self_attention(&mut parts, "a", x, heads, causal).unwrap();
        let row = b.vertex("row", Box::new(Reshape::flatten()), &[attention.output], &[]).unwrap();
        let mut ids = Vec::new();
        for (k, value) in rest.iter().enumerate() {
            ids.push(b.parameter(&format!("l.{k}"), value.clone()).unwrap());
        }
        let cell = lstm_cell(&mut &mut b, "t", c, Activation::Tanh, |b, gate, name| {
            // As the host orders its gates' parameters: weights of both parents, and a bias.
            let (first, f) = match gate {
                Gate::Input => (0, Activation::Sigmoid),
                Gate::Forget => (3, Activation::Sigmoid),
                Gate::Candidate => (6, Activation::Tanh),
                Gate::Output => (9, Activation::Sigmoid),
            };
            b.vertex(name, dense(2, f), &[row, h], &ids[first..first + 3])
        });
        assert_eq!(cell.unwrap().hidden, y);
        let mut graph = b.build().unwrap();

        let held = [(x, &[2, 3, 4][..]), (h, &[2, 5]), (c, &[2, 5]), (y, &[2, 5])];
        let held = held.map(|(vertex, shape)| (vertex, init.uniform(shape, 0.8).unwrap()));
        let standard = || Schedule::standard(0.1, 15).unwrap();
        for schedule in [standard(), standard().with_momentum(0.5).unwrap()] {
            let (mut ours, mut theirs) = (Clamps::new(), Clamps::new());
            for (vertex, value) in &held {
                ours = ours.hold(*vertex, of_host(value));
                theirs = theirs.hold(*vertex, value.clone());
            }
            let mut relaxation = Relaxation::new(&graph, schedule.clone()).unwrap();
            relaxation.run(&mut graph, &ours).unwrap();
            let mut expected = Relaxation::new(&host, schedule).unwrap();
            expected.run(&mut host, &theirs).unwrap();
            // All at once, for the keys' bias has next to no gradient: it adds the same to all
            // scores of a place, which a softmax does not see.
            let found: Vec<f64> =
                relaxation.gradients().iter().flat_map(|(_, g)| g.unwrap().to_vec()).collect();
            let wanted: Vec<f64> =
                expected.gradients().iter().flat_map(|(_, g)| g.unwrap().to_vec()).collect();
            let off = Agreement::of_slices(&found, &wanted).max_difference;
            assert!(found.len() == wanted.len() && off <= 1e-10, "{heads} heads: off by {off:.1e}");
        }
    }
}
