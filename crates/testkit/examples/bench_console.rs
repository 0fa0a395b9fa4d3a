//! `cargo xtask bench console`: a console over its WebSocket, beside socat, which hands a terminal to one client by bare TCP.
//!
//! The host is this program at the far end of a pseudo-terminal: it echoes what is typed, prints as a UART of 115,200 bit/s does, or as fast as it is read. Both servers are
//! measured in one run; where there are two processors they have the first. socat encrypts nothing, asks for no login, keeps nothing and has one reader.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use testkit::{ADMIN_PASSWORD, Console, Credential, Suite, bench, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Keys typed, one after the other.
const KEYS: usize = 1000;
/// How long each stream of text is measured.
const STREAM: Duration = Duration::from_secs(10);
/// Bytes a UART hands over at a time, and how long they take at 115,200 bit/s of ten bits a byte.
const FIFO: usize = 16;
const FIFO_TIME: Duration = Duration::from_nanos(1_388_889);
const READERS: usize = 4;

const ECHO: u8 = 0;
const PACED: u8 = 1;
const FLOOD: u8 = 2;

/// The host at a serial line.
struct Host {
    /// The BMC's end.
    device: PathBuf,
    does: Arc<AtomicU8>,
    /// As long as somebody has the BMC's end open, the line is there.
    _near: File,
}

