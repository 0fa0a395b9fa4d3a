//! The route table, computed once from the schema: which path and verb is which method, and what the gateway must know to
//! serve it. Nothing in here knows a method by name.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gate::{FieldPath, field_path, string_at};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use schema::{HttpBinding, MethodInfo, Segment};

use crate::config::Config;
use crate::error::{Error, SchemaError};

/// One public method.
#[derive(Debug)]
pub(crate) struct Route {
    pub info: &'static MethodInfo,
    pub input: MessageDescriptor,
    pub output: MessageDescriptor,
    /// Body of an authenticated request, bytes.
    pub body_bytes: usize,
    /// Longest time for the owner.
    pub deadline: Duration,
    pub stream: Option<Subject>,
    /// For streams that can go on after a message the client has: its number in the request, and the number of the field
    /// that gets it in the response.
    pub resume: Option<(FieldDescriptor, u32)>,
    /// Whether an answer may hold a secret.
    pub secret: bool,
    /// Field of the response that identifies it in an SSE stream.
    pub sse_id: Option<FieldDescriptor>,
}

/// A bus subject with holes that request fields fill.
#[derive(Debug)]
pub(crate) struct Subject(Vec<SubjectToken>);

#[derive(Debug)]
enum SubjectToken {
    Literal(&'static str),
    Field(FieldPath),
}

impl Subject {
    /// The subject's tokens for this request; an empty field matches any token. `None` when a field's value is no token: then
    /// nothing can ever be published there.
    pub(crate) fn fill(&self, message: &DynamicMessage) -> Option<Vec<String>> {
        self.0
            .iter()
            .map(|token| match token {
                SubjectToken::Literal(literal) => Some((*literal).to_owned()),
                SubjectToken::Field(path) => {
                    let text = string_at(message, path).unwrap_or_default();
                    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
                    match text.as_str() {
                        "" => Some("*".to_owned()),
                        _ => text.chars().all(plain).then_some(text),
                    }
                }
            })
            .collect()
    }
}

/// How a REST binding uses the body.
#[derive(Debug)]
pub(crate) enum BodyRule {
    /// There is none: fields come from the query.
    None,
    /// It is the request.
    Whole,
    /// It is this field; the others come from the query.
    Field(FieldDescriptor),
}

/// One REST binding.
#[derive(Debug)]
pub(crate) struct Binding {
    pub route: Arc<Route>,
    pub verb: &'static str,
    pub path: Vec<FieldPath>,
    pub body: BodyRule,
    pub response_body: Option<FieldDescriptor>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<&'static str, usize>,
    field: Option<usize>,
    bindings: Vec<Binding>,
}

/// All public methods by path.
#[derive(Debug)]
pub(crate) struct Routes {
    rpc: HashMap<&'static str, Arc<Route>>,
    nodes: Vec<Node>,
}

impl Routes {
    /// The table of the schema's public methods, with the configured limits.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let mut routes = Self { rpc: HashMap::new(), nodes: vec![Node::default()] };
        config.check_routes()?;
        for info in schema::methods().iter().filter(|info| !info.internal) {
            let route = Arc::new(Route::new(info, config)?);
            for binding in info.http {
                routes.bind(&route, binding)?;
            }
            routes.rpc.insert(info.path.trim_start_matches('/'), route);
        }
        Ok(routes)
    }

    /// The method at `/<package>.<Service>/<Method>`.
    pub(crate) fn rpc(&self, path: &str) -> Option<&Arc<Route>> {
        self.named(path.strip_prefix('/')?)
    }

