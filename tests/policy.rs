//! The policy over real text: `fixtures/policy/<case>/route.toml` holds the rules of a route, `cases.txt` statements and what becomes
//! of them. `UPDATE_GOLDEN=1` writes the verdicts anew, to be read before they are believed.
//!
//! In `cases.txt`, `use db` sets the default database, a statement ends at an empty line, and below it stand
//! `-> action reason rule`, `=> text` where other text goes out, `@@ db` where the default database changes, `?? sentence`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use replproxy::config::Config;
use replproxy::ddl::{self, Context};
use replproxy::pipeline::policy::{Action, SUPPORTED_DDL, SUPPORTED_DML, UNSUPPORTED, judge};
use replproxy::pipeline::rules::RuleSet;

const HEAD: &str = "[sources.s]\nhost = \"h\"\nuser = \"u\"\npassword = \"\"\n\n[routes.r]\nsource = \"s\"\n\
                    listen = \"127.0.0.1:3307\"\nuser = \"u\"\npassword = \"\"\n\n";

fn rules(folder: &Path) -> RuleSet {
    let text = HEAD.to_owned() + &fs::read_to_string(folder.join("route.toml")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("route.toml");
    fs::write(&path, text).unwrap();
    let mut config = Config::load_offline(&path).unwrap_or_else(|errors| panic!("{errors}"));
    config.routes.remove("r").unwrap().rules
}

/// The verdict as `cases.txt` has it.
fn verdict(rules: &RuleSet, sql: &str, database: &str) -> String {
    let context =
        Context { default_database: database, sql_mode: 0, client_collation: 45, version: 80040, mariadb: false };
    let statement = ddl::analyze(sql.as_bytes(), &context);
    let verdict = judge(rules, &statement, sql.as_bytes(), &context);
    let mut text = format!("-> {} {} {}\n", verdict.action, verdict.word, verdict.rule);
    if let Some(rewritten) = &verdict.rewritten {
        writeln!(text, "=> {}", String::from_utf8_lossy(rewritten)).unwrap();
    }
    let goes_out = matches!(verdict.action, Action::Forward | Action::Split);
    if goes_out && verdict.default_database != database {
        let new = if verdict.default_database.is_empty() { "(none)" } else { &verdict.default_database };
        writeln!(text, "@@ {new}").unwrap();
    }
    if let Some(reason) = &verdict.reason {
        writeln!(text, "?? {reason}").unwrap();
    }
    text
}

#[test]
fn statements_are_judged_by_the_objects_that_they_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/policy");
    let mut folders: Vec<PathBuf> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let mut statements = 0;
    let mut wrong = String::new();
    for folder in folders {
        let rules = rules(&folder);
        let path = folder.join("cases.txt");
        let cases = fs::read_to_string(&path).unwrap();
        let mut database = String::new();
        let mut written = String::new();
        for block in cases.split("\n\n") {
            let mut sql = Vec::new();
            for line in block.lines() {
                if let Some(name) = line.strip_prefix("use") {
                    database = name.trim().to_owned();
                    writeln!(written, "{line}").unwrap();
                } else if line.starts_with('#') {
                    writeln!(written, "{line}").unwrap();
                } else if !["-> ", "=> ", "@@ ", "?? "].iter().any(|mark| line.starts_with(mark)) {
                    writeln!(written, "{line}").unwrap();
                    sql.push(line);
                }
            }
            if !sql.is_empty() {
                statements += 1;
                written.push_str(&verdict(&rules, &sql.join("\n"), &database));
            }
            written.push('\n');
        }
        let written = format!("{}\n", written.trim_end());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &written).unwrap();
        } else {
            for (number, (new, old)) in written.lines().zip(cases.lines()).enumerate() {
                if new != old {
                    writeln!(wrong, "{}:{}\n   is {new}\n   was {old}", path.display(), number + 1).unwrap();
                    break;
                }
            }
            if written.lines().count() != cases.lines().count() {
                writeln!(wrong, "{}: another number of lines", path.display()).unwrap();
            }
        }
    }
    assert!(statements > 100, "only {statements} statements in fixtures/policy");
    assert!(wrong.is_empty(), "{wrong}");
}

/// The kinds that ever reached a binlog of a real server are all known to `allow` and `deny`.
#[test]
fn every_kind_that_servers_write_to_binlogs_has_a_name_in_the_configuration() {
    let Some(table) = crate::corpus::folder().map(|corpus| corpus.join("ddl/kinds_in_binlog.md")) else { return };
    let text = fs::read_to_string(table).unwrap();
    let section = text.split("\n## ").next().unwrap();
    let mut seen = 0;
    for line in section.lines().filter_map(|line| line.strip_prefix("| ")) {
        let kind = line.split(' ').next().unwrap();
        if kind.starts_with('-') || kind == "kind" {
            continue;
        }
        seen += 1;
        let known = SUPPORTED_DDL.contains(&kind) || SUPPORTED_DML.contains(&kind) || UNSUPPORTED.contains(&kind);
        assert!(known, "{kind}");
    }
    assert!(seen > 40, "only {seen} kinds");
}
