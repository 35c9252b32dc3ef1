//! `[sweep]`: what a sweep tries.

use std::collections::BTreeMap;

use rand::RngExt;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{contract::details::wrong, data::seeded, error::CommandError};

/// More trials than this are a slip of the pen.
const MOST: usize = 10_000;

/// The entries that all trials share: with a range of them, trials could not be compared.
const SHARED: [&str; 9] = [
    "epochs",
    "seed",
    "seeds",
    "threads",
    "report",
    "data",
    "data.kind",
    "data.dir",
    "data.validation",
];

/// How trials are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Method {
    /// Every combination of the values.
    #[default]
    Grid,
    /// Drawn.
    Random,
    /// Drawn, and successively halved (Jamieson and Talwalkar 2016): all are trained for some
    /// epochs, the best of them for more.
    Halving,
}

/// How numbers between two are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// Their logarithms evenly.
    Log,
}

impl Scale {
    /// The number that lies a share of the way up.
    fn between(self, [from, to]: [f64; 2], share: f64) -> f64 {
        let part = |from: f64, to: f64| from * (1.0 - share) + to * share;
        match self {
            Self::Linear => part(from, to),
            Self::Log => part(from.ln(), to.ln()).exp(),
        }
    }
}

/// What to try of one entry: values, or numbers from and to. Both ends of a range of whole numbers
/// are whole, and belong to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Range {
    values: Vec<Value>,
    from: Option<Value>,
    to: Option<Value>,
    scale: Scale,
}

impl Range {
    fn check(&self, grid: bool) -> Result<(), &'static str> {
        let (from, to) = match (self.values.is_empty(), &self.from, &self.to) {
            (false, None, None) if self.scale == Scale::Linear => return Ok(()),
            (false, ..) => return Err("values contradict from, to and scale"),
            (true, Some(_), Some(_)) if grid => return Err("a grid needs values"),
            (true, Some(from), Some(to)) => (number(from), number(to)),
            (true, ..) => return Err("give values, or from and to"),
        };
        let (Some(from), Some(to)) = (from, to) else {
            return Err("from and to are finite numbers; words and others are values");
        };
        if from >= to {
            return Err("from must be below to");
        }
        if self.scale == Scale::Log && from <= 0.0 {
            return Err("a log scale begins above 0");
        }
        Ok(())
    }

    /// The value a share of the way through, of a range that was checked.
    fn at(&self, share: f64) -> Option<Value> {
        if !self.values.is_empty() {
            return self.values.get((share * self.values.len() as f64) as usize).cloned();
        }
        if let (Some(Value::Integer(from)), Some(Value::Integer(to))) = (&self.from, &self.to) {
            let ends = [*from as f64 - 0.5, *to as f64 + 0.5];
            let drawn = self.scale.between(ends, share).round() as i64;
            return Some(Value::Integer(drawn.max(*from).min(*to)));
        }
        let (from, to) = (number(self.from.as_ref()?)?, number(self.to.as_ref()?)?);
        Some(Value::Float(self.scale.between([from, to], share).max(from).min(to)))
    }
}

/// A finite number.
fn number(value: &Value) -> Option<f64> {
    let number = value.as_float().or(value.as_integer().map(|whole| whole as f64));
    number.filter(|number| number.is_finite())
}

/// `[sweep]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct SweepEntry {
    method: Method,
    trials: Option<usize>,
    seed: Option<u64>,
    first_epochs: Option<usize>,
    factor: Option<usize>,
    ranges: BTreeMap<String, Range>,
}

/// What one trial says, entry by entry.
pub(crate) type Choice = BTreeMap<String, Value>;

/// Where the range of an entry is.
pub(crate) fn place(name: &str) -> String {
    format!("sweep.ranges.{name}")
}

