//! Who may call whom, and what that means for each daemon's permissions on the bus.
//!
//! The table [`NODES`] is the whole request graph. It has no cycles, so no two daemons can wait for each other; a test holds it to that.
//! Permissions follow from it and from the owners in the schema: a daemon may say and hear what its row needs, nothing else.

use crate::server;

/// The daemon that starts the others and owns the bus.
pub const OPERATOR: &str = "operator";

/// One daemon's place on the bus.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// The daemon.
    pub daemon: &'static str,
    /// The daemons whose services it calls.
    pub calls: &'static [&'static str],
    /// The first tokens of the events it may publish (`event.<domain>.…`).
    pub events: &'static [&'static str],
    /// The buckets it may read and write.
    pub buckets: &'static [&'static str],
    /// The streams it may read.
    pub streams: &'static [&'static str],
    /// The streams it may take single messages out of, to keep room in them.
    pub trims: &'static [&'static str],
}

/// The request graph, callers first: each daemon calls only daemons further down.
pub const NODES: &[Node] = &[
    // The gateway has no state of its own and publishes nothing.
    Node {
        daemon: "websrv",
        calls: &["statemgr", "usermgr", "operator"],
        events: &[],
        buckets: &[],
        streams: &["EVENTS"],
        trims: &[],
    },
    // The outward link: passes requests of the fleet on and reads the event log.
    Node {
        daemon: "fleet",
        calls: &["statemgr", "usermgr", "operator"],
        events: &[],
        buckets: &[],
        streams: &["EVENTS"],
        trims: &[],
    },
    // Owner of intent: drives powermgr, asks the operator to reset the management controller.
    Node {
        daemon: "statemgr",
        calls: &["powermgr", "operator"],
        events: &["host", "chassis", "bmc"],
        buckets: &["state", "config"],
        streams: &["EVENTS"],
        trims: &["EVENTS"],
    },
    Node {
        daemon: "usermgr",
        calls: &[],
        events: &["user", "session"],
        buckets: &["users", "sessions"],
        streams: &[],
        trims: &[],
    },
    Node {
        daemon: "powermgr",
        calls: &[],
        events: &["host", "chassis"],
        buckets: &[],
        streams: &[],
        trims: &[],
    },
    // The controller's own network and time.
    Node { daemon: "netmgr", calls: &[], events: &["network"], buckets: &[], streams: &[], trims: &[] },
    Node {
        daemon: OPERATOR,
        calls: &[],
        events: &["system", "daemon", "store"],
        buckets: &[],
        streams: &[],
        trims: &[],
    },
];

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
pub fn services_of(daemon: &str) -> impl Iterator<Item = &'static str> {
    schema::services().iter().filter(move |service| service.owner == daemon).map(|service| service.name)
}

/// A subject of `daemon`'s own that nobody serves: the server's "no responders" to it tells that all before it was handled.
pub(crate) fn sync_subject(daemon: &str) -> String {
    format!("_INBOX.{daemon}.sync")
}

/// The row of `daemon`.
pub fn node(daemon: &str) -> Option<&'static Node> {
    NODES.iter().find(|node| node.daemon == daemon)
}

/// What `daemon` may do on the bus; a daemon that is not in the table may do nothing.
pub fn permissions(daemon: &str) -> Permissions {
    let Some(node) = node(daemon) else { return Permissions::default() };
    let mut publish = Vec::new();
    for callee in node.calls {
        publish.extend(services_of(callee).map(|service| format!("rpc.{service}.>")));
    }
    publish.push(sync_subject(daemon));
    publish.extend(node.events.iter().map(|domain| format!("event.{domain}.>")));
    for bucket in node.buckets {
        publish.push(format!("$KV.{bucket}.>"));
        read_stream(&format!("KV_{bucket}"), &mut publish);
        // Removing without a trace.
        publish.push(format!("$JS.API.STREAM.PURGE.KV_{bucket}"));
    }
    for stream in node.streams {
        read_stream(stream, &mut publish);
    }
    publish.extend(node.trims.iter().map(|stream| format!("$JS.API.STREAM.MSG.DELETE.{stream}")));
    if daemon == OPERATOR {
        // It creates the streams and buckets, and tells their fill level.
        publish.push("$JS.API.>".to_owned());
    }
    let mut subscribe: Vec<String> = services_of(daemon).map(|service| format!("rpc.{service}.>")).collect();
    subscribe.push("event.>".to_owned());
    subscribe.push(format!("_INBOX.{daemon}.>"));
    Permissions { publish, subscribe, allow_responses: services_of(daemon).next().is_some() }
}

/// The credential of `daemon` for the embedded server.
pub fn user(daemon: &str, password: String) -> server::User {
    let may = permissions(daemon);
    let rules = |allow| server::Rules { allow, deny: Vec::new() };
    let permissions = server::Permissions {
        publish: rules(may.publish),
        subscribe: rules(may.subscribe),
        allow_responses: may.allow_responses.then(server::Responses::default),
    };
    server::User { name: daemon.to_owned(), password, permissions: Some(permissions) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_graph_has_no_cycle() {
        // A daemon may only call daemons further down the table; then no path can come back.
        for (index, node) in NODES.iter().enumerate() {
            for callee in node.calls {
                let at = NODES.iter().position(|other| other.daemon == *callee);
                assert!(
                    at.is_some_and(|at| at > index),
                    "{} calls {callee}, which is not below it",
                    node.daemon
                );
            }
        }
    }

    #[test]
    fn every_service_has_an_owner_in_the_table() {
        for service in schema::services() {
            let (name, owner) = (service.name, service.owner);
            assert!(node(owner).is_some(), "{name} is owned by {owner}, which is not in the table");
        }
    }

    #[test]
    fn nobody_hears_or_fakes_what_is_not_its_own() {
        for node in NODES {
            let permissions = permissions(node.daemon);
            for subject in &permissions.subscribe {
                assert!(
                    subject != ">" && subject != "rpc.>" && subject != "_INBOX.>",
                    "{}: {subject}",
                    node.daemon
                );
            }
            for subject in &permissions.publish {
                let own = *subject == sync_subject(node.daemon);
                assert!(own || !subject.starts_with("_INBOX"), "{}: {subject}", node.daemon);
                assert!(
                    subject != ">" && subject != "rpc.>" && subject != "event.>",
                    "{}: {subject}",
                    node.daemon
                );
            }
            for service in services_of(node.daemon) {
                assert!(permissions.subscribe.contains(&format!("rpc.{service}.>")));
            }
        }
    }

    #[test]
    fn only_the_owners_of_secrets_reach_their_buckets() {
        for node in NODES {
            let may = permissions(node.daemon);
            let reaches = may
                .publish
                .iter()
                .any(|subject| subject.contains("KV_users") || subject.starts_with("$KV.users"));
            assert_eq!(reaches, node.daemon == "usermgr", "{}", node.daemon);
        }
        assert_eq!(permissions("stranger"), Permissions::default());
    }
}
