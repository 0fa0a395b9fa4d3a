//! The loop: calls in, each list in a task of its own, answers out.

use std::sync::Arc;

use ipc::{Outbox, Status};
use schema::server::EventServiceCall;
use service::Context;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::keeper::{self, Shared};
use crate::lists;
use crate::turns::Turns;
use crate::{Config, Error};

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let Config {} = context.config()?;
    let shared = Arc::new(Shared::new(context.bus.clone()));
    let mut calls = context.bus.calls().await?;
    let (outbox, _sender) = Outbox::new(context.bus.clone());
    // Dropped with the loop, and ends with it.
    let mut keeper = JoinSet::new();
    keeper.spawn(keeper::keep(Arc::clone(&shared)));
    let mut turns = Turns::default();
    let mut running: JoinSet<String> = JoinSet::new();
    let (mut shutdown, mut heartbeat) = (context.shutdown.clone(), context.heartbeat());
    context.ready();
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return Ok(()),
            () = heartbeat.tick() => {}
            Some(ended) = running.join_next() => match ended {
                Ok(account) => turns.done(account.as_str()),
                Err(error) => tracing::error!(%error, "event list aborted"),
            },
            call = calls.next() => {
                let Some(EventServiceCall::ListEvents(wanted, reply)) = call else { return Ok(()) };
                let account = reply.context().username().to_owned();
                if let Err((_, reply)) = turns.offer(account, (wanted, reply)) {
                    let status = Status::resource_exhausted("too many lists of events wait; ask again later");
                    outbox.answer(reply, Err(status.with_reason("TOO_MANY_LISTS")));
                }
            }
        }
        while let Some((account, (wanted, reply))) = turns.next() {
            let shared = Arc::clone(&shared);
            running.spawn(async move {
                let patience = reply.context().remaining().unwrap_or(lists::PATIENCE);
                let answer = lists::list(&shared, wanted, Instant::now() + patience.mul_f32(0.9)).await;
                reply.send(answer).await;
                account
            });
        }
    }
}
