//! Memory that several screens share, so that the one that is too much is refused instead of ending all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that each screen has for itself, whatever others have: 640x480 pixels, what stands for a picture that is not there.
pub const OWN: usize = 640 * 480 * size_of::<u32>();

/// Bytes that screens take together beyond [`OWN`] of each. Clones are the same room.
#[derive(Clone, Debug)]
pub struct Room {
    left: Arc<AtomicUsize>,
}

impl Room {
    /// One of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)) }
    }
}

/// What one screen has of a room. A clone has nothing of it: who makes copies counts them.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// `None`: there is no bound.
    room: Option<Room>,
    taken: usize,
}

impl Share {
    pub(crate) fn of(room: &Room) -> Self {
        Self { room: Some(room.clone()), taken: 0 }
    }

    /// Is to have so many bytes in all, in place of what it has; whether there is room for that. If not nothing changes.
    pub(crate) fn change(&mut self, bytes: usize) -> bool {
        let Some(Room { left }) = &self.room else { return true };
        let (taken, wanted) = (self.taken, bytes.saturating_sub(OWN));
        let rest = |left: usize| left.saturating_add(taken).checked_sub(wanted);
        let has_room = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).is_ok();
        if has_room {
            self.taken = wanted;
        }
        has_room
    }
}

impl Clone for Share {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(Room { left }) = &self.room {
            left.fetch_add(self.taken, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_gives_back_another_has_and_a_copy_has_nothing() {
        let room = Room::new(100);
        let mut one = Share::of(&room);
        let mut other = Share::of(&room);
        assert!(one.change(OWN) && other.change(OWN + 60));
        assert!(!one.change(OWN + 41) && one.change(OWN + 40), "together no more than the room");
        assert!(!other.change(OWN + 61) && other.change(OWN + 50) && one.change(OWN + 50));
        drop(other.clone());
        assert!(!one.change(OWN + 51), "a copy gives nothing back");
        drop(other);
        assert!(one.change(OWN + 100) && !one.change(OWN + 101));
        assert!(Share::default().change(usize::MAX), "without a room there is no bound");
    }
}
