//! The port of desktop viewers: switched on and off while websrv runs and over restarts, what cannot be had, and who is let in.

/// The stack and its clients.
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use busd::testing::Bus;
use schema::rpc::vnc_service::{GET_VNC, SET_VNC};
use schema::v1alpha1 as v1;
use serde_json::json;
use service::testing::Told;
use service::{Clock, Context, LocalContext, Notification, Notifier, Shutdown, Trigger};
use support::{ADMIN, Stack, Version, everyone};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const WAIT: Duration = Duration::from_secs(60);

/// The daemon, until it is told to stop.
struct Running {
    told: Told,
    trigger: Trigger,
    task: tokio::task::JoinHandle<Result<(), websrv::Error>>,
}

impl Running {
    /// With its files in this folder, and viewers at this address.
    async fn start(bus: &Bus, folder: &Path, vnc: &str, basic: bool) -> Self {
        let (notify, notes) = Notifier::channel();
        let (trigger, shutdown) = Shutdown::new();
        let settings = json!({
            "https": "127.0.0.1:0", "http": "off", "http3": false, "vnc": vnc, "auth": {"basic": basic},
        });
        let local = LocalContext {
            daemon: "websrv".into(),
            clock: Clock::new(),
            shutdown,
            notify,
            board: None,
            state_dir: folder.into(),
            run_dir: folder.into(),
            heartbeat_every: Duration::from_secs(5),
            settings: settings.as_object().unwrap().clone(),
        };
        let context = Context { local, bus: bus.client("websrv").await };
        Self { told: Told::new(notes), trigger, task: tokio::spawn(websrv::run(context)) }
    }

    /// What is said of it, as soon as it is this.
    async fn says(&mut self, wanted: &str) {
        let says = |note: &Notification| match note {
            Notification::Status(text) => {
                (text.is_empty() == wanted.is_empty() && text.contains(wanted)).then_some(())
            }
            _ => None,
        };
        self.told.next(says).await;
    }

    async fn stop(self) {
        self.trigger.stop();
        tokio::time::timeout(WAIT, self.task).await.expect("websrv stops").unwrap().unwrap();
    }
}

/// A viewer that was greeted, and says nothing.
async fn greeted(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut greeting = [0; 12];
    tokio::time::timeout(WAIT, stream.read_exact(&mut greeting)).await.expect("never greeted").unwrap();
    assert_eq!(&greeting, b"RFB 003.008\n");
    stream
}

/// The socket is closed once who accepts there has ended, which is after the answer.
async fn eventually_refused(address: SocketAddr) {
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(WAIT, refused).await.expect("it is served for ever");
}

fn context() -> ipc::CallContext {
    ipc::CallContext::new().with_timeout(WAIT).with_patience(WAIT)
}

async fn set(bus: &ipc::Client, enabled: bool) -> Result<v1::Vnc, ipc::Status> {
    let request = v1::SetVncRequest { enabled: Some(enabled) };
    Ok(bus.call(SET_VNC, &request, &context()).await?.vnc.unwrap())
}

async fn get(bus: &ipc::Client) -> v1::Vnc {
    bus.call(GET_VNC, &v1::GetVncRequest {}, &context()).await.unwrap().vnc.unwrap()
}

