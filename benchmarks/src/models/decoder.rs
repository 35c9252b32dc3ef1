//! A decoder-only transformer, as layers.

use super::{
    activation::ActivationKind,
    layer_entry::{LayerEntry, LayerKind, StartName},
};

/// The layers of a decoder-only transformer: an embedding, learned places, and blocks of causal
/// self-attention and of two dense layers (the first four times as wide, with gelu), each behind a
/// layer norm and with a skip around both (Radford and others 2019, "Language models are
/// unsupervised multitask learners"); a last layer norm, and the logits. What belongs to block
/// number `k`, counted from 1, has a name that begins with `blockk.`.
///
/// # Example
/// ```
/// use pc_bench::models::{InputShape, Wanted, build_layers, decoder};
/// let shape = InputShape::Sequence { length: 6, vocabulary: 5 };
/// let model = build_layers::<f32>(&decoder(2, 8, 2), &shape, 5, 0, true, Wanted::Label)?;
/// assert_eq!(model.graph.shape(model.outputs[0])?, [6, 5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decoder(blocks: usize, width: usize, heads: usize) -> Vec<LayerEntry> {
    let layer =
        |kind, name: &str| LayerEntry { name: Some(name.to_owned()), ..LayerEntry::of(kind) };
    let dense = |name: &str, width| LayerEntry { width, ..layer(LayerKind::Dense, name) };
    let skip = |name: &str, from: &str| LayerEntry {
        from: Some(from.to_owned()),
        ..layer(LayerKind::Residual, name)
    };
    let mut stream = "places".to_owned();
    let embed = LayerEntry {
        // A one-hot row has one input, whatever the vocabulary.
        start: Some(StartName::Normal),
        spread: Some(1.0),
        ..dense("embed", Some(width))
    };
    let mut layers = vec![embed, layer(LayerKind::Positions, &stream)];
    for block in 1..=blocks {
        let own = |part: &str| format!("block{block}.{part}");
        let (middle, end) = (own("skip1"), own("skip2"));
        layers.extend([
            layer(LayerKind::LayerNorm, &own("norm1")),
            LayerEntry {
                heads: Some(heads),
                causal: Some(true),
                ..layer(LayerKind::Attention, &own("attention"))
            },
            skip(&middle, &stream),
            layer(LayerKind::LayerNorm, &own("norm2")),
            LayerEntry {
                activation: Some(ActivationKind::Gelu),
                ..dense(&own("wide"), Some(4 * width))
            },
            dense(&own("narrow"), Some(width)),
            skip(&end, &middle),
        ]);
        stream = end;
    }
    layers.extend([layer(LayerKind::LayerNorm, "norm"), dense("head", None)]);
    layers
}
