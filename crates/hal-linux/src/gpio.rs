//! GPIO over the kernel's character device, interface version 2.
#![allow(unsafe_code, reason = "tokio cannot know that a descriptor it watches stays what it is")]

use std::io;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use gpiocdev::line::{EdgeDetection, EdgeKind, Offset, Value};
use gpiocdev::request::{Builder, Config};
use gpiocdev::{Chip, Request};
use hal::{Bias, Edge, Error, Gpio, Initial, InputLine, Line, LineId, OutputLine};
use tokio::io::unix::AsyncFd;

/// The longest consumer label, without the final zero (`GPIO_MAX_NAME_SIZE` is 32).
const OWNER_MAX: usize = 31;

/// GPIO lines of this machine.
///
/// Calls into the kernel are made in place: a line of the SoC takes microseconds, one behind an I2C expander about a millisecond,
/// which is less than handing it to a thread and back is worth.
#[derive(Debug, Clone, Default)]
pub struct LinuxGpio {}

impl LinuxGpio {
    /// The lines of this machine. Opens nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

/// A line found: its chip's device and its number there.
#[derive(Debug)]
struct Found {
    chip: PathBuf,
    offset: Offset,
}

/// Looks for the line on every chip. Chips are few and asked once per line at the start of a daemon.
fn find(id: &LineId) -> Result<Found, Error> {
    let chips = gpiocdev::chip::chips().map_err(|error| failed("look for", id, error))?;
    let mut found: Option<Found> = None;
    let mut closed: Option<Error> = None;
    for path in chips {
        let chip = match Chip::from_path(&path) {
            Ok(chip) => chip,
            Err(error) => {
                // Perhaps the line is on another; if not, this is why.
                closed = Some(failed("look for", id, error));
                continue;
            }
        };
        let Some(offset) = offset_on(&chip, id)? else { continue };
        if let Some(first) = &found {
            return Err(Error::Ambiguous {
                line: id.clone(),
                first: first.chip.display().to_string(),
                second: path.display().to_string(),
            });
        }
        found = Some(Found { chip: path, offset });
        if matches!(id, LineId::Offset { .. }) {
            break;
        }
    }
    found.ok_or_else(|| closed.unwrap_or(Error::NotFound { line: id.clone() }))
}

/// The line's number on this chip, if it is there.
fn offset_on(chip: &Chip, id: &LineId) -> Result<Option<Offset>, Error> {
    match id {
        LineId::Name(name) => Ok(chip.find_line_info(name).map(|info| info.offset)),
        LineId::Offset { chip: wanted, offset } => {
            let info = chip.info().map_err(|error| failed("look for", id, error))?;
            if chip.name() != *wanted && info.label != *wanted {
                return Ok(None);
            }
            if *offset >= info.num_lines {
                return Err(Error::NotFound { line: id.clone() });
            }
            Ok(Some(*offset))
        }
    }
}

/// The part of a configuration that every request of the line has. The level, and so `active_low`, must be right from the first
/// moment.
fn configure(line: &Line, offset: Offset) -> Config {
    let mut config = Config::default();
    config.with_line(offset);
    if line.active_low {
        config.as_active_low();
    } else {
        config.as_active_high();
    }
    config
}

fn bias(config: &mut Config, bias: Bias) {
    use gpiocdev::line::Bias as Kernel;
    match bias {
        Bias::AsIs => {}
        Bias::Disabled => drop(config.with_bias(Kernel::Disabled)),
        Bias::PullUp => drop(config.with_bias(Kernel::PullUp)),
        Bias::PullDown => drop(config.with_bias(Kernel::PullDown)),
    }
}

fn request(line: &Line, found: &Found, mut config: Config, owner: &str) -> Result<Request, Error> {
    config.on_chip(&found.chip);
    let mut builder: Builder = Request::from_config(config);
    builder.with_consumer(label(owner));
    builder.request().map_err(|error| match errno(&error) {
        Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => {
            Error::Busy { line: line.id.clone(), owner: holder(&found.chip, found.offset) }
        }
        _ => failed("request", &line.id, error),
    })
}

/// The owner's name as the kernel keeps it.
fn label(owner: &str) -> String {
    let mut end = owner.len().min(OWNER_MAX);
    while !owner.is_char_boundary(end) {
        end -= 1;
    }
    owner.get(..end).unwrap_or_default().to_owned()
}

/// Who holds the line, as the kernel tells.
fn holder(chip: &Path, offset: Offset) -> String {
    let info = Chip::from_path(chip).and_then(|chip| chip.line_info(offset));
    match info {
        Ok(info) if !info.consumer.is_empty() => info.consumer,
        _ => "an unnamed owner".to_owned(),
    }
}

/// The operating system's number for the error, if it is one of its errors.
fn errno(error: &gpiocdev::Error) -> Option<i32> {
    match error {
        gpiocdev::Error::Os(errno) | gpiocdev::Error::Uapi(_, gpiocdev_uapi::Error::Os(errno)) => {
            Some(errno.0)
        }
        _ => None,
    }
}

fn failed(operation: &'static str, id: &LineId, error: gpiocdev::Error) -> Error {
    use rustix::io::Errno;
    let what = format!("GPIO line {id}");
    let source = match errno(&error) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error),
    };
    let code = source.raw_os_error().map(Errno::from_raw_os_error);
    match code {
        Some(Errno::ACCESS | Errno::PERM) => Error::Permission { what, source },
        Some(Errno::NXIO | Errno::OPNOTSUPP) => {
            Error::Unsupported { what, feature: format!("being used as asked ({source})") }
        }
        _ => Error::Io { operation, what, source },
    }
}

