//! What the proxy knows of a source, read once a connection.

use std::collections::BTreeMap;

use super::{Client, ServerVersion, SourceError};
use crate::binlog::ChecksumAlgorithm;

/// `gtid_mode`. MySQL 5.6 calls the two in the middle UPGRADE_STEP_1 and UPGRADE_STEP_2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GtidMode {
    /// Transactions are anonymous.
    Off,
    /// New ones are anonymous, replicated ones may be either.
    OffPermissive,
    /// New ones have a GTID, replicated ones may be either.
    OnPermissive,
    /// All have a GTID.
    On,
}

impl GtidMode {
    /// Reads the variable's value.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_uppercase().as_str() {
            "OFF" | "0" => Some(Self::Off),
            "OFF_PERMISSIVE" | "UPGRADE_STEP_1" | "1" => Some(Self::OffPermissive),
            "ON_PERMISSIVE" | "UPGRADE_STEP_2" | "2" => Some(Self::OnPermissive),
            "ON" | "3" => Some(Self::On),
            _ => None,
        }
    }

    /// As servers from 5.7 on write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::OffPermissive => "OFF_PERMISSIVE",
            Self::OnPermissive => "ON_PERMISSIVE",
            Self::On => "ON",
        }
    }
}

/// What the proxy knows of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFacts {
    /// By its greeting.
    pub version: ServerVersion,
    /// `server_id`; 0 is "none set", and then no replica is served.
    pub server_id: u32,
    /// `server_uuid`: MySQL 5.6 and later.
    pub server_uuid: Option<String>,
    /// `gtid_mode`: MySQL 5.6 and later.
    pub gtid_mode: Option<GtidMode>,
    /// `binlog_checksum`, which new files are written with; `None` also where the server knows no checksums.
    pub binlog_checksum: ChecksumAlgorithm,
    /// Whether the server has the variable `binlog_checksum` at all (MySQL 5.6.2, MariaDB 5.3).
    pub knows_checksums: bool,
    /// `lower_case_table_names`: 0 names differ by case, 1 stored in lower case, 2 compared without case.
    pub lower_case_table_names: u8,
    /// `gtid_domain_id`: MariaDB 10.0 and later.
    pub gtid_domain_id: Option<u32>,
    /// Whether the server writes a binary log.
    pub log_bin: bool,
    variables: BTreeMap<String, String>,
}

/// What is asked for, in one statement. Servers leave out what they do not know.
const VARIABLES: &[&str] = &[
    "binlog_checksum",
    "binlog_do_db",
    "binlog_format",
    "binlog_row_event_max_size",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_transaction_compression",
    "character_set_server",
    "collation_server",
    "datadir",
    "encrypt_binlog",
    "enforce_gtid_consistency",
    "gtid_domain_id",
    "gtid_mode",
    "hostname",
    "innodb_native_foreign_keys",
    "log_bin",
    "log_bin_compress",
    "log_replica_updates",
    "log_slave_updates",
    "lower_case_table_names",
    "max_allowed_packet",
    "net_write_timeout",
    "port",
    "read_only",
    "rpl_semi_sync_master_enabled",
    "rpl_semi_sync_master_wait_for_slave_count",
    "rpl_semi_sync_source_enabled",
    "rpl_semi_sync_source_wait_for_replica_count",
    "server_id",
    "server_uid",
    "server_uuid",
    "sql_mode",
    "system_time_zone",
    "time_zone",
    "version",
    "version_comment",
    "wsrep_on",
];

/// By one of these replicas see that a source has semi-synchronous replication: MySQL since 8.0.26, and all before it.
pub const SEMI_SYNC_VARIABLES: [&str; 2] = ["rpl_semi_sync_source_enabled", "rpl_semi_sync_master_enabled"];

