//! The loop: what the hardware says and people ask in; duties, events and answers out.

use std::path::PathBuf;
use std::sync::Arc;

use board::{Board, Loops};
use hw::{Fans, Sensors, SysRoot};
use ipc::{CallContext, Outbox, Reply, Request, Status};
use schema::server::ThermalServiceCall as Call;
use schema::v1alpha1 as v1;
use service::{Clock, Context, ErrorChain, Keeper};
use thermal::{Action, Event, Machine, Note, Periodic, Profile, Reading};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use units::{Allowance, Duty, Lasting, Millis, Mono};

use crate::io::{Completion, Io, Role};
use crate::kept::Latched;
use crate::tell::By;
use crate::told::Told;
use crate::{Config, Error, kept, power, tell, wire};

/// What waits for the medium at once: a profile and emergencies.
const KEEPING: usize = 8;
/// How long it may take to store what was told last when the daemon stops.
const LAST_TOLD_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);
/// Changes of the profile at once, and then one in each span: each is an event and a file in flash.
const CHANGES_AT_ONCE: u32 = 16;
const CHANGES_EACH: Millis = Millis::from_secs(300);
/// Who comes so late to a turn stood still himself: turns are due ten times a second.
const STOOD_STILL: Millis = Millis::from_secs(1);
/// Emergencies that could not be stored are tried again after so long.
const STORE_AGAIN: Millis = Millis::from_secs(10);

/// Runs the daemon.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let Config {} = context.config()?;
    let board = context.board()?;
    let root = SysRoot::of(&board, &context.run_dir);
    let (sensors, fans) = (Sensors::new(&board, &root), Fans::new(&board, &root));
    serve(context, board, sensors, fans).await
}

/// Runs the daemon over this hardware, until it is told to stop.
///
/// # Errors
///
/// As [`run`].
pub async fn serve(context: Context, board: Arc<Board>, sensors: Sensors, fans: Fans) -> Result<(), Error> {
    let loops = board.loops()?;
    let clock = context.clock;
    let io = Io::new(clock.now(), &board, &loops, sensors, fans);
    let (profile, damage) = kept::profile(&context.state_dir);
    let stored_profile = damage.is_none().then_some(profile);
    if let Some(what) = damage {
        context.notify.finding(kept::PROFILE, &what);
    }
    let mut machine = Machine::new(loops.config.clone(), profile, clock.now())?;
    let zones: Vec<String> = board.zones.iter().map(|zone| zone.id.as_str().to_owned()).collect();
    let (latched, damage) = kept::emergencies(&context.state_dir, &zones);
    if let Some(what) = damage {
        context.notify.finding(kept::EMERGENCIES, &what);
    }
    for Latched { zone, uncut } in &latched {
        tracing::warn!(zone, uncut, "emergency latched before the restart: fans at full speed");
        if let Some(index) = zones.iter().position(|known| known == zone) {
            machine.latch(clock.now(), index, *uncut);
        }
    }
    let (told, damage) = kept::told(&context.state_dir);
    if let Some(what) = damage {
        context.notify.finding(kept::TOLD, &what);
    }
    // Without a file all counts as well: what is not is told then, and nothing that only the start brings.
    let told = told.unwrap_or_default();
    machine.remember(clock.now(), &told.said(&board, &loops));
    let (outbox, sender) = Outbox::new(context.bus.clone());
    let (keep, kept) = mpsc::channel(KEEPING);
    let hosts = hosts(&board);
    let daemon = Daemon {
        sampling: Periodic::new(clock.now(), loops.config.thermal_period),
        off_until: vec![None; board.sensors.len()],
        undriven: vec![Lasting::default(); board.fans.len()],
        stepped: clock.now(),
        keeping: false,
        stored_profile,
        changes: Allowance::new(CHANGES_AT_ONCE, 1, CHANGES_EACH),
        latch: Latch { stored: Some(latched), ..Latch::default() },
        told: Keeper::new(told),
        refusals: vec![String::new(); board.zones.len()],
        machine,
        io,
        board,
        loops,
        clock,
        outbox,
        hosts,
        off: Vec::new(),
        cuts: JoinSet::new(),
        bus: context.bus.clone(),
        state_dir: context.state_dir.clone(),
        keep,
    };
    daemon.run(&context, kept).await?;
    let _ = sender.await;
    Ok(())
}

