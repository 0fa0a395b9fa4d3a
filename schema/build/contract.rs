//! What the build refuses, and what it takes from the contract. Also compiled into `tests/build_checks.rs`, which feeds it
//! contracts that must be refused.

use std::collections::BTreeSet;

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};

#[path = "../src/validate/known.rs"]
mod known;

pub(crate) const PACKAGE: &str = "schema.v1alpha1";
/// Milliseconds an owner may take to answer when the method does not say.
const DEFAULT_DEADLINE_MS: u32 = 10_000;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Text of a string field.
pub(crate) fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

// ---- methods ---------------------------------------------------------------------------------------------------------

pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) internal: bool,
    pub(crate) methods: Vec<Method>,
}

pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) privilege: String,
    pub(crate) self_field: Option<String>,
    pub(crate) stream: Option<String>,
    pub(crate) resume: Option<(String, u32)>,
    /// Bus subject of the method that answers all a stream tells.
    pub(crate) snapshot: Option<String>,
    pub(crate) server_streaming: bool,
    pub(crate) deadline_ms: u32,
    pub(crate) with_expired_password: bool,
    pub(crate) unlogged: bool,
    /// Name of the type its callers' accounts have to be of; without one it has none of its own.
    pub(crate) account_type: Option<String>,
    pub(crate) idempotency: &'static str,
    pub(crate) http: Vec<Binding>,
    pub(crate) origins: Vec<(String, String)>,
}

pub(crate) struct Binding {
    pub(crate) verb: &'static str,
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) response_body: String,
}

/// All services of the contract, checked.
pub(crate) fn services(pool: &DescriptorPool) -> Result<Vec<Service>> {
    let mut services = Vec::new();
    for service in pool.services().filter(|service| service.package_name() == PACKAGE) {
        let file = service.parent_file().name().to_owned();
        let options = service.options();
        let owner = extension(pool, &options, "owner")
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default();
        if owner.is_empty() {
            return Err(format!("{file}: service {} lacks `option (owner)`", service.name()).into());
        }
        let internal = extension(pool, &options, "internal").and_then(|v| v.as_bool()).unwrap_or_default();
        let mut methods = Vec::new();
        for method in service.methods() {
            methods.push(method_of(pool, &file, internal, &method)?);
        }
        services.push(Service { name: service.name().to_owned(), owner, internal, methods });
    }
    services.sort_by(|a, b| a.name.cmp(&b.name));
    check_paths(&services)?;
    Ok(services)
}

