//! Nets with skip connections.

use pc_core::{
    Result, VertexId,
    host::{Activation, ConvLayer, Element, HostLayers},
};

use super::{kind::Size, model::Layout, parts::Parts};

/// Images from this side up are halved at the start.
const LARGE: usize = 16;

impl<F: Element> Parts<F> {
    /// A stem, two blocks `relu(v + g(f(v)))`, and the head. In a block `f` (with relu), `g`, the
    /// sum and the relu after it are vertices of their own. For images `f` and `g` are 3x3
    /// convolutions, the stem too (with 2x2 max pooling from 16x16 up), and the last block's result
    /// is pooled before the head; for sequences all are dense.
    pub(super) fn residual(&mut self) -> Result<()> {
        let picture = self.shape.picture();
        let width = match (self.size, picture) {
            (Size::Small, _) => 3,
            (Size::Standard, Some(_)) => 16,
            (Size::Standard, None) => 128,
        };
        let conv = ConvLayer::new(width, 3).padding(1);
        let mut last = match picture {
            Some([_, height, wide]) => {
                let x = self.input(Layout::Picture)?;
                let stem = conv.clone().activation(Activation::Relu);
                let stem = if height.min(wide) >= LARGE { stem.max_pool(2, 2) } else { stem };
                self.b.conv("stem", x, &stem, &mut self.init)?
            }
            None => {
                let x = self.input(Layout::Flat)?;
                self.b.dense("stem", x, width, Activation::Relu, &mut self.init)?
            }
        };
        for block in 1..=2 {
            last = self.block(block, last, picture.map(|_| conv.clone()), width)?;
        }
        match picture {
            Some(_) => {
                let [side, wide] = [1, 2].map(|axis| {
                    self.b.shape(last).map_or(1, |shape| shape.get(axis).copied().unwrap_or(1))
                });
                let pooled =
                    if side.min(wide) >= 2 { self.b.avg_pool("pool", last, 2, 2)? } else { last };
                let output = self.dense_flat("head", pooled, self.classes, Activation::Identity)?;
                self.outputs.push(output);
                self.description = format!("2 blocks of {width} channels, 3x3, {}", self.classes);
            }
            None => {
                self.head(last)?;
                self.description =
                    format!("{}, 2 blocks of {width}, {}", self.shape.features(), self.classes);
            }
        }
        Ok(())
    }

    fn block(
        &mut self,
        block: usize,
        parent: VertexId,
        conv: Option<ConvLayer>,
        width: usize,
    ) -> Result<VertexId> {
        let (first, second) = (format!("block{block}.f"), format!("block{block}.g"));
        let g = match conv {
            Some(conv) => {
                let f = self.b.conv(
                    &first,
                    parent,
                    &conv.clone().activation(Activation::Relu),
                    &mut self.init,
                )?;
                self.b.conv(&second, f, &conv, &mut self.init)?
            }
            None => {
                let f = self.b.dense(&first, parent, width, Activation::Relu, &mut self.init)?;
                self.b.dense(&second, f, width, Activation::Identity, &mut self.init)?
            }
        };
        let sum = self.b.sum(&format!("block{block}.sum"), &[parent, g])?;
        self.b.activate(&format!("block{block}.relu"), sum, Activation::Relu)
    }
}
