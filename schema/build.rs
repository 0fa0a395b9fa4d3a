//! Turns `v1alpha1/*.proto` into Rust, a descriptor set, a table of methods and enums of the calls a daemon answers, and refuses a contract that is not complete.
//!
//! No protoc: protox compiles, prost-build generates. What is refused, with file and name: a service without `owner`, a
//! method without `privilege`, a public unary method without `google.api.http`, a public stream without `stream`, names in
//! options that are not fields of the request, a validation rule the evaluator in `src/validate` does not know.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{FileDescriptorProto, FileDescriptorSet};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, Value};

#[path = "build/contract.rs"]
mod contract;

use contract::{Binding, PACKAGE, Result, Service, check_rules, services, text};

#[allow(clippy::print_stderr, reason = "cargo shows what a failed build script wrote there")]
fn main() {
    if let Err(error) = run() {
        eprintln!("schema: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for path in ["build.rs", "build", "v1alpha1", "served", "third_party", "src/validate/known.rs"] {
        println!("cargo:rerun-if-changed={path}");
    }

    // Files name each other as `schema/v1alpha1/x.proto`, which need not be what the checkout is called: the files are put where their import path says.
    let tree = out.join("include");
    link_tree(&root.join("v1alpha1"), &tree.join("schema/v1alpha1"))?;
    let mut files: Vec<String> = Vec::new();
    for entry in fs::read_dir(root.join("v1alpha1"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".proto") {
            files.push(format!("schema/v1alpha1/{name}"));
        }
    }
    files.sort();
    files.push("google/rpc/error_details.proto".to_owned());
    files.push("google/rpc/status.proto".to_owned());
    // What gateways serve beside the contract: for reflection.
    for name in ["health/v1/health", "reflection/v1/reflection", "reflection/v1alpha/reflection"] {
        files.push(format!("grpc/{name}.proto"));
    }

    let mut compiler = protox::Compiler::new([tree, root.join("served"), root.join("third_party")])?;
    compiler.include_imports(true).include_source_info(true);
    for file in &files {
        compiler.open_file(file).map_err(|error| format!("{error:?}"))?;
    }
    let pool = compiler.descriptor_pool();
    let services = services(&pool)?;
    check_rules(&pool)?;
    generate_types(&compiler.file_descriptor_set(), &pool, &out)?;
    fs::write(out.join("methods.rs"), render_methods(&services)?)?;
    fs::write(out.join("server.rs"), render_server(&services)?)?;
    // Options of ours are extensions, which the typed descriptors of prost drop: take the bytes protox keeps.
    fs::write(out.join("descriptors.bin"), slim(&pool)?)?;
    Ok(())
}

/// Copies the `.proto` files to where their import path says they are.
fn link_tree(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

// ---- descriptors -----------------------------------------------------------------------------------------------------

/// The descriptor set that is built into the crate: all files, comments of ours only, without the CEL texts of validate.proto.
fn slim(pool: &DescriptorPool) -> Result<Vec<u8>> {
    let set_descriptor = pool
        .get_message_by_name("google.protobuf.FileDescriptorSet")
        .ok_or("descriptor.proto is not among the imports")?;
    let mut set = DynamicMessage::decode(set_descriptor, pool.encode_to_vec().as_slice())?;
    let files = set.get_field_by_name_mut("file").and_then(Value::as_list_mut).ok_or("no files")?;
    for file in files.iter_mut().filter_map(Value::as_message_mut) {
        let name = text(file, "name");
        if name.starts_with("schema/") {
            if let Some(info) = file.get_field_by_name_mut("source_code_info").and_then(Value::as_message_mut)
                && let Some(locations) = info.get_field_by_name_mut("location").and_then(Value::as_list_mut)
            {
                locations.retain(|location| {
                    location
                        .as_message()
                        .is_some_and(|location| location.has_field_by_name("leading_comments"))
                });
                for location in locations.iter_mut().filter_map(Value::as_message_mut) {
                    // The format wants a span; nobody here reads where in the file a comment was.
                    location.set_field_by_name("span", Value::List(vec![Value::I32(0); 3]));
                    location.clear_field_by_name("trailing_comments");
                    location.clear_field_by_name("leading_detached_comments");
                }
            }
        } else {
            file.clear_field_by_name("source_code_info");
        }
        if name == "buf/validate/validate.proto" {
            strip_field_options(file, "message_type");
        }
    }
    Ok(set.encode_to_vec())
}

fn strip_field_options(parent: &mut DynamicMessage, messages: &str) {
    let Some(list) = parent.get_field_by_name_mut(messages).and_then(Value::as_list_mut) else { return };
    for message in list.iter_mut().filter_map(Value::as_message_mut) {
        if let Some(fields) = message.get_field_by_name_mut("field").and_then(Value::as_list_mut) {
            for field in fields.iter_mut().filter_map(Value::as_message_mut) {
                field.clear_field_by_name("options");
            }
        }
        strip_field_options(message, "nested_type");
    }
}

fn render_methods(services: &[Service]) -> Result<String> {
    let mut code = String::new();
    let mut index = 0_usize;
    let mut table = String::new();
    let mut rows = String::new();
    writeln!(code, "/// Typed constants for calls over the bus, one module per service.\npub mod rpc {{")?;
    for service in services {
        let module = snake(&service.name);
        writeln!(
            code,
            "    /// Methods of {}.\n    pub mod {module} {{\n        use crate::{{Method, v1alpha1}};",
            service.name
        )?;
        let first = index;
        for method in &service.methods {
            let name = snake(&method.name).to_uppercase();
            let full = format!("{PACKAGE}.{}.{}", service.name, method.name);
            if !method.server_streaming {
                writeln!(
                    code,
                    "        /// `{full}`, answered by {}.\n        pub const {name}: Method<v1alpha1::{}, v1alpha1::{}> = Method::new(&crate::METHODS[{index}]);",
                    service.owner, method.input, method.output
                )?;
            }
            let http: String = method.http.iter().map(render_binding).collect::<Vec<_>>().join(", ");
            let origins: String = method
                .origins
                .iter()
                .map(|(field, origin)| format!("({field:?}, FieldOrigin::{origin})"))
                .collect::<Vec<_>>()
                .join(", ");
            writeln!(
                table,
                "    MethodInfo {{ service: {:?}, method: {:?}, full_name: {full:?}, path: {:?}, subject: {:?}, owner: {:?}, internal: {}, \
                 privilege: v1alpha1::Privilege::{}, self_field: {:?}, stream: {:?}, resume: {:?}, snapshot: {:?}, server_streaming: {}, \
                 deadline: ::core::time::Duration::from_millis({}), with_expired_password: {}, unlogged: {}, account_type: {}, idempotency: Idempotency::{}, \
                 http: &[{http}], origins: &[{origins}], input_name: {:?}, output_name: {:?} }},",
                service.name,
                method.name,
                format!("/{PACKAGE}.{}/{}", service.name, method.name),
                format!("rpc.{}.{}", service.name, method.name),
                service.owner,
                service.internal,
                camel(method.privilege.trim_start_matches("PRIVILEGE_")),
                method.self_field,
                method.stream,
                method.resume,
                method.snapshot,
                method.server_streaming,
                method.deadline_ms,
                method.with_expired_password,
                method.unlogged,
                method.account_type.as_deref().map_or_else(
                    || "None".to_owned(),
                    |kind| format!(
                        "Some(v1alpha1::AccountType::{})",
                        camel(kind.trim_start_matches("ACCOUNT_TYPE_"))
                    ),
                ),
                method.idempotency,
                format!("{PACKAGE}.{}", method.input),
                format!("{PACKAGE}.{}", method.output),
            )?;
            index += 1;
        }
        writeln!(code, "    }}")?;
        writeln!(
            rows,
            "    ServiceInfo {{ name: {:?}, full_name: {:?}, owner: {:?}, internal: {}, first: {first}, count: {} }},",
            service.name,
            format!("{PACKAGE}.{}", service.name),
            service.owner,
            service.internal,
            index - first
        )?;
    }
    writeln!(code, "}}\n")?;
    writeln!(code, "static METHODS: [MethodInfo; {index}] = [\n{table}];\n")?;
    writeln!(code, "static SERVICES: [ServiceInfo; {}] = [\n{rows}];", services.len())?;
    Ok(code)
}

/// One enum per service with its unary methods, and one per daemon with its services.
fn render_server(services: &[Service]) -> Result<String> {
    let mut code = String::new();
    let mut owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // Counts as `render_methods` does: streams have a row in the table too.
    let mut index = 0_usize;
    for service in services {
        let mut calls = Calls {
            about: format!("Calls of {}, answered by {}.", service.name, service.owner),
            name: format!("{}Call", service.name),
            services: vec![&service.name],
            key: "(request.service(), request.method())",
            ..Calls::default()
        };
        for method in &service.methods {
            if !method.server_streaming {
                let (name, input, output) = (&method.name, &method.input, &method.output);
                writeln!(calls.variants, "    {name}(v1alpha1::{input}, T::Reply<v1alpha1::{output}>),")?;
                writeln!(
                    calls.parse,
                    "            ({:?}, {name:?}) => decoded(&crate::METHODS[{index}], request).map(|(message, reply)| Self::{name}(message, reply)),",
                    service.name
                )?;
                writeln!(calls.info, "            Self::{name}(..) => &crate::METHODS[{index}],")?;
            }
            index += 1;
        }
        // Without a variant nobody could hold a call of it.
        if !calls.variants.is_empty() {
            calls.render(&mut code)?;
            owners.entry(&service.owner).or_default().push(&service.name);
        }
    }
    for (owner, names) in owners {
        let mut calls = Calls {
            about: format!("All calls {owner} answers."),
            name: format!("{}Call", camel(owner)),
            key: "request.service()",
            ..Calls::default()
        };
        for name in names {
            writeln!(calls.variants, "    {name}({name}Call<T>),")?;
            writeln!(calls.parse, "            {name:?} => {name}Call::parse(request).map(Self::{name}),")?;
            writeln!(calls.info, "            Self::{name}(call) => call.info(),")?;
            calls.services.push(name);
        }
        calls.render(&mut code)?;
    }
    Ok(code)
}

/// An enum of calls; the last three hold one line per variant.
#[derive(Default)]
struct Calls<'a> {
    about: String,
    name: String,
    services: Vec<&'a str>,
    /// What `parse` matches on.
    key: &'static str,
    variants: String,
    parse: String,
    info: String,
}

impl Calls<'_> {
    fn render(&self, code: &mut String) -> Result<()> {
        let Self { about, name, services, key, variants, parse, info } = self;
        writeln!(
            code,
            "/// {about}
pub enum {name}<T: Incoming> {{
{variants}}}

impl<T: Incoming> Call<T> for {name}<T> {{
    const SERVICES: &'static [&'static str] = &{services:?};

    fn parse(request: T) -> ::core::result::Result<Self, Refused<T>> {{
        match {key} {{
{parse}            _ => Err(Refused::unimplemented(request)),
        }}
    }}

    fn info(&self) -> &'static MethodInfo {{
        match self {{
{info}        }}
    }}
}}

