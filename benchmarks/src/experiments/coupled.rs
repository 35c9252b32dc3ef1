//! A layered Hopfield net: an energy that is no sum of errors.

use pc_core::{
    Clamps, Error, ErrorKind, Graph, ParamId, Prior, Result, SquaredError, VertexId,
    backend::{Cache, Inputs, Pulled, Vertex},
    host::{HostTensor, Init},
};

use super::nets::{T64, settled};
use crate::error::CommandError;

/// `-tanh(a)^T W tanh(b)`, one number a sample.
#[derive(Debug)]
struct Coupling;

impl Coupling {
    /// `W tanh(b)` and `W^T tanh(a)` of one sample.
    fn fields(a: &[f64], b: &[f64], w: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut on_a, mut on_b) = (vec![0.0; a.len()], vec![0.0; b.len()]);
        for ((row, a), on_a) in w.chunks(b.len().max(1)).zip(a).zip(&mut on_a) {
            for ((w, b), on_b) in row.iter().zip(b).zip(&mut on_b) {
                *on_a += w * b.tanh();
                *on_b += w * a.tanh();
            }
        }
        (on_a, on_b)
    }
}

impl Vertex<T64> for Coupling {
    fn kind(&self) -> &str {
        "coupling"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        match (parents, parameters) {
            ([[a], [b]], [[rows, columns]]) if a == rows && b == columns => Ok(vec![1]),
            _ => {
                let why = "a coupling takes two rows of numbers and a matrix between them";
                Err(Error::new(ErrorKind::Shape, why))
            }
        }
    }

    fn predict(&self, at: &Inputs<'_, T64>, _: &mut Cache<T64>, output: &mut T64) -> Result<()> {
        let (a, b, w) = (at.value(0), at.value(1), at.parameter(0));
        let (n, m) = (a.dims()[1].max(1), b.dims()[1].max(1));
        let samples = a.data().chunks(n).zip(b.data().chunks(m));
        for ((a, b), energy) in samples.zip(output.data_mut()) {
            let (field, _) = Self::fields(a, b, w.data());
            *energy = -a.iter().zip(field).map(|(a, field)| a.tanh() * field).sum::<f64>();
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, T64>,
        _: &mut Cache<T64>,
        cotangent: &T64,
        pulled: &mut Pulled<'_, T64>,
    ) -> Result<()> {
        let (a, b, w) = (at.value(0), at.value(1), at.parameter(0));
        let (n, m) = (a.dims()[1].max(1), b.dims()[1].max(1));
        let scale = pulled.scale();
        let samples = a.data().chunks(n).zip(b.data().chunks(m)).zip(cotangent.data());
        for (sample, ((a, b), u)) in samples.enumerate() {
            let (on_a, on_b) = Self::fields(a, b, w.data());
            for (slot, values, field) in [(0, a, on_a), (1, b, on_b)] {
                let Some(force) = pulled.force(slot) else { continue };
                let own = force.data_mut().chunks_mut(values.len()).nth(sample);
                for ((force, v), field) in own.into_iter().flatten().zip(values).zip(field) {
                    *force = -u * (1.0 - v.tanh().powi(2)) * field;
                }
            }
            if let Some(gradient) = pulled.gradient(0) {
                for (row, a) in gradient.data_mut().chunks_mut(m).zip(a) {
                    for (g, b) in row.iter_mut().zip(b) {
                        *g -= scale * u * a.tanh() * b.tanh();
                    }
                }
            }
        }
        Ok(())
    }

    fn parameters(&self) -> usize {
        1
    }
}

/// `E = 1/2 |h|^2 + 1/2 |o|^2 - r(x)^T W r(h) - r(h)^T V r(o)`, `r = tanh`, with a batch of data.
pub(super) struct Coupled {
    pub(super) graph: Graph<T64>,
    ends: [VertexId; 2],
    out: VertexId,
    picture: T64,
    target: T64,
}

const BATCH: usize = 3;
const OUTPUTS: usize = 2;

impl Coupled {
    pub(super) fn new(seed: u64) -> Result<Self, CommandError> {
        let (mut b, mut init) = (Graph::<T64>::builder(), Init::new(seed));
        let x = b.input("x", &[4])?;
        let h = b.input("h", &[5])?;
        let o = b.input("o", &[OUTPUTS])?;
        for (vertex, width) in [(h, 5), (o, OUTPUTS)] {
            let zero = b.buffer(&format!("zero.{width}"), HostTensor::zeroed(&[width])?)?;
            b.predict(vertex, Box::new(Prior), &[], &[zero], 1.0)?;
        }
        let w = b.parameter("w", init.uniform(&[4, 5], 0.6)?)?;
        let v = b.parameter("v", init.uniform(&[5, OUTPUTS], 0.6)?)?;
        b.term("xh", 1.0, Box::new(Coupling), &[x, h], &[w])?;
        b.term("ho", 1.0, Box::new(Coupling), &[h, o], &[v])?;
        let out = b.output("out", o)?;
        Ok(Self {
            graph: b.build()?,
            ends: [x, o],
            out,
            picture: init.uniform(&[BATCH, 4], 1.0)?,
            target: init.uniform(&[BATCH, OUTPUTS], 1.0)?,
        })
    }

    /// The output driven at this strength; at 0 the loss is measured and drives nothing.
    pub(super) fn weak(&self, strength: f64) -> Clamps<T64> {
        let loss = SquaredError::new(self.target.clone());
        let held = Clamps::new().hold(self.ends[0], self.picture.clone());
        held.weak_loss(self.out, loss, strength)
    }

    fn free(&mut self) -> Result<T64, CommandError> {
        let clamps = self.weak(0.0);
        let (_, relaxed) = settled(&mut self.graph, Self::equilibrium()?, &clamps)?;
        let found = relaxed.value(&self.graph, self.ends[1]);
        found.ok_or_else(|| CommandError::input("the output has no value"))
    }

    /// The output held a little further to its target than where it is when free.
    pub(super) fn nudged(&mut self, strength: f64) -> Result<Clamps<T64>, CommandError> {
        use pc_core::Tensor;
        let mut at = self.free()?;
        at.scale(1.0 - strength);
        at.axpy(strength, &self.target);
        Ok(self.weak(0.0).hold(self.ends[1], at))
    }

    /// The derivative of the loss at the free equilibrium, by central differences.
    pub(super) fn derivative(&mut self) -> Result<Vec<f64>, CommandError> {
        let mut all = Vec::new();
        for index in 0..self.graph.parameters().len() {
            if self.graph.is_buffer(ParamId::new(index)) {
                continue;
            }
            let count = self.graph.parameters().get(index).map_or(0, |p| p.data().len());
            for k in 0..count {
                let mut loss = |by: f64| {
                    self.shift(index, k, by);
                    let found = self.free();
                    self.shift(index, k, -by);
                    let pairs = found?;
                    let pairs = pairs.data().iter().zip(self.target.data());
                    Ok::<f64, CommandError>(0.5 * pairs.map(|(o, y)| (o - y).powi(2)).sum::<f64>())
                };
                all.push((loss(1e-4)? - loss(-1e-4)?) / 2e-4);
            }
        }
        Ok(all)
    }

    fn shift(&mut self, index: usize, k: usize, by: f64) {
        let own = self.graph.parameters_mut().get_mut(index);
        if let Some(number) = own.and_then(|p| p.data_mut().get_mut(k)) {
            *number += by;
        }
    }
}
