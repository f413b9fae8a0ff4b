//! What a replica has already, and where it wants to stop: which groups of the files it is sent.

use std::collections::BTreeMap;

use crate::binlog::{ChecksumAlgorithm, Event, EventType, Header, MariaDbGtid, flags};
use crate::fault::{Code, Fault};
use crate::gtid::{GtidSet, MariaDbGtidText, MariaDbPosition, mysql_gtid};
use crate::replica::ReplicaSession;

/// What a replica has already: groups of these are left out.
#[derive(Debug)]
pub(super) enum Known {
    Nothing,
    MySql(GtidSet),
    MariaDb(MariaDbStart),
}

impl Known {
    /// Whether the group that this GTID event begins is left out; `None` for other events.
    pub(super) fn leaves_out(&mut self, event: &Event) -> Result<Option<bool>, Fault> {
        let leaves_out = match event.event_type() {
            EventType::GTID | EventType::GTID_TAGGED => match (self, mysql_gtid(event)) {
                (Self::MySql(set), Some((sid, number))) => set.contains(&sid, number),
                _ => false,
            },
            EventType::MARIADB_GTID => match (self, MariaDbGtid::read(event.body())) {
                (Self::MariaDb(start), Ok(MariaDbGtid { domain, sequence, .. })) => {
                    start.leaves_out(MariaDbGtidText { domain, server_id: event.header().server_id, sequence })?
                }
                _ => false,
            },
            EventType::ANONYMOUS_GTID => false,
            _ => return Ok(None),
        };
        Ok(Some(leaves_out))
    }

    /// Whether the replica has anything: then the stream does not begin where its server did.
    pub(super) fn is_something(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::MySql(_) => true,
            Self::MariaDb(start) => start.has_something,
        }
    }

    /// Whether the replica has been sent all that it wants once the group at hand is over.
    pub(super) fn has_all_it_wants(&self) -> bool {
        matches!(self, Self::MariaDb(start) if start.until.as_ref().is_some_and(|until| until.ends.is_empty()))
    }

    /// Nothing more is in the files for now: what was left out must have been what the replica has.
    pub(super) fn at_end(&self) -> Result<(), Fault> {
        if let Self::MariaDb(start) = self { start.at_end() } else { Ok(()) }
    }
}

/// The position of a MariaDB replica by GTID, in files that begin before it. Groups of a domain are left out up to the one that
/// the replica names, as servers do it (`send_event_to_slave` in `sql_repl.cc`): sequence numbers of several servers need not grow.
#[derive(Debug)]
pub(super) struct MariaDbStart {
    has_something: bool,
    /// Domains whose place was not found yet.
    wanted: BTreeMap<u32, Wanted>,
    strict: bool,
    ignores_duplicates: bool,
    until: Option<Until>,
}

#[derive(Debug)]
struct Wanted {
    gtid: MariaDbGtidText,
    /// The highest number of the domain that was left out on the way.
    left_out: Option<u64>,
}

/// START SLAVE UNTIL master_gtid_pos: the last group of each domain. Others are not sent.
#[derive(Debug)]
struct Until {
    ends: MariaDbPosition,
    /// SQL_BEFORE_GTIDS of 11.3 and later: those groups themselves are not sent either.
    before: bool,
}

impl MariaDbStart {
    /// What a replica of this session says.
    pub(super) fn new(position: &MariaDbPosition, replica: &ReplicaSession) -> Result<Self, Fault> {
        let variable = |wanted: &str| {
            replica.gtid_variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        };
        let is_set = |name: &str| variable(name).is_some_and(|value| value.trim() == "1");
        let until = match variable("slave_until_gtid") {
            Some(text) => {
                let ends = text.parse().map_err(|error: String| Fault::new(Code::ReplicaPosition, error))?;
                Some(Until { ends, before: is_set("slave_gtid_until_before_gtids") })
            }
            None => None,
        };
        let wanted: BTreeMap<u32, Wanted> =
            position.iter().map(|gtid| (gtid.domain, Wanted { gtid, left_out: None })).collect();
        Ok(Self {
            has_something: !wanted.is_empty(),
            wanted,
            strict: is_set("slave_gtid_strict_mode"),
            ignores_duplicates: is_set("slave_gtid_ignore_duplicates"),
            until,
        })
    }

    /// Whether nothing that the replica needs lies before a file with this GTID_LIST. The list has, for each domain, the last group
    /// of every server in the files before, and of these the last one that was written as the last. A domain that the replica
    /// does not name is wanted from its first group on.
    pub(super) fn may_begin_behind(&self, list: &[MariaDbGtidText]) -> bool {
        list.iter().enumerate().all(|(index, listed)| {
            let Some(Wanted { gtid, .. }) = self.wanted.get(&listed.domain) else { return false };
            let is_last_of_domain = list.get(index + 1).is_none_or(|next| next.domain != listed.domain);
            gtid.server_id != listed.server_id
                || gtid.sequence > listed.sequence
                || gtid.sequence == listed.sequence && is_last_of_domain
        })
    }

