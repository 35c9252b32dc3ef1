//! Numbers and text as they are shown.

/// Shown in place of a number that is missing or not finite.
pub(super) const MISSING: &str = "-";

/// A number with a fixed count of decimals; never a negative zero.
pub(super) fn fixed(value: Option<f64>, decimals: usize) -> String {
    match finite(value) {
        Some(value) => {
            let text = format!("{value:.decimals$}");
            let zero = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
            if zero { text.trim_start_matches('-').to_owned() } else { text }
        }
        None => MISSING.to_owned(),
    }
}

/// Like [`fixed`], with a plus sign before positive numbers.
pub(super) fn signed(value: Option<f64>, decimals: usize) -> String {
    let text = fixed(value, decimals);
    let positive = text.chars().any(|c| c.is_ascii_digit() && c != '0') && !text.starts_with('-');
    if positive { format!("+{text}") } else { text }
}

/// About four significant digits, with an exponent for very small and very large numbers.
pub(super) fn short(value: Option<f64>) -> String {
    match finite(value) {
        None => MISSING.to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) => {
            let size = value.abs();
            if !(1e-3..1e5).contains(&size) {
                format!("{value:.2e}")
            } else if size >= 1000.0 {
                format!("{value:.0}")
            } else if size >= 100.0 {
                format!("{value:.1}")
            } else if size >= 10.0 {
                format!("{value:.2}")
            } else if size >= 1.0 {
                format!("{value:.3}")
            } else {
                format!("{value:.4}")
            }
        }
    }
}

/// Seconds, or thousands of them, with decimals that suit the largest number of the column.
pub(super) fn decimals_for(values: impl Iterator<Item = f64>) -> usize {
    let largest = values.filter(|v| v.is_finite()).fold(0.0_f64, |a, v| a.max(v.abs()));
    if largest >= 1000.0 {
        0
    } else if largest >= 100.0 {
        1
    } else if largest >= 1.0 {
        2
    } else {
        3
    }
}

/// The value if it is there and finite.
pub(super) fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|v| v.is_finite())
}

/// Text without control characters, which neither a terminal nor XML should receive.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .filter(|c| !matches!(c, '\u{fffe}' | '\u{ffff}'))
        .collect()
}

/// Text of at most `most` characters, ending in an ellipsis where something was left out.
pub(super) fn shorten(text: &str, most: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= most {
        return text;
    }
    let mut kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept.truncate(kept.trim_end().len());
    kept.push('…');
    kept
}

/// Text of at most `most` characters that keeps its start and its end.
fn shorten_middle(text: &str, most: usize) -> String {
    let text = clean(text);
    let length = text.chars().count();
    if length <= most {
        return text;
    }
    let end = most / 3;
    let start = most.saturating_sub(end + 1);
    let first: String = text.chars().take(start).collect();
    let last: String = text.chars().skip(length - end).collect();
    format!("{first}…{last}")
}

/// Names of at most `most` characters that stay apart: where one is too long, what all of them
/// share at the start and at the end is left out first.
pub(super) fn distinct(names: &[&str], most: usize) -> Vec<String> {
    let names: Vec<String> = names.iter().map(|name| clean(name)).collect();
    if names.iter().all(|name| name.chars().count() <= most) {
        return names;
    }
    let (before, after) = shared(&names);
    let cut = |name: &String| {
        let kept: String =
            name.chars().take(name.chars().count().saturating_sub(after)).skip(before).collect();
        let mark = |left_out: usize| if left_out > 0 { "…" } else { "" };
        shorten_middle(&format!("{}{kept}{}", mark(before), mark(after)), most)
    };
    names.iter().map(cut).collect()
}

/// Characters that all names share at the start and at the end, up to a separator.
fn shared(names: &[String]) -> (usize, usize) {
    let Some(first) = names.first().filter(|_| names.len() > 1) else {
        return (0, 0);
    };
    let common = |first: &mut dyn Iterator<Item = char>, backwards: bool| {
        let first: Vec<char> = first.collect();
        let same = |name: &String| {
            let mut chars: Vec<char> = name.chars().collect();
            if backwards {
                chars.reverse();
            }
            first.iter().zip(&chars).take_while(|(a, b)| a == b).count()
        };
        let length = names.iter().map(same).min().unwrap_or(0);
        let separator = |c: &char| matches!(c, '.' | '_' | '/' | ':' | ' ' | '-');
        let shared = first.get(..length).unwrap_or_default();
        shared.iter().rposition(separator).map_or(0, |at| at + 1)
    };
    let before = common(&mut first.chars(), false);
    let after = common(&mut first.chars().rev(), true);
    let shortest = names.iter().map(|name| name.chars().count()).min();
    if before + after < shortest.unwrap_or(0) { (before, after) } else { (before, 0) }
}

/// Text safe inside HTML elements and quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_plainly() {
        assert_eq!(fixed(Some(1.234), 2), "1.23");
        assert_eq!(fixed(Some(-0.0001), 2), "0.00");
        assert_eq!(fixed(Some(f64::NAN), 2), "-");
        assert_eq!(fixed(None, 2), "-");
        assert_eq!(signed(Some(0.5), 2), "+0.50");
        assert_eq!(signed(Some(-0.5), 2), "-0.50");
        assert_eq!(signed(Some(0.001), 2), "0.00");
        assert_eq!(signed(None, 2), "-");
    }

    #[test]
    fn short_numbers_keep_four_digits() {
        assert_eq!(short(Some(0.0)), "0");
        assert_eq!(short(Some(1234.5)), "1234");
        assert_eq!(short(Some(12.345)), "12.35");
        assert_eq!(short(Some(0.012_34)), "0.0123");
        assert_eq!(short(Some(1.5e-7)), "1.50e-7");
        assert_eq!(short(Some(-2e9)), "-2.00e9");
        assert_eq!(short(Some(f64::INFINITY)), "-");
    }

    #[test]
    fn long_names_stay_apart() {
        let names = ["encoder.block1.attention.weight", "encoder.block12.attention.weight"];
        assert_eq!(distinct(&names, 18), ["…block1…", "…block12…"]);
        assert_eq!(distinct(&["a.weight", "b.weight"], 18), ["a.weight", "b.weight"]);
        assert_eq!(distinct(&["block10.weight"], 12), ["block10…ight"]);
        assert_eq!(distinct(&["a.a.a", "a.a.a"], 4), ["…a"; 2]);
        assert!(distinct(&[], 4).is_empty());
    }

    #[test]
    fn text_is_cleaned_shortened_and_escaped() {
        assert_eq!(clean("a\u{1b}[0mb"), "a [0mb");
        assert_eq!(shorten("standard", 8), "standard");
        assert_eq!(shorten("standard PC", 10), "standard…");
        assert_eq!(shorten_middle("block10.weight", 12), "block10…ight");
        assert_eq!(shorten_middle("bias", 12), "bias");
        assert_eq!(escape("<a b='\"&'>"), "&lt;a b=&#39;&quot;&amp;&#39;&gt;");
        assert_eq!(escape("a\0b\nc"), "a b\nc");
    }
}
