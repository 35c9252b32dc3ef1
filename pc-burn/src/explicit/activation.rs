//! Activations, element by element.

use burn::backend::{
    Dispatch,
    ops::{ActivationOps, FloatTensorOps},
};
use pc_core::{Result, Tensor, backend::Vertex, host::Activation};

use super::{At, Kept, Pulls, ops::agree, parts::single};
use crate::{BurnTensor, tensor::slices::on_slices};

/// A vertex `mu = f(v)`, element by element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activate(
    /// The nonlinearity.
    pub Activation,
);

/// The slot of the derivative at the current point.
const DERIVATIVE: usize = 0;

/// The values and derivatives, or differences and derivatives, in one pass over numbers in memory;
/// says whether they lie there.
pub(super) fn on_numbers(
    f: Activation,
    a: &BurnTensor,
    d: Option<&BurnTensor>,
    derivative: &mut BurnTensor,
    output: &mut BurnTensor,
) -> bool {
    on_slices!(change [] overwrite [derivative, output] read [a] perhaps [d], <F> {
        f.evaluate_slices::<F>(a, d, derivative, output);
        true
    });
    false
}

/// `(f, f')` at `a`, or `(f(a + d) - f(a), f' at a + d)`.
pub(super) fn evaluate(
    f: Activation,
    a: &BurnTensor,
    d: Option<&BurnTensor>,
) -> Option<(BurnTensor, BurnTensor)> {
    let x = d.map_or_else(|| a.clone(), |d| a.plus(d));
    let value = |_: ()| value(f, &x);
    match d {
        None => value(()),
        Some(d) => Some((difference(f, a, d, &x)?, value(())?.1)),
    }
}

/// The value and the derivative by Burn's operations; none for an activation that this crate does
/// not know.
fn value(f: Activation, x: &BurnTensor) -> Option<(BurnTensor, BurnTensor)> {
    let zeros = || x.zeros(&x.shape());
    let steps = |low: f64| {
        let mut steps = zeros();
        steps.fill(low);
        steps.mask(x.above(0.0), 1.0)
    };
    Some(match f {
        Activation::Identity => {
            let mut ones = zeros();
            ones.fill(1.0);
            (x.clone(), ones)
        }
        Activation::Relu => (BurnTensor::wrap(Dispatch::relu(x.raw())), steps(0.0)),
        Activation::LeakyRelu(slope) => {
            let slopes = steps(slope);
            (x.times(&slopes), slopes)
        }
        Activation::HardTanh => {
            let inside = x.absolute().negative().above(-1.0);
            (bounded(x, -1.0, 1.0), zeros().mask(inside, 1.0))
        }
        Activation::Tanh => {
            let half = sech(x);
            (BurnTensor::wrap(Dispatch::float_tanh(x.raw())), half.times(&half))
        }
        Activation::Sigmoid => {
            let (s, c) = sigmoids(x);
            let slope = s.times(&c);
            (s, slope)
        }
        Activation::Gelu => {
            let cdf = normal_cdf(x);
            (x.times(&cdf), cdf.plus(&x.times(&density(x))))
        }
        Activation::Silu => {
            let (s, c) = sigmoids(x);
            (x.times(&s), s.plus(&x.times(&s).times(&c)))
        }
        Activation::Softplus => {
            (BurnTensor::wrap(Dispatch::relu(x.raw())).plus(&tail(x)), sigmoids(x).0)
        }
        _ => return None,
    })
}

