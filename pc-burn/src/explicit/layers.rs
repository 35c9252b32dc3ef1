//! Ready vertices from Burn's modules.

use burn::nn::{self, Linear as LinearModule, conv::Conv2d as ConvModule, pool};
use pc_core::{Chain, Identity, ParamId, Result, VertexId, backend::GraphTensor, host::Activation};

use super::{
    Activate, AdaptiveAvgPool2d, AvgPool2d, BatchNorm, Concat, Conv2d, Embedding, FrozenBatchNorm,
    LayerNorm, Linear, MatMul, MaxPool2d, ModuleGraph, Product, Reshape, Scale, Softmax, Split,
    Sum, builder::BurnVertex,
};
use crate::BurnTensor;

/// Several vertices' functions as one; a chain of one vertex is that vertex.
fn in_one(links: impl IntoIterator<Item = BurnVertex>) -> Result<BurnVertex> {
    let mut links: Vec<BurnVertex> = links.into_iter().collect();
    if links.len() == 1 {
        Ok(links.swap_remove(0))
    } else {
        Ok(Box::new(Chain::<BurnTensor>::new(links)?))
    }
}

/// The activation as a link; none for the identity.
fn link(activation: Activation) -> Option<BurnVertex> {
    (activation != Activation::Identity).then(|| Box::new(Activate(activation)) as BurnVertex)
}

