//! Associative memories by predictive coding: energies, fixed points, and a closed form.

use crate::linear::{Rows, close, conditional, numbers, product, solved, transposed, unit};
use pc_core::{
    Activation, ErrorKind, Schedule, Tensor,
    host::{Adam, HostTensor, Init},
};
use pc_models::{AssociativeMemory, AssociativeSettings, Backend, Host};

type Wide = HostTensor<f64>;

fn drawn<B: Backend>(backend: &B, init: &mut Init, rows: usize, width: usize) -> B::Tensor {
    backend.tensor(&[rows, width], &numbers(init, rows * width)).unwrap()
}

/// 1 for the first half of every row.
fn half<B: Backend>(backend: &B, rows: usize, width: usize) -> B::Tensor {
    let mask: Vec<f64> =
        (0..rows * width).map(|k| f64::from(u8::from(k % width < width / 2))).collect();
    backend.tensor(&[rows, width], &mask).unwrap()
}

#[test]
fn energies_fall_during_recall() {
    let host = Host::<f64>::new();
    let nets: [(usize, &[usize]); 3] = [(4, &[5, 3]), (7, &[6]), (9, &[8, 8, 4])];
    let shapes = [Activation::Tanh, Activation::Silu, Activation::Sigmoid, Activation::Identity];
    for (seed, (pixels, layers)) in nets.into_iter().enumerate() {
        for f in shapes {
            let mut init = Init::new(seed as u64);
            let settings = AssociativeSettings::new(pixels, layers)
                .unwrap()
                .activation(f)
                .labels(3)
                .recall(Schedule::standard(0.02, 150).unwrap().traced());
            let mut memory = AssociativeMemory::new(&host, &settings, &mut init).unwrap();
            // Before and after something is stored.
            for rounds in [0, 30] {
                let pictures = drawn(&host, &mut init, 5, pixels);
                let labels = drawn(&host, &mut init, 5, 3);
                let mut adam = Adam::new(1e-2).unwrap();
                for _ in 0..rounds {
                    let learn = memory.store(&pictures, Some(&labels), |graph, gradients| {
                        adam.step(graph.parameters_mut(), gradients)
                    });
                    learn.unwrap();
                }
                let noisy = drawn(&host, &mut init, 5, pixels);
                for recalled in [
                    memory.complete(&noisy, &half(&host, 5, pixels)),
                    memory.denoise(&noisy, 1),
                    memory.denoise(&noisy, 3),
                    memory.recall_label(&labels),
                ] {
                    let trace = recalled.unwrap().outcome.trace;
                    assert_eq!(trace.len(), 151);
                    for pair in trace.windows(2) {
                        assert!(pair[1] <= pair[0] * (1.0 + 1e-12), "{pair:?} in {f:?}");
                    }
                    assert!(trace[150] < trace[0], "{} to {}", trace[0], trace[150]);
                }
            }
        }
    }
}

/// Stores these until little energy is left.
fn stored(
    memory: &mut AssociativeMemory<Host<f64>>,
    pictures: &Wide,
    labels: Option<&Wide>,
    rounds: usize,
) {
    let mut adam = Adam::new(3e-3).unwrap();
    for round in 0..rounds {
        if round == rounds / 2 {
            adam.set_rate(3e-4).unwrap();
        }
        let learn = memory.store(pictures, labels, |graph, gradients| {
            adam.step(graph.parameters_mut(), gradients)
        });
        learn.unwrap();
    }
}

/// To an equilibrium, where many free numbers make the way long.
fn patient() -> Schedule {
    Schedule::standard(0.2, 20_000).unwrap().adaptive().until(1e-6).unwrap()
}

#[test]
fn what_is_stored_is_a_fixed_point() {
    let host = Host::<f64>::new();
    for (seed, (pixels, layers)) in [(8, &[32, 16][..]), (12, &[24])].into_iter().enumerate() {
        let mut init = Init::new(20 + seed as u64);
        let recall = Schedule::standard(0.2, 1000).unwrap().adaptive();
        let settings = AssociativeSettings::new(pixels, layers).unwrap().prior(1e-2).recall(recall);
        let mut memory = AssociativeMemory::new(&host, &settings, &mut init).unwrap();
        let pictures = drawn(&host, &mut init, 3, pixels);
        stored(&mut memory, &pictures, None, 1500);
        // The squared distance is at most twice the energy that is left.
        let same = memory.denoise(&pictures, 1).unwrap();
        let energy = same.outcome.energy.total();
        assert!(energy < 0.01, "{energy}");
        let mut away = same.pictures.clone();
        away.axpy(-1.0, &pictures);
        assert!(away.norm_squared() <= 2.0 * energy, "{} and {energy}", away.norm_squared());
        // Again and again it stays there, within 0.05.
        let whole = memory.denoise(&pictures, 5).unwrap().pictures;
        close(whole.data(), pictures.data(), 0.05);
    }
}

