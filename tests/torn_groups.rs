//! Groups that do not come in one piece: a GTID event whose group never came, and relay logs that go on in another file.

use std::sync::Arc;

use replproxy::binlog::{ChecksumAlgorithm, Event, EventType, FileReader, Gtid, Header, Vendor, flags};
use replproxy::pipeline::coordinates::{FIRST_POSITION, FilePosition};
use replproxy::pipeline::{Numbering, Stream, StreamOptions};

use crate::support::routes::rules;

const RECORDED: &[u8] = include_bytes!("../fixtures/demo/binlog.000001");

fn recorded() -> Vec<Event> {
    let mut reader = FileReader::new(RECORDED).expect("a binlog file");
    std::iter::from_fn(|| reader.next_event().expect("a good file")).collect()
}

/// What a route that renames makes of the events.
fn sent(events: &[Event]) -> Vec<Event> {
    let options = StreamOptions {
        numbering: Numbering::Served { fingerprint: None },
        replica: Vendor::MySql,
        start: FilePosition { file: b"bin.000001".to_vec(), position: FIRST_POSITION },
        length_buffer: 8 << 20,
        checksum: ChecksumAlgorithm::None,
    };
    let mut stream =
        Stream::new(Arc::clone(&rules("objects = [{ database = \"shop\", rename = \"shop_cn\" }]")), options);
    let mut out = Vec::new();
    for event in events {
        stream.push(event.raw().clone(), &mut out).expect("nothing to stop for");
    }
    out
}

#[test]
fn of_two_gtid_events_in_a_row_the_second_states_the_length_of_its_group() {
    let events = recorded();
    let gtid = events.iter().find(|event| event.event_type() == EventType::GTID).expect("a GTID event");
    let bare = Event::build(*gtid.header(), &[&gtid.body()[..25]], gtid.checksum());
    // A 7-byte time (without the upper bit no second one follows), then the length as 3 bytes.
    let long = Event::build(*gtid.header(), &[gtid.body(), &[0; 7], &[0xfc, 0x34, 0x12]], gtid.checksum());
    let header = Header { event_type: EventType::INCIDENT, ..*gtid.header() };
    let incident = Event::build(header, &[b"\x01\x00\x04lost"], gtid.checksum());
    for first in [bare, long.clone()] {
        let out = sent(&[events[0].clone(), first.clone(), long.clone(), incident.clone()]);
        let [_, sent_first, second, last] = &out[..] else { panic!("{out:?}") };
        assert_eq!(sent_first.body(), first.body());
        let length = Gtid::read(second.body()).expect("a GTID event").transaction_length.expect("a length");
        assert_eq!(length.value, (second.raw().len() + last.raw().len()) as u64);
    }
}

#[test]
fn a_statement_goes_on_in_the_next_file_of_a_relay_log() {
    let events = recorded();
    let whole = sent(&events);
    let format = |flag| events[0].with_header(|header| header.flags |= flag);
    let maps = events.iter().enumerate().filter(|(_, event)| event.event_type() == EventType::TABLE_MAP);
    for (at, _) in maps {
        // The replica's own, and that of its source.
        let mut in_two = events.clone();
        in_two.splice(at + 1..at + 1, [format(flags::RELAY_LOG), format(flags::ARTIFICIAL)]);
        let mut out = sent(&in_two);
        let is_new = |event: &Event| event.header().flags & (flags::RELAY_LOG | flags::ARTIFICIAL) != 0;
        out.retain(|event| event.event_type() != EventType::FORMAT_DESCRIPTION || !is_new(event));
        let bodies = |events: &[Event]| events.iter().map(|event| event.body().to_vec()).collect::<Vec<_>>();
        assert_eq!(bodies(&out), bodies(&whole), "after event {at}");
    }
}