fn value(active: bool) -> Value {
    if active { Value::Active } else { Value::Inactive }
}

#[async_trait]
impl Gpio for LinuxGpio {
    async fn output(&self, line: &Line, initial: Initial, owner: &str) -> Result<Box<dyn OutputLine>, Error> {
        let found = find(&line.id)?;
        let offset = found.offset;
        let request = match initial {
            Initial::Level(active) => {
                let mut config = configure(line, offset);
                config.as_output(value(active));
                bias(&mut config, line.bias);
                request(line, &found, config, owner)?
            }
            Initial::AsIs => {
                // Requested without a direction the pin is left alone, and can be read; then it is driven to what was read. In
                // one request, so nobody else gets in between.
                let mut config = configure(line, offset);
                config.as_is();
                let request = request(line, &found, config, owner)?;
                let level = request.value(offset).map_err(|error| failed("read", &line.id, error))?;
                let mut config = configure(line, offset);
                config.as_output(level);
                bias(&mut config, line.bias);
                request.reconfigure(&config).map_err(|error| failed("drive", &line.id, error))?;
                request
            }
        };
        Ok(Box::new(LinuxOutput { request, offset, id: line.id.clone() }))
    }

    async fn input(&self, line: &Line, owner: &str) -> Result<Box<dyn InputLine>, Error> {
        let found = find(&line.id)?;
        let offset = found.offset;
        let mut config = configure(line, offset);
        config.as_input();
        bias(&mut config, line.bias);
        config.with_edge_detection(EdgeDetection::BothEdges);
        if !line.debounce.is_zero() {
            config.with_debounce_period(line.debounce);
        }
        let request = request(line, &found, config, owner)?;
        // SAFETY: `Request` owns the descriptor of its line, an open file that it closes only when dropped, and it always returns that
        // one; nothing takes the request out of the `AsyncFd`.
        let request = unsafe { AsyncFd::register(request) }.map_err(|error| {
            let (_, source) = error.into_parts();
            Error::Io { operation: "watch", what: format!("GPIO line {}", line.id), source }
        })?;
        let level = request.get_ref().value(offset).map_err(|error| failed("read", &line.id, error))?;
        let reported = level == Value::Active;
        Ok(Box::new(LinuxInput { request, offset, id: line.id.clone(), reported, doubtful: false }))
    }
}

