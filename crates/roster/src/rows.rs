//! The rows.
//!
//! Each daemon calls, and starts after, rows above its own only. How a new one is added: docs/porting-a-daemon.md.

use hal_linux::seccomp::Groups;
use rustix::thread::CapabilitySet;
use units::Millis;

use crate::row::{Limits, Reach, Row, Stream, When};

/// After how long a silence of a daemon that holds pins is told: within 5 s people know that nobody holds the lines. It is killed as late as
/// the others, as one that comes back by itself has not lost what it was about.
const HOLDS_PINS: Millis = Millis::from_secs(4);

/// After how long a silence of the daemon that drives the fans is told; they are at full speed by then.
const DRIVES_FANS: Millis = Millis::from_secs(1);

/// The machine's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

macro_rules! roster {
    ($($(#[doc = $doc:literal])+ $daemon:ident = $row:expr;)+) => {
        /// Every daemon there can be, in the order in which they call each other: the called first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Daemon {
            $($(#[doc = $doc])+ $daemon,)+
        }

        impl Daemon {
            /// All of them, in the order of the rows.
            pub const ALL: &'static [Self] = &[$(Self::$daemon),+];

            /// What is said of it.
            pub const fn row(self) -> &'static Row {
                match self {
                    $(Self::$daemon => {
                        static ROW: Row = $row;
                        &ROW
                    })+
                }
            }
        }
    };
}

impl Daemon {
    /// Its name.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The daemon of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|daemon| daemon.name() == name)
    }
}

roster! {
    /// The first process. It creates the streams and buckets of all.
    Operator = Row {
        pages: &["operator"],
        events: &["system", "daemon", "store"],
        user: None,
        limits: Limits::none(),
        ..Row::daemon("operator", "Start and supervise everything (as an ordinary process or as PID 1)", 0)
    };
    /// The simulated host. It goes on when the controller restarts (I-2), and may run a guest, so nothing is known of its size.
    Twin = Row {
        pages: &["emulation"],
        when: When::Simulated,
        on_bus: false,
        lasting: true,
        user: None,
        limits: Limits::none(),
        ..Row::daemon("twin", "Play the host of a simulated board", 0)
    };
    /// Critical: without it nobody can reach the host's power, so a controller on which it stays away is reset by the watchdog.
    Powermgr = Row {
        pages: &["powermgr"],
        after: &[Daemon::Twin],
        events: &["host", "chassis"],
        critical: true,
        missed_after: Some(HOLDS_PINS),
        devices: &["gpiochip"],
        // Which devices are GPIO chips.
        reads: &["/sys/bus/gpio", "/sys/devices"],
        system_calls: Groups::GPIO,
        limits: Limits::lines(),
        ..Row::daemon("powermgr", "Press buttons and watch power-good", 1)
    };
    /// Not critical, as websrv: a port in use or a full disk is not cured by a reset, and the host can still be reached by its buttons.
    Usermgr = Row {
        pages: &["users"],
        events: &["user", "session", "role"],
        buckets: &["users", "sessions", "roles"],
        speaks: true,
        files: &["admin_password_file"],
        system_calls: Groups::PRIORITY,
        limits: Limits::hashing(),
        ..Row::daemon("usermgr", "Keep accounts, roles and sessions", 3)
    };
    /// Owner of intent: drives powermgr, asks the operator to reset the management controller. Critical as powermgr is.
    Statemgr = Row {
        pages: &["statemgr", "state"],
        after: &[Daemon::Powermgr],
        calls: &[Daemon::Powermgr, Daemon::Operator],
        events: &["host", "chassis", "bmc"],
        buckets: &["state", "config"],
        critical: true,
        // Memory, uptime, and what the kernel tells of the reset before this boot.
        // And the EEPROMs that hosts share with the board.
        reads: &[
            "/proc/meminfo",
            "/proc/uptime",
            "/sys/bus/i2c",
            "/sys/class/watchdog",
            "/sys/devices",
            "/sys/fs/pstore",
        ],
        writes: &["/sys/devices"],
        // Which of what is there is its own is said by their group.
        mailboxes: true,
        ..Row::daemon("statemgr", "Keep the desired and actual state of host, chassis and controller", 2)
    };
    /// Not critical: events are kept and watched without it, only lists of them need it, and who is sent them gets them later. It reaches outward so that
    /// websrv, which strangers speak to, need not.
    Eventlog = Row {
        pages: &["eventlog"],
        // Whether who subscribed still may, what metric reports are made of, and what triggers go by.
        asks: &[
            "AuthService.ListAccountNames",
            "ChassisService.ListChassis",
            "SensorService.ListSensors",
            "SensorService.GetReadings",
        ],
        events: &["log", "telemetry"],
        tells: &["telemetry"],
        buckets: &["subscriptions", "resolutions", "telemetry"],
        streams: &[Stream::Events],
        trims: &[Stream::Events],
        needs_board: false,
        files: &["subscriptions.ca_file"],
        // Certificates of authorities lie in both; name servers in the first and in /run.
        reads: &["/etc", "/usr/share", "/run"],
        reach: Reach::Outward,
        system_calls: Groups::DATAGRAMS,
        ..Row::daemon("eventlog", "List past events, send them to subscribers, keep the room of the event log", 7)
    };
    /// Not critical: what keeps the machine cool reads its own sensors. Its numbers are counted and its readings shown here.
    Sensormon = Row {
        pages: &["sensormon"],
        after: &[Daemon::Twin, Daemon::Powermgr],
        calls: &[Daemon::Powermgr],
        events: &["sensor"],
        tells: &["sensors"],
        buckets: &["sensors"],
        // Which bus of the kernel is which of the board.
        reads: &["/sys/class/hwmon", "/sys/bus/iio", "/sys/bus/i2c", "/sys/devices"],
        i2c: true,
        lines: true,
        system_calls: Groups::I2C.union(Groups::LEVELS),
        limits: Limits::sensors(),
        ..Row::daemon("sensormon", "Read sensors, judge thresholds, keep their history", 8)
    };
    /// Not critical: what is known of parts stays known without it.
    Inventorymgr = Row {
        pages: &["inventorymgr"],
        after: &[Daemon::Twin, Daemon::Powermgr],
        // What has its power from a host that is off was not pulled.
        calls: &[Daemon::Powermgr],
        events: &["inventory"],
        buckets: &["inventory"],
        // EEPROMs, which it writes the asset tag into; what a host hands over lies among them on a simulated board.
        reads: &["/sys/bus/i2c", "/sys/devices"],
        writes: &["/sys/devices"],
        // Which of what is there is its own is said by its group.
        eeproms: true,
        // Drives.
        i2c: true,
        system_calls: Groups::I2C,
        limits: Limits::lines(),
        ..Row::daemon("inventorymgr", "Know the parts of the machine and what became of them", 11)
    };
    /// Not critical: while it stays away the operator has the fans at full speed, which keeps the machine cool, and a reset would not help.
    Thermalmgr = Row {
        pages: &["thermalmgr"],
        when: When::Cooled,
        after: &[Daemon::Twin, Daemon::Powermgr],
        calls: &[Daemon::Powermgr],
        events: &["thermal"],
        missed_after: Some(DRIVES_FANS),
        reads: &["/sys/class/hwmon", "/sys/bus/iio", "/sys/bus/i2c"],
        writes: &["/sys/devices"],
        fans: true,
        i2c: true,
        system_calls: Groups::I2C,
        limits: Limits::cooling(),
        ..Row::daemon("thermalmgr", "Keep the machine cool: zones, fans, failsafe", 9)
    };
    /// Not critical: lights go on showing what they showed.
    Ledmgr = Row {
        pages: &["ledmgr"],
        after: &[Daemon::Twin, Daemon::Powermgr, Daemon::Statemgr, Daemon::Thermalmgr],
        calls: &[Daemon::Powermgr, Daemon::Statemgr, Daemon::Operator, Daemon::Thermalmgr],
        events: &["led"],
        buckets: &["leds"],
        reads: &["/sys/class/leds"],
        // Which of what is there is its own is said by its group.
        writes: &["/sys/devices"],
        lights: true,
        // LEDs on lines. Those that powermgr holds nobody else gets.
        joins: &[Daemon::Powermgr],
        system_calls: Groups::GPIO,
        limits: Limits::lines(),
        ..Row::daemon("ledmgr", "Light LEDs: host power, identify, faults, lamp test", 10)
    };
    /// Not critical: it has no say in whether the host runs. A session ends with it, and the host's port waits.
    Consolesrv = Row {
        pages: &["consolesrv"],
        after: &[Daemon::Twin],
        events: &["console"],
        consoles: true,
        admits: true,
        system_calls: Groups::LISTEN.union(Groups::TERMINALS),
        ..Row::daemon("consolesrv", "Serve the hosts' serial consoles, keep their log", 13)
    };
    /// Not critical, as consolesrv.
    Kvmsrv = Row {
        pages: &["kvm"],
        when: When::Shown,
        after: &[Daemon::Twin],
        events: &["kvm"],
        screens: true,
        admits: true,
        // Which devices the functions of the hosts' USB gadgets are.
        reads: &["/sys/kernel/config"],
        system_calls: Groups::LISTEN.union(Groups::VIDEO),
        limits: Limits::screens(),
        ..Row::daemon("kvmsrv", "Show the hosts' screens, type and point there", 15)
    };
    /// Not critical, as consolesrv. It reaches outward and parses what servers and browsers send, so it is neither websrv nor kvmsrv.
    Mediasrv = Row {
        pages: &["media"],
        when: When::Media,
        after: &[Daemon::Twin],
        events: &["media"],
        admits: true,
        media: true,
        files: &["ca_file"],
        // Certificates of authorities lie in both; name servers in the first and in /run. The hosts' drives are in configfs.
        reads: &["/etc", "/usr/share", "/run", "/sys/kernel/config"],
        // Which of what is there is its own is said by its group.
        writes: &["/sys/kernel/config"],
        reach: Reach::Outward,
        system_calls: Groups::LISTEN.union(Groups::DATAGRAMS),
        limits: Limits::media(),
        ..Row::daemon("mediasrv", "Serve the hosts' virtual media: discs from afar and from the store", 17)
    };
    /// Not critical: a reset brings no cable back. It starts first of all, because a lease takes seconds, and nobody waits for it.
    ///
    /// Its rights: interfaces and routes, raw sockets for DHCP and the ports it has, the clock. The operator names the host for it.
    Netmgr = Row {
        pages: &["network"],
        when: When::Configured,
        events: &["network"],
        names_host: true,
        capabilities: CapabilitySet::NET_ADMIN
            .union(CapabilitySet::NET_RAW)
            .union(CapabilitySet::NET_BIND_SERVICE)
            .union(CapabilitySet::SYS_TIME),
        devices: &["rtc"],
        replaces: &[("resolv_conf", "/run/netmgr/resolv.conf")],
        // Whom to ask for the address of a time server; how fast a link is.
        reads: &["/etc", "/run", "/sys/class/net", "/sys/devices", HOST_NAME],
        writes: &["/proc/sys/net"],
        reach: Reach::Names,
        system_calls: Groups::NETWORK.union(Groups::DATAGRAMS).union(Groups::CLOCK),
        ..Row::daemon("netmgr", "Keep the controller's own network and time", 5)
    };
    /// Not critical: the machine is reached by other ways. Until it is switched on it keeps only the switch.
    Ipmisrv = Row {
        pages: &["ipmi"],
        when: When::Permitted,
        after: &[Daemon::Usermgr, Daemon::Statemgr, Daemon::Eventlog, Daemon::Sensormon, Daemon::Inventorymgr, Daemon::Thermalmgr, Daemon::Ledmgr, Daemon::Consolesrv, Daemon::Netmgr],
        // netmgr is asked for what the LAN parameters show.
        calls: &[Daemon::Statemgr, Daemon::Eventlog, Daemon::Usermgr, Daemon::Sensormon, Daemon::Inventorymgr, Daemon::Thermalmgr, Daemon::Ledmgr, Daemon::Consolesrv, Daemon::Operator, Daemon::Netmgr],
        follows: &["sensors"],
        events: &["ipmi", "audit"],
        buckets: &["ipmi"],
        streams: &[Stream::Events],
        speaks: true,
        // The machine's own way to it: devices of the kernel, and the guest that is the machine of a simulated board.
        devices: &["ipmi-kcs", "ipmi-bt"],
        admits: true,
        // Its port is 623.
        capabilities: CapabilitySet::NET_BIND_SERVICE,
        system_calls: Groups::DATAGRAMS.union(Groups::LISTEN).union(Groups::ATTENTION),
        ..Row::daemon("ipmisrv", "Serve IPMI over LAN: RMCP+ with suites 17 and 3", 14)
    };
    /// Not critical: the consoles are reached by other ways. Until it is switched on it keeps only the switch. It parses what strangers send, so it may call
    /// no more than what a login and a session of a console take.
    Sshsrv = Row {
        pages: &["sshsrv"],
        when: When::Built,
        after: &[Daemon::Usermgr, Daemon::Consolesrv],
        asks: &[
            "SessionService.CreateSession",
            "SessionService.DeleteSession",
            "AuthService.VerifyToken",
            "ConsoleService.OpenConsole",
        ],
        events: &["ssh", "audit"],
        buckets: &["ssh"],
        speaks: true,
        // Its port may be 22.
        capabilities: CapabilitySet::NET_BIND_SERVICE,
        reach: Reach::Listens("listen"),
        system_calls: Groups::LISTEN,
        ..Row::daemon("sshsrv", "Serve the hosts' consoles over SSH", 16)
    };
    /// The gateway's only state is its certificate, and whether viewers and plain HTTP come in. It publishes what becomes of these and of diagnostic data, and
    /// records of requests.
    Websrv = Row {
        pages: &["websrv"],
        after: &[Daemon::Usermgr, Daemon::Statemgr, Daemon::Eventlog, Daemon::Sensormon, Daemon::Inventorymgr, Daemon::Thermalmgr, Daemon::Ledmgr, Daemon::Consolesrv, Daemon::Kvmsrv, Daemon::Mediasrv, Daemon::Netmgr, Daemon::Ipmisrv, Daemon::Sshsrv],
        calls: &[Daemon::Statemgr, Daemon::Eventlog, Daemon::Usermgr, Daemon::Sensormon, Daemon::Inventorymgr, Daemon::Thermalmgr, Daemon::Ledmgr, Daemon::Consolesrv, Daemon::Kvmsrv, Daemon::Mediasrv, Daemon::Operator, Daemon::Netmgr, Daemon::Ipmisrv, Daemon::Sshsrv],
        events: &["certificate", "diagnostics", "vnc", "redirect", "audit"],
        buckets: &["vnc"],
        follows: &["*"],
        streams: &[Stream::Events],
        speaks: true,
        files: &["tls.cert_file", "tls.key_file"],
        reads: &[HOST_NAME],
        reach: Reach::Served,
        system_calls: Groups::LISTEN.union(Groups::DATAGRAMS).union(Groups::PRIORITY),
        limits: Limits::gateway(),
        ..Row::daemon("websrv", "Serve HTTPS: REST, Connect, gRPC", 4)
    };
    /// The outward link: passes requests of the fleet on and reads the event log. Runs where a datacenter's server is named.
    Fleet = Row {
        pages: &["fleet"],
        when: When::Configured,
        after: &[Daemon::Usermgr, Daemon::Statemgr, Daemon::Eventlog, Daemon::Sensormon, Daemon::Inventorymgr, Daemon::Thermalmgr, Daemon::Ledmgr, Daemon::Consolesrv, Daemon::Kvmsrv, Daemon::Mediasrv, Daemon::Netmgr, Daemon::Ipmisrv, Daemon::Sshsrv, Daemon::Websrv],
        calls: &[Daemon::Statemgr, Daemon::Eventlog, Daemon::Usermgr, Daemon::Sensormon, Daemon::Inventorymgr, Daemon::Thermalmgr, Daemon::Ledmgr, Daemon::Consolesrv, Daemon::Kvmsrv, Daemon::Mediasrv, Daemon::Operator, Daemon::Netmgr, Daemon::Ipmisrv, Daemon::Sshsrv, Daemon::Websrv],
        events: &["fleet", "audit"],
        streams: &[Stream::Events],
        files: &["nats.ca_file", "nats.password_file", "nats.credentials_file", "nats.nkey_file"],
        // Certificates of authorities lie in both; name servers in the first and in /run.
        reads: &["/etc", "/usr/share", "/run", HOST_NAME],
        reach: Reach::Outward,
        system_calls: Groups::DATAGRAMS,
        ..Row::daemon("fleet", "Link outward to a datacenter's NATS", 6)
    };
}
