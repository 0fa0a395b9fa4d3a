//! Virtual media of the running suite: discs from a server, from a client and from the store, and what becomes of them when something dies.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use media::Notice;
use serde_json::{Value, json};
use testkit::{
    ADMIN_PASSWORD, Client, Console, Credential, FileSession, ImageServer, Suite, bootable, eventually,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

/// The binary under test; the client is built beside it.
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// Longer than a daemon takes to come back, and than a host waits for a dead disc.
const LONG: Duration = Duration::from_secs(90);
const MEDIA: &str = "/api/v1alpha1/media";
const REDFISH: &str = "/redfish/v1/Managers/bmc/VirtualMedia/cd";

type Result<T = ()> = anyhow::Result<T>;

/// A CD of this volume, and some MiB that nobody has read yet.
fn image(name: &str) -> Vec<u8> {
    let mut image = bootable::cd(name);
    let length = 4 << 20;
    image.extend((image.len()..length).map(|at| u8::try_from(at % 251).unwrap_or(0)));
    image
}

fn authorization() -> String {
    Credential::Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned()).header().unwrap_or_default()
}

async fn start() -> Result<Suite> {
    Suite::builder(U_BMC).set("mediasrv.allow_http=true").set("mediasrv.allow_local=true").start().await
}

async fn slot(admin: &Client, name: &str) -> Result<Value> {
    let reply = admin.get(&format!("{MEDIA}/{name}")).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    Ok(reply.json()?["slot"].clone())
}

async fn until_state(admin: &Client, name: &str, state: &str) -> Result {
    eventually(&format!("{name} is {state}"), LONG, || async {
        Ok(slot(admin, name).await.is_ok_and(|slot| slot["state"] == format!("MEDIA_STATE_{state}")))
    })
    .await
}

/// By what an image may come, as Redfish says it.
async fn offered(admin: &Client) -> Result<Value> {
    let mut shown = admin.get(REDFISH).await?.json()?;
    let insert = &mut shown["Actions"]["#VirtualMedia.InsertMedia"];
    Ok(insert["TransferProtocolType@Redfish.AllowableValues"].take())
}

async fn insert(admin: &Client, name: &str, what: Value) -> Result<(u16, String)> {
    let reply = admin.post(&format!("{MEDIA}/{name}/insert"), &what).await?;
    Ok((reply.status, reply.text()))
}

async fn eject(admin: &Client, name: &str) -> Result {
    let reply = admin.post(&format!("{MEDIA}/{name}/eject"), &json!({})).await?;
    ensure!(reply.status == 200 && reply.text().contains("MEDIA_STATE_EMPTY"), "{}", reply.text());
    Ok(())
}

/// Whether all of these kinds of events are in the log.
async fn until_told(admin: &Client, kinds: &[&str]) -> Result {
    eventually(&format!("the log has {kinds:?}"), LONG, || async {
        let events = admin.get("/api/v1alpha1/events?domain=media").await?.text();
        Ok(kinds.iter().all(|kind| events.contains(&format!("MEDIA_CHANGE_KIND_{kind}"))))
    })
    .await
}

async fn serve(suite: &Suite, name: &str, file: Vec<u8>) -> Result<std::result::Result<FileSession, u16>> {
    let path = format!("{MEDIA}/cd/socket?imageName={name}&sizeBytes={}&modifiedMs=5", file.len());
    FileSession::open(suite.https(), &path, &[("authorization", &authorization())], file).await
}

async fn upload(suite: &Suite, name: &str, file: Vec<u8>) -> Result {
    let path = format!("/api/v1alpha1/media-files/{name}/socket?sizeBytes={}", file.len());
    let opened =
        FileSession::open(suite.https(), &path, &[("authorization", &authorization())], file).await?;
    let mut session = opened.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    session.told(|notice| *notice == Notice::Stored).await.map(drop)
}

