//! Old names and new ones.

use std::collections::BTreeSet;

use replproxy::ddl::{MappedName, ObjectType, Statement};

/// How every name is mapped: by a prefix, so that what a server shows can be mapped back by taking it out.
pub(super) struct Naming {
    /// For reports.
    pub(super) title: &'static str,
    /// Before every database and table.
    pub(super) prefix: &'static str,
    /// Whether the session's default database is another one than the default database's new name.
    pub(super) elsewhere: bool,
}

/// The default database of the world where the default database's new name is not the default.
const ELSEWHERE: &str = "zq_elsewhere";

/// Databases that servers have and nobody renames.
pub(super) fn is_system(database: &str) -> bool {
    ["mysql", "information_schema", "performance_schema", "sys"].iter().any(|name| name.eq_ignore_ascii_case(database))
}

/// A name as SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Naming {
    /// New names that can go without quotes, under the default database's new name.
    pub(super) fn plain() -> Self {
        Self { title: "plain", prefix: "zqx_", elsewhere: false }
    }

    /// New names that need quotes, in databases that are never the session's.
    pub(super) fn elsewhere() -> Self {
        Self { title: "elsewhere", prefix: "0zq_", elsewhere: true }
    }

    /// Every name stays.
    pub(super) fn identity() -> Self {
        Self { title: "identity", prefix: "", elsewhere: false }
    }

    /// A database's new name.
    pub(super) fn database(&self, database: &str) -> String {
        if database.is_empty() || is_system(database) {
            database.to_owned()
        } else {
            format!("{}{database}", self.prefix)
        }
    }

    /// A table's new name.
    pub(super) fn table(&self, database: &str, name: &str) -> String {
        if is_system(database) { name.to_owned() } else { format!("{}{name}", self.prefix) }
    }

    /// The default database of a session whose default database was `old`.
    pub(super) fn session_database(&self, old: &str) -> String {
        if self.elsewhere { ELSEWHERE.to_owned() } else { self.database(old) }
    }

    /// New names for every object of a statement.
    pub(super) fn names(&self, statement: &Statement) -> Vec<MappedName> {
        let objects = statement.objects.iter().enumerate();
        objects
            .map(|(object, found)| {
                let name = match found.object_type {
                    ObjectType::Table | ObjectType::View | ObjectType::Sequence => {
                        self.table(&found.database, &found.name)
                    }
                    _ => found.name.clone(),
                };
                MappedName { object, database: self.database(&found.database), name }
            })
            .collect()
    }

    /// What a server shows, with the old names.
    pub(super) fn back(&self, shown: &str) -> String {
        if self.prefix.is_empty() { shown.to_owned() } else { shown.replace(self.prefix, "") }
    }

    /// A text without the databases, the quotes, and the aliases that are a table's old name: where a mention had to be
    /// qualified, an expression's text is a column's name that has the database too; and an alias that was the
    /// table's own name is shown only where it is not.
    pub(super) fn bare(&self, shown: &str, databases: &BTreeSet<String>) -> String {
        let mut text = shown.replace('`', "");
        for database in databases {
            text = text.replace(&format!("{database}."), "");
        }
        // The tables of MariaDB's engine SEQUENCE are in every database.
        text = text.replace(&format!("{ELSEWHERE}.seq_"), "seq_");
        let mut words: Vec<&str> = text.split(' ').collect();
        words.dedup_by(|next, word| {
            next.trim_end_matches([')', ',']) == word.trim_start_matches('(') && !next.is_empty()
        });
        words.join(" ").replace([')', '('], "")
    }
}
