//! `replproxy explain`.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Failure, Format, OfRoute};
use crate::binlog::{ServerVersion, Vendor};
use crate::ddl::session::{self, parse_charset, parse_sql_mode};
use crate::ddl::{self, Class, Context, ObjectType, Role, Statement};
use crate::pipeline::policy::{self, Action, Verdict};
use crate::pipeline::rules::{RuleSet, Selection};

/// The longest line of input that is answered, in bytes: a statement of the largest packet, escaped.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// The server whose version comments are opened where `--source-version` is not given.
const DEFAULT_VERSION: &str = "9.7.0";

/// Show what a route does with statements, and why, without any server
///
/// The statement is judged as if the source had written it to its binary log: its kind, every object that it names with role
/// and place, whether it goes out and by which rule, and the text that goes out.
///
/// With - as SQL, statements are read from stdin, one a line: a JSON string, or an object {"sql": "…", "database": "…",
/// "sql_mode": "ANSI_QUOTES", "charset": "gbk"}, of which all but "sql" may be left out. Each is
/// judged after those before it, where the route learns from statements (rename_out = "follow", online_ddl = "fold"), and is
/// answered by one JSON object on a line: kind, class, objects (type, database, name, role, selected, mapped, span, database_span),
/// action, rule, reason, explanation, rewritten, default_database. A line that cannot be read is answered by {"error": "…"}.
///
/// Exit status: 0 done (whatever the verdict), 2 wrong usage or configuration.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    of_route: OfRoute,
    /// The session's default database.
    #[arg(long, value_name = "DB", default_value = "")]
    database: String,
    /// The source's version, which decides over version comments and MariaDB's own statements: 5.7.29, 10.11.19-MariaDB,
    /// mysql-8.0 or mariadb-10.11. A version from 10 on is MariaDB's.
    #[arg(long, value_name = "V", default_value = DEFAULT_VERSION, value_parser = parse_version, verbatim_doc_comment)]
    source_version: ServerVersion,
    /// The session's sql_mode: names with commas between, or the number.
    #[arg(long, value_name = "MODES", default_value = "", value_parser = parse_sql_mode)]
    sql_mode: u64,
    /// The session's character set (character_set_client). The statement is given in UTF-8 all the same and put into that set;
    /// spans count its bytes there.
    #[arg(long, value_name = "NAME", default_value = "utf8mb4", value_parser = parse_charset, verbatim_doc_comment)]
    charset: u16,
    /// How to print the answer. With - it is always JSON.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The statement, or - to read statements from stdin.
    #[arg(value_name = "SQL")]
    sql: OsString,
}

/// `5.7.29`, `10.11.19-MariaDB`, `mysql-8.0`, `mariadb-10.11`.
fn parse_version(text: &str) -> Result<ServerVersion, String> {
    let lower = text.to_ascii_lowercase();
    let (vendor, number) = match lower.split_once(['-', ' ']) {
        Some(("mysql", number)) => (Some(Vendor::MySql), number),
        Some(("mariadb", number)) => (Some(Vendor::MariaDb), number),
        _ => (None, text),
    };
    let mut version = ServerVersion::parse(number)
        .ok_or_else(|| "write a version such as 5.7.29, 10.11.19-MariaDB, mysql-8.0 or mariadb-10.11".to_owned())?;
    if let Some(vendor) = vendor {
        version.vendor = vendor;
    }
    Ok(version)
}

pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let route = arguments.of_route.read()?;
    let mut explainer = Explainer { rules: Cow::Borrowed(&route.rules), version: &arguments.source_version };
    let session =
        Session { database: &arguments.database, sql_mode: arguments.sql_mode, client_collation: arguments.charset };
    let mut output = BufWriter::new(io::stdout().lock());
    if arguments.sql == "-" {
        answer_lines(&mut explainer, session, &mut BufReader::with_capacity(1 << 16, io::stdin()), &mut output)?;
        output.flush()?;
        return Ok(0);
    }
    let sql = match arguments.sql.to_str() {
        Some(text) => Cow::Owned(encoded(text, session).map_err(Failure::Usage)?),
        None => Cow::Borrowed(arguments.sql.as_encoded_bytes()),
    };
    let answer = explainer.explain(&sql, session);
    match arguments.format {
        Format::Json => write_line(&answer, &mut output)?,
        Format::Text => {
            answer.write_text(&mut output)?;
            if let Some(reason) = route.rules.growth_reason() {
                writeln!(output, "route    can make a transaction longer than it was: {reason}")?;
            }
        }
    }
    output.flush()?;
    Ok(0)
}

