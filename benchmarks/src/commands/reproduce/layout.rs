//! How figures, sentences and tables are laid out for a terminal.

use crate::{report::figure_text, statistics::Summary};

/// Tables are cut into several where they would be wider.
const WIDTH: usize = 100;

/// Sentences are broken where they would be longer.
pub(super) const LINE: usize = 80;

/// Every string once, in the order in which they come.
pub(super) fn distinct<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut kept: Vec<&str> = Vec::new();
    for one in all {
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

/// A mean with half of its interval.
pub(super) fn spread(own: Option<Summary>) -> String {
    match own {
        None => String::new(),
        Some(own) if !own.mean.is_finite() => "not finite".to_owned(),
        Some(Summary { mean, half: None, .. }) => figure_text(mean),
        Some(Summary { mean, half: Some(half), .. }) => {
            format!("{} ± {}", figure_text(mean), figure_text(half))
        }
    }
}

/// The table in pieces that are narrow enough, each with the rows' names.
pub(super) fn cut(header: &[String], rows: &[Vec<String>]) -> Vec<(Vec<String>, Vec<Vec<String>>)> {
    let width = |column: usize| {
        let texts = rows.iter().filter_map(|row| row.get(column)).chain(header.get(column));
        texts.map(|text| text.chars().count()).max().unwrap_or(0) + 2
    };
    let mut pieces: Vec<Vec<usize>> = Vec::new();
    let mut used = WIDTH;
    for column in 1..header.len() {
        let own = width(column);
        // A published figure stays beside ours.
        let next = if header.get(column + 1).is_some_and(|name| name == "published") {
            width(column + 1)
        } else {
            0
        };
        let beside = header[column] == "published";
        if used + own + next > WIDTH && !beside || pieces.is_empty() {
            pieces.push(Vec::new());
            used = width(0);
        }
        used += own;
        if let Some(piece) = pieces.last_mut() {
            piece.push(column);
        }
    }
    let pick = |line: &[String], columns: &[usize]| {
        let places = std::iter::once(&0).chain(columns);
        places.map(|place| line.get(*place).cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    let pieces = pieces.iter();
    let piece = |columns: &Vec<usize>| {
        (pick(header, columns), rows.iter().map(|row| pick(row, columns)).collect())
    };
    pieces.map(piece).collect()
}

/// Words in lines of at most so many characters.
pub(super) fn wrapped(words: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= most {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// A sentence whose further lines are set in.
pub(super) fn hanging(sentence: &str) -> String {
    wrapped(sentence, LINE - 2).join("\n  ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_tables_are_cut_and_keep_published_figures_beside_ours() {
        let name = |k: usize| format!("a rather long column {k:02}");
        let mut header = vec![String::new()];
        for k in 0..8 {
            header.extend([name(k), "published".to_owned()]);
        }
        let row: Vec<String> = header.iter().map(|text| text.to_uppercase()).collect();
        let pieces = cut(&header, &[row]);
        assert!(pieces.len() > 1);
        for (header, rows) in &pieces {
            assert_eq!(header.len(), rows[0].len());
            assert!(header.len() > 1 && header[1] != "published", "{header:?}");
            assert_eq!(header.last().unwrap(), "published");
        }
        assert_eq!(pieces.iter().map(|piece| piece.0.len() - 1).sum::<usize>(), 16);
    }
}
