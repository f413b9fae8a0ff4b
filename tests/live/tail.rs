//! One live tail for many replicas: one dump thread at the source, whatever happens to the source or to one of them.

use super::status_at;
use crate::support::compare::{Mapping, differences};
use crate::support::fleet::Version;
use crate::support::link::Link;
use crate::support::pair::Mode;
use crate::support::process::free_port;
use crate::support::proxy::{Proxy, storefront};
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::thin::endpoint;
use crate::support::unless_available;
use bytes::Bytes;
use replproxy::binlog::EventType;
use replproxy::gtid::GtidSet;
use replproxy::source::{Client, DumpRequest, DumpStart, EventStream, Identity};
use replproxy::status::Status;
use std::time::{Duration, Instant};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(60);

const SHOP_CN: &str = "rename = \"shop_cn\"";

const SCHEMA: &str = "CREATE DATABASE storefront CHARACTER SET utf8mb4; USE storefront;
    CREATE TABLE marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE work (id INT NOT NULL PRIMARY KEY, v LONGTEXT);
    CREATE TABLE audit_work (id INT NOT NULL, v LONGTEXT);";

/// A source, the proxy, and two replicas of one route; the second one behind a link.
struct Stage {
    source: Server,
    replicas: [Server; 2],
    proxy: Proxy,
    admin: u16,
    link: Link,
    markers: u32,
}

impl Stage {
    async fn start(version: Version, mode: Mode) -> Option<Stage> {
        let options = || match mode {
            Mode::AutoPosition => ServerOptions::new().gtid(version),
            _ => ServerOptions::new(),
        };
        let servers = [(version, options()), (version, options()), (version, options())];
        let [source, first, second] = unless_available(Server::start_all(servers).await)?;
        let [port, admin] = [free_port(), free_port()];
        let link = Link::listen().await;
        link.lead_to(port);
        let proxy = Proxy::start(&storefront(source.port(), port, admin, SHOP_CN), &[port, admin]).await;
        let start = match mode {
            Mode::FilePosition => {
                let (file, position) = source.binlog_end().await;
                Start::At(file, position)
            }
            Mode::AutoPosition => Start::AutoPosition,
            Mode::MariadbGtid => Start::MariadbGtid(source.value("SELECT @@gtid_binlog_pos").await),
        };
        let mut stage = Stage { source, replicas: [first, second], proxy, admin, link, markers: 0 };
        for (replica, port) in stage.replicas.iter().zip([port, stage.link.port()]) {
            replica.script("SET sql_log_bin = 0; CREATE DATABASE shop_cn CHARACTER SET utf8mb4").await;
            replica.follow(&Upstream::at(port), &start).await;
            replica.start_replica().await;
        }
        stage.source.script(SCHEMA).await;
        stage.catch_up().await;
        Some(stage)
    }

    /// Both replicas have all that the source has.
    async fn catch_up(&mut self) {
        self.mark().await;
        for replica in &self.replicas {
            self.reached(replica).await;
        }
    }

    async fn mark(&mut self) {
        self.markers += 1;
        self.source.script(&format!("INSERT INTO storefront.marker VALUES ({})", self.markers)).await;
    }

    async fn reached(&self, replica: &Server) {
        let reached = replica.reaches("SELECT MAX(n) FROM shop_cn.marker", &self.markers.to_string(), LIMIT).await;
        assert!(reached.is_ok(), "{}\n{}", reached.unwrap_err(), self.proxy.log());
    }

    fn status(&self) -> Status {
        status_at(self.admin)
    }

