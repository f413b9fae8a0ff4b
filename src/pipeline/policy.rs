//! What happens to one statement, and why: the keys of `[routes.X.ddl]` applied to the objects that it names.

mod kinds;
mod settings;

pub use kinds::{SUPPORTED_DDL, SUPPORTED_DML, UNSUPPORTED, canonical_kind, is_dml, kind_aliases};
pub use settings::{Choice, Policy};

use super::rules::RuleSet;
use crate::ddl::{Context, Statement};

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

/// The decision over one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of it.
    pub action: Action,
    /// The rule that decided: `objects[0]`, `ddl.unsupported`, …
    pub rule: String,
    /// Why it does not simply go out: a sentence for the operator.
    pub reason: Option<String>,
    /// The text that goes out, where it is not the same.
    pub rewritten: Option<Vec<u8>>,
    /// The default database at the replica.
    pub default_database: String,
}

/// Judges one statement.
pub fn judge(rules: &RuleSet, statement: &Statement, sql: &[u8], context: &Context<'_>) -> Verdict {
    let _ = (statement, sql);
    Verdict {
        action: Action::Stop,
        rule: "ddl.unknown".to_owned(),
        reason: Some("statements are not judged yet".to_owned()),
        rewritten: None,
        default_database: rules.default_database(context.default_database),
    }
}
