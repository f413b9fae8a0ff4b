//! Rewritten statements on real servers: a definition that runs under its old names runs under the new ones, and what the
//! server then shows is the same, names mapped back.
//!
//! Every statement of the public corpus that a server accepts is run in a world of the old names, with whatever it needs
//! put there first (the corpus has no order, so tables come from the same test file or are made up from the server's
//! complaints). Then the same set-up and the rewritten statement run in a world where every database and table has a new
//! name. The names come in two kinds: plain ones under the default database's new name, and ones that need
//! quotes, in databases that are not the session's default one, so that every mention has to be qualified.
//!
//! `REPLPROXY_EXACTNESS=1` takes every statement (a quarter of an hour a server); a number takes one in so many of each kind.
//! `EXACTNESS_RICH=1` leaves out statements that name one object only, `EXACTNESS_ONLY=id,id` takes those that begin so,
//! `EXACTNESS_PART=3/8` the third of eight parts.
//! `EXACTNESS_REPORT=folder` writes what differed, and what could not be run, a file a server and part.
//!
//! The whole corpus, both kinds of names, one run a server on 2026-11-23: MySQL 5.7 25,002 of 25,004 runs equal, 9.7 20,859 of 20,860,
//! MariaDB 10.11 30,700 of 30,702. Two statements are left, under names that have to be qualified only: a column without an alias is
//! called by its expression's text, which got longer than 64 characters, so that the server makes up a name (a view with
//! `GROUPING(…)`) or refuses it (a table made from a subquery).

mod lab;
mod names;
mod needs;
mod shown;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use replproxy::ddl::{Class, ObjectType, Role, Statement, analyze};
use replproxy::secret::Secret;
use replproxy::source::{Client, Endpoint, TlsMode};

use crate::ddl_corpus::{context, statements};
use crate::support::fleet::Version;
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;
use lab::{Candidate, Lab, Outcome};
use names::{Naming, is_system};

/// One statement in this many of each kind, unless the environment says otherwise.
const SAMPLE: usize = 400;

/// The kinds that the contract forwards by itself or that `allow` is used for, where a server can show what they made.
const KINDS: [&str; 17] = [
    "create_table",
    "alter_table",
    "create_view",
    "create_index",
    "drop_index",
    "rename_table",
    "drop_table",
    "truncate",
    "drop_view",
    "create_trigger",
    "drop_trigger",
    "create_procedure",
    "create_function",
    "create_event",
    "alter_event",
    "create_sequence",
    "alter_sequence",
];

/// What came of the statements of one kind.
#[derive(Default)]
struct Tally {
    ran: usize,
    equal: usize,
    not_runnable: usize,
    opaque: usize,
}

/// A session of root, in our own client: it takes text in any character set, and one statement at a time.
pub(super) async fn root(server: &Server) -> Client {
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: server.port(),
        user: "root".into(),
        password: Secret::new(""),
        tls: TlsMode::Preferred,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        connect_timeout: Duration::from_secs(20),
    };
    Client::connect(&endpoint).await.expect("the server takes root's connection")
}

fn sample() -> usize {
    std::env::var("REPLPROXY_EXACTNESS").ok().and_then(|text| text.parse().ok()).unwrap_or(SAMPLE).max(1)
}

/// Which part of how many is run.
fn part() -> (usize, usize) {
    let text = std::env::var("EXACTNESS_PART").unwrap_or_default();
    let part = text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    part.filter(|&(_, parts)| parts > 0).unwrap_or((1, 1))
}

/// Where differences and statements that do not run are written down as they are found.
struct Report(Option<std::fs::File>);

impl Report {
    fn open(version: Version, part: usize) -> Self {
        Self(std::env::var_os("EXACTNESS_REPORT").map(|folder| {
            let path = std::path::PathBuf::from(folder).join(format!("{}-{part}.txt", version.name()));
            std::fs::File::create(path).expect("the report can be written")
        }))
    }

    fn line(&mut self, text: &str) {
        if let Some(file) = &mut self.0 {
            writeln!(file, "{text}").expect("the report can be written");
        }
    }
}

/// Why a statement is not run, if it is not.
fn reason_to_pass_over(sql: &str, statement: &Statement) -> Option<&'static str> {
    let touches_system =
        statement.objects.iter().any(|object| object.role == Role::Target && is_system(&object.database));
    if touches_system {
        return Some("changes a system database");
    }
    // The new name would be longer than a name can be.
    if statement.objects.iter().any(|object| object.name.len() > 50 || object.database.len() > 50) {
        return Some("has a long name");
    }
    if statement.objects.iter().any(|object| object.name.starts_with("#mysql50#")) {
        return Some("has the servers' own prefix for names of old data folders");
    }
    let table = statement.objects.iter().find(|object| object.object_type == ObjectType::Table);
    let trigger = statement.objects.iter().find(|object| object.object_type == ObjectType::Trigger);
    if trigger.zip(table).is_some_and(|(trigger, table)| trigger.database != table.database) {
        return Some("has a trigger away from its table, which no server takes");
    }
    // Tables without their files are in the way of all that comes after them.
    let words = sql.to_ascii_uppercase();
    if words.contains("TABLESPACE") && (words.contains("IMPORT") || words.contains("DISCARD")) {
        return Some("leaves a table without its file");
    }
    (sql.len() > 64 * 1024).then_some("is longer than 64 KiB")
}

