//! `[[consoles]]`: serial ports of hosts.

use crate::reader::Table;
use crate::types::{Console, FlowControl, Host, Id, Parity};

/// Consoles on one board: one for each host.
const CONSOLES_MAX: usize = 16;

/// Walks `[[consoles]]`. `None` only together with a fault.
pub(crate) fn walk(root: &mut Table<'_>, hosts: &[Host], is_sim: bool) -> Option<Vec<Console>> {
    let mut known: Vec<Id> = Vec::new();
    let consoles = root.maybe_tables("consoles", "Serial ports of hosts, one for each.", CONSOLES_MAX, |t| {
        let host = t.name("host", "The host whose port it is; the console has its id.");
        let device = t.path(
            "device",
            "The BMC's end, for example /dev/ttyS1. A simulated board has none: its hosts' ports are pseudo-terminals.",
            Some(""),
        );
        let baud = t.number("baud", "Bits per second.", 50..=4_000_000, Some(115_200));
        let parities = [("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)];
        let parity = t.choice("parity", "The parity bit of each byte; there are eight bits of data.", &parities, Some(0));
        let flows = [
            ("none", FlowControl::None),
            ("rts-cts", FlowControl::RtsCts),
            ("xon-xoff", FlowControl::XonXoff),
        ];
        let flow = t.choice("flow", "How either end holds up the other.", &flows, Some(0));
        if t.describing() {
            return None;
        }
        let host = host?;
        let Some(found) = hosts.iter().find(|known| known.id.as_str() == host.as_str()) else {
            t.unknown("host", host.as_str(), "host", hosts.iter().map(|known| known.id.as_str()));
            return None;
        };
        if known.contains(&found.id) {
            t.fault(t.place("host"), format!("two consoles are of the host {:?}", host.as_str()));
        }
        known.push(found.id.clone());
        match (is_sim, device.as_os_str().is_empty()) {
            (true, false) => {
                let message = "device is for boards whose board.hal is \"linux\"; this one's is \"sim\"";
                t.fault(t.place("device"), message.to_owned());
            }
            (false, true) => t.fault_unless_describing("needs a device, such as \"/dev/ttyS1\""),
            (false, false) if !device.starts_with("/dev") => {
                t.fault(t.place("device"), format!("console device {device:?} must be a path under /dev/"));
            }
            _ => {}
        }
        let device = (!is_sim).then_some(device);
        Some(Console { host: found.id.clone(), device, baud, parity: parity?, flow: flow? })
    });
    consoles.into_iter().collect()
}
