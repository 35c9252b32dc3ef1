//! The vertices that are written once: on the host, on a tensor that has nothing but the defaults,
//! and on one that is wrong in one operation at a time.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(feature = "conformance")]

use std::{cell::Cell, marker::PhantomData};

use pc_core::{
    Activation, Chain, Graph, Result, Tensor,
    backend::{GraphTensor, Vertex},
    conformance::{Backend, Built, Case, HostBackend, Net, Report, Verdict, additions, composites},
    host::{Element, HostTensor},
};

fn passes(report: &Report) {
    if let Err(failures) = report.check() {
        panic!("{failures}");
    }
    assert_eq!((report.passed(), report.skipped()), (report.cases.len(), 0));
    assert!(report.passed() >= 26, "only {} cases", report.passed());
}

#[test]
fn on_the_host() {
    passes(&composites(&HostBackend::<f64>::new()).unwrap());
    passes(&composites(&HostBackend::<f32>::new()).unwrap());
    passes(&additions(&HostBackend::<f64>::new()).unwrap());
    passes(&additions(&HostBackend::<f32>::new()).unwrap());
}

/// A host tensor that shows only what every tensor must have.
#[derive(Clone)]
struct Plain<F>(HostTensor<F>);

impl<F: Element> Tensor for Plain<F> {
    fn shape(&self) -> Vec<usize> {
        self.0.shape()
    }
    fn zeros(&self, shape: &[usize]) -> Self {
        Self(self.0.zeros(shape))
    }
    fn fill(&mut self, value: f64) {
        self.0.fill(value);
    }
    fn copy_from(&mut self, source: &Self) {
        self.0.copy_from(&source.0);
    }
    fn axpy(&mut self, a: f64, x: &Self) {
        self.0.axpy(a, &x.0);
    }
    fn scale(&mut self, a: f64) {
        self.0.scale(a);
    }
    fn multiply(&mut self, x: &Self) {
        self.0.multiply(&x.0);
    }
    fn dot(&self, x: &Self) -> f64 {
        self.0.dot(&x.0)
    }
    fn add_normal(&mut self, deviation: f64, stream: u64) {
        self.0.add_normal(deviation, stream);
    }
    fn is_finite(&self) -> bool {
        self.0.is_finite()
    }
    fn to_vec(&self) -> Vec<f64> {
        self.0.to_vec()
    }
    fn assign(&mut self, numbers: &[f64]) {
        self.0.assign(numbers);
    }
}

impl<F: Element> GraphTensor for Plain<F> {
    type Vertex = Box<dyn Vertex<Self>>;

    fn boxed(vertex: impl Vertex<Self> + Send + Sync + 'static) -> Self::Vertex {
        Box::new(vertex)
    }
    fn chained(chain: Chain<Self>) -> Self::Vertex {
        Box::new(chain)
    }
}

/// A backend of host numbers in another coat.
struct Coat<F, T>(fn(HostTensor<F>) -> T, PhantomData<F>);

impl<F: Element, T: GraphTensor + 'static> Backend for Coat<F, T> {
    type Tensor = T;
    type Network = Graph<T>;

    fn name(&self) -> String {
        "the host in a coat".to_owned()
    }
    fn tolerance(&self) -> f64 {
        HostBackend::<F>::new().tolerance()
    }
    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<T> {
        HostBackend::<F>::new().tensor(shape, values).map(self.0)
    }
    fn build(&self, _net: &Net) -> Result<Option<Built<Graph<T>>>> {
        Ok(None)
    }
}

#[test]
fn by_the_defaults_alone() {
    passes(&composites(&Coat::<f64, _>(Plain, PhantomData)).unwrap());
    passes(&composites(&Coat::<f32, _>(Plain, PhantomData)).unwrap());
    passes(&additions(&Coat::<f64, _>(Plain, PhantomData)).unwrap());
    passes(&additions(&Coat::<f32, _>(Plain, PhantomData)).unwrap());
}

