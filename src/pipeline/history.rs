//! What a route has learned from statements, and from which place of the source's stream on it holds.
//!
//! Selections that learn ([`Learned`]) make a stream depend on statements that came before it began. Each change is written down
//! with the place and the GTID of its statement, before anything of the statement goes out: so for every replica that has got past
//! the statement through this proxy, what holds at its place can be told, wherever the other replicas are.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::gtid::{GtidSet, MariaDbPosition, Sid};

use super::rules::Learned;

/// How many changes are kept for replicas that are far behind; a change is made by a RENAME or by a schema change's statements.
pub const MAX_ENTRIES: usize = 1024;

/// A place of the source's stream. Files are ordered by the time at which they were begun, so that files after a RESET MASTER, whose
/// numbers begin again, come after those before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The time in the header of the file's FORMAT_DESCRIPTION, in seconds.
    pub created: u32,
    /// The source's file.
    pub file: String,
    /// The position in it.
    pub position: u64,
}

impl Place {
    fn log(&self) -> (u32, &str) {
        (self.created, &self.file)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.position)
    }
}

/// The GTID of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatementGtid {
    /// MySQL's.
    MySql {
        /// The server's uuid.
        uuid: [u8; 16],
        /// The tag; empty for none.
        tag: String,
        /// The number.
        number: u64,
    },
    /// MariaDB's.
    MariaDb {
        /// The domain.
        domain: u32,
        /// The number in the domain.
        sequence: u64,
    },
}

/// How it is known which statements a stream has behind it when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// All before the place at which it begins.
    Position,
    /// These transactions.
    MySqlGtids(GtidSet),
    /// In each domain, those up to this one.
    MariaDbGtids(MariaDbPosition),
}

/// A statement that has taught something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its end.
    pub place: Place,
    /// Its GTID, where it has one.
    pub gtid: Option<StatementGtid>,
}

/// From `place` on, `learned` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The end of the statement.
    pub place: Place,
    /// The statement's GTID, where it has one.
    pub gtid: Option<StatementGtid>,
    /// What holds from there on.
    pub learned: Learned,
}

impl Entry {
    fn statement(&self) -> Statement {
        Statement { place: self.place.clone(), gtid: self.gtid.clone() }
    }

    /// Whether this is about a statement: the one at this place, or the one that another server has written with this GTID.
    fn is_of(&self, statement: &Statement) -> bool {
        self.place == statement.place
            || (self.gtid.is_some() && self.gtid == statement.gtid && self.place.log() != statement.place.log())
    }
}

/// What holds where a stream begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// What was learned.
    pub learned: Learned,
    /// From which statement.
    pub since: Option<Statement>,
}

/// All that is remembered for a route, in the order of the stream. Places alone do not give that order: another server that takes over
/// has files of its own, which may have been begun earlier.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    entries: Vec<Entry>,
    /// Changes before the first entry were forgotten.
    forgotten: bool,
    /// How many changes there ever were, so that an older copy of the history can be told from this one.
    #[serde(default)]
    changes: u64,
}

/// Where the changes are kept, beyond a stream.
pub trait Journal: fmt::Debug + Send + Sync {
    /// What holds where a stream begins. An error says why that is not known.
    fn holds(&self, behind: &Behind, place: &Place) -> Result<Held, String>;

    /// Remembers a change, before anything of its statement goes out. `after` is the one that held before it in the same stream. An
    /// error says why it could not be kept.
    fn remember(&self, entry: Entry, after: Option<&Statement>) -> Result<(), String>;
}

