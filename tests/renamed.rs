//! Real files through a route that renames every database: what comes out is read by a decoder that is not ours.

use std::collections::BTreeMap;
use std::io::Cursor;

use mysql_common::binlog::BinlogFile;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::EventData;
use replproxy::binlog::{Event, EventType, FileReader, Gtid, Query, Rows, TaggedGtid};
use replproxy::rewrite::{Summary, rewrite};

use crate::corpus;
use crate::support::routes::rules;

const RENAME_ALL: &str = "objects = [{ database = \"*\", rename = \"renamed_*\" }]\n\
    ddl = { unsupported = \"forward\", unknown = \"forward\", reference = \"forward\" }";

const SYSTEM_SCHEMAS: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];

fn renamed(name: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let (mut out, mut summary) = (Vec::new(), Summary::default());
    rewrite(bytes, name.as_bytes(), rules(RENAME_ALL), &mut out, &mut summary).map_err(|error| error.to_string())?;
    Ok(out)
}

/// Files before binlog version 4, and builds that number their event types in another order, are refused by name.
fn is_read(name: &str) -> bool {
    !name.starts_with("4.") && !name.contains("-a_drop")
}

/// Good files, with what a renaming route makes of them.
fn renamed_files() -> Vec<(String, Vec<u8>, Vec<u8>)> {
    corpus::binlogs("")
        .into_iter()
        .filter(|(name, _)| is_read(name))
        .map(|(name, bytes)| {
            let out = renamed(&name, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, bytes, out)
        })
        .collect()
}

/// Tables by the name in their TABLE_MAPs, and how many rows events follow for them, by the independent decoder.
fn tables(name: &str, bytes: &[u8]) -> BTreeMap<(String, String), usize> {
    let mut tables: BTreeMap<(String, String), usize> = BTreeMap::new();
    let file = BinlogFile::new(BinlogVersion::Version4, Cursor::new(bytes)).expect(name);
    for event in file {
        let event = event.unwrap_or_else(|error| panic!("{name}: {error}"));
        match event.read_data().unwrap_or_else(|error| panic!("{name}: {error}")) {
            Some(EventData::TableMapEvent(map)) => {
                *tables.entry((map.database_name().into_owned(), map.table_name().into_owned())).or_default() += 1;
            }
            Some(EventData::TransactionPayloadEvent(payload)) => {
                assert!(payload.decompressed().is_ok(), "{name}: a payload cannot be opened");
            }
            _ => {}
        }
    }
    tables
}

#[test]
fn an_independent_decoder_sees_the_mapped_names() {
    for (name, bytes, out) in renamed_files() {
        // The first event of the oldest files is not read by the other decoder.
        if name.starts_with("5.0.") || name.starts_with("5.1.1") || name.starts_with("5.2.") {
            continue;
        }
        let expected: BTreeMap<(String, String), usize> = tables(&name, &bytes)
            .into_iter()
            .filter(|((database, _), _)| !SYSTEM_SCHEMAS.contains(&database.as_str()))
            .map(|((database, table), count)| ((format!("renamed_{database}"), table), count))
            .collect();
        assert_eq!(tables(&name, &out), expected, "{name}");
    }
}

fn events(name: &str, bytes: &[u8]) -> Vec<(Event, u64)> {
    let mut reader = FileReader::new(bytes).expect(name);
    let mut events = Vec::new();
    while let Some(event) = reader.next_event().unwrap_or_else(|error| panic!("{name}: {error}")) {
        events.push((event, reader.offset()));
    }
    events
}

#[test]
fn positions_and_transaction_lengths_are_those_of_the_new_file() {
    for (name, _, out) in renamed_files() {
        let mut open: Option<(u64, u64)> = None;
        for (event, end) in events(&name, &out) {
            let header = event.header();
            let length = u64::from(header.event_length);
            if header.event_type != EventType::FORMAT_DESCRIPTION && !name.contains("relay") {
                assert_eq!(u64::from(header.log_pos), end, "{name}: {} at {}", header.event_type, end - length);
            }
            let stated = match header.event_type {
                EventType::GTID | EventType::ANONYMOUS_GTID => {
                    Some(Gtid::read(event.body()).expect(&name).transaction_length)
                }
                EventType::GTID_TAGGED => Some(TaggedGtid::read(event.body()).expect(&name).transaction_length),
                _ => None,
            };
            let starts = stated.is_some();
            if starts || matches!(header.event_type, EventType::ROTATE | EventType::STOP) {
                if let Some((stated, counted)) = open.take() {
                    assert_eq!(stated, counted, "{name}: transaction before {}", end - length);
                }
                if let Some(stated) = stated.flatten() {
                    open = Some((stated.value, 0));
                }
            }
            if let Some((_, counted)) = &mut open {
                *counted += length;
            }
        }
    }
}

