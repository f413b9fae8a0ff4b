//! Topologies on real servers, each with the configuration that the README shows for it. In each of them the proxy is killed
//! and started again in the middle of the work.

mod two_way;

use std::time::{Duration, Instant};

use crate::support::fleet::Version;
use crate::support::pair::Mode;
use crate::support::replica::Upstream;
use crate::support::server::{Server, ServerOptions};

const LIMIT: Duration = Duration::from_secs(120);

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
