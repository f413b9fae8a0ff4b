//! Topologies on real servers, each with the configuration that the README shows for it. In each of them the proxy is killed
//! and started again in the middle of the work.

mod cascade;
mod channels;
mod many_to_one;
mod one_to_many;
mod two_way;

use std::time::{Duration, Instant};

use crate::support::compare::Mapping;
use crate::support::fleet::Version;
use crate::support::pair::Mode;
use crate::support::replica::Upstream;
use crate::support::server::{Server, ServerOptions};

const LIMIT: Duration = Duration::from_secs(120);

/// Rounds of a source's work, see [`writes`].
const ROUNDS: u32 = 3;

/// The tables that [`writes`] works on: some of them are left out by the configurations.
const SCHEMA: &str =
    "CREATE DATABASE shop CHARACTER SET utf8mb4; CREATE DATABASE stock CHARACTER SET utf8mb4; USE shop;
    CREATE TABLE orders (id INT NOT NULL PRIMARY KEY, note VARCHAR(300)) ENGINE=InnoDB;
    CREATE TABLE audit_orders (id INT NOT NULL, note VARCHAR(300)) ENGINE=InnoDB;
    CREATE TABLE marker (n INT NOT NULL PRIMARY KEY) ENGINE=InnoDB;
    CREATE TABLE stock.items (id INT NOT NULL PRIMARY KEY, pieces INT NOT NULL) ENGINE=InnoDB;";

/// A round of one source's transactions: on single tables, on selected and excluded ones, large and small. The numbers of source
/// `number` of several are its own.
fn writes(number: u32, round: u32) -> String {
    let mut script = String::from("USE shop;\n");
    for step in 0..120 {
        let id = number * 100_000 + round * 1_000 + step;
        script += &match step % 6 {
            0 => format!(
                "BEGIN; INSERT INTO orders (id, note) VALUES ({id}, 'new'); INSERT INTO audit_orders VALUES ({id}, REPEAT('a', {step}));
                 INSERT INTO stock.items VALUES ({id}, {step}); UPDATE orders SET note = CONCAT(note, {step}) WHERE id = {id}; COMMIT;\n"
            ),
            1 | 2 => format!("INSERT INTO orders (id, note) VALUES ({id}, REPEAT('o', {step}));\n"),
            3 => format!("UPDATE orders, audit_orders SET orders.note = 'seen', audit_orders.note = 'seen' WHERE orders.id = {id} - 3 AND audit_orders.id = {id} - 3;\n"),
            4 => format!("DELETE FROM orders WHERE id = {id} - 2; INSERT INTO audit_orders VALUES ({id}, 'gone');\n"),
            _ => format!("UPDATE stock.items SET pieces = pieces + 1 WHERE id >= {} + {round} * 1000;\n", number * 100_000),
        };
    }
    script
}

/// Waits until the replica has the marker that the source writes. `marker` is the table's name at the replica.
async fn arrives(source: &Server, n: u32, replica: &Server, marker: &str) {
    source.script(&format!("INSERT INTO shop.marker VALUES ({n})")).await;
    has(replica, n, marker).await;
}

/// Waits until the replica has the marker.
async fn has(replica: &Server, n: u32, marker: &str) {
    if let Err(error) = replica.reaches(&format!("SELECT COUNT(*) FROM {marker} WHERE n = {n}"), "1", LIMIT).await {
        panic!("{error}");
    }
}

/// Databases that lead to others.
fn databases(names: &[[&str; 2]], excluded: &[&str]) -> Mapping {
    Mapping {
        databases: names.iter().map(|[from, to]| ((*from).to_owned(), (*to).to_owned())).collect(),
        excluded: excluded.iter().map(|&name| name.to_owned()).collect(),
        ..Mapping::default()
    }
}

/// A server that is a source and a replica at once: what it applies is in its own binary log.
fn passing_on(version: Version, mode: Mode) -> ServerOptions {
    let options = ServerOptions::new().crash_safe_replica(version);
    match mode {
        Mode::AutoPosition => options.gtid(version),
        _ if version == Version::Mysql97 => options.arg("--log-replica-updates"),
        _ => options.arg("--log-slave-updates"),
    }
}

/// 9.7 insists on TLS for its logins.
fn wants_tls(version: Version) -> bool {
    version == Version::Mysql97
}

/// The login at a port as replicas of the version present it.
fn upstream(version: Version, port: u16) -> Upstream {
    let upstream = Upstream::at(port);
    if wants_tls(version) { upstream.with_tls() } else { upstream }
}

/// Waits until the query has the same value at both servers, and returns it.
async fn agree(query: &str, [one, other]: [&Server; 2]) -> String {
    let end = Instant::now() + LIMIT;
    loop {
        let values = (one.value(query).await, other.value(query).await);
        if values.0 == values.1 {
            return values.0;
        }
        assert!(Instant::now() < end, "{query}: {values:?}\n{}", statuses([one, other]).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn statuses<const N: usize>(servers: [&Server; N]) -> String {
    let mut text = String::new();
    for server in servers {
        text += &format!("port {}:\n{}", server.port(), server.replica_status().await.summary());
    }
    text
}

/// A MySQL server's set of applied transactions, after a look that no server's numbers have a hole.
fn without_holes(set: &str) -> String {
    let set = set.replace("\\n", "");
    for part in set.split(',') {
        let numbers = part.trim().split_once(':').map(|(_, numbers)| numbers);
        assert!(numbers.is_some_and(|n| n == "1" || n.starts_with("1-") && !n.contains(':')), "a hole: {set}");
    }
    set
}
