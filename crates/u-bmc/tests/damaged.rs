//! Starts on a state folder in which one file is damaged: always up, always told, and never a new first administrator.
//!
//! Every file that a day of use leaves is cut short, emptied, zeroed, has one bit flipped, is swapped for a folder, or goes missing, one
//! at a time, in a copy. What was forbidden stays so: the host that was switched off and locked is not switched on, and an account that was
//! deleted lets nobody in. `DAMAGED_STARTS` sets how many of these starts are made (16 without it, drawn at random), `DAMAGED_SEED`
//! repeats a draw.

#![allow(clippy::print_stdout, reason = "what was done is said on standard output")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use testkit::{ADMIN_PASSWORD, Client, Console, Credential, FileSession, Suite, eventually};

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// The second administrator, for the starts in which the first one's record is what was damaged.
const SECOND: (&str, &str) = ("second", "Gr33n-Valley-77");
/// One that was deleted.
const DELETED: (&str, &str) = ("mallory", "Gr33n-Valley-78");
/// In the store and in a drive.
const DISC: &str = "disc.iso";
const FOLLOW: Duration = Duration::from_secs(90);

type Result<T = ()> = anyhow::Result<T>;

#[derive(Clone, Copy, Debug)]
enum Damage {
    /// Half of it is gone.
    Cut,
    /// It is there and empty.
    Empty,
    /// All bytes are zero.
    Zeroed,
    /// One bit is another, so far into the file (in 256ths).
    Flipped(u8),
    /// A folder stands in its place.
    Folder,
    /// It is not there.
    Missing,
}

impl Damage {
    fn all() -> Vec<Self> {
        let flips = [0, 20, 60, 100, 140, 180, 220, 250].map(Self::Flipped);
        [&[Self::Cut, Self::Empty, Self::Zeroed, Self::Folder, Self::Missing][..], &flips].concat()
    }

    fn apply(self, file: &Path) -> Result {
        let mut bytes = std::fs::read(file)?;
        match self {
            Self::Cut => bytes.truncate(bytes.len() / 2),
            Self::Empty => bytes.clear(),
            Self::Zeroed => bytes.fill(0),
            Self::Flipped(at) => {
                let at = bytes.len() * usize::from(at) / 256;
                bytes[at] ^= 1 << (at % 7);
            }
            Self::Folder => {
                std::fs::remove_file(file)?;
                return Ok(std::fs::create_dir(file)?);
            }
            Self::Missing => return Ok(std::fs::remove_file(file)?),
        }
        Ok(std::fs::write(file, bytes)?)
    }
}

/// The state after a day of use, in a stopped suite's folder.
async fn a_day_of_use(state: &Path) -> Result {
    let suite = suite(state).set("kvmsrv.keep_secs=5").start().await?;
    let admin = &suite.admin();
    let post = async |path: &str, body| {
        let reply = admin.post(path, &body).await?;
        ensure!(reply.status == 200, "{path}: {} {}", reply.status, reply.text());
        Ok(())
    };
    let second = json!({ "user": { "username": SECOND.0, "role": "Administrator" }, "password": SECOND.1 });
    post("/api/v1alpha1/users", second).await?;
    post("/api/v1alpha1/hosts/system/state", json!({ "action": "HOST_ACTION_ON" })).await?;
    post("/api/v1alpha1/sessions", json!({ "username": "admin", "password": ADMIN_PASSWORD })).await?;
    let body = json!({ "host": { "description": "rack 7" }, "fieldMask": "description" });
    let json = [("content-type", "application/json")];
    let reply =
        admin.send("PATCH".parse()?, "/api/v1alpha1/hosts/system", &json, body.to_string().into()).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    eventually("the host is on", FOLLOW, || async { Ok(host_status(admin).await? == "HOST_STATUS_ON") })
        .await?;
    screens_media_and_consoles(&suite).await?;
    let body = json!({ "host": { "powerRestorePolicy": "POWER_RESTORE_POLICY_ALWAYS_ON" }, "fieldMask": "powerRestorePolicy" });
    let reply =
        admin.send("PATCH".parse()?, "/api/v1alpha1/hosts/system", &json, body.to_string().into()).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    post("/api/v1alpha1/hosts/system/state", json!({ "action": "HOST_ACTION_FORCE_OFF" })).await?;
    eventually("the host is off", FOLLOW, || async { Ok(host_status(admin).await? == "HOST_STATUS_OFF") })
        .await?;
    let disable = json!({ "action": "MANAGEMENT_CONTROLLER_ACTION_DISABLE" });
    post("/api/v1alpha1/management-controllers/bmc/state", disable).await?;
    let deleted =
        json!({ "user": { "username": DELETED.0, "role": "Administrator" }, "password": DELETED.1 });
    let made = admin.post("/api/v1alpha1/users", &deleted).await?;
    let id = made.json()?["user"]["id"].as_str().context("an id")?.to_owned();
    ensure!(gets_in(&suite.client(Credential::None), DELETED).await?, "{}", made.text());
    let path = format!("/api/v1alpha1/users/{id}");
    let gone = admin.send("DELETE".parse()?, &path, &[], Vec::new().into()).await?;
    ensure!(gone.status == 200, "{}", gone.text());
    suite.stop().await
}

