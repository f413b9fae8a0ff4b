//! The source's `binlog_checksum` is changed while it works, with a replica attached and with one that comes back later, into a
//! file that was written under the other setting than the server has now.

use crate::support::fleet::Version;
use crate::support::pair::{Kind, Mode, Pair, Route};
use crate::support::unless_available;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Transactions over selected and excluded tables, and DDL.
fn work(step: u32) -> String {
    format!(
        "USE storefront;
         BEGIN; INSERT INTO work VALUES ({step}, REPEAT('w', 300)); INSERT INTO audit_work VALUES ({step}, 'a'); COMMIT;
         INSERT INTO audit_work VALUES ({step}, REPEAT('b', 2000));
         CREATE TABLE extra_{step} (n INT NOT NULL PRIMARY KEY); INSERT INTO extra_{step} VALUES ({step});
         UPDATE work, audit_work SET work.v = CONCAT(work.v, {step}), audit_work.v = 'c' WHERE work.id = audit_work.id;
         DELETE FROM audit_work;\n"
    )
}

async fn changed_at_runtime(version: Version, mode: Mode, route: Route) {
    let kind = Kind { version, mode, route, tls: version == Version::Mysql97 };
    let Some(mut pair) = unless_available(Pair::start(kind).await) else { return };
    let schema = "CREATE DATABASE storefront CHARACTER SET utf8mb4; USE storefront;
        CREATE TABLE marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE work (id INT NOT NULL PRIMARY KEY, v TEXT);
        CREATE TABLE audit_work (id INT NOT NULL, v TEXT);";
    pair.source.script(schema).await;
    pair.catch_up(LIMIT).await;
    for (step, checksum) in (1..).zip(["NONE", "CRC32", "NONE"]) {
        pair.source.script(&format!("SET GLOBAL binlog_checksum = {checksum}; {}", work(step))).await;
        pair.catch_up(LIMIT).await;
    }
    // The replica goes on in a file without checksums at a source that has them now, and the other way round.
    for (step, checksum) in (10..).zip(["CRC32", "NONE", "CRC32"]) {
        pair.replica.stop_replica().await;
        pair.source
            .script(&format!("{} SET GLOBAL binlog_checksum = {checksum}; {}", work(step * 2), work(step * 2 + 1)))
            .await;
        pair.replica.start_replica().await;
        pair.catch_up(LIMIT).await;
    }
    let status = pair.replica.replica_status().await;
    assert!(status.runs(), "{kind:?}:\n{}", status.summary());
    pair.assert_equal().await;
    assert!(pair.proxy.terminate().success(), "SIGTERM ends the proxy cleanly:\n{}", pair.proxy.log());
}

#[tokio::test]
async fn mysql_57_file_and_position() {
    changed_at_runtime(Version::Mysql57, Mode::FilePosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_57_file_and_position_in_served_coordinates() {
    changed_at_runtime(Version::Mysql57, Mode::FilePosition, Route::Growing).await;
}

#[tokio::test]
async fn mysql_57_auto_position() {
    changed_at_runtime(Version::Mysql57, Mode::AutoPosition, Route::Filtered).await;
}

#[tokio::test]
async fn mariadb_1011_file_and_position() {
    changed_at_runtime(Version::Mariadb1011, Mode::FilePosition, Route::Filtered).await;
}

#[tokio::test]
async fn mariadb_1011_gtid() {
    changed_at_runtime(Version::Mariadb1011, Mode::MariadbGtid, Route::Renamed).await;
}
