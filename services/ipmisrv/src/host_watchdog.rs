//! The watchdog timer in the words of the contract, and what a user changes of it.

use ipc::Status;
use ipmi::watchdog::{Timeout, Watchdog};
use schema::v1alpha1 as v1;
use units::{Millis, Mono};

/// The reasons of refusals.
const NEVER_SET: &str = "HOST_WATCHDOG_NOT_SET";
const OF_ANOTHER: &str = "HOST_WATCHDOG_NOT_FOUND";

/// How it is; `host_name`: whose.
pub(crate) fn told(timer: &Watchdog, now: Mono, host_name: &str) -> v1::HostWatchdog {
    let none = v1::HostWatchdog {
        host_name: host_name.to_owned(),
        enabled: timer.is_allowed(),
        ..v1::HostWatchdog::default()
    };
    let Some(shown) = timer.shown(now) else { return none };
    let interrupt =
        if shown.interrupts { v1::HostWatchdogInterrupt::Nmi } else { v1::HostWatchdogInterrupt::None };
    v1::HostWatchdog {
        configured: true,
        running: shown.is_running,
        timer_use: timer_use(shown.timer_use).into(),
        timeout_action: action(shown.timeout).into(),
        interrupt: interrupt.into(),
        interrupt_before_ms: if shown.interrupts { millis(shown.pretimeout) } else { 0 },
        initial_ms: millis(shown.whole),
        left_ms: millis(shown.left),
        expired: timer.expired().map(|of| timer_use(of).into()).collect(),
        ..none
    }
}

/// The timer as a user wants it, and in words what is changed of it; `None` where it is so already.
///
/// # Errors
/// It is another host's, or it was never set and so has no end: nothing is changed then.
pub(crate) fn changed(
    timer: &Watchdog,
    now: Mono,
    host_name: &str,
    request: &v1::SetHostWatchdogRequest,
) -> Result<Option<(Watchdog, String)>, Status> {
    if !request.host_name.is_empty() && request.host_name != host_name {
        let text = format!("the watchdog timer is that of {host_name}, and {} has none", request.host_name);
        return Err(Status::not_found(text).with_reason(OF_ANOTHER));
    }
    let (mut new, mut says) = (*timer, Vec::new());
    if request.timeout_action.is_some() {
        let wanted = timeout(request.timeout_action())?;
        // Nothing is done at the end of a timer that has none.
        let is = timer.shown(now).map_or(Timeout::Tell, |shown| shown.timeout);
        if wanted != is {
            new.set_timeout(wanted).map_err(|_| {
                let text = format!(
                    "{host_name} has set no watchdog timer since the controller was started: what is done at its end is said with that"
                );
                Status::failed_precondition(text).with_reason(NEVER_SET)
            })?;
            says.push(match wanted {
                Timeout::Tell => "nothing is done at its end",
                Timeout::Reset => "the host is reset at its end",
                Timeout::PowerDown => "the host is switched off at its end",
                Timeout::PowerCycle => "the host is switched off and on at its end",
            });
        }
    }
    if let Some(enabled) = request.enabled.filter(|enabled| *enabled != timer.is_allowed()) {
        new.allow(now, enabled);
        says.push(if enabled {
            "the host may start it"
        } else {
            "it is stopped, and the host may not start it"
        });
    }
    let is_changed = !says.is_empty();
    Ok(is_changed.then(|| (new, format!("watchdog of {host_name}: {}", says.join("; ")))))
}

/// The numbers are those of IPMI.
fn timer_use(number: u8) -> v1::HostWatchdogUse {
    v1::HostWatchdogUse::try_from(i32::from(number)).unwrap_or_default()
}

fn action(timeout: Timeout) -> v1::HostWatchdogAction {
    match timeout {
        Timeout::Tell => v1::HostWatchdogAction::None,
        Timeout::Reset => v1::HostWatchdogAction::ResetSystem,
        Timeout::PowerDown => v1::HostWatchdogAction::PowerDown,
        Timeout::PowerCycle => v1::HostWatchdogAction::PowerCycle,
    }
}

fn timeout(action: v1::HostWatchdogAction) -> Result<Timeout, Status> {
    Ok(match action {
        v1::HostWatchdogAction::None => Timeout::Tell,
        v1::HostWatchdogAction::ResetSystem => Timeout::Reset,
        v1::HostWatchdogAction::PowerDown => Timeout::PowerDown,
        v1::HostWatchdogAction::PowerCycle => Timeout::PowerCycle,
        v1::HostWatchdogAction::Unspecified => {
            return Err(Status::bad_field("timeout_action", "it is none of those there are"));
        }
    })
}

