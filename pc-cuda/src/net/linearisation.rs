//! What one evaluation of a fused net leaves behind.

use pc_core::{Result, Tensor as _};

use crate::{
    device::{Device, Gemm, Layout},
    net::{FusedNet, Link, operands::Operands},
    precision::Precision,
    tensor::DeviceTensor,
};

/// Pre-activations, predictions, slopes and forces of every layer, in device memory; and the
/// recorded relaxation, where there is one.
#[derive(Debug, Default)]
pub struct FusedLinearisation {
    pub(super) batch: usize,
    /// Whether it is of live predictions.
    pub(super) live: bool,
    /// The target of a live output's loss, where recordings find it at the same place for every
    /// batch.
    pub(super) target: Option<DeviceTensor>,
    /// By link.
    pub(super) layers: Vec<Layer>,
    /// How far the output's prediction has moved from the reference.
    pub(super) change: Option<DeviceTensor>,
    /// The parameters at the reference, where they may move meanwhile, by parameter.
    pub(super) old: Vec<DeviceTensor>,
    /// The same, minus what they were.
    pub(super) moved: Vec<DeviceTensor>,
    /// Whether it stands where [`pc_core::Network::take_steps`] left off, so that the next
    /// evaluation is done already.
    pub(super) fresh: bool,
    /// What grouped products read and write, where they are used.
    pub(super) operands: Option<Operands>,
    /// The recorded steps and what they were recorded for.
    pub(super) recorded: Option<Recorded>,
}

/// One layer's share.
#[derive(Debug)]
pub(super) struct Layer {
    /// `W v_ref + b`.
    pub(super) z: DeviceTensor,
    /// `f(z)`, the prediction at the reference.
    pub(super) mu: DeviceTensor,
    /// `f'` where the linearisation stands.
    pub(super) slope: DeviceTensor,
    /// Products: `W v`, and `W d` later.
    pub(super) product: DeviceTensor,
    /// `f' pi e`.
    pub(super) g: DeviceTensor,
    /// `W^T g`, the force on the parent.
    pub(super) force: DeviceTensor,
    /// Whether `force` is of the pulls that count.
    pub(super) contributes: bool,
}

/// A recorded relaxation.
#[derive(Debug)]
pub(super) struct Recorded {
    /// Every address and setting that the recording has built in.
    pub(super) key: Vec<u64>,
    pub(super) graph: u64,
    pub(super) device: Device,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.device.note(self.device.machine().forget(self.graph));
    }
}

impl FusedLinearisation {
    /// Makes room for a batch.
    pub(super) fn fit(&mut self, net: &FusedNet, batch: usize) -> Result<()> {
        if self.batch == batch && self.layers.len() == net.links.len() {
            return Ok(());
        }
        self.recorded = None;
        self.operands = None;
        self.change = None;
        self.layers.clear();
        for link in &net.links {
            let own = || DeviceTensor::unset(&net.device, &[batch, link.outputs]);
            self.layers.push(Layer {
                z: own()?,
                mu: own()?,
                slope: own()?,
                product: own()?,
                g: own()?,
                force: DeviceTensor::unset(&net.device, &[batch, link.inputs])?,
                contributes: false,
            });
        }
        self.batch = batch;
        Ok(())
    }

    /// Keeps the parameters as they are now.
    pub(super) fn keep(&mut self, net: &FusedNet) -> Result<()> {
        if self.old.len() != net.parameters.len() {
            self.old = net.parameters.clone();
            self.moved = net.parameters.clone();
            return net.device.check();
        }
        for (old, parameter) in self.old.iter_mut().zip(&net.parameters) {
            let bytes = 4 * parameter.count();
            net.device.machine().copy(old.address(), parameter.address(), bytes)?;
        }
        Ok(())
    }

    /// Notes how far the output's prediction has moved, from what kernels leave for its error:
    /// nothing but that change, since neither a residual nor a displacement is a driven output's.
    pub(super) fn note_change(&mut self, net: &FusedNet, errors: &[DeviceTensor]) -> Result<()> {
        let Some(error) = net.links.last().and_then(|link| errors.get(link.prediction.index()))
        else {
            return Ok(());
        };
        if self.change.is_none() {
            self.change = Some(DeviceTensor::zeroed(&net.device, error.dims())?);
        }
        if let Some(change) = &mut self.change {
            change.fill(0.0);
            change.axpy(-1.0, error);
        }
        net.device.check()
    }

    /// No pull counts.
    pub(super) fn forget(&mut self) {
        for layer in &mut self.layers {
            layer.contributes = false;
        }
    }
}

impl FusedNet {
    /// `out <- v W^T`, or added to it.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn product(
        &self,
        link: &Link,
        batch: usize,
        weight: u64,
        v: u64,
        out: u64,
        add: bool,
        precision: Precision,
    ) -> Result<()> {
        self.device.machine().gemm(&Gemm {
            layout: Layout::Transposed,
            m: batch,
            n: link.outputs,
            k: link.inputs,
            a: v,
            b: weight,
            c: out,
            add,
            precision,
            halves: false,
        })
    }

    /// `out <- g W`.
    pub(super) fn pullback(
        &self,
        link: &Link,
        batch: usize,
        g: u64,
        out: u64,
        precision: Precision,
    ) -> Result<()> {
        self.device.machine().gemm(&Gemm {
            layout: Layout::Plain,
            m: batch,
            n: link.inputs,
            k: link.outputs,
            a: g,
            b: self.weight(link).address(),
            c: out,
            add: false,
            precision,
            halves: false,
        })
    }
}
