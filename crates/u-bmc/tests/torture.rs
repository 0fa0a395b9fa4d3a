//! The suite under fire: daemons and the operator are killed, the medium is full, fails or is read-only, the state is copied in the
//! middle of it, while clients send requests that contradict each other.
//!
//! ```text
//!  4 hosts × 1–2 power requests ─┐                     ┌─ SIGKILL of a daemon or the operator
//!  a setting, an account ────────┼──► the suite ◄──────┼─ full / EIO on write / EIO on sync / read-only
//!                                │                     └─ a copy of the state, started beside it
//!  what each was answered ───────┴──► compared with the pins, the settings, the accounts
//! ```
//!
//! What must hold after each round: what was acknowledged is there; what was refused did not happen and never does; nothing was done
//! twice; every accepted operation has ended and says how. An answer that leaves open whether the request took effect (no answer, the
//! reason `UNANSWERED`, a deadline) allows both.
//!
//! `TORTURE_KILLS` sets how many kills make a run (16 without it), `TORTURE_SEED` repeats one. Needs root (a file system of its own for
//! the state) and a C compiler (the failing medium is a preloaded library).

#![allow(clippy::print_stdout, reason = "what was done is said on standard output")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use testkit::{
    ADMIN_PASSWORD, Client, Credential, Machine, Medium, Reply, Suite, Trouble, eventually, open_to_all, run,
};

const BOARD: &str = "crates/u-bmc/tests/torture/board.toml";
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const HOSTS: [&str; 4] = ["system", "host1", "host2", "host3"];
/// Those of them whose policy is to be on (torture/board.toml).
const ALWAYS_ON: [&str; 2] = ["host1", "host2"];
/// All that run on this board. Those that keep something or answer for it come twice.
const DAEMONS: [&str; 14] = [
    "powermgr",
    "statemgr",
    "eventlog",
    "usermgr",
    "websrv",
    "powermgr",
    "statemgr",
    "eventlog",
    "usermgr",
    "websrv",
    "sensormon",
    "inventorymgr",
    "ledmgr",
    "consolesrv",
];
const ACTIONS: [&str; 7] = ["ON", "OFF", "FORCE_OFF", "FORCE_RESTART", "REBOOT", "POWER_CYCLE", "NMI"];
/// Longest wait for the suite to be well and each operation to have ended once nothing is broken any more.
const RECOVERY: Duration = Duration::from_secs(180);

type Result<T = ()> = anyhow::Result<T>;

/// What an answer says about whether the request took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Done,
    Refused,
    Open,
}

fn said(reply: &Result<Reply>) -> Said {
    let Ok(reply) = reply else { return Said::Open };
    if reply.status == 200 {
        return Said::Done;
    }
    let text = reply.text();
    let open = matches!(reply.status, 500 | 504)
        || reply.status == 503 && (text.contains("UNANSWERED") || text.contains(" is gone: "));
    if open { Said::Open } else { Said::Refused }
}

// ---- what is known

/// A value that is set again and again: the acknowledged one, what may have come after it, and what must never be seen.
#[derive(Clone, Default, Debug)]
struct Setting {
    acknowledged: String,
    open: Vec<String>,
    refused: BTreeSet<String>,
}

impl Setting {
    fn answered(&mut self, value: String, said: Said) {
        match said {
            Said::Done => {
                self.acknowledged = value;
                self.open.clear();
            }
            Said::Refused => {
                self.refused.insert(value);
            }
            Said::Open => self.open.push(value),
        }
    }

    fn check(&self, found: &str) -> Result {
        ensure!(!self.refused.contains(found), "{found:?} was refused and is there: {self:?}");
        ensure!(
            found == self.acknowledged || self.open.iter().any(|v| v == found),
            "{found:?} is there instead of what was acknowledged: {self:?}"
        );
        Ok(())
    }
}

/// Account names by what must be true of them; not there: either.
type Accounts = BTreeMap<String, Option<bool>>;

#[derive(Clone, Default, Debug)]
struct Known {
    setting: Setting,
    accounts: Accounts,
}

// ---- the rig

struct Rig {
    base: tempfile::TempDir,
    medium: Medium,
    /// The hosts; they go on whatever becomes of the suite.
    _machine: Machine,
    suite: Option<Suite>,
    random: fastrand::Rng,
    known: Known,
    count: u32,
    kills: u32,
    /// The medium had trouble in this round: how an operation ended may not have been kept over a restart.
    troubled: bool,
    answers: BTreeMap<&'static str, u32>,
}

