//! The databases that replicas need: CREATE DATABASE is not on the supported list, and what a table takes from its database is in no event.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{list, list_of};
use super::observe::{BATCH, quoted};
use super::{Finding, Item, Observed};
use crate::pipeline::policy::Choice;
use crate::pipeline::rules::{RuleSet, Selection};
use crate::source::{Client, SourceError};

/// Statements for copying that a line shows; more are counted.
const STATEMENTS_SHOWN: usize = 20;

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
    const SENT: &str = "CREATE DATABASE goes out; what the source has now comes with the copy of its data";
    if rules.is_transparent() {
        return Finding::pass(ITEM, SENT);
    }
    let policy = rules.policy();
    let goes_out = policy.unsupported == Choice::Forward || policy.allow.contains("create_db");
    let is_sent = |old: &str| goes_out && rules.database(old).is_some();
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
            let (Defaults { character_set, collation }, old) = by_defaults.iter().next()?;
            if old.iter().all(|old| is_sent(old)) {
                return None;
            }
            let name = new.replace('`', "``");
            Some(format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET {character_set} COLLATE {collation};"))
        })
        .collect();
    match statements.as_slice() {
        [] if wanted.is_empty() => {
            Finding::pass(ITEM, "nothing that is selected is there yet, or the account may not see it")
        }
        [] => Finding::pass(ITEM, SENT),
        statements => {
            Finding::pass(ITEM, format!("made by hand at replicas: {}", list_of(statements, " ", STATEMENTS_SHOWN)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::policy::Policy;
    use crate::pipeline::rules::tests::with_policy;
    use crate::precheck::{Status, observe::tests::observed};

    #[test]
    fn what_is_to_be_made_at_a_replica_is_told_with_the_defaults_of_the_source() {
        const CN: &str = "CREATE DATABASE IF NOT EXISTS `cn` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;";
        const Y: &str = "CREATE DATABASE IF NOT EXISTS `y` CHARACTER SET latin1 COLLATE latin1_swedish_ci;";
        const MIXED: &str = "shop from crm (latin1_swedish_ci) and shop (utf8mb4_bin)";
        let defaults = |character_set: &str, collation: &str| Defaults {
            character_set: character_set.to_owned(),
            collation: collation.to_owned(),
        };
        // Objects; whether CREATE DATABASE is allowed; the source's tables; whether that is a warning, and what it says.
        for (objects, allowed, tables, (warns, words)) in [
            ("db shop as cn", false, &["shop.a"][..], (false, format!("replicas: {CN}"))),
            ("db shop as cn\ntable crm.t as y.t", false, &["shop.a", "crm.t", "crm.u"], (false, format!("{CN} {Y}"))),
            ("db shop\ntable crm.t as shop.crm_t", false, &["shop.a", "crm.t"], (true, MIXED.to_owned())),
            ("db shop\ntable crm.t as shop.crm_t", true, &["shop.a", "crm.t"], (true, MIXED.to_owned())),
            ("db shop as cn", true, &["shop.a"], (false, "CREATE DATABASE goes out".to_owned())),
            // It stops a route that selects tables of the database only.
            ("db shop\ntable crm.t as y.t", true, &["shop.a", "crm.t"], (false, format!("replicas: {Y}"))),
            ("db other", false, &["shop.a"], (false, "or the account may not see it".to_owned())),
        ] {
            let mut observed = observed("8.0.41", &[], tables);
            let of = |name: &String| match name.as_str() {
                "crm" => (name.clone(), defaults("latin1", "latin1_swedish_ci")),
                _ => (name.clone(), defaults("utf8mb4", "utf8mb4_bin")),
            };
            observed.defaults = Ok(observed.databases.iter().flatten().map(of).collect());
            let allow = allowed.then(|| "create_db".to_owned()).into_iter().collect();
            let finding = judge(&observed, &with_policy(objects, Policy { allow, ..Policy::default() }));
            assert!(finding.found.contains(&words), "{objects} {allowed}: {finding:?}");
            assert_eq!((finding.status == Status::Warn, finding.next_step.is_some()), (warns, warns), "{finding:?}");
        }
        let finding = judge(&observed("8.0.41", &[], &["shop.a"]), &RuleSet::transparent());
        assert!(finding.found.starts_with("CREATE DATABASE goes out"), "{finding:?}");
    }
}
