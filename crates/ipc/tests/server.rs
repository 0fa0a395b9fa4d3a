//! The embedded server as its owner uses it: start, links, stopping.

use std::time::Duration;

use futures_util::StreamExt as _;
use ipc::server::{CloseReason, Server, ServerConfig, User};

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_official_client_asks_and_gets_its_answer() {
    let server = Server::start(ServerConfig::default()).unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut requests = client.queue_subscribe("rpc.Echo.>", "echo".to_owned()).await.unwrap();
    let replier = client.clone();
    let echo = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            replier.publish(request.reply.unwrap(), request.payload).await.unwrap();
        }
    });
    for size in [0usize, 1, 1000, 100_000, 1_000_000] {
        let answer = tokio::time::timeout(PATIENCE, client.request("rpc.Echo.Say", vec![7u8; size].into()))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer.payload.len(), size);
    }
    let nobody = client.request("rpc.Nobody.Home", "".into()).await.unwrap_err();
    assert_eq!(nobody.kind(), async_nats::RequestErrorKind::NoResponders);
    echo.abort();
    server.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn the_owner_sees_links_come_and_go() {
    let user = User { name: "powermgr".to_owned(), password: "p".to_owned(), permissions: None };
    let server = Server::start(ServerConfig { users: vec![user], ..ServerConfig::default() }).unwrap();
    let mut links = server.links();
    let client = async_nats::ConnectOptions::with_user_and_password("powermgr".to_owned(), "p".to_owned())
        .name("powermgr")
        .connect(server.url())
        .await
        .unwrap();
    let up = tokio::time::timeout(PATIENCE, links.recv()).await.unwrap().unwrap();
    assert_eq!((up.user.as_deref(), up.name.as_str(), up.closed), (Some("powermgr"), "powermgr", None));
    let connections = server.connections().await;
    assert_eq!(connections.len(), 1);
    assert_eq!(connections[0].client_id, up.client_id);
    assert_eq!(server.stats().await.connections, 1);
    drop(client);
    let down = tokio::time::timeout(PATIENCE, links.recv()).await.unwrap().unwrap();
    assert_eq!(down.closed, Some(CloseReason::ClientClosed));
    assert!(server.connections().await.is_empty());
}

#[tokio::test]
async fn stopping_tells_clients_first_and_frees_the_port() {
    let server = Server::start(ServerConfig::default()).unwrap();
    let addr = server.addr;
    let (told, mut events) = tokio::sync::mpsc::unbounded_channel();
    let client = async_nats::ConnectOptions::new()
        .event_callback(move |event| {
            let told = told.clone();
            async move {
                let _ = told.send(event);
            }
        })
        .connect(server.url())
        .await
        .unwrap();
    client.flush().await.unwrap();
    let stopping = tokio::spawn(server.shutdown(Duration::from_millis(50)));
    let lame_duck = async {
        while let Some(event) = events.recv().await {
            if matches!(event, async_nats::Event::LameDuckMode) {
                return;
            }
        }
        panic!("the client was not told");
    };
    tokio::time::timeout(PATIENCE, lame_duck).await.unwrap();
    tokio::time::timeout(PATIENCE, stopping).await.unwrap().unwrap();
    drop(client);
    let again = Server::start(ServerConfig { listen: addr, ..ServerConfig::default() }).unwrap();
    assert_eq!(again.addr, addr);
}
