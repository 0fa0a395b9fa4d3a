//! What the set-up of the firmware has, as the factory sets it.

use boot_override::Target;
use host_firmware::{Alias, Attribute, BootOption, Choice, Kind, Report, SecureBoot, SecureBootMode, Value};

/// The version that the firmware says it has.
pub(crate) const VERSION: &str = "1.0";
/// When it was made: month, day, year, as in SMBIOS tables (DSP0134, type 0).
pub(crate) const DATE: &str = "03/01/2024";

/// Less text on the serial port.
pub(crate) const QUIET_BOOT: &str = "QuietBoot";
/// Seconds in which the set-up can be entered; a boot takes so much longer.
pub(crate) const BOOT_TIMEOUT: &str = "BootTimeout";
/// Whether the firmware's text is on the serial port at all.
pub(crate) const SERIAL_REDIRECTION: &str = "SerialRedirection";

/// One boot option there can be.
struct Known {
    name: &'static str,
    target: Target,
    alias: Alias,
    display_name: &'static str,
    device_path: &'static str,
}

/// All boot options there can be, in the order in which the factory has them tried: that of [`Target::Hdd`] first, as a host that is told nothing boots
/// from its disk. A name is that of one target for good, whichever of them a host has.
const BOOT_OPTIONS: [Known; 5] = [
    Known {
        name: "Boot0000",
        target: Target::Hdd,
        alias: Alias::Hdd,
        display_name: "Hard disk",
        device_path: "PciRoot(0x0)/Pci(0x1F,0x2)/Sata(0x0,0xFFFF,0x0)",
    },
    Known {
        name: "Boot0001",
        target: Target::Cd,
        alias: Alias::Cd,
        display_name: "CD/DVD",
        device_path: "PciRoot(0x0)/Pci(0x1F,0x2)/Sata(0x1,0xFFFF,0x0)",
    },
    Known {
        name: "Boot0002",
        target: Target::Usb,
        alias: Alias::Usb,
        display_name: "USB stick",
        device_path: "PciRoot(0x0)/Pci(0x4,0x0)/USB(0x0,0x0)",
    },
    Known {
        name: "Boot0003",
        target: Target::Pxe,
        alias: Alias::Pxe,
        display_name: "Network card (PXE)",
        device_path: "PciRoot(0x0)/Pci(0x2,0x0)/IPv4(0.0.0.0)",
    },
    Known {
        name: "Boot0004",
        target: Target::UefiHttp,
        alias: Alias::UefiHttp,
        display_name: "Network card (HTTP)",
        device_path: "PciRoot(0x0)/Pci(0x2,0x0)/IPv4(0.0.0.0)/Uri()",
    },
];

/// What the boot option of that name boots from.
pub(crate) fn target_of(name: &str) -> Option<Target> {
    BOOT_OPTIONS.iter().find(|known| known.name == name).map(|known| known.target)
}

/// What firmware of a host that can be booted from `boots_from` reports as it leaves the factory.
pub(crate) fn factory(boots_from: &[Target], has_secure_boot: bool) -> Report {
    let known = || BOOT_OPTIONS.iter().filter(move |known| boots_from.contains(&known.target));
    Report {
        attributes: attributes(),
        boot_options: known()
            .map(|known| BootOption {
                name: known.name.to_owned(),
                display_name: known.display_name.to_owned(),
                device_path: known.device_path.to_owned(),
                alias: Some(known.alias),
                enabled: true,
            })
            .collect(),
        boot_order: known().map(|known| known.name.to_owned()).collect(),
        secure_boot: has_secure_boot.then_some(SecureBoot {
            enabled: false,
            active: false,
            mode: SecureBootMode::User,
        }),
    }
}

