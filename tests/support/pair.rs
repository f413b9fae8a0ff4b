//! A source, the proxy and a replica, set up for one route.

use super::compare::{Mapping, differences, quote};
use super::fleet::{Unavailable, Version};
use super::link::Link;
use super::process::free_port;
use super::proxy::Proxy;
use super::replica::{Start, Upstream};
use super::server::{Server, ServerOptions};
use std::time::Duration;

/// How the replica keeps its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By file and position, without GTIDs.
    FilePosition,
    /// By MySQL's auto-position.
    AutoPosition,
    /// By MariaDB's GTID position.
    MariadbGtid,
}

/// What the route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Everything as it comes.
    Transparent,
    /// The same selection as `Renamed` without new names.
    Filtered,
    /// A renamed database, a renamed table of another one, an exclusion; statements outside the list are skipped.
    Renamed,
    /// The same with names that are longer than at the source, in every mode.
    Growing,
}

/// The networks around the proxy.
#[derive(Debug)]
pub(crate) struct Links {
    /// Between the source and the proxy.
    pub(crate) source: Link,
    /// Between the proxy and the replica.
    pub(crate) replica: Link,
}

impl Route {
    /// The name of the workload's `storefront` at the destination.
    pub(crate) fn storefront(self, mode: Mode) -> &'static str {
        match (self, mode) {
            (Route::Transparent | Route::Filtered, _) => "storefront",
            // Without GTIDs the replica stays at the source's positions, so names do not grow.
            (Route::Renamed, Mode::FilePosition) => "shop_cn",
            (Route::Renamed | Route::Growing, _) => "storefront_of_china",
        }
    }

    /// The name of the workload's `crm_main.customers` at the destination.
    fn customers(self, mode: Mode) -> [&'static str; 2] {
        match (self, mode) {
            (Route::Filtered, _) => ["crm_main", "customers"],
            (Route::Renamed, Mode::FilePosition) => ["crm_main", "clients"],
            _ => ["crm of `china`", "clients and customers"],
        }
    }

    /// Where the workload's objects have to be.
    pub(crate) fn mapping(self, mode: Mode) -> Mapping {
        if self == Route::Transparent {
            return Mapping::identity();
        }
        let [database, table] = self.customers(mode);
        Mapping {
            databases: vec![("storefront".to_owned(), self.storefront(mode).to_owned())],
            tables: vec![["crm_main", "customers", database, table].map(str::to_owned)],
            excluded: vec!["storefront.audit_".to_owned()],
            ..Mapping::default()
        }
    }

    /// The part of the configuration that selects and renames.
    fn objects(self, mode: Mode) -> String {
        if self == Route::Transparent {
            return String::new();
        }
        let [database, table] = self.customers(mode);
        let rename = |name: String| match self {
            Route::Filtered => String::new(),
            _ => format!("rename = \"{name}\""),
        };
        format!(
            r#"
            [[routes.pair.objects]]
            database = "storefront"
            {}
            [[routes.pair.objects]]
            table = "crm_main.customers"
            {}
            [[routes.pair.objects]]
            exclude = "storefront.audit_*"
            "#,
            rename(self.storefront(mode).to_owned()),
            rename(format!("{}.{}", quote(database), quote(table))),
        )
    }

    /// What a person creates at the destination beforehand, because CREATE DATABASE is not a supported statement.
    fn preparation(self, mode: Mode) -> String {
        if self == Route::Transparent {
            return String::new();
        }
        let databases = [self.storefront(mode), self.customers(mode)[0]];
        let statements = databases.map(|name| format!("CREATE DATABASE {} CHARACTER SET utf8mb4;", quote(name)));
        format!("SET sql_log_bin = 0; {}", statements.concat())
    }
}

/// What distinguishes one pair from another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Of both servers.
    pub(crate) version: Version,
    /// How the replica keeps its place.
    pub(crate) mode: Mode,
    /// What the route does.
    pub(crate) route: Route,
    /// Whether both connections use TLS.
    pub(crate) tls: bool,
}

impl Kind {
    /// The login at a port, as this pair's connections are.
    pub(crate) fn upstream(self, port: u16) -> Upstream {
        let upstream = Upstream::at(port);
        if self.tls { upstream.with_tls() } else { upstream }
    }
}

impl Start {
    /// What follows from now on.
    pub(crate) async fn at_the_end_of(source: &Server, mode: Mode) -> Start {
        match mode {
            Mode::FilePosition => {
                let (file, position) = source.binlog_end().await;
                Start::At(file, position)
            }
            Mode::AutoPosition => Start::AutoPosition,
            Mode::MariadbGtid => Start::MariadbGtid(source.value("SELECT @@gtid_binlog_pos").await),
        }
    }
}

/// The three of them. The replica is attached and runs.
#[derive(Debug)]
pub(crate) struct Pair {
    /// What it is.
    pub(crate) kind: Kind,
    /// The source.
    pub(crate) source: Server,
    /// The proxy between them.
    pub(crate) proxy: Proxy,
    /// The replica.
    pub(crate) replica: Server,
    /// The port of the route.
    pub(crate) port: u16,
    markers: u32,
}

