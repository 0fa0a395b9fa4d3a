//! The switch of the daemon, on a bus of its own: on and off while it runs and over restarts, and what cannot be had.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use busd::testing::Bus;
use schema::rpc::ssh_service::{GET_SSH, SET_SSH};
use schema::server::SshServiceCall as Call;
use schema::v1alpha1 as v1;
use service::testing::Told;
use service::{Clock, Context, LocalContext, Notifier, Prepare, Settings, Shutdown, Switch, Turn, Way};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const WAIT: Duration = Duration::from_secs(60);

/// The daemon with these settings, until it is told to stop.
struct Running {
    told: Told,
    trigger: service::Trigger,
    daemon: tokio::task::JoinHandle<Result<(), sshsrv::Error>>,
}

impl Running {
    /// With its files in this folder.
    async fn start(bus: &Bus, folder: &Path, settings: &str) -> Self {
        let (notify, notifications) = Notifier::channel();
        let (trigger, shutdown) = Shutdown::new();
        let settings = Settings::from_toml("config.toml", &format!("[sshsrv]\n{settings}\n")).unwrap();
        let board = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
        let local = LocalContext {
            daemon: "sshsrv".into(),
            clock: Clock::new(),
            shutdown,
            notify,
            board: Some(Arc::new(board::Board::load(&board, &[]).unwrap())),
            state_dir: folder.to_owned(),
            run_dir: folder.to_owned(),
            heartbeat_every: Duration::from_secs(5),
            settings: settings.of("sshsrv"),
        };
        let daemon = tokio::spawn(sshsrv::run(Context { local, bus: bus.client("sshsrv").await }));
        Self { told: Told::new(notifications), trigger, daemon }
    }

    async fn stop(self) {
        self.trigger.stop();
        self.daemon.await.unwrap().unwrap();
    }
}

/// A client that was greeted, and says nothing.
async fn greeted(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut greeting = [0; 7];
    tokio::time::timeout(WAIT, stream.read_exact(&mut greeting)).await.expect("never greeted").unwrap();
    assert_eq!(&greeting, b"SSH-2.0");
    stream
}

/// The socket is closed once the loop has come round, which is after the answer.
async fn eventually_refused(address: SocketAddr) {
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(WAIT, refused).await.expect("it is served for ever");
}

fn context() -> ipc::CallContext {
    ipc::CallContext::new().with_timeout(WAIT).with_patience(WAIT)
}

async fn set(bus: &ipc::Client, enabled: Option<bool>, port: Option<u32>) -> Result<v1::Ssh, ipc::Status> {
    let request = v1::SetSshRequest { enabled, port };
    Ok(bus.call(SET_SSH, &request, &context()).await?.ssh.unwrap())
}

