//! Pictures with labels as tensors, a classifier to compare with, and pictures for reports.

use pc_core::{
    Activation, Clamps, Graph, Reduction, Relaxation, Schedule, Tensor, VertexId,
    host::{Adam, CrossEntropy, HostLayers, HostTensor, Init},
};

use pc_models::{Answer, Known};

use super::Picture;
use crate::{
    data::{Batches, Images},
    error::CommandError,
};

pub(super) type T = HostTensor<f32>;

/// A batch: pictures flat, and labels as they are and one-hot.
#[derive(Clone, Debug)]
pub(super) struct Labelled {
    pub(super) pictures: T,
    pub(super) classes: Vec<usize>,
    pub(super) labels: T,
}

/// These pictures of a set.
pub(super) fn gather(images: &Images, indices: &[usize]) -> Result<Labelled, CommandError> {
    let (mut pixels, mut classes) = (Vec::new(), Vec::new());
    images.gather(indices, &mut pixels, &mut classes)?;
    Ok(Labelled {
        pictures: T::new(&[classes.len(), images.features()], pixels)?,
        labels: T::one_hot(&classes, images.classes)?,
        classes,
    })
}

/// The batches of one epoch over the first `count` pictures.
pub(super) fn epoch(
    images: &Images,
    count: usize,
    batch: usize,
    (seed, epoch): (u64, usize),
) -> Result<impl Iterator<Item = Result<Labelled, CommandError>>, CommandError> {
    let order = Batches::new(count.min(images.len()), batch, seed, epoch as u64)?;
    Ok(order.map(move |indices| gather(images, &indices)))
}

/// The first `count` pictures in batches of 500.
pub(super) fn in_order(
    images: &Images,
    count: usize,
) -> Result<impl Iterator<Item = Result<Labelled, CommandError>>, CommandError> {
    let order = Batches::in_order(count.min(images.len()), 500)?;
    Ok(order.map(move |indices| gather(images, &indices)))
}

/// In percent, how many of the first `count` pictures `classify` names rightly.
pub(super) fn accuracy(
    images: &Images,
    count: usize,
    mut classify: impl FnMut(&T) -> Result<Vec<usize>, CommandError>,
) -> Result<f64, CommandError> {
    let (mut found, mut wanted) = (Vec::new(), Vec::new());
    for batch in in_order(images, count)? {
        let batch = batch?;
        found.extend(classify(&batch.pictures)?);
        wanted.extend(batch.classes);
    }
    Ok(share(&found, &wanted))
}

/// What a model makes of a part of each picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half {
    /// In percent, how many it names rightly.
    pub(super) right: f64,
    /// The mean square error of what was missing.
    pub(super) apart: f64,
}

impl Half {
    /// Asks about the part of the first `count` pictures where the mask is 1.
    pub(super) fn asked(
        images: &Images,
        count: usize,
        mask: &[f32],
        mut ask: impl FnMut(&Known<T>) -> Result<Answer<T>, CommandError>,
    ) -> Result<Self, CommandError> {
        let (mut right, mut all, mut squares) = (0.0, 0, 0.0);
        for batch in in_order(images, count)? {
            let batch = batch?;
            let size = batch.classes.len();
            let answer = ask(&Known::part(batch.pictures.clone(), repeated(mask, size)?))?;
            right += share(&answer.classes(), &batch.classes) * size as f64;
            all += size;
            let pairs = answer.picture.data().iter().zip(batch.pictures.data());
            squares += pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        }
        let missing = mask.iter().filter(|m| **m == 0.0).count() * all;
        Ok(Self { right: right / all.max(1) as f64, apart: squares / missing.max(1) as f64 })
    }
}

/// In percent, how many of these are as they should be.
pub(super) fn share(found: &[usize], wanted: &[usize]) -> f64 {
    let right = found.iter().zip(wanted).filter(|(a, b)| a == b).count();
    100.0 * right as f64 / wanted.len().max(1) as f64
}

