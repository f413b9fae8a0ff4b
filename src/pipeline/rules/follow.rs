//! The rules with what a stream has learned, and where a table goes that the selection follows.

use std::sync::Arc;

use crate::pipeline::policy::Choice;

use super::pattern::fold;
use super::{DecidedBy, FollowedTable, Learned, ObjectRule, RuleSet, Selection};

impl RuleSet {
    /// The same rules where a stream has learned this.
    pub fn with_learned(&self, learned: Arc<Learned>) -> Self {
        Self { learned, ..self.clone() }
    }

    /// What the stream has learned.
    pub fn learned(&self) -> &Arc<Learned> {
        &self.learned
    }

    /// Whether statements of the stream can change what is selected, or what goes out for later ones.
    pub fn learns(&self) -> bool {
        self.policy.rename_out == Choice::Follow || self.policy.online_ddl == Choice::Fold
    }

    /// Whether two names of databases or tables are one at the source.
    pub fn same(&self, one: &str, other: &str) -> bool {
        one == other || (self.folded && fold(one) == fold(other))
    }

    /// The table that the selection follows to this name.
    pub fn followed(&self, database: &str, name: &str) -> Option<&FollowedTable> {
        self.learned.followed.iter().find(|table| self.same(&table.name, name) && self.same(&table.database, database))
    }

    /// Where a selected table goes that is renamed to a name which is not selected, or why it cannot be followed there.
    ///
    /// It keeps its new database, under the new name as it is, while it stays in its database; in another database of the
    /// source it goes where all tables of that one go.
    pub fn follow(&self, old: (&str, &str), new: (&str, &str)) -> Result<FollowedTable, String> {
        let ((old_database, old_name), (database, name)) = (old, new);
        if let DecidedBy::Exclusion(_) = self.decide_own_name(database, name).by {
            return Err(format!("{database}.{name} is excluded, and an exclusion wins"));
        }
        let new_database = match self.table(old_database, old_name) {
            Selection::Selected { database: new, .. } if self.same(old_database, database) => new,
            _ => self.one_database(database).ok_or_else(|| {
                format!("nothing says where tables of {database} go: the route has no objects there that lead to one database")
            })?,
        };
        let followed = FollowedTable {
            database: database.to_owned(),
            name: name.to_owned(),
            new_name: name.to_owned(),
            new_database,
        };
        let taken = |source: String| {
            format!("the name {}.{} belongs to {source} at the replica", followed.new_database, followed.new_name)
        };
        let other = self.learned.followed.iter().find(|other| {
            other.goes_where(&followed)
                && !(self.same(&other.database, old_database) && self.same(&other.name, old_name))
                // One of this very name has moved away before, or the name would not be free.
                && !(self.same(&other.database, database) && self.same(&other.name, name))
        });
        if let Some(other) = other {
            return Err(taken(format!("{}.{}", other.database, other.name)));
        }
        for rule in &self.rules {
            if let ObjectRule::Table { database, table, rename: Some((new_database, new_name)) } = rule
                && let (Some(database), Some(table)) = (database.exact(), table.exact())
                && new_database.pattern().exact().as_deref() == Some(&*followed.new_database)
                && new_name.pattern().exact().as_deref() == Some(&*followed.new_name)
                && !(self.same(&database, old_database) && self.same(&table, old_name))
            {
                return Err(taken(format!("{database}.{table}")));
            }
        }
        Ok(followed)
    }
}
