//! What a person sees of a training comparison.
//!
//! Fill a [`Report`] from the results of one or more training runs, then print [`table`] in a
//! terminal or [`write()`] a self-contained web page, a picture and the numbers as JSON.

mod axis;
mod compare;
mod contents;
mod error;
mod experiment;
mod figure;
mod files;
mod format;
mod html;
mod marks;
mod panels;
mod table;
mod vertices;
mod write;

pub use contents::{Epoch, Layer, Report, Run, VertexEnergy};
pub use error::ReportError;
pub use experiment::{
    ExperimentFigure, ExperimentReport, ExperimentSeries, try_experiment_place, write_experiment,
};
pub use panels::{
    svg_accuracy, svg_agreement, svg_curves, svg_energy, svg_test_loss, svg_train_loss,
};
pub use table::{table, table_at};
pub use vertices::svg_vertex_energies;
pub use write::{try_place, write};

/// About four significant digits; `-` for what is not finite.
pub fn figure_text(value: f64) -> String {
    format::short(Some(value))
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
