//! What accounts may be used for: what their roles can use of it, and a login that is for one of the uses.

use auth::{Account, AccountPatch, AccountType, AccountTypes, RoleName};
use ipc::Status;

use super::{Machine, wire};

impl Machine {
    /// What an account may be used for, of what its role can use.
    pub(super) fn usable_types(&self, account: &Account) -> AccountTypes {
        account.types().usable_with(self.roles.privileges(&account.role))
    }

    /// Whether an account of this role can use all that it is given.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming the first type that the role has no privilege for. The reason says whether the account takes a list as it is or not at all.
    pub(super) fn check_types(
        &self,
        role: &RoleName,
        types: AccountTypes,
        is_strict: bool,
    ) -> Result<(), Status> {
        let privileges = self.roles.privileges(role);
        let Some(beyond) = types.iter().find(|kind| !kind.is_usable_with(privileges)) else { return Ok(()) };
        let text = format!("an account of the role {role} can do nothing with the account type {beyond}");
        let refused = Status::about_field(wire::ACCOUNT_TYPES, text);
        Err(if is_strict {
            refused.with_reason("STRICT_ACCOUNT_TYPES")
        } else {
            refused.with_reason("ACCOUNT_TYPE_BEYOND_ROLE")
        })
    }

    /// Checks the list that a change gives an account. One that it is shown already chooses nothing, unless it is to be taken strictly: what its role cannot use
    /// stays as it was. What is strict from now on and has no list is for what it is shown to be for.
    ///
    /// # Errors
    /// As [`Self::check_types`].
    pub(super) fn choose_types(&self, account: &Account, patch: &mut AccountPatch) -> Result<(), Status> {
        let role = patch.role.as_ref().unwrap_or(&account.role);
        let Some(types) = patch.types else {
            if patch.strict_types == Some(true) && account.chosen_types.is_none() {
                // Whether it is for IPMI is chosen by itself, whatever its role can do there.
                let usable = account.types().usable_with(self.roles.privileges(role));
                patch.types = Some(usable.set(AccountType::Ipmi, account.ipmi));
            }
            return Ok(());
        };
        let is_strict = patch.strict_types.unwrap_or(account.strict_types);
        self.check_types(role, types, is_strict)?;
        if !is_strict && *role == account.role && types == self.usable_types(account) {
            patch.types = None;
        }
        Ok(())
    }
}

/// Whether a session for any of these uses is one that the account is for.
///
/// # Errors
/// `PERMISSION_DENIED` with the reason `ACCOUNT_TYPE`.
pub(super) fn check_purpose(account: &Account, purpose: AccountTypes) -> Result<(), Status> {
    gate::access::for_any(account.types(), purpose).map_err(Status::from)
}
