//! Events to a destination elsewhere, through the whole suite: a real receiver has every state change of a power cycle, in order, once, also
//! across a restart of websrv and while it is dead, also in the words of DMTF's registry, with heartbeats; over TLS, too, to who is vouched for, and over a
//! crash of all. And metric reports, at their interval; and who has seen to an event, by each way in and over the death of its keeper.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use testkit::{Suite, eventually};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const SUBSCRIPTIONS: &str = "/redfish/v1/EventService/Subscriptions";
const WITHIN: Duration = Duration::from_secs(90);

type Result<T = ()> = anyhow::Result<T>;

/// A collector of events, or of metric reports. Its thread ends with the listener's last connection, which `stop` makes.
struct Receiver {
    port: u16,
    events: Arc<Mutex<Vec<Value>>>,
    stopped: Arc<Mutex<bool>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    fn start(port: u16, events: Arc<Mutex<Vec<Value>>>) -> Result<Self> {
        Self::listen(port, events, None)
    }

    /// One that speaks TLS.
    fn with_tls(port: u16, tls: Arc<ServerConfig>) -> Result<Self> {
        Self::listen(port, Arc::default(), Some(tls))
    }

    fn listen(port: u16, events: Arc<Mutex<Vec<Value>>>, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let port = listener.local_addr()?.port();
        let stopped = Arc::new(Mutex::new(false));
        let (taken, stop) = (Arc::clone(&events), Arc::clone(&stopped));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(std::io::Result::ok) {
                if *stop.lock().unwrap_or_else(PoisonError::into_inner) {
                    return;
                }
                let _ = take(stream, tls.clone(), &taken);
            }
        });
        Ok(Self { port, events, stopped, thread: Some(thread) })
    }

    /// What it has: when it was said, and by whom.
    fn all(&self) -> Vec<Value> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ids of all that has come.
    fn ids(&self) -> Vec<String> {
        self.all().iter().filter_map(|event| event["EventId"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection, which is one request.
fn take(stream: TcpStream, tls: Option<Arc<ServerConfig>>, events: &Mutex<Vec<Value>>) -> Result {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    match tls {
        None => take_one(stream, events),
        Some(tls) => take_one(StreamOwned::new(ServerConnection::new(tls)?, stream), events),
    }
}

fn take_one(stream: impl Read + Write, events: &Mutex<Vec<Value>>) -> Result {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body)?;
    let new = body["Events"].as_array().cloned().unwrap_or_else(|| vec![body]);
    events.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
    reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    reader.get_mut().flush()?;
    Ok(())
}

/// An authority, and its certificate as PEM.
fn authority() -> Result<(Issuer<'static, KeyPair>, String)> {
    let (mut params, key) =
        (CertificateParams::new(vec!["authority.example".to_owned()])?, KeyPair::generate()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let pem = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), pem))
}

/// What a receiver on this machine shows of itself, vouched for by this authority.
fn vouched_for(by: &Issuer<'static, KeyPair>) -> Result<Arc<ServerConfig>> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, by)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(Arc::new(config))
}

/// Ids of the events about the host, as the log has them, oldest first.
async fn logged(suite: &Suite) -> Result<Vec<String>> {
    let reply = suite.admin().get("/api/v1alpha1/events?domain=host&pageSize=1000").await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    let events = reply.json()?["events"].as_array().cloned().unwrap_or_default();
    Ok(events.iter().rev().filter_map(|event| event["id"].as_str().map(str::to_owned)).collect())
}

async fn reset(suite: &Suite, kind: &str) -> Result {
    let path = "/redfish/v1/Systems/system/Actions/ComputerSystem.Reset";
    let reply = suite.admin().post(path, &json!({"ResetType": kind})).await?;
    anyhow::ensure!(reply.status == 204, "{kind}: {}", reply.text());
    Ok(())
}

