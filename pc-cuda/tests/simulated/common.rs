//! Nets, batches and the comparison with the oracle.

use pc_core::{
    Agreement, Clamps, Evaluation, Graph, Relaxation, Result, Schedule, Tensor, VertexId,
    host::{Activation, HostLayers, HostTensor, Init},
};
use pc_cuda::{Device, FusedNet, Precision, Simulation, Strategy};

/// A chain and the numbers to run it on.
pub(crate) struct Case {
    pub(crate) widths: Vec<usize>,
    pub(crate) act: Activation,
    pub(crate) batch: usize,
    pub(crate) schedule: Schedule,
    pub(crate) precision: Precision,
    pub(crate) strategy: Strategy,
    pub(crate) seed: u64,
}

/// How a case came out.
pub(crate) struct Verdict {
    /// The worst relative norm of a weight gradient's difference from the oracle's, and the energy's.
    pub(crate) worst: f64,
    /// The same for the oracle itself, in f64, with its weights rounded to tf32 in two ways: what the case makes of changes of that size. A relu's
    /// gradient jumps where its argument crosses zero, so that no tolerance holds there.
    pub(crate) condition: f64,
    /// A number made of every bit of the gradients.
    #[allow(dead_code)]
    pub(crate) fingerprint: u64,
}

pub(crate) fn chain(widths: &[usize], act: Activation, seed: u64) -> Result<(Graph<HostTensor<f32>>, VertexId, VertexId)> {
    let mut init = Init::new(seed);
    let mut b = Graph::<HostTensor<f32>>::builder();
    let x = b.input("x", &widths[..1])?;
    let mut at = x;
    for (index, &width) in widths.iter().enumerate().skip(1) {
        let act = if index + 1 == widths.len() { Activation::Identity } else { act };
        at = b.dense(&format!("l{index}"), at, width, act, &mut init)?;
        // Not all errors weigh the same.
        if index <= 2 {
            b.precision(at, 0.75)?;
        }
    }
    let mut graph = b.build()?;
    // Biases that are not zero.
    for index in 0..graph.parameters().len() {
        if graph.parameters()[index].dims().len() == 1 {
            let drawn: HostTensor<f32> = init.uniform(&graph.parameters()[index].shape(), 0.2);
            graph.parameters_mut()[index].copy_from(&drawn);
        }
    }
    Ok((graph, x, at))
}

/// The same graph in f64.
pub(crate) fn widen(graph: &Graph<HostTensor<f32>>, widths: &[usize], act: Activation) -> Result<Graph<HostTensor<f64>>> {
    let mut init = Init::new(0);
    let mut b = Graph::<HostTensor<f64>>::builder();
    let mut at = b.input("x", &widths[..1])?;
    for (index, &width) in widths.iter().enumerate().skip(1) {
        let act = if index + 1 == widths.len() { Activation::Identity } else { act };
        at = b.dense(&format!("l{index}"), at, width, act, &mut init)?;
        // Not all errors weigh the same.
        if index <= 2 {
            b.precision(at, 0.75)?;
        }
    }
    let mut wide = b.build()?;
    for (to, from) in wide.parameters_mut().iter_mut().zip(graph.parameters()) {
        for (x, y) in to.data_mut().iter_mut().zip(from.data()) {
            *x = f64::from(*y);
        }
    }
    Ok(wide)
}

impl Case {
    /// Runs it here and on the oracle.
    pub(crate) fn run(&self) -> Result<Verdict> {
        let device = Device::simulated(&Simulation::new(self.seed))?;
        self.run_on(&device)
    }

    pub(crate) fn run_on(&self, device: &Device) -> Result<Verdict> {
        let (graph, x, y) = chain(&self.widths, self.act, self.seed)?;
        let mut init = Init::new(self.seed + 1000);
        let (n, m) = (self.widths[0], *self.widths.last().unwrap());
        let input: HostTensor<f32> = init.uniform(&[self.batch, n], 1.0);
        let target: HostTensor<f32> = init.uniform(&[self.batch, m], 1.0);
        let wide = |t: &HostTensor<f32>| HostTensor::<f64>::new(t.dims(), t.data().iter().map(|x| f64::from(*x)).collect());

        let mut oracle = widen(&graph, &self.widths, self.act)?;
        let wide_clamps = Clamps::new().hold(x, wide(&input)?).hold(y, wide(&target)?);
        let schedule = self.schedule.clone().evaluated_by(Evaluation::Simulate);
        let mut truth = Relaxation::new(&oracle, schedule.clone())?;
        let expected = truth.run(&mut oracle, &wide_clamps)?;

        let mut net = FusedNet::from_graph(&graph, device, self.precision)?.relaxed_by(self.strategy);
        let clamps =
            Clamps::new().hold(x, device.tensor(input.dims(), input.data())?).hold(y, device.tensor(target.dims(), target.data())?);
        let mut rule = Relaxation::new(&net, schedule.clone())?;
        let outcome = rule.run(&mut net, &clamps)?;
        device.synchronize()?;
        assert_eq!(outcome.steps, expected.steps);

        let mut worst = 0f64;
        let mut note = |found: Vec<f64>, wanted: Vec<f64>| {
            let off = Agreement::of_slices(&found, &wanted).relative_norm;
            if !(off <= worst) {
                worst = off;
            }
        };
        for ((_, found), (id, wanted)) in rule.gradients().iter().zip(truth.gradients().iter()) {
            // A layer that no error has reached yet learns nothing.
            let count = oracle.parameters()[id.index()].data().len();
            let list = |g: Option<Vec<f64>>| g.unwrap_or_else(|| vec![0.0; count]);
            note(list(found.map(Tensor::to_vec)), list(wanted.map(Tensor::to_vec)));
        }
        note(vec![outcome.energy.total()], vec![expected.energy.total()]);
        let bits = rule.gradients().iter().flat_map(|(_, g)| g.map(Tensor::to_vec).unwrap_or_default());
        let fingerprint = bits.fold(0u64, |sum, x| sum.rotate_left(5) ^ x.to_bits());
        let mut condition = 0f64;
        for half in [0x1000u32, 0] {
            let mut rounded = widen(&graph, &self.widths, self.act)?;
            for x in rounded.parameters_mut().iter_mut().flat_map(|p| p.data_mut()) {
                *x = f64::from(f32::from_bits(((*x as f32).to_bits() + half) & !0x1fff));
            }
            let mut other = Relaxation::new(&rounded, schedule.clone())?;
            other.run(&mut rounded, &wide_clamps)?;
            for ((_, a), (_, b)) in other.gradients().iter().zip(truth.gradients().iter()) {
                if let (Some(a), Some(b)) = (a, b) {
                    condition = condition.max(Agreement::of_slices(&a.to_vec(), &b.to_vec()).relative_norm);
                }
            }
        }
        Ok(Verdict { worst, condition, fingerprint })
    }
}
