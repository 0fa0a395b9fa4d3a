//! GPIO over the kernel's character device, interface version 2.
#![allow(unsafe_code, reason = "tokio cannot know that a descriptor it watches stays what it is")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use gpiocdev::line::{EdgeDetection, EdgeKind, Offset, Value};
use gpiocdev::request::{Builder, Config};
use gpiocdev::{Request, UapiCall};
use gpiocdev_uapi::v2::{LineEdgeEvent, LineValues};
use hal::{Bias, Edge, Error, Gpio, Initial, InputLine, Line, LineId, OutputLine};
use tokio::io::unix::AsyncFd;

use crate::worker::{Call, WITHIN, Worker};

/// The longest consumer label, without the final zero (`GPIO_MAX_NAME_SIZE` is 32).
const OWNER_MAX: usize = 31;

/// `GPIO_V2_LINE_EVENT_RISING_EDGE`, and the length of a `struct gpio_v2_line_event` in words of eight bytes.
const RISING: u32 = 1;
const EVENT_WORDS: usize = size_of::<LineEdgeEvent>() / 8;

/// How long a chip may take to say which lines it has. It is not asked of the hardware.
const FIND_WITHIN: Duration = Duration::from_millis(500);

/// GPIO lines of this machine.
///
/// Calls that may reach the hardware are made by a thread for each chip: a line of the SoC takes microseconds, but a driver behind a bus that hangs may
/// keep a call for ever. Such a call costs that chip's lines, is told as an error within 1.5 s, and holds nothing else.
#[derive(Debug, Clone, Default)]
pub struct LinuxGpio {
    /// By device.
    chips: Arc<Mutex<BTreeMap<PathBuf, Arc<Worker>>>>,
}

impl LinuxGpio {
    /// The lines of this machine. Opens nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The threads of the chips there are.
    fn chips(&self, id: &LineId) -> Result<Vec<(PathBuf, Arc<Worker>)>, Error> {
        let paths = gpiocdev::chip::chips().map_err(|error| failed("look for", id, error))?;
        let mut chips = self.chips.lock().unwrap_or_else(PoisonError::into_inner);
        // One that went lives on as long as somebody holds a line of it.
        chips.retain(|path, _| paths.contains(path));
        let mut found = Vec::with_capacity(paths.len());
        for path in paths {
            let chip = match chips.get(&path) {
                Some(chip) => Arc::clone(chip),
                None => {
                    let what = format!("GPIO line {id}");
                    let started = Worker::start("gpio-chip");
                    let chip = Arc::new(started.map_err(|source| Error::Io {
                        operation: "look for",
                        what,
                        source,
                    })?);
                    chips.insert(path.clone(), Arc::clone(&chip));
                    chip
                }
            };
            found.push((path, chip));
        }
        Ok(found)
    }

    /// Looks for the line on every chip, all at once: one that does not answer must not cost the others' lines. Chips are few and asked once per
    /// line at the start of a daemon.
    async fn find(&self, id: &LineId) -> Result<Found, Error> {
        let mut asked = Vec::new();
        for (path, chip) in self.chips(id)? {
            let (wanted, device) = (id.clone(), path.clone());
            let answer = chip.call("look for", format!("GPIO line {id}"), FIND_WITHIN, move || {
                let chip =
                    gpiocdev::Chip::from_path(&device).map_err(|error| failed("look for", &wanted, error))?;
                offset_on(&chip, &wanted)
            });
            asked.push((path, chip, answer));
        }
        let mut search = Search::new(id);
        for (path, chip, answer) in asked {
            if search.heard(path, chip, answer.await)? {
                break;
            }
        }
        let (path, chip, offset) = search.end()?;
        Ok(Found { path, chip, offset })
    }
}

/// What chips say about a line. `C` comes with each answer and goes with the one that has the line.
struct Search<'a, C> {
    id: &'a LineId,
    found: Option<(PathBuf, C, Offset)>,
    closed: Option<Error>,
}

impl<'a, C> Search<'a, C> {
    fn new(id: &'a LineId) -> Self {
        Self { id, found: None, closed: None }
    }

