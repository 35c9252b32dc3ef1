//! Cases for the tensor operations themselves.

use crate::{
    Result,
    conformance::{Backend, Case, Verdict, worse},
    tensor::{StateStep, Tensor},
};

const SHAPE: [usize; 2] = [3, 5];

fn list(phase: f64) -> Vec<f64> {
    (0..15).map(|k| f64::from(((phase + 1.3 * f64::from(k)).sin()) as f32)).collect()
}

/// Each operation, and each fused one, against plain loops.
pub(super) fn cases<B: Backend>(backend: &B) -> Vec<Case> {
    let run = |name: &str, work: &dyn Fn() -> Result<f64>| Case {
        name: format!("tensor: {name}"),
        verdict: match work() {
            Ok(worst) if worst <= backend.tolerance() => Verdict::Passed(worst),
            Ok(worst) => Verdict::Failed(format!("off by {worst:.1e}")),
            Err(error) => Verdict::Failed(error.to_string()),
        },
    };
    let make = |phase: f64| backend.tensor(&SHAPE, &list(phase));
    let off = |found: &B::Tensor, expected: &dyn Fn(usize) -> f64| {
        let found = found.to_vec();
        let distances = found.iter().enumerate().map(|(k, x)| (x - expected(k)).abs());
        let worst = distances.fold(0.0, worse);
        if found.len() == 15 { worst } else { f64::NAN }
    };
    let (a, b, c, d) = (list(0.1), list(0.2), list(0.3), list(0.4));
    vec![
        run("round trip and shape", &|| {
            let x = make(0.1)?;
            let shaped = x.shape() == SHAPE
                && x.has_shape(&SHAPE)
                && !x.has_shape(&[5, 3])
                && x.has_batch_shape(3, &[5])
                && x.batch() == 3;
            Ok(if shaped { off(&x, &|k| a[k]) } else { f64::NAN })
        }),
        run("a clone is a copy", &|| {
            let x = make(0.1)?;
            let mut y = x.clone();
            y.fill(2.0);
            Ok(worse(off(&x, &|k| a[k]), off(&y, &|_| 2.0)))
        }),
        run("axpy, scale, multiply", &|| {
            let mut x = make(0.1)?;
            x.axpy(-0.5, &make(0.2)?);
            x.scale(3.0);
            x.multiply(&make(0.3)?);
            Ok(off(&x, &|k| (a[k] - 0.5 * b[k]) * 3.0 * c[k]))
        }),
        run("sum and difference", &|| {
            let mut x = make(0.4)?;
            x.set_difference(&make(0.1)?, &make(0.2)?);
            let first = off(&x, &|k| a[k] - b[k]);
            x.set_sum(&make(0.1)?, &make(0.2)?);
            Ok(worse(first, off(&x, &|k| a[k] + b[k])))
        }),
        run("dot and norm", &|| {
            let (x, y) = (make(0.1)?, make(0.2)?);
            let dot: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            let norm: f64 = a.iter().map(|a| a * a).sum();
            Ok(worse((x.dot(&y) - dot).abs(), (x.norm_squared() - norm).abs()))
        }),
        run("finite or not", &|| {
            let mut values = list(0.1);
            let finite = backend.tensor(&SHAPE, &values)?.is_finite();
            values[7] = f64::NAN;
            let nan = backend.tensor(&SHAPE, &values)?.is_finite();
            values[7] = f64::INFINITY;
            let infinite = backend.tensor(&SHAPE, &values)?.is_finite();
            Ok(if finite && !nan && !infinite { 0.0 } else { f64::NAN })
        }),
        run("numbers in, and sample by sample", &|| {
            let mut x = make(0.1)?;
            x.assign(&b);
            let assigned = off(&x, &|k| b[k]);
            let (mut y, z) = (make(0.3)?, make(0.4)?);
            B::Tensor::by_rows(&[&x, &z], &mut [&mut y], &mut |inputs, outputs| {
                let first = inputs[0][0];
                for (k, y) in outputs[0].iter_mut().enumerate() {
                    *y = 2.0 * *y + first * inputs[1][k];
                }
            });
            let rows = off(&y, &|k| 2.0 * c[k] + b[5 * (k / 5)] * d[k]);
            x.assign(&b[1..]);
            let short = x.to_vec().iter().all(|x| x.is_nan());
            Ok(if short { worse(assigned, rows) } else { f64::NAN })
        }),
        run("normal draws repeat with their stream", &|| {
            let mut draws = Vec::new();
            for stream in [5, 5, 6] {
                let mut x = make(0.1)?.zeros(&[20, 100]);
                x.add_normal(2.0, stream);
                draws.push(x.to_vec());
            }
            let deviation = (draws[0].iter().map(|x| x * x).sum::<f64>() / 2000.0).sqrt();
            Ok(if draws[0] == draws[1] && draws[0] != draws[2] && (deviation - 2.0).abs() < 0.2 {
                0.0
            } else {
                f64::NAN
            })
        }),
        run("set_error in all its forms", &|| {
            let (r, d, f) = (make(0.1)?, make(0.2)?, make(0.3)?);
            let mut worst = 0.0_f64;
            for bits in 0..8 {
                let (with_r, with_d, with_f) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                let mut x = make(0.4)?;
                x.set_error(with_r.then_some(&r), with_d.then_some(&d), with_f.then_some(&f));
                let term = |with: bool, x: f64| if with { x } else { 0.0 };
                let sum = |k: usize| term(with_r, a[k]) + term(with_d, b[k]) - term(with_f, c[k]);
                worst = worse(worst, off(&x, &sum));
            }
            Ok(worst)
        }),
        run("step_state in all its forms", &|| {
            let mut worst = 0.0_f64;
            for bits in 0..8 {
                let (with_e, with_f, with_u) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                let (mut displacement, mut value, mut velocity) =
                    (make(0.1)?, make(0.4)?, make(0.4)?);
                let (reference, error, force) = (make(0.2)?, make(0.3)?, make(0.4)?);
                B::Tensor::step_state(StateStep {
                    displacement: &mut displacement,
                    value: &mut value,
                    reference: &reference,
                    error: with_e.then_some(&error),
                    precision: 0.7,
                    force: with_f.then_some(&force),
                    rate: 0.2,
                    velocity: with_u.then_some((&mut velocity, 0.9)),
                });
                if !(with_e || with_f || with_u) {
                    continue;
                }
                let step = |k: usize| {
                    let g = if with_f { d[k] } else { 0.0 } - if with_e { 0.7 * c[k] } else { 0.0 };
                    g + if with_u { 0.9 * d[k] } else { 0.0 }
                };
                worst = worse(worst, off(&displacement, &|k| a[k] + 0.2 * step(k)));
                worst = worse(worst, off(&value, &|k| b[k] + a[k] + 0.2 * step(k)));
                if with_u {
                    worst = worse(worst, off(&velocity, &step));
                }
            }
            Ok(worst)
        }),
        run("step_error in all its forms", &|| {
            let mut worst = 0.0_f64;
            for bits in 0..4 {
                let (with_f, with_u) = (bits & 1 != 0, bits & 2 != 0);
                let (mut error, mut velocity, force) = (make(0.1)?, make(0.2)?, make(0.3)?);
                B::Tensor::step_error(
                    &mut error,
                    0.7,
                    with_f.then_some(&force),
                    0.2,
                    with_u.then_some((&mut velocity, 0.9)),
                );
                let step = |k: usize| {
                    let g = if with_f { c[k] } else { 0.0 } - 0.7 * a[k];
                    g + if with_u { 0.9 * b[k] } else { 0.0 }
                };
                worst = worse(worst, off(&error, &|k| a[k] + 0.2 * step(k)));
                if with_u {
                    worst = worse(worst, off(&velocity, &step));
                }
            }
            Ok(worst)
        }),
        run("gap_squared", &|| {
            let (error, force) = (make(0.1)?, make(0.2)?);
            let expected: f64 = a.iter().zip(&b).map(|(e, f)| (f - 0.7 * e).powi(2)).sum();
            let both = B::Tensor::gap_squared(Some(&error), 0.7, Some(&force)) - expected;
            let none = B::Tensor::gap_squared(None, 0.7, None);
            Ok(worse(both.abs(), none.abs()))
        }),
    ]
}
