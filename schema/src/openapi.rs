//! The REST side of the contract as an OpenAPI 3.1 document, made from the descriptors.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor,
};
use serde_json::{Map, Value, json};

use crate::v1alpha1::Privilege;
use crate::{HttpBinding, MethodInfo, Segment};

/// The document for all public methods. Deterministic: the same contract gives the same bytes.
#[must_use]
pub fn openapi() -> Value {
    Document::new(crate::pool()).build(None)
}

/// As [`openapi`], of the methods of one public service alone and of what they refer to; `None` where there is none of that name.
#[must_use]
pub fn openapi_of(service: &str) -> Option<Value> {
    let is_known = crate::services().iter().any(|one| !one.internal && one.name == service);
    is_known.then(|| Document::new(crate::pool()).build(Some(service)))
}

/// All operations of [`openapi`] by their names, descriptions and privileges alone, for who looks for one of them.
#[must_use]
pub fn openapi_index() -> Value {
    Document::new(crate::pool()).index()
}

struct Document<'a> {
    pool: &'a DescriptorPool,
    /// Comments by full name.
    comments: HashMap<String, String>,
    /// Schemas that are referred to, by name.
    schemas: BTreeMap<String, Value>,
    /// Path as documented by its shape: OpenAPI takes `/hosts/{name}` and `/hosts/{host_name}` for the same path, so that the
    /// methods of one place share the names of its parameters.
    templates: HashMap<String, String>,
}

impl<'a> Document<'a> {
    fn new(pool: &'a DescriptorPool) -> Self {
        Self { pool, comments: comments(pool), schemas: BTreeMap::new(), templates: HashMap::new() }
    }

    /// Paths, and below each its verbs with what `describe` says of a method, its binding, the path and the binding's number among those of
    /// the method; a binding that it says nothing of is left out.
    fn paths(
        &mut self,
        mut describe: impl FnMut(&mut Self, &MethodInfo, &HttpBinding, &str, usize) -> Option<Value>,
    ) -> BTreeMap<String, Map<String, Value>> {
        let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for method in crate::methods().iter().filter(|method| !method.internal) {
            for (index, binding) in method.http.iter().enumerate() {
                // Asked for each of them: what is left out has a say in the names of parameters.
                let template = self.template(binding);
                if let Some(operation) = describe(self, method, binding, &template, index) {
                    paths.entry(template).or_default().insert(binding.verb.to_lowercase(), operation);
                }
            }
        }
        paths
    }

    fn index(mut self) -> Value {
        let paths = self.paths(|this, method, _, _, index| {
            Some(json!({
                "operationId": operation_id(method, index),
                "description": this.comment(method.full_name),
                "x-privilege": method.privilege.as_str_name(),
            }))
        });
        json!({"openapi": OPENAPI, "info": info(), "paths": paths})
    }

