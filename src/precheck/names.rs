//! The names under which tables come: two that come under one, and names that differ in case only.

use std::collections::BTreeMap;

use super::judge::list;
use super::{Finding, Item, Observed, Table};
use crate::pipeline::rules::{ObjectRule, RuleSet, Selection};

/// The selected tables by the name that a key makes of their new one, as `database.table` each.
fn by_new_name<K: Ord>(
    tables: &[Table],
    rules: &RuleSet,
    key: impl Fn(&str, &str) -> K,
) -> BTreeMap<K, Vec<(String, String)>> {
    let mut named: BTreeMap<K, Vec<(String, String)>> = BTreeMap::new();
    for table in tables {
        if let Selection::Selected { database, name } = rules.table(&table.database, &table.name) {
            let (old, new) = (format!("{}.{}", table.database, table.name), format!("{database}.{name}"));
            named.entry(key(&database, &name)).or_default().push((old, new));
        }
    }
    named
}

fn without_case(database: &str, name: &str) -> (String, String) {
    (database.to_lowercase(), name.to_lowercase())
}

/// Rows of two tables under one name are mixed, and nothing in the stream says so. What the configuration shows by itself is refused
/// there; this is what depends on the tables that the source has.
pub(super) fn new_names(observed: &Observed, rules: &RuleSet) -> Finding {
    const ITEM: Item = Item::NewNames;
    let Ok(tables) = &observed.tables else {
        return Finding::warn(ITEM, "the tables cannot be listed", "GRANT SELECT to the account");
    };
    let together = |named: Vec<(String, String)>| {
        let new = named.first().map(|(_, new)| new.clone()).unwrap_or_default();
        let old: Vec<String> = named.into_iter().map(|(old, _)| old).collect();
        format!("{} as {new}", list(&old))
    };
    let exact = by_new_name(tables, rules, |database, name| (database.to_owned(), name.to_owned()));
    let mixed: Vec<String> = exact.into_values().filter(|named| named.len() > 1).map(together).collect();
    if !mixed.is_empty() {
        let found = format!("more than one table comes under one name: {}", list(&mixed));
        let next = "exclude all but one of them, or give them names of their own by table entries; if they are to be mixed (their keys must \
                    differ, and CREATE TABLE must reach the replica once), `--ignore new_names`";
        return Finding::fail(ITEM, found, next);
    }
    // Where the source tells names apart by their case, `name_case` speaks of this.
    if rules.is_folded() {
        let folded = by_new_name(tables, rules, without_case);
        let mixed: Vec<String> = folded.into_values().filter(|named| named.len() > 1).map(together).collect();
        if !mixed.is_empty() {
            let found = format!("new names differ in case only: {}", list(&mixed));
            let next = "a replica with lower_case_table_names 1 or 2 takes them for one table: give one of them another `rename`";
            return Finding::warn(ITEM, found, next);
        }
    }
    Finding::pass(ITEM, "every table comes under a name of its own")
}

pub(super) fn name_case(observed: &Observed, rules: &RuleSet) -> Finding {
    const ITEM: Item = Item::NameCase;
    /// What cannot be seen from here.
    const REPLICA: &str = "the replica's own lower_case_table_names is not told to a source: make sure of it there";
    let setting = observed.facts.lower_case_table_names;
    if setting != 0 {
        let found = format!("lower_case_table_names is {setting} at the source: names compare without case; {REPLICA}");
        return match setting {
            // Stored as written and compared without case: a replica with 0 takes two spellings for two tables.
            2 => Finding::warn(ITEM, found, "set lower_case_table_names to 1 or 2 at replicas too"),
            _ => Finding::pass(ITEM, found),
        };
    }
    let (Ok(databases), Ok(tables)) = (&observed.databases, &observed.tables) else {
        return Finding::warn(ITEM, "the objects cannot be listed", "GRANT SELECT to the account");
    };
    // What replicas with lower_case_table_names 1 or 2 would take for one table. Names that are equal are for `new_names`.
    let mut has_capitals = false;
    let mut twins = Vec::new();
    for mut spelled in by_new_name(tables, rules, without_case).into_values() {
        has_capitals |= spelled.iter().any(|(_, new)| new.chars().any(char::is_uppercase));
        spelled.sort_by(|one, other| one.1.cmp(&other.1));
        spelled.dedup_by(|one, other| one.1 == other.1);
        if spelled.len() > 1 {
            let names: Vec<String> = spelled.into_iter().map(|(old, _)| old).collect();
            twins.push(names.join(" and "));
        }
    }
    for rule in rules.rules() {
        let (ObjectRule::Database { pattern, .. } | ObjectRule::Table { database: pattern, .. }) = rule else {
            continue;
        };
        let Some(exact) = pattern.exact() else { continue };
        let other =
            databases.iter().find(|database| **database != exact && database.to_lowercase() == exact.to_lowercase());
        twins.extend(other.map(|other| format!("database {exact} and database {other}")));
    }
    twins.sort();
    twins.dedup();
    if !twins.is_empty() {
        let found = format!("{} differ in case only, and lower_case_table_names is 0 at the source", list(&twins));
        let next = "the rules tell them apart; a replica with lower_case_table_names 1 or 2 does not: use one with 0, or rename";
        return Finding::warn(ITEM, found, next);
    }
    let capitals = if has_capitals { ", and some have capitals" } else { "" };
    Finding::pass(ITEM, format!("lower_case_table_names is 0 at the source{capitals}; {REPLICA}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::rules::tests::rules;
    use crate::precheck::{Status, observe::tests::observed};

    #[test]
    fn tables_that_come_under_one_name_are_named() {
        const SHARDS: &str = "table db_a.t* as all.t*\ntable db_b.t* as all.t*";
        for (lower_case, objects, tables, mixed, twins) in [
            ("0", SHARDS, &["db_a.t1", "db_b.t2"][..], None, None),
            ("0", SHARDS, &["db_a.t1", "db_b.t1", "db_b.t2"], Some("FAIL db_a.t1, db_b.t1 as all.t1"), None),
            (
                "0",
                "db shop as cn\ntable shop.a as cn.b",
                &["shop.a", "shop.b"],
                Some("FAIL shop.a, shop.b as cn.b"),
                None,
            ),
            ("0", "db shop as cn\ntable shop.a as cn.b\nnot shop.b", &["shop.a", "shop.b"], None, None),
            ("0", SHARDS, &["db_a.tx", "db_b.tX"], None, Some("warn db_b.tX and db_a.tx")),
            ("1", "db a as X\ntable b.t as x.t", &["a.t", "b.t"], Some("warn a.t, b.t as X.t"), None),
            ("1", "db a as X\ntable b.t as x.t", &["a.u", "b.t"], None, None),
        ] {
            let observed = observed("8.0.41", &[("lower_case_table_names", lower_case)], tables);
            let rules = rules(objects).for_lower_case_table_names(observed.facts.lower_case_table_names);
            for (finding, expected) in [(new_names(&observed, &rules), mixed), (name_case(&observed, &rules), twins)] {
                let Some(expected) = expected else {
                    assert_eq!(finding.status, Status::Pass, "{objects}: {finding:?}");
                    continue;
                };
                let (status, words) = expected.split_once(' ').expect("status and words");
                let found = if finding.status == Status::Fail { "FAIL" } else { "warn" };
                assert!(found == status && finding.found.contains(words), "{objects}: {finding:?}");
            }
        }
    }
}