#[tokio::test]
async fn a_disc_at_a_server_is_read_by_the_host_and_outlasts_the_daemon() -> Result {
    let suite = start().await?;
    let (admin, mut twin) = (suite.admin(), suite.twin().await?);
    let listed = admin.get(MEDIA).await?.json()?;
    ensure!(listed["slots"].as_array().is_some_and(|slots| slots.len() == 2), "{listed}");
    let content = image("FAR");
    let server = ImageServer::start(content.clone(), None).await?;
    let url = server.url("http", "far.iso?token=secret");

    let (status, text) =
        insert(&admin, "cd", json!({ "url": url, "sourceUsername": "ann", "sourcePassword": "hush" }))
            .await?;
    ensure!(status == 200, "{text}");
    let shown = slot(&admin, "cd").await?;
    ensure!(shown["state"] == "MEDIA_STATE_INSERTED" && shown["imageName"] == "far.iso", "{shown}");
    ensure!(
        !text.contains("hush") && !text.contains("token") && !shown.to_string().contains("hush"),
        "{text}"
    );
    let asked = server.asked();
    let again =
        insert(&admin, "cd", json!({ "url": url, "sourceUsername": "ann", "sourcePassword": "hush" }))
            .await?;
    ensure!(again.0 == 200 && server.asked() == asked, "what is so already changes nothing: {again:?}");
    let other = insert(&admin, "cd", json!({ "url": server.url("http", "other.iso") })).await?;
    ensure!(other.0 >= 400 && other.1.contains("eject it first"), "{other:?}");
    ensure!(twin.read_drive("cd", 32_769, 5).await?.as_deref() == Ok(&b"CD001"[..]));
    let from = 1 << 20;
    ensure!(twin.read_drive("cd", from, 4096).await?.as_deref() == Ok(&content[1 << 20..][..4096]));

    // A daemon that was killed offers it again, and says so.
    suite.kill_daemon("mediasrv")?;
    until_told(&admin, &["INSERTED", "REATTACHED"]).await?;
    until_state(&admin, "cd", "INSERTED").await?;
    ensure!(twin.read_drive("cd", from, 4096).await?.as_deref() == Ok(&content[1 << 20..][..4096]));

    // The plug of the server is pulled: the host has an error, within its bound, and nothing hangs.
    let address = server.address;
    drop(server);
    let begun = tokio::time::Instant::now();
    let dead = twin.read_drive("cd", 3 << 20, 512).await?;
    ensure!(dead.as_ref().is_err_and(|why| why.contains("I/O error 5")), "{dead:?}");
    ensure!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    until_state(&admin, "cd", "NOT_READY").await?;
    // It is plugged in again.
    let server = ImageServer::start_at(address, content.clone(), None).await?;
    until_state(&admin, "cd", "INSERTED").await?;
    ensure!(twin.read_drive("cd", 3 << 20, 512).await?.as_deref() == Ok(&content[3 << 20..][..512]));
    // And pulled while a question is open; ejecting waits for nobody, above all not until the question is given up, which takes 12 s.
    server.silence(true);
    let before = server.asked();
    let waits = async { twin.read_drive("cd", 2 << 20, 512).await };
    let ejects = async {
        eventually("the question is open", LONG, || async { Ok(server.asked() > before) }).await?;
        let begun = tokio::time::Instant::now();
        eject(&admin, "cd").await?;
        ensure!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        Ok(())
    };
    let (read, ejected) = tokio::join!(waits, ejects);
    ejected?;
    ensure!(read?.is_err());
    let empty = twin.read_drive("cd", 0, 512).await?;
    ensure!(empty.as_ref().is_err_and(|why| why == "no medium"), "{empty:?}");

    // A host may eject, too.
    server.silence(false);
    let (status, text) = insert(&admin, "usb", json!({ "url": server.url("http", "a.img") })).await?;
    ensure!(status == 200, "{text}");
    twin.eject_drive("usb").await?;
    until_state(&admin, "usb", "EMPTY").await?;
    until_told(&admin, &["NOT_READY", "READY", "EJECTED"]).await?;

    let gone = insert(&admin, "cd", json!({ "url": "http://127.0.0.1:9/x.iso" })).await?;
    ensure!(gone.0 >= 400 && gone.1.contains("MEDIA_SOURCE_FAILED"), "{gone:?}");
    until_told(&admin, &["INSERT_FAILED"]).await?;
    suite.stop().await
}

#[tokio::test]
async fn a_client_serves_a_disc_and_another_goes_on_where_it_ended() -> Result {
    let suite = start().await?;
    let (admin, mut twin) = (suite.admin(), suite.twin().await?);
    let content = image("NEAR");
    let open = async || {
        let opened = serve(&suite, "near.iso", content.clone()).await?;
        opened.map_err(|status| anyhow::anyhow!("refused with {status}"))
    };
    let mut tab = open().await?;
    tab.told(|notice| *notice == Notice::Inserted).await?;
    let read = tokio::select! {
        read = twin.read_drive("cd", 1 << 20, 4096) => read?,
        () = tab.serve() => anyhow::bail!("the session ended"),
    };
    ensure!(read.as_deref() == Ok(&content[1 << 20..][..4096]));
    ensure!(tab.served < 1 << 20, "blocks and not the whole: {}", tab.served);
    // Somebody else's disc is in the way.
    ensure!(serve(&suite, "other.iso", content.clone()).await?.err().is_some());

    // The tab is closed: what was not read is an error until the same file is served again.
    drop(tab);
    until_state(&admin, "cd", "NOT_READY").await?;
    let mut tab = open().await?;
    tab.told(|notice| *notice == Notice::Inserted).await?;
    until_state(&admin, "cd", "INSERTED").await?;
    let read = tokio::select! {
        read = twin.read_drive("cd", 2 << 20, 4096) => read?,
        () = tab.serve() => anyhow::bail!("the session ended"),
    };
    ensure!(read.as_deref() == Ok(&content[2 << 20..][..4096]));

    // So it is when the daemons between them die.
    for daemon in ["mediasrv", "websrv"] {
        suite.kill_daemon(daemon)?;
        tab.serve().await;
        eventually("it is served again", LONG, || async {
            let Ok(Ok(mut new)) = serve(&suite, "near.iso", content.clone()).await else { return Ok(false) };
            Ok(new.told(|notice| *notice == Notice::Inserted).await.is_ok())
        })
        .await?;
        until_state(&admin, "cd", "NOT_READY").await?;
        tab = open().await?;
        tab.told(|notice| *notice == Notice::Inserted).await?;
        until_state(&admin, "cd", "INSERTED").await?;
    }
    let ended = async { tab.told(|notice| matches!(notice, Notice::End { .. })).await };
    let (ended, ejected) = tokio::join!(ended, eject(&admin, "cd"));
    ejected?;
    ensure!(ended? == Notice::End { reason: "it was ejected".to_owned() });
    suite.stop().await
}

