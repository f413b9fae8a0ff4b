//! Positions over real files: what a replica counts is what the source has, and a replica that comes back goes on at the very byte.

use std::sync::Arc;

use replproxy::binlog::{ChecksumAlgorithm, Event, EventType, FileReader, Header, Vendor, for_mid_file};
use replproxy::fault::Code;
use replproxy::pipeline::coordinates::{FIRST_POSITION, FilePosition, ReceiverPosition};
use replproxy::pipeline::rules::RuleSet;
use replproxy::pipeline::{MAX_LENGTH_BUFFER, Numbering, Seek, Stream, StreamOptions, Target};

use crate::corpus;
use crate::support::routes::rules;

pub(crate) const FILE: &[u8] = b"bin.000001";
const REPLICA: u32 = 77;

/// Events of a good file whose positions are those of the file, as a source sends them.
fn source_events(name: &str, bytes: &[u8]) -> Option<Vec<Event>> {
    // Cut and reassembled relay logs carry positions of other files.
    if name.starts_with("4.") || name.contains("relay") {
        return None;
    }
    let mut reader = FileReader::new(bytes).ok()?;
    let mut events = Vec::new();
    while let Some(event) = reader.next_event().expect(name) {
        if u64::from(event.header().log_pos) != reader.offset() {
            return None;
        }
        // A source sends the ROTATE too, but the next file's events would follow.
        if event.event_type() == EventType::ROTATE {
            break;
        }
        events.push(event);
    }
    Some(events)
}

/// Where a stream of the file begins.
pub(crate) fn start() -> FilePosition {
    FilePosition { file: FILE.to_vec(), position: FIRST_POSITION }
}

/// A stream from there.
pub(crate) fn stream(rules: &Arc<RuleSet>, numbering: &Numbering, replica: Vendor) -> Stream {
    let options = StreamOptions {
        numbering: numbering.clone(),
        replica,
        start: start(),
        checksum: ChecksumAlgorithm::None,
        length_buffer: MAX_LENGTH_BUFFER,
    };
    Stream::new(Arc::clone(rules), options)
}

/// Some tables go, some databases get a shorter name, nothing grows.
fn filtering() -> Arc<RuleSet> {
    let rules = rules(
        "objects = [{ database = \"*\" }, { database = \"test\", rename = \"te\" }, { exclude = \"*.t1\" }, { exclude = \"*.a*\" }]\n\
         ddl = { unsupported = \"skip\", unknown = \"skip\", reference = \"forward\" }",
    );
    assert!(!rules.may_lengthen());
    rules
}

fn renaming() -> Arc<RuleSet> {
    rules(
        "objects = [{ database = \"*\", rename = \"renamed_*\" }, { exclude = \"*.t1\" }]\n\
         ddl = { unsupported = \"skip\", unknown = \"skip\", reference = \"forward\" }",
    )
}

#[test]
fn a_mysql_replica_counts_the_sources_positions_at_the_end_of_every_group() {
    let numbering = Numbering::SourcePadded { replica_server_id: REPLICA };
    let (rules, mut groups) = (filtering(), 0);
    for (name, bytes) in corpus::binlogs("") {
        let Some(events) = source_events(&name, &bytes) else { continue };
        let mut stream = stream(&rules, &numbering, Vendor::MySql);
        let mut receiver = ReceiverPosition::new(Vendor::MySql, start());
        let mut out = Vec::new();
        for event in events {
            let Ok(step) = stream.push(event.raw().clone(), &mut out) else { break };
            for event in out.drain(..) {
                event.verify().expect(&name);
                receiver.receive(&event);
            }
            let (source, counted) = (stream.source_position().position, receiver.at().position);
            assert_eq!(stream.served_position(), receiver.at(), "{name}");
            if step.boundary && event.event_type() != EventType::STOP {
                groups += 1;
                // A gap that is too short for an event is made up for in the next group.
                assert!((0..23).contains(&(source as i64 - counted as i64)), "{name}: {counted} at {source}");
            }
        }
    }
    assert!(groups > 1000 || corpus::folder().is_none(), "only {groups} groups");
}

