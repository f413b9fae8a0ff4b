//! The faults of a route that are not over, and when they are.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use crate::fault::{Code, Fault};

use super::replica::SessionIdentity;

/// How many replicas' faults are remembered; beyond it the oldest is forgotten.
const MAX_FAULTS: usize = 1024;

/// The fault of a replica that has not come back for so long is that of a replica that is gone.
const GONE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A fault of a replica that comes from the source's absence is over when the source answers so long after it.
const ABSENCE_OVER_AFTER: Duration = Duration::from_secs(10);

/// A fault that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingPicture {
    /// Server id and uuid of the replica that met it; `None` for one of the route or its source.
    pub replica: Option<(u32, Option<String>)>,
    /// Since when it is there.
    pub since: SystemTime,
    /// When it was last met.
    pub at: SystemTime,
    /// What it is.
    pub fault: Fault,
}

/// A replica is recognised by its server id and uuid when it comes back.
pub(super) type ReplicaKey = (u32, Option<String>);

#[derive(Debug, Clone)]
struct StandingFault {
    fault: Fault,
    since: SystemTime,
    at: SystemTime,
    instant: Instant,
}

impl StandingFault {
    fn picture((replica, standing): (&Option<ReplicaKey>, &Self)) -> StandingPicture {
        let Self { fault, since, at, .. } = standing.clone();
        StandingPicture { replica: replica.clone(), since, at, fault }
    }
}

/// What went wrong on a route and is not over yet, by replica, and the last of it.
#[derive(Default)]
pub(super) struct Faults {
    last: Option<StandingFault>,
    standing: HashMap<Option<ReplicaKey>, StandingFault>,
}

impl Faults {
    /// A fault was met, by a replica or by the route itself.
    pub(super) fn met(&mut self, key: Option<ReplicaKey>, fault: &Fault) {
        let at = SystemTime::now();
        let before = self.standing.get(&key).filter(|before| before.fault.code == fault.code);
        let since = before.map_or(at, |before| before.since);
        let standing = StandingFault { fault: fault.clone(), since, at, instant: Instant::now() };
        if stands(fault.code) {
            if self.standing.len() >= MAX_FAULTS {
                let oldest = self.standing.iter().min_by_key(|(_, fault)| fault.instant).map(|(key, _)| key.clone());
                if let Some(oldest) = oldest {
                    self.standing.remove(&oldest);
                }
            }
            self.standing.insert(key, standing.clone());
        }
        self.last = Some(standing);
    }

    /// The source answered.
    pub(super) fn source_answered(&mut self) {
        let is_over =
            |fault: &StandingFault| is_absence(fault.fault.code) && fault.instant.elapsed() >= ABSENCE_OVER_AFTER;
        self.standing.retain(|key, fault| key.is_some() && !is_over(fault));
    }

    /// Forgets what a replica met before a session in which it has streamed well, also under another uuid or server id: a server
    /// that was built anew.
    pub(super) fn cured(&mut self, SessionIdentity { server_id, uuid, .. }: &SessionIdentity, opened: Instant) {
        let same = |key: &Option<ReplicaKey>| {
            key.as_ref().is_some_and(|(id, other)| id == server_id || other.is_some() && other == uuid)
        };
        self.standing.retain(|key, fault| !same(key) || fault.instant > opened);
    }

    /// The faults that are not over, the oldest first. Those of replicas that are gone are forgotten here.
    pub(super) fn standing(&mut self) -> Vec<StandingPicture> {
        self.standing.retain(|_, fault| fault.instant.elapsed() < GONE_AFTER);
        let mut standing: Vec<_> = self.standing.iter().map(StandingFault::picture).collect();
        standing.sort_by(|one, other| (one.since, &one.replica).cmp(&(other.since, &other.replica)));
        standing
    }

    /// The last fault, standing or not, and when it was.
    pub(super) fn last(&self) -> Option<(SystemTime, Fault)> {
        self.last.as_ref().map(|last| (last.at, last.fault.clone()))
    }
}

/// Whether a fault only says that the source did not answer.
fn is_absence(code: Code) -> bool {
    matches!(
        code,
        Code::SourceUnreachable | Code::SourceRefusedLogin | Code::SourceTls | Code::SourceLost | Code::SourceSilent
    )
}

/// Whether a fault says something about the route, rather than about a stranger at its door.
fn stands(code: Code) -> bool {
    !matches!(
        code,
        Code::ReplicaRefusedLogin
            | Code::ReplicaTls
            | Code::ReplicaProtocol
            | Code::ReplicaCommand
            | Code::ReplicaStuck
            | Code::ReplicaDuplicate
    )
}
