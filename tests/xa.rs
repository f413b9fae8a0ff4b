//! XA transactions that the selection leaves empty: what goes out instead of XA PREPARE and XA COMMIT, which a MySQL replica would refuse.

use replproxy::binlog::{ChecksumAlgorithm, Event, EventType, FileReader, FormatDescription, Header, Query, Vendor};
use replproxy::pipeline::coordinates::{FIRST_POSITION, FilePosition};
use replproxy::pipeline::{Numbering, Stream, StreamOptions, XaMemory};

use crate::support::routes::rules;

const MYSQL: &[u8] = include_bytes!("../fixtures/statements/mysql-5.7.binlog");

fn format() -> Event {
    FileReader::new(MYSQL).expect("a binlog file").next_event().expect("a good file").expect("its first event")
}

fn event(event_type: EventType, body: &[&[u8]]) -> Event {
    let header = Header { timestamp: 9, event_type, server_id: 1, event_length: 0, log_pos: 0, flags: 0 };
    Event::build(header, body, ChecksumAlgorithm::Crc32)
}

fn gtid(number: u64) -> Event {
    event(EventType::GTID, &[&[0], &[7; 16], &number.to_le_bytes(), &[0; 17]])
}

fn query(sql: &str) -> Event {
    event(EventType::QUERY, &[&[0; 8], &[0], &[0; 4], &[0], sql.as_bytes()])
}

/// A row of table `t` of a database of two letters.
fn row(database: &str) -> [Event; 2] {
    let table = [&[9, 0, 0, 0, 0, 0, 1, 0, 2][..], database.as_bytes(), &[0, 1, b't', 0, 1, 3, 0, 1]].concat();
    let row = [9, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 0xff, 0xfe, 5, 0, 0, 0];
    [event(EventType::TABLE_MAP, &[&table]), event(EventType::WRITE_ROWS, &[&row])]
}

/// XA PREPARE, or XA COMMIT … ONE PHASE.
fn prepare(one_phase: bool) -> Event {
    let lengths = [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    event(EventType::XA_PREPARE, &[&[u8::from(one_phase)], &lengths, &[1]])
}

/// The places of events tell which transaction comes first.
fn from(position: u32, events: Vec<Event>) -> Vec<Event> {
    let at = |(index, event): (usize, Event)| event.with_header(|header| header.log_pos = position + index as u32);
    events.into_iter().enumerate().map(at).collect()
}

/// A transaction up to its XA PREPARE.
fn transaction(database: &str, one_phase: bool) -> Vec<Event> {
    let [table, row] = row(database);
    let (start, end) = (query("XA START X'01',X'',1"), query("XA END X'01',X'',1"));
    from(1000, vec![gtid(1), start, table, row, end, prepare(one_phase)])
}

fn decided(verb: &str) -> Vec<Event> {
    from(2000, vec![gtid(2), query(&format!("XA {verb} X'01',X'',1"))])
}

/// What comes out of a stream of its own: the texts of statements, the types of other events.
fn served(memory: &XaMemory, replica: Vendor, events: &[Event]) -> Vec<String> {
    let options = StreamOptions {
        numbering: Numbering::Source,
        replica,
        start: FilePosition { file: b"bin.000001".to_vec(), position: FIRST_POSITION },
        length_buffer: 8 << 20,
        checksum: ChecksumAlgorithm::None,
    };
    let mut stream = Stream::new(rules("objects = [{ database = \"cn\" }]"), options).with_xa_memory(memory.clone());
    let mut out = Vec::new();
    for event in std::iter::once(&format()).chain(events) {
        stream.push(event.raw().clone(), &mut out).unwrap_or_else(|stop| panic!("{}", stop.fault));
    }
    let (_, format) = FormatDescription::read(out.remove(0).raw().clone()).expect("a format");
    let described = |event: &Event| match event.event_type() {
        EventType::QUERY => {
            String::from_utf8_lossy(Query::read(event.body(), &format).expect("a statement").sql).into_owned()
        }
        other => other.to_string(),
    };
    out.iter().map(described).collect()
}

#[test]
fn a_transaction_without_changes_goes_out_empty_twice_also_where_another_stream_meets_its_end() {
    const EMPTY: [&str; 3] = ["GTID", "BEGIN", "COMMIT"];
    let (one, other) = (XaMemory::default(), XaMemory::default());
    assert_eq!(served(&one, Vendor::MySql, &transaction("hr", false)), EMPTY);
    for verb in ["COMMIT", "ROLLBACK"] {
        let statement = format!("XA {verb} X'01',X'',1");
        assert_eq!(served(&one, Vendor::MySql, &decided(verb)), EMPTY);
        assert_eq!(served(&other, Vendor::MySql, &decided(verb)), ["GTID", &statement], "nobody has prepared it empty");
    }
    let both = [transaction("hr", false), decided("COMMIT")].concat();
    assert_eq!(served(&other, Vendor::MySql, &both), [EMPTY, EMPTY].concat());
}

#[test]
fn a_transaction_with_changes_passes() {
    let both = [transaction("cn", false), decided("COMMIT")].concat();
    let [start, end, commit] = ["XA START X'01',X'',1", "XA END X'01',X'',1", "XA COMMIT X'01',X'',1"];
    let whole = ["GTID", start, "TABLE_MAP", "WRITE_ROWS", end, "XA_PREPARE", "GTID", commit];
    assert_eq!(served(&XaMemory::default(), Vendor::MySql, &both), whole);
}

#[test]
fn a_commit_in_one_phase_is_no_prepared_transaction() {
    let memory = XaMemory::default();
    assert_eq!(served(&memory, Vendor::MySql, &transaction("hr", true)), ["GTID", "BEGIN", "COMMIT"]);
    assert_eq!(served(&memory, Vendor::MySql, &decided("COMMIT")), ["GTID", "XA COMMIT X'01',X'',1"]);
}

#[test]
fn a_mariadb_replica_gets_xa_statements_as_they_are() {
    let out = served(&XaMemory::default(), Vendor::MariaDb, &[transaction("hr", false), decided("COMMIT")].concat());
    let [start, end, commit] = ["XA START X'01',X'',1", "XA END X'01',X'',1", "XA COMMIT X'01',X'',1"];
    assert_eq!(out, ["GTID", start, end, "XA_PREPARE", "GTID", commit]);
}
