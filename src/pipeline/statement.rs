//! Statements in the stream: QUERY events judged by the route's policy and written anew under the mapped names.

use std::borrow::Cow;
use std::ops::Range;

use crate::binlog::{
    Event, EventType, ExecuteLoadQuery, FormatDescription, Header, Query, StatusVariables, Vendor, close_statement,
    open_statement, status_code,
};
use crate::ddl::{self, Class, Control};
use crate::fault::Code;

use super::coordinates::FilePosition;
use super::policy::{self, Action};
use super::rules::{Learned, RuleSet, name_fits};
use super::stream::{Note, StreamError};

/// What a statement needs to be judged.
pub(super) struct StatementContext<'a> {
    pub(super) rules: &'a RuleSet,
    pub(super) format: &'a FormatDescription,
    /// The replica's server, which decides what version comments hold.
    pub(super) replica: ddl::Reader,
    /// Born on a server whose transactions the route leaves out.
    pub(super) excluded: bool,
    /// End of the event in the source's coordinates.
    pub(super) at: &'a FilePosition,
    /// What is longer than it was leads a replica's count astray.
    pub(super) keeps_lengths: bool,
}

/// Whether a statement opens a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    No,
    /// BEGIN, XA START.
    ByControl,
    /// `CREATE TABLE … START TRANSACTION`: its rows and an XID follow.
    ByStatement,
}

/// What becomes of a statement.
pub(super) struct Outcome {
    /// What goes out in its place; `None` for nothing.
    pub(super) event: Option<Event>,
    pub(super) control: Option<Control>,
    pub(super) opening: Opening,
    pub(super) note: Option<Note>,
    /// What holds after it, where that is news.
    pub(super) learned: Option<Box<Learned>>,
}

impl Outcome {
    /// A statement that does not go out, of which nobody needs to hear.
    pub(super) fn left_out(learned: Option<Box<Learned>>) -> Self {
        Self { event: None, control: None, opening: Opening::No, note: None, learned }
    }
}

/// The longest piece of a statement that a message shows: why it stops matters more, and MariaDB shows 320 bytes in all.
const SHOWN_LENGTH: usize = 100;

/// Transaction control in the spellings that servers write to binlogs themselves, and statements that open a transaction.
/// `None` where the text must be looked into.
pub(super) fn quick_control(sql: &[u8]) -> (Option<Control>, Opening) {
    let is = |word: &str| sql.eq_ignore_ascii_case(word.as_bytes());
    let starts = |word: &str| sql.get(..word.len()).is_some_and(|front| front.eq_ignore_ascii_case(word.as_bytes()));
    let control = match sql.first().map(u8::to_ascii_uppercase) {
        Some(b'B') if is("BEGIN") => Some(Control::Begin),
        Some(b'C') if is("COMMIT") => Some(Control::Commit),
        Some(b'R') if is("ROLLBACK") => Some(Control::Rollback),
        Some(b'X') if starts("XA ") => {
            let words = [
                ("XA START ", Control::XaStart),
                ("XA BEGIN ", Control::XaStart),
                ("XA END ", Control::XaEnd),
                ("XA PREPARE ", Control::XaPrepare),
                ("XA COMMIT ", Control::XaCommit),
                ("XA ROLLBACK ", Control::XaRollback),
            ];
            words.iter().find(|(word, _)| starts(word)).map(|&(_, control)| control)
        }
        _ => None,
    };
    let opening = match control {
        Some(Control::Begin | Control::XaStart) => Opening::ByControl,
        None => {
            const SUFFIX: &[u8] = b"START TRANSACTION";
            let trimmed = sql.trim_ascii_end();
            let ends = trimmed.len() > SUFFIX.len()
                && trimmed[trimmed.len() - SUFFIX.len()..].eq_ignore_ascii_case(SUFFIX)
                && starts("CREATE");
            if ends { Opening::ByStatement } else { Opening::No }
        }
        Some(_) => Opening::No,
    };
    (control, opening)
}

/// The text of a QUERY event; `None` for other types and damaged bodies.
pub(super) fn text<'a>(event: &'a Event, format: Option<&FormatDescription>) -> Option<&'a [u8]> {
    if event.event_type() != EventType::QUERY {
        return None;
    }
    format.and_then(|format| Query::read(event.body(), format).ok()).map(|query| query.sql)
}

