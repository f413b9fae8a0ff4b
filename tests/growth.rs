//! Groups that come out longer than they went in, on routes that serve the source's own coordinates: few do, a ROTATE leads back, and a
//! position of the source stays one.

use std::sync::Arc;

use replproxy::binlog::{
    ChecksumAlgorithm, Event, EventType, FileReader, Header, Vendor, close_statement, close_transaction,
};
use replproxy::pipeline::coordinates::{FIRST_POSITION, ReceiverPosition};
use replproxy::pipeline::rules::RuleSet;
use replproxy::pipeline::{Numbering, Seek, Target};

use crate::coordinates::{FILE, start, stream};
use crate::support::routes::rules;

const NUMBERINGS: [(Vendor, Numbering); 2] = [
    (Vendor::MySql, Numbering::SourcePadded { replica_server_id: 77 }),
    (Vendor::MariaDb, Numbering::SourceSteppedBack),
];

/// A new name of the old one's length.
fn renamed_database() -> Arc<RuleSet> {
    source_coordinates("objects = [{ database = \"shop\", rename = \"shoq\" }]")
}

/// A new name that statements use as an alias already: it gets its database written out, 5 bytes.
fn renamed_table() -> Arc<RuleSet> {
    source_coordinates("objects = [{ table = \"shop.orders\", rename = \"shop.ordxyz\" }, { table = \"shop.keep\" }]")
}

fn source_coordinates(lines: &str) -> Arc<RuleSet> {
    let rules = rules(lines);
    assert_eq!(rules.growth_reason(), None, "{lines}");
    rules
}

/// A source's file, event by event.
struct Source {
    events: Vec<Event>,
    end: u64,
}

impl Source {
    fn new() -> Self {
        let recorded: &[u8] = include_bytes!("../fixtures/demo/binlog.000001");
        let format = FileReader::new(recorded).ok().and_then(|mut reader| reader.next_event().ok().flatten());
        let format = format.expect("a file begins with its format");
        Self { end: FIRST_POSITION + format.raw().len() as u64, events: vec![format] }
    }

    fn push(&mut self, event_type: EventType, parts: &[&[u8]]) {
        let header = Header { timestamp: 1, event_type, server_id: 1, event_length: 0, log_pos: 0, flags: 0 };
        let event = Event::build(header, parts, ChecksumAlgorithm::Crc32);
        self.end += event.raw().len() as u64;
        self.events.push(event.with_header(|header| header.log_pos = self.end as u32));
    }

    fn query(&mut self, sql: &str) {
        self.push(EventType::QUERY, &[&query(sql.as_bytes(), b"")]);
    }

    /// A statement that the route for the table lengthens by 5 bytes, `length` bytes long as an event.
    fn lengthened(&mut self, length: usize, status: &[u8]) {
        let head = "INSERT INTO keep SELECT ordxyz.id FROM orders AS ordxyz WHERE note = '";
        let fill = length - status.len() - head.len() - 1 - 19 - 13 - 5 - 4;
        let sql = format!("{head}{}'", "x".repeat(fill));
        self.push(EventType::QUERY, &[&query(sql.as_bytes(), status)]);
    }
}

/// The body of a QUERY event in database `shop`.
fn query(text: &[u8], status: &[u8]) -> Vec<u8> {
    let front = [1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, status.len() as u8, 0];
    [&front, status, b"shop\0", text].concat()
}

/// What goes out for a source's file, and each end of a group with how much has gone out there.
fn rendered(
    source: &Source,
    rules: &Arc<RuleSet>,
    numbering: &Numbering,
    replica: Vendor,
) -> (Vec<Event>, Vec<(u64, usize)>) {
    let mut stream = stream(rules, numbering, replica);
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    for event in &source.events {
        let step = stream.push(event.raw().clone(), &mut out).expect("nothing to stop for");
        if step.boundary {
            let (source, counted) = (stream.source_position().position, stream.served_position().position);
            assert_eq!(counted, source, "{replica:?}: at the end of a group");
            ends.push((source, out.len()));
        }
    }
    (out, ends)
}

