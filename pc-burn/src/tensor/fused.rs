//! The engine's operations in one pass over the numbers, in place, where they lie in this process's
//! memory. Each says whether it did its work.

use pc_core::{backend::StateStep, host::Element};

use super::slices::on_slices;
use crate::BurnTensor;

pub(super) fn fill(y: &mut BurnTensor, value: f64) -> bool {
    on_slices!(change [] overwrite [y] read [] perhaps [], <F> {
        y.fill(F::of(value));
        true
    });
    false
}

pub(super) fn copy(y: &mut BurnTensor, x: &BurnTensor) -> bool {
    on_slices!(change [] overwrite [y] read [x] perhaps [], <F> {
        y.copy_from_slice(x);
        true
    });
    false
}

pub(super) fn axpy(y: &mut BurnTensor, a: f64, x: &BurnTensor) -> bool {
    on_slices!(change [y] overwrite [] read [x] perhaps [], <F> {
        let a = F::of(a);
        y.iter_mut().zip(x).for_each(|(y, x)| *y += a * *x);
        true
    });
    false
}

pub(super) fn scale(y: &mut BurnTensor, a: f64) -> bool {
    on_slices!(change [y] overwrite [] read [] perhaps [], <F> {
        let a = F::of(a);
        y.iter_mut().for_each(|y| *y *= a);
        true
    });
    false
}

pub(super) fn multiply(y: &mut BurnTensor, x: &BurnTensor) -> bool {
    on_slices!(change [y] overwrite [] read [x] perhaps [], <F> {
        y.iter_mut().zip(x).for_each(|(y, x)| *y *= *x);
        true
    });
    false
}

pub(super) fn set_product(y: &mut BurnTensor, a: &BurnTensor, b: &BurnTensor) -> bool {
    on_slices!(change [] overwrite [y] read [a, b] perhaps [], <F> {
        y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y = *a * *b);
        true
    });
    false
}

pub(super) fn add_product(y: &mut BurnTensor, a: &BurnTensor, b: &BurnTensor) -> bool {
    on_slices!(change [y] overwrite [] read [a, b] perhaps [], <F> {
        y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y += *a * *b);
        true
    });
    false
}

pub(super) fn add_to_samples(y: &mut BurnTensor, a: f64, x: &BurnTensor) -> bool {
    on_slices!(change [y] overwrite [] read [x] perhaps [], <F> {
        let a = F::of(a);
        for sample in y.chunks_exact_mut(x.len().max(1)) {
            sample.iter_mut().zip(x).for_each(|(y, x)| *y += a * *x);
        }
        true
    });
    false
}

pub(super) fn add_samples(y: &mut BurnTensor, a: f64, x: &BurnTensor) -> bool {
    on_slices!(change [y] overwrite [] read [x] perhaps [], <F> {
        let a = F::of(a);
        for sample in x.chunks_exact(y.len().max(1)) {
            y.iter_mut().zip(sample).for_each(|(y, x)| *y += a * *x);
        }
        true
    });
    false
}

pub(super) fn dot(x: &BurnTensor, y: &BurnTensor) -> Option<f64> {
    on_slices!(change [] overwrite [] read [x, y] perhaps [], <F> Some(sum_of(x, y, |x, y| x * y)));
    None
}

pub(super) fn is_finite(x: &BurnTensor) -> Option<bool> {
    // 0 x is 0 for finite x and NaN else; the sum vectorises, where a search would not.
    on_slices!(change [] overwrite [] read [x] perhaps [], <F> Some(sum_of(x, x, |x,
    _| x * F::of(0.0)) == 0.0));
    None
}

pub(super) fn set_error(
    y: &mut BurnTensor,
    residual: Option<&BurnTensor>,
    displacement: Option<&BurnTensor>,
    change: Option<&BurnTensor>,
) -> bool {
    on_slices!(change [] overwrite [y] read [] perhaps [residual, displacement, change], <F> {
        match (residual, displacement, change) {
            (Some(r), Some(d), Some(c)) => y.iter_mut().zip(r.iter().zip(d).zip(c)).for_each(|(y,
            ((r, d), c))| *y = *r + (*d - *c)),
            (Some(a), Some(b), None) => y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a,
            b))| *y = *a + *b),
            (Some(a), None, Some(b)) | (None, Some(a),
            Some(b)) => y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y = *a - *b),
            (Some(only), None, None) | (None, Some(only), None) => y.copy_from_slice(only),
            (None, None, Some(c)) => y.iter_mut().zip(c).for_each(|(y, c)| *y = -*c),
            (None, None, None) => y.fill(F::of(0.0)),
        }
        true
    });
    false
}

