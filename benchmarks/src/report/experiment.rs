//! The report of an experiment: its table, curves over seeds, and pictures.

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{
    axis::Axis,
    error::ReportError,
    figure::{Figure, Panel, Row, Series},
    files,
    format::{clean, escape},
    html::STYLE,
    panels::{HEIGHT, SINGLE},
};
use crate::experiments::{Claim, Gallery, Picture};

const NAMES: [&str; 2] = ["report.html", "report.json"];

/// Ticks of an axis, about.
const TICKS: usize = 6;

/// A picture is shown at least this wide, in units of the page.
const SHOWN: usize = 56;

/// What the page of an experiment says.
#[derive(Clone, Debug, Default)]
pub struct ExperimentReport {
    /// The name of the experiment and what it shows.
    pub title: String,
    /// Names and values of its setting.
    pub facts: Vec<(String, String)>,
    /// The tables: a header, and rows that begin with their names.
    pub tables: Vec<(Vec<String>, Vec<Vec<String>>)>,
    /// What should hold.
    pub claims: Vec<Claim>,
    /// What a reader needs to judge it; one sentence each.
    pub notes: Vec<String>,
    /// The figures.
    pub figures: Vec<ExperimentFigure>,
    /// Rows of pictures.
    pub galleries: Vec<Gallery>,
    /// The command that repeats it.
    pub command: String,
    /// All numbers, for `report.json`.
    pub numbers: Value,
}

/// One pair of axes.
#[derive(Clone, Debug, Default)]
pub struct ExperimentFigure {
    /// Its title.
    pub title: String,
    /// What is across, and what is upward.
    pub axes: (String, String),
    /// Its lines.
    pub series: Vec<ExperimentSeries>,
}

/// One line of a figure.
#[derive(Clone, Debug, Default)]
pub struct ExperimentSeries {
    /// Its name.
    pub name: String,
    /// Its points: means over seeds.
    pub points: Vec<(f64, f64)>,
    /// By point, half of its 95% interval; empty where there is one seed.
    pub halves: Vec<f64>,
}

/// Tries whether [`write_experiment`] could write into `dir` now, and leaves nothing there.
///
/// # Errors
/// As of [`write_experiment`].
pub fn try_experiment_place(dir: &Path) -> Result<(), ReportError> {
    files::try_places(dir, &NAMES)
}

/// Writes `report.html` and `report.json` into `dir`, which is created if needed. Returns their
/// paths.
///
/// # Errors
/// The folder or a file cannot be written; a picture cannot be drawn.
pub fn write_experiment(
    dir: &Path,
    report: &ExperimentReport,
) -> Result<Vec<PathBuf>, ReportError> {
    let mut json = serde_json::to_string_pretty(&report.numbers)?;
    json.push('\n');
    let page = page(report)?;
    files::create_folder(dir)?;
    let mut written = Vec::new();
    for (name, text) in NAMES.into_iter().zip([page, json]) {
        let path = dir.join(name);
        files::replace(&path, text.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

fn page(report: &ExperimentReport) -> Result<String, ReportError> {
    let title = escape(&report.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n<dl class=\"facts\">\n"
    );
    for (name, value) in &report.facts {
        out += &format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value));
    }
    out += "</dl>\n<h2>Results</h2>\n";
    for (header, rows) in &report.tables {
        out += &table(header, rows);
    }
    if !report.claims.is_empty() {
        out += "<h3>What should hold</h3>\n<ul>\n";
        for Claim { what, holds } in &report.claims {
            let word = if *holds { "holds" } else { "does <strong>not</strong> hold" };
            out += &format!("<li>{}: {word}</li>\n", escape(what));
        }
        out += "</ul>\n";
    }
    if !report.notes.is_empty() {
        out += "<h3>Notes</h3>\n<ul>\n";
        report.notes.iter().for_each(|note| out += &format!("<li>{}</li>\n", escape(note)));
        out += "</ul>\n";
    }
    if !report.figures.is_empty() {
        out += "<h2>Curves</h2>\n<div class=\"figures\">\n";
        for figure in &report.figures {
            out += &format!("<figure>\n{}</figure>\n", drawn(figure)?);
        }
        out += "</div>\n";
    }
    if !report.galleries.is_empty() {
        out += "<h2>Pictures</h2>\n";
        for gallery in &report.galleries {
            out += &pictures(gallery)?;
        }
    }
    let command = escape(&report.command);
    out += &format!("<h2>Repeat it</h2>\n<pre><code>{command}</code></pre>\n");
    Ok(out + "</main>\n</body>\n</html>\n")
}

fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let mut out = String::from("<div class=\"scroll\"><table>\n<thead><tr>");
    header.iter().for_each(|name| out += &format!("<th scope=\"col\">{}</th>", escape(name)));
    out += "</tr></thead>\n<tbody>\n";
    for row in rows {
        out += "<tr>";
        for (place, text) in row.iter().enumerate() {
            let text = escape(text);
            out += &match place {
                0 => format!("<th scope=\"row\">{text}</th>"),
                _ => format!("<td>{text}</td>"),
            };
        }
        out += "</tr>\n";
    }
    out + "</tbody>\n</table></div>\n"
}

