//! Cases for batches that grow and shrink under one relaxation.

use crate::{
    ErrorKind, Relaxation, Result, Schedule, Start, Status, Tensor,
    conformance::{Backend, Built, Case, HostBackend, Net, Verdict, Worst, clamp, nets, schedules},
};

/// The sizes, one relaxation after the other. One comes twice, for states that are carried over.
const SIZES: [usize; 5] = [2, 4, 4, 3, 2];

/// The nets: a chain, a skip, a shared weight, caches of images, a cycle.
const NETS: [&str; 5] = ["tanh chain", "skip", "recurrence", "convolution", "cycle"];

fn starts() -> [(&'static str, Start); 4] {
    [
        ("forward", Start::Forward),
        ("zero", Start::Zero),
        ("noise", Start::Noise { deviation: 0.3, seed: 11 }),
        ("carried", Start::Carried),
    ]
}

/// Every start with every schedule that allows it there, on inputs held and outputs driven.
pub(super) fn cases<B: Backend>(backend: &B, oracle: &HostBackend<f64>) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for net in nets().into_iter().filter(|net| NETS.contains(&net.name)) {
        let Some(mut truth) = oracle.build(&net)? else { continue };
        let depth = truth.network.topology().depth().unwrap_or(1);
        for (schedule, _, granular) in schedules(depth)? {
            for (start, from) in starts() {
                let schedule = schedule.clone().starting(from);
                if !allowed(oracle, &mut truth, &net, &schedule)? {
                    continue;
                }
                let name = format!("{}, batches of {SIZES:?}, {schedule}, {start}", net.name);
                let verdict = if granular && !backend.same_vertices() {
                    Verdict::Skipped("its vertices are finer than the net's".to_owned())
                } else {
                    match compare(backend, &net, &schedule, from) {
                        Ok(verdict) => verdict,
                        Err(error) => Verdict::Failed(error.to_string()),
                    }
                };
                cases.push(Case { name, verdict });
            }
        }
    }
    Ok(cases)
}

/// Whether the engine takes this schedule for this net at all.
fn allowed(
    oracle: &HostBackend<f64>,
    truth: &mut Built<<HostBackend<f64> as Backend>::Network>,
    net: &Net,
    schedule: &Schedule,
) -> Result<bool> {
    let clamps = clamp(oracle, net, true, &truth.vertices)?;
    let outcome = Relaxation::new(&truth.network, schedule.clone())
        .and_then(|mut relaxation| relaxation.run(&mut truth.network, &clamps));
    match outcome {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::Unsupported | ErrorKind::Schedule | ErrorKind::Graph
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The numbers of one relaxation beside those of fresh ones, all of this backend: noise is drawn as
/// each backend draws it.
fn compare<B: Backend>(
    backend: &B,
    net: &Net,
    schedule: &Schedule,
    start: Start,
) -> Result<Verdict> {
    let Some(mut built) = backend.build(net)? else {
        return Ok(Verdict::Skipped("the backend cannot express this net".to_owned()));
    };
    let fresh = |network: &B::Network| Relaxation::new(network, schedule.clone());
    let mut reused = match fresh(&built.network) {
        Ok(relaxation) => relaxation,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Ok(Verdict::Skipped(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let mut expected = fresh(&built.network)?;
    let mut worst = Worst::new(backend.tolerance());
    let mut last = 0;
    for (turn, size) in SIZES.into_iter().enumerate() {
        let clamps = clamp(backend, &net.with_batch(size), true, &built.vertices)?;
        let outcome = reused.run(&mut built.network, &clamps)?;
        // What is carried over stays the other relaxation's too, while the size does.
        if start != Start::Carried || size != last {
            expected = fresh(&built.network)?;
        }
        // Each relaxation draws its noise anew, so that the fresh one takes as many turns first.
        if matches!(start, Start::Noise { .. }) {
            for _ in 0..turn {
                expected.run(&mut built.network, &clamps)?;
            }
        }
        let wanted = expected.run(&mut built.network, &clamps)?;
        last = size;
        // One that has diverged leaves nothing to compare.
        for status in [outcome.status, wanted.status] {
            if status == Status::Diverged {
                return Ok(Verdict::Failed(format!("turn {turn}, a batch of {size}, diverged")));
            }
        }
        worst.energy(outcome.energy.total(), wanted.energy.total());
        for (index, (name, _, values)) in net.parameters.iter().enumerate() {
            let of = |relaxation: &Relaxation<B::Network>| {
                relaxation.gradients().get(built.parameters[index]).map(Tensor::to_vec)
            };
            let what = format!("{name} in turn {turn}, a batch of {size},");
            worst.gradient(&what, of(&reused), of(&expected), values.len());
        }
    }
    Ok(worst.verdict())
}
