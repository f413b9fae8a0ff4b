//! `serve DIR`: a source made of binlog files (a recorded stream), behind the same door as a route.

mod feed;
mod files;
mod known;
mod place;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tracing::info;

use crate::app::listener::{accept_all, bind};
use crate::fault::{Code, Fault};
use crate::replica::{
    Backend, BoxFuture, Feed, Limits, Listener, ListenerConfig, Registry, ReplicaRequest, ServerTls, serve_connection,
};
use crate::secret::Secret;
use crate::source::{ResultSet, SourceFacts};
use crate::telemetry::RouteTelemetry;

use feed::FileFeed;
use files::{files, read_facts};

/// A folder of binlog files. It is looked at anew for every replica, so that files may be added and may grow.
#[derive(Debug, Clone)]
pub struct RecordedStream {
    directory: PathBuf,
}

impl RecordedStream {
    /// Checks that there is a binlog file in the folder.
    pub fn open(directory: &Path) -> Result<Self, Fault> {
        let stream = Self { directory: directory.to_owned() };
        read_facts(&stream.directory)?;
        Ok(stream)
    }

    /// Runs `work`, which reads files, away from the threads that serve sockets.
    async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let directory = self.directory.clone();
        tokio::task::spawn_blocking(move || work(&directory))
            .await
            .map_err(|error| Fault::new(Code::Internal, format!("reading files: {error}")))?
    }
}

impl Backend for RecordedStream {
    fn facts(&self) -> BoxFuture<'_, Result<Arc<SourceFacts>, Fault>> {
        Box::pin(async { self.reading(read_facts).await.map(Arc::new) })
    }

    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<ResultSet, Fault>> {
        let sql = sql.to_owned();
        Box::pin(async move { self.reading(move |directory| answer(directory, &sql)).await })
    }

    fn open(&self, request: ReplicaRequest) -> BoxFuture<'_, Result<Box<dyn Feed>, Fault>> {
        Box::pin(async move {
            let feed = self.reading(move |directory| FileFeed::open(directory, &request)).await?;
            Ok(Box::new(feed) as Box<dyn Feed>)
        })
    }
}

/// The questions about the log that files can answer.
fn answer(directory: &Path, sql: &str) -> Result<ResultSet, Fault> {
    let text = |text: &str| Some(Bytes::from(text.to_owned()));
    let columns = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let files = files(directory)?;
    match sql {
        "SHOW BINARY LOGS" => {
            let rows = files.iter().map(|file| vec![text(&file.name), text(&file.length.to_string())]).collect();
            Ok(ResultSet { columns: columns(&["Log_name", "File_size"]), rows, affected_rows: 0 })
        }
        "SHOW MASTER STATUS" | "SHOW BINARY LOG STATUS" => {
            let names = ["File", "Position", "Binlog_Do_DB", "Binlog_Ignore_DB", "Executed_Gtid_Set"];
            let last = files
                .last()
                .map(|file| vec![text(&file.name), text(&file.length.to_string()), text(""), text(""), text("")]);
            Ok(ResultSet { columns: columns(&names), rows: last.into_iter().collect(), affected_rows: 0 })
        }
        _ => Err(Fault::new(Code::ReplicaCommand, format!("files have no answer to {sql}"))),
    }
}

/// What `serve` is told on the command line.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The folder.
    pub directory: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The user that replicas present.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Whether TLS is offered, with a certificate made for this process.
    pub tls: bool,
}

/// Serves a folder until `ending` becomes true. `listening` is told the address once replicas can attach.
pub async fn run(
    options: ServeOptions,
    ending: watch::Receiver<bool>,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), Fault> {
    let stream = RecordedStream::open(&options.directory)?;
    let tls = if options.tls { ServerTls::generated(None, false)? } else { ServerTls::disabled() };
    let config = ListenerConfig {
        name: "serve".to_owned(),
        user: options.user,
        password: options.password,
        tls,
        transparent: false,
        limits: Limits::default(),
    };
    let socket = bind("serve", options.listen)?;
    let address =
        socket.local_addr().map_err(|error| Fault::new(Code::ListenFailed, format!("{}: {error}", options.listen)))?;
    info!(%address, directory = %options.directory.display(), "serving binlog files");
    listening(address);
    let telemetry = RouteTelemetry::new("serve");
    let listener = Listener::new(config, Arc::new(stream), Registry::new(), telemetry);
    let signal = ending.clone();
    accept_all(socket, "serve".to_owned(), ending, move |client, peer| {
        serve_connection(client, peer, Arc::clone(&listener), signal.clone())
    })
    .await;
    Ok(())
}
