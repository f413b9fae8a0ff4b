//! What changes selected tables from outside of the selection without a word in the stream: foreign keys of tables that are not selected,
//! and, where changes are logged as statements, views and triggers that a statement does not name.

use super::judge::list;
use super::observe::{BATCH, quoted};
use super::{Finding, Item, Observed, Table};
use crate::ddl::{self, Context, ObjectType};
use crate::pipeline::rules::{RuleSet, SYSTEM_SCHEMAS};
use crate::source::{Client, SourceError, SourceFacts, Vendor};

/// How many tables are asked for their definition, and how many views and triggers for their text.
const MAX_ASKED: usize = 500;

/// Actions of a foreign key that change the rows of its own table.
const CHANGING: [&str; 3] = ["CASCADE", "SET NULL", "SET DEFAULT"];

/// A foreign key of a selected table on one that is not selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its table.
    pub child: Table,
    /// Its name.
    pub name: String,
    /// The table that it refers to, as `database.table`.
    pub parent: String,
    /// `ON DELETE … ON UPDATE …`, empty where neither does anything; `None` where the definition is not shown.
    pub actions: Option<String>,
}

/// A view or trigger that is not selected and through which a statement can change another table than the one that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detour {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Whether it is a view.
    pub is_view: bool,
    /// What it does, where the source shows it to the account.
    pub text: Option<String>,
}

/// Whether changes are logged as rows, whatever a statement names.
fn logs_rows(facts: &SourceFacts) -> bool {
    facts.variable("binlog_format").is_none_or(|format| format.eq_ignore_ascii_case("ROW"))
}

/// Whether rows that a foreign key changes are logged: MySQL 9.6 and later do it where the server, not InnoDB, carries foreign keys out.
fn logs_cascades(facts: &SourceFacts) -> bool {
    let native = facts.variable("innodb_native_foreign_keys");
    native.is_some_and(|value| value.eq_ignore_ascii_case("OFF")) && logs_rows(facts)
}

