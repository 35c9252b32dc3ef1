//! Whole relaxations, between learning events.

use pc_core::{
    Result, Tensor,
    backend::{FusedSteps, LossForm},
};

use crate::{
    device::{Family, Launch},
    net::{
        FusedLinearisation, FusedNet,
        recipe::{Recipe, Top},
    },
    params::{Cluster, ClusterLayer, FusedLayer},
    plan::{ClusterLayout, Kernel, NetShape, Operand, Output, Plan, Products},
    tensor::{DeviceTensor, int},
};

type Steps<'a> = FusedSteps<'a, DeviceTensor>;

/// Threads of a block of `relax_cluster`.
const CLUSTER_THREADS: usize = 512;

impl FusedNet {
    /// Takes the steps where the input is held, the output held or driven by a loss that kernels
    /// know, and everything between free; leaves the rest to the engine.
    pub(super) fn relax(
        &self,
        mut steps: Steps<'_>,
        at: &mut FusedLinearisation,
    ) -> Result<Option<usize>> {
        let last = self.links.len() - 1;
        let chain = self
            .links
            .iter()
            .enumerate()
            .all(|(index, link)| steps.free[link.of.index()] == (index < last));
        if !chain || steps.free[self.root.index()] || steps.counts.contains(&false) || last == 0 {
            return Ok(None);
        }
        let Some(top) = self.top(&steps, at)? else { return Ok(None) };
        if self.timed {
            let seconds = self.device.time(|| self.take(&mut steps, top, at))?;
            self.last.set(Some(seconds));
        } else {
            self.take(&mut steps, top, at)?;
        }
        Ok(Some(steps.steps))
    }

    fn take(&self, steps: &mut Steps<'_>, top: Top, at: &mut FusedLinearisation) -> Result<()> {
        if steps.settings.plastic {
            return self.learning_step(steps, top, at);
        }
        let live = steps.settings.live;
        let shape = self.shape(at.batch, live, top.output);
        let plan = self.strategy.plan(&shape, self.device.props())?;
        self.relax_by(&plan, &shape, steps, top, at)?;
        at.fresh = live;
        at.forget();
        Ok(())
    }

    /// What the output does; none where kernels do not know its loss, or the loss does not fit,
    /// which it then says itself.
    fn top(&self, steps: &Steps<'_>, at: &mut FusedLinearisation) -> Result<Option<Top>> {
        let Some(link) = self.links.last() else { return Ok(None) };
        let held = Top { output: Output::Held, target: 0, lambda: 1.0, precision: link.precision };
        let Some((loss, lambda)) = steps.losses.get(link.of) else { return Ok(Some(held)) };
        let driven = Top { lambda: lambda as f32, precision: 1.0, ..held };
        if !steps.settings.live {
            return Ok(Some(driven));
        }
        let Ok(loss) = loss.try_borrow() else { return Ok(None) };
        let (output, target) = match loss.form() {
            LossForm::SquaredError(target) => (Output::SquaredError, target),
            LossForm::CrossEntropy(target) => (Output::CrossEntropy, target),
            _ => return Ok(None),
        };
        if !target.has_batch_shape(at.batch, &[link.outputs]) || !target.device().is(&self.device) {
            return Ok(None);
        }
        if at.target.as_ref().is_none_or(|held| held.dims() != target.dims()) {
            at.target = Some(DeviceTensor::unset(&self.device, target.dims())?);
        }
        let address = at.target.as_ref().map_or(0, DeviceTensor::address);
        self.device.machine().copy(address, target.address(), 4 * target.count())?;
        Ok(Some(Top { output, target: address, ..driven }))
    }

    fn relax_by(
        &self,
        plan: &Plan,
        shape: &NetShape,
        steps: &mut Steps<'_>,
        top: Top,
        at: &mut FusedLinearisation,
    ) -> Result<()> {
        let last = self.links.len() - 1;
        let residuals =
            self.links[..last].iter().any(|link| steps.residuals.get(link.prediction).is_some());
        if let Kernel::Cluster { blocks, clusters, .. } = plan.kernel() {
            let layout = ClusterLayout::new(shape, *blocks, residuals);
            // Plans are made for a start from a feed-forward pass; another one needs more room,
            // which may be too much.
            if layout.bytes() <= self.device.props().shared_memory {
                // Only live predictions have split products.
                let kernel = match (shape.live, shape.operand()) {
                    (true, None) => "pc_relax_live_f32",
                    (true, Some(Operand::Tf32 { split: false })) => "pc_relax_live_tf32",
                    (true, Some(Operand::Tf32 { split: true })) => "pc_relax_live_split",
                    (true, Some(Operand::Bf16 { split: false })) => "pc_relax_live_bf16",
                    (true, Some(Operand::Bf16 { split: true })) => "pc_relax_live_bf16_split",
                    (false, None) => "pc_relax_frozen_f32",
                    (false, Some(Operand::Tf32 { .. })) => "pc_relax_frozen_tf32",
                    (false, Some(Operand::Bf16 { .. })) => "pc_relax_frozen_bf16",
                };
                let launch = Launch {
                    family: Family::RelaxCluster,
                    kernel,
                    grid: blocks * clusters,
                    block: CLUSTER_THREADS,
                    cluster: *blocks,
                    shared: layout.bytes(),
                };
                return self.device.launch(&launch, &self.cluster(steps, top, at, &layout));
            }
        }
        let grouped = match (plan.kernel(), Products::new(shape, self.device.props())) {
            (Kernel::Gemm { .. }, Some(products)) => {
                self.make_operands(products, shape.live, at)?;
                true
            }
            _ => false,
        };
        let layers = self.graph_layers(steps, top, at);
        let recipe = Recipe { grouped, ..self.recipe(steps, layers, top, at) };
        self.replay(recipe, at)
    }

