//! Events from the local log to the fleet, in order, each confirmed before the cursor moves past it.

use std::collections::VecDeque;
use std::future::IntoFuture as _;
use std::pin::Pin;
use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::StreamExt as _;
use ipc::{EventLog, Follow, LogEntry};
use service::Clock;
use tokio::time::Instant;
use units::Lasting;

use crate::config::Nats;
use crate::remote::{Line, Remote};
use crate::state_files::CursorFile;
use crate::window::Window;

/// Events on their way at most: 256 events of 1 KiB are what an outage may send twice.
const WINDOW: usize = 256;
/// How long a confirmation may take before what is on its way counts as lost.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
/// The cursor is written at most this often: a crash sends at most this much twice, and flash is spared.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Pause after a session that ended, and the longest one; it is doubled in between as long as no session comes to anything.
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(10);

type Confirmation = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The mirror of the event log.
pub(crate) struct Mirror {
    log: EventLog,
    remote: Remote,
    server: Nats,
    id: String,
    filters: Vec<String>,
    window: Window,
    /// Whether a stream kept the events of the last session.
    was_kept: bool,
    file: CursorFile,
}

impl Mirror {
    pub(crate) fn new(
        log: EventLog,
        remote: Remote,
        server: Nats,
        id: String,
        filters: Vec<String>,
        file: CursorFile,
    ) -> Self {
        let window = Window::new(file.cursor(), WINDOW);
        Self { log, remote, server, id, filters, window, was_kept: false, file }
    }

    /// Mirrors for ever, reporting the cursor; every failure outside or inside is waited out.
    pub(crate) async fn run(mut self, cursor: tokio::sync::watch::Sender<u64>) {
        let (clock, mut pause) = (Clock::new(), AGAIN);
        let (mut silent, mut broken) = (Lasting::default(), Lasting::default());
        loop {
            self.remote.wait_up().await;
            let after = self.window.restart();
            let follow = self.log.follow("event.>", Some(after)).await;
            if follow.is_ok()
                && let Some(said) = silent.works(clock.now())
            {
                tracing::info!(times = said.times, lasted = %said.lasts, "fleet: event log responds again");
            }
            match follow {
                Ok(follow) if follow.ahead().is_some() => {
                    // The log was lost and has begun anew: none of what it has now was sent.
                    tracing::warn!(
                        cursor = self.window.cursor(),
                        last = follow.ahead(),
                        "fleet: event log was reset"
                    );
                    self.window = Window::new(0, WINDOW);
                }
                Ok(follow) => {
                    if follow.lost() > 0 {
                        tracing::warn!(
                            lost = follow.lost(),
                            "events dropped from log before they were mirrored"
                        );
                    }
                    let began = Instant::now();
                    let why = self.session(follow, &cursor).await;
                    let is_good = self.window.cursor() != after || began.elapsed() > AGAIN_MAX;
                    pause = next_pause(pause, is_good);
                    if is_good {
                        broken.works(clock.now());
                    }
                    if let Some(said) = broken.fails(clock.now()) {
                        let (times, cursor) = (said.times, self.window.cursor());
                        tracing::info!(%why, cursor, times, lasts = %said.lasts, "fleet: mirror restarted");
                    }
                }
                Err(error) => {
                    pause = next_pause(pause, false);
                    if let Some(said) = silent.fails(clock.now()) {
                        tracing::warn!(%error, times = said.times, lasts = %said.lasts, "fleet: event log not responding");
                    }
                }
            }
            self.file.save(self.window.cursor()).await;
            // Whatever ended the session needs a moment; without it a refusing server would be asked in a tight loop.
            tokio::time::sleep(pause).await;
        }
    }

