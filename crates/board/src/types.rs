//! What a board is, once its file has been read and found right.
//!
//! Values of these types come from `Board::load`, or from an operator that has them from there, so a daemon need not check them
//! again: ids are unique, no line has two owners, times are in range.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hal::{Adapter, ChannelClass, Line, Location};
use leds::{Condition, Show};
use sensors::{Op, Spec};
use serde::{Deserialize, Serialize};
use units::Millis;

/// A whole board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Board {
    /// Short name, also the directory under `targets/`.
    pub name: String,
    /// Who makes it.
    pub vendor: String,
    /// What the maker calls it.
    pub model: String,
    /// What the lines are made of.
    pub hal: HalKind,
    /// The enclosure.
    pub chassis: Chassis,
    /// The BMC itself.
    pub management_controller: ManagementController,
    /// The servers on the board, at least one; the first is the one meant when none is named.
    pub hosts: Vec<Host>,
    /// The I2C buses with sensors on them.
    pub i2c: Vec<I2cBus>,
    /// What sensors are read through.
    pub devices: Vec<Device>,
    /// What is measured. One that is computed stands after those it is computed from.
    pub sensors: Vec<Sensor>,
    /// EEPROMs with the FRU image of a part.
    pub frus: Vec<Fru>,
    /// Drives that are asked by NVMe basic management.
    pub drives: Vec<Drive>,
    /// Fans that are driven.
    pub fans: Vec<Fan>,
    /// What is cooled together.
    pub zones: Vec<Zone>,
    /// Its lights.
    pub leds: Vec<Led>,
    /// What they show, and when.
    pub led_groups: Vec<LedGroup>,
    /// Serial ports that several hosts share.
    #[serde(default)]
    pub serial_muxes: Vec<SerialMux>,
    /// Serial ports of hosts.
    pub consoles: Vec<Console>,
    /// Screens of hosts. Simulated ones have theirs without being named here.
    #[serde(default)]
    pub screens: Vec<Screen>,
    /// Drives of hosts whose medium comes from elsewhere.
    pub media: Vec<MediaSlot>,
    /// EEPROMs that the firmware of hosts shares with the BMC.
    #[serde(default)]
    pub mailboxes: Vec<HostMailbox>,
    /// How the simulated host behaves. Present when [`Board::hal`] is [`HalKind::Sim`].
    pub sim: Option<Sim>,
}

impl Board {
    /// The host with this id.
    pub fn host(&self, id: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.id.as_str() == id)
    }

    /// Whether hosts have screens: those of [`Board::screens`], or on a simulated board all of them.
    pub fn has_screens(&self) -> bool {
        self.hal == HalKind::Sim || !self.screens.is_empty()
    }
}

/// What is behind the hardware traits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HalKind {
    /// The kernel's devices.
    Linux,
    /// The twin process.
    Sim,
}

impl HalKind {
    /// The word for it in a board file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Sim => "sim",
        }
    }
}

/// A name that appears in URLs, bus subjects and file names: 1 to 32 of `a-z`, `0-9` and `-`, starting with a letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

/// Why a text is not an [`Id`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 1 to 32 of a-z, 0-9 and '-', starts with a letter and does not end in '-'")]
pub struct BadId;

impl Id {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Id {
    type Error = BadId;

    fn try_from(text: &str) -> Result<Self, BadId> {
        let mut bytes = text.bytes();
        let ok = text.len() <= 32
            && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.ends_with('-');
        if ok { Ok(Self(text.to_owned())) } else { Err(BadId) }
    }
}

impl TryFrom<String> for Id {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        Self::try_from(text.as_str())
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a sensor, or of what it is on: 1 to 48 of `a-z`, `0-9`, `_` and `-`, starting with a letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an id of a sensor is 1 to 48 of a-z, 0-9, '_' and '-', starts with a letter and ends with a letter or digit"
)]
pub struct BadName;

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Name {
    type Error = BadName;

    fn try_from(text: &str) -> Result<Self, BadName> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ok = text.len() <= 48
            && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && text.bytes().last().is_some_and(plain)
            && text.bytes().all(|b| plain(b) || matches!(b, b'_' | b'-'));
        if ok { Ok(Self(text.to_owned())) } else { Err(BadName) }
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        Self::try_from(text.as_str())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An I2C bus with sensors on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct I2cBus {
    /// Its id.
    pub id: Name,
    /// Which of the kernel's it is.
    pub adapter: Adapter,
}

/// What sensors are read through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Device {
    /// Its id.
    pub id: Name,
    /// Where it is, whatever number the kernel gives its hwmon folder.
    pub location: Location,
    /// The bus it is on, unless it is one by itself.
    pub bus: Option<Name>,
    /// The driver's name for it; another one is not taken for it.
    pub driver: Option<String>,
    /// It can be pulled.
    pub removable: bool,
    /// What has to be known of it where it is asked over PMBus.
    pub pmbus: pmbus::Options,
}

