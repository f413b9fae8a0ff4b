//! The workload over the servers' own replication, without the proxy: proves the harness and the workload themselves.

use crate::support::compare::{Mapping, differences};
use crate::support::fleet::Version;
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::{unless_available, workload};
use std::time::Duration;

async fn direct(version: Version, gtid: bool) {
    let options = || if gtid { ServerOptions::new().gtid(version) } else { ServerOptions::new() };
    let started = Server::start_two([version; 2], [options(), options()]).await;
    let Some([source, destination]) = unless_available(started) else { return };
    let (file, position) = source.binlog_end().await;
    let start = if gtid { Start::AutoPosition } else { Start::At(file, position) };
    let upstream = Upstream::at(source.port());
    let upstream = if version == Version::Mysql97 { upstream.with_tls() } else { upstream };
    destination.follow(&upstream, &start).await;
    destination.start_replica().await;
    let words = [version.name(), if gtid { "gtid" } else { "nogtid" }];
    workload::run(&source, &workload::sessions(&words)).await;
    source.script("INSERT INTO storefront.marker VALUES (1)").await;
    let arrived = destination.reaches("SELECT MAX(n) FROM storefront.marker", "1", Duration::from_secs(60)).await;
    arrived.unwrap_or_else(|error| panic!("{error}"));
    let findings = differences(&source, &destination, &Mapping::identity()).await;
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    if version == Version::Mysql56 {
        the_comparison_sees_what_is_changed(&source, &destination).await;
    }
}

async fn the_comparison_sees_what_is_changed(source: &Server, destination: &Server) {
    let changes = "SET sql_log_bin = 0; USE storefront;
        UPDATE items SET price = 1.23 WHERE id = 3; UPDATE type_text SET v = NULL WHERE id = 2; DELETE FROM keyless LIMIT 1;
        ALTER TABLE settings COMMENT 'another'; DROP TABLE from_afar; CREATE TABLE extra (a INT);
        DROP VIEW cheap; DROP TRIGGER orders_after_insert; UPDATE large SET b = CONCAT(b, 'x') WHERE id = 2;";
    destination.script(changes).await;
    let findings = differences(source, destination, &Mapping::identity()).await;
    let expected = [
        "Table storefront.extra must not be",
        "Table storefront.from_afar is missing",
        "Table storefront.items: 12 rows expected, 12 found; first difference in row 7: price: expected 12.50, found 1.23",
        "Table storefront.keyless: 2 rows expected, 1 found",
        "Table storefront.large: 1 rows expected, 1 found; first difference in row 0: b: expected 16777216 bytes",
        "Table storefront.settings: the definition differs",
        "Table storefront.type_text: 3 rows expected, 3 found; first difference in row 1: v: expected 4E554C4C, found NULL",
        "View storefront.cheap is missing",
        "Trigger storefront.orders_after_insert is missing",
    ];
    assert_eq!(findings.len(), expected.len(), "{findings:#?}");
    for (finding, expected) in findings.iter().zip(expected) {
        assert!(finding.starts_with(expected), "{finding} / {expected}");
    }
}

#[tokio::test]
async fn mysql_56_file_and_position() {
    direct(Version::Mysql56, false).await;
}

#[tokio::test]
async fn mysql_57_file_and_position() {
    direct(Version::Mysql57, false).await;
}

#[tokio::test]
async fn mysql_57_auto_position() {
    direct(Version::Mysql57, true).await;
}

#[tokio::test]
async fn mysql_97_auto_position() {
    direct(Version::Mysql97, true).await;
}

#[tokio::test]
async fn mariadb_1011_file_and_position() {
    direct(Version::Mariadb1011, false).await;
}