/// What goes to files of screens, media and consoles: a line that is typed, a disc in the store and in the drive, a screen that is kept. The host is on after it.
async fn screens_media_and_consoles(suite: &Suite) -> Result {
    let admin = &suite.admin();
    let act = async |action: &str| {
        admin.post("/api/v1alpha1/hosts/system/state", &json!({ "action": action })).await
    };
    let until_on = async || {
        eventually("the host is on", FOLLOW, || async {
            let is_on = host_status(admin).await? == "HOST_STATUS_ON";
            if !is_on {
                act("HOST_ACTION_ON").await?;
            }
            Ok(is_on)
        })
        .await
    };
    until_on().await?;
    let login = Credential::Basic("admin".into(), ADMIN_PASSWORD.into()).header().context("a header")?;
    let headers = [("authorization", login.as_str())];
    let console =
        Console::open(suite.https(), "/api/v1alpha1/consoles/system/socket?replayBytes=4096", &headers);
    let mut console = console.await?.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    console.says("twin login: ").await?;
    console.types("ann\r").await?;
    eventually("what is typed is kept", FOLLOW, || async {
        let typed = admin.get("/api/v1alpha1/consoles/system/input").await?.json()?;
        Ok(typed["lines"].as_array().is_some_and(|lines| !lines.is_empty()))
    })
    .await?;
    let disc: Vec<u8> = (0..65_536_u32).map(|at| u8::try_from(at % 251 + 1).unwrap_or(1)).collect();
    let path = format!("/api/v1alpha1/media-files/{DISC}/socket?sizeBytes={}", disc.len());
    let upload = FileSession::open(suite.https(), &path, &headers, disc).await?;
    let mut upload = upload.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    upload.told(|notice| *notice == media::Notice::Stored).await?;
    let reply = admin.post("/api/v1alpha1/media/cd/insert", &json!({ "storeFile": DISC })).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    // It is kept when the host goes off, if it was looked at before, which is done each 5 s.
    eventually("a screen is kept", FOLLOW, || async {
        let is_on = host_status(admin).await? == "HOST_STATUS_ON";
        act(if is_on { "HOST_ACTION_FORCE_OFF" } else { "HOST_ACTION_ON" }).await?;
        let kept = admin.get("/api/v1alpha1/screens/system/kept").await?.json()?;
        Ok(kept["screens"].as_array().is_some_and(|screens| !screens.is_empty()))
    })
    .await?;
    until_on().await
}

fn suite(state: &Path) -> testkit::Builder {
    Suite::builder(U_BMC)
        .state_dir(state)
        .set("consolesrv.audit.enabled=true")
        .set(format!("sshsrv.listen=127.0.0.1:{}", testkit::free_port().unwrap_or_default()))
        .set("usermgr.password.memory_kib=4096")
        .set("usermgr.password.passes=3")
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) -> Result {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files(&entry.path(), into)?;
        } else if entry.file_type()?.is_file() && entry.metadata()?.len() > 0 {
            into.push(entry.path());
        }
    }
    Ok(())
}

async fn host_status(client: &Client) -> Result<String> {
    let host = client.get("/api/v1alpha1/hosts/system").await?.json()?;
    Ok(host["host"]["status"].as_str().unwrap_or_default().to_owned())
}

