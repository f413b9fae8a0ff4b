//! The last stage: which positions the served events carry, and the pads that keep a replica's own count right.
//!
//! MySQL's receiver adds up lengths while its applier goes by `log_pos`; both must agree at the end of every group or a
//! reconnect lands in the wrong place. An event that carries the replica's own server id is counted and not kept: a pad.

use crate::binlog::{ChecksumAlgorithm, Event, EventType, HEADER_LENGTH, Header, Query, Rotate, flags, for_mid_file};
use crate::binlog::{FormatDescription, status_code};
use std::collections::VecDeque;

use super::coordinates::{FilePosition, ReceiverPosition};
use super::stream::StreamError;

/// How the events of one replica are numbered. Decided before the first byte from rules and dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Numbering {
    /// The source's `log_pos` stays and nothing is added: transparent routes and GTID replicas.
    Source,
    /// The source's `log_pos` stays: MariaDB replicas by file and position, which go by it. Their receivers go forward to it by
    /// themselves, and after a group that came out longer a ROTATE leads them back.
    SourceSteppedBack,
    /// The source's `log_pos` stays, and pads with the replica's own server id make up for what was left out.
    SourcePadded {
        /// The replica's server id.
        replica_server_id: u32,
    },
    /// `log_pos` is the offset in what is served.
    Served {
        /// Goes into file names; `None` leaves them alone (a file that is written, not served).
        fingerprint: Option<String>,
    },
}

/// One pad is at most this long, so that a large gap does not become one large buffer.
const MAX_PAD: u64 = 1 << 20;

/// Inside a transaction a gap of this size is made up for at once.
const EAGER_PAD: u64 = 1 << 20;

/// Pads of this size in all go out with the event that they belong to; what is more is owed, so that a gap of gigabytes is
/// never in memory as a whole.
const PADS_AT_ONCE: u64 = 1 << 20;

/// What is still to be put out, in order.
#[derive(Debug)]
enum Owed {
    /// Pads of so many bytes in all, from a position on.
    Pads {
        from: u64,
        bytes: u64,
    },
    Event(Event),
}

/// Numbers events and keeps the receiver's position.
#[derive(Debug)]
pub(super) struct Numberer {
    numbering: Numbering,
    /// Where a receiver is that has got everything, also what is owed.
    receiver: ReceiverPosition,
    owed: VecDeque<Owed>,
    format_event: Option<Event>,
    /// Where a receiver is that stood where the source did when the group began. One that lagged behind there may be behind it.
    foremost: ReceiverPosition,
    /// Positions of the file that are not there: `log_pos` of a real ROTATE seen, so that its length is known.
    checksum: ChecksumAlgorithm,
}

impl Numberer {
    pub(super) fn new(numbering: Numbering, receiver: ReceiverPosition) -> Self {
        let (owed, foremost) = (VecDeque::new(), receiver.clone());
        Self { numbering, receiver, owed, format_event: None, foremost, checksum: ChecksumAlgorithm::None }
    }

    pub(super) fn receiver(&self) -> &ReceiverPosition {
        &self.receiver
    }

    /// A receiver that was sent only a part of what was put out stands at `at`; what is owed is still to come.
    pub(super) fn set_receiver(&mut self, at: FilePosition) {
        self.receiver.set(at);
        for owed in &self.owed {
            match owed {
                Owed::Pads { bytes, .. } => self.receiver.count(*bytes),
                Owed::Event(event) => self.receiver.receive(event),
            }
        }
    }

    /// Whether a replica goes by what is counted here: it was asked for by file and position.
    pub(super) fn counts(&self) -> bool {
        matches!(self.numbering, Numbering::SourcePadded { .. } | Numbering::Served { fingerprint: Some(_) })
    }

    /// Whether a group that comes out longer than it went in needs a way back.
    pub(super) fn keeps_lengths(&self) -> bool {
        matches!(self.numbering, Numbering::SourcePadded { .. } | Numbering::SourceSteppedBack)
    }

    /// Whether something is still to be put out.
    pub(super) fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Puts out the next part of what is owed, about [`PADS_AT_ONCE`] bytes or one event.
    pub(super) fn pay(&mut self, out: &mut Vec<Event>) {
        let Numbering::SourcePadded { replica_server_id } = self.numbering else { return };
        let mut paid = 0;
        while paid < PADS_AT_ONCE {
            match self.owed.pop_front() {
                None => return,
                Some(Owed::Event(event)) => {
                    paid += event.raw().len() as u64;
                    out.push(event);
                }
                Some(Owed::Pads { from, bytes }) => {
                    // What is left after this one must be able to hold an event too.
                    let length = if bytes <= MAX_PAD { bytes } else { MAX_PAD - self.minimum_pad() };
                    out.push(self.one_pad(from, length, replica_server_id));
                    paid += length;
                    if bytes > length {
                        self.owed.push_front(Owed::Pads { from: from + length, bytes: bytes - length });
                    }
                }
            }
        }
    }