#[tokio::test]
async fn it_is_switched_off_and_on_while_it_runs_and_stays_so() {
    let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
    bus.create_bucket("vnc").await;
    let client = bus.client("fleet").await;
    let mut events = client.subscribe_events("event.vnc.>").await.unwrap();
    // Off unless the configuration or somebody says otherwise.
    let mut websrv = Running::start(&bus, folder.path(), "off", true).await;
    websrv.told.is_ready().await;
    let vnc = get(&client).await;
    assert!(!vnc.enabled && !vnc.listening && vnc.by_configuration && vnc.port == 5900, "{vnc:?}");
    websrv.stop().await;

    let mut websrv = Running::start(&bus, folder.path(), "127.0.0.1:0", true).await;
    let address = websrv.told.listens("vnc").await;
    let mut viewer = greeted(address).await;
    let vnc = get(&client).await;
    assert!(vnc.enabled && vnc.listening && vnc.by_configuration, "{vnc:?}");
    assert_eq!((vnc.address.as_str(), vnc.port), ("127.0.0.1", u32::from(address.port())));

    // Off: who looks does not any more, and nobody comes.
    let vnc = set(&client, false).await.unwrap();
    assert!(!vnc.enabled && !vnc.listening && !vnc.by_configuration, "{vnc:?}");
    assert_eq!(websrv.told.listens_no_more().await, "vnc");
    let mut rest = Vec::new();
    let ended = viewer.read_to_end(&mut rest);
    let _ = tokio::time::timeout(WAIT, ended).await.expect("who looks stays");
    eventually_refused(address).await;
    websrv.stop().await;

    // Also after a restart, whatever the configuration says; and on again.
    let mut websrv = Running::start(&bus, folder.path(), "127.0.0.1:0", true).await;
    websrv.told.is_ready().await;
    let vnc = get(&client).await;
    assert!(!vnc.enabled && !vnc.listening, "{vnc:?}");
    assert!(set(&client, true).await.unwrap().listening);
    let address = websrv.told.listens("vnc").await;
    drop(greeted(address).await);
    websrv.stop().await;
    eventually_refused(address).await;
    for what in ["disabled", "enabled"] {
        let event = tokio::time::timeout(WAIT, events.next()).await.expect("never told");
        let Some(ipc::EventItem::Event(event)) = event else { panic!("nothing was told") };
        assert_eq!((event.component.as_str(), event.what.as_str()), ("service", what));
    }
}

#[tokio::test]
async fn what_cannot_be_read_of_what_is_stored_is_told_until_it_is_set_anew() {
    let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
    bus.create_bucket("vnc").await;
    let bucket = bus.client("websrv").await.bucket("vnc").await.unwrap();
    bucket.put("service", &ipc::Json("no settings".to_owned())).await.unwrap();
    let client = bus.client("fleet").await;
    let mut websrv = Running::start(&bus, folder.path(), "127.0.0.1:0", true).await;
    websrv.says("whether VNC is switched on cannot be read: it is off").await;
    let vnc = get(&client).await;
    assert!(!vnc.enabled && vnc.fault.starts_with("whether VNC is switched on"), "{vnc:?}");
    let vnc = set(&client, false).await.unwrap();
    assert_eq!((vnc.enabled, vnc.fault.as_str()), (false, ""));
    websrv.says("").await;
    assert!(set(&client, true).await.unwrap().listening);
    websrv.stop().await;
}

#[tokio::test]
async fn a_port_that_cannot_be_had_and_logins_that_cannot_be_are_refused_without_effect() {
    let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
    bus.create_bucket("vnc").await;
    let client = bus.client("fleet").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    // Who has HTTPS alone has no less of it for that.
    let mut websrv = Running::start(&bus, folder.path(), &address.to_string(), true).await;
    websrv.says("VNC is not served: cannot listen for VNC at").await;
    let vnc = get(&client).await;
    assert!(vnc.enabled && !vnc.listening && vnc.fault.contains("another program"), "{vnc:?}");
    let refused = set(&client, true).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.reason().as_str()),
        (ipc::Code::FailedPrecondition, "VNC_PORT_UNAVAILABLE")
    );
    assert!(get(&client).await.by_configuration, "nothing was stored");
    drop(taken);
    assert_eq!(websrv.told.listens("vnc").await, address);
    websrv.says("").await;
    drop(greeted(address).await);
    websrv.stop().await;

    let mut websrv = Running::start(&bus, folder.path(), "off", false).await;
    websrv.told.is_ready().await;
    let refused = set(&client, true).await.unwrap_err();
    assert_eq!(refused.code, ipc::Code::FailedPrecondition);
    assert!(refused.message.contains("websrv.auth.basic"), "{refused}");
    let vnc = get(&client).await;
    assert!(!vnc.enabled && vnc.by_configuration, "{vnc:?}");
    websrv.stop().await;
}

