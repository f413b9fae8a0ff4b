//! `replproxy status`.

use std::io::Write as _;

use super::{FAILED, Failure, Format};
use crate::fault::{Code, Fault};
use crate::status::{FetchError, fetch, render};

/// Show routes, sources, replicas, positions, lag and the last error of a running proxy
///
/// Asks the admin listener (`admin` in [proxy]) of a running proxy. A route is not healthy while an error stands that a
/// replica or its source met; the error and the next step are shown below the route.
///
/// Exit status: 0 every route is healthy, 1 some route is not or no proxy answers, 2 wrong usage.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// The admin listener of the proxy.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8090")]
    admin: String,
    /// `json` is the object that /status serves.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let status = fetch(&arguments.admin).map_err(|error| match error {
        FetchError::Url(_) => Failure::Usage(error.to_string()),
        FetchError::Unreachable { .. } | FetchError::NotStatus { .. } => {
            Failure::Fault(Fault::new(Code::AdminUnreachable, error.to_string()))
        }
    })?;
    let mut stdout = std::io::stdout().lock();
    match arguments.format {
        Format::Text => stdout.write_all(render(&status).as_bytes())?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut stdout, &status).map_err(std::io::Error::from)?;
            stdout.write_all(b"\n")?;
        }
    }
    stdout.flush()?;
    Ok(if status.healthy { 0 } else { FAILED })
}