/// What a replica that asks for a position is sent, without the ROTATE and FORMAT_DESCRIPTION in front.
fn resumed(
    source: &Source,
    rules: &Arc<RuleSet>,
    (replica, numbering): &(Vendor, Numbering),
    position: u64,
) -> Option<Vec<Event>> {
    let mut stream = stream(rules, numbering, *replica);
    let mut seek = Some(Seek::new(Target::Source(position), numbering, *replica, start(), FILE.to_vec()));
    let mut out = Vec::new();
    for event in &source.events {
        let before = out.len();
        let boundary = stream.push(event.raw().clone(), &mut out).expect("nothing to stop for").boundary;
        if let Some(seeking) = &mut seek {
            let rendered = out.split_off(before);
            if let Some(receiver) = seeking.pass(rendered, boundary, stream.source_position(), &mut out) {
                stream.set_served_position(receiver);
                seek = None;
            } else if seeking.is_past(stream.source_position()) {
                assert!(position < stream.source_position().position, "a stop before the source was there");
                return None;
            }
        }
    }
    if let Some(receiver) = seek.as_mut().and_then(|seek| seek.settle(&mut out)) {
        stream.set_served_position(receiver);
        seek = None;
    }
    seek.is_none().then(|| out.split_off(2))
}

#[test]
fn the_end_of_a_group_is_found_whoever_counts_the_same_elsewhere() {
    const LENGTH: usize = 115;
    let rules = renamed_table();
    let mut source = Source::new();
    // Without a way back a replica would be a statement ahead after 23 of these.
    (0..25).for_each(|_| source.lengthened(LENGTH, b""));
    // What follows a transaction that is ahead by 115, 30, 50, and 15 bytes at its end: a statement that ends there, one that does not,
    // a transaction whose BEGIN ends there, and one that ends further on.
    let follows = ["I", "longer", "BEGIN    ", "I"];
    for (lengthened, next) in [23, 6, 10, 3].into_iter().zip(follows) {
        source.query("BEGIN");
        (0..lengthened).for_each(|_| source.lengthened(LENGTH, b""));
        source.query("COMMIT");
        match next {
            "I" => source.lengthened(LENGTH, b""),
            "longer" => source.lengthened(LENGTH + 27, b""),
            begin => {
                source.query(begin);
                source.lengthened(LENGTH, b"");
                source.query("COMMIT");
            }
        }
    }
    for numbered in &NUMBERINGS {
        let (replica, numbering) = numbered;
        let (whole, ends) = rendered(&source, &rules, numbering, *replica);
        let rotates = whole.iter().filter(|event| event.event_type() == EventType::ROTATE).count();
        assert_eq!(rotates, 25 + 4 + 4, "{replica:?}: one after each group that grew");
        let mut receiver = ReceiverPosition::new(*replica, start());
        let mut counts = Vec::new();
        for event in &whole {
            receiver.receive(event);
            let counted = !matches!(event.event_type(), EventType::ROTATE | EventType::FORMAT_DESCRIPTION);
            counts.push(receiver.at().position * u64::from(counted));
        }
        for &(end, sent) in &ends[20..] {
            let again = resumed(&source, &rules, numbered, end).expect("the end of a group");
            assert!(again == whole[sent..], "{replica:?}: from the end of a group at {end}");
        }
        let (mut collided, mut ambiguous) = (0, 0);
        for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > ends[20].0) {
            if let Some(&(_, sent)) = ends.iter().find(|(end, _)| *end == count) {
                collided += usize::from(sent != index + 1);
                continue;
            }
            let again = resumed(&source, &rules, numbered, count);
            if counts.iter().filter(|other| **other == count).count() > 1 {
                ambiguous += 1;
                assert!(again.is_none(), "{replica:?}: {count} may be two places");
            } else {
                assert!(again.as_deref() == Some(&whole[index + 1..]), "{replica:?}: from {count} on");
            }
        }
        assert!(collided > 0 && ambiguous == 2, "{replica:?}: {collided} {ambiguous}");
        // A place that is none is known for such as soon as the source is past it.
        assert!(resumed(&source, &rules, numbered, ends[3].0 + 1).is_none());
    }
}

