//! What can go wrong, each with a stable code, who caused it, and the operator's next step.
//!
//! A layer has its own error enum; at the edge it becomes a [`Fault`], which is what logs, status, exit messages and
//! error packets show. The page `src/ERRORS.md` is checked against [`Code::ALL`] by a test.

use std::fmt;

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The source server or the way to it.
    Source,
    /// The replica or the client that attached.
    Replica,
    /// The configuration file or the command line.
    Configuration,
    /// The proxy itself or the machine it runs on.
    Proxy,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Source => "source",
            Self::Replica => "replica",
            Self::Configuration => "configuration",
            Self::Proxy => "proxy",
        })
    }
}

macro_rules! catalogue {
    ($($name:ident = $code:literal, $origin:ident, $title:literal, $next:literal;)*) => {
        /// A stable error code. Codes are never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// Every code, in the order of the catalogue.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as users see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Who has to act.
            pub fn origin(self) -> Origin {
                match self { $(Self::$name => Origin::$origin,)* }
            }

            /// What happened, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What the operator can do.
            pub fn next_step(self) -> &'static str {
                match self { $(Self::$name => $next,)* }
            }
        }
    };
}

catalogue! {
    ConfigurationInvalid = "RPX-1001", Configuration, "the configuration is not valid",
        "mend the lines named and run `replproxy check`";
    ConfigurationUnreadable = "RPX-1002", Configuration, "a file named by the configuration cannot be read",
        "check the path and its permissions";
    SecretMissing = "RPX-1003", Configuration, "a password is not to be had",
        "set the environment variable or create the file that the configuration names";
    ListenFailed = "RPX-1004", Configuration, "an address cannot be listened on",
        "free the address or change `listen` / `admin`";
    AdminUnreachable = "RPX-1005", Configuration, "no proxy answers at the admin address",
        "start the proxy with `admin` in [proxy], and give its address with --admin";
    SourceUnreachable = "RPX-2001", Source, "the source cannot be reached",
        "check host, port and firewall; the replica will try again by itself";
    SourceRefusedLogin = "RPX-2002", Source, "the source refused the login",
        "check user and password of the source in the configuration";
    SourceTls = "RPX-2003", Source, "TLS with the source failed",
        "check `tls`, `tls_ca`, `tls_cert`, `tls_key` of the source, or whether the server speaks TLS 1.2 at all";
    SourcePrivileges = "RPX-2004", Source, "the proxy's account lacks a privilege at the source",
        "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the account";
    SourceNotLogging = "RPX-2005", Source, "the source writes no binary log",
        "start the source with log_bin";
    SourceRefusedDump = "RPX-2006", Source, "the source ended the stream with an error",
        "read the source's own words; for a purged position or GTID provision the replica anew from a backup";
    SourceLost = "RPX-2007", Source, "the connection to the source was lost",
        "nothing, if the source comes back: the replica connects again and goes on where it was";
    SourceSilent = "RPX-2008", Source, "the source sent neither events nor heartbeats in time",
        "check the network between proxy and source; the replica connects again by itself";
    SourceProtocol = "RPX-2009", Source, "the source said something that the proxy does not understand",
        "report it with the log line; use a supported version meanwhile";
    SourceVersion = "RPX-2010", Source, "the source's version is not supported",
        "use a version that the README names under \"Versions\"";
    EventDamaged = "RPX-2011", Source, "an event from the source is damaged",
        "check the source's binary log with mysqlbinlog --verify-binlog-checksum, and its disk and network";
    SourceQueryFailed = "RPX-2012", Source, "the source refused a query",
        "read the source's own words; check the account's privileges";
    ServerChanged = "RPX-2013", Source, "another server answers than the one that the replica's file and position belong to",
        "bring that server back, or point the replica at a position in the files of the server that is `host` of the source; \
         replicas by GTID go on by themselves";
    ServerBehind = "RPX-2014", Source, "a server of the source lacks transactions that the replica has",
        "wait until it has them or bring the other server back; to give them up, make this server `host` and reload";
    FileEncrypted = "RPX-2015", Source, "a binary log file is encrypted",
        "read it from the server that wrote it, which sends it in the clear: a route from it, or decode mysql://…";
    ReplicaRefusedLogin = "RPX-3001", Replica, "a replica or client presented a wrong user or password",
        "compare MASTER_USER / MASTER_PASSWORD with user and password of the route";
    ReplicaTls = "RPX-3002", Replica, "TLS with a replica failed",
        "compare the replica's MASTER_SSL settings with `tls` of the route";
    ReplicaProtocol = "RPX-3003", Replica, "a client broke the protocol",
        "use a MySQL or MariaDB replica or client of a supported version";
    ReplicaStuck = "RPX-3004", Replica, "a replica stopped reading",
        "check the replica's I/O thread, disk and network; it connects again by itself";
    ReplicaPosition = "RPX-3005", Replica, "the replica asked for a position that cannot be served",
        "point the replica at the end of its last transaction in the source's own file, or provision it anew";
    ReplicaRulesChanged = "RPX-3006", Replica, "the replica's position belongs to other rules",
        "restore the old rules, or let the replica apply what it has and point it at that place in the source's own file: the message names \
         it, or `replproxy status` in the replica's line (last whole transaction)";
    ReplicaCommand = "RPX-3007", Replica, "a command that the proxy does not serve",
        "send it to the source; the proxy answers replicas and the few statements under \"What clients are answered\" in the README";
    ReplicaUnfit = "RPX-3008", Replica, "the replica cannot read what the source writes",
        "use a replica that is as new as the source";
    PositionTooLarge = "RPX-3009", Replica, "a place beyond 4 GiB, which file and position cannot name",
        "attach the replica by GTID; without GTIDs let it apply what it has, and point it at the start of the source's next file \
         once the rest of this one is there by other means";
    ReplicaDuplicate = "RPX-3010", Replica, "another replica has the same server uuid or server id",
        "give each replica its own server_id, and its own server uuid (remove auto.cnf of a copied data directory)";
    ReplicaTwice = "RPX-3011", Configuration, "a replica follows one source by GTID through two routes with different rules",
        "select everything in one route, or attach both channels by file and position";
    ReplicaPartial = "RPX-3012", Replica, "the replica has a part of a transaction from other rules",
        "load the former configuration until the replica has all of it; or undo the part by hand, and run STOP SLAVE; START SLAVE (by position: \
         with CHANGE MASTER to Exec_Master_Log_Pos in between)";
    StatementStopped = "RPX-4001", Configuration, "a statement stops the route by its rules",
        "look at it with `replproxy explain`, then set the key that the message names or select the object";
    StatementUnknown = "RPX-4002", Configuration, "a statement could not be judged with certainty",
        "look at it with `replproxy explain`; `ddl.unknown` or `ddl.allow` lets it pass";
    StreamNotUnderstood = "RPX-4003", Proxy, "the stream holds something that the proxy does not understand",
        "report it with the log line; nothing after it has been sent";
    NameUnmappable = "RPX-4004", Configuration, "a name cannot be written at its place",
        "choose another `rename` for the object";
    EventTooLarge = "RPX-4005", Proxy, "an event is larger than the protocol allows",
        "lower max_allowed_packet at the source, or split the statement";
    HistoryUnknown = "RPX-4006", Configuration, "a statement depends on earlier ones that the route has not seen",
        "do by hand at the replica what the message names; with `state_dir` the route remembers such statements over restarts";
    IdentitiesExhausted = "RPX-5001", Configuration, "all server ids of the proxy are in use",
        "raise `server_ids` in [proxy]";
    Internal = "RPX-5002", Proxy, "the proxy failed",
        "report it with the log lines around it";
    // RPX-5003 was a proxy that is being stopped, which closes its connections without a word.
    FileUnreadable = "RPX-5004", Proxy, "a file cannot be read or written",
        "check the path, its permissions and the disk";
    LimitReached = "RPX-5005", Proxy, "a limit of the proxy was reached",
        "see the limit named in the message and the configuration reference";
    IdentityTaken = "RPX-5006", Configuration, "another replica came to the source under a server id of the proxy",
        "give each proxy a block of ids (`server_id`, `server_ids` in [proxy]) that no other proxy and no server has; until then its streams go \
         on under other ids of the block";
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// An error as the operator sees it: code, what was found, and the code's next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The stable code.
    pub code: Code,
    /// What was found, with names, positions and the peer's own words. Never a secret, never a row value.
    pub message: String,
    /// Where a source refused what a replica asked for: what it said, for the replica to hear.
    pub source_words: Option<String>,
}

