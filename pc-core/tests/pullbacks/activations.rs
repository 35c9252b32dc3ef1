//! Points where a careless formula goes wrong: kinks, ties, saturation, large means, numbers that
//! are none.

use pc_core::{
    Map, Tensor,
    host::{
        Activate, Activation, Element, HostTensor, HostVertex, LayerNorm, MaxPool2d, Probe, Softmax,
    },
};

use crate::harness::relative;

fn row<F: Element>(values: &[f64]) -> HostTensor<F> {
    HostTensor::new(&[1, values.len()], values.iter().map(|x| F::of(*x)).collect()).unwrap()
}

/// The change of a vertex with one parent and no parameters.
fn change<F: Element>(
    vertex: HostVertex<F>,
    reference: HostTensor<F>,
    step: &HostTensor<F>,
) -> Vec<f64> {
    let mut probe = Probe::new(vertex, vec![reference], Vec::new()).unwrap();
    probe.predict().unwrap();
    probe.displace(0, step).unwrap();
    probe.change().unwrap().to_vec()
}

/// The derivatives of an activation at the reference and at the displaced point.
fn slopes<F: Element>(activation: Activation, reference: f64, step: f64) -> [f64; 2] {
    let mut probe = Probe::new(
        Box::new(Activate(activation)) as HostVertex<F>,
        vec![row(&[reference])],
        Vec::new(),
    )
    .unwrap();
    let one = row(&[1.0]);
    probe.predict().unwrap();
    probe.pull(&one, 1.0).unwrap();
    let first = probe.force(0).unwrap().to_vec()[0];
    probe.displace(0, &row(&[step])).unwrap();
    probe.change().unwrap();
    probe.pull(&one, 1.0).unwrap();
    [first, probe.force(0).unwrap().to_vec()[0]]
}

#[test]
fn relu_has_the_slope_0_at_0() {
    for zero in [0.0, -0.0] {
        assert_eq!(slopes::<f64>(Activation::Relu, zero, 0.5), [0.0, 1.0]);
        assert_eq!(slopes::<f32>(Activation::Relu, zero, -0.5), [0.0, 0.0]);
    }
    // Displaced onto the kink.
    assert_eq!(slopes::<f64>(Activation::Relu, 0.5, -0.5), [1.0, 0.0]);
    assert_eq!(slopes::<f64>(Activation::Relu, -0.5, 0.5), [0.0, 0.0]);
    assert_eq!(slopes::<f64>(Activation::LeakyRelu(0.1), 0.0, 0.5), [0.1, 1.0]);
}

/// The difference over both kinks, from every side to every side: where both ends are exact, it is
/// the difference of the ends.
#[test]
fn hard_tanh_between_its_sides() {
    let points = [-3.0, -1.5, -1.0, -0.75, 0.0, 0.5, 1.0, 1.25, 4.0];
    for a in points {
        for x in points {
            let vertex = || Box::new(Activate(Activation::HardTanh));
            let (wide, narrow) = (
                change::<f64>(vertex(), row(&[a]), &row(&[x - a])),
                change::<f32>(vertex(), row(&[a]), &row(&[x - a])),
            );
            let expected = x.clamp(-1.0, 1.0) - a.clamp(-1.0, 1.0);
            assert_eq!((wide[0], narrow[0]), (expected, expected), "from {a} to {x}");
            let slope = |x: f64| if x.abs() < 1.0 { 1.0 } else { 0.0 };
            assert_eq!(slopes::<f64>(Activation::HardTanh, a, x - a), [slope(a), slope(x)]);
            assert_eq!(slopes::<f32>(Activation::HardTanh, a, x - a), [slope(a), slope(x)]);
        }
    }
}