/// The foreign keys of selected tables on tables that are not. `databases` are those that the route touches.
///
/// KEY_COLUMN_USAGE says which there are to whoever has SELECT; what they do only SHOW CREATE TABLE says on every server (MariaDB's
/// REFERENTIAL_CONSTRAINTS wants another privilege).
pub(super) async fn foreign_keys(
    client: &mut Client,
    databases: &[&String],
    rules: &RuleSet,
) -> Result<Vec<ForeignKey>, SourceError> {
    let mut keys: Vec<ForeignKey> = Vec::new();
    if rules.selects_everything() {
        return Ok(keys);
    }
    for batch in databases.chunks(BATCH) {
        let list = batch.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",");
        let answer = client
            .query(&format!(
                "SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME FROM \
                 information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA IN ({list}) AND REFERENCED_TABLE_NAME IS NOT NULL"
            ))
            .await?;
        for row in 0..answer.rows.len() {
            let text = |column| answer.text(row, column).unwrap_or_default();
            let (database, table, parent) = (text(0), text(1), (text(3), text(4)));
            let selected = |database: &str, name: &str| rules.decide_table(database, name).is_selected();
            if selected(&database, &table) && !selected(&parent.0, &parent.1) {
                let child = Table { database, name: table, engine: None };
                let parent = format!("{}.{}", parent.0, parent.1);
                keys.push(ForeignKey { child, name: text(2), parent, actions: None });
            }
        }
    }
    keys.sort_by(|one, other| (name_of(&one.child), &one.name).cmp(&(name_of(&other.child), &other.name)));
    for table in keys.chunk_by_mut(|one, other| one.child == other.child).take(MAX_ASKED) {
        let backquoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let child = &table[0].child;
        let statement = format!("SHOW CREATE TABLE {}.{}", backquoted(&child.database), backquoted(&child.name));
        let definition = match client.query(&statement).await {
            Ok(answer) => answer.text(0, 1),
            Err(SourceError::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
        for key in table {
            key.actions = definition.as_deref().and_then(|definition| actions(definition, &key.name));
        }
    }
    Ok(keys)
}

/// What stands behind the columns of a foreign key in the answer to SHOW CREATE TABLE, which has a line for each.
fn actions(definition: &str, name: &str) -> Option<String> {
    let start = format!("CONSTRAINT `{}` FOREIGN KEY ", name.replace('`', "``"));
    let line = definition.lines().map(str::trim).find(|line| line.starts_with(&start))?;
    let (_, actions) = line.trim_end_matches(',').rsplit_once(')')?;
    Some(actions.trim().to_owned())
}

fn name_of(table: &Table) -> String {
    format!("{}.{}", table.database, table.name)
}

/// Updatable views and the triggers of tables, where neither is selected, in all databases. Nothing is asked where rows are logged.
pub(super) async fn detours(
    client: &mut Client,
    facts: &SourceFacts,
    rules: &RuleSet,
) -> Result<Vec<Detour>, SourceError> {
    if logs_rows(facts) || rules.selects_everything() {
        return Ok(Vec::new());
    }
    let system = SYSTEM_SCHEMAS.map(quoted).join(",");
    let views = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS \
         WHERE IS_UPDATABLE = 'YES' AND TABLE_SCHEMA NOT IN ({system})"
    );
    let triggers = format!(
        "SELECT TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_STATEMENT FROM information_schema.TRIGGERS \
         WHERE TRIGGER_SCHEMA NOT IN ({system})"
    );
    let mut detours = Vec::new();
    for (statement, is_view) in [(views, true), (triggers, false)] {
        let answer = client.query(&statement).await?;
        for row in 0..answer.rows.len() {
            let text = |column| answer.text(row, column).unwrap_or_default();
            let (database, name, table) = (text(0), text(1), text(2));
            if !rules.decide_table(&database, &table).is_selected() {
                let text = Some(text(3)).filter(|text| !text.is_empty());
                detours.push(Detour { database, name, is_view, text });
            }
        }
    }
    detours.sort_by(|one, other| (&one.database, &one.name).cmp(&(&other.database, &other.name)));
    Ok(detours)
}

/// Foreign keys that change rows of selected tables when a row changes that the replica does not have.
pub(super) fn judge_foreign_keys(observed: &Observed, rules: &RuleSet) -> Finding {
    const ITEM: Item = Item::ForeignKeys;
    let keys = match &observed.foreign_keys {
        Ok(keys) => keys,
        Err(refusal) => {
            return Finding::warn(ITEM, format!("they cannot be listed: {refusal}"), "GRANT SELECT to the account");
        }
    };
    if rules.selects_everything() {
        return Finding::pass(ITEM, "everything is selected");
    }
    let changes = |key: &&ForeignKey| {
        key.actions.as_ref().is_none_or(|actions| CHANGING.iter().any(|action| actions.contains(action)))
    };
    let names: Vec<String> = keys
        .iter()
        .filter(changes)
        .map(|key| {
            let actions = key.actions.as_deref().unwrap_or("what it does is not shown to the account");
            format!("{} by {} ({actions}, parent {})", name_of(&key.child), key.name, key.parent)
        })
        .collect();
    if names.is_empty() {
        return Finding::pass(ITEM, "none changes rows of a selected table with those of one that is not selected");
    }
    if logs_cascades(&observed.facts) {
        let found = format!("the source logs the rows that foreign keys change, also of {}", list(&names));
        return Finding::pass(ITEM, found);
    }
    let found = format!(
        "rows that these foreign keys change are in no binary log, and their parents are not selected: {}",
        list(&names)
    );
    let next =
        "select the parents too, or exclude the tables, or let the source change these rows by statements of their own";
    Finding::warn(ITEM, found, next)
}

