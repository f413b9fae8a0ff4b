//! XA transactions that the selection leaves empty.
//!
//! A MySQL replica refuses `XA PREPARE` of a transaction without changes (error 3227, `ER_XA_REPLICATION_FILTERS`), and `XA COMMIT`
//! or `XA ROLLBACK` of one that it has not prepared (1397). So neither goes out: the groups go out empty. The two are
//! groups of their own, perhaps far apart, hence this memory. It is shared by the streams of a route and is lost with the
//! process: after that, the commit of a transaction that was prepared empty before stops the replica with error 1397.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::coordinates::{FilePosition, file_order, stem};

/// How many prepared transactions are remembered.
const MAX_PREPARED: usize = 4096;

/// Longer texts than a server writes for an xid (two times 64 bytes in hexadecimal, and a number) are not remembered.
const MAX_XID_TEXT: usize = 320;

/// The transactions that were prepared empty.
#[derive(Debug, Clone, Default)]
pub struct XaMemory(Arc<Mutex<VecDeque<Prepared>>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Prepared {
    xid: Vec<u8>,
    at: XaPlace,
    emptied: bool,
}

/// When and where a transaction was prepared, committed or rolled back: an xid may be used again, so the order counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct XaPlace {
    /// Seconds since 1970, of the event's header.
    pub(super) when: u32,
    /// The server whose log it stands in: of the FORMAT_DESCRIPTION's header. After a failover by GTID it is another one, whose files
    /// may have the same names.
    pub(super) server_id: u32,
    /// The place in that log.
    pub(super) place: FilePosition,
}

impl XaPlace {
    /// Whether one log holds both, so that their places say which comes first.
    fn is_of_one_log_with(&self, other: &Self) -> bool {
        self.server_id == other.server_id && stem(&self.place.file) == stem(&other.place.file)
    }

    /// The order within one log.
    fn order(&self) -> (usize, &[u8], u64) {
        let (length, file) = file_order(&self.place.file);
        (length, file, self.place.position)
    }

    /// Whether this came before the other one. Places in the logs of two servers, or in files of two names, say nothing of each other:
    /// there the time decides, which an event keeps when it is replicated.
    fn is_before(&self, other: &Self) -> bool {
        if self.is_of_one_log_with(other) { self.order() < other.order() } else { self.when <= other.when }
    }
}

impl XaMemory {
    /// A transaction was prepared here. `xid` is the text that names it in SQL.
    pub(super) fn prepared(&self, xid: &[u8], at: &XaPlace, emptied: bool) {
        if xid.len() > MAX_XID_TEXT {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One with changes is worth remembering only where an older one of the same name could be taken for it.
        if !emptied && !all.iter().any(|known| known.xid == xid) {
            return;
        }
        let new = Prepared { xid: xid.to_vec(), at: at.clone(), emptied };
        if all.contains(&new) {
            return;
        }
        if all.len() == MAX_PREPARED {
            all.pop_front();
        }
        all.push_back(new);
    }

    /// Whether the transaction that is committed or rolled back here was prepared empty.
    pub(super) fn was_emptied(&self, xid: &[u8], at: &XaPlace) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.iter().filter(|known| known.xid == xid && known.at.is_before(at));
        // Of the same second, the one in the log at hand is taken: the other server's can only be older.
        let last = before.max_by_key(|known| (known.at.when, known.at.is_of_one_log_with(at), known.at.order()));
        last.is_some_and(|last| last.emptied)
    }
}

