//! Semi-synchronous replication through the proxy: a commit at the source waits for a replica behind the proxy, not for the proxy.
//!
//! The fleet's packages of MySQL 5.6 and 5.7 do not contain the plugins; their replicas differ in the spelling of the question only, see
//! `tests/replica/semi_sync.rs`.

use super::status_at;
use crate::support::fleet::Version;
use crate::support::link::Link;
use crate::support::pair::Mode;
use crate::support::process::free_port;
use crate::support::proxy::{Proxy, storefront};
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;
use replproxy::status::Status;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

/// For what takes a second on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Longer than any wait that is not to end by it (milliseconds).
const NEVER: u32 = 10 * 60 * 1000;

/// The database keeps its name, or gets a longer one, so that positions are served ones. The audit is left out.
const SAME: &str = "";
const LONGER: &str = "rename = \"storefront_of_china\"";

struct Stage {
    version: Version,
    source: Server,
    replicas: Vec<Server>,
    proxy: Proxy,
    admin: u16,
    link: Link,
    database: &'static str,
    rows: u32,
}

impl Stage {
    /// A source that could be semi-synchronous and is not yet, a semi-synchronous replica, and a `second` one that is asynchronous.
    async fn start(version: Version, mode: Mode, rename: &'static str, second: bool) -> Option<Stage> {
        let options = |role: &str, enabled: bool| {
            let options = match mode {
                Mode::AutoPosition => ServerOptions::new().gtid(version),
                // Without GTIDs nothing goes out for a transaction of which nothing is selected.
                _ if version == Version::Mysql97 => ServerOptions::new().arg("--gtid-mode=OFF"),
                _ => ServerOptions::new(),
            };
            match (version.is_mariadb(), role) {
                (true, "source") => options.arg("--rpl-semi-sync-master-enabled=0"),
                (true, _) => options.arg(format!("--rpl-semi-sync-slave-enabled={}", u8::from(enabled))),
                (false, _) => options
                    .arg(format!("--plugin-load-add=semisync_{role}.so"))
                    .arg(format!("--loose-rpl-semi-sync-replica-enabled={}", u8::from(enabled))),
            }
        };
        let mut wanted = vec![(version, options("source", false)), (version, options("replica", true))];
        if second {
            wanted.push((version, options("replica", false)));
        }
        let mut servers = unless_available(Server::start_many(wanted).await)?;
        let replicas = servers.split_off(1);
        let source = servers.remove(0);
        let (port, admin, link) = (free_port(), free_port(), Link::listen().await);
        link.lead_to(source.port());
        let proxy = Proxy::start(&storefront(link.port(), port, admin, rename), &[port, admin]).await;
        source
            .script(
                "CREATE DATABASE storefront CHARACTER SET utf8mb4; USE storefront;
                 CREATE TABLE work (id INT NOT NULL PRIMARY KEY, v INT); CREATE TABLE audit_work (id INT NOT NULL PRIMARY KEY)",
            )
            .await;
        let database = if rename == SAME { "storefront" } else { "storefront_of_china" };
        for replica in &replicas {
            replica
                .script(&format!(
                    "SET sql_log_bin = 0; CREATE DATABASE {database} CHARACTER SET utf8mb4; USE {database};
                     CREATE TABLE work (id INT NOT NULL PRIMARY KEY, v INT)"
                ))
                .await;
            let start = match mode {
                Mode::AutoPosition => {
                    let executed = source.value("SELECT @@GLOBAL.gtid_executed").await;
                    replica.script(&format!("SET GLOBAL gtid_purged = '{}'", executed.replace("\\n", ""))).await;
                    Start::AutoPosition
                }
                mode => Start::at_the_end_of(&source, mode).await,
            };
            replica.follow(&Upstream::at(port), &start).await;
            replica.start_replica().await;
        }
        let mut stage = Stage { version, source, replicas, proxy, admin, link, database, rows: 0 };
        stage.set("timeout", NEVER).await;
        stage.catch_up().await;
        Some(stage)
    }

    fn name(&self, name: &str) -> String {
        format!("rpl_semi_sync_{}_{name}", if self.version.is_mariadb() { "master" } else { "source" })
    }

