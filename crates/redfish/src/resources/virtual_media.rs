//! VirtualMedia: the drives of hosts whose medium comes from elsewhere. They are mediasrv's (`MediaService`), and shown below the manager and below each machine:
//! clients look at either.

use prost::Message as _;
use schema::Code;
use schema::rpc::media_service;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::base;
use crate::privilege::entity;
use crate::resource::{
    Action, Answered, Change, Given, Kind, Names, Parameter, Patch, Property, Resource, collection, link,
    pointer, status,
};
use crate::world::{Call, Need, World};
use crate::{Fault, Fields, Message};

use super::{name, said, tasks};

const KIND: &str = "VirtualMedia.v1_4_0.VirtualMedia";
const COLLECTION_KIND: &str = "VirtualMediaCollection.VirtualMediaCollection";
/// The only one.
const MANAGER: &str = "bmc";
const INSERT: &str = "VirtualMedia.InsertMedia";

/// By what an image comes; plain HTTP where mediasrv allows it.
const HTTPS: &str = "HTTPS";
const HTTP: &str = "HTTP";

/// What else an insertion may be told.
const PROTOCOL: Property =
    Property { path: "TransferProtocolType", kind: Kind::Enum(&[HTTPS, HTTP]), nullable: true };
const METHOD: Property =
    Property { path: "TransferMethod", kind: Kind::Enum(&["Stream", "Upload"]), nullable: true };
const USER_NAME: Property = Property { path: "UserName", kind: Kind::Text(256), nullable: true };
const PASSWORD: Property = Property { path: "Password", kind: Kind::Secret(256), nullable: true };
const INSERTED: Property = Property::new("Inserted", Kind::Bool);
const WRITE_PROTECTED: Property = Property::new("WriteProtected", Kind::Bool);

/// An image is inserted, with what is said beside it, and null is ejected (DSP0268, `Image`). Whether the certificate of its server is verified may be said
/// before as well, as the action has no parameter for it.
const PATCH: Patch = Patch {
    properties: &[
        Property::new("VerifyCertificate", Kind::Bool),
        Property { path: "Image", kind: Kind::Text(2048), nullable: true },
        INSERTED,
        WRITE_PROTECTED,
        PROTOCOL,
        METHOD,
        USER_NAME,
        PASSWORD,
    ],
    apply,
    changes: &[Need::Media],
};

/// An image in another way than was said, as without its login or for the host to write, is not what was asked for.
const TOGETHER: &[&[&str]] = &[&[
    "Image",
    "VerifyCertificate",
    "Inserted",
    "WriteProtected",
    "TransferProtocolType",
    "TransferMethod",
    "UserName",
    "Password",
]];

/// What mediasrv calls the parameters of an insertion. A file of its store cannot be named here.
const FIELDS: Fields = &[
    ("url", "Image"),
    ("store_file", "Image"),
    ("writable", "WriteProtected"),
    ("source_username", "UserName"),
    ("source_password", "Password"),
    ("copy", "TransferMethod"),
];

/// Properties whose null says that there is such a thing and nothing is given: clients give what they see (Ansible's `VirtualMediaInsert`). A password is never
/// shown, nor whom the server takes an image's reader for.
const NULLS: &[&str] =
    &["Image", "ImageName", "UserName", "Password", "TransferMethod", "TransferProtocolType"];

const PARAMETERS: &[Parameter] = &[
    Parameter { property: Property::new("Image", Kind::Text(2048)), required: true },
    Parameter { property: INSERTED, required: false },
    Parameter { property: WRITE_PROTECTED, required: false },
    Parameter { property: PROTOCOL, required: false },
    Parameter { property: METHOD, required: false },
    Parameter { property: USER_NAME, required: false },
    Parameter { property: PASSWORD, required: false },
];