    fn put(&mut self, event: Event, out: &mut Vec<Event>) {
        if self.owed.is_empty() { out.push(event) } else { self.owed.push_back(Owed::Event(event)) }
    }

    pub(super) fn format(
        &mut self,
        event: Event,
        format: &FormatDescription,
        out: &mut Vec<Event>,
    ) -> Result<(), StreamError> {
        self.checksum = format.checksum;
        self.format_event = Some(event.clone());
        self.send(event, out)
    }

    pub(super) fn rotate(&mut self, event: &Event, out: &mut Vec<Event>) -> Result<(), StreamError> {
        let event = match (&self.numbering, Rotate::read(event.body())) {
            (Numbering::Served { fingerprint: Some(fingerprint) }, Ok(rotate)) => {
                let name = served_file_name(rotate.file, fingerprint);
                Event::build(*event.header(), &[&rotate.position.to_le_bytes(), &name], event.checksum())
            }
            _ => event.clone(),
        };
        self.send(event, out)
    }

    /// An event inside a group, or one that belongs to none.
    pub(super) fn send(&mut self, event: Event, out: &mut Vec<Event>) -> Result<(), StreamError> {
        let header = event.header();
        let in_no_file = header.flags & flags::ARTIFICIAL != 0
            || header.repeats_the_head()
            || (header.log_pos == 0 && header.event_type == EventType::ROTATE);
        let event = match &self.numbering {
            Numbering::Served { fingerprint } if !in_no_file => {
                let end = self.receiver.at().position.saturating_add(header.event_length.into());
                if end > u64::from(u32::MAX) && fingerprint.is_some() {
                    // A replica could not ask for what comes behind, and its applier's position would begin again at 0. A file that
                    // is written wraps, as servers' files do.
                    return Err(StreamError::ServedTooFar(self.receiver.at().clone()));
                }
                match end as u32 {
                    end if header.log_pos == end => event,
                    end => event.with_header(|header| header.log_pos = end),
                }
            }
            _ => event,
        };
        self.receiver.receive(&event);
        self.foremost.receive(&event);
        self.put(event, out);
        Ok(())
    }

    /// The last event of a group (or the last but one that can be lengthened): after it the receiver stands at `source_end`.
    pub(super) fn send_aligned(
        &mut self,
        event: Event,
        source: &FilePosition,
        out: &mut Vec<Event>,
    ) -> Result<(), StreamError> {
        if !matches!(self.numbering, Numbering::SourcePadded { .. }) {
            return self.send(event, out);
        }
        let end = self.receiver.at().position.saturating_add(event.header().event_length.into());
        match source.position.checked_sub(end) {
            Some(0) => self.send(event, out),
            Some(gap) if gap >= self.minimum_pad() => {
                self.pad(gap, out);
                self.send(event, out)
            }
            Some(gap) => {
                let longer = lengthen(&event, gap as usize);
                self.send(longer.unwrap_or(event), out)
            }
            None => {
                self.send(event, out)?;
                self.step_back(source, out)
            }
        }
    }

    /// Between groups: makes up for what was left out since the last one, or came out longer.
    pub(super) fn close_gap(&mut self, source: &FilePosition, out: &mut Vec<Event>) -> Result<(), StreamError> {
        match self.numbering {
            Numbering::SourcePadded { .. } => {
                let gap = source.position.saturating_sub(self.receiver.at().position);
                if gap >= self.minimum_pad() {
                    self.pad(gap, out);
                }
            }
            Numbering::SourceSteppedBack => {
                // Decided for the receiver that is furthest, so that the bytes do not depend on where the stream began.
                if self.foremost.at().position > source.position {
                    self.step_back(source, out)?;
                }
                self.foremost.set(source.clone());
            }
            Numbering::Source | Numbering::Served { .. } => {}
        }
        Ok(())
    }

