//! Covariance-learning memories beside the conditional means of Gaussians.

use pc_core::{
    ErrorKind, Schedule, Status, Tensor,
    host::{HostTensor, Init, Sgd},
};
use pc_models::{Backend, Covariance, CovarianceMemory, Host};

use crate::linear::{Rows, close, conditional, numbers, product, solved, transposed, unit};

type Wide = HostTensor<f64>;
/// Mean and covariance, divided by the number of samples.
fn moments(samples: &Rows) -> (Vec<f64>, Rows) {
    let (count, n) = (samples.len() as f64, samples[0].len());
    let mean: Vec<f64> =
        (0..n).map(|k| samples.iter().map(|x| x[k]).sum::<f64>() / count).collect();
    let entry = |i: usize, j: usize| {
        samples.iter().map(|x| (x[i] - mean[i]) * (x[j] - mean[j])).sum::<f64>() / count
    };
    let covariance = (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect();
    (mean, covariance)
}

/// Correlated samples around a mean.
fn samples(init: &mut Init, count: usize, n: usize) -> Rows {
    let mean = numbers(init, n);
    let mix: Rows = unit(n)
        .into_iter()
        .map(|row| {
            row.iter().zip(numbers(init, n)).map(|(u, x)| u + 0.7 / (n as f64).sqrt() * x).collect()
        })
        .collect();
    let drawn: Rows = (0..count).map(|_| numbers(init, n)).collect();
    let mixed = product(&drawn, &mix);
    mixed.iter().map(|row| row.iter().zip(&mean).map(|(x, m)| x + m).collect()).collect()
}

/// A mask for each of these samples, in turn with more and with fewer known numbers.
fn masks(init: &mut Init, count: usize, n: usize) -> Rows {
    (0..count)
        .map(|k| {
            let share = [-0.4, 0.0, 0.6][k % 3];
            let mut mask: Vec<f64> =
                numbers(init, n).iter().map(|x| f64::from(u8::from(*x < share))).collect();
            mask[k % n] = 1.0;
            mask[(k + 1) % n] = 0.0;
            mask
        })
        .collect()
}

fn own<B: Backend>(backend: &B, rows: &Rows) -> B::Tensor {
    backend.tensor(&[rows.len(), rows[0].len()], &rows.concat()).unwrap()
}

/// At a rate that is stable for a precision matrix of this trace.
fn recall(trace: f64) -> Schedule {
    Schedule::standard(1.0 / trace, 200_000).unwrap().until(1e-10).unwrap()
}

/// The trace of the matrix that pixels follow: of the precision, or of `I - W`, whose diagonal is
/// 1.
fn own_trace(kind: Covariance, precision: &Rows) -> f64 {
    let diagonal = precision.iter().enumerate();
    match kind {
        Covariance::Dendritic => precision.len() as f64,
        _ => diagonal.map(|(k, row)| row[k]).sum(),
    }
}

/// Completions by this memory beside the conditional means of a Gaussian.
fn completes<B: Backend>(
    backend: &B,
    memory: &mut CovarianceMemory<B>,
    (mean, precision): (&[f64], &Rows),
    init: &mut Init,
    tolerance: f64,
) {
    let n = mean.len();
    // Twice, with other samples and masks.
    for _ in 0..2 {
        let (given, known) = (samples(init, 6, n), masks(init, 6, n));
        let (found, outcome) =
            memory.complete(&own(backend, &given), &own(backend, &known)).unwrap();
        let kind = memory.kind();
        assert_eq!(outcome.status, Status::Converged, "{kind} of {n}");
        let wanted: Vec<f64> = given
            .iter()
            .zip(&known)
            .flat_map(|(x, known)| conditional(mean, precision, x, known))
            .collect();
        close(&found.to_vec(), &wanted, tolerance);
    }
}

#[test]
fn learned_memories_complete_by_the_conditional_mean_of_their_data() {
    for (seed, (n, count)) in [(2, 9), (4, 30), (6, 60)].into_iter().enumerate() {
        let mut init = Init::new(seed as u64);
        let data = samples(&mut init, count, n);
        let (mean, covariance) = moments(&data);
        let precision = solved(&covariance, &unit(n));
        for kind in [Covariance::Explicit, Covariance::Dendritic] {
            let host = Host::<f64>::new();
            let mut memory =
                CovarianceMemory::new(&host, kind, n, recall(own_trace(kind, &precision))).unwrap();
            assert_eq!(memory.kind(), kind);
            let mut sgd = Sgd::new(0.1 / count as f64).unwrap();
            let pictures = own(&host, &data);
            let mut slope = f64::INFINITY;
            for _ in 0..400_000 {
                let learn = memory.store(&pictures, |graph, gradients| {
                    slope = gradients.iter().filter_map(|(_, g)| g).map(Tensor::norm_squared).sum();
                    sgd.step(graph.parameters_mut(), gradients)
                });
                learn.unwrap();
                if slope.sqrt() < 1e-9 {
                    break;
                }
            }
            assert!(slope.sqrt() < 1e-9, "{kind} of {n} has not learned all: {slope}");
            completes(&host, &mut memory, (&mean, &precision), &mut init, 1e-6);
        }
    }
}

/// A memory that knows a Gaussian by construction, with the precision that it should complete by.
fn made<B: Backend>(
    backend: &B,
    kind: Covariance,
    init: &mut Init,
    n: usize,
) -> (CovarianceMemory<B>, Vec<f64>, Rows) {
    let (mean, covariance) = moments(&samples(init, 5 * n, n));
    let mut precision = solved(&covariance, &unit(n));
    // I - W: each row of Pi over its diagonal.
    let rest: Rows = (0..n)
        .map(|i| precision[i].iter().map(|x| x / precision[i][i]).collect::<Vec<f64>>())
        .collect();
    let factored = precision.clone();
    if kind == Covariance::Implicit {
        precision = product(&transposed(&rest), &rest);
    }
    let mut memory =
        CovarianceMemory::new(backend, kind, n, recall(own_trace(kind, &precision))).unwrap();
    let mut set = |name: &str, shape: &[usize], numbers: &[f64]| {
        let graph = memory.graph_mut();
        let parameter = graph.parameter(name).unwrap();
        graph.set_parameter(parameter, backend.tensor(shape, numbers).unwrap()).unwrap();
    };
    if kind == Covariance::Explicit {
        // Pi = L L^T, by Cholesky.
        let mut factor = vec![vec![0.0; n]; n];
        for i in 0..n {
            for j in 0..=i {
                let so_far: f64 = (0..j).map(|k| factor[i][k] * factor[j][k]).sum();
                let rest = factored[i][j] - so_far;
                factor[i][j] = if i == j { rest.sqrt() } else { rest / factor[j][j] };
            }
        }
        set("factor", &[n, n], &factor.concat());
        set("mean", &[n], &mean);
        return (memory, mean, precision);
    }
    let weight: Vec<f64> = (0..n)
        .flat_map(|i| (0..n).map(|j| f64::from(u8::from(i == j)) - rest[i][j]).collect::<Vec<_>>())
        .collect();
    let bias: Vec<f64> =
        rest.iter().map(|row| row.iter().zip(&mean).map(|(a, m)| a * m).sum()).collect();
    set("weight", &[n, n], &weight);
    set("bias", &[n], &bias);
    (memory, mean, precision)
}

fn each_kind<B: Backend>(backend: &B, tolerance: f64) {
    for kind in [Covariance::Explicit, Covariance::Implicit, Covariance::Dendritic] {
        for (seed, n) in [2, 3, 5, 8].into_iter().enumerate() {
            let mut init = Init::new(100 + seed as u64);
            let (mut memory, mean, precision) = made(backend, kind, &mut init, n);
            completes(backend, &mut memory, (&mean, &precision), &mut init, tolerance);
        }
    }
}

#[test]
fn each_kind_completes_by_the_conditional_mean_of_its_gaussian() {
    each_kind(&Host::<f64>::new(), 1e-6);
}

#[cfg(feature = "burn")]
#[test]
fn burn() {
    use burn::tensor::{DType, Device};
    each_kind(&pc_models::Burn::new(&Device::default(), DType::F64), 1e-6);
}

#[cfg(feature = "tch")]
#[test]
fn libtorch() {
    each_kind(&pc_models::Tch::new(tch::Kind::Double, tch::Device::Cpu), 1e-6);
}

#[test]
fn all_kinds_return_what_is_stored_without_error() {
    // Patterns of a plane in six dimensions: each number follows from the others.
    let mut init = Init::new(9);
    let (mean, plane) = (numbers(&mut init, 6), [numbers(&mut init, 6), numbers(&mut init, 6)]);
    let data: Rows = (0..8)
        .map(|_| {
            let z = numbers(&mut init, 2);
            let at = |k: usize| mean[k] + z[0] * plane[0][k] + z[1] * plane[1][k];
            (0..6).map(at).collect()
        })
        .collect();
    let known: Rows = (0..8).map(|_| vec![1.0, 1.0, 1.0, 0.0, 0.0, 1.0]).collect();
    let host = Host::<f64>::new();
    let pictures = own(&host, &data);
    for kind in [Covariance::Implicit, Covariance::Dendritic] {
        let mut memory = CovarianceMemory::new(&host, kind, 6, recall(10.0)).unwrap();
        let mut sgd = Sgd::new(0.02).unwrap();
        let mut last = f64::INFINITY;
        for _ in 0..40_000 {
            let learn = memory
                .store(&pictures, |graph, gradients| sgd.step(graph.parameters_mut(), gradients));
            last = learn.unwrap().energy.total();
        }
        assert!(last < 1e-18, "{kind}: {last}");
        let (found, _) = memory.complete(&pictures, &own(&host, &known)).unwrap();
        close(found.data(), pictures.data(), 1e-6);
        // The diagonal has stayed away.
        let graph = memory.graph();
        let weight = &graph.parameters()[graph.parameter("weight").unwrap().index()];
        assert!(weight.data().iter().step_by(7).all(|x| *x == 0.0));
    }
}

#[test]
fn bad_input_is_named() {
    let host = Host::<f64>::new();
    let of = |shape: &[usize], x: Vec<f64>| Wide::new(shape, x).unwrap();
    for kind in [Covariance::Explicit, Covariance::Implicit, Covariance::Dendritic] {
        assert!(CovarianceMemory::new(&host, kind, 0, recall(10.0)).is_err());
        let mut memory = CovarianceMemory::new(&host, kind, 2, recall(10.0)).unwrap();
        let wide = memory.store(&of(&[1, 3], vec![0.0; 3]), |_, _| Ok(())).unwrap_err();
        assert_eq!((wide.kind(), wide.vertex()), (ErrorKind::Shape, Some("pixels")));
        let nan = memory.store(&of(&[1, 2], vec![0.0, f64::NAN]), |_, _| Ok(())).unwrap_err();
        assert_eq!(nan.vertex(), Some("pixels"));
        let half = memory.complete(&of(&[1, 2], vec![0.0; 2]), &of(&[1, 2], vec![0.5; 2]));
        assert_eq!(half.unwrap_err().vertex(), Some("pixels"));
    }
    let fast = Schedule::standard(1e6, 50).unwrap();
    let mut memory = CovarianceMemory::new(&host, Covariance::Explicit, 2, fast).unwrap();
    let (part, known) = (of(&[1, 2], vec![1.0, 0.0]), of(&[1, 2], vec![1.0, 0.0]));
    let mean = memory.graph().parameter("mean").unwrap();
    memory.graph_mut().set_parameter(mean, of(&[2], vec![0.0, 1.0])).unwrap();
    let error = memory.complete(&part, &known).unwrap_err();
    assert!(error.to_string().contains("explicit covariance diverged"), "{error}");
}
