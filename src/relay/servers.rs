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
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn endpoint(port: u16) -> Endpoint {
        Endpoint {
            host: "127.0.0.1".to_owned(),
            port,
            user: "u".to_owned(),
            password: crate::secret::Secret::new(String::new()),
            tls: crate::source::TlsMode::Disabled,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            connect_timeout: Duration::from_secs(1),
        }
    }

    fn server(identity: &str) -> Known {
        Known { identity: identity.to_owned(), residence: None }
    }

    fn servers() -> Servers {
        Servers::new("primary".to_owned(), vec![endpoint(1), endpoint(2), endpoint(3)])
    }

    fn at(file: &str, position: u64) -> FilePosition {
        FilePosition { file: file.into(), position }
    }

    fn stretch(since: Instant, created: u32) -> Stretch {
        Stretch { server: server(A), from: at("bin.000006", 500), to: at("bin.000007", 900), created, since }
    }

    #[test]
    fn a_replica_that_went_by_gtid_meanwhile_has_its_positions_from_elsewhere() {
        let (servers, start) = (servers(), Instant::now());
        let (replica, place) = (ReplicaSession::of_a_test(7), at("bin.000007", 900));
        servers.left(&replica, stretch(start, 33));
        assert_eq!(servers.file_of(&replica, &place), Some(33));
        assert!(servers.admit(0, "a:1", &server(B), &replica, &place).is_err());
        servers.goes_by_gtid(&replica, server(B));
        for _ in 0..2 {
            assert_eq!(servers.file_of(&replica, &place), None);
            assert!(servers.admit(0, "a:1", &server(B), &replica, &place).is_ok());
            // The former stream ends late.
            servers.left(&replica, stretch(start, 33));
        }
        servers.left(&replica, stretch(Instant::now(), 44));
        assert_eq!(servers.file_of(&replica, &place), Some(44));
    }

    #[test]
    fn the_file_of_a_stretch_is_known_and_an_older_stream_that_ends_late_does_not_hide_it() {
        let (servers, start) = (servers(), Instant::now());
        servers.left(&ReplicaSession::of_a_test(7), stretch(start + Duration::from_secs(1), 33));
        servers.left(&ReplicaSession::of_a_test(7), stretch(start, 22));
        let file_of = |id, place| servers.file_of(&ReplicaSession::of_a_test(id), &place);
        assert_eq!(file_of(7, at("bin.000007", 900)), Some(33));
        for (id, place) in [(8, at("bin.000007", 900)), (7, at("bin.000007", 4)), (7, at("bin.000007", 901))] {
            assert_eq!(file_of(id, place), None);
        }
        servers.left(&ReplicaSession::of_a_test(7), stretch(start + Duration::from_secs(2), 0));
        assert_eq!(file_of(7, at("bin.000007", 900)), None, "the last stream did not get to know its file");
    }

    #[test]
    fn a_position_is_taken_by_host_and_by_the_server_that_host_was() {
        let (servers, place) = (servers(), at("bin.000007", 900));
        let admit = |index, identity| {
            servers.admit(index, "127.0.0.1:2", &server(identity), &ReplicaSession::of_a_test(7), &place)
        };
        assert_eq!(admit(1, A).unwrap_err().code, Code::ServerChanged, "nobody knows yet whose positions these are");
        assert_eq!(admit(0, A), Ok(()));
        assert_eq!(admit(1, A), Ok(()), "the same server at another address");
        assert_eq!(admit(2, B).unwrap_err().code, Code::ServerChanged);
    }

    #[test]
    fn a_replica_that_comes_back_into_what_it_was_sent_wants_the_same_server() {
        let servers = servers();
        servers.left(&ReplicaSession::of_a_test(7), stretch(Instant::now(), 3));
        let admit = |id, identity, place| {
            servers.admit(0, "127.0.0.1:1", &server(identity), &ReplicaSession::of_a_test(id), &place)
        };
        for place in [at("bin.000007", 900), at("bin.000007", 4), at("bin.000007", 899)] {
            assert_eq!(admit(7, B, place.clone()).unwrap_err().code, Code::ServerChanged, "{place}");
            assert_eq!(admit(7, A, place.clone()), Ok(()));
            assert_eq!(admit(8, B, place), Ok(()), "another replica's");
        }
        // An operator has pointed the replica at another place.
        for place in [at("bin.000007", 901), at("bin.000001", 4), at("bin.000006", 400)] {
            assert_eq!(admit(7, B, place), Ok(()));
        }
    }

    #[test]
    fn a_stretch_grows_only_from_a_place_in_it_and_at_the_same_server() {
        let (from, to) = (at("bin.000007", 100), at("bin.000007", 200));
        for (before, gone_on, is_of_it) in [
            (stretch(Instant::now(), 3), server(A), true),
            // From its start on, for the place at which it begins is in no stretch.
            (Stretch { from: at("bin.000007", 500), ..stretch(Instant::now(), 3) }, server(A), false),
            (stretch(Instant::now(), 3), server(B), false),
        ] {
            let (servers, replica) = (servers(), ReplicaSession::of_a_test(7));
            servers.left(&replica, before);
            let second = Stretch { server: gone_on, from: from.clone(), to: to.clone(), ..stretch(Instant::now(), 4) };
            servers.left(&replica, second);
            let holds = |position| servers.file_of(&replica, &at("bin.000007", position)).is_some();
            assert!(holds(150) && !holds(201));
            assert_eq!(holds(50), is_of_it, "{:?}", servers.state().stretches);
        }
    }

    #[test]
    fn a_stream_goes_on_behind_a_replicas_back_only_at_a_server_of_its_kind() {
        let facts = |version: &str, names: &str| {
            let version = crate::binlog::ServerVersion::parse(version).expect("a version");
            let variables = [("lower_case_table_names".to_owned(), names.to_owned())];
            SourceFacts::of(version, variables.into_iter().collect())
        };
        let before = facts("5.7.29-log", "0");
        for (now, may) in [
            (facts("5.7.44", "0"), true),
            (facts("5.7.29-log", "1"), false),
            (facts("5.6.51", "0"), false),
            (facts("8.0.36", "0"), false),
            (facts("5.7.29-MariaDB", "0"), false),
        ] {
            assert_eq!(Servers::may_go_on(&before, &now), may, "{}", now.version.text);
            assert_eq!(Servers::may_go_on(&now, &before), may, "{}", now.version.text);
        }
    }

    #[test]
    fn so_many_replicas_are_remembered_and_the_newest_are_among_them() {
        let servers = servers();
        let all = MAX_STRETCHES as u32 + 9;
        for id in 1..=all {
            servers.left(&ReplicaSession::of_a_test(id), stretch(Instant::now(), 3));
            // It comes again, and is not counted twice.
            servers.left(&ReplicaSession::of_a_test(id), stretch(Instant::now(), 3));
        }
        let knows = |id| servers.file_of(&ReplicaSession::of_a_test(id), &at("bin.000007", 900)).is_some();
        assert_eq!((1..=all).filter(|id| knows(*id)).count(), MAX_STRETCHES);
        assert!(!knows(9) && knows(10));
        let state = servers.state();
        assert_eq!((state.stretches.len(), state.order.len()), (MAX_STRETCHES, MAX_STRETCHES));
    }

    #[test]
    fn a_place_up_to_which_nothing_was_sent_is_anybodys() {
        let (servers, start, end) = (servers(), at("bin.000001", 157), at("bin.000001", 900));
        let admit =
            |place: &FilePosition| servers.admit(0, "127.0.0.1:1", &server(B), &ReplicaSession::of_a_test(7), place);
        servers.left(
            &ReplicaSession::of_a_test(7),
            Stretch { from: start.clone(), to: start.clone(), ..stretch(Instant::now(), 3) },
        );
        assert_eq!(admit(&start), Ok(()), "a new server, on which nothing has happened either");
        servers.left(
            &ReplicaSession::of_a_test(7),
            Stretch { from: start.clone(), to: end.clone(), ..stretch(Instant::now(), 3) },
        );
        servers.left(
            &ReplicaSession::of_a_test(7),
            Stretch { from: end.clone(), to: end.clone(), ..stretch(Instant::now(), 3) },
        );
        assert_eq!(admit(&end).unwrap_err().code, Code::ServerChanged, "it was sent something before it came back");
        assert_eq!(admit(&start), Ok(()));
    }

    #[test]
    fn servers_of_one_cluster_that_share_an_id_have_positions_of_their_own() {
        let node =
            |host: &str| Known { identity: "server id 1".to_owned(), residence: Some(format!("{host}:3306 /data/")) };
        let (servers, place) = (servers(), at("bin.000007", 900));
        let admit = |index, server: &Known| {
            servers
                .admit(index, "127.0.0.1:2", server, &ReplicaSession::of_a_test(7), &place)
                .map_err(|fault| fault.code)
        };
        let changed = Err(Code::ServerChanged);
        assert_eq!(admit(0, &node("a")), Ok(()));
        assert_eq!(admit(1, &node("b")), changed, "`host` is away for a moment");
        assert_eq!(admit(1, &node("a")), Ok(()), "`host` at another address");
        let other_id = Known { identity: "server id 9".to_owned(), ..node("a") };
        assert_eq!(admit(1, &other_id), Ok(()), "SET GLOBAL server_id");
        assert_eq!(admit(1, &server("server id 1")), Ok(()), "it does not say where it lives");
        servers.left(&ReplicaSession::of_a_test(7), Stretch { server: node("a"), ..stretch(Instant::now(), 3) });
        assert_eq!((admit(1, &node("b")), admit(1, &node("a"))), (changed, Ok(())));
        assert!(!node("a").is_surely(&node("b")) && node("a").word() != node("b").word());
        assert!(!server(A).is_surely(&server(B)) && server(A).is_surely(&server(A)));
    }

    #[test]
    fn a_server_without_uuid_is_the_same_under_another_id_and_another_one_elsewhere() {
        let facts = |id: &str, host: &str, uid: &str, uuid: &str| {
            let variables = [
                ("server_id", id),
                ("hostname", host),
                ("port", "3306"),
                ("datadir", "/data/"),
                ("server_uid", uid),
                ("server_uuid", uuid),
            ];
            let there = variables.into_iter().filter(|(_, value)| !value.is_empty());
            let version = crate::binlog::ServerVersion::parse("10.11.8-MariaDB").expect("a version");
            SourceFacts::of(version, there.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
        };
        let servers = servers();
        let come_back = |before: &SourceFacts, now: &SourceFacts| {
            servers.left(
                &ReplicaSession::of_a_test(7),
                Stretch { server: Known::of(before), ..stretch(Instant::now(), 3) },
            );
            servers
                .admit(0, "127.0.0.1:1", &Known::of(now), &ReplicaSession::of_a_test(7), &at("bin.000007", 900))
                .map_err(|fault| fault.code)
        };
        let changed = Err(Code::ServerChanged);
        let before = facts("1", "db", "x", "");
        assert_eq!(come_back(&before, &facts("10", "db", "x", "")), Ok(()), "SET GLOBAL server_id");
        assert_eq!(come_back(&before, &facts("1", "moved", "y", "")), Ok(()), "the id says who it is");
        assert_eq!(come_back(&before, &facts("10", "db2", "x", "")), changed);
        assert_eq!(come_back(&before, &facts("10", "db", "y", "")), changed);
        let nameless = facts("1", "localhost.localdomain", "", "");
        assert_eq!(come_back(&nameless, &facts("10", "localhost.localdomain", "", "")), changed, "a name of many");
        assert_eq!(come_back(&facts("1", "db", "", A), &facts("1", "db", "", B)), changed, "a uuid is for good");
    }

    #[test]
    fn replicas_by_position_wait_for_host_before_they_are_refused() {
        let servers = servers();
        let refusals = || {
            let changed = servers
                .admit(1, "127.0.0.1:2", &server(B), &ReplicaSession::of_a_test(7), &at("bin.000007", 4))
                .unwrap_err();
            vec![(1, changed), (0, Fault::new(Code::SourceUnreachable, "127.0.0.1:1 is away"))]
        };
        let first = servers.refuse(refusals());
        assert_eq!(first.code, Code::SourceUnreachable, "it may be a restart: {first}");
        assert!(first.message.starts_with("127.0.0.1:1 is away; the replica goes by file and position"), "{first}");
        let long_ago = Instant::now().checked_sub(HOST_MAY_BE_AWAY).expect("the clock is older than a minute");
        servers.state().absence = Some(Absence { since: long_ago, seen: Instant::now() });
        assert_eq!(servers.refuse(refusals()).code, Code::ServerChanged);
    }

    #[test]
    fn the_server_in_use_is_asked_first_and_positions_are_asked_of_host_first() {
        let servers = servers();
        servers.use_server(2, false, &[]);
        servers.use_server(1, true, &[]);
        assert_eq!((servers.order(false), servers.order(true)), (vec![2, 0, 1], vec![0, 1, 2]));
    }

    #[test]
    fn what_a_server_lacks_is_named_and_the_replicas_own_transactions_do_not_count() {
        let set = |text: &str| text.parse::<GtidSet>().expect(text).encode();
        let own = Uuid::parse_str(B).expect("a uuid");
        let (asked, had) = (set(&format!("{A}:1-9,{B}:1-3")), format!("{A}:1-5:8-20"));
        assert_eq!(missing_of_mysql(&asked, &had, Some(own)), Some(format!("{A}:6-7")));
        assert_eq!(missing_of_mysql(&asked, &format!("{A}:1-20"), Some(own)), None);
        assert_eq!(missing_of_mysql(&asked, &format!("{A}:1-20"), None), Some(format!("{B}:1-3")));
        assert_eq!(missing_of_mariadb("0-1-20,1-1-5", "0-2-19,1-1-5"), Some("0-1-20".to_owned()));
        assert_eq!(missing_of_mariadb("0-1-20,7-1-5", "0-2-20"), None);
    }
}