    /// Inside a transaction: makes up for a large gap now. `held` bytes are still to come.
    pub(super) fn close_large_gap(&mut self, source: &FilePosition, held: u64, out: &mut Vec<Event>) {
        if matches!(self.numbering, Numbering::SourcePadded { .. }) {
            let gap = source.position.saturating_sub(self.receiver.at().position.saturating_add(held));
            if gap >= EAGER_PAD + self.minimum_pad() {
                self.pad(EAGER_PAD, out);
            }
        }
    }

    fn minimum_pad(&self) -> u64 {
        (HEADER_LENGTH + self.checksum.length()) as u64
    }

    /// Pads of `gap` bytes in all, each long enough to be an event. The first go out at once.
    fn pad(&mut self, gap: u64, out: &mut Vec<Event>) {
        let owed_nothing = self.owed.is_empty();
        self.owed.push_back(Owed::Pads { from: self.receiver.at().position, bytes: gap });
        self.receiver.count(gap);
        if owed_nothing {
            self.pay(out);
        }
    }

    fn one_pad(&self, from: u64, length: u64, replica_server_id: u32) -> Event {
        let header = Header {
            timestamp: 0,
            event_type: EventType::IGNORABLE,
            server_id: replica_server_id,
            event_length: 0,
            // As in the source's events, 32 bits of a position that may be larger.
            log_pos: (from + length) as u32,
            flags: flags::IGNORABLE,
        };
        let body = vec![0; (length - self.minimum_pad()) as usize];
        Event::build(header, &[&body], self.checksum)
    }

    /// The group came out longer than it went in: an artificial ROTATE with its FORMAT_DESCRIPTION is the only way back.
    /// It costs the replica a new relay log file, so routes that lengthen as a rule are served other coordinates.
    fn step_back(&mut self, source: &FilePosition, out: &mut Vec<Event>) -> Result<(), StreamError> {
        let Some(format_event) = self.format_event.clone() else { return Ok(()) };
        let rotate = Rotate { position: source.position, file: &source.file };
        let rotate = rotate.artificial(format_event.header().server_id, self.checksum);
        self.send(rotate, out)?;
        self.send(for_mid_file(&format_event, false), out)
    }
}

/// The same event, `gap` bytes longer, where its layout lets every server read over them.
fn lengthen(event: &Event, gap: usize) -> Option<Event> {
    let zeros = vec![0; gap];
    match event.event_type() {
        EventType::XID | EventType::TRANSACTION_PAYLOAD => {
            Some(Event::build(*event.header(), &[event.body(), &zeros], event.checksum()))
        }
        EventType::QUERY => {
            let body = event.body();
            let status_length = usize::from(u16::from_le_bytes(body.get(11..13)?.try_into().ok()?));
            let status_end = Query::POST_HEADER_LENGTH.checked_add(status_length)?;
            let (front, back) = (body.get(13..status_end)?, body.get(status_end..)?);
            let length = u16::try_from(status_length + gap).ok()?;
            let mut dummy = zeros;
            *dummy.first_mut()? = status_code::DUMMY;
            let parts: [&[u8]; 5] = [&body[..11], &length.to_le_bytes(), front, &dummy, back];
            Some(Event::build(*event.header(), &parts, event.checksum()))
        }
        _ => None,
    }
}

/// A pad of another replica's stream as a pad of this replica's; `None` where the event is no pad. Streams that have pads have
/// no other IGNORABLE events.
pub fn restamped_pad(event: &Event, replica_server_id: u32) -> Option<Event> {
    (event.event_type() == EventType::IGNORABLE)
        .then(|| event.with_header(|header| header.server_id = replica_server_id))
}

/// The name under which a file is served: `bin.000007` becomes `bin.rp5f3c9a.000007`.
pub fn served_file_name(file: &[u8], fingerprint: &str) -> Vec<u8> {
    let split = file.iter().rposition(|&byte| byte == b'.').unwrap_or(file.len());
    [&file[..split], b".rp", fingerprint.as_bytes(), &file[split..]].concat()
}

/// The source's name of a served file and the fingerprint in it; `None` where there is none.
pub fn source_file_name(file: &[u8]) -> Option<(Vec<u8>, String)> {
    let number = file.iter().rposition(|&byte| byte == b'.').unwrap_or(file.len());
    let mark = file[..number].iter().rposition(|&byte| byte == b'.')?;
    let fingerprint = file[mark..number].strip_prefix(b".rp")?;
    if fingerprint.len() != 8 || !fingerprint.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    Some(([&file[..mark], &file[number..]].concat(), String::from_utf8_lossy(fingerprint).into_owned()))
}
