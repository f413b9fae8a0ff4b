//! `[routes.X]`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::pipeline::policy::Choice;
use crate::pipeline::rules::ExcludedOrigin;

use super::problem::Problems;
use super::section::{Placed, Section, number_of, wrong_type};
use super::source::certificate;
use super::{Proxy, Purpose, Route, Source, Surroundings, name_problem, proxy, rules, secrets};

/// What a listener asks of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteTlsMode {
    /// Not offered.
    Disabled,
    /// Offered.
    #[default]
    Preferred,
    /// A login without it is refused.
    Required,
}

/// `tls`, `tls_cert` and `tls_key` of a route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteTls {
    /// What is asked.
    pub mode: RouteTlsMode,
    /// PEM file with the certificate chain; `None`: one is made at first start.
    pub cert: Option<PathBuf>,
    /// PEM file with the key of `cert`.
    pub key: Option<PathBuf>,
}

/// The dialect in which replicas of a route are spoken to. Read and checked; the proxy does not translate between dialects yet, and
/// says at the start that another one than `Auto` has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplicaProfile {
    /// What each replica says it is.
    #[default]
    Auto,
    /// A MySQL server of this major and minor version.
    MySql(u8, u8),
    /// A MariaDB server of this major and minor version.
    MariaDb(u8, u8),
}

pub(super) fn read_all(
    root: &mut Section<'_, '_>,
    surroundings: &Surroundings<'_>,
    sources: &[(String, Option<Source>)],
    proxy: Option<&Proxy>,
    problems: &mut Problems<'_>,
) -> Vec<Route> {
    let mut routes = Vec::new();
    let mut listeners: Vec<(String, SocketAddr)> = Vec::new();
    listeners.extend(proxy.and_then(|proxy| proxy.admin).map(|admin| ("`admin` in [proxy]".to_owned(), admin)));
    for (name, section) in root.tables("routes", problems) {
        if let Some(problem) = name_problem("the route", &name.value) {
            problems.report(name.span.clone(), problem);
        }
        let label = section.name.clone();
        let before = problems.count();
        let surroundings = surroundings.of_route(&name.value);
        let (listen, route) = read(name.value, section, &surroundings, sources, proxy, problems);
        if let Some(listen) = listen {
            let taken = listeners.iter().find(|(_, other)| overlap(*other, listen.value));
            if let Some((who, other)) = taken {
                let message = if *other == listen.value {
                    format!("`listen` {} is taken by {who}", listen.value)
                } else {
                    format!("`listen` {} overlaps {other} of {who}", listen.value)
                };
                problems.report(listen.span, message);
            }
            listeners.push((label, listen.value));
        }
        if problems.count() == before {
            routes.extend(route);
        }
    }
    routes
}

/// Whether two listeners cannot both be opened. Port 0 is a new port each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = |address: SocketAddr| address.ip().is_unspecified();
    // `[::]` takes the IPv4 addresses too, where the system does not say otherwise.
    let both_families = |address: SocketAddr| matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified());
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip()
            || both_families(one)
            || both_families(other)
            || (one.is_ipv4() == other.is_ipv4() && (everywhere(one) || everywhere(other))))
}

