//! A QEMU guest as the host: one process from power-good to power-off.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use board::{GuestFirmware, MediaKind, Qemu};
use boot_override::Target;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::boots::{Boots, Device};
use crate::drives::{Drive, Medium};
use crate::error::Error;
use crate::uefi::{self, Uefi};

/// How long QEMU may take to call its monitor's socket. It does so before the guest runs.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(20);

/// How long its monitor may take for a command.
const COMMAND_WITHIN: Duration = Duration::from_secs(5);
/// How long a guest's emulator waits for the medium's daemon to come back, in seconds. Reads of the guest wait for so long.
const RECONNECT_S: u32 = 10;
/// What waits for a guest that does not read its serial port; more is lost, as on a wire.
const TYPED_MAX: usize = 64 * 1024;

/// The script that loads what an order names by a URI.
const SCRIPT: &str = "boot.ipxe";

/// What to tell the guest's task.
#[derive(Debug)]
pub(crate) enum Order {
    /// The ACPI power button.
    PowerButton,
    /// Reset.
    Reset,
    /// A non-maskable interrupt.
    Nmi,
    /// Text to its serial port.
    Typed(Vec<u8>),
    /// Whether the guest ends when it restarts itself: its firmware then has to be told what to boot from.
    RebootEnds(bool),
    /// Another medium in a drive, or none.
    Medium { drive: String, medium: Option<Medium>, done: oneshot::Sender<Result<(), String>> },
    /// Cut its power.
    Kill,
}

/// What the guest's task tells.
#[derive(Debug)]
pub(crate) enum GuestEvent {
    /// Text from its serial port.
    Serial(Vec<u8>),
    /// Its process id.
    Started(u32),
    /// Its operating system opened the tray of a drive.
    Ejected { drive: String },
    /// The process is gone, or never came.
    Exited {
        /// The guest restarts itself.
        rebooted: bool,
    },
}

/// Where and how a host's guests run.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    qemu: Qemu,
    host: String,
    run_dir: PathBuf,
    /// Its firmware, where that is UEFI.
    uefi: Option<Uefi>,
}

/// A running guest.
#[derive(Debug)]
pub(crate) struct Running {
    orders: mpsc::UnboundedSender<Order>,
    /// Its power is cut: whatever its task waits for is given up.
    killed: Arc<Notify>,
    task: JoinHandle<()>,
    /// Tells this guest's events from those of one before.
    pub(crate) generation: u64,
    /// The process, once it has started.
    pub(crate) pid: Option<u32>,
    /// What it was started to boot by.
    pub(crate) boots: Boots,
    /// It ends when it restarts itself.
    pub(crate) reboot_ends: bool,
}

impl Running {
    /// Gives an order; a guest that is gone needs none.
    pub(crate) fn order(&self, order: Order) {
        if matches!(order, Order::Kill) {
            self.killed.notify_one();
        }
        let _ = self.orders.send(order);
    }

    /// Something waits for its next boot, an order or wishes, or nothing does: with something it must not restart itself unseen.
    pub(crate) fn expect_boot(&mut self, is_awaited: bool) {
        let ends = is_awaited || self.boots.is_for_one_start();
        if ends != self.reboot_ends {
            self.reboot_ends = ends;
            self.order(Order::RebootEnds(ends));
        }
    }

    /// Waits until the process is gone.
    pub(crate) async fn wait(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "QEMU guest task failed");
        }
    }

    /// The task, for the next guest to wait for: two cannot have the same sockets.
    pub(crate) fn into_task(self) -> JoinHandle<()> {
        self.task
    }
}

impl Machine {
    /// Checks that what a guest needs is there, and ends one that an earlier twin left behind.
    pub(crate) fn new(qemu: &Qemu, host: &str, run_dir: &Path) -> Result<Self, Error> {
        let mut machine =
            Self { qemu: qemu.clone(), host: host.to_owned(), run_dir: run_dir.to_owned(), uefi: None };
        if !is_installed(&qemu.binary) {
            let what = format!("the program {}", qemu.binary.display());
            return Err(Error::Guest { what, remedy: "install the package qemu-system-x86" });
        }
        let needed = match &qemu.disk {
            Some(disk) => vec![disk.clone()],
            None => vec![machine.kernel(), machine.initrd()],
        };
        for file in needed {
            if !file.is_file() {
                let what = file.display().to_string();
                return Err(Error::Guest { what, remedy: "run `cargo xtask guest`" });
            }
        }
        if qemu.firmware == GuestFirmware::Uefi {
            let found = Uefi::find(Path::new(uefi::FOLDER), machine.file("vars"));
            let missing = || {
                let what = format!("OVMF in {} (OVMF_CODE_4M.fd and OVMF_VARS_4M.fd)", uefi::FOLDER);
                Error::Guest { what, remedy: "install the package ovmf, or set sim.qemu.firmware = \"bios\"" }
            };
            machine.uefi = Some(found.ok_or_else(missing)?);
        }
        machine.end_orphan();
        Ok(machine)
    }

