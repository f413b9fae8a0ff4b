//! One replica's private stream: the source's events through the route, from the place that the replica asked for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tracing::warn;

use crate::binlog::{Event, EventType, FormatDescription, HEADER_LENGTH, Header, Vendor, flags};
use crate::fault::{Code, Fault};
use crate::pipeline::coordinates::FilePosition;
use crate::pipeline::{Seek, Stop, Stream};
use crate::replica::backend::{FeedState, Standing};
use crate::source::{DumpStart, EventStream, SourceError, SourceFacts};
use crate::telemetry::{PolicedStatement, RouteTelemetry, StatementAction, Upstream};

use super::acks::{Asked, Questions};
use super::beat::says_no_more;
use super::identity::Lease;
use super::index::{Index, Mark, fingerprint, is_due};
use super::partial::Return;
use super::place::{Place, Rendering};
use super::servers::identity;
use super::start::{LARGEST_POSITION, Start};

/// So many bytes are put out before the replica's session gets to write them.
const BATCH_BYTES: usize = 1 << 20;

/// A stream from a source through a route to one replica.
pub(super) struct RouteFeed {
    source_name: String,
    facts: Arc<SourceFacts>,
    events: EventStream,
    opened: Instant,
    stream: Stream,
    telemetry: Arc<RouteTelemetry>,
    seek: Option<Seek>,
    /// The replica whose place is looked for.
    returned: Option<Return>,
    /// Waits until the events before it have been written.
    pending: Option<Fault>,
    boundary: bool,
    /// What the receiver counted at the last boundary.
    whole: u64,
    /// How many events there were, put out by the last call and before it, when the stream last stood between two groups in that call.
    whole_events: Option<usize>,
    /// The end of the last whole transaction that was put out, in the source's file and as it is served.
    ended: Option<(u64, u64)>,
    /// The replica has all that lies before the source's position: by GTID it may be far ahead of where the stream begins, and only
    /// what the source sends, or a heartbeat, tells.
    settled: bool,
    /// The source's last word was a heartbeat.
    idle: bool,
    /// That heartbeat told nothing new.
    said_all: bool,
    follows_gtid: bool,
    /// Events that were read while the stream was opened.
    primed: VecDeque<Received>,
    /// What a receiver counts where the source's stream begins, until its first event has come.
    served: Option<u64>,
    marks: Option<Marks>,
    /// What the bytes depend on.
    rendering: Arc<Rendering>,
    /// See [`super::partial::Partials::comes_from`].
    epoch: u64,
    /// Other replicas may get the same.
    shares: bool,
    /// Time of the FORMAT_DESCRIPTION of the source's file.
    created: u32,
    /// The same of the file that the replica's position belongs to, until the source's file has been seen.
    expected: Option<u32>,
    /// Name of the source's file, as it stands in places.
    file: Arc<[u8]>,
    last: Option<Last>,
    /// The place after the last event, where it is one at which another stream can be joined.
    place: Option<Place>,
    /// The places in what was put out, as (events before it, place), while somebody wants them.
    places: Option<Vec<(usize, Place)>>,
    questions: Arc<Questions>,
    asked: Asked,
    _upstream: Upstream,
    lease: Lease,
}

/// The last event that came, as far as places go by it.
#[derive(Debug, Clone, Copy)]
struct Last {
    header: Header,
    /// Its last four bytes.
    raw_end: Option<u32>,
    /// The position that it tells, if it is a heartbeat of a GTID stream in the file at hand.
    beat: Option<u64>,
}

/// Boundaries are remembered under this rendering.
struct Marks {
    index: Arc<Index>,
    rendering: String,
    last: u64,
}

/// An event as the source sent it, and whether it asks for an acknowledgement.
pub(super) type Received = (Bytes, bool);

/// What a stream is made of.
pub(super) struct Parts {
    pub(super) source_name: String,
    /// Of the server that the stream comes from.
    pub(super) facts: Arc<SourceFacts>,
    pub(super) events: EventStream,
    /// The stream's connection was opened after this time.
    pub(super) opened: Instant,
    pub(super) primed: VecDeque<Received>,
    /// The source takes the proxy for a semi-synchronous replica.
    pub(super) semi_sync: bool,
    /// The numbers of the route's questions to replicas.
    pub(super) questions: Arc<Questions>,
    pub(super) stream: Stream,
    pub(super) telemetry: Arc<RouteTelemetry>,
    pub(super) start: Start,
    /// A replica whose place is not found yet.
    pub(super) returned: Option<Return>,
    pub(super) identity: Lease,
    pub(super) replica: Vendor,
    /// Where boundaries are remembered, and as which rendering.
    pub(super) index: Option<(Arc<Index>, String)>,
    /// What the bytes depend on.
    pub(super) rendering: Arc<Rendering>,
    /// Other replicas may get the same.
    pub(super) shares: bool,
}

