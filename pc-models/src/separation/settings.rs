//! What a network that separates sources is told of them.

use pc_core::{
    Error, ErrorKind, GraphBuilder, Interval, L1Ball, Pace, Result, Schedule, Simplex,
    SoftThreshold, VertexId, backend::GraphTensor,
};

use super::EntropySurrogate;

/// Where the sources are known to lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    /// Every source in `[-1, 1]`.
    Antisparse,
    /// Every source in `[0, 1]`.
    NonNegativeAntisparse,
    /// The absolute sum of all sources is 1 at most. The authors come to it by a soft threshold
    /// whose strength rises while the sum is above 1; here it is exact at every step.
    Sparse,
    /// The same, and no source is negative.
    NonNegativeSparse,
    /// No source is negative, and their sum is 1.
    Simplex,
    /// Sparse by a soft threshold of this strength, which is what a Laplace prior asks for.
    SoftThreshold(f64),
}

impl Domain {
    pub(super) fn project<T: GraphTensor>(
        self,
        b: &mut GraphBuilder<T>,
        y: VertexId,
    ) -> Result<()> {
        match self {
            Self::Antisparse => b.project(y, Interval::new(-1.0, 1.0)?),
            Self::NonNegativeAntisparse => b.project(y, Interval::new(0.0, 1.0)?),
            Self::Sparse => b.project(y, L1Ball::new(1.0)?),
            Self::NonNegativeSparse => b.project(y, L1Ball::new(1.0)?.non_negative()),
            Self::Simplex => b.project(y, Simplex),
            Self::SoftThreshold(strength) => b.project(y, SoftThreshold::new(strength)?),
        }
    }
}

/// The sizes and settings of an [`crate::EntropyMaximisation`]. Settings are the authors' unless
/// they are said.
///
/// # Example
/// ```
/// use pc_models::{Domain, EntropySurrogate, Unmixing};
/// let settings = Unmixing::new(10, 5, Domain::Sparse)?.entropy(EntropySurrogate::exact());
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Unmixing {
    pub(super) mixtures: usize,
    pub(super) sources: usize,
    pub(super) domain: Domain,
    pub(super) precision: f64,
    pub(super) memory: f64,
    pub(super) variance: f64,
    pub(super) entropy: EntropySurrogate,
    pub(super) schedule: Schedule,
}

impl Unmixing {
    /// From so many mixtures so many sources. It takes 100 steps at the rate `0.05 / (j + 1)`, the
    /// truncated slope, a precision of 150, running rules with `l = 0.99`, and variances that start
    /// at 0.2.
    ///
    /// # Errors
    /// None with these numbers.
    pub fn new(mixtures: usize, sources: usize, domain: Domain) -> Result<Self> {
        let schedule = Schedule::standard(0.05, 100)?.paced(Pace::Inverse(1.0))?.unbounded();
        Ok(Self {
            mixtures,
            sources,
            domain,
            precision: 150.0,
            memory: 0.99,
            variance: 0.2,
            entropy: EntropySurrogate::truncated(),
            schedule,
        })
    }

    /// With this precision of the prediction, `gamma_p`.
    #[must_use]
    pub fn precision(mut self, precision: f64) -> Self {
        self.precision = precision;
        self
    }

    /// With running rules that keep this share `l` of what they hold, below 1.
    #[must_use]
    pub fn memory(mut self, share: f64) -> Self {
        self.memory = share;
        self
    }

    /// With running variances that start here.
    #[must_use]
    pub fn variance(mut self, variance: f64) -> Self {
        self.variance = variance;
        self
    }

    /// With the exact or the truncated slope of the entropy.
    #[must_use]
    pub fn entropy(mut self, entropy: EntropySurrogate) -> Self {
        self.entropy = entropy;
        self
    }

    /// Relaxing by this schedule.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.mixtures == 0 || self.sources == 0 {
            let (mixtures, sources) = (self.mixtures, self.sources);
            let why = format!("{sources} sources cannot be found in {mixtures} mixtures");
            return Err(Error::new(ErrorKind::Shape, why));
        }
        if !(self.memory > 0.0 && self.memory < 1.0) {
            let why =
                format!("the share that is kept must be between 0 and 1, not {}", self.memory);
            return Err(Error::new(ErrorKind::Graph, why));
        }
        if !(self.variance > 0.0 && self.variance.is_finite()) {
            let why = format!("the variance at the start must be positive, not {}", self.variance);
            return Err(Error::new(ErrorKind::Graph, why));
        }
        Ok(())
    }
}
