//! Where the source's log ended a moment ago: a stream that becomes the live tail must not be far behind it.
//!
//! That a stream has to wait for the source says little. Where the source, or the link to it, is slower than the replica, a stream
//! waits for each packet of what others got hours ago; as the tail it would keep all those from it that are ahead. So the source is
//! asked, once for all streams that want to know.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::debug;

use crate::fault::Fault;
use crate::pipeline::coordinates::{FilePosition, file_order, stem};
use crate::replica::backend::ReplicaRequest;

use super::Core;
use super::place::Place;
use super::servers::Known;

/// A stream that stands where the log ended so long ago is not behind. Long enough for a stream that looks once a second, on a machine
/// that has too much to do.
const MOMENT: Duration = Duration::from_secs(5);

/// Neither is one that lacks so little: it is there before a replica that is ahead of it has asked twice, and the ring holds more.
const SLACK: u64 = 1 << 20;

/// While a stream is behind, the source is asked so often.
const PAUSE: Duration = Duration::from_secs(10);

/// A source that does not answer in this time has not said anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Servers whose answers are kept; a source has a few.
const MAX_SERVERS: usize = 16;

/// What is known of the end of each server's log.
#[derive(Default)]
pub(super) struct LogEnd {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asking: bool,
    answers: HashMap<String, Answer>,
}

#[derive(Debug, Clone)]
struct Answer {
    came: Instant,
    /// `None` where the server did not say: the account may not ask, or another server answers now.
    end: Option<FilePosition>,
}

/// What an answer says about a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It has what there was.
    There,
    /// It has not, and there is no need to ask again.
    Behind,
    /// The answer is too old to say.
    Ask,
}

impl Answer {
    fn verdict(&self, place: &Place, now: Instant) -> Verdict {
        let age = now.saturating_duration_since(self.came);
        let known = self.end.as_ref().filter(|end| stem(&end.file) == stem(&place.file));
        let Some(end) = known else {
            // Names of another kind are those of another proxy in between. There is nothing to compare with.
            return if age < PAUSE { Verdict::There } else { Verdict::Ask };
        };
        let passed = *end.file == *place.file && place.source.saturating_add(SLACK) >= end.position;
        match (passed, age) {
            (true, age) if age < MOMENT => Verdict::There,
            (false, age) if age < PAUSE && file_order(&place.file) <= file_order(&end.file) => Verdict::Behind,
            _ => Verdict::Ask,
        }
    }
}

impl LogEnd {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Whether a stream that stands at this place of this server's log has what there was a moment ago. Asks the server where that is
    /// not known, and says no until it has answered.
    pub(super) fn is_at_end(self: &Arc<Self>, server: &str, place: &Place, request: &ReplicaRequest) -> bool {
        let mut state = self.log_end.state();
        let verdict = state.answers.get(server).map_or(Verdict::Ask, |answer| answer.verdict(place, Instant::now()));
        if verdict == Verdict::Ask && !state.asking {
            state.asking = true;
            let (core, server, request) = (Arc::clone(self), server.to_owned(), request.clone());
            tokio::spawn(async move { core.ask_for_end(server, &request).await });
        }
        verdict == Verdict::There
    }

    async fn ask_for_end(&self, server: String, request: &ReplicaRequest) {
        let answered = timeout(PATIENCE, self.end_of_log(&server, request)).await;
        let end = match answered {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => {
                debug!(route = self.telemetry.route(), %error, "the source does not say where its log ends");
                None
            }
            Err(_) => None,
        };
        let mut state = self.log_end.state();
        state.asking = false;
        if state.answers.len() >= MAX_SERVERS {
            state.answers.clear();
        }
        state.answers.insert(server, Answer { came: Instant::now(), end });
    }

    async fn end_of_log(&self, server: &str, request: &ReplicaRequest) -> Result<Option<FilePosition>, Fault> {
        let (mut client, facts) = self.connect(Some(request)).await?;
        let answer = match Known::of(&facts).word() == server {
            true => client.query(facts.log_status_statement()).await.map(Some),
            false => Ok(None),
        };
        client.quit().await;
        let Some(status) = answer.map_err(|error| error.fault(&self.source_name))? else { return Ok(None) };
        let position = status.text(0, 1).and_then(|position| position.parse().ok());
        Ok(status.text(0, 0).zip(position).map(|(file, position)| FilePosition { file: file.into_bytes(), position }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &[u8], source: u64) -> Place {
        Place { file: file.into(), created: 9, source, served: source, event: None }
    }

    #[test]
    fn a_stream_is_there_when_it_stands_where_the_log_ended_a_moment_ago() {
        let came = Instant::now();
        let answer = Answer { came, end: Some(FilePosition { file: b"bin.000009".to_vec(), position: 50 << 20 }) };
        let verdict = |file: &[u8], position: u64, seconds| {
            answer.verdict(&place(file, position), came + Duration::from_secs(seconds))
        };
        for (file, position, seconds, expected) in [
            (&b"bin.000009"[..], 50 << 20, 0, Verdict::There),
            (b"bin.000009", (50 << 20) - SLACK, 1, Verdict::There),
            (b"bin.000009", (50 << 20) - SLACK - 1, 0, Verdict::Behind),
            (b"bin.000009", 60 << 20, 4, Verdict::There),
            (b"bin.000009", 60 << 20, 5, Verdict::Ask),
            (b"bin.000009", 4, 9, Verdict::Behind),
            (b"bin.000009", 4, 10, Verdict::Ask),
            (b"bin.000008", 60 << 20, 0, Verdict::Behind),
            // The log went on to another file meanwhile, or was reset.
            (b"bin.000010", 4, 0, Verdict::Ask),
            (b"bin.1000000", 4, 0, Verdict::Ask),
            (b"bin.rp5f3c9a12.000009", 4, 0, Verdict::There),
        ] {
            assert_eq!(verdict(file, position, seconds), expected, "{}:{position}", String::from_utf8_lossy(file));
        }
        let unknown = Answer { came, end: None };
        assert_eq!(unknown.verdict(&place(b"bin.000001", 4), came), Verdict::There);
        assert_eq!(unknown.verdict(&place(b"bin.000001", 4), came + PAUSE), Verdict::Ask);
    }
}
