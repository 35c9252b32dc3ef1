//! The host backend's own part in the suite: the oracle in f64, a candidate in f32.

use std::marker::PhantomData;

use crate::{
    Result,
    conformance::{Backend, Built, Net, Operation},
    graph::{Graph, GraphBuilder},
    host::{
        Activate, Activation, Conv2d, Element, HostChain, HostTensor, HostVertex, Linear,
        LinearMany, MaxPool2d, Product, Reshape, Sum,
    },
    topology::{ParamId, VertexId},
};

/// The host backend in one precision.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostBackend<F>(PhantomData<F>);

impl<F: Element> HostBackend<F> {
    /// The backend.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

fn vertex<F: Element>(operation: &Operation, parents: usize) -> Result<HostVertex<F>> {
    let followed = |first: Vec<HostVertex<F>>, activation: Activation| -> Result<HostVertex<F>> {
        let mut links = first;
        links.push(Box::new(Activate(activation)));
        Ok(Box::new(HostChain::new(links)?))
    };
    Ok(match operation {
        Operation::Dense(activation) => followed(vec![Box::new(Linear::new())], *activation)?,
        Operation::DenseSum(activation) => {
            followed(vec![Box::new(LinearMany::without_bias(parents))], *activation)?
        }
        Operation::Conv { padding, activation, pool } => Box::new(HostChain::new(vec![
            Box::new(Conv2d { stride: 1, padding: *padding, bias: true }),
            Box::new(Activate(*activation)),
            Box::new(MaxPool2d { size: *pool, stride: *pool }),
        ])?),
        Operation::Flatten => Box::new(Reshape::flatten()),
        Operation::Sum => Box::new(Sum::new()),
        Operation::Product => Box::new(Product),
        Operation::Activate(activation) => Box::new(Activate(*activation)),
    })
}

impl<F: Element> Backend for HostBackend<F> {
    type Tensor = HostTensor<F>;
    type Network = Graph<HostTensor<F>>;

    fn name(&self) -> String {
        format!("host, {} bits", 8 * size_of::<F>())
    }

    fn tolerance(&self) -> f64 {
        if size_of::<F>() == 8 { 1e-10 } else { 1e-5 }
    }

    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<HostTensor<F>> {
        HostTensor::new(shape, values.iter().map(|x| F::of(*x)).collect())
    }

    fn build(&self, net: &Net) -> Result<Option<Built<Self::Network>>> {
        let mut b: GraphBuilder<HostTensor<F>> = Graph::builder();
        let mut parameters: Vec<ParamId> = Vec::new();
        for (name, shape, values) in &net.parameters {
            parameters.push(b.parameter(name, self.tensor(shape, values)?)?);
        }
        let mut vertices: Vec<VertexId> = Vec::new();
        for (index, (shape, _)) in net.inputs.iter().enumerate() {
            vertices.push(b.input(&format!("x{index}"), shape)?);
        }
        // All first, then their predictions: in a cycle a parent may come after its child.
        for vertex in &net.vertices {
            vertices.push(b.input(&vertex.name, &vertex.shape)?);
        }
        for (index, drawn) in net.vertices.iter().enumerate() {
            let parents: Vec<VertexId> =
                drawn.parents.iter().map(|parent| vertices[*parent]).collect();
            let uses: Vec<ParamId> =
                drawn.parameters.iter().map(|parameter| parameters[*parameter]).collect();
            b.predict(
                vertices[net.inputs.len() + index],
                vertex(&drawn.operation, parents.len())?,
                &parents,
                &uses,
                drawn.precision,
            )?;
        }
        Ok(Some(Built { network: b.build()?, vertices, parameters }))
    }
}
