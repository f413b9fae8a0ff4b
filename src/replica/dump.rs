//! The dump: events out, heartbeats when there are none, and the watch over a client that may leave or stop reading.
//!
//! Each event is one payload: `00` (for semi-synchronous replicas two bytes more) and the event, cut at 16 MiB − 1, with sequence numbers that go on from the command.
//! Small events are gathered into one write; large ones go out from where they are.

use std::future::ready;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::boundary::Boundary;
use super::command::code;
use super::fault_packet::{ErrorStyle, fault_packet};
use super::framed::{Between, Framed, Shared, frame};
use super::handshake::EOF_PACKET;
use super::heartbeat::{Layout, heartbeat};
use super::registry::{Guard, SessionState};
use super::semi_sync::{Head, Questions, SemiSync, Spoke};
use super::{Feed, FeedState, Limits, Standing};
use crate::binlog::{ChecksumAlgorithm, Event, EventType, FormatDescription, Vendor, flags};
use crate::fault::{Code, Fault};
use crate::pipeline::coordinates::{FilePosition, ReceiverPosition};
use crate::telemetry::SessionTelemetry;
use crate::wire::{SEQUENCE_AFTER_ACKNOWLEDGEMENT, packet_ranges, write_packet};

/// Gathered bytes go out at this size, even when more events are ready.
const GATHER_BYTES: usize = 256 << 10;

/// An event of this size is not copied: what is gathered goes out together with it, in one vectored write.
pub(super) const LARGE_EVENT: usize = 2 << 10;

/// What a dump needs to know of its replica.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) vendor: Vendor,
    pub(crate) layout: Layout,
    /// The replica acknowledges, and reads events with the header for that.
    pub(crate) semi_sync: bool,
    /// Zero: no heartbeats.
    pub(crate) heartbeat_period: Duration,
    /// How events before the first FORMAT_DESCRIPTION end, as agreed with the replica.
    pub(crate) agreed_checksum: ChecksumAlgorithm,
    /// The source's server id, which heartbeats carry.
    pub(crate) source_server_id: u32,
    /// MySQL auto-position: the receiver takes a later position over from a heartbeat.
    pub(crate) auto_position: bool,
    /// Where the receiver is when the stream begins; without a file in GTID mode.
    pub(crate) start: FilePosition,
    /// How much of an error's text this replica shows (bytes).
    pub(crate) errors: ErrorStyle,
}

impl Plan {
    /// What stands before events that ask for nothing.
    fn head(&self) -> Head {
        if self.semi_sync { Head::SemiSync } else { Head::Plain }
    }
}

/// How a dump ended, when nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DumpEnd {
    /// All was sent, EOF too: the client may send further commands.
    Complete,
    /// The client left.
    ClientLeft,
    /// The proxy is ending.
    Ending,
}

/// Serves one stream to its end. `sequence` is the number of the first packet. A connection that fails is a client that left.
pub(crate) async fn stream<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    sequence: u8,
    feed: &mut dyn Feed,
    plan: &Plan,
    limits: &Limits,
    about: (&Guard, &SessionTelemetry),
    ending: watch::Receiver<bool>,
) -> Result<DumpEnd, Fault> {
    match run(socket, sequence, feed, plan, limits, about, ending).await {
        Ok(end) => Ok(end),
        Err(Stop::ClientLeft) => Ok(DumpEnd::ClientLeft),
        Err(Stop::Failed(fault)) => Err(fault),
    }
}

