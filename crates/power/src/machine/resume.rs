//! Taking up an operation whose daemon died.

use units::Mono;

use super::{Actions, Config, Control, Hold, Line, Machine, Running, Stored};
use crate::cause::RestartCause;
use crate::record::{Past, Progress, Step};
use crate::request::{Failure, HostAction, Outcome, Request};
use crate::state::{LINE_SLACK, Phase, Resume, Then};

/// What begins an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// A short press of the power button, or the raised level.
    Start,
    /// A short press of the power button that asks the operating system.
    Ask,
    /// The power button held, or the level taken away.
    Cut,
    /// The reset button.
    Reset,
    /// The NMI line.
    Nmi,
}

impl First {
    pub(super) fn of(action: HostAction, config: &Config) -> Self {
        match action {
            HostAction::On => Self::Start,
            HostAction::GracefulOff | HostAction::GracefulRestart => Self::Ask,
            HostAction::ForceOff | HostAction::PowerCycle => Self::Cut,
            HostAction::ForceRestart if config.reset => Self::Reset,
            HostAction::ForceRestart => Self::Cut,
            HostAction::Nmi => Self::Nmi,
        }
    }

    /// The line it needs.
    pub(super) fn line(self) -> Line {
        match self {
            Self::Start | Self::Ask | Self::Cut => Line::Power,
            Self::Reset => Line::Reset,
            Self::Nmi => Line::Nmi,
        }
    }
}

impl Machine {
    /// Notes the operation that was under way. What it comes to is decided once power-good is known.
    pub(super) fn adopt(&mut self, now: Mono, past: Past, out: &mut Actions) {
        self.complete_since = past.since.unwrap_or(now);
        let skip = past.ended.len().saturating_sub(super::REMEMBERED);
        self.ended.extend(past.ended.into_iter().skip(skip));
        if let Some(progress) = past.running {
            let Progress { op, action, step, since, begun, deadline } = progress;
            let (since, begun) = (since.min(now), begun.min(now));
            let deadline = deadline.min(now + self.config.timings.longest_operation() * 2);
            self.op = Some(Running {
                request: Request { deadline: Some(deadline), ..Request::new(op, action) },
                since: begun,
                deadline,
                stored: Some(Stored { step, since }),
                first: None,
            });
            self.resuming = true;
            self.hold_on(now, action, step, since);
            if self.raw.is_some() || action == HostAction::Nmi {
                self.take_up(now, out);
            }
        }
    }

    /// A button that is found pressed and belongs to the operation stays pressed for as long as it was to be.
    fn hold_on(&mut self, now: Mono, action: HostAction, step: Step, since: Mono) {
        let timings = self.config.timings;
        let (line, span) = match (step, First::of(action, &self.config)) {
            (Step::Off, _) => return,
            (Step::Starting, _) | (_, First::Start | First::Ask) => (Line::Power, timings.press),
            // How long it has been held does not count: the host is still on.
            (_, First::Cut) => (Line::Power, (now - since) + timings.force_off_hold),
            (_, First::Reset) => (Line::Reset, timings.reset),
            (_, First::Nmi) => (Line::Nmi, timings.nmi),
        };
        if self.is_button(line) && std::mem::take(&mut self.wires.of(line).found) {
            let until = (since + span).max(now);
            self.hold = Some(Hold { line, since: now, until, span, driven: true });
        }
    }

    /// Goes on where the operation was, as the record and the pins say.
    pub(super) fn take_up(&mut self, now: Mono, out: &mut Actions) {
        let Some(running) = self.op.filter(|_| self.resuming) else { return };
        self.resuming = false;
        let Some(Stored { step, since }) = running.stored else { return };
        let (action, timings) = (running.request.action, self.config.timings);
        let from = self.phase.state();
        let raw = self.raw == Some(true);
        self.phase = self.phase_from_pins(now);
        // A level read once may be part of a bounce; until the debounce believes it, what was before counts.
        let soon = now + timings.debounce * 2;
        let held = self.hold.is_some();
        let then = match action {
            HostAction::GracefulOff | HostAction::ForceOff => Then::Stay,
            _ => Then::On,
        };
        match (step, First::of(action, &self.config)) {
            _ if running.deadline <= now => {
                self.let_go(now, out);
                self.finish(now, Outcome::Failed(Failure::Expired), out);
            }
            (Step::Starting, _) | (_, First::Start) => {
                self.good = false;
                let cause = match action {
                    HostAction::PowerCycle => RestartCause::PowerCycle,
                    _ => RestartCause::Command,
                };
                self.causes.add(now, cause, timings.power_good_timeout);
                let until = self.at_most(since + timings.power_good_timeout).max(soon);
                self.phase = Phase::WaitPowerGood { until };
                // A level can be raised again and is still one wish, unless its time was over and it was taken away.
                if self.config.control == Control::Level && self.level == Some(false) && !raw && soon < until
                {
                    self.set_level(true, None, out);
                }
            }
            (Step::Off, _) if then == Then::On => {
                self.good = false;
                self.phase = Phase::CycleOff { until: self.at_most((since + timings.cycle_off).max(soon)) };
            }
            (Step::Off, _) => self.finish(now, Outcome::Done, out),
            (Step::Pressing | Step::Pressed, First::Ask) => {
                self.good = true;
                let until = self.at_most(since + timings.graceful_off_timeout).max(soon);
                self.phase = Phase::GracefulOff { until, then };
            }
            (Step::Pressing | Step::Pressed, First::Cut) => {
                self.good = raw;
                let until = self.at_most(now + timings.force_off_hold);
                if raw {
                    self.phase = Phase::ForceOff { until, then, seen_good: true };
                    self.cut(now, until, None, out);
                } else {
                    let resume = Resume::Force(until);
                    self.phase = Phase::OffSettle { until: now + timings.off_settle, then, resume };
                }
            }
            (Step::Pressing | Step::Pressed, First::Reset) if held => {
                self.phase = Phase::Resetting { until: now + timings.reset + LINE_SLACK };
            }
            (Step::Pressed, First::Reset) => {
                self.causes.add(now, RestartCause::Command, timings.power_good_timeout);
                self.phase = Phase::CheckReset { until: now + timings.warm_reset_check };
            }
            (Step::Pressing | Step::Pressed, First::Nmi) if held => {
                self.phase = Phase::NmiPulse { until: now + timings.nmi + LINE_SLACK };
            }
            (Step::Pressed, First::Nmi) => self.finish(now, Outcome::Done, out),
            (Step::Pressing, First::Reset | First::Nmi) => {
                self.finish(now, Outcome::Failed(Failure::Interrupted), out);
            }
        }
        self.announce(now, from, out);
    }
}
