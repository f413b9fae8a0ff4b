//! Reads one TOML table key by key: types, ranges and unknown keys are checked here, with places.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problems;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table that is being read.
pub(super) struct Section<'a, 'i> {
    table: &'a DeTable<'i>,
    /// As in the text, for messages: `[sources.primary]`.
    pub(super) name: String,
    /// Where the table begins.
    pub(super) span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    pub(super) fn new(table: &'a DeTable<'i>, name: String, span: Range<usize>) -> Self {
        Self { table, name, span, known: Vec::new() }
    }

    /// The raw value of a key, which is known from now on.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    /// Whether the table has a key, which is known from now on.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// A string.
    pub(super) fn text(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<Placed<String>> {
        let value = self.value(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(Placed { value: text.to_owned(), span: value.span() }),
            None => {
                problems.report(value.span(), wrong_type(key, "a string", value));
                None
            }
        }
    }

    /// A string that has to be there and to hold something.
    pub(super) fn required_text(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<Placed<String>> {
        if !self.has(key) {
            problems.report_missing(self.span.clone(), format!("{} has no `{key}`", self.name));
            return None;
        }
        let text = self.text(key, problems)?;
        if text.value.trim().is_empty() {
            problems.report(text.span, format!("`{key}` is empty"));
            return None;
        }
        Some(text)
    }

    /// A whole number in a range.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
        problems: &mut Problems<'_>,
    ) -> Option<Placed<i64>> {
        let value = self.value(key)?;
        number_of(value, key, range, problems)
    }

    /// A duration with a unit.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        problems: &mut Problems<'_>,
    ) -> Option<Duration> {
        let value = self.value(key)?;
        let Some(text) = value.get_ref().as_str() else {
            problems.report(value.span(), wrong_type(key, "a string with a unit, such as \"10s\"", value));
            return None;
        };
        let duration = match humantime::parse_duration(text) {
            Ok(duration) => duration,
            Err(error) => {
                problems.report(
                    value.span(),
                    format!("`{key}` is no duration ({error}): write for example \"10s\" or \"500ms\""),
                );
                return None;
            }
        };
        if !range.contains(&duration) {
            problems.report(
                value.span(),
                format!(
                    "`{key}` has to be from {} to {}",
                    humantime::format_duration(*range.start()),
                    humantime::format_duration(*range.end())
                ),
            );
            return None;
        }
        Some(duration)
    }

    /// One of several words. `refused` are words that have a meaning to come, with the reason why they are not taken.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        refused: &[(&'static str, &'static str)],
        problems: &mut Problems<'_>,
    ) -> Option<T> {
        let text = self.text(key, problems)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(*value);
        }
        if let Some((word, reason)) = refused.iter().find(|(word, _)| *word == text.value) {
            problems.report(text.span, format!("`{key} = \"{word}\"` {reason}"));
            return None;
        }
        let list = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        problems.report(text.span, format!("`{key}` is {:?} and has to be one of {list}", text.value));
        None
    }

    /// The values of an array.
    pub(super) fn array(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Vec<&'a Spanned<DeValue<'i>>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        match value.get_ref().as_array() {
            Some(array) => array.iter().collect(),
            None => {
                problems.report(value.span(), wrong_type(key, "an array", value));
                Vec::new()
            }
        }
    }

    /// The strings of an array.
    pub(super) fn texts(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Vec<Placed<String>> {
        let mut texts = Vec::new();
        for value in self.array(key, problems) {
            match value.get_ref().as_str() {
                Some(text) => texts.push(Placed { value: text.to_owned(), span: value.span() }),
                None => problems.report(value.span(), wrong_type(key, "an array of strings", value)),
            }
        }
        texts
    }

    /// A table under a key.
    pub(super) fn table(
        &mut self,
        key: &'static str,
        name: String,
        problems: &mut Problems<'_>,
    ) -> Option<Section<'a, 'i>> {
        let value = self.value(key)?;
        section_of(value, key, name, problems)
    }

    /// The tables under a key, by their own names: `[sources.primary]`.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
    ) -> Vec<(Placed<String>, Section<'a, 'i>)> {
        let Some(section) = self.table(key, format!("[{key}]"), problems) else { return Vec::new() };
        let mut tables = Vec::new();
        for (name, value) in section.table.iter() {
            let text = name.get_ref().as_ref();
            if let Some(table) = section_of(value, text, format!("[{key}.{text}]"), problems) {
                tables.push((Placed { value: text.to_owned(), span: name.span() }, table));
            }
        }
        tables.sort_by_key(|(name, _)| name.span.start);
        tables
    }

    /// Reports the keys that nothing asked for.
    pub(super) fn finish(self, problems: &mut Problems<'_>) {
        for (key, _) in self.table.iter() {
            let text = key.get_ref().as_ref();
            if self.known.contains(&text) {
                continue;
            }
            let hint = match nearest(text, &self.known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known are {}", self.known.join(", ")),
            };
            // Below a header that cannot be read, the keys of its section stand at the top.
            if self.name.is_empty() && problems.damaged {
                continue;
            }
            let within = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
            problems.report(key.span(), format!("unknown key `{text}`{within}: {hint}"));
        }
    }
}

fn section_of<'a, 'i>(
    value: &'a Spanned<DeValue<'i>>,
    key: &str,
    name: String,
    problems: &mut Problems<'_>,
) -> Option<Section<'a, 'i>> {
    match value.get_ref().as_table() {
        Some(table) => Some(Section::new(table, name, value.span())),
        None => {
            problems.report(value.span(), wrong_type(key, "a table", value));
            None
        }
    }
}

/// A whole number in a range.
pub(super) fn number_of(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    range: RangeInclusive<i64>,
    problems: &mut Problems<'_>,
) -> Option<Placed<i64>> {
    let Some(integer) = value.get_ref().as_integer() else {
        problems.report(value.span(), wrong_type(key, "a whole number", value));
        return None;
    };
    match i64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) if range.contains(&number) => Some(Placed { value: number, span: value.span() }),
        _ => {
            problems.report(value.span(), format!("`{key}` has to be from {} to {}", range.start(), range.end()));
            None
        }
    }
}

/// `key` has to be this and is that. The value itself is not shown: it may be a secret.
pub(super) fn wrong_type(key: &str, expected: &str, value: &Spanned<DeValue<'_>>) -> String {
    let article = match value.get_ref().type_str() {
        kind @ ("integer" | "array") => format!("an {kind}"),
        kind => format!("a {kind}"),
    };
    format!("`{key}` has to be {expected} and is {article}")
}

/// The word that was probably meant: at most two typing mistakes away, and fewer for short words.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance * 2 < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edit distance in which swapping two neighbours is one step.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().take(64).collect();
    let other: Vec<char> = other.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=other.len()).collect();
    for (row, a) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in other.iter().enumerate() {
            let mut best =
                (previous[column] + usize::from(a != b)).min(previous[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *a == other[column - 1] && one[row - 1] == *b {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_word() {
        let known = ["host", "port", "password", "password_env", "tls"];
        assert_eq!(nearest("hots", &known), Some("host"));
        assert_eq!(nearest("passwrd", &known), Some("password"));
        assert_eq!(nearest("tsl", &known), Some("tls"));
        assert_eq!(nearest("database", &known), None);
        assert_eq!(nearest("x", &known), None);
    }
}
