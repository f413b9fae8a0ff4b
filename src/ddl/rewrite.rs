//! New names in place of the old, by byte range; every other byte stays as it was.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::lexer::{Lexer, Rules};
use super::{Context, DerivedName, Object, ObjectType, Statement, reserved};

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
    /// The elements to keep leave nothing of the list, so that there is no statement.
    #[error("no element of the statement's list is kept")]
    NothingKept,
    /// The mention is written `.name`, an ODBC spelling that has no room for a database.
    #[error("the name {0:?} has a point before it and needs a database")]
    LeadingPoint(String),
    /// An element to keep is not in the statement's list, or an object is not in the statement.
    #[error("the statement has no element or object {0}")]
    NoSuchElement(usize),
}

/// One replacement of a range of the text.
struct Edit {
    range: Range<usize>,
    text: Vec<u8>,
}

/// The text with new names in place of the old, every other byte as it was. `default_database` is the one in force
/// at the replica: an unqualified name stays unqualified where its new database is that one, or, for mentions that
/// inherit their database from another object, where it is that object's new database.
/// `keep_items` names the elements of [`Statement::items`] to keep; `None` keeps all.
///
/// A table whose new name is an alias or a common table expression of the statement is qualified, too.
///
/// Objects that `names` leaves out keep their text. A name keeps the quotes that its mention has, and gets
/// backquotes where it needs them; only ASCII letters, digits and `_` go without.
pub fn rewrite(
    sql: &[u8],
    statement: &Statement,
    context: &Context<'_>,
    names: &[MappedName],
    default_database: &str,
    keep_items: Option<&[usize]>,
) -> Result<Vec<u8>, RewriteError> {
    let mut dropped = vec![false; statement.objects.len()];
    let mut edits = keep_items.map_or(Ok(Vec::new()), |kept| removals(statement, kept, &mut dropped))?;
    let mut mapped: Vec<Option<&MappedName>> = vec![None; statement.objects.len()];
    for name in names {
        *mapped.get_mut(name.object).ok_or(RewriteError::NoSuchElement(name.object))? = Some(name);
    }
    let splicer = Splicer {
        sql,
        statement,
        mapped: &mapped,
        shared: shared_names(statement, &mapped),
        default_database,
        rules: Rules::of(context),
    };
    for ((object, name), dropped) in statement.objects.iter().zip(&mapped).zip(dropped) {
        if let Some(name) = name
            && !dropped
        {
            splicer.splice(object, name, &mut edits)?;
        }
    }
    for derived in &statement.derived {
        if let Some(name) = mapped.get(derived.table).copied().flatten() {
            splicer.splice_derived(derived, name, &mut edits)?;
        }
    }
    edits.sort_by_key(|edit| edit.range.start);
    let mut text = Vec::with_capacity(sql.len() + edits.iter().map(|edit| edit.text.len()).sum::<usize>());
    let mut at = 0;
    for edit in &edits {
        text.extend_from_slice(sql.get(at..edit.range.start).unwrap_or_default());
        // Two names in quotes side by side would be one with a quote in it: `FROM t`a`` under a name that needs quotes.
        let quote = |byte: Option<&u8>| byte.copied().filter(|byte| matches!(byte, b'`' | b'"'));
        if quote(edit.text.first()).is_some_and(|first| text.last() == Some(&first)) {
            text.push(b' ');
        }
        text.extend_from_slice(&edit.text);
        if quote(edit.text.last()).is_some_and(|last| sql.get(edit.range.end) == Some(&last)) {
            text.push(b' ');
        }
        at = edit.range.end;
    }
    text.extend_from_slice(sql.get(at..).unwrap_or_default());
    Ok(text)
}

/// New names that tables of different databases share, so that a column cannot tell them apart by the name alone.
fn shared_names<'n>(statement: &Statement, mapped: &[Option<&'n MappedName>]) -> HashSet<&'n str> {
    let mut shared = HashSet::new();
    let mut tables: HashMap<&str, (&str, &str)> = HashMap::new();
    if !statement.objects.iter().any(|object| object.column_qualifier) {
        return shared;
    }
    for (object, name) in statement.objects.iter().zip(mapped) {
        let Some(name) = name.filter(|_| !object.column_qualifier) else { continue };
        let (database, old) = *tables.entry(&name.name).or_insert((&name.database, &object.name));
        // Tables that had the same name before are as they were.
        if database != name.database && old != object.name {
            shared.insert(name.name.as_str());
        }
    }
    shared
}

/// What every mention's edits depend on.
struct Splicer<'a> {
    sql: &'a [u8],
    statement: &'a Statement,
    mapped: &'a [Option<&'a MappedName>],
    shared: HashSet<&'a str>,
    default_database: &'a str,
    rules: Rules,
}

