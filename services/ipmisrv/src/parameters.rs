//! Commands about what clients set that has no other owner: system info, alerts, and the firewall.

use std::net::Ipv4Addr;

use ipmi::{Command, Completion, Request, pef};

use crate::chunks::{Target, Written};
use crate::lan::{self, READ_ONLY};
use crate::outcome::Outcome;
use crate::settings::{Block, Settings, Text};
use crate::world::{Answer, World};

/// Completion codes of parameters (tables 22-16b and 23-1): not supported, set by somebody else, read only.
const NOT_SUPPORTED: Completion = Completion::PARAMETER_NOT_SUPPORTED;
/// Bytes of a block of a text (table 22-16c); the first has the encoding and the length before it.
const BLOCK: usize = 16;
/// System info parameters that are texts: firmware, name, operating system's names and version, the controller's URL and the hypervisor's.
const TEXTS: std::ops::RangeInclusive<u8> = 1..=7;
/// Longest community (table 23-4, parameter 16).
const COMMUNITY_MAX: usize = 18;
/// Bytes of half of a function's commands, one bit each (§21.7).
const MASK: usize = 16;

fn keep(settings: Settings, world: &World<'_>) -> Outcome {
    if settings == world.memory.settings {
        return Outcome::Answer(Ok(Vec::new()));
    }
    Outcome::Set { settings: Box::new(settings) }
}

/// §22.14b: what the system is called. What nobody has set is what is known otherwise.
pub(crate) fn system_info(data: &[u8], world: &mut World<'_>) -> Answer {
    let &[revision, parameter, set, block] = data else { return Err(Completion::LENGTH) };
    let mut out = vec![lan::REVISION];
    if revision & 0x80 != 0 {
        return Ok(out);
    }
    match parameter {
        0 => out.extend(world.memory.in_progress(Block::System)),
        parameter if TEXTS.contains(&parameter) => {
            if block != 0 {
                return Err(Completion::INVALID_FIELD);
            }
            let text = text(parameter, world);
            let length = u8::try_from(text.bytes.len()).unwrap_or(u8::MAX);
            let whole = [&[text.encoding, length][..], &text.bytes].concat();
            let from = usize::from(set) * BLOCK;
            let part = whole.get(from..).filter(|rest| !rest.is_empty()).ok_or(Completion::RANGE)?;
            let mut part: Vec<u8> = part.iter().copied().take(BLOCK).collect();
            part.resize(BLOCK, 0);
            out.push(set);
            out.extend(part);
        }
        _ => return Err(NOT_SUPPORTED),
    }
    Ok(out)
}

