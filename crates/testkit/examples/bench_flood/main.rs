//! `cargo xtask bench flood`: what an administrator notices of a flood of strangers, of one by an account that may only read and of one by a
//! daemon that was taken over, and what memory it takes, beside nginx under the flood of strangers in the same run.
//!
//! An attacker does not use the processor of the BMC: where there are two, the server has the first and everything else the second, the
//! floods at lower priority. What each side used of it stands in its row. `--seconds N` is the length of each flood (60), `--daemon` leaves
//! all but the flood of the bus away, and `--pieces` shows what each piece of that does by itself.

mod daemon;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::json;
use testkit::bench::{memory, processor, rank};
use testkit::{Client, Credential, Suite, bench};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

const PASSWORD: &str = "Gr33n-Valley-77";
/// Between two questions of the administrator's.
const PERIOD: Duration = Duration::from_millis(10);
/// Longest a piece of a flood is kept waiting for.
const HOLD: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut words = arguments.iter().map(String::as_str);
    match words.next() {
        Some("as") => {
            let who = words.next().context("as whom?")?;
            let to: SocketAddr = words.next().context("an address")?.parse()?;
            let token = words.next().map(str::to_owned);
            let token = token.unwrap_or_default();
            match who {
                daemon::TAKEN => runtime.block_on(babble(to, token, words.next().unwrap_or_default())),
                _ => runtime.block_on(attack(who == "reader", to, token)),
            }
            Ok(())
        }
        _ => {
            let value = |name: &str| arguments.iter().skip_while(|word| *word != name).nth(1);
            let seconds = value("--seconds").map_or(Ok(60), |word| word.parse())?;
            let has = |name: &str| arguments.iter().any(|word| word == name);
            runtime.block_on(measure(seconds, has("--daemon") || has("--pieces"), has("--pieces")))
        }
    }
}

/// Floods until it is killed, or who measures is gone.
async fn attack(reader: bool, to: SocketAddr, token: String) {
    let from = |n: u16| Ipv4Addr::new(127, 0, 1, u8::try_from(n % 250).unwrap_or(0) + 1);
    let start = |n: u16, piece: Piece| {
        let (token, address) = (token.clone(), if reader { from(n % 4) } else { from(n % 8) });
        tokio::spawn(async move {
            loop {
                let _ = timeout(HOLD, one(&piece, to, address, &token)).await;
                tokio::task::yield_now().await;
            }
        });
    };
    let pieces: &[(Piece, u16)] = if reader {
        &[
            (Piece::Ask("/api/v1alpha1/hosts"), 8),
            (Piece::Ask("/api/v1alpha1/events"), 4),
            (Piece::Unread, 48),
            (Piece::Hold("GET", "/api/v1alpha1/events:watch", ""), 40),
            (Piece::Big, 16),
            (Piece::Slow, 40),
        ]
    } else {
        &[
            (Piece::Bare, 64),
            (Piece::Handshake, 8),
            (Piece::Slow, 160),
            (Piece::Login, 4),
            (Piece::Ask("/"), 4),
        ]
    };
    let mut n = 0;
    for (piece, count) in pieces {
        for _ in 0..*count {
            start(n, *piece);
            n += 1;
        }
    }
    while_measured().await;
}

/// Floods the bus with the credential of a daemon.
async fn babble(bus: SocketAddr, password: String, only: &str) {
    for (piece, count) in
        daemon::PIECES.iter().filter(|(piece, _)| only.is_empty() || format!("{piece:?}") == only)
    {
        for _ in 0..*count {
            let password = password.clone();
            tokio::spawn(async move {
                loop {
                    let _ = timeout(HOLD, daemon::one(*piece, bus, &password)).await;
                    tokio::task::yield_now().await;
                }
            });
        }
    }
    while_measured().await;
}

/// Not longer than the one who measures.
async fn while_measured() {
    let measuring = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == measuring {
        sleep(Duration::from_secs(1)).await;
    }
}