#[tokio::test]
async fn a_file_is_brought_into_the_store_and_inserted_from_there() -> Result {
    let suite = start().await?;
    let (admin, mut twin) = (suite.admin(), suite.twin().await?);
    let content = image("KEPT");
    upload(&suite, "kept.iso", content.clone()).await?;
    let listed = admin.get("/api/v1alpha1/media-files").await?.json()?;
    ensure!(listed["files"][0]["name"] == "kept.iso" && listed["files"][0]["complete"] == true, "{listed}");
    let (status, text) = insert(&admin, "usb", json!({ "storeFile": "kept.iso", "writable": true })).await?;
    ensure!(status == 200, "{text}");
    ensure!(twin.read_drive("usb", 3 << 20, 4096).await?.as_deref() == Ok(&content[3 << 20..][..4096]));
    let path = "/api/v1alpha1/media-files/kept.iso";
    let delete = async || admin.send(http::Method::DELETE, path, &[], Default::default()).await;
    ensure!(delete().await?.status >= 400, "what is inserted is not deleted");
    // Nor written by two hosts' drives, nor replaced.
    let second = insert(&admin, "cd", json!({ "storeFile": "kept.iso" })).await?;
    ensure!(second.0 >= 400 && second.1.contains("another drive"), "{second:?}");
    ensure!(upload(&suite, "kept.iso", content.clone()).await.is_err());
    let listed = admin.get("/api/v1alpha1/media-files").await?.json()?;
    ensure!(listed["files"][0]["inserted"] == 1, "{listed}");
    suite.kill_daemon("mediasrv")?;
    until_told(&admin, &["UPLOADED", "REATTACHED"]).await?;
    until_state(&admin, "usb", "INSERTED").await?;
    ensure!(twin.read_drive("usb", 32_769, 5).await?.as_deref() == Ok(&b"CD001"[..]));
    eject(&admin, "usb").await?;
    // What was answered holds over a daemon that is killed right then.
    suite.kill_daemon("mediasrv")?;
    eventually("the drive is asked again", LONG, || async {
        Ok(slot(&admin, "usb").await.is_ok_and(|slot| slot["state"] == "MEDIA_STATE_EMPTY"))
    })
    .await?;
    ensure!(twin.read_drive("usb", 0, 512).await?.is_err(), "nothing is in it");
    ensure!(delete().await?.status == 200);
    let refused = insert(&admin, "cd", json!({ "storeFile": "kept.iso" })).await?;
    ensure!(refused.0 >= 400 && refused.1.contains("no such file"), "{refused:?}");
    let refused = insert(&admin, "cd", json!({ "storeFile": "../slots.json" })).await?;
    ensure!(refused.0 >= 400, "{refused:?}");

    // Who may not.
    let body = json!({ "user": { "username": "reader", "role": "ReadOnly", "enabled": true }, "password": "seven brass doorknobs" });
    ensure!(admin.post("/api/v1alpha1/users", &body).await?.status == 200);
    let reader = admin.with(Credential::Basic("reader".to_owned(), "seven brass doorknobs".to_owned()));
    ensure!(reader.get(MEDIA).await?.status == 200);
    ensure!(insert(&reader, "cd", json!({ "url": "https://192.0.2.1/x.iso" })).await?.0 == 403);
    ensure!(admin.get(&format!("{MEDIA}/cd/socket?imageName=x&sizeBytes=1")).await?.status == 426);
    suite.stop().await
}