/// A drive that is asked by NVMe basic management.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Drive {
    /// Its id in every API.
    pub id: Name,
    /// A name for people.
    pub name: String,
    /// The bus it is on.
    pub bus: Name,
    /// Which of the kernel's that is.
    pub adapter: Adapter,
    /// Its address there, 0x08 to 0x77.
    pub address: u8,
    /// It can be pulled: without an answer it is not present.
    pub removable: bool,
    /// The host it has its power from.
    pub host: Option<Id>,
}

/// What the FRU image of a part describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FruKind {
    /// A board.
    Board,
    /// The chassis.
    Chassis,
    /// A power supply.
    PowerSupply,
    /// A drive.
    Drive,
    /// Something else.
    Other,
}

/// An EEPROM with the FRU image of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fru {
    /// Its id in every API.
    pub id: Name,
    /// A name for people.
    pub name: String,
    /// What it describes.
    pub kind: FruKind,
    /// Where it is.
    pub location: Location,
    /// The bus it is on, unless it is one by itself.
    pub bus: Option<Name>,
    /// It can be pulled.
    pub removable: bool,
    /// The host it has its power from.
    pub host: Option<Id>,
    /// Its size in bytes.
    pub size: u32,
    /// The asset tag is written into it.
    pub keeps_asset_tag: bool,
}

/// An EEPROM that the firmware of a host shares with the BMC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HostMailbox {
    /// The host.
    pub host: Id,
    /// Where it is.
    pub location: Location,
    /// Its size in bytes: 16 KiB to 256 KiB, a multiple of 4 KiB.
    pub size: u32,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sensor {
    /// Its id in every API.
    pub id: Name,
    /// A name for people.
    pub name: String,
    /// The host it is part of.
    pub host: Option<Id>,
    /// Where it measures, if the file says so.
    pub place: Option<PhysicalContext>,
    /// Where its values come from.
    pub input: Input,
    /// How they are judged. The host in it is the place in [`Board::hosts`].
    pub spec: Spec,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How the simulated board plays it.
    pub played: Played,
}

/// Where a sensor measures: those of Redfish's physical contexts (DSP0268, `PhysicalContext`) that boards have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PhysicalContext {
    /// The machine as a whole: what it takes of power.
    Chassis,
    /// A processor.
    Cpu,
    /// Where air comes out.
    Exhaust,
    /// An accelerator or graphics card.
    Gpu,
    /// Where air comes in.
    Intake,
    /// Memory.
    Memory,
    /// A network interface.
    Network,
    /// A power supply.
    PowerSupply,
    /// A drive.
    Storage,
    /// The board itself.
    SystemBoard,
    /// A voltage regulator.
    VoltageRegulator,
}

impl PhysicalContext {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::Chassis,
        Self::Cpu,
        Self::Exhaust,
        Self::Gpu,
        Self::Intake,
        Self::Memory,
        Self::Network,
        Self::PowerSupply,
        Self::Storage,
        Self::SystemBoard,
        Self::VoltageRegulator,
    ];

    /// As the board file and the API write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chassis => "chassis",
            Self::Cpu => "cpu",
            Self::Exhaust => "exhaust",
            Self::Gpu => "gpu",
            Self::Intake => "intake",
            Self::Memory => "memory",
            Self::Network => "network",
            Self::PowerSupply => "power-supply",
            Self::Storage => "storage",
            Self::SystemBoard => "system-board",
            Self::VoltageRegulator => "voltage-regulator",
        }
    }
}

/// Where a sensor's values come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A channel of a device, through the kernel.
    Channel {
        /// The device.
        device: Name,
        /// Which of the kernel's classes.
        class: ChannelClass,
        /// The channel: `temp1`; with a label `temp`.
        channel: String,
        /// The driver's label of the channel.
        label: Option<String>,
    },
    /// A device that is asked over PMBus, without a driver of the kernel.
    Pmbus {
        /// The device.
        device: Name,
        /// What it is asked for.
        quantity: pmbus::Quantity,
    },
    /// The temperature of a drive, by NVMe basic management.
    Drive {
        /// The drive.
        drive: Name,
    },
    /// A line.
    Line {
        /// The line.
        line: Line,
        /// What it tells of.
        device: Option<Name>,
    },
    /// Other sensors.
    Computed {
        /// How they are put together.
        op: Op,
        /// Which.
        of: Vec<Name>,
    },
}

