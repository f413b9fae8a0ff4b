//! One event as people and programs read it.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::rows;
use crate::{
    binlog::{
        ChecksumAlgorithm, Event, EventType, ExecuteLoadQuery, FormatDescription, Gtid, HEADER_LENGTH, Header,
        MariaDbGtid, PayloadError, Query, Rotate, Rows, StatusVariables, TableMap, TaggedGtid, flags, open_statement,
        open_transaction, status_code,
    },
    ddl::masked,
    gtid::{GtidSet, GtidSetError, MariaDbGtidText},
    wire::{Cursor, Truncated},
};

/// Bytes of a statement that are shown; its length is told.
const SQL_LIMIT: usize = 4096;
/// Tables that are remembered between TABLE_MAP and rows.
const TABLE_LIMIT: usize = 65_536;
/// Characters of a GTID set that are shown.
const SET_LIMIT: usize = 4096;

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("body {0}")]
    Truncated(#[from] Truncated),
    #[error(transparent)]
    GtidSet(#[from] GtidSetError),
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error("{0}")]
    Rows(String),
    /// Rows that we have no means to read; the event is good.
    #[error("rows are not shown: {0}")]
    NotShown(String),
}

/// What is known of one event. Absent fields are not of this type of event.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Described {
    /// The file it is in, as far as that is known.
    pub file: Option<String>,
    /// Where it begins; nothing for events that are in no file or inside another.
    pub position: Option<u64>,
    /// `log_pos` of its header.
    pub end_position: u32,
    /// Seconds since the epoch.
    pub timestamp: u32,
    /// The protocol's name of its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Bytes with header and checksum.
    pub size: u32,
    /// Where it was born.
    pub server_id: u32,
    /// Names of the header's flags.
    pub flags: Vec<String>,
    /// `ok`, `none` (it has none), or `in_payload` (it is covered by the event that it was in).
    pub checksum: &'static str,
    /// GTID of the group that it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gtid: Option<String>,
    /// The session's default database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The table, as `database.table`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The statement, cut at 4096 bytes; without the values in it unless rows were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// Length of the whole statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql_bytes: Option<usize>,
    /// What else the type has to say.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub detail: Map<String, Value>,
    /// The rows, if asked for: `before` and `after` by column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Vec<rows::Row>>,
    /// The body cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// How many events deep it is inside others.
    #[serde(skip)]
    pub depth: usize,
}

impl Described {
    fn detail(&mut self, name: &str, value: impl Into<Value>) {
        self.detail.insert(name.to_owned(), value.into());
    }
}

/// Describes the events of one stream in order.
#[derive(Debug, Default)]
pub struct Describer {
    with_rows: bool,
    file: Option<String>,
    /// Its ROTATE events say which file follows. In a relay log, which has those of the source, they do not.
    is_stream: bool,
    format: Option<FormatDescription>,
    /// A relay log may begin in the middle of a statement.
    is_relay_log: bool,
    tables: HashMap<u64, rows::Table>,
    /// Whether a checksum covers the event at hand.
    trusted: bool,
}

impl Describer {
    /// Describes events of this file; of a stream, whose ROTATE events name the files, give none.
    pub fn new(file: Option<String>, with_rows: bool) -> Self {
        Self { with_rows, is_stream: file.is_none(), file, ..Self::default() }
    }

    /// The event, and after it those that are inside of it.
    pub fn describe(&mut self, event: &Event, position: Option<u64>) -> Vec<Described> {
        let mut out = Vec::new();
        self.one(event, position, 0, &mut out);
        out
    }

