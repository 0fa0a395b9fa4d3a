//! Field masks: what of a message a reader wants, what of it a writer may change.
//!
//! Paths are those of `google.protobuf.FieldMask` on the wire: names of the `.proto` file joined by dots (its JSON form,
//! lowerCamelCase with commas, is translated by the JSON codec). A path may end at a list or map but not go into one.

use prost_reflect::prost::{Message, Name};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, ReflectMessage as _, Value};

/// Most paths of one mask: several times the fields of the largest resource. What one request costs is bounded (I-6).
pub const PATHS_MAX: usize = 256;

/// Why a mask cannot be applied. All are INVALID_ARGUMENT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// The message has no such field.
    #[error("`{path}` is no field of {message}")]
    Unknown {
        /// As given.
        path: String,
        /// Name of the message.
        message: String,
    },
    /// The field exists but clients do not write it.
    #[error("`{path}` cannot be written; writable: {writable}")]
    ReadOnly {
        /// As given.
        path: String,
        /// What can be.
        writable: String,
    },
    /// More paths than a mask may have.
    #[error("the mask has {0} paths, it may have {PATHS_MAX}")]
    TooLong(usize),
    /// The message is not one of the contract, or its bytes are not what its type says.
    #[error("{0} cannot be reflected")]
    Foreign(String),
}

/// Checks the length of the masks a request carries, before anything is done with their paths.
///
/// # Errors
/// [`MaskError::TooLong`].
pub fn check(request: &DynamicMessage) -> Result<(), MaskError> {
    for (field, value) in request.fields() {
        let Kind::Message(descriptor) = field.kind() else { continue };
        if descriptor.full_name() != "google.protobuf.FieldMask" || field.is_list() || field.is_map() {
            continue;
        }
        let paths = value
            .as_message()
            .and_then(|mask| mask.get_field_by_name("paths").map(|paths| paths.into_owned()));
        is_short(paths.as_ref().and_then(Value::as_list).map_or(0, <[Value]>::len))?;
    }
    Ok(())
}

fn is_short(paths: usize) -> Result<(), MaskError> {
    if paths > PATHS_MAX { Err(MaskError::TooLong(paths)) } else { Ok(()) }
}

/// Keeps only what the mask names. An empty mask or the path `*` keeps all.
///
/// # Errors
/// [`MaskError::Unknown`] for a path that is no field; the message is then unchanged.
pub fn keep(message: &mut DynamicMessage, paths: &[String]) -> Result<(), MaskError> {
    is_short(paths.len())?;
    for path in paths {
        resolve(&message.descriptor(), path)?;
    }
    if paths.is_empty() || paths.iter().any(|path| path == "*") {
        return Ok(());
    }
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    prune(message, &paths);
    Ok(())
}

/// [`keep`] on a generated type.
///
/// # Errors
/// As [`keep`]; [`MaskError::Foreign`] for a type that is not of the contract.
pub fn keep_in<M: Message + Name + Default>(message: &mut M, paths: &[String]) -> Result<(), MaskError> {
    let mut dynamic = reflect(message)?;
    keep(&mut dynamic, paths)?;
    *message = typed(&dynamic)?;
    Ok(())
}

/// What a reader wants of a message: all of it without a mask.
///
/// # Errors
/// As [`keep_in`].
pub fn masked<M: Message + Name + Default>(
    mut message: M,
    mask: Option<&prost_types::FieldMask>,
) -> Result<M, MaskError> {
    if let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) {
        keep_in(&mut message, &mask.paths)?;
    }
    Ok(message)
}

