//! Which nonlinearities there are. How they are computed is each backend's own.

/// An elementwise nonlinearity `f`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x`.
    Identity,
    /// `max(x, 0)`, with derivative 0 at 0.
    Relu,
    /// `x` above 0, `slope x` below.
    LeakyRelu(
        /// The slope below 0.
        f64,
    ),
    /// `x` between -1 and 1, and the nearer of the two beyond, with derivative 0 at both kinks.
    HardTanh,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x Phi(x)` with the normal distribution function, in its `erf` form.
    Gelu,
    /// `x sigmoid(x)`.
    Silu,
    /// `log(1 + exp(x))`.
    Softplus,
}