/// Moves a state, or gives the step back.
pub(super) fn step_state(step: StateStep<'_, BurnTensor>) -> Result<(), StateStep<'_, BurnTensor>> {
    let mut step = step;
    if moved(&mut step) { Ok(()) } else { Err(step) }
}

fn moved(step: &mut StateStep<'_, BurnTensor>) -> bool {
    let StateStep { displacement, value, reference, error, precision, force, rate, velocity } =
        step;
    let (error, force) = (*error, *force);
    let (displacement, value, reference) = (&mut **displacement, &mut **value, *reference);
    if let Some((velocity, momentum)) = velocity {
        let velocity = &mut **velocity;
        on_slices!(change [displacement,
        velocity] overwrite [value] read [reference] perhaps [error, force], <F> {
            let states = displacement.iter_mut().zip(value).zip(reference);
            accelerate::<F>(velocity, *momentum, *precision, error, force);
            let rate = F::of(*rate);
            states.zip(velocity).for_each(|(((d, v), r), u)| {
                *d += rate * *u;
                *v = *r + *d;
            });
            true
        });
        return false;
    }
    on_slices!(change [displacement] overwrite [value] read [reference] perhaps [error, force],
    <F> {
        let (rate, precision) = (F::of(*rate), F::of(*precision));
        let states = displacement.iter_mut().zip(value).zip(reference);
        match (error, force) {
            (Some(error), Some(force)) => states.zip(error.iter().zip(force)).for_each(|(((d, v),
            r), (e, f))| {
                *d += rate * (*f - precision * *e);
                *v = *r + *d;
            }),
            (None, Some(force)) => states.zip(force).for_each(|(((d, v), r), f)| {
                *d += rate * *f;
                *v = *r + *d;
            }),
            (Some(error), None) => states.zip(error).for_each(|(((d, v), r), e)| {
                *d -= rate * precision * *e;
                *v = *r + *d;
            }),
            (None, None) => states.for_each(|((d, v), r)| *v = *r + *d),
        }
        true
    });
    false
}

/// `velocity <- momentum * velocity + (force - precision * error)`.
fn accelerate<F: Element>(
    velocity: &mut [F],
    momentum: f64,
    precision: f64,
    error: Option<&[F]>,
    force: Option<&[F]>,
) {
    let (momentum, precision) = (F::of(momentum), F::of(precision));
    match (error, force) {
        (Some(e), Some(f)) => velocity
            .iter_mut()
            .zip(e.iter().zip(f))
            .for_each(|(u, (e, f))| *u = momentum * *u + (*f - precision * *e)),
        (Some(e), None) => {
            velocity.iter_mut().zip(e).for_each(|(u, e)| *u = momentum * *u - precision * *e)
        }
        (None, Some(f)) => velocity.iter_mut().zip(f).for_each(|(u, f)| *u = momentum * *u + *f),
        (None, None) => velocity.iter_mut().for_each(|u| *u *= momentum),
    }
}

/// Moves an error, or gives the velocity back.
pub(super) fn step_error<'v>(
    error: &mut BurnTensor,
    precision: f64,
    force: Option<&BurnTensor>,
    rate: f64,
    velocity: Option<(&'v mut BurnTensor, f64)>,
) -> Result<(), Option<(&'v mut BurnTensor, f64)>> {
    let mut velocity = velocity;
    let moved = match &mut velocity {
        Some((velocity, momentum)) => {
            error_accelerated(error, precision, force, rate, velocity, *momentum)
        }
        None => error_moved(error, precision, force, rate),
    };
    if moved { Ok(()) } else { Err(velocity) }
}

fn error_accelerated(
    error: &mut BurnTensor,
    precision: f64,
    force: Option<&BurnTensor>,
    rate: f64,
    velocity: &mut BurnTensor,
    momentum: f64,
) -> bool {
    on_slices!(change [error, velocity] overwrite [] read [] perhaps [force], <F> {
        accelerate::<F>(velocity, momentum, precision, Some(&*error), force);
        let rate = F::of(rate);
        error.iter_mut().zip(velocity).for_each(|(e, u)| *e += rate * *u);
        true
    });
    false
}

fn error_moved(
    error: &mut BurnTensor,
    precision: f64,
    force: Option<&BurnTensor>,
    rate: f64,
) -> bool {
    on_slices!(change [error] overwrite [] read [] perhaps [force], <F> {
        let (rate, precision) = (F::of(rate), F::of(precision));
        match force {
            Some(force) => error.iter_mut().zip(force).for_each(|(e,
            f)| *e += rate * (*f - precision * *e)),
            None => error.iter_mut().for_each(|e| *e -= rate * precision * *e),
        }
        true
    });
    false
}

pub(super) fn gap_squared(error: &BurnTensor, precision: f64, force: &BurnTensor) -> Option<f64> {
    on_slices!(change [] overwrite [] read [error, force] perhaps [], <F> {
        let precision = F::of(precision);
        Some(sum_of(force, error, |f, e| (f - precision * e) * (f - precision * e)))
    });
    None
}

/// `sum_i term(a_i, b_i)`: short blocks in lanes so that they vectorise, the blocks then added in
/// `f64`, in an order that does not depend on threads.
fn sum_of<F: Element>(a: &[F], b: &[F], term: impl Fn(F, F) -> F) -> f64 {
    const LANES: usize = 16;
    const BLOCK: usize = 256;
    a.chunks(BLOCK).zip(b.chunks(BLOCK)).fold(0.0, |total, (a, b)| {
        let mut lanes = [F::zero(); LANES];
        let ((a_full, a_rest), (b_full, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a_full.iter().zip(b_full) {
            for (lane, (x, y)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                *lane += term(*x, *y);
            }
        }
        let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| term(*x, *y).value()).sum();
        total + rest + lanes.iter().map(|lane| lane.value()).sum::<f64>()
    })
}
