//! Tables for a terminal.

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};

use super::{
    compare::{layer, layer_names, layered, run_rows, run_titles},
    contents::{Report, Run},
    format::{clean, distinct, fixed, shorten},
};

/// Three rules and no vertical lines, so that the numbers have the room.
const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

const NARROWEST: u16 = 60;
/// Columns of the terminal between the texts of two columns of a table.
const GAP: usize = 2;
const LONGEST_LAYER: usize = 22;

/// The comparison as text for a terminal of 80 columns.
///
/// One table has a line per run; where runs were compared with backprop layer by layer, another
/// has a line per layer. Missing numbers are shown as `-`.
pub fn table(report: &Report) -> String {
    table_at(report, 80)
}

/// Like [`table()`], for a terminal of another width (at least 60 columns).
pub fn table_at(report: &Report, width: u16) -> String {
    let width = width.max(NARROWEST);
    let mut out = String::new();
    for line in [clean(&report.title), joined(&[&report.model, &report.data]), setting(report)] {
        if !line.is_empty() {
            out += &wrap(&line, usize::from(width));
            out.push('\n');
        }
    }
    if report.runs.is_empty() {
        out += "no runs\n";
        return out;
    }
    push(&mut out, &runs(report, width));
    let compared = layered(report);
    let names = layer_names(report);
    let shown = distinct(&names, LONGEST_LAYER);
    let longest = shown.iter().map(|name| name.chars().count()).max();
    let name_width = longest.unwrap_or(0).max("layer".len()) + 1;
    let fit = (usize::from(width).saturating_sub(name_width) / (PAIR + GAP)).max(1);
    for some in compared.chunks(fit) {
        out += "\nweight gradients beside backprop\n";
        push(&mut out, &layers(&names, &shown, some));
    }
    out
}

fn push(out: &mut String, table: &Table) {
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// The texts that are not empty, side by side.
fn joined(texts: &[&str]) -> String {
    let kept = texts.iter().filter(|text| !text.trim().is_empty());
    let kept: Vec<String> = kept.map(|text| clean(text)).collect();
    kept.join(" | ")
}

fn setting(report: &Report) -> String {
    let Report { seed, threads, batch, epochs, .. } = report;
    let rest = format!("seed {seed}, threads {threads}, batch {batch}, epochs {epochs}");
    joined(&[&report.backend, &rest])
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(STYLE);
    table
}

/// Leaves no room before the first column and one space after each.
fn tighten(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
}

fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn runs(report: &Report, width: u16) -> Table {
    let mut table = plain();
    let titles = run_titles(report);
    let mut header = vec![Cell::new("\nschedule")];
    header.extend(titles.iter().map(right));
    table.set_header(header);
    let rows = run_rows(report);
    // Only the names fold: a number stays on one line.
    let numbers: usize = (0..titles.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.numbers.get(column));
            let title = titles.get(column).into_iter().flat_map(|t| t.split('\n'));
            let texts = cells.map(String::as_str).chain(title);
            texts.map(|text| text.chars().count()).max().unwrap_or(0) + GAP
        })
        .sum();
    let room = usize::from(width).saturating_sub(numbers + 1).max(12);
    for row in rows {
        let mut cells = vec![Cell::new(fold(&row.schedule, room))];
        cells.extend(row.numbers.into_iter().map(right));
        table.add_row(cells);
    }
    tighten(&mut table);
    table
}

/// Width of a cosine and a norm ratio side by side.
const PAIR: usize = 20;

fn pair(cosine: &str, ratio: &str) -> String {
    format!("{cosine:>8}  {ratio:>10}")
}

fn layers(names: &[&str], shown: &[String], compared: &[(usize, &Run)]) -> Table {
    let mut table = plain();
    let titles: Vec<String> = compared.iter().map(|(_, run)| fold(&run.schedule, PAIR)).collect();
    let lines = |text: &str| text.matches('\n').count();
    let deepest = titles.iter().map(|title| lines(title)).max().unwrap_or(0);
    let mut header = vec![Cell::new(format!("{}layer", "\n".repeat(deepest + 1)))];
    for title in &titles {
        let above = "\n".repeat(deepest - lines(title));
        header.push(right(format!("{above}{title}\n{}", pair("cosine", "norm ratio"))));
    }
    table.set_header(header);
    for (name, shown) in names.iter().zip(shown) {
        let mut cells = vec![Cell::new(shown)];
        for (_, run) in compared {
            let layer = layer(run, name);
            let cosine = fixed(layer.map(|l| l.cosine), 5);
            let ratio = ratio(layer.map(|l| l.norm_ratio));
            cells.push(right(pair(&cosine, &ratio)));
        }
        table.add_row(cells);
    }
    tighten(&mut table);
    table
}

/// A norm ratio: five decimals, or an exponent where they would show nothing.
pub(super) fn ratio(value: Option<f64>) -> String {
    match value {
        Some(v) if v.is_finite() && v != 0.0 && !(1e-3..1e3).contains(&v.abs()) => {
            format!("{v:.2e}")
        }
        other => fixed(other, 5),
    }
}

/// Folds the name of a schedule to lines of at most `most` characters, first at its parenthesis.
fn fold(name: &str, most: usize) -> String {
    let name = clean(name);
    match name.split_once(" (") {
        Some((start, rest)) if name.chars().count() > most => {
            format!("{}\n{}", wrap(start, most), wrap(&format!("({rest}"), most))
        }
        _ => wrap(&name, most),
    }
}

/// Breaks a text between words into lines of at most `most` characters.
fn wrap(text: &str, most: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = shorten(word, most);
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_between_words() {
        assert_eq!(fold("standard PC (gamma 0.1, T 20)", 20), "standard PC\n(gamma 0.1, T 20)");
        assert_eq!(fold("one two three four five", 20), "one two three four\nfive");
        assert_eq!(wrap("", 19), "");
        assert_eq!(wrap("abcdefghijkl", 5), "abcd…");
    }

    #[test]
    fn ratios_keep_their_digits() {
        assert_eq!(ratio(Some(0.5)), "0.50000");
        assert_eq!(ratio(Some(2.5e-6)), "2.50e-6");
        assert_eq!(ratio(Some(0.0)), "0.00000");
        assert_eq!(ratio(Some(f64::NAN)), "-");
        assert_eq!(ratio(None), "-");
    }
}
