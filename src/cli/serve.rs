//! `replproxy serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Failure;
use crate::fault::{Code, Fault};
use crate::secret::Secret;
use crate::serve::{ServeOptions, run};

/// Be a source that serves the binlog files in a folder
///
/// Replicas attach with CHANGE REPLICATION SOURCE TO (or CHANGE MASTER TO), by file and position or by GTID, and
/// mysqlbinlog reads with --read-from-remote-server. The files are sent as they are, in the order of their names; at the
/// end of the last one the stream waits for more. SIGTERM and SIGINT end it cleanly.
///
/// Exit status: 0 clean end, 1 failed, 2 wrong usage.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// The folder with the binary log files.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where to listen, for example 127.0.0.1:3307.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// The user that replicas present.
    #[arg(long, value_name = "NAME", default_value = "repl")]
    user: String,
    /// The password that replicas present. Other users of this machine can see it.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    password: String,
    /// The environment variable that has the password.
    #[arg(long, value_name = "NAME", conflicts_with = "password")]
    password_env: Option<String>,
    /// Offer no TLS.
    #[arg(long)]
    no_tls: bool,
}

pub(super) fn execute(arguments: Arguments) -> Result<u8, Failure> {
    let password = match &arguments.password_env {
        Some(name) => std::env::var(name).map_err(|_| {
            Fault::new(Code::SecretMissing, format!("the environment variable {name} is not set, or not UTF-8"))
        })?,
        None => arguments.password,
    };
    let options = ServeOptions {
        directory: arguments.directory,
        listen: arguments.listen,
        user: arguments.user,
        password: Secret::new(password),
        tls: !arguments.no_tls,
    };
    let failed = |error: std::io::Error| Fault::new(Code::Internal, format!("starting: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?);
        let (end, ending) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            end.send_replace(true);
            // A closed channel would be no signal: kept until the process is gone.
            end.closed().await;
        });
        run(options, ending, |_| {}).await
    })?;
    Ok(0)
}