async fn powered(suite: &Suite, wanted: &str) -> Result {
    eventually(&format!("the host is {wanted}"), WITHIN, async || {
        let reply = suite.admin().get("/redfish/v1/Systems/system").await?;
        Ok(reply.status == 200 && reply.json()?["PowerState"] == wanted)
    })
    .await
}

#[tokio::test]
async fn each_state_change_of_a_power_cycle_comes_in_order_once_across_a_restart_and_a_dead_destination()
-> Result {
    let suite = Suite::builder(U_BMC)
        .set("eventlog.subscriptions.allow_local=true")
        .set("eventlog.subscriptions.retry_interval_ms=200")
        .start()
        .await?;
    let before = logged(&suite).await?.len();
    let receiver = Receiver::start(0, Arc::default())?;
    let (port, events) = (receiver.port, Arc::clone(&receiver.events));
    let body = json!({
        "Destination": format!("http://127.0.0.1:{port}/events"), "Protocol": "Redfish", "Context": "cycle",
        "ResourceTypes": ["ComputerSystem"],
    });
    let made = suite.admin().post(SUBSCRIPTIONS, &body).await?;
    anyhow::ensure!(made.status == 201, "{}", made.text());
    let own = made.json()?["@odata.id"].as_str().unwrap_or_default().to_owned();
    // What becomes of tasks, for somebody else.
    let tasks = Receiver::start(0, Arc::default())?;
    let body = json!({
        "Destination": format!("http://127.0.0.1:{}/tasks", tasks.port), "Protocol": "Redfish",
        "RegistryPrefixes": ["TaskEvent"],
    });
    let made = suite.admin().post(SUBSCRIPTIONS, &body).await?;
    anyhow::ensure!(made.status == 201, "{}", made.text());

    reset(&suite, "On").await?;
    powered(&suite, "On").await?;
    suite.kill_daemon("websrv")?;
    eventually("websrv answers again", WITHIN, async || {
        Ok(suite.admin().again().get(&own).await.is_ok_and(|reply| reply.status == 200))
    })
    .await?;
    reset(&suite, "ForceOff").await?;
    powered(&suite, "Off").await?;
    // The destination dies, and the host goes on.
    drop(receiver);
    reset(&suite, "On").await?;
    powered(&suite, "On").await?;
    eventually("the dead destination is seen", WITHIN, async || {
        Ok(suite.admin().get(&own).await?.json()?["Status"]["Health"] == "Warning")
    })
    .await?;
    let receiver = Receiver::start(port, events)?;
    reset(&suite, "ForceOff").await?;
    powered(&suite, "Off").await?;

    eventually("all of it has come", WITHIN, async || {
        Ok(receiver.ids() == logged(&suite).await?.split_off(before))
    })
    .await?;
    let all = receiver.all();
    anyhow::ensure!(all.len() >= 8, "at least the operation and the state of each of four changes: {all:?}");
    for event in &all {
        anyhow::ensure!(event["OriginOfCondition"]["@odata.id"] == "/redfish/v1/Systems/system", "{event}");
    }
    eventually("begin and end of each operation have come", WITHIN, async || Ok(tasks.all().len() == 8))
        .await?;
    for pair in tasks.all().chunks(2) {
        let ids: Vec<&Value> = pair.iter().map(|event| &event["MessageId"]).collect();
        anyhow::ensure!(ids == ["TaskEvent.1.0.TaskStarted", "TaskEvent.1.0.TaskCompletedOK"], "{pair:?}");
        anyhow::ensure!(pair[0]["MessageArgs"] == pair[1]["MessageArgs"], "{pair:?}");
        let origin = pair[1]["OriginOfCondition"]["@odata.id"].as_str().unwrap_or_default();
        let task = suite.admin().get(origin).await?;
        anyhow::ensure!(task.status == 200 && task.json()?["TaskState"] == "Completed", "{}", task.text());
    }
    drop(tasks);
    eventually("the destination is good again", WITHIN, async || {
        Ok(suite.admin().get(&own).await?.json()?["Status"]["Health"] == "OK")
    })
    .await?;
    let id = logged(&suite).await?.pop().unwrap_or_default();
    let entry = format!("/redfish/v1/Systems/system/LogServices/SEL/Entries/{id}");
    let seen =
        suite.admin().post("/api/v1alpha1/events:resolve", &json!({"ids": [id], "note": "seen"})).await?;
    anyhow::ensure!(seen.status == 200 && seen.json()?["changed"] == json!([id]), "{}", seen.text());
    // What was asked for outlives the whole controller's software, and so does its end.
    suite.kill_daemon("eventlog")?;
    eventually("it is still there", WITHIN, async || {
        Ok(suite.admin().get(&own).await.is_ok_and(|reply| reply.status == 200))
    })
    .await?;
    eventually("it is still resolved", WITHIN, async || {
        let reply = suite.admin().get(&entry).await?;
        Ok(reply.status == 200 && reply.json()?["Resolved"] == true)
    })
    .await?;
    let headers = [("content-type", "application/json")];
    let body = json!({"Resolved": false}).to_string();
    let reopened = suite.admin().send(Method::PATCH, &entry, &headers, body.into()).await?;
    anyhow::ensure!(reopened.status == 200 && reopened.json()?["Resolved"] == false, "{}", reopened.text());
    let resolved = suite.admin().get("/api/v1alpha1/events?resolved=true").await?.json()?;
    anyhow::ensure!(resolved["events"].as_array().is_none_or(Vec::is_empty), "{resolved}");
    eventually("who reopened it is told", WITHIN, async || {
        let told = suite.admin().get("/api/v1alpha1/events?domain=log&what=reopened").await?.json()?;
        Ok(told["events"][0]["principal"] == "admin")
    })
    .await?;
    let ended = suite.admin().send(Method::DELETE, &own, &[], Default::default()).await?;
    anyhow::ensure!(ended.status == 204, "{}", ended.text());
    drop(receiver);
    suite.stop().await
}

