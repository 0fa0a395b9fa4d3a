//! Refusals that several daemons have in common.

use std::time::Duration;

use ipc::Status;
use units::Millis;

/// Reason of a `RESOURCE_EXHAUSTED` of a change of which there were too many.
pub const TOO_MANY_CHANGES: &str = "TOO_MANY_CHANGES";
/// Reason of a `RESOURCE_EXHAUSTED` of a call before which too many others wait.
pub const TOO_MANY_CALLS: &str = "TOO_MANY_CALLS";
/// After how long there may be a place again for a call before which too many others wait: who waits for one is answered, or given up, within seconds.
pub const CALLS_WAIT: Duration = Duration::from_secs(1);

/// `RESOURCE_EXHAUSTED` with the reason [`TOO_MANY_CALLS`] and a wait of [`CALLS_WAIT`], for a call that has no place even to wait and of which nothing was
/// done: `too many <what> wait: ask again in a second`.
#[must_use]
pub fn too_many_calls(what: &str) -> Status {
    let text = format!("too many {what} wait: ask again in a second");
    Status::resource_exhausted(text).with_reason(TOO_MANY_CALLS).with_wait(CALLS_WAIT)
}

/// `RESOURCE_EXHAUSTED` with the reason [`TOO_MANY_CHANGES`], for a change that would be written to flash and was not, as there were too many of its kind:
/// `too many changes of <kind>, and each is written to flash: <unchanged>; ask again in <wait> s`. `unchanged` says what is as it was; `wait` is how long it
/// takes until there may be one more, which a program finds in [`Status::wait`].
#[must_use]
pub fn too_many_changes(kind: &str, unchanged: &str, wait: Millis) -> Status {
    let seconds = wait.get().div_ceil(1_000);
    let text = format!(
        "too many changes of {kind}, and each is written to flash: {unchanged}; ask again in {seconds} s"
    );
    Status::resource_exhausted(text).with_reason(TOO_MANY_CHANGES).with_wait(wait.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_a_place_says_what_there_is_too_much_of_and_when_again() {
        let status = too_many_calls("changes of events");
        assert_eq!((status.code, status.reason().as_str()), (ipc::Code::ResourceExhausted, TOO_MANY_CALLS));
        assert_eq!(status.wait(), Some(CALLS_WAIT));
        assert_eq!(status.message, "too many changes of events wait: ask again in a second");
    }

    #[test]
    fn a_change_too_many_says_what_is_as_it_was_and_when_again() {
        let status = too_many_changes("the profile", "it was not changed", Millis::new(299_001));
        assert_eq!((status.code, status.reason().as_str()), (ipc::Code::ResourceExhausted, TOO_MANY_CHANGES));
        assert_eq!(status.wait(), Some(Duration::from_secs(300)));
        let text = "too many changes of the profile, and each is written to flash: it was not changed; ask again in 300 s";
        assert_eq!(status.message, text);
    }
}
