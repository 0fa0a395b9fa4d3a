//! What a row says.

use hal_linux::seccomp::Groups;
use rustix::thread::CapabilitySet;
use units::Millis;

use crate::Daemon;

/// The group all daemons share, for the folder of sockets; a daemon's own user and group come after it. Debian's policy (9.2.2) leaves
/// 60000 to 64999 to packages.
pub const SHARED_GROUP: u32 = 64_000;

/// The group of the daemons that speak to devices on I2C buses themselves: those buses of the board that need it belong to it.
pub const I2C_GROUP: u32 = SHARED_GROUP + 900;

/// MiB in bytes.
const MIB: u64 = 1024 * 1024;

/// One daemon.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name: that of its process, its subcommand, its table in the configuration and its user on the bus.
    pub name: &'static str,
    /// What it does, in a line, as its subcommand's help and the docs say it.
    pub about: &'static str,
    /// The pages of docs/ about it, without `.md`.
    pub pages: &'static [&'static str],
    /// On which controllers it runs.
    pub when: When,
    /// The daemons it starts after, as far as they run on the same controller. Only a first start waits.
    pub after: &'static [Daemon],
    /// The daemons whose services it calls; rows above its own only, so that no two can wait for each other.
    pub calls: &'static [Daemon],
    /// Single methods of other daemons that it may call (`Service.Method`), where it needs no more of them. It waits for nobody with them.
    pub asks: &'static [&'static str],
    /// The first tokens of the events it may publish (`event.<domain>.…`).
    pub events: &'static [&'static str],
    /// The readings it may publish (`reading.<what>`): what is true now, in no log.
    pub tells: &'static [&'static str],
    /// The readings it may hear.
    pub follows: &'static [&'static str],
    /// The buckets it owns: it alone reads and writes them.
    pub buckets: &'static [&'static str],
    /// The streams it may read.
    pub streams: &'static [Stream],
    /// The streams it may take single messages out of, to keep room in them.
    pub trims: &'static [Stream],
    /// Whether it has a credential on the bus.
    pub on_bus: bool,
    /// Whether it gets the board file.
    pub needs_board: bool,
    /// Whether the controller is reset by its watchdog when this daemon stays away.
    pub critical: bool,
    /// Whether it goes on when all others restart: it is part of the world, not of the management software.
    pub lasting: bool,
    /// Whether it may say where the controller is reached, and as whom to log in first.
    pub speaks: bool,
    /// Whether it may say what the controller is called.
    pub names_host: bool,
    /// After how long its silence is told, before it is killed for it.
    pub missed_after: Option<Millis>,
    /// The user and group it runs as when the operator is root; `None`: as the operator does.
    pub user: Option<u32>,
    /// All that it may do as that user beyond what everybody may.
    pub capabilities: CapabilitySet,
    /// What its group gets at in `/dev`: the beginnings of names.
    pub devices: &'static [&'static str],
    /// Whether it drives the board's fans: their outputs are handed to its group.
    pub fans: bool,
    /// Whether it reads and writes the board's EEPROMs: their files are handed to its group.
    pub eeproms: bool,
    /// Whether it reads and writes the EEPROMs that hosts share with the board: their files are handed to its group.
    pub mailboxes: bool,
    /// Whether it speaks to devices on I2C buses itself, as [`I2C_GROUP`].
    pub i2c: bool,
    /// Whether the operator hands it the lines of the board's sensors, one by one.
    pub lines: bool,
    /// In whose groups it is besides its own, for devices that both use.
    pub joins: &'static [Daemon],
    /// Whether it drives the board's LEDs: their files in `/sys/class/leds` are handed to its group.
    pub lights: bool,
    /// Whether it serves the hosts' serial ports: their devices are handed to its group.
    pub consoles: bool,
    /// Whether it serves the hosts' screens, keyboards and pointers: their devices are handed to its group.
    pub screens: bool,
    /// Whether it changes what is in the hosts' drives: the files of those in configfs are handed to its group.
    pub media: bool,
    /// Whether other daemons connect to sockets in its folder of the run directory.
    pub admits: bool,
    /// Settings (with dots for nested tables) that name files it reads; they are copied for it, as they may be root's alone.
    pub files: &'static [&'static str],
    /// Settings that name a file it replaces, with their defaults. The folder is made for it where it is missing.
    pub replaces: &'static [(&'static str, &'static str)],
    /// What it reads of the system beside its own, with all below.
    pub reads: &'static [&'static str],
    /// What it writes of the system: files that are there.
    pub writes: &'static [&'static str],
    /// Where its connections go.
    pub reach: Reach,
    /// System calls beyond those of files, memory, threads and clients.
    pub system_calls: Groups,
    /// What it may use at most.
    pub limits: Limits,
}

impl Row {
    /// An ordinary daemon: on every controller, on the bus, with the board file, ordinary limits and no rights. `number` is its user, counted
    /// from [`SHARED_GROUP`]. It owns folders on flash, so a number is never given to another daemon.
    pub(crate) const fn daemon(name: &'static str, about: &'static str, number: u32) -> Self {
        Self {
            name,
            about,
            pages: &[],
            when: When::Always,
            after: &[],
            calls: &[],
            asks: &[],
            events: &[],
            tells: &[],
            follows: &[],
            buckets: &[],
            streams: &[],
            trims: &[],
            on_bus: true,
            needs_board: true,
            critical: false,
            lasting: false,
            speaks: false,
            names_host: false,
            missed_after: None,
            user: Some(SHARED_GROUP + number),
            capabilities: CapabilitySet::empty(),
            devices: &[],
            fans: false,
            eeproms: false,
            mailboxes: false,
            i2c: false,
            lines: false,
            joins: &[],
            lights: false,
            consoles: false,
            screens: false,
            media: false,
            admits: false,
            files: &[],
            replaces: &[],
            reads: &[],
            writes: &[],
            reach: Reach::Bus,
            system_calls: Groups::empty(),
            limits: Limits::daemon(),
        }
    }
}