/// `f(a + d) - f(a)` without cancellation, with `x = a + d`.
fn difference(f: Activation, a: &BurnTensor, d: &BurnTensor, x: &BurnTensor) -> Option<BurnTensor> {
    Some(match f {
        Activation::Identity => d.clone(),
        Activation::Relu => rectified(a, d, x, 0.0),
        Activation::LeakyRelu(slope) => rectified(a, d, x, slope),
        Activation::HardTanh => hard_tanh_difference(a, d, x),
        Activation::Tanh => tanh_difference(a, d, x),
        Activation::Sigmoid => {
            tanh_difference(&a.scaled(0.5), &d.scaled(0.5), &x.scaled(0.5)).scaled(0.5)
        }
        Activation::Gelu => d.times(&normal_cdf(x)).plus(&a.times(&cdf_difference(a, d, x))),
        Activation::Silu => {
            let half = tanh_difference(&a.scaled(0.5), &d.scaled(0.5), &x.scaled(0.5)).scaled(0.5);
            d.times(&sigmoids(x).0).plus(&a.times(&half))
        }
        Activation::Softplus => {
            // log((1 + e^(a + d)) / (1 + e^a)), from whichever end the exponential is small; parts
            // that differ much do not cancel.
            let (s, c) = sigmoids(a);
            let log = |x: BurnTensor| BurnTensor::wrap(Dispatch::float_log1p(x.raw()));
            let falling = log(s.times(&exp_m1(d)));
            let rising = d.plus(&log(c.times(&exp_m1(&d.negative()))));
            let near = falling.choose(d.above(0.0), &rising);
            let far = rectified(a, d, x, 0.0).plus(&tail(x).minus(&tail(a)));
            near.choose(d.absolute().above(1.0), &far)
        }
        _ => return None,
    })
}

/// The difference of `x` above 0 and `slope x` below, by cases.
fn rectified(a: &BurnTensor, d: &BurnTensor, x: &BurnTensor, slope: f64) -> BurnTensor {
    let below = |t: &BurnTensor| t.scaled(slope);
    // By the sides of x, with a below and with a above.
    let from_below = below(d).choose(x.above(0.0), &x.minus(&below(a)));
    let from_above = below(x).minus(a).choose(x.above(0.0), d);
    from_below.choose(a.above(0.0), &from_above)
}

/// `x`, or the nearer of two bounds where it is beyond them.
fn bounded(x: &BurnTensor, low: f64, high: f64) -> BurnTensor {
    let x = x.mask(x.above(high), high);
    x.mask(x.negative().above(-low), low)
}

/// The part of the way from `a` to `x = a + d` that lies between -1 and 1, counted from the kink
/// that `a` is beyond, so that no sum is taken that rounds `d` away. From beyond 2, `x` is exact
/// wherever it is between the kinks, and `a - 1` is not.
fn hard_tanh_difference(a: &BurnTensor, d: &BurnTensor, x: &BurnTensor) -> BurnTensor {
    let (low, high) = (a.negative().shifted(-1.0), a.negative().shifted(1.0));
    let between = d.choose(d.minus(&high).above(0.0), &high);
    let between = between.choose(low.minus(d).above(0.0), &low);
    let from_above = a.shifted(-1.0).plus(d).choose(a.above(2.0), &x.shifted(-1.0));
    let from_below = a.shifted(1.0).plus(d).choose(a.negative().above(2.0), &x.shifted(1.0));
    between
        .choose(a.above(1.0), &bounded(&from_above, -2.0, 0.0))
        .choose(a.negative().above(1.0), &bounded(&from_below, 0.0, 2.0))
}

/// `1 / cosh(x)`, without overflow.
fn sech(x: &BurnTensor) -> BurnTensor {
    let e = x.absolute().negative().exponential();
    e.scaled(2.0).over(&e.times(&e).shifted(1.0))
}

/// `sinh(x)` with all its digits near 0, where it is a polynomial.
fn sinh(x: &BurnTensor) -> BurnTensor {
    let e = x.exponential();
    let exponentials = e.minus(&x.negative().exponential()).scaled(0.5);
    let square = x.times(x);
    let series = [156.0, 110.0, 72.0, 42.0, 20.0, 6.0].into_iter().fold(
        square.scaled(0.0),
        |sum, k: f64| {
            // 1 + x^2 / (2 3) (1 + x^2 / (4 5) (1 + ...)), from the inside out.
            sum.shifted(1.0).times(&square).scaled(1.0 / k)
        },
    );
    x.plus(&x.times(&series)).choose(x.absolute().above(1.0), &exponentials)
}

/// `e^x - 1 = 2 sinh(x / 2) e^(x / 2)`.
pub(super) fn exp_m1(x: &BurnTensor) -> BurnTensor {
    let half = x.scaled(0.5);
    sinh(&half).times(&half.exponential()).scaled(2.0)
}