/// Views and triggers through which statements change selected tables that they do not name.
pub(super) fn judge_detours(observed: &Observed, rules: &RuleSet) -> Finding {
    const ITEM: Item = Item::ViewsTriggers;
    let next =
        "SET GLOBAL binlog_format = ROW and let clients connect anew, or make sure that they change no selected table";
    if rules.selects_everything() {
        return Finding::pass(ITEM, "everything is selected");
    }
    if logs_rows(&observed.facts) {
        return Finding::pass(ITEM, "what they change is logged as rows");
    }
    let detours = match &observed.detours {
        Ok(detours) => detours,
        Err(refusal) => return Finding::warn(ITEM, format!("they cannot be listed: {refusal}"), next),
    };
    let names: Vec<String> = detours
        .iter()
        .take(MAX_ASKED)
        .filter(|detour| leads_inside(detour, observed, rules))
        .map(|detour| {
            let what = if detour.is_view { "view" } else { "trigger" };
            let text = if detour.text.is_some() { "" } else { " (its text is not shown to the account)" };
            format!("{what} {}.{}{text}", detour.database, detour.name)
        })
        .collect();
    let shows_triggers = observed.grants.as_ref().is_ok_and(super::Grants::trigger);
    let hidden = "triggers are not shown to the account, which lacks TRIGGER";
    if names.is_empty() {
        return match shows_triggers {
            true => Finding::pass(ITEM, "none that is not selected leads to selected tables"),
            false => Finding::warn(ITEM, format!("none that is shown; {hidden}"), next),
        };
    }
    let hidden = if shows_triggers { String::new() } else { format!("; {hidden}") };
    let found =
        format!("statements that name these may change selected tables, and do not go out: {}{hidden}", list(&names));
    Finding::warn(ITEM, found, next)
}

/// Whether the text of a view or trigger names a selected table, or another view, or cannot be read.
fn leads_inside(detour: &Detour, observed: &Observed, rules: &RuleSet) -> bool {
    let Some(text) = &detour.text else { return true };
    let (statement, own_names) = match detour.is_view {
        true => (format!("CREATE VIEW v AS {text}"), 1),
        false => (format!("CREATE TRIGGER t BEFORE INSERT ON v FOR EACH ROW {text}"), 2),
    };
    let version = &observed.facts.version;
    let context = Context {
        default_database: &detour.database,
        sql_mode: 0,
        client_collation: 0,
        version: version.number,
        mariadb: version.vendor == Vendor::MariaDb,
    };
    let statement = ddl::analyze(statement.as_bytes(), &context);
    let names_more = |object: &ddl::Object| match object.object_type {
        ObjectType::Table | ObjectType::View => {
            rules.decide_table(&object.database, &object.name).is_selected() || is_detour(observed, object)
        }
        ObjectType::Procedure | ObjectType::Function => true,
        _ => false,
    };
    statement.doubt.is_some() || statement.body_opaque || statement.objects.iter().skip(own_names).any(names_more)
}

