//! Placeholder until the rewriter lands.
use super::{Context, Statement};

/// The new name of one object of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedName {
    /// Index into [`Statement::objects`].
    pub object: usize,
    /// The database at the replica, UTF-8.
    pub database: String,
    /// The name at the replica, UTF-8; empty for a database.
    pub name: String,
}

/// Why a statement could not be rewritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// The session's character set cannot express the new name.
    #[error("the name {0:?} cannot be written in the character set of the statement's session")]
    Unencodable(String),
}

/// The text with new names in place of the old, every other byte as it was. `default_database` is the one in force
/// at the replica: an unqualified name stays unqualified where its new database is that one.
/// `keep_items` names the elements of [`Statement::items`] to keep; `None` keeps all.
pub fn rewrite(
    sql: &[u8],
    statement: &Statement,
    context: &Context<'_>,
    names: &[MappedName],
    default_database: &str,
    keep_items: Option<&[usize]>,
) -> Result<Vec<u8>, RewriteError> {
    let _ = (statement, context, names, default_database, keep_items);
    Ok(sql.to_vec())
}