/// The hosts of each zone: those its sensors are part of, or else all.
fn hosts(board: &Board) -> Vec<Vec<String>> {
    let of = |zone: &board::Zone| {
        let mut hosts: Vec<String> = Vec::new();
        for sensor in zone.sensors.iter().filter_map(|(name, _)| board.sensors.iter().find(|s| s.id == *name))
        {
            if let Some(host) = sensor.host.as_ref().map(|id| id.as_str().to_owned())
                && !hosts.contains(&host)
            {
                hosts.push(host);
            }
        }
        if hosts.is_empty() {
            hosts = board.hosts.iter().map(|host| host.id.as_str().to_owned()).collect();
        }
        hosts
    };
    board.zones.iter().map(of).collect()
}

/// What was put on the medium, or was not.
enum Kept {
    Profile { profile: Profile, result: std::io::Result<()>, reply: Reply<v1::SetThermalProfileResponse> },
    Emergencies { zones: Vec<Latched>, result: std::io::Result<()> },
    Told(std::io::Result<()>),
}

/// What the medium has of the latched emergencies.
#[derive(Default)]
struct Latch {
    /// The zones there; none when that is not known.
    stored: Option<Vec<Latched>>,
    /// Some are on their way.
    writing: bool,
    /// Not before that.
    again: Option<Mono>,
    unstored: Lasting,
    /// A zone that is to be cleared once the medium has it so.
    clearing: Option<(usize, Reply<v1::ClearThermalEmergencyResponse>)>,
}

struct Daemon {
    machine: Machine,
    io: Io,
    board: Arc<Board>,
    loops: Loops,
    clock: Clock,
    outbox: Outbox,
    /// When sensors are read.
    sampling: Periodic,
    /// The hosts of each zone.
    hosts: Vec<Vec<String>>,
    /// The hosts that are off.
    off: power::Off,
    /// Until when a sensor on the board says nothing after its host came on.
    off_until: Vec<Option<Mono>>,
    undriven: Vec<Lasting>,
    bus: ipc::Client,
    state_dir: PathBuf,
    keep: mpsc::Sender<Kept>,
    /// When the machine was last asked.
    stepped: Mono,
    /// A profile is on its way to the medium.
    keeping: bool,
    /// The profile that holds after a restart; none when that is not known.
    stored_profile: Option<Profile>,
    /// How often the profile may still be changed.
    changes: Allowance,
    latch: Latch,
    /// What was told last.
    told: Keeper<Told>,
    /// Why the power of the hosts of each zone could not be cut, when it was to be last.
    refusals: Vec<String>,
    cuts: JoinSet<(usize, Result<(), String>)>,
}

