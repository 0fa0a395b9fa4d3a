//! The daemon on a bus of its own.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use busd::testing::Bus;
use schema::rpc::ipmi_service::{GET_IPMI, SET_IPMI};
use schema::v1alpha1 as v1;
use service::testing::Told;
use service::{Clock, Context, LocalContext, Notifier, Settings, Shutdown};

const WAIT: Duration = Duration::from_secs(60);

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

/// The daemon with these settings, until it is told to stop.
struct Running {
    told: Told,
    trigger: service::Trigger,
    daemon: tokio::task::JoinHandle<Result<(), ipmisrv::Error>>,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start(bus: &Bus, settings: &str) -> Self {
        let (notify, notifications) = Notifier::channel();
        let (trigger, shutdown) = Shutdown::new();
        let settings = Settings::from_toml("config.toml", &format!("[ipmisrv]\n{settings}\n")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let local = LocalContext {
            daemon: "ipmisrv".into(),
            clock: Clock::new(),
            shutdown,
            notify,
            board: None,
            state_dir: folder.path().to_owned(),
            run_dir: folder.path().to_owned(),
            heartbeat_every: Duration::from_secs(5),
            settings: settings.of("ipmisrv"),
        };
        let daemon = tokio::spawn(ipmisrv::run(Context { local, bus: bus.client("ipmisrv").await }));
        Self { told: Told::new(notifications), trigger, daemon, _folder: folder }
    }

    async fn stop(self) {
        self.trigger.stop();
        self.daemon.await.unwrap().unwrap();
    }
}

/// Whether a presence ping (§13.2.3) is answered.
async fn pings(address: SocketAddr) -> bool {
    let asked = tokio::task::spawn_blocking(move || {
        let own = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(own).unwrap();
        // What comes from another address than this one is not for it.
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        let ping = [0x06, 0x00, 0xff, 0x06, 0x00, 0x00, 0x11, 0xbe, 0x80, 0x07, 0x00, 0x00];
        socket.send(&ping).unwrap();
        let mut pong = [0; 64];
        // The kernel says at once that nobody listens.
        let Ok(length) = socket.recv(&mut pong) else { return false };
        (length, pong[8], pong[9]) == (28, 0x40, 0x07)
    });
    asked.await.unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn set(bus: &ipc::Client, enabled: bool, port: Option<u32>) -> Result<v1::Ipmi, ipc::Status> {
    let request = v1::SetIpmiRequest { enabled: Some(enabled), port };
    let context = ipc::CallContext::new().with_timeout(WAIT).with_patience(WAIT);
    Ok(bus.call(SET_IPMI, &request, &context).await?.ipmi.unwrap())
}

#[test]
fn it_serves_once_it_is_known_that_nobody_switched_it_off() {
    runtime().block_on(async {
        let bus = Bus::start().await;
        operator(&bus).await;
        let mut ipmisrv = Running::start(&bus, "listen = \"127.0.0.1:0\"").await;
        let said = ipmisrv.told.status().await;
        assert!(said.starts_with("IPMI is not served: whether it is switched on"), "{said}");
        ipmisrv.told.is_ready().await;
        bus.create_bucket("ipmi").await;
        let address = ipmisrv.told.listens("ipmi").await;
        assert!(pings(address).await);
        ipmisrv.stop().await;
    });
}

#[test]
fn it_is_switched_on_and_off_while_it_runs_and_stays_so() {
    runtime().block_on(async {
        let bus = Bus::start().await;
        operator(&bus).await;
        bus.create_bucket("ipmi").await;
        let client = bus.client("websrv").await;
        let mut ipmisrv = Running::start(&bus, "").await;
        ipmisrv.told.is_ready().await;
        let context = ipc::CallContext::new().with_timeout(WAIT).with_patience(WAIT);
        let ipmi = client.call(GET_IPMI, &v1::GetIpmiRequest {}, &context).await.unwrap().ipmi.unwrap();
        assert!(!ipmi.enabled && !ipmi.listening && ipmi.by_configuration && ipmi.port == 623, "{ipmi:?}");

        // A port that somebody has: nothing is changed.
        let taken = UdpSocket::bind("[::]:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let refused = set(&client, true, Some(port.into())).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.reason().as_str()),
            (ipc::Code::FailedPrecondition, "IPMI_PORT_UNAVAILABLE")
        );
        assert!(refused.message.contains("another program has this port"), "{refused}");
        let ipmi = client.call(GET_IPMI, &v1::GetIpmiRequest {}, &context).await.unwrap().ipmi.unwrap();
        assert!(!ipmi.enabled && ipmi.by_configuration && ipmi.port == 623, "{ipmi:?}");

        drop(taken);
        let ipmi = set(&client, true, Some(port.into())).await.unwrap();
        assert!(ipmi.enabled && ipmi.listening && u16::try_from(ipmi.port) == Ok(port), "{ipmi:?}");
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        // Whichever of its addresses is asked answers, also one that the kernel would not answer from.
        let others = [SocketAddr::from(([127, 0, 0, 2], port)), (std::net::Ipv6Addr::LOCALHOST, port).into()];
        for address in [here].into_iter().chain(others) {
            assert!(pings(address).await, "{address}");
        }
        ipmisrv.stop().await;

        // As it was, after a restart; and off, also after one, whatever the configuration says.
        let mut ipmisrv = Running::start(&bus, "").await;
        assert_eq!(ipmisrv.told.listens("ipmi").await.port(), port);
        ipmisrv.told.is_ready().await;
        assert!(pings(here).await);
        let ipmi = set(&client, false, None).await.unwrap();
        assert!(!ipmi.enabled && !ipmi.listening, "{ipmi:?}");
        // Nobody takes it for open any more.
        assert_eq!(ipmisrv.told.listens_no_more().await, "ipmi");
        eventually_silent(here).await;
        ipmisrv.stop().await;
        let mut ipmisrv = Running::start(&bus, &format!("listen = \"{here}\"")).await;
        ipmisrv.told.is_ready().await;
        assert!(!pings(here).await);
        let other = set(&client, true, Some(1)).await.unwrap_err();
        assert_eq!(other.reason(), "IPMI_PORT_CONFIGURED");
        let ipmi = set(&client, true, None).await.unwrap();
        assert!(ipmi.listening && ipmi.address == "127.0.0.1", "{ipmi:?}");
        assert!(pings(here).await);
        ipmisrv.stop().await;
    });
}

#[test]
fn what_cannot_be_read_of_what_is_stored_is_told_until_it_is_set_anew() {
    runtime().block_on(async {
        let bus = Bus::start().await;
        operator(&bus).await;
        bus.create_bucket("ipmi").await;
        let bucket = bus.client("ipmisrv").await.bucket("ipmi").await.unwrap();
        for key in ["service", "sel", "sol", "settings"] {
            bucket.put(key, &ipc::Json("no settings".to_owned())).await.unwrap();
        }
        let client = bus.client("websrv").await;
        let mut ipmisrv = Running::start(&bus, "listen = \"127.0.0.1:0\"").await;
        let said = ipmisrv.told.status().await;
        assert!(said.starts_with("whether IPMI is switched on cannot be read: it is off"), "{said}");
        ipmisrv.told.is_ready().await;
        let context = ipc::CallContext::new().with_timeout(WAIT).with_patience(WAIT);
        let ipmi = client.call(GET_IPMI, &v1::GetIpmiRequest {}, &context).await.unwrap().ipmi.unwrap();
        assert!(!ipmi.enabled && ipmi.fault.starts_with("whether IPMI is switched on"), "{ipmi:?}");
        // Who says nothing has chosen nothing.
        let nothing = v1::SetIpmiRequest::default();
        let ipmi = client.call(SET_IPMI, &nothing, &context).await.unwrap().ipmi.unwrap();
        assert!(!ipmi.enabled && ipmi.fault.starts_with("whether IPMI is switched on"), "{ipmi:?}");
        let mut events = client.subscribe_events("event.ipmi.service.>").await.unwrap();
        // To what it is already: it is stored all the same.
        let ipmi = set(&client, false, None).await.unwrap();
        assert_eq!((ipmi.enabled, ipmi.fault.as_str()), (false, ""));
        let event = tokio::time::timeout(WAIT, events.next()).await.expect("never told");
        let Some(ipc::EventItem::Event(event)) = event else { panic!("nothing was told") };
        assert_eq!((event.what.as_str(), event.message.as_str()), ("changed", "IPMI is switched off"));
        assert_eq!(ipmisrv.told.status().await, "");
        assert!(set(&client, true, None).await.unwrap().listening);
        let parts = ["hidden of the SEL", "settings of Serial over LAN", "settings of IPMI"];
        let mut said = String::new();
        while !parts.iter().all(|part| said.contains(part)) {
            said = ipmisrv.told.status().await;
        }
        ipmisrv.stop().await;
    });
}

#[test]
fn where_what_was_stored_last_may_be_lost_it_is_off_until_it_is_set_anew() {
    runtime().block_on(async {
        // The value before it has come to light again, or there is none.
        for older in [Some(serde_json::json!({"enabled": true})), None] {
            let bus = Bus::start().await;
            operator(&bus).await;
            bus.create_bucket("ipmi").await;
            let bucket = bus.client("ipmisrv").await.bucket("ipmi").await.unwrap();
            if let Some(older) = older {
                bucket.put("service", &ipc::Json(older)).await.unwrap();
            }
            // As the store tells that it lost a value whose key cannot be read.
            bucket.put("_damaged", &ipc::Json(String::new())).await.unwrap();
            let client = bus.client("websrv").await;
            let mut ipmisrv = Running::start(&bus, "listen = \"127.0.0.1:0\"").await;
            let said = ipmisrv.told.status().await;
            assert!(said.contains("it is off") && said.contains("values of this store were lost"), "{said}");
            ipmisrv.told.is_ready().await;
            let context = ipc::CallContext::new().with_timeout(WAIT).with_patience(WAIT);
            let ipmi = client.call(GET_IPMI, &v1::GetIpmiRequest {}, &context).await.unwrap().ipmi.unwrap();
            assert!(!ipmi.enabled && !ipmi.listening && !ipmi.fault.is_empty(), "{ipmi:?}");
            assert!(set(&client, true, None).await.unwrap().listening);
            ipmisrv.stop().await;
            // What was stored since is the last.
            let mut ipmisrv = Running::start(&bus, "listen = \"127.0.0.1:0\"").await;
            assert!(pings(ipmisrv.told.listens("ipmi").await).await);
            ipmisrv.stop().await;
        }
    });
}

#[test]
fn while_it_is_off_by_configuration_it_is_forgotten_how_far_the_log_was_filtered() {
    runtime().block_on(async {
        let bus = Bus::start().await;
        operator(&bus).await;
        bus.create_bucket("ipmi").await;
        let bucket = bus.client("ipmisrv").await.bucket("ipmi").await.unwrap();
        bucket.put("filtered", &ipc::Json(vec![Some(7_u64), None])).await.unwrap();
        let mut ipmisrv = Running::start(&bus, "").await;
        ipmisrv.told.is_ready().await;
        let erased = async {
            while bucket.revision_of("filtered").await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(WAIT, erased).await.expect("it is kept");
        ipmisrv.stop().await;
    });
}

/// The socket is closed once what serves has ended, which is after the answer.
async fn eventually_silent(address: SocketAddr) {
    let silent = async { while pings(address).await {} };
    tokio::time::timeout(WAIT, silent).await.expect("it is served for ever");
}
