//! The running process: its listeners by address, its routes by name, and how a reload changes them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::listener::{accept_all, bind};
use crate::admin;
use crate::config::{Config, ReplicaProfile, Route, RouteTlsMode, Source};
use crate::fault::{Code, Fault};
use crate::relay::{Identities, Partials, RouteBackend, RouteJournal};
use crate::replica::{Limits, Listener, ListenerConfig, Registry, ServerTls, serve_connection};
use crate::source::Endpoint;
use crate::status::{RouteFacts, RouteStatus, Status, replicas_of, sources_of, time_text};
use crate::telemetry::{Escaped, RouteTelemetry, names};

/// After this long the process ends whatever its sessions do. A session has some seconds for its transaction; the
/// rest is for a client that does not read what is written to it.
const END_LIMIT: Duration = Duration::from_secs(8);

/// A client waits for the greeting; who has left before this time never wanted one.
const PROBE_PAUSE: Duration = Duration::from_millis(10);

/// What a connection to one address meets: a route in one version of its configuration.
struct Door {
    route: Route,
    source: Source,
    /// The block of server ids in force: another block makes every backend another one.
    identities: Arc<Identities>,
    listener: Arc<Listener>,
    backend: Arc<RouteBackend>,
    journal: Arc<RouteJournal>,
    partials: Arc<Partials>,
    telemetry: Arc<RouteTelemetry>,
    /// Ends the sessions of this version of the route.
    ending: Arc<watch::Sender<bool>>,
}

struct RunningListener {
    door: Arc<ArcSwap<Door>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

struct RunningAdmin {
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

struct State {
    config: Config,
    /// The block of server ids of `config`.
    identities: Arc<Identities>,
    configured_at: SystemTime,
    reload_error: Option<String>,
    listeners: BTreeMap<SocketAddr, RunningListener>,
    admin: Option<RunningAdmin>,
    /// Listeners that were told to stop and whose sessions may still be ending.
    retiring: Vec<JoinHandle<()>>,
    ending: bool,
}

/// The running process.
pub(super) struct Process {
    started_at: SystemTime,
    started: Instant,
    registry: Arc<Registry>,
    metrics: PrometheusHandle,
    state: Mutex<State>,
}

impl Process {
    /// Binds every address of the configuration and begins to serve.
    pub(super) fn start(config: Config, metrics: PrometheusHandle) -> Result<Arc<Self>, Fault> {
        let started_at = SystemTime::now();
        names::describe();
        let since_epoch = started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        gauge!(names::START_TIME).set(since_epoch.as_secs_f64());
        gauge!(names::BUILD_INFO, names::LABEL_VERSION => env!("CARGO_PKG_VERSION")).set(1.0);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), configuration = %config.path.display(), "replproxy starts");
        let state = State {
            config: Config { sources: BTreeMap::new(), routes: BTreeMap::new(), ..config.clone() },
            identities: Identities::new(config.proxy.server_id, config.proxy.server_ids),
            configured_at: started_at,
            reload_error: None,
            listeners: BTreeMap::new(),
            admin: None,
            retiring: Vec::new(),
            ending: false,
        };
        let process = Arc::new(Self {
            started_at,
            started: Instant::now(),
            registry: Registry::new(),
            metrics,
            state: Mutex::new(state),
        });
        process.apply(config)?;
        Ok(process)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the configuration again. A bad one changes nothing and is logged and shown in the status.
    pub(super) fn reload(self: &Arc<Self>) {
        let path = self.state().config.path.clone();
        tracing::info!(configuration = %path.display(), "reloading");
        let reloaded = Config::load(&path).map_err(Fault::from).and_then(|config| self.apply(config));
        let result = match reloaded {
            Ok(()) => {
                self.state().reload_error = None;
                "applied"
            }
            Err(fault) => {
                tracing::error!(code = %fault.code, "the old configuration stays: {fault}");
                self.state().reload_error = Some(fault.to_string());
                "kept"
            }
        };
        counter!(names::RELOADS, names::LABEL_RESULT => result).increment(1);
    }

