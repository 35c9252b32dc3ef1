//! A net of layers that were given as data.

use std::collections::BTreeMap;

use pc_core::{
    VertexId,
    host::{ConvLayer, Dense, Element, HostLayers, Init, MuPc, Starting},
};

use super::{
    kind::{InputShape, ModelKind, Size, Wanted},
    layer_entry::{LayerEntry, LayerKind, Place, PoolName, likeness, wrong},
    model::{Layout, Model},
    parts::Parts,
};
use crate::error::CommandError;

/// Builds a net of layers, with one output for each sample, or with one for each step. Where the
/// picture itself is wanted, the output has as many numbers as one, and the classes play no part.
///
/// # Errors
/// A layer that does not fit the one below, or the data; the message names it.
pub fn build_layers<F: Element>(
    layers: &[LayerEntry],
    shape: &InputShape,
    classes: usize,
    seed: u64,
    per_step: bool,
    wanted: Wanted,
) -> Result<Model<F>, CommandError> {
    let kind = likeness(layers);
    let classes = match wanted {
        Wanted::Label => classes,
        Wanted::Input => shape.features(),
    };
    let mut parts = Parts::new(kind, shape, classes, seed, Size::Standard, per_step)?;
    if per_step && !kind.goes_by_step() {
        return Err(wrong(
            0,
            "",
            "a text is predicted at each step from those before: have a layer of kind rnn, lstm \
             or attention"
                .to_owned(),
        ));
    }
    parts.wanted = wanted;
    let mut net = Net { parts: &mut parts, layers, names: BTreeMap::new() };
    let latent = layers.first().filter(|layer| layer.kind == LayerKind::Latent);
    let mut flow = match latent {
        Some(layer) => net.latent(layer)?,
        None => net.input(kind)?,
    };
    for (at, layer) in layers.iter().enumerate().skip(usize::from(latent.is_some())) {
        layer.check(at)?;
        flow = net.layer(at, layer, flow)?;
    }
    net.output(flow)?;
    parts.description = describe(layers);
    Ok(parts.finish()?)
}

/// What goes from layer to layer.
enum Flow {
    One(VertexId),
    Steps(Vec<VertexId>),
}

struct Net<'a, F: Element> {
    parts: &'a mut Parts<F>,
    layers: &'a [LayerEntry],
    names: BTreeMap<String, VertexId>,
}

