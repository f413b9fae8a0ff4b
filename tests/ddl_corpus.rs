//! The analyser against the verdicts of four real servers on the statements of the public corpus.
//!
//! The corpus is read in place (`../shared/corpus`, or `REPLPROXY_CORPUS`). With `DDL_REPORT=file` every disagreement
//! is written there, for working on the analyser.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use replproxy::ddl::{Class, Context, Kind, ObjectType, Statement, analyze};
use serde_json::Value;

/// The servers of the corpus: key, `Context.version`, MariaDB.
const SERVERS: [(&str, u32, bool); 4] =
    [("m56", 50624, false), ("m57", 50729, false), ("m97", 90704, false), ("mdb", 101119, true)];

/// Statements that one of the servers ran are judged one in this many in the dev profile, to stay within seconds.
const SAMPLE: usize = if cfg!(debug_assertions) { 4 } else { 1 };

/// The folder of the corpus, where there is one.
pub(crate) fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("REPLPROXY_CORPUS").map(PathBuf::from).or_else(|| {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        [here.join("../shared/corpus"), here.join("../../shared/corpus")].into_iter().find(|path| path.is_dir())
    })?;
    folder.is_dir().then_some(folder)
}

/// Every statement of the public corpus; nothing where the corpus is absent.
pub(crate) fn statements() -> Vec<Value> {
    let Some(path) = corpus().map(|folder| folder.join("ddl/public.jsonl.gz")).filter(|path| path.is_file()) else {
        println!("skipped: the corpus is not here (set REPLPROXY_CORPUS)");
        return Vec::new();
    };
    let file = std::fs::File::open(path).expect("the corpus is readable");
    BufReader::new(flate2::read::GzDecoder::new(file))
        .lines()
        .map(|line| serde_json::from_str(&line.expect("the corpus is text")).expect("the corpus is JSON"))
        .collect()
}

pub(crate) fn context(version: u32, mariadb: bool) -> Context<'static> {
    Context { default_database: "corpus_db", sql_mode: 0, client_collation: 45, version, mariadb }
}

/// Names by what they are; the server cannot tell tables, views and sequences apart where it only looked them up.
fn family(kind: &str) -> &'static str {
    match kind {
        "table" | "view" | "sequence" => "table",
        "procedure" | "function" | "routine" => "routine",
        "trigger" => "trigger",
        "event" => "event",
        _ => "other",
    }
}

fn found_names(statement: &Statement) -> BTreeSet<(&'static str, String, String)> {
    statement
        .objects
        .iter()
        .filter(|object| object.object_type != ObjectType::Database)
        .map(|object| {
            let family = match object.object_type {
                ObjectType::Table | ObjectType::View | ObjectType::Sequence => "table",
                ObjectType::Procedure | ObjectType::Function => "routine",
                ObjectType::Trigger => "trigger",
                ObjectType::Event => "event",
                _ => "other",
            };
            (family, object.database.to_lowercase(), object.name.to_lowercase())
        })
        .collect()
}

fn labelled_names(statement: &Value) -> BTreeSet<(&'static str, String, String)> {
    statement["objects"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|object| !matches!(object["type"].as_str(), Some("database" | "user" | "role")))
        // Names that are known only from an error's list of unknown tables, which the server cuts off.
        .filter(|object| {
            let only_errors = object["by"]
                .as_array()
                .into_iter()
                .flatten()
                .all(|by| by.as_str().is_some_and(|by| by.ends_with("err1051") || by.ends_with("err4092")));
            !only_errors
        })
        .map(|object| {
            let text = |key: &str| object[key].as_str().unwrap_or_default().to_lowercase();
            (family(object["type"].as_str().unwrap_or_default()), text("db"), text("name"))
        })
        .collect()
}

#[derive(Default)]
struct Score {
    judged: usize,
    agreed: usize,
    denied: usize,
    refused: usize,
    refused_known: usize,
    object_statements: usize,
    object_equal: usize,
    wanted: usize,
    found: usize,
    common: usize,
    report: String,
}

