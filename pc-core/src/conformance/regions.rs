//! Cases for functions that bend, saturate or have ties: from every region of theirs to every
//! other, over steps that are short, long and too long.

use crate::{
    Activation, Result, Tensor,
    conformance::{
        Backend, Case, HostBackend, Verdict, Worst,
        composites::{Make, numbers},
    },
    graph::GraphTensor,
    host::{Activate, HostTensor, HostVertex, Probe, Softmax},
};

/// A vertex with one parent and no parameters, where the parent is and how far it moves.
pub(super) struct Region {
    vertex: Function,
    /// The parent's shape, batch first.
    dims: Vec<usize>,
    from: Vec<f64>,
    steps: Vec<f64>,
}

#[derive(Clone, Copy)]
enum Function {
    Activation(Activation),
    Softmax { causal: bool },
}

/// Below this `f32` underflows, and a share of a softmax is 0.
const FLOOR: f64 = 1e-30;

/// Where an activation's slope jumps, if it does.
const KINKS: [f64; 3] = [-1.0, 0.0, 1.0];

/// A number that `f32` holds.
fn narrow(x: f64) -> bool {
    f64::from(x as f32) == x
}

/// Values and steps of every activation: near each place where a formula changes and far from
/// all, to each of those, and over short steps and those about as long as formulas change at.
/// Steps are left out that end elsewhere in `f32`, if a kink lies between.
fn pairs() -> Vec<(f64, f64)> {
    let (little, tiny) = (2f64.powi(-12), 2f64.powi(-30));
    let sizes = [
        little,
        0.5,
        0.75,
        1.0 - little,
        1.0,
        1.0 + little,
        1.0625,
        1.125,
        1.25,
        1.5,
        2.0 - little,
        2.0,
        2.0 + little,
        3.0,
        5.0,
        8.0,
        12.0,
        20.0,
        40.0,
        85.0,
        100.0,
        1e4,
        1e8,
        2f64.powi(127),
    ];
    let mut points = vec![0.0];
    points.extend(sizes.iter().flat_map(|size| [*size, -size]));
    let short = [tiny, 1e-12, little, 0.0078125, 0.03125, 0.6875, 0.6953125, 1.0, 1.125];
    let short: Vec<f64> = short.iter().flat_map(|step| [*step, -step]).collect();
    // Beyond a kink by little, and by less than the sum of value and step can say.
    let beyond = 2f64.powi(-20) + 2f64.powi(-26);
    let mut pairs = vec![];
    for a in &points {
        pairs.extend(points.iter().chain(&KINKS).map(|to| (*a, to - a)));
        pairs.extend(short.iter().map(|step| (*a, *step)));
        pairs.extend(KINKS.iter().flat_map(|kink| {
            [(*a, (kink - a) + beyond), (*a, (kink - a) - beyond), (*a, 2.0 * (kink - a))]
        }));
    }
    let sides = |x: f64| KINKS.map(|kink| x.partial_cmp(&kink));
    pairs.retain(|(a, d)| {
        let x = f64::from(*a as f32 + *d as f32);
        narrow(*d) && narrow(*a) && x.is_finite() && sides(x) == sides(a + d)
    });
    let none = f64::NAN;
    pairs.extend([(none, 0.0), (none, 1.0)]);
    pairs.extend([0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 3.0, -3.0].map(|a| (a, none)));
    pairs
}