/// Whether an object is a view that is not selected.
fn is_detour(observed: &Observed, object: &ddl::Object) -> bool {
    let detours = observed.detours.as_deref().unwrap_or_default();
    detours.iter().any(|detour| detour.is_view && detour.database == object.database && detour.name == object.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::rules::tests::rules;
    use crate::precheck::{Grants, Status, observe::tests::observed};

    #[test]
    fn the_actions_of_a_foreign_key_are_read_from_its_line() {
        let definition = "CREATE TABLE `c` (\n  `p` int COMMENT 'CONSTRAINT `x` FOREIGN KEY (`p`) ON DELETE CASCADE',\n  \
            CONSTRAINT `x` FOREIGN KEY (`p`, `a)`) REFERENCES `other`.`par(ent` (`id`, `a)`) ON DELETE CASCADE ON UPDATE SET NULL,\n  \
            CONSTRAINT `y``z` FOREIGN KEY (`p`) REFERENCES `q` (`id`)\n) ENGINE=InnoDB";
        assert_eq!(actions(definition, "x").as_deref(), Some("ON DELETE CASCADE ON UPDATE SET NULL"));
        assert_eq!(actions(definition, "y`z").as_deref(), Some(""));
        assert_eq!(actions(definition, "z"), None);
    }

    #[test]
    fn a_foreign_key_that_changes_rows_unseen_is_named() {
        let key = |actions: Option<&str>| ForeignKey {
            child: Table { database: "shop".to_owned(), name: "c".to_owned(), engine: None },
            name: "fk".to_owned(),
            parent: "other.p".to_owned(),
            actions: actions.map(str::to_owned),
        };
        let native = |value| ("innodb_native_foreign_keys", value);
        for (variables, actions, status) in [
            (&[][..], Some(""), Status::Pass),
            (&[], Some("ON DELETE RESTRICT ON UPDATE NO ACTION"), Status::Pass),
            (&[], Some("ON DELETE CASCADE"), Status::Warn),
            (&[], Some("ON UPDATE SET NULL"), Status::Warn),
            (&[], None, Status::Warn),
            (&[native("OFF"), ("binlog_format", "ROW")], Some("ON DELETE CASCADE"), Status::Pass),
            (&[native("OFF"), ("binlog_format", "MIXED")], Some("ON DELETE CASCADE"), Status::Warn),
            (&[native("ON"), ("binlog_format", "ROW")], Some("ON DELETE CASCADE"), Status::Warn),
        ] {
            let mut observed = observed("9.7.0", variables, &["shop.c"]);
            observed.foreign_keys = Ok(vec![key(actions)]);
            let finding = judge_foreign_keys(&observed, &rules("db shop"));
            assert_eq!(finding.status, status, "{finding:?}");
            assert!(
                status == Status::Pass
                    || finding.found.contains("shop.c by fk (") && finding.found.contains("parent other.p)")
            );
        }
    }

    #[test]
    fn views_and_triggers_are_named_that_lead_statements_to_selected_tables() {
        const TRIGGER: &str = "GRANT SELECT, TRIGGER ON *.* TO `r`@`%`";
        for (format, grant, view, text, found) in [
            ("ROW", TRIGGER, true, Some("select `shop`.`c`.`id` AS `id` from `shop`.`c`"), None),
            ("MIXED", TRIGGER, true, Some("select `shop`.`c`.`id` AS `id` from `shop`.`c`"), Some("view other.x")),
            ("MIXED", TRIGGER, true, Some("select `other`.`c`.`id` AS `id` from `other`.`c`"), None),
            ("MIXED", TRIGGER, true, None, Some("view other.x (its text is not shown")),
            (
                "STATEMENT",
                TRIGGER,
                false,
                Some("UPDATE shop.c SET p = NULL WHERE id = NEW.id"),
                Some("trigger other.x"),
            ),
            ("STATEMENT", TRIGGER, false, Some("BEGIN INSERT INTO log VALUES (NEW.id); END"), None),
            ("STATEMENT", TRIGGER, false, Some("CALL p(NEW.id)"), Some("trigger other.x")),
            ("STATEMENT", "GRANT SELECT ON *.* TO `r`@`%`", false, Some("SET @a = 1"), Some("lacks TRIGGER")),
        ] {
            let mut observed = observed("8.0.41", &[("binlog_format", format)], &["shop.c", "other.log"]);
            observed.grants = Ok(Grants::parse([grant]));
            let text = text.map(str::to_owned);
            observed.detours =
                Ok(vec![Detour { database: "other".to_owned(), name: "x".to_owned(), is_view: view, text }]);
            let finding = judge_detours(&observed, &rules("db shop"));
            match found {
                None => assert_eq!(finding.status, Status::Pass, "{finding:?}"),
                Some(found) => assert!(finding.status == Status::Warn && finding.found.contains(found), "{finding:?}"),
            }
        }
    }
}
