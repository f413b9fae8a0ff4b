//! `replproxy demo`: the main job with nothing else installed.
//!
//! Three parties in one process, each on its own TCP port of 127.0.0.1: a source (`serve` over a binary log that a real
//! MySQL wrote, built into the program), the proxy with one route, and a replica (our own client, asking by GTID as
//! MySQL does). What arrives is printed below what was sent, with the rule that made the difference.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

use crate::app::listener::{accept_all, bind};
use crate::binlog::{ChecksumAlgorithm, Event, FileReader, FormatDescription, Header};
use crate::config::{Config, Route};
use crate::ddl::{Context, analyze};
use crate::fault::{Code, Fault};
use crate::gtid::GtidSet;
use crate::pipeline::policy::{Action, Reason, judge};
use crate::pipeline::rules::{RuleSet, Selection};
use crate::relay::{Identities, RouteBackend, RouteJournal};
use crate::replica::{Limits, Listener, ListenerConfig, Registry, ServerTls, serve_connection};
use crate::secret::Secret;
use crate::serve::{self, ServeOptions};
use crate::source::{Client, DumpRequest, DumpStart, Endpoint, Identity, TlsMode};
use crate::telemetry::RouteTelemetry;

mod story;

use story::{Deed, Teller, Transaction};

const RECORDED: &[u8] = include_bytes!("../../fixtures/demo/binlog.000001");
const CONFIGURATION: &str = include_str!("../../fixtures/demo/replproxy.toml");
/// The route of the configuration that is shown.
const ROUTE: &str = "shop";
/// The version of the server that wrote the recorded binary log, which judges `/*!NNNNN … */`.
const RECORDED_VERSION: u32 = 50_729;
/// Everything happens inside one machine: what takes longer than this hangs.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Lines are cut here, so that they stay lines.
const LINE_WIDTH: usize = 112;

/// Why the demo did not come to its end.
#[derive(Debug)]
pub enum DemoError {
    /// A part of it failed.
    Fault(Fault),
    /// The output cannot be written.
    Output(io::Error),
}

impl From<Fault> for DemoError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for DemoError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Runs the demo and prints it.
pub fn run(output: &mut impl Write) -> Result<(), DemoError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Fault::new(Code::Internal, format!("{what}: {error}"));
    let folder = tempfile::tempdir().map_err(|error| failed("a temporary folder", &error))?;
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes);
    write("binlog.000001", RECORDED).map_err(|error| failed("the recorded binary log", &error))?;
    write("replproxy.toml", CONFIGURATION.as_bytes()).map_err(|error| failed("the configuration", &error))?;
    let config = Config::load(&folder.path().join("replproxy.toml")).map_err(Fault::from)?;
    let route = config.routes.get(ROUTE).ok_or_else(|| failed("the configuration", &"it has no route"))?;

    let mut sent = Teller::new();
    let mut file = FileReader::new(RECORDED).map_err(|error| failed("the recorded binary log", &error))?;
    while let Some(event) = file.next_event().map_err(|error| failed("the recorded binary log", &error))? {
        sent.hear(&event).map_err(|error| failed("the recorded binary log", &error))?;
    }

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| failed("threads", &error))?;
    let played = runtime.block_on(async {
        let played = tokio::time::timeout(TIME_LIMIT, play(folder.path(), &config, route)).await;
        played.unwrap_or_else(|_| Err(Fault::new(Code::Internal, format!("the demo took more than {TIME_LIMIT:?}"))))
    });
    runtime.shutdown_background();
    let (received, addresses) = played?;

    tell(output, &addresses, &route.rules, &sent.transactions, &received.transactions)?;
    let numbers = |told: &[Transaction]| told.iter().map(|transaction| transaction.number).collect::<Vec<_>>();
    if numbers(&sent.transactions) != numbers(&received.transactions) {
        return Err(failed("the demo", &"transactions are missing at the replica").into());
    }
    Ok(())
}

/// Where the three parties met.
struct Addresses {
    source: SocketAddr,
    proxy: SocketAddr,
}