    /// Waits until the source has one dump thread, and both replicas are on the live tail.
    async fn one_dump_thread(&self) {
        let end = Instant::now() + LIMIT;
        loop {
            let threads = dump_threads(&self.source).await;
            let status = self.status();
            let feeds: Vec<_> = status.replicas.iter().map(|replica| replica.feed.as_str()).collect();
            if threads == 1 && feeds == ["live", "live"] && status.routes[0].upstream_connections == 1 {
                return;
            }
            assert!(Instant::now() < end, "{threads} dump threads, {feeds:?}\n{}", self.proxy.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn assert_equal(&self) {
        let mapping = Mapping {
            databases: vec![("storefront".to_owned(), "shop_cn".to_owned())],
            excluded: vec!["storefront.audit_".to_owned()],
            everything: false,
            ..Mapping::identity()
        };
        for replica in &self.replicas {
            let findings = differences(&self.source, replica, &mapping).await;
            assert!(findings.is_empty(), "{}", findings.join("\n"));
        }
        assert!(!self.proxy.log().contains("panicked"), "{}", self.proxy.log());
    }
}

/// How many streams the source serves, as it sees it.
async fn dump_threads(source: &Server) -> usize {
    let rows = source.script("SHOW PROCESSLIST").await;
    rows.iter().filter(|row| row.iter().any(|value| value.starts_with("Binlog Dump"))).count()
}

/// Transactions over selected and excluded tables.
fn round(number: u32) -> String {
    let mut script = String::from("USE storefront;\n");
    for row in 0..200 {
        let id = number * 1000 + row;
        script += &format!("BEGIN; INSERT INTO work VALUES ({id}, REPEAT('{row}', 50)); ");
        script += &format!(
            "INSERT INTO audit_work VALUES ({id}, 'a'); COMMIT; UPDATE work SET v = 'x' WHERE id = {id} - 3;\n"
        );
    }
    script + "DELETE FROM audit_work;\n"
}

async fn share_one_dump_thread(version: Version, mode: Mode) {
    let Some(mut stage) = Stage::start(version, mode).await else { return };
    stage.one_dump_thread().await;
    stage.source.script(&round(1)).await;
    stage.catch_up().await;
    stage.one_dump_thread().await;
    let attached: Vec<_> = stage.status().replicas.into_iter().map(|replica| replica.attached_at).collect();

    stage.source.script(&round(2)).await;
    stage.source.kill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    stage.source.restart().await;
    stage.source.script("FLUSH LOGS").await;
    stage.source.script(&round(3)).await;
    stage.catch_up().await;
    stage.one_dump_thread().await;
    let after: Vec<_> = stage.status().replicas.into_iter().map(|replica| replica.attached_at).collect();
    assert_eq!(after, attached, "the replicas noticed no more than a pause");

    stage.replicas[0].stop_replica().await;
    stage.source.script(&round(4)).await;
    stage.replicas[0].start_replica().await;
    stage.catch_up().await;
    stage.one_dump_thread().await;
    stage.assert_equal().await;
    assert!(stage.proxy.terminate().success(), "{}", stage.proxy.log());
}

#[tokio::test]
async fn mysql_57_replicas_by_file_and_position_share_one_dump_thread() {
    share_one_dump_thread(Version::Mysql57, Mode::FilePosition).await;
}

#[tokio::test]
async fn mysql_97_replicas_by_auto_position_share_one_dump_thread() {
    share_one_dump_thread(Version::Mysql97, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mariadb_1011_replicas_by_gtid_share_one_dump_thread() {
    share_one_dump_thread(Version::Mariadb1011, Mode::MariadbGtid).await;
}

#[tokio::test]
async fn mariadb_1011_replicas_by_file_and_position_share_one_dump_thread() {
    share_one_dump_thread(Version::Mariadb1011, Mode::FilePosition).await;
}

/// The ids under which the proxy's streams are registered at the source.
async fn ids_of_the_proxy(source: &Server) -> Vec<u32> {
    let rows = source.script("SHOW SLAVE HOSTS").await;
    let of_the_proxy = rows.iter().filter(|row| row.iter().any(|value| value == "replproxy"));
    of_the_proxy.map(|row| row[0].parse().expect("a server id")).collect()
}

#[tokio::test]
async fn an_id_that_another_proxy_takes_costs_the_replicas_a_pause_and_the_other_proxy_keeps_it() {
    let Some(mut stage) = Stage::start(Version::Mariadb1011, Mode::MariadbGtid).await else { return };
    stage.one_dump_thread().await;
    let attached: Vec<_> = stage.status().replicas.into_iter().map(|replica| replica.attached_at).collect();
    let mut others: Vec<EventStream> = Vec::new();
    for round in 1..=2 {
        let ids = ids_of_the_proxy(&stage.source).await;
        assert_eq!(ids.len(), 1, "{ids:?}\n{}", stage.proxy.log());
        let (file, position) = stage.source.binlog_end().await;
        let identity =
            Identity { server_id: ids[0], uuid: Uuid::from_u128(round), host: "another".to_owned(), port: 0 };
        let start = DumpStart::FilePosition { file: file.into_bytes(), position: position as u32 };
        let heartbeat = Duration::from_secs(2);
        let request = DumpRequest { identity, heartbeat, flags: 0, start, session: Vec::new() };
        let client =
            Client::connect(&endpoint(stage.source.port(), "repl", "secret")).await.expect("the source answers");
        others.push(client.start_dump(request).await.expect("the source begins a stream"));
        let told = format!("server id {}: ", ids[0]);
        stage.proxy.logs(&told, LIMIT).await;
        stage.catch_up().await;
        // The other streams were not ended in turn.
        for other in &mut others {
            let end = Instant::now() + LIMIT;
            loop {
                let next = tokio::time::timeout_at(end.into(), other.next()).await;
                let event = next.unwrap_or_else(|_| panic!("no marker came\n{}", stage.proxy.log()));
                let event = event.expect("the stream goes on").expect("the stream has no end");
                if event.get(4) == Some(&EventType::XID.0) {
                    break;
                }
            }
        }
        let end = Instant::now() + LIMIT;
        while ids_of_the_proxy(&stage.source).await.len() != 1 {
            assert!(Instant::now() < end, "{}", stage.proxy.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let after: Vec<_> = stage.status().replicas.into_iter().map(|replica| replica.attached_at).collect();
    let log = stage.proxy.log();
    assert_eq!(attached, after, "the replicas' connections stay\n{log}");
    assert_eq!(log.matches("is somebody else's too").count(), 1, "{log}");
    assert!(log.contains("RPX-5006"), "{log}");
    stage.assert_equal().await;
}

#[tokio::test]
async fn a_stuck_replica_falls_off_the_tail_and_comes_back_without_a_difference() {
    let Some(mut stage) = Stage::start(Version::Mysql57, Mode::FilePosition).await else { return };
    stage.one_dump_thread().await;
    stage.link.hold(true);
    for row in 0..50 {
        let id = 50_000 + row;
        stage.source.script(&format!("INSERT INTO storefront.work VALUES ({id}, REPEAT('{row}', 500000))")).await;
        if row % 10 == 0 {
            stage.mark().await;
            let began = Instant::now();
            stage.reached(&stage.replicas[0]).await;
            // Who waits for the stuck one goes on when that is cut, after 60 seconds.
            assert!(began.elapsed() < Duration::from_secs(45), "the other replica waits for the stuck one");
        }
    }
    stage.link.heal();
    stage.catch_up().await;
    stage.one_dump_thread().await;
    stage.assert_equal().await;
    let log = stage.proxy.log();
    assert!(log.contains("too slow for the live tail"), "{log}");
}

/// Replicas that come at the same time, many more than the proxy has identities and than a server has connections by default.
const CROWD: u32 = 1000;
/// README, "Limits".
const CROWD_MEMORY_KIB: u64 = 256 << 10;

async fn attach(port: u16, number: u32, start: DumpStart) -> Option<EventStream> {
    let uuid = Uuid::from_u128(u128::from(number) + 1);
    let identity = Identity { server_id: 10_000 + number, uuid, host: "crowd".to_owned(), port: 0 };
    let request = DumpRequest { identity, heartbeat: Duration::from_secs(2), flags: 0, start, session: Vec::new() };
    // A door that is too crowded refuses, and replicas knock again.
    for _ in 0..60 {
        if let Ok(client) = Client::connect(&endpoint(port, "repl", "secret")).await
            && let Ok(mut stream) = client.start_dump(request.clone()).await
            && let Ok(Some(_)) = stream.next().await
        {
            return Some(stream);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    None
}

/// Resident memory of a process in KiB.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux tells");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

async fn crowd(mode: Mode) {
    let version = Version::Mysql57;
    let options = if mode == Mode::AutoPosition { ServerOptions::new().gtid(version) } else { ServerOptions::new() };
    let Some(source) = unless_available(Server::start(version, options).await) else { return };
    let [port, admin] = [free_port(), free_port()];
    let proxy = Proxy::start(&storefront(source.port(), port, admin, SHOP_CN), &[port, admin]).await;
    source.script(SCHEMA).await;
    source.script(&round(1)).await;
    let start = match mode {
        Mode::AutoPosition => {
            let executed: GtidSet = source.value("SELECT @@GLOBAL.gtid_executed").await.parse().expect("a set");
            DumpStart::GtidSet(Bytes::from(executed.encode()))
        }
        _ => {
            let (file, position) = source.binlog_end().await;
            DumpStart::FilePosition { file: file.into(), position: position as u32 }
        }
    };
    let before = resident(proxy.process_id());
    let began = Instant::now();
    let coming = (0..CROWD).map(|number| tokio::spawn(attach(port, number, start.clone())));
    let mut streams = Vec::new();
    for stream in coming.collect::<Vec<_>>() {
        streams.push(stream.await.expect("no panic").unwrap_or_else(|| panic!("not let in\n{}", proxy.log())));
    }
    eprintln!("{CROWD} replicas attached after {:?}", began.elapsed());
    loop {
        let threads = dump_threads(&source).await;
        let status = status_at(admin);
        let live = status.replicas.iter().filter(|replica| replica.feed == "live").count();
        if threads == 1 && live == CROWD as usize {
            break;
        }
        assert!(began.elapsed() < LIMIT * 3, "{threads} dump threads, {live} on the tail\n{}", proxy.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    eprintln!("one dump thread after {:?}", began.elapsed());
    // Heartbeats of 2 seconds, on a machine that does other things too.
    let listening = streams.into_iter().map(|mut stream| {
        tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            let mut beats = 0;
            let mut last = Instant::now();
            while beats < 4 {
                let event = stream.next().await.expect("the stream goes on").expect("the stream goes on");
                beats += u32::from(EventType(event[4]) == EventType::HEARTBEAT);
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            (stream, longest)
        })
    });
    let mut longest = Duration::ZERO;
    let mut streams = Vec::new();
    for listening in listening.collect::<Vec<_>>() {
        let (stream, silence) = listening.await.expect("the stream goes on");
        longest = longest.max(silence);
        streams.push(stream);
    }
    let after = resident(proxy.process_id());
    eprintln!("longest silence {longest:?}; {before} KiB before, {after} KiB with {CROWD} replicas");
    // The clients share this process and the machine with other tests: this is far from what a replica would give up at.
    assert!(longest < Duration::from_secs(30), "heartbeats come in time: {longest:?}");
    assert!(after < CROWD_MEMORY_KIB, "{after} KiB");
    drop(streams);
}

#[tokio::test]
async fn a_thousand_idle_replicas_by_file_and_position_are_one_dump_thread_and_little_memory() {
    crowd(Mode::FilePosition).await;
}

#[tokio::test]
async fn a_thousand_idle_replicas_by_auto_position_are_one_dump_thread_and_little_memory() {
    crowd(Mode::AutoPosition).await;
}
