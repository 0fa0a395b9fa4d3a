//! What commands answer: from the live model, or with a call of the contract.

use ipmi::watchdog::{Due, Timeout};
use ipmi::{CHANNEL, Command, Completion, Level, Request, is_this_channel, sdr};
use model::{Domain, Quality, Snapshot, State};
use prost::Message as _;
use prost_types::{Duration, FieldMask};
use schema::rpc::{
    asset_service, chassis_service, host_service, management_controller_service, sensor_service,
};
use schema::v1alpha1 as v1;

use crate::boot_options;
use crate::chunks::{self, Piece, Target, Written};
use crate::dcmi;
use crate::lan;
use crate::outcome::{Outcome, call, is_known};
use crate::parameters;
use crate::parts;
use crate::payloads;
use crate::platform_event;
use crate::sel::Sel;
use crate::sel_log::EVENTS;
use crate::thresholds;
use crate::users;
use crate::world::{Answer, World};

/// How long a machine is identified by default, seconds (§28.5).
const IDENTIFY: u8 = 15;
/// The SEL and its events are on, nothing else is (§22.1).
const GLOBAL_ENABLES: u8 = 0x08;
/// No lock, no interlock and no interrupt of the chassis; FRU data, sensors, SEL and system management are at this controller (§28.1).
const CHASSIS: [u8; 5] = [0, 0x20, 0x20, 0x20, BRIDGE];
const BRIDGE: u8 = 0x20;
/// How far a time may be off that is the same, seconds: a client sets the time it has read.
const SAME_TIME: u32 = 2;
/// Most bytes of one answer.
pub(crate) const ANSWER_MAX: usize = 200;

/// What a request comes to.
pub(crate) fn answer(request: &Request, world: &mut World<'_>) -> Outcome {
    world.repository.refresh(world.snapshot, world.now);
    match outcome(request, world) {
        Ok(outcome) => outcome,
        Err(code) => Outcome::Answer(Err(code)),
    }
}

