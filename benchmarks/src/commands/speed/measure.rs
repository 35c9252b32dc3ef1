//! One run: every contender and the product once a round, so that what slows the machine down slows
//! all of them.

use pc_core::host::Element;

use super::gemm::Gemm;
use crate::{
    backends::Backend,
    contract::{
        ScheduleKind,
        speed::{Case, Contender, Measured, Seconds},
    },
    error::CommandError,
    progress::Line,
};

/// Rounds before the first that counts.
const WARM_UP: usize = 3;

/// How many rounds are run for so many that count.
pub(super) fn rounds(count: usize) -> usize {
    count.saturating_add(WARM_UP)
}

/// Runs the rounds. Progress is shown between them, where no clock runs.
pub(super) fn measure<F: Element>(
    backend: Backend,
    case: &Case,
    rules: &[ScheduleKind],
    count: usize,
    progress: &Line,
) -> Result<Measured, CommandError> {
    let mut net = backend.timed::<F>(case, rules)?;
    let mut product = Gemm::<F>::new()?;
    let mut gemm = Vec::with_capacity(count);
    let mut timed: Vec<(Contender, Vec<Seconds>)> =
        net.contenders().into_iter().map(|c| (c, Vec::with_capacity(count))).collect();
    let turns = timed.len() + 1;
    for round in 0..rounds(count) {
        let counts = round >= WARM_UP;
        // Each round begins with another one, so that what comes at regular times falls on all
        // alike.
        for turn in (0..turns).map(|turn| (turn + round) % turns) {
            let Some(index) = turn.checked_sub(1) else {
                let seconds = product.time()?;
                if counts {
                    gemm.push(seconds);
                }
                continue;
            };
            let seconds = net.step(index)?;
            if counts {
                timed[index].1.push(seconds);
            }
        }
        progress.one_more();
    }
    let (case, description) = (case.clone(), net.description());
    Ok(Measured { case, description, arithmetic: net.arithmetic(), gemm, timed })
}
