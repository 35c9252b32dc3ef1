//! The pictures of a report.

use super::{
    axis::{Axis, row_at},
    compare::{layer, layer_names, layered},
    contents::{Epoch, Layer, Report, Run},
    error::ReportError,
    figure::{Figure, Panel, Row, Series},
    format::{clean, distinct},
};

/// Width of a picture of its own, and of the combined one.
pub(super) const SINGLE: u32 = 620;
const COMBINED: u32 = 960;
pub(super) const HEIGHT: u32 = 290;
const LONGEST_LAYER: usize = 18;

/// Test (or validation) accuracy after each epoch as SVG; nothing if no run has one.
///
/// # Errors
///
/// When the drawing library fails.
pub fn svg_accuracy(report: &Report) -> Result<Option<String>, ReportError> {
    single(report, accuracy(report), &format!("{} accuracy by epoch", report.judged_on()))
}

/// Training loss after each epoch as SVG; nothing if no run has a curve.
///
/// # Errors
///
/// When the drawing library fails.
pub fn svg_train_loss(report: &Report) -> Result<Option<String>, ReportError> {
    single(report, train_loss(report), "training loss by epoch")
}

/// Test (or validation) loss after each epoch as SVG; nothing if no run has a curve.
///
/// # Errors
///
/// When the drawing library fails.
pub fn svg_test_loss(report: &Report) -> Result<Option<String>, ReportError> {
    single(report, test_loss(report), &format!("{} loss by epoch", report.judged_on()))
}

/// Energy after each relaxation step as SVG; nothing if no run relaxed.
///
/// # Errors
///
/// When the drawing library fails.
pub fn svg_energy(report: &Report) -> Result<Option<String>, ReportError> {
    single(report, energy(report), "energy by relaxation step")
}

/// Cosine and norm ratio of each layer's gradient beside backprop's as SVG; nothing if no run
/// was compared layer by layer.
///
/// # Errors
///
/// When the drawing library fails.
pub fn svg_agreement(report: &Report) -> Result<Option<String>, ReportError> {
    let panels = agreement(report);
    if panels.is_empty() {
        return Ok(None);
    }
    let height = agreement_height(report);
    let figure = Figure {
        legend: legend(report, &panels),
        description: format!("{}: gradients beside backprop", report.title),
        heading: String::new(),
        subheading: String::new(),
        width: COMBINED * 3 / 4,
        rows: vec![Row { height, panels }],
    };
    figure.svg().map(Some)
}

/// All pictures of a report as one SVG.
///
/// # Errors
///
/// When the drawing library fails.
pub fn svg_curves(report: &Report) -> Result<String, ReportError> {
    let accuracy = accuracy(report);
    let extra = accuracy.is_some();
    let score = accuracy.or_else(|| test_loss(report));
    let mut cells: Vec<Vec<Panel>> = [score, train_loss(report), energy(report)]
        .into_iter()
        .flatten()
        .map(|panel| vec![panel])
        .collect();
    let compared = agreement(report);
    let tall = agreement_height(report) > HEIGHT + HEIGHT / 3;
    let beside = !compared.is_empty() && !tall;
    if extra && (cells.len() + usize::from(beside)) % 2 == 1 {
        cells.extend(test_loss(report).map(|panel| vec![panel]));
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut height = HEIGHT;
    let mut last = Vec::new();
    if beside {
        cells.push(compared);
        height = agreement_height(report);
    } else {
        last = compared;
    }
    let mut cells = cells.into_iter().peekable();
    while let Some(mut panels) = cells.next() {
        panels.extend(cells.next().into_iter().flatten());
        let height = if cells.peek().is_none() { height } else { HEIGHT };
        rows.push(Row { height, panels });
    }
    if !last.is_empty() {
        rows.push(Row { height: agreement_height(report), panels: last });
    }
    let subheading: Vec<String> = [&report.model, &report.data, &report.backend]
        .into_iter()
        .filter(|text| !text.is_empty())
        .map(|text| clean(text))
        .collect();
    let all: Vec<&Panel> = rows.iter().flat_map(|row| &row.panels).collect();
    let figure = Figure {
        heading: report.title.clone(),
        subheading: subheading.join("   |   "),
        legend: legend(report, all),
        description: format!("{}: training curves and gradient agreement", report.title),
        width: COMBINED,
        rows,
    };
    figure.svg()
}

fn single(
    report: &Report,
    panel: Option<Panel>,
    what: &str,
) -> Result<Option<String>, ReportError> {
    let Some(panel) = panel else {
        return Ok(None);
    };
    let panels = vec![panel];
    let figure = Figure {
        legend: legend(report, &panels),
        description: format!("{}: {what}", report.title),
        heading: String::new(),
        subheading: String::new(),
        width: SINGLE,
        rows: vec![Row { height: HEIGHT + 40, panels }],
    };
    figure.svg().map(Some)
}

/// The runs that the panels show.
fn legend<'a>(
    report: &Report,
    panels: impl IntoIterator<Item = &'a Panel>,
) -> Vec<(usize, String)> {
    let mut shown: Vec<usize> =
        panels.into_iter().flat_map(|panel| panel.series.iter().map(|series| series.run)).collect();
    shown.sort_unstable();
    shown.dedup();
    let named = shown.into_iter().filter_map(|run| {
        let name = &report.runs.get(run)?.schedule;
        Some((run, name.clone()))
    });
    named.collect()
}