fn outcome(request: &Request, world: &mut World<'_>) -> Result<Outcome, Completion> {
    let data = &request.data[..];
    let byte = |at: usize| data.get(at).copied().ok_or(Completion::LENGTH);
    let word = |at: usize| Ok::<u16, Completion>(u16::from_le_bytes([byte(at)?, byte(at + 1)?]));
    let sensor = || {
        is_known(world, Domain::Sensors)?;
        world.repository.sensor(request.lun, byte(0)?).ok_or(Completion::NOT_PRESENT)
    };
    let answer: Vec<u8> = match request.command {
        Command::GetChassisCapabilities => CHASSIS.to_vec(),
        // As it is, so what sets it to that is done; the bridge, which is said behind it, is this controller as well (§28.7).
        Command::SetChassisCapabilities => match data.strip_prefix(&CHASSIS) {
            Some([] | [BRIDGE]) => Vec::new(),
            _ => return Err(Completion::INVALID_FIELD),
        },
        Command::GetChassisStatus => chassis_status(world)?,
        Command::ChassisControl => return chassis_control(byte(0)?, world),
        Command::ChassisIdentify => {
            return identify(data.first().copied(), data.get(1).copied().unwrap_or(0), world);
        }
        Command::SetPowerRestorePolicy => return restore_policy(byte(0)?, world),
        Command::GetSystemRestartCause => vec![restart_cause(world)?, CHANNEL],
        Command::SetSystemBootOptions => return boot_options::set(request, host(world)?.0, world),
        Command::GetSystemBootOptions => boot_options::get(data, host(world)?.0, world.boot)?,
        Command::GetPohCounter => {
            // An hour a count (§28.14).
            let on = host(world)?.0.power_on_time.map_or(0, |on| on.seconds.max(0) / 3600);
            [&[60][..], &u32::try_from(on).unwrap_or(u32::MAX).to_le_bytes()].concat()
        }
        Command::PlatformEvent => {
            let is_by_machine = request.session.id == crate::host::SESSION;
            let (severity, text, record) = platform_event::read(data, is_by_machine, request.generator)?;
            return Ok(Outcome::Add { severity, text, record, is_numbered: false });
        }
        Command::GetPefCapabilities => parameters::pef_capabilities(),
        // Nothing is postponed: it is off, and what asks for that or how it is hears so.
        Command::ArmPefTimer => match byte(0)? {
            0x00 | 0xff => vec![0],
            _ => return Err(Completion::INVALID_FIELD),
        },
        Command::SetPefParameters => return parameters::set_pef(request, world),
        Command::GetPefParameters => parameters::pef_parameter(data, world)?,
        Command::SetLastProcessed => parameters::set_processed(data, world)?,
        Command::GetLastProcessed => {
            let newest = known_sel(world)?.records.last().map(|record| (record.id, record.seconds));
            parameters::processed(newest, world)
        }
        Command::AlertImmediate => return parameters::alert(data, world),
        Command::GetDeviceSdrInfo => device_sdr_info(data.first().copied().unwrap_or(0), request.lun, world)?,
        Command::GetSensorReading => reading(request.lun, byte(0)?, world)?,
        Command::GetSensorFactors => {
            // The same for all readings (§35.5).
            let sensor = sensor()?;
            [&[byte(1)?][..], &sensor.scale.encode()].concat()
        }
        Command::GetSensorType => {
            let sensor = sensor()?;
            vec![sensor.kind, 0x01]
        }
        Command::GetSensorThresholds => {
            let sensor = sensor()?;
            let mut out = vec![sensor.thresholds.mask()];
            out.extend(sensor.thresholds.raw(sensor.scale));
            out
        }
        Command::GetSensorHysteresis => {
            let sensor = sensor()?;
            let steps = sensor.scale.steps(sensor.hysteresis);
            vec![steps, steps]
        }
        Command::SetSensorThresholds => {
            let sensor = sensor()?;
            let wanted = data.get(2..).and_then(<[u8]>::first_chunk).ok_or(Completion::LENGTH)?;
            return Ok(thresholds::set(sensor, byte(1)?, wanted)?
                .map_or(Outcome::Answer(Ok(Vec::new())), |wanted| {
                    call(sensor_service::SET_THRESHOLDS, &wanted)
                }));
        }
        Command::SetSensorHysteresis => {
            let sensor = sensor()?;
            let wanted = thresholds::hysteresis(sensor, byte(2)?, byte(3)?)?;
            return Ok(call(sensor_service::SET_THRESHOLDS, &wanted));
        }
        Command::SetSensorEventEnable => {
            thresholds::enable(sensor()?, byte(1)?, data.get(2..).unwrap_or_default())?;
            Vec::new()
        }
        Command::GetSensorEventEnable => {
            // All events there are, and what is measured, are on: both when a threshold is crossed and when it no longer is (§35.11).
            let sensor = sensor()?;
            let events = sensor.thresholds.events().to_le_bytes();
            [&[0xc0][..], &events, &events].concat()
        }
        Command::GetSensorEventStatus => {
            // What is asserted now; nothing is latched (§35.13).
            let state = reading(request.lun, byte(0)?, world)?;
            let (flags, crossed) = (state.get(1).copied(), state.get(2).copied());
            let events = sdr::crossings(crossed.unwrap_or_default() & 0x3f);
            [&[flags.unwrap_or_default()][..], &events.to_le_bytes(), &[0, 0]].concat()
        }
        Command::GetDeviceId => device_id(world),
        Command::ColdReset => return reset(v1::ManagementControllerAction::ColdReset, world),
        Command::WarmReset => return reset(v1::ManagementControllerAction::WarmReset, world),
        Command::GetSelfTestResults => self_test(world),
        // What the machine says of itself, until it goes off or begins anew (§20.6).
        Command::SetAcpiPowerState => {
            world.memory.acpi.set(byte(0)?, byte(1)?)?;
            Vec::new()
        }
        Command::GetAcpiPowerState => world.memory.acpi.get().to_vec(),
        Command::GetDeviceGuid | Command::GetSystemGuid => world.guid.to_vec(),
        Command::ResetWatchdog => {
            world.watchdog.reset(world.mono)?;
            Vec::new()
        }
        Command::SetWatchdog => {
            world.watchdog.set(world.mono, data)?;
            Vec::new()
        }
        Command::GetWatchdog => world.watchdog.get(world.mono).to_vec(),
        Command::GetGlobalEnables => vec![GLOBAL_ENABLES],
        // As it is, so what sets it to that is done.
        Command::SetGlobalEnables if byte(0)? == GLOBAL_ENABLES => Vec::new(),
        Command::SetGlobalEnables => return Err(Completion::INVALID_FIELD),
        Command::GetNetFnSupport
        | Command::GetCommandSupport
        | Command::GetSubFunctionSupport
        | Command::GetConfigurableCommands
        | Command::GetConfigurableSubFunctions
        | Command::GetCommandEnables
        | Command::GetSubFunctionEnables => parameters::firewall(request.command, data, world)?,
        Command::SetCommandEnables => return parameters::set_enables(data, world),
        Command::GetSystemInfo => parameters::system_info(data, world)?,
        Command::SetSystemInfo => return parameters::set_system_info(request, world),
        Command::GetChannelAccess => {
            is_this_channel(byte(0)?)?;
            match byte(1)? >> 6 {
                1 | 2 => CHANNEL_ACCESS.to_vec(),
                _ => return Err(Completion::INVALID_FIELD),
            }
        }
        Command::SetChannelAccess => set_channel_access(byte(0)?, byte(1)?, byte(2)?)?,
        Command::GetChannelInfo => {
            is_this_channel(byte(0)?)?;
            let active = u8::try_from(world.sessions.min(63)).unwrap_or(63);
            // 802.3 LAN, IPMB, many sessions; the protocol is the specification's own (IANA 7154).
            vec![CHANNEL, 0x04, 0x01, 0x80 | active, 0xf2, 0x1b, 0x00, 0, 0]
        }
        Command::GetUserAccess => users::access(byte(0)?, byte(1)?, world)?,
        Command::GetUserName => users::name(byte(0)?, world)?,
        Command::SetUserAccess => return users::set_access(byte(0)?, byte(1)?, byte(2)?, world),
        Command::SetUserName => return users::set_name(byte(0)?, data.get(1..).unwrap_or_default(), world),
        Command::SetUserPassword => {
            return users::set_password(byte(0)?, byte(1)?, data.get(2..).unwrap_or_default(), world);
        }
        Command::ActivatePayload => return payloads::activate(request, world),
        Command::DeactivatePayload => return payloads::deactivate(request, world),
        Command::GetPayloadStatus => payloads::status(byte(0)?, world)?,
        Command::GetPayloadInstance => payloads::instance(byte(0)?, byte(1)?, world)?,
        Command::SetUserPayloadAccess => return payloads::set_access(data, world),
        Command::GetUserPayloadAccess => payloads::access(byte(0)?, byte(1)?, world)?,
        Command::GetPayloadSupport => payloads::support(byte(0)?)?,
        Command::GetPayloadVersion => payloads::version(byte(0)?, byte(1)?)?,
        Command::SetSolParameters => return payloads::set_parameter(request, world),
        Command::GetSolParameters => return payloads::parameter(byte(0)?, byte(1)?, world),
        Command::GetFruArea => {
            let image = fru(byte(0)?, world)?;
            let [low, high] = u16::try_from(image.len()).unwrap_or(u16::MAX).to_le_bytes();
            vec![low, high, 0]
        }
        Command::ReadFru => {
            let image = fru(byte(0)?, world)?;
            let (offset, count) = (usize::from(word(1)?), usize::from(byte(3)?).min(ANSWER_MAX));
            let rest = image.get(offset..).ok_or(Completion::RANGE)?;
            let part = rest.get(..count).unwrap_or(rest);
            let mut out = vec![u8::try_from(part.len()).unwrap_or_default()];
            out.extend_from_slice(part);
            out
        }
        Command::WriteFru => {
            let (device, offset) = (byte(0)?, word(1)?);
            return write_fru(device, offset, data.get(3..).unwrap_or_default(), world);
        }
        Command::GetSdrInfo => {
            is_known(world, Domain::Sensors)?;
            let count = u16::try_from(world.repository.records.len()).unwrap_or(u16::MAX);
            let made = world.repository.made.to_le_bytes();
            let mut out = vec![0x51];
            out.extend(count.to_le_bytes());
            // No room for more; nothing is ever erased. It is reserved, and not written.
            out.extend([0, 0]);
            out.extend(made);
            out.extend([0; 4]);
            out.push(0x02);
            out
        }
        Command::ReserveSdr | Command::ReserveDeviceSdr => world.repository.reserve().to_le_bytes().to_vec(),
        // The records of its own sensors are those of the repository.
        Command::GetSdr | Command::GetDeviceSdr => {
            let (reservation, id, offset, count) = (word(0)?, word(2)?, byte(4)?, byte(5)?);
            sdr_part(world, reservation, id, offset, count)?
        }
        Command::GetSdrTime | Command::GetSelTime => world.now.to_le_bytes().to_vec(),
        // All times are UTC.
        Command::GetSelTimeOffset => vec![0, 0],
        // The clock is the controller's, which time servers set, or somebody by `SetTime`, which takes the right to configure it and a time with its zone. Here clients
        // send the time of their own zone as well, and the machine asks, too: what is not the time already is refused (§31.11).
        Command::SetSelTime => {
            let wanted =
                data.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)).ok_or(Completion::LENGTH)?;
            if wanted.abs_diff(world.now) > SAME_TIME {
                return Err(Completion::STATE);
            }
            Vec::new()
        }
        // UTC, or not said (§31.11b).
        Command::SetSelTimeOffset => match word(0)? {
            0 | 0x07ff => Vec::new(),
            _ => return Err(Completion::STATE),
        },
        Command::GetSelInfo => {
            let sel = known_sel(world)?;
            let records = &sel.records;
            let newest = records.last().map_or(u32::MAX, |record| record.seconds);
            let mut out = vec![0x51];
            out.extend(u16::try_from(records.len()).unwrap_or(u16::MAX).to_le_bytes());
            // As new ones come, old ones go: there is always room.
            out.extend([0xff, 0xff]);
            out.extend(newest.to_le_bytes());
            out.extend(sel.hidden.at.unwrap_or(u32::MAX).to_le_bytes());
            // Records are deleted, and reserved; how much room there is can be asked for.
            out.push(0x0b);
            out
        }
        // A unit is a record: so many are shown at most, of which the oldest gives way to a new one (§31.3).
        Command::GetSelAllocation => {
            let shown = u16::try_from(known_sel(world)?.records.len()).unwrap_or(u16::MAX);
            let (size, free) =
                (u16::try_from(ipmi::sel::LENGTH).unwrap_or(u16::MAX), EVENTS.saturating_sub(shown));
            let mut out = [EVENTS, size, free, free].map(u16::to_le_bytes).concat();
            out.push(1);
            out
        }
        Command::AddSelEntry => {
            known_sel(world)?;
            let record = *data.first_chunk().ok_or(Completion::LENGTH)?;
            let (severity, text) = platform_event::added(&record);
            return Ok(Outcome::Add { severity, text, record, is_numbered: true });
        }
        Command::DeleteSelEntry => return delete_sel(word(0)?, word(2)?, world),
        Command::ClearSel => return clear_sel(word(0)?, data.get(2..5).unwrap_or_default(), byte(5)?, world),
        Command::ReserveSel => {
            world.sel.refresh(world.repository);
            world.sel.reserve().to_le_bytes().to_vec()
        }
        Command::GetSelEntry => {
            let (reservation, id, offset, count) = (word(0)?, word(2)?, byte(4)?, byte(5)?);
            sel_part(world, reservation, id, offset, count)?
        }
        Command::SetLanParameters => return parameters::set_lan(request, world),
        // To whom alerts go, and with which community, is no matter of the machine's, and the latter of administrators alone.
        Command::GetLanParameters
            if matches!(byte(1)?, 18 | 19 | 25) && request.session.id == crate::host::SESSION =>
        {
            return Err(Completion::PARAMETER_NOT_SUPPORTED);
        }
        Command::GetLanParameters
            if byte(1)? == 16
                && byte(0)? & 0x80 == 0
                && (request.session.id == crate::host::SESSION
                    || request.session.level < Level::Administrator) =>
        {
            is_this_channel(byte(0)?)?;
            [&[lan::REVISION][..], &[0; 18]].concat()
        }
        Command::GetLanParameters => return lan_parameter(byte(0)?, byte(1)?, byte(2)?, world),
        Command::GetDcmiCapabilities => dcmi::capabilities(byte(0)?, world.config, world.has_way)?,
        Command::GetPowerReading => dcmi::power(byte(0)?, world)?,
        Command::GetPowerLimit => return Ok(Outcome::Partly(dcmi::no_limit())),
        Command::SetPowerLimit => dcmi::set_limit(data)?,
        Command::ActivatePowerLimit => dcmi::activate_limit(byte(0)?)?,
        Command::GetDcmiSensors => {
            is_known(world, Domain::Sensors)?;
            dcmi::sensors(byte(0)?, byte(1)?, byte(2)?, byte(3)?, world)?
        }
        Command::GetTemperatures => {
            is_known(world, Domain::Readings)?;
            dcmi::temperatures(byte(0)?, byte(1)?, byte(2)?, byte(3)?, world)?
        }
        // Its own DHCP client is netmgr's: no option that finds it, and none that could be set.
        Command::GetDcmiParameters => match byte(0)? {
            2 => vec![1, 5, 1, 0],
            _ => return Err(Completion::PARAMETER_NOT_SUPPORTED),
        },
        Command::SetDcmiParameters => match (byte(0)?, byte(2)?) {
            (2, 0) => Vec::new(),
            (2, _) => return Err(Completion::INVALID_FIELD),
            _ => return Err(Completion::PARAMETER_NOT_SUPPORTED),
        },
        Command::GetAssetTag => text_part(machine(world)?.1.as_bytes(), byte(0)?, byte(1)?)?,
        Command::GetControllerId => text_part(identifier(world)?.1.as_bytes(), byte(0)?, byte(1)?)?,
        Command::SetAssetTag => {
            let (id, now) = machine(world)?;
            let written = piece(request, Target::AssetTag, now.as_bytes(), world)?;
            return Ok(set_tag(id, &written.bytes, Some(written.clone()), world));
        }
        Command::SetControllerId => {
            let (name, now) = identifier(world)?;
            let written = piece(request, Target::Identifier, now.as_bytes(), world)?;
            return set_identifier(name, written, world);
        }
        // Sessions answer these themselves.
        Command::GetChannelAuthCapabilities
        | Command::GetChannelCipherSuites
        | Command::SetSessionPrivilege
        | Command::CloseSession
        | Command::GetSessionInfo => return Err(Completion::INVALID_COMMAND),
    };
    Ok(Outcome::Answer(Ok(answer)))
}