/// Why nothing more can be sent.
enum Stop {
    ClientLeft,
    Failed(Fault),
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    sequence: u8,
    feed: &mut dyn Feed,
    plan: &Plan,
    limits: &Limits,
    (guard, telemetry): (&Guard, &SessionTelemetry),
    mut ending: watch::Receiver<bool>,
) -> Result<DumpEnd, Stop> {
    let mut sender = Sender::new(socket, sequence, limits.write_timeout);
    let mut state = Progress::new(plan);
    let mut batch = Vec::new();
    let mut semi_sync = plan.semi_sync.then(SemiSync::new);
    // A question that could not be asked yet.
    let mut unasked = None;
    let mut probe = [0; 512];
    let mut grace_over: Option<Instant> = None;
    let mut waiting = false;
    let mut superseded = guard.superseded();
    // These wait all the time, and are not made anew for each batch.
    let mut to_end = pin!(ended(&mut ending));
    let mut taken = pin!(taken_over(&mut superseded));
    let mut silence = pin!(sleep_until(state.heartbeat_due));
    loop {
        // The feed comes last: where there is always more, or always something that this replica does not see, nothing after it
        // would ever get its turn.
        let happened = tokio::select! {
            biased;
            () = &mut to_end, if grace_over.is_none() => Happened::Ending,
            other = &mut taken => Happened::TakenOver(other),
            read = sender.socket.read(&mut probe) => Happened::Client(read),
            () = until(grace_over) => return Ok(DumpEnd::Ending),
            () = &mut silence, if !plan.heartbeat_period.is_zero() => Happened::Silence,
            fed = feed.next(&mut batch) => Happened::Fed(fed),
        };
        match happened {
            Happened::Ending => {
                if feed.at_boundary() && !state.boundary.inside() {
                    return Ok(DumpEnd::Ending);
                }
                grace_over = Some(Instant::now() + limits.ending_grace);
            }
            Happened::TakenOver(other) => {
                // The words of a real source, which operators know.
                let message = format!(
                    "A replica with the same server_uuid/server_id as this replica has connected to the source: it came from {other}"
                );
                let fault = Fault::new(Code::ReplicaDuplicate, message);
                sender.packet(&fault_packet(&fault, plan.errors)).await?;
                return Err(Stop::Failed(fault));
            }
            Happened::Client(Ok(0)) => return Ok(DumpEnd::ClientLeft),
            Happened::Client(Ok(length)) if semi_sync.is_some() => {
                let Some(session) = &mut semi_sync else { continue };
                match session.read(&probe[..length], state.receiver.at()) {
                    Ok((count, answered)) => {
                        telemetry.acknowledged(count);
                        if let Some(number) = answered {
                            feed.answer(number);
                        }
                    }
                    Err(Spoke::Left) => return Ok(DumpEnd::ClientLeft),
                    Err(Spoke::Malformed(what)) => {
                        let message = format!("during its stream the replica sent what is no acknowledgement: {what}");
                        return Err(Stop::Failed(Fault::new(Code::ReplicaProtocol, message)));
                    }
                }
            }
            Happened::Client(Ok(length)) => {
                let quit = probe[..length].get(4) == Some(&code::QUIT);
                debug!(thread_id = guard.thread_id(), quit, "the client spoke during its stream");
                return Ok(DumpEnd::ClientLeft);
            }
            Happened::Client(Err(_)) => return Ok(DumpEnd::ClientLeft),
            // Something went out since the timer was set: sending only notes the time.
            Happened::Silence if Instant::now() < state.heartbeat_due => silence.as_mut().reset(state.heartbeat_due),
            Happened::Silence => {
                if plan.auto_position && state.catch_up(feed.heartbeat_position()) {
                    Sent::default().report(telemetry, state.receiver.at());
                }
                if let Some(event) = state.heartbeat(plan) {
                    sender.push(&event, plan.head()).await?;
                    sender.flush().await?;
                }
                state.heartbeat_due = Instant::now() + plan.heartbeat_period;
                silence.as_mut().reset(state.heartbeat_due);
                sender.let_go();
                if !waiting {
                    waiting = true;
                    guard.update(|attached| attached.state = SessionState::Waiting);
                }
            }
            Happened::Fed(fed) => {
                let mut sent = Sent::default();
                // What many share goes out as it is, unless this replica needs something else.
                if let Ok(FeedState::Shared(Shared { framed, pads })) = &fed {
                    let is_usual = batch.is_empty() && grace_over.is_none() && semi_sync.is_none();
                    if is_usual && framed.has_small_pads_only() && state.take_all(framed, &mut sent) {
                        sender.push_framed(framed, *pads).await?;
                    } else {
                        batch.extend(framed.events_with_pads(*pads));
                    }
                }
                let mut questions = match &semi_sync {
                    Some(_) => Questions::of(feed.take_questions()),
                    None => Questions::default(),
                };
                if let (Some(number), Some(session)) = (questions.before_all().or(unasked.take()), &mut semi_sync) {
                    // Nothing goes out that could carry the question, so a heartbeat does.
                    let event = state.heartbeat(plan);
                    match event {
                        Some(event) => {
                            sender.push(&event, Head::Asking).await?;
                            sender.flush().await?;
                            session.asked(number, state.receiver.at());
                            telemetry.asked();
                        }
                        None => unasked = Some(number),
                    }
                }
                for (index, event) in batch.drain(..).enumerate() {
                    let event = state.take(event, &mut sent);
                    let question = questions.with_event(index + 1, event.raw().len()).or(unasked);
                    let head = if question.is_some() { Head::Asking } else { plan.head() };
                    sender.push(&event, head).await?;
                    if let (Some(number), Some(session)) = (question, &mut semi_sync) {
                        unasked = None;
                        session.asked(number, state.receiver.at());
                        telemetry.asked();
                    }
                    if grace_over.is_some() && !state.boundary.inside() {
                        sender.flush().await?;
                        return Ok(DumpEnd::Ending);
                    }
                }
                // A feed also wakes up for what the replica does not see, such as the source's own heartbeats: to the replica
                // that is silence.
                if sent.events > 0 {
                    sender.flush().await?;
                    state.heartbeat_due = Instant::now() + plan.heartbeat_period;
                    sent.report(telemetry, state.receiver.at());
                    if waiting {
                        waiting = false;
                        guard.update(|attached| attached.state = SessionState::Streaming);
                    }
                }
                // A source that has left out what the replica has tells at once how far that goes, and waits for no silence: whoever
                // waits for a position at the replica goes by it.
                if plan.auto_position
                    && fed.is_ok()
                    && feed.is_caught_up()
                    && state.catch_up(feed.heartbeat_position())
                    && let Some(event) = state.heartbeat(plan)
                {
                    sender.push(&event, plan.head()).await?;
                    sender.flush().await?;
                    state.heartbeat_due = Instant::now() + plan.heartbeat_period;
                    Sent::default().report(telemetry, state.receiver.at());
                }
                telemetry.on_live_tail(feed.is_live());
                if let Some(Standing { server, source, served }) = feed.standing() {
                    telemetry.stands_at(server, source, served);
                }
                if feed.is_caught_up() {
                    telemetry.caught_up();
                }
                match fed {
                    Ok(FeedState::More | FeedState::Shared(_)) => {}
                    Ok(FeedState::EndOfStream) => {
                        sender.packet(&EOF_PACKET).await?;
                        return Ok(DumpEnd::Complete);
                    }
                    Err(fault) => {
                        sender.packet(&fault_packet(&fault, plan.errors)).await?;
                        return Err(Stop::Failed(fault));
                    }
                }
            }
        }
    }
}