fn text(parameter: u8, world: &World<'_>) -> Text {
    if let Some(text) = world.memory.settings.texts.get(&parameter) {
        return text.clone();
    }
    let firmware = || {
        let assets = world.snapshot.assets();
        let found = assets.iter().find(|view| view.value.r#type() == schema::v1alpha1::AssetType::Firmware);
        found.and_then(|view| view.value.info.as_ref()?.revision.clone())
    };
    let known = match parameter {
        1 => firmware(),
        2 => world.snapshot.system().map(|view| view.value.name.clone()),
        _ => None,
    };
    Text { encoding: 1, bytes: known.unwrap_or_default().into_bytes().into_iter().take(255).collect() }
}

/// §22.14a: a text, block by block; it counts once it is whole.
pub(crate) fn set_system_info(request: &Request, world: &mut World<'_>) -> Result<Outcome, Completion> {
    let [parameter, value @ ..] = &request.data[..] else { return Err(Completion::LENGTH) };
    if *parameter == 0 {
        return Ok(Outcome::Answer(world.memory.progress(Block::System, request.session.id, value)));
    }
    if !TEXTS.contains(parameter) {
        return Err(NOT_SUPPORTED);
    }
    let [set, block @ ..] = value else { return Err(Completion::LENGTH) };
    let target = Target::SystemInfo(*parameter);
    let before = world.written.take().filter(|before| before.target == target);
    let mut bytes = match (set, before) {
        (0, _) => Vec::new(),
        // The blocks before it are known.
        (set, Some(before)) if before.bytes.len() == usize::from(*set) * BLOCK => before.bytes,
        _ => return Err(Completion::RANGE),
    };
    if block.len() > BLOCK || block.is_empty() {
        return Err(Completion::LENGTH);
    }
    bytes.extend_from_slice(block);
    let (encoding, length) = match bytes[..] {
        [encoding, length, ..] => (encoding & 0x0f, usize::from(length)),
        _ => return Err(Completion::LENGTH),
    };
    if encoding > 2 {
        return Err(Completion::INVALID_FIELD);
    }
    if let Some(text) = bytes.get(2..2 + length) {
        let mut settings = world.memory.settings.clone();
        settings.texts.insert(*parameter, Text { encoding, bytes: text.to_vec() });
        return Ok(keep(settings, world));
    }
    // Another one follows, so this one is full.
    if block.len() != BLOCK {
        return Err(Completion::LENGTH);
    }
    *world.written = Some(Written { target, bytes });
    Ok(Outcome::Answer(Ok(Vec::new())))
}

/// Table 23-4: what of the LAN parameters is kept here; `None` for another one.
pub(crate) fn lan_parameter(selector: u8, set: u8, world: &mut World<'_>) -> Option<Answer> {
    let settings = &world.memory.settings;
    let one = || settings.destinations.get(usize::from(set)).ok_or(Completion::RANGE);
    Some(match selector {
        0 => Ok(world.memory.in_progress(Block::Lan)),
        16 => {
            let mut community = settings.community.clone().into_bytes();
            community.resize(COMMUNITY_MAX, 0);
            Ok(community)
        }
        17 => Ok(vec![u8::try_from(pef::DESTINATIONS).unwrap_or(0)]),
        18 => one().map(|one| vec![set, 0, one.timeout, one.retries]),
        19 => one().map(|one| [&[set, 0, 0][..], &one.address.octets(), &one.mac].concat()),
        25 => one().map(|_| vec![set, 0, 0, 0]),
        _ => return None,
    })
}

/// §23.1. What the network is like is the configuration's to say, and sessions are as they are.
pub(crate) fn set_lan(request: &Request, world: &mut World<'_>) -> Result<Outcome, Completion> {
    let [channel, selector, value @ ..] = &request.data[..] else { return Err(Completion::LENGTH) };
    ipmi::is_this_channel(*channel)?;
    let mut settings = world.memory.settings.clone();
    let number = |set: u8| usize::from(set & 0x0f);
    match (selector, value) {
        (0, value) => {
            return Ok(Outcome::Answer(world.memory.progress(Block::Lan, request.session.id, value)));
        }
        (16, community) if community.len() <= COMMUNITY_MAX => {
            let text = crate::chunks::until_zero(community);
            let is_text = text.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_control());
            let text = std::str::from_utf8(text).ok().filter(|_| is_text);
            text.ok_or(Completion::INVALID_FIELD)?.clone_into(&mut settings.community);
        }
        (18, &[set, kind, timeout, retries]) => {
            let one = settings.destinations.get_mut(number(set)).ok_or(Completion::RANGE)?;
            // Traps, and none that is to be acknowledged.
            if kind != 0 || retries > 7 {
                return Err(Completion::INVALID_FIELD);
            }
            (one.timeout, one.retries) = (timeout, retries);
        }
        (19, &[set, format, _, a, b, c, d, ref mac @ ..]) => {
            let one = settings.destinations.get_mut(number(set)).ok_or(Completion::RANGE)?;
            if format != 0 {
                return Err(Completion::INVALID_FIELD);
            }
            one.address = Ipv4Addr::new(a, b, c, d);
            one.mac = mac.try_into().map_err(|_| Completion::LENGTH)?;
        }
        // No destination is in a VLAN of its own.
        (25, &[set, format, _, _]) => {
            settings.destinations.get(number(set)).ok_or(Completion::RANGE)?;
            if format >> 4 != 0 {
                return Err(Completion::INVALID_FIELD);
            }
        }
        (16 | 18 | 19 | 25, _) => return Err(Completion::LENGTH),
        (17, _) => return Err(READ_ONLY),
        // What it is already is done: clients write back all that they have read.
        (selector, value) if lan::is_of_network(*selector) => {
            let set = if lan::has_set(*selector) { value.first().copied().unwrap_or(0) } else { 0 };
            return Ok(Outcome::Network { selector: *selector, set, wanted: Some(value.to_vec()) });
        }
        (selector, value) => {
            return match lan::fixed_parameter(*selector, world) {
                Some(is) if is == value => Ok(Outcome::Answer(Ok(Vec::new()))),
                Some(_) => Err(READ_ONLY),
                None => Err(NOT_SUPPORTED),
            };
        }
    }
    Ok(keep(settings, world))
}

