//! Roles: what accounts can be allowed to do.

use prost_types::FieldMask;
use schema::rpc::role_service;
use schema::v1alpha1::{
    CreateRoleRequest, DeleteRoleRequest, ListRolesRequest, Privilege, Role, UpdateRoleRequest,
};

use super::Session;
use crate::cli::RoleCommand;
use crate::failure::Failure;
use crate::output::{Card, Output, Table};
use crate::text::enum_word;

const PREFIX: &str = "PRIVILEGE_";

fn words(role: &Role) -> String {
    let words: Vec<String> =
        role.privileges().map(|privilege| enum_word(privilege.as_str_name(), PREFIX)).collect();
    words.join(" ")
}

/// The numbers of privileges by their words, as [`words`] shows them.
fn numbers(words: &[String]) -> Result<Vec<i32>, Failure> {
    let number = |word: &String| {
        let name = format!("{PREFIX}{}", word.to_uppercase().replace('-', "_"));
        Privilege::from_str_name(&name).map(i32::from).ok_or_else(|| {
            let text = format!("{word} is no privilege; those there are:  ubmcctl role list");
            Failure::Usage(text)
        })
    };
    words.iter().filter(|word| !word.is_empty()).map(number).collect()
}

fn table(roles: &[Role]) -> Table {
    let mut table = Table::new(&["ROLE", "PRIVILEGES", "DESCRIPTION"]).empty("no roles");
    for role in roles {
        table.row([role.id.clone(), words(role), role.description.clone()]);
    }
    table
}

fn card(role: Option<Role>) -> Card {
    let role = role.unwrap_or_default();
    let mut card = Card::default();
    card.line("Role", role.id.clone())
        .line("Privileges", words(&role))
        .line("Description", role.description.clone());
    card
}

/// What is to be changed of a role. Refused before anything is asked, if it is nothing.
fn update(
    name: String,
    allow: Option<Vec<String>>,
    description: Option<String>,
) -> Result<UpdateRoleRequest, Failure> {
    let given = [("privileges", allow.is_some()), ("description", description.is_some())];
    let paths: Vec<String> =
        given.into_iter().filter(|(_, is)| *is).map(|(path, _)| path.to_owned()).collect();
    if paths.is_empty() {
        return Err(Failure::Usage("nothing to change; see ubmcctl role update --help".into()));
    }
    let role = Role {
        id: name,
        description: description.unwrap_or_default(),
        privileges: numbers(&allow.unwrap_or_default())?,
        predefined: false,
    };
    Ok(UpdateRoleRequest { role: Some(role), field_mask: Some(FieldMask { paths }) })
}

pub(crate) async fn run(session: Session, command: RoleCommand, output: Output) -> Result<(), Failure> {
    match command {
        RoleCommand::List => {
            let request = ListRolesRequest::default();
            let reply = session.client().await?.call(role_service::LIST_ROLES, &request).await?;
            output.reply(&reply, || table(&reply.roles))
        }
        RoleCommand::Create { name, allow, description } => {
            let role = Role {
                id: name,
                description: description.unwrap_or_default(),
                privileges: numbers(&allow)?,
                predefined: false,
            };
            let request = CreateRoleRequest { role: Some(role) };
            let reply = session.changing().await?.call(role_service::CREATE_ROLE, &request).await?;
            output.card(&reply, || card(reply.role.clone()))
        }
        RoleCommand::Update { name, allow, description } => {
            let request = update(name, allow, description)?;
            let reply = session.changing().await?.call(role_service::UPDATE_ROLE, &request).await?;
            output.card(&reply, || card(reply.role.clone()))
        }
        RoleCommand::Delete { name } => {
            let request = DeleteRoleRequest { id: name.clone() };
            let reply = session.changing().await?.call(role_service::DELETE_ROLE, &request).await?;
            output.line(&reply, || format!("{name}: deleted"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Paint;

    #[test]
    fn privileges_are_words_in_both_directions() {
        let all: Vec<i32> = (2..=7).collect();
        let role = Role {
            id: "Night".into(),
            description: "looks".into(),
            privileges: all.clone(),
            predefined: false,
        };
        let said: Vec<String> = words(&role).split(' ').map(str::to_owned).collect();
        assert_eq!(numbers(&said).unwrap(), all);
        assert!(numbers(&["everything".to_owned()]).is_err());
        let mut out = Vec::new();
        let looks = Role { privileges: vec![2, 3], ..role };
        table(&[looks]).write(&mut out, Paint::PLAIN, 80).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ROLE   PRIVILEGES            DESCRIPTION\nNight  login configure-self  looks\n"
        );
    }

    #[test]
    fn a_change_of_nothing_is_none_and_one_of_nothing_allowed_is_one() {
        assert!(update("night".into(), None, None).is_err());
        let none = update("night".into(), Some(vec![String::new()]), None).unwrap();
        assert_eq!(none.field_mask.unwrap().paths, ["privileges"]);
        assert!(none.role.unwrap().privileges.is_empty());
    }
}