/// Judges one statement and writes what goes out.
pub(super) fn judge(event: &Event, context: &StatementContext<'_>) -> Result<Outcome, StreamError> {
    let event_type = event.event_type();
    let damaged = |error| StreamError::Truncated(event_type, error);
    let query = if event_type == EventType::EXECUTE_LOAD_QUERY {
        ExecuteLoadQuery::read(event.body()).map_err(damaged)?.query
    } else {
        Query::read(event.body(), context.format).map_err(damaged)?
    };
    let sql = if event_type == EventType::QUERY_COMPRESSED {
        Cow::Owned(open_statement(query.sql)?)
    } else {
        Cow::Borrowed(query.sql)
    };
    let database = std::str::from_utf8(query.database).map_err(|_| StreamError::NotUtf8(event_type))?;

    let (control, opening) = quick_control(&sql);
    if control.is_some() {
        let event = pass_control(event, &query, &sql, database, context)?;
        return Ok(Outcome { event: Some(event), control, opening, note: None, learned: None });
    }

    let (sql_mode, client_collation) = session(query.status).map_err(damaged)?;
    let session = ddl::Context {
        default_database: database,
        sql_mode,
        client_collation,
        version: context.format.server.number,
        mariadb: context.format.server.vendor == Vendor::MariaDb,
    };
    let statement = ddl::analyze_for(&sql, &session, context.replica);
    let opening = match statement.control {
        Some(Control::Begin | Control::XaStart) => Opening::ByControl,
        _ if statement.opens_transaction => Opening::ByStatement,
        _ => Opening::No,
    };
    if statement.class == Class::Transaction {
        let event = pass_control(event, &query, &sql, database, context)?;
        return Ok(Outcome { event: Some(event), control: statement.control, opening, note: None, learned: None });
    }
    let note = |reason: &str, rule: &str| Note {
        at: context.at.clone(),
        kind: statement.kind.0,
        reason: reason.to_owned(),
        rule: rule.to_owned(),
        split: false,
    };
    if context.excluded {
        let learned = policy::effect(context.rules, &statement, &sql, &session).map_err(|why| {
            let sentence = format!(
                "it was born on an excluded origin and renames a selected table, and the selection cannot follow: {why}"
            );
            StreamError::Stopped {
                message: format!("{}: {sentence} (rule ddl.rename_out)", shown(&statement, &sql, &session)),
                code: Code::StatementStopped,
                behind: None,
            }
        })?;
        let note = Some(note("excluded_origin", "exclude_origins"));
        return Ok(Outcome { event: None, control: None, opening, note, learned: learned.map(Box::new) });
    }
    let mut verdict = policy::judge(context.rules, &statement, &sql, &session);
    if let Some(learned) = &mut verdict.learned {
        // The definition that was just kept is this statement's: its session goes with it.
        for definition in learned.changes.iter_mut().filter_map(|change| change.definition.as_mut()) {
            if definition.status.is_empty() {
                definition.status = query.status.to_vec();
            }
        }
    }
    let reason = verdict.reason.as_deref().unwrap_or("");
    match verdict.action {
        Action::Stop => {
            let code = match verdict.word {
                policy::Reason::Unknown => Code::StatementUnknown,
                policy::Reason::HistoryUnknown => Code::HistoryUnknown,
                _ => Code::StatementStopped,
            };
            let shown = shown(&statement, &sql, &session);
            let message = format!("{shown}: {reason} (rule {})", verdict.rule);
            Err(StreamError::Stopped { message, code, behind: verdict.learned })
        }
        Action::Skip => {
            let note = Some(note(verdict.word.as_str(), &verdict.rule));
            Ok(Outcome { event: None, control: None, opening, note, learned: verdict.learned })
        }
        Action::Forward | Action::Split => {
            let note = (verdict.action == Action::Split)
                .then(|| Note { split: true, ..note(verdict.word.as_str(), &verdict.rule) });
            let new_sql = verdict.rewritten.as_deref().unwrap_or(&sql);
            let (new_sql, error_code) = match (verdict.action, query.error_code) {
                (Action::Split, code) if code != 0 => {
                    (Cow::Owned(split_of_failed(&statement, &sql, new_sql, &session, code)?), 0)
                }
                (_, code) => (Cow::Borrowed(new_sql), code),
            };
            let status = verdict.status.as_deref().unwrap_or(query.status);
            let query = Query { status, error_code, ..query };
            let event = rewritten(event, &query, &sql, &new_sql, database, &verdict.default_database, context)?;
            Ok(Outcome { event: Some(event), control: None, opening, note, learned: verdict.learned })
        }
    }
}

