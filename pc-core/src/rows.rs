//! Numbers of tensors, sample by sample, for what is written once for all backends.

use std::cell::RefCell;

use crate::tensor::RowJob;

/// What copies row `row` of tensor `k` to the numbers it is given or, with `true`, back.
type Exchange<'a> = dyn FnMut(usize, usize, &mut [f64], bool) + 'a;

/// The most inputs, and the most outputs, that are lent without a list made for the call.
pub(crate) const FEW: usize = 8;

thread_local! {
    /// The numbers of one sample; kept, so that a warm call allocates nothing.
    static NUMBERS: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// [`crate::Tensor::by_rows`] for tensors whose numbers lie in memory: `read` copies row `row` of
/// input `k` to where it is told, `exchange` copies a row of output `k` there, or (with `true`)
/// back.
pub(crate) fn in_place(
    batch: usize,
    inputs: &[usize],
    outputs: &[usize],
    read: &mut dyn FnMut(usize, usize, &mut [f64]),
    exchange: &mut Exchange<'_>,
    job: &mut RowJob<'_>,
) {
    let total: usize = inputs.iter().chain(outputs).sum();
    // Taken out, so that a job may come here again.
    let mut numbers = NUMBERS.with(RefCell::take);
    numbers.resize(total, 0.0);
    for row in 0..batch {
        let mut rest = &mut numbers[..];
        for (k, length) in inputs.iter().enumerate() {
            let (own, others) = rest.split_at_mut(*length);
            read(k, row, own);
            rest = others;
        }
        for (k, length) in outputs.iter().enumerate() {
            let (own, others) = rest.split_at_mut(*length);
            exchange(k, row, own, false);
            rest = others;
        }
        let (front, back) = numbers.split_at_mut(inputs.iter().sum());
        lend(front, inputs, back, outputs, job);
        let mut rest = back;
        for (k, length) in outputs.iter().enumerate() {
            let (own, others) = rest.split_at_mut(*length);
            exchange(k, row, own, true);
            rest = others;
        }
    }
    NUMBERS.with(|kept| *kept.borrow_mut() = numbers);
}

/// Cuts the numbers into slices of these lengths, at most [`FEW`], and calls the job.
fn lend(
    front: &[f64],
    inputs: &[usize],
    back: &mut [f64],
    outputs: &[usize],
    job: &mut RowJob<'_>,
) {
    let mut read: [&[f64]; FEW] = [&[]; FEW];
    let mut written: [&mut [f64]; FEW] = [(); FEW].map(|()| &mut [][..]);
    let mut rest = front;
    for (slot, length) in read.iter_mut().zip(inputs) {
        (*slot, rest) = rest.split_at(*length);
    }
    let mut rest = back;
    for (slot, length) in written.iter_mut().zip(outputs) {
        let (own, others) = rest.split_at_mut(*length);
        *slot = own;
        rest = others;
    }
    job(&read[..inputs.len()], &mut written[..outputs.len()]);
}
