//! Activations, element by element.

use crate::{
    Error, Result,
    activation::Activation,
    host::{Element, HostTensor, normal},
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

impl Activation {
    /// The value and the derivative at `x`.
    #[inline(always)]
    fn evaluate<F: Element>(self, x: F) -> (F, F) {
        let (zero, one) = (F::zero(), F::one());
        match self {
            Activation::Identity => (x, one),
            // Written so that a NaN stays one.
            Activation::Relu => {
                (if x <= zero { zero } else { x }, if x > zero { one } else { zero })
            }
            Activation::LeakyRelu(slope) => {
                let slope = if x > zero { one } else { F::of(slope) };
                (x * slope, slope)
            }
            Activation::HardTanh => (bounded(x, -one, one), hard_tanh_slope(x)),
            Activation::Tanh => {
                // 1 - y^2 loses all digits in saturation; with e = e^(-2|x|) it is 4 e / (1 + e)^2.
                let (e, m1) = (-(x.abs() + x.abs())).exp_both();
                let y = -m1 / (one + e);
                let slope = (e + e) / (one + e) * ((one + one) / (one + e));
                (if x < zero { -y } else { y }, slope)
            }
            Activation::Sigmoid => {
                let (y, complement) = sigmoids(x);
                (y, y * complement)
            }
            Activation::Gelu => gelu(x),
            Activation::Silu => {
                let (s, complement) = sigmoids(x);
                (x * s, s + x * s * complement)
            }
            Activation::Softplus => softplus(x),
        }
    }

    /// `f(a + d) - f(a)` without cancellation, and the derivative at `a + d`.
    #[inline(always)]
    fn difference<F: Element>(self, a: F, d: F) -> (F, F) {
        let (zero, one) = (F::zero(), F::one());
        let x = a + d;
        match self {
            Activation::Identity => (d, one),
            Activation::Relu => (relu_difference(a, d), if x > zero { one } else { zero }),
            Activation::LeakyRelu(slope) => {
                let (s, at) = (F::of(slope), if x > zero { one } else { F::of(slope) });
                let difference = match (a > zero, x > zero) {
                    (true, true) => d,
                    (false, false) => s * d,
                    (true, false) => s * x - a,
                    (false, true) => x - s * a,
                };
                (difference, at)
            }
            Activation::HardTanh => (hard_tanh_difference(a, d), hard_tanh_slope(x)),
            Activation::Tanh => (tanh_difference(a, d), self.evaluate(x).1),
            Activation::Sigmoid => {
                let half = F::of(0.5);
                (half * tanh_difference(half * a, half * d), self.evaluate(x).1)
            }
            Activation::Gelu => gelu_difference(a, d),
            Activation::Silu => {
                let (half, (sx, complement)) = (F::of(0.5), sigmoids(x));
                // `d s(x) + a (s(x) - s(a))` cancels over long steps. There, as for softplus, relu
                // and what is left beside it cannot.
                let near = d * sx + a * half * tanh_difference(half * a, half * d);
                let far = relu_difference(a, d) + (silu_tail(x) - silu_tail(a));
                (if d.abs() <= one { near } else { far }, sx + x * sx * complement)
            }
            Activation::Softplus => (softplus_difference(a, d), sigmoids(x).0),
        }
    }

    /// Number by number: `output <- f(a)`, or `output <- f(a + d) - f(a)` without cancellation
    /// where there is a `d`; and `derivative <- f'` at `a` or `a + d`. For backends whose numbers
    /// lie in memory; the slices are of one length.
    pub fn evaluate_slices<F: Element>(
        self,
        a: &[F],
        d: Option<&[F]>,
        derivative: &mut [F],
        output: &mut [F],
    ) {
        // With the match outside the loop each loop can vectorise, for the widest vectors of the
        // machine at hand. The same operations give the same bits on all.
        macro_rules! run {
            ($f:expr $(, $slope:ident)?) => {{
                struct Loop<'a, F> {
                    a: &'a [F],
                    d: Option<&'a [F]>,
                    derivative: &'a mut [F],
                    output: &'a mut [F],
                    $($slope: f64,)?
                }
                impl<F: Element> pulp::NullaryFnOnce for Loop<'_, F> {
                    type Output = ();

                    // Always inlined, so that it is compiled anew for each width, and the
                    // activation is a constant in it.
                    #[inline(always)]
                    fn call(self) {
                        $(let $slope = self.$slope;)?
                        let outputs = self.output.iter_mut().zip(self.derivative);
                        match self.d {
                            None => {
                                for ((y, g), x) in outputs.zip(self.a) {
                                    (*y, *g) = $f.evaluate(*x);
                                }
                            }
                            Some(d) => {
                                for ((y, g), (x, d)) in outputs.zip(self.a.iter().zip(d)) {
                                    (*y, *g) = $f.difference(*x, *d);
                                }
                            }
                        }
                    }
                }
                pulp::Arch::new().dispatch(Loop { a, d, derivative, output $(, $slope)? })
            }};
        }
        match self {
            Activation::Identity => run!(Activation::Identity),
            Activation::Relu => run!(Activation::Relu),
            Activation::LeakyRelu(slope) => run!(Activation::LeakyRelu(slope), slope),
            Activation::HardTanh => run!(Activation::HardTanh),
            Activation::Tanh => run!(Activation::Tanh),
            Activation::Sigmoid => run!(Activation::Sigmoid),
            Activation::Gelu => run!(Activation::Gelu),
            Activation::Silu => run!(Activation::Silu),
            Activation::Softplus => run!(Activation::Softplus),
        }
    }
}