    /// Of the public services, or of `only` one of them.
    fn build(mut self, only: Option<&str>) -> Value {
        let is_wanted = |service: &str| only.is_none_or(|only| only == service);
        let paths = self.paths(|this, method, binding, template, index| {
            is_wanted(method.service).then(|| this.operation(method, binding, template, index))
        });
        let tags: Vec<Value> = crate::services()
            .iter()
            .filter(|service| !service.internal && is_wanted(service.name))
            .map(|service| json!({"name": service.name, "description": self.comment(service.full_name)}))
            .collect();
        self.schemas.insert("Status".to_owned(), error_schema());
        json!({
            "openapi": OPENAPI,
            "info": info(),
            "servers": [{"url": "/"}],
            "tags": tags,
            "security": credentials(),
            "paths": paths,
            "components": {
                "schemas": self.schemas,
                "responses": {
                    "Error": {
                        "description": "Refused or failed; `details` may hold google.rpc.ErrorInfo with the reason and \
                            google.rpc.BadRequest with the fields.",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Status"}}}
                    }
                },
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer", "description": "Token of a session."},
                    "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "Token of a session."},
                    "basic": {"type": "http", "scheme": "basic", "description": "Name and password of an account."}
                }
            }
        })
    }

    fn comment(&self, name: &str) -> &str {
        self.comments.get(name).map_or("", String::as_str)
    }

    fn template(&mut self, binding: &HttpBinding) -> String {
        let shape = |field: &dyn Fn(&str) -> String| -> String {
            let part = |segment: &Segment| match segment {
                Segment::Literal(text) => format!("/{text}"),
                Segment::Field(path) => format!("/{{{}}}", field(path)),
            };
            binding.segments.iter().map(part).collect()
        };
        let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
        self.templates.entry(shape(&|_| String::new())).or_insert_with(|| shape(&last)).clone()
    }

    fn operation(
        &mut self,
        method: &MethodInfo,
        binding: &HttpBinding,
        template: &str,
        index: usize,
    ) -> Value {
        let input = method.input();
        let hidden: Vec<&str> = method.origins.iter().map(|(field, _)| *field).collect();
        let mut in_path = Vec::new();
        let mut parameters = Vec::new();
        for (segment, name) in binding.segments.iter().zip(template.split('/').skip(1)) {
            if let Segment::Field(path) = segment {
                in_path.push(*path);
                if let Some(field) = field_at(&input, path) {
                    let mut schema = self.field_schema(&field);
                    // A path segment cannot be empty.
                    if let Some(object) = schema.as_object_mut()
                        && !object.contains_key("minLength")
                    {
                        object.insert("minLength".to_owned(), json!(1));
                    }
                    let name = name.trim_matches(['{', '}']);
                    let mut parameter = json!({
                        "name": name, "in": "path", "required": true,
                        "description": self.comment(field.full_name()), "schema": schema
                    });
                    // Methods of one place share the names of its parameters: this is the field of the request that it fills.
                    if name != *path {
                        put(&mut parameter, "x-field", json!(path));
                    }
                    parameters.push(parameter);
                }
            }
        }
        if binding.body.is_none() {
            for field in input.fields() {
                if in_path.contains(&field.name()) || hidden.contains(&field.name()) || !queryable(&field) {
                    continue;
                }
                let mut parameter = json!({
                    "name": field.json_name(), "in": "query", "schema": self.field_schema(&field),
                    "description": self.comment(field.full_name()),
                });
                if is_mask(&field)
                    && let Some(schema) = parameter.get_mut("schema")
                {
                    put(schema, "examples", json!(mask_example(&method.output()).as_slice()));
                }
                if is_required(&field) {
                    put(&mut parameter, "required", json!(true));
                }
                parameters.push(parameter);
            }
        }
        let description = self.comment(method.full_name);
        let mut operation = json!({
            "operationId": operation_id(method, index),
            "tags": [method.service],
            "summary": first_sentence(description),
            "description": description,
            "x-privilege": method.privilege.as_str_name(),
            "responses": self.responses(method, binding),
        });
        if !parameters.is_empty() {
            put(&mut operation, "parameters", json!(parameters));
        }
        if let Some(field) = method.self_field {
            put(&mut operation, "x-self-field", json!(field));
        }
        if method.privilege == Privilege::None {
            put(&mut operation, "security", json!([]));
        }
        if let Some(body) = binding.body {
            let mut schema = if body == "*" {
                let leave_out: Vec<&str> = in_path.iter().chain(&hidden).copied().collect();
                self.object(&input, &leave_out)
            } else {
                input.get_field_by_name(body).map_or(json!({}), |field| self.field_schema(&field))
            };
            // A message of which a field is in the path is there without the body.
            if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
                let implied = |name: &Value| {
                    in_path.iter().any(|path| path.split_once('.').is_some_and(|(top, _)| name == top))
                };
                required.retain(|name| !implied(name));
            }
            let needed =
                schema.get("required").and_then(Value::as_array).is_some_and(|names| !names.is_empty());
            put(
                &mut operation,
                "requestBody",
                json!({"required": needed, "content": {"application/json": {"schema": schema}}}),
            );
        }
        operation
    }

    fn responses(&mut self, method: &MethodInfo, binding: &HttpBinding) -> Value {
        let output = method.output();
        let content = if method.server_streaming {
            json!({"text/event-stream": {"schema": {
                "type": "string",
                "description": "One server-sent event per message; its data is the JSON of the message.",
                "contentMediaType": "application/json",
                "contentSchema": self.reference(&output)
            }}})
        } else {
            let schema = match binding.response_body.and_then(|field| output.get_field_by_name(field)) {
                Some(field) => self.field_schema(&field),
                None => self.reference(&output),
            };
            json!({"application/json": {"schema": schema}})
        };
        let error = json!({"$ref": "#/components/responses/Error"});
        let mut responses = json!({"200": {"description": "Done.", "content": content}, "default": error});
        if method.privilege != Privilege::None {
            put(&mut responses, "403", error.clone());
        }
        // Logging in answers 401 too: to wrong credentials.
        put(&mut responses, "401", error);
        responses
    }

    /// A reference to the schema of a message or its JSON form when it has one of its own.
    fn reference(&mut self, message: &MessageDescriptor) -> Value {
        match message.full_name() {
            "google.protobuf.Timestamp" => json!({"type": "string", "format": "date-time"}),
            "google.protobuf.Duration" => {
                json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$", "examples": ["1.5s"]})
            }
            "google.protobuf.FieldMask" => {
                json!({"type": "string", "description": "Names of fields, separated by commas."})
            }
            name => {
                let short = name.strip_prefix("schema.v1alpha1.").unwrap_or(name).to_owned();
                if !self.schemas.contains_key(&short) {
                    // Put in first: messages may hold themselves.
                    self.schemas.insert(short.clone(), Value::Null);
                    let schema = self.object(message, &[]);
                    self.schemas.insert(short.clone(), schema);
                }
                json!({"$ref": format!("#/components/schemas/{short}")})
            }
        }
    }

    fn object(&mut self, message: &MessageDescriptor, leave_out: &[&str]) -> Value {
        let mut properties = Map::new();
        let mut required = BTreeSet::new();
        for field in message.fields().filter(|field| !leave_out.contains(&field.name())) {
            let mut schema = self.field_schema(&field);
            let comment = self.comment(field.full_name());
            if !comment.is_empty() {
                put(&mut schema, "description", json!(comment));
            }
            properties.insert(field.json_name().to_owned(), schema);
            if is_required(&field) {
                required.insert(field.json_name().to_owned());
            }
        }
        let mut object = json!({"type": "object", "properties": properties, "additionalProperties": false});
        let comment = self.comment(message.full_name());
        if !comment.is_empty() {
            put(&mut object, "description", json!(comment));
        }
        if !required.is_empty() {
            put(&mut object, "required", json!(required));
        }
        object
    }

    fn field_schema(&mut self, field: &FieldDescriptor) -> Value {
        let rules = rules(self.pool, field);
        let rules = rules.as_ref();
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return json!({}) };
            let mut schema = json!({"type": "object", "additionalProperties": self.kind_schema(&entry.map_entry_value_field().kind())});
            if let Some(map) = group(rules, "map") {
                copy(&mut schema, &map, &[("min_pairs", "minProperties"), ("max_pairs", "maxProperties")]);
                if let Some(values) = group(Some(&map), "values")
                    && let Some(every) = schema.get_mut("additionalProperties")
                {
                    constrain(every, &values);
                }
                if let Some(keys) = group(Some(&map), "keys") {
                    let mut names = json!({"type": "string"});
                    constrain(&mut names, &keys);
                    put(&mut schema, "propertyNames", names);
                }
            }
            return schema;
        }
        if field.cardinality() != Cardinality::Repeated
            && let (Kind::Enum(descriptor), Some(of_enum)) = (field.kind(), group(rules, "enum"))
            && let Some(denied) = of_enum.get_field_by_name("not_in")
            && let Some(denied) = denied.as_list()
        {
            // An enum whose zero is refused is not the shared one, which need not be there for it.
            let denied: Vec<i32> = denied.iter().filter_map(prost_reflect::Value::as_i32).collect();
            return enum_schema(&descriptor, &denied);
        }
        let mut element = self.kind_schema(&field.kind());
        if field.cardinality() == Cardinality::Repeated {
            let repeated = group(rules, "repeated");
            if let Some(items) = group(repeated.as_ref(), "items") {
                constrain(&mut element, &items);
            }
            let mut schema = json!({"type": "array", "items": element});
            if let Some(repeated) = &repeated {
                copy(&mut schema, repeated, &[("min_items", "minItems"), ("max_items", "maxItems")]);
            }
            return schema;
        }
        if let Some(rules) = rules {
            constrain(&mut element, rules);
        }
        if field.options().get_field_by_name("debug_redact").and_then(|v| v.as_bool()).unwrap_or_default() {
            put(&mut element, "format", json!("password"));
        }
        element
    }

    /// The proto3 JSON form of a type.
    fn kind_schema(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Double | Kind::Float => json!({"type": "number"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                json!({"type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX})
            }
            Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
            // JSON numbers lose integers beyond 2^53.
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"})
            }
            Kind::Uint64 | Kind::Fixed64 => {
                json!({"type": "string", "format": "uint64", "pattern": "^[0-9]+$"})
            }
            Kind::Enum(descriptor) => {
                let short = descriptor.name().to_owned();
                if !self.schemas.contains_key(&short) {
                    let mut schema = enum_schema(descriptor, &[]);
                    let comment = self.comment(descriptor.full_name());
                    if !comment.is_empty() {
                        put(&mut schema, "description", json!(comment));
                    }
                    self.schemas.insert(short.clone(), schema);
                }
                json!({"$ref": format!("#/components/schemas/{short}")})
            }
            Kind::Message(message) => self.reference(message),
        }
    }
}

