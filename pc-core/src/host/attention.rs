//! Self-attention: the host's own part of it.

use crate::{
    Result,
    composites::{AttentionMap, AttentionParts},
    graph::GraphBuilder,
    host::{Activation, Element, HostTensor, HostVertex, Init, Linear, MatMul, Softmax},
    topology::ParamId,
};

/// Linear maps with drawn weights, and the host's products and softmax.
pub(super) struct Parts<'a, F: Element> {
    pub(super) builder: &'a mut GraphBuilder<HostTensor<F>>,
    pub(super) init: &'a mut Init,
    pub(super) width: usize,
}

impl<F: Element> AttentionParts for Parts<'_, F> {
    type Tensor = HostTensor<F>;

    fn builder(&mut self) -> &mut GraphBuilder<HostTensor<F>> {
        self.builder
    }

    fn map(&mut self, _map: AttentionMap, name: &str) -> Result<(HostVertex<F>, Vec<ParamId>)> {
        let shape = [self.width; 2];
        let weight = self.init.weight(&shape, self.width, Activation::Identity)?;
        let weight = self.builder.parameter(&format!("{name}.weight"), weight)?;
        let bias = HostTensor::zeroed(&[self.width])?;
        let bias = self.builder.parameter(&format!("{name}.bias"), bias)?;
        Ok((Box::new(Linear::new()), vec![weight, bias]))
    }

    fn product(&self, transpose_b: bool, scale: f64) -> HostVertex<F> {
        Box::new(MatMul { transpose_b, scale })
    }

    fn softmax(&self, causal: bool) -> HostVertex<F> {
        Box::new(if causal { Softmax::causal() } else { Softmax::new() })
    }
}
