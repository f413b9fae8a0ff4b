//! The table of kinds in the documentation is what the code does, and has every kind that a server wrote to a binlog.

use std::collections::BTreeMap;

use replproxy::ddl::{Class, analyze};

use crate::ddl_corpus::{context, corpus};

/// The rows of `src/ddl/KINDS.md`: kind, and class, group, servers, example.
fn documented() -> BTreeMap<String, [String; 4]> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ddl/KINDS.md");
    let text = std::fs::read_to_string(path).expect("the table is in the tree");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').trim().to_owned());
        let mut next = || cells.next().unwrap_or_else(|| panic!("a cell is missing: {row}"));
        (next(), [next(), next(), next(), next()])
    })
    .collect()
}

#[test]
fn every_example_is_of_its_kind_and_class() {
    let mut wrong = Vec::new();
    for (kind, [class, group, servers, example]) in documented() {
        assert!(
            ["data", "definition", "transaction", "session", "administrative"].contains(&group.as_str()),
            "{kind}: {group}"
        );
        for (vendor, version, mariadb) in [("MySQL", 90_704, false), ("MariaDB", 101_119, true)] {
            if servers != "any" && servers != vendor {
                continue;
            }
            let mut session = context(version, mariadb);
            // Packages are of MariaDB's Oracle mode.
            session.sql_mode = if kind.contains("package") { 1 << 9 } else { 0 };
            let statement = analyze(example.as_bytes(), &session);
            let found = match statement.class {
                Class::Supported => "supported",
                Class::Unsupported => "unsupported",
                Class::Transaction => "transaction",
                Class::Unknown => "unknown",
            };
            if (statement.kind.0, found) != (kind.as_str(), class.as_str()) {
                wrong.push(format!("{vendor}: {example}: {} {found}, documented {kind} {class}", statement.kind.0));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_kind_that_a_server_wrote_has_a_row() {
    let Some(table) = corpus().map(|folder| folder.join("ddl/kinds_in_binlog.md")) else {
        println!("skipped: the corpus is not here (set REPLPROXY_CORPUS)");
        return;
    };
    let text = std::fs::read_to_string(table).expect("the corpus is readable");
    let section = text.split("\n## ").next().unwrap_or_default();
    let documented = documented();
    let kinds = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let missing: Vec<&str> =
        kinds.filter(|kind| *kind != "kind" && !kind.starts_with('-') && !documented.contains_key(*kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(documented.len() > 60, "the table was not read");
}
