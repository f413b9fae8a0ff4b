//! The dump: what is sent, what is made up, and how it ends.

use std::time::Duration;

use replproxy::binlog::{ChecksumAlgorithm, Event, Header, Vendor};
use replproxy::fault::Code;
use replproxy::gtid::GtidSet;
use replproxy::pipeline::coordinates::FilePosition;
use replproxy::replica::{ReplicaRequest, ReplicaStart};
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::client::{Client, Reply, error};
use super::scripted::{CRC32, Script, Stage, begin, format, rotate, rows, xid};

const FILE: &str = "binlog.000007";

/// COM_BINLOG_DUMP.
fn dump_command(position: u32, flags: u16, file: &str) -> Vec<u8> {
    let mut command = vec![0x12];
    command.extend_from_slice(&position.to_le_bytes());
    command.extend_from_slice(&flags.to_le_bytes());
    command.extend_from_slice(&[7, 0, 0, 0]);
    command.extend_from_slice(file.as_bytes());
    command
}

/// Logged in, `settings` set, and asked for the stream at 120 in the file.
async fn attach(stage: &mut Stage, settings: &[&str], flags: u16) -> (Client<DuplexStream>, ReplicaRequest, Script) {
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    for setting in settings {
        assert_eq!(client.query(setting).await, Reply::Ok, "{setting}");
    }
    client.send_command(&dump_command(120, flags, FILE)).await;
    let (request, script) = stage.stream().await;
    (client, request, script)
}

const CHECKSUMS: &str = "SET @master_binlog_checksum= @@global.binlog_checksum";
const HEARTBEATS: &str = "SET @master_heartbeat_period= 30000000";

#[tokio::test]
async fn a_request_tells_all_that_the_replica_has_said() {
    let mut stage = Stage::new();
    let settings = [CHECKSUMS, HEARTBEATS, "SET @slave_uuid= 'u'", "SET skip_replication=0"];
    let (_client, request, _script) = attach(&mut stage, &settings, 1).await;
    assert_eq!(request.start, ReplicaStart::FilePosition(FilePosition { file: FILE.into(), position: 120 }));
    assert!(request.non_blocking);
    let replica = request.replica;
    assert_eq!((replica.server_id, replica.uuid.as_deref(), replica.vendor), (7, Some("u"), Vendor::MySql));
    assert_eq!((replica.checksum, replica.heartbeat_period), (Some(CRC32), Duration::from_millis(30)));

    assert!(!replica.skip_replication);

    let settings = [
        "SET @mariadb_slave_capability=4",
        "SET @slave_connect_state='0-1-5'",
        "SET @slave_until_gtid=''",
        "SET skip_replication=1",
    ];
    let (_client, request, _script) = attach(&mut stage, &settings, 0).await;
    assert_eq!(request.start, ReplicaStart::MariaDbGtid("0-1-5".to_owned()));
    assert_eq!((request.replica.vendor, request.replica.checksum), (Vendor::MariaDb, None));
    assert!(request.replica.skip_replication);
    let variables = [("slave_connect_state", "0-1-5"), ("slave_until_gtid", "")];
    assert_eq!(request.replica.gtid_variables, variables.map(|(name, value)| (name.to_owned(), value.to_owned())));

    let (_client, request, _script) = attach_by_gtid(&mut stage, &[]).await;
    assert_eq!(request.start, ReplicaStart::MySqlGtid(held().encode().into()));
    assert!(!request.non_blocking);
}

#[tokio::test]
async fn events_arrive_as_they_are_and_the_first_rotate_as_agreed() {
    let mut stage = Stage::new();
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    let events = [rotate(FILE, 120, ChecksumAlgorithm::None), format(), begin()[0].clone(), rows(100), xid()];
    script.events(&events);
    assert_eq!(client.event().await, rotate(FILE, 120, CRC32).raw());
    for event in &events[1..] {
        assert_eq!(client.event().await, event.raw());
    }

    let (mut client, _, script) = attach(&mut stage, &["SET @master_binlog_checksum='NONE'"], 0).await;
    script.events(&[rotate(FILE, 120, CRC32)]);
    assert_eq!(client.event().await, rotate(FILE, 120, ChecksumAlgorithm::None).raw());
}

/// Position and type in an event's header.
fn header(event: &[u8]) -> (u8, u32) {
    (event[4], u32::from_le_bytes(event[13..17].try_into().expect("four bytes")))
}

/// What a replica by GTID has.
fn held() -> GtidSet {
    "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3".parse().expect("a set")
}

