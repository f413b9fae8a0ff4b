//! The configuration file: TOML in, typed values out, every mistake at its line and column, all at once.
//!
//! `REFERENCE.md` beside this file documents every key. A route's rules come out as a [`RuleSet`], so that the core never
//! sees TOML. Relative paths are relative to the folder of the configuration file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::pipeline::rules::RuleSet;
use crate::secret::Secret;
use crate::source::Endpoint;

mod problem;
mod proxy;
mod route;
mod rules;
mod secrets;
mod section;
mod source;

pub use problem::{ConfigErrors, Problem};
pub use route::{ReplicaProfile, RouteTls, RouteTlsMode};
pub use source::Source;

use problem::Problems;
use section::Section;

/// The largest configuration file that is read, in bytes. Thousands of routes fit.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// The server id that a file which is only used offline gets where it names none.
const OFFLINE_SERVER_ID: u32 = 4_000_001;

/// `[proxy]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The first of the block of server ids that the proxy registers with.
    pub server_id: u32,
    /// How many ids the block has.
    pub server_ids: u32,
    /// The folder for caches and the little that cannot be derived from the source.
    pub state_dir: Option<PathBuf>,
    /// Where metrics, status and health are served.
    pub admin: Option<SocketAddr>,
}

/// `[routes.X]`. Two routes are equal if a reload need not touch them.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// The name of its source, which exists.
    pub source: String,
    /// Where its replicas attach.
    pub listen: SocketAddr,
    /// The account that replicas present.
    pub user: String,
    /// Its password; may be empty.
    pub password: Secret,
    /// TLS towards replicas.
    pub tls: RouteTls,
    /// Which dialect replicas are spoken to in.
    pub replica: ReplicaProfile,
    /// Selection, renames, policy and excluded origins.
    pub rules: RuleSet,
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.source == other.source
            && self.listen == other.listen
            && self.user == other.user
            && self.password.expose() == other.password.expose()
            && self.tls == other.tls
            && self.replica == other.replica
            && self.rules == other.rules
    }
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// `[proxy]`.
    pub proxy: Proxy,
    /// `[sources.X]` by name.
    pub sources: BTreeMap<String, Source>,
    /// `[routes.X]` by name.
    pub routes: BTreeMap<String, Route>,
}

/// What a configuration is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To talk to servers: secrets are fetched, files have to be there, `server_id` has to be given.
    Serve,
    /// To look at rules only: no secret is fetched and no other file is opened.
    Offline,
}

/// What the reader of a section needs besides the section.
#[derive(Clone)]
struct Surroundings<'s> {
    purpose: Purpose,
    /// The configuration file's folder.
    folder: PathBuf,
    environment: &'s dyn Fn(&str) -> Option<String>,
    /// The only route, and its source, whose secrets and files are needed; `None`: all of them.
    only: Option<(String, Option<String>)>,
}

impl Surroundings<'_> {
    /// A path of the configuration, relative to the configuration file.
    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The surroundings of a section that is needed, or only looked at.
    fn when(&self, needed: bool) -> Self {
        Self { purpose: if needed { self.purpose } else { Purpose::Offline }, ..self.clone() }
    }

    fn of_source(&self, name: &str) -> Self {
        self.when(self.only.as_ref().is_none_or(|(_, source)| source.as_deref() == Some(name)))
    }

    fn of_route(&self, name: &str) -> Self {
        self.when(self.only.as_ref().is_none_or(|(route, _)| route == name))
    }
}

impl Config {
    /// Reads a file to talk to servers with: secrets are fetched from environment and files, and files have to be there.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::read(path, Purpose::Serve, None)
    }

    /// The same for one route: of the others and their sources no secret is fetched and no file is opened.
    pub fn load_for_route(path: &Path, route: &str) -> Result<Self, ConfigErrors> {
        Self::read(path, Purpose::Serve, Some(route))
    }

    /// Reads a file for commands that need no server (`explain`, `rewrite`): passwords stay empty, `server_id` may be missing.
    pub fn load_offline(path: &Path) -> Result<Self, ConfigErrors> {
        Self::read(path, Purpose::Offline, None)
    }

    fn read(path: &Path, purpose: Purpose, only: Option<&str>) -> Result<Self, ConfigErrors> {
        let bytes = read_limited(path).map_err(|error| ConfigErrors::unreadable(path, &error))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            let text = String::from_utf8_lossy(&bytes[..good]).into_owned();
            let mut problems = Problems::new(&text);
            problems.report(good..good, "the file is not UTF-8 here");
            problems.into_errors(path)
        })?;
        Self::parse(&text, path, (purpose, only), &|name| std::env::var(name).ok())
    }

    fn parse(
        text: &str,
        path: &Path,
        (purpose, only): (Purpose, Option<&str>),
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let mut problems = Problems::new(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            problems.report_syntax(error.span(), error.message());
        }
        let only = only.map(|route| (route.to_owned(), source_named_by(document.get_ref(), route)));
        let surroundings = Surroundings { purpose, folder, environment, only };
        let mut root = Section::new(document.get_ref(), String::new(), 0..0);
        let proxy = proxy::read(&mut root, &surroundings, &mut problems);
        let sources = source::read_all(&mut root, &surroundings, &mut problems);
        let routes = route::read_all(&mut root, &surroundings, &sources, proxy.as_ref(), &mut problems);
        root.finish(&mut problems);
        match (proxy, problems.is_empty()) {
            (Some(proxy), true) => Ok(Self {
                path: path.to_owned(),
                proxy,
                sources: sources.into_iter().filter_map(|(name, source)| Some((name, source?))).collect(),
                routes: routes.into_iter().map(|route| (route.name.clone(), route)).collect(),
            }),
            _ => Err(problems.into_errors(path)),
        }
    }

    /// Where and how the source of a route is reached.
    pub fn source_of(&self, route: &Route) -> Option<&Endpoint> {
        self.sources.get(&route.source).map(|source| &source.endpoint)
    }
}

/// The source that a route names, before anything is checked.
fn source_named_by(document: &DeTable<'_>, route: &str) -> Option<String> {
    let route = document.get("routes")?.get_ref().as_table()?.get(route)?.get_ref().as_table()?;
    route.get("source")?.get_ref().as_str().map(str::to_owned)
}

/// The file's bytes, unless it is larger than a configuration can be.
fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Whether a name of a source or route can be a label in logs and metrics.
fn name_problem(what: &str, name: &str) -> Option<String> {
    let fits = !name.is_empty()
        && name.len() <= 64
        && name.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.'));
    (!fits).then(|| format!("{what} {name:?} has a name that is not 1 to 64 letters, digits, `_`, `-` and `.`"))
}