#[tokio::test]
async fn who_asks_for_resource_event_has_a_power_cycle_in_its_words_once_in_order_and_heartbeats() -> Result {
    let suite = Suite::builder(U_BMC)
        .set("eventlog.subscriptions.allow_local=true")
        .set("eventlog.subscriptions.retry_interval_ms=200")
        .set("eventlog.subscriptions.heartbeat_minute_ms=200")
        .start()
        .await?;
    let service = suite.admin().get("/redfish/v1/EventService").await?.json()?;
    for prefix in ["ResourceEvent", "HeartbeatEvent"] {
        let named =
            service["RegistryPrefixes"].as_array().is_some_and(|all| all.iter().any(|one| one == prefix));
        anyhow::ensure!(named, "{service}");
        let file = suite.admin().get(&format!("/redfish/v1/Registries/{prefix}")).await?.json()?;
        let registry = file["Location"][0]["Uri"].as_str().unwrap_or_default();
        let registry = suite.admin().get(registry).await?.json()?;
        anyhow::ensure!(registry["RegistryPrefix"] == prefix, "{registry}");
    }
    let receiver = Receiver::start(0, Arc::default())?;
    let body = json!({
        "Destination": format!("http://127.0.0.1:{}/events", receiver.port), "Protocol": "Redfish",
        "RegistryPrefixes": ["ResourceEvent"], "SendHeartbeat": true, "HeartbeatIntervalMinutes": 1,
    });
    let made = suite.admin().post(SUBSCRIPTIONS, &body).await?;
    anyhow::ensure!(made.status == 201, "{}", made.text());
    let made = made.json()?;
    anyhow::ensure!(made["SendHeartbeat"] == true && made["HeartbeatIntervalMinutes"] == 1, "{made}");

    reset(&suite, "On").await?;
    powered(&suite, "On").await?;
    reset(&suite, "ForceOff").await?;
    powered(&suite, "Off").await?;
    let beat = "HeartbeatEvent.1.1.RedfishServiceFunctional";
    let of_system = || -> Vec<Value> {
        let is_of_it =
            |event: &Value| event["OriginOfCondition"]["@odata.id"] == "/redfish/v1/Systems/system";
        receiver.all().into_iter().filter(is_of_it).collect()
    };
    let cycle = ["PoweringOn", "PoweredOn", "PoweringOff", "PoweredOff"];
    let wanted = cycle.map(|what| format!("ResourceEvent.1.4.Resource{what}"));
    eventually("all of the cycle has come", WITHIN, async || Ok(of_system().len() >= wanted.len())).await?;
    let before = receiver.all().iter().filter(|event| event["MessageId"] == beat).count();
    // After two more whatever was on its way before is there.
    eventually("heartbeats come", WITHIN, async || {
        Ok(receiver.all().iter().filter(|event| event["MessageId"] == beat).count() >= before + 2)
    })
    .await?;
    let told = of_system();
    let ids: Vec<&str> = told.iter().map(|event| event["MessageId"].as_str().unwrap_or_default()).collect();
    anyhow::ensure!(ids == wanted, "{told:?}");
    for event in &told {
        anyhow::ensure!(
            event["MessageArgs"] == json!(["system"]) && event["MessageSeverity"] == "OK",
            "{event}"
        );
    }
    let all = receiver.all();
    for event in &all {
        let id = event["MessageId"].as_str().unwrap_or_default();
        anyhow::ensure!(id == beat || id.starts_with("ResourceEvent.1.4."), "{event}");
    }
    let mut ids = receiver.ids();
    ids.sort();
    ids.dedup();
    anyhow::ensure!(ids.len() == all.len(), "something came twice: {all:?}");
    drop(receiver);
    suite.stop().await
}

