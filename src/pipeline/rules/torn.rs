//! Databases that are selected as a whole and yet hold other tables at the replica than at the source: another entry leads tables
//! into the new database from elsewhere, or tables of the database to another place.

use super::pattern::{Template, fold};
use super::{DecidedBy, ObjectRule, Pattern, RuleSet};

impl RuleSet {
    /// Why a selected database and its new name do not hold the same tables, if they do not: what drops one whole would drop too much
    /// or too little of the other. What entries with wildcards can do counts.
    pub fn torn_database(&self, database: &str) -> Option<String> {
        let decision = self.decide_database(database);
        let new = self.database(database)?;
        let decider = match decision.by {
            DecidedBy::Rule(index) => Some(index),
            _ => None,
        };
        for (index, rule) in self.rules.iter().enumerate().filter(|(index, _)| Some(*index) != decider) {
            // Another entry may lead the table elsewhere only if it comes before what takes every table of the database.
            let comes_too_late = rule.class() == Some(1)
                && decider.is_some_and(|decider| decider < index && self.is_table_rule(decider));
            if !comes_too_late && self.leads_out(rule, database, &new) {
                return Some(format!("objects[{index}] leads tables of {database} elsewhere than to {new}"));
            }
        }
        if let Some(index) = self.rules.iter().position(|rule| self.leads_in(rule, database, &new)) {
            return Some(format!("objects[{index}] leads tables of other databases to {new}, too"));
        }
        let other = self
            .learned
            .followed
            .iter()
            .find(|table| self.same(&table.database, database) != (fold(&table.new_database) == fold(&new)))?;
        Some(format!("{}.{}, which is followed, is in {}", other.database, other.name, other.new_database))
    }

    /// Whether a table entry can lead a table of this database out of its new one.
    fn leads_out(&self, rule: &ObjectRule, database: &str, new: &str) -> bool {
        let ObjectRule::Table { database: databases, table, rename } = rule else { return false };
        let Some(texts) = databases.captures(database, self.folded) else { return false };
        if self.takes_nothing(databases, table) || (self.is_system_schema(database) && !databases.is_exact()) {
            return false;
        }
        match rename {
            None => database != new,
            Some((template, _)) if template.pattern().runs() <= databases.runs() => {
                template.fill(&mut texts.into_iter().map(|range| &database[range])) != new
            }
            // The new database takes text from the table's name.
            Some(_) => true,
        }
    }

    /// Whether an entry can lead a table of another database into the new database of this one. A replica may take names for one that
    /// differ in case, so they are compared without it.
    fn leads_in(&self, rule: &ObjectRule, database: &str, new: &str) -> bool {
        let (databases, template, same_runs) = match rule {
            ObjectRule::Database { pattern, rename } => (pattern, rename.as_ref(), true),
            ObjectRule::Table { database: databases, table, rename } => {
                if self.takes_nothing(databases, table) {
                    return false;
                }
                let template = rename.as_ref().map(|(template, _)| template);
                (databases, template, template.is_none_or(|template| template.pattern().runs() == databases.runs()))
            }
            ObjectRule::ExcludeDatabase(_) | ObjectRule::ExcludeTable { .. } => return false,
        };
        if template.is_some_and(|template| !template.pattern().matches(new, true)) {
            return false;
        }
        if let (Some(name), false) = (databases.exact(), same_runs) {
            return !self.same(&name, database);
        }
        if !same_runs {
            return true;
        }
        let Some(from) = origin_of(databases, template, new) else { return false };
        if self.same(&from, database) || self.exclusion_of_database(&from) {
            return false;
        }
        match rule {
            ObjectRule::Database { .. } => {
                self.database_rule(&from).is_some_and(|(_, leads_to)| fold(&leads_to) == fold(new))
            }
            _ => !self.is_system_schema(&from) || databases.is_exact(),
        }
    }

    /// Whether exclusions take all that a table entry selects, as far as its names say so.
    fn takes_nothing(&self, databases: &Pattern, table: &Pattern) -> bool {
        match (databases.exact(), table.exact()) {
            (Some(database), Some(table)) => self.exclusion(&database, &table, self.folded).is_some(),
            (Some(database), None) => self.exclusion_of_database(&database),
            _ => false,
        }
    }

    /// Whether nothing of this database goes out.
    fn exclusion_of_database(&self, database: &str) -> bool {
        matches!(self.decide_database(database).by, DecidedBy::Exclusion(_))
    }
}

/// The name that an entry leads to this new one, if there is one. `template` is `None` where the entry keeps names. Every `*` of the one stands
/// for what the `*` in the same place of the other does.
pub(super) fn origin_of(pattern: &Pattern, template: Option<&Template>, new: &str) -> Option<String> {
    let Some(template) = template else { return pattern.matches(new, true).then(|| new.to_owned()) };
    let texts = template.pattern().captures(new, true)?;
    Some(pattern.filled(&mut texts.into_iter().map(|range| &new[range])))
}
