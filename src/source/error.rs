//! What can go wrong with a source, and which fault it is for the operator.

use std::{fmt, sync::Arc, time::Duration};

use crate::fault::{Code, Fault};

/// What was going on when the server answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activity {
    /// Greeting and authentication.
    Login,
    /// A statement, as it was sent.
    Query(String),
    /// COM_REGISTER_SLAVE.
    Registration,
    /// COM_BINLOG_DUMP or COM_BINLOG_DUMP_GTID, at its start or in the middle of the stream.
    Dump,
}

impl fmt::Display for Activity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login => formatter.write_str("the login"),
            Self::Query(sql) => {
                let cut: String = sql.chars().take(120).collect();
                write!(formatter, "`{cut}{}`", if cut.len() < sql.len() { "…" } else { "" })
            }
            Self::Registration => formatter.write_str("the registration as a replica"),
            Self::Dump => formatter.write_str("the binary log stream"),
        }
    }
}

/// What can go wrong with a source. `peer` is `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No connection, or no complete login in time.
    #[error("{peer} cannot be reached: {reason}")]
    Unreachable {
        /// `host:port`.
        peer: Arc<str>,
        /// The system's words, or what took too long.
        reason: String,
    },
    /// The server answered with an ERR packet.
    #[error("{peer} answered to {activity}: {message} (error {code}, state {state})")]
    Refused {
        /// `host:port`.
        peer: Arc<str>,
        /// To what.
        activity: Activity,
        /// The server's error number.
        code: u16,
        /// The five characters of its SQL state; `HY000` where an old server sent none.
        state: String,
        /// The server's own words.
        message: String,
    },
    /// TLS was asked for and is not to be had, or failed.
    #[error("TLS with {peer}: {reason}")]
    Tls {
        /// `host:port`.
        peer: Arc<str>,
        /// What is wrong.
        reason: String,
    },
    /// The login cannot be done as the server wants it.
    #[error("login at {peer}: {reason}")]
    Authentication {
        /// `host:port`.
        peer: Arc<str>,
        /// What is wrong.
        reason: String,
    },
    /// A file or value of the configuration is of no use.
    #[error("{reason}")]
    Configuration {
        /// Which, and why.
        reason: String,
        /// Whether it is a file that could not be read.
        unreadable: bool,
    },
    /// The server's version is not one that we can speak to.
    #[error("{peer} is of a version that is not supported: {reason}")]
    Version {
        /// `host:port`.
        peer: Arc<str>,
        /// The version, and what is missing.
        reason: String,
    },
    /// The connection ended while it was in use.
    #[error("the connection to {peer} was lost: {reason}")]
    Lost {
        /// `host:port`.
        peer: Arc<str>,
        /// The system's words.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("{peer} sent nothing for {} s", waited.as_secs())]
    Silent {
        /// `host:port`.
        peer: Arc<str>,
        /// How long we waited.
        waited: Duration,
    },
    /// The server sent bytes that make no sense.
    #[error("{peer} broke the protocol: {reason}")]
    Protocol {
        /// `host:port`.
        peer: Arc<str>,
        /// What came.
        reason: String,
    },
    /// An answer or event is over a limit.
    #[error("{peer} sent too much: {reason}")]
    TooLarge {
        /// `host:port`.
        peer: Arc<str>,
        /// What, and the limit.
        reason: String,
    },
}

/// Error numbers of the servers that decide what to do.
mod number {
    pub(super) const CON_COUNT: u16 = 1040;
    pub(super) const OUT_OF_RESOURCES: u16 = 1041;
    pub(super) const DBACCESS_DENIED: u16 = 1044;
    pub(super) const ACCESS_DENIED: u16 = 1045;
    pub(super) const SERVER_SHUTDOWN: u16 = 1053;
    pub(super) const TABLEACCESS_DENIED: u16 = 1142;
    pub(super) const COLUMNACCESS_DENIED: u16 = 1143;
    pub(super) const NEW_ABORTING_CONNECTION: u16 = 1184;
    pub(super) const TOO_MANY_USER_CONNECTIONS: u16 = 1203;
    pub(super) const USER_LIMIT_REACHED: u16 = 1226;
    pub(super) const SPECIFIC_ACCESS_DENIED: u16 = 1227;
    pub(super) const MASTER_FATAL: u16 = 1236;
    pub(super) const CONNECTION_KILLED: u16 = 1927;
    pub(super) const SECURE_TRANSPORT_REQUIRED: u16 = 3159;
}