#[tokio::test]
async fn metric_reports_come_at_their_interval_also_after_the_death_of_who_sends_them() -> Result {
    let suite = Suite::builder(U_BMC)
        .set("eventlog.subscriptions.allow_local=true")
        .set("eventlog.subscriptions.retry_interval_ms=200")
        .set("eventlog.subscriptions.report_interval_ms=300")
        .start()
        .await?;
    let definition = "/redfish/v1/TelemetryService/MetricReportDefinitions/Temperature";
    eventually("there is a definition, and how often its reports are made", WITHIN, async || {
        let reply = suite.admin().get(definition).await?;
        Ok(reply.status == 200 && reply.json()?["Schedule"]["RecurrenceInterval"] == "PT0.300S")
    })
    .await?;
    let receiver = Receiver::start(0, Arc::default())?;
    let mut body = json!({
        "Destination": format!("http://127.0.0.1:{}/metrics", receiver.port), "Protocol": "Redfish", "Context": "rack 7",
        "EventFormatType": "MetricReport", "MetricReportDefinitions": [{"@odata.id": definition}],
        "ResourceTypes": ["ComputerSystem"],
    });
    let refused = suite.admin().post(SUBSCRIPTIONS, &body).await?;
    anyhow::ensure!(refused.status == 400, "{}", refused.text());
    body["ResourceTypes"] = json!([]);
    let made = suite.admin().post(SUBSCRIPTIONS, &body).await?;
    anyhow::ensure!(made.status == 201, "{}", made.text());
    let own = made.json()?["@odata.id"].as_str().unwrap_or_default().to_owned();

    eventually("three reports have come", WITHIN, async || Ok(receiver.all().len() >= 3)).await?;
    suite.kill_daemon("eventlog")?;
    let before = receiver.all().len();
    // One of those that come then may have been sent by the dead one.
    eventually("they come again", WITHIN, async || Ok(receiver.all().len() >= before + 2)).await?;
    let all = receiver.all();
    let times: Vec<_> = all.iter().map(|report| report["Timestamp"].as_str().unwrap_or_default()).collect();
    anyhow::ensure!(times.is_sorted(), "{times:?}");
    for report in &all {
        let is = |at: &str, value: &str| report.pointer(at).is_some_and(|found| found == value);
        anyhow::ensure!(is("/@odata.type", "#MetricReport.v1_4_0.MetricReport"), "{report}");
        anyhow::ensure!(
            is("/Context", "rack 7") && is("/MetricReportDefinition/@odata.id", definition),
            "{report}"
        );
    }
    // It is the resource that is read, with what the same sensors show.
    let sensors = |report: &Value| -> Vec<Value> {
        let values = report["MetricValues"].as_array().cloned().unwrap_or_default();
        let mut all: Vec<Value> = values.into_iter().map(|value| value["MetricProperty"].clone()).collect();
        all.sort_by_key(Value::to_string);
        all
    };
    eventually("what is sent is of the same sensors as what is read", WITHIN, async || {
        let sent = receiver.all().last().cloned().unwrap_or_default();
        let read = suite.admin().get(sent["@odata.id"].as_str().unwrap_or_default()).await?.json()?;
        Ok(!sensors(&sent).is_empty() && sensors(&sent) == sensors(&read))
    })
    .await?;
    let ended = suite.admin().send(Method::DELETE, &own, &[], Default::default()).await?;
    anyhow::ensure!(ended.status == 204, "{}", ended.text());
    drop(receiver);
    suite.stop().await
}

