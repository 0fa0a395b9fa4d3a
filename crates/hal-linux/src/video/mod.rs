//! Video captured by the kernel's drivers (Video for Linux, Documentation/userspace-api/media/v4l).
//!
//! ```text
//!  /dev/video* ──► Video: what it can, whether there is a signal
//!                    └──► Capture: a few buffers of the driver's, the newest frame ──► bytes: JPEG as the hardware made it, or rows of pixels
//!                           └──► Happened::Changed: the source has other timings; the capture is of no use any more
//! ```
//!
//! Calls into a driver may take a second where it looks for a signal: they belong on a thread of their own.

mod abi;
mod pixels;

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hal::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::fail;
use abi::Mapped;

pub use pixels::Pixels;

/// Buffers of a capture: one that is filled, one that waits to be, one that is looked at.
const BUFFERS: u32 = 3;
/// Inputs and formats that are looked through.
const LISTED_MAX: u32 = 64;
/// The longest line and the most bytes of a frame that a driver may name: 4096 pixels of four bytes, 2560x1600 of them.
const LINE_MAX: u32 = 4096 * 4;
const FRAME_MAX: usize = 2560 * 1600 * 4;
/// Frames a second that a driver is asked for, where it can be.
const RATE: u32 = 30;

/// Why there is no picture.
#[derive(Debug)]
pub enum NoPicture {
    /// Nothing is connected, or it is off.
    NoSignal,
    /// There is something that cannot be captured: why.
    Unusable(String),
    /// The device failed.
    Device(Error),
}

impl From<Error> for NoPicture {
    fn from(error: Error) -> Self {
        Self::Device(error)
    }
}

/// What became of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// There is a frame.
    Frame,
    /// The source is another, or gone: the capture has to be made anew.
    Changed,
    /// Nothing, in the time.
    Nothing,
}

/// What a device says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoInfo {
    /// Its driver.
    pub driver: String,
    /// Its name.
    pub card: String,
}

/// A device that captures.
#[derive(Debug)]
pub struct Video {
    device: File,
    path: PathBuf,
    info: VideoInfo,
}

impl Video {
    /// Opens a device, such as `/dev/video0`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is none, [`Error::Unsupported`] where it captures no video.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let device = File::options().read(true).write(true).custom_flags(flags).open(path);
        let device = device.map_err(|source| fail::at("open", path, source))?;
        let unsupported = |feature: &str| Error::Unsupported {
            what: path.display().to_string(),
            feature: feature.to_owned(),
        };
        let told = abi::capabilities(&device).map_err(|errno| match errno {
            Errno::NOTTY => unsupported("Video for Linux"),
            errno => fail::at("ask", path, errno),
        })?;
        if !told.captures() {
            return Err(unsupported("the capture of video into buffers that are mapped"));
        }
        let info = VideoInfo { driver: abi::text(&told.driver), card: abi::text(&told.card) };
        // Where it can, it tells of other timings; where not, they are asked for when no frame comes.
        let _ = abi::subscribe(&device);
        Ok(Self { device, path: path.to_owned(), info })
    }

    /// What it says of itself.
    #[must_use]
    pub const fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// Whether there is a signal that can be captured, and its size.
    ///
    /// # Errors
    /// [`NoPicture`]
    pub fn signal(&self) -> Result<Option<(u32, u32)>, NoPicture> {
        match abi::query_timings(&self.device) {
            Ok(timings) => Ok(Some(timings.size())),
            Err(Errno::RANGE) => {
                Err(NoPicture::Unusable("the signal is beyond what can be captured".to_owned()))
            }
            // A camera, or an input that has none: it says by its input's state whether something is there.
            Err(Errno::NOTTY | Errno::NODATA | Errno::INVAL) => {
                match abi::input_state(&self.device).unwrap_or_default() & abi::NO_SIGNAL {
                    0 => Ok(None),
                    _ => Err(NoPicture::NoSignal),
                }
            }
            Err(errno) => Err(self.failed("ask for the timings of", errno)),
        }
    }

    /// Begins to capture what there is. What is captured already has to be dropped before.
    ///
    /// # Errors
    /// [`NoPicture`]
    pub fn capture(&self) -> Result<Capture<'_>, NoPicture> {
        // What changed up to now is looked at now.
        while matches!(abi::event(&self.device), Ok(true)) {}
        let mut timings = None;
        if self.signal()?.is_some() {
            let found = abi::query_timings(&self.device).map_err(|errno| self.failed("ask", errno))?;
            abi::set_timings(&self.device, found)
                .map_err(|errno| self.failed("set the timings of", errno))?;
            timings = Some(found);
        }
        let (format, pixels) = self.format()?;
        let bytes = usize::try_from(format.size_image).unwrap_or(usize::MAX);
        if format.bytes_per_line > LINE_MAX || bytes > FRAME_MAX {
            let text = format!("a picture of {}x{} is too large", format.width, format.height);
            return Err(NoPicture::Unusable(text));
        }
        // Those that cannot be asked have a rate of their own.
        let _ = abi::set_rate(&self.device, RATE);
        let mut capture = Capture {
            video: self,
            timings,
            size: (format.width, format.height),
            stride: usize::try_from(format.bytes_per_line).unwrap_or(0),
            pixels,
            buffers: Vec::new(),
            newest: None,
        };
        let count = abi::request_buffers(&self.device, BUFFERS)
            .map_err(|errno| self.failed("get buffers of", errno))?;
        for index in 0..count.min(BUFFERS * 4) {
            let mapped =
                abi::map(&self.device, index).map_err(|errno| self.failed("map buffers of", errno))?;
            capture.buffers.push(mapped);
            abi::queue(&self.device, index).map_err(|errno| self.failed("queue buffers of", errno))?;
        }
        if capture.buffers.is_empty() {
            return Err(NoPicture::Unusable("the driver has no memory for frames".to_owned()));
        }
        abi::stream(&self.device, true).map_err(|errno| self.failed("start", errno))?;
        Ok(capture)
    }

    /// The best of the formats that it has: what its hardware compressed, before pixels as they are shown, before those that cost most to make such of.
    fn format(&self) -> Result<(abi::PixFormat, Pixels), NoPicture> {
        let mut best: Option<Pixels> = None;
        for index in 0..LISTED_MAX {
            let Ok(code) = abi::list_format(&self.device, index) else { break };
            if let Some(pixels) = Pixels::of_code(code) {
                best = Some(best.map_or(pixels, |best| best.min(pixels)));
            }
        }
        let best =
            best.ok_or_else(|| NoPicture::Unusable("it has no format that is known here".to_owned()))?;
        let mut format = abi::get_format(&self.device).map_err(|errno| self.failed("ask", errno))?;
        if Pixels::of_code(format.pixel_format) != Some(best) {
            format.pixel_format = best.code();
            // The driver says what these are.
            (format.bytes_per_line, format.size_image) = (0, 0);
            format = abi::set_format(&self.device, format)
                .map_err(|errno| self.failed("set the format of", errno))?;
        }
        let pixels = Pixels::of_code(format.pixel_format)
            .ok_or_else(|| NoPicture::Unusable("it keeps to a format that is not known here".to_owned()))?;
        Ok((format, pixels))
    }

    fn failed(&self, operation: &'static str, errno: Errno) -> NoPicture {
        match errno {
            Errno::NOLINK => NoPicture::NoSignal,
            // The video engine of the AST2600 says AGAIN while it looks for the signal.
            Errno::NOLCK | Errno::AGAIN => NoPicture::Unusable("the signal is not stable".to_owned()),
            errno => NoPicture::Device(fail::at(operation, &self.path, errno)),
        }
    }
}

