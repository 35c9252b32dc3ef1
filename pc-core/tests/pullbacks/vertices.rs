//! All checks on every vertex.

use pc_core::Identity;
use pc_core::host::{
    Activate, Activation, AddParameter, AvgPool2d, Concat, Conv2d, ConvTranspose2d, Element,
    Embedding, Gated, HostChain, HostTensor, HostVertex, LayerNorm, Linear, LinearMany, MatMul,
    MaxPool2d, Product, Reshape, Scale, Softmax, Split, Sum, SumOfProducts, SwapAxes,
};
use pc_core::{Map, Residual, SumOf};

use crate::harness::case;

#[test]
fn identity() {
    case!(Identity).parent(&[3, 4]).check();
}

#[test]
fn linear() {
    case!(Linear::new()).parent(&[3, 5]).parameter(&[4, 5]).parameter(&[4]).check();
    case!(Linear::new()).parent(&[2, 3, 5]).parameter(&[4, 5]).parameter(&[4]).check();
    case!(Linear::without_bias()).parent(&[3, 5]).parameter(&[4, 5]).check();
}

#[test]
fn linear_many() {
    case!(LinearMany::new(2))
        .parent(&[3, 5])
        .parent(&[3, 2])
        .parameter(&[4, 5])
        .parameter(&[4, 2])
        .parameter(&[4])
        .check();
    case!(LinearMany::new(1)).parent(&[3, 5]).parameter(&[4, 5]).parameter(&[4]).check();
    let three = case!(LinearMany::without_bias(3)).parent(&[2, 5]).parent(&[2, 1]).parent(&[2, 4]);
    three.parameter(&[3, 5]).parameter(&[3, 1]).parameter(&[3, 4]).check();
}

#[test]
fn conv_transpose2d() {
    fn of(stride: usize, padding: usize, output_padding: usize, bias: bool) -> ConvTranspose2d {
        ConvTranspose2d { stride, padding, output_padding, bias }
    }
    case!(of(1, 0, 0, true)).parent(&[3, 2, 3, 4]).parameter(&[2, 4, 3, 2]).parameter(&[4]).check();
    case!(of(2, 1, 0, true)).parent(&[2, 3, 4, 4]).parameter(&[3, 2, 4, 4]).parameter(&[2]).check();
    case!(of(2, 2, 1, false)).parent(&[2, 2, 3, 4]).parameter(&[2, 3, 5, 5]).check();
    // Windows that do not touch.
    case!(of(3, 0, 2, true)).parent(&[1, 2, 2, 3]).parameter(&[2, 1, 1, 2]).parameter(&[1]).check();
}

#[test]
fn conv2d() {
    case!(Conv2d { stride: 1, padding: 2, bias: true })
        .parent(&[3, 2, 6, 5])
        .parameter(&[4, 2, 3, 3])
        .parameter(&[4])
        .check();
    case!(Conv2d { stride: 1, padding: 0, bias: false })
        .parent(&[2, 3, 5, 5])
        .parameter(&[2, 3, 1, 1])
        .check();
    case!(Conv2d { stride: 2, padding: 1, bias: true })
        .parent(&[2, 2, 7, 6])
        .parameter(&[3, 2, 3, 2])
        .parameter(&[3])
        .check();
    case!(Conv2d { stride: 3, padding: 0, bias: true })
        .parent(&[1, 1, 8, 8])
        .parameter(&[2, 1, 2, 3])
        .parameter(&[2])
        .check();
    // The kernel is as large as the padded image.
    case!(Conv2d { stride: 1, padding: 1, bias: true })
        .parent(&[2, 1, 2, 2])
        .parameter(&[2, 1, 4, 4])
        .parameter(&[2])
        .check();
}

#[test]
fn pools() {
    case!(MaxPool2d { size: 2, stride: 2 }).parent(&[2, 3, 6, 4]).kinked().check();
    case!(MaxPool2d { size: 3, stride: 1 }).parent(&[2, 2, 5, 4]).kinked().check();
    case!(MaxPool2d { size: 2, stride: 3 }).parent(&[2, 1, 7, 6]).kinked().check();
    case!(AvgPool2d { size: 2, stride: 2 }).parent(&[2, 3, 6, 4]).check();
    case!(AvgPool2d { size: 3, stride: 2 }).parent(&[2, 2, 6, 5]).check();
}