/// Starts source and proxy, attaches the replica, and listens until the recorded stream is over.
async fn play(folder: &std::path::Path, config: &Config, route: &Route) -> Result<(Teller, Addresses), Fault> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (_end, ending) = watch::channel(false);

    let (tell_address, told_address) = tokio::sync::oneshot::channel();
    let options = ServeOptions {
        directory: folder.to_owned(),
        listen: loopback,
        user: route.user.clone(),
        password: route.password.clone(),
        tls: false,
    };
    let source = tokio::spawn(serve::run(options, ending.clone(), |address| {
        // The demo is over if nobody waits for the address any more.
        let _ = tell_address.send(address);
    }));
    let Ok(source_address) = told_address.await else {
        // Without an address it has ended, and says why.
        return Err(match source.await {
            Ok(Err(fault)) => fault,
            _ => Fault::new(Code::Internal, "the recorded source did not start"),
        });
    };

    let endpoint = |address: SocketAddr, user: &str, password: &Secret| Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        user: user.to_owned(),
        password: password.clone(),
        tls: TlsMode::Disabled,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        connect_timeout: TIME_LIMIT,
    };
    let telemetry = RouteTelemetry::new(ROUTE);
    let backend = RouteBackend::new(
        route.source.clone(),
        vec![endpoint(source_address, &route.user, &route.password)],
        Arc::new(route.rules.clone()),
        Identities::new(config.proxy.server_id, config.proxy.server_ids),
        Arc::clone(&telemetry),
        Arc::new(RouteJournal::open(None, &telemetry)?),
        Arc::default(),
    );
    let door = ListenerConfig {
        name: ROUTE.to_owned(),
        user: route.user.clone(),
        password: route.password.clone(),
        tls: ServerTls::disabled(),
        transparent: false,
        limits: Limits::default(),
    };
    let listener = Listener::new(door, Arc::new(backend), Registry::new(), telemetry);
    let socket = bind("the demo's proxy", loopback)?;
    let proxy_address =
        socket.local_addr().map_err(|error| Fault::new(Code::ListenFailed, format!("the demo's proxy: {error}")))?;
    let signal = ending.clone();
    tokio::spawn(accept_all(socket, ROUTE.to_owned(), ending, move |client, peer| {
        serve_connection(client, peer, Arc::clone(&listener), signal.clone())
    }));

    let teller = replicate(endpoint(proxy_address, &route.user, &route.password)).await?;
    Ok((teller, Addresses { source: source_address, proxy: proxy_address }))
}

/// A replica that has nothing yet and asks by GTID.
async fn replicate(endpoint: Endpoint) -> Result<Teller, Fault> {
    /// `BINLOG_DUMP_NON_BLOCK`: end at the end instead of waiting for more.
    const NON_BLOCKING: u16 = 1;
    let failed = |error: crate::source::SourceError| error.fault("the proxy");
    let client = Client::connect(&endpoint).await.map_err(failed)?;
    let identity = Identity { server_id: 2, uuid: Uuid::from_u128(2), host: "demo-replica".to_owned(), port: 0 };
    let start = DumpStart::GtidSet(Bytes::from(GtidSet::default().encode()));
    let request =
        DumpRequest { identity, heartbeat: Duration::from_secs(5), flags: NON_BLOCKING, start, session: Vec::new() };
    let mut stream = client.start_dump(request).await.map_err(failed)?;
    let mut teller = Teller::new();
    let mut checksum = stream.negotiated_checksum();
    while let Some(raw) = stream.next().await.map_err(failed)? {
        let event = read(raw, &mut checksum).map_err(|error| Fault::new(Code::EventDamaged, error))?;
        teller.hear(&event).map_err(|error| Fault::new(Code::EventDamaged, error))?;
    }
    Ok(teller)
}

fn read(raw: Bytes, checksum: &mut ChecksumAlgorithm) -> Result<Event, String> {
    let header = Header::read(&raw).map_err(|error| error.to_string())?;
    if header.event_type == crate::binlog::EventType::FORMAT_DESCRIPTION {
        let (event, format) = FormatDescription::read(raw).map_err(|error| error.to_string())?;
        *checksum = format.checksum;
        return Ok(event);
    }
    let event = Event::new(raw, *checksum).map_err(|error| error.to_string())?;
    event.verify().map_err(|error| error.to_string())?;
    Ok(event)
}

/// What the rules did to one deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Renamed,
    Unchanged,
    Filtered,
    Policed,
}

