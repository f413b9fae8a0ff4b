//! What happens to one statement, and why: the keys of `[routes.X.ddl]` applied to the objects that it names.

mod kinds;
mod settings;

pub use kinds::{SUPPORTED_DDL, SUPPORTED_DML, UNSUPPORTED, canonical_kind, is_dml, kind_aliases};
pub use settings::{Choice, Policy};
