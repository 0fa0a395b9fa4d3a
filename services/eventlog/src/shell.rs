//! The loop: calls in, each list in a task of its own, answers out.

use std::sync::Arc;
use std::time::Duration;

use ipc::{Outbox, Status};
use schema::server::{EventServiceCall, EventlogCall};
use service::{Clock, Context};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::keeper::{self, Shared};
use crate::lists;
use crate::resolver::{self, Change};
use crate::subscriptions::{self, Command, Shown};
use crate::telemetry;
use crate::turns::Turns;
use crate::{Config, Error};

/// Changes of subscriptions that wait, and as many of what is resolved, and of what clients have made of telemetry.
const COMMANDS: usize = 32;
/// How long the order to stop waits for what is still to be stored. The operator gives a daemon 2 s.
const GOODBYE: Duration = Duration::from_secs(1);

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let config: Config = context.config()?;
    let shared = Arc::new(Shared::new(context.bus.clone()));
    let mut calls = context.bus.calls().await?;
    let (outbox, _sender) = Outbox::new(context.bus.clone());
    // Dropped with the loop, and ends with it.
    let mut keeper = JoinSet::new();
    keeper.spawn(keeper::keep(Arc::clone(&shared)));
    let defined = Arc::new(telemetry::Shown::new(&config.telemetry));
    let made = Arc::new(watch::Sender::default());
    let pace = telemetry::Pace {
        every: config.subscriptions.report_interval(),
        least: config.telemetry.least(),
        sample: config.telemetry.sample(),
    };
    // With the keeper. It does not need the store: reports of the service's own are made without it.
    keeper.spawn(telemetry::make(
        context.bus.clone(),
        Clock::new(),
        pace,
        Arc::clone(&defined),
        Arc::clone(&made),
    ));
    let shown = Arc::new(Shown::new(&config.subscriptions));
    let (commands, waiting) = mpsc::channel(COMMANDS);
    let (stop, stopped) = oneshot::channel();
    // As the keeper.
    let mut owner = JoinSet::new();
    owner.spawn(subscriptions::own(
        Arc::clone(&shared),
        config.subscriptions,
        subscriptions::Reports { made, defined: Arc::clone(&defined) },
        Arc::clone(&shown),
        outbox.clone(),
        waiting,
        stopped,
    ));
    let subscribed = Arc::clone(&shown);
    let (definitions, asked) = mpsc::channel(COMMANDS);
    let (stop_telemetry, telemetry_stopped) = oneshot::channel();
    owner.spawn(telemetry::own(
        context.bus.clone(),
        config.telemetry,
        Arc::clone(&defined),
        Box::new(move |uri: &str| subscribed.names(uri)),
        outbox.clone(),
        asked,
        telemetry_stopped,
    ));
    let (changes, planned) = mpsc::channel(COMMANDS);
    let (stop_resolver, resolver_stopped) = oneshot::channel();
    owner.spawn(resolver::own(Arc::clone(&shared), outbox.clone(), planned, resolver_stopped));
    let change = |change: Change| {
        if let Err(refused) = changes.try_send(change) {
            refused.into_inner().refuse(service::too_many_calls("changes of events"), &outbox);
        }
    };
    let mut turns = Turns::default();
    let mut running: JoinSet<String> = JoinSet::new();
    let (mut shutdown, mut heartbeat) = (context.shutdown.clone(), context.heartbeat());
    context.ready();
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => break,
            () = heartbeat.tick() => {}
            Some(ended) = running.join_next() => match ended {
                Ok(account) => turns.done(account.as_str()),
                Err(error) => tracing::error!(%error, "event list aborted"),
            },
            call = calls.next() => {
                let Some(call) = call else { break };
                let call = match call {
                    EventlogCall::EventService(call) => call,
                    EventlogCall::TelemetryService(call) => {
                        if let Some(command) = telemetry::Command::of(call, &defined, &outbox)
                            && let Err(refused) = definitions.try_send(command)
                        {
                            refused.into_inner().refuse(service::too_many_calls("changes of telemetry"), &outbox);
                        }
                        continue;
                    }
                };
                let command = match call {
                    EventServiceCall::ListEvents(wanted, reply) => {
                        let account = reply.context().username().to_owned();
                        if let Err((_, reply)) = turns.offer(account, (wanted, reply)) {
                            let text = "too many lists of events wait: ask again in a second";
                            let status = Status::resource_exhausted(text).with_reason("TOO_MANY_LISTS");
                            outbox.answer(reply, Err(status.with_wait(service::CALLS_WAIT)));
                        }
                        None
                    }
                    EventServiceCall::ResolveEvents(wanted, reply) => {
                        change(Change::Resolve(wanted, reply));
                        None
                    }
                    EventServiceCall::ReopenEvents(wanted, reply) => {
                        change(Change::Reopen(wanted, reply));
                        None
                    }
                    EventServiceCall::ClearEvents(wanted, reply) => {
                        change(Change::Clear(wanted, reply));
                        None
                    }
                    EventServiceCall::CreateEventSubscription(wanted, reply) => Some(Command::Create(wanted, reply)),
                    EventServiceCall::ListEventSubscriptions(_, reply) => {
                        let by = reply.context().principal.clone().unwrap_or_default();
                        outbox.answer(reply, shown.list(&by));
                        None
                    }
                    EventServiceCall::UpdateEventSubscription(wanted, reply) => Some(Command::Update(wanted, reply)),
                    EventServiceCall::DeleteEventSubscription(wanted, reply) => Some(Command::Delete(wanted, reply)),
                    EventServiceCall::SendTestEvent(wanted, reply) => Some(Command::Test(wanted, reply)),
                };
                if let Some(command) = command
                    && let Err(refused) = commands.try_send(command)
                {
                    refused.into_inner().refuse(service::too_many_calls("calls about subscriptions"), &outbox);
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
    let _ = (stop.send(()), stop_resolver.send(()), stop_telemetry.send(()));
    // A store that does not answer now costs a destination events that come again, and not the order to stop its time.
    let _ = tokio::time::timeout(GOODBYE, async { while owner.join_next().await.is_some() {} }).await;
    Ok(())
}
