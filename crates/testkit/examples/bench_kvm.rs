//! `cargo xtask bench kvm`: a screen of 1920x1080 over its WebSocket, beside libvncserver and QEMU's own VNC server by bare TCP and a socket.
//!
//! The picture says in its first pixels when it was drawn: a part of 640x360 pixels that has not two alike moves, 30 times in a second. Ours comes from a VNC server
//! as a guest has one, which is this program; libvncserver (`bench_vnc_server.c`) draws it itself, so that it has one way less. QEMU draws what it likes: it is
//! asked for whole pictures, as the others are then. Pixels are Raw, which all of them have. Peers encrypt nothing and ask for no login.
//!
//! And JPEG as the hardware of a BMC makes it, which goes through as it is (ours alone: the others have pixels): this program is the video engine, of frames that
//! say when they were handed over. They are no pictures but for their marks of beginning and end, as nobody on the way looks into them. Their way to kvmsrv is a
//! socket, which on a board is the engine's memory, and is in what is measured.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rfb::{Client, Deflater, Rect, Screen, Server, encoding};
use testkit::{ADMIN_PASSWORD, Credential, Suite, bench, eventually};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};

const SIZE: (u16, u16) = (1920, 1080);
const PART: Rect = Rect { x: 0, y: 0, width: 640, height: 360 };
const EVERY: Duration = Duration::from_micros(33_333);
/// Bytes of a frame of JPEG: one bit for each pixel, about what a screen of text and windows comes to.
const JPEG: usize = 256 * 1024;
/// Where in it is when it was handed over.
const STAMP: std::ops::Range<usize> = 6..14;
/// Pictures that are measured.
const PICTURES: usize = 300;
/// Whole pictures that are asked for, one after the other.
const WHOLE: usize = 60;
/// Viewers beside the first, for the memory of one.
const MORE: usize = 4;

fn now_us() -> u64 {
    u64::try_from(hal_sim::monotonic().as_micros()).unwrap_or(0)
}

/// A guest's VNC server with the moving picture.
async fn guest(listener: UnixListener) -> Result<()> {
    let mut screen = Screen::new(SIZE.0, SIZE.1)?;
    let mut deflater = Deflater::default();
    let mut frame = 0_u32;
    loop {
        let (stream, _) = listener.accept().await?;
        let (mut from, mut to) = stream.into_split();
        let mut server = Server::new("guest");
        let mut every = tokio::time::interval(EVERY);
        let mut bytes = vec![0; 65536];
        loop {
            server.update(&screen, &mut deflater)?;
            let output = server.take_output();
            if !output.is_empty() && to.write_all(&output).await.is_err() {
                break;
            }
            tokio::select! {
                count = from.read(&mut bytes) => {
                    let count = count.unwrap_or(0);
                    if count == 0 || server.receive(bytes.get(..count).unwrap_or_default(), &screen, &mut Vec::new()).is_err() {
                        break;
                    }
                }
                _ = every.tick() => {
                    frame += 1;
                    let count = u32::from(PART.width) * u32::from(PART.height);
                    let mut pixels: Vec<u32> =
                        (0..count).map(|at| (at.wrapping_add(frame)).wrapping_mul(2_654_435_761) >> 8).collect();
                    let [low, high, ..] = pixels.as_mut_slice() else { bail!("no pixels") };
                    let stamp = now_us();
                    *low = u32::try_from(stamp & 0xff_ffff)?;
                    *high = u32::try_from(stamp >> 24 & 0xff_ffff)?;
                    screen.draw(PART, &pixels);
                }
            }
        }
    }
}

/// A viewer by bytes.
struct Viewer {
    from: Box<dyn AsyncRead + Unpin + Send>,
    to: Box<dyn AsyncWrite + Unpin + Send>,
    client: Client,
    screen: Screen,
    buffer: Vec<u8>,
    bytes: u64,
}

