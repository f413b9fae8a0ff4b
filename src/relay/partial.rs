//! What a MariaDB replica may have of a transaction whose end it was not sent.
//!
//! A MariaDB replica that goes by GTID asks for the whole of such a transaction again and leaves out as many events of it as it has
//! (`events_queued_since_last_gtid` in `slave.cc`). So the transaction must come out in the same events. Where it may not (other rules,
//! another server of the source, which splits rows otherwise), the replica is made to take back what it has: at a ROTATE to another file
//! than the one that it is in, before the first GTID of the stream, it takes the server for one that has crashed inside of the
//! transaction, rolls back, and counts anew (`queue_event`). A part that is in tables without transactions cannot be rolled back: the
//! replica is stopped instead.
//!
//! A MySQL replica that goes by file and position asks for the rest of the transaction, by the count of what it has. Under other rules that count
//! is another place, or none; such a replica is stopped too.
//!
//! Whether a MariaDB replica stands inside of a transaction is seen by the position in its dump command: its receiver's, and no part of the request. The
//! ROTATE that begins a stream would put it back; so until the first transaction comes it says what the replica itself said.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};

use crate::binlog::{Event, EventType, MariaDbGtid, Rotate, Vendor, flags, for_mid_file};
use crate::fault::{Code, Fault};
use crate::gtid::{MariaDbGtidText, MariaDbPosition};
use crate::pipeline::coordinates::{FIRST_POSITION, FilePosition};
use crate::replica::backend::{ReplicaRequest, ReplicaStart};

use super::progress::Progress;
use super::servers::Known;

/// Replicas that are remembered; beyond it the oldest is forgotten.
const MAX_RECORDS: usize = 4096;

/// Positions with more domains are not kept.
const MAX_DOMAINS: usize = 64;

/// What is added to a file's name for a file that there is not.
const NO_FILE: &[u8] = b".again";

/// How the replicas of a route were sent what they were sent last. It outlives reloads.
#[derive(Debug, Default)]
pub struct Partials {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The server that GTID streams come from, and how often that was another one than before.
    server: Option<Known>,
    epoch: u64,
    sessions: u64,
    records: Remembered<Record>,
    /// The rules under which MySQL replicas by file and position were sent what they were sent last.
    positions: Remembered<String>,
}

/// What is known of replicas.
#[derive(Debug)]
struct Remembered<T> {
    replicas: HashMap<Key, T>,
    /// The keys of `replicas` by age.
    order: VecDeque<Key>,
}

/// A replica's server id and where it comes from: MariaDB replicas have nothing else.
type Key = (u32, IpAddr);

#[derive(Debug, Clone)]
struct Record {
    /// See [`super::place::Rendering::events`].
    word: Arc<str>,
    epoch: u64,
    session: u64,
    /// The transaction of which the replica may still have a part that was sent otherwise.
    doubtful: Option<MariaDbGtidText>,
    /// What had been put out when the stream ended; `None` where that is not known.
    put_out: Option<MariaDbPosition>,
}