impl Pair {
    /// Starts all three.
    pub(crate) async fn start(kind: Kind) -> Result<Pair, Unavailable> {
        Pair::start_through(kind, None).await
    }

    /// The same with networks between them that can be harmed.
    pub(crate) async fn start_through(kind: Kind, links: Option<&Links>) -> Result<Pair, Unavailable> {
        Pair::start_with(kind, links, |replica| replica).await
    }

    /// The same with options of the replica's own.
    pub(crate) async fn start_with(
        kind: Kind,
        links: Option<&Links>,
        more: impl FnOnce(ServerOptions) -> ServerOptions,
    ) -> Result<Pair, Unavailable> {
        Pair::start_configured(kind, links, more, "").await
    }

    /// The same with more lines in the proxy's configuration.
    pub(crate) async fn start_under(kind: Kind, addition: &str) -> Result<Pair, Unavailable> {
        Pair::start_configured(kind, None, |replica| replica, addition).await
    }

    async fn start_configured(
        kind: Kind,
        links: Option<&Links>,
        more: impl FnOnce(ServerOptions) -> ServerOptions,
        addition: &str,
    ) -> Result<Pair, Unavailable> {
        let options = || {
            let options = match kind.mode {
                Mode::AutoPosition => ServerOptions::new().gtid(kind.version),
                _ => ServerOptions::new(),
            };
            // LOAD DATA may read any file.
            options.arg("--secure-file-priv=")
        };
        let replica_options = more(options().crash_safe_replica(kind.version));
        let [source, replica] = Server::start_two([kind.version; 2], [options(), replica_options]).await?;
        let port = free_port();
        let source_port = links.map_or(source.port(), |links| links.source.port());
        if let Some(links) = links {
            links.source.lead_to(source.port());
            links.replica.lead_to(port);
        }
        let configuration = configuration(source_port, port, kind) + addition;
        let proxy = Proxy::start(&configuration, &[port]).await;
        let preparation = kind.route.preparation(kind.mode);
        if !preparation.is_empty() {
            replica.script(&preparation).await;
        }
        let upstream = kind.upstream(links.map_or(port, |links| links.replica.port()));
        replica.follow(&upstream, &Start::at_the_end_of(&source, kind.mode).await).await;
        replica.start_replica().await;
        Ok(Pair { kind, source, proxy, replica, port, markers: 0 })
    }

    /// The name of the workload's `storefront` at the replica.
    pub(crate) fn storefront(&self) -> &'static str {
        self.kind.route.storefront(self.kind.mode)
    }

    /// What differs between the source and the replica, with the names as the route maps them.
    pub(crate) async fn assert_equal(&self) {
        let findings = differences(&self.source, &self.replica, &self.kind.route.mapping(self.kind.mode)).await;
        assert!(findings.is_empty(), "{:?}:\n{}", self.kind, findings.join("\n"));
    }

    /// A second proxy with the same configuration, and its port.
    pub(crate) async fn another_proxy(&self, links: &Links) -> (Proxy, u16) {
        let port = free_port();
        (Proxy::start(&configuration(links.source.port(), port, self.kind), &[port]).await, port)
    }

    /// Adds to the proxy's configuration while it runs.
    pub(crate) fn reconfigure(&self, addition: &str) {
        self.proxy.reconfigure(&format!("{}{addition}", configuration(self.source.port(), self.port, self.kind)));
    }

    /// The words that describe the pair's source to the workload.
    pub(crate) fn words(&self) -> [&'static str; 2] {
        [self.kind.version.name(), if self.kind.mode == Mode::AutoPosition { "gtid" } else { "nogtid" }]
    }

    /// Writes a row into the workload's `storefront.marker` at the source and waits until the replica has it.
    pub(crate) async fn catch_up(&mut self, limit: Duration) {
        self.markers += 1;
        self.source.script(&format!("INSERT INTO storefront.marker VALUES ({})", self.markers)).await;
        let query = format!("SELECT MAX(n) FROM {}.marker", quote(self.kind.route.storefront(self.kind.mode)));
        if let Err(error) = self.replica.reaches(&query, &self.markers.to_string(), limit).await {
            panic!("{:?}: {error}", self.kind);
        }
    }
}

/// A configuration with one route, `pair`, at the port.
fn configuration(source_port: u16, port: u16, kind: Kind) -> String {
    let tls = if kind.tls { "required" } else { "disabled" };
    format!(
        r#"
        [proxy]
        server_id = 4000001
        [sources.primary]
        host = "127.0.0.1"
        port = {}
        user = "repl"
        password = "secret"
        tls = "{tls}"
        [routes.pair]
        source = "primary"
        listen = "127.0.0.1:{port}"
        user = "repl"
        password = "secret"
        {}
        "#,
        source_port,
        kind.route.objects(kind.mode)
    )
}
