//! A matrix that many products share, laid out once as the innermost loops read it.

use std::ops::Range;

use rayon::prelude::*;

use crate::{
    Result,
    host::{
        Element, HostTensor,
        gemm::{Matrix, Threads, gemm, threads_for},
        kernels::Kernels,
    },
    vertex::Cache,
};

/// Bytes at whose multiples panels begin: then no vector lies on two lines of the cache.
const LINE: usize = 64;

/// Rows of the other factor that meet a panel before the next one: they stay in cache meanwhile.
const ROWS: usize = 96;

/// The depth of a product that is summed at once, in bytes of a row: a tile's rows stay in the
/// first level of the cache.
const DEPTH: usize = 4096;

/// A matrix `b [depth, columns]` for products `x b`.
///
/// Its columns are cut into panels as wide as the highest tile of the kernels, the last one as wide
/// as it needs to be in whole vectors, with zeros there. Every panel lies in one piece, row by row.
/// Without kernels it is the matrix itself, row by row.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a, F> {
    panels: &'a [F],
    depth: usize,
    columns: usize,
    kernels: Option<Kernels<F>>,
}

/// The columns that panels have together, and each but the last one.
fn widths<F>(columns: usize, kernels: Option<Kernels<F>>) -> (usize, usize) {
    kernels.map_or((columns, columns), |own| {
        (columns.next_multiple_of(own.lanes), own.lanes * own.vectors)
    })
}

/// Where the elements of a packed matrix lie, for who writes it panel by panel.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    columns: usize,
    padded: usize,
    width: usize,
}

impl Panels {
    /// Those of a matrix with so many columns.
    pub(super) fn new<F: Element>(columns: usize) -> Self {
        let (padded, width) = widths(columns, F::kernels());
        Self { columns, padded, width: width.max(1) }
    }

    /// The elements of a matrix of this depth.
    pub(super) fn len(&self, depth: usize) -> usize {
        self.padded * depth
    }

    /// For a column of a matrix of this depth: its place in the first row, and how far the next row
    /// is.
    pub(super) fn place(&self, column: usize, depth: usize) -> (usize, usize) {
        let first = column - column % self.width;
        (first * depth + column - first, self.width.min(self.padded - first))
    }

    /// The matrix whose elements were written to `panels`, which begins at a multiple of [`LINE`]
    /// bytes if it is to be read quickly.
    pub(super) fn packed<'a, F: Element>(&self, panels: &'a [F], depth: usize) -> Packed<'a, F> {
        Packed { panels, depth, columns: self.columns, kernels: F::kernels() }
    }
}

/// Vectors of columns begin at multiples of this many columns, so that columns which begin there
/// lie side by side in one panel.
pub(super) fn lanes<F: Element>() -> usize {
    F::kernels().map_or(LINE / size_of::<F>(), |own| own.lanes)
}

/// How many elements to leave out so that what follows begins at a multiple of [`LINE`] bytes, and
/// the room to have for that.
pub(super) fn aligned<F>(room: &[F]) -> usize {
    room.as_ptr().align_offset(LINE).min(spare::<F>())
}

/// The elements that [`aligned`] leaves out at most.
pub(super) const fn spare<F>() -> usize {
    LINE / size_of::<F>()
}

/// Packs `b` into a slot of the cache, whose list of indices then says where in it the panels
/// begin.
pub(super) fn pack<F: Element>(
    b: Matrix<'_, F>,
    cache: &mut Cache<HostTensor<F>>,
    slot: usize,
    like: &HostTensor<F>,
) {
    let kernels = F::kernels();
    let all = b.rows * widths(b.columns, kernels).0;
    let room = cache.slot(slot, &[all + spare::<F>()], like).data_mut();
    let start = aligned(room);
    fill(b, kernels, &mut room[start..start + all]);
    let list = cache.indices(slot);
    list.clear();
    list.push(start as u32);
}

/// Says that what is packed in this slot is no longer the matrix.
pub(super) fn forget<F: Element>(cache: &mut Cache<HostTensor<F>>, slot: usize) {
    cache.indices(slot).clear();
}

/// Whether something is packed in this slot.
pub(super) fn is_packed<F: Element>(cache: &mut Cache<HostTensor<F>>, slot: usize) -> bool {
    !cache.indices(slot).is_empty()
}

/// What [`pack`] has left in a slot for a matrix of this depth with so many columns.
///
/// # Errors
/// Nothing was left there.
pub(super) fn packed<F: Element>(
    cache: &mut Cache<HostTensor<F>>,
    slot: usize,
    [depth, columns]: [usize; 2],
) -> Result<Packed<'_, F>> {
    let start = cache.indices(slot).first().map_or(0, |start| *start as usize);
    let kernels = F::kernels();
    let panels = &cache.get(slot)?.data()[start..];
    Ok(Packed { panels, depth, columns, kernels })
}

/// Writes the panels of `b` to `to`, which is as long as they are.
fn fill<F: Element>(b: Matrix<'_, F>, kernels: Option<Kernels<F>>, to: &mut [F]) {
    let (padded, width) = widths(b.columns, kernels);
    if b.rows == 0 {
        return;
    }
    for first in (0..padded).step_by(width.max(1)) {
        let own = width.min(padded - first);
        let given = own.min(b.columns - first);
        let panel = &mut to[first * b.rows..][..own * b.rows];
        if b.column_stride == 1 {
            for (row, to) in panel.chunks_exact_mut(own).enumerate() {
                let (to, zeros) = to.split_at_mut(given);
                to.copy_from_slice(&b.data[row * b.row_stride + first..][..given]);
                zeros.fill(F::zero());
            }
        } else {
            if given < own {
                panel.fill(F::zero());
            }
            transpose(&b, first..first + given, own, panel);
        }
    }
}

