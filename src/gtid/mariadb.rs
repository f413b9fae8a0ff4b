//! MariaDB's GTIDs: `domain-server-sequence`, and positions with one of them a domain.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::wire::{Cursor, Truncated};

/// One MariaDB GTID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MariaDbGtidText {
    /// The replication domain.
    pub domain: u32,
    /// The server that wrote the transaction.
    pub server_id: u32,
    /// Its number in the domain.
    pub sequence: u64,
}

impl MariaDbGtidText {
    /// The body of a GTID_LIST event: `u32 number of entries, 28 bits, and flags | number × (u32 domain | u32 server_id | u64 sequence)`.
    pub fn decode_list(body: &[u8]) -> Result<Vec<Self>, Truncated> {
        let mut cursor = Cursor::new(body);
        let count = cursor.u32()? & 0x0fff_ffff;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(Self { domain: cursor.u32()?, server_id: cursor.u32()?, sequence: cursor.u64()? });
        }
        Ok(list)
    }
}

impl fmt::Display for MariaDbGtidText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}-{}", self.domain, self.server_id, self.sequence)
    }
}

impl FromStr for MariaDbGtidText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("not a MariaDB GTID: {text:?}");
        let mut parts = text.trim().splitn(3, '-');
        let mut next = || parts.next().ok_or_else(wrong);
        let (domain, server_id, sequence) = (next()?, next()?, next()?);
        Ok(Self {
            domain: domain.parse().map_err(|_| wrong())?,
            server_id: server_id.parse().map_err(|_| wrong())?,
            sequence: sequence.parse().map_err(|_| wrong())?,
        })
    }
}

/// A position: the last GTID of each domain, as in `gtid_slave_pos`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MariaDbPosition {
    domains: BTreeMap<u32, MariaDbGtidText>,
}

impl MariaDbPosition {
    /// The last transaction of its domain is this one.
    pub fn advance(&mut self, gtid: MariaDbGtidText) {
        self.domains.insert(gtid.domain, gtid);
    }

    /// A domain is taken back to an earlier transaction, or to none at all.
    pub fn take_back(&mut self, domain: u32, to: Option<MariaDbGtidText>) {
        match to {
            Some(gtid) => self.domains.insert(domain, gtid),
            None => self.domains.remove(&domain),
        };
    }

    /// The last transaction of a domain.
    pub fn get(&self, domain: u32) -> Option<MariaDbGtidText> {
        self.domains.get(&domain).copied()
    }

    /// Forgets a domain.
    pub fn remove(&mut self, domain: u32) {
        self.domains.remove(&domain);
    }

    /// Whether no domain is named.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// The last transactions in the order of their domains.
    pub fn iter(&self) -> impl Iterator<Item = MariaDbGtidText> + '_ {
        self.domains.values().copied()
    }
}

impl fmt::Display for MariaDbPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gtid) in self.domains.values().enumerate() {
            write!(formatter, "{}{gtid}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for MariaDbPosition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut position = Self::default();
        for element in text.split(',').map(str::trim).filter(|element| !element.is_empty()) {
            position.advance(element.parse()?);
        }
        Ok(position)
    }
}
