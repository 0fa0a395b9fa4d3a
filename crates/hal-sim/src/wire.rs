//! What is said on the twin's two sockets. One JSON value a line, see `docs/gpio.md`.

use boot_override::{Mailbox, Order};
use host_firmware::{Seen, Wishes};
use serde::{Deserialize, Serialize};

/// The version both sides must speak. Tools outside of this tree speak it too, so it changes only when a frame that was there means something
/// else; a frame more is no reason.
pub const VERSION: u32 = 1;

/// Which line is meant; [`hal::LineId`] on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum LineKey {
    /// By name.
    Name {
        /// The name.
        name: String,
    },
    /// By chip and offset.
    Offset {
        /// The chip.
        chip: String,
        /// The line on it.
        offset: u32,
    },
}

impl From<&hal::LineId> for LineKey {
    fn from(id: &hal::LineId) -> Self {
        match id {
            hal::LineId::Name(name) => Self::Name { name: name.clone() },
            hal::LineId::Offset { chip, offset } => Self::Offset { chip: chip.clone(), offset: *offset },
        }
    }
}

impl From<LineKey> for hal::LineId {
    fn from(key: LineKey) -> Self {
        match key {
            LineKey::Name { name } => Self::Name(name),
            LineKey::Offset { chip, offset } => Self::Offset { chip, offset },
        }
    }
}

/// Which I2C bus is meant; [`hal::Adapter`] on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum BusKey {
    /// By the kernel's number.
    Number {
        /// The number.
        number: u32,
    },
    /// By the end of its path.
    Path {
        /// The path.
        path: String,
    },
}

impl From<&hal::Adapter> for BusKey {
    fn from(adapter: &hal::Adapter) -> Self {
        match adapter {
            hal::Adapter::Number(number) => Self::Number { number: *number },
            hal::Adapter::Path(path) => Self::Path { path: path.clone() },
        }
    }
}

impl From<BusKey> for hal::Adapter {
    fn from(key: BusKey) -> Self {
        match key {
            BusKey::Number { number } => Self::Number(number),
            BusKey::Path { path } => Self::Path(path),
        }
    }
}

/// One transfer to a device on a bus: what is written, then what is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct I2cTransfer {
    /// The device's address, seven bits.
    pub address: u8,
    /// The bytes that are written first; without any there is no such message.
    pub write: Vec<u8>,
    /// How many are read then.
    pub read: u16,
}

/// A frame to the twin. The first on a connection is [`ToTwin::Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToTwin {
    /// Opens the connection.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// Who connects, for people.
        owner: String,
    },
    /// A request on the lines' socket.
    Line {
        /// Chosen by the client; the reply carries it.
        id: u64,
        /// What to do.
        request: LineRequest,
    },
    /// Transfers on an I2C bus, on the lines' socket. One that is not acknowledged ends them. Of a bus that hangs there is no reply until it is mended.
    I2c {
        /// Chosen by the client; the reply carries it.
        id: u64,
        /// The bus.
        bus: BusKey,
        /// The transfers.
        transfers: Vec<I2cTransfer>,
    },
    /// The mailbox of a host's firmware, on the lines' socket.
    Mailbox {
        /// Chosen by the client; the reply carries it.
        id: u64,
        /// The host.
        host: String,
        /// What to do.
        request: MailboxRequest,
    },
    /// The settings of a host's firmware, on the lines' socket.
    Firmware {
        /// Chosen by the client; the reply carries it.
        id: u64,
        /// The host.
        host: String,
        /// What to do.
        request: FirmwareRequest,
    },
    /// A drive of a host whose medium comes from elsewhere, on the lines' socket.
    Drive {
        /// Chosen by the client; the reply carries it.
        id: u64,
        /// The drive, as the board file calls it.
        drive: String,
        /// What to do.
        request: DriveRequest,
    },
    /// A request on the control socket.
    Control {
        /// Chosen by the client; the reply carries it.
        id: u64,
        /// What to do.
        request: ControlRequest,
    },
}

/// What the BMC may do to its pins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineRequest {
    /// Request a line as an output.
    Output {
        /// Chosen by the client, names the line from here on.
        handle: u64,
        /// Which line.
        line: LineKey,
        /// The wire is active when low.
        active_low: bool,
        /// The logical level to start with, or none to leave it.
        initial: Option<bool>,
        /// Who wants it, for people.
        owner: String,
    },
    /// Request a line as an input; edges follow as [`FromTwin::Edge`].
    Input {
        /// Chosen by the client, names the line from here on.
        handle: u64,
        /// Which line.
        line: LineKey,
        /// The wire is active when low.
        active_low: bool,
        /// How long a level must hold before an edge counts.
        debounce_us: u64,
        /// Who wants it, for people.
        owner: String,
    },
    /// Drive an output.
    Set {
        /// The line.
        handle: u64,
        /// The logical level.
        active: bool,
    },
    /// Read a line.
    Get {
        /// The line.
        handle: u64,
    },
    /// Give a line up. Its level stays.
    Close {
        /// The line.
        handle: u64,
    },
}

