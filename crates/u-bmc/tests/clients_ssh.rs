//! OpenSSH's client at the consoles of the whole suite: who gets in, who types, what ends a session, what is held by bounds.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use testkit::{ADMIN_PASSWORD, Suite, eventually};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const PASSWORD: &str = "seven brass doorknobs";
/// Longest wait for what a request leads to.
const FOLLOW: Duration = Duration::from_secs(60);

type Result<T = ()> = anyhow::Result<T>;

/// A terminal for the client, though it has none itself.
const TERMINAL: &[&str] = &["-tt"];

struct Bmc {
    suite: Suite,
    port: u16,
    /// Of the clients: what they know of hosts, and who says their passwords.
    home: tempfile::TempDir,
}

impl Bmc {
    /// With these settings of sshsrv; `None`, which is told, where there is no client.
    async fn start(sets: &[&str]) -> Result<Option<Self>> {
        let port = testkit::free_port()?;
        let mut builder = Suite::builder(U_BMC).set(format!("sshsrv.listen=127.0.0.1:{port}"));
        for set in sets {
            builder = builder.set(format!("sshsrv.{set}"));
        }
        Self::of(builder, port).await
    }

    /// Of this suite, where SSH is or will be at this port.
    #[expect(clippy::print_stdout, reason = "a skip is counted by what it prints")]
    async fn of(builder: testkit::Builder, port: u16) -> Result<Option<Self>> {
        if std::process::Command::new("ssh").arg("-V").stdin(Stdio::null()).output().is_err() {
            println!("SKIP: no ssh (Debian: openssh-client)");
            return Ok(None);
        }
        let bmc = Self { suite: builder.start().await?, port, home: tempfile::tempdir()? };
        let script = bmc.askpass();
        std::fs::write(&script, "#!/bin/sh\nprintf '%s\\n' \"$SSH_TEST_PASSWORD\"\n")?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&script, mode)?;
        Ok(Some(bmc))
    }

    fn askpass(&self) -> PathBuf {
        self.home.path().join("askpass")
    }

    /// The client as this account, with these options and words.
    fn command(&self, who: (&str, &str), options: &[&str], words: &[&str]) -> Command {
        let known = format!("UserKnownHostsFile={}", self.home.path().join("known_hosts").display());
        let mut command = Command::new("ssh");
        command
            .args(["-F", "none", "-p", &self.port.to_string(), "-o", &known])
            // A key that is not the one that was kept is refused.
            .args(["-o", "StrictHostKeyChecking=accept-new", "-o", "PubkeyAuthentication=no"])
            .args(["-o", "NumberOfPasswordPrompts=1", "-o", "LogLevel=INFO"])
            .args(options)
            .arg(format!("{}@127.0.0.1", who.0))
            // The client takes what begins with a dash for its own without this.
            .args(if words.is_empty() { &[][..] } else { &["--"][..] })
            .args(words)
            .env("SSH_ASKPASS", self.askpass())
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("SSH_TEST_PASSWORD", who.1)
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn open(&self, who: (&str, &str), options: &[&str], words: &[&str]) -> Result<Ssh> {
        Ssh::new(self.command(who, options, words).spawn()?)
    }

    /// As the first administrator, on a terminal.
    fn admin(&self, words: &[&str]) -> Result<Ssh> {
        self.open(ADMIN, TERMINAL, words)
    }

    /// Runs the client to its end; its exit status and what it said beside.
    async fn refused(&self, who: (&str, &str), options: &[&str], words: &[&str]) -> Result<(i32, String)> {
        let mut ssh = self.open(who, options, words)?;
        let status = ssh.ends().await?;
        Ok((status, ssh.errors.heard.clone()))
    }

    async fn account(&self, user: Value) -> Result {
        let body = json!({ "user": user, "password": PASSWORD });
        let reply = self.suite.admin().post("/api/v1alpha1/users", &body).await?;
        ensure!(reply.status == 200, "{}", reply.text());
        Ok(())
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let reply = self.suite.admin().get(path).await?;
        ensure!(reply.status == 200, "{path}: {}", reply.text());
        reply.json()
    }

    async fn sessions(&self) -> Result<u64> {
        let console = self.get("/api/v1alpha1/consoles/system").await?;
        Ok(console["console"]["sessions"].as_u64().unwrap_or(0))
    }

    async fn host_on(&self) -> Result {
        let body = json!({ "action": "HOST_ACTION_ON" });
        let reply = self.suite.admin().post("/api/v1alpha1/hosts/system/state", &body).await?;
        ensure!(reply.status == 200, "{}", reply.text());
        Ok(())
    }

    /// A client on the console of a host where somebody is logged in.
    async fn logged_in(&self) -> Result<Ssh> {
        let mut ann = self.admin(&[])?;
        eventually("the console has a session", FOLLOW, || async { Ok(self.sessions().await? == 1) }).await?;
        self.host_on().await?;
        ann.says("twin login: ").await?;
        ann.types("ann\r").await?;
        ann.says("Password: ").await?;
        ann.types("secret\r").await?;
        ann.says("ann@twin:~$ ").await?;
        Ok(ann)
    }
}