async fn get(bus: &ipc::Client) -> v1::Ssh {
    bus.call(GET_SSH, &v1::GetSshRequest {}, &context()).await.unwrap().ssh.unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn it_is_switched_on_and_off_while_it_runs_and_stays_so() {
    runtime().block_on(async {
        let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
        bus.create_bucket("ssh").await;
        let client = bus.client("websrv").await;
        let mut events = client.subscribe_events("event.ssh.>").await.unwrap();
        let key = folder.path().join("host_key");
        let mut sshsrv = Running::start(&bus, folder.path(), "others = [8443, 5900]").await;
        sshsrv.told.is_ready().await;
        let ssh = get(&client).await;
        assert!(!ssh.enabled && !ssh.listening && ssh.by_configuration && ssh.port == 2200, "{ssh:?}");
        assert_eq!((ssh.sessions, ssh.sessions_max), (0, 16));
        assert!(!key.exists(), "a key is made where it is needed");

        // A port of websrv, which may not have it now: nothing is changed.
        for port in [80, 443, 8443, 5900] {
            let refused = set(&client, Some(true), Some(port)).await.unwrap_err();
            assert_eq!(
                (refused.code, refused.reason().as_str()),
                (ipc::Code::FailedPrecondition, "SSH_PORT_UNAVAILABLE")
            );
            assert!(refused.message.contains("another daemon's"), "{refused}");
        }
        // A port that somebody has: nothing is changed.
        let taken = std::net::TcpListener::bind("[::]:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let refused = set(&client, Some(true), Some(port.into())).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.reason().as_str()),
            (ipc::Code::FailedPrecondition, "SSH_PORT_UNAVAILABLE")
        );
        assert!(refused.message.contains("another program has this port"), "{refused}");
        let ssh = get(&client).await;
        assert!(!ssh.enabled && ssh.by_configuration && ssh.port == 2200, "{ssh:?}");

        drop(taken);
        let ssh = set(&client, Some(true), Some(port.into())).await.unwrap();
        assert!(ssh.enabled && ssh.listening && u16::try_from(ssh.port) == Ok(port), "{ssh:?}");
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        drop(greeted(here).await);
        drop(greeted(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))).await);
        let made = std::fs::read(&key).unwrap();
        sshsrv.stop().await;

        // As it was, after a restart.
        let mut sshsrv = Running::start(&bus, folder.path(), "").await;
        assert_eq!(sshsrv.told.listens("ssh").await.port(), port);
        sshsrv.told.is_ready().await;
        let mut on = greeted(here).await;
        assert_eq!(std::fs::read(&key).unwrap(), made, "clients know this key");

        // At another port: who is on stays, and who comes there finds nobody.
        let other = std::net::TcpListener::bind("[::]:0").unwrap();
        let other_port = other.local_addr().unwrap().port();
        drop(other);
        let ssh = set(&client, None, Some(other_port.into())).await.unwrap();
        assert!(ssh.listening && u16::try_from(ssh.port) == Ok(other_port), "{ssh:?}");
        eventually_refused(here).await;
        let mut byte = [0; 64];
        let read = tokio::time::timeout(Duration::from_millis(1), on.read(&mut byte)).await;
        assert!(!matches!(read, Ok(Ok(0) | Err(_))), "it was closed");

        // Off: who is on is not any more.
        let ssh = set(&client, Some(false), None).await.unwrap();
        assert!(!ssh.enabled && !ssh.listening && !ssh.by_configuration, "{ssh:?}");
        assert_eq!(sshsrv.told.listens_no_more().await, "ssh");
        let ended = async { while on.read(&mut byte).await.unwrap_or(0) > 0 {} };
        tokio::time::timeout(WAIT, ended).await.expect("who is on stays");
        let there = SocketAddr::from(([127, 0, 0, 1], other_port));
        eventually_refused(there).await;
        sshsrv.stop().await;

        // And off after a restart, whatever the configuration says, which says where.
        let mut sshsrv = Running::start(&bus, folder.path(), &format!("listen = \"{here}\"")).await;
        sshsrv.told.is_ready().await;
        assert!(TcpStream::connect(here).await.is_err());
        let refused = set(&client, Some(true), Some(1)).await.unwrap_err();
        assert_eq!(refused.reason(), "SSH_PORT_CONFIGURED");
        let ssh = set(&client, Some(true), None).await.unwrap();
        assert!(
            ssh.listening && ssh.address == "127.0.0.1" && u16::try_from(ssh.port) == Ok(port),
            "{ssh:?}"
        );
        drop(greeted(here).await);
        sshsrv.stop().await;

        // All of it was told, once each.
        for what in ["enabled", "changed", "disabled", "enabled"] {
            let event = tokio::time::timeout(WAIT, events.next()).await.expect("never told");
            let Some(ipc::EventItem::Event(event)) = event else { panic!("nothing was told") };
            assert_eq!((event.component.as_str(), event.what.as_str()), ("service", what));
        }
    });
}

