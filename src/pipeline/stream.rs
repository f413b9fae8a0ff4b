//! One replica's stream through one route: events in, events out, and where groups begin and end.

mod error;
mod load;
mod origin;
mod payload;
mod query;
mod rows;
mod xa;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::binlog::{
    ChecksumAlgorithm, Event, EventType, FormatDescription, Header, MAX_EVENT_LENGTH, Rotate, Rows, Vendor, flags,
};
use crate::fault::Fault;

use super::coordinates::{FilePosition, ReceiverPosition};
use super::group::{Group, Outbox};
use super::history::{Behind, Journal, Place, Statement, StatementGtid};
use super::memory::{Memory, SharedName};
use super::numbering::{Numberer, Numbering};
use super::prelude::{self, Prelude};
use super::rules::RuleSet;
use super::statement;
use super::xa::XaMemory;

pub(super) use error::StreamError;

/// Events that wait for a decision about a later one (TABLE_MAPs, INTVARs, one rows event) may take this many bytes. One
/// rows event can be as large as a packet, so the limit is that.
pub const MAX_HELD_BYTES: usize = MAX_EVENT_LENGTH;

/// How many pairs of tables under one name a stream tells of.
const MAX_SHARED_NAMES: usize = 64;

/// What decides how a stream comes out, apart from the rules.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// How the replica is numbered.
    pub numbering: Numbering,
    /// Whose replica it is: MySQL and MariaDB count differently.
    pub replica: Vendor,
    /// Where the stream begins, in the source's coordinates.
    pub start: FilePosition,
    /// How events end before the first FORMAT_DESCRIPTION.
    pub checksum: ChecksumAlgorithm,
    /// How many bytes of a transaction are kept back so that its GTID event can state the length that it has after the
    /// rewrite; see [`super::MAX_LENGTH_BUFFER`].
    pub length_buffer: usize,
}

/// What one event did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The stream now stands between two groups.
    pub boundary: bool,
}

/// A statement or a table's rows that did not go out as they came, for counters, logs and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where in the source's files it ends.
    pub at: FilePosition,
    /// The statement's kind.
    pub kind: &'static str,
    /// The same stable word as in metrics and `explain`.
    pub reason: String,
    /// The rule that decided.
    pub rule: String,
    /// A part of the statement went out.
    pub split: bool,
}

/// Why a stream ends. Everything before is out, nothing after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Where the event that stops the stream begins, in the source's coordinates.
    pub at: FilePosition,
    /// What was found, and what to do.
    pub fault: Fault,
}

/// One replica's stream through one route.
#[derive(Debug)]
pub struct Stream {
    rules: Arc<RuleSet>,
    numberer: Numberer,
    format: Option<FormatDescription>,
    checksum: ChecksumAlgorithm,
    source: FilePosition,
    /// Where in the source's file the event at hand begins. It may be behind what the source left out.
    event_start: u64,
    /// Where in the source's file the group at hand begins: from there on a replica under other rules goes on.
    group_start: u64,
    group: Group,
    outbox: Outbox,
    /// Tables of the statement at hand: whether their rows go out.
    tables: HashMap<u64, bool>,
    memory: Memory,
    /// TABLE_MAPs and at most one rows event that wait for the next event of their statement.
    held: Vec<Event>,
    held_bytes: usize,
    prelude: Prelude,
    notes: Vec<Note>,
    /// Tables under one name, and how many of them were taken.
    shared_names: Vec<SharedName>,
    told: usize,
    stopped: Option<Stop>,
    /// Whose replica it is.
    replica: Vendor,
    /// Its version, where it is known: it decides what version comments hold.
    replica_version: Option<u32>,
    xa: XaMemory,
    /// The XA transaction at hand.
    xid: Vec<u8>,
    /// The server whose log this is: the id in the FORMAT_DESCRIPTION's header.
    source_server: u32,
    /// Where what statements teach is kept, and what the stream has behind it, until its first FORMAT_DESCRIPTION.
    journal: Option<Arc<dyn Journal>>,
    behind: Option<Behind>,
    /// The last statement that taught something.
    taught: Option<Statement>,
    /// The group at hand is the beginning of an ALTER TABLE that has changed nothing yet, or the end of one that failed.
    changes_nothing: bool,
    /// The time at which the file at hand was begun.
    file_created: u32,
    gtid: Option<StatementGtid>,
    /// Statements that end up to here in the first file stop nothing: the replica has them behind it.
    passed: Option<FilePosition>,
}