const ADMIN: (&str, &str) = ("admin", ADMIN_PASSWORD);

/// What comes from one side of a client.
struct Said<R> {
    from: R,
    heard: String,
}

impl<R: AsyncRead + Unpin> Said<R> {
    /// Waits until this is said; what was said up to it is taken away.
    async fn until(&mut self, text: &str) -> Result<String> {
        let until = Instant::now() + FOLLOW;
        loop {
            if let Some(at) = self.heard.find(text) {
                let rest = self.heard.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.heard, rest));
            }
            let mut buffer = [0; 4096];
            let read = tokio::time::timeout_at(until, self.from.read(&mut buffer)).await;
            match read.with_context(|| format!("never said {text:?}, but {:?}", self.heard))?? {
                0 => bail!("ended without {text:?}, but {:?}", self.heard),
                count => self.heard.push_str(&String::from_utf8_lossy(&buffer[..count])),
            }
        }
    }
}

struct Ssh {
    child: Child,
    input: Option<ChildStdin>,
    output: Said<tokio::process::ChildStdout>,
    errors: Said<tokio::process::ChildStderr>,
}

impl Ssh {
    fn new(mut child: Child) -> Result<Self> {
        let input = child.stdin.take();
        let output = Said { from: child.stdout.take().context("no stdout")?, heard: String::new() };
        let errors = Said { from: child.stderr.take().context("no stderr")?, heard: String::new() };
        Ok(Self { child, input, output, errors })
    }

    async fn types(&mut self, text: &str) -> Result {
        let input = self.input.as_mut().context("closed")?;
        input.write_all(text.as_bytes()).await?;
        Ok(input.flush().await?)
    }

    /// The host says this.
    async fn says(&mut self, text: &str) -> Result<String> {
        self.output.until(text).await
    }

    /// The controller says this beside what the host says.
    async fn told(&mut self, text: &str) -> Result<String> {
        self.errors.until(text).await
    }

    /// Waits for the end; the exit status, with all that was still said.
    async fn ends(&mut self) -> Result<i32> {
        drop(self.input.take());
        let mut output = Vec::new();
        let mut errors = Vec::new();
        let read = async {
            tokio::try_join!(
                self.output.from.read_to_end(&mut output),
                self.errors.from.read_to_end(&mut errors)
            )
        };
        timeout(FOLLOW, read).await.context("the client does not end")??;
        self.output.heard.push_str(&String::from_utf8_lossy(&output));
        self.errors.heard.push_str(&String::from_utf8_lossy(&errors));
        let status = timeout(FOLLOW, self.child.wait()).await??;
        status.code().context("it ended by a signal")
    }
}

