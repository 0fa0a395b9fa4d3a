//! A medium whose bytes are elsewhere: what the host reads, what is asked of the source for it, and what is kept.
//!
//! ```text
//!  host ──► read ──► blocks that are kept ──────────────► Action::Done
//!                └─► blocks that are missing ──► Action::Fetch ──► source ──► fetched ──► Action::Done
//!                         └─ after READ_WITHIN: Action::Failed, an I/O error at the host
//! ```
//!
//! Each read owns a deadline, whatever the source does. One that failed is asked again at growing intervals; once it has failed for good reasons or twice, the
//! medium is told to be not ready, and from [`Bounds::read_within`] after that reads of what is not kept fail at once, so that a host with a dead disc is not
//! held for that long at each of its sectors.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use units::{Millis, Mono};

use crate::cache::{BLOCK, Cache};

/// Questions to the source at a time.
pub const FETCHES_MAX: usize = 4;
/// Bytes of one question at most.
pub const FETCH_MAX: u32 = 256 * 1024;
/// Reads at a time: hosts have some thirty on their way.
pub const READS_MAX: usize = 64;
/// Pauses after failures.
const AGAIN: [Millis; 4] =
    [Millis::new(500), Millis::from_secs(1), Millis::from_secs(2), Millis::from_secs(5)];
/// Read ahead once two reads followed each other, twice as much each time.
const AHEAD_FIRST: u64 = 128 * 1024;

/// What a medium may cost, and how long a host waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes that are kept.
    pub cache: usize,
    /// Bytes that are read ahead at most.
    pub ahead: u64,
    /// How long a read may take. Linux gives a disc 30 s before it resets it.
    pub read_within: Millis,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { cache: 4 * 1024 * 1024, ahead: 1024 * 1024, read_within: Millis::from_secs(15) }
    }
}

/// Why the source gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For people.
    pub why: String,
    /// Asking again will not help by itself: it is told at once.
    pub is_final: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the source for bytes, and tell [`Reader::fetched`].
    Fetch {
        /// By which it is told.
        id: u64,
        /// From the beginning.
        offset: u64,
        /// At most [`FETCH_MAX`].
        length: u32,
    },
    /// A read is done.
    Done {
        /// Which.
        id: u64,
        /// What was read.
        bytes: Vec<u8>,
    },
    /// A read failed.
    Failed {
        /// Which.
        id: u64,
    },
    /// The medium is not ready any more.
    Lost {
        /// For people.
        why: String,
    },
    /// It is again.
    Back,
}

#[derive(Debug)]
struct Read {
    offset: u64,
    bytes: Vec<u8>,
    missing: BTreeSet<u64>,
    until: Mono,
}

#[derive(Clone, Copy, Debug)]
struct Fetch {
    first: u64,
    count: u64,
}

impl Fetch {
    fn blocks(self) -> std::ops::Range<u64> {
        self.first..self.first + self.count
    }
}

/// The state of one medium.
#[derive(Debug)]
pub struct Reader {
    /// Bytes the source has.
    size: u64,
    bounds: Bounds,
    cache: Cache,
    reads: BTreeMap<u64, Read>,
    /// Blocks that reads wait for and nobody was asked for yet, in the order in which they were wanted.
    wanted: VecDeque<u64>,
    /// Blocks that may be of use.
    ahead: VecDeque<u64>,
    fetches: BTreeMap<u64, Fetch>,
    next_fetch: u64,
    failures: u32,
    again_at: Option<Mono>,
    lost_at: Option<Mono>,
    /// The source is not there at all: nothing is asked of it.
    is_away: bool,
    last_end: u64,
    window: u64,
    /// The block before which all was read ahead, or is on its way.
    ahead_to: u64,
}

impl Reader {
    /// A medium of so many bytes, of which nothing is known yet.
    #[must_use]
    pub fn new(size: u64, bounds: Bounds) -> Self {
        Self {
            size,
            bounds,
            cache: Cache::new(bounds.cache),
            reads: BTreeMap::new(),
            wanted: VecDeque::new(),
            ahead: VecDeque::new(),
            fetches: BTreeMap::new(),
            next_fetch: 0,
            failures: 0,
            again_at: None,
            lost_at: None,
            is_away: false,
            last_end: u64::MAX,
            window: 0,
            ahead_to: 0,
        }
    }

