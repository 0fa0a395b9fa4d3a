//! The port of plain HTTP: switched on and off while websrv runs and over restarts, and what cannot be had.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use busd::testing::Bus;
use schema::rpc::redirect_service::{GET_REDIRECT, SET_REDIRECT};
use schema::v1alpha1 as v1;
use serde_json::json;
use service::testing::Told;
use service::{Clock, Context, LocalContext, Notification, Notifier, Shutdown, Trigger};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const WAIT: Duration = Duration::from_secs(60);
const FILE: &str = "redirect.json";
const WHY: &str = "whether the redirect from HTTP is switched on cannot be read: it is off";

/// The daemon, until it is told to stop.
struct Running {
    told: Told,
    trigger: Trigger,
    task: tokio::task::JoinHandle<Result<(), websrv::Error>>,
}

impl Running {
    /// With its files in this folder, and plain HTTP at this address.
    async fn start(bus: &Bus, folder: &Path, http: &str) -> Self {
        let (notify, notes) = Notifier::channel();
        let (trigger, shutdown) = Shutdown::new();
        let settings = json!({"https": "127.0.0.1:0", "http": http, "http3": false});
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

    /// Waits until it is ready. Says whether it has told by then that it listens for plain HTTP.
    async fn is_ready(&mut self) -> bool {
        let listens = Cell::new(false);
        let ready = |told: &Notification| match told {
            Notification::Listen(name, _) if name == "http" => {
                listens.set(true);
                None
            }
            Notification::Ready => Some(()),
            _ => None,
        };
        self.told.next(ready).await;
        listens.get()
    }

    async fn stop(self) {
        self.trigger.stop();
        tokio::time::timeout(WAIT, self.task).await.expect("websrv stops").unwrap().unwrap();
    }
}

/// The first line of the answer there.
async fn answer(address: SocketAddr) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"GET /x HTTP/1.1\r\nHost: bmc.example\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(WAIT, tcp.read_to_string(&mut text)).await.expect("never answered").unwrap();
    text.lines().next().unwrap_or_default().to_owned()
}

/// The socket is closed once who accepts there has ended, which is after the answer.
async fn eventually_refused(address: SocketAddr) {
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(WAIT, refused).await.expect("it is served for ever");
}

fn context() -> ipc::CallContext {
    ipc::CallContext::new().with_timeout(WAIT).with_patience(WAIT)
}

async fn set(bus: &ipc::Client, enabled: Option<bool>) -> Result<v1::Redirect, ipc::Status> {
    let request = v1::SetRedirectRequest { enabled };
    Ok(bus.call(SET_REDIRECT, &request, &context()).await?.redirect.unwrap())
}

async fn get(bus: &ipc::Client) -> v1::Redirect {
    bus.call(GET_REDIRECT, &v1::GetRedirectRequest {}, &context()).await.unwrap().redirect.unwrap()
}

