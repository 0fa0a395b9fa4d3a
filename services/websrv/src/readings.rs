//! Streams of what is true now: the whole snapshot first, then what the bus tells of changes, and the whole snapshot again whenever something
//! may have been missed.
//!
//! Nothing is kept for a stream: all share what came last, and one that is slower than that has the snapshot again.
//!
//! Silence is no news of a sensor, but it may be that of a dead daemon. The live model knows the difference (docs/model.md), and a stream says it
//! once: all readings again, as they were last known and marked as old (I-8). From then on nothing is told piece by piece until the daemon has
//! answered for all of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ipc::{CallContext, Code, Status};
use model::{Domain, Reason, Snapshot, State};
use prost::Message as _;
use schema::v1alpha1 as api;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// Messages that are shared by all streams; of 300 sensors some 8 KiB each at most.
const SHARED: usize = 32;
/// Pause before a daemon that does not answer is asked again for the snapshot.
const AGAIN: Duration = Duration::from_millis(500);
/// How long it may stay away until a stream ends whose client has not been told.
const GIVE_UP: Duration = Duration::from_secs(30);
/// How long the first snapshot is waited for while the daemon is not there.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
enum Told {
    Message(Arc<str>, Bytes),
    /// Some may have been missed.
    Resync,
}

/// What the bus tells under `reading.>`, for all streams.
#[derive(Debug)]
pub(crate) struct Readings {
    bus: ipc::Client,
    model: model_feed::Reader,
    told: broadcast::Sender<Told>,
}

impl Readings {
    pub(crate) fn new(bus: ipc::Client, model: model_feed::Reader) -> Self {
        Self { bus, model, told: broadcast::channel(SHARED).0 }
    }

    /// A message of the bus.
    pub(crate) fn heard(&self, subject: &str, payload: Bytes) {
        if self.told.receiver_count() > 0 {
            // Fails when the last stream went in this moment.
            let _ = self.told.send(Told::Message(subject.into(), payload));
        }
    }

    /// Some may have been missed.
    pub(crate) fn missed(&self) {
        let _ = self.told.send(Told::Resync);
    }

    /// Opens a stream of `subject`, whose snapshot the method at `snapshot` answers.
    ///
    /// # Errors
    /// What the owner answers; `UNAVAILABLE` when it is not there.
    pub(crate) async fn open(
        &self,
        subject: String,
        snapshot: &'static str,
        context: CallContext,
    ) -> Result<SnapshotStream, Status> {
        // Before the snapshot is taken: what changes after it is heard.
        let told = self.told.subscribe();
        let first = CallContext { patience: PATIENCE, ..context.clone() };
        let first = self.bus.raw_call(snapshot, Bytes::new(), &first).await?;
        Ok(SnapshotStream {
            bus: self.bus.clone(),
            model: self.model.clone(),
            told,
            subject,
            snapshot,
            context,
            first: Some(first),
            is_old: false,
            failing: None,
            pause: None,
        })
    }
}

/// Whether it is known that nobody says how the sensors are.
fn is_silent(snapshot: &Snapshot) -> bool {
    // What was missed is being asked for, here as there.
    let is_away = |reason| matches!(reason, Reason::Gone | Reason::Overdue | Reason::BusAway);
    matches!(snapshot.status(Domain::Readings).state, State::Stale(reason) if is_away(reason))
}

fn is_live(snapshot: &Snapshot) -> bool {
    snapshot.status(Domain::Readings).state == State::Live
}

/// All readings as they were last known, at `now_ms` since 1970. What was good is stale; the life of the daemon is none, so that nothing that it
/// said piece by piece fits.
fn last_known(snapshot: &Snapshot, now_ms: u64) -> api::SensorReadings {
    let quality = |quality| match quality {
        model::Quality::Good | model::Quality::Stale => api::SensorQuality::Stale,
        model::Quality::Unavailable => api::SensorQuality::Unavailable,
        model::Quality::Failed => api::SensorQuality::Failed,
    };
    let mut readings = api::SensorReadings {
        time: Some(schema::time::timestamp(now_ms)),
        full: true,
        ..api::SensorReadings::default()
    };
    for (number, sensor) in (0..).zip(snapshot.sensors()) {
        let measured = sensor.measured_ms();
        let age = if measured == 0 { 0 } else { now_ms.saturating_sub(measured) };
        readings.ids.push(sensor.id.to_owned());
        readings.numbers.push(number);
        readings.values.push(sensor.value().unwrap_or(f64::NAN));
        readings.qualities.push(quality(sensor.quality()).into());
        readings.statuses.push(sensor.status().into());
        readings.ages_ms.push(u32::try_from(age).unwrap_or(u32::MAX));
    }
    readings
}

/// One open stream.
#[derive(Debug)]
pub(crate) struct SnapshotStream {
    bus: ipc::Client,
    model: model_feed::Reader,
    told: broadcast::Receiver<Told>,
    subject: String,
    snapshot: &'static str,
    context: CallContext,
    first: Option<Bytes>,
    /// The client was told that what it has is old.
    is_old: bool,
    /// Since when the snapshot is wanted and does not come.
    failing: Option<Instant>,
    pause: Option<Instant>,
}

