//! `replproxy decode`.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use super::{Failure, Format};
use crate::decode::{DecodeError, Described, Place, Target, decode_file, decode_source};
use crate::fault::{Code, Fault};

/// Print the events of a binary log, one a line: position, type, size, server id, GTID, names, SQL, flags, checksum
///
/// Values of rows stay hidden without --rows: statements that carry data show `?` for every literal, and the text that
/// rows came from shows its length.
///
/// Exit status: 0 all events are good, 1 damaged input (after printing all that is good), 2 wrong usage.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// A binlog file, or mysql://user:password@host:port[/FILE:POS][?tls=MODE&tls_ca=FILE] for what a source has now. Bytes
    /// of user and password can be written as %41.
    #[arg(value_name = "FILE|URL", verbatim_doc_comment)]
    target: String,
    /// Where to begin: FILE:POS or FILE at a source, POS in a file. Without it the first event.
    #[arg(long, value_name = "FILE:POS")]
    from: Option<String>,
    /// `json` is an object a line; fields that an event does not have are left out.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Show the values of rows and the whole text of statements.
    #[arg(long)]
    rows: bool,
}

pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let usage = |error: crate::decode::TargetError| Failure::Usage(error.to_string());
    let from = arguments.from.as_deref().map(str::parse::<Place>).transpose().map_err(usage)?;
    let target: Target = arguments.target.parse().map_err(usage)?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    let format = arguments.format;
    let mut sink = |described: &Described| match format {
        Format::Text => writeln!(output, "{described}"),
        Format::Json => {
            serde_json::to_writer(&mut output, described).map_err(std::io::Error::from)?;
            output.write_all(b"\n")
        }
    };
    let (result, name) = match target {
        Target::File(path) => {
            let from = position_in(&path, from)?;
            let input = File::open(&path)
                .map_err(|error| Fault::new(Code::FileUnreadable, format!("{}: {error}", path.display())))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            (decode_file(input, &name, from, arguments.rows, &mut sink), path.display().to_string())
        }
        Target::Source(endpoint, place) => {
            let from = match (from, place) {
                (Some(_), Some(_)) => {
                    return Err(Failure::Usage("the position stands in the URL and in --from".to_owned()));
                }
                (from, place) => from.or(place).unwrap_or_else(Place::beginning),
            };
            if u32::try_from(from.position).is_err() {
                return Err(Failure::Usage("a source can be asked for positions up to 4294967295 only".to_owned()));
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::from)?;
            let address = endpoint.address();
            (runtime.block_on(decode_source(&endpoint, from, arguments.rows, &mut sink)), address)
        }
    };
    output.flush()?;
    match result {
        Ok(0) => Ok(0),
        Ok(damaged) => {
            let message = format!("{name}: {damaged} events have a body that cannot be read; they are marked DAMAGED");
            Err(Fault::new(Code::EventDamaged, message).into())
        }
        Err(DecodeError::Output(error)) => Err(error.into()),
        Err(error) => Err(error.fault(&name).into()),
    }
}

/// `--from` of a file: its name, if it is given, has to be this file's.
fn position_in(path: &Path, from: Option<Place>) -> Result<u64, Failure> {
    let Some(from) = from else { return Ok(Place::beginning().position) };
    if from.file.is_empty() || path.file_name().is_some_and(|name| name.to_string_lossy() == from.file) {
        return Ok(from.position);
    }
    Err(Failure::Usage(format!("--from names {:?}, which is not {}", from.file, path.display())))
}