/// The SEL as it is now. Before the log was read nobody knows what is in it.
fn known_sel<'a>(world: &'a mut World<'_>) -> Result<&'a mut Sel, Completion> {
    // A record names its sensor.
    is_known(world, Domain::Sensors)?;
    if !world.sel.is_known() {
        return Err(Completion::BUSY);
    }
    world.sel.refresh(world.repository);
    Ok(world.sel)
}

/// The same for who reserved it: a reservation may end with what has come.
fn reserved_sel<'a>(world: &'a mut World<'_>, reservation: u16) -> Result<&'a mut Sel, Completion> {
    let sel = known_sel(world)?;
    if sel.holds(reservation) { Ok(sel) } else { Err(Completion::RESERVATION) }
}

/// The machine: the first host of the board.
fn host<'a>(world: &World<'a>) -> Result<(&'a v1::Host, Quality), Completion> {
    is_known(world, Domain::Hosts)?;
    let view = world.snapshot.hosts().iter().next().ok_or(Completion::NOT_PRESENT)?;
    Ok((&**view.value, view.quality))
}

/// §28.2.
fn chassis_status(world: &World<'_>) -> Result<Vec<u8>, Completion> {
    let (host, quality) = host(world)?;
    // Nothing says that the power is not known: who asks is told to ask again (I-8).
    if quality != Quality::Good {
        return Err(Completion::BUSY);
    }
    let is_on = match host.status() {
        v1::HostStatus::On | v1::HostStatus::Quiesced | v1::HostStatus::Diagnostic => true,
        v1::HostStatus::Off => false,
        // Between the two it is what the operation began with.
        v1::HostStatus::Transitioning => host.requested_action() != v1::HostAction::On,
        v1::HostStatus::Error | v1::HostStatus::Unspecified => return Err(Completion::BUSY),
    };
    let policy = match host.power_restore_policy() {
        v1::PowerRestorePolicy::AlwaysOff => 0,
        v1::PowerRestorePolicy::Last => 1,
        v1::PowerRestorePolicy::AlwaysOn => 2,
        v1::PowerRestorePolicy::Unspecified => 3,
    };
    // Whether it can be said, and whether it is on: for a while or until it is switched off.
    let identify = match chassis(world).ok().and_then(|chassis| Some((chassis, chassis.identify?))) {
        Some((chassis, true)) => 0x40 | if chassis.identify_until.is_some() { 0x10 } else { 0x20 },
        Some((_, false)) => 0x40,
        None => 0,
    };
    Ok(vec![policy << 5 | u8::from(is_on), last_power_event(world)?, identify])
}

