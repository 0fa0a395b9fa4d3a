//! The calls of Video for Linux, one function each (linux/videodev2.h, linux/v4l2-common.h).
#![allow(
    unsafe_code,
    reason = "the interface is made of ioctls and of memory that is mapped; rustix offers both as unsafe building blocks"
)]

use std::fs::File;
use std::os::fd::AsFd;

use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`, `V4L2_MEMORY_MMAP`.
const CAPTURE: u32 = 1;
const MMAP: u32 = 1;
/// `V4L2_CAP_VIDEO_CAPTURE`, `V4L2_CAP_STREAMING`, and that what a device can is in a field of its own.
const CAP_CAPTURE: u32 = 0x0000_0001;
const CAP_STREAMING: u32 = 0x0400_0000;
const CAP_OF_DEVICE: u32 = 0x8000_0000;
/// `V4L2_EVENT_SOURCE_CHANGE`.
const SOURCE_CHANGE: u32 = 5;
/// `V4L2_IN_ST_NO_POWER`, `V4L2_IN_ST_NO_SIGNAL`.
pub(super) const NO_SIGNAL: u32 = 0x3;
/// `V4L2_BUF_FLAG_ERROR`.
const DAMAGED: u32 = 0x40;

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Capability {
    pub(super) driver: [u8; 16],
    pub(super) card: [u8; 32],
    bus_info: [u8; 32],
    version: u32,
    capabilities: u32,
    device_caps: u32,
    reserved: [u32; 3],
}

impl Capability {
    pub(super) const fn captures(&self) -> bool {
        let all = if self.capabilities & CAP_OF_DEVICE != 0 { self.device_caps } else { self.capabilities };
        all & CAP_CAPTURE != 0 && all & CAP_STREAMING != 0
    }
}

/// `struct v4l2_fmtdesc`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FormatListed {
    index: u32,
    kind: u32,
    flags: u32,
    description: [u8; 32],
    pixel_format: u32,
    mbus_code: u32,
    reserved: [u32; 3],
}

/// `struct v4l2_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PixFormat {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixel_format: u32,
    field: u32,
    pub(super) bytes_per_line: u32,
    pub(super) size_image: u32,
    rest: [u32; 6],
}

/// `struct v4l2_format`: a union of 200 bytes, which holds pointers and is laid out for them.
#[repr(C)]
#[derive(Clone, Copy)]
struct Format {
    kind: u32,
    #[cfg(target_pointer_width = "64")]
    gap: u32,
    pix: PixFormat,
    rest: [u32; 38],
}

impl Format {
    fn of(pix: PixFormat) -> Self {
        Self {
            kind: CAPTURE,
            #[cfg(target_pointer_width = "64")]
            gap: 0,
            pix,
            rest: [0; 38],
        }
    }
}

/// `struct v4l2_requestbuffers`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    count: u32,
    kind: u32,
    memory: u32,
    capabilities: u32,
    flags: u32,
}

/// `struct v4l2_buffer`, with the kernel's own time of 64 bits on every machine.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Buffer {
    index: u32,
    kind: u32,
    bytes_used: u32,
    flags: u32,
    field: u32,
    time: [i64; 2],
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    /// A union with a pointer: of memory that is mapped, the offset to map it by.
    place: Place,
    length: u32,
    reserved: [u32; 2],
}

/// The union in a buffer. Little-endian, as all that is known to have such devices.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Place(usize);

impl Place {
    fn offset(self) -> u64 {
        // A `__u32` in the union: its low half, where pointers are wider.
        u64::try_from(self.0 & 0xffff_ffff).unwrap_or(0)
    }
}

/// `struct v4l2_dv_timings`, packed: kind, then of BT.656/BT.1120 timings width, height, whether interlaced, polarities, pixel clock, porches.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Timings([u32; 33]);

impl Timings {
    /// Pixels to the right and down.
    pub(super) const fn size(&self) -> (u32, u32) {
        (self.0[1], self.0[2])
    }

    /// Whether a picture of these is as large, and as interlaced: rates are measured, and never twice the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.size() == other.size() && self.0[3] == other.0[3]
    }
}

/// `struct v4l2_event_subscription`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Subscription {
    kind: u32,
    id: u32,
    flags: u32,
    reserved: [u32; 5],
}

/// `struct v4l2_event`, with a time of 64 bits on every machine.
#[repr(C)]
#[derive(Clone, Copy)]
struct Event {
    kind: u32,
    data: [u64; 8],
    pending: u32,
    sequence: u32,
    time: [i64; 2],
    id: u32,
    reserved: [u32; 8],
}

/// `struct v4l2_input`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Input {
    index: u32,
    name: [u8; 32],
    kind: u32,
    audioset: u32,
    tuner: u32,
    std: u64,
    status: u32,
    capabilities: u32,
    reserved: [u32; 3],
}

