//! Metric reports and triggers that clients make, on a bus: what holds over restarts, what is refused, what is left when records are damaged, and what fires.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipc::{CallContext, Code, Json, Principal, RawItem, Request, Status};
use prost::Message as _;
use schema::Method;
use schema::rpc::event_service::LIST_EVENTS;
use schema::rpc::telemetry_service as rpc;
use schema::server::SensorServiceCall;
use schema::v1alpha1 as v1;
use tokio::task::JoinHandle;

use common::{Daemon, until};

/// Says what a machine with one sensor shows.
struct Machine {
    value: Arc<Mutex<Option<f64>>>,
    asked: Arc<Mutex<u64>>,
    task: JoinHandle<()>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Machine {
    async fn serve(on: &common::Bench) -> Self {
        let value = Arc::new(Mutex::new(Some(20.0)));
        let asked = Arc::new(Mutex::new(0));
        let sensormon = on.bus.client("sensormon").await;
        let mut calls = sensormon.calls::<SensorServiceCall<Request>>().await.expect("calls");
        let (shows, count) = (Arc::clone(&value), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Some(call) = calls.next().await {
                let reply = match call {
                    SensorServiceCall::GetReadings(_, reply) => reply,
                    SensorServiceCall::ListSensors(_, reply) => {
                        reply.send(Err(Status::unavailable("nobody knows what they measure"))).await;
                        continue;
                    }
                    _ => continue,
                };
                let value = *shows.lock().expect("a lock");
                let quality = match value {
                    Some(_) => v1::SensorQuality::Good,
                    None => v1::SensorQuality::Unavailable,
                };
                let readings = v1::SensorReadings {
                    epoch: 1,
                    full: true,
                    ids: vec!["cpu".into()],
                    numbers: vec![0],
                    values: vec![value.unwrap_or(f64::NAN)],
                    qualities: vec![quality.into()],
                    ..v1::SensorReadings::default()
                };
                reply.send(Ok(readings)).await;
                *count.lock().expect("a lock") += 1;
            }
        });
        Self { value, asked, task }
    }

    /// It shows this from now on. When this returns it was looked at.
    async fn shows(&self, value: Option<f64>) {
        *self.value.lock().expect("a lock") = value;
        let asked = || *self.asked.lock().expect("a lock");
        let before = asked();
        // The question that was under way may have been answered before.
        until("the sensors are looked at", async || asked() >= before + 3).await;
    }
}

struct Bench(common::Bench);

impl Bench {
    async fn start() -> Self {
        let on = common::Bench::start().await;
        on.bus.create_bucket("telemetry").await;
        // Nobody deletes a definition while it is not known who has it sent.
        on.bus.create_bucket("subscriptions").await;
        Self(on)
    }

    async fn daemon(&self) -> Daemon {
        let mut settings = serde_json::Map::new();
        let telemetry = serde_json::json!({"least_interval_ms": 100, "sample_interval_ms": 100});
        settings.insert("telemetry".into(), telemetry);
        common::daemon(self.0.bus.client(eventlog::NAME).await, settings).await
    }

