//! Host tensors in explicit graphs: vertices run on all threads, numbers are worked on in place.

use rayon::prelude::*;

use crate::{
    Activation, Result,
    composites::blocks,
    graph::{GraphFrame, GraphTensor, NodeJob, NodeState},
    host::{Element, HostChain, HostTensor, HostVertex},
    tensor::Tensor,
    topology::PredictionId,
    vertex::Vertex,
};

impl<F: Element> GraphTensor for HostTensor<F> {
    type Vertex = HostVertex<F>;

    fn boxed(vertex: impl Vertex<Self> + Send + Sync + 'static) -> HostVertex<F> {
        Box::new(vertex)
    }

    fn chained(chain: HostChain<F>) -> HostVertex<F> {
        Box::new(chain)
    }

    fn for_each_node(
        nodes: &mut [NodeState<Self>],
        outputs: &mut [Self],
        frame: &GraphFrame<'_, Self>,
        job: NodeJob<Self>,
    ) {
        if rayon::current_num_threads() == 1 {
            let mut outputs = outputs.iter_mut();
            for (index, node) in nodes.iter_mut().enumerate() {
                job(PredictionId::new(index), node, outputs.next(), frame);
            }
        } else if outputs.is_empty() {
            nodes
                .par_iter_mut()
                .enumerate()
                .for_each(|(index, node)| job(PredictionId::new(index), node, None, frame));
        } else {
            nodes.par_iter_mut().zip(outputs).enumerate().for_each(|(index, (node, output))| {
                job(PredictionId::new(index), node, Some(output), frame)
            });
        }
    }

    fn length(&self, axis: usize) -> usize {
        self.dims().get(axis + 1).copied().unwrap_or(1)
    }

    fn set_product(&mut self, a: &Self, b: &Self) {
        let pairs = a.data().iter().zip(b.data());
        self.data_mut().iter_mut().zip(pairs).for_each(|(y, (a, b))| *y = *a * *b);
    }

    fn add_product(&mut self, a: &Self, b: &Self) {
        let pairs = a.data().iter().zip(b.data());
        self.data_mut().iter_mut().zip(pairs).for_each(|(y, (a, b))| *y += *a * *b);
    }

    fn set_activation(
        &mut self,
        derivative: &mut Self,
        f: Activation,
        a: &Self,
        d: Option<&Self>,
    ) -> Result<()> {
        f.evaluate_slices(a.data(), d.map(Self::data), derivative.data_mut(), self.data_mut());
        Ok(())
    }

    fn add_to_samples(&mut self, a: f64, x: &Self) {
        let a = F::of(a);
        for sample in self.data_mut().chunks_exact_mut(x.data().len().max(1)) {
            sample.iter_mut().zip(x.data()).for_each(|(y, x)| *y += a * *x);
        }
    }

    fn add_samples(&mut self, a: f64, x: &Self) {
        let a = F::of(a);
        let length = self.data().len().max(1);
        for sample in x.data().chunks_exact(length) {
            self.data_mut().iter_mut().zip(sample).for_each(|(y, x)| *y += a * *x);
        }
    }

    fn set_slice(&mut self, source: &Self, axis: usize, start: usize) {
        let (to, shape) = self.parts_mut();
        blocks::cut(source.data(), source.dims(), to, shape, axis, start);
    }

    fn set_joined<'a>(
        &mut self,
        axis: usize,
        parts: impl Iterator<Item = (usize, Option<&'a Self>)>,
    ) where
        Self: 'a,
    {
        let (to, shape) = self.parts_mut();
        let mut start = 0;
        for (length, part) in parts {
            let place = start..start + length;
            start = place.end;
            blocks::lay(to, shape, axis, place, part.map(Self::data), F::zero());
        }
    }

    fn set_reshaped(&mut self, source: &Self) {
        self.copy_from(source);
    }

    fn set_swapped(&mut self, source: &Self) {
        blocks::swap(source.data(), source.dims(), self.data_mut());
    }
}