#[test]
fn a_replica_that_comes_back_at_any_event_gets_the_same_bytes() {
    let fingerprint = Some("5f3c9a01".to_owned());
    let padded = Numbering::SourcePadded { replica_server_id: REPLICA };
    for (rules, numbering) in [(filtering(), padded), (renaming(), Numbering::Served { fingerprint })] {
        for (name, bytes) in corpus::binlogs("") {
            let Some(events) = source_events(&name, &bytes).filter(|events| events.len() < 400) else { continue };
            let mut whole = Vec::new();
            let mut first = stream(&rules, &numbering, Vendor::MySql);
            for event in &events {
                if first.push(event.raw().clone(), &mut whole).is_err() {
                    break;
                }
            }
            let mut receiver = ReceiverPosition::new(Vendor::MySql, start());
            for (index, event) in whole.iter().enumerate() {
                receiver.receive(event);
                let position = receiver.at().position;
                if matches!(event.event_type(), EventType::FORMAT_DESCRIPTION | EventType::STOP) {
                    continue;
                }
                let target = match numbering {
                    Numbering::Served { .. } => Target::Served(position),
                    _ => Target::Source(position),
                };
                let again = resumed(&rules, &numbering, &events, target);
                let rest: Vec<_> = whole[index + 1..].iter().map(Event::raw).collect();
                let again = again.unwrap_or_else(|| panic!("{name}: {position} was not found"));
                assert_eq!(again.iter().map(Event::raw).collect::<Vec<_>>(), rest, "{name}: from {position} on");
            }
        }
    }
}

/// What a replica that comes back at a place is sent, without the ROTATE and FORMAT_DESCRIPTION in front.
fn resumed(rules: &Arc<RuleSet>, numbering: &Numbering, events: &[Event], target: Target) -> Option<Vec<Event>> {
    let mut stream = stream(rules, numbering, Vendor::MySql);
    let mut seek = Some(Seek::new(target, numbering, Vendor::MySql, start(), FILE.to_vec()));
    let mut out = Vec::new();
    for event in events {
        let before = out.len();
        let step = stream.push(event.raw().clone(), &mut out);
        if let Some(seeking) = &mut seek {
            let rendered = out.split_off(before);
            let boundary = step.as_ref().is_ok_and(|step| step.boundary);
            if let Some(receiver) = seeking.pass(rendered, boundary, stream.source_position(), &mut out) {
                stream.set_served_position(receiver);
                seek = None;
            }
        }
        if step.is_err() {
            break;
        }
    }
    seek.is_none().then(|| out.split_off(2))
}

#[test]
fn a_stop_says_where_the_transaction_begins_from_which_other_rules_can_go_on() {
    let rules = rules("objects = [{ database = \"shop\", rename = \"shop_cn\" }]\nddl = { unsupported = \"stop\" }");
    let events = source_events("demo", RECORDED).expect("a whole file");
    // The whole file, and what a source sends to a replica that has all before the transaction.
    let mut begins = 0;
    for numbering in [Numbering::Served { fingerprint: None }, Numbering::Source] {
        let mut stream = stream(&rules, &numbering, Vendor::MySql);
        let behind = begins;
        let is_sent =
            |event: &&Event| event.event_type() == EventType::FORMAT_DESCRIPTION || event.header().log_pos > behind;
        let stop = events.iter().filter(is_sent).find_map(|event| {
            if event.event_type() == EventType::GTID {
                begins = event.header().log_pos - event.header().event_length;
            }
            stream.push(event.raw().clone(), &mut Vec::new()).err()
        });
        let message = stop.expect("CREATE TRIGGER stops the stream").fault.message;
        assert!(message.contains(&format!("(its transaction begins at {begins})")), "{message}");
    }
}

