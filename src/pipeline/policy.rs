//! What happens to one statement, and why: the keys of `[routes.X.ddl]` applied to the objects that it names.

mod settings;

pub use settings::{Choice, Policy};
