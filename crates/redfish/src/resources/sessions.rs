//! SessionService: who is logged in, all of it usermgr's (`SessionService`), and how long a session lasts that nobody uses (`UserService`, its policy).

use prost::Message as _;
use schema::Code;
use schema::rpc::{session_service, user_service};
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::base;
use crate::privilege::entity;
use crate::resource::{
    Change, Create, Deed, Given, Kind, Made, Names, Patch, Property, Resource, collection, link, prune,
    status,
};
use crate::world::{Call, Need, World};
use crate::{Fault, Message};

use super::{name, said};

/// What `SessionTimeout` may be, seconds (DSP0268).
const TIMEOUT: (i64, i64) = (30, 86_400);

pub(super) static SERVICE: Resource = Resource {
    patch: Some(Patch {
        properties: &[Property::new("SessionTimeout", Kind::Integer(TIMEOUT.0, TIMEOUT.1))],
        apply: set_timeout,
        changes: &[Need::Policy],
    }),
    ..Resource::new(
        "SessionService",
        "SessionService.v1_0_0.SessionService",
        &entity::SESSION_SERVICE,
        |world, _| {
            let policy = world.policy().ok().and_then(|answer| answer.policy.as_ref());
            let idle = policy.and_then(|policy| policy.session_idle).map(|span| span.seconds);
            Ok(Some(json!({
                "Name": "Session service",
                "ServiceEnabled": true,
                // A site may have configured one that the schema has no number for.
                "SessionTimeout": idle.filter(|seconds| (TIMEOUT.0..=TIMEOUT.1).contains(seconds)),
                "Sessions": link("/redfish/v1/SessionService/Sessions"),
                "Status": status("Enabled", Some("OK")),
            })))
        },
    )
};

fn set_timeout(_world: &World, _names: Names<'_>, given: &Given) -> Vec<Change> {
    let seconds = given.get("SessionTimeout").and_then(Value::as_i64).unwrap_or_default();
    let session_idle = Some(prost_types::Duration { seconds, nanos: 0 });
    let request = v1::UpdateAccountPolicyRequest {
        policy: Some(v1::AccountPolicy { session_idle, ..v1::AccountPolicy::default() }),
        field_mask: Some(prost_types::FieldMask { paths: vec!["session_idle".to_owned()] }),
    };
    vec![Change::of("SessionTimeout", Ok(Call::new(user_service::UPDATE_ACCOUNT_POLICY, &request)))]
}

pub(super) static COLLECTION: Resource = Resource {
    create: Some(Create {
        properties: &[
            (Property::new("UserName", Kind::Text(64)), true),
            (Property::new("Password", Kind::Secret(128)), true),
        ],
        call: |world, given| log_in(world, given).map_err(|message| vec![message]),
        made,
        changes: &[],
    }),
    fields: &[("username", "UserName"), ("password", "Password")],
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

/// Without its `SessionType`: by which way in it was made nobody has kept, and it is good for all that take tokens.
fn shown(session: &v1::Session) -> Value {
    json!({
        "Name": "Session",
        "UserName": session.username,
        "Roles": [session.role],
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
        account_type: Some(v1::AccountType::Redfish.into()),
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