/// As [`attach`], by GTID.
async fn attach_by_gtid(stage: &mut Stage, settings: &[&str]) -> (Client<DuplexStream>, ReplicaRequest, Script) {
    let encoded = held().encode();
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    for setting in settings {
        assert_eq!(client.query(setting).await, Reply::Ok, "{setting}");
    }
    let mut command = vec![0x1e, 2, 0, 7, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];
    command.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
    command.extend_from_slice(&encoded);
    client.send_command(&command).await;
    let (request, script) = stage.stream().await;
    (client, request, script)
}

#[tokio::test]
async fn how_far_goes_what_the_source_left_out_is_told_at_once_by_gtid_and_never_by_position() {
    let mut stage = Stage::new();
    let begin = [rotate(FILE, 4, CRC32), format()];
    let (mut client, _, script) = attach_by_gtid(&mut stage, &[CHECKSUMS]).await;
    script.events(&begin);
    script.left_out_up_to(FILE, 5000);
    script.left_out_up_to(FILE, 5000);
    script.left_out_up_to(FILE, 300);
    script.left_out_up_to("binlog.000008", 9000);
    script.events(&[rows(100)]);
    for event in &begin {
        assert_eq!(client.event().await, event.raw());
    }
    let told = client.event().await;
    assert_eq!(
        (header(&told), &told[19..told.len() - 4]),
        ((27, 5000), FILE.as_bytes()),
        "without any heartbeat period"
    );
    assert_eq!(client.event().await, rows(100).raw(), "once, and only forward in its file");

    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    script.events(&begin);
    script.left_out_up_to(FILE, 5000);
    script.events(&[rows(100)]);
    for event in begin.iter().chain(&[rows(100)]) {
        assert_eq!(client.event().await, event.raw());
    }
}

#[tokio::test]
async fn heartbeats_carry_exactly_what_was_sent() {
    let mut stage = Stage::new();
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS, HEARTBEATS], 0).await;
    let before = client.event().await;
    assert_eq!((header(&before), &before[19..before.len() - 4]), ((27, 120), FILE.as_bytes()), "as asked for");
    script.events(&[rotate(FILE, 120, CRC32), format()]);
    let (mut position, mut sent) = (120, 2);
    for events in [vec![rows(5000)], begin().to_vec(), vec![rows(70), xid()]] {
        position += events.iter().map(|event| event.raw().len() as u32).sum::<u32>();
        sent += events.len();
        script.events(&events);
        loop {
            let event = client.event().await;
            if event[4] != 27 {
                sent -= 1;
            } else if sent == 0 {
                assert_eq!(header(&event), (27, position));
                let checksum = crc32fast::hash(&event[..event.len() - 4]).to_le_bytes();
                assert_eq!(event[event.len() - 4..], checksum);
                break;
            }
        }
    }
    script.events(&[rotate("binlog.000008", 4, CRC32)]);
    client.event().await;
    let event = client.event().await;
    assert_eq!((header(&event), &event[19..event.len() - 4]), ((27, 4), &b"binlog.000008"[..]));
}

#[tokio::test]
async fn a_feed_that_wakes_up_for_nothing_does_not_put_heartbeats_off() {
    let mut stage = Stage::new();
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS, HEARTBEATS], 0).await;
    let awake = async {
        loop {
            script.events(&[]);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        event = client.event() => assert_eq!(header(&event), (27, 120)),
        () = awake => {}
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("no heartbeat in thirty seconds, with one due every 30 ms"),
    }
}

#[tokio::test]
async fn a_feed_that_always_has_something_for_others_keeps_neither_heartbeats_nor_the_end_back() {
    let mut stage = Stage::with(|config| config.limits.ending_grace = Duration::from_millis(100));
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS, HEARTBEATS], 0).await;
    script.events(&[rotate(FILE, 120, CRC32), format(), begin()[0].clone()]);
    for _ in 0..3 {
        client.event().await;
    }
    script.never_wait();
    let mut is_heartbeat = false;
    for _ in 0..3 {
        is_heartbeat = client.event().await[4] == 27;
    }
    assert!(is_heartbeat);
    stage.end();
    assert!(client.leaves_off().await, "the transaction's end does not come");
}

#[tokio::test]
async fn who_has_all_that_an_idle_source_has_is_not_behind() {
    let mut stage = Stage::new();
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    let lag = || stage.telemetry.picture().sessions[0].lag_seconds;
    let old = Event::build(Header { timestamp: 1, ..*xid().header() }, &[xid().body()], CRC32);
    script.events(&[rotate(FILE, 120, CRC32), format(), old]);
    for _ in 0..3 {
        client.event().await;
    }
    while lag().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(lag() > Some(1_000_000_000), "the event is from 1970");
    script.events(&[]);
    let caught_up = async {
        while lag() != Some(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), caught_up).await.expect("nothing more is to come");
}

