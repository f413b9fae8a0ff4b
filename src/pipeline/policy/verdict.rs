//! The decision over one statement.

use std::fmt;

use crate::pipeline::rules::{Decision, Learned};

/// What becomes of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes out, names mapped.
    Forward,
    /// It does not go out.
    Skip,
    /// Only the elements of its list that are selected go out.
    Split,
    /// The route ends before it.
    Stop,
}

impl Action {
    /// The word that `explain` prints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Skip => "skip",
            Self::Split => "split",
            Self::Stop => "stop",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// Why a statement or an event goes out or not: the same word in logs, metrics, status and `explain`. Words never change
        /// their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

reasons! {
    /// It goes out because its objects are selected.
    Selected = "selected";
    /// It goes out because the route is transparent.
    Transparent = "transparent";
    /// It goes out because it begins or ends a transaction.
    Transaction = "transaction";
    /// No rule selects what it changes.
    NotSelected = "not_selected";
    /// An exclusion names what it changes.
    Excluded = "excluded";
    /// Its origin is among `exclude_origins`.
    ExcludedOrigin = "excluded_origin";
    /// Its kind is not on the supported list.
    Unsupported = "unsupported";
    /// Its kind is in `deny`.
    Denied = "denied";
    /// DDL does not go out on this route (`supported = "skip"`).
    SupportedSkipped = "supported_skipped";
    /// It could not be read with certainty.
    Unknown = "unknown";
    /// Some elements of its list are selected and some are not.
    PartOfList = "part_of_list";
    /// Some of what it changes is selected, some is not, and it cannot be split.
    MixedTargets = "mixed_targets";
    /// It renames a selected table to a name that is not selected.
    RenameOut = "rename_out";
    /// It renames a table that is not selected to a selected name.
    RenameIn = "rename_in";
    /// It names an object that is not selected.
    Reference = "reference";
    /// It is part of a schema change by gh-ost or pt-online-schema-change.
    OnlineDdl = "online_ddl";
    /// It depends on statements that were not seen.
    HistoryUnknown = "history_unknown";
    /// A new name cannot be written where the old one stands.
    UnmappableName = "unmappable_name";
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What the rules say of one object of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVerdict {
    /// Selection, name at the replica, and the rule that says so.
    pub decision: Decision,
    /// A database of which only some tables are selected, or a trigger whose table is not in the text while its
    /// database has selected tables.
    pub partly: bool,
}

impl ObjectVerdict {
    /// Whether the object goes out.
    pub fn is_selected(&self) -> bool {
        self.decision.is_selected()
    }
}

/// The decision over one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of it.
    pub action: Action,
    /// Why, in a stable word.
    pub word: Reason,
    /// The rule that decided: `objects[0]`, `exclude objects[2]`, `ddl.unsupported`, `not selected`, `everything`, …
    pub rule: String,
    /// Why it does not simply go out: a sentence for the operator, for `stop` with the way on.
    pub reason: Option<String>,
    /// The text that goes out, where it is not the same.
    pub rewritten: Option<Vec<u8>>,
    /// The default database at the replica.
    pub default_database: String,
    /// What the rules say of each of the statement's objects, in their order. Empty where nothing was judged.
    pub objects: Vec<ObjectVerdict>,
    /// What holds after it, where that is news; see [`crate::pipeline::rules::RuleSet::with_learned`]. Where the route ends: what holds
    /// for who goes on behind it.
    pub learned: Option<Box<Learned>>,
    /// The status variables that go out in place of its own: `rewritten` was written in another session.
    pub status: Option<Vec<u8>>,
}
