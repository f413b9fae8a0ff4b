//! A stream of events as lines for people, one group of lines for each transaction.

use mysql_common::binlog::EventStreamReader;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{EventData, RowsEventData};
use mysql_common::binlog::row::BinlogRow;
use mysql_common::binlog::value::BinlogValue;
use mysql_common::value::Value;

use crate::binlog::{Event, EventType, FormatDescription, Gtid, Query, Rows};

/// What one event did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// A statement with its default database.
    Statement {
        /// The session's default database.
        database: String,
        /// The text.
        sql: String,
    },
    /// Rows of a table.
    Rows {
        /// Its database.
        database: String,
        /// Its name.
        table: String,
        /// `INSERT`, `UPDATE` or `DELETE` with the rows' values.
        text: String,
    },
}

/// One transaction: its number in the source's GTIDs, and what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transaction {
    /// The number after the colon of the GTID.
    pub(super) number: u64,
    /// What it did; nothing where the proxy emptied it.
    pub(super) deeds: Vec<Deed>,
}

/// Reads a stream, event by event. It shows row values, which nothing else in replproxy does: they are the demo's own.
pub(super) struct Teller {
    reader: EventStreamReader,
    format: Option<FormatDescription>,
    /// What was read so far.
    pub(super) transactions: Vec<Transaction>,
}

/// Why the demo's stream cannot be told. It is built into the program, so this is a defect of the proxy.
pub(super) type Untold = String;

impl Teller {
    pub(super) fn new() -> Self {
        Self { reader: EventStreamReader::new(BinlogVersion::Version4), format: None, transactions: Vec::new() }
    }

    /// Takes the next event. Events before the first FORMAT_DESCRIPTION say nothing of interest.
    pub(super) fn hear(&mut self, event: &Event) -> Result<(), Untold> {
        if event.event_type() == EventType::FORMAT_DESCRIPTION {
            let (_, format) = FormatDescription::read(event.raw().clone()).map_err(|error| error.to_string())?;
            self.format = Some(format);
        }
        let Some(format) = &self.format else { return Ok(()) };
        let cut = |error: crate::wire::Truncated| error.to_string();
        match event.event_type() {
            EventType::GTID => {
                let number = Gtid::read(event.body()).map_err(cut)?.gno;
                self.transactions.push(Transaction { number, deeds: Vec::new() });
            }
            EventType::QUERY => {
                let query = Query::read(event.body(), format).map_err(cut)?;
                let sql = text(query.sql);
                if sql != "BEGIN" && sql != "COMMIT" {
                    self.add(Deed::Statement { database: text(query.database), sql });
                }
            }
            kind if Rows::is_rows(kind) || kind == EventType::TABLE_MAP || kind == EventType::FORMAT_DESCRIPTION => {
                self.decode(event)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn decode(&mut self, event: &Event) -> Result<(), Untold> {
        // The reader needs whole events; `Event` has made sure of that.
        let decoded = self.reader.read(&event.raw()[..]).map_err(|error| error.to_string())?;
        let data = decoded.as_ref().map(|event| event.read_data()).transpose().map_err(|error| error.to_string())?;
        let Some(Some(EventData::RowsEvent(rows))) = data else { return Ok(()) };
        let verb = match &rows {
            RowsEventData::WriteRowsEvent(_) | RowsEventData::WriteRowsEventV1(_) => "INSERT",
            RowsEventData::DeleteRowsEvent(_) | RowsEventData::DeleteRowsEventV1(_) => "DELETE",
            _ => "UPDATE",
        };
        let table = self.reader.get_tme(rows.table_id()).ok_or("rows of a table that was not named")?;
        let mut shown = Vec::new();
        for row in rows.rows(table) {
            let (before, after) = row.map_err(|error| error.to_string())?;
            shown.push(match (before, after) {
                (Some(before), Some(after)) => format!("{} → {}", values(before), values(after)),
                (Some(only), None) | (None, Some(only)) => values(only),
                (None, None) => String::new(),
            });
        }
        let database = table.database_name().into_owned();
        let table = table.table_name().into_owned();
        self.add(Deed::Rows { database, table, text: format!("{verb} {}", shown.join(", ")) });
        Ok(())
    }

    fn add(&mut self, deed: Deed) {
        if let Some(transaction) = self.transactions.last_mut() {
            transaction.deeds.push(deed);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `(1, 'tea', NULL)`.
fn values(row: BinlogRow) -> String {
    let value = |value: BinlogValue<'static>| match value {
        BinlogValue::Value(Value::Bytes(bytes)) => format!("'{}'", String::from_utf8_lossy(&bytes)),
        BinlogValue::Value(other) => other.as_sql(true),
        BinlogValue::Jsonb(_) | BinlogValue::JsonDiff(_) => "…".to_owned(),
    };
    format!("({})", row.unwrap().into_iter().map(value).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_stream_is_told_whole() {
        let recorded: &[u8] = include_bytes!("../../fixtures/demo/binlog.000001");
        let mut file = crate::binlog::FileReader::new(recorded).unwrap();
        let mut teller = Teller::new();
        while let Some(event) = file.next_event().unwrap() {
            teller.hear(&event).unwrap();
        }
        assert_eq!(
            teller.transactions.iter().map(|told| told.number).collect::<Vec<_>>(),
            (1..=10).collect::<Vec<_>>()
        );
        assert_eq!(
            teller.transactions[1].deeds,
            [
                Deed::Rows {
                    database: "shop".to_owned(),
                    table: "orders".to_owned(),
                    text: "INSERT (1, 'green tea', 2), (2, 'teapot', 1)".to_owned()
                },
                Deed::Rows {
                    database: "shop".to_owned(),
                    table: "audit_log".to_owned(),
                    text: "INSERT (1, 'two orders came in')".to_owned()
                },
            ]
        );
    }
}