impl RouteFeed {
    pub(super) fn new(parts: Parts) -> Self {
        let start = parts.start;
        let follows_gtid = !matches!(start.dump, DumpStart::FilePosition { .. });
        let receiver = FilePosition { file: start.from.file.clone(), position: start.served };
        let (file, served) = (start.from.file, start.numbering);
        let seek = start.target.map(|target| Seek::new(target, &served, parts.replica, receiver, file));
        let mut returned = parts.returned;
        if seek.is_none()
            && let Some(returned) = returned.take()
        {
            returned.begins();
        }
        Self {
            _upstream: parts.telemetry.upstream(parts.semi_sync),
            rendering: parts.rendering,
            epoch: 0,
            shares: parts.shares,
            created: 0,
            expected: None,
            last: None,
            file: Arc::default(),
            place: None,
            places: None,
            source_name: parts.source_name,
            facts: parts.facts,
            events: parts.events,
            opened: parts.opened,
            stream: parts.stream,
            telemetry: parts.telemetry,
            seek,
            returned,
            pending: None,
            boundary: true,
            whole: 0,
            whole_events: None,
            ended: None,
            idle: false,
            said_all: false,
            settled: !follows_gtid,
            follows_gtid,
            primed: parts.primed,
            questions: parts.questions,
            asked: Asked::default(),
            served: (!follows_gtid).then_some(start.served),
            marks: parts.index.map(|(index, rendering)| Marks { index, rendering, last: 0 }),
            lease: parts.identity,
        }
    }

    /// What the server is that the stream comes from.
    pub(super) fn facts(&self) -> &Arc<SourceFacts> {
        &self.facts
    }

    /// Its `host:port`.
    pub(super) fn server(&self) -> &str {
        self.events.peer()
    }

    /// The stream's connection was opened after this time.
    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// When the file of the stream's position was begun (seconds since 1970): as the source says, or, before it has, as was expected. 0
    /// where neither is known.
    pub(super) fn created(&self) -> u32 {
        self.expected.unwrap_or(self.created)
    }

    /// The position that was asked for belongs to the file that was begun at this time; 0 where that is not known.
    pub(super) fn expect_file_of(&mut self, created: u32) {
        self.expected = Some(created).filter(|created| *created != 0);
    }

    /// Whether the source's file is the one that the position belongs to. A RESET begins files anew under the names of the former
    /// ones, and the new events may well end at the same positions.
    fn check_file(&mut self, header: &Header) -> Result<(), Fault> {
        let Some(expected) = self.expected.filter(|expected| *expected != header.timestamp) else {
            self.expected = None;
            return Ok(());
        };
        let file = String::from_utf8_lossy(&self.stream.source_position().file).into_owned();
        let message = format!(
            "{} was begun anew at the source, at {} instead of {} (RESET): the replica's position belongs to the former one. To take it for a \
             position of the new one, restart the proxy; where only the header of the file is before it, start at 4 instead",
            crate::telemetry::Escaped(&file),
            time(header.timestamp),
            time(expected)
        );
        Err(Fault::new(Code::ReplicaPosition, message))
    }

    /// As whom the stream was asked for.
    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The number that the stream's connection has there.
    pub(super) fn thread_id(&self) -> u32 {
        self.events.thread_id()
    }

    /// Where the receiver of the replica is.
    pub(super) fn served_position(&self) -> &FilePosition {
        self.stream.served_position()
    }

    /// Where the receiver is that has been sent all whole groups, and nothing of the one at hand.
    pub(super) fn boundary_position(&self) -> FilePosition {
        let at = self.stream.served_position();
        FilePosition { file: at.file.clone(), position: if self.boundary { at.position } else { self.whole } }
    }

    /// Whether the events, of which the last call put out the last ones, end with a whole group. Of the next group something may have come,
    /// and be held back.
    pub(super) fn has_put_out_whole(&self, events: usize) -> bool {
        self.whole_events == Some(events)
    }

    /// Whether the replica's place in the file is still looked for: nothing has been put out.
    pub(super) fn is_seeking(&self) -> bool {
        self.seek.is_some()
    }

    /// What the bytes depend on, where other replicas may get the same.
    pub(super) fn rendering(&self) -> Option<&Arc<Rendering>> {
        self.shares.then_some(&self.rendering)
    }

