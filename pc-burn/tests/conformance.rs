//! pc-core's conformance suite on explicit graphs of Burn tensors: in both precisions that Flex
//! has, with the numbers in memory and by Burn's operations alone, as on a GPU.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use burn::tensor::{DType, Device};
use pc_burn::{
    BurnTensor,
    explicit::{Activate, Conv2d, Linear, MaxPool2d, Product, Reshape, Sum},
    with_operations_only,
};
use pc_core::{
    Chain, Graph, Result,
    backend::GraphTensor,
    conformance::{Backend, Built, Net, Operation, Report, additions, composites, run},
    host::Activation,
};

type Vertex = <BurnTensor as GraphTensor>::Vertex;

struct Burn(DType);

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
        format!("Burn on Flex, {:?}", self.0)
    }

    fn tolerance(&self) -> f64 {
        if self.0 == DType::F64 { 1e-10 } else { 1e-5 }
    }

    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<BurnTensor> {
        BurnTensor::from_values(shape, values, &Device::flex(), self.0)
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

fn passes(dtype: DType) {
    check(&run(&Burn(dtype)).unwrap(), 201);
    check(&composites(&Burn(dtype)).unwrap(), 26);
    check(&additions(&Burn(dtype)).unwrap(), 80);
}

#[test]
fn the_whole_suite_in_f32() {
    passes(DType::F32);
}

#[test]
fn the_whole_suite_in_f64() {
    passes(DType::F64);
}

#[test]
fn the_whole_suite_in_f32_by_burns_operations_alone() {
    with_operations_only(|| passes(DType::F32));
}

#[test]
fn the_whole_suite_in_f64_by_burns_operations_alone() {
    with_operations_only(|| passes(DType::F64));
}
