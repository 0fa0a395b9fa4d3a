//! The BMC itself: health, daemons, reset.

use std::ops::RangeInclusive;

use schema::rpc::{management_controller_service as controller, system_service};
use schema::v1alpha1::{
    ActionOutcome, ChangeManagementControllerStateRequest, Daemon, DaemonState, GetHealthRequest,
    GetLogRequest, GetLogResponse, GetManagementControllerRequest, GetSystemInfoRequest, Health,
    HealthStatus, ListDaemonsRequest, ListManagementControllersRequest, LogLine, ManagementController,
    ManagementControllerAction,
};
use tokio::time::Instant;

use super::Session;
use crate::cli::{BmcCommand, ResetKind, SystemCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Card, Format, Output, Table, note};
use crate::reconnect::Reconnect;
use crate::text::{ago, bytes, enum_word, span, when};
use crate::wait::{self, Progress, passing};

fn health_word(status: HealthStatus) -> String {
    enum_word(status.as_str_name(), "HEALTH_STATUS_")
}

pub(crate) async fn system(session: Session, command: SystemCommand, output: Output) -> Result<(), Failure> {
    let client = session.client().await?;
    match command {
        SystemCommand::Info => {
            let reply =
                client.call(system_service::GET_SYSTEM_INFO, &GetSystemInfoRequest::default()).await?;
            output.card(&reply, || {
                let info = reply.system_info.clone().unwrap_or_default();
                let mut card = Card::default();
                card.line("Name", info.name.clone())
                    .line("State", enum_word(info.state().as_str_name(), "SYSTEM_STATE_"))
                    .line("Health", info.health.as_ref().map(|h| health_word(h.status())).unwrap_or_default())
                    .line("Version", info.version.clone().unwrap_or_default())
                    .line("Board", info.board.clone());
                if info.simulated {
                    card.line("Hardware", "simulated");
                }
                // Where it is an image that runs: which half of the flash, and what happened on the way.
                for (name, key) in BOOT.iter().chain(&HELD) {
                    if let Some(value) = info.metadata.get(*key) {
                        card.line(name, value.clone());
                    }
                }
                for slot in info.firmware_slots.iter().filter(|slot| !slot.active) {
                    let state = enum_word(slot.state().as_str_name(), "FIRMWARE_SLOT_STATE_");
                    card.line("Other slot", format!("{}: {} ({state})", slot.name, slot.version));
                }
                card.line("Id", info.id.clone())
                    .line("Description", info.description.clone().unwrap_or_default())
                    .line("Booted", when(info.boot_time.as_ref()))
                    .line("Up", span(info.uptime.as_ref()));
                card
            })
        }
        SystemCommand::Log { lines, contains, follow } => {
            log(&client, GetLogRequest { after: None, page_size: lines, contains }, follow, output).await
        }
        SystemCommand::Status => {
            let health = client.call(system_service::GET_HEALTH, &GetHealthRequest::default()).await?;
            let daemons = client.call(system_service::LIST_DAEMONS, &ListDaemonsRequest::default()).await?;
            // What daemons are held to is no reason to show nothing.
            let info = client.call(system_service::GET_SYSTEM_INFO, &GetSystemInfoRequest::default()).await;
            let held = info.ok().and_then(|reply| reply.system_info).unwrap_or_default().metadata;
            if output.format == Format::Json {
                let json = |value: Result<serde_json::Value, serde_json::Error>| {
                    value.map_err(|error| Failure::Local(format!("the answer has no JSON form: {error}")))
                };
                let (health, daemons) = (json(schema::to_json(&health))?, json(schema::to_json(&daemons))?);
                return output.value(&serde_json::json!({
                    "health": health.get("health"), "daemons": daemons.get("daemons"),
                    "limits": held.get(LIMITS), "confinement": held.get(CONFINEMENT)
                }));
            }
            let mut out = std::io::stdout().lock();
            let mut card = health_card(&health.health.unwrap_or_default());
            for (name, key) in HELD {
                if let Some(value) = held.get(key) {
                    card.line(name, value.clone());
                }
            }
            card.write(&mut out, output.paint)?;
            std::io::Write::write_all(&mut out, b"\n")?;
            drop(out);
            output.table(&daemons_table(&daemons.daemons))
        }
    }
}

/// What is told of a boot, by the keys of the system's metadata.
const BOOT: [(&str, &str); 5] = [
    ("Slot", "boot.slot"),
    ("  confirmed", "boot.confirmed"),
    ("  fell back from", "boot.fell_back_from"),
    ("  why", "boot.reason"),
    ("Data", "boot.data"),
];

