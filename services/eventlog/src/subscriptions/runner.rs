//! Sends what one subscription asks for: reads the log, or takes the metric reports that were made, and posts; and heartbeats when they are due.

use std::sync::Arc;

use outward::Destination;
use redfish::MetricReport;
use schema::v1alpha1 as v1;
use service::Clock;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use units::Millis;

use super::attempts::Retry;
use super::delivery::Step;
use super::post::Poster;
use super::record::Record;
use super::{AGAIN, Subscription, lock};
use crate::keeper::{News, Shared};
use crate::telemetry::Made;

/// What is read of the log at once: events and bytes.
const READ: (usize, usize) = (32, 32 * 1024);
/// The latest a runner looks again by itself.
const LOOK_AGAIN: Millis = Millis::from_secs(60);

/// Sends what one subscription asks for.
pub(super) struct Runner {
    pub(super) subscription: Arc<Subscription>,
    // Neither of them can be changed.
    pub(super) filters: v1::EventSubscription,
    pub(super) to: Result<Destination, &'static str>,
    pub(super) shared: Arc<Shared>,
    pub(super) poster: Arc<Poster>,
    pub(super) clock: Clock,
    pub(super) retry: Retry,
    /// Hears that the log began anew for it.
    pub(super) anew: Arc<Notify>,
    /// The metric reports that were made, where it sends those.
    pub(super) made: Option<watch::Receiver<Made>>,
    /// The number of the newest of those that it has looked at.
    pub(super) seen: u64,
}

impl Runner {
    /// Runs until it is over, and says why.
    pub(super) async fn run(mut self) -> &'static str {
        let log = self.shared.bus.event_log();
        let mut news = self.shared.news.subscribe();
        let mut life = news.borrow().life;
        loop {
            let News { life: now_life, last } = *news.borrow_and_update();
            // While it is suspended they are left to be found when it is resumed.
            let takes = !lock(&self.subscription.delivery).progress().suspended;
            let seen = &mut self.seen;
            let reports = self.made.as_mut().filter(|_| takes).and_then(|made| new_reports(made, seen));
            // Until the log has been read once nobody knows its end; who sends reports does not ask for it.
            let known = self.made.is_some() || self.shared.is_known();
            let step = {
                let mut delivery = lock(&self.subscription.delivery);
                if now_life != life {
                    life = now_life;
                    if self.made.is_none() {
                        delivery.begin_anew(last);
                        self.anew.notify_one();
                    }
                }
                if let Some(reports) = reports {
                    delivery.made(&reports);
                }
                if known { delivery.step(self.clock.now(), last) } else { Step::News }
            };
            match step {
                Step::End(why) => return why,
                Step::Rest => self.subscription.wake.notified().await,
                Step::News => {
                    let is_of_log = self.made.is_none();
                    // Until the log's end is known one that is due waits for that.
                    let due = lock(&self.subscription.delivery).heartbeat_due().filter(|_| known);
                    tokio::select! {
                        () = self.subscription.wake.notified() => {}
                        () = self.clock.sleep_until(due) => {}
                        () = more_reports(&mut self.made) => {}
                        changed = news.changed(), if is_of_log => if changed.is_err() { return "the daemon stops" },
                    }
                }
                Step::Pause(until) => {
                    let until = until.min(self.clock.now().saturating_add(LOOK_AGAIN));
                    tokio::select! {
                        () = self.subscription.wake.notified() => {}
                        () = self.clock.sleep_until(Some(until)) => {}
                    }
                }
                Step::Read(after) => match log.read(after, READ.0, READ.1).await {
                    Ok(entries) => {
                        let selects = |event: &v1::Event| redfish::resources::selects(&self.filters, event);
                        lock(&self.subscription.delivery).took(&entries, last, selects);
                    }
                    Err(status) => {
                        tracing::debug!(%status, "cannot read events for subscription");
                        lock(&self.subscription.delivery).took_nothing();
                        sleep(AGAIN).await;
                    }
                },
                Step::Send(batch) => {
                    let record = lock(&self.subscription.record).clone();
                    let id = batch.upto.to_string();
                    // The text is all that is held while it is sent, beside what the delivery has.
                    let body =
                        redfish::resources::event_payload(&self.filters, &batch.events, &id, &record.context)
                            .to_string();
                    drop(batch);
                    self.send(&record, &body).await;
                }
                Step::Heartbeat => {
                    let record = lock(&self.subscription.record).clone();
                    let body = redfish::resources::heartbeat_payload(self.clock.wall(), &record.context);
                    let result = self.post(&record, &body.to_string()).await;
                    let (now, mut delivery) = (self.clock.now(), lock(&self.subscription.delivery));
                    delivery.beat(now, record.policy(), self.retry, result);
                }
                Step::Report(report) => {
                    let record = lock(&self.subscription.record).clone();
                    let body = report.text(&record.context);
                    drop(report);
                    self.send(&record, &body).await;
                }
            }
        }
    }

    /// Posts events or a report, and tells the delivery what became of it.
    async fn send(&self, record: &Record, body: &str) {
        let result = self.post(record, body).await;
        lock(&self.subscription.delivery).sent(self.clock.now(), record.policy(), self.retry, result);
    }

    /// Posts a body.
    async fn post(&self, record: &Record, body: &str) -> Result<(), String> {
        let result = match &self.to {
            Ok(to) => {
                self.poster.post(to, record.verify_certificate, &record.http_headers, body.as_bytes()).await
            }
            Err(why) => Err((*why).to_owned()),
        };
        if let Err(why) = &result {
            tracing::debug!(subscription = self.subscription.id, why, "cannot send to subscriber");
        }
        result
    }
}

/// Reports that were made since the last time; `None` when none were.
fn new_reports(made: &mut watch::Receiver<Made>, seen: &mut u64) -> Option<Vec<Arc<MetricReport>>> {
    if !made.has_changed().unwrap_or(false) {
        return None;
    }
    let made = made.borrow_and_update();
    Some(made.after(std::mem::replace(seen, made.last())))
}

/// Returns when reports were made; never where none are sent, or will be.
async fn more_reports(made: &mut Option<watch::Receiver<Made>>) {
    if let Some(made) = made
        && made.changed().await.is_ok()
    {
        // Whoever is told of them still finds them new.
        made.mark_changed();
        return;
    }
    std::future::pending().await
}
