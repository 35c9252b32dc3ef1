//! Whole relaxations, between learning events.

use pc_core::{FusedSteps, Result, State};

use crate::{
    device::{Family, Launch, Recording},
    net::{FusedLinearisation, FusedNet, linearisation::Recorded},
    params::{Cluster, ClusterLayer, FusedLayer},
    plan::{ClusterLayout, Kernel, Plan},
    tensor::{DeviceTensor, int},
};

type Steps<'a> = FusedSteps<'a, DeviceTensor>;

impl FusedNet {
    /// Takes all the steps where the input and the output are held and everything between is free; leaves the rest to the engine.
    pub(super) fn relax(&self, mut steps: Steps<'_>, at: &mut FusedLinearisation) -> Result<Option<usize>> {
        let last = self.links.len() - 1;
        let chain = self.links.iter().enumerate().all(|(index, link)| steps.free[link.of.index()] == (index < last));
        if !chain || steps.free[self.root.index()] || steps.counts.contains(&false) || steps.settings.plastic || last == 0 {
            return Ok(None);
        }
        let plan = self.plan(at.batch, steps.settings.live)?;
        if self.timed {
            let seconds = self.device.time(|| self.relax_by(&plan, &mut steps, at))?;
            self.last.set(Some(seconds));
        } else {
            self.relax_by(&plan, &mut steps, at)?;
        }
        at.fresh = steps.settings.live;
        at.forget();
        Ok(Some(steps.steps))
    }

    fn relax_by(&self, plan: &Plan, steps: &mut Steps<'_>, at: &mut FusedLinearisation) -> Result<()> {
        let last = self.links.len() - 1;
        let residuals = self.links[..last].iter().any(|link| steps.residuals.get(link.prediction).is_some());
        match plan.kernel() {
            Kernel::Cluster { blocks, clusters, .. } => {
                let layout = ClusterLayout::new(&self.shape(at.batch, steps.settings.live), *blocks, residuals);
                // Plans are made for a start from a feed-forward pass; another one needs more room, which may be too much.
                if layout.bytes() <= self.device.props().shared_memory {
                    self.relax_cluster(steps, at, &layout, *blocks, *clusters)?;
                } else {
                    self.relax_graph(steps, at)?;
                }
            }
            Kernel::Graph { .. } => self.relax_graph(steps, at)?,
        }
        Ok(())
    }

    fn relax_cluster(
        &self,
        steps: &mut Steps<'_>,
        at: &FusedLinearisation,
        layout: &ClusterLayout,
        blocks: usize,
        clusters: usize,
    ) -> Result<()> {
        let live = steps.settings.live;
        let mut params = Cluster {
            layers: int(self.links.len()),
            batch: int(at.batch),
            steps: int(steps.steps),
            rate: steps.rate as f32,
            ..Cluster::default()
        };
        for (index, (slot, place)) in params.layer.iter_mut().zip(&layout.layers).enumerate() {
            let (link, layer) = (&self.links[index], &at.layers[index]);
            let of = |tensors: &[DeviceTensor]| tensors.get(link.of.index()).map_or(0, DeviceTensor::address);
            let residual = steps.residuals.get(link.prediction);
            *slot = ClusterLayer {
                weight: if index > 0 { self.weight(link).address() } else { 0 },
                z: layer.z.address(),
                r: residual.map_or(0, DeviceTensor::address),
                reference: of(&steps.state.references),
                d: of(&steps.state.displacements),
                v: of(&steps.state.values),
                e: steps.errors[link.prediction].address(),
                slope: layer.slope.address(),
                precision: link.precision,
                n: int(link.outputs),
                rows: int(place.rows),
                act: link.act,
                senders: int(place.senders),
                weight_at: int(place.weight_at),
                gather_at: int(place.gather_at),
                partial_at: int(place.partial_at),
                state_at: int(place.state_at),
                gate_at: int(place.gate_at),
                scratch_at: int(place.scratch_at),
                residual_at: if residual.is_some() { int(place.residual_at) } else { -1 },
            };
        }
        let kernel = match (live, self.tf32()) {
            (true, false) => "pc_relax_live_f32",
            (true, true) => "pc_relax_live_tf32",
            (false, false) => "pc_relax_frozen_f32",
            (false, true) => "pc_relax_frozen_tf32",
        };
        let launch =
            Launch { family: Family::RelaxCluster, kernel, grid: blocks * clusters, block: 256, cluster: blocks, shared: layout.bytes() };
        self.device.launch(&launch, &params)
    }

