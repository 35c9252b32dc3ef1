//! Activations, element by element.

use crate::{
    Error, Result,
    activation::Activation,
    host::{Element, HostTensor},
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Structure, Vertex},
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
            Activation::Gelu => {
                let x64 = x.value();
                let (phi, density) = (normal_cdf(x64), normal_density(x64));
                (F::of(x64 * phi), F::of(phi + x64 * density))
            }
            Activation::Silu => {
                let (s, complement) = sigmoids(x);
                (x * s, s + x * s * complement)
            }
            Activation::Softplus => (x.max(zero) + (-x.abs()).exp().ln_1p(), sigmoids(x).0),
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
            Activation::Gelu => {
                let (a64, d64) = (a.value(), d.value());
                (
                    F::of(d64 * normal_cdf(a64 + d64) + a64 * cdf_difference(a64, d64)),
                    self.evaluate(x).1,
                )
            }
            Activation::Silu => {
                let half = F::of(0.5);
                let (s, _) = sigmoids(x);
                (d * s + a * half * tanh_difference(half * a, half * d), self.evaluate(x).1)
            }
            Activation::Softplus => {
                let difference = if d.abs() <= one {
                    // log((1 + e^(a + d)) / (1 + e^a)) = log1p(sigmoid(a) (e^d - 1)), from
                    // whichever end the exponential is small.
                    let (s, c) = sigmoids(a);
                    if d <= zero {
                        (s * d.exp_m1()).ln_1p()
                    } else {
                        d + (c * (-d).exp_m1()).ln_1p()
                    }
                } else {
                    // The sigmoid may have rounded to 1, and the logarithm's argument to 0; parts
                    // that differ this much do not cancel.
                    let tail = |x: F| (-x.abs()).exp().ln_1p();
                    relu_difference(a, d) + (tail(x) - tail(a))
                };
                (difference, sigmoids(x).0)
            }
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
        // With the match outside the loop each loop can vectorise.
        macro_rules! run {
            ($f:expr) => {{
                let f = $f;
                let outputs = output.iter_mut().zip(derivative);
                match d {
                    None => outputs.zip(a).for_each(|((y, g), x)| (*y, *g) = f.evaluate(*x)),
                    Some(d) => outputs
                        .zip(a.iter().zip(d))
                        .for_each(|((y, g), (x, d))| (*y, *g) = f.difference(*x, *d)),
                }
            }};
        }
        match self {
            Activation::Identity => run!(Activation::Identity),
            Activation::Relu => run!(Activation::Relu),
            Activation::Tanh => run!(Activation::Tanh),
            Activation::Sigmoid => run!(Activation::Sigmoid),
            other => run!(other),
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

/// `tanh(a + d) - tanh(a) = sinh(d) / (cosh(a) cosh(a + d))`, with the exponentials scaled so that
/// none overflows: with `x = a + d`, `2 (e^(d - |a| - |x|) - e^(-d - |a| - |x|)) / ((1 + e^(-2|a|))
/// (1 + e^(-2|x|)))`.
#[inline(always)]
fn tanh_difference<F: Element>(a: F, d: F) -> F {
    let (one, two) = (F::one(), F::of(2.0));
    let (a_size, x_size, size) = (a.abs(), (a + d).abs(), d.abs());
    // |d| <= |a| + |x|, so this exponent is never positive.
    let exponent = size - a_size - x_size;
    let scaled = (if exponent > F::zero() { F::zero() } else { exponent }).exp_both().0;
    let sinh = -(-two * size).exp_both().1 * scaled;
    let difference =
        two * sinh / ((one + (-two * a_size).exp_both().0) * (one + (-two * x_size).exp_both().0));
    if d < F::zero() { -difference } else { difference }
}

fn normal_density(x: f64) -> f64 {
    (-0.5 * x * x).exp() * 0.398_942_280_401_432_7
}

fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// `Phi(a + d) - Phi(a)`: for short steps the density's integral by ten-point Gauss quadrature, a
/// sum of positive terms.
fn cdf_difference(a: f64, d: f64) -> f64 {
    const NODES: [(f64, f64); 5] = [
        (0.148_874_338_981_631_2, 0.295_524_224_714_752_87),
        (0.433_395_394_129_247_2, 0.269_266_719_309_996_35),
        (0.679_409_568_299_024_4, 0.219_086_362_515_982_04),
        (0.865_063_366_688_984_5, 0.149_451_349_150_580_6),
        (0.973_906_528_517_171_7, 0.066_671_344_308_688_14),
    ];
    if d.abs() > 1.0 {
        return normal_cdf(a + d) - normal_cdf(a);
    }
    let (middle, half) = (a + 0.5 * d, 0.5 * d);
    NODES
        .iter()
        .map(|(node, weight)| {
            weight * (normal_density(middle + half * node) + normal_density(middle - half * node))
        })
        .sum::<f64>()
        * half
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
