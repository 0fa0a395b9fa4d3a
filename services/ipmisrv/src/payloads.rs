//! Commands of payloads (§24) and the settings of Serial over LAN (§26). There is one instance: the console of the machine.

use ipmi::sol::PACKET_MAX;
use ipmi::{CHANNEL, Completion, Level, Request, is_this_channel};

use crate::outcome::{Outcome, host_name};
use crate::users;
use crate::world::{Answer, World};

/// Serial over LAN (table 13-16).
const SOL: u8 = 1;
/// The only instance.
const INSTANCE: u8 = 1;
/// The version of the payload's format: 1.0.
const VERSION: u8 = 0x10;
/// The revision of the parameters, which comes before each (table 26-3).
const REVISION: u8 = 0x11;

/// Of Activate Payload and Deactivate Payload: it is active, or is not (tables 24-2, 24-4).
const ALREADY: Completion = Completion(0x80);
/// It is switched off.
const DISABLED: Completion = Completion(0x81);
/// Packets that are not encrypted and proved are not sent here.
const NOT_IN_THE_CLEAR: Completion = Completion(0x84);
/// Of Set SOL Configuration Parameters (table 26-2): another session is setting them.
const IN_PROGRESS: Completion = Completion(0x81);
/// It can be read alone.
const READ_ONLY: Completion = Completion(0x82);

fn is_sol(kind: u8) -> Result<(), Completion> {
    if kind & 0x3f == SOL { Ok(()) } else { Err(Completion::INVALID_FIELD) }
}

fn is_instance(kind: u8, instance: u8) -> Result<(), Completion> {
    is_sol(kind)?;
    if instance & 0x0f == INSTANCE { Ok(()) } else { Err(Completion::INVALID_FIELD) }
}

/// §24.1. One session has it at a time.
pub(crate) fn activate(request: &Request, world: &World<'_>) -> Result<Outcome, Completion> {
    let &[kind, instance, protection, ..] = &request.data[..] else { return Err(Completion::LENGTH) };
    is_instance(kind, instance)?;
    let kept = world.sol.kept()?;
    if !kept.enabled {
        return Err(DISABLED);
    }
    if protection & 0xc0 != 0xc0 {
        return Err(NOT_IN_THE_CLEAR);
    }
    if request.session.level < kept.level() || kept.denied.contains(&request.session.account) {
        return Err(Completion::PRIVILEGE);
    }
    match world.sol.owner {
        None => Ok(Outcome::Activate { host_name: host_name(world)? }),
        Some(owner) if !owner.asks_once_more(request.session.id, world.mono) => Err(ALREADY),
        Some(owner) if owner.is_open => Ok(Outcome::Answer(Ok(activated(world.port)))),
        // Its first request is under way.
        Some(_) => Err(Completion::BUSY),
    }
}

/// What is said of an instance that is active: no test mode, how long packets may be, the port, no VLAN.
pub(crate) fn activated(port: u16) -> Vec<u8> {
    let [size, port] = [PACKET_MAX, port].map(u16::to_le_bytes);
    [&[0; 4][..], &size, &size, &port, &[0xff, 0xff]].concat()
}

/// §24.2: whoever may have it may end it.
pub(crate) fn deactivate(request: &Request, world: &World<'_>) -> Result<Outcome, Completion> {
    let &[kind, instance, ..] = &request.data[..] else { return Err(Completion::LENGTH) };
    is_instance(kind, instance)?;
    if world.sol.owner.is_none_or(|owner| !owner.is_open) {
        return Err(ALREADY);
    }
    let (kept, session) = (world.sol.kept()?, &request.session);
    let is_own = world.sol.owner.is_some_and(|owner| owner.session == session.id);
    if !is_own && (session.level < kept.level() || kept.denied.contains(&session.account)) {
        return Err(Completion::PRIVILEGE);
    }
    Ok(Outcome::Deactivate)
}

/// §24.4: how many there can be, and which are active.
pub(crate) fn status(kind: u8, world: &World<'_>) -> Answer {
    is_sol(kind)?;
    Ok(vec![INSTANCE, u8::from(world.sol.owner.is_some_and(|owner| owner.is_open)), 0])
}