/// Steps that the sum `a + d` rounds away, at the kinks and beside them; and one that jumps far
/// over both.
#[test]
fn hard_tanh_keeps_its_digits_at_its_kinks() {
    let above = f64::from(1.0_f32 + f32::EPSILON);
    let (tiny, over) = (1e-12, f64::from(f32::EPSILON));
    for (a, d, expected) in [
        (1.0, -tiny, -tiny),
        (1.0, tiny, 0.0),
        (0.5, tiny, tiny),
        (above, -tiny, 0.0),
        (above, -2.0 * over, -over),
        (1e8, -2e8, -2.0),
        (3e38, -3e38, -1.0),
    ] {
        for sign in [1.0, -1.0] {
            let found = change::<f32>(
                Box::new(Activate(Activation::HardTanh)),
                row(&[sign * a]),
                &row(&[sign * d]),
            );
            let off = (sign * found[0] - expected).abs();
            assert!(
                off <= 1e-6 * expected.abs(),
                "from {a} by {d}, sign {sign}: {:e}, not {expected:e}",
                found[0]
            );
        }
    }
}

/// A map takes the same functions as the activation that it copies, and hides no NaN.
#[test]
fn maps_far_out_and_at_nans() {
    let softsign = || Map::new("softsign", |x| x / (1.0 + x.abs()), |x| (1.0 + x.abs()).powi(-2));
    for (a, d) in [(100.0, 1.0), (-100.0, 200.0), (0.0, 0.0)] {
        let f = |x: f64| x / (1.0 + x.abs());
        let found = change::<f64>(Box::new(softsign()), row(&[a]), &row(&[d]));
        assert_eq!(found, [f(a + d) - f(a)]);
    }
    let found = change::<f32>(Box::new(softsign()), row(&[1.0]), &row(&[f64::NAN]));
    assert!(found[0].is_nan());
    let mut probe = Probe::<HostTensor<f32>>::new(
        Box::new(Map::new("nowhere", |_| f64::NAN, |_| 0.0)),
        vec![row(&[1.0])],
        Vec::new(),
    )
    .unwrap();
    assert!(probe.predict().unwrap().data()[0].is_nan());
}

/// `tanh(x) = 1 - 2 / (exp(2x) + 1)`: for positive `a` and `d` of order 1 this difference loses
/// nothing.
fn tanh_difference(a: f64, d: f64) -> f64 {
    2.0 / ((2.0 * a).exp() + 1.0) - 2.0 / ((2.0 * (a + d)).exp() + 1.0)
}

fn saturated<F: Element>(tolerance: f64) {
    // The last steps are so long that their sum with `a` holds nothing of it.
    for (a, d) in [
        (40.0, 0.5),
        (40.0, -0.5),
        (10.0, 1.0),
        (10.0, -1.0),
        (5.0, 0.25),
        (40.0, -39.0),
        (5.0, 1e9),
        (3.0, 1e30),
    ] {
        let expected = tanh_difference(a, d);
        for sign in [1.0, -1.0] {
            let found = change::<F>(
                Box::new(Activate(Activation::Tanh)),
                row(&[sign * a]),
                &row(&[sign * d]),
            )[0];
            let off = (sign * found - expected).abs() / expected.abs();
            assert!(
                off <= tolerance,
                "tanh({a} + {d}) - tanh({a}), sign {sign}: {found:e}, not {expected:e}"
            );
        }
    }
    // From one saturated end to the other, and far beyond where exponentials overflow: no NaN.
    for (a, d, expected) in [
        (40.0, -80.0, -2.0),
        (-40.0, 80.0, 2.0),
        (1e4, 1.0, 0.0),
        (1e4, -2e4, -2.0),
        (-1e30, 1.0, 0.0),
    ] {
        let found = change::<F>(Box::new(Activate(Activation::Tanh)), row(&[a]), &row(&[d]))[0];
        assert!(
            (found - expected).abs() <= tolerance,
            "tanh({a} + {d}) - tanh({a}): {found:e}, not {expected:e}"
        );
        for slope in slopes::<F>(Activation::Tanh, a, d) {
            assert!(slope.abs() <= 1e-30, "the slope of tanh near {a} is {slope:e}");
        }
    }
}

