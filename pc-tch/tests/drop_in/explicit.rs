//! Explicit graphs of tch functions: the engine's own suite, and a graph whose figures are known.

use crate::common::seeded;
use pc_tch::{
    Function, TchTensor,
    pc_core::{
        Clamps, Error, ErrorKind, Evaluation, Graph, ParamId, Relaxation, Result, Schedule,
        SquaredError, Tensor as _, VertexId,
        conformance::{Backend, Built, Net, Operation, run},
        host::Activation,
    },
};
use tch::{Device, Kind, TchError, Tensor};

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
        Operation::Flatten => Box::new(|x, _| x[0].f_flatten(1, -1)),
        Operation::Sum => {
            Box::new(|x, _| x.iter().skip(1).try_fold(x[0].shallow_clone(), |sum, x| sum.f_add(x)))
        }
        Operation::Product => Box::new(|x, _| x[0].f_mul(&x[1])),
        Operation::Activate(f) => Box::new(move |x, _| activate(f, &x[0])),
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
        let tensor =
            Tensor::f_from_slice(values).and_then(|x| x.f_reshape(sizes)?.f_to_kind(self.0));
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
            let function = Function::new(
                &drawn.name,
                (self.0, Device::Cpu),
                uses.len(),
                compute(drawn.operation.clone()),
            );
            b.predict(
                vertices[net.inputs.len() + index],
                Box::new(function),
                &parents,
                &uses,
                drawn.precision,
            )?;
        }
        Ok(Some(Built { network: b.build()?, vertices, parameters }))
    }
}

fn passes(kind: Kind) {
    tch::set_num_threads(1);
    let report = run(&Tch(kind)).unwrap();
    if let Err(failures) = report.check() {
        panic!("{failures}");
    }
    println!("{}: {} cases passed", report.backend, report.passed());
    assert!(
        report.passed() >= 150 && report.skipped() == 0,
        "{} passed, {} skipped",
        report.passed(),
        report.skipped()
    );
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

const TOY: (Kind, Device) = (Kind::Double, Device::Cpu);

fn number(x: f64) -> TchTensor {
    TchTensor::new(&Tensor::full([1, 1], x, TOY))
}

fn toy(target: f64) -> Toy {
    let mut b = Graph::<TchTensor>::builder();
    // The wanted gradient is y0's, so y0 is a parameter; each vertex that starts from it takes it
    // as such.
    let y0 = b.parameter("y0", number(5.0)).unwrap();
    let theta = b.parameter("theta", number(2.0)).unwrap();
    let make = |name: &str, uses: usize, f: fn(&[Tensor], &[Tensor]) -> Answer| {
        Box::new(Function::new(name, TOY, uses, f))
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
