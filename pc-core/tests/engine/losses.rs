//! Cross-entropy where logits are large, and where one class has nearly all of the probability.

use pc_core::{
    Loss, Tensor,
    host::{CrossEntropy, Element, HostTensor},
};

/// The value and the drive for one sample.
fn evaluate<F: Element>(logits: &[f64], target: &[f64]) -> (f64, Vec<f64>) {
    let shape = [1, logits.len()];
    let tensor = |numbers: &[f64]| {
        HostTensor::new(&shape, numbers.iter().map(|x| F::of(*x)).collect()).unwrap()
    };
    let mut drive = HostTensor::zeroed(&shape).unwrap();
    let value = CrossEntropy::new(tensor(target)).evaluate(&tensor(logits), &mut drive).unwrap();
    (value, drive.to_vec())
}

/// All numbers here are such that `f32` holds them, so that both precisions have the same truth.
fn check<F: Element>(digits: f64) {
    let near = |what: &str, found: f64, truth: f64, scale: f64| {
        assert!((found - truth).abs() <= scale * truth.abs(), "{what}: {found:e}, not {truth:e}");
    };
    // log(1 + e^-1) and its like, whatever all logits are moved by.
    let (low, high) = (0.313_261_687_518_222_8, 1.313_261_687_518_222_8);
    for shift in [0.0, 1e4, -1e4, 1e6] {
        let logits = [shift, shift + 1.0];
        let (value, drive) = evaluate::<F>(&logits, &[0.0, 1.0]);
        near("the likely class", value, low, 1e-15);
        near("its drive", drive[1], 0.268_941_421_369_995_1, digits);
        near("the other's", drive[0], -0.268_941_421_369_995_1, digits);
        near("the unlikely class", evaluate::<F>(&logits, &[1.0, 0.0]).0, high, 1e-15);
        near("both", evaluate::<F>(&logits, &[0.5, 0.5]).0, 0.5 * (low + high), 1e-15);
    }
    // Nearly certain: the value is e^-40, not 0.
    let sure = 4.248_354_255_291_589e-18;
    near("a sure class", evaluate::<F>(&[1e4, 1e4 + 40.0], &[0.0, 1.0]).0, sure, 1e-14);
    // As far apart as numbers get, without overflow.
    let (value, drive) = evaluate::<F>(&[1e30, 0.0, -1e30], &[0.0, 1.0, 0.0]);
    near("far apart", value, F::of(1e30).value(), 1e-15);
    assert_eq!(drive, [-1.0, 1.0, 0.0]);
}

#[test]
fn cross_entropy_in_f32() {
    check::<f32>(1e-7);
}

#[test]
fn cross_entropy_in_f64() {
    check::<f64>(1e-15);
}

/// A sample of NaN gives NaN, and does not pass as some number.
#[test]
fn cross_entropy_of_nan() {
    for place in 0..3 {
        let mut logits = [0.5, 1.0, -2.0];
        logits[place] = f64::NAN;
        let (value, drive) = evaluate::<f64>(&logits, &[0.0, 1.0, 0.0]);
        assert!(value.is_nan() && drive.iter().all(|d| d.is_nan()), "{place}");
    }
}