    /// Bytes the source has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the source gives nothing at the moment.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost_at.is_some() || self.is_away
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.cache.len() * BLOCK
    }

    /// The host reads; what lies beyond the source's end reads as zeroes.
    pub fn read(&mut self, id: u64, offset: u64, length: u32, now: Mono, out: &mut Vec<Action>) {
        let length_usize = usize::try_from(length).unwrap_or(0);
        let end = offset.saturating_add(length.into());
        let blocks = block_of(offset)..end.min(self.size).div_ceil(BLOCK as u64);
        let mut read = Read {
            offset,
            bytes: vec![0; length_usize],
            missing: blocks.collect(),
            until: now + self.bounds.read_within,
        };
        let missing = std::mem::take(&mut read.missing);
        for block in missing {
            match self.cache.get(block) {
                Some(bytes) => fill(&mut read, block, bytes),
                None => {
                    read.missing.insert(block);
                }
            }
        }
        self.follow(offset, end);
        if read.missing.is_empty() {
            out.push(Action::Done { id, bytes: read.bytes });
        } else if self.reads.len() >= READS_MAX || self.has_given_up(now) {
            out.push(Action::Failed { id });
        } else {
            for block in &read.missing {
                self.want(*block);
            }
            self.reads.insert(id, read);
        }
        self.ask(now, out);
    }

    /// The source answered; all that was asked for, but for what is beyond its end. Whoever asks it ends each question in a time of its own, with a failure: one that
    /// is never told keeps one of [`FETCHES_MAX`] places.
    pub fn fetched(&mut self, id: u64, result: Result<&[u8], Failure>, now: Mono, out: &mut Vec<Action>) {
        let Some(fetch) = self.fetches.remove(&id) else { return };
        let wanted_len = self.length_of(fetch);
        let result = match result {
            Ok(bytes) if u64::try_from(bytes.len()).ok() != Some(wanted_len) => Err(Failure {
                why: format!("{} bytes came where {wanted_len} were asked for", bytes.len()),
                is_final: false,
            }),
            other => other,
        };
        match result {
            Ok(bytes) => {
                self.failures = 0;
                self.again_at = None;
                if self.lost_at.take().is_some() {
                    out.push(Action::Back);
                }
                for (block, bytes) in fetch.blocks().zip(bytes.chunks(BLOCK)) {
                    self.came(block, bytes, out);
                }
            }
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                let pause = usize::try_from(self.failures.saturating_sub(1)).unwrap_or(usize::MAX);
                let pause = AGAIN.get(pause).or(AGAIN.last()).copied().unwrap_or_default();
                self.again_at = Some(now + pause);
                self.ahead.clear();
                (self.window, self.ahead_to) = (0, 0);
                for block in fetch.blocks().rev() {
                    if self.reads.values().any(|read| read.missing.contains(&block)) {
                        self.wanted.push_front(block);
                    }
                }
                // What is asked again until the source is back, whoever waits for it.
                if self.wanted.is_empty() {
                    self.wanted.push_front(fetch.first);
                }
                if self.lost_at.is_none() && (failure.is_final || self.failures > 1) {
                    self.lost_at = Some(now);
                    out.push(Action::Lost { why: failure.why });
                }
            }
        }
        self.ask(now, out);
    }

    /// The source is gone, and comes back by [`Self::returned`] or not at all.
    pub fn gone(&mut self, why: &str, now: Mono, out: &mut Vec<Action>) {
        self.is_away = true;
        self.give_up_fetches();
        self.ahead.clear();
        self.ahead_to = 0;
        if self.lost_at.is_none() {
            self.lost_at = Some(now);
            out.push(Action::Lost { why: why.to_owned() });
        }
    }

    /// The source did not answer when it was asked before: it is asked until it does.
    pub fn doubt(&mut self, now: Mono) {
        self.failures = self.failures.max(1);
        self.lost_at.get_or_insert(now);
        self.again_at = Some(now + Millis::new(500));
        if self.wanted.is_empty() {
            self.wanted.push_back(0);
        }
    }

    /// The source that was gone is there again.
    pub fn returned(&mut self, now: Mono, out: &mut Vec<Action>) {
        // What was asked of the one before is not answered any more.
        self.give_up_fetches();
        self.is_away = false;
        self.failures = 0;
        self.again_at = None;
        if self.lost_at.take().is_some() {
            out.push(Action::Back);
        }
        self.ask(now, out);
    }

    /// Nothing that was asked for comes; what reads still wait for is wanted again.
    fn give_up_fetches(&mut self) {
        let given_up: Vec<Fetch> = std::mem::take(&mut self.fetches).into_values().collect();
        for block in given_up.into_iter().flat_map(Fetch::blocks) {
            if self.reads.values().any(|read| read.missing.contains(&block)) {
                self.want(block);
            }
        }
    }

    /// Time passed.
    pub fn tick(&mut self, now: Mono, out: &mut Vec<Action>) {
        let late: Vec<u64> =
            self.reads.iter().filter(|(_, read)| read.until <= now).map(|(id, _)| *id).collect();
        for id in late {
            self.reads.remove(&id);
            out.push(Action::Failed { id });
        }
        self.ask(now, out);
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        let again = self.again_at.filter(|_| !self.is_away && !self.wanted.is_empty());
        self.reads.values().map(|read| read.until).chain(again).min()
    }

    /// Whoever reads goes: nobody is answered.
    pub fn forget_reads(&mut self) {
        self.reads.clear();
        if self.lost_at.is_none() {
            self.wanted.clear();
        }
        self.ahead.clear();
        self.ahead_to = 0;
    }

    fn has_given_up(&self, now: Mono) -> bool {
        self.lost_at.is_some_and(|at| at + self.bounds.read_within <= now)
    }

    /// What was read before tells what will be read next.
    fn follow(&mut self, offset: u64, end: u64) {
        if offset == self.last_end {
            self.window = (self.window * 2).clamp(AHEAD_FIRST, self.bounds.ahead.max(AHEAD_FIRST));
            // Never more than half of what is kept: what is read now would be pushed out by what may be.
            let most = u64::try_from(self.bounds.cache / BLOCK / 2).unwrap_or(u64::MAX).max(1);
            let window = (self.window / BLOCK as u64).min(most);
            let from = block_of(end);
            // Half of it is read before more is asked for, so that questions are large.
            if self.ahead_to.saturating_sub(from) <= window / 2 {
                let to = (from + window).min(self.size.div_ceil(BLOCK as u64));
                for block in from.max(self.ahead_to)..to {
                    if !self.cache.has(block) && !self.is_asked_for(block) {
                        self.ahead.push_back(block);
                    }
                }
                self.ahead_to = to;
            }
        } else {
            self.window = 0;
            self.ahead_to = 0;
            self.ahead.clear();
        }
        self.last_end = end;
    }

    fn is_asked_for(&self, block: u64) -> bool {
        self.fetches.values().any(|fetch| fetch.blocks().contains(&block))
    }

    fn want(&mut self, block: u64) {
        if !self.wanted.contains(&block) && !self.is_asked_for(block) {
            self.wanted.push_back(block);
        }
    }

    fn came(&mut self, block: u64, bytes: &[u8], out: &mut Vec<Action>) {
        let waiting: Vec<u64> =
            self.reads.iter().filter(|(_, read)| read.missing.contains(&block)).map(|(id, _)| *id).collect();
        for id in waiting {
            let Some(read) = self.reads.get_mut(&id) else { continue };
            read.missing.remove(&block);
            fill(read, block, bytes);
            if read.missing.is_empty()
                && let Some(read) = self.reads.remove(&id)
            {
                out.push(Action::Done { id, bytes: read.bytes });
            }
        }
        self.cache.put(block, bytes);
    }

    /// Asks the source for as much as it may be asked for.
    fn ask(&mut self, now: Mono, out: &mut Vec<Action>) {
        if self.is_away || self.again_at.is_some_and(|at| at > now) {
            return;
        }
        self.again_at = None;
        // A source that failed is tried with one question.
        let most = if self.failures > 0 { 1 } else { FETCHES_MAX };
        while self.fetches.len() < most {
            let Some(first) = self.wanted.pop_front() else { break };
            self.fetch(first, true, out);
        }
        // One place is kept for what is really wanted.
        while self.failures == 0 && self.wanted.is_empty() && self.fetches.len() + 1 < FETCHES_MAX {
            let Some(first) = self.ahead.pop_front() else { break };
            // It was really wanted meanwhile.
            if self.cache.has(first) || self.is_asked_for(first) {
                continue;
            }
            self.fetch(first, false, out);
        }
    }

    fn fetch(&mut self, first: u64, is_wanted: bool, out: &mut Vec<Action>) {
        let most = u64::from(FETCH_MAX) / BLOCK as u64;
        let mut count = 1;
        let queue = if is_wanted { &mut self.wanted } else { &mut self.ahead };
        while count < most && queue.front() == Some(&(first + count)) {
            queue.pop_front();
            count += 1;
        }
        let fetch = Fetch { first, count };
        let length = u32::try_from(self.length_of(fetch)).unwrap_or(FETCH_MAX);
        let id = self.next_fetch;
        self.next_fetch += 1;
        self.fetches.insert(id, fetch);
        out.push(Action::Fetch { id, offset: first * BLOCK as u64, length });
    }

    fn length_of(&self, fetch: Fetch) -> u64 {
        let begin = fetch.first * BLOCK as u64;
        (begin + fetch.count * BLOCK as u64).min(self.size).saturating_sub(begin)
    }
}