/// What the BMC may do with the mailbox of a host's firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailboxRequest {
    /// See what is in it.
    Look,
    /// Put an order there, or take away what is there.
    Put {
        /// The order.
        order: Option<Order>,
    },
}

/// What the BMC may do with the settings of a host's firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirmwareRequest {
    /// See what is there.
    Look {
        /// The revision of the report that is known, which is not told again; 0 for none.
        known: u64,
    },
    /// Put wishes there, or take away what is there. See [`FirmwareRequest::excess`].
    Put {
        /// The wishes.
        wishes: Option<Box<Wishes>>,
        /// As in [`FirmwareRequest::Look`].
        known: u64,
    },
}

/// Most attributes and boot options together that wishes put to the twin can name.
pub const WISHES_MAX: usize = 96;

/// Longest id of wishes put to the twin, bytes.
pub const WISHES_ID_MAX: usize = 64;

/// Most bytes of wishes put to the twin, as JSON.
pub const WISHES_BYTES_MAX: usize = 24 * 1024;

impl FirmwareRequest {
    /// Why wishes are more than the twin takes. What it notes about those it could not take is answered with its report in one frame: it has to fit for any
    /// wishes.
    #[must_use]
    pub fn excess(wishes: &Wishes) -> Option<String> {
        if wishes.id.len() > WISHES_ID_MAX {
            return Some(format!("the id of wishes has more than {WISHES_ID_MAX} bytes"));
        }
        let count = wishes.attributes.len() + wishes.boot_options.len();
        if count > WISHES_MAX {
            return Some(format!("wishes name {count} settings, and {WISHES_MAX} can be"));
        }
        let bytes = serde_json::to_vec(wishes).map_or(usize::MAX, |bytes| bytes.len());
        (bytes > WISHES_BYTES_MAX)
            .then(|| format!("wishes have {bytes} bytes, and {WISHES_BYTES_MAX} can be"))
    }
}

/// What the BMC may do with a drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriveRequest {
    /// See what is in it.
    Look,
    /// Put a medium there, in place of what is there.
    Insert {
        /// A socket that speaks NBD, below the run directory.
        socket: std::path::PathBuf,
        /// The host cannot write it.
        read_only: bool,
    },
    /// Take out what is there.
    Eject,
}

/// What is in a drive; [`hal::Inside`] on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriveState {
    /// What was put there last.
    Medium,
    /// None was put there, or it was taken out.
    Nothing,
    /// The host has taken it out.
    EjectedByHost,
}

/// What the world may do to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    /// A finger presses or leaves a button of the front panel.
    Finger {
        /// The host.
        host: String,
        /// Which button.
        button: Button,
        /// Pressed or let go.
        down: bool,
    },
    /// Something breaks, heals, or arrives from outside.
    Fault {
        /// The host.
        host: String,
        /// What.
        fault: Fault,
    },
    /// The operating system restarts itself.
    OsReboot {
        /// The host.
        host: String,
    },
    /// What is seen of the settings of the host's firmware, as the BMC sees it that knows no report.
    Firmware {
        /// The host.
        host: String,
    },
    /// How the host is.
    Status {
        /// The host.
        host: String,
    },
    /// Edges of all pins after this sequence number, oldest first, at most 256 a reply.
    Trace {
        /// The last sequence number already known; 0 for all that is kept.
        after: u64,
    },
    /// From here on every edge comes as [`FromTwin::Traced`].
    Follow,
    /// How hard a host works.
    Load {
        /// The host.
        host: String,
        /// Thousandths of all it can.
        permille: u32,
    },
    /// Something the board's file names breaks.
    Break {
        /// Its id: a sensor, a device, a bus.
        id: String,
        /// How: `missing`, `stale`, `implausible`, `stuck`, `slow`, `removed`, `hang`, `asserted`.
        fault: String,
    },
    /// Several things break, or none of them where one cannot.
    BreakAll {
        /// Ids and how, as [`ControlRequest::Break`] has them.
        faults: Vec<(String, String)>,
    },
    /// It is mended; without an id all is.
    Mend {
        /// Its id.
        id: Option<String>,
    },
    /// What is broken.
    Broken,
    /// The scripted host reads from a drive, as its operating system does.
    ReadDrive {
        /// The drive.
        drive: String,
        /// From the beginning, in bytes.
        offset: u64,
        /// How many bytes; at most 4 KiB.
        length: u32,
    },
    /// The host's operating system takes the medium out of a drive.
    EjectDrive {
        /// The drive.
        drive: String,
    },
}

