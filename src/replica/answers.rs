//! The table of answers: what the proxy says to each statement that a replica or a plain client asks in the command phase.
//!
//! Pure: text, the asker's session and the source's facts in, an [`Answer`] out. It covers what MySQL 5.1 to 9.x and MariaDB 10.x
//! and 11.x replicas ask before they request the stream, what the `mysql`, `mariadb` and `mysqlbinlog` programs ask, and
//! passes a fixed list of read-only questions on to the source. Everything else is an error with code RPX-3007: a session is
//! never closed for a question.

use bytes::Bytes;

use super::question::{Token, TokenKind, like, tokens};
use super::variables::{
    SKIP_REPLICATION, SystemVariable, UserVariables, at_source, is_switch, known_names, system_variable,
};
use crate::fault::Code;
use crate::source::{ResultSet, SourceFacts, Vendor};

/// How much of a statement an error repeats (characters).
const QUOTED_CHARACTERS: usize = 80;

/// More columns than any question has that is answered.
const MAX_COLUMNS: usize = 64;

/// Error numbers of the server.
pub(crate) mod server_error {
    /// `ER_UNKNOWN_SYSTEM_VARIABLE`: the one error that every replica takes for "an older source".
    pub(crate) const UNKNOWN_SYSTEM_VARIABLE: u16 = 1193;
    /// `ER_NOT_SUPPORTED_YET`.
    pub(crate) const NOT_SUPPORTED_YET: u16 = 1235;
    /// `ER_UNKNOWN_ERROR`.
    pub(crate) const UNKNOWN: u16 = 1105;
    /// `ER_NO_SUCH_THREAD`.
    pub(crate) const NO_SUCH_THREAD: u16 = 1094;
    /// `ER_PARSE_ERROR`.
    pub(crate) const PARSE: u16 = 1064;
}

/// Who asks, and what was set in the session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asker {
    /// The connection's id, as greeted.
    pub(crate) thread_id: u32,
    /// The user name that was presented.
    pub(crate) user: String,
    /// The address it came from.
    pub(crate) host: String,
    /// The default database that the client chose; nothing depends on it.
    pub(crate) database: Option<String>,
    /// `SET @name = …`.
    pub(crate) variables: UserVariables,
}

/// What is said to one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An OK packet.
    Ok,
    /// A result set (perhaps of no rows).
    Rows(ResultSet),
    /// An ERR packet with the server's number for it.
    Error {
        /// The server's error number.
        code: u16,
        /// The text.
        text: String,
    },
    /// Ask the source this, and pass its result on.
    Forward {
        /// The statement in the source's own spelling.
        sql: String,
        /// Where the asker takes NULL for an answer when the source has none: the column's name.
        null_column: Option<String>,
    },
    /// The replicas of this listener, as `SHOW REPLICAS` and its older spellings list them.
    AttachedReplicas {
        /// Whether the columns have their names of MySQL 8.0.22 and later.
        modern: bool,
    },
    /// End the session with this id.
    Kill(u32),
}

/// Answers one statement. `now` is the time in seconds since 1970 for `UNIX_TIMESTAMP()`.
pub(crate) fn answer(sql: &str, asker: &mut Asker, facts: &SourceFacts, now: u64) -> Answer {
    let words = tokens(sql);
    // A statement may end with a semicolon; more than one statement is nobody's question.
    let mut words = words.as_slice();
    while let [rest @ .., Token { kind: TokenKind::Mark(";"), .. }] = words {
        words = rest;
    }
    let mut question = Question { sql, facts, now };
    let Some((first, rest)) = words.split_first() else {
        return Answer::Error { code: 1065, text: "Query was empty".to_owned() };
    };
    let TokenKind::Word(verb) = &first.kind else { return question.refused() };
    match (verb.as_str(), rest) {
        ("set", assignments) => question.set(assignments, asker),
        ("select", expressions) => question.select(expressions, asker),
        ("show", what) => question.show(what),
        ("kill", what) => question.kill(what),
        ("use", [database]) => {
            if let TokenKind::Word(name) | TokenKind::Name(name) = &database.kind {
                asker.database = Some(name.clone());
            }
            Answer::Ok
        }
        // Nothing can be changed here, so that a transaction is as good as none.
        ("begin" | "commit" | "rollback", []) => Answer::Ok,
        ("start", [word, ..]) if is_word(word, "transaction") => Answer::Ok,
        _ => question.refused(),
    }
}

