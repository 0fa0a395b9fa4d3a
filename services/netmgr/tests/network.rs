//! The daemon on a real network: namespaces, veth pairs, dnsmasq as the DHCP server, an SNTP server. As root only.
#![allow(clippy::print_stdout, reason = "a skipped test says why, and the roles talk to the test on stdout")]
#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

mod common;
mod roles;

use common::{Lab, STOPS, ip};

const MAC: &str = "02:00:00:12:34:56";
const MAC2: &str = "02:00:00:12:34:57";
const RANGE: &str = "--dhcp-range=192.0.2.50,192.0.2.60,255.255.255.0,2m";

/// Not a test: what this program does in the namespaces, where the tests start it again.
#[test]
fn another_role_when_asked_for() {
    roles::play();
}

/// A controller with one cable, whose network's end is 192.0.2.1.
fn lab() -> Option<Lab> {
    let lab = Lab::new()?;
    lab.cable("eth0", "lan0", MAC);
    lab.address("lan0", "192.0.2.1/24");
    Some(lab)
}

fn in_range(address: &str, from: u8, to: u8) -> bool {
    let host = address.strip_prefix("192.0.2.").and_then(|rest| rest.strip_suffix("/24"));
    host.and_then(|host| host.parse().ok()).is_some_and(|host: u8| (from..=to).contains(&host))
}

#[test]
fn dhcp_brings_address_route_names_and_time_and_a_restart_does_not_flap() {
    let Some(lab) = lab() else { return };
    let host = format!("--dhcp-host={MAC},node7");
    let _server = lab.server(&[
        RANGE,
        &host,
        "--interface=lan0",
        "--domain=rack.example",
        "--dhcp-option=option:dns-server,192.0.2.53",
        "--dhcp-option=option:ntp-server,192.0.2.1",
    ]);
    // Not in sync at first, then an hour ahead.
    let _clock = lab.clock("unsync +3600");
    let config = "time.rtc = '/dev/rtc-of-the-test'\n[netmgr.interfaces.eth0]\nipv6 = 'off'\n";
    let daemon = lab.daemon(config);
    daemon.wait("EVENT eth0 state eth0: link up");
    daemon.wait("EVENT eth0 state eth0: address 192.0.2.");
    daemon.wait("CLOCK +3600");
    daemon.wait("RTC +3600");
    daemon.wait("EVENT time synchronised the clock was set by 3");
    let status = daemon.wait("/24 by DHCP; time from 192.0.2.1, offset 3");
    assert!(status.starts_with("STATUS eth0 192.0.2."), "{status}");
    let addresses = lab.addresses("eth0");
    assert!(addresses.len() == 1 && in_range(&addresses[0], 50, 60), "{addresses:?}");
    assert_eq!(lab.default_routes("-4"), ["192.0.2.1 dev eth0 metric 100"]);
    daemon.wait(&format!("TOLD eth0 {MAC} {} ADDRESS_ORIGIN_DHCP by 192.0.2.1", addresses[0]));
    daemon.wait("TIME 192.0.2.1 3");
    let resolv = lab.resolv_conf();
    assert!(resolv.ends_with("search rack.example\nnameserver 192.0.2.53\n"), "{resolv}");
    let v6 = ip(&lab.bmc, "-6 addr show dev eth0");
    assert!(v6.is_empty(), "IPv6 is off, and yet: {v6}");

    // A crash, and a start that adopts.
    let watch = lab.watch();
    daemon.kill();
    assert_eq!(lab.addresses("eth0"), addresses, "a crash cuts nothing");
    let daemon = lab.daemon(config);
    daemon.wait("HOSTNAME node7");
    let status = daemon.wait("STATUS");
    assert!(status.contains("by DHCP"), "known from the first moment on: {status}");
    daemon.wait("time from 192.0.2.1");
    assert_eq!(lab.addresses("eth0"), addresses);
    // By hand the clock is not set while a time server is asked, and no time is that cannot be.
    daemon.forget();
    for (ahead, reason) in [("+7200", "TIME_FROM_SERVERS"), ("-1800000000", "TIME_OUT_OF_RANGE")] {
        daemon.say(&format!("clock {ahead}"));
        daemon.wait(&format!("ANSWER clock {ahead} Err(\"{reason}\")"));
    }
    let heard = daemon.forget();
    assert!(heard.iter().all(|line| !line.contains("CLOCK +7200") && !line.contains("EVENT time set")));
    // Switched off nobody is asked, and nothing counts as in sync; what is named counts before the configuration.
    daemon.say("time off");
    daemon.wait("EVENT controller changed no time server is asked");
    let status = daemon.wait("STATUS eth0");
    assert!(!status.contains("time"), "{status}");
    // Now it is.
    daemon.say("clock +7200");
    daemon.wait("ANSWER clock +7200 Ok(120)");
    daemon.wait("CLOCK +7200");
    daemon.wait("RTC +3600");
    daemon.wait("EVENT time set the clock was set to ");
    daemon.say("clock -1800000000");
    daemon.wait("ANSWER clock -1800000000 Err(\"TIME_OUT_OF_RANGE\")");
    daemon.say("ntp 192.0.2.77");
    daemon.wait("EVENT controller changed time servers 192.0.2.77");
    daemon.wait("NTP false 192.0.2.77 of");
    daemon.say("time on");
    daemon.wait("NTP true 192.0.2.77 of 192.0.2.77 192.0.2.1");
    daemon.wait("time from 192.0.2.1");
    let stopped = daemon.stop();
    assert!(stopped < STOPS, "{stopped:?}");
    assert_eq!(lab.addresses("eth0"), addresses, "a stop cuts nothing");
    assert_eq!(lab.default_routes("-4").len(), 1);
    let changes = watch.forget();
    // The lease was extended by the answer to the question whether it still holds, and the kernel knows.
    assert!(
        changes.iter().all(|line| !line.contains("Deleted")),
        "nothing was removed, and yet: {changes:?}"
    );
    let until = ip(&lab.bmc, "-4 addr show dev eth0");
    assert!(
        until.contains("valid_lft 1") && !until.contains("forever"),
        "the address ends with its lease: {until}"
    );
}