    /// Makes the configuration the one in force: everything that can fail comes first, so that an error changes nothing.
    fn apply(self: &Arc<Self>, config: Config) -> Result<(), Fault> {
        let mut state = self.state();
        let block = (config.proxy.server_id, config.proxy.server_ids);
        let same_block = block == (state.config.proxy.server_id, state.config.proxy.server_ids);
        let identities = if same_block { Arc::clone(&state.identities) } else { Identities::new(block.0, block.1) };
        let mut bound: Vec<(SocketAddr, TcpListener)> = Vec::new();
        let mut doors: BTreeMap<SocketAddr, Door> = BTreeMap::new();
        for route in config.routes.values() {
            let Some(source) = config.sources.get(&route.source) else { continue };
            if !state.listeners.contains_key(&route.listen) {
                bound.push((route.listen, bind(&format!("route {:?}", route.name), route.listen)?));
            }
            doors.insert(route.listen, self.door(&state, &identities, &config, route, source)?);
        }
        let admin = match config.proxy.admin {
            Some(address) if state.admin.as_ref().is_none_or(|admin| admin.address != address) => {
                Some((address, bind("`admin` in [proxy]", address)?))
            }
            _ => None,
        };

        self.registry.ends_for_a_reload(true);
        state.retiring.retain(|task| !task.is_finished());
        let gone: Vec<SocketAddr> =
            state.listeners.keys().filter(|address| !doors.contains_key(address)).copied().collect();
        for address in gone {
            if let Some(listener) = state.listeners.remove(&address) {
                let door = listener.door.load();
                tracing::info!(route = %door.route.name, %address, "no longer listening");
                door.ending.send_replace(true);
                listener.stop.send_replace(true);
                state.retiring.push(listener.task);
            }
        }
        let mut bound: BTreeMap<SocketAddr, TcpListener> = bound.into_iter().collect();
        for (address, door) in doors {
            announce(&door, state.listeners.get(&address).map(|listener| listener.door.load_full()).as_deref());
            match (bound.remove(&address), state.listeners.get(&address)) {
                (Some(socket), _) => {
                    let running = self.listen(socket, door);
                    state.listeners.insert(address, running);
                }
                (None, Some(listener)) => {
                    let old = listener.door.swap(Arc::new(door));
                    // The same switch was carried over where the route did not change.
                    if !Arc::ptr_eq(&old.ending, &listener.door.load().ending) {
                        listener.door.load().telemetry.reconfigured();
                        old.ending.send_replace(true);
                    }
                }
                (None, None) => {}
            }
        }
        if let Some(old) = state.admin.take_if(|admin| config.proxy.admin != Some(admin.address)) {
            old.stop.send_replace(true);
        }
        if let Some((address, socket)) = admin {
            state.admin = Some(self.serve_admin(address, socket));
        } else if config.proxy.admin.is_none() {
            tracing::info!("no admin listener: `admin` in [proxy] is not set");
        }
        state.config = config;
        state.identities = identities;
        state.configured_at = SystemTime::now();
        Ok(())
    }