/// §28.2: whether the machine is or was last on by a command. That is known while the last operation is the one that it started by: after another one,
/// such as a reset, nobody says what it was switched on by.
fn last_power_event(world: &World<'_>) -> Result<u8, Completion> {
    const ON_BY_COMMAND: u8 = 0x10;
    let is_by_command = restart_cause(world)? == BY_COMMAND;
    let is_by_last = host(world)?.0.last_operation.as_ref().is_some_and(|last| {
        matches!(last.action(), v1::HostAction::On | v1::HostAction::PowerCycle)
            && last.result() == v1::OperationResult::Done
    });
    Ok(if is_by_command && is_by_last { ON_BY_COMMAND } else { 0 })
}

/// §28.3.
fn chassis_control(wanted: u8, world: &World<'_>) -> Result<Outcome, Completion> {
    let action = match wanted & 0xf {
        0 => v1::HostAction::ForceOff,
        1 => v1::HostAction::On,
        2 => v1::HostAction::PowerCycle,
        3 => v1::HostAction::ForceRestart,
        4 => v1::HostAction::Nmi,
        5 => v1::HostAction::Off,
        _ => return Err(Completion::INVALID_FIELD),
    };
    let (host, _) = host(world)?;
    let request = v1::ChangeHostStateRequest { host_name: host.name.clone(), action: action.into() };
    Ok(call(host_service::CHANGE_HOST_STATE, &request))
}

