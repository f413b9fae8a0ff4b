//! Which server wrote a file or answers a login, by its version text.

use std::fmt;

/// Who makes the server. Percona Server and the cloud vendors' builds of MySQL count as MySQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// MySQL and what is built from it.
    MySql,
    /// MariaDB.
    MariaDb,
}

impl fmt::Display for Vendor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::MySql => "MySQL",
            Self::MariaDb => "MariaDB",
        })
    }
}

/// A server's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// As the server writes it, without the `5.5.5-` that MariaDB puts in front for old replicas.
    pub text: String,
    /// `major * 10000 + minor * 100 + patch`: 50729 for 5.7.29, 101119 for 10.11.19.
    pub number: u32,
    /// Who makes it.
    pub vendor: Vendor,
}

impl ServerVersion {
    /// Reads the version text of a greeting or of `SELECT VERSION()`. Nothing if it does not begin with `major.minor`.
    ///
    /// MariaDB need not name itself (its option `version` sets the text): it is known by what it puts in front, and by its
    /// numbers, as MySQL has none between 9 and the ones that are years.
    pub fn parse(text: &str) -> Option<Self> {
        const MARIADB_MAJORS: std::ops::RangeInclusive<u32> = 10..=19;
        let marked = text.strip_prefix("5.5.5-").filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let named = marked.is_some() || text.to_ascii_lowercase().contains("mariadb");
        let text = marked.unwrap_or(text);
        let mut parts = text.splitn(3, '.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse::<u32>().ok()
        });
        let (major, minor) = (parts.next()??, parts.next()??);
        let patch = parts.next().flatten().unwrap_or(0);
        if major > 9999 || minor > 99 {
            return None;
        }
        let vendor = if named || MARIADB_MAJORS.contains(&major) { Vendor::MariaDb } else { Vendor::MySql };
        Some(Self { text: text.to_owned(), number: major * 10_000 + minor * 100 + patch.min(99), vendor })
    }

    /// Whether this is MySQL of at least the number, such as `80026`.
    pub fn is_mysql_since(&self, number: u32) -> bool {
        self.vendor == Vendor::MySql && self.number >= number
    }

    /// Whether this is MariaDB of at least the number, such as `100500`.
    pub fn is_mariadb_since(&self, number: u32) -> bool {
        self.vendor == Vendor::MariaDb && self.number >= number
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vendor {
            Vendor::MySql => write!(formatter, "MySQL {}", self.text),
            Vendor::MariaDb => formatter.write_str(&self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_family_are_read() {
        for (text, number, vendor, kept) in [
            ("5.1.73-log", 50173, Vendor::MySql, "5.1.73-log"),
            ("5.7.29", 50729, Vendor::MySql, "5.7.29"),
            ("8.0.41-0ubuntu0.22.04.1", 80041, Vendor::MySql, "8.0.41-0ubuntu0.22.04.1"),
            ("9.7.4-LTS-Debian", 90704, Vendor::MySql, "9.7.4-LTS-Debian"),
            ("26.10.0", 261000, Vendor::MySql, "26.10.0"),
            ("5.6.42.0", 50642, Vendor::MySql, "5.6.42.0"),
            ("5.5.5-10.11.19-MariaDB-log", 101119, Vendor::MariaDb, "10.11.19-MariaDB-log"),
            ("11.8.6-MariaDB", 110806, Vendor::MariaDb, "11.8.6-MariaDB"),
            ("5.5.5-10.5.99", 100599, Vendor::MariaDb, "10.5.99"),
            ("12.3.1-log", 120301, Vendor::MariaDb, "12.3.1-log"),
            ("5.5.5-m3-log", 50505, Vendor::MySql, "5.5.5-m3-log"),
            ("5.5.68-MariaDB", 50568, Vendor::MariaDb, "5.5.68-MariaDB"),
        ] {
            let version = ServerVersion::parse(text).expect(text);
            assert_eq!((version.number, version.vendor, version.text.as_str()), (number, vendor, kept));
        }
        for text in ["", "x", "5", "5.", ".5", "99999999999999999999.1", "5.777"] {
            assert_eq!(ServerVersion::parse(text), None, "{text}");
        }
    }
}
