//! Relaxations of host graphs, timed.

use std::time::Instant;

use pc_core::{
    Clamps, Evaluation, Event, Graph, Relaxation, Result, Schedule, Status,
    host::{Element, HostTensor},
};

use super::net::{TimedNet, Watch, net};
use crate::{
    contract::{
        ScheduleKind,
        speed::{Arithmetic, Case, Contender, ContenderRole, RATE, Seconds, Timed},
    },
    error::CommandError,
};

/// A net and its contenders.
pub(super) struct Host<F: Element> {
    plain: TimedNet<F>,
    /// Z-IL wants every edge to span one level.
    levelled: Option<TimedNet<F>>,
    contenders: Vec<Contender>,
    runners: Vec<Runner<F>>,
}

impl<F: Element> Host<F> {
    pub(super) fn new(case: &Case, rules: &[ScheduleKind]) -> Result<Self> {
        let contenders = contenders(rules, case.steps)?;
        let plain = net::<F>(case)?;
        let mut levelled = None;
        if plain.graph.topology().unlevelled_edge().is_some() && rules.contains(&ScheduleKind::Zil)
        {
            let twin = net::<F>(case)?;
            levelled = Some(TimedNet { graph: twin.graph.levelled()?, ..twin });
        }
        let mut runners = Vec::with_capacity(contenders.len());
        for contender in &contenders {
            let net =
                levelled.as_ref().filter(|_| contender.rule == ScheduleKind::Zil).unwrap_or(&plain);
            runners.push(Runner::new(net, contender)?);
        }
        Ok(Self { plain, levelled, contenders, runners })
    }
}

impl<F: Element> Timed for Host<F> {
    fn description(&self) -> String {
        self.plain.description.clone()
    }

    fn arithmetic(&self) -> Option<Arithmetic> {
        self.plain.arithmetic.clone()
    }

    fn contenders(&self) -> Vec<Contender> {
        self.contenders.clone()
    }

    fn step(&mut self, contender: usize) -> Result<Seconds, CommandError> {
        let levels = self.contenders[contender].rule == ScheduleKind::Zil;
        let net = self.levelled.as_mut().filter(|_| levels).unwrap_or(&mut self.plain);
        let (seconds, status) = self.runners[contender].step(net)?;
        self.contenders[contender].must_hold(status)?;
        Ok(seconds)
    }
}

/// Backprop first, then the chosen rules, each followed by the twin that shows where its time goes;
/// standard PC is timed at T = 0 too.
///
/// # Errors
/// Fewer than two steps, of which half could not be taken.
pub(in crate::backends) fn contenders(
    rules: &[ScheduleKind],
    steps: usize,
) -> Result<Vec<Contender>> {
    let mut all = Vec::new();
    let mut add = |rule, name, steps, schedule, role| {
        all.push(Contender { rule, name, schedule, steps, role })
    };
    add(ScheduleKind::Backprop, "backprop", 0, Schedule::backprop(), ContenderRole::Shown);
    for &rule in rules {
        match rule {
            ScheduleKind::Backprop => {}
            ScheduleKind::FixedPrediction => {
                let simulated = |steps| {
                    Ok(Schedule::fixed_prediction(RATE, steps)?.evaluated_by(Evaluation::Simulate))
                };
                add(
                    rule,
                    "fixed-prediction",
                    steps,
                    Schedule::fixed_prediction(RATE, steps)?,
                    ContenderRole::Shown,
                );
                add(
                    rule,
                    "fixed-prediction, simulated",
                    steps,
                    simulated(steps)?,
                    ContenderRole::Shown,
                );
                add(
                    rule,
                    "fixed-prediction, simulated",
                    steps / 2,
                    simulated(steps / 2)?,
                    ContenderRole::Half,
                );
            }
            ScheduleKind::Zil => add(rule, "zil", 0, Schedule::zil(), ContenderRole::Shown),
            ScheduleKind::Standard => {
                let schedule = Schedule::standard(RATE, steps)?;
                add(rule, "standard", steps, schedule.clone(), ContenderRole::Shown);
                add(rule, "standard", steps, schedule.clone(), ContenderRole::Watched);
                add(rule, "standard T=0", 0, schedule.unrelaxed(), ContenderRole::Shown);
            }
            ScheduleKind::Ipc => {
                add(rule, "ipc", steps, Schedule::ipc(RATE, steps)?, ContenderRole::Shown)
            }
            ScheduleKind::Epc => {
                let schedule = Schedule::epc(RATE, steps)?;
                add(rule, "epc", steps, schedule.clone(), ContenderRole::Shown);
                add(rule, "epc", steps, schedule, ContenderRole::Watched);
            }
        }
    }
    Ok(all)
}

