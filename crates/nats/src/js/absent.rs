//! A stream that is served before the medium takes it: it is known to be new and empty, and refuses until it is made.

use super::store::{Class, Flush, Message, Record, Step, StoreError, StreamStore};
use super::trouble::Trouble;
use super::{JetStream, Now, Stream};

/// Takes the place of a stream's messages until the medium takes them: there are none.
#[derive(Debug)]
pub(super) struct Absent(pub(super) StoreError);

impl StreamStore for Absent {
    fn replay(&mut self, _: &mut dyn FnMut(Step<'_>)) -> Result<(), StoreError> {
        Ok(())
    }
    fn settle(&mut self, _: &dyn Fn(u64) -> bool) {}
    fn append(&mut self, _: Record<'_>) -> Result<(), StoreError> {
        Err(self.0.clone())
    }
    fn read(&mut self, seq: u64) -> Result<Message, StoreError> {
        Err(StoreError::Damaged(seq))
    }
    fn is_near(&mut self, _: u64) -> bool {
        true
    }
    fn forget(&mut self, _: u64) {}
    fn remove(&mut self, _: &[(u64, u64)]) -> Result<(), StoreError> {
        Err(self.0.clone())
    }
    fn reset(&mut self, _: u64) -> Result<(), StoreError> {
        Err(self.0.clone())
    }
    fn flush(&mut self, _: Flush) -> Result<(), StoreError> {
        Err(self.0.clone())
    }
    fn rollback(&mut self, _: &[u64]) -> Result<(), StoreError> {
        Err(self.0.clone())
    }
    fn probe(&mut self, _: usize) -> Result<(), StoreError> {
        Err(self.0.clone())
    }
    fn maintain(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }
    fn used(&self) -> u64 {
        0
    }
}

impl JetStream {
    /// Streams of these names are served, when they are asked for, also where the medium takes no new ones, if they are
    /// [new](super::store::Storage::is_new). Such a stream is empty, refuses what is to be stored with the medium's reason, and is made as soon as the
    /// medium takes it. For streams whose makers ask for them at every start: that one was asked for is lost with the process.
    pub fn serve_unstored(&mut self, names: impl IntoIterator<Item = String>) {
        self.unstored.extend(names);
    }

    /// What is served in the place of a stream that the medium refused to make; `None`: nothing may be.
    pub(super) fn unstored(
        &self,
        config: super::StreamConfig,
        now: Now,
        refused: &StoreError,
    ) -> Option<Stream> {
        // What is there, or was, is read or not, and never taken for new.
        if !self.unstored.contains(&config.name) || !self.storage.is_new(&config.name) {
            return None;
        }
        let mut stream = Stream::new(super::Core::new(config, now.wall, Box::new(Absent(refused.clone()))));
        stream.core.trouble = Some(Trouble::new(now, refused.clone()));
        stream.is_absent = true;
        Some(stream)
    }

    /// Makes what is not on the medium yet and due. Returns whether there was something to try for `name`, and it succeeded.
    pub(super) fn make_absent(&mut self, now: Now, name: &str) -> bool {
        let Some(stream) = self.streams.get_mut(name).filter(|s| s.is_absent) else { return false };
        let config = stream.core.config.clone();
        let class: Class = Stream::class(&config);
        let meta = stream.meta(&config);
        match self.storage.create(name, class, &meta) {
            Ok(store) => {
                stream.core.begin_on(store);
                stream.is_absent = false;
                stream.meta_dirty = false;
                true
            }
            Err(error) => {
                if let Some(trouble) = &mut stream.core.trouble {
                    trouble.again(now, error.clone());
                }
                self.undo_later(now, &error);
                false
            }
        }
    }

    /// Makes what is not on the medium yet, where it is time to try again.
    pub(super) fn make_due(&mut self, now: Now) {
        let due = |s: &Stream| s.is_absent && s.core.trouble.as_ref().is_some_and(|t| t.again <= now.mono);
        let names: Vec<String> =
            self.streams.iter().filter(|(_, s)| due(s)).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.make_absent(now, &name);
        }
    }
}
