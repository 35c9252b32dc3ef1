use dfdx::{
    nn::{
        Module, TensorCollection,
        modules::{AccurateGeLU, Bias2D, Linear, ReLU, Sigmoid, SplitInto, Tanh},
    },
    prelude::{Device, ModuleVisitor},
    shapes::{Const, Dim, Dtype},
    tensor::{Cpu, CpuError, Tape, Tensor, TensorFromVec},
};
use pc_core::{
    ParamId, Result,
    conformance::{Backend, Built, Net, Report, run},
    host::{HostTensor, Product, Sum},
};
use pc_dfdx::{Conv2d, MaxPool2d, OneVertex, Reader, Reading, Value, Vertices, read};

/// A layer and its activation as they are read, or on dfdx's tape.
#[derive(Clone, Debug)]
struct Layer<const I: usize, const O: usize, F, const TAPED: bool>(Linear<I, O, E, Cpu>, F);

impl<const I: usize, const O: usize, F, const TAPED: bool> TensorCollection<E, Cpu>
    for Layer<I, O, F, TAPED>
{
    // Built by hand here, and never converted.
    type To<E2: Dtype, D2: Device<E2>> = ();

    fn iter_tensors<V: ModuleVisitor<Self, E, Cpu>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<()>, V::Err> {
        visitor.visit_fields(Self::module("0", |s| &s.0, |s| &mut s.0), |_| ())
    }
}

impl<B: Dim, const I: usize, const O: usize, F, T: Tape<E, Cpu>>
    Module<Tensor<(B, Const<I>), E, Cpu, T>> for Layer<I, O, F, true>
where
    F: Module<
            Tensor<(B, Const<O>), E, Cpu, T>,
            Output = Tensor<(B, Const<O>), E, Cpu, T>,
            Error = CpuError,
        >,
{
    type Output = Tensor<(B, Const<O>), E, Cpu, T>;
    type Error = CpuError;

    fn try_forward(
        &self,
        x: Tensor<(B, Const<I>), E, Cpu, T>,
    ) -> std::result::Result<Self::Output, CpuError> {
        self.1.try_forward(self.0.try_forward(x)?)
    }
}

impl<const I: usize, const O: usize, F> OneVertex for Layer<I, O, F, true> {}

impl<B: Dim, const I: usize, const O: usize, F> Vertices<Value<(B, Const<I>), E>, E>
    for Layer<I, O, F, false>
where
    F: Vertices<Value<(B, Const<O>), E>, E, Output = Value<(B, Const<O>), E>>,
{
    type Output = Value<(B, Const<O>), E>;

    fn read(&self, x: Value<(B, Const<I>), E>, r: &mut Reader<'_, E>) -> Result<Self::Output> {
        let y = self.0.read(x, r)?;
        self.1.read(y, r)
    }
}

/// A net of the suite that is more than layers one after the other.
#[derive(Clone, Debug)]
struct Whole<M>(M);

impl<M: TensorCollection<E, Cpu>> TensorCollection<E, Cpu> for Whole<M> {
    type To<E2: Dtype, D2: Device<E2>> = Whole<M::To<E2, D2>>;

    fn iter_tensors<V: ModuleVisitor<Self, E, Cpu>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(Self::module("0", |s| &s.0, |s| &mut s.0), Whole)
    }
}

/// `a`, `b` of it, their sum, and a head.
type Skip<const T: bool> = (Layer<5, 5, Tanh, T>, Layer<5, 5, Tanh, T>, Layer<5, 3, (), T>);

impl<B: Dim, const T: bool> Vertices<Value<(B, Const<5>), E>, E> for Whole<Skip<T>>
where
    Layer<5, 5, Tanh, T>: Vertices<Value<(B, Const<5>), E>, E, Output = Value<(B, Const<5>), E>>,
    Layer<5, 3, (), T>: Vertices<Value<(B, Const<5>), E>, E, Output = Value<(B, Const<3>), E>>,
{
    type Output = Value<(B, Const<3>), E>;

    fn read(&self, x: Value<(B, Const<5>), E>, r: &mut Reader<'_, E>) -> Result<Self::Output> {
        let a = r.within("a", |r| (self.0).0.read(x, r))?;
        let shape = *a.shape();
        let a = r.close(a)?;
        let again = r.value(a, shape)?;
        let b = r.within("b", |r| (self.0).1.read(again, r).and_then(|b| r.close(b)))?;
        let c = r.add("c", Box::new(Sum::new()), &[a, b], &[])?;
        let c = r.value(c, shape)?;
        r.within("y", |r| (self.0).2.read(c, r))
    }
}