impl Input {
    /// The device it is read through, by a bus or the kernel.
    #[must_use]
    pub fn device(&self) -> Option<&Name> {
        match self {
            Self::Channel { device, .. } | Self::Pmbus { device, .. } => Some(device),
            Self::Drive { .. } | Self::Line { .. } | Self::Computed { .. } => None,
        }
    }
}

/// A fan that is driven, or fans on one output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fan {
    /// Its id in every API.
    pub id: Name,
    /// A name for people.
    pub name: String,
    /// The device it is driven through.
    pub device: Name,
    /// Its output there: `pwm1`.
    pub output: String,
    /// Its tachometer.
    pub tach: Option<Tach>,
    /// The least duty at which it surely turns, percent.
    pub min: f64,
    /// Its duty when something is not known or not right, percent.
    pub failsafe: f64,
    /// How fast its duty rises, percent a second.
    pub slew_up: f64,
    /// How fast its duty falls, percent a second.
    pub slew_down: f64,
    /// What gets it turning from rest.
    pub kick: Option<FanKick>,
    /// A duty that does not change is set again after so long.
    pub tell_again: Duration,
}

/// The tachometer of a fan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tach {
    /// The sensor.
    pub sensor: Name,
    /// Its speed at full duty, revolutions a minute.
    pub rpm: f64,
    /// By how many percent it may be slower.
    pub tolerance: f64,
    /// Time constant of its inertia.
    pub spin_up: Duration,
    /// It is read about once in this time.
    pub period: Duration,
    /// How long it may be too slow before it has failed.
    pub fail_after: Duration,
    /// How long it may say nothing before it has failed.
    pub missing_after: Duration,
    /// How long it must be fast enough to count again.
    pub recover: Duration,
}

/// A push for a fan at rest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FanKick {
    /// At least this duty, percent.
    pub duty: f64,
    /// For so long.
    pub lasts: Duration,
}

/// What is cooled together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Zone {
    /// Its id in every API.
    pub id: Name,
    /// A name for people.
    pub name: String,
    /// Its sensors with their weights.
    pub sensors: Vec<(Name, f64)>,
    /// What several sensors come to.
    pub combine: Combine,
    /// Its fans.
    pub fans: Vec<Name>,
    /// How many of its fans are needed; all without this.
    pub needed: Option<u32>,
    /// How its sensors become a duty.
    pub control: Control,
    /// A duty by a reading that tells of heat before it is felt.
    pub forward: Option<Forward>,
    /// From here on its fans run at full speed, °C; else from its sensors' thresholds on.
    pub full_at: Option<f64>,
    /// From here on its host is in danger, °C; else from its sensors' thresholds on.
    pub critical: Option<f64>,
    /// How fast it can get hotter, K a second.
    pub slew: f64,
    /// How old news may be and count as the present.
    pub fresh: Duration,
    /// After how long without news its fans run at full speed in any case.
    pub missing: Duration,
    /// How long all must be well before they do no more.
    pub recover: Duration,
    /// Quiet, balanced and performance.
    pub profiles: [ZoneProfile; 3],
    /// The duty while the hosts of its sensors are off, percent.
    pub idle: f64,
    /// After how long over critical the power of its hosts is cut.
    pub power_off_after: Option<Duration>,
}

/// What several sensors come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Combine {
    /// The hottest.
    Max,
    /// The mean by weight.
    Weighted,
    /// The least margin to a critical temperature.
    Margin,
}

/// How a zone's sensors become a duty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Control {
    /// A controller.
    Pid {
        /// What it holds, °C or a margin in K. Never missing in a board that was loaded.
        target: Option<f64>,
        /// Percent for each K.
        kp: f64,
        /// Percent for each K and second.
        ki: f64,
        /// Percent for each K a second.
        kd: f64,
        /// Time constant of the filter of that.
        filter: Duration,
    },
    /// Steps.
    Curve {
        /// Rising.
        steps: Vec<CurveStep>,
        /// A step is left when it is so many K colder than where it began.
        hysteresis: f64,
    },
}

