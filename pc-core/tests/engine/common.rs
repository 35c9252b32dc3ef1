//! What several tests share: numbers, and a vertex written as plainly as can be.

use pc_core::{
    Error, ErrorKind, Result,
    backend::{Cache, Inputs, Pulled, Vertex},
    host::{Element, HostTensor},
};

/// A tensor of these numbers.
pub(crate) fn tensor<F: Element>(shape: &[usize], values: &[f64]) -> HostTensor<F> {
    HostTensor::new(shape, values.iter().map(|x| F::of(*x)).collect())
        .expect("as many numbers as the shape holds")
}

/// A small generator (xorshift), so that tests need no crate for it and repeat to the bit.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Uniform in [-1, 1).
    pub(crate) fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub(crate) fn many(&mut self, count: usize, scale: f64) -> Vec<f64> {
        (0..count).map(|_| scale * self.next()).collect()
    }

    pub(crate) fn tensor<F: Element>(&mut self, shape: &[usize], scale: f64) -> HostTensor<F> {
        let values = self.many(shape.iter().product(), scale);
        tensor(shape, &values)
    }
}

/// The largest absolute difference; NaN where any is.
pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "lists of different length");
    largest(a.iter().zip(b).map(|(x, y)| x - y))
}

/// The largest absolute value; NaN where any is, which `f64::max` would drop.
pub(crate) fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |m: f64, x| if x.abs() > m || x.is_nan() { x.abs() } else { m })
}

#[track_caller]
pub(crate) fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    let worst = distance(found, expected);
    assert!(worst <= tolerance, "{what}: off by {worst:e}, more than {tolerance:e}");
}

/// `mu = f(sum_k W_k v_k)` of any number of parents, by loops, with no `change` of its own: the
/// engine's default path.
pub(crate) struct Plain {
    pub(crate) parents: usize,
    pub(crate) tanh: bool,
}

impl Plain {
    fn pre<F: Element>(&self, at: &Inputs<'_, HostTensor<F>>, sample: usize, row: usize) -> F {
        let mut sum = F::zero();
        for k in 0..self.parents {
            let (w, x) = (at.parameter(k), at.value(k));
            let width = w.dims()[1];
            sum += (0..width)
                .map(|j| w.data()[row * width + j] * x.data()[sample * width + j])
                .fold(F::zero(), |s, x| s + x);
        }
        sum
    }
}

impl<F: Element> Vertex<HostTensor<F>> for Plain {
    fn kind(&self) -> &str {
        "plain"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        if parents.len() != self.parents {
            return Err(Error::new(ErrorKind::Graph, "another number of parents"));
        }
        Ok(vec![parameters[0][0]])
    }

    fn parameters(&self) -> usize {
        self.parents
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let width = output.dims()[1];
        for index in 0..output.data().len() {
            let a = self.pre(at, index / width, index % width);
            output.data_mut()[index] = if self.tanh { a.tanh() } else { a };
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        let (batch, height) = (cotangent.dims()[0], cotangent.dims()[1]);
        let scale = F::of(pulled.scale());
        for k in 0..self.parents {
            let (w, x) = (at.parameter(k), at.value(k));
            let width = w.dims()[1];
            if let Some(force) = pulled.force(k) {
                force.data_mut().fill(F::zero());
            }
            for n in 0..batch {
                for i in 0..height {
                    let a = self.pre(at, n, i);
                    let u = cotangent.data()[n * height + i]
                        * if self.tanh { F::one() - a.tanh().powi(2) } else { F::one() };
                    for j in 0..width {
                        if let Some(force) = pulled.force(k) {
                            force.data_mut()[n * width + j] += u * w.data()[i * width + j];
                        }
                        if let Some(gradient) = pulled.gradient(k) {
                            gradient.data_mut()[i * width + j] +=
                                scale * u * x.data()[n * width + j];
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
