//! The drives of the board's hosts, by what leads to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use board::{Board, HalKind, Screen};
use hal::MediaDrive;
use hal_linux::gadget::{LunDrive, lun};
use hal_sim::SimDrive;

/// Where the kernel has the gadgets.
const CONFIGFS: &str = "/sys/kernel/config";
/// The function of the hosts' gadgets that has the drives.
const FUNCTION: &str = "media";

/// How a drive is reached, and what it can have.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) drive: Arc<dyn MediaDrive>,
    /// What speaks NBD to it; `None` where it takes files alone.
    pub(crate) socket: Option<PathBuf>,
}

/// The ports of the board's drives, in their order.
///
/// # Errors
/// What the system says when there is no thread for one.
pub(crate) fn ports(board: &Board, run_dir: &Path, folder: &Path) -> std::io::Result<Vec<Port>> {
    let port = |(nth, slot): (usize, &board::MediaSlot)| match board.hal {
        HalKind::Sim => Ok(Port {
            drive: Arc::new(SimDrive::new(&run_dir.join(hal_sim::SOCKET), slot.id.as_str(), crate::NAME)),
            socket: Some(folder.join(format!("{}.nbd", slot.id.as_str()))),
        }),
        HalKind::Linux => {
            let before = board.media.iter().take(nth).filter(|other| other.host == slot.host).count();
            let gadget = Screen::gadget(&slot.host);
            let lun = lun(Path::new(CONFIGFS), &gadget, FUNCTION, u8::try_from(before).unwrap_or(u8::MAX));
            Ok(Port { drive: Arc::new(LunDrive::new(lun)?), socket: None })
        }
    };
    board.media.iter().enumerate().map(port).collect()
}
