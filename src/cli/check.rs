//! `replproxy check`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;

use super::{FAILED, Failure, Format, find_route};
use crate::config::{Config, Route};
use crate::fault::Fault;
use crate::precheck::{self, Item, Report};

/// Check sources before replicas depend on them: every item with pass, warn or fail, what was found and what to do
///
/// Items: reachable, tls, login, version, replication_privileges, select_privileges, log_bin, binlog_format,
/// binlog_row_image, binlog_checksum, binlog_filters, compression, server_id, server_id_clash, gtid_mode, semi_sync, origins,
/// name_case, new_names, objects, replica_databases, engines, foreign_keys, views_triggers, failover (only where the source
/// has such servers).
///
/// Exit status: 0 passed (warnings may stand), 1 some item failed, 2 wrong usage or configuration.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// This route only; without it every route is checked.
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// `json` is one object: `route`, `source`, `items` (each with `item`, `status`, `found`, `next_step`), `passed`; where
    /// several routes are checked, `routes` holds such objects beside `passed`.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// An item that may fail; can be repeated. What the connection itself needs cannot be ignored.
    #[arg(long, value_name = "ITEM")]
    ignore: Vec<String>,
}

pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let ignored = ignored(&arguments.ignore)?;
    let config = match &arguments.route {
        None => Config::load(&arguments.config),
        Some(route) => Config::load_for_route(&arguments.config, route),
    }
    .map_err(Fault::from)?;
    let routes: Vec<Route> = match &arguments.route {
        None => config.routes.values().cloned().collect(),
        Some(name) => vec![find_route(&config, name)?],
    };
    if routes.is_empty() {
        return Err(Failure::Usage("the configuration has no routes to check".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::from)?;
    let mut reports: Vec<Report> = Vec::new();
    for route in &routes {
        reports.push(runtime.block_on(precheck::check(&config, route, &ignored))?);
    }
    let passed = reports.iter().all(Report::passed);
    let mut stdout = std::io::stdout().lock();
    match arguments.format {
        Format::Text => {
            for (index, report) in reports.iter().enumerate() {
                write!(stdout, "{}{report}", if index == 0 { "" } else { "\n" })?;
            }
        }
        Format::Json => {
            let object = match &reports[..] {
                [report] => report.to_json(),
                reports => {
                    let routes: Vec<_> = reports.iter().map(Report::to_json).collect();
                    serde_json::json!({ "routes": routes, "passed": passed })
                }
            };
            serde_json::to_writer_pretty(&mut stdout, &object).map_err(std::io::Error::from)?;
            stdout.write_all(b"\n")?;
        }
    }
    stdout.flush()?;
    Ok(if passed { 0 } else { FAILED })
}

fn ignored(names: &[String]) -> Result<BTreeSet<Item>, Failure> {
    let one = |name: &String| match Item::named(name) {
        Some(item) if item.is_needed_for_others() => {
            Err(Failure::Usage(format!("`{item}` cannot be ignored: without it nothing else can be looked at")))
        }
        Some(item) => Ok(item),
        None => {
            let known = Item::ALL.iter().map(|item| item.as_str()).collect::<Vec<_>>().join(", ");
            Err(Failure::Usage(format!("there is no item `{name}`; there are: {known}")))
        }
    };
    names.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_item() {
        let command = <Arguments as clap::Args>::augment_args(clap::Command::new("check"));
        let help = command.clone().render_long_help().to_string();
        let words: BTreeSet<&str> = help.split([' ', ',', '\n']).collect();
        for item in Item::ALL {
            assert!(words.contains(item.as_str()), "{item}");
        }
    }
}