    /// The method `<package>.<Service>/<Method>`.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Route>> {
        self.rpc.get(name)
    }

    /// The REST binding at `path`, with the raw values of its path fields.
    pub(crate) fn rest<'p>(&self, verb: &str, path: &'p str) -> Rest<'_, 'p> {
        // With or without a trailing slash.
        let path = path.strip_suffix('/').unwrap_or(path);
        let Some(path) = path.strip_prefix('/') else { return Rest::NotFound };
        let mut values = Vec::new();
        let Some(node) = self.find(0, path, &mut values) else { return Rest::NotFound };
        match node.bindings.iter().find(|binding| binding.verb == verb) {
            Some(binding) => Rest::Found(binding, values),
            None => Rest::WrongVerb(node.bindings.iter().map(|binding| binding.verb).collect()),
        }
    }

    /// A literal wins over a field; without a binding below it the field gets its chance.
    fn find<'p>(&self, at: usize, path: &'p str, values: &mut Vec<&'p str>) -> Option<&Node> {
        let node = self.nodes.get(at)?;
        let (part, rest) = match path.split_once('/') {
            Some((part, rest)) => (part, Some(rest)),
            None => (path, None),
        };
        let step = |next: usize, values: &mut Vec<&'p str>| match rest {
            Some(rest) => self.find(next, rest, values),
            None => self.nodes.get(next).filter(|node| !node.bindings.is_empty()),
        };
        if let Some(found) = node.literals.get(part).and_then(|next| step(*next, values)) {
            return Some(found);
        }
        let next = node.field.filter(|_| !part.is_empty())?;
        values.push(part);
        let found = step(next, values);
        if found.is_none() {
            values.pop();
        }
        found
    }

    fn bind(&mut self, route: &Arc<Route>, http: &'static HttpBinding) -> Result<(), SchemaError> {
        let mut at = 0;
        let mut path = Vec::new();
        for segment in http.segments {
            let fresh = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { break };
            at = match segment {
                Segment::Literal(literal) => *node.literals.entry(literal).or_insert(fresh),
                Segment::Field(field) => {
                    path.push(resolve(route.info, &route.input, "google.api.http", field)?);
                    *node.field.get_or_insert(fresh)
                }
            };
            if at == fresh {
                self.nodes.push(Node::default());
            }
        }
        let body = match http.body {
            None => BodyRule::None,
            Some("*") => BodyRule::Whole,
            Some(name) => BodyRule::Field(field(route.info, &route.input, "google.api.http body", name)?),
        };
        let response_body = http
            .response_body
            .map(|name| field(route.info, &route.output, "google.api.http response_body", name))
            .transpose()?;
        let Some(node) = self.nodes.get_mut(at) else { return Ok(()) };
        if let Some(other) = node.bindings.iter().find(|binding| binding.verb == http.verb) {
            return Err(SchemaError::Conflict {
                method: route.info.full_name.to_owned(),
                verb: http.verb.to_owned(),
                template: http.path.to_owned(),
                other: other.route.info.full_name.to_owned(),
            });
        }
        node.bindings.push(Binding { route: Arc::clone(route), verb: http.verb, path, body, response_body });
        Ok(())
    }
}

/// What is at a REST path.
#[derive(Debug)]
pub(crate) enum Rest<'r, 'p> {
    Found(&'r Binding, Vec<&'p str>),
    WrongVerb(Vec<&'static str>),
    NotFound,
}

impl Route {
    fn new(info: &'static MethodInfo, config: &Config) -> Result<Self, SchemaError> {
        let (input, output) = (info.input(), info.output());
        let limits = config.routes.iter().find(|limits| info.path.get(1..) == Some(limits.method.as_str()));
        let stream = match (info.server_streaming, info.stream) {
            (false, _) => None,
            (true, None) => {
                let reason = "streams, but has no stream option";
                return Err(SchemaError::Streaming { method: info.full_name.to_owned(), reason });
            }
            (true, Some(template)) => Some(subject(info, &input, template)?),
        };
        let resume = info
            .resume
            .map(|(name, number)| Ok((field(info, &input, "resume_field", name)?, number)))
            .transpose()?;
        let sse_id = output.get_field_by_name("id").filter(|f| f.kind() == Kind::String && !f.is_list());
        Ok(Self {
            info,
            body_bytes: limits.and_then(|l| l.body_bytes).unwrap_or(config.limits.body_bytes),
            deadline: limits.and_then(|l| l.deadline_ms).map_or(info.deadline, Duration::from_millis),
            stream,
            resume,
            sse_id,
            secret: schema::holds_secrets(&output),
            input,
            output,
        })
    }
}

fn subject(
    info: &'static MethodInfo,
    input: &MessageDescriptor,
    template: &'static str,
) -> Result<Subject, SchemaError> {
    // websrv holds these subscriptions: its permission on the bus covers no other.
    let is_snapshot = template.starts_with("reading.") && info.snapshot.is_some();
    if !(template.starts_with("event.") || is_snapshot) {
        let reason =
            "its stream option is not a subject under event., nor one under reading. with a snapshot";
        return Err(SchemaError::Streaming { method: info.full_name.to_owned(), reason });
    }
    template
        .split('.')
        .map(|token| match token.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
            None => Ok(SubjectToken::Literal(token)),
            Some(path) => Ok(SubjectToken::Field(resolve(info, input, "stream", path)?)),
        })
        .collect::<Result<_, _>>()
        .map(Subject)
}

