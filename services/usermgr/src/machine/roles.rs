//! Roles that are made, changed and deleted by request. What a role allows is looked up whenever somebody asks for something, so a change holds at
//! once; sessions of its accounts end, and each such account is told as changed, so that whatever was opened with it before is looked at again.

use auth::{CustomRole, Privileges, RoleChange, RoleName, RolePatch};
use ipc::Status;
use schema::v1alpha1 as v1;
use v1::{SessionChangeKind, UserChangeKind};

use super::event::Cause;
use super::ticket::{Ticket, TicketId};
use super::wire;
use super::{Action, Machine, Note, Now, Requester, StoreKey, Write};

/// What is wanted of a role.
#[derive(Debug)]
pub(super) enum RoleIntent {
    Create { ticket: Ticket<v1::CreateRoleResponse>, role: CustomRole },
    Update { ticket: Ticket<v1::UpdateRoleResponse>, name: RoleName, patch: RolePatch },
    Delete { ticket: Ticket<v1::DeleteRoleResponse>, name: RoleName },
}

/// What is answered once it is stored.
#[derive(Debug)]
pub(super) enum RoleAnswer {
    Created(Ticket<v1::CreateRoleResponse>, RoleName),
    Updated(Ticket<v1::UpdateRoleResponse>, RoleName),
    Deleted(Ticket<v1::DeleteRoleResponse>),
}

impl RoleIntent {
    pub(super) fn ticket(&self) -> TicketId {
        match self {
            Self::Create { ticket, .. } => ticket.id(),
            Self::Update { ticket, .. } => ticket.id(),
            Self::Delete { ticket, .. } => ticket.id(),
        }
    }
}

impl RoleAnswer {
    /// As [`Note::Role`] has it.
    pub(super) fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Created(..) => ("role-created", "a role was created"),
            Self::Updated(..) => ("role-changed", "a role was changed"),
            Self::Deleted(_) => ("role-deleted", "a role was deleted"),
        }
    }
}

impl Requester {
    /// Nobody gives, takes or changes more than he may do himself: else who manages accounts would make himself whatever there is.
    pub(super) fn may_give(&self, privileges: Privileges) -> Result<(), Status> {
        if self.privileges.has_all(privileges) {
            return Ok(());
        }
        let text = "it allows more than your own role does: that takes somebody whose role allows as much";
        Err(Status::permission_denied(text).with_reason("BEYOND_OWN_ROLE"))
    }
}

impl Machine {
    /// With the roles that were made.
    pub(crate) fn with_roles(self, roles: auth::Roles) -> Self {
        Self { roles, ..self }
    }

    /// The write that makes a change of a role durable, what it changes, and what is answered. No write: all is so already.
    pub(super) fn plan_role(
        &self,
        intent: RoleIntent,
        requester: &Requester,
    ) -> Result<(Option<Write>, RoleChange, RoleAnswer), Status> {
        let own = |name: &RoleName| {
            let text = "one's own role is changed by somebody who has another one";
            let is_own = self.accounts.get(&requester.user).is_some_and(|account| account.role == *name);
            if is_own { Err(Status::permission_denied(text).with_reason("OWN_ACCOUNT")) } else { Ok(()) }
        };
        let (change, answer) = match intent {
            RoleIntent::Create { ticket, role } => {
                requester.may_give(role.privileges)?;
                let name = role.name.clone();
                let change = self.roles.plan_create(role).map_err(wire::role_refused)?;
                (change, RoleAnswer::Created(ticket, name))
            }
            RoleIntent::Update { ticket, name, patch } => {
                requester.may_give(patch.privileges.unwrap_or(Privileges::NONE))?;
                let change = self.roles.plan_update(&name, patch).map_err(wire::role_refused)?;
                requester.may_give(self.roles.privileges(&name))?;
                own(&name)?;
                (change, RoleAnswer::Updated(ticket, name))
            }
            RoleIntent::Delete { ticket, name } => {
                let in_use = self.accounts.list().into_iter().any(|account| account.role == name);
                let change = self.roles.plan_delete(&name, in_use).map_err(wire::role_refused)?;
                requester.may_give(self.roles.privileges(&name))?;
                (change, RoleAnswer::Deleted(ticket))
            }
        };
        let write = match &change {
            RoleChange::Put(role) if self.roles.get(&role.name) == Some(&**role) => None,
            RoleChange::Put(role) => Some(Write::PutRole(role.clone())),
            RoleChange::Delete(name) => Some(Write::DeleteRole(name.clone())),
        };
        Ok((write, change, answer))
    }

    /// It is stored: now it is true.
    pub(super) fn commit_role(&mut self, change: RoleChange, cause: &Cause, now: Now, out: &mut Vec<Action>) {
        let name = change.name().clone();
        let before = self.roles.get(&name).cloned();
        self.roles.apply(change);
        let after = self.roles.get(&name);
        if before.as_ref() == after {
            return;
        }
        let (what, text) = match (&before, after) {
            (None, _) => ("created", "was created"),
            (Some(_), Some(_)) => ("updated", "was changed"),
            (Some(_), None) => ("deleted", "was deleted"),
        };
        let is_other = before.map(|role| role.privileges) != after.map(|role| role.privileges);
        self.tell_role(&name, what, text, cause, now, out);
        if !is_other {
            return;
        }
        let accounts: Vec<_> =
            self.accounts.list().into_iter().filter(|account| account.role == name).cloned().collect();
        for account in accounts {
            for id in self.sessions.of_user(&account.id, None) {
                self.follow([StoreKey::Session(id.clone())], now);
                if let Some(session) = self.sessions.remove(&id) {
                    self.tell_session(SessionChangeKind::Revoked, &session, cause, now, out);
                }
            }
            self.tell_user(UserChangeKind::Updated, &account, cause, now, out);
        }
    }

    pub(super) fn answer_role(&self, answer: RoleAnswer) -> Action {
        let view = |name: &RoleName| self.roles.get(name).map(wire::made_role_view);
        match answer {
            RoleAnswer::Created(ticket, name) => ticket.answer(v1::CreateRoleResponse { role: view(&name) }),
            RoleAnswer::Updated(ticket, name) => ticket.answer(v1::UpdateRoleResponse { role: view(&name) }),
            RoleAnswer::Deleted(ticket) => ticket.answer(v1::DeleteRoleResponse {}),
        }
    }

    /// All roles, the predefined ones first.
    pub(super) fn role_views(&self) -> Vec<v1::Role> {
        let predefined = auth::Role::ALL.into_iter().map(wire::role_view);
        predefined.chain(self.roles.iter().map(wire::made_role_view)).collect()
    }

    /// There is such a role, and who asks may give it.
    pub(super) fn check_role(&self, role: &RoleName, requester: &Requester) -> Result<(), Status> {
        if !self.roles.is_known(role) {
            let text = format!("there is no role {role}");
            return Err(Status::bad_field(wire::ROLE, text));
        }
        requester.may_give(self.roles.privileges(role))
    }

    /// A line of the log about it.
    pub(super) fn note_role(answer: &RoleAnswer, change: &RoleChange, cause: &Cause) -> Note {
        let (kind, what) = answer.kind();
        Note::Role {
            kind,
            what,
            role: change.name().name().to_owned(),
            by: cause.principal.clone(),
            request_id: cause.request_id.clone(),
        }
    }
}
