//! What was measured of one net, and the figures that follow from it.

use super::{
    arithmetic::Arithmetic,
    case::Case,
    contender::{Contender, ContenderRole, GEMM_FLOP, Seconds},
    statistics::Median,
};

/// What was measured of one net.
#[derive(Debug)]
pub struct Measured {
    /// What was timed.
    pub case: Case,
    /// The architecture in a few words.
    pub description: String,
    /// How much arithmetic a step takes, where that is counted.
    pub arithmetic: Option<Arithmetic>,
    /// Seconds of the product, by round.
    pub gemm: Vec<f64>,
    /// Seconds of each contender, by round; backprop first.
    pub timed: Vec<(Contender, Vec<Seconds>)>,
}

/// Where a contender's time goes, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Setting up and the pass forward.
    pub forward: f64,
    /// Moving states; with learning where the two cannot be told apart.
    pub relax: Option<f64>,
    /// Weight gradients.
    pub learn: Option<f64>,
}

impl Measured {
    /// The contenders that are shown.
    pub fn shown(&self) -> impl Iterator<Item = &Contender> {
        self.timed
            .iter()
            .map(|(contender, _)| contender)
            .filter(|contender| contender.role == ContenderRole::Shown)
    }

    fn find(&self, name: &str, role: ContenderRole) -> Option<&(Contender, Vec<Seconds>)> {
        self.timed.iter().find(|(contender, _)| contender.name == name && contender.role == role)
    }

    fn times(&self, name: &str) -> Option<&[Seconds]> {
        self.find(name, ContenderRole::Shown).map(|(_, times)| times.as_slice())
    }

    /// Seconds of the product.
    pub fn gemm_seconds(&self) -> Median {
        Median::of(self.gemm.iter().copied())
    }

    /// Floating-point operations a second of the product.
    pub fn gemm_rate(&self) -> Median {
        Median::of(self.gemm.iter().map(|seconds| GEMM_FLOP / seconds))
    }

    /// Whether the product took so unequally long that the machine must have been busy with
    /// something else.
    pub fn disturbed(&self) -> bool {
        let mut sorted = self.gemm.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied();
        matches!((at(0.1), at(0.8)), (Some(quick), Some(slow)) if slow > 1.25 * quick)
    }

    /// Seconds of a contender.
    pub fn seconds(&self, name: &str) -> Option<Median> {
        self.times(name).map(|times| Median::of(times.iter().map(|seconds| seconds.total)))
    }

    /// Its time over backprop's, round by round.
    pub fn ratio(&self, name: &str) -> Option<Median> {
        let (own, backprop) = (self.times(name)?, self.times("backprop")?);
        Some(Median::of(own.iter().zip(backprop).map(|(own, backprop)| own.total / backprop.total)))
    }

    /// Floating-point operations of a contender, where they are counted.
    fn flop(&self, name: &str) -> Option<f64> {
        self.find(name, ContenderRole::Shown)?.0.arithmetic(self.arithmetic.as_ref()?)
    }

    /// Its floating-point operations a second.
    pub fn rate(&self, name: &str) -> Option<Median> {
        let flop = self.flop(name)?;
        self.times(name).map(|times| Median::of(times.iter().map(|seconds| flop / seconds.total)))
    }

    /// That over the product's, round by round.
    pub fn share(&self, name: &str) -> Option<Median> {
        let (flop, times) = (self.flop(name)?, self.times(name)?);
        Some(Median::of(
            times.iter().zip(&self.gemm).map(|(own, gemm)| (flop / own.total) / (GEMM_FLOP / gemm)),
        ))
    }

    /// One relaxation step of a contender that has a twin of no steps, `(t at T - t at 0) / T`: in
    /// seconds, and over a backprop step, round by round.
    pub fn relaxation_step(&self, name: &str) -> Option<(Median, Median)> {
        let (long, none, backprop) =
            (self.times(name)?, self.times(&format!("{name} T=0"))?, self.times("backprop")?);
        let steps = self.find(name, ContenderRole::Shown)?.0.steps as f64;
        let each: Vec<f64> =
            long.iter().zip(none).map(|(long, none)| (long.total - none.total) / steps).collect();
        let ratio =
            Median::of(each.iter().zip(backprop).map(|(each, backprop)| each / backprop.total));
        Some((Median::of(each), ratio))
    }

    /// That of every contender that has one.
    pub fn relaxation_steps(&self) -> impl Iterator<Item = (&Contender, (Median, Median))> + '_ {
        self.shown()
            .filter_map(|contender| Some((contender, self.relaxation_step(contender.name)?)))
    }

    /// Where its time goes. Learning is what a watched twin does after it last evaluated the net;
    /// or relaxing is what a twin of half the steps saves, by its share
    /// of the steps. The other is what is left.
    pub fn parts(&self, name: &str) -> Option<Parts> {
        let (whole, times) = self.find(name, ContenderRole::Shown)?;
        let median = |figures: &mut dyn Iterator<Item = f64>| Median::of(figures).median;
        let split: Vec<(f64, f64)> = times
            .iter()
            .filter_map(|own| own.forward.map(|forward| (forward, own.total - forward)))
            .collect();
        if split.is_empty() {
            return None;
        }
        let forward = median(&mut split.iter().map(|own| own.0));
        let rest = median(&mut split.iter().map(|own| own.1));
        if let Some((_, twin)) = self.find(name, ContenderRole::Watched) {
            let learn = median(
                &mut twin.iter().map(|seconds| seconds.total - seconds.relaxed.unwrap_or(f64::NAN)),
            );
            return Some(Parts { forward, relax: Some(rest - learn), learn: Some(learn) });
        }
        if let Some((half, twin)) = self.find(name, ContenderRole::Half) {
            let all = whole.steps as f64 / (whole.steps - half.steps) as f64;
            let relax = median(
                &mut times.iter().zip(twin).map(|(whole, half)| all * (whole.total - half.total)),
            );
            return Some(Parts {
                forward,
                relax: Some(relax),
                learn: Some((rest - relax).max(0.0)),
            });
        }
        // Weights that learn while states move.
        let mixed = matches!(name, "zil" | "ipc");
        Some(Parts { forward, relax: mixed.then_some(rest), learn: (!mixed).then_some(rest) })
    }
}
