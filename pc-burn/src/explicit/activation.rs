//! Activations, element by element.

use burn::backend::{
    Dispatch,
    ops::{ActivationOps, FloatTensorOps},
};
use pc_core::{
    Result, Tensor,
    backend::{GraphTensor, Vertex},
    host::Activation,
};

use super::{At, Kept, Pulls, parts::single};
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
pub(crate) fn on_numbers(
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
pub(crate) fn evaluate(
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
            // log((1 + e^(a + d)) / (1 + e^a)), from the side of 0 where e^a or e^-a is small;
            // parts that differ much do not cancel.
            let (s, c) = sigmoids(a);
            let falling = ln_1p(&s.times(&exp_m1(d)));
            let rising = d.plus(&ln_1p(&c.times(&exp_m1(&d.negative()))));
            let near = falling.choose(a.above(0.0), &rising);
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
    let series = [210.0, 156.0, 110.0, 72.0, 42.0, 20.0, 6.0].into_iter().fold(
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

/// `tanh(x) - tanh(a) = sinh(d) / (cosh(a) cosh(x))`. Where `d` is large `sinh` might overflow, and
/// all three are taken apart: `2 e^(|d| - |a| - |x|)`, signed as `d`, over
/// `(1 + e^(-2 |a|)) (1 + e^(-2 |x|))`.
fn tanh_difference(a: &BurnTensor, d: &BurnTensor, x: &BurnTensor) -> BurnTensor {
    let near = sinh(d).times(&sech(a)).times(&sech(x));
    let (size, from, to) = (d.absolute(), a.absolute(), x.absolute());
    let rest = |t: &BurnTensor| t.scaled(-2.0).exponential().shifted(1.0);
    let far = size.minus(&from).minus(&to).exponential().scaled(2.0);
    let far = far.over(&rest(&from)).over(&rest(&to));
    let far = far.negative().choose(d.above(0.0), &far);
    near.choose(size.above(40.0), &far)
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

/// `log(1 + x)`, near 0 by the series of `2 artanh(x / (2 + x))`: Burn's own is the logarithm of a
/// rounded sum on some devices (wgpu).
fn ln_1p(x: &BurnTensor) -> BurnTensor {
    let z = x.over(&x.shifted(2.0));
    let square = z.times(&z);
    let series = [13.0, 11.0, 9.0, 7.0, 5.0, 3.0]
        .into_iter()
        .fold(square.scaled(0.0), |sum, k: f64| sum.shifted(1.0 / k).times(&square));
    let near = z.plus(&z.times(&series)).scaled(2.0);
    let far = BurnTensor::wrap(Dispatch::float_log1p(x.raw()));
    near.choose(x.absolute().above(0.1), &far)
}

/// `log(1 + e^(-|x|))`.
fn tail(x: &BurnTensor) -> BurnTensor {
    ln_1p(&x.absolute().negative().exponential())
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
        let mut derivative = cache.take_like(DERIVATIVE, a);
        output.set_activation(&mut derivative, self.0, a, d)?;
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
        at.agree()?;
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

#[cfg(test)]
mod tests {
    // In a test a panic is the report.
    #![allow(clippy::unwrap_used)]

    use burn::tensor::{DType, Device};

    use super::*;

    /// Devices without numbers in memory have only Burn's operations, whose digits are held here to
    /// those of the host's loops: near kinks and 0, in the tails, over short steps and long ones.
    #[test]
    fn operations_have_the_digits_of_numbers_in_memory() {
        let places =
            [-30.0, -12.0, -3.0, -1.001, -1.0, -0.4, -1e-3, 0.0, 1e-5, 0.7, 0.999, 2.0, 20.0];
        let steps = [-40.0, -2.0, -0.9, -1e-2, -1e-6, 1e-7, 1e-3, 0.3, 1.5, 50.0];
        let (a, d): (Vec<f64>, Vec<f64>) =
            places.iter().flat_map(|a| steps.iter().map(move |d| (*a, *d))).unzip();
        for (dtype, relative) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
            let tensor = |values: &[f64]| {
                BurnTensor::from_values(&[values.len()], values, &Device::flex(), dtype).unwrap()
            };
            let (at, by) = (tensor(&a), tensor(&d));
            for f in [
                Activation::Identity,
                Activation::Relu,
                Activation::LeakyRelu(0.1),
                Activation::HardTanh,
                Activation::Tanh,
                Activation::Sigmoid,
                Activation::Gelu,
                Activation::Silu,
                Activation::Softplus,
            ] {
                // Burn's error function takes part of gelu's digits far below 0.
                let absolute = match (f, dtype) {
                    (Activation::Gelu, DType::F32) => 1e-5,
                    (Activation::Gelu, _) => 1e-12,
                    _ => 1e-36,
                };
                for by in [None, Some(&by)] {
                    let (mut slopes, mut values) = (tensor(&a), tensor(&a));
                    assert!(on_numbers(f, &at, by, &mut slopes, &mut values));
                    let (result, slope) = evaluate(f, &at, by).unwrap();
                    for (ours, theirs) in [(result, values), (slope, slopes)] {
                        let pairs = ours.to_vec().into_iter().zip(theirs.to_vec());
                        for (index, (ours, theirs)) in pairs.enumerate() {
                            let off = (ours - theirs).abs();
                            assert!(
                                off <= relative * theirs.abs() + absolute,
                                "{f:?}, {dtype:?}, at {} by {:?}: {ours} and {theirs}",
                                a[index],
                                by.map(|_| d[index]),
                            );
                        }
                    }
                }
            }
        }
    }
}
