//! The switch of the port of plain HTTP, which leads to HTTPS: whether it is open, as `RedirectService` says and Redfish's `HTTP` shows. Where it is, the
//! configuration says.
//!
//! ```text
//!   redirect.json ─► before a port is opened ─┐
//!   RedirectService ─► redirect.json ─────────┴─► a listener, or none ─► listener: the redirect, which ends with it
//! ```
//!
//! The operator waits for the port, and who switched it off wants it never open, so it is kept in a file of this daemon's own and not in a bucket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use ipc::{Calls, EventBuilder, Outbox, Reply, Request, Status};
use schema::server::RedirectServiceCall as Call;
use schema::v1alpha1 as v1;
use service::{ErrorChain, KeptSwitch, Notifier};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::complaints::{Complaints, Part};
use crate::config::Listen;
use crate::listener;
use crate::transport::{Handle, Shared, stopped};

/// On, unless somebody has said otherwise.
pub(crate) const SWITCH: KeptSwitch = KeptSwitch { title: "the redirect from HTTP", file: "redirect.json" };
/// What the operator is told of it as.
const NAME: &str = "http";

/// Where the configuration has it.
///
/// # Errors
/// Why there is none, whatever is switched.
pub(crate) fn place(http: Listen, https: Listen) -> Result<SocketAddr, &'static str> {
    match (http, https) {
        (Listen::At(_), Listen::Off) => Err("HTTPS is off, so there is nothing that HTTP could lead to"),
        (Listen::At(address), Listen::At(_)) => Ok(address),
        (Listen::Off, _) => Err("the configuration rules HTTP out: --http off"),
    }
}

/// What is known of the choice, and what is made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Where the configuration has it; or why there is none.
    at: Result<SocketAddr, &'static str>,
    /// What somebody has chosen, if somebody has.
    chosen: Option<bool>,
    /// Why that is not known; empty otherwise.
    lost: String,
}

impl Choice {
    /// Of what was read at the start.
    pub(crate) fn new(at: Result<SocketAddr, &'static str>, read: Result<Option<bool>, String>) -> Self {
        match read {
            Ok(chosen) => Self { at, chosen, lost: String::new() },
            Err(lost) => Self { at, chosen: None, lost },
        }
    }

    /// Where it is to be open, if it is.
    pub(crate) fn wanted(&self) -> Option<SocketAddr> {
        self.at.ok().filter(|_| self.lost.is_empty() && self.chosen.unwrap_or(true))
    }

    /// Why nobody knows what was chosen; empty otherwise.
    pub(crate) fn lost(&self) -> &str {
        &self.lost
    }

    /// After this was chosen.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` with the reason `REDIRECT_CONFIGURED_OFF` for one that is to be on where there is none.
    fn with(&self, enabled: bool) -> Result<Self, Status> {
        match self.at {
            Err(why) if enabled => {
                Err(Status::failed_precondition(why).with_reason("REDIRECT_CONFIGURED_OFF"))
            }
            at => Ok(Self { at, chosen: Some(enabled), lost: String::new() }),
        }
    }
}

/// A port that is open. Without its `off` it is closed, and its connections end after what they are at.
struct Open {
    address: SocketAddr,
    off: watch::Sender<bool>,
    /// Who accepts there, and has the socket until its end.
    accepting: JoinHandle<()>,
}

/// A choice that is kept or is not, by whom.
struct Set {
    choice: Choice,
    by: (String, String),
    reply: Option<Reply<v1::SetRedirectResponse>>,
    /// What was opened for it; none where it is open already, or closed.
    result: Result<Option<TcpListener>, Status>,
}

/// The redirect.
pub(crate) struct Redirect<H> {
    pub(crate) notify: Notifier,
    pub(crate) outbox: Outbox,
    pub(crate) complaints: Complaints,
    pub(crate) state_dir: PathBuf,
    pub(crate) choice: Choice,
    /// The port that it leads to.
    pub(crate) https_port: u16,
    pub(crate) shared: Shared<H>,
}