/// What [`Flawed`] does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    SetProduct,
    AddProduct,
    Value,
    Slope,
    /// The difference of an activation, as a difference of two values.
    Cancelling,
    AddToSamples,
    AddSamples,
    Slice,
    Joined,
    Gaps,
    Reshaped,
    Swapped,
    Assigned,
}

thread_local! {
    static FLAW: Cell<Flaw> = const { Cell::new(Flaw::None) };
}

/// A [`Plain`] tensor in `f32` with one flaw.
#[derive(Clone)]
struct Flawed(Plain<f32>);

impl Flawed {
    /// One number off by a thousandth, where this is the flaw.
    fn spoil(&mut self, flaw: Flaw) {
        if FLAW.get() == flaw {
            self.0.0.data_mut()[0] += 1e-3;
        }
    }
}

impl Tensor for Flawed {
    fn shape(&self) -> Vec<usize> {
        self.0.shape()
    }
    fn zeros(&self, shape: &[usize]) -> Self {
        Self(self.0.zeros(shape))
    }
    fn fill(&mut self, value: f64) {
        self.0.fill(value);
    }
    fn copy_from(&mut self, source: &Self) {
        self.0.copy_from(&source.0);
    }
    fn axpy(&mut self, a: f64, x: &Self) {
        self.0.axpy(a, &x.0);
    }
    fn scale(&mut self, a: f64) {
        self.0.scale(a);
    }
    fn multiply(&mut self, x: &Self) {
        self.0.multiply(&x.0);
    }
    fn dot(&self, x: &Self) -> f64 {
        self.0.dot(&x.0)
    }
    fn add_normal(&mut self, deviation: f64, stream: u64) {
        self.0.add_normal(deviation, stream);
    }
    fn is_finite(&self) -> bool {
        self.0.is_finite()
    }
    fn to_vec(&self) -> Vec<f64> {
        self.0.to_vec()
    }
    fn assign(&mut self, numbers: &[f64]) {
        self.0.assign(numbers);
        self.spoil(Flaw::Assigned);
    }
}

impl GraphTensor for Flawed {
    type Vertex = Box<dyn Vertex<Self>>;

    fn boxed(vertex: impl Vertex<Self> + Send + Sync + 'static) -> Self::Vertex {
        Box::new(vertex)
    }
    fn chained(chain: Chain<Self>) -> Self::Vertex {
        Box::new(chain)
    }
    fn set_product(&mut self, a: &Self, b: &Self) {
        self.0.set_product(&a.0, &b.0);
        self.spoil(Flaw::SetProduct);
    }
    fn add_product(&mut self, a: &Self, b: &Self) {
        self.0.add_product(&a.0, &b.0);
        self.spoil(Flaw::AddProduct);
    }
    fn set_activation(
        &mut self,
        derivative: &mut Self,
        f: Activation,
        a: &Self,
        d: Option<&Self>,
    ) -> Result<()> {
        self.0.set_activation(&mut derivative.0, f, &a.0, d.map(|d| &d.0))?;
        if let (Some(d), Flaw::Cancelling) = (d, FLAW.get()) {
            let (mut at, mut before, mut slope) = (a.0.clone(), a.0.clone(), a.0.clone());
            at.axpy(1.0, &d.0);
            self.0.set_activation(&mut slope, f, &at, None)?;
            before.set_activation(&mut slope, f, &a.0, None)?;
            self.0.axpy(-1.0, &before);
        }
        self.spoil(Flaw::Value);
        derivative.spoil(Flaw::Slope);
        Ok(())
    }
    fn add_to_samples(&mut self, a: f64, x: &Self) {
        self.0.add_to_samples(a, &x.0);
        self.spoil(Flaw::AddToSamples);
    }
    fn add_samples(&mut self, a: f64, x: &Self) {
        self.0.add_samples(a, &x.0);
        self.spoil(Flaw::AddSamples);
    }
    fn set_slice(&mut self, source: &Self, axis: usize, start: usize) {
        self.0.set_slice(&source.0, axis, start);
        self.spoil(Flaw::Slice);
    }
    fn set_joined<'a>(
        &mut self,
        axis: usize,
        parts: impl Iterator<Item = (usize, Option<&'a Self>)>,
    ) {
        let before = self.0.to_vec();
        self.0.set_joined(axis, parts.map(|(length, part)| (length, part.map(|part| &part.0))));
        self.spoil(Flaw::Joined);
        if FLAW.get() == Flaw::Gaps {
            // What was there before shows where there is nothing.
            let kept = self.0.to_vec();
            let old = |(now, before): (&f64, f64)| if *now == 0.0 { before + 1.0 } else { *now };
            self.0.assign(&kept.iter().zip(before).map(old).collect::<Vec<f64>>());
        }
    }
    fn set_reshaped(&mut self, source: &Self) {
        self.0.set_reshaped(&source.0);
        self.spoil(Flaw::Reshaped);
    }
    fn set_swapped(&mut self, source: &Self) {
        if FLAW.get() == Flaw::Swapped {
            self.0.set_reshaped(&source.0);
        } else {
            self.0.set_swapped(&source.0);
        }
    }
}