/// A contender at its net.
#[derive(Debug)]
struct Runner<F: Element> {
    relaxation: Relaxation<Graph<HostTensor<F>>>,
    clamps: Clamps<HostTensor<F>>,
    watch: Option<Watch>,
}

impl<F: Element> Runner<F> {
    /// Prepares it.
    ///
    /// # Errors
    /// A schedule that the net does not suit.
    fn new(net: &TimedNet<F>, contender: &Contender) -> Result<Self> {
        let watched = contender.role == ContenderRole::Watched;
        Ok(Self {
            relaxation: Relaxation::new(&net.graph, contender.schedule.clone())?,
            clamps: if watched { net.watched.clone() } else { net.clamps.clone() },
            watch: watched.then(|| net.watch.clone()),
        })
    }

    /// Runs and times one step, and says how it ended. Schedules whose weights learn while states
    /// move find every gradient too, but no weight is moved.
    ///
    /// # Errors
    /// What the graph reports.
    fn step(&mut self, net: &mut TimedNet<F>) -> Result<(Seconds, Status)> {
        let start = Instant::now();
        self.relaxation.begin(&mut net.graph, &self.clamps)?;
        let forward = start.elapsed().as_secs_f64();
        let outcome = loop {
            if let Event::Finished(outcome) = self.relaxation.advance(&mut net.graph)? {
                break outcome;
            }
        };
        let total = start.elapsed().as_secs_f64();
        let relaxed = self
            .watch
            .as_ref()
            .and_then(Watch::last)
            .map(|last| last.duration_since(start).as_secs_f64());
        Ok((Seconds { forward: Some(forward), relaxed, total }, outcome.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        contract::speed::TimedKind,
        models::{ActivationKind, ModelKind},
    };

    /// Every net that fits, with each activation, by every schedule, again and again.
    #[test]
    fn every_case_that_fits_is_timed_by_every_schedule() -> std::result::Result<(), CommandError> {
        for &kind in TimedKind::ALL {
            let activations = ActivationKind::ALL.iter().copied().map(Some).chain([None]);
            let cases =
                activations.map(|activation| Case { activation, steps: 2, ..Case::new(kind, 1) });
            for case in cases.filter(|case| case.fits().is_ok()) {
                let mut host = Host::<f32>::new(&case, ScheduleKind::ALL)?;
                if let Some(activation) = case.activation {
                    let description = host.description();
                    assert!(description.ends_with(&format!(", {activation}")), "{description}");
                }
                for _ in 0..2 {
                    for (index, contender) in host.contenders().iter().enumerate() {
                        let seconds = host.step(index)?;
                        let (forward, total) = (seconds.forward.unwrap_or(f64::NAN), seconds.total);
                        assert!(
                            0.0 < forward && forward <= total,
                            "{} of {case:?}",
                            contender.name
                        );
                        let watched = contender.role == ContenderRole::Watched;
                        assert_eq!(seconds.relaxed.is_some(), watched, "{}", contender.name);
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_relaxation_that_diverged_has_no_time() -> Result<()> {
        let case = Case::new(ModelKind::Mlp, 1);
        for (rate, holds) in [(RATE, true), (1e3, false)] {
            let mut host = Host::<f32>::new(&case, &[])?;
            let contender = Contender {
                rule: ScheduleKind::Standard,
                name: "standard",
                schedule: Schedule::standard(rate, 50)?,
                steps: 50,
                role: ContenderRole::Shown,
            };
            host.runners = vec![Runner::new(&host.plain, &contender)?];
            host.contenders = vec![contender];
            match host.step(0) {
                Ok(seconds) => assert!(holds && seconds.total > 0.0, "at rate {rate}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!holds && text.starts_with("standard diverged"), "{rate}: {text}");
                }
            }
        }
        Ok(())
    }
}