impl Daemon {
    async fn run(mut self, context: &Context, mut kept: mpsc::Receiver<Kept>) -> Result<(), Error> {
        let (tell, mut told) = mpsc::channel(1);
        tokio::spawn(power::watch(self.bus.clone(), tell));
        // Fans first: what follows may have to wait for the bus.
        self.turn();
        let mut calls = context.bus.calls().await.map_err(Error::Serve)?;
        let (mut shutdown, mut heartbeat) = (context.shutdown.clone(), context.heartbeat());
        context.ready();
        loop {
            let clock = self.clock;
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = shutdown.wait() => break,
                () = clock.sleep_until(deadline) => self.turn(),
                completion = self.io.next() => self.completed(completion),
                () = heartbeat.tick() => {}
                Some(off) = told.recv() => self.power(off),
                Some(cut) = self.cuts.join_next() => self.cut_done(cut),
                Some(kept) = kept.recv() => self.kept(kept),
                call = calls.next() => match call {
                    Some(call) => self.call(call),
                    None => break,
                },
            }
        }
        self.io.leave().await;
        let (mut told, dir, clock) = (self.told, self.state_dir, self.clock);
        let keeps = async move {
            // One at a time: two would write one file.
            while told.is_storing()
                && let Some(done) = kept.recv().await
            {
                if let Kept::Told(result) = done {
                    told.kept(clock.now(), result.is_ok());
                }
            }
            let Some(last) = told.unkept().filter(|_| !told.is_storing()) else { return };
            let _ = on_medium(move || kept::keep_told(&dir, &last)).await;
        };
        let _ = tokio::time::timeout(LAST_TOLD_WITHIN, keeps).await;
        Ok(())
    }

    /// A board without fans has nothing to wait for.
    fn deadline(&self) -> Option<Mono> {
        (!self.board.fans.is_empty()).then(|| self.machine.deadline())
    }

    fn turn(&mut self) {
        let now = self.clock.now();
        self.step(Event::Tick);
        let sensors = self.sampling.due(now).is_some();
        self.io.read(now, sensors);
        self.keep_emergencies();
        self.keep_told();
    }

    fn step(&mut self, event: Event) {
        let now = self.clock.now();
        let late = now.since(self.stepped);
        self.stepped = now;
        if late > STOOD_STILL && self.deadline().is_some() {
            tracing::warn!(
                late_ms = late.get(),
                "loop stood still: silence of sensors and fans is told when it lasts"
            );
            self.machine.stood_still(now);
        }
        let mut out = Vec::new();
        self.machine.step(now, event, &mut out);
        self.act(out, &By::default());
    }

    fn act(&mut self, actions: Vec<Action>, by: &By) {
        let mut duties: Vec<(usize, Duty)> = Vec::new();
        let mut has_told = false;
        for action in actions {
            match action {
                Action::Set(fan, duty) => duties.push((fan, duty)),
                Action::PowerOff { zone } => self.cut(zone),
                Action::Note(note) => {
                    let why = match note {
                        Note::Refused { zone, .. } => self.refusals.get(zone).map_or("", String::as_str),
                        _ => "",
                    };
                    self.outbox.event(tell::tell(note, &self.board, &self.loops, &self.clock, by, why));
                    has_told = true;
                }
            }
        }
        if has_told {
            let told = Told::of(&self.machine.said(), &self.board, &self.loops);
            self.told.note(|last| *last = told);
        }
        self.io.drive(&duties);
    }

    fn cut(&mut self, zone: usize) {
        let hosts = self.hosts.get(zone).cloned().unwrap_or_default();
        let cut = power::cut(self.bus.clone(), hosts);
        self.cuts.spawn(async move { (zone, cut.await) });
    }

    fn cut_done(&mut self, cut: Result<(usize, Result<(), String>), JoinError>) {
        let (zone, result) = match cut {
            Ok(cut) => cut,
            Err(error) => return tracing::error!(%error, "background task failed"),
        };
        let is_cut = result.is_ok();
        if let (Some(why), Err(error)) = (self.refusals.get_mut(zone), result) {
            *why = error;
        }
        self.step(Event::Cut(zone, is_cut));
    }

    /// Has the medium know what was told last. Behind the events: what is told twice is better than what never is.
    fn keep_told(&mut self) {
        let Some(told) = self.told.take_due(self.clock.now()) else { return };
        let (dir, keep) = (self.state_dir.clone(), self.keep.clone());
        tokio::spawn(async move {
            let result = on_medium(move || kept::keep_told(&dir, &told)).await;
            let _ = keep.send(Kept::Told(result)).await;
        });
    }

    fn completed(&mut self, completion: Completion) {
        match completion {
            Completion::Sampled(bus, sampled) => {
                for (role, reading) in self.io.sampled(bus, sampled) {
                    match role {
                        Role::Sensor(index) => {
                            let place = self.loops.sensors.get(index).copied();
                            let reading = self.during(place, index, reading);
                            self.step(Event::Reading(index, reading));
                        }
                        Role::Tach(fan) if self.is_off(self.loops.tachs.get(fan).copied().flatten()) => {
                            self.step(Event::Unpowered(fan));
                        }
                        Role::Tach(fan) => {
                            let rpm = match reading {
                                Reading::Value(rpm) => Some(rpm),
                                Reading::Failed | Reading::Unpowered(_) | Reading::Off => None,
                            };
                            self.step(Event::Tach(fan, rpm));
                        }
                    }
                }
            }
            Completion::Driven(controller, driven) => {
                self.io.driven(controller);
                for driven in driven {
                    self.driven(
                        driven.fan,
                        driven.result.as_ref().map_err(|error| ErrorChain(error).to_string()).err(),
                    );
                }
            }
        }
    }

    fn driven(&mut self, fan: usize, fault: Option<String>) {
        let now = self.clock.now();
        if let Some(lasting) = self.undriven.get_mut(fan) {
            match &fault {
                Some(error) => {
                    if let Some(said) = lasting.fails(now) {
                        let fan = self.board.fans.get(fan).map_or("", |fan| fan.id.as_str());
                        tracing::error!(fan, error, times = said.times, "cannot set fan speed");
                    }
                }
                None => _ = lasting.works(now),
            }
        }
        self.step(Event::Driven(fan, fault.is_none()));
    }

    /// What a reading is worth: while the host is off what is hot, and nothing else; what cannot be read, or cannot be true, is excused until the host has
    /// settled. What is measured counts.
    fn during(&self, place: Option<usize>, index: usize, reading: Reading) -> Reading {
        if !self.is_off(place) {
            return reading;
        }
        let host = place.and_then(|place| self.board.sensors.get(place)?.host.as_ref());
        let has_power = host.is_none_or(|host| !self.off.iter().any(|off| off == host.as_str()));
        let plausible = self.loops.config.sensors.get(index).map(|sensor| sensor.plausible);
        match (reading, plausible) {
            (Reading::Value(value), _) if !has_power => Reading::Unpowered(value),
            (Reading::Value(value), Some((least, most))) if value >= least && value <= most => reading,
            _ => Reading::Off,
        }
    }

    /// Whether the host of the sensor at this place on the board is off, or has been on for too short a time.
    fn is_off(&self, place: Option<usize>) -> bool {
        let Some(place) = place else { return false };
        let host = self.board.sensors.get(place).and_then(|sensor| sensor.host.as_ref());
        let settles = self.off_until.get(place).copied().flatten();
        host.is_some_and(|host| self.off.iter().any(|off| off == host.as_str()))
            || settles.is_some_and(|until| self.clock.now() < until)
    }

    fn power(&mut self, off: power::Off) {
        let now = self.clock.now();
        for (sensor, until) in self.board.sensors.iter().zip(&mut self.off_until) {
            let Some(host) = &sensor.host else { continue };
            let (was, is) = (self.off.iter(), off.iter());
            if was.into_iter().any(|id| id == host.as_str()) && !is.into_iter().any(|id| id == host.as_str())
            {
                *until = Some(now + sensor.spec.settle);
            }
        }
        self.off = off;
        let is_off = |host: &String| self.off.contains(host);
        let off: Vec<usize> = (0..)
            .zip(&self.hosts)
            .filter_map(|(zone, hosts)| hosts.iter().all(is_off).then_some(zone))
            .collect();
        for zone in off {
            self.step(Event::Off(zone));
        }
    }

    fn call(&mut self, call: Call<Request>) {
        match call {
            Call::ListThermalZones(_, reply) => {
                let all = (0..self.board.zones.len()).filter_map(|index| self.zone(index)).collect();
                let profile = wire::profile(self.machine.profile()).into();
                self.outbox.answer(reply, Ok(v1::ListThermalZonesResponse { thermal_zones: all, profile }));
            }
            Call::GetThermalZone(get, reply) => {
                let zone = self.shown(&get.name);
                self.outbox
                    .answer(reply, zone.map(|zone| v1::GetThermalZoneResponse { thermal_zone: Some(zone) }));
            }
            Call::ListCoolingDevices(_, reply) => {
                let fan = |index| wire::fan(&self.machine, &self.board, &self.clock, index);
                let all = (0..self.board.fans.len()).filter_map(fan).collect();
                self.outbox.answer(reply, Ok(v1::ListCoolingDevicesResponse { cooling_devices: all }));
            }
            Call::GetThermalProfile(_, reply) => {
                let profile = wire::profile(self.machine.profile()).into();
                self.outbox.answer(reply, Ok(v1::GetThermalProfileResponse { profile }));
            }
            Call::SetThermalProfile(set, reply) => self.set_profile(set.profile(), reply),
            Call::OverrideThermalZone(wanted, reply) => {
                let by = by(reply.context());
                let result = self.set_override(&wanted, &by);
                let answer = result.and_then(|()| self.shown(&wanted.name));
                self.outbox.answer(
                    reply,
                    answer.map(|zone| v1::OverrideThermalZoneResponse { thermal_zone: Some(zone) }),
                );
            }
            Call::ClearThermalOverride(clear, reply) => {
                let result = self.change(&clear.name, &by(reply.context()), |machine, zone, out| {
                    machine.clear_override(zone, out)
                });
                let answer = result.and_then(|()| self.shown(&clear.name));
                self.outbox.answer(
                    reply,
                    answer.map(|zone| v1::ClearThermalOverrideResponse { thermal_zone: Some(zone) }),
                );
            }
            Call::ClearThermalEmergency(clear, reply) => self.clear_emergency(&clear.name, reply),
        }
    }

    fn zone(&self, index: usize) -> Option<v1::ThermalZone> {
        wire::zone(&self.machine, &self.board, &self.loops, &self.clock, index)
    }

    fn find(&self, name: &str) -> Result<usize, Status> {
        let index = self.board.zones.iter().position(|zone| zone.id.as_str() == name);
        index.ok_or_else(|| wire::no_zone(&self.board, name))
    }

    fn shown(&self, name: &str) -> Result<v1::ThermalZone, Status> {
        self.zone(self.find(name)?).ok_or_else(|| wire::no_zone(&self.board, name))
    }

    fn change(
        &mut self,
        name: &str,
        by: &By,
        change: impl FnOnce(&mut Machine, usize, &mut Vec<Action>) -> Result<(), thermal::Denial>,
    ) -> Result<(), Status> {
        let zone = self.find(name)?;
        let mut out = Vec::new();
        change(&mut self.machine, zone, &mut out)
            .map_err(|denial| wire::denied(denial, &self.board, name))?;
        self.act(out, by);
        Ok(())
    }

    fn set_override(&mut self, wanted: &v1::OverrideThermalZoneRequest, by: &By) -> Result<(), Status> {
        let percent = wanted.cooling_power_percent;
        let duty = Duty::from_percent(percent).ok_or_else(|| {
            Status::about_field("cooling_power_percent", "a fan runs at 0 to 100 percent")
                .with_reason("BAD_DUTY")
        })?;
        let (now, lasts) = (self.clock.now(), Millis::from_secs(wanted.seconds.into()));
        self.change(&wanted.name, by, |machine, zone, out| {
            machine.set_override(now, zone, duty, lasts, out).map(drop)
        })
    }

    /// First the medium, then the machine, then the answer: what was answered is kept (I-4), and the fans do not wait for flash.
    fn set_profile(&mut self, wanted: v1::ThermalProfile, reply: Reply<v1::SetThermalProfileResponse>) {
        let profile = match wire::profile_of(wanted) {
            Ok(profile) => profile,
            Err(status) => return self.outbox.answer(reply, Err(status)),
        };
        if self.keeping {
            let status = Status::aborted("another profile is being stored").with_reason("BUSY");
            return self.outbox.answer(reply, Err(status));
        }
        if self.stored_profile == Some(profile) && self.machine.profile() == profile {
            let profile = wire::profile(profile).into();
            return self.outbox.answer(reply, Ok(v1::SetThermalProfileResponse { profile }));
        }
        let now = self.clock.now();
        if !self.changes.take(now) {
            return self.outbox.answer(reply, Err(too_many(self.changes.wait(now))));
        }
        self.keeping = true;
        let (dir, keep) = (self.state_dir.clone(), self.keep.clone());
        tokio::spawn(async move {
            let result = on_medium(move || kept::keep_profile(&dir, profile)).await;
            let _ = keep.send(Kept::Profile { profile, result, reply }).await;
        });
    }

    fn kept(&mut self, kept: Kept) {
        match kept {
            Kept::Profile { profile, result, reply } => {
                self.keeping = false;
                self.stored_profile = result.is_ok().then_some(profile);
                if let Err(error) = result {
                    tracing::error!(error = %ErrorChain(&error), "cannot save profile");
                    return self.outbox.answer(reply, Err(not_stored("the profile", &error)));
                }
                let mut out = Vec::new();
                self.machine.set_profile(profile, &mut out);
                self.act(out, &by(reply.context()));
                let profile = wire::profile(profile).into();
                self.outbox.answer(reply, Ok(v1::SetThermalProfileResponse { profile }));
            }
            Kept::Emergencies { zones, result } => self.kept_emergencies(zones, result),
            Kept::Told(result) => {
                if let Err(error) = &result {
                    let error = ErrorChain(error);
                    tracing::debug!(%error, "cannot store what was told of sensors, fans and zones: retrying");
                }
                self.told.kept(self.clock.now(), result.is_ok());
            }
        }
    }

    /// First the medium, then the machine, then the answer: what was cleared does not come back with a restart, and what was not stored is
    /// not cleared.
    fn clear_emergency(&mut self, name: &str, reply: Reply<v1::ClearThermalEmergencyResponse>) {
        let zone = self.find(name).and_then(|zone| {
            let may = self.machine.may_clear_emergency(zone);
            may.map_err(|denial| wire::denied(denial, &self.board, name)).map(|()| zone)
        });
        match zone {
            Err(status) => self.outbox.answer(reply, Err(status)),
            Ok(_) if self.latch.clearing.is_some() => {
                let status = Status::aborted("another emergency is being cleared").with_reason("BUSY");
                self.outbox.answer(reply, Err(status));
            }
            Ok(zone) => {
                self.latch.clearing = Some((zone, reply));
                self.latch.again = None;
                self.keep_emergencies();
            }
        }
    }

    /// Has the medium know which emergencies are latched.
    fn keep_emergencies(&mut self) {
        let now = self.clock.now();
        if self.latch.writing || self.latch.again.is_some_and(|again| now < again) {
            return;
        }
        let cleared = self.latch.clearing.as_ref().map(|(zone, _)| *zone);
        let latched = self.machine.latched().filter(|zone| Some(*zone) != cleared);
        let zones: Vec<Latched> = latched
            .filter_map(|index| {
                let zone = self.board.zones.get(index)?.id.as_str().to_owned();
                Some(Latched { zone, uncut: self.machine.is_uncut(index) })
            })
            .collect();
        if self.latch.stored.as_ref() != Some(&zones) {
            self.latch.writing = true;
            let (dir, keep, wanted) = (self.state_dir.clone(), self.keep.clone(), zones.clone());
            tokio::spawn(async move {
                let result = on_medium(move || kept::keep_emergencies(&dir, &wanted)).await;
                let _ = keep.send(Kept::Emergencies { zones, result }).await;
            });
        } else if let Some((zone, reply)) = self.latch.clearing.take() {
            if reply.context().is_over() {
                // The medium took its time, and nobody waits for it: the latch holds, and is stored again.
                let status =
                    Status::deadline_exceeded("the time was over before it was stored: nothing was done");
                self.outbox.answer(reply, Err(status));
                return self.keep_emergencies();
            }
            let mut out = Vec::new();
            let cleared = self.machine.clear_emergency(zone, &mut out);
            self.act(out, &by(reply.context()));
            let name = self.board.zones.get(zone).map(|zone| zone.id.to_string()).unwrap_or_default();
            // It was critical again before the medium was done; what is stored follows with the next turn.
            let answer = cleared.map_err(|denial| wire::denied(denial, &self.board, &name));
            let answer = answer.and_then(|()| self.shown(&name));
            self.outbox.answer(
                reply,
                answer.map(|zone| v1::ClearThermalEmergencyResponse { thermal_zone: Some(zone) }),
            );
        }
    }

    fn kept_emergencies(&mut self, zones: Vec<Latched>, result: std::io::Result<()>) {
        let now = self.clock.now();
        self.latch.writing = false;
        match result {
            Ok(()) => {
                self.latch.stored = Some(zones);
                self.latch.again = None;
                self.latch.unstored.works(now);
            }
            Err(error) => {
                // The medium may have the old ones or the new ones.
                self.latch.stored = None;
                self.latch.again = Some(now + STORE_AGAIN);
                if let Some(said) = self.latch.unstored.fails(now) {
                    let error = ErrorChain(&error);
                    tracing::error!(%error, times = said.times, "cannot save emergencies");
                }
                if let Some((_, reply)) = self.latch.clearing.take() {
                    self.outbox.answer(reply, Err(not_stored("that the emergency is cleared", &error)));
                }
            }
        }
        self.keep_emergencies();
    }
}