    fn kernel(&self) -> PathBuf {
        self.qemu.guest.join("vmlinuz")
    }

    fn initrd(&self) -> PathBuf {
        self.qemu.guest.join("initrd")
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.run_dir.join(format!("guest-{}.{ending}", self.host))
    }

    /// A twin that was killed could not end its guest. Its successor does, by the pid file, and only if the process of
    /// that number really is this guest.
    fn end_orphan(&self) {
        let Ok(text) = std::fs::read_to_string(self.file("pid")) else { return };
        let Ok(number) = text.trim().parse::<i32>() else { return };
        let command = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let ours = self.file("qmp");
        let ours = ours.as_os_str().as_encoded_bytes();
        if !command.windows(ours.len()).any(|part| part == ours) {
            return;
        }
        if let Some(pid) = rustix::process::Pid::from_raw(number) {
            tracing::warn!(pid = number, host = %self.host, "killing QEMU guest left by earlier run");
            if let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
                tracing::warn!(%error, pid = number, "cannot kill QEMU guest");
            }
        }
    }

    /// QEMU's arguments. The q35 machine has the ACPI power button and PC firmware, or that of `uefi` as flash; without a disk the kernel is loaded directly.
    /// Screen and input are on the VNC socket; without SMM the firmware of the screen would not run, and it would stay black.
    fn arguments(&self, boots: &Boots, drives: &[Drive]) -> Vec<OsString> {
        let socket = |ending: &str| self.file(ending).into_os_string();
        let join = |parts: &[&std::ffi::OsStr]| parts.iter().copied().collect::<OsString>();
        let mut arguments: Vec<OsString> = [
            "-nodefaults",
            "-no-user-config",
            "-machine",
            "q35,usb=off,vmport=off",
            "-accel",
            self.qemu.accel.as_str(),
            "-cpu",
            // Without a register that KVM in a virtual machine may offer and then not let be set, by which QEMU ends.
            "max,arch-capabilities=off",
            "-smp",
            "1",
            "-display",
            "none",
            "-vga",
            "std",
            "-chardev",
            "stdio,id=serial,signal=off",
            "-serial",
            "chardev:serial",
        ]
        .into_iter()
        .map(OsString::from)
        .collect();
        arguments.extend(["-name".into(), OsString::from(&self.host)]);
        arguments.extend(["-m".into(), OsString::from(format!("{}M", self.qemu.memory_mib))]);
        arguments.extend(["-pidfile".into(), socket("pid")]);
        let qmp = socket("qmp");
        arguments.extend(["-qmp".into(), join(&["unix:".as_ref(), &qmp, ",server=off".as_ref()])]);
        let vnc = socket("vnc");
        arguments.extend(["-vnc".into(), join(&["unix:".as_ref(), &vnc])]);
        // The guest's KCS device, whose other end is ipmisrv's; QEMU calls until that is there.
        let ipmi = escaped(self.run_dir.join("ipmisrv").join(&self.host).as_os_str());
        let chardev = join(&["socket,id=ipmi,reconnect=1,path=".as_ref(), &ipmi]);
        arguments.extend(["-chardev".into(), chardev]);
        for device in ["ipmi-bmc-extern,id=bmc,chardev=ipmi", "isa-ipmi-kcs,bmc=bmc"] {
            arguments.extend(["-device".into(), device.into()]);
        }
        if let Some(uefi) = &self.uefi {
            for (before, file) in [
                ("if=pflash,unit=0,format=raw,readonly=on,file=", uefi.code()),
                ("if=pflash,unit=1,format=raw,file=", uefi.variables()),
            ] {
                arguments.extend(["-drive".into(), join(&[before.as_ref(), &escaped(file.as_os_str())])]);
            }
        }
        arguments.extend(self.boot_arguments(boots));
        for device in USB {
            arguments.extend(["-device".into(), device.into()]);
        }
        arguments.extend(drive_arguments(boots, drives));
        arguments
    }

    /// What the guest can boot from, and in which order its firmware tries that: what it was told first.
    fn boot_arguments(&self, boots: &Boots) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |name: &str, before: &str, file: Option<&OsStr>, after: &str| {
            let file = file.map(escaped).unwrap_or_default();
            let value = [OsStr::new(before), &file, OsStr::new(after)].into_iter().collect::<OsString>();
            arguments.extend([OsString::from(name), value]);
        };
        match &self.qemu.disk {
            Some(disk) => {
                add("-drive", "if=none,id=disk,format=raw,file=", Some(disk.as_os_str()), "");
                let index = boot_index(boots, Device::Disk);
                add("-device", &format!("ide-hd,bus=ide.0,drive=disk{index}"), None, "");
            }
            // The kernel would come before all else.
            None if !boots.loads_kernel() => {}
            None => {
                add("-kernel", "", Some(self.kernel().as_os_str()), "");
                add("-initrd", "", Some(self.initrd().as_os_str()), "");
                // On the screen and on the serial port, the latter for good. No reset after a panic: what stopped the guest is to be seen.
                add("-append", "console=tty0 console=ttyS0,115200 panic=0 quiet", None, "");
            }
        }
        if let Some(image) = &self.qemu.cdrom {
            let drive = "if=none,id=cd,media=cdrom,readonly=on,format=raw,file=";
            add("-drive", drive, Some(image.as_os_str()), "");
            let index = boot_index(boots, Device::FixedCd);
            add("-device", &format!("ide-cd,bus=ide.1,drive=cd{index}"), None, "");
        }
        // The one that the tables of its firmware name.
        let mac = twin::mac_address(&self.host);
        match &self.qemu.tftp {
            Some(served) => {
                // What is to be loaded by HTTP is named in a script, which the network card's firmware loads by TFTP.
                let (served, file) = match uri(boots) {
                    Some(_) => (self.file("boot"), OsString::from(SCRIPT)),
                    None => (served.clone(), self.qemu.boot_file.clone().into_os_string()),
                };
                let file: OsString = [OsStr::new(",bootfile="), &escaped(&file)].into_iter().collect();
                add("-netdev", "user,id=net,tftp=", Some(served.as_os_str()), &file.to_string_lossy());
                let index = boot_index(boots, Device::Network);
                add("-device", &format!("virtio-net-pci,netdev=net,mac={mac}{index}"), None, "");
            }
            None => add("-nic", "none", None, ""),
        }
        if boots.order.is_some() {
            // What has no place is not tried after all that has one.
            add("-boot", "strict=on", None, "");
        }
        if boots.is_for_one_start() {
            add("-action", "reboot=shutdown", None, "");
        }
        arguments
    }

    /// Writes the script that loads what an order names by a URI.
    fn write_script(&self, boots: &Boots) -> io::Result<()> {
        let Some(uri) = uri(boots) else { return Ok(()) };
        let folder = self.file("boot");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(SCRIPT), format!("#!ipxe\ndhcp\nchain {uri}\n"))
    }

    /// Starts a guest once `before` is gone. What it does arrives as `wrap(generation, event)`.
    pub(crate) fn start<E: Send + 'static>(
        &self,
        before: Option<JoinHandle<()>>,
        boots: Boots,
        drives: Vec<Drive>,
        generation: u64,
        events: mpsc::Sender<E>,
        wrap: impl Fn(u64, GuestEvent) -> E + Send + Sync + 'static,
    ) -> Running {
        let (orders, received) = mpsc::unbounded_channel();
        let killed = Arc::<Notify>::default();
        let cut_off = Arc::clone(&killed);
        let machine = self.clone();
        let by = boots.clone();
        let task = tokio::spawn(async move {
            if let Some(before) = before
                && let Err(error) = before.await
            {
                tracing::error!(%error, "QEMU guest task failed");
            }
            let teller = Teller { events, generation, wrap };
            let mut rebooted = false;
            match machine.play(&by, drives, (received, &cut_off), &teller).await {
                Ok((status, reboots)) => {
                    rebooted = reboots;
                    tracing::info!(host = %machine.host, %status, rebooted, "guest ended");
                }
                Err(error) => {
                    tracing::error!(host = %machine.host, %error, "guest failed");
                    let text = format!("\r\n[twin: the guest failed: {error}]\r\n");
                    teller.tell(GuestEvent::Serial(text.into())).await;
                }
            }
            teller.tell(GuestEvent::Exited { rebooted }).await;
        });
        let reboot_ends = boots.is_for_one_start();
        Running { orders, killed, task, generation, pid: None, boots, reboot_ends }
    }

    /// One guest's life: how its process ended, and whether because the guest restarts itself.
    async fn play<E: Send, W: Fn(u64, GuestEvent) -> E + Send + Sync>(
        &self,
        boots: &Boots,
        drives: Vec<Drive>,
        (mut orders, killed): (mpsc::UnboundedReceiver<Order>, &Notify),
        teller: &Teller<E, W>,
    ) -> io::Result<(ExitStatus, bool)> {
        self.write_script(boots)?;
        if let Some(uefi) = self.uefi.clone() {
            let setup = boots.setup();
            // Beside the loop, which also plays the lines: a medium that is busy takes its time to store a file.
            tokio::task::spawn_blocking(move || uefi.prepare(setup)).await??;
        }
        let socket = self.file("qmp");
        for stale in [&socket, &self.file("vnc"), &self.file("pid")] {
            match std::fs::remove_file(stale) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // QEMU calls us and not we it: when it has called, the monitor is there, with no polling for a socket.
        let listener = UnixListener::bind(&socket)?;
        let mut child = Command::new(&self.qemu.binary)
            .args(self.arguments(boots, &drives))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(pid) = child.id() {
            teller.tell(GuestEvent::Started(pid)).await;
        }
        let mut serial_in = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut serial_out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut complaints = BufReader::new(child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?).lines();
        let mut monitor = tokio::select! {
            monitor = Monitor::accept(&listener) => monitor?,
            status = child.wait() => {
                while let Ok(Some(line)) = complaints.next_line().await {
                    tracing::error!(host = %self.host, "qemu: {line}");
                }
                return status.map(|status| (status, false));
            }
        };
        let mut drives = GuestDrives::new(drives, boots);
        let problems = tokio::select! {
            problems = drives.begin(&mut monitor) => problems,
            () = killed.notified() => return cut(&mut child).await.map(|status| (status, false)),
        };
        for problem in problems {
            tracing::warn!(host = %self.host, problem, "guest starts without virtual medium");
        }
        let mut buffer = vec![0; 4096];
        let (mut has_serial, mut has_complaints, mut has_monitor) = (true, true, true);
        let mut rebooted = false;
        let mut is_shared = false;
        let mut typed: VecDeque<u8> = VecDeque::new();
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::PowerButton) => monitor.execute("system_powerdown").await,
                    Some(Order::Reset) => monitor.execute("system_reset").await,
                    Some(Order::Nmi) => monitor.execute("inject-nmi").await,
                    Some(Order::Typed(bytes)) => {
                        let room = TYPED_MAX.saturating_sub(typed.len());
                        typed.extend(bytes.iter().take(room));
                    }
                    Some(Order::RebootEnds(ends)) => {
                        let action = if ends { "shutdown" } else { "reset" };
                        monitor.execute_with("set-action", &json!({ "reboot": action })).await;
                    }
                    Some(Order::Medium { drive, medium, done }) => {
                        // An emulator that hangs with its medium does not keep anybody from cutting the power.
                        tokio::select! {
                            // Who asked may have given up.
                            changed = drives.change(&mut monitor, &drive, medium) => drop(done.send(changed)),
                            () = killed.notified() => return cut(&mut child).await.map(|status| (status, false)),
                        }
                    }
                    // No order will come any more, or this one: power is gone.
                    Some(Order::Kill) | None => return cut(&mut child).await.map(|status| (status, false)),
                },
                // Beside the orders: what the guest does not read keeps nobody from cutting its power.
                count = serial_in.write(typed.as_slices().0), if !typed.is_empty() => match count {
                    Ok(count) if count > 0 => drop(typed.drain(..count.min(typed.len()))),
                    failed => {
                        tracing::debug!(?failed, "the guest does not listen to its serial port");
                        typed.clear();
                    }
                },
                count = serial_out.read(&mut buffer), if has_serial => match count {
                    Ok(count) if count > 0 => {
                        teller.tell(GuestEvent::Serial(buffer.get(..count).unwrap_or_default().to_vec())).await;
                    }
                    _ => has_serial = false,
                },
                line = complaints.next_line(), if has_complaints => match line {
                    Ok(Some(line)) => tracing::warn!(host = %self.host, "qemu: {line}"),
                    _ => has_complaints = false,
                },
                line = monitor.next_line(), if has_monitor => match line {
                    Ok(Some(line)) => {
                        tracing::debug!(host = %self.host, "qmp: {line}");
                        rebooted |= is_reboot(&line);
                        if let Some(drive) = opened_tray(&line) {
                            teller.tell(GuestEvent::Ejected { drive }).await;
                        }
                        if is_viewer_gone(&line) {
                            monitor.execute_with("input-send-event", &buttons_up()).await;
                        }
                        // It answers when all of it is there, its screen's socket too.
                        if !is_shared {
                            is_shared = true;
                            if let Err(error) = share(&self.file("vnc")) {
                                tracing::debug!(host = %self.host, %error, "the screen stays its maker's");
                            }
                        }
                    }
                    _ => has_monitor = false,
                },
                status = child.wait(), if !has_serial => {
                    // What it said last says why.
                    while let (true, Ok(Some(line))) = (has_monitor, monitor.next_line().await) {
                        rebooted |= is_reboot(&line);
                    }
                    return status.map(|status| (status, rebooted));
                }
            }
        }
    }
}