impl Stream {
    /// A stream that begins where the options say.
    pub fn new(rules: Arc<RuleSet>, options: StreamOptions) -> Self {
        let receiver = ReceiverPosition::new(options.replica, options.start.clone());
        let exact_lengths = !rules.is_transparent() && !matches!(options.numbering, Numbering::SourcePadded { .. });
        Self {
            rules,
            numberer: Numberer::new(options.numbering, receiver),
            format: None,
            checksum: options.checksum,
            event_start: options.start.position,
            group_start: options.start.position,
            source: options.start,
            group: Group::default(),
            outbox: Outbox::new(exact_lengths.then_some(options.length_buffer)),
            tables: HashMap::new(),
            memory: Memory::default(),
            held: Vec::new(),
            held_bytes: 0,
            prelude: Prelude::default(),
            notes: Vec::new(),
            shared_names: Vec::new(),
            told: 0,
            stopped: None,
            replica: options.replica,
            replica_version: None,
            xa: XaMemory::default(),
            xid: Vec::new(),
            source_server: 0,
            journal: None,
            behind: None,
            taught: None,
            changes_nothing: false,
            file_created: 0,
            gtid: None,
            passed: None,
        }
    }

    /// Keeps what statements teach in `journal`, and begins with what holds there for a stream with this behind it.
    pub fn with_journal(mut self, journal: Arc<dyn Journal>, behind: Behind) -> Self {
        if self.rules.learns() {
            (self.journal, self.behind) = (Some(journal), Some(behind));
        }
        self
    }

    /// A statement that ends at or before this place and would stop the stream is left out instead: what comes before the place is
    /// looked at, and does not go out.
    pub fn with_passed(mut self, place: FilePosition) -> Self {
        self.passed = Some(place);
        self
    }

    /// Shares what is known of prepared XA transactions with the other streams of the route.
    pub fn with_xa_memory(mut self, xa: XaMemory) -> Self {
        self.xa = xa;
        self
    }

    /// States the replica's version (50729, 90704, 101119), which decides what version comments in statements hold. Without it a
    /// statement whose names depend on that is unknown.
    pub fn with_replica_version(mut self, version: Option<u32>) -> Self {
        self.replica_version = version;
        self
    }

    /// Where the source's stream is: after the last event that was pushed.
    pub fn source_position(&self) -> &FilePosition {
        &self.source
    }

    /// Where the receiver of a replica is that was sent all that came out.
    pub fn served_position(&self) -> &FilePosition {
        self.numberer.receiver().at()
    }

    /// A replica that was sent only a part of what came out stands here.
    pub fn set_served_position(&mut self, at: FilePosition) {
        self.numberer.set_receiver(at);
    }

    /// The format of the events that come out.
    pub fn format(&self) -> Option<&FormatDescription> {
        self.format.as_ref()
    }

    /// Statements and rows that did not go out as they came since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Tables whose rows go out under one name, each pair once; a stream tells of 64 pairs at most.
    pub fn take_shared_names(&mut self) -> &[SharedName] {
        let new = std::mem::replace(&mut self.told, self.shared_names.len());
        self.shared_names.get(new..).unwrap_or_default()
    }

    /// Whether more is to be put out by [`Stream::pay`] before the next event is taken: pads for a large gap, and what comes after
    /// them.
    pub fn owes(&self) -> bool {
        self.numberer.owes()
    }

    /// Puts out the next part of what is owed, a MiB or one event. Also after an error: what is owed comes before it.
    pub fn pay(&mut self, out: &mut Vec<Event>) -> Step {
        self.numberer.pay(out);
        Step { boundary: self.group.is_closed() && !self.owes() }
    }

    /// Takes the next event of the source's stream and appends what goes out to `out`. Heartbeats give nothing. What is still owed
    /// goes out first; who wants it in bounded parts calls [`Stream::pay`] before.
    ///
    /// After an error every call returns that error: nothing that follows may go out.
    pub fn push(&mut self, raw: Bytes, out: &mut Vec<Event>) -> Result<Step, Stop> {
        while self.owes() {
            self.pay(out);
        }
        if let Some(stop) = &self.stopped {
            return Err(stop.clone());
        }
        let begins_group = self.group.is_closed();
        self.event_start = self.source.position;
        let taken = self.take(raw, out);
        if begins_group {
            self.group_start = self.event_start;
        }
        taken.map(|()| Step { boundary: self.group.is_closed() && !self.owes() }).map_err(|error| {
            // A ROTATE changes the file only when nothing is wrong with it.
            let at = FilePosition { file: self.source.file.clone(), position: self.event_start };
            let group = match self.group_start {
                start if start == at.position => String::new(),
                start => format!(" (its transaction begins at {start})"),
            };
            let stop = Stop { fault: Fault::new(error.code(), format!("at {at} of the source{group}: {error}")), at };
            self.stopped = Some(stop.clone());
            stop
        })
    }

