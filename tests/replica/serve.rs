//! `serve`: files as a source.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::Arc;

use replproxy::binlog::{Event, EventType, FILE_MAGIC, Header, flags};
use replproxy::fault::Code;
use replproxy::gtid::{GtidSet, MariaDbGtidText};
use replproxy::replica::{Backend, Limits, Listener, ListenerConfig, Registry, ServerTls, serve_connection};
use replproxy::secret::Secret;
use replproxy::serve::RecordedStream;
use replproxy::telemetry::RouteTelemetry;
use tokio::io::DuplexStream;
use tokio::sync::watch;

use super::client::{Client, Reply, error};
use super::scripted::{CRC32, begin, format, peer, rotate, rows, xid};

/// A folder with files of these events, each behind a FORMAT_DESCRIPTION.
fn folder(files: &[(&str, &[Event])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, events) in files {
        let mut bytes = FILE_MAGIC.to_vec();
        bytes.extend_from_slice(format().raw());
        events.iter().for_each(|event| bytes.extend_from_slice(event.raw()));
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    folder
}

struct Served {
    listener: Arc<Listener>,
    end: watch::Sender<bool>,
}

impl Served {
    fn new(folder: &tempfile::TempDir) -> Self {
        let config = ListenerConfig {
            name: "serve".to_owned(),
            user: "repl".to_owned(),
            password: Secret::new("secret"),
            tls: ServerTls::disabled(),
            transparent: false,
            limits: Limits::default(),
        };
        let stream: Arc<dyn Backend> = Arc::new(RecordedStream::open(folder.path()).expect("files"));
        let listener = Listener::new(config, stream, Registry::new(), RouteTelemetry::new("serve"));
        Self { listener, end: watch::Sender::new(false) }
    }

    /// Logged in, aware of checksums, and asked for a stream.
    async fn dump(&self, file: &str, position: u32, flags: u16) -> Client<DuplexStream> {
        let mut client = self.client().await;
        let mut command = vec![0x12];
        command.extend_from_slice(&position.to_le_bytes());
        command.extend_from_slice(&flags.to_le_bytes());
        command.extend_from_slice(&[7, 0, 0, 0]);
        command.extend_from_slice(file.as_bytes());
        client.send_command(&command).await;
        client
    }

    /// Asked for a stream by auto-position that does not wait at the end.
    async fn dump_after(&self, set: &str) -> Client<DuplexStream> {
        let mut client = self.client().await;
        let set = set.parse::<GtidSet>().expect("a set").encode();
        let length = (set.len() as u32).to_le_bytes();
        let command = [&[0x1e, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0], &length[..], &set];
        client.send_command(&command.concat()).await;
        client
    }

    async fn client(&self) -> Client<DuplexStream> {
        let (client, server) = tokio::io::duplex(1 << 20);
        tokio::spawn(serve_connection(server, peer(), Arc::clone(&self.listener), self.end.subscribe()));
        let mut client = Client::logged_in(client, &[]).await;
        assert_eq!(client.query("SET @master_binlog_checksum= @@global.binlog_checksum").await, Reply::Ok);
        client
    }
}

/// The next event that is no heartbeat.
async fn expect(client: &mut Client<DuplexStream>, event: &Event) {
    assert_eq!(client.event().await, event.raw());
}

#[tokio::test]
async fn files_follow_each_other_in_the_order_of_their_numbers() {
    let [gtid, begin] = begin();
    let group = [gtid, begin, rows(60), xid()];
    let second = [rows(70), xid()];
    let folder = folder(&[("b.1000000", &second), ("b.999999", &group), ("notes.txt", &[])]);
    fs::write(folder.path().join("index"), "not a binlog").expect("written");
    let served = Served::new(&folder);
    let mut client = served.dump("", 4, 1).await;
    for (file, events) in [("b.999999", &group[..]), ("b.1000000", &second[..])] {
        expect(&mut client, &rotate(file, 4, CRC32)).await;
        expect(&mut client, &format()).await;
        for event in events {
            expect(&mut client, event).await;
        }
    }
    assert_eq!(client.read().await.expect("EOF")[0], 0xfe);
    let Reply::Rows(_, rows) = client.query("SHOW BINARY LOGS").await else { panic!("no rows") };
    assert_eq!(
        rows.iter().map(|row| row[0].as_deref().expect("a name")).collect::<Vec<_>>(),
        ["b.999999", "b.1000000", "notes.txt"]
    );
}

#[tokio::test]
async fn a_position_in_a_file_must_be_between_two_events() {
    let folder = folder(&[("b.000001", &[rows(60), rows(70)])]);
    let served = Served::new(&folder);
    let first = 4 + format().raw().len() as u32;
    let mut client = served.dump("b.000001", first + 60, 1).await;
    expect(&mut client, &rotate("b.000001", u64::from(first) + 60, CRC32)).await;
    expect(&mut client, &format()).await;
    expect(&mut client, &rows(70)).await;
    for (file, position) in [("b.000001", first + 61), ("b.000001", 3), ("b.000001", 100_000), ("b.000009", 4)] {
        let mut client = served.dump(file, position, 1).await;
        let reply = error(&client.read().await.expect("an error"));
        assert_eq!(reply.error().0, 1236, "{file}:{position}");
        assert!(reply.error().1.starts_with("RPX-3005"), "{reply:?}");
    }
}

#[tokio::test]
async fn what_is_added_to_the_last_file_arrives_also_in_two_halves() {
    let folder = folder(&[("b.000001", &[rows(60)])]);
    let served = Served::new(&folder);
    let mut client = served.dump("b.000001", 4, 0).await;
    for event in [rotate("b.000001", 4, CRC32), format(), rows(60)] {
        expect(&mut client, &event).await;
    }
    let added = rows(90);
    for half in [&added.raw()[..30], &added.raw()[30..]] {
        let mut file = OpenOptions::new().append(true).open(folder.path().join("b.000001")).expect("there");
        file.write_all(half).expect("written");
        drop(file);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    expect(&mut client, &added).await;
}

#[tokio::test]
async fn a_damaged_event_ends_the_stream_after_all_that_is_good() {
    let folder = folder(&[("b.000001", &[rows(60), rows(70), rows(80)])]);
    let path = folder.path().join("b.000001");
    let mut bytes = fs::read(&path).expect("there");
    let second = 4 + format().raw().len() + 60;
    bytes[second + 40] ^= 1;
    fs::write(&path, bytes).expect("written");
    let mut client = Served::new(&folder).dump("b.000001", 4, 0).await;
    for event in [rotate("b.000001", 4, CRC32), format(), rows(60)] {
        expect(&mut client, &event).await;
    }
    let reply = error(&client.read().await.expect("an error"));
    assert_eq!(reply.error().0, 1236);
    assert!(reply.error().1.contains(Code::EventDamaged.as_str()), "{reply:?}");
}

fn built(event_type: EventType, server_id: u32, log_pos: u32, flags: u16, body: &[&[u8]]) -> Event {
    Event::build(Header { timestamp: 0, event_type, server_id, event_length: 0, log_pos, flags }, body, CRC32)
}

fn previous_gtids(set: &str) -> Event {
    built(EventType::PREVIOUS_GTIDS, 11, 0, 0, &[&set.parse::<GtidSet>().expect("a set").encode()])
}

/// What comes, to the end of the stream: the types of the events and the error.
async fn what_comes(client: &mut Client<DuplexStream>) -> (Vec<EventType>, Option<String>) {
    let mut types = Vec::new();
    loop {
        let packet = client.read().await.expect("an end of the stream");
        match packet[0] {
            0 => types.push(EventType(packet[5])),
            0xfe => return (types, None),
            _ => return (types, Some(error(&packet).error().1.to_owned())),
        }
    }
}

const SERVER: &str = "07070707-0707-0707-0707-070707070707";

#[tokio::test]
async fn a_last_file_that_does_not_say_what_lies_before_it_is_not_begun_with() {
    let [gtid, begin] = begin();
    let group = [previous_gtids(""), gtid, begin, rows(60), xid()];
    let folder = folder(&[("b.000001", &group), ("b.000002", &[])]);
    // A recording that was killed in the middle of PREVIOUS_GTIDS.
    let cut = folder.path().join("b.000002");
    let mut bytes = fs::read(&cut).expect("there");
    bytes.extend_from_slice(&previous_gtids(&format!("{SERVER}:1")).raw()[..25]);
    fs::write(cut, bytes).expect("written");
    let (came, fault) = what_comes(&mut Served::new(&folder).dump_after("").await).await;
    assert!(came.contains(&EventType::WRITE_ROWS), "{came:?}");
    assert_eq!(fault, None);
    let (came, fault) = what_comes(&mut Served::new(&folder).dump_after(&format!("{SERVER}:1")).await).await;
    assert!(!came.contains(&EventType::WRITE_ROWS), "{came:?}");
    assert_eq!(fault, None);
}

#[tokio::test]
async fn a_mysql_replica_that_lacks_what_is_purged_hears_what() {
    let [gtid, begin] = begin();
    let group = [previous_gtids(&format!("{SERVER}:2-9")), gtid, begin, rows(60), xid()];
    let folder = folder(&[("b.000007", &group)]);
    let (came, fault) = what_comes(&mut Served::new(&folder).dump_after(&format!("{SERVER}:1-6")).await).await;
    let fault = fault.expect("refused");
    assert!(came.is_empty() && fault.contains(&format!("missing transactions are '{SERVER}:7-9'")), "{came:?} {fault}");
    assert!(fault.contains("RPX-3005"), "{fault}");
}

#[tokio::test]
async fn a_file_that_is_missing_between_two_others_is_not_passed_over() {
    let to_second = built(EventType::ROTATE, 11, 0, 0, &[&4_u64.to_le_bytes(), b"b.000002"]);
    let stopped = built(EventType::STOP, 11, 0, 0, &[]);
    for (last, named) in [(to_second, "b.000002"), (stopped, "the next file")] {
        let folder = folder(&[("b.000001", &[rows(60), last]), ("b.000003", &[rows(70)])]);
        let (came, fault) = what_comes(&mut Served::new(&folder).dump("b.000001", 4, 1).await).await;
        let fault = fault.expect("refused");
        assert!(came.contains(&EventType::WRITE_ROWS), "{came:?} {fault}");
        assert!(fault.contains(named) && fault.contains("could not find next log"), "{fault}");
    }
}

/// The lengths of the rows events that come, to the end of the stream.
async fn rows_that_come(client: &mut Client<DuplexStream>) -> (Vec<usize>, Option<String>) {
    let mut lengths = Vec::new();
    loop {
        let packet = client.read().await.expect("an end of the stream");
        assert!(lengths.len() < 99, "it goes on and on: {lengths:?}");
        match packet[0] {
            0 if EventType(packet[5]) == EventType::WRITE_ROWS => lengths.push(packet.len() - 1),
            0 => {}
            0xfe => return (lengths, None),
            _ => return (lengths, Some(error(&packet).error().1.to_owned())),
        }
    }
}

#[tokio::test]
async fn the_next_file_is_the_one_that_the_last_rotate_names_or_the_next_of_the_series() {
    let rotates_to = |name: &str| built(EventType::ROTATE, 11, 0, 0, &[&4_u64.to_le_bytes(), name.as_bytes()]);
    // The server got another --log-bin, stopped without a ROTATE, and goes on.
    let folder = folder(&[
        ("a.000009", &[rows(60), rotates_to("b.000001")]),
        ("a.000010", &[rows(99)]),
        ("b.000001", &[rows(70), rotates_to("b.000002")]),
        ("b.000002", &[rows(80)]),
        ("b.000003", &[rows(90)]),
        ("c.000004", &[rows(98)]),
    ]);
    let came = rows_that_come(&mut Served::new(&folder).dump("a.000009", 4, 1).await).await;
    assert_eq!(came, (vec![60, 70, 80, 90], None));
}

#[tokio::test]
async fn a_stream_that_begins_inside_of_a_file_or_behind_transactions_keeps_temporary_tables() {
    let created = Event::build(
        Header { log_pos: 123, ..*format().header() },
        &[&format().body()[..52], &777_u32.to_le_bytes(), &format().body()[56..]],
        CRC32,
    );
    let [gtid, begin] = begin();
    let group = [previous_gtids(""), gtid, begin, rows(60), xid()];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bytes = [&FILE_MAGIC[..], created.raw()].concat();
    // The checksum is that of the event without it.
    bytes[4 + 17] |= flags::BINLOG_IN_USE as u8;
    group.iter().for_each(|event| bytes.extend_from_slice(event.raw()));
    fs::write(folder.path().join("b.000001"), bytes).expect("written");
    let inside = 4 + (created.raw().len() + group[0].raw().len()) as u32;
    let served = Served::new(&folder);
    for (mut client, place, expected) in [
        (served.dump("b.000001", 4, 1).await, "the file's start", (777, 123)),
        (served.dump("b.000001", inside, 1).await, "inside", (0, 0)),
        (served.dump_after(&format!("{SERVER}:1")).await, "GTID", (0, 123)),
    ] {
        client.event().await;
        let format = client.event().await;
        let number = |at: usize| u32::from_le_bytes(format[at..at + 4].try_into().expect("four bytes"));
        assert_eq!((number(19 + 52), number(13)), expected, "{place}");
        assert_eq!(u16::from(format[17]) & flags::BINLOG_IN_USE, 0, "{place}");
    }
}

#[tokio::test]
async fn what_is_left_out_ends_with_the_last_transaction_of_a_file() {
    let [gtid, begin] = begin();
    let rotate = built(EventType::ROTATE, 11, 0, 0, &[&4_u64.to_le_bytes(), b"b.000002"]);
    for last in [rotate, built(EventType::STOP, 11, 0, 0, &[])] {
        let group = [previous_gtids(""), gtid.clone(), begin.clone(), rows(60), xid(), last.clone()];
        let folder = folder(&[("b.000001", &group), ("b.000002", &[])]);
        let (came, _) = what_comes(&mut Served::new(&folder).dump_after(&format!("{SERVER}:1")).await).await;
        let [rotate, format] = [EventType::ROTATE, EventType::FORMAT_DESCRIPTION];
        assert_eq!(came, [rotate, format, EventType::PREVIOUS_GTIDS, last.event_type(), rotate, format]);
    }
}

#[tokio::test]
async fn a_replica_that_knows_no_checksums_is_not_sent_any() {
    let folder = folder(&[("b.000001", &[rows(60)])]);
    let mut client = Served::new(&folder).client().await;
    assert_eq!(client.query("SET @master_binlog_checksum= NULL").await, Reply::Ok);
    client.send_command(&[&[0x12, 4, 0, 0, 0, 1, 0, 7, 0, 0, 0][..], b"b.000001"].concat()).await;
    let (came, fault) = what_comes(&mut client).await;
    let fault = fault.expect("refused");
    assert!(came.is_empty() && fault.contains("Slave can not handle replication events with the checksum"), "{fault}");
}

/// The FORMAT_DESCRIPTION of 5.7 with the name of a MariaDB server.
fn mariadb_format() -> Event {
    let mut body = format().body().to_vec();
    body[2..52].fill(0);
    body[2..17].copy_from_slice(b"10.11.9-MariaDB");
    built(EventType::FORMAT_DESCRIPTION, 11, 0, 0, &[&body])
}

fn gtid_list(text: &str) -> Event {
    let gtids: Vec<MariaDbGtidText> = text.split_whitespace().map(|gtid| gtid.parse().expect("a GTID")).collect();
    let mut body = (gtids.len() as u32).to_le_bytes().to_vec();
    for MariaDbGtidText { domain, server_id, sequence } in gtids {
        body.extend_from_slice(&domain.to_le_bytes());
        body.extend_from_slice(&server_id.to_le_bytes());
        body.extend_from_slice(&sequence.to_le_bytes());
    }
    built(EventType::MARIADB_GTID_LIST, 11, 0, 0, &[&body])
}

/// A transaction of two events.
fn mariadb_group(sequence: u64) -> [Event; 2] {
    let body: [&[u8]; 4] = [&sequence.to_le_bytes(), &0_u32.to_le_bytes(), &[0], &[0; 6]];
    [built(EventType::MARIADB_GTID, 1, 0, 0, &body), xid()]
}

fn mariadb_folder(files: &[(&str, &[Event])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, events) in files {
        let mut bytes = FILE_MAGIC.to_vec();
        bytes.extend_from_slice(mariadb_format().raw());
        events.iter().for_each(|event| bytes.extend_from_slice(event.raw()));
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    folder
}

/// The numbers of the transactions that a MariaDB replica is sent, the last event, and the error.
async fn mariadb_stream(
    folder: &tempfile::TempDir,
    state: &str,
    until: Option<&str>,
    flags: u16,
) -> (Vec<u64>, Option<Vec<u8>>, Option<String>) {
    let mut client = Served::new(folder).client().await;
    assert_eq!(client.query("SET @mariadb_slave_capability=4").await, Reply::Ok);
    assert_eq!(client.query(&format!("SET @slave_connect_state='{state}'")).await, Reply::Ok);
    if let Some(until) = until {
        assert_eq!(client.query(&format!("SET @slave_until_gtid='{until}'")).await, Reply::Ok);
    }
    let mut command = vec![0x12, 4, 0, 0, 0];
    command.extend_from_slice(&flags.to_le_bytes());
    command.extend_from_slice(&[7, 0, 0, 0]);
    client.send_command(&command).await;
    let (mut numbers, mut last) = (Vec::new(), None);
    loop {
        let packet = client.read().await.expect("an end of the stream");
        match packet[0] {
            0 => {
                if EventType(packet[5]) == EventType::MARIADB_GTID {
                    numbers.push(u64::from_le_bytes(packet[20..28].try_into().expect("eight bytes")));
                }
                last = Some(packet[1..].to_vec());
            }
            0xfe => return (numbers, last, None),
            _ => return (numbers, last, Some(error(&packet).error().1.to_owned())),
        }
    }
}

#[tokio::test]
async fn a_mariadb_replica_is_served_from_the_newest_file_that_has_all_it_lacks_or_not_at_all() {
    let groups = |numbers: std::ops::RangeInclusive<u64>| numbers.flat_map(mariadb_group);
    let first: Vec<Event> = std::iter::once(gtid_list("0-1-99")).chain(groups(100..=101)).collect();
    let second: Vec<Event> = std::iter::once(gtid_list("0-1-101")).chain(groups(102..=103)).collect();
    let folder = mariadb_folder(&[("b.000004", &first), ("b.000005", &second), ("b.000006", &[])]);
    for (state, expected) in
        [("0-1-99", vec![100, 101, 102, 103]), ("0-1-100", vec![101, 102, 103]), ("0-1-101", vec![102, 103])]
    {
        let (numbers, _, fault) = mariadb_stream(&folder, state, None, 1).await;
        assert_eq!((numbers, fault), (expected, None), "{state}");
    }
    for state in ["0-1-5", "", "5-1-100"] {
        let (numbers, _, fault) = mariadb_stream(&folder, state, None, 1).await;
        let fault = fault.expect("refused");
        assert!(
            numbers.is_empty() && fault.starts_with("Could not find GTID state requested by slave"),
            "{state}: {fault}"
        );
    }
    let (numbers, _, fault) = mariadb_stream(&folder, "0-1-500", None, 1).await;
    let fault = fault.expect("refused");
    assert!(numbers.is_empty() && fault.contains("GTID 0-1-500, which is not in the master's binlog"), "{fault}");
}

#[tokio::test]
async fn a_mariadb_replica_hears_that_its_until_is_reached() {
    let groups: Vec<Event> = std::iter::once(gtid_list("")).chain((1..=4).flat_map(mariadb_group)).collect();
    let folder = mariadb_folder(&[("b.000001", &groups)]);
    let offset = |groups: usize| {
        let two = mariadb_group(1);
        let head = 4 + mariadb_format().raw().len() + gtid_list("").raw().len();
        (head + groups * (two[0].raw().len() + two[1].raw().len())) as u32
    };
    for (until, expected) in [("0-1-2", vec![1, 2]), ("0-1-4", vec![1, 2, 3, 4]), ("", vec![])] {
        // The stream would wait for more.
        let (numbers, last, fault) = mariadb_stream(&folder, "", Some(until), 0).await;
        let log_pos = if until.is_empty() { 4 + mariadb_format().raw().len() as u32 } else { offset(expected.len()) };
        let reached =
            built(EventType::MARIADB_GTID_LIST, 11, log_pos, flags::ARTIFICIAL, &[&(1_u32 << 28).to_le_bytes()]);
        assert_eq!((numbers, fault), (expected, None), "{until}");
        assert_eq!(last.as_deref(), Some(&reached.raw()[..]), "{until}");
    }
}