impl SweepEntry {
    /// Refuses what contradicts itself, or trials of so many epochs.
    ///
    /// # Errors
    /// A message that names the entry.
    pub(crate) fn check(&self, epochs: usize) -> Result<(), CommandError> {
        let (grid, halving) = (self.method == Method::Grid, self.method == Method::Halving);
        if self.ranges.is_empty() {
            return Err(wrong("sweep", "sweep.ranges is missing: what is to be tried?"));
        }
        for (entry, given, has) in [
            ("trials", self.trials, !grid),
            ("first-epochs", self.first_epochs, halving),
            ("factor", self.factor, halving),
        ] {
            let place = format!("sweep.{entry}");
            if given.is_some() && !has {
                let message = format!("{place}: this method takes none");
                return Err(wrong(&place, message));
            }
            if given == Some(0) || (entry == "factor" && given == Some(1)) {
                return Err(wrong(&place, format!("{place} is too small")));
            }
        }
        if let Some(first) = self.first_epochs.filter(|first| *first > epochs) {
            let message = format!("sweep.first-epochs: {first} is more than the {epochs} in all");
            return Err(wrong("sweep.first-epochs", message));
        }
        if !grid && self.trials.is_none() {
            return Err(wrong("sweep", "sweep.trials is missing: how many are drawn?"));
        }
        if self.seed.is_some() && grid {
            return Err(wrong("sweep.seed", "sweep.seed: a grid draws nothing"));
        }
        for (name, range) in &self.ranges {
            let fault = |what: &str| Err(wrong(&place(name), format!("`{name}`: {what}")));
            if SHARED.contains(&name.as_str()) || name.split(['.', '[']).next() == Some("sweep") {
                return fault("all trials share it, or they could not be compared");
            }
            range.check(grid).or_else(fault)?;
        }
        let sizes = self.ranges.values().map(|range| range.values.len());
        let count = match self.trials {
            Some(trials) => Some(trials),
            None => sizes.into_iter().try_fold(1, usize::checked_mul),
        };
        match count {
            Some(count) if count <= MOST => Ok(()),
            _ => {
                let entry = if grid { "sweep.ranges" } else { "sweep.trials" };
                Err(wrong(entry, format!("{entry}: there can be {MOST} trials at most")))
            }
        }
    }

    /// The trials, always the same ones.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        if self.method == Method::Grid {
            let mut all = vec![Choice::new()];
            for (name, range) in &self.ranges {
                let with = |choice: &Choice, value: &Value| {
                    let mut choice = choice.clone();
                    choice.insert(name.clone(), value.clone());
                    choice
                };
                let each = |choice: &Choice| {
                    range.values.iter().map(|value| with(choice, value)).collect::<Vec<_>>()
                };
                all = all.iter().flat_map(each).collect();
            }
            return all;
        }
        let trial = |number: usize| {
            let mut draws = seeded(self.seed.unwrap_or(0), number as u64);
            let mut draw = |(name, range): (&String, &Range)| {
                Some((name.clone(), range.at(draws.random_range(0.0..1.0))?))
            };
            self.ranges.iter().filter_map(&mut draw).collect()
        };
        (0..self.trials.unwrap_or(1)).map(trial).collect()
    }

    /// How many trials are trained for how many epochs, rung by rung, the last for all of them.
    pub(crate) fn rungs(&self, trials: usize, epochs: usize) -> Vec<[usize; 2]> {
        if self.method != Method::Halving {
            return vec![[trials, epochs]];
        }
        let factor = self.factor.unwrap_or(2);
        let mut rungs = vec![[trials, self.first_epochs.unwrap_or(1).min(epochs)]];
        while let Some([kept, done]) = rungs.last().copied()
            && done < epochs
        {
            rungs.push([kept.div_ceil(factor), done.saturating_mul(factor).min(epochs)]);
        }
        rungs
    }
}