    /// One chip's answer. True when the others need not be heard.
    fn heard(
        &mut self,
        path: PathBuf,
        chip: C,
        answer: Result<Option<Offset>, Error>,
    ) -> Result<bool, Error> {
        match answer {
            Ok(None) => {}
            Ok(Some(offset)) => {
                if let Some((first, ..)) = &self.found {
                    return Err(Error::Ambiguous {
                        line: self.id.clone(),
                        first: first.display().to_string(),
                        second: path.display().to_string(),
                    });
                }
                self.found = Some((path, chip, offset));
            }
            // Perhaps the line is on another; if not, this is why. A chip that knows the line cannot be there says more than one that says nothing.
            Err(error) => {
                if !matches!(self.closed, Some(Error::NotFound { .. })) {
                    self.closed = Some(error);
                }
            }
        }
        Ok(self.found.is_some() && matches!(self.id, LineId::Offset { .. }))
    }

    fn end(self) -> Result<(PathBuf, C, Offset), Error> {
        self.found.ok_or_else(|| self.closed.unwrap_or(Error::NotFound { line: self.id.clone() }))
    }
}

/// A line found: its chip's device and thread, and its number there.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    chip: Arc<Worker>,
    offset: Offset,
}

/// A line that is held. Its chip's thread gives it back.
#[derive(Debug)]
struct Held {
    chip: Arc<Worker>,
    /// `None` only while it is given back.
    request: Option<Shared>,
    offset: Offset,
    id: LineId,
}

/// What a line is held by.
#[derive(Debug)]
enum Wire {
    /// A request of this process.
    Own(Request),
    /// A request of one line that another process made and handed over.
    Handed(File),
}

impl Wire {
    fn value(&self, offset: Offset) -> gpiocdev::Result<bool> {
        match self {
            Self::Own(request) => Ok(request.value(offset)? == Value::Active),
            Self::Handed(file) => {
                let mut values = LineValues { bits: 0, mask: 1 };
                let got = gpiocdev_uapi::v2::get_line_values(file, &mut values);
                got.map_err(|error| gpiocdev::Error::Uapi(UapiCall::GetLineValues, error))?;
                Ok(values.bits & 1 != 0)
            }
        }
    }

    fn set(&self, offset: Offset, active: bool) -> gpiocdev::Result<()> {
        match self {
            Self::Own(request) => request.set_value(offset, value(active)),
            // What is handed over is an input.
            Self::Handed(_) => Err(gpiocdev::Error::InvalidArgument("the line is an input".to_owned())),
        }
    }

    /// Whether the kernel has an edge queued. It does not ask the hardware.
    fn has_edge(&self) -> gpiocdev::Result<bool> {
        match self {
            Self::Own(request) => request.has_edge_event(),
            Self::Handed(file) => gpiocdev_uapi::has_event(file)
                .map_err(|error| gpiocdev::Error::Uapi(UapiCall::HasEvent, error)),
        }
    }

    fn read_edge(&self) -> gpiocdev::Result<Edge> {
        match self {
            Self::Own(request) => {
                let event = request.read_edge_event()?;
                let active = event.kind == EdgeKind::Rising;
                Ok(Edge { active, at: Duration::from_nanos(event.timestamp_ns) })
            }
            Self::Handed(file) => {
                let failed = |error| gpiocdev::Error::Uapi(UapiCall::ReadEvent, error);
                let mut buffer = [0; EVENT_WORDS];
                gpiocdev_uapi::read_event(file, &mut buffer).map_err(failed)?;
                let event = LineEdgeEvent::from_slice(&buffer).map_err(failed)?;
                Ok(Edge { active: event.kind == RISING, at: Duration::from_nanos(event.timestamp_ns) })
            }
        }
    }
}

/// The request of a line, for the loop and the thread of its chip.
#[derive(Debug, Clone)]
struct Shared(Arc<Wire>);

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &*self.0 {
            Wire::Own(request) => request.as_fd(),
            Wire::Handed(file) => file.as_fd(),
        }
    }
}

impl AsRawFd for Shared {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Held {
    fn new(found: Found, request: Request, id: LineId) -> Self {
        let request = Some(Shared(Arc::new(Wire::Own(request))));
        Self { chip: found.chip, request, offset: found.offset, id }
    }