#[test]
fn it_serves_once_it_is_known_that_nobody_switched_it_off() {
    runtime().block_on(async {
        let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
        let client = bus.client("websrv").await;
        let mut sshsrv = Running::start(&bus, folder.path(), "listen = \"127.0.0.1:0\"").await;
        let said = sshsrv.told.status().await;
        assert!(said.starts_with("SSH is not served: whether it is switched on"), "{said}");
        sshsrv.told.is_ready().await;
        let refused = set(&client, Some(false), None).await.unwrap_err();
        assert_eq!(refused.code, ipc::Code::Unavailable, "{refused}");
        bus.create_bucket("ssh").await;
        let address = sshsrv.told.listens("ssh").await;
        drop(greeted(address).await);
        let ssh = get(&client).await;
        assert!(ssh.enabled && ssh.by_configuration && ssh.fault.is_empty(), "{ssh:?}");
        sshsrv.stop().await;
    });
}

#[test]
fn what_cannot_be_read_of_what_is_stored_is_told_until_it_is_set_anew() {
    runtime().block_on(async {
        let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
        bus.create_bucket("ssh").await;
        let bucket = bus.client("sshsrv").await.bucket("ssh").await.unwrap();
        bucket.put("service", &ipc::Json("no settings".to_owned())).await.unwrap();
        let client = bus.client("websrv").await;
        let mut sshsrv = Running::start(&bus, folder.path(), "listen = \"127.0.0.1:0\"").await;
        let said = sshsrv.told.status().await;
        assert!(said.starts_with("whether SSH is switched on cannot be read: it is off"), "{said}");
        sshsrv.told.is_ready().await;
        let ssh = get(&client).await;
        assert!(!ssh.enabled && ssh.fault.starts_with("whether SSH is switched on"), "{ssh:?}");
        // Who says nothing has chosen nothing.
        let ssh = set(&client, None, None).await.unwrap();
        assert!(!ssh.enabled && ssh.fault.starts_with("whether SSH is switched on"), "{ssh:?}");
        assert!(
            bucket.get::<ipc::Json<serde_json::Value>>("service").await.unwrap().unwrap().value.0.is_string()
        );
        // To what it is already: it is stored all the same.
        let mut events = client.subscribe_events("event.ssh.>").await.unwrap();
        let ssh = set(&client, Some(false), None).await.unwrap();
        assert_eq!((ssh.enabled, ssh.fault.as_str()), (false, ""));
        let event = tokio::time::timeout(WAIT, events.next()).await.expect("never told");
        let Some(ipc::EventItem::Event(event)) = event else { panic!("nothing was told") };
        assert_eq!((event.what.as_str(), event.message.as_str()), ("changed", "SSH is switched off"));
        assert_eq!(sshsrv.told.status().await, "");
        assert!(set(&client, Some(true), None).await.unwrap().listening);
        sshsrv.stop().await;
    });
}

#[test]
fn where_what_was_stored_last_may_be_lost_it_is_off_until_it_is_set_anew() {
    runtime().block_on(async {
        // The value before it has come to light again, or there is none.
        for older in [Some(serde_json::json!({"enabled": true})), None] {
            let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
            bus.create_bucket("ssh").await;
            let bucket = bus.client("sshsrv").await.bucket("ssh").await.unwrap();
            if let Some(older) = older {
                bucket.put("service", &ipc::Json(older)).await.unwrap();
            }
            // As the store tells that it lost a value whose key cannot be read.
            bucket.put("_damaged", &ipc::Json(String::new())).await.unwrap();
            let client = bus.client("websrv").await;
            let mut sshsrv = Running::start(&bus, folder.path(), "listen = \"127.0.0.1:0\"").await;
            let said = sshsrv.told.status().await;
            assert!(said.contains("it is off") && said.contains("values of this store were lost"), "{said}");
            sshsrv.told.is_ready().await;
            let ssh = get(&client).await;
            assert!(!ssh.enabled && !ssh.listening && !ssh.fault.is_empty(), "{ssh:?}");
            assert!(set(&client, Some(true), None).await.unwrap().listening);
            sshsrv.stop().await;
            // What was stored since is the last.
            let mut sshsrv = Running::start(&bus, folder.path(), "listen = \"127.0.0.1:0\"").await;
            drop(greeted(sshsrv.told.listens("ssh").await).await);
            assert_eq!(get(&client).await.fault, "");
            sshsrv.stop().await;
        }
    });
}