async fn gets_in(client: &Client, (name, password): (&str, &str)) -> Result<bool> {
    let who = client.with(Credential::Basic(name.into(), password.into()));
    Ok(who.get("/api/v1alpha1/hosts").await?.status == 200)
}

/// What a console printed, and what was typed there.
const CONSOLES: [&str; 2] = ["consolesrv/system.log", "consolesrv/system.typed.log"];

/// One start on a copy of `state` with `damage` done to `file`.
async fn start_with(state: &Path, file: &Path, damage: Damage) -> Result {
    let copy = tempfile::tempdir()?;
    let copied = copy.path().join("state");
    let status = Command::new("cp").arg("-a").arg(state).arg(&copied).status()?;
    ensure!(status.success(), "cannot copy the state");
    damage.apply(&copied.join(file))?;
    // Without a password given from outside: taking the store for a new one would print a credential, and let it in.
    let suite = suite(&copied).first_boot().start().await.context("it does not start")?;
    let client = suite.client(Credential::None);
    let log = suite.log();
    let text = log.join("\n");
    ensure!(!text.contains("│   password"), "a new first administrator was made:\n{text}");
    let is_segment = file.extension().is_some_and(|e| e == "seg");
    let users_lost = file.starts_with("bus/streams/KV_users") && is_segment;
    let in_as_first = gets_in(&client, ("admin", ADMIN_PASSWORD)).await?;
    let in_as_second = gets_in(&client, SECOND).await?;
    if !users_lost {
        ensure!(in_as_first && in_as_second, "no login though no account was damaged:\n{text}");
    } else if matches!(damage, Damage::Flipped(_)) {
        ensure!(in_as_first || in_as_second, "one flipped bit locks everybody out:\n{text}");
    }
    ensure!(!gets_in(&client, DELETED).await?, "who was deleted gets in:\n{text}");
    if in_as_first || in_as_second {
        let (name, password) = if in_as_first { ("admin", ADMIN_PASSWORD) } else { SECOND };
        let admin = client.with(Credential::Basic(name.into(), password.into()));
        ensure!(host_status(&admin).await? == "HOST_STATUS_OFF", "a locked host was switched on:\n{text}");
        let on =
            admin.post("/api/v1alpha1/hosts/system/state", &json!({ "action": "HOST_ACTION_ON" })).await?;
        ensure!(on.status != 200, "the lock is gone:\n{text}");
    }
    // Nothing can be said of what is not there but for messages, of another id that looks like one, of a turned bit in what of a certificate is not
    // looked at, of another text or an earlier end of what a host has said or was typed there, and of another content as long as a disc was.
    let silent = matches!(damage, Damage::Missing) && !is_segment
        || file == Path::new("system-id") && matches!(damage, Damage::Flipped(_))
        || file == Path::new("websrv/tls/cert.pem") && matches!(damage, Damage::Flipped(_))
        || CONSOLES.iter().any(|log| file == Path::new(log))
            && matches!(damage, Damage::Flipped(_) | Damage::Cut)
        || file.starts_with("mediasrv/store") && matches!(damage, Damage::Flipped(_) | Damage::Zeroed);
    let is_named = || {
        let log = suite.log();
        file.components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            let part = part.trim_start_matches("KV_");
            part.len() > 3
                && part != "streams"
                && log.iter().any(|l| (l.contains(" WARN ") || l.contains("ERROR ")) && l.contains(part))
        })
    };
    // What daemons look at beside their start is said a moment later.
    eventually("it is said", FOLLOW, || async { Ok(silent || is_named()) }).await.with_context(|| {
        format!("nothing says that {} is damaged:\n{}", file.display(), suite.log().join("\n"))
    })?;
    suite.stop().await
}

