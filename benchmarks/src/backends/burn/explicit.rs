//! Nets without branches as explicit graphs of the same modules, which relax without autograd.

use pc_burn::{BurnTensor, explicit::ModuleGraph};
use pc_core::{Clamps, Graph, Result, host::Activation};

use super::models::{BurnNet, Cnn, Input, Mlp, Task};

/// A graph, and a batch that is held.
pub(super) struct Explicit {
    pub(super) graph: Graph<BurnTensor>,
    pub(super) clamps: Clamps<BurnTensor>,
}

impl Explicit {
    /// Of a net and a batch whose targets are held at the outputs; none of a net that has no
    /// explicit graph here.
    pub(super) fn new(net: &BurnNet, batch: &Task) -> Result<Option<Self>> {
        let input = match &batch.input {
            Input::Flat(x) => BurnTensor::new(x.clone()),
            Input::Steps(x) => BurnTensor::new(x.clone()),
            Input::Picture(x) => BurnTensor::new(x.clone()),
        }?;
        let mut b = ModuleGraph::new();
        let x = b.input("x", &pc_core::Tensor::shape(&input)[1..])?;
        let logits = match net {
            BurnNet::Mlp(Mlp { dense1, dense2, head }) => {
                let h = b.linear("dense1", x, dense1, Activation::Relu)?;
                let h = b.linear("dense2", h, dense2, Activation::Relu)?;
                b.linear("head", h, head, Activation::Identity)?
            }
            BurnNet::Cnn(Cnn { conv1, pool1, conv2, pool2, dense1, dense2, head }) => {
                let h = b.conv2d("conv1", x, conv1, Activation::Relu, pool1.as_ref())?;
                let h = b.conv2d("conv2", h, conv2, Activation::Relu, Some(pool2))?;
                let h = b.flatten("flat", h)?;
                let h = b.linear("dense1", h, dense1, Activation::Relu)?;
                let h = b.linear("dense2", h, dense2, Activation::Relu)?;
                b.linear("head", h, head, Activation::Identity)?
            }
            _ => return Ok(None),
        };
        let clamps =
            Clamps::new().hold(x, input).hold(logits, BurnTensor::new(batch.targets.clone())?);
        let (graph, _) = b.build()?;
        Ok(Some(Self { graph, clamps }))
    }
}
