//! What the source said of itself last, for all connections that may go by it.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::fault::Fault;

/// An answer that many wait for. A thousand replicas that come back at once are not a thousand logins more; and nobody goes by an answer to
/// a question from before he came, because the source may have been changed (a plugin installed, the GTID mode set) just before that.
#[derive(Debug)]
pub(super) struct LastFacts<T> {
    /// When it was asked for.
    known: Mutex<Option<(Instant, T)>>,
    /// Held while the source is asked; the last time that it could not be.
    asking: tokio::sync::Mutex<Option<(Instant, Fault)>>,
}

impl<T> Default for LastFacts<T> {
    fn default() -> Self {
        Self { known: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }
}

impl<T: Clone> LastFacts<T> {
    /// The answer to a question of this time, for those who came before it.
    pub(super) fn learned(&self, asked: Instant, facts: T) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(before, _)| *before <= asked) {
            *known = Some((asked, facts));
        }
    }

    fn since(&self, came: Instant) -> Option<T> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(asked, _)| *asked >= came).map(|(_, facts)| facts.clone())
    }

    /// What is so now. One asks for all that have come by then, and its failure is theirs too.
    pub(super) async fn now(&self, ask: impl AsyncFnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let came = Instant::now();
        let mut last_failure = self.asking.lock().await;
        if let Some(facts) = self.since(came) {
            return Ok(facts);
        }
        if let Some((at, fault)) = &*last_failure
            && *at >= came
        {
            return Err(fault.clone());
        }
        let asked = Instant::now();
        match ask().await {
            Ok(facts) => {
                self.learned(asked, facts.clone());
                Ok(facts)
            }
            Err(fault) => {
                *last_failure = Some((Instant::now(), fault.clone()));
                Err(fault)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::{Semaphore, oneshot};

    use super::*;
    use crate::fault::Code;

    #[tokio::test]
    async fn one_answer_serves_all_who_came_before_the_question_and_nobody_who_came_later() {
        let facts = Arc::new(LastFacts::default());
        let (questions, answers) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
        let come = || {
            let (facts, questions, answers) = (Arc::clone(&facts), Arc::clone(&questions), Arc::clone(&answers));
            let (here, is_here) = oneshot::channel();
            let waiting = tokio::spawn(async move {
                let mut told = std::pin::pin!(facts.now(async || {
                    let number = questions.fetch_add(1, Ordering::SeqCst) + 1;
                    answers.acquire().await.expect("open").forget();
                    Ok(number)
                }));
                // Whoever has been polled once has come.
                tokio::select! {
                    biased;
                    told = &mut told => return told,
                    () = std::future::ready(()) => {}
                }
                here.send(()).expect("somebody listens");
                told.await
            });
            (is_here, waiting)
        };
        let (is_here, first) = come();
        is_here.await.expect("waits");
        let (mut late, mut told) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            let (is_here, waiting) = come();
            is_here.await.expect("waits");
            late.push(waiting);
        }
        answers.add_permits(2);
        assert_eq!(first.await.expect("no panic"), Ok(1));
        for waiting in late {
            told.push(waiting.await.expect("no panic"));
        }
        assert_eq!(told, vec![Ok(2); 100]);
        // An answer that is a moment old may be wrong by now.
        answers.add_permits(1);
        assert_eq!(facts.now(async || Ok(3)).await, Ok(3));
        // Another connection's answer counts by the time of its question, too.
        facts.learned(Instant::now(), 5);
        assert_eq!(facts.now(async || Ok(4)).await, Ok(4));
    }

    #[tokio::test]
    async fn a_failure_is_told_to_those_who_waited_for_it() {
        let facts: Arc<LastFacts<u32>> = Arc::default();
        let (fail, failing) = oneshot::channel::<()>();
        let first = tokio::spawn({
            let facts = Arc::clone(&facts);
            async move {
                facts
                    .now(async || {
                        let _ = failing.await;
                        Err(Fault::new(Code::SourceUnreachable, "away"))
                    })
                    .await
            }
        });
        tokio::task::yield_now().await;
        let mut second = std::pin::pin!(facts.now(async || Ok(2)));
        tokio::select! {
            biased;
            told = &mut second => panic!("told {told:?} while the source is asked"),
            () = tokio::task::yield_now() => {}
        }
        fail.send(()).expect("asked");
        assert_eq!(first.await.expect("no panic").map_err(|fault| fault.code), Err(Code::SourceUnreachable));
        assert_eq!(second.await.map_err(|fault| fault.code), Err(Code::SourceUnreachable));
        assert_eq!(facts.now(async || Ok(3)).await, Ok(3));
    }
}
