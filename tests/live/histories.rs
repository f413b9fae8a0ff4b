//! The differential test: a random history of DDL and DML, in row, statement and mixed format, runs at the source, and the
//! destination behind the proxy has the schema and the data that the selection predicts.
//!
//! `REPLPROXY_HISTORY_SEEDS=1-100 cargo test --test main live::histories` runs many; a failure names its seed and the file that holds
//! what ran.

use std::time::Duration;

use crate::support::compare::{Mapping, differences, quote};
use crate::support::fleet::Version;
use crate::support::history::History;
use crate::support::pair::{Kind, Mode, Pair, Route};
use crate::support::random::seeds;
use crate::support::unless_available;

const LIMIT: Duration = Duration::from_secs(90);

/// Sessions of one history.
const SESSIONS: usize = 10;

/// Triggers fire at the replica where the source logs text, so the route lets them through.
const DDL: &str = "[routes.pair.ddl]\nallow = [\"create_trigger\", \"drop_trigger\"]\n";

async fn arrives(version: Version, mode: Mode, route: Route) {
    let kind = Kind { version, mode, route, tls: version == Version::Mysql97 };
    let Some(mut pair) = unless_available(Pair::start_under(kind, DDL).await) else { return };
    let folder = tempfile::Builder::new().prefix("history-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.expect("the folder can be written");
    for seed in seeds("REPLPROXY_HISTORY_SEEDS", "1") {
        eprintln!("{kind:?}: REPLPROXY_HISTORY_SEEDS={seed}");
        let kept = folder.path().with_file_name(format!("history-{version:?}-{mode:?}-{route:?}-{seed}.sql"));
        let place = format!("seed {seed}, {kind:?}, {}", kept.display());
        let mut history = History::new(seed, version, mode == Mode::AutoPosition, folder.path());
        let mut said = String::new();
        for number in 0..=SESSIONS {
            let script = if number == 0 { history.beginning() } else { history.session() };
            said += &format!("-- session {number}\n{script}");
            std::fs::write(&kept, &said).expect("the folder can be written");
            let beside = if number == 0 { String::new() } else { history.bystander() };
            let (one, other) = tokio::join!(pair.source.try_script(&script), pair.source.try_script(&beside));
            if let Err(error) = one.and(other) {
                panic!("{place}: the source refuses its history: {error}");
            }
        }
        pair.catch_up(LIMIT).await;
        let status = pair.replica.replica_status().await;
        assert!(status.runs(), "{place}:\n{}", status.summary());
        let mapping = Mapping { triggers: true, ..route.mapping(mode) };
        let findings = differences(&pair.source, &pair.replica, &mapping).await;
        assert!(findings.is_empty(), "{place}:\n{}", findings.join("\n"));
        if mode == Mode::FilePosition && route == Route::Renamed {
            at_the_source_s_end(&mut pair, &place).await;
        }
        if mode == Mode::AutoPosition {
            let executed = pair.source.value("SELECT @@GLOBAL.gtid_executed").await;
            let applied = pair.replica.value("SELECT @@GLOBAL.gtid_executed").await;
            assert_eq!(applied, executed, "{place}: no holes");
        }
        clear(&pair).await;
        let _ = std::fs::remove_file(&kept);
    }
    assert!(!pair.proxy.log().contains("panicked"), "{kind:?}:\n{}", pair.proxy.log());
}

/// The replica's position is the source's own. A row is there before the position behind it is, and a source drops the temporary tables
/// of a session after its end: then another transaction tells.
async fn at_the_source_s_end(pair: &mut Pair, place: &str) {
    let (mut applied, mut end) = (String::new(), String::new());
    for _ in 0..20 {
        let status = pair.replica.replica_status().await;
        applied = format!("{}:{}", status.get("Relay_Master_Log_File"), status.get("Exec_Master_Log_Pos"));
        let (file, position) = pair.source.binlog_end().await;
        end = format!("{file}:{position}");
        if applied == end {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        pair.catch_up(LIMIT).await;
    }
    assert_eq!(applied, end, "{place}: the source's own position");
}

/// Makes room for the next history: DROP DATABASE goes to no replica.
async fn clear(pair: &Pair) {
    pair.source.script("DROP DATABASE storefront; DROP DATABASE crm_main; DROP DATABASE hr").await;
    let mapping = pair.kind.route.mapping(pair.kind.mode);
    let databases = [&mapping.databases[0].1, &mapping.tables[0][2]].map(|name| quote(name));
    let script =
        databases.map(|name| format!("DROP DATABASE {name}; CREATE DATABASE {name} CHARACTER SET utf8mb4;")).concat();
    pair.replica.script(&format!("SET sql_log_bin = 0; SET foreign_key_checks = 0; {script}")).await;
}

#[tokio::test]
async fn mysql_56_file_and_position() {
    arrives(Version::Mysql56, Mode::FilePosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_57_file_and_position() {
    arrives(Version::Mysql57, Mode::FilePosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_57_file_and_position_with_longer_names() {
    arrives(Version::Mysql57, Mode::FilePosition, Route::Growing).await;
}

#[tokio::test]
async fn mysql_57_auto_position() {
    arrives(Version::Mysql57, Mode::AutoPosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_97_auto_position() {
    arrives(Version::Mysql97, Mode::AutoPosition, Route::Renamed).await;
}

#[tokio::test]
async fn mariadb_1011_file_and_position_with_longer_names() {
    arrives(Version::Mariadb1011, Mode::FilePosition, Route::Growing).await;
}

#[tokio::test]
async fn mariadb_1011_gtid() {
    arrives(Version::Mariadb1011, Mode::MariadbGtid, Route::Renamed).await;
}
