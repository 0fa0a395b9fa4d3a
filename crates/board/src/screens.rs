//! `[[screens]]`: screens of hosts, with their keyboards and pointers.

use crate::reader::Table;
use crate::types::{Host, Id, Screen};

/// Screens on one board: one for each host.
const SCREENS_MAX: usize = 16;

/// Walks `[[screens]]`. `None` only together with a fault.
pub(crate) fn walk(root: &mut Table<'_>, hosts: &[Host], is_sim: bool) -> Option<Vec<Screen>> {
    let mut known: Vec<Screen> = Vec::new();
    let screens = root.maybe_tables("screens", "Screens of hosts, one for each. Simulated hosts have theirs without.", SCREENS_MAX, |t| {
        let host = t.name("host", "The host whose screen it is; the screen has its id.");
        let video = t.path("video", "The device that captures it, for example /dev/video0.", None);
        let usb = t.maybe_text(
            "usb",
            "The USB device controller at the host's end, by its name in /sys/class/udc: keyboard and pointer are there. Without one the screen is only looked at.",
        );
        if t.describing() {
            return None;
        }
        if is_sim {
            let message = "[[screens]] is for boards whose board.hal is \"linux\": simulated hosts have theirs without";
            t.fault(t.place("host"), message.to_owned());
        }
        let host = host?;
        let Some(found) = hosts.iter().find(|known| known.id.as_str() == host.as_str()) else {
            t.unknown("host", host.as_str(), "host", hosts.iter().map(|known| known.id.as_str()));
            return None;
        };
        let screen = Screen { host: found.id.clone(), video, usb };
        if known.iter().any(|other| other.host == screen.host) {
            t.fault(t.place("host"), format!("two screens are of the host {:?}", host.as_str()));
        }
        if !screen.video.as_os_str().is_empty() && !screen.video.starts_with("/dev") {
            t.fault(t.place("video"), format!("video device {:?} must be a path under /dev/", screen.video));
        }
        if known.iter().any(|other| other.video == screen.video) {
            t.fault(t.place("video"), format!("two screens are captured by {:?}", screen.video));
        }
        if let Some(usb) = &screen.usb {
            if usb.contains('/') || usb.starts_with('.') {
                t.fault(t.place("usb"), format!("usb = {usb:?} must be a name of /sys/class/udc, such as \"1e6a0000.usb-vhub:p1\""));
            }
            if known.iter().any(|other| other.usb.as_ref() == Some(usb)) {
                t.fault(t.place("usb"), format!("two hosts are at the USB device controller {usb:?}"));
            }
        }
        known.push(screen.clone());
        Some(screen)
    });
    screens.into_iter().collect()
}

impl Screen {
    /// The USB gadget that its keyboard and pointer are functions of.
    #[must_use]
    pub fn gadget(host: &Id) -> String {
        format!("u-bmc-{host}")
    }
}
