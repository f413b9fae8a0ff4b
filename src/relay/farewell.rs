//! Ending streams at the source that nobody reads any longer.
//!
//! A source that has nothing to send does not look whether its replica is still there: the thread of a closed stream stays until its
//! next heartbeats fail. When a thousand replicas go over to the live tail within seconds, that would be hundreds of threads, more
//! than many sources let in. So the threads are ended by KILL, which every account may do with its own. A source that was started
//! again numbers its threads anew, so it is asked first whether it has been up all the time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::debug;

use crate::source::Client;

use super::Core;
use super::lasting::{Connection, LastingFeed};
use super::servers::identity;

/// A source that does not answer in this time finds out by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Streams that are to be ended. There are never more than identities, because each keeps its own until then.
#[derive(Default)]
pub(super) struct Farewells {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    leaving: Vec<LastingFeed>,
    /// Somebody ends them, one after the other.
    busy: bool,
}

impl Farewells {
    /// The next one; `None` ends the work.
    fn next(&self) -> Option<LastingFeed> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = state.leaving.pop();
        state.busy = next.is_some();
        next
    }

    /// Lets go of all that wait: the source does not answer, and finds out by itself.
    fn give_up(&self) {
        let abandoned = std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).leaving);
        debug!(streams = abandoned.len(), "streams that are left are not ended at the source");
        // Dropped here, without the lock: each of them gives its identity back.
        drop(abandoned);
    }
}

impl Core {
    /// Ends a stream at the source, in the background.
    pub(super) fn take_leave(self: &Arc<Self>, feed: Box<LastingFeed>) {
        let mut state = self.farewells.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.leaving.push(*feed);
        if !std::mem::replace(&mut state.busy, true) {
            tokio::spawn(end_streams(Arc::clone(self)));
        }
    }
}

/// Ends what there is over one connection.
async fn end_streams(core: Arc<Core>) {
    let mut killer: Option<Killer> = None;
    while let Some(feed) = core.farewells.next() {
        let Some(connection) = feed.connection() else { continue };
        // The number means something at that server only, and another one may answer at the same address.
        if killer.as_ref().is_none_or(|killer| !killer.is_at(&connection)) {
            killer = timeout(PATIENCE, Killer::reach(&core)).await.ok().flatten();
            if killer.is_none() {
                core.farewells.give_up();
                continue;
            }
        }
        let Some(at_hand) = killer.as_mut().filter(|killer| killer.may_end(&connection)) else { continue };
        // A client whose query was given up is of no more use; one that was refused is.
        let thread_id = connection.thread_id;
        match timeout(PATIENCE, at_hand.client.query(&format!("KILL {thread_id}"))).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.server_code().is_some() => {}
            other => {
                debug!(thread_id, ?other, "a stream that is left could not be ended");
                killer = None;
                core.farewells.give_up();
            }
        }
    }
    if let Some(killer) = killer {
        killer.client.quit().await;
    }
}

/// A connection that ends others.
struct Killer {
    client: Client,
    server: String,
    /// The server has been up since then at least.
    up_since: Instant,
}

impl Killer {
    async fn reach(core: &Core) -> Option<Self> {
        let reached = core.servers.reach_any().await.ok()?;
        let (mut client, server) = (reached.client, identity(&reached.facts));
        let asked = Instant::now();
        let uptime = client.query("SHOW GLOBAL STATUS LIKE 'Uptime'").await.ok()?;
        let uptime = Duration::from_secs(uptime.text(0, 1)?.parse().ok()?);
        Some(Self { client, server, up_since: up_since(asked, uptime)? })
    }

    /// Whether a connection is one to the same server.
    fn is_at(&self, connection: &Connection) -> bool {
        connection.server == self.server && connection.peer == self.client.peer()
    }

    /// Whether the number of a connection is surely still that connection's.
    fn may_end(&self, connection: &Connection) -> bool {
        self.is_at(connection) && connection.opened >= self.up_since
    }
}

/// A server that counts so many whole seconds has been up for at least one less: both ends are cut to seconds.
fn up_since(asked: Instant, uptime: Duration) -> Option<Instant> {
    asked.checked_sub(uptime.saturating_sub(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_older_than_the_server_has_lost_its_number_to_another() {
        let now = Instant::now() + Duration::from_secs(100);
        let ago = |seconds| now - Duration::from_secs(seconds);
        let since = up_since(now, Duration::from_secs(30)).expect("the clock is older");
        assert!(since <= ago(29) && ago(28) >= since, "opened while the server was up");
        assert!(ago(30) < since && ago(50) < since, "it may have been started since");
        assert_eq!(up_since(now, Duration::ZERO), Some(now));
    }
}