    /// What the cluster kernels take.
    fn cluster(
        &self,
        steps: &Steps<'_>,
        top: Top,
        at: &FusedLinearisation,
        layout: &ClusterLayout,
    ) -> Cluster {
        let mut params = Cluster {
            target: top.target,
            layers: int(self.links.len()),
            batch: int(at.batch),
            steps: int(steps.steps),
            loss: top.loss(),
            rate: steps.rate as f32,
            lambda: top.lambda,
            signal_at: int(layout.signal_at),
            ..Cluster::default()
        };
        let last = self.links.len() - 1;
        for (index, (slot, place)) in params.layer.iter_mut().zip(&layout.layers).enumerate() {
            let (link, layer) = (&self.links[index], &at.layers[index]);
            let of = |tensors: &[DeviceTensor]| {
                tensors.get(link.of.index()).map_or(0, DeviceTensor::address)
            };
            let residual = steps.residuals.get(link.prediction);
            // The target of a loss lies where the output's residual would.
            let residual_at = residual.is_some() || (index == last && top.loss() != 0);
            *slot = ClusterLayer {
                weight: if index > 0 { self.weight(link).address() } else { 0 },
                z: layer.z.address(),
                r: residual.map_or(0, DeviceTensor::address),
                reference: of(&steps.state.references),
                d: of(&steps.state.displacements),
                v: of(&steps.state.values),
                e: steps.errors[link.prediction.index()].address(),
                slope: layer.slope.address(),
                precision: if index == last { top.precision } else { link.precision },
                n: int(link.outputs),
                rows: int(place.rows),
                act: link.act,
                senders: int(place.senders),
                stride: int(place.stride),
                groups: int(place.groups),
                shift: int(place.shift),
                inverse: (1u64 << 32).div_ceil(place.rows as u64) as u32,
                weight_at: int(place.weight_at),
                gather_at: int(place.gather_at),
                partial_at: int(place.partial_at),
                state_at: int(place.state_at),
                gate_at: int(place.gate_at),
                scratch_at: int(place.scratch_at),
                residual_at: if residual_at { int(place.residual_at) } else { -1 },
            };
        }
        params
    }

    /// One step of states, then errors, pulls and gradients by the weights as they are now,
    /// recorded as one.
    fn learning_step(
        &self,
        steps: &mut Steps<'_>,
        top: Top,
        at: &mut FusedLinearisation,
    ) -> Result<()> {
        // What was not pulled is no force; its place has to say so, since recordings read it.
        for layer in at.layers.iter_mut().skip(1) {
            if !std::mem::replace(&mut layer.contributes, true) {
                layer.force.fill(0.0);
            }
        }
        let mut layers = self.graph_layers(steps, top, at);
        for (layer, link) in layers.iter_mut().zip(&self.links) {
            layer.shift = link.bias.map_or(0, |bias| at.moved[bias.index()].address());
        }
        layers[0].dz = at.layers[0].product.address();
        let all = (0..self.links.len()).map(|index| (index, 1.0));
        let gradients = match &mut steps.gradients {
            Some(gradients) => self.gradient_launches(all, steps.state, gradients, at),
            None => Vec::new(),
        };
        let references =
            self.links.iter().map(|link| steps.state.references[link.parent.index()].address());
        let recipe = Recipe {
            plastic: Some(references.collect()),
            gradients,
            ..self.recipe(steps, layers, top, at)
        };
        at.fresh = false;
        self.replay(recipe, at)
    }

    fn graph_layers(
        &self,
        steps: &Steps<'_>,
        top: Top,
        at: &FusedLinearisation,
    ) -> Vec<FusedLayer> {
        let last = self.links.len() - 1;
        let layer = |index: usize| {
            let link = &self.links[index];
            let of = |tensors: &[DeviceTensor]| {
                tensors.get(link.of.index()).map_or(0, DeviceTensor::address)
            };
            FusedLayer {
                dz: if index > 0 { at.layers[index].product.address() } else { 0 },
                r: steps.residuals.get(link.prediction).map_or(0, DeviceTensor::address),
                reference: of(&steps.state.references),
                // The force on this layer's vertex is made by the layer above.
                force: at.layers.get(index + 1).map_or(0, |above| above.force.address()),
                d: of(&steps.state.displacements),
                v: of(&steps.state.values),
                e: steps.errors[link.prediction.index()].address(),
                precision: if index == last { top.precision } else { link.precision },
                ..self.layer(at, index)
            }
        };
        (0..self.links.len()).map(layer).collect()
    }

    fn recipe(
        &self,
        steps: &Steps<'_>,
        layers: Vec<FusedLayer>,
        top: Top,
        at: &FusedLinearisation,
    ) -> Recipe {
        let below =
            |vertex: usize| steps.state.displacements.get(vertex).map_or(0, DeviceTensor::address);
        Recipe {
            layers,
            below: self.links.iter().map(|link| below(link.parent.index())).collect(),
            grouped: false,
            plastic: None,
            gradients: Vec::new(),
            top,
            live: steps.settings.live,
            batch: at.batch,
            rate: steps.rate as f32,
            steps: steps.steps,
        }
    }
}
