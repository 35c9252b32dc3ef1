//! One vertex checked from all sides.

use pc_core::{
    Tensor,
    host::{Element, HostTensor, HostVertex, Init, Probe},
};

/// A vertex with the shapes it is checked at.
pub(crate) struct Case {
    name: String,
    wide: Box<dyn Fn() -> HostVertex<f64>>,
    narrow: Box<dyn Fn() -> HostVertex<f32>>,
    parents: Vec<Vec<usize>>,
    parameters: Vec<Vec<usize>>,
    references: Option<Vec<HostTensor<f64>>>,
    bound: f64,
    step: f64,
    /// Whether parents may move at all.
    movable: bool,
    /// The step of the differences.
    h: f64,
    seed: u64,
}

/// A [`Case`] of a vertex that is written the same way for both precisions.
macro_rules! case {
    ($vertex:expr) => {
        crate::harness::Case::new(stringify!($vertex), || Box::new($vertex), || Box::new($vertex))
    };
}
pub(crate) use case;

/// The largest absolute value; NaN where any is.
pub(crate) fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |m: f64, x| if x.abs() > m || x.is_nan() { x.abs() } else { m })
}

/// The largest difference, relative to the largest expected value.
pub(crate) fn relative(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "lists of different length");
    let off = largest(found.iter().zip(expected).map(|(a, b)| a - b));
    let scale = largest(expected.iter().copied());
    if off == 0.0 { 0.0 } else { off / scale }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The same numbers in another precision.
pub(crate) fn cast<F: Element>(tensor: &HostTensor<f64>) -> HostTensor<F> {
    HostTensor::new(tensor.dims(), tensor.data().iter().map(|x| F::of(*x)).collect())
        .expect("the same shape")
}

fn plus(a: &HostTensor<f64>, weight: f64, b: &HostTensor<f64>) -> HostTensor<f64> {
    let mut sum = a.clone();
    sum.axpy(weight, b);
    sum
}

/// Numbers that an `f32` holds exactly.
fn rounded(tensor: HostTensor<f64>) -> HostTensor<f64> {
    let data = tensor.data().iter().map(|x| f64::from(*x as f32)).collect();
    HostTensor::new(tensor.dims(), data).expect("the same shape")
}

/// Parents and parameters of a case.
#[derive(Clone)]
struct Point {
    parents: Vec<HostTensor<f64>>,
    parameters: Vec<HostTensor<f64>>,
}

impl Point {
    /// This point moved by `weight` times `direction` in one parent (`k` below their number) or
    /// parameter (from there on).
    fn moved(&self, k: usize, weight: f64, direction: &HostTensor<f64>) -> Self {
        let mut moved = self.clone();
        let count = moved.parents.len();
        let place =
            if k < count { &mut moved.parents[k] } else { &mut moved.parameters[k - count] };
        place.axpy(weight, direction);
        moved
    }

    fn len(&self) -> usize {
        self.parents.len() + self.parameters.len()
    }

    fn get(&self, k: usize) -> &HostTensor<f64> {
        self.parents.get(k).unwrap_or_else(|| &self.parameters[k - self.parents.len()])
    }
}

impl Case {
    pub(crate) fn new(
        name: &str,
        wide: impl Fn() -> HostVertex<f64> + 'static,
        narrow: impl Fn() -> HostVertex<f32> + 'static,
    ) -> Self {
        Self {
            name: name.split_whitespace().collect::<Vec<_>>().join(" "),
            wide: Box::new(wide),
            narrow: Box::new(narrow),
            parents: Vec::new(),
            parameters: Vec::new(),
            references: None,
            bound: 1.0,
            step: 0.4,
            movable: true,
            h: 2e-3,
            seed: 1,
        }
    }

    /// A further parent, batch first.
    pub(crate) fn parent(mut self, shape: &[usize]) -> Self {
        self.parents.push(shape.to_vec());
        self
    }

    /// A further parameter.
    pub(crate) fn parameter(mut self, shape: &[usize]) -> Self {
        self.parameters.push(shape.to_vec());
        self
    }

