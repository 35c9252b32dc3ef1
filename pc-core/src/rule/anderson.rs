//! Anderson acceleration.

use crate::{
    Error, Result,
    rule::{FreeCoordinates, Setting, Slot, StateRule, Taken},
};

/// The most columns.
const MOST: usize = 16;

/// Anderson acceleration (Anderson 1965, type II) of plain steps: of the last points, the affine
/// combination whose directions come nearest to cancelling, and from there a step at the rate,
/// `v <- v + gamma g - sum_j c_j (dv_j + gamma dg_j)` with `c` the least squares solution of
/// `sum_j c_j dg_j = g`. For equilibria; on the way there energies may rise. A step takes one pass.
///
/// Where the direction has grown to more than twice what it was, the columns are forgotten and a
/// plain step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anderson {
    columns: usize,
}

impl Anderson {
    /// Remembering this many steps.
    ///
    /// # Errors
    /// None, or more than 16.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Schedule, rule::Anderson};
    /// let quick = Schedule::epc(0.1, 500)?.until(1e-6)?.ruled_by(Anderson::new(5)?);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn new(columns: usize) -> Result<Self> {
        if !(1..=MOST).contains(&columns) {
            return Err(Error::schedule(format!(
                "Anderson acceleration remembers 1 to {MOST} steps, not {columns}"
            )));
        }
        Ok(Self { columns })
    }

    /// The slots of column `j`: how the point changed, and how the direction did.
    fn column(&self, j: usize) -> (usize, usize) {
        (2 + 2 * j, 3 + 2 * j)
    }
}

/// The slot of the last direction, and of the last step.
const LAST: usize = 0;
const STEP: usize = 1;

impl StateRule for Anderson {
    fn name(&self) -> &str {
        "Anderson"
    }

    fn slots(&self) -> usize {
        2 + 2 * self.columns
    }

    /// The products of all columns, how many there have been since the last restart, and the
    /// square of the last direction.
    fn numbers(&self) -> usize {
        self.columns * self.columns + 2
    }

    fn step(&self, at: &mut dyn FreeCoordinates) -> Taken {
        let (rate, m) = (at.rate(), self.columns);
        let square = at.dot(Slot::Down, Slot::Down);
        let begins = at.taken() == 0;
        let [seen, before] = &mut at.numbers()[m * m..] else { return Taken::Step };
        let restarts = begins || square > 4.0 * *before;
        *before = square;
        let newest = (*seen as usize) % m;
        *seen = if restarts { 0.0 } else { *seen + 1.0 };
        let count = (*seen as usize).min(m);
        if restarts {
            at.scale(STEP, 0.0);
        } else {
            // dg = g_before - g is kept with the sign that makes it go along with dv.
            let (moved, fell) = self.column(newest);
            at.copy(moved, Slot::Memory(STEP));
            at.copy(fell, Slot::Memory(LAST));
            at.axpy(fell, -1.0, Slot::Down);
            for j in 0..count {
                let product = at.dot(Slot::Memory(fell), Slot::Memory(self.column(j).1));
                at.numbers()[newest * m + j] = product;
                at.numbers()[j * m + newest] = product;
            }
        }
        let mut right = [0.0; MOST];
        for (j, right) in right.iter_mut().enumerate().take(count) {
            *right = at.dot(Slot::Memory(self.column(j).1), Slot::Down);
        }
        let weights = solve(&at.numbers()[..m * m], m, &right[..count]);
        at.copy(LAST, Slot::Down);
        // v <- v + gamma (g - sum c dg) + sum c dv, with `c` for `dg` as it is kept.
        at.copy(STEP, Slot::Down);
        at.scale(STEP, rate);
        for (j, weight) in weights.iter().enumerate().take(count) {
            let (moved, fell) = self.column(j);
            at.axpy(STEP, -rate * weight, Slot::Memory(fell));
            at.axpy(STEP, *weight, Slot::Memory(moved));
        }
        at.travel(1.0, Slot::Memory(STEP));
        Taken::Step
    }

    fn refuses(&self, setting: Setting) -> Option<&'static str> {
        match setting {
            Setting::Noise => Some("noise samples the energy with plain steps and momentum alone"),
            Setting::MovingWeights => {
                Some("it compares directions of several steps, which must be of one energy")
            }
            Setting::Errors => None,
        }
    }
}

/// Cholesky's solution of `a x = b`, `a` the leading part of a matrix of `width` columns. Columns
/// that others have said all of are left out.
fn solve(a: &[f64], width: usize, b: &[f64]) -> [f64; MOST] {
    let n = b.len();
    let mut l = [[0.0; MOST]; MOST];
    let mut kept = [true; MOST];
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| l[i][k] * l[j][k]).sum();
            let rest = a[i * width + j] - sum;
            if i == j {
                kept[i] = rest > 1e-14 * a[i * width + i];
                l[i][i] = if kept[i] { rest.sqrt() } else { 1.0 };
            } else if kept[j] {
                l[i][j] = rest / l[j][j];
            }
        }
        if !kept[i] {
            l[i][..i].fill(0.0);
        }
    }
    let mut x = [0.0; MOST];
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| l[i][k] * x[k]).sum();
        x[i] = if kept[i] { (b[i] - sum) / l[i][i] } else { 0.0 };
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| l[k][i] * x[k]).sum();
        x[i] = if kept[i] { (x[i] - sum) / l[i][i] } else { 0.0 };
    }
    x
}