#[tokio::test]
async fn it_is_switched_off_and_on_while_it_runs_and_what_is_off_is_never_open() {
    let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
    bus.create_bucket("vnc").await;
    let client = bus.client("fleet").await;
    let mut events = client.subscribe_events("event.redirect.>").await.unwrap();
    // On unless the configuration or somebody says otherwise.
    let mut websrv = Running::start(&bus, folder.path(), "127.0.0.1:0").await;
    let address = websrv.told.listens("http").await;
    assert!(!websrv.is_ready().await, "told already");
    let redirect = get(&client).await;
    assert!(redirect.enabled && redirect.listening && redirect.by_configuration, "{redirect:?}");
    assert_eq!((redirect.address.as_str(), redirect.port), ("127.0.0.1", u32::from(address.port())));
    assert_eq!(answer(address).await, "HTTP/1.1 308 Permanent Redirect");
    // Who says nothing has chosen nothing.
    assert_eq!(set(&client, None).await.unwrap(), redirect);
    assert!(!folder.path().join(FILE).exists());

    let redirect = set(&client, Some(false)).await.unwrap();
    assert!(!redirect.enabled && !redirect.listening && !redirect.by_configuration, "{redirect:?}");
    assert_eq!(websrv.told.listens_no_more().await, "http");
    eventually_refused(address).await;
    websrv.stop().await;

    // Another program may have the port then: the next start does not as much as ask for it.
    let taken = std::net::TcpListener::bind(address).unwrap();
    let mut websrv = Running::start(&bus, folder.path(), &address.to_string()).await;
    assert!(!websrv.is_ready().await, "it listens though it was switched off");
    let redirect = get(&client).await;
    assert!(!redirect.enabled && !redirect.listening && redirect.fault.is_empty(), "{redirect:?}");
    assert_eq!(redirect.port, u32::from(address.port()), "where it would be");
    let refused = set(&client, Some(true)).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.reason().as_str()),
        (ipc::Code::FailedPrecondition, "REDIRECT_PORT_UNAVAILABLE")
    );
    assert!(!get(&client).await.enabled, "nothing was stored");
    drop(taken);
    assert!(set(&client, Some(true)).await.unwrap().listening);
    assert_eq!(websrv.told.listens("http").await, address);
    assert_eq!(answer(address).await, "HTTP/1.1 308 Permanent Redirect");
    websrv.stop().await;
    eventually_refused(address).await;

    let mut websrv = Running::start(&bus, folder.path(), &address.to_string()).await;
    assert!(websrv.is_ready().await, "on is on after a restart");
    websrv.stop().await;
    for what in ["disabled", "enabled"] {
        let event = tokio::time::timeout(WAIT, events.next()).await.expect("never told");
        let Some(ipc::EventItem::Event(event)) = event else { panic!("nothing was told") };
        assert_eq!((event.component.as_str(), event.what.as_str()), ("service", what));
    }
}

#[tokio::test]
async fn where_the_configuration_has_it_nowhere_it_cannot_be_switched_on() {
    let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
    bus.create_bucket("vnc").await;
    let client = bus.client("fleet").await;
    let mut websrv = Running::start(&bus, folder.path(), "off").await;
    assert!(!websrv.is_ready().await);
    let refused = set(&client, Some(true)).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.reason().as_str()),
        (ipc::Code::FailedPrecondition, "REDIRECT_CONFIGURED_OFF")
    );
    assert!(refused.message.contains("--http off"), "{refused}");
    assert!(!folder.path().join(FILE).exists(), "nothing was stored");
    let redirect = get(&client).await;
    assert_eq!(redirect, v1::Redirect { by_configuration: true, ..v1::Redirect::default() });
    // Switched off by hand as well it stays off when the configuration has it again.
    assert!(!set(&client, Some(false)).await.unwrap().enabled);
    websrv.stop().await;
    let mut websrv = Running::start(&bus, folder.path(), "127.0.0.1:0").await;
    assert!(!websrv.is_ready().await);
    assert!(set(&client, Some(true)).await.unwrap().listening);
    websrv.stop().await;
    // And the configuration is stronger than what was switched on.
    let mut websrv = Running::start(&bus, folder.path(), "off").await;
    assert!(!websrv.is_ready().await);
    assert!(!get(&client).await.enabled);
    websrv.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_of_what_was_chosen_means_off_and_is_told_until_it_is_set_anew() {
    let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
    bus.create_bucket("vnc").await;
    std::fs::write(folder.path().join(FILE), "{").unwrap();
    let client = bus.client("fleet").await;
    let mut websrv = Running::start(&bus, folder.path(), "127.0.0.1:0").await;
    let found = |told: &Notification| match told {
        Notification::Finding(file, what) if file == FILE => Some(what.clone()),
        _ => None,
    };
    let what = websrv.told.next(found).await;
    assert!(what.starts_with(WHY), "{what}");
    assert!(websrv.told.status().await.starts_with(WHY));
    assert!(!websrv.is_ready().await);
    let redirect = get(&client).await;
    assert!(!redirect.enabled && redirect.fault.starts_with(WHY), "{redirect:?}");
    assert!(!redirect.by_configuration, "{redirect:?}");
    let redirect = set(&client, Some(true)).await.unwrap();
    assert!(redirect.listening && redirect.fault.is_empty(), "{redirect:?}");
    let cleared =
        |told: &Notification| matches!(told, Notification::Status(text) if text.is_empty()).then_some(());
    websrv.told.next(cleared).await;
    websrv.stop().await;
    let mut websrv = Running::start(&bus, folder.path(), "127.0.0.1:0").await;
    assert!(websrv.is_ready().await);
    websrv.stop().await;
}