/// `struct v4l2_streamparm`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Rate {
    kind: u32,
    capability: u32,
    mode: u32,
    /// The time of a frame: a numerator and a denominator of seconds.
    frame: [u32; 2],
    rest: [u32; 46],
}

const QUERYCAP: Opcode = opcode::read::<Capability>(b'V', 0);
const ENUM_FMT: Opcode = opcode::read_write::<FormatListed>(b'V', 2);
const G_FMT: Opcode = opcode::read_write::<Format>(b'V', 4);
const S_FMT: Opcode = opcode::read_write::<Format>(b'V', 5);
const REQBUFS: Opcode = opcode::read_write::<Request>(b'V', 8);
const QUERYBUF: Opcode = opcode::read_write::<Buffer>(b'V', 9);
const QBUF: Opcode = opcode::read_write::<Buffer>(b'V', 15);
const DQBUF: Opcode = opcode::read_write::<Buffer>(b'V', 17);
const STREAMON: Opcode = opcode::write::<i32>(b'V', 18);
const STREAMOFF: Opcode = opcode::write::<i32>(b'V', 19);
const S_PARM: Opcode = opcode::read_write::<Rate>(b'V', 22);
const ENUMINPUT: Opcode = opcode::read_write::<Input>(b'V', 26);
const G_INPUT: Opcode = opcode::read::<i32>(b'V', 38);
const S_DV_TIMINGS: Opcode = opcode::read_write::<Timings>(b'V', 87);
const DQEVENT: Opcode = opcode::read::<Event>(b'V', 89);
const SUBSCRIBE_EVENT: Opcode = opcode::write::<Subscription>(b'V', 90);
const QUERY_DV_TIMINGS: Opcode = opcode::read::<Timings>(b'V', 99);

/// A call that reads and writes a value.
macro_rules! update {
    ($device:expr, $code:ident, $kind:ty, $value:expr) => {{
        let mut value: $kind = $value;
        // SAFETY: the number is that of a call which reads and writes a value of this type, laid out as the kernel's (its size is in the number, and
        // the tests hold both).
        unsafe { ioctl($device.as_fd(), Updater::<$code, $kind>::new(&mut value)) }.map(|()| value)
    }};
}

/// A text of a field that ends with a zero.
pub(super) fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

pub(super) fn capabilities(device: &File) -> Result<Capability> {
    // SAFETY: the number is that of a call which writes a `struct v4l2_capability`, and `Capability` is laid out as that.
    unsafe { ioctl(device.as_fd(), Getter::<QUERYCAP, Capability>::new()) }
}

/// The code of a format by its number.
pub(super) fn list_format(device: &File, index: u32) -> Result<u32> {
    let asked = FormatListed { index, kind: CAPTURE, ..FormatListed::default() };
    update!(device, ENUM_FMT, FormatListed, asked).map(|listed| listed.pixel_format)
}

pub(super) fn get_format(device: &File) -> Result<PixFormat> {
    update!(device, G_FMT, Format, Format::of(PixFormat::default())).map(|format| format.pix)
}

/// What the driver made of it.
pub(super) fn set_format(device: &File, pix: PixFormat) -> Result<PixFormat> {
    update!(device, S_FMT, Format, Format::of(pix)).map(|format| format.pix)
}

pub(super) fn set_rate(device: &File, rate: u32) -> Result<()> {
    let wanted = Rate { kind: CAPTURE, capability: 0, mode: 0, frame: [1, rate], rest: [0; 46] };
    update!(device, S_PARM, Rate, wanted).map(|_| ())
}

/// How many there are. None: the driver has them back.
pub(super) fn request_buffers(device: &File, count: u32) -> Result<u32> {
    let wanted = Request { count, kind: CAPTURE, memory: MMAP, capabilities: 0, flags: 0 };
    update!(device, REQBUFS, Request, wanted).map(|got| got.count)
}

fn buffer(index: u32) -> Buffer {
    Buffer { index, kind: CAPTURE, memory: MMAP, ..Buffer::default() }
}

/// A buffer that is mapped.
#[derive(Debug)]
pub(super) struct Mapped {
    start: *mut core::ffi::c_void,
    length: usize,
}

impl Mapped {
    /// What is in it. Between being dequeued and queued again the driver leaves a buffer alone; only then does [`super::Capture`] look.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `start` and `length` are a mapping that lasts as long as this value, readable, of bytes, which may have any value. The driver writes to it
        // only while the buffer is queued, and the slice lives no longer than the borrow of the capture, without which nothing is queued.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no slice of it outlives the value.
        let _gone = unsafe { munmap(self.start, self.length) };
    }
}

// SAFETY: a mapping belongs to the process and not to a thread; it is only read.
unsafe impl Send for Mapped {}

