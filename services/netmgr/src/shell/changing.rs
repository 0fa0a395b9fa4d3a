//! What is changed while the daemon runs.

use std::net::IpAddr;
use std::path::Path;

use ipc::{CallContext, Status};
use schema::v1alpha1::{
    ChangeNetworkRequest, ChangeNetworkResponse, ConfirmNetworkRequest, ConfirmNetworkResponse,
};
use service::{Notifier, Unusable};
use units::{Millis, Mono};

use super::{Net, seed};
use crate::changes::{self, Book, Outcome, Stored};
use crate::config::Config;
use crate::events;
use crate::system::System;

/// What is stored, and the configuration with it. What cannot be used is told: a network as configured is better than none.
pub(super) fn begin(state_dir: &Path, base: &Config, notify: &Notifier) -> (Stored, Book, Config) {
    let (stored, changes, config) = Stored::open(state_dir, base);
    if let Some(what) = stored.unusable() {
        let file = changes::FILE;
        tracing::error!(file, %what, "cannot use stored network changes: using the configuration");
        let until = match what {
            Unusable::Damaged(_) => "it is changed again, the file is kept as .damaged then",
            Unusable::Unread(_) => "the file can be read, which is tried at each change and at a restart",
        };
        notify.finding(file, &format!("{what}; the network is as it is configured until {until}"));
    }
    (stored, Book::new(changes), config)
}

impl<S: System> Net<S> {
    pub(super) fn change(
        &mut self,
        request: &ChangeNetworkRequest,
        context: &CallContext,
    ) -> Result<ChangeNetworkResponse, Status> {
        // What is asked for comes on top of what was stored: what of it could not be read counts from here on, whatever becomes of the request.
        if let Some(changes) = self.stored.read_at_last(&self.base)? {
            self.book.stored(changes);
            self.reconfigure();
        }
        let now = self.now();
        let seconds = self.base.confirm_within_s;
        let trial = (seconds != 0).then(|| Millis::from_secs(seconds.into()));
        let told = changes::told(request);
        let trial_ends = match self.book.change(now, &self.base, request, trial)? {
            Outcome::Same => None,
            Outcome::Store(changes) => {
                self.stored.save(&changes)?;
                self.book.stored(changes);
                self.tell(&request.interface, "changed", told, Some(context), false);
                None
            }
            Outcome::Tried(until) => {
                let text = format!("{told}: on trial, taken back after {seconds} s unless it is confirmed");
                self.tell(&request.interface, "trial", text, Some(context), false);
                Some(events::moment(until, now, self.system.wall()))
            }
        };
        self.reconfigure();
        Ok(ChangeNetworkResponse { trial_ends })
    }

    pub(super) fn confirm(
        &mut self,
        request: &ConfirmNetworkRequest,
        context: &CallContext,
    ) -> Result<ConfirmNetworkResponse, Status> {
        let at: Option<IpAddr> = match request.reached_at.as_str() {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|_| Status::bad_field("reached_at", format!("{text:?} is no address")))?,
            ),
        };
        // So that the interface wants what is on trial, if it is in force by now.
        let now = self.now();
        self.turn_back(now);
        // Who comes by IPv6 says nothing of an IPv4 address, and who came by the address before this one, which may be there still, neither.
        let reached = |interface: &str| {
            let wants = |ip: IpAddr| {
                let port = self.ports.get(interface);
                port.is_some_and(|port| ip.is_ipv4() && port.iface.wants(ip))
            };
            at.is_none_or(|ip| wants(ip.to_canonical()))
        };
        let Some(changes) = self.book.confirmed(now, reached) else {
            return Ok(ConfirmNetworkResponse { confirmed: false });
        };
        self.stored.save(&changes)?;
        self.book.stored(changes);
        self.tell("", "confirmed", "the change on trial holds".to_owned(), Some(context), false);
        Ok(ConfirmNetworkResponse { confirmed: true })
    }

    /// Brings what is in force by now to the interfaces, and takes back what nobody has confirmed.
    pub(super) fn turn_back(&mut self, now: Mono) {
        let is_moving = self.book.is_moving();
        if let Some(interface) = self.book.due(now) {
            let text = "nobody has confirmed the change: taken back".to_owned();
            self.tell(&interface, "reverted", text, None, true);
        }
        if is_moving {
            self.reconfigure();
        }
    }

    fn reconfigure(&mut self) {
        let now = self.now();
        let config = self.book.in_force(now).on(&self.base);
        if config == self.config {
            return;
        }
        for (name, port) in &mut self.ports {
            if let Some(interface) = config.interfaces.get(name)
                && interface != port.iface.config()
            {
                port.iface.reconfigure(now, interface.clone(), seed());
                self.look_at = Some(now);
            }
        }
        if config.hostname.is_none() && self.config.hostname.is_some() {
            // It was not a lease's.
            self.hostname = None;
        }
        if !config.time.enabled {
            self.sync.forget();
        }
        self.config = config;
        self.refresh();
    }

    fn tell(&self, interface: &str, what: &str, message: String, context: Option<&CallContext>, worse: bool) {
        let by = context.and_then(|context| context.principal.as_ref());
        let by = by.map(|principal| principal.username.as_str()).unwrap_or_default();
        if worse {
            tracing::warn!(interface, by, "{message}");
        } else {
            tracing::info!(interface, by, "{message}");
        }
        let component = if interface.is_empty() { "controller" } else { interface };
        let request_id = context.map(|context| context.request_id.as_str()).unwrap_or_default();
        let event = events::event(self.system.wall(), component, what, message, worse, (by, request_id));
        self.outbox.event(event);
    }
}
