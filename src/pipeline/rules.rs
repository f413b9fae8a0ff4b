//! The rules of one route: what is selected, under which name it goes out, and what the policy keys say.

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
