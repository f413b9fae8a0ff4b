//! MySQL's GTID sets.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::wire::{Cursor, Truncated};

/// Where transactions come from: a server's uuid and, from MySQL 8.3 on, an optional tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid {
    /// The uuid.
    pub uuid: Uuid,
    /// The tag, lower case, up to 32 characters; empty for none.
    pub tag: String,
}

/// Why bytes or text are not a GTID set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GtidSetError {
    /// The bytes end too early, or a count is larger than the bytes could hold.
    #[error("GTID set {0}")]
    Truncated(#[from] Truncated),
    /// An interval that is empty, runs backwards or begins below 1.
    #[error("GTID set has the interval {start} to {end}")]
    Interval {
        /// First number.
        start: u64,
        /// First number after it.
        end: u64,
    },
    /// Bytes after the last interval.
    #[error("GTID set has {0} bytes after its end")]
    Trailing(usize),
    /// Not a tag, uuid, number or interval.
    #[error("not a GTID set: {0:?}")]
    Text(String),
}

/// A set of transactions: for each [`Sid`] sorted intervals `[start, end)` that do not touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GtidSet {
    sids: BTreeMap<Sid, Vec<(u64, u64)>>,
}

/// The tagged form has this number in the lowest and highest byte of its first eight.
const TAGGED_FORMAT: u64 = 1;

/// Longest tag of MySQL 8.3 and later.
const MAX_TAG_LENGTH: usize = 32;

impl GtidSet {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.sids.is_empty()
    }

    /// Whether a transaction is in it.
    pub fn contains(&self, sid: &Sid, number: u64) -> bool {
        self.sids.get(sid).is_some_and(|intervals| {
            let after = intervals.partition_point(|&(start, _)| start <= number);
            after > 0 && number < intervals[after - 1].1
        })
    }

    /// Adds one transaction.
    pub fn insert(&mut self, sid: Sid, number: u64) {
        self.insert_interval(sid, number, number.saturating_add(1));
    }

    fn insert_interval(&mut self, sid: Sid, start: u64, end: u64) {
        let intervals = self.sids.entry(sid).or_default();
        // Transactions mostly come in order: the last interval grows.
        if let Some(last) = intervals.last_mut()
            && start >= last.0
            && start <= last.1
        {
            last.1 = last.1.max(end);
            return;
        }
        let first = intervals.partition_point(|&(_, other_end)| other_end < start);
        let after = intervals.partition_point(|&(other_start, _)| other_start <= end);
        let mut merged = (start, end);
        for &(other_start, other_end) in &intervals[first..after] {
            merged = (merged.0.min(other_start), merged.1.max(other_end));
        }
        intervals.splice(first..after, [merged]);
    }

    /// Adds all transactions of another set.
    pub fn extend(&mut self, other: &Self) {
        for (sid, intervals) in &other.sids {
            for &(start, end) in intervals {
                self.insert_interval(sid.clone(), start, end);
            }
        }
    }

    /// What is in this set and not in the other.
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (sid, intervals) in &self.sids {
            let holes = other.sids.get(sid).map_or(&[][..], Vec::as_slice);
            for &(mut start, end) in intervals {
                let first = holes.partition_point(|&(_, hole_end)| hole_end <= start);
                for &(hole_start, hole_end) in holes[first..].iter().take_while(|&&(hole_start, _)| hole_start < end) {
                    if hole_start > start {
                        left.insert_interval(sid.clone(), start, hole_start);
                    }
                    start = hole_end.min(end);
                }
                if start < end {
                    left.insert_interval(sid.clone(), start, end);
                }
            }
        }
        left
    }

    /// Whether no transaction is in both.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        other.sids.iter().all(|(sid, intervals)| {
            let own = self.sids.get(sid).map_or(&[][..], Vec::as_slice);
            intervals.iter().all(|&(start, end)| {
                let next = own.partition_point(|&(_, own_end)| own_end <= start);
                own.get(next).is_none_or(|&(own_start, _)| own_start >= end)
            })
        })
    }

    /// Takes out all transactions, tagged or not, that were born on one server.
    pub fn remove_server(&mut self, uuid: Uuid) {
        self.sids.retain(|sid, _| sid.uuid != uuid);
    }

    /// Whether everything in this set is in the other.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.difference(other).is_empty()
    }

    /// Reads the form of COM_BINLOG_DUMP_GTID and PREVIOUS_GTIDS: `u64 count`, each `16 bytes uuid, [packed length, tag],
    /// u64 intervals, (u64 start, u64 end)…`. Nothing is allocated for a count, only for bytes that are there.
    pub fn decode(bytes: &[u8]) -> Result<Self, GtidSetError> {
        let mut cursor = Cursor::new(bytes);
        let first = cursor.u64()?;
        let tagged = first & 0xff == TAGGED_FORMAT && first >> 56 == TAGGED_FORMAT;
        let count = if tagged { (first >> 8) & 0xffff_ffff_ffff } else { first };
        let mut set = Self::default();
        for _ in 0..count {
            let uuid = Uuid::from_bytes(cursor.array()?);
            let tag = if tagged { read_tag(&mut cursor)? } else { String::new() };
            let sid = Sid { uuid, tag };
            // Servers take intervals in ascending order only.
            let mut before = 0;
            for _ in 0..cursor.u64()? {
                let (start, end) = (cursor.u64()?, cursor.u64()?);
                if start <= before || end <= start || end > i64::MAX as u64 {
                    return Err(GtidSetError::Interval { start, end });
                }
                before = end;
                set.insert_interval(sid.clone(), start, end);
            }
        }
        match cursor.left() {
            0 => Ok(set),
            left => Err(GtidSetError::Trailing(left)),
        }
    }

    /// The form that [`GtidSet::decode`] reads; the tagged one where there is a tag.
    pub fn encode(&self) -> Vec<u8> {
        let tagged = self.sids.keys().any(|sid| !sid.tag.is_empty());
        let count = self.sids.len() as u64;
        let mut bytes = Vec::new();
        let first = if tagged { TAGGED_FORMAT << 56 | count << 8 | TAGGED_FORMAT } else { count };
        bytes.extend_from_slice(&first.to_le_bytes());
        for (sid, intervals) in &self.sids {
            bytes.extend_from_slice(sid.uuid.as_bytes());
            if tagged {
                // The serialization library's variable length integer: up to 127 it is one byte, shifted by the length bit.
                bytes.push((sid.tag.len() as u8) << 1);
                bytes.extend_from_slice(sid.tag.as_bytes());
            }
            bytes.extend_from_slice(&(intervals.len() as u64).to_le_bytes());
            for (start, end) in intervals {
                bytes.extend_from_slice(&start.to_le_bytes());
                bytes.extend_from_slice(&end.to_le_bytes());
            }
        }
        bytes
    }
}

