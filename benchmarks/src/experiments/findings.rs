//! What one seed of an experiment has found.

use serde::{Deserialize, Serialize};

use super::Context;
use crate::error::CommandError;

/// What an experiment, or a part of one, has found with one seed. All are in the order in which
/// they were given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Figures of the table.
    pub cells: Vec<Cell>,
    /// Curves of the report.
    pub curves: Vec<Curve>,
    /// Pictures of the report.
    pub galleries: Vec<Gallery>,
    /// What should hold, and whether it does.
    pub claims: Vec<Claim>,
    /// What a reader needs to judge the figures; one sentence each.
    pub notes: Vec<String>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Its row.
    pub row: String,
    /// Its column, with the unit.
    pub column: String,
    /// The figure; not a number where there is none.
    #[serde(with = "bits")]
    pub value: f64,
}

/// The points of one series of one figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The figure's title.
    pub figure: String,
    /// The series' name.
    pub series: String,
    /// What is across.
    pub x: String,
    /// What is upward.
    pub y: String,
    /// Where each point is.
    #[serde(with = "bits::pairs")]
    pub points: Vec<(f64, f64)>,
}

/// Rows of pictures, one below the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gallery {
    /// What is shown.
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// The rows.
    pub rows: Vec<PictureRow>,
}

/// Pictures side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureRow {
    /// What they are, such as `given`.
    pub label: String,
    /// From left to right.
    pub pictures: Vec<Picture>,
}

/// A picture of bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Bytes in the order of rows, columns, channels.
    pub bytes: Vec<u8>,
}

impl Picture {
    /// A picture of numbers from 0 to 1 (what lies beyond is cut off), `[channels, height, width]`
    /// in row-major order, as data sets have them.
    ///
    /// # Errors
    /// The numbers do not fill the shape; there are neither 1 nor 3 channels.
    pub fn new(
        [channels, height, width]: [usize; 3],
        numbers: &[f64],
    ) -> Result<Self, CommandError> {
        let side = height.saturating_mul(width);
        if !matches!(channels, 1 | 3) || numbers.len() != channels.saturating_mul(side) {
            return Err(CommandError::input(format!(
                "{} numbers are no picture of {channels} channels, {height} rows and {width} \
                 columns",
                numbers.len()
            )));
        }
        let mut bytes = Vec::with_capacity(numbers.len());
        for pixel in 0..side {
            for channel in 0..channels {
                // What is not a number is black.
                bytes.push((255.0 * numbers[channel * side + pixel].clamp(0.0, 1.0)).round() as u8);
            }
        }
        Ok(Self { channels, height, width, bytes })
    }
}

/// Something that should hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What, as a sentence without a full stop.
    pub what: String,
    /// Whether it does.
    pub holds: bool,
}

impl Findings {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A figure of the table; a later one for the same cell takes its place.
    pub fn cell(&mut self, row: impl Into<String>, column: impl Into<String>, value: f64) {
        let (row, column) = (row.into(), column.into());
        match self.cells.iter_mut().find(|cell| cell.row == row && cell.column == column) {
            Some(cell) => cell.value = value,
            None => self.cells.push(Cell { row, column, value }),
        }
    }

    /// The figure of a cell.
    pub fn value(&self, row: &str, column: &str) -> Option<f64> {
        let own = |cell: &&Cell| cell.row == row && cell.column == column;
        self.cells.iter().find(own).map(|cell| cell.value)
    }

    /// A series of a figure. Series of equal titles are drawn together.
    pub fn curve(
        &mut self,
        figure: impl Into<String>,
        series: impl Into<String>,
        (x, y): (&str, &str),
        points: Vec<(f64, f64)>,
    ) {
        let (figure, series) = (figure.into(), series.into());
        self.curves.push(Curve { figure, series, x: x.to_owned(), y: y.to_owned(), points });
    }

    /// Rows of pictures, each with its label.
    pub fn gallery(
        &mut self,
        title: impl Into<String>,
        caption: impl Into<String>,
        rows: Vec<(&str, Vec<Picture>)>,
    ) {
        let rows = rows.into_iter();
        let rows = rows.map(|(label, pictures)| PictureRow { label: label.to_owned(), pictures });
        let (title, caption) = (title.into(), caption.into());
        self.galleries.push(Gallery { title, caption, rows: rows.collect() });
    }

