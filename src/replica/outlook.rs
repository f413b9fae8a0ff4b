//! What a connection can go by when the source is out of reach.
//!
//! A replica shows a fault in its `Last_IO_Error`, and tries again, in three places only: at the login (MySQL 8.0 and later, MariaDB),
//! at the question for GTID_MODE (MySQL 5.6 and 5.7; 8.0 loses the text there), and at COM_REGISTER_SLAVE (all of them; MySQL 5.x
//! shows a number and no text for a failed login). So replicas that show the text of a failed login are told there: that is where
//! they notice the absence of a source without a proxy, and people's monitoring knows those words. MySQL 5.x is let in with the
//! last known facts and told at its registration. When the source has never been seen, it goes on with facts that are a guess:
//! 5.6 and 5.7 are told when they ask for GTID_MODE, where a wrong guess would stop them for good, and older ones at their
//! registration. Programs that are no replicas may ask what the last known facts answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::handshake::HandshakeResponse;
use crate::binlog::{ServerVersion, Vendor};
use crate::fault::Fault;
use crate::source::SourceFacts;

/// The version of a source that nobody has seen. Every replica accepts a MariaDB 10 in disguise, and MariaDB replicas would fall
/// back from GTID for good with anything older.
const UNSEEN: &str = "10.11.0-MariaDB";

/// Facts and what is wrong with them.
#[derive(Debug, Clone)]
pub(crate) struct Outlook {
    pub(crate) facts: Arc<SourceFacts>,
    pub(crate) trouble: Option<Trouble>,
}

/// Why there are no fresh facts.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) fault: Fault,
    /// The facts are not even old ones.
    pub(crate) guessed: bool,
}

impl Outlook {
    pub(crate) fn fresh(facts: Arc<SourceFacts>) -> Self {
        Self { facts, trouble: None }
    }

    /// With the last known facts, or a guess.
    pub(crate) fn troubled(last: Option<Arc<SourceFacts>>, fault: Fault) -> Self {
        let guessed = last.is_none();
        let facts = last.unwrap_or_else(|| {
            let version = ServerVersion { text: UNSEEN.to_owned(), number: 101_100, vendor: Vendor::MariaDb };
            Arc::new(SourceFacts::of(version, BTreeMap::new()))
        });
        Self { facts, trouble: Some(Trouble { fault, guessed }) }
    }

    /// The fault that ends this client's login, if it is a replica that shows the text of a failed login, or is none and there is
    /// nothing to answer it with.
    pub(crate) fn refuses(&self, client: &HandshakeResponse) -> Option<&Fault> {
        let trouble = self.trouble.as_ref().filter(|trouble| trouble.guessed || client.is_replica())?;
        let shows_number_only = match client.version() {
            Some(version) => version.vendor == Vendor::MySql && version.number < 80_000,
            // MySQL 5.1 and 5.5 tell nothing of themselves.
            None => client.attributes.is_empty(),
        };
        if shows_number_only { None } else { Some(&trouble.fault) }
    }
}