/// As whom the watchdog of IPMI asks, which is no name of an account.
pub(crate) const WATCHDOG: &str = "watchdog of IPMI";

/// What the watchdog's end or interrupt wants of the machine; `None` for nothing.
pub(crate) fn wanted(due: Due) -> Option<v1::HostAction> {
    match due {
        Due::Interrupt => Some(v1::HostAction::Nmi),
        Due::Expired { timeout: Timeout::Reset, .. } => Some(v1::HostAction::ForceRestart),
        Due::Expired { timeout: Timeout::PowerDown, .. } => Some(v1::HostAction::ForceOff),
        Due::Expired { timeout: Timeout::PowerCycle, .. } => Some(v1::HostAction::PowerCycle),
        Due::Expired { timeout: Timeout::Tell, .. } => None,
    }
}

/// Whether this event says that the machine went off or began anew: a watchdog stops then.
pub(crate) fn ends_watchdog(subject: &str, payload: &[u8], snapshot: &Snapshot) -> bool {
    let Some(rest) = subject.strip_prefix("event.host.") else { return false };
    let machine = snapshot.hosts().iter().next().map(|view| view.value.name.as_str());
    if rest.split('.').next() != machine {
        return false;
    }
    let Ok(event) = v1::Event::decode(payload) else { return false };
    match event.payload {
        Some(v1::event::Payload::HostStateChange(change)) => {
            change.current_status() == v1::HostStatus::Off
                || change.reboot_cause() != v1::HostRebootCause::Unspecified
        }
        _ => false,
    }
}

/// The box that the machine is in.
fn chassis<'a>(world: &World<'a>) -> Result<&'a v1::Chassis, Completion> {
    let (host, _) = host(world)?;
    is_known(world, Domain::Chassis)?;
    Ok(&**world.snapshot.chassis().get(&host.chassis_name).ok_or(Completion::NOT_PRESENT)?.value)
}

/// §28.5.
fn identify(seconds: Option<u8>, force: u8, world: &World<'_>) -> Result<Outcome, Completion> {
    let chassis_name = chassis(world)?.name.clone();
    let is_forced = force & 1 != 0;
    let request = match seconds.unwrap_or(IDENTIFY) {
        0 if !is_forced => v1::ChangeChassisStateRequest {
            chassis_name,
            action: v1::ChassisAction::IdentifyOff.into(),
            duration: None,
        },
        seconds => v1::ChangeChassisStateRequest {
            chassis_name,
            action: v1::ChassisAction::IdentifyOn.into(),
            duration: (!is_forced).then_some(Duration { seconds: seconds.into(), nanos: 0 }),
        },
    };
    Ok(call(chassis_service::CHANGE_CHASSIS_STATE, &request))
}

/// §28.8.
fn restore_policy(wanted: u8, world: &World<'_>) -> Result<Outcome, Completion> {
    // All three are there.
    let supported = vec![0x07];
    let policy = match wanted & 7 {
        0 => v1::PowerRestorePolicy::AlwaysOff,
        1 => v1::PowerRestorePolicy::Last,
        2 => v1::PowerRestorePolicy::AlwaysOn,
        // Only asks what there is.
        3 => return Ok(Outcome::Answer(Ok(supported))),
        _ => return Err(Completion::INVALID_FIELD),
    };
    let (host, _) = host(world)?;
    let request = v1::UpdateHostRequest {
        host_name: host.name.clone(),
        host: Some(v1::Host { power_restore_policy: Some(policy.into()), ..v1::Host::default() }),
        field_mask: Some(FieldMask { paths: vec!["power_restore_policy".to_owned()] }),
    };
    Ok(call(host_service::UPDATE_HOST, &request).saying(supported))
}