#[test]
fn softmax() {
    case!(Softmax::new()).parent(&[3, 5]).bound(2.0).check();
    case!(Softmax::new()).parent(&[2, 3, 4]).bound(6.0).step(3.0).check();
    case!(Softmax::causal()).parent(&[2, 3, 3]).bound(2.0).check();
    case!(Softmax::causal()).parent(&[2, 2, 3, 5]).bound(2.0).check();
}

#[test]
fn layer_norm() {
    case!(LayerNorm::default()).parent(&[3, 6]).parameter(&[6]).parameter(&[6]).check();
    case!(LayerNorm { epsilon: 0.1 })
        .parent(&[2, 3, 4])
        .bound(3.0)
        .parameter(&[4])
        .parameter(&[4])
        .check();
}

#[test]
fn sums_and_products() {
    case!(Sum::new()).parent(&[2, 3]).parent(&[2, 3]).parent(&[2, 3]).check();
    case!(Sum::weighted(&[0.5, -2.0])).parent(&[2, 3]).parent(&[2, 3]).check();
    case!(Product).parent(&[2, 3]).parent(&[2, 3]).check();
    case!(Product).parent(&[2, 3]).parent(&[2, 3]).parent(&[2, 3]).parent(&[2, 3]).check();
    case!(Product).parent(&[2, 3]).check();
    case!(SumOfProducts).parent(&[2, 3]).parent(&[2, 3]).parent(&[2, 3]).parent(&[2, 3]).check();
    case!(Gated(Activation::Tanh)).parent(&[2, 3]).parent(&[2, 3]).check();
    case!(Gated(Activation::Silu)).parent(&[2, 3]).parent(&[2, 3]).check();
    case!(Gated(Activation::HardTanh)).parent(&[2, 3]).parent(&[2, 3]).bound(1.8).kinked().check();
    case!(Scale(-1.75)).parent(&[2, 3]).check();
    case!(AddParameter).parent(&[3, 2, 4]).parameter(&[2, 4]).check();
}

#[test]
fn arrangements() {
    case!(Concat { axis: 0 }).parent(&[2, 3]).parent(&[2, 1]).parent(&[2, 4]).check();
    case!(Concat { axis: 1 }).parent(&[2, 3, 2, 2]).parent(&[2, 3, 4, 2]).check();
    case!(Split { axis: 0, start: 1, length: 2 }).parent(&[2, 4]).check();
    case!(Split { axis: 1, start: 0, length: 3 }).parent(&[2, 2, 4, 3]).check();
    case!(Reshape::to(&[3, 4])).parent(&[2, 2, 6]).check();
    case!(Reshape::flatten()).parent(&[2, 2, 3, 2]).check();
    case!(SwapAxes).parent(&[2, 3, 2, 4]).check();
    case!(SwapAxes).parent(&[2, 3, 2]).check();
}

#[test]
fn embedding() {
    let words = HostTensor::new(&[2, 3], vec![0.0, 4.0, 4.0, 2.0, 0.0, 1.0]).unwrap();
    case!(Embedding).fixed(words).parameter(&[5, 3]).check();
    let word = HostTensor::new(&[3], vec![1.0, 0.0, 1.0]).unwrap();
    case!(Embedding).fixed(word).parameter(&[2, 4]).check();
}

#[test]
fn matmul() {
    case!(MatMul::default()).parent(&[2, 3, 4]).parent(&[2, 4, 5]).check();
    case!(MatMul { transpose_b: true, scale: 0.5 }).parent(&[2, 3, 4]).parent(&[2, 5, 4]).check();
    case!(MatMul { transpose_b: false, scale: -2.0 })
        .parent(&[2, 3, 2, 4])
        .parent(&[2, 3, 4, 1])
        .check();
    case!(MatMul { transpose_b: true, scale: 0.25 })
        .parent(&[2, 2, 3, 4])
        .parent(&[2, 2, 3, 4])
        .check();
}

#[test]
fn activations() {
    case!(Activate(Activation::Identity)).parent(&[3, 5]).check();
    case!(Activate(Activation::Relu)).parent(&[3, 5]).kinked().check();
    case!(Activate(Activation::LeakyRelu(0.2))).parent(&[3, 5]).kinked().check();
    case!(Activate(Activation::HardTanh)).parent(&[3, 5]).bound(2.0).step(2.0).kinked().check();
    case!(Activate(Activation::Tanh)).parent(&[3, 5]).bound(3.0).step(2.0).check();
    case!(Activate(Activation::Sigmoid)).parent(&[3, 5]).bound(4.0).step(2.0).check();
    case!(Activate(Activation::Gelu)).parent(&[3, 5]).bound(3.0).step(2.0).check();
    case!(Activate(Activation::Silu)).parent(&[3, 5]).bound(4.0).step(2.0).check();
    case!(Activate(Activation::Softplus)).parent(&[3, 5]).bound(4.0).step(2.0).check();
}