/// One line of input.
#[derive(Deserialize)]
#[serde(untagged)]
enum Question {
    Text(String),
    Object(QuestionObject),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionObject {
    sql: String,
    #[serde(default)]
    database: Option<String>,
    #[serde(default)]
    sql_mode: Option<SqlMode>,
    #[serde(default)]
    charset: Option<String>,
}

/// `"ANSI_QUOTES"` or `4`.
#[derive(Deserialize)]
#[serde(untagged)]
enum SqlMode {
    Number(u64),
    Names(String),
}

/// The session that a statement is read in.
#[derive(Clone, Copy)]
struct Session<'a> {
    database: &'a str,
    sql_mode: u64,
    client_collation: u16,
}

impl<'a> Session<'a> {
    /// The session of one question, where it says something of it.
    fn of(self, question: &'a QuestionObject) -> Result<Self, String> {
        let sql_mode = match &question.sql_mode {
            None => self.sql_mode,
            Some(SqlMode::Number(number)) => *number,
            Some(SqlMode::Names(names)) => parse_sql_mode(names)?,
        };
        let client_collation = match &question.charset {
            None => self.client_collation,
            Some(name) => parse_charset(name)?,
        };
        Ok(Self { database: question.database.as_deref().unwrap_or(self.database), sql_mode, client_collation })
    }
}

/// Answers each line of input by one line of output. What is written is passed on before the input can make us wait, so that a
/// program may ask one by one while a file goes through in large pieces.
fn answer_lines(
    explainer: &mut Explainer<'_>,
    session: Session<'_>,
    input: &mut BufReader<impl io::Read>,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    loop {
        if !input.buffer().contains(&b'\n') {
            output.flush()?;
        }
        line.clear();
        let read = input.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE_BYTES {
            input.skip_until(b'\n').map_err(unreadable)?;
            write_error(&format!("the line is longer than {MAX_LINE_BYTES} bytes"), output)?;
            continue;
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let question = match serde_json::from_slice(text) {
            Ok(Question::Text(sql)) => QuestionObject { sql, database: None, sql_mode: None, charset: None },
            Ok(Question::Object(question)) => question,
            Err(_) => {
                let why = match serde_json::from_slice::<serde_json::Value>(text) {
                    Ok(_) => "it is neither a string nor an object of \"sql\" and, at choice, \"database\", \"sql_mode\" and \
                                \"charset\""
                        .to_owned(),
                    Err(error) => format!("it is not JSON: {error}"),
                };
                write_error(&format!("the line cannot be read: {why}"), output)?;
                continue;
            }
        };
        let answer = session
            .of(&question)
            .and_then(|session| Ok((session, encoded(&question.sql, session)?)))
            .map(|(session, sql)| explainer.explain(&sql, session));
        match answer {
            Ok(answer) => write_line(&answer, output)?,
            Err(why) => write_error(&why, output)?,
        }
    }
}

/// A statement in its session's character set.
fn encoded(sql: &str, session: Session<'_>) -> Result<Vec<u8>, String> {
    session::encode(session.client_collation, sql)
        .ok_or_else(|| "the statement has a character that the session's character set does not have".to_owned())
}

fn unreadable(error: io::Error) -> Failure {
    Failure::Fault(crate::fault::Fault::new(
        crate::fault::Code::FileUnreadable,
        format!("stdin cannot be read: {error}"),
    ))
}

fn write_error(sentence: &str, output: &mut impl Write) -> Result<(), Failure> {
    write_line(&serde_json::json!({ "error": sentence }), output)
}

fn write_line(answer: &impl Serialize, output: &mut impl Write) -> Result<(), Failure> {
    // Our own values always serialise; what can fail is the writing.
    serde_json::to_writer(&mut *output, answer).map_err(io::Error::from)?;
    output.write_all(b"\n")?;
    Ok(())
}

/// What every statement of a run is judged by.
struct Explainer<'a> {
    /// With what was learned from the statements before.
    rules: Cow<'a, RuleSet>,
    version: &'a ServerVersion,
}