/// Writes into `target` what `patch` holds at the paths: a field set in the patch is copied, one not set is cleared. Without
/// paths, what is set in the patch and writable is copied (what a client read and sends back is not an error). `*` stands for
/// all that is writable. `writable` lists paths; what is below one is writable too.
///
/// Returns the paths whose value changed, sorted.
///
/// # Errors
/// [`MaskError`] for a path that is no field or not writable; the target is then unchanged.
pub fn update(
    target: &mut DynamicMessage,
    patch: &DynamicMessage,
    paths: &[String],
    writable: &[&str],
) -> Result<Vec<String>, MaskError> {
    is_short(paths.len())?;
    let descriptor = target.descriptor();
    let mut chosen: Vec<String> = Vec::new();
    if paths.is_empty() {
        chosen
            .extend(writable.iter().filter(|path| get(patch, path).is_some()).map(|path| (*path).to_owned()));
    }
    for path in paths {
        if path == "*" {
            chosen.extend(writable.iter().map(|path| (*path).to_owned()));
            continue;
        }
        resolve(&descriptor, path)?;
        if !writable.iter().any(|allowed| covers(allowed, path)) {
            return Err(MaskError::ReadOnly { path: path.clone(), writable: writable.join(", ") });
        }
        chosen.push(path.clone());
    }
    chosen.sort();
    chosen.dedup();
    let mut changed = Vec::new();
    for path in chosen {
        let value = get(patch, &path);
        if get(target, &path) != value {
            set(target, &path, value);
            changed.push(path);
        }
    }
    Ok(changed)
}

/// [`update`] on a generated type.
///
/// # Errors
/// As [`update`]; [`MaskError::Foreign`] for a type that is not of the contract.
pub fn update_in<M: Message + Name + Default>(
    target: &mut M,
    patch: &M,
    paths: &[String],
    writable: &[&str],
) -> Result<Vec<String>, MaskError> {
    let mut dynamic = reflect(target)?;
    let changed = update(&mut dynamic, &reflect(patch)?, paths, writable)?;
    *target = typed(&dynamic)?;
    Ok(changed)
}

fn reflect<M: Message + Name>(message: &M) -> Result<DynamicMessage, MaskError> {
    crate::reflect(message).ok_or_else(|| MaskError::Foreign(M::full_name()))
}

fn typed<M: Message + Name + Default>(dynamic: &DynamicMessage) -> Result<M, MaskError> {
    dynamic.transcode_to().map_err(|_| MaskError::Foreign(M::full_name()))
}

/// True when `path` is `allowed` or below it.
fn covers(allowed: &str, path: &str) -> bool {
    path.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn resolve(message: &MessageDescriptor, path: &str) -> Result<(), MaskError> {
    if path == "*" {
        return Ok(());
    }
    let unknown = || MaskError::Unknown { path: path.to_owned(), message: message.name().to_owned() };
    let mut current = Some(message.clone());
    for name in path.split('.') {
        let field =
            current.as_ref().and_then(|message| message.get_field_by_name(name)).ok_or_else(unknown)?;
        current = match field.kind() {
            Kind::Message(inner) if !field.is_list() && !field.is_map() => Some(inner),
            _ => None,
        };
    }
    Ok(())
}

fn prune(message: &mut DynamicMessage, paths: &[&str]) {
    let fields: Vec<_> = message.descriptor().fields().collect();
    for field in fields {
        if paths.contains(&field.name()) || !message.has_field(&field) {
            continue;
        }
        let below: Vec<&str> = paths
            .iter()
            .filter_map(|path| path.strip_prefix(field.name()).and_then(|rest| rest.strip_prefix('.')))
            .collect();
        if below.is_empty() {
            message.clear_field(&field);
        } else if let Value::Message(inner) = message.get_field_mut(&field) {
            prune(inner, &below);
        }
    }
}

/// The value at a path, when it is set.
fn get(message: &DynamicMessage, path: &str) -> Option<Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = message.descriptor().get_field_by_name(first)?;
    if !message.has_field(&field) {
        return None;
    }
    let value = message.get_field(&field);
    match rest {
        None => Some(value.into_owned()),
        Some(rest) => get(value.as_message()?, rest),
    }
}

fn set(message: &mut DynamicMessage, path: &str, value: Option<Value>) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(field) = message.descriptor().get_field_by_name(first) else { return };
    match (rest, value) {
        (None, Some(value)) => message.set_field(&field, value),
        (None, None) => message.clear_field(&field),
        // Clearing inside what is not there changes nothing.
        (Some(_), None) if !message.has_field(&field) => {}
        (Some(rest), value) => {
            if let Value::Message(inner) = message.get_field_mut(&field) {
                set(inner, rest, value);
            }
        }
    }
}
