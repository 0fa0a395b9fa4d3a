//! What the SEL is made of: the newest events of the log that have a form there, each with its number in the log. Others, however many, displace none
//! of them.
//!
//! ```text
//! stream EVENTS, event.sensor.>, event.ipmi.> ──► follow ──► shell ──► Window ──► Sel
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use ipc::{EventLog, Follow, LogEntry, Status};
use ipmi::{sdr, sel};
use prost::Message as _;
use schema::v1alpha1 as v1;
use service::Clock;
use tokio::sync::mpsc;
use units::Lasting;
use v1::event::Payload;

use crate::thresholds;

/// Events that have a form in the SEL: of sensors, which the bus lets nobody but their owner publish, and those that clients of IPMI add, which are
/// this daemon's. Each is followed by itself, so they come out of order.
const SUBJECTS: [&str; 2] = ["event.sensor.>", "event.ipmi.>"];
/// Which of [`SUBJECTS`] an event of this subject comes by: within one of them numbers ascend.
pub(crate) fn stream(subject: &str) -> usize {
    usize::from(subject.starts_with("event.ipmi."))
}

/// Up to where the streams of [`SUBJECTS`] were looked at: the numbers of events in the log, `None` before any.
pub(crate) type Looked = [Option<u64>; SUBJECTS.len()];

/// Events kept, of which the SEL is made, and bytes of them as they travel on the bus.
pub(crate) const EVENTS: u16 = 256;
const BYTES: usize = 256 * 1024;
/// A record's number is that of its event in the log less a multiple of this. The sixteen bits hold two times as many, the older ones that are kept, and
/// neither 0 nor FFFFh.
const STEP: u64 = 32_512;
/// Numbers for those that are older.
const OLDER: u16 = 256;
/// Steps of reading on their way to the shell.
const QUEUE: usize = 64;
/// Nothing for so long is the end of what there is, if some of it went meanwhile. One that cannot be read holds up the others for three seconds.
const QUIET: Duration = Duration::from_secs(10);
/// Pause after the log was lost, and the longest one.
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// A crossing of a threshold that has a form, by its event.
pub(crate) fn crossing(event: &v1::Event) -> Option<(u8, &v1::SensorThresholdCrossed)> {
    let Some(Payload::SensorThresholdCrossed(crossed)) = &event.payload else { return None };
    let bit = thresholds::bit(crossed.side(), crossed.level())?;
    Some((sdr::offset(bit), crossed))
}

/// A record that a client added, by its event.
pub(crate) fn added(event: &v1::Event) -> Option<[u8; sel::LENGTH]> {
    let Some(Payload::IpmiSelRecord(added)) = &event.payload else { return None };
    added.record.as_slice().try_into().ok()
}

/// What reading the log comes to.
#[derive(Debug)]
pub(crate) enum Read {
    /// The log is another one: what it had is not of this.
    Anew,
    /// An event of it.
    Entry(LogEntry),
    /// All it had when the reading began is read; the number of its newest event, of any kind.
    Whole(u64),
}

/// The newest events that have a form in the SEL.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Oldest first, by their number in the log.
    events: VecDeque<(usize, v1::Event)>,
    bytes: usize,
    /// Counts what changed.
    change: u64,
    is_whole: bool,
}

impl Window {
    pub(crate) fn take(&mut self, read: Read) {
        match read {
            Read::Anew => *self = Self { change: self.change + 1, ..Self::default() },
            Read::Whole(_) => self.is_whole = true,
            Read::Entry(entry) => self.entry(&entry),
        }
    }

    fn entry(&mut self, entry: &LogEntry) {
        let at = self.events.partition_point(|(_, event)| event.sequence < entry.sequence);
        // Said once more, as after the log was away.
        if self.events.get(at).is_some_and(|(_, event)| event.sequence == entry.sequence) {
            return;
        }
        let event = match v1::Event::decode(entry.payload.clone()) {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(sequence = entry.sequence, %error, "cannot decode an event of the log for the SEL");
                return;
            }
        };
        let size = entry.payload.len();
        // One that is larger than all that may be kept is not worth all the others.
        if (crossing(&event).is_none() && added(&event).is_none()) || size > BYTES {
            return;
        }
        self.change += 1;
        self.bytes += size;
        self.events.insert(at, (size, v1::Event { sequence: entry.sequence, ..event }));
        while self.events.len() > usize::from(EVENTS) || self.bytes > BYTES {
            let Some((gone, _)) = self.events.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(gone);
        }
    }

    /// Whether the log was read since this began: before that nobody knows what is in the SEL.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Differs whenever events that stay have other numbers.
    pub(crate) fn numbering(&self) -> u64 {
        older(self.events.back().map_or(0, |(_, event)| event.sequence))
    }

    /// Differs whenever the events do.
    pub(crate) fn change(&self) -> u64 {
        self.change
    }

    /// The events, oldest first, with the numbers of their records.
    pub(crate) fn events(&self) -> impl Iterator<Item = (u16, &v1::Event)> {
        let numbers = numbers(self.events.iter().map(|(_, event)| event.sequence));
        let without = self.events.len() - numbers.len();
        numbers.into_iter().zip(self.events.iter().skip(without).map(|(_, event)| event))
    }
}

