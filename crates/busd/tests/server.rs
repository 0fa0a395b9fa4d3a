//! The embedded server as its owner uses it: start, links, stopping.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use busd::{CloseReason, Limits, Server, ServerConfig, User};
use futures_util::StreamExt as _;

const PATIENCE: Duration = Duration::from_secs(60);

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

/// All places of an open bus, and those of one with users: connections that say nothing do not keep out who has something
/// to say, however many there are and however many come meanwhile.
#[tokio::test]
async fn bare_connections_keep_nobody_out() {
    let user = User { name: "powermgr".to_owned(), password: "p".to_owned(), permissions: None };
    for users in [vec![user], Vec::new()] {
        let limits = Limits { max_connections: 128, ..Limits::default() };
        let server = Server::start(ServerConfig { users, limits, ..ServerConfig::default() }).unwrap();
        let mut bare: Vec<_> = (0..300).map(|_| TcpStream::connect(server.addr).unwrap()).collect();
        let flood = tokio::task::spawn_blocking({
            let addr = server.addr;
            move || (0..1_000).filter_map(|_| TcpStream::connect(addr).ok()).count()
        });
        for _ in 0..5 {
            let options =
                async_nats::ConnectOptions::with_user_and_password("powermgr".to_owned(), "p".to_owned());
            let client =
                tokio::time::timeout(PATIENCE, options.connect(server.url())).await.unwrap().unwrap();
            client.flush().await.unwrap();
        }
        assert_eq!(flood.await.unwrap(), 1_000);
        // The first of them was told why.
        let mut said = String::new();
        bare[0].set_read_timeout(Some(PATIENCE)).unwrap();
        bare[0].read_to_string(&mut said).unwrap();
        assert!(
            said.contains("INFO ") && said.ends_with("-ERR 'maximum connections exceeded'\r\n"),
            "{said}"
        );
        server.shutdown(Duration::ZERO).await;
    }
}

/// Twelve receivers that stand still, more than there is room for, and one that reads: it gets everything.
#[tokio::test]
async fn a_reader_gets_everything_beside_those_that_stand_still() {
    let limits = Limits { max_memory: 4 << 20, max_pending: 1 << 20, ..Limits::default() };
    let server = Server::start(ServerConfig { limits, ..ServerConfig::default() }).unwrap();
    let stuck: Vec<_> = (0..12)
        .map(|_| {
            let mut stream = TcpStream::connect(server.addr).unwrap();
            stream.write_all(b"CONNECT {\"verbose\":false}\r\nSUB x 1\r\nPING\r\n").unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"PONG\r\n") {
                let mut bytes = [0; 512];
                let n = stream.read(&mut bytes).unwrap();
                seen.extend_from_slice(&bytes[..n]);
            }
            stream
        })
        .collect();
    let reader = async_nats::connect(server.url()).await.unwrap();
    let mut messages = reader.subscribe("x").await.unwrap();
    reader.flush().await.unwrap();
    let sender = async_nats::connect(server.url()).await.unwrap();
    let send = tokio::spawn(async move {
        // Three times what the sockets of those that stand still hold.
        for n in 0..1_200_u32 {
            sender.publish("x", [&n.to_be_bytes()[..], &[0; 16_000]].concat().into()).await.unwrap();
        }
        sender.flush().await.unwrap();
    });
    for n in 0..1_200_u32 {
        let message =
            tokio::time::timeout(PATIENCE, messages.next()).await.unwrap().expect("still connected");
        assert_eq!(message.payload[..4], n.to_be_bytes());
    }
    send.await.unwrap();
    assert!(server.stats().await.slow_consumers > 0);
    drop(stuck);
}

/// Speaks until the bus or the test ends it, and reads what comes. Gives the number of bytes it could say.
fn babble(url: &str, user: &str, line: impl Fn(u32) -> String) -> std::thread::JoinHandle<u64> {
    let connect = format!("CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"p\"}}\r\n");
    let mut tcp = TcpStream::connect(url.trim_start_matches("nats://")).unwrap();
    let mut ears = tcp.try_clone().unwrap();
    std::thread::spawn(move || while matches!(ears.read(&mut [0; 4096]), Ok(1..)) {});
    let much: String = (0..5_000).map(line).collect();
    std::thread::spawn(move || {
        let mut said = 0;
        tcp.write_all(connect.as_bytes()).unwrap();
        while tcp.write_all(much.as_bytes()).is_ok() {
            said += much.len() as u64;
        }
        said
    })
}

#[tokio::test]
async fn a_daemon_that_was_taken_over_stands_in_nobody_s_way() {
    let rules = |allow: &str| busd::Rules { allow: vec![allow.to_owned()], deny: Vec::new() };
    let user = |name: &str, publish: &str, subscribe: &str| User {
        name: name.to_owned(),
        password: "p".to_owned(),
        permissions: Some(busd::Permissions {
            publish: rules(publish),
            subscribe: rules(subscribe),
            allow_responses: Some(busd::Responses::default()),
        }),
    };
    let users = vec![
        user("owner", "event.>", "rpc.>"),
        user("asker", "rpc.>", "_INBOX.asker.>"),
        user("bad", "rpc.>", "_INBOX.bad.>"),
    ];
    let server = Server::start(ServerConfig { users, ..ServerConfig::default() }).unwrap();
    let connect = |name: &'static str| {
        async_nats::ConnectOptions::with_user_and_password(name.to_owned(), "p".to_owned())
            .custom_inbox_prefix(format!("_INBOX.{name}"))
            .connect(server.url())
    };
    let (owner, asker) = (connect("owner").await.unwrap(), connect("asker").await.unwrap());
    let handled = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = std::sync::Arc::clone(&handled);
    let mut requests = owner.queue_subscribe("rpc.Host.>", "owner".to_owned()).await.unwrap();
    let replier = owner.clone();
    owner.flush().await.unwrap();
    let owning = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            replier.publish(request.reply.unwrap(), request.payload).await.unwrap();
        }
    });
    // Questions; subscriptions that come and go; what it may not say; each on as many connections as it likes.
    let floods: Vec<_> = (0..8)
        .flat_map(|_| {
            [
                babble(&server.url(), "bad", |n| format!("PUB rpc.Host.Get _INBOX.bad.{n} 0\r\n\r\n")),
                babble(&server.url(), "bad", |n| format!("SUB _INBOX.bad.{n} 1\r\nUNSUB 1\r\n")),
                babble(&server.url(), "bad", |_| "PUB event.host.system 0\r\n\r\n".to_owned()),
            ]
        })
        .collect();
    let mut ahead = Vec::new();
    while ahead.len() < 100 || handled.load(std::sync::atomic::Ordering::Relaxed) < 5_000 {
        assert!(ahead.len() < 20_000, "the flood does not come through");
        let was = handled.load(std::sync::atomic::Ordering::Relaxed);
        let answer = asker.request("rpc.Host.Get", "".into());
        tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
        ahead.push(handled.load(std::sync::atomic::Ordering::Relaxed) - was);
    }
    // What is under way, and what comes until the answer is read: not a queue full.
    ahead.sort_unstable();
    assert!(ahead[ahead.len() / 2] < 400 && ahead[ahead.len() - 1] < 2_000, "{ahead:?}");
    assert_eq!(server.stats().await.slow_consumers, 0);
    let users: Vec<_> = server.connections().await.into_iter().filter_map(|link| link.user).collect();
    assert_eq!(users.iter().filter(|user| *user != "bad").count(), 2);
    owning.abort();
    server.shutdown(Duration::ZERO).await;
    for flood in floods {
        assert!(flood.join().unwrap() > 0);
    }
}
