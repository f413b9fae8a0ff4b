//! Which replicas follow which sources by GTID, and through which rules.
//!
//! A route passes on every GTID of its source, with an empty transaction where nothing of the content is selected, and a
//! replica counts a transaction as done with its GTID, whatever was in it. So a replica that follows one source through two
//! routes with different rules loses transactions without a sign: what comes empty through the one takes the GTID from what
//! would come through the other. This is where the second one is found.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::fault::{Code, Fault};
use crate::replica::backend::{ReplicaRequest, ReplicaStart};

use super::Core;
use super::servers::identity;

/// A replica that turns from one route to another may be at the new one before the old one has seen it leave.
const LEAVING_TIME: Duration = Duration::from_secs(5);

/// A replica and a server that it follows by GTID.
type Pair = (String, String);

/// All streams by GTID of one process.
#[derive(Debug, Default)]
pub(super) struct Followings {
    /// The routes and the fingerprints of their rules, for each pair. Bounded by the connections.
    streams: Mutex<HashMap<Pair, Vec<Through>>>,
}

/// What a replica follows a server through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Through {
    /// The route's name.
    pub(super) route: String,
    /// The fingerprint of its rules.
    pub(super) rules: [u8; 8],
}

impl Followings {
    /// Notes that a replica follows a server by GTID, until the value is dropped. The error is the name of another route with other
    /// rules through which it follows the server already.
    pub(super) fn begin(
        self: &Arc<Self>,
        replica: String,
        server: String,
        through: Through,
    ) -> Result<Following, String> {
        let pair = (replica, server);
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let others = streams.get(&pair).map_or(&[][..], Vec::as_slice);
        // One route has other rules than before while a reload is under way.
        if let Some(other) = others.iter().find(|other| other.route != through.route && other.rules != through.rules) {
            return Err(other.route.clone());
        }
        streams.entry(pair.clone()).or_default().push(through.clone());
        Ok(Following { followings: Arc::clone(self), pair, through })
    }
}

/// One stream by GTID, for as long as this lives.
#[derive(Debug)]
pub(super) struct Following {
    followings: Arc<Followings>,
    pair: Pair,
    through: Through,
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut streams = self.followings.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(all) = streams.get_mut(&self.pair) else { return };
        if let Some(place) = all.iter().position(|through| *through == self.through) {
            all.swap_remove(place);
        }
        if all.is_empty() {
            streams.remove(&self.pair);
        }
    }
}

impl Core {
    /// Notes that the replica follows the source by GTID, or says why it must not. Nothing for programs that only read, and for
    /// replicas by file and position.
    pub(super) async fn follow(&self, request: &ReplicaRequest) -> Result<Option<Following>, Fault> {
        let replica = &request.replica;
        if request.non_blocking || replica.server_id == 0 || matches!(request.start, ReplicaStart::FilePosition(_)) {
            return Ok(None);
        }
        let facts = self.current_facts().await?;
        // MariaDB has no uuid, and ids alone are not always unique.
        let name = replica.uuid.clone().unwrap_or_else(|| format!("{} at {}", replica.server_id, replica.peer.ip()));
        let through = Through { route: self.telemetry.route().to_owned(), rules: self.rules.fingerprint() };
        let end = Instant::now() + LEAVING_TIME;
        loop {
            match self.identities.followings().begin(name.clone(), identity(&facts), through.clone()) {
                Ok(following) => return Ok(Some(following)),
                Err(other) if Instant::now() >= end => {
                    let message = format!(
                        "the replica follows source `{}` by GTID through route `{other}` already, which has other rules: what one of the routes \
                         leaves out would take its GTID from what the other one has, and be lost",
                        self.source_name
                    );
                    return Err(Fault::new(Code::ReplicaTwice, message));
                }
                Err(_) => sleep(LEAVING_TIME / 50).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_follows_a_server_by_gtid_under_one_set_of_rules_at_a_time() {
        let followings = Arc::new(Followings::default());
        let begin = |replica: &str, server: &str, route: &str, rules: u8| {
            followings.begin(replica.into(), server.into(), Through { route: route.into(), rules: [rules; 8] })
        };
        let shop = begin("d", "s", "shop", 1).expect("the first");
        assert_eq!(begin("d", "s", "stock", 2).expect_err("other rules"), "shop");
        let again = begin("d", "s", "also_shop", 1).expect("the same rules twice leave nothing out");
        let reloaded = begin("d", "s", "shop", 3).expect_err("the second of the two still has the rules as they were");
        assert_eq!(reloaded, "also_shop");
        drop(again);
        let reloaded = begin("d", "s", "shop", 3).expect("the rules of a route change with a reload");
        let _others = [
            begin("e", "s", "stock", 2).expect("another replica"),
            begin("d", "t", "stock", 2).expect("another server"),
        ];
        drop(shop);
        assert_eq!(begin("d", "s", "stock", 2).expect_err("one is left"), "shop");
        drop(reloaded);
        begin("d", "s", "stock", 2).expect("the replica has turned to another route");
    }
}
