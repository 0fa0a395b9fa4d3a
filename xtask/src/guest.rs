//! `cargo xtask guest`: a tiny machine to be the simulated board's real host.
//!
//! Debian's kernel for virtual machines and its static busybox, unpacked and not installed (`targets/packages.toml` locks them). It boots to a shell on the serial
//! port and on the screen in about two seconds under translation, and shuts down when its power button is pressed.
//!
//! And one that talks to its controller by itself: with Debian's kernel for all machines, whose drivers of IPMI and of USB the other one has not, and the ipmitool of this
//! machine with the libraries that takes.
//!
//! And one that is worked at in a browser: with a login at its serial port, drivers of a USB pointer and of a CD, and itself on a disc that it boots from.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cpio::{Archive, FILE, FOLDER, PROGRAM};
use crate::modules::Tree;
use crate::packages::{Store, find};
use crate::{disc, need, sh};

/// Only these and what they need, for a quick boot: the ACPI power button, and the device by which programs see it.
const MODULES: [&str; 2] = ["evdev", "button"];

/// The drivers of IPMI, and those of USB ports and of what has keys or places there, which the kernel for virtual machines has not.
const IPMI_MODULES: [&str; 6] =
    ["ipmi_msghandler", "ipmi_devintf", "ipmi_si", "xhci-pci", "usbhid", "hid-generic"];

/// USB ports and what has keys or places there, and CD drives: these the kernel for virtual machines has not, either.
const LOGIN_MODULES: [&str; 5] = ["xhci-pci", "usbhid", "hid-generic", "ahci", "sr_mod"];

