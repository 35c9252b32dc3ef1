//! Pictures with labels as tensors, a classifier to compare with, and pictures for reports.

use pc_core::{
    Activation, Clamps, Graph, Reduction, Relaxation, Schedule, Tensor, VertexId,
    host::{Adam, CrossEntropy, HostLayers, HostTensor, Init},
};

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
    let (mut right, mut all) = (0, 0);
    for batch in in_order(images, count)? {
        let batch = batch?;
        let found = classify(&batch.pictures)?;
        right += found.iter().zip(&batch.classes).filter(|(a, b)| a == b).count();
        all += batch.classes.len();
    }
    Ok(100.0 * right as f64 / all.max(1) as f64)
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
