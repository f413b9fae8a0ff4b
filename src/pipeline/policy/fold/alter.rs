//! Which ALTER TABLE does to a table with rows what a tool does with it: alter an empty copy, and bring the rows over by the names of
//! their columns.
//!
//! What is known to lead to the same rows is let through, clause by clause and word by word. All else stops the route.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::ddl::{Context, lexemes};

use super::words::{
    CALLS_OF_COLUMNS, CALLS_OF_CONSTANTS, COLUMN_WORDS, ENGINES, EXISTING_COLUMN_WORDS, MOMENTARY_CALLS,
    MOMENTARY_WORDS, OPTIONS, has,
};

/// `sql_mode` bit of ANSI_QUOTES.
const MODE_ANSI_QUOTES: u64 = 1 << 2;
/// The oldest server of those that read binlogs here.
const OLDEST_VERSION: u32 = 50_600;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// A word without quotes.
    Word,
    /// A quoted name.
    Name,
    /// A string or a number.
    Literal,
    /// `@name`, `@@name`.
    Variable,
    /// Punctuation.
    Symbol,
}

/// A token of the text.
struct Token<'a> {
    sort: Sort,
    text: &'a [u8],
    /// A word in capitals; the text of a symbol.
    upper: Cow<'a, str>,
}

impl Token<'_> {
    fn is(&self, word: &str) -> bool {
        matches!(self.sort, Sort::Word | Sort::Symbol) && self.upper == word
    }

    fn is_name(&self) -> bool {
        matches!(self.sort, Sort::Word | Sort::Name)
    }

    /// The name as servers compare names of columns.
    fn column(&self) -> String {
        let text = String::from_utf8_lossy(self.text);
        let quote = if self.sort == Sort::Name { text.chars().next() } else { None };
        let bare = match quote {
            Some(quote) => text
                .trim_start_matches(quote)
                .strip_suffix(quote)
                .unwrap_or_default()
                .replace(&format!("{quote}{quote}"), &quote.to_string()),
            None => text.into_owned(),
        };
        bare.to_lowercase()
    }
}

/// Why an ALTER TABLE cannot be folded whose clauses begin at `from`: half a sentence. `None` where it can.
pub(super) fn refusal(sql: &[u8], from: usize, context: &Context<'_>) -> Option<String> {
    let spans = |version, mariadb| -> Vec<_> {
        lexemes(sql, &Context { version, mariadb, ..*context }).filter(|token| token.span.start >= from).collect()
    };
    let found = spans(u32::MAX, false);
    let others = [(OLDEST_VERSION, false), (u32::MAX, true), (OLDEST_VERSION, true)];
    if others.into_iter().any(|(version, mariadb)| spans(version, mariadb) != found) {
        return Some("servers differ in what they read of the version comments in it".to_owned());
    }
    let mut tokens: Vec<Token<'_>> = found
        .iter()
        .map(|found| {
            let text = sql.get(found.span.clone()).unwrap_or_default();
            let sort = match text.first() {
                _ if found.bare => Sort::Word,
                Some(b'`') => Sort::Name,
                Some(b'"') if context.sql_mode & MODE_ANSI_QUOTES != 0 => Sort::Name,
                Some(b'@') => Sort::Variable,
                Some(b'\'' | b'"' | b'0'..=b'9' | b'n' | b'N' | b'x' | b'X' | b'b' | b'B') => Sort::Literal,
                Some(b'.') if text.len() > 1 => Sort::Literal,
                _ => Sort::Symbol,
            };
            Token { sort, text, upper: upper(text) }
        })
        .collect();
    while tokens.last().is_some_and(|token| token.is(";")) {
        tokens.pop();
    }
    let mut alter = Alter::default();
    if tokens.is_empty() {
        return None;
    }
    for clause in clauses(&tokens) {
        if let Err(why) = alter.clause(clause) {
            return Some(why);
        }
    }
    alter.refilled()
}

fn upper(text: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(text) {
        Cow::Borrowed(text) if !text.bytes().any(|byte| byte.is_ascii_lowercase()) => Cow::Borrowed(text),
        text => Cow::Owned(text.to_ascii_uppercase()),
    }
}