#[test]
fn a_stream_that_begins_at_a_boundary_is_numbered_as_the_whole() {
    let numbering = Numbering::Served { fingerprint: Some("5f3c9a01".to_owned()) };
    let rules = renaming();
    for replica in [Vendor::MySql, Vendor::MariaDb] {
        for (name, bytes) in corpus::binlogs("") {
            let Some(events) = source_events(&name, &bytes).filter(|events| events.len() < 400) else { continue };
            let mut whole = stream(&rules, &numbering, replica);
            let mut out = Vec::new();
            let mut boundaries = Vec::new();
            for (index, event) in events.iter().enumerate() {
                let Ok(step) = whole.push(event.raw().clone(), &mut out) else { break };
                if step.boundary && index > 0 {
                    let (source, served) = (whole.source_position().clone(), whole.served_position().clone());
                    boundaries.push((index + 1, out.len(), source, served));
                }
            }
            let format = for_mid_file(&events[0], false);
            for (next, sent, source, served) in boundaries {
                let options = StreamOptions {
                    numbering: numbering.clone(),
                    replica,
                    start: source,
                    checksum: ChecksumAlgorithm::None,
                    length_buffer: MAX_LENGTH_BUFFER,
                };
                let mut stream = Stream::new(Arc::clone(&rules), options);
                let mut again = Vec::new();
                stream.push(format.raw().clone(), &mut again).expect(&name);
                again.clear();
                stream.set_served_position(served.clone());
                for event in &events[next..] {
                    if stream.push(event.raw().clone(), &mut again).is_err() {
                        break;
                    }
                }
                let rest: Vec<_> = out[sent..].iter().map(Event::raw).collect();
                assert_eq!(again.iter().map(Event::raw).collect::<Vec<_>>(), rest, "{name}: from {served} on");
            }
        }
    }
}

const GIB: u64 = 1 << 30;
const RECORDED: &[u8] = include_bytes!("../fixtures/demo/binlog.000001");

/// A stream that goes on at a place in a file, however large.
fn stream_from(rules: &Arc<RuleSet>, numbering: &Numbering, position: u64) -> Stream {
    let options = StreamOptions {
        numbering: numbering.clone(),
        replica: Vendor::MySql,
        start: FilePosition { file: FILE.to_vec(), position },
        checksum: ChecksumAlgorithm::None,
        length_buffer: MAX_LENGTH_BUFFER,
    };
    let mut stream = Stream::new(Arc::clone(rules), options);
    let format = source_events("demo", RECORDED).expect("a whole file").remove(0);
    stream.push(for_mid_file(&format, false).raw().clone(), &mut Vec::new()).expect("a format");
    stream
}

/// A statement in database `here` as an event that ends where the source says, with all but 32 bits of that cut off.
fn statement(sql: &str, begin: u64, skipped: u64) -> Event {
    let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    body.extend_from_slice(b"here\0");
    body.extend_from_slice(sql.as_bytes());
    let header =
        Header { timestamp: 1, event_type: EventType::QUERY, server_id: 1, event_length: 0, log_pos: 0, flags: 0 };
    let event = Event::build(header, &[&body], ChecksumAlgorithm::Crc32);
    let end = begin + skipped + event.raw().len() as u64;
    event.with_header(|header| header.log_pos = end as u32)
}

/// A statement that the filtering route leaves out, of about so many bytes.
fn left_out(length: usize, begin: u64) -> Event {
    statement(&format!("CREATE TABLE here.t1 (a INT) COMMENT '{}'", "x".repeat(length)), begin, 0)
}

#[test]
fn positions_go_on_counting_where_32_bits_wrap() {
    let numbering = Numbering::SourcePadded { replica_server_id: REPLICA };
    let mut position = 4 * GIB - 10_000;
    let mut stream = stream_from(&filtering(), &numbering, position);
    let mut receiver = ReceiverPosition::new(Vendor::MySql, FilePosition { file: FILE.to_vec(), position });
    for number in 0..40 {
        let event = match number % 3 {
            0 => left_out(700, position),
            _ => statement("CREATE TABLE here.kept (a INT)", position, 0),
        };
        position += event.raw().len() as u64;
        let mut out = Vec::new();
        stream.push(event.raw().clone(), &mut out).expect("nothing to stop for");
        for event in &out {
            receiver.receive(event);
            assert_eq!(event.header().log_pos, receiver.at().position as u32, "what is counted is what is written");
        }
        assert_eq!((stream.source_position().position, receiver.at().position), (position, position));
    }
    assert!(position > 4 * GIB, "{position}");
}