#[test]
fn a_half_recalls_the_whole() {
    let host = Host::<f64>::new();
    let mut init = Init::new(20);
    let settings = AssociativeSettings::new(8, &[32, 16]).unwrap().prior(1e-2).recall(patient());
    let mut memory = AssociativeMemory::new(&host, &settings, &mut init).unwrap();
    let pictures = drawn(&host, &mut init, 3, 8);
    stored(&mut memory, &pictures, None, 1500);
    let mask = half(&host, 3, 8);
    let mut part = pictures.clone();
    part.multiply(&mask);
    let found = memory.complete(&part, &mask).unwrap();
    close(found.pictures.data(), pictures.data(), 0.05);
}

#[test]
fn a_linear_memory_completes_by_the_conditional_mean() {
    let host = Host::<f64>::new();
    for (seed, (pixels, width, prior)) in
        [(3, 2, 1.0), (5, 4, 0.5), (8, 3, 2.0)].into_iter().enumerate()
    {
        let mut init = Init::new(40 + seed as u64);
        let recall = Schedule::standard(0.1, 100_000).unwrap().until(1e-11).unwrap();
        let settings = AssociativeSettings::new(pixels, &[width])
            .unwrap()
            .activation(Activation::Identity)
            .prior(prior)
            .recall(recall);
        let mut memory = AssociativeMemory::new(&host, &settings, &mut init).unwrap();
        let bias = memory.graph().parameter("memory.bias").unwrap();
        let top = numbers(&mut init, width);
        memory.graph_mut().set_parameter(bias, Wide::new(&[width], top.clone()).unwrap()).unwrap();
        // x = W m + c + noise, m = b + noise of precision `prior`.
        let numbers_of = |name: &str| {
            let graph = memory.graph();
            graph.parameters()[graph.parameter(name).unwrap().index()].data().to_vec()
        };
        let weight: Rows = numbers_of("pixels.weight").chunks(width).map(<[f64]>::to_vec).collect();
        let shift = numbers_of("pixels.bias");
        let mean: Vec<f64> = weight
            .iter()
            .zip(&shift)
            .map(|(row, c)| c + row.iter().zip(&top).map(|(w, b)| w * b).sum::<f64>())
            .collect();
        let mut covariance = product(&weight, &transposed(&weight));
        for (k, row) in covariance.iter_mut().enumerate() {
            row.iter_mut().for_each(|x| *x /= prior);
            row[k] += 1.0;
        }
        let precision = solved(&covariance, &unit(pixels));
        // Twice, with other pictures.
        for _ in 0..2 {
            let (given, mask) = (drawn(&host, &mut init, 4, pixels), half(&host, 4, pixels));
            let found = memory.complete(&given, &mask).unwrap();
            let wanted: Vec<f64> = given
                .data()
                .chunks(pixels)
                .zip(mask.data().chunks(pixels))
                .flat_map(|(x, known)| conditional(&mean, &precision, x, known))
                .collect();
            close(found.pictures.data(), &wanted, 1e-6);
        }
    }
}

#[test]
fn a_label_recalls_its_picture_and_a_picture_its_label() {
    let host = Host::<f64>::new();
    let mut init = Init::new(60);
    let settings =
        AssociativeSettings::new(10, &[32, 16]).unwrap().labels(3).prior(0.1).recall(patient());
    let mut memory = AssociativeMemory::new(&host, &settings, &mut init).unwrap();
    let pictures = drawn(&host, &mut init, 3, 10);
    let labels = Wide::new(&[3, 3], unit(3).concat()).unwrap();
    stored(&mut memory, &pictures, Some(&labels), 1500);
    let found = memory.recall_label(&labels).unwrap();
    // Each is nearer to its own picture than to any other, by a factor of ten.
    for (k, found) in found.pictures.data().chunks(10).enumerate() {
        let distances: Vec<f64> = pictures
            .data()
            .chunks(10)
            .map(|stored| stored.iter().zip(found).map(|(a, b)| (a - b).powi(2)).sum())
            .collect();
        let others = distances.iter().enumerate().filter(|(other, _)| *other != k);
        assert!(others.into_iter().all(|(_, far)| *far > 10.0 * distances[k]), "{distances:?}");
    }
    close(found.labels.unwrap().data(), labels.data(), 0.0);
    let found = memory.complete(&pictures, &half(&host, 3, 10)).unwrap();
    close(found.labels.unwrap().data(), labels.data(), 0.1);
}

