//! What people and machines see of an experiment.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    layout::{LINE, cut, distinct, hanging, spread, wrapped},
    saved::Saved,
};
use crate::{
    experiments::{Claim, Experiment, Findings, Goal, Published},
    output::table,
    report::{ExperimentFigure, ExperimentReport, ExperimentSeries, figure_text},
    statistics::{Summary, difference, summary},
};

/// All that a run has found.
pub(super) struct Shown {
    experiment: &'static Experiment,
    full: bool,
    seeds: Vec<u64>,
    threads: usize,
    data: Vec<String>,
    found: Vec<Findings>,
    time: Duration,
}

/// An experiment in the list.
pub(super) fn entry(experiment: &Experiment) -> String {
    let mut text = format!("{}\n", experiment.name);
    let mut line = |words: &str| {
        for line in wrapped(words, LINE - 2) {
            text += &format!("  {line}\n");
        }
    };
    line(experiment.about);
    line(experiment.paper);
    for Published { row, column, figure, source, .. } in experiment.published {
        line(&format!("published: {row}, {column}: {} ({source})", figure_text(*figure)));
    }
    line(&format!("a full run takes {}", experiment.takes));
    text + "\n"
}

/// The same for machines.
pub(super) fn entry_json(experiment: &Experiment) -> Value {
    json!({
        "name": experiment.name,
        "about": experiment.about,
        "paper": experiment.paper,
        "takes": experiment.takes,
        "published": experiment.published.iter().map(published_json).collect::<Vec<_>>(),
    })
}

fn published_json(published: &Published) -> Value {
    let Published { row, column, figure, goal, source } = published;
    let goal = match goal {
        Goal::AtLeast(bound) => json!({"at_least": bound}),
        Goal::AtMost(bound) => json!({"at_most": bound}),
        Goal::Shown => Value::Null,
    };
    json!({"row": row, "column": column, "figure": figure, "goal": goal, "source": source})
}

/// What one seed has found.
pub(super) fn seed_json(seed: u64, findings: &Findings) -> Value {
    let cells = findings.cells.iter();
    let cells = cells.map(|c| json!({"row": c.row, "column": c.column, "value": c.value}));
    json!({
        "seed": seed,
        "cells": cells.collect::<Vec<_>>(),
        "claims": findings.claims,
        "notes": findings.notes,
    })
}

impl Shown {
    /// What these seeds have found, in this time.
    pub(super) fn new(
        experiment: &'static Experiment,
        saved: &Saved,
        data: Vec<String>,
        found: Vec<Findings>,
        time: Duration,
    ) -> Self {
        let seeds = (saved.seed..).take(saved.seeds).collect();
        Self { experiment, full: saved.full, seeds, threads: saved.threads, data, found, time }
    }

    fn rows(&self) -> Vec<&str> {
        let cells = self.found.iter().flat_map(|findings| &findings.cells);
        distinct(cells.map(|cell| cell.row.as_str()))
    }

    fn columns(&self) -> Vec<&str> {
        let cells = self.found.iter().flat_map(|findings| &findings.cells);
        distinct(cells.map(|cell| cell.column.as_str()))
    }

    /// A cell, seed by seed.
    fn cell(&self, row: &str, column: &str) -> Vec<Option<f64>> {
        self.found.iter().map(|findings| findings.value(row, column)).collect()
    }

    fn summary(&self, row: &str, column: &str) -> Option<Summary> {
        summary(&self.cell(row, column).into_iter().flatten().collect::<Vec<_>>())
    }

