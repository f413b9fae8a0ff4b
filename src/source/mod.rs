//! Being a replica of somebody: connection, login, queries, and the raw binary log stream.
//!
//! The client speaks packets itself; a library's client could neither send a raw dump nor set its flags. It knows nothing of
//! rules, and of events only that each is a packet.

mod client;
mod connection;
mod dump;
mod endpoint;
mod error;
mod facts;
mod greeting;
mod login;
mod result_set;
mod rsa_key;
mod semi_sync;
mod tls;

#[cfg(test)]
mod scripted;

pub use crate::binlog::{ServerVersion, Vendor};
pub use client::Client;
pub use dump::{DumpRequest, DumpStart, EventStream, Identity};
pub use endpoint::{Endpoint, TlsMode};
pub use error::{Activity, SourceError};
pub use facts::{GtidMode, SEMI_SYNC_VARIABLES, SourceFacts};
pub use result_set::ResultSet;
pub use semi_sync::SEMI_SYNC_REGISTRATION;