#[tokio::test]
async fn consoles_are_opened_typed_at_taken_over_and_looked_at() -> Result {
    let Some(bmc) = Bmc::start(&[]).await? else { return Ok(()) };
    // Clients of Redfish are told where.
    eventually("Redfish shows the port", FOLLOW, || async {
        let admin = bmc.suite.admin();
        let protocols = admin.get("/redfish/v1/Managers/bmc/NetworkProtocol").await?.json()?;
        let system = admin.get("/redfish/v1/Systems/system").await?.json()?;
        let way = json!({"ProtocolEnabled": true, "Port": bmc.port});
        Ok(protocols["SSH"] == way && system["SerialConsole"]["SSH"]["Port"] == bmc.port)
    })
    .await?;
    let mut ann = bmc.logged_in().await?;
    ann.types("whoami\r").await?;
    ann.says("whoami\r\nann\r\n").await?;

    // Another sees who has the keyboard, is asked, and takes it over.
    let mut bob = bmc.admin(&["system", "--replay", "1"])?;
    bob.told("admin (127.0.0.1) has the keyboard").await?;
    bob.says("ann@twin:~$ ").await?;
    bob.types("w").await?;
    bob.told("press y to take it over").await?;
    bob.types("n").await?;
    bob.told("keeps the keyboard").await?;
    bob.types("w").await?;
    bob.told("press y to take it over").await?;
    bob.types("y").await?;
    bob.told("the keyboard is yours").await?;
    ann.told("admin (127.0.0.1) took over the keyboard").await?;
    bob.types("echo over ssh\r").await?;
    for who in [&mut ann, &mut bob] {
        let said = who.says("\r\nover ssh\r\n").await?;
        ensure!(!said.contains("$ n") && !said.contains("$ y"), "an answer reached the host: {said:?}");
    }

    // A program that types nothing looks on, and so does who wants to.
    let mut log = bmc.open(ADMIN, &["-T"], &["--replay", "64"])?;
    drop(log.input.take());
    log.says("\r\nover ssh\r\n").await?;
    let mut eve = bmc.admin(&["--read-only"])?;
    eve.told("has the keyboard").await?;
    eve.types("x").await?;
    eve.told("this session was opened for reading only").await?;
    bob.types("echo to all\r").await?;
    for who in [&mut ann, &mut bob, &mut log, &mut eve] {
        who.says("\r\nto all\r\n").await?;
    }
    ensure!(bmc.sessions().await? == 4);

    // A break, with the keyboard taken over for it.
    let mut dan = bmc.admin(&["--take-over", "--break"])?;
    dan.told("the keyboard is yours").await?;
    eventually("the events are there", FOLLOW, || async {
        let events = bmc.get("/api/v1alpha1/events?domain=console").await?.to_string();
        Ok(["SESSION_CHANGE_KIND_OPENED", "KIND_TOOK_OVER", "KIND_BREAK"]
            .iter()
            .all(|kind| events.contains(kind)))
    })
    .await?;

    // Several consoles on one connection, which is one login.
    let control = format!("ControlPath={}", bmc.home.path().join("control").display());
    let shared = ["-tt", "-o", "ControlMaster=auto", "-o", &control];
    let logins = async || {
        let sessions = bmc.get("/api/v1alpha1/sessions").await?;
        Ok::<_, anyhow::Error>(sessions["sessions"].as_array().map_or(0, Vec::len))
    };
    let mut first = bmc.open(ADMIN, &shared, &["--read-only"])?;
    first.told("has the keyboard").await?;
    let before = logins().await?;
    let mut second = bmc.open(ADMIN, &shared, &["--read-only"])?;
    second.told("has the keyboard").await?;
    ensure!(logins().await? == before, "the second one has no login of its own");
    dan.types("echo by one connection\r").await?;
    for who in [&mut first, &mut second] {
        who.says("\r\nby one connection\r\n").await?;
    }

    // Ends of the client are ends of its session.
    drop((bob, log, eve, dan, second, first));
    eventually("one session is left", FOLLOW, || async { Ok(bmc.sessions().await? == 1) }).await?;

    // What there is not, and what is not served.
    for (words, why) in
        [(&["nothing"][..], "nothing"), (&["-x"], "[HOST]"), (&["system", "other"], "one console at a time")]
    {
        let (status, said) = bmc.refused(ADMIN, &["-T"], words).await?;
        ensure!(status == 1 && said.contains(why), "{words:?}: {status} {said}");
    }
    for options in [&["-T", "-s"][..], &["-W", "127.0.0.1:22"]] {
        let (status, said) =
            bmc.refused(ADMIN, options, &["sftp"][..usize::from(options[0] == "-T")]).await?;
        ensure!(status == 255 || status == 1, "{options:?}: {status} {said}");
    }
    bmc.suite.stop().await
}

