//! Normalisation: over the last axis of each sample, or over the batch.

use burn::nn::BatchNorm as Module;
use pc_core::{Result, Tensor, backend::Vertex};

use super::{
    At, Kept, Pulls,
    ops::{accumulate, weighed},
    parts::{graph, shape, single},
    running,
};
use crate::BurnTensor;

/// `mu = gain n + bias` with `n = (v - mean) / sqrt(variance + epsilon)` over some axes (the
/// variance with 1/n).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Norm {
    epsilon: f64,
    /// Over the batch and all axes but the first; over the last axis otherwise.
    batch: bool,
    /// Whether there is a bias.
    bias: bool,
}

// Slots of the cache: `v - mean` and `1 / sigma` at the reference; `n` and `1 / sigma` at the
// current point; for moving parameters the old.
const CENTRED: usize = 0;
const INVERSE_REFERENCE: usize = 1;
const NORMAL: usize = 2;
const INVERSE: usize = 3;
const OLD_GAIN: usize = 4;
const OLD_BIAS: usize = 5;

impl Norm {
    fn axes(&self, x: &BurnTensor) -> Vec<usize> {
        if self.batch { (0..x.rank()).filter(|k| *k != 1).collect() } else { vec![x.rank() - 1] }
    }

    fn count(&self, x: &BurnTensor) -> f64 {
        let shape = x.shape();
        self.axes(x).into_iter().map(|k| shape[k] as f64).product()
    }

    fn mean(&self, x: &BurnTensor) -> BurnTensor {
        x.sum_over(&self.axes(x)).scaled(1.0 / self.count(x))
    }

    /// `x - mean(x)`, with the mean's own rounding error taken out in turn.
    fn centre(&self, x: &BurnTensor) -> BurnTensor {
        let centred = x.minus(&self.mean(x));
        centred.minus(&self.mean(&centred))
    }

    /// A parameter shaped so that it meets a tensor like `x`.
    fn spread(&self, parameter: &BurnTensor, x: &BurnTensor) -> BurnTensor {
        let mut shape = vec![1; x.rank()];
        let place = if self.batch { 1 } else { x.rank() - 1 };
        shape[place] = parameter.batch();
        parameter.shaped(&shape)
    }

    fn checked(
        &self,
        kind: &str,
        parents: &[&[usize]],
        parameters: &[&[usize]],
    ) -> Result<Vec<usize>> {
        let parent = single(kind, parents)?;
        let length = if self.batch { parent.first() } else { parent.last() };
        let Some(length) = length else {
            return Err(shape(format!(
                "a {kind} vertex takes a parent with an axis, not a scalar"
            )));
        };
        if !(self.epsilon >= 0.0 && self.epsilon.is_finite()) {
            return Err(graph(format!(
                "the epsilon of a {kind} vertex must be a number of at least 0, not {}",
                self.epsilon
            )));
        }
        for (k, name) in ["gain", "bias"].into_iter().enumerate().take(1 + usize::from(self.bias)) {
            if parameters.get(k).copied() != Some(&[*length][..]) {
                return Err(shape(format!(
                    "its {name} has shape {:?}, not [{length}]",
                    parameters.get(k)
                )));
            }
        }
        Ok(parent.to_vec())
    }

    /// Returns the biased variance too, for running statistics.
    fn predict(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        output: &mut BurnTensor,
    ) -> Result<BurnTensor> {
        at.agree()?;
        let (x, gain) = (at.value(0), at.parameter(0));
        let centred = self.centre(x);
        let variance = self.mean(&centred.times(&centred));
        let inverse = self.inverse(&variance);
        let normal = centred.times(&inverse);
        let scaled = normal.times(&self.spread(gain, x));
        output.set(if self.bias { scaled.plus(&self.spread(at.parameter(1), x)) } else { scaled });
        cache.put(CENTRED, centred);
        cache.put(NORMAL, normal);
        cache.put(INVERSE, inverse.clone());
        cache.put(INVERSE_REFERENCE, inverse);
        if at.plastic() {
            cache.put(OLD_GAIN, gain.clone());
            if self.bias {
                cache.put(OLD_BIAS, at.parameter(1).clone());
            }
        }
        Ok(variance)
    }