impl Viewer {
    async fn open(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self> {
        let (from, to) = tokio::io::split(stream);
        let (client, screen) = (Client::default(), Screen::new(1, 1)?);
        let (from, to) = (Box::new(from), Box::new(to));
        let mut viewer = Self { from, to, client, screen, buffer: vec![0; 256 * 1024], bytes: 0 };
        while !viewer.client.is_open() {
            viewer.turn().await?;
        }
        // The first picture is asked for already.
        viewer.update().await?;
        Ok(viewer)
    }

    async fn turn(&mut self) -> Result<()> {
        let output = self.client.take_output();
        self.to.write_all(&output).await?;
        self.to.flush().await?;
        let count = self.from.read(&mut self.buffer).await?;
        ensure!(count > 0, "the server has ended");
        self.bytes += u64::try_from(count)?;
        self.client.receive(self.buffer.get(..count).unwrap_or_default(), &mut self.screen)?;
        Ok(())
    }

    /// The next update, whole.
    async fn update(&mut self) -> Result<()> {
        let before = self.client.updates();
        while self.client.updates() == before {
            self.turn().await?;
        }
        Ok(())
    }

    /// Milliseconds from the drawing of each picture to its last byte here.
    async fn moving(&mut self) -> Result<Vec<f64>> {
        let (mut times, mut last) = (Vec::new(), 0);
        while times.len() < PICTURES {
            self.client.request();
            self.update().await?;
            let [low, high] = *self.screen.row(0, 0, 2) else { continue };
            let stamp = u64::from(high) << 24 | u64::from(low);
            if stamp > last {
                // The first one was drawn when nobody looked.
                if last > 0 {
                    times.push(now_us().saturating_sub(stamp) as f64 / 1e3);
                }
                last = stamp;
            }
        }
        Ok(times)
    }

    /// Milliseconds of each whole picture, and how many million pixels it has.
    async fn whole(&mut self) -> Result<(Vec<f64>, f64)> {
        let (width, height) = self.screen.size();
        let all = u64::from(width) * u64::from(height) * 4;
        let mut times = Vec::new();
        for _ in 0..WHOLE {
            let (asked, before) = (now_us(), self.bytes);
            let mut ask = vec![3, 0, 0, 0, 0, 0];
            ask.extend(width.to_be_bytes());
            ask.extend(height.to_be_bytes());
            self.to.write_all(&ask).await?;
            self.update().await?;
            // One that sends a large picture in parts has to be asked for each.
            while self.bytes - before < all {
                self.client.request();
                self.update().await?;
            }
            times.push((now_us() - asked) as f64 / 1e3);
        }
        Ok((times, all as f64 / 4e6))
    }
}

/// All of one server: `moves` if its picture is the one that says when it was drawn.
async fn measure(name: &str, viewers: &mut Vec<Viewer>, pids: &[u32], alone: u64, moves: bool) -> Result<()> {
    let memory = bench::memory(pids);
    let more = viewers.len();
    viewers.truncate(1);
    let viewer = viewers.first_mut().context("no viewer")?;
    if moves {
        let before = bench::processor(pids);
        let mut times = viewer.moving().await?;
        let each = (bench::processor(pids) - before) * 1e3 / PICTURES as f64;
        let (p50, p99) = (bench::rank(&mut times, 50), bench::rank(&mut times, 99));
        say(&format!(
            "{name}: drawn to shown, a tenth of 1080p moving: p50 {p50:.2}, p99 {p99:.2} ms, {each:.2} ms of a processor for each"
        ));
    }
    let before = bench::processor(pids);
    let (mut times, pixels) = viewer.whole().await?;
    let each = (bench::processor(pids) - before) * 1e3 / WHOLE as f64;
    let (p50, p99) = (bench::rank(&mut times, 50), bench::rank(&mut times, 99));
    say(&format!(
        "{name}: a whole picture of {pixels:.2} Mpixel: p50 {p50:.1}, p99 {p99:.1} ms, {each:.1} ms of a processor; for 1080p {:.1} ms",
        each * 2.0736 / pixels
    ));
    let more = u64::try_from(more)?.max(1);
    say(&format!(
        "{name}: PSS {memory} KiB with {more} viewers, {} KiB for each",
        memory.saturating_sub(alone) / more
    ));
    Ok(())
}

async fn ours(binary: std::ffi::OsString) -> Result<()> {
    let two = bench::run_with(true);
    // A guest that is never switched on: what would be its display is here.
    let guest_files = tempfile::tempdir()?;
    testkit::open_to_all(guest_files.path())?;
    for name in ["vmlinuz", "initrd"] {
        std::fs::write(guest_files.path().join(name), "")?;
    }
    let suite = Suite::builder(binary)
        .set("sim.host=qemu")
        .set(format!("sim.qemu.guest={}", guest_files.path().display()))
        .start()
        .await?;
    let _ = two && bench::run_with(false);
    let listener = UnixListener::bind(suite.run_dir().join("guest-system.vnc"))?;
    std::fs::set_permissions(
        suite.run_dir().join("guest-system.vnc"),
        std::os::unix::fs::PermissionsExt::from_mode(0o666),
    )?;
    tokio::spawn(guest(listener));
    let pids: Vec<u32> = ["kvmsrv", "websrv"].iter().filter_map(|name| suite.pid_of(name)).collect();
    ensure!(pids.len() == 2, "both daemons run");
    let alone = bench::memory(&pids);
    let login = Credential::Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned());
    let authorization = login.header().context("a login")?;
    let mut viewers = Vec::new();
    for _ in 0..MORE {
        let path = "/api/v1alpha1/screens/system/view?bytesOnly=true";
        let stream =
            testkit::kvm_stream(suite.https(), path, &[("authorization", authorization.as_str())]).await?;
        viewers.push(Viewer::open(stream).await?);
    }
    measure("u-bmc", &mut viewers, &pids, alone, true).await?;
    suite.stop().await
}

