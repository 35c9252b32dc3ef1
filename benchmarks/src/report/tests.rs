use super::fixtures::{broken, sample, vertices};
use super::*;

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

/// Checks that every tag closes in order and that attributes are quoted.
fn check_nesting(svg: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a stray > before {start}");
        let end = start + rest[start..].find('>').expect("a tag that ends");
        let tag = &rest[start + 1..end];
        assert_eq!(count(tag, "\"") % 2, 0, "quotes in <{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap_or_default().into());
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

fn all_svgs(report: &Report) -> Vec<String> {
    let single = [
        svg_accuracy(report).unwrap(),
        svg_train_loss(report).unwrap(),
        svg_test_loss(report).unwrap(),
        svg_energy(report).unwrap(),
        svg_agreement(report).unwrap(),
    ];
    let mut all: Vec<String> = single.into_iter().flatten().collect();
    all.extend(svg_vertex_energies(report).unwrap());
    all.push(svg_curves(report).unwrap());
    all
}

#[test]
fn table_shows_the_runs_and_the_layers() {
    let text = table(&sample());
    let line = |start: &str| {
        let found = text.lines().find(|line| line.trim_start().starts_with(start));
        let words = found.unwrap_or_default().split_whitespace();
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("backprop ")[1..], ["97.95", "0.00", "12.3", "1.00", "-", "-"]);
    assert!(text.contains("-0.83"));
    assert!(text.contains("14.98"));
    assert!(text.contains("0.83000"));
    assert_eq!(
        line("linear 0"),
        ["linear", "0", "1.00000", "0.12000", "0.83000", "0.04000", "0.62000", "0.90000"]
    );
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn many_schedules_still_fit_the_terminal() {
    let mut report = sample();
    for k in 0..6 {
        let mut run = report.runs[1].clone();
        run.schedule = format!("fixed prediction with a long remark number {k}");
        report.runs.push(run);
    }
    let text = table(&report);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_eq!(count(&text, "weight gradients beside backprop"), 3);
    let narrow = table_at(&report, 10);
    assert!(narrow.lines().count() > text.lines().count());
}

#[test]
fn numbers_of_a_column_end_together() {
    let text = table(&sample());
    let ends = |digits: &str| {
        let line = text.lines().find(|line| line.contains(digits));
        line.and_then(|line| line.find(digits)).map(|at| at + digits.len())
    };
    assert_eq!(ends(" 12.3"), ends("101.9"));
    assert_eq!(ends(" 12.3"), ends("184.4"));
}

#[test]
fn missing_numbers_are_dashes() {
    let text = table(&broken());
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    let page = html::page(&broken()).unwrap();
    assert!(!page.contains("NaN"));
    assert!(page.contains("<td>-</td>"));
    assert!(page.contains("no values to show"));
    for svg in all_svgs(&broken()) {
        check_nesting(&svg);
        assert!(!svg.contains("NaN"));
    }
}

#[test]
fn a_comparison_without_accuracy_shows_the_loss() {
    let mut report = sample();
    for run in &mut report.runs {
        run.test_accuracy = None;
        for epoch in &mut run.curve {
            epoch.test_accuracy = None;
        }
    }
    assert!(table(&report).contains("0.10100"));
    assert_eq!(svg_accuracy(&report).unwrap(), None);
    assert!(svg_curves(&report).unwrap().contains("Test loss"));
}

#[test]
fn what_is_held_out_is_nowhere_called_test() {
    let shown = |report: &Report| {
        let mut all = all_svgs(report);
        all.extend([table(report), html::page(report).unwrap()]);
        all.join("\n").to_lowercase()
    };
    let mut report = Report { validation: true, data: "held out".into(), ..sample() };
    let mut without = report.clone();
    for run in &mut without.runs {
        run.test_accuracy = None;
        for epoch in &mut run.curve {
            epoch.test_accuracy = None;
        }
    }
    for report in [&report, &without] {
        let text = shown(report);
        let at = text.find("test");
        assert!(at.is_none(), "{:?}", at.map(|at| &text[at - 40..at + 40]));
        assert!(text.contains("validation loss by epoch"));
    }
    assert!(shown(&report).contains("validation accuracy"));
    report.validation = false;
    assert!(shown(&report).contains("test accuracy") && !shown(&report).contains("validation"));
}

#[test]
fn empty_reports_are_shown() {
    let mut report = Report::default();
    assert!(table(&report).contains("no runs"));
    assert_eq!(all_svgs(&report).len(), 1);
    check_nesting(&svg_curves(&report).unwrap());
    assert!(html::page(&report).unwrap().contains("No run has finished"));
    report.runs.push(Run::default());
    assert!(html::page(&report).unwrap().ends_with("</html>\n"));
    assert!(!table(&report).is_empty());
    check_nesting(&svg_curves(&report).unwrap());
}

#[test]
fn one_epoch_is_a_mark_without_a_line() {
    let mut report = sample();
    for run in &mut report.runs {
        run.curve.truncate(1);
    }
    let svg = svg_accuracy(&report).unwrap().unwrap();
    check_nesting(&svg);
    // The first run's marker with its edge, in the legend and in the panel.
    assert_eq!(count(&svg, "<circle"), 4);
    // Every line drawn is part of the axes or the legend.
    let many = svg_accuracy(&sample()).unwrap().unwrap();
    assert_eq!(count(&many, "stroke-width=\"7\"") - count(&svg, "stroke-width=\"7\""), 3);
}

#[test]
fn pictures_are_well_formed_and_complete() {
    let report = sample();
    for svg in all_svgs(&report) {
        check_nesting(&svg);
        assert_eq!(count(&svg, "<svg"), 1);
        assert_eq!(count(&svg, "<title>"), 1);
    }
    let all = svg_curves(&report).unwrap();
    for text in [
        "Test accuracy",
        "correct (%)",
        "epoch",
        "Training loss",
        "relaxation step",
        "log scale",
        "norm ratio",
        "Direction vs backprop",
        "linear 3",
        "standard PC (gamma 0.1, T 20)",
    ] {
        assert!(all.contains(text), "{text}");
    }
}

#[test]
fn each_vertex_has_a_line_on_a_logarithmic_axis() {
    let mut report = sample();
    let [svg] = &svg_vertex_energies(&report).unwrap()[..] else { panic!("one run has them") };
    for text in ["Energy by vertex: standard PC (gamma 0.1, T 20)", "log scale", "relaxation step"]
    {
        assert!(svg.contains(text), "{text}");
    }
    for k in 0..4 {
        assert_eq!(count(svg, &format!("vertex {k}\n")), 1, "{k} in the legend");
    }
    // Of many those with the most energy are drawn, and the title says so.
    report.runs[2].vertex_energies = vertices(60);
    report.runs[2].vertex_energies.rotate_left(1);
    let svg = &svg_vertex_energies(&report).unwrap()[0];
    check_nesting(svg);
    assert!(svg.contains("Energy by vertex, 42 of 60: standard PC"), "{svg}");
    for (name, times) in [("vertex 0", 1), ("vertex 41", 1), ("vertex 42", 0)] {
        assert_eq!(count(svg, &format!("{name}\n")), times, "{name}");
    }
    report.runs[2].vertex_energies.clear();
    assert_eq!(svg_vertex_energies(&report).unwrap(), [""; 0]);
}

#[test]
fn nothing_a_user_writes_becomes_markup() {
    let mut report = sample();
    let text = "<script>alert('x' & \"y\")</script>\u{1b}\0";
    report.title = text.into();
    report.model = text.into();
    report.data = text.into();
    report.backend = text.into();
    report.command = text.into();
    report.notes = vec![text.into()];
    for run in &mut report.runs {
        run.schedule = text.into();
        run.note = text.into();
        for layer in &mut run.layers {
            layer.name = text.into();
        }
        for vertex in &mut run.vertex_energies {
            vertex.name = text.into();
        }
    }
    let page = html::page(&report).unwrap();
    assert!(!page.contains("<script"));
    assert!(!page.contains('\0') && !page.contains('\u{1b}'));
    assert!(page.contains("&lt;script&gt;"));
    for svg in all_svgs(&report) {
        check_nesting(&svg);
        assert!(!svg.contains("<script") && !svg.contains('\u{1b}'));
    }
    assert!(!table(&report).contains('\u{1b}'));
}

#[test]
fn the_page_needs_nothing_else() {
    let page = html::page(&sample()).unwrap();
    for word in ["<link", "src=", "url(", "@import", "https://"] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("pc-bench train --data mnist --epochs 10 --seed 1"));
    assert!(page.contains("0.83 points below backprop, in 14.98 times its training time."));
    assert!(page.contains("All runs start from the same weights."));
    assert!(page.contains("Weights change once per batch."));
    assert_eq!(count(&page, "<figure"), 6);
}

#[test]
fn files_are_written_whole_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("some/where");
    write(&place, &Report::default()).unwrap();
    let paths = write(&place, &sample()).unwrap();
    let names: Vec<_> = paths.iter().filter_map(|p| p.file_name()).collect();
    assert_eq!(names, ["report.html", "curves.svg", "report.json"]);
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 3);
    let json = std::fs::read_to_string(place.join("report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["runs"][2]["layers"][0]["cosine"], 0.83);
    assert_eq!(json["runs"][0]["min_cosine"], serde_json::Value::Null);
    assert_eq!(json["runs"][2]["vertex_energies"][1]["name"], "vertex 1");
    assert_eq!(json["runs"][2]["vertex_energies"][1]["trace"][0], 0.0);
    assert!(json["runs"][1].get("vertex_energies").is_none(), "it was not asked for");
}

#[test]
fn errors_name_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("taken");
    std::fs::write(&file, "").unwrap();
    let error = write(&file, &sample()).unwrap_err().to_string();
    assert!(error.contains("create folder") && error.contains("taken"), "{error}");
    let place = dir.path().join("out");
    std::fs::create_dir_all(place.join("curves.svg/kept")).unwrap();
    let error = write(&place, &sample()).unwrap_err().to_string();
    assert!(error.contains("write") && error.contains("curves.svg"), "{error}");
    let left = std::fs::read_dir(&place).unwrap();
    assert!(left.flatten().all(|f| !f.file_name().to_string_lossy().ends_with(".tmp")));
}
