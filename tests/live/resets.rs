//! The source's files change under the feet of a replica: flushed, the server restarted, purged, reset. What can go on goes on;
//! what cannot stops the replica with the source's own words, and nothing old is served under a name that is used anew.

use crate::support::fleet::Version;
use crate::support::pair::{Kind, Mode, Pair, Route};
use crate::support::replica::Start;
use crate::support::unless_available;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

const SCHEMA: &str = "CREATE DATABASE storefront CHARACTER SET utf8mb4; USE storefront;
    CREATE TABLE marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE work (id INT NOT NULL PRIMARY KEY, v LONGTEXT);
    CREATE TABLE audit_work (id INT NOT NULL, v LONGTEXT);";

/// Transactions that are large enough for the proxy to remember places between them.
fn work(step: u32) -> String {
    let rows = (0..4).map(|row| {
        let id = step * 10 + row;
        format!(
            "BEGIN; INSERT INTO work VALUES ({id}, REPEAT(CHAR(65 + {step} % 26), 700000)); INSERT INTO audit_work VALUES ({id}, REPEAT('a', 400000 + {step})); COMMIT;"
        )
    });
    format!("USE storefront; {}\n", rows.collect::<String>())
}

async fn start(version: Version, mode: Mode, route: Route) -> Option<Pair> {
    let kind = Kind { version, mode, route, tls: version == Version::Mysql97 };
    let mut pair = unless_available(Pair::start(kind).await)?;
    pair.source.script(SCHEMA).await;
    pair.catch_up(LIMIT).await;
    Some(pair)
}

fn reset(version: Version) -> &'static str {
    if version == Version::Mysql97 { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" }
}

/// The replica, which is stopped, forgets all that it has followed and begins with the first there is.
async fn begin_again(pair: &Pair) {
    let (version, mode) = (pair.kind.version, pair.kind.mode);
    let start = match mode {
        Mode::FilePosition => Start::At("binlog.000001".to_owned(), 4),
        Mode::AutoPosition => Start::AutoPosition,
        Mode::MariadbGtid => Start::MariadbGtid(String::new()),
    };
    if mode == Mode::AutoPosition {
        let replica = if version == Version::Mysql97 { "REPLICA" } else { "SLAVE" };
        pair.replica.script(&format!("RESET {replica}; {}", reset(version))).await;
    }
    pair.replica.follow(&pair.kind.upstream(pair.port), &start).await;
    pair.replica.start_replica().await;
}

async fn flushed_restarted_and_reset(version: Version, mode: Mode, route: Route) {
    let Some(mut pair) = start(version, mode, route).await else { return };
    pair.source.script(&work(1)).await;
    pair.source.script("FLUSH LOGS; FLUSH LOGS").await;
    pair.source.script(&work(2)).await;
    pair.catch_up(LIMIT).await;
    // A clean end writes a STOP event, and the next start a new file.
    pair.source.restart().await;
    pair.source.script(&work(3)).await;
    pair.catch_up(LIMIT).await;
    let status = pair.replica.replica_status().await;
    assert!(status.runs() && status.get("Last_IO_Error").is_empty(), "{}", status.summary());

    // Away go the files; the replica has all that was in them and is told that the source's files are not what they were.
    pair.source.script(reset(version)).await;
    pair.source.script(&work(4)).await;
    let error = pair.replica.io_error("1236", LIMIT).await;
    assert!(error.contains("RPX-2006") && error.contains("could not find next log"), "{error}");
    // Only starting it again does not help, and does no harm either.
    pair.replica.stop_replica().await;
    pair.replica.start_replica().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let expected = pair.replica.value(&format!("SELECT COUNT(*) FROM {}.work", quoted(&pair))).await;
    assert_eq!(expected, "12", "nothing of the new files is taken for a continuation of the old ones");
    pair.replica.stop_replica().await;

    // What the operator does: begin with the new first file.
    begin_again(&pair).await;
    pair.source.script(&work(5)).await;
    pair.catch_up(LIMIT).await;
    // Deep in the new file that has the old one's name, from where the old one had other groups.
    pair.replica.stop_replica().await;
    pair.source.script(&work(6)).await;
    pair.replica.start_replica().await;
    pair.catch_up(LIMIT).await;
    pair.assert_equal().await;
    assert!(pair.proxy.terminate().success(), "SIGTERM ends the proxy cleanly:\n{}", pair.proxy.log());
}

fn quoted(pair: &Pair) -> String {
    crate::support::compare::quote(pair.storefront())
}

#[tokio::test]
async fn mysql_57_file_and_position_goes_on_after_restarts_and_stops_at_a_reset() {
    flushed_restarted_and_reset(Version::Mysql57, Mode::FilePosition, Route::Renamed).await;
}

#[tokio::test]
async fn mysql_57_served_coordinates_go_on_after_restarts_and_stop_at_a_reset() {
    flushed_restarted_and_reset(Version::Mysql57, Mode::FilePosition, Route::Growing).await;
}

#[tokio::test]
async fn mysql_97_auto_position_goes_on_after_restarts_and_stops_at_a_reset() {
    flushed_restarted_and_reset(Version::Mysql97, Mode::AutoPosition, Route::Renamed).await;
}

