//! A host's keyboard and pointer, which are functions of a USB gadget: what is typed becomes reports, and the lamps come back.
//!
//! Both are open all the time, and the first report of each says that all is up: what a daemon before this one held down when it was killed is down at the
//! host until then.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hal_linux::{HidFunction, Sent, WatchedHid, hid_device};
use hid::Hid;
use service::ErrorChain;
use tokio::time::{Instant, sleep, sleep_until};

use crate::desk::Desk;

/// The folder of a gadget's functions, and the names of those that are ours (the operator makes them).
const CONFIGFS: &str = "/sys/kernel/config/usb_gadget";
const KEYBOARD: &str = "functions/hid.keyboard";
const POINTER: &str = "functions/hid.pointer";
/// Pause before devices that failed are opened again, and before it is looked again for a host that is not there: nothing tells when it comes.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a host may ask for no key. What is typed after that is not typed later, when nobody remembers.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);

/// The folder of this gadget.
pub(crate) fn folder(gadget: &str) -> PathBuf {
    Path::new(CONFIGFS).join(gadget)
}

/// Serves keyboard and pointer until this is dropped.
pub(crate) async fn serve(desk: &Desk, dev: &Path, gadget: &Path) {
    let mut told = String::new();
    loop {
        let opened = open(dev, &gadget.join(KEYBOARD))
            .and_then(|keyboard| Ok((keyboard, open(dev, &gadget.join(POINTER))?)));
        let result = match opened {
            Ok((keyboard, pointer)) => converse(desk, &keyboard, &pointer).await,
            Err(error) => Err(error),
        };
        let Err(error) = result;
        let error = ErrorChain(&error).to_string();
        desk.typable(Err(&format!("cannot use the host's keyboard: {error}")));
        if told != error {
            tracing::warn!(screen = desk.name, error, "cannot use keyboard of host: retrying");
            told = error;
        }
        sleep(AGAIN).await;
    }
}

fn open(dev: &Path, function: &Path) -> io::Result<WatchedHid> {
    let device = hid_device(dev, function).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("no USB function {}", function.display()))
    })?;
    HidFunction::open(&device).map_err(io::Error::other)?.watched()
}

/// Gives a report to a device that was writable: what became of it; none: it was not.
fn give(device: &WatchedHid, report: Option<&[u8]>) -> io::Result<Option<Sent>> {
    report.map_or(Ok(None), |report| device.give(report))
}

async fn converse(desk: &Desk, keyboard: &WatchedHid, pointer: &WatchedHid) -> io::Result<Infallible> {
    let mut hid = Hid::default();
    hid.all_up();
    // Until when the host may leave a report where it is.
    let mut until = None;
    // When it is looked again for a host.
    let mut again = None;
    loop {
        while again.is_none()
            && hid.has_room()
            && let Some(input) = desk.next_input()
        {
            // A key that no keyboard has is no fault.
            let _ = hid.input(input, desk.size());
        }
        desk.passed();
        if hid.next_keys().is_none() {
            until = None;
        } else if until.is_none() {
            until = Some(Instant::now() + TAKEN_WITHIN);
        }
        let waits = again.is_none();
        let sent = tokio::select! {
            ready = keyboard.writable(), if waits && hid.next_keys().is_some() => {
                ready?;
                let sent = give(keyboard, hid.next_keys().as_ref().map(<[u8; _]>::as_slice))?;
                if sent == Some(Sent::Yes) {
                    hid.keys_sent();
                    until = None;
                    desk.typable(Ok(()));
                }
                sent
            }
            ready = pointer.writable(), if waits && hid.next_pointer().is_some() => {
                ready?;
                let sent = give(pointer, hid.next_pointer().as_ref().map(<[u8; _]>::as_slice))?;
                if sent == Some(Sent::Yes) {
                    hid.pointer_sent();
                }
                sent
            }
            report = keyboard.received() => {
                desk.lamps(hid::leds(report?.first().copied().unwrap_or_default()));
                None
            }
            () = desk.typed() => None,
            () = at(again) => {
                again = None;
                None
            }
            () = at(until.filter(|_| waits)) => {
                // It is suspended, or its firmware looks elsewhere. All up is what it gets when it asks again.
                desk.typable(Err("the host takes no keys: it is off, suspended or busy"));
                hid.all_up();
                // Not once more: told is told.
                until = Some(Instant::now() + Duration::from_secs(3600));
                None
            }
        };
        if sent == Some(Sent::NoHost) {
            desk.typable(Err("no host is at the USB port: it is off, or the cable is out"));
            hid.all_up();
            (until, again) = (None, Some(Instant::now() + AGAIN));
        }
    }
}