/// Two layers of the input, their product, an activation of it, and a head.
type Gated<const T: bool> =
    (SplitInto<(Layer<4, 4, Sigmoid, T>, Layer<4, 4, Tanh, T>)>, Layer<4, 2, (), T>);

impl<B: Dim, const T: bool> Vertices<Value<(B, Const<4>), E>, E> for Whole<Gated<T>>
where
    Layer<4, 4, Sigmoid, T>: Vertices<Value<(B, Const<4>), E>, E, Output = Value<(B, Const<4>), E>>,
    Layer<4, 4, Tanh, T>: Vertices<Value<(B, Const<4>), E>, E, Output = Value<(B, Const<4>), E>>,
    Layer<4, 2, (), T>: Vertices<Value<(B, Const<4>), E>, E, Output = Value<(B, Const<2>), E>>,
{
    type Output = Value<(B, Const<2>), E>;

    fn read(&self, x: Value<(B, Const<4>), E>, r: &mut Reader<'_, E>) -> Result<Self::Output> {
        let (g, h) = (self.0).0.read(x, r)?;
        let shape = *g.shape();
        let (g, h) = (r.close(g)?, r.close(h)?);
        let p = r.add("p", Box::new(Product), &[g, h], &[])?;
        let p = r.value(p, shape)?;
        let q = r.within("q", |r| Tanh.read(p, r))?;
        r.within("y", |r| (self.0).1.read(q, r))
    }
}

/// A convolution, its pictures as rows in a vertex of their own, and a head.
type Pictures<const T: bool> = (
    (Conv2d<2, 3, 3, 1, 1, E, Cpu>, Bias2D<3, E, Cpu>, ReLU, MaxPool2d<2, 2>),
    Layer<27, 2, (), T>,
);

impl<B: Dim, const T: bool> Vertices<Value<(B, Const<2>, Const<6>, Const<6>), E>, E>
    for Whole<Pictures<T>>
where
    Layer<27, 2, (), T>: Vertices<Value<(B, Const<27>), E>, E, Output = Value<(B, Const<2>), E>>,
{
    type Output = Value<(B, Const<2>), E>;

    fn read(
        &self,
        x: Value<(B, Const<2>, Const<6>, Const<6>), E>,
        r: &mut Reader<'_, E>,
    ) -> Result<Self::Output> {
        let c = r.within("c", |r| (self.0).0.read(x, r))?;
        let batch = c.shape().0;
        let c = r.close(c)?;
        let f = r.add("f", Box::new(pc_core::host::Reshape::flatten()), &[c], &[])?;
        let f = r.value(f, (batch, Const))?;
        r.within("y", |r| (self.0).1.read(f, r))
    }
}

fn numbers(net: &Net, k: usize) -> Vec<E> {
    net.parameters[k].2.iter().map(|x| *x as E).collect()
}

fn layer<const I: usize, const O: usize, F: Default, const T: bool>(
    net: &Net,
    first: usize,
) -> Layer<I, O, F, T> {
    let device = Cpu::default();
    let weight = device.tensor_from_vec(numbers(net, first), (Const, Const));
    let bias = device.tensor_from_vec(numbers(net, first + 1), (Const,));
    Layer(Linear { weight, bias }, F::default())
}

fn input<const I: usize>(net: &Net) -> Tensor<(usize, Const<I>), E, Cpu> {
    let of: Vec<E> = net.inputs[0].1.iter().map(|x| *x as E).collect();
    Cpu::default().tensor_from_vec(of, (net.batch, Const))
}