/// `tanh(x) - tanh(a) = sinh(d) / (cosh(a) cosh(x))`; where `d` is large the parts do not cancel,
/// and `sinh` might overflow.
fn tanh_difference(a: &BurnTensor, d: &BurnTensor, x: &BurnTensor) -> BurnTensor {
    let near = sinh(d).times(&sech(a)).times(&sech(x));
    let tanh = |t: &BurnTensor| BurnTensor::wrap(Dispatch::float_tanh(t.raw()));
    near.choose(d.absolute().above(40.0), &tanh(x).minus(&tanh(a)))
}

/// `sigmoid(x)` and `sigmoid(-x)`, neither with overflow nor by subtraction from 1.
fn sigmoids(x: &BurnTensor) -> (BurnTensor, BurnTensor) {
    let t = x.absolute().negative().exponential();
    let sum = t.shifted(1.0);
    let mut one = t.clone();
    one.fill(1.0);
    let (large, small) = (one.over(&sum), t.over(&sum));
    (small.choose(x.above(0.0), &large), large.choose(x.above(0.0), &small))
}

/// `log(1 + e^(-|x|))`.
fn tail(x: &BurnTensor) -> BurnTensor {
    BurnTensor::wrap(Dispatch::float_log1p(x.absolute().negative().exponential().raw()))
}

/// The normal distribution function. Burn has no complementary error function, so it loses digits
/// far below 0, as Burn's own gelu does.
fn normal_cdf(x: &BurnTensor) -> BurnTensor {
    BurnTensor::wrap(Dispatch::float_erf(x.scaled(std::f64::consts::FRAC_1_SQRT_2).raw()))
        .scaled(0.5)
        .shifted(0.5)
}

fn density(x: &BurnTensor) -> BurnTensor {
    x.times(x).scaled(-0.5).exponential().scaled(0.398_942_280_401_432_7)
}

/// `Phi(x) - Phi(a)`: for short steps the density's integral by ten-point Gauss quadrature, a sum
/// of positive terms.
fn cdf_difference(a: &BurnTensor, d: &BurnTensor, x: &BurnTensor) -> BurnTensor {
    const NODES: [(f64, f64); 5] = [
        (0.148_874_338_981_631_2, 0.295_524_224_714_752_87),
        (0.433_395_394_129_247_2, 0.269_266_719_309_996_35),
        (0.679_409_568_299_024_4, 0.219_086_362_515_982_04),
        (0.865_063_366_688_984_5, 0.149_451_349_150_580_6),
        (0.973_906_528_517_171_7, 0.066_671_344_308_688_14),
    ];
    let half = d.scaled(0.5);
    let middle = a.plus(&half);
    let sum = NODES.into_iter().fold(half.scaled(0.0), |sum, (node, weight)| {
        let step = half.scaled(node);
        sum.plus(&density(&middle.plus(&step)).plus(&density(&middle.minus(&step))).scaled(weight))
    });
    half.times(&sum).choose(d.absolute().above(1.0), &normal_cdf(x).minus(&normal_cdf(a)))
}

impl Activate {
    fn run(
        self,
        a: &BurnTensor,
        d: Option<&BurnTensor>,
        cache: &mut Kept,
        output: &mut BurnTensor,
    ) -> Result<()> {
        let mut derivative = cache.take(DERIVATIVE, &a.shape(), a);
        if !on_numbers(self.0, a, d, &mut derivative, output) {
            let (result, slope) = evaluate(self.0, a, d).ok_or_else(|| {
                pc_core::Error::new(
                    pc_core::ErrorKind::Unsupported,
                    format!("{:?} is not among this backend's activations", self.0),
                )
            })?;
            derivative = slope;
            output.set(result);
        }
        cache.put(DERIVATIVE, derivative);
        Ok(())
    }
}

impl Vertex<BurnTensor> for Activate {
    fn kind(&self) -> &str {
        "activation"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        Ok(single("activation", parents)?.to_vec())
    }

    fn predict(&self, at: &At<'_>, cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        agree(at)?;
        self.run(at.value(0), None, cache, output)
    }

    fn change(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(d) => self.run(at.reference(0), Some(d), cache, output),
            None => {
                output.fill(0.0);
                Ok(())
            }
        }
    }

    fn pull(
        &self,
        _at: &At<'_>,
        cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.set_product(cotangent, cache.get(DERIVATIVE)?);
        }
        Ok(())
    }

    fn reads_values(&self) -> bool {
        false
    }
}