    /// Parents uniform in `+-bound`.
    pub(crate) fn bound(mut self, bound: f64) -> Self {
        self.bound = bound;
        self
    }

    /// Displacements uniform in `+-step`.
    pub(crate) fn step(mut self, step: f64) -> Self {
        self.step = step;
        self
    }

    /// It is linear but for kinks, so that differences may, and must, be taken over short steps.
    pub(crate) fn kinked(mut self) -> Self {
        self.h = 2e-5;
        self
    }

    /// A parent of these numbers, which does not move.
    pub(crate) fn fixed(mut self, reference: HostTensor<f64>) -> Self {
        self.parents.push(reference.dims().to_vec());
        self.references.get_or_insert_default().push(reference);
        self.movable = false;
        self
    }

    fn point(&self, init: &mut Init) -> Point {
        let mut parents: Vec<_> = self
            .parents
            .iter()
            .map(|shape| rounded(init.uniform(shape, self.bound).unwrap()))
            .collect();
        if let Some(references) = &self.references {
            parents.clone_from(references);
        }
        Point {
            parents,
            parameters: self
                .parameters
                .iter()
                .map(|shape| rounded(init.uniform(shape, 1.0).unwrap()))
                .collect(),
        }
    }

    fn steps(&self, init: &mut Init, step: f64) -> Vec<HostTensor<f64>> {
        self.parents.iter().map(|shape| init.uniform(shape, step).unwrap()).collect()
    }

