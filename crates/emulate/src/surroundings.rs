//! The loop that holds the world to the pins of a running QEMU.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use board::Board;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use twin::{Button, Fault, Host, Input, Role, Supply};

use crate::pins::{Pin, Plug, Wire};
use crate::qmp::Qmp;
use crate::world::{Edge, Effect, Look, World};

/// Time between two looks at the pins: a tenth of the shortest press a chipset sees.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Longest wait for the acknowledgement of an edge: a firmware that is alive takes milliseconds, one that hangs is given up.
const ACKNOWLEDGE: Duration = Duration::from_secs(1);
/// Time between two looks at what is plugged in: a reset of the SoC pulls all of it, and its firmware takes seconds to look.
const PLUGS_EVERY: Duration = Duration::from_millis(500);
/// Requests on their way.
const ORDERS: usize = 64;
/// Pieces of serial text kept for somebody who shows them.
const PIECES: usize = 256;

/// The server around the SoC. It outlives QEMU, as a server outlives a reset of its BMC.
#[derive(Debug)]
pub struct Surroundings {
    world: Arc<Mutex<World>>,
    wires: Vec<Wire>,
    plugs: Arc<Mutex<Vec<Plug>>>,
    edges: Arc<watch::Sender<u64>>,
    serial: broadcast::Sender<(usize, &'static str)>,
    held: Option<Held>,
}

/// The loop of one QEMU.
#[derive(Debug)]
struct Held {
    orders: mpsc::Sender<(usize, Input)>,
    task: JoinHandle<Result<()>>,
}

impl Surroundings {
    /// The server of `board`, with all that can be plugged in; with `running` it is on.
    #[must_use]
    pub fn new(board: &Board, wires: Vec<Wire>, plugs: Vec<Plug>, running: bool) -> Self {
        let world = World::new(board, wires.clone(), running, hal_sim::monotonic());
        Self {
            world: Arc::new(Mutex::new(world)),
            wires,
            plugs: Arc::new(Mutex::new(plugs)),
            edges: Arc::new(watch::Sender::new(0)),
            serial: broadcast::Sender::new(PIECES),
            held: None,
        }
    }

    /// Puts every level on the pins of this QEMU, before it runs, and follows its pins from then on.
    ///
    /// # Errors
    /// When QEMU refuses a pin.
    pub async fn attach(&mut self, qmp: Qmp) -> Result<()> {
        self.detach().await;
        let (orders, received) = mpsc::channel(ORDERS);
        let mut follower = Follower {
            qmp,
            world: Arc::clone(&self.world),
            wires: self.wires.clone(),
            plugs: Arc::clone(&self.plugs),
            plugs_due: Duration::ZERO,
            edges: Arc::clone(&self.edges),
            serial: self.serial.clone(),
        };
        follower.look().await?;
        follower.plug().await?;
        self.held = Some(Held { orders, task: tokio::spawn(follower.run(received)) });
        Ok(())
    }

