//! Cases for the vertices that are written once for all backends.

use crate::{
    Activation, Chain, Clamps, Graph, Relaxation, Result, Schedule, Tensor,
    composites::{
        AddParameter, Concat, Gated, Product, Reshape, Scale, Split, Sum, SumOfProducts, SwapAxes,
        lstm_cell,
    },
    conformance::{Backend, Case, HostBackend, Report, Verdict, Worst},
    graph::{GraphBuilder, GraphTensor},
    host::HostTensor,
    topology::{ParamId, VertexId},
    vertex::{Cache, GradientSlot, Inputs, Pulled, Vertex},
};

const BATCH: usize = 3;

/// How far parents and parameters move: a difference of two predictions in `f32` would keep three
/// or four digits of so little.
pub(super) const STEP: f64 = 1e-4;

/// So many numbers, the same in every precision.
pub(super) fn numbers(count: usize, phase: f64, scale: f64) -> Vec<f64> {
    let number = |k: usize| f64::from((scale * (phase + 1.3 * k as f64).sin()) as f32);
    (0..count).map(number).collect()
}

/// Makes tensors of one backend.
pub(super) type Make<'a, T> = &'a dyn Fn(&[usize], &[f64]) -> Result<T>;

/// A batch of samples of this shape.
fn batch<T>(of: Make<'_, T>, shape: &[usize], phase: f64, scale: f64) -> Result<T> {
    let full: Vec<usize> = std::iter::once(BATCH).chain(shape.iter().copied()).collect();
    parameter(of, &full, phase, scale)
}

/// A parameter of this shape.
fn parameter<T>(of: Make<'_, T>, shape: &[usize], phase: f64, scale: f64) -> Result<T> {
    of(shape, &numbers(shape.iter().product(), phase, scale))
}

/// Numbers that a vertex comes to, by name.
pub(super) type Found = Vec<(String, Vec<f64>)>;