/// The answer for one statement: the documented JSON object.
#[derive(Debug, Serialize)]
struct Answer {
    /// The server's name for the command, or `unknown`.
    kind: &'static str,
    /// `supported`, `unsupported`, `transaction` or `unknown`, before `allow` and `deny`.
    class: &'static str,
    /// Every object that the text names, in the order of the text.
    objects: Vec<AnswerObject>,
    /// `forward`, `skip`, `split` or `stop`.
    action: &'static str,
    /// The rule that decided.
    rule: String,
    /// The stable word of the reason; null where the statement simply goes out.
    reason: Option<&'static str>,
    /// The reason as a sentence, with the way on where the route stops.
    explanation: Option<String>,
    /// The text that goes out, also where it is the same; null where nothing goes out.
    rewritten: Option<String>,
    /// The default database that goes out with it; null where nothing goes out.
    default_database: Option<String>,
}

#[derive(Debug, Serialize)]
struct AnswerObject {
    #[serde(rename = "type")]
    object_type: &'static str,
    database: String,
    /// Null for a database.
    name: Option<String>,
    /// `target` or `reference`.
    role: &'static str,
    selected: bool,
    /// Database and name at the replica; null where it is not selected. The second is null for a database.
    mapped: Option<(String, Option<String>)>,
    /// Bytes of the name in the text: first, and one after the last.
    span: [usize; 2],
    /// Bytes of the database's name, where the text has it.
    database_span: Option<[usize; 2]>,
    #[serde(skip)]
    by: String,
}

impl Explainer<'_> {
    fn explain(&mut self, sql: &[u8], session: Session<'_>) -> Answer {
        let context = Context {
            default_database: session.database,
            sql_mode: session.sql_mode,
            client_collation: session.client_collation,
            version: self.version.number,
            mariadb: self.version.vendor == Vendor::MariaDb,
        };
        let statement = ddl::analyze(sql, &context);
        let mut verdict = policy::judge(&self.rules, &statement, sql, &context);
        if let Some(learned) = verdict.learned.take() {
            self.rules = Cow::Owned(self.rules.with_learned(Arc::new(*learned)));
        }
        let goes_out = matches!(verdict.action, Action::Forward | Action::Split);
        let Verdict { action, word, rule, reason, rewritten, default_database, .. } = &verdict;
        Answer {
            kind: statement.kind.0,
            class: class_word(statement.class),
            objects: objects(&statement, &verdict),
            action: action.as_str(),
            rule: rule.clone(),
            reason: reason.as_ref().map(|_| word.as_str()),
            explanation: reason.clone(),
            rewritten: goes_out.then(|| session::decode(session.client_collation, rewritten.as_deref().unwrap_or(sql))),
            default_database: goes_out.then(|| default_database.clone()),
        }
    }
}

fn objects(statement: &Statement, verdict: &Verdict) -> Vec<AnswerObject> {
    let answers = statement.objects.iter().enumerate().map(|(index, object)| {
        let is_database = object.object_type == ObjectType::Database;
        let named = |name: &str| (!is_database).then(|| name.to_owned());
        // A transparent route judges nothing and passes everything.
        let (selected, mapped, by) = match verdict.objects.get(index).map(|object| &object.decision) {
            None => (true, Some((object.database.clone(), named(&object.name))), verdict.rule.clone()),
            Some(decision) => match &decision.selection {
                Selection::Selected { database, name } => {
                    (true, Some((database.clone(), named(name))), decision.by.to_string())
                }
                Selection::NotSelected => (false, None, decision.by.to_string()),
            },
        };
        AnswerObject {
            object_type: type_word(object.object_type),
            database: object.database.clone(),
            name: named(&object.name),
            role: if object.role == Role::Target { "target" } else { "reference" },
            selected,
            mapped,
            span: [object.span.start, object.span.end],
            database_span: object.database_span.as_ref().map(|span| [span.start, span.end]),
            by,
        }
    });
    answers.collect()
}

fn class_word(class: Class) -> &'static str {
    match class {
        Class::Supported => "supported",
        Class::Unsupported => "unsupported",
        Class::Transaction => "transaction",
        Class::Unknown => "unknown",
    }
}

fn type_word(object_type: ObjectType) -> &'static str {
    match object_type {
        ObjectType::Database => "database",
        ObjectType::Table => "table",
        ObjectType::View => "view",
        ObjectType::Procedure => "procedure",
        ObjectType::Function => "function",
        ObjectType::Trigger => "trigger",
        ObjectType::Event => "event",
        ObjectType::Sequence => "sequence",
        ObjectType::Package => "package",
    }
}