    /// Lets go of a QEMU that is, or will be, gone.
    pub async fn detach(&mut self) {
        if let Some(held) = self.held.take() {
            held.task.abort();
            drop(held.task.await);
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happens to a host, by its id.
    ///
    /// # Errors
    /// When there is no such host, or no QEMU.
    pub async fn input(&self, host: &str, input: Input) -> Result<()> {
        let index = self.world().index(host).with_context(|| format!("there is no host {host}"))?;
        let Some(held) = &self.held else { bail!("no BMC is attached") };
        held.orders.send((index, input)).await.context("the BMC is gone")
    }

    /// A person presses or lets go of a button.
    ///
    /// # Errors
    /// As [`Surroundings::input`].
    pub async fn finger(&self, host: &str, button: Button, down: bool) -> Result<()> {
        self.input(host, Input::Finger(button, down)).await
    }

    /// A part is put in its place or pulled, by the id of the sensor that tells of it.
    ///
    /// # Errors
    /// When the board has no such sensor.
    pub fn plug(&self, sensor: &str, is_there: bool) -> Result<()> {
        let mut plugs = self.plugs.lock().unwrap_or_else(PoisonError::into_inner);
        let plug = plugs.iter_mut().find(|plug| plug.sensor == sensor);
        plug.with_context(|| format!("no line of the SoC tells of {sensor}"))?.is_there = is_there;
        Ok(())
    }

    /// Something breaks, heals or arrives from outside.
    ///
    /// # Errors
    /// As [`Surroundings::input`].
    pub async fn fault(&self, host: &str, fault: Fault) -> Result<()> {
        self.input(host, Input::Fault(fault)).await
    }

    /// Asks the model of a host.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn ask<T>(&self, host: &str, ask: impl FnOnce(&Host) -> T) -> Result<T> {
        self.world().host(host).map(ask).with_context(|| format!("there is no host {host}"))
    }

    /// Whether a host's supply is up: the truth, which power-good may not show.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn is_on(&self, host: &str) -> Result<bool> {
        self.ask(host, |model| model.supply() == Supply::On)
    }

    /// The level of a host's wire; nothing where the board has none.
    #[must_use]
    pub fn active(&self, host: &str, role: Role) -> Option<bool> {
        let world = self.world();
        world.active(world.index(host)?, role)
    }

    /// Number of the last edge: where to start looking for what comes next.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.world().last_seq()
    }

    /// The edges after number `after`, oldest first.
    #[must_use]
    pub fn trace(&self, after: u64) -> Vec<Edge> {
        self.world().trace(after)
    }

    /// The edges after number `after` on wires that the BMC drives.
    #[must_use]
    pub fn driven(&self, after: u64) -> Vec<Edge> {
        self.trace(after).into_iter().filter(|edge| edge.role.is_driven()).collect()
    }

    /// Waits for an edge after number `after`.
    ///
    /// # Errors
    /// When `limit` passes; the error holds the edges that came.
    pub async fn edge(&self, role: Role, active: bool, after: u64, limit: Duration) -> Result<Edge> {
        let mut edges = self.edges.subscribe();
        let wait = async {
            loop {
                edges.borrow_and_update();
                let found = self.trace(after).into_iter().find(|e| e.role == role && e.active == active);
                if let Some(edge) = found {
                    return edge;
                }
                // The sender lives as long as we do.
                if edges.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.with_context(|| {
            let lost = self.held.as_ref().is_none_or(|held| held.task.is_finished());
            let lost = if lost { " (the BMC is gone)" } else { "" };
            format!("{role:?} did not become {active} in {limit:?}{lost}; edges: {:?}", self.trace(after))
        })
    }

    /// Waits for a whole pulse, from active to inactive, and returns its edges.
    ///
    /// # Errors
    /// As [`Surroundings::edge`].
    pub async fn pulse(&self, role: Role, after: u64, limit: Duration) -> Result<(Edge, Edge)> {
        let begin = self.edge(role, true, after, limit).await?;
        let end = self.edge(role, false, begin.seq, limit).await?;
        Ok((begin, end))
    }

    /// Text of the hosts' serial ports from now on, with the number of the host.
    #[must_use]
    pub fn serial(&self) -> broadcast::Receiver<(usize, &'static str)> {
        self.serial.subscribe()
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            held.task.abort();
        }
    }
}

#[derive(Debug)]
struct Follower {
    qmp: Qmp,
    world: Arc<Mutex<World>>,
    wires: Vec<Wire>,
    plugs: Arc<Mutex<Vec<Plug>>>,
    plugs_due: Duration,
    edges: Arc<watch::Sender<u64>>,
    serial: broadcast::Sender<(usize, &'static str)>,
}

impl Follower {
    async fn run(mut self, mut orders: mpsc::Receiver<(usize, Input)>) -> Result<()> {
        loop {
            let deadline = self.step(|world, _, _| world.deadline()).await?;
            let rest =
                deadline.map_or(LOOK_EVERY, |at| at.saturating_sub(hal_sim::monotonic()).min(LOOK_EVERY));
            tokio::select! {
                order = orders.recv() => {
                    let Some((host, input)) = order else { return Ok(()) };
                    self.step(|world, now, out| world.input(host, input, now, out)).await?;
                }
                () = tokio::time::sleep(rest) => {
                    self.step(|world, now, out| world.tick(now, out)).await?;
                    self.look().await?;
                    if hal_sim::monotonic() >= self.plugs_due {
                        self.plug().await?;
                    }
                }
            }
        }
    }

