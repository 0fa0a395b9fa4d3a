//! What a row means on the bus: a daemon may say and hear what its row and the owners in the schema need, nothing else.

use crate::Daemon;

/// What a credential may do on the bus. Patterns are NATS subjects with wildcards; what is not listed is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects it may publish to.
    pub publish: Vec<String>,
    /// Subjects it may subscribe to.
    pub subscribe: Vec<String>,
    /// Whether it may publish to the reply subject of a message it received (and only to that, once per message).
    pub allow_responses: bool,
}

/// The services `daemon` serves, as the schema says.
pub fn services_of(daemon: Daemon) -> impl Iterator<Item = &'static str> {
    schema::services()
        .iter()
        .filter(move |service| service.owner == daemon.name())
        .map(|service| service.name)
}

/// What `daemon` may do on the bus; one that is not on the bus may do nothing.
pub fn permissions(daemon: Daemon) -> Permissions {
    let row = daemon.row();
    if !row.on_bus {
        return Permissions::default();
    }
    let mut publish = Vec::new();
    for callee in row.calls {
        publish.extend(services_of(*callee).map(|service| format!("rpc.{service}.>")));
    }
    for method in row.asks {
        let subject = format!("rpc.{method}");
        publish.extend(subject.rsplit_once('.').map(|(service, _)| ipc::ping_subject(service)));
        publish.push(subject);
    }
    if daemon == Daemon::Websrv {
        // Clients ask it for its own as for others': over the bus, through the gate.
        publish.extend(services_of(daemon).map(|service| format!("rpc.{service}.>")));
    }
    publish.push(ipc::sync_subject(row.name));
    publish.extend(row.events.iter().map(|domain| format!("event.{domain}.>")));
    publish.extend(row.tells.iter().map(|what| format!("reading.{what}")));
    for bucket in row.buckets {
        publish.push(format!("$KV.{bucket}.>"));
        read_stream(&format!("KV_{bucket}"), &mut publish);
        // Removing without a trace.
        publish.push(format!("$JS.API.STREAM.PURGE.KV_{bucket}"));
    }
    for stream in row.streams {
        read_stream(stream.name(), &mut publish);
    }
    publish.extend(row.trims.iter().map(|stream| format!("$JS.API.STREAM.MSG.DELETE.{}", stream.name())));
    if daemon == Daemon::Operator {
        // It creates the streams and buckets, and tells their fill level.
        publish.push("$JS.API.>".to_owned());
    }
    let mut subscribe: Vec<String> = services_of(daemon).map(|service| format!("rpc.{service}.>")).collect();
    subscribe.push("event.>".to_owned());
    match row.follows {
        ["*"] => subscribe.push("reading.>".to_owned()),
        few => subscribe.extend(few.iter().map(|what| format!("reading.{what}"))),
    }
    subscribe.push(format!("_INBOX.{}.>", row.name));
    Permissions { publish, subscribe, allow_responses: services_of(daemon).next().is_some() }
}

/// The credential of `daemon` for the embedded server.
pub fn user(daemon: Daemon, password: String) -> nats::User {
    let may = permissions(daemon);
    let rules = |allow| nats::Rules { allow, deny: Vec::new() };
    let permissions = nats::Permissions {
        publish: rules(may.publish),
        subscribe: rules(may.subscribe),
        allow_responses: may.allow_responses.then(nats::Responses::default),
    };
    nats::User { name: daemon.name().to_owned(), password, permissions: Some(permissions) }
}

/// What a reader of a stream publishes to: look-ups, consumers of its own, and the answers to flow control.
fn read_stream(stream: &str, publish: &mut Vec<String>) {
    publish.push(format!("$JS.API.STREAM.INFO.{stream}"));
    publish.push(format!("$JS.API.STREAM.MSG.GET.{stream}"));
    publish.push(format!("$JS.API.DIRECT.GET.{stream}"));
    publish.push(format!("$JS.API.DIRECT.GET.{stream}.>"));
    publish.push(format!("$JS.API.CONSUMER.CREATE.{stream}"));
    publish.push(format!("$JS.API.CONSUMER.CREATE.{stream}.>"));
    publish.push(format!("$JS.API.CONSUMER.INFO.{stream}.*"));
    publish.push(format!("$JS.API.CONSUMER.DELETE.{stream}.*"));
    publish.push(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.*"));
    publish.push(format!("$JS.ACK.{stream}.>"));
    publish.push(format!("$JS.FC.{stream}.>"));
}