/// §30.1.
pub(crate) fn pef_capabilities() -> Vec<u8> {
    vec![0x51, pef::ALERT, u8::try_from(pef::FILTERS).unwrap_or(u8::MAX)]
}

fn row<const N: usize>(rows: &[[u8; N]], set: u8) -> Result<[u8; N], Completion> {
    let at = usize::from(set & 0x7f).checked_sub(1).ok_or(Completion::RANGE)?;
    rows.get(at).copied().ok_or(Completion::RANGE)
}

fn row_of<const N: usize>(rows: &mut [[u8; N]], set: u8) -> Result<&mut [u8; N], Completion> {
    let at = usize::from(set & 0x7f).checked_sub(1).ok_or(Completion::RANGE)?;
    rows.get_mut(at).ok_or(Completion::RANGE)
}

/// §30.4, table 30-6.
pub(crate) fn pef_parameter(data: &[u8], world: &mut World<'_>) -> Answer {
    let &[selector, set, _] = data else { return Err(Completion::LENGTH) };
    let mut out = vec![lan::REVISION];
    if selector & 0x80 != 0 {
        return Ok(out);
    }
    let settings = &world.memory.settings;
    match selector {
        0 => out.extend(world.memory.in_progress(Block::Pef)),
        1 => out.push(settings.control),
        2 => out.push(settings.actions),
        // Nothing waits after a start.
        3 | 4 => out.push(0),
        5 => out.push(u8::try_from(pef::FILTERS).unwrap_or(u8::MAX)),
        6 => {
            out.push(set);
            out.extend(row(&settings.filters, set)?);
        }
        7 => {
            out.push(set);
            out.extend(row(&settings.filters, set)?.first());
        }
        8 => out.push(u8::try_from(pef::POLICIES).unwrap_or(u8::MAX)),
        9 => {
            out.push(set);
            out.extend(row(&settings.policies, set)?);
        }
        // That of Get System GUID is in traps.
        10 => {
            out.push(0);
            out.extend(world.guid);
        }
        // No texts.
        11 => out.push(0),
        _ => return Err(NOT_SUPPORTED),
    }
    Ok(out)
}

/// §30.3.
pub(crate) fn set_pef(request: &Request, world: &mut World<'_>) -> Result<Outcome, Completion> {
    let [selector, value @ ..] = &request.data[..] else { return Err(Completion::LENGTH) };
    let mut settings = world.memory.settings.clone();
    match (selector, value) {
        (0, value) => {
            return Ok(Outcome::Answer(world.memory.progress(Block::Pef, request.session.id, value)));
        }
        (1, &[control]) if control & !0x0f == 0 => settings.control = control,
        // Alerts are all there is.
        (2, &[actions]) if actions & !pef::ALERT == 0 => settings.actions = actions,
        (3 | 4, &[0]) => {}
        (6, &[set, ref filter @ ..]) => {
            let row = row_of(&mut settings.filters, set)?;
            *row = filter.try_into().map_err(|_| Completion::LENGTH)?;
            let [_, action, ..] = *row;
            if action & !pef::ALERT != 0 {
                return Err(Completion::INVALID_FIELD);
            }
        }
        (7, &[set, config]) => {
            let [first, ..] = row_of(&mut settings.filters, set)?;
            *first = config;
        }
        (9, &[set, number, place, string]) => {
            let row = row_of(&mut settings.policies, set)?;
            let destination = usize::from(place & 0x0f);
            let is_there = place >> 4 == ipmi::CHANNEL && (1..=pef::DESTINATIONS).contains(&destination);
            // A row that is off may say anything; there are no texts.
            if number & 0x08 != 0 && (!is_there || string & 0x7f != 0) {
                return Err(Completion::INVALID_FIELD);
            }
            *row = [number, place, string];
        }
        (1..=4, [_]) => return Err(Completion::INVALID_FIELD),
        (1..=4 | 6 | 7 | 9, _) => return Err(Completion::LENGTH),
        (5 | 8 | 10 | 11, _) => return Err(READ_ONLY),
        _ => return Err(NOT_SUPPORTED),
    }
    Ok(keep(settings, world))
}

