//! `serve`: files as a source.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::Arc;

use replproxy::binlog::{Event, FILE_MAGIC};
use replproxy::fault::Code;
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
        let (client, server) = tokio::io::duplex(1 << 20);
        tokio::spawn(serve_connection(server, peer(), Arc::clone(&self.listener), self.end.subscribe()));
        let mut client = Client::logged_in(client, &[]).await;
        assert_eq!(client.query("SET @master_binlog_checksum= @@global.binlog_checksum").await, Reply::Ok);
        let mut command = vec![0x12];
        command.extend_from_slice(&position.to_le_bytes());
        command.extend_from_slice(&flags.to_le_bytes());
        command.extend_from_slice(&[7, 0, 0, 0]);
        command.extend_from_slice(file.as_bytes());
        client.send_command(&command).await;
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
