//! The comparisons that the terminal tables and the page share.

use super::{
    contents::{Layer, Report, Run},
    format::{decimals_for, finite, fixed, short, signed},
};

/// The run that the others are compared with.
pub(super) fn baseline(report: &Report) -> Option<&Run> {
    report.runs.iter().find(|run| is_backprop(run))
}

/// Whether a run trained by backprop.
pub(super) fn is_backprop(run: &Run) -> bool {
    let name = run.schedule.trim_start().to_ascii_lowercase();
    name.starts_with("backprop")
}

/// Whether any run has a test accuracy; when none has, the test loss stands in for it.
pub(super) fn has_accuracy(report: &Report) -> bool {
    report.runs.iter().any(|run| finite(run.test_accuracy).is_some())
}

/// The energy at the end of training, or else at the end of the trace.
pub(super) fn final_energy(run: &Run) -> Option<f64> {
    let trained = run.curve.iter().rev().find_map(|e| finite(e.energy));
    trained.or_else(|| run.energy_trace.iter().rev().copied().find(|e| e.is_finite()))
}

/// Lowest cosine: the one given, or else the lowest of the layers.
pub(super) fn min_cosine(run: &Run) -> Option<f64> {
    let cosines = run.layers.iter().map(|l| l.cosine);
    finite(run.min_cosine).or_else(|| cosines.filter(|c| c.is_finite()).reduce(f64::min))
}

/// Training time as a multiple of the baseline's.
pub(super) fn times_baseline(report: &Report, run: &Run) -> Option<f64> {
    let base = baseline(report)?.seconds;
    finite(Some(run.seconds / base)).filter(|_| base > 0.0)
}

/// Test accuracy minus that of the baseline, in percentage points.
pub(super) fn points(report: &Report, run: &Run) -> Option<f64> {
    let base = finite(baseline(report)?.test_accuracy)?;
    Some(100.0 * (finite(run.test_accuracy)? - base))
}

/// Test loss minus that of the baseline.
pub(super) fn loss_difference(report: &Report, run: &Run) -> Option<f64> {
    finite(Some(run.test_loss - baseline(report)?.test_loss))
}

/// One run as shown.
pub(super) struct RunRow {
    pub(super) schedule: String,
    /// One text per title of [`run_titles`].
    pub(super) numbers: Vec<String>,
}

/// Titles of the columns of numbers; a line break shows where a narrow table may fold.
pub(super) fn run_titles(report: &Report) -> [String; 6] {
    let (score, difference) = match has_accuracy(report) {
        true => ("acc. %", "points vs\nbackprop"),
        false => ("loss", "vs\nbackprop"),
    };
    let score = format!("{}\n{score}", report.judged_on());
    let others = [difference, "\nseconds", "times\nbackprop", "final\nenergy", "min\ncosine"];
    let [difference, seconds, times, energy, cosine] = others.map(str::to_owned);
    [score, difference, seconds, times, energy, cosine]
}

/// The runs as shown, in order.
pub(super) fn run_rows(report: &Report) -> Vec<RunRow> {
    let accuracy = has_accuracy(report);
    let places = decimals_for(report.runs.iter().map(|run| run.seconds));
    let rows = report.runs.iter().map(|run| {
        let (score, difference) = if accuracy {
            (fixed(run.test_accuracy.map(|a| 100.0 * a), 2), signed(points(report, run), 2))
        } else {
            (fixed(Some(run.test_loss), 5), signed(loss_difference(report, run), 5))
        };
        RunRow {
            schedule: run.schedule.clone(),
            numbers: vec![
                score,
                difference,
                fixed(Some(run.seconds), places),
                fixed(times_baseline(report, run), 2),
                short(final_energy(run)),
                fixed(min_cosine(run), 5),
            ],
        }
    });
    rows.collect()
}

/// The runs that were compared with backprop layer by layer, with their places in the report.
pub(super) fn layered(report: &Report) -> Vec<(usize, &Run)> {
    let runs = report.runs.iter().enumerate();
    runs.filter(|(_, run)| !run.layers.is_empty()).collect()
}

/// The names of all layers, each once, in the order of their first appearance.
pub(super) fn layer_names(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for layer in report.runs.iter().flat_map(|run| &run.layers) {
        if !names.contains(&layer.name.as_str()) {
            names.push(&layer.name);
        }
    }
    names
}

/// A run's layer of that name.
pub(super) fn layer<'a>(run: &'a Run, name: &str) -> Option<&'a Layer> {
    run.layers.iter().find(|layer| layer.name == name)
}

/// What a run came to, in one plain sentence.
pub(super) fn sentence(report: &Report, run: &Run) -> String {
    let held = report.judged_on();
    let mut text = match finite(run.test_accuracy) {
        Some(accuracy) => {
            format!("{}% of the {held} samples correct", fixed(Some(100.0 * accuracy), 2))
        }
        None => match finite(Some(run.test_loss)) {
            Some(loss) => format!("{held} loss {}", short(Some(loss))),
            None => format!("no usable {held} result"),
        },
    };
    let base = baseline(report);
    if base.is_some_and(|base| !std::ptr::eq(base, run)) {
        if let Some(points) = points(report, run) {
            let size = fixed(Some(points.abs()), 2);
            text += &match size.as_str() {
                "0.00" => ", the same as backprop".to_owned(),
                size if points < 0.0 => format!(", {size} points below backprop"),
                size => format!(", {size} points above backprop"),
            };
        }
        if let Some(times) = times_baseline(report, run) {
            text += &format!(", in {} times its training time", fixed(Some(times), 2));
        }
    }
    text.push('.');
    text
}
