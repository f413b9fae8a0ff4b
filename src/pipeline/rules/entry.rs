//! The entries of a route's `objects` and `exclude_origins`, as they were written.

use super::pattern::{Pattern, Template};

/// One entry of a route's `objects`, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectRule {
    /// `database = "…"`, with its `rename`.
    Database {
        /// Which databases.
        pattern: Pattern,
        /// The new name, if it has one.
        rename: Option<Template>,
    },
    /// `table = "database.table"`, with its `rename`.
    Table {
        /// Which databases.
        database: Pattern,
        /// Which tables in them.
        table: Pattern,
        /// New database and new table, if it has one. The `*` of both take the texts of both patterns in order.
        rename: Option<(Template, Template)>,
    },
    /// `exclude = "database"`.
    ExcludeDatabase(Pattern),
    /// `exclude = "database.table"`.
    ExcludeTable {
        /// Which databases.
        database: Pattern,
        /// Which tables in them.
        table: Pattern,
    },
}

impl ObjectRule {
    /// How specific an inclusion is: the smaller wins. `None` for exclusions.
    pub(super) fn class(&self) -> Option<u8> {
        match self {
            Self::Table { database, table, .. } if database.is_exact() && table.is_exact() => Some(0),
            Self::Table { .. } => Some(1),
            Self::Database { pattern, .. } if pattern.is_exact() => Some(2),
            Self::Database { .. } => Some(3),
            Self::ExcludeDatabase(_) | Self::ExcludeTable { .. } => None,
        }
    }
}

/// A server whose own transactions a route leaves out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExcludedOrigin {
    /// By the server id in the event header.
    ServerId(u32),
    /// By the server uuid in the GTID, in lower case with hyphens.
    ServerUuid(String),
}