fn millis(span: Millis) -> u32 {
    u32::try_from(span.get()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use ipc::Code;
    use ipmi::{Command, Completion};

    use super::*;
    use crate::bench::Bench;

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    fn wants(enabled: Option<bool>, action: Option<v1::HostWatchdogAction>) -> v1::SetHostWatchdogRequest {
        v1::SetHostWatchdogRequest {
            host_name: "system".to_owned(),
            enabled,
            timeout_action: action.map(i32::from),
        }
    }

    #[test]
    fn what_the_host_has_set_is_told() {
        let mut bench = Bench::new();
        let told = |bench: &Bench| told(&bench.watchdog, bench.mono, "system");
        let none =
            v1::HostWatchdog { host_name: "system".to_owned(), enabled: true, ..v1::HostWatchdog::default() };
        assert_eq!(told(&bench), none, "nobody has set it");
        // OS load, reset, an interrupt 4 s before the end, 10 s.
        assert_eq!(bench.said(Command::SetWatchdog, &[0x03, 0x21, 4, 0, 100, 0]), Ok(Vec::new()));
        let set = v1::HostWatchdog {
            configured: true,
            timer_use: v1::HostWatchdogUse::OsLoad.into(),
            timeout_action: v1::HostWatchdogAction::ResetSystem.into(),
            interrupt: v1::HostWatchdogInterrupt::Nmi.into(),
            interrupt_before_ms: 4_000,
            initial_ms: 10_000,
            left_ms: 10_000,
            ..none
        };
        assert_eq!(told(&bench), set);
        assert_eq!(bench.said(Command::ResetWatchdog, &[]), Ok(Vec::new()));
        bench.mono += Millis::from_secs(3);
        assert_eq!(told(&bench), v1::HostWatchdog { running: true, left_ms: 7_000, ..set.clone() });
        bench.mono += Millis::from_secs(7);
        while bench.watchdog.tick(bench.mono).is_some() {}
        let expired = vec![v1::HostWatchdogUse::OsLoad.into()];
        assert_eq!(told(&bench), v1::HostWatchdog { left_ms: 0, expired, ..set });
    }

    #[test]
    fn a_host_whose_timer_is_switched_off_is_refused_when_it_starts_it() {
        let mut bench = Bench::new();
        assert_eq!(bench.said(Command::SetWatchdog, &[0x04, 0x01, 0, 0, 100, 0]), Ok(Vec::new()));
        assert_eq!(bench.said(Command::ResetWatchdog, &[]), Ok(Vec::new()));
        let (off, text) =
            changed(&bench.watchdog, bench.mono, "system", &wants(Some(false), None)).unwrap().unwrap();
        assert!(text.ends_with("it is stopped, and the host may not start it"), "{text}");
        bench.watchdog = off;
        assert_eq!(bench.watchdog.deadline(), None);
        bench.refuses(Command::ResetWatchdog, &[], Completion::STATE);
        assert!(changed(&bench.watchdog, bench.mono, "system", &wants(Some(false), None)).unwrap().is_none());
        let both = wants(Some(true), Some(v1::HostWatchdogAction::PowerCycle));
        let (on, text) = changed(&bench.watchdog, bench.mono, "system", &both).unwrap().unwrap();
        assert!(text.contains("off and on at its end; the host may start it"), "{text}");
        bench.watchdog = on;
        assert_eq!(bench.watchdog.deadline(), None, "it is the host that starts it");
        assert_eq!(bench.said(Command::ResetWatchdog, &[]), Ok(Vec::new()));
        assert_eq!(bench.said(Command::GetWatchdog, &[]), Ok(vec![0x44, 0x03, 0, 0, 100, 0, 100, 0]));
    }

    #[test]
    fn what_cannot_be_changes_nothing() {
        let timer = Watchdog::default();
        let refused = |request: &v1::SetHostWatchdogRequest| {
            changed(&timer, at(0), "system", request).err().map(|status| (status.code, status.reason()))
        };
        let reset = Some(v1::HostWatchdogAction::ResetSystem);
        let never_set = Some((Code::FailedPrecondition, NEVER_SET.to_owned()));
        assert_eq!(refused(&wants(None, reset)), never_set);
        // Not the half of it either.
        assert_eq!(refused(&wants(Some(false), reset)), never_set);
        let other = v1::SetHostWatchdogRequest { host_name: "host2".to_owned(), ..wants(Some(false), None) };
        assert_eq!(refused(&other), Some((Code::NotFound, OF_ANOTHER.to_owned())));
        let odd = v1::SetHostWatchdogRequest { timeout_action: Some(99), ..wants(None, None) };
        assert_eq!(refused(&odd).map(|(code, _)| code), Some(Code::InvalidArgument));
        // As it is already, and nothing.
        for request in [wants(Some(true), Some(v1::HostWatchdogAction::None)), wants(None, None)] {
            assert!(changed(&timer, at(0), "system", &request).unwrap().is_none());
        }
        // Whichever it is.
        let any = v1::SetHostWatchdogRequest { host_name: String::new(), ..wants(Some(false), None) };
        assert!(changed(&timer, at(0), "system", &any).unwrap().is_some());
    }
}