    fn take(&mut self, raw: Bytes, out: &mut Vec<Event>) -> Result<(), StreamError> {
        let header = Header::read(&raw).map_err(|error| StreamError::Truncated(EventType(0), error))?;
        match header.event_type {
            EventType::HEARTBEAT | EventType::HEARTBEAT_V2 => Ok(()),
            EventType::FORMAT_DESCRIPTION => self.take_format(raw, out),
            event_type => {
                let event = Event::new(raw, self.checksum)?;
                event.verify()?;
                if event_type == EventType::ROTATE {
                    return self.take_rotate(&event, out);
                }
                self.advance(event.header())?;
                if self.rules.is_transparent() {
                    self.follow(&event);
                    return self.numberer.send(event, out);
                }
                if event_type == EventType::STOP {
                    // The last event of a file, which no receiver counts: there is nothing to make up for.
                    return self.numberer.send(event, out);
                }
                self.transform(event)?;
                self.deliver(out)
            }
        }
    }

    fn take_format(&mut self, raw: Bytes, out: &mut Vec<Event>) -> Result<(), StreamError> {
        let (event, format) = FormatDescription::read(raw)?;
        if format.permutes_types() && !self.rules.is_transparent() {
            return Err(StreamError::PermutedTypes(format.server.text));
        }
        // It says how the bodies are laid out by which it is remembered.
        self.memory = Memory::default();
        self.file_created = event.header().timestamp;
        self.source_server = event.header().server_id;
        if let (Some(journal), Some(behind)) = (&self.journal, self.behind.take()) {
            let held = journal.holds(&behind, &self.place()).map_err(StreamError::NotRemembered)?;
            self.rules = Arc::new(self.rules.with_learned(Arc::new(held.learned)));
            self.taught = held.since;
        }
        self.advance(event.header())?;
        self.checksum = format.checksum;
        // A server that was killed leaves its last group unfinished; the next file begins anew. A relay log may go on in another file,
        // with a FORMAT_DESCRIPTION of the replica's and the source's once more, wherever it was.
        let header = event.header();
        if header.log_pos != 0 && header.flags & (flags::RELAY_LOG | flags::ARTIFICIAL) == 0 {
            self.reset_group();
        }
        self.numberer.format(event, &format, out)?;
        self.format = Some(format);
        Ok(())
    }

    /// Where the stream is, for the journal.
    fn place(&self) -> Place {
        let file = String::from_utf8_lossy(&self.source.file).into_owned();
        Place { created: self.file_created, file, position: self.source.position }
    }

    fn take_rotate(&mut self, event: &Event, out: &mut Vec<Event>) -> Result<(), StreamError> {
        let rotate = Rotate::read(event.body()).map_err(|error| StreamError::Truncated(EventType::ROTATE, error))?;
        self.source = FilePosition { file: rotate.file.to_vec(), position: rotate.position };
        self.numberer.rotate(event, out)
    }

    /// Ends a stream whose source has no more: what still waits for the end of its group goes out as it is. Says whether the
    /// stream ended between two groups.
    pub fn finish(&mut self, out: &mut Vec<Event>) -> bool {
        let mut whole = self.group.is_closed();
        if self.stopped.is_none() {
            self.flush_held();
            whole &= self.outbox.deliver_all(&mut self.numberer, out).is_ok();
        }
        while self.owes() {
            self.pay(out);
        }
        self.reset_group();
        whole
    }

    fn reset_group(&mut self) {
        self.group = Group::default();
        self.outbox.reset();
        self.tables.clear();
        self.held.clear();
        self.held_bytes = 0;
        self.prelude = Prelude::default();
    }

    /// Keeps the source's position: lengths add up, and `log_pos` corrects where the source has skipped something. It is 32
    /// bits wide and may be 0 inside groups (MariaDB 11.4 and later).
    ///
    /// By file and position a source leaves out single events at most (MariaDB: ANNOTATE_ROWS that nobody asked for). A larger jump is
    /// a damaged header, and would be made up for with gigabytes of pads.
    fn advance(&mut self, header: &Header) -> Result<(), StreamError> {
        const SPAN: u64 = 1 << 32;
        const LARGEST_JUMP: u64 = MAX_EVENT_LENGTH as u64;
        if header.flags & flags::ARTIFICIAL != 0 {
            return Ok(());
        }
        // A ROTATE names any position that it likes.
        let end = self.source.position.saturating_add(header.event_length.into());
        if header.log_pos == 0 {
            if !header.repeats_the_head() {
                self.source.position = end;
            }
            return Ok(());
        }
        let candidate = (end & !(SPAN - 1)) | u64::from(header.log_pos);
        let wrapped = end.saturating_sub(candidate) > SPAN / 2;
        let position = if wrapped { candidate.saturating_add(SPAN) } else { candidate };
        if self.numberer.counts() && position.abs_diff(end) > LARGEST_JUMP {
            let (event_type, log_pos) = (header.event_type, header.log_pos);
            return Err(StreamError::Jump { event_type, log_pos, expected: end });
        }
        let start = position.saturating_sub(header.event_length.into());
        self.event_start = self.event_start.max(start);
        self.source.position = position;
        Ok(())
    }

