//! Name patterns with `*` and `?`, and the templates of `rename` in which `*` stands for what `*` matched.

use std::fmt;
use std::ops::Range;

/// MySQL's limit for the name of a database, table or routine, in characters.
pub const MAX_NAME_CHARS: usize = 64;

/// Why a pattern or a template cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing between the dots, or nothing at all.
    #[error("{0:?} has an empty name in it")]
    Empty(String),
    /// More than `database.name`.
    #[error("{0:?} has more than one dot; write `database.table`, and put a name that has a dot itself in backquotes")]
    TooManyParts(String),
    /// A backquote that is not closed, or that stands in the middle of a bare name.
    #[error(
        "{0:?} has a backquote out of place; quote a whole name as in `my.db`, and write a backquote inside it twice"
    )]
    Backquote(String),
    /// A NUL or another character that no name can hold, or a space at the end.
    #[error("{0:?} holds a character that no name can have there")]
    Character(String),
    /// A name that is longer than MySQL allows.
    #[error("{name:?} has {length} characters, and names have at most 64")]
    TooLong {
        /// The name.
        name: String,
        /// Its characters, `*` not counted.
        length: usize,
    },
    /// `?` in a rename.
    #[error("{0:?} has a `?`, which means nothing in a rename; put the name in backquotes if it has a question mark")]
    QuestionMark(String),
}

/// Lower case as MySQL's `lower_case_table_names` folds names: one character for one character.
pub(super) fn fold_char(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) => single,
        _ => character,
    }
}

/// A whole name folded by [`fold_char`].
pub(super) fn fold(name: &str) -> String {
    name.chars().map(fold_char).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`: exactly one character.
    Any,
    /// `*`: any number of characters.
    Run,
}

/// One name or a glob of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
}

impl Pattern {
    /// The name itself if the pattern has neither `*` nor `?`.
    pub fn exact(&self) -> Option<String> {
        self.tokens
            .iter()
            .map(|token| match token {
                Token::Literal(character) => Some(*character),
                Token::Any | Token::Run => None,
            })
            .collect()
    }

    /// Whether the pattern names one name only.
    pub fn is_exact(&self) -> bool {
        self.tokens.iter().all(|token| matches!(token, Token::Literal(_)))
    }

    /// Whether the pattern is `*` and so matches every name.
    pub fn is_everything(&self) -> bool {
        !self.tokens.is_empty() && self.tokens.iter().all(|token| matches!(token, Token::Run))
    }

    /// How many `*` it has.
    pub fn runs(&self) -> usize {
        self.tokens.iter().filter(|token| matches!(token, Token::Run)).count()
    }

    /// Whether it has a `?`.
    pub fn has_any(&self) -> bool {
        self.tokens.iter().any(|token| matches!(token, Token::Any))
    }

    /// Its characters other than `*` and `?`.
    pub(super) fn literals(&self) -> impl Iterator<Item = char> + '_ {
        self.tokens.iter().filter_map(|token| match token {
            Token::Literal(character) => Some(*character),
            Token::Any | Token::Run => None,
        })
    }

    /// What each `*` matched, as byte ranges of `name`; `None` if the name does not match. Every `*` but the last takes
    /// as little as it can. With `folded`, letters compare without case.
    pub fn captures(&self, name: &str, folded: bool) -> Option<Vec<Range<usize>>> {
        let mut captures: Vec<Range<usize>> = Vec::new();
        let mut token = 0;
        let mut at = 0;
        // The last `*` met: its token and where its text ends at present. Only the last one ever needs to grow.
        let mut run: Option<(usize, usize)> = None;
        loop {
            let character = name[at..].chars().next();
            match (self.tokens.get(token), character) {
                (None, None) => return Some(captures),
                (Some(Token::Run), _) => {
                    run = Some((token, at));
                    captures.push(at..at);
                    token += 1;
                    continue;
                }
                (Some(Token::Any), Some(character)) => {
                    token += 1;
                    at += character.len_utf8();
                    continue;
                }
                (Some(Token::Literal(literal)), Some(character))
                    if *literal == character || (folded && fold_char(*literal) == fold_char(character)) =>
                {
                    token += 1;
                    at += character.len_utf8();
                    continue;
                }
                _ => {}
            }
            let (run_token, end) = run?;
            let end = end + name[end..].chars().next()?.len_utf8();
            run = Some((run_token, end));
            if let Some(capture) = captures.last_mut() {
                capture.end = end;
            }
            token = run_token + 1;
            at = end;
        }
    }

    /// Whether the name matches.
    pub fn matches(&self, name: &str, folded: bool) -> bool {
        if self.is_everything() {
            return true;
        }
        self.captures(name, folded).is_some()
    }

    /// Whether a name that matches can begin with this.
    pub(super) fn can_begin_with(&self, beginning: &str, folded: bool) -> bool {
        let mut characters = beginning.chars();
        for token in &self.tokens {
            let matches = match (token, characters.next()) {
                (Token::Run, _) | (_, None) => return true,
                (Token::Any, Some(_)) => true,
                (Token::Literal(literal), Some(character)) => {
                    *literal == character || (folded && fold_char(*literal) == fold_char(character))
                }
            };
            if !matches {
                return false;
            }
        }
        characters.next().is_none()
    }

    /// The name with these texts in place of each `*`, in order. For patterns without `?`.
    pub(super) fn filled<'a>(&self, texts: &mut impl Iterator<Item = &'a str>) -> String {
        let mut name = String::new();
        for token in &self.tokens {
            match token {
                Token::Literal(character) => name.push(*character),
                // Patterns that are renamed and templates have none, and validation makes sure that there is a text for each `*`.
                Token::Any => {}
                Token::Run => name.push_str(texts.next().unwrap_or_default()),
            }
        }
        name
    }

    /// The texts between its `*`: one less than it has `*`. For patterns without `?`.
    pub(super) fn separators(&self) -> Vec<String> {
        let mut parts = vec![String::new()];
        for token in &self.tokens {
            match (token, parts.last_mut()) {
                (Token::Run, _) => parts.push(String::new()),
                (Token::Literal(character), Some(part)) => part.push(*character),
                _ => {}
            }
        }
        // Before the first and after the last stands no separator.
        parts.pop();
        parts.drain(..1.min(parts.len()));
        parts
    }

    /// The text as a configuration would have it, in one canonical spelling.
    pub(super) fn canonical(&self) -> String {
        let needs_quotes = self.literals().any(|character| matches!(character, '*' | '?' | '.' | '`'));
        if needs_quotes && self.is_exact() {
            return format!("`{}`", self.literals().collect::<String>().replace('`', "``"));
        }
        self.tokens
            .iter()
            .map(|token| match token {
                Token::Literal(character) => *character,
                Token::Any => '?',
                Token::Run => '*',
            })
            .collect()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.canonical())
    }
}

