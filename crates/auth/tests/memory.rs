//! What hashing leaves behind in the process: alone in its binary, since it looks at the memory of all of it.

#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::thread;

use auth::{Cost, Password, PasswordHash};

/// Resident memory in KiB, `None` where the kernel does not tell.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn the_memory_of_hashes_on_many_threads_goes_back_to_the_system() {
    let password = || Password::new("tr0mbone".to_owned());
    let hash = PasswordHash::new(&password(), [1; 16], Cost::default()).unwrap();
    let Some(before) = resident() else {
        println!("SKIP: /proc/self/status does not tell the resident memory");
        return;
    };
    for _ in 0..6 {
        let pair: Vec<_> = (0..2)
            .map(|_| {
                let hash = hash.clone();
                thread::spawn(move || hash.verify(&Password::new("wrong".to_owned())))
            })
            .collect();
        for verified in pair {
            assert!(!verified.join().unwrap());
        }
    }
    assert!(hash.verify(&password()));
    let left = resident().unwrap().saturating_sub(before);
    // One hash is 7 MiB; threads and their stacks are not free either.
    assert!(left < 4 * 1024, "{left} KiB are left of 13 hashes");
}
