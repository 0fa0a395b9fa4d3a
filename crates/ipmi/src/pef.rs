//! Platform event filtering (§17): which events alert whom. Alerts are all it does; what switches the machine is not its.

use crate::sel;

/// Rows of the filter table, and bytes of one (table 17-2).
pub const FILTERS: usize = 16;
/// Bytes of a filter.
pub const FILTER: usize = 20;
/// Rows of the policy table (table 17-4).
pub const POLICIES: usize = 8;
/// Destinations of the LAN channel, beside the one that is not kept (table 23-4, parameter 17).
pub const DESTINATIONS: usize = 4;

/// The bits of parameter 1 that are there: filtering, and events about it.
const ENABLED: u8 = 0x01;
/// The bit of an alert, in filters and in parameter 2.
pub const ALERT: u8 = 0x01;

/// What is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Parameter 1.
    pub control: u8,
    /// Parameter 2: actions that are on.
    pub actions: u8,
    /// Parameter 6.
    pub filters: [[u8; FILTER]; FILTERS],
    /// Parameter 9.
    pub policies: [[u8; 3]; POLICIES],
}

impl Default for Tables {
    fn default() -> Self {
        Self { control: 0, actions: 0, filters: [[0; FILTER]; FILTERS], policies: [[0; 3]; POLICIES] }
    }
}

/// An alert for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its number, from 1 on.
    pub destination: u8,
    /// As traps have it; of the filter, if that says one.
    pub severity: u8,
}

/// Whether a byte of event data fits (§17.8): the bits of the mask count; of those, where `exact` is 1 all are as in `wanted`, and of the others one is
/// enough.
fn fits(byte: u8, [mask, exact, wanted]: [u8; 3]) -> bool {
    let same = !(byte ^ wanted) & mask;
    let (all, any) = (mask & exact, mask & !exact);
    same & all == all && (any == 0 || same & any != 0)
}

impl Tables {
    /// Whom this record alerts.
    #[must_use]
    pub fn alerts(&self, record: &[u8; sel::LENGTH]) -> Vec<Alert> {
        let mut out: Vec<Alert> = Vec::new();
        if self.control & ENABLED == 0 || self.actions & ALERT == 0 {
            return out;
        }
        let found = self.filters.iter().filter(|filter| matches(filter, record));
        for filter in found {
            let [_, _, policy, severity, ..] = *filter;
            for entry in self.policies {
                let [number, place, _] = entry;
                // The number of the policy, whether the row is on, and what follows: always, as no alert is known to have come.
                let is_on = number & 0x08 != 0 && number >> 4 == policy & 0x0f && policy & 0x0f != 0;
                let destination = place & 0x0f;
                if is_on && out.iter().all(|alert| alert.destination != destination) {
                    out.push(Alert { destination, severity });
                }
            }
        }
        out
    }
}

/// Whether a filter is on, alerts, and is about this record (§17.7).
fn matches(filter: &[u8; FILTER], record: &[u8; sel::LENGTH]) -> bool {
    let [config, action, _, _, from, from2, kind, number, class, low, high, tests @ ..] = *filter;
    let [_, _, is_event, _, _, _, _, sender, sender2, _, sensor_type, sensor, event, data @ ..] = *record;
    let any = |wanted: u8, found: u8| wanted == 0xff || wanted == found;
    let is_crossing = event & 0x80 == 0;
    if config & 0x80 == 0 || action & ALERT == 0 || is_event != 0x02 {
        return false;
    }
    let offsets = u16::from_le_bytes([low, high]);
    let offset = data[0] & 0x0f;
    let [m1, e1, w1, m2, e2, w2, m3, e3, w3] = tests;
    any(from, sender)
        && any(from2, sender2)
        && any(kind, sensor_type)
        && any(number, sensor)
        && any(class, event & 0x7f)
        && is_crossing
        && (offsets == 0xffff || offsets >> offset & 1 != 0)
        && fits(data[0], [m1, e1, w1])
        && fits(data[1], [m2, e2, w2])
        && fits(data[2], [m3, e3, w3])
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: [u8; 16] = [1, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, 0x30, 0x01, 0x59, 0x50, 0x48];

    fn tables(change: impl FnOnce(&mut [u8; FILTER])) -> Tables {
        let mut tables = Tables { control: 1, actions: 1, ..Tables::default() };
        tables.filters[3] = [0x80, 1, 2, 0x10, 0xff, 0xff, 1, 0xff, 1, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        tables.policies[0] = [0x28, 0x13, 0];
        tables.policies[1] = [0x18, 0x11, 0];
        tables.policies[2] = [0x20, 0x12, 0];
        change(&mut tables.filters[3]);
        tables
    }

    #[test]
    fn an_event_alerts_whom_the_policy_of_its_filter_names() {
        let alerts = [Alert { destination: 3, severity: 0x10 }];
        assert_eq!(tables(|_| {}).alerts(&RECORD), alerts);
        // As the specification has it, a filter that is off, of another sensor, class, offset or sender is none.
        for (at, value) in [(0, 0), (1, 2), (2, 3), (4, 0x41), (6, 2), (7, 9), (8, 0x6f), (10, 0xfd)] {
            assert!(tables(|filter| filter[at] = value).alerts(&RECORD).is_empty(), "byte {at}");
        }
        let mut off = tables(|_| {});
        off.actions = 0;
        assert!(off.alerts(&RECORD).is_empty());
        off.actions = 1;
        off.control = 0;
        assert!(off.alerts(&RECORD).is_empty());
        let mut ended = RECORD;
        ended[12] |= 0x80;
        assert!(tables(|_| {}).alerts(&ended).is_empty());
    }

    #[test]
    fn bits_of_event_data_are_compared_all_or_any() {
        for (byte, test, expected) in [
            (0x59, [0, 0, 0], true),
            (0x59, [0xff, 0xff, 0x59], true),
            (0x58, [0xff, 0xff, 0x59], false),
            (0x01, [0x03, 0x00, 0x01], true),
            (0x02, [0x03, 0x00, 0x01], false),
        ] {
            assert_eq!(fits(byte, test), expected, "{byte:02x} {test:02x?}");
        }
    }
}
