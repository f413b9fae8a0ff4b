//! `replproxy run`.

use std::path::PathBuf;

use super::{FAILED, Failure};
use crate::app::{End, run};

/// Serve the routes of a configuration in the foreground
///
/// Binds every address of the configuration, then waits for replicas. A source is contacted when a replica attaches, so
/// it may be down at the start. Log lines go to stderr.
///
/// SIGTERM and SIGINT end it cleanly: sessions go on to the end of their transaction, at most some seconds; a second one
/// ends it at once. SIGHUP reads the configuration again: routes that changed end their sessions between two
/// transactions, so that replicas come back to the new rules; a configuration with mistakes is logged and not taken.
///
/// Exit status: 0 clean end, 1 failed (for example: an address is taken), 2 wrong usage or configuration.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// The configuration file; src/config/REFERENCE.md describes every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    Ok(match run(&arguments.config)? {
        End::Clean => 0,
        End::AtOnce => FAILED,
    })
}