    fn inverse(&self, variance: &BurnTensor) -> BurnTensor {
        let mut one = variance.clone();
        one.fill(1.0);
        one.over(&variance.shifted(self.epsilon).root())
    }

    fn change(&self, at: &At<'_>, cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        let a = at.reference(0);
        let gain = self.spread(at.parameter(0), a);
        let (centred, inverse) =
            (cache.get(CENTRED)?.clone(), cache.get(INVERSE_REFERENCE)?.clone());
        let reference = centred.times(&inverse);
        if let Some(d) = at.displacement(0) {
            // With c' = c + e: variance' - variance = mean e (c + c'), and
            // 1/sigma' - 1/sigma = -(variance' - variance) / (sigma sigma' (sigma + sigma')).
            let moved = self.centre(d);
            let now = centred.plus(&moved);
            let growth = self.mean(&moved.times(&centred.plus(&now)));
            let inverse_now = self.inverse(&self.mean(&now.times(&now)));
            // sigma + sigma' = (1/sigma + 1/sigma') sigma sigma'.
            let product = inverse.times(&inverse_now);
            let inverse_change =
                growth.times(&product).times(&product).over(&inverse.plus(&inverse_now)).negative();
            output
                .set(moved.times(&inverse_now).plus(&centred.times(&inverse_change)).times(&gain));
            cache.put(NORMAL, now.times(&inverse_now));
            cache.put(INVERSE, inverse_now);
        } else {
            output.fill(0.0);
            cache.put(NORMAL, reference.clone());
            cache.put(INVERSE, inverse);
        }
        if at.plastic() {
            let moved = self.spread(&at.parameter(0).minus(cache.get(OLD_GAIN)?), a);
            output.axpy(1.0, &reference.times(&moved));
            if self.bias {
                let moved = self.spread(&at.parameter(1).minus(cache.get(OLD_BIAS)?), a);
                output.set(output.plus(&moved));
            }
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        let (normal, inverse) = (cache.get(NORMAL)?, cache.get(INVERSE)?);
        if let Some(force) = pulled.force(0) {
            let weighed = cotangent.times(&self.spread(at.parameter(0), cotangent));
            let along = self.mean(&weighed.times(normal));
            let rest = weighed.minus(&self.mean(&weighed)).minus(&normal.times(&along));
            force.set(rest.times(inverse));
        }
        self.gradients(at, cotangent, normal, pulled);
        Ok(())
    }

    fn gradients(
        &self,
        at: &At<'_>,
        cotangent: &BurnTensor,
        normal: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) {
        let u = weighed(cotangent, pulled);
        let place = if self.batch { 1 } else { cotangent.rank() - 1 };
        let others: Vec<usize> = (0..cotangent.rank()).filter(|k| *k != place).collect();
        let length = at.parameter(0).shape();
        accumulate(pulled.gradient_or_fresh(0), || {
            u.times(normal).sum_over(&others).shaped(&length)
        });
        if self.bias {
            accumulate(pulled.gradient_or_fresh(1), || u.sum_over(&others).shaped(&length));
        }
    }
}

/// Layer normalisation, over the last axis: `mu = gain (v - mean) / sqrt(variance + epsilon) +
/// bias`. Parameters: the gain and, where there is one, the bias, of the last axis's length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm(Norm);

impl LayerNorm {
    /// With this epsilon, with a bias or without.
    pub fn new(epsilon: f64, bias: bool) -> Self {
        Self(Norm { epsilon, batch: false, bias })
    }
}

impl Vertex<BurnTensor> for LayerNorm {
    fn kind(&self) -> &str {
        "layer_norm"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        self.0.checked(self.kind(), parents, parameters)
    }

    fn parameters(&self) -> usize {
        1 + usize::from(self.0.bias)
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(&self, at: &At<'_>, cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        self.0.predict(at, cache, output).map(|_| ())
    }

    fn change(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        self.0.change(at, cache, output)
    }

    fn pull(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        self.0.pull(at, cache, cotangent, pulled)
    }
}

/// Batch normalisation with the statistics of the batch, as Burn's `BatchNorm` in training: over
/// the batch and all axes but the first (the channels). Parameters: gain and bias, one number a
/// channel.
///
/// The module's running statistics move once at each feed-forward evaluation, and not while states
/// relax; they are shared with the user's module, as Burn's clones share them.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    norm: Norm,
    module: Module,
}

impl BatchNorm {
    /// The settings and running statistics of a module.
    pub fn of(module: &Module) -> Self {
        Self {
            norm: Norm { epsilon: module.epsilon, batch: true, bias: true },
            module: module.clone(),
        }
    }
}

impl Vertex<BurnTensor> for BatchNorm {
    fn kind(&self) -> &str {
        "batch_norm"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        self.norm.checked(self.kind(), parents, parameters)
    }

