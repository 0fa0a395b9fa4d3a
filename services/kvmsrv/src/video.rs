//! A host's video, captured by a device of the kernel.
//!
//! A thread has the device while somebody looks: calls into its driver may take a second. What it captures goes to the desk until it is told that nobody
//! looks any more.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hal::Error;
use hal_linux::video::{Capture, Happened, NoPicture, Pixels, Video};
use rfb::{Rect, TILE, Unshown};
use service::ErrorChain;
use units::Millis;

use crate::desk::Desk;

/// How often it is looked whether the capture is to end, and whether there is a signal by now.
const LOOK: Duration = Duration::from_millis(250);
/// Pause before a device that failed is opened again.
const AGAIN: Duration = Duration::from_millis(500);
/// After how long without a frame the device is asked whether it has lost the signal.
const QUIET: Millis = Millis::from_secs(1);
/// Bytes of a compressed frame at most: noise of 1920x1200 pixels has some 1.5 MiB.
pub(crate) const JPEG_MAX: usize = 2 * 1024 * 1024;

/// Says that it is over, when it is dropped.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Captures until this is dropped.
pub(crate) async fn film(desk: &Arc<Desk>, device: &Path) {
    let over = Over(Arc::default());
    // The thread before this one may be in a call of the driver.
    let camera = Arc::clone(&desk.camera).lock_owned().await;
    let shot = Film { desk: Arc::clone(desk), over: Arc::clone(&over.0) };
    let device = device.to_owned();
    let thread = tokio::task::spawn_blocking(move || {
        shot.run(&device);
        drop(camera);
    });
    // It ends by itself only if it panics.
    let _ = thread.await;
}

/// Why a capture has ended.
enum End {
    /// Nobody looks any more.
    Over,
    /// There is another picture, or none.
    Changed,
    /// The device failed.
    Failed(Error),
}

struct Film {
    desk: Arc<Desk>,
    over: Arc<AtomicBool>,
}

impl Film {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn run(&self, device: &Path) {
        while !self.is_over() {
            match Video::open(device) {
                Ok(video) => {
                    let error = match self.watch(&video) {
                        End::Failed(error) => error,
                        End::Over | End::Changed => return,
                    };
                    self.failed(device, &error);
                }
                Err(error) => self.failed(device, &error),
            }
            std::thread::sleep(AGAIN);
        }
    }

    fn failed(&self, device: &Path, error: &Error) {
        let error = ErrorChain(error).to_string();
        if self.desk.tell_unless(|| self.is_over(), Some(&format!("cannot capture: {error}"))) {
            tracing::warn!(screen = self.desk.name, device = %device.display(), error, "cannot capture video: retrying");
        }
    }

    /// Shows what an open device has.
    fn watch(&self, video: &Video) -> End {
        let mut row = Vec::new();
        while !self.is_over() {
            let fault = match video.capture() {
                Ok(capture) => match self.capture(video, capture, &mut row) {
                    End::Changed => continue,
                    end => return end,
                },
                Err(NoPicture::NoSignal) => "there is no signal".to_owned(),
                Err(NoPicture::Unusable(why)) => why,
                Err(NoPicture::Device(error)) => return End::Failed(error),
            };
            self.desk.tell_unless(|| self.is_over(), Some(&fault));
            std::thread::sleep(LOOK);
        }
        End::Over
    }

    fn capture(&self, video: &Video, mut capture: Capture<'_>, row: &mut Vec<u32>) -> End {
        let clock = self.desk.clock;
        let mut last = clock.now();
        loop {
            if self.is_over() {
                return End::Over;
            }
            match capture.wait(LOOK) {
                Ok(Happened::Frame) => {
                    last = clock.now();
                    if let Err(unshown) = self.show(&capture, row) {
                        self.desk.tell_unless(|| self.is_over(), Some(&unshown.to_string()));
                    }
                }
                Ok(Happened::Changed) => return End::Changed,
                // Not every driver tells that its signal is gone: some have no frames then.
                Ok(Happened::Nothing) if clock.now().since(last) > QUIET => {
                    last = clock.now();
                    if !matches!(video.signal(), Ok(size) if size.is_none_or(|size| size == capture.size())) {
                        return End::Changed;
                    }
                }
                Ok(Happened::Nothing) => {}
                Err(error) => return End::Failed(error),
            }
        }
    }

    /// Puts a frame on the screen.
    fn show(&self, capture: &Capture<'_>, row: &mut Vec<u32>) -> Result<(), Unshown> {
        let (width, height) = capture.size();
        let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX);
        let (width, height) = (side(width), side(height));
        let frame = capture.frame();
        let is_over = || self.is_over();
        if capture.pixels() == Pixels::Jpeg {
            if frame.len() > JPEG_MAX {
                return Err(Unshown::TooLarge(width, height));
            }
            let shown = self.desk.draw_unless(is_over, |screen| screen.show_jpeg(width, height, frame));
            let has_changed = shown.transpose()?.unwrap_or(false);
            return self.told(has_changed);
        }
        if self.desk.draw_unless(is_over, |screen| screen.resize(width, height)).transpose()?.is_none() {
            return Ok(());
        }
        let mut has_changed = false;
        let mut lines = frame.chunks(capture.stride().max(1));
        // Some rows at a time: viewers are served in between.
        for y in (0..height).step_by(usize::from(TILE)) {
            row.clear();
            let rows = TILE.min(height - y);
            for line in lines.by_ref().take(usize::from(rows)) {
                let start = row.len();
                capture.pixels().row(line, row);
                // A line may be longer than the picture, or end before it.
                row.resize(start + usize::from(width), 0);
            }
            let at = Rect { x: 0, y, width, height: rows };
            has_changed |= self.desk.draw_unless(is_over, |screen| screen.draw(at, row)).unwrap_or(false);
        }
        self.told(has_changed)
    }

    /// The same picture again wakes nobody, unless it was not known that there is one.
    fn told(&self, has_changed: bool) -> Result<(), Unshown> {
        if has_changed || !self.desk.lock().signal {
            self.desk.tell_unless(|| self.is_over(), None);
        }
        Ok(())
    }
}