    /// The stream begins with the file that has this GTID_LIST.
    pub(super) fn begin_behind(&mut self, list: &[MariaDbGtidText]) {
        for listed in list {
            // What the replica has last is the last one before the file: nothing of the domain is to be left out.
            if self.wanted.get(&listed.domain).is_some_and(|wanted| wanted.gtid == *listed) {
                self.wanted.remove(&listed.domain);
            }
            if let Some(until) = &mut self.until
                && until.ends.get(listed.domain).is_some_and(|end| is_at_or_behind(*listed, end))
            {
                until.ends.remove(listed.domain);
            }
        }
    }

    fn leaves_out(&mut self, gtid: MariaDbGtidText) -> Result<bool, Fault> {
        let mut leaves_out = false;
        if let Some(wanted) = self.wanted.get_mut(&gtid.domain) {
            if is_at_or_behind(gtid, wanted.gtid) {
                let is_hole = gtid.sequence > wanted.gtid.sequence;
                if is_hole && self.strict {
                    return Err(refused(format!(
                        "The binlog on the master is missing the GTID {} requested by the slave (even though a subsequent sequence \
                         number does exist), and GTID strict mode is enabled",
                        wanted.gtid
                    )));
                }
                if is_hole && wanted.left_out > Some(wanted.gtid.sequence) {
                    return Err(not_found(wanted.gtid));
                }
                leaves_out = !is_hole;
                self.wanted.remove(&gtid.domain);
            } else {
                wanted.left_out = wanted.left_out.max(Some(gtid.sequence));
                leaves_out = true;
            }
        }
        if let Some(until) = &mut self.until {
            match until.ends.get(gtid.domain) {
                None => leaves_out = true,
                Some(end) if is_at_or_behind(gtid, end) => {
                    leaves_out |= gtid.sequence > end.sequence || until.before;
                    until.ends.remove(gtid.domain);
                }
                Some(_) => {}
            }
        }
        Ok(leaves_out)
    }

    fn at_end(&self) -> Result<(), Fault> {
        let lost = self.wanted.values().find(|wanted| {
            let is_awaited = self.ignores_duplicates && wanted.left_out < Some(wanted.gtid.sequence);
            wanted.left_out.is_some() && !is_awaited
        });
        lost.map_or(Ok(()), |wanted| Err(not_found(wanted.gtid)))
    }
}

/// Whether a server that wrote `gtid` had written `other`, of the same domain, or this is it.
fn is_at_or_behind(gtid: MariaDbGtidText, other: MariaDbGtidText) -> bool {
    gtid.server_id == other.server_id && gtid.sequence >= other.sequence
}

fn not_found(gtid: MariaDbGtidText) -> Fault {
    refused(format!("connecting slave requested to start from GTID {gtid}, which is not in the master's binlog"))
}

/// A refusal in the words in which a server says it.
pub(super) fn refused(words: String) -> Fault {
    Fault::new(Code::ReplicaPosition, words.clone()).with_source_words(words)
}

/// `Gtid_list_log_event::FLAG_UNTIL_REACHED`, above the number of entries.
const UNTIL_REACHED: u32 = 1 << 28;

