//! Packed products beside plain sums, with all kernels that this machine has and with none.

use std::ops::Range;

use crate::{Result, host::Init};

use super::*;

/// Where a test has its matrices begin in their slices.
const BEFORE: usize = 3;

/// How a factor lies in memory.
#[derive(Clone, Copy, Debug)]
enum Lies {
    ByRows,
    ByColumns,
}

fn numbers<F: Element>(count: usize, init: &mut Init) -> Result<Vec<F>> {
    Ok(init.uniform::<F>(&[count], 1.0)?.data().to_vec())
}

fn matrix<F>(data: &[F], rows: usize, columns: usize, lies: Lies) -> Matrix<'_, F> {
    match lies {
        Lies::ByRows => Matrix::new(data, rows, columns),
        Lies::ByColumns => Matrix::new(data, columns, rows).t(),
    }
}

/// Panels in a slice that is longer than they are, with NaN around them.
fn panels<F: Element>(b: Matrix<'_, F>, kernels: Option<Kernels<F>>) -> (Vec<F>, Range<usize>) {
    let length = b.rows * widths(b.columns, kernels).0;
    let mut room = vec![F::nan(); length + 2 * BEFORE];
    fill(b, kernels, &mut room[BEFORE..BEFORE + length]);
    (room, BEFORE..BEFORE + length)
}

/// Checks one product with one set of kernels.
fn agrees<F: Element>(
    kernels: Option<Kernels<F>>,
    [rows, depth, columns]: [usize; 3],
    [x_lies, b_lies]: [Lies; 2],
    threads: Threads,
    init: &mut Init,
) -> Result<()> {
    let (x, b) = (numbers::<F>(rows * depth, init)?, numbers::<F>(depth * columns, init)?);
    let (x, b) = (matrix(&x, rows, depth, x_lies), matrix(&b, depth, columns, b_lies));
    let (room, place) = panels(b, kernels);
    let packed = Packed { panels: &room[place], depth, columns, kernels };
    let before = numbers::<F>(rows * columns, init)?;
    for beta in [0.0, 1.0, -0.5] {
        // With `beta = 0`, what was there must not be read.
        let mut c = if beta == 0.0 { vec![F::nan(); before.len()] } else { before.clone() };
        packed.product(x, F::of(beta), &mut c, threads);
        for (at, found) in c.iter().enumerate() {
            let (i, j) = (at / columns, at % columns);
            let at_x = |p: usize| x.data[i * x.row_stride + p * x.column_stride].value();
            let at_b = |p: usize| b.data[p * b.row_stride + j * b.column_stride].value();
            let sum: f64 = (0..depth).map(|p| at_x(p) * at_b(p)).sum();
            let wanted = sum + if beta == 0.0 { 0.0 } else { beta * before[at].value() };
            let bound = F::epsilon().value() * (2.0 + depth as f64);
            let what = format!("{rows} x {depth} x {columns}, {x_lies:?} {b_lies:?}, beta {beta}");
            let off = (found.value() - wanted).abs();
            assert!(off <= bound, "{what}, lanes {:?} at {i}, {j}", kernels.map(|k| k.lanes));
        }
    }
    Ok(())
}

fn all_agree<F: Element>(known: [Option<Kernels<F>>; 2]) -> Result<()> {
    let mut init = Init::new(11);
    // Around the sizes at which tiles, panels, blocks of rows and parts of the depth end.
    let (rows, columns) = ([1, 5, 6, 7, 97], [1, 7, 16, 33, 64, 65, 131]);
    let lie = [Lies::ByRows, Lies::ByColumns];
    let shapes = rows.iter().flat_map(|m| columns.iter().map(move |n| (*m, *n)));
    let every = shapes.flat_map(|(m, n)| [1, 2, 17, 1030].map(|k| [m, k, n]));
    for (case, shape) in every.enumerate() {
        let lies = [lie[case % 2], lie[case / 2 % 2]];
        for kernels in known.into_iter().flatten().map(Some).chain([None]) {
            agrees(kernels, shape, lies, Threads::One, &mut init)?;
        }
    }
    for kernels in known.into_iter().flatten().map(Some).chain([None]) {
        for shape in [[0, 3, 4], [3, 0, 4], [3, 4, 0]] {
            agrees(kernels, shape, [Lies::ByRows; 2], Threads::One, &mut init)?;
        }
    }
    Ok(())
}

#[test]
fn packed_products_are_plain_sums_in_f32() -> Result<()> {
    all_agree(crate::host::kernels::of_f32())
}

#[test]
fn packed_products_are_plain_sums_in_f64() -> Result<()> {
    all_agree(crate::host::kernels::of_f64())
}

#[test]
fn threads_share_rows() -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
    let pool = pool.map_err(|error| crate::Error::misuse(error.to_string()))?;
    pool.install(|| {
        let mut init = Init::new(12);
        for kernels in crate::host::kernels::of_f32().into_iter().flatten() {
            for rows in [31, 32, 64, 200] {
                let shape = [rows, 128, 100];
                agrees(Some(kernels), shape, [Lies::ByRows; 2], Threads::All, &mut init)?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_slot_holds_what_was_packed_last() -> Result<()> {
    let mut cache = Cache::default();
    let like = HostTensor::<f32>::zeroed(&[1])?;
    for (depth, columns, by) in [(2, 3, 1.0), (2, 3, 5.0), (4, 70, 2.0)] {
        let b = vec![by; depth * columns];
        pack(Matrix::new(&b, depth, columns), &mut cache, 0, &like);
        assert!(is_packed(&mut cache, 0));
        // A copy's panels may begin elsewhere in memory, and are as good.
        let mut copy = cache.clone();
        for cache in [&mut cache, &mut copy] {
            let mut c = vec![0.0; columns];
            let x = vec![1.0; depth];
            let own = packed(cache, 0, [depth, columns])?;
            own.product(Matrix::new(&x, 1, depth), 0.0, &mut c, Threads::One);
            assert_eq!(c, vec![by * depth as f32; columns]);
        }
        forget(&mut cache, 0);
        assert!(!is_packed(&mut cache, 0));
    }
    Ok(())
}
