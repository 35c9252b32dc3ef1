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
    // Of even and of odd powers of t, from the highest.
    const EVEN: [f64; 9] = [
        0.011_831_304_649_791_865,
        0.327_114_870_161_991_1,
        0.731_569_994_446_350_2,
        0.278_137_853_294_351_76,
        0.006_705_192_395_187_780_5,
        0.038_569_858_928_218_98,
        0.156_211_436_309_715_5,
        0.250_317_003_616_887_97,
        0.270_000_000_000_052_36,
    ];
    const ODD: [f64; 8] = [
        -0.094_547_412_150_684_9,
        -0.631_231_398_100_993_7,
        -0.528_818_532_355_586_7,
        -0.128_598_679_909_970_04,
        -0.009_514_327_753_536_998,
        0.094_616_152_109_220_35,
        0.210_950_821_706_821_17,
        0.269_999_999_968_488_67,
    ];
    let t = 1.0 / (1.0 + 0.27 * x.abs());
    let density = exponential(-0.5 * x * x) * FRAC_1_SQRT_2PI;
    (density * t * halves(t, EVEN, ODD), density)
}

/// `even(x^2) + x odd(x^2)`: two sums beside each other, for half the time of one that waits for
/// each of its terms.
#[inline(always)]
fn halves<const N: usize, const M: usize>(x: f64, even: [f64; N], odd: [f64; M]) -> f64 {
    let square = x * x;
    let sum = |terms: &[f64]| terms.iter().fold(0.0, |sum, term| sum * square + term);
    sum(&even) + x * sum(&odd)
}

/// `e^x` for `x <= 0`, relatively right to 1e-12, and 0 below the range of normal numbers: as in
/// `exponential.rs`, by Taylor's series of `e^r`, whose first term left out is below 3e-13.
#[inline(always)]
fn exponential(x: f64) -> f64 {
    const LOWEST: f64 = -708.0;
    // Adding it rounds to the nearest integer and leaves that in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const EVEN: [f64; 6] = [1.0 / 3_628_800.0, 1.0 / 40_320.0, 1.0 / 720.0, 1.0 / 24.0, 0.5, 1.0];
    const ODD: [f64; 5] = [1.0 / 362_880.0, 1.0 / 5_040.0, 1.0 / 120.0, 1.0 / 6.0, 1.0];
    let clamped = if x < LOWEST { LOWEST } else { x };
    let shifted = clamped * std::f64::consts::LOG2_E + ROUND;
    let r = clamped - (shifted - ROUND) * std::f64::consts::LN_2;
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    if x < LOWEST { 0.0 } else { power * halves(r, EVEN, ODD) }
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
