//! The pictures of the energy by vertex: one a run, since each has vertices of its own.

use super::{
    axis::Axis,
    contents::{Report, Run, VertexEnergy},
    error::ReportError,
    figure::{Figure, Row, Series},
    format::distinct,
    marks::LOOKS,
    panels::{HEIGHT, SINGLE, joined},
};

const LONGEST_VERTEX: usize = 24;

/// Energy of each vertex after each relaxation step as SVG, a picture for each run that has it. Of
/// many vertices those with the most energy are drawn, and the title says of how many.
///
/// # Errors
///
/// When the drawing library fails.
pub fn svg_vertex_energies(report: &Report) -> Result<Vec<String>, ReportError> {
    report.runs.iter().filter_map(|run| figure(report, run)).map(|figure| figure.svg()).collect()
}

fn figure(report: &Report, run: &Run) -> Option<Figure> {
    let shown = shown(&run.vertex_energies);
    let points = |vertex: &VertexEnergy| {
        vertex.trace.iter().enumerate().map(|(k, energy)| (k as f64, *energy)).collect()
    };
    let series: Vec<Series> = shown
        .iter()
        .enumerate()
        .map(|(place, vertex)| Series { run: place, points: points(vertex), halves: Vec::new() })
        .collect();
    let all = run.vertex_energies.len();
    let part =
        if shown.len() < all { format!(", {} of {all}", shown.len()) } else { String::new() };
    let title = format!("Energy by vertex{part}: {}", run.schedule);
    let panel = joined(&title, "relaxation step", series, |values| {
        Axis::powers("energy, one batch", values, 6)
    })?;
    let names: Vec<&str> = shown.iter().map(|vertex| vertex.name.as_str()).collect();
    Some(Figure {
        heading: String::new(),
        subheading: String::new(),
        legend: distinct(&names, LONGEST_VERTEX).into_iter().enumerate().collect(),
        rows: vec![Row { height: HEIGHT + 40, panels: vec![panel] }],
        width: SINGLE,
        description: format!("{}: energy by vertex, {}", report.title, run.schedule),
    })
}

/// As many as can be told apart, in order: those that reach the most energy.
fn shown(all: &[VertexEnergy]) -> Vec<&VertexEnergy> {
    let highest = |vertex: &VertexEnergy| vertex.trace.iter().copied().fold(0.0, f64::max);
    let mut ranked: Vec<(usize, &VertexEnergy)> = all.iter().enumerate().collect();
    ranked.sort_by(|a, b| highest(b.1).total_cmp(&highest(a.1)));
    ranked.truncate(LOOKS);
    ranked.sort_by_key(|(place, _)| *place);
    ranked.into_iter().map(|(_, vertex)| vertex).collect()
}
