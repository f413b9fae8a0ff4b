//! What the rules make of whole databases: selected as one, touched by a table rule, or the default of a session.

use std::collections::HashMap;

use super::decision::selected;
use super::pattern::fold;
use super::{DecidedBy, Decision, ObjectRule, RuleSet, SYSTEM_SCHEMAS, Selection};

impl RuleSet {
    /// The database rule for a database and its new name, exclusions not looked at.
    pub(super) fn database_rule(&self, database: &str) -> Option<(usize, String)> {
        let exact =
            if self.folded { self.exact_databases.get(&fold(database)) } else { self.exact_databases.get(database) };
        let globs = if self.is_system_schema(database) { &[][..] } else { &self.glob_databases[..] };
        for &index in exact.into_iter().chain(globs) {
            if let ObjectRule::Database { pattern, rename } = &self.rules[index]
                && let Some(texts) = pattern.captures(database, self.folded)
            {
                let new = match rename {
                    None => database.to_owned(),
                    Some(template) => template.fill(&mut texts.into_iter().map(|range| &database[range])),
                };
                return Some((index, new));
            }
        }
        None
    }

    /// The new name of a database that is selected as a whole: by a database rule or by a table rule such as `crm.*`. Tables of it
    /// may still be excluded or renamed by themselves.
    pub fn database(&self, database: &str) -> Option<String> {
        match self.decide_database(database).selection {
            Selection::Selected { database, .. } => Some(database),
            Selection::NotSelected => None,
        }
    }

    /// As [`RuleSet::database`], with the rule that decided.
    pub fn decide_database(&self, database: &str) -> Decision {
        if self.rules.is_empty() {
            return selected(database.to_owned(), String::new(), DecidedBy::NoObjects);
        }
        if let Some(index) = self.database_exclusion(database) {
            return Decision { selection: Selection::NotSelected, by: DecidedBy::Exclusion(index) };
        }
        let system = self.is_system_schema(database);
        for &index in &self.glob_tables {
            if let ObjectRule::Table { database: databases, table, rename } = &self.rules[index]
                && table.is_everything()
                && table.runs() == 1
                && (!system || databases.is_exact())
                && let Some(texts) = databases.captures(database, self.folded)
            {
                let new = match rename {
                    None => database.to_owned(),
                    Some((new, name)) if new.pattern().runs() == databases.runs() && name.pattern().is_everything() => {
                        new.fill(&mut texts.into_iter().map(|range| &database[range]))
                    }
                    // Its tables go out under other names: that is no selection of a database.
                    Some(_) => continue,
                };
                return selected(new, String::new(), DecidedBy::Rule(index));
            }
        }
        match self.database_rule(database) {
            Some((index, new)) => selected(new, String::new(), DecidedBy::Rule(index)),
            None => Decision { selection: Selection::NotSelected, by: DecidedBy::Nothing },
        }
    }

    /// Whether some table of this database can be selected.
    pub fn database_touched(&self, database: &str) -> bool {
        if self.rules.is_empty() {
            return true;
        }
        if self.database_exclusion(database).is_some() {
            return false;
        }
        self.database_rule(database).is_some() || self.table_rules_of(database).next().is_some()
    }

    /// The table rules that can match a table of this database.
    pub(super) fn table_rules_of<'a>(&'a self, database: &'a str) -> impl Iterator<Item = &'a ObjectRule> {
        let system = self.is_system_schema(database);
        let exact = if self.folded { self.exact_tables.get(&fold(database)) } else { self.exact_tables.get(database) };
        let globs = self.glob_tables.iter().filter(move |index| match &self.rules[**index] {
            ObjectRule::Table { database: databases, .. } => {
                (!system || databases.is_exact()) && databases.matches(database, self.folded)
            }
            _ => false,
        });
        exact.into_iter().flat_map(HashMap::values).chain(globs).map(|&index| &self.rules[index])
    }

    /// What a session's default database becomes at the replica, so that names that have no database in the text can stay
    /// without one: the new name of a database that is selected as a whole; else the one database to which all table rules
    /// of it lead; else its own name.
    pub fn default_database(&self, database: &str) -> String {
        if database.is_empty() || self.rules.is_empty() || self.database_exclusion(database).is_some() {
            return database.to_owned();
        }
        self.one_database(database).unwrap_or_else(|| database.to_owned())
    }

    /// The one database to which all that is selected of a database goes, if there is one.
    pub(super) fn one_database(&self, database: &str) -> Option<String> {
        if let Some(new) = self.database(database) {
            return Some(new);
        }
        let mut common: Option<String> = None;
        for rule in self.table_rules_of(database) {
            let new = self.destination(rule, database)?;
            match &common {
                Some(other) if *other != new => return None,
                _ => common = Some(new),
            }
        }
        common
    }

    /// The database to which a table rule that matches tables of this one leads; `None` where that differs from table to table.
    fn destination(&self, rule: &ObjectRule, database: &str) -> Option<String> {
        let ObjectRule::Table { database: databases, rename, .. } = rule else { return None };
        match rename {
            None => Some(database.to_owned()),
            Some((new, _)) if new.pattern().runs() <= databases.runs() => {
                let texts = databases.captures(database, self.folded).unwrap_or_default();
                Some(new.fill(&mut texts.into_iter().map(|range| &database[range])))
            }
            // The new database takes text from the table's name.
            Some(_) => None,
        }
    }

    /// The new name of a database, where nothing of it can go to another one: neither by a table rule nor by a RENAME that was followed.
    pub fn only_destination(&self, database: &str) -> Option<String> {
        let new = self.default_database(database);
        let elsewhere = self.database_rule(database).is_some_and(|(_, whole)| whole != new)
            || self.table_rules_of(database).any(|rule| self.destination(rule, database).as_ref() != Some(&new))
            || (self.learned.followed.iter())
                .any(|table| table.new_database != new && fold(&table.database) == fold(database));
        (!elsewhere).then_some(new)
    }

    /// The first exclusion that leaves nothing of this database.
    fn database_exclusion(&self, database: &str) -> Option<usize> {
        self.exclusions.iter().copied().find(|&index| match &self.rules[index] {
            ObjectRule::ExcludeDatabase(databases) => databases.matches(database, self.folded),
            ObjectRule::ExcludeTable { database: databases, table } => {
                table.is_everything() && databases.matches(database, self.folded)
            }
            ObjectRule::Database { .. } | ObjectRule::Table { .. } => false,
        })
    }

    pub(super) fn is_system_schema(&self, database: &str) -> bool {
        SYSTEM_SCHEMAS.iter().any(|schema| {
            if self.folded || *schema == "information_schema" {
                schema.eq_ignore_ascii_case(database)
            } else {
                *schema == database
            }
        })
    }
}