/// Before the id of a drive, in the names of its device.
const DEVICE: &str = "medium-";

/// The USB ports, of which each stick takes one, and a pointer that has places. A guest that asks it for reports has its pointer where the viewer's is: QEMU's
/// VNC server sends places while some device takes them, and ways to the PS/2 mouse of the machine else, for firmware and for systems without USB.
const USB: [&str; 2] = ["qemu-xhci,id=xhci,p2=15,p3=15", "usb-tablet,id=tablet,bus=xhci.0"];

/// The drives whose medium comes from elsewhere. A CD's is there always; a stick's comes and goes with its medium.
fn drive_arguments(boots: &Boots, drives: &[Drive]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |name: &str, value: String| arguments.extend([name.into(), value.into()]);
    for (nth, drive) in drives.iter().filter(|drive| drive.kind == MediaKind::Cd).enumerate() {
        let index = boot_index(boots, Device::Cd(nth));
        // The fixed ones are on the first two ports.
        add("-device", format!("ide-cd,bus=ide.{},id={DEVICE}{}{index}", nth + 2, drive.id));
    }
    if drives.iter().any(|drive| drive.medium.is_some()) {
        // Not before its media are there.
        arguments.push("-S".into());
    }
    arguments
}

/// What a device's argument has of its place in the order in which firmware tries what there is: nothing for one that is not tried.
fn boot_index(boots: &Boots, device: Device) -> String {
    boots.index(device).map_or_else(String::new, |index| format!(",bootindex={index}"))
}

