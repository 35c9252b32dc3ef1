//! An exponential without branches, so that loops over activations vectorise.
//!
//! `x = n ln 2 + r` with `|r| <= ln 2 / 2`; `e^r - 1` by its Taylor series, whose first term left
//! out is below half a unit in the last place; then `e^x = 2^n (e^r - 1) + 2^n` and `e^x - 1 = 2^n
//! (e^r - 1) + (2^n - 1)`, neither of which cancels.

/// `e^x` and `e^x - 1` for `x <= 0`; below the range of normal numbers 0 and -1.
pub(crate) trait Exponential: Sized {
    fn exp_both(self) -> (Self, Self);
}

macro_rules! exponential {
    ($scalar:ty, $lowest:expr, $round:expr, $mantissa:expr, $bias:expr, $ln2_high:expr,
    $ln2_low:expr, [$($coefficient:expr),+]) => {
        impl Exponential for $scalar {
            #[inline(always)]
            fn exp_both(self) -> (Self, Self) {
                // Adding 1.5 * 2^mantissa rounds to the nearest integer and leaves it in the lowest
                // bits.
                let clamped = if self < $lowest { $lowest } else { self };
                let shifted = clamped * std::f64::consts::LOG2_E as $scalar + $round;
                let n = shifted - $round;
                let r = (clamped - n * $ln2_high) - n * $ln2_low;
                let mut series: $scalar = 0.0;
                $(series = series * r + $coefficient;)+
                let m1 = series * r;
                let bits = shifted.to_bits().wrapping_add($bias) << $mantissa;
                let power = <$scalar>::from_bits(bits);
                let (exp, exp_m1) = (power * m1 + power, power * m1 + (power - 1.0));
                if self < $lowest { (0.0, -1.0) } else { (exp, exp_m1) }
            }
        }
    };
}

// ln 2 in two parts, the first with so few digits that its product with n is exact.
exponential!(
    f32,
    -87.0,
    12_582_912.0,
    23,
    127,
    0.693_359_4,
    -2.121_944_4e-4,
    [1.0 / 40_320.0, 1.0 / 5_040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0]
);
exponential!(
    f64,
    -708.0,
    6_755_399_441_055_744.0,
    52,
    1023,
    0.693_147_180_369_123_8,
    1.908_214_929_270_587_7e-10,
    [
        1.0 / 87_178_291_200.0,
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0
    ]
);

#[cfg(test)]
mod tests {
    use super::Exponential;

    #[test]
    fn both_agree_with_the_standard_library() {
        let mut worst = [0.0_f64; 4];
        for k in 0..200_000 {
            // From -1e-9 to -700, evenly in the logarithm.
            let x = -(1e-9_f64.ln() + f64::from(k) / 200_000.0 * (700.0 / 1e-9_f64).ln()).exp();
            let (e, m) = x.exp_both();
            worst[0] = worst[0].max((e / x.exp() - 1.0).abs());
            worst[1] = worst[1].max((m / x.exp_m1() - 1.0).abs());
            let single = x as f32;
            if single > -87.0 {
                let (e, m) = single.exp_both();
                worst[2] = worst[2].max((f64::from(e) / f64::from(single).exp() - 1.0).abs());
                worst[3] = worst[3].max((f64::from(m) / f64::from(single).exp_m1() - 1.0).abs());
            }
        }
        assert!(
            worst[0] < 5e-16 && worst[1] < 5e-16 && worst[2] < 2.5e-7 && worst[3] < 2.5e-7,
            "{worst:?}"
        );
    }

    #[test]
    fn the_ends_of_the_range() {
        assert_eq!(0.0_f32.exp_both(), (1.0, 0.0));
        assert_eq!(0.0_f64.exp_both(), (1.0, 0.0));
        assert_eq!(f32::NEG_INFINITY.exp_both(), (0.0, -1.0));
        assert_eq!((-1e300_f64).exp_both(), (0.0, -1.0));
        let (e, m) = f64::NAN.exp_both();
        assert!(e.is_nan() && m.is_nan());
        let (e, m) = f32::NAN.exp_both();
        assert!(e.is_nan() && m.is_nan());
    }
}