    /// Keeps track of groups on a transparent route, where nothing is looked into further.
    fn follow(&mut self, event: &Event) {
        match event.event_type() {
            EventType::QUERY => {
                let sql = statement::text(event, self.format.as_ref()).unwrap_or_default();
                let (control, opening) = statement::quick_control(sql);
                self.group.statement(opening);
                if let Some(control) = control {
                    self.group.control(control);
                }
            }
            // Transaction control is too short to be compressed.
            EventType::QUERY_COMPRESSED => self.group.statement(statement::Opening::No),
            _ => self.group.observe(event, self.format.as_ref()),
        }
    }

    fn format_or(&self, event_type: EventType) -> Result<&FormatDescription, StreamError> {
        self.format.as_ref().ok_or(StreamError::NoFormat(event_type))
    }

    fn transform(&mut self, event: Event) -> Result<(), StreamError> {
        let event_type = event.event_type();
        if let Some(file) = self.prelude.file()
            && !prelude::mixes_with_blocks(event_type)
            && Self::file_of(&event)? != Some(file)
        {
            self.let_file_out(StreamError::TornLoad)?;
        }
        match event_type {
            EventType::GTID | EventType::ANONYMOUS_GTID | EventType::GTID_TAGGED | EventType::MARIADB_GTID => {
                self.open_group(event)
            }
            EventType::TABLE_MAP => self.table_map(event),
            _ if Rows::is_rows(event_type) => self.rows(event),
            EventType::QUERY | EventType::QUERY_COMPRESSED => self.statement(event),
            EventType::XID => {
                self.flush_held();
                self.prelude = Prelude::default();
                self.outbox.last(event);
                self.group.close();
                Ok(())
            }
            EventType::XA_PREPARE => self.prepare(event),
            EventType::INTVAR | EventType::RAND | EventType::USER_VAR => {
                self.group.open_statement();
                self.prelude.push(event);
                let held = self.held_bytes + self.prelude.bytes();
                if held > MAX_HELD_BYTES { Err(StreamError::HeldTooMuch(held)) } else { Ok(()) }
            }
            EventType::BEGIN_LOAD_QUERY | EventType::APPEND_BLOCK => self.file_part(event),
            EventType::DELETE_FILE => self.delete_file(event),
            EventType::EXECUTE_LOAD_QUERY => self.statement(event),
            // Their text names tables and rows that may not be selected.
            EventType::ROWS_QUERY | EventType::ANNOTATE_ROWS => {
                self.group.open_statement();
                if self.rules.passes_all_but_origins() && !self.is_excluded(event.header()) {
                    self.outbox.inner(event);
                }
                Ok(())
            }
            // Written for the certification of group replication, of no use to a replica; an unknown event that its
            // writer marked as ignorable may be skipped by its own definition.
            EventType::VIEW_CHANGE | EventType::TRANSACTION_CONTEXT | EventType::IGNORABLE => Ok(()),
            EventType::TRANSACTION_PAYLOAD => self.payload(event),
            // It stands alone or is all of its group.
            EventType::INCIDENT => {
                self.flush_held();
                self.outbox.last(event);
                self.group.close();
                Ok(())
            }
            EventType::PREVIOUS_GTIDS
            | EventType::MARIADB_GTID_LIST
            | EventType::BINLOG_CHECKPOINT
            | EventType::START_ENCRYPTION => {
                self.outbox.inner(event);
                Ok(())
            }
            _ if event.header().flags & flags::IGNORABLE != 0 => Ok(()),
            other => Err(StreamError::UnknownType(other)),
        }
    }

    /// Hands what the transformation gave to the numbering.
    fn deliver(&mut self, out: &mut Vec<Event>) -> Result<(), StreamError> {
        self.outbox.deliver(&mut self.numberer, &self.source, self.checksum, out)?;
        if self.group.is_closed() {
            self.numberer.close_gap(&self.source, out)?;
        } else {
            let held: usize = self.held_bytes + self.prelude.bytes() + self.outbox.waiting_bytes();
            self.numberer.close_large_gap(&self.source, held as u64, out);
        }
        Ok(())
    }
}