/// The version of OpenAPI.
const OPENAPI: &str = "3.1.0";

fn info() -> Value {
    json!({
        "title": "u-bmc",
        "version": "v1alpha1",
        "description": "REST form of the u-bmc API. Bodies are proto3 JSON. Sessions are made with POST \
            /api/v1alpha1/sessions.",
        "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"}
    })
}

/// The name of a method's binding, the first of which is 0.
fn operation_id(method: &MethodInfo, index: usize) -> String {
    let suffix = if index == 0 { String::new() } else { format!("_{}", index + 1) };
    format!("{}_{}{suffix}", method.service, method.method)
}

/// The comments here have no abbreviations with a full stop.
fn first_sentence(comment: &str) -> &str {
    comment.split_inclusive(". ").next().unwrap_or_default().trim_end()
}

fn credentials() -> Value {
    json!([{"bearer": []}, {"token": []}, {"basic": []}])
}

/// google.rpc.Status in JSON.
fn error_schema() -> Value {
    json!({
        "type": "object",
        "description": "google.rpc.Status: why a request was refused or failed.",
        "properties": {
            "code": {"type": "integer", "description": "gRPC status code.", "minimum": 1, "maximum": 16},
            "status": {"type": "string", "description": "Its name.", "examples": ["NOT_FOUND"]},
            "message": {"type": "string"},
            "details": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["@type"],
                    "properties": {
                        "@type": {"type": "string", "examples": ["type.googleapis.com/google.rpc.ErrorInfo"]},
                        "reason": {"type": "string", "examples": ["TRANSITION_IN_PROGRESS"]}
                    }
                }
            }
        },
        "required": ["code"]
    })
}