/// What is to be loaded by HTTP, where firmware was told a URI.
fn uri(boots: &Boots) -> Option<&str> {
    let told = boots.told.as_ref().filter(|order| order.target == Target::UefiHttp)?;
    Some(told.argument.as_str()).filter(|uri| !uri.is_empty())
}

/// The drives of a running guest whose medium comes from elsewhere.
struct GuestDrives {
    drives: Vec<GuestDrive>,
    boots: Boots,
    /// Media there were, as no two have the same name.
    media: u64,
}

struct GuestDrive {
    drive: Drive,
    /// Among those of its kind.
    nth: usize,
    node: Option<String>,
}

impl GuestDrives {
    fn new(drives: Vec<Drive>, boots: &Boots) -> Self {
        let mut counts = [0, 0];
        let numbered = |drive: Drive| {
            let [cds, sticks] = &mut counts;
            let count = if drive.kind == MediaKind::Cd { cds } else { sticks };
            let nth = *count;
            *count += 1;
            GuestDrive { drive, nth, node: None }
        };
        Self { drives: drives.into_iter().map(numbered).collect(), boots: boots.clone(), media: 0 }
    }

    /// Puts in what is in the drives of a guest that has not begun, and lets it begin, with them or without. What went wrong, for people.
    async fn begin(&mut self, monitor: &mut Monitor) -> Vec<String> {
        let inserted = self
            .drives
            .iter()
            .filter_map(|drive| Some((drive.drive.id.clone(), drive.drive.medium.clone()?)));
        let inserted: Vec<(String, Medium)> = inserted.collect();
        let mut problems = Vec::new();
        if inserted.is_empty() {
            return problems;
        }
        for (id, medium) in inserted {
            problems.extend(self.change(monitor, &id, Some(medium)).await.err());
        }
        if self.drives.iter().any(|drive| drive.node.is_some() && drive.drive.kind == MediaKind::Usb) {
            // Firmware learns by a reset what there is to boot from, and that must not end the guest.
            monitor.execute_with("set-action", &json!({ "reboot": "reset" })).await;
            monitor.execute("system_reset").await;
            if self.boots.is_for_one_start() {
                monitor.execute_with("set-action", &json!({ "reboot": "shutdown" })).await;
            }
        }
        monitor.execute("cont").await;
        problems
    }