#[test]
fn a_lease_is_renewed_without_a_touch_and_given_up_for_another_network() {
    let Some(lab) = lab() else { return };
    let server = lab.server(&[RANGE, "--interface=lan0", "--dhcp-option=option:T1,6"]);
    let daemon = lab.daemon("[netmgr.interfaces.eth0]\nipv6 = 'off'\n");
    daemon.wait("address 192.0.2.");
    let first = lab.addresses("eth0");
    let watch = lab.watch();
    lab.until("a renewal", || server.count("DHCPACK") >= 2);
    assert_eq!(server.count("DHCPDISCOVER"), server.count("DHCPOFFER"));
    assert_eq!(lab.addresses("eth0"), first);
    assert!(watch.forget().iter().all(|line| !line.contains("Deleted")), "a renewal removes nothing");
    drop(watch);

    // The cable goes to another network and comes back: the old address is refused there.
    drop(server);
    daemon.forget();
    ip(&lab.net, "link set lan0 down");
    daemon.wait("link down");
    assert_eq!(lab.addresses("eth0"), first, "a cable pulled out cuts nothing");
    let server = lab.server(&["--dhcp-range=192.0.2.150,192.0.2.160,255.255.255.0,2m", "--interface=lan0"]);
    ip(&lab.net, "link set lan0 up");
    daemon.wait("link up");
    lab.until("another address", || {
        lab.addresses("eth0").first().is_some_and(|address| in_range(address, 150, 160))
    });
    assert!(server.count("DHCPNAK") >= 1);
    lab.until("the old address is gone", || lab.addresses("eth0").len() == 1);
    lab.until("one way out", || lab.default_routes("-4") == ["192.0.2.1 dev eth0 metric 100"]);

    // The link flaps, and the same server says yes.
    let second = lab.addresses("eth0");
    let acks = server.count("DHCPACK");
    daemon.forget();
    ip(&lab.net, "link set lan0 down");
    daemon.wait("link down");
    ip(&lab.net, "link set lan0 up");
    lab.until("a confirmation", || server.count("DHCPACK") > acks);
    assert_eq!(lab.addresses("eth0"), second);
}

#[test]
fn an_address_another_machine_has_is_declined_and_a_lease_brings_its_routes_and_takes_them_along() {
    let Some(lab) = lab() else { return };
    // The address the server has for this controller is in use.
    lab.address("lan0", "192.0.2.50/24");
    let host = format!("--dhcp-host={MAC},192.0.2.50");
    let routes = "--dhcp-option=121,0.0.0.0/0,192.0.2.1,10.0.0.0/8,192.0.2.2,198.51.100.0/24,0.0.0.0";
    let server = lab.server(&[
        "--dhcp-range=192.0.2.51,192.0.2.60,255.255.255.0,2m",
        &host,
        routes,
        "--interface=lan0",
    ]);
    let daemon = lab.daemon("[netmgr.interfaces.eth0]\nipv6 = 'off'\n");
    daemon.wait("another machine has 192.0.2.50");
    daemon.wait("address 192.0.2.");
    assert_eq!(server.count("DHCPDECLINE"), 1);
    let addresses = lab.addresses("eth0");
    assert!(addresses.len() == 1 && in_range(&addresses[0], 51, 60), "{addresses:?}");
    let route = |text: &str| ip(&lab.bmc, "-4 route").lines().any(|line| line.trim().starts_with(text));
    lab.until("its routes", || {
        ["default via 192.0.2.1 dev eth0", "10.0.0.0/8 via 192.0.2.2 dev eth0", "198.51.100.0/24 dev eth0"]
            .into_iter()
            .all(route)
    });
    daemon.stop();
    let daemon = lab.daemon("[netmgr.interfaces.eth0]\nipv4 = 'off'\nipv6 = 'off'\n");
    lab.until("nothing of the lease", || {
        ip(&lab.bmc, "-4 route").is_empty() && lab.addresses("eth0").is_empty()
    });
    daemon.stop();
}

