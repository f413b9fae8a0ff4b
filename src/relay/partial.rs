//! What a MariaDB replica may have of a transaction whose end it was not sent.
//!
//! A MariaDB replica that goes by GTID asks for the whole of such a transaction again and leaves out as many events of it as it has
//! (`events_queued_since_last_gtid` in `slave.cc`). So the transaction must come out in the same events. Where it may not (other rules,
//! another server of the source, which splits rows otherwise), the replica is made to take back what it has: at a ROTATE to another file
//! than the one that it is in, before the first GTID of the stream, it takes the server for one that has crashed inside of the
//! transaction, rolls back, and counts anew (`queue_event`). A part that is in tables without transactions cannot be rolled back: the
//! replica is stopped instead.
//!
//! Whether it stands inside of a transaction is seen by the position in its dump command: its receiver's, and no part of the request. The
//! ROTATE that begins a stream would put it back; so until the first transaction comes it says what the replica itself said.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};

use crate::binlog::{Event, EventType, MariaDbGtid, Rotate, flags, for_mid_file};
use crate::fault::{Code, Fault};
use crate::gtid::{MariaDbGtidText, MariaDbPosition};
use crate::pipeline::coordinates::{FIRST_POSITION, FilePosition};
use crate::replica::backend::{ReplicaRequest, ReplicaStart};

use super::progress::Progress;
use super::servers::Known;
use super::start::LARGEST_POSITION;

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
    records: HashMap<Key, Record>,
    /// The keys of `records` by age.
    order: VecDeque<Key>,
}

/// A replica's server id and where it comes from: MariaDB replicas have nothing else.
type Key = (u32, IpAddr);

#[derive(Debug, Clone)]
struct Record {
    /// See [`super::place::Rendering::word`].
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

    /// A GTID stream was opened at a server.
    pub(super) fn comes_from(&self, server: &Known) {
        let mut state = self.state();
        if state.server.as_ref().is_some_and(|before| !before.is_surely(server)) {
            state.epoch += 1;
        }
        state.server = Some(server.clone());
    }
}

impl State {
    fn remember(&mut self, key: Key, record: Record) {
        if self.records.insert(key, record).is_none() {
            self.order.push_back(key);
            if self.order.len() > MAX_RECORDS
                && let Some(oldest) = self.order.pop_front()
            {
                self.records.remove(&oldest);
            }
        }
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
}

impl Arrival {
    /// `None` where the replica does not go by MariaDB GTID, or does not come back.
    pub(super) fn new(partials: &Arc<Partials>, route: &str, request: &ReplicaRequest, word: &str) -> Option<Self> {
        let server_id = request.replica.server_id;
        if server_id == 0 || !matches!(request.start, ReplicaStart::MariaDbGtid(_)) {
            return None;
        }
        let (epoch, session) = {
            let mut state = partials.state();
            state.sessions += 1;
            (state.epoch, state.sessions)
        };
        Some(Self {
            partials: Arc::clone(partials),
            route: route.to_owned(),
            key: (server_id, request.replica.peer.ip()),
            word: word.into(),
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
                EventType::FORMAT_DESCRIPTION => self.stream.format = Some(out[index].clone()),
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

    /// The first ROTATE of the stream leaves the receiver where it is, as long as that is in the file.
    fn rotate(&mut self, event: &mut Event) {
        let Ok(rotate) = Rotate::read(event.body()) else { return };
        let begins = self.stream.file.is_empty();
        let file = rotate.file.to_vec();
        if begins && event.header().flags & flags::ARTIFICIAL != 0 && file == self.receiver.file {
            let position = rotate.position.max(self.receiver.position);
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
                 which is right if the rules are those under which it was sent"
            ),
            Verdict::TakesBack => info!(
                route,
                server_id,
                %gtid,
                "the replica may stand inside a transaction that it was sent otherwise: the replica takes the transaction again from its beginning"
            ),
            Verdict::Stops => {
                let message = format!(
                    "the replica was sent a part of transaction {gtid} under other rules; the transaction changes tables without \
                     transactions, in which that part stays whatever happens, and the replica would leave out as many events of what comes now"
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
        // What a replica says has 32 bits. In another file it takes back by itself what it has.
        let behind = start > LARGEST_POSITION || self.receiver.position > start;
        let is_inside = behind && self.receiver.file == self.stream.file;
        let before = state.records.get(&self.key).filter(|before| before.epoch == epoch && epoch == self.epoch);
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
            state.remember(self.key, Record { word, epoch: self.epoch, session, doubtful, put_out: None });
        }
        verdict
    }

    /// The stream ends.
    pub(super) fn left(&self, progress: &Progress) {
        if !self.decided {
            return;
        }
        let mut state = self.partials.state();
        let record = state.records.get_mut(&self.key).filter(|record| record.session == self.session);
        if let Some(record) = record {
            record.put_out = progress.put_out().filter(|put_out| put_out.iter().count() <= MAX_DOMAINS);
        }
    }
}