#[tokio::test]
async fn servers_are_verified_and_the_controller_itself_is_none() -> Result {
    // Which is the default.
    let suite = Suite::builder(U_BMC).start().await?;
    let admin = suite.admin();
    for (url, why) in [
        ("http://images.example/x.iso", "allow_http"),
        ("https://127.0.0.1/x.iso", "of the controller itself"),
        ("https://[::1]/x.iso", "of the controller itself"),
        ("https://169.254.169.254/x.iso", "of the controller itself"),
        ("ftp://images.example/x.iso", "url"),
        ("https://ann:hush@images.example/x.iso", "it has a login in it"),
    ] {
        let refused = insert(&admin, "cd", json!({ "url": url })).await?;
        ensure!(refused.0 == 400 && refused.1.contains(why), "{url}: {refused:?}");
    }
    ensure!(offered(&admin).await? == json!(["HTTPS"]), "what is refused is not offered");
    suite.stop().await?;

    let (certificate, acceptor) = self_signed()?;
    let server = ImageServer::start(image("TLS"), Some(acceptor)).await?;
    let url = server.url("https", "tls.iso");
    let dir = tempfile::tempdir()?;
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, certificate)?;
    for (with_ca, verify, works) in [(false, true, false), (false, false, true), (true, true, true)] {
        let mut builder = Suite::builder(U_BMC).set("mediasrv.allow_local=true");
        if with_ca {
            builder = builder.set(format!("mediasrv.ca_file={}", ca.display()));
        }
        let suite = builder.start().await?;
        let (status, text) =
            insert(&suite.admin(), "cd", json!({ "url": url, "verifyCertificate": verify })).await?;
        ensure!((status == 200) == works, "{with_ca} {verify}: {text}");
        suite.stop().await?;
    }
    Ok(())
}

/// A certificate for this machine that nobody vouches for, as PEM, and what a server does with it.
fn self_signed() -> Result<(String, TlsAcceptor)> {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certified.cert.der().clone()],
            tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der())
                .map_err(anyhow::Error::msg)?,
        )?;
    Ok((certified.cert.pem(), TlsAcceptor::from(Arc::new(config))))
}

/// A server of one image that knows no ranges. It sends half of it, and the rest once it is told to.
async fn whole_server(
    content: Vec<u8>,
    go_on: Arc<tokio::sync::Semaphore>,
) -> Result<(std::net::SocketAddr, tokio::task::JoinHandle<()>)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (content, go_on) = (content.clone(), Arc::clone(&go_on));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let (first, rest) = content.split_at(content.len() / 2);
                let said = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", content.len());
                // A client that goes is no concern of the server.
                let _ = stream.write_all(said.as_bytes()).await;
                let _ = stream.write_all(first).await;
                if let Ok(permit) = go_on.acquire().await {
                    permit.forget();
                    let _ = stream.write_all(rest).await;
                }
            });
        }
    });
    Ok((address, task))
}