#[test]
fn tanh_keeps_its_digits_in_saturation() {
    saturated::<f64>(1e-13);
    saturated::<f32>(4e-6);
}

#[test]
fn activations_far_out_are_finite() {
    let all = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu(0.1),
        Activation::HardTanh,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Gelu,
        Activation::Silu,
        Activation::Softplus,
    ];
    for activation in all {
        for (a, d) in [
            (100.0, 1.0),
            (-100.0, 1.0),
            (100.0, -200.0),
            (-100.0, 200.0),
            (3e4, -1.0),
            (-3e4, 1.0),
            (0.0, 0.0),
        ] {
            let found = change::<f32>(Box::new(Activate(activation)), row(&[a]), &row(&[d]))[0];
            assert!(found.is_finite(), "{activation:?}: the change from {a} by {d} is {found}");
            assert!(
                slopes::<f32>(activation, a, d).iter().all(|slope| slope.is_finite()),
                "{activation:?} at {a} and {d}"
            );
        }
        let found =
            change::<f64>(Box::new(Activate(activation)), row(&[1.0]), &row(&[f64::NAN]))[0];
        let mut probe = Probe::<HostTensor<f64>>::new(
            Box::new(Activate(activation)),
            vec![row(&[f64::NAN])],
            Vec::new(),
        )
        .unwrap();
        assert!(
            found.is_nan() && probe.predict().unwrap().data()[0].is_nan(),
            "{activation:?} hides a NaN"
        );
    }
}