#[tokio::test]
async fn heartbeats_have_the_layout_that_the_replica_asked_for() {
    let mut stage = Stage::new();
    let (mut client, _, _script) = attach(&mut stage, &[HEARTBEATS], 2).await;
    assert_eq!(header(&client.event().await), (41, 0), "MySQL with flag 2");
    let settings = [HEARTBEATS, "SET @mariadb_slave_capability=4"];
    let (mut client, _, _script) = attach(&mut stage, &settings, 2).await;
    assert_eq!(header(&client.event().await), (27, 120), "MariaDB's flag 2 is another one");
    let (mut client, _, script) = attach(&mut stage, &[], 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    script.end();
    assert_eq!(client.read().await.expect("EOF")[0], 0xfe, "none asked for");
}

/// The type of the next heartbeat, which comes behind these events.
async fn heartbeat_behind(events: &[Event]) -> u8 {
    let mut stage = Stage::new();
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS, HEARTBEATS], 2).await;
    script.events(events);
    let last = events.last().expect("some event").raw();
    while client.event().await != last {}
    client.event().await[4]
}

#[tokio::test]
async fn a_replica_gets_no_heartbeat_of_a_type_that_the_file_does_not_know() {
    let old = format();
    // What MySQL 8.0.26 and later have behind the 38 types of 5.7, and before the checksum algorithm.
    let (before, algorithm) = old.body().split_at(old.body().len() - 1);
    let new = Event::build(*old.header(), &[before, &[42, 40, 0], algorithm], CRC32);
    assert_eq!(heartbeat_behind(&[rotate(FILE, 120, CRC32), old.clone()]).await, 27, "5.7's file");
    assert_eq!(heartbeat_behind(&[rotate(FILE, 120, CRC32), new.clone()]).await, 41, "8.0's file");
    assert_eq!(heartbeat_behind(&[rotate(FILE, 120, CRC32), new, old]).await, 27, "one after the other");
}

#[tokio::test]
async fn large_events_are_cut_into_packets_and_an_exact_fit_ends_with_an_empty_one() {
    let mut stage = Stage::new();
    // One byte of each first packet is the marker before the event.
    for length in [0xff_ff_fd, 0xff_ff_fe, 0xff_ff_ff, 2 * 0xff_ff_ff - 1, 2 * 0xff_ff_ff] {
        let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
        let events = [rotate(FILE, 120, CRC32), format(), rows(40_000), rows(length), rows(64)];
        script.events(&events);
        for event in &events {
            // Not assert_eq: 32 MiB of numbers help nobody.
            assert!(client.event().await == event.raw(), "{length}");
        }
        script.end();
        assert_eq!(client.read().await.expect("EOF")[0], 0xfe);
    }
}

#[tokio::test]
async fn numbers_of_packets_go_on_and_wrap() {
    let mut stage = Stage::new();
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    let events: Vec<Event> = (0..700).map(|number| rows(30 + number)).collect();
    script.events(&events);
    for event in &events {
        assert_eq!(client.event().await, event.raw());
    }
}

#[tokio::test]
async fn after_the_end_of_a_stream_the_same_connection_takes_another_command() {
    let mut stage = Stage::new();
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS], 1).await;
    script.events(&[rotate(FILE, 120, CRC32)]);
    script.end();
    client.event().await;
    assert_eq!(client.read().await.expect("EOF"), [0xfe, 0, 0, 2, 0]);
    assert_eq!(client.query("SELECT 1").await.value(), "1");
    client.send_command(&dump_command(4, 1, "binlog.000008")).await;
    let (request, _script) = stage.stream().await;
    assert_eq!(
        request.start,
        ReplicaStart::FilePosition(FilePosition { file: b"binlog.000008".to_vec(), position: 4 })
    );
}

#[tokio::test]
async fn a_stop_is_told_with_1236_after_everything_before_it() {
    let mut stage = Stage::new();
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    script.events(&[rotate(FILE, 120, CRC32), format(), rows(50)]);
    script.fail(Code::StatementStopped, "binlog.000007:4711: CREATE TRIGGER");
    for _ in 0..3 {
        client.event().await;
    }
    let packet = client.read().await.expect("an error");
    let reply = error(&packet);
    let (number, text) = reply.error();
    assert_eq!(number, 1236);
    assert!(text.starts_with("RPX-4001: binlog.000007:4711: CREATE TRIGGER (next: "), "{text}");
}

#[tokio::test]
async fn a_long_message_is_cut_so_that_the_next_step_is_read_too() {
    let mut stage = Stage::new();
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    script.fail(Code::StatementStopped, &"ü".repeat(1000));
    let reply = error(&client.read().await.expect("an error"));
    // MySQL 5.6 and MariaDB show 320 bytes.
    assert!(
        reply.error().1.len() <= 320
            && reply.error().1.ends_with(&format!("(next: {})", Code::StatementStopped.next_step()))
    );
}

