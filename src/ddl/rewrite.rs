//! New names in place of the old, by byte range; every other byte stays as it was.

use std::ops::Range;

use super::charset::Charset;
use super::{Context, Object, ObjectType, Statement, reserved};

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
    let charset = Charset::of_collation(context.client_collation);
    let mut edits = keep_items.map_or(Ok(Vec::new()), |kept| removals(statement, kept))?;
    let removed = edits.len();
    let mut mapped: Vec<Option<&MappedName>> = vec![None; statement.objects.len()];
    for name in names {
        *mapped.get_mut(name.object).ok_or(RewriteError::NoSuchElement(name.object))? = Some(name);
    }
    for (object, name) in statement.objects.iter().zip(&mapped) {
        let Some(name) = name else { continue };
        let start = object.database_span.as_ref().map_or(object.span.start, |database| database.start);
        let dropped = edits.get(..removed).unwrap_or_default().iter().any(|edit| edit.range.contains(&start));
        if !dropped {
            splice(sql, object, name, &mapped, statement, default_database, charset, &mut edits)?;
        }
    }
    edits.sort_by_key(|edit| edit.range.start);
    let mut text = Vec::with_capacity(sql.len() + edits.iter().map(|edit| edit.text.len()).sum::<usize>());
    let mut at = 0;
    for edit in &edits {
        text.extend_from_slice(sql.get(at..edit.range.start).unwrap_or_default());
        text.extend_from_slice(&edit.text);
        at = edit.range.end;
    }
    text.extend_from_slice(sql.get(at..).unwrap_or_default());
    Ok(text)
}

/// The edits of one mention.
#[allow(clippy::too_many_arguments, reason = "the parts of one call, split off for reading")]
fn splice(
    sql: &[u8],
    object: &Object,
    name: &MappedName,
    mapped: &[Option<&MappedName>],
    statement: &Statement,
    default_database: &str,
    charset: Charset,
    edits: &mut Vec<Edit>,
) -> Result<(), RewriteError> {
    if object.object_type == ObjectType::Database {
        // ALTER DATABASE without a name has no place in the text: the replica's default database is meant.
        if name.database != object.database && !object.span.is_empty() {
            let style = Style::of(sql, &object.span);
            edits.push(Edit { range: object.span.clone(), text: style.write(&name.database, charset)? });
        }
        return Ok(());
    }
    let style = Style::of(sql, &object.span);
    let qualifier = match &object.database_span {
        Some(span) => {
            if name.database != object.database {
                let text = Style::of(sql, span).write(&name.database, charset)?;
                edits.push(Edit { range: span.clone(), text });
            }
            None
        }
        None if object.column_qualifier => {
            // `t.c` means an unaliased table `t` in whatever database, unless two tables now have the same name.
            let ambiguous = statement.objects.iter().zip(mapped).any(|(other, new)| {
                !other.column_qualifier && new.is_some_and(|new| new.name == name.name && new.database != name.database)
            });
            ambiguous.then_some(&name.database)
        }
        None => {
            let lent = object.inherits.and_then(|owner| {
                let old = statement.objects.get(owner)?;
                let new = mapped.get(owner).copied().flatten();
                Some(new.map_or(old.database.as_str(), |new| new.database.as_str()))
            });
            (name.database != lent.unwrap_or(default_database)).then_some(&name.database)
        }
    };
    if qualifier.is_none() && name.name == object.name {
        return Ok(());
    }
    let mut text = Vec::new();
    if let Some(database) = qualifier {
        let before = sql.get(..object.span.start).unwrap_or_default().trim_ascii_end();
        if before.last() == Some(&b'.') && !object.column_qualifier {
            return Err(RewriteError::LeadingPoint(object.name.clone()));
        }
        text = style.write(database, charset)?;
        text.push(b'.');
    }
    if name.name == object.name {
        text.extend_from_slice(sql.get(object.span.clone()).unwrap_or_default());
    } else {
        text.extend(style.write(&name.name, charset)?);
    }
    edits.push(Edit { range: object.span.clone(), text });
    Ok(())
}

/// The edits that take out the elements which are not kept, each with one comma.
fn removals(statement: &Statement, kept: &[usize]) -> Result<Vec<Edit>, RewriteError> {
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
    fn write(self, name: &str, charset: Charset) -> Result<Vec<u8>, RewriteError> {
        let unencodable = || RewriteError::Unencodable(name.to_owned());
        let quote = match self {
            Self::Quoted(quote) => quote,
            Self::Plain if can_go_bare(name) => return charset.encode(name).ok_or_else(unencodable),
            Self::Plain => b'`',
        };
        let doubled = name.replace(char::from(quote), &format!("{0}{0}", char::from(quote)));
        let mut text = vec![quote];
        text.extend(charset.encode(&doubled).ok_or_else(unencodable)?);
        text.push(quote);
        Ok(text)
    }
}

/// Whether every server reads the name as a name without quotes. A leading `_` could introduce a character set, and
/// a character beyond ASCII could be a space in the session's set.
pub fn can_go_bare(name: &str) -> bool {
    name.is_ascii() && !name.starts_with('_') && reserved::is_plain_identifier(name)
}
