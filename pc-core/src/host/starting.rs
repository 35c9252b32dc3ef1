//! Rules for the starting values of weights and biases.

use std::fmt;

use rand::{RngExt, rngs::ChaCha8Rng};
use rand_distr::{Distribution, StandardNormal};

use crate::activation::Activation;

/// What a [`StartingRule`] is told of the weight or bias that is to start.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes<'a> {
    /// The shape of the weight or bias: `[out, in]` of a linear map, `[out, channels, kernel,
    /// kernel]` of a convolution, `[out]` of a bias.
    pub shape: &'a [usize],
    /// How many inputs each output sums, of all parents together. A bias is told that of its
    /// weight.
    pub fan_in: usize,
    /// How many outputs each input enters.
    pub fan_out: usize,
    /// The activation after the weight; where there is none, the one before it.
    pub activation: Activation,
}

/// Seeded random numbers, for a [`StartingRule`].
#[derive(Debug)]
pub struct Draws<'a> {
    pub(super) rng: &'a mut ChaCha8Rng,
}

impl Draws<'_> {
    /// A number between -1 and 1, all equally likely.
    pub fn uniform(&mut self) -> f64 {
        self.rng.random_range(-1.0..=1.0)
    }

    /// A number of the normal distribution of mean 0 and variance 1.
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(self.rng)
    }
}

/// How weights and biases start. The crate's own rules are [`Starting`]; another is a type with
/// this trait, for one layer ([`crate::host::Dense::start`]) or for all that an
/// [`crate::host::Init`] starts ([`crate::host::Init::with_rule`]).
///
/// # Example
/// Recurrent weights that start by passing states on (Le, Jaitly and Hinton 2015):
/// ```
/// use pc_core::{Graph, host::{Dense, Draws, HostLayers, HostTensor, Init, Sizes, StartingRule}};
///
/// #[derive(Debug)]
/// struct Passing;
///
/// impl StartingRule for Passing {
///     fn weight(&self, of: &Sizes<'_>, _draws: &mut Draws<'_>, numbers: &mut [f64]) {
///         for (row, numbers) in numbers.chunks_mut(of.fan_in).enumerate() {
///             for (column, x) in numbers.iter_mut().enumerate() {
///                 *x = f64::from(u8::from(row == column));
///             }
///         }
///     }
/// }
///
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let x = b.input("x", &[2])?;
/// b.layer("y", &[x], &Dense::new(2).start(Passing), &mut Init::new(0))?;
/// let graph = b.build()?;
/// assert_eq!(graph.parameters()[0].data(), [1.0, 0.0, 0.0, 1.0]);
/// assert_eq!(graph.parameters()[1].data(), [0.0, 0.0]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait StartingRule: fmt::Debug + Send + Sync {
    /// Overwrites the numbers of a weight, in row-major order. Numbers that are not finite are
    /// refused where the weight is added to a graph, by its name.
    fn weight(&self, of: &Sizes<'_>, draws: &mut Draws<'_>, numbers: &mut [f64]);

    /// Overwrites the numbers of a bias: by 0, unless the rule says otherwise.
    fn bias(&self, _of: &Sizes<'_>, _draws: &mut Draws<'_>, numbers: &mut [f64]) {
        numbers.fill(0.0);
    }
}

/// The rules that are ready. All of them draw numbers independently, of mean 0; all but
/// [`Starting::Torch`] start biases at 0.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Starting {
    /// Uniform of variance `gain^2 / fan_in`, with `gain^2 = 2` for relu and its like (leaky relu,
    /// gelu, silu, softplus) and 1 for all others.
    #[default]
    Gain,
    /// Uniform in `+-bound`.
    Uniform(
        /// The bound.
        f64,
    ),
    /// Normal.
    Normal(
        /// The standard deviation.
        f64,
    ),
    /// Uniform of variance `2 / (fan_in + fan_out)` (Glorot and Bengio 2010, eq. 16).
    XavierUniform,
    /// Normal of variance `2 / (fan_in + fan_out)` (Glorot and Bengio 2010, eq. 12).
    XavierNormal,
    /// Uniform of variance `2 / fan_in`, whatever the activation (He et al. 2015, eq. 10).
    HeUniform,
    /// Normal of variance `2 / fan_in`, whatever the activation (He et al. 2015, eq. 10).
    HeNormal,
    /// Uniform in `+-1 / sqrt(fan_in)`, biases too: what torch's `Linear` and `Conv2d` start with.
    Torch,
}

/// The shape of a distribution of variance 1.
#[derive(Clone, Copy)]
enum Law {
    Uniform,
    Normal,
}

impl Law {
    fn fill(self, variance: f64, draws: &mut Draws<'_>, numbers: &mut [f64]) {
        match self {
            Law::Uniform => {
                let bound = (3.0 * variance).sqrt();
                numbers.iter_mut().for_each(|x| *x = draws.uniform() * bound);
            }
            Law::Normal => {
                let deviation = variance.sqrt();
                numbers.iter_mut().for_each(|x| *x = draws.normal() * deviation);
            }
        }
    }
}

fn gain(activation: Activation) -> f64 {
    match activation {
        Activation::Relu
        | Activation::LeakyRelu(_)
        | Activation::Gelu
        | Activation::Silu
        | Activation::Softplus => 2.0,
        Activation::Identity | Activation::HardTanh | Activation::Tanh | Activation::Sigmoid => 1.0,
    }
}

impl StartingRule for Starting {
    fn weight(&self, of: &Sizes<'_>, draws: &mut Draws<'_>, numbers: &mut [f64]) {
        let fan_in = of.fan_in.max(1) as f64;
        let both = fan_in + of.fan_out.max(1) as f64;
        match *self {
            // Not by the variance: the bound's last bit is that of this quotient.
            Self::Gain => {
                let bound = (3.0 * gain(of.activation) / fan_in).sqrt();
                numbers.iter_mut().for_each(|x| *x = draws.uniform() * bound);
            }
            Self::Uniform(bound) => numbers.iter_mut().for_each(|x| *x = draws.uniform() * bound),
            Self::Normal(deviation) => {
                numbers.iter_mut().for_each(|x| *x = draws.normal() * deviation);
            }
            Self::XavierUniform => Law::Uniform.fill(2.0 / both, draws, numbers),
            Self::XavierNormal => Law::Normal.fill(2.0 / both, draws, numbers),
            Self::HeUniform => Law::Uniform.fill(2.0 / fan_in, draws, numbers),
            Self::HeNormal => Law::Normal.fill(2.0 / fan_in, draws, numbers),
            Self::Torch => Law::Uniform.fill(1.0 / (3.0 * fan_in), draws, numbers),
        }
    }

    fn bias(&self, of: &Sizes<'_>, draws: &mut Draws<'_>, numbers: &mut [f64]) {
        match self {
            Self::Torch => self.weight(of, draws, numbers),
            _ => numbers.fill(0.0),
        }
    }
}