async fn rewritten_statements_run_and_show_the_same(version: Version, key: &str, number: u32) {
    let rows = statements();
    if rows.is_empty() {
        return;
    }
    let options = ServerOptions::new()
        .without_binlog()
        .arg("--log-bin-trust-function-creators=1")
        .arg("--event-scheduler=OFF")
        .arg("--innodb-doublewrite=0")
        .arg("--innodb-flush-method=nosync")
        .arg("--innodb-flush-log-at-trx-commit=2")
        // A server of one test has nothing to lose in a power cut.
        .arg("--loose-sync-frm=0")
        .arg("--loose-debug-no-sync")
        .arg("--secure-file-priv=");
    let Some(server) = unless_available(Server::start(version, options).await) else { return };
    let session = context(number, version.is_mariadb());
    let mut candidates = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut taken = 0;
    let step = sample();
    let rich = std::env::var_os("EXACTNESS_RICH").is_some();
    let only = std::env::var("EXACTNESS_ONLY").ok();
    let (part, parts) = part();
    let mut passed_over: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        let sql = row["sql"].as_str().expect("every line has a statement");
        let statement = analyze(sql.as_bytes(), &session);
        let known = KINDS.iter().find(|kind| **kind == statement.kind.0).copied();
        let Some(kind) = known.filter(|_| row[key]["parsed"] == true) else { continue };
        let id = row["id"].as_str().unwrap_or_default();
        if only.as_ref().is_some_and(|only| !only.split(',').any(|only| id.starts_with(only))) {
            continue;
        }
        // Most statements name one table at their beginning, which is soon known to be right.
        if rich && statement.objects.len() < 2 {
            continue;
        }
        if let Some(why) = reason_to_pass_over(sql, &statement) {
            *passed_over.entry(why).or_default() += 1;
            continue;
        }
        let count = seen.entry(kind).or_default();
        *count += 1;
        let is_taken = count.is_multiple_of(step) || *count == 1;
        taken += usize::from(is_taken);
        if is_taken && taken % parts == part % parts {
            candidates.push(Candidate { id, kind, sql, path: row["path"].as_str().unwrap_or_default() });
        }
    }
    println!("{}: {} statements of {taken}; passed over: {passed_over:?}", version.name(), candidates.len());
    let mut lab = Lab::open(server, session, &rows).await;
    let mut report = Report::open(version, part);
    let mut failures = Vec::new();
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for candidate in &candidates {
        let tally = tallies.entry(candidate.kind).or_default();
        let outcomes = lab.examine(candidate, &[Naming::plain(), Naming::elsewhere()]).await;
        for (title, outcome) in outcomes {
            match outcome {
                Outcome::Equal => {
                    tally.ran += 1;
                    tally.equal += 1;
                }
                Outcome::NotRunnable(why) => {
                    tally.not_runnable += 1;
                    report.line(&format!("NOT RUN {} {why}: {:?}", candidate.id, candidate.sql));
                }
                Outcome::Opaque => tally.opaque += 1,
                Outcome::Differs(how) => {
                    tally.ran += 1;
                    let line = format!("{} {title} {:?}\n{how}", candidate.id, candidate.sql);
                    report.line(&format!("DIFFERS {line}"));
                    failures.push(line);
                }
            }
        }
    }
    let mut total = Tally::default();
    for (kind, tally) in &tallies {
        println!(
            "{} {kind}: {} of {} equal, {} not runnable, {} with bodies that are not read",
            version.name(),
            tally.equal,
            tally.ran,
            tally.not_runnable,
            tally.opaque
        );
        total.ran += tally.ran;
        total.equal += tally.equal;
        total.not_runnable += tally.not_runnable;
        total.opaque += tally.opaque;
    }
    println!(
        "{}: {} of {} equal, {} statements not runnable, {} with bodies that are not read",
        version.name(),
        total.equal,
        total.ran,
        total.not_runnable,
        total.opaque
    );
    println!("{}: {} new data directories", version.name(), lab.anew);
    assert!(total.ran > 0, "nothing ran");
    assert!(failures.is_empty(), "{} statements differ under new names, first:\n{}", failures.len(), failures[0]);
}

#[tokio::test]
async fn mysql_57() {
    rewritten_statements_run_and_show_the_same(Version::Mysql57, "m57", 50_729).await;
}

#[tokio::test]
async fn mysql_97() {
    rewritten_statements_run_and_show_the_same(Version::Mysql97, "m97", 90_704).await;
}

#[tokio::test]
async fn mariadb_1011() {
    rewritten_statements_run_and_show_the_same(Version::Mariadb1011, "mdb", 101_119).await;
}

#[test]
fn the_same_names_give_the_same_bytes() {
    let step = if cfg!(debug_assertions) { 7 } else { 1 };
    let (mut whole, mut kept) = (0_usize, 0_usize);
    for (number, row) in statements().iter().enumerate().step_by(step) {
        let sql = row["sql"].as_str().expect("every line has a statement").as_bytes();
        let (version, mariadb) = [(50_729, false), (90_704, false), (101_119, true)][number % 3];
        let session = context(version, mariadb);
        let statement = analyze(sql, &session);
        whole += 1;
        kept += usize::from(statement.class == Class::Supported);
        let names = Naming::identity().names(&statement);
        let text = replproxy::ddl::rewrite(sql, &statement, &session, &names, session.default_database, None);
        assert_eq!(text.as_deref(), Ok(sql), "{}", String::from_utf8_lossy(sql));
    }
    println!("{whole} statements, {kept} of them supported, are the same to the byte");
}