#[tokio::test]
async fn a_damaged_file_never_keeps_it_down_and_never_makes_it_new() -> Result {
    let state = tempfile::tempdir()?;
    a_day_of_use(state.path()).await?;
    let mut found = Vec::new();
    files(state.path(), &mut found)?;
    // A seed is to draw the same each time.
    found.sort();
    let mut starts: Vec<(PathBuf, Damage)> = Vec::new();
    for file in &found {
        let file = file.strip_prefix(state.path())?.to_owned();
        // Sockets and what else must not survive a restart.
        if file.starts_with("run") {
            continue;
        }
        starts.extend(Damage::all().into_iter().map(|damage| (file.clone(), damage)));
    }
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("DAMAGED_SEED").unwrap_or_else(|| fastrand::u64(..));
    let most = usize::try_from(number("DAMAGED_STARTS").unwrap_or(16))?;
    fastrand::Rng::with_seed(seed).shuffle(&mut starts);
    // Where forbidding is kept comes first: two of these are among any draw.
    for (bucket, at) in [("KV_state", 0), ("KV_users", 1)] {
        let first = starts.iter().position(|(file, damage)| {
            let segment = file.extension().is_some_and(|e| e == "seg");
            segment
                && file.starts_with(Path::new("bus/streams").join(bucket))
                && !matches!(damage, Damage::Flipped(_))
        });
        starts.swap(first.context("a segment")?, at);
    }
    println!("DAMAGED_SEED={seed}: {} of {} damages", most.min(starts.len()), starts.len());
    let mut wrong = Vec::new();
    for (file, damage) in starts.iter().take(most) {
        if let Err(error) = start_with(state.path(), file, *damage).await {
            wrong.push(format!("{damage:?} {}: {error:#}", file.display()));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{}\n{} starts went wrong, DAMAGED_SEED={seed}",
        wrong.join("\n\n"),
        wrong.len()
    );
    Ok(())
}

/// The folder of a bucket is gone: what was forbidden in it stays so, and people are told.
#[tokio::test]
async fn a_lock_whose_folder_is_missing_stays() -> Result {
    let state = tempfile::tempdir()?;
    a_day_of_use(state.path()).await?;
    std::fs::remove_dir_all(state.path().join("bus/streams/KV_state"))?;
    let suite = suite(state.path()).start().await?;
    let text = suite.log().join("\n");
    let admin = suite.admin();
    ensure!(host_status(&admin).await? == "HOST_STATUS_OFF", "a locked host was switched on:\n{text}");
    let on = admin.post("/api/v1alpha1/hosts/system/state", &json!({ "action": "HOST_ACTION_ON" })).await?;
    ensure!(on.status != 200 && on.text().contains("MAINTENANCE"), "the lock is gone: {}\n{text}", on.text());
    let status = admin.get("/api/v1alpha1/system/health").await?;
    ensure!(status.text().contains("KV_state"), "{}", status.text());
    eventually("an event tells it", FOLLOW, || async {
        Ok(admin.get("/api/v1alpha1/events?component=KV_state").await?.text().contains("missing"))
    })
    .await?;
    suite.stop().await
}

/// What was kept of screens, media, typed text and SSH, all of it damaged at once: told where people look, and each of them works again without a person.
#[tokio::test]
async fn what_screens_media_and_consoles_keep_is_told_when_it_is_damaged_and_used_again() -> Result {
    let state = tempfile::tempdir()?;
    let start = async |state: &Path| self::suite(state).set("kvmsrv.keep_secs=5").start().await;
    let suite = start(state.path()).await?;
    screens_media_and_consoles(&suite).await?;
    suite.stop().await?;
    let disc = format!("mediasrv/store/{DISC}");
    let mut files = vec!["mediasrv/slots.json".to_owned(), disc.clone(), "sshsrv/host_key".to_owned()];
    files.push("consolesrv/system.typed.log".to_owned());
    for kept in std::fs::read_dir(state.path().join("kvmsrv/kept/system"))? {
        files.push(format!("kvmsrv/kept/system/{}", kept?.file_name().to_string_lossy()));
    }
    ensure!(files.len() > 4, "no kept screen");
    for damage in [Damage::Cut, Damage::Empty, Damage::Zeroed, Damage::Folder] {
        let copy = tempfile::tempdir()?;
        let copied = copy.path().join("state");
        let status = Command::new("cp").arg("-a").arg(state.path()).arg(&copied).status()?;
        ensure!(status.success(), "cannot copy the state");
        for file in &files {
            damage.apply(&copied.join(file)).with_context(|| format!("{damage:?} {file}"))?;
        }
        let suite = start(&copied).await?;
        let admin = &suite.admin();
        for file in &files {
            // A text that ends sooner, and a disc of another content that is in no drive any more, look like what they could be.
            let is_told = match damage {
                Damage::Cut => *file != disc && !CONSOLES.contains(&file.as_str()),
                Damage::Zeroed => *file != disc,
                _ => true,
            };
            let event = format!("/api/v1alpha1/events?component={}", file.replace(['/', '.'], "_"));
            if is_told {
                eventually("an event tells it", FOLLOW, || async {
                    Ok(admin.get(&event).await?.text().contains(file))
                })
                .await
                .with_context(|| format!("{damage:?} {file}\n{}", suite.log().join("\n")))?;
            }
        }
        // The drive is empty and says so, and takes a disc again, over a restart of its daemon.
        let slot = async || {
            Ok::<_, anyhow::Error>(admin.get("/api/v1alpha1/media/cd").await?.json()?["slot"].clone())
        };
        eventually("the drive is empty", FOLLOW, || async {
            Ok(slot().await?["state"] == "MEDIA_STATE_EMPTY")
        })
        .await?;
        screens_media_and_consoles(&suite).await.with_context(|| format!("after {damage:?}"))?;
        suite.kill_daemon("mediasrv")?;
        eventually("the disc is offered again", FOLLOW, || async {
            Ok(slot()
                .await
                .is_ok_and(|slot| slot["state"] == "MEDIA_STATE_INSERTED" && slot["imageName"] == DISC))
        })
        .await?;
        suite.stop().await?;
    }
    Ok(())
}

/// What is wrong with daemons' own files is told where people look, not in the log alone.
#[tokio::test]
async fn damage_of_a_daemon_s_own_files_is_an_event_and_in_the_status() -> Result {
    let state = tempfile::tempdir()?;
    let at = |path: &str| state.path().join(path);
    let suite = suite(state.path()).start().await?;
    // With a password that IPMI has room for: something is sealed with the key.
    let user = json!({ "user": { "username": SECOND.0, "role": "Administrator", "ipmiAccess": true }, "password": SECOND.1 });
    let made = suite.admin().post("/api/v1alpha1/users", &user).await?;
    ensure!(made.status == 200 && made.json()?["user"]["ipmiReady"] == true, "{}", made.text());
    let path = format!("/api/v1alpha1/users/{}", made.json()?["user"]["id"].as_str().context("an id")?);
    ensure!(gets_in(&suite.client(Credential::None), SECOND).await?, "the second");
    suite.stop().await?;
    let told = async |damaged: &[&str], ready: bool| -> Result {
        let suite = self::suite(state.path()).start().await?;
        let admin = suite.admin();
        for file in damaged {
            let component = file.replace(['/', '.'], "_");
            let event = format!("/api/v1alpha1/events?component={component}");
            eventually("status and event tell it", FOLLOW, || async {
                let status = admin.get("/api/v1alpha1/system/health").await?.text().contains(file);
                Ok(status && admin.get(&event).await?.text().contains(file))
            })
            .await
            .with_context(|| format!("{file}\n{}", suite.log().join("\n")))?;
        }
        let user = admin.get(&path).await?.json()?;
        // What is false is left out.
        ensure!(user["user"]["ipmiReady"].as_bool().unwrap_or_default() == ready, "{user}");
        suite.stop().await
    };
    std::fs::create_dir_all(at("consolesrv"))?;
    std::fs::write(at("consolesrv/system.log"), [0; 64])?;
    std::fs::write(at("usermgr/ipmi-key"), b"short")?;
    std::fs::create_dir(at("usermgr/recovery-password"))?;
    // Neither copy of a bucket's configuration can be read or replaced: they are put aside, and its daemon serves.
    for meta in ["meta", "meta.2"] {
        let file = at("bus/streams/KV_state").join(meta);
        std::fs::remove_file(&file)?;
        std::fs::create_dir(&file)?;
    }
    told(&["KV_state", "consolesrv/system.log", "usermgr/ipmi-key", "usermgr/recovery-password"], true)
        .await?;
    for file in ["usermgr/ipmi-key", "usermgr/ipmi-key.2"] {
        std::fs::write(at(file), b"short")?;
    }
    told(&["usermgr/ipmi-key"], false).await?;
    std::fs::remove_dir_all(at("usermgr"))?;
    told(&["usermgr/accounts-made", "usermgr/ipmi-key"], false).await?;
    // Another key was made, which opens nothing of what there was: that is told at each start.
    told(&["usermgr/ipmi-key"], false).await
}
