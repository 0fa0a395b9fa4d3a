//! What passwords and logins are held to: the configuration, and what was set by request instead of it.
//!
//! A change counts when it is on the medium: it is kept first, then applied and answered. One at a time.

use std::ops::RangeInclusive;

use auth::Policy;
use ipc::{BadFields, EventBuilder, Status};
use schema::v1alpha1 as v1;
use serde::{Deserialize, Serialize};

use super::{Action, Machine, Note, Now, Requester, Ticket, refuse, wire};
use crate::config::{Config, HISTORY_MAX, IDLE_MAX_S, LOCKOUT_DELAY_MAX_S, Limits, THRESHOLD_MAX};

/// What was set by request; what was not is as it is configured. Keys that are not known are skipped: what a newer release added must not
/// cost the rest of it when the release before is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Chosen {
    /// Fewest characters of a password.
    pub(crate) min_password_length: Option<u32>,
    /// Days until a password has to be changed; 0 is never.
    pub(crate) max_password_age_days: Option<u32>,
    /// Passwords before the present one that cannot be chosen again.
    pub(crate) password_history: Option<u32>,
    /// Failures before the first delay.
    pub(crate) lockout_threshold: Option<u32>,
    /// The longest delay, seconds.
    pub(crate) lockout_max_delay_secs: Option<u64>,
    /// How long after the last failure those before are forgotten, seconds; at least the longest delay.
    pub(crate) lockout_forget_after_secs: Option<u64>,
    /// How long a session lasts that is not used, seconds.
    pub(crate) session_idle_secs: Option<u64>,
}

impl Chosen {
    /// The limits of this configuration with what was set. What goes with a value that was set follows it: no delay is longer than the longest one, nothing is
    /// forgotten before that ends, and what one address may do is more than what one account may.
    ///
    /// # Errors
    /// The rule that does not hold.
    pub(crate) fn limits(&self, config: &Config) -> Result<Limits, String> {
        let mut config = config.clone();
        if let Some(length) = self.min_password_length {
            config.password.min_length = usize::try_from(length).unwrap_or(usize::MAX);
        }
        if let Some(days) = self.max_password_age_days {
            config.password.max_age_days = days;
        }
        if let Some(history) = self.password_history {
            config.password.history = usize::try_from(history).unwrap_or(usize::MAX);
        }
        let lockout = &mut config.lockout;
        if let Some(threshold) = self.lockout_threshold {
            lockout.threshold = threshold;
            lockout.address_threshold = lockout.address_threshold.max(threshold.saturating_add(1));
        }
        if let Some(longest) = self.lockout_max_delay_secs {
            lockout.max_delay_secs = longest;
            lockout.first_delay_secs = lockout.first_delay_secs.min(longest);
            lockout.address_delay_secs = lockout.address_delay_secs.min(longest);
            lockout.forget_after_secs = lockout.forget_after_secs.max(longest);
        }
        if let Some(after) = self.lockout_forget_after_secs {
            lockout.forget_after_secs = after.max(lockout.max_delay_secs);
        }
        if let Some(idle) = self.session_idle_secs {
            config.sessions.idle_secs = idle;
        }
        config.limits().map_err(|error| error.to_string())
    }

    /// What counts where what was set cannot be read. Nobody knows how strict that was, so nothing is weaker than by default, whatever is configured.
    pub(crate) fn unread(config: &Config) -> Self {
        let default = Config::default();
        let (password, lockout, idle) = (&default.password, &default.lockout, default.sessions.idle_secs);
        let more = |by_default: usize, configured: usize| {
            u32::try_from(by_default).ok().filter(|_| by_default > configured)
        };
        let (longest, after) = (lockout.max_delay_secs, lockout.forget_after_secs);
        Self {
            min_password_length: more(password.min_length, config.password.min_length),
            password_history: more(password.history, config.password.history),
            // By default passwords last for ever: what is configured is as strict.
            max_password_age_days: None,
            lockout_threshold: Some(lockout.threshold).filter(|most| *most < config.lockout.threshold),
            lockout_max_delay_secs: Some(longest).filter(|longest| *longest > config.lockout.max_delay_secs),
            lockout_forget_after_secs: Some(after).filter(|after| *after > config.lockout.forget_after_secs),
            session_idle_secs: Some(idle).filter(|idle| *idle < config.sessions.idle_secs),
        }
    }