/// One vertex at a reference and so far beside it, where those parents have moved whose bit is set,
/// and the parameters too.
pub(super) fn evaluate<T: GraphTensor>(
    vertex: &impl Vertex<T>,
    of: Make<'_, T>,
    (parents, parameters): (&[&[usize]], &[&[usize]]),
    (moved, step): (usize, f64),
) -> Result<Found> {
    let moved: Vec<bool> = (0..parents.len()).map(|k| moved >> k & 1 == 1).collect();
    let (mut references, mut displacements, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (k, shape) in parents.iter().enumerate() {
        let phase = 0.4 + k as f64;
        references.push(batch(of, shape, phase, 1.0)?);
        let far = if moved[k] { step } else { 0.0 };
        displacements.push(batch(of, shape, 2.0 * phase, far)?);
        let mut value = references[k].clone();
        value.set_sum(&references[k], &displacements[k]);
        values.push(value);
    }
    let (mut old, mut new, mut gradients) = (Vec::new(), Vec::new(), Vec::new());
    for (k, shape) in parameters.iter().enumerate() {
        let phase = 7.0 + k as f64;
        let own = parameter(of, shape, phase, 0.5)?;
        gradients.push(GradientSlot { tensor: Some(own.zeros(shape)), defined: false });
        old.push(own);
        // Rounded to what f32 holds, so that it has moved as far in every precision.
        let count = shape.iter().product();
        let steps = numbers(count, 2.0 * phase, step).into_iter();
        let moved = numbers(count, phase, 0.5).into_iter().zip(steps);
        let moved: Vec<f64> = moved.map(|(p, step)| f64::from((p + step) as f32)).collect();
        new.push(of(shape, &moved)?);
    }
    let places: Vec<VertexId> = (0..parents.len()).map(VertexId::new).collect();
    let uses: Vec<ParamId> = (0..parameters.len()).map(ParamId::new).collect();
    let still = vec![false; parents.len()];
    let before = Inputs {
        values: &references,
        references: &references,
        displacements: &displacements,
        moved: &still,
        parents: &places,
        parameters: &old,
        uses: &uses,
        plastic: true,
        live: true,
    };
    let after = Inputs { values: &values, moved: &moved, parameters: &new, ..before };
    let shape = vertex.shape(parents, parameters)?;
    let mut cache = Cache::default();
    let mut predicted = batch(of, &shape, 0.0, 1.0)?;
    let (mut change, cotangent) = (predicted.clone(), batch(of, &shape, 5.0, 1.0)?);
    vertex.predict(&before, &mut cache, &mut predicted)?;
    vertex.change(&after, &mut cache, &predicted, &mut change)?;
    let mut forces: Vec<Option<T>> = references.iter().cloned().map(Some).collect();
    let mut pulled =
        Pulled { forces: &mut forces, gradients: Some(&mut gradients), uses: &uses, scale: 0.7 };
    vertex.pull(&after, &mut cache, &cotangent, &mut pulled)?;
    let mut found = vec![
        ("the prediction".to_owned(), predicted.to_vec()),
        ("its change".to_owned(), change.to_vec()),
    ];
    let forces = forces.iter().flatten().enumerate();
    found.extend(forces.map(|(k, force)| (format!("the force on parent {k}"), force.to_vec())));
    let gradients = gradients.iter().filter_map(|slot| slot.tensor.as_ref()).enumerate();
    found.extend(gradients.map(|(k, g)| (format!("the gradient of parameter {k}"), g.to_vec())));
    Ok(found)
}

/// A net of these vertices, with an LSTM's step, after a schedule: its energy, and the gradients of
/// its parameters.
fn relax<T: GraphTensor>(of: Make<'_, T>, schedule: &Schedule) -> Result<(f64, Found)> {
    let mut b: GraphBuilder<T> = Graph::builder();
    let (x, h, c) = (b.input("x", &[2, 3])?, b.input("h", &[6])?, b.input("c", &[6])?);
    let shift = b.parameter("shift", parameter(of, &[2, 3], 0.2, 0.6)?)?;
    let shifted = b.vertex("shifted", T::boxed(AddParameter), &[x], &[shift])?;
    let turned = b.vertex("turned", T::boxed(SwapAxes), &[shifted], &[])?;
    let row = b.vertex("row", T::boxed(Reshape::flatten()), &[turned], &[])?;
    let mut parameters = vec![shift];
    let mut builder = &mut b;
    let cell = lstm_cell(&mut builder, "t", c, Activation::Tanh, |b, gate, name| {
        let phase = 1.0 + gate as u8 as f64;
        let bias = b.parameter(&format!("{name}.bias"), parameter(of, &[6], phase, 0.8)?)?;
        parameters.push(bias);
        let sum = T::boxed(Sum::weighted(&[0.6, -0.4]));
        let gate = T::chained(Chain::new(vec![sum, T::boxed(AddParameter)])?);
        b.vertex(name, gate, &[row, h], &[bias])
    })?;
    let both = b.vertex(
        "both",
        T::boxed(Concat { axis: 0 }),
        &[cell.hidden, cell.cell, cell.output],
        &[],
    )?;
    let middle = Split { axis: 0, start: 4, length: 10 };
    let middle = b.vertex("middle", T::boxed(middle), &[both], &[])?;
    let half = b.vertex("half", T::boxed(Scale(0.5)), &[middle], &[])?;
    let y = b.vertex("y", T::boxed(Product), &[half, middle], &[])?;
    let mut graph = b.build()?;
    let clamps = Clamps::new()
        .hold(x, batch(of, &[2, 3], 0.1, 0.8)?)
        .hold(h, batch(of, &[6], 0.2, 0.8)?)
        .hold(c, batch(of, &[6], 0.3, 0.8)?)
        .hold(y, batch(of, &[10], 0.4, 0.8)?);
    let mut relaxation = Relaxation::new(&graph, schedule.clone())?;
    let energy = relaxation.run(&mut graph, &clamps)?.energy.total();
    let gradients = parameters.iter().enumerate().map(|(k, parameter)| {
        let gradient = relaxation.gradients().get(*parameter).map(Tensor::to_vec);
        (format!("the gradient of parameter {k}"), gradient.unwrap_or_default())
    });
    Ok((energy, gradients.collect()))
}

pub(super) fn compare(worst: &mut Worst, found: &Found, wanted: &Found) {
    if found.len() != wanted.len() {
        worst.note(f64::NAN, "the number of results");
    }
    for ((name, found), (_, wanted)) in found.iter().zip(wanted) {
        worst.gradient(name, Some(found.clone()), Some(wanted.clone()), 0);
    }
}

/// The cases of one backend, as they come.
struct Cases<'a, B> {
    backend: &'a B,
    cases: Vec<Case>,
}

