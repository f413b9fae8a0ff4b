//! Ending streams at the source that nobody reads any longer.
//!
//! A source that has nothing to send does not look whether its replica is still there: the thread of a closed stream stays until its
//! next heartbeats fail. When a thousand replicas go over to the live tail within seconds, that would be hundreds of threads, more
//! than many sources let in. So the threads are ended by KILL, which every account may do with its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tracing::debug;

use crate::source::Client;

use super::Core;
use super::lasting::LastingFeed;
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
    let mut killer: Option<(Client, String)> = None;
    while let Some(feed) = core.farewells.next() {
        let Some((server, thread_id)) = feed.connection() else { continue };
        // The number means something at that server only, and another one may answer at the same address.
        if killer.as_ref().is_none_or(|(_, known)| *known != server) {
            killer = match timeout(PATIENCE, core.servers.reach_any()).await {
                Ok(Ok(reached)) => Some((reached.client, identity(&reached.facts))),
                _ => None,
            };
        }
        let Some((mut client, known)) = killer.take_if(|(_, known)| *known == server) else { continue };
        // A client whose query was given up is of no more use; one that was refused is.
        match timeout(PATIENCE, client.query(&format!("KILL {thread_id}"))).await {
            Ok(Ok(_)) => killer = Some((client, known)),
            Ok(Err(error)) if error.server_code().is_some() => killer = Some((client, known)),
            Ok(Err(error)) => debug!(thread_id, %error, "a stream that is left could not be ended"),
            Err(_) => debug!(thread_id, "the source does not answer"),
        }
    }
    if let Some((client, _)) = killer {
        client.quit().await;
    }
}
