//! The machine's own way to the controller: KCS and BT devices of the kernel, and QEMU's `ipmi-bmc-extern` where the machine is a guest. Nobody logs in:
//! who is root on the machine is root there, so what may be asked is what an operating system needs, unless the configuration allows more.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use hal_linux::ipmi::{IpmiDevice, Kind};
use ipmi::vm::{self, Decoder, Input, Order};
use ipmi::{Command, Completion, Group, Reply, RequestId, Row};
use serde::Deserialize;
use tokio::net::{UnixListener, UnixStream};

/// The number of its session, which no session of the network has.
pub(crate) const SESSION: u32 = 0;
/// Whose events are that it tells of without saying it: its system management software, by the system interface (table 32-1; the software id is the upper
/// seven bits, table 5-4).
pub(crate) const GENERATOR: [u8; 2] = [0x41, 0x00];
/// As whom it asks, which is no name of an account.
pub(crate) const NAME: &str = "host over IPMI";
/// Its requests have numbers from here on, so that they are none of the network's.
const FIRST: RequestId = 1 << 63;
/// Requests at once: each way has one, and one whose answer came too late.
const PENDING_MAX: usize = 16;
/// Longest message of a device: BT's length is a byte, and the kernel has 1,000 bytes for one of KCS.
const LONGEST: usize = 1024;
/// What a machine may switch (§22.1): interrupts and buffer of events; that events are on the SEL cannot be switched off.
const ENABLES: u8 = 0x0f;
const SEL_IS_ON: u8 = 0x08;
const BUFFERS_EVENTS: u8 = 0x04;
/// Message flags (§22.4): the buffer of events is full.
const EVENT_WAITS: u8 = 0x02;
/// There is no message, or no event (§22.6, §22.8).
const NONE_WAITS: Completion = Completion(0x80);

/// What the machine may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// What an operating system needs.
    #[default]
    Restricted,
    /// All that an administrator may who is logged in.
    Full,
    /// Nothing: there is no way.
    Off,
}

/// One way.
enum Wire {
    Qemu {
        listener: UnixListener,
        stream: Option<UnixStream>,
        decoder: Decoder,
        /// As whom this runs: it and root may call.
        owner: u32,
    },
    /// A device of the kernel, while it is open, with or without BT's length and number.
    Device { path: PathBuf, device: Option<IpmiDevice>, is_bt: bool },
}

struct Way {
    name: String,
    /// Why it is not open.
    fault: String,
    wire: Wire,
}

/// What came by a way.
pub(crate) enum Came {
    Connected,
    Gone,
    Requests(Vec<vm::Request>),
}

/// All ways, and what waits.
#[derive(Default)]
pub(crate) struct Host {
    ways: Vec<Way>,
    is_restricted: bool,
    pending: HashMap<RequestId, (usize, vm::Request, Option<u8>)>,
    next: RequestId,
    enables: u8,
    event: Option<[u8; ipmi::sel::LENGTH]>,
}