#[test]
fn every_flaw_fails_the_vertices_it_is_in_and_no_others() {
    let backend = Coat::<f32, _>(|tensor| Flawed(Plain(tensor)), PhantomData);
    passes(&composites(&backend).unwrap());
    for (flaw, vertices) in [
        (Flaw::SetProduct, &["SumOfProducts", "Gated"][..]),
        (Flaw::AddProduct, &["Product", "SumOfProducts", "Gated"]),
        (Flaw::Value, &["Gated"]),
        (Flaw::Slope, &["Gated"]),
        (Flaw::Cancelling, &["Gated"]),
        (Flaw::AddToSamples, &["AddParameter"]),
        (Flaw::AddSamples, &["AddParameter"]),
        (Flaw::Slice, &["Concat", "Split"]),
        (Flaw::Joined, &["Concat", "Split"]),
        (Flaw::Gaps, &["Concat", "Split"]),
        (Flaw::Reshaped, &["Reshape"]),
        (Flaw::Swapped, &["SwapAxes"]),
    ] {
        FLAW.set(flaw);
        let report = composites(&backend).unwrap();
        FLAW.set(Flaw::None);
        let failed = |case: &Case| matches!(case.verdict, Verdict::Failed(_));
        for case in &report.cases {
            let name = case.name.trim_start_matches("composites: ");
            if name.starts_with("a net") {
                continue;
            }
            let kind = name.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            assert_eq!(failed(case), vertices.contains(&kind), "{flaw:?}: {case}");
        }
    }
}

#[test]
fn a_wrong_order_fails_the_nets_too() {
    FLAW.set(Flaw::Swapped);
    let backend = Coat::<f32, _>(|tensor| Flawed(Plain(tensor)), PhantomData);
    let report = composites(&backend).unwrap();
    let nets: Vec<&Case> = report.cases.iter().filter(|case| case.name.contains("a net")).collect();
    assert_eq!(nets.len(), 4);
    for case in nets {
        assert!(matches!(case.verdict, Verdict::Failed(_)), "{case}");
    }
}

#[test]
fn numbers_that_come_back_wrong_fail_every_addition_that_reads_them() {
    let backend = Coat::<f32, _>(|tensor| Flawed(Plain(tensor)), PhantomData);
    passes(&additions(&backend).unwrap());
    FLAW.set(Flaw::Assigned);
    let report = additions(&backend).unwrap();
    FLAW.set(Flaw::None);
    // What is refused on both sides is refused before any number is read.
    let passed = |case: &&Case| matches!(case.verdict, Verdict::Passed(off) if off > 0.0);
    if let Some(case) = report.cases.iter().find(passed) {
        panic!("{case}");
    }
    assert!(report.cases.iter().filter(|c| matches!(c.verdict, Verdict::Failed(_))).count() > 60);
}
