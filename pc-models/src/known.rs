//! What is known of some samples, and what a model makes of it.

use pc_core::{
    Clamps, Error, ErrorKind, Graph, Outcome, Relaxation, Result, Tensor, VertexId,
    backend::GraphTensor,
};

use crate::settled::settled;

/// What is known of a batch of pictures and their labels: one of them, both, or a part. A model
/// infers the rest. This alone tells classifying from generating and from completing.
///
/// # Example
/// ```
/// use pc_models::{Backend, Host, Known};
/// let host = Host::<f32>::new();
/// let picture = host.tensor(&[1, 4], &[0.1, 0.9, 0.0, 0.0])?;
/// let left = host.tensor(&[1, 4], &[1.0, 1.0, 0.0, 0.0])?;
/// let label = host.tensor(&[1, 2], &[0.0, 1.0])?;
/// let classify = Known::picture(picture.clone());
/// let generate = Known::label(label.clone());
/// let complete = Known::part(picture.clone(), left.clone());
/// let complete_as = Known::part(picture, left).and_label(label);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Known<T> {
    picture: Option<T>,
    mask: Option<T>,
    label: Option<T>,
}

impl<T> Known<T> {
    /// Whole pictures.
    pub fn picture(picture: T) -> Self {
        Self { picture: Some(picture), mask: None, label: None }
    }

    /// The part of each picture where the mask is 1; it is 0 elsewhere. What the pictures hold
    /// there says nothing, but has to be finite: 0, say.
    pub fn part(picture: T, mask: T) -> Self {
        Self { picture: Some(picture), mask: Some(mask), label: None }
    }

    /// Labels alone.
    pub fn label(label: T) -> Self {
        Self { picture: None, mask: None, label: Some(label) }
    }

    /// The labels too.
    #[must_use]
    pub fn and_label(self, label: T) -> Self {
        Self { label: Some(label), ..self }
    }
}

impl<T: Tensor> Known<T> {
    /// The clamps that say so.
    pub(crate) fn clamps(&self, picture: VertexId, label: VertexId) -> Clamps<T> {
        let mut clamps = Clamps::new();
        clamps = match (&self.picture, &self.mask) {
            (Some(whole), None) => clamps.hold(picture, whole.clone()),
            (Some(part), Some(mask)) => clamps.mask(picture, part.clone(), mask.clone()),
            (None, _) => clamps,
        };
        match &self.label {
            Some(own) => clamps.hold(label, own.clone()),
            None => clamps,
        }
    }

    /// Whether nothing of a picture is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.picture.is_some() && self.mask.is_none()
    }

    /// Whether there are labels.
    pub(crate) fn is_labelled(&self) -> bool {
        self.label.is_some()
    }

    /// The pictures as far as they are known, with 0 elsewhere. `None` where nothing is known.
    ///
    /// # Errors
    /// A mask of another shape than the pictures.
    pub(crate) fn seen(&self) -> Result<Option<T>> {
        let (Some(picture), mask) = (&self.picture, &self.mask) else { return Ok(None) };
        let mut seen = picture.clone();
        if let Some(mask) = mask {
            let (own, other) = (picture.shape(), mask.shape());
            if own != other {
                return Err(Error::new(
                    ErrorKind::Shape,
                    format!("the mask has the shape {other:?}, the pictures {own:?}"),
                ));
            }
            picture.check_like(mask)?;
            seen.multiply(mask);
        }
        Ok(Some(seen))
    }
}

/// What a model has made of what is known.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// The pictures: known, completed or generated.
    pub picture: T,
    /// The labels: known, or inferred, a number for each class, of which the largest is meant.
    pub label: T,
    /// How the relaxation ended.
    pub outcome: Outcome,
}

impl<T: Tensor> Answer<T> {
    /// The class with the largest number, for each sample.
    pub fn classes(&self) -> Vec<usize> {
        classes(&self.label)
    }
}

/// The class with the largest number, for each sample of a batch of labels, scores or
/// probabilities: the first where several are equal. NaN is never the largest.
pub fn classes<T: Tensor>(label: &T) -> Vec<usize> {
    let (numbers, samples) = (label.to_vec(), label.batch().max(1));
    let best = |row: &[f64]| {
        let mut best = 0;
        for (class, number) in row.iter().enumerate() {
            if *number > row[best] || row[best].is_nan() {
                best = class;
            }
        }
        best
    };
    numbers.chunks((numbers.len() / samples).max(1)).map(best).collect()
}

/// Relaxes, and reads both ends.
///
/// # Errors
/// As [`Relaxation::infer`]; a relaxation that diverged.
pub(crate) fn answer<T: GraphTensor>(
    relaxation: &mut Relaxation<Graph<T>>,
    graph: &mut Graph<T>,
    clamps: &Clamps<T>,
    ends: (VertexId, VertexId),
) -> Result<Answer<T>> {
    let what = relaxation.schedule().to_string();
    let outcome = settled(relaxation.infer(graph, clamps)?, &what)?;
    let of = |vertex| value(relaxation, graph, vertex);
    Ok(Answer { picture: of(ends.0)?, label: of(ends.1)?, outcome })
}

/// The value of a vertex after a relaxation.
///
/// # Errors
/// There was none.
pub(crate) fn value<T: GraphTensor>(
    relaxation: &Relaxation<Graph<T>>,
    graph: &Graph<T>,
    vertex: VertexId,
) -> Result<T> {
    relaxation
        .value(graph, vertex)
        .ok_or_else(|| Error::new(ErrorKind::Misuse, "it has no value yet: nothing was relaxed"))
}

/// The names of a chain's vertices, from the picture up to the label.
///
/// # Errors
/// Fewer than two widths.
pub(crate) fn names(widths: &[usize]) -> Result<Vec<String>> {
    if widths.len() < 2 {
        return Err(Error::new(
            ErrorKind::Graph,
            format!("the widths {widths:?} must go from the picture to the label: two at least"),
        ));
    }
    let name = |k: usize| match k {
        0 => "picture".to_owned(),
        k if k + 1 == widths.len() => "label".to_owned(),
        k => format!("hidden{k}"),
    };
    Ok((0..widths.len()).map(name).collect())
}
