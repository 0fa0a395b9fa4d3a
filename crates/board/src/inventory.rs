//! The part of the format about what parts say of themselves: FRU images and drives. And about the EEPROMs that hosts share with the BMC.

use std::ops::RangeInclusive;

use hal::{Adapter, Location};

use crate::reader::Table;
use crate::sensing::{device, host, soldered};
use crate::types::{Drive, Fru, FruKind, Host, HostMailbox, I2cBus, Name};

/// FRU EEPROMs on one board.
const FRUS_MAX: usize = 64;
/// Drives on one board.
const DRIVES_MAX: usize = 64;
/// Bytes of an EEPROM: from the smallest that holds an area to the largest with addresses of two bytes.
const SIZES: RangeInclusive<u32> = 64..=65_536;

/// Mailboxes on one board: as many as hosts.
const MAILBOXES_MAX: usize = 16;
/// Bytes of the EEPROM of one, and what it is a multiple of: as the format has it (docs/host-mailbox.md).
const MAILBOX_SIZES: RangeInclusive<u32> = 16_384..=262_144;
const MAILBOX_STEP: u32 = 4_096;

/// The id of the board itself among the parts.
const PLATFORM: &str = "platform";

/// What the key `host` of either says.
const HOST: &str = "The host it has its power from: while that is off its silence says nothing.";

/// Walks `[[frus]]`. `None` only together with a fault.
pub(crate) fn walk(root: &mut Table<'_>, buses: &[I2cBus], hosts: &[Host]) -> Option<Vec<Fru>> {
    let mut names: Vec<Name> = Vec::new();
    let mut places: Vec<(Location, Name)> = Vec::new();
    let frus = root.maybe_tables("frus", "EEPROMs with the IPMI FRU image of a part.", FRUS_MAX, |t| {
        let id = t.name("id", "Its id in every API. With the id of a device, it is pulled with that.");
        if let Some(id) = &id {
            if names.contains(id) {
                t.fault(t.place("id"), format!("two FRUs have the id {:?}", id.as_str()));
            }
            is_free(t, id, hosts);
            names.push(id.clone());
        }
        let name = t.maybe_text("name", "A name for people.");
        let kind = t.choice(
            "kind",
            "What it describes.",
            &[
                ("board", FruKind::Board),
                ("chassis", FruKind::Chassis),
                ("power-supply", FruKind::PowerSupply),
                ("drive", FruKind::Drive),
                ("other", FruKind::Other),
            ],
            Some(0),
        );
        let place = device(t, buses);
        let host = host(t, hosts, HOST);
        let size = t.number("size", "Its size in bytes.", SIZES, Some(256));
        let keeps_asset_tag = t.flag(
            "keeps_asset_tag",
            "The asset tag is written into it, in the product area; else the BMC keeps it.",
            false,
        );
        let (location, bus, removable) = place?;
        let id = id?;
        let key = if t.has("path") { "path" } else { "address" };
        t.once(&mut places, location.clone(), &id, key, &format!("the EEPROM at {location}"));
        let name = name.unwrap_or_else(|| id.as_str().to_owned());
        Some(Fru { id, name, kind: kind?, location, bus, removable, host: host?, size, keeps_asset_tag })
    });
    frus.into_iter().collect()
}

/// Whether a part of the board may have this id: it is neither the board's own nor like those that hosts tell of.
fn is_free(t: &mut Table<'_>, id: &Name, hosts: &[Host]) {
    if id.as_str() == PLATFORM {
        t.fault(
            t.place("id"),
            format!("{PLATFORM:?} is the board itself, which needs no EEPROM to be listed"),
        );
    }
    let of_host =
        |host: &&Host| id.as_str().strip_prefix(host.id.as_str()).is_some_and(|rest| rest.starts_with('-'));
    if let Some(host) = hosts.iter().find(of_host) {
        let host = host.id.as_str();
        t.fault(
            t.place("id"),
            format!("ids that begin with \"{host}-\" are those of the parts that host tells of"),
        );
    }
}

