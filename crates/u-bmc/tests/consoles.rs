//! Consoles of the running suite: who looks, who types, what stays when daemons die.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use testkit::{ADMIN_PASSWORD, Client, Console, Credential, Suite, eventually};

/// The binary under test.
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const PASSWORD: &str = "seven brass doorknobs";
const FOLLOW: Duration = Duration::from_secs(90);
/// The console of the simulated host.
const SOCKET: &str = "/api/v1alpha1/consoles/system/socket";

type Result<T = ()> = anyhow::Result<T>;

fn basic(name: &str, password: &str) -> String {
    Credential::Basic(name.to_owned(), password.to_owned()).header().unwrap_or_default()
}

/// A session of the first administrator, with this query.
async fn open(suite: &Suite, query: &str) -> Result<Console> {
    let authorization = basic("admin", ADMIN_PASSWORD);
    let (path, headers) = (format!("{SOCKET}{query}"), [("authorization", authorization.as_str())]);
    let opened = Console::open(suite.https(), &path, &headers).await?;
    opened.map_err(|status| anyhow::anyhow!("refused with {status}"))
}

/// A suite whose host is on and whose console has somebody logged in, on that session.
async fn logged_in() -> Result<(Suite, Console)> {
    log_in(Suite::builder(U_BMC).start().await?).await
}

async fn log_in(suite: Suite) -> Result<(Suite, Console)> {
    let mut console = open(&suite, "").await?;
    let first = console.told(|notice| notice["type"] == "state" && notice["connected"] == true).await?;
    ensure!(first["console"] == "system" && first["writer"] == "", "{first}");
    let body = json!({ "action": "HOST_ACTION_ON" });
    let reply = suite.admin().post("/api/v1alpha1/hosts/system/state", &body).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    console.says("Twin BIOS").await?;
    console.says("twin login: ").await?;
    console.types("ann\r").await?;
    console.says("Password: ").await?;
    console.types("secret\r").await?;
    console.says("ann@twin:~$ ").await?;
    Ok((suite, console))
}

async fn console(suite: &Suite) -> Result<Value> {
    let reply = suite.admin().get("/api/v1alpha1/consoles/system").await?;
    ensure!(reply.status == 200, "{}", reply.text());
    Ok(reply.json()?["console"].clone())
}

/// Where Redfish says that the console is.
async fn redfish_socket(suite: &Suite) -> Result<String> {
    let reply = suite.admin().get("/redfish/v1/Systems/system").await?;
    let shown = reply.json()?["SerialConsole"]["WebSocket"].clone();
    ensure!(shown["ServiceEnabled"] == true && shown["Interactive"] == true, "{shown}");
    Ok(shown["ConsoleURI"].as_str().context("no ConsoleURI")?.to_owned())
}

/// The texts of the log's last lines.
async fn log(suite: &Suite) -> Result<Vec<String>> {
    let reply = suite.admin().get("/api/v1alpha1/consoles/system/log?pageSize=1000").await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let lines = reply.json()?["lines"].as_array().cloned().unwrap_or_default();
    Ok(lines.iter().map(|line| line["text"].as_str().unwrap_or_default().to_owned()).collect())
}

/// The memory a process has for itself, in KiB.
fn private_kib(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let of = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
    };
    Ok(of("Private_Clean:").unwrap_or(0) + of("Private_Dirty:").context("no Private_Dirty")?)
}

async fn account(suite: &Suite, name: &str, role: &str) -> Result {
    let body = json!({ "user": { "username": name, "role": role, "enabled": true }, "password": PASSWORD });
    let reply = suite.admin().post("/api/v1alpha1/users", &body).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    Ok(())
}

