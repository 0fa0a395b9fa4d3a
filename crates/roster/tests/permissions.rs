//! Each daemon with the credential it really gets: what it needs works, what it does not need is refused.

use std::collections::HashMap;
use std::time::Duration;

use busd::{JetStreamConfig, Server, ServerConfig, ServerHandle, jetstream};
use ipc::{
    CallContext, Client, Code, ConnectConfig, ConnectError, EventItem, Status, Value, ValueError, WatchItem,
};
use roster::Daemon;
use schema::rpc::{auth_service, power_service};
use schema::v1alpha1::{
    Event, ListAccountNamesRequest, ListAccountNamesResponse, PowerGetStateRequest, PowerGetStateResponse,
    VerifyTokenRequest,
};

const LONG: Duration = Duration::from_secs(20);

fn on_bus() -> impl Iterator<Item = Daemon> {
    Daemon::ALL.iter().copied().filter(|daemon| daemon.row().on_bus)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it happens within 20 s")
}

struct World {
    clients: HashMap<&'static str, Client>,
    server: ServerHandle,
    _store: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let store = tempfile::tempdir().unwrap();
        let streams = JetStreamConfig { dir: Some(store.path().to_owned()), ..JetStreamConfig::default() };
        let users = on_bus().map(|daemon| roster::user(daemon, format!("pw-{}", daemon.name()))).collect();
        let config = ServerConfig { users, extensions: vec![jetstream(streams)], ..ServerConfig::default() };
        let server = Server::start(config).unwrap();
        let mut clients = HashMap::new();
        for name in on_bus().map(Daemon::name) {
            let config = ConnectConfig::new(server.url(), name).with_credentials(name, format!("pw-{name}"));
            clients.insert(name, Client::connect(&config).await.unwrap());
        }
        let operator = &clients[Daemon::Operator.name()];
        for bucket in roster::buckets() {
            operator.create_bucket(bucket).await.unwrap();
        }
        operator.create_event_log().await.unwrap();
        Self { clients, server, _store: store }
    }

    fn get(&self, daemon: &str) -> Client {
        self.clients[daemon].clone()
    }
}

struct Text(String);

impl Value for Text {
    const VERSION: u16 = 1;
    fn encode(&self) -> Vec<u8> {
        self.0.clone().into_bytes()
    }
    fn decode(_: u16, bytes: &[u8]) -> Result<Self, ValueError> {
        Ok(Self(String::from_utf8_lossy(bytes).into_owned()))
    }
}

#[tokio::test]
async fn owners_use_their_buckets_and_nobody_else_does() {
    let world = World::start().await;
    for row in on_bus().map(Daemon::row) {
        for bucket in row.buckets {
            let bucket = world.get(row.name).bucket(bucket).await.unwrap();
            let revision = bucket.create("a.b", &Text("1".into())).await.unwrap();
            bucket.update("a.b", &Text("2".into()), revision).await.unwrap();
            bucket.put("c", &Text("3".into())).await.unwrap();
            assert_eq!(bucket.get::<Text>("a.b").await.unwrap().unwrap().value.0, "2");
            assert_eq!(bucket.keys().await.unwrap(), ["a.b", "c"]);
            let mut watch = bucket.watch::<Text>(">").await.unwrap();
            let mut seen = 0;
            while !matches!(soon(watch.next()).await.unwrap().unwrap(), WatchItem::Current) {
                seen += 1;
            }
            assert_eq!(seen, 2);
            bucket.delete("c").await.unwrap();
            assert!(matches!(soon(watch.next()).await, Some(Ok(WatchItem::Deleted { .. }))));
        }
    }
    // websrv guesses where usermgr keeps its secrets, and asks without being asked back.
    let spy = async_nats::ConnectOptions::with_user_and_password("websrv".into(), "pw-websrv".into())
        .custom_inbox_prefix("_INBOX.websrv")
        .request_timeout(Some(Duration::from_millis(300)))
        .connect(world.server.url())
        .await
        .unwrap();
    for subject in
        ["$JS.API.STREAM.INFO.KV_users", "$JS.API.DIRECT.GET.KV_users.$KV.users.a.b", "$KV.users.a.b"]
    {
        assert!(spy.request(subject, "".into()).await.is_err(), "{subject}");
    }
    let users = world.get("usermgr").bucket("users").await.unwrap();
    assert_eq!(users.get::<Text>("a.b").await.unwrap().unwrap().value.0, "2");
}