    /// The door of a route: with the old backend and switch where nothing about it has changed.
    fn door(
        &self,
        state: &State,
        identities: &Arc<Identities>,
        config: &Config,
        route: &Route,
        source: &Source,
    ) -> Result<Door, Fault> {
        let doors: Vec<Arc<Door>> = state.listeners.values().map(|listener| listener.door.load_full()).collect();
        let same = doors
            .iter()
            .find(|old| old.route == *route && old.source == *source && Arc::ptr_eq(&old.identities, identities));
        let before = doors.iter().find(|old| old.route.name == route.name);
        let telemetry = before.map(|old| Arc::clone(&old.telemetry));
        let telemetry = telemetry.unwrap_or_else(|| RouteTelemetry::new(&route.name));
        // A replica may come back from the rules before a reload.
        let partials = before.map(|old| Arc::clone(&old.partials)).unwrap_or_default();
        let (backend, journal, ending) = match same {
            Some(same) => (Arc::clone(&same.backend), Arc::clone(&same.journal), Arc::clone(&same.ending)),
            None => {
                // Only a route that learns has something to keep.
                let folder = config.proxy.state_dir.as_deref().filter(|_| route.rules.learns());
                // Streams under the rules before a reload go on learning until they end, so both have one journal.
                let journal = match before
                    .filter(|old| old.journal.is_in(folder) && (folder.is_some() || old.source == *source))
                {
                    Some(old) => Arc::clone(&old.journal),
                    None => {
                        let journal = RouteJournal::open(folder, &telemetry)?;
                        let emptied = |old: &&Arc<Door>| old.source == *source && !old.journal.is_empty();
                        if folder.is_some() && journal.is_empty() && before.filter(emptied).is_some() {
                            let message = format!(
                                "route `{0}` remembers renamed tables or online schema changes, and the new state_dir knows nothing of them: copy \
                                 learned-{0}.json and learned-{0}.count to it from the old one; where there was none, restart when no change is under way",
                                route.name
                            );
                            return Err(Fault::new(Code::FileUnreadable, message));
                        }
                        Arc::new(journal)
                    }
                };
                let backend = RouteBackend::new(
                    source.name.clone(),
                    source.servers().cloned().collect(),
                    Arc::new(route.rules.clone()),
                    Arc::clone(identities),
                    Arc::clone(&telemetry),
                    Arc::clone(&journal),
                    Arc::clone(&partials),
                );
                (Arc::new(backend), journal, Arc::new(watch::Sender::new(false)))
            }
        };
        let listener = match same {
            // The files of a certificate are read again; one that was made stays.
            Some(same) if route.tls.cert.is_none() => Arc::clone(&same.listener),
            _ => {
                let config = ListenerConfig {
                    name: route.name.clone(),
                    user: route.user.clone(),
                    password: route.password.clone(),
                    tls: server_tls(route, config.proxy.state_dir.as_deref())?,
                    transparent: route.rules.is_transparent(),
                    limits: Limits::default(),
                };
                let registry = Arc::clone(&self.registry);
                Listener::new(config, Arc::clone(&backend) as _, registry, Arc::clone(&telemetry))
            }
        };
        Ok(Door {
            route: route.clone(),
            source: source.clone(),
            identities: Arc::clone(identities),
            listener,
            backend,
            journal,
            partials,
            telemetry,
            ending,
        })
    }

    fn listen(self: &Arc<Self>, socket: TcpListener, door: Door) -> RunningListener {
        let owner = door.route.name.clone();
        let door = Arc::new(ArcSwap::from_pointee(door));
        let (stop, stopped) = watch::channel(false);
        let entry = Arc::clone(&door);
        let task = tokio::spawn(accept_all(socket, owner, stopped, move |socket, peer| {
            let door = entry.load_full();
            async move {
                if is_probe(&socket).await {
                    return;
                }
                serve_connection(socket, peer, Arc::clone(&door.listener), door.ending.subscribe()).await;
            }
        }));
        RunningListener { door, stop, task }
    }

    fn serve_admin(self: &Arc<Self>, address: SocketAddr, socket: TcpListener) -> RunningAdmin {
        tracing::info!("admin on http://{address}: /status /metrics /healthz /readyz");
        let (stop, mut stopped) = watch::channel(false);
        let shutdown = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let serving = admin::serve(socket, Arc::clone(self) as _, self.metrics.clone(), shutdown);
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the admin listener failed");
            }
        });
        RunningAdmin { address, stop }
    }

    /// Ends every session at a transaction's boundary, or after a limit wherever it is.
    pub(super) async fn end(&self) {
        let tasks = {
            let mut state = self.state();
            state.ending = true;
            self.registry.ends_for_a_reload(false);
            let listeners = std::mem::take(&mut state.listeners);
            let mut tasks = std::mem::take(&mut state.retiring);
            for listener in listeners.into_values() {
                listener.stop.send_replace(true);
                listener.door.load().ending.send_replace(true);
                tasks.push(listener.task);
            }
            tasks
        };
        let all = async {
            for task in tasks {
                // A task that panicked has ended too.
                let _ = task.await;
            }
        };
        if tokio::time::timeout(END_LIMIT, all).await.is_err() {
            tracing::warn!(limit = ?END_LIMIT, "some clients did not let their sessions end: they are cut");
        }
    }
}