/// The beginning of a statement for error texts and log lines, on one line and without control characters.
pub(crate) fn quoted(sql: &str) -> String {
    let mut text: String = sql
        .trim()
        .chars()
        .take(QUOTED_CHARACTERS)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if sql.trim().chars().count() > QUOTED_CHARACTERS {
        text.push('…');
    }
    text
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(&token.kind, TokenKind::Word(found) if found == word)
}

fn is_mark(token: &Token, mark: &str) -> bool {
    matches!(token.kind, TokenKind::Mark(found) if found == mark)
}

/// Splits at commas outside parentheses.
fn split_at_commas(tokens: &[Token]) -> Vec<&[Token]> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_i32);
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenKind::Mark("(") => depth += 1,
            TokenKind::Mark(")") => depth -= 1,
            TokenKind::Mark(",") if depth <= 0 => {
                parts.push(&tokens[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts
}

/// What an expression comes to.
enum Value {
    Known(Option<String>),
    UnknownVariable(String),
    AtSource(String),
    NotUnderstood,
}

struct Question<'a> {
    sql: &'a str,
    facts: &'a SourceFacts,
    now: u64,
}

impl Question<'_> {
    fn refused(&self) -> Answer {
        let code = Code::ReplicaCommand;
        Answer::Error {
            code: server_error::NOT_SUPPORTED_YET,
            text: format!("{code}: {}: {}; {}", code.title(), quoted(self.sql), code.next_step()),
        }
    }

    fn unknown_variable(&self, name: &str) -> Answer {
        Answer::Error {
            code: server_error::UNKNOWN_SYSTEM_VARIABLE,
            text: format!("Unknown system variable '{}'", quoted(name)),
        }
    }

    /// `SET`: user variables and what the source has to know are remembered, everything else (character sets, modes, timeouts) has no meaning here and is
    /// answered OK, as an error would end a replica's connection for good.
    fn set(&mut self, assignments: &[Token], asker: &mut Asker) -> Answer {
        for assignment in split_at_commas(assignments) {
            let (name, equals, expression) = match assignment {
                [Token { kind: TokenKind::UserVariable(name), .. }, equals, expression @ ..] => {
                    (name.as_str(), equals, expression)
                }
                [variable, equals, expression @ ..] if is_word(variable, "skip_replication") => {
                    (SKIP_REPLICATION, equals, expression)
                }
                _ => continue,
            };
            if !is_mark(equals, "=") && !is_mark(equals, ":=") {
                return Answer::Error {
                    code: server_error::PARSE,
                    text: format!("You have an error in your SQL syntax near '{}'", quoted(self.sql)),
                };
            }
            let value = match self.value(expression, asker) {
                Value::Known(value) => value,
                Value::UnknownVariable(name) => return self.unknown_variable(&name),
                Value::AtSource(_) | Value::NotUnderstood => None,
            };
            if asker.variables.set(name, value).is_err() {
                let code = Code::LimitReached;
                return Answer::Error {
                    code: server_error::UNKNOWN,
                    text: format!("{code}: too many or too long user variables in one session"),
                };
            }
        }
        Answer::Ok
    }

    fn select(&mut self, rest: &[Token], asker: &Asker) -> Answer {
        let end = rest.iter().position(|token| is_word(token, "limit") || is_word(token, "from")).unwrap_or(rest.len());
        let from_dual = match &rest[end..] {
            [from, dual, ..] if is_word(from, "from") => is_word(dual, "dual"),
            _ => true,
        };
        let expressions = split_at_commas(&rest[..end]);
        if !from_dual || expressions.len() > MAX_COLUMNS {
            return self.refused();
        }
        if let [expression] = expressions[..]
            && let Some(answer) = self.gtid_position(expression)
        {
            return answer;
        }
        let (mut columns, mut row) = (Vec::new(), Vec::new());
        for expression in &expressions {
            let (expression, alias) = match expression {
                [inner @ .., r#as, Token { kind: TokenKind::Word(name) | TokenKind::Name(name), .. }]
                    if is_word(r#as, "as") && !inner.is_empty() =>
                {
                    (inner, Some(name.clone()))
                }
                whole => (*whole, None),
            };
            let ([first, ..], [.., last]) = (expression, expression) else { return self.refused() };
            columns.push(alias.unwrap_or_else(|| self.sql[first.start..last.end].to_owned()));
            match self.value(expression, asker) {
                Value::Known(value) => row.push(value.map(Bytes::from)),
                Value::UnknownVariable(name) => return self.unknown_variable(&name),
                Value::AtSource(name) if expressions.len() == 1 => {
                    return Answer::Forward { sql: format!("SELECT @@GLOBAL.{name}"), null_column: None };
                }
                Value::AtSource(_) | Value::NotUnderstood => return self.refused(),
            }
        }
        Answer::Rows(ResultSet { columns, rows: vec![row], affected_rows: 0 })
    }

    /// `SELECT binlog_gtid_pos('file', position)`: a MariaDB replica in file-and-position mode loads the answer as its GTID
    /// position, so that it can be switched to GTID later. Only the source knows; NULL and errors are as good as none.
    fn gtid_position(&self, expression: &[Token]) -> Option<Answer> {
        let [function, open, arguments @ .., close] = expression else { return None };
        if !is_word(function, "binlog_gtid_pos") || !is_mark(open, "(") || !is_mark(close, ")") {
            return None;
        }
        if self.facts.version.vendor != Vendor::MariaDb {
            return Some(self.refused());
        }
        let [Token { kind: TokenKind::Text(file), .. }, _, Token { kind: TokenKind::Number(position), .. }] = arguments
        else {
            return Some(self.refused());
        };
        let (Ok(position), true) = (position.parse::<u64>(), is_file_name(file)) else { return Some(self.refused()) };
        Some(Answer::Forward {
            sql: format!("SELECT binlog_gtid_pos('{file}',{position})"),
            null_column: Some("binlog_gtid_pos".to_owned()),
        })
    }

    fn value(&self, expression: &[Token], asker: &Asker) -> Value {
        let known = |text: &str| Value::Known(Some(text.to_owned()));
        match expression {
            [one] => match &one.kind {
                TokenKind::Text(text) | TokenKind::Number(text) => known(text),
                TokenKind::UserVariable(name) => Value::Known(asker.variables.get(name).map(str::to_owned)),
                TokenKind::SystemVariable { name, .. } => match system_variable(name, self.facts) {
                    SystemVariable::Known(value) => Value::Known(Some(value)),
                    SystemVariable::AtSource => Value::AtSource(name.clone()),
                    SystemVariable::Unknown => Value::UnknownVariable(name.clone()),
                },
                TokenKind::Word(word) => match word.as_str() {
                    "null" => Value::Known(None),
                    "true" => known("1"),
                    "false" => known("0"),
                    "current_user" => known(&format!("{}@{}", asker.user, asker.host)),
                    _ => Value::NotUnderstood,
                },
                _ => Value::NotUnderstood,
            },
            [sign, Token { kind: TokenKind::Number(number), .. }] if is_mark(sign, "-") => known(&format!("-{number}")),
            [Token { kind: TokenKind::Word(function), .. }, open, close]
                if is_mark(open, "(") && is_mark(close, ")") =>
            {
                match function.as_str() {
                    "unix_timestamp" => known(&self.now.to_string()),
                    "version" => known(&self.facts.version.text),
                    "connection_id" => known(&asker.thread_id.to_string()),
                    "user" | "current_user" | "session_user" | "system_user" => {
                        known(&format!("{}@{}", asker.user, asker.host))
                    }
                    "database" | "schema" => Value::Known(asker.database.clone()),
                    _ => Value::NotUnderstood,
                }
            }
            _ => Value::NotUnderstood,
        }
    }

    fn kill(&self, rest: &[Token]) -> Answer {
        let rest = match rest {
            // MariaDB: KILL [HARD | SOFT] [CONNECTION | QUERY] n.
            [first, rest @ ..] if is_word(first, "hard") || is_word(first, "soft") => rest,
            rest => rest,
        };
        let rest = match rest {
            [first, rest @ ..] if is_word(first, "connection") || is_word(first, "query") => rest,
            rest => rest,
        };
        match rest {
            [Token { kind: TokenKind::Number(id), .. }] => match id.parse() {
                Ok(id) => Answer::Kill(id),
                Err(_) => no_such_thread(id),
            },
            _ => self.refused(),
        }
    }

    fn show(&self, rest: &[Token]) -> Answer {
        let rest = match rest {
            [scope, rest @ ..] if ["global", "session", "local", "full"].iter().any(|word| is_word(scope, word)) => {
                rest
            }
            rest => rest,
        };
        let words: Vec<&str> = rest
            .iter()
            .map_while(|token| match &token.kind {
                TokenKind::Word(word) => Some(word.as_str()),
                _ => None,
            })
            .collect();
        match words[..] {
            ["variables", ..] => self.show_variables(&rest[1..]),
            ["status", ..] => empty(&["Variable_name", "Value"]),
            ["warnings" | "errors", ..] => empty(&["Level", "Code", "Message"]),
            ["master" | "binlog", "status"] | ["binary", "log", "status"] => {
                self.forward(self.facts.log_status_statement())
            }
            ["master" | "binary", "logs"] => self.forward("SHOW BINARY LOGS"),
            ["slave" | "replica", "hosts"] => Answer::AttachedReplicas { modern: false },
            ["replicas"] => Answer::AttachedReplicas { modern: true },
            ["slave" | "replica", "status", ..] | ["all", "slaves" | "replicas", "status"] => {
                empty(&["Slave_IO_State"])
            }
            _ => self.refused(),
        }
    }

    fn forward(&self, sql: &str) -> Answer {
        Answer::Forward { sql: sql.to_owned(), null_column: None }
    }

    /// `SHOW VARIABLES`, alone, with `LIKE 'pattern'`, or with `WHERE Variable_name = 'name'` / `IN (…)` / `LIKE …`. Two columns; a
    /// variable that there is not is an empty set (which is what keeps replicas asynchronous where the source knows nothing else).
    fn show_variables(&self, rest: &[Token]) -> Answer {
        let patterns: Vec<&str> = rest
            .iter()
            .filter_map(|token| match &token.kind {
                TokenKind::Text(pattern) => Some(pattern.as_str()),
                _ => None,
            })
            .collect();
        let pattern_wanted = !rest.is_empty();
        if pattern_wanted && patterns.is_empty() {
            return self.refused();
        }
        if let [pattern] = patterns[..] {
            let name = pattern.replace("\\_", "_").to_ascii_lowercase();
            if at_source(&name) && system_variable(&name, self.facts) == SystemVariable::AtSource {
                return self.forward(&format!("SHOW GLOBAL VARIABLES LIKE '{name}'"));
            }
        }
        let exact = rest.iter().any(|token| is_mark(token, "=") || is_word(token, "in"));
        let matches = |name: &str| {
            patterns.iter().any(|pattern| if exact { pattern.eq_ignore_ascii_case(name) } else { like(pattern, name) })
        };
        let rows = known_names()
            .into_iter()
            .filter(|name| !pattern_wanted || matches(name))
            .filter_map(|name| match system_variable(name, self.facts) {
                // A switch is a number in SELECT and a word in SHOW.
                SystemVariable::Known(value) if is_switch(name) => {
                    Some((name, if value == "1" { "ON" } else { "OFF" }.to_owned()))
                }
                SystemVariable::Known(value) => Some((name, value)),
                SystemVariable::AtSource | SystemVariable::Unknown => None,
            })
            .map(|(name, value)| vec![Some(Bytes::from(name)), Some(Bytes::from(value))])
            .collect();
        let columns = vec!["Variable_name".to_owned(), "Value".to_owned()];
        Answer::Rows(ResultSet { columns, rows, affected_rows: 0 })
    }
}

/// What a server says when there is no session with that id.
pub(crate) fn no_such_thread(id: &str) -> Answer {
    Answer::Error { code: server_error::NO_SUCH_THREAD, text: format!("Unknown thread id: {}", quoted(id)) }
}

fn empty(columns: &[&str]) -> Answer {
    let columns = columns.iter().map(|&column| column.to_owned()).collect();
    Answer::Rows(ResultSet { columns, rows: Vec::new(), affected_rows: 0 })
}

/// A file name that can stand between quotes as it is.
fn is_file_name(name: &str) -> bool {
    name.len() <= 512 && name.chars().all(|character| !character.is_control() && !matches!(character, '\'' | '\\'))
}

#[cfg(test)]
mod tests;
