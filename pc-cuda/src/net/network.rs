//! The fused net as a [`Network`].

use std::hash::{DefaultHasher, Hash, Hasher};

use pc_core::{
    Clamp, Clamps, ErrorKind, Gradients, Network, PredictionId, Result, Tensor, Topology, VertexId,
    backend::{Abilities, Drives, Forward, FusedSteps, Residuals, Settings, State, Want},
};

use crate::{
    device::{Family, Launch},
    net::{FusedLinearisation, FusedNet, error},
    params::{CHUNK, Fused, FusedLayer, LAYERS, Predict},
    precision::Precision,
    tensor::{DeviceTensor, elements, int},
};

/// The tensors of a clamp.
fn held(clamp: &Clamp<DeviceTensor>) -> Vec<&DeviceTensor> {
    match clamp {
        Clamp::Free(value) | Clamp::Held(value) | Clamp::Intervened(value) => vec![value],
        Clamp::Masked { value, mask } => vec![value, mask],
        Clamp::PartIntervened { value, mask, cut } => vec![value, mask, cut],
        Clamp::Nudged { target, .. } => vec![target],
        _ => Vec::new(),
    }
}

impl FusedNet {
    /// Runs an element-by-element kernel over layers of any number, few launches as may be.
    pub(super) fn fused(
        &self,
        kernel: &'static str,
        rate: f32,
        layers: &[FusedLayer],
    ) -> Result<()> {
        for group in layers.chunks(LAYERS) {
            let mut params = Fused { layers: int(group.len()), rate, ..Fused::default() };
            let mut blocks = 0;
            for (slot, layer) in params.layer.iter_mut().zip(group) {
                *slot = FusedLayer { first: int(blocks), ..*layer };
                blocks += (layer.count as usize).div_ceil(CHUNK);
            }
            self.device.launch(
                &Launch {
                    family: Family::RelaxGraph,
                    kernel,
                    grid: blocks,
                    block: 256,
                    cluster: 1,
                    shared: 0,
                },
                &params,
            )?;
        }
        Ok(())
    }

    /// What every element-by-element kernel needs of a layer.
    pub(super) fn layer(&self, at: &FusedLinearisation, index: usize) -> FusedLayer {
        let (link, layer) = (&self.links[index], &at.layers[index]);
        FusedLayer {
            z: layer.z.address(),
            g: layer.g.address(),
            slope: layer.slope.address(),
            precision: link.precision,
            act: link.act,
            count: int(at.batch * link.outputs),
            width: int(link.outputs),
            ..FusedLayer::default()
        }
    }

    /// Evaluates one prediction at `v` and keeps it as the reference; `value` follows it where
    /// given.
    fn predict(
        &self,
        index: usize,
        v: &DeviceTensor,
        value: u64,
        offset: u64,
        at: &FusedLinearisation,
    ) -> Result<()> {
        let (link, layer) = (&self.links[index], &at.layers[index]);
        self.product(
            link,
            at.batch,
            self.weight(link).address(),
            v.address(),
            layer.product.address(),
            false,
            Precision::F32,
        )?;
        let params = Predict {
            product: layer.product.address(),
            bias: self.bias(link),
            offset,
            z: layer.z.address(),
            mu: layer.mu.address(),
            slope: layer.slope.address(),
            value,
            act: link.act,
            count: int(layer.z.count()),
            width: int(link.outputs),
            unused: 0,
        };
        self.device.launch(&elements("pc_predict", Family::RelaxGraph, layer.z.count()), &params)
    }

    /// `g = f' cotangent` for one layer.
    fn gate(&self, index: usize, cotangent: &DeviceTensor, at: &FusedLinearisation) -> FusedLayer {
        // Cotangents are weighed by their precisions already.
        FusedLayer { e: cotangent.address(), precision: 1.0, ..self.layer(at, index) }
    }
}

impl Network for FusedNet {
    type Tensor = DeviceTensor;
    type Linearisation = FusedLinearisation;

    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn abilities(&self) -> Abilities {
        Abilities::ALL
    }