/// `max(a + d, 0) - max(a, 0)`, by cases. A function of its own, for a method that called itself
/// could not be inlined into loops.
#[inline(always)]
fn relu_difference<F: Element>(a: F, d: F) -> F {
    let x = a + d;
    let both = if a > F::zero() { d } else { x };
    let below = if a > F::zero() { -a } else { F::zero() };
    if x <= F::zero() { below } else { both }
}

/// `x`, or the nearer of two bounds where it is beyond them. Written so that a NaN stays one.
#[inline(always)]
fn bounded<F: Element>(x: F, low: F, high: F) -> F {
    let x = if x <= low { low } else { x };
    if x >= high { high } else { x }
}

#[inline(always)]
fn hard_tanh_slope<F: Element>(x: F) -> F {
    if x > -F::one() && x < F::one() { F::one() } else { F::zero() }
}

/// The part of the way from `a` to `a + d` that lies between -1 and 1, counted from the kink that
/// `a` is beyond, so that no sum is taken that rounds `d` away. From beyond 2, `a + d` is exact
/// wherever it is between the kinks, and `a - 1` is not.
#[inline(always)]
fn hard_tanh_difference<F: Element>(a: F, d: F) -> F {
    let (zero, one) = (F::zero(), F::one());
    let (wide, x) = (one + one, a + d);
    if a > one {
        bounded(if a > wide { x - one } else { (a - one) + d }, -wide, zero)
    } else if a < -one {
        bounded(if a < -wide { x + one } else { (a + one) + d }, zero, wide)
    } else if x.is_nan() {
        x
    } else {
        bounded(d, -one - a, one - a)
    }
}

/// `sigmoid(x)` and `sigmoid(-x)`, neither with overflow nor by subtraction from 1.
#[inline(always)]
fn sigmoids<F: Element>(x: F) -> (F, F) {
    let t = (-x.abs()).exp_both().0;
    let (large, small) = (F::one() / (F::one() + t), t / (F::one() + t));
    if x >= F::zero() { (large, small) } else { (small, large) }
}

/// `x sigmoid(x) - max(x, 0)`.
#[inline(always)]
fn silu_tail<F: Element>(x: F) -> F {
    let size = x.abs();
    -size * sigmoids(-size).0
}

/// `tanh(a + d) - tanh(a) = sinh(d) / (cosh(a) cosh(a + d))`, with the exponentials scaled so that
/// none overflows: with `x = a + d`, `2 (e^(d - |a| - |x|) - e^(-d - |a| - |x|)) / ((1 + e^(-2|a|))
/// (1 + e^(-2|x|)))`.
#[inline(always)]
fn tanh_difference<F: Element>(a: F, d: F) -> F {
    let (zero, one, two) = (F::zero(), F::one(), F::of(2.0));
    let x = a + d;
    let (a_size, x_size, size) = (a.abs(), x.abs(), d.abs());
    // |d| - |a| - |x|, without a sum in which a large step leaves nothing of a small value: the
    // smaller counts twice where both are on one side, and nothing is left where they are not.
    let smaller = if a_size < x_size { a_size } else { x_size };
    let exponent = if (a < zero) == (x < zero) { -two * smaller } else { zero };
    let scaled = exponent.exp_both().0;
    let sinh = -(-two * size).exp_both().1 * scaled;
    let difference =
        two * sinh / ((one + (-two * a_size).exp_both().0) * (one + (-two * x_size).exp_both().0));
    if d < F::zero() { -difference } else { difference }
}

/// `gelu(x) = x Phi(x)` and its derivative `Phi(x) + x phi(x)`.
#[inline(always)]
fn gelu<F: Element>(x: F) -> (F, F) {
    let x = x.value();
    let (phi, density) = if narrow::<F>() {
        let (tail, density) = normal::tail(x);
        (if x >= 0.0 { 1.0 - tail } else { tail }, density)
    } else {
        (normal::cdf(x), normal::density(x))
    };
    (F::of(x * phi), F::of(phi + x * density))
}

/// Whether results are of `f32`, so that `f64` has digits to spare.
#[inline(always)]
fn narrow<F>() -> bool {
    size_of::<F>() == size_of::<f32>()
}

