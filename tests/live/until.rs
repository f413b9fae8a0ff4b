//! START SLAVE UNTIL ends where it says, through routes that filter and rename, also at a transaction that came out empty.

use crate::support::compare::quote;
use crate::support::fleet::Version;
use crate::support::pair::{Kind, Mode, Pair, Route};
use crate::support::unless_available;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// The place of the source, or of the replica in served coordinates, in the words of UNTIL.
async fn place(pair: &Pair) -> String {
    match (pair.kind.mode, pair.kind.route) {
        (Mode::FilePosition, Route::Growing) => {
            let status = pair.replica.replica_status().await;
            let (file, position) = (status.get("Relay_Master_Log_File"), status.get("Exec_Master_Log_Pos"));
            format!("MASTER_LOG_FILE='{file}', MASTER_LOG_POS={position}")
        }
        (Mode::FilePosition, _) => {
            let (file, position) = pair.source.binlog_end().await;
            format!("MASTER_LOG_FILE='{file}', MASTER_LOG_POS={position}")
        }
        (Mode::MariadbGtid, _) => format!("master_gtid_pos='{}'", pair.source.value("SELECT @@gtid_binlog_pos").await),
        (Mode::AutoPosition, _) => {
            let executed = pair.source.value("SELECT @@GLOBAL.gtid_executed").await;
            let (uuid, numbers) = executed.split_once(':').expect("one source");
            format!("SQL_AFTER_GTIDS='{uuid}:{}'", numbers.rsplit('-').next().expect("a range"))
        }
    }
}

/// Starts the replica with the condition and waits until its applier has ended by it; the rows that are there then.
async fn stops_at(pair: &Pair, until: &str) -> String {
    let word = if pair.kind.version == Version::Mysql97 { "REPLICA" } else { "SLAVE" };
    pair.replica.script(&format!("START {word} UNTIL {until}")).await;
    let limit = Instant::now() + LIMIT;
    loop {
        let status = pair.replica.replica_status().await;
        if status.get("Slave_SQL_Running") == "No" {
            assert!(status.get("Last_SQL_Error").is_empty(), "{until}:\n{}", status.summary());
            break;
        }
        assert!(Instant::now() < limit, "{until} does not end:\n{}", status.summary());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rows = format!("SELECT GROUP_CONCAT(n ORDER BY n) FROM {}.marker", quote(pair.storefront()));
    let rows = pair.replica.value(&rows).await;
    pair.replica.stop_replica().await;
    rows
}

async fn ends_where_it_says(version: Version, mode: Mode, route: Route) {
    let kind = Kind { version, mode, route, tls: version == Version::Mysql97 };
    let Some(mut pair) = unless_available(Pair::start(kind).await) else { return };
    let schema = "CREATE DATABASE storefront CHARACTER SET utf8mb4; USE storefront;
        CREATE TABLE marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE audit_work (id INT NOT NULL, v TEXT);";
    pair.source.script(schema).await;
    pair.catch_up(LIMIT).await;
    let insert =
        async |row: u32| drop(pair.source.script(&format!("INSERT INTO storefront.marker VALUES ({row})")).await);
    let filtered =
        async || drop(pair.source.script("INSERT INTO storefront.audit_work VALUES (1, REPEAT('a', 999))").await);
    if route == Route::Growing {
        // Places in served coordinates are known where they have been reached: they are reached once, and then again.
        let begin = pair.replica.replica_status().await;
        let mut places = Vec::new();
        for row in [11, 12] {
            insert(row).await;
            let reached = pair
                .replica
                .reaches(&format!("SELECT MAX(n) FROM {}.marker", quote(pair.storefront())), &row.to_string(), LIMIT)
                .await;
            reached.unwrap_or_else(|error| panic!("{error}"));
            places.push(place(&pair).await);
            filtered().await;
        }
        pair.replica.stop_replica().await;
        let storefront = quote(pair.storefront());
        pair.replica.script(&format!("SET sql_log_bin = 0; DELETE FROM {storefront}.marker WHERE n > 10")).await;
        let (file, position) = (begin.get("Relay_Master_Log_File"), begin.get("Exec_Master_Log_Pos"));
        pair.replica.script(&format!("CHANGE MASTER TO MASTER_LOG_FILE='{file}', MASTER_LOG_POS={position}")).await;
        assert_eq!(stops_at(&pair, &places[0]).await, "1,11", "{}", places[0]);
        assert_eq!(stops_at(&pair, &places[1]).await, "1,11,12", "{}", places[1]);
    } else {
        pair.replica.stop_replica().await;
        insert(11).await;
        let renamed = place(&pair).await;
        insert(12).await;
        filtered().await;
        let empty = place(&pair).await;
        insert(13).await;
        let before = place(&pair).await;
        insert(14).await;
        assert_eq!(stops_at(&pair, &renamed).await, "1,11", "{renamed}");
        assert_eq!(stops_at(&pair, &empty).await, "1,11,12", "{empty}");
        if mode == Mode::AutoPosition {
            let before = before.replace("AFTER", "BEFORE");
            assert_eq!(stops_at(&pair, &before).await, "1,11,12", "{before}");
        } else {
            assert_eq!(stops_at(&pair, &before).await, "1,11,12,13", "{before}");
        }
    }
    pair.replica.start_replica().await;
    // The marker of the pair is a row of its own.
    let all = format!("SELECT COUNT(*) FROM {}.marker", quote(pair.storefront()));
    let expected = pair.source.value("SELECT COUNT(*) FROM storefront.marker").await;
    pair.replica.reaches(&all, &expected, LIMIT).await.unwrap_or_else(|error| panic!("{error}"));
    pair.assert_equal().await;
    assert!(pair.proxy.runs() && !pair.proxy.log().contains("panicked"), "{}", pair.proxy.log());
}

#[tokio::test]
async fn mysql_56_file_and_position_filtered() {
    ends_where_it_says(Version::Mysql56, Mode::FilePosition, Route::Filtered).await;
}

#[tokio::test]
async fn mysql_57_file_and_position_renamed() {
    ends_where_it_says(Version::Mysql57, Mode::FilePosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_57_served_coordinates() {
    ends_where_it_says(Version::Mysql57, Mode::FilePosition, Route::Growing).await;
}

#[tokio::test]
async fn mysql_57_gtids_renamed() {
    ends_where_it_says(Version::Mysql57, Mode::AutoPosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_97_gtids_filtered() {
    ends_where_it_says(Version::Mysql97, Mode::AutoPosition, Route::Filtered).await;
}

#[tokio::test]
async fn mariadb_1011_file_and_position_filtered() {
    ends_where_it_says(Version::Mariadb1011, Mode::FilePosition, Route::Filtered).await;
}

#[tokio::test]
async fn mariadb_1011_gtid_renamed() {
    ends_where_it_says(Version::Mariadb1011, Mode::MariadbGtid, Route::Renamed).await;
}

#[tokio::test]
async fn mariadb_1011_gtid_filtered() {
    ends_where_it_says(Version::Mariadb1011, Mode::MariadbGtid, Route::Filtered).await;
}