    async fn change(
        &mut self,
        monitor: &mut Monitor,
        id: &str,
        medium: Option<Medium>,
    ) -> Result<(), String> {
        let found = self.drives.iter_mut().find(|drive| drive.drive.id == id);
        let Some(of) = found else { return Err("the guest has no such drive".to_owned()) };
        let device = format!("{DEVICE}{id}");
        let is_cd = of.drive.kind == MediaKind::Cd;
        if is_cd {
            monitor.ask("blockdev-open-tray", &json!({ "id": device, "force": true })).await?;
            monitor.ask("blockdev-remove-medium", &json!({ "id": device })).await?;
        } else if of.node.is_some() {
            monitor.ask("device_del", &json!({ "id": device })).await?;
        }
        if let Some(node) = of.node.take() {
            // A stick lets go of it a moment later. One that is left costs a connection.
            for _ in 0..20 {
                if monitor.ask("blockdev-del", &json!({ "node-name": node })).await.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let mut inserted = Ok(());
        if let Some(medium) = medium {
            self.media += 1;
            let node = format!("{DEVICE}{id}-{}", self.media);
            let block = json!({
                "driver": "nbd",
                "node-name": node,
                "server": { "type": "unix", "path": medium.socket },
                "read-only": medium.is_read_only,
                // A daemon that is started anew is no I/O error.
                "reconnect-delay": RECONNECT_S,
            });
            inserted = monitor.ask("blockdev-add", &block).await;
            if inserted.is_ok() {
                inserted = if is_cd {
                    monitor.ask("blockdev-insert-medium", &json!({ "id": device, "node-name": node })).await
                } else {
                    let mut stick = json!({
                        "driver": "usb-storage", "id": device, "bus": "xhci.0", "drive": node, "removable": true,
                    });
                    // One that is not tried has no place, and not none.
                    if let (Some(stick), Some(index)) =
                        (stick.as_object_mut(), self.boots.index(Device::Stick(of.nth)))
                    {
                        stick.insert("bootindex".to_owned(), json!(index));
                    }
                    monitor.ask("device_add", &stick).await
                };
                if inserted.is_ok() {
                    of.node = Some(node);
                } else {
                    // It is not in use.
                    let _ = monitor.ask("blockdev-del", &json!({ "node-name": node })).await;
                }
            }
        }
        if is_cd {
            monitor.ask("blockdev-close-tray", &json!({ "id": device })).await?;
        }
        inserted
    }
}

/// Lets the group of the folder of sockets see a guest's screen and type there: who serves it may be another user.
fn share(socket: &Path) -> io::Result<()> {
    let folder = socket.parent().ok_or(io::ErrorKind::NotFound)?;
    let group = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(folder)?);
    std::os::unix::fs::chown(socket, None, Some(group))?;
    std::fs::set_permissions(socket, std::os::unix::fs::PermissionsExt::from_mode(0o660))
}

/// The way from one guest's task to the loop.
struct Teller<E, W> {
    events: mpsc::Sender<E>,
    generation: u64,
    wrap: W,
}

impl<E, W: Fn(u64, GuestEvent) -> E> Teller<E, W> {
    async fn tell(&self, event: GuestEvent) {
        // Fails only when the loop has ended.
        let _ = self.events.send((self.wrap)(self.generation, event)).await;
    }
}

async fn cut(child: &mut Child) -> io::Result<ExitStatus> {
    child.start_kill()?;
    child.wait().await
}

/// QEMU's machine protocol, as far as a power button needs it.
#[derive(Debug)]
struct Monitor {
    lines: tokio::io::Lines<BufReader<tokio::net::unix::OwnedReadHalf>>,
    to: tokio::net::unix::OwnedWriteHalf,
    /// What came while an answer was waited for.
    unread: VecDeque<String>,
    asked: u64,
}

impl Monitor {
    async fn accept(listener: &UnixListener) -> io::Result<Self> {
        let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "QEMU does not call its monitor");
        let (stream, _): (UnixStream, _) =
            tokio::time::timeout(MONITOR_TIMEOUT, listener.accept()).await.map_err(timed_out)??;
        let (from, to) = stream.into_split();
        let mut monitor = Self { lines: BufReader::new(from).lines(), to, unread: VecDeque::new(), asked: 0 };
        let greeting =
            tokio::time::timeout(MONITOR_TIMEOUT, monitor.next_line()).await.map_err(timed_out)??;
        let greeting: Option<Value> = greeting.and_then(|line| serde_json::from_str(&line).ok());
        if greeting.is_none_or(|greeting| greeting.get("QMP").is_none()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "QEMU's monitor does not greet"));
        }
        monitor.execute("qmp_capabilities").await;
        Ok(monitor)
    }

    /// Answers and events; they are for the log. What counts shows in the guest's behaviour.
    async fn next_line(&mut self) -> io::Result<Option<String>> {
        if let Some(line) = self.unread.pop_front() {
            return Ok(Some(line));
        }
        self.lines.next_line().await
    }

    /// A command whose answer counts.
    async fn ask(&mut self, command: &str, arguments: &Value) -> Result<(), String> {
        self.asked += 1;
        let id = self.asked;
        let mut line = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        line.push('\n');
        let asking = async {
            self.to.write_all(line.as_bytes()).await.map_err(|error| error.to_string())?;
            loop {
                let line = self.lines.next_line().await.map_err(|error| error.to_string())?;
                let Some(line) = line else { return Err("QEMU has ended".to_owned()) };
                let value: Value = serde_json::from_str(&line).unwrap_or_default();
                if value.get("id").and_then(Value::as_u64) == Some(id) {
                    return match value.pointer("/error/desc").and_then(Value::as_str) {
                        Some(wrong) => Err(format!("QEMU: {wrong}")),
                        None => Ok(()),
                    };
                }
                // A tray that moves now was moved by this.
                if opened_tray(&line).is_none() {
                    self.unread.push_back(line);
                }
            }
        };
        let late = || format!("QEMU does not answer to {command}");
        tokio::time::timeout(COMMAND_WITHIN, asking).await.unwrap_or_else(|_| Err(late()))
    }

    async fn execute(&mut self, command: &str) {
        self.execute_with(command, &json!({})).await;
    }

    async fn execute_with(&mut self, command: &str, arguments: &Value) {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        if let Err(error) = self.to.write_all(line.as_bytes()).await {
            tracing::warn!(%error, command, "cannot connect to QEMU monitor");
        }
    }
}