    fn published(&self, row: &str, column: &str) -> Option<&'static Published> {
        self.experiment.published.iter().find(|p| (p.row, p.column) == (row, column))
    }

    /// A published figure, and what became of it in a full run.
    fn published_text(&self, row: &str, column: &str) -> String {
        let Some(published) = self.published(row, column) else { return String::new() };
        let figure = figure_text(published.figure);
        let reached = self.summary(row, column).and_then(|own| published.goal.reached(own.mean));
        // What is judged is the bound, which need not be the figure itself.
        let figure = match published.goal.bound() {
            Some(bound) if bound != published.figure => {
                format!("{figure}; {}", figure_text(bound))
            }
            _ => figure,
        };
        match reached.filter(|_| self.full) {
            None => figure,
            Some(true) => format!("{figure} reached"),
            Some(false) => format!("{figure} MISSED"),
        }
    }

    /// The table of figures: a header, and rows that begin with their names.
    fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let (rows, columns) = (self.rows(), self.columns());
        let mut header = vec![String::new()];
        let mut lines: Vec<Vec<String>> = rows.iter().map(|row| vec![(*row).to_owned()]).collect();
        for column in columns {
            header.push(column.to_owned());
            for (row, line) in rows.iter().zip(&mut lines) {
                line.push(spread(self.summary(row, column)));
            }
            if rows.iter().any(|row| self.published(row, column).is_some()) {
                header.push("published".to_owned());
                for (row, line) in rows.iter().zip(&mut lines) {
                    line.push(self.published_text(row, column));
                }
            }
        }
        (header, lines)
    }

    /// Differences from the baseline, seed by seed; none where there is one seed.
    fn differences(&self) -> Option<(Vec<String>, Vec<Vec<String>>)> {
        let baseline = self.experiment.baseline.filter(|_| self.seeds.len() > 1)?;
        let (rows, columns) = (self.rows(), self.columns());
        if !rows.contains(&baseline) {
            return None;
        }
        let mut header = vec![format!("minus {baseline}")];
        header.extend(columns.iter().map(|column| (*column).to_owned()));
        let others = rows.iter().filter(|row| **row != baseline);
        let line = |row: &&str| {
            let own = |column: &&str| {
                spread(difference(&self.cell(row, column), &self.cell(baseline, column)))
            };
            std::iter::once((*row).to_owned()).chain(columns.iter().map(own)).collect()
        };
        Some((header, others.map(line).collect()))
    }

    fn tables(&self) -> Vec<(Vec<String>, Vec<Vec<String>>)> {
        std::iter::once(self.table()).chain(self.differences()).collect()
    }

    /// What does not hold, with its seeds.
    pub(super) fn broken(&self) -> Vec<String> {
        let claims = self.claims().into_iter();
        claims.filter(|claim| !claim.holds).map(|claim| claim.what).collect()
    }

    /// Every claim once. It holds where it does for all seeds; else the seeds are named.
    fn claims(&self) -> Vec<Claim> {
        let all = self.found.iter().flat_map(|findings| &findings.claims);
        let claim = |what: &str| {
            let against: Vec<String> = self
                .seeds
                .iter()
                .zip(&self.found)
                .filter(|(_, own)| own.claims.iter().any(|c| c.what == what && !c.holds))
                .map(|(seed, _)| seed.to_string())
                .collect();
            let holds = against.is_empty();
            let of = if holds || self.seeds.len() == 1 {
                String::new()
            } else {
                format!(" (seeds {})", against.join(", "))
            };
            Claim { what: format!("{what}{of}"), holds }
        };
        distinct(all.map(|claim| claim.what.as_str())).into_iter().map(claim).collect()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        if !self.full {
            notes.push(
                "A quick run: it shows that the system works. Published figures are of the \
                 paper's settings, which --full has."
                    .to_owned(),
            );
        }
        let all = self.found.iter().flat_map(|findings| &findings.notes);
        notes.extend(distinct(all.map(String::as_str)).into_iter().map(str::to_owned));
        let sources = self.experiment.published.iter().map(|published| published.source);
        notes.extend(distinct(sources).into_iter().map(|source| format!("Published: {source}.")));
        notes
    }

    fn facts(&self) -> Vec<(String, String)> {
        let seeds = match self.seeds.as_slice() {
            [first, .., last] => format!("{first} to {last}"),
            [one] => one.to_string(),
            [] => String::new(),
        };
        let mut facts = vec![
            ("Paper", self.experiment.paper.to_owned()),
            ("Size", if self.full { "full" } else { "quick" }.to_owned()),
            ("Seeds", seeds),
            ("Threads", self.threads.to_string()),
            ("Seconds", format!("{:.0}", self.time.as_secs_f64())),
        ];
        if !self.data.is_empty() {
            facts.insert(1, ("Data", self.data.join(", ")));
        }
        facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = format!("{}: {}\n", self.experiment.name, self.experiment.about);
        let facts = self.facts();
        let facts: Vec<String> = facts
            .iter()
            .map(|(name, value)| match name.as_str() {
                "Paper" => value.clone(),
                _ => format!("{} {value}", name.to_lowercase()),
            })
            .collect();
        for line in wrapped(&facts.join(" | "), LINE) {
            out += &format!("{line}\n");
        }
        for (header, rows) in self.tables() {
            for (header, rows) in cut(&header, &rows) {
                let header: Vec<&str> = header.iter().map(String::as_str).collect();
                out += &format!("\n{}", table(&header, 1, &rows));
            }
        }
        out.push('\n');
        for Claim { what, holds } in self.claims() {
            out += &hanging(&format!("{}: {what}", if holds { "holds" } else { "DOES NOT HOLD" }));
        }
        self.notes().iter().for_each(|note| out += &hanging(note));
        out
    }

    /// The command that repeats it.
    pub(super) fn command(&self, data_dir: Option<&Path>) -> String {
        let mut line = format!("pc-bench reproduce {}", self.experiment.name);
        line += if self.full { " --full" } else { " --quick" };
        if let Some(dir) = data_dir {
            let dir = dir.display().to_string();
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            let quoted = format!("'{}'", dir.replace('\'', "'\\''"));
            line += &format!(" --data-dir {}", if dir.chars().all(plain) { dir } else { quoted });
        }
        let first = self.seeds.first().copied().unwrap_or(0);
        line + &format!(" --seed {first} --seeds {} --threads {}", self.seeds.len(), self.threads)
    }

    /// Series of equal figures and names over seeds: means, with intervals where points of all
    /// seeds lie at the same places.
    fn figures(&self) -> Vec<ExperimentFigure> {
        let curves = || self.found.iter().flat_map(|findings| &findings.curves);
        let mut figures = Vec::new();
        for title in distinct(curves().map(|curve| curve.figure.as_str())) {
            let own = || curves().filter(|curve| curve.figure == title);
            let mut axes = (String::new(), String::new());
            let mut series = Vec::new();
            for name in distinct(own().map(|curve| curve.series.as_str())) {
                let all: Vec<_> = own().filter(|curve| curve.series == name).collect();
                let Some(first) = all.first() else { continue };
                axes = (first.x.clone(), first.y.clone());
                let (mut points, mut halves) = (Vec::new(), Vec::new());
                for (place, (x, _)) in first.points.iter().enumerate() {
                    let at = all.iter().filter_map(|curve| curve.points.get(place));
                    let y: Vec<f64> =
                        at.filter(|point| point.0 == *x).map(|point| point.1).collect();
                    if let Some(summary) = summary(&y) {
                        points.push((*x, summary.mean));
                        halves.push(summary.half.unwrap_or(0.0));
                    }
                }
                series.push(ExperimentSeries { name: name.to_owned(), points, halves });
            }
            figures.push(ExperimentFigure { title: title.to_owned(), axes, series });
        }
        figures
    }

    /// The page. Pictures are of the first seed.
    pub(super) fn report(&self, command: String) -> ExperimentReport {
        ExperimentReport {
            title: format!("{}: {}", self.experiment.name, self.experiment.about),
            facts: self.facts(),
            tables: self.tables(),
            claims: self.claims(),
            notes: self.notes(),
            figures: self.figures(),
            galleries: self.found.first().map_or_else(Vec::new, |own| own.galleries.clone()),
            command,
            numbers: self.json(),
        }
    }

    /// All numbers. Those that are not finite are `null`.
    pub(super) fn json(&self) -> Value {
        let baseline = self.experiment.baseline;
        let mut cells = Vec::new();
        for row in self.rows() {
            for column in self.columns() {
                let Some(own) = self.summary(row, column) else { continue };
                let mut cell = json!({"row": row, "column": column});
                cell["mean"] = json!(own.mean);
                cell["standard_deviation"] = json!(own.deviation);
                cell["interval_half"] = json!(own.half);
                cell["by_seed"] = json!(self.cell(row, column));
                if let Some(published) = self.published(row, column) {
                    cell["published"] = published_json(published);
                    let reached = published.goal.reached(own.mean).filter(|_| self.full);
                    cell["reached"] = json!(reached);
                }
                if let Some(from) = baseline.filter(|from| *from != row) {
                    let minus = difference(&self.cell(row, column), &self.cell(from, column));
                    cell["minus_baseline"] = json!(minus);
                }
                cells.push(cell);
            }
        }
        let curves = self.figures().into_iter().map(|figure| {
            let series = figure.series.into_iter().map(
                |ExperimentSeries { name, points, halves }| {
                    json!({"name": name, "points": points, "interval_halves": halves})
                },
            );
            let (x, y) = figure.axes;
            json!({"title": figure.title, "x": x, "y": y, "series": series.collect::<Vec<_>>()})
        });
        json!({
            "experiment": self.experiment.name,
            "paper": self.experiment.paper,
            "full": self.full,
            "data": self.data,
            "seeds": self.seeds,
            "threads": self.threads,
            "seconds": self.time.as_secs_f64(),
            "baseline": baseline,
            "cells": cells,
            "claims": self.claims(),
            "notes": self.notes(),
            "curves": curves.collect::<Vec<_>>(),
            "galleries": self.found.iter().map(|findings| findings.galleries.len()).sum::<usize>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::CommandError, experiments::Context};

    fn nothing(_: &mut Context<'_>) -> Result<Findings, CommandError> {
        Ok(Findings::new())
    }

    const SAMPLE: Experiment = Experiment {
        name: "sample",
        about: "a sample",
        paper: "Nobody, 2026",
        takes: "no time",
        baseline: Some("backprop"),
        published: &[Published {
            row: "PC",
            column: "acc. %",
            figure: 95.5,
            goal: Goal::AtLeast(95.5),
            source: "made up",
        }],
        run: nothing,
    };

    fn shown(full: bool, accuracies: &[f64]) -> Shown {
        let found = accuracies.iter().enumerate().map(|(seed, accuracy)| {
            let mut own = Findings::new();
            own.cell("backprop", "acc. %", 90.0);
            own.cell("PC", "acc. %", *accuracy);
            own.cell("PC", "steps", 3.0);
            own.curve("f", "PC", ("x", "y"), vec![(0.0, *accuracy), (seed as f64 + 1.0, 1.0)]);
            own.claim("it is above 91", *accuracy > 91.0);
            own
        });
        let saved = Saved::new("sample", full, (5, accuracies.len()), false, 1);
        Shown::new(&SAMPLE, &saved, Vec::new(), found.collect(), Duration::ZERO)
    }

    #[test]
    fn a_published_figure_is_judged_in_full_runs_alone() {
        assert!(shown(true, &[96.0]).text().contains("95.50 reached"));
        assert!(shown(true, &[94.0]).text().contains("95.50 MISSED"));
        assert!(shown(true, &[f64::NAN]).text().contains("not finite"));
        let quick = shown(false, &[94.0]).text();
        assert!(quick.contains("95.50") && !quick.contains("MISSED"), "{quick}");
    }

    #[test]
    fn seeds_give_intervals_and_paired_differences() {
        let shown = shown(true, &[92.0, 94.0]);
        let text = shown.text();
        assert!(text.contains("93.00 ± 12.71") && text.contains("minus backprop"), "{text}");
        assert!(text.contains("3.000 ± 0"), "{text}");
        let json = shown.json();
        let pc = &json["cells"][1];
        assert_eq!(pc["minus_baseline"]["mean"], 3.0);
        assert_eq!(pc["by_seed"], json!([92.0, 94.0]));
        // Points at places that differ by seed are not mixed.
        assert_eq!(shown.figures()[0].series[0].points, [(0.0, 93.0), (1.0, 1.0)]);
    }

    #[test]
    fn what_does_not_hold_names_its_seeds() {
        assert!(shown(true, &[92.0, 94.0]).broken().is_empty());
        assert_eq!(shown(true, &[92.0, 90.0]).broken(), ["it is above 91 (seeds 6)"]);
        assert_eq!(shown(true, &[f64::NAN]).broken(), ["it is above 91"]);
    }
}