impl Partials {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A GTID stream was opened at a server. The number changes with the server.
    pub(super) fn comes_from(&self, server: &Known) -> u64 {
        let mut state = self.state();
        if state.server.as_ref().is_some_and(|before| !before.is_surely(server)) {
            state.epoch += 1;
        }
        state.server = Some(server.clone());
        state.epoch
    }
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { replicas: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Remembered<T> {
    fn insert(&mut self, key: Key, what: T) {
        if self.replicas.insert(key, what).is_none() {
            self.order.push_back(key);
            if self.order.len() > MAX_RECORDS
                && let Some(oldest) = self.order.pop_front()
            {
                self.replicas.remove(&oldest);
            }
        }
    }
}

/// A MySQL replica that goes by file and position and has come (back), until its place is found.
#[derive(Debug)]
pub(super) struct Return {
    partials: Arc<Partials>,
    key: Key,
    at: FilePosition,
    rules: String,
    is_from_other_rules: bool,
}

impl Return {
    /// `None` where the replica goes otherwise, or does not come back. `rules`: their fingerprint.
    pub(super) fn new(partials: &Arc<Partials>, request: &ReplicaRequest, rules: String) -> Option<Self> {
        let ReplicaStart::FilePosition(at) = &request.start else { return None };
        let key = (request.replica.server_id, request.replica.peer.ip());
        if key.0 == 0 || request.replica.vendor != Vendor::MySql {
            return None;
        }
        let before = partials.state().positions.replicas.get(&key).cloned();
        let is_from_other_rules = before.is_some_and(|before| before != rules);
        Some(Self { partials: Arc::clone(partials), key, at: at.clone(), rules, is_from_other_rules })
    }

    /// Whether the replica was sent what it has under other rules, so that a place inside of a transaction is not this one.
    pub(super) fn is_from_other_rules(&self) -> bool {
        self.is_from_other_rules
    }

    /// The place is found, `inside` of a transaction or not.
    pub(super) fn found(self, inside: bool) -> Result<(), Fault> {
        if inside && self.is_from_other_rules {
            let message = format!("a part of the transaction at {} was sent under other rules", self.at);
            return Err(Fault::new(Code::ReplicaPartial, message));
        }
        self.begins();
        Ok(())
    }

    /// The stream begins where the replica asked for, which nobody needs to look for.
    pub(super) fn begins(self) {
        self.partials.state().positions.insert(self.key, self.rules);
    }
}

/// What is done about the part that a replica may have.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It has none.
    Nothing,
    /// It leaves out what it has; its count is put right.
    LeavesOut,
    /// The same, though nobody knows how it was sent.
    LeavesOutOnTrust,
    /// It takes back what it has.
    TakesBack,
    /// It has it from other rules, and cannot take it back.
    Stops,
}

/// A replica that goes by MariaDB GTID and has come (back), until its first transaction goes out; then what it is remembered by.
#[derive(Debug)]
pub(super) struct Arrival {
    partials: Arc<Partials>,
    route: String,
    key: Key,
    /// How it is sent what it is sent now.
    word: Arc<str>,
    epoch: u64,
    session: u64,
    /// Where its receiver stands, as it says.
    receiver: FilePosition,
    stream: Begun,
    decided: bool,
}

/// The stream before its first transaction.
#[derive(Debug, Default)]
struct Begun {
    file: Vec<u8>,
    format: Option<Event>,
    /// The receiver was left where it is.
    stays: bool,
}

impl Arrival {
    /// `None` where the replica does not go by MariaDB GTID, or does not come back. `epoch`: see [`Partials::comes_from`].
    pub(super) fn new(
        partials: &Arc<Partials>,
        route: &str,
        request: &ReplicaRequest,
        (word, epoch): (&Arc<str>, u64),
    ) -> Option<Self> {
        let server_id = request.replica.server_id;
        if server_id == 0 || !matches!(request.start, ReplicaStart::MariaDbGtid(_)) {
            return None;
        }
        let session = {
            let mut state = partials.state();
            state.sessions += 1;
            state.sessions
        };
        Some(Self {
            partials: Arc::clone(partials),
            route: route.to_owned(),
            key: (server_id, request.replica.peer.ip()),
            word: Arc::clone(word),
            epoch,
            session,
            receiver: request.receiver.clone(),
            stream: Begun::default(),
            decided: false,
        })
    }

    /// Whether the first transaction has gone out.
    pub(super) fn is_decided(&self) -> bool {
        self.decided
    }

