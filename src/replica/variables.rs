//! What the proxy says of its variables: the source's own facts where replicas decide by them, fixed values where plain clients
//! only want to see something, and the source's word for the rest of a short list.

use std::collections::BTreeMap;

use crate::binlog::ChecksumAlgorithm;
use crate::source::{SEMI_SYNC_VARIABLES, SourceFacts, Vendor};

/// How many user variables a session may set, and how long they may be together (bytes). Replicas set at most nine; a
/// MariaDB position with a thousand domains has about 30 KiB.
const MAX_USER_VARIABLES: usize = 256;
const MAX_USER_VARIABLE_BYTES: usize = 1 << 20;

/// Under this name, which no user variable can have, a session remembers `SET skip_replication`.
pub(crate) const SKIP_REPLICATION: &str = "@@skip_replication";

/// What is known of a system variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SystemVariable {
    /// The proxy's answer.
    Known(String),
    /// The source has it and nothing of the proxy's work depends on it: ask there.
    AtSource,
    /// Error 1193, or no row.
    Unknown,
}

/// Variables that are passed on: read-only facts of the source's log that tools print or check.
const AT_SOURCE: &[&str] = &[
    "binlog_cache_size",
    "binlog_expire_logs_seconds",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_transaction_compression",
    "collation_server",
    "enforce_gtid_consistency",
    "expire_logs_days",
    "gtid_binlog_pos",
    "gtid_binlog_state",
    "gtid_current_pos",
    "gtid_executed",
    "gtid_purged",
    "gtid_slave_pos",
    "gtid_strict_mode",
    "log_replica_updates",
    "log_slave_updates",
    "max_binlog_size",
    "sync_binlog",
    "system_time_zone",
    "time_zone",
];

/// Variables with one answer for everybody.
const FIXED: &[(&str, &str)] = &[
    ("auto_increment_increment", "1"),
    ("auto_increment_offset", "1"),
    ("autocommit", "1"),
    ("character_set_client", "utf8mb4"),
    ("character_set_connection", "utf8mb4"),
    ("character_set_database", "utf8mb4"),
    ("character_set_filesystem", "binary"),
    ("character_set_results", "utf8mb4"),
    ("character_set_server", "utf8mb4"),
    ("character_set_system", "utf8"),
    ("collation_connection", "utf8mb4_general_ci"),
    ("collation_database", "utf8mb4_general_ci"),
    ("have_openssl", "YES"),
    ("have_ssl", "YES"),
    ("init_connect", ""),
    ("interactive_timeout", "3600"),
    ("license", "Apache-2.0"),
    ("lower_case_file_system", "OFF"),
    // An event may have 1 GiB; clients size their buffers by it.
    ("max_allowed_packet", "1073741824"),
    ("net_buffer_length", "16384"),
    ("net_read_timeout", "30"),
    ("net_write_timeout", "60"),
    ("performance_schema", "0"),
    ("protocol_version", "10"),
    ("pseudo_slave_mode", "0"),
    ("pseudo_replica_mode", "0"),
    ("query_cache_size", "0"),
    ("query_cache_type", "OFF"),
    ("read_only", "1"),
    ("sql_mode", ""),
    ("super_read_only", "1"),
    ("transaction_isolation", "REPEATABLE-READ"),
    ("transaction_read_only", "0"),
    ("tx_isolation", "REPEATABLE-READ"),
    ("tx_read_only", "0"),
    ("version_compile_machine", std::env::consts::ARCH),
    ("version_compile_os", std::env::consts::OS),
    ("wait_timeout", "3600"),
];

/// What the source says of itself, in the proxy's place.
const FROM_FACTS: &[&str] = &[
    "binlog_checksum",
    "gtid_domain_id",
    "gtid_mode",
    "log_bin",
    "lower_case_table_names",
    "server_id",
    "server_uuid",
    "version",
    "version_comment",
];

/// Whether `SHOW` has words (`ON`, `OFF`) for what is a number in `SELECT`.
pub(crate) fn is_switch(name: &str) -> bool {
    name == "log_bin" || SEMI_SYNC_VARIABLES.contains(&name)
}

/// The names of all variables that may have a value here, in the order that `SHOW VARIABLES` has.
pub(crate) fn known_names() -> Vec<&'static str> {
    let mut names: Vec<_> = FIXED
        .iter()
        .map(|(name, _)| *name)
        .chain(FROM_FACTS.iter().copied())
        .chain(AT_SOURCE.iter().copied())
        .chain(SEMI_SYNC_VARIABLES)
        .collect();
    names.sort_unstable();
    names
}