/// What a request comes to.
pub(crate) enum Asked {
    /// It is answered.
    Answered,
    /// It is answered: the machine may not ask for this.
    Refused(&'static Row),
    /// It is a command, under this number.
    Command(RequestId, &'static Row, Vec<u8>),
}

impl Host {
    pub(crate) fn new(interface: Interface) -> Self {
        Self { is_restricted: interface != Interface::Full, enables: SEL_IS_ON, ..Self::default() }
    }

    /// Listens for QEMU, the device of this guest.
    pub(crate) fn listen(&mut self, folder: &Path, host: &str) -> io::Result<()> {
        let listener = host_session::listen(folder, host)?;
        // The socket is this process's; its group is everybody's who shares the run directory.
        let owner = std::fs::metadata(folder.join(host))?.uid();
        let wire = Wire::Qemu { listener, stream: None, decoder: Decoder::default(), owner };
        self.ways.push(Way { name: format!("QEMU {host}"), fault: String::new(), wire });
        Ok(())
    }

    /// Names a device of the kernel, which is opened by [`Host::reopen`], now or once it is there.
    pub(crate) fn add(&mut self, path: &Path, is_bt: bool) {
        let name = format!("{} {}", if is_bt { "BT" } else { "KCS" }, path.display());
        let wire = Wire::Device { path: path.to_owned(), device: None, is_bt };
        self.ways.push(Way { name, fault: String::new(), wire });
    }

    /// Opens the devices that are not open.
    pub(crate) fn reopen(&mut self) {
        for way in &mut self.ways {
            let Wire::Device { path, device, is_bt } = &mut way.wire else { continue };
            if device.is_some() {
                continue;
            }
            match IpmiDevice::open(path, if *is_bt { Kind::Bt } else { Kind::Kcs }) {
                Ok(open) => {
                    // A process before this one may have said that something waits.
                    if !*is_bt {
                        let _ = open.attend(false);
                    }
                    *device = Some(open);
                    way.fault.clear();
                    tracing::info!(way = %way.name, "the machine's way to IPMI is open");
                }
                Err(error) => {
                    let fault = error.to_string();
                    if way.fault != fault {
                        tracing::error!(way = %way.name, %error, "cannot open the machine's way to IPMI: retrying");
                    }
                    way.fault = fault;
                }
            }
        }
    }

    /// The machine went off, began anew or is not there: what it had set of this is no more.
    pub(crate) fn forget(&mut self) {
        self.enables = SEL_IS_ON;
        self.drop_event();
    }

    /// Nothing waits any more. A driver that is told that something does asks for it before all else, again and again.
    fn drop_event(&mut self) {
        if self.event.take().is_some() {
            self.attend(false);
        }
    }

    /// Nobody is at the other end of a way: what was asked is not answered to who comes next.
    pub(crate) fn gone(&mut self, way: usize) {
        self.pending.retain(|_, (of, ..)| *of != way);
    }

    pub(crate) fn is_there(&self) -> bool {
        !self.ways.is_empty()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let is_open = |way: &&Way| !matches!(way.wire, Wire::Device { device: None, .. });
        self.ways.iter().filter(is_open).map(|way| way.name.clone()).collect()
    }

    /// What comes next, and by which way. Dropping it loses nothing.
    pub(crate) async fn next(&mut self) -> (usize, Came) {
        std::future::poll_fn(|context| {
            for (at, way) in self.ways.iter_mut().enumerate() {
                if let Poll::Ready(came) = way.wire.poll(context) {
                    return Poll::Ready((at, came));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// A request that came: answered here when it is about the interface itself, or is none.
    pub(crate) fn ask(&mut self, way: usize, request: vm::Request) -> Asked {
        // KCS has no numbers: a driver that asks something else has given up what it asked before, and would take that answer for this one.
        if matches!(self.ways.get(way), Some(Way { wire: Wire::Device { is_bt: false, .. }, .. })) {
            self.gone(way);
        }
        match self.look(&request) {
            Ok(Ok(answer)) => self.send(way, &request, None, Ok(answer)),
            Ok(Err(row)) => {
                let prefix = row.group.prefix();
                let data = request.data.get(usize::from(prefix.is_some())..).unwrap_or_default().to_vec();
                self.next = self.next.wrapping_add(1) | FIRST;
                let id = self.next;
                self.pending.insert(id, (way, request, prefix));
                return Asked::Command(id, row, data);
            }
            Err(why) => {
                let row = Command::of(request.function, request.command, &request.data);
                self.send(way, &request, row.and_then(|row| row.group.prefix()), Err(why));
                if let Some(row) = row.filter(|_| why == Completion::PRIVILEGE) {
                    return Asked::Refused(row);
                }
            }
        }
        Asked::Answered
    }

    /// An answer, or the command that has one.
    #[allow(clippy::type_complexity, reason = "named nowhere else")]
    fn look(&mut self, request: &vm::Request) -> Result<Result<Vec<u8>, &'static Row>, Completion> {
        let app = request.function == Group::App.function();
        let data = &request.data[..];
        match (app, request.command, data) {
            // Clear and Get Message Flags.
            (true, 0x30, [flags]) => {
                if flags & EVENT_WAITS != 0 {
                    self.drop_event();
                }
                return Ok(Ok(Vec::new()));
            }
            (true, 0x31, []) => return Ok(Ok(vec![if self.event.is_some() { EVENT_WAITS } else { 0 }])),
            // Get Message: nobody sends any. Read Event Message Buffer.
            (true, 0x33, []) => return Err(NONE_WAITS),
            (true, 0x35, []) => {
                let event = self.event.ok_or(NONE_WAITS)?;
                self.drop_event();
                return Ok(Ok(event.to_vec()));
            }
            // Get BT Interface Capabilities: one at a time, in as much as a byte can say, within 5 s, never again.
            (true, 0x36, []) => return Ok(Ok(vec![1, 0xff, 0xff, 5, 0])),
            (true, 0x2f, []) => return Ok(Ok(vec![self.enables])),
            (true, 0x2e, [enables]) => {
                if enables & !ENABLES != 0 || enables & SEL_IS_ON == 0 {
                    return Err(Completion::INVALID_FIELD);
                }
                self.enables = *enables;
                return Ok(Ok(Vec::new()));
            }
            (true, 0x30 | 0x31 | 0x33 | 0x35 | 0x36 | 0x2e | 0x2f, _) => return Err(Completion::LENGTH),
            _ => {}
        }
        let row = Command::of(request.function, request.command, data).ok_or(Completion::INVALID_COMMAND)?;
        if !Command::is_of_unit(request.lun, request.function, request.command) {
            return Err(Completion::INVALID_UNIT);
        }
        // There are no sessions by this way, so nothing of them, nor what goes in them.
        if matches!(
            row.command,
            Command::ActivatePayload
                | Command::DeactivatePayload
                | Command::SetSessionPrivilege
                | Command::CloseSession
                | Command::GetSessionInfo
        ) {
            return Err(Completion::INVALID_COMMAND);
        }
        if self.is_restricted && !row.command.is_for_machine() {
            return Err(Completion::PRIVILEGE);
        }
        let length = data.len().saturating_sub(usize::from(row.group.prefix().is_some()));
        if !row.lengths.contains(&length) {
            return Err(Completion::LENGTH);
        }
        if self.pending.len() >= PENDING_MAX {
            return Err(Completion::BUSY);
        }
        Ok(Err(row))
    }

    /// The answer to a command; whether it was one of these.
    pub(crate) fn replied(&mut self, id: RequestId, answer: &Reply) -> bool {
        if id & FIRST == 0 {
            return false;
        }
        if let Some((way, request, prefix)) = self.pending.remove(&id) {
            self.send(way, &request, prefix, answer.clone());
        }
        true
    }

    fn send(&mut self, way: usize, request: &vm::Request, prefix: Option<u8>, answer: impl Into<Reply>) {
        let bytes = answer.into().bytes(prefix);
        if let Some(way) = self.ways.get_mut(way) {
            way.wire.answer(request, &bytes);
        }
    }

    /// Something is on the SEL: the machine hears of it if it wants to.
    pub(crate) fn tell(&mut self, record: &[u8; ipmi::sel::LENGTH]) {
        // The first one stays until it is read (§22.8).
        if self.enables & BUFFERS_EVENTS != 0 && self.event.is_none() {
            self.event = Some(*record);
            self.attend(true);
        }
    }

    /// A way is open: says what is spoken, and whether something waits.
    pub(crate) fn connected(&mut self, way: usize) {
        self.gone(way);
        let waits = if self.event.is_some() { Order::Interrupt } else { Order::NoAttention };
        if let Some(way) = self.ways.get_mut(way) {
            for order in [Order::Version, Order::Capabilities, waits] {
                way.wire.order(order);
            }
        }
    }

    fn attend(&mut self, something: bool) {
        let order = if something { Order::Interrupt } else { Order::NoAttention };
        self.ways.iter_mut().for_each(|way| way.wire.order(order));
    }
}

impl Wire {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Came> {
        let mut bytes = [0; LONGEST];
        match self {
            Self::Qemu { listener, stream, decoder, owner } => {
                // A guest that begins anew is a new process: its connection replaces the one before.
                while let Poll::Ready(Ok((new, _))) = listener.poll_accept(context) {
                    // Whoever else shares the folder is not the machine.
                    let caller = new.peer_cred().map(|caller| caller.uid());
                    if !caller.is_ok_and(|caller| caller == 0 || caller == *owner) {
                        tracing::warn!("a stranger called the socket of the guest's IPMI device: refused");
                        continue;
                    }
                    (*stream, *decoder) = (Some(new), Decoder::default());
                    return Poll::Ready(Came::Connected);
                }
                loop {
                    let Some(open) = stream else { return Poll::Pending };
                    match open.poll_read_ready(context) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => {
                            *stream = None;
                            return Poll::Ready(Came::Gone);
                        }
                    }
                    match open.try_read(&mut bytes) {
                        Ok(count @ 1..) => {
                            let read = bytes.get(..count).unwrap_or_default().iter();
                            let found: Vec<vm::Request> = read
                                .filter_map(|byte| match decoder.push(*byte)? {
                                    Input::Request(request) => Some(request),
                                    Input::Version(_) | Input::Reset | Input::Other(_) => None,
                                })
                                .collect();
                            if !found.is_empty() {
                                return Poll::Ready(Came::Requests(found));
                            }
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Ok(_) | Err(_) => {
                            *stream = None;
                            return Poll::Ready(Came::Gone);
                        }
                    }
                }
            }
            Self::Device { device, is_bt, .. } => loop {
                let Some(open) = device else { return Poll::Pending };
                match open.poll_read(context, &mut bytes) {
                    Poll::Ready(Ok(count @ 1..)) => {
                        let read = bytes.get(..count).unwrap_or_default();
                        if let Some(request) = read_device(read, *is_bt) {
                            return Poll::Ready(Came::Requests(vec![request]));
                        }
                    }
                    Poll::Pending => return Poll::Pending,
                    // It says its end, or is gone: nothing more comes.
                    Poll::Ready(said) => {
                        tracing::warn!(?said, "cannot read from the machine's IPMI device: it is closed");
                        *device = None;
                        return Poll::Ready(Came::Gone);
                    }
                }
            },
        }
    }

    fn answer(&mut self, request: &vm::Request, answer: &[u8]) {
        match self {
            Self::Qemu { .. } => self.write(&vm::answer(request, answer)),
            Self::Device { device, is_bt, .. } => {
                let bytes = write_device(request, answer, *is_bt);
                // The machine asks again when it waited for too long.
                if let Some(Err(error)) = device.as_ref().map(|device| device.answer(&bytes)) {
                    tracing::debug!(%error, "cannot answer by the machine's IPMI device");
                }
            }
        }
    }

    fn order(&mut self, order: Order) {
        match self {
            Self::Qemu { .. } => self.write(&vm::ordered(order)),
            Self::Device { device: Some(open), is_bt, .. } => {
                let something = matches!(order, Order::Attention | Order::Interrupt);
                // The machine takes BT's back itself.
                if (something || matches!(order, Order::NoAttention) && !*is_bt)
                    && let Err(error) = open.attend(something)
                {
                    tracing::debug!(%error, "cannot have the machine's driver of IPMI look");
                }
            }
            Self::Device { .. } => {}
        }
    }

    /// QEMU that does not read is not waited for.
    fn write(&mut self, bytes: &[u8]) {
        if let Self::Qemu { stream, .. } = self
            && let Some(open) = stream
            && open.try_write(bytes).ok() != Some(bytes.len())
        {
            tracing::warn!("cannot write to QEMU's IPMI device: connection dropped");
            *stream = None;
        }
    }
}

/// A message of the kernel's devices: function and unit, for BT with the length before and the number behind, command, data.
fn read_device(bytes: &[u8], is_bt: bool) -> Option<vm::Request> {
    let (number, function, rest) = match (is_bt, bytes) {
        (false, [function, rest @ ..]) => (0, *function, rest),
        (true, [length, function, number, rest @ ..]) if usize::from(*length) == bytes.len() - 1 => {
            (*number, *function, rest)
        }
        _ => return None,
    };
    let [command, data @ ..] = rest else { return None };
    Some(vm::Request {
        number,
        function: function >> 2,
        lun: function & 3,
        command: *command,
        data: data.to_vec(),
    })
}

fn write_device(request: &vm::Request, answer: &[u8], is_bt: bool) -> Vec<u8> {
    let function = (request.function | 1) << 2 | request.lun;
    if !is_bt {
        return [&[function, request.command], answer].concat();
    }
    let length = u8::try_from(answer.len() + 3).unwrap_or(u8::MAX);
    [&[length, function, request.number, request.command], answer].concat()
}

/// With a device of which the test has the other end.
#[cfg(test)]
pub(crate) fn with_device(interface: Interface, is_bt: bool) -> (Host, std::os::unix::net::UnixDatagram) {
    let (near, far) = std::os::unix::net::UnixDatagram::pair().unwrap();
    // It blocks, as the kernel's BT does however it is opened.
    let mut host = Host::new(interface);
    let kind = if is_bt { Kind::Bt } else { Kind::Kcs };
    let device = Some(IpmiDevice::of(std::os::fd::OwnedFd::from(near), kind).unwrap());
    let wire = Wire::Device { path: PathBuf::from("test"), device, is_bt };
    host.ways.push(Way { name: "test".to_owned(), fault: String::new(), wire });
    (host, far)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn request(function: u8, command: u8, data: &[u8]) -> vm::Request {
        vm::Request { number: 7, function, lun: 0, command, data: data.to_vec() }
    }

    #[tokio::test]
    async fn a_device_of_the_kernel_asks_and_is_answered() {
        for is_bt in [false, true] {
            let (mut host, far) = with_device(Interface::Restricted, is_bt);
            // Get Device ID, and one whose bytes are none.
            far.send(if is_bt { &[9, 1][..] } else { &[0x18] }).unwrap();
            far.send(if is_bt { &[3, 0x18, 5, 1][..] } else { &[0x18, 1] }).unwrap();
            let (way, Came::Requests(found)) = host.next().await else { panic!("no request") };
            let [asked] = &found[..] else { panic!("{found:?}") };
            let Asked::Command(id, row, data) = host.ask(way, asked.clone()) else { panic!("answered") };
            assert_eq!((row.command, data.len()), (Command::GetDeviceId, 0));
            let answer = Reply::from(Ok(vec![0x20, 1]));
            assert!(host.replied(id, &answer) && !host.replied(3, &answer));
            let mut answer = [0; 16];
            let count = far.recv(&mut answer).unwrap();
            let expected: &[u8] = if is_bt { &[6, 0x1c, 5, 1, 0, 0x20, 1] } else { &[0x1c, 1, 0, 0x20, 1] };
            assert_eq!(&answer[..count], expected);
            // Network function 30 is nothing here, Set User Password is not the machine's, and one is too long.
            for (asked, code) in [
                (request(0x30, 1, &[]), 0xc1),
                (vm::Request { lun: 1, ..request(6, 0x01, &[]) }, 0xc2),
                (vm::Request { lun: 2, ..request(4, 0x2d, &[1]) }, 0xc2),
                (request(6, 0x47, &[2, 0]), 0xd4),
                (request(6, 0x48, &[1, 1, 0, 0, 0, 0]), 0xc1),
                (request(6, 0x01, &[1]), 0xc7),
                (request(6, 0x33, &[]), 0x80),
                (request(6, 0x2e, &[0x00]), 0xcc),
                (request(6, 0x2e, &[0x0c]), 0x00),
            ] {
                let refused = matches!(host.ask(way, asked.clone()), Asked::Refused(_));
                assert_eq!(refused, code == 0xd4, "{asked:?}");
                let count = far.recv(&mut answer).unwrap();
                assert_eq!(answer[count - 1], code, "{asked:?}");
            }
            // An event waits until it is read, and the one after it is on the SEL alone.
            host.tell(&[1; 16]);
            host.tell(&[2; 16]);
            for (command, data) in [(0x31, &[EVENT_WAITS][..]), (0x35, &[1; 16]), (0x31, &[0])] {
                host.ask(way, request(6, command, &[]));
                let mut answer = [0; 32];
                let count = far.recv(&mut answer).unwrap();
                assert_eq!(&answer[count - data.len()..count], data, "{command:02x}");
            }
        }
    }

    #[tokio::test]
    async fn a_late_answer_is_given_to_nobody_else() {
        let (mut host, far) = with_device(Interface::Restricted, false);
        far.set_nonblocking(true).unwrap();
        let asked = |host: &mut Host, command| match host.ask(0, request(6, command, &[])) {
            Asked::Command(id, ..) => id,
            Asked::Answered | Asked::Refused(_) => panic!("{command:02x} is answered"),
        };
        let (first, second) = (asked(&mut host, 0x01), asked(&mut host, 0x08));
        assert!(host.replied(first, &Reply::from(Ok(vec![1]))), "it is one of the machine's");
        let mut answer = [0; 16];
        assert!(far.recv(&mut answer).is_err(), "it was given up");
        host.replied(second, &Reply::from(Ok(vec![2])));
        let count = far.recv(&mut answer).unwrap();
        assert_eq!(&answer[..count], [0x1c, 0x08, 0, 2]);
        // BT tells answers apart by their numbers.
        let (mut host, far) = with_device(Interface::Restricted, true);
        let (first, second) = (asked(&mut host, 0x01), asked(&mut host, 0x08));
        for (id, command) in [(first, 0x01), (second, 0x08)] {
            host.replied(id, &Reply::from(Ok(Vec::new())));
            far.recv(&mut answer).unwrap();
            assert_eq!(answer[3], command);
        }
        // Nobody is there any more who asked.
        let third = asked(&mut host, 0x01);
        host.gone(0);
        far.set_nonblocking(true).unwrap();
        host.replied(third, &Reply::from(Ok(Vec::new())));
        assert!(far.recv(&mut answer).is_err());
    }

    #[tokio::test]
    async fn attention_ends_with_the_event_that_it_was_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::new(Interface::Full);
        host.listen(dir.path(), "system").unwrap();
        let mut qemu = UnixStream::connect(dir.path().join("system")).await.unwrap();
        let (way, Came::Connected) = host.next().await else { panic!("nobody called") };
        host.connected(way);
        qemu.read_exact(&mut [0; 8]).await.unwrap();
        for ends in ["cleared", "read", "machine began anew"] {
            assert!(matches!(host.ask(way, request(6, 0x2e, &[0x0d | BUFFERS_EVENTS])), Asked::Answered));
            let mut said = [0; 6];
            qemu.read_exact(&mut said).await.unwrap();
            host.tell(&[1; 16]);
            let mut order = [0; 2];
            qemu.read_exact(&mut order).await.unwrap();
            assert_eq!(order, [0x02, 0xa1], "{ends}");
            match ends {
                "cleared" => _ = host.ask(way, request(6, 0x30, &[EVENT_WAITS])),
                "read" => _ = host.ask(way, request(6, 0x35, &[])),
                _ => host.forget(),
            }
            qemu.read_exact(&mut order).await.unwrap();
            assert_eq!(order, [0x00, 0xa1], "{ends}");
            match ends {
                "cleared" => _ = qemu.read_exact(&mut said).await.unwrap(),
                "read" => _ = qemu.read_exact(&mut [0; 22]).await.unwrap(),
                _ => {}
            }
        }
    }

    #[tokio::test]
    async fn qemu_calls_and_calls_again_and_is_told_what_waits() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::new(Interface::Full);
        host.listen(dir.path(), "system").unwrap();
        assert!(host.is_there() && host.names() == ["QEMU system"]);
        for _ in 0..2 {
            let mut qemu = UnixStream::connect(dir.path().join("system")).await.unwrap();
            let (way, Came::Connected) = host.next().await else { panic!("nobody called") };
            host.connected(way);
            let mut said = [0; 8];
            qemu.read_exact(&mut said).await.unwrap();
            assert_eq!(said, [0xff, 1, 0xa1, 8, 0, 0xa1, 0, 0xa1]);
            // Its own version, and Get Message Flags in two pieces.
            qemu.write_all(&[0xff, 1, 0xa1, 3, 0x18]).await.unwrap();
            qemu.write_all(&[0x31, 0xb4, 0xa0]).await.unwrap();
            let (way, Came::Requests(found)) = host.next().await else { panic!("no request") };
            assert!(matches!(host.ask(way, found[0].clone()), Asked::Answered));
            let mut answer = [0; 7];
            qemu.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, [3, 0x1c, 0x31, 0, 0, 0xb0, 0xa0]);
        }
        let (_, Came::Gone) = host.next().await else { panic!("it is still there") };
    }
}
