//! What the rules say of one name, and which of them said it.

use std::fmt;

/// What the rules say of one table, view or other object inside a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// It goes out under this name.
    Selected {
        /// The database at the replica.
        database: String,
        /// The name at the replica.
        name: String,
    },
    /// It does not go out.
    NotSelected,
}

/// Which rule said so. The number is the place in the route's `objects`, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// The route has no `objects`: everything is selected, unchanged.
    NoObjects,
    /// This inclusion.
    Rule(usize),
    /// This exclusion.
    Exclusion(usize),
    /// It was renamed from a selected name, and `rename_out` is `follow`.
    Followed,
    /// It belongs to a table that a table rule selects, and `online_ddl` is `forward`.
    Shadow,
    /// No rule matches.
    Nothing,
}

impl fmt::Display for DecidedBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoObjects => formatter.write_str("everything"),
            Self::Rule(index) => write!(formatter, "objects[{index}]"),
            Self::Exclusion(index) => write!(formatter, "exclude objects[{index}]"),
            Self::Followed => formatter.write_str("ddl.rename_out"),
            Self::Shadow => formatter.write_str("ddl.online_ddl"),
            Self::Nothing => formatter.write_str("not selected"),
        }
    }
}

/// A selection and the rule that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the object goes out, and as what.
    pub selection: Selection,
    /// Which rule said so.
    pub by: DecidedBy,
}

impl Decision {
    /// Whether the object goes out.
    pub fn is_selected(&self) -> bool {
        matches!(self.selection, Selection::Selected { .. })
    }
}

pub(super) fn selected(database: String, name: String, by: DecidedBy) -> Decision {
    Decision { selection: Selection::Selected { database, name }, by }
}