    fn prepare(
        &mut self,
        clamps: &Clamps<DeviceTensor>,
        values: &mut Vec<DeviceTensor>,
    ) -> Result<bool> {
        self.device.check()?;
        let batch = clamps.batch(&self.topology)?;
        for (vertex, clamp) in clamps.iter() {
            let Some(&width) = self.widths.get(vertex.index()) else {
                return Err(error(
                    ErrorKind::Clamp,
                    format!("vertex {} is clamped but not in this net", vertex.index()),
                ));
            };
            for tensor in held(clamp) {
                if !tensor.has_batch_shape(batch, &[width]) {
                    let message = format!(
                        "its clamp has shape {:?}, not {:?}",
                        tensor.dims(),
                        [batch, width]
                    );
                    return Err(error(ErrorKind::Shape, message).at(self.topology.name(vertex)?));
                }
                if !tensor.device().is(&self.device) {
                    let message = "its clamp lies on another device, or another stream of this one";
                    return Err(error(ErrorKind::Clamp, message).at(self.topology.name(vertex)?));
                }
            }
        }
        let fits = values.len() == self.widths.len()
            && values
                .iter()
                .zip(&self.widths)
                .all(|(value, width)| value.has_batch_shape(batch, &[*width]));
        if !fits {
            values.clear();
            for width in &self.widths {
                values.push(DeviceTensor::zeroed(&self.device, &[batch, *width])?);
            }
        }
        self.device.check()?;
        Ok(!fits)
    }