/// §30.5, §30.6: what software has processed, which is kept until ipmisrv ends.
pub(crate) fn set_processed(data: &[u8], world: &mut World<'_>) -> Answer {
    match *data {
        // What the controller has processed is what it has.
        [which, low, high] if which & 1 == 0 => world.memory.processed = [low, high],
        [_, _, _] => return Err(Completion::INVALID_FIELD),
        _ => return Err(Completion::LENGTH),
    }
    Ok(Vec::new())
}

pub(crate) fn processed(newest: Option<(u16, u32)>, world: &World<'_>) -> Vec<u8> {
    let (id, seconds) = newest.unwrap_or((0xffff, u32::MAX));
    let mut out = seconds.to_le_bytes().to_vec();
    out.extend(id.to_le_bytes());
    out.extend(world.memory.processed);
    out.extend(world.memory.filtered.to_le_bytes());
    out
}

/// §30.7: sends an alert of this event, or says what became of the last one.
pub(crate) fn alert(data: &[u8], world: &mut World<'_>) -> Result<Outcome, Completion> {
    let [channel, wanted, _, event @ ..] = data else { return Err(Completion::LENGTH) };
    ipmi::is_this_channel(*channel)?;
    match wanted >> 6 {
        0 => {}
        1 => return Ok(Outcome::Answer(Ok(vec![world.memory.alert]))),
        2 => {
            world.memory.alert = 0;
            return Ok(Outcome::Answer(Ok(Vec::new())));
        }
        _ => return Err(Completion::INVALID_FIELD),
    }
    let address = world.memory.settings.destination(wanted & 0x0f).ok_or(Completion::RANGE)?;
    let mut record = [0; ipmi::sel::LENGTH];
    let [_, _, kind, _, _, _, _, rest @ ..] = &mut record;
    *kind = 0x02;
    match *event {
        [] => {}
        // Generator, version, type, number, class, data.
        [sender, version, sensor_type, number, class, first, second, third] => {
            *rest = [sender, 0, version, sensor_type, number, class, first, second, third];
        }
        _ => return Err(Completion::LENGTH),
    }
    Ok(Outcome::Alert { address, record })
}

/// §21.2 to §21.8: what there is of commands, and what of it the channel has.
pub(crate) fn firewall(command: Command, data: &[u8], world: &World<'_>) -> Answer {
    let channel = data.first().copied().ok_or(Completion::LENGTH)?;
    ipmi::is_this_channel(channel)?;
    if command == Command::GetNetFnSupport {
        // Commands of the specification, for logical unit 0 and those of sensors: two bits each. Each pair of functions is a bit of a unit's four bytes.
        let mut out = vec![0x45];
        for lun in 0..4_u8 {
            let mut pairs = [0_u8; 4];
            for row in
                Command::ROWS.iter().filter(|row| Command::is_of_unit(lun, row.group.function(), row.number))
            {
                let pair = usize::from(row.group.function() / 2);
                if let Some(byte) = pairs.get_mut(pair / 8) {
                    *byte |= 1 << (pair % 8);
                }
            }
            out.extend(pairs);
        }
        return Ok(out);
    }
    let with_number = matches!(
        command,
        Command::GetSubFunctionSupport
            | Command::GetConfigurableSubFunctions
            | Command::GetSubFunctionEnables
    );
    let asked = Asked::read(data, usize::from(with_number))?;
    let settings = &world.memory.settings;
    if with_number {
        let number = data.get(3).copied().ok_or(Completion::LENGTH)?;
        let row = Command::ROWS.iter().find(|row| asked.is(row.group.function()) && row.number == number);
        row.filter(|_| Command::is_of_unit(asked.lun, asked.function, number))
            .ok_or(Completion::NOT_PRESENT)?;
        // None has parts that could be there or not. The first answer also says which book it is of: 0 the specification's, 2.0, revision 1.1.
        return Ok(match command {
            Command::GetSubFunctionSupport => vec![0, 0x20, 0x11, 0, 0, 0, 0],
            _ => vec![0; 4],
        });
    }
    // What the configuration forbids, nobody switches on.
    let forbidden = world.config.forbidden().unwrap_or_default();
    let mut mask = [0_u8; 16];
    for row in Command::ROWS.iter().filter(|row| asked.is(row.group.function()) && asked.has(row.number)) {
        let is_set = match command {
            Command::GetCommandSupport => true,
            // What is switched is switched for all units, by the first.
            Command::GetConfigurableCommands => asked.lun == 0 && row.command.is_configurable(),
            _ => {
                !settings.disabled.contains(&(row.group.function(), row.number))
                    && !forbidden.contains(&row.command)
            }
        };
        if let Some(byte) = mask.get_mut(usize::from(row.number & 0x7f) / 8).filter(|_| is_set) {
            *byte |= 1 << (row.number % 8);
        }
    }
    // The first of the three says what is not there (table 21-3).
    if command == Command::GetCommandSupport {
        mask.iter_mut().for_each(|byte| *byte = !*byte);
    }
    Ok(mask.to_vec())
}

