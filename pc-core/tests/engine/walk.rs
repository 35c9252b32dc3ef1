//! Steps as a plain program takes them, beside the engine's: loops over the net of `independent`.

use pc_core::{Event, ParamId, Relaxation, Schedule, Tensor};

use crate::independent::{BATCH, DIMS, PlainNet, States};

/// One net, relaxed in its states or in its errors.
pub(crate) struct Walk {
    pub(crate) net: PlainNet,
    pub(crate) precisions: [f64; 3],
    pub(crate) by_errors: bool,
}

/// The hidden layers.
const HIDDEN: std::ops::Range<usize> = 1..3;

impl Walk {
    /// Where relaxation starts: the forward pass, or no errors.
    pub(crate) fn start(&self) -> States {
        if self.by_errors {
            return (0..BATCH).map(|_| DIMS.iter().map(|d| vec![0.0; *d]).collect()).collect();
        }
        let mut states = self.net.forward(None);
        for (z, y) in states.iter_mut().zip(&self.net.y) {
            z[3].clone_from(y);
        }
        states
    }

    /// `-dF/dx` of every hidden layer; zero elsewhere.
    pub(crate) fn down(&self, x: &States) -> States {
        let pi = self.precisions;
        let scaled = |e: &[f64], pi: f64| -> Vec<f64> { e.iter().map(|e| pi * e).collect() };
        let mut states = if self.by_errors { self.net.forward(Some(x)) } else { x.clone() };
        for (z, y) in states.iter_mut().zip(&self.net.y) {
            z[3].clone_from(y);
        }
        let mut down: States =
            (0..BATCH).map(|_| DIMS.iter().map(|d| vec![0.0; *d]).collect()).collect();
        for (n, z) in states.iter().enumerate() {
            let (e, slope) = self.net.errors(z);
            let mut arrived = scaled(&e[2], pi[2]);
            for l in HIDDEN.rev() {
                if !self.by_errors {
                    arrived = scaled(&e[l], pi[l]);
                }
                arrived = self.net.back(l, &arrived, &slope[l]);
                let own = if self.by_errors { &x[n][l] } else { &e[l - 1] };
                for (i, g) in down[n][l].iter_mut().enumerate() {
                    *g = arrived[i] - pi[l - 1] * own[i];
                }
            }
        }
        down
    }

    /// The hidden layers' numbers, as the engine lays them out.
    pub(crate) fn flat(x: &States) -> Vec<f64> {
        HIDDEN.flat_map(|l| x.iter().flat_map(move |x| x[l].clone())).collect()
    }

    /// The engine's coordinates at every step, and at the end.
    pub(crate) fn engine(&self, schedule: Schedule) -> Vec<Vec<f64>> {
        let (mut graph, clamps) = self.net.graph_of(self.precisions);
        let mut relaxation = Relaxation::new(&graph, schedule.observed()).unwrap();
        let mut paths = Vec::new();
        // A second batch starts as the first did.
        for _ in 0..2 {
            relaxation.begin(&mut graph, &clamps).unwrap();
            let mut path = Vec::new();
            loop {
                match relaxation.advance(&mut graph).unwrap() {
                    Event::Step => path.push(
                        HIDDEN
                            .flat_map(|l| {
                                let vertex = graph.vertex(&format!("l{}", l - 1)).unwrap();
                                if !self.by_errors {
                                    return relaxation.value(&graph, vertex).unwrap().to_vec();
                                }
                                let own = graph.topology().predictions_of(vertex).unwrap()[0];
                                relaxation.error(own).unwrap().to_vec()
                            })
                            .collect::<Vec<f64>>(),
                    ),
                    Event::Learn => {
                        assert!(relaxation.gradients().get(ParamId::new(0)).is_some());
                    }
                    Event::Finished(_) => break,
                }
            }
            paths.push(path);
        }
        assert_eq!(paths[0], paths[1], "the second batch is not the first's");
        paths.swap_remove(0)
    }
}

/// `x += a y`.
pub(crate) fn add(x: &mut States, a: f64, y: &States) {
    each(x, y, |x, y| *x += a * y);
}

/// Element by element.
pub(crate) fn each(x: &mut States, y: &States, mut job: impl FnMut(&mut f64, f64)) {
    for (x, y) in x.iter_mut().flatten().flatten().zip(y.iter().flatten().flatten()) {
        job(x, *y);
    }
}
