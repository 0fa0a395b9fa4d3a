//! For an owner who must know what is stored before it can decide anything: at its start.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::StateError;

/// How often a value is asked for that the store says it cannot read: a medium may need more than one attempt.
pub(crate) const READS: u32 = 4;
/// Pause before it is asked for again; doubled up to [`AGAIN_MAX`].
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// How long a store is waited for that does not answer. The operator gives a daemon 60 s to be ready, and starts it again when it ends.
const WITHIN: Duration = Duration::from_secs(30);

/// How long one question may take: longer than any answer of a store that works, so that one which never comes is asked for again.
const ANSWER: Duration = Duration::from_secs(10);

/// Asks for what is at `key` until the store answers, at growing pauses: a store that is busy, slow or away has damaged nothing, and what
/// it holds is not known yet.
///
/// # Errors
///
/// [`StateError::NotRead`] when the store has said four times that it has the value and cannot read it; [`StateError::Unavailable`] when
/// it has not answered for 30 s; any other at once.
pub async fn patiently<T, F>(key: &str, ask: impl Fn() -> F) -> Result<T, StateError>
where
    F: Future<Output = Result<T, StateError>>,
{
    let give_up = Instant::now() + WITHIN;
    let (mut pause, mut refused) = (AGAIN, 0);
    loop {
        let until = (Instant::now() + ANSWER).min(give_up);
        let answer = match timeout_at(until, ask()).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(StateError::Unavailable {
                operation: "reading",
                bucket: String::from("store"),
                key: key.to_owned(),
                source: elapsed.into(),
            }),
        };
        let error = match answer {
            Err(error @ StateError::NotRead { .. }) => {
                refused += 1;
                if refused == READS {
                    return Err(error);
                }
                error
            }
            Err(error @ StateError::Unavailable { .. }) if Instant::now() + pause < give_up => error,
            settled => return settled,
        };
        if pause == AGAIN {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(key, error, "cannot read stored value: retrying");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn away() -> StateError {
        let source = Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
        StateError::Unavailable { operation: "reading", bucket: "state".into(), key: "k".into(), source }
    }

    fn not_read() -> StateError {
        StateError::NotRead { bucket: "state".into(), key: "k".into(), why: "Message Damaged".into() }
    }

    /// What comes of these answers, by the number of the question, and how many questions it took.
    async fn asked(
        answer: impl Fn(usize) -> Result<usize, StateError>,
    ) -> (Result<usize, StateError>, usize) {
        let times = Cell::new(0);
        let ask = || {
            times.set(times.get() + 1);
            std::future::ready(answer(times.get()))
        };
        (patiently("k", ask).await, times.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_yet_is_waited_for() {
        for silent in [0, 1, 3, 7] {
            let (found, times) = asked(|at| if at <= silent { Err(away()) } else { Ok(at) }).await;
            assert_eq!((found.expect("it answers in the end"), times), (silent + 1, silent + 1));
        }
        let begin = Instant::now();
        let (found, times) = asked(|_| Err(away())).await;
        assert!(matches!(found, Err(StateError::Unavailable { .. })));
        assert!(begin.elapsed() <= WITHIN && times < 12, "{times} in {:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_comes_is_asked_for_again_and_ends_in_time() {
        let times = Cell::new(0);
        let ask = || {
            times.set(times.get() + 1);
            let at = times.get();
            async move { if at == 1 { std::future::pending().await } else { Ok(at) } }
        };
        assert_eq!(patiently("k", ask).await.expect("the second question is answered"), 2);
        let begin = Instant::now();
        let found = patiently("k", std::future::pending::<Result<(), _>>).await;
        assert!(matches!(found, Err(StateError::Unavailable { .. })));
        assert!(begin.elapsed() <= WITHIN, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_the_store_cannot_read_is_given_up_once_it_has_said_so_several_times() {
        let (found, _) = asked(|at| match at {
            1 | 3 => Err(not_read()),
            2 => Err(away()),
            _ => Ok(at),
        })
        .await;
        assert_eq!(found.expect("the medium gave it in the end"), 4);
        let (found, times) = asked(|_| Err(not_read())).await;
        assert!(matches!(found, Err(StateError::NotRead { .. })));
        assert_eq!(times, READS as usize);
    }
}
