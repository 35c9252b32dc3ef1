//! pc-core's conformance suite on explicit graphs of Burn tensors, on any device.

// Each test program takes what it needs.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use burn::tensor::{DType, Device};
use pc_burn::{
    BurnTensor,
    explicit::{Activate, Conv2d, Linear, MaxPool2d, Product, Reshape, Sum},
};
use pc_core::{
    Chain, Graph, Result,
    backend::GraphTensor,
    conformance::{Backend, Built, Net, Operation, Report, additions, composites, run},
    host::Activation,
};

type Vertex = <BurnTensor as GraphTensor>::Vertex;

/// A device and a precision.
pub(crate) struct Burn(pub(crate) Device, pub(crate) DType);

fn vertex(operation: &Operation, parents: usize) -> Result<Vertex> {
    let chain =
        |links: Vec<Vertex>| -> Result<Vertex> { Ok(Box::new(Chain::<BurnTensor>::new(links)?)) };
    let activate = |activation: Activation| -> Vertex { Box::new(Activate(activation)) };
    Ok(match operation {
        Operation::Dense(activation) => {
            chain(vec![Box::new(Linear::new().transposed()), activate(*activation)])?
        }
        Operation::DenseSum(activation) => chain(vec![
            Box::new(Linear::of(&vec![false; parents]).transposed()),
            activate(*activation),
        ])?,
        Operation::Conv { padding, activation, pool } => chain(vec![
            Box::new(Conv2d::padded(*padding)),
            activate(*activation),
            Box::new(MaxPool2d::new(*pool, *pool)),
        ])?,
        Operation::Flatten => Box::new(Reshape::flatten()),
        Operation::Sum => Box::new(Sum::new()),
        Operation::Product => Box::new(Product),
        Operation::Activate(activation) => activate(*activation),
    })
}

impl Backend for Burn {
    type Tensor = BurnTensor;
    type Network = Graph<BurnTensor>;

    fn name(&self) -> String {
        format!("Burn on {:?}, {:?}", self.0, self.1)
    }

    fn tolerance(&self) -> f64 {
        if self.1 == DType::F64 { 1e-10 } else { 1e-5 }
    }

    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<BurnTensor> {
        BurnTensor::from_values(shape, values, &self.0, self.1)
    }

    fn build(&self, net: &Net) -> Result<Option<Built<Graph<BurnTensor>>>> {
        let mut b = Graph::builder();
        let mut parameters = Vec::new();
        for (name, shape, values) in &net.parameters {
            parameters.push(b.parameter(name, self.tensor(shape, values)?)?);
        }
        let mut vertices = Vec::new();
        for (index, (shape, _)) in net.inputs.iter().enumerate() {
            vertices.push(b.input(&format!("x{index}"), shape)?);
        }
        // All first, then their predictions: in a cycle a parent may come after its child.
        for vertex in &net.vertices {
            vertices.push(b.input(&vertex.name, &vertex.shape)?);
        }
        for (index, drawn) in net.vertices.iter().enumerate() {
            let parents: Vec<_> = drawn.parents.iter().map(|parent| vertices[*parent]).collect();
            let uses: Vec<_> =
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

/// An explicit graph can do everything, so nothing may be skipped.
fn check(report: &Report, least: usize) {
    report.check().unwrap_or_else(|failures| panic!("{failures}"));
    assert_eq!((report.skipped(), report.passed()), (0, report.cases.len()));
    assert!(report.passed() >= least, "{}", report.passed());
}

/// What is made of a backend's operations.
pub(crate) fn passes_composites(device: &Device, dtype: DType) {
    check(&composites(&Burn(device.clone(), dtype)).unwrap(), 26);
}

/// Nets by every rule.
pub(crate) fn passes_nets(device: &Device, dtype: DType) {
    check(&run(&Burn(device.clone(), dtype)).unwrap(), 201);
}

/// What a graph says beside its wiring.
pub(crate) fn passes_additions(device: &Device, dtype: DType) {
    check(&additions(&Burn(device.clone(), dtype)).unwrap(), 80);
}

/// The whole suite.
pub(crate) fn passes(device: &Device, dtype: DType) {
    passes_nets(device, dtype);
    passes_composites(device, dtype);
    passes_additions(device, dtype);
}