/// Reads `database` or `database.name`: one or two patterns. A part in backquotes is one literal name; elsewhere `*` and
/// `?` are wildcards and a dot separates.
pub fn parse_patterns(text: &str) -> Result<Vec<Pattern>, PatternError> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (tokens, after) = parse_part(text, rest)?;
        let length = tokens.iter().filter(|token| !matches!(token, Token::Run)).count();
        if length > MAX_NAME_CHARS {
            return Err(PatternError::TooLong { name: text.to_owned(), length });
        }
        parts.push(Pattern { tokens });
        match after {
            None => break,
            Some(after) => rest = after,
        }
    }
    if parts.len() > 2 {
        return Err(PatternError::TooManyParts(text.to_owned()));
    }
    Ok(parts)
}

/// Reads one part; the second value is what follows the dot.
fn parse_part<'a>(whole: &str, text: &'a str) -> Result<(Vec<Token>, Option<&'a str>), PatternError> {
    let mut tokens = Vec::new();
    let after;
    if let Some(quoted) = text.strip_prefix('`') {
        let mut characters = quoted.char_indices().peekable();
        let rest = loop {
            match characters.next() {
                None => return Err(PatternError::Backquote(whole.to_owned())),
                Some((at, '`')) => {
                    if characters.next_if(|(_, next)| *next == '`').is_some() {
                        tokens.push(Token::Literal('`'));
                    } else {
                        break &quoted[at + 1..];
                    }
                }
                Some((_, character)) => tokens.push(Token::Literal(character)),
            }
        };
        after = match rest.strip_prefix('.') {
            Some(after) => Some(after),
            None if rest.is_empty() => None,
            None => return Err(PatternError::Backquote(whole.to_owned())),
        };
    } else {
        let (part, rest) = match text.split_once('.') {
            Some((part, rest)) => (part, Some(rest)),
            None => (text, None),
        };
        if part.contains('`') {
            return Err(PatternError::Backquote(whole.to_owned()));
        }
        tokens.extend(part.chars().map(|character| match character {
            '*' => Token::Run,
            '?' => Token::Any,
            other => Token::Literal(other),
        }));
        after = rest;
    }
    if tokens.is_empty() {
        return Err(PatternError::Empty(whole.to_owned()));
    }
    let bad = |token: &Token| matches!(token, Token::Literal(character) if character.is_control() || *character as u32 > 0xFFFF);
    if tokens.iter().any(bad) || tokens.last() == Some(&Token::Literal(' ')) {
        return Err(PatternError::Character(whole.to_owned()));
    }
    Ok((tokens, after))
}

