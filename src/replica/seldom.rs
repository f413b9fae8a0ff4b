//! Log lines that a client can bring about at will: the first of a kind at once, then one a minute with how many were left out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So long the same line is not written again.
const PAUSE: Duration = Duration::from_secs(60);

/// Remembers when the line was written last, and with which words.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Last>>);

#[derive(Debug)]
struct Last {
    at: Instant,
    words: String,
    left_out: u64,
}

impl Seldom {
    /// How many such lines were left out since the last one, if it is time for one more or the words are others than the last
    /// time.
    pub(crate) fn is_due(&self, words: &str) -> Option<u64> {
        self.is_due_at(words, Instant::now())
    }

    fn is_due_at(&self, words: &str, now: Instant) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_mut().filter(|last| last.words == words && now.duration_since(last.at) < PAUSE) {
            last.left_out += 1;
            return None;
        }
        let left_out = last.as_ref().map_or(0, |last| last.left_out);
        *last = Some(Last { at: now, words: words.to_owned(), left_out: 0 });
        Some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_line_comes_once_a_minute_and_says_how_many_were_left_out() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(seldom.is_due_at("refused", start), Some(0));
        assert_eq!(seldom.is_due_at("refused", after(1)), None);
        assert_eq!(seldom.is_due_at("refused", after(59)), None);
        assert_eq!(seldom.is_due_at("refused", after(60)), Some(2));
        assert_eq!(seldom.is_due_at("timed out", after(61)), Some(0), "other words are news");
    }
}