/// The xid in `XA verb xid`: what follows the second word.
pub(super) fn xid_text(sql: &[u8]) -> &[u8] {
    let mut words = sql.splitn(3, |byte| *byte == b' ');
    words.nth(2).unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(when: u32, server_id: u32, file: &str, position: u64) -> XaPlace {
        XaPlace { when, server_id, place: FilePosition { file: file.as_bytes().to_vec(), position } }
    }

    fn here(when: u32, position: u64) -> XaPlace {
        at(when, 1, "binlog.000001", position)
    }

    #[test]
    fn the_last_transaction_of_a_name_before_the_commit_decides() {
        let memory = XaMemory::default();
        memory.prepared(b"X'01',X'',1", &here(10, 100), true);
        memory.prepared(b"X'02',X'',1", &here(10, 200), false);
        assert!(memory.was_emptied(b"X'01',X'',1", &here(10, 300)));
        assert!(!memory.was_emptied(b"X'02',X'',1", &here(10, 300)));
        memory.prepared(b"X'01',X'',1", &here(11, 400), false);
        assert!(!memory.was_emptied(b"X'01',X'',1", &here(11, 500)));
        assert!(memory.was_emptied(b"X'01',X'',1", &here(10, 300)), "a replica that is behind");
        assert!(!memory.was_emptied(b"X'01',X'',1", &here(10, 100)), "the place of the XA PREPARE itself");
    }

    /// Places of an XA PREPARE and of the XA COMMIT, and whether one comes before the other.
    #[test]
    fn what_comes_first_is_told_by_place_within_a_log_and_by_time_between_logs() {
        for (prepared, committed, before) in [
            // Numbers grow beyond six digits.
            (at(10, 1, "binlog.999999", 900), at(10, 1, "binlog.1000000", 200), true),
            (at(10, 1, "binlog.1000000", 200), at(10, 1, "binlog.999999", 900), false),
            (at(10, 1, "binlog.000009", 900), at(11, 1, "binlog.000010", 200), true),
            // SET timestamp before XA COMMIT.
            (at(10, 1, "binlog.000009", 900), at(2, 1, "binlog.000009", 999), true),
            // The stream went on at another server: numbers there are its own.
            (at(10, 1, "binlog.000150", 900), at(12, 2, "binlog.000003", 200), true),
            (at(12, 2, "binlog.000003", 200), at(10, 1, "binlog.000150", 900), false),
            (at(10, 1, "binlog.000003", 200), at(10, 2, "binlog.000003", 100), true),
            // Or its files have another name.
            (at(10, 1, "mysql-bin.000150", 900), at(12, 1, "binlog.000003", 200), true),
            (at(13, 1, "binlog.000003", 200), at(12, 1, "mysql-bin.000150", 900), false),
        ] {
            let memory = XaMemory::default();
            memory.prepared(b"X'01',X'',1", &prepared, true);
            assert_eq!(memory.was_emptied(b"X'01',X'',1", &committed), before, "{prepared:?}, {committed:?}");
        }
    }

    #[test]
    fn of_the_same_second_the_transaction_in_the_log_at_hand_is_the_later_one() {
        let memory = XaMemory::default();
        memory.prepared(b"X'01',X'',1", &at(10, 1, "binlog.000150", 900), true);
        memory.prepared(b"X'01',X'',1", &at(10, 2, "binlog.000003", 200), false);
        assert!(!memory.was_emptied(b"X'01',X'',1", &at(10, 2, "binlog.000003", 300)));
    }

    #[test]
    fn the_memory_is_bounded() {
        let memory = XaMemory::default();
        for number in 0..2 * MAX_PREPARED {
            memory.prepared(format!("X'{number:x}'").as_bytes(), &here(1, number as u64), true);
        }
        assert!(!memory.was_emptied(b"X'0'", &here(2, u64::MAX)));
        assert!(memory.was_emptied(format!("X'{:x}'", 2 * MAX_PREPARED - 1).as_bytes(), &here(2, u64::MAX)));
        assert!(memory.0.lock().unwrap().len() <= MAX_PREPARED);
    }

    #[test]
    fn the_xid_is_what_follows_the_verb() {
        assert_eq!(xid_text(b"XA START X'6f6e65',X'',1"), b"X'6f6e65',X'',1");
        assert_eq!(xid_text(b"XA COMMIT X'6f6e65',X'',1"), b"X'6f6e65',X'',1");
    }
}