#[test]
fn what_is_not_stored_has_no_effect_and_neither_has_a_switch_without_a_host_key() {
    runtime().block_on(async {
        let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
        bus.create_bucket("ssh").await;
        let client = bus.client("websrv").await;
        // A file in place of the folder: no key can be kept there.
        let no_folder = folder.path().join("file");
        std::fs::write(&no_folder, "").unwrap();
        let mut sshsrv = Running::start(&bus, &no_folder.join("sshsrv"), "").await;
        sshsrv.told.is_ready().await;
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let refused = set(&client, Some(true), Some(port.into())).await.unwrap_err();
        assert_eq!((refused.code, refused.reason().as_str()), (ipc::Code::FailedPrecondition, ""));
        assert!(refused.message.contains("host key"), "{refused}");
        let ssh = get(&client).await;
        assert!(!ssh.enabled && ssh.by_configuration && ssh.port == 2200, "{ssh:?}");
        sshsrv.stop().await;

        let mut sshsrv = Running::start(&bus, folder.path(), "").await;
        sshsrv.told.is_ready().await;
        bus.takes_writes("ssh", false).await;
        assert!(set(&client, Some(true), Some(port.into())).await.is_err());
        let ssh = get(&client).await;
        assert!(!ssh.enabled && !ssh.listening && ssh.port == 2200, "{ssh:?}");
        assert!(TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.is_err());
        bus.takes_writes("ssh", true).await;
        assert!(set(&client, Some(true), Some(port.into())).await.unwrap().listening);
        sshsrv.stop().await;
    });
}

#[test]
fn a_port_that_is_given_to_another_daemon_later_is_left_to_it_and_another_one_can_be_chosen() {
    runtime().block_on(async {
        let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
        bus.create_bucket("ssh").await;
        let client = bus.client("websrv").await;
        // Both at once: they are two.
        let free = [(); 2].map(|()| std::net::TcpListener::bind("[::]:0").unwrap());
        let [port, other] = free.map(|one| one.local_addr().unwrap().port());
        let mut sshsrv = Running::start(&bus, folder.path(), "").await;
        sshsrv.told.is_ready().await;
        let ssh = set(&client, Some(true), Some(port.into())).await.unwrap();
        assert!(ssh.listening, "{ssh:?}");
        sshsrv.stop().await;

        // HTTPS is given it: SSH is on as it was chosen, and not served.
        let mut sshsrv = Running::start(&bus, folder.path(), &format!("others = [{port}]")).await;
        sshsrv.told.is_ready().await;
        let ssh = get(&client).await;
        assert!(ssh.enabled && !ssh.listening && u16::try_from(ssh.port) == Ok(port), "{ssh:?}");
        assert!(ssh.fault.contains("another daemon's"), "{ssh:?}");
        let https = std::net::TcpListener::bind(("::", port)).expect("it is free for the other");
        // Nor is it served when that is asked for once more, whether the other has it now or not.
        drop(https);
        for asked in [(Some(true), None), (Some(true), Some(port.into())), (None, Some(port.into()))] {
            let refused = set(&client, asked.0, asked.1).await.unwrap_err();
            assert_eq!(refused.reason(), "SSH_PORT_UNAVAILABLE", "{asked:?}: {refused}");
            assert!(!get(&client).await.listening);
        }
        let ssh = set(&client, None, Some(other.into())).await.unwrap();
        assert!(ssh.listening && ssh.fault.is_empty() && u16::try_from(ssh.port) == Ok(other), "{ssh:?}");
        drop(greeted(SocketAddr::from(([127, 0, 0, 1], other))).await);
        sshsrv.stop().await;

        // It can be switched off as well, and is not switched on there again.
        let mut sshsrv = Running::start(&bus, folder.path(), &format!("others = [{other}]")).await;
        sshsrv.told.is_ready().await;
        let ssh = set(&client, Some(false), None).await.unwrap();
        assert!(!ssh.enabled && ssh.fault.is_empty(), "{ssh:?}");
        let refused = set(&client, Some(true), None).await.unwrap_err();
        assert_eq!(refused.reason(), "SSH_PORT_UNAVAILABLE", "{refused}");
        assert!(!get(&client).await.enabled);
        sshsrv.stop().await;
    });
}