const fn block_of(offset: u64) -> u64 {
    offset / BLOCK as u64
}

/// Copies what a read wants of a block.
fn fill(read: &mut Read, block: u64, bytes: &[u8]) {
    let begin = block * BLOCK as u64;
    let skipped = read.offset.saturating_sub(begin);
    let at = begin.saturating_sub(read.offset);
    let (Ok(skipped), Ok(at)) = (usize::try_from(skipped), usize::try_from(at)) else { return };
    let from = bytes.get(skipped..).unwrap_or_default();
    let to = read.bytes.get_mut(at..).unwrap_or_default();
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const B: u64 = BLOCK as u64;

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect()
    }

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn failure(is_final: bool) -> Failure {
        Failure { why: "it is gone".to_owned(), is_final }
    }

    /// Answers all that is asked, and collects what is told.
    fn answer(reader: &mut Reader, image: &[u8], actions: Vec<Action>, now: Mono) -> Vec<Action> {
        let mut told = Vec::new();
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match action {
                Action::Fetch { id, offset, length } => {
                    let offset = usize::try_from(offset).unwrap();
                    let bytes = &image[offset..offset + usize::try_from(length).unwrap()];
                    let mut out = Vec::new();
                    reader.fetched(id, Ok(bytes), now, &mut out);
                    queue.extend(out);
                }
                other => told.push(other),
            }
        }
        told
    }

    #[test]
    fn what_follows_is_read_ahead_and_what_is_kept_is_not_asked_for_again() {
        let image = content(40 * BLOCK);
        let mut reader = Reader::new(image.len() as u64, Bounds::default());
        let mut fetched = 0;
        for nth in 0..20_u64 {
            let mut out = Vec::new();
            reader.read(nth, nth * B, 65536, at(nth), &mut out);
            fetched += out.iter().filter(|action| matches!(action, Action::Fetch { .. })).count();
            let told = answer(&mut reader, &image, out, at(nth));
            let offset = usize::try_from(nth * B).unwrap();
            assert_eq!(told, [Action::Done { id: nth, bytes: image[offset..offset + BLOCK].to_vec() }]);
        }
        assert!(fetched < 12, "{fetched}");
        let mut out = Vec::new();
        reader.read(99, 3, 10, at(100), &mut out);
        assert_eq!(out, [Action::Done { id: 99, bytes: image[3..13].to_vec() }]);
    }

    #[test]
    fn a_dead_source_is_an_error_at_the_host_within_the_bound_and_then_at_once() {
        let image = content(10 * BLOCK);
        let mut reader = Reader::new(image.len() as u64, Bounds::default());
        let mut out = Vec::new();
        reader.read(1, 0, 512, at(0), &mut out);
        let [Action::Fetch { id, .. }] = out[..] else { panic!("{out:?}") };
        out.clear();
        reader.fetched(id, Err(failure(false)), at(10), &mut out);
        assert_eq!(out, [], "once is no reason");
        reader.tick(at(510), &mut out);
        let [Action::Fetch { id, .. }] = out[..] else { panic!("{out:?}") };
        out.clear();
        reader.fetched(id, Err(failure(false)), at(520), &mut out);
        assert_eq!(out, [Action::Lost { why: "it is gone".to_owned() }]);
        out.clear();
        // It hangs from here on.
        reader.tick(at(1520), &mut out);
        assert!(matches!(out[..], [Action::Fetch { .. }]));
        let [Action::Fetch { id: hung, .. }] = out[..] else { panic!() };
        out.clear();
        assert_eq!(reader.deadline(), Some(at(15_000)));
        reader.tick(at(15_000), &mut out);
        assert_eq!(out, [Action::Failed { id: 1 }]);
        out.clear();
        reader.read(2, 512, 512, at(16_000), &mut out);
        reader.read(3, 5 * B, 512, at(16_000), &mut out);
        reader.tick(at(15_000 + 16_000), &mut out);
        assert_eq!(out, [Action::Failed { id: 2 }, Action::Failed { id: 3 }]);
        out.clear();
        reader.read(4, 0, 512, at(32_000), &mut out);
        assert_eq!(out, [Action::Failed { id: 4 }], "at once");
        out.clear();
        // What hung comes after all.
        reader.fetched(hung, Ok(&image[..BLOCK]), at(33_000), &mut out);
        assert_eq!(out[0], Action::Back);
        out.clear();
        reader.read(5, 0, 512, at(33_000), &mut out);
        assert!(matches!(&out[..], [Action::Done { id: 5, .. }, ..]));
    }

    #[test]
    fn a_source_that_is_dead_is_asked_now_and_then_although_nobody_reads() {
        let mut reader = Reader::new(B, Bounds::default());
        let mut out = Vec::new();
        reader.read(1, 0, 512, at(0), &mut out);
        let Action::Fetch { id, .. } = out.remove(0) else { panic!() };
        reader.fetched(id, Err(failure(true)), at(1), &mut out);
        assert_eq!(out, [Action::Lost { why: "it is gone".to_owned() }], "a good reason is told at once");
        out.clear();
        reader.tick(at(20_000), &mut out);
        assert!(matches!(out[..], [Action::Failed { id: 1 }, Action::Fetch { .. }]), "{out:?}");
        let Action::Fetch { id, .. } = out.remove(1) else { panic!() };
        out.clear();
        reader.fetched(id, Err(failure(true)), at(20_001), &mut out);
        assert_eq!(out, []);
        let next = reader.deadline().unwrap();
        reader.tick(next, &mut out);
        assert!(matches!(out[..], [Action::Fetch { .. }]));
    }

    #[test]
    fn a_source_that_did_not_answer_at_first_is_asked_until_it_does() {
        let image = content(BLOCK);
        let mut reader = Reader::new(image.len() as u64, Bounds::default());
        reader.doubt(at(0));
        assert!(reader.is_lost());
        let mut out = Vec::new();
        reader.tick(reader.deadline().unwrap(), &mut out);
        assert_eq!(answer(&mut reader, &image, out, at(500)), [Action::Back]);
        assert_eq!(reader.deadline(), None);
    }

    #[test]
    fn a_source_that_went_and_came_back_is_asked_for_what_is_still_wanted() {
        let image = content(3 * BLOCK);
        let mut reader = Reader::new(image.len() as u64, Bounds::default());
        let mut out = Vec::new();
        reader.read(1, 0, 512, at(0), &mut out);
        let [Action::Fetch { id, .. }] = out[..] else { panic!("{out:?}") };
        out.clear();
        reader.gone("the browser was closed", at(1), &mut out);
        assert_eq!(out, [Action::Lost { why: "the browser was closed".to_owned() }]);
        out.clear();
        reader.fetched(id, Ok(&image[..BLOCK]), at(2), &mut out);
        reader.tick(at(2000), &mut out);
        assert_eq!(out, [], "that was of the one before; and nobody is there to be asked");
        reader.returned(at(3000), &mut out);
        let told = answer(&mut reader, &image, out, at(3000));
        assert_eq!(told, [Action::Back, Action::Done { id: 1, bytes: image[..512].to_vec() }]);
    }

    #[test]
    fn what_was_asked_of_one_that_hung_is_asked_of_the_next() {
        let image = content(3 * BLOCK);
        let mut reader = Reader::new(image.len() as u64, Bounds::default());
        let mut out = Vec::new();
        reader.read(1, 0, 512, at(0), &mut out);
        assert!(matches!(out[..], [Action::Fetch { .. }]), "{out:?}");
        // Nobody answers that; others come.
        for _ in 0..5 {
            out.clear();
            reader.returned(at(1), &mut out);
            assert!(matches!(out[..], [Action::Fetch { .. }]), "{out:?}");
        }
        let told = answer(&mut reader, &image, out, at(2));
        assert_eq!(told, [Action::Done { id: 1, bytes: image[..512].to_vec() }]);
    }

    #[test]
    fn an_answer_of_another_length_is_a_failure() {
        let mut reader = Reader::new(3 * B, Bounds::default());
        let mut out = Vec::new();
        reader.read(1, 0, 512, at(0), &mut out);
        let Action::Fetch { id, .. } = out.remove(0) else { panic!() };
        reader.fetched(id, Ok(&[0; 100]), at(1), &mut out);
        assert_eq!(out, []);
        assert_eq!(reader.failures, 1);
    }

    proptest! {
        #[test]
        fn every_read_ends_with_the_right_bytes_or_an_error(
            size in 1..6 * BLOCK,
            steps in prop::collection::vec((0..8_u8, any::<u16>(), 1..200_000_u32), 1..60),
        ) {
            let image = content(size);
            let padded = {
                let mut padded = image.clone();
                padded.resize(size.next_multiple_of(512), 0);
                padded
            };
            let bounds = Bounds { cache: 2 * BLOCK, ahead: 2 * B, read_within: Millis::from_secs(15) };
            let mut reader = Reader::new(size as u64, bounds);
            let (mut now, mut open, mut asked) = (0, BTreeMap::new(), Vec::new());
            let mut next = 0_u64;
            for (what, offset, length) in steps {
                let mut out = Vec::new();
                match what {
                    0..=2 => {
                        let offset = usize::from(offset) % padded.len();
                        let length = usize::try_from(length).unwrap().min(padded.len() - offset);
                        open.insert(next, (offset, length, now));
                        reader.read(next, offset as u64, u32::try_from(length).unwrap(), at(now), &mut out);
                        next += 1;
                    }
                    3 | 4 if !asked.is_empty() => {
                        let (id, offset, length): (u64, usize, usize) = asked.remove(usize::from(offset) % asked.len());
                        let result = if what == 3 { Ok(&image[offset..offset + length]) } else { Err(failure(length % 2 == 0)) };
                        reader.fetched(id, result, at(now), &mut out);
                    }
                    5 => reader.gone("x", at(now), &mut out),
                    6 => reader.returned(at(now), &mut out),
                    _ => {
                        now += u64::from(length) / 20;
                        reader.tick(at(now), &mut out);
                    }
                }
                for action in out {
                    match action {
                        Action::Fetch { id, offset, length } => {
                            prop_assert!(length > 0 && length <= FETCH_MAX);
                            asked.push((id, usize::try_from(offset).unwrap(), usize::try_from(length).unwrap()));
                        }
                        Action::Done { id, bytes } => {
                            let (offset, length, _) = open.remove(&id).unwrap();
                            prop_assert_eq!(&bytes[..], &padded[offset..offset + length]);
                        }
                        Action::Failed { id } => {
                            prop_assert!(open.remove(&id).is_some());
                        }
                        Action::Lost { .. } | Action::Back => {}
                    }
                }
                prop_assert!(reader.kept() <= bounds.cache && reader.fetches.len() <= FETCHES_MAX);
            }
            // Whatever became of the source, nobody waits for longer than the bound.
            let mut out = Vec::new();
            reader.tick(at(now + 15_000), &mut out);
            for action in out {
                if let Action::Failed { id } = action {
                    open.remove(&id);
                }
            }
            prop_assert!(open.is_empty(), "{open:?}");
        }
    }
}
