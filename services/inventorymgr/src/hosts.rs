//! Which hosts have power. What has its power from a host that is off does not answer, and was not pulled.

use std::time::Duration;

use ipc::{CallContext, Client, News};
use schema::rpc::power_service::LIST_HOSTS;
use schema::v1alpha1 as v1;
use service::ErrorChain;
use tokio::sync::mpsc;
use units::{Millis, Mono};

/// How often powermgr is asked without news.
const EVERY: Duration = Duration::from_secs(5);
/// How long it may take.
const WITHIN: Duration = Duration::from_secs(2);
/// How long what it said counts.
const COUNTS: Millis = Millis::from_secs(30);
/// How long after power came silence says nothing yet: a drive begins to answer, and drivers are bound.
const SETTLES: Millis = Millis::from_secs(5);

/// Power of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    Off,
    /// It has power and is about to lose it, or to be on.
    Transition,
    On,
}

/// What powermgr says of each host, by id.
pub(crate) type Said = Vec<(String, Power)>;

/// What is known of the hosts of a board, by their places.
#[derive(Debug, Default)]
pub(crate) struct Hosts(Vec<Option<Known>>);

#[derive(Clone, Copy, Debug)]
struct Known {
    power: Power,
    /// When it was switched on; none when it was found on.
    since: Option<Mono>,
    heard: Mono,
}

impl Hosts {
    pub(crate) fn new(count: usize) -> Self {
        Self(vec![None; count])
    }

    /// What powermgr says of a host.
    pub(crate) fn hear(&mut self, now: Mono, host: usize, power: Power) {
        let Some(known) = self.0.get_mut(host) else { return };
        let since = match known {
            Some(known) if known.power == power => known.since,
            Some(_) => Some(now),
            None => None,
        };
        *known = Some(Known { power, since, heard: now });
    }

    /// Why what has its power from this host may be silent without having been pulled; none when it has power.
    pub(crate) fn excuse(&self, now: Mono, host: usize) -> Option<&'static str> {
        let known = self.0.get(host).copied().flatten().filter(|known| now.since(known.heard) <= COUNTS);
        let Some(known) = known else { return Some("whether its host is on is not known") };
        match known.power {
            Power::Off => Some("its host is off"),
            Power::Transition => Some("its host is switched on or off"),
            Power::On if known.since.is_some_and(|since| now.since(since) < SETTLES) => {
                Some("its host was switched on just now")
            }
            Power::On => None,
        }
    }
}

/// Tells which hosts have power, as often as that may have changed. Ends with its listener.
pub(crate) async fn watch(bus: Client, tell: mpsc::Sender<Said>) {
    let mut news = News::of(bus.clone(), "event.host.*.state", EVERY);
    loop {
        news.next().await;
        let context = CallContext::new().with_timeout(WITHIN);
        match bus.call(LIST_HOSTS, &v1::PowerListHostsRequest {}, &context).await {
            Ok(list) => {
                let said = list.hosts.iter().filter_map(|host| Some((host.host.clone(), power(host)?)));
                if tell.send(said.collect()).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(error = %ErrorChain(&error), "cannot read host power from powermgr: retrying");
            }
        }
    }
}

fn power(host: &v1::HostPower) -> Option<Power> {
    Some(match (host.power_good?, host.status()) {
        (false, _) => Power::Off,
        (true, v1::HostStatus::Transitioning) => Power::Transition,
        (true, _) => Power::On,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_means_something_while_a_host_has_power_and_has_settled() {
        let at = |second: u64| Mono::from_millis(second * 1_000);
        let mut hosts = Hosts::new(1);
        assert!(hosts.excuse(at(0), 0).is_some(), "nothing is known yet");
        hosts.hear(at(0), 0, Power::On);
        assert_eq!(hosts.excuse(at(0), 0), None, "it was on before");
        for (second, power, excused) in [
            (5, Power::Transition, true),
            (6, Power::Off, true),
            (60, Power::Transition, true),
            (61, Power::On, true),
            (65, Power::On, true),
            (66, Power::On, false),
            (101, Power::On, false),
        ] {
            hosts.hear(at(second), 0, power);
            assert_eq!(hosts.excuse(at(second), 0).is_some(), excused, "after {second} s");
        }
        assert_eq!(hosts.excuse(at(131), 0), None);
        assert!(hosts.excuse(at(132), 0).is_some(), "nobody says it any more");
        assert!(hosts.excuse(at(132), 1).is_some(), "there is no such host");
    }
}
