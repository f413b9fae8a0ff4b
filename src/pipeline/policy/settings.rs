//! The keys of `[routes.X.ddl]`.

use std::collections::BTreeSet;

/// What happens to a statement that a key speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Choice {
    /// It goes out.
    Forward,
    /// It does not go out; its GTID is still consumed.
    Skip,
    /// The route ends before it.
    Stop,
    /// It goes out, and the selection learns the new name. Of `rename_out` only.
    Follow,
    /// The work on a shadow table does not go out, and one ALTER TABLE does at the end. Of `online_ddl` only.
    Fold,
}

impl Choice {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Skip => "skip",
            Self::Stop => "stop",
            Self::Follow => "follow",
            Self::Fold => "fold",
        }
    }
}

/// The policy of one route. [`Policy::default`] is what a route without a `ddl` section has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// DDL on the supported list: forward or skip.
    pub supported: Choice,
    /// Statements outside that list.
    pub unsupported: Choice,
    /// Statements that nobody can classify, or whose objects are not certain.
    pub unknown: Choice,
    /// RENAME of a selected table to a name that is not selected: stop, skip or follow.
    pub rename_out: Choice,
    /// RENAME of a table that is not selected to a selected name: stop or skip.
    pub rename_in: Choice,
    /// A kept statement that names an object that is not selected.
    pub reference: Choice,
    /// The shadow tables of gh-ost and pt-online-schema-change beside a table that is selected by a table rule: stop,
    /// forward or fold.
    pub online_ddl: Choice,
    /// Kinds that are forwarded though they are not on the supported list.
    pub allow: BTreeSet<String>,
    /// Kinds that are skipped though they are on the supported list.
    pub deny: BTreeSet<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            supported: Choice::Forward,
            unsupported: Choice::Skip,
            unknown: Choice::Stop,
            rename_out: Choice::Stop,
            rename_in: Choice::Stop,
            reference: Choice::Stop,
            online_ddl: Choice::Stop,
            allow: BTreeSet::new(),
            deny: BTreeSet::new(),
        }
    }
}
