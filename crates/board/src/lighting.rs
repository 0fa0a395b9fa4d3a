//! `[[leds]]` and `[[led_groups]]`: what is lit, and by what.

use leds::{Brightness, Condition, Config, Group, LedConfig, MAX_GROUPS, MAX_LEDS, Member, Show, State};

use crate::reader::{Direction, Table};
use crate::types::{Board, Host, Id, Led, LedGroup, LedKind, LedMember, LedWire, Name};

/// LEDs that one group may name.
const MEMBERS_MAX: usize = 64;
/// Priorities are small numbers, as people write them.
const PRIORITIES: std::ops::RangeInclusive<u32> = 1..=100;

/// What both tables say.
#[derive(Debug, Default)]
pub(crate) struct Lighting {
    pub(crate) leds: Vec<Led>,
    pub(crate) groups: Vec<LedGroup>,
}

/// Walks both. `None` only together with a fault.
pub(crate) fn walk(root: &mut Table<'_>, hosts: &[Host]) -> Option<Lighting> {
    let mut names: Vec<Name> = Vec::new();
    let mut labels: Vec<String> = Vec::new();
    let leds = root.maybe_tables("leds", "Lights of the machine.", MAX_LEDS, |t| {
        let kind = "class: one of the kernel's LEDs; line: on a GPIO line.";
        let led = t.variants("kind", kind, &["class", "line"], led)?;
        unique(t, &mut names, &led.id, "LEDs");
        if let LedWire::Class(label) = &led.wire {
            if labels.contains(label) {
                t.fault(t.place("label"), format!("two LEDs have the label {label:?}; an LED has one owner"));
            }
            labels.push(label.clone());
        }
        Some(led)
    });
    let leds = leds.into_iter().collect::<Option<Vec<_>>>();
    let known = leds.as_deref().unwrap_or_default();
    let mut names: Vec<Name> = Vec::new();
    let groups = root.maybe_tables(
        "led_groups",
        "LEDs that show something together for as long as something is so.",
        MAX_GROUPS,
        |t| {
            let group = group(t, known, hosts)?;
            unique(t, &mut names, &group.id, "groups of LEDs");
            Some(group)
        },
    );
    let groups = groups.into_iter().collect::<Option<Vec<_>>>();
    Some(Lighting { leds: leds?, groups: groups? })
}

fn unique(t: &Table<'_>, names: &mut Vec<Name>, id: &Name, what: &str) {
    if names.contains(id) {
        t.fault(t.place("id"), format!("two {what} have the id {:?}", id.as_str()));
    }
    names.push(id.clone());
}

fn led(t: &mut Table<'_>, wired: &str) -> Option<Led> {
    let id = t.name("id", "Its id in every API: power, fault, identify.");
    let name = t.text_or("name", "A name for people; without one its id.", "");
    let kinds = [
        ("other", LedKind::Other),
        ("power", LedKind::Power),
        ("status", LedKind::Status),
        ("fault", LedKind::Fault),
        ("identify", LedKind::Identify),
    ];
    let kind = t.choice("type", "What it stands for.", &kinds, Some(0));
    let color = t.maybe_text("color", "Its colour, for people.");
    let settable = t.flag("settable", "It may be set by hand, whatever its groups say.", false);
    let wire = match wired {
        "class" => {
            let label =
                t.text("label", "What the kernel calls it, in /sys/class/leds: chassis:blue:identify.");
            let is_name = !label.contains('/') && !label.starts_with('.');
            if !is_name {
                t.fault(t.place("label"), format!("{label:?} is no name of an LED in /sys/class/leds"));
            }
            is_name.then_some(LedWire::Class(label))
        }
        _ => t
            .line("line", "Output: it is lit while this is active.", Direction::Output, true)
            .map(LedWire::Line),
    };
    if t.describing() {
        return None;
    }
    let id = id?;
    let name = if name.is_empty() { id.as_str().to_owned() } else { name };
    Some(Led { id, name, kind: kind?, color, settable, wire: wire? })
}

fn group(t: &mut Table<'_>, leds: &[Led], hosts: &[Host]) -> Option<LedGroup> {
    let id = t.name("id", "What it is called.");
    let conditions = Condition::ALL.map(|condition| (condition.as_str(), condition));
    let when = t.choices("when", "It shows while any of these is so.", &conditions);
    let host = t.maybe_name("host", "The host that this is about; without one all of them.");
    let priority = t.number(
        "priority",
        "Of two groups that want something of an LED the larger number wins.",
        PRIORITIES,
        None,
    );
    let mut named: Vec<Name> = Vec::new();
    let members = t.tables("members", "What it shows.", MEMBERS_MAX, |t| {
        let member = member(t, leds)?;
        if named.contains(&member.led) {
            t.fault(t.place("led"), format!("the group names {:?} twice", member.led.as_str()));
        }
        named.push(member.led.clone());
        Some(member)
    });
    if t.describing() {
        return None;
    }
    let host = match host {
        None => None,
        Some(name) => match hosts.iter().find(|known| known.id.as_str() == name.as_str()) {
            Some(known) => Some(known.id.clone()),
            None => {
                t.unknown("host", name.as_str(), "host", hosts.iter().map(|known| known.id.as_str()));
                return None;
            }
        },
    };
    let members = members.into_iter().collect::<Option<Vec<_>>>();
    Some(LedGroup { id: id?, when: when?, host, priority: u8::try_from(priority).ok()?, members: members? })
}

fn member(t: &mut Table<'_>, leds: &[Led]) -> Option<LedMember> {
    let led = t.name("led", "The LED.");
    let states = [State::On, State::Blink, State::Fast, State::Off].map(|state| (state.as_str(), state));
    let state = t.choice(
        "state",
        "What it shows: blink is half a second lit and half a second dark, fast is twice as fast.",
        &states,
        Some(0),
    );
    let percent = t.number("brightness", "How bright, in percent of what it can.", 1..=100, Some(100));
    if t.describing() {
        return None;
    }
    let led = led?;
    let Some(known) = leds.iter().find(|known| known.id == led) else {
        t.unknown("led", led.as_str(), "LED", leds.iter().map(|known| known.id.as_str()));
        return None;
    };
    let brightness = Brightness::new(percent)?;
    if matches!(known.wire, LedWire::Line(_)) && brightness < Brightness::FULL {
        t.fault(t.place("brightness"), format!("{} is on a line, which has no brightness", led.as_str()));
        return None;
    }
    Some(LedMember { led, show: Show { state: state?, brightness } })
}

impl Board {
    /// The LEDs and groups of this board, as they stand in it, for what decides about them.
    #[must_use]
    pub fn lights(&self) -> Config {
        let place = |led: &Name| self.leds.iter().position(|known| known.id == *led);
        let host = |host: &Id| self.hosts.iter().position(|known| known.id == *host);
        let member = |member: &LedMember| Some(Member { led: place(&member.led)?, show: member.show });
        let group = |group: &LedGroup| Group {
            when: group.when.clone(),
            // One that is not there is none of them.
            host: group.host.as_ref().map(|id| host(id).unwrap_or(usize::MAX)),
            priority: group.priority,
            members: group.members.iter().filter_map(member).collect(),
        };
        Config {
            hosts: self.hosts.len(),
            leds: self.leds.iter().map(|led| LedConfig { settable: led.settable }).collect(),
            groups: self.led_groups.iter().map(group).collect(),
        }
    }
}