/// `gelu(a + d) - gelu(a)` and the derivative at `a + d`.
#[inline(always)]
fn gelu_difference<F: Element>(a: F, d: F) -> (F, F) {
    let (a, d) = (a.value(), d.value());
    let x = a + d;
    if !narrow::<F>() {
        let (phi, density) = (normal::cdf(x), normal::density(x));
        let difference = d * phi + a * normal::cdf_difference(a, d);
        return (F::of(difference), F::of(phi + x * density));
    }
    let ((tail_a, _), (tail_x, density)) = (normal::tail(a), normal::tail(x));
    let phi = if x >= 0.0 { 1.0 - tail_x } else { tail_x };
    let slope = phi + x * density;
    // `d Phi(x) + a (Phi(x) - Phi(a))`, the difference by tails where both are on one side.
    let apart = if (a >= 0.0) == (x >= 0.0) { tail_a - tail_x } else { 1.0 - tail_a - tail_x };
    let far = d * phi + a * if x >= 0.0 { apart } else { -apart };
    // For short steps that would cancel: Taylor's series back from `x`, with the derivatives
    // `phi(x) (2 - x^2)`, `phi(x) (x^3 - 4 x)` and `phi(x) (-x^4 + 7 x^2 - 4)`. What is left out is
    // below 1e-9 of it.
    let square = x * x;
    let bend = (2.0 - square) - d / 3.0 * (x * (square - 4.0))
        + d * d / 12.0 * ((7.0 - square) * square - 4.0);
    let near = d * (slope - 0.5 * d * (density * bend));
    let short = d.abs() * (1.0 + x.abs()) < 0.015_625;
    (F::of(if short { near } else { far }), F::of(slope))
}

/// `log(1 + t)` for `t` from -1/2 to 1, and NaN for NaN: `2 atanh(s)` with `s = t / (2 + t)`, by
/// its
/// series, whose first term left out is below half a unit in the last place.
#[inline(always)]
fn ln_1p<F: Element>(t: F) -> F {
    let two = F::one() + F::one();
    let s = t / (two + t);
    let square = s * s;
    // |s| <= 1/3: 9^-8 / 17 and 9^-17 / 35 are small enough.
    let terms = if narrow::<F>() { 8 } else { 17 };
    let mut series = F::zero();
    for k in (0..terms).rev() {
        series = series * square + F::of(1.0 / (2 * k + 1) as f64);
    }
    two * s * series
}

/// `softplus(x) = log(1 + e^x)` and its derivative.
#[inline(always)]
fn softplus<F: Element>(x: F) -> (F, F) {
    let zero = F::zero();
    // Written so that a NaN stays one.
    let above = if x <= zero { zero } else { x };
    (above + softplus_tail(x), sigmoids(x).0)
}

/// `log(1 + e^(-|x|))`.
#[inline(always)]
fn softplus_tail<F: Element>(x: F) -> F {
    ln_1p((-x.abs()).exp_both().0)
}

/// `softplus(a + d) - softplus(a)`: `log(1 + sigmoid(a) (e^d - 1))` for short steps, and from parts
/// that differ too much to cancel for long ones, where that argument may round away.
#[inline(always)]
fn softplus_difference<F: Element>(a: F, d: F) -> F {
    let (zero, x) = (F::zero(), a + d);
    let short = d.abs() <= F::of(0.69);
    let (e, m1) = (if short { -d.abs() } else { zero }).exp_both();
    // `e^d - 1` from the exponential that is below 1.
    let growth = if d <= zero { m1 } else { -m1 / e };
    let near = ln_1p(sigmoids(a).0 * growth);
    let far = relu_difference(a, d) + (softplus_tail(x) - softplus_tail(a));
    if short { near } else { far }
}

/// A vertex `mu = f(v)`, element by element.
#[derive(Clone, Copy, Debug)]
pub struct Activate(
    /// The nonlinearity.
    pub Activation,
);

/// The slot of the derivative at the current point.
const DERIVATIVE: usize = 0;

impl<F: Element> Vertex<HostTensor<F>> for Activate {
    fn kind(&self) -> &str {
        "activation"
    }

    fn structure(&self) -> Structure {
        Structure::Activation(self.0)
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        match parents {
            [parent] => Ok(parent.to_vec()),
            _ => {
                Err(Error::graph(format!("an activation takes one parent, not {}", parents.len())))
            }
        }
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let x = at.value(0);
        let derivative = cache.slot(DERIVATIVE, x.dims(), x);
        self.0.evaluate_slices(x.data(), None, derivative.data_mut(), output.data_mut());
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let a = at.reference(0);
        match at.displacement(0) {
            Some(d) => self.0.evaluate_slices(
                a.data(),
                Some(d.data()),
                cache.slot(DERIVATIVE, a.dims(), a).data_mut(),
                output.data_mut(),
            ),
            None => output.fill(0.0),
        }
        Ok(())
    }

    fn pull(
        &self,
        _at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            let derivative = cache.get(DERIVATIVE)?;
            for (f, (u, g)) in
                force.data_mut().iter_mut().zip(cotangent.data().iter().zip(derivative.data()))
            {
                *f = *u * *g;
            }
        }
        Ok(())
    }

    fn reads_values(&self) -> bool {
        false
    }
}