/// Errors with which servers log a DROP of which they did what they could: names that are not there, or not of the kind that is dropped
/// (`ER_BAD_TABLE_ERROR`, `ER_WRONG_OBJECT`; MariaDB: `ER_UNKNOWN_SEQUENCES`, `ER_UNKNOWN_VIEW`). With IF EXISTS these are notes.
const UNKNOWN_NAME_ERRORS: [u16; 4] = [1051, 1347, 4091, 4092];

/// What goes out of a list that failed in part at the source, where only some of its elements are selected. A replica compares its own
/// error with the source's, and which element gave that is not in the event: without the error, what the source dropped is dropped
/// where it is there. After any other error (a foreign key) an element that was named may be there still.
fn split_of_failed(
    statement: &ddl::Statement,
    sql: &[u8],
    new_sql: &[u8],
    session: &ddl::Context<'_>,
    error_code: u16,
) -> Result<Vec<u8>, StreamError> {
    let drops = statement.kind.0.starts_with("drop_") && UNKNOWN_NAME_ERRORS.contains(&error_code);
    let text = drops.then(|| ddl::with_if_exists(new_sql, statement, session)).flatten();
    text.ok_or_else(|| StreamError::Stopped {
        message: format!(
            "{}: it failed with error {error_code} at the source after a part of it was done, only some of what it names is selected, and which part was done is not in the binary log; do at the replica what was done at the source and let it go on after this statement: at a \
             position after it, or with GTIDs by an empty transaction in its place (rule mixed targets)",
            shown(statement, sql, session)
        ),
        code: Code::StatementStopped,
        behind: None,
    })
}

/// A statement as messages show it: its beginning, without row values and secrets.
fn shown(statement: &ddl::Statement, sql: &[u8], session: &ddl::Context<'_>) -> String {
    let kind = statement.kind.0;
    let holds_rows =
        ["insert", "replace", "update", "delete", "load", "unknown"].iter().any(|dml| kind.starts_with(dml));
    if holds_rows {
        return format!("a statement of kind {kind}");
    }
    // Masked before it is cut: what makes a text a secret may come behind it.
    let mut text = ddl::masked(sql, session.sql_mode);
    if text.len() > SHOWN_LENGTH {
        text.truncate(text.floor_char_boundary(SHOWN_LENGTH));
        text.push('…');
    }
    format!("statement {text:?}")
}

/// `sql_mode` and the collation id of `character_set_client`, 0 where the event has none.
fn session(status: &[u8]) -> Result<(u64, u16), crate::wire::Truncated> {
    let (mut sql_mode, mut collation) = (0, 0);
    for variable in StatusVariables::new(status) {
        let variable = variable?;
        match (variable.code, variable.payload) {
            (status_code::SQL_MODE, &[a, b, c, d, e, f, g, h]) => {
                sql_mode = u64::from_le_bytes([a, b, c, d, e, f, g, h])
            }
            (status_code::CHARSET, &[low, high, ..]) => collation = u16::from_le_bytes([low, high]),
            _ => {}
        }
    }
    Ok((sql_mode, collation))
}

/// Transaction control goes out with the name of its default database mapped, or without it where nothing of that database
/// is selected.
fn pass_control(
    event: &Event,
    query: &Query<'_>,
    sql: &[u8],
    database: &str,
    context: &StatementContext<'_>,
) -> Result<Event, StreamError> {
    let rules = context.rules;
    let new = if rules.database_touched(database) { rules.default_database(database) } else { String::new() };
    rewritten(event, query, sql, sql, database, &new, context)
}

