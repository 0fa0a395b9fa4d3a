//! The link between a bus of its own and a server outside, which hangs, is flooded, or is met by a start with damaged files.

use std::path::Path;
use std::time::Duration;

use busd::testing::Bus;
use futures_util::StreamExt as _;
use prost::Message as _;
use schema::server::{Call as _, HostServiceCall};
use schema::v1alpha1 as v1;
use service::{Clock, Context, LocalContext, Notification, Notifier, Shutdown, Trigger};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Longest wait for anything here.
const LIMIT: Duration = Duration::from_secs(60);
const BEAT: Duration = Duration::from_millis(50);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: not in {LIMIT:?}"))
}

/// A way to a server that passes nothing on while it is frozen, as a stopped process does: connections stay, and nobody answers.
async fn way_to(url: &str) -> (String, watch::Sender<bool>) {
    let to = url.trim_start_matches("nats://").to_owned();
    let (freeze, frozen) = watch::channel(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (to, frozen) = (to.clone(), frozen.clone());
            tokio::spawn(async move {
                let far = TcpStream::connect(to).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::join!(pass(near_in, far_out, frozen.clone()), pass(far_in, near_out, frozen));
            });
        }
    });
    (format!("nats://{here}"), freeze)
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

struct Bench {
    inside: Bus,
    outside: Bus,
    freeze: watch::Sender<bool>,
    told: mpsc::UnboundedReceiver<Notification>,
    link: JoinHandle<Result<(), fleet::Error>>,
    stop: Trigger,
}

impl Bench {
    /// A link called `x1` unless `kept`, which then has its id.
    async fn start(state: &Path, kept: bool) -> Self {
        let (inside, outside) = (Bus::start().await, Bus::start().await);
        inside.client("operator").await.create_event_log().await.unwrap();
        answer_for_hosts(&inside).await;
        let (url, freeze) = way_to(outside.url()).await;
        let mut settings = serde_json::json!({ "nats": { "url": url }, "heartbeat_s": 1 });
        if !kept {
            settings["id"] = "x1".into();
        }
        let (stop, shutdown) = Shutdown::new();
        let (notify, told) = Notifier::channel();
        let local = LocalContext {
            daemon: "fleet".into(),
            clock: Clock::new(),
            shutdown,
            notify,
            board: None,
            state_dir: state.to_owned(),
            run_dir: state.to_owned(),
            heartbeat_every: BEAT,
            settings: settings.as_object().cloned().unwrap_or_default(),
        };
        let context = Context { local, bus: inside.client("fleet").await };
        let link = tokio::spawn(fleet::run(context));
        Self { inside, outside, freeze, told, link, stop }
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&Notification) -> bool) -> Notification {
        loop {
            let told = soon(what, self.told.recv()).await.expect("the link runs");
            if wanted(&told) {
                return told;
            }
        }
    }

    /// The card that comes next, with `id`.
    async fn card(&self) -> (String, v1::Host) {
        let outside = async_nats::connect(self.outside.url()).await.unwrap();
        let mut states = outside.subscribe("ubmc.*.state.host.>").await.unwrap();
        outside.flush().await.unwrap();
        let state = soon("a state", states.next()).await.unwrap();
        let id = state.subject.split('.').nth(1).unwrap_or_default().to_owned();
        (id, v1::Host::decode(state.payload).unwrap())
    }
}

async fn answer_for_hosts(bus: &Bus) {
    let mut requests = bus.client("statemgr").await.serve(&["HostService"]).await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let host = v1::Host { name: "system".into(), ..v1::Host::default() };
            match HostServiceCall::parse(request) {
                Ok(HostServiceCall::ListHosts(_, reply)) => {
                    reply.send(Ok(v1::ListHostsResponse { hosts: vec![host] })).await;
                }
                Ok(HostServiceCall::GetHost(_, reply)) => {
                    reply.send(Ok(v1::GetHostResponse { host: Some(host) })).await;
                }
                _ => {}
            }
        }
    });
}

#[tokio::test]
async fn a_server_that_hangs_does_not_hold_the_link() {
    let state = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(state.path(), false).await;
    bench.until("ready", |told| *told == Notification::Ready).await;
    assert_eq!(bench.card().await.0, "x1");
    bench.freeze.send_replace(true);
    // Longer than the pause between two cards, so one is on its way for certain.
    for _ in 0..50 {
        let beat = bench.until("a beat", |told| *told == Notification::Heartbeat);
        // What is told outside is given up after 5 s.
        tokio::time::timeout(Duration::from_secs(4), beat).await.expect("the loop beats on");
    }
    bench.freeze.send_replace(false);
    assert_eq!(bench.card().await.1.name, "system", "when it goes on, the state is told again");
    // It stops in time also when nobody takes its last words.
    bench.freeze.send_replace(true);
    bench.stop.stop();
    tokio::time::timeout(Duration::from_secs(5), bench.link).await.expect("it stops").unwrap().unwrap();
}

#[tokio::test]
async fn requests_that_are_too_long_are_refused_and_others_are_answered() {
    let state = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(state.path(), false).await;
    bench.until("ready", |told| *told == Notification::Ready).await;
    bench.card().await;
    let outside = async_nats::connect(bench.outside.url()).await.unwrap();
    // A mask of empty paths takes thirty times its bytes when it is decoded.
    let mask = |paths: usize| prost_types::FieldMask { paths: vec![String::new(); paths] };
    let request = |paths| v1::GetHostRequest { name: "system".into(), field_mask: Some(mask(paths)) };
    for (paths, expected) in [(450_000, Some("8")), (0, None)] {
        let payload = request(paths).encode_to_vec();
        let asked = outside.request("ubmc.x1.rpc.HostService.GetHost", payload.into());
        let reply = soon("an answer", asked).await.unwrap();
        let headers = reply.headers.unwrap_or_default();
        assert_eq!(headers.get("Grpc-Status").map(|status| status.as_str()), expected, "{headers:?}");
        assert_eq!(headers.get("Ubmc-Id").map(|id| id.as_str()), Some("x1"));
    }
    bench.link.abort();
}

#[tokio::test]
async fn a_damaged_file_is_told_and_the_link_keeps_its_id() {
    let state = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(state.path(), true).await;
    bench.until("ready", |told| *told == Notification::Ready).await;
    let id = bench.card().await.0;
    bench.link.abort();
    let path = state.path().join("id");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5] |= 0x80;
    std::fs::write(&path, bytes).unwrap();
    std::fs::write(state.path().join("cursor"), [0xff; 9]).unwrap();
    let mut bench = Bench::start(state.path(), true).await;
    let status = bench.until("its status", |told| matches!(told, Notification::Status(_))).await;
    let Notification::Status(status) = status else { return };
    assert!(status.contains("id: ") && status.contains("cursor: "), "{status}");
    assert_eq!(bench.card().await.0, id);
    let log = bench.inside.client("websrv").await.event_log();
    let mut follow = log.follow("event.fleet.>", Some(0)).await.unwrap();
    for part in ["event.fleet.id.damaged", "event.fleet.cursor.damaged"] {
        assert_eq!(soon(part, follow.next()).await.unwrap().unwrap().subject, part);
    }
    bench.link.abort();
}