    /// Something that should hold, as a sentence without a full stop. Where it does not, the
    /// command says so and exits with 1.
    pub fn claim(&mut self, what: impl Into<String>, holds: bool) {
        self.claims.push(Claim { what: what.into(), holds });
    }

    /// What a reader needs to judge the figures.
    pub fn note(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        if !self.notes.contains(&sentence) {
            self.notes.push(sentence);
        }
    }

    /// Adds what a part has found.
    pub fn add(&mut self, part: Self) {
        for Cell { row, column, value } in part.cells {
            self.cell(row, column, value);
        }
        self.curves.extend(part.curves);
        self.galleries.extend(part.galleries);
        self.claims.extend(part.claims);
        part.notes.into_iter().for_each(|sentence| self.note(sentence));
    }

    /// Adds what a part finds, which a saved run does not compute again: see [`Context::part`].
    ///
    /// # Errors
    /// As of `compute`; where an end was asked for.
    pub fn part<'a>(
        &mut self,
        context: &mut Context<'a>,
        name: &str,
        compute: impl FnOnce(&mut Context<'a>) -> Result<Self, CommandError>,
    ) -> Result<(), CommandError> {
        let part = context.part(name, compute)?;
        self.add(part);
        Ok(())
    }
}

/// Numbers as their bits, so that they come back as they were, those that are not finite too.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    fn word(value: f64) -> String {
        format!("{:016x}", value.to_bits())
    }

    fn value<E: Error>(word: &str) -> Result<f64, E> {
        u64::from_str_radix(word, 16)
            .map(f64::from_bits)
            .map_err(|_| E::custom(format!("`{word}` is not the bits of a number")))
    }

    pub(super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&word(*number))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        value(&String::deserialize(from)?)
    }

    pub(super) mod pairs {
        use serde::{Deserialize, Deserializer, Serializer};

        use super::{value, word};

        pub(in super::super) fn serialize<S: Serializer>(
            points: &[(f64, f64)],
            to: S,
        ) -> Result<S::Ok, S::Error> {
            to.collect_seq(points.iter().map(|(x, y)| (word(*x), word(*y))))
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Vec<(f64, f64)>, D::Error> {
            let words: Vec<(String, String)> = Vec::deserialize(from)?;
            words.iter().map(|(x, y)| Ok((value(x)?, value(y)?))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_come_back_to_the_same_bits() {
        let mut findings = Findings::new();
        findings.cell("a", "b", 0.1 + 0.2);
        findings.cell("a", "c", f64::NEG_INFINITY);
        findings.curve("f", "s", ("x", "y"), vec![(1.0 / 3.0, -0.0), (2.0, 1e-310)]);
        let picture = Picture::new([3, 1, 2], &[0.0, 1.0, 0.5, 2.0, -1.0, f64::NAN]).unwrap();
        assert_eq!(picture.bytes, [0, 128, 0, 255, 255, 0]);
        findings.gallery("g", "", vec![("given", vec![picture])]);
        findings.claim("it holds", true);
        findings.note("once");
        findings.note("once");
        let text = serde_json::to_string(&findings).unwrap();
        let back: Findings = serde_json::from_str(&text).unwrap();
        assert_eq!(back, findings);
        assert_eq!(back.curves[0].points[0].1.to_bits(), (-0.0f64).to_bits());
        assert_eq!(back.notes.len(), 1);
        assert!(serde_json::from_str::<Findings>(&text.replace("fff0", "fgf0")).is_err());
    }

    #[test]
    fn a_cell_is_given_once() {
        let mut findings = Findings::new();
        findings.cell("a", "b", 1.0);
        let mut part = Findings::new();
        part.cell("a", "b", 2.0);
        findings.add(part);
        assert_eq!(findings.value("a", "b"), Some(2.0));
        assert_eq!(findings.cells.len(), 1);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert!(Picture::new([2, 1, 1], &[0.0, 0.0]).is_err());
        assert!(Picture::new([1, 2, 2], &[0.0; 3]).is_err());
    }
}
