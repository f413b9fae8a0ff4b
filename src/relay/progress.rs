//! What a replica has been sent, as far as it is needed to go on somewhere else.

use crate::binlog::{Event, EventType, MariaDbGtid};
use crate::gtid::{GtidSet, MariaDbGtidText, MariaDbPosition, Sid, mysql_gtid};
use crate::pipeline::coordinates::FilePosition;
use crate::replica::backend::{ReplicaRequest, ReplicaStart};

use super::ring::Batch;

/// The variable in which MariaDB replicas say where they are.
pub(super) const CONNECT_STATE: &str = "slave_connect_state";

/// What a replica has been sent, as far as it is needed to go on.
#[derive(Debug, Clone)]
pub(super) enum Progress {
    /// File and position: the feed itself knows.
    Position,
    MySql {
        set: GtidSet,
        open: Option<(Sid, u64)>,
    },
    MariaDb {
        position: MariaDbPosition,
        open: Option<MariaDbGtidText>,
    },
    /// A GTID that could not be read.
    Lost,
}

impl Progress {
    pub(super) fn of(start: &ReplicaStart) -> Self {
        match start {
            ReplicaStart::FilePosition(_) => Self::Position,
            ReplicaStart::MySqlGtid(set) => {
                GtidSet::decode(set).map_or(Self::Lost, |set| Self::MySql { set, open: None })
            }
            ReplicaStart::MariaDbGtid(state) => {
                state.parse().map_or(Self::Lost, |position| Self::MariaDb { position, open: None })
            }
        }
    }

    /// One event went out.
    pub(super) fn sent(&mut self, event: &Event) {
        match (&mut *self, event.event_type()) {
            (Self::MySql { .. }, EventType::GTID | EventType::GTID_TAGGED) => {
                self.close();
                match (self, mysql_gtid(event)) {
                    (Self::MySql { open, .. }, Some(gtid)) => *open = Some(gtid),
                    (progress, _) => *progress = Self::Lost,
                }
            }
            (Self::MariaDb { .. }, EventType::MARIADB_GTID) => {
                self.close();
                let server_id = event.header().server_id;
                match (self, MariaDbGtid::read(event.body())) {
                    (Self::MariaDb { open, .. }, Ok(MariaDbGtid { sequence, domain, .. })) => {
                        *open = Some(MariaDbGtidText { domain, server_id, sequence });
                    }
                    (progress, _) => *progress = Self::Lost,
                }
            }
            _ => {}
        }
    }

    /// The group at hand is complete.
    pub(super) fn close(&mut self) {
        match self {
            Self::MySql { set, open } => {
                if let Some((sid, number)) = open.take() {
                    set.insert(sid, number);
                }
            }
            Self::MariaDb { position, open } => {
                if let Some(gtid) = open.take() {
                    position.advance(gtid);
                }
            }
            Self::Position | Self::Lost => {}
        }
    }

    /// All events of a batch went out, of which what they do is known; `whole`: the last group in it is complete. False, and
    /// nothing is done, where the replica has one of the transactions, so that the events have to be looked at one by one.
    pub(super) fn sent_all(&mut self, advance: &Advance, whole: bool) -> bool {
        match (&mut *self, advance) {
            (_, Advance::EachEvent) => return false,
            (Self::MySql { set, .. }, Advance::MySql { closed, last }) => {
                let has_last = last.as_ref().is_some_and(|(sid, number)| set.contains(sid, *number));
                if has_last || !set.is_disjoint(closed) {
                    return false;
                }
                self.close();
                if let Self::MySql { set, open } = self {
                    set.extend(closed);
                    open.clone_from(last);
                }
            }
            (Self::MariaDb { .. }, Advance::MariaDb { closed, last }) => {
                self.close();
                if let Self::MariaDb { position, open } = self {
                    closed.iter().for_each(|gtid| position.advance(gtid));
                    *open = *last;
                }
            }
            (Self::Position | Self::MySql { .. } | Self::MariaDb { .. } | Self::Lost, _) => {}
        }
        if whole {
            self.close();
        }
        true
    }