    fn probe(&self, point: &Point) -> Probe<HostTensor<f64>> {
        Probe::new((self.wide)(), point.parents.clone(), point.parameters.clone())
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// The prediction at a point, by a vertex that has seen nothing else.
    fn value(&self, point: &Point) -> Vec<f64> {
        self.probe(point)
            .predict()
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
            .to_vec()
    }

    /// `J v` in one parent or parameter, by Richardson extrapolation of central differences.
    fn slope(&self, point: &Point, k: usize, v: &HostTensor<f64>) -> Vec<f64> {
        let central = |h: f64| -> Vec<f64> {
            let (up, down) =
                (self.value(&point.moved(k, h, v)), self.value(&point.moved(k, -h, v)));
            up.iter().zip(&down).map(|(a, b)| (a - b) / (2.0 * h)).collect()
        };
        let (coarse, middle, fine) =
            (central(self.h), central(self.h / 2.0), central(self.h / 4.0));
        (0..coarse.len()).map(|i| (64.0 * fine[i] - 20.0 * middle[i] + coarse[i]) / 45.0).collect()
    }

    fn near(&self, what: &str, off: f64, tolerance: f64) {
        assert!(off <= tolerance, "{}, {what}: off by {off:e}, more than {tolerance:e}", self.name);
    }

    /// `f(to) - f(from)`.
    fn difference(&self, to: &Point, from: &Point) -> Vec<f64> {
        self.value(to).iter().zip(self.value(from)).map(|(a, b)| a - b).collect()
    }

    /// All checks.
    pub(crate) fn check(&self) {
        let mut init = Init::new(self.seed);
        let point = self.point(&mut init);
        let mut probe = self.probe(&point);
        let predicted = probe.predict().expect("a prediction").clone();
        assert!(predicted.is_finite(), "{}: the prediction is not finite", self.name);
        self.check_pull("at the reference", &mut init, &mut probe, &point, &predicted);
        if self.movable {
            self.check_changes(&mut init, &mut probe, &point, &predicted);
            self.check_small_steps(&mut init, &point);
        }
        self.check_plastic(&mut init, &point, &predicted);
        self.check_small_plastic(&mut init, &point);
        // Asked again, it answers the same.
        assert_eq!(
            probe.predict().expect("a prediction"),
            &predicted,
            "{}: the second prediction",
            self.name
        );
    }

    /// `<u, J v> = <J^T u, v>` for every parent and parameter, and how gradients add up.
    fn check_pull(
        &self,
        what: &str,
        init: &mut Init,
        probe: &mut Probe<HostTensor<f64>>,
        point: &Point,
        predicted: &HostTensor<f64>,
    ) {
        let u: HostTensor<f64> = init.uniform(predicted.dims(), 1.0).unwrap();
        let parents = point.parents.len();
        let before: Vec<_> =
            (0..point.parameters.len()).map(|k| probe.gradient(k).cloned()).collect();
        probe.pull_for(&u, 1.0, true, false).expect("a pull");
        let unasked: Vec<_> =
            (0..point.parameters.len()).map(|k| probe.gradient(k).cloned()).collect();
        assert_eq!(unasked, before, "{}: gradients that were not asked for", self.name);
        probe.pull(&u, -1.5).expect("a pull");
        let forces: Vec<_> =
            (0..parents).map(|k| probe.force(k).expect("a force").clone()).collect();
        probe.pull_for(&u, 2.5, false, true).expect("a pull");
        for k in 0..point.len() {
            let v = init.uniform(point.get(k).dims(), 1.0).unwrap();
            let pulled = if k < parents {
                forces[k].clone()
            } else {
                // -1.5 and then 2.5 times the gradient.
                let gradient = probe.gradient(k - parents).expect("a gradient").clone();
                before[k - parents]
                    .as_ref()
                    .map_or(gradient.clone(), |before| plus(&gradient, -1.0, before))
            };
            let backward = dot(&pulled.to_vec(), &v.to_vec());
            if k < parents && !self.movable {
                assert!(
                    pulled.data().iter().all(|x| *x == 0.0),
                    "{}: a force on what cannot move",
                    self.name
                );
                continue;
            }
            let forward = dot(&u.to_vec(), &self.slope(point, k, &v));
            let scale = forward.abs().max(backward.abs());
            self.near(
                &format!("pull {k} {what}"),
                (forward - backward).abs() / scale.max(f64::MIN_POSITIVE),
                1e-8,
            );
        }
    }

    /// Changes by all parents, by each alone, by none, and one after another; pulls there.
    fn check_changes(
        &self,
        init: &mut Init,
        probe: &mut Probe<HostTensor<f64>>,
        point: &Point,
        predicted: &HostTensor<f64>,
    ) {
        let count = point.parents.len();
        let mut sets: Vec<Vec<usize>> =
            vec![(0..count).collect(), Vec::new(), (0..count).collect()];
        if count > 1 {
            sets.extend((0..count).map(|k| vec![k]));
        }
        for set in sets {
            let what = format!("moved in {set:?}");
            probe.predict().expect("a prediction");
            // A first move, which the second replaces.
            let (first, second) = (self.steps(init, self.step), self.steps(init, self.step));
            let mut there = point.clone();
            for steps in [&first, &second] {
                there = point.clone();
                for &k in &set {
                    probe.displace(k, &steps[k]).expect("a step");
                    there.parents[k] = plus(&point.parents[k], 1.0, &steps[k]);
                }
                let change = probe.change().expect("a change").to_vec();
                self.near(
                    &format!("change, {what}"),
                    relative(&change, &self.difference(&there, point)),
                    1e-12,
                );
            }
            self.check_pull(&what, init, probe, &there, predicted);
        }
    }

    /// In f32, steps that are lost when they are added to the value.
    fn check_small_steps(&self, init: &mut Init, point: &Point) {
        const SMALL: f64 = 1e-9;
        let directions: Vec<_> = self.steps(init, self.bound).into_iter().map(rounded).collect();
        let mut probe = Probe::new(
            (self.narrow)(),
            point.parents.iter().map(cast).collect(),
            point.parameters.iter().map(cast).collect(),
        )
        .expect("a probe");
        let predicted = probe.predict().expect("a prediction").clone();
        let mut expected = vec![0.0; predicted.data().len()];
        for (k, direction) in directions.iter().enumerate() {
            let step: HostTensor<f32> =
                cast(&plus(&HostTensor::zeroed(direction.dims()).unwrap(), SMALL, direction));
            probe.displace(k, &step).expect("a step");
            let scaled = HostTensor::new(
                step.dims(),
                step.data().iter().map(|x| f64::from(*x) / SMALL).collect(),
            )
            .expect("the same shape");
            for (sum, slope) in expected.iter_mut().zip(self.slope(point, k, &scaled)) {
                *sum += SMALL * slope;
            }
        }
        let change = probe.change().expect("a change").to_vec();
        self.near("a small change in f32", relative(&change, &expected), 1e-5);
        let moved = point.parents.iter().zip(&directions).map(|(a, d)| {
            let data = a
                .data()
                .iter()
                .zip(d.data())
                .map(|(a, d)| *a as f32 + (SMALL * d) as f32)
                .collect();
            HostTensor::new(a.dims(), data).expect("the same shape")
        });
        let mut direct = Probe::new(
            (self.narrow)(),
            moved.collect(),
            point.parameters.iter().map(cast).collect(),
        )
        .expect("a probe");
        let mut direct = direct.predict().expect("a prediction").clone();
        direct.axpy(-1.0, &predicted);
        let off = relative(&direct.to_vec(), &expected);
        assert!(
            off > 0.1 || off.is_nan(),
            "{}: direct subtraction is as good ({off:e}), so this shows nothing",
            self.name
        );
    }

    /// Parameters that move while states do.
    fn check_plastic(&self, init: &mut Init, point: &Point, predicted: &HostTensor<f64>) {
        let mut probe = self.probe(point);
        probe.plastic(true);
        for moves in [false, true] {
            for (k, parameter) in point.parameters.iter().enumerate() {
                probe.set_parameter(k, parameter).expect("a parameter");
            }
            probe.predict().expect("a prediction");
            let mut there = point.clone();
            let steps = self.steps(init, self.step);
            if moves && self.movable {
                for (k, step) in steps.iter().enumerate() {
                    probe.displace(k, step).expect("a step");
                    there.parents[k].axpy(1.0, step);
                }
            }
            for _ in 0..2 {
                for (k, parameter) in there.parameters.iter_mut().enumerate() {
                    *parameter = init.uniform(parameter.dims(), 1.0).unwrap();
                    probe.set_parameter(k, parameter).expect("a parameter");
                }
                let change = probe.change().expect("a change").to_vec();
                self.near(
                    "plastic change",
                    relative(&change, &self.difference(&there, point)),
                    1e-12,
                );
            }
            self.check_pull("plastic", init, &mut probe, &there, predicted);
        }
    }

    /// In f32, parameters that move by a few units in the last place.
    fn check_small_plastic(&self, init: &mut Init, point: &Point) {
        if point.parameters.is_empty() {
            return;
        }
        let mut probe = Probe::new(
            (self.narrow)(),
            point.parents.iter().map(cast).collect(),
            point.parameters.iter().map(cast).collect(),
        )
        .expect("a probe");
        probe.plastic(true);
        probe.predict().expect("a prediction");
        // Differences in f64 of parameters that f32 holds exactly, by the slopes: each parameter
        // enters linearly, or nearly so at this size.
        let mut there = point.clone();
        let mut expected = vec![0.0; self.value(point).len()];
        for (k, parameter) in there.parameters.iter_mut().enumerate() {
            let draws: HostTensor<f64> = init.uniform(parameter.dims(), 4e-7).unwrap();
            *parameter = rounded(plus(parameter, 1.0, &draws));
            probe.set_parameter(k, &cast(parameter)).expect("a parameter");
            let step = plus(parameter, -1.0, &point.parameters[k]);
            let scaled = plus(&HostTensor::zeroed(step.dims()).unwrap(), 1e6, &step);
            for (sum, slope) in
                expected.iter_mut().zip(self.slope(point, point.parents.len() + k, &scaled))
            {
                *sum += 1e-6 * slope;
            }
        }
        let change = probe.change().expect("a change").to_vec();
        self.near("a small plastic change in f32", relative(&change, &expected), 1e-5);
    }
}
