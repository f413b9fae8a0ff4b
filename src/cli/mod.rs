//! The command line: arguments, help texts and exit statuses. Every command calls one function of its owner's module.
//!
//! Exit status 0: done, nothing wrong. 1: it failed, or it found what it looks for. 2: wrong usage or configuration.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::{Config, Route};
use crate::fault::{Code, Fault};
use crate::telemetry::{Escaped, init_logs};

mod check;
mod decode;
mod demo;
mod explain;
mod rewrite;
mod run;
mod serve;
mod status;

/// Exit status of a command that failed.
const FAILED: u8 = 1;
/// Exit status of wrong usage or configuration.
const USAGE: u8 = 2;

/// replproxy stands between a MySQL or MariaDB source and its replicas: it passes on only the databases and tables that
/// a route selects, under the names that the route gives them, and lets only supported statements through.
///
/// Towards the source it behaves as a replica, towards the replicas as a source: they attach with plain
/// CHANGE REPLICATION SOURCE TO (or CHANGE MASTER TO).
#[derive(Debug, Parser)]
#[command(name = "replproxy", version, about, long_about, verbatim_doc_comment, disable_help_subcommand = true)]
#[command(after_help = "Exit status: 0 fine, 1 failed or something was found, 2 wrong usage or configuration.\n\
                        Error codes (RPX-…) are explained in src/ERRORS.md.")]
struct CommandLine {
    /// How much to log: error, warn, info, debug or trace, also per module (`info,replproxy::source=debug`).
    /// Without it the environment variable REPLPROXY_LOG decides, else `info` for the commands that serve and `warn`
    /// for the others. Log lines go to stderr.
    #[arg(long, global = true, value_name = "LEVEL", verbatim_doc_comment)]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Decode(decode::Arguments),
    Rewrite(rewrite::Arguments),
    Serve(serve::Arguments),
    Status(status::Arguments),
    Demo(demo::Arguments),
}

/// How a command prints its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One documented JSON object, or one a line.
    Json,
}

impl Command {
    fn default_log_level(&self) -> &'static str {
        match self {
            Self::Run(_) | Self::Serve(_) => "info",
            Self::Check(_)
            | Self::Decode(_)
            | Self::Demo(_)
            | Self::Explain(_)
            | Self::Rewrite(_)
            | Self::Status(_) => "warn",
        }
    }

    fn execute(self) -> Result<u8, Failure> {
        match self {
            Self::Run(arguments) => run::execute(&arguments),
            Self::Check(arguments) => check::execute(&arguments),
            Self::Explain(arguments) => explain::execute(&arguments),
            Self::Decode(arguments) => decode::execute(&arguments),
            Self::Rewrite(arguments) => rewrite::execute(&arguments),
            Self::Serve(arguments) => serve::execute(arguments),
            Self::Status(arguments) => status::execute(&arguments),
            Self::Demo(_) => demo::execute(),
        }
    }
}

/// Why a command did not do its job.
#[derive(Debug)]
pub enum Failure {
    /// An error of the catalogue.
    Fault(Fault),
    /// The arguments make no sense together; the sentence says what would.
    Usage(String),
    /// Whoever read our output is gone (`replproxy decode … | head`): no error.
    OutputClosed,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for Failure {
    /// An error of writing our own output.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Fault(Fault::new(Code::FileUnreadable, format!("the output cannot be written: {error}")))
        }
    }
}

/// The exit status that a fault ends a command with: bad configuration is 2, all else is 1.
fn exit_status(code: Code) -> u8 {
    match code {
        Code::ConfigurationInvalid | Code::ConfigurationUnreadable | Code::SecretMissing => USAGE,
        _ => FAILED,
    }
}

// A route of a configuration that is only looked at. (A doc comment would become the help of the command that has these arguments.)
#[derive(Debug, clap::Args)]
struct OfRoute {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The route's name in it.
    #[arg(long, value_name = "NAME")]
    route: String,
}

impl OfRoute {
    /// Reads it; no secret is fetched.
    fn read(&self) -> Result<Route, Failure> {
        let config = Config::load_offline(&self.config).map_err(Fault::from)?;
        find_route(&config, &self.route)
    }
}

fn find_route(config: &Config, name: &str) -> Result<Route, Failure> {
    config.routes.get(name).cloned().ok_or_else(|| {
        let known: Vec<&str> = config.routes.keys().map(String::as_str).collect();
        Failure::Usage(format!("{} has no route {name:?}; it has: {}", config.path.display(), known.join(", ")))
    })
}

/// The whole program: reads the arguments, runs the command, reports an error on stderr.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            // Help and version go to stdout with status 0, mistakes to stderr with status 2. Nobody is left to tell
            // when the printing itself fails.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let from_environment = std::env::var("REPLPROXY_LOG").ok().filter(|level| !level.is_empty());
    let level = line.log.or(from_environment).unwrap_or_else(|| line.command.default_log_level().to_owned());
    let ended =
        init_logs(&level).map_err(|error| Failure::Usage(error.to_string())).and_then(|()| line.command.execute());
    ExitCode::from(match ended {
        Ok(status) => status,
        Err(Failure::OutputClosed) => 0,
        Err(Failure::Usage(sentence)) => {
            complain(&sentence);
            USAGE
        }
        Err(Failure::Fault(fault)) => {
            complain(&fault.to_string());
            exit_status(fault.code)
        }
    })
}

/// `error: …` on stderr; lines of a longer message stay lines. A closed stderr is no reason to panic.
fn complain(message: &str) {
    let mut stderr = io::stderr().lock();
    for (index, line) in message.lines().enumerate() {
        let _ = writeln!(stderr, "{}{}", if index == 0 { "error: " } else { "" }, EscapedWhole(line));
    }
}

/// As [`Escaped`], without a limit: a list of mistakes must be complete.
struct EscapedWhole<'a>(&'a str);

impl std::fmt::Display for EscapedWhole<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = self.0;
        while !rest.is_empty() {
            let cut = rest.char_indices().nth(256).map_or(rest.len(), |(index, _)| index);
            let (piece, after) = rest.split_at(cut);
            Escaped(piece).fmt(formatter)?;
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