    /// The group at hand did not come whole and will come again.
    pub(super) fn abandon(&mut self) {
        match self {
            Self::MySql { open, .. } => *open = None,
            Self::MariaDb { open, .. } => *open = None,
            Self::Position | Self::Lost => {}
        }
    }

    /// The last MariaDB transactions of which something went out; `None` where that is not known, or the replica goes otherwise.
    pub(super) fn put_out(&self) -> Option<MariaDbPosition> {
        let Self::MariaDb { position, open } = self else { return None };
        let mut position = position.clone();
        open.iter().for_each(|gtid| position.advance(*gtid));
        Some(position)
    }

    /// The request of a replica that has all this; `None` where that is not known.
    pub(super) fn request(&self, request: &ReplicaRequest, served: FilePosition) -> Option<ReplicaRequest> {
        let mut request = request.clone();
        request.start = match self {
            Self::Position => ReplicaStart::FilePosition(served),
            Self::MySql { set, .. } => ReplicaStart::MySqlGtid(set.encode().into()),
            Self::MariaDb { position, .. } => {
                let state = position.to_string();
                for (name, value) in &mut request.replica.gtid_variables {
                    if name == CONNECT_STATE {
                        value.clone_from(&state);
                    }
                }
                ReplicaStart::MariaDbGtid(state)
            }
            Self::Lost => return None,
        };
        Some(request)
    }

    /// What the events of a batch, which do this, will change of a MariaDB position.
    pub(super) fn before(&self, advance: &Advance) -> Before {
        let Self::MariaDb { position, open } = self else { return Before::Unknown };
        let (closed, last) = match advance {
            Advance::MariaDb { closed, last } => (Some(closed), *last),
            Advance::Nothing => (None, None),
            Advance::MySql { .. } | Advance::EachEvent => return Before::Unknown,
        };
        let mut domains: Vec<u32> =
            closed.into_iter().flat_map(|closed| closed.iter().map(|gtid| gtid.domain)).collect();
        domains.extend([*open, last].into_iter().flatten().map(|gtid| gtid.domain));
        domains.sort_unstable();
        domains.dedup();
        let domains = domains.into_iter().map(|domain| (domain, position.get(domain))).collect();
        Before::MariaDb { open: *open, domains }
    }

    /// Takes back what the events of a batch changed.
    fn go_back(&mut self, before: &Before) {
        match (&mut *self, before) {
            (Self::MariaDb { position, open }, Before::MariaDb { open: before, domains }) => {
                domains.iter().for_each(|(domain, gtid)| position.take_back(*domain, *gtid));
                *open = *before;
            }
            _ => *self = Self::Lost,
        }
    }

