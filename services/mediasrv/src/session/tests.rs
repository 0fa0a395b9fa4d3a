//! Sessions of clients that serve files.

use media::{Ask, Source};
use serial::Holder;
use tokio::io::AsyncReadExt as _;

use super::*;

const LONG: Duration = Duration::from_secs(60);

struct Bench {
    shared: std::sync::Arc<Shared>,
    told: mpsc::Receiver<Told>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (tell, told) = mpsc::channel(8);
        let shared = std::sync::Arc::new(Shared {
            tickets: Mutex::default(),
            tell,
            clock: Clock::new(),
            store: Store::open(dir.path(), 1 << 20),
            next: AtomicU64::new(1),
        });
        Self { shared, told, dir }
    }

    /// A client that has shown its ticket.
    async fn open(&self, what: What) -> Link2 {
        let holder = Holder { account: "ann".to_owned(), is_administrator: true };
        let by = Opener { holder, address: "192.0.2.1".to_owned(), request_id: "r".to_owned() };
        self.shared.tickets.lock().await.issue(
            "t".to_owned(),
            "ann",
            Pass { by, what },
            self.shared.clock.now(),
        );
        let (ours, theirs) = UnixStream::pair().unwrap();
        let shared = std::sync::Arc::clone(&self.shared);
        tokio::spawn(async move { serve(theirs, &shared).await });
        let (from, mut to) = ours.into_split();
        to.write_all(&encode(Kind::Ticket, b"t")).await.unwrap();
        Link2 { from, to }
    }

    async fn told(&mut self) -> Told {
        tokio::time::timeout(LONG, self.told.recv()).await.unwrap().unwrap()
    }
}

/// The client's side.
struct Link2 {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
}

impl Link2 {
    async fn frame(&mut self) -> Option<(Kind, Vec<u8>)> {
        tokio::time::timeout(LONG, read(&mut self.from)).await.unwrap().unwrap()
    }

    async fn notice(&mut self) -> Notice {
        let (kind, payload) = self.frame().await.unwrap();
        assert_eq!(kind, Kind::Control);
        Notice::parse(std::str::from_utf8(&payload).unwrap()).unwrap()
    }

    async fn answers(&mut self, file: &[u8]) -> Ask {
        let (kind, payload) = self.frame().await.unwrap();
        assert_eq!(kind, Kind::Data);
        let ask = Ask::parse(&payload).unwrap();
        let offset = usize::try_from(ask.offset).unwrap();
        let answer = ask.answer(&file[offset..offset + usize::try_from(ask.length).unwrap()]);
        // As websrv cuts messages.
        for piece in answer.chunks(4096) {
            self.to.write_all(&encode(Kind::Data, piece)).await.unwrap();
        }
        ask
    }
}

fn medium() -> Medium {
    Medium {
        source: Source::Session { size: 100_000, modified_ms: 0 },
        name: "a.iso".to_owned(),
        is_read_only: true,
        account: "ann".to_owned(),
        inserted_ms: 0,
        size: 100_000,
        validator: None,
    }
}

#[tokio::test]
async fn a_client_serves_blocks_until_it_is_ejected_or_goes() {
    let file: Vec<u8> = (0..100_000).map(|at| u8::try_from(at % 241).unwrap()).collect();
    let mut bench = Bench::new();
    let mut client = bench.open(What::Serve { slot: 0, medium: medium(), resumes: false }).await;
    let Told::Came { client: way, answer, by, .. } = bench.told().await else { panic!() };
    assert_eq!(by.holder.account, "ann");
    let (reply, answered) = oneshot::channel();
    way.questions.send(Question { offset: 10, length: 70_000, answer: reply }).await.unwrap();
    for _ in 0..3 {
        client.answers(&file).await;
    }
    assert_eq!(answered.await.unwrap().unwrap(), &file[10..70_010], "also before it is inserted");
    answer.send(Ok(())).unwrap();
    assert_eq!(client.notice().await, Notice::Inserted);
    drop(way);
    assert_eq!(client.notice().await, Notice::End { reason: "it was ejected".to_owned() });
    assert!(matches!(bench.told().await, Told::Went { slot: 0, .. }));
    assert!(client.frame().await.is_none());

    // A tab that is closed in the middle of an answer.
    let mut client = bench.open(What::Serve { slot: 0, medium: medium(), resumes: false }).await;
    let Told::Came { client: way, answer: _answer, .. } = bench.told().await else { panic!() };
    let (reply, answered) = oneshot::channel();
    way.questions.send(Question { offset: 0, length: 1000, answer: reply }).await.unwrap();
    let (_, payload) = client.frame().await.unwrap();
    let half = Ask::parse(&payload).unwrap().answer(&file[..1000]);
    client.to.write_all(&encode(Kind::Data, &half[..500])).await.unwrap();
    drop(client);
    assert!(matches!(bench.told().await, Told::Went { slot: 0, .. }));
    assert!(answered.await.is_err(), "nobody is left to answer");
}

#[tokio::test]
async fn a_refusal_is_told_and_what_is_no_answer_ends_the_session() {
    let mut bench = Bench::new();
    let mut client = bench.open(What::Serve { slot: 0, medium: medium(), resumes: false }).await;
    let Told::Came { answer, client: _client, .. } = bench.told().await else { panic!() };
    answer.send(Err("b.iso is inserted: eject it first".to_owned())).unwrap();
    assert!(matches!(client.notice().await, Notice::End { reason } if reason.contains("eject it first")));
    bench.told().await;

    let mut client = bench.open(What::Serve { slot: 0, medium: medium(), resumes: false }).await;
    let Told::Came { answer: _answer, client: _client, .. } = bench.told().await else { panic!() };
    client.to.write_all(&encode(Kind::Data, b"D\0\0\0\x09\0\0\0\x01x")).await.unwrap();
    let mut rest = Vec::new();
    client.from.read_to_end(&mut rest).await.unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("end"), "{rest:?}");
}

#[tokio::test]
async fn a_file_is_copied_into_the_store_whole_or_not_at_all() {
    let file: Vec<u8> = (0..600_000).map(|at| u8::try_from(at % 239).unwrap()).collect();
    let mut bench = Bench::new();
    let mut client = bench.open(What::Upload { name: "a.iso".to_owned(), size: 600_000 }).await;
    let mut come = 0;
    while come < file.len() {
        come += usize::try_from(client.answers(&file).await.length).unwrap();
    }
    assert!(matches!(bench.told().await, Told::Uploaded { name, .. } if name == "a.iso"));
    assert_eq!(client.notice().await, Notice::Stored);
    assert_eq!(client.notice().await, Notice::End { reason: String::new() });
    assert_eq!(std::fs::read(bench.dir.path().join("store/a.iso")).unwrap(), file);

    let mut client = bench.open(What::Upload { name: "b.iso".to_owned(), size: 400_000 }).await;
    client.answers(&file).await;
    drop(client);
    while std::fs::read_dir(bench.dir.path().join("store")).unwrap().count() > 1 {
        tokio::task::yield_now().await;
    }
    let mut client = bench.open(What::Upload { name: "c.iso".to_owned(), size: 600_000 }).await;
    assert!(matches!(client.notice().await, Notice::End { reason } if reason.contains("bytes more")));
}