impl<B: Backend> Cases<'_, B>
where
    B::Tensor: GraphTensor,
{
    fn add(&mut self, name: String, compare: impl FnOnce(&mut Worst) -> Result<()>) {
        let mut worst = Worst::new(self.backend.tolerance());
        let verdict = match compare(&mut worst) {
            Ok(()) => worst.verdict(),
            Err(error) => Verdict::Failed(error.to_string()),
        };
        self.cases.push(Case { name: format!("composites: {name}"), verdict });
    }

    /// One vertex, with every set of parents that have moved.
    fn vertex<V>(&mut self, vertex: &V, parents: &[&[usize]], parameters: &[&[usize]])
    where
        V: Vertex<B::Tensor> + Vertex<HostTensor<f64>> + std::fmt::Debug,
    {
        let (backend, oracle) = (self.backend, HostBackend::<f64>::new());
        let shapes = (parents, parameters);
        self.add(format!("{vertex:?} of {parents:?}"), |worst| {
            for moved in 0..1 << parents.len() {
                let own = |shape: &[usize], numbers: &[f64]| backend.tensor(shape, numbers);
                let host = |shape: &[usize], numbers: &[f64]| oracle.tensor(shape, numbers);
                let found = evaluate::<B::Tensor>(vertex, &own, shapes, (moved, STEP))?;
                let wanted = evaluate::<HostTensor<f64>>(vertex, &host, shapes, (moved, STEP))?;
                compare(worst, &found, &wanted);
            }
            Ok(())
        });
    }

    fn net(&mut self, schedule: &Schedule) {
        let (backend, oracle) = (self.backend, HostBackend::<f64>::new());
        self.add(format!("a net of them, {schedule}"), |worst| {
            let own = |shape: &[usize], numbers: &[f64]| backend.tensor(shape, numbers);
            let host = |shape: &[usize], numbers: &[f64]| oracle.tensor(shape, numbers);
            let (energy, found) = relax::<B::Tensor>(&own, schedule)?;
            let (wanted_energy, wanted) = relax::<HostTensor<f64>>(&host, schedule)?;
            worst.energy(energy, wanted_energy);
            compare(worst, &found, &wanted);
            Ok(())
        });
    }
}

/// Runs the vertices of [`crate::composites`] on a backend whose tensors make explicit graphs: each
/// by itself, with its prediction, the change of it without cancellation and its pullbacks, and all
/// of them in one net. The oracle is the host in `f64`.
///
/// # Errors
/// A schedule or a net that the host itself refuses; the backend's failures are verdicts, not
/// errors.
///
/// # Example
/// ```
/// use pc_core::conformance::{HostBackend, composites};
/// let report = composites(&HostBackend::<f32>::new())?;
/// report.check().map_err(|failures| pc_core::Error::new(pc_core::ErrorKind::Backend, failures))?;
/// assert_eq!(report.skipped(), 0);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn composites<B: Backend>(backend: &B) -> Result<Report>
where
    B::Tensor: GraphTensor,
{
    let mut all = Cases { backend, cases: Vec::new() };
    let (row, table, cube): (&[usize], &[usize], &[usize]) = (&[5], &[2, 3], &[2, 3, 4]);
    all.vertex(&Sum::new(), &[row, row, row], &[]);
    all.vertex(&Sum::weighted(&[0.5, -2.0]), &[table, table], &[]);
    all.vertex(&Scale(-1.5), &[table], &[]);
    all.vertex(&AddParameter, &[table], &[table]);
    all.vertex(&Product, &[row, row, row], &[]);
    all.vertex(&SumOfProducts, &[row, row, row, row], &[]);
    for f in [Activation::Tanh, Activation::Sigmoid, Activation::Silu, Activation::Softplus] {
        all.vertex(&Gated(f), &[table, table], &[]);
    }
    all.vertex(&Concat { axis: 0 }, &[row, &[2], row], &[]);
    all.vertex(&Concat { axis: 1 }, &[cube, &[2, 1, 4]], &[]);
    all.vertex(&Concat { axis: 2 }, &[cube, &[2, 3, 1]], &[]);
    for (axis, start, length) in [(0, 0, 1), (0, 1, 1), (1, 1, 1), (1, 0, 2), (2, 1, 3)] {
        all.vertex(&Split { axis, start, length }, &[cube], &[]);
    }
    all.vertex(&Reshape::to(&[4, 6]), &[cube], &[]);
    all.vertex(&Reshape::flatten(), &[table], &[]);
    all.vertex(&SwapAxes, &[table], &[]);
    all.vertex(&SwapAxes, &[cube], &[]);
    for schedule in [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.3, 7)?,
        Schedule::standard(0.1, 12)?,
        Schedule::epc(0.1, 8)?,
    ] {
        all.net(&schedule);
    }
    Ok(Report { backend: backend.name(), cases: all.cases })
}