/// Pictures with the rest of them black.
pub(super) fn blackened(pictures: &T, mask: &[f32]) -> T {
    let mut seen = pictures.clone();
    let rows = seen.data_mut().chunks_mut(mask.len().max(1));
    rows.for_each(|row| row.iter_mut().zip(mask).for_each(|(x, m)| *x *= m));
    seen
}

/// One picture of each class, the first there is.
pub(super) fn one_of_each(images: &Images) -> Result<Labelled, CommandError> {
    let of = |class| images.labels.iter().position(|label| *label == class);
    gather(images, &(0..images.classes).filter_map(of).collect::<Vec<_>>())
}

/// A mask as long as a picture: 1 in the lower half.
pub(super) fn lower_half([channels, height, width]: [usize; 3]) -> Vec<f32> {
    let row = |y: usize| if 2 * y >= height { 1.0 } else { 0.0 };
    (0..channels * height * width).map(|k| row(k / width % height)).collect()
}

/// The same for each of `count` pictures.
pub(super) fn repeated(row: &[f32], count: usize) -> Result<T, CommandError> {
    Ok(T::new(&[count, row.len()], row.repeat(count))?)
}

/// Pictures for a report.
pub(super) fn drawn(shape: [usize; 3], pictures: &T) -> Result<Vec<Picture>, CommandError> {
    let numbers = pictures.to_vec();
    let each = shape.iter().product::<usize>().max(1);
    numbers.chunks(each).map(|own| Picture::new(shape, own)).collect()
}

/// Pictures with the rest of them grey.
pub(super) fn drawn_part(
    shape: [usize; 3],
    pictures: &T,
    mask: &[f32],
) -> Result<Vec<Picture>, CommandError> {
    let rows = pictures.data().chunks(mask.len().max(1)).flat_map(|own| own.iter().zip(mask));
    let seen = rows.map(|(x, m)| f64::from(m * x + (1.0 - m) * 0.5)).collect::<Vec<_>>();
    let each = mask.len().max(1);
    seen.chunks(each).map(|own| Picture::new(shape, own)).collect()
}

/// A classifier by backprop and cross-entropy, of relus, to compare with.
pub(super) struct Classifier {
    graph: Graph<T>,
    ends: (VertexId, VertexId),
}

impl Classifier {
    /// Learns from the first `count` pictures, with Adam at 1e-3.
    pub(super) fn trained(
        images: &Images,
        count: usize,
        hidden: &[usize],
        (batch, epochs, seed): (usize, usize, u64),
    ) -> Result<Self, CommandError> {
        let (mut b, mut init) = (Graph::<T>::builder(), Init::new(seed));
        let picture = b.input("picture", &[images.features()])?;
        let mut below = picture;
        for (k, width) in hidden.iter().enumerate() {
            let name = format!("hidden{}", k + 1);
            below = b.dense(&name, below, *width, Activation::Relu, &mut init)?;
        }
        let label = b.dense("label", below, images.classes, Activation::Identity, &mut init)?;
        let mut graph = b.build()?;
        let schedule = Schedule::backprop().reduced_by(Reduction::Mean);
        let mut rule = Relaxation::new(&graph, schedule)?;
        let mut adam = Adam::new(1e-3)?;
        for k in 0..epochs {
            for batch in epoch(images, count, batch, (seed, k))? {
                let batch = batch?;
                let loss = CrossEntropy::labels(&batch.classes, images.classes)?;
                let clamps = Clamps::new().hold(picture, batch.pictures).drive(label, loss);
                rule.train(&mut graph, &clamps, |graph, gradients| {
                    adam.step(graph.parameters_mut(), gradients)
                })?;
            }
        }
        Ok(Self { graph, ends: (picture, label) })
    }

    /// The classes of pictures.
    pub(super) fn classify(&mut self, pictures: &T) -> Result<Vec<usize>, CommandError> {
        let scores = self.graph.predict(&[(self.ends.0, pictures)], self.ends.1)?;
        Ok(pc_models::classes(&scores))
    }
}