impl Host {
    fn new(folder: &Path) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let device = PathBuf::from(ptsname(&master, Vec::new())?.to_str()?);
        let near = File::options().read(true).write(true).open(&device)?;
        let mut settings = tcgetattr(&near)?;
        settings.make_raw();
        tcsetattr(&near, OptionalActions::Now, &settings)?;
        // The daemon is in the folder's group. Who may not give it away serves it himself.
        let group = rustix::fs::Gid::from_raw(std::fs::metadata(folder)?.gid());
        let _own = rustix::fs::fchown(&near, None, Some(group))
            .and_then(|()| rustix::fs::fchmod(&near, rustix::fs::Mode::from_raw_mode(0o660)));
        let does = Arc::new(AtomicU8::new(ECHO));
        let (mut reads, mut writes) = (File::from(master.try_clone()?), File::from(master));
        let mut echoes = writes.try_clone()?;
        let (one, two) = (Arc::clone(&does), Arc::clone(&does));
        // Both end with the program.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reads.read(&mut bytes) {
                if one.load(Ordering::Relaxed) == ECHO {
                    let _ = echoes.write_all(bytes.get(..count).unwrap_or_default());
                }
            }
        });
        std::thread::spawn(move || {
            let text = [b'x'; 4096];
            let mut due = hal_sim::monotonic();
            loop {
                let count = match two.load(Ordering::Relaxed) {
                    ECHO => {
                        std::thread::sleep(Duration::from_millis(10));
                        due = hal_sim::monotonic();
                        continue;
                    }
                    PACED => {
                        due += FIFO_TIME;
                        std::thread::sleep(due.saturating_sub(hal_sim::monotonic()));
                        FIFO
                    }
                    _ => text.len(),
                };
                if writes.write_all(text.get(..count).unwrap_or_default()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { device, does, _near: near })
    }

    fn does(&self, what: u8) {
        self.does.store(what, Ordering::Relaxed);
    }
}

/// One that looks and types, by either way.
enum Reader {
    Ours(Box<Console>),
    Socat(TcpStream),
}

impl Reader {
    async fn types(&mut self, text: &str) -> Result<()> {
        match self {
            Self::Ours(console) => console.types(text).await,
            Self::Socat(stream) => Ok(stream.write_all(text.as_bytes()).await?),
        }
    }

    /// The next bytes: how many.
    async fn hears(&mut self) -> Result<usize> {
        match self {
            Self::Ours(console) => console.hears().await,
            Self::Socat(stream) => Ok(stream.read(&mut vec![0; 65536]).await?),
        }
    }
}

/// Bytes each of them gets in [`STREAM`], and the seconds these processes ran meanwhile.
async fn stream(host: &Host, does: u8, readers: &mut [Reader], pids: &[u32]) -> Result<(Vec<usize>, f64)> {
    host.does(does);
    let (before, until) = (bench::processor(pids), tokio::time::Instant::now() + STREAM);
    let counts = futures_util::future::join_all(readers.iter_mut().map(|reader| async move {
        let mut count = 0;
        while let Ok(heard) = tokio::time::timeout_at(until, reader.hears()).await {
            count += heard?;
        }
        anyhow::Ok(count)
    }))
    .await;
    let took = bench::processor(pids) - before;
    host.does(ECHO);
    // What is on its way belongs to this.
    for reader in readers {
        while tokio::time::timeout(Duration::from_millis(300), reader.hears()).await.is_ok() {}
    }
    Ok((counts.into_iter().collect::<Result<_>>()?, took))
}

async fn measure(name: &str, host: &Host, readers: &mut [Reader], pids: &[u32]) -> Result<()> {
    let mut times = Vec::new();
    let first = readers.first_mut().context("no reader")?;
    for _ in 0..KEYS {
        let asked = hal_sim::monotonic();
        first.types("k").await?;
        ensure!(first.hears().await? == 1, "one key, one echo");
        times.push((hal_sim::monotonic() - asked).as_secs_f64() * 1e3);
    }
    // The others saw the echoes, too.
    for reader in readers.iter_mut() {
        while tokio::time::timeout(Duration::from_millis(300), reader.hears()).await.is_ok() {}
    }
    let (p50, p99) = (bench::rank(&mut times, 50), bench::rank(&mut times, 99));
    let max = bench::rank(&mut times, 100);
    say(&format!(
        "{name}: echo of a key p50 {p50:.2}, p99 {p99:.2}, max {max:.2} ms ({KEYS} keys, {} readers)",
        readers.len()
    ));
    let (counts, took) = stream(host, PACED, readers, pids).await?;
    let percent = took * 100.0 / STREAM.as_secs_f64();
    say(&format!(
        "{name}: 115200 baud, {} readers: {percent:.1} % of a processor, bytes to each {counts:?}, PSS {} KiB",
        readers.len(),
        bench::memory(pids)
    ));
    let (counts, took) = stream(host, FLOOD, readers, pids).await?;
    let rate: usize = counts.first().copied().unwrap_or(0) / usize::try_from(STREAM.as_secs())?;
    let percent = took * 100.0 / STREAM.as_secs_f64();
    say(&format!(
        "{name}: as fast as it is read, {} readers: {} KB/s to the first, {percent:.0} % of a processor",
        readers.len(),
        rate / 1000
    ));
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let binary = std::env::var_os("UBMC").context("UBMC names the binary to measure")?;
    let socat = std::env::var_os("SOCAT").context("SOCAT names socat")?;
    let two = bench::run_with(true);
    let suite = Suite::builder(binary).start().await?;
    let host = Host::new(suite.run_dir())?;
    let other = Host::new(suite.run_dir())?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    drop(listener);
    let mut child = tokio::process::Command::new(socat)
        .arg(format!("TCP-LISTEN:{},bind=127.0.0.1,reuseaddr,nodelay", address.port()))
        .arg(format!("FILE:{},raw,echo=0", other.device.display()))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let _ = two && bench::run_with(false);

    // The daemon opens the host's port by this name, anew when it starts anew.
    let link = suite.run_dir().join("console-system");
    std::fs::remove_file(&link)?;
    std::os::unix::fs::symlink(&host.device, &link)?;
    let killed = suite.kill_daemon("consolesrv")?;
    eventually("consolesrv is back", Duration::from_secs(60), || async {
        Ok(suite.pid_of("consolesrv").is_some_and(|pid| pid != killed))
    })
    .await?;
    let login = Credential::Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned());
    let authorization = login.header().context("a login")?;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let headers = [("authorization", authorization.as_str())];
        let path = "/api/v1alpha1/consoles/system/socket";
        let until = hal_sim::monotonic() + Duration::from_secs(60);
        let mut console = loop {
            if let Ok(console) = Console::open(suite.https(), path, &headers).await? {
                break console;
            }
            ensure!(hal_sim::monotonic() < until, "no session");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        console.told(|notice| notice["type"] == "state" && notice["connected"] == true).await?;
        readers.push(Reader::Ours(Box::new(console)));
    }
    let pids: Vec<u32> = ["consolesrv", "websrv"].iter().filter_map(|name| suite.pid_of(name)).collect();
    ensure!(pids.len() == 2, "both daemons run");
    measure("u-bmc", &host, &mut readers, &pids).await?;
    readers.truncate(1);
    measure("u-bmc", &host, &mut readers, &pids).await?;

    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let pid = child.id().context("socat ended")?;
    measure("socat", &other, &mut [Reader::Socat(stream)], &[pid]).await?;
    child.kill().await?;
    suite.stop().await
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn say(text: &str) {
    println!("{text}");
}