#[tokio::test]
async fn a_destination_that_a_known_authority_vouches_for_has_its_events_by_tls_also_after_a_crash_of_all()
-> Result {
    let dir = tempfile::tempdir()?;
    let (own, ca) = authority()?;
    let (other, _) = authority()?;
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, ca)?;
    let tls = vouched_for(&own)?;
    let start = || {
        Suite::builder(U_BMC)
            .state_dir(dir.path().join("state"))
            .set("eventlog.subscriptions.allow_local=true")
            .set("eventlog.subscriptions.retry_interval_ms=200")
            .set(format!("eventlog.subscriptions.ca_file={}", file.display()))
            .start()
    };
    let suite = start().await?;
    let before = logged(&suite).await?.len();
    let subscribe = async |port: u16| -> Result<String> {
        let body = json!({
            "Destination": format!("https://127.0.0.1:{port}/events"), "Protocol": "Redfish", "Context": "by TLS",
            "VerifyCertificate": true, "ResourceTypes": ["ComputerSystem"],
        });
        let made = suite.admin().post(SUBSCRIPTIONS, &body).await?;
        anyhow::ensure!(made.status == 201, "{}", made.text());
        Ok(made.json()?["@odata.id"].as_str().unwrap_or_default().to_owned())
    };
    let receiver = Receiver::with_tls(0, Arc::clone(&tls))?;
    let port = receiver.port;
    let subscription = subscribe(port).await?;
    // Another authority vouches for this one.
    let stranger = Receiver::with_tls(0, vouched_for(&other)?)?;
    let refused = subscribe(stranger.port).await?;

    reset(&suite, "On").await?;
    powered(&suite, "On").await?;
    eventually("all of it has come", WITHIN, async || {
        Ok(receiver.ids() == logged(&suite).await?.split_off(before))
    })
    .await?;
    let first = receiver.all();
    anyhow::ensure!(first.len() >= 2, "at least the operation and the state: {first:?}");
    for event in &first {
        anyhow::ensure!(event["OriginOfCondition"]["@odata.id"] == "/redfish/v1/Systems/system", "{event}");
    }
    let shown = suite.admin().get(&subscription).await?.json()?;
    anyhow::ensure!(shown["Status"]["Health"] == "OK" && shown["VerifyCertificate"] == true, "{shown}");
    eventually("the stranger is refused at its certificate", WITHIN, async || {
        let shown = suite.admin().get(&refused).await?.json()?;
        Ok(shown["Description"].as_str().is_some_and(|said| said.contains("TLS: ")))
    })
    .await?;
    anyhow::ensure!(stranger.all().is_empty(), "{:?}", stranger.all());

    // The destination goes, the machine goes off, and then everything dies at once: all that is left of the event is in the log.
    let sent = receiver.ids();
    drop(receiver);
    reset(&suite, "ForceOff").await?;
    powered(&suite, "Off").await?;
    eventually("the dead destination is seen", WITHIN, async || {
        Ok(suite.admin().get(&subscription).await?.json()?["Status"]["Health"] == "Warning")
    })
    .await?;
    let all = logged(&suite).await?.split_off(before);
    let missing = all.strip_prefix(sent.as_slice()).unwrap_or_default().to_vec();
    anyhow::ensure!(missing.len() >= 2, "{all:?} after {sent:?}");
    suite.crash().await?;

    let receiver = Receiver::with_tls(port, tls)?;
    let suite = start().await?;
    // What had come may come again: where each destination is, is written at times only. Nothing is left out, and the order stays.
    let of_before = || {
        let mut ids: Vec<String> = receiver.ids().into_iter().filter(|id| all.contains(id)).collect();
        let mut seen = std::collections::HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        ids
    };
    eventually("what happened before the crash has come", WITHIN, async || {
        Ok(of_before().ends_with(&missing))
    })
    .await?;
    anyhow::ensure!(all.ends_with(&of_before()), "{:?} of {all:?}", of_before());
    eventually("the destination is good again", WITHIN, async || {
        Ok(suite.admin().get(&subscription).await?.json()?["Status"]["Health"] == "OK")
    })
    .await?;
    anyhow::ensure!(stranger.all().is_empty(), "{:?}", stranger.all());
    drop((receiver, stranger));
    suite.stop().await
}

