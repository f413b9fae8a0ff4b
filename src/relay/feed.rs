//! One replica's private stream: the source's events through the route, from the place that the replica asked for.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::binlog::{ChecksumAlgorithm, Event, EventType, HEADER_LENGTH, Header, Vendor, flags, for_mid_file};
use crate::fault::{Code, Fault};
use crate::pipeline::coordinates::{FilePosition, ReceiverPosition};
use crate::pipeline::{Numbering, Stop, Stream};
use crate::replica::backend::{BoxFuture, Feed, FeedState};
use crate::source::{DumpStart, EventStream};
use crate::telemetry::{PolicedStatement, RouteTelemetry, StatementAction};

use super::identity::Lease;
use super::index::{Index, Mark, fingerprint, is_due};
use super::start::{FIRST_POSITION, Start, Target};

/// So many bytes are put out before the replica's session gets to write them.
const BATCH_BYTES: usize = 1 << 20;

/// A stream from a source through a route to one replica.
pub(super) struct RouteFeed {
    source_name: String,
    events: EventStream,
    stream: Stream,
    telemetry: Arc<RouteTelemetry>,
    seek: Option<Seek>,
    /// Waits until the events before it have been written.
    pending: Option<Fault>,
    boundary: bool,
    follows_gtid: bool,
    /// Events that were read while the stream was opened.
    primed: VecDeque<Bytes>,
    /// What a receiver counts where the source's stream begins, until its first event has come.
    served: Option<u64>,
    marks: Option<Marks>,
    _identity: Lease,
}

/// Boundaries are remembered under this rendering.
struct Marks {
    index: Arc<Index>,
    rendering: String,
    last: u64,
}

/// What a stream is made of.
pub(super) struct Parts {
    pub(super) source_name: String,
    pub(super) events: EventStream,
    pub(super) primed: VecDeque<Bytes>,
    pub(super) stream: Stream,
    pub(super) telemetry: Arc<RouteTelemetry>,
    pub(super) start: Start,
    pub(super) identity: Lease,
    pub(super) replica: Vendor,
    /// Where boundaries are remembered, and as which rendering.
    pub(super) index: Option<(Arc<Index>, String)>,
}

/// Looking for the place in the file where the replica goes on.
struct Seek {
    target: Target,
    numbering: Numbering,
    receiver: ReceiverPosition,
    file: Vec<u8>,
    format: Option<Event>,
    server_id: u32,
}

impl RouteFeed {
    pub(super) fn new(parts: Parts) -> Self {
        let start = parts.start;
        let follows_gtid = !matches!(start.dump, DumpStart::FilePosition { .. });
        let receiver = FilePosition { file: start.from.file.clone(), position: start.served };
        let seek = start.target.map(|target| Seek {
            target,
            numbering: start.numbering,
            receiver: ReceiverPosition::new(parts.replica, receiver),
            file: start.from.file,
            format: None,
            server_id: 0,
        });
        Self {
            source_name: parts.source_name,
            events: parts.events,
            stream: parts.stream,
            telemetry: parts.telemetry,
            seek,
            pending: None,
            boundary: true,
            follows_gtid,
            primed: parts.primed,
            served: (!follows_gtid).then_some(start.served),
            marks: parts.index.map(|(index, rendering)| Marks { index, rendering, last: 0 }),
            _identity: parts.identity,
        }
    }

    /// The next event; those that were read at the start come first.
    async fn first(&mut self) -> Result<Option<Bytes>, Fault> {
        match self.primed.pop_front() {
            Some(raw) => Ok(Some(raw)),
            None => self.events.next().await.map_err(|error| error.fault(&self.source_name)),
        }
    }

    fn remember(&mut self, raw: &[u8], header: &Header) {
        let Some(marks) = &mut self.marks else { return };
        let in_file = !matches!(
            header.event_type,
            EventType::HEARTBEAT | EventType::HEARTBEAT_V2 | EventType::ROTATE | EventType::FORMAT_DESCRIPTION
        ) && header.flags & flags::ARTIFICIAL == 0;
        let at = self.stream.source_position();
        if self.boundary && in_file && is_due(marks.last, at.position) {
            marks.last = at.position;
            let served = self.stream.served_position().position;
            let mark = Mark { source: at.position, served, event: fingerprint(raw) };
            marks.index.remember(&marks.rendering, &at.file, mark);
        }
    }

    async fn fill(&mut self, out: &mut Vec<Event>) -> Result<FeedState, Fault> {
        if let Some(fault) = self.pending.take() {
            return Err(fault);
        }
        let Some(first) = self.first().await? else { return Ok(FeedState::EndOfStream) };
        let (mut events, mut bytes) = (0, 0);
        let mut next = Some(first);
        while let Some(raw) = next {
            events += 1;
            bytes += raw.len();
            if let Err(fault) = self.take(raw, out) {
                self.pending = Some(fault);
                break;
            }
            if bytes >= BATCH_BYTES {
                break;
            }
            next = match self.primed.pop_front().map_or_else(|| self.events.try_next(), |raw| Ok(Some(raw))) {
                Ok(next) => next,
                Err(error) => {
                    self.pending = Some(error.fault(&self.source_name));
                    None
                }
            };
        }
        self.telemetry.received(events, bytes as u64);
        match self.pending.take() {
            Some(fault) if out.is_empty() => Err(fault),
            pending => {
                self.pending = pending;
                Ok(FeedState::More)
            }
        }
    }