fn read_tag(cursor: &mut Cursor<'_>) -> Result<String, GtidSetError> {
    let length = usize::from(cursor.u8()? >> 1);
    let text = String::from_utf8_lossy(cursor.take(length)?).into_owned();
    if is_tag(&text) { Ok(text) } else { Err(GtidSetError::Text(text)) }
}

fn is_tag(text: &str) -> bool {
    text.len() <= MAX_TAG_LENGTH
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

impl fmt::Display for GtidSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut previous: Option<Uuid> = None;
        for (sid, intervals) in &self.sids {
            if previous != Some(sid.uuid) {
                write!(formatter, "{}{}", if previous.is_some() { "," } else { "" }, sid.uuid)?;
            }
            previous = Some(sid.uuid);
            if !sid.tag.is_empty() {
                write!(formatter, ":{}", sid.tag)?;
            }
            for &(start, end) in intervals {
                write!(formatter, ":{start}")?;
                if end - 1 > start {
                    write!(formatter, "-{}", end - 1)?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = GtidSetError;

    /// `uuid[:tag]:1-3:5[:tag2:1],uuid2:…`, spaces and empty elements allowed as servers allow them.
    fn from_str(text: &str) -> Result<Self, GtidSetError> {
        let wrong = |part: &str| GtidSetError::Text(part.to_owned());
        let mut set = Self::default();
        for element in text.split(',').map(str::trim).filter(|element| !element.is_empty()) {
            let mut parts = element.split(':').map(str::trim);
            let uuid = parts.next().unwrap_or_default();
            let uuid = Uuid::parse_str(uuid).map_err(|_| wrong(uuid))?;
            let mut sid = Sid { uuid, tag: String::new() };
            for part in parts {
                if part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
                    let tag = part.to_ascii_lowercase();
                    if !is_tag(&tag) {
                        return Err(wrong(part));
                    }
                    sid.tag = tag;
                    continue;
                }
                let (start, last) = part.split_once('-').unwrap_or((part, part));
                let number = |digits: &str| digits.trim().parse::<u64>().map_err(|_| wrong(part));
                let (start, last) = (number(start)?, number(last)?);
                if start == 0 || last < start || last >= i64::MAX as u64 {
                    return Err(GtidSetError::Interval { start, end: last.saturating_add(1) });
                }
                set.insert_interval(sid.clone(), start, last + 1);
            }
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().expect(text)
    }

    #[test]
    fn sets_are_disjoint_where_their_difference_is_the_whole() {
        let sets = ["", "1-5", "6", "5-6", "1:3:9", "2-4:8-20", "7-8"].map(|text| match text {
            "" => GtidSet::default(),
            text => format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{text}").parse().expect("a set"),
        });
        for (one, other) in sets.iter().flat_map(|one| sets.iter().map(move |other| (one, other))) {
            assert_eq!(one.is_disjoint(other), one.difference(other) == *one, "{one} and {other}");
        }
    }

    #[test]
    fn text_and_binary_forms_agree() {
        for text in [
            "",
            &format!("{A}:1-3:5-6"),
            &format!("{A}:1,4e11fa47-71ca-11e1-9e33-c80aa9429562:7-9"),
            &format!("{A}:1-2:blue:4:green_1:5-9"),
        ] {
            let parsed = set(text);
            assert_eq!(parsed.to_string(), text);
            assert_eq!(GtidSet::decode(&parsed.encode()), Ok(parsed));
        }
    }

    #[test]
    fn the_binary_form_is_that_of_a_real_replica() {
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(Uuid::parse_str(A).expect("uuid").as_bytes());
        for number in [2u64, 1, 4, 5, 7] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        assert_eq!(GtidSet::decode(&bytes), Ok(set(&format!("{A}:1-3:5-6"))));
        assert_eq!(set(&format!("{A}:1-3:5-6")).encode(), bytes);
    }

    #[test]
    fn a_binary_form_whose_intervals_do_not_ascend_is_refused_as_servers_refuse_it() {
        for numbers in [[5u64, 7, 1, 4], [1, 4, 4, 6], [1, 4, 3, 6], [0, 4, 5, 6]] {
            let mut bytes = 1u64.to_le_bytes().to_vec();
            bytes.extend_from_slice(&[7; 16]);
            bytes.extend_from_slice(&2u64.to_le_bytes());
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            assert!(matches!(GtidSet::decode(&bytes), Err(GtidSetError::Interval { .. })), "{numbers:?}");
        }
    }

    #[test]
    fn what_no_server_writes_is_no_set() {
        for wrong in ["0", "0-5", "5-3", "1-9223372036854775807", "1-x", ":", "Blue-", "9tag:1", "a-b:1"] {
            assert!(format!("{A}:{wrong}").parse::<GtidSet>().is_err(), "{wrong}");
        }
        assert!(format!("{A}:{}:1", "t".repeat(33)).parse::<GtidSet>().is_err());
        assert!("3e11fa47:1".parse::<GtidSet>().is_err());
        assert_eq!(set(&format!("{A}:1-9223372036854775806")).to_string(), format!("{A}:1-9223372036854775806"));
    }

    #[test]
    fn intervals_merge_and_subtract() {
        assert_eq!(set(&format!("{A}:1-9:3-4:9")).to_string(), format!("{A}:1-9"));
        let mut merged = set(&format!("{A}:1-3:7-9"));
        merged.extend(&set(&format!("{A}:4-6")));
        assert_eq!(merged.to_string(), format!("{A}:1-9"));
        assert_eq!(merged.difference(&set(&format!("{A}:2:5-7"))).to_string(), format!("{A}:1:3-4:8-9"));
        assert!(set(&format!("{A}:2-3")).is_subset(&merged));
        assert!(!merged.is_subset(&set(&format!("{A}:2-8"))));
        let sid = Sid { uuid: Uuid::parse_str(A).expect("uuid"), tag: String::new() };
        assert!(merged.contains(&sid, 9) && !merged.contains(&sid, 10) && !merged.contains(&sid, 0));
    }

    #[test]
    fn absurd_counts_allocate_nothing() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        assert!(GtidSet::decode(&bytes).is_err());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(GtidSet::decode(&bytes).is_err());
    }
}
