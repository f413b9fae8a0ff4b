//! XA transactions that the selection leaves empty.
//!
//! A MySQL replica refuses `XA PREPARE` of a transaction without changes (error 3227, `ER_XA_REPLICATION_FILTERS`), and `XA COMMIT`
//! or `XA ROLLBACK` of one that it has not prepared (1397). So neither goes out: the groups go out empty. The two are
//! groups of their own, perhaps far apart, hence this memory. It is shared by the streams of a route and is lost with the
//! process: after that, the commit of a transaction that was prepared empty before stops the replica with error 1397.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::coordinates::FilePosition;

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
    /// Seconds since 1970 and the place of its XA PREPARE: an xid may be used again.
    when: u32,
    at: FilePosition,
    emptied: bool,
}

impl XaMemory {
    /// A transaction was prepared at this time and place. `xid` is the text that names it in SQL.
    pub(super) fn prepared(&self, xid: &[u8], when: u32, at: &FilePosition, emptied: bool) {
        if xid.len() > MAX_XID_TEXT {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One with changes is worth remembering only where an older one of the same name could be taken for it.
        if !emptied && !all.iter().any(|known| known.xid == xid) {
            return;
        }
        let new = Prepared { xid: xid.to_vec(), when, at: at.clone(), emptied };
        if all.contains(&new) {
            return;
        }
        if all.len() == MAX_PREPARED {
            all.pop_front();
        }
        all.push_back(new);
    }

    /// Whether the transaction that is committed or rolled back at this time and place was prepared empty.
    pub(super) fn was_emptied(&self, xid: &[u8], when: u32, at: &FilePosition) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = |known: &&Prepared| {
            known.xid == xid
                && known.when <= when
                && (known.at.file.as_slice(), known.at.position) < (at.file.as_slice(), at.position)
        };
        let last = all.iter().filter(before).max_by_key(|known| (known.when, known.at.file.clone(), known.at.position));
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

    fn at(position: u64) -> FilePosition {
        FilePosition { file: b"binlog.000001".to_vec(), position }
    }

    #[test]
    fn the_last_transaction_of_a_name_before_the_commit_decides() {
        let memory = XaMemory::default();
        memory.prepared(b"X'01',X'',1", 10, &at(100), true);
        memory.prepared(b"X'02',X'',1", 10, &at(200), false);
        assert!(memory.was_emptied(b"X'01',X'',1", 10, &at(300)));
        assert!(!memory.was_emptied(b"X'02',X'',1", 10, &at(300)));
        memory.prepared(b"X'01',X'',1", 11, &at(400), false);
        assert!(!memory.was_emptied(b"X'01',X'',1", 11, &at(500)));
        assert!(memory.was_emptied(b"X'01',X'',1", 10, &at(300)), "a replica that is behind");
    }

    #[test]
    fn the_memory_is_bounded() {
        let memory = XaMemory::default();
        for number in 0..2 * MAX_PREPARED {
            memory.prepared(format!("X'{number:x}'").as_bytes(), 1, &at(number as u64), true);
        }
        assert!(!memory.was_emptied(b"X'0'", 2, &at(u64::MAX)));
        assert!(memory.was_emptied(format!("X'{:x}'", 2 * MAX_PREPARED - 1).as_bytes(), 2, &at(u64::MAX)));
        assert!(memory.0.lock().unwrap().len() <= MAX_PREPARED);
    }

    #[test]
    fn the_xid_is_what_follows_the_verb() {
        assert_eq!(xid_text(b"XA START X'6f6e65',X'',1"), b"X'6f6e65',X'',1");
        assert_eq!(xid_text(b"XA COMMIT X'6f6e65',X'',1"), b"X'6f6e65',X'',1");
    }
}
