//! The daemon where it only looks (`observe`): the interfaces of the machine as the kernel has them, none of them touched.

use std::collections::BTreeMap;
use std::time::Duration;

use ipc::{Outbox, Request, Status};
use schema::server::NetworkServiceCall as Call;
use schema::v1alpha1::{ListNetworkInterfacesResponse, NetworkInterface};
use service::Context;
use units::Millis;

use crate::config::{Interface, Ipv4, Ipv6};
use crate::error::{Error, Refused};
use crate::events;
use crate::iface::{Iface, Observed};
use crate::kernel::Kernel;
use crate::questions;

/// Interfaces that are shown: a computer that runs containers may have many more than a controller.
const SHOWN_MAX: usize = 16;
/// Changes come in bursts: look once after the burst.
const SETTLE: Millis = Millis::new(50);
/// Look without a reason, in case a message of the kernel got lost.
const LOOK: Millis = Millis::from_secs(60);
/// Looks in a row that may fail.
const SILENCES: u32 = 3;

enum Event {
    Stop,
    Beat,
    Changed,
    Call(Call<Request>),
    Due,
}

/// Shows what there is until the order to stop.
pub(crate) async fn run(context: Context, kernel: Kernel) -> Result<(), Error> {
    let (outbox, last) = Outbox::new(context.bus.clone());
    let (mut shutdown, mut beat, clock) = (context.shutdown.clone(), context.heartbeat(), context.clock);
    let mut calls = questions::calls(context.bus.clone());
    let mut known = look(&kernel).await.map_err(Error::Silent)?;
    let (mut look_at, mut silences) = (clock.now().saturating_add(LOOK), 0);
    context.notify.status(told(&known));
    context.ready();
    loop {
        let event = tokio::select! {
            biased;
            () = shutdown.wait() => Event::Stop,
            () = beat.tick() => Event::Beat,
            () = clock.sleep_until(Some(look_at)) => Event::Due,
            () = kernel.changed() => Event::Changed,
            Some(call) = calls.recv() => Event::Call(call),
        };
        match event {
            Event::Stop => break,
            Event::Beat => {}
            Event::Changed => look_at = look_at.min(clock.now().saturating_add(SETTLE)),
            Event::Call(Call::ListNetworkInterfaces(_, reply)) => outbox.answer(reply, Ok(known.clone())),
            Event::Call(Call::ChangeNetwork(_, reply)) => outbox.answer(reply, Err(only_looks())),
            Event::Call(Call::ConfirmNetwork(_, reply)) => outbox.answer(reply, Err(only_looks())),
            // A computer that plays a controller keeps its clock.
            Event::Call(Call::SetTime(_, reply)) => outbox.answer(reply, Err(no_clock())),
            Event::Due => {
                look_at = clock.now().saturating_add(LOOK);
                match look(&kernel).await {
                    Ok(now) => {
                        (known, silences) = (now, 0);
                        context.notify.status(told(&known));
                    }
                    Err(error) if silences < SILENCES => {
                        tracing::warn!(%error, "cannot read interface state from kernel: retrying");
                        silences += 1;
                        look_at = clock.now().saturating_add(Millis::from_secs(1));
                    }
                    Err(error) => return Err(Error::Silent(error)),
                }
            }
        }
    }
    drop(outbox);
    let _ = tokio::time::timeout(Duration::from_millis(500), last).await;
    Ok(())
}

fn only_looks() -> Status {
    Status::failed_precondition("netmgr only looks at this network (observe): it is configured elsewhere")
        .with_reason("NETWORK_OBSERVED")
}

fn no_clock() -> Status {
    Status::failed_precondition("netmgr only looks at this machine (observe): its clock is set elsewhere")
        .with_reason("NETWORK_OBSERVED")
}

async fn look(kernel: &Kernel) -> Result<ListNetworkInterfacesResponse, Refused> {
    let seen = kernel.look_at_all().await?;
    let host_name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    Ok(ListNetworkInterfacesResponse { interfaces: shown(seen), host_name, ..Default::default() })
}

fn told(known: &ListNetworkInterfacesResponse) -> String {
    format!("{} interfaces, none of them touched", known.interfaces.len())
}

/// Those that have a hardware address, by their names.
fn shown(seen: BTreeMap<String, Observed>) -> Vec<NetworkInterface> {
    let real = seen.into_iter().filter(|(_, seen)| {
        let mac = seen.link.and_then(|link| link.mac);
        mac.is_some_and(|mac| mac != [0; 6])
    });
    // Nothing is asked of DHCP or of routers here, as far as this daemon knows.
    let untouched = || Interface { ipv4: Ipv4::Off, ipv6: Ipv6::Off, ..Interface::default() };
    let all = real.take(SHOWN_MAX).map(|(name, seen)| {
        let mut iface = Iface::new(name, untouched(), 0, None, None, None);
        iface.seen = seen;
        // It has no leases, so there are no moments to be told.
        events::interface(&iface, |_| prost_types::Timestamp::default())
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iface::{Address, Hardware, Link};
    use schema::v1alpha1::{AddressOrigin, NetworkInterfaceState};

    #[test]
    fn what_has_a_hardware_address_is_shown_as_it_is_and_nothing_is_claimed_of_it() {
        let link = |mac| Link {
            index: 2,
            mac,
            up: true,
            carrier: true,
            mtu: 1500,
            more_by_dhcp: false,
            hardware: Hardware::default(),
        };
        let seen = |mac| Observed {
            link: Some(link(mac)),
            addresses: vec![Address {
                net: "192.0.2.5/24".parse().unwrap(),
                tentative: false,
                duplicate: false,
                valid_s: None,
            }],
            ..Observed::default()
        };
        let mac = [2, 0, 0, 0, 0, 1];
        let all = [("lo", Some([0; 6])), ("tun0", None), ("eth0", Some(mac))];
        let shown = shown(all.into_iter().map(|(name, mac)| (name.to_owned(), seen(mac))).collect());
        let [eth0] = shown.as_slice() else { panic!("{shown:?}") };
        assert_eq!((eth0.name.as_str(), eth0.mac_address.as_slice()), ("eth0", &mac[..]));
        assert_eq!((eth0.state(), eth0.dhcp4), (NetworkInterfaceState::Up, false));
        assert_eq!(eth0.addresses[0].origin(), AddressOrigin::Unspecified);
        let many = (0..40).map(|number| (format!("veth{number}"), seen(Some(mac)))).collect();
        assert_eq!(super::shown(many).len(), SHOWN_MAX);
    }
}
