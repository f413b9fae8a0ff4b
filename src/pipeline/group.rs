//! Groups (transactions and the statements that stand alone) and what waits until a group's length is known.

use crate::binlog::{
    ChecksumAlgorithm, Event, EventType, FormatDescription, LengthField, MariaDbGtid, Rows, TaggedGtid, packed_width,
    put_packed,
};
use crate::ddl::Control;

use super::coordinates::FilePosition;
use super::numbering::Numberer;
use super::statement::{Opening, control_event};
use super::stream::StreamError;

/// A served transaction is kept back up to this many bytes so that its GTID event can state the length that it has after
/// the rewrite. Longer ones stream with the length that the source stated, which no server acts upon.
pub const MAX_LENGTH_BUFFER: usize = 8 << 20;

/// Where in a group the stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Between groups.
    #[default]
    Closed,
    /// After a GTID event or the first part of a statement that stands alone: one statement ends the group.
    Statement,
    /// After BEGIN: COMMIT, ROLLBACK, XID or XA_PREPARE end the group.
    Transaction,
}

/// The group at hand.
#[derive(Debug, Default)]
pub(super) struct Group {
    place: Place,
    /// It was born on a server that the route leaves out.
    pub(super) excluded: bool,
}

impl Group {
    pub(super) fn is_closed(&self) -> bool {
        self.place == Place::Closed
    }

    pub(super) fn in_transaction(&self) -> bool {
        self.place == Place::Transaction
    }

    pub(super) fn open_mysql(&mut self) {
        self.place = Place::Statement;
    }

    /// MariaDB's GTID event is a BEGIN too, unless the group is one statement.
    pub(super) fn open_mariadb(&mut self, standalone: bool) {
        self.place = if standalone { Place::Statement } else { Place::Transaction };
    }

    /// An event that belongs to a statement: outside of a transaction it opens a group of its own.
    pub(super) fn open_statement(&mut self) {
        if self.place == Place::Closed {
            self.place = Place::Statement;
        }
    }

    /// A statement; outside of a transaction it ends the group, unless it opens one.
    pub(super) fn statement(&mut self, opening: Opening) {
        match opening {
            Opening::ByControl | Opening::ByStatement => self.place = Place::Transaction,
            Opening::No if self.place != Place::Transaction => self.close(),
            Opening::No => {}
        }
    }

    /// Transaction control, after [`Group::statement`].
    pub(super) fn control(&mut self, control: Control) {
        if matches!(control, Control::Commit | Control::Rollback | Control::XaCommit | Control::XaRollback) {
            self.close();
        }
    }

    /// The last rows of a statement; says whether the group ends with them.
    pub(super) fn end_statement(&mut self) -> bool {
        if self.place == Place::Statement {
            self.close();
        }
        self.is_closed()
    }

    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    /// Follows an event that is no statement.
    pub(super) fn observe(&mut self, event: &Event, format: Option<&FormatDescription>) {
        match event.event_type() {
            EventType::GTID | EventType::ANONYMOUS_GTID | EventType::GTID_TAGGED => self.open_mysql(),
            EventType::MARIADB_GTID => {
                let standalone =
                    MariaDbGtid::read(event.body()).is_ok_and(|gtid| gtid.flags2 & MariaDbGtid::STANDALONE != 0);
                self.open_mariadb(standalone);
            }
            EventType::XID | EventType::XA_PREPARE | EventType::TRANSACTION_PAYLOAD | EventType::INCIDENT => {
                self.close()
            }
            EventType::TABLE_MAP
            | EventType::INTVAR
            | EventType::RAND
            | EventType::USER_VAR
            | EventType::BEGIN_LOAD_QUERY
            | EventType::ROWS_QUERY
            | EventType::ANNOTATE_ROWS => self.open_statement(),
            EventType::EXECUTE_LOAD_QUERY => self.statement(Opening::No),
            EventType::DELETE_FILE => {
                self.end_statement();
            }
            event_type if Rows::is_rows(event_type) => {
                let rows = format.and_then(|format| Rows::read(event.body(), event_type, format).ok());
                if rows.is_some_and(|rows| rows.ends_statement()) {
                    self.end_statement();
                }
            }
            _ => {}
        }
    }
}

/// What an event is to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Inner,
    /// After it the receiver stands where the source does.
    Aligned,
    /// The same, and the group ends.
    Last,
}