#[tokio::test]
async fn who_may_not_is_told_why_and_a_session_ends_with_its_login() -> Result {
    let Some(bmc) = Bmc::start(&[]).await? else { return Ok(()) };
    for (name, role) in [("reader", "ReadOnly"), ("worker", "Operator"), ("guessed", "Operator")] {
        bmc.account(json!({ "username": name, "role": role, "enabled": true })).await?;
    }
    bmc.account(
        json!({ "username": "fresh", "role": "Operator", "enabled": true, "password_change_required": true }),
    )
    .await?;
    let (status, said) = bmc.refused(("reader", PASSWORD), TERMINAL, &[]).await?;
    ensure!(status == 1 && said.contains("needs the privilege CONFIGURE_COMPONENTS"), "{status} {said}");
    let (status, said) = bmc.refused(("fresh", PASSWORD), TERMINAL, &[]).await?;
    ensure!(status == 1 && said.contains("must be changed") && said.contains("ubmcctl"), "{status} {said}");

    // Wrong passwords are counted for the account and the address, by either method.
    for (n, method) in ["keyboard-interactive", "password"].into_iter().cycle().take(5).enumerate() {
        let option = format!("PreferredAuthentications={method}");
        let wrong = format!("not this {n}");
        let (status, said) = bmc.refused(("guessed", &wrong), &["-T", "-o", &option], &[]).await?;
        ensure!(status == 255 && said.contains("Permission denied"), "{method}: {status} {said}");
    }
    let locks = bmc.get("/api/v1alpha1/lockouts").await?;
    let lock = locks["lockouts"].as_array().and_then(|locks| {
        locks.iter().find(|lock| lock["username"] == "guessed" && lock["address"] == "127.0.0.1").cloned()
    });
    ensure!(lock.is_some_and(|lock| lock["failedAttempts"] == 5), "{locks}");
    let (status, said) = bmc.refused(("guessed", PASSWORD), &["-T"], &[]).await?;
    ensure!(status == 255 && said.contains("Permission denied"), "{status} {said}");

    // A login that is ended ends its session at once, as do a type, a role and an account that are taken away.
    let worker = ("worker", PASSWORD);
    for change in ["session", "type", "role", "account"] {
        let mut ssh = bmc.open(worker, TERMINAL, &[])?;
        eventually("the console has a session", FOLLOW, || async { Ok(bmc.sessions().await? == 1) }).await?;
        let admin = bmc.suite.admin();
        let reply = match change {
            "session" => {
                let sessions = bmc.get("/api/v1alpha1/sessions").await?;
                let session = sessions["sessions"].as_array().and_then(|sessions| {
                    sessions.iter().find(|session| session["username"] == "worker").cloned()
                });
                let session = session.with_context(|| format!("no session of SSH in {sessions}"))?;
                ensure!(session["userAgent"] == "SSH" && session["address"] == "127.0.0.1", "{session}");
                let path = format!("/api/v1alpha1/sessions/{}", session["id"].as_str().unwrap_or_default());
                admin.send(http::Method::DELETE, &path, &[], Vec::new().into()).await?
            }
            "type" | "role" => {
                let body = match change {
                    "type" => json!({ "user": { "accountTypes": ["ACCOUNT_TYPE_REDFISH"] } }),
                    _ => json!({ "user": { "role": "ReadOnly" } }),
                };
                let headers = [("content-type", "application/json")];
                let path = "/api/v1alpha1/users/worker";
                admin.send(http::Method::PATCH, path, &headers, body.to_string().into()).await?
            }
            _ => {
                admin.send(http::Method::DELETE, "/api/v1alpha1/users/worker", &[], Vec::new().into()).await?
            }
        };
        ensure!(reply.status == 200, "{change}: {}", reply.text());
        let begun = Instant::now();
        let status = ssh.ends().await?;
        ensure!(status == 255, "{change}: {status} {}", ssh.errors.heard);
        // Not only when its owner is asked the next time, which is once a minute.
        ensure!(begun.elapsed() < Duration::from_secs(20), "{change}: at once");
        if change == "type" {
            let (status, said) = bmc.refused(worker, &["-T"], &[]).await?;
            ensure!(status == 1 && said.contains("not for HostConsole"), "{status} {said}");
        }
        if matches!(change, "type" | "role") {
            let body = match change {
                "type" => json!({ "user": { "accountTypes": ["ACCOUNT_TYPE_HOST_CONSOLE"] } }),
                _ => json!({ "user": { "role": "Operator" } }),
            };
            let headers = [("content-type", "application/json")];
            let path = "/api/v1alpha1/users/worker";
            let reply = admin.send(http::Method::PATCH, path, &headers, body.to_string().into()).await?;
            ensure!(reply.status == 200, "{}", reply.text());
        }
        eventually("the session is over", FOLLOW, || async { Ok(bmc.sessions().await? == 0) }).await?;
    }
    // What has ended leaves no login behind.
    eventually("no login of SSH is left", FOLLOW, || async {
        Ok(!bmc.get("/api/v1alpha1/sessions").await?.to_string().contains("\"SSH\""))
    })
    .await?;
    bmc.suite.stop().await
}