    /// Mirrors until something fails, and says what.
    async fn session(&mut self, mut follow: Follow, cursor: &tokio::sync::watch::Sender<u64>) -> String {
        let line = match Line::open(&self.server, &self.id).await {
            Ok(line) => line,
            Err(error) => return error.to_string(),
        };
        let probe = format!("ubmc.{}.event.host.system.state", self.id);
        let kept = match line.is_kept(&probe).await {
            Some(kept) => kept,
            // A stream that kept events is not gone because its server is not ready: what is sent now would be in no stream.
            None if self.was_kept => return "the server does not say whether a stream keeps events".into(),
            None => false,
        };
        self.was_kept = kept;
        let mut echo = match line.nats.subscribe(format!("_INBOX.ubmc.{}.echo", self.id)).await {
            Ok(echo) => echo,
            Err(error) => return error.to_string(),
        };
        let mut confirmations: VecDeque<(u64, Confirmation)> = VecDeque::new();
        let mut echo_asked: Option<(u64, Instant)> = None;
        let mut last_sent = self.window.cursor();
        let mut save = tokio::time::interval(SAVE_EVERY);
        loop {
            // Without a stream there, the server's echo of a marker confirms all that was sent before it.
            if !kept && echo_asked.is_none() && !self.window.is_idle() {
                let marker = last_sent.to_string();
                let subject = format!("_INBOX.ubmc.{}.echo", self.id);
                if let Err(error) = line.nats.publish(subject, marker.into()).await {
                    return error.to_string();
                }
                echo_asked = Some((last_sent, Instant::now() + CONFIRM_WITHIN));
            }
            let oldest = confirmations.front_mut();
            tokio::select! {
                () = line.wait_down() => return "disconnected".into(),
                _ = save.tick() => self.file.save(self.window.cursor()).await,
                Some(entry) = follow.next(), if self.window.has_room() => match entry {
                    Ok(entry) => {
                        last_sent = entry.sequence;
                        if !self.filters.iter().any(|f| nats::subject::matches(f.as_bytes(), entry.subject.as_bytes())) {
                            self.window.skipped(entry.sequence);
                            continue;
                        }
                        match self.send(&line, &entry, kept).await {
                            Ok(confirmation) => {
                                self.window.sent(entry.sequence);
                                confirmations.extend(confirmation.map(|c| (entry.sequence, c)));
                            }
                            Err(why) => return why,
                        }
                    }
                    Err(error) => return error.to_string(),
                },
                confirmed = async { match oldest { Some((_, c)) => c.await, None => std::future::pending().await } } => {
                    let Some((sequence, _)) = confirmations.pop_front() else { continue };
                    if let Err(why) = confirmed {
                        return why;
                    }
                    if self.window.confirmed(sequence) {
                        cursor.send_replace(self.window.cursor());
                    }
                }
                Some(message) = echo.next() => {
                    let marker = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse::<u64>().ok());
                    // What was sent after the marker is confirmed by the next one.
                    if marker.is_some() && marker == echo_asked.map(|(sequence, _)| sequence) {
                        let up_to = marker.unwrap_or(0);
                        echo_asked = None;
                        for sequence in self.window.cursor() + 1..=up_to {
                            self.window.confirmed(sequence);
                        }
                        cursor.send_replace(self.window.cursor());
                    }
                }
                () = async { match echo_asked { Some((_, late)) => tokio::time::sleep_until(late).await, None => std::future::pending().await } } => {
                    return "no echo".into();
                }
            }
        }
    }

    /// Sends one event; with a stream there, returns what to wait for.
    async fn send(&self, line: &Line, entry: &LogEntry, kept: bool) -> Result<Option<Confirmation>, String> {
        let subject = format!("ubmc.{}.{}", self.id, entry.subject);
        let mut headers = HeaderMap::new();
        // A server that keeps a stream drops the second copy of an event that an outage made us send twice.
        headers.insert("Nats-Msg-Id", format!("{}-{}", self.id, entry.sequence));
        headers.insert("Ubmc-Sequence", entry.sequence.to_string());
        if kept {
            let ack = line
                .jetstream
                .publish_with_headers(subject, headers, entry.payload.clone())
                .await
                .map_err(|error| error.to_string())?;
            let confirmation = async move {
                match tokio::time::timeout(CONFIRM_WITHIN, ack.into_future()).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("no acknowledgement".to_string()),
                }
            };
            return Ok(Some(Box::pin(confirmation)));
        }
        line.nats
            .publish_with_headers(subject, headers, entry.payload.clone())
            .await
            .map_err(|error| error.to_string())?;
        Ok(None)
    }
}

/// The pause after a session, or an attempt at one, that followed `pause`.
fn next_pause(pause: Duration, is_good: bool) -> Duration {
    if is_good { AGAIN } else { (pause * 2).min(AGAIN_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_come_to_nothing_are_begun_ever_less_often() {
        let pauses: Vec<_> = (0..8)
            .scan(AGAIN, |pause, _| {
                *pause = next_pause(*pause, false);
                Some(pause.as_millis())
            })
            .collect();
        assert_eq!(pauses, [400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
        assert_eq!(next_pause(AGAIN_MAX, true), AGAIN);
    }
}