/// The GTID event of the group that waits.
#[derive(Debug)]
struct WaitingGtid {
    event_type: EventType,
    /// Its length field, where it has one.
    length: Option<LengthField>,
    /// Its place among the events that wait: another GTID event, whose group never came, may be before it.
    at: usize,
}

/// Events on their way from the transformation to the numbering.
#[derive(Debug)]
pub(super) struct Outbox {
    /// GTID events are made to state the length after the rewrite, for transactions of up to this many bytes.
    exact_lengths: Option<usize>,
    waiting: Vec<(Event, Part)>,
    waiting_bytes: usize,
    /// The GTID event that waits, where there is one.
    gtid: Option<WaitingGtid>,
    /// Nothing of the group but its GTID event has been put here.
    bare: bool,
    /// The group ended and there is nothing to send for it.
    ended_empty: bool,
    in_payload: bool,
    /// XA START and the savepoints after it wait for the transaction's first change.
    unchanged_xa: Vec<Event>,
}

impl Outbox {
    pub(super) fn new(exact_lengths: Option<usize>) -> Self {
        Self {
            exact_lengths,
            waiting: Vec::new(),
            waiting_bytes: 0,
            gtid: None,
            bare: false,
            ended_empty: false,
            in_payload: false,
            unchanged_xa: Vec::new(),
        }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new(self.exact_lengths);
    }