/// Maps a buffer.
pub(super) fn map(device: &File, index: u32) -> Result<Mapped> {
    let told = update!(device, QUERYBUF, Buffer, buffer(index))?;
    let length = usize::try_from(told.length).map_err(|_| Errno::OVERFLOW)?;
    if length == 0 {
        return Err(Errno::NOMEM);
    }
    let (read, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: a new mapping at an address of the kernel's choice, which nothing else uses.
    let start = unsafe { mmap(std::ptr::null_mut(), length, read, shared, device, told.place.offset()) }?;
    Ok(Mapped { start, length })
}

/// Gives a buffer to the driver.
pub(super) fn queue(device: &File, index: u32) -> Result<()> {
    update!(device, QBUF, Buffer, buffer(index)).map(|_| ())
}

/// A buffer that the driver filled.
pub(super) struct Filled {
    pub(super) index: u32,
    pub(super) used: usize,
    flags: u32,
}

impl Filled {
    pub(super) const fn is_damaged(&self) -> bool {
        self.flags & DAMAGED != 0
    }
}

pub(super) fn dequeue(device: &File) -> Result<Filled> {
    let filled = update!(device, DQBUF, Buffer, buffer(0))?;
    let used = usize::try_from(filled.bytes_used).unwrap_or(0);
    Ok(Filled { index: filled.index, used, flags: filled.flags })
}

pub(super) fn stream(device: &File, on: bool) -> Result<()> {
    let kind = 1_i32;
    if on {
        // SAFETY: the number is that of a call which reads an `int`.
        unsafe { ioctl(device.as_fd(), Setter::<STREAMON, i32>::new(kind)) }
    } else {
        // SAFETY: as above.
        unsafe { ioctl(device.as_fd(), Setter::<STREAMOFF, i32>::new(kind)) }
    }
}

pub(super) fn query_timings(device: &File) -> Result<Timings> {
    // SAFETY: the number is that of a call which writes a `struct v4l2_dv_timings`, and `Timings` has its size; every value of its numbers is one.
    unsafe { ioctl(device.as_fd(), Getter::<QUERY_DV_TIMINGS, Timings>::new()) }
}

pub(super) fn set_timings(device: &File, timings: Timings) -> Result<()> {
    update!(device, S_DV_TIMINGS, Timings, timings).map(|_| ())
}

/// Asks to be told when the source changes.
pub(super) fn subscribe(device: &File) -> Result<()> {
    let wanted = Subscription { kind: SOURCE_CHANGE, id: 0, flags: 0, reserved: [0; 5] };
    // SAFETY: the number is that of a call which reads a `struct v4l2_event_subscription`, and `Subscription` is laid out as that.
    unsafe { ioctl(device.as_fd(), Setter::<SUBSCRIBE_EVENT, Subscription>::new(wanted)) }
}

/// Takes the next event: whether it is a change of the source.
pub(super) fn event(device: &File) -> Result<bool> {
    // SAFETY: the number is that of a call which writes a `struct v4l2_event`, and `Event` is laid out as that.
    let event = unsafe { ioctl(device.as_fd(), Getter::<DQEVENT, Event>::new()) }?;
    Ok(event.kind == SOURCE_CHANGE)
}

/// The state of the input that is selected.
pub(super) fn input_state(device: &File) -> Result<u32> {
    // SAFETY: the number is that of a call which writes an `int`.
    let index = unsafe { ioctl(device.as_fd(), Getter::<G_INPUT, i32>::new()) }?;
    let index = u32::try_from(index).map_err(|_| Errno::INVAL)?;
    update!(device, ENUMINPUT, Input, Input { index, ..Input::default() }).map(|input| input.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_have_the_kernels_numbers() {
        // From linux/videodev2.h, expanded for machines with the usual encoding; with pointers of 32 bits two are shorter.
        assert_eq!(QUERYCAP, 0x8068_5600);
        assert_eq!(ENUM_FMT, 0xc040_5602);
        assert_eq!(REQBUFS, 0xc014_5608);
        assert_eq!((STREAMON, STREAMOFF), (0x4004_5612, 0x4004_5613));
        assert_eq!(S_PARM, 0xc0cc_5616);
        assert_eq!(ENUMINPUT, 0xc050_561a);
        assert_eq!(G_INPUT, 0x8004_5626);
        assert_eq!((S_DV_TIMINGS, QUERY_DV_TIMINGS), (0xc084_5657, 0x8084_5663));
        assert_eq!((DQEVENT, SUBSCRIBE_EVENT), (0x8088_5659, 0x4020_565a));
        let of_pointers = if cfg!(target_pointer_width = "64") {
            (0xc0d0_5604, 0xc0d0_5605, 0xc058_5609, 0xc058_560f, 0xc058_5611)
        } else {
            (0xc0cc_5604, 0xc0cc_5605, 0xc050_5609, 0xc050_560f, 0xc050_5611)
        };
        assert_eq!((G_FMT, S_FMT, QUERYBUF, QBUF, DQBUF), of_pointers);
    }
}
