//! What a stream has learned from the statements that went by: names that the selection follows, and online schema changes that run.
//!
//! It is a part of the rules as they hold at one place of the source's stream, and only statements change it.

use serde::{Deserialize, Serialize};

/// The most tables that are followed at once, and the most online schema changes that run at once.
pub const MAX_LEARNED: usize = 1024;

/// What holds besides the configuration at one place of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Learned {
    /// Tables that were renamed to a name which no entry of `objects` selects, where `rename_out` is `follow`.
    pub followed: Vec<FollowedTable>,
    /// Online schema changes that run, where `online_ddl` is `fold`.
    pub changes: Vec<OnlineChange>,
}

/// A table that goes out although no entry of `objects` names it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowedTable {
    /// Its database at the source.
    pub database: String,
    /// Its name there.
    pub name: String,
    /// Its database at the replica.
    pub new_database: String,
    /// Its name there.
    pub new_name: String,
}

/// An online schema change: a copy of a table that is to take the table's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnlineChange {
    /// The table's database at the source.
    pub database: String,
    /// The table's name there.
    pub table: String,
    /// The copy's name, in the same database.
    pub shadow: String,
    /// The ALTER TABLE that ran on the copy, for the table.
    pub definition: Option<Definition>,
    /// What happened to the table meanwhile, so that the ALTER alone does not lead to what the swap leads to.
    pub spoiled: Option<String>,
    /// Where the table is.
    pub table_place: TablePlace,
}

/// Where the table of an online schema change is at the source. At the replica it stays where it was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TablePlace {
    /// Under its own name.
    #[default]
    InPlace,
    /// Renamed to this name, in the same database: the first half of a swap.
    MovedTo(String),
    /// Dropped: the first half of a swap, or the end of the table.
    Dropped,
}

/// A statement that goes out later than it was written, with the session that it was written in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its text, in the session's character set, under the names of the source.
    pub sql: Vec<u8>,
    /// The session's default database.
    pub default_database: String,
    /// Its `sql_mode`.
    pub sql_mode: u64,
    /// The collation id of its `character_set_client`.
    pub client_collation: u16,
    /// The status variables of its QUERY event; empty where they are not known.
    pub status: Vec<u8>,
}

impl FollowedTable {
    /// Whether two tables have one name at the replica.
    pub fn goes_where(&self, other: &Self) -> bool {
        (&self.new_database, &self.new_name) == (&other.new_database, &other.new_name)
    }
}

impl Learned {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.followed.is_empty() && self.changes.is_empty()
    }
}
