//! Requests: which are legal when, and how each begins.

use units::Mono;

use super::resume::First;
use super::{Action, Actions, Control, Line, Machine, REMEMBERED, Running};
use crate::cause::RestartCause;
use crate::record::Step;
use crate::request::{Answer, Denial, Failure, HostAction, OpStatus, Outcome, Request};
use crate::state::{LINE_SLACK, Phase, Resume, Then};

impl Machine {
    pub(super) fn request(&mut self, now: Mono, request: Request, out: &mut Actions) {
        if let Some(status) = self.status_of(request.op) {
            out.push(Action::Answer(request.op, Answer::Known(status)));
            return;
        }
        let over =
            request.begin_by.is_some_and(|at| at < now) || request.deadline.is_some_and(|at| at <= now);
        let mut verdict = if over { Answer::Denied(Denial::TooLate) } else { self.verdict(request) };
        let mut half = false;
        if let Some(asked) = request.first_asked
            && asked < self.complete_since
        {
            (verdict, half) = self.verdict_on_old(request, verdict);
        }
        match verdict {
            Answer::Accepted => {
                let from = self.state();
                self.begin(now, request, half, out);
                out.push(Action::Answer(request.op, Answer::Accepted));
                self.announce(now, from, out);
            }
            other => out.push(Action::Answer(request.op, other)),
        }
    }

    /// What becomes of an operation that may have been begun when nobody kept a record of it, and whether only its second half is
    /// left. Nothing that may have been done is done again.
    fn verdict_on_old(&mut self, request: Request, verdict: Answer) -> (Answer, bool) {
        let restarts = matches!(
            request.action,
            HostAction::GracefulRestart | HostAction::ForceRestart | HostAction::PowerCycle
        );
        match verdict {
            // Off: the first half is done, by it or by what came between.
            Answer::Denied(Denial::HostOff) if restarts && self.wires.get(Line::Power).missing => {
                (Answer::Denied(Denial::LineMissing(Line::Power)), false)
            }
            Answer::Denied(Denial::HostOff) if restarts => (Answer::Accepted, true),
            // Asked twice, an operating system may take it for "no", and it may still be shutting down.
            Answer::Accepted
                if restarts || matches!(request.action, HostAction::GracefulOff | HostAction::Nmi) =>
            {
                let outcome = Outcome::Failed(Failure::Interrupted);
                if self.ended.len() == REMEMBERED {
                    self.ended.pop_front();
                }
                self.ended.push_back((request.op, outcome));
                (Answer::Known(OpStatus::Ended(outcome)), false)
            }
            verdict => (verdict, false),
        }
    }

    /// What the answer is, from the state alone.
    fn verdict(&self, request: Request) -> Answer {
        let line = First::of(request.action, &self.config).line();
        match self.verdict_by_state(request) {
            Answer::Accepted if self.wires.get(line).missing => Answer::Denied(Denial::LineMissing(line)),
            verdict => verdict,
        }
    }

    fn verdict_by_state(&self, request: Request) -> Answer {
        let action = request.action;
        let off = Answer::Denied(Denial::HostOff);
        let unsupported = Answer::Denied(Denial::NotSupported(action));
        let buttons = self.config.control == Control::Buttons;
        match (self.phase, action) {
            (Phase::Off, HostAction::On) => Answer::Accepted,
            (Phase::Off, HostAction::GracefulOff | HostAction::ForceOff) => Answer::Already,
            (
                Phase::Off,
                HostAction::GracefulRestart
                | HostAction::ForceRestart
                | HostAction::PowerCycle
                | HostAction::Nmi,
            ) => off,

            (Phase::On, HostAction::On) => Answer::Already,
            (Phase::On, HostAction::GracefulOff | HostAction::GracefulRestart) if !buttons => unsupported,
            (Phase::On, HostAction::Nmi) if !self.config.nmi => unsupported,
            (
                Phase::On,
                HostAction::GracefulOff
                | HostAction::GracefulRestart
                | HostAction::ForceOff
                | HostAction::ForceRestart
                | HostAction::PowerCycle
                | HostAction::Nmi,
            ) => Answer::Accepted,

            (Phase::Unknown, HostAction::ForceOff) => Answer::Accepted,
            (Phase::Unknown, _) => Answer::Denied(Denial::PowerGoodUnreadable),

            // A start nobody asked this daemon for: it was under way when the daemon began. Whoever asks for it owns it.
            (Phase::WaitPowerGood { .. }, HostAction::On) if self.op.is_none() => Answer::Accepted,

            // Cutting power is always possible, except that it is already being done.
            (_, HostAction::ForceOff)
                if self.op.is_none_or(|running| running.request.action != HostAction::ForceOff) =>
            {
                Answer::Accepted
            }
            (_, _) => Answer::Denied(Denial::TransitionInProgress {
                state: self.state(),
                op: self.op.map(|running| running.request.op),
            }),
        }
    }

