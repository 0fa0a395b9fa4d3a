//! How much of what comes from outside is here at once. A BMC has little memory, and whoever is on the fleet's server may send.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests from outside that are worked on at once; what comes on top is dropped, and its sender asks again.
pub(crate) const AT_ONCE: usize = 32;
/// The longest request, as at the web gateway. Decoded, it may take thirty times that, but only one is decoded at a time.
pub(crate) const REQUEST_MAX: usize = 256 * 1024;
/// What all requests together may have here.
const BYTES: usize = 4 * REQUEST_MAX;

/// The places there are.
#[derive(Debug)]
pub(crate) struct Room {
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The place of one request, free when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Default for Room {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), bytes: Arc::new(Semaphore::new(BYTES)) }
    }
}

impl Room {
    /// A place for a request of so many bytes; one that is too long needs none for its bytes, as it is only refused. `None` when there is none.
    pub(crate) fn take(&self, bytes: usize) -> Option<Place> {
        let bytes = if bytes <= REQUEST_MAX { u32::try_from(bytes).ok()? } else { 0 };
        let _place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let _bytes = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()?;
        Some(Place { _place, _bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_bounded_in_number_and_in_bytes() {
        let room = Room::default();
        let small: Vec<Place> = std::iter::from_fn(|| room.take(10)).take(1000).collect();
        assert_eq!(small.len(), AT_ONCE);
        drop(small);
        let large: Vec<Place> = std::iter::from_fn(|| room.take(REQUEST_MAX)).take(1000).collect();
        assert_eq!(large.len(), BYTES / REQUEST_MAX);
        // One that is only refused has a place still, as long as there is one.
        assert!(room.take(10 * REQUEST_MAX).is_some());
        assert!(room.take(1).is_none());
        drop(large);
        assert!(room.take(REQUEST_MAX).is_some());
    }
}
