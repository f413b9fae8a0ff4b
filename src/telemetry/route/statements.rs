//! What the policy did: how many statements by action, reason and rule, and the newest of them.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::SystemTime;

use metrics::{Counter, counter};

use crate::telemetry::names;

/// How many policed statements `status` can list; older ones are only counted.
pub const KEPT_STATEMENTS: usize = 16;

/// How many different (action, reason, rule) triples are counted apart; a configuration has far fewer.
const MAX_STATEMENT_RULES: usize = 1024;

/// How many places of policed statements are remembered, so that one that several replicas are served is counted once.
const MAX_PLACES: usize = 1 << 16;

/// What was done with a statement that did not pass as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatementAction {
    /// It was left out.
    Skip,
    /// Only a part of it went out.
    Split,
    /// The stream ended before it.
    Stop,
}

impl StatementAction {
    /// The word in metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Split => "split",
            Self::Stop => "stop",
        }
    }
}

/// One statement that the policy did something about. Holds no text of the statement: that may hold data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PolicedStatement {
    /// What was done.
    pub action: StatementAction,
    /// The configuration key that decided, for example `ddl.unsupported`.
    pub rule: String,
    /// Why: the same stable word as in `explain`.
    pub reason: String,
    /// The statement's kind, for example `create_trigger`.
    pub kind: String,
    /// The server that it came from, by its uuid or server id.
    pub server: String,
    /// The source's file.
    pub file: String,
    /// When that file was begun (seconds since 1970): after a RESET another one has its name.
    pub created: u32,
    /// Position of the end of the event in that file.
    pub position: u64,
}

/// The statements of one route that did not pass as they were.
#[derive(Default)]
pub(super) struct Statements {
    /// By action, reason and rule.
    counted: BTreeMap<(StatementAction, String, String), (u64, Counter)>,
    last: VecDeque<(SystemTime, PolicedStatement)>,
    /// Digests of the statements that were counted, in the order in which they came.
    places: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Statements {
    /// Counts a statement and keeps it among the newest, unless it is known.
    pub(super) fn met(&mut self, route: &str, statement: PolicedStatement) {
        if !self.is_new(&statement) {
            // A stop is met anew by a replica that tries again.
            if let Some((at, _)) = self.last.iter_mut().find(|(_, known)| *known == statement) {
                *at = SystemTime::now();
            }
            return;
        }
        let key = (statement.action, statement.reason.clone(), statement.rule.clone());
        if self.counted.len() < MAX_STATEMENT_RULES || self.counted.contains_key(&key) {
            let (count, handle) = self.counted.entry(key).or_insert_with_key(|(action, reason, rule)| {
                let handle = counter!(names::STATEMENTS, names::LABEL_ROUTE => route.to_owned(),
                    names::LABEL_ACTION => action.as_str(), names::LABEL_REASON => reason.clone(), names::LABEL_RULE => rule.clone());
                (0, handle)
            });
            *count += 1;
            handle.increment(1);
        }
        if self.last.len() == KEPT_STATEMENTS {
            self.last.pop_front();
        }
        self.last.push_back((SystemTime::now(), statement));
    }

    /// How many statements by action, reason and rule.
    pub(super) fn counts(&self) -> Vec<(StatementAction, String, String, u64)> {
        let counted = self.counted.iter();
        counted.map(|((action, reason, rule), (count, _))| (*action, reason.clone(), rule.clone(), *count)).collect()
    }

    /// The newest, oldest first.
    pub(super) fn newest(&self) -> Vec<(SystemTime, PolicedStatement)> {
        self.last.iter().cloned().collect()
    }

    /// Whether this is the first time that a statement is met. What many replicas are served is met many times.
    fn is_new(&mut self, statement: &PolicedStatement) -> bool {
        let mut digest = DefaultHasher::new();
        statement.hash(&mut digest);
        let digest = digest.finish();
        if !self.places.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > MAX_PLACES
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
        true
    }
}
