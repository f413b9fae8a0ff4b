//! `replproxy rewrite`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Failure, OfRoute};
use crate::decode::file_code;
use crate::fault::{Code, Fault};
use crate::rewrite::{RewriteError, Summary, rewrite};

/// Run a binlog file through a route offline and write what replicas would receive
///
/// IN is a binary log file of a source. OUT becomes a valid binary log file with the selected objects under their new
/// names; with - as OUT nothing is written. A summary of what came in, what went out and what was left out goes to stderr.
/// No server is contacted and no secret of the configuration is read.
///
/// Exit status: 0 done, 1 the stream would stop (the error says where and why; OUT is good up to there) or a file cannot
/// be read or written, 2 wrong usage or configuration.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    of_route: OfRoute,
    /// The binary log file to read.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write, or - for the summary only.
    #[arg(value_name = "OUT")]
    output: PathBuf,
}

pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let route = arguments.of_route.read()?;
    let input = File::open(&arguments.input).map_err(|error| unreadable(&arguments.input, &error))?;
    let mut output: Box<dyn Write + '_> = if arguments.output.as_os_str() == "-" {
        Box::new(std::io::sink())
    } else if same_file(&arguments.input, &arguments.output) {
        return Err(Failure::Usage(format!("{} is both IN and OUT", arguments.input.display())));
    } else {
        Box::new(BufWriter::new(WhenWritten { path: &arguments.output, file: None }))
    };
    let mut summary = Summary::default();
    let name = arguments.input.file_name().unwrap_or_default().as_encoded_bytes();
    let result = rewrite(BufReader::new(input), name, Arc::new(route.rules), &mut output, &mut summary);
    let flushed = output.flush().map_err(RewriteError::Output);
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{summary}")?;
    drop(stderr);
    result.and(flushed).map_err(|error| match error {
        RewriteError::Stopped(stop) => stop.fault,
        RewriteError::Input(error) => Fault::new(file_code(&error), format!("{}: {error}", arguments.input.display())),
        RewriteError::Output(error) => unreadable(&arguments.output, &error),
    })?;
    Ok(0)
}

/// A file that is made, or emptied, when something is written to it: an input that is no binlog leaves it alone.
struct WhenWritten<'a> {
    path: &'a Path,
    file: Option<File>,
}

impl Write for WhenWritten<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::create(self.path)?),
        };
        file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), File::flush)
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(Code::FileUnreadable, format!("{}: {error}", path.display()))
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