/// Up to where numbers in the log are older than sixteen bits can tell when `newest` is the newest one; a multiple of [`STEP`].
fn older(newest: u64) -> u64 {
    (newest / STEP).saturating_sub(1) * STEP
}

/// The numbers of records, ascending from 1 to FFFEh at most, of events whose numbers in the log ascend. They depend on nothing but those, so they are
/// the same after a restart; they change when the newest number passes a multiple of [`STEP`], and only then. The numbers are the log's own until the
/// second time. Of more than [`OLDER`] events that are older the newest have one.
fn numbers(sequences: impl DoubleEndedIterator<Item = u64>) -> Vec<u16> {
    let mut sequences = sequences.rev().peekable();
    let older = older(sequences.peek().copied().unwrap_or(0));
    let room = if older == 0 { 0 } else { OLDER };
    let mut left = room;
    let mut out: Vec<u16> = sequences
        .map_while(|sequence| match sequence.checked_sub(older) {
            Some(after) if after > 0 => {
                u16::try_from(after.saturating_add(room.into())).ok().filter(|number| *number < u16::MAX)
            }
            _ => {
                let number = (left > 0).then_some(left);
                left = left.saturating_sub(1);
                number
            }
        })
        .collect();
    out.reverse();
    out
}

/// Reads the log, and then what comes, for as long as somebody wants it.
pub(crate) fn reader(log: EventLog) -> (mpsc::Receiver<Read>, impl Future<Output = ()>) {
    let (to, read) = mpsc::channel(QUEUE);
    (read, follow(log, to))
}

async fn follow(log: EventLog, to: mpsc::Sender<Read>) {
    let (clock, mut pause, mut last) = (Clock::new(), AGAIN, [0; 2]);
    let mut silent = Lasting::default();
    loop {
        let before = last;
        let error = match session(&log, &to, &mut last).await {
            Ok(()) => return,
            Err(error) => error,
        };
        if last != before {
            silent.works(clock.now());
            pause = AGAIN;
        }
        if let Some(said) = silent.fails(clock.now()) {
            tracing::warn!(%error, times = said.times, lasts = %said.lasts, "cannot follow the event log for the SEL");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_MAX);
    }
}

/// Both, from where each is.
async fn both(log: &EventLog, [first, second]: [u64; 2]) -> Result<(Follow, Follow), Status> {
    let [sensors, added] = SUBJECTS;
    Ok((log.follow(sensors, Some(first)).await?, log.follow(added, Some(second)).await?))
}

