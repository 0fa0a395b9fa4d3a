//! How accounts and sessions are stored: protobuf, read for as long as there are devices that hold it.
//!
//! A field is never given another meaning and a number never used again. `tests::frozen` holds bytes of every version: if it
//! fails, revert the change.

use std::collections::BTreeMap;

use auth::{
    Account, AccountTypes, CustomRole, PasswordHash, Privilege, Privileges, RoleName, Session, SessionId,
    TokenDigest, UnixMillis, UserId, UserName,
};
use ipc::ValueError;
use prost::Message;

/// An account in the bucket `users`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct UserRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, optional, tag = "3")]
    full_name: Option<String>,
    #[prost(string, optional, tag = "4")]
    email: Option<String>,
    #[prost(bool, tag = "5")]
    enabled: bool,
    #[prost(string, tag = "6")]
    role: String,
    #[prost(string, tag = "7")]
    hash: String,
    #[prost(uint64, tag = "8")]
    password_changed_at: u64,
    #[prost(bool, tag = "9")]
    password_change_required: bool,
    #[prost(bool, tag = "10")]
    unclaimed: bool,
    #[prost(uint64, tag = "11")]
    epoch: u64,
    #[prost(uint64, tag = "12")]
    created_at: u64,
    #[prost(uint64, tag = "13")]
    updated_at: u64,
    #[prost(uint64, optional, tag = "14")]
    last_login: Option<u64>,
    #[prost(btree_map = "string, string", tag = "15")]
    attributes: BTreeMap<String, String>,
    #[prost(bool, tag = "16")]
    ipmi: bool,
    #[prost(bytes = "vec", optional, tag = "17")]
    ipmi_secret: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "18")]
    ipmi_user: Option<u32>,
    #[prost(string, repeated, tag = "19")]
    former: Vec<String>,
    #[prost(uint64, optional, tag = "20")]
    expires_at: Option<u64>,
    /// Bits of [`AccountTypes`], without that of IPMI. Absent in records of earlier releases, and where nobody has chosen.
    #[prost(uint32, optional, tag = "21")]
    types: Option<u32>,
    #[prost(bool, tag = "22")]
    strict_types: bool,
}

/// A role in the bucket `roles`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RoleRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    /// Numbers of the schema's `Privilege`.
    #[prost(int32, repeated, tag = "3")]
    privileges: Vec<i32>,
}

/// A session in the bucket `sessions`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SessionRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bytes = "vec", tag = "2")]
    digest: Vec<u8>,
    #[prost(string, tag = "3")]
    user: String,
    #[prost(uint64, tag = "4")]
    epoch: u64,
    #[prost(uint64, tag = "5")]
    created_at: u64,
    #[prost(uint64, tag = "6")]
    last_used_at: u64,
    #[prost(string, tag = "7")]
    address: String,
    #[prost(string, tag = "8")]
    user_agent: String,
}

/// A record that decodes and still makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} of the record is damaged")]
pub(crate) struct Damaged {
    field: &'static str,
}

impl From<&Account> for UserRecord {
    fn from(account: &Account) -> Self {
        Self {
            id: account.id.as_str().to_owned(),
            name: account.name.as_str().to_owned(),
            full_name: account.full_name.clone(),
            email: account.email.clone(),
            enabled: account.enabled,
            role: account.role.name().to_owned(),
            hash: account.hash.as_phc().to_owned(),
            password_changed_at: account.password_changed_at.0,
            password_change_required: account.password_change_required,
            unclaimed: account.unclaimed,
            epoch: account.epoch,
            created_at: account.created_at.0,
            updated_at: account.updated_at.0,
            last_login: account.last_login.map(|at| at.0),
            attributes: account.attributes.clone(),
            ipmi: account.ipmi,
            ipmi_secret: account.ipmi_secret.clone(),
            ipmi_user: account.ipmi_user.map(u32::from),
            former: account.former.iter().map(|hash| hash.as_phc().to_owned()).collect(),
            expires_at: account.expires_at.map(|at| at.0),
            types: account.chosen_types.map(|types| types.bits().into()),
            strict_types: account.strict_types,
        }
    }
}

impl TryFrom<UserRecord> for Account {
    type Error = Damaged;

    fn try_from(record: UserRecord) -> Result<Self, Damaged> {
        let damaged = |field| Damaged { field };
        Ok(Self {
            id: UserId::parse(&record.id).ok_or(damaged("id"))?,
            name: UserName::new(&record.name).map_err(|_| damaged("name"))?,
            full_name: record.full_name,
            email: record.email,
            attributes: record.attributes,
            enabled: record.enabled,
            role: RoleName::new(&record.role).map_err(|_| damaged("role"))?,
            hash: PasswordHash::parse(&record.hash).map_err(|_| damaged("hash"))?,
            former: record.former.iter().filter_map(|hash| PasswordHash::parse(hash).ok()).collect(),
            password_changed_at: UnixMillis(record.password_changed_at),
            password_change_required: record.password_change_required,
            unclaimed: record.unclaimed,
            ipmi: record.ipmi,
            ipmi_secret: record.ipmi_secret,
            ipmi_user: record.ipmi_user.and_then(|number| u8::try_from(number).ok()),
            expires_at: record.expires_at.map(UnixMillis),
            chosen_types: record.types.map(AccountTypes::from_bits),
            strict_types: record.strict_types,
            epoch: record.epoch,
            created_at: UnixMillis(record.created_at),
            updated_at: UnixMillis(record.updated_at),
            last_login: record.last_login.map(UnixMillis),
        })
    }
}

