//! The controller's own network, and its clock.

use std::time::SystemTime;

use data_encoding::HEXLOWER;
use prost_types::Timestamp;
use schema::rpc::network_service;
use schema::v1alpha1::{
    ChangeNetworkRequest, ConfirmNetworkRequest, FixedIpv4, ListNetworkInterfacesRequest,
    ListNetworkInterfacesResponse, NameServers, NetworkInterface, SetTimeRequest, TimeServers,
};

use super::Session;
use crate::cli::{NetworkCommand, NetworkSet};
use crate::failure::Failure;
use crate::output::{Card, Output, Table};
use crate::text::{enum_word, time};

pub(crate) async fn run(session: Session, command: NetworkCommand, output: Output) -> Result<(), Failure> {
    match command {
        NetworkCommand::Set(set) => {
            let request = wanted(set);
            let reply = session.changing().await?.call(network_service::CHANGE_NETWORK, &request).await?;
            return output.line(&reply, || match &reply.trial_ends {
                Some(at) => {
                    format!("on trial until {}: log in at the new address, or confirm it", time(Some(at)))
                }
                None => "changed".to_owned(),
            });
        }
        NetworkCommand::Confirm => {
            let request = ConfirmNetworkRequest::default();
            let reply = session.changing().await?.call(network_service::CONFIRM_NETWORK, &request).await?;
            let said = if reply.confirmed { "confirmed" } else { "nothing is on trial" };
            return output.line(&reply, || said.to_owned());
        }
        NetworkCommand::SetTime { time } => {
            let given = time.as_deref().map(moment).transpose()?;
            let client = session.changing().await?;
            // That of this computer is looked at once it is connected, which may take a while.
            let time = given.unwrap_or_else(|| SystemTime::now().into());
            let request = SetTimeRequest { time: Some(time) };
            let reply = client.call(network_service::SET_TIME, &request).await?;
            return output.line(&reply, || step(reply.step_us));
        }
        NetworkCommand::List | NetworkCommand::Show => {}
    }
    let client = session.client().await?;
    let request = ListNetworkInterfacesRequest::default();
    let reply = client.call(network_service::LIST_NETWORK_INTERFACES, &request).await?;
    match command {
        NetworkCommand::List => output.reply(&reply, || {
            let head = ["INTERFACE", "STATE", "MBIT/S", "MAC", "MTU", "ADDRESSES", "GATEWAYS"];
            let mut table = Table::new(&head).empty("no interface is configured");
            for one in &reply.interfaces {
                table.row([
                    one.name.clone(),
                    enum_word(one.state().as_str_name(), "NETWORK_INTERFACE_STATE_"),
                    one.speed_mbps.map(|speed| speed.to_string()).unwrap_or_default(),
                    mac(&one.mac_address),
                    if one.mtu == 0 { String::new() } else { one.mtu.to_string() },
                    addresses(one),
                    one.gateways.join(" "),
                ]);
            }
            table
        }),
        _ => output.card(&reply, || card(&reply)),
    }
}

fn wanted(set: NetworkSet) -> ChangeNetworkRequest {
    let NetworkSet { interface, dhcp, ipv4, gateway, dns, host_name, domain, ntp, time } = set;
    let given = |addresses: Vec<String>| addresses.into_iter().filter(|one| !one.is_empty()).collect();
    ChangeNetworkRequest {
        interface,
        dhcp4: dhcp,
        fixed4: ipv4.map(|address| FixedIpv4 { address, gateway }),
        name_servers: dns.map(|addresses| NameServers { addresses: given(addresses) }),
        host_name,
        domain,
        time_servers: ntp.map(|servers| TimeServers { servers: given(servers) }),
        time_enabled: time.map(|word| word == "on"),
    }
}

/// `192.0.2.5/24 (dhcp until 2026-01-01 12:00:00Z) fe80::1/64 (link-local)`.
fn addresses(one: &NetworkInterface) -> String {
    let shown = |address: &schema::v1alpha1::InterfaceAddress| match address.origin() {
        schema::v1alpha1::AddressOrigin::Unspecified => address.address.clone(),
        origin => {
            let word = enum_word(origin.as_str_name(), "ADDRESS_ORIGIN_");
            let until = address.lease_end.as_ref().map(|end| format!(" until {}", time(Some(end))));
            format!("{} ({word}{})", address.address, until.unwrap_or_default())
        }
    };
    one.addresses.iter().map(shown).collect::<Vec<_>>().join(" ")
}