/// The guest is ready only once somebody listens to the button: a press before would be lost. What is at its serial port comes after.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin TERM=dumb
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox --install -s /bin
hostname guest
for module in /lib/*.ko; do insmod $module; done
acpid -f -l /dev/null &
until ls -l /proc/$!/fd | grep -q /dev/input/; do sleep 0.1; done
echo "u-bmc guest: ready after $(cut -d' ' -f1 /proc/uptime) s${booted_from:+, booted from a $booted_from}" | tee /dev/tty0
while :; do setsid sh -c 'exec sh </dev/tty1 >/dev/tty1 2>&1'; done &
"#;

/// A shell at the serial port, which asks nobody who they are.
const SHELL: &str = "setsid cttyhack sh";

/// One that is had by a name and a password.
const LOGIN: &str = "getty -L 115200 ttyS0 dumb";

/// Who can log in: root, whose password is `guest`. Nobody reaches this machine but by the controller that it is the host of.
const ACCOUNT: &str = "root:$6$ubmcguest$y7BBRzfJ.w5pwyoPFOGmrmgl9fsLDjocEiZVA7dFRlVcjLdqJMRYQ9L8fQh6tH5j6sYwSiVkBxprScB5uSL2r/:0:0:root:/:/bin/sh\n";

/// How the disc boots: as QEMU does with kernel and initial file system, and the system is told where it is from by a variable of its first program.
const BOOTS: &str = "\
default guest
label guest
  kernel linux
  append initrd=initrd console=tty0 console=ttyS0,115200 panic=0 quiet booted_from=disc
";

/// Bytes on the disc that no boot reads: while they are read there is time for the one who serves the disc to go.
const REST: usize = 16 << 20;

/// What acpid runs when the power button is pressed.
const PRESSED: &str = r#"#!/bin/sh
echo "u-bmc guest: power button" > /dev/console
poweroff -f
"#;

/// The disc, in its folder.
const DISC: &str = "disc.iso";

/// Where the guest is. Always below the workspace, wherever cargo builds: board files name it relative to themselves.
pub(crate) fn directory() -> PathBuf {
    sh::root().join("target/guest")
}

/// Where the one is that talks to its controller.
pub(crate) fn ipmi_directory() -> PathBuf {
    sh::root().join("target/guest-ipmi")
}

/// Where the one is that is worked at in a browser, and `disc.iso` with it.
pub(crate) fn login_directory() -> PathBuf {
    sh::root().join("target/guest-login")
}

/// How a guest is made.
#[derive(Debug)]
struct Guest<'a> {
    /// The folder to make it in.
    folder: PathBuf,
    /// Of the packages whose kernel it has.
    role: &'a str,
    /// The modules of that, which bring what they need.
    modules: Vec<&'a str>,
    /// Programs of this machine.
    programs: Vec<PathBuf>,
    /// What runs at its serial port, and again when it ends.
    serial: &'a str,
    /// Whether it is on a disc as well.
    has_disc: bool,
}

/// Makes the guest unless it is there and made as described here.
pub(crate) fn build() -> Result<()> {
    Guest {
        folder: directory(),
        role: "guest",
        modules: MODULES.to_vec(),
        programs: Vec::new(),
        serial: SHELL,
        has_disc: false,
    }
    .make()
}

/// The same of the one that talks to its controller, once ipmitool is on this machine.
pub(crate) fn build_ipmi() -> Result<()> {
    need::tools(&[need::IPMITOOL])?;
    let program = sh::located(need::IPMITOOL.program).context("ipmitool is not installed")?;
    Guest {
        folder: ipmi_directory(),
        role: "guest-ipmi",
        modules: [&MODULES[..], &IPMI_MODULES].concat(),
        programs: vec![program],
        serial: SHELL,
        has_disc: false,
    }
    .make()
}

/// The same of the one that is worked at in a browser.
pub(crate) fn build_login() -> Result<()> {
    Guest {
        folder: login_directory(),
        role: "guest-ipmi",
        modules: [&MODULES[..], &LOGIN_MODULES].concat(),
        programs: Vec::new(),
        serial: LOGIN,
        has_disc: true,
    }
    .make()
}

impl Guest<'_> {
    /// Makes it unless it is there and made as described here.
    fn make(&self) -> Result<()> {
        let mut store = Store::open()?;
        let (folder, role) = (self.folder.as_path(), self.role);
        let stamp = folder.join("made-of");
        let mut packages: Vec<String> = Vec::new();
        for role in ["guest", role] {
            packages.extend(store.take(role)?.iter().map(|p| format!("{} {}", p.name, p.version)));
        }
        packages.dedup();
        let packages = packages.join(", ");
        let init = self.init();
        let (modules, programs) = (&self.modules, &self.programs);
        let mut wanted = format!("{packages}\n{modules:?}\n{programs:?}\n{init}\n{PRESSED}\n{ACCOUNT}");
        let mut files = vec!["vmlinuz", "initrd"];
        if self.has_disc {
            wanted.push_str(&format!("{BOOTS}{REST}\n"));
            files.push(DISC);
        }
        if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted)
            && files.iter().all(|file| folder.join(file).is_file())
        {
            return Ok(());
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (tree, tools) = (store.tree(role)?, store.tree("guest")?);
        let vmlinuz = find(&tree.join("boot"), &|name| name.starts_with("vmlinuz-"))?;
        fs::copy(&vmlinuz, folder.join("vmlinuz")).context("cannot keep the kernel")?;
        let initrd = self.initrd(&tree, &tools)?;
        fs::write(folder.join("initrd"), initrd).context("cannot write the initial file system")?;
        if self.has_disc {
            self.disc()?;
        }
        fs::write(&stamp, wanted)?;
        sh::say(&format!("guest: {} from {packages}", folder.display()));
        Ok(())
    }

    /// Its first program.
    fn init(&self) -> String {
        format!("{INIT}while :; do {}; done\n", self.serial)
    }

    /// Writes a disc that boots to what is in the folder.
    fn disc(&self) -> Result<()> {
        let root = self.folder.join("disc");
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        for (file, name) in [("vmlinuz", "linux"), ("initrd", "initrd")] {
            fs::copy(self.folder.join(file), root.join(name))
                .with_context(|| format!("cannot copy {file}"))?;
        }
        let rest: Vec<u8> = (0..=250).cycle().take(REST).collect();
        fs::write(root.join("rest"), rest)?;
        disc::write(&root, "GUEST", BOOTS, &self.folder.join(DISC))?;
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))
    }

    /// The initial file system, not compressed: unpacking costs more under translation than reading.
    fn initrd(&self, tree: &Path, tools: &Path) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        let mut folders: BTreeSet<String> = BTreeSet::new();
        for folder in ["bin", "dev", "etc", "etc/acpi", "etc/acpi/PWRF", "lib", "proc", "sys", "tmp"] {
            archive.add(folder, FOLDER, &[])?;
            folders.insert(folder.to_owned());
        }
        archive.add("init", PROGRAM, self.init().as_bytes())?;
        // The name is the event as acpid writes it.
        archive.add("etc/acpi/PWRF/00000080", PROGRAM, PRESSED.as_bytes())?;
        archive.add("etc/passwd", FILE, ACCOUNT.as_bytes())?;
        let busybox = find(tools, &|name| name == "busybox")?;
        archive.add("bin/busybox", PROGRAM, &fs::read(busybox)?)?;
        let names: Vec<String> = self.modules.iter().map(|name| (*name).to_owned()).collect();
        // In the order in which they are loaded, with what they need.
        for (number, module) in Tree::open(tree)?.resolve(&names, &[])?.iter().enumerate() {
            archive.add(&format!("lib/{number:02}-{}", module.file), FILE, &module.bytes)?;
        }
        for program in &self.programs {
            let name = program.file_name().context("a program without a name")?.to_string_lossy();
            archive.add(&format!("bin/{name}"), PROGRAM, &fs::read(program)?)?;
            // Each at the path where its loader looks for it.
            for library in libraries(program)? {
                let path = library.to_string_lossy().trim_start_matches('/').to_owned();
                let mut folder = String::new();
                let (above, _) = path.rsplit_once('/').unwrap_or_default();
                for part in above.split('/') {
                    folder = if folder.is_empty() { part.to_owned() } else { format!("{folder}/{part}") };
                    if folders.insert(folder.clone()) {
                        archive.add(&folder, FOLDER, &[])?;
                    }
                }
                if folders.insert(path.clone()) {
                    archive.add(&path, PROGRAM, &fs::read(&library)?)?;
                }
            }
        }
        archive.finish()
    }
}

/// The libraries of a program of this machine, and its loader.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = sh::output(sh::command("ldd").arg(program))?;
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(said.lines().filter_map(path).collect())
}