/// A button of the front panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Button {
    /// The power button.
    Power,
    /// The reset button.
    Reset,
}

/// What may go wrong, or arrive from outside; see the twin model's faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// From now on power-good takes this long, in milliseconds.
    PowerGoodDelay(u64),
    /// From now on each change of power-good bounces.
    PowerGoodBounce {
        /// Extra edges; zero ends it.
        toggles: u8,
        /// Milliseconds between them.
        every_ms: u64,
    },
    /// While true a start of the supply fails.
    PowerGoodMissing(bool),
    /// Power-good drops for so many milliseconds while the supply is fine.
    Glitch(u64),
    /// The supply trips; the host is off.
    PowerLoss,
    /// The host starts by itself.
    Wake,
    /// While true the operating system hangs and ignores the button.
    OsHang(bool),
    /// The next so many presses by the BMC are not seen.
    IgnorePresses(u32),
}

/// A frame from the twin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromTwin {
    /// The answer to a hello.
    Hello {
        /// [`VERSION`].
        version: u32,
    },
    /// The connection is refused, and ends.
    Refused {
        /// Why.
        reason: String,
    },
    /// The answer to a request.
    Reply {
        /// The request's.
        id: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// An input changed.
    Edge {
        /// The line.
        handle: u64,
        /// The logical level after the change.
        active: bool,
        /// `CLOCK_MONOTONIC`, in nanoseconds.
        at_ns: u64,
    },
    /// A pin changed, told to followers.
    Traced(TraceEntry),
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Done,
    /// Done, and this is the logical level of the line.
    Level(bool),
    /// The host's state.
    Status(HostStatus),
    /// Edges, oldest first.
    Trace(Vec<TraceEntry>),
    /// What is broken and how, by id.
    Broken(Vec<(String, String)>),
    /// What each transfer has read.
    Read(Vec<Vec<u8>>),
    /// What is in the mailbox of a host's firmware.
    Mailbox(Box<Mailbox>),
    /// What is seen of the settings of a host's firmware.
    Firmware(Box<Seen>),
    /// What is in a drive.
    Drive(DriveState),
    /// It was tried and failed.
    Failed {
        /// Why.
        reason: String,
    },
    /// A transfer was not acknowledged.
    NoAnswer,
    /// The bus hung, and does no longer; nothing was done.
    TimedOut,
    /// The board has no such bus.
    NoBus,
    /// The board has no such line.
    NoLine,
    /// The board has no such host.
    NoHost,
    /// The board has no such drive.
    NoDrive,
    /// The board has nothing of this id that could break.
    NoPart {
        /// What was asked for, for people.
        reason: String,
    },
    /// Somebody has the line.
    Busy {
        /// Who.
        owner: String,
    },
    /// The request makes no sense.
    Invalid {
        /// Why.
        reason: String,
    },
}

/// How a simulated host is: the truth, not what the BMC sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// The supply: `off`, `starting`, `on` or `stopping`.
    pub supply: String,
    /// The operating system: `down`, `post`, `setup`, `booting`, `running` or `shutting-down`. With a QEMU guest the model
    /// cannot see inside, and this is `guest` or `down`.
    pub os: String,
    /// The level on the power-good wire.
    pub power_good: bool,
    /// How often the supply was started.
    pub starts: u32,
    /// How many button events the operating system received.
    pub acpi_events: u32,
    /// How often a long press cut the power.
    pub hard_offs: u32,
    /// How often the host was reset.
    pub resets: u32,
    /// How many non-maskable interrupts arrived.
    pub nmis: u32,
    /// The process id of the QEMU guest, while one runs.
    pub guest_pid: Option<u32>,
    /// What the firmware was told to boot from when the boot that runs began; absent when it chose itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_order: Option<Box<Order>>,
}

/// One edge of one pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEntry {
    /// Counts up from 1 over all pins.
    pub seq: u64,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub at_ns: u64,
    /// The host the pin belongs to; of a light or a sensor the chassis.
    pub host: String,
    /// The pin's key in the board file: `power`, `reset`, `nmi`, `control`, `power_good`, `power_button_in` or
    /// `reset_button_in`; of a light `led.` with its id, of a sensor `sensor.` with its id.
    pub pin: String,
    /// The logical level after the edge.
    pub active: bool,
}
