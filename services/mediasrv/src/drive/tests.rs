//! A drive as its host sees it, with sources that behave and that do not.

use std::time::Duration;

use media::nbd::Client as Nbd;
use tokio::net::UnixStream;
use units::Millis;

use super::*;
use crate::http::tests::{at, content, good, server};
use crate::origin;

const LONG: Duration = Duration::from_secs(60);

/// A drive, and what it tells.
struct Bench {
    dir: tempfile::TempDir,
    orders: mpsc::UnboundedSender<Order>,
    news: mpsc::Receiver<News>,
    counters: Arc<Counters>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (orders, ordered) = mpsc::unbounded_channel();
        let (news, heard) = mpsc::channel(8);
        let counters = Arc::<Counters>::default();
        let drive = Drive {
            socket: Some(dir.path().join("cd.nbd")),
            name: "cd".to_owned(),
            bounds: Bounds { read_within: Millis::new(700), ..Bounds::default() },
            clock: Clock::new(),
            counters: Arc::clone(&counters),
            news,
        };
        tokio::spawn(drive.run(ordered));
        Self { dir, orders, news: heard, counters }
    }

    async fn load(&self, origin: Origin, size: u64, is_read_only: bool) {
        let (done, offered) = oneshot::channel();
        let load = Load { origin, size, is_read_only, is_in_doubt: false, done };
        self.orders.send(Order::Load(load)).unwrap();
        offered.await.unwrap().unwrap();
    }

    /// The host reads.
    async fn read(&self, offset: u64, length: u32) -> io::Result<Result<Vec<u8>, u32>> {
        let mut stream = UnixStream::connect(self.dir.path().join("cd.nbd")).await?;
        let mut nbd = Nbd::default();
        let mut buffer = [0; 4096];
        let mut is_asked = false;
        loop {
            if nbd.offer().is_some() && !is_asked {
                is_asked = true;
                nbd.read(offset, length);
            }
            stream.write_all(&nbd.take_output()).await?;
            let count = tokio::time::timeout(LONG, stream.read(&mut buffer)).await.unwrap()?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = nbd.receive(&buffer[..count]).unwrap() {
                return Ok(answer);
            }
        }
    }

    async fn news(&mut self) -> News {
        tokio::time::timeout(LONG, self.news.recv()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_host_reads_what_is_at_a_server_and_gets_errors_when_that_dies() {
    let image = content(300_001);
    let remote = server(image.clone(), good).await;
    let mut bench = Bench::new();
    bench.load(Origin::Http(Arc::new(at(&remote.url))), 300_001, true).await;
    assert_eq!(bench.read(1000, 200_000).await.unwrap().unwrap(), &image[1000..201_000]);
    let tail = bench.read(299_520, 512).await.unwrap().unwrap();
    assert_eq!((&tail[..481], &tail[481..]), (&image[299_520..], &[0; 31][..]), "beyond its end are zeroes");
    assert_eq!(bench.counters.read.load(Ordering::Relaxed), 200_512);

    // The plug is pulled in the middle.
    drop(remote);
    assert_eq!(
        bench.read(1000, 512).await.unwrap().unwrap(),
        &image[1000..1512],
        "what is kept is there still"
    );
    let fresh = Bench::new();
    drop(fresh);
    let dead = server(image.clone(), good).await;
    bench.load(Origin::Http(Arc::new(at(&dead.url))), 300_001, true).await;
    dead.is_silent.store(true, Ordering::Relaxed);
    assert_eq!(bench.read(0, 512).await.unwrap(), Err(5), "a server that is silent is an I/O error");
    drop(dead);
    assert_eq!(bench.read(100_000, 512).await.unwrap(), Err(5));
    // It is told once the silent question is over; ejecting waits for nothing.
    bench.orders.send(Order::Unload).unwrap();
    while bench.read(0, 512).await.is_ok() {}
    assert!(!bench.dir.path().join("cd.nbd").exists());
    assert!(bench.news.try_recv().is_err() || bench.news.try_recv().is_err());
}

#[tokio::test]
async fn a_client_that_goes_is_told_and_another_goes_on() {
    let image = content(200_000);
    let serve = |session: u64, image: Vec<u8>| {
        let (questions, mut asked) = mpsc::channel::<origin::Question>(4);
        let task = tokio::spawn(async move {
            while let Some(question) = asked.recv().await {
                let offset = usize::try_from(question.offset).unwrap();
                let bytes = image[offset..offset + usize::try_from(question.length).unwrap()].to_vec();
                let _ = question.answer.send(Ok(bytes));
            }
        });
        (Client { session, questions }, task)
    };
    let mut bench = Bench::new();
    let (first, task) = serve(1, image.clone());
    bench.load(Origin::Client(first), 200_000, true).await;
    assert_eq!(bench.read(0, 512).await.unwrap().unwrap(), &image[..512]);
    task.abort();
    bench.orders.send(Order::Gone { session: 1 }).unwrap();
    assert!(matches!(bench.news().await, News::Lost(why) if why.contains("has ended")));
    assert_eq!(bench.read(150_000, 512).await.unwrap(), Err(5), "the tab is closed");
    // What is told of a session before has no effect.
    let (second, _task) = serve(2, image.clone());
    bench.orders.send(Order::Resume(second)).unwrap();
    bench.orders.send(Order::Gone { session: 1 }).unwrap();
    assert_eq!(bench.news().await, News::Back);
    assert_eq!(bench.read(150_000, 512).await.unwrap().unwrap(), &image[150_000..150_512]);
}

/// What is offered, once it may be read.
async fn greet(stream: &mut UnixStream) -> nbd::Offer {
    let mut nbd = Nbd::default();
    let mut buffer = [0; 4096];
    loop {
        if let Some(offer) = nbd.offer() {
            return offer;
        }
        stream.write_all(&nbd.take_output()).await.unwrap();
        let count = stream.read(&mut buffer).await.unwrap();
        nbd.receive(&buffer[..count]).unwrap();
    }
}

fn request(kind: u16, handle: u64, offset: u64, length: u32) -> Vec<u8> {
    let magic = 0x2560_9513_u32.to_be_bytes();
    let (kind, handle, offset) = (kind.to_be_bytes(), handle.to_be_bytes(), offset.to_be_bytes());
    [&magic[..], &[0, 0], &kind, &handle, &offset, &length.to_be_bytes()].concat()
}

#[tokio::test]
async fn as_many_requests_as_a_piece_holds_take_turns() {
    let (mut host, ours) = UnixStream::pair().unwrap();
    let (asks, mut asked) = mpsc::channel(QUESTIONS);
    let export = Export { name: String::new(), size: 1 << 20, is_read_only: true };
    let places = Places::of(&Places::shared());
    tokio::spawn(
        async move { serve(ours, export, Backend::Elsewhere(asks), places, &Counters::default()).await },
    );
    greet(&mut host).await;
    let many: Vec<u8> = (0..1000).flat_map(|handle| request(0, handle, 0, 512)).collect();
    host.write_all(&many).await.unwrap();
    let mut waiting = Vec::new();
    // The others have one each, were they there.
    for _ in 0..=REQUESTS_MAX - CONNECTIONS_MAX {
        waiting.push(tokio::time::timeout(LONG, asked.recv()).await.unwrap().unwrap());
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(asked.try_recv().is_err(), "each may ask for 256 KiB");
    // One that was answered makes room for one.
    waiting.pop().unwrap().answer.send(Ok(vec![0; 512])).unwrap();
    assert!(tokio::time::timeout(LONG, asked.recv()).await.unwrap().is_some());
}

#[tokio::test]
async fn what_a_drive_owes_its_host_is_bounded_over_all_connections_and_none_is_left_out() {
    let (asks, mut asked) = mpsc::channel(QUESTIONS);
    let shared = Places::shared();
    let mut hosts = Vec::new();
    for connection in 0..4_u64 {
        let (mut host, ours) = UnixStream::pair().unwrap();
        let export = Export { name: String::new(), size: 1 << 20, is_read_only: true };
        let (backend, places) = (Backend::Elsewhere(asks.clone()), Places::of(&shared));
        tokio::spawn(async move { serve(ours, export, backend, places, &Counters::default()).await });
        greet(&mut host).await;
        // Each asks at a place of its own.
        let many: Vec<u8> = (0..100).flat_map(|handle| request(0, handle, connection * 512, 512)).collect();
        host.write_all(&many).await.unwrap();
        hosts.push(host);
    }
    let mut waiting = Vec::new();
    for _ in 0..REQUESTS_MAX {
        waiting.push(tokio::time::timeout(LONG, asked.recv()).await.unwrap().unwrap());
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(asked.try_recv().is_err(), "4 MiB, and not as much for each connection");
    for connection in 0..4_u64 {
        assert!(waiting.iter().any(|question| question.offset == connection * 512), "{connection}");
    }
    // What one answers makes room for one.
    waiting.pop().unwrap().answer.send(Ok(vec![0; 512])).unwrap();
    assert!(tokio::time::timeout(LONG, asked.recv()).await.unwrap().is_some());
    assert!(asked.try_recv().is_err());
}

#[tokio::test]
async fn a_file_of_the_store_is_written_where_that_was_asked_for() {
    let bench = Bench::new();
    let path = bench.dir.path().join("a.img");
    std::fs::write(&path, content(4096)).unwrap();
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    bench.load(Origin::File(Arc::new(file)), 4096, false).await;
    assert_eq!(bench.read(512, 512).await.unwrap().unwrap(), &content(4096)[512..1024]);
    // As an emulator writes and flushes.
    let mut stream = UnixStream::connect(bench.dir.path().join("cd.nbd")).await.unwrap();
    assert!(!greet(&mut stream).await.is_read_only);
    for (bytes, handle) in
        [([request(1, 9, 512, 512), vec![0xee; 512]].concat(), 9), (request(3, 10, 0, 0), 10)]
    {
        stream.write_all(&bytes).await.unwrap();
        let mut reply = [0; nbd::REPLY];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply, nbd::reply(handle, Ok(())));
    }
    assert_eq!(
        &std::fs::read(&path).unwrap()[510..514],
        [content(4096)[510], content(4096)[511], 0xee, 0xee]
    );
    assert_eq!(bench.counters.written.load(Ordering::Relaxed), 512);
}
