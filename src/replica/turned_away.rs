//! Replicas whose stream could not be opened for a reason that may pass.
//!
//! A replica that gets an error in place of its stream writes it to its error log, shows nothing, and asks again. What its
//! operator is to read goes to the next registration, where replicas show an error and try again too. Whether the reason
//! still holds then is asked of the backend with the request that failed. That request may be out of date: a person has given
//! the replica other GTIDs and started it again. Such a one comes sooner than a replica by itself, and is let through.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ReplicaRequest;
use crate::fault::Code;

/// How many replicas are remembered; beyond it the oldest is forgotten, and shows nothing once more.
const MAX_REMEMBERED: usize = 1024;

/// Every so manyth time a replica makes its request anew.
const TOLD_IN_A_ROW: u32 = 5;

/// Server id and uuid.
type Key = (u32, Option<String>);

/// The last failed request of each of these replicas.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    requests: HashMap<Key, Refused>,
    order: VecDeque<Key>,
}

#[derive(Debug)]
struct Refused {
    request: ReplicaRequest,
    /// When the replica was told last.
    told: Option<Instant>,
    /// After how long it came back by then.
    pause: Option<Duration>,
    /// How often the replica was told since it made this request.
    times: u32,
}

impl Refused {
    /// Whether a replica that registers now is told rather than let through to make its request anew. Not every time, as the pauses of
    /// one that somebody started may look like its own.
    fn is_told(&mut self, now: Instant) -> bool {
        let by_itself = self.comes_by_itself(now);
        self.times += 1;
        by_itself && self.times < TOLD_IN_A_ROW
    }

    /// Whether a replica that registers now does so by itself, after its usual pause, rather than because somebody started it.
    fn comes_by_itself(&mut self, now: Instant) -> bool {
        let since = self.told.replace(now).map(|told| now.duration_since(told));
        let by_itself = match (since, self.pause) {
            (Some(since), Some(pause)) => since >= pause.mul_f32(0.9),
            _ => true,
        };
        self.pause = since.or(self.pause);
        by_itself
    }
}

impl TurnedAway {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a replica should hear of such a fault when it comes back. A source that is out of reach is told by other means.
    pub(crate) fn is_worth_telling(code: Code) -> bool {
        matches!(
            code,
            Code::ServerBehind
                | Code::SourceUnreachable
                | Code::SourceRefusedLogin
                | Code::SourceTls
                | Code::SourceQueryFailed
                | Code::SourceProtocol
                | Code::IdentitiesExhausted
                | Code::FileUnreadable
        )
    }

    /// A request failed.
    pub(crate) fn remember(&self, request: ReplicaRequest) {
        let key = (request.replica.server_id, request.replica.uuid.clone());
        let mut state = self.state();
        let refused = match state.requests.remove(&key) {
            Some(before) => Refused { request, times: 0, ..before },
            None => Refused { request, told: None, pause: None, times: 0 },
        };
        let is_known = state.order.contains(&key);
        state.requests.insert(key.clone(), refused);
        if !is_known {
            state.order.push_back(key);
            if state.order.len() > MAX_REMEMBERED
                && let Some(oldest) = state.order.pop_front()
            {
                state.requests.remove(&oldest);
            }
        }
    }

    /// The replica has a stream, or its reason has passed.
    pub(crate) fn forget(&self, server_id: u32, uuid: Option<&str>) {
        let mut state = self.state();
        let key = (server_id, uuid.map(str::to_owned));
        if state.requests.remove(&key).is_some() {
            state.order.retain(|other| *other != key);
        }
    }

    /// What the replica asked for in vain, if it comes back by itself.
    pub(crate) fn request_of(&self, server_id: u32, uuid: Option<&str>) -> Option<ReplicaRequest> {
        let by_itself = {
            let mut state = self.state();
            let refused = state.requests.get_mut(&(server_id, uuid.map(str::to_owned)))?;
            refused.is_told(Instant::now()).then(|| refused.request.clone())
        };
        if by_itself.is_none() {
            self.forget(server_id, uuid);
        }
        by_itself
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::{ReplicaSession, ReplicaStart};

    fn request(server_id: u32) -> ReplicaRequest {
        let replica = ReplicaSession::of_a_test(server_id);
        let start = ReplicaStart::MySqlGtid(Default::default());
        ReplicaRequest { replica, start, receiver: Default::default(), flags: 0, non_blocking: false }
    }

    #[test]
    fn a_replica_that_somebody_starts_is_let_through() {
        let mut refused = Refused { request: request(7), told: None, pause: None, times: 0 };
        let start = Instant::now();
        let mut at = |seconds| refused.comes_by_itself(start + Duration::from_secs(seconds));
        assert!(at(0), "right after its stream was refused");
        assert!(at(60) && at(120) && at(178), "by itself, once a minute");
        assert!(!at(190), "somebody was there");
        assert!(at(250));
    }

    #[test]
    fn a_replica_makes_its_request_anew_now_and_then() {
        let mut refused = Refused { request: request(7), told: None, pause: None, times: 0 };
        let start = Instant::now();
        let told: Vec<_> = (0..6).map(|minute| refused.is_told(start + Duration::from_secs(60 * minute))).collect();
        assert_eq!(told, [true, true, true, true, false, false]);
    }

    #[test]
    fn only_so_many_are_remembered_each_once() {
        let turned_away = TurnedAway::default();
        for server_id in (1..=MAX_REMEMBERED as u32 + 1).chain([9, 9]) {
            turned_away.remember(request(server_id));
        }
        assert_eq!(turned_away.state().order.len(), MAX_REMEMBERED);
        assert!(turned_away.request_of(1, None).is_none() && turned_away.request_of(2, None).is_some());
        turned_away.forget(9, None);
        assert!(turned_away.request_of(9, None).is_none());
        let state = turned_away.state();
        assert_eq!((state.order.len(), state.requests.len()), (MAX_REMEMBERED - 1, MAX_REMEMBERED - 1));
    }
}