/// It was started by a command (§28.11).
const BY_COMMAND: u8 = 0x1;

/// §28.11.
fn restart_cause(world: &World<'_>) -> Result<u8, Completion> {
    use v1::HostRebootCause as Cause;
    let (host, _) = host(world)?;
    let Some(reboot) = &host.last_reboot else { return Ok(0) };
    // Who owns the machine knows who asked for its start, and the watchdog asks under a name that no account has.
    let by_watchdog = host.last_operation.as_ref().is_some_and(|last| {
        last.username == WATCHDOG
            && matches!(last.action(), v1::HostAction::ForceRestart | v1::HostAction::PowerCycle)
            && last.result() == v1::OperationResult::Done
    });
    Ok(match reboot.reboot_cause() {
        Cause::Command | Cause::PowerCycle if by_watchdog => 0x4,
        Cause::Command | Cause::PowerCycle => BY_COMMAND,
        Cause::ResetButton => 0x2,
        Cause::PowerButton => 0x3,
        Cause::Watchdog => 0x4,
        Cause::RestorePolicy if host.power_restore_policy() == v1::PowerRestorePolicy::Last => 0x7,
        Cause::RestorePolicy => 0x6,
        Cause::SoftReset => 0xa,
        _ => 0x0,
    })
}

/// §35.14.
fn reading(lun: u8, number: u8, world: &World<'_>) -> Answer {
    is_known(world, Domain::Sensors)?;
    is_known(world, Domain::Readings)?;
    let sensor = world.repository.sensor(lun, number).ok_or(Completion::NOT_PRESENT)?;
    let view = world.snapshot.sensor(&sensor.id).ok_or(Completion::NOT_PRESENT)?;
    let good = view.value().filter(|_| view.quality() == Quality::Good).map(|value| value * sensor.factor);
    // What a byte cannot say is not shown as what it can (I-8).
    let Some(value) = good.filter(|value| sensor.holds(*value)) else {
        // Events and scanning are on, the reading is not available.
        return Ok(vec![0, 0xe0, 0xc0]);
    };
    let crossed = match (view.about.map(|about| &about.reading), view.value()) {
        (Some(Some(v1::sensor::Reading::AnalogReading(analog))), Some(value)) => {
            thresholds::crossed(analog, view.status(), value)
        }
        _ => 0,
    };
    Ok(vec![sensor.scale.raw(value), 0xc0, 0xc0 | crossed])
}

/// §20.1.
fn device_id(world: &World<'_>) -> Vec<u8> {
    let version = world.snapshot.system().and_then(|view| view.value.version.clone()).unwrap_or_default();
    let [major, minor] = revision(&version);
    // Chassis device, FRU inventory, SEL, SDR repository, sensors; of no manufacturer's numbers.
    // It also has the records of its sensors by themselves.
    vec![0x20, 0x80, major, minor, 0x02, 0x8f, 0, 0, 0, 0, 0]
}

/// A version as the revision of firmware: the first number in seven bits, the second in two digits.
fn revision(version: &str) -> [u8; 2] {
    // What there is no room for is shown as the most there is room for: another number would be another version's.
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(u8::MAX));
    let (major, minor) = (numbers.next().unwrap_or(0).min(0x7f), numbers.next().unwrap_or(0).min(99));
    let bcd = ((minor / 10) << 4) | (minor % 10);
    [major, bcd]
}

/// §35.2: how many sensors this logical unit has, or how many records there are; which units have some, and since when they are as they are.
fn device_sdr_info(operation: u8, lun: u8, world: &World<'_>) -> Answer {
    is_known(world, Domain::Sensors)?;
    let of = |lun: u8| {
        let places = (0..world.repository.sensors.len()).filter_map(sdr::place);
        places.filter(|(of, _)| *of == lun).count()
    };
    let count = if operation & 1 != 0 { world.repository.records.len() } else { of(lun & 3) };
    let units = (0..4_u8).filter(|lun| of(*lun) > 0).fold(0, |units, lun| units | 1 << lun);
    // Sensors come and go.
    let mut out = vec![u8::try_from(count).unwrap_or(u8::MAX), 0x80 | units];
    out.extend(world.repository.made.to_le_bytes());
    Ok(out)
}

/// §20.4: what cannot be reached.
fn self_test(world: &World<'_>) -> Vec<u8> {
    let fails = |domain: Domain, bit: u8| {
        if world.snapshot.status(domain).state == State::Live { 0 } else { bit }
    };
    let found = fails(Domain::Events, 0x80) | fails(Domain::Sensors, 0x40) | fails(Domain::Assets, 0x20);
    if found == 0 { vec![0x55, 0] } else { vec![0x57, found] }
}