    fn signature(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.topology.signature(), &self.widths).hash(&mut hasher);
        hasher.finish()
    }

    fn linearisation(&self) -> FusedLinearisation {
        FusedLinearisation::default()
    }

    fn forward(
        &mut self,
        pass: Forward<'_, DeviceTensor>,
        into: &mut FusedLinearisation,
    ) -> Result<()> {
        self.device.check()?;
        into.fit(self, pass.values[self.root.index()].batch())?;
        for (index, link) in self.links.iter().enumerate() {
            let of = link.of.index();
            let value = if pass.follows[of] { pass.values[of].address() } else { 0 };
            let offset = pass.offsets.get(of).map_or(0, DeviceTensor::address);
            self.predict(index, &pass.values[link.parent.index()], value, offset, into)
                .map_err(|e| e.at(self.topology.name(link.of).unwrap_or("?")))?;
        }
        if pass.settings.plastic {
            into.keep(self)?;
        }
        into.forget();
        into.fresh = false;
        into.live = pass.settings.live;
        self.device.check()
    }

    fn refer(
        &mut self,
        state: &State<DeviceTensor>,
        settings: Settings,
        after_forward: bool,
        into: &mut FusedLinearisation,
    ) -> Result<()> {
        self.device.check()?;
        if !after_forward {
            into.fit(self, state.values[self.root.index()].batch())?;
            for (index, link) in self.links.iter().enumerate() {
                self.predict(index, &state.values[link.parent.index()], 0, 0, into)
                    .map_err(|e| e.at(self.topology.name(link.of).unwrap_or("?")))?;
            }
            if settings.plastic {
                into.keep(self)?;
            }
        }
        into.forget();
        into.fresh = false;
        into.live = settings.live;
        self.device.check()
    }

    fn prediction<'a>(
        &self,
        at: &'a FusedLinearisation,
        prediction: PredictionId,
    ) -> Option<&'a DeviceTensor> {
        let link = self.links.iter().position(|link| link.prediction == prediction)?;
        at.layers.get(link).map(|layer| &layer.mu)
    }

    fn change<'a>(
        &self,
        at: &'a FusedLinearisation,
        prediction: PredictionId,
    ) -> Option<&'a DeviceTensor> {
        let output = self.links.last().is_some_and(|link| link.prediction == prediction);
        at.change.as_ref().filter(|_| output)
    }

    fn linearise(
        &mut self,
        state: &State<DeviceTensor>,
        settings: Settings,
        residuals: Residuals<'_, DeviceTensor>,
        errors: &mut [DeviceTensor],
        into: &mut FusedLinearisation,
    ) -> Result<()> {
        self.device.check()?;
        if std::mem::take(&mut into.fresh) {
            return into.note_change(self, errors);
        }
        if settings.plastic {
            self.note_moved(into)?;
        }
        let mut layers = Vec::with_capacity(self.links.len());
        for (index, link) in self.links.iter().enumerate() {
            let (parent, of) = (link.parent.index(), link.of.index());
            let product = into.layers[index].product.address();
            let mut dz = 0;
            // f_new(v_ref + d) - f_old(v_ref), whose argument has moved by W d + (W - W_old) v_ref
            // + (b - b_old).
            if state.moved[parent] {
                let (weight, d) =
                    (self.weight(link).address(), state.displacements[parent].address());
                self.product(
                    link,
                    into.batch,
                    weight,
                    d,
                    product,
                    false,
                    self.rounds(settings.live),
                )?;
                dz = product;
            }
            if settings.plastic {
                let (weight, v) =
                    (into.moved[link.weight.index()].address(), state.references[parent].address());
                self.product(
                    link,
                    into.batch,
                    weight,
                    v,
                    product,
                    dz != 0,
                    self.rounds(settings.live),
                )?;
                dz = product;
            }
            let shift = if settings.plastic {
                link.bias.map_or(0, |bias| into.moved[bias.index()].address())
            } else {
                0
            };
            layers.push(FusedLayer {
                dz,
                shift,
                r: residuals.get(link.prediction).map_or(0, DeviceTensor::address),
                d: state.displacements[of].address(),
                e: errors[link.prediction.index()].address(),
                g: 0,
                ..self.layer(into, index)
            });
        }
        self.fused("pc_errors", 0.0, &layers)?;
        into.note_change(self, errors)
    }

    fn pull(
        &mut self,
        state: &State<DeviceTensor>,
        cotangents: &[DeviceTensor],
        want: Want<'_>,
        gradients: Option<&mut Gradients<DeviceTensor>>,
        at: &mut FusedLinearisation,
    ) -> Result<()> {
        self.device.check()?;
        let chosen: Vec<usize> = (0..self.links.len())
            .filter(|&index| want.prediction(self.links[index].prediction))
            .collect();
        let layers: Vec<FusedLayer> = chosen
            .iter()
            .map(|&index| self.gate(index, &cotangents[self.links[index].prediction.index()], at))
            .collect();
        self.fused("pc_gate", 0.0, &layers)?;
        for &index in &chosen {
            let link = &self.links[index];
            if want.force(link.parent) {
                self.pullback(
                    link,
                    at.batch,
                    at.layers[index].g.address(),
                    at.layers[index].force.address(),
                    self.rounds(at.live),
                )?;
                at.layers[index].contributes = true;
            }
        }
        if let Some(gradients) = gradients {
            self.learn(chosen.iter().map(|&index| (index, 1.0)), state, gradients, at)?;
        }
        self.device.check()
    }

    fn forget_pulls(&self, at: &mut FusedLinearisation) {
        at.forget();
    }

    fn force<'a>(&self, at: &'a FusedLinearisation, vertex: VertexId) -> Option<&'a DeviceTensor> {
        let index = self.links.iter().position(|link| link.parent == vertex)?;
        at.layers.get(index).filter(|layer| layer.contributes).map(|layer| &layer.force)
    }

    fn reverse(
        &mut self,
        state: &State<DeviceTensor>,
        drives: Drives<'_, DeviceTensor>,
        gradients: Option<&mut Gradients<DeviceTensor>>,
        at: &mut FusedLinearisation,
    ) -> Result<()> {
        self.device.check()?;
        at.forget();
        let mut learned = Vec::new();
        for (index, link) in self.links.iter().enumerate().rev() {
            let driven = drives.driven[link.prediction.index()];
            let cotangent = if driven {
                Some(&drives.cotangents[link.prediction.index()])
            } else {
                self.force(at, link.of)
            };
            let Some(cotangent) = cotangent else { continue };
            self.fused("pc_gate", 0.0, &[self.gate(index, cotangent, at)])?;
            if drives.forces[link.parent.index()] {
                self.pullback(
                    link,
                    at.batch,
                    at.layers[index].g.address(),
                    at.layers[index].force.address(),
                    self.rounds(at.live),
                )?;
                at.layers[index].contributes = true;
            }
            learned.push((
                index,
                drives.weights.get(link.prediction.index()).copied().unwrap_or(1.0) as f32,
            ));
        }
        if let Some(gradients) = gradients {
            self.learn(learned.into_iter(), state, gradients, at)?;
        }
        self.device.check()
    }

    fn failure(&self) -> Result<()> {
        self.device.check()
    }

    fn step_ends(&self) -> Result<()> {
        self.device.flush()
    }

    fn gradients(&self) -> Gradients<DeviceTensor> {
        Gradients::like(&self.parameters)
    }

    fn take_steps(
        &mut self,
        steps: FusedSteps<'_, DeviceTensor>,
        at: &mut FusedLinearisation,
    ) -> Result<Option<usize>> {
        self.device.check()?;
        self.relax(steps, at)
    }
}
