//! From a batch of data to clamps.

use pc_core::{
    Clamp, Clamps, Error, ErrorKind, Loss, Result, SquaredError, VertexId,
    host::{CrossEntropy, Element, HostTensor},
};

use serde::{Deserialize, Serialize};

use super::{
    kind::{InputShape, Wanted},
    model::{Layout, Model},
};

/// The inputs of a batch, as the data loaders give them.
#[derive(Clone, Copy, Debug)]
pub enum Features<'a> {
    /// Pictures one after another, each channels, height, width in row-major order.
    Pixels(&'a [f32]),
    /// Sequences one after another, each as long as the model's input.
    Symbols(&'a [usize]),
}

/// What drives the outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputLoss {
    /// Cross-entropy of the softmax of the logits.
    #[default]
    CrossEntropy,
    /// Half the squared distance from the one-hot label.
    SquaredError,
}

/// What a batch holds.
type Held<F> = Clamps<HostTensor<F>>;

/// A batch does not fit the model.
fn mismatch(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Shape, message)
}

impl<F: Element> Model<F> {
    /// How many labels a sample has: one for each row of each output.
    pub fn labels_per_sample(&self) -> usize {
        self.outputs.iter().map(|output| self.rows(*output)).sum()
    }

    /// How many labels an output has for each sample.
    pub(super) fn rows(&self, output: VertexId) -> usize {
        self.graph.shape(output).map_or(0, |shape| shape.iter().product::<usize>() / self.classes)
    }

    /// What is held for a batch of inputs, without labels.
    ///
    /// # Errors
    /// Numbers that are not a whole count of samples; a symbol outside the vocabulary; the wrong
    /// sort of input.
    pub fn feed(&self, features: Features<'_>) -> Result<Clamps<HostTensor<F>>> {
        let samples = self.samples(features)?;
        let [length, width] = self.shape.steps();
        let mut clamps = Clamps::new();
        match self.layout {
            Layout::Steps => {
                let mut steps: Vec<Vec<F>> =
                    (0..length).map(|_| Vec::with_capacity(samples * width)).collect();
                for sample in 0..samples {
                    for (step, row) in steps.iter_mut().enumerate() {
                        self.push_step(features, sample, step, row)?;
                    }
                }
                for (vertex, row) in self.inputs.iter().zip(steps) {
                    clamps = clamps.hold(*vertex, HostTensor::new(&[samples, width], row)?);
                }
            }
            Layout::Flat | Layout::Picture | Layout::Table => {
                let mut all = Vec::with_capacity(samples * length * width);
                match features {
                    Features::Pixels(pixels) if self.layout != Layout::Table => {
                        all.extend(pixels.iter().map(|x| F::of(f64::from(*x))))
                    }
                    _ => {
                        for sample in 0..samples {
                            for step in 0..length {
                                self.push_step(features, sample, step, &mut all)?;
                            }
                        }
                    }
                }
                for vertex in &self.inputs {
                    let shape: Vec<usize> = std::iter::once(samples)
                        .chain(self.graph.shape(*vertex)?.iter().copied())
                        .collect();
                    clamps =
                        clamps.hold(*vertex, HostTensor::new(&shape, std::mem::take(&mut all))?);
                }
            }
        }
        for vertex in &self.zeros {
            let shape: Vec<usize> = std::iter::once(samples)
                .chain(self.graph.shape(*vertex)?.iter().copied())
                .collect();
            clamps = clamps.hold(*vertex, HostTensor::zeroed(&shape)?);
        }
        if let Some(vertex) = self.latent {
            let shape = [&[samples], self.graph.shape(vertex)?].concat();
            clamps = clamps.free(vertex, HostTensor::zeroed(&shape)?);
        }
        Ok(clamps)
    }

    /// The inputs of a batch as one tensor, for backends that hold them so: `[samples, features]`
    /// for what reads rows of numbers, `[samples, channels, height, width]` for what reads
    /// pictures, else `[samples, steps, features]`.
    ///
    /// # Errors
    /// As [`Model::feed`].
    pub fn input(&self, features: Features<'_>) -> Result<HostTensor<F>> {
        let clamps = self.feed(features)?;
        let held = self.inputs.iter().map(|vertex| match clamps.get(*vertex) {
            Some(Clamp::Held(value)) => Ok(value),
            _ => Err(mismatch("an input is not held")),
        });
        one_for_all(held.collect::<Result<Vec<_>>>()?)
    }

    /// What is held, and what drives the outputs, for a batch: inputs held, a loss on every output.
    /// `labels` has [`Model::labels_per_sample`] entries for each sample, one sample after another.
    ///
    /// # Errors
    /// As [`Model::feed`]; labels that do not fit.
    pub fn clamps(
        &self,
        features: Features<'_>,
        labels: &[usize],
        loss: OutputLoss,
    ) -> Result<Clamps<HostTensor<F>>> {
        self.clamps_with(features, labels, |clamps, vertex, target| match loss {
            OutputLoss::CrossEntropy => drive(clamps, vertex, CrossEntropy::new(target)),
            OutputLoss::SquaredError => drive(clamps, vertex, SquaredError::new(target)),
        })
    }

    /// The same, with outputs that are held in another way: `hold` is given each output with what
    /// it is to be: one-hot labels, or the picture.
    ///
    /// # Errors
    /// As [`Model::clamps`].
    pub fn clamps_with(
        &self,
        features: Features<'_>,
        labels: &[usize],
        hold: impl Fn(Held<F>, VertexId, HostTensor<F>) -> Held<F>,
    ) -> Result<Held<F>> {
        let mut clamps = self.feed(features)?;
        for (output, vertex) in self.outputs.iter().enumerate() {
            clamps = hold(clamps, *vertex, self.target(features, output, labels)?);
        }
        Ok(clamps)
    }