#[test]
fn the_last_rows_event_of_every_statement_says_so() {
    let only_some = rules(
        "objects = [{ database = \"*\" }, { exclude = \"*.t1\" }, { exclude = \"*.a*\" }]\n\
        ddl = { unsupported = \"skip\", unknown = \"skip\", reference = \"forward\" }",
    );
    for (name, bytes) in corpus::binlogs("").into_iter().filter(|(name, _)| is_read(name)) {
        let mut out = Vec::new();
        let ended = rewrite(&bytes[..], b"bin.000001", only_some.clone(), &mut out, &mut Summary::default());
        // A statement over tables of both sides, in its text, rightly stops the route.
        assert!(ended.as_ref().err().is_none_or(|error| error.to_string().contains("RPX-4001")), "{name}: {ended:?}");
        let mut reader = FileReader::new(&out[..]).expect(&name);
        let (mut open, mut maps) = (false, 0);
        while let Some(event) = reader.next_event().expect(&name) {
            let format = reader.format().expect("a file begins with its format").clone();
            let event_type = event.event_type();
            if Rows::is_rows(event_type) {
                open = !Rows::read(event.body(), event_type, &format).expect(&name).ends_statement();
                maps = 0;
            } else if event_type == EventType::TABLE_MAP {
                maps += 1;
            } else {
                assert!(!open, "{name}: a {event_type} event after rows without STMT_END_F");
                assert_eq!(maps, 0, "{name}: a {event_type} event after TABLE_MAPs without rows");
            }
        }
    }
}

#[test]
fn text_of_row_statements_never_goes_out() {
    for (name, _, out) in renamed_files() {
        for (event, _) in events(&name, &out) {
            let hidden = matches!(event.event_type(), EventType::ROWS_QUERY | EventType::ANNOTATE_ROWS);
            assert!(!hidden, "{name}: {} went out", event.event_type());
        }
    }
}

#[test]
fn the_default_database_of_statements_is_mapped() {
    for (name, _, out) in renamed_files() {
        let mut reader = FileReader::new(&out[..]).expect(&name);
        while let Some(event) = reader.next_event().expect(&name) {
            if event.event_type() == EventType::QUERY {
                let format = reader.format().expect("a file begins with its format");
                let query = Query::read(event.body(), format).expect(&name);
                let database = String::from_utf8_lossy(query.database);
                let known =
                    database.is_empty() || database.starts_with("renamed_") || SYSTEM_SCHEMAS.contains(&&*database);
                assert!(known, "{name}: default database {database:?}");
            }
        }
    }
}

#[test]
fn a_file_that_ends_inside_a_transaction_keeps_what_it_has_of_it() {
    let opens = |event: &Event| match event.event_type() {
        EventType::MARIADB_GTID => true,
        EventType::QUERY => event.body().ends_with(b"BEGIN"),
        _ => false,
    };
    for (name, bytes) in corpus::binlogs("").into_iter().filter(|(name, _)| is_read(name)) {
        let all = events(&name, &bytes);
        let starts_at = |index: usize| all[index].1 as usize - all[index].0.raw().len();
        let Some(end) = all.iter().rposition(|(event, _)| event.event_type() == EventType::XID) else { continue };
        let Some(begin) = all[..end].iter().rposition(|(event, _)| opens(event)) else { continue };
        let run = |length: usize| {
            let (mut out, mut summary) = (Vec::new(), Summary::default());
            rewrite(&bytes[..length], b"bin.000001", rules(RENAME_ALL), &mut out, &mut summary).expect(&name);
            (out, summary.unfinished)
        };
        let (out, unfinished) = run(starts_at(end));
        assert!(unfinished, "{name}");
        assert!(out.len() > run(starts_at(begin)).0.len(), "{name}: nothing of the last transaction is there");
    }
}