/// What a viewer that logs in is told of why it is refused.
async fn refused(to: SocketAddr, name: &str, password: &str) -> String {
    let mut tcp = TcpStream::connect(to).await.unwrap();
    // Version 3.8, VeNCrypt 0.2, and of its kinds the one with TLS, a name and a password.
    tcp.write_all(b"RFB 003.008\n\x13\0\x02\0\0\x01\x06").await.unwrap();
    let mut said = [0; 23];
    tcp.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"RFB 003.008\n\x01\x13\0\x02\0\x01\0\0\x01\x06\x01");
    let mut config = support::client_tls(b"", &[&rustls::version::TLS13]);
    config.alpn_protocols.clear();
    let server = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(server, tcp).await.unwrap();
    for text in [name, password] {
        stream.write_u32(u32::try_from(text.len()).unwrap()).await.unwrap();
    }
    stream.write_all(format!("{name}{password}").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(stream.read_u32().await.unwrap(), 1, "{name} is let in");
    let mut reason = vec![0; usize::try_from(stream.read_u32().await.unwrap()).unwrap()];
    stream.read_exact(&mut reason).await.unwrap();
    String::from_utf8(reason).unwrap()
}

#[tokio::test]
async fn a_viewer_leaves_one_record_and_one_that_its_account_is_not_for_is_asked_of_no_screen() {
    let bus = Bus::start().await;
    bus.create_bucket("vnc").await;
    bus.client("operator").await.create_event_log().await.unwrap();
    let stack = Stack::on(bus, json!({ "vnc": "127.0.0.1:0" }), &everyone()).await;
    let client = stack.bus.client("fleet").await;
    let listening = async {
        loop {
            let vnc = get(&client).await;
            if vnc.listening {
                break SocketAddr::from(([127, 0, 0, 1], u16::try_from(vnc.port).unwrap()));
            }
        }
    };
    let address = tokio::time::timeout(WAIT, listening).await.expect("it is served");
    let listener = stack.bus.client("statemgr").await;
    let mut events = listener.subscribe_events("event.audit.>").await.unwrap();
    let asked = || -> Vec<String> {
        let seen = stack.world.seen.lock().unwrap();
        let opens =
            |method: &&String| ["KvmService.OpenKvm", "KvmService.ViewScreen"].contains(&method.as_str());
        seen.keys().filter(opens).cloned().collect()
    };

    let why = tokio::time::timeout(WAIT, refused(address, "conny@system", "right")).await.unwrap();
    assert!(why.contains("not for KVMIP"), "{why}");
    assert!(asked().is_empty(), "{:?}", asked());
    // Who may not type is let look, where there is a screen.
    let why = tokio::time::timeout(WAIT, refused(address, "reader@system", "right")).await.unwrap();
    assert!(why.contains("kvmsrv"), "{why}");
    assert_eq!(asked(), ["KvmService.ViewScreen"]);

    let last = "/schema.v1alpha1.EventService/ReopenEvents";
    stack.send(Version::H1, stack.post(last, "application/json", Some(ADMIN), "{\"ids\":[\"x\"]}")).await;
    let mut told = Vec::new();
    while told.last().is_none_or(|(_, path): &(String, String)| path != last) {
        let item = tokio::time::timeout(WAIT, events.next()).await.expect("a record");
        let Some(ipc::EventItem::Event(event)) = item else { continue };
        let Some(v1::event::Payload::AuditRecord(record)) = event.payload else {
            panic!("{}", event.message)
        };
        told.push((event.principal.unwrap_or_default(), record.path));
    }
    let shown: Vec<(&str, &str)> =
        told.iter().map(|(by, path)| (by.as_str(), path.rsplit('/').next().unwrap_or_default())).collect();
    assert_eq!(shown, [("conny", "kvm"), ("reader", "view"), ("admin", "ReopenEvents")]);
    stack.stop().await.unwrap();
}