/// Puts what a trial says of one entry into a configuration.
///
/// # Errors
/// An entry that is in no table that could be there.
pub(crate) fn put(table: &mut Table, name: &str, value: &Value) -> Result<(), CommandError> {
    let lost = || wrong(&place(name), format!("`{name}`: there is no such place in the file"));
    let (path, last) =
        name.rsplit_once('.').map_or((None, name), |(path, last)| (Some(path), last));
    let mut here = table;
    for part in path.into_iter().flat_map(|path| path.split('.')) {
        let (word, index) = match part.split_once('[') {
            Some((word, index)) => {
                let index = index.strip_suffix(']').and_then(|index| index.parse::<usize>().ok());
                (word, Some(index.ok_or_else(lost)?))
            }
            None => (part, None),
        };
        let next = here.entry(word).or_insert_with(|| Value::Table(Table::new()));
        here = match (next, index) {
            (Value::Table(next), None) => next,
            (Value::Array(all), Some(at)) => match all.get_mut(at) {
                Some(Value::Table(next)) => next,
                _ => return Err(lost()),
            },
            _ => return Err(lost()),
        };
    }
    here.insert(last.to_owned(), value.clone());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(text: &str) -> SweepEntry {
        let found: SweepEntry = toml::from_str(text).unwrap();
        found.check(6).unwrap();
        found
    }

    #[test]
    fn a_grid_has_every_combination_once() {
        let text = "[ranges]\na = { values = [1, 2] }\nb = { values = [\"x\", \"y\", \"z\"] }";
        let all = sweep(text).choices();
        assert_eq!(all.len(), 6);
        assert!(all.iter().enumerate().all(|(k, one)| !all[..k].contains(one)));
        let long = format!("{:?}", (0..101).collect::<Vec<_>>());
        let many = format!("[ranges]\na = {{ values = {long} }}\nb = {{ values = {long} }}");
        let many: SweepEntry = toml::from_str(&many).unwrap();
        assert!(many.check(6).is_err(), "101 x 101 are over {MOST}");
    }

    #[test]
    fn draws_stay_within_and_are_spread_as_asked() {
        let text = "method = \"random\"\ntrials = 200\n[ranges]\n\
            a = { from = 0.001, to = 1.0, scale = \"log\" }\nb = { from = 1, to = 4 }\n\
            c = { from = -1, to = 1.5 }\nd = { from = 1, to = 100, scale = \"log\" }\n\
            e = { values = [true, false] }";
        let all = sweep(text).choices();
        assert!(all.len() == 200 && all.iter().all(|choice| choice.len() == 5));
        let half = |name: &str, low: &dyn Fn(&Value) -> bool| {
            let count = all.iter().filter(|choice| low(&choice[name])).count();
            assert!((70..130).contains(&count), "{name}: {count} of 200 are in the lower half");
        };
        half("a", &|x| x.as_float().unwrap() < 0.0316);
        half("b", &|x| x.as_integer().unwrap() <= 2);
        half("c", &|x| x.as_float().unwrap() < 0.25);
        half("d", &|x| x.as_integer().unwrap() < 9);
        half("e", &|x| x.as_bool().unwrap());
        for (name, from, to) in
            [("a", 0.001, 1.0), ("b", 1.0, 4.0), ("c", -1.0, 1.5), ("d", 1.0, 100.0)]
        {
            let within = |choice: &Choice| (from..=to).contains(&number(&choice[name]).unwrap());
            assert!(all.iter().all(within), "{name}");
        }
        // Both ends of whole numbers are drawn, and another seed draws others.
        assert!([1, 4].iter().all(|end| all.iter().any(|x| x["b"].as_integer() == Some(*end))));
        assert_ne!(sweep(&format!("seed = 1\n{text}")).choices(), all);
    }

    #[test]
    fn fewer_trials_are_trained_for_longer() {
        let text = "method = \"halving\"\ntrials = 8\n[ranges]\na = { values = [1] }";
        assert_eq!(sweep(text).rungs(8, 6), [[8, 1], [4, 2], [2, 4], [1, 6]]);
        let text = format!("factor = 3\nfirst-epochs = 2\n{text}");
        assert_eq!(sweep(&text).rungs(8, 6), [[8, 2], [3, 6]]);
        let text = text.replace("factor = 3", "factor = 9223372036854775807");
        assert_eq!(sweep(&text).rungs(8, 6), [[8, 2], [1, 6]]);
    }

    #[test]
    fn values_go_where_they_are_named() {
        let mut table: Table = "[[layers]]\nkind = \"dense\"\n".parse().unwrap();
        let three = Value::Integer(3);
        for name in ["layers[0].width", "optimiser.warm-up", "batch"] {
            put(&mut table, name, &three).unwrap();
        }
        assert_eq!(table["layers"][0]["width"].as_integer(), Some(3));
        assert_eq!(table["optimiser"]["warm-up"].as_integer(), Some(3));
        assert_eq!(table["batch"].as_integer(), Some(3));
        for lost in ["layers[1].width", "layers.width", "batch.x", "layers[0.width", "batch[0].x"] {
            assert!(put(&mut table, lost, &three).is_err(), "{lost}");
        }
    }
}