    /// What output number `output` is to be for a batch, shaped as it is.
    pub(crate) fn target(
        &self,
        features: Features<'_>,
        output: usize,
        labels: &[usize],
    ) -> Result<HostTensor<F>> {
        let samples = self.samples(features)?;
        let vertex = *self.outputs.get(output).ok_or_else(|| mismatch("no such output"))?;
        match (self.wanted, features) {
            (Wanted::Label, _) => self.one_hot(samples, output, labels),
            (Wanted::Input, Features::Pixels(pixels)) => {
                let shape = [&[samples], self.graph.shape(vertex)?].concat();
                HostTensor::new(&shape, pixels.iter().map(|x| F::of(f64::from(*x))).collect())
            }
            (Wanted::Input, Features::Symbols(_)) => {
                Err(mismatch("the model gives pictures again, not symbols"))
            }
        }
    }

    /// The one-hot labels of output number `output`, shaped as it is.
    fn one_hot(&self, samples: usize, output: usize, labels: &[usize]) -> Result<HostTensor<F>> {
        let all = self.labels_per_sample();
        if labels.len() != samples * all {
            return Err(mismatch(format!(
                "{} labels for {samples} samples with {all} each",
                labels.len()
            )));
        }
        let vertex = self.outputs[output];
        let shape: Vec<usize> =
            std::iter::once(samples).chain(self.graph.shape(vertex)?.iter().copied()).collect();
        let own: Vec<usize> = self.labels_of(output, labels).collect();
        HostTensor::new(&shape, HostTensor::one_hot(&own, self.classes)?.data().to_vec())
    }

    /// The labels of output number `output`, sample by sample.
    pub(super) fn labels_of<'a>(
        &self,
        output: usize,
        labels: &'a [usize],
    ) -> impl Iterator<Item = usize> + use<'a, F> {
        let rows = self.rows(self.outputs[output]);
        let first: usize = self.outputs[..output].iter().map(|before| self.rows(*before)).sum();
        labels
            .chunks(self.labels_per_sample())
            .flat_map(move |labels| labels.iter().skip(first).take(rows).copied())
    }

    /// How many samples these are.
    pub(crate) fn samples(&self, features: Features<'_>) -> Result<usize> {
        let (count, each) = match (features, self.shape) {
            (Features::Pixels(pixels), InputShape::Image(shape)) => {
                (pixels.len(), shape.iter().product::<usize>())
            }
            (Features::Symbols(symbols), InputShape::Sequence { length, .. }) => {
                (symbols.len(), length)
            }
            (Features::Pixels(_), InputShape::Sequence { .. }) => {
                return Err(mismatch("the model reads symbols, not pixels"));
            }
            (Features::Symbols(_), InputShape::Image(_)) => {
                return Err(mismatch("the model reads pixels, not symbols"));
            }
        };
        if count == 0 || each == 0 || count % each != 0 {
            return Err(mismatch(format!(
                "{count} values are no whole number of samples of {each}"
            )));
        }
        Ok(count / each)
    }

    /// Adds one step of one sample to `row`.
    fn push_step(
        &self,
        features: Features<'_>,
        sample: usize,
        step: usize,
        row: &mut Vec<F>,
    ) -> Result<()> {
        match (features, self.shape) {
            (Features::Pixels(pixels), InputShape::Image([channels, height, width])) => {
                for channel in 0..channels {
                    let start = ((sample * channels + channel) * height + step) * width;
                    row.extend(pixels[start..start + width].iter().map(|x| F::of(f64::from(*x))));
                }
            }
            (Features::Symbols(symbols), InputShape::Sequence { length, vocabulary }) => {
                let symbol = symbols[sample * length + step];
                if symbol >= vocabulary {
                    return Err(mismatch(format!(
                        "there is no symbol {symbol}: the vocabulary has {vocabulary}, counted \
                         from 0"
                    )));
                }
                let start = row.len();
                row.resize(start + vocabulary, F::zero());
                row[start + symbol] = F::one();
            }
            _ => return Err(mismatch("the model reads another sort of input")),
        }
        Ok(())
    }
}

/// One tensor of those of all steps, each `[samples, width]`: `[samples, steps, width]`. A single
/// tensor is left as it is.
///
/// # Errors
/// No tensors; tensors of unequal shapes.
pub fn one_for_all<F: Element>(steps: Vec<&HostTensor<F>>) -> Result<HostTensor<F>> {
    let (first, unequal) = match steps.as_slice() {
        [] => return Err(mismatch("there are no tensors to put together")),
        [only] => return Ok((*only).clone()),
        [first, rest @ ..] => (first, rest.iter().any(|other| other.dims() != first.dims())),
    };
    let [samples, width] = *first.dims() else { return Err(mismatch("a step must have rows")) };
    if unequal {
        return Err(mismatch("the steps have unequal shapes"));
    }
    let rows = (0..samples).flat_map(|sample| {
        steps.iter().map(move |step| &step.data()[sample * width..(sample + 1) * width])
    });
    HostTensor::new(&[samples, steps.len(), width], rows.flatten().copied().collect())
}

fn drive<F: Element>(
    clamps: Clamps<HostTensor<F>>,
    vertex: VertexId,
    loss: impl Loss<HostTensor<F>> + 'static,
) -> Clamps<HostTensor<F>> {
    clamps.drive(vertex, loss)
}
