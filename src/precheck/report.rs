//! What a check found, as people and programs read it.

use std::fmt;

use serde::Serialize;

macro_rules! items {
    ($($name:ident = $text:literal, $doc:literal;)*) => {
        /// What is looked at. The names are part of the interface (`--ignore`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Item {
            $(#[doc = $doc] $name,)*
        }

        impl Item {
            /// All items in the order in which they are reported.
            pub const ALL: &'static [Item] = &[$(Item::$name,)*];

            /// The name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it looks at, in a sentence.
            pub fn description(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }
        }
    };
}

items! {
    Reachable = "reachable", "The source can be connected to.";
    Tls = "tls", "The connection is protected as the configuration asks.";
    Login = "login", "The source takes user and password.";
    Version = "version", "The source's version is supported.";
    ReplicationPrivileges = "replication_privileges", "The account has REPLICATION SLAVE and REPLICATION CLIENT.";
    SelectPrivileges = "select_privileges", "The account can read what the route selects.";
    LogBin = "log_bin", "The source writes a binary log.";
    BinlogFormat = "binlog_format", "The source logs rows.";
    BinlogRowImage = "binlog_row_image", "The source logs whole rows.";
    BinlogChecksum = "binlog_checksum", "The source's events have checksums.";
    BinlogFilters = "binlog_filters", "The source's own filters log what the route selects.";
    Compression = "compression", "Whether the source compresses what it logs.";
    ServerId = "server_id", "The source has a server id.";
    ServerIdClash = "server_id_clash", "No other server has an id of the proxy's block.";
    GtidMode = "gtid_mode", "Which coordinates replicas can use.";
    SemiSync = "semi_sync", "A source that waits for semi-synchronous replicas has them.";
    Origins = "origins", "`exclude_origins` leaves out other servers' transactions, not the source's own.";
    NameCase = "name_case", "Names that differ in case only are not mixed up.";
    NewNames = "new_names", "No two tables of the source come under one name.";
    Objects = "objects", "What the route selects is there.";
    ReplicaDatabases = "replica_databases", "The databases that replicas need, with the source's character sets.";
    Engines = "engines", "The selected tables' engines can be replicated.";
    ForeignKeys = "foreign_keys", "No foreign key changes rows of a selected table with those of one that is not selected.";
    ViewsTriggers = "views_triggers", "No statement changes selected tables through a view or trigger that is not selected.";
    Failover = "failover", "Every server of `failover` answers and could take over (only where there are any).";
}

impl Item {
    /// The item of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|item| item.as_str() == name)
    }

    /// Whether its failure leaves nothing else to be looked at: these cannot be ignored.
    pub fn is_needed_for_others(self) -> bool {
        matches!(self, Self::Reachable | Self::Tls | Self::Login)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Pass,
    /// Works, with something to know.
    Warn,
    /// Will not work.
    Fail,
    /// Would warn or fail, and the operator said that it does not matter.
    Ignored,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Ignored => "ignored",
        }
    }
}

/// One item's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which item.
    pub item: Item,
    /// What became of it.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do, where something is to be done.
    pub next_step: Option<String>,
}

impl Finding {
    /// All is well.
    pub(super) fn pass(item: Item, found: impl Into<String>) -> Self {
        Self { item, status: Status::Pass, found: found.into(), next_step: None }
    }

    /// Works, with something to know.
    pub(super) fn warn(item: Item, found: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { item, status: Status::Warn, found: found.into(), next_step: Some(next_step.into()) }
    }

    /// Will not work.
    pub(super) fn fail(item: Item, found: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { item, status: Status::Fail, found: found.into(), next_step: Some(next_step.into()) }
    }
}

/// The outcome for one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The route's name.
    pub route: String,
    /// The name of its source.
    pub source: String,
    /// The source's `host:port`.
    pub address: String,
    /// What was found, in the order of [`Item::ALL`].
    pub items: Vec<Finding>,
}

impl Report {
    /// Whether no item failed.
    pub fn passed(&self) -> bool {
        self.items.iter().all(|finding| finding.status != Status::Fail)
    }

    /// The object of `--format json`: `route`, `source`, `items` (each `item`, `status`, `found`, `next_step`), `passed`.
    pub fn to_json(&self) -> serde_json::Value {
        let items: Vec<_> = self
            .items
            .iter()
            .map(|finding| {
                serde_json::json!({
                    "item": finding.item.as_str(),
                    "status": finding.status,
                    "found": finding.found,
                    "next_step": finding.next_step,
                })
            })
            .collect();
        serde_json::json!({ "route": self.route, "source": self.source, "items": items, "passed": self.passed() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "route {} from source {} ({})", self.route, self.source, self.address)?;
        for finding in &self.items {
            let (status, item) = (finding.status.word(), finding.item);
            writeln!(formatter, "  {status:<7} {item:<22} {}", finding.found)?;
            if let Some(next_step) = &finding.next_step {
                writeln!(formatter, "  {:<7} {:<22} next: {next_step}", "", "")?;
            }
        }
        let count = |status| self.items.iter().filter(|finding| finding.status == status).count();
        let (failed, warnings) = (count(Status::Fail), count(Status::Warn));
        let verdict = if self.passed() { "passed" } else { "not passed" };
        writeln!(formatter, "{verdict}: {} items, {failed} failed, {warnings} warnings", self.items.len())
    }
}