/// What a stream waits for.
enum Heard {
    Told(Result<Told, broadcast::error::RecvError>),
    /// The model says that nobody says anything any more.
    Silent(Arc<Snapshot>),
    /// The model says that the daemon is back.
    Back,
}

impl SnapshotStream {
    /// The next message. Safe to cancel.
    ///
    /// # Errors
    /// The owner says that there is no snapshot, or stays away for long and nothing is known that could be shown as old.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Status> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            if let Some(since) = self.failing {
                if let Some(old) = self.old() {
                    return Ok(old);
                }
                if let Some(pause) = self.pause {
                    tokio::time::sleep_until(pause).await;
                }
                match self.bus.raw_call(self.snapshot, Bytes::new(), &self.context).await {
                    Ok(snapshot) => {
                        (self.failing, self.pause, self.is_old) = (None, None, false);
                        return Ok(snapshot);
                    }
                    Err(status) if status.code != Code::Unavailable && !self.is_old => return Err(status),
                    Err(status) if since.elapsed() >= GIVE_UP => {
                        if !self.is_old {
                            return Err(status);
                        }
                        // The client knows: what the daemon says next is waited for.
                        (self.failing, self.pause) = (None, None);
                    }
                    Err(_) => self.pause = Some(Instant::now() + AGAIN),
                }
                continue;
            }
            match self.heard().await {
                Heard::Told(Ok(Told::Message(subject, payload))) if *subject == *self.subject => {
                    if !self.is_old {
                        return Ok(payload);
                    }
                    self.failing = Some(Instant::now());
                }
                Heard::Told(Ok(Told::Message(..))) => {}
                Heard::Told(Ok(Told::Resync) | Err(broadcast::error::RecvError::Lagged(_))) | Heard::Back => {
                    self.failing = Some(Instant::now());
                }
                Heard::Told(Err(broadcast::error::RecvError::Closed)) => {
                    return Err(Status::unavailable("the bus is closed"));
                }
                Heard::Silent(snapshot) => return Ok(self.mark(&snapshot)),
            }
        }
    }

    async fn heard(&mut self) -> Heard {
        let is_old = self.is_old;
        tokio::select! {
            biased;
            told = self.told.recv() => Heard::Told(told),
            Some(snapshot) = self.model.until(|snapshot| if is_old { is_live(snapshot) } else { is_silent(snapshot) }) => {
                if is_old { Heard::Back } else { Heard::Silent(snapshot) }
            }
        }
    }

    /// What was last known, where nobody says anything any more and the client has not been told.
    fn old(&mut self) -> Option<Bytes> {
        let snapshot = (!self.is_old).then(|| self.model.snapshot())?;
        is_silent(&snapshot).then(|| self.mark(&snapshot))
    }

    fn mark(&mut self, snapshot: &Snapshot) -> Bytes {
        self.is_old = true;
        last_known(snapshot, schema::time::unix_ms(SystemTime::now())).encode_to_vec().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Answer, Failure, Input, Model};
    use units::Mono;

    #[test]
    fn what_was_last_known_is_as_old_as_the_last_word_about_its_bus() {
        let mut model = Model::new(1);
        let mut out = Vec::new();
        model.step(Mono::ZERO, 1_000, Input::Tick, &mut out);
        let full = api::SensorReadings {
            time: Some(schema::time::timestamp(1_000)),
            epoch: 1,
            sequence: 1,
            full: true,
            ids: vec!["inlet".into(), "outlet".into()],
            numbers: vec![0, 1],
            values: vec![20.0, 30.0],
            qualities: vec![api::SensorQuality::Good.into(); 2],
            statuses: vec![api::SensorStatus::Enabled.into(); 2],
            ages_ms: vec![0, 0],
            ..Default::default()
        };
        let sensor =
            |id: &str, bus: &str| api::Sensor { id: id.into(), bus: Some(bus.into()), ..Default::default() };
        for query in std::mem::take(&mut out) {
            let answer = match query.domain {
                Domain::Sensors => Ok(Answer::Sensors(vec![sensor("inlet", "a"), sensor("outlet", "b")])),
                Domain::Readings => Ok(Answer::Readings(full.clone())),
                _ => Err(Failure::Other),
            };
            model.step(Mono::ZERO, 1_000, Input::Answered(query, answer), &mut out);
        }
        let told = api::SensorReadings {
            time: Some(schema::time::timestamp(4_000)),
            epoch: 1,
            sequence: 2,
            bus: "a".into(),
            ..Default::default()
        };
        model.step(Mono::ZERO, 4_000, Input::Readings(Box::new(told)), &mut out);
        assert_eq!(last_known(model.snapshot(), 6_000).ages_ms, [2_000, 5_000]);
    }
}