const LIMITS: &str = "operator.limits";
const CONFINEMENT: &str = "operator.confinement";
/// What holds daemons, by the same keys: not every kernel has all of it.
const HELD: [(&str, &str); 2] = [("Limits", LIMITS), ("Confinement", CONFINEMENT)];

/// How often a followed log is asked for more.
const FOLLOW_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Lines of a followed log asked for at once.
const FOLLOW_PAGE: u32 = 1000;

async fn log(client: &Client, first: GetLogRequest, follow: bool, output: Output) -> Result<(), Failure> {
    if follow {
        return follow_log(client, first, output).await;
    }
    let reply = client.call(system_service::GET_LOG, &first).await?;
    if output.format == Format::Json {
        return output.json(&reply);
    }
    reply.lines.iter().try_for_each(|line| output.text(&line.text))
}

/// Prints lines until interrupted. A connection that breaks is made again, and what cannot be shown is told.
async fn follow_log(client: &Client, first: GetLogRequest, output: Output) -> Result<(), Failure> {
    let contains = first.contains.clone();
    let mut request = first;
    let mut following = Following::default();
    let mut reconnect = Reconnect::new();
    let start = Instant::now();
    loop {
        match asked(client, &request, start).await {
            Ok((begun, reply)) => {
                reconnect.works();
                if let Some(missing) = following.took(begun, &reply) {
                    note(&missing);
                }
                for line in following.news(&reply, contains.as_deref().unwrap_or_default()) {
                    match output.format {
                        Format::Json => output.json_line(line)?,
                        Format::Table | Format::Csv => output.text(&line.text)?,
                    }
                }
                tokio::time::sleep(FOLLOW_EVERY).await;
            }
            Err(failure) => reconnect.broken(Some(failure)).await?,
        }
        // All lines, or nobody could tell how many are missing.
        request = GetLogRequest { after: following.after, page_size: FOLLOW_PAGE, contains: None };
    }
}

/// Lines, and between which moments since `start` the life of the BMC they are of began: milliseconds, negative for before.
async fn asked(
    client: &Client,
    request: &GetLogRequest,
    start: Instant,
) -> Result<(RangeInclusive<i64>, GetLogResponse), Failure> {
    let millis = || i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX);
    let before = millis();
    let health = client.call(system_service::GET_HEALTH, &GetHealthRequest::default()).await?;
    let uptime = health.health.and_then(|health| health.uptime).unwrap_or_default();
    let uptime = uptime.seconds.saturating_mul(1000).saturating_add(i64::from(uptime.nanos) / 1_000_000);
    let begun = before.saturating_sub(uptime)..=millis().saturating_sub(uptime);
    Ok((begun, client.call(system_service::GET_LOG, request).await?))
}

/// How far the clocks of a BMC and of this machine may drift apart between two looks, and how exact an uptime is: milliseconds.
const DRIFT: i64 = 2_000;

/// How far a followed log has been shown.
#[derive(Debug, Default)]
struct Following {
    /// The last line that counts as shown.
    after: Option<u64>,
    /// The line after which this answer's begin.
    from: Option<u64>,
    /// When the life its number is of began.
    begun: Option<RangeInclusive<i64>>,
}

impl Following {
    /// An answer to a request for what came after `after`, by a BMC that began then. Returns what is missing before its lines, for people.
    fn took(&mut self, begun: RangeInclusive<i64>, reply: &GetLogResponse) -> Option<String> {
        let known = self.begun.replace(begun.clone());
        self.from = self.after;
        let Some(after) = self.after else {
            self.after = Some(reply.newest);
            return None;
        };
        // Numbers begin anew in each life: those that went back tell it as well, at once.
        let younger = known.is_some_and(|known| *begun.start() > known.end().saturating_add(DRIFT));
        if younger || reply.newest < after {
            // Asked for again from the first line on.
            (self.from, self.after) = (Some(u64::MAX), Some(0));
            return Some(
                "the BMC's management software has started anew; the last lines before that may be missing here"
                    .to_owned(),
            );
        }
        // A full page may not be all there is.
        let full = u32::try_from(reply.lines.len()).is_ok_and(|lines| lines >= FOLLOW_PAGE);
        let last = reply.lines.last().map(|line| line.sequence).filter(|_| full);
        self.after = Some(last.unwrap_or(reply.newest));
        let first = reply.lines.first().map_or(reply.newest.saturating_add(1), |line| line.sequence);
        let lost = first.saturating_sub(after).saturating_sub(1);
        (lost > 0).then(|| format!("{lost} lines are missing here: the BMC had no room for them"))
    }