impl From<&CustomRole> for RoleRecord {
    fn from(role: &CustomRole) -> Self {
        Self {
            name: role.name.name().to_owned(),
            description: role.description.clone(),
            privileges: gate::privileges(role.privileges),
        }
    }
}

impl TryFrom<RoleRecord> for CustomRole {
    type Error = Damaged;

    /// A privilege of a newer release is left out: nobody here can ask for it.
    fn try_from(record: RoleRecord) -> Result<Self, Damaged> {
        let has = |one: &Privilege| {
            gate::privileges(Privileges::of(&[*one])).iter().all(|number| record.privileges.contains(number))
        };
        let privileges: Vec<Privilege> = Privilege::ALL.into_iter().filter(has).collect();
        Ok(Self {
            name: RoleName::new(&record.name).map_err(|_| Damaged { field: "name" })?,
            description: record.description,
            privileges: Privileges::of(&privileges),
        })
    }
}

impl From<&Session> for SessionRecord {
    fn from(session: &Session) -> Self {
        Self {
            id: session.id.as_str().to_owned(),
            digest: session.digest.as_bytes().to_vec(),
            user: session.user.as_str().to_owned(),
            epoch: session.epoch,
            created_at: session.created_at.0,
            last_used_at: session.last_used_at.0,
            address: session.address.clone(),
            user_agent: session.user_agent.clone(),
        }
    }
}

impl TryFrom<SessionRecord> for Session {
    type Error = Damaged;

    fn try_from(record: SessionRecord) -> Result<Self, Damaged> {
        let damaged = |field| Damaged { field };
        Ok(Self {
            id: SessionId::parse(&record.id).ok_or(damaged("id"))?,
            digest: TokenDigest::from_bytes(record.digest.try_into().map_err(|_| damaged("digest"))?),
            user: UserId::parse(&record.user).ok_or(damaged("user"))?,
            epoch: record.epoch,
            created_at: UnixMillis(record.created_at),
            last_used_at: UnixMillis(record.last_used_at),
            address: Session::clip(&record.address),
            user_agent: Session::clip(&record.user_agent),
        })
    }
}

macro_rules! value {
    ($record:ty) => {
        impl ipc::Value for $record {
            const VERSION: u16 = 1;

            fn encode(&self) -> Vec<u8> {
                self.encode_to_vec()
            }

            fn decode(version: u16, bytes: &[u8]) -> Result<Self, ValueError> {
                match version {
                    1 => Message::decode(bytes).map_err(|error| ValueError::Malformed(error.to_string())),
                    found => Err(ValueError::Version { found, known: Self::VERSION }),
                }
            }
        }
    };
}

value!(UserRecord);
value!(SessionRecord);
value!(RoleRecord);

#[cfg(test)]
mod tests {
    use auth::{AccountType, Cost, Password, Role, Token};
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    fn account() -> Account {
        Account {
            id: UserId::from_random([1; 8]),
            name: UserName::new("alice").unwrap(),
            full_name: Some("Alice".into()),
            email: None,
            attributes: [("team".to_owned(), "lab".to_owned())].into(),
            enabled: true,
            role: Role::Operator.into(),
            hash: PasswordHash::new(&Password::new("tr0mbone".into()), [3; 16], Cost::FLOOR).unwrap(),
            former: Vec::new(),
            expires_at: None,
            chosen_types: None,
            strict_types: false,
            password_changed_at: UnixMillis(1000),
            password_change_required: true,
            unclaimed: false,
            ipmi: false,
            ipmi_secret: None,
            ipmi_user: None,
            epoch: 7,
            created_at: UnixMillis(999),
            updated_at: UnixMillis(1001),
            last_login: Some(UnixMillis(2000)),
        }
    }

    fn role() -> CustomRole {
        CustomRole {
            name: RoleName::new("night").unwrap(),
            description: "power only".into(),
            privileges: Privileges::of(&[Privilege::Login, Privilege::ConfigureComponents]),
        }
    }

    fn session() -> Session {
        Session {
            id: SessionId::from_random([2; 8]),
            digest: Token::from_random([9; 32]).digest(),
            user: UserId::from_random([1; 8]),
            epoch: 7,
            created_at: UnixMillis(1000),
            last_used_at: UnixMillis(2000),
            address: "192.0.2.1".into(),
            user_agent: "curl".into(),
        }
    }

