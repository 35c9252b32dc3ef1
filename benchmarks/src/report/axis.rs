//! Ranges and rounded ticks.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// Values beyond this cannot be told apart from overflow and are not drawn.
const LARGEST: f64 = 1e150;
/// Positive values that span more than this factor are drawn on a logarithmic axis.
const WIDE: f64 = 30.0;

/// One axis: its range, its ticks, and how values are placed on it.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) label: String,
    lo: f64,
    hi: f64,
    ticks: Vec<(f64, String)>,
    log: bool,
}

impl Axis {
    /// An axis for counts such as epochs: ticks at whole numbers only.
    pub(super) fn counts(label: &str, values: &[f64], most: usize) -> Self {
        let (lo, hi) = span(values).unwrap_or((1.0, 1.0));
        let step = nice_step((hi - lo) / most.max(1) as f64).max(1.0);
        let ticks = multiples(lo, hi, step).into_iter().map(|t| (t, format!("{t:.0}"))).collect();
        let margin = if hi > lo { 0.03 * (hi - lo) } else { 0.5 };
        Self { label: label.to_owned(), lo: lo - margin, hi: hi + margin, ticks, log: false }
    }

    /// A linear axis that keeps within `limits` and ends at ticks.
    pub(super) fn linear(label: &str, values: &[f64], limits: Range<f64>, most: usize) -> Self {
        let within = |v: &f64| *v >= limits.start && *v <= limits.end;
        let values: Vec<f64> = values.iter().copied().filter(within).collect();
        let (mut lo, mut hi) = span(&values).unwrap_or((0.0, 1.0));
        if hi - lo <= 1e-9 * hi.abs().max(lo.abs()) {
            let margin = if lo == 0.0 { 0.5 } else { 0.1 * lo.abs() };
            (lo, hi) = (lo - margin, hi + margin);
        }
        let step = nice_step((hi - lo) / most.max(1) as f64);
        let lo = ((lo / step).floor() * step).max(limits.start);
        let hi = ((hi / step).ceil() * step).min(limits.end);
        let ticks = multiples(lo, hi, step).into_iter().map(|t| (t, tick_text(t, step))).collect();
        Self { label: label.to_owned(), lo, hi, ticks, log: false }
    }

    /// A logarithmic axis where all values are positive and far apart, else a linear one.
    pub(super) fn auto(label: &str, values: &[f64], most: usize) -> Self {
        let positive: Vec<f64> = values.iter().copied().filter(|v| *v > 0.0).collect();
        match (span(values), span(&positive)) {
            (Some((lo, _)), Some((_, hi))) if lo > 0.0 && hi / lo >= WIDE => {
                Self::log(label, (lo, hi), most)
            }
            (Some((lo, _)), _) if lo < 0.0 => {
                Self::linear(label, values, f64::NEG_INFINITY..f64::INFINITY, most)
            }
            _ => Self::linear(label, values, 0.0..f64::INFINITY, most),
        }
    }

    /// A logarithmic axis of the positive values; a linear one where there are none.
    pub(super) fn powers(label: &str, values: &[f64], most: usize) -> Self {
        let positive: Vec<f64> = values.iter().copied().filter(|v| *v > 0.0).collect();
        match span(&positive) {
            Some(span) => Self::log(label, span, most),
            None => Self::auto(label, values, most),
        }
    }

    fn log(label: &str, (lo, hi): (f64, f64), most: usize) -> Self {
        let all = one_two_five(lo, hi);
        let decades: Vec<(f64, i32)> = all.iter().copied().filter(|t| t.0 == 1.0).collect();
        let kept = if all.len() <= most + most / 2 || decades.len() < 2 {
            all.clone()
        } else {
            let stride = decades.len().div_ceil(most.max(1));
            let stride = i32::try_from(stride).unwrap_or(i32::MAX);
            // Multiples of the stride, so that 1 is among them.
            let kept = decades.into_iter();
            kept.filter(|tick| tick.1.rem_euclid(stride) == 0).collect()
        };
        let place = |(digit, power): &(f64, i32)| digit.log10() + f64::from(*power);
        let start = all.first().map_or(0.0, place);
        let end = all.last().map_or(1.0, place);
        // One value at a tick has no width of its own.
        let margin = 0.03 * (end - start).max(1.0);
        Self {
            label: format!("{label}, log scale"),
            lo: start - margin,
            hi: end + margin,
            ticks: kept.iter().map(|tick| (place(tick), power_text(tick.0, tick.1))).collect(),
            log: true,
        }
    }