/// Layers one after the other, with one activation.
fn chain<F: Clone + Default + std::fmt::Debug, const T: bool>(net: &Net) -> Result<Reading<E>>
where
    Layer<4, 6, F, T>:
        Vertices<Value<(usize, Const<4>), E>, E, Output = Value<(usize, Const<6>), E>>,
    Layer<6, 5, F, T>:
        Vertices<Value<(usize, Const<6>), E>, E, Output = Value<(usize, Const<5>), E>>,
    Layer<5, 2, (), T>:
        Vertices<Value<(usize, Const<5>), E>, E, Output = Value<(usize, Const<2>), E>>,
{
    let model =
        (layer::<4, 6, F, T>(net, 0), layer::<6, 5, F, T>(net, 2), layer::<5, 2, (), T>(net, 4));
    read(&model, input(net), Default::default())
}

/// dfdx's layers as vertices, or on its tape.
struct Dfdx<const TAPED: bool>;

macro_rules! backend {
    ($taped:literal) => {
        impl Backend for Dfdx<$taped> {
            type Tensor = HostTensor<E>;
            type Network = pc_core::Graph<HostTensor<E>>;

            fn name(&self) -> String {
                format!("dfdx, {} bits, taped: {}", 8 * size_of::<E>(), $taped)
            }

            fn tolerance(&self) -> f64 {
                TOLERANCE
            }

            fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<HostTensor<E>> {
                HostTensor::new(shape, values.iter().map(|x| *x as E).collect())
            }

            fn build(&self, net: &Net) -> Result<Option<Built<Self::Network>>> {
                const T: bool = $taped;
                let device = Cpu::default();
                let reading = match net.name {
                    "tanh chain" => chain::<Tanh, T>(net)?,
                    "relu chain" => chain::<ReLU, T>(net)?,
                    "sigmoid chain" => chain::<Sigmoid, T>(net)?,
                    // dfdx's own derivative of it is wrong: the tape is no witness.
                    "gelu chain" if !$taped => chain::<AccurateGeLU, T>(net)?,
                    "linear chain" => chain::<(), T>(net)?,
                    "skip" => {
                        let model: Skip<T> = (layer(net, 0), layer(net, 2), layer(net, 4));
                        read(&Whole(model), input::<5>(net), Default::default())?
                    }
                    "gate" => {
                        let heads = SplitInto((layer(net, 0), layer(net, 2)));
                        let model: Gated<T> = (heads, layer(net, 4));
                        read(&Whole(model), input::<4>(net), Default::default())?
                    }
                    "convolution" => {
                        let shape = (Const, Const, Const, Const);
                        let conv =
                            Conv2d { weight: device.tensor_from_vec(numbers(net, 0), shape) };
                        let bias = device.tensor_from_vec(numbers(net, 1), (Const,));
                        let first = (conv, Bias2D { bias }, ReLU, MaxPool2d);
                        let model: Pictures<T> = (first, layer(net, 2));
                        let x: Vec<E> = net.inputs[0].1.iter().map(|x| *x as E).collect();
                        let shape = (net.batch, Const, Const, Const);
                        let x = device.tensor_from_vec(x, shape);
                        read(&Whole(model), x, Default::default())?
                    }
                    // Precisions, cycles, and steps with inputs of their own are said on graphs,
                    // and dfdx has no hard tanh.
                    _ => return Ok(None),
                };
                // Both count the inputs first and then the rest in the order of the net.
                let vertices = reading.graph.topology().vertices().collect();
                let parameters = (0..net.parameters.len()).map(ParamId::new).collect();
                Ok(Some(Built { network: reading.graph, vertices, parameters }))
            }
        }
    };
}

backend!(false);
backend!(true);

fn check(report: &Report, more: Option<&str>) {
    report.check().unwrap_or_else(|failures| panic!("{failures}"));
    // Seven nets at least, and all of their cases.
    assert!(report.passed() >= 120, "{} passed", report.passed());
    let skipped = ["hard tanh chain", "precisions", "recurrence", "cycle"];
    for case in &report.cases {
        let of = skipped.into_iter().chain(more).any(|net| case.name.starts_with(net));
        let ran = matches!(case.verdict, pc_core::conformance::Verdict::Passed(_));
        assert!(ran || of, "{case}");
    }
}

#[test]
fn layers_as_they_are_read() {
    check(&run(&Dfdx::<false>).unwrap(), None);
}

#[test]
fn layers_on_the_tape() {
    check(&run(&Dfdx::<true>).unwrap(), Some("gelu chain"));
}