    #[test]
    fn accounts_and_sessions_are_read_back() {
        let record = UserRecord::from(&account());
        let back = <UserRecord as ipc::Value>::decode(1, &ipc::Value::encode(&record)).unwrap();
        assert_eq!(Account::try_from(back).unwrap(), account());
        let with_ipmi =
            Account { ipmi: true, ipmi_secret: Some(vec![5; 48]), ipmi_user: Some(7), ..account() };
        let record = UserRecord::from(&with_ipmi);
        let back = <UserRecord as ipc::Value>::decode(1, &ipc::Value::encode(&record)).unwrap();
        assert_eq!(Account::try_from(back).unwrap(), with_ipmi);
        let former =
            vec![PasswordHash::new(&Password::new("b4ssoon!".into()), [4; 16], Cost::FLOOR).unwrap()];
        let ends = Account { former, expires_at: Some(UnixMillis(9000)), ..account() };
        let record = UserRecord::from(&ends);
        let back = <UserRecord as ipc::Value>::decode(1, &ipc::Value::encode(&record)).unwrap();
        assert_eq!(Account::try_from(back).unwrap(), ends);
        for types in [AccountTypes::NONE, AccountTypes::of(&[AccountType::Redfish, AccountType::WebUi])] {
            let chosen = Account { chosen_types: Some(types), strict_types: true, ..account() };
            let record = UserRecord::from(&chosen);
            let back = <UserRecord as ipc::Value>::decode(1, &ipc::Value::encode(&record)).unwrap();
            assert_eq!(Account::try_from(back).unwrap(), chosen, "none is not all");
        }
        let record = RoleRecord::from(&role());
        let back = <RoleRecord as ipc::Value>::decode(1, &ipc::Value::encode(&record)).unwrap();
        assert_eq!(CustomRole::try_from(back).unwrap(), role());
        let record = SessionRecord::from(&session());
        let back = <SessionRecord as ipc::Value>::decode(1, &ipc::Value::encode(&record)).unwrap();
        assert_eq!(Session::try_from(back).unwrap(), session());
    }

    /// Frozen: do not edit, revert your change. A device in the field holds these bytes.
    #[test]
    fn frozen() {
        assert_eq!(
            HEXLOWER.encode(&ipc::Value::encode(&UserRecord::from(&account()))),
            "0a10303130313031303130313031303130311205616c6963651a05416c696365280132084f70657261746f723a60246172676f6e32696424763d3139246d3d343039362c743d332c703d312441774d4441774d4441774d4441774d4441774d44417724622f516d69582b4159615a70644f6b30315165516c622b4141712f44424a746c6f434a5447456846432f4d40e8074801580760e70768e90770d00f7a0b0a047465616d12036c6162"
        );
        assert_eq!(
            HEXLOWER.encode(&ipc::Value::encode(&RoleRecord::from(&role()))),
            "0a056e69676874120a706f776572206f6e6c791a020204"
        );
        assert_eq!(
            HEXLOWER.encode(&ipc::Value::encode(&SessionRecord::from(&session()))),
            "0a103032303230323032303230323032303212208c0cc17a04942cc4f8e0fe0b302606d3108860c126428ba2ceeb5f9ed41c2b051a1030313031303130313031303130313031200728e80730d00f3a093139322e302e322e3142046375726c"
        );
    }

    /// Nobody loses access by an update: the frozen record has no list.
    #[test]
    fn an_account_of_a_release_without_types_is_for_all_but_ipmi() {
        let old = UserRecord { types: None, ..UserRecord::from(&account()) };
        let back = <UserRecord as ipc::Value>::decode(1, &ipc::Value::encode(&old)).unwrap();
        let types = Account::try_from(back).unwrap().types();
        assert_eq!(types, AccountTypes::ALL.set(AccountType::Ipmi, false));
        // Of a newer release that knows more: what is not known here is not everything.
        let newer = UserRecord { types: Some(1 << 9), ..old };
        assert!(Account::try_from(newer).unwrap().types().is_empty());
    }

    #[test]
    fn a_record_of_a_newer_daemon_is_not_misread() {
        let bytes = ipc::Value::encode(&UserRecord::from(&account()));
        let newer = <UserRecord as ipc::Value>::decode(2, &bytes);
        assert_eq!(newer, Err(ValueError::Version { found: 2, known: 1 }));
    }

    #[test]
    fn a_damaged_record_is_no_account() {
        let whole = UserRecord::from(&account());
        for (record, field) in [
            (UserRecord { id: "admin".into(), ..whole.clone() }, "id"),
            (UserRecord { name: "a b".into(), ..whole.clone() }, "name"),
            (UserRecord { role: "a b".into(), ..whole.clone() }, "role"),
            (UserRecord { hash: "plain".into(), ..whole.clone() }, "hash"),
        ] {
            assert_eq!(Account::try_from(record).unwrap_err(), Damaged { field });
        }
        let short = SessionRecord { digest: vec![1; 31], ..SessionRecord::from(&session()) };
        assert_eq!(Session::try_from(short).unwrap_err(), Damaged { field: "digest" });
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(record) = <UserRecord as ipc::Value>::decode(1, &bytes) {
                let _ = Account::try_from(record);
            }
            if let Ok(record) = <SessionRecord as ipc::Value>::decode(1, &bytes) {
                let _ = Session::try_from(record);
            }
            if let Ok(record) = <RoleRecord as ipc::Value>::decode(1, &bytes) {
                let _ = CustomRole::try_from(record);
            }
        }
    }
}
