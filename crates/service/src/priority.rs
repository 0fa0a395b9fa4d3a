//! Threads whose work can wait.

/// How far such a thread steps back (setpriority(2)): beside a thread that does not it gets a tenth of the processor.
const NICE: i32 = 10;

/// From now on this thread gives way to all others of the machine that have not called this; for good. Where the system refuses it, nothing changes.
pub fn give_way() {
    // For the kernel a number of 0 is the calling thread, not its process.
    let _ = rustix::process::setpriority_process(None, NICE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_steps_back_and_the_others_do_not() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let stepped = std::thread::spawn(move || {
            give_way();
            nice()
        });
        assert_eq!((stepped.join().unwrap(), nice()), (NICE.max(before), before));
    }
}