/// What can be done with a drive; whether it is at this place is asked in a way of its own at each.
const fn actions(is_there: fn(&World, Names<'_>) -> Result<bool, Fault>) -> [Action; 2] {
    [
        Action {
            name: INSERT,
            parameters: PARAMETERS,
            is_there,
            run: |_, names, given| {
                if given.bool("Inserted") == Some(false) {
                    let message = base::ACTION_PARAMETER_NOT_SUPPORTED.with(&["Inserted", INSERT]);
                    return Err(message.about(pointer("Inserted")));
                }
                insert(names, given)
            },
        },
        Action {
            name: "VirtualMedia.EjectMedia",
            parameters: &[],
            is_there,
            run: |_, names, _| Ok(eject(names)),
        },
    ]
}

static ACTIONS_AT_MANAGER: [Action; 2] = actions(is_at_manager);
static ACTIONS_AT_SYSTEM: [Action; 2] = actions(is_at_system);

pub(super) static OF_MANAGER: Resource = Resource::new(
    "Managers/{}/VirtualMedia",
    COLLECTION_KIND,
    &entity::VIRTUAL_MEDIA_COLLECTION,
    |world, names| {
        if world.controller(name(names, 0))?.is_none() {
            return Ok(None);
        }
        listed(world, &format!("Managers/{}", name(names, 0)), |_| true)
    },
);

pub(super) static OF_SYSTEM: Resource = Resource::new(
    "Systems/{}/VirtualMedia",
    COLLECTION_KIND,
    &entity::VIRTUAL_MEDIA_COLLECTION,
    |world, names| {
        let host = name(names, 0);
        if world.host(host)?.is_none() {
            return Ok(None);
        }
        listed(world, &format!("Systems/{host}"), |slot| slot.host_name == host)
    },
);

pub(super) static AT_MANAGER: Resource = Resource {
    nulls: NULLS,
    patch: Some(PATCH),
    together: TOGETHER,
    actions: &ACTIONS_AT_MANAGER,
    values: Some(values),
    answers: Some(answer),
    fields: FIELDS,
    ..Resource::new("Managers/{}/VirtualMedia/{}", KIND, &entity::VIRTUAL_MEDIA, |world, names| {
        Ok(at_manager(world, names)?.map(|slot| show(world, slot)))
    })
};

pub(super) static AT_SYSTEM: Resource = Resource {
    nulls: NULLS,
    patch: Some(PATCH),
    together: TOGETHER,
    actions: &ACTIONS_AT_SYSTEM,
    values: Some(values),
    answers: Some(answer),
    fields: FIELDS,
    ..Resource::new("Systems/{}/VirtualMedia/{}", KIND, &entity::VIRTUAL_MEDIA, |world, names| {
        Ok(at_system(world, names)?.map(|slot| show(world, slot)))
    })
};

/// The link to a collection, where there are drives.
pub(super) fn below(world: &World, uri: &str, host: Option<&str>) -> Option<Value> {
    let slots = &world.media().ok()?.slots;
    let has = slots.iter().any(|slot| host.is_none_or(|host| slot.host_name == host));
    has.then(|| link(&format!("{uri}/VirtualMedia")))
}

fn listed(world: &World, at: &str, has: impl Fn(&v1::MediaSlot) -> bool) -> Result<Option<Value>, Fault> {
    let slots = world.media()?.slots.iter().filter(|slot| has(slot));
    let uris = slots.map(|slot| format!("/redfish/v1/{at}/VirtualMedia/{}", slot.name)).collect();
    Ok(Some(collection("Virtual media", uris)))
}

/// The drive that a path names, wherever that is: no two are called the same.
fn slot<'w>(world: &'w World, names: Names<'_>) -> Result<Option<&'w v1::MediaSlot>, Fault> {
    Ok(world.media()?.slots.iter().find(|slot| slot.name == name(names, 1)))
}

/// The drive at a manager, which has all of them.
fn at_manager<'w>(world: &'w World, names: Names<'_>) -> Result<Option<&'w v1::MediaSlot>, Fault> {
    Ok(slot(world, names)?.filter(|_| name(names, 0) == MANAGER))
}

/// The drive at a machine, which has its own.
fn at_system<'w>(world: &'w World, names: Names<'_>) -> Result<Option<&'w v1::MediaSlot>, Fault> {
    Ok(slot(world, names)?.filter(|slot| slot.host_name == name(names, 0)))
}

fn is_at_manager(world: &World, names: Names<'_>) -> Result<bool, Fault> {
    Ok(at_manager(world, names)?.is_some())
}

fn is_at_system(world: &World, names: Names<'_>) -> Result<bool, Fault> {
    Ok(at_system(world, names)?.is_some())
}

/// What mediasrv takes of what a parameter may be.
fn values(world: &World, _: Names<'_>, _: &str, parameter: &str) -> Option<Vec<&'static str>> {
    if parameter != PROTOCOL.path {
        return None;
    }
    let plain = world.media().is_ok_and(|answer| answer.plain_http);
    Some([HTTPS, HTTP].into_iter().filter(|protocol| plain || *protocol != HTTP).collect())
}

fn show(world: &World, slot: &v1::MediaSlot) -> Value {
    let is_inserted = matches!(slot.state(), v1::MediaState::Inserted | v1::MediaState::NotReady);
    let is_url = slot.source() == v1::MediaSource::Url;
    let types: &[&str] = match slot.kind() {
        v1::MediaKind::Usb => &["USBStick"],
        _ => &["CD", "DVD"],
    };
    let image = if is_url { said(Some(&slot.url)) } else { said(Some(&slot.image_name)) };
    json!({
        "Name": format!("Virtual media {} of {}", slot.name, slot.host_name),
        "Description": said(Some(&slot.fault)),
        "MediaTypes": types,
        "ConnectedVia": match (is_inserted, slot.source()) {
            (false, _) => "NotConnected",
            (true, v1::MediaSource::Url) => "URI",
            (true, v1::MediaSource::Session) => "Applet",
            (true, _) => "Oem",
        },
        "Inserted": is_inserted,
        "Image": image.filter(|_| is_inserted),
        "ImageName": said(Some(&slot.image_name)).filter(|_| is_inserted),
        "WriteProtected": !slot.writable,
        "UserName": null,
        "Password": null,
        "TransferMethod": (is_inserted && is_url).then_some("Stream"),
        "TransferProtocolType": (is_inserted && is_url)
            .then(|| if slot.url.starts_with("http://") { HTTP } else { HTTPS }),
        "VerifyCertificate": verifies(world, slot),
        "Status": match slot.state() {
            v1::MediaState::NotReady => status("Enabled", Some("Warning")),
            v1::MediaState::Inserting | v1::MediaState::Ejecting => status("Updating", Some("OK")),
            _ => status("Enabled", Some("OK")),
        },
    })
}

/// Whether the certificate of the server is verified; without a medium: of the next one, if who asks inserts it. Of others' insertions nothing is said.
fn verifies(world: &World, slot: &v1::MediaSlot) -> Option<bool> {
    if slot.state() == v1::MediaState::Empty {
        return Some(slot.verify_certificate || slot.username != world.about.asker.username);
    }
    (slot.source() == v1::MediaSource::Url).then_some(slot.verify_certificate)
}

/// The URL of an image: its protocol may be given beside it.
fn url(given: &Given) -> String {
    let image = given.text("Image").unwrap_or_default();
    match given.text("TransferProtocolType") {
        Some(protocol) if !image.contains("://") => {
            format!("{}://{}", protocol.to_ascii_lowercase(), image.trim_start_matches('/'))
        }
        _ => image.to_owned(),
    }
}

fn insert(names: Names<'_>, given: &Given) -> Result<Call, Message> {
    let text = |name: &str| given.text(name).unwrap_or_default().to_owned();
    let request = v1::InsertMediaRequest {
        name: name(names, 1).to_owned(),
        url: url(given),
        verify_certificate: given.bool("VerifyCertificate"),
        writable: given.bool("WriteProtected") == Some(false),
        source_username: text("UserName"),
        source_password: text("Password"),
        // DSP0268: the service has all of the image before it is used.
        copy: given.text("TransferMethod") == Some("Upload"),
        ..v1::InsertMediaRequest::default()
    };
    Ok(Call::new(media_service::INSERT_MEDIA, &request))
}

/// What a PATCH asks for: an insertion is one call with all that was said of it.
fn apply(world: &World, names: Names<'_>, given: &Given) -> Vec<Change> {
    let all =
        || PATCH.properties.iter().map(|property| property.path).filter(|path| given.get(path).is_some());
    let conflict = |path: &'static str| {
        let other = if path == "Image" { "Inserted" } else { "Image" };
        Change::of(path, Err(base::PROPERTY_VALUE_CONFLICT.with(&[path, other])))
    };
    if given.text("Image").is_some() {
        if given.bool("Inserted") == Some(false) {
            return ["Image", "Inserted"].map(conflict).into();
        }
        return vec![Change { properties: all().collect(), call: insert(names, given) }];
    }
    let mut changes = Vec::new();
    if given.bool("VerifyCertificate").is_some() {
        let request = v1::ConfigureMediaRequest {
            name: name(names, 1).to_owned(),
            verify_certificate: given.bool("VerifyCertificate"),
        };
        let call = Call::new(media_service::CONFIGURE_MEDIA, &request);
        changes.push(Change::of("VerifyCertificate", Ok(call)));
    }
    let shown = slot(world, names).ok().flatten().map(|slot| show(world, slot)).unwrap_or_default();
    let is_ejected = given.get("Image").is_some();
    for path in all().filter(|path| *path != "VerifyCertificate") {
        match path {
            "Image" => changes.push(Change::of(path, Ok(eject(names)))),
            // That nothing is inserted then is what was asked for.
            "Inserted" if is_ejected && given.bool(path) == Some(false) => {}
            // Sent back as it was read.
            _ if shown.get(path) == given.get(path) => {}
            // How it is inserted says nothing without an image.
            _ => changes.push(conflict(path)),
        }
    }
    changes
}

/// What is copied first goes on as a task.
fn answer(action: &str, bytes: &[u8]) -> Result<Answered, Fault> {
    if action != INSERT {
        return Ok(Answered::Nothing);
    }
    let done = v1::InsertMediaResponse::decode(bytes);
    let done = done.map_err(|error| {
        Fault::new(Code::Internal, &format!("an answer came as bytes that are none: {error}"))
    })?;
    let task = |copy: v1::MediaCopy| Answered::Task { name: tasks::name_of_copy(&copy), id: copy.id };
    Ok(done.copy.map_or(Answered::Nothing, task))
}

fn eject(names: Names<'_>) -> Call {
    let request = v1::EjectMediaRequest { name: name(names, 1).to_owned() };
    Call::new(media_service::EJECT_MEDIA, &request)
}
