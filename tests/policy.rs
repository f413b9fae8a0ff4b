//! The policy over real text: `fixtures/policy/<case>/route.toml` holds the rules of a route, `cases.txt` statements and what becomes
//! of them. `UPDATE_GOLDEN=1` writes the verdicts anew, to be read before they are believed.
//!
//! In `cases.txt`, `use db` sets the default database, a statement ends at an empty line, and below it stand
//! Statements of one file are one history, for routes that learn from them.
//! `-> action reason rule`, `=> text` where other text goes out, `@@ db` where the default database changes, `?? sentence`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
fn verdict(rules: &mut RuleSet, sql: &str, database: &str) -> String {
    let context =
        Context { default_database: database, sql_mode: 0, client_collation: 45, version: 80040, mariadb: false };
    let statement = ddl::analyze(sql.as_bytes(), &context);
    let verdict = judge(rules, &statement, sql.as_bytes(), &context);
    if let Some(learned) = &verdict.learned {
        *rules = rules.with_learned(Arc::new((**learned).clone()));
    }
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
        let mut rules = rules(&folder);
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
                written.push_str(&verdict(&mut rules, &sql.join("\n"), &database));
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

/// One in this many statements of the corpus is judged in the dev profile, to stay within seconds.
const SAMPLE: usize = if cfg!(debug_assertions) { 53 } else { 2 };

/// Where the rules say that nothing can grow, no statement of the public corpus comes out longer, nor does its default database:
/// file-and-position replicas are promised the source's own coordinates then.
#[test]
fn nothing_grows_where_the_rules_say_so() {
    let statements = crate::ddl_corpus::statements();
    let routes = [
        "database = \"corpus_db\"\nrename = \"corpus_xx\"",
        "database = \"corpus_*\"\nrename = \"c_*\"",
        "table = \"corpus_db.*\"\nrename = \"c.*\"",
        "table = \"corpus_db.t1\"\nrename = \"corpus_xx.t2\"",
        "table = \"corpus_db.*\"\n\n[[routes.r.objects]]\nexclude = \"corpus_db.t1\"",
        "table = \"corpus_db.t?\"\n\n[[routes.r.objects]]\ntable = \"corpus_db.t1\"\nrename = \"corpus_db.x1\"",
        "database = \"*\"\n\n[[routes.r.objects]]\ndatabase = \"test\"\nrename = \"tt\"",
    ];
    for route in routes {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("route.toml");
        let ddl = "[routes.r.ddl]\nunsupported = \"forward\"\nreference = \"skip\"\n";
        fs::write(&path, format!("{HEAD}[[routes.r.objects]]\n{route}\n\n{ddl}")).unwrap();
        let config = Config::load_offline(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let rules = &config.routes["r"].rules;
        assert_eq!(rules.growth_reason(), None, "{route}");
        let mut mapped = 0;
        for (number, statement) in statements.iter().enumerate().filter(|(number, _)| number % SAMPLE == 0) {
            let sql = statement["sql"].as_str().unwrap().as_bytes();
            let mariadb = number % 2 == 0;
            let version = if mariadb { 101119 } else { 90704 };
            for database in ["corpus_db", "test", "other"] {
                let context =
                    Context { default_database: database, sql_mode: 0, client_collation: 45, version, mariadb };
                let statement = ddl::analyze(sql, &context);
                let verdict = judge(rules, &statement, sql, &context);
                // A new name that is also an alias of the statement is qualified: see `rules/growth.rs`.
                let aliased = statement.aliases.iter().any(|alias| ["t2", "x1"].contains(&alias.as_str()));
                if aliased || !matches!(verdict.action, Action::Forward | Action::Split) {
                    continue;
                }
                let text = verdict.rewritten.as_deref().unwrap_or(sql);
                mapped += usize::from(text != sql);
                assert!(
                    text.len() <= sql.len() && verdict.default_database.len() <= database.len(),
                    "{route}\n{database}: {}\n{}: {}",
                    String::from_utf8_lossy(sql),
                    verdict.default_database,
                    String::from_utf8_lossy(text)
                );
            }
        }
        println!("{mapped} statements mapped by {}", route.replace('\n', " "));
    }
}

/// A statement with very many names is judged and written in time that grows with its length.
#[test]
fn very_long_lists_are_judged_in_linear_time() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("route.toml");
    let objects =
        "[[routes.r.objects]]\ndatabase = \"shop\"\nrename = \"shop_cn\"\n[routes.r.ddl]\nrename_out = \"skip\"\n";
    fs::write(&path, format!("{HEAD}{objects}")).unwrap();
    let config = Config::load_offline(&path).unwrap_or_else(|errors| panic!("{errors}"));
    let rules = &config.routes["r"].rules;
    let context =
        Context { default_database: "shop", sql_mode: 0, client_collation: 45, version: 80040, mariadb: false };
    let lists: [(&str, &dyn Fn(usize) -> String); 3] = [
        ("DROP TABLE ", &|number| format!("shop.a{number}, hr.b{number}")),
        ("RENAME TABLE ", &|number| format!("a{number} TO c{number}, hr.b{number} TO hr.d{number}")),
        ("RENAME TABLE ", &|number| format!("a{number} TO hr.c{number}, b{number} TO d{number}")),
    ];
    let started = std::time::Instant::now();
    for (verb, element) in lists {
        let sql = verb.to_owned() + &(0..10_000).map(element).collect::<Vec<_>>().join(", ");
        let statement = ddl::analyze(sql.as_bytes(), &context);
        let verdict = judge(rules, &statement, sql.as_bytes(), &context);
        assert_eq!(verdict.action, Action::Split, "{:?}", verdict.reason);
        assert!(!String::from_utf8(verdict.rewritten.unwrap()).unwrap().contains("hr."));
    }
    // Quadratic work on this many names takes minutes in the dev profile.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
