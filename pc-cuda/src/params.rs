//! What each kernel takes, laid out as in `kernels/pc_params.cuh`. Pointers are device addresses, 0
//! for none.

/// The most layers of one launch.
pub(crate) const LAYERS: usize = 16;
/// The samples of one cluster.
pub(crate) const SLICE: usize = 8;
/// The most tensors of one optimiser launch.
pub(crate) const PARTS: usize = 32;
/// The elements of one block of an element-by-element kernel.
pub(crate) const CHUNK: usize = 1024;
/// The side of a tile of weight gradients.
pub(crate) const TILE: usize = 32;

macro_rules! params {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default)]
            pub(crate) struct $name { $(pub(crate) $field: $kind,)* }
        )*
    };
}

params! {
    /// One prediction of a chain, for the cluster kernels.
    ClusterLayer {
        weight: u64, z: u64, r: u64, reference: u64, d: u64, v: u64, e: u64, slope: u64,
        precision: f32, n: i32, rows: i32, act: i32, senders: i32,
        stride: i32, groups: i32, shift: i32, inverse: u32,
        weight_at: i32, gather_at: i32, partial_at: i32, state_at: i32, gate_at: i32,
        scratch_at: i32, residual_at: i32,
    }
    Cluster {
        layer: [ClusterLayer; LAYERS],
        target: u64, layers: i32, batch: i32, steps: i32, loss: i32, rate: f32, lambda: f32,
        signal_at: i32, unused: i32,
    }
    /// One layer of a grouped product.
    GemmLayer {
        a: u64, b: u64, z: u64, r: u64, reference: u64, d: u64, v: u64, e: u64, slope: u64,
        out: u64,
        precision: f32, act: i32, rows: i32, columns: i32, chunks: i32, first: i32, across: i32,
        out_row: i32, out_part: i32, a_chunk: i32, b_chunk: i32, unused: i32,
    }
    Gemms { layer: [GemmLayer; LAYERS], layers: i32, split: i32, rate: f32, unused: i32, }
    /// A matrix to be made an operand.
    PackLayer {
        from: u64, rows_to: u64, columns_to: u64,
        rows: i32, columns: i32, first: i32, across: i32,
        row: i32, part: i32, column_row: i32, column_part: i32, second: i32, unused: i32,
    }
    Pack { layer: [PackLayer; LAYERS], layers: i32, split: i32, }
    /// One prediction, for kernels over the elements of several.
    FusedLayer {
        z: u64, dz: u64, shift: u64, r: u64, reference: u64, force: u64, d: u64, v: u64, e: u64,
        g: u64, slope: u64,
        precision: f32, act: i32, count: i32, width: i32, first: i32, unused: i32,
    }
    Fused { layer: [FusedLayer; LAYERS], layers: i32, rate: f32, }
    /// The drive of a live output.
    Drive {
        reference: u64, target: u64, slope: u64, e: u64, g: u64,
        rows: i32, classes: i32, loss: i32, lambda: f32,
    }
    Predict {
        product: u64, bias: u64, offset: u64, z: u64, mu: u64, slope: u64, value: u64,
        act: i32, count: i32, width: i32, unused: i32,
    }
    WeightLayer {
        g: u64, v: u64, dw: u64, db: u64,
        outputs: i32, inputs: i32, first: i32, add_w: i32, add_b: i32, scale: f32,
    }
    Weights { layer: [WeightLayer; LAYERS], layers: i32, batch: i32, }
    Part { theta: u64, g: u64, m: u64, v: u64, count: i32, first: i32, rate: f32, correction: f32, }
    Optimise { part: [Part; PARTS], parts: i32, momentum: f32, decay: f32, beta1: f32, beta2: f32,
    epsilon: f32, }
    Map { out: u64, a: u64, b: u64, c: u64, x: f32, y: f32, count: i32, operation: i32, }
    Reduce { a: u64, b: u64, out: u64, count: i32, unused: i32, }
    Step {
        d: u64, v: u64, reference: u64, e: u64, force: u64, velocity: u64,
        rate: f32, precision: f32, momentum: f32, count: i32,
    }
    CrossEntropy { mu: u64, target: u64, drive: u64, loss: u64, rows: i32, classes: i32, }
    Primitives { input: u64, out: u64, count: i32, unused: i32, }
    /// Blocks of numbers from one place to another.
    Lay {
        input: u64, out: u64, outer: i32, length: i32, inner: i32, out_whole: i32, out_start: i32,
        in_whole: i32, in_start: i32, unused: i32,
    }
    Swap { input: u64, out: u64, outer: i32, a: i32, b: i32, inner: i32, }
    Turn {
        input: u64, out: u64, x: f32, outer: i32, a: i32, b: i32, in_row: i32, out_row: i32,
        add: i32, unused: i32,
    }
    Tile { a: u64, out: u64, x: f32, length: i32, inner: i32, count: i32, }
    Sums { a: u64, b: u64, out: u64, x: f32, outer: i32, columns: i32, inner: i32, }
    Patches {
        input: u64, out: u64, images: i32, height: i32, width: i32, vectors: i32, rows: i32,
        columns: i32, window_h: i32, window_w: i32, stride: i32, padding: i32, back: i32,
        unused: i32,
    }
    Pool {
        a: u64, d: u64, old: u64, out: u64, index: u64, planes: i32, height: i32, width: i32,
        out_h: i32, out_w: i32, size: i32, stride: i32, unused: i32,
    }
    /// What a convolution's products become, and back.
    Pooled {
        a: u64, d: u64, bias: u64, moved: u64, old: u64, out: u64, kept: u64, index: u64,
        slope: u64, leak: f32, act: i32, samples: i32, channels: i32, height: i32, width: i32,
        out_h: i32, out_w: i32, size: i32, stride: i32, row: i32, unused: i32,
    }
    Products {
        a: u64, b: u64, c: u64, x: f32, m: i32, n: i32, k: i32, transpose_a: i32,
        transpose_b: i32, add: i32, unused: i32,
    }
    Embed { index: u64, input: u64, out: u64, x: f32, places: i32, vocabulary: i32, width: i32, }
    Activate { a: u64, d: u64, out: u64, slope: u64, leak: f32, act: i32, count: i32,
    unused: i32, }
    Softmax {
        a: u64, d: u64, s: u64, out: u64, current: u64, rows: i32, length: i32, period: i32,
        causal: i32,
    }
    Norm {
        a: u64, d: u64, gain: u64, bias: u64, old_gain: u64, old_bias: u64, out: u64,
        centred: u64, normal: u64, before: u64, inverse: u64, epsilon: f32, rows: i32,
        length: i32, unused: i32,
    }
}
