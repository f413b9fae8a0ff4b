//! `replproxy demo`.

use std::io::Write as _;

use super::Failure;
use crate::demo::{DemoError, run};

/// Show the main job with nothing else installed: a rename, a filter and a policed statement
///
/// Starts a source with a recorded binary log, a route, and a replica inside this process, over TCP on 127.0.0.1, and
/// prints what the source wrote, what the replica received, and which rule made the difference. Ends by itself.
///
/// Exit status: 0 shown, 1 something failed.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {}

pub(super) fn execute() -> Result<u8, Failure> {
    let mut stdout = std::io::stdout().lock();
    run(&mut stdout).map_err(|error| match error {
        DemoError::Fault(fault) => Failure::Fault(fault),
        DemoError::Output(error) => Failure::from(error),
    })?;
    stdout.flush()?;
    Ok(0)
}