/// Rows of so many numbers and their steps, all of them numbers of few digits so that sums are
/// exact: the largest at each of some places, alone or with equals, by much or by little; and
/// another that comes near it, passes it or leaves it far behind.
fn rows(length: usize) -> Vec<(Vec<f64>, Vec<f64>)> {
    let of = |scale: f64, phase: f64, digits: f64| -> Vec<f64> {
        numbers(length, phase, scale).into_iter().map(|x| (x * digits).round() / digits).collect()
    };
    let mut rows = Vec::new();
    for top in [0, length / 2, length - 1] {
        // The last lie far from 0, where sums with what is not from there would lose digits.
        let starts = [(0.0, 0.0), (0.5, 2.0), (2.0, 12.0), (20.0, 60.0), (0.5, 110.0), (20.0, 2.0)];
        for (index, (start, high)) in starts.into_iter().enumerate() {
            let base = if index == starts.len() - 1 { 8192.0 } else { 0.0 };
            for ties in [false, true] {
                let mut from = of(start, 0.3, 16.0);
                from.iter_mut().for_each(|x| *x += base);
                let high = base + high;
                from[top] = high;
                if ties {
                    // An equal in the lane of the largest, and one in another.
                    from[(top + 32) % length] = high;
                    from[(top + length / 3) % length] = high;
                }
                let other = (top + 1) % length;
                let gap = high - from[other];
                let short = of(2f64.powi(-8), 1.0, 4096.0);
                let with = |k: usize, by: f64, mut steps: Vec<f64>| {
                    steps[k] = by;
                    steps
                };
                let together = short.iter().map(|step| step + 512.0).collect();
                rows.extend(
                    [
                        together,
                        of(0.9, 2.0, 64.0),
                        of(12.0, 3.0, 64.0),
                        with(other, gap - 5.0, short.clone()),
                        with(other, gap + 5.0, of(2.0, 4.0, 64.0)),
                        with(other, gap + 40.0, of(0.9, 5.0, 64.0)),
                        with(other, gap + 200.0, of(12.0, 6.0, 64.0)),
                        with(top, -0.5, short.clone()),
                        with(top, -150.0, short.clone()),
                        with(top, 3.0, of(0.9, 7.0, 64.0)),
                        short,
                    ]
                    .map(|steps| (from.clone(), steps)),
                );
            }
        }
    }
    rows
}

/// Every activation and softmax, in all regions.
pub(super) fn all(activations: &[Activation]) -> Vec<Region> {
    let (from, steps): (Vec<f64>, Vec<f64>) = pairs().into_iter().unzip();
    let mut all: Vec<Region> = activations
        .iter()
        .map(|f| Region {
            vertex: Function::Activation(*f),
            dims: vec![1, from.len()],
            from: from.clone(),
            steps: steps.clone(),
        })
        .collect();
    for (length, queries) in [(5, 1), (33, 1), (70, 1), (5, 3), (40, 2)] {
        let rows = rows(length);
        // A causal softmax sees each row with the last few numbers left out, and as it is.
        let repeated =
            |numbers: &[f64]| (0..queries).flat_map(|_| numbers.to_vec()).collect::<Vec<f64>>();
        all.push(Region {
            vertex: Function::Softmax { causal: queries > 1 },
            dims: vec![rows.len(), queries, length],
            from: rows.iter().flat_map(|(from, _)| repeated(from)).collect(),
            steps: rows.iter().flat_map(|(_, steps)| repeated(steps)).collect(),
        });
    }
    all
}

/// What a vertex makes of a place and of a step from there.
struct Results {
    prediction: Vec<f64>,
    change: Vec<f64>,
    /// The force at the place, and after the step.
    forces: [Vec<f64>; 2],
}

impl Region {
    /// The host's vertex.
    pub(super) fn vertex<F: crate::host::Element>(&self) -> HostVertex<F> {
        match self.vertex {
            Function::Activation(f) => Box::new(Activate(f)),
            Function::Softmax { causal: true } => Box::new(Softmax::causal()),
            Function::Softmax { causal: false } => Box::new(Softmax::new()),
        }
    }

    /// The parent's shape, without the batch.
    pub(super) fn shape(&self) -> &[usize] {
        &self.dims[1..]
    }

    /// What is pulled back: slopes, or all different.
    fn cotangent(&self) -> Vec<f64> {
        match self.vertex {
            Function::Activation(_) => vec![1.0; self.from.len()],
            Function::Softmax { .. } => numbers(self.from.len(), 5.0, 1.0),
        }
    }