fn read(
    name: String,
    mut section: Section<'_, '_>,
    surroundings: &Surroundings<'_>,
    sources: &[(String, Option<Source>)],
    proxy: Option<&Proxy>,
    problems: &mut Problems<'_>,
) -> (Option<Placed<SocketAddr>>, Option<Route>) {
    let source = section.required_text("source", problems);
    if let Some(source) = &source
        && !sources.iter().any(|(name, _)| *name == source.value)
        && !problems.damaged
    {
        let names: Vec<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
        let there =
            if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
        problems
            .report(source.span.clone(), format!("`source` is {:?}, which is no [sources.…]: {there}", source.value));
    }
    let listen = section.required_text("listen", problems).and_then(|text| proxy::address("listen", &text, problems));
    let user = section.required_text("user", problems);
    let password = secrets::read(&mut section, surroundings, problems);
    let mode = section.word(
        "tls",
        &[
            ("disabled", RouteTlsMode::Disabled),
            ("preferred", RouteTlsMode::Preferred),
            ("required", RouteTlsMode::Required),
        ],
        &[],
        problems,
    );
    let (cert, key) = certificate(&mut section, surroundings, problems);
    let replica = section.text("replica", problems).and_then(|text| profile(&text, problems));
    let origins = exclude_origins(&mut section, problems);
    let rules = rules::read(&mut section, origins, problems);
    let follows = rules.as_ref().is_some_and(|rules| rules.policy().rename_out == Choice::Follow);
    if follows && surroundings.purpose == Purpose::Serve && proxy.is_some_and(|proxy| proxy.state_dir.is_none()) {
        problems.report_missing(
            section.span.clone(),
            format!(
                "{} has `rename_out = \"follow\"`, and [proxy] has no `state_dir`: the names that the selection learns cannot be derived from the \
                 source, so they need a folder to be kept in",
                section.name
            ),
        );
    }
    let has_failover = source.as_ref().is_some_and(|name| {
        sources
            .iter()
            .flat_map(|(_, source)| source)
            .any(|source| source.name == name.value && !source.failover.is_empty())
    });
    if has_failover && rules.as_ref().is_some_and(|rules| rules.learns()) {
        problems.report_missing(
            section.span.clone(),
            format!(
                "{} has `rename_out = \"follow\"` or `online_ddl = \"fold\"`, and its source has a `failover` list: what the selection learns is \
                 kept by places in the log of one server; take one of both away",
                section.name
            ),
        );
    }
    section.finish(problems);
    let route = (|| {
        Some(Route {
            name,
            source: source?.value,
            listen: listen.as_ref()?.value,
            user: user?.value,
            password: password?,
            tls: RouteTls { mode: mode.unwrap_or_default(), cert, key },
            replica: replica.unwrap_or_default(),
            rules: rules?,
        })
    })();
    (listen, route)
}

/// `auto`, `mysql-5.6`, `mariadb-10.11`.
fn profile(text: &Placed<String>, problems: &mut Problems<'_>) -> Option<ReplicaProfile> {
    let version = |version: &str| {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse::<u8>().ok()?, minor.parse::<u8>().ok()?))
    };
    let parsed = match text.value.split_once('-') {
        None if text.value == "auto" => Some(ReplicaProfile::Auto),
        Some(("mysql", number)) => version(number)
            .filter(|version| ((5, 1)..=(5, 7)).contains(version) || ((8, 0)..(10, 0)).contains(version))
            .map(|(major, minor)| ReplicaProfile::MySql(major, minor)),
        Some(("mariadb", number)) => version(number)
            .filter(|version| ((5, 1)..(13, 0)).contains(version))
            .map(|(major, minor)| ReplicaProfile::MariaDb(major, minor)),
        _ => None,
    };
    if parsed.is_none() {
        problems.report(
            text.span.clone(),
            format!(
                "`replica` is {:?} and has to be \"auto\" or a server and version such as \"mysql-5.6\", \"mysql-9.7\", \"mariadb-10.11\"",
                text.value
            ),
        );
    }
    parsed
}

/// Server ids and server uuids.
fn exclude_origins(section: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Vec<ExcludedOrigin> {
    let mut origins = Vec::new();
    for value in section.array("exclude_origins", problems) {
        if let Some(text) = value.get_ref().as_str() {
            match uuid::Uuid::try_parse(text) {
                Ok(uuid) => origins.push(ExcludedOrigin::ServerUuid(uuid.hyphenated().to_string())),
                Err(_) => problems.report(
                    value.span(),
                    format!("{text:?} in `exclude_origins` is no server uuid such as \"3e11fa47-71ca-11e1-9e33-c80aa9429562\""),
                ),
            }
        } else if value.get_ref().is_integer() {
            if let Some(id) = number_of(value, "exclude_origins", 0..=i64::from(u32::MAX), problems) {
                origins.extend(u32::try_from(id.value).ok().map(ExcludedOrigin::ServerId));
            }
        } else {
            problems.report(value.span(), wrong_type("exclude_origins", "server ids and server uuids", value));
        }
    }
    origins
}