/// §21.7: switches commands of one function on and off.
pub(crate) fn set_enables(data: &[u8], world: &World<'_>) -> Result<Outcome, Completion> {
    ipmi::is_this_channel(data.first().copied().ok_or(Completion::LENGTH)?)?;
    let asked = Asked::read(data, MASK)?;
    if asked.lun != 0 {
        return Err(Completion::INVALID_FIELD);
    }
    let mask = data.get(3..3 + MASK).ok_or(Completion::LENGTH)?;
    let forbidden = world.config.forbidden().unwrap_or_default();
    let mut settings = world.memory.settings.clone();
    for row in Command::ROWS.iter().filter(|row| asked.is(row.group.function()) && asked.has(row.number)) {
        let byte = mask.get(usize::from(row.number & 0x7f) / 8).copied().unwrap_or_default();
        let key = (row.group.function(), row.number);
        match byte >> (row.number % 8) & 1 != 0 {
            true if forbidden.contains(&row.command) => return Err(Completion::INVALID_FIELD),
            true => _ = settings.disabled.remove(&key),
            false if forbidden.contains(&row.command) => {}
            false if row.command.is_configurable() => _ = settings.disabled.insert(key),
            // Without it nobody could log in, or undo this.
            false => return Err(Completion::INVALID_FIELD),
        }
    }
    Ok(keep(settings, world))
}

/// Which half of which function's commands is asked for.
struct Asked {
    lun: u8,
    /// A network function that there is.
    function: u8,
    is_upper: bool,
}

impl Asked {
    /// `behind` bytes come before the one that says whose group it is.
    fn read(data: &[u8], behind: usize) -> Result<Self, Completion> {
        let [_, wanted, lun, ref rest @ ..] = *data else { return Err(Completion::LENGTH) };
        let is_upper = match wanted >> 6 {
            0 => false,
            1 => true,
            _ => return Err(Completion::INVALID_FIELD),
        };
        let lun = lun & 3;
        // Unit 2 is for messages, of which there are none.
        if lun == 2 {
            return Err(Completion::INVALID_FIELD);
        }
        let function = wanted & 0x3e;
        let row = Command::ROWS.iter().find(|row| row.group.function() == function);
        let prefix = row.ok_or(Completion::INVALID_FIELD)?.group.prefix();
        // Whose group it is, the last byte says (§21.2).
        match (rest.get(behind..), prefix) {
            (None | Some([]), _) => {}
            (Some([body]), Some(prefix)) if *body == prefix => {}
            (Some([_]), Some(_)) => return Err(Completion::INVALID_FIELD),
            (Some(_), _) => return Err(Completion::LENGTH),
        }
        Ok(Self { lun, function, is_upper })
    }

    fn is(&self, function: u8) -> bool {
        function == self.function
    }

    fn has(&self, number: u8) -> bool {
        (number >= 0x80) == self.is_upper && Command::is_of_unit(self.lun, self.function, number)
    }
}
