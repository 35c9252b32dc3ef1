//! Incremental and error-based PC against programs of their own: plain loops over a 3-4-4-2 tanh
//! net, no engine, no tensors.

use pc_core::{
    Clamps, Graph, Relaxation, Schedule, Tensor,
    host::{Activation, HostLayers, HostTensor, Init, Sgd},
};

use crate::common::{Numbers, close, tensor};

pub(crate) const DIMS: [usize; 4] = [3, 4, 4, 2];
pub(crate) const BATCH: usize = 2;

/// Weights `[layer][row][column]`, biases, input and target.
#[derive(Clone)]
pub(crate) struct PlainNet {
    pub(crate) w: Vec<Vec<Vec<f64>>>,
    pub(crate) b: Vec<Vec<f64>>,
    pub(crate) x: Vec<Vec<f64>>,
    pub(crate) y: Vec<Vec<f64>>,
}

pub(crate) type States = Vec<Vec<Vec<f64>>>;

impl PlainNet {
    pub(crate) fn new(seed: u64) -> Self {
        let mut n = Numbers::new(seed);
        let w = (0..3).map(|l| (0..DIMS[l + 1]).map(|_| n.many(DIMS[l], 0.9)).collect()).collect();
        let b = (0..3).map(|l| n.many(DIMS[l + 1], 0.2)).collect();
        Self {
            w,
            b,
            x: (0..BATCH).map(|_| n.many(DIMS[0], 1.0)).collect(),
            y: (0..BATCH).map(|_| n.many(DIMS[3], 1.0)).collect(),
        }
    }

    /// Prediction of layer `l + 1` and its derivative by the pre-activation.
    pub(crate) fn predict(&self, l: usize, z: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let a: Vec<f64> = self.w[l]
            .iter()
            .zip(&self.b[l])
            .map(|(row, b)| b + row.iter().zip(z).map(|(w, z)| w * z).sum::<f64>())
            .collect();
        if l == 2 {
            let ones = vec![1.0; a.len()];
            return (a, ones);
        }
        let mu: Vec<f64> = a.iter().map(|a| a.tanh()).collect();
        let slope = mu.iter().map(|m| 1.0 - m * m).collect();
        (mu, slope)
    }

    pub(crate) fn forward(&self, offsets: Option<&States>) -> States {
        (0..BATCH)
            .map(|n| {
                let mut z = vec![self.x[n].clone()];
                for l in 0..3 {
                    let mut mu = self.predict(l, &z[l]).0;
                    if let (Some(offsets), true) = (offsets, l < 2) {
                        mu.iter_mut().zip(&offsets[n][l + 1]).for_each(|(m, e)| *m += e);
                    }
                    z.push(mu);
                }
                z
            })
            .collect()
    }

    pub(crate) fn errors(&self, z: &[Vec<f64>]) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        (0..3)
            .map(|l| {
                let (mu, slope) = self.predict(l, &z[l]);
                (z[l + 1].iter().zip(&mu).map(|(z, m)| z - m).collect::<Vec<f64>>(), slope)
            })
            .unzip()
    }

    /// `J^T u` of layer `l + 1` by layer `l`.
    pub(crate) fn back(&self, l: usize, u: &[f64], slope: &[f64]) -> Vec<f64> {
        (0..DIMS[l])
            .map(|j| (0..DIMS[l + 1]).map(|i| self.w[l][i][j] * slope[i] * u[i]).sum())
            .collect()
    }

    pub(crate) fn graph(&self) -> (Graph<HostTensor<f64>>, Clamps<HostTensor<f64>>) {
        self.graph_of([1.0; 3])
    }

    /// The same with these precisions.
    pub(crate) fn graph_of(
        &self,
        precisions: [f64; 3],
    ) -> (Graph<HostTensor<f64>>, Clamps<HostTensor<f64>>) {
        let mut b = Graph::builder();
        let mut init = Init::new(0);
        let x = b.input("x", &[DIMS[0]]).unwrap();
        let mut last = x;
        for l in 0..3 {
            let f = if l == 2 { Activation::Identity } else { Activation::Tanh };
            last = b.dense(&format!("l{l}"), last, DIMS[l + 1], f, &mut init).unwrap();
            b.precision(last, precisions[l]).unwrap();
        }
        let mut graph = b.build().unwrap();
        for l in 0..3 {
            let w = graph.parameter(&format!("l{l}.weight")).unwrap();
            graph.set_parameter(w, tensor(&[DIMS[l + 1], DIMS[l]], &self.w[l].concat())).unwrap();
            let b = graph.parameter(&format!("l{l}.bias")).unwrap();
            graph.set_parameter(b, tensor(&[DIMS[l + 1]], &self.b[l])).unwrap();
        }
        let clamps = Clamps::new()
            .hold(x, tensor(&[BATCH, DIMS[0]], &self.x.concat()))
            .hold(last, tensor(&[BATCH, DIMS[3]], &self.y.concat()));
        (graph, clamps)
    }

    pub(crate) fn flat(&self) -> Vec<Vec<f64>> {
        (0..3).flat_map(|l| [self.w[l].concat(), self.b[l].clone()]).collect()
    }
}