/// What the rules did to a deed, with the words for it: asked of the same functions that the route asks.
fn explain(rules: &RuleSet, deed: &Deed) -> (Fate, String) {
    match deed {
        Deed::Rows { database, table, .. } => {
            let decision = rules.decide_table(database, table);
            match &decision.selection {
                Selection::Selected { database: to, name } if (to, name) != (database, table) => {
                    (Fate::Renamed, format!("renamed by {}", decision.by))
                }
                Selection::Selected { .. } => (Fate::Unchanged, format!("selected by {}", decision.by)),
                Selection::NotSelected => (Fate::Filtered, format!("{database}.{table} filtered: {}", decision.by)),
            }
        }
        Deed::Statement { database, sql } => {
            let context = Context {
                default_database: database,
                sql_mode: 0,
                client_collation: 0,
                version: RECORDED_VERSION,
                mariadb: false,
            };
            let statement = analyze(sql.as_bytes(), &context);
            let verdict = judge(rules, &statement, sql.as_bytes(), &context);
            let kind = statement.kind.0;
            match (verdict.action, verdict.word) {
                (Action::Forward, _) if verdict.rewritten.is_some() || verdict.default_database != *database => {
                    (Fate::Renamed, format!("renamed by {}", verdict.rule))
                }
                (Action::Forward, _) => (Fate::Unchanged, format!("passed by {}", verdict.rule)),
                (Action::Skip, Reason::NotSelected | Reason::Excluded) => {
                    (Fate::Filtered, format!("{kind} filtered: {}", verdict.rule))
                }
                (Action::Split, word) => {
                    (Fate::Policed, format!("{kind} split ({word}): only the selected tables go out, renamed"))
                }
                (action, word) => (Fate::Policed, format!("{kind} policed: {action} by {} ({word})", verdict.rule)),
            }
        }
    }
}

fn tell(
    output: &mut impl Write,
    addresses: &Addresses,
    rules: &RuleSet,
    sent: &[Transaction],
    received: &[Transaction],
) -> io::Result<()> {
    let Addresses { source, proxy } = addresses;
    writeln!(output, "A recorded MySQL 5.7 at {source} → replproxy at {proxy} → a replica, all in this process.\n")?;
    writeln!(output, "The route (fixtures/demo/replproxy.toml):")?;
    let rules_begin = CONFIGURATION.find("[[routes.").unwrap_or(0);
    for line in CONFIGURATION[rules_begin..].lines() {
        writeln!(output, "{}", format!("    {line}").trim_end())?;
    }
    writeln!(output, "\nTransaction by transaction ([name] is the session's default database):\n")?;
    let (mut renamed, mut filtered, mut policed) = (0, 0, 0);
    for transaction in sent {
        let arrived = received.iter().find(|arrived| arrived.number == transaction.number);
        let mut label = format!("{:>2} source ", transaction.number);
        for deed in &transaction.deeds {
            line(output, &label, &show(deed))?;
            label = " ".repeat(label.len());
        }
        let deeds = arrived.map(|arrived| arrived.deeds.as_slice()).unwrap_or_default();
        let mut label = "   replica".to_owned();
        if deeds.is_empty() {
            line(output, &label, "nothing (an empty transaction keeps the GTID)")?;
        }
        for deed in deeds {
            line(output, &label, &show(deed))?;
            label = " ".repeat(label.len());
        }
        let mut fates: Vec<(Fate, String)> = transaction.deeds.iter().map(|deed| explain(rules, deed)).collect();
        fates.dedup();
        for (fate, _) in &fates {
            match fate {
                Fate::Renamed => renamed += 1,
                Fate::Filtered => filtered += 1,
                Fate::Policed => policed += 1,
                Fate::Unchanged => {}
            }
        }
        let words: Vec<String> = fates.into_iter().map(|(_, words)| words).collect();
        line(output, "        ↳", &words.join("; "))?;
    }
    writeln!(
        output,
        "\n{} transactions left the source, {} arrived, none of their GTIDs is missing: {renamed} renamed, {filtered} \
         filtered, {policed} policed.",
        sent.len(),
        received.len()
    )?;
    writeln!(output, "Next: write a configuration (README.md), `replproxy check`, `replproxy run`.")
}

fn show(deed: &Deed) -> String {
    match deed {
        Deed::Statement { database, sql } => format!("[{database}] {sql}"),
        Deed::Rows { database, table, text } => {
            let (verb, values) = text.split_once(' ').unwrap_or((text, ""));
            format!("{verb} {database}.{table} {values}")
        }
    }
}

fn line(output: &mut impl Write, label: &str, text: &str) -> io::Result<()> {
    let text: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let room = LINE_WIDTH.saturating_sub(label.chars().count() + 1);
    match text.char_indices().nth(room) {
        Some((cut, _)) => writeln!(output, "{label} {}…", &text[..cut]),
        None => writeln!(output, "{label} {text}"),
    }
}