/// Whether the variable is asked of the source.
pub(crate) fn at_source(name: &str) -> bool {
    AT_SOURCE.binary_search(&name).is_ok()
}

/// One system variable, its name in lower case. Switches come as in `SELECT` (`1`); `SHOW` has `ON` for some of them, and no
/// replica looks at those.
///
/// `rpl_semi_sync_…_enabled` is known where the source has it, under both its names: replicas go by its existence, whatever its value (5.5 to
/// 9.x and MariaDB alike), and expect another framing of the stream from then on.
pub(crate) fn system_variable(name: &str, facts: &SourceFacts) -> SystemVariable {
    let known = |value: String| SystemVariable::Known(value);
    match name {
        "version" => known(facts.version.text.clone()),
        "version_comment" => {
            known(format!("replproxy {} in front of {}", env!("CARGO_PKG_VERSION"), vendor_name(facts.version.vendor)))
        }
        "server_id" => known(facts.server_id.to_string()),
        "server_uuid" => facts.server_uuid.clone().map_or(SystemVariable::Unknown, known),
        "gtid_mode" => facts.gtid_mode.map_or(SystemVariable::Unknown, |mode| known(mode.as_str().to_owned())),
        "gtid_domain_id" => facts.gtid_domain_id.map_or(SystemVariable::Unknown, |domain| known(domain.to_string())),
        "binlog_checksum" => known(checksum_name(facts.binlog_checksum).to_owned()),
        "log_bin" => known(u8::from(facts.log_bin).to_string()),
        _ if SEMI_SYNC_VARIABLES.contains(&name) => {
            facts.semi_sync().map_or(SystemVariable::Unknown, |is_on| known(u8::from(is_on).to_string()))
        }
        "lower_case_table_names" => known(facts.lower_case_table_names.to_string()),
        _ if at_source(name) => facts.variable(name).map_or(SystemVariable::AtSource, |value| known(value.to_owned())),
        _ => FIXED
            .iter()
            .find(|(fixed, _)| *fixed == name)
            .map_or(SystemVariable::Unknown, |(_, value)| known((*value).to_owned())),
    }
}

fn vendor_name(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::MySql => "MySQL",
        Vendor::MariaDb => "MariaDB",
    }
}

/// The spelling of `binlog_checksum`.
pub(crate) fn checksum_name(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::None => "NONE",
        ChecksumAlgorithm::Crc32 => "CRC32",
    }
}

/// The user variables of one session: `@name` in lower case, `None` for NULL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UserVariables {
    values: BTreeMap<String, Option<String>>,
    bytes: usize,
}

/// More user variables than a session may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyVariables;

impl UserVariables {
    /// The value; `None` when it was never set or is NULL.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_deref()
    }

    /// The first of several spellings (`master_…`, `source_…`) that has a value.
    pub(crate) fn first_of(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    pub(crate) fn set(&mut self, name: &str, value: Option<String>) -> Result<(), TooManyVariables> {
        let length = |value: &Option<String>| name.len() + value.as_ref().map_or(0, String::len);
        let before = self.values.get(name).map_or(0, length);
        let bytes = self.bytes - before + length(&value);
        let new = before == 0 && !self.values.contains_key(name);
        if bytes > MAX_USER_VARIABLE_BYTES || new && self.values.len() >= MAX_USER_VARIABLES {
            return Err(TooManyVariables);
        }
        self.bytes = bytes;
        self.values.insert(name.to_owned(), value);
        Ok(())
    }

    /// As after `COM_RESET_CONNECTION`.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_variables_at_the_source_is_sorted_for_the_search() {
        assert!(AT_SOURCE.is_sorted());
    }

    #[test]
    fn user_variables_are_bounded_in_number_and_bytes() {
        let mut variables = UserVariables::default();
        for number in 0..MAX_USER_VARIABLES {
            assert_eq!(variables.set(&format!("v{number}"), Some("x".into())), Ok(()));
        }
        assert_eq!(variables.set("one_more", None), Err(TooManyVariables));
        assert_eq!(variables.set("v1", Some("y".repeat(MAX_USER_VARIABLE_BYTES))), Err(TooManyVariables));
        assert_eq!(variables.set("v1", None), Ok(()));
        assert_eq!(variables.get("v1"), None);
        assert_eq!(variables.first_of(&["nothing", "v2"]), Some("x"));
    }
}