/// The drive whose tray the monitor says was opened.
fn opened_tray(line: &str) -> Option<String> {
    let event: Value = serde_json::from_str(line).ok()?;
    let is_open = event.pointer("/data/tray-open").and_then(Value::as_bool) == Some(true);
    let is_moved = event.get("event").and_then(Value::as_str) == Some("DEVICE_TRAY_MOVED");
    let device = event.pointer("/data/id").and_then(Value::as_str)?.strip_prefix(DEVICE)?;
    (is_open && is_moved).then(|| device.to_owned())
}

/// Whether the monitor says that a viewer of the screen has gone.
fn is_viewer_gone(line: &str) -> bool {
    let event: Value = serde_json::from_str(line).unwrap_or_default();
    event.get("event").and_then(Value::as_str) == Some("VNC_DISCONNECTED")
}

/// Every button of the pointer comes up. QEMU does that with the keys of a viewer that goes, and not with its buttons: one that was held down would be until
/// it is pressed again.
fn buttons_up() -> Value {
    let up = |button: &str| json!({ "type": "btn", "data": { "down": false, "button": button } });
    let events = ["left", "middle", "right", "side", "extra"].map(up);
    json!({ "events": events })
}

/// Whether the monitor says that the machine ends because the guest restarts itself.
fn is_reboot(line: &str) -> bool {
    let event: Value = serde_json::from_str(line).unwrap_or_default();
    let text = |pointer| event.pointer(pointer).and_then(Value::as_str);
    text("/event") == Some("SHUTDOWN") && text("/data/reason") == Some("guest-reset")
}

