//! What commands print: tables for people, one JSON object a line for machines.

use std::{
    io::{self, Write},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use serde_json::Value;

use crate::{error::CommandError, progress};

/// Whether this process says no more on standard error than warnings and errors.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From here on neither progress nor notes are shown (`--quiet`): results, warnings and errors are.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether quiet was asked for.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Tells people something beside the results, which is good to know and asks for nothing.
pub(crate) fn note(text: &str) {
    if !is_quiet() {
        progress::beside(text);
    }
}

/// Warns of something that may not be as it was meant.
pub(crate) fn warn(text: &str) {
    progress::beside(&format!("warning: {text}"));
}

/// Where a command's findings go: standard output, in one of two forms. Progress and errors go to
/// standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    json: bool,
}

impl Output {
    /// For machines (`--json`) or for people.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether machines read it.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints text for people; machines do not get it.
    ///
    /// # Errors
    /// Where standard output takes no more.
    pub fn text(self, text: &str) -> Result<(), CommandError> {
        if self.json { Ok(()) } else { line(text) }
    }

    /// Prints one JSON object on a line of its own, with its kind under `"event"`; people do not
    /// get it. The last event of a command is `summary`.
    ///
    /// # Errors
    /// Where standard output takes no more.
    pub fn event(self, event: &str, fields: Value) -> Result<(), CommandError> {
        if !self.json {
            return Ok(());
        }
        let mut object = serde_json::Map::new();
        object.insert("event".to_owned(), event.into());
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        line(&Value::Object(object).to_string())
    }
}

fn line(text: &str) -> Result<(), CommandError> {
    bytes(format!("{}\n", text.trim_end()).as_bytes())
}

/// Prints bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CommandError::Closed,
        _ => CommandError::io("write to", Path::new("standard output"), &error),
    })
}

/// Three rules and no vertical lines, so that the numbers have the room.
const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// A table as text. The first `left` columns are words and start at the left, the others are
/// figures and end at the right.
pub fn table<S: AsRef<str>>(header: &[&str], left: usize, rows: &[Vec<S>]) -> String {
    let cell = |(column, text): (usize, &str)| match column < left {
        true => Cell::new(text),
        false => Cell::new(text).set_alignment(CellAlignment::Right),
    };
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(header.iter().copied().enumerate().map(cell).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.iter().map(AsRef::as_ref).enumerate().map(cell).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A small figure with its power of ten, such as `3.1e-16`; `0` for zero, `-` for none.
pub fn small(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_words_left_and_figures_right() {
        let text = table(&["what", "figure"], 1, &[vec!["a", "1"], vec!["longer", "12345678"]]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "what      figure");
        assert_eq!(lines[3], "a              1");
    }

    #[test]
    fn small_figures_keep_their_power() {
        assert_eq!(small(Some(3.14e-16)), "3.1e-16");
        assert_eq!([small(Some(0.0)), small(None), small(Some(f64::NAN))], ["0", "-", "NaN"]);
    }
}