impl<T: Incoming> fmt::Debug for {name}<T> {{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {{
        f.write_str(self.info().full_name)
    }}
}}
"
        )?;
        Ok(())
    }
}

fn render_binding(binding: &Binding) -> String {
    let segments: Vec<String> = binding
        .path
        .split('/')
        .skip(1)
        .map(|segment| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(field) => format!("Segment::Field({field:?})"),
            None => format!("Segment::Literal({segment:?})"),
        })
        .collect();
    let optional = |text: &str| if text.is_empty() { "None".to_owned() } else { format!("Some({text:?})") };
    format!(
        "HttpBinding {{ verb: {:?}, path: {:?}, segments: &[{}], body: {}, response_body: {} }}",
        binding.verb,
        binding.path,
        segments.join(", "),
        optional(&binding.body),
        optional(&binding.response_body)
    )
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn camel(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_uppercase() + &rest.to_lowercase()
        })
        .collect()
}

// ---- types -----------------------------------------------------------------------------------------------------------

fn generate_types(set: &FileDescriptorSet, pool: &DescriptorPool, out: &Path) -> Result<()> {
    let wanted = |file: &&FileDescriptorProto| {
        matches!(file.package(), PACKAGE | "google.rpc" | "google.type" | "google.protobuf")
    };
    let set = FileDescriptorSet { file: set.file.iter().filter(wanted).cloned().collect() };
    // Fields marked `debug_redact` hold passwords and tokens. Their messages get a Debug that does not show them.
    let secret: Vec<MessageDescriptor> = pool
        .all_messages()
        .filter(|message| {
            message.package_name() == PACKAGE && message.fields().any(|field| is_secret(&field))
        })
        .collect();
    let mut config = prost_build::Config::new();
    config
        .out_dir(out)
        .enable_type_names()
        // Comments of others hold code blocks that are no Rust.
        .disable_comments([".google"])
        .skip_debug(secret.iter().map(|message| format!(".{}", message.full_name())))
        .compile_fds(set)?;
    let mut code = String::new();
    for message in &secret {
        writeln!(code, "impl ::core::fmt::Debug for {} {{", message.name())?;
        writeln!(code, "    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{")?;
        writeln!(code, "        f.debug_struct({:?})", message.name())?;
        for field in message.fields() {
            if is_secret(&field) {
                writeln!(
                    code,
                    "            .field({:?}, &::core::format_args!(\"[redacted]\"))",
                    field.name()
                )?;
            } else {
                writeln!(code, "            .field({0:?}, &self.{0})", field.name())?;
            }
        }
        writeln!(code, "            .finish()\n    }}\n}}")?;
    }
    fs::write(out.join("redacted.rs"), code)?;
    Ok(())
}

fn is_secret(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or_default()
}