/// The event with another text and default database; the same event where nothing changes.
fn rewritten(
    event: &Event,
    query: &Query<'_>,
    sql: &[u8],
    new_sql: &[u8],
    database: &str,
    new_database: &str,
    context: &StatementContext<'_>,
) -> Result<Event, StreamError> {
    let event_type = event.event_type();
    let mut status =
        mapped_status(query.status, context.rules).map_err(|error| StreamError::Truncated(event_type, error))?;
    if sql == new_sql && database == new_database && matches!(status, Cow::Borrowed(_)) {
        return Ok(event.clone());
    }
    let too_long = || StreamError::NameTooLong(new_database.to_owned());
    if database != new_database && !name_fits(new_database) {
        return Err(too_long());
    }
    let database_length = u8::try_from(new_database.len()).map_err(|_| too_long())?;
    let body = event.body();
    let load = if event_type == EventType::EXECUTE_LOAD_QUERY { Some(load_fields(body, sql, new_sql)?) } else { None };
    let around = Query::POST_HEADER_LENGTH + load.map_or(0, |fields| fields.len()) + 1;
    let room = body.len().saturating_sub(around + status.len() + new_database.len());
    let text = match event_type {
        EventType::QUERY_COMPRESSED if sql == new_sql => Cow::Borrowed(query.sql),
        EventType::QUERY_COMPRESSED => {
            Cow::Owned(close_statement(new_sql, if context.keeps_lengths { room } else { usize::MAX })?)
        }
        _ => Cow::Borrowed(new_sql),
    };
    let longer = if context.keeps_lengths { text.len().saturating_sub(room) } else { 0 };
    if let Some(span) = catalog(&status).filter(|span| (1..=span.len()).contains(&longer)) {
        status = Cow::Owned([&status[..span.start], &status[span.end..]].concat());
    }
    if event.raw().len() + new_sql.len() > crate::binlog::MAX_EVENT_LENGTH {
        return Err(StreamError::TooLong(event_type));
    }
    let parts: [&[u8]; 9] = [
        &body[..8],
        &[database_length],
        &query.error_code.to_le_bytes(),
        &(status.len() as u16).to_le_bytes(),
        load.as_ref().map_or(&[], |fields| &fields[..]),
        &status,
        new_database.as_bytes(),
        &[0],
        &text,
    ];
    Ok(Event::build(*event.header(), &parts, event.checksum()))
}

/// The 13 bytes that EXECUTE_LOAD_QUERY has more than QUERY. The two offsets stand around `'file' [REPLACE | IGNORE] INTO`,
/// which comes before every name of the statement: they stay as long as that part of the text does.
fn load_fields(body: &[u8], sql: &[u8], new_sql: &[u8]) -> Result<[u8; 13], StreamError> {
    let load =
        ExecuteLoadQuery::read(body).map_err(|error| StreamError::Truncated(EventType::EXECUTE_LOAD_QUERY, error))?;
    let front = load.name_end as usize;
    if sql.get(..front).is_none() || sql.get(..front) != new_sql.get(..front) {
        return Err(StreamError::LoadOffsets);
    }
    let mut fields = [0; 13];
    fields[..4].copy_from_slice(&load.file_id.to_le_bytes());
    fields[4..8].copy_from_slice(&load.name_start.to_le_bytes());
    fields[8..12].copy_from_slice(&load.name_end.to_le_bytes());
    fields[12] = load.duplicates;
    Ok(fields)
}

/// The status variables with the updated databases under their new names. A name that is not selected must not go out, and one whose
/// tables go to several databases does not say which this statement writes: a list that has one becomes "too many to name", which
/// makes the replica apply the statement alone.
fn mapped_status<'a>(status: &'a [u8], rules: &RuleSet) -> Result<Cow<'a, [u8]>, crate::wire::Truncated> {
    let Some(variable) = StatusVariables::find(status, status_code::UPDATED_DB_NAMES)? else {
        return Ok(Cow::Borrowed(status));
    };
    let Some((&count, names)) = variable.payload.split_first() else { return Ok(Cow::Borrowed(status)) };
    if count == status_code::OVER_MAX_DBS {
        return Ok(Cow::Borrowed(status));
    }
    let mut mapped = vec![status_code::UPDATED_DB_NAMES, count];
    for name in names.split(|&byte| byte == 0).take(usize::from(count)) {
        let new = std::str::from_utf8(name).ok().filter(|name| rules.database_touched(name));
        match new.and_then(|name| rules.only_destination(name)) {
            Some(new) => {
                mapped.extend_from_slice(new.as_bytes());
                mapped.push(0);
            }
            None => {
                mapped = vec![status_code::UPDATED_DB_NAMES, status_code::OVER_MAX_DBS];
                break;
            }
        }
    }
    let end = variable.offset + 1 + variable.payload.len();
    if mapped == status[variable.offset..end] {
        return Ok(Cow::Borrowed(status));
    }
    Ok(Cow::Owned([&status[..variable.offset], &mapped, &status[end..]].concat()))
}