fn drawn(figure: &ExperimentFigure) -> Result<String, ReportError> {
    let points = || figure.series.iter().flat_map(|series| &series.points);
    let mut upward: Vec<f64> = points().map(|point| point.1).collect();
    for series in &figure.series {
        let ends = series.points.iter().zip(&series.halves);
        upward.extend(ends.flat_map(|((_, y), half)| [y - half, y + half]));
    }
    // A gain below nothing is no reason to lose the logarithm of the rest.
    let across: Vec<f64> = points().map(|point| point.0).collect();
    let series = figure.series.iter().enumerate();
    let panel = Panel {
        title: figure.title.clone(),
        x: Axis::auto(&figure.axes.0, &across, TICKS),
        y: Axis::auto(&figure.axes.1, &upward, TICKS),
        series: series
            .map(|(run, series)| Series {
                run,
                points: series.points.clone(),
                halves: series.halves.clone(),
            })
            .collect(),
        joined: true,
        line_at_one: false,
        share: 1.0,
    };
    let names = figure.series.iter().enumerate();
    let drawn = Figure {
        heading: String::new(),
        subheading: String::new(),
        legend: names.map(|(run, series)| (run, clean(&series.name))).collect(),
        rows: vec![Row { height: HEIGHT, panels: vec![panel] }],
        width: SINGLE,
        description: figure.title.clone(),
    };
    drawn.svg()
}

fn pictures(gallery: &Gallery) -> Result<String, ReportError> {
    let mut out = format!(
        "<figure class=\"wide\">\n<h3>{}</h3>\n<div class=\"scroll\"><table class=\"pictures\">\n",
        escape(&gallery.title)
    );
    for row in &gallery.rows {
        out += &format!("<tr><th scope=\"row\">{}</th>", escape(&row.label));
        for picture in &row.pictures {
            let uri = uri(picture).map_err(|error| ReportError::Draw {
                figure: gallery.title.clone(),
                reason: error.to_string(),
            })?;
            let scale = SHOWN.div_ceil(picture.width.max(1));
            out += &format!(
                "<td><img alt=\"\" width=\"{}\" height=\"{}\" src=\"{uri}\"></td>",
                scale * picture.width,
                scale * picture.height
            );
        }
        out += "</tr>\n";
    }
    out += "</table></div>\n";
    out += &format!("<figcaption>{}</figcaption>\n</figure>\n", escape(&gallery.caption));
    Ok(out)
}

/// The picture as a PNG within an address.
fn uri(picture: &Picture) -> Result<String, png::EncodingError> {
    let mut bytes = Vec::new();
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut bytes, side(picture.width), side(picture.height));
    encoder.set_color(match picture.channels {
        1 => png::ColorType::Grayscale,
        _ => png::ColorType::Rgb,
    });
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&picture.bytes)?;
    writer.finish()?;
    Ok(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::PictureRow;

    #[test]
    fn a_page_has_all_that_was_found() {
        let picture = Picture::new([1, 2, 2], &[0.0, 1.0, 1.0, 0.0]).unwrap();
        let row = PictureRow { label: "given".to_owned(), pictures: vec![picture] };
        let series = ExperimentSeries {
            name: "ours".to_owned(),
            points: vec![(1.0, 2.0), (2.0, 3.0)],
            halves: vec![0.5, 0.25],
        };
        let report = ExperimentReport {
            title: "a < b".to_owned(),
            facts: vec![("Seeds".to_owned(), "0".to_owned())],
            tables: vec![(
                vec!["net".to_owned(), "acc.".to_owned()],
                vec![vec!["ours".to_owned()]],
            )],
            claims: vec![Claim { what: "it does".to_owned(), holds: false }],
            notes: vec!["a note".to_owned()],
            figures: vec![ExperimentFigure {
                title: "a figure".to_owned(),
                axes: ("steps".to_owned(), "error".to_owned()),
                series: vec![series],
            }],
            galleries: vec![Gallery {
                title: "recalled".to_owned(),
                caption: "how".to_owned(),
                rows: vec![row],
            }],
            command: "pc-bench reproduce x".to_owned(),
            numbers: serde_json::json!({"x": 1}),
        };
        let folder = tempfile::tempdir().unwrap();
        let written = write_experiment(&folder.path().join("new"), &report).unwrap();
        let page = std::fs::read_to_string(&written[0]).unwrap();
        for words in
            ["a &lt; b", "it does", "not</strong>", "a note", "a figure", "data:image/png;base64,"]
        {
            assert!(page.contains(words), "{words}");
        }
        assert!(std::fs::read_to_string(&written[1]).unwrap().contains("\"x\": 1"));
    }

    #[test]
    fn a_picture_that_is_damaged_is_an_error() {
        let picture = Picture { channels: 1, height: 2, width: 2, bytes: vec![0] };
        assert!(uri(&picture).is_err());
    }
}