/// A video engine of ready JPEGs of 1080p.
async fn engine(listener: UnixListener) -> Result<()> {
    // Beginning, a comment for the time, what is like compressed data, end (T.81, annex B).
    let mut jpeg = vec![0xff, 0xd8, 0xff, 0xfe, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0];
    while jpeg.len() < JPEG - 2 {
        let noise = u32::try_from(jpeg.len())?.wrapping_mul(2_654_435_761) >> 24;
        jpeg.push(u8::try_from(noise.min(0xfe))?);
    }
    jpeg.extend([0xff, 0xd9]);
    let head =
        [&SIZE.0.to_be_bytes()[..], &SIZE.1.to_be_bytes(), &u32::try_from(JPEG)?.to_be_bytes()].concat();
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            jpeg.get_mut(STAMP).context("a frame")?.copy_from_slice(&now_us().to_be_bytes());
            if stream.write_all(&head).await.is_err() || stream.write_all(&jpeg).await.is_err() {
                break;
            }
        }
    }
}

/// A viewer that takes JPEG by Tight (rfbproto, "Tight Encoding"), and looks at nothing but its length and when it was handed over.
struct JpegViewer(tokio::io::DuplexStream);

impl JpegViewer {
    async fn open(mut stream: tokio::io::DuplexStream) -> Result<Self> {
        let mut version = [0; 12];
        stream.read_exact(&mut version).await?;
        stream.write_all(&version).await?;
        let mut kinds = vec![0; usize::from(stream.read_u8().await?)];
        stream.read_exact(&mut kinds).await?;
        stream.write_u8(1).await?;
        ensure!(stream.read_u32().await? == 0, "it is refused");
        stream.write_u8(1).await?;
        let mut init = [0; 20];
        stream.read_exact(&mut init).await?;
        let mut name = vec![0; usize::try_from(stream.read_u32().await?)?];
        stream.read_exact(&mut name).await?;
        let wanted = [encoding::TIGHT, encoding::JPEG_QUALITY_HIGHEST, encoding::DESKTOP_SIZE];
        stream.write_all(&[2, 0, 0, 3]).await?;
        stream.write_all(&wanted.map(i32::to_be_bytes).concat()).await?;
        Ok(Self(stream))
    }