    /// What of the answer is to be shown.
    fn news<'a>(&self, reply: &'a GetLogResponse, contains: &'a str) -> impl Iterator<Item = &'a LogLine> {
        let from = self.from.unwrap_or_default();
        reply.lines.iter().filter(move |line| line.sequence > from && line.text.contains(contains))
    }
}

fn health_card(health: &Health) -> Card {
    let mut card = Card::default();
    card.line("Health", health_word(health.status()))
        .line("Why", health.status_description.clone().unwrap_or_default())
        .line("Up", span(health.uptime.as_ref()));
    if let Some(store) = &health.store {
        let state = enum_word(store.state().as_str_name(), "STORE_STATE_");
        let since = when(store.since.as_ref());
        card.line(
            "Store",
            match (store.reason.as_str(), since.as_str()) {
                ("", _) => state,
                (reason, "") => format!("{state}: {reason}"),
                (reason, since) => format!("{state} since {since}: {reason}"),
            },
        );
        for finding in &store.findings {
            let aside = match finding.set_aside.as_str() {
                "" => String::new(),
                path => format!("; a copy is in {path}"),
            };
            card.line("  found", format!("{}: {}{aside}", finding.component, finding.reason));
        }
        if let Some(more) =
            store.findings_total.checked_sub(store.findings.len() as u64).filter(|more| *more > 0)
        {
            card.line("  found", format!("{more} more"));
        }
    }
    card
}

fn daemons_table(daemons: &[Daemon]) -> Table {
    let mut table = Table::new(&["DAEMON", "STATE", "HEALTH", "RESTARTS", "MEMORY", "PID", "SINCE", "NOTE"]);
    for daemon in daemons {
        let memory = if daemon.memory_pss_bytes > 0 { daemon.memory_pss_bytes } else { daemon.memory_bytes };
        let gone = || daemon.last_exit.clone().map(|exit| format!("last exit: {exit}")).unwrap_or_default();
        table.row([
            daemon.name.clone(),
            enum_word(daemon.state().as_str_name(), "DAEMON_STATE_"),
            health_word(daemon.health()),
            daemon.restarts.to_string(),
            if memory > 0 { bytes(memory) } else { String::new() },
            if daemon.pid > 0 { daemon.pid.to_string() } else { String::new() },
            ago(daemon.started_at.as_ref()),
            if daemon.status_text.is_empty() { gone() } else { daemon.status_text.clone() },
        ]);
    }
    table
}

pub(crate) async fn bmc(session: Session, command: BmcCommand, output: Output) -> Result<(), Failure> {
    let client = match command {
        BmcCommand::List | BmcCommand::Get { .. } => session.client().await?,
        _ => session.changing().await?,
    };
    match command {
        BmcCommand::List => {
            let request = ListManagementControllersRequest::default();
            let reply = client.call(controller::LIST_MANAGEMENT_CONTROLLERS, &request).await?;
            output.reply(&reply, || {
                let mut table = Table::new(&["NAME", "STATUS", "VERSION", "UP", "DESCRIPTION"])
                    .empty("no management controllers");
                for bmc in &reply.controllers {
                    table.row([
                        bmc.name.clone(),
                        enum_word(bmc.status().as_str_name(), "MANAGEMENT_CONTROLLER_STATUS_"),
                        bmc.firmware
                            .as_ref()
                            .and_then(|firmware| firmware.version.clone())
                            .unwrap_or_default(),
                        bmc.last_reboot
                            .as_ref()
                            .map(|reboot| span(reboot.uptime.as_ref()))
                            .unwrap_or_default(),
                        bmc.description.clone().unwrap_or_default(),
                    ]);
                }
                table
            })
        }
        BmcCommand::Get { name } => {
            let request = GetManagementControllerRequest { name, field_mask: None };
            let reply = client.call(controller::GET_MANAGEMENT_CONTROLLER, &request).await?;
            output.card(&reply, || bmc_card(&reply.controller.clone().unwrap_or_default()))
        }
        BmcCommand::Reset { kind, name, wait } => {
            let action = match kind {
                ResetKind::Warm => ManagementControllerAction::WarmReset,
                ResetKind::Cold => ManagementControllerAction::ColdReset,
            };
            let before = match wait.wait {
                Some(_) => Some(Life::read(&client).await?),
                None => None,
            };
            let request = ChangeManagementControllerStateRequest {
                controller_name: name.clone(),
                action: action.into(),
            };
            let reply = client.call(controller::CHANGE_MANAGEMENT_CONTROLLER_STATE, &request).await?;
            let (Some(limit), Some(before)) = (wait.wait, before) else {
                return output.line(&reply, || format!("{name}: reset started"));
            };
            back(&client, &name, limit, &before).await?;
            output.line(&reply, || format!("{name}: reset done"))
        }
        BmcCommand::Disable { name } => {
            lock(&client, name, ManagementControllerAction::Disable, output).await
        }
        BmcCommand::Enable { name } => lock(&client, name, ManagementControllerAction::Enable, output).await,
        // `yes` is what the command line asks for, and cannot be missing here.
        BmcCommand::FactoryReset { name, yes: _ } => {
            let action = ManagementControllerAction::FactoryReset;
            let request = ChangeManagementControllerStateRequest {
                controller_name: name.clone(),
                action: action.into(),
            };
            let reply = client.call(controller::CHANGE_MANAGEMENT_CONTROLLER_STATE, &request).await?;
            output.line(&reply, || {
                format!("{name}: factory reset started; it comes back with a new first password")
            })
        }
    }
}

