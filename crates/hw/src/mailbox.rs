//! How hosts are told what to boot from.

use std::path::Path;
use std::sync::Arc;

use board::{Board, HalKind, MediaKind, SimHost};
use boot_override::{Mode, Target};
use hal::BootMailbox;
use hal_sim::SimMailbox;

/// The way to a host's firmware.
#[derive(Debug, Clone)]
pub struct BootPath {
    /// Where orders are put.
    pub mailbox: Arc<dyn BootMailbox>,
    /// What the host can be told to boot from.
    pub targets: Vec<Target>,
    /// How its firmware can be told to boot. That it boots as it is set up can always be.
    pub modes: Vec<Mode>,
}

/// How the firmware of the hosts of this board can be told to boot. A guest's is SeaBIOS, a PC's BIOS: that its network card's program (iPXE) loads by HTTP
/// is no UEFI.
fn boot_modes(board: &Board) -> Vec<Mode> {
    match board.sim.as_ref().map(|sim| sim.host) {
        Some(SimHost::Scripted) => Mode::CHOICES.to_vec(),
        Some(SimHost::Qemu) => vec![Mode::Legacy],
        None => Vec::new(),
    }
}

/// What a guest's firmware can be made to boot from, with what it has.
fn guest_targets(board: &Board, qemu: &board::Qemu, host: &board::Host) -> Vec<Target> {
    let has = |kind| board.media.iter().any(|slot| slot.kind == kind && slot.host == host.id);
    let mut targets = vec![Target::None, Target::Hdd];
    if qemu.cdrom.is_some() || has(MediaKind::Cd) {
        targets.push(Target::Cd);
    }
    if has(MediaKind::Usb) {
        targets.push(Target::Usb);
    }
    if qemu.tftp.is_some() {
        targets.extend([Target::Pxe, Target::UefiHttp]);
    }
    targets
}

/// How each host of this board is told, in their order; `None` for one whose board names no way. `owner` is the daemon that puts orders there.
#[must_use]
pub fn boot_paths(board: &Board, run_dir: &Path, owner: &str) -> Vec<Option<BootPath>> {
    let Some(sim) = board.sim.as_ref().filter(|_| board.hal == HalKind::Sim) else {
        return board.hosts.iter().map(|_| None).collect();
    };
    let socket = run_dir.join(hal_sim::SOCKET);
    let path = |host: &board::Host| BootPath {
        mailbox: Arc::new(SimMailbox::new(&socket, host.id.as_str(), owner)),
        targets: match sim.host {
            SimHost::Scripted => Target::ALL.to_vec(),
            SimHost::Qemu => guest_targets(board, &sim.qemu, host),
        },
        modes: boot_modes(board),
    };
    board.hosts.iter().map(|host| Some(path(host))).collect()
}