/// Does what waits for the medium beside the loop.
async fn on_medium(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> std::io::Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

fn too_many(wait: Millis) -> Status {
    service::too_many_changes("the profile", "it was not changed", wait)
}

fn not_stored(what: &str, error: &std::io::Error) -> Status {
    // A medium that is full is told as by the store: it is the same one.
    let (text, reason) = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            ("no room is left in the state directory".to_owned(), ipc::STORE_FULL)
        }
        _ => (error.to_string(), "NOT_STORED"),
    };
    Status::unavailable(format!("{what} cannot be stored: {text}")).with_reason(reason)
}

fn by(context: &CallContext) -> By {
    By { username: context.username().to_owned(), request_id: context.request_id.clone() }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn who_changes_the_profile_too_often_is_told_when_again() {
        let mut changes = Allowance::new(CHANGES_AT_ONCE, 1, CHANGES_EACH);
        let at = Mono::from_millis(5_000_000);
        assert_eq!((0..40).filter(|_| changes.take(at)).count(), 16);
        let status = too_many(changes.wait(at));
        let again = status.wait().map(|wait| wait.as_secs());
        assert_eq!((status.reason().as_str(), again), (service::TOO_MANY_CHANGES, Some(300)));
        assert_eq!(status.code, ipc::Code::ResourceExhausted);
    }

    #[test]
    fn a_full_medium_has_the_reason_that_the_store_has_for_it() {
        for (error, reason) in [
            (Error::from_raw_os_error(28), ipc::STORE_FULL),
            (ErrorKind::QuotaExceeded.into(), ipc::STORE_FULL),
            (ErrorKind::ReadOnlyFilesystem.into(), "NOT_STORED"),
        ] {
            let status = not_stored("the profile", &error);
            assert_eq!(
                (status.code, status.reason()),
                (ipc::Code::Unavailable, reason.to_owned()),
                "{status}"
            );
        }
    }
}