/// A window of equal elements: the first is taken, and the one that rises most is found by its
/// step, which the value is too coarse to show.
#[test]
fn ties_in_a_window() {
    let ties = HostTensor::<f32>::new(&[1, 1, 2, 2], vec![1.0, 1.0, 1.0, 1.0]).unwrap();
    let mut probe = Probe::new(
        Box::new(MaxPool2d { size: 2, stride: 2 }) as HostVertex<f32>,
        vec![ties],
        Vec::new(),
    )
    .unwrap();
    let u = HostTensor::new(&[1, 1, 1, 1], vec![1.0]).unwrap();
    probe.predict().unwrap();
    probe.pull(&u, 1.0).unwrap();
    assert_eq!(probe.force(0).unwrap().data(), [1.0, 0.0, 0.0, 0.0]);
    let step = HostTensor::new(&[1, 1, 2, 2], vec![1e-9, 3e-9, 2e-9, -1.0]).unwrap();
    probe.displace(0, &step).unwrap();
    assert_eq!(probe.change().unwrap().data(), [3e-9]);
    probe.pull(&u, 1.0).unwrap();
    assert_eq!(probe.force(0).unwrap().data(), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn a_window_with_a_nan_gives_nan() {
    for place in 0..4 {
        let mut values = vec![1.0, 2.0, 3.0, -1.0];
        values[place] = f64::NAN;
        let x = HostTensor::new(&[1, 1, 2, 2], values).unwrap();
        let mut probe = Probe::<HostTensor<f64>>::new(
            Box::new(MaxPool2d { size: 2, stride: 1 }),
            vec![x],
            Vec::new(),
        )
        .unwrap();
        assert!(probe.predict().unwrap().data()[0].is_nan());
    }
}

/// Saturated: the winner's share changes by as little as the others' together, and keeps its
/// digits.
#[test]
fn softmax_keeps_its_digits_in_saturation() {
    let (a, d) = ([30.0, 0.0, -1.0], [0.25, 0.5, -0.5]);
    // 1 / (1 + r) with r = sum of exp(a_j - a_0): the winner's change is (r - r') / ((1 + r) (1 +
    // r')).
    let rest =
        |d: [f64; 3]| (1..3).map(|j| (a[j] + d[j] - a[0] - d[0]).exp()).collect::<Vec<f64>>();
    let (before, after) = (rest([0.0; 3]), rest(d));
    let (r, s): (f64, f64) = (before.iter().sum(), after.iter().sum());
    let expected: Vec<f64> = [(r - s) / ((1.0 + r) * (1.0 + s))]
        .into_iter()
        .chain((0..2).map(|j| after[j] / (1.0 + s) - before[j] / (1.0 + r)))
        .collect();
    let wide = change::<f64>(Box::new(Softmax::new()), row(&a), &row(&d));
    let narrow = change::<f32>(Box::new(Softmax::new()), row(&a), &row(&d));
    for j in 0..3 {
        assert!(
            relative(&wide[j..=j], &expected[j..=j]) <= 1e-12,
            "class {j}: {:e}, not {:e}",
            wide[j],
            expected[j]
        );
        assert!(
            relative(&narrow[j..=j], &expected[j..=j]) <= 1e-5,
            "class {j}: {:e}, not {:e}",
            narrow[j],
            expected[j]
        );
    }
}

/// Steps so large that exponentials of them overflow, and shares so small that they underflow.
#[test]
fn softmax_far_out() {
    // From e^-2 of the other's share to e of it, where both lie far from 0.
    let grown = 1.0 / (1.0 + (-1f64).exp()) - 1.0 / (1.0 + 2f64.exp());
    for (a, d, expected) in [
        ([8192.0, 8190.0], [0.0, 3.0], [-grown, grown]),
        ([0.0, -200.0], [0.0, 500.0], [-1.0, 1.0]),
        ([0.0, 1000.0], [0.0, -2000.0], [1.0, -1.0]),
        ([0.0, -150.0], [0.0, 150.0], [-0.5, 0.5]),
        ([0.0, -100.0], [0.0, 30.0], [0.0, 0.0]),
        ([5.0, 5.0], [1e4, 1e4], [0.0, 0.0]),
    ] {
        for found in [
            change::<f64>(Box::new(Softmax::new()), row(&a), &row(&d)),
            change::<f32>(Box::new(Softmax::new()), row(&a), &row(&d)),
        ] {
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= 1e-6,
                    "from {a:?} by {d:?}: {found}, not {expected}"
                );
            }
        }
    }
}

/// A mean a million times the deviation, in f32: exact sums of small whole numbers show what is
/// lost.
#[test]
fn layer_norm_over_a_large_mean() {
    let offsets = [-3.0, -1.0, 1.0, 3.0];
    let x: Vec<f64> = offsets.iter().map(|x| 1e6 + x).collect();
    let parameters = || {
        vec![HostTensor::new(&[4], vec![1.0_f32; 4]).unwrap(), HostTensor::zeroed(&[4]).unwrap()]
    };
    let mut probe = Probe::new(
        Box::new(LayerNorm { epsilon: 0.0 }) as HostVertex<f32>,
        vec![row(&x)],
        parameters(),
    )
    .unwrap();
    let expected: Vec<f64> = offsets.iter().map(|x| x / 5_f64.sqrt()).collect();
    assert!(relative(&probe.predict().unwrap().to_vec(), &expected) <= 1e-6);
}

/// A step that is short beside the value, and longer than 1: the difference of the ends would have
/// the digits that the ends have.
#[test]
fn silu_keeps_its_digits_far_out() {
    for (a, d) in [(1e8, 1.125), (1e8, -1.125), (1e6, 5.0)] {
        let found = change::<f32>(Box::new(Activate(Activation::Silu)), row(&[a]), &row(&[d]))[0];
        assert!((found - d).abs() <= 1e-6 * d.abs(), "from {a} by {d}: {found:e}");
    }
}