#[tokio::test]
async fn calls_go_along_the_graph_only() {
    let world = World::start().await;
    let mut power = world.get("powermgr").serve(&["PowerService"]).await.unwrap();
    let statemgr = world.get("statemgr");
    let call = tokio::spawn(async move {
        statemgr.call(power_service::GET_STATE, &PowerGetStateRequest::default(), &CallContext::new()).await
    });
    soon(power.next()).await.unwrap().reply(&PowerGetStateResponse::default()).await;
    soon(call).await.unwrap().unwrap();

    // The gateway has no business with powermgr, and powermgr none with credentials.
    let context = CallContext::new().with_timeout(LONG);
    let (websrv, powermgr) = (world.get("websrv"), world.get("powermgr"));
    let refused =
        soon(websrv.call(power_service::GET_STATE, &PowerGetStateRequest::default(), &context)).await;
    let text = "the bus does not permit websrv to call PowerService.GetState";
    assert_eq!(refused, Err(Status::internal(text)));
    let _auth = world.get("usermgr").serve(&["AuthService"]).await.unwrap();
    let refused =
        soon(powermgr.call(auth_service::VERIFY_TOKEN, &VerifyTokenRequest::default(), &context)).await;
    let text = "the bus does not permit powermgr to call AuthService.VerifyToken";
    assert_eq!(refused, Err(Status::internal(text)));
}

#[tokio::test]
async fn who_asks_a_single_method_calls_no_other() {
    let world = World::start().await;
    let mut users = world.get("usermgr").serve(&["AuthService"]).await.unwrap();
    let eventlog = world.get("eventlog");
    let context = CallContext::new().with_timeout(LONG);
    let call = tokio::spawn({
        let (eventlog, context) = (eventlog.clone(), context.clone());
        async move { eventlog.call(auth_service::LIST_ACCOUNT_NAMES, &ListAccountNamesRequest {}, &context).await }
    });
    let asked = soon(users.next()).await.unwrap();
    asked.reply(&ListAccountNamesResponse::default()).await;
    soon(call).await.unwrap().unwrap();
    let refused =
        soon(eventlog.call(auth_service::VERIFY_TOKEN, &VerifyTokenRequest::default(), &context)).await;
    let text = "the bus does not permit eventlog to call AuthService.VerifyToken";
    assert_eq!(refused, Err(Status::internal(text)));
}

#[tokio::test]
async fn nobody_takes_requests_meant_for_another() {
    let world = World::start().await;
    let mut thief = world.get("powermgr").serve(&["AuthService"]).await.unwrap();
    let gateway = world.get("websrv");
    let context = CallContext::new().with_timeout(Duration::from_secs(5));
    let missing =
        gateway.call(auth_service::VERIFY_TOKEN, &VerifyTokenRequest::default(), &context).await.unwrap_err();
    assert_eq!(missing.code, Code::Unavailable, "{missing}");
    assert!(missing.message.starts_with("usermgr is not running"));
    let stolen = tokio::time::timeout(Duration::from_millis(50), thief.next()).await;
    assert!(!matches!(stolen, Ok(Some(_))));
}

#[tokio::test]
async fn events_come_from_their_domain_only() {
    let world = World::start().await;
    let mut seen = world.get("websrv").subscribe_events("event.>").await.unwrap();
    let event = |domain: &str| Event {
        domain: domain.into(),
        component: "x".into(),
        what: "state".into(),
        ..Event::default()
    };
    // Refused by the server, which tells the sender and nobody else.
    world.get("powermgr").publish_event(&event("user")).await.unwrap();
    world.get("powermgr").flush().await.unwrap();
    for row in on_bus().map(Daemon::row) {
        for domain in row.events {
            world.get(row.name).publish_event(&event(domain)).await.unwrap();
            assert_eq!(soon(seen.next()).await, Some(EventItem::Event(event(domain))), "{}", row.name);
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_at_once() {
    let world = World::start().await;
    let config = ConnectConfig::new(world.server.url(), "powermgr").with_credentials("powermgr", "guess");
    assert!(
        matches!(soon(Client::connect(&config)).await, Err(ConnectError::Refused { user, .. }) if user == "powermgr")
    );
}