impl SourceFacts {
    /// Asks the server: one statement.
    pub async fn read(client: &mut Client) -> Result<Self, SourceError> {
        let list = VARIABLES.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(",");
        let answer = client.query(&format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({list})")).await?;
        let mut variables = BTreeMap::new();
        for row in 0..answer.rows.len() {
            if let (Some(name), Some(value)) = (answer.text(row, 0), answer.text(row, 1)) {
                variables.insert(name.to_ascii_lowercase(), value);
            }
        }
        Ok(Self::of(client.version().clone(), variables))
    }

    /// The statement that says where the server's log ends. MySQL 8.2 brought the new spelling and 8.4 removed the old one; MariaDB
    /// keeps the old one.
    pub fn log_status_statement(&self) -> &'static str {
        if self.version.is_mysql_since(80200) { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" }
    }

    /// The facts in a server's variables, names in lower case.
    pub fn of(version: ServerVersion, variables: BTreeMap<String, String>) -> Self {
        let get = |name: &str| variables.get(name).map(String::as_str);
        let checksum = get("binlog_checksum");
        Self {
            version,
            server_id: get("server_id").and_then(|id| id.parse().ok()).unwrap_or(0),
            server_uuid: get("server_uuid").filter(|uuid| !uuid.is_empty()).map(str::to_owned),
            gtid_mode: get("gtid_mode").and_then(GtidMode::parse),
            binlog_checksum: checksum.map_or(ChecksumAlgorithm::None, checksum_of),
            knows_checksums: checksum.is_some(),
            lower_case_table_names: get("lower_case_table_names").and_then(|text| text.parse().ok()).unwrap_or(0),
            gtid_domain_id: get("gtid_domain_id").and_then(|id| id.parse().ok()),
            log_bin: get("log_bin").is_some_and(is_on),
            variables,
        }
    }

    /// One of the server's variables as it writes it, if the server has it and we asked for it.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Whether the source waits for semi-synchronous replicas; `None` where it has no such replication (MySQL without the plugin), so
    /// that a replica cannot ask for it. Where it is off, replicas can ask for it all the same, and it can be turned on later.
    pub fn semi_sync(&self) -> Option<bool> {
        SEMI_SYNC_VARIABLES.iter().find_map(|name| self.variable(name)).map(is_on)
    }

    /// The same source for a replica that is not to ask for semi-synchronous replication.
    pub fn without_semi_sync(&self) -> Self {
        let mut facts = self.clone();
        for name in SEMI_SYNC_VARIABLES {
            facts.variables.remove(name);
        }
        facts
    }

    /// For how many replicas each of its transactions waits.
    pub fn semi_sync_replicas(&self) -> u32 {
        let names = ["rpl_semi_sync_source_wait_for_replica_count", "rpl_semi_sync_master_wait_for_slave_count"];
        names.iter().find_map(|name| self.variable(name)?.parse().ok()).unwrap_or(1)
    }

    /// Where a server without a uuid lives: host, port and data directory, and MariaDB's `server_uid`, which it makes of its network
    /// card and port. Nothing where that tells servers apart too badly: `localhost` is the name of many.
    pub fn residence(&self) -> Option<String> {
        let [host, port, data] = ["hostname", "port", "datadir"].map(|name| self.variable(name));
        let (host, uid) = (host?, self.variable("server_uid").unwrap_or_default());
        let told_apart = !uid.is_empty() || !host.is_empty() && !host.starts_with("localhost");
        (self.server_uuid.is_none() && told_apart)
            .then(|| format!("{host}:{}{} {uid}", port.unwrap_or_default(), data.unwrap_or_default()))
    }

    /// Whether a variable is there and on.
    pub fn is_on(&self, name: &str) -> bool {
        self.variable(name).is_some_and(is_on)
    }
}

fn is_on(text: &str) -> bool {
    text.eq_ignore_ascii_case("ON") || text == "1"
}

/// The algorithm by its name.
pub(super) fn checksum_of(text: &str) -> ChecksumAlgorithm {
    if text.eq_ignore_ascii_case("CRC32") { ChecksumAlgorithm::Crc32 } else { ChecksumAlgorithm::None }
}