/// The clauses, without the commas between them. PARTITION BY and REMOVE PARTITIONING follow the others without one.
fn clauses<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let (mut depth, mut start) = (0_usize, 0);
    let mut found = Vec::new();
    // REORGANIZE PARTITION names several.
    let mut names = false;
    for (index, token) in tokens.iter().enumerate() {
        if token.sort == Sort::Word && depth == 0 {
            names = (names || index == start && token.is("REORGANIZE")) && !token.is("INTO");
        }
        let next = |word: &str| tokens.get(index + 1).is_some_and(|token| token.is(word));
        match &*token.upper {
            "(" if token.sort == Sort::Symbol => depth += 1,
            ")" if token.sort == Sort::Symbol => depth = depth.saturating_sub(1),
            "," if token.sort == Sort::Symbol && depth == 0 && !names => {
                found.push(&tokens[start..index]);
                start = index + 1;
            }
            "PARTITION" if token.sort == Sort::Word && depth == 0 && next("BY") && index > start => {
                found.push(&tokens[start..index]);
                start = index;
            }
            "REMOVE" if token.sort == Sort::Word && depth == 0 && next("PARTITIONING") && index > start => {
                found.push(&tokens[start..index]);
                start = index;
            }
            _ => {}
        }
    }
    found.push(&tokens[start..]);
    found
}

/// The place behind the parenthesis that closes the one at `open`; `None` where there is none.
fn behind_parentheses(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    tokens.get(open).filter(|token| token.is("("))?;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        if token.is("(") {
            depth += 1;
        } else if token.is(")") {
            depth -= 1;
            if depth == 0 {
                return Some(index + 1);
            }
        }
    }
    None
}

