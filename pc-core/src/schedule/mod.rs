//! Schedules: a rule of predictive coding as a value made of independent choices.

mod apart;
mod epc;
mod errors_start;
mod fixed_prediction;
mod ipc;
mod noise;
mod rates;
mod rule;
mod samples;
mod standard;
mod zil;

use std::fmt;

use crate::{
    Error, Result,
    rule::{Plain, Rates, Ruled},
};

pub use errors_start::ErrorStart;
pub(crate) use noise::{Noise, stream};

/// A rule: where relaxation starts, what it moves and how, when weights learn and when it stops.
///
/// The named rules of the papers are constructors of this one type; every choice can be changed
/// afterwards, and a combination that makes no sense is refused by the relaxation with an error
/// that says why.
///
/// | constructor | predictions | coordinates | weights learn | exact? |
/// |---|---|---|---|---|
/// | [`Schedule::backprop`] | frozen | - | at the end | backprop itself |
/// | [`Schedule::fixed_prediction`] | frozen | states | at the end | at rate 1; else rescaled |
/// | [`Schedule::zil`] | live | states | at their level | on levelled graphs |
/// | [`Schedule::standard`] | live | states | at the end | no: another learner |
/// | [`Schedule::ipc`] | live | states | every step | no |
/// | [`Schedule::epc`] | live | errors | at the end | no: standard PC's equilibrium, found faster |
///
/// # Example
/// ```
/// use pc_core::{Evaluation, Schedule};
/// let quick = Schedule::fixed_prediction(0.1, 50)?;
/// let plain = quick.clone().evaluated_by(Evaluation::Simulate); // the same numbers, slower
/// let careful = Schedule::standard(0.2, 200)?.until(1e-6)?.with_momentum(0.5)?;
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub(crate) name: &'static str,
    pub(crate) start: Start,
    pub(crate) errors: ErrorStart,
    pub(crate) linearisation: Linearise,
    pub(crate) coordinates: Coordinates,
    pub(crate) rule: Ruled,
    pub(crate) rate: f64,
    pub(crate) rates: Rates,
    pub(crate) steps: Steps,
    pub(crate) learning: Learning,
    pub(crate) samples: Option<(usize, usize)>,
    pub(crate) tolerance: Option<f64>,
    pub(crate) bound: Bound,
    pub(crate) evaluation: Evaluation,
    pub(crate) noise: Option<Noise>,
    pub(crate) reduction: Reduction,
    pub(crate) trace: bool,
    pub(crate) observed: bool,
    pub(crate) unlevelled: bool,
    pub(crate) unmeasured: bool,
}

/// Where free vertices start.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// At their feed-forward predictions.
    Forward,
    /// At zero.
    Zero,
    /// At normal draws of this standard deviation.
    Noise {
        /// The standard deviation.
        deviation: f64,
        /// The seed.
        seed: u64,
    },
    /// Where the last relaxation left them. The first time, when the batch size changes, and after
    /// a relaxation that diverged, they start at their predictions.
    Carried,
}

/// Whether predictions and Jacobians follow the states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linearise {
    /// Kept at their starting values (the fixed-prediction assumption).
    Frozen,
    /// Re-evaluated at the present values.
    Live,
}

/// What relaxation moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    /// The states `v`.
    States,
    /// The errors `e`, with `v = f(v_parents) + e` (error-based PC).
    Errors,
}

/// When weights learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learning {
    /// Once, from the relaxed states.
    AtEnd,
    /// At every step, from the same errors that move the states.
    EveryStep,
    /// From samples that noise has drawn, at every `every`-th step after the first `burn_in`
    /// ([`Schedule::learning_from_samples`]).
    FromSamples {
        /// The steps before the first sample counts.
        burn_in: usize,
        /// The steps from one sample to the next.
        every: usize,
    },
    /// The weights of a level after as many steps as the level is from the output.
    AtLevel,
}

/// How many steps to take at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    Count(usize),
    /// As many as the graph is deep.
    Depth,
}

/// How far the energy may rise before a relaxation counts as diverged, as a multiple of the energy
/// at the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// [`Schedule::DIVERGED`] if relaxation descends the energy without noise, and no bound
    /// otherwise. It is checked when relaxation ends.
    Usual,
    /// This many times, checked before every step.
    Beyond(f64),
    /// Lifted.
    Lifted,
}