    /// Reads the registers of every bank that has a wire and lets the world know.
    async fn look(&mut self) -> Result<()> {
        let mut banks: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
        for wire in &self.wires {
            banks.entry(wire.pin.bank).or_default();
        }
        for (bank, registers) in &mut banks {
            let words = self.qmp.words(*bank, 2).await?;
            if let [data, direction] = words.as_slice() {
                *registers = (*data, *direction);
            }
        }
        let looks: Vec<Look> = self
            .wires
            .iter()
            .map(|wire| {
                let (data, direction) = banks.get(&wire.pin.bank).copied().unwrap_or_default();
                Look { driven: direction & wire.pin.mask != 0, high: data & wire.pin.mask != 0 }
            })
            .collect();
        self.step(|world, now, out| {
            for (wire, look) in looks.into_iter().enumerate() {
                world.look(wire, look, now, out);
            }
        })
        .await
    }

    /// Puts the levels of what is plugged in on the pins that show others.
    async fn plug(&mut self) -> Result<()> {
        self.plugs_due = hal_sim::monotonic() + PLUGS_EVERY;
        let plugs = self.plugs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for plug in plugs {
            let high = plug.is_there != plug.active_low;
            let data = self.qmp.words(plug.pin.bank, 1).await?;
            if data.iter().any(|word| (word & plug.pin.mask != 0) != high) {
                self.acknowledged(&plug.pin).await?;
                self.qmp.set(plug.pin.object, &plug.pin.property, high).await?;
            }
        }
        Ok(())
    }

    /// Waits until the firmware has acknowledged the last edge of a pin, or is not going to. QEMU counts an edge that comes before as one
    /// more interrupt, takes one off the count for the acknowledgement of both, and the controller's line stays up for good: the
    /// firmware's processor does nothing else from then on.
    async fn acknowledged(&self, pin: &Pin) -> Result<()> {
        let begun = hal_sim::monotonic();
        while hal_sim::monotonic().saturating_sub(begun) < ACKNOWLEDGE {
            let pending = self.qmp.words(pin.pending, 1).await?;
            if pending.iter().all(|word| word & pin.mask == 0) {
                break;
            }
            tokio::time::sleep(LOOK_EVERY / 4).await;
        }
        Ok(())
    }

    /// Lets the world make a step and does what follows from it.
    async fn step<T>(&mut self, step: impl FnOnce(&mut World, Duration, &mut Vec<Effect>) -> T) -> Result<T> {
        let mut effects = Vec::new();
        let (value, last) = {
            let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
            let value = step(&mut world, hal_sim::monotonic(), &mut effects);
            (value, world.last_seq())
        };
        for effect in effects {
            match effect {
                Effect::Put { wire, high } => {
                    if let Some(wire) = self.wires.get(wire) {
                        self.acknowledged(&wire.pin).await?;
                        self.qmp.set(wire.pin.object, &wire.pin.property, high).await?;
                    }
                }
                // Nobody listening is fine.
                Effect::Serial { host, text } => drop(self.serial.send((host, text))),
            }
        }
        self.edges.send_if_modified(|seen| std::mem::replace(seen, last) != last);
        Ok(value)
    }
}
