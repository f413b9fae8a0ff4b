//! The servers of one source: `host` and its `failover` list, which of them is in use, and whom each may serve.
//!
//! A GTID means the same at every server with the same data. A file and a position do not: they are taken by `host` (the
//! configuration's word for where positions come from), or by the server that replicas by position were served by before. What is
//! known of that is this process's own memory; a process that has just started believes `host`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};
use uuid::Uuid;

use crate::binlog::Vendor;
use crate::fault::{Code, Fault};
use crate::gtid::{GtidSet, MariaDbPosition};
use crate::pipeline::coordinates::{FIRST_POSITION, FilePosition};
use crate::replica::backend::{ReplicaRequest, ReplicaSession, ReplicaStart};
use crate::source::{Client, Endpoint, SourceError, SourceFacts};

/// While `host` is away for less than this, replicas by file and position come back and try again; then they are refused. A restart
/// of `host` must not stop them for good.
const HOST_MAY_BE_AWAY: Duration = Duration::from_secs(60);

/// Two failures that are further apart are two absences of `host`.
const SAME_ABSENCE: Duration = Duration::from_secs(120);

/// Replicas whose last stretch is remembered; beyond it the oldest is forgotten.
const MAX_STRETCHES: usize = 1024;

/// The servers of one source.
#[derive(Debug)]
pub(super) struct Servers {
    source: String,
    list: Vec<Endpoint>,
    /// `host:port` of each of them.
    addresses: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The server that answered last; it is asked first.
    in_use: usize,
    /// Whose files and positions replicas were served last.
    home: Option<Known>,
    /// Which server GTID streams came from last.
    by_gtid: Option<Known>,
    absence: Option<Absence>,
    stretches: HashMap<String, Stretch>,
    /// The keys of `stretches` by age.
    order: VecDeque<String>,
}

/// Since when `host` does not answer, and when that was last seen.
#[derive(Debug, Clone, Copy)]
struct Absence {
    since: Instant,
    seen: Instant,
}

/// What a replica by file and position was sent last, and whose it was.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    /// The server that it came from.
    pub(super) server: Known,
    /// Where the stream began.
    pub(super) from: FilePosition,
    /// Where it ended.
    pub(super) to: FilePosition,
    /// When the source's file at its end was begun, as that file says (seconds since 1970); 0 where that is not known.
    pub(super) created: u32,
    /// When the stream began: a stream that is taken leave of late does not hide a newer one.
    pub(super) since: Instant,
}

/// A server that answers and fits.
pub(super) struct Reached {
    pub(super) client: Client,
    pub(super) facts: SourceFacts,
}

/// The server's uuid, or its id where it has none.
pub(super) fn identity(facts: &SourceFacts) -> String {
    facts.server_uuid.clone().unwrap_or_else(|| format!("server id {}", facts.server_id))
}

/// One server, as it is told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    identity: String,
    /// The id of a server without a uuid can be changed while it runs: then it is known by where it lives.
    residence: Option<String>,
}

impl Known {
    pub(super) fn of(facts: &SourceFacts) -> Self {
        Self { identity: identity(facts), residence: facts.residence() }
    }

    /// Whether both are the same server where another one is not to be expected: under another id, or with the same one elsewhere.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.identity == other.identity || self.residence.is_some() && self.residence == other.residence
    }

    /// Whether both are the same server where another one may well have answered. Servers of one cluster can share an id (MariaDB
    /// Galera with `wsrep_gtid_mode`), so that where they live decides, if both say it.
    pub(super) fn is_surely(&self, other: &Self) -> bool {
        match (&self.residence, &other.residence) {
            (Some(here), Some(there)) => here == there,
            _ => self.identity == other.identity,
        }
    }

    /// A word that differs wherever [`Known::is_surely`] may.
    pub(super) fn word(&self) -> String {
        format!("{} {}", self.identity, self.residence.as_deref().unwrap_or_default())
    }
}