/// The GTID_LIST in no file that tells a replica that its UNTIL is reached, at this position. Replicas look at the flag alone.
pub(super) fn until_reached(server_id: u32, position: u64, checksum: ChecksumAlgorithm) -> Event {
    let header = Header {
        timestamp: 0,
        event_type: EventType::MARIADB_GTID_LIST,
        server_id,
        event_length: 0,
        // Positions that do not fit are not told.
        log_pos: u32::try_from(position).unwrap_or(0),
        flags: flags::ARTIFICIAL,
    };
    Event::build(header, &[&UNTIL_REACHED.to_le_bytes()], checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gtids(text: &str) -> Vec<MariaDbGtidText> {
        text.split_whitespace().map(|gtid| gtid.parse().expect("a GTID")).collect()
    }

    fn start(position: &str, variables: &[(&str, &str)]) -> MariaDbStart {
        let mut replica = ReplicaSession::of_a_test(7);
        replica.gtid_variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        MariaDbStart::new(&position.parse().expect("a position"), &replica).expect("variables")
    }

    #[test]
    fn a_file_is_late_enough_where_its_list_has_nothing_that_the_replica_lacks() {
        for (list, position, may) in [
            ("", "", true),
            ("", "0-1-5", true),
            ("0-1-99", "0-1-5", false),
            ("0-1-99", "0-1-98", false),
            ("0-1-99", "0-1-99", true),
            ("0-1-99", "0-1-100", true),
            // A domain that the replica does not name is wanted from its beginning.
            ("0-1-99", "", false),
            ("0-1-99 3-1-1", "0-1-99", false),
            ("0-1-99 3-1-1", "0-1-99,3-1-1", true),
            // The last entry of a domain is what was written last.
            ("0-1-99 0-2-98", "0-1-99", false),
            ("0-1-99 0-2-98", "0-2-98", true),
            ("0-1-99 0-2-98", "0-2-97", false),
        ] {
            assert_eq!(start(position, &[]).may_begin_behind(&gtids(list)), may, "{list:?} for {position:?}");
        }
    }

    /// Which of `groups` are sent to a replica that begins behind `list`, and what is wrong.
    fn sent(start: &mut MariaDbStart, list: &str, groups: &str) -> Result<String, String> {
        start.begin_behind(&gtids(list));
        let mut sent = Vec::new();
        for gtid in gtids(groups) {
            if start.until.as_ref().is_some_and(|until| until.ends.is_empty()) {
                sent.push("end".to_owned());
                return Ok(sent.join(" "));
            }
            if !start.leaves_out(gtid).map_err(|fault| fault.message)? {
                sent.push(gtid.to_string());
            }
        }
        start.at_end().map_err(|fault| fault.message)?;
        Ok(sent.join(" "))
    }

    #[test]
    fn groups_are_left_out_up_to_the_one_that_the_replica_names() {
        let missing = "is not in the master's binlog";
        for (position, list, groups, expected) in [
            ("0-1-2", "", "0-1-1 0-1-2 0-1-3 1-1-1", Ok("0-1-3 1-1-1")),
            ("0-1-2", "0-1-2", "0-1-3", Ok("0-1-3")),
            // The same number of two servers, and numbers that go back.
            ("0-1-2", "", "0-1-1 0-1-2 0-2-2 0-1-3", Ok("0-2-2 0-1-3")),
            ("0-2-5", "", "0-1-99 0-2-5 0-1-100", Ok("0-1-100")),
            ("0-1-2", "0-1-2", "0-2-1", Ok("0-2-1")),
            // A group that is missing in the files, but not what follows it.
            ("0-1-2", "", "0-1-1 0-1-3", Ok("0-1-3")),
            // Groups of another server lie between: they may be lacking.
            ("0-1-2", "", "0-1-1 0-2-3 0-1-4", Err(missing)),
            ("0-9-7", "", "0-1-1 0-1-8", Err(missing)),
            ("0-1-5", "", "0-1-4", Err(missing)),
            // Nothing of the domain is there at all.
            ("5-1-5,0-1-1", "", "0-1-1 0-1-2", Ok("0-1-2")),
        ] {
            let came = sent(&mut start(position, &[]), list, groups);
            match (&came, expected) {
                (Ok(came), Ok(expected)) => assert_eq!(came, expected, "{position} in {groups}"),
                (Err(came), Err(expected)) => assert!(came.contains(expected), "{position} in {groups}: {came}"),
                _ => panic!("{position} in {groups}: {came:?}"),
            }
        }
        let strict = sent(&mut start("0-1-2", &[("slave_gtid_strict_mode", "1")]), "", "0-1-1 0-1-3");
        assert!(strict.as_ref().is_err_and(|text| text.contains("GTID strict mode")), "{strict:?}");
        let mut patient = start("0-1-5", &[("slave_gtid_ignore_duplicates", "1")]);
        assert_eq!(sent(&mut patient, "", "0-1-4"), Ok(String::new()), "it may have it from elsewhere");
    }

    #[test]
    fn until_ends_behind_the_last_domain_and_leaves_out_what_is_beyond_in_others() {
        let groups = "0-1-1 0-1-2 1-1-1 0-1-3 2-1-1 1-1-3 0-1-4";
        for (until, before, list, expected) in [
            ("0-1-2", "0", "", "0-1-1 0-1-2 end"),
            ("0-1-2", "1", "", "0-1-1 end"),
            ("0-1-2,1-1-1", "0", "", "0-1-1 0-1-2 1-1-1 end"),
            ("0-1-1,1-1-1", "0", "", "0-1-1 1-1-1 end"),
            // A group that is not there.
            ("1-1-2", "0", "", "1-1-1 end"),
            ("", "0", "", "end"),
            ("0-1-2", "0", "0-1-2", "end"),
            ("0-1-9", "0", "", "0-1-1 0-1-2 0-1-3 0-1-4"),
        ] {
            let variables = [("slave_until_gtid", until), ("slave_gtid_until_before_gtids", before)];
            assert_eq!(sent(&mut start("", &variables), list, groups).as_deref(), Ok(expected), "{until} ({before})");
        }
    }
}