/// At least this duty from this temperature on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurveStep {
    /// °C, or a margin in K.
    pub from: f64,
    /// Percent.
    pub duty: f64,
}

/// A duty by a reading that tells of heat before it is felt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forward {
    /// The sensor.
    pub sensor: Name,
    /// Nothing is added at this value.
    pub base: f64,
    /// Percent for each unit above it.
    pub gain: f64,
    /// Percent at most.
    pub most: f64,
}

/// What a profile changes in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ZoneProfile {
    /// So many K warmer.
    pub offset: f64,
    /// The least duty, percent.
    pub min: f64,
}

/// How the simulated board plays a sensor; what is not said follows from its kind.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Played {
    /// The value while the host idles.
    pub idle: Option<f64>,
    /// The value while the host works all it can.
    pub load: Option<f64>,
    /// The value while the host is off.
    pub off: Option<f64>,
}

/// A light of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Led {
    /// Its id.
    pub id: Name,
    /// A name for people.
    pub name: String,
    /// What it stands for.
    pub kind: LedKind,
    /// Its colour, for people.
    pub color: Option<String>,
    /// It may be set by hand.
    pub settable: bool,
    /// What it is on.
    pub wire: LedWire,
}

/// What an LED stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LedKind {
    /// None of these.
    Other,
    /// The power of a host.
    Power,
    /// How all is.
    Status,
    /// Something needs somebody.
    Fault,
    /// This is the machine that is looked for.
    Identify,
}

/// What an LED is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedWire {
    /// One of the kernel's, by its name in `/sys/class/leds`.
    Class(String),
    /// Lit while the line is active.
    Line(Line),
}

/// LEDs that show something together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LedGroup {
    /// Its id.
    pub id: Name,
    /// It shows while any of these is so.
    pub when: Vec<Condition>,
    /// The host this is about; without one all.
    pub host: Option<Id>,
    /// The larger number wins. 1 to 100.
    pub priority: u8,
    /// What it shows.
    pub members: Vec<LedMember>,
}

/// What a group wants of one LED.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedMember {
    /// The LED.
    pub led: Name,
    /// What it shows.
    pub show: Show,
}

/// A host's serial port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Console {
    /// The host, whose id is the console's, too.
    pub host: Id,
    /// The BMC's end. `None` on a simulated board.
    pub device: Option<PathBuf>,
    /// Where it is behind a port that others share.
    #[serde(default)]
    pub mux: Option<MuxPlace>,
    /// Bits per second.
    pub baud: u32,
    /// The parity bit of each byte.
    pub parity: Parity,
    /// How either end holds up the other.
    pub flow: FlowControl,
}

/// A place at a shared port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MuxPlace {
    /// The id of the port's [`SerialMux`].
    pub id: Name,
    /// What its lines say when this one is selected: a bit for each, the first line the lowest.
    pub position: u8,
}

/// A serial port that several hosts share: lines say whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SerialMux {
    /// Its id.
    pub id: Name,
    /// The BMC's end. `None` on a simulated board.
    pub device: Option<PathBuf>,
    /// The lines, one to four; the first is the lowest bit.
    pub select: Vec<hal::Line>,
}

/// A host's screen, with keyboard and pointer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Screen {
    /// The host, whose id is the screen's, too.
    pub host: Id,
    /// The device that captures it, such as `/dev/video0`.
    pub video: PathBuf,
    /// The USB device controller at the host's end, by its name in `/sys/class/udc`. `None`: nothing is typed there.
    pub usb: Option<String>,
}

/// A drive of a host whose medium comes from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MediaSlot {
    /// Its id in every API.
    pub id: Name,
    /// The host that has it.
    pub host: Id,
    /// What it is to the host.
    pub kind: MediaKind,
    /// The USB device port (UDC) that leads to the host, as `/sys/class/udc` calls it. `None` on a simulated board.
    pub usb: Option<String>,
}

/// What a drive is to its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaKind {
    /// A drive of CDs and DVDs.
    Cd,
    /// A USB stick.
    Usb,
}

/// The parity bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parity {
    /// There is none.
    None,
    /// It makes the number of ones even.
    Even,
    /// It makes it odd.
    Odd,
}

/// How one end of a serial line holds up the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlowControl {
    /// Not at all.
    None,
    /// By two lines.
    RtsCts,
    /// By two characters.
    XonXoff,
}

/// The enclosure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Chassis {
    /// Its id in every API.
    pub id: Id,
    /// A name for people.
    pub name: String,
}