impl Score {
    fn kinds(&mut self, row: &Value, text: &str) {
        let mut parsed = false;
        let mut supported = false;
        let mut confirmed = false;
        for (server, version, mariadb) in SERVERS {
            let verdict = &row[server];
            let Some(did_parse) = verdict["parsed"].as_bool() else { continue };
            let statement = analyze(text.as_bytes(), &context(version, mariadb));
            supported |= statement.class == Class::Supported;
            if !did_parse {
                continue;
            }
            parsed = true;
            let kind = verdict["kind"].as_str().unwrap_or_default();
            self.judged += 1;
            if statement.kind.0 == kind {
                self.agreed += 1;
                confirmed |= statement.class == Class::Supported;
            } else {
                let why = statement.doubt.as_deref().unwrap_or("");
                let _ = writeln!(self.report, "KIND {server} {} for {kind} ({why}): {text:?}", statement.kind.0);
            }
        }
        if parsed && supported && !confirmed {
            self.denied += 1;
            let _ = writeln!(self.report, "DENIED {text:?}");
        }
        if !parsed && row["label"] == "labelled" {
            self.refused += 1;
            if supported {
                self.refused_known += 1;
                let _ = writeln!(self.report, "REFUSED {} {text:?}", row["mdb"]["errno"]);
            }
        }
    }

    fn objects(&mut self, row: &Value, text: &str) {
        let Some((_, version, mariadb)) =
            SERVERS.iter().rev().find(|(server, ..)| row[*server]["parsed"].as_bool() == Some(true))
        else {
            return;
        };
        let statement = analyze(text.as_bytes(), &context(*version, *mariadb));
        if statement.kind == Kind::UNKNOWN || row["objects_complete"] != true {
            return;
        }
        let (found, wanted) = (found_names(&statement), labelled_names(row));
        self.object_statements += 1;
        self.object_equal += usize::from(found == wanted);
        self.wanted += wanted.len();
        self.found += found.len();
        self.common += found.intersection(&wanted).count();
        if found != wanted {
            let missing: Vec<_> = wanted.difference(&found).collect();
            let extra: Vec<_> = found.difference(&wanted).collect();
            let _ = writeln!(self.report, "OBJECTS {} missing {missing:?} extra {extra:?}: {text:?}", statement.kind.0);
        }
    }
}

#[test]
fn kinds_and_names_are_what_the_servers_say() {
    let rows = statements();
    if rows.is_empty() {
        return;
    }
    let mut score = Score::default();
    let ran = rows.iter().filter(|row| SERVERS.iter().any(|(server, ..)| row.get(*server).is_some()));
    let sample = if std::env::var_os("DDL_REPORT").is_some() { 1 } else { SAMPLE };
    for row in ran.step_by(sample) {
        let text = row["sql"].as_str().expect("every line has a statement");
        score.kinds(row, text);
        score.objects(row, text);
    }
    if let Some(path) = std::env::var_os("DDL_REPORT") {
        std::fs::write(path, &score.report).expect("the report can be written");
    }
    let share = |part: usize, whole: usize| part as f64 * 100.0 / whole.max(1) as f64;
    println!(
        "kinds: {}/{} ({:.3} %), denied {}, refused {} of which supported {}",
        score.agreed,
        score.judged,
        share(score.agreed, score.judged),
        score.denied,
        score.refused,
        score.refused_known
    );
    println!(
        "objects: {}/{} statements equal ({:.3} %), recall {:.3} %, precision {:.3} %",
        score.object_equal,
        score.object_statements,
        share(score.object_equal, score.object_statements),
        share(score.common, score.wanted),
        share(score.common, score.found)
    );
    assert!(share(score.agreed, score.judged) >= 99.9, "kinds differ from the servers'");
    assert_eq!(score.denied, 0, "a statement counts as supported whose kind every server denies");
    assert!(share(score.common, score.wanted) >= 99.5, "names are missing");
    assert!(share(score.common, score.found) >= 99.5, "names are invented");
}
