//! A replica of a filtering route is pointed at the real source, and back, where it has come to itself (`Exec`), again and again
//! while the source works: its place means the same to both.

use super::faults::work;
use crate::support::fleet::Version;
use crate::support::pair::{Kind, Mode, Pair, Route};
use crate::support::random::Random;
use crate::support::replica::Start;
use crate::support::unless_available;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

async fn repointed(version: Version, mode: Mode) {
    let kind = Kind { version, mode, route: Route::Filtered, tls: version == Version::Mysql97 };
    // What the route leaves out the replica leaves out itself while it follows the source.
    let started =
        Pair::start_with(kind, None, |replica| replica.arg("--replicate-wild-ignore-table=storefront.audit\\_%"));
    let Some(mut pair) = unless_available(started.await) else { return };
    let schema = "CREATE DATABASE storefront CHARACTER SET utf8mb4; USE storefront;
        CREATE TABLE marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE work (id INT NOT NULL PRIMARY KEY, v TEXT);
        CREATE TABLE audit_work (id INT NOT NULL, v TEXT);";
    pair.source.script(schema).await;
    pair.catch_up(LIMIT).await;
    let mut random = Random::new(7);
    for step in 1..=6 {
        let script = work(&mut random, step);
        let upstream = kind.upstream(if step % 2 == 1 { pair.source.port() } else { pair.port });
        let turn = async {
            tokio::time::sleep(Duration::from_millis(50 + 40 * step)).await;
            pair.replica.stop_replica().await;
            let status = pair.replica.replica_status().await;
            let start = match mode {
                Mode::FilePosition => {
                    let position = status.get("Exec_Master_Log_Pos").parse().expect("a position is a number");
                    Start::At(status.get("Relay_Master_Log_File").to_owned(), position)
                }
                Mode::AutoPosition => Start::AutoPosition,
                Mode::MariadbGtid => Start::MariadbGtid(pair.replica.value("SELECT @@gtid_slave_pos").await),
            };
            pair.replica.follow(&upstream, &start).await;
            pair.replica.start_replica().await;
        };
        tokio::join!(pair.source.script(&script), turn);
        // Sometimes it turns again before it has everything.
        if step % 3 == 0 {
            pair.catch_up(LIMIT).await;
        }
    }
    pair.catch_up(LIMIT).await;
    let status = pair.replica.replica_status().await;
    assert!(status.runs(), "{kind:?}:\n{}", status.summary());
    pair.assert_equal().await;
}

#[tokio::test]
async fn mysql_56_file_and_position() {
    repointed(Version::Mysql56, Mode::FilePosition).await;
}

#[tokio::test]
async fn mysql_57_file_and_position() {
    repointed(Version::Mysql57, Mode::FilePosition).await;
}

#[tokio::test]
async fn mysql_97_auto_position() {
    repointed(Version::Mysql97, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mariadb_1011_file_and_position() {
    repointed(Version::Mariadb1011, Mode::FilePosition).await;
}

#[tokio::test]
async fn mariadb_1011_gtid() {
    repointed(Version::Mariadb1011, Mode::MariadbGtid).await;
}