/// What a flood is made of.
#[derive(Clone, Copy)]
enum Piece {
    /// A connection that says nothing.
    Bare,
    /// TLS, one request, and away.
    Handshake,
    /// A body that comes a byte a second.
    Slow,
    /// Wrong passwords, as fast as they are refused.
    Login,
    /// The same question over and over.
    Ask(&'static str),
    /// Large answers that are not read.
    Unread,
    /// One request whose answer is waited for.
    Hold(&'static str, &'static str, &'static str),
    /// The largest bodies that are taken.
    Big,
}

async fn one(piece: &Piece, to: SocketAddr, from: Ipv4Addr, token: &str) -> Result<()> {
    let head = |method: &str, path: &str, length: usize| {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut buffer = vec![0; 64 * 1024];
    if let Piece::Bare = piece {
        let mut tcp = testkit::connect_from(to, from).await?;
        ensure!(tcp.read(&mut buffer).await? == 0, "the server speaks first");
        return Ok(());
    }
    let mut tls = testkit::tls_from(to, from).await?;
    match *piece {
        Piece::Bare => {}
        Piece::Handshake => {
            tls.write_all(head("GET", "/", 0).as_bytes()).await?;
            ensure!(tls.read(&mut buffer).await? > 0);
        }
        Piece::Slow => {
            tls.write_all(head("POST", "/api/v1alpha1/sessions", 1000).as_bytes()).await?;
            let (mut read, mut write) = tokio::io::split(tls);
            let trickle = async {
                while write.write_all(b" ").await.is_ok() && write.flush().await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
            };
            tokio::select! {
                () = trickle => {}
                _ = read.read(&mut buffer) => {}
            }
        }
        Piece::Login => {
            let body = r#"{"username":"admin","password":"wrong-and-never-right"}"#;
            loop {
                tls.write_all(head("POST", "/api/v1alpha1/sessions", body.len()).as_bytes()).await?;
                tls.write_all(body.as_bytes()).await?;
                ensure!(tls.read(&mut buffer).await? > 0);
            }
        }
        Piece::Ask(path) => loop {
            tls.write_all(head("GET", path, 0).as_bytes()).await?;
            ensure!(tls.read(&mut buffer).await? > 0);
        },
        Piece::Unread => {
            while tls.write_all(head("GET", "/api/v1alpha1/events?pageSize=1000", 0).as_bytes()).await.is_ok()
            {
                tls.flush().await?;
            }
        }
        Piece::Hold(method, path, body) => {
            tls.write_all(head(method, path, body.len()).as_bytes()).await?;
            while tls.read(&mut buffer).await? > 0 {}
        }
        Piece::Big => {
            let body = format!("{{\"name\":\"{}\"}}", "x".repeat(200_000));
            loop {
                let head = head("POST", "/schema.v1alpha1.HostService/GetHost", body.len());
                tls.write_all(head.as_bytes()).await?;
                tls.write_all(body.as_bytes()).await?;
                ensure!(tls.read(&mut buffer).await? > 0);
            }
        }
    }
    Ok(())
}

/// The administrator's answers while something goes on.
#[derive(Default)]
struct Seen {
    /// When the slowest on the kept connection was asked, in seconds from the beginning, and what it took, in milliseconds.
    slowest: (f64, f64),
    kept: Vec<f64>,
    fresh: Vec<f64>,
    failed: usize,
    /// KiB of memory at the highest.
    peak: u64,
    /// Seconds of a processor that the server used, and how many passed.
    used: f64,
    span: f64,
}

async fn watch(client: &Client, path: &str, pids: &dyn Fn() -> Vec<u32>, span: Duration) -> Seen {
    let mut seen = Seen::default();
    let (begin, before) = (Instant::now(), processor(&pids()));
    let end = begin + span;
    let mut round = 0_u32;
    while Instant::now() < end {
        let asked = Instant::now();
        match client.get(path).await {
            Ok(reply) if reply.status == 200 => {
                let took = asked.elapsed().as_secs_f64() * 1e3;
                if took > seen.slowest.1 {
                    seen.slowest = ((asked - begin).as_secs_f64(), took);
                }
                seen.kept.push(took);
            }
            _ => seen.failed += 1,
        }
        if round.is_multiple_of(50) {
            // As one who comes anew.
            let anew = client.again();
            let asked = Instant::now();
            match anew.get(path).await {
                Ok(reply) if reply.status == 200 => seen.fresh.push(asked.elapsed().as_secs_f64() * 1e3),
                _ => seen.failed += 1,
            }
            seen.peak = seen.peak.max(memory(&pids()));
        }
        round += 1;
        sleep(PERIOD).await;
    }
    seen.span = begin.elapsed().as_secs_f64();
    seen.used = processor(&pids()) - before;
    seen
}

/// On which processor this process runs from now on. On the other it does not wait for the flood, as the answers are what is measured; that is
/// not a child's, and only where the system lets it.
fn run_with(server: bool) {
    if bench::run_with(server) {
        bench::tell("chrt", &["--reset-on-fork", "--fifo", "--pid", "1"]);
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn print(what: &str, seen: &mut Seen) {
    println!(
        "{what:34} kept p50 {:7.2} p99 {:7.2} max {:8.2} ms at {:4.1} s   new p50 {:7.2} max {:8.2} ms   {} answers, {} failed   peak {:5.1} MiB   processor {:3.0} %",
        rank(&mut seen.kept, 50),
        rank(&mut seen.kept, 99),
        rank(&mut seen.kept, 100),
        seen.slowest.0,
        rank(&mut seen.fresh, 50),
        rank(&mut seen.fresh, 100),
        seen.kept.len() + seen.fresh.len(),
        seen.failed,
        f64::from(u32::try_from(seen.peak).unwrap_or(u32::MAX)) / 1024.0,
        seen.used / seen.span * 100.0,
    );
}

fn flood(who: &str, to: &str, words: &[String]) -> Result<tokio::process::Child> {
    let own = std::env::current_exe()?;
    let mut command = tokio::process::Command::new("nice");
    command.args(["-n", "10"]).arg(own).args(["as", who, to]).args(words).kill_on_drop(true);
    Ok(command.stdin(Stdio::null()).spawn()?)
}

async fn measure(seconds: u64, daemon_only: bool, pieces: bool) -> Result<()> {
    let span = Duration::from_secs(seconds);
    let binary = std::env::var_os("UBMC").context("UBMC names the binary to measure")?;
    run_with(true);
    // An outward link that finds nobody, so that there is a daemon to take over.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let link = [format!("fleet.nats.url=nats://{nobody}"), "fleet.id=bmc01".to_owned()];
    let suite = link.into_iter().fold(Suite::builder(binary), testkit::Builder::set).start().await?;
    run_with(false);
    let bus = suite.ready.nats.clone().context("the bus has no address")?;
    let taken = suite.pid_of(daemon::TAKEN).context("the outward link does not run")?;
    let taken = bench::bus_password(daemon::TAKEN, taken, bus.parse()?).await?;
    let admin = suite.admin();
    let user = json!({ "user": { "username": "rita", "role": "ReadOnly" }, "password": PASSWORD });
    let made = admin.post("/api/v1alpha1/users", &user).await?;
    ensure!(made.status == 200, "{}", made.text());
    let token = |name: &'static str, password: String| {
        let nobody = suite.client(Credential::None);
        async move {
            let body = json!({ "username": name, "password": password });
            let reply = nobody.post("/api/v1alpha1/sessions", &body).await?.json()?;
            reply["token"].as_str().map(str::to_owned).with_context(|| format!("no token: {reply}"))
        }
    };
    let rita = token("rita", PASSWORD.to_owned()).await?;
    let path = "/api/v1alpha1/hosts/system";
    let websrv = suite.pid_of("websrv").context("websrv does not run")?;
    let all = || -> Vec<u32> {
        let mut pids: Vec<u32> = testkit::children(suite.ready.pid)
            .into_iter()
            .filter(|(_, name)| name != "twin")
            .map(|(pid, _)| pid)
            .collect();
        pids.push(suite.ready.pid);
        pids
    };
    print("quiet", &mut watch(&admin, path, &all, span.min(Duration::from_secs(20))).await);
    let operator = suite.ready.pid;
    let mut floods = vec![
        ("flood of strangers".to_owned(), "stranger", suite.https(), vec![]),
        ("flood of a ReadOnly account".to_owned(), "reader", suite.https(), vec![rita]),
        ("flood of a daemon taken over".to_owned(), daemon::TAKEN, bus.as_str(), vec![taken.clone()]),
    ];
    if daemon_only {
        floods.drain(..2);
    }
    if pieces {
        floods.extend(daemon::PIECES.iter().map(|(piece, _)| {
            (
                format!("  {piece:?} alone"),
                daemon::TAKEN,
                bus.as_str(),
                vec![taken.clone(), format!("{piece:?}")],
            )
        }));
    }
    for (what, who, to, words) in floods {
        let before = (memory(&[websrv]), memory(&[operator]), memory(&all()));
        let mut child = flood(who, to, &words)?;
        print(&what, &mut watch(&admin, path, &all, span).await);
        let during = (memory(&[websrv]), memory(&[operator]), memory(&all()));
        spent(&child, seconds);
        child.kill().await?;
        let mut after = watch(&admin, path, &all, span).await;
        print("  after it", &mut after);
        let now = (memory(&[websrv]), memory(&[operator]), memory(&all()));
        for (whose, before, during, now) in [
            ("websrv", before.0, during.0, now.0),
            ("the operator", before.1, during.1, now.1),
            ("all", before.2, during.2, now.2),
        ] {
            say(&format!("  KiB of {whose}: {before} before, {during} at its end, {now} a while after"));
        }
    }
    ensure!(suite.pid_of("websrv") == Some(websrv), "websrv ended");
    if !daemon_only {
        nginx(&suite, span).await?;
    }
    suite.stop().await
}

fn spent(flood: &tokio::process::Child, seconds: u64) {
    let used = flood.id().map_or(0.0, |pid| processor(&[pid]));
    say(&format!("  the flood itself: {used:.0} of {seconds} s of a processor"));
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn say(line: &str) {
    println!("{line}");
}

/// nginx with the same certificate, as many connections, and one answer.
async fn nginx(suite: &Suite, span: Duration) -> Result<()> {
    let Ok(program) = std::env::var("NGINX") else {
        say("nginx: NGINX does not name it");
        return Ok(());
    };
    let dir = suite.scratch().join("nginx");
    std::fs::create_dir_all(&dir)?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let tls = suite.state_dir().join("websrv/tls");
    let answer = "{\"host\":{\"name\":\"system\",\"status\":\"HOST_STATUS_OFF\"}}";
    std::fs::write(dir.join("nginx.conf"), configuration(&dir, &tls, free, answer))?;
    run_with(true);
    let (mut child, client) = bench::nginx(Path::new(&program), &dir, free).await?;
    run_with(false);
    let pid = child.id().context("nginx ended")?;
    let pids = || vec![pid];
    print("nginx, quiet", &mut watch(&client, "/", &pids, span.min(Duration::from_secs(20))).await);
    let mut attackers = flood("stranger", &free.to_string(), &[])?;
    print("nginx, flood of strangers", &mut watch(&client, "/", &pids, span).await);
    spent(&attackers, span.as_secs());
    attackers.kill().await?;
    child.kill().await?;
    Ok(())
}

fn configuration(dir: &Path, tls: &Path, to: SocketAddr, answer: &str) -> Bytes {
    let (dir, tls) = (dir.display(), tls.display());
    format!(
        "worker_processes 1; master_process off; pid {dir}/pid; error_log /dev/null;\n\
         events {{ worker_connections 300; }}\n\
         http {{ access_log off; client_body_timeout 10s; client_header_timeout 10s; client_body_temp_path {dir}/body;\n\
         proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
         server {{ listen {to} ssl backlog=1024; ssl_certificate {tls}/cert.pem; ssl_certificate_key {tls}/key.pem;\n\
         location / {{ default_type application/json; return 200 '{answer}'; }} }} }}\n"
    )
    .into()
}