    async fn set(&self, name: &str, value: u32) {
        self.source.script(&format!("SET GLOBAL {} = {value}", self.name(name))).await;
    }

    async fn counters(&self) -> BTreeMap<String, String> {
        let prefix = self.name("");
        let rows = self.source.script("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_%'").await;
        rows.into_iter()
            .filter_map(|row| match &row[..] {
                [name, value] => Some((name.to_lowercase().strip_prefix(&prefix)?.to_owned(), value.clone())),
                _ => None,
            })
            .collect()
    }

    /// Transactions that were acknowledged, and those that were not.
    async fn transactions(&self) -> (u32, u32) {
        let counters = self.counters().await;
        (counters["yes_tx"].parse().expect("a number"), counters["no_tx"].parse().expect("a number"))
    }

    /// Waits until the source counts what is expected.
    async fn source_has(&self, expected: &[(&str, &str)]) {
        let end = Instant::now() + LIMIT;
        loop {
            let counters = self.counters().await;
            if expected.iter().all(|(name, value)| counters.get(*name).is_some_and(|found| found == value)) {
                return;
            }
            assert!(Instant::now() < end, "not {expected:?} but {counters:?}\n{}", self.evidence().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn evidence(&self) -> String {
        let threads = self.source.script("SHOW PROCESSLIST").await;
        format!("{:?}\n{threads:?}\n{}", self.counters().await, self.proxy.log())
    }

    fn status(&self) -> Status {
        status_at(self.admin)
    }

    async fn status_has(&self, what: &str, holds: impl Fn(&Status) -> bool) {
        let end = Instant::now() + LIMIT;
        loop {
            let status = self.status();
            if holds(&status) {
                return;
            }
            assert!(Instant::now() < end, "{what}: {status:?}\n{}", self.evidence().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn insert(&mut self) -> String {
        self.rows += 1;
        format!("INSERT INTO storefront.work VALUES ({}, 1)", self.rows)
    }

    /// One commit at the source, which must return, and be acknowledged if `acknowledged`.
    async fn commit(&mut self, statement: &str, acknowledged: bool) {
        let before = self.transactions().await;
        let committed = tokio::time::timeout(LIMIT, self.source.script(statement)).await;
        assert!(committed.is_ok(), "{statement} waits\n{}", self.evidence().await);
        let expected = if acknowledged { (before.0 + 1, before.1) } else { (before.0, before.1 + 1) };
        assert_eq!(self.transactions().await, expected, "{statement}\n{}", self.evidence().await);
    }

    /// Commits while `hindered` is stopped: the commit does not return before that is over.
    async fn commit_waits_for(&mut self, hindered: impl Fn(&Stage, &str)) {
        let (before, statement) = (self.transactions().await, self.insert());
        hindered(self, "STOP");
        {
            let mut commit = pin!(self.source.script(&statement));
            let still_waits = async {
                self.source_has(&[("wait_sessions", "1")]).await;
                // It would return at once if anything but the replica could acknowledge.
                tokio::time::sleep(Duration::from_millis(700)).await;
            };
            tokio::select! {
                biased;
                _ = &mut commit => panic!("the commit returned, and no replica can have acknowledged it\n{}", self.evidence().await),
                () = still_waits => {}
            }
            hindered(self, "CONT");
            let committed = tokio::time::timeout(LIMIT, commit).await;
            assert!(committed.is_ok(), "still waits\n{}", self.evidence().await);
        }
        assert_eq!(self.transactions().await, (before.0 + 1, before.1));
    }

    async fn catch_up(&mut self) {
        let insert = self.insert();
        self.source.script(&insert).await;
        for replica in &self.replicas {
            let count = format!("SELECT COUNT(*) FROM {}.work", self.database);
            let reached = replica.reaches(&count, &self.rows.to_string(), LIMIT).await;
            assert!(reached.is_ok(), "{}\n{}", reached.unwrap_err(), self.evidence().await);
        }
    }
}

async fn commits_wait_for_the_replica(version: Version, mode: Mode, rename: &'static str) {
    let Some(mut stage) = Stage::start(version, mode, rename, false).await else { return };
    // The replica attached while it was off.
    stage.set("enabled", 1).await;
    stage.source_has(&[("status", "ON"), ("clients", "1")]).await;
    let insert = stage.insert();
    stage.commit(&insert, true).await;
    // Nothing is left of this one but what it counts.
    stage.commit("INSERT INTO storefront.audit_work VALUES (1)", true).await;
    stage.commit_waits_for(|stage, signal| stage.replicas[0].signal(signal)).await;

    stage.set("timeout", 1500).await;
    stage.proxy.kill();
    let (began, insert) = (Instant::now(), stage.insert());
    stage.commit(&insert, false).await;
    assert!(began.elapsed() >= Duration::from_millis(1400), "{:?}", began.elapsed());
    stage.source_has(&[("status", "OFF")]).await;
    stage.set("timeout", NEVER).await;
    stage.proxy.start_again().await;
    stage.source_has(&[("status", "ON"), ("clients", "1")]).await;
    let insert = stage.insert();
    stage.commit(&insert, true).await;
    stage.catch_up().await;
    assert!(!stage.proxy.log().contains("panicked"), "{}", stage.proxy.log());
}

#[tokio::test]
async fn a_commit_at_mysql_97_waits_for_the_replica_by_gtid() {
    commits_wait_for_the_replica(Version::Mysql97, Mode::AutoPosition, SAME).await;
}

#[tokio::test]
async fn a_commit_at_mysql_97_waits_for_the_replica_in_served_coordinates() {
    commits_wait_for_the_replica(Version::Mysql97, Mode::FilePosition, LONGER).await;
}

#[tokio::test]
async fn a_commit_at_mariadb_waits_for_the_replica_by_gtid() {
    commits_wait_for_the_replica(Version::Mariadb1011, Mode::MariadbGtid, SAME).await;
}

#[tokio::test]
async fn the_first_of_two_replicas_is_enough_and_asynchronous_ones_do_not_count() {
    let started = Stage::start(Version::Mariadb1011, Mode::FilePosition, SAME, true).await;
    let Some(mut stage) = started else { return };
    stage.set("enabled", 1).await;
    stage.source_has(&[("status", "ON"), ("clients", "1")]).await;
    let semi_sync = |status: &Status| {
        let mut replicas: Vec<_> = status.replicas.iter().map(|replica| replica.semi_sync.is_some()).collect();
        replicas.sort_unstable();
        (replicas, status.routes[0].semi_sync_connections, status.routes[0].upstream_connections)
    };
    stage.status_has("one of each", |status| semi_sync(status) == (vec![false, true], 1, 2)).await;
    stage.replicas[1].signal("STOP");
    let insert = stage.insert();
    stage.commit(&insert, true).await;
    stage.replicas[1].signal("CONT");
    stage.commit_waits_for(|stage, signal| stage.replicas[0].signal(signal)).await;

    stage.replicas[1].script("SET GLOBAL rpl_semi_sync_slave_enabled = 1").await;
    stage.replicas[1].stop_replica().await;
    stage.replicas[1].start_replica().await;
    stage.status_has("both on one tail", |status| semi_sync(status) == (vec![true, true], 1, 1)).await;
    assert_eq!(stage.status().sources[0].semi_sync.as_deref(), Some("on"));
    for stopped in [0, 1] {
        stage.replicas[stopped].signal("STOP");
        let insert = stage.insert();
        stage.commit(&insert, true).await;
        stage.replicas[stopped].signal("CONT");
    }

    // The source is lost: what was sent is confirmed, then the stream goes on, and the replicas notice no more than a pause.
    let attached = |status: &Status| status.replicas.iter().map(|replica| replica.peer.clone()).collect::<Vec<_>>();
    let before = attached(&stage.status());
    stage.link.cut();
    let insert = stage.insert();
    stage.commit(&insert, true).await;
    stage.catch_up().await;
    assert_eq!(attached(&stage.status()), before, "{}", stage.proxy.log());
    assert!(!stage.proxy.log().contains("panicked"), "{}", stage.proxy.log());
}