    fn one(&mut self, event: &Event, position: Option<u64>, depth: usize, out: &mut Vec<Described>) {
        let header = *event.header();
        if depth == 0 {
            self.trusted = event.checksum() == ChecksumAlgorithm::Crc32;
        }
        if header.event_type == EventType::FORMAT_DESCRIPTION
            && let Ok((_, format)) = FormatDescription::read(event.raw().clone())
        {
            self.format = Some(format);
            self.is_relay_log |= header.flags & flags::RELAY_LOG != 0;
        }
        let mut described = Described {
            file: self.file.clone(),
            position,
            end_position: header.log_pos,
            timestamp: header.timestamp,
            event_type: header.event_type.to_string(),
            size: header.event_length,
            server_id: header.server_id,
            flags: flag_names(header.flags),
            checksum: match event.checksum() {
                _ if depth > 0 => "in_payload",
                ChecksumAlgorithm::Crc32 => "ok",
                ChecksumAlgorithm::None => "none",
            },
            depth,
            ..Described::default()
        };
        let inside = match self.body(event, &mut described) {
            Ok(inside) => inside,
            Err(BodyError::NotShown(reason)) => {
                described.detail("rows_not_shown", reason);
                Vec::new()
            }
            Err(error) => {
                described.damage = Some(error.to_string());
                Vec::new()
            }
        };
        out.push(described);
        for event in inside {
            self.one(&event, None, depth + 1, out);
        }
    }

    /// Fills in what the body says. Events that are inside come back.
    fn body(&mut self, event: &Event, described: &mut Described) -> Result<Vec<Event>, BodyError> {
        let (header, body) = (event.header(), event.body());
        let format = self.format.clone();
        let Some(format) = format else {
            // Only an artificial ROTATE comes before the format.
            if header.event_type == EventType::ROTATE {
                self.rotate(header, body, described)?;
            }
            return Ok(Vec::new());
        };
        match header.event_type {
            EventType::FORMAT_DESCRIPTION => {
                described.detail("server_version", format.server.text.as_str());
                described.detail(
                    "checksum_algorithm",
                    if format.checksum == ChecksumAlgorithm::Crc32 { "CRC32" } else { "NONE" },
                );
            }
            EventType::ROTATE => self.rotate(header, body, described)?,
            EventType::QUERY => {
                let query = Query::read(body, &format)?;
                self.query(&query, query.sql, described);
            }
            EventType::QUERY_COMPRESSED => {
                let query = Query::read(body, &format)?;
                self.query(&query, &open_statement(query.sql)?, described);
            }
            EventType::EXECUTE_LOAD_QUERY => {
                let load = ExecuteLoadQuery::read(body)?;
                described.detail("file_id", load.file_id);
                self.query(&load.query, load.query.sql, described);
            }
            EventType::BEGIN_LOAD_QUERY | EventType::APPEND_BLOCK => {
                let mut cursor = Cursor::new(body);
                described.detail("file_id", cursor.u32()?);
                described.detail("block_bytes", cursor.left());
            }
            EventType::DELETE_FILE => described.detail("file_id", Cursor::new(body).u32()?),
            EventType::GTID | EventType::ANONYMOUS_GTID => {
                let gtid = Gtid::read(body)?;
                described.gtid = Some(match header.event_type {
                    EventType::GTID => format!("{}:{}", Uuid::from_bytes(gtid.sid), gtid.gno),
                    _ => "ANONYMOUS".to_owned(),
                });
                clocks(described, gtid.last_committed, gtid.sequence_number);
                if let Some(length) = gtid.transaction_length {
                    described.detail("transaction_length", length.value);
                }
            }
            EventType::GTID_TAGGED => tagged_gtid(body, described)?,
            EventType::MARIADB_GTID => {
                let gtid = MariaDbGtid::read(body)?;
                described.gtid = Some(format!("{}-{}-{}", gtid.domain, header.server_id, gtid.sequence));
                described.detail("standalone", gtid.flags2 & MariaDbGtid::STANDALONE != 0);
                described.detail("ddl", gtid.flags2 & MariaDbGtid::DDL != 0);
            }
            EventType::MARIADB_GTID_LIST => {
                let list = MariaDbGtidText::decode_list(body)?;
                let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
                described.detail("gtids", cut(&texts.join(","), SET_LIMIT));
            }
            EventType::PREVIOUS_GTIDS => {
                described.detail("gtids", cut(&GtidSet::decode(body)?.to_string(), SET_LIMIT));
            }
            EventType::XID => described.detail("xid", Cursor::new(body).u64()?),
            EventType::XA_PREPARE => described.detail("xa", xid(body)?),
            EventType::TABLE_MAP => self.table_map(&TableMap::read(body, &format)?, body, described)?,
            event_type if Rows::is_rows(event_type) => self.rows(event, &format, described)?,
            EventType::ROWS_QUERY => self.statement_of_rows(body.get(1..).unwrap_or_default(), described),
            EventType::ANNOTATE_ROWS => self.statement_of_rows(body, described),
            EventType::TRANSACTION_PAYLOAD => return self.payload(body, described),
            EventType::INTVAR => {
                let mut cursor = Cursor::new(body);
                described.detail("variable", if cursor.u8()? == 1 { "LAST_INSERT_ID" } else { "INSERT_ID" });
                let value = cursor.u64()?;
                if self.with_rows {
                    described.detail("value", value);
                }
            }
            EventType::USER_VAR => {
                let mut cursor = Cursor::new(body);
                let length = cursor.u32()? as usize;
                described.detail("variable", text(cursor.take(length)?));
                let is_null = cursor.u8()? != 0;
                if self.with_rows && !is_null {
                    let _type_and_character_set = cursor.take(1 + 4)?;
                    let length = cursor.u32()? as usize;
                    described.detail("value", text(cursor.take(length)?));
                }
            }
            EventType::BINLOG_CHECKPOINT => {
                let mut cursor = Cursor::new(body);
                let length = cursor.u32()? as usize;
                described.detail("oldest_file", text(cursor.take(length)?));
            }
            EventType::HEARTBEAT => described.detail("heartbeat_of", text(body)),
            EventType::INCIDENT => {
                let mut cursor = Cursor::new(body);
                described.detail("incident", cursor.u16()?);
                let length = usize::from(cursor.u8()?);
                described.detail("message", text(cursor.take(length)?));
            }
            _ => {}
        }
        Ok(Vec::new())
    }

