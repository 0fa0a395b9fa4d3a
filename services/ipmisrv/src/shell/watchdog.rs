//! The watchdog timer in the loop: its interrupt and its end, what these want of the machine, and what users ask about it and change.

use std::sync::Arc;
use std::time::Duration;

use gate::{Caller, Peer};
use ipc::{EventBuilder, Status};
use ipmi::watchdog::Due;
use prost::Message as _;
use schema::rpc::host_service::CHANGE_HOST_STATE;
use schema::v1alpha1 as v1;
use v1::event::Payload;

use super::{Done, Shell, ask};
use crate::commands::{self, WATCHDOG};
use crate::host_watchdog;
use crate::pursuit::{Machine, Over, Step, WANTED};
use crate::switch::{OfWatchdog, Switch};
use crate::watch;

/// How long the owner of the machine may take over what the watchdog wants: it waits for powermgr itself.
const WATCHDOG_CALL: Duration = Duration::from_secs(10);

impl Shell {
    /// Answers what was asked of the timer. What is changed is kept before its answer, and told with who changed it.
    pub(super) fn asked_of_watchdog(&mut self, switch: &mut Switch) {
        for asked in switch.take_asked() {
            match asked {
                OfWatchdog::Get(reply) => {
                    let answer = self.machine_name().map(|name| {
                        let watchdog = host_watchdog::told(&self.watch.timer, self.clock.now(), &name);
                        v1::GetHostWatchdogResponse { watchdog: Some(watchdog) }
                    });
                    switch.answer(reply, answer);
                }
                OfWatchdog::Set(request, reply) => {
                    let answer = self.set_watchdog(&request).map(|(watchdog, text)| {
                        if let Some(text) = text {
                            let context = reply.context();
                            let event = EventBuilder::new(crate::NAME, "ipmi", "watchdog", "changed")
                                .message(text)
                                .by(context.username(), &context.request_id);
                            switch.tell(event.at(self.clock.wall()));
                        }
                        v1::SetHostWatchdogResponse { watchdog: Some(watchdog) }
                    });
                    switch.answer(reply, answer);
                }
            }
        }
    }

    fn machine_name(&self) -> Result<String, Status> {
        let machine = Machine::of(&self.model.snapshot());
        machine
            .map(|machine| machine.name)
            .ok_or_else(|| Status::unavailable("it is not known yet whose the timer is: try again"))
    }

    /// The timer as it is then, and in words what was changed of it, if anything was.
    fn set_watchdog(
        &mut self,
        request: &v1::SetHostWatchdogRequest,
    ) -> Result<(v1::HostWatchdog, Option<String>), Status> {
        let (name, now) = (self.machine_name()?, self.clock.now());
        let changed = host_watchdog::changed(&self.watch.timer, now, &name, request)?;
        let Some((timer, text)) = changed else {
            return Ok((host_watchdog::told(&self.watch.timer, now, &name), None));
        };
        let before = (self.watch.timer, self.watch.resumes, self.watch.pursuit.clone());
        self.watch.change(timer);
        // What its answer says is so for the next process of this daemon as well, or it is not so at all.
        if !self.save_timers() {
            (self.watch.timer, self.watch.resumes, self.watch.pursuit) = before;
            let text = "the watchdog timer is as it was: how it is set cannot be kept for a restart of ipmisrv; see its log";
            return Err(Status::unavailable(text));
        }
        tracing::info!(host = name, "{text}");
        Ok((host_watchdog::told(&self.watch.timer, now, &name), Some(text)))
    }

    /// The timer's interrupt, or its end.
    pub(super) fn watchdog(&mut self) {
        self.look_for_gap();
        let now = self.clock.now();
        if self.doubts_watchdog(now) {
            return;
        }
        while let Some(due) = self.watch.timer.tick(now) {
            let until = match due {
                // Behind the end nobody needs an interrupt before it.
                Due::Interrupt => self.watch.timer.deadline().unwrap_or(now),
                Due::Expired { .. } => now + WANTED,
            };
            if let Some(action) = commands::wanted(due) {
                self.watch.why.clear();
                self.watch.pursuit.wants(now, action, until);
            }
            if let Due::Expired { timeout, is_logged: true, timer_use } = due {
                let text = format!("watchdog of use {timer_use} expired: {timeout:?}");
                let record = watch::record(timeout, timer_use);
                self.tell("expired", v1::EventSeverity::Warning, text, Some(record));
            }
        }
        self.pursue();
    }

    /// Goes on with what the timer's end wants of the machine. It was started by who may switch the machine, and switches it in nobody's name.
    pub(super) fn pursue(&mut self) {
        self.look_for_gap();
        let machine = Machine::of(&self.model.snapshot());
        while let Some(step) = self.watch.pursuit.due(self.clock.now(), machine.as_ref()) {
            self.step(step);
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Ask { number, name, action } => {
                let gate = self.gate.clone();
                let request = v1::ChangeHostStateRequest { host_name: name, action: action.into() };
                self.calls.spawn(async move {
                    let peer = Peer::Link(WATCHDOG);
                    let caller = Caller::without_account(WATCHDOG, Some(auth::Role::Operator), peer);
                    let request = request.encode_to_vec().into();
                    let (caller, within) = (Arc::new(caller), WATCHDOG_CALL);
                    let method = CHANGE_HOST_STATE.info;
                    let answer = ask(&gate, method, request, caller, peer, WATCHDOG, within).await;
                    Done::Watchdog(number, answer.map(drop))
                });
            }
            Step::Look => self.model.refresh(CHANGE_HOST_STATE.info.owner),
            Step::Over(action, over @ (Over::Taken | Over::Moot)) => {
                tracing::info!(
                    action = action.as_str_name(),
                    ?over,
                    "what the watchdog of IPMI wanted is over"
                );
            }
            Step::Over(action, Over::Refused | Over::TimedOut) => {
                let text = format!("watchdog: {} was not done: {}", action.as_str_name(), self.watch.why);
                tracing::error!("{text}");
                self.tell("failed", v1::EventSeverity::Critical, text, None);
            }
        }
    }

    /// Tells this of the watchdog.
    pub(super) fn tell(
        &mut self,
        what: &'static str,
        severity: v1::EventSeverity,
        text: String,
        record: Option<[u8; ipmi::sel::LENGTH]>,
    ) {
        let Some(untold) = self.watch.tells(self.clock.now()) else { return };
        let text = if untold > 0 { format!("{text}; {untold} events before were not told") } else { text };
        let event = EventBuilder::new(crate::NAME, "ipmi", "watchdog", what)
            .severity(severity)
            .message(text)
            .payload(
                record.map(|record| Payload::IpmiSelRecord(v1::IpmiSelRecord { record: record.to_vec() })),
            )
            .at(self.clock.wall());
        let bus = self.bus.clone();
        self.calls.spawn(async move {
            if let Err(error) = bus.publish_event(&event).await {
                tracing::warn!(%error, what, "cannot tell of the watchdog");
            }
            Done::Told
        });
    }
}