#[derive(Debug)]
struct LinuxOutput {
    request: Request,
    offset: Offset,
    id: LineId,
}

#[async_trait]
impl OutputLine for LinuxOutput {
    async fn set(&self, active: bool) -> Result<(), Error> {
        self.request.set_value(self.offset, value(active)).map_err(|error| failed("drive", &self.id, error))
    }

    async fn get(&self) -> Result<bool, Error> {
        let level = self.request.value(self.offset).map_err(|error| failed("read", &self.id, error))?;
        Ok(level == Value::Active)
    }

    fn id(&self) -> &LineId {
        &self.id
    }
}

#[derive(Debug)]
struct LinuxInput {
    request: AsyncFd<Request>,
    offset: Offset,
    id: LineId,
    /// The level reported last.
    reported: bool,
    /// Edges came since the level was last compared with what was reported.
    doubtful: bool,
}

impl LinuxInput {
    fn level(&self) -> Result<bool, Error> {
        let level = self.request.get_ref().value(self.offset);
        Ok(level.map_err(|error| failed("read", &self.id, error))? == Value::Active)
    }

    /// Compares the level with what was reported, once, after the kernel's queue ran dry. An edge that comes while the kernel still
    /// handles the one before may be lost to it (its interrupt is masked), and nothing would ever tell.
    fn missed(&mut self) -> Result<Option<Edge>, Error> {
        if !std::mem::take(&mut self.doubtful) {
            return Ok(None);
        }
        let active = self.level()?;
        if active == self.reported {
            return Ok(None);
        }
        self.reported = active;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let at = Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0));
        Ok(Some(Edge { active, at }))
    }
}

#[async_trait]
impl InputLine for LinuxInput {
    async fn get(&self) -> Result<bool, Error> {
        self.level()
    }

    fn poll_edge(&mut self, cx: &mut Context<'_>) -> Poll<Result<Edge, Error>> {
        loop {
            let mut ready = match ready!(self.request.poll_read_ready(cx)) {
                Ok(ready) => ready,
                Err(source) => {
                    let what = format!("GPIO line {}", self.id);
                    return Poll::Ready(Err(Error::Io { operation: "watch", what, source }));
                }
            };
            let request = self.request.get_ref();
            // The descriptor blocks, so it is read only when something is there. The kernel keeps 16 edges and drops the oldest.
            let event = match request.has_edge_event() {
                Ok(true) => request.read_edge_event(),
                Ok(false) => {
                    // Cleared first: an edge after the comparison wakes us, one before it is seen by it.
                    ready.clear_ready();
                    drop(ready);
                    match self.missed() {
                        Ok(None) => continue,
                        Ok(Some(edge)) => return Poll::Ready(Ok(edge)),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                Err(error) => Err(error),
            };
            drop(ready);
            return Poll::Ready(match event {
                Ok(event) => {
                    let active = event.kind == EdgeKind::Rising;
                    (self.reported, self.doubtful) = (active, true);
                    Ok(Edge { active, at: Duration::from_nanos(event.timestamp_ns) })
                }
                Err(error) => Err(failed("watch", &self.id, error)),
            });
        }
    }

    fn id(&self) -> &LineId {
        &self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_cut_between_characters() {
        assert_eq!(label("powermgr"), "powermgr");
        let long = "x".repeat(30) + "éé";
        assert_eq!(label(&long), "x".repeat(30));
    }

    #[tokio::test]
    async fn a_line_that_is_not_there_is_said_to_be_missing() {
        let gpio = LinuxGpio::new();
        let line = Line::named("no-such-line-on-any-machine");
        let error = gpio.input(&line, "test").await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. } | Error::Permission { .. }), "{error}");
    }
}