    /// `half`: only what switches the host on is left of it.
    fn begin(&mut self, now: Mono, request: Request, half: bool, out: &mut Actions) {
        let timings = self.config.timings;
        self.finish(now, Outcome::Superseded(request.op), out);
        let deadline = request.deadline.unwrap_or(now + timings.longest_operation());
        self.op = Some(Running { request, since: now, deadline, stored: None, first: None });
        match First::of(request.action, &self.config) {
            _ if half => self.power_on(now, out),
            First::Start => {
                if matches!(self.phase, Phase::WaitPowerGood { .. }) {
                    out.0.extend(self.record(now, Step::Starting).map(Action::Record));
                    self.blame(now, RestartCause::Command);
                } else {
                    self.power_on(now, out);
                }
            }
            First::Ask => {
                let then = if request.action == HostAction::GracefulOff { Then::Stay } else { Then::On };
                let record = self.record(now, Step::Pressing);
                self.press(now, Line::Power, timings.press, record, out);
                let until = self.at_most(now + timings.graceful_off_timeout);
                self.phase = Phase::GracefulOff { until, then };
            }
            First::Cut => {
                let then = if request.action == HostAction::ForceOff { Then::Stay } else { Then::On };
                self.force_off(now, then, out);
            }
            First::Reset => {
                let record = self.record(now, Step::Pressing);
                self.press(now, Line::Reset, timings.reset, record, out);
                self.blame(now, RestartCause::Command);
                self.phase = Phase::Resetting { until: now + timings.reset + LINE_SLACK };
            }
            First::Nmi => {
                let record = self.record(now, Step::Pressing);
                self.press(now, Line::Nmi, timings.nmi, record, out);
                self.phase = Phase::NmiPulse { until: now + timings.nmi + LINE_SLACK };
            }
        }
    }

    /// Begins to switch on: from off, or from the off time of a cycle.
    pub(super) fn power_on(&mut self, now: Mono, out: &mut Actions) {
        let timings = self.config.timings;
        let from = self.state();
        let cause = match self.op.map(|running| running.request.action) {
            Some(HostAction::PowerCycle) => RestartCause::PowerCycle,
            _ => RestartCause::Command,
        };
        self.blame(now, cause);
        let record = self.record(now, Step::Starting);
        match self.config.control {
            Control::Buttons => self.press(now, Line::Power, timings.press, record, out),
            Control::Level => self.set_level(true, record, out),
        }
        let until = self.at_most(now + timings.power_good_timeout);
        self.phase = Phase::WaitPowerGood { until };
        if from == super::State::CycleOff {
            self.announce(now, from, out);
        }
    }

    /// Begins to cut the power, from any state.
    pub(super) fn force_off(&mut self, now: Mono, then: Then, out: &mut Actions) {
        let timings = self.config.timings;
        let until = self.at_most(now + timings.force_off_hold);
        let record = self.record(now, Step::Pressing);
        match self.phase {
            // Off as it seems; should it come back, it is cut.
            Phase::OffSettle { resume, .. } => {
                let resume = match resume {
                    Resume::Force(until) => Resume::Force(until),
                    Resume::Graceful(_) | Resume::Nothing => Resume::Force(until),
                };
                out.0.extend(record.map(Action::Record));
                self.drop_level(out);
                self.phase = Phase::OffSettle { until: now + timings.off_settle, then, resume };
            }
            Phase::CycleOff { .. } => {
                out.0.extend(record.map(Action::Record));
                self.let_go(now, out);
                self.drop_level(out);
                let resume = Resume::Force(until);
                self.phase = Phase::OffSettle { until: now + timings.off_settle, then, resume };
            }
            // Whether there is anything to cut is known in a moment. A press now could switch a host on that just went off.
            Phase::CheckPowerLoss { .. } => out.0.extend(record.map(Action::Record)),
            // Being cut already, for a cycle; only what follows changes.
            Phase::ForceOff { until, seen_good, .. } => {
                out.0.extend(record.map(Action::Record));
                self.phase = Phase::ForceOff { until, then, seen_good }
            }
            _ => {
                self.cut(now, until, record, out);
                let seen_good = self.raw.is_some() && self.good;
                self.phase = Phase::ForceOff { until, then, seen_good };
            }
        }
    }

    /// `until`, but not later than the operation's own deadline.
    pub(super) fn at_most(&self, until: Mono) -> Mono {
        self.op.map_or(until, |running| until.min(running.deadline))
    }

    fn blame(&mut self, now: Mono, cause: RestartCause) {
        self.causes.add(now, cause, self.config.timings.power_good_timeout);
    }
}
