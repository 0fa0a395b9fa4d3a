//! `[[media]]`: drives of hosts whose medium comes from elsewhere.

use crate::reader::Table;
use crate::types::{Host, MediaKind, MediaSlot, Name, Screen};

/// Drives on one board.
const MEDIA_MAX: usize = 16;
/// Drives of one host: they are of one USB function.
const OF_HOST_MAX: usize = 8;

/// Walks `[[media]]`. `None` only together with a fault.
pub(crate) fn walk(
    root: &mut Table<'_>,
    hosts: &[Host],
    screens: &[Screen],
    is_sim: bool,
) -> Option<Vec<MediaSlot>> {
    let mut known: Vec<(Name, Name)> = Vec::new();
    // A host is one gadget: all of it is at one port.
    let mut ports: Vec<(String, String)> =
        screens.iter().filter_map(|screen| Some((screen.host.to_string(), screen.usb.clone()?))).collect();
    let about =
        "Virtual media: drives of hosts whose medium is a file at a server, a browser or in the store.";
    let media = root.maybe_tables("media", about, MEDIA_MAX, |t| {
        let id = t.name("id", "Its id in every API, such as cd.");
        let host = t.name("host", "The host that has it.");
        let kinds = [("cd", MediaKind::Cd), ("usb", MediaKind::Usb)];
        let kind = t.choice("kind", "What it is to the host: a drive of CDs and DVDs, or a USB stick.", &kinds, Some(0));
        let usb = t.text_or(
            "usb",
            "The USB device port that leads to the host, as /sys/class/udc calls it. A simulated board has none.",
            "",
        );
        if t.describing() {
            return None;
        }
        let (id, host) = (id?, host?);
        let Some(found) = hosts.iter().find(|known| known.id.as_str() == host.as_str()) else {
            t.unknown("host", host.as_str(), "host", hosts.iter().map(|known| known.id.as_str()));
            return None;
        };
        if known.iter().any(|(other, _)| *other == id) {
            t.fault(t.place("id"), format!("two drives have the id {:?}", id.as_str()));
        }
        if known.iter().filter(|(_, other)| *other == host).count() >= OF_HOST_MAX {
            t.fault(t.place("host"), format!("{:?} has more than {OF_HOST_MAX} drives", host.as_str()));
        }
        known.push((id.clone(), host));
        match (is_sim, usb.is_empty()) {
            (true, false) => {
                let message = "usb is for boards whose board.hal is \"linux\"; this one's is \"sim\"";
                t.fault(t.place("usb"), message.to_owned());
            }
            (false, true) => t.fault_unless_describing("needs a USB device port, such as \"1e6a0000.usb-vhub:p1\""),
            _ => {}
        }
        if !is_sim && !usb.is_empty() {
            match ports.iter().find(|(other, _)| other == found.id.as_str()) {
                Some((_, port)) if *port != usb => {
                    let message = format!("usb = {usb:?} is another port of {:?} than {port:?}: keys and drives of a host are one USB device", found.id.as_str());
                    t.fault(t.place("usb"), message);
                }
                Some(_) => {}
                None => ports.push((found.id.to_string(), usb.clone())),
            }
        }
        let usb = (!is_sim).then_some(usb);
        Some(MediaSlot { id, host: found.id.clone(), kind: kind?, usb })
    });
    media.into_iter().collect()
}
