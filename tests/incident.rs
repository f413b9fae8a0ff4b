//! An INCIDENT (the source lost events) reaches the replica, which stops by it, before the file ends.

use std::sync::Arc;

use replproxy::binlog::{ChecksumAlgorithm, Event, EventType, FileReader, Gtid, Header, Vendor};
use replproxy::pipeline::coordinates::{FIRST_POSITION, FilePosition};
use replproxy::pipeline::rules::RuleSet;
use replproxy::pipeline::{Numbering, Stream, StreamOptions};

use crate::support::routes::rules;

const RECORDED: &[u8] = include_bytes!("../fixtures/demo/binlog.000001");

/// FORMAT_DESCRIPTION and the first GTID event of a MySQL 5.7 that has `server_version` for a version. The GTID event states its
/// transaction's length, as those of 8.0 do.
fn file_start() -> [Event; 2] {
    let mut reader = FileReader::new(RECORDED).expect("a binlog file");
    let mut events = std::iter::from_fn(|| reader.next_event().expect("a good file"));
    let format = events.next().expect("FORMAT_DESCRIPTION");
    let gtid = events.find(|event| event.event_type() == EventType::GTID).expect("a GTID event");
    // A 7-byte time (without the upper bit no second one follows), then the length as 3 bytes.
    let times = [&[0; 7][..], &[0xfc, 0x34, 0x12]].concat();
    let gtid = Event::build(*gtid.header(), &[gtid.body(), &times], gtid.checksum());
    assert!(Gtid::read(gtid.body()).expect("a GTID event").transaction_length.is_some());
    [format, gtid]
}

fn event(event_type: EventType, body: &[u8]) -> Event {
    let header = Header { timestamp: 1, event_type, server_id: 1, event_length: 0, log_pos: 0, flags: 0 };
    Event::build(header, &[body], ChecksumAlgorithm::Crc32)
}

fn passes(rules: &Arc<RuleSet>, grouped: bool) -> (Vec<EventType>, bool) {
    let [format, gtid] = file_start();
    let start = FilePosition { file: b"bin.000001".to_vec(), position: FIRST_POSITION };
    let options = StreamOptions {
        numbering: Numbering::Served { fingerprint: None },
        replica: Vendor::MySql,
        start,
        length_buffer: 8 << 20,
        checksum: ChecksumAlgorithm::None,
    };
    let mut stream = Stream::new(Arc::clone(rules), options);
    let mut out = Vec::new();
    let incident = event(EventType::INCIDENT, b"\x01\x00\x04lost");
    let mut boundary = false;
    for event in [Some(format.clone()), grouped.then_some(gtid), Some(incident)].into_iter().flatten() {
        boundary = stream.push(event.raw().clone(), &mut out).expect("nothing to stop for").boundary;
    }
    let rotate = event(EventType::ROTATE, b"\x04\0\0\0\0\0\0\0bin.000002");
    for event in [rotate, format] {
        stream.push(event.raw().clone(), &mut out).expect("nothing to stop for");
    }
    (out.iter().map(Event::event_type).collect(), boundary)
}

#[test]
fn an_incident_is_all_of_its_group_and_goes_out_before_the_file_ends() {
    use EventType as E;
    for route in ["objects = [{ database = \"shop\", rename = \"shop_cn\" }]", ""] {
        let rules = rules(route);
        let grouped = [E::FORMAT_DESCRIPTION, E::GTID, E::INCIDENT, E::ROTATE, E::FORMAT_DESCRIPTION];
        assert_eq!(passes(&rules, true), (grouped.to_vec(), true), "{route}");
        let alone = [E::FORMAT_DESCRIPTION, E::INCIDENT, E::ROTATE, E::FORMAT_DESCRIPTION];
        assert_eq!(passes(&rules, false), (alone.to_vec(), true), "{route}");
    }
}