/// Value of one of our extensions, when set.
fn extension(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<Value> {
    let extension = pool.get_extension_by_name(&format!("{PACKAGE}.{name}"))?;
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}

fn method_of(pool: &DescriptorPool, file: &str, internal: bool, method: &MethodDescriptor) -> Result<Method> {
    let at = format!("{file}: method {}.{}", method.parent_service().name(), method.name());
    let options = method.options();
    let privilege =
        extension(pool, &options, "privilege").and_then(|v| v.as_enum_number()).unwrap_or_default();
    let privilege = pool
        .get_enum_by_name(&format!("{PACKAGE}.Privilege"))
        .and_then(|e| e.get_value(privilege))
        .filter(|value| value.number() != 0)
        .map(|value| value.name().to_owned())
        .ok_or_else(|| format!("{at} lacks `option (privilege)`"))?;
    if method.is_client_streaming() {
        return Err(format!("{at}: client streams are not served").into());
    }
    let input = method.input();
    let self_field = extension(pool, &options, "self_field").and_then(|v| v.as_str().map(str::to_owned));
    if let Some(field) = &self_field {
        string_field(&input, field).ok_or_else(|| {
            format!("{at}: self_field names `{field}`, which is no string field of {}", input.name())
        })?;
    }
    if (privilege == "PRIVILEGE_CONFIGURE_SELF") != self_field.is_some() {
        return Err(format!("{at}: PRIVILEGE_CONFIGURE_SELF and `self_field` go together").into());
    }
    let stream = extension(pool, &options, "stream")
        .and_then(|v| v.as_message().map(|stream| text(stream, "subject")))
        .filter(|subject| !subject.is_empty());
    if method.is_server_streaming() != stream.is_some() {
        return Err(format!("{at}: a server stream needs `option (stream)`, and only it does").into());
    }
    if let Some(subject) = &stream {
        for token in subject.split('.') {
            if let Some(field) = token.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                let field = string_field(&input, field).ok_or_else(|| {
                    format!("{at}: stream subject names `{field}`, no string field of {}", input.name())
                })?;
                if !has_pattern(pool, &field) {
                    let why = "without a pattern a client could put wildcards into the subject";
                    return Err(format!(
                        "{at}: field `{}` in the stream subject needs string.pattern: {why}",
                        field.name()
                    )
                    .into());
                }
            }
        }
    }
    let resume = resume_fields(pool, &at, method, &options)?;
    let snapshot = snapshot_method(pool, &at, method, &options, stream.as_deref())?;
    let http = bindings(pool, &at, method)?;
    if http.is_empty() && !internal {
        return Err(format!("{at} lacks `option (google.api.http)`").into());
    }
    if !http.is_empty() && internal {
        return Err(format!("{at} is internal and must not have `option (google.api.http)`").into());
    }
    let deadline_ms = extension(pool, &options, "deadline_ms").and_then(|v| v.as_u32()).unwrap_or_default();
    let with_expired_password =
        extension(pool, &options, "with_expired_password").and_then(|v| v.as_bool()).unwrap_or_default();
    let unlogged = extension(pool, &options, "unlogged").and_then(|v| v.as_bool()).unwrap_or_default();
    let account_type = match extension(pool, &options, "account_type").and_then(|v| v.as_enum_number()) {
        Some(number) if number != 0 => {
            let known = pool.get_enum_by_name(&format!("{PACKAGE}.AccountType"));
            let value = known.and_then(|e| e.get_value(number)).map(|value| value.name().to_owned());
            Some(value.ok_or_else(|| format!("{at}: `option (account_type)` is none that there is"))?)
        }
        _ => None,
    };
    // Who may not be refused for a lack of rights, or only asks for the own account, is of no type.
    if account_type.is_some() && (self_field.is_some() || privilege == "PRIVILEGE_NONE") {
        return Err(format!(
            "{at}: `option (account_type)` is for methods with a privilege and without `self_field`"
        )
        .into());
    }
    let idempotency =
        match method.method_descriptor_proto().options.as_ref().and_then(|o| o.idempotency_level) {
            Some(1) => "NoSideEffects",
            Some(2) => "Idempotent",
            _ => "Unknown",
        };
    // Who changes something always leaves a trace.
    if unlogged && idempotency != "NoSideEffects" {
        return Err(format!("{at}: unlogged, so it needs `idempotency_level = NO_SIDE_EFFECTS`").into());
    }
    for binding in &http {
        if binding.verb == "GET" && idempotency != "NoSideEffects" {
            return Err(
                format!("{at}: served by GET, so it needs `idempotency_level = NO_SIDE_EFFECTS`").into()
            );
        }
    }
    let mut origins = Vec::new();
    for field in input.fields() {
        if let Some(origin) = extension(pool, &field.options(), "origin").and_then(|v| v.as_enum_number()) {
            let origin = match origin {
                1 => "ClientAddress",
                2 => "UserAgent",
                _ => return Err(format!("{at}: field `{}` has an unknown origin", field.name()).into()),
            };
            if !matches!(field.kind(), Kind::String) || field.is_list() {
                return Err(format!("{at}: field `{}` with an origin must be a string", field.name()).into());
            }
            origins.push((field.name().to_owned(), origin.to_owned()));
        }
    }
    Ok(Method {
        name: method.name().to_owned(),
        input: input.name().to_owned(),
        output: method.output().name().to_owned(),
        privilege,
        self_field,
        stream,
        resume,
        snapshot,
        server_streaming: method.is_server_streaming(),
        deadline_ms: if deadline_ms == 0 { DEFAULT_DEADLINE_MS } else { deadline_ms },
        with_expired_password,
        unlogged,
        account_type,
        idempotency,
        http,
        origins,
    })
}