    /// With the fields of a request; those that are named, or, where none are, those that say something.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming each field that is out of its bounds, with the reason `FIELD_MASK` for one that is not set by request.
    fn changed(
        mut self,
        wanted: &v1::AccountPolicy,
        mask: Option<&[String]>,
        config: &Config,
    ) -> Result<Self, Status> {
        let whole = |span: prost_types::Duration| u64::try_from(span.seconds).unwrap_or_default();
        let (longest, idle) = (wanted.lockout_max_delay.map(whole), wanted.session_idle.map(whole));
        let after = wanted.lockout_forget_after.map(whole);
        let said = || {
            let fields = [
                ("min_password_length", wanted.min_password_length != 0),
                ("max_password_age_days", wanted.max_password_age_days != 0),
                ("lockout_threshold", wanted.lockout_threshold != 0),
                ("lockout_max_delay", longest.is_some()),
                ("lockout_forget_after", after.is_some()),
                ("password_history", wanted.password_history != 0),
                ("session_idle", idle.is_some()),
            ];
            fields.into_iter().filter(|(_, says)| *says).map(|(name, _)| name.to_owned()).collect()
        };
        let paths: Vec<String> = mask.map_or_else(said, <[String]>::to_vec);
        // What the longest delay is then: failures are not forgotten while one lasts.
        let is_set = |field: &str| paths.iter().any(|path| path == field);
        let delay = if is_set("lockout_max_delay") { longest } else { self.lockout_max_delay_secs };
        let delay = delay.unwrap_or(config.lockout.max_delay_secs);
        let mut bad = BadFields::default();
        let mut within = |field: &str, value: u64, bounds: RangeInclusive<u64>, unit: &str| {
            if !bounds.contains(&value) {
                let why = format!("it is {} to {}{unit}", bounds.start(), bounds.end());
                bad.add(format!("policy.{field}"), why);
            }
        };
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let mut unset = Vec::new();
        for path in &paths {
            match path.as_str() {
                field @ "min_password_length" => {
                    let bounds = count(Policy::FLOOR)..=count(config.password.max_length);
                    within(field, wanted.min_password_length.into(), bounds, " characters");
                    self.min_password_length = Some(wanted.min_password_length);
                }
                field @ "max_password_age_days" => {
                    within(field, wanted.max_password_age_days.into(), 0..=AGE_MAX_DAYS, " days");
                    self.max_password_age_days = Some(wanted.max_password_age_days);
                }
                field @ "lockout_threshold" => {
                    within(field, wanted.lockout_threshold.into(), 1..=THRESHOLD_MAX.into(), "");
                    self.lockout_threshold = Some(wanted.lockout_threshold);
                }
                field @ "lockout_max_delay" => {
                    let longest = longest.unwrap_or_default();
                    within(field, longest, 1..=LOCKOUT_DELAY_MAX_S, " s");
                    self.lockout_max_delay_secs = Some(longest);
                }
                field @ "lockout_forget_after" => {
                    let after = after.unwrap_or_default();
                    within(field, after, delay.clamp(1, LOCKOUT_DELAY_MAX_S)..=LOCKOUT_DELAY_MAX_S, " s");
                    self.lockout_forget_after_secs = Some(after);
                }
                field @ "password_history" => {
                    within(field, wanted.password_history.into(), 0..=count(HISTORY_MAX), "");
                    self.password_history = Some(wanted.password_history);
                }
                field @ "session_idle" => {
                    let idle = idle.unwrap_or_default();
                    within(field, idle, IDLE_MIN_S..=IDLE_MAX_S, " s");
                    self.session_idle_secs = Some(idle);
                }
                other => unset.push(format!("{other} is set in usermgr's configuration only")),
            }
        }
        for why in unset {
            bad.add_path(why);
        }
        bad.check()?;
        Ok(self)
    }
}

/// The longest time until a password has to be changed that a request may set, days: ten years.
const AGE_MAX_DAYS: u64 = 3650;
/// Shortest idle limit of sessions that a request may set, as the time of each session's last use is stored now and then, the oftener the shorter it is; as Redfish's `SessionTimeout` has it (SessionService, seconds).
const IDLE_MIN_S: u64 = 30;