enum Happened {
    Ending,
    TakenOver(SocketAddr),
    Client(io::Result<usize>),
    Fed(Result<FeedState, Fault>),
    Silence,
}

/// Waits until another replica has taken this one's identity; where nobody can any more, forever.
async fn taken_over(superseded: &mut watch::Receiver<Option<SocketAddr>>) -> SocketAddr {
    match superseded.wait_for(Option::is_some).await.ok().and_then(|other| *other) {
        Some(other) => other,
        None => std::future::pending().await,
    }
}

/// Waits for the signal to end; a signal that can no longer come is waited for forever.
pub(crate) async fn ended(ending: &mut watch::Receiver<bool>) {
    if ending.wait_for(|ending| *ending).await.is_err() {
        std::future::pending().await
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// What the stream has come to.
struct Progress {
    receiver: ReceiverPosition,
    boundary: Boundary,
    format: Option<FormatDescription>,
    checksum: ChecksumAlgorithm,
    heartbeat_due: Instant,
}

impl Progress {
    fn new(plan: &Plan) -> Self {
        Self {
            receiver: ReceiverPosition::new(plan.vendor, plan.start.clone()),
            boundary: Boundary::default(),
            format: None,
            checksum: plan.agreed_checksum,
            heartbeat_due: Instant::now() + plan.heartbeat_period,
        }
    }

    /// A heartbeat that says where the receiver is, if that can be said.
    fn heartbeat(&self, plan: &Plan) -> Option<Event> {
        let layout = plan.layout.behind(self.format.as_ref());
        heartbeat(layout, plan.source_server_id, self.receiver.at(), self.checksum)
    }

    /// In the file that the receiver is in, a later position tells an idle replica that it has everything up to there. Whether it is
    /// later.
    fn catch_up(&mut self, position: Option<FilePosition>) -> bool {
        let at = self.receiver.at();
        match position.filter(|position| position.file == at.file && position.position > at.position) {
            Some(position) => {
                self.receiver.advance_to(position.position);
                true
            }
            None => false,
        }
    }

    /// Accounts for the next event. What is made up before the first FORMAT_DESCRIPTION (the ROTATE that begins the stream) ends
    /// as agreed with this replica, whatever the source agreed on with the proxy. So does a ROTATE that begins a stream anew behind
    /// the replica's back: the replica reads it as the last FORMAT_DESCRIPTION said, and the next one is still to come.
    fn take(&mut self, event: Event, sent: &mut Sent) -> Event {
        let made_up = self.format.is_none()
            || (event.event_type() == EventType::ROTATE && event.header().flags & flags::ARTIFICIAL != 0);
        let event =
            if made_up && event.event_type() != EventType::FORMAT_DESCRIPTION && event.checksum() != self.checksum {
                Event::build(*event.header(), &[event.body()], self.checksum)
            } else {
                event
            };
        if event.event_type() == EventType::FORMAT_DESCRIPTION
            && let Ok((_, format)) = FormatDescription::read(event.raw().clone())
        {
            self.checksum = format.checksum;
            self.format = Some(format);
        }
        self.receiver.receive(&event);
        sent.events += 1;
        sent.bytes += event.raw().len() as u64;
        // The times of these are the file's, which may be old.
        let is_of_the_file = matches!(
            event.event_type(),
            EventType::FORMAT_DESCRIPTION
                | EventType::PREVIOUS_GTIDS
                | EventType::MARIADB_GTID_LIST
                | EventType::BINLOG_CHECKPOINT
        );
        if !is_of_the_file {
            sent.newest = sent.newest.max(event.header().timestamp);
        }
        sent.transactions += u64::from(self.boundary.passes(&event, self.format.as_ref()));
        event
    }

    /// Accounts for all of these events, if what they do is known. What nobody has looked at goes one by one, and so does what comes
    /// before the first FORMAT_DESCRIPTION.
    fn take_all(&mut self, framed: &Framed, sent: &mut Sent) -> bool {
        let Some(effect) = framed.effect().filter(|effect| self.format.is_some() && effect.before == self.boundary)
        else {
            return false;
        };
        self.boundary = effect.after;
        self.receiver.receive_all(&effect.stretch);
        sent.events += framed.events().len() as u64;
        sent.bytes += effect.bytes;
        sent.newest = sent.newest.max(effect.newest);
        sent.transactions += effect.transactions;
        true
    }
}

/// One batch, for the counters.
#[derive(Default)]
struct Sent {
    events: u64,
    bytes: u64,
    transactions: u64,
    newest: u32,
}

impl Sent {
    fn report(self, telemetry: &SessionTelemetry, at: &FilePosition) {
        let file = String::from_utf8_lossy(&at.file);
        telemetry.sent(self.events, self.bytes, self.transactions, self.newest, Some(&file), at.position);
    }
}

/// Writes payloads as packets.
struct Sender<'a, S> {
    socket: &'a mut S,
    sequence: u8,
    /// Headers and small events, one after the other.
    gathered: Vec<u8>,
    /// Large events, each with the place in `gathered` at which it goes out.
    large: Vec<(usize, Bytes)>,
    large_bytes: usize,
    write_timeout: Duration,
}

impl<'a, S: AsyncWrite + Unpin> Sender<'a, S> {
    fn new(socket: &'a mut S, sequence: u8, write_timeout: Duration) -> Self {
        Self { socket, sequence, gathered: Vec::new(), large: Vec::new(), large_bytes: 0, write_timeout }
    }

    /// One event: the head and its bytes.
    async fn push(&mut self, event: &Event, head: Head) -> Result<(), Stop> {
        let (raw, marker) = (event.raw(), head.bytes());
        for (header, range) in packet_ranges(raw.len() + marker.len(), self.sequence) {
            self.sequence = self.sequence.wrapping_add(1);
            self.large_bytes += frame(header, range, marker, raw, &mut self.gathered, &mut self.large);
        }
        if head == Head::Asking {
            self.sequence = SEQUENCE_AFTER_ACKNOWLEDGEMENT;
        }
        if self.gathered.len() + self.large_bytes >= GATHER_BYTES { self.write().await } else { Ok(()) }
    }

    /// Events that are framed already.
    async fn push_framed(&mut self, framed: &Framed, pads: Option<u32>) -> Result<(), Stop> {
        self.write().await?;
        let mut copy = std::mem::take(&mut self.gathered);
        for chunk in framed.chunks() {
            let (between, sequence) = framed.copy(chunk, self.sequence, pads, &mut copy);
            self.sequence = sequence;
            self.write_parts(&copy, between).await?;
        }
        copy.clear();
        self.gathered = copy;
        Ok(())
    }

    /// A packet that is no event.
    async fn packet(&mut self, payload: &[u8]) -> Result<(), Stop> {
        write_packet(&mut self.gathered, payload, &mut self.sequence);
        self.flush().await
    }

    /// An idle replica keeps no memory for what it was sent last.
    fn let_go(&mut self) {
        if self.gathered.is_empty() {
            (self.gathered, self.large) = (Vec::new(), Vec::new());
        }
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        self.write().await?;
        self.limited(async |socket: &mut S| socket.flush().await).await
    }

    /// Everything so far, without putting it together.
    async fn write(&mut self) -> Result<(), Stop> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let (gathered, large) = (std::mem::take(&mut self.gathered), std::mem::take(&mut self.large));
        self.write_parts(&gathered, Between { base: 0, large: &large }).await?;
        (self.gathered, self.large, self.large_bytes) = (gathered, large, 0);
        self.gathered.clear();
        self.large.clear();
        Ok(())
    }

    async fn write_parts(&mut self, gathered: &[u8], Between { base, large }: Between<'_>) -> Result<(), Stop> {
        let (mut one, mut several) = ([IoSlice::new(gathered)], Vec::new());
        let mut left = if large.is_empty() {
            &mut one[..]
        } else {
            several.reserve_exact(2 * large.len() + 1);
            let mut from = 0;
            for (at, event) in large {
                several.push(IoSlice::new(&gathered[from..at - base]));
                several.push(IoSlice::new(event));
                from = at - base;
            }
            several.push(IoSlice::new(&gathered[from..]));
            &mut several[..]
        };
        // Leading empty slices go, so that what is left is empty when nothing is.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let written = self.limited(async |socket: &mut S| socket.write_vectored(left).await).await?;
            if written == 0 {
                return Err(Stop::ClientLeft);
            }
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }

    /// Progress within the time that a replica has to take some bytes.
    async fn limited<T>(&mut self, work: impl AsyncFnOnce(&mut S) -> io::Result<T>) -> Result<T, Stop> {
        let mut work = pin!(work(self.socket));
        // Mostly there is room at once, and no timer is needed.
        let at_once = tokio::select! {
            biased;
            done = &mut work => Some(done),
            () = ready(()) => None,
        };
        let done = match at_once {
            Some(done) => Ok(done),
            None => timeout(self.write_timeout, work).await,
        };
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                debug!(%error, "the connection to the replica failed");
                Err(Stop::ClientLeft)
            }
            Err(_) => {
                let text = format!("the replica took no byte for {:?}", self.write_timeout);
                Err(Stop::Failed(Fault::new(Code::ReplicaStuck, text)))
            }
        }
    }
}