/// A capture that runs. Dropped, it has ended and the driver has its buffers back.
#[derive(Debug)]
pub struct Capture<'v> {
    video: &'v Video,
    /// What the source had when it began, if it has such.
    timings: Option<abi::Timings>,
    size: (u32, u32),
    stride: usize,
    pixels: Pixels,
    buffers: Vec<Mapped>,
    /// The buffer that is ours, and how many bytes of it are the frame.
    newest: Option<(u32, usize)>,
}

impl Capture<'_> {
    /// Pixels to the right and down.
    #[must_use]
    pub const fn size(&self) -> (u32, u32) {
        self.size
    }

    /// What a frame is made of.
    #[must_use]
    pub const fn pixels(&self) -> Pixels {
        self.pixels
    }

    /// From one row of pixels to the next, in bytes.
    #[must_use]
    pub const fn stride(&self) -> usize {
        self.stride
    }

    /// Waits for the next frame, or for a change. Of several frames only the newest counts.
    ///
    /// # Errors
    /// The device failed.
    pub fn wait(&mut self, within: Duration) -> Result<Happened, Error> {
        let device = &self.video.device;
        let within = Timespec::try_from(within).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut waits = [PollFd::new(device, PollFlags::IN | PollFlags::PRI)];
        match poll(&mut waits, Some(&within)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Happened::Nothing),
            Ok(_) => {}
            Err(errno) => return Err(fail::at("wait for", &self.video.path, errno)),
        }
        let flags = waits[0].revents();
        if flags.contains(PollFlags::PRI) && matches!(abi::event(device), Ok(true)) {
            // Drivers also tell what was set by us, and a change that was taken back.
            let same = self
                .timings
                .is_some_and(|timings| abi::query_timings(device).is_ok_and(|now| now.is_same(&timings)));
            if !same {
                return Ok(Happened::Changed);
            }
        }
        let mut has_frame = false;
        loop {
            match abi::dequeue(device) {
                Ok(filled) => {
                    if let Some((before, _)) = self.newest.take() {
                        self.give_back(before)?;
                    }
                    // What the driver could not fill is no frame.
                    if filled.is_damaged() || filled.used == 0 {
                        self.give_back(filled.index)?;
                    } else {
                        self.newest = Some((filled.index, filled.used));
                        has_frame = true;
                    }
                }
                Err(Errno::AGAIN) => break,
                // The driver ended the stream: it has lost its source.
                Err(Errno::PIPE | Errno::INVAL) => return Ok(Happened::Changed),
                Err(errno) => return Err(fail::at("read", &self.video.path, errno)),
            }
        }
        Ok(if has_frame { Happened::Frame } else { Happened::Nothing })
    }

    /// The frame that came last, in the driver's own memory.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        let Some((index, used)) = self.newest else { return &[] };
        let buffer = usize::try_from(index).ok().and_then(|index| self.buffers.get(index));
        let bytes = buffer.map(Mapped::bytes).unwrap_or_default();
        bytes.get(..used.min(bytes.len())).unwrap_or_default()
    }

    fn give_back(&self, index: u32) -> Result<(), Error> {
        let given = abi::queue(&self.video.device, index);
        given.map_err(|errno| fail::at("give a buffer back to", &self.video.path, errno))
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a driver that does not stop; its buffers are its own.
        let _ = abi::stream(&self.video.device, false);
        self.buffers.clear();
        let _ = abi::request_buffers(&self.video.device, 0);
    }
}

impl AsFd for Video {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.device.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_captures_nothing_is_told() {
        assert!(matches!(Video::open(Path::new("/dev/video-none")), Err(Error::Unavailable { .. })));
        let error = Video::open(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }
}