#[tokio::test]
async fn mariadb_1011_file_and_position_goes_on_after_restarts_and_stops_at_a_reset() {
    flushed_restarted_and_reset(Version::Mariadb1011, Mode::FilePosition, Route::Growing).await;
}

#[tokio::test]
async fn mariadb_1011_gtid_goes_on_after_restarts_and_stops_at_a_reset() {
    flushed_restarted_and_reset(Version::Mariadb1011, Mode::MariadbGtid, Route::Renamed).await;
}

/// After a RESET the same positions may mean other events. A replica that was away meanwhile must not go on with them.
#[tokio::test]
async fn mysql_57_does_not_go_on_at_the_same_place_of_another_file_of_the_same_name() {
    let Some(pair) = start(Version::Mysql57, Mode::FilePosition, Route::Transparent).await else { return };
    let newest = format!("SELECT MAX(n) FROM {}.marker", quoted(&pair));
    // Transactions of one size from the start of the first file on.
    let markers = |numbers: std::ops::Range<u32>| {
        numbers.map(|number| format!("INSERT INTO storefront.marker VALUES ({number});")).collect::<String>()
    };
    pair.replica.stop_replica().await;
    pair.source.script("RESET MASTER").await;
    begin_again(&pair).await;
    pair.source.script(&markers(1000..1010)).await;
    let arrived = pair.replica.reaches(&newest, "1009", LIMIT).await;
    arrived.unwrap_or_else(|error| panic!("{error}\n{}", pair.proxy.log()));
    pair.replica.stop_replica().await;
    // Files tell when they were begun in seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    pair.source.script(&format!("RESET MASTER; {}", markers(2000..2020))).await;
    // Starting it again changes nothing.
    for _ in 0..2 {
        pair.replica.start_replica().await;
        let error = pair.replica.io_error("begun anew", LIMIT).await;
        assert!(error.contains("1236") && error.contains("RPX-3005: binlog.000001 was begun anew"), "{error}");
        pair.replica.stop_replica().await;
    }
    assert_eq!(pair.replica.value(&newest).await, "1009", "{}", pair.proxy.log());
}

async fn purged(version: Version, mode: Mode, words: &[&str]) {
    let Some(pair) = start(version, mode, Route::Renamed).await else { return };
    pair.replica.stop_replica().await;
    pair.source.script("FLUSH LOGS; INSERT INTO storefront.marker VALUES (100); FLUSH LOGS").await;
    // A file that a stream still reads, whose client has left, or that MariaDB has not done with, is not purged at once.
    let limit = Instant::now() + LIMIT;
    let dumps = "SELECT CONCAT('KILL ', id, ';') FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
    loop {
        let kill: String = pair.source.script(dumps).await.into_iter().flatten().collect();
        // One that has gone by itself meanwhile needs no killing.
        let _ = pair.source.try_script(&kill).await;
        let files = pair.source.script("SHOW BINARY LOGS").await;
        let last = &files.last().expect("the source writes a binary log")[0];
        let files = pair.source.script(&format!("PURGE BINARY LOGS TO '{last}'; SHOW BINARY LOGS")).await;
        if files.len() == 1 {
            break;
        }
        if Instant::now() > limit {
            let threads = pair.source.script("SHOW FULL PROCESSLIST").await;
            panic!("the source does not purge its files\n{files:?}\n{threads:?}\n{}", pair.proxy.log());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A replica that has what was purged but for one transaction, and then one that has nothing.
    let missing = match mode {
        Mode::AutoPosition => {
            let uuid = pair.source.value("SELECT @@server_uuid").await;
            let executed = pair.source.value("SELECT @@GLOBAL.gtid_executed").await;
            let last: u64 = executed.rsplit_once('-').and_then(|(_, last)| last.parse().ok()).expect("uuid:1-N");
            format!("{uuid}:{last}")
        }
        _ => String::new(),
    };
    pair.replica.start_replica().await;
    let error = pair.replica.io_error("1236", LIMIT).await;
    for word in words.iter().copied().chain(["RPX-2006", &missing]) {
        assert!(error.contains(word), "{word:?} is missing in {error:?}");
    }
    assert!(pair.proxy.log().contains("RPX-2006"), "{}", pair.proxy.log());
    pair.replica.stop_replica().await;
    begin_again(&pair).await;
    let error = pair.replica.io_error("1236", LIMIT).await;
    for word in words {
        assert!(error.contains(word), "{word:?} is missing in {error:?}");
    }
}

#[tokio::test]
async fn mysql_57_auto_position_is_told_which_transactions_are_purged() {
    purged(Version::Mysql57, Mode::AutoPosition, &["purged", "missing transactions are '"]).await;
}

#[tokio::test]
async fn mysql_97_auto_position_is_told_which_transactions_are_purged() {
    purged(Version::Mysql97, Mode::AutoPosition, &["purged", "missing transactions are '"]).await;
}

#[tokio::test]
async fn mysql_56_is_told_that_its_file_is_purged() {
    purged(Version::Mysql56, Mode::FilePosition, &["Could not find first log file name in binary log index file"])
        .await;
}

#[tokio::test]
async fn mariadb_1011_is_told_that_its_state_is_purged() {
    purged(Version::Mariadb1011, Mode::MariadbGtid, &["purged", "GTID"]).await;
}