/// One power request and its answer.
#[derive(Debug)]
struct Asked {
    action: &'static str,
    said: Said,
    /// Shown when something is wrong.
    #[allow(dead_code, reason = "read by Debug, in the message of a failed round")]
    answer: String,
    operation: String,
    /// The answer said that a restart may forget it.
    stored: bool,
}

impl Rig {
    async fn new(seed: u64) -> Result<Self> {
        let base = tempfile::tempdir()?;
        open_to_all(base.path())?;
        let run_dir = base.path().join("run");
        std::fs::create_dir(&run_dir)?;
        open_to_all(&run_dir)?;
        let machine = Machine::start(U_BMC.as_ref(), BOARD.as_ref(), &run_dir).await?;
        let medium = Medium::new(base.path())?;
        let known = Known {
            setting: Setting { acknowledged: "v0".into(), ..Setting::default() },
            accounts: Accounts::new(),
        };
        let random = fastrand::Rng::with_seed(seed);
        let answers = BTreeMap::new();
        let mut rig = Self {
            base,
            medium,
            _machine: machine,
            suite: None,
            random,
            known,
            count: 0,
            kills: 0,
            troubled: false,
            answers,
        };
        rig.start().await?;
        let reply = set(&rig.client(), "v0").await?;
        ensure!(reply.status == 200, "{}", reply.text());
        // Their policy switches them on at the first start; what a round begins with must not be on its way.
        let switched_on =
            async || Ok(rig.pins().await?.iter().all(|(host, pins)| pins.on == ALWAYS_ON.contains(host)));
        eventually("the first start is over", RECOVERY, switched_on).await?;
        for host in HOSTS {
            rig.settled(host).await?;
        }
        Ok(rig)
    }

    async fn start(&mut self) -> Result {
        let suite = Suite::builder(U_BMC)
            .board(BOARD)
            .state_dir(self.medium.state())
            .arg("--run-dir")
            .arg(self.base.path().join("run").display().to_string())
            .env("LD_PRELOAD", self.medium.library())
            .set("usermgr.password.memory_kib=4096")
            .set("usermgr.password.passes=3")
            .start()
            .await?;
        self.suite = Some(suite);
        Ok(())
    }

    fn suite(&self) -> &Suite {
        self.suite.as_ref().expect("it runs between the rounds")
    }

    fn client(&self) -> Client {
        self.suite().admin()
    }

