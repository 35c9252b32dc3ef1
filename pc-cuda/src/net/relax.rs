//! Whole relaxations, between learning events.

use pc_core::{
    Result, Tensor,
    backend::{FusedSteps, LossForm},
};

use crate::{
    device::{Address, Family, Launch},
    net::{FusedLinearisation, FusedNet, learn::GradientLaunch, linearisation::Recorded},
    params::{Cluster, ClusterLayer, Drive, FusedLayer},
    plan::{ClusterLayout, Kernel, NetShape, Output, Plan, Products},
    tensor::{DeviceTensor, int},
};

type Steps<'a> = FusedSteps<'a, DeviceTensor>;

/// Threads of a block of `relax_cluster`.
const CLUSTER_THREADS: usize = 512;
/// Threads of any other block, and rows that it drives.
const THREADS: usize = 256;
const ROWS: usize = THREADS / 32;

/// What the output does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Top {
    output: Output,
    target: Address,
    lambda: f32,
    /// The precision of its error: a drive has none.
    precision: f32,
}

impl Top {
    /// As the kernels number it.
    pub(super) fn loss(&self) -> i32 {
        match self.output {
            Output::Held => 0,
            Output::SquaredError => 1,
            Output::CrossEntropy => 2,
        }
    }
}

/// Steps by library products with fused kernels between them: all that a recording has built in.
pub(super) struct Recipe {
    pub(super) layers: Vec<FusedLayer>,
    /// By link: the displacements of the parent.
    pub(super) below: Vec<Address>,
    /// Whether products are grouped.
    grouped: bool,
    /// By link, where weights have moved: the parent's reference.
    plastic: Option<Vec<Address>>,
    /// Where weights learn at every step.
    gradients: Vec<GradientLaunch>,
    pub(super) top: Top,
    live: bool,
    pub(super) batch: usize,
    pub(super) rate: f32,
    pub(super) steps: usize,
}

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
                let kernel = match (shape.live, shape.products()) {
                    (true, Products::Full) => "pc_relax_live_f32",
                    (true, Products::Rounded) => "pc_relax_live_tf32",
                    (true, Products::Split) => "pc_relax_live_split",
                    (false, Products::Full) => "pc_relax_frozen_f32",
                    (false, _) => "pc_relax_frozen_tf32",
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
        let grouped = match (plan.kernel(), shape.operand()) {
            (Kernel::Gemm { .. }, Some(operand)) => {
                self.make_operands(operand, shape.live, at)?;
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

    /// Follows a recipe; recorded the first time, and replayed for as long as everything in it is
    /// the same.
    fn replay(&self, recipe: Recipe, at: &mut FusedLinearisation) -> Result<()> {
        let mut key = self.key(&recipe);
        let operands = at.operands.as_ref().filter(|_| recipe.grouped);
        key.push(u64::from(recipe.grouped));
        key.extend(operands.iter().flat_map(|operands| operands.addresses()));
        if let Some(recorded) = at.recorded.as_ref().filter(|recorded| recorded.key == key) {
            return self.device.machine().replay(recorded.graph);
        }
        at.recorded = None;
        let held: &FusedLinearisation = at;
        let operands = held.operands.as_ref().filter(|_| recipe.grouped);
        let graph =
            self.device.machine().record(
                &mut || match (&recipe.plastic, operands, recipe.live) {
                    (Some(references), ..) => self.plastic_step(&recipe, references, held),
                    (None, Some(operands), true) => self.gemm_live(&recipe, operands),
                    (None, Some(operands), false) => self.gemm_frozen(&recipe, operands),
                    (None, None, true) => self.live_steps(&recipe),
                    (None, None, false) => self.frozen_steps(&recipe),
                },
            )?;
        at.recorded = Some(Recorded { key, graph, device: self.device.clone() });
        self.device.machine().replay(graph)
    }

    /// Every address and setting that a recording has built in.
    fn key(&self, recipe: &Recipe) -> Vec<u64> {
        let Recipe { layers, below, plastic, gradients, top, .. } = recipe;
        let settings = [
            recipe.steps as u64,
            u64::from(recipe.rate.to_bits()),
            u64::from(recipe.live),
            recipe.batch as u64,
        ];
        let mut key = settings.to_vec();
        key.extend([
            top.loss() as u64,
            top.target,
            u64::from(top.lambda.to_bits()),
            u64::from(top.precision.to_bits()),
        ]);
        key.extend(plastic.iter().flatten().chain(below));
        key.extend(self.parameters.iter().map(DeviceTensor::address));
        for layer in layers {
            key.extend([layer.z, layer.r, layer.reference, layer.d, layer.v, layer.e]);
        }
        for layer in gradients.iter().flat_map(|(params, _)| params.layer) {
            key.extend([layer.v, layer.dw, layer.db, u64::from(layer.scale.to_bits())]);
        }
        key
    }

    fn live_steps(&self, recipe: &Recipe) -> Result<()> {
        let Recipe { layers, below, batch, .. } = recipe;
        for step in 0..=recipe.steps {
            for (index, link) in self.links.iter().enumerate().skip(1) {
                self.product(
                    link,
                    *batch,
                    self.weight(link).address(),
                    below[index],
                    layers[index].dz,
                    false,
                    self.tf32(true),
                )?;
            }
            self.fused("pc_errors", recipe.rate, layers)?;
            if step == recipe.steps {
                break;
            }
            self.drive(recipe)?;
            self.pull_all(recipe)?;
            self.fused("pc_move", recipe.rate, &layers[..layers.len() - 1])?;
        }
        Ok(())
    }

    fn frozen_steps(&self, recipe: &Recipe) -> Result<()> {
        let layers = &recipe.layers;
        self.fused("pc_gate", recipe.rate, layers)?;
        for _ in 0..recipe.steps {
            self.pull_all(recipe)?;
            self.fused("pc_move_frozen", recipe.rate, &layers[..layers.len() - 1])?;
        }
        Ok(())
    }

    fn plastic_step(
        &self,
        recipe: &Recipe,
        references: &[Address],
        at: &FusedLinearisation,
    ) -> Result<()> {
        let Recipe { layers, below, batch, .. } = recipe;
        self.fused("pc_move", recipe.rate, &layers[..layers.len() - 1])?;
        self.note_moved(at)?;
        for (index, link) in self.links.iter().enumerate() {
            let (dz, tf32) = (layers[index].dz, self.tf32(true));
            if index > 0 {
                self.product(
                    link,
                    *batch,
                    self.weight(link).address(),
                    below[index],
                    dz,
                    false,
                    tf32,
                )?;
            }
            self.product(
                link,
                *batch,
                at.moved[link.weight.index()].address(),
                references[index],
                dz,
                index > 0,
                tf32,
            )?;
        }
        self.fused("pc_errors", recipe.rate, layers)?;
        self.drive(recipe)?;
        self.pull_all(recipe)?;
        self.add_gradients(&recipe.gradients)
    }

    /// The drive of a live output, in the place of its prediction's change.
    pub(super) fn drive(&self, recipe: &Recipe) -> Result<()> {
        let (Some(link), Some(layer), top) = (self.links.last(), recipe.layers.last(), recipe.top)
        else {
            return Ok(());
        };
        if top.loss() == 0 {
            return Ok(());
        }
        let params = Drive {
            reference: layer.reference,
            target: top.target,
            slope: layer.slope,
            e: layer.e,
            g: layer.g,
            rows: int(recipe.batch),
            classes: int(link.outputs),
            loss: top.loss(),
            lambda: top.lambda,
        };
        let grid = recipe.batch.div_ceil(ROWS);
        let launch = Launch {
            family: Family::RelaxGraph,
            kernel: "pc_drive",
            grid,
            block: THREADS,
            cluster: 1,
            shared: 0,
        };
        self.device.launch(&launch, &params)
    }

    fn pull_all(&self, recipe: &Recipe) -> Result<()> {
        for (index, link) in self.links.iter().enumerate().skip(1) {
            let (g, force) = (recipe.layers[index].g, recipe.layers[index - 1].force);
            self.pullback(link, recipe.batch, g, force, self.tf32(recipe.live))?;
        }
        Ok(())
    }
}
