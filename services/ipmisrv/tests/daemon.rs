//! The daemon on a bus of its own.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use busd::testing::Bus;
use schema::v1alpha1 as v1;
use service::{Clock, Context, LocalContext, Notification, Notifier, Settings, Shutdown};
use tokio::sync::mpsc::UnboundedReceiver;

const WAIT: Duration = Duration::from_secs(60);

/// The next notification that is wanted.
async fn told<T>(
    from: &mut UnboundedReceiver<Notification>,
    wanted: impl Fn(&Notification) -> Option<T>,
) -> T {
    let found = async {
        loop {
            let notification = from.recv().await.expect("the daemon ended");
            if let Some(found) = wanted(&notification) {
                return found;
            }
        }
    };
    tokio::time::timeout(WAIT, found).await.expect("never told")
}

/// Answers for the operator, which says what this system is.
async fn operator(bus: &Bus) {
    let mut requests = bus.client("operator").await.serve(&["SystemService"]).await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let system = v1::SystemInfo { id: "a box".to_owned(), ..v1::SystemInfo::default() };
            request.reply(&v1::GetSystemInfoResponse { system_info: Some(system) }).await;
        }
    });
}

#[test]
fn it_serves_before_the_store_has_its_bucket_and_says_so() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bus = Bus::start().await;
        operator(&bus).await;
        let (notify, mut notifications) = Notifier::channel();
        let (trigger, shutdown) = Shutdown::new();
        let settings = Settings::from_toml("config.toml", "[ipmisrv]\nlisten = \"127.0.0.1:0\"\n").unwrap();
        let local = LocalContext {
            daemon: "ipmisrv".into(),
            clock: Clock::new(),
            shutdown,
            notify,
            board: None,
            state_dir: std::env::temp_dir(),
            run_dir: std::env::temp_dir(),
            heartbeat_every: Duration::from_secs(5),
            settings: settings.of("ipmisrv"),
        };
        let daemon = tokio::spawn(ipmisrv::run(Context { local, bus: bus.client("ipmisrv").await }));
        let address: SocketAddr = told(&mut notifications, |notification| match notification {
            Notification::Listen(_, address) => Some(*address),
            _ => None,
        })
        .await;
        told(&mut notifications, |notification| matches!(notification, Notification::Ready).then_some(()))
            .await;
        // A presence ping (§13.2.3).
        let asked = tokio::task::spawn_blocking(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(WAIT)).unwrap();
            let ping = [0x06, 0x00, 0xff, 0x06, 0x00, 0x00, 0x11, 0xbe, 0x80, 0x07, 0x00, 0x00];
            socket.send_to(&ping, address).unwrap();
            let mut pong = [0; 64];
            let length = socket.recv(&mut pong).unwrap();
            pong[..length].to_vec()
        });
        let pong = asked.await.unwrap();
        assert_eq!((pong.len(), pong[8], pong[9]), (28, 0x40, 0x07));
        let status = |notification: &Notification| match notification {
            Notification::Status(text) => Some(text.clone()),
            _ => None,
        };
        let said = told(&mut notifications, status).await;
        assert!(said.starts_with("the SEL is not shown"), "{said}");
        bus.create_bucket("ipmi").await;
        assert_eq!(told(&mut notifications, status).await, "", "it is over");
        trigger.stop();
        daemon.await.unwrap().unwrap();
    });
}