#[test]
fn a_large_gap_is_made_up_for_in_bounded_parts_with_the_same_bytes() {
    const LENGTH: usize = 40 << 20;
    let numbering = Numbering::SourcePadded { replica_server_id: REPLICA };
    let (event, rules) = (left_out(LENGTH, 1000), filtering());
    let mut at_once = Vec::new();
    let mut stream = stream_from(&rules, &numbering, 1000);
    stream.push(event.raw().clone(), &mut at_once).expect("nothing to stop for");
    let after = statement("CREATE TABLE here.kept (a INT)", 1000 + event.raw().len() as u64, 0);
    stream.push(after.raw().clone(), &mut at_once).expect("nothing to stop for");
    assert_eq!(at_once.last().map(Event::raw), Some(after.raw()));

    let mut stream = stream_from(&rules, &numbering, 1000);
    let (mut all, mut parts) = (Vec::new(), 0);
    let mut out = Vec::new();
    let mut boundary = stream.push(event.raw().clone(), &mut out).expect("nothing to stop for").boundary;
    loop {
        parts += 1;
        let bytes: usize = out.iter().map(|event| event.raw().len()).sum();
        assert!(bytes <= 2 << 20, "{bytes} bytes at once");
        all.append(&mut out);
        assert_eq!(boundary, !stream.owes());
        if boundary {
            break;
        }
        boundary = stream.pay(&mut out).boundary;
    }
    stream.push(after.raw().clone(), &mut all).expect("nothing to stop for");
    assert!(parts > 20 && all == at_once, "{parts} parts");
    let counted: usize = all.iter().map(|event| event.raw().len()).sum();
    assert_eq!(counted, event.raw().len() + after.raw().len());
}

#[test]
fn a_jump_that_no_source_makes_stops_the_stream_and_is_not_padded() {
    let numbering = Numbering::SourcePadded { replica_server_id: REPLICA };
    for (position, skipped, stops) in [
        (1000, 5_000, false),
        (1000, GIB, false),
        (1000, GIB + 1, true),
        (3 * GIB, 2 * GIB, true),
        (4 * GIB - 100, 50, false),
    ] {
        let mut stream = stream_from(&filtering(), &numbering, position);
        let event = statement("CREATE TABLE here.kept (a INT)", position, skipped);
        let mut out = Vec::new();
        let pushed = stream.push(event.raw().clone(), &mut out);
        assert_eq!(pushed.is_err(), stops, "{skipped} bytes from {position}");
        match pushed {
            Ok(_) => assert_eq!(stream.source_position().position, position + skipped + event.raw().len() as u64),
            Err(stop) => {
                assert!(stop.fault.code == Code::EventDamaged && out.is_empty(), "{}", stop.fault);
                assert!(stop.fault.message.contains("log_pos"), "{}", stop.fault);
            }
        }
    }
}

#[test]
fn served_positions_end_at_4_gib_with_the_reason() {
    let rules = renaming();
    for (fingerprint, stops) in [(Some("5f3c9a01".to_owned()), true), (None, false)] {
        let position = 4 * GIB - 20;
        let mut stream = stream_from(&rules, &Numbering::Served { fingerprint }, position);
        let event = statement("CREATE TABLE here.kept (a INT)", position, 0);
        let mut out = Vec::new();
        let pushed = stream.push(event.raw().clone(), &mut out);
        assert_eq!(pushed.is_err(), stops);
        if let Err(stop) = pushed {
            assert!(stop.fault.code == Code::PositionTooLarge && out.is_empty(), "{}", stop.fault);
            assert!(stop.fault.to_string().contains("GTID"), "{}", stop.fault);
        }
    }
}
