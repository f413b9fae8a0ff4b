//! Random faults by seed: links cut at any byte, held and slowed, the proxy killed, the source and the replica's threads
//! restarted, the replica moved between two proxies, while the source works. At the end both sides are equal, no GTID is
//! missing, and both proxies serve the same bytes.
//!
//! `REPLPROXY_FAULT_SEEDS=1-200 cargo test --test main live::faults` runs many; a failure names its seed.

use std::time::{Duration, Instant};

use super::raw;
use crate::support::compare::differences;
use crate::support::fleet::Version;
use crate::support::link::Link;
use crate::support::pair::{Kind, Links, Mode, Pair, Route};
use crate::support::proxy::Proxy;
use crate::support::random::{Random, seeds};
use crate::support::unless_available;

const LIMIT: Duration = Duration::from_secs(120);

/// Faults of one schedule.
const FAULTS: u32 = 10;

/// What the source does in one step: transactions over selected and excluded tables, a statement on both, a DDL now and then.
pub(super) fn work(random: &mut Random, step: u64) -> String {
    let mut script = String::from("USE storefront;\n");
    for number in 0..20 + random.below(60) {
        let id = step * 1000 + number;
        script += "BEGIN;\n";
        for part in 0..=random.below(4) {
            let length = [10, 200, 5_000][random.below(3) as usize];
            script += &format!("INSERT INTO work VALUES ({id} * 10 + {part}, REPEAT('{part}', {length}));\n");
            if random.below(2) == 0 {
                script += &format!("INSERT INTO audit_work VALUES ({id}, REPEAT('a', {length}));\n");
            }
        }
        script += "COMMIT;\n";
        match random.below(12) {
            0 => {
                script += &format!(
                    "UPDATE work, audit_work SET work.v = LEFT(work.v, 9), audit_work.v = 'b' WHERE work.id DIV 10 = audit_work.id AND audit_work.id = {id};\n"
                )
            }
            1 => {
                script += &format!(
                    "CREATE TABLE extra_{id} (n INT NOT NULL PRIMARY KEY) ENGINE=InnoDB; INSERT INTO extra_{id} VALUES ({id});\n"
                )
            }
            2 => {
                script +=
                    &format!("CREATE VIEW seen_{id} AS SELECT id FROM work; DROP VIEW IF EXISTS never_seen_{id};\n")
            }
            3 => script += &format!("DELETE FROM work WHERE id DIV 10 = {id};\n"),
            4 => script += "DELETE FROM audit_work;\n",
            _ => {}
        }
    }
    script
}

async fn survives(version: Version, mode: Mode, route: Route) {
    for seed in seeds("REPLPROXY_FAULT_SEEDS", "5") {
        let kind = Kind { version, mode, route, tls: version == Version::Mysql97 };
        eprintln!("{kind:?}: REPLPROXY_FAULT_SEEDS={seed}");
        if !survives_schedule(kind, seed).await {
            return;
        }
    }
}

/// False where the servers are not to be had.
async fn survives_schedule(kind: Kind, seed: u64) -> bool {
    let mut random = Random::new(seed);
    let links = Links { source: Link::listen().await, replica: Link::listen().await };
    let Some(mut pair) = unless_available(Pair::start_through(kind, Some(&links)).await) else { return false };
    let (mut second, second_port) = pair.another_proxy(&links).await;
    let schema = "CREATE DATABASE storefront CHARACTER SET utf8mb4; USE storefront;
        CREATE TABLE marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE work (id INT NOT NULL PRIMARY KEY, v TEXT);
        CREATE TABLE audit_work (id INT NOT NULL, v TEXT);";
    pair.source.script(schema).await;
    pair.catch_up(LIMIT).await;
    let mut on_second = false;
    for step in 1..=u64::from(FAULTS) {
        let script = work(&mut random, step);
        let fault = random.below(9);
        let pause = Duration::from_millis(random.below(400));
        let bytes = random.below(60_000);
        eprintln!("  fault {fault} after {pause:?}, {bytes} bytes");
        let source_dies = fault == 6;
        let began = Instant::now();
        let harm = async {
            tokio::time::sleep(pause).await;
            match fault {
                0 => links.source.cut_after(bytes),
                1 => links.replica.cut_after(bytes),
                2 => {
                    links.source.hold(true);
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    links.source.cut();
                }
                3 => links.replica.throttle(200_000),
                4 => {
                    let proxy: &mut Proxy = if on_second { &mut second } else { &mut pair.proxy };
                    proxy.kill_and_restart().await;
                }
                5 => {
                    pair.replica.stop_replica().await;
                    pair.replica.start_replica().await;
                }
                7 => {
                    on_second = !on_second;
                    links.replica.lead_to(if on_second { second_port } else { pair.port });
                    links.replica.cut();
                }
                _ => links.source.cut(),
            }
        };
        tokio::join!(pair.source.script(&script), harm);
        if source_dies {
            pair.source.kill();
            tokio::time::sleep(pause).await;
            pair.source.restart().await;
            links.source.lead_to(pair.source.port());
        } else if fault == 8 {
            pair.source.script("FLUSH LOGS").await;
        }
        links.source.heal();
        links.replica.heal();
        eprintln!("  healed after {:?}", began.elapsed());
    }
    pair.catch_up(LIMIT).await;
    let status = pair.replica.replica_status().await;
    assert!(status.runs(), "seed {seed}, {kind:?}:\n{}", status.summary());
    let findings = differences(&pair.source, &pair.replica, &kind.route.mapping(kind.mode)).await;
    assert!(findings.is_empty(), "seed {seed}, {kind:?}:\n{}", findings.join("\n"));
    if kind.mode == Mode::AutoPosition {
        let executed = pair.source.value("SELECT @@GLOBAL.gtid_executed").await;
        let applied = pair.replica.value("SELECT @@GLOBAL.gtid_executed").await;
        assert_eq!(applied, executed, "seed {seed}, {kind:?}: no holes");
    }
    // The second proxy has the first one's server ids, of which a MariaDB source bears one at a time.
    pair.replica.stop_replica().await;
    loop {
        // MariaDB writes a checkpoint of its own accord some time after a new file.
        let end = pair.source.binlog_end().await;
        let first = raw::fetched_files(&pair.source, pair.port, kind.tls).await;
        let other = raw::fetched_files(&pair.source, second_port, kind.tls).await;
        if pair.source.binlog_end().await == end {
            raw::assert_same(&first, &other);
            break;
        }
    }
    for proxy in [&pair.proxy, &second] {
        assert!(!proxy.log().contains("panicked"), "seed {seed}, {kind:?}:\n{}", proxy.log());
    }
    true
}

#[tokio::test]
async fn mysql_56_file_and_position_filtered() {
    survives(Version::Mysql56, Mode::FilePosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_57_file_and_position_in_served_coordinates() {
    survives(Version::Mysql57, Mode::FilePosition, Route::Growing).await;
}

#[tokio::test]
async fn mysql_57_auto_position() {
    survives(Version::Mysql57, Mode::AutoPosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_97_auto_position() {
    survives(Version::Mysql97, Mode::AutoPosition, Route::Renamed).await;
}

#[tokio::test]
async fn mariadb_1011_file_and_position_in_served_coordinates() {
    survives(Version::Mariadb1011, Mode::FilePosition, Route::Growing).await;
}

#[tokio::test]
async fn mariadb_1011_gtid() {
    survives(Version::Mariadb1011, Mode::MariadbGtid, Route::Renamed).await;
}
