//! What a mutant of the layers of graphs has to survive.

use pc_core::{
    Error, ErrorKind, Graph, PredictionId, Result, Schedule,
    conformance::{Verdict, composites, layers},
    host::{Activation, HostTensor},
};
use pc_cuda::{Device, Precision, graph_to_device};

use crate::{
    blocks::{distance, every, learned_here, learned_there, odd, schedules, swallow},
    mutated::{self, object},
    rounded::rounded,
    stepped::{Stepped, added, edges, embedded, swallowed},
};

/// The files of the layers of graphs.
pub(crate) const STEPPED: [&str; 4] =
    ["layers.cu", "pooled.cu", "functions.cu", "pc_functions.cuh"];

/// By function of `layers.cu`, `pooled.cu`, `functions.cu` and `pc_functions.cuh`: words in what
/// the layers are made of that call it, and the other checks that do.
const CALLED: &[(&str, &[&str])] = &[
    ("pc_layer_copy", &["composites"]),
    ("pc_layer_swap", &["Conv", "composites"]),
    ("pc_turn", &["Linear", "Conv", "composites", "rounded convolution"]),
    ("pc_layer_tile", &["Linear", "Conv", "added", "composites"]),
    ("pc_layer_sums", &["Linear", "Conv", "LayerNorm", "added"]),
    ("pc_layer_patches", &["Conv", "rounded convolution"]),
    ("pc_layer_max_pool", &["MaxPool2d", "edges", "NaN"]),
    ("pc_layer_avg_pool", &["AvgPool2d"]),
    ("pc_layer_unpool", &["Pool2d"]),
    ("pc_layer_products", &["MatMul"]),
    ("pc_pooled_where", &["blocks"]),
    ("pc_pooled_window", &["blocks"]),
    ("pc_pooled", &["blocks"]),
    ("pc_pooled_first", &["blocks"]),
    ("pc_pooled_last", &["blocks"]),
    ("pc_pooled_back", &["blocks"]),
    ("pc_layer_embed", &["embedded"]),
    ("pc_layer_unembed", &["embedded"]),
    ("pc_sigmoids", &["Sigmoid", "Silu", "Softplus"]),
    ("pc_log1p", &["Softplus"]),
    ("pc_softplus_tail", &["Softplus"]),
    ("pc_softplus_change", &["Softplus"]),
    ("pc_bounded", &["HardTanh", "NaN"]),
    ("pc_hard_tanh_change", &["HardTanh"]),
    ("pc_normal", &["Gelu"]),
    ("pc_gelu_change", &["Gelu"]),
    ("pc_silu_tail", &["Silu"]),
    ("pc_function", &["Activation(", "blocks"]),
    ("pc_function_change", &["Activation(", "blocks"]),
    ("pc_function_activate", &["Activation("]),
    ("pc_row", &["Softmax", "LayerNorm"]),
    ("pc_seen", &["Softmax"]),
    ("pc_exp_any", &["Softmax", "edges"]),
    ("pc_function_softmax", &["Softmax"]),
    ("pc_function_softmax_change", &["Softmax", "edges"]),
    ("pc_function_softmax_pull", &["Softmax"]),
    ("pc_function_norm", &["LayerNorm"]),
    ("pc_function_norm_change", &["LayerNorm"]),
    ("pc_function_norm_pull", &["LayerNorm"]),
];