/// Writes these columns of `a` to `b` row by row, a row every `width` elements: column by column
/// within blocks of rows that stay in cache.
fn transpose<F: Element>(a: &Matrix<'_, F>, columns: Range<usize>, width: usize, b: &mut [F]) {
    const BLOCK: usize = 16;
    for i0 in (0..a.rows).step_by(BLOCK) {
        let rows = i0..(i0 + BLOCK).min(a.rows);
        for j in columns.clone() {
            let from = &a.data[j * a.column_stride + i0 * a.row_stride..];
            let from = from.iter().step_by(a.row_stride).take(rows.len());
            let to = b[i0 * width + j - columns.start..].iter_mut().step_by(width);
            to.zip(from).for_each(|(to, from)| *to = *from);
        }
    }
}

impl<F: Element> Packed<'_, F> {
    /// `c <- x b + beta c`, with `c` in rows of as many columns as `b` has. With `beta = 0` the
    /// contents of `c` are not read. Sums go by depth, as those of [`gemm`] do; their last bits may
    /// differ from its.
    ///
    /// # Panics
    /// As [`gemm`].
    pub(crate) fn product(self, x: Matrix<'_, F>, beta: F, c: &mut [F], threads: Threads) {
        assert_eq!(x.columns, self.depth, "the inner dimensions of a product differ");
        assert_eq!(x.rows * self.columns, c.len(), "the result of a product has another size");
        let Some(kernels) = self.kernels else {
            let b = Matrix::new(self.panels, self.depth, self.columns);
            return gemm(F::one(), x, b, beta, c, threads);
        };
        if c.is_empty() {
            return;
        }
        if self.depth == 0 {
            c.iter_mut().for_each(|y| *y = if beta == F::zero() { F::zero() } else { *y * beta });
            return;
        }
        assert!(x.fits(), "a matrix reaches past its slice");
        let threads = threads_for(threads, x.rows * self.columns * self.depth);
        if threads == 1 {
            return self.rows(kernels, x, beta, c);
        }
        let share = x.rows.div_ceil(threads);
        c.par_chunks_mut(share * self.columns).enumerate().for_each(|(job, c)| {
            self.rows(kernels, x.rows_from(job * share, c.len() / self.columns), beta, c);
        });
    }

    /// The same on this thread, where nothing is empty.
    fn rows(self, kernels: Kernels<F>, x: Matrix<'_, F>, beta: F, c: &mut [F]) {
        let (padded, width) = widths(self.columns, Some(kernels));
        assert!(padded * self.depth <= self.panels.len(), "panels reach past their slice");
        let block = ROWS.next_multiple_of(kernels.columns);
        // Parts of one length, nearly.
        let parts = (self.depth * size_of::<F>()).div_ceil(DEPTH);
        let part = self.depth.div_ceil(parts);
        for (block, c) in
            c.chunks_mut(block * self.columns).enumerate().map(|(k, c)| (k * block, c))
        {
            for deep in (0..self.depth).step_by(part) {
                let k = part.min(self.depth - deep);
                let beta = if deep == 0 { beta } else { F::one() };
                for first in (0..padded).step_by(width) {
                    let own = width.min(padded - first);
                    let panel = &self.panels[first * self.depth + deep * own..][..k * own];
                    self.tiles(kernels, (panel, own), (x, block, deep, k), beta, (&mut *c, first));
                }
            }
        }
    }

    /// The product of some rows of `x`, from row `block`, with a part of a panel: `k` deep, from
    /// `deep` on.
    fn tiles(
        self,
        kernels: Kernels<F>,
        (panel, width): (&[F], usize),
        (x, block, deep, k): (Matrix<'_, F>, usize, usize, usize),
        beta: F,
        (c, first): (&mut [F], usize),
    ) {
        let stride = |x: usize| isize::try_from(x).unwrap_or(isize::MAX);
        let given = width.min(self.columns - first);
        let status = if beta == F::zero() { 0 } else { 1 + u8::from(beta != F::one()) };
        let rows = c.len() / self.columns;
        for row in (0..rows).step_by(kernels.columns) {
            let count = kernels.columns.min(rows - row);
            let kernel = (kernels.of)(width / kernels.lanes, count);
            let from = &x.data[(block + row) * x.row_stride + deep * x.column_stride..];
            let to = &mut c[row * self.columns + first..];
            // SAFETY: the machine has these kernels. They read `width` numbers, whole vectors, of
            // each of `k` rows of `panel`, which holds k * width. They read `count` rows of `x`,
            // `k` deep, from `from` on: the last of these elements is in `x`, whose bounds
            // `Packed::product` has checked. They write `given` columns of `count` rows of `c`, in
            // which these rows lie whole; `c` is borrowed mutably, so it overlaps neither.
            #[allow(unsafe_code)]
            unsafe {
                kernel(
                    given,
                    count,
                    k,
                    to.as_mut_ptr(),
                    panel.as_ptr(),
                    from.as_ptr(),
                    stride(self.columns),
                    1,
                    stride(width),
                    stride(x.column_stride),
                    stride(x.row_stride),
                    beta,
                    F::one(),
                    status,
                    false,
                    false,
                    false,
                    std::ptr::null(),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