impl Answer {
    /// The answer for people.
    fn write_text(&self, output: &mut impl Write) -> io::Result<()> {
        writeln!(output, "kind     {} ({})", self.kind, self.class)?;
        for (index, object) in self.objects.iter().enumerate() {
            let full = |database: &str, name: Option<&str>| match name {
                Some(name) => format!("{database}.{name}"),
                None => database.to_owned(),
            };
            let name = full(&object.database, object.name.as_deref());
            let outcome = match &object.mapped {
                Some((database, name)) => format!("goes out as {}", full(database, name.as_deref())),
                None => "does not go out".to_owned(),
            };
            writeln!(
                output,
                "{} {} {name}, {} at bytes {}..{}: {outcome} ({})",
                if index == 0 { "objects " } else { "        " },
                object.object_type,
                object.role,
                object.span[0],
                object.span[1],
                object.by
            )?;
        }
        writeln!(output, "action   {} by {}", self.action, self.rule)?;
        if let (Some(word), Some(sentence)) = (self.reason, &self.explanation) {
            writeln!(output, "reason   {word}: {sentence}")?;
        }
        if let Some(text) = &self.rewritten {
            writeln!(output, "text     {}", text.replace('\n', "\n         "))?;
        }
        if let Some(database) = self.default_database.as_deref().filter(|database| !database.is_empty()) {
            writeln!(output, "database {database}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(input: &str) -> Vec<serde_json::Value> {
        let version = parse_version(DEFAULT_VERSION).unwrap();
        let rules = RuleSet::transparent();
        let mut output = Vec::new();
        let mut explainer = Explainer { rules: Cow::Owned(rules), version: &version };
        let session = Session { database: "d", sql_mode: 0, client_collation: 45 };
        answer_lines(&mut explainer, session, &mut BufReader::new(input.as_bytes()), &mut output).unwrap();
        String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_line_is_answered_and_a_bad_one_does_not_end_the_run() {
        let found = answers(
            "\"DROP TABLE a\"\n\n{\"sql\":\"DROP TABLE a\",\"database\":\"x\"}\n{\"sq\":1}\nnonsense\n3\n\"BEGIN\"",
        );
        assert_eq!(found.len(), 6);
        assert_eq!(found[0]["objects"][0]["mapped"], serde_json::json!(["d", "a"]));
        assert_eq!(found[1]["objects"][0]["database"], "x");
        for bad in &found[2..5] {
            assert!(bad["error"].as_str().unwrap().starts_with("the line cannot be read: "), "{bad}");
        }
        assert_eq!(found[5]["class"], "transaction");
    }

    #[test]
    fn a_statement_is_read_in_its_own_session() {
        let found = answers(concat!(
            r#"{"sql": "DROP TABLE \"a\"", "sql_mode": "ANSI_QUOTES"}"#,
            "\n",
            r#"{"sql": "DROP TABLE \"a\"", "sql_mode": 4}"#,
            "\n",
            r#"{"sql": "DROP TABLE \"a\""}"#,
            "\n",
            r#"{"sql": "DROP TABLE `縗`, b", "charset": "gbk"}"#,
            "\n",
            r#"{"sql": "DROP TABLE a", "charset": "utf16"}"#,
            "\n",
            r#"{"sql": "DROP TABLE a", "sql_mode": "QUOTES"}"#,
        ));
        for quoted in &found[..2] {
            assert_eq!(quoted["objects"][0]["name"], "a");
        }
        assert_eq!(found[2]["kind"], "unknown");
        // Two bytes in gbk, three in UTF-8.
        assert_eq!(found[3]["objects"][0]["span"], serde_json::json!([11, 15]));
        assert_eq!(found[3]["rewritten"], "DROP TABLE `縗`, b");
        assert!(found[4]["error"].as_str().unwrap().contains("utf16"), "{}", found[4]);
        assert!(found[5]["error"].as_str().unwrap().contains("QUOTES"), "{}", found[5]);
    }

    #[test]
    fn versions_name_their_vendor() {
        for (text, number, vendor) in [
            ("5.7.29", 50729, Vendor::MySql),
            ("5.5.5-10.11.19-MariaDB-log", 101119, Vendor::MariaDb),
            ("10.11.19", 101119, Vendor::MariaDb),
            ("mariadb-10.11", 101100, Vendor::MariaDb),
            ("MySQL 8.0.40", 80040, Vendor::MySql),
            ("mariadb-5.5", 50500, Vendor::MariaDb),
        ] {
            let version = parse_version(text).unwrap();
            assert_eq!((version.number, version.vendor), (number, vendor), "{text}");
        }
        assert!(parse_version("new").is_err());
    }
}
