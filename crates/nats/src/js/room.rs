//! Room: what gives way when there is none, in the store's own bounds and on the medium.

use super::store::{Flush, StoreError, StoreReport};
use super::trouble::{ROOM, TRIAL};
use super::{JetStream, MAX_DISCARDS, Now, Output, StorageType, Stream};

/// What a file takes at least, bytes: a block of ext4, a page of tmpfs and UBIFS.
const BLOCK: u64 = 4096;

impl JetStream {
    /// Makes room on a medium that is full, without writing: what was set aside goes, then the oldest messages of the fullest stream that may
    /// lose any. `false`: there is nothing, or all of it together does not give `wanted` bytes: then nothing is lost for nothing.
    pub(super) fn discard(&mut self, wanted: usize) -> bool {
        if self.storage.discard().unwrap_or(false) {
            return true;
        }
        let mut victims = self.victims();
        if victims.iter().map(|(gives, _)| gives).sum::<u64>() < wanted as u64 {
            return false;
        }
        victims.sort_unstable();
        for (_, name) in victims.into_iter().rev() {
            let Some(stream) = self.streams.get_mut(&name) else { continue };
            let Ok(Some(messages)) = stream.core.drop_oldest() else { continue };
            stream.spread();
            self.out.push(Output::Report(StoreReport::Dropped { stream: name, messages }));
            return true;
        }
        false
    }

    /// The streams that may lose messages without a write, and how many bytes each can give.
    fn victims(&self) -> Vec<(u64, String)> {
        // A file that stays keeps a block: emptying one that has no more frees none.
        let gives = |s: &Stream| s.core.used().saturating_sub(BLOCK);
        let may = |s: &Stream| {
            let class = Stream::class(&s.core.config);
            class.expendable && !class.memory && !s.core.is_dirty() && gives(s) > 0
        };
        self.streams.iter().filter(|(_, s)| may(s)).map(|(n, s)| (gives(s), n.clone())).collect()
    }

    /// How much of `wanted` bytes has to be freed for a stream: what all others cannot give may be free already.
    fn missing(&mut self, now: Now, name: &str, wanted: usize) -> usize {
        let gives = self.victims().iter().map(|(gives, _)| gives).sum::<u64>();
        let gives = usize::try_from(gives).unwrap_or(usize::MAX);
        let Some(rest) = wanted.checked_sub(gives).filter(|rest| *rest > 0 && gives > 0) else {
            return wanted;
        };
        let free = self.streams.get_mut(name).is_some_and(|s| s.core.takes(now, rest));
        if free { gives } else { wanted }
    }

    /// Makes room for what a stream could not write. Nothing goes for a write or two: what there is has to bring what the stream would
    /// have to find if it were refused now.
    pub(super) fn discard_for(&mut self, now: Now, name: &str) -> bool {
        let missing = self.missing(now, name, ROOM);
        self.discard(missing)
    }

    /// Bytes all streams take on the medium.
    fn used(&self) -> u64 {
        self.streams.values().map(|s| s.core.used()).sum()
    }

    /// A stream whose medium is full gets another chance, if room can be made. With `least` it is asked for little: what follows frees more.
    pub(super) fn relieve(&mut self, now: Now, name: &str, least: bool) {
        // What was given up already counts.
        let mut gone = 0_usize;
        let mut free = 0_usize;
        for _ in 0..MAX_DISCARDS {
            let trouble = self.streams.get(name).and_then(|s| s.core.trouble.as_ref());
            let Some(trouble) = trouble.filter(|trouble| trouble.error == StoreError::Full) else { return };
            let wanted =
                if least { TRIAL } else { trouble.probe_bytes().saturating_sub(gone).saturating_sub(free) };
            let before = self.used();
            if !least {
                let missing = self.missing(now, name, wanted);
                free = free.saturating_add(wanted.saturating_sub(missing));
                if !self.discard(missing) {
                    return;
                }
            }
            gone = gone
                .saturating_add(usize::try_from(before.saturating_sub(self.used())).unwrap_or(usize::MAX));
            let Some(stream) = self.streams.get_mut(name) else { return };
            let healed = match stream.is_absent {
                true => self.make_absent(now, name),
                false => stream.core.try_now(now, least),
            };
            if healed {
                self.chores.insert(name.to_owned());
            } else if least && !self.discard(wanted) {
                return;
            }
        }
    }

    /// Drops the oldest messages of the fullest stream that may lose any. `false`: there is none, or `asking`
    /// itself is one and is told to make do.
    pub(super) fn make_room(&mut self, now: Now, asking: &str) -> bool {
        let expendable = |s: &&String| {
            self.streams.get(*s).is_some_and(|s| {
                let class = Stream::class(&s.core.config);
                class.expendable && !class.memory && s.core.index.len() > 0 && s.core.trouble.is_none()
            })
        };
        let asking_memory =
            self.streams.get(asking).is_some_and(|s| s.core.config.storage == StorageType::Memory);
        if asking_memory {
            return false;
        }
        let used = |s: &&String| self.streams.get(*s).map_or(0, |s| s.core.used());
        let Some(victim) = self.streams.keys().filter(expendable).max_by_key(used).cloned() else {
            return false;
        };
        if !self.settle(now, &victim, Flush::Medium) {
            return false;
        }
        let Some(stream) = self.streams.get_mut(&victim) else { return false };
        let messages = stream.core.shed();
        if !self.settle(now, &victim, Flush::Medium) {
            return false;
        }
        let Some(stream) = self.streams.get_mut(&victim) else { return false };
        let tidied = stream.core.tidy();
        self.out.push(Output::Report(StoreReport::Dropped { stream: victim.clone(), messages }));
        if let Err(error) = tidied {
            self.report(&victim, &error);
        }
        messages > 0
    }
}