/// §24.5: the session that has it, 0 for none; the number of the port.
pub(crate) fn instance(kind: u8, instance: u8, world: &World<'_>) -> Answer {
    is_instance(kind, instance)?;
    let session = world.sol.owner.filter(|owner| owner.is_open).map_or(0, |owner| owner.session);
    Ok([&session.to_le_bytes()[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat())
}

/// §24.6.
pub(crate) fn set_access(data: &[u8], world: &World<'_>) -> Result<Outcome, Completion> {
    let &[channel, user, wanted, ref rest @ ..] = data else { return Err(Completion::LENGTH) };
    is_this_channel(channel)?;
    // Messages of IPMI are for all; others there are none.
    if wanted & !(1 << SOL) != 0 || rest.iter().any(|byte| *byte != 0) {
        return Err(Completion::INVALID_FIELD);
    }
    let account = users::account(user, world)?;
    let mut kept = world.sol.kept()?.clone();
    let is_changed = match (user >> 6, wanted) {
        (0 | 1, 0) => false,
        (0, _) => kept.denied.remove(&account.id),
        (1, _) => kept.denied.insert(account.id.clone()),
        _ => return Err(Completion::INVALID_FIELD),
    };
    if !is_changed {
        return Ok(Outcome::Answer(Ok(Vec::new())));
    }
    // Those of accounts that are no more are forgotten.
    kept.denied.retain(|id| world.snapshot.accounts().iter().any(|view| view.value.id == *id));
    Ok(Outcome::Keep { kept })
}

/// §24.7: what is set; what it takes beside that is the privilege.
pub(crate) fn access(channel: u8, user: u8, world: &World<'_>) -> Answer {
    is_this_channel(channel)?;
    let account = users::of(user, world)?;
    let denied = &world.sol.kept()?.denied;
    let may = account.is_some_and(|account| account.ipmi && !denied.contains(&account.id));
    Ok(vec![u8::from(may) << SOL, 0, 0, 0])
}

/// §24.8: messages of IPMI and Serial over LAN, and what a session begins with.
pub(crate) fn support(channel: u8) -> Answer {
    is_this_channel(channel)?;
    Ok(vec![1 | 1 << SOL, 0, 0x3f, 0, 0, 0, 0, 0])
}

/// §24.9.
pub(crate) fn version(channel: u8, kind: u8) -> Answer {
    is_this_channel(channel)?;
    match kind & 0x3f {
        // Messages, and the steps to a session.
        0 | SOL | 0x10..=0x15 => Ok(vec![VERSION]),
        _ => Err(Completion::PARAMETER_NOT_SUPPORTED),
    }
}

/// §26.3, table 26-5.
pub(crate) fn parameter(channel: u8, selector: u8, world: &World<'_>) -> Result<Outcome, Completion> {
    is_this_channel(channel)?;
    // Only the revision is wanted.
    if channel & 0x80 != 0 {
        return Ok(Outcome::Answer(Ok(vec![REVISION])));
    }
    let kept = world.sol.kept()?;
    let value: Vec<u8> = match selector {
        0 => vec![u8::from(world.sol.setter.is_some())],
        1 => vec![kept.enabled.into()],
        // Encrypted and proved, always.
        2 => vec![0xc0 | kept.level() as u8],
        3 => vec![kept.accumulate, kept.threshold],
        4 => vec![kept.retries, kept.interval],
        // Only the board says it: both are the same.
        5 | 6 => return Ok(Outcome::BitRate { host_name: host_name(world)? }),
        7 => vec![CHANNEL],
        8 => world.port.to_le_bytes().to_vec(),
        _ => return Err(Completion::PARAMETER_NOT_SUPPORTED),
    };
    Ok(Outcome::Answer(Ok(with_revision(&value))))
}

fn with_revision(value: &[u8]) -> Vec<u8> {
    [&[REVISION], value].concat()
}

/// The speed of a console's port as parameters 5 and 6 say it; 0 for one that there is no number for.
pub(crate) fn bit_rate(rate: u32) -> Vec<u8> {
    let number = match rate {
        9_600 => 6,
        19_200 => 7,
        38_400 => 8,
        57_600 => 9,
        115_200 => 10,
        _ => 0,
    };
    with_revision(&[number])
}

/// §26.2.
pub(crate) fn set_parameter(request: &Request, world: &mut World<'_>) -> Result<Outcome, Completion> {
    let [channel, selector, value @ ..] = &request.data[..] else { return Err(Completion::LENGTH) };
    is_this_channel(*channel)?;
    let session = request.session.id;
    let mut kept = world.sol.kept()?.clone();
    if *selector == 0 {
        let &[progress] = value else { return Err(Completion::LENGTH) };
        match (progress & 3, world.sol.setter) {
            (1, Some(setter)) if setter != session => return Err(IN_PROGRESS),
            (1, _) => world.sol.setter = Some(session),
            (0, _) => world.sol.setter = None,
            // What is set counts at once.
            (2, _) => {}
            _ => return Err(Completion::INVALID_FIELD),
        }
        return Ok(Outcome::Answer(Ok(Vec::new())));
    }
    match (*selector, value) {
        (1, [enabled]) => kept.enabled = enabled & 1 != 0,
        (2, [wanted]) => {
            let level = match wanted & 0x0f {
                3 => Level::Operator,
                4 => Level::Administrator,
                // A console is for operators at least.
                _ => return Err(Completion::INVALID_FIELD),
            };
            if wanted & 0xc0 != 0xc0 {
                return Err(Completion::INVALID_FIELD);
            }
            kept.set_level(level);
        }
        (3, [accumulate, threshold]) => {
            if *accumulate == 0 || *threshold == 0 {
                return Err(Completion::RANGE);
            }
            (kept.accumulate, kept.threshold) = (*accumulate, *threshold);
        }
        (4, [retries, interval]) => (kept.retries, kept.interval) = (retries & 7, *interval),
        (1..=4, _) => return Err(Completion::LENGTH),
        (5..=8, _) => return Err(READ_ONLY),
        _ => return Err(Completion::PARAMETER_NOT_SUPPORTED),
    }
    if kept == *world.sol.kept()? {
        return Ok(Outcome::Answer(Ok(Vec::new())));
    }
    Ok(Outcome::Keep { kept })
}