    fn rotate(&mut self, header: &Header, body: &[u8], described: &mut Described) -> Result<(), BodyError> {
        let rotate = Rotate::read(body)?;
        described.detail("next_file", text(rotate.file));
        described.detail("next_position", rotate.position);
        // In a stream the artificial one says where what follows is from. A file's own last event is only an announcement.
        if self.is_stream && header.flags & flags::ARTIFICIAL != 0 && header.log_pos == 0 {
            self.file = Some(text(rotate.file));
            described.file.clone_from(&self.file);
        }
        Ok(())
    }

    fn query(&self, query: &Query<'_>, sql: &[u8], described: &mut Described) {
        described.database = (!query.database.is_empty()).then(|| text(query.database));
        described.sql_bytes = Some(sql.len());
        described.detail("thread_id", query.thread_id);
        if query.error_code != 0 {
            described.detail("error_code", query.error_code);
        }
        let shown = &sql[..sql.len().min(SQL_LIMIT)];
        described.sql = Some(if self.with_rows { text(shown) } else { masked(shown, sql_mode(query)) });
    }

    /// The statement that rows came from: it is about values, and nothing says how its quotes are to be read.
    fn statement_of_rows(&self, sql: &[u8], described: &mut Described) {
        described.sql_bytes = Some(sql.len());
        described.sql = self.with_rows.then(|| text(&sql[..sql.len().min(SQL_LIMIT)]));
    }

    fn table_map(&mut self, map: &TableMap<'_>, body: &[u8], described: &mut Described) -> Result<(), BodyError> {
        let name = format!("{}.{}", text(map.database), text(map.table));
        described.table = Some(name.clone());
        described.detail("table_id", map.table_id);
        let table = rows::Table::read(name, &body[map.columns_offset..])?;
        described.detail("columns", table.columns());
        if self.tables.len() >= TABLE_LIMIT {
            self.tables.clear();
        }
        self.tables.insert(map.table_id, table);
        Ok(())
    }