/// Locks power for maintenance, or unlocks it.
async fn lock(
    client: &Client,
    name: String,
    action: ManagementControllerAction,
    output: Output,
) -> Result<(), Failure> {
    let request =
        ChangeManagementControllerStateRequest { controller_name: name.clone(), action: action.into() };
    let reply = client.call(controller::CHANGE_MANAGEMENT_CONTROLLER_STATE, &request).await?;
    output.line(&reply, || match (reply.outcome(), action) {
        (ActionOutcome::Already, ManagementControllerAction::Disable) => format!("{name}: disabled already"),
        (ActionOutcome::Already, _) => format!("{name}: enabled already"),
        (_, ManagementControllerAction::Disable) => {
            format!("{name}: disabled: power actions are refused until  ubmcctl bmc enable")
        }
        _ => format!("{name}: enabled"),
    })
}

fn bmc_card(bmc: &ManagementController) -> Card {
    let mut card = Card::default();
    card.line("Name", bmc.name.clone())
        .line("Status", enum_word(bmc.status().as_str_name(), "MANAGEMENT_CONTROLLER_STATUS_"))
        .line(
            "Version",
            bmc.firmware.as_ref().and_then(|firmware| firmware.version.clone()).unwrap_or_default(),
        )
        .line("Description", bmc.description.clone().unwrap_or_default());
    if let Some(reboot) = &bmc.last_reboot {
        card.line("Last start", when(reboot.last_reboot_time.as_ref()))
            .line(
                "  cause",
                enum_word(reboot.reboot_cause().as_str_name(), "MANAGEMENT_CONTROLLER_REBOOT_CAUSE_"),
            )
            .line("Up", span(reboot.uptime.as_ref()));
    }
    card.line("Changed", when(bmc.updated_at.as_ref()));
    card
}

/// What tells one life of the BMC's software from the next.
#[derive(Debug, Clone, PartialEq)]
struct Life {
    /// Seconds since the operator started. A reset restarts the operator only where it is the first process.
    uptime: i64,
    /// Process and start of the web server, which every reset restarts, and last.
    websrv: Option<(u32, Option<prost_types::Timestamp>)>,
    /// Every daemon serves.
    ready: bool,
}

impl Life {
    async fn read(client: &Client) -> Result<Self, Failure> {
        let health = client.call(system_service::GET_HEALTH, &GetHealthRequest::default()).await?;
        let daemons =
            client.call(system_service::LIST_DAEMONS, &ListDaemonsRequest::default()).await?.daemons;
        let websrv = daemons.iter().find(|daemon| daemon.name == "websrv");
        Ok(Self {
            uptime: health.health.and_then(|health| health.uptime).map_or(i64::MAX, |uptime| uptime.seconds),
            websrv: websrv.map(|daemon| (daemon.pid, daemon.started_at)),
            ready: daemons.iter().all(|daemon| daemon.state() == DaemonState::Ready),
        })
    }

    /// Whether a reset lies between `before` and this.
    fn follows(&self, before: &Self) -> bool {
        self.uptime < before.uptime || self.websrv != before.websrv
    }
}

