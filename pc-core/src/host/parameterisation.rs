//! How weights start and are scaled as nets grow wide and deep.

use crate::{Error, Result};

/// A parameterisation: the constant factor `a` of every weighted prediction `a W phi(v)`, and how
/// `W` starts (Innocenti, Achour and Buckley 2025, arXiv:2505.13124, table 1). `n` is the number of
/// inputs of the weight, `L` the depth that its [`Fan`] says.
///
/// | | first | hidden | last | start of `W` |
/// |---|---|---|---|---|
/// | `Standard` | 1 | 1 | 1 | normal, variance `1 / n` |
/// | `Ntk` | `1 / sqrt(n)` | `1 / sqrt(n L)` | `1 / sqrt(n)` | normal, variance 1 |
/// | `MuPc` | `1 / sqrt(n)` | `1 / sqrt(n L)` | `1 / n` | normal, variance 1 |
///
/// Where a vertex is the sum of `k` weighted maps, each factor is divided by `sqrt(k)`, so that
/// their number does not change the size of the sum.
///
/// # Example
/// Any graph: a vertex that adds two weighted maps to a skip.
/// ```
/// use pc_core::host::{Fan, Parameterisation, Planned, merges};
/// let plan = [
///     Planned::new(&[], &[]),      // the input
///     Planned::new(&[0], &[]),     // W x
///     Planned::new(&[1, 0], &[1]), // W h1 + W x + h1
///     Planned::new(&[2], &[]),     // the output
/// ];
/// assert_eq!(merges(&plan)?, 1);
/// let fan = Fan::hidden(64).among(2).over(1 + 2);
/// let factor = Parameterisation::MuPc.factor(fan);
/// assert!((factor - 1.0 / (64.0_f64 * 2.0 * 3.0).sqrt()).abs() < 1e-15);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parameterisation {
    /// The usual one (SP): no factors.
    Standard,
    /// That of the neural tangent kernel (NTP).
    Ntk,
    /// That of maximal updates, for predictive coding.
    #[default]
    MuPc,
}

/// What a [`Parameterisation`] has to know of one weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fan {
    inputs: usize,
    place: Place,
    maps: usize,
    depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Hidden,
    Last,
}

impl Fan {
    pub(super) const fn inputs(self) -> usize {
        self.inputs
    }

    const fn at(place: Place, inputs: usize) -> Self {
        Self { inputs, place, maps: 1, depth: 1 }
    }

    /// A weight with so many inputs, from data.
    pub const fn first(inputs: usize) -> Self {
        Self::at(Place::First, inputs)
    }

    /// A weight with so many inputs, from one hidden vertex to another.
    pub const fn hidden(inputs: usize) -> Self {
        Self::at(Place::Hidden, inputs)
    }

    /// A weight with so many inputs, to an output.
    pub const fn last(inputs: usize) -> Self {
        Self::at(Place::Last, inputs)
    }

    /// One of so many weighted maps that are added up at its vertex.
    #[must_use]
    pub const fn among(mut self, maps: usize) -> Self {
        self.maps = maps;
        self
    }

    /// In a net with skips, `L`: on a chain the number of its layers; on any graph [`merges`] and
    /// 2, which on a chain is the same. 1 without skips.
    #[must_use]
    pub const fn over(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }
}

impl Parameterisation {
    /// The constant factor of a weighted map; infinite where there are no inputs, maps or layers,
    /// which the vertex that gets it refuses.
    pub fn factor(self, fan: Fan) -> f64 {
        let Fan { inputs, place, maps, depth } = fan;
        let [inputs, maps, depth] = [inputs, maps, depth].map(|count| count as f64);
        match (self, place) {
            (Self::Standard, _) => 1.0 / maps.sqrt(),
            (_, Place::Hidden) => 1.0 / (inputs * maps * depth).sqrt(),
            (Self::MuPc, Place::Last) => 1.0 / (inputs * maps.sqrt()),
            _ => 1.0 / (inputs * maps).sqrt(),
        }
    }

    /// The standard deviation of the normal numbers that a weight of so many inputs starts with.
    pub fn deviation(self, inputs: usize) -> f64 {
        match self {
            Self::Standard => 1.0 / (inputs as f64).sqrt(),
            Self::Ntk | Self::MuPc => 1.0,
        }
    }
}

/// One vertex of a plan of a net: which earlier vertices reach it through a weight, and which are
/// added as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned<'a> {
    weighted: &'a [usize],
    passed: &'a [usize],
}

impl<'a> Planned<'a> {
    /// From these, by their places in the plan.
    pub const fn new(weighted: &'a [usize], passed: &'a [usize]) -> Self {
        Self { weighted, passed }
    }
}

/// The most vertices on one path at which a skip is added to something else. Each of them makes
/// what arrives larger, so it is what [`Fan::over`] counts, whatever the graph.
///
/// # Errors
/// A vertex that comes from itself or from a later one.
pub fn merges(plan: &[Planned<'_>]) -> Result<usize> {
    let mut counts: Vec<usize> = Vec::with_capacity(plan.len());
    for (place, vertex) in plan.iter().enumerate() {
        let mut most = 0;
        for from in vertex.weighted.iter().chain(vertex.passed) {
            let Some(count) = counts.get(*from) else {
                return Err(Error::graph(format!(
                    "vertex {place} of the plan comes from vertex {from}, which is not before it"
                )));
            };
            most = most.max(*count);
        }
        let adds = !vertex.passed.is_empty() && vertex.passed.len() + vertex.weighted.len() > 1;
        counts.push(most + usize::from(adds));
    }
    Ok(counts.into_iter().max().unwrap_or(0))
}
