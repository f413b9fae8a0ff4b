//! Mistakes in a configuration file, each with its place.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::fault::{Code, Fault};

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what would be right. Never a secret.
    pub message: String,
    /// The code that the mistake has when it is the only kind there is.
    pub code: Code,
}

/// Everything that is wrong with one configuration file. At least one mistake, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file as it was named.
    pub path: PathBuf,
    /// The mistakes.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// A file that cannot be read at all.
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self {
            path: path.to_owned(),
            problems: vec![Problem {
                line: 0,
                column: 0,
                message: format!("cannot be read: {error}"),
                code: Code::ConfigurationUnreadable,
            }],
        }
    }

    /// The error as the edges report it: one code, every mistake on a line of its own.
    pub fn fault(&self) -> Fault {
        let first = self.problems.first().map_or(Code::ConfigurationInvalid, |problem| problem.code);
        let same = self.problems.iter().all(|problem| problem.code == first);
        Fault::new(if same { first } else { Code::ConfigurationInvalid }, self.to_string())
    }
}

impl fmt::Display for ConfigErrors {
    /// `file:line:column: what is wrong`, one a line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{}", self.path.display())?;
            if problem.line > 0 {
                write!(formatter, ":{}:{}", problem.line, problem.column)?;
            }
            write!(formatter, ": {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigErrors> for Fault {
    fn from(errors: ConfigErrors) -> Self {
        errors.fault()
    }
}

/// Collects mistakes while a file is read.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    text: &'t str,
    found: Vec<(usize, Problem)>,
    /// Whether the text is not TOML: what is missing then may only have been lost, and is not reported.
    pub(super) damaged: bool,
}

impl<'t> Problems<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, found: Vec::new(), damaged: false }
    }

    /// A mistake at a place.
    pub(super) fn report(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.report_as(Code::ConfigurationInvalid, span, message);
    }

    /// A mistake with a code of its own.
    pub(super) fn report_as(&mut self, code: Code, span: Range<usize>, message: impl Into<String>) {
        // The parser puts an empty value where it could not read one, and has reported that already.
        if !(self.damaged && span.is_empty()) {
            self.push(code, span.start, message.into());
        }
    }

    /// A place that is not TOML. What is missing or empty from now on may be so because of it.
    pub(super) fn report_syntax(&mut self, span: Option<Range<usize>>, message: &str) {
        self.damaged = true;
        let message = format!("not valid TOML: {}", message.replace('\n', "; "));
        self.push(Code::ConfigurationInvalid, span.map_or(0, |span| span.start), message);
    }

    fn push(&mut self, code: Code, offset: usize, message: String) {
        let (line, column) = self.place(offset);
        self.found.push((offset, Problem { line, column, message, code }));
    }

    /// Something that is not there.
    pub(super) fn report_missing(&mut self, span: Range<usize>, message: impl Into<String>) {
        if !self.damaged {
            self.report(span, message);
        }
    }

    fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// How many mistakes were found so far.
    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn into_errors(mut self, path: &Path) -> ConfigErrors {
        self.found.sort_by_key(|(offset, _)| *offset);
        self.found.dedup_by(|(_, later), (_, earlier)| later == earlier);
        ConfigErrors { path: path.to_owned(), problems: self.found.into_iter().map(|(_, problem)| problem).collect() }
    }
}