    /// How many bytes wait here.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes + self.unchanged_xa.iter().map(|event| event.raw().len()).sum::<usize>()
    }

    fn put(&mut self, event: Event, part: Part) {
        for waiting in std::mem::take(&mut self.unchanged_xa) {
            self.waiting_bytes += waiting.raw().len();
            self.waiting.push((waiting, Part::Inner));
        }
        self.bare = false;
        self.waiting_bytes += event.raw().len();
        self.waiting.push((event, part));
    }

    /// The GTID event of a new group. It waits for the first event of its group, so that a group that stops the stream
    /// leaves no trace.
    pub(super) fn gtid(&mut self, event: Event, length: Option<LengthField>) {
        let event_type = event.event_type();
        self.put(event, Part::Inner);
        self.gtid = Some(WaitingGtid { event_type, length, at: self.waiting.len() - 1 });
        self.bare = true;
    }

    pub(super) fn inner(&mut self, event: Event) {
        self.put(event, Part::Inner);
    }

    pub(super) fn aligned(&mut self, event: Event) {
        self.put(event, Part::Aligned);
    }

    pub(super) fn last(&mut self, event: Event) {
        self.put(event, if self.in_payload { Part::Inner } else { Part::Last });
    }

    /// The group ended with an event that does not go out.
    pub(super) fn nothing_last(&mut self) {
        self.ended_empty = true;
    }

    /// The group's only statement, `event`, does not go out: a group with a GTID goes out empty.
    ///
    /// Servers lose a GTID that is followed by a comment or by nothing, so it is BEGIN and COMMIT.
    pub(super) fn empty(&mut self, event: &Event) {
        match &self.gtid {
            Some(WaitingGtid { event_type: EventType::MARIADB_GTID, at, .. }) if self.bare => {
                // A stand-alone group is one statement; COMMIT ends a transaction, so the GTID must begin one.
                if let Some((gtid, _)) = self.waiting.get_mut(*at) {
                    *gtid = beginning_transaction(gtid);
                }
                self.last(control_event(event, b"COMMIT"));
            }
            Some(_) if self.bare => {
                self.inner(control_event(event, b"BEGIN"));
                self.last(control_event(event, b"COMMIT"));
            }
            _ => self.nothing_last(),
        }
    }

    /// XA START: it waits for the transaction's first change.
    pub(super) fn begin_xa(&mut self, event: Event) {
        self.unchanged_xa = vec![event];
    }

    /// XA START waits for a change.
    pub(super) fn is_unchanged_xa(&self) -> bool {
        !self.unchanged_xa.is_empty()
    }

    /// Transaction control inside an XA transaction without changes waits with its XA START.
    pub(super) fn wait_with_xa(&mut self, event: Event) {
        self.unchanged_xa.push(event);
    }

    /// The XA transaction is prepared without changes: its group goes out empty. Gives back its XA START.
    pub(super) fn end_unchanged_xa(&mut self, prepare: &Event) -> Option<Event> {
        let start = std::mem::take(&mut self.unchanged_xa).into_iter().next();
        self.empty(prepare);
        start
    }

    /// From here on events are those inside a compressed transaction.
    pub(super) fn begin_payload(&mut self) -> usize {
        self.in_payload = true;
        self.waiting.len()
    }

    /// The events since [`Outbox::begin_payload`].
    pub(super) fn end_payload(&mut self, before: usize) -> Vec<Event> {
        self.in_payload = false;
        let inner: Vec<Event> = self.waiting.drain(before..).map(|(event, _)| event).collect();
        self.waiting_bytes -= inner.iter().map(|event| event.raw().len()).sum::<usize>();
        inner
    }

    /// Sends what need not wait any longer.
    pub(super) fn deliver(
        &mut self,
        numberer: &mut Numberer,
        source: &FilePosition,
        checksum: ChecksumAlgorithm,
        out: &mut Vec<Event>,
    ) -> Result<(), StreamError> {
        let complete = self.waiting.last().is_some_and(|(_, part)| *part == Part::Last);
        if let Some(gtid) = &self.gtid
            && !complete
            && !self.ended_empty
        {
            let for_length =
                gtid.length.is_some() && self.exact_lengths.is_some_and(|limit| self.waiting_bytes <= limit);
            if self.bare || for_length {
                return Ok(());
            }
        }
        if complete
            && self.exact_lengths.is_some()
            && let Some(WaitingGtid { length: Some(length), at, .. }) = self.gtid.take()
        {
            self.state_length(at, length, checksum)?;
        }
        self.gtid = None;
        self.waiting_bytes = 0;
        for (event, part) in self.waiting.drain(..) {
            match part {
                Part::Inner => numberer.send(event, out)?,
                Part::Aligned | Part::Last => numberer.send_aligned(event, source, out)?,
            }
        }
        self.ended_empty = false;
        Ok(())
    }

    /// Sends all that waits, whatever it waits for.
    pub(super) fn deliver_all(&mut self, numberer: &mut Numberer, out: &mut Vec<Event>) -> Result<(), StreamError> {
        self.waiting.extend(self.unchanged_xa.drain(..).map(|event| (event, Part::Inner)));
        for (event, _) in self.waiting.drain(..) {
            numberer.send(event, out)?;
        }
        self.reset();
        Ok(())
    }

    /// Puts the length of all that waits from the GTID event on into it.
    fn state_length(&mut self, at: usize, field: LengthField, checksum: ChecksumAlgorithm) -> Result<(), StreamError> {
        let total: u64 = self.waiting.iter().skip(at).map(|(event, _)| event.raw().len() as u64).sum();
        let Some((gtid, _)) = self.waiting.get_mut(at) else { return Ok(()) };
        if total == field.value {
            return Ok(());
        }
        let body = gtid.body();
        let others = total - body.len() as u64;
        let new = if gtid.event_type() == EventType::GTID_TAGGED {
            let tagged = TaggedGtid::read(body).map_err(|error| StreamError::Truncated(gtid.event_type(), error))?;
            tagged.body_in_transaction_of(body, others)
        } else {
            // The field counts itself, and its width depends on what it says.
            let rest = total - field.width as u64;
            let stated = [1, 3, 4, 9].into_iter().map(|width| rest + width);
            stated.into_iter().find(|&stated| rest + packed_width(stated) as u64 == stated).map(|stated| {
                let mut packed = Vec::with_capacity(9);
                put_packed(&mut packed, stated);
                [&body[..field.offset], &packed, &body[field.offset + field.width..]].concat()
            })
        };
        if let Some(new) = new {
            *gtid = Event::build(*gtid.header(), &[&new], checksum);
        }
        Ok(())
    }
}

/// MariaDB's GTID event of a stand-alone statement as the beginning of a transaction. Layout: see [`MariaDbGtid`]; the
/// commit id (flag 2) is kept, what two-phase ALTER and DDL add is not.
fn beginning_transaction(event: &Event) -> Event {
    const GROUP_COMMIT_ID: u8 = 2;
    const KEPT: u8 = GROUP_COMMIT_ID | 4 | 8 | 16;
    const SHORTEST: usize = 19;
    let body = event.body();
    let Some(&flags2) = body.get(MariaDbGtid::FLAGS2_OFFSET) else { return event.clone() };
    let flags2 = flags2 & KEPT;
    let mut new = body[..MariaDbGtid::FLAGS2_OFFSET].to_vec();
    new.push(flags2);
    if flags2 & GROUP_COMMIT_ID != 0 {
        new.extend(body.iter().skip(MariaDbGtid::FLAGS2_OFFSET + 1).take(8));
    }
    new.resize(new.len().max(SHORTEST), 0);
    Event::build(*event.header(), &[&new], event.checksum())
}