/// How a frozen relaxation is computed. All give the same numbers, to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluation {
    /// The quickest that is valid here: the closed form, else the front, else simulation.
    Auto,
    /// Every vertex at every step.
    Simulate,
    /// Only vertices that an error has reached and whose children's errors still change.
    Front,
    /// No steps at all: each error is a binomially weighted sum of backprop's, by path length.
    /// Refused if that does not hold.
    ClosedForm,
}

/// How the gradients of the samples in a batch become one. States are never divided by the batch
/// size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
}

impl Schedule {
    fn base(name: &'static str, rate: f64, steps: Steps) -> Result<Self> {
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(Error::schedule(format!(
                "{name}: the rate must be a positive number, not {rate}"
            )));
        }
        if steps == Steps::Count(0) {
            return Err(Error::schedule(format!(
                "{name}: zero steps would relax nothing; ask for at least one"
            )));
        }
        Ok(Self::unchecked(name, rate, steps))
    }

    fn unchecked(name: &'static str, rate: f64, steps: Steps) -> Self {
        Self {
            name,
            start: Start::Forward,
            errors: ErrorStart::Zero,
            linearisation: Linearise::Live,
            coordinates: Coordinates::States,
            rule: Ruled::new(Plain),
            rate,
            rates: Rates::default(),
            steps,
            learning: Learning::AtEnd,
            samples: None,
            tolerance: None,
            bound: Bound::Usual,
            evaluation: Evaluation::Auto,
            noise: None,
            reduction: Reduction::Sum,
            trace: false,
            observed: false,
            unlevelled: false,
            unmeasured: false,
        }
    }

    /// Takes no steps: weights learn from the errors at the start. This is for measuring what
    /// relaxation adds. Choices that only steps could honour are then refused.
    #[must_use]
    pub fn unrelaxed(mut self) -> Self {
        self.steps = Steps::Count(0);
        self
    }

    /// Starts free vertices elsewhere.
    #[must_use]
    pub fn starting(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Computes a frozen relaxation, or Z-IL, in this way. Live relaxation in the states has only
    /// one way, [`Evaluation::Simulate`]. Backprop and error-based PC leave no choice.
    #[must_use]
    pub fn evaluated_by(mut self, evaluation: Evaluation) -> Self {
        self.evaluation = evaluation;
        self
    }

    /// Stops when the norm of the energy's gradient in the states has fallen to `tolerance` times
    /// the norm of the drive (the errors of held and driven vertices at the start).
    ///
    /// # Errors
    /// The tolerance is not a positive number.
    pub fn until(mut self, tolerance: f64) -> Result<Self> {
        if !(tolerance > 0.0 && tolerance.is_finite()) {
            return Err(Error::schedule(format!(
                "{}: the tolerance must be a positive number, not {tolerance}",
                self.name
            )));
        }
        self.tolerance = Some(tolerance);
        Ok(self)
    }

    /// The usual bound on the energy. A relaxation that descends the energy has diverged if it ends
    /// with more than this many times the energy at the start.
    pub const DIVERGED: f64 = 1e3;

    /// Stops as diverged as soon as the energy exceeds `factor` times its starting value.
    ///
    /// Without this call, a live relaxation without noise counts as diverged if it ends above
    /// [`Schedule::DIVERGED`] times its starting energy. So does any relaxation whose numbers are
    /// not finite. A relaxation that has diverged gives no gradients. [`Schedule::unbounded`] lifts
    /// the bound.
    ///
    /// # Errors
    /// The factor is not above 1.
    pub fn diverged_beyond(mut self, factor: f64) -> Result<Self> {
        if !(factor > 1.0) {
            return Err(Error::schedule(format!(
                "{}: the divergence factor must be above 1, not {factor}",
                self.name
            )));
        }
        self.bound = Bound::Beyond(factor);
        Ok(self)
    }

    /// Lifts the bound on the energy of [`Schedule::diverged_beyond`]. Gradients are handed out
    /// wherever relaxation ends, as long as numbers are finite.
    #[must_use]
    pub fn unbounded(mut self) -> Self {
        self.bound = Bound::Lifted;
        self
    }

    /// Adds noise to every step, `sqrt(2 gamma temperature)` times a normal draw: Langevin sampling
    /// of `exp(-F / temperature)`. With momentum `m` the noise enters the velocity,
    /// `u <- m u + g + sqrt(2 (1 - m) temperature / gamma) xi`, which is the underdamped form, with
    /// the same stationary density. Other rules are refused, which would sample something else.
    ///
    /// # Errors
    /// The temperature is not a positive number.
    pub fn with_noise(mut self, temperature: f64, seed: u64) -> Result<Self> {
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::schedule(format!(
                "{}: the temperature must be a positive number, not {temperature}",
                self.name
            )));
        }
        self.noise = Some(Noise { temperature, seed });
        Ok(self)
    }

    /// Says whether the loss is a sum over the batch, which is the default, or a mean. Gradients
    /// are divided, states never.
    #[must_use]
    pub fn reduced_by(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Records the energy at every step in [`crate::Outcome::trace`], `steps + 1` figures.
    #[must_use]
    pub fn traced(mut self) -> Self {
        self.trace = true;
        self
    }

    /// Makes [`crate::Relaxation::advance`] return [`crate::Event::Step`] before every step and
    /// once after the last, so that values, errors and energies can be read there by id; `steps +
    /// 1` times, where a step that an adaptive rule takes back counts as one. `run` and `train`
    /// pass over it. Nothing is left out or taken in one go meanwhile.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Clamps, Event, Graph, Relaxation, Schedule};
    /// # use pc_core::host::{Activation, HostLayers, HostTensor, Init};
    /// # let mut init = Init::new(7);
    /// # let mut b = Graph::<HostTensor<f64>>::builder();
    /// # let x = b.input("x", &[2])?;
    /// # let h = b.dense("h", x, 8, Activation::Tanh, &mut init)?;
    /// # let y = b.dense("y", h, 1, Activation::Identity, &mut init)?;
    /// # let mut graph = b.build()?;
    /// # let clamps = Clamps::new()
    /// #     .hold(x, HostTensor::new(&[1, 2], vec![0.5, -1.0])?)
    /// #     .hold(y, HostTensor::new(&[1, 1], vec![1.0])?);
    /// let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.2, 8)?.observed())?;
    /// relaxation.begin(&mut graph, &clamps)?;
    /// let mut path = Vec::new();
    /// loop {
    ///     match relaxation.advance(&mut graph)? {
    ///         Event::Step => path.push(relaxation.value(&graph, h)),
    ///         Event::Learn => {}
    ///         Event::Finished(_) => break,
    ///     }
    /// }
    /// assert_eq!(path.len(), 9);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    #[must_use]
    pub fn observed(mut self) -> Self {
        self.observed = true;
        self
    }

    /// Leaves the energy at the end of a frozen relaxation unmeasured: [`crate::Energy::internal`]
    /// is NaN, and numbers that are not finite go on into the gradients, as in backprop. Measuring
    /// reads every error once more, and keeps all of them in memory where one sweep would let them
    /// go.
    #[must_use]
    pub fn unmeasured(mut self) -> Self {
        self.unmeasured = true;
        self
    }

    /// Whether the energy is looked at before every step: traced, bounded or observed.
    pub fn is_watched(&self) -> bool {
        self.trace || self.observed || matches!(self.bound, Bound::Beyond(_))
    }

    /// Lets Z-IL run on a graph that is not levelled, where it does **not** give backprop's
    /// gradients. For showing just that.
    #[must_use]
    pub fn even_unlevelled(mut self) -> Self {
        self.unlevelled = true;
        self
    }

    /// The rule's name, such as `standard PC`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `gamma`.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// The most steps it takes. Returns `None` if that depends on the graph's depth.
    pub fn steps(&self) -> Option<usize> {
        match self.steps {
            Steps::Count(count) => Some(count),
            Steps::Depth => None,
        }
    }

    /// Where free vertices start.
    pub fn start(&self) -> Start {
        self.start
    }

    /// When weights learn.
    pub fn learning(&self) -> Learning {
        match self.samples {
            Some((burn_in, every)) => Learning::FromSamples { burn_in, every },
            None => self.learning,
        }
    }

    /// How the gradients of samples become one.
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }

    /// Whether predictions follow the states.
    pub fn linearisation(&self) -> Linearise {
        self.linearisation
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Steps::Count(steps) = self.steps {
            write!(f, " (gamma {}, T {steps})", self.rate)?;
        }
        Ok(())
    }
}