#[test]
fn fixed_addresses_on_two_interfaces_one_of_which_comes_late() {
    let Some(lab) = lab() else { return };
    ip(&lab.bmc, "addr add 198.51.100.9/24 dev eth0");
    let config = "hostname = 'bmc-7'\n\
         [netmgr.interfaces.eth0]\n\
         ipv4 = { address = '192.0.2.5/24', gateway = '192.0.2.1' }\n\
         ipv6 = { address = '2001:db8::5/64', gateway = '2001:db8::1' }\n\
         dns = ['2001:db8::53']\nmtu = 1400\n\
         [netmgr.interfaces.eth1]\n\
         ipv4 = { address = '203.0.113.5/24', gateway = '203.0.113.1' }\n";
    let daemon = lab.daemon(config);
    daemon.wait("HOSTNAME bmc-7");
    lab.until("both families", || lab.addresses("eth0").len() == 3);
    lab.until("both ways out", || {
        lab.default_routes("-4") == ["192.0.2.1 dev eth0 metric 100"]
            && lab.default_routes("-6") == ["2001:db8::1 dev eth0 metric 100"]
    });
    assert!(ip(&lab.bmc, "link show dev eth0").contains("mtu 1400"));
    assert!(lab.resolv_conf().contains("nameserver 2001:db8::53\n"));

    lab.cable("eth1", "lan1", MAC2);
    lab.until("the late interface", || lab.addresses("eth1") == ["203.0.113.5/24"]);
    lab.until("its way out", || lab.default_routes("-4").len() == 2);
    assert!(lab.default_routes("-4").contains(&"203.0.113.1 dev eth1 metric 101".to_owned()));

    // What somebody takes away comes back.
    ip(&lab.bmc, "addr del 192.0.2.5/24 dev eth0");
    lab.until("the address is back", || lab.addresses("eth0").contains(&"192.0.2.5/24".to_owned()));
    lab.until("the route is back", || lab.default_routes("-4").len() == 2);
    daemon.stop();

    // The next configuration does without them: what the daemon set goes, what somebody else set stays.
    let daemon = lab.daemon("[netmgr.interfaces.eth0]\nipv4 = 'off'\nipv6 = 'off'\n");
    lab.until("only the other one's address", || lab.addresses("eth0") == ["198.51.100.9/24"]);
    lab.until("nothing on the interface that is not configured any more", || {
        lab.addresses("eth1").is_empty()
    });
    assert_eq!(lab.default_routes("-4"), Vec::<String>::new());
    daemon.stop();
}

/// Who cuts himself off waits, and is back; who has come in by the new address keeps it, over restarts too.
#[test]
fn another_address_is_taken_back_unless_who_has_reached_it_confirms_it() {
    let Some(lab) = lab() else { return };
    let server = lab.server(&[RANGE, "--interface=lan0"]);
    let config = "confirm_within_s = 6\n[netmgr.interfaces.eth0]\nipv6 = 'off'\n";
    let daemon = lab.daemon(config);
    lab.until("a lease", || lab.addresses("eth0").first().is_some_and(|one| in_range(one, 50, 60)));
    let leased = lab.addresses("eth0");
    let fixed = || lab.addresses("eth0") == ["192.0.2.9/24"];
    let watch = lab.watch();
    daemon.say("address eth0 192.0.2.9/24 192.0.2.1");
    daemon.wait("ANSWER trial Ok(true)");
    lab.until("the address on trial", fixed);
    let discovers = server.count("DHCPDISCOVER");
    daemon.wait("EVENT eth0 reverted");
    lab.until("the lease again", || lab.addresses("eth0") == leased);
    assert_eq!(server.count("DHCPDISCOVER"), discovers, "the lease holds still, so it is only asked about");
    drop(watch);

    daemon.forget();
    daemon.say("address eth0 192.0.2.9/24 192.0.2.1");
    lab.until("the address on trial", fixed);
    // Netmgr has seen it there, too.
    daemon.wait("address 192.0.2.9/24 gained");
    // Who still comes by another way says nothing of this one.
    daemon.say("confirm 198.51.100.1");
    daemon.wait("ANSWER Ok(false)");
    daemon.say("confirm ::ffff:192.0.2.9");
    daemon.wait("ANSWER Ok(true)");
    daemon.say("name bmc-9 rack.example");
    daemon.wait("HOSTNAME bmc-9");
    lab.until("its domain is searched", || lab.resolv_conf().contains("search rack.example"));
    assert_eq!(lab.default_routes("-4"), ["192.0.2.1 dev eth0 metric 100"]);
    daemon.kill();
    let daemon = lab.daemon(config);
    daemon.wait("HOSTNAME bmc-9");
    assert!(fixed(), "what was confirmed counts before the configuration: {:?}", lab.addresses("eth0"));
    daemon.stop();
}

