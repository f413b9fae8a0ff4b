//! One live tail for many replicas: one dump thread at the source, whatever happens to the source or to one of them.

use crate::support::compare::{Mapping, differences};
use crate::support::fleet::Version;
use crate::support::link::Link;
use crate::support::pair::Mode;
use crate::support::process::free_port;
use crate::support::proxy::Proxy;
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;
use replproxy::status::{Status, fetch};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

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
        let proxy = Proxy::start(&configuration(source.port(), port, admin), &[port, admin]).await;
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
        fetch(&format!("http://127.0.0.1:{}", self.admin)).expect("the proxy answers")
    }

    /// Waits until the source has one dump thread, and both replicas are on the live tail.
    async fn one_dump_thread(&self) {
        let end = Instant::now() + Duration::from_secs(20);
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

fn configuration(source: u16, port: u16, admin: u16) -> String {
    format!(
        r#"
        [proxy]
        server_id = 4000001
        admin = "127.0.0.1:{admin}"
        [sources.primary]
        host = "127.0.0.1"
        port = {source}
        user = "repl"
        password = "secret"
        tls = "disabled"
        [routes.shop]
        source = "primary"
        listen = "127.0.0.1:{port}"
        user = "repl"
        password = "secret"
        [[routes.shop.objects]]
        database = "storefront"
        rename = "shop_cn"
        [[routes.shop.objects]]
        exclude = "storefront.audit_*"
        "#
    )
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
            assert!(began.elapsed() < Duration::from_secs(10), "the other replica waits for the stuck one");
        }
    }
    stage.link.heal();
    stage.catch_up().await;
    stage.one_dump_thread().await;
    stage.assert_equal().await;
    let log = stage.proxy.log();
    assert!(log.contains("too slow for the live tail"), "{log}");
}