/// The request field a stream is resumed by and the number of the response field that tells where it is.
fn resume_fields(
    pool: &DescriptorPool,
    at: &str,
    method: &MethodDescriptor,
    options: &DynamicMessage,
) -> Result<Option<(String, u32)>> {
    let Some(Value::Message(stream)) = extension(pool, options, "stream") else { return Ok(None) };
    let (request, response) = (text(&stream, "resume_field"), text(&stream, "sequence_field"));
    if request.is_empty() && response.is_empty() {
        return Ok(None);
    }
    let number = |message: MessageDescriptor, name: &str| {
        message
            .get_field_by_name(name)
            .filter(|field| matches!(field.kind(), Kind::Uint64) && !field.is_list())
            .map(|field| field.number())
            .ok_or_else(|| {
                format!("{at}: a resumable stream needs `{name}` as a uint64 field of {}", message.name())
            })
    };
    number(method.input(), &request)?;
    Ok(Some((request, number(method.output(), &response)?)))
}

/// The subject of the method that answers all a stream tells.
fn snapshot_method(
    pool: &DescriptorPool,
    at: &str,
    method: &MethodDescriptor,
    options: &DynamicMessage,
    stream: Option<&str>,
) -> Result<Option<String>> {
    let is_reading = stream.is_some_and(|subject| subject.starts_with("reading."));
    let Some(Value::Message(stream)) = extension(pool, options, "stream") else { return Ok(None) };
    let name = text(&stream, "snapshot");
    if name.is_empty() == is_reading {
        return Err(
            format!("{at}: a stream under `reading.`, and only such a one, needs a `snapshot`").into()
        );
    }
    if name.is_empty() {
        return Ok(None);
    }
    let service = method.parent_service();
    let all = service
        .methods()
        .find(|other| {
            other.name() == name && !other.is_server_streaming() && other.output() == method.output()
        })
        .ok_or_else(|| {
            format!(
                "{at}: snapshot names `{name}`, no method of its service that answers {}",
                method.output().name()
            )
        })?;
    Ok(Some(format!("rpc.{}.{}", service.name(), all.name())))
}

/// The field at a dotted path, when it is one string.
fn string_field(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = message.get_field_by_name(first)?;
    if field.is_list() || field.is_map() {
        return None;
    }
    match (rest, field.kind()) {
        (None, Kind::String) => Some(field),
        (Some(rest), Kind::Message(inner)) => string_field(&inner, rest),
        _ => None,
    }
}

fn has_pattern(pool: &DescriptorPool, field: &FieldDescriptor) -> bool {
    let Some(extension) = pool.get_extension_by_name("buf.validate.field") else { return false };
    let options = field.options();
    let rules = options.get_extension(&extension);
    rules
        .as_message()
        .and_then(|rules| rules.get_field_by_name("string"))
        .is_some_and(|string| string.as_message().is_some_and(|string| string.has_field_by_name("pattern")))
}

fn bindings(pool: &DescriptorPool, at: &str, method: &MethodDescriptor) -> Result<Vec<Binding>> {
    let extension =
        pool.get_extension_by_name("google.api.http").ok_or("google/api/annotations.proto is missing")?;
    let options = method.options();
    if !options.has_extension(&extension) {
        return Ok(Vec::new());
    }
    let rule = options.get_extension(&extension);
    let rule = rule.as_message().ok_or("google.api.http is no message")?;
    let mut bindings = vec![binding(at, method, rule)?];
    if let Some(more) = rule.get_field_by_name("additional_bindings") {
        for rule in more.as_list().unwrap_or_default().iter().filter_map(Value::as_message) {
            bindings.push(binding(at, method, rule)?);
        }
    }
    Ok(bindings)
}