#[tokio::test]
async fn one_types_another_takes_over_and_that_is_shown_and_told() -> Result {
    let (suite, mut ann) = logged_in().await?;
    let mut bob = open(&suite, "?replayBytes=4096").await?;
    let state = bob.told(|notice| notice["type"] == "state").await?;
    ensure!(state["writer"].as_str().unwrap_or_default().starts_with("admin (127.0.0.1"), "{state}");
    ensure!(state["you_write"] == false && state["sessions"] == 2, "{state}");
    bob.says("Twin BIOS").await?;
    bob.says("ann@twin:~$ ").await?;

    bob.types("whoami\r").await?;
    let refused = bob.told(|notice| notice["type"] == "refused").await?;
    ensure!(refused["reason"].as_str().unwrap_or_default().contains("has the keyboard"), "{refused}");

    bob.asks("take_over").await?;
    bob.told(|notice| notice["type"] == "state" && notice["you_write"] == true).await?;
    ann.told(|notice| notice["type"] == "taken_over").await?;
    bob.types("whoami\r").await?;
    bob.says("whoami\r\nann\r\n").await?;
    ann.says("whoami\r\nann\r\n").await?;
    // All that is printed has come, which is counted below.
    ann.says("ann@twin:~$ ").await?;
    ann.types("x").await?;
    ann.told(|notice| notice["type"] == "refused").await?;

    // Who only looks never types.
    let mut eve = open(&suite, "?readOnly=true").await?;
    eve.asks("take_over").await?;
    let refused = eve.told(|notice| notice["type"] == "refused").await?;
    ensure!(refused["reason"].as_str().unwrap_or_default().contains("reading only"), "{refused}");

    // Who comes again knows by the count what it has seen: what follows is the last of all there were.
    let mut again = open(&suite, "?replayBytes=128&readOnly=true").await?;
    let begin = again.told(|notice| notice["type"] == "begin").await?;
    let received = console(&suite).await?["receivedBytes"].as_str().context("no count")?.parse::<u64>()?;
    ensure!(begin["at"].as_u64() == received.checked_sub(128), "{begin}, {received} received");
    let mut third = open(&suite, "?replayBytes=64&readOnly=true").await?;
    let other = third.told(|notice| notice["type"] == "begin").await?;
    ensure!(other["run"] == begin["run"] && other["at"].as_u64() == received.checked_sub(64), "{other}");
    drop((again, third));

    // Who comes by Redfish gets bytes alone, of which text is one more kind.
    let uri = redfish_socket(&suite).await?;
    let authorization = basic("admin", ADMIN_PASSWORD);
    let opened = Console::open(suite.https(), &uri, &[("authorization", authorization.as_str())]).await?;
    let mut plain = opened.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    bob.told(|notice| notice["sessions"] == 4).await?;
    bob.types("echo to all\r").await?;
    plain.says("echo to all\r\nto all\r\n").await?;
    bob.asks("release").await?;
    bob.told(|notice| notice["type"] == "state" && notice["writer"] == "").await?;
    plain.writes("echo as text\r").await?;
    plain.says("echo as text\r\nas text\r\n").await?;
    ensure!(plain.is_untold(), "nothing is told beside bytes");
    drop(plain);
    bob.told(|notice| notice["type"] == "state" && notice["writer"] == "").await?;
    bob.asks("take_over").await?;
    bob.told(|notice| notice["type"] == "state" && notice["you_write"] == true).await?;

    // Whose keyboard it was goes, and it is free. Ann also reads what was told when it was released before; only the last
    // of these names two sessions, hers and Eve's.
    drop(bob);
    ann.told(|notice| notice["type"] == "state" && notice["writer"] == "" && notice["sessions"] == 2).await?;
    ann.types("echo again\r").await?;
    ann.says("\r\nagain\r\n").await?;

    eventually("the events are there", FOLLOW, || async {
        let events = suite.admin().get("/api/v1alpha1/events?domain=console").await?.json()?.to_string();
        Ok(["SESSION_CHANGE_KIND_OPENED", "KIND_TOOK_OVER", "KIND_CLOSED"]
            .iter()
            .all(|kind| events.contains(kind)))
    })
    .await?;
    suite.stop().await
}