/// Where the catalog stands in the status variables. There is one catalog, "std", of which no server makes any use: its 5 bytes make up
/// for names of the same length that compress to a few bytes more, or for a database that has to be written out.
fn catalog(status: &[u8]) -> Option<Range<usize>> {
    let catalog = StatusVariables::find(status, status_code::CATALOG).ok().flatten()?;
    Some(catalog.offset..catalog.offset + 1 + catalog.payload.len())
}

/// The statement without its catalog; `None` where it has none.
pub(super) fn without_catalog(event: &Event, format: &FormatDescription) -> Option<Event> {
    if event.event_type() != EventType::QUERY {
        return None;
    }
    let body = event.body();
    let status = Query::read(body, format).ok()?.status;
    let span = catalog(status)?;
    let length = (status.len() - span.len()) as u16;
    let rest = &body[Query::POST_HEADER_LENGTH + status.len()..];
    let parts: [&[u8]; 5] = [&body[..11], &length.to_le_bytes(), &status[..span.start], &status[span.end..], rest];
    Some(Event::build(*event.header(), &parts, event.checksum()))
}

/// A QUERY event with one word of transaction control in place of `event`: same origin, time, thread and `log_pos`, no
/// database and no status variables.
pub(super) fn control_event(event: &Event, text: &[u8]) -> Event {
    let header = Header { event_type: EventType::QUERY, ..*event.header() };
    let mut fixed = [0; Query::POST_HEADER_LENGTH];
    let has_thread =
        matches!(event.event_type(), EventType::QUERY | EventType::QUERY_COMPRESSED | EventType::EXECUTE_LOAD_QUERY);
    if let Some(thread_id) = event.body().get(..4).filter(|_| has_thread) {
        fixed[..4].copy_from_slice(thread_id);
    }
    Event::build(header, &[&fixed, &[0], text], event.checksum())
}

/// What tells a replica to forget the file of a LOAD DATA statement that does not go out.
pub(super) fn forget_file(event: &Event) -> Result<Event, StreamError> {
    let load = ExecuteLoadQuery::read(event.body())
        .map_err(|error| StreamError::Truncated(EventType::EXECUTE_LOAD_QUERY, error))?;
    let header = Header { event_type: EventType::DELETE_FILE, ..*event.header() };
    Ok(Event::build(header, &[&load.file_id.to_le_bytes()], event.checksum()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::rules::tests::rules;

    #[test]
    fn updated_databases_are_named_only_where_it_is_certain_which_they_are() {
        let status = |names: &[u8]| [&[status_code::UPDATED_DB_NAMES], names].concat();
        let over = status(&[status_code::OVER_MAX_DBS]);
        for (objects, expected) in [
            ("db shop as cn", status(b"\x01cn\0")),
            ("db shop as cn\ntable shop.orders as arch.ord", over.clone()),
            ("db crm", over),
        ] {
            let before = status(b"\x01shop\0");
            assert_eq!(mapped_status(&before, &rules(objects)).unwrap(), expected, "{objects}");
        }
    }

    #[test]
    fn a_message_shows_the_statement_without_secrets_and_row_values() {
        let session =
            ddl::Context { default_database: "", sql_mode: 0, client_collation: 45, version: 80_036, mariadb: false };
        let padding = "x".repeat(SHOWN_LENGTH);
        for (sql, begins) in [
            (
                "CREATE USER 'u'@'%' IDENTIFIED WITH 'caching_sha2_password' AS '$A$005$hash'",
                "\"CREATE USER ?@? IDENTIFIED WITH ? AS ?\"",
            ),
            ("CREATE TABLE other.c AS SELECT 'row value' AS v", "\"CREATE TABLE other.c AS SELECT ? AS v\""),
            ("CREATE TABLE c (a INT) COMMENT 'orders'", "\"CREATE TABLE c (a INT) COMMENT 'orders'\""),
            (
                &format!("CREATE TABLE c (a INT DEFAULT 'row value') /* {padding} */ SELECT 1 AS a"),
                "\"CREATE TABLE c (a INT DEFAULT ?) /* x",
            ),
        ] {
            let statement = ddl::analyze(sql.as_bytes(), &session);
            let shown = shown(&statement, sql.as_bytes(), &session);
            assert!(shown.starts_with(&format!("statement {begins}")), "{shown}");
        }
    }
}