    /// What the events of a group depend on: see [`Rendering::events`] and [`super::partial::Partials::comes_from`].
    pub(super) fn rendered_as(&self) -> (&Arc<str>, u64) {
        (&self.rendering.events, self.epoch)
    }

    pub(super) fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// Where the stream stands, if it is a place at which another stream can be joined.
    pub(super) fn place(&self) -> Option<&Place> {
        self.place.as_ref().filter(|_| self.pending.is_none() && self.primed.is_empty())
    }

    /// The format of the events that come out.
    pub(super) fn format(&self) -> Option<&FormatDescription> {
        self.stream.format()
    }

    /// From here on places are noted for [`RouteFeed::take_places`].
    pub(super) fn note_places(&mut self) {
        self.places = Some(Vec::new());
    }

    /// The places in what the last call put out, each with the number of events before it.
    pub(super) fn take_places(&mut self) -> Vec<(usize, Place)> {
        self.places.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// See [`crate::replica::backend::Feed::take_questions`].
    pub(super) fn take_questions(&mut self) -> Vec<(usize, u64)> {
        self.asked.take()
    }

    /// See [`crate::replica::backend::Feed::answer`].
    pub(super) fn answer(&mut self, number: u64) {
        if let Some(place) = self.asked.answered(number) {
            self.events.acknowledge(&place.file, place.position);
            self.telemetry.acknowledged();
        }
    }

    /// See [`crate::replica::backend::Feed::at_boundary`].
    pub(super) fn is_at_boundary(&self) -> bool {
        self.boundary && self.pending.is_none()
    }

    /// See [`crate::replica::backend::Feed::heartbeat_position`].
    pub(super) fn heartbeat_position(&self) -> Option<FilePosition> {
        let mut at = (self.follows_gtid && self.boundary).then(|| self.stream.source_position().clone())?;
        at.position = at.position.max(self.last.and_then(|last| last.beat).unwrap_or(0));
        Some(at)
    }

    /// See [`crate::replica::backend::Feed::standing`].
    pub(super) fn standing(&self) -> Option<Standing<'_>> {
        let (source, served) = self.ended.filter(|_| self.seek.is_none())?;
        Some(Standing {
            server: self.events.peer(),
            source: (&self.stream.source_position().file, source),
            // By GTID a receiver counts from anywhere until a heartbeat tells it the source's position.
            served: match self.follows_gtid {
                true => (&self.stream.source_position().file, source),
                false => (&self.stream.served_position().file, served),
            },
        })
    }

    /// See [`crate::replica::backend::Feed::is_caught_up`].
    pub(super) fn is_caught_up(&self) -> bool {
        self.idle && self.seek.is_none()
    }

    /// Whether the source has just said that it has nothing more. A heartbeat that tells how far goes what it has left out does not
    /// say so: MySQL sends one also before the next event.
    pub(super) fn is_out_of_news(&self) -> bool {
        self.said_all && self.seek.is_none()
    }

    /// The next event; those that were read at the start come first.
    async fn first(&mut self) -> Result<Option<Received>, Fault> {
        match self.primed.pop_front() {
            Some(raw) => Ok(Some(raw)),
            None => match self.events.next().await {
                Ok(raw) => Ok(raw.map(|raw| (raw, self.events.asks_for_acknowledgement()))),
                Err(error) => Err(error.fault(&self.source_name)),
            },
        }
    }

    /// The next event that is there already.
    fn following(&mut self) -> Result<Option<Received>, SourceError> {
        match self.primed.pop_front() {
            Some(raw) => Ok(Some(raw)),
            None => Ok(self.events.try_next()?.map(|raw| (raw, self.events.asks_for_acknowledgement()))),
        }
    }

    /// Sees whether the stream now stands at a place at which it is the same as any other of its rendering: between two
    /// groups, after something that the source's file has.
    fn note_place(&mut self, put_out: usize) {
        self.place = None;
        if self.boundary {
            self.whole_events = Some(put_out);
        }
        let Some(Last { header, raw_end, beat }) = self.last else { return };
        let mut source = self.stream.source_position().position;
        let event = match header.event_type {
            // A FORMAT_DESCRIPTION follows.
            EventType::ROTATE => {
                self.created = 0;
                return;
            }
            EventType::FORMAT_DESCRIPTION => {
                self.created = header.timestamp;
                if self.follows_gtid && header.log_pos == 0 {
                    return;
                }
                None
            }
            // What a GTID replica has is left out, and the source says by a heartbeat how far it has come.
            EventType::HEARTBEAT | EventType::HEARTBEAT_V2 => {
                source = source.max(beat.unwrap_or(0));
                None
            }
            _ if header.flags & flags::ARTIFICIAL != 0 => return,
            _ => Some((header.timestamp, raw_end.unwrap_or(0))),
        };
        if !self.boundary || self.seek.is_some() || self.created == 0 {
            return;
        }
        if *self.file != *self.stream.source_position().file {
            self.file = self.stream.source_position().file.as_slice().into();
        }
        let served = self.stream.served_position().position;
        let place = Place { file: Arc::clone(&self.file), created: self.created, source, served, event };
        if let Some(places) = &mut self.places
            && !(event.is_none() && places.last().is_some_and(|(_, last)| last.source == source))
        {
            places.push((put_out, place.clone()));
        }
        self.place = Some(place);
    }