impl<F: Element> Net<'_, F> {
    fn input(&mut self, kind: ModelKind) -> Result<Flow, CommandError> {
        let conv = |layer: &LayerEntry| layer.kind.reads_pictures();
        let layout = match kind {
            ModelKind::Rnn | ModelKind::Lstm => {
                return Ok(Flow::Steps(self.parts.step_inputs()?));
            }
            ModelKind::Attention => Layout::Table,
            _ => match self.layers.iter().position(conv) {
                Some(at) if self.parts.shape.picture().is_none() => {
                    let message = "it is for pictures, and these are sequences";
                    return Err(wrong(at, "kind", message.to_owned()));
                }
                Some(_) => Layout::Picture,
                None => Layout::Flat,
            },
        };
        Ok(Flow::One(self.parts.input(layout)?))
    }

    /// A vertex that nothing predicts, in place of the data.
    fn latent(&mut self, layer: &LayerEntry) -> Result<Flow, CommandError> {
        layer.check(0)?;
        let name = layer.name.as_deref().unwrap_or("latent");
        let vertex = self.parts.b.input(name, &layer.latent()).map_err(|error| {
            let message = error.to_string();
            wrong(0, "", message)
        })?;
        self.parts.latent = Some(vertex);
        self.names.insert(name.to_owned(), vertex);
        Ok(Flow::One(vertex))
    }

    fn layer(&mut self, at: usize, layer: &LayerEntry, flow: Flow) -> Result<Flow, CommandError> {
        let usual = format!("{}{}", layer.word(), at + 1);
        let name = layer.name.clone().unwrap_or(usual);
        let failed = |error: pc_core::Error| wrong(at, "", error.to_string());
        if self.names.contains_key(&name) {
            return Err(wrong(at, "name", format!("there is a layer {name} already")));
        }
        let last = at + 1 == self.layers.len();
        if last
            && layer.kind == LayerKind::Dense
            && layer.width.is_some_and(|width| width != self.parts.classes)
        {
            let message = format!("the last width must be {}: leave it out", self.outputs());
            return Err(wrong(at, "width", message));
        }
        let flow = match (layer.kind, flow) {
            (LayerKind::Rnn | LayerKind::Lstm, Flow::Steps(steps)) => {
                Flow::Steps(self.recurrent(layer, &name, &steps).map_err(failed)?)
            }
            (LayerKind::Rnn | LayerKind::Lstm, Flow::One(_)) => {
                let message = "a recurrent layer reads steps, and what is below it is one vertex";
                return Err(wrong(at, "kind", message.to_owned()));
            }
            (LayerKind::Dense, Flow::Steps(steps)) => {
                self.each(at, layer, &name, &steps).map_err(failed)?
            }
            (_, Flow::Steps(steps)) => {
                let Some(below) = steps.last() else {
                    return Err(wrong(at, "kind", "there are no steps below it".to_owned()));
                };
                if self.parts.per_step {
                    let message = "above a recurrent layer of a text only dense and recurrent \
                         ones can be";
                    return Err(wrong(at, "kind", message.to_owned()));
                }
                Flow::One(self.one(at, layer, &name, *below)?)
            }
            (_, Flow::One(below)) => Flow::One(self.one(at, layer, &name, below)?),
        };
        if let Flow::One(vertex) = &flow {
            self.names.insert(name, *vertex);
        }
        Ok(flow)
    }

    /// What the last layer has to give.
    fn outputs(&self) -> String {
        let count = self.parts.classes;
        match self.parts.wanted {
            Wanted::Label => format!("that of the {count} classes"),
            Wanted::Input => format!("that of a picture's {count} numbers"),
        }
    }

    /// A dense layer as it is, above a parent of so many inputs.
    fn dense(&self, at: usize, layer: &LayerEntry, inputs: usize) -> Result<Dense, String> {
        let last = at + 1 == self.layers.len();
        let width = layer.width.or(last.then_some(self.parts.classes));
        let Some(width) = width else { return Err("width is missing: how many outputs?".into()) };
        let mut dense = Dense::new(width).scale(layer.factor(inputs));
        dense = match layer.activation_at.unwrap_or_default() {
            Place::After => dense.activation(layer.function()),
            Place::Before => dense.activation_before(layer.function()),
        };
        if layer.bias == Some(false) {
            dense = dense.without_bias();
        }
        if let Some(rule) = layer.starting() {
            dense = dense.start(rule);
        }
        Ok(dense.precision(layer.precision.unwrap_or(1.0)))
    }

    fn convolution(&self, layer: &LayerEntry, channels: usize) -> ConvLayer {
        let kernel = layer.kernel.unwrap_or(1);
        let mut conv = ConvLayer::new(layer.channels.unwrap_or(1), kernel)
            .padding(layer.padding.unwrap_or(0))
            .stride(layer.stride.unwrap_or(1))
            .scale(layer.factor(channels * kernel * kernel));
        conv = match layer.activation_at.unwrap_or_default() {
            Place::After => conv.activation(layer.function()),
            Place::Before => conv.activation_before(layer.function()),
        };
        if layer.bias == Some(false) {
            conv = conv.without_bias();
        }
        if layer.kind == LayerKind::ConvTranspose {
            conv = conv.transposed(layer.output_padding.unwrap_or(0));
        }
        let size = layer.size.unwrap_or(2);
        conv = match layer.pool {
            None => conv,
            Some(PoolName::Max) => conv.max_pool(size, size),
            Some(PoolName::Average) => conv.avg_pool(size, size),
        };
        if let Some(rule) = layer.starting() {
            conv = conv.start(rule);
        }
        conv.precision(layer.precision.unwrap_or(1.0))
    }

    fn one(
        &mut self,
        at: usize,
        layer: &LayerEntry,
        name: &str,
        below: VertexId,
    ) -> Result<VertexId, CommandError> {
        let failed = |error: pc_core::Error| wrong(at, "", error.to_string());
        let shape = self.parts.b.shape(below).map_err(failed)?.to_vec();
        let made = match layer.kind {
            LayerKind::Dense => {
                // Rows of a sequence stay rows, but for one output for all of them.
                let last = at + 1 == self.layers.len();
                let rows = self.parts.layout == Layout::Table
                    && shape.len() == 2
                    && (self.parts.per_step || !last);
                let inputs = match (rows, shape.last()) {
                    (true, Some(width)) => *width,
                    _ => shape.iter().product(),
                };
                let dense =
                    self.dense(at, layer, inputs).map_err(|message| wrong(at, "", message))?;
                let dense = if rows { dense } else { dense.flatten() };
                self.parts.b.layer(name, &[below], &dense, &mut self.parts.init)
            }
            LayerKind::Conv | LayerKind::ConvTranspose => {
                let conv = self.convolution(layer, shape.first().copied().unwrap_or(1));
                self.parts.b.conv(name, below, &conv, &mut self.parts.init)
            }
            LayerKind::MaxPool | LayerKind::AveragePool => {
                let size = layer.size.unwrap_or(2);
                let stride = layer.stride.unwrap_or(size);
                if layer.kind == LayerKind::MaxPool {
                    self.parts.b.max_pool(name, below, size, stride)
                } else {
                    self.parts.b.avg_pool(name, below, size, stride)
                }
            }
            LayerKind::Flatten => self.parts.b.flatten(name, below),
            LayerKind::Activation => self.parts.b.activate(name, below, layer.function()),
            LayerKind::Residual => {
                let from = layer.from.as_deref().unwrap_or_default();
                let Some(skip) = self.names.get(from) else {
                    let message = format!("there is no layer {from} below this one");
                    return Err(wrong(at, "from", message));
                };
                self.parts.b.sum(name, &[*skip, below])
            }
            LayerKind::Positions => {
                let spread = layer.spread.unwrap_or(0.1);
                self.parts.b.add_parameter(name, below, spread, &mut self.parts.init)
            }
            LayerKind::Attention => {
                let causal = layer.causal.unwrap_or(self.parts.per_step);
                if self.parts.per_step && !causal {
                    let message = "causal = false would see the characters to be predicted";
                    return Err(wrong(at, "causal", message.to_owned()));
                }
                let heads = layer.heads.unwrap_or(1);
                let (b, init) = (&mut self.parts.b, &mut self.parts.init);
                b.self_attention(name, below, heads, causal, init).map(|made| made.output)
            }
            LayerKind::LayerNorm => self.parts.b.layer_norm(name, below),
            LayerKind::Mupc => self.mupc(layer, name, below, shape.iter().product()),
            LayerKind::Latent
            | LayerKind::Rnn
            | LayerKind::Lstm
            | LayerKind::Dropout
            | LayerKind::BatchNorm => {
                return Err(wrong(at, "kind", format!("a {} cannot be here", layer.word())));
            }
        };
        made.map_err(failed)
    }

    /// The same weights at each step of a text; else above the last step.
    fn each(
        &mut self,
        at: usize,
        layer: &LayerEntry,
        name: &str,
        steps: &[VertexId],
    ) -> pc_core::Result<Flow> {
        let misfit = super::parts::misfit;
        let last = steps.last().ok_or_else(|| misfit("there are no steps".to_owned()))?;
        let inputs = self.parts.b.shape(*last)?.iter().product();
        let dense = self.dense(at, layer, inputs).map_err(misfit)?;
        if !self.parts.per_step {
            let init = &mut self.parts.init;
            return Ok(Flow::One(self.parts.b.layer(name, &[*last], &dense, init)?));
        }
        let shared = self.parts.b.layer_parameters(name, &[*last], &dense, &mut self.parts.init)?;
        let each = steps.iter().enumerate().map(|(step, below)| {
            self.parts.b.layer(&format!("{name}.{step}"), &[*below], &dense, &shared)
        });
        Ok(Flow::Steps(each.collect::<pc_core::Result<_>>()?))
    }

    fn recurrent(
        &mut self,
        layer: &LayerEntry,
        name: &str,
        steps: &[VertexId],
    ) -> pc_core::Result<Vec<VertexId>> {
        let width = layer.width.unwrap_or(1);
        let inputs = steps.first().map_or(Ok(0), |first| {
            self.parts.b.shape(*first).map(|shape| shape.iter().product())
        })?;
        // A rule of its own, but numbers of the net's: drawn from where the others end.
        let mut init = std::mem::replace(&mut self.parts.init, Init::new(0));
        if let Some(rule) = layer.starting() {
            init = init.with_rule(rule);
        }
        let b = &mut self.parts.b;
        let mut h = b.input(&format!("{name}.h"), &[width])?;
        self.parts.zeros.push(h);
        let mut states = Vec::with_capacity(steps.len());
        if layer.kind == LayerKind::Rnn {
            let tanh = pc_core::host::Activation::Tanh;
            let parameters = b.gate_parameters(name, inputs, width, tanh, &mut init)?;
            for (step, x) in steps.iter().enumerate() {
                h = b.rnn_cell(&format!("{name}.{step}"), *x, h, &parameters)?;
                states.push(h);
            }
        } else {
            let parameters = b.lstm_parameters(name, inputs, width, &mut init)?;
            let mut c = b.input(&format!("{name}.c"), &[width])?;
            self.parts.zeros.push(c);
            for (step, x) in steps.iter().enumerate() {
                let cell = b.lstm_cell(&format!("{name}.{step}"), *x, h, c, &parameters)?;
                (h, c) = (cell.hidden, cell.cell);
                states.push(h);
            }
        }
        self.parts.init = match layer.starting() {
            Some(_) => init.with_rule(Starting::default()),
            None => init,
        };
        Ok(states)
    }

    fn mupc(
        &mut self,
        layer: &LayerEntry,
        name: &str,
        below: VertexId,
        inputs: usize,
    ) -> pc_core::Result<VertexId> {
        let (width, depth) = (layer.width.unwrap_or(1), layer.depth.unwrap_or(2));
        let mut net = MuPc::new(inputs, width, depth, layer.function());
        if layer.skips == Some(true) {
            net = net.with_skips();
        }
        let (b, init) = (&mut self.parts.b, &mut self.parts.init);
        let first = net.first().flatten();
        let mut last = b.layer(&format!("{name}.1"), &[below], &first, &mut *init)?;
        for l in 2..depth {
            last = b.layer(&format!("{name}.{l}"), &[last], &net.hidden(), &mut *init)?;
        }
        b.layer(&format!("{name}.{depth}"), &[last], &net.last(self.parts.classes), init)
    }

    /// The outputs, which must have a number for each class, or those of a picture.
    fn output(&mut self, flow: Flow) -> Result<(), CommandError> {
        let outputs = match flow {
            Flow::One(vertex) => vec![vertex],
            Flow::Steps(steps) if self.parts.per_step => steps,
            Flow::Steps(steps) => steps.last().copied().into_iter().collect(),
        };
        let at = self.layers.len().saturating_sub(1);
        let length = if self.parts.per_step { self.parts.shape.steps()[0] } else { 1 };
        for output in &outputs {
            let shape = self.parts.b.shape(*output)?.to_vec();
            let rows: usize = shape.iter().rev().skip(1).product();
            let fits = match self.parts.wanted {
                Wanted::Label => {
                    rows == if outputs.len() > 1 { 1 } else { length }
                        && shape.last() == Some(&self.parts.classes)
                }
                Wanted::Input => shape.iter().product::<usize>() == self.parts.classes,
            };
            if !fits {
                let message = format!(
                    "the last layer gives {shape:?}, and it has to be {}: end with a dense layer \
                     without a width",
                    self.outputs()
                );
                return Err(wrong(at, "", message));
            }
        }
        self.parts.outputs = outputs;
        Ok(())
    }
}

fn describe(layers: &[LayerEntry]) -> String {
    let words = layers.iter().map(|layer| {
        let size = layer.width.or(layer.channels).or(layer.heads);
        size.map_or(layer.word(), |size| format!("{} {size}", layer.word()))
    });
    format!("of layers: {}", words.collect::<Vec<_>>().join(", "))
}