impl Fault {
    /// A fault with what was found.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), source_words: None }
    }

    /// The fault in which a source refused a replica's request with these words.
    pub fn with_source_words(mut self, text: impl Into<String>) -> Self {
        self.source_words = Some(text.into());
        self
    }

    /// What the operator can do: the code's next step, or a better one where the source's words tell more than the code.
    pub fn next_step(&self) -> &'static str {
        // MySQL 5.0 and later and MariaDB, for a first file and in the middle of a stream.
        const GONE: [&str; 2] = ["Could not find first log file name in binary log index", "could not find next log"];
        // The source has no connection left, for all or for the account.
        const FULL: [&str; 3] = ["(error 1040,", "(error 1203,", "(error 1226,"];
        match &self.source_words {
            Some(words) if GONE.iter().any(|gone| words.contains(gone)) => {
                "purged, or the source was RESET: see SHOW BINARY LOGS there; a replica that lacks what is gone needs a new copy of the data"
            }
            _ if self.code == Code::SourceUnreachable && FULL.iter().any(|full| self.message.contains(full)) => {
                "raise max_connections (or the limit of the account) at the source, or lower `server_ids` of [proxy]; it is tried again"
            }
            _ => self.code.next_step(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} (next: {})", self.code, self.message, self.next_step())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_source_said_makes_the_next_step_a_better_one() {
        let gone = "Could not find first log file name in binary log index file";
        let fault = Fault::new(Code::SourceRefusedDump, "…").with_source_words(gone);
        assert!(fault.to_string().contains("SHOW BINARY LOGS"), "{fault}");
        let other =
            Fault::new(Code::SourceRefusedDump, "…").with_source_words("Slave has more GTIDs than the master has");
        assert_eq!(other.next_step(), other.code.next_step());
        let full = Fault::new(
            Code::SourceUnreachable,
            "db1 answered to the login: Too many connections (error 1040, state 08004)",
        );
        assert!(full.next_step().contains("max_connections"), "{full}");
    }
}