    /// Whether a replica with this progress misses nothing, and gets nothing twice, when it goes on at a place of a tail.
    ///
    /// `told` is what the tail's source was told to leave out and what it has sent since; `later` are the batches at the end of that, the
    /// first of them without the `skip` events that come before the place.
    pub(super) fn can_follow(&self, told: &Self, later: &[&Batch], skip: usize) -> bool {
        match (self, told) {
            (Self::Position, Self::Position) => true,
            // A source leaves out for good what it was told once, so all of it must be here or come. What comes and is here already is
            // left out for this replica alone.
            (Self::MySql { .. }, Self::MySql { set: told, .. }) => {
                let mut reached = self.clone();
                let events = later.iter().flat_map(|batch| batch.events()).skip(skip);
                events.for_each(|event| reached.sent(event));
                // A group that is not complete yet is not among what the tail has sent either.
                reached.close();
                matches!(&reached, Self::MySql { set, .. } if told.is_subset(set))
            }
            // A source that does not have a domain's GTID yet leaves that domain out up to it, and a later GTID of the domain says nothing
            // of those before it: both must be the same at the place itself.
            (Self::MariaDb { .. }, Self::MariaDb { .. }) => {
                let (mut here, mut there) = (self.clone(), told.clone());
                later.iter().rev().for_each(|batch| there.go_back(&batch.before));
                let events = later.iter().flat_map(|batch| batch.events()).take(skip);
                events.for_each(|event| there.sent(event));
                // A place is between two groups.
                here.close();
                there.close();
                match (&here, &there) {
                    (Self::MariaDb { position, .. }, Self::MariaDb { position: other, .. }) => position == other,
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// The replica goes by file and position.
    pub(super) fn is_position(&self) -> bool {
        matches!(self, Self::Position)
    }

    /// Whether the group that this event begins is one that the replica has: its own source would leave it out.
    pub(super) fn has(&self, event: &Event) -> bool {
        match self {
            Self::MySql { set, .. } if matches!(event.event_type(), EventType::GTID | EventType::GTID_TAGGED) => {
                mysql_gtid(event).is_some_and(|(sid, number)| set.contains(&sid, number))
            }
            _ => false,
        }
    }
}

/// What the events of a batch took the place of, so that what there was at an earlier place can be told: one GTID a batch, mostly.
#[derive(Debug)]
pub(super) enum Before {
    MariaDb {
        /// The GTID of the group at hand.
        open: Option<MariaDbGtidText>,
        /// The domains of which there is a GTID among the events, each with the last one before them.
        domains: Vec<(u32, Option<MariaDbGtidText>)>,
    },
    /// Nobody asks for it, or it cannot be told.
    Unknown,
}

impl Before {
    /// What it takes, besides its own size (bytes).
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::MariaDb { domains, .. } => size_of_val(&domains[..]),
            Self::Unknown => 0,
        }
    }
}

/// What the events of a batch add to what a replica has.
#[derive(Debug, PartialEq)]
pub(super) enum Advance {
    /// There is no GTID among them.
    Nothing,
    /// The groups that others follow, and the last one.
    MySql { closed: GtidSet, last: Option<(Sid, u64)> },
    /// The same.
    MariaDb { closed: MariaDbPosition, last: Option<MariaDbGtidText> },
    /// They have to be looked at one by one.
    EachEvent,
}

impl Advance {
    pub(super) fn of(events: &[Event]) -> Self {
        let mut advance = Self::Nothing;
        for event in events {
            match event.event_type() {
                EventType::GTID | EventType::GTID_TAGGED => {
                    let Some(gtid) = mysql_gtid(event) else { return Self::EachEvent };
                    match &mut advance {
                        Self::Nothing => advance = Self::MySql { closed: GtidSet::default(), last: Some(gtid) },
                        Self::MySql { closed, last } => {
                            if let Some((sid, number)) = last.replace(gtid) {
                                closed.insert(sid, number);
                            }
                            if last.as_ref().is_some_and(|(sid, number)| closed.contains(sid, *number)) {
                                return Self::EachEvent;
                            }
                        }
                        Self::MariaDb { .. } | Self::EachEvent => return Self::EachEvent,
                    }
                }
                EventType::MARIADB_GTID => {
                    let Ok(MariaDbGtid { sequence, domain, .. }) = MariaDbGtid::read(event.body()) else {
                        return Self::EachEvent;
                    };
                    let gtid = MariaDbGtidText { domain, server_id: event.header().server_id, sequence };
                    match &mut advance {
                        Self::Nothing => {
                            advance = Self::MariaDb { closed: MariaDbPosition::default(), last: Some(gtid) };
                        }
                        Self::MariaDb { closed, last } => {
                            if let Some(before) = last.replace(gtid) {
                                closed.advance(before);
                            }
                        }
                        Self::MySql { .. } | Self::EachEvent => return Self::EachEvent,
                    }
                }
                _ => {}
            }
        }
        advance
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{ChecksumAlgorithm, Header};

    fn mariadb_gtid(sequence: u64) -> Event {
        let header = Header {
            timestamp: 1,
            event_type: EventType::MARIADB_GTID,
            server_id: 7,
            event_length: 0,
            log_pos: 1,
            flags: 0,
        };
        Event::build(header, &[&sequence.to_le_bytes(), &[0; 4], &[0; 7]], ChecksumAlgorithm::None)
    }

    fn mysql_gtid(number: u64) -> Event {
        let header = Header { event_type: EventType::GTID, ..*mariadb_gtid(1).header() };
        Event::build(header, &[&[0], &[7; 16], &number.to_le_bytes(), &[0; 17]], ChecksumAlgorithm::None)
    }

    #[test]
    fn a_batch_at_once_leaves_the_same_as_its_events_one_by_one() {
        let other = || {
            Event::build(*mariadb_gtid(1).header(), &[], ChecksumAlgorithm::None).with_header(|header| {
                header.event_type = EventType::XID;
            })
        };
        let batches = |gtid: fn(u64) -> Event| {
            [
                (vec![gtid(2), other(), gtid(3), other()], true),
                (vec![other()], true),
                (vec![gtid(4), other(), gtid(5)], false),
                (vec![other(), gtid(6)], false),
                (vec![other()], false),
                (vec![other(), other()], true),
                (vec![gtid(9)], true),
            ]
        };
        let set: GtidSet = "07070707-0707-0707-0707-070707070707:1".parse().expect("a set");
        let starts = [
            (ReplicaStart::MySqlGtid(set.encode().into()), batches(mysql_gtid)),
            (ReplicaStart::MariaDbGtid("0-7-1".to_owned()), batches(mariadb_gtid)),
            (ReplicaStart::FilePosition(FilePosition::default()), batches(mysql_gtid)),
        ];
        for (start, batches) in starts {
            let (mut each, mut all) = (Progress::of(&start), Progress::of(&start));
            for (events, whole) in batches {
                events.iter().for_each(|event| each.sent(event));
                if whole {
                    each.close();
                }
                assert!(all.sent_all(&Advance::of(&events), whole));
                assert_eq!(format!("{all:?}"), format!("{each:?}"));
            }
        }
    }

    #[test]
    fn a_batch_with_a_transaction_that_the_replica_has_is_looked_at_event_by_event() {
        let set: GtidSet = "07070707-0707-0707-0707-070707070707:1:5".parse().expect("a set");
        let mut progress = Progress::of(&ReplicaStart::MySqlGtid(set.encode().into()));
        let before = format!("{progress:?}");
        for numbers in [&[5, 6][..], &[4, 5], &[5], &[2, 2], &[2, 3, 2]] {
            let events: Vec<_> = numbers.iter().map(|number| mysql_gtid(*number)).collect();
            assert!(!progress.sent_all(&Advance::of(&events), true), "{numbers:?}");
        }
        assert!(!progress.sent_all(&Advance::of(&[mysql_gtid(2), mariadb_gtid(2)]), true));
        assert_eq!(format!("{progress:?}"), before);
        assert!(progress.sent_all(&Advance::of(&[mysql_gtid(2)]), true));
    }

    #[test]
    fn a_group_that_did_not_come_whole_is_asked_for_again() {
        let state = |progress: &Progress| match progress {
            Progress::MariaDb { position, .. } => position.to_string(),
            other => panic!("{other:?}"),
        };
        let mut progress = Progress::of(&ReplicaStart::MariaDbGtid("0-7-1".to_owned()));
        progress.sent(&mariadb_gtid(2));
        progress.close();
        progress.sent(&mariadb_gtid(3));
        progress.abandon();
        // The stream that follows begins between two groups.
        progress.close();
        assert_eq!(state(&progress), "0-7-2");
        progress.sent(&mariadb_gtid(3));
        progress.close();
        assert_eq!(state(&progress), "0-7-3");
    }
}