#[test]
fn incremental_pc() {
    let (rate, weight_rate, steps) = (0.3, 0.05, 12);
    for seed in 0..5 {
        let mut net = PlainNet::new(seed);
        let (mut graph, clamps) = net.graph();
        let mut relaxation = Relaxation::new(&graph, Schedule::ipc(rate, steps).unwrap()).unwrap();
        let mut sgd = Sgd::new(weight_rate).unwrap();
        let outcome = relaxation
            .train(&mut graph, &clamps, |graph, gradients| {
                sgd.step(graph.parameters_mut(), gradients)
            })
            .unwrap();
        assert_eq!(outcome.steps, steps);

        let mut states = net.forward(None);
        for (z, y) in states.iter_mut().zip(&net.y) {
            z[3] = y.clone();
        }
        for _ in 0..steps {
            let before = net.clone();
            for z in &mut states {
                let (e, slope) = before.errors(z);
                for l in 0..3 {
                    for i in 0..DIMS[l + 1] {
                        for (w, z) in net.w[l][i].iter_mut().zip(&z[l]) {
                            *w += weight_rate * e[l][i] * slope[l][i] * z;
                        }
                        net.b[l][i] += weight_rate * e[l][i] * slope[l][i];
                    }
                }
                for l in 1..3 {
                    let force = before.back(l, &e[l], &slope[l]);
                    for (z, (e, f)) in z[l].iter_mut().zip(e[l - 1].iter().zip(&force)) {
                        *z += rate * (f - e);
                    }
                }
            }
        }
        for (index, expected) in net.flat().iter().enumerate() {
            close(
                &format!("seed {seed}, parameter {index}"),
                graph.parameters()[index].data(),
                expected,
                1e-12,
            );
        }
        for l in 1..3 {
            let vertex = graph.vertex(&format!("l{}", l - 1)).unwrap();
            let expected: Vec<f64> = states.iter().flat_map(|z| z[l].clone()).collect();
            close(
                &format!("seed {seed}, state {l}"),
                relaxation.value(&graph, vertex).unwrap().data(),
                &expected,
                1e-12,
            );
        }
    }
}

#[test]
fn error_based_pc() {
    let (rate, steps) = (0.2, 15);
    for seed in 0..5 {
        let net = PlainNet::new(seed + 100);
        let (mut graph, clamps) = net.graph();
        let mut relaxation = Relaxation::new(&graph, Schedule::epc(rate, steps).unwrap()).unwrap();
        let outcome = relaxation.run(&mut graph, &clamps).unwrap();

        let mut offsets: States =
            (0..BATCH).map(|_| DIMS.iter().map(|d| vec![0.0; *d]).collect()).collect();
        let held = |net: &PlainNet, offsets: &States| {
            let mut states = net.forward(Some(offsets));
            for (z, y) in states.iter_mut().zip(&net.y) {
                z[3] = y.clone();
            }
            states
        };
        for _ in 0..steps {
            let states = held(&net, &offsets);
            for (n, z) in states.iter().enumerate() {
                let (e, slope) = net.errors(z);
                let mut delta = e[2].clone();
                for l in (1..3).rev() {
                    delta = net.back(l, &delta, &slope[l]);
                    for (offset, d) in offsets[n][l].iter_mut().zip(&delta) {
                        *offset += rate * (d - *offset);
                    }
                }
            }
        }
        let states = held(&net, &offsets);
        let mut energy = 0.0;
        let mut gradient: Vec<Vec<f64>> = net.flat().iter().map(|p| vec![0.0; p.len()]).collect();
        for z in &states {
            let (e, slope) = net.errors(z);
            energy += 0.5 * e.iter().flatten().map(|e| e * e).sum::<f64>();
            for l in 0..3 {
                for i in 0..DIMS[l + 1] {
                    for j in 0..DIMS[l] {
                        gradient[2 * l][i * DIMS[l] + j] -= e[l][i] * slope[l][i] * z[l][j];
                    }
                    gradient[2 * l + 1][i] -= e[l][i] * slope[l][i];
                }
            }
        }
        close("energy", &[outcome.energy.total()], &[energy], 1e-12);
        for (index, expected) in gradient.iter().enumerate() {
            let found = relaxation.gradients().get(pc_core::ParamId::new(index)).unwrap().to_vec();
            close(&format!("seed {seed}, gradient {index}"), &found, expected, 1e-12);
        }
    }
}
