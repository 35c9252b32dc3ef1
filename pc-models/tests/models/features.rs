//! Memories in a space of features beside the memory of pixels.

use pc_core::{
    Activation, ErrorKind, Graph, Identity, Tensor, VertexId,
    backend::GraphTensor,
    host::{HostTensor, Init},
};
use pc_models::{
    Backend, Dense, FeatureMemory, Host,
    hopfield::{Euclidean, Manhattan, Max, Memory, Softmax},
};

fn numbers<B: Backend>(backend: &B, init: &mut Init, shape: &[usize]) -> B::Tensor {
    let drawn: HostTensor<f64> = init.uniform(shape, 1.0).unwrap();
    backend.tensor(drawn.dims(), drawn.data()).unwrap()
}

fn encoder<B: Backend>(
    backend: &B,
    init: &mut Init,
    shape: &[usize],
    width: usize,
) -> (Graph<B::Tensor>, VertexId, VertexId) {
    let mut b = Graph::builder();
    let image = b.input("image", shape).unwrap();
    let layer = Dense::new(width).after(Activation::Tanh);
    let code = layer.add(backend, &mut b, "code", &[image], init).unwrap();
    (b.build().unwrap(), image, code)
}

#[test]
fn an_identity_encoder_gives_the_memory_of_pixels_bit_for_bit() {
    let host = Host::<f64>::new();
    for (seed, shape) in [&[5][..], &[1, 4, 4], &[3, 2]].into_iter().enumerate() {
        let mut init = Init::new(seed as u64);
        let mut b = Graph::builder();
        let image = b.input("image", shape).unwrap();
        let code = b.vertex("code", HostTensor::boxed(Identity), &[image], &[]).unwrap();
        let mut memory = FeatureMemory::new(b.build().unwrap(), image, code).unwrap();
        for count in [1, 6, 11] {
            let all = [&[count], shape].concat();
            let (pictures, queries) =
                (numbers(&host, &mut init, &all), numbers(&host, &mut init, &all));
            for beta in [0.3, 5.0] {
                let separation = Softmax::new(beta).unwrap();
                let with = |m: Memory| m.similarity(Manhattan).separation(separation);
                let plain = with(Memory::new(&pictures).unwrap());
                memory.store(&pictures, with).unwrap();
                assert_eq!(memory.recall(&queries).unwrap(), plain.recall(&queries).unwrap());
                memory.store_embeddings(&pictures, with).unwrap();
                assert_eq!(memory.recall(&queries).unwrap(), plain.recall(&queries).unwrap());
            }
        }
    }
}

/// Recall by loops: encode, compare, weigh.
fn as_plain<B: Backend>(backend: &B, tolerance: f64) {
    let mut init = Init::new(4);
    let (graph, image, code) = encoder(backend, &mut init, &[6], 3);
    let mut memory = FeatureMemory::new(graph, image, code).unwrap();
    for (count, beta) in [(4, 2.0), (9, 7.0)] {
        let pictures = numbers(backend, &mut init, &[count, 6]);
        let queries = numbers(backend, &mut init, &[5, 6]);
        let separation = Softmax::new(beta).unwrap();
        memory.store(&pictures, |m| m.similarity(Euclidean).separation(separation)).unwrap();
        let found = memory.recall(&queries).unwrap();
        assert_eq!(found.shape(), [5, 6]);
        let [weight, bias] = memory.graph().parameters() else { unreachable!() };
        let (weight, bias) = (weight.to_vec(), bias.to_vec());
        let encoded = |x: &[f64]| -> Vec<f64> {
            let row = |k: usize| -> f64 { (0..6).map(|j| weight[k * 6 + j] * x[j]).sum() };
            (0..3).map(|k| (row(k) + bias[k]).tanh()).collect()
        };
        let (stored, asked) = (pictures.to_vec(), queries.to_vec());
        let mut wanted = Vec::new();
        for query in asked.chunks(6) {
            let query = encoded(query);
            let weights: Vec<f64> = stored
                .chunks(6)
                .map(|m| {
                    let pairs = encoded(m).into_iter().zip(&query);
                    let distance: f64 = pairs.map(|(m, q)| (m - q).powi(2)).sum();
                    (-beta * distance).exp()
                })
                .collect();
            let all: f64 = weights.iter().sum();
            for k in 0..6 {
                let pairs = weights.iter().zip(stored.chunks(6));
                wanted.push(pairs.map(|(w, m)| w * m[k]).sum::<f64>() / all);
            }
        }
        for (a, b) in found.to_vec().iter().zip(&wanted) {
            assert!((a - b).abs() <= tolerance, "{a} and {b}");
        }
    }
}

#[test]
fn recall_is_that_of_a_plain_program() {
    as_plain(&Host::<f64>::new(), 1e-12);
    as_plain(&Host::<f32>::new(), 1e-5);
}

#[cfg(feature = "burn")]
#[test]
fn burn() {
    use burn::tensor::{DType, Device};
    as_plain(&pc_models::Burn::new(&Device::default(), DType::F64), 1e-12);
}

#[cfg(feature = "tch")]
#[test]
fn libtorch() {
    as_plain(&pc_models::Tch::new(tch::Kind::Double, tch::Device::Cpu), 1e-12);
}

#[test]
fn what_is_stored_is_what_was_encoded() {
    let host = Host::<f64>::new();
    let mut init = Init::new(8);
    let (graph, image, code) = encoder(&host, &mut init, &[6], 4);
    let mut memory = FeatureMemory::new(graph, image, code).unwrap();
    let pictures = numbers(&host, &mut init, &[7, 6]);
    let with = |m: Memory| m.similarity(Euclidean).separation(Max);
    memory.store_embeddings(&pictures, with).unwrap();
    let codes = memory.encode(&pictures).unwrap();
    assert_eq!(memory.recall(&pictures).unwrap(), codes);
    assert_eq!(memory.memory().map(Memory::len), Some(7));
    // Another encoder makes other features, and finds the stored ones until it stores anew.
    let weight = memory.graph().parameter("code.weight").unwrap();
    let other = numbers(&host, &mut init, &[4, 6]);
    memory.graph_mut().set_parameter(weight, other).unwrap();
    let found = memory.recall(&pictures).unwrap();
    assert!(found.data().chunks(4).all(|row| codes.data().chunks(4).any(|code| code == row)));
    memory.store(&pictures, with).unwrap();
    assert_eq!(memory.recall(&pictures).unwrap(), pictures);
}

#[test]
fn bad_input_is_named() {
    let host = Host::<f64>::new();
    let mut init = Init::new(5);
    let (graph, image, code) = encoder(&host, &mut init, &[6], 4);
    let (other, ..) = encoder(&host, &mut init, &[6], 4);
    let far = VertexId::new(9);
    assert_eq!(FeatureMemory::new(other, image, far).unwrap_err().kind(), ErrorKind::Graph);
    let mut memory = FeatureMemory::new(graph, image, code).unwrap();
    let pictures = numbers(&host, &mut init, &[2, 6]);
    let empty = memory.recall(&pictures).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::Misuse);
    assert!(empty.to_string().contains("nothing is stored"));
    let wide = memory.store(&numbers(&host, &mut init, &[2, 7]), |m| m).unwrap_err();
    assert_eq!((wide.kind(), wide.vertex()), (ErrorKind::Shape, Some("image")));
    let nan = HostTensor::new(&[1, 6], vec![f64::NAN; 6]).unwrap();
    memory.store(&pictures, |m| m).unwrap();
    assert_eq!(memory.recall(&nan).unwrap_err().kind(), ErrorKind::NotFinite);
}