    /// Looks through what goes out next for the first transaction. Says where in it how many events were added.
    pub(super) fn pass(&mut self, out: &mut Vec<Event>) -> Result<Option<(usize, usize)>, Fault> {
        for index in 0..out.len() {
            if self.decided {
                break;
            }
            match out[index].event_type() {
                EventType::ROTATE => self.rotate(&mut out[index]),
                EventType::FORMAT_DESCRIPTION => {
                    if self.stream.stays {
                        // A receiver that is further in the file must not count it.
                        out[index] = for_mid_file(&out[index], false);
                    }
                    self.stream.format = Some(out[index].clone());
                }
                // Of the file's head, which a receiver that is further in the file must not count either. It makes no use of the first, and
                // counts no FORMAT_DESCRIPTION of this kind.
                EventType::BINLOG_CHECKPOINT if self.is_behind(&out[index]) => {
                    if let Some(format) = &self.stream.format {
                        out[index] = for_mid_file(format, false);
                    }
                }
                EventType::START_ENCRYPTION if self.is_behind(&out[index]) => {
                    out[index] = out[index].with_header(|header| header.log_pos = 0);
                }
                EventType::MARIADB_GTID => {
                    let added = self.decide(&out[index]).inspect_err(|_| out.truncate(index))?;
                    let count = added.len();
                    out.splice(index..index, added);
                    return Ok((count > 0).then_some((index, count)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether the receiver, which was left where it is, is further in the file than the event.
    fn is_behind(&self, event: &Event) -> bool {
        self.stream.stays && u64::from(event.header().log_pos) <= self.receiver.position
    }

    /// The ROTATE that begins the stream leaves the receiver where it is, as long as that is in the file.
    fn rotate(&mut self, event: &mut Event) {
        let Ok(rotate) = Rotate::read(event.body()) else { return };
        let file = rotate.file.to_vec();
        // A stream that is asked for again before its first transaction begins once more.
        let begins = (self.stream.file.is_empty() || self.stream.stays && self.stream.file == file)
            && event.header().flags & flags::ARTIFICIAL != 0;
        let position = self.receiver.position;
        self.stream.stays = begins && file == self.receiver.file && position > rotate.position;
        if self.stream.stays {
            *event = Event::build(*event.header(), &[&position.to_le_bytes(), &file], event.checksum());
        }
        self.stream.file = file;
    }

    fn decide(&mut self, event: &Event) -> Result<Vec<Event>, Fault> {
        self.decided = true;
        let (Ok(read), Some(format)) = (MariaDbGtid::read(event.body()), &self.stream.format) else {
            return Ok(Vec::new());
        };
        let header = event.header();
        let gtid = MariaDbGtidText { domain: read.domain, server_id: header.server_id, sequence: read.sequence };
        let start = u64::from(header.log_pos.saturating_sub(header.event_length)).max(FIRST_POSITION);
        let verdict = self.judge(gtid, start, read.flags2);
        let (route, server_id) = (&self.route, self.key.0);
        match verdict {
            Verdict::Nothing => return Ok(Vec::new()),
            Verdict::LeavesOut => {}
            Verdict::LeavesOutOnTrust => warn!(
                route,
                server_id,
                %gtid,
                "the replica stands inside a transaction that changes tables without transactions: it goes on behind the part that it has, \
                 which is right if that was sent under the same rules and from the same server"
            ),
            Verdict::TakesBack => info!(
                route,
                server_id,
                %gtid,
                "the replica may stand inside a transaction that it was sent otherwise: the replica takes the transaction again from its beginning"
            ),
            Verdict::Stops => {
                let message = format!(
                    "a part of {gtid} was sent under other rules, and what it changes is in tables without transactions"
                );
                return Err(Fault::new(Code::ReplicaPartial, message));
            }
        }
        let to =
            |file: &[u8], position| Rotate { position, file }.artificial(format.header().server_id, format.checksum());
        let mut added = Vec::new();
        if verdict == Verdict::TakesBack {
            added.push(to(&[&self.stream.file, NO_FILE].concat(), FIRST_POSITION));
        }
        added.extend([to(&self.stream.file, start), for_mid_file(format, false)]);
        Ok(added)
    }

    /// What is done about the first transaction, which begins at `start` of the source's file.
    fn judge(&self, gtid: MariaDbGtidText, start: u64, flags2: u8) -> Verdict {
        let mut state = self.partials.state();
        let epoch = state.epoch;
        // In another file it takes back by itself what it has.
        let is_inside = self.receiver.position > start && self.receiver.file == self.stream.file;
        let before =
            state.records.replicas.get(&self.key).filter(|before| before.epoch == epoch && epoch == self.epoch);
        let is_same = before.is_some_and(|before| before.word == self.word && before.doubtful != Some(gtid));
        // Its count may be ahead of the source's position where rules lengthen what they send.
        let was_begun = before.is_none_or(|before| {
            before
                .put_out
                .as_ref()
                .is_none_or(|put_out| put_out.get(gtid.domain).is_some_and(|last| last.sequence >= gtid.sequence))
        });
        // A group of one event besides its GTID has changed nothing before that has come.
        let is_taken_back = flags2 & (MariaDbGtid::TRANSACTIONAL | MariaDbGtid::STANDALONE) != 0;
        let verdict = match (is_inside, is_same, before.is_some()) {
            (false, ..) => Verdict::Nothing,
            (true, true, _) => Verdict::LeavesOut,
            (true, false, true) if !was_begun => Verdict::LeavesOut,
            (true, false, _) if is_taken_back => Verdict::TakesBack,
            (true, false, true) => Verdict::Stops,
            (true, false, false) => Verdict::LeavesOutOnTrust,
        };
        if verdict != Verdict::Stops {
            // The connection may end before the replica has taken anything back.
            let doubtful = (verdict == Verdict::TakesBack).then_some(gtid);
            let (word, session) = (Arc::clone(&self.word), self.session);
            state.records.insert(self.key, Record { word, epoch: self.epoch, session, doubtful, put_out: None });
        }
        verdict
    }

    /// The stream ends.
    pub(super) fn left(&self, progress: &Progress) {
        if !self.decided {
            return;
        }
        let mut state = self.partials.state();
        let record = state.records.replicas.get_mut(&self.key).filter(|record| record.session == self.session);
        if let Some(record) = record {
            record.put_out = progress.put_out().filter(|put_out| put_out.iter().count() <= MAX_DOMAINS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{ChecksumAlgorithm, Header};
    use crate::replica::backend::ReplicaSession;

    const FILE: &[u8] = b"bin.000007";
    const TRANSACTIONAL: u8 = MariaDbGtid::TRANSACTIONAL;

    fn event(event_type: EventType, log_pos: u32, body: &[&[u8]]) -> Event {
        let header = Header { timestamp: 1, event_type, server_id: 7, event_length: 0, log_pos, flags: 0 };
        Event::build(header, body, ChecksumAlgorithm::None)
    }

    /// The GTID 0-7-`sequence`, which begins at 1000 times its number.
    fn gtid(sequence: u32, flags2: u8) -> Event {
        let body = [&u64::from(sequence).to_le_bytes()[..], &[0; 4], &[flags2], &[0; 6]];
        event(EventType::MARIADB_GTID, sequence * 1000 + 38, &body)
    }

    /// A replica whose receiver stands at a position of the file.
    fn arrival(partials: &Arc<Partials>, word: &str, position: u64) -> Arrival {
        let request = ReplicaRequest {
            replica: ReplicaSession::of_a_test(5),
            start: ReplicaStart::MariaDbGtid("0-7-1".to_owned()),
            receiver: FilePosition { file: FILE.to_vec(), position },
            flags: 0,
            non_blocking: false,
        };
        let epoch = partials.state().epoch;
        Arrival::new(partials, "r", &request, (&word.into(), epoch)).expect("it goes by GTID")
    }

    fn beginning() -> Vec<Event> {
        let rotate = Rotate { position: FIRST_POSITION, file: FILE }.artificial(7, ChecksumAlgorithm::None);
        vec![rotate, event(EventType::FORMAT_DESCRIPTION, 300, &[&[0; 80]])]
    }

    /// Where the ROTATEs behind the beginning lead to, after the first group has begun; or the code of the error.
    fn sent(arrival: &mut Arrival, gtid: Event) -> Result<Vec<String>, Code> {
        let (mut out, mut after) = (beginning(), vec![gtid.clone(), event(EventType::XID, 9, &[&[0; 8]])]);
        arrival.pass(&mut out).map_err(|fault| fault.code)?;
        assert!(!arrival.is_decided() && out.len() == 2);
        let passed = arrival.pass(&mut after).map_err(|fault| fault.code);
        let Some((at, count)) = passed.inspect_err(|_| assert!(after.is_empty()))? else {
            assert!(after.len() == 2 && arrival.is_decided());
            return Ok(Vec::new());
        };
        assert_eq!((at, after.len(), after[count].raw()), (0, count + 2, gtid.raw()));
        assert_eq!(after[count - 1].event_type(), EventType::FORMAT_DESCRIPTION);
        let places = after[..count - 1].iter().map(|event| {
            let rotate = Rotate::read(event.body()).expect("a ROTATE");
            FilePosition { file: rotate.file.to_vec(), position: rotate.position }.to_string()
        });
        Ok(places.collect())
    }

    const NONE: &[&str] = &[];
    const LEAVES_OUT: &[&str] = &["bin.000007:2000"];
    const TAKES_BACK: &[&str] = &["bin.000007.again:4", "bin.000007:2000"];

    #[test]
    fn a_replica_takes_back_what_may_have_been_sent_otherwise() {
        let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        // The replica comes to a new process, then again under the same rules, under others, and under the first ones again.
        for (flags2, position, expected) in [
            (TRANSACTIONAL, 2039, [Ok(TAKES_BACK), Ok(TAKES_BACK), Ok(TAKES_BACK), Ok(TAKES_BACK)]),
            (MariaDbGtid::STANDALONE, 2039, [Ok(TAKES_BACK), Ok(TAKES_BACK), Ok(TAKES_BACK), Ok(TAKES_BACK)]),
            (TRANSACTIONAL, 2000, [Ok(NONE), Ok(NONE), Ok(NONE), Ok(NONE)]),
            (0, 2039, [Ok(LEAVES_OUT), Ok(LEAVES_OUT), Err(Code::ReplicaPartial), Ok(LEAVES_OUT)]),
            (0, 2000, [Ok(NONE), Ok(NONE), Ok(NONE), Ok(NONE)]),
        ] {
            let partials = Arc::default();
            for (word, expected) in ["a", "a", "b", "a"].into_iter().zip(expected) {
                let sent = sent(&mut arrival(&partials, word, position), gtid(2, flags2));
                assert_eq!(sent, expected.map(strings), "{flags2} {position} {word}");
            }
        }
    }

    #[test]
    fn what_was_sent_in_the_same_way_is_left_out_and_the_receiver_stays_where_it_is_until_then() {
        let partials = Arc::default();
        let mut first = arrival(&partials, "a", 4);
        assert_eq!(sent(&mut first, gtid(1, TRANSACTIONAL)), Ok(Vec::new()));
        let mut again = arrival(&partials, "a", 2500);
        let mut out = beginning();
        assert_eq!(again.pass(&mut out).ok(), Some(None));
        assert_eq!(Rotate::read(out[0].body()).expect("a ROTATE").position, 2500);
        // What the source sends of the file's head again is not counted.
        out.extend(
            [(EventType::START_ENCRYPTION, 340), (EventType::BINLOG_CHECKPOINT, 380)]
                .map(|(event_type, end)| event(event_type, end, &[&[0; 21]])),
        );
        let mut head = out.split_off(2);
        assert_eq!(again.pass(&mut head).ok(), Some(None));
        let at = FilePosition { file: FILE.to_vec(), position: 2500 };
        let mut receiver = crate::pipeline::coordinates::ReceiverPosition::new(Vendor::MariaDb, at.clone());
        out.iter().chain(&head).for_each(|event| receiver.receive(event));
        assert_eq!((receiver.at(), head.len()), (&at, 2));
        // The source is asked again before a transaction has come: the receiver stays where it is.
        let mut anew = beginning();
        assert_eq!(again.pass(&mut anew).ok(), Some(None));
        anew.iter().for_each(|event| receiver.receive(event));
        assert_eq!(receiver.at(), &at);
        // It is lost before a transaction has come: the next stream is told the same.
        again.left(&Progress::of(&ReplicaStart::MariaDbGtid("0-7-1".to_owned())));
        assert_eq!(sent(&mut arrival(&partials, "a", 2500), gtid(2, 0)), Ok(vec!["bin.000007:2000".to_owned()]));
        // The other one is not in doubt any more when the transaction is over.
        assert_eq!(sent(&mut arrival(&partials, "b", 2500), gtid(2, TRANSACTIONAL)).map(|places| places.len()), Ok(2));
        assert_eq!(sent(&mut arrival(&partials, "b", 2500), gtid(2, TRANSACTIONAL)).map(|places| places.len()), Ok(2));
        assert_eq!(sent(&mut arrival(&partials, "b", 3500), gtid(3, TRANSACTIONAL)).map(|places| places.len()), Ok(1));
    }

    #[test]
    fn a_transaction_that_had_not_begun_is_no_reason_to_stop_where_a_count_is_ahead() {
        let partials = Arc::default();
        let mut first = arrival(&partials, "a", 4);
        assert_eq!(sent(&mut first, gtid(1, 0)), Ok(Vec::new()));
        first.left(&Progress::of(&ReplicaStart::MariaDbGtid("0-7-1".to_owned())));
        assert_eq!(sent(&mut arrival(&partials, "b", 2500), gtid(2, 0)), Ok(vec!["bin.000007:2000".to_owned()]));
    }

    #[test]
    fn what_came_from_another_server_is_taken_back() {
        let server = |id: &str| {
            let version = crate::binlog::ServerVersion::parse("10.11.8-MariaDB").expect("a version");
            let variables =
                [("server_id", "1"), ("hostname", id), ("port", "3306"), ("datadir", "/data/"), ("server_uid", id)];
            let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Known::of(&crate::source::SourceFacts::of(version, variables.into_iter().collect()))
        };
        let partials: Arc<Partials> = Arc::default();
        partials.comes_from(&server("x"));
        let mut first = arrival(&partials, "a", 4);
        assert_eq!(sent(&mut first, gtid(1, TRANSACTIONAL)), Ok(Vec::new()));
        partials.comes_from(&server("x"));
        assert_eq!(sent(&mut arrival(&partials, "a", 2500), gtid(2, TRANSACTIONAL)).map(|places| places.len()), Ok(1));
        partials.comes_from(&server("y"));
        assert_eq!(sent(&mut arrival(&partials, "a", 2500), gtid(2, TRANSACTIONAL)).map(|places| places.len()), Ok(2));
    }

    #[test]
    fn a_place_inside_of_a_transaction_is_one_of_the_rules_under_which_it_was_sent() {
        let partials = Arc::default();
        let found = |rules: &str, inside| {
            let replica = ReplicaSession::of_a_test(5);
            let start = ReplicaStart::FilePosition(FilePosition { file: FILE.to_vec(), position: 2500 });
            let request =
                ReplicaRequest { replica, start, receiver: FilePosition::default(), flags: 0, non_blocking: false };
            let returned = Return::new(&partials, &request, rules.to_owned()).expect("it goes by position");
            returned.found(inside).map_err(|fault| fault.code)
        };
        // Rules that are not known are believed to be the same; a refusal changes nothing.
        for (rules, inside, expected) in [
            ("a", true, Ok(())),
            ("a", true, Ok(())),
            ("b", true, Err(Code::ReplicaPartial)),
            ("b", true, Err(Code::ReplicaPartial)),
            ("a", true, Ok(())),
            ("b", false, Ok(())),
            ("b", true, Ok(())),
            ("a", true, Err(Code::ReplicaPartial)),
        ] {
            assert_eq!(found(rules, inside), expected, "{rules} {inside}");
        }
    }

    #[test]
    fn replicas_that_are_remembered_are_limited() {
        let partials: Arc<Partials> = Arc::default();
        for server_id in 1..=MAX_RECORDS as u32 + 10 {
            let mut one = arrival(&partials, "a", 4);
            one.key.0 = server_id;
            assert_eq!(sent(&mut one, gtid(1, 0)), Ok(Vec::new()));
        }
        let state = partials.state();
        assert_eq!((state.records.replicas.len(), state.records.order.len()), (MAX_RECORDS, MAX_RECORDS));
    }
}