#[tokio::test]
async fn the_controller_sends_nothing_to_itself_and_trusts_no_stranger() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let https = suite.https().to_owned();
    for destination in [format!("https://{https}/redfish/v1/"), "http://localhost:4222/".to_owned()] {
        let body = json!({"Destination": destination, "Protocol": "Redfish"});
        let reply = suite.admin().post(SUBSCRIPTIONS, &body).await?;
        anyhow::ensure!(reply.status == 400, "{destination}: {}", reply.text());
    }
    let list = suite.admin().get(SUBSCRIPTIONS).await?.json()?;
    anyhow::ensure!(list["Members@odata.count"] == 0, "{list}");
    suite.stop().await?;

    // Its own door is a server with a certificate that nobody vouches for: sent to it, events fail at the certificate, or at the answer when it
    // is not to be looked at.
    let suite = Suite::builder(U_BMC).set("eventlog.subscriptions.allow_local=true").start().await?;
    let https = suite.https().to_owned();
    for (verify, wanted) in [(true, "TLS: "), (false, "it answered ")] {
        let body = json!({
            "Destination": format!("https://{https}/redfish/v1/"), "Protocol": "Redfish", "VerifyCertificate": verify,
        });
        let made = suite.admin().post(SUBSCRIPTIONS, &body).await?;
        anyhow::ensure!(made.status == 201, "{}", made.text());
        let own = made.json()?["@odata.id"].as_str().unwrap_or_default().to_owned();
        let test = "/redfish/v1/EventService/Actions/EventService.SubmitTestEvent";
        let sent = suite.admin().post(test, &json!({"MessageId": "UBmc.1.0.EventOK"})).await?;
        anyhow::ensure!(sent.status == 204, "{}", sent.text());
        eventually("it fails as it should", WITHIN, async || {
            let shown = suite.admin().get(&own).await?.json()?;
            Ok(shown["Description"].as_str().is_some_and(|said| said.contains(wanted)))
        })
        .await?;
    }
    suite.stop().await
}
