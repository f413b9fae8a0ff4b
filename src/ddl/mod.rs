//! What a statement is and which objects it names, with the exact place of each name in the text.
//!
//! The input is the text of a `QUERY_EVENT` as bytes in the character set of the session that wrote it. The
//! output names the statement's [`Kind`], its [`Class`] and every [`Object`] with its role and byte span, so that a
//! rewrite touches nothing but names. This module knows no rules and no events.

use std::ops::Range;

mod analyze;
mod charset;
mod comments;
mod definition;
mod functions;
mod if_exists;
mod keyword;
mod kind;
mod lexer;
mod mask;
mod objects;
mod reserved;
mod rewrite;
mod second_opinion;
pub mod session;
#[cfg(test)]
mod steps;

pub use analyze::analyze;
pub use comments::{Reader, analyze_for};
pub use if_exists::with_if_exists;
pub use mask::masked;
pub use rewrite::{MappedName, RewriteError, can_go_bare, rewrite};

/// What is known of the session that wrote a statement.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The session's default database, UTF-8; empty when there is none.
    pub default_database: &'a str,
    /// `sql_mode` as in status variable `Q_SQL_MODE_CODE` (bit 2 ANSI_QUOTES, bit 20 NO_BACKSLASH_ESCAPES, …).
    pub sql_mode: u64,
    /// Collation id of `character_set_client` (first of the three in `Q_CHARSET_CODE`); 0 when unknown, read as utf8mb4.
    pub client_collation: u16,
    /// Version that judges `/*!NNNNN … */`, for example 50729, 90704 or 101119.
    pub version: u32,
    /// Whether that server is MariaDB: it also opens `/*M!NNNNNN … */` and skips `/*!50700 … */` to `/*!99999`.
    pub mariadb: bool,
}

/// The server's own name of the command in snake_case (`create_table`, `drop_db`, …), or `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind(pub &'static str);

impl Kind {
    /// A statement that nobody could classify.
    pub const UNKNOWN: Kind = Kind("unknown");
}

/// What the policy keys speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// On the list of supported statements in the contract.
    Supported,
    /// Known, and not on that list.
    Unsupported,
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT, XA …: passes as its transaction needs.
    Transaction,
    /// Not classified with certainty.
    Unknown,
}

/// The part a transaction-control statement plays in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// `BEGIN`, `START TRANSACTION`.
    Begin,
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK` (of the whole transaction).
    Rollback,
    /// `SAVEPOINT`, `ROLLBACK TO`, `RELEASE SAVEPOINT`.
    Savepoint,
    /// `XA START` / `XA BEGIN`.
    XaStart,
    /// `XA END`.
    XaEnd,
    /// `XA PREPARE`.
    XaPrepare,
    /// `XA COMMIT`.
    XaCommit,
    /// `XA ROLLBACK`.
    XaRollback,
}

/// The type of a named object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectType {
    /// A database; `name` is empty and `database` is the name itself.
    Database,
    /// A table, or a name that can be a table or a view.
    Table,
    /// A view where the statement says so.
    View,
    /// A stored procedure.
    Procedure,
    /// A stored function.
    Function,
    /// A trigger.
    Trigger,
    /// An event of the event scheduler.
    Event,
    /// A MariaDB sequence.
    Sequence,
    /// A MariaDB package or package body.
    Package,
}

/// Targets decide what happens to a statement; references are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Created, changed, dropped, renamed or truncated by the statement.
    Target,
    /// Only read or pointed at (LIKE, SELECT, REFERENCES, a view's tables, …).
    Reference,
}

/// One mention of an object in a statement. An object that is mentioned twice is two entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub object_type: ObjectType,
    /// Its database, UTF-8, from the text or else the default database; empty when neither names one.
    pub database: String,
    /// Its name, UTF-8, unquoted; empty for [`ObjectType::Database`].
    pub name: String,
    /// Target or reference.
    pub role: Role,
    /// Byte range of the database's name as written with its quotes, where the text has it.
    pub database_span: Option<Range<usize>>,
    /// Byte range of the name as written with its quotes. For [`ObjectType::Database`] the same as `database_span`.
    pub span: Range<usize>,
    /// For `db.tbl.col` or `tbl.col` mentions of a table by a column reference: the splice must not add a qualifier.
    pub column_qualifier: bool,
    /// Index of the object that lends its database to this mention where the text has none: the table of a FOREIGN
    /// KEY … REFERENCES, the routine, trigger or event of a body. `None`: the session's default database is meant.
    pub inherits: Option<usize>,
}

/// A name that a server makes from a table's name: `orders_ibfk_1` of a foreign key, `orders_chk_2` of a check. It takes
/// part in the table's new name, as it does when the server renames the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedName {
    /// Byte range of the whole name as written, with its quotes.
    pub span: Range<usize>,
    /// Index into [`Statement::objects`] of the table.
    pub table: usize,
    /// What follows the table's name, for example `_ibfk_1`.
    pub suffix: String,
}

/// One element of a comma separated list that can be split: a table of `DROP TABLE a, b`, a pair of `RENAME TABLE a TO b, …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListItem {
    /// Byte range of the element without the commas and spaces around it.
    pub span: Range<usize>,
    /// Indexes into [`Statement::objects`]: one for a DROP, old and new for a RENAME.
    pub objects: Vec<usize>,
}

/// What is known of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The server's name for the command.
    pub kind: Kind,
    /// Its class before `allow` and `deny` of a route.
    pub class: Class,
    /// Every object that the text names, in order of their place in the text.
    pub objects: Vec<Object>,
    /// Names of constraints that follow a table's name.
    pub derived: Vec<DerivedName>,
    /// The elements of DROP TABLE / DROP VIEW / RENAME TABLE; empty for every other kind.
    pub items: Vec<ListItem>,
    /// The names that the statement itself gives to tables, UTF-8: aliases and common table expressions. A table
    /// whose new name is one of them must be qualified, or the replica would take the one for the other.
    pub aliases: Vec<String>,
    /// What it does to a transaction, for transaction control only.
    pub control: Option<Control>,
    /// `CREATE TABLE … START TRANSACTION` (MySQL 8.0.21+): rows and an XID follow in the same group.
    pub opens_transaction: bool,
    /// `CREATE TEMPORARY TABLE` / `DROP TEMPORARY TABLE`.
    pub temporary: bool,
    /// `DEFINER = account` of a stored object, or an empty range where it could stand. Of CREATE and ALTER only.
    pub definer: Option<Range<usize>>,
    /// The body of a routine, trigger, event or compound statement could not be read to its end with certainty (prepared
    /// statements, other languages): it may name objects that [`Statement::objects`] does not have.
    pub body_opaque: bool,
    /// Why the kind is `unknown` or the objects are not certain: a sentence for the operator.
    pub doubt: Option<String>,
}

/// A token of a statement's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lexeme {
    /// Its bytes in the text.
    pub span: Range<usize>,
    /// Whether it is a word without quotes: a keyword or a name.
    pub bare: bool,
}

/// The tokens of a text as the session's server reads them, without spaces and comments.
pub fn lexemes<'a>(sql: &'a [u8], context: &Context<'_>) -> impl Iterator<Item = Lexeme> + use<'a> {
    let mut lexer = lexer::Lexer::new(sql, lexer::Rules::of(context));
    std::iter::from_fn(move || {
        let token = lexer.next();
        let bare = token.kind == lexer::TokenKind::Word;
        (token.kind != lexer::TokenKind::End).then_some(Lexeme { span: token.start..token.end, bare })
    })
}
