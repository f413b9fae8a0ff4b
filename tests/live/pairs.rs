//! The main job on real servers: a source, the proxy and a replica of one version each, the whole workload, and then
//! every object of both sides compared.

use super::raw;
use crate::support::compare::differences;
use crate::support::fleet::Version;
use crate::support::pair::{Kind, Mode, Pair, Route};
use crate::support::{unless_available, workload};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

async fn workload_arrives(version: Version, mode: Mode, route: Route) {
    // 9.7 insists on TLS for its logins; 5.6's own library does not speak a version of TLS that is still safe.
    let kind = Kind { version, mode, route, tls: version == Version::Mysql97 };
    let Some(mut pair) = unless_available(Pair::start(kind).await) else { return };
    let sessions = workload::sessions(&pair.words());
    for session in &sessions {
        match session.name.as_str() {
            // Files end in the middle of the work, the replica turns away, and the proxy dies.
            "12_transactions" | "42_row_images" => drop(pair.source.script("FLUSH LOGS").await),
            "24_types_new" => {
                pair.catch_up(LIMIT).await;
                pair.replica.stop_replica().await;
            }
            "30_ddl_tables" => pair.replica.start_replica().await,
            "40_large" => pair.proxy.kill_and_restart().await,
            _ => {}
        }
        workload::run(&pair.source, std::slice::from_ref(session)).await;
    }
    pair.catch_up(LIMIT).await;
    let status = pair.replica.replica_status().await;
    assert!(status.runs(), "{kind:?}:\n{}", status.summary());
    let findings = differences(&pair.source, &pair.replica, &route.mapping(mode)).await;
    assert!(findings.is_empty(), "{kind:?}:\n{}", findings.join("\n"));
    match mode {
        // The route's own coordinates.
        Mode::FilePosition if route == Route::Growing => {
            assert!(status.get("Master_Log_File").contains(".rp"), "{kind:?}: {}", status.summary());
        }
        Mode::FilePosition => {
            let (file, position) = pair.source.binlog_end().await;
            let read = format!("{}:{}", status.get("Master_Log_File"), status.get("Read_Master_Log_Pos"));
            let applied = format!("{}:{}", status.get("Relay_Master_Log_File"), status.get("Exec_Master_Log_Pos"));
            let end = format!("{file}:{position}");
            assert_eq!([read, applied], [end.clone(), end], "{kind:?}: the replica is at the source's own position");
        }
        Mode::AutoPosition => {
            let executed = pair.source.value("SELECT @@GLOBAL.gtid_executed").await;
            assert_eq!(
                pair.replica.value("SELECT @@GLOBAL.gtid_executed").await,
                executed,
                "{kind:?}: every GTID arrives"
            );
        }
        Mode::MariadbGtid => {
            let written = pair.source.value("SELECT @@gtid_binlog_pos").await;
            assert_eq!(pair.replica.value("SELECT @@gtid_slave_pos").await, written, "{kind:?}: every GTID arrives");
        }
    }
    if route == Route::Transparent {
        let direct = raw::fetched_files(&pair.source, pair.source.port(), kind.tls).await;
        let served = raw::fetched_files(&pair.source, pair.port, kind.tls).await;
        raw::assert_same(&direct, &served);
    }
    assert!(pair.proxy.terminate().success(), "SIGTERM ends the proxy cleanly:\n{}", pair.proxy.log());
}

#[tokio::test]
async fn mysql_56_file_and_position_renamed() {
    workload_arrives(Version::Mysql56, Mode::FilePosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_56_file_and_position_transparent() {
    workload_arrives(Version::Mysql56, Mode::FilePosition, Route::Transparent).await;
}

#[tokio::test]
async fn mysql_57_file_and_position_renamed() {
    workload_arrives(Version::Mysql57, Mode::FilePosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_57_file_and_position_transparent() {
    workload_arrives(Version::Mysql57, Mode::FilePosition, Route::Transparent).await;
}

#[tokio::test]
async fn mysql_57_auto_position_renamed() {
    workload_arrives(Version::Mysql57, Mode::AutoPosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_57_file_and_position_with_longer_names() {
    workload_arrives(Version::Mysql57, Mode::FilePosition, Route::Growing).await;
}

#[tokio::test]
async fn mariadb_1011_file_and_position_with_longer_names() {
    workload_arrives(Version::Mariadb1011, Mode::FilePosition, Route::Growing).await;
}

#[tokio::test]
async fn mysql_97_auto_position_renamed() {
    workload_arrives(Version::Mysql97, Mode::AutoPosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_97_auto_position_transparent() {
    workload_arrives(Version::Mysql97, Mode::AutoPosition, Route::Transparent).await;
}

#[tokio::test]
async fn mariadb_1011_file_and_position_renamed() {
    workload_arrives(Version::Mariadb1011, Mode::FilePosition, Route::Renamed).await;
}

#[tokio::test]
async fn mariadb_1011_file_and_position_transparent() {
    workload_arrives(Version::Mariadb1011, Mode::FilePosition, Route::Transparent).await;
}

#[tokio::test]
async fn mariadb_1011_gtid_renamed() {
    workload_arrives(Version::Mariadb1011, Mode::MariadbGtid, Route::Renamed).await;
}
