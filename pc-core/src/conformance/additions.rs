//! Cases for what a graph says beside its wiring: energies, projections, constraints and the rest,
//! on explicit graphs of every backend.

use crate::{
    Bernoulli, Categorical, Clamps, DiagonalPrecision, Graph, Identity, Interval, L1Ball, Laplace,
    LearnedDiagonalPrecision, LearnedMatrixPrecision, Map, Mask, MatrixPrecision, Prior,
    Relaxation, Result, Schedule, Simplex, SoftThreshold, Start, Tensor, ZeroDiagonal,
    composites::{AddParameter, Scale, Sum},
    conformance::{
        Backend, Case, HostBackend, Report, Verdict, Worst,
        composites::{Make, numbers},
    },
    graph::{GraphBuilder, GraphTensor},
    host::HostTensor,
    topology::{ParamId, VertexId},
};

const BATCH: usize = 3;
const WIDTH: usize = 4;

/// What is said of the net, by name.
const ADDITIONS: [&str; 18] = [
    "nothing",
    "laplace",
    "bernoulli",
    "categorical logits",
    "categorical probabilities",
    "diagonal precision",
    "matrix precision",
    "learned diagonal precision",
    "learned matrix precision",
    "interval",
    "simplex",
    "l1 ball",
    "soft threshold",
    "mask",
    "zero diagonal",
    "cut",
    "term",
    "frozen",
];

struct Net<T: GraphTensor> {
    graph: Graph<T>,
    vertices: [VertexId; 3],
}

fn square<T: GraphTensor>(of: Make<'_, T>, name: &str, b: &mut GraphBuilder<T>) -> Result<ParamId> {
    let mut matrix = numbers(WIDTH * WIDTH, 0.7, 0.3);
    (0..WIDTH).for_each(|k| matrix[k * (WIDTH + 1)] += 1.2);
    b.parameter(name, of(&[WIDTH, WIDTH], &matrix)?)
}

/// A prior of `z`, and `z -> h -> y` by vertices that every backend has, with one addition.
fn build<T: GraphTensor>(of: Make<'_, T>, addition: &str) -> Result<Net<T>> {
    let mut b = Graph::<T>::builder();
    let z = b.input("z", &[WIDTH])?;
    let mean = b.parameter("mean", of(&[WIDTH], &numbers(WIDTH, 0.2, 0.5))?)?;
    b.predict(z, T::boxed(Prior), &[], &[mean], 0.8)?;
    let tanh = |x: f64| x.tanh();
    let slope = |x: f64| 1.0 - x.tanh().powi(2);
    let bent = b.vertex("bent", T::boxed(Map::new("bent", tanh, slope)), &[z], &[])?;
    let shift = b.parameter("shift", of(&[WIDTH], &numbers(WIDTH, 0.9, 0.4))?)?;
    let h = b.vertex("h", T::boxed(AddParameter), &[bent], &[shift])?;
    let y = b.vertex("y", T::boxed(Sum::weighted(&[0.7, -0.4])), &[h, z], &[])?;
    let (of_h, of_y) = (b.prediction_of(h)?, b.prediction_of(y)?);
    match addition {
        "laplace" => b.energy(of_h, Laplace::new(0.8)?, &[])?,
        "bernoulli" => b.energy(of_y, Bernoulli, &[])?,
        "categorical logits" => b.energy(of_h, Categorical::Logits, &[])?,
        "categorical probabilities" => b.energy(of_y, Categorical::Probabilities, &[])?,
        "diagonal precision" => {
            let pi = b.buffer("pi", of(&[WIDTH], &[0.5, 0.0, 2.0, 1.25])?)?;
            b.energy(of_h, DiagonalPrecision, &[pi])?;
        }
        "matrix precision" => {
            let pi = square(of, "pi", &mut b)?;
            b.energy(of_y, MatrixPrecision, &[pi])?;
        }
        "learned diagonal precision" => {
            let logs = b.parameter("logs", of(&[WIDTH], &numbers(WIDTH, 0.1, 0.5))?)?;
            b.energy(of_h, LearnedDiagonalPrecision, &[logs])?;
        }
        "learned matrix precision" => {
            let factor = square(of, "factor", &mut b)?;
            b.energy(of_y, LearnedMatrixPrecision, &[factor])?;
        }
        "interval" => b.project(h, Interval::new(-0.1, 0.2)?)?,
        "simplex" => b.project(h, Simplex)?,
        "l1 ball" => b.project(h, L1Ball::new(0.3)?)?,
        "soft threshold" => b.project(z, SoftThreshold::new(0.3)?)?,
        "mask" => b.constrain(shift, Mask::new(&of(&[WIDTH], &[1.0, 0.0, 1.0, 0.0])?)?)?,
        "zero diagonal" => {
            let pi = square(of, "factor", &mut b)?;
            b.constrain(pi, ZeroDiagonal)?;
            // It is no factor of a precision then; a term reads it.
            let alone = b.input("alone", &[WIDTH, WIDTH])?;
            b.predict(alone, T::boxed(Prior), &[], &[pi], 1.0)?;
            b.term("size", 0.5, T::boxed(Scale(0.3)), &[alone], &[])?;
        }
        "cut" => b.cut(of_y, &[h])?,
        "term" => {
            b.term("decay", 0.3, T::boxed(Identity), &[h], &[])?;
        }
        _ => {}
    }
    let mut graph = b.build()?;
    if addition == "frozen" {
        graph.freeze(shift, true)?;
    }
    Ok(Net { graph, vertices: [z, h, y] })
}