fn binding(at: &str, method: &MethodDescriptor, rule: &DynamicMessage) -> Result<Binding> {
    let verbs = [("get", "GET"), ("put", "PUT"), ("post", "POST"), ("delete", "DELETE"), ("patch", "PATCH")];
    let (verb, path) = verbs
        .iter()
        .find(|(field, _)| rule.has_field_by_name(field))
        .map(|(field, verb)| (*verb, text(rule, field)))
        .ok_or_else(|| format!("{at}: google.api.http names no verb"))?;
    if !path.starts_with("/api/v1alpha1/") {
        return Err(format!("{at}: path {path} is not under /api/v1alpha1/").into());
    }
    let input = method.input();
    for segment in path.split('/') {
        if let Some(field) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            string_field(&input, field).ok_or_else(|| {
                format!("{at}: path names `{field}`, which is no string field of {}", input.name())
            })?;
        } else if segment.contains(['{', '}', '*']) {
            return Err(format!("{at}: path segment `{segment}` is neither a literal nor one field").into());
        }
    }
    let body = text(rule, "body");
    if matches!(verb, "GET" | "DELETE") && !body.is_empty() {
        return Err(format!("{at}: {verb} takes no body").into());
    }
    if !body.is_empty() && body != "*" && input.get_field_by_name(&body).is_none() {
        return Err(format!("{at}: body names `{body}`, which is no field of {}", input.name()).into());
    }
    Ok(Binding { verb, path, body, response_body: text(rule, "response_body") })
}

/// Two methods must not answer the same request.
fn check_paths(services: &[Service]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for service in services {
        for method in &service.methods {
            for binding in &method.http {
                let shape: Vec<&str> =
                    binding.path.split('/').map(|s| if s.starts_with('{') { "{}" } else { s }).collect();
                if !seen.insert((binding.verb, shape.join("/"))) {
                    return Err(format!("{} {} is bound twice", binding.verb, binding.path).into());
                }
            }
        }
    }
    Ok(())
}

// ---- validation rules ------------------------------------------------------------------------------------------------

/// A rule nobody evaluates is worse than none: the contract would promise what the gateway does not do.
pub(crate) fn check_rules(pool: &DescriptorPool) -> Result<()> {
    let get = |name: &str| pool.get_extension_by_name(name).ok_or_else(|| format!("{name} is missing"));
    let (field_rules, oneof_rules, message_rules) =
        (get("buf.validate.field")?, get("buf.validate.oneof")?, get("buf.validate.message")?);
    for message in pool.all_messages().filter(|message| message.package_name() == PACKAGE) {
        let at = format!("{}: message {}", message.parent_file().name(), message.name());
        if message.options().has_extension(&message_rules) {
            return Err(format!("{at}: rules on a whole message are not evaluated").into());
        }
        for field in message.fields() {
            let options = field.options();
            if options.has_extension(&field_rules)
                && let Some(rules) = options.get_extension(&field_rules).as_message()
            {
                check_set(&format!("{at}, field {}", field.name()), "", rules)?;
            }
        }
        for oneof in message.oneofs() {
            let options = oneof.options();
            if options.has_extension(&oneof_rules)
                && let Some(rules) = options.get_extension(&oneof_rules).as_message()
            {
                check_set(&format!("{at}, oneof {}", oneof.name()), "oneof.", rules)?;
            }
        }
    }
    Ok(())
}

fn check_set(at: &str, prefix: &str, rules: &DynamicMessage) -> Result<()> {
    for (field, value) in rules.fields() {
        let name = format!("{prefix}{}", field.name());
        let nested = matches!(field.kind(), Kind::Message(_)) && !field.is_list();
        let inner = if nested { value.as_message() } else { None };
        match inner {
            // `items`, `keys` and `values` hold rules for an element.
            Some(inner) if known::ELEMENTS.contains(&name.as_str()) => check_set(at, "", inner)?,
            Some(inner) if known::GROUPS.contains(&name.as_str()) => {
                check_set(at, &format!("{name}."), inner)?
            }
            None if known::RULES.contains(&name.as_str()) => {}
            _ => return Err(format!("{at}: validation rule `{name}` is not one the evaluator knows").into()),
        }
        if name == "string.pattern"
            && let Some(pattern) = value.as_str()
        {
            regex_lite::Regex::new(pattern).map_err(|error| format!("{at}: pattern {pattern:?}: {error}"))?;
        }
    }
    if let Some((extension, _)) = rules.extensions().next() {
        return Err(format!("{at}: predefined rule `{}` is not evaluated", extension.name()).into());
    }
    Ok(())
}