/// The new name of a rule: literal text and `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pattern: Pattern,
}

impl Template {
    /// A template from one part of a parsed rename.
    pub fn new(pattern: Pattern, text: &str) -> Result<Self, PatternError> {
        if pattern.has_any() {
            return Err(PatternError::QuestionMark(text.to_owned()));
        }
        Ok(Self { pattern })
    }

    /// The template as a pattern: every name that it can produce matches it.
    pub(super) fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The new name, taking the text of each `*` from `texts` in order.
    pub(super) fn fill<'a>(&self, texts: &mut impl Iterator<Item = &'a str>) -> String {
        self.pattern.filled(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Pattern {
        parse_patterns(text).unwrap().remove(0)
    }

    fn captured<'a>(pattern: &str, name: &'a str) -> Option<Vec<&'a str>> {
        one(pattern).captures(name, false).map(|ranges| ranges.into_iter().map(|range| &name[range]).collect())
    }

    #[test]
    fn a_star_takes_what_the_rest_leaves() {
        assert_eq!(captured("shop_*", "shop_"), Some(vec![""]));
        assert_eq!(captured("shop_*", "shop_eu"), Some(vec!["eu"]));
        assert_eq!(captured("shop_*", "Shop_eu"), None);
        assert_eq!(captured("*_log", "a_log_log"), Some(vec!["a_log"]));
        assert_eq!(captured("a*b*c", "aXbYbZc"), Some(vec!["X", "YbZ"]));
        assert_eq!(captured("a*b*c", "abcd"), None);
        assert_eq!(captured("t?", "t"), None);
        assert_eq!(captured("t?", "té"), Some(vec![]));
        assert_eq!(captured("*", "数据"), Some(vec!["数据"]));
        assert_eq!(captured("*据*", "数据库"), Some(vec!["数", "库"]));
        assert_eq!(captured("**", "ab"), Some(vec!["", "ab"]));
        assert!(one("SHOP_É*").captures("shop_é1", true).is_some());
    }

    #[test]
    fn matching_ends_in_reasonable_time_on_hostile_patterns() {
        let name = "a".repeat(255);
        assert_eq!(one("a*a*a*a*a*a*a*a*a*a*b").captures(&name, false), None);
    }

    #[test]
    fn backquotes_make_a_part_literal() {
        assert_eq!(one("`my.db`").exact().as_deref(), Some("my.db"));
        assert_eq!(one("`a``b*`").exact().as_deref(), Some("a`b*"));
        let parts = parse_patterns("`my.db`.t*").unwrap();
        assert_eq!((parts.len(), parts[0].to_string(), parts[1].to_string()), (2, "`my.db`".into(), "t*".into()));
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        for (text, expected) in [
            ("", "empty"),
            ("a.", "empty"),
            (".a", "empty"),
            ("``", "empty"),
            ("a.b.c", "more than one dot"),
            ("a`b", "backquote"),
            ("`a", "backquote"),
            ("`a`b", "backquote"),
            ("a\0", "character"),
            ("a ", "character"),
            ("😀", "character"),
        ] {
            let error = parse_patterns(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        assert!(parse_patterns(&"n".repeat(64)).is_ok());
        assert!(matches!(parse_patterns(&"n".repeat(65)), Err(PatternError::TooLong { length: 65, .. })));
    }
}