#[tokio::test]
async fn daemons_that_are_killed_come_back_with_the_same_key_and_a_stuck_client_holds_up_nobody() -> Result {
    let Some(bmc) = Bmc::start(&[]).await? else { return Ok(()) };
    let mut ann = bmc.logged_in().await?;
    let key = bmc.suite.state_dir().join("sshsrv/host_key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key)?.permissions());
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    // The log names what `ssh-keygen` shows.
    let output = Command::new("ssh-keygen").arg("-lf").arg(&key).output().await?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let shown = shown.split_whitespace().find(|word| word.starts_with("SHA256:")).context("no key")?;
    bmc.suite.wait_log(shown).await?;

    // It reads nothing from here on: what is on its way fills, and then the ring passes it.
    let mut stuck = bmc.open(ADMIN, &["-T"], &["--read-only"])?;
    stuck.told("has the keyboard").await?;
    for round in 0..60 {
        ann.types("count 4000\r").await?;
        let said = ann.says("line 4000\r\n").await?;
        let count = said.lines().filter(|line| line.starts_with("line ")).count();
        ensure!(count == 4000, "round {round}: {count} lines");
    }
    let status = std::fs::read_to_string(format!(
        "/proc/{}/status",
        bmc.suite.pid_of("sshsrv").context("no sshsrv")?
    ))?;
    // Its own memory: how much of the program is resident says nothing about a client.
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next()?.parse::<u64>().ok());
    ensure!(rss.context("no RssAnon")? < 24 * 1024, "{rss:?} KiB");
    ann.types("echo all\r").await?;
    stuck.says("\r\nall\r\n").await?;
    stuck.told("bytes are lost here").await?;
    drop(stuck);

    bmc.suite.kill_daemon("consolesrv")?;
    let status = ann.ends().await?;
    ensure!(status == 1 && ann.errors.heard.contains("ended the session"), "{status} {}", ann.errors.heard);
    eventually("a session can be had again", FOLLOW, || async {
        let mut ssh = bmc.admin(&[])?;
        Ok(ssh.types("\r").await.is_ok() && ssh.says("\r\n").await.is_ok())
    })
    .await?;
    let mut ann = bmc.admin(&[])?;
    ann.types("echo after\r").await?;
    ann.says("\r\nafter\r\n").await?;

    bmc.suite.kill_daemon("sshsrv")?;
    let status = ann.ends().await?;
    ensure!(status == 255, "{status}");
    eventually("its session is over", FOLLOW, || async { Ok(bmc.sessions().await? == 0) }).await?;
    eventually("sshsrv is back with its key", FOLLOW, || async {
        let mut ssh = bmc.admin(&[])?;
        Ok(ssh.types("echo again\r").await.is_ok() && ssh.says("\r\nagain\r\n").await.is_ok())
    })
    .await?;
    bmc.suite.stop().await
}