    fn rows(&mut self, event: &Event, format: &FormatDescription, described: &mut Described) -> Result<(), BodyError> {
        let event_type = event.event_type();
        let front = Rows::read(event.body(), event_type, format)?;
        described.detail("table_id", front.table_id);
        described.detail("ends_statement", front.ends_statement());
        let table = self.tables.get(&front.table_id);
        described.table = table.map(|table| table.name().to_owned());
        if self.with_rows && !front.is_dummy() {
            let table = table.ok_or_else(|| match self.is_relay_log {
                true => BodyError::NotShown("their TABLE_MAP is in an earlier relay log file".to_owned()),
                false => BodyError::Rows(format!("no TABLE_MAP for table id {}", front.table_id)),
            })?;
            let after_flags = &event.body()[front.flags_offset + 2..];
            described.rows = Some(table.rows(event_type, after_flags, format, self.trusted)?);
        }
        if front.ends_statement() {
            self.tables.clear();
        }
        Ok(())
    }

    fn payload(&mut self, body: &[u8], described: &mut Described) -> Result<Vec<Event>, BodyError> {
        let opened: bytes::Bytes = open_transaction(body)?.into();
        described.detail("opened_bytes", opened.len());
        let (mut events, mut rest) = (Vec::new(), opened);
        while !rest.is_empty() {
            let header = Header::read(&rest)?;
            let length = header.event_length as usize;
            if length < HEADER_LENGTH || length > rest.len() {
                return Err(Truncated { offset: 0, needed: length, left: rest.len() }.into());
            }
            let raw = rest.split_to(length);
            // The length was compared just now.
            events.extend(Event::new(raw, ChecksumAlgorithm::None).ok());
        }
        Ok(events)
    }
}

/// The session's `sql_mode`, 0 where the event has none.
fn sql_mode(query: &Query<'_>) -> u64 {
    let sql_mode = StatusVariables::find(query.status, status_code::SQL_MODE).ok().flatten();
    sql_mode.and_then(|variable| Cursor::new(variable.payload).u64().ok()).unwrap_or_default()
}

fn clocks(described: &mut Described, last_committed: Option<u64>, sequence_number: Option<u64>) {
    if let (Some(last_committed), Some(sequence_number)) = (last_committed, sequence_number) {
        described.detail("last_committed", last_committed);
        described.detail("sequence_number", sequence_number);
    }
}

fn tagged_gtid(body: &[u8], described: &mut Described) -> Result<(), BodyError> {
    let TaggedGtid { uuid, tag, number, last_committed, sequence_number, transaction_length, .. } =
        TaggedGtid::read(body)?;
    described.gtid = Some(if tag.is_empty() { format!("{uuid}:{number}") } else { format!("{uuid}:{tag}:{number}") });
    clocks(described, last_committed, sequence_number);
    if let Some(length) = transaction_length {
        described.detail("transaction_length", length.value);
    }
    Ok(())
}

/// `u8 one_phase | u32 format | u32 gtrid length | u32 bqual length | both`.
fn xid(body: &[u8]) -> Result<Value, Truncated> {
    let mut cursor = Cursor::new(body);
    let one_phase = cursor.u8()? != 0;
    let format = cursor.u32()?;
    let (first, second) = (cursor.u32()? as usize, cursor.u32()? as usize);
    let (gtrid, bqual) = (hex(cursor.take(first)?), hex(cursor.take(second)?));
    Ok(json!({ "one_phase": one_phase, "format": format, "gtrid": gtrid, "bqual": bqual }))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(2 + 2 * bytes.len());
    out.push_str("0x");
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn flag_names(flags: u16) -> Vec<String> {
    const NAMES: [(u16, &str); 10] = [
        (0x0001, "in_use"),
        (0x0004, "thread_specific"),
        (0x0008, "suppress_use"),
        (0x0020, "artificial"),
        (0x0040, "relay_log"),
        (0x0080, "ignorable"),
        (0x0100, "no_filter"),
        (0x0200, "mts_isolate"),
        (0x4000, "accept_own"),
        (0x8000, "skip_replication"),
    ];
    let mut names: Vec<String> =
        NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| (*name).to_owned()).collect();
    let other = flags & !NAMES.iter().fold(0, |all, (bit, _)| all | bit);
    if other != 0 {
        names.push(format!("{other:#06x}"));
    }
    names
}
