//! What happens to one statement, and why: the keys of `[routes.X.ddl]` applied to the objects that it names.
//!
//! The order of the questions: can the statement be read with certainty at all (`unknown`); is any of its targets selected; does its
//! kind go out (`allow`, `deny`, `supported`, `unsupported`); do its targets agree, and if not, can it be split (RENAME has its own
//! rules: `rename_out`, `rename_in`); are the other objects that it names selected (`reference`). Only then names are mapped.

mod definer;
mod fold;
mod judge;
mod kinds;
mod online;
mod rename;
mod settings;
mod verdict;

pub use judge::{effect, judge};
pub use kinds::{SUPPORTED_DDL, SUPPORTED_DML, UNSUPPORTED, canonical_kind, is_dml, kind_aliases};
pub use settings::{Account, Choice, Definer, Policy};
pub use verdict::{Action, ObjectVerdict, Reason, Verdict};