    /// An axis for cosines: it ends just above 1 and starts where the values need it to.
    pub(super) fn cosine(label: &str, values: &[f64], most: usize) -> Self {
        let lowest = span(values).map_or(0.0, |s| s.0);
        let starts = [0.99, 0.95, 0.9, 0.8, 0.6, 0.5, 0.0, -0.5];
        let start = starts.into_iter().find(|s| *s <= lowest).unwrap_or(-1.0);
        let mut axis = Self::linear(label, &[start, 1.0], -1.0..1.0, most);
        let margin = 0.06 * (axis.hi - axis.lo);
        axis.lo -= margin;
        axis.hi += margin;
        axis
    }

    /// Named rows, the first at the top; at most `most` of them are named.
    pub(super) fn rows(names: &[String], most: usize) -> Self {
        let count = names.len();
        let stride = count.div_ceil(most.max(1)).max(1);
        let named = names.iter().enumerate().step_by(stride);
        Self {
            label: String::new(),
            lo: 0.0,
            hi: count.max(1) as f64,
            ticks: named.map(|(row, name)| (row_at(count, row), name.clone())).collect(),
            log: false,
        }
    }

    /// The same axis without names at its ticks.
    pub(super) fn unnamed(mut self) -> Self {
        for (_, name) in &mut self.ticks {
            name.clear();
        }
        self
    }

    /// Where a value lies, or nothing if it cannot be shown.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        if !shown(value) || (self.log && value <= 0.0) {
            return None;
        }
        let at = if self.log { value.log10() } else { value };
        let slack = 1e-9 * (self.hi - self.lo);
        (at >= self.lo - slack && at <= self.hi + slack).then_some(at)
    }

    /// The text of the tick at a place.
    fn text_at(&self, at: f64) -> String {
        let nearest =
            self.ticks.iter().min_by(|a, b| (a.0 - at).abs().total_cmp(&(b.0 - at).abs()));
        nearest.map(|t| t.1.clone()).unwrap_or_default()
    }

    /// Characters in the longest tick text.
    pub(super) fn longest(&self) -> usize {
        let lengths = self.ticks.iter().map(|t| t.1.chars().count());
        lengths.max().unwrap_or(0)
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.lo) / (self.hi - self.lo);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            return Vec::new();
        }
        self.ticks.iter().map(|tick| tick.0).collect()
    }

    fn range(&self) -> Range<f64> {
        self.lo..self.hi
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.text_at(*value)
    }
}

/// The middle of a row, counted from the top.
pub(super) fn row_at(count: usize, row: usize) -> f64 {
    count as f64 - row as f64 - 0.5
}

fn shown(value: f64) -> bool {
    value.is_finite() && value.abs() <= LARGEST
}

fn span(values: &[f64]) -> Option<(f64, f64)> {
    let shown = values.iter().copied().filter(|v| shown(*v));
    shown.fold(None, |span, v| match span {
        None => Some((v, v)),
        Some((lo, hi)) => Some((f64::min(lo, v), f64::max(hi, v))),
    })
}

/// The smallest of 1, 2, 2.5, 5 and 10 times a power of ten that is not below `raw`.
fn nice_step(raw: f64) -> f64 {
    if !raw.is_finite() || raw <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(raw.log10().floor());
    let digit = raw / unit;
    let steps =
        if !(1.0..10.0).contains(&unit) { [1.0, 2.0, 2.5, 5.0] } else { [1.0, 2.0, 5.0, 5.0] };
    let step = steps.into_iter().find(|s| digit <= s * (1.0 + 1e-9));
    step.unwrap_or(10.0) * unit
}

fn multiples(lo: f64, hi: f64, step: f64) -> Vec<f64> {
    let first = (lo / step - 1e-9).ceil();
    let last = (hi / step + 1e-9).floor();
    let count = (last - first).clamp(-1.0, 100.0) as i32;
    (0..=count).map(|k| (first + f64::from(k)) * step).collect()
}

fn tick_text(value: f64, step: f64) -> String {
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    if !(1e-5..1e5).contains(&step) {
        return if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") };
    }
    let places = (0..8).find(|p| {
        let scaled = step * 10_f64.powi(*p);
        (scaled - scaled.round()).abs() < 1e-6 * scaled
    });
    let places = usize::try_from(places.unwrap_or(0)).unwrap_or(0);
    format!("{value:.places$}")
}

/// The numbers 1, 2 and 5 times powers of ten that enclose `lo..=hi`, as digit and power.
fn one_two_five(lo: f64, hi: f64) -> Vec<(f64, i32)> {
    let from = lo.log10().floor() as i32;
    let to = hi.log10().ceil() as i32;
    let all: Vec<(f64, i32)> =
        (from..=to).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| (digit, power))).collect();
    let value = |tick: &(f64, i32)| tick.0 * 10_f64.powi(tick.1);
    let near = 1e-9;
    let first = all.iter().rposition(|t| value(t) <= lo * (1.0 + near));
    let last = all.iter().position(|t| value(t) >= hi * (1.0 - near));
    let first = first.unwrap_or(0);
    let last = last.unwrap_or(all.len().saturating_sub(1));
    all.get(first..=last).map(<[_]>::to_vec).unwrap_or_default()
}