/// By what a replica is remembered.
fn key(replica: &ReplicaSession) -> Option<String> {
    // Programs that only read (server id 0) do not come back.
    let known = replica.uuid.is_some() || replica.server_id != 0;
    known.then(|| replica.uuid.clone().unwrap_or_else(|| replica.server_id.to_string()))
}

impl Servers {
    /// `list` begins with `host`.
    pub(super) fn new(source: String, list: Vec<Endpoint>) -> Self {
        let addresses = list.iter().map(Endpoint::address).collect();
        Self { source, list, addresses, state: Mutex::default() }
    }

    /// `host:port` of the server that streams come from now.
    pub(super) fn in_use(&self, by_position: bool) -> &str {
        let index = if by_position { 0 } else { self.state().in_use };
        self.addresses.get(index).map_or("", String::as_str)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The order in which servers are asked: the one in use first, except for positions, which are `host`'s.
    fn order(&self, by_position: bool) -> Vec<usize> {
        let first = if by_position { 0 } else { self.state().in_use.min(self.list.len().saturating_sub(1)) };
        std::iter::once(first).chain((0..self.list.len()).filter(|&index| index != first)).collect()
    }

    /// Connects for questions, which every server answers.
    pub(super) async fn reach_any(&self) -> Result<Reached, Fault> {
        self.reach(None).await
    }

    /// Connects for the stream of a replica.
    pub(super) async fn reach_for(&self, request: &ReplicaRequest) -> Result<Reached, Fault> {
        self.reach(Some(request)).await
    }

    async fn reach(&self, request: Option<&ReplicaRequest>) -> Result<Reached, Fault> {
        let by_position = request.is_some_and(|request| matches!(request.start, ReplicaStart::FilePosition(_)));
        let mut refusals: Vec<(usize, Fault)> = Vec::new();
        for index in self.order(by_position) {
            match self.ask(index, request).await {
                Ok(reached) => {
                    self.use_server(index, by_position, &refusals);
                    return Ok(reached);
                }
                Err(fault) => refusals.push((index, fault)),
            }
        }
        Err(self.refuse(refusals))
    }

    /// Connects to one server and looks whether it fits.
    async fn ask(&self, index: usize, request: Option<&ReplicaRequest>) -> Result<Reached, Fault> {
        let fault = |error: SourceError| error.fault(&self.source);
        let mut client = Client::connect(&self.list[index]).await.map_err(fault)?;
        let facts = SourceFacts::read(&mut client).await.map_err(fault)?;
        let Some(request) = request else { return Ok(Reached { client, facts }) };
        if !facts.log_bin {
            let message = format!("source `{}` ({}) has log_bin off", self.source, client.peer());
            return Err(Fault::new(Code::SourceNotLogging, message));
        }
        match &request.start {
            ReplicaStart::FilePosition(at) => {
                self.admit(index, client.peer(), &Known::of(&facts), &request.replica, at)?;
            }
            ReplicaStart::MySqlGtid(_) | ReplicaStart::MariaDbGtid(_) => {
                let now = Known::of(&facts);
                let expected = self.state().by_gtid.as_ref().is_none_or(|last| last.is_surely(&now));
                // `host` is believed at a first attach: it may have given up what a replica has, on purpose.
                let looks = self.list.len() > 1 && (index > 0 || !expected);
                if looks && let Some(missing) = missing(&mut client, request).await.map_err(fault)? {
                    let message =
                        format!("source `{}`: {} lacks {missing}, which the replica has", self.source, client.peer());
                    return Err(Fault::new(Code::ServerBehind, message));
                }
                self.state().by_gtid = Some(now);
            }
        }
        Ok(Reached { client, facts })
    }

    /// Whether the server with this identity may serve a replica by file and position.
    fn admit(
        &self,
        index: usize,
        peer: &str,
        now: &Known,
        replica: &ReplicaSession,
        at: &FilePosition,
    ) -> Result<(), Fault> {
        let mut state = self.state();
        let before = key(replica).and_then(|key| state.stretches.get(&key)).filter(|stretch| stretch.holds(at));
        // At the address of `host` a server with the id of the former one is that server, wherever it lives by now.
        let is_now = |server: &Known| if index == 0 { server.is(now) } else { server.is_surely(now) };
        if let Some(Stretch { server, .. }) = before.filter(|stretch| !is_now(&stretch.server)) {
            let message = format!(
                "the replica stands at {at}, which it was sent from server {}; now server {} answers at {peer}, where \
                 this place means something else",
                server.identity, now.identity
            );
            return Err(Fault::new(Code::ServerChanged, message));
        }
        if index == 0 {
            state.home = Some(now.clone());
            state.absence = None;
            return Ok(());
        }
        if state.home.as_ref().is_some_and(is_now) {
            return Ok(());
        }
        let message = format!(
            "the replica goes by file and position, which are those of {}; {peer} (server {}) has the same data at other places",
            self.list[0].address(),
            now.identity
        );
        Err(Fault::new(Code::ServerChanged, message))
    }

    /// A server answered; what was tried before it did not.
    fn use_server(&self, index: usize, by_position: bool, refusals: &[(usize, Fault)]) {
        // A server that is passed over for one replica's sake is still the one in use for all others.
        if by_position {
            return;
        }
        let before = std::mem::replace(&mut self.state().in_use, index);
        if before != index {
            let why = refusals.iter().map(|(_, fault)| fault.message.as_str()).collect::<Vec<_>>().join("; ");
            warn!(
                source = self.source,
                from = self.list[before].address(),
                to = self.list[index].address(),
                why,
                "another server of the source is used"
            );
        }
    }

    /// No server is left: the fault that says most.
    fn refuse(&self, mut refusals: Vec<(usize, Fault)>) -> Fault {
        refusals.sort_by_key(|(index, _)| *index);
        let host = refusals.first().map(|(_, fault)| fault.code);
        let find = |code| refusals.iter().any(|(_, fault)| fault.code == code).then_some(code);
        let mut code =
            find(Code::ServerChanged).or_else(|| find(Code::ServerBehind)).or(host).unwrap_or(Code::Internal);
        if code == Code::ServerChanged
            && let Some(host) = host.filter(|host| is_absence(*host))
            && !self.host_is_long_away()
        {
            code = host;
        }
        // Where there is only one server, its own words are all there is to say.
        let message = refusals.into_iter().map(|(_, fault)| fault.message).collect::<Vec<_>>().join("; ");
        Fault::new(code, message)
    }

    /// `host` does not answer once more.
    fn host_is_long_away(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let since = match state.absence {
            Some(absence) if now.duration_since(absence.seen) < SAME_ABSENCE => absence.since,
            _ => now,
        };
        state.absence = Some(Absence { since, seen: now });
        now.duration_since(since) >= HOST_MAY_BE_AWAY
    }

    /// When the file was begun in which a replica was sent what lies before the place that it asks for, if that is known.
    pub(super) fn file_of(&self, replica: &ReplicaSession, at: &FilePosition) -> Option<u32> {
        // Whoever asks for the start of a file has been sent nothing of it, or begins anew.
        let key = key(replica).filter(|_| at.position > FIRST_POSITION)?;
        let state = self.state();
        let stretch = state.stretches.get(&key).filter(|stretch| stretch.holds(at))?;
        Some(stretch.created).filter(|created| *created != 0)
    }

    /// A replica is served by GTID. The positions that it has afterwards are those that came with that stream, maybe from another server or
    /// out of files that were begun anew, and not those of the last stretch.
    pub(super) fn goes_by_gtid(&self, replica: &ReplicaSession, server: Known) {
        let nowhere = FilePosition::default();
        let stretch = Stretch { server, from: nowhere.clone(), to: nowhere, created: 0, since: Instant::now() };
        // It holds no place, and hides what a stream by position leaves behind that ends late.
        self.left(replica, stretch);
    }

    /// A stream by file and position has ended: a replica that comes back into what it was sent wants the same server, and the same file.
    pub(super) fn left(&self, replica: &ReplicaSession, mut stretch: Stretch) {
        let Some(key) = key(replica) else { return };
        let mut state = self.state();
        if state.stretches.get(&key).is_some_and(|known| known.since > stretch.since) {
            return;
        }
        // A replica that goes on where it was is still in the stretch that it began earlier.
        if let Some(before) = state.stretches.get(&key)
            && before.server.is(&stretch.server)
            && before.holds(&stretch.from)
        {
            stretch.from = before.from.clone();
        }
        if state.stretches.insert(key.clone(), stretch).is_none() {
            state.order.push_back(key);
            if state.order.len() > MAX_STRETCHES
                && let Some(oldest) = state.order.pop_front()
            {
                state.stretches.remove(&oldest);
            }
        }
    }

    /// Whether a stream may go on at the server that has answered, behind the replica's back: its handshake was with another one.
    pub(super) fn may_go_on(before: &SourceFacts, now: &SourceFacts) -> bool {
        let release = |facts: &SourceFacts| (facts.version.vendor, facts.version.number / 100);
        release(before) == release(now) && before.lower_case_table_names == now.lower_case_table_names
    }

    /// The stream goes on at another server.
    pub(super) fn went_on(&self, route: &str, now: &str, peer: &str) {
        info!(
            route,
            source = self.source,
            server = peer,
            identity = now,
            "the stream goes on at another server of the source"
        );
    }
}

impl Stretch {
    /// Whether a replica that asks for a place was sent what lies before it. The place at which it began was an operator's word, for
    /// whatever server is there.
    fn holds(&self, at: &FilePosition) -> bool {
        let after_start = self.from.file != at.file || at.position > self.from.position;
        at.file == self.to.file && at.position <= self.to.position && after_start
    }
}

/// Whether a fault says that a server is not there now.
fn is_absence(code: Code) -> bool {
    matches!(code, Code::SourceUnreachable | Code::SourceLost | Code::SourceSilent)
}

/// What a replica by GTID has and the server does not; `None` where it has all. Transactions that were born on the replica itself do
/// not count: no server of the source has them.
async fn missing(client: &mut Client, request: &ReplicaRequest) -> Result<Option<String>, SourceError> {
    match &request.start {
        ReplicaStart::MySqlGtid(set) => {
            let executed = client.query("SELECT @@GLOBAL.gtid_executed").await?.single().unwrap_or_default();
            let own = request.replica.uuid.as_deref().and_then(|uuid| Uuid::parse_str(uuid).ok());
            Ok(missing_of_mysql(set, &executed, own))
        }
        ReplicaStart::MariaDbGtid(state) if client.version().vendor == Vendor::MariaDb => {
            let logged = client.query("SELECT @@GLOBAL.gtid_binlog_pos").await?.single().unwrap_or_default();
            Ok(missing_of_mariadb(state, &logged))
        }
        ReplicaStart::MariaDbGtid(_) | ReplicaStart::FilePosition(_) => Ok(None),
    }
}

fn missing_of_mysql(set: &[u8], executed: &str, own: Option<Uuid>) -> Option<String> {
    // A set that cannot be read is for the server to judge.
    let (asked, executed) = (GtidSet::decode(set).ok()?, executed.parse::<GtidSet>().ok()?);
    let mut missing = asked.difference(&executed);
    if let Some(own) = own {
        missing.remove_server(own);
    }
    (!missing.is_empty()).then(|| missing.to_string())
}

/// A domain that the server has nothing of is for the server to judge.
fn missing_of_mariadb(state: &str, logged: &str) -> Option<String> {
    let (asked, logged) = (state.parse::<MariaDbPosition>().ok()?, logged.parse::<MariaDbPosition>().ok()?);
    let behind = asked.iter().filter(|gtid| logged.get(gtid.domain).is_some_and(|last| last.sequence < gtid.sequence));
    let behind: Vec<String> = behind.map(|gtid| gtid.to_string()).collect();
    (!behind.is_empty()).then(|| behind.join(","))
}

#[cfg(test)]
mod tests;
