//! SessionService: who is logged in, all of it usermgr's (`SessionService`).

use prost::Message as _;
use schema::Code;
use schema::rpc::session_service;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::base;
use crate::privilege::entity;
use crate::resource::{
    Create, Deed, Given, Kind, Made, Names, Property, Resource, collection, link, prune, status,
};
use crate::world::{Call, World};
use crate::{Fault, Message};

use super::{name, said};

pub(super) static SERVICE: Resource = Resource::new(
    "SessionService",
    "SessionService.v1_0_0.SessionService",
    &entity::SESSION_SERVICE,
    |_, _| {
        Ok(Some(json!({
            "Name": "Session service",
            "ServiceEnabled": true,
            "Sessions": link("/redfish/v1/SessionService/Sessions"),
            "Status": status("Enabled", Some("OK")),
        })))
    },
);

pub(super) static COLLECTION: Resource = Resource {
    create: Some(Create {
        properties: &[
            (Property::new("UserName", Kind::Text(64)), true),
            (Property::new("Password", Kind::Secret(128)), true),
        ],
        call: log_in,
        made,
        changes: &[],
    }),
    ..Resource::new(
        "SessionService/Sessions",
        "SessionCollection.SessionCollection",
        &entity::SESSION_COLLECTION,
        |world, _| {
            let all = world.open_sessions()?;
            let uris =
                all.iter().map(|session| format!("/redfish/v1/SessionService/Sessions/{}", session.id));
            Ok(Some(collection("Sessions", uris.collect())))
        },
    )
};

pub(super) static SESSION: Resource = Resource {
    delete: Some(|_, names| {
        let request = v1::DeleteSessionRequest { id: name(names, 0).to_owned() };
        Ok(Deed::Call(Call::new(session_service::DELETE_SESSION, &request)))
    }),
    ..Resource::new("SessionService/Sessions/{}", "Session.v1_7_0.Session", &entity::SESSION, show)
};

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let all = world.open_sessions()?;
    Ok(all.into_iter().find(|session| session.id == name(names, 0)).map(shown))
}

fn shown(session: &v1::Session) -> Value {
    json!({
        "Name": "Session",
        "UserName": session.username,
        "Roles": [session.role],
        "SessionType": "Redfish",
        "ClientOriginIPAddress": said(Some(&session.address)),
        "CreatedTime": session.created_at.map(|at| at.to_string()),
    })
}

fn log_in(_world: &World, given: &Given) -> Result<Call, Message> {
    let text = |name: &str| given.text(name).unwrap_or_default().to_owned();
    // Where it comes from is filled in by the gate.
    let request = v1::CreateSessionRequest {
        username: text("UserName"),
        password: text("Password"),
        ..v1::CreateSessionRequest::default()
    };
    Ok(Call::new(session_service::CREATE_SESSION, &request))
}

fn made(answer: &[u8]) -> Result<Made, Fault> {
    let bad = || Fault::new(Code::Internal, "the answer to a login is none");
    let answer = v1::CreateSessionResponse::decode(answer).map_err(|_| bad())?;
    let session = answer.session.ok_or_else(bad)?;
    let uri = format!("/redfish/v1/SessionService/Sessions/{}", session.id);
    let mut value = shown(&session);
    prune(&mut value, &[]);
    if let Value::Object(map) = &mut value {
        map.insert("@odata.id".to_owned(), uri.into());
        map.insert("@odata.type".to_owned(), format!("#{}", SESSION.kind).into());
        map.insert("Id".to_owned(), session.id.clone().into());
    }
    let account = format!("/redfish/v1/AccountService/Accounts/{}", session.username);
    let messages = if session.password_change_required {
        vec![base::PASSWORD_CHANGE_REQUIRED.with(&[&account])]
    } else {
        Vec::new()
    };
    Ok(Made { name: session.id, shown: Some(value), headers: vec![("x-auth-token", answer.token)], messages })
}