fn power_text(digit: f64, power: i32) -> String {
    if (-3..=4).contains(&power) {
        let places = usize::try_from(-power).unwrap_or(0);
        format!("{:.places$}", digit * 10_f64.powi(power))
    } else {
        format!("{digit:.0}e{power}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|t| t.1.as_str()).collect()
    }

    #[test]
    fn linear_ticks_are_rounded() {
        let axis = Axis::linear("", &[91.3, 97.9], 0.0..100.0, 5);
        assert_eq!(texts(&axis), ["90", "92", "94", "96", "98"]);
        assert_eq!(axis.range(), 90.0..98.0);
        let axis = Axis::linear("", &[0.03, 0.61], 0.0..f64::INFINITY, 5);
        assert_eq!(texts(&axis), ["0.0", "0.2", "0.4", "0.6", "0.8"]);
        let axis = Axis::linear("", &[97.0], 0.0..100.0, 5);
        assert!(axis.range().end <= 100.0 && axis.range().start < 97.0);
        let wrong = Axis::linear("", &[9795.0], 0.0..100.0, 5);
        assert_eq!(wrong.range(), 0.0..1.0);
        assert_eq!(wrong.place(9795.0), None);
    }

    #[test]
    fn counts_have_whole_ticks() {
        let one = Axis::counts("", &[1.0], 6);
        assert_eq!(texts(&one), ["1"]);
        assert_eq!(one.range(), 0.5..1.5);
        let three = Axis::counts("", &[1.0, 2.0, 3.0], 6);
        assert_eq!(texts(&three), ["1", "2", "3"]);
        assert_eq!(texts(&Axis::counts("", &[0.0, 20.0], 6)), ["0", "5", "10", "15", "20"]);
    }

    #[test]
    fn wide_positive_values_are_drawn_by_their_logarithm() {
        let axis = Axis::auto("energy", &[0.004, 0.2, 30.0], 6);
        assert_eq!(texts(&axis), ["0.01", "0.1", "1", "10"]);
        assert_eq!(axis.label, "energy, log scale");
        assert_eq!(axis.place(0.0), None);
        assert_eq!(axis.place(10.0), Some(1.0));
        let near = Axis::auto("energy", &[1.0, 2.0], 6);
        assert_eq!(near.label, "energy");
        let powers = Axis::powers("energy", &[0.0, 1.0, 2.0, f64::NAN], 6);
        assert_eq!((powers.label.as_str(), powers.place(0.0)), ("energy, log scale", None));
        let none = Axis::powers("energy", &[0.0], 6);
        assert_eq!((none.label.as_str(), none.place(0.0)), ("energy", Some(0.0)));
        let long = Axis::auto("energy", &[1e-12, 1e12], 6);
        assert!(long.ticks.len() <= 7);
        assert!(texts(&long).contains(&"1e-10") && texts(&long).contains(&"1"));
    }

    #[test]
    fn strange_values_leave_a_usable_axis() {
        for values in [
            vec![],
            vec![f64::NAN],
            vec![f64::INFINITY, f64::NEG_INFINITY],
            vec![0.0],
            vec![1.0],
            vec![-3.0, 1e-300],
            vec![f64::MAX, f64::MIN_POSITIVE],
            vec![1e140, 1e-140],
            vec![5e-324, 1.0],
        ] {
            for axis in [
                Axis::auto("", &values, 5),
                Axis::powers("", &values, 5),
                Axis::counts("", &values, 5),
                Axis::cosine("", &values, 5),
                Axis::linear("", &values, 0.0..100.0, 5),
            ] {
                let range = axis.range();
                assert!(range.start.is_finite() && range.end.is_finite(), "{values:?}");
                assert!(range.start < range.end, "{values:?}");
                assert!(axis.ticks.len() <= 102);
            }
        }
        assert_eq!(Axis::auto("", &[1.0], 5).place(f64::NAN), None);
    }

    #[test]
    fn cosines_end_at_one() {
        let axis = Axis::cosine("", &[0.9999, 1.0], 4);
        assert_eq!(axis.ticks.last().map(|t| t.0), Some(1.0));
        assert!(axis.range().start > 0.98 && axis.range().end > 1.0);
        assert!(Axis::cosine("", &[-0.7], 4).range().start < -1.0);
    }

    #[test]
    fn rows_run_from_the_top() {
        let names: Vec<String> = (0..30).map(|k| format!("layer {k}")).collect();
        let axis = Axis::rows(&names, 12);
        assert_eq!(axis.text_at(row_at(30, 0)), "layer 0");
        assert!(axis.ticks.len() <= 12);
        assert_eq!(Axis::rows(&[], 12).range(), 0.0..1.0);
        assert_eq!(axis.unnamed().longest(), 0);
    }
}