/// Eight look on, and four of them read nothing any more. `CONSOLE_ROUNDS` says for how long: 44 KB are printed in each.
#[tokio::test]
async fn readers_that_are_stuck_hold_up_nobody_and_are_told_what_they_lost() -> Result {
    let rounds = std::env::var("CONSOLE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    // 14 MB: more than the ring and what the kernel holds for a stuck connection.
    let rounds: u32 = rounds.unwrap_or(350);
    let (suite, ann) = logged_in().await?;
    let mut reading = vec![ann];
    for _ in 0..3 {
        let mut other = open(&suite, "?replayBytes=4096").await?;
        other.says("ann@twin:~$ ").await?;
        reading.push(other);
    }
    // They read nothing from here on: their sockets fill, and then the ring passes them.
    let mut stuck = Vec::new();
    for _ in 0..4 {
        let mut console = open(&suite, "").await?;
        console.told(|notice| notice["type"] == "state").await?;
        stuck.push(console);
    }
    let daemons = ["consolesrv", "websrv"];
    let pids: Vec<_> = daemons.iter().filter_map(|daemon| suite.pid_of(daemon)).collect();
    ensure!(pids.len() == daemons.len());
    let mut before = Vec::new();
    for round in 0..rounds {
        reading.first_mut().context("nobody reads")?.types("count 4000\r").await?;
        let texts = futures_util::future::join_all(reading.iter_mut().map(|who| who.says("line 4000\r\n")));
        for (who, text) in texts.await.into_iter().enumerate() {
            let text = text?;
            let numbers: Vec<u32> =
                text.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
            ensure!(
                numbers == (1..=4000).collect::<Vec<_>>(),
                "round {round}, reader {who}: {} lines",
                numbers.len()
            );
        }
        if round == rounds / 2 {
            before = pids.iter().map(|pid| private_kib(*pid)).collect::<Result<_>>()?;
        }
    }
    for ((daemon, pid), before) in daemons.iter().zip(&pids).zip(before) {
        let after = private_kib(*pid)?;
        ensure!(after < before + 2048, "{daemon} grew from {before} to {after} KiB");
        eventually("it is the process that it was", FOLLOW, || async {
            Ok(suite.pid_of(daemon) == Some(*pid))
        })
        .await?;
    }
    reading.first_mut().context("nobody reads")?.types("echo all\r").await?;
    for who in &mut stuck {
        let lost = who.told(|notice| notice["type"] == "lost").await?;
        ensure!(lost["bytes"].as_u64().unwrap_or(0) > 100_000, "{lost}");
    }
    for who in reading.iter_mut().chain(&mut stuck) {
        who.says("\r\nall\r\n").await?;
    }
    suite.stop().await
}

#[tokio::test]
async fn daemons_that_are_killed_come_back_and_no_line_that_was_logged_is_lost() -> Result {
    let (suite, mut ann) = logged_in().await?;
    ann.types("echo kept over the kill\r").await?;
    ann.says("\r\nkept over the kill\r\n").await?;
    eventually("the line is logged", FOLLOW, || async {
        Ok(log(&suite).await?.iter().any(|line| line == "kept over the kill"))
    })
    .await?;
    let before = log(&suite).await?;
    ensure!(before.iter().any(|line| line == "Twin BIOS 1.0"), "{before:?}");
    suite.kill_daemon("consolesrv")?;
    ensure!(!ann.ends().await?.is_empty(), "the client is told");
    // It is back, with the port and its log.
    eventually("a session can be had again", FOLLOW, || async { Ok(open(&suite, "").await.is_ok()) }).await?;
    let mut ann = open(&suite, "").await?;
    ann.told(|notice| notice["type"] == "state" && notice["connected"] == true).await?;
    ann.types("echo after\r").await?;
    ann.says("\r\nafter\r\n").await?;
    let after = log(&suite).await?;
    ensure!(after.starts_with(&before), "{before:?} {after:?}");

    let logged = log(&suite).await?;
    suite.kill_daemon("websrv")?;
    ann.ends().await?;
    eventually("websrv is back", FOLLOW, || async { Ok(open(&suite, "").await.is_ok()) }).await?;
    let after = log(&suite).await?;
    ensure!(after.starts_with(&logged), "{logged:?} {after:?}");
    let mut ann = open(&suite, "").await?;
    ann.types("echo once more\r").await?;
    ann.says("\r\nonce more\r\n").await?;
    // The sessions of the websrv that died are gone; those that were tried are, too.
    eventually("one session is left", FOLLOW, || async { Ok(console(&suite).await?["sessions"] == 1) })
        .await?;
    suite.stop().await
}

/// What was typed: who, and what.
async fn typed(suite: &Suite) -> Result<Vec<(String, String)>> {
    let reply = suite.admin().get("/api/v1alpha1/consoles/system/input?pageSize=1000").await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let reply = reply.json()?;
    ensure!(reply["kept"] == true, "{reply}");
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let lines = reply["lines"].as_array().cloned().unwrap_or_default();
    Ok(lines.iter().map(|line| (text(line, "username"), text(line, "text"))).collect())
}

/// What is asked for is what is on the medium: a kill amid writing takes nothing of it. `CONSOLE_KILLS` says how often.
#[tokio::test]
async fn a_line_that_was_listed_is_there_after_a_kill_while_more_is_logged() -> Result {
    let kills = std::env::var("CONSOLE_KILLS").ok().and_then(|kills| kills.parse::<u32>().ok());
    let suite = Suite::builder(U_BMC).set("consolesrv.audit.enabled=true").start().await?;
    let (suite, mut ann) = log_in(suite).await?;
    let listed = async || {
        let entered = typed(&suite).await?.into_iter().map(|(_, text)| text).collect();
        Ok::<[Vec<String>; 2], anyhow::Error>([log(&suite).await?, entered])
    };
    for round in 0..kills.unwrap_or(5) {
        let mark = format!("echo r{round}-");
        let (mut before, mut nth) = ([Vec::new(), Vec::new()], 0);
        let logged = async {
            while !before.iter().all(|lines: &Vec<String>| lines.iter().any(|line| line.contains(&mark))) {
                nth += 1;
                ann.types(&format!("{mark}{nth}\r")).await?;
                before = listed().await?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(FOLLOW, logged).await.context("nothing is logged")??;
        // These are on their way, to the medium or not.
        for _ in 0..8 {
            nth += 1;
            ann.types(&format!("{mark}{nth}\r")).await?;
        }
        suite.kill_daemon("consolesrv")?;
        ann.ends().await?;
        eventually("a session can be had again", FOLLOW, || async { Ok(open(&suite, "").await.is_ok()) })
            .await?;
        ann = open(&suite, "").await?;
        ann.told(|notice| notice["type"] == "state" && notice["connected"] == true).await?;
        for (before, after) in before.iter().zip(listed().await?) {
            // What came meanwhile may have pushed the oldest out of an answer, which has 1,000 lines.
            let newest = &before[before.len().saturating_sub(500)..];
            let is_there = after.windows(newest.len()).any(|lines| lines == newest);
            ensure!(is_there, "round {round}: {newest:?} is not in {after:?}");
        }
    }
    suite.stop().await
}

#[tokio::test]
async fn what_is_typed_is_kept_where_that_is_wanted_and_secrets_are_not() -> Result {
    let suite = Suite::builder(U_BMC)
        .set("consolesrv.audit.enabled=true")
        .set("consolesrv.audit.redact=['(token=)\\S+']")
        .start()
        .await?;
    account(&suite, "worker", "Operator").await?;
    let (suite, mut ann) = log_in(suite).await?;
    ann.types("echo token=topmost\r").await?;
    ann.says("\r\ntoken=topmost\r\n").await?;
    // Another goes on where this one did not end its line.
    ann.types("echo un").await?;
    ann.says("echo un").await?;
    let mut bob = open(&suite, "?takeOver=true").await?;
    bob.told(|notice| notice["type"] == "state" && notice["you_write"] == true).await?;
    bob.types("x\r").await?;
    let wanted = ["ann", "[redacted]", "echo token=[redacted]", "echo un", "x"];
    eventually("the lines are kept", FOLLOW, || async {
        let texts: Vec<String> = typed(&suite).await?.into_iter().map(|(_, text)| text).collect();
        Ok(texts == wanted)
    })
    .await?;
    ensure!(typed(&suite).await?.iter().all(|(who, _)| who == "admin"));
    ensure!(console(&suite).await?["inputKept"] == true);
    let worker = suite.client(Credential::Basic("worker".into(), PASSWORD.into()));
    ensure!(worker.get("/api/v1alpha1/consoles/system/input").await?.status == 403);

    // What was acknowledged stays; the file has nothing of the secrets.
    suite.kill_daemon("consolesrv")?;
    eventually("the lines are there after a kill", FOLLOW, || async {
        let kept = typed(&suite).await.unwrap_or_default();
        Ok(kept.iter().map(|(_, text)| text.as_str()).eq(wanted))
    })
    .await?;
    let folder = suite.state_dir().join("consolesrv");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.to_string_lossy().contains(".typed.") {
            let text = std::fs::read_to_string(&path)?;
            ensure!(!text.contains("secret") && !text.contains("topmost"), "{text}");
            files += 1;
        }
    }
    ensure!(files == 1, "{files} files");
    suite.stop().await
}

#[tokio::test]
async fn hosts_that_share_a_port_have_it_one_at_a_time_and_a_switch_is_seen() -> Result {
    let board = testkit::root().join("crates/u-bmc/tests/consoles/board.toml");
    let suite = Suite::builder(U_BMC).board(board).start().await?;
    let admin = suite.admin();
    let shown = async |name: &str| {
        let reply = admin.get(&format!("/api/v1alpha1/consoles/{name}")).await?.json()?;
        Ok::<_, anyhow::Error>(reply["console"].clone())
    };
    let select = async |name: &str, takes_over: bool| {
        let path = format!("/api/v1alpha1/consoles/{name}/select");
        admin.post(&path, &json!({ "takeOver": takes_over })).await
    };
    for host in ["system", "host1"] {
        let path = format!("/api/v1alpha1/hosts/{host}/state");
        let reply = admin.post(&path, &json!({ "action": "HOST_ACTION_ON" })).await?;
        ensure!(reply.status == 200, "{}", reply.text());
    }
    eventually("the first one has the port", FOLLOW, || async {
        Ok(shown("system").await?["connected"] == true)
    })
    .await?;
    let other = shown("host1").await?;
    ensure!(other["sharedPort"] == "uart1" && other["selected"] != true, "{other}");
    ensure!(other["fault"] == "the serial port is switched to system", "{other}");
    let mut ann = open(&suite, "").await?;
    ann.types("\r").await?;
    ann.told(|notice| notice["type"] == "state" && notice["you_write"] == true).await?;

    // Not while somebody types at the other, unless that is asked for.
    let refused = select("host1", false).await?;
    ensure!(
        refused.status == 400 && refused.text().contains("has the keyboard of system"),
        "{}",
        refused.text()
    );
    let done = select("host1", true).await?;
    ensure!(done.status == 200 && done.json()?["console"]["selected"] == true, "{}", done.text());
    ann.says("switched the serial port to host1]").await?;
    ann.told(|notice| notice["type"] == "state" && notice["writer"] == "" && notice["connected"] == false)
        .await?;
    let authorization = basic("admin", ADMIN_PASSWORD);
    let path = "/api/v1alpha1/consoles/host1/socket?replayBytes=4096";
    let opened = Console::open(suite.https(), path, &[("authorization", &authorization)]).await?;
    let mut bob = opened.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    bob.says("switched the serial port to this host;").await?;
    bob.told(|notice| notice["type"] == "state" && notice["connected"] == true).await?;
    bob.types("\r").await?;
    bob.told(|notice| notice["type"] == "state" && notice["you_write"] == true).await?;

    // The lines are as the board says, and what happened is in the logs.
    let trace = suite.twin().await?.trace(0).await?;
    let level = |pin: &str| {
        let last = trace.iter().rev().find(|entry| entry.pin == pin);
        last.is_some_and(|entry| entry.active)
    };
    ensure!(level("mux.uart1.1") && !level("mux.uart1.0"), "{trace:?}");
    eventually("the log has the switch", FOLLOW, || async {
        Ok(log(&suite).await?.iter().any(|line| line.ends_with("switched the serial port to host1]")))
    })
    .await?;
    eventually("the event is there", FOLLOW, || async {
        let events = admin.get("/api/v1alpha1/events?domain=console").await?.json()?.to_string();
        Ok(events.contains("CHANGE_KIND_SWITCHED"))
    })
    .await?;

    // A daemon that starts anew leaves it so.
    suite.kill_daemon("consolesrv")?;
    eventually("the second one has the port still", FOLLOW, || async {
        Ok(shown("host1")
            .await
            .is_ok_and(|console| console["connected"] == true && console["selected"] == true))
    })
    .await?;
    suite.stop().await
}

#[tokio::test]
async fn who_may_not_is_refused_and_a_session_ends_with_its_login() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    account(&suite, "reader", "ReadOnly").await?;
    account(&suite, "worker", "Operator").await?;
    let at = |headers: Vec<(&'static str, String)>| {
        let https = suite.https().to_owned();
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            Ok::<_, anyhow::Error>(Console::open(&https, SOCKET, &headers).await?.err())
        }
    };
    let admin = basic("admin", ADMIN_PASSWORD);
    ensure!(at(vec![]).await? == Some(401));
    ensure!(at(vec![("authorization", basic("reader", PASSWORD))]).await? == Some(403));
    ensure!(at(vec![("authorization", basic("worker", PASSWORD))]).await?.is_none());
    ensure!(
        at(vec![("authorization", admin.clone()), ("origin", "https://evil.example".into())]).await?
            == Some(403)
    );
    let own = format!("https://{}", suite.https());
    ensure!(at(vec![("authorization", admin.clone()), ("origin", own.clone())]).await?.is_none());
    let missing = "/api/v1alpha1/consoles/nothing/socket";
    let opened = Console::open(suite.https(), missing, &[("authorization", &admin)]).await?;
    ensure!(opened.err() == Some(404));
    let plain = suite.admin().get(SOCKET).await?;
    ensure!(plain.status == 426, "{}", plain.status);
    let log = suite.client(Credential::Basic("reader".into(), PASSWORD.into()));
    ensure!(log.get("/api/v1alpha1/consoles/system/log").await?.status == 403);

    // The pages' cookie counts for a page of the BMC, and signing out ends what it opened.
    let page: Client = suite.client(Credential::None);
    let body = json!({ "username": "worker", "password": PASSWORD }).to_string();
    let mark = [("x-u-bmc-ui", "1"), ("content-type", "application/json")];
    let signed = page.send(http::Method::POST, "/ui/session", &mark, body.into()).await?;
    ensure!(signed.status == 200, "{}", signed.text());
    let cookie = signed.headers.get("set-cookie").context("no cookie")?.to_str()?;
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    ensure!(at(vec![("cookie", cookie.clone())]).await? == Some(401), "without an origin");
    let headers = [("cookie", cookie.as_str()), ("origin", own.as_str())];
    let mut console = Console::open(suite.https(), SOCKET, &headers)
        .await?
        .map_err(|status| anyhow::anyhow!("{status}"))?;
    console.told(|notice| notice["type"] == "state").await?;
    let marked = [("cookie", cookie.as_str()), ("x-u-bmc-ui", "1")];
    let out = page.send(http::Method::DELETE, "/ui/session", &marked, Vec::new().into()).await?;
    ensure!(out.status == 200, "{}", out.text());
    let reason = console.ends().await?;
    ensure!(reason.contains("session"), "{reason}");
    suite.stop().await
}
