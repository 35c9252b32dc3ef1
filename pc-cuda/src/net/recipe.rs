//! Relaxations as recordings: products of a library or grouped, with fused kernels between them.

use pc_core::Result;

use crate::{
    device::{Address, Family, Launch},
    net::{FusedLinearisation, FusedNet, learn::GradientLaunch, linearisation::Recorded},
    params::{Drive, FusedLayer},
    plan::Output,
    tensor::{DeviceTensor, int},
};

/// Threads of a block, and rows that it drives.
const THREADS: usize = 256;
const ROWS: usize = THREADS / 32;

/// What the output does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Top {
    pub(super) output: Output,
    pub(super) target: Address,
    pub(super) lambda: f32,
    /// The precision of its error: a drive has none.
    pub(super) precision: f32,
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
    pub(super) grouped: bool,
    /// By link, where weights have moved: the parent's reference.
    pub(super) plastic: Option<Vec<Address>>,
    /// Where weights learn at every step.
    pub(super) gradients: Vec<GradientLaunch>,
    pub(super) top: Top,
    pub(super) live: bool,
    pub(super) batch: usize,
    pub(super) rate: f32,
    pub(super) steps: usize,
}

impl FusedNet {
    /// Follows a recipe; recorded the first time, and replayed for as long as everything in it is
    /// the same.
    pub(super) fn replay(&self, recipe: Recipe, at: &mut FusedLinearisation) -> Result<()> {
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
                    self.rounds(true),
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
            let (dz, rounds) = (layers[index].dz, self.rounds(true));
            if index > 0 {
                self.product(
                    link,
                    *batch,
                    self.weight(link).address(),
                    below[index],
                    dz,
                    false,
                    rounds,
                )?;
            }
            self.product(
                link,
                *batch,
                at.moved[link.weight.index()].address(),
                references[index],
                dz,
                index > 0,
                rounds,
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
            self.pullback(link, recipe.batch, g, force, self.rounds(recipe.live))?;
        }
        Ok(())
    }
}