    fn remember(&mut self, raw: &[u8], header: &Header) {
        let Some(marks) = &mut self.marks else { return };
        let in_file = !matches!(
            header.event_type,
            EventType::HEARTBEAT | EventType::HEARTBEAT_V2 | EventType::ROTATE | EventType::FORMAT_DESCRIPTION
        ) && header.flags & flags::ARTIFICIAL == 0;
        let at = self.stream.source_position();
        // A source cannot be asked for a place beyond 4 GiB.
        if self.boundary && in_file && at.position <= LARGEST_POSITION && is_due(marks.last, at.position) {
            marks.last = at.position;
            let served = self.stream.served_position().position;
            let mark = Mark { source: at.position, served, event: fingerprint(raw) };
            marks.index.remember(&marks.rendering, &at.file, mark);
        }
    }

    pub(super) async fn fill(&mut self, out: &mut Vec<Event>) -> Result<FeedState, Fault> {
        self.whole_events = self.boundary.then_some(out.len());
        if self.stream.owes() {
            self.pay(out)?;
            return Ok(FeedState::More);
        }
        if let Some(fault) = self.pending.take() {
            return Err(fault);
        }
        let Some(first) = self.first().await? else {
            // An end before the place was found must not pass for a place with nothing after it.
            return match &self.seek {
                Some(seek) => Err(Fault::new(Code::ReplicaPosition, seek.missed(self.stream.source_position()))),
                None => Ok(FeedState::EndOfStream),
            };
        };
        let (mut events, mut bytes) = (0, 0);
        let mut next = Some(first);
        while let Some((raw, asks)) = next {
            events += 1;
            bytes += raw.len();
            if asks {
                self.asked.by_source();
            }
            if let Err(fault) = self.take(raw, out) {
                self.pending = Some(fault);
                break;
            }
            // A heartbeat between events says how far what was left out goes, and the replica is to hear of that before them.
            if bytes >= BATCH_BYTES || self.stream.owes() || (self.idle && self.follows_gtid) {
                break;
            }
            next = match self.following() {
                Ok(next) => next,
                Err(error) => {
                    self.pending = Some(error.fault(&self.source_name));
                    None
                }
            };
        }
        self.telemetry.received(events, bytes as u64);
        match self.pending.take() {
            Some(fault) if out.is_empty() && !self.stream.owes() => Err(fault),
            pending => {
                self.pending = pending;
                Ok(FeedState::More)
            }
        }
    }

    fn take(&mut self, raw: Bytes, out: &mut Vec<Event>) -> Result<(), Fault> {
        let header = Header::read(&raw).ok();
        if let Some(header) = &header {
            if header.event_type == EventType::FORMAT_DESCRIPTION {
                self.check_file(header)?;
            }
            self.remember(&raw, header);
        }
        self.idle =
            header.is_some_and(|header| matches!(header.event_type, EventType::HEARTBEAT | EventType::HEARTBEAT_V2));
        let start = out.len();
        if self.boundary {
            self.whole = self.stream.served_position().position;
        }
        let raw_end = raw.last_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let beat = header.filter(|_| self.idle && self.follows_gtid && self.is_of_this_file(&raw));
        let told = self.last.and_then(|last| last.beat).unwrap_or(0).max(self.stream.source_position().position);
        self.said_all = self.idle && says_no_more(beat.map(|beat| beat.log_pos.into()), told);
        let pushed = self.stream.push(raw, out);
        let rotated = header.is_some_and(|header| header.event_type == EventType::ROTATE);
        if rotated && let Some(served) = self.served.take() {
            // The source named its own position; a receiver that was served from the file's start counts another.
            let file = self.stream.served_position().file.clone();
            self.stream.set_served_position(FilePosition { file, position: served });
        }
        let notes = self.stream.take_notes();
        // What is rendered only to find the replica's place was left out, and counted, when the replica passed it.
        let notes = if self.seek.is_none() { notes } else { Vec::new() };
        for note in notes {
            self.telemetry.policed(PolicedStatement {
                action: if note.split { StatementAction::Split } else { StatementAction::Skip },
                rule: note.rule,
                reason: note.reason,
                kind: note.kind.to_owned(),
                server: identity(&self.facts),
                created: self.created,
                file: String::from_utf8_lossy(&note.at.file).into_owned(),
                position: note.at.position,
            });
        }
        if self.seek.is_none() {
            for shared in self.stream.take_shared_names() {
                let ([one, other], route) = (&shared.tables, self.telemetry.route());
                warn!(
                    route,
                    ?one,
                    ?other,
                    "rows of two tables go out under one name: exclude one of them or rename it, unless they are to be mixed"
                );
            }
        }
        self.look_for_place(start, pushed.as_ref().is_ok_and(|step| step.boundary), out)?;
        let step = pushed.map_err(|Stop { fault, .. }| fault)?;
        self.settled |= header.is_some_and(|header| is_of_a_group(&header));
        self.stands(step.boundary, beat.map_or(0, |beat| beat.log_pos.into()));
        self.last = header.map(|header| Last { header, raw_end, beat: beat.map(|beat| u64::from(beat.log_pos)) });
        self.note_place(out.len());
        self.ask(out.len());
        Ok(())
    }