/// A file's name within an option, where a comma stands for itself only when there are two.
fn escaped(name: &OsStr) -> OsString {
    let doubled = |byte: &u8| std::iter::repeat_n(*byte, if *byte == b',' { 2 } else { 1 });
    OsString::from_vec(name.as_bytes().iter().flat_map(doubled).collect())
}

/// Whether the program exists, in `PATH` when its name has no slash.
fn is_installed(program: &Path) -> bool {
    if program.components().count() > 1 {
        return program.is_file();
    }
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_that_goes_leaves_no_button_down() {
        let gone = r#"{"timestamp":{"seconds":1,"microseconds":2},"event":"VNC_DISCONNECTED","data":{"server":{},"client":{}}}"#;
        assert!(is_viewer_gone(gone));
        for other in [r#"{"event":"VNC_CONNECTED","data":{}}"#, r#"{"return":{}}"#, "", "VNC_DISCONNECTED"] {
            assert!(!is_viewer_gone(other), "{other}");
        }
        let events = buttons_up();
        let events = events["events"].as_array().unwrap();
        assert!(events.iter().all(|event| event["type"] == "btn" && event["data"]["down"] == false));
        assert_eq!(events[0]["data"]["button"], "left");
    }

    #[test]
    fn uefi_firmware_is_flash_that_a_guest_reads_beside_flash_that_it_writes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
        let set = [("sim.host".to_owned(), "qemu".to_owned())];
        let qemu = board::Board::load(&path, &set).unwrap().sim.unwrap().qemu;
        let dir = tempfile::tempdir().unwrap();
        for file in ["OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"] {
            std::fs::write(dir.path().join(file), b"").unwrap();
        }
        let run_dir = PathBuf::from("/run/a,b");
        let mut machine = Machine { qemu, host: "system".to_owned(), run_dir, uefi: None };
        let flash = |machine: &Machine| {
            let arguments = machine.arguments(&Boots::default(), &[]).into_iter();
            let arguments = arguments.map(|argument| argument.into_string().unwrap());
            arguments.filter(|argument| argument.contains("if=pflash")).collect::<Vec<String>>()
        };
        assert_eq!(flash(&machine), Vec::<String>::new());
        machine.uefi = Uefi::find(dir.path(), machine.file("vars"));
        let code = dir.path().join("OVMF_CODE_4M.fd");
        assert_eq!(
            flash(&machine),
            [
                format!("if=pflash,unit=0,format=raw,readonly=on,file={}", code.display()),
                "if=pflash,unit=1,format=raw,file=/run/a,,b/guest-system.vars".to_owned(),
            ]
        );
    }

    #[tokio::test]
    async fn the_loop_goes_on_while_variables_are_made_ready() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
        let set = [("sim.host".to_owned(), "qemu".to_owned())];
        let mut qemu = board::Board::load(&path, &set).unwrap().sim.unwrap().qemu;
        qemu.binary = PathBuf::from("/nowhere/qemu");
        let dir = tempfile::tempdir().unwrap();
        let template = efivars::Volume::empty(64 * 1024, 32 * 1024).unwrap();
        std::fs::write(dir.path().join("OVMF_CODE.fd"), b"").unwrap();
        std::fs::write(dir.path().join("OVMF_VARS.fd"), template.bytes()).unwrap();
        let mut machine =
            Machine { qemu, host: "system".to_owned(), run_dir: dir.path().to_owned(), uefi: None };
        // Who reads it waits for its writer.
        let pipe = machine.file("vars");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        machine.uefi = Uefi::find(dir.path(), pipe.clone());
        let (opened, is_read) = oneshot::channel();
        let (go_on, told) = std::sync::mpsc::channel::<()>();
        let writer = std::thread::spawn(move || {
            let file = std::fs::File::options().write(true).open(pipe).unwrap();
            opened.send(()).unwrap();
            let told = told.recv_timeout(Duration::from_secs(60));
            drop(file);
            told
        });
        let (events, mut received) = mpsc::channel(16);
        let guest = machine.start(None, Boots::default(), Vec::new(), 1, events, |_, event| event);
        is_read.await.unwrap();
        go_on.send(()).expect("nothing else is done while they are read");
        assert_eq!(writer.join().unwrap(), Ok(()));
        guest.wait().await;
        // They are there, and there is no emulator.
        assert_eq!(std::fs::read(machine.file("vars")).unwrap(), template.bytes());
        assert!(matches!(received.recv().await, Some(GuestEvent::Serial(_))));
        assert!(matches!(received.recv().await, Some(GuestEvent::Exited { rebooted: false })));
    }

    #[test]
    fn each_guest_has_usb_ports_and_a_pointer_with_places_once_before_its_drives() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
        let set = [("sim.host".to_owned(), "qemu".to_owned())];
        let board = board::Board::load(&path, &set).unwrap();
        let all = crate::drives::Drives::new(&board, Path::new("/run/test")).of(0);
        assert_eq!(all.len(), 2, "a CD and a stick");
        let machine = Machine {
            qemu: board.sim.unwrap().qemu,
            host: "system".to_owned(),
            run_dir: PathBuf::from("/run/test"),
            uefi: None,
        };
        for drives in [Vec::new(), all] {
            let arguments: Vec<String> = machine
                .arguments(&Boots::default(), &drives)
                .into_iter()
                .map(|argument| argument.into_string().unwrap())
                .collect();
            let at = |start: &str| {
                let found: Vec<usize> =
                    (0..arguments.len()).filter(|at| arguments[*at].starts_with(start)).collect();
                found
            };
            let (ports, tablet) = (at("qemu-xhci,id=xhci"), at("usb-tablet,"));
            assert_eq!((ports.len(), tablet.len()), (1, 1), "{arguments:?}");
            // A device is made after the bus that it is on.
            assert!(ports < tablet && arguments[tablet[0]].contains("bus=xhci.0"), "{arguments:?}");
            assert_eq!(at("ide-cd,bus=ide.2").len(), drives.len() / 2);
        }
    }
}
