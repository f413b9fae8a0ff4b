//! A replica, the proxy or the source that dies in the middle of the work: nobody hangs, nothing is lost, nothing comes twice.

use crate::support::compare::differences;
use crate::support::fleet::Version;
use crate::support::link::Link;
use crate::support::pair::{Kind, Links, Mode, Pair, Route};
use crate::support::unless_available;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Statements of one round: many transactions, one of them large enough to be cut in its middle.
fn round(number: u32) -> String {
    let mut script = String::from("USE storefront;\n");
    for row in 0..300 {
        let id = number * 1000 + row;
        script += &format!(
            "INSERT INTO work VALUES ({id}, 'row {id}');\nUPDATE work SET v = CONCAT(v, '.') WHERE id = {id};\n"
        );
        if row % 50 == 0 {
            script += &format!(
                "BEGIN;\nINSERT INTO work VALUES ({id} + 500000, 'x');\nINSERT INTO audit_work SELECT id, v FROM work;\n"
            );
            script += &format!(
                "UPDATE work SET v = CONCAT(LEFT(v, 10), {row});\nDELETE FROM work WHERE id = {id} + 500000;\nCOMMIT;\nDELETE FROM audit_work;\n"
            );
        }
    }
    script
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Replica,
    Proxy,
    Source,
    ReplicaThread,
}

async fn interrupted(version: Version, mode: Mode) {
    let kind = Kind { version, mode, route: Route::Renamed, tls: version == Version::Mysql97 };
    let Some(mut pair) = unless_available(Pair::start(kind).await) else { return };
    let schema = "CREATE DATABASE storefront CHARACTER SET utf8mb4; USE storefront;
        CREATE TABLE marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE work (id INT NOT NULL PRIMARY KEY, v VARCHAR(200));
        CREATE TABLE audit_work (id INT NOT NULL, v VARCHAR(200));";
    pair.source.script(schema).await;
    pair.catch_up(LIMIT).await;
    let victims = [Victim::Proxy, Victim::ReplicaThread, Victim::Replica, Victim::Source, Victim::Proxy];
    for (number, victim) in (0..).zip(victims) {
        let script = round(number);
        let source = &pair.source;
        let proxy = &mut pair.proxy;
        let replica = &mut pair.replica;
        // The source is busy while it happens, except when it is the source itself that dies.
        let busy = async {
            if matches!(victim, Victim::Source) {
                source.script(&script).await;
            } else {
                source.script(&script).await;
                source.script("UPDATE storefront.work SET v = CONCAT(v, '!')").await;
            }
        };
        let accident = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            match victim {
                Victim::Proxy => proxy.kill_and_restart().await,
                Victim::Replica => {
                    replica.kill();
                    replica.restart().await;
                }
                Victim::ReplicaThread => {
                    replica.stop_replica().await;
                    replica.start_replica().await;
                }
                Victim::Source => {}
            }
        };
        tokio::join!(busy, accident);
        if matches!(victim, Victim::Source) {
            pair.source.kill();
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(pair.proxy.runs(), "the proxy outlives its source:\n{}", pair.proxy.log());
            pair.source.restart().await;
        }
        eprintln!("{kind:?}: {victim:?} was interrupted");
        pair.catch_up(LIMIT).await;
    }
    let findings = differences(&pair.source, &pair.replica, &Route::Renamed.mapping(mode)).await;
    assert!(findings.is_empty(), "{kind:?}:\n{}", findings.join("\n"));
    assert!(!pair.proxy.log().contains("panicked"), "{}", pair.proxy.log());
    assert!(pair.proxy.terminate().success(), "SIGTERM ends the proxy cleanly:\n{}", pair.proxy.log());
}

#[tokio::test]
async fn mysql_57_file_and_position_survives_every_death() {
    interrupted(Version::Mysql57, Mode::FilePosition).await;
}

#[tokio::test]
async fn mysql_97_auto_position_survives_every_death() {
    interrupted(Version::Mysql97, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mariadb_1011_gtid_survives_every_death() {
    interrupted(Version::Mariadb1011, Mode::MariadbGtid).await;
}

/// The connection ends inside of a statement of many rows events: MariaDB's receiver then waits for the last of them, and would
/// take what every stream begins with for an error (1595).
async fn cut_inside_of_a_statement(route: Route) {
    let kind = Kind { version: Version::Mariadb1011, mode: Mode::FilePosition, route, tls: false };
    let links = Links { source: Link::listen().await, replica: Link::listen().await };
    let Some(mut pair) = unless_available(Pair::start_through(kind, Some(&links)).await) else { return };
    let schema = "CREATE DATABASE storefront CHARACTER SET utf8mb4; USE storefront;
        CREATE TABLE marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE work (id INT NOT NULL PRIMARY KEY, v TEXT);";
    pair.source.script(schema).await;
    pair.catch_up(LIMIT).await;
    for (number, bytes) in [30_000, 150_000, 320_000].into_iter().enumerate() {
        links.replica.cut_after(bytes);
        let rows: Vec<_> = (0..60).map(|row| format!("({}, REPEAT('{row}', 4500))", number * 100 + row)).collect();
        pair.source.script(&format!("INSERT INTO storefront.work VALUES {}", rows.join(", "))).await;
        pair.catch_up(LIMIT).await;
        links.replica.heal();
    }
    let status = pair.replica.replica_status().await;
    assert!(status.runs(), "{}", status.summary());
    assert_eq!(pair.proxy.log().matches("replica attached").count(), 4, "{}", pair.proxy.log());
    pair.assert_equal().await;
}

#[tokio::test]
async fn mariadb_1011_goes_on_inside_of_a_statement_in_served_coordinates() {
    cut_inside_of_a_statement(Route::Growing).await;
}

#[tokio::test]
async fn mariadb_1011_goes_on_inside_of_a_statement_in_source_coordinates() {
    cut_inside_of_a_statement(Route::Filtered).await;
}

/// The next group may have begun when the source is lost: what went out whole must not come again.
#[tokio::test]
async fn mariadb_1011_gets_no_group_twice_wherever_the_source_is_lost() {
    let kind = Kind { version: Version::Mariadb1011, mode: Mode::MariadbGtid, route: Route::Renamed, tls: false };
    let links = Links { source: Link::listen().await, replica: Link::listen().await };
    let Some(mut pair) = unless_available(Pair::start_through(kind, Some(&links)).await) else { return };
    let schema = "CREATE DATABASE storefront CHARACTER SET utf8mb4; USE storefront;
        CREATE TABLE marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE work (id INT NOT NULL PRIMARY KEY)";
    pair.source.script(schema).await;
    pair.catch_up(LIMIT).await;
    // Each transaction takes some 200 bytes; several come in one piece, which ends somewhere in the last of them.
    for (step, bytes) in (0..).zip((320..720).step_by(32)) {
        links.source.hold(true);
        let rows: String =
            (0..8).map(|row| format!("INSERT INTO storefront.work VALUES ({});", step * 8 + row)).collect();
        pair.source.script(&rows).await;
        links.source.cut_after(bytes);
        links.source.hold(false);
        let arrived = format!("SELECT COUNT(*) FROM {}.work", kind.route.storefront(kind.mode));
        let arrived = pair.replica.reaches(&arrived, &((step + 1) * 8).to_string(), LIMIT).await;
        arrived.unwrap_or_else(|error| panic!("cut after {bytes} bytes: {error}\n{}", pair.proxy.log()));
        links.source.heal();
    }
    pair.catch_up(LIMIT).await;
    let findings = differences(&pair.source, &pair.replica, &kind.route.mapping(kind.mode)).await;
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}
