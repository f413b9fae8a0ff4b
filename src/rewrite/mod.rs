//! `rewrite`: one binlog file through one route, without any server.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::binlog::{ChecksumAlgorithm, Event, EventType, FILE_MAGIC, FileError, FileReader, Vendor};
use crate::pipeline::coordinates::FilePosition;
use crate::pipeline::rules::RuleSet;
use crate::pipeline::{Note, Numbering, Stop, Stream, StreamOptions};

/// What went in and what came out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Events read.
    pub events_in: u64,
    /// Events written.
    pub events_out: u64,
    /// Bytes read, with the file's magic.
    pub bytes_in: u64,
    /// Bytes written, with the file's magic.
    pub bytes_out: u64,
    /// Groups that were completed.
    pub groups: u64,
    /// The file ends inside a transaction, as after a crash.
    pub unfinished: bool,
    /// Statements that did not go out as they came, by kind, reason and rule.
    pub notes: BTreeMap<(&'static str, String, String), u64>,
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events_in, events_out, bytes_in, bytes_out, groups, .. } = self;
        writeln!(formatter, "in:  {events_in} events, {bytes_in} bytes, {groups} transactions and statements")?;
        writeln!(formatter, "out: {events_out} events, {bytes_out} bytes")?;
        if self.unfinished {
            writeln!(formatter, "the file ends inside a transaction")?;
        }
        for ((kind, reason, rule), count) in &self.notes {
            writeln!(formatter, "{count} x {kind}: {reason} (rule {rule})")?;
        }
        Ok(())
    }
}

/// Nobody waits for the output of a file's rewrite, so larger transactions than in a served stream are kept back until
/// their length is known.
const LENGTH_BUFFER: usize = 1 << 30;

/// Why the run ended before the file did. What was written until then is good.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The input cannot be read on.
    #[error(transparent)]
    Input(#[from] FileError),
    /// The route stops here.
    #[error("{}", .0.fault)]
    Stopped(Stop),
    /// The output cannot be written.
    #[error("writing failed: {0}")]
    Output(io::Error),
}

/// Runs a file through a route. The summary is filled in as far as the run came.
///
/// `log_pos` of what is written is its offset in the new file, except on transparent routes, where every byte stays.
pub fn rewrite(
    input: impl Read,
    file_name: &[u8],
    rules: Arc<RuleSet>,
    output: &mut impl Write,
    summary: &mut Summary,
) -> Result<(), RewriteError> {
    let mut reader = FileReader::new(input)?;
    let start = FilePosition { file: file_name.to_vec(), position: FILE_MAGIC.len() as u64 };
    let numbering = if rules.is_transparent() { Numbering::Source } else { Numbering::Served { fingerprint: None } };
    // MySQL's receiver adds up lengths, which is what offsets in a file are.
    let options = StreamOptions {
        numbering,
        replica: Vendor::MySql,
        start,
        checksum: ChecksumAlgorithm::None,
        length_buffer: LENGTH_BUFFER,
    };
    let mut stream = Stream::new(rules, options);
    summary.bytes_in += FILE_MAGIC.len() as u64;
    let mut out = Vec::new();
    let mut boundary = true;
    while let Some(event) = reader.next_event()? {
        summary.events_in += 1;
        summary.bytes_in += event.raw().len() as u64;
        let rotates = event.event_type() == EventType::ROTATE;
        let pushed = stream.push(event.raw().clone(), &mut out);
        // The ROTATE at a file's end moves the stream to the next file; positions in this one go on from where they were.
        write_events(&mut out, output, summary)?;
        for Note { kind, reason, rule, .. } in stream.take_notes() {
            *summary.notes.entry((kind, reason, rule)).or_default() += 1;
        }
        let step = pushed.map_err(RewriteError::Stopped)?;
        summary.groups += u64::from(step.boundary && !boundary);
        boundary = step.boundary || rotates;
    }
    summary.unfinished = !stream.finish(&mut out);
    write_events(&mut out, output, summary)?;
    // A file without events is a file.
    begin_file(output, summary)
}

/// Writes the magic, before the first event: of an input that cannot be read nothing is written.
fn begin_file(output: &mut impl Write, summary: &mut Summary) -> Result<(), RewriteError> {
    if summary.bytes_out == 0 {
        output.write_all(&FILE_MAGIC).map_err(RewriteError::Output)?;
        summary.bytes_out += FILE_MAGIC.len() as u64;
    }
    Ok(())
}

fn write_events(events: &mut Vec<Event>, output: &mut impl Write, summary: &mut Summary) -> Result<(), RewriteError> {
    if !events.is_empty() {
        begin_file(output, summary)?;
    }
    for event in events.drain(..) {
        summary.events_out += 1;
        summary.bytes_out += event.raw().len() as u64;
        output.write_all(event.raw()).map_err(RewriteError::Output)?;
    }
    Ok(())
}