    /// Library products with fused kernels between them, recorded the first time and replayed for as long as every address is the same.
    fn relax_graph(&self, steps: &mut Steps<'_>, at: &mut FusedLinearisation) -> Result<()> {
        let layers = self.graph_layers(steps, at);
        let key = self.key(steps, &layers);
        if let Some(recorded) = at.recorded.as_ref().filter(|recorded| recorded.key == key) {
            return self.device.machine().replay(recorded.graph);
        }
        at.recorded = None;
        let (batch, rate, count) = (at.batch, steps.rate as f32, steps.steps);
        let live = steps.settings.live;
        let state: &State<DeviceTensor> = steps.state;
        let recording = self.device.machine().record(&mut || {
            if live { self.live_steps(&layers, state, batch, rate, count) } else { self.frozen_steps(&layers, batch, rate, count) }
        })?;
        if let Recording::Graph(graph) = recording {
            self.device.machine().replay(graph)?;
            at.recorded = Some(Recorded { key, graph, device: self.device.clone() });
        }
        Ok(())
    }

    fn graph_layers(&self, steps: &Steps<'_>, at: &FusedLinearisation) -> Vec<FusedLayer> {
        let layer = |index: usize| {
            let link = &self.links[index];
            let of = |tensors: &[DeviceTensor]| tensors.get(link.of.index()).map_or(0, DeviceTensor::address);
            FusedLayer {
                dz: if index > 0 { at.layers[index].product.address() } else { 0 },
                r: steps.residuals.get(link.prediction).map_or(0, DeviceTensor::address),
                reference: of(&steps.state.references),
                // The force on this layer's vertex is made by the layer above.
                force: at.layers.get(index + 1).map_or(0, |above| above.force.address()),
                d: of(&steps.state.displacements),
                v: of(&steps.state.values),
                e: steps.errors[link.prediction].address(),
                ..self.layer(at, index)
            }
        };
        (0..self.links.len()).map(layer).collect()
    }

    fn key(&self, steps: &Steps<'_>, layers: &[FusedLayer]) -> Vec<u64> {
        let mut key = vec![steps.steps as u64, steps.rate.to_bits(), u64::from(steps.settings.live)];
        for (layer, link) in layers.iter().zip(&self.links) {
            key.extend([layer.z, layer.r, layer.reference, layer.d, layer.v, layer.e, self.weight(link).address()]);
        }
        key
    }

    fn live_steps(&self, layers: &[FusedLayer], state: &State<DeviceTensor>, batch: usize, rate: f32, steps: usize) -> Result<()> {
        let last = layers.len() - 1;
        for step in 0..=steps {
            for (layer, link) in layers.iter().zip(&self.links).skip(1) {
                let d = state.displacements[link.parent.index()].address();
                self.product(link, batch, self.weight(link).address(), d, layer.dz, false, self.tf32())?;
            }
            self.fused("pc_errors", rate, layers)?;
            if step == steps {
                break;
            }
            self.pull_all(layers, batch)?;
            self.fused("pc_move", rate, &layers[..last])?;
        }
        Ok(())
    }

    fn frozen_steps(&self, layers: &[FusedLayer], batch: usize, rate: f32, steps: usize) -> Result<()> {
        let last = layers.len() - 1;
        self.fused("pc_gate", rate, layers)?;
        for _ in 0..steps {
            self.pull_all(layers, batch)?;
            self.fused("pc_move_frozen", rate, &layers[..last])?;
        }
        Ok(())
    }

    fn pull_all(&self, layers: &[FusedLayer], batch: usize) -> Result<()> {
        for (index, link) in self.links.iter().enumerate().skip(1) {
            self.pullback(link, batch, layers[index].g, layers[index - 1].force)?;
        }
        Ok(())
    }
}