fn enum_schema(descriptor: &EnumDescriptor, denied: &[i32]) -> Value {
    let names: Vec<String> =
        descriptor.values().filter(|v| !denied.contains(&v.number())).map(|v| v.name().to_owned()).collect();
    json!({"type": "string", "enum": names})
}

fn field_at(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = message.get_field_by_name(first)?;
    match (rest, field.kind()) {
        (None, _) => Some(field),
        (Some(rest), Kind::Message(inner)) => field_at(&inner, rest),
        _ => None,
    }
}

/// Can be said in a query: scalars, lists of them, and messages whose JSON is a string.
fn queryable(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(message) => matches!(
            message.full_name(),
            "google.protobuf.Timestamp" | "google.protobuf.Duration" | "google.protobuf.FieldMask"
        ),
        _ => true,
    }
}

fn is_mask(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(message) if message.full_name() == "google.protobuf.FieldMask")
}

/// A mask that names two fields of what the method returns.
fn mask_example(output: &MessageDescriptor) -> Option<String> {
    let resource = output.fields().find_map(|field| match field.kind() {
        Kind::Message(message) => Some(message),
        _ => None,
    })?;
    let names: Vec<String> = resource.fields().take(2).map(|field| field.json_name().to_owned()).collect();
    Some(names.join(","))
}

fn rules(pool: &DescriptorPool, field: &FieldDescriptor) -> Option<DynamicMessage> {
    let extension = pool.get_extension_by_name("buf.validate.field")?;
    let options = field.options();
    if !options.has_extension(&extension) {
        return None;
    }
    options.get_extension(&extension).as_message().cloned()
}

fn group(rules: Option<&DynamicMessage>, name: &str) -> Option<DynamicMessage> {
    let rules = rules?;
    if !rules.has_field_by_name(name) {
        return None;
    }
    rules.get_field_by_name(name)?.as_message().cloned()
}

