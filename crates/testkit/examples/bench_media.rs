//! `cargo xtask bench media`: what a host reads from a drive, beside `qemu-nbd`, which serves a file as the store does, and nbdkit's curl plugin, which serves an
//! image at a server.
//!
//! The host is this program, with one question at a time, as a machine that boots. All of them speak NBD over a Unix socket; the image's server is this program,
//! too, on the other processor where there are two. nbdkit reads ahead only when it is told to (its readahead filter), as it is here.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use media::Notice;
use media::nbd::Client as Nbd;
use serde_json::json;
use testkit::{ADMIN_PASSWORD, Credential, FileSession, ImageServer, Suite, bench, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// Bytes of the image; none of it fits into what is kept of a medium.
const SIZE: usize = 64 << 20;
/// What an installer reads at a time, and what a file system does.
const PIECE: u32 = 128 * 1024;
const BLOCK: u32 = 4096;
const BLOCKS: u64 = 500;
const ROUNDS: usize = 3;

/// A host's side.
struct Host {
    stream: UnixStream,
    nbd: Nbd,
    buffer: Vec<u8>,
}

impl Host {
    async fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        let mut host = Self { stream, nbd: Nbd::default(), buffer: vec![0; 1 << 20] };
        while host.nbd.offer().is_none() {
            host.turn().await?;
        }
        Ok(host)
    }

    async fn turn(&mut self) -> Result<Option<Result<Vec<u8>, u32>>> {
        let output = self.nbd.take_output();
        self.stream.write_all(&output).await?;
        let count = self.stream.read(&mut self.buffer).await?;
        ensure!(count > 0, "the server has hung up");
        Ok(self.nbd.receive(self.buffer.get(..count).unwrap_or_default())?)
    }

    async fn read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>> {
        self.nbd.read(offset, length);
        loop {
            if let Some(answer) = self.turn().await? {
                return answer.map_err(|error| anyhow::anyhow!("I/O error {error}"));
            }
        }
    }
}

/// MB/s in order, and the times of reads at random, in ms.
#[derive(Default)]
struct Measured {
    rates: Vec<f64>,
    times: Vec<f64>,
    busy: f64,
    pss: u64,
}

async fn measure(socket: &Path, image: &[u8], pids: &[u32], into: &mut Measured) -> Result<()> {
    let mut host = Host::connect(socket).await?;
    let (before, begun) = (bench::processor(pids), Instant::now());
    for offset in (0..SIZE).step_by(PIECE as usize) {
        let bytes = host.read(u64::try_from(offset)?, PIECE).await?;
        ensure!(bytes.get(..64) == image.get(offset..offset + 64), "other bytes at {offset}");
    }
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    into.rates.push(SIZE as f64 / 1e6 / begun.elapsed().as_secs_f64());
    // The same places each time, none in order.
    let mut at = 0x9e37_79b9_u64;
    for _ in 0..BLOCKS {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let offset = (at >> 33) % (u64::try_from(SIZE)? / u64::from(BLOCK)) * u64::from(BLOCK);
        let begun = Instant::now();
        host.read(offset, BLOCK).await?;
        into.times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    into.busy += bench::processor(pids) - before;
    into.pss = bench::memory(pids);
    Ok(())
}

fn tell(name: &str, what: &mut Measured) -> f64 {
    what.times.sort_by(f64::total_cmp);
    what.rates.sort_by(f64::total_cmp);
    let time =
        |hundredths: usize| what.times.get(what.times.len() * hundredths / 100).copied().unwrap_or(0.0);
    let rate = what.rates.get(what.rates.len() / 2).copied().unwrap_or(0.0);
    say(&format!(
        "{name}: {rate:.0} MB/s in order; 4 KiB at random p50 {:.2}, p99 {:.2} ms; {:.2} s of a processor, PSS {} KiB",
        time(50),
        time(99),
        what.busy,
        what.pss
    ));
    rate
}

/// A server beside ours, once its socket is there.
async fn peer(program: &str, arguments: &[&str], socket: &Path) -> Result<Child> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Why it serves nothing is told by itself.
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    eventually("its socket is there", Duration::from_secs(20), || async {
        Ok(UnixStream::connect(socket).await.is_ok())
    })
    .await?;
    Ok(child)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let binary = std::env::var_os("UBMC").context("UBMC names the binary to measure")?;
    let two = bench::run_with(true);
    let suite = Suite::builder(binary)
        .set("mediasrv.allow_http=true")
        .set("mediasrv.allow_local=true")
        .start()
        .await?;
    let dir = tempfile::tempdir()?;
    let image: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at / 7 % 251).unwrap_or(0)).collect();
    let file = dir.path().join("image.img");
    std::fs::write(&file, &image)?;
    let file = file.to_string_lossy().into_owned();
    let server = ImageServer::start(image.clone(), None).await?;
    let url = server.url("http", "image.iso");
    let (store, far) = (dir.path().join("store.sock"), dir.path().join("far.sock"));
    let (store_name, far_name) = (store.to_string_lossy().into_owned(), far.to_string_lossy().into_owned());
    let qemu_nbd = peer(
        "qemu-nbd",
        &["--read-only", "--persistent", "--shared=4", "--format=raw", "--socket", &store_name, &file],
        &store,
    )
    .await?;
    let location = format!("url={url}");
    let nbdkit =
        peer("nbdkit", &["-f", "-r", "-U", &far_name, "--filter=readahead", "curl", &location], &far).await?;
    let _ = two && bench::run_with(false);

    let login = Credential::Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned());
    let authorization = login.header().context("a login")?;
    let path = format!("/api/v1alpha1/media-files/image.img/socket?sizeBytes={SIZE}");
    let begun = Instant::now();
    let opened =
        FileSession::open(suite.https(), &path, &[("authorization", &authorization)], image.clone()).await?;
    let mut session = opened.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    session.told(|notice| *notice == Notice::Stored).await?;
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let rate = SIZE as f64 / 1e6 / begun.elapsed().as_secs_f64();
    say(&format!("brought into the store by a session: {rate:.1} MB/s"));
    let admin = suite.admin();
    for (drive, what) in [("usb", json!({ "storeFile": "image.img" })), ("cd", json!({ "url": url }))] {
        let reply = admin.post(&format!("/api/v1alpha1/media/{drive}/insert"), &what).await?;
        ensure!(reply.status == 200, "{}", reply.text());
    }
    let own = [suite.pid_of("mediasrv").context("mediasrv runs")?];
    let sockets = suite.run_dir().join("mediasrv");
    for (what, ours, theirs, peer, name) in [
        ("a file of the store", sockets.join("usb.nbd"), &store, &qemu_nbd, "qemu-nbd"),
        ("an image at a server", sockets.join("cd.nbd"), &far, &nbdkit, "nbdkit curl"),
    ] {
        let pid = [peer.id().context("it has ended")?];
        let (mut us, mut them) = (Measured::default(), Measured::default());
        // In turns: what the machine does beside is no one's alone.
        for _ in 0..ROUNDS {
            measure(&ours, &image, &own, &mut us).await?;
            measure(theirs, &image, &pid, &mut them).await?;
        }
        say(&format!("{what}:"));
        let ratio = tell("  u-bmc", &mut us) / tell(&format!("  {name}"), &mut them);
        say(&format!("  ratio of the rates {ratio:.2}"));
    }
    suite.stop().await
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn say(text: &str) {
    println!("{text}");
}
