//! Answers to text-protocol queries.

use bytes::Bytes;

use super::{Activity, SourceError, connection::Connection};
use crate::wire::{Cursor, Truncated};

/// Most bytes of rows in one answer. Answers are variables, grants and lists of files; this is for the largest of lists.
pub(super) const ANSWER_LIMIT: usize = 64 << 20;
/// MySQL allows 4096 columns.
const COLUMN_LIMIT: u64 = 4096;

/// What a query gave. A statement without rows gives no columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultSet {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows; `None` is NULL. Every row has a value a column.
    pub rows: Vec<Vec<Option<Bytes>>>,
    /// Of a statement without rows.
    pub affected_rows: u64,
}

impl ResultSet {
    /// The number of the column with this name; capitals do not matter.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))
    }

    /// A value as text; nothing if it is NULL or there is no such row or column.
    pub fn text(&self, row: usize, column: usize) -> Option<String> {
        let value = self.rows.get(row)?.get(column)?.as_ref()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// The first value of the first row, as text.
    pub fn single(&self) -> Option<String> {
        self.text(0, 0)
    }
}

const OK: u8 = 0x00;
const LOCAL_INFILE: u8 = 0xfb;
const EOF: u8 = 0xfe;
const ERR: u8 = 0xff;

/// An EOF packet is shorter than any row that begins with the same byte, which then is a value of 16 MiB or more.
pub(super) fn is_eof(payload: &[u8]) -> bool {
    payload.first() == Some(&EOF) && payload.len() < 9
}

/// Reads the whole answer to COM_QUERY.
pub(super) async fn read(
    connection: &mut Connection,
    activity: impl Fn() -> Activity,
) -> Result<ResultSet, SourceError> {
    let first = connection.receive().await?;
    match first.first() {
        Some(&OK) => {
            let affected_rows = Cursor::new(&first[1..]).packed().unwrap_or(0);
            return Ok(ResultSet { affected_rows, ..ResultSet::default() });
        }
        Some(&ERR) => return Err(connection.refused(&first, activity())),
        Some(&LOCAL_INFILE) => return Err(connection.protocol("the server asks for a file of ours")),
        _ => {}
    }
    let count = Cursor::new(&first).packed().ok().filter(|&count| (1..=COLUMN_LIMIT).contains(&count));
    let count = count.ok_or_else(|| connection.protocol("an answer that is none"))? as usize;
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        let payload = connection.receive().await?;
        let name = column_name(&payload).map_err(|error| connection.protocol(format!("column {error}")))?;
        columns.push(name);
    }
    if !is_eof(&connection.receive().await?) {
        return Err(connection.protocol("no end after the columns of an answer"));
    }
    let (mut rows, mut size) = (Vec::new(), 0);
    loop {
        let payload = connection.receive().await?;
        if is_eof(&payload) {
            return Ok(ResultSet { columns, rows, affected_rows: 0 });
        }
        if payload.first() == Some(&ERR) {
            return Err(connection.refused(&payload, activity()));
        }
        // A row of NULLs is a byte a value on the wire and a few dozen in memory.
        size += payload.len() + count * size_of::<Option<Bytes>>();
        if size > ANSWER_LIMIT {
            return Err(connection.protocol(format!("an answer of more than {ANSWER_LIMIT} bytes")));
        }
        rows.push(row(&payload, count).map_err(|error| connection.protocol(format!("row {error}")))?);
    }
}

/// ColumnDefinition41: six texts (catalogue, database, table, original table, name, original name), then types.
fn column_name(payload: &[u8]) -> Result<String, Truncated> {
    let mut cursor = Cursor::new(payload);
    for _before in 0..4 {
        text(&mut cursor)?;
    }
    Ok(String::from_utf8_lossy(text(&mut cursor)?).into_owned())
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Truncated> {
    let length = cursor.packed()?;
    cursor.take(usize::try_from(length).unwrap_or(usize::MAX))
}

fn row(payload: &Bytes, count: usize) -> Result<Vec<Option<Bytes>>, Truncated> {
    const NULL: u8 = 0xfb;
    let mut cursor = Cursor::new(payload);
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        if cursor.rest().first() == Some(&NULL) {
            cursor.u8()?;
            values.push(None);
        } else {
            values.push(Some(payload.slice_ref(text(&mut cursor)?)));
        }
    }
    Ok(values)
}