impl History {
    /// The newest state.
    pub fn newest(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// What holds for a stream that has this behind it and begins at `place`; an error where that was forgotten.
    pub fn holds(&self, behind: &Behind, place: &Place) -> Result<Held, String> {
        let is_behind = |entry: &&Entry| match (behind, &entry.gtid) {
            (Behind::MySqlGtids(set), Some(StatementGtid::MySql { uuid, tag, number })) => {
                set.contains(&Sid { uuid: Uuid::from_bytes(*uuid), tag: tag.clone() }, *number)
            }
            (Behind::MariaDbGtids(position), Some(StatementGtid::MariaDb { domain, sequence })) => {
                position.get(*domain).is_some_and(|last| last.sequence >= *sequence)
            }
            _ => entry.place <= *place,
        };
        match self.entries.iter().rev().find(is_behind) {
            Some(entry) => Ok(Held { learned: entry.learned.clone(), since: Some(entry.statement()) }),
            None if self.forgotten => Err(format!(
                "only the last {MAX_ENTRIES} changes of the selection are remembered, and the stream begins before them"
            )),
            None => Ok(Held::default()),
        }
    }

    /// How many changes there ever were.
    pub fn changes(&self) -> u64 {
        // Histories of before had no count.
        self.changes.max(self.entries.len() as u64)
    }

    /// Takes the changes of another history that are missing here.
    pub fn merge(&mut self, other: Self) {
        let changes = self.changes().max(other.changes());
        let mut after = None;
        for entry in other.entries {
            let statement = entry.statement();
            self.insert(entry, after.as_ref());
            after = Some(statement);
        }
        self.forgotten |= other.forgotten;
        self.changes = self.changes().max(changes);
    }

    /// Takes a change, which comes behind `after` in its stream; says whether that was news.
    pub fn insert(&mut self, entry: Entry, after: Option<&Statement>) -> bool {
        let changes = self.changes();
        let statement = entry.statement();
        match self.entries.iter_mut().find(|known| known.is_of(&statement)) {
            Some(known) if known.learned == entry.learned && known.gtid == entry.gtid => return false,
            Some(known) => *known = entry,
            None => {
                let behind = after.and_then(|after| self.entries.iter().rposition(|known| known.is_of(after)));
                let mut at = behind.map_or(0, |index| index + 1);
                // Within one server's log, or where there is nothing else to go by, the place tells the order.
                let is_before = |known: &Entry| {
                    known.place < entry.place && (entry.gtid.is_none() || known.place.log() == entry.place.log())
                };
                while self.entries.get(at).is_some_and(is_before) {
                    at += 1;
                }
                self.entries.insert(at, entry);
            }
        }
        self.changes = changes + 1;
        if self.entries.len() > MAX_ENTRIES {
            self.entries.remove(0);
            self.forgotten = true;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::rules::FollowedTable;

    fn place(created: u32, file: &str, position: u64) -> Place {
        Place { created, file: file.to_owned(), position }
    }

    fn learned(name: &str) -> Learned {
        let name = name.to_owned();
        let (database, new_database, new_name) = ("d".to_owned(), "d".to_owned(), name.clone());
        Learned { followed: vec![FollowedTable { database, name, new_database, new_name }], changes: vec![] }
    }

    fn entry(created: u32, file: &str, position: u64, name: &str) -> Entry {
        Entry { place: place(created, file, position), gtid: None, learned: learned(name) }
    }

    #[test]
    fn a_stream_gets_what_holds_where_it_begins() {
        let mut history = History::default();
        assert!(history.insert(entry(20, "b.000002", 500, "late"), None));
        assert!(history.insert(entry(10, "b.000001", 300, "early"), None));
        assert!(!history.insert(entry(10, "b.000001", 300, "early"), None));
        let holds = |created, file, position| {
            history.holds(&Behind::Position, &place(created, file, position)).unwrap().learned
        };
        assert!(holds(10, "b.000001", 299).is_empty());
        assert_eq!(holds(10, "b.000001", 300), learned("early"));
        assert_eq!(holds(20, "b.000002", 499), learned("early"));
        assert_eq!(holds(20, "b.000002", 500), learned("late"));
        assert_eq!(holds(30, "b.000001", 4), learned("late"), "after a RESET MASTER the numbers begin again");
    }

    #[test]
    fn with_gtids_the_place_does_not_matter() {
        let mut history = History::default();
        let uuid = Uuid::from_u128(7);
        let gtid = |number| Some(StatementGtid::MySql { uuid: uuid.into_bytes(), tag: String::new(), number });
        history.insert(Entry { gtid: gtid(5), ..entry(10, "b.000001", 300, "five") }, None);
        history.insert(Entry { gtid: gtid(9), ..entry(10, "b.000001", 900, "nine") }, None);
        let at = |set: &str| {
            let behind = Behind::MySqlGtids(set.parse().unwrap());
            history.holds(&behind, &place(1, "other.000077", 4)).unwrap().learned
        };
        assert!(at(&format!("{uuid}:1-4")).is_empty());
        assert_eq!(at(&format!("{uuid}:1-8")), learned("five"));
        assert_eq!(at(&format!("{uuid}:1-9")), learned("nine"));
        let mut history = History::default();
        let gtid = Some(StatementGtid::MariaDb { domain: 0, sequence: 6 });
        history.insert(Entry { gtid, ..entry(10, "b.000001", 300, "six") }, None);
        let at = |position: &str| {
            history.holds(&Behind::MariaDbGtids(position.parse().unwrap()), &place(1, "x", 4)).unwrap().learned
        };
        assert!(at("0-1-5,1-1-9").is_empty());
        assert_eq!(at("0-2-6"), learned("six"));
    }

    #[test]
    fn what_was_forgotten_is_not_taken_for_nothing() {
        let mut history = History::default();
        for number in 0..=MAX_ENTRIES as u64 {
            history.insert(entry(10, "b.000001", 1000 + number, "t"), None);
        }
        assert!(history.holds(&Behind::Position, &place(10, "b.000001", 1000)).is_err());
        assert_eq!(history.holds(&Behind::Position, &place(10, "b.000001", 1001)).unwrap().learned, learned("t"));
    }

    #[test]
    fn another_server_s_files_may_have_been_begun_earlier() {
        let (a, b) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let gtid =
            |uuid: Uuid, number| Some(StatementGtid::MySql { uuid: uuid.into_bytes(), tag: String::new(), number });
        let first = Entry { gtid: gtid(a, 5), ..entry(1000, "a.000150", 300, "first") };
        let second = Entry { gtid: gtid(b, 1), ..entry(500, "b.000003", 900, "second") };
        let mut history = History::default();
        history.insert(first.clone(), None);
        let begins = |history: &History, set: &str| {
            history.holds(&Behind::MySqlGtids(set.parse().unwrap()), &place(500, "b.000003", 4)).unwrap()
        };
        let held = begins(&history, &format!("{a}:1-5"));
        assert_eq!(held.learned, learned("first"));
        history.insert(second.clone(), held.since.as_ref());
        let both = format!("{a}:1-5,{b}:1");
        assert_eq!(begins(&history, &both).learned, learned("second"));
        assert_eq!(begins(&history, &format!("{a}:1-7")).learned, learned("first"));
        // A replica that is behind gets the first statement from the other server, too.
        let again = Entry { place: place(500, "b.000003", 200), ..first.clone() };
        assert!(!history.insert(again, None));
        assert!(!history.insert(second.clone(), Some(&first.statement())));
        let mut merged = History::default();
        merged.merge(history.clone());
        assert_eq!(begins(&merged, &both).learned, learned("second"));
        // Who comes later to what is earlier does not put it behind.
        let mut late = History::default();
        late.insert(second, None);
        late.insert(first, None);
        assert_eq!(begins(&late, &both).learned, learned("second"), "{late:?}");
    }

    #[test]
    fn every_change_counts_also_one_that_takes_the_place_of_another_or_is_forgotten() {
        let gtid = |number| Some(StatementGtid::MariaDb { domain: 0, sequence: number });
        let mut history = History::default();
        let old = entry(10, "b.000001", 300, "one");
        assert!(history.insert(old.clone(), None));
        assert!(history.insert(Entry { learned: learned("other"), ..old.clone() }, None), "judged by other rules");
        assert!(
            history.insert(Entry { gtid: gtid(5), learned: learned("other"), ..old }, None),
            "its GTID is known now"
        );
        assert_eq!((history.entries.len(), history.changes()), (1, 3));
        let copy = history.clone();
        for number in 1..=MAX_ENTRIES as u64 {
            history.insert(entry(10, "b.000001", 1000 + number, "t"), None);
        }
        assert_eq!((history.entries.len(), history.changes()), (MAX_ENTRIES, 3 + MAX_ENTRIES as u64));
        history.merge(copy.clone());
        history.merge(History::default());
        assert!(history.changes() >= 3 + MAX_ENTRIES as u64);
        for mut merged in [History::default(), copy] {
            merged.merge(history.clone());
            assert!(merged.changes() >= history.changes(), "it would be taken for an older copy");
            let before = merged.holds(&Behind::Position, &place(10, "b.000001", 4));
            assert!(before.is_err(), "what the other one has forgotten is not there: {before:?}");
        }
    }

    #[test]
    fn without_gtids_the_newest_file_is_the_last_and_one_gtid_may_have_two_statements() {
        let mut history = History::default();
        history.insert(entry(10, "b.000001", 300, "early"), None);
        history.insert(entry(20, "b.000001", 200, "late"), None);
        assert_eq!(history.newest().map(|entry| &entry.learned), Some(&learned("late")));
        let gtid = Some(StatementGtid::MariaDb { domain: 0, sequence: 6 });
        let mut history = History::default();
        for (position, name) in [(300, "first"), (400, "second")] {
            assert!(history.insert(Entry { gtid: gtid.clone(), ..entry(10, "b.000001", position, name) }, None));
        }
        assert_eq!(history.entries.len(), 2);
    }
}
