//! Layer normalisation.

use crate::{
    Error, Result,
    host::{
        Element, HostTensor,
        parts::{accumulate, single, sum, sum_by, sum_pairs},
    },
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = gain n + bias` with `n = (v - mean) / sigma`, `sigma = sqrt(variance + epsilon)`, over the
/// last axis (the variance with 1/n).
///
/// Parameters: `gain` and `bias`, both of the last axis. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// What is added to the variance.
    pub epsilon: f64,
}

impl Default for LayerNorm {
    /// With `epsilon = 1e-5`.
    fn default() -> Self {
        Self { epsilon: 1e-5 }
    }
}

// Slots of the cache: `v - mean` and by row `1 / sigma` at the reference; `n` and `1 / sigma` at
// the current point; for moving parameters the old.
const CENTRED: usize = 0;
const INVERSE_REFERENCE: usize = 1;
const NORMAL: usize = 2;
const INVERSE: usize = 3;
const OLD_GAIN: usize = 4;
const OLD_BIAS: usize = 5;
const CENTRED_CHANGE: usize = 6;

/// `to <- x - mean(x)`, with the mean's own rounding error taken out in turn.
fn centre<F: Element>(x: &[F], to: &mut [F]) {
    let over = F::of(x.len() as f64).recip();
    let mean = sum(x) * over;
    to.iter_mut().zip(x).for_each(|(c, x)| *c = *x - mean);
    let rest = sum(to) * over;
    to.iter_mut().for_each(|c| *c -= rest);
}

impl LayerNorm {
    /// The length of a row, and the number of rows.
    fn rows<F: Element>(x: &HostTensor<F>) -> (usize, usize) {
        let length = x.dims().last().copied().unwrap_or(1).max(1);
        (length, x.data().len() / length)
    }
}

impl<F: Element> Vertex<HostTensor<F>> for LayerNorm {
    fn kind(&self) -> &str {
        "layer_norm"
    }

    fn structure(&self) -> Structure {
        Structure::LayerNorm { epsilon: self.epsilon }
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = single("layer_norm", parents)?;
        let Some(last) = parent.last() else {
            return Err(Error::shape(
                "a layer_norm vertex takes a parent with a last axis, not a scalar",
            ));
        };
        if !(self.epsilon >= 0.0 && self.epsilon.is_finite()) {
            return Err(Error::graph(format!(
                "the epsilon of a layer_norm vertex must be a number of at least 0, not {}",
                self.epsilon
            )));
        }
        for (k, name) in ["gain", "bias"].into_iter().enumerate() {
            if parameters.get(k).copied() != Some(&[*last][..]) {
                return Err(Error::shape(format!(
                    "its {name} has shape {:?}, not [{last}]",
                    parameters.get(k)
                )));
            }
        }
        Ok(parent.to_vec())
    }

    fn parameters(&self) -> usize {
        2
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let (x, gain, bias) = (at.value(0), at.parameter(0), at.parameter(1));
        let (length, rows) = Self::rows(x);
        let mut centred = cache.take(CENTRED, x.dims(), x);
        let mut normal = cache.take(NORMAL, x.dims(), x);
        let inverses = cache.slot(INVERSE, &[rows], x);
        let written = output
            .data_mut()
            .chunks_exact_mut(length)
            .zip(normal.data_mut().chunks_exact_mut(length));
        let read = x.data().chunks_exact(length).zip(centred.data_mut().chunks_exact_mut(length));
        for (((y, n), (x, c)), inverse) in written.zip(read).zip(inverses.data_mut()) {
            centre(x, c);
            let variance = sum_by(c, |c| c * c) / F::of(length as f64);
            *inverse = (variance + F::of(self.epsilon)).sqrt().recip();
            n.iter_mut().zip(&*c).for_each(|(n, c)| *n = *c * *inverse);
            y.iter_mut()
                .zip(&*n)
                .zip(gain.data().iter().zip(bias.data()))
                .for_each(|((y, n), (g, b))| *y = *g * *n + *b);
        }
        cache.put(CENTRED, centred);
        cache.put(NORMAL, normal);
        let inverses = cache.take_out(INVERSE)?;
        cache.slot(INVERSE_REFERENCE, &[rows], x).copy_from(&inverses);
        cache.put(INVERSE, inverses);
        if at.plastic() {
            cache.slot(OLD_GAIN, gain.dims(), gain).copy_from(gain);
            cache.slot(OLD_BIAS, bias.dims(), bias).copy_from(bias);
        }
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let (a, gain, bias) = (at.reference(0), at.parameter(0), at.parameter(1));
        let (length, _) = Self::rows(a);
        let over = F::of(length as f64).recip();
        let (mut normal, mut inverses) = (cache.take_out(NORMAL)?, cache.take_out(INVERSE)?);
        let mut moved = cache.take(CENTRED_CHANGE, &[length], a);
        let (centred, before) = (cache.get(CENTRED)?.data(), cache.get(INVERSE_REFERENCE)?.data());
        let displacement = at.displacement(0);
        for (row, &inverse) in before.iter().enumerate() {
            let span = row * length..(row + 1) * length;
            let (c, n, y) = (
                &centred[span.clone()],
                &mut normal.data_mut()[span.clone()],
                &mut output.data_mut()[span.clone()],
            );
            // y <- the change of n, n <- n at the displaced point.
            if let Some(d) = displacement {
                let e = moved.data_mut();
                centre(&d.data()[span], e);
                // With c' = c + e: variance' - variance = mean e (c + c'), and 1/sigma' - 1/sigma =
                // -(variance' - variance) / (sigma sigma' (sigma + sigma')).
                let growth = sum_pairs(c, e, |c, e| e * (c + (c + e))) * over;
                let variance = sum_pairs(c, e, |c, e| (c + e) * (c + e)) * over;
                let inverse_now = (variance + F::of(self.epsilon)).sqrt().recip();
                // sigma + sigma' = (1/sigma + 1/sigma') sigma sigma'.
                let product = inverse * inverse_now;
                let inverse_change = -growth * product * product / (inverse + inverse_now);
                for ((y, n), (c, e)) in y.iter_mut().zip(n).zip(c.iter().zip(e)) {
                    *y = *e * inverse_now + *c * inverse_change;
                    *n = (*c + *e) * inverse_now;
                }
                inverses.data_mut()[row] = inverse_now;
            } else {
                n.iter_mut().zip(c).for_each(|(n, c)| *n = *c * inverse);
                inverses.data_mut()[row] = inverse;
                y.fill(F::zero());
            }
            y.iter_mut().zip(gain.data()).for_each(|(y, g)| *y *= *g);
            if at.plastic() {
                let (old_gain, old_bias) =
                    (cache.get(OLD_GAIN)?.data(), cache.get(OLD_BIAS)?.data());
                let gains = gain.data().iter().zip(old_gain);
                let biases = bias.data().iter().zip(old_bias);
                for (((y, c), (g, old_g)), (b, old_b)) in y.iter_mut().zip(c).zip(gains).zip(biases)
                {
                    *y += (*g - *old_g) * (*c * inverse) + (*b - *old_b);
                }
            }
        }
        cache.put(NORMAL, normal);
        cache.put(INVERSE, inverses);
        cache.put(CENTRED_CHANGE, moved);
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        let (length, _) = Self::rows(cotangent);
        let over = F::of(length as f64).recip();
        let gain = at.parameter(0).data();
        let (normal, inverses) = (cache.get(NORMAL)?.data(), cache.get(INVERSE)?.data());
        if let Some(force) = pulled.force(0) {
            let rows = cotangent
                .data()
                .chunks_exact(length)
                .zip(normal.chunks_exact(length))
                .zip(inverses);
            for (force, ((u, n), inverse)) in force.data_mut().chunks_exact_mut(length).zip(rows) {
                force.iter_mut().zip(u.iter().zip(gain)).for_each(|(f, (u, g))| *f = *u * *g);
                let mean = sum(force) * over;
                let along = sum_pairs(force, n, |f, n| f * n) * over;
                force.iter_mut().zip(n).for_each(|(f, n)| *f = *inverse * (*f - mean - *n * along));
            }
        }
        let scale = F::of(pulled.scale());
        if let Some(gradient) = pulled.gradient(0) {
            for (u, n) in cotangent.data().chunks_exact(length).zip(normal.chunks_exact(length)) {
                accumulate(
                    gradient.data_mut(),
                    false,
                    scale,
                    u.iter().zip(n).map(|(u, n)| *u * *n),
                );
            }
        }
        if let Some(gradient) = pulled.gradient(1) {
            for u in cotangent.data().chunks_exact(length) {
                accumulate(gradient.data_mut(), false, scale, u.iter().copied());
            }
        }
        Ok(())
    }
}