/// A clause as messages show it: its first words.
fn unknown(clause: &[Token<'_>]) -> String {
    let words: Vec<&str> =
        clause.iter().take_while(|token| token.sort == Sort::Word).take(3).map(|token| &*token.upper).collect();
    let words = if words.is_empty() { "a clause of it".to_owned() } else { words.join(" ") };
    format!("it is not known that {words} does to a table with rows what it does to the tool's empty copy")
}

fn momentary(what: &str) -> String {
    format!("what {what} gives differs between the copying at the source and an ALTER TABLE at the replica")
}

/// What was read of an ALTER TABLE.
#[derive(Default)]
struct Alter {
    dropped: HashSet<String>,
    added: Vec<String>,
    /// The last clause was ORDER BY, whose columns have commas between them.
    orders: bool,
}

type Read = Result<(), String>;

impl Alter {
    /// A column that is dropped and made anew: a tool brings the values over by name.
    fn refilled(&self) -> Option<String> {
        let column = self.added.iter().find(|column| self.dropped.contains(column.as_str()))?;
        Some(format!(
            "it drops column {column} and adds one of this name: the tool fills it with the values of the old one, and an ALTER TABLE does not"
        ))
    }

    fn clause(&mut self, clause: &[Token<'_>]) -> Read {
        let word = |index: usize| match clause.get(index) {
            Some(token) if token.sort == Sort::Word => &*token.upper,
            _ => "",
        };
        let orders = std::mem::take(&mut self.orders);
        match (word(0), word(1)) {
            ("ADD", _) => self.adds(clause, &clause[1..]),
            ("DROP", _) => self.drops(clause),
            ("MODIFY", _) => {
                let at = behind_column(clause, 1);
                self.defines(clause, clause, at, EXISTING_COLUMN_WORDS)
            }
            ("CHANGE", _) => {
                let at = behind_column(clause, 1);
                let (Some(old), Some(new)) = (clause.get(at), clause.get(at + 1)) else { return Err(unknown(clause)) };
                if !old.is_name() || !new.is_name() {
                    return Err(unknown(clause));
                }
                if old.column() != new.column() {
                    return Err(renames(&old.column()));
                }
                self.defines(clause, clause, at + 1, EXISTING_COLUMN_WORDS)
            }
            ("RENAME", "COLUMN") => Err(clause.get(2).map_or_else(|| unknown(clause), |old| renames(&old.column()))),
            ("RENAME", "INDEX" | "KEY") if clause.len() == 5 => Ok(()),
            ("ALTER", _) | ("PARTITION", "BY") | ("REORGANIZE" | "COALESCE" | "REBUILD", "PARTITION") => {
                has_no_moment(clause)
            }
            ("REMOVE", "PARTITIONING") | ("ENABLE" | "DISABLE", "KEYS") if clause.len() == 2 => Ok(()),
            ("FORCE", _) if clause.len() == 1 => Ok(()),
            ("CONVERT", "TO") => options(&clause[2..], clause),
            ("ORDER", "BY") if is_ordered(&clause[2..]) => {
                self.orders = true;
                Ok(())
            }
            _ if orders && is_ordered(clause) => {
                self.orders = true;
                Ok(())
            }
            _ => options(clause, clause),
        }
    }

    /// What follows ADD.
    fn adds(&mut self, clause: &[Token<'_>], what: &[Token<'_>]) -> Read {
        let is = |index: usize, word: &str| what.get(index).is_some_and(|token| token.is(word));
        let is_key =
            ["PRIMARY", "UNIQUE", "INDEX", "KEY", "FULLTEXT", "SPATIAL", "FOREIGN"].iter().any(|word| is(0, word))
                || is(0, "VECTOR") && (is(1, "INDEX") || is(1, "KEY"));
        if is_key {
            return Ok(());
        }
        if is(0, "CONSTRAINT") || is(0, "CHECK") {
            let Some(check) = what.iter().position(|token| token.is("CHECK")) else { return Ok(()) };
            let end = behind_parentheses(what, check + 1);
            return end.map_or_else(|| Err(unknown(clause)), |end| expression(&what[check + 2..end - 1]));
        }
        if is(0, "PARTITION") && (is(1, "(") || is(1, "PARTITIONS") || is(1, "IF")) {
            return has_no_moment(what);
        }
        if is(0, "SYSTEM") && is(1, "VERSIONING") || is(0, "PERIOD") && is(1, "FOR") {
            return Err(unknown(clause));
        }
        let at = behind_column(what, 0);
        if !is(at, "(") {
            return self.defines(clause, what, at, &[]);
        }
        if behind_parentheses(what, at) != Some(what.len()) {
            return Err(unknown(clause));
        }
        for element in clauses(&what[at + 1..what.len() - 1]) {
            if element.get(behind_column(element, 0)).is_some_and(|token| token.is("(")) {
                return Err(unknown(clause));
            }
            self.adds(clause, element)?;
        }
        Ok(())
    }

    fn drops(&mut self, clause: &[Token<'_>]) -> Read {
        let is = |index: usize, word: &str| clause.get(index).is_some_and(|token| token.is(word));
        let is_key = is(1, "PRIMARY") && is(2, "KEY") && clause.len() == 3
            || is(1, "FOREIGN") && is(2, "KEY")
            || ["INDEX", "KEY", "CONSTRAINT", "CHECK"].iter().any(|word| is(1, word)) && clause.len() > 2;
        if is_key {
            return Ok(());
        }
        let at = behind_column(clause, 1);
        let (Some(name), rest) = (clause.get(at), clause.get(at + 1..).unwrap_or_default()) else {
            return Err(unknown(clause));
        };
        let alone = match rest {
            [] => true,
            [word] => word.is("RESTRICT") || word.is("CASCADE"),
            _ => false,
        };
        if !alone || !name.is_name() {
            return Err(unknown(clause));
        }
        self.dropped.insert(name.column());
        Ok(())
    }

    /// The name of a column at `at` and its definition. A new column's values come from it, so `more` words are for those that there are.
    fn defines(&mut self, clause: &[Token<'_>], tokens: &[Token<'_>], at: usize, more: &[&str]) -> Read {
        let (Some(name), Some(kind)) = (tokens.get(at), tokens.get(at + 1)) else { return Err(unknown(clause)) };
        if !name.is_name() || kind.sort != Sort::Word {
            return Err(unknown(clause));
        }
        if more.is_empty() {
            self.added.push(name.column());
        }
        definition(&tokens[at + 1..], more)
    }
}

fn renames(column: &str) -> String {
    format!(
        "it renames column {column}, and whether the tool has brought the values over to the new name is not in the binary log"
    )
}

/// The place behind COLUMN, IF EXISTS and IF NOT EXISTS.
fn behind_column(tokens: &[Token<'_>], mut at: usize) -> usize {
    let is = |index: usize, word: &str| tokens.get(index).is_some_and(|token| token.is(word));
    at += usize::from(is(at, "COLUMN"));
    if is(at, "IF") && is(at + 1, "EXISTS") {
        at += 2;
    } else if is(at, "IF") && is(at + 1, "NOT") && is(at + 2, "EXISTS") {
        at += 3;
    }
    at
}

/// A column's name, and its direction in ORDER BY.
fn is_ordered(tokens: &[Token<'_>]) -> bool {
    match tokens {
        [column] => column.is_name(),
        [column, direction] => column.is_name() && (direction.is("ASC") || direction.is("DESC")),
        _ => false,
    }
}

/// The definition of a column behind its name.
fn definition(tokens: &[Token<'_>], more: &[&str]) -> Read {
    let mut at = 0;
    let mut before = "";
    while let Some(token) = tokens.get(at) {
        let next = tokens.get(at + 1);
        match token.sort {
            Sort::Literal => {}
            Sort::Symbol if token.is("(") => {
                let end = behind_parentheses(tokens, at).ok_or_else(|| unknown(tokens))?;
                let inside = &tokens[at + 1..end - 1];
                match before {
                    "AS" | "CHECK" => expression(inside)?,
                    "DEFAULT" => constant(inside)?,
                    _ if inside.iter().any(|token| !matches!(token.sort, Sort::Literal | Sort::Symbol)) => {
                        return Err(unknown_value(before));
                    }
                    _ => {}
                }
                at = end;
                before = "";
                continue;
            }
            Sort::Symbol if ["-", "+", "="].iter().any(|symbol| token.is(symbol)) => {}
            Sort::Word if token.upper.starts_with('_') && next.is_some_and(|next| next.sort == Sort::Literal) => {}
            Sort::Word => {
                // Types that are functions, too, are types where they come first.
                let is_type = at == 0 && has(&["UUID", "VECTOR"], &token.upper);
                if !is_type && !has(COLUMN_WORDS, &token.upper) && !has(more, &token.upper) {
                    return Err(unknown_value(&token.upper));
                }
                let takes_name = matches!(&*token.upper, "AFTER" | "COLLATE" | "CHARSET")
                    || token.is("SET") && matches!(before, "CHARACTER" | "CHAR")
                    || token.is("CONSTRAINT") && !next.is_some_and(|next| next.is("CHECK"));
                before = &token.upper;
                if takes_name {
                    at += 1;
                }
            }
            Sort::Name | Sort::Variable | Sort::Symbol => return Err(unknown_value(&token.upper)),
        }
        at += 1;
    }
    Ok(())
}

fn unknown_value(what: &str) -> String {
    if has(MOMENTARY_WORDS, what) || has(MOMENTARY_CALLS, what) {
        return momentary(what);
    }
    format!(
        "it is not known that a column's definition with {what} gives the same values in the copying at the source and in an ALTER TABLE at the replica"
    )
}

/// An expression over the columns of a row, whose value depends on nothing else.
fn expression(tokens: &[Token<'_>]) -> Read {
    for (index, token) in tokens.iter().enumerate() {
        let called = tokens.get(index + 1).is_some_and(|next| next.is("("));
        let behind_point = index > 0 && tokens[index - 1].is(".");
        let known = match token.sort {
            Sort::Word if called => !behind_point && has(CALLS_OF_COLUMNS, &token.upper),
            Sort::Word => !has(MOMENTARY_WORDS, &token.upper),
            Sort::Name => !called,
            Sort::Variable => false,
            Sort::Literal | Sort::Symbol => true,
        };
        if !known {
            return Err(unknown_value(&token.upper));
        }
    }
    Ok(())
}

/// An expression of literals. One over columns gives other values where a row is changed between its copying and the swap.
fn constant(tokens: &[Token<'_>]) -> Read {
    for (index, token) in tokens.iter().enumerate() {
        let next = tokens.get(index + 1);
        let known = match token.sort {
            Sort::Word if next.is_some_and(|next| next.is("(")) => has(CALLS_OF_CONSTANTS, &token.upper),
            Sort::Word if token.upper.starts_with('_') => next.is_some_and(|next| next.sort == Sort::Literal),
            Sort::Word => has(&["NULL", "TRUE", "FALSE", "AS", "JSON", "CHAR", "SIGNED", "UNSIGNED"], &token.upper),
            Sort::Name | Sort::Variable => false,
            Sort::Literal | Sort::Symbol => true,
        };
        if !known {
            return Err(unknown_value(&token.upper));
        }
    }
    Ok(())
}

/// What cannot change a row, as long as it says the same at another time.
fn has_no_moment(tokens: &[Token<'_>]) -> Read {
    for (index, token) in tokens.iter().enumerate() {
        let called = tokens.get(index + 1).is_some_and(|next| next.is("("));
        let is_momentary = match token.sort {
            Sort::Word => has(MOMENTARY_WORDS, &token.upper) || called && has(MOMENTARY_CALLS, &token.upper),
            Sort::Variable => true,
            _ => false,
        };
        if is_momentary || token.is("SYSTEM_TIME") {
            return Err(momentary(&token.upper));
        }
    }
    Ok(())
}

/// Options of a table: words, each with a value.
fn options(mut tokens: &[Token<'_>], clause: &[Token<'_>]) -> Read {
    if tokens.is_empty() {
        return Err(unknown(clause));
    }
    while !tokens.is_empty() {
        let is = |index: usize, word: &str| tokens.get(index).is_some_and(|token| token.is(word));
        let mut at = usize::from(is(0, "DEFAULT"));
        let is_charset = is(at, "CHARSET") || is(at, "COLLATE") || is(at, "CHARACTER") && is(at + 1, "SET");
        let is_engine = is(at, "ENGINE");
        let known = tokens.get(at).is_some_and(|token| token.sort == Sort::Word && has(OPTIONS, &token.upper));
        if !is_charset && !known {
            return Err(unknown(tokens));
        }
        at += if is(at, "CHARACTER") { 2 } else { 1 };
        at += usize::from(is(at, "="));
        let Some(value) = tokens.get(at) else { return Err(unknown(tokens)) };
        let text = upper(value.text);
        let text = text.trim_matches(['\'', '"', '`']);
        if value.sort == Sort::Symbol || value.sort == Sort::Variable || is_charset && text == "DEFAULT" {
            return Err(unknown(tokens));
        }
        if is_engine && !has(ENGINES, text) {
            return Err(format!("it is not known that engine {text} keeps the rows that it is given as they are"));
        }
        tokens = &tokens[at + 1..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(clauses: &str) -> bool {
        let context =
            Context { default_database: "crm", sql_mode: 0, client_collation: 45, version: 80_040, mariadb: false };
        refusal(clauses.as_bytes(), 0, &context).is_some()
    }

    #[test]
    fn texts_that_no_server_takes_are_refused() {
        for text in [
            "ADD CHECK )",
            "ADD CHECK ) (",
            "ADD CONSTRAINT CHECK",
            "DROP )",
            "ENGINE",
            "ENGINE =",
            "ADD COLUMN )",
            "MODIFY a INT )",
            ")",
            ",",
            "ADD (",
            "ADD c INT AS (",
            "CHANGE a",
            "CHANGE a a",
            "RENAME COLUMN",
            "RENAME KEY a",
            "CONVERT TO",
            "ORDER BY",
            "ADD c INT DEFAULT (`",
            "ADD `",
        ] {
            assert!(refused(text), "{text}");
        }
    }

    #[test]
    fn every_beginning_of_a_text_is_read_without_a_panic_and_long_ones_in_linear_time() {
        let text = "ADD CONSTRAINT c CHECK ((a > 0)), ADD (a INT, KEY (a)), CHANGE `x` x SET('a') DEFAULT (CONCAT('a', 'b')), DROP COLUMN IF \
                    EXISTS q, REORGANIZE PARTITION p, q INTO (PARTITION r VALUES IN (1)) PARTITION BY HASH (a) REMOVE PARTITIONING";
        for end in 0..text.len() {
            refused(&text[..end]);
            refused(&text[end..]);
        }
        let started = std::time::Instant::now();
        for piece in
            ["ADD (", "(", "DROP a, ", "ADD a INT, ", "REORGANIZE PARTITION ", "CHECK (", "COLUMN (", "DEFAULT "]
        {
            refused(&format!("ADD {}", piece.repeat(10_000)));
        }
        let (dropped, added): (Vec<_>, Vec<_>) =
            (0..10_000).map(|number| (format!("DROP a{number}"), format!("ADD b{number} INT"))).unzip();
        assert!(!refused(&format!("{}, {}", dropped.join(", "), added.join(", "))));
        // Quadratic work on this many words takes minutes in the dev profile.
        assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    }
}