/// Stores a few rounds and completes, in numbers.
fn completed<B: Backend>(backend: &B) -> Vec<f64> {
    let mut init = Init::new(70);
    let settings = AssociativeSettings::new(6, &[7, 4])
        .unwrap()
        .labels(2)
        .recall(Schedule::standard(0.1, 80).unwrap());
    let mut memory = AssociativeMemory::new(backend, &settings, &mut init).unwrap();
    let pictures = drawn(backend, &mut init, 4, 6);
    let labels = drawn(backend, &mut init, 4, 2);
    for _ in 0..5 {
        let learn = memory.store(&pictures, Some(&labels), |graph, gradients| {
            for (id, gradient) in gradients.iter() {
                let mut moved = graph.parameters()[id.index()].clone();
                moved.axpy(-0.05, gradient.unwrap());
                graph.set_parameter(id, moved)?;
            }
            Ok(())
        });
        learn.unwrap();
    }
    let part = memory.complete(&pictures, &half(backend, 4, 6)).unwrap();
    let noisy = memory.denoise(&pictures, 2).unwrap();
    let named = memory.recall_label(&labels).unwrap();
    [part.pictures, part.labels.unwrap(), noisy.pictures, named.pictures]
        .iter()
        .flat_map(Tensor::to_vec)
        .collect()
}

#[test]
fn host_in_f32() {
    close(&completed(&Host::<f32>::new()), &completed(&Host::<f64>::new()), 1e-5);
}

#[cfg(feature = "burn")]
#[test]
fn burn() {
    use burn::tensor::{DType, Device};
    let found = completed(&pc_models::Burn::new(&Device::default(), DType::F64));
    close(&found, &completed(&Host::<f64>::new()), 1e-10);
}

#[cfg(feature = "tch")]
#[test]
fn libtorch() {
    let found = completed(&pc_models::Tch::new(tch::Kind::Double, tch::Device::Cpu));
    close(&found, &completed(&Host::<f64>::new()), 1e-10);
}

#[test]
fn bad_input_is_named() {
    let host = Host::<f64>::new();
    let new =
        |settings: &AssociativeSettings| AssociativeMemory::new(&host, settings, &mut Init::new(0));
    let plain = AssociativeSettings::new(4, &[3]).unwrap();
    let none = new(&AssociativeSettings::new(4, &[]).unwrap()).unwrap_err();
    assert!(none.to_string().contains("needs a layer"), "{none}");
    let empty = new(&AssociativeSettings::new(4, &[3, 0]).unwrap()).unwrap_err();
    assert_eq!(empty.vertex(), Some("memory"));
    let flat = new(&AssociativeSettings::new(0, &[3]).unwrap()).unwrap_err();
    assert_eq!(flat.vertex(), Some("pixels"));
    let weightless = new(&plain.clone().prior(0.0)).unwrap_err();
    assert_eq!(weightless.vertex(), Some("memory"));
    let mut memory = new(&plain).unwrap();
    let (pictures, labels) = (Wide::zeroed(&[2, 4]).unwrap(), Wide::zeroed(&[2, 2]).unwrap());
    let unlabelled = memory.store(&pictures, Some(&labels), |_, _| Ok(())).unwrap_err();
    assert!(unlabelled.to_string().contains("no labels"));
    assert_eq!(memory.recall_label(&labels).unwrap_err().kind(), ErrorKind::Misuse);
    let mut labelled = new(&plain.clone().labels(2)).unwrap();
    let missing = labelled.store(&pictures, None, |_, _| Ok(())).unwrap_err();
    assert_eq!(missing.vertex(), Some("label"));
    let wide = memory.store(&labels, None, |_, _| Ok(())).unwrap_err();
    assert_eq!((wide.kind(), wide.vertex()), (ErrorKind::Shape, Some("pixels")));
    assert_eq!(memory.denoise(&pictures, 0).unwrap_err().kind(), ErrorKind::Misuse);
    let nan = Wide::new(&[1, 4], vec![f64::NAN; 4]).unwrap();
    assert_eq!(memory.denoise(&nan, 1).unwrap_err().vertex(), Some("pixels"));
    let mut fast = new(&plain.recall(Schedule::standard(1e4, 99).unwrap())).unwrap();
    let ones = Wide::new(&[1, 4], vec![1.0; 4]).unwrap();
    let error = fast.denoise(&ones, 1).unwrap_err();
    assert!(error.to_string().contains("recall diverged"), "{error}");
}