impl<H: Handle> Redirect<H> {
    /// Serves at the port that the start has opened, if it has.
    pub(crate) fn begin(self, bound: Option<TcpListener>) -> Desk<H> {
        let mut desk = Desk { redirect: self, open: None, closing: None, switching: JoinSet::new() };
        if let Some(listener) = bound {
            desk.opens(listener);
        }
        desk
    }
}

/// The redirect as it is.
pub(crate) struct Desk<H> {
    redirect: Redirect<H>,
    open: Option<Open>,
    /// Who accepted at the port that was closed last: until its end the port cannot be had again.
    closing: Option<JoinHandle<()>>,
    /// One at a time.
    switching: JoinSet<Set>,
}

impl<H: Handle> Desk<H> {
    /// Opens and closes the port as it is switched, until told to stop.
    pub(crate) async fn serve(mut self, mut calls: Calls<Call<Request>>) {
        let mut stop = self.redirect.shared.stop.clone();
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                Some(Ok(set)) = self.switching.join_next(), if !self.switching.is_empty() => self.switched(set),
                call = calls.next() => match call {
                    Some(Call::GetRedirect(_, reply)) => {
                        let answer = v1::GetRedirectResponse { redirect: Some(self.told()) };
                        self.redirect.outbox.answer(reply, Ok(answer));
                    }
                    Some(Call::SetRedirect(request, reply)) => self.choose(request.enabled, reply),
                    None => return,
                },
            }
        }
    }

    fn told(&self) -> v1::Redirect {
        let choice = &self.redirect.choice;
        let address = self.open.as_ref().map(|open| open.address).or(choice.at.ok());
        v1::Redirect {
            enabled: choice.wanted().is_some(),
            listening: self.open.is_some(),
            address: address.map(|address| address.ip().to_string()).unwrap_or_default(),
            port: address.map_or(0, |address| address.port().into()),
            fault: choice.lost.clone(),
            by_configuration: choice.at.is_err() || (choice.chosen.is_none() && choice.lost.is_empty()),
        }
    }

    fn answer(&self, reply: Reply<v1::SetRedirectResponse>, result: Result<(), Status>) {
        let answer = result.map(|()| v1::SetRedirectResponse { redirect: Some(self.told()) });
        self.redirect.outbox.answer(reply, answer);
    }

    fn choose(&mut self, enabled: Option<bool>, reply: Reply<v1::SetRedirectResponse>) {
        // Who says nothing has chosen nothing.
        let Some(enabled) = enabled else { return self.answer(reply, Ok(())) };
        if !self.switching.is_empty() {
            let status = Status::unavailable("the redirect from HTTP is being switched: try again");
            return self.answer(reply, Err(status));
        }
        let choice = match self.redirect.choice.with(enabled) {
            Ok(choice) => choice,
            Err(status) => return self.answer(reply, Err(status)),
        };
        // As it is: what is kept says so already.
        if choice == self.redirect.choice && self.open.is_some() == choice.wanted().is_some() {
            return self.answer(reply, Ok(()));
        }
        let opens = choice.wanted().filter(|_| self.open.is_none());
        let closing = opens.and_then(|_| self.closing.take());
        let by = (reply.context().username().to_owned(), reply.context().request_id.clone());
        let state_dir = self.redirect.state_dir.clone();
        self.switching.spawn(async move {
            let kept = async {
                if let Some(closing) = closing {
                    closing.await.ok();
                }
                let listener = match opens {
                    Some(address) => Some(listener::bind("HTTP", address).await.map_err(|error| {
                        let why = ErrorChain(&error).to_string();
                        Status::failed_precondition(why).with_reason("REDIRECT_PORT_UNAVAILABLE")
                    })?),
                    None => None,
                };
                let keep = tokio::task::spawn_blocking(move || SWITCH.keep(&state_dir, enabled)).await;
                let keep = keep.map_err(std::io::Error::other).flatten();
                keep.map_err(|error| {
                    Status::unavailable(format!("cannot store it: {error}")).with_reason("STORE_FAILED")
                })?;
                Ok::<_, Status>(listener)
            };
            let (reply, result) = reply.until_known(kept).await;
            Set { choice, by, reply, result }
        });
    }

    /// What somebody chose counts once it is kept.
    fn switched(&mut self, Set { choice, by, reply, result }: Set) {
        let result = result.map(|listener| {
            self.redirect.choice = choice;
            // It can be read now.
            self.redirect.complaints.set(Part::Redirect, String::new());
            let is_on = self.redirect.choice.wanted().is_some();
            match listener {
                Some(listener) => self.opens(listener),
                None if !is_on => self.closes(),
                None => {}
            }
            let (what, text) = match is_on {
                true => ("enabled", "the redirect from HTTP to HTTPS is switched on"),
                false => ("disabled", "the redirect from HTTP to HTTPS is switched off"),
            };
            tracing::info!(by = by.0, what, "redirect from HTTP switched");
            let event =
                EventBuilder::new("websrv", "redirect", "service", what).message(text).by(&by.0, &by.1);
            self.redirect.outbox.event(event.at(SystemTime::now()));
        });
        if let Some(reply) = reply {
            self.answer(reply, result);
        }
    }

    fn opens(&mut self, listener: TcpListener) {
        let Ok(address) = listener.local_addr() else { return };
        self.redirect.notify.listening(NAME, address);
        tracing::info!(listener = NAME, %address, "listening");
        let (off, ends) = watch::channel(false);
        // It ends with this port as it does with the daemon, whose end closes it.
        let shared = Shared { stop: ends, ..self.redirect.shared.clone() };
        let accepting = tokio::spawn(listener::redirect(listener, self.redirect.https_port, shared));
        self.open = Some(Open { address, off, accepting });
    }

    fn closes(&mut self) {
        if let Some(Open { off, accepting, .. }) = self.open.take() {
            off.send_replace(true);
            self.closing = Some(accepting);
            self.redirect.notify.listening_ended(NAME);
            tracing::info!(listener = NAME, "listening no more");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn it_is_where_the_configuration_has_it_and_leads_somewhere() {
        assert_eq!(place(Listen::At(at(80)), Listen::At(at(443))), Ok(at(80)));
        for (http, https, why) in [
            (Listen::Off, Listen::At(at(443)), "--http off"),
            (Listen::Off, Listen::Off, "--http off"),
            (Listen::At(at(80)), Listen::Off, "HTTPS is off"),
        ] {
            assert!(place(http, https).unwrap_err().contains(why), "{http:?} {https:?}");
        }
    }

    #[test]
    fn it_is_open_unless_somebody_switched_it_off_or_nobody_knows() {
        for (at, read, wanted) in [
            (Ok(at(80)), Ok(None), Some(at(80))),
            (Ok(at(80)), Ok(Some(true)), Some(at(80))),
            (Ok(at(80)), Ok(Some(false)), None),
            (Ok(at(80)), Err("it is damaged".to_owned()), None),
            // The configuration is stronger.
            (Err("--http off"), Ok(Some(true)), None),
            (Err("--http off"), Ok(None), None),
        ] {
            assert_eq!(Choice::new(at, read.clone()).wanted(), wanted, "{at:?} {read:?}");
        }
    }

    #[test]
    fn what_is_chosen_counts_and_what_cannot_be_is_refused() {
        for read in [Ok(None), Ok(Some(true)), Ok(Some(false)), Err("it is damaged".to_owned())] {
            let choice = Choice::new(Ok(at(80)), read.clone());
            assert_eq!(choice.with(true).unwrap(), Choice::new(Ok(at(80)), Ok(Some(true))), "{read:?}");
            assert_eq!(choice.with(false).unwrap(), Choice::new(Ok(at(80)), Ok(Some(false))), "{read:?}");
            let ruled_out = Choice::new(Err("--http off"), read.clone());
            let refused = ruled_out.with(true).unwrap_err();
            assert_eq!(
                (refused.code, refused.reason().as_str()),
                (ipc::Code::FailedPrecondition, "REDIRECT_CONFIGURED_OFF")
            );
            // Off it is, and off it stays once the configuration has it somewhere.
            let off = ruled_out.with(false).unwrap();
            assert_eq!((off.chosen, off.lost()), (Some(false), ""));
        }
    }
}