    fn call<R: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce(&Wire, Offset) -> gpiocdev::Result<R> + Send + 'static,
    ) -> Call<R> {
        let (request, offset, id) = (self.request.clone(), self.offset, self.id.clone());
        self.chip.call(operation, format!("GPIO line {id}"), WITHIN, move || match &request {
            Some(request) => job(&request.0, offset).map_err(|error| failed(operation, &id, error)),
            None => Err(Error::Unavailable { what: format!("GPIO line {id}") }),
        })
    }

    fn level(&self) -> Call<bool> {
        self.call("read", Wire::value)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.chip.give_back(request);
        }
    }
}

/// The line's number on this chip, if it is there.
fn offset_on(chip: &gpiocdev::Chip, id: &LineId) -> Result<Option<Offset>, Error> {
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

fn request(
    line: &Line,
    chip: &Path,
    offset: Offset,
    mut config: Config,
    owner: &str,
) -> Result<Request, Error> {
    config.on_chip(chip);
    let mut builder: Builder = Request::from_config(config);
    builder.with_consumer(label(owner));
    builder.request().map_err(|error| match errno(&error) {
        Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => {
            Error::Busy { line: line.id.clone(), owner: holder(chip, offset) }
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
    let info = gpiocdev::Chip::from_path(chip).and_then(|chip| chip.line_info(offset));
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
        let found = self.find(&line.id).await?;
        let (wanted, owner, path, offset) =
            (line.clone(), owner.to_owned(), found.path.clone(), found.offset);
        let opening = found.chip.call("request", format!("GPIO line {}", line.id), WITHIN, move || {
            open_output(&wanted, initial, &path, offset, &owner)
        });
        let request = opening.await?;
        Ok(Box::new(LinuxOutput { held: Held::new(found, request, line.id.clone()) }))
    }

    async fn input(&self, line: &Line, owner: &str) -> Result<Box<dyn InputLine>, Error> {
        let (found, request, reported) = self.open_input(line, owner).await?;
        Ok(Box::new(LinuxInput::watch(Held::new(found, request, line.id.clone()), reported)?))
    }
}

impl LinuxGpio {
    /// Requests an input with its edges; also what it shows.
    async fn open_input(&self, line: &Line, owner: &str) -> Result<(Found, Request, bool), Error> {
        let found = self.find(&line.id).await?;
        let offset = found.offset;
        let mut config = configure(line, offset);
        config.as_input();
        bias(&mut config, line.bias);
        config.with_edge_detection(EdgeDetection::BothEdges);
        if !line.debounce.is_zero() {
            config.with_debounce_period(line.debounce);
        }
        let (wanted, owner, path) = (line.clone(), owner.to_owned(), found.path.clone());
        let opening = found.chip.call("request", format!("GPIO line {}", line.id), WITHIN, move || {
            let request = request(&wanted, &path, offset, config, &owner)?;
            let level = request.value(offset).map_err(|error| failed("read", &wanted.id, error))?;
            Ok((request, level == Value::Active))
        });
        let (request, reported) = opening.await?;
        Ok((found, request, reported))
    }

    /// Requests an input for another process, which holds the line for as long as it has the descriptor. With that it gets at this line and no other of
    /// the chip. Also what the chip is called.
    ///
    /// # Errors
    /// As [`Gpio::input`].
    pub async fn hand_input(&self, line: &Line, owner: &str) -> Result<(OwnedFd, String), Error> {
        let (found, request, _) = self.open_input(line, owner).await?;
        let descriptor = request.as_fd().try_clone_to_owned().map_err(|source| Error::Io {
            operation: "hand over",
            what: format!("GPIO line {}", line.id),
            source,
        })?;
        let chip = found.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((descriptor, chip))
    }
}

/// An input that was handed over; `chip` is the thread of its chip.
pub(crate) async fn handed_input(
    line: OwnedFd,
    chip: Arc<Worker>,
    id: LineId,
) -> Result<Box<dyn InputLine>, Error> {
    let request = Some(Shared(Arc::new(Wire::Handed(File::from(line)))));
    let held = Held { chip, request, offset: 0, id };
    let reported = held.level().await?;
    Ok(Box::new(LinuxInput::watch(held, reported)?))
}

fn open_output(
    line: &Line,
    initial: Initial,
    path: &Path,
    offset: Offset,
    owner: &str,
) -> Result<Request, Error> {
    match initial {
        Initial::Level(active) => {
            let mut config = configure(line, offset);
            config.as_output(value(active));
            bias(&mut config, line.bias);
            request(line, path, offset, config, owner)
        }
        Initial::AsIs => {
            // Requested without a direction the pin is left alone, and can be read; then it is driven to what was read. In
            // one request, so nobody else gets in between.
            let mut config = configure(line, offset);
            config.as_is();
            let request = request(line, path, offset, config, owner)?;
            let level = request.value(offset).map_err(|error| failed("read", &line.id, error))?;
            let mut config = configure(line, offset);
            config.as_output(level);
            bias(&mut config, line.bias);
            request.reconfigure(&config).map_err(|error| failed("drive", &line.id, error))?;
            Ok(request)
        }
    }
}

#[derive(Debug)]
struct LinuxOutput {
    held: Held,
}

#[async_trait]
impl OutputLine for LinuxOutput {
    async fn set(&self, active: bool) -> Result<(), Error> {
        self.held.call("drive", move |wire, offset| wire.set(offset, active)).await
    }

    async fn get(&self) -> Result<bool, Error> {
        self.held.level().await
    }

    fn id(&self) -> &LineId {
        &self.held.id
    }
}

#[derive(Debug)]
struct LinuxInput {
    // Before the line is given back.
    edges: AsyncFd<Shared>,
    held: Held,
    /// The level reported last.
    reported: bool,
    doubt: Doubt<Call<bool>>,
}

/// Whether what was reported is known to be the level.
#[derive(Debug)]
struct Doubt<C> {
    /// Edges came, or a reading failed, since the level was last compared with what was reported.
    open: bool,
    /// The reading it is compared with.
    look: Option<C>,
}

impl<C> Default for Doubt<C> {
    fn default() -> Self {
        Self { open: false, look: None }
    }
}

impl<C: Future<Output = Result<bool, Error>> + Unpin> Doubt<C> {
    /// An edge came: a reading that is under way may be older.
    fn raise(&mut self) {
        (self.open, self.look) = (true, None);
    }

    /// Reads the level once when there is doubt. One that fails settles nothing: the next call reads again.
    fn poll(&mut self, cx: &mut Context<'_>, read: impl FnOnce() -> C) -> Poll<Result<bool, Error>> {
        if std::mem::take(&mut self.open) {
            self.look = Some(read());
        }
        let Some(look) = &mut self.look else { return Poll::Pending };
        let level = ready!(Pin::new(look).poll(cx));
        (self.open, self.look) = (level.is_err(), None);
        Poll::Ready(level)
    }
}

impl LinuxInput {
    fn watch(held: Held, reported: bool) -> Result<Self, Error> {
        let Some(shared) = held.request.clone() else {
            return Err(Error::Unavailable { what: format!("GPIO line {}", held.id) });
        };
        // SAFETY: a `Wire` owns the descriptor of its line, an open file that it closes only when dropped, and it always returns that
        // one; the `AsyncFd` has a share of it, which nothing takes out of it.
        let edges = unsafe { AsyncFd::register(shared) }.map_err(|error| {
            let (_, source) = error.into_parts();
            Error::Io { operation: "watch", what: format!("GPIO line {}", held.id), source }
        })?;
        // An edge between the reading and here is in the kernel's queue.
        Ok(Self { edges, held, reported, doubt: Doubt::default() })
    }

    /// Compares the level with what was reported, once, after the kernel's queue ran dry. An edge that comes while the kernel still
    /// handles the one before may be lost to it (its interrupt is masked), and nothing would ever tell.
    fn poll_missed(&mut self, cx: &mut Context<'_>) -> Poll<Result<Edge, Error>> {
        let held = &self.held;
        let active = ready!(self.doubt.poll(cx, || held.level()))?;
        match self.has_edge() {
            Ok(false) => {}
            // It came during the reading, which may be older; its arrival has woken us.
            Ok(true) => {
                self.doubt.raise();
                return Poll::Pending;
            }
            Err(error) => {
                self.doubt.raise();
                return Poll::Ready(Err(error));
            }
        }
        if active == self.reported {
            return Poll::Pending;
        }
        self.reported = active;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let at = Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0));
        Poll::Ready(Ok(Edge { active, at }))
    }

    /// Whether the kernel has an edge queued. It does not ask the hardware.
    fn has_edge(&self) -> Result<bool, Error> {
        self.edges.get_ref().0.has_edge().map_err(|error| failed("watch", &self.held.id, error))
    }
}

#[async_trait]
impl InputLine for LinuxInput {
    async fn get(&self) -> Result<bool, Error> {
        self.held.level().await
    }

    fn poll_edge(&mut self, cx: &mut Context<'_>) -> Poll<Result<Edge, Error>> {
        loop {
            let mut ready = match self.edges.poll_read_ready(cx) {
                Poll::Pending => return self.poll_missed(cx),
                Poll::Ready(Ok(ready)) => ready,
                Poll::Ready(Err(source)) => {
                    let what = format!("GPIO line {}", self.held.id);
                    return Poll::Ready(Err(Error::Io { operation: "watch", what, source }));
                }
            };
            // The descriptor blocks, so it is read only when something is there. The kernel keeps 16 edges and drops the oldest.
            let request = &self.edges.get_ref().0;
            let event = match request.has_edge() {
                Ok(true) => request.read_edge(),
                Ok(false) => {
                    // An edge from here on wakes us; one before it is seen by the comparison.
                    ready.clear_ready();
                    continue;
                }
                Err(error) => Err(error),
            };
            drop(ready);
            return Poll::Ready(match event {
                Ok(edge) => {
                    self.reported = edge.active;
                    self.doubt.raise();
                    Ok(edge)
                }
                Err(error) => Err(failed("watch", &self.held.id, error)),
            });
        }
    }

    fn id(&self) -> &LineId {
        &self.held.id
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

    #[test]
    fn a_chip_that_says_nothing_hides_no_line_of_another() {
        let dead =
            || Err(Error::Io { operation: "look for", what: "it".into(), source: io::Error::other("EIO") });
        let offset = LineId::Offset { chip: "expander".into(), offset: 4 };
        let named = LineId::Name("power".into());
        for id in [&offset, &named] {
            let mut search = Search::new(id);
            assert!(!search.heard("/dev/gpiochip0".into(), 0, dead()).unwrap());
            let enough = search.heard("/dev/gpiochip1".into(), 1, Ok(Some(4))).unwrap();
            assert_eq!(enough, matches!(id, LineId::Offset { .. }));
            assert_eq!(search.end().unwrap(), ("/dev/gpiochip1".into(), 1, 4));
        }
        // Without the line, what is known is told, and what is known for certain first.
        let mut search = Search::new(&offset);
        for (chip, answer) in
            [Err(Error::NotFound { line: offset.clone() }), dead(), Ok(None)].into_iter().enumerate()
        {
            assert!(!search.heard(format!("/dev/gpiochip{chip}").into(), chip, answer).unwrap());
        }
        assert!(matches!(search.end(), Err(Error::NotFound { .. })));
        let mut search = Search::new(&named);
        search.heard("/dev/gpiochip0".into(), 0, dead()).unwrap();
        assert!(matches!(search.end(), Err(Error::Io { .. })));
        let mut search = Search::new(&named);
        search.heard("/dev/gpiochip0".into(), 0, Ok(Some(1))).unwrap();
        assert!(matches!(
            search.heard("/dev/gpiochip1".into(), 1, Ok(Some(1))),
            Err(Error::Ambiguous { .. })
        ));
    }

    #[test]
    fn a_comparison_that_failed_is_made_again() {
        let read = |level: Result<bool, ()>| {
            move || std::future::ready(level.map_err(|()| Error::Unavailable { what: "it".into() }))
        };
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let mut doubt = Doubt::default();
        assert!(doubt.poll(cx, read(Ok(true))).is_pending(), "nothing is read without a doubt");
        doubt.raise();
        for _ in 0..2 {
            assert!(matches!(doubt.poll(cx, read(Err(()))), Poll::Ready(Err(_))));
        }
        assert!(matches!(doubt.poll(cx, read(Ok(true))), Poll::Ready(Ok(true))));
        assert!(doubt.poll(cx, read(Ok(true))).is_pending(), "compared once");
    }

    #[tokio::test]
    async fn a_line_that_is_not_there_is_said_to_be_missing() {
        let gpio = LinuxGpio::new();
        let line = Line::named("no-such-line-on-any-machine");
        let error = gpio.input(&line, "test").await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. } | Error::Permission { .. }), "{error}");
    }
}
