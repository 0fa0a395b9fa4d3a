//! The two threads connections are served by, and how a connection gets from one to the other.
//!
//! Handshakes, heads, bodies and answers of strangers and of accounts that are no administrator's are the work of a thread that gives way to all
//! other work of the machine ([`service::give_way`]), so however many they are, an administrator finds the daemon's own thread free. Sockets
//! are waited for by the daemon's own thread in any case: a connection that changes lanes stays registered where it is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::admission::{Conn, Lane};

/// How long the second thread works at a time: longer than daemons do, shorter than who hashes a password.
const TURN: Duration = Duration::from_millis(8);

type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where connections can be served.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    front: Handle,
    back: Handle,
}

/// How long the end of the second thread is waited for: it has less than [`TURN`] to do, on a machine that may have much.
const END: Duration = Duration::from_millis(500);

/// The second thread; it ends, with all it serves, when this is dropped. Its connections have timers and sockets of the daemon's own runtime,
/// which must still be there: so the drop waits for the end, half a second at most.
#[derive(Debug)]
pub(crate) struct Back {
    end: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<()>,
}

impl Drop for Back {
    fn drop(&mut self) {
        drop(self.end.take());
        // The thread's end of it is dropped with the last it did. Awaiting that would poll connections whose timers are of that thread.
        if self.ended.recv_timeout(END) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("thread for unauthenticated connections did not stop");
        }
    }
}

impl Lanes {
    /// This thread's runtime, and a second one on a thread of its own.
    ///
    /// # Errors
    /// What the system says when there is no thread.
    pub(crate) fn new() -> io::Result<(Self, Back)> {
        // Without a driver for sockets: none is made there.
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let back = runtime.handle().clone();
        let (end, told) = oneshot::channel::<()>();
        let (alive, ended) = mpsc::channel::<()>();
        std::thread::Builder::new().name("others".into()).spawn(move || {
            service::give_way(TURN);
            // An error is the other end that was dropped: that is the sign.
            let _ = runtime.block_on(told);
            drop(runtime);
            drop(alive);
        })?;
        Ok((Self { front: Handle::current(), back }, Back { end: Some(end), ended }))
    }

    /// Where those are served that never change.
    pub(crate) fn back(&self) -> &Handle {
        &self.back
    }

    /// Serves a connection, wherever it belongs at the time.
    pub(crate) fn serve(&self, conn: Arc<Conn>, connection: impl Future<Output = ()> + Send + 'static) {
        self.clone().go_on(conn, Box::pin(connection));
    }

    fn go_on(self, conn: Arc<Conn>, mut connection: Connection) {
        let lane = conn.lane();
        let there = match lane {
            Lane::Front => self.front.clone(),
            Lane::Back => self.back.clone(),
        };
        there.spawn(async move {
            let over = std::future::poll_fn(|cx| match connection.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending if conn.lane() != lane => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            });
            if !over.await {
                // Polled there, it asks anew to be woken for all it waits for.
                self.go_on(conn, connection);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Admission;

    #[tokio::test]
    async fn a_connection_goes_on_in_front_when_it_is_an_administrator_s() {
        let (lanes, _back) = Lanes::new().unwrap();
        let ticket = Admission::new(2, 2).admit([192, 0, 2, 1].into()).unwrap();
        let conn = Arc::clone(ticket.conn());
        let (ask, mut questions) = tokio::sync::mpsc::channel::<bool>(1);
        let (answer, mut answered) = tokio::sync::mpsc::channel(1);
        let here = std::thread::current().id();
        let mine = Arc::clone(&conn);
        lanes.serve(conn, async move {
            while let Some(administrator) = questions.recv().await {
                mine.mark_authenticated("somebody", administrator);
                tokio::task::yield_now().await;
                let _ = answer.send(std::thread::current().id() == here).await;
            }
        });
        let mut was_here = Vec::new();
        let asked = [false, true, true, false, false, true];
        for administrator in asked {
            ask.send(administrator).await.unwrap();
            was_here.push(answered.recv().await.unwrap());
        }
        assert_eq!(was_here, asked);
        drop(ask);
        assert_eq!(answered.recv().await, None);
    }

    #[tokio::test]
    async fn nothing_is_served_on_the_second_thread_any_more_once_it_was_dropped() {
        struct Slow(std::sync::mpsc::Sender<()>);
        impl Drop for Slow {
            fn drop(&mut self) {
                // The turn of another that the end comes in the middle of.
                std::thread::park_timeout(Duration::from_millis(100));
                let _ = self.0.send(());
            }
        }
        let (lanes, back) = Lanes::new().unwrap();
        let ticket = Admission::new(2, 2).admit([192, 0, 2, 1].into()).unwrap();
        let (gone, was_dropped) = std::sync::mpsc::channel();
        let (begun, begins) = oneshot::channel();
        let slow = Slow(gone);
        lanes.serve(Arc::clone(ticket.conn()), async move {
            let _slow = slow;
            let _ = begun.send(());
            std::future::pending::<()>().await;
        });
        begins.await.unwrap();
        drop(back);
        assert_eq!(was_dropped.try_recv(), Ok(()));
    }
}