fn field(
    info: &MethodInfo,
    message: &MessageDescriptor,
    option: &'static str,
    name: &str,
) -> Result<FieldDescriptor, SchemaError> {
    message.get_field_by_name(name).ok_or_else(|| SchemaError::Field {
        method: info.full_name.to_owned(),
        option,
        field: name.to_owned(),
        message: message.full_name().to_owned(),
    })
}

fn resolve(
    info: &MethodInfo,
    message: &MessageDescriptor,
    option: &'static str,
    path: &str,
) -> Result<FieldPath, SchemaError> {
    let missing = || SchemaError::Field {
        method: info.full_name.to_owned(),
        option,
        field: path.to_owned(),
        message: message.full_name().to_owned(),
    };
    field_path(message, path).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use gate::set_at;
    use prost_reflect::Value;

    use super::*;
    use crate::error::ConfigError;

    fn routes() -> Routes {
        Routes::new(&Config::default()).unwrap()
    }

    #[test]
    fn every_public_method_is_reachable_by_rpc_and_rest_and_no_internal_one_is() {
        let routes = routes();
        for info in schema::methods() {
            assert_eq!(routes.rpc(info.path).is_some(), !info.internal, "{}", info.path);
            for binding in info.http {
                let path: String = binding
                    .segments
                    .iter()
                    .map(|s| match s {
                        Segment::Literal(l) => format!("/{l}"),
                        Segment::Field(_) => "/a%20b".to_owned(),
                    })
                    .collect();
                for path in [path.clone(), format!("{path}/")] {
                    match routes.rest(binding.verb, &path) {
                        Rest::Found(found, values) => {
                            assert_eq!(found.route.info.full_name, info.full_name);
                            assert!(values.iter().all(|v| *v == "a%20b"));
                            assert_eq!(values.len(), found.path.len());
                        }
                        other => panic!("{} {path}: {other:?}", binding.verb),
                    }
                }
            }
        }
    }

    #[test]
    fn answers_with_tokens_and_passwords_are_known() {
        let routes = routes();
        let secret = |path: &str| routes.rpc(path).unwrap().secret;
        assert!(secret("/schema.v1alpha1.SessionService/CreateSession"));
        assert!(secret("/schema.v1alpha1.UserService/ResetPassword"));
        assert!(!secret("/schema.v1alpha1.EventService/ListEvents"));
        assert!(!secret("/schema.v1alpha1.HostService/GetHost"));
    }

    #[test]
    fn a_known_path_with_another_verb_names_the_verbs() {
        let routes = routes();
        match routes.rest("PUT", "/api/v1alpha1/hosts/system") {
            Rest::WrongVerb(allowed) => assert!(allowed.contains(&"GET") && allowed.contains(&"PATCH")),
            other => panic!("{other:?}"),
        }
        for path in ["/api/v1alpha1", "/api/v1alpha1/hosts//state", "/api/v1alpha1/hosts/a/b/c", "", "x"] {
            assert!(matches!(routes.rest("GET", path), Rest::NotFound), "{path}");
        }
    }

    #[test]
    fn an_empty_filter_is_a_wildcard_and_a_crafted_one_matches_nothing() {
        let routes = routes();
        let route = routes.rpc.values().find(|route| route.resume.is_some()).unwrap();
        let subject = route.stream.as_ref().unwrap();
        let mut message = DynamicMessage::new(route.input.clone());
        let tokens = subject.fill(&message).unwrap();
        assert_eq!(tokens.first().map(String::as_str), Some("event"));
        assert!(tokens.iter().any(|t| t == "*"));
        let SubjectToken::Field(path) =
            subject.0.iter().find(|t| matches!(t, SubjectToken::Field(_))).unwrap()
        else {
            panic!()
        };
        for crafted in [">", "*", "a.b", "a b"] {
            set_at(&mut message, path, Value::String(crafted.to_owned()));
            assert_eq!(subject.fill(&message), None, "{crafted}");
        }
    }

    #[test]
    fn limits_of_a_method_that_does_not_exist_are_refused() {
        let config: Config = toml::from_str("[[routes]]\nmethod = \"schema.v1alpha1.NoService/No\"").unwrap();
        assert!(matches!(Routes::new(&config), Err(Error::Config(ConfigError::UnknownMethod(_)))));
    }
}
