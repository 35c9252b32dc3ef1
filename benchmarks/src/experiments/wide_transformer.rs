//! Transformers in the muPC scaling, as they grow wide.

use pc_core::{
    Activation, Graph,
    host::{Dense, Fan, HostLayers, Init, Parameterisation, SelfAttention},
};

use super::{
    Context, Findings,
    nets::{Net, T64, equilibrium, normal},
};
use crate::error::CommandError;

const INPUTS: usize = 10;
const OUTPUTS: usize = 3;
const LENGTH: usize = 5;
const HEADS: usize = 2;
const BLOCKS: usize = 2;
/// What a block's first dense layer has more of than its stream.
const WIDER: usize = 2;

/// Causal transformers of two blocks, each vertex with a state of its own: cosines of the gradients
/// at the equilibrium to backprop's, as the stream grows wide.
pub(super) fn transformers(
    context: &mut Context<'_>,
    widths: &[usize],
) -> Result<Findings, CommandError> {
    let (mut findings, seed) = (Findings::new(), context.seed());
    let row = format!("muPC, {BLOCKS} blocks of attention");
    let x = normal(&[2, LENGTH, INPUTS], 5 * seed)?;
    let y = normal(&[2, LENGTH, OUTPUTS], 5 * seed + 1)?;
    let mut cosines = Vec::new();
    for width in widths.iter().filter(|width| (4..=128).contains(*width)) {
        let mut net = transformer(*width, seed)?;
        let clamps = net.clamps(&x, &y);
        let (_, cosine) = net.beside_backprop(equilibrium(20.0, 1e-8)?, &clamps)?;
        context.say(format!("{row}, width {width}: cosine {cosine:.6}"));
        findings.cell(&row, format!("cosine to backprop, N = {width}"), cosine);
        cosines.push((*width as f64, cosine));
    }
    let rises = cosines.windows(2).all(|pair| pair[1].1 > pair[0].1);
    findings.claim("in transformers the cosine to backprop rises with width", rises);
    findings.curve("cosine to backprop, transformers", "muPC", ("N", "cosine"), cosines);
    Ok(findings)
}

/// `[LENGTH, INPUTS]` to `[LENGTH, OUTPUTS]`.
fn transformer(width: usize, seed: u64) -> Result<Net, CommandError> {
    let by = Parameterisation::MuPc;
    let (mut b, mut init) = (Graph::<T64>::builder(), Init::new(seed));
    let dense = |outputs, fan| Dense::new(outputs).without_bias().parameterised(by, fan);
    // Two skips a block are on the longest path.
    let depth = 2 * BLOCKS + 2;
    let x = b.input("x", &[LENGTH, INPUTS])?;
    let mut stream = b.layer("embed", &[x], &dense(width, Fan::first(INPUTS)), &mut init)?;
    let attention = SelfAttention::new(HEADS).causal().parameterised(by, depth);
    let wide = dense(WIDER * width, Fan::hidden(width)).activation(Activation::Tanh);
    let narrow = dense(width, Fan::hidden(WIDER * width).over(depth));
    for block in 1..=BLOCKS {
        let own = |part: &str| format!("block{block}.{part}");
        let normed = b.layer_norm(&own("norm1"), stream)?;
        let attended = b.attention(&own("attention"), normed, &attention, &mut init)?.output;
        let middle = b.sum(&own("skip1"), &[stream, attended])?;
        let normed = b.layer_norm(&own("norm2"), middle)?;
        let made = b.layer(&own("wide"), &[normed], &wide, &mut init)?;
        let made = b.layer(&own("narrow"), &[made], &narrow, &mut init)?;
        stream = b.sum(&own("skip2"), &[middle, made])?;
    }
    let normed = b.layer_norm("norm", stream)?;
    let head = dense(OUTPUTS, Fan::last(width));
    let y = b.layer("y", &[normed], &head, &mut init)?;
    Ok(Net { graph: b.build()?, vertices: vec![x, y] })
}