    /// What the source wants acknowledged is asked of replicas between two groups, when nothing of what it sent is held back.
    fn ask(&mut self, put_out: usize) {
        if self.boundary && self.seek.is_none() && !self.stream.owes() {
            self.asked.stands(&self.questions, self.stream.source_position(), put_out);
        }
    }

    /// `beat`: how far the source has come in the file at hand, by its heartbeat.
    fn stands(&mut self, boundary: bool, beat: u64) {
        self.boundary = boundary;
        self.settled |= beat > 0;
        if boundary && self.settled {
            let (source, served) = (self.stream.source_position(), self.stream.served_position());
            self.ended = (!source.file.is_empty()).then_some((source.position.max(beat), served.position));
        }
    }

    /// Puts out a part of what the stream owes.
    fn pay(&mut self, out: &mut Vec<Event>) -> Result<(), Fault> {
        let start = out.len();
        let step = self.stream.pay(out);
        self.look_for_place(start, step.boundary, out)?;
        self.stands(step.boundary, 0);
        self.note_place(out.len());
        self.ask(out.len());
        Ok(())
    }

    /// Leaves out what was rendered only to find the replica's place.
    fn look_for_place(&mut self, start: usize, boundary: bool, out: &mut Vec<Event>) -> Result<(), Fault> {
        if let Some(seek) = &mut self.seek {
            let rendered = out.split_off(start);
            let found = seek.pass(rendered, boundary, self.stream.source_position(), out);
            // Nothing that is still to come can be another place.
            let is_over = self.idle || seek.is_past(self.stream.source_position());
            if let Some(receiver) = found.or_else(|| is_over.then(|| seek.settle(out)).flatten()) {
                let inside = !seek.means_an_end() && (!boundary || receiver.position != seek.position());
                self.stream.set_served_position(receiver);
                self.seek = None;
                let found = self.returned.take().map_or(Ok(()), |returned| returned.found(inside));
                found.inspect_err(|_| out.truncate(start))?;
            } else if is_over {
                return Err(Fault::new(Code::ReplicaPosition, seek.missed(self.stream.source_position())));
            }
        }
        Ok(())
    }

    /// Whether a heartbeat names the file that the stream is in.
    fn is_of_this_file(&self, heartbeat: &[u8]) -> bool {
        let checksum = self.stream.format().map_or(0, |format| format.checksum.length());
        let name = heartbeat.get(HEADER_LENGTH..heartbeat.len().saturating_sub(checksum));
        name.is_some_and(|name| name == self.stream.source_position().file)
    }
}

/// Whether an event belongs to a transaction, rather than to the file that it is in or to the stream.
fn is_of_a_group(header: &Header) -> bool {
    header.flags & flags::ARTIFICIAL == 0
        && !matches!(
            header.event_type,
            EventType::ROTATE
                | EventType::FORMAT_DESCRIPTION
                | EventType::PREVIOUS_GTIDS
                | EventType::MARIADB_GTID_LIST
                | EventType::BINLOG_CHECKPOINT
                | EventType::START_ENCRYPTION
                | EventType::STOP
                | EventType::HEARTBEAT
                | EventType::HEARTBEAT_V2
        )
}

/// Seconds since 1970 as people read them.
fn time(seconds: u32) -> impl std::fmt::Display {
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.into()))
}