/// The part that is this FRU device: 0 is the whole machine.
fn asset<'a>(device: u8, world: &World<'a>) -> Result<&'a v1::Asset, Completion> {
    is_known(world, Domain::Assets)?;
    parts::of(world.snapshot).nth(device.into()).ok_or(Completion::NOT_PRESENT)
}

fn fru(device: u8, world: &World<'_>) -> Answer {
    parts::image(asset(device, world)?).ok_or(Completion::UNSPECIFIED)
}

/// §33.12: a part from within a record takes a reservation, so that no two records are mixed.
fn sdr_part(world: &World<'_>, reservation: u16, id: u16, offset: u8, count: u8) -> Answer {
    is_known(world, Domain::Sensors)?;
    if (offset != 0 || reservation != 0) && !world.repository.holds(reservation) {
        return Err(Completion::RESERVATION);
    }
    let records = &world.repository.records;
    let at = match id {
        0 => 0,
        0xffff => records.len().saturating_sub(1),
        id => usize::from(id) - 1,
    };
    let record = records.get(at).ok_or(Completion::NOT_PRESENT)?;
    let next = if at + 1 < records.len() { u16::try_from(at + 2).unwrap_or(0xffff) } else { 0xffff };
    part(next, record, offset, count)
}

/// A piece of a text: its length, and at most sixteen bytes (DCMI 1.5, §6.4.1).
fn text_part(text: &[u8], offset: u8, count: u8) -> Answer {
    if count > 16 {
        return Err(Completion::RANGE);
    }
    let part = text.get(usize::from(offset)..).ok_or(Completion::RANGE)?;
    let mut out = vec![u8::try_from(text.len()).unwrap_or(u8::MAX)];
    out.extend(part.iter().take(usize::from(count)));
    Ok(out)
}

/// The whole machine as a part: its id, and its asset tag.
fn machine(world: &World<'_>) -> Result<(String, String), Completion> {
    let part = asset(0, world)?;
    let tag = part.info.as_ref().and_then(|info| info.asset_tag.clone());
    Ok((part.id.clone(), tag.unwrap_or_default()))
}

/// The controller: its name, and what its owner calls it, which is what is said about it, or the name of the system.
fn identifier(world: &World<'_>) -> Result<(String, String), Completion> {
    let controller = controller(world)?;
    let said = controller.description.clone().filter(|text| !text.is_empty());
    let system = || world.snapshot.system().map(|view| view.value.name.clone()).unwrap_or_default();
    Ok((controller.name.clone(), said.unwrap_or_else(system)))
}

fn controller<'a>(world: &World<'a>) -> Result<&'a v1::ManagementController, Completion> {
    is_known(world, Domain::Controllers)?;
    let view = world.snapshot.controllers().iter().next().ok_or(Completion::NOT_PRESENT)?;
    Ok(&**view.value)
}

/// A piece of a text that is written: where it begins, how long it is, and it.
fn piece(request: &Request, target: Target, now: &[u8], world: &World<'_>) -> Result<Written, Completion> {
    let [offset, count, piece @ ..] = &request.data[..] else { return Err(Completion::LENGTH) };
    if piece.len() != usize::from(*count) {
        return Err(Completion::LENGTH);
    }
    chunks::text(target, (world.written.as_ref(), now), *offset, piece)
}

/// An asset tag; `written` is what the session goes on with.
fn set_tag(id: String, tag: &[u8], written: Option<Written>, world: &mut World<'_>) -> Outcome {
    let length = vec![u8::try_from(tag.len()).unwrap_or(u8::MAX)];
    // A tag is text: what is none is refused, and not written as something else.
    let Ok(tag) = String::from_utf8(tag.to_vec()) else {
        return Outcome::Answer(Err(Completion::INVALID_FIELD));
    };
    *world.written = written;
    let request = v1::SetAssetInfoRequest { id, asset_tag: Some(tag), location: None };
    call(asset_service::SET_ASSET_INFO, &request).saying(length)
}

fn set_identifier(name: String, written: Written, world: &mut World<'_>) -> Result<Outcome, Completion> {
    let text = String::from_utf8(written.bytes.clone()).map_err(|_| Completion::INVALID_FIELD)?;
    let length = vec![u8::try_from(text.len()).unwrap_or(u8::MAX)];
    *world.written = Some(written);
    let controller =
        v1::ManagementController { description: Some(text), ..v1::ManagementController::default() };
    let request = v1::UpdateManagementControllerRequest {
        controller_name: name,
        controller: Some(controller),
        field_mask: Some(FieldMask { paths: vec!["description".to_owned()] }),
    };
    Ok(call(management_controller_service::UPDATE_MANAGEMENT_CONTROLLER, &request).saying(length))
}

/// §34.3.
fn write_fru(device: u8, offset: u16, piece: &[u8], world: &mut World<'_>) -> Result<Outcome, Completion> {
    let part = asset(device, world)?;
    let count = vec![u8::try_from(piece.len()).unwrap_or(u8::MAX)];
    let found = chunks::fru(device, world.written.as_ref(), part, offset, piece);
    *world.written = None;
    Ok(match found? {
        Piece::Waits(written) => {
            *world.written = Some(written);
            Outcome::Answer(Ok(count))
        }
        Piece::Same => Outcome::Answer(Ok(count)),
        Piece::AssetTag(tag) => set_tag(part.id.clone(), tag.as_bytes(), None, world).saying(count),
    })
}

