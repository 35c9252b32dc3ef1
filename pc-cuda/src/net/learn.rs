//! Weight gradients, and weights that move while states relax.

use pc_core::{Gradients, Result, backend::State};

use crate::{
    device::{Family, Launch},
    net::{FusedLinearisation, FusedNet},
    optimiser::launch_parts,
    params::{LAYERS, Optimise, Part, TILE, WeightLayer, Weights},
    tensor::{DeviceTensor, int},
};

/// One launch of the weight gradients' kernel, and its blocks.
pub(super) type GradientLaunch = (Weights, usize);

impl FusedNet {
    /// Adds the parameter gradients of these layers, whose `g` is up to date, times `-weight`.
    pub(super) fn learn(
        &self,
        layers: impl Iterator<Item = (usize, f32)>,
        state: &State<DeviceTensor>,
        gradients: &mut Gradients<DeviceTensor>,
        at: &FusedLinearisation,
    ) -> Result<()> {
        self.add_gradients(&self.gradient_launches(layers, state, gradients, at))
    }

    /// The launches that do so: few as may be, but layers that share a parameter add to one place,
    /// so they go one after the other.
    pub(super) fn gradient_launches(
        &self,
        layers: impl Iterator<Item = (usize, f32)>,
        state: &State<DeviceTensor>,
        gradients: &mut Gradients<DeviceTensor>,
        at: &FusedLinearisation,
    ) -> Vec<GradientLaunch> {
        let mut launches: Vec<GradientLaunch> = Vec::new();
        let mut held = Vec::new();
        for (index, weight) in layers {
            let link = &self.links[index];
            let own = [Some(link.weight), link.bias];
            let shares = own.iter().flatten().any(|parameter| held.contains(parameter));
            if shares || launches.last().is_none_or(|(params, _)| params.layers == int(LAYERS)) {
                launches.push((Weights { batch: int(at.batch), ..Weights::default() }, 0));
                held.clear();
            }
            held.extend(own.into_iter().flatten());
            let Some((params, blocks)) = launches.last_mut() else { continue };
            let mut place = |parameter| {
                let slot = gradients.slot(parameter);
                slot.map_or((0, false), |(tensor, fresh)| (tensor.address(), !fresh))
            };
            let (dw, add_w) = place(link.weight);
            let (db, add_b) = link.bias.map_or((0, false), place);
            if let Some(slot) = params.layer.get_mut(params.layers as usize) {
                *slot = WeightLayer {
                    g: at.layers[index].g.address(),
                    v: state.values[link.parent.index()].address(),
                    dw,
                    db,
                    outputs: int(link.outputs),
                    inputs: int(link.inputs),
                    first: int(*blocks),
                    add_w: i32::from(add_w),
                    add_b: i32::from(add_b),
                    scale: -weight,
                };
            }
            params.layers += 1;
            *blocks += link.outputs.div_ceil(TILE) * link.inputs.div_ceil(TILE);
        }
        launches
    }

    pub(super) fn add_gradients(&self, launches: &[GradientLaunch]) -> Result<()> {
        let shared = 4 * 2 * TILE * (TILE + 1);
        launches.iter().try_for_each(|(params, blocks)| {
            let launch = Launch {
                family: Family::Learn,
                kernel: "pc_weight_gradients",
                grid: *blocks,
                block: 256,
                cluster: 1,
                shared,
            };
            self.device.launch(&launch, params)
        })
    }

    /// `moved = theta - theta_old`, of all parameters.
    pub(super) fn note_moved(&self, at: &FusedLinearisation) -> Result<()> {
        let tensors = self.parameters.iter().zip(&at.old).zip(&at.moved);
        let part = |((theta, old), moved): ((&DeviceTensor, &DeviceTensor), &DeviceTensor)| Part {
            theta: theta.address(),
            g: old.address(),
            m: moved.address(),
            count: int(theta.count()),
            ..Part::default()
        };
        launch_parts(
            &self.device,
            Family::Learn,
            "pc_moved",
            0,
            Optimise::default(),
            &tensors.map(part).collect::<Vec<_>>(),
        )
    }
}
