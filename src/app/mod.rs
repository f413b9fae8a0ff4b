//! `replproxy run`: from a configuration file to listeners, and from signals to a reload or an orderly end.

use std::path::Path;

use crate::config::Config;
use crate::fault::{Code, Fault};
use crate::telemetry;

pub(crate) mod listener;
mod panic;
mod process;
mod signals;

use process::Process;
use signals::{Signal, Signals};

/// How `run` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every session ended in order.
    Clean,
    /// A second signal came before they had.
    AtOnce,
}

/// Serves until a signal ends it. Sources are contacted when replicas attach, so they may be down.
pub fn run(path: &Path) -> Result<End, Fault> {
    panic::log_panics();
    let config = Config::load(path)?;
    let metrics = telemetry::install_metrics();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("replproxy").build();
    let runtime = runtime.map_err(|error| Fault::new(Code::Internal, format!("no threads can be started: {error}")))?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::install()
            .map_err(|error| Fault::new(Code::Internal, format!("signals cannot be handled: {error}")))?;
        let process = Process::start(config, metrics)?;
        loop {
            match signals.next().await {
                Signal::Reload => process.reload(),
                Signal::End(name) => {
                    tracing::info!(signal = name, "ending: sessions go on to the end of their transaction");
                    break;
                }
            }
        }
        let second = async { while signals.next().await == Signal::Reload {} };
        tokio::select! {
            biased;
            () = second => {
                tracing::warn!("second signal: ended at once");
                Ok(End::AtOnce)
            }
            () = process.end() => {
                tracing::info!("ended");
                Ok(End::Clean)
            }
        }
    });
    // What still runs here is a lookup of a name or the like: nobody waits for it.
    runtime.shutdown_background();
    ended
}