/// Until the log is lost; `Ok` when nobody wants it any more.
async fn session(log: &EventLog, to: &mpsc::Sender<Read>, last: &mut [u64; 2]) -> Result<(), Status> {
    let (mut sensors, mut added) = both(log, *last).await?;
    if sensors.ahead().is_some() || added.ahead().is_some() {
        tracing::warn!(known = ?*last, "event log was reset: the SEL begins anew");
        *last = [0; 2];
        if to.send(Read::Anew).await.is_err() {
            return Ok(());
        }
        (sensors, added) = both(log, *last).await?;
    }
    let newest = log.bounds().await?.last;
    let [mut of_sensors, mut of_added] = *last;
    let is_through = |follow: &Follow, last: u64| last >= newest || follow.pending() == 0;
    let (mut is_whole, mut is_told) =
        ((is_through(&sensors, of_sensors), is_through(&added, of_added)), false);
    loop {
        if is_whole == (true, true) && !is_told {
            is_told = true;
            if to.send(Read::Whole(newest)).await.is_err() {
                return Ok(());
            }
        }
        // Neither loses anything when the other is sooner.
        let sooner = async {
            tokio::select! {
                next = sensors.next() => (true, next),
                next = added.next() => (false, next),
            }
        };
        let (is_of_sensors, next) = if is_told {
            sooner.await
        } else if let Ok(found) = tokio::time::timeout(QUIET, sooner).await {
            found
        } else {
            is_whole = (true, true);
            continue;
        };
        let Some(entry) = next.transpose()? else { return Ok(()) };
        if is_of_sensors {
            of_sensors = entry.sequence;
            is_whole.0 |= is_through(&sensors, of_sensors);
        } else {
            of_added = entry.sequence;
            is_whole.1 |= is_through(&added, of_added);
        }
        *last = [of_sensors, of_added];
        if to.send(Read::Entry(entry)).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn fill(window: &mut Window, from: &mut mpsc::Receiver<Read>, is_enough: impl Fn(&Window) -> bool) {
        while !is_enough(window) {
            let read = tokio::time::timeout(Duration::from_secs(20), from.recv()).await;
            window.take(read.expect("it comes").expect("it is read"));
        }
    }

    #[tokio::test]
    async fn what_comes_has_the_numbers_of_the_log_before_and_after_a_restart() {
        let bus = busd::testing::Bus::start().await;
        bus.client("operator").await.create_event_log().await.unwrap();
        let owner = bus.client("sensormon").await;
        let crossed = v1::SensorThresholdCrossed {
            sensor_id: "inlet".into(),
            side: v1::ThresholdSide::Upper.into(),
            level: v1::ThresholdLevel::Warning.into(),
            ..v1::SensorThresholdCrossed::default()
        };
        let publish = async |domain: &str| {
            let event = ipc::EventBuilder::new("sensormon", domain, "inlet", "threshold")
                .payload(Payload::SensorThresholdCrossed(crossed.clone()))
                .at(std::time::SystemTime::UNIX_EPOCH);
            owner.publish_event(&event).await.unwrap();
            owner.flush().await.unwrap();
        };
        publish("session").await;
        publish("sensor").await;
        let log = bus.client("ipmisrv").await.event_log();
        while log.bounds().await.unwrap().last < 2 {
            tokio::task::yield_now().await;
        }
        let (mut window, (mut read, follows)) = (Window::default(), reader(log.clone()));
        tokio::spawn(follows);
        fill(&mut window, &mut read, Window::is_whole).await;
        let numbers = |window: &Window| window.events().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(numbers(&window), [2]);
        publish("session").await;
        publish("sensor").await;
        fill(&mut window, &mut read, |window| window.events.len() == 2).await;
        assert_eq!(numbers(&window), [2, 4]);
        publish("session").await;
        while log.bounds().await.unwrap().last < 5 {
            tokio::task::yield_now().await;
        }
        let (mut window, (mut read, follows)) = (Window::default(), reader(log));
        tokio::spawn(follows);
        fill(&mut window, &mut read, |window| window.is_whole() && window.events.len() == 2).await;
        assert_eq!(numbers(&window), [2, 4], "others are the newest of the log");
        // What a client adds takes its place among them.
        let added = v1::IpmiSelRecord { record: vec![2; sel::LENGTH] };
        let event = ipc::EventBuilder::new("ipmisrv", "ipmi", "sel", "added")
            .payload(Payload::IpmiSelRecord(added))
            .at(std::time::SystemTime::UNIX_EPOCH);
        let own = bus.client("ipmisrv").await;
        own.publish_event(&event).await.unwrap();
        own.flush().await.unwrap();
        fill(&mut window, &mut read, |window| window.events.len() == 3).await;
        publish("sensor").await;
        fill(&mut window, &mut read, |window| window.events.len() == 4).await;
        assert_eq!(numbers(&window), [2, 4, 6, 7]);
    }

    proptest! {
        #[test]
        fn numbers_ascend_and_stay(
            gaps in proptest::collection::vec(prop_oneof![1_u64..4, 1_u64..500, 1_u64..200_000], 1..=usize::from(EVENTS)),
            begin in prop_oneof![Just(0_u64), 0..200_000_u64, Just(u64::MAX - 52_000_000)],
        ) {
            let sequences: Vec<u64> = gaps.iter().scan(begin, |at, gap| { *at += gap; Some(*at) }).collect();
            let found = numbers(sequences.iter().copied());
            prop_assert_eq!(found.len(), sequences.len());
            prop_assert!(found.windows(2).all(|two| two[0] < two[1]), "{:?}", found);
            prop_assert!(found[0] > 0 && found[found.len() - 1] < 0xffff);
            // The oldest leave, and nobody's number is another.
            let fewer = numbers(sequences[sequences.len() / 2..].iter().copied());
            prop_assert_eq!(&fewer[..], &found[sequences.len() / 2..]);
            // What comes changes none before the next multiple.
            let newest = sequences[sequences.len() - 1];
            let next = (newest / STEP + 1) * STEP - 1;
            if next > newest && sequences.len() < usize::from(EVENTS) {
                let more = numbers(sequences.iter().copied().chain([next]));
                prop_assert_eq!(&more[..found.len()], &found[..]);
            }
            if newest < 2 * STEP {
                prop_assert!(found.iter().map(|number| u64::from(*number)).eq(sequences.iter().copied()));
            }
        }

        #[test]
        fn a_list_of_any_numbers_has_no_more_than_there_is_room_for(
            sequences in proptest::collection::vec(any::<u64>(), 0..600),
        ) {
            let found = numbers(sequences.iter().copied());
            prop_assert!(found.len() <= sequences.len());
            prop_assert!(found.iter().all(|number| (1..0xffff).contains(number)));
        }
    }
}
