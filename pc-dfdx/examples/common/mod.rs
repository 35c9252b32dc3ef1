//! Handwritten digits (1,797 pictures of 8x8), as both programs load them.

use dfdx::prelude::*;
use smartcore::dataset::digits;

/// Samples in a batch.
pub(crate) const BATCH: usize = 32;

/// A picture and its label.
pub(crate) type Sample = ([f32; 64], usize);

/// What is learned from, and every fifth picture, which is held out.
pub(crate) fn data() -> (Vec<Sample>, Vec<Sample>) {
    let all = digits::load_dataset();
    let samples = all.data.chunks_exact(64).zip(&all.target).map(|(pixels, label)| {
        let mut picture = [0.0; 64];
        picture.iter_mut().zip(pixels).for_each(|(to, from)| *to = from / 16.0);
        (picture, *label as usize)
    });
    let (held_out, training): (Vec<_>, Vec<_>) =
        samples.enumerate().partition(|(index, _)| index % 5 == 4);
    let bare = |all: Vec<(usize, Sample)>| all.into_iter().map(|(_, sample)| sample).collect();
    (bare(training), bare(held_out))
}

/// Pictures, and what they show.
pub(crate) type Batch = (Tensor<Rank2<BATCH, 64>, f32, Cpu>, Tensor<Rank2<BATCH, 10>, f32, Cpu>);

/// The batches of one epoch, in an order that the device draws.
pub(crate) fn batches(device: &Cpu, training: &[Sample]) -> Vec<Batch> {
    let mut order: Vec<(u64, &Sample)> =
        training.iter().map(|sample| (device.random_u64(), sample)).collect();
    order.sort_by_key(|(drawn, _)| *drawn);
    let batch = |samples: &[(u64, &Sample)]| {
        let pixels: Vec<f32> = samples.iter().flat_map(|(_, (picture, _))| *picture).collect();
        let mut labels = vec![0.0; 10 * BATCH];
        samples
            .iter()
            .enumerate()
            .for_each(|(row, (_, (_, label)))| labels[10 * row + label] = 1.0);
        (
            device.tensor_from_vec(pixels, (Const, Const)),
            device.tensor_from_vec(labels, (Const, Const)),
        )
    };
    order.chunks_exact(BATCH).map(batch).collect()
}

/// The share of pictures that a model reads correctly, whose logits these are.
pub(crate) fn accuracy(logits: Vec<f32>, samples: &[Sample]) -> f64 {
    let right = logits.chunks_exact(10).zip(samples).filter(|(logits, (_, label))| {
        logits.iter().enumerate().all(|(k, x)| k == *label || *x < logits[*label])
    });
    right.count() as f64 / samples.len() as f64
}
