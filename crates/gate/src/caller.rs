//! Who asks, and from where.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use auth::AccountTypes;
use schema::v1alpha1::Privilege;

use crate::access;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// This address.
    Address(IpAddr),
    /// A link of that name behind which addresses are not known; all that comes over it counts as one address.
    Link(&'static str),
}

impl Peer {
    /// Who shares a bound: a host may take any address of its IPv6 network.
    pub(crate) fn network(self) -> Self {
        match self {
            Self::Address(address) => Self::Address(units::network(address)),
            link @ Self::Link(_) => link,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Link(name) => f.write_str(name),
        }
    }
}

/// An IPv4 client of a socket for both is known by its IPv4 address everywhere.
impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// As the bus carries it.
    pub principal: ipc::Principal,
    /// What its account may be used for. The daemons behind the gate are not told.
    pub types: AccountTypes,
    /// The account must change its password before it may do anything else.
    pub password_change_required: bool,
    /// How long usermgr lets this answer be used without asking again; `None` when it sets no bound.
    pub good_for: Option<Duration>,
}

impl Caller {
    /// Somebody without an account, who has what `role` grants: nothing without one. No account and no session is such a caller's own, and none keeps it from
    /// anything.
    pub fn without_account(name: &str, role: Option<auth::Role>, peer: Peer) -> Self {
        Self {
            principal: ipc::Principal {
                username: name.to_owned(),
                role: role.map(|role| role.name().to_owned()).unwrap_or_default(),
                privileges: role.map(|role| privileges(role.privileges())).unwrap_or_default(),
                address: peer.to_string(),
                ..ipc::Principal::default()
            },
            types: AccountTypes::ALL,
            password_change_required: false,
            good_for: None,
        }
    }

    /// The account, by what stays when it is renamed.
    #[must_use]
    pub fn account(&self) -> &str {
        match self.principal.user_id.as_str() {
            "" => &self.principal.username,
            id => id,
        }
    }

    /// Whether it may manage the controller itself.
    #[must_use]
    pub fn administrator(&self) -> bool {
        self.principal.is_administrator()
    }

    /// As the rules about access want it.
    #[must_use]
    pub fn access(&self) -> access::Caller<'_> {
        access::Caller {
            user_id: &self.principal.user_id,
            username: &self.principal.username,
            session_id: &self.principal.session_id,
            role: &self.principal.role,
            privileges: &self.principal.privileges,
            types: self.types,
            password_expired: self.password_change_required,
        }
    }
}

/// The schema's numbers of privileges.
#[must_use]
pub fn privileges(set: auth::Privileges) -> Vec<i32> {
    set.iter()
        .map(|privilege| match privilege {
            auth::Privilege::Login => Privilege::Login,
            auth::Privilege::ConfigureSelf => Privilege::ConfigureSelf,
            auth::Privilege::ConfigureComponents => Privilege::ConfigureComponents,
            auth::Privilege::ConfigureManager => Privilege::ConfigureManager,
            auth::Privilege::ConfigureUsers => Privilege::ConfigureUsers,
            auth::Privilege::ViewScreens => Privilege::ViewScreens,
        })
        .map(i32::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_shares_one_place() {
        let of = |text: &str| Peer::Address(text.parse().unwrap()).network();
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(Peer::Link("fleet").network(), Peer::Link("other").network());
    }

    #[test]
    fn a_client_has_one_address_whatever_socket_it_came_by() {
        let of = |text: &str| Peer::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("::ffff:192.0.2.1").to_string(), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8::1").to_string(), "2001:db8::1");
    }
}
