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
        out_row: i32, out_part: i32, unused: i32,
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
}