/// The time that the clock is to be set to. Without its zone nobody knows which one is meant.
fn moment(text: &str) -> Result<Timestamp, Failure> {
    let time = text.split_once(['T', 't', ' ']).map_or("", |(_, time)| time);
    let has_zone = time.ends_with(['Z', 'z']) || time.contains(['+', '-']);
    let parsed: Option<Timestamp> = text.parse().ok().filter(|_| has_zone);
    parsed.ok_or_else(|| {
        Failure::Usage(format!("{text} is no time with its zone; one is 2027-01-31T18:00:00Z"))
    })
}

/// By how much the clock was moved: `the clock was set, 3600.500 s forward`.
fn step(us: i64) -> String {
    let ms = us.unsigned_abs() / 1000;
    let (seconds, part) = (ms / 1000, ms % 1000);
    format!("the clock was set, {seconds}.{part:03} s {}", if us < 0 { "back" } else { "forward" })
}

/// What the clock was off by when it was looked at: `1.204 ms behind`.
fn offset(us: i64) -> String {
    let ms = us.unsigned_abs() / 1000;
    let part = us.unsigned_abs() % 1000;
    format!("{ms}.{part:03} ms {}", if us < 0 { "ahead" } else { "behind" })
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| HEXLOWER.encode(&[*byte])).collect::<Vec<_>>().join(":")
}

fn card(reply: &ListNetworkInterfacesResponse) -> Card {
    let mut card = Card::default();
    card.line("Host name", reply.host_name.clone())
        .line("Domains", reply.domains.join(" "))
        .line("Name servers", reply.name_servers.join(" "))
        .line(
            "Time servers",
            if reply.time_enabled == Some(false) { "off".to_owned() } else { reply.time_servers.join(" ") },
        )
        .line("Time from", reply.time_source.clone())
        .line("Time offset", reply.time_offset_us.map(offset).unwrap_or_default())
        .line("On trial until", reply.trial_ends.as_ref().map(|at| time(Some(at))).unwrap_or_default());
    card
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::v1alpha1::{AddressOrigin, InterfaceAddress};

    #[test]
    fn a_time_may_be_one_of_any_zone() {
        for text in ["2027-01-31T18:00:00Z", "2027-01-31T19:00:00+01:00"] {
            assert_eq!(moment(text).unwrap(), Timestamp { seconds: 1_801_418_400, nanos: 0 });
        }
        for text in
            ["noon", "2027-01-31", "2027-01-31T18:00:00", "2027-01-31 18:00:00", "+2027-01-31T18:00:00"]
        {
            assert!(matches!(moment(text), Err(Failure::Usage(_))), "{text}");
        }
    }

    #[test]
    fn addresses_say_where_they_are_from_as_far_as_that_is_known() {
        let address = |address: &str, origin: AddressOrigin| InterfaceAddress {
            address: address.into(),
            origin: origin.into(),
            lease_end: None,
        };
        let one = NetworkInterface {
            addresses: vec![
                address("192.0.2.5/24", AddressOrigin::Dhcp),
                address("192.0.2.6/24", AddressOrigin::Unspecified),
                address("fe80::1/64", AddressOrigin::LinkLocal),
            ],
            ..NetworkInterface::default()
        };
        assert_eq!(addresses(&one), "192.0.2.5/24 (dhcp) 192.0.2.6/24 fe80::1/64 (link-local)");
        let end = Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 });
        let leased = InterfaceAddress { lease_end: end, ..address("192.0.2.5/24", AddressOrigin::Dhcp) };
        let one = NetworkInterface { addresses: vec![leased], ..NetworkInterface::default() };
        assert_eq!(addresses(&one), "192.0.2.5/24 (dhcp until 2026-09-21 14:13:20Z)");
        assert_eq!((offset(1_204).as_str(), offset(-5).as_str()), ("1.204 ms behind", "0.005 ms ahead"));
        assert_eq!(step(3_600_500_000), "the clock was set, 3600.500 s forward");
        assert_eq!(step(-1_204), "the clock was set, 0.001 s back");
        assert_eq!((mac(&[2, 0, 0, 0, 0, 10]).as_str(), mac(&[]).as_str()), ("02:00:00:00:00:0a", ""));
    }
}