/// Walks `[[mailboxes]]`. `None` only together with a fault. On a simulated board they are not used: its hosts have their own.
pub(crate) fn mailboxes(
    root: &mut Table<'_>,
    buses: &[I2cBus],
    frus: &[Fru],
    hosts: &[Host],
) -> Option<Vec<HostMailbox>> {
    let mut known: Vec<Name> = Vec::new();
    let mut places: Vec<(Location, Name)> =
        frus.iter().map(|fru| (fru.location.clone(), fru.id.clone())).collect();
    let about = "EEPROMs through which the firmware of a host is told what to boot from and how it is to be set (host-mailbox.md).";
    let mailboxes = root.maybe_tables("mailboxes", about, MAILBOXES_MAX, |t| {
        let host = t.name("host", "The host whose firmware reads it.");
        let location = soldered(t, buses);
        let size = t.number("size", "Its size in bytes, a multiple of 4096.", MAILBOX_SIZES, Some(65_536));
        if t.describing() {
            return None;
        }
        if !size.is_multiple_of(MAILBOX_STEP) {
            t.fault(t.place("size"), format!("size = {size} is no multiple of {MAILBOX_STEP}"));
        }
        let (host, location) = (host?, location?);
        let Some(found) = hosts.iter().find(|known| known.id.as_str() == host.as_str()) else {
            t.unknown("host", host.as_str(), "host", hosts.iter().map(|known| known.id.as_str()));
            return None;
        };
        if known.contains(&host) {
            t.fault(t.place("host"), format!("{:?} has two mailboxes", host.as_str()));
        }
        known.push(host.clone());
        let key = if t.has("path") { "path" } else { "address" };
        t.once(&mut places, location.clone(), &host, key, &format!("the EEPROM at {location}"));
        Some(HostMailbox { host: found.id.clone(), location, size })
    });
    mailboxes.into_iter().collect()
}

/// Walks `[[drives]]`. `None` only together with a fault.
pub(crate) fn drives(
    root: &mut Table<'_>,
    buses: &[I2cBus],
    frus: &[Fru],
    hosts: &[Host],
) -> Option<Vec<Drive>> {
    let mut names: Vec<Name> = frus.iter().map(|fru| fru.id.clone()).collect();
    let mut places: Vec<((Adapter, u8), Name)> = Vec::new();
    let drives = root.maybe_tables("drives", "Drives that are asked by NVMe basic management.", DRIVES_MAX, |t| {
        let id = t.name("id", "Its id in every API.");
        if let Some(id) = &id {
            if names.contains(id) {
                t.fault(t.place("id"), format!("two FRUs or drives have the id {:?}", id.as_str()));
            }
            is_free(t, id, hosts);
            names.push(id.clone());
        }
        let name = t.maybe_text("name", "A name for people.");
        let bus = t.name("bus", "The I2C bus it is on; drives have one address, so each is behind a multiplexer's channel of its own.");
        let address = t.number("address", "Its address there.", 0x08..=0x77, Some(u32::from(nvme::ADDRESS)));
        let removable =
            t.flag("removable", "It can be pulled: then it is not present, and has not failed.", false);
        let host = host(t, hosts, HOST);
        let (id, bus) = (id?, bus?);
        let Some(known) = buses.iter().find(|known| known.id == bus) else {
            t.unknown("bus", bus.as_str(), "I2C bus", buses.iter().map(|bus| bus.id.as_str()));
            return None;
        };
        let name = name.unwrap_or_else(|| id.as_str().to_owned());
        let (adapter, address) = (known.adapter.clone(), u8::try_from(address).ok()?);
        t.once(&mut places, (adapter.clone(), address), &id, "bus", &format!("the drive at {address:#04x} of {bus}"));
        Some(Drive { id, name, bus, adapter, address, removable, host: host? })
    });
    drives.into_iter().collect()
}
