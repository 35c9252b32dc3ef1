//! The blocks of a residual net.

use std::borrow::Borrow;

use tch::{
    Tensor,
    nn::{self, Module, ModuleT, Path},
};

use crate::marked::named_vertex;

/// A residual net's basic block, `relu(norm(K' * relu(norm(K * x))) + s(x))` (He et al. 2015): the
/// first half, the second, the shortcut where it has weights, and the sum are each a vertex
/// ([`crate::vertex`]).
///
/// Parameters are named as in tch's own ResNet, and as in torchvision's: `conv1`, `bn1`, `conv2`,
/// `bn2`, and `downsample.0` and `downsample.1` where the shape changes, so that their weight files
/// load.
///
/// # Example
/// ```
/// use pc_tch::modules::ResidualBlock;
/// use tch::{Device, Kind, Tensor, nn::{self, ModuleT}};
/// let store = nn::VarStore::new(Device::Cpu);
/// let block = ResidualBlock::new(store.root() / "layer1" / "0", 4, 8, 2);
/// let x = Tensor::rand([2, 4, 6, 6], (Kind::Float, Device::Cpu));
/// assert_eq!(block.forward_t(&x, true).size(), [2, 8, 3, 3]);
/// ```
#[derive(Debug)]
pub struct ResidualBlock {
    convolutions: [nn::Conv2D; 2],
    norms: [nn::BatchNorm; 2],
    shortcut: Option<(nn::Conv2D, nn::BatchNorm)>,
}

impl ResidualBlock {
    /// From so many channels to so many, the first convolution with this stride.
    pub fn new<'a>(path: impl Borrow<Path<'a>>, inputs: i64, outputs: i64, stride: i64) -> Self {
        let path = path.borrow();
        let conv = |name: Path<'a>, from: i64, size: i64, padding: i64, stride: i64| {
            let config = nn::ConvConfig { stride, padding, bias: false, ..Default::default() };
            nn::conv2d(name, from, outputs, size, config)
        };
        let norm = |name: Path<'a>| nn::batch_norm2d(name, outputs, Default::default());
        let changes = stride != 1 || inputs != outputs;
        let (conv1, norm1) = (conv(path / "conv1", inputs, 3, 1, stride), norm(path / "bn1"));
        let (conv2, norm2) = (conv(path / "conv2", outputs, 3, 1, 1), norm(path / "bn2"));
        let down = path / "downsample";
        Self {
            convolutions: [conv1, conv2],
            norms: [norm1, norm2],
            shortcut: changes.then(|| (conv(&down / "0", inputs, 1, 0, stride), norm(&down / "1"))),
        }
    }
}

impl ModuleT for ResidualBlock {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let [conv1, conv2] = &self.convolutions;
        let [norm1, norm2] = &self.norms;
        let inner = norm1.forward_t(&conv1.forward(x), train).relu();
        let inner = named_vertex("block.inner", &inner);
        let outer = norm2.forward_t(&conv2.forward(&inner), train);
        let outer = named_vertex("block.outer", &outer);
        let past = match &self.shortcut {
            Some((conv, norm)) => {
                named_vertex("block.shortcut", &norm.forward_t(&conv.forward(x), train))
            }
            None => x.shallow_clone(),
        };
        named_vertex("block", &(outer + past).relu())
    }
}
