//! Transactions born on a server that the route leaves out: nothing of them goes out but their GTIDs, of which none is missing.

use std::collections::BTreeSet;

use replproxy::binlog::{Event, EventType, FileReader, FormatDescription, Gtid, Query, Rows};
use replproxy::rewrite::{Summary, rewrite};

use crate::corpus;
use crate::support::routes::rules;

const RECORDED: &[u8] = include_bytes!("../fixtures/demo/binlog.000001");

fn events(name: &str, bytes: &[u8]) -> Vec<Event> {
    let mut reader = FileReader::new(bytes).expect(name);
    std::iter::from_fn(|| reader.next_event().expect(name)).collect()
}

/// The bodies of the GTID events, without what speaks of the statement behind them (flags, length).
fn gtids(events: &[Event]) -> Vec<Vec<u8>> {
    let identity = |event: &Event| match event.event_type() {
        EventType::GTID => Some(event.body()[1..25].to_vec()),
        EventType::MARIADB_GTID => Some(event.body()[..12].to_vec()),
        _ => None,
    };
    events.iter().filter_map(identity).collect()
}

/// How many events there are besides the frames of groups.
fn contents(name: &str, events: &[Event]) -> usize {
    const FRAMES: [&[u8]; 5] = [b"BEGIN", b"COMMIT", b"ROLLBACK", b"SAVEPOINT", b"XA "];
    let mut format = None;
    let mut count = 0;
    for event in events {
        let sql = match event.event_type() {
            EventType::FORMAT_DESCRIPTION => {
                format = FormatDescription::read(event.raw().clone()).ok().map(|(_, format)| format);
                continue;
            }
            EventType::QUERY => Query::read(event.body(), format.as_ref().expect(name)).expect(name).sql,
            event_type if event_type == EventType::TABLE_MAP || Rows::is_rows(event_type) => b"rows",
            _ => continue,
        };
        count += usize::from(!FRAMES.iter().any(|frame| sql.starts_with(frame)));
    }
    count
}

fn excluding(name: &str, bytes: &[u8], origins: &str) -> Vec<Event> {
    let (mut out, mut summary) = (Vec::new(), Summary::default());
    let rules = rules(&format!("exclude_origins = [{origins}]"));
    rewrite(bytes, name.as_bytes(), rules, &mut out, &mut summary).unwrap_or_else(|error| panic!("{name}: {error}"));
    events(name, &out)
}

#[test]
fn transactions_of_an_excluded_origin_go_out_empty_by_server_id_and_by_uuid() {
    let before = events("demo", RECORDED);
    let first = before.iter().find(|event| event.event_type() == EventType::GTID).expect("the demo has GTIDs");
    let uuid = uuid::Uuid::from_bytes(Gtid::read(first.body()).expect("a good event").sid);
    let id = first.header().server_id;
    assert!(contents("demo", &before) > 10);
    for origin in [id.to_string(), format!("\"{uuid}\"")] {
        let after = excluding("demo", RECORDED, &origin);
        assert_eq!(contents("demo", &after), 0, "{origin}");
        assert_eq!(gtids(&after), gtids(&before), "{origin}: no hole");
    }
    // Another server's transactions are none of its business.
    let others = [(id + 1).to_string(), "\"00000000-0000-0000-0000-000000000001\"".to_owned()].join(", ");
    let after = excluding("demo", RECORDED, &others);
    assert_eq!(contents("demo", &after), contents("demo", &before));
}

#[test]
fn files_of_every_version_are_emptied_without_a_hole() {
    for (name, bytes) in corpus::binlogs("") {
        if name.starts_with("4.") || name.contains("-a_drop") {
            continue;
        }
        let before = events(&name, &bytes);
        let ids: BTreeSet<String> = before.iter().map(|event| event.header().server_id.to_string()).collect();
        let after = excluding(&name, &bytes, &ids.into_iter().collect::<Vec<_>>().join(", "));
        assert_eq!(contents(&name, &after), 0, "{name}");
        assert_eq!(gtids(&after), gtids(&before), "{name}: no hole");
    }
}