#[test]
fn ipv6_comes_from_router_advertisements_or_dhcpv6() {
    let Some(lab) = lab() else { return };
    lab.address("lan0", "2001:db8:1::1/64");
    lab.cable("eth1", "lan1", MAC2);
    lab.address("lan1", "2001:db8:2::1/64");
    let server = lab.server(&[
        "--interface=lan0",
        "--interface=lan1",
        "--enable-ra",
        "--ra-param=lan0,4",
        "--ra-param=lan1,4",
        "--dhcp-range=2001:db8:1::,ra-stateless",
        "--dhcp-range=2001:db8:2::100,2001:db8:2::1ff,64,2m",
        "--dhcp-option=tag:lan0,option6:dns-server,[2001:db8:1::53]",
        "--dhcp-option=tag:lan1,option6:dns-server,[2001:db8:2::53]",
        "--dhcp-option=tag:lan0,option6:31,[2001:db8:1::123]",
    ]);
    let config =
        "[netmgr.interfaces.eth0]\nipv4 = 'off'\n[netmgr.interfaces.eth1]\nipv4 = 'off'\nipv6 = 'dhcp'\n";
    let daemon = lab.daemon(config);
    lab.until("an address from the prefix", || {
        lab.addresses("eth0")
            .iter()
            .any(|address| address.starts_with("2001:db8:1:") && address.ends_with("/64"))
    });
    lab.until("an address from the server", || {
        lab.addresses("eth1")
            .iter()
            .any(|address| address.starts_with("2001:db8:2::1") && address.ends_with("/128"))
    });
    lab.until("ways out", || lab.default_routes("-6").len() == 2);
    assert_eq!(lab.addresses("eth1").len(), 1, "with DHCP no address is made of the prefix");
    lab.until("the name server", || lab.resolv_conf().contains("nameserver 2001:db8:2::53"));
    assert!(server.count("DHCPREPLY") >= 1);
    // On the other one, the rest is asked for without an address, because the router says that there is something.
    lab.until("the other name server", || lab.resolv_conf().contains("nameserver 2001:db8:1::53"));
    lab.until("a question without an address", || server.count("DHCPINFORMATION-REQUEST") >= 1);
    daemon.wait("time not in sync yet");

    let before = lab.addresses("eth1");
    daemon.kill();
    let daemon = lab.daemon(config);
    lab.until("the question whether the address still holds", || server.count("DHCPCONFIRM") >= 1);
    assert_eq!(lab.addresses("eth1"), before);
    assert!(daemon.stop() < STOPS);
}

#[test]
fn name_servers_of_a_router_are_used_and_outlive_a_restart() {
    let Some(lab) = lab() else { return };
    lab.address("lan0", "2001:db8:1::1/64");
    let router = lab.server(&[
        "--interface=lan0",
        "--enable-ra",
        "--ra-param=lan0,4",
        "--dhcp-range=2001:db8:1::,ra-only",
        "--dhcp-option=option6:dns-server,[2001:db8:1::53]",
        "--dhcp-option=option6:domain-search,rack.example",
    ]);
    let config = "[netmgr.interfaces.eth0]\nipv4 = 'off'\n";
    let daemon = lab.daemon(config);
    let told = || lab.resolv_conf().ends_with("search rack.example\nnameserver 2001:db8:1::53\n");
    lab.until("what the router says", told);
    assert_eq!(router.count("DHCPINFORMATION-REQUEST"), 0, "it did not say that there is more");
    drop(router);
    daemon.kill();
    std::fs::remove_file(lab.dir.path().join("resolv.conf")).unwrap();
    let daemon = lab.daemon(config);
    assert!(told(), "known from the first moment on: {}", lab.resolv_conf());
    daemon.stop();
}

#[test]
fn an_endless_flood_of_nonsense_does_not_keep_the_daemon_from_its_lease() {
    let Some(lab) = lab() else { return };
    let _flood = lab.flood();
    let _server = lab.server(&[RANGE, "--interface=lan0"]);
    let daemon = lab.daemon("[netmgr.interfaces.eth0]\nipv6 = 'off'\n");
    daemon.wait("address 192.0.2.");
    assert!(daemon.stop() < STOPS);
}