/// The layers of graphs that call a function, each by itself and at its edges; all of them where it
/// is not said who calls it.
pub(crate) fn step_by_step(device: &Device, seed: u64, function: &str) {
    let called = CALLED.iter().find(|(name, _)| *name == function).map(|(_, words)| *words);
    let asked =
        |what: &str| called.is_none_or(|words| words.iter().any(|word| what.contains(word)));
    let backend = Stepped { device: device.clone(), factor: 1.0 };
    let passed_over = "not asked for";
    let remade = |graph: Graph<HostTensor<f32>>| {
        let (structure, _) = graph.structure(PredictionId::new(0))?;
        if asked(&format!("{structure:?}")) {
            graph_to_device(&graph, device, Precision::F32)
        } else {
            Err(Error::new(ErrorKind::Unsupported, passed_over))
        }
    };
    let mut cases = layers(&backend, remade).unwrap().cases;
    if asked("composites") {
        cases.extend(composites(&backend).unwrap().cases);
    }
    for case in cases {
        match &case.verdict {
            Verdict::Failed(why) if !why.contains(passed_over) => {
                object(&format!("{}, seed {seed}: {why}", case.name))
            }
            _ => {}
        }
    }
    let agree = |what: &str, off: &dyn Fn() -> Result<f64>| match off() {
        Ok(off) if off <= 1e-5 => {}
        Ok(off) => object(&format!("{what}, seed {seed}: off by {off:.1e}")),
        Err(error) => object(&format!("{what}, seed {seed}: {error}")),
    };
    if asked("edges") {
        agree("edges", &|| edges(device).map(|(_, off)| off));
    }
    if asked("embedded") {
        agree("embedded", &|| embedded(device));
    }
    if asked("added") {
        agree("added", &|| added(device));
    }
    if asked("rounded convolution") {
        // The order of blocks must not show in a single bit.
        let found = |device: &Device| rounded(device, Schedule::standard(0.2, 8).unwrap());
        match (found(device), found(&mutated::device(0, device.props()))) {
            (Ok((off, bits)), Ok((_, in_order))) if off <= 2e-2 && bits == in_order => {}
            (Ok((off, _)), Ok(_)) => {
                object(&format!("rounded convolutions, seed {seed}: off by {off:.1e}, or by bits"))
            }
            (Err(error), _) | (_, Err(error)) => {
                object(&format!("rounded convolutions, seed {seed}: {error}"))
            }
        }
    }
    if asked("blocks") {
        fused(device, seed);
    }
    if asked("NaN") {
        match swallowed(device) {
            Ok(names) if names.is_empty() => {}
            Ok(names) => object(&format!("a NaN became a number in {names:?}, seed {seed}")),
            Err(error) => object(&format!("NaNs, seed {seed}: {error}")),
        }
    }
}

/// Convolutions with what follows them, one schedule each: the odd ones, and in one of the orders
/// every pooling with an activation of straight pieces, with a smooth one and without. Some once
/// more in bf16, while predictions are frozen.
fn fused(device: &Device, seed: u64) {
    let kinds = [None, Some(Activation::LeakyRelu(0.1)), Some(Activation::Tanh)];
    let schedules = schedules().unwrap();
    let others = every().into_iter().filter(|block| seed == 1 && kinds.contains(&block.act));
    let mut cases = Vec::new();
    for (index, block) in odd().into_iter().chain(others).enumerate() {
        cases.push((block.clone(), &schedules[index % 3], Precision::F32));
        if [1, 3].contains(&index) {
            cases.push((block, &schedules[1], Precision::Bf16));
        }
    }
    for (block, schedule, precision) in cases {
        let case = (&block, schedule, seed == 1);
        let there = |apart| learned_there(device, case, precision, apart);
        // What rounds is beside what rounds alike.
        let (wanted, tolerance) = match precision {
            Precision::F32 => (learned_here(case), 1e-5),
            _ => (there(true), 1e-4),
        };
        match there(false).and_then(|found| Ok(distance(&found, &wanted?))) {
            Ok(off) if off <= tolerance => {}
            Ok(off) => object(&format!("{block:?}, {schedule}, seed {seed}: off by {off:.1e}")),
            Err(error) => object(&format!("{block:?}, {schedule}, seed {seed}: {error}")),
        }
    }
    match swallow(device, &kinds) {
        Ok(names) if names.is_empty() => {}
        Ok(names) => object(&format!("a NaN became a number in {names:?}, seed {seed}")),
        Err(error) => object(&format!("NaNs in blocks, seed {seed}: {error}")),
    }
}
