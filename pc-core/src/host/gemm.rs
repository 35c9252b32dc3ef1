//! Matrix products, by the `gemm` crates.

use std::cell::Cell;

use crate::{Error, Result, host::Element};

/// A matrix in someone's slice: element `(i, j)` at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, F> {
    pub(crate) data: &'a [F],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a, F> Matrix<'a, F> {
    /// Rows one after the other.
    pub(crate) fn new(data: &'a [F], rows: usize, columns: usize) -> Self {
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// So many of its rows from this one on.
    pub(crate) fn rows_from(self, first: usize, rows: usize) -> Self {
        let start = (first * self.row_stride).min(self.data.len());
        Self { data: &self.data[start..], rows, ..self }
    }

    /// Whether all of it lies in its slice.
    pub(crate) fn fits(&self) -> bool {
        match (self.rows.checked_sub(1), self.columns.checked_sub(1)) {
            (Some(row), Some(column)) => {
                row * self.row_stride + column * self.column_stride < self.data.len()
            }
            _ => true,
        }
    }
}

/// How many threads a product may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    One,
    All,
}

/// On how many threads a product of so many multiplications runs: below a number of these, threads
/// cost more than they save.
pub(crate) fn threads_for(threads: Threads, multiplications: usize) -> usize {
    match threads {
        Threads::All if multiplications >= 1 << 18 => rayon::current_num_threads(),
        _ => 1,
    }
}

/// `c <- alpha a b + beta c`, with `c` in rows of `b.columns`. With `beta = 0` the contents of `c`
/// are not read.
///
/// # Panics
/// Where the shapes do not fit the slices; callers have checked theirs when the graph was built.
pub(crate) fn gemm<F: Element>(
    alpha: F,
    a: Matrix<'_, F>,
    b: Matrix<'_, F>,
    beta: F,
    c: &mut [F],
    threads: Threads,
) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!(k, b.rows, "the inner dimensions of a product differ");
    assert_eq!(m * n, c.len(), "the result of a product has another size");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        c.iter_mut().for_each(|x| *x = if beta == F::zero() { F::zero() } else { *x * beta });
        return;
    }
    assert!(a.fits() && b.fits(), "a matrix reaches past its slice");
    let threads = match threads_for(threads, m * n * k) {
        1 => gemm_common::Parallelism::None,
        _ => gemm_common::Parallelism::Rayon(0),
    };
    let _guard = InProduct::enter();
    let stride = |x: usize| isize::try_from(x).unwrap_or(isize::MAX);
    // The kernels want columns of the result in one piece, and ours are rows: so c^T = b^T a^T.
    // SAFETY: `fits` bounds every element of `a` and `b` that is read, `c` holds exactly m * n
    // elements in rows of n, and `c` is borrowed mutably, so it overlaps neither.
    #[allow(unsafe_code)]
    unsafe {
        F::gemm_function()(
            n,
            m,
            k,
            c.as_mut_ptr(),
            stride(n),
            1,
            beta != F::zero(),
            b.data.as_ptr(),
            stride(b.row_stride),
            stride(b.column_stride),
            a.data.as_ptr(),
            stride(a.row_stride),
            stride(a.column_stride),
            beta,
            alpha,
            false,
            false,
            false,
            threads,
        );
    }
}

/// `c <- a b` for matrices in row-major order, `a` of `m` rows and `k` columns, `b` of `k` and `n`:
/// the product that layers here are made of, on as many threads as they would use, so that a
/// program can measure what this machine reaches.
///
/// # Errors
/// A slice is not as long as its matrix.
///
/// # Example
/// ```
/// let mut c = [0.0_f32; 2];
/// pc_core::host::matrix_product(&[1.0, 2.0, 3.0, 4.0], &[1.0, 10.0], &mut c, [2, 2, 1])?;
/// assert_eq!(c, [21.0, 43.0]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn matrix_product<F: Element>(
    a: &[F],
    b: &[F],
    c: &mut [F],
    [m, k, n]: [usize; 3],
) -> Result<()> {
    for (name, found, wanted) in [
        ("a", a.len(), m.saturating_mul(k)),
        ("b", b.len(), k.saturating_mul(n)),
        ("c", c.len(), m.saturating_mul(n)),
    ] {
        if found != wanted {
            return Err(Error::shape(format!(
                "a product of {m} x {k} by {k} x {n}: `{name}` has {found} numbers, not {wanted}"
            )));
        }
    }
    gemm(F::one(), Matrix::new(a, m, k), Matrix::new(b, k, n), F::zero(), c, Threads::All);
    Ok(())
}

thread_local! {
    static IN_PRODUCT: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a matrix product of the `gemm` crate, which allocates its packing
/// buffers anew at each call. The crate's own code allocates nothing in a warm relaxation; its test
/// tells the two apart by this.
pub fn in_product() -> bool {
    IN_PRODUCT.get()
}

/// Marks the thread until dropped.
struct InProduct;

impl InProduct {
    fn enter() -> Self {
        IN_PRODUCT.set(true);
        Self
    }
}

impl Drop for InProduct {
    fn drop(&mut self) {
        IN_PRODUCT.set(false);
    }
}