#[tokio::test]
async fn an_image_of_a_server_without_ranges_is_copied_into_the_store_and_inserted() -> Result {
    let suite = start().await?;
    let (admin, mut twin) = (suite.admin(), suite.twin().await?);
    let content = image("WHOLE");
    let go_on = Arc::new(tokio::sync::Semaphore::new(0));
    let (address, server) = whole_server(content.clone(), Arc::clone(&go_on)).await?;
    let url = format!("http://{address}/images/whole%20disc.iso?token=secret");
    let direct = insert(&admin, "cd", json!({ "url": url })).await?;
    ensure!(direct.0 >= 400 && direct.1.contains("no ranges"), "{direct:?}");

    // By Redfish it is a task, whose progress is shown, as is the drive's.
    let action = format!("{REDFISH}/Actions/VirtualMedia.InsertMedia");
    let reply = admin.post(&action, &json!({ "Image": url, "TransferMethod": "Upload" })).await?;
    ensure!(reply.status == 202, "{} {}", reply.status, reply.text());
    let monitor = reply.headers.get("location").context("no place")?.to_str()?.to_owned();
    let task = monitor.replace("TaskMonitors", "Tasks");
    eventually("half of it is there", LONG, || async {
        let task = admin.get(&task).await?.json()?;
        Ok(task["TaskState"] == "Running" && task["PercentComplete"].as_u64().is_some_and(|done| done >= 40))
    })
    .await?;
    ensure!(admin.get(&monitor).await?.status == 202);
    let shown = slot(&admin, "cd").await?;
    ensure!(shown["state"] == "MEDIA_STATE_INSERTING" && shown["imageName"] == "whole_disc.iso", "{shown}");
    ensure!(!admin.get(MEDIA).await?.text().contains("secret"));
    let second = insert(&admin, "cd", json!({ "storeFile": "other.iso" })).await?;
    ensure!(second.0 >= 400 && second.1.contains("eject it first"), "{second:?}");

    // To eject ends it, and leaves nothing, nor what was said of the next server meanwhile.
    let unverified = json!({ "verifyCertificate": false }).to_string();
    let headers = [("content-type", "application/json")];
    let set = admin.send(http::Method::PATCH, &format!("{MEDIA}/cd"), &headers, unverified.into()).await?;
    ensure!(set.status == 200, "{} {}", set.status, set.text());
    // What is false is left out.
    ensure!(slot(&admin, "cd").await?["verifyCertificate"].is_null());
    eject(&admin, "cd").await?;
    ensure!(slot(&admin, "cd").await?["verifyCertificate"] == true, "it is for the next one as well");
    ensure!(admin.get(&task).await?.json()?["TaskState"] == "Cancelled");
    eventually("the store is empty", LONG, || async {
        let files = admin.get("/api/v1alpha1/media-files").await?.json()?;
        Ok(files["files"].as_array().is_none_or(Vec::is_empty))
    })
    .await?;

    // Once more, to its end. Those who went wait for their other half, too.
    go_on.add_permits(16);
    let (status, text) = insert(&admin, "cd", json!({ "url": url, "copy": true })).await?;
    ensure!(status == 200 && text.contains("MEDIA_COPY_STATE_RUNNING"), "{text}");
    until_state(&admin, "cd", "INSERTED").await?;
    let shown = slot(&admin, "cd").await?;
    ensure!(shown["source"] == "MEDIA_SOURCE_STORE", "{shown}");
    ensure!(twin.read_drive("cd", 1 << 20, 4096).await?.as_deref() == Ok(&content[1 << 20..][..4096]));
    eventually("the copy is over", LONG, || async {
        let copies = admin.get(MEDIA).await?.json()?["copies"].clone();
        Ok(copies[0]["state"] == "MEDIA_COPY_STATE_DONE" && copies[1]["state"] == "MEDIA_COPY_STATE_STOPPED")
    })
    .await?;

    // A server that is gone: it fails, with the reason.
    eject(&admin, "cd").await?;
    server.abort();
    let (status, text) =
        insert(&admin, "cd", json!({ "url": "http://127.0.0.1:9/x.iso", "copy": true })).await?;
    ensure!(status == 200, "{text}");
    until_told(&admin, &["INSERTED", "INSERT_FAILED"]).await?;
    let copies = admin.get(MEDIA).await?.json()?["copies"].clone();
    ensure!(
        copies[0]["state"] == "MEDIA_COPY_STATE_FAILED"
            && !copies[0]["fault"].as_str().unwrap_or_default().is_empty(),
        "{copies}"
    );
    // Each copy was told as it began and as it ended, oldest first here, as a task that is named by both.
    eventually("begin and end of each copy are told", LONG, || async {
        let told = admin.get("/api/v1alpha1/events?domain=media&what=copy").await?.json()?;
        let all = told["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        let changes: Vec<&Value> = all.iter().rev().map(|event| &event["taskChange"]).collect();
        let kinds: Vec<&str> = changes.iter().filter_map(|change| change["kind"].as_str()).collect();
        let named = changes.chunks(2).all(|pair| {
            pair.iter().all(|change| change["taskId"].is_string() && change["taskId"] == pair[0]["taskId"])
        });
        let ends = ["CANCELLED", "COMPLETED", "FAILED"];
        let wanted = ends.iter().flat_map(|end| ["STARTED", *end]);
        Ok(named && kinds.iter().copied().eq(wanted.map(|kind| format!("TASK_CHANGE_KIND_{kind}"))))
    })
    .await?;
    // The next mediasrv knows none of them, and their tasks are there all the same.
    let killed = suite.kill_daemon("mediasrv")?;
    eventually("another mediasrv answers", LONG, || async {
        let copies = admin.get(MEDIA).await?.json()?["copies"].clone();
        Ok(suite.pid_of("mediasrv").is_some_and(|pid| pid != killed)
            && copies.as_array().is_none_or(Vec::is_empty))
    })
    .await?;
    for (copy, state, monitored) in
        [(&copies[0], "Exception", 409), (&copies[1], "Completed", 204), (&copies[2], "Cancelled", 409)]
    {
        let id = copy["id"].as_str().unwrap_or_default();
        let task = admin.get(&format!("/redfish/v1/TaskService/Tasks/{id}")).await?.json()?;
        ensure!(task["TaskState"] == state && task["EndTime"].is_string(), "{copy}: {task}");
        let monitor = admin.get(&format!("/redfish/v1/TaskService/TaskMonitors/{id}")).await?;
        ensure!(monitor.status == monitored, "{copy}: {}", monitor.status);
    }
    suite.stop().await
}

/// Who follows the task of a copy hears of its end, also when that is the daemon's.
#[tokio::test]
async fn a_copy_that_ends_with_its_daemon_is_told() -> Result {
    let suite = start().await?;
    let admin = suite.admin();
    let never = Arc::new(tokio::sync::Semaphore::new(0));
    let (address, _server) = whole_server(image("ENDS"), never).await?;
    let url = format!("http://{address}/ends.iso");
    let (status, text) = insert(&admin, "cd", json!({ "url": url, "copy": true })).await?;
    ensure!(status == 200 && text.contains("MEDIA_COPY_STATE_RUNNING"), "{text}");
    until_state(&admin, "cd", "INSERTING").await?;
    testkit::signal(suite.pid_of("mediasrv").context("no mediasrv")?, "TERM")?;
    eventually("the end of the copy is told", LONG, || async {
        let told = admin.get("/api/v1alpha1/events?domain=media&what=copy").await?.json()?;
        // The newest first.
        let [end, begin] = told["events"].as_array().map(Vec::as_slice).unwrap_or_default() else {
            return Ok(false);
        };
        let (ended, began) = (&end["taskChange"], &begin["taskChange"]);
        ensure!(began["kind"] == "TASK_CHANGE_KIND_STARTED" && began["taskId"].is_string(), "{told}");
        ensure!(ended["taskId"] == began["taskId"], "{told}");
        ensure!(ended["kind"] == "TASK_CHANGE_KIND_CANCELLED", "{told}");
        ensure!(begin["principal"] == "admin" && end["principal"].is_null(), "{told}");
        Ok(true)
    })
    .await?;
    // The next daemon knows nothing of it.
    until_state(&admin, "cd", "EMPTY").await?;
    suite.stop().await
}

#[tokio::test]
async fn redfish_inserts_and_ejects_as_clients_expect() -> Result {
    let suite = start().await?;
    let admin = suite.admin();
    let server = ImageServer::start(image("RF"), None).await?;
    let url = server.url("http", "rf.iso");
    let get = async |path: &str| admin.get(path).await?.json();
    let system = get("/redfish/v1/Systems/system/VirtualMedia").await?;
    ensure!(system["Members@odata.count"] == 2, "{system}");
    let empty = get(REDFISH).await?;
    ensure!(empty["Inserted"] == false && empty["ConnectedVia"] == "NotConnected", "{empty}");
    ensure!(
        empty["Image"].is_null() && empty.get("Image").is_some() && empty["WriteProtected"] == true,
        "{empty}"
    );
    ensure!(offered(&admin).await? == json!(["HTTPS", "HTTP"]), "{empty}");
    let action = |name: &str| format!("{REDFISH}/Actions/VirtualMedia.{name}");
    let body = json!({ "Image": url, "Inserted": true, "WriteProtected": true, "UserName": "ann", "Password": "hush" });
    for _ in 0..2 {
        let reply = admin.post(&action("InsertMedia"), &body).await?;
        ensure!(reply.status == 204, "{} {}", reply.status, reply.text());
    }
    let shown = get(REDFISH).await?;
    ensure!(shown["Inserted"] == true && shown["Image"] == url && shown["ImageName"] == "rf.iso", "{shown}");
    ensure!(shown["ConnectedVia"] == "URI" && shown["TransferProtocolType"] == "HTTP", "{shown}");
    ensure!(!shown.to_string().contains("hush"), "{shown}");
    // Clients eject twice, with a body and without.
    for _ in 0..2 {
        let reply = admin.post(&action("EjectMedia"), &json!({})).await?;
        ensure!(reply.status == 204, "{} {}", reply.status, reply.text());
    }
    let patch = async |body: Value| {
        let headers = [("content-type", "application/json")];
        let path = "/redfish/v1/Systems/system/VirtualMedia/cd";
        admin.send(http::Method::PATCH, path, &headers, body.to_string().into()).await
    };
    let reply = patch(json!({ "Image": url, "Inserted": true })).await?;
    ensure!(reply.status == 200 && reply.json()?["Inserted"] == true, "{} {}", reply.status, reply.text());
    let reply = patch(json!({ "Image": null })).await?;
    ensure!(reply.status == 200 && reply.json()?["Inserted"] == false, "{} {}", reply.status, reply.text());
    // Whether a certificate is verified is said before, and until the next ejection.
    let verifies = async || Ok::<_, anyhow::Error>(get(REDFISH).await?["VerifyCertificate"].clone());
    ensure!(verifies().await? == true, "it is, unless somebody says otherwise");
    let reply = patch(json!({ "VerifyCertificate": false })).await?;
    ensure!(reply.status == 200 && verifies().await? == false, "{} {}", reply.status, reply.text());
    let reply = patch(json!({ "Image": url })).await?;
    ensure!(reply.status == 200 && verifies().await? == false, "{} {}", reply.status, reply.text());
    let reply = patch(json!({ "VerifyCertificate": true })).await?;
    ensure!(reply.status == 409 || reply.status == 400, "{} {}", reply.status, reply.text());
    let reply = patch(json!({ "Image": null })).await?;
    ensure!(reply.status == 200 && verifies().await? == true, "{} {}", reply.status, reply.text());
    let reply = admin.post(&action("InsertMedia"), &json!({ "Image": "http://127.0.0.1:9/x.iso" })).await?;
    ensure!(
        reply.status == 409 && reply.text().contains("CouldNotEstablishConnection"),
        "{} {}",
        reply.status,
        reply.text()
    );
    let reply = admin.post(&action("InsertMedia"), &json!({})).await?;
    ensure!(reply.status == 400, "{}", reply.text());
    // What is refused, or fails, uses nothing up of what was said before.
    let reply = patch(json!({ "VerifyCertificate": false })).await?;
    ensure!(reply.status == 200 && verifies().await? == false, "{} {}", reply.status, reply.text());
    for (wrong, status) in [
        (json!({ "Image": "ftp://127.0.0.1/x.iso" }), 400),
        (json!({ "Image": "" }), 400),
        (json!({ "Image": "http://127.0.0.1:9/x.iso" }), 409),
    ] {
        let reply = admin.post(&action("InsertMedia"), &wrong).await?;
        ensure!(reply.status == status, "{wrong}: {} {}", reply.status, reply.text());
        ensure!(verifies().await? == false, "{wrong}");
    }
    let (_, acceptor) = self_signed()?;
    let server = ImageServer::start(image("TLS"), Some(acceptor)).await?;
    let body = json!({ "Image": server.url("https", "tls.iso") });
    let reply = admin.post(&action("InsertMedia"), &body).await?;
    ensure!(reply.status == 204, "{} {}", reply.status, reply.text());
    let reply = admin.post(&action("EjectMedia"), &json!({})).await?;
    ensure!(reply.status == 204 && verifies().await? == true, "{} {}", reply.status, reply.text());
    let reply = admin.post(&action("InsertMedia"), &body).await?;
    ensure!(reply.status == 409, "it was for one medium: {} {}", reply.status, reply.text());
    suite.stop().await
}

/// `ubmcctl` as the first administrator.
fn ctl(suite: &Suite, arguments: &[&str]) -> Result<tokio::process::Command> {
    let password = suite.scratch().join("ctl-password");
    std::fs::write(&password, ADMIN_PASSWORD)?;
    let mut command = tokio::process::Command::new(Path::new(U_BMC).with_file_name("ubmcctl"));
    command
        .args(["--server", &format!("https://{}", suite.https()), "--insecure", "--user", "admin"])
        .arg("--password-file")
        .arg(&password)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

async fn ctl_says(suite: &Suite, arguments: &[&str]) -> Result<String> {
    let done = tokio::time::timeout(LONG, ctl(suite, arguments)?.output()).await??;
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    ensure!(done.status.success(), "ubmcctl {arguments:?}: {said}");
    Ok(said)
}

async fn boot(admin: &Client, console: &mut Console, target: &str, says: &str) -> Result {
    let body = json!({ "Boot": { "BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": "Once" } });
    let headers = [("content-type", "application/json")];
    let reply = admin
        .send(http::Method::PATCH, "/redfish/v1/Systems/system", &headers, body.to_string().into())
        .await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let action = |action: &str| json!({ "action": format!("HOST_ACTION_{action}") });
    let path = "/api/v1alpha1/hosts/system/state";
    let host = admin.get("/api/v1alpha1/hosts/system").await?.json()?;
    let wanted = if host["host"]["status"] == "HOST_STATUS_ON" { "FORCE_RESTART" } else { "ON" };
    let reply = admin.post(path, &action(wanted)).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    console.says(says).await.with_context(|| format!("{target} does not boot"))?;
    eventually("the host is on", LONG, || async {
        let host = admin.get("/api/v1alpha1/hosts/system").await?.json()?;
        let boot = admin.get("/redfish/v1/Systems/system").await?.json()?["Boot"].take();
        Ok(host["host"]["status"] == "HOST_STATUS_ON" && boot["BootSourceOverrideEnabled"] == "Disabled")
    })
    .await
}

/// A suite whose host is a guest with this disk, and its console.
async fn real_machine(disk: &Path, sets: &[&str]) -> Result<(Suite, Console)> {
    let mut builder = Suite::builder(U_BMC)
        .set("sim.host=qemu")
        .set(format!("sim.qemu.disk={}", disk.display()))
        .set("mediasrv.allow_http=true")
        .set("mediasrv.allow_local=true");
    for set in sets {
        builder = builder.set(*set);
    }
    let suite = builder.start().await?;
    let authorization = authorization();
    let headers = [("authorization", authorization.as_str())];
    let opened = Console::open(suite.https(), "/api/v1alpha1/consoles/system/socket", &headers).await?;
    let console = opened.map_err(|status| anyhow::anyhow!("the console is refused with {status}"))?;
    Ok((suite, console))
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a skip is counted by what is printed")]
async fn a_real_machine_boots_from_a_disc_by_each_way() -> Result {
    if !Path::new("/usr/bin/qemu-system-x86_64").exists() {
        println!("SKIP: no QEMU; install qemu-system-x86");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let file = |name: &str, content: Vec<u8>| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).map(|()| path.to_string_lossy().into_owned())
    };
    let disk = file("disk.img", bootable::disk("disk"))?;
    let (suite, mut console) = real_machine(Path::new(&disk), &[]).await?;
    let admin = suite.admin();

    // From a server, inserted while the machine is off, by the command line.
    let server = ImageServer::start(bootable::cd("server"), None).await?;
    let said =
        ctl_says(&suite, &["media", "insert", &server.url("http", "server.iso"), "--slot", "cd"]).await?;
    ensure!(said.contains("server.iso"), "{said}");
    boot(&admin, &mut console, "Cd", "booted from server.").await?;
    ensure!(slot(&admin, "cd").await?["readBytes"].as_str().is_some_and(|read| read != "0"));
    ctl_says(&suite, &["media", "eject"]).await?;

    // From a file that `ubmcctl` serves, inserted while it runs.
    let local = file("local.iso", bootable::cd("session"))?;
    let mut serving = ctl(&suite, &["media", "insert", &local])?.spawn()?;
    until_state(&admin, "cd", "INSERTED").await?;
    boot(&admin, &mut console, "Cd", "booted from session.").await?;
    // A daemon that is killed is no reason for the host to lose it: the client serves on.
    suite.kill_daemon("mediasrv")?;
    until_told(&admin, &["REATTACHED"]).await?;
    until_state(&admin, "cd", "INSERTED").await?;
    boot(&admin, &mut console, "Cd", "booted from session.").await?;
    eject(&admin, "cd").await?;
    let ended = tokio::time::timeout(LONG, serving.wait()).await??;
    ensure!(ended.success(), "{ended}");

    // From the store, where the client brought it.
    let stored = file("stored.iso", bootable::cd("store"))?;
    ctl_says(&suite, &["media", "upload", &stored]).await?;
    ensure!(ctl_says(&suite, &["media", "store", "list"]).await?.contains("stored.iso"));
    ctl_says(&suite, &["media", "insert", "store:stored.iso"]).await?;
    boot(&admin, &mut console, "Cd", "booted from store.").await?;

    // A stick, beside the CD.
    upload(&suite, "stick.img", bootable::disk("stick")).await?;
    ctl_says(&suite, &["media", "insert", "store:stick.img", "--slot", "usb", "--writable"]).await?;
    boot(&admin, &mut console, "Usb", "booted from stick.").await?;
    ensure!(ctl_says(&suite, &["media", "list"]).await?.contains("stick.img"));
    eject(&admin, "usb").await?;
    eject(&admin, "cd").await?;
    boot(&admin, &mut console, "Hdd", "booted from disk.").await?;
    suite.stop().await
}

/// The disc is made by `cargo xtask test --long --part installer`.
#[tokio::test]
async fn debians_installer_starts_from_a_disc_at_a_server() -> Result {
    let Some(disc) = testkit::given(
        "UBMC_TEST_INSTALLER",
        "UBMC_TEST_INSTALLER names no disc (cargo xtask test --long --part installer)",
    ) else {
        return Ok(());
    };
    // What it has beside the disc, so that no guest of ours is booted.
    let dir = tempfile::tempdir()?;
    let disk = dir.path().join("disk.img");
    std::fs::write(&disk, bootable::disk("disk"))?;
    let (suite, mut console) = real_machine(&disk, &["sim.qemu.memory_mib=1024"]).await?;
    let admin = suite.admin();
    let server = ImageServer::start(std::fs::read(disc)?, None).await?;
    let (status, text) = insert(&admin, "cd", json!({ "url": server.url("http", "debian.iso") })).await?;
    ensure!(status == 200, "{text}");
    // The loader, the kernel, which unpacks 40 MB, and the installer's first question: emulated, each takes its minute.
    boot(&admin, &mut console, "Cd", "Linux version").await?;
    console.says("Freeing unused kernel image").await?;
    console.says("Debian installer main menu").await?;
    let shown = slot(&admin, "cd").await?;
    let read: u64 = shown["readBytes"].as_str().unwrap_or_default().parse()?;
    ensure!(read > 40 << 20 && shown["state"] == "MEDIA_STATE_INSERTED", "{shown}");
    // Its server dies, and it is ejected under the system that runs.
    drop(server);
    eject(&admin, "cd").await?;
    suite.stop().await
}