/// Health checks of load balancers connect and close. They are no reason to ask the source for a greeting.
async fn is_probe(socket: &TcpStream) -> bool {
    matches!(tokio::time::timeout(PROBE_PAUSE, socket.peek(&mut [0])).await, Ok(Ok(0) | Err(_)))
}

fn server_tls(route: &Route, state_dir: Option<&Path>) -> Result<ServerTls, Fault> {
    let required = route.tls.mode == RouteTlsMode::Required;
    match (route.tls.mode, &route.tls.cert, &route.tls.key) {
        (RouteTlsMode::Disabled, ..) => Ok(ServerTls::disabled()),
        (_, Some(cert), Some(key)) => ServerTls::from_files(cert, key, required),
        _ => ServerTls::generated(state_dir, required),
    }
}

/// The first half of the rules' fingerprint: what names of served files carry.
fn fingerprint(route: &Route) -> String {
    route.rules.fingerprint()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One line for each route at the start, and one for each that a reload changes.
fn announce(door: &Door, old: Option<&Door>) {
    if old.is_some_and(|old| Arc::ptr_eq(&old.ending, &door.ending)) {
        return;
    }
    tracing::info!(
        route = %door.route.name,
        source = %door.source.name,
        "{} → listening on {}, rules {}{}",
        Escaped(&door.source.endpoint.address()),
        door.route.listen,
        fingerprint(&door.route),
        if door.route.rules.is_transparent() { " (transparent)" } else { "" },
    );
    if door.route.replica != ReplicaProfile::Auto {
        tracing::warn!(route = %door.route.name, "`replica` has no effect yet: streams go out in the dialect in which they come");
    }
}

impl admin::Observed for Process {
    fn status(&self) -> Status {
        let state = self.state();
        let mut routes = Vec::new();
        let mut replicas = Vec::new();
        let (mut contacts, mut troubles) = (BTreeMap::new(), BTreeMap::new());
        let mut doors: Vec<Arc<Door>> = state.listeners.values().map(|listener| listener.door.load_full()).collect();
        doors.sort_by(|one, other| one.route.name.cmp(&other.route.name));
        for door in doors {
            let picture = door.telemetry.picture();
            if let Some(trouble) = &picture.source_trouble {
                let newest = troubles.entry(door.source.name.clone()).or_insert_with(|| trouble.clone());
                newest.since = newest.since.min(trouble.since);
                if newest.at < trouble.at {
                    (newest.at, newest.fault) = (trouble.at, trouble.fault.clone());
                }
            }
            if let Some(contact) = &picture.source {
                let newest = contacts.entry(door.source.name.clone()).or_insert_with(|| contact.clone());
                if newest.at < contact.at {
                    *newest = contact.clone();
                }
            }
            replicas.extend(replicas_of(&door.route.name, &picture));
            let facts = RouteFacts {
                name: door.route.name.clone(),
                source: door.source.name.clone(),
                listen: door.route.listen.to_string(),
                rules_fingerprint: fingerprint(&door.route),
                transparent: door.route.rules.is_transparent(),
            };
            routes.push(RouteStatus::new(facts, &picture));
        }
        let endpoints = state.config.sources.iter();
        let endpoints =
            endpoints.map(|(name, source)| (name.clone(), source.servers().map(Endpoint::address).collect())).collect();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: time_text(self.started_at),
            uptime_seconds: self.started.elapsed().as_secs(),
            configuration: state.config.path.display().to_string(),
            configured_at: time_text(state.configured_at),
            reload_error: state.reload_error.clone(),
            healthy: routes.iter().all(|route| route.healthy),
            routes,
            sources: sources_of(&endpoints, &contacts, &troubles),
            replicas,
        }
    }

    fn ready(&self) -> bool {
        !self.state().ending
    }
}