    /// The next update: when the frame in it was handed over; none for one of a blank screen or of a size.
    async fn next(&mut self) -> Result<Option<u64>> {
        self.0.write_all(&[3, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).await?;
        ensure!(self.0.read_u16().await? == 0, "a message that is no update");
        let mut stamp = None;
        for _ in 0..self.0.read_u16().await? {
            let mut at = [0; 8];
            self.0.read_exact(&mut at).await?;
            match self.0.read_i32().await? {
                encoding::DESKTOP_SIZE => {}
                encoding::TIGHT => match self.0.read_u8().await? {
                    // One colour.
                    0x80 => {
                        self.0.read_exact(&mut [0; 3]).await?;
                    }
                    0x90 => {
                        let mut jpeg = vec![0; self.length().await?];
                        self.0.read_exact(&mut jpeg).await?;
                        ensure!(jpeg.len() == JPEG, "a frame of {} bytes", jpeg.len());
                        let bytes =
                            jpeg.get(STAMP).and_then(|bytes| bytes.first_chunk()).context("a stamp")?;
                        stamp = Some(u64::from_be_bytes(*bytes));
                    }
                    other => bail!("a rectangle of the kind {other:#x}"),
                },
                other => bail!("the encoding {other}"),
            }
        }
        Ok(stamp)
    }

    /// A length in one to three bytes, the lowest seven bits first.
    async fn length(&mut self) -> Result<usize> {
        let mut length = 0;
        for shift in [0, 7, 14] {
            let byte = usize::from(self.0.read_u8().await?);
            let (bits, more) = if shift == 14 { (byte, false) } else { (byte & 0x7f, byte & 0x80 != 0) };
            length |= bits << shift;
            if !more {
                break;
            }
        }
        Ok(length)
    }
}

/// JPEG as it is: from being handed over to its last byte at the viewer, by WebSocket and TLS as all else.
async fn pass_through(binary: std::ffi::OsString) -> Result<()> {
    let two = bench::run_with(true);
    let suite = Suite::builder(binary).set("kvmsrv.sim_frames=true").start().await?;
    let _ = two && bench::run_with(false);
    let socket = suite.run_dir().join("guest-system.frames");
    let listener = UnixListener::bind(&socket)?;
    std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    tokio::spawn(engine(listener));
    let pids: Vec<u32> = ["kvmsrv", "websrv"].iter().filter_map(|name| suite.pid_of(name)).collect();
    ensure!(pids.len() == 2, "both daemons run");
    let login = Credential::Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned());
    let authorization = login.header().context("a login")?;
    let path = "/api/v1alpha1/screens/system/view?bytesOnly=true";
    let headers = [("authorization", authorization.as_str())];
    let mut viewer = JpegViewer::open(testkit::kvm_stream(suite.https(), path, &headers).await?).await?;
    // The first ones are of a screen that begins.
    let mut begun = 0;
    while begun < 10 {
        begun += usize::from(viewer.next().await?.is_some());
    }
    let before = bench::processor(&pids);
    let mut times = Vec::new();
    while times.len() < PICTURES {
        if let Some(stamp) = viewer.next().await? {
            times.push(now_us().saturating_sub(stamp) as f64 / 1e3);
        }
    }
    let each = (bench::processor(&pids) - before) * 1e3 / PICTURES as f64;
    let (p50, p99) = (bench::rank(&mut times, 50), bench::rank(&mut times, 99));
    say(&format!(
        "u-bmc: JPEG of {} KiB at 1080p, handed over to bytes at the viewer: p50 {p50:.2}, p99 {p99:.2} ms (the goal is under 5), {each:.2} ms of a processor for each",
        JPEG / 1024
    ));
    // What crates/rfb/tests/viewer.rs and its Screen hold it to.
    say(
        "u-bmc: of each frame one copy is made in kvmsrv, out of the engine's memory, whoever looks; then the kernel's to websrv, which encrypts it",
    );
    suite.stop().await
}

async fn libvncserver(folder: &Path) -> Result<()> {
    let source = testkit::root().join("crates/testkit/examples/bench_vnc_server.c");
    let program = folder.join("vnc");
    let built = tokio::process::Command::new("cc")
        .arg("-O2")
        .arg("-o")
        .arg(&program)
        .arg(source)
        .arg("-lvncserver")
        .status()
        .await?;
    ensure!(built.success(), "cannot compile the server (Debian: libvncserver-dev)");
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let two = bench::run_with(true);
    let mut child = tokio::process::Command::new(program)
        .arg(port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let _ = two && bench::run_with(false);
    let pids = [child.id().context("it ended")?];
    let address = ("127.0.0.1", port);
    eventually("libvncserver listens", Duration::from_secs(10), || async {
        Ok(TcpStream::connect(address).await.is_ok())
    })
    .await?;
    let alone = bench::memory(&pids);
    let mut viewers = Vec::new();
    for _ in 0..MORE {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        viewers.push(Viewer::open(stream).await?);
    }
    measure("libvncserver", &mut viewers, &pids, alone, true).await?;
    Ok(child.kill().await?)
}

async fn qemu(folder: &Path) -> Result<()> {
    let socket = folder.join("qemu.vnc");
    let two = bench::run_with(true);
    let mut child = tokio::process::Command::new("qemu-system-x86_64")
        .args([
            "-machine",
            "q35",
            "-accel",
            "tcg",
            "-m",
            "64",
            "-nodefaults",
            "-vga",
            "std",
            "-S",
            "-display",
        ])
        .arg(format!("vnc=unix:{}", socket.display()))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let _ = two && bench::run_with(false);
    let pids = [child.id().context("it ended")?];
    eventually("QEMU listens", Duration::from_secs(10), || async {
        Ok(UnixStream::connect(&socket).await.is_ok())
    })
    .await?;
    let alone = bench::memory(&pids);
    let mut viewers = Vec::new();
    for _ in 0..MORE {
        viewers.push(Viewer::open(UnixStream::connect(&socket).await?).await?);
    }
    measure("QEMU", &mut viewers, &pids, alone, false).await?;
    Ok(child.kill().await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let binary = std::env::var_os("UBMC").context("UBMC names the binary to measure")?;
    let folder = tempfile::tempdir()?;
    pass_through(binary.clone()).await?;
    ours(binary).await?;
    libvncserver(folder.path()).await?;
    qemu(folder.path()).await
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn say(text: &str) {
    println!("{text}");
}
