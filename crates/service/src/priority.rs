//! Threads whose work can wait.

use std::time::Duration;

/// How far such a thread steps back (setpriority(2)): beside a thread that does not it gets a tenth of the processor.
const NICE: i32 = 10;

/// From now on this thread gives way to all others of the machine that have not called this, and to those that have with a shorter `turn`; for
/// good. `turn` is how long it works at a time when nobody else has to. Where the system refuses it, nothing changes.
pub fn give_way(turn: Duration) {
    // It may be further back already, as everything is that is started with nice(1).
    let now = rustix::process::getpriority_process(None).unwrap_or(0);
    if hal_linux::sched::step_back(NICE.max(now), turn).is_err() {
        // For the kernel a number of 0 is the calling thread, not its process.
        let _ = rustix::process::setpriority_process(None, NICE.max(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_steps_back_and_the_others_do_not() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let stepped = std::thread::spawn(move || {
            give_way(Duration::from_millis(5));
            nice()
        });
        assert_eq!((stepped.join().unwrap(), nice()), (NICE.max(before), before));
    }
}