/// Layers from Burn's modules. Each adds one vertex, with its activation inside the prediction, and
/// (where it has weights) the parameters `name.weight` and `name.bias`, unless a vertex before uses
/// the same of Burn's parameters already.
///
/// # Errors
/// All of them: a name that is taken; parents that are unknown or whose shapes do not fit, with
/// what was expected.
impl ModuleGraph {
    /// `f(v W + b)` over the last axis.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn linear(
        &mut self,
        name: &str,
        parent: VertexId,
        module: &LinearModule,
        activation: Activation,
    ) -> Result<VertexId> {
        self.all_or_nothing(|b| {
            let parameters = b.weight_and_bias(name, &module.weight, module.bias.as_ref())?;
            let first: BurnVertex = Box::new(Linear::of(&[module.bias.is_some()]));
            let vertex = in_one([first].into_iter().chain(link(activation)))?;
            b.add(name, vertex, &[parent], &parameters)
        })
    }

    /// `f(v_0 W_0 + b_0 + v_1 W_1 + b_1 + ...)`, with the parameters `name.0.weight`,
    /// `name.0.bias`, ...
    ///
    /// # Errors
    /// See the head of this list.
    pub fn linear_many(
        &mut self,
        name: &str,
        parents: &[(VertexId, &LinearModule)],
        activation: Activation,
    ) -> Result<VertexId> {
        self.all_or_nothing(|b| {
            let mut parameters: Vec<ParamId> = Vec::new();
            for (k, (_, module)) in parents.iter().enumerate() {
                parameters.extend(b.weight_and_bias(
                    &format!("{name}.{k}"),
                    &module.weight,
                    module.bias.as_ref(),
                )?);
            }
            let biases: Vec<bool> =
                parents.iter().map(|(_, module)| module.bias.is_some()).collect();
            let first: BurnVertex = Box::new(Linear::of(&biases));
            let parents: Vec<VertexId> = parents.iter().map(|(parent, _)| *parent).collect();
            let vertex = in_one([first].into_iter().chain(link(activation)))?;
            b.add(name, vertex, &parents, &parameters)
        })
    }

    /// `f(conv(v) + b)`, with pooling after it where `pool` says so, all of it one prediction.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn conv2d(
        &mut self,
        name: &str,
        parent: VertexId,
        module: &ConvModule,
        activation: Activation,
        pool: Option<&pool::MaxPool2d>,
    ) -> Result<VertexId> {
        self.all_or_nothing(|b| {
            let parameters = b.weight_and_bias(name, &module.weight, module.bias.as_ref())?;
            let pool = match pool {
                Some(pool) => {
                    Some(Box::new(MaxPool2d::of(pool).map_err(|error| error.at(name))?)
                        as BurnVertex)
                }
                None => None,
            };
            let first: BurnVertex = Box::new(Conv2d::of(module));
            let vertex = in_one([first].into_iter().chain(link(activation)).chain(pool))?;
            b.add(name, vertex, &[parent], &parameters)
        })
    }

    /// `f(v)`, element by element.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn activate(
        &mut self,
        name: &str,
        parent: VertexId,
        activation: Activation,
    ) -> Result<VertexId> {
        self.add(name, Box::new(Activate(activation)), &[parent], &[])
    }

    /// The largest of each window.
    ///
    /// # Errors
    /// See the head of this list, and [`MaxPool2d::of`].
    pub fn max_pool2d(
        &mut self,
        name: &str,
        parent: VertexId,
        module: &pool::MaxPool2d,
    ) -> Result<VertexId> {
        let vertex = MaxPool2d::of(module).map_err(|error| error.at(name))?;
        self.add(name, Box::new(vertex), &[parent], &[])
    }

    /// The mean of each window.
    ///
    /// # Errors
    /// See the head of this list, and [`AvgPool2d::of`].
    pub fn avg_pool2d(
        &mut self,
        name: &str,
        parent: VertexId,
        module: &pool::AvgPool2d,
    ) -> Result<VertexId> {
        let vertex = AvgPool2d::of(module).map_err(|error| error.at(name))?;
        self.add(name, Box::new(vertex), &[parent], &[])
    }

    /// The mean of as many windows as the result has elements.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn adaptive_avg_pool2d(
        &mut self,
        name: &str,
        parent: VertexId,
        module: &pool::AdaptiveAvgPool2d,
    ) -> Result<VertexId> {
        self.add(name, Box::new(AdaptiveAvgPool2d(module.output_size)), &[parent], &[])
    }

    /// The same numbers as one axis.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn flatten(&mut self, name: &str, parent: VertexId) -> Result<VertexId> {
        self.add(name, Box::new(Reshape::flatten()), &[parent], &[])
    }

    /// The same numbers as another shape (without the batch).
    ///
    /// # Errors
    /// See the head of this list.
    pub fn reshape(&mut self, name: &str, parent: VertexId, shape: &[usize]) -> Result<VertexId> {
        self.add(name, Box::new(Reshape::to(shape)), &[parent], &[])
    }

    /// A row of the module's weight for every number of the parent, which holds integers as floats.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn embedding(
        &mut self,
        name: &str,
        parent: VertexId,
        module: &nn::Embedding,
    ) -> Result<VertexId> {
        self.all_or_nothing(|b| {
            let weight = b.param(&format!("{name}.weight"), &module.weight)?;
            b.add(name, Box::new(Embedding), &[parent], &[weight])
        })
    }

    /// Normalisation over the last axis, with the parameters `name.gain` and `name.bias`. Burn's
    /// module does not show its epsilon, so give it here (1e-5 unless the configuration says
    /// otherwise).
    ///
    /// # Errors
    /// See the head of this list.
    pub fn layer_norm(
        &mut self,
        name: &str,
        parent: VertexId,
        module: &nn::LayerNorm,
        epsilon: f64,
    ) -> Result<VertexId> {
        self.all_or_nothing(|b| {
            let mut parameters = vec![b.param(&format!("{name}.gain"), &module.gamma)?];
            if let Some(beta) = &module.beta {
                parameters.push(b.param(&format!("{name}.bias"), beta)?);
            }
            b.add(
                name,
                Box::new(LayerNorm::new(epsilon, module.beta.is_some())),
                &[parent],
                &parameters,
            )
        })
    }

    /// Normalisation with the statistics of the batch, as in training; see [`BatchNorm`] for the
    /// running ones. Parameters `name.gain` and `name.bias`.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn batch_norm(
        &mut self,
        name: &str,
        parent: VertexId,
        module: &nn::BatchNorm,
    ) -> Result<VertexId> {
        self.all_or_nothing(|b| {
            let parameters = [
                b.param(&format!("{name}.gain"), &module.gamma)?,
                b.param(&format!("{name}.bias"), &module.beta)?,
            ];
            b.add(name, Box::new(BatchNorm::of(module)), &[parent], &parameters)
        })
    }

    /// Normalisation with the module's running statistics, which stay. Parameters `name.gain` and
    /// `name.bias`.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn frozen_batch_norm(
        &mut self,
        name: &str,
        parent: VertexId,
        module: &nn::BatchNorm,
    ) -> Result<VertexId> {
        self.all_or_nothing(|b| {
            let parameters = [
                b.param(&format!("{name}.gain"), &module.gamma)?,
                b.param(&format!("{name}.bias"), &module.beta)?,
            ];
            b.add(name, Box::new(FrozenBatchNorm::of(module)), &[parent], &parameters)
        })
    }

    /// Softmax over the last axis.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn softmax(&mut self, name: &str, parent: VertexId) -> Result<VertexId> {
        self.add(name, Box::new(Softmax::new()), &[parent], &[])
    }

    /// The sum of vertices of one shape: a residual connection, for one.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn sum(&mut self, name: &str, parents: &[VertexId]) -> Result<VertexId> {
        self.add(name, Box::new(Sum::new()), parents, &[])
    }

    /// The product, element by element, of vertices of one shape.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn product(&mut self, name: &str, parents: &[VertexId]) -> Result<VertexId> {
        self.add(name, Box::new(Product), parents, &[])
    }

    /// `factor v`.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn scale(&mut self, name: &str, parent: VertexId, factor: f64) -> Result<VertexId> {
        self.add(name, Box::new(Scale(factor)), &[parent], &[])
    }

    /// Vertices one after the other along an axis (counted without the batch).
    ///
    /// # Errors
    /// See the head of this list.
    pub fn concat(&mut self, name: &str, parents: &[VertexId], axis: usize) -> Result<VertexId> {
        self.add(name, Box::new(Concat { axis }), parents, &[])
    }

    /// The elements `start .. start + length` along an axis (counted without the batch).
    ///
    /// # Errors
    /// See the head of this list.
    pub fn split(
        &mut self,
        name: &str,
        parent: VertexId,
        axis: usize,
        start: usize,
        length: usize,
    ) -> Result<VertexId> {
        self.add(name, Box::new(Split { axis, start, length }), &[parent], &[])
    }

    /// `scale A B`, or `scale A B^T`, of two vertices as matrices.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn matmul(
        &mut self,
        name: &str,
        a: VertexId,
        b: VertexId,
        product: MatMul,
    ) -> Result<VertexId> {
        self.add(name, Box::new(product), &[a, b], &[])
    }

    /// The identity: an output of its own for a vertex that has children, on which a loss may act.
    ///
    /// # Errors
    /// See the head of this list.
    pub fn identity(&mut self, name: &str, parent: VertexId) -> Result<VertexId> {
        self.add(name, BurnTensor::boxed(Identity), &[parent], &[])
    }
}
