//! Roles: what accounts can be allowed to do, all of it usermgr's (`RoleService`). The three of DSP0266 §13.3.4 are as they are; others are made.

use prost::Message as _;
use schema::Code;
use schema::rpc::role_service;
use schema::v1alpha1 as v1;
use serde_json::json;

use crate::message::base;
use crate::privilege::{Privileges, entity};
use crate::resource::{
    Change, Create, Deed, Given, Kind, Made, Names, Patch, Property, Resource, collection,
};
use crate::world::{Call, Need, World};
use crate::{Fault, Fields, Message};

use super::{name, said};

const STANDARD: &str = "AssignedPrivileges";
const OEM: &str = "OemPrivileges";

/// Those of the contract that the standard has no word for.
const OF_OURS: [(v1::Privilege, &str); 1] = [(v1::Privilege::ViewScreens, "ViewScreens")];

/// What usermgr calls the properties of a role.
const FIELDS: Fields = &[("id", "RoleId"), ("privileges", STANDARD), ("description", "Description")];

pub(super) static COLLECTION: Resource = Resource {
    create: Some(Create {
        properties: &[
            (Property::new("RoleId", Kind::Text(64)), true),
            (Property::new(STANDARD, Kind::Texts(16)), true),
            (Property::new(OEM, Kind::Texts(16)), false),
            (Property::new("Description", Kind::Text(256)), false),
        ],
        call: |world, given| create(world, given).map_err(|message| vec![message]),
        made,
        changes: &[Need::Roles],
    }),
    fields: FIELDS,
    ..Resource::new(
        "AccountService/Roles",
        "RoleCollection.RoleCollection",
        &entity::ROLE_COLLECTION,
        |world, _| {
            let all = world.roles()?.roles.iter();
            Ok(Some(collection(
                "Roles",
                all.map(|role| format!("/redfish/v1/AccountService/Roles/{}", role.id)).collect(),
            )))
        },
    )
};

pub(super) static ROLE: Resource = Resource {
    patch: Some(Patch {
        properties: &[Property::new(STANDARD, Kind::Texts(16)), Property::new(OEM, Kind::Texts(16))],
        apply,
        changes: &[Need::Roles],
    }),
    fields: FIELDS,
    delete: Some(|_, names| {
        let request = v1::DeleteRoleRequest { id: name(names, 0).to_owned() };
        Ok(Deed::Call(Call::new(role_service::DELETE_ROLE, &request)))
    }),
    ..Resource::new("AccountService/Roles/{}", "Role.v1_2_0.Role", &entity::ROLE, |world, names| {
        let Some(role) = find(world, names)? else { return Ok(None) };
        Ok(Some(json!({
            "Name": role.id,
            "Description": said(Some(&role.description)),
            "RoleId": role.id,
            "IsPredefined": role.predefined,
            "AssignedPrivileges": Privileges::of(&role.privileges).names(),
            "OemPrivileges": of_ours(&role.privileges),
        })))
    })
};

fn find<'w>(world: &'w World, names: Names<'_>) -> Result<Option<&'w v1::Role>, Fault> {
    Ok(world.roles()?.roles.iter().find(|role| role.id == name(names, 0)))
}

fn of_ours(numbers: &[i32]) -> Vec<&'static str> {
    let has = |privilege: v1::Privilege| numbers.contains(&privilege.into());
    OF_OURS.into_iter().filter(|(privilege, _)| has(*privilege)).map(|(_, name)| name).collect()
}

/// Numbers of privileges by their names in one of the two lists.
fn numbers(given: &Given, list: &'static str) -> Result<Option<Vec<i32>>, Message> {
    if given.get(list).is_none() {
        return Ok(None);
    }
    let number = |name: &String| {
        let found = match list {
            STANDARD => Privileges::numbered(name),
            _ => OF_OURS.into_iter().find(|(_, ours)| ours == name).map(|(privilege, _)| privilege),
        };
        found.map(i32::from).ok_or_else(|| base::PROPERTY_VALUE_NOT_IN_LIST.with(&[name, list]))
    };
    given.texts(list).iter().map(number).collect::<Result<Vec<_>, _>>().map(Some)
}

fn create(_world: &World, given: &Given) -> Result<Call, Message> {
    let text = |name: &str| given.text(name).unwrap_or_default().to_owned();
    let mut privileges = numbers(given, STANDARD)?.unwrap_or_default();
    privileges.extend(numbers(given, OEM)?.unwrap_or_default());
    let role =
        v1::Role { id: text("RoleId"), description: text("Description"), privileges, predefined: false };
    Ok(Call::new(role_service::CREATE_ROLE, &v1::CreateRoleRequest { role: Some(role) }))
}

fn made(answer: &[u8]) -> Result<Made, Fault> {
    let bad = || Fault::new(Code::Internal, "the answer to a new role is none");
    let role = v1::CreateRoleResponse::decode(answer).ok().and_then(|answer| answer.role).ok_or_else(bad)?;
    Ok(Made { name: role.id, shown: None, headers: Vec::new(), messages: Vec::new() })
}

/// Both lists are one change: what of one is wrong leaves the other as it is.
fn apply(world: &World, names: Names<'_>, given: &Given) -> Vec<Change> {
    let Ok(Some(role)) = find(world, names) else { return Vec::new() };
    let mut changes = Vec::new();
    let (mut privileges, mut properties) = (Vec::new(), Vec::new());
    for list in [STANDARD, OEM] {
        let is_listed = |number: &i32| of_ours(&[*number]).is_empty() == (list == STANDARD);
        let as_it_is = role.privileges.iter().copied().filter(is_listed);
        if role.predefined && given.get(list).is_some() {
            changes.push(Change::of(list, Err(base::PROPERTY_NOT_WRITABLE.with(&[list]))));
            continue;
        }
        match numbers(given, list) {
            Ok(Some(numbers)) => {
                privileges.extend(numbers);
                properties.push(list);
            }
            Ok(None) => privileges.extend(as_it_is),
            Err(message) => {
                changes.push(Change::of(list, Err(message)));
                privileges.extend(as_it_is);
            }
        }
    }
    if !properties.is_empty() {
        let role = v1::Role { id: role.id.clone(), privileges, ..v1::Role::default() };
        let request = v1::UpdateRoleRequest {
            role: Some(role),
            field_mask: Some(prost_types::FieldMask { paths: vec!["privileges".to_owned()] }),
        };
        changes.push(Change { properties, call: Ok(Call::new(role_service::UPDATE_ROLE, &request)) });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_privilege_of_the_contract_is_in_one_of_the_two_lists() {
        let privileges: Vec<i32> =
            (2..=16).filter(|number| v1::Privilege::try_from(*number).is_ok()).collect();
        let (standard, ours) = (Privileges::of(&privileges).names(), of_ours(&privileges));
        assert_eq!(standard.len() + ours.len(), privileges.len(), "{standard:?} {ours:?}");
    }
}
