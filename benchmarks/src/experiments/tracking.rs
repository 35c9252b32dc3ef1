//! Tracking a noisy process: temporal PC beside the Kalman filter.

use pc_core::{
    Schedule, Tensor,
    host::{HostTensor, Init, Sgd},
};
use pc_models::{Backend, Host, Kalman, Temporal, TemporalPc};

use super::{Context, Experiment, Findings};
use crate::error::CommandError;

type T = HostTensor<f64>;
type Matrix = Vec<Vec<f64>>;

const KALMAN: &str = "Kalman filter";
const EQUILIBRIUM: &str = "temporal PC, equilibrium";
const LEARNED: &str = "temporal PC, A and C learned";
const STATE: &str = "mean square error of the state";
const EXPECTED: &str = "of the next observation";

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "tracking",
    about: "a linear filter by inference of 1 step, 10 steps and to equilibrium, beside Kalman's",
    paper: "Millidge, Tang, Osanlouy, Harper and Bogacz 2024: Predictive coding networks for \
            temporal prediction",
    takes: "1 second",
    baseline: Some(KALMAN),
    // The paper has curves only.
    published: &[],
    run,
};

const STEPS: [usize; 6] = [1, 2, 5, 10, 20, 50];
const RATE: f64 = 0.1;

/// One run of the process: `z_t = A z_{t-1} + B u_t + noise`, `x_t = C z_t + noise`.
struct Track {
    a: Matrix,
    b: Matrix,
    c: Matrix,
    controls: Vec<f64>,
    states: Matrix,
    observed: Matrix,
}

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let track = Track::drawn(context.seed(), 1000)?;
    let mut findings = Findings::new();
    let kalman = by_kalman(&track)?;
    let mut curve = Vec::new();
    let mut errors = Vec::new();
    for steps in STEPS {
        let found = by_inference(&track, Schedule::standard(RATE, steps)?)?;
        curve.push((steps as f64, found.state));
        errors.push(found.state);
        let row = format!("temporal PC, {steps} step{}", if steps == 1 { "" } else { "s" });
        findings.cell(row.as_str(), STATE, found.state);
        findings.cell(row, EXPECTED, found.expected);
    }
    let settled = Schedule::standard(RATE, 10_000)?.until(1e-9)?;
    let equilibrium = by_inference(&track, settled)?;
    let learned = learned(&track, context.seed())?;
    findings.cell(EQUILIBRIUM, STATE, equilibrium.state);
    findings.cell(EQUILIBRIUM, EXPECTED, equilibrium.expected);
    findings.cell(LEARNED, EXPECTED, learned.expected);
    findings.cell(KALMAN, STATE, kalman.state);
    findings.cell(KALMAN, EXPECTED, kalman.expected);

    let across = ("steps of inference", "mean square error");
    let line = |error: f64| STEPS.map(|steps| (steps as f64, error)).to_vec();
    findings.curve(STATE, "temporal PC", across, curve);
    findings.curve(STATE, EQUILIBRIUM, across, line(equilibrium.state));
    findings.curve(STATE, KALMAN, across, line(kalman.state));
    for (name, path) in
        [("truth", &track.states), (EQUILIBRIUM, &equilibrium.path), (KALMAN, &kalman.path)]
    {
        let first = path.iter().map(|z| z.first().copied().unwrap_or(f64::NAN));
        let points = first.enumerate().take(100).map(|(t, z)| (t as f64, z)).collect();
        findings.curve("the first 100 positions", name, ("time", "position"), points);
    }
    let falls = errors.windows(2).all(|pair| pair[1] < pair[0]);
    findings.claim("the error falls with every further step of inference", falls);
    let last = errors.last().copied().unwrap_or(f64::NAN);
    let near = (last - equilibrium.state).abs() < 0.01 * equilibrium.state;
    findings.claim("50 steps come within 1% of the error of equilibrium", near);
    findings.claim(
        "the Kalman filter's error is below that of equilibrium",
        kalman.state < equilibrium.state,
    );
    findings.note(format!(
        "Position, velocity and acceleration at steps of 0.001, driven by exp(-0.01 t) and seen \
         through a matrix of normal numbers; 1000 times, Q = R = I, rate of inference {RATE}."
    ));
    findings.note(
        "Learned: A and C start at small draws and learn at every time by SGD at 1e-5, with 10 \
         steps of inference. Its states are not those of the process, so they have no error; that \
         of the next observation is over the second half.",
    );
    Ok(findings)
}

