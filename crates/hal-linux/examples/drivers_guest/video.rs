//! Video for Linux, with `vivid`: bars of colour on an HDMI port whose signal is set by controls.
#![allow(unsafe_code, reason = "the controls that are the outside of vivid are ioctls")]

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use hal_linux::video::{Capture, Happened, NoPicture, Pixels, Video};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use crate::{Error, say};

/// `struct v4l2_queryctrl` and `struct v4l2_control` of linux/videodev2.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Asked {
    id: u32,
    kind: u32,
    name: [u8; 32],
    minimum: i32,
    maximum: i32,
    rest: [i32; 5],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    id: u32,
    value: i32,
}

const QUERYCTRL: Opcode = opcode::read_write::<Asked>(b'V', 36);
const S_CTRL: Opcode = opcode::read_write::<Control>(b'V', 28);
/// `V4L2_CTRL_FLAG_NEXT_CTRL`.
const NEXT: u32 = 0x8000_0000;
/// What "DV Timings Signal Mode" says: as it is, nothing connected, one of a list.
const AS_IT_IS: i32 = 0;
const NO_SIGNAL: i32 = 1;
const OF_LIST: i32 = 4;

/// A control by its name: its number.
fn control(device: &File, name: &str) -> Result<u32, Error> {
    let mut id = 0;
    loop {
        let mut asked = Asked { id: id | NEXT, ..Asked::default() };
        // SAFETY: the number is that of a call which reads and writes a `struct v4l2_queryctrl`, and `Asked` is laid out as that.
        unsafe { ioctl(device.as_fd(), Updater::<QUERYCTRL, Asked>::new(&mut asked)) }
            .map_err(|error| format!("no control {name:?}: {error}"))?;
        id = asked.id;
        if asked.name.starts_with(name.as_bytes()) && asked.name.get(name.len()) == Some(&0) {
            return Ok(id);
        }
    }
}

fn set(device: &File, name: &str, value: i32) -> Result<(), Error> {
    let mut control = Control { id: control(device, name)?, value };
    // SAFETY: the number is that of a call which reads and writes a `struct v4l2_control`, and `Control` is laid out as that.
    unsafe { ioctl(device.as_fd(), Updater::<S_CTRL, Control>::new(&mut control)) }
        .map_err(|error| format!("{name} = {value}: {error}").into())
}

/// Waits for a frame, or for a change.
fn next(capture: &mut Capture<'_>, wanted: Happened) -> Result<(), Error> {
    for _ in 0..100 {
        let happened = capture.wait(Duration::from_millis(200))?;
        if happened == wanted {
            return Ok(());
        }
        if happened == Happened::Changed {
            return Err("a change that was not made".into());
        }
    }
    Err(format!("no {wanted:?} in 20 s").into())
}

fn capture(video: &Video) -> Result<Capture<'_>, Error> {
    video.capture().map_err(|why| format!("{why:?}").into())
}

/// The bars: the colours of a row in the lower half, where no text stands.
fn bars(capture: &Capture<'_>) -> Vec<u32> {
    let (width, height) = capture.size();
    let (width, y) = (usize::try_from(width).unwrap_or(0), usize::try_from(height * 3 / 4).unwrap_or(0));
    let line = capture.frame().chunks(capture.stride()).nth(y).unwrap_or_default();
    let mut row = Vec::new();
    capture.pixels().row(line, &mut row);
    assert!(row.len() >= width, "{} pixels of {width}", row.len());
    (0..8).filter_map(|bar| row.get(bar * width / 8 + width / 16).copied()).collect()
}

pub(crate) fn all(device: &Path) -> Result<(), Error> {
    let video = Video::open(device)?;
    assert_eq!(video.info().driver, "vivid", "{:?}", video.info());
    let outside = File::options().read(true).write(true).open(device)?;

    let mut shot = capture(&video)?;
    let first = shot.size();
    assert_ne!(shot.pixels(), Pixels::Jpeg, "vivid has none");
    next(&mut shot, Happened::Frame)?;
    let shown = bars(&shot);
    let (white, black) = (shown[0].to_be_bytes(), shown[7].to_be_bytes());
    assert!(
        white[1..].iter().all(|part| *part > 170) && black[1..].iter().all(|part| *part < 40),
        "{shown:x?}"
    );
    let mut colours = shown.clone();
    colours.sort_unstable();
    colours.dedup();
    assert_eq!(colours.len(), 8, "{shown:x?}");
    say(&format!("captured {first:?} as {:?}", shot.pixels()));
    let before = shot.frame().to_vec();
    while {
        next(&mut shot, Happened::Frame)?;
        shot.frame() == before
    } {}
    say("the next frame is another");

    // Another source, while it is captured.
    set(&outside, "DV Timings", 0)?;
    set(&outside, "DV Timings Signal Mode", OF_LIST)?;
    next(&mut shot, Happened::Changed)?;
    drop(shot);
    let mut shot = capture(&video)?;
    assert_ne!(shot.size(), first);
    next(&mut shot, Happened::Frame)?;
    assert_eq!(bars(&shot).len(), 8);
    say(&format!("other timings: {:?}", shot.size()));

    set(&outside, "DV Timings Signal Mode", NO_SIGNAL)?;
    next(&mut shot, Happened::Changed)?;
    drop(shot);
    assert!(matches!(video.capture(), Err(NoPicture::NoSignal)));
    say("no signal is told");

    set(&outside, "DV Timings Signal Mode", AS_IT_IS)?;
    let mut shot = capture(&video)?;
    next(&mut shot, Happened::Frame)?;
    // Who captures has the device alone, and gives it back.
    let other = Video::open(device)?;
    assert!(matches!(other.capture(), Err(NoPicture::Device(_))), "one captures");
    drop(shot);
    let mut shot = capture(&other)?;
    next(&mut shot, Happened::Frame)?;
    say("video ok");
    Ok(())
}