/// A connection from this address that says nothing.
async fn silent(from: &str, port: u16) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{from}:0").parse()?)?;
    Ok(socket.connect(format!("127.0.0.1:{port}").parse()?).await?)
}

/// Whether the controller greets.
async fn is_greeted(stream: &mut TcpStream) -> bool {
    let mut greeting = [0; 7];
    stream.read_exact(&mut greeting).await.is_ok() && &greeting == b"SSH-2.0"
}

#[tokio::test]
async fn a_flood_of_half_open_connections_is_bounded_and_keeps_nobody_out() -> Result {
    let Some(bmc) = Bmc::start(&["login_secs=20"]).await? else { return Ok(()) };
    let port = bmc.port;
    // From one address four stay, the others are closed at once.
    let mut tasks = JoinSet::new();
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut stream = silent("127.0.0.9", port).await?;
        tasks.spawn(async move { is_greeted(&mut stream).await.then_some(stream) });
    }
    while let Some(stream) = tasks.join_next().await {
        held.extend(stream?);
    }
    ensure!((1..=4).contains(&held.len()), "{} stay", held.len());
    // From many addresses sixteen, of which some give way to who comes from elsewhere.
    for n in 10..20 {
        for _ in 0..4 {
            let mut stream = silent(&format!("127.0.0.{n}"), port).await?;
            tasks.spawn(async move { is_greeted(&mut stream).await.then_some(stream) });
        }
    }
    while let Some(stream) = tasks.join_next().await {
        held.extend(stream?);
    }
    let mut ssh = bmc.admin(&[])?;
    eventually("the console has a session", FOLLOW, || async { Ok(bmc.sessions().await? == 1) }).await?;
    // They are cut when their time is over, whatever they send; who has logged in is not.
    let begun = Instant::now();
    for mut stream in held {
        let mut byte = [0; 64];
        while timeout(FOLLOW, stream.read(&mut byte)).await?.unwrap_or(0) > 0 {}
    }
    ensure!(begun.elapsed() < FOLLOW, "{:?}", begun.elapsed());
    bmc.host_on().await?;
    ssh.says("twin login: ").await?;
    // Bytes that are no SSH end their connection and nothing else.
    for bytes in
        [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0xff; 4096], b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        let mut stream = silent("127.0.0.1", port).await?;
        let _ = stream.write_all(bytes).await;
        let mut rest = Vec::new();
        let _ = timeout(FOLLOW, stream.read_to_end(&mut rest)).await?;
    }
    ssh.types("ann\r").await?;
    ssh.says("Password: ").await?;
    bmc.suite.stop().await
}

const API: &str = "/api/v1alpha1/ssh";
const PROTOCOL: &str = "/redfish/v1/Managers/bmc/NetworkProtocol";

async fn patch(client: &testkit::Client, path: &str, body: &Value) -> Result<(u16, Value)> {
    let headers = [("content-type", "application/json")];
    let reply = client.send(http::Method::PATCH, path, &headers, serde_json::to_vec(body)?.into()).await?;
    Ok((reply.status, reply.json()?))
}

