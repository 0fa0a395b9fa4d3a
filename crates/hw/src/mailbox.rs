//! How hosts are told what to boot from, and what is wished of the settings of their firmware.

use std::path::Path;
use std::sync::Arc;

use board::{Board, GuestFirmware, HalKind, MediaKind, SimHost};
use boot_override::{Mode, Target};
use hal::{BootMailbox, FirmwareMailbox};
use hal_sim::{SimFirmware, SimMailbox};
use host_mailbox::Layout;

use crate::SysRoot;
use crate::board_mailbox::BoardMailbox;

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

/// How the firmware of the hosts of this board can be told to boot. A guest's is either SeaBIOS, a PC's BIOS (that its network card's program, iPXE, loads by
/// HTTP is no UEFI), or OVMF, which is built without what boots as a BIOS does.
fn boot_modes(board: &Board) -> Vec<Mode> {
    match board.sim.as_ref().map(|sim| (sim.host, sim.qemu.firmware)) {
        Some((SimHost::Qemu, GuestFirmware::Bios)) => vec![Mode::Legacy],
        Some((SimHost::Qemu, GuestFirmware::Uefi)) => vec![Mode::Uefi],
        // Which of the two a real one has it alone knows.
        Some((SimHost::Scripted, _)) | None => Mode::CHOICES.to_vec(),
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
    if qemu.firmware == GuestFirmware::Uefi {
        // SeaBIOS has none.
        targets.push(Target::BiosSetup);
    }
    targets.push(Target::UefiBootNext);
    targets
}

/// What a host of this board can be told to boot from; empty where the board names no way to tell it. Firmware that reads a mailbox of the board knows all
/// there is (docs/host-mailbox.md).
#[must_use]
pub fn boot_targets(board: &Board, host: &board::Host) -> Vec<Target> {
    match board.sim.as_ref().filter(|_| board.hal == HalKind::Sim) {
        None if board.mailboxes.iter().any(|mailbox| mailbox.host == host.id) => Target::ALL.to_vec(),
        None => Vec::new(),
        Some(sim) => match sim.host {
            SimHost::Scripted => Target::ALL.to_vec(),
            SimHost::Qemu => guest_targets(board, &sim.qemu, host),
        },
    }
}

/// How each host of this board is told, in their order; `None` for one whose board names no way. `owner` is the daemon that puts orders there.
#[must_use]
pub fn boot_paths(board: &Board, run_dir: &Path, owner: &str) -> Vec<Option<BootPath>> {
    let socket = run_dir.join(hal_sim::SOCKET);
    let path = |host: &board::Host| -> Option<BootPath> {
        let mailbox: Arc<dyn BootMailbox> = if is_simulated(board) {
            Arc::new(SimMailbox::new(&socket, host.id.as_str(), owner))
        } else {
            shared(board, run_dir, host)?
        };
        Some(BootPath { mailbox, targets: boot_targets(board, host), modes: boot_modes(board) })
    };
    board.hosts.iter().map(path).collect()
}

/// The mailbox in an EEPROM that the board names for a host.
fn shared(board: &Board, run_dir: &Path, host: &board::Host) -> Option<Arc<BoardMailbox>> {
    let named = board.mailboxes.iter().find(|mailbox| mailbox.host == host.id)?;
    // The board file is held to these sizes.
    let layout = Layout::new(named.size)?;
    let root = SysRoot::of(board, run_dir);
    Some(BoardMailbox::open(root.path(), host.id.as_str(), &named.location, layout, named.size))
}

/// The mailbox of the settings of each host's firmware of this board, in their order; `None` for one whose board names none. `owner` is the daemon that
/// puts wishes there.
#[must_use]
pub fn firmware_paths(board: &Board, run_dir: &Path, owner: &str) -> Vec<Option<Arc<dyn FirmwareMailbox>>> {
    let socket = run_dir.join(hal_sim::SOCKET);
    let path = |host: &board::Host| -> Option<Arc<dyn FirmwareMailbox>> {
        if is_simulated(board) {
            return Some(Arc::new(SimFirmware::new(&socket, host.id.as_str(), owner)));
        }
        let mailbox: Arc<dyn FirmwareMailbox> = shared(board, run_dir, host)?;
        Some(mailbox)
    };
    board.hosts.iter().map(path).collect()
}

/// Whether the twin plays this board.
fn is_simulated(board: &Board) -> bool {
    board.hal == HalKind::Sim && board.sim.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(hal: &str, sim: &str) -> Board {
        let host = |id: &str| {
            format!(
                "[[hosts]]\nid = \"{id}\"\n[hosts.power]\nkind = \"buttons\"\npower = \"{id}-power\"\n\
                 power_good = \"{id}-good\"\n"
            )
        };
        let text = format!(
            "[board]\nname = \"b\"\nvendor = \"v\"\nmodel = \"m\"\nhal = \"{hal}\"\n{sim}{}{}",
            host("system"),
            host("host1")
        );
        board::parse(Path::new("board.toml"), &text, &[]).into_board().unwrap()
    }

    #[tokio::test]
    async fn each_host_of_a_simulated_board_has_a_mailbox_of_its_own_and_a_real_one_none() {
        let dir = tempfile::tempdir().unwrap();
        let real = board("linux", "");
        assert_eq!(firmware_paths(&real, dir.path(), "test").iter().flatten().count(), 0);
        assert!(boot_targets(&real, &real.hosts[0]).is_empty());
        // Unless its file names one.
        let place = "[[mailboxes]]\nhost = \"host1\"\npath = \"9-0050\"\n";
        let real = board("linux", place);
        let boot_paths = boot_paths(&real, dir.path(), "test");
        assert_eq!(
            (boot_paths[0].is_none(), &boot_paths[1].as_ref().unwrap().targets[..]),
            (true, &Target::ALL[..])
        );
        let paths = firmware_paths(&real, dir.path(), "test");
        assert!(paths[0].is_none() && paths[1].is_some());
        let simulated = board("sim", "[sim]\n");
        let paths = firmware_paths(&simulated, dir.path(), "test");
        assert_eq!(paths.len(), 2);
        for (path, host) in paths.iter().zip(["system", "host1"]) {
            // No twin runs here.
            let error = path.as_ref().unwrap().look(0).await.unwrap_err();
            assert_eq!(error.to_string(), format!("the firmware of host {host} is not reachable"));
        }
        assert_eq!(boot_targets(&simulated, &simulated.hosts[1]), Target::ALL);
        let guest = board("sim", "[sim]\nhost = \"qemu\"\n");
        assert!(!boot_targets(&guest, &guest.hosts[0]).contains(&Target::Cd));
        assert!(boot_targets(&guest, &guest.hosts[0]).contains(&Target::UefiBootNext));
        assert!(!boot_targets(&guest, &guest.hosts[0]).contains(&Target::BiosSetup));
        let modes = |board: &Board| super::boot_paths(board, dir.path(), "test")[1].clone().unwrap().modes;
        assert_eq!(modes(&guest), [Mode::Legacy]);
        let uefi = board("sim", "[sim]\nhost = \"qemu\"\n[sim.qemu]\nfirmware = \"uefi\"\n");
        assert!(boot_targets(&uefi, &uefi.hosts[0]).contains(&Target::BiosSetup));
        assert_eq!(modes(&uefi), [Mode::Uefi]);
    }
}