/// Gelu, silu and softplus over their whole range, with steps from far below what `a + d` keeps in
/// `f32` up to long ones, beside the same in `f64`; relative to the difference itself, or to the
/// step where the activation hardly moves.
#[test]
fn smooth_activations_keep_their_digits_in_f32() {
    // Below it f32 has no whole significand.
    const SMALLEST: f64 = 1.2e-38;
    // The smallest slope that is asked for: gelu and silu turn near -0.75 and -1.28.
    let turning = |a: f64, d: f64| {
        let near = |x: f64| (-2.0..-0.5).contains(&x);
        if near(a) || near(a + d) { 0.02 } else { 0.0 }
    };
    for activation in [Activation::Gelu, Activation::Silu, Activation::Softplus] {
        let (mut worst, mut at) = ([0.0_f64; 3], (0.0, 0.0));
        for k in -240..=240 {
            let a = f64::from((f64::from(k) / 20.0 + 0.013) as f32);
            let sizes =
                [1e-12, 1e-6, 1e-3, 4e-3, 1.3e-2, 0.05, 0.3, 0.68, 0.7, 0.99, 1.01, 3.0, 9.0];
            let steps = sizes.iter().flat_map(|d| [f64::from(*d as f32), -f64::from(*d as f32)]);
            let steps: Vec<f64> = steps.collect();
            let vertex = || Box::new(Activate(activation));
            let many = vec![a; steps.len()];
            let narrow = change::<f32>(vertex(), row(&many), &row(&steps));
            let wide = change::<f64>(vertex(), row(&many), &row(&steps));
            for ((found, wanted), d) in narrow.iter().zip(&wide).zip(&steps) {
                // How far the activation moves at all, near where it turns.
                let size = wanted.abs().max(turning(a, *d) * d.abs()).max(SMALLEST);
                let off = (found - wanted).abs() / size;
                if !(off <= worst[0]) {
                    (worst[0], at) = (off, (a, *d));
                }
                let slopes = [slopes::<f32>(activation, a, *d), slopes::<f64>(activation, a, *d)];
                for (narrow, wide) in slopes[0].iter().zip(slopes[1]) {
                    let off = (narrow - wide).abs() / wide.abs().max(turning(a, *d)).max(SMALLEST);
                    worst[1] = if off <= worst[1] { worst[1] } else { off };
                }
            }
            let value = |probe: Vec<f64>| probe[0];
            let narrow = Probe::<HostTensor<f32>>::new(vertex(), vec![row(&[a])], vec![]);
            let wide = Probe::<HostTensor<f64>>::new(vertex(), vec![row(&[a])], vec![]);
            let narrow = value(narrow.unwrap().predict().unwrap().to_vec());
            let wide = value(wide.unwrap().predict().unwrap().to_vec());
            let off = (narrow - wide).abs() / wide.abs();
            worst[2] = if off <= worst[2] { worst[2] } else { off };
        }
        println!("{activation:?}: {worst:?} at {at:?}");
        assert!(worst.iter().all(|off| *off <= 4e-6), "{activation:?}: {worst:?} at {at:?}");
    }
}

/// Softplus in `f64` beside the standard library's logarithm of the same sum.
#[test]
fn softplus_keeps_its_digits_in_f64() {
    for k in -700..=700 {
        let a = f64::from(k) / 20.0 + 0.013;
        for size in [1e-12, 1e-3, 0.3, 0.68, 0.7, 2.0] {
            for d in [size, -size] {
                let found =
                    change::<f64>(Box::new(Activate(Activation::Softplus)), row(&[a]), &row(&[d]))
                        [0];
                let sigmoid =
                    if a < 0.0 { a.exp() / (1.0 + a.exp()) } else { 1.0 / (1.0 + (-a).exp()) };
                let wanted = (sigmoid * d.exp_m1()).ln_1p();
                let off = (found / wanted - 1.0).abs();
                assert!(
                    off <= 1e-14 * (1.0 + a.abs()),
                    "from {a} by {d}: {found:e}, not {wanted:e}"
                );
            }
        }
    }
}
