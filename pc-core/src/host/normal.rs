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

/// The tail `Phi(-|x|)` and the density at `x`, both relatively right to 1e-11, without branches:
/// enough for results in `f32`, and loops over it vectorise.
///
/// The tail over the density is Mills' ratio `M(z)`, here `t P(t)` with `t = 1 / (1 + 0.27 z)` and
/// a polynomial that meets it at Chebyshev's points: 2e-12 off at most, from 0 to infinity.
#[inline(always)]
pub(super) fn tail(x: f64) -> (f64, f64) {
    use super::exponential::Exponential;
    const P: [f64; 17] = [
        0.011_831_304_649_791_865,
        -0.094_547_412_150_684_9,
        0.327_114_870_161_991_1,
        -0.631_231_398_100_993_7,
        0.731_569_994_446_350_2,
        -0.528_818_532_355_586_7,
        0.278_137_853_294_351_76,
        -0.128_598_679_909_970_04,
        0.006_705_192_395_187_780_5,
        -0.009_514_327_753_536_998,
        0.038_569_858_928_218_98,
        0.094_616_152_109_220_35,
        0.156_211_436_309_715_5,
        0.210_950_821_706_821_17,
        0.250_317_003_616_887_97,
        0.269_999_999_968_488_67,
        0.270_000_000_000_052_36,
    ];
    let t = 1.0 / (1.0 + 0.27 * x.abs());
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
        assert!(worst[0] < 1e-11 && worst[1] < 1e-12, "{worst:?}");
        assert_eq!(tail(f64::INFINITY), (0.0, 0.0));
        assert!(tail(f64::NAN).0.is_nan() && tail(f64::NAN).1.is_nan());
    }
}