/// Must be sent: `required`, or a field without presence whose zero value breaks a rule.
fn is_required(field: &FieldDescriptor) -> bool {
    let Some(rules) = rules(field.parent_message().parent_pool(), field) else { return false };
    let flag = |name: &str| rules.get_field_by_name(name).and_then(|v| v.as_bool()).unwrap_or_default();
    if flag("required") {
        return true;
    }
    let ignored = rules.get_field_by_name("ignore").and_then(|v| v.as_enum_number()).unwrap_or_default() != 0;
    if field.supports_presence() || field.is_list() || field.is_map() || ignored {
        return false;
    }
    let least = group(Some(&rules), "string")
        .and_then(|string| string.get_field_by_name("min_len").and_then(|v| v.as_u64()))
        .unwrap_or_default();
    let zero_denied = group(Some(&rules), "enum")
        .and_then(|e| e.get_field_by_name("not_in").and_then(|v| v.as_list().map(<[_]>::to_vec)))
        .is_some_and(|list| list.iter().any(|v| v.as_i32() == Some(0)));
    least > 0 || zero_denied
}

/// Sets a member of an object.
fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

fn copy(schema: &mut Value, rules: &DynamicMessage, names: &[(&str, &str)]) {
    for (rule, keyword) in names {
        if rules.has_field_by_name(rule)
            && let Some(value) = rules.get_field_by_name(rule).and_then(|value| number(&value))
        {
            put(schema, keyword, value);
        }
    }
}

fn number(value: &prost_reflect::Value) -> Option<Value> {
    use prost_reflect::Value as V;
    match value {
        V::I32(v) => Some(json!(v)),
        V::I64(v) => Some(json!(v)),
        V::U32(v) => Some(json!(v)),
        V::U64(v) => Some(json!(v)),
        V::F32(v) => Some(json!(v)),
        V::F64(v) => Some(json!(v)),
        _ => None,
    }
}

/// Puts the rules of a scalar into its schema.
fn constrain(schema: &mut Value, rules: &DynamicMessage) {
    if let Some(string) = group(Some(rules), "string") {
        copy(schema, &string, &[("min_len", "minLength"), ("max_len", "maxLength")]);
        let flag = |name: &str| string.get_field_by_name(name).and_then(|v| v.as_bool()).unwrap_or_default();
        if string.has_field_by_name("pattern")
            && let Some(pattern) =
                string.get_field_by_name("pattern").and_then(|v| v.as_str().map(str::to_owned))
        {
            put(schema, "pattern", json!(pattern));
        }
        for (rule, format) in [
            ("email", "email"),
            ("uuid", "uuid"),
            ("hostname", "hostname"),
            ("ipv4", "ipv4"),
            ("ipv6", "ipv6"),
        ] {
            if string.has_field_by_name(rule) && flag(rule) {
                put(schema, "format", json!(format));
            }
        }
    }
    for name in ["double", "float", "int32", "uint32"] {
        if let Some(bounds) = group(Some(rules), name) {
            let names = [
                ("gte", "minimum"),
                ("lte", "maximum"),
                ("gt", "exclusiveMinimum"),
                ("lt", "exclusiveMaximum"),
            ];
            copy(schema, &bounds, &names);
        }
    }
}

/// Comments of the `.proto` files by full name of what they stand above.
fn comments(pool: &DescriptorPool) -> HashMap<String, String> {
    let mut found = HashMap::new();
    for file in pool.files().filter(|file| file.package_name() == "schema.v1alpha1") {
        let Some(info) = &file.file_descriptor_proto().source_code_info else { continue };
        let by_path: HashMap<&[i32], &str> = info
            .location
            .iter()
            .map(|location| (location.path.as_slice(), location.leading_comments()))
            .collect();
        let mut put = |path: &[i32], name: &str| {
            if let Some(comment) = by_path.get(path) {
                let lines: Vec<&str> = comment.lines().map(str::trim).collect();
                found.insert(name.to_owned(), lines.join(" ").trim().to_owned());
            }
        };
        for message in file.messages() {
            put(message.path(), message.full_name());
            for field in message.fields() {
                put(field.path(), field.full_name());
            }
        }
        for descriptor in file.enums() {
            put(descriptor.path(), descriptor.full_name());
        }
        for service in file.services() {
            put(service.path(), service.full_name());
            for method in service.methods() {
                put(method.path(), method.full_name());
            }
        }
    }
    found
}
