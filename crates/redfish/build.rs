//! Makes constants of DMTF's registries: a template for each message, an entity with its privileges for each resource type. What a program does
//! not name is not in it. The message registries themselves are packed, as they are served.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, error, fs};

use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn error::Error>>;

/// Modules and files of message registries.
const REGISTRIES: [(&str, &str); 5] = [
    ("base", "Base.1.22.1"),
    ("resource_event", "ResourceEvent.1.4.3"),
    ("task_event", "TaskEvent.1.0.5"),
    ("update", "Update.1.3.0"),
    ("heartbeat_event", "HeartbeatEvent.1.1.1"),
];
const PRIVILEGES: &str = "Redfish_1.8.0_PrivilegeRegistry";

#[allow(clippy::print_stderr, reason = "cargo shows what a failed build script wrote there")]
fn main() {
    if let Err(error) = run() {
        eprintln!("redfish: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let dmtf = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("dmtf");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=dmtf");
    let mut code = String::new();
    for (module, file) in REGISTRIES {
        messages(&read(&dmtf, file)?, module, file, &out, &mut code)?;
    }
    fs::write(out.join("messages.rs"), code)?;
    fs::write(out.join("entities.rs"), entities(&read(&dmtf, PRIVILEGES)?)?)?;
    Ok(())
}

fn read(dmtf: &Path, file: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(dmtf.join(format!("{file}.json")))?)?)
}

fn text<'v>(value: &'v Value, name: &str) -> Result<&'v str> {
    value.get(name).and_then(Value::as_str).ok_or_else(|| format!("{name} is missing in {value}").into())
}

/// `PropertyUnknown` as `PROPERTY_UNKNOWN`, `PCIeDevice` as `PCIE_DEVICE`.
fn constant(name: &str) -> String {
    let name = name.replace("PCIe", "Pcie").replace("NVMe", "Nvme");
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, char) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        let after = chars.get(at + 1);
        let starts = char.is_uppercase()
            && before.is_some_and(|before| !before.is_uppercase() || after.is_some_and(|c| c.is_lowercase()));
        if starts {
            out.push('_');
        }
        out.push(char.to_ascii_uppercase());
    }
    out
}

fn messages(registry: &Value, module: &str, file: &str, out: &Path, code: &mut String) -> Result<()> {
    let (prefix, version) = (text(registry, "RegistryPrefix")?, text(registry, "RegistryVersion")?);
    // DSP0266 §"MessageId format": the errata version is left out.
    let short = version.rsplit_once('.').ok_or("a version has three parts")?.0;
    writeln!(code, "/// `{prefix}`, version {version}.\npub mod {module} {{")?;
    writeln!(code, "    use super::{{Severity, Template}};")?;
    let all = registry.get("Messages").and_then(Value::as_object).ok_or("no messages")?;
    for (id, message) in all {
        let args = message.get("NumberOfArgs").and_then(Value::as_u64).ok_or("NumberOfArgs")?;
        writeln!(
            code,
            "    /// {:?}\n    pub static {}: Template = Template {{ id: \"{prefix}.{short}.{id}\", severity: Severity::{}, text: {:?}, resolution: {:?}, args: {args} }};",
            text(message, "Message")?,
            constant(id),
            text(message, "MessageSeverity")?,
            text(message, "Message")?,
            text(message, "Resolution")?,
        )?;
    }
    let packed = format!("{module}.json.gz");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(serde_json::to_string(registry)?.as_bytes())?;
    fs::write(out.join(&packed), gzip.finish()?)?;
    writeln!(
        code,
        "    /// The registry itself.\n    pub static REGISTRY: super::Registry = super::Registry {{ prefix: \"{prefix}\", version: \"{version}\", owner: \"DMTF\", publication: Some(\"https://redfish.dmtf.org/registries/{file}.json\"), content: super::Content::Packed(include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{packed}\"))) }};",
    )?;
    writeln!(code, "}}")?;
    Ok(())
}

const METHODS: [&str; 6] = ["GET", "HEAD", "PATCH", "POST", "PUT", "DELETE"];

/// A map of operations as a list of alternatives for each method; `None` for a method an override does not name.
fn operations(map: &Value) -> Result<String> {
    let mut out = "Operations([".to_owned();
    for method in METHODS {
        let Some(alternatives) = map.get(method) else {
            out.push_str("None, ");
            continue;
        };
        out.push_str("Some(&[");
        for alternative in alternatives.as_array().ok_or("alternatives are a list")? {
            let names =
                alternative.get("Privilege").and_then(Value::as_array).ok_or("Privilege is a list")?;
            let mut bits = Vec::new();
            for name in names {
                let name = name.as_str().ok_or("a privilege is a name")?;
                bits.push(format!("Privileges::{}.0", constant(name)));
            }
            write!(out, "Privileges({}), ", bits.join(" | "))?;
        }
        out.push_str("]), ");
    }
    out.push_str("])");
    Ok(out)
}

fn names(value: &Value) -> Result<String> {
    let mut out = "&[".to_owned();
    for name in value.get("Targets").and_then(Value::as_array).ok_or("Targets is a list")? {
        write!(out, "{:?}, ", name.as_str().ok_or("a target is a name")?)?;
    }
    out.push(']');
    Ok(out)
}

fn overrides(mapping: &Value, kind: &str) -> Result<String> {
    let mut out = "&[".to_owned();
    for entry in mapping.get(kind).and_then(Value::as_array).into_iter().flatten() {
        let map = entry.get("OperationMap").ok_or("OperationMap")?;
        write!(out, "({}, {}), ", names(entry)?, operations(map)?)?;
    }
    out.push(']');
    Ok(out)
}

fn entities(registry: &Value) -> Result<String> {
    let mut out = String::new();
    for mapping in registry.get("Mappings").and_then(Value::as_array).ok_or("no mappings")? {
        let name = text(mapping, "Entity")?;
        writeln!(
            out,
            "/// Who may do what with a `{name}`.\npub static {}: Entity = Entity {{ name: \"{name}\", operations: {}, properties: {}, below: {} }};",
            constant(name),
            operations(mapping.get("OperationMap").ok_or("OperationMap")?)?,
            overrides(mapping, "PropertyOverrides")?,
            overrides(mapping, "SubordinateOverrides")?,
        )?;
    }
    Ok(out)
}