/// One series per run that yields points.
fn series(report: &Report, points: impl Fn(&Run) -> Vec<(f64, f64)>) -> Vec<Series> {
    let runs = report.runs.iter().enumerate();
    runs.map(|(run, data)| Series { run, points: points(data), halves: Vec::new() })
        .filter(|series| !series.points.is_empty())
        .collect()
}

fn column(series: &[Series], pick: impl Fn(&(f64, f64)) -> f64) -> Vec<f64> {
    series.iter().flat_map(|s| s.points.iter().map(&pick)).collect()
}

/// A panel of one measurement by epoch.
fn by_epoch(
    report: &Report,
    title: &str,
    value: impl Fn(&Epoch) -> Option<f64>,
    axis: impl Fn(&[f64]) -> Axis,
) -> Option<Panel> {
    let series = series(report, |run| {
        let points = run.curve.iter();
        points.filter_map(|e| Some((e.epoch as f64, value(e)?))).collect()
    });
    joined(title, "epoch", series, axis)
}

/// A panel of lines over steps; nothing without any.
pub(super) fn joined(
    title: &str,
    steps: &str,
    series: Vec<Series>,
    axis: impl Fn(&[f64]) -> Axis,
) -> Option<Panel> {
    if series.is_empty() {
        return None;
    }
    Some(Panel {
        title: title.to_owned(),
        x: Axis::counts(steps, &column(&series, |p| p.0), 8),
        y: axis(&column(&series, |p| p.1)),
        series,
        joined: true,
        line_at_one: false,
        share: 2.0,
    })
}

/// The title of a panel of figures that show how well a run does on what it does not learn from.
fn titled(report: &Report, what: &str) -> String {
    format!("{} {what}", if report.validation { "Validation" } else { "Test" })
}

fn accuracy(report: &Report) -> Option<Panel> {
    by_epoch(
        report,
        &titled(report, "accuracy"),
        |e| e.test_accuracy.map(|a| 100.0 * a),
        |values| Axis::linear("correct (%)", values, 0.0..100.0, 5),
    )
}

fn train_loss(report: &Report) -> Option<Panel> {
    by_epoch(
        report,
        "Training loss",
        |e| Some(e.train_loss),
        |values| Axis::auto("mean loss per sample", values, 5),
    )
}

fn test_loss(report: &Report) -> Option<Panel> {
    by_epoch(
        report,
        &titled(report, "loss"),
        |e| Some(e.test_loss),
        |values| Axis::auto("mean loss per sample", values, 5),
    )
}

fn energy(report: &Report) -> Option<Panel> {
    let series = series(report, |run| {
        let trace = run.energy_trace.iter().enumerate();
        trace.map(|(k, energy)| (k as f64, *energy)).collect()
    });
    joined("Energy while values relax", "relaxation step", series, |values| {
        Axis::auto("energy F, one batch", values, 6)
    })
}

/// Tall enough to tell the layers and the runs of one layer apart.
fn agreement_height(report: &Report) -> u32 {
    let rows = layer_names(report).len() * (6 + 8 * layered(report).len());
    let rows = u32::try_from(rows).unwrap_or(u32::MAX);
    rows.saturating_add(86).clamp(HEIGHT, 900)
}

/// The panels of cosines and of norm ratios, side by side; none if there is nothing to compare.
fn agreement(report: &Report) -> Vec<Panel> {
    let runs = layered(report);
    if runs.is_empty() {
        return Vec::new();
    }
    let names = layer_names(report);
    let lanes = |pick: &dyn Fn(&Layer) -> f64| -> Vec<Series> {
        let spread = 0.7 / runs.len() as f64;
        let middle = (runs.len() as f64 - 1.0) / 2.0;
        let lane = |(lane, (run, data)): (usize, &(usize, &Run))| {
            let shift = (middle - lane as f64) * spread;
            let points = names.iter().enumerate().filter_map(|(row, name)| {
                let value = pick(layer(data, name)?);
                Some((value, row_at(names.len(), row) + shift))
            });
            Series { run: *run, points: points.collect(), halves: Vec::new() }
        };
        runs.iter().enumerate().map(lane).collect()
    };
    let shown = distinct(&names, LONGEST_LAYER);
    let most = (agreement_height(report).saturating_sub(86) / 15) as usize;
    let rows = Axis::rows(&shown, most);
    let cosines = lanes(&|layer| layer.cosine);
    let ratios = lanes(&|layer| layer.norm_ratio);
    let cosine = Axis::cosine("cosine", &column(&cosines, |p| p.0), 3);
    let mut values = column(&ratios, |p| p.0);
    values.push(1.0);
    let ratio = Axis::auto("norm ratio", &values, 3);
    let panel = |title: &str, x: Axis, y: Axis, series: Vec<Series>, share: f64| Panel {
        title: title.to_owned(),
        x,
        y,
        series,
        joined: false,
        line_at_one: true,
        share,
    };
    vec![
        panel("Direction vs backprop", cosine, rows.clone(), cosines, 1.12),
        panel("Length vs backprop", ratio, rows.unnamed(), ratios, 0.88),
    ]
}