    async fn call<Q: prost::Message, R: prost::Message + Default>(
        &self,
        method: Method<Q, R>,
        request: &Q,
    ) -> Result<R, Status> {
        let privileges = vec![v1::Privilege::ConfigureManager.into()];
        let principal = Principal { username: "admin".into(), privileges, ..Principal::default() };
        let context = CallContext::new().with_principal(principal);
        // What is stored is read before calls are answered.
        let mut tries = 0;
        loop {
            match self.0.client.call(method, request, &context).await {
                Err(status)
                    if status.code == Code::Unavailable && status.reason().is_empty() && tries < 500 =>
                {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                settled => return settled,
            }
        }
    }

    async fn define(&self, wanted: v1::ReportDefinition) -> Result<v1::ReportDefinition, Status> {
        let request = v1::CreateReportDefinitionRequest { definition: Some(wanted) };
        let made = self.call(rpc::CREATE_REPORT_DEFINITION, &request).await?;
        Ok(made.definition.expect("it is shown"))
    }

    async fn arm(&self, wanted: v1::Trigger) -> Result<v1::Trigger, Status> {
        let made =
            self.call(rpc::CREATE_TRIGGER, &v1::CreateTriggerRequest { trigger: Some(wanted) }).await?;
        Ok(made.trigger.expect("it is shown"))
    }

    async fn remove(&self, id: &str) -> Result<v1::DeleteReportDefinitionResponse, Status> {
        self.call(rpc::DELETE_REPORT_DEFINITION, &v1::DeleteReportDefinitionRequest { id: id.into() }).await
    }

    /// The ids of definitions, and of triggers.
    async fn list(&self) -> (Vec<String>, Vec<String>) {
        let definitions = v1::ListReportDefinitionsRequest::default();
        let definitions = self.call(rpc::LIST_REPORT_DEFINITIONS, &definitions).await.expect("a list");
        assert_eq!(definitions.least_interval_ms, 100);
        let triggers =
            self.call(rpc::LIST_TRIGGERS, &v1::ListTriggersRequest::default()).await.expect("a list");
        let definitions = definitions.definitions.into_iter().map(|definition| definition.id);
        (definitions.collect(), triggers.triggers.into_iter().map(|trigger| trigger.id).collect())
    }

    /// What triggers have told, oldest first.
    async fn told(&self) -> Vec<v1::TriggerFired> {
        let request = v1::ListEventsRequest { domain: "telemetry".into(), ..Default::default() };
        let events = self.call(LIST_EVENTS, &request).await.expect("a list").events;
        let fired = |event: v1::Event| {
            assert_eq!((event.what.as_str(), event.source.as_str()), ("fired", "eventlog"));
            match event.payload {
                Some(v1::event::Payload::TriggerFired(fired)) => fired,
                other => panic!("{other:?}"),
            }
        };
        events.into_iter().rev().map(fired).collect()
    }
}

fn definition(id: &str) -> v1::ReportDefinition {
    v1::ReportDefinition {
        id: id.into(),
        r#type: v1::ReportDefinitionType::OnRequest.into(),
        metrics: vec![v1::ReportMetric { kind: String::new(), sensors: vec!["cpu".into()] }],
        ..v1::ReportDefinition::default()
    }
}

fn trigger(id: &str) -> v1::Trigger {
    v1::Trigger {
        id: id.into(),
        sensors: vec!["cpu".into()],
        upper_critical: Some(v1::TriggerThreshold { reading: 90.0, ..v1::TriggerThreshold::default() }),
        ..v1::Trigger::default()
    }
}

fn names(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[tokio::test]
async fn what_was_answered_holds_over_a_restart_and_what_was_refused_had_no_effect() {
    let bench = Bench::start().await;
    let daemon = bench.daemon().await;
    let made = bench.define(definition("mine")).await.expect("a definition");
    assert_eq!((made.name.as_str(), made.enabled, made.actions.len()), ("mine", Some(true), 2));
    let unnamed = bench.define(definition("")).await.expect("a definition");
    assert!(unnamed.id.starts_with("report-"), "{unnamed:?}");
    let with_reports = v1::Trigger {
        actions: vec![v1::TriggerAction::Event.into(), v1::TriggerAction::MetricReport.into()],
        report_definitions: names(&["mine", "Power"]),
        ..trigger("hot")
    };
    bench.arm(with_reports).await.expect("a trigger");
    let all = (names(&["mine", &unnamed.id]), names(&["hot"]));
    assert_eq!(bench.list().await, all);

    let taken = bench.define(definition("mine")).await.expect_err("there is one");
    assert_eq!((taken.code, taken.reason().as_str()), (Code::AlreadyExists, "REPORT_DEFINITION_TAKEN"));
    let taken = bench.arm(trigger("hot")).await.expect_err("there is one");
    assert_eq!((taken.code, taken.reason().as_str()), (Code::AlreadyExists, "TRIGGER_TAKEN"));
    let used = bench.remove("mine").await.expect_err("a trigger names it");
    assert_eq!((used.code, used.reason().as_str()), (Code::FailedPrecondition, "REPORT_DEFINITION_IN_USE"));
    let wrong = v1::ReportDefinition { interval_ms: 7, metrics: Vec::new(), ..definition("Power") };
    let fields: Vec<String> = bench
        .define(wrong)
        .await
        .expect_err("it cannot be")
        .fields()
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(fields, ["definition.id", "definition.interval_ms", "definition.metrics"]);
    let missing = bench.remove("nobody").await.expect_err("there is none");
    assert_eq!(missing.code, Code::NotFound);
    assert_eq!(bench.list().await, all);

    let changed = v1::ReportDefinition { id: "mine".into(), enabled: Some(false), ..Default::default() };
    let request = v1::UpdateReportDefinitionRequest { definition: Some(changed), field_mask: None };
    let changed = bench.call(rpc::UPDATE_REPORT_DEFINITION, &request).await.expect("changed").definition;
    assert_eq!(changed.as_ref().map(|changed| changed.enabled), Some(Some(false)));
    daemon.die().await;
    let daemon = bench.daemon().await;
    assert_eq!(bench.list().await, all);
    let kept = bench.call(rpc::LIST_REPORT_DEFINITIONS, &v1::ListReportDefinitionsRequest::default()).await;
    assert_eq!(kept.expect("a list").definitions.first(), changed.as_ref());

    // A store that takes nothing.
    bench.0.bus.takes_writes("telemetry", false).await;
    let refused = bench.define(definition("late")).await.expect_err("it is not stored");
    assert_eq!(refused.code, Code::Unavailable, "{refused}");
    assert_eq!(bench.list().await, all);
    bench.0.bus.takes_writes("telemetry", true).await;

    bench.call(rpc::DELETE_TRIGGER, &v1::DeleteTriggerRequest { id: "hot".into() }).await.expect("gone");
    bench.remove("mine").await.expect("nobody names it any more");
    daemon.stop().await;
    let daemon = bench.daemon().await;
    assert_eq!(bench.list().await, (names(&[&unnamed.id]), Vec::new()));
    daemon.stop().await;
}

#[tokio::test]
async fn there_are_so_many_and_no_more() {
    let bench = Bench::start().await;
    let daemon = bench.daemon().await;
    for n in 0..32 {
        bench.define(definition(&format!("d{n}"))).await.expect("a definition");
        bench.arm(trigger(&format!("t{n}"))).await.expect("a trigger");
    }
    let full = bench.define(definition("more")).await.expect_err("there are 32");
    assert_eq!((full.code, full.reason().as_str()), (Code::ResourceExhausted, "TOO_MANY_REPORT_DEFINITIONS"));
    let full = bench.arm(trigger("more")).await.expect_err("there are 32");
    assert_eq!((full.code, full.reason().as_str()), (Code::ResourceExhausted, "TOO_MANY_TRIGGERS"));
    bench.remove("d7").await.expect("gone");
    bench.define(definition("more")).await.expect("there is room again");
    daemon.stop().await;
}

#[tokio::test]
async fn a_damaged_record_costs_itself_only() {
    let bench = Bench::start().await;
    let daemon = bench.daemon().await;
    for id in ["a", "b", "c"] {
        bench.define(definition(id)).await.expect("a definition");
    }
    let with = |id: &str, reports: &[&str]| v1::Trigger {
        actions: vec![v1::TriggerAction::Log.into(), v1::TriggerAction::MetricReport.into()],
        report_definitions: names(reports),
        ..trigger(id)
    };
    bench.arm(with("both", &["a", "b"])).await.expect("a trigger");
    bench.arm(with("one", &["b"])).await.expect("a trigger");
    bench.arm(trigger("plain")).await.expect("a trigger");
    daemon.stop().await;
    let stored = bench.0.client.bucket("telemetry").await.expect("a bucket");
    stored.put("d.b", &Json("nothing of the kind".to_owned())).await.expect("stored");
    stored.put("t.plain", &Json(7_u64)).await.expect("stored");
    let daemon = bench.daemon().await;
    assert_eq!(bench.list().await, (names(&["a", "c"]), names(&["both", "one"])));
    let triggers = bench.call(rpc::LIST_TRIGGERS, &v1::ListTriggersRequest::default()).await.expect("a list");
    let reports: Vec<_> = triggers.triggers.into_iter().map(|trigger| trigger.report_definitions).collect();
    assert_eq!(reports, [names(&["a"]), Vec::new()]);
    // Its name is taken: the record may be read again.
    let taken = bench.define(definition("b")).await.expect_err("there is one");
    assert_eq!((taken.code, taken.reason().as_str()), (Code::AlreadyExists, "REPORT_DEFINITION_TAKEN"));
    let taken = bench.arm(trigger("plain")).await.expect_err("there is one");
    assert_eq!((taken.code, taken.reason().as_str()), (Code::AlreadyExists, "TRIGGER_TAKEN"));
    let kept = stored.get::<Json<String>>("d.b").await.expect("an answer").expect("a record");
    assert_eq!(kept.value.0, "nothing of the kind");
    // A trigger that lost one can be changed, and names it still.
    let changed = v1::Trigger { id: "one".into(), name: "New".into(), ..v1::Trigger::default() };
    let request = v1::UpdateTriggerRequest { trigger: Some(changed), field_mask: None };
    let changed = bench.call(rpc::UPDATE_TRIGGER, &request).await.expect("changed").trigger.expect("one");
    assert_eq!((changed.name.as_str(), changed.report_definitions.len()), ("New", 0));
    let used = bench.remove("b").await.expect_err("triggers name it");
    assert_eq!((used.code, used.reason().as_str()), (Code::FailedPrecondition, "REPORT_DEFINITION_IN_USE"));
    assert!(used.message.contains("both") && used.message.contains("is not shown"), "{used}");
    // One that nobody sees is not sent to anybody more.
    let refused = bench.arm(with("third", &["b"])).await.expect_err("nobody sees it");
    assert_eq!(refused.fields()[0].0, "trigger.report_definitions[0]", "{refused}");
    // It is read again.
    let whole = bench.0.client.bucket("telemetry").await.expect("a bucket");
    daemon.stop().await;
    let made = v1::ReportDefinition {
        name: "b".into(),
        actions: vec![1, 2],
        enabled: Some(true),
        ..definition("b")
    };
    whole.put("d.b", &Record(made.encode_to_vec())).await.expect("stored");
    let daemon = bench.daemon().await;
    assert_eq!(bench.list().await.0, names(&["a", "b", "c"]));
    let triggers = bench.call(rpc::LIST_TRIGGERS, &v1::ListTriggersRequest::default()).await.expect("a list");
    let reports: Vec<_> = triggers.triggers.into_iter().map(|trigger| trigger.report_definitions).collect();
    assert_eq!(reports, [names(&["a", "b"]), names(&["b"])]);
    // What cannot be read is deleted by its name, and that is free then.
    bench.call(rpc::DELETE_TRIGGER, &v1::DeleteTriggerRequest { id: "plain".into() }).await.expect("gone");
    bench.arm(trigger("plain")).await.expect("a trigger");
    daemon.stop().await;
}

/// A record as the daemon stores it.
#[derive(Clone, Debug, PartialEq)]
struct Record(Vec<u8>);

impl ipc::Value for Record {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn decode(_: u16, bytes: &[u8]) -> Result<Self, ipc::ValueError> {
        Ok(Self(bytes.to_vec()))
    }
}

#[tokio::test]
async fn records_that_cannot_be_read_count_and_what_is_there_twice_is_refused() {
    let bench = Bench::start().await;
    let stored = bench.0.client.bucket("telemetry").await.expect("a bucket");
    for n in 0..31 {
        stored.put(&format!("d.lost{n}"), &Json(7_u64)).await.expect("stored");
    }
    let kind = || v1::ReportMetric { kind: "Temperature".into(), sensors: Vec::new() };
    // As an older release took it.
    let twice = v1::ReportDefinition {
        name: "twice".into(),
        metrics: vec![kind(), kind()],
        actions: vec![1, 2],
        enabled: Some(true),
        ..definition("twice")
    };
    stored.put("d.twice", &Record(twice.encode_to_vec())).await.expect("stored");
    let daemon = bench.daemon().await;
    let all = bench.call(rpc::LIST_REPORT_DEFINITIONS, &v1::ListReportDefinitionsRequest::default()).await;
    let all = all.expect("a list").definitions;
    assert_eq!((all.len(), all[0].metrics.as_slice()), (1, [kind()].as_slice()));
    let full = bench.define(definition("more")).await.expect_err("there are 32");
    assert_eq!((full.code, full.reason().as_str()), (Code::ResourceExhausted, "TOO_MANY_REPORT_DEFINITIONS"));
    bench.remove("lost7").await.expect("gone");
    let refused = bench.define(v1::ReportDefinition { metrics: vec![kind(), kind()], ..definition("more") });
    let refused = refused.await.expect_err("a kind is there twice");
    assert_eq!(refused.fields()[0].0, "definition.metrics[1].kind");
    bench.define(definition("more")).await.expect("there is room");
    daemon.stop().await;
}

#[tokio::test]
async fn what_was_made_under_another_setting_can_be_given_back_as_it_is_shown() {
    let bench = Bench::start().await;
    let stored = bench.0.client.bucket("telemetry").await.expect("a bucket");
    let often = v1::ReportDefinition {
        name: "often".into(),
        r#type: v1::ReportDefinitionType::Periodic.into(),
        interval_ms: 100,
        actions: vec![1, 2],
        enabled: Some(true),
        ..definition("often")
    };
    stored.put("d.often", &Record(often.encode_to_vec())).await.expect("stored");
    let mut settings = serde_json::Map::new();
    settings.insert("telemetry".into(), serde_json::json!({"least_interval_ms": 5000}));
    let daemon = common::daemon(bench.0.bus.client(eventlog::NAME).await, settings).await;
    let change = async |interval_ms| {
        let changed = v1::ReportDefinition {
            id: "often".into(),
            interval_ms,
            name: "New".into(),
            ..Default::default()
        };
        let request = v1::UpdateReportDefinitionRequest { definition: Some(changed), field_mask: None };
        bench.call(rpc::UPDATE_REPORT_DEFINITION, &request).await
    };
    let changed = change(100).await.expect("as it was").definition.expect("it is shown");
    assert_eq!((changed.interval_ms, changed.name.as_str()), (100, "New"));
    let refused = change(200).await.expect_err("it is too short");
    assert_eq!(refused.fields()[0].0, "definition.interval_ms");
    daemon.stop().await;
}

#[tokio::test]
async fn a_trigger_tells_once_what_was_crossed_and_asks_for_its_reports() {
    let bench = Bench::start().await;
    let machine = Machine::serve(&bench.0).await;
    let mut readings = bench.0.client.subscribe_raw("reading.telemetry").await.expect("a subscription");
    let daemon = bench.daemon().await;
    bench.define(definition("mine")).await.expect("a definition");
    assert_eq!(*machine.asked.lock().expect("a lock"), 0, "nobody needs to know what the sensors show");
    let actions = [v1::TriggerAction::Log, v1::TriggerAction::MetricReport].map(i32::from).to_vec();
    let wanted = v1::Trigger { actions, report_definitions: names(&["mine", "Power"]), ..trigger("hot") };
    bench.arm(wanted).await.expect("a trigger");
    for value in [Some(20.0), Some(95.0), Some(96.0), None, Some(97.0)] {
        machine.shows(value).await;
    }
    until("it is told", async || bench.told().await.len() == 1).await;
    let told = bench.told().await;
    let fired = told.first().expect("one");
    assert_eq!((fired.trigger_id.as_str(), fired.sensor_id.as_str()), ("hot", "cpu"));
    assert_eq!((fired.level(), fired.threshold, fired.value), (v1::TriggerLevel::UpperCritical, 90.0, 95.0));
    assert!(fired.rising && fired.missed == 0);
    let due = tokio::time::timeout(Duration::from_secs(60), readings.next()).await.expect("it comes");
    let Some(RawItem::Message { payload, .. }) = due else { panic!("{due:?}") };
    let due = v1::ReportsDue::decode(payload).expect("a message");
    assert_eq!(due.definitions, ["Power", "mine"]);
    // Back, and once more.
    machine.shows(Some(20.0)).await;
    machine.shows(Some(91.0)).await;
    until("it is told again", async || bench.told().await.len() == 2).await;
    // Where the value is after a restart is no crossing.
    daemon.stop().await;
    let daemon = bench.daemon().await;
    machine.shows(Some(92.0)).await;
    machine.shows(Some(20.0)).await;
    machine.shows(Some(99.0)).await;
    until("it is told once more", async || bench.told().await.len() == 3).await;
    assert_eq!(bench.told().await.iter().map(|fired| fired.value).collect::<Vec<_>>(), [95.0, 91.0, 99.0]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_trigger_fires_while_nobody_says_what_the_sensors_measure() {
    let bench = Bench::start().await;
    let machine = Machine::serve(&bench.0).await;
    let daemon = bench.daemon().await;
    let of_kind = v1::ReportDefinition {
        r#type: v1::ReportDefinitionType::OnChange.into(),
        metrics: vec![v1::ReportMetric { kind: "Temperature".into(), sensors: Vec::new() }],
        ..definition("kind")
    };
    bench.define(of_kind).await.expect("a definition");
    bench.arm(trigger("hot")).await.expect("a trigger");
    machine.shows(Some(20.0)).await;
    machine.shows(Some(95.0)).await;
    until("it is told", async || bench.told().await.len() == 1).await;
    daemon.stop().await;
}

#[tokio::test]
async fn reports_on_change_are_due_when_a_sensor_shows_something_else() {
    let bench = Bench::start().await;
    let machine = Machine::serve(&bench.0).await;
    let mut readings = bench.0.client.subscribe_raw("reading.telemetry").await.expect("a subscription");
    let daemon = bench.daemon().await;
    let kind = v1::ReportDefinitionType::OnChange.into();
    bench.define(v1::ReportDefinition { r#type: kind, ..definition("changes") }).await.expect("a definition");
    machine.shows(Some(20.0)).await;
    machine.shows(Some(21.0)).await;
    let due = tokio::time::timeout(Duration::from_secs(60), readings.next()).await.expect("it comes");
    let Some(RawItem::Message { payload, .. }) = due else { panic!("{due:?}") };
    assert_eq!(v1::ReportsDue::decode(payload).expect("a message").definitions, ["changes"]);
    // One that is only to be read is told to nobody; what is due next is the other's.
    let quiet = v1::ReportDefinition {
        r#type: v1::ReportDefinitionType::Periodic.into(),
        interval_ms: 100,
        actions: vec![v1::ReportAction::Log.into()],
        ..definition("quiet")
    };
    bench.define(quiet).await.expect("a definition");
    machine.shows(Some(21.0)).await;
    machine.shows(Some(22.0)).await;
    let due = tokio::time::timeout(Duration::from_secs(60), readings.next()).await.expect("it comes");
    let Some(RawItem::Message { payload, .. }) = due else { panic!("{due:?}") };
    assert_eq!(v1::ReportsDue::decode(payload).expect("a message").definitions, ["changes"]);
    assert!(bench.told().await.is_empty(), "no report is an event");
    daemon.stop().await;
}
