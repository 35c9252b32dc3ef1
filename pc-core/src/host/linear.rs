//! Linear maps.

use crate::{
    Error, Result,
    host::{
        Element, HostTensor,
        gemm::{Matrix, Threads, gemm},
        packed::{forget, is_packed, pack, packed},
    },
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = W v + b` over the last axis, with parameters `W [out, in]` and, where there is a bias, `b
/// [out]`. Axes before the last count as batch.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    bias: bool,
}

// Slots of the cache: the weight packed for predictions and for pullbacks, and for moving weights
// the old ones and their change.
const FORWARD: usize = 0;
const BACKWARD: usize = 1;
const OLD_WEIGHT: usize = 2;
const OLD_BIAS: usize = 3;
const MOVED: usize = 4;
/// The list of indices that tells a first pullback since the prediction from those that follow;
/// those before it belong to what is packed.
const PULLED: usize = 2;

impl Linear {
    /// With a bias.
    pub fn new() -> Self {
        Self { bias: true }
    }

    /// Without one.
    pub fn without_bias() -> Self {
        Self { bias: false }
    }
}

impl Default for Linear {
    fn default() -> Self {
        Self::new()
    }
}

/// The rows that a tensor has over its last axis.
fn rows<F: Element>(x: &HostTensor<F>, columns: usize) -> usize {
    x.data().len() / columns.max(1)
}

impl<F: Element> Vertex<HostTensor<F>> for Linear {
    fn kind(&self) -> &str {
        "linear"
    }

    fn structure(&self) -> Structure {
        Structure::Linear { bias: self.bias }
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let [parent] = parents else {
            return Err(Error::graph(format!(
                "a linear vertex takes one parent, not {}",
                parents.len()
            )));
        };
        let (Some(last), Some(&[out, inputs])) = (parent.last(), parameters.first().copied())
        else {
            return Err(Error::shape(format!(
                "a linear vertex takes a weight [out, in] and a parent with a last axis, not \
                 {parameters:?} and {parent:?}"
            )));
        };
        if inputs != *last {
            return Err(Error::shape(format!(
                "its weight takes {inputs} inputs, but its parent has {last} (shape {parent:?})"
            )));
        }
        if self.bias && parameters.get(1).copied() != Some(&[out][..]) {
            return Err(Error::shape(format!(
                "its bias has shape {:?}, not [{out}]",
                parameters.get(1)
            )));
        }
        let mut shape = parent.to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out;
        }
        Ok(shape)
    }

    fn parameters(&self) -> usize {
        1 + usize::from(self.bias)
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let (weight, x) = (at.parameter(0), at.value(0));
        let (out, inputs) = (weight.dims()[0], weight.dims()[1]);
        forget(cache, FORWARD);
        forget(cache, BACKWARD);
        cache.indices(PULLED).clear();
        if at.plastic() {
            cache.slot(OLD_WEIGHT, weight.dims(), weight).copy_from(weight);
            if self.bias {
                cache.slot(OLD_BIAS, at.parameter(1).dims(), weight).copy_from(at.parameter(1));
            }
        }
        let beta = if self.bias {
            let bias = at.parameter(1).data();
            for row in output.data_mut().chunks_exact_mut(out) {
                row.copy_from_slice(bias);
            }
            F::one()
        } else {
            F::zero()
        };
        let x = Matrix::new(x.data(), rows(x, inputs), inputs);
        let transposed = Matrix::new(weight.data(), out, inputs).t();
        // Never packed, so that predictions are the same bits whoever asks for them.
        gemm(F::one(), x, transposed, beta, output.data_mut(), Threads::All);
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let weight = at.parameter(0);
        let (out, inputs) = (weight.dims()[0], weight.dims()[1]);
        let mut beta = F::zero();
        if at.plastic() {
            // (W - W_old) v_ref + (b - b_old): the change that moving weights make at the
            // reference, without large numbers.
            if self.bias {
                let old = cache.get(OLD_BIAS)?.data();
                for row in output.data_mut().chunks_exact_mut(out) {
                    for (y, (new, old)) in
                        row.iter_mut().zip(at.parameter(1).data().iter().zip(old))
                    {
                        *y = *new - *old;
                    }
                }
                beta = F::one();
            }
            let mut moved = cache.take(MOVED, weight.dims(), weight);
            moved.set_difference(weight, cache.get(OLD_WEIGHT)?);
            let reference = at.reference(0);
            let reference = Matrix::new(reference.data(), rows(reference, inputs), inputs);
            gemm(
                F::one(),
                reference,
                Matrix::new(moved.data(), out, inputs).t(),
                beta,
                output.data_mut(),
                Threads::All,
            );
            cache.put(MOVED, moved);
            beta = F::one();
        }
        let Some(displacement) = at.displacement(0) else {
            if beta == F::zero() {
                output.fill(0.0);
            }
            return Ok(());
        };
        let displacement = Matrix::new(displacement.data(), rows(displacement, inputs), inputs);
        if at.plastic() {
            gemm(
                F::one(),
                displacement,
                Matrix::new(weight.data(), out, inputs).t(),
                beta,
                output.data_mut(),
                Threads::All,
            );
            return Ok(());
        }
        // The weight stays while states relax: it is packed once for all steps.
        if !is_packed(cache, FORWARD) {
            pack(Matrix::new(weight.data(), out, inputs).t(), cache, FORWARD, weight);
        }
        let weight = packed(cache, FORWARD, [inputs, out])?;
        weight.product(displacement, beta, output.data_mut(), Threads::All);
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        let weight = at.parameter(0);
        let (out, inputs) = (weight.dims()[0], weight.dims()[1]);
        let cotangents = Matrix::new(cotangent.data(), rows(cotangent, out), out);
        if let Some(force) = pulled.force(0) {
            let own = Matrix::new(weight.data(), out, inputs);
            // As in `change`; but one pullback alone would not repay the packing.
            let again = !cache.indices(PULLED).is_empty();
            if at.live() && !at.plastic() && again {
                if !is_packed(cache, BACKWARD) {
                    pack(own, cache, BACKWARD, weight);
                }
                let weight = packed(cache, BACKWARD, [out, inputs])?;
                weight.product(cotangents, F::zero(), force.data_mut(), Threads::All);
            } else {
                gemm(F::one(), cotangents, own, F::zero(), force.data_mut(), Threads::All);
                if !again {
                    cache.indices(PULLED).push(1);
                }
            }
        }
        let scale = F::of(pulled.scale());
        if let Some((gradient, fresh)) = pulled.gradient_or_fresh(0) {
            let x = at.value(0);
            let x = Matrix::new(x.data(), rows(x, inputs), inputs);
            gemm(
                scale,
                cotangents.t(),
                x,
                if fresh { F::zero() } else { F::one() },
                gradient.data_mut(),
                Threads::All,
            );
        }
        if self.bias
            && let Some(gradient) = pulled.gradient(1)
        {
            for row in cotangent.data().chunks_exact(out) {
                for (g, u) in gradient.data_mut().iter_mut().zip(row) {
                    *g += scale * *u;
                }
            }
        }
        Ok(())
    }
}