/// On which controllers a daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// On every one; a boot is confirmed only when it serves.
    Always,
    /// On boards that are simulated.
    Simulated,
    /// On boards with fans to drive; a boot is confirmed there only when it serves.
    Cooled,
    /// On boards with screens, which simulated ones have always.
    Shown,
    /// On boards with drives for virtual media. A boot is confirmed without it.
    Media,
    /// Where the configuration has a table for it. It runs as the site says, so a boot is confirmed without it.
    Configured,
    /// On every one whose command line does not rule it out. What it serves is switched on while it runs, so a boot is confirmed without it.
    Permitted,
    /// On every one whose program was built with it. What it serves is switched on while it runs, so a boot is confirmed without it.
    Built,
}

/// Where a daemon's TCP connections go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To the bus.
    Bus,
    /// To the bus; others come in where the operator's flags say, and viewers at the setting `vnc`, or at 5900 without it.
    Served,
    /// To the bus; others come in where this setting of its own says, as ADDRESS:PORT, and without it at the port that is chosen while it runs.
    Listens(&'static str),
    /// To the bus and to name servers.
    Names,
    /// Anywhere: where to is a setting, and a server may name others.
    Outward,
}

/// A stream of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The event log.
    Events,
}

impl Stream {
    /// Every stream.
    pub const ALL: &'static [Self] = &[Self::Events];

    /// Its name on the bus.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => ipc::EVENTS,
        }
    }
}

/// What a daemon may use at most.
///
/// A limit is there to keep one daemon's fault from taking the others with it, so it is several times what the daemon needs and well
/// below what the machine has (the smallest controllers have 256 MiB). All daemons together are budgeted 32 MiB in ordinary use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory, bytes; `None` for no limit.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Open files.
    pub files: Option<u64>,
    /// It has a real-time priority and may run for so long in one go, without waiting for anything, before it is killed; `None`: it shares the
    /// processor as all do.
    pub real_time: Option<Millis>,
}

impl Limits {
    /// An ordinary daemon: 2 to 4 MiB in use, ten times that as the limit. Threads: its loop, the watch on stdin, a handful of file workers.
    /// Files: bus, log, a few lines or sockets.
    pub const fn daemon() -> Self {
        Self { memory: Some(40 * MIB), tasks: Some(32), files: Some(256), real_time: None }
    }

    /// powermgr: beside an ordinary daemon's a thread for each GPIO chip. Boards with many expanders have some forty. thermalmgr: one for each bus and
    /// each fan controller. inventorymgr: one for each bus with EEPROMs or drives.
    pub const fn lines() -> Self {
        Self { memory: Some(40 * MIB), tasks: Some(96), files: Some(256), real_time: None }
    }

    /// thermalmgr: as [`Limits::lines`], and before whatever floods the processor. A turn of its loops takes less than a millisecond; the time leaves room
    /// for its start on an emulated board, and is over before the machine is hot.
    pub const fn cooling() -> Self {
        Self { real_time: Some(Millis::from_secs(2)), ..Self::lines() }
    }

    /// sensormon: a thread for each bus, which have some forty on the largest boards, and two attributes for each sensor; its history, 19 KiB each.
    pub const fn sensors() -> Self {
        Self { memory: Some(64 * MIB), tasks: Some(96), files: Some(4096), real_time: None }
    }

    /// kvmsrv: pictures that are captured have 32 MiB together, and what would be more is refused; a board has 16 screens with 2.2 MiB each beside that: blank, as
    /// it was seen last, what compresses. A copy of one that is taken and made a PNG is 28 MiB at most, and 0.9 MiB are on their way to each of 32 viewers: 128 MiB.
    pub const fn screens() -> Self {
        Self { memory: Some(144 * MIB), tasks: Some(32), files: Some(256), real_time: None }
    }

    /// mediasrv: 4 MiB are kept of each medium, 1 MiB is on its way to it, 4 MiB to its host, and 64 KiB are read from each of its four connections: boards have
    /// two drives, and 16 with all of that at once are 150 MiB. An upload has 2 MiB on its way.
    pub const fn media() -> Self {
        Self { memory: Some(160 * MIB), tasks: Some(64), files: Some(512), real_time: None }
    }

    /// usermgr: an argon2id hash takes 19 MiB by default and 64 MiB at most, two at a time, beside its own 4 MiB.
    pub const fn hashing() -> Self {
        Self { memory: Some(160 * MIB), tasks: Some(32), files: Some(256), real_time: None }
    }

    /// websrv: 5,000 connections at 1.6 KiB (the budget is 8 MiB), TLS state of those admitted, and their files.
    pub const fn gateway() -> Self {
        Self { memory: Some(96 * MIB), tasks: Some(32), files: Some(8192), real_time: None }
    }

    /// No limits.
    pub const fn none() -> Self {
        Self { memory: None, tasks: None, files: None, real_time: None }
    }
}