#[test]
fn chains() {
    case!(
        HostChain::new(vec![Box::new(Linear::new()), Box::new(Activate(Activation::Tanh))])
            .unwrap()
    )
    .parent(&[3, 5])
    .parameter(&[4, 5])
    .parameter(&[4])
    .check();
    case!(
        HostChain::new(vec![
            Box::new(Conv2d { stride: 1, padding: 1, bias: true }),
            Box::new(Activate(Activation::Relu)),
            Box::new(MaxPool2d { size: 2, stride: 2 })
        ])
        .unwrap()
    )
    .parent(&[2, 2, 6, 6])
    .parameter(&[3, 2, 3, 3])
    .parameter(&[3])
    .kinked()
    .check();
    case!(
        HostChain::new(vec![
            Box::new(LinearMany::new(2)),
            Box::new(LayerNorm::default()),
            Box::new(Activate(Activation::Gelu)),
            Box::new(Linear::without_bias()),
            Box::new(Softmax::new())
        ])
        .unwrap()
    )
    .parent(&[2, 3])
    .parent(&[2, 4])
    .parameter(&[5, 3])
    .parameter(&[5, 4])
    .parameter(&[5])
    .parameter(&[5])
    .parameter(&[5])
    .parameter(&[3, 5])
    .check();
    case!(
        HostChain::new(vec![
            Box::new(MatMul::default()),
            Box::new(SwapAxes),
            Box::new(Reshape::to(&[6, 2]))
        ])
        .unwrap()
    )
    .parent(&[2, 3, 2, 4])
    .parent(&[2, 3, 4, 2])
    .check();
}

/// A link whose change is the default, by subtraction, is told its own prediction, not the whole's.
#[test]
fn residuals_and_sums_of_vertices() {
    fn inner<F: Element>() -> HostVertex<F> {
        let links: Vec<HostVertex<F>> = vec![
            Box::new(Activate(Activation::Tanh)),
            Box::new(Linear::new()),
            Box::new(Scale(0.25)),
        ];
        Box::new(HostChain::new(links).unwrap())
    }
    case!(Residual::new(inner())).parent(&[3, 4]).parameter(&[4, 4]).parameter(&[4]).check();
    case!(Residual::new(Activate(Activation::Gelu))).parent(&[3, 4]).check();
    case!(Residual::new(cube())).parent(&[3, 4]).check();
    case!(SumOf::new(vec![inner(), Box::new(Linear::without_bias()) as HostVertex<_>]))
        .parent(&[3, 4])
        .parent(&[3, 2])
        .parameter(&[4, 4])
        .parameter(&[4])
        .parameter(&[4, 2])
        .check();
    case!(SumOf::new(vec![inner()])).parent(&[2, 4]).parameter(&[4, 4]).parameter(&[4]).check();
    // Inside a chain, each of its links, and one inside the other.
    fn nested<F: Element>() -> HostVertex<F> {
        let links: Vec<HostVertex<F>> = vec![
            Box::new(SumOf::new(vec![inner(), Box::new(Residual::new(inner()))])),
            Box::new(Residual::new(Residual::new(inner()))),
            Box::new(cube()),
            Box::new(Reshape::flatten()),
            Box::new(Linear::without_bias()),
        ];
        Box::new(HostChain::new(links).unwrap())
    }
    case!(nested())
        .parent(&[3, 4])
        .parent(&[3, 4])
        .parameter(&[4, 4])
        .parameter(&[4])
        .parameter(&[4, 4])
        .parameter(&[4])
        .parameter(&[4, 4])
        .parameter(&[4])
        .parameter(&[2, 4])
        .check();
}

/// `x^3 / 2`, with its difference.
fn cube() -> Map {
    Map::new("cube", |x| 0.5 * x * x * x, |x| 1.5 * x * x)
        .with_difference(|a, d| 0.5 * d * (3.0 * a * (a + d) + d * d))
}

#[test]
fn maps() {
    case!(cube()).parent(&[3, 4]).bound(2.0).step(1.5).check();
    case!(cube()).parent(&[2, 3, 2]).check();
    // By subtraction, which in f64 is enough for f32.
    case!(Map::new("sine", f64::sin, f64::cos)).parent(&[3, 4]).bound(3.0).check();
}