#[test]
fn a_stream_that_begins_at_the_end_of_a_group_steps_back_at_the_same_places() {
    let rules = renamed_table();
    let mut source = Source::new();
    for _ in 0..5 {
        source.lengthened(150, b"");
        // The selection leaves it out, so that a receiver lags behind when the next group comes.
        source.query("INSERT INTO others VALUES (1)");
    }
    let (replica, numbering) = &NUMBERINGS[1];
    let mut whole = stream(&rules, numbering, *replica);
    let mut out = Vec::new();
    for event in &source.events {
        whole.push(event.raw().clone(), &mut out).expect("nothing to stop for");
    }
    let rotates = out.iter().filter(|event| event.event_type() == EventType::ROTATE).count();
    assert_eq!(rotates, 5);
    for event in &source.events[1..] {
        let position = u64::from(event.header().log_pos);
        let again = resumed(&source, &rules, &NUMBERINGS[1], position).expect("the end of a group");
        assert!(again == out[out.len() - again.len()..], "from {position} on");
    }
}

#[test]
fn the_catalog_makes_up_for_a_database_that_is_written_out() {
    let rules = renamed_table();
    let mut source = Source::new();
    (0..5).for_each(|_| source.lengthened(150, b"\x06\x03std"));
    for (replica, numbering) in &NUMBERINGS {
        let (out, _) = rendered(&source, &rules, numbering, *replica);
        assert_eq!(out.len(), 6, "{replica:?}: nothing but the statements");
    }
    let mut written = stream(&rules, &Numbering::Served { fingerprint: None }, Vendor::MySql);
    let mut out = Vec::new();
    for event in &source.events {
        written.push(event.raw().clone(), &mut out).expect("nothing to stop for");
    }
    assert_eq!(out[1].raw().len(), 155, "where no length is kept, nothing is left out");
}

/// Text with the database's name in it that compresses about as well as statements do.
fn text(seed: u32) -> String {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = |limit: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % limit
    };
    let mut sql = "INSERT INTO shop.orders (id, note) SELECT id, CONCAT(note, '".to_owned();
    for _ in 0..20 + next(60) {
        sql += ["tea ", "chop ", "shopping ", "ship ", "order ", "oq "][next(6) as usize];
        sql += &next(100_000).to_string();
    }
    sql + "') FROM shop.goods JOIN shop.prices USING (id)"
}

#[test]
fn compressed_statements_under_a_name_of_the_same_length_stay_as_short_as_they_were() {
    let mut source = Source::new();
    for seed in 0..300 {
        let closed = close_statement(text(seed).as_bytes(), usize::MAX).expect("a short text");
        source.push(EventType::QUERY_COMPRESSED, &[&query(&closed, b"\x06\x03std")]);
    }
    let (replica, numbering) = &NUMBERINGS[1];
    let mut stream = stream(&renamed_database(), numbering, *replica);
    let mut out = Vec::new();
    for event in &source.events {
        stream.push(event.raw().clone(), &mut out).expect("nothing to stop for");
    }
    let grown = out.iter().zip(&source.events).filter(|(out, event)| out.raw().len() > event.raw().len()).count();
    assert!(grown == 0 && out.len() == source.events.len(), "{grown} of {}", out.len());
}

#[test]
fn compressed_transactions_under_a_name_of_the_same_length_stay_as_short_as_they_were() {
    let mut source = Source::new();
    for seed in 0..100 {
        let mut inner = Vec::new();
        for sql in ["BEGIN", &text(seed), &text(seed + 1000)] {
            let body = query(sql.as_bytes(), b"\x06\x03std");
            inner.extend_from_slice(plain(EventType::QUERY, &body).raw());
        }
        inner.extend_from_slice(plain(EventType::XID, &u64::from(seed).to_le_bytes()).raw());
        // As hard as it goes, or as servers do by default.
        let at_most = if seed % 2 == 0 { 0 } else { usize::MAX };
        let closed = close_transaction(&inner, at_most).expect("a short transaction");
        source.push(EventType::TRANSACTION_PAYLOAD, &[&closed]);
    }
    let (replica, numbering) = &NUMBERINGS[0];
    let (out, ends) = rendered(&source, &renamed_database(), numbering, *replica);
    let rotates = out.iter().filter(|event| event.event_type() == EventType::ROTATE).count();
    assert_eq!((rotates, ends.len()), (0, 101));
}

fn plain(event_type: EventType, body: &[u8]) -> Event {
    let header = Header { timestamp: 1, event_type, server_id: 1, event_length: 0, log_pos: 0, flags: 0 };
    Event::build(header, &[body], ChecksumAlgorithm::None)
}
