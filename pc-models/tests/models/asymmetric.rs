//! The asymmetric Hopfield network beside its matrix.

use pc_core::host::{HostTensor, Init};
use pc_models::{
    AsymmetricHopfield,
    hopfield::{Identity, Polynomial, Separation, Softmax},
};

fn drawn(init: &mut Init, shape: &[usize], bound: f64) -> HostTensor<f64> {
    init.uniform(shape, bound).unwrap()
}

fn rows(tensor: &HostTensor<f64>) -> Vec<Vec<f64>> {
    tensor.data().chunks(tensor.dims()[1]).map(<[f64]>::to_vec).collect()
}

fn times(a: &[Vec<f64>], x: &[f64]) -> Vec<f64> {
    a.iter().map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect()
}

fn near(found: &[f64], wanted: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() <= tolerance, "{what}: {a} and {b}");
    }
}

#[test]
fn the_asymmetric_network_is_its_matrix() {
    for (width, length, batch) in [(5, 4, 1), (3, 6, 2)] {
        let mut init = Init::new(width as u64);
        let frames: Vec<_> = (0..length).map(|_| drawn(&mut init, &[batch, width], 1.0)).collect();
        let query = drawn(&mut init, &[3, width], 1.0);
        let mut matrix = vec![vec![0.0; width]; width];
        let transitions: Vec<(Vec<f64>, Vec<f64>)> = frames
            .windows(2)
            .flat_map(|pair| rows(&pair[0]).into_iter().zip(rows(&pair[1])))
            .collect();
        for (before, after) in &transitions {
            for k in 0..width {
                for j in 0..width {
                    matrix[k][j] += after[k] * before[j] / width as f64;
                }
            }
        }
        fn next(
            frames: &[HostTensor<f64>],
            query: &HostTensor<f64>,
            separation: impl Separation + 'static,
        ) -> HostTensor<f64> {
            AsymmetricHopfield::store(frames, separation).unwrap().next(query).unwrap()
        }
        let classical = next(&frames, &query, Identity);
        let same = next(&frames, &query, Polynomial::new(1).unwrap());
        let cubic = next(&frames, &query, Polynomial::new(3).unwrap());
        let modern = next(&frames, &query, Softmax::new(2.0 * width as f64).unwrap());
        for (k, q) in rows(&query).iter().enumerate() {
            near(&rows(&classical)[k], &times(&matrix, q), 1e-12, "the classical network");
            near(&rows(&same)[k], &times(&matrix, q), 1e-12, "a polynomial of degree 1");
            let dot = |x: &[f64]| x.iter().zip(q).map(|(x, q)| x * q).sum::<f64>();
            let mix = |weights: &[f64]| -> Vec<f64> {
                let of = |j: usize| transitions.iter().zip(weights).map(move |(t, w)| w * t.1[j]);
                (0..width).map(|j| of(j).sum()).collect()
            };
            let cubes: Vec<f64> =
                transitions.iter().map(|t| (dot(&t.0) / width as f64).powi(3)).collect();
            near(&rows(&cubic)[k], &mix(&cubes), 1e-12, "a cubic one");
            let powers: Vec<f64> = transitions.iter().map(|t| (2.0 * dot(&t.0)).exp()).collect();
            let sum: f64 = powers.iter().sum();
            let soft: Vec<f64> = powers.iter().map(|p| p / sum).collect();
            near(&rows(&modern)[k], &mix(&soft), 1e-12, "the modern network");
        }
    }
}

#[test]
fn frames_that_do_not_fit_are_named() {
    let frame = |batch, width| HostTensor::<f64>::zeroed(&[batch, width]).unwrap();
    let mut bad = frame(1, 3);
    bad.data_mut()[1] = f64::NAN;
    let store = |frames: &[HostTensor<f64>]| AsymmetricHopfield::store(frames, Identity);
    assert!(store(&[frame(1, 3)]).is_err());
    assert!(store(&[frame(1, 3), frame(1, 2)]).unwrap_err().to_string().contains("frame 1"));
    assert!(store(&[frame(1, 3), bad.clone()]).is_err());
    let two = [frame(1, 3), frame(1, 3)];
    let hopfield = store(&two).unwrap();
    assert!(hopfield.next(&frame(1, 2)).is_err() && hopfield.next(&bad).is_err());
    // From a frame on, what is recalled asks for the next.
    let ring = [[1.0, 1.0, -1.0], [1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]];
    let ring = ring.map(|x| HostTensor::<f64>::new(&[1, 3], x.to_vec()).unwrap());
    let sharp = AsymmetricHopfield::store(&ring, Softmax::new(300.0).unwrap()).unwrap();
    let recalled = sharp.recall_offline(&ring[0], 2, |_| Ok(())).unwrap();
    near(recalled[0].data(), ring[1].data(), 1e-12, "the next");
    near(recalled[1].data(), ring[2].data(), 1e-12, "the one after it");
    assert!(sharp.recall_offline(&frame(1, 2), 1, |_| Ok(())).is_err());
}
