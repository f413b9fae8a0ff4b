//! `[sources.X]`.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::fault::Code;
use crate::source::{Endpoint, TlsMode};

use super::problem::Problems;
use super::section::Section;
use super::{Purpose, Surroundings, name_problem, secrets};

/// MySQL's port where the file names none.
const DEFAULT_PORT: u16 = 3306;
/// Long enough for a far server under load, short enough that a replica's retry sees the reason.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// `[sources.X]`. Two sources are equal if a reload need not touch what is connected to them.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Where it is and how to log in.
    pub endpoint: Endpoint,
    /// Further servers with the same data and the same login, in the order in which they are tried.
    pub failover: Vec<Endpoint>,
}

impl Source {
    /// All servers in the order in which they are tried: `host` first, then `failover`.
    pub fn servers(&self) -> impl Iterator<Item = &Endpoint> {
        std::iter::once(&self.endpoint).chain(&self.failover)
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (&self.endpoint, &other.endpoint);
        self.name == other.name
            && one.host == two.host
            && one.port == two.port
            && one.user == two.user
            && one.password.expose() == two.password.expose()
            && one.tls == two.tls
            && one.tls_ca == two.tls_ca
            && one.tls_cert == two.tls_cert
            && one.tls_key == two.tls_key
            && one.connect_timeout == two.connect_timeout
            && self.servers().map(Endpoint::address).eq(other.servers().map(Endpoint::address))
    }
}

/// All sources in the order of the file; `None` for one that is there and wrong.
pub(super) fn read_all(
    root: &mut Section<'_, '_>,
    surroundings: &Surroundings<'_>,
    problems: &mut Problems<'_>,
) -> Vec<(String, Option<Source>)> {
    let mut sources = Vec::new();
    for (name, section) in root.tables("sources", problems) {
        if let Some(problem) = name_problem("the source", &name.value) {
            problems.report(name.span, problem);
        }
        let source = read(name.value.clone(), section, &surroundings.of_source(&name.value), problems);
        sources.push((name.value, source));
    }
    sources
}

fn read(
    name: String,
    mut section: Section<'_, '_>,
    surroundings: &Surroundings<'_>,
    problems: &mut Problems<'_>,
) -> Option<Source> {
    let before = problems.count();
    let host = section.required_text("host", problems);
    if let Some(host) = &host
        && host.value.chars().any(|character| character.is_whitespace() || character == '/')
    {
        problems.report(host.span.clone(), format!("`host` is {:?}, which is no name or address", host.value));
    }
    let port = section.number("port", 1..=65535, problems);
    let user = section.required_text("user", problems);
    let password = secrets::read(&mut section, surroundings, problems);
    let tls = section.word(
        "tls",
        &[
            ("disabled", TlsMode::Disabled),
            ("preferred", TlsMode::Preferred),
            ("required", TlsMode::Required),
            ("verify-ca", TlsMode::VerifyCa),
            ("verify-identity", TlsMode::VerifyIdentity),
        ],
        &[],
        problems,
    );
    let tls_ca = file(&mut section, "tls_ca", surroundings, problems);
    let (tls_cert, tls_key) = certificate(&mut section, surroundings, problems);
    let connect_timeout =
        section.duration("connect_timeout", Duration::from_millis(1)..=Duration::from_secs(3600), problems);
    let port = port.map_or(DEFAULT_PORT, |port| u16::try_from(port.value).unwrap_or(DEFAULT_PORT));
    let others = others(&mut section, port, problems);
    section.finish(problems);
    let endpoint = Endpoint {
        host: host?.value,
        port,
        user: user?.value,
        password: password?,
        tls: tls.unwrap_or_default(),
        tls_ca,
        tls_cert,
        tls_key,
        connect_timeout: connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
    };
    let mut failover: Vec<Endpoint> = Vec::new();
    for (span, host, port) in others {
        let server = Endpoint { host, port, ..endpoint.clone() };
        if std::iter::once(&endpoint).chain(&failover).any(|known| known.address() == server.address()) {
            problems.report(span, format!("{} is named twice", server.address()));
        }
        failover.push(server);
    }
    (problems.count() == before).then_some(Source { name, endpoint, failover })
}

/// `failover`: servers as `host`, `host:port` or `[address]:port`, each with its place in the text. Without a port it is the
/// source's own.
fn others(
    section: &mut Section<'_, '_>,
    default_port: u16,
    problems: &mut Problems<'_>,
) -> Vec<(Range<usize>, String, u16)> {
    let mut others = Vec::new();
    for text in section.texts("failover", problems) {
        match host_and_port(&text.value, default_port) {
            Some((host, port)) => others.push((text.span, host, port)),
            None => problems.report(
                text.span,
                format!("{:?} in `failover` is no server such as \"db2\" or \"db2:3306\"", text.value),
            ),
        }
    }
    others
}

fn host_and_port(text: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
            (address.parse::<std::net::Ipv6Addr>().ok()?.to_string(), port)
        }
        // More than one colon is an IPv6 address without brackets.
        None if text.matches(':').count() > 1 => (text.parse::<std::net::Ipv6Addr>().ok()?.to_string(), None),
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|&port| port != 0)?,
        None => default_port,
    };
    (!host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/')).then_some((host, port))
}

/// A file that has to be there when it is needed.
pub(super) fn file(
    section: &mut Section<'_, '_>,
    key: &'static str,
    surroundings: &Surroundings<'_>,
    problems: &mut Problems<'_>,
) -> Option<PathBuf> {
    let text = section.text(key, problems)?;
    let path = surroundings.path(&text.value);
    if surroundings.purpose == Purpose::Serve
        && let Err(error) = std::fs::File::open(&path)
    {
        problems.report_as(
            Code::ConfigurationUnreadable,
            text.span,
            format!("the file {} of `{key}` cannot be read: {error}", path.display()),
        );
        return None;
    }
    Some(path)
}

/// `tls_cert` and `tls_key`, which come together.
pub(super) fn certificate(
    section: &mut Section<'_, '_>,
    surroundings: &Surroundings<'_>,
    problems: &mut Problems<'_>,
) -> (Option<PathBuf>, Option<PathBuf>) {
    let spans =
        (section.value("tls_cert").map(|value| value.span()), section.value("tls_key").map(|value| value.span()));
    match spans {
        (Some(span), None) => problems.report(span, format!("{} has `tls_cert` and no `tls_key`", section.name)),
        (None, Some(span)) => problems.report(span, format!("{} has `tls_key` and no `tls_cert`", section.name)),
        _ => {}
    }
    (file(section, "tls_cert", surroundings, problems), file(section, "tls_key", surroundings, problems))
}