async fn at(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use rfb::Input;
    use serial::Holder;
    use service::Clock;
    use tokio::net::UnixStream;

    use super::*;
    use crate::origin::Source;

    /// A function that a host is at: a socket whose other end is it.
    fn function() -> (WatchedHid, UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let function = HidFunction::of(OwnedFd::from(ours), Path::new("hidg0"));
        (function.watched().unwrap(), UnixStream::from_std(theirs).unwrap())
    }

    const fn key(down: bool, code: u32) -> Input {
        Input::Key { down, keysym: 0, code: Some(code) }
    }

    async fn report<const N: usize>(host: &UnixStream) -> [u8; N] {
        let mut report = [0xff; N];
        loop {
            host.readable().await.unwrap();
            match host.try_read(&mut report) {
                Ok(count) => {
                    assert_eq!(count, N);
                    return report;
                }
                // It was ready for what was read before.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    async fn until(desk: &Desk, wanted: impl Fn(&Result<(), String>) -> bool) {
        let mut changes = desk.changes();
        while !wanted(&desk.lock().typable) {
            changes.changed().await.unwrap();
        }
    }

    #[tokio::test]
    async fn all_is_up_at_first_and_when_who_typed_goes_and_a_host_that_takes_nothing_is_told() {
        let source = Source::Video("/dev/null".into());
        let desk = Arc::new(Desk::new("system", source, Clock::new(), &rfb::Room::new(0)).unwrap());
        let holder = Holder { account: "ann".to_owned(), is_administrator: false };
        let ann = desk.join("ann", holder, true).unwrap();
        assert!(desk.input(ann, key(true, 0x1e)).unwrap_err().contains("no keyboard"));
        assert_eq!(desk.lock().sessions.writer(), None, "what is refused has no effect");

        let ((keyboard, keys), (pointer, points)) = (function(), function());
        let served = Arc::clone(&desk);
        let task = tokio::spawn(async move { converse(&served, &keyboard, &pointer).await });
        assert_eq!(report::<8>(&keys).await, [0; 8], "what a daemon before this one held down");
        assert_eq!(report::<6>(&points).await, [0; 6]);
        until(&desk, Result::is_ok).await;
        assert!(desk.input(ann, key(true, 0x1e)).unwrap());
        assert_eq!(report::<8>(&keys).await, [0, 0, 4, 0, 0, 0, 0, 0]);
        assert!(desk.input(ann, Input::Pointer { buttons: 1, x: 639, y: 0 }).unwrap());
        assert_eq!(report::<6>(&points).await, [1, 0xff, 0x7f, 0, 0, 0]);
        desk.leave(ann);
        assert_eq!(report::<8>(&keys).await, [0; 8]);
        assert_eq!(report::<6>(&points).await[0], 0);

        // The host stops asking: until the buffers are full, and then two seconds.
        let holder = Holder { account: "bob".to_owned(), is_administrator: false };
        let bob = desk.join("bob", holder, true).unwrap();
        for round in 0_u32.. {
            if let Err(refused) = desk.input(bob, key(round % 2 == 0, 0x1e)) {
                assert!(refused.contains("does not take") || refused.contains("takes no keys"), "{refused}");
                break;
            }
            tokio::task::yield_now().await;
        }
        until(&desk, |typable| matches!(typable, Err(why) if why.contains("takes no keys"))).await;
        // It asks again: what was typed meanwhile is gone, and all is up.
        let mut last = [0xff; 8];
        while desk.lock().typable.is_err() {
            last = report::<8>(&keys).await;
            tokio::task::yield_now().await;
        }
        while let Ok(count @ 1..) = keys.try_read(&mut last) {
            assert_eq!(count, 8);
        }
        assert_eq!(last, [0; 8]);
        // Lamps.
        let before = desk.draw(|screen| screen.changes());
        let mut changes = desk.changes();
        keys.try_write(&[0b10]).unwrap();
        while desk.draw(|screen| screen.changes()) == before {
            changes.changed().await.unwrap();
        }
        drop((keys, points));
        assert!(task.await.unwrap().is_err(), "the device is gone");
    }
}