/// Waits until it answers in another life than before, with every daemon ready.
async fn back(client: &Client, name: &str, limit: std::time::Duration, before: &Life) -> Result<(), Failure> {
    wait::until(
        &format!("{name}: reset"),
        limit,
        None,
        |_| None,
        || async {
            match Life::read(client).await {
                Ok(now) if !now.follows(before) => Ok(Progress::Pending("still up".into())),
                Ok(now) if !now.ready => Ok(Progress::Pending("daemons are starting".into())),
                Ok(_) => Ok(Progress::Done),
                Err(failure) if passing(&failure) => Ok(Progress::Pending("restarting".into())),
                Err(failure) => Err(failure),
            }
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Paint;

    #[test]
    fn a_reset_is_seen_by_a_new_web_server_or_a_younger_operator() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let before = Life { uptime: 100, websrv: Some((7, at(1))), ready: true };
        let same = Life { uptime: 102, ..before.clone() };
        assert!(!same.follows(&before), "the operator goes on and the web server has not ended yet");
        assert!(Life { websrv: Some((8, at(103))), ..same.clone() }.follows(&before));
        assert!(Life { websrv: Some((7, at(103))), ..same }.follows(&before), "the pid came round");
        assert!(Life { uptime: 3, ..before.clone() }.follows(&before));
    }

    #[test]
    fn a_followed_log_goes_on_in_the_next_life_and_tells_what_is_missing() {
        let page = |numbers: std::ops::Range<u64>, newest| GetLogResponse {
            lines: numbers.map(|sequence| LogLine { sequence, text: format!("l{sequence}") }).collect(),
            newest,
        };
        let shown = |following: &Following, reply: &GetLogResponse| {
            following.news(reply, "").map(|line| line.sequence).collect::<Vec<_>>()
        };
        let mut following = Following::default();
        let first = page(91..101, 100);
        assert_eq!(following.took(-60_000..=-59_900, &first), None);
        assert_eq!((following.after, shown(&following, &first).len()), (Some(100), 10));
        // It goes on, and the estimate of its begin wavers.
        let more = page(101..103, 102);
        assert_eq!(following.took(-61_000..=-58_500, &more), None);
        assert_eq!((following.after, shown(&following, &more)), (Some(102), vec![101, 102]));
        // More came than there was room for.
        let late = page(110..112, 111);
        assert_eq!(
            following.took(-60_000..=-59_900, &late).as_deref(),
            Some("7 lines are missing here: the BMC had no room for them")
        );
        // Another life that has written more lines already than the one before: what it says of itself tells it.
        let other = page(112..131, 130);
        assert!(following.took(5_000..=5_100, &other).unwrap().contains("started anew"));
        assert_eq!((following.after, shown(&following, &other)), (Some(0), vec![]));
        let whole = page(1..131, 130);
        assert_eq!(following.took(5_000..=5_100, &whole), None);
        assert_eq!((following.after, shown(&following, &whole).len()), (Some(130), 130));
        // One that has written fewer.
        assert!(following.took(5_500..=5_600, &page(1..1, 3)).unwrap().contains("started anew"));
        assert_eq!(following.after, Some(0));
        // A page that is full is not all there is.
        assert_eq!(following.took(5_500..=5_600, &page(1..1001, 4_000)), None);
        assert_eq!(following.after, Some(1_000));
        assert_eq!(following.news(&page(990..1_000, 0), "l99").count(), 10);
    }

    #[test]
    fn daemons_read_as_a_table() {
        let daemons = [
            Daemon {
                name: "powermgr".into(),
                state: DaemonState::Ready.into(),
                health: HealthStatus::Ok.into(),
                pid: 42,
                restarts: 1,
                memory_bytes: 9 << 20,
                memory_pss_bytes: 3 << 20,
                status_text: "1 host".into(),
                ..Default::default()
            },
            Daemon {
                name: "usermgr".into(),
                state: DaemonState::Backoff.into(),
                health: HealthStatus::Critical.into(),
                restarts: 12,
                last_exit: Some("signal 9".into()),
                ..Default::default()
            },
        ];
        let mut out = Vec::new();
        daemons_table(&daemons).write(&mut out, Paint::PLAIN, 80).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
DAEMON    STATE    HEALTH    RESTARTS  MEMORY   PID  NOTE
powermgr  ready    ok        1         3.0 MiB  42   1 host
usermgr   backoff  critical  12        -        -    last exit: signal 9
"
        );
    }
}