/// What `before` was set to, where `factory` has the same: firmware that was updated keeps its settings. Each value is checked.
pub(crate) fn carried(mut factory: Report, before: &Report) -> Report {
    for attribute in factory.attributes.iter_mut().filter(|attribute| !attribute.read_only) {
        if let Some(before) = before.attribute(&attribute.name)
            && attribute.kind.check(&before.current).is_ok()
        {
            attribute.current = before.current.clone();
        }
    }
    for option in &mut factory.boot_options {
        if let Some(before) = before.boot_option(&option.name) {
            option.enabled = before.enabled;
        }
    }
    factory.boot_order = factory.ordered(&before.boot_order);
    if let (Some(secure), Some(before)) = (&mut factory.secure_boot, before.secure_boot) {
        *secure = before;
    }
    factory
}

/// A screen of the set-up.
struct Menu(&'static str);

impl Menu {
    fn setting(
        &self,
        name: &str,
        display_name: &str,
        help: &str,
        kind: Kind,
        value: Value,
        read_only: bool,
    ) -> Attribute {
        Attribute {
            name: name.to_owned(),
            display_name: display_name.to_owned(),
            help: help.to_owned(),
            menu_path: self.0.to_owned(),
            kind,
            read_only,
            current: value.clone(),
            default: value,
        }
    }

    fn switch(&self, name: &str, display_name: &str, help: &str, is_on: bool) -> Attribute {
        self.setting(name, display_name, help, Kind::Boolean, Value::Boolean(is_on), false)
    }

    fn number(&self, name: &str, display_name: &str, help: &str, upper: i64, value: i64) -> Attribute {
        let kind = Kind::Integer { lower: 0, upper, step: 1 };
        self.setting(name, display_name, help, kind, Value::Integer(value), false)
    }

    /// One of `choices`, as they are set and for people, the first of which is the factory's.
    fn choice(&self, name: &str, display_name: &str, help: &str, choices: &[(&str, &str)]) -> Attribute {
        let choice = |(name, display_name): &(&str, &str)| Choice {
            name: (*name).to_owned(),
            display_name: (*display_name).to_owned(),
        };
        let first = choices.first().map_or("", |(name, _)| *name).to_owned();
        let kind = Kind::Enumeration { choices: choices.iter().map(choice).collect() };
        self.setting(name, display_name, help, kind, Value::Text(first), false)
    }

    fn text(&self, name: &str, display_name: &str, help: &str, longest: u32) -> Attribute {
        let kind = Kind::Text { shortest: 0, longest };
        self.setting(name, display_name, help, kind, Value::Text(String::new()), false)
    }

    fn shown(&self, name: &str, display_name: &str, help: &str, value: &str) -> Attribute {
        let kind = Kind::Text { shortest: 0, longest: 32 };
        self.setting(name, display_name, help, kind, Value::Text(value.to_owned()), true)
    }
}

fn attributes() -> Vec<Attribute> {
    let mut out = machine();
    out.extend(boot());
    out.extend(rest());
    out
}

/// Of processors, memory and slots. They have no effect in the model.
fn machine() -> Vec<Attribute> {
    let (processor, memory, pcie) = (Menu("./Processor"), Menu("./Memory"), Menu("./Pcie"));
    vec![
        processor.switch("Smt", "Simultaneous multithreading", "Two threads for each core.", true),
        processor.switch(
            "Virtualization",
            "Virtualization",
            "Lets a hypervisor use the processor's extensions for virtual machines.",
            true,
        ),
        processor.switch(
            "IoVirtualization",
            "I/O virtualization",
            "Translates and checks the addresses that devices use (IOMMU).",
            true,
        ),
        processor.number(
            "CoresEnabled",
            "Cores for each processor",
            "How many cores of each processor are used; 0 is all of them.",
            32,
            0,
        ),
        processor.choice(
            "CStates",
            "Deepest C-state",
            "How deeply a core that has nothing to do may sleep.",
            &[("C6", "C6"), ("C1", "C1"), ("Disabled", "Disabled")],
        ),
        processor.switch("Turbo", "Turbo", "Lets cores run above their base frequency.", true),
        memory.choice(
            "NumaPerSocket",
            "NUMA nodes for each socket",
            "Into how many nodes the memory of a socket is divided.",
            &[("Nps1", "One"), ("Nps2", "Two"), ("Nps4", "Four")],
        ),
        memory.choice(
            "MemoryInterleaving",
            "Interleaving",
            "Over what consecutive addresses are spread.",
            &[("Auto", "Automatic"), ("Channel", "Channels"), ("Disabled", "Nothing")],
        ),
        memory.switch("PatrolScrub", "Patrol scrub", "Looks for correctable errors in the background.", true),
        pcie.switch("SrIov", "SR-IOV", "Lets a device show virtual functions.", true),
        pcie.choice(
            "Aspm",
            "Active state power management",
            "How deeply an idle link may sleep.",
            &[("Disabled", "Disabled"), ("L1", "L1"), ("L0sL1", "L0s and L1")],
        ),
        pcie.switch(
            "MmioAbove4G",
            "MMIO above 4 GiB",
            "Lets devices have memory windows above 4 GiB of addresses.",
            true,
        ),
        pcie.choice(
            "Slot1Bifurcation",
            "Bifurcation of slot 1",
            "How the lanes of slot 1 are divided.",
            &[("X16", "x16"), ("X8X8", "x8 x8"), ("X4X4X4X4", "x4 x4 x4 x4")],
        ),
    ]
}

/// Of booting and the serial port. Some have an effect in the model: their names are constants.
fn boot() -> Vec<Attribute> {
    let (boot, network, serial) = (Menu("./Boot"), Menu("./Boot/Network"), Menu("./SerialPort"));
    vec![
        boot.choice(
            "BootMode",
            "Boot mode",
            "How operating systems are begun.",
            &[("Uefi", "UEFI"), ("Legacy", "As a PC BIOS does")],
        ),
        boot.switch(QUIET_BOOT, "Quiet boot", "Says no more than its name on the serial port.", false),
        boot.number(
            BOOT_TIMEOUT,
            "Time to enter the set-up, s",
            "How long a boot waits for somebody who wants to enter the set-up.",
            60,
            0,
        ),
        boot.number(
            "PxeRetries",
            "PXE retries",
            "How often booting from the network is tried again before the next boot option.",
            10,
            3,
        ),
        network.switch("NetworkStack", "Network stack", "Lets the firmware use the network.", true),
        network.switch("Ipv4Pxe", "PXE over IPv4", "Boots from the network over IPv4.", true),
        network.switch("Ipv6Pxe", "PXE over IPv6", "Boots from the network over IPv6.", false),
        network.switch("HttpBoot", "HTTP boot", "Boots from the network by HTTP.", true),
        serial.switch(
            SERIAL_REDIRECTION,
            "Serial redirection",
            "Shows on the serial port what the firmware says.",
            true,
        ),
        serial.choice(
            "SerialBaudRate",
            "Baud rate",
            "Bits a second on the serial port.",
            &[
                ("115200", "115200"),
                ("57600", "57600"),
                ("38400", "38400"),
                ("19200", "19200"),
                ("9600", "9600"),
            ],
        ),
    ]
}

/// Of power, security, and what is shown only. They have no effect in the model.
fn rest() -> Vec<Attribute> {
    let (power, security, information) = (Menu("./Power"), Menu("./Security"), Menu("./Information"));
    vec![
        power.choice(
            "PowerProfile",
            "Power profile",
            "Whether performance or power counts more.",
            &[("Balanced", "Balanced"), ("Performance", "Performance"), ("Efficiency", "Efficiency")],
        ),
        power.choice(
            "RestoreOnPowerLoss",
            "After a loss of power",
            "What the host does when power is back and the controller leaves it to the firmware.",
            &[("Off", "Stays off"), ("Last", "Is as before"), ("On", "Is switched on")],
        ),
        security.switch("Tpm", "TPM", "Shows the trusted platform module to the operating system.", true),
        security.text("AssetTag", "Asset tag", "A text of the owner.", 64),
        information.shown("FirmwareVersion", "Version", "The version of this firmware.", VERSION),
        information.shown("FirmwareDate", "Date", "When this firmware was made.", DATE),
    ]
}