/// The BMC itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ManagementController {
    /// Its id in every API.
    pub id: Id,
    /// A name for people.
    pub name: String,
    /// The hardware watchdog that covers the operator, if the board has one.
    pub watchdog: Option<WatchdogRef>,
}

/// A watchdog device and the time it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchdogRef {
    /// The device, for example `/dev/watchdog0`.
    pub device: PathBuf,
    /// How long it waits for a sign of life. 10 s to 10 min.
    pub timeout: Duration,
}

/// A server on the board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Host {
    /// Its id in every API: `system`, then `host1`, `host2`, … by custom.
    pub id: Id,
    /// A name for people.
    pub name: String,
    /// How its power is controlled and seen.
    pub power: Power,
    /// How long things take.
    pub timings: Timings,
    /// What to do with it when the BMC starts after a loss of power.
    pub restore: Restore,
}

/// How a host's power is controlled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Power {
    /// By pressing the buttons of the front panel.
    Buttons(Buttons),
    /// By holding a line active for as long as power shall be on.
    Level(Level),
}

impl Power {
    /// The line that tells whether the host has power.
    pub fn power_good(&self) -> &Line {
        match self {
            Self::Buttons(buttons) => &buttons.power_good,
            Self::Level(level) => &level.power_good,
        }
    }

    /// The reset output, if wired.
    pub fn reset(&self) -> Option<&Line> {
        match self {
            Self::Buttons(buttons) => buttons.reset.as_ref(),
            Self::Level(level) => level.reset.as_ref(),
        }
    }

    /// The NMI output, if wired.
    pub fn nmi(&self) -> Option<&Line> {
        match self {
            Self::Buttons(buttons) => buttons.nmi.as_ref(),
            Self::Level(level) => level.nmi.as_ref(),
        }
    }

    /// The front panel's power button as an input, if wired.
    pub fn power_button_in(&self) -> Option<&Line> {
        match self {
            Self::Buttons(buttons) => buttons.power_button_in.as_ref(),
            Self::Level(level) => level.power_button_in.as_ref(),
        }
    }

    /// The front panel's reset button as an input, if wired.
    pub fn reset_button_in(&self) -> Option<&Line> {
        match self {
            Self::Buttons(buttons) => buttons.reset_button_in.as_ref(),
            Self::Level(level) => level.reset_button_in.as_ref(),
        }
    }

    /// Each line with its key in the board file and whether the BMC drives it.
    pub fn lines(&self) -> impl Iterator<Item = (&'static str, bool, &Line)> {
        let control = match self {
            Self::Buttons(buttons) => ("power", true, &buttons.power),
            Self::Level(level) => ("control", true, &level.control),
        };
        [
            Some(control),
            self.reset().map(|line| ("reset", true, line)),
            self.nmi().map(|line| ("nmi", true, line)),
            Some(("power_good", false, self.power_good())),
            self.power_button_in().map(|line| ("power_button_in", false, line)),
            self.reset_button_in().map(|line| ("reset_button_in", false, line)),
        ]
        .into_iter()
        .flatten()
    }
}

/// Lines of a host that is controlled by its buttons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Buttons {
    /// Output: the power button, in parallel with the front panel's.
    pub power: Line,
    /// Output: the reset button.
    pub reset: Option<Line>,
    /// Output: the NMI (diagnostic interrupt) button.
    pub nmi: Option<Line>,
    /// Input: the supplies are up and good.
    pub power_good: Line,
    /// Input: somebody presses the power button of the front panel.
    pub power_button_in: Option<Line>,
    /// Input: somebody presses the reset button of the front panel.
    pub reset_button_in: Option<Line>,
}

/// Lines of a host whose power follows a held line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Level {
    /// Output: power shall be on while this is active.
    pub control: Line,
    /// Input: the supplies are up and good.
    pub power_good: Line,
    /// Output: reset, active for as long as the pulse.
    pub reset: Option<Line>,
    /// Output: NMI (diagnostic interrupt).
    pub nmi: Option<Line>,
    /// Input: somebody presses the power button of the front panel.
    pub power_button_in: Option<Line>,
    /// Input: somebody presses the reset button of the front panel.
    pub reset_button_in: Option<Line>,
}