impl SourceError {
    /// The server's error number, if the server spoke.
    pub fn server_code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. } => Code::SourceUnreachable,
            Self::Tls { .. } => Code::SourceTls,
            Self::Authentication { .. } => Code::SourceRefusedLogin,
            Self::Configuration { unreadable: true, .. } => Code::ConfigurationUnreadable,
            Self::Configuration { unreadable: false, .. } => Code::ConfigurationInvalid,
            Self::Version { .. } => Code::SourceVersion,
            Self::Lost { .. } => Code::SourceLost,
            Self::Silent { .. } => Code::SourceSilent,
            Self::Protocol { .. } => Code::SourceProtocol,
            Self::TooLarge { .. } => Code::EventTooLarge,
            Self::Refused { activity, code, message, .. } => refused(activity, *code, message),
        }
    }

    /// The fault as the operator sees it: the source's name in the configuration, its address, and the server's own words.
    pub fn fault(&self, source_name: &str) -> Fault {
        let code = self.code();
        match self {
            // The server's text stands alone: operators know these strings and search for them.
            Self::Refused { peer, activity: Activity::Dump, code: number, message, .. } => {
                let text = format!("source `{source_name}` ({peer}) ended the stream: {message} (error {number})");
                let fault = Fault::new(code, text);
                if code == Code::SourceRefusedDump { fault.with_source_words(message) } else { fault }
            }
            _ => Fault::new(code, format!("source `{source_name}`: {self}")),
        }
    }
}

fn refused(activity: &Activity, code: u16, message: &str) -> Code {
    match code {
        number::SERVER_SHUTDOWN | number::CONNECTION_KILLED | number::NEW_ABORTING_CONNECTION => {
            return Code::SourceLost;
        }
        number::SECURE_TRANSPORT_REQUIRED => return Code::SourceTls,
        number::CON_COUNT
        | number::OUT_OF_RESOURCES
        | number::TOO_MANY_USER_CONNECTIONS
        | number::USER_LIMIT_REACHED => return Code::SourceUnreachable,
        _ => {}
    }
    let denied = matches!(
        code,
        number::DBACCESS_DENIED
            | number::ACCESS_DENIED
            | number::TABLEACCESS_DENIED
            | number::COLUMNACCESS_DENIED
            | number::SPECIFIC_ACCESS_DENIED
    );
    match activity {
        Activity::Login => Code::SourceRefusedLogin,
        _ if denied => Code::SourcePrivileges,
        Activity::Query(_) | Activity::Registration => Code::SourceQueryFailed,
        Activity::Dump if code == number::MASTER_FATAL && message.contains("Binary log is not open") => {
            Code::SourceNotLogging
        }
        Activity::Dump => Code::SourceRefusedDump,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_with(activity: Activity, code: u16, message: &str) -> SourceError {
        SourceError::Refused { peer: "db1:3306".into(), activity, code, state: "HY000".into(), message: message.into() }
    }

    #[test]
    fn the_servers_numbers_become_the_operators_codes() {
        let query = || Activity::Query("SELECT 1".into());
        for (activity, number, message, code) in [
            (Activity::Login, 1045, "Access denied for user 'x'@'y' (using password: YES)", Code::SourceRefusedLogin),
            (Activity::Login, 1130, "Host 'x' is not allowed to connect", Code::SourceRefusedLogin),
            (Activity::Login, 1040, "Too many connections", Code::SourceUnreachable),
            (Activity::Login, 3159, "Connections using insecure transport are prohibited", Code::SourceTls),
            (query(), 1227, "Access denied; you need SUPER", Code::SourcePrivileges),
            (query(), 1146, "Table 'a.b' doesn't exist", Code::SourceQueryFailed),
            (query(), 1053, "Server shutdown in progress", Code::SourceLost),
            (Activity::Registration, 1045, "Access denied", Code::SourcePrivileges),
            (Activity::Dump, 1227, "Access denied; you need REPLICATION SLAVE", Code::SourcePrivileges),
            (Activity::Dump, 1236, "Binary log is not open", Code::SourceNotLogging),
            (Activity::Dump, 1236, "Could not find first log file name", Code::SourceRefusedDump),
        ] {
            assert_eq!(refused_with(activity.clone(), number, message).code(), code, "{activity:?} {number}");
        }
    }

    #[test]
    fn a_fault_names_the_source_its_address_and_the_servers_words() {
        let fault = refused_with(Activity::Dump, 1236, "Could not find first log file name").fault("primary");
        assert_eq!(
            fault.message,
            "source `primary` (db1:3306) ended the stream: Could not find first log file name (error 1236)"
        );
    }
}