/// The policy as it is, and a change of it under way.
#[derive(Debug, Default)]
pub(super) struct Settable {
    config: Config,
    chosen: Chosen,
    /// What was set before could not be read: `chosen` is not what is stored.
    is_unread: bool,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    ticket: Ticket<v1::UpdateAccountPolicyResponse>,
    by: String,
    request_id: String,
    chosen: Chosen,
    limits: Limits,
}

impl Machine {
    /// With what was configured, and what was set before; the limits are those of both.
    pub(crate) fn with_policy(mut self, config: Config, chosen: Chosen) -> Self {
        self.policy = Settable { config, chosen, is_unread: false, pending: None };
        self
    }

    /// What was set before could not be read, and may be something else.
    pub(crate) fn with_unread_policy(mut self) -> Self {
        self.policy.is_unread = true;
        self
    }

    /// Sets what is asked for, once it is kept.
    pub(super) fn set_policy(
        &mut self,
        ticket: Ticket<v1::UpdateAccountPolicyResponse>,
        wanted: &v1::AccountPolicy,
        mask: Option<&[String]>,
        requester: &Requester,
        request_id: String,
    ) -> Result<Option<Action>, Status> {
        if self.policy.pending.is_some() {
            let text = "another change of the policy is being stored; try again";
            return Err(Status::new(ipc::Code::Aborted, text).with_reason("POLICY_CHANGING"));
        }
        let chosen = self.policy.chosen.changed(wanted, mask, &self.policy.config)?;
        // What was set before may not fit what is configured now.
        let limits = chosen.limits(&self.policy.config).map_err(|rule| Status::bad_field("policy", rule))?;
        if chosen == self.policy.chosen && !self.policy.is_unread {
            let policy = Some(wire::policy(&self.limits));
            return Ok(Some(ticket.answer(v1::UpdateAccountPolicyResponse { policy })));
        }
        self.policy.pending =
            Some(Pending { ticket, by: requester.name.clone(), request_id, chosen, limits });
        Ok(Some(Action::KeepPolicy(chosen)))
    }

    /// What was set before is found, or cannot be read still: what was asked for is not stored over it.
    pub(super) fn policy_found(&mut self, found: Option<Chosen>, now: Now, out: &mut Vec<Action>) {
        let found = found.and_then(|found| Some((found, found.limits(&self.policy.config).ok()?)));
        let text = match found {
            Some((chosen, limits)) => {
                self.hold_to(chosen, limits, now);
                "the policy that was set before can be read again and counts: nothing else is changed; try again"
            }
            None => "the policy that was set before cannot be read now: nothing is changed until it can",
        };
        let Some(pending) = self.policy.pending.take() else { return };
        out.push(refuse(pending.ticket.id(), Status::unavailable(text)));
    }

    /// From now on this counts.
    fn hold_to(&mut self, chosen: Chosen, limits: Limits, now: Now) {
        (self.policy.chosen, self.policy.is_unread) = (chosen, false);
        self.limits = limits;
        self.lockout.reconfigure(limits.lockout);
        self.sessions.set_idle_limit(limits.sessions.idle_limit, now.mono);
        // Times of last use are stored more often where sessions end sooner.
        self.housekeeping = self.housekeeping.min(now.mono);
    }

    /// What was chosen is kept, or is not.
    pub(super) fn policy_kept(&mut self, stored: bool, now: Now, out: &mut Vec<Action>) {
        let Some(pending) = self.policy.pending.take() else { return };
        let Pending { ticket, by, request_id, chosen, limits } = pending;
        if !stored {
            let status = Status::unavailable("the policy cannot be stored: nothing is changed");
            out.push(refuse(ticket.id(), status));
            return;
        }
        self.hold_to(chosen, limits, now);
        out.push(Action::Log(Note::Done {
            kind: "policy-updated",
            what: "account policy changed",
            user: None,
            by: Some(by.clone()),
            request_id: request_id.clone(),
        }));
        let random = self.random().unwrap_or_default();
        let event = EventBuilder::new(crate::NAME, "user", "policy", "updated")
            .severity(v1::EventSeverity::Info)
            .message(format!("the policy of accounts was changed by {by}"))
            .by(&by, &request_id);
        out.push(Action::Publish(Box::new(event.at_unix_ms(now.wall.0, random))));
        let policy = Some(wire::policy(&self.limits));
        out.push(ticket.answer(v1::UpdateAccountPolicyResponse { policy }));
    }
}
