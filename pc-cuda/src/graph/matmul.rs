//! Products of two parents as matrices, on a device: all pairs in one launch.

use pc_core::{
    Error, ErrorKind, Result, Tensor,
    backend::{Cache, Inputs, Pulled, Structure, Vertex},
    host::{self, HostTensor},
};

use crate::{
    device::Family,
    graph::{
        as_the_host,
        moves::{self, place},
    },
    params::Products,
    tensor::{DeviceTensor, int},
};

/// As [`host::MatMul`], in full `f32` always.
#[derive(Clone, Copy, Debug)]
pub(super) struct MatMul {
    pub(super) host: host::MatMul,
}

/// The side of a kernel's tile, and the shared memory of its two.
const SIDE: usize = 16;
const TILES: usize = 4 * 2 * SIDE * (SIDE + 1);

/// An operand, and whether it is transposed.
type Operand<'a> = (&'a DeviceTensor, bool);

/// `c <- x a b` for each pair of matrices, added to what is there or in its place.
fn products(
    [m, n, k]: [usize; 3],
    x: f64,
    (a, transpose_a): Operand<'_>,
    (b, transpose_b): Operand<'_>,
    (c, add): (&DeviceTensor, bool),
) -> Result<()> {
    let params = Products {
        a: place(a)?,
        b: place(b)?,
        c: place(c)?,
        x: x as f32,
        m: int(m),
        n: int(n),
        k: int(k),
        transpose_a: i32::from(transpose_a),
        transpose_b: i32::from(transpose_b),
        add: i32::from(add),
        unused: 0,
    };
    let pairs = c.count() / (m * n).max(1);
    let grid = pairs * m.div_ceil(SIDE) * n.div_ceil(SIDE);
    moves::blocks(c.device(), (Family::Layers, "pc_layer_products"), (grid, TILES), &params)
}

impl MatMul {
    /// `m`, `n` and `k`.
    fn sizes(&self, at: &Inputs<'_, DeviceTensor>) -> Result<[usize; 3]> {
        let ([.., m, k], [.., p, q]) = (at.value(0).dims(), at.value(1).dims()) else {
            return Err(Error::new(ErrorKind::Shape, "a matmul vertex takes two matrices"));
        };
        Ok([*m, if self.host.transpose_b { *p } else { *q }, *k])
    }
}

impl Vertex<DeviceTensor> for MatMul {
    as_the_host!();

    fn predict(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        _cache: &mut Cache<DeviceTensor>,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        at.agree()?;
        let (sizes, host::MatMul { transpose_b, scale }) = (self.sizes(at)?, self.host);
        products(sizes, scale, (at.value(0), false), (at.value(1), transpose_b), (output, false))
    }

    /// `(A + dA) (B + dB) - A B = dA (B + dB) + A dB`.
    fn change(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        _cache: &mut Cache<DeviceTensor>,
        _predicted: &DeviceTensor,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        let (sizes, host::MatMul { transpose_b, scale }) = (self.sizes(at)?, self.host);
        let mut add = false;
        if let Some(d) = at.displacement(0) {
            products(sizes, scale, (d, false), (at.value(1), transpose_b), (output, false))?;
            add = true;
        }
        match at.displacement(1) {
            Some(d) => {
                products(sizes, scale, (at.reference(0), false), (d, transpose_b), (output, add))?;
            }
            None if !add => output.fill(0.0),
            None => {}
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        _cache: &mut Cache<DeviceTensor>,
        cotangent: &DeviceTensor,
        pulled: &mut Pulled<'_, DeviceTensor>,
    ) -> Result<()> {
        let ([m, n, k], host::MatMul { transpose_b, scale }) = (self.sizes(at)?, self.host);
        let (a, b, u) = (at.value(0), at.value(1), cotangent);
        if let Some(force) = pulled.force(0) {
            products([m, k, n], scale, (u, false), (b, !transpose_b), (force, false))?;
        }
        if let Some(force) = pulled.force(1) {
            if transpose_b {
                products([n, k, m], scale, (u, true), (a, false), (force, false))?;
            } else {
                products([k, n, m], scale, (a, true), (u, false), (force, false))?;
            }
        }
        Ok(())
    }
}