    fn results<T: GraphTensor>(
        &self,
        vertex: T::Vertex,
        of: Make<'_, T>,
        from: &[f64],
    ) -> Result<Results> {
        let cotangent = of(&self.dims, &self.cotangent())?;
        let mut probe = Probe::<T>::new(vertex, vec![of(&self.dims, from)?], Vec::new())?;
        let prediction = probe.predict()?.to_vec();
        let force = |probe: &mut Probe<T>| -> Result<Vec<f64>> {
            probe.pull(&cotangent, 1.0)?;
            Ok(probe.force(0).map(Tensor::to_vec).unwrap_or_default())
        };
        let there = force(&mut probe)?;
        probe.displace(0, &of(&self.dims, &self.steps)?)?;
        let change = probe.change()?.to_vec();
        Ok(Results { prediction, change, forces: [there, force(&mut probe)?] })
    }

    /// How a backend's vertex does beside the host's in `f64`. The force after a step is held to
    /// what a vertex says that stands there from the first.
    pub(super) fn case<B: Backend>(
        &self,
        backend: &B,
        vertex: impl FnOnce() -> Result<<B::Tensor as GraphTensor>::Vertex>,
    ) -> Case
    where
        B::Tensor: GraphTensor,
    {
        let oracle = HostBackend::<f64>::new();
        let mut worst = Worst::new(backend.tolerance());
        let run = || -> Result<()> {
            let own = |shape: &[usize], numbers: &[f64]| backend.tensor(shape, numbers);
            let host = |shape: &[usize], numbers: &[f64]| oracle.tensor(shape, numbers);
            let found = self.results::<B::Tensor>(vertex()?, &own, &self.from)?;
            let wanted = self.results::<HostTensor<f64>>(self.vertex(), &host, &self.from)?;
            let ends: Vec<f64> = self.from.iter().zip(&self.steps).map(|(a, d)| a + d).collect();
            let there = self.results::<HostTensor<f64>>(self.vertex(), &host, &ends)?;
            self.compare(&mut worst, &found, &wanted, &there);
            Ok(())
        };
        let verdict = match run() {
            Ok(()) => worst.verdict(),
            Err(error) => Verdict::Failed(error.to_string()),
        };
        let what = Region::structure(self);
        Case { name: format!("regions: {what} of {:?}", self.shape()), verdict }
    }

    fn structure(&self) -> String {
        format!("{:?}", crate::vertex::Vertex::<HostTensor<f64>>::structure(&self.vertex::<f64>()))
    }

    /// Number by number, each beside its own size: a prediction beside itself, a change beside what
    /// the slopes make of the step, of 1 of it if it is longer (of a row of a softmax, beside the
    /// largest), a force beside itself or what it is the difference of.
    fn compare(&self, worst: &mut Worst, found: &Results, wanted: &Results, there: &Results) {
        let length = self.dims[self.dims.len() - 1];
        for k in 0..self.from.len() {
            let (a, d) = (self.from[k], self.steps[k]);
            let forces = [wanted.forces[0][k], there.forces[0][k]];
            let (change, sizes) = match self.vertex {
                Function::Activation(_) => {
                    let by_slope = forces.map(|slope| (slope * d.clamp(-1.0, 1.0)).abs());
                    (wanted.change[k].abs().max(by_slope[0]).max(by_slope[1]), [0.0; 2])
                }
                Function::Softmax { .. } => {
                    let row = &wanted.change[k / length * length..][..length];
                    let largest = row.iter().fold(0f64, |largest, x| largest.max(x.abs()));
                    (largest, [wanted.prediction[k], there.prediction[k]])
                }
            };
            let mut note = |what: &str, found: f64, wanted: f64, size: f64| {
                let same = found == wanted || (found.is_nan() && wanted.is_nan());
                let size = size.max(wanted.abs()).max(FLOOR);
                let off = if same { 0.0 } else { (found - wanted).abs() / size };
                worst.note(off, &format!("{what}, {found:e} for {wanted:e} from {a:e} by {d:e}"));
            };
            note("a prediction", found.prediction[k], wanted.prediction[k], 0.0);
            note("a change", found.change[k], wanted.change[k], change);
            note("a force", found.forces[0][k], forces[0], sizes[0]);
            note("a force after a step", found.forces[1][k], forces[1], sizes[1]);
        }
    }
}