#[tokio::test]
async fn it_is_switched_by_the_api_by_redfish_and_by_ubmcctl_and_stays_so() -> Result {
    let dir = tempfile::tempdir()?;
    let port = testkit::free_port()?;
    let builder = || Suite::builder(U_BMC).state_dir(dir.path());
    let Some(mut bmc) = Bmc::of(builder(), port).await? else { return Ok(()) };
    let said = bmc.get(API).await?["ssh"].clone();
    ensure!(said["port"] == 2200 && said["byConfiguration"] == true, "{said}");
    ensure!(said.get("enabled").is_none() && said.get("listening").is_none(), "{said}");
    let off = json!({"ProtocolEnabled": false, "Port": 2200});
    ensure!(bmc.get(PROTOCOL).await?["SSH"] == off);
    ensure!(bmc.get("/redfish/v1/Systems/system").await?["SerialConsole"].get("SSH").is_none());

    // Who does not configure the controller does not switch it.
    bmc.account(json!({"username": "olga", "role": "Operator", "enabled": true})).await?;
    let olga = bmc.suite.client(testkit::Credential::Basic("olga".to_owned(), PASSWORD.to_owned()));
    let (status, said) = patch(&olga, API, &json!({"enabled": true, "port": port})).await?;
    ensure!(status == 403, "{status}: {said}");
    ensure!(silent("127.0.0.1", port).await.is_err(), "it is served");

    let body = json!({"SSH": {"ProtocolEnabled": true, "Port": port}});
    let (status, said) = patch(&bmc.suite.admin(), PROTOCOL, &body).await?;
    ensure!(status == 200 && said["SSH"] == body["SSH"], "{status}: {said}");
    let mut ann = bmc.logged_in().await?;
    let said = bmc.get(API).await?["ssh"].clone();
    ensure!(said["sessions"] == 1 && said["listening"] == true, "{said}");

    // Off: who is on it is not any more, and his login is over.
    let (status, said) = patch(&bmc.suite.admin(), API, &json!({"enabled": false})).await?;
    ensure!(status == 200, "{said}");
    let status = ann.ends().await?;
    ensure!(status == 255, "{status} {}", ann.errors.heard);
    eventually("its session is over", FOLLOW, || async {
        let sessions = bmc.get("/api/v1alpha1/sessions").await?.to_string();
        Ok(bmc.sessions().await? == 0 && !sessions.contains("\"SSH\""))
    })
    .await?;
    eventually("nobody is served", FOLLOW, || async { Ok(silent("127.0.0.1", port).await.is_err()) }).await?;
    eventually("it is told", FOLLOW, || async {
        let told = bmc.get("/api/v1alpha1/events?domain=ssh&component=service").await?;
        Ok(told["events"][0]["what"] == "disabled"
            && told["events"][1]["what"] == "enabled"
            && told["events"][0]["principal"] == "admin")
    })
    .await?;

    // A port that somebody has: nothing is changed.
    let taken = TcpListener::bind("[::]:0")?;
    let other = taken.local_addr()?.port();
    let (status, said) = patch(&bmc.suite.admin(), API, &json!({"enabled": true, "port": other})).await?;
    ensure!(status >= 400 && said.to_string().contains("another program has this port"), "{status}: {said}");
    let said = bmc.get(API).await?["ssh"].clone();
    ensure!(said["port"] == port && said.get("enabled").is_none(), "{said}");

    // By ubmcctl, and after a restart.
    let (fine, said) = bmc.suite.ubmcctl(U_BMC, &["ssh", "enable"]).await?;
    ensure!(fine && said.contains(&format!("SSH is on at [::]:{port}")), "{said}");
    ensure!(is_greeted(&mut silent("127.0.0.1", port).await?).await);
    bmc.suite.stop().await?;
    bmc.suite = builder().start().await?;
    ensure!(is_greeted(&mut silent("127.0.0.1", port).await?).await);
    bmc.suite.stop().await
}