impl Track {
    fn drawn(seed: u64, length: usize) -> Result<Self, CommandError> {
        let dt = 1e-3;
        let a = vec![vec![1.0, dt, 0.5 * dt * dt], vec![0.0, 1.0, dt], vec![0.0, 0.0, 1.0]];
        let b = vec![vec![0.0], vec![0.0], vec![1.0]];
        let mut drawn = T::zeroed(&[length + 1, 9])?;
        drawn.add_normal(1.0, seed);
        let mut rows = drawn.data().chunks(9);
        let c = rows.next().unwrap_or_default().chunks(3).map(<[f64]>::to_vec).collect();
        let (mut states, mut observed, mut controls) = (Vec::new(), Vec::new(), Vec::new());
        let mut z = vec![0.0; 3];
        for (t, noise) in rows.enumerate() {
            let u = (-0.01 * t as f64).exp();
            z = sum(&times(&a, &z), &times(&b, &[u]));
            z = sum(&z, &noise[..3]);
            observed.push(sum(&times(&c, &z), &noise[3..6]));
            states.push(z.clone());
            controls.push(u);
        }
        Ok(Self { a, b, c, controls, states, observed })
    }
}

/// How a filter has done.
struct Found {
    state: f64,
    expected: f64,
    path: Matrix,
}

/// Mean square errors of a filter over the times from `first` on: `follow` is given an observation
/// and its control, and returns what it had expected to see, and the state it finds.
fn followed(
    track: &Track,
    first: usize,
    mut follow: impl FnMut(&[f64], f64) -> Result<(Vec<f64>, Vec<f64>), CommandError>,
) -> Result<Found, CommandError> {
    let (mut state, mut expected, mut count) = (0.0, 0.0, 0.0);
    let mut path = Vec::new();
    let all = track.observed.iter().zip(&track.controls).zip(&track.states);
    for (t, ((x, u), z)) in all.enumerate() {
        let (before, found) = follow(x, *u)?;
        if t >= first {
            state += apart(&found, z);
            expected += apart(&before, x);
            count += 1.0;
        }
        path.push(found);
    }
    Ok(Found { state: state / count, expected: expected / count, path })
}

fn by_kalman(track: &Track) -> Result<Found, CommandError> {
    let one: Matrix = (0..3).map(|i| (0..3).map(|j| f64::from(i == j)).collect()).collect();
    let (a, b, c) = (track.a.clone(), track.b.clone(), track.c.clone());
    let nothing = vec![vec![0.0; 3]; 3];
    let mut filter = Kalman::new(a, b, c, one.clone(), one, vec![0.0; 3], nothing)?;
    followed(track, 0, |x, u| {
        let next = sum(&times(&track.a, filter.state()), &times(&track.b, &[u]));
        let before = times(&track.c, &next);
        Ok((before, filter.step(x, &[u])?.to_vec()))
    })
}

fn filter(schedule: Schedule, seed: u64) -> Result<TemporalPc<Host<f64>>, CommandError> {
    let own = Temporal::two_layers(3, 3, schedule).controlled(1);
    Ok(TemporalPc::new(&Host::new(), &own, &mut Init::new(seed))?)
}

fn set(model: &mut TemporalPc<Host<f64>>, name: &str, matrix: &Matrix) -> Result<(), CommandError> {
    let columns = matrix.first().map_or(0, Vec::len);
    let tensor = T::new(&[matrix.len(), columns], matrix.concat())?;
    let graph = model.graph_mut();
    Ok(graph.set_parameter(graph.parameter(name)?, tensor)?)
}

fn by_inference(track: &Track, schedule: Schedule) -> Result<Found, CommandError> {
    let mut model = filter(schedule, 0)?;
    set(&mut model, "latent.weight.0", &track.a)?;
    set(&mut model, "latent.weight.1", &track.b)?;
    set(&mut model, "observed.weight", &track.c)?;
    model.begin_from(T::zeroed(&[1, 3])?)?;
    followed(track, 0, |x, u| {
        let (x, u) = tensors(x, u)?;
        let before = model.expected(Some(&u))?;
        model.observe(&x, Some(&u))?;
        Ok((before.to_vec(), model.state().map(Tensor::to_vec).unwrap_or_default()))
    })
}

fn learned(track: &Track, seed: u64) -> Result<Found, CommandError> {
    let mut model = filter(Schedule::standard(RATE, 10)?, seed)?;
    set(&mut model, "latent.weight.1", &track.b)?;
    let control = model.graph().parameter("latent.weight.1")?;
    model.graph_mut().freeze(control, true)?;
    model.begin_from(T::zeroed(&[1, 3])?)?;
    let mut sgd = Sgd::new(1e-5)?;
    followed(track, track.observed.len() / 2, |x, u| {
        let (x, u) = tensors(x, u)?;
        let before = model.expected(Some(&u))?;
        model.learn(&x, Some(&u), |graph, g| sgd.step(graph.parameters_mut(), g))?;
        Ok((before.to_vec(), model.state().map(Tensor::to_vec).unwrap_or_default()))
    })
}

fn tensors(x: &[f64], u: f64) -> Result<(T, T), CommandError> {
    let host = Host::<f64>::new();
    Ok((host.tensor(&[1, x.len()], x)?, host.tensor(&[1, 1], &[u])?))
}

fn times(a: &Matrix, x: &[f64]) -> Vec<f64> {
    a.iter().map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect()
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// The mean square of the differences.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b).powi(2));
    squares.sum::<f64>() / b.len().max(1) as f64
}
