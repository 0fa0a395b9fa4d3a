//! Requests: which are legal when, and how each begins.

use units::Mono;

use super::state::{Phase, Then};
use super::{Action, Actions, Control, Line, Machine, Running};
use crate::cause::RestartCause;
use crate::request::{Answer, Denial, HostAction, Outcome, Request};

impl Machine {
    pub(super) fn request(&mut self, now: Mono, request: Request, out: &mut Actions) {
        if let Some(status) = self.status_of(request.op) {
            out.push(Action::Answer(request.op, Answer::Known(status)));
            return;
        }
        let over =
            request.begin_by.is_some_and(|at| at < now) || request.deadline.is_some_and(|at| at <= now);
        let verdict = if over { Answer::Denied(Denial::TooLate) } else { self.verdict(request) };
        match verdict {
            Answer::Accepted => {
                let from = self.state();
                self.begin(now, request, out);
                out.push(Action::Answer(request.op, Answer::Accepted));
                self.announce(now, from, out);
            }
            other => out.push(Action::Answer(request.op, other)),
        }
    }

    /// What the answer is, from the state alone.
    fn verdict(&self, request: Request) -> Answer {
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

    fn begin(&mut self, now: Mono, request: Request, out: &mut Actions) {
        let timings = self.config.timings;
        self.finish(now, Outcome::Superseded(request.op), out);
        self.op = Some(Running { request, since: now });
        match request.action {
            HostAction::On => {
                if matches!(self.phase, Phase::WaitPowerGood { .. }) {
                    self.blame(now, RestartCause::Command);
                } else {
                    self.power_on(now, out);
                }
            }
            HostAction::GracefulOff | HostAction::GracefulRestart => {
                let then = if request.action == HostAction::GracefulOff { Then::Stay } else { Then::On };
                self.press(now, Line::Power, timings.press, out);
                let until = self.at_most(now + timings.graceful_off_timeout);
                self.phase = Phase::GracefulOff { until, then };
            }
            HostAction::ForceOff => self.force_off(now, Then::Stay, out),
            HostAction::PowerCycle => self.force_off(now, Then::On, out),
            HostAction::ForceRestart if self.config.reset => {
                self.press(now, Line::Reset, timings.reset, out);
                self.blame(now, RestartCause::Command);
                self.phase = Phase::Resetting { until: now + timings.reset };
            }
            HostAction::ForceRestart => self.force_off(now, Then::On, out),
            HostAction::Nmi => {
                self.press(now, Line::Nmi, timings.nmi, out);
                self.phase = Phase::NmiPulse { until: now + timings.nmi };
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
        match self.config.control {
            Control::Buttons => self.press(now, Line::Power, timings.press, out),
            Control::Level => self.set_level(true, out),
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
        match self.phase {
            // Off already; only what follows changes.
            Phase::OffSettle { .. } | Phase::CycleOff { .. } => {
                self.let_go(now, out);
                self.drop_level(out);
                self.phase = Phase::OffSettle { until: now + timings.off_settle, then, resume: None };
            }
            // Whether there is anything to cut is known in a moment. A press now could switch a host on that just went off.
            Phase::CheckPowerLoss { .. } => {}
            // Being cut already, for a cycle; only what follows changes.
            Phase::ForceOff { until, seen_good, .. } => {
                self.phase = Phase::ForceOff { until, then, seen_good }
            }
            _ => {
                match self.config.control {
                    Control::Buttons => self.press(now, Line::Power, timings.force_off_hold, out),
                    Control::Level => {
                        self.let_go(now, out);
                        self.set_level(false, out);
                    }
                }
                let seen_good = self.raw.is_some() && self.good;
                self.phase = Phase::ForceOff { until: now + timings.force_off_hold, then, seen_good };
            }
        }
    }

    /// `until`, but not later than the operation's own deadline.
    fn at_most(&self, until: Mono) -> Mono {
        match self.op.and_then(|running| running.request.deadline) {
            Some(deadline) => until.min(deadline),
            None => until,
        }
    }

    fn blame(&mut self, now: Mono, cause: RestartCause) {
        self.causes.add(now, cause, self.config.timings.power_good_timeout);
    }
}