    fn parameters(&self) -> usize {
        2
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn statistics(&self) -> Vec<(String, BurnTensor)> {
        running::statistics(&self.module)
    }

    fn set_statistics(&self, statistics: Vec<BurnTensor>) -> Result<()> {
        running::set_statistics(&self.module, statistics)
    }

    fn predict(&self, at: &At<'_>, cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        let variance = self.norm.predict(at, cache, output)?;
        running::track(&self.module, self.norm.mean(at.value(0)), variance)
    }

    fn change(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        self.norm.change(at, cache, output)
    }

    fn pull(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        self.norm.pull(at, cache, cotangent, pulled)
    }
}

/// Batch normalisation with the module's running statistics, as Burn's `BatchNorm` outside
/// training: no sample sees another, and nothing but gain and bias learns.
#[derive(Clone, Debug)]
pub struct FrozenBatchNorm(BatchNorm);

// Slots of the cache: `1 / sigma`, and the normalised value at the current point and at the
// reference.
const SLOPE: usize = 0;
const STANDARD: usize = 1;
const STANDARD_REFERENCE: usize = 2;

impl FrozenBatchNorm {
    /// The settings and running statistics of a module.
    pub fn of(module: &Module) -> Self {
        Self(BatchNorm::of(module))
    }
}

impl Vertex<BurnTensor> for FrozenBatchNorm {
    fn kind(&self) -> &str {
        "frozen_batch_norm"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        self.0.norm.checked(self.kind(), parents, parameters)
    }

    fn parameters(&self) -> usize {
        2
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn statistics(&self) -> Vec<(String, BurnTensor)> {
        running::statistics(&self.0.module)
    }

    fn set_statistics(&self, statistics: Vec<BurnTensor>) -> Result<()> {
        running::set_statistics(&self.0.module, statistics)
    }

    fn predict(&self, at: &At<'_>, cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        at.agree()?;
        let (norm, module, x) = (&self.0.norm, &self.0.module, at.value(0));
        let mean = BurnTensor::new(module.running_mean.value())?;
        let inverse = norm.spread(&norm.inverse(&BurnTensor::new(module.running_var.value())?), x);
        let standard = x.minus(&norm.spread(&mean, x)).times(&inverse);
        output.set(
            standard.times(&norm.spread(at.parameter(0), x)).plus(&norm.spread(at.parameter(1), x)),
        );
        cache.put(SLOPE, inverse);
        cache.put(STANDARD, standard.clone());
        cache.put(STANDARD_REFERENCE, standard);
        if at.plastic() {
            cache.put(OLD_GAIN, at.parameter(0).clone());
            cache.put(OLD_BIAS, at.parameter(1).clone());
        }
        Ok(())
    }

    fn change(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        let (norm, a) = (&self.0.norm, at.reference(0));
        let reference = cache.get(STANDARD_REFERENCE)?.clone();
        match at.displacement(0) {
            Some(d) => {
                let moved = d.times(cache.get(SLOPE)?);
                output.set(moved.times(&norm.spread(at.parameter(0), a)));
                cache.put(STANDARD, reference.plus(&moved));
            }
            None => {
                output.fill(0.0);
                cache.put(STANDARD, reference.clone());
            }
        }
        if at.plastic() {
            let gain = norm.spread(&at.parameter(0).minus(cache.get(OLD_GAIN)?), a);
            let bias = norm.spread(&at.parameter(1).minus(cache.get(OLD_BIAS)?), a);
            output.set(output.plus(&reference.times(&gain)).plus(&bias));
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        let norm = &self.0.norm;
        if let Some(force) = pulled.force(0) {
            force.set(
                cotangent.times(&norm.spread(at.parameter(0), cotangent)).times(cache.get(SLOPE)?),
            );
        }
        norm.gradients(at, cotangent, cache.get(STANDARD)?, pulled);
        Ok(())
    }
}
