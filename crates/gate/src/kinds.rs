//! The types of accounts, as sets and as the numbers of the schema.

use auth::AccountTypes;
use schema::v1alpha1::AccountType;

/// The schema's number of a type.
fn number(kind: auth::AccountType) -> i32 {
    i32::from(match kind {
        auth::AccountType::Redfish => AccountType::Redfish,
        auth::AccountType::Ipmi => AccountType::Ipmi,
        auth::AccountType::HostConsole => AccountType::HostConsole,
        auth::AccountType::Kvmip => AccountType::Kvmip,
        auth::AccountType::VirtualMedia => AccountType::VirtualMedia,
        auth::AccountType::WebUi => AccountType::WebUi,
    })
}

/// The schema's numbers of types of accounts.
#[must_use]
pub fn account_types(set: AccountTypes) -> Vec<i32> {
    set.iter().map(number).collect()
}

/// The set of types with these numbers of the schema. One that is none here, of a newer release, is left out.
#[must_use]
pub fn types_of(numbers: &[i32]) -> AccountTypes {
    let all = auth::AccountType::ALL.into_iter().filter(|kind| numbers.contains(&number(*kind)));
    all.fold(AccountTypes::NONE, |set, kind| set.set(kind, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_accounts_are_the_schema_s_by_number() {
        assert_eq!(account_types(AccountTypes::ALL), [1, 2, 3, 4, 5, 6]);
        assert_eq!(types_of(&[6, 5, 4, 3, 2, 1]), AccountTypes::ALL);
        for kind in auth::AccountType::ALL {
            let one = AccountTypes::of(&[kind]);
            assert_eq!(types_of(&account_types(one)), one);
        }
        assert_eq!(types_of(&[0, 7, -1]), AccountTypes::NONE);
    }
}
