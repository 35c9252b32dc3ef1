//! One run: every contender and the product once a round, so that what slows the machine down slows
//! all of them.

use pc_core::host::Element;

use super::gemm::Gemm;
use crate::{
    backends::Backend,
    contract::{
        ScheduleKind,
        speed::{Contender, Measured, Seconds},
    },
    error::CommandError,
    models::ModelKind,
};

/// Rounds before the first that counts.
const WARM_UP: usize = 3;

/// Runs the rounds.
pub(super) fn measure<F: Element>(
    backend: Backend,
    kind: ModelKind,
    batch: usize,
    rules: &[ScheduleKind],
    rounds: usize,
) -> Result<Measured, CommandError> {
    let mut net = backend.timed::<F>(kind, batch, rules)?;
    let mut product = Gemm::<F>::new()?;
    let mut gemm = Vec::with_capacity(rounds);
    let mut timed: Vec<(Contender, Vec<Seconds>)> =
        net.contenders().into_iter().map(|c| (c, Vec::with_capacity(rounds))).collect();
    let turns = timed.len() + 1;
    for round in 0..rounds + WARM_UP {
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
    }
    Ok(Measured { kind, description: net.description(), arithmetic: net.arithmetic(), gemm, timed })
}