impl Splicer<'_> {
    /// The edit of a name that follows its table's.
    fn splice_derived(
        &self,
        derived: &DerivedName,
        table: &MappedName,
        edits: &mut Vec<Edit>,
    ) -> Result<(), RewriteError> {
        if self.statement.objects.get(derived.table).is_some_and(|old| old.name == table.name) {
            return Ok(());
        }
        let style = Style::of(self.sql, &derived.span);
        let text = style.write(&format!("{}{}", table.name, derived.suffix), &self.rules)?;
        edits.push(Edit { range: derived.span.clone(), text });
        Ok(())
    }

    /// Whether a mention by a table's name alone, without a column behind it, stands in an optimizer hint.
    fn is_in_hint(&self, object: &Object) -> bool {
        let next = Lexer::between(self.sql, self.rules, object.span.end, self.sql.len()).next();
        // Asked first: a statement may have thousands of columns, and the way back to a comment's start is long.
        if self.sql.get(next.start) == Some(&b'.') {
            return false;
        }
        let before = self.sql.get(..object.span.start).unwrap_or_default();
        let last = |what: &[u8]| before.windows(what.len()).rposition(|bytes| bytes == what);
        last(b"/*+").is_some_and(|hint| last(b"*/") < Some(hint))
    }

    /// The edits of one mention.
    fn splice(&self, object: &Object, name: &MappedName, edits: &mut Vec<Edit>) -> Result<(), RewriteError> {
        if object.object_type == ObjectType::Database {
            // ALTER DATABASE without a name has no place in the text: the replica's default database is meant.
            if name.database != object.database && !object.span.is_empty() {
                let style = Style::of(self.sql, &object.span);
                edits.push(Edit { range: object.span.clone(), text: style.write(&name.database, &self.rules)? });
            }
            return Ok(());
        }
        let style = Style::of(self.sql, &object.span);
        // A new name that is also an alias or a common table expression would mean that one.
        let hidden = name.name != object.name
            && self.statement.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(&name.name));
        let qualifier = match &object.database_span {
            Some(span) => {
                if name.database != object.database {
                    let text = Style::of(self.sql, span).write(&name.database, &self.rules)?;
                    edits.push(Edit { range: span.clone(), text });
                }
                None
            }
            None if hidden && !name.database.is_empty() => Some(&name.database),
            None if object.column_qualifier => {
                // `t.c` means an unaliased table `t` in whatever database, unless two tables now have the same name.
                let ambiguous = self.shared.contains(name.name.as_str());
                ambiguous.then_some(&name.database)
            }
            None => {
                let lent = object.inherits.and_then(|owner| {
                    let old = self.statement.objects.get(owner)?;
                    let new = self.mapped.get(owner).copied().flatten();
                    Some(new.map_or(old.database.as_str(), |new| new.database.as_str()))
                });
                (name.database != lent.unwrap_or(self.default_database)).then_some(&name.database)
            }
        };
        if qualifier.is_none() && name.name == object.name {
            return Ok(());
        }
        // An optimizer hint has no room for a database: one that names no table of its query is passed over.
        if qualifier.is_some() && object.column_qualifier && self.is_in_hint(object) {
            return Ok(());
        }
        let mut text = Vec::new();
        if let Some(database) = qualifier {
            let before = self.sql.get(..object.span.start).unwrap_or_default().trim_ascii_end();
            if before.last() == Some(&b'.') && !object.column_qualifier {
                return Err(RewriteError::LeadingPoint(object.name.clone()));
            }
            text = style.write(database, &self.rules)?;
            text.push(b'.');
        }
        if name.name == object.name {
            text.extend_from_slice(self.sql.get(object.span.clone()).unwrap_or_default());
        } else {
            text.extend(style.write(&name.name, &self.rules)?);
        }
        edits.push(Edit { range: object.span.clone(), text });
        Ok(())
    }
}

/// The edits that take out the elements which are not kept, each with one comma; `dropped` learns their objects.
fn removals(statement: &Statement, kept: &[usize], dropped: &mut [bool]) -> Result<Vec<Edit>, RewriteError> {
    let mut keep = vec![false; statement.items.len()];
    for &index in kept {
        *keep.get_mut(index).ok_or(RewriteError::NoSuchElement(index))? = true;
    }
    let Some(first) = keep.iter().position(|&kept| kept) else {
        return Err(RewriteError::NothingKept);
    };
    let mut edits = Vec::new();
    for (index, item) in statement.items.iter().enumerate() {
        if keep.get(index) == Some(&true) {
            continue;
        }
        for &object in &item.objects {
            *dropped.get_mut(object).ok_or(RewriteError::NoSuchElement(object))? = true;
        }
        let range = if index < first {
            // Before the first that stays: up to the next element, so that the comma after goes.
            let next = statement.items.get(index + 1).map_or(item.span.end, |next| next.span.start);
            item.span.start..next
        } else {
            let before = index.checked_sub(1).and_then(|before| statement.items.get(before));
            before.map_or(item.span.start, |before| before.span.end)..item.span.end
        };
        edits.push(Edit { range, text: Vec::new() });
    }
    Ok(edits)
}

/// How a mention is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Quoted(u8),
}

impl Style {
    fn of(sql: &[u8], span: &Range<usize>) -> Self {
        match sql.get(span.start) {
            Some(&quote @ (b'`' | b'"')) => Self::Quoted(quote),
            _ => Self::Plain,
        }
    }

    /// The name in the session's character set, with quotes where the mention has them or the name needs them.
    fn write(self, name: &str, rules: &Rules) -> Result<Vec<u8>, RewriteError> {
        let charset = rules.charset;
        let unencodable = || RewriteError::Unencodable(name.to_owned());
        let quote = match self {
            Self::Quoted(quote) => quote,
            Self::Plain if can_go_bare(name) => return charset.encode(name).ok_or_else(unencodable),
            Self::Plain => b'`',
        };
        let doubled = name.replace(char::from(quote), &format!("{0}{0}", char::from(quote)));
        let mut text = vec![quote];
        text.extend(charset.encode(&doubled).ok_or_else(unencodable)?);
        // MariaDB takes a trail byte that looks like the quote for the first of two, and loses the byte behind it.
        let quotes = text.iter().skip(1).filter(|&&byte| byte == quote).count();
        if rules.mariadb && quotes != doubled.matches(char::from(quote)).count() {
            return Err(unencodable());
        }
        text.push(quote);
        Ok(text)
    }
}

/// Whether every server reads the name as a name without quotes. A leading `_` could introduce a character set, and
/// a character beyond ASCII could be a space in the session's set.
pub fn can_go_bare(name: &str) -> bool {
    name.is_ascii() && !name.starts_with('_') && reserved::is_plain_identifier(name)
}
