//! What is done at one drive: one call after the other, in the order in which they were given.
//!
//! A call may take as long as the hardware does. What was given up in between is not begun any more, so that nothing that was ejected is put back afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hal::{DriveMedium, Inside, MediaDrive};
use tokio::sync::{mpsc, oneshot};

/// What is to be done, by the turn that it is of.
#[derive(Debug)]
pub(crate) enum Call {
    /// Put it there.
    Attach(Attach),
    /// Take out what is there.
    Detach { turn: u64 },
    /// See what is there.
    Look { turn: u64 },
}

/// What is to be put there.
#[derive(Debug)]
pub(crate) struct Attach {
    pub(crate) turn: u64,
    /// Where the host's side finds it.
    pub(crate) path: Option<PathBuf>,
    pub(crate) is_read_only: bool,
    /// The host's side comes only when there is something; `None` where it is offered already.
    pub(crate) offered: Option<oneshot::Receiver<Result<(), String>>>,
    /// What is still there is another, though it may be called the same.
    pub(crate) is_stale: bool,
}

/// What came of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Attached(Result<(), String>),
    Detached(Result<(), String>),
    Looked(Option<Inside>),
}

/// The way to one drive.
#[derive(Debug)]
pub(crate) struct Hand {
    calls: mpsc::UnboundedSender<Call>,
    turn: Arc<AtomicU64>,
}

impl Hand {
    /// Begins to take calls for a drive; `tell` is called with what came of each. It ends with the last of them once this is dropped.
    pub(crate) fn new(drive: Arc<dyn MediaDrive>, tell: impl Fn(u64, Came) + Send + Sync + 'static) -> Self {
        let (calls, mut given) = mpsc::unbounded_channel();
        let turn = Arc::<AtomicU64>::default();
        let now = Arc::clone(&turn);
        tokio::spawn(async move {
            while let Some(call) = given.recv().await {
                let is_over = |turn: u64| now.load(Ordering::Relaxed) != turn;
                let (turn, came) = match call {
                    Call::Attach(attach) => {
                        let turn = attach.turn;
                        (turn, Came::Attached(put(&*drive, attach, &|| is_over(turn)).await))
                    }
                    // What came after it empties the drive, too.
                    Call::Detach { turn } | Call::Look { turn } if is_over(turn) => {
                        (turn, Came::Looked(None))
                    }
                    Call::Detach { turn } => {
                        (turn, Came::Detached(drive.eject().await.map_err(|error| error.to_string())))
                    }
                    Call::Look { turn } => (turn, Came::Looked(drive.look().await.ok())),
                };
                tell(turn, came);
            }
        });
        Self { calls, turn }
    }

    /// What is begun now is of this turn, and what was begun before is given up.
    pub(crate) fn begin(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    pub(crate) fn call(&self, call: Call) {
        // Fails only when the runtime ends.
        let _ = self.calls.send(call);
    }
}

async fn put(
    drive: &dyn MediaDrive,
    attach: Attach,
    is_over: &(dyn Fn() -> bool + Sync),
) -> Result<(), String> {
    let Attach { path, is_read_only, offered, is_stale, .. } = attach;
    let given_up = || Err("it was given up".to_owned());
    if is_over() {
        return given_up();
    }
    if is_stale {
        drive.eject().await.map_err(|error| error.to_string())?;
    }
    if let Some(offered) = offered {
        offered.await.unwrap_or_else(|_| Err("it is not offered any more".to_owned()))?;
    }
    let path = path.ok_or("it is no file")?;
    // That the drive was slow is no reason to put back what was ejected meanwhile.
    if is_over() {
        return given_up();
    }
    drive.insert(&DriveMedium { path, is_read_only }).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use hal::Error;
    use tokio::sync::Semaphore;

    use super::*;

    /// A drive that does each call when it is let.
    #[derive(Debug)]
    struct Slow {
        done: Mutex<Vec<&'static str>>,
        begun: Semaphore,
        may: Semaphore,
    }

    impl Slow {
        async fn call(&self, what: &'static str) {
            self.begun.add_permits(1);
            self.may.acquire().await.unwrap().forget();
            self.done.lock().unwrap().push(what);
        }
    }

    #[async_trait::async_trait]
    impl MediaDrive for Slow {
        async fn insert(&self, _: &DriveMedium) -> Result<(), Error> {
            self.call("insert").await;
            Ok(())
        }

        async fn eject(&self) -> Result<(), Error> {
            self.call("eject").await;
            Ok(())
        }

        async fn look(&self) -> Result<Inside, Error> {
            self.call("look").await;
            Ok(Inside::Medium)
        }
    }

    fn hand() -> (Arc<Slow>, Hand, mpsc::UnboundedReceiver<(u64, Came)>) {
        let slow =
            Arc::new(Slow { done: Mutex::default(), begun: Semaphore::new(0), may: Semaphore::new(0) });
        let (tell, told) = mpsc::unbounded_channel();
        let drive: Arc<dyn MediaDrive> = Arc::<Slow>::clone(&slow);
        let hand = Hand::new(drive, move |turn, came| drop(tell.send((turn, came))));
        (slow, hand, told)
    }

    fn attach(turn: u64, is_stale: bool) -> Call {
        let path = Some("/x".into());
        Call::Attach(Attach { turn, path, is_read_only: true, offered: None, is_stale })
    }

    #[tokio::test]
    async fn what_was_ejected_while_a_slow_drive_was_emptied_is_not_put_there_afterwards() {
        let (slow, hand, mut told) = hand();
        hand.begin();
        hand.call(attach(1, true));
        // The drive is being emptied for it when somebody ejects it.
        slow.begun.acquire().await.unwrap().forget();
        hand.begin();
        hand.call(Call::Detach { turn: 2 });
        slow.may.add_permits(8);
        assert_eq!(told.recv().await, Some((1, Came::Attached(Err("it was given up".to_owned())))));
        assert_eq!(told.recv().await, Some((2, Came::Detached(Ok(())))));
        assert_eq!(*slow.done.lock().unwrap(), ["eject", "eject"]);
    }

    #[tokio::test]
    async fn what_is_put_there_when_it_is_ejected_is_taken_out_after_that() {
        let (slow, hand, mut told) = hand();
        hand.begin();
        hand.call(attach(1, false));
        slow.begun.acquire().await.unwrap().forget();
        hand.begin();
        hand.call(Call::Look { turn: 1 });
        hand.call(Call::Detach { turn: 2 });
        slow.may.add_permits(8);
        for _ in 0..3 {
            told.recv().await.unwrap();
        }
        assert_eq!(*slow.done.lock().unwrap(), ["insert", "eject"]);
    }

    #[tokio::test]
    async fn the_hosts_side_is_not_led_to_what_is_not_offered() {
        let (slow, hand, mut told) = hand();
        hand.begin();
        for answer in [Some(Err("no socket".to_owned())), None] {
            let (done, offered) = oneshot::channel();
            let Call::Attach(attach) = attach(1, false) else { panic!() };
            hand.call(Call::Attach(Attach { offered: Some(offered), ..attach }));
            if let Some(answer) = answer {
                done.send(answer).unwrap();
            } else {
                drop(done);
            }
            assert!(matches!(told.recv().await, Some((1, Came::Attached(Err(_))))));
        }
        assert!(slow.done.lock().unwrap().is_empty());
    }
}