/// How long things take on this board. The defaults are those of x86-power-control, which server boards are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Timings {
    /// A short press of the power button.
    pub press: Duration,
    /// The longest a press that forces power off lasts; it ends early when power-good falls.
    pub force_off_hold: Duration,
    /// A press of the reset button.
    pub reset: Duration,
    /// A press of the NMI button.
    pub nmi: Duration,
    /// How long power stays off in a power cycle.
    pub cycle_off: Duration,
    /// How long after a press, or after the control line rose, power-good may take.
    pub power_good_timeout: Duration,
    /// How long an operating system may take to shut down.
    pub graceful_off_timeout: Duration,
    /// A loss of power-good shorter than this is a warm reset and not a power-off.
    pub warm_reset_check: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            press: Duration::from_millis(200),
            force_off_hold: Duration::from_secs(15),
            reset: Duration::from_millis(500),
            nmi: Duration::from_millis(200),
            cycle_off: Duration::from_secs(5),
            power_good_timeout: Duration::from_secs(8),
            graceful_off_timeout: Duration::from_secs(300),
            warm_reset_check: Duration::from_millis(500),
        }
    }
}

impl From<&Timings> for power::Timings {
    fn from(times: &Timings) -> Self {
        Self {
            press: Millis::from(times.press),
            force_off_hold: Millis::from(times.force_off_hold),
            reset: Millis::from(times.reset),
            nmi: Millis::from(times.nmi),
            cycle_off: Millis::from(times.cycle_off),
            power_good_timeout: Millis::from(times.power_good_timeout),
            graceful_off_timeout: Millis::from(times.graceful_off_timeout),
            warm_reset_check: Millis::from(times.warm_reset_check),
            ..Self::default()
        }
    }
}

/// What to do with a host when the BMC starts after a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Restore {
    /// What.
    pub policy: RestorePolicy,
    /// How long to wait first, counted from the start of the BMC.
    pub delay: Duration,
}

/// Whether to power a host on after a loss of power. The operator of the machine may change it at run time; the board
/// file says what a new machine starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RestorePolicy {
    /// Power it on.
    AlwaysOn,
    /// Leave it off.
    AlwaysOff,
    /// As it was.
    Last,
}

impl RestorePolicy {
    /// The word for it in a board file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlwaysOn => "always-on",
            Self::AlwaysOff => "always-off",
            Self::Last => "last",
        }
    }
}

/// What plays the host on a simulated board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sim {
    /// Who plays.
    pub host: SimHost,
    /// The same seed, the same noise of the sensors.
    pub seed: u32,
    /// How the scripted host behaves.
    pub scripted: Scripted,
    /// How the QEMU guest is run.
    pub qemu: Qemu,
}

/// Who plays the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SimHost {
    /// A script in the twin process.
    Scripted,
    /// A real QEMU guest.
    Qemu,
}

/// The scripted host's pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Scripted {
    /// From the press to power-good.
    pub power_on: Duration,
    /// From power-good to an operating system that listens to the power button.
    pub boot: Duration,
    /// From the short press to power-good falling.
    pub shutdown: Duration,
    /// A press this long cuts power in hardware, as chipsets do after four seconds.
    pub override_hold: Duration,
}

/// How a QEMU guest is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Qemu {
    /// The emulator, looked up in `PATH` when it has no slash.
    pub binary: PathBuf,
    /// The accelerator, `tcg` or `kvm`.
    pub accel: Accel,
    /// The guest's firmware, `bios` or `uefi`.
    pub firmware: GuestFirmware,
    /// Memory of the guest in MiB.
    pub memory_mib: u32,
    /// The guest's directory with `vmlinuz` and `initrd`, as `cargo xtask guest` makes it; relative to the board file.
    pub guest: PathBuf,
    /// A disk image the guest boots from in place of that kernel; relative to the board file.
    pub disk: Option<PathBuf>,
    /// An image of a CD or DVD that lies in the guest's drive; relative to the board file.
    pub cdrom: Option<PathBuf>,
    /// A directory that the guest's network serves by TFTP, relative to the board file; only with one it has a network card.
    pub tftp: Option<PathBuf>,
    /// The file in there that a boot by PXE loads.
    pub boot_file: PathBuf,
}

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Accel {
    /// QEMU's translator: works everywhere.
    Tcg,
    /// The kernel's hypervisor.
    Kvm,
}

/// The firmware of a QEMU guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GuestFirmware {
    /// SeaBIOS, a PC's BIOS, which QEMU brings along. It has no set-up.
    Bios,
    /// OVMF, EDK2's UEFI firmware for QEMU.
    Uefi,
}

impl Accel {
    /// QEMU's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}
