//! `[[consoles]]`: serial ports of hosts, and `[[serial_muxes]]`: those that several share.

use std::path::PathBuf;

use crate::reader::{Direction, Table};
use crate::types::{Console, FlowControl, Host, Id, MuxPlace, Name, Parity, SerialMux};

/// Consoles on one board: one for each host.
const CONSOLES_MAX: usize = 16;
/// Lines of a shared port: so many as sixteen hosts need.
const LINES_MAX: usize = 4;

/// Walks `[[serial_muxes]]`. `None` only together with a fault.
pub(crate) fn muxes(root: &mut Table<'_>, is_sim: bool) -> Option<Vec<SerialMux>> {
    let mut known: Vec<SerialMux> = Vec::new();
    let about = "Serial ports that several hosts share. One host's is connected at a time, of which lines are the choice.";
    let muxes = root.maybe_tables("serial_muxes", about, CONSOLES_MAX / 2, |t| {
        let id = t.name("id", "Its id, which consoles name.");
        let device = device(t, is_sim);
        let select = t.maybe_tables("select", "The lines, the lowest bit first.", LINES_MAX, |t| {
            t.line("line", "Output: a bit of the position.", Direction::Output, true)
        });
        if t.describing() {
            return None;
        }
        let select = select.into_iter().collect::<Option<Vec<_>>>()?;
        if select.is_empty() {
            t.fault_unless_describing("needs its lines, such as select = [{ line = \"uart-sel0\" }]");
        }
        if device.is_none() && !is_sim {
            t.fault_unless_describing("needs a device, such as \"/dev/ttyS1\"");
        }
        let mux = SerialMux { id: id?, device, select };
        if known.iter().any(|other| other.id == mux.id) {
            t.fault(t.place("id"), format!("two shared serial ports have the id {:?}", mux.id.as_str()));
        }
        if mux.device.is_some() && known.iter().any(|other| other.device == mux.device) {
            t.fault(t.place("device"), "two shared serial ports are of this device".to_owned());
        }
        known.push(mux.clone());
        Some(mux)
    });
    muxes.into_iter().collect()
}

/// The BMC's end of a port. A simulated board's are pseudo-terminals.
fn device(t: &mut Table<'_>, is_sim: bool) -> Option<PathBuf> {
    let device = t.path(
        "device",
        "The BMC's end, for example /dev/ttyS1. A simulated board has none: its hosts' ports are pseudo-terminals.",
        Some(""),
    );
    if t.describing() {
        return None;
    }
    let is_named = !device.as_os_str().is_empty();
    if is_sim && is_named {
        let message = "device is for boards whose board.hal is \"linux\"; this one's is \"sim\"";
        t.fault(t.place("device"), message.to_owned());
    } else if is_named && !device.starts_with("/dev") {
        t.fault(t.place("device"), format!("console device {device:?} must be a path under /dev/"));
    } else if !is_named && !is_sim {
        return None;
    }
    (!is_sim).then_some(device)
}

/// Walks `[[consoles]]`. `None` only together with a fault.
pub(crate) fn walk(
    root: &mut Table<'_>,
    hosts: &[Host],
    muxes: &[SerialMux],
    is_sim: bool,
) -> Option<Vec<Console>> {
    let mut known: Vec<Id> = Vec::new();
    let mut taken: Vec<MuxPlace> = Vec::new();
    let consoles = root.maybe_tables("consoles", "Serial ports of hosts, one for each.", CONSOLES_MAX, |t| {
        let host = t.name("host", "The host whose port it is; the console has its id.");
        let device = device(t, is_sim);
        let mux = t.maybe_name("mux", "In place of a device: the shared port it is behind.");
        let has_position = t.has("position");
        let position = t.number(
            "position",
            "What the lines of that port say when this one is connected.",
            0..=15,
            Some(0),
        );
        let baud = t.number("baud", "Bits per second.", 50..=4_000_000, Some(115_200));
        let parities = [("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)];
        let parity = t.choice(
            "parity",
            "The parity bit of each byte; there are eight bits of data.",
            &parities,
            Some(0),
        );
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
        let mux = match mux {
            Some(id) => Some(place(t, id, position, muxes, &mut taken)?),
            None if has_position => {
                t.fault(t.place("position"), "position is of a console with a mux".to_owned());
                None
            }
            None => None,
        };
        match (&mux, &device) {
            (Some(_), Some(_)) => {
                t.fault(t.place("device"), "a console behind a mux has the device of that".to_owned());
            }
            (None, None) if !is_sim => t.fault_unless_describing("needs a device, such as \"/dev/ttyS1\""),
            _ => {}
        }
        if device.is_some() && muxes.iter().any(|other| other.device == device) {
            t.fault(t.place("device"), "this device is a shared port's: name its mux".to_owned());
        }
        let device = device.or_else(|| {
            let mux = mux.as_ref()?;
            muxes.iter().find(|other| other.id == mux.id)?.device.clone()
        });
        Some(Console { host: found.id.clone(), device, mux, baud, parity: parity?, flow: flow? })
    });
    consoles.into_iter().collect()
}

/// Where a console is behind a shared port; `taken` are the places that others have.
fn place(
    t: &mut Table<'_>,
    id: Name,
    position: u32,
    muxes: &[SerialMux],
    taken: &mut Vec<MuxPlace>,
) -> Option<MuxPlace> {
    let Some(mux) = muxes.iter().find(|mux| mux.id == id) else {
        t.unknown("mux", id.as_str(), "shared serial port", muxes.iter().map(|mux| mux.id.as_str()));
        return None;
    };
    let positions = 1_usize << mux.select.len();
    if usize::try_from(position).unwrap_or(usize::MAX) >= positions {
        let message = format!("position = {position}: {:?} has {positions} of them", id.as_str());
        t.fault(t.place("position"), message);
    }
    let place = MuxPlace { id, position: u8::try_from(position).unwrap_or(u8::MAX) };
    if taken.contains(&place) {
        t.fault(t.place("position"), format!("two consoles are at position {position} of this port"));
    }
    taken.push(place.clone());
    Some(place)
}