#[tokio::test]
async fn a_lost_source_ends_the_connection_without_stopping_the_replica_for_good() {
    let mut stage = Stage::new();
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    script.fail(Code::SourceLost, "source `primary` closed the connection");
    let packet = client.read().await.expect("an error");
    assert_eq!(error(&packet).error().0, 1105);
    assert!(client.is_cut().await);
}

#[tokio::test]
async fn a_replica_that_leaves_ends_its_stream_at_once() {
    let mut stage = Stage::new();
    let (client, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    drop(client);
    script.dropped().await;

    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    client.stream.write_all(&[1, 0, 0, 0, 1]).await.expect("room");
    script.dropped().await;
    assert!(client.is_cut().await, "COM_QUIT");
    assert!(stage.registry.snapshot().is_empty());
}

#[tokio::test]
async fn a_replica_that_stops_reading_is_cut() {
    let mut stage = Stage::with(|config| config.limits.write_timeout = Duration::from_millis(100));
    let (pipe, serving) = stage.connect_over(4096);
    let mut client = Client::logged_in(pipe, &[]).await;
    client.send_command(&dump_command(120, 0, FILE)).await;
    let (_, script) = stage.stream().await;
    script.events(&[rotate(FILE, 120, ChecksumAlgorithm::None), format(), rows(1 << 20)]);
    script.dropped().await;
    tokio::time::timeout(super::client::PATIENCE, serving).await.expect("it ends").expect("without a panic");
    assert!(stage.registry.snapshot().is_empty());
}

#[tokio::test]
async fn kill_ends_a_stream_and_nobody_else_s() {
    let mut stage = Stage::new();
    let (mut victim, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    let (mut other, _, other_script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    assert_eq!(client.query(&format!("KILL {}", victim.thread_id)).await, Reply::Ok);
    script.dropped().await;
    assert!(victim.is_cut().await);
    other_script.events(&[rows(50)]);
    other.event().await;
    assert_eq!(client.query(&format!("KILL {}", victim.thread_id)).await.error().0, 1094);
}

#[tokio::test]
async fn the_end_of_the_proxy_waits_for_the_end_of_a_transaction() {
    let mut stage = Stage::new();
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    let [gtid, begin] = begin();
    script.events(&[rotate(FILE, 120, CRC32), format(), gtid.clone(), begin.clone()]);
    for _ in 0..4 {
        client.event().await;
    }
    stage.end();
    tokio::time::sleep(Duration::from_millis(50)).await;
    script.events(&[rows(60), xid(), gtid, begin]);
    assert_eq!(client.event().await, rows(60).raw());
    assert_eq!(client.event().await, xid().raw());
    assert!(client.is_cut().await, "the next transaction has begun");
}

#[tokio::test]
async fn the_end_of_the_proxy_does_not_wait_for_ever() {
    let mut stage = Stage::with(|config| config.limits.ending_grace = Duration::from_millis(100));
    let (mut client, _, script) = attach(&mut stage, &[CHECKSUMS], 0).await;
    script.events(&[rotate(FILE, 120, CRC32), format(), begin()[0].clone()]);
    for _ in 0..3 {
        client.event().await;
    }
    let (mut idle, _, _idle_script) = attach(&mut stage, &[], 0).await;
    stage.end();
    assert!(idle.is_cut().await, "between transactions at once");
    assert!(client.is_cut().await);
}

#[tokio::test]
async fn a_second_replica_with_the_same_uuid_ends_the_first_as_a_source_does() {
    let mut stage = Stage::new();
    let (mut first, _, script) = attach(&mut stage, &["SET @slave_uuid= 'u'"], 0).await;
    script.events(&[rotate(FILE, 120, ChecksumAlgorithm::None), format()]);
    first.event().await;
    first.event().await;
    let mut second = Client::logged_in(stage.connect(), &[]).await;
    assert_eq!(second.query("SET @slave_uuid= 'u'").await, Reply::Ok);
    let mut command = dump_command(120, 0, FILE);
    command[7] = 8;
    second.send_command(&command).await;
    let (_, other) = stage.stream().await;
    let reply = error(&first.read().await.expect("an error packet"));
    let (number, text) = reply.error();
    assert_eq!(number, 1236);
    assert!(text.contains("A replica with the same server_uuid/server_id as this replica has connected"), "{text}");
    assert!(text.contains(Code::ReplicaDuplicate.as_str()), "{text}");
    script.dropped().await;
    other.events(&[rotate(FILE, 120, ChecksumAlgorithm::None)]);
    second.event().await;
    assert!(stage.telemetry.picture().healthy, "the listener serves as before");
}