/// Values, energy and gradients after two batches of one schedule, or what was refused.
fn found<T: GraphTensor>(
    of: Make<'_, T>,
    addition: &str,
    schedule: &Schedule,
) -> Result<Vec<Vec<f64>>> {
    let mut net = build(of, addition)?;
    let [z, h, y] = net.vertices;
    let full = [BATCH, WIDTH];
    // Between 0 and 1, for energies that ask for probabilities.
    let seen: Vec<f64> = numbers(BATCH * WIDTH, 0.3, 0.5).iter().map(|x| 0.5 + 0.5 * x).collect();
    let mut relaxation = Relaxation::new(&net.graph, schedule.clone())?;
    let mut numbers = Vec::new();
    for held in [false, true] {
        let mut clamps = Clamps::new().hold(y, of(&full, &seen)?);
        if held {
            clamps = clamps.intervene(h, of(&full, &seen)?).free(z, of(&full, &seen)?);
        }
        let outcome = relaxation.run(&mut net.graph, &clamps)?;
        numbers.push(vec![outcome.energy.internal, outcome.energy.loss]);
        for vertex in [z, h] {
            let value = relaxation.value(&net.graph, vertex);
            numbers.push(value.map(|value| value.to_vec()).unwrap_or_default());
        }
        for (_, gradient) in relaxation.gradients().iter() {
            numbers.push(gradient.map(Tensor::to_vec).unwrap_or_default());
        }
    }
    Ok(numbers)
}

/// Runs a net of vertices that every backend has, with every addition of a graph on it, against
/// the host in `f64`. Where the host refuses, the backend has to, with the same words.
///
/// # Errors
/// The host fails.
pub fn additions<B>(backend: &B) -> Result<Report>
where
    B: Backend,
    B::Tensor: GraphTensor,
{
    let oracle = HostBackend::<f64>::new();
    let host: Make<'_, HostTensor<f64>> = &|shape, values| oracle.tensor(shape, values);
    let of: Make<'_, B::Tensor> = &|shape, values| backend.tensor(shape, values);
    let live = |rate, steps| Schedule::standard(rate, steps);
    let schedules = [
        ("standard PC", live(0.1, 12)?),
        (
            "standard PC from noise",
            live(0.05, 5)?.starting(Start::Noise { deviation: 0.3, seed: 2 }),
        ),
        ("momentum", live(0.05, 6)?.with_momentum(0.5)?),
        ("error-based PC", Schedule::epc(0.1, 6)?),
        ("fixed prediction", Schedule::fixed_prediction(0.4, 4)?),
    ];
    let mut cases = Vec::new();
    for addition in ADDITIONS {
        for (rule, schedule) in &schedules {
            let expected = found(host, addition, schedule);
            let verdict = match (found(of, addition, schedule), expected) {
                (Ok(found), Ok(expected)) => judge(&found, &expected, backend.tolerance()),
                (Err(found), Err(expected)) if found.to_string() == expected.to_string() => {
                    Verdict::Passed(0.0)
                }
                (Err(error), _) => Verdict::Failed(error.to_string()),
                (Ok(_), Err(error)) => Verdict::Failed(format!("the host refuses it: {error}")),
            };
            cases.push(Case { name: format!("{addition}, {rule}"), verdict });
        }
    }
    Ok(Report { backend: backend.name(), cases })
}

/// Each list beside the host's, relative to its largest number.
fn judge(found: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64) -> Verdict {
    let mut worst = Worst::new(tolerance);
    for (k, (found, expected)) in found.iter().zip(expected).enumerate() {
        let length = found.len().max(expected.len());
        let given = |list: &[f64]| (!list.is_empty()).then(|| list.to_vec());
        worst.gradient(&format!("list {k}"), given(found), given(expected), length);
    }
    worst.verdict()
}
