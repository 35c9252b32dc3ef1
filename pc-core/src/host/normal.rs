//! The normal distribution, for gelu.

/// `phi(x)`, the density.
#[inline(always)]
pub(super) fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() * FRAC_1_SQRT_2PI
}

const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

/// `Phi(x)`, the distribution function.
pub(super) fn cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// `Phi(a + d) - Phi(a)`: for short steps the density's integral by ten-point Gauss quadrature, a
/// sum of positive terms.
pub(super) fn cdf_difference(a: f64, d: f64) -> f64 {
    const NODES: [(f64, f64); 5] = [
        (0.148_874_338_981_631_2, 0.295_524_224_714_752_87),
        (0.433_395_394_129_247_2, 0.269_266_719_309_996_35),
        (0.679_409_568_299_024_4, 0.219_086_362_515_982_04),
        (0.865_063_366_688_984_5, 0.149_451_349_150_580_6),
        (0.973_906_528_517_171_7, 0.066_671_344_308_688_14),
    ];
    if d.abs() > 1.0 {
        return cdf(a + d) - cdf(a);
    }
    let (middle, half) = (a + 0.5 * d, 0.5 * d);
    NODES
        .iter()
        .map(|(node, weight)| {
            weight * (density(middle + half * node) + density(middle - half * node))
        })
        .sum::<f64>()
        * half
}

/// The tail `Phi(-|x|)` and the density at `x`, both relatively right to 1e-10, without branches:
/// enough for results in `f32`, and loops over it vectorise.
///
/// The tail over the density is Mills' ratio `M(z)`, here `t P(t)` with `t = 1 / (1 + 0.33 z)` and
/// a polynomial that meets it at Chebyshev's points: 4e-11 off at most, from 0 to infinity.
#[inline(always)]
pub(super) fn tail(x: f64) -> (f64, f64) {
    use super::exponential::Exponential;
    const P: [f64; 15] = [
        0.032_773_080_143_361_714,
        -0.240_102_842_943_900_37,
        0.756_034_036_835_159_39,
        -1.307_521_764_029_081_5,
        1.307_847_230_815_610_1,
        -0.745_251_758_286_211_76,
        0.293_302_929_434_541_56,
        -0.153_085_171_664_756_31,
        -0.019_878_221_334_103_986,
        0.026_584_079_951_843_797,
        0.126_374_752_475_567_53,
        0.222_174_340_116_096_64,
        0.294_063_452_550_370_3,
        0.329_999_994_270_420_03,
        0.330_000_000_012_585_65,
    ];
    let t = 1.0 / (1.0 + 0.33 * x.abs());
    let mut ratio = 0.0;
    for p in P {
        ratio = ratio * t + p;
    }
    let density = (-0.5 * x * x).exp_both().0 * FRAC_1_SQRT_2PI;
    (density * t * ratio, density)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_agrees_with_erfc() {
        let mut worst = [0.0_f64; 2];
        for k in 0..=37_000 {
            let x = f64::from(k) / 1000.0;
            for x in [x, -x] {
                let (tail, dense) = tail(x);
                worst[0] = worst[0].max((tail / cdf(-x.abs()) - 1.0).abs());
                worst[1] = worst[1].max((dense / density(x) - 1.0).abs());
            }
        }
        assert!(worst[0] < 1e-10 && worst[1] < 1e-12, "{worst:?}");
        assert_eq!(tail(f64::INFINITY), (0.0, 0.0));
        assert!(tail(f64::NAN).0.is_nan() && tail(f64::NAN).1.is_nan());
    }
}
