//! The convolutional net.

use pc_core::{
    Result,
    host::{Activation, ConvLayer, Element, HostLayers},
};

use super::{
    kind::Size,
    model::Layout,
    parts::{Parts, misfit},
};

/// Images with a shorter side have small kernels.
const LARGE: usize = 16;

impl<F: Element> Parts<F> {
    /// LeNet-like: two convolutions, each with relu and 2x2 max pooling as one vertex, then dense
    /// layers of 120, 84 and the classes.
    ///
    /// From 16x16 up it is LeNet: 6 channels of 5x5 with padding 2, then 16 of 5x5 without. Smaller
    /// images have kernels of 3x3 with padding 1, no pooling after the first convolution, and, as
    /// that is cheap, 16 and 32 channels.
    pub(super) fn cnn(&mut self) -> Result<()> {
        let picture = self.shape.picture();
        let Some(side) = picture.map(|[_, height, width]| height.min(width)) else {
            return Err(misfit(
                "a cnn convolves images, and these are sequences: choose rnn, lstm, \
                attention or mlp"
                    .to_owned(),
            ));
        };
        if side < 2 {
            return Err(misfit(format!(
                "a cnn pools 2x2 windows, and {} has none: give at least 2x2",
                self.shape
            )));
        }
        let large = side >= LARGE;
        let (kernel, paddings) = if large { (5, [2, 0]) } else { (3, [1, 1]) };
        let (channels, dense) = match self.size {
            Size::Small => ([2, 3], [10, 8]),
            Size::Standard if large => ([6, 16], [120, 84]),
            Size::Standard => ([16, 32], [120, 84]),
        };
        let mut last = self.input(Layout::Picture)?;
        for (layer, (channels, padding)) in channels.into_iter().zip(paddings).enumerate() {
            let conv =
                ConvLayer::new(channels, kernel).padding(padding).activation(Activation::Relu);
            let conv = if large || layer == 1 { conv.max_pool(2, 2) } else { conv };
            last = self.b.conv(&format!("conv{}", layer + 1), last, &conv, &mut self.init)?;
        }
        last = self.dense_flat("dense1", last, dense[0], Activation::Relu)?;
        last = self.b.dense("dense2", last, dense[1], Activation::Relu, &mut self.init)?;
        self.head(last)?;
        let [one, two] = channels;
        self.description = format!(
            "conv {one}, {two} of {kernel}x{kernel}, {}-{}-{}, relu",
            dense[0], dense[1], self.classes
        );
        Ok(())
    }
}