    /// One round: requests and troubles beside each other, then recovery, then the comparison.
    async fn round(&mut self) -> Result {
        self.troubled = false;
        let (kills, before) = (self.kills, self.pins().await?);
        let mut power = Vec::new();
        for host in HOSTS {
            for _ in 0..self.random.usize(1..=2) {
                let action = *self.random.choice(&ACTIONS).unwrap_or(&"ON");
                let (client, pause) = (self.client(), self.pause());
                power.push((host, action, tokio::spawn(ask_power(client, host, action, pause))));
            }
        }
        self.count += 1;
        let value = format!("v{}", self.count);
        let (client, pause, wanted) = (self.client(), self.pause(), value.clone());
        let setting = tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            set(&client, &wanted).await
        });
        let (name, create) = self.next_account();
        let (client, pause, wanted) = (self.client(), self.pause(), name.clone());
        let account = tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if create {
                create_account(&client, &wanted).await
            } else {
                delete_account(&client, &wanted).await
            }
        });
        let readers_end = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn(read_settings(self.client(), Arc::clone(&readers_end)));

        self.trouble().await?;

        let mut asked: BTreeMap<&str, Vec<Asked>> = BTreeMap::new();
        for (host, action, task) in power {
            let reply = task.await?;
            let operation = reply.as_ref().ok().and_then(|r| r.json().ok());
            let operation =
                operation.and_then(|v| v["operationId"].as_str().map(str::to_owned)).unwrap_or_default();
            let said = self.count_answer(said(&reply));
            let answer = reply.map_or_else(|e| format!("{e:#}"), |r| format!("{} {}", r.status, r.text()));
            let stored = !answer.contains("ACCEPTED_NOT_STORED");
            asked.entry(host).or_default().push(Asked { action, said, answer, operation, stored });
        }
        let reply = setting.await?;
        let verdict = self.count_answer(said(&reply));
        self.known.setting.answered(value, verdict);
        let reply = account.await?;
        let verdict = self.count_answer(said(&reply));
        match verdict {
            Said::Done => drop(self.known.accounts.insert(name, Some(create))),
            Said::Open => drop(self.known.accounts.insert(name, None)),
            Said::Refused if create => drop(self.known.accounts.insert(name, Some(false))),
            Said::Refused => {}
        }
        readers_end.store(true, Ordering::Relaxed);
        for seen in reader.await? {
            ensure!(!self.known.setting.refused.contains(&seen), "{seen} was refused, and a reader saw it");
        }
        if self.random.u8(..) < 25 && self.suite.is_some() {
            self.power_cut().await?;
        }

        self.medium.heal()?;
        if self.suite.is_none() {
            self.start().await?;
        }
        self.recovered().await?;
        compare(&self.client(), &self.known).await?;
        for host in HOSTS {
            self.settled(host).await?;
        }
        let after = self.pins().await?;
        for (host, asked) in &asked {
            self.check_host(host, asked, &before[host], &after[host], self.kills > kills).await?;
        }
        Ok(())
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(self.random.u64(0..1200))
    }

    fn count_answer(&mut self, said: Said) -> Said {
        let name = match said {
            Said::Done => "done",
            Said::Refused => "refused",
            Said::Open => "open",
        };
        *self.answers.entry(name).or_default() += 1;
        said
    }

    /// The account to make or remove next: a few at a time, so that the table never fills.
    fn next_account(&mut self) -> (String, bool) {
        let there: Vec<String> =
            self.known.accounts.iter().filter(|(_, v)| **v != Some(false)).map(|(k, _)| k.clone()).collect();
        if there.len() > 4 || !there.is_empty() && self.random.bool() {
            let name = there[self.random.usize(..there.len())].clone();
            return (name, false);
        }
        (format!("u{}", self.count), true)
    }

    /// Breaks one to three things, at random moments.
    async fn trouble(&mut self) -> Result {
        for _ in 0..self.random.usize(1..=3) {
            tokio::time::sleep(Duration::from_millis(self.random.u64(0..500))).await;
            match self.random.u8(0..10) {
                0..4 => {
                    let daemon = DAEMONS[self.random.usize(..DAEMONS.len())];
                    if self.suite.as_ref().is_some_and(|s| s.kill_daemon(daemon).is_ok()) {
                        self.kills += 1;
                    }
                }
                4..6 => {
                    if let Some(suite) = self.suite.take() {
                        suite.crash().await?;
                        self.kills += 1;
                        // Half of the time it starts on whatever medium there is.
                        if self.random.bool() {
                            self.start().await?;
                        }
                    }
                }
                _ => {
                    let trouble = match self.random.u8(0..5) {
                        0 => Trouble::Full,
                        1 => Trouble::WritesFindNoSpace,
                        2 => Trouble::WritesFail,
                        3 => Trouble::SyncsFail,
                        _ => Trouble::ReadOnly,
                    };
                    self.troubled = true;
                    self.medium.begin(trouble)?;
                    tokio::time::sleep(Duration::from_millis(self.random.u64(0..800))).await;
                    // The other half stays until the round ends.
                    if self.random.bool() {
                        self.medium.heal()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The state as it would be found after a power cut: copied while the operator stands still, and started elsewhere.
    async fn power_cut(&mut self) -> Result {
        let pid = self.suite().ready.pid.to_string();
        let copy = tempfile::tempdir()?;
        open_to_all(copy.path())?;
        run(Command::new("kill").args(["-STOP", &pid]))?;
        let copied = run(Command::new("cp").arg("-a").arg(self.medium.state()).arg(copy.path()));
        run(Command::new("kill").args(["-CONT", &pid]))?;
        copied?;
        let other = Suite::builder(U_BMC)
            .board(BOARD)
            .state_dir(copy.path().join("state"))
            .start()
            .await
            .context("a copy of the state does not start")?;
        compare(&other.admin(), &self.known).await.context("in a copy of the state")?;
        other.stop().await
    }

    /// Waits until every daemon is ready again and the medium's trouble is over.
    async fn recovered(&self) -> Result {
        let client = self.client();
        eventually("the system is well again", RECOVERY, || async {
            let Ok(reply) = client.get("/api/v1alpha1/system/health").await else { return Ok(false) };
            Ok(reply.status == 200 && reply.json()?["health"]["status"] == "HEALTH_STATUS_OK")
        })
        .await
    }

    async fn settled(&self, host: &str) -> Result {
        let client = self.client();
        eventually(&format!("{host} settles"), RECOVERY, || async {
            let Ok(host) = get_host(&client, host).await else { return Ok(false) };
            let steady = host["status"] == "HOST_STATUS_ON" || host["status"] == "HOST_STATUS_OFF";
            let asked = host["requestedAction"].as_str().is_some_and(|a| a != "HOST_ACTION_UNSPECIFIED");
            Ok(steady && !asked && host["stale"] != true)
        })
        .await
    }

    async fn pins(&self) -> Result<BTreeMap<&'static str, Pins>> {
        let mut twin = self.suite().twin().await?;
        let mut pins = BTreeMap::new();
        for host in HOSTS {
            let status = twin.status(host).await?;
            pins.insert(
                host,
                Pins {
                    on: status.supply == "on",
                    starts: status.starts,
                    long_presses: status.hard_offs,
                    resets: status.resets,
                    nmis: status.nmis,
                },
            );
        }
        Ok(pins)
    }

    /// `killed`: whether a process was in this round.
    async fn check_host(
        &self,
        host: &str,
        asked: &[Asked],
        before: &Pins,
        after: &Pins,
        killed: bool,
    ) -> Result {
        let story = || format!("{host}: {before:?} → {after:?}, asked {asked:?}");
        let mut most = Effect::default();
        for one in asked.iter().filter(|a| a.said != Said::Refused) {
            most.add(effect(host, one.action));
        }
        ensure!(
            after.starts >= before.starts && after.resets >= before.resets && after.nmis >= before.nmis,
            "the simulated machine began anew. {}",
            story()
        );
        let (starts, resets, nmis) =
            (after.starts - before.starts, after.resets - before.resets, after.nmis - before.nmis);
        let cuts = after.long_presses - before.long_presses;
        ensure!(cuts <= most.cuts, "the button was held more often than asked. {}", story());
        // A hold that a kill cuts short is a short press to the operating system, which shuts down. If it is through with that in the very
        // moment in which the button is pressed again, the host starts, and is then held off as it was asked for. Nobody on this side of the
        // button can see that moment.
        let by_chance = u32::from(killed && cuts > 0 && cuts == most.cuts);
        ensure!(starts <= most.starts + by_chance, "started more often than asked. {}", story());
        ensure!(resets <= most.resets, "reset more often than asked. {}", story());
        ensure!(nmis <= most.nmis, "more NMIs than asked. {}", story());
        ensure!(!before.on || after.on || most.cuts > 0, "cut without a request. {}", story());
        let [one] = asked else { return Ok(()) };
        if one.said != Said::Done || one.operation.is_empty() || !one.stored {
            return Ok(());
        }
        // What was accepted has ended, under its own name, and says how.
        let last = get_host(&self.client(), host).await?["lastOperation"].clone();
        if last["id"] != one.operation.as_str() {
            ensure!(self.troubled, "the accepted operation is lost: {last}. {}", story());
            return Ok(());
        }
        let done = last["result"] == "OPERATION_RESULT_DONE";
        let why = last["reason"].as_str().is_some_and(|reason| !reason.is_empty());
        ensure!(done || why, "it ended without a result or a reason: {last}. {}", story());
        if done {
            let wanted = effect(host, one.action);
            ensure!(resets == wanted.resets && nmis == wanted.nmis, "told done: {last}. {}", story());
            ensure!(after.on == wanted.on_after(before.on), "told done: {last}. {}", story());
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct Pins {
    on: bool,
    starts: u32,
    /// How often a long press cut the power.
    long_presses: u32,
    resets: u32,
    nmis: u32,
}

/// The most one request may do to a host.
#[derive(Clone, Copy, Default, Debug)]
struct Effect {
    starts: u32,
    cuts: u32,
    resets: u32,
    nmis: u32,
}

impl Effect {
    fn add(&mut self, other: Self) {
        self.starts += other.starts;
        self.cuts += other.cuts;
        self.resets += other.resets;
        self.nmis += other.nmis;
    }

    fn on_after(self, before: bool) -> bool {
        if self.starts > 0 { true } else { before && self.cuts == 0 }
    }
}

fn effect(host: &str, action: &str) -> Effect {
    let once = Effect::default();
    match action {
        "ON" => Effect { starts: 1, ..once },
        "OFF" | "FORCE_OFF" => Effect { cuts: 1, ..once },
        // Without a line for it a reset is a power cycle.
        "FORCE_RESTART" if host != "host3" => Effect { resets: 1, ..once },
        "FORCE_RESTART" | "REBOOT" | "POWER_CYCLE" => Effect { starts: 1, cuts: 1, ..once },
        _ => Effect { nmis: 1, ..once },
    }
}

// ---- requests

async fn patch(client: &Client, path: &str, body: &Value) -> Result<Reply> {
    client
        .send("PATCH".parse()?, path, &[("content-type", "application/json")], body.to_string().into())
        .await
}

async fn set(client: &Client, value: &str) -> Result<Reply> {
    let body = json!({ "host": { "description": value }, "fieldMask": "description" });
    patch(client, "/api/v1alpha1/hosts/system", &body).await
}

async fn ask_power(client: Client, host: &str, action: &str, pause: Duration) -> Result<Reply> {
    tokio::time::sleep(pause).await;
    let body = json!({ "action": format!("HOST_ACTION_{action}") });
    client.post(&format!("/api/v1alpha1/hosts/{host}/state"), &body).await
}

async fn create_account(client: &Client, name: &str) -> Result<Reply> {
    let body = json!({ "user": { "username": name, "role": "ReadOnly" }, "password": "Gr33n-Valley-77" });
    client.post("/api/v1alpha1/users", &body).await
}

async fn delete_account(client: &Client, name: &str) -> Result<Reply> {
    let found = list_accounts(client).await?;
    match found.get(name) {
        Some(id) => {
            client
                .send("DELETE".parse()?, &format!("/api/v1alpha1/users/{id}"), &[], Default::default())
                .await
        }
        None => bail!("{name} is not there"),
    }
}

async fn list_accounts(client: &Client) -> Result<BTreeMap<String, String>> {
    let reply = client.get("/api/v1alpha1/users?pageSize=100").await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    let users = reply.json()?["users"].as_array().cloned().unwrap_or_default();
    let pair = |user: &Value| Some((user["username"].as_str()?.to_owned(), user["id"].as_str()?.to_owned()));
    Ok(users.iter().filter_map(pair).collect())
}

async fn get_host(client: &Client, host: &str) -> Result<Value> {
    let reply = client.get(&format!("/api/v1alpha1/hosts/{host}")).await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    Ok(reply.json()?["host"].clone())
}

/// Reads the setting again and again; every value that was seen.
async fn read_settings(client: Client, end: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while !end.load(Ordering::Relaxed) {
        if let Ok(host) = get_host(&client, "system").await
            && let Some(value) = host["description"].as_str()
        {
            seen.insert(value.to_owned());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    seen
}

async fn compare(client: &Client, known: &Known) -> Result {
    let host = get_host(client, "system").await?;
    known.setting.check(host["description"].as_str().unwrap_or_default())?;
    let there = list_accounts(client).await?;
    for (name, wanted) in &known.accounts {
        if let Some(wanted) = wanted {
            ensure!(
                there.contains_key(name) == *wanted,
                "account {name}: it must be there: {wanted}; accounts: {there:?}"
            );
        }
    }
    let login = json!({ "username": "admin", "password": ADMIN_PASSWORD });
    let reply = client.with(Credential::None).post("/api/v1alpha1/sessions", &login).await?;
    ensure!(reply.status == 200, "no login: {} {}", reply.status, reply.text());
    Ok(())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_nothing_refused_is_done_nothing_is_done_twice() -> Result {
    if !Medium::can_be_made() {
        println!("SKIP: the suite under fire needs root, to mount a medium of its own");
        return Ok(());
    }
    let kills = number("TORTURE_KILLS").unwrap_or(16);
    let seed = number("TORTURE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("TORTURE_SEED={seed}");
    let mut rig = Rig::new(seed).await?;
    let mut rounds = 0;
    while u64::from(rig.kills) < kills {
        rounds += 1;
        if let Err(error) = rig.round().await {
            let log = rig.suite.as_ref().map(Suite::log).unwrap_or_default();
            let last = log.get(log.len().saturating_sub(400)..).unwrap_or_default().join("\n");
            bail!("{last}\nround {rounds}, TORTURE_SEED={seed}: {error:#}");
        }
    }
    println!("{rounds} rounds, {} kills, answers {:?}", rig.kills, rig.answers);
    if let Some(suite) = rig.suite.take() {
        suite.stop().await?;
    }
    Ok(())
}
