//! The report as one web page that needs nothing else.

use super::{
    compare::{has_accuracy, layer, layer_names, layered, run_rows, run_titles, sentence},
    contents::Report,
    error::ReportError,
    figure::css_colour,
    format::{MISSING, escape, fixed, short},
    panels::{svg_accuracy, svg_agreement, svg_energy, svg_test_loss, svg_train_loss},
    table::ratio,
    vertices::svg_vertex_energies,
};

pub(super) const STYLE: &str = include_str!("report.css");
const MEANING: &str = include_str!("meaning.html");

/// The whole page.
pub(super) fn page(report: &Report) -> Result<String, ReportError> {
    let title = if report.title.trim().is_empty() { "Training comparison" } else { &report.title };
    let title = escape(title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n"
    );
    out += &facts(report);
    out += &results(report);
    out += &notes(report);
    out += &pictures(report)?;
    out += &agreement(report)?;
    out += MEANING;
    if !report.command.trim().is_empty() {
        out += "<h2>Repeat it</h2>\n<pre><code>";
        out += &escape(report.command.trim());
        out += "</code></pre>\n";
    }
    out += "</main>\n</body>\n</html>\n";
    Ok(out)
}

fn facts(report: &Report) -> String {
    let mut out = String::from("<dl class=\"facts\">\n");
    let facts = [
        ("Model", report.model.clone()),
        ("Data", report.data.clone()),
        ("Backend", report.backend.clone()),
        ("Epochs", report.epochs.to_string()),
        ("Batch", report.batch.to_string()),
        ("Threads", report.threads.to_string()),
        ("Seed", report.seed.to_string()),
    ];
    for (name, value) in facts {
        let value = if value.trim().is_empty() { MISSING } else { value.as_str() };
        out += &format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(value));
    }
    out + "</dl>\n"
}

fn swatch(run: usize) -> String {
    let colour = css_colour(run);
    format!("<span class=\"swatch\" style=\"background:{colour}\"></span>")
}

fn results(report: &Report) -> String {
    let mut out = String::from("<h2>Results</h2>\n");
    if report.runs.is_empty() {
        return out + "<p>No run has finished.</p>\n";
    }
    out += "<ul class=\"plain\">\n";
    for (place, run) in report.runs.iter().enumerate() {
        out += &format!(
            "<li>{}<strong>{}</strong>: {}{}{}</li>\n",
            swatch(place),
            escape(&run.schedule),
            escape(&sentence(report, run)),
            if run.note.is_empty() { "" } else { " " },
            escape(&run.note),
        );
    }
    out += "</ul>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">schedule</th>";
    let extra = [format!("{}\nloss", report.judged_on()), "samples\nper second".to_owned()];
    let skip = usize::from(!has_accuracy(report));
    for title in run_titles(report).iter().chain(extra.iter().skip(skip)) {
        out += &format!("<th scope=\"col\">{}</th>", escape(title.trim()).replace('\n', "<br>"));
    }
    out += "</tr></thead>\n<tbody>\n";
    for (row, run) in run_rows(report).iter().zip(&report.runs) {
        out += &format!("<tr><th scope=\"row\">{}</th>", escape(&row.schedule));
        let extra = [short(Some(run.test_loss)), fixed(Some(run.samples_per_second), 0)];
        for number in row.numbers.iter().chain(extra.iter().skip(skip)) {
            out += &format!("<td>{}</td>", escape(number));
        }
        out += "</tr>\n";
    }
    out + "</tbody>\n</table></div>\n"
}

fn notes(report: &Report) -> String {
    let notes: Vec<&String> = report.notes.iter().filter(|n| !n.is_empty()).collect();
    if notes.is_empty() {
        return String::new();
    }
    let mut out = String::from("<h3>Notes</h3>\n<ul>\n");
    for note in notes {
        out += &format!("<li>{}</li>\n", escape(note));
    }
    out + "</ul>\n"
}

fn pictures(report: &Report) -> Result<String, ReportError> {
    let (samples, data) = match report.validation {
        false => ("Test samples", "test data"),
        true => ("Held-out training samples (validation)", "held-out training data (validation)"),
    };
    let pictures = [
        (
            svg_accuracy(report)?,
            format!("{samples} classified correctly after each epoch. Higher is better."),
        ),
        (
            svg_train_loss(report)?,
            "Mean loss over the training data in each epoch. Lower is better.".to_owned(),
        ),
        (
            svg_test_loss(report)?,
            format!(
                "Mean loss over the {data} after each epoch. Lower is better; a rise while the \
                 training loss falls is overfitting."
            ),
        ),
        (
            svg_energy(report)?,
            "Energy on one batch while the values relax. It should fall and level off; where it \
             is still falling at the last step, more steps would change the gradients."
                .to_owned(),
        ),
    ];
    let mut out = String::new();
    for (svg, caption) in pictures {
        let Some(svg) = svg else { continue };
        out += &format!("<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>\n");
    }
    for svg in svg_vertex_energies(report)? {
        out += &format!(
            "<figure>\n{svg}<figcaption>Energy of each vertex on the same batch, with the loss \
             where it has one (by Z-IL as it is when the vertex's level learns). A vertex that no \
             error has reached has none yet, and no point here. Of many vertices those with the \
             most are drawn; report.json has all.</figcaption>\n</figure>\n"
        );
    }
    if out.is_empty() {
        return Ok(out);
    }
    Ok(format!("<h2>Curves</h2>\n<div class=\"figures\">\n{out}</div>\n"))
}

fn agreement(report: &Report) -> Result<String, ReportError> {
    let runs = layered(report);
    if runs.is_empty() {
        return Ok(String::new());
    }
    let mut out = String::from("<h2>Gradients beside backprop</h2>\n");
    if let Some(svg) = svg_agreement(report)? {
        out += &format!(
            "<figure class=\"wide\">\n{svg}<figcaption>Each layer's weight gradient beside the one \
             backprop finds at the same weights on the same batch. A mark on the grey line \
             agrees with backprop.</figcaption>\n</figure>\n"
        );
    }
    out += "<div class=\"scroll\"><table class=\"pairs\">\n\
            <thead>\n<tr><th scope=\"col\" rowspan=\"2\">layer</th>";
    for (place, run) in &runs {
        let name = escape(&run.schedule);
        let swatch = swatch(*place);
        out += &format!("<th scope=\"colgroup\" colspan=\"2\">{swatch}{name}</th>");
    }
    out += "</tr>\n<tr>";
    for _ in &runs {
        out += "<th scope=\"col\">cosine</th><th scope=\"col\">norm ratio</th>";
    }
    out += "</tr>\n</thead>\n<tbody>\n";
    for name in layer_names(report) {
        out += &format!("<tr><th scope=\"row\">{}</th>", escape(name));
        for (_, run) in &runs {
            let layer = layer(run, name);
            let cosine = fixed(layer.map(|l| l.cosine), 5);
            let ratio = ratio(layer.map(|l| l.norm_ratio));
            out += &format!("<td>{cosine}</td><td>{ratio}</td>");
        }
        out += "</tr>\n";
    }
    out += "</tbody>\n</table></div>\n";
    Ok(out)
}