#[test]
fn it_can_be_switched_off_while_what_it_needs_never_comes() {
    runtime().block_on(async {
        let bus = Bus::start().await;
        bus.create_bucket("ssh").await;
        let own = bus.client("sshsrv").await;
        let mut calls = own.calls::<Call<ipc::Request>>().await.unwrap();
        let (notify, _notifications) = Notifier::channel();
        let way = Way {
            title: "SSH",
            name: "ssh",
            bucket: "ssh",
            key: "service",
            configured: Some("127.0.0.1:0".parse().unwrap()),
            usual: "[::]:2200".parse().unwrap(),
            setting: "sshsrv.listen",
            others: &[],
            no_port: "SSH_PORT_UNAVAILABLE",
            port_configured: "SSH_PORT_CONFIGURED",
        };
        let never: Prepare = Box::new(|| Box::pin(std::future::pending::<Result<(), String>>()));
        let mut switch = Switch::<v1::SetSshResponse>::new(own, notify, way, never).await;
        let state = switch.state().unwrap();
        assert!(state.enabled && !state.listening && !state.fault.is_empty(), "{state:?}");
        let client = bus.client("websrv").await;
        let asks = |enabled| {
            let client = client.clone();
            tokio::spawn(async move { set(&client, Some(enabled), None).await })
        };

        let asked = asks(true);
        let Some(Call::SetSsh(request, reply)) = calls.next().await else { panic!("nothing was asked") };
        let (reply, result) = switch.choose(request.enabled, None, reply).expect("it is being opened");
        assert_eq!(result.as_ref().unwrap_err().code, ipc::Code::Unavailable);
        reply.send(result.map(|()| v1::SetSshResponse::default())).await;
        assert!(asked.await.unwrap().is_err());

        let asked = asks(false);
        let Some(Call::SetSsh(request, reply)) = calls.next().await else { panic!("nothing was asked") };
        assert!(switch.choose(request.enabled, None, reply).is_none(), "it is stored");
        let Turn::Set { reply, result } = switch.turn().await else { panic!("it goes on") };
        assert_eq!(result.unwrap().map(|switched| switched.what), Some("disabled"));
        reply.unwrap().send(Ok(v1::SetSshResponse { ssh: Some(v1::Ssh::default()) })).await;
        assert!(asked.await.unwrap().is_ok());
        let state = switch.state().unwrap();
        assert!(!state.enabled && !state.listening && state.fault.is_empty(), "{state:?}");
    });
}

#[test]
fn it_is_served_once_its_port_is_free_and_who_switches_it_meanwhile_is_refused() {
    runtime().block_on(async {
        let (bus, folder) = (Bus::start().await, tempfile::tempdir().unwrap());
        bus.create_bucket("ssh").await;
        let client = bus.client("websrv").await;
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let mut sshsrv = Running::start(&bus, folder.path(), &format!("listen = \"{address}\"")).await;
        let said = sshsrv.told.status().await;
        assert!(said.starts_with("SSH is not served: cannot listen for SSH at"), "{said}");
        sshsrv.told.is_ready().await;
        let ssh = get(&client).await;
        assert!(ssh.enabled && !ssh.listening && ssh.fault.contains("another program"), "{ssh:?}");
        let refused = set(&client, Some(true), None).await.unwrap_err();
        assert_eq!(refused.reason(), "SSH_PORT_UNAVAILABLE");
        drop(taken);
        assert_eq!(sshsrv.told.listens("ssh").await, address);
        assert_eq!(sshsrv.told.status().await, "");
        drop(greeted(address).await);
        sshsrv.stop().await;
    });
}
