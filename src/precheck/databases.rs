//! The databases that replicas need: CREATE DATABASE is not on the supported list, and what a table takes from its database is in no event.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::list;
use super::observe::{BATCH, quoted};
use super::{Finding, Item, Observed};
use crate::pipeline::policy::Choice;
use crate::pipeline::rules::{RuleSet, Selection};
use crate::source::{Client, SourceError};

/// What a CREATE TABLE without a character set takes from its database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Defaults {
    /// Name of the character set.
    pub character_set: String,
    /// Name of the collation.
    pub collation: String,
}

/// The defaults of databases by name, so far as the account sees them.
pub(super) async fn defaults(
    client: &mut Client,
    databases: &[&String],
) -> Result<BTreeMap<String, Defaults>, SourceError> {
    let mut defaults = BTreeMap::new();
    for batch in databases.chunks(BATCH) {
        let list = batch.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",");
        let answer = client
            .query(&format!(
                "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA \
                 WHERE SCHEMA_NAME IN ({list})"
            ))
            .await?;
        defaults.extend((0..answer.rows.len()).filter_map(|row| {
            let (character_set, collation) = (answer.text(row, 1)?, answer.text(row, 2)?);
            Some((answer.text(row, 0)?, Defaults { character_set, collation }))
        }));
    }
    Ok(defaults)
}

pub(super) fn judge(observed: &Observed, rules: &RuleSet) -> Finding {
    const ITEM: Item = Item::ReplicaDatabases;
    let policy = rules.policy();
    let is_sent = policy.unsupported == Choice::Forward || policy.allow.contains("create_db");
    if rules.is_transparent() || is_sent && !policy.deny.contains("create_db") {
        return Finding::pass(ITEM, "CREATE DATABASE goes out; what the source has now is made by hand or by a dump");
    }
    let (Ok(defaults), Ok(tables)) = (&observed.defaults, &observed.tables) else {
        return Finding::warn(ITEM, "the databases cannot be listed", "GRANT SELECT to the account");
    };
    // A new database, and which of the source's come into it with which defaults.
    let mut wanted: BTreeMap<String, BTreeMap<&Defaults, BTreeSet<&str>>> = BTreeMap::new();
    let mut want = |new: String, old: &str| {
        if let Some((old, defaults)) = defaults.get_key_value(old) {
            wanted.entry(new).or_default().entry(defaults).or_default().insert(old);
        }
    };
    for old in defaults.keys() {
        if let Some(new) = rules.database(old) {
            want(new, old);
        }
    }
    for table in tables {
        if let Selection::Selected { database, .. } = rules.table(&table.database, &table.name) {
            want(database, &table.database);
        }
    }
    let mixed: Vec<String> = (wanted.iter().filter(|(_, by_defaults)| by_defaults.len() > 1))
        .map(|(new, by_defaults)| {
            let told = by_defaults.iter().map(|(defaults, old)| {
                let old: Vec<String> = old.iter().map(|&old| old.to_owned()).collect();
                format!("{} ({})", list(&old), defaults.collation)
            });
            format!("{new} from {}", told.collect::<Vec<_>>().join(" and "))
        })
        .collect();
    if !mixed.is_empty() {
        let found = format!("databases with different defaults come into one: {}", list(&mixed));
        let next = "a CREATE TABLE without a character set takes the one of the replica's database, and rows hold the bytes of the source's: \
                    name it in every CREATE TABLE, or give the databases names of their own";
        return Finding::warn(ITEM, found, next);
    }
    let statements: Vec<String> = (wanted.iter())
        .filter_map(|(new, by_defaults)| {
            let Defaults { character_set, collation } = by_defaults.keys().next()?;
            let name = new.replace('`', "``");
            Some(format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET {character_set} COLLATE {collation};"))
        })
        .collect();
    Finding::pass(
        ITEM,
        match statements.as_slice() {
            [] => "nothing that is selected is there yet".to_owned(),
            statements => format!("made by hand at replicas: {}", statements.join(" ")),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::rules::tests::rules;
    use crate::precheck::{Status, observe::tests::observed};

    #[test]
    fn what_is_to_be_made_at_a_replica_is_told_with_the_defaults_of_the_source() {
        const LATIN: &str = "latin1_swedish_ci";
        for (objects, tables, expected) in [
            (
                "db shop as cn",
                &["shop.a"][..],
                "Pass made by hand at replicas: CREATE DATABASE IF NOT EXISTS `cn` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;",
            ),
            (
                "db shop as cn\ntable crm.t as y.t",
                &["shop.a", "crm.t", "crm.u"],
                "Pass made by hand at replicas: CREATE DATABASE IF NOT EXISTS `cn` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin; CREATE DATABASE IF NOT EXISTS `y` CHARACTER SET latin1 COLLATE latin1_swedish_ci;",
            ),
            (
                "db shop\ntable crm.t as shop.crm_t",
                &["shop.a", "crm.t"],
                "Warn databases with different defaults come into one: shop from crm (latin1_swedish_ci) and shop (utf8mb4_bin)",
            ),
            ("db other", &["shop.a"], "Pass nothing that is selected is there yet"),
            ("", &["shop.a"], "Pass CREATE DATABASE goes out; what the source has now is made by hand or by a dump"),
        ] {
            let mut observed = observed("8.0.41", &[], tables);
            let of = |name: &str| match name {
                "crm" => {
                    (name.to_owned(), Defaults { character_set: "latin1".to_owned(), collation: LATIN.to_owned() })
                }
                _ => (
                    name.to_owned(),
                    Defaults { character_set: "utf8mb4".to_owned(), collation: "utf8mb4_bin".to_owned() },
                ),
            };
            observed.defaults = Ok(observed.databases.iter().flatten().map(|name| of(name)).collect());
            let rules = if objects.is_empty() { RuleSet::transparent() } else { rules(objects) };
            let finding = judge(&observed, &rules);
            assert_eq!(format!("{:?} {}", finding.status, finding.found), expected, "{objects}");
            assert_eq!(finding.status == Status::Warn, finding.next_step.is_some());
        }
    }
}