/// §20.2, §20.3.
fn reset(action: v1::ManagementControllerAction, world: &World<'_>) -> Result<Outcome, Completion> {
    let request = v1::ChangeManagementControllerStateRequest {
        controller_name: controller(world)?.name.clone(),
        action: action.into(),
    };
    Ok(call(management_controller_service::CHANGE_MANAGEMENT_CONTROLLER_STATE, &request))
}

/// §31.8.
fn delete_sel(reservation: u16, id: u16, world: &mut World<'_>) -> Result<Outcome, Completion> {
    let now = world.now;
    let gone = reserved_sel(world, reservation)?.without_one(id, now);
    let (id, hidden) = gone.ok_or(Completion::NOT_PRESENT)?;
    Ok(Outcome::Hide { hidden, data: id.to_le_bytes().to_vec() })
}

/// §31.9: begins it, or asks how far it is; it is done at once.
fn clear_sel(
    reservation: u16,
    word: &[u8],
    wanted: u8,
    world: &mut World<'_>,
) -> Result<Outcome, Completion> {
    let now = world.now;
    let sel = reserved_sel(world, reservation)?;
    if word != b"CLR" {
        return Err(Completion::INVALID_FIELD);
    }
    let done = vec![0x01];
    match wanted {
        0x00 => Ok(Outcome::Answer(Ok(done))),
        0xaa => {
            let hidden = sel.without_all(now);
            // One that is empty already is as it is: nothing is stored, and nothing told.
            Ok(if sel.hides(&hidden) {
                Outcome::Answer(Ok(done))
            } else {
                Outcome::Hide { hidden, data: done }
            })
        }
        _ => Err(Completion::INVALID_FIELD),
    }
}

/// §31.5.
fn sel_part(world: &mut World<'_>, reservation: u16, id: u16, offset: u8, count: u8) -> Answer {
    let sel = if offset == 0 { known_sel(world)? } else { reserved_sel(world, reservation)? };
    let at = sel.place(id).ok_or(Completion::NOT_PRESENT)?;
    let record = sel.records.get(at).ok_or(Completion::NOT_PRESENT)?;
    part(sel.after(at), &record.bytes, offset, count)
}

fn part(next: u16, record: &[u8], offset: u8, count: u8) -> Answer {
    let rest = record.get(usize::from(offset)..).ok_or(Completion::RANGE)?;
    let part = rest.get(..usize::from(count)).unwrap_or(rest);
    let mut out = next.to_le_bytes().to_vec();
    out.extend_from_slice(part);
    Ok(out)
}

/// §23.2, table 23-4. What nobody tells is not supported.
fn lan_parameter(channel: u8, selector: u8, set: u8, world: &mut World<'_>) -> Result<Outcome, Completion> {
    is_this_channel(channel)?;
    // Only the revision is wanted.
    if channel & 0x80 != 0 {
        return Ok(Outcome::Answer(Ok(vec![lan::REVISION])));
    }
    if lan::is_of_network(selector) {
        return Ok(Outcome::Network { selector, set, wanted: None });
    }
    let value = match parameters::lan_parameter(selector, set, world) {
        Some(value) => value?,
        None => lan::fixed_parameter(selector, world).ok_or(Completion::PARAMETER_NOT_SUPPORTED)?,
    };
    Ok(Outcome::Answer(Ok([&[lan::REVISION][..], &value].concat())))
}

/// How the channel is: always there, with alerts by PEF; and up to which privilege (§22.22).
const CHANNEL_ACCESS: [u8; 2] = [0x02, Level::Administrator as u8];

/// §22.22: it is as it is, so what sets it to that is done, and what sets it to anything else is refused.
fn set_channel_access(channel: u8, access: u8, limit: u8) -> Answer {
    const NO_SUCH_MODE: Completion = Completion(0x83);
    is_this_channel(channel)?;
    let [is, most] = CHANNEL_ACCESS;
    match access >> 6 {
        0 => {}
        1 | 2 if access & 0x07 != is & 0x07 => return Err(NO_SUCH_MODE),
        1 | 2 if access & 0x3f == is => {}
        _ => return Err(Completion::INVALID_FIELD),
    }
    match limit >> 6 {
        0 => {}
        1 | 2 if limit & 0x0f == most => {}
        _ => return Err(Completion::INVALID_FIELD),
    }
    Ok(Vec::new())
}

/// A refusal of the gate or of an owner as IPMI says it.
pub(crate) fn completion(code: ipc::Code) -> Completion {
    use ipc::Code;
    match code {
        Code::Ok => Completion::OK,
        Code::PermissionDenied | Code::Unauthenticated => Completion::PRIVILEGE,
        Code::InvalidArgument => Completion::INVALID_FIELD,
        Code::OutOfRange => Completion::RANGE,
        Code::NotFound => Completion::NOT_PRESENT,
        Code::FailedPrecondition | Code::Aborted | Code::AlreadyExists => Completion::STATE,
        Code::ResourceExhausted | Code::Unavailable => Completion::BUSY,
        Code::DeadlineExceeded => Completion::TIMEOUT,
        Code::Unimplemented => Completion::INVALID_COMMAND,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => Completion::UNSPECIFIED,
    }
}

#[cfg(test)]
#[path = "commands_tests.rs"]
mod tests;