    fn take(&mut self, raw: Bytes, out: &mut Vec<Event>) -> Result<(), Fault> {
        let header = Header::read(&raw).ok();
        if let Some(header) = &header {
            self.remember(&raw, header);
        }
        let start = out.len();
        let pushed = self.stream.push(raw, out);
        let rotated = header.is_some_and(|header| header.event_type == EventType::ROTATE);
        if rotated && let Some(served) = self.served.take() {
            // The source named its own position; a receiver that was served from the file's start counts another.
            let file = self.stream.served_position().file.clone();
            self.stream.set_served_position(FilePosition { file, position: served });
        }
        for note in self.stream.take_notes() {
            self.telemetry.policed(PolicedStatement {
                action: if note.split { StatementAction::Split } else { StatementAction::Skip },
                rule: note.rule,
                reason: note.reason,
                kind: note.kind.to_owned(),
                file: String::from_utf8_lossy(&note.at.file).into_owned(),
                position: note.at.position,
            });
        }
        if let Some(seek) = &mut self.seek {
            let rendered = out.split_off(start);
            let boundary = pushed.as_ref().is_ok_and(|step| step.boundary);
            let idle = header
                .is_some_and(|header| matches!(header.event_type, EventType::HEARTBEAT | EventType::HEARTBEAT_V2));
            if let Some(receiver) = seek.pass(rendered, boundary, self.stream.source_position(), out) {
                self.stream.set_served_position(receiver);
                self.seek = None;
            } else {
                let elsewhere = self.stream.source_position().file != seek.file && !seek.file.is_empty();
                if idle || elsewhere {
                    return Err(seek.missed(self.stream.source_position()));
                }
            }
        }
        let step = pushed.map_err(|Stop { fault, .. }| fault)?;
        self.boundary = step.boundary;
        Ok(())
    }
}

impl Seek {
    /// Takes what came out of one event of the source. At the place it puts out how a stream begins in the middle of a file,
    /// and what comes after the place, and says where a receiver then stands.
    fn pass(
        &mut self,
        rendered: Vec<Event>,
        boundary: bool,
        source: &FilePosition,
        out: &mut Vec<Event>,
    ) -> Option<FilePosition> {
        let mut rendered = rendered.into_iter();
        for event in rendered.by_ref() {
            if event.event_type() == EventType::FORMAT_DESCRIPTION {
                self.server_id = event.header().server_id;
                self.format = Some(event.clone());
            }
            let began = event.event_type() == EventType::ROTATE && self.format.is_none();
            let counted = self.receiver.at().position;
            self.receiver.receive(&event);
            if began {
                let file = self.receiver.at().file.clone();
                self.receiver.set(FilePosition { file, position: counted });
            }
            let at = self.receiver.at().position;
            let reached = match self.target {
                Target::Served(position) | Target::Source(position) => at == position && at > FIRST_POSITION,
            };
            let counts_as_source = !matches!(self.numbering, Numbering::Served { .. });
            if reached && self.format.is_some() && (counts_as_source || matches!(self.target, Target::Served(_))) {
                return self.begin(at, rendered, out);
            }
        }
        match self.target {
            Target::Source(position) if boundary && source.position == position => {
                let at = match self.numbering {
                    Numbering::Served { .. } => self.receiver.at().position,
                    // What was left out so far is made up for: the replica counts from where it says it is.
                    _ => position,
                };
                self.begin(at, rendered, out)
            }
            _ => None,
        }
    }

    fn begin(&self, position: u64, rest: impl Iterator<Item = Event>, out: &mut Vec<Event>) -> Option<FilePosition> {
        let format = self.format.as_ref()?;
        let file = self.receiver.at().file.clone();
        out.push(artificial_rotate(self.server_id, &file, position, format.checksum()));
        out.push(for_mid_file(format, false));
        let mut receiver = self.receiver.clone();
        receiver.set(FilePosition { file, position });
        for event in rest {
            receiver.receive(&event);
            out.push(event);
        }
        Some(receiver.at().clone())
    }

    fn missed(&self, source: &FilePosition) -> Fault {
        let (position, whose) = match self.target {
            Target::Source(position) => (position, "the source's file"),
            Target::Served(position) => (position, "what this route serves of the source's file"),
        };
        let file = String::from_utf8_lossy(&self.file);
        let message = format!(
            "position {position} in {whose} {file} is no place between two events (the file was read up to {source}, \
             which is {} as this route serves it)",
            self.receiver.at().position
        );
        Fault::new(Code::ReplicaPosition, message)
    }
}

/// The ROTATE that begins every stream: it tells the receiver where it is.
pub(super) fn artificial_rotate(server_id: u32, file: &[u8], position: u64, checksum: ChecksumAlgorithm) -> Event {
    let header = Header {
        timestamp: 0,
        event_type: EventType::ROTATE,
        server_id,
        event_length: HEADER_LENGTH as u32,
        log_pos: 0,
        flags: flags::ARTIFICIAL,
    };
    Event::build(header, &[&position.to_le_bytes(), file], checksum)
}

impl Feed for RouteFeed {
    fn next<'a>(&'a mut self, out: &'a mut Vec<Event>) -> BoxFuture<'a, Result<FeedState, Fault>> {
        Box::pin(self.fill(out))
    }

    fn at_boundary(&self) -> bool {
        self.boundary && self.pending.is_none()
    }

    fn heartbeat_position(&self) -> Option<FilePosition> {
        (self.follows_gtid && self.boundary).then(|| self.stream.source_position().clone())
    }
}
