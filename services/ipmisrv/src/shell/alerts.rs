//! What clients add to the SEL, what of the SEL alerts whom, and tests of passwords.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipc::{CallContext, Client, Code};
use ipmi::pet::Trap;
use ipmi::{Action, Completion, Suite};
use schema::rpc::auth_service::VERIFY_IPMI;
use schema::v1alpha1 as v1;
use tokio::net::UdpSocket;

use super::{Done, LOGIN, Shell, local_address, unix};
use crate::commands;
use crate::sel_log::Read;
use crate::settings::Settings;

impl Shell {
    /// What clients set here is this.
    pub(super) fn set(&mut self, settings: Settings) {
        let mut forbidden = settings.forbidden();
        // Checked at the start.
        forbidden.extend(self.config.forbidden().unwrap_or_default());
        self.server.forbid(forbidden);
        self.memory.settings = settings;
    }

    /// Something of the log was read: it may alert somebody, and a client may wait for its number.
    pub(super) fn read(&mut self, read: Read, out: &mut Vec<Action>) {
        let sequence = match &read {
            // What happened before this daemon began has alerted whom it was to.
            Read::Entry(entry) if self.sel.is_known() => Some(entry.sequence),
            _ => None,
        };
        self.sel.take(read);
        let tables = self.memory.settings.tables();
        if sequence.is_none() || (self.adding.is_empty() && tables.control == 0 && !self.host.is_there()) {
            return;
        }
        self.refresh_sel();
        self.number_added(out);
        let found = self.sel.records.iter().find(|record| Some(record.sequence) == sequence);
        let Some((id, bytes)) = found.map(|record| (record.id, record.bytes)) else { return };
        self.host.tell(&bytes);
        self.memory.filtered = id;
        for alert in tables.alerts(&bytes) {
            if let Some(address) = self.memory.settings.destination(alert.destination) {
                let severity = if alert.severity == 0 { severity(&bytes) } else { alert.severity };
                let sent = self.trap(address, severity, bytes);
                self.calls.spawn(async move {
                    sent.await;
                    Done::Told
                });
            }
        }
    }

    fn refresh_sel(&mut self) {
        let snapshot = self.model.snapshot();
        self.repository.refresh(&snapshot, unix(self.clock.wall()));
        self.sel.refresh(&self.repository);
    }

    /// Answers those whose records are in the log by now.
    pub(super) fn number_added(&mut self, out: &mut Vec<Action>) {
        if self.adding.is_empty() {
            return;
        }
        self.refresh_sel();
        let found = |event: &str| self.sel.records.iter().find(|record| record.event == event);
        let (done, waiting) = std::mem::take(&mut self.adding)
            .into_iter()
            .map(|(event, session, id)| (found(&event).map(|record| record.id), event, session, id))
            .partition::<Vec<_>, _>(|(number, ..)| number.is_some());
        self.adding = waiting.into_iter().map(|(_, event, session, id)| (event, session, id)).collect();
        for (number, _, session, id) in done {
            let number = number.unwrap_or_default().to_le_bytes().to_vec();
            self.done(Done::Replied(session, id, Ok(number)), out);
        }
    }

    /// Sends a trap of this record; whether it went.
    pub(super) fn trap(
        &mut self,
        address: Ipv4Addr,
        severity: u8,
        record: [u8; ipmi::sel::LENGTH],
    ) -> impl Future<Output = bool> + use<> {
        self.traps = self.traps.wrapping_add(1);
        let (sequence, guid) = (self.traps, self.guid);
        let community = self.memory.settings.community.clone();
        let ticks = u32::try_from(self.clock.now().as_millis() / 10 % u64::from(u32::MAX)).unwrap_or(0);
        let seconds = ipmi::pet::seconds(unix(self.clock.wall()));
        let to = SocketAddr::from((address, self.config.trap_port));
        async move {
            let agent = match local_address(to).await {
                Some(IpAddr::V4(agent)) => agent,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let trap = Trap {
                community: &community,
                agent,
                guid,
                sequence,
                ticks,
                seconds,
                severity,
                record: &record,
            };
            let sent = async {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
                socket.send_to(&trap.encode(), to).await
            };
            let sent = sent.await;
            if let Err(error) = &sent {
                tracing::warn!(%error, %to, "cannot send trap");
            }
            sent.is_ok()
        }
    }
}

/// How serious a record is, as traps say it: what its filter does not say.
pub(super) fn severity(record: &[u8; ipmi::sel::LENGTH]) -> u8 {
    match crate::platform_event::added(record).0 {
        v1::EventSeverity::Critical => 0x10,
        v1::EventSeverity::Warning => 0x08,
        _ => 0x02,
    }
}

/// Whether this is an account's password: a login that opens nothing. One that is wrong counts as any other.
pub(super) async fn test(
    bus: &Client,
    username: String,
    password: &[u8],
    from: SocketAddr,
) -> Result<(), Completion> {
    const WRONG: Completion = Completion(0x80);
    let mut data = vec![0; 16];
    getrandom::fill(&mut data).map_err(|_| Completion::UNSPECIFIED)?;
    let code = Suite::Sha256.mac(password, &data).to_vec();
    let request = v1::VerifyIpmiRequest {
        username,
        cipher_suite: Suite::Sha256.id().into(),
        data,
        code,
        session: Vec::new(),
        address: from.ip().to_canonical().to_string(),
        only_test: true,
    };
    let context = CallContext::new().with_timeout(LOGIN).with_patience(LOGIN);
    match bus.call(VERIFY_IPMI, &request, &context).await {
        Ok(_) => Ok(()),
        Err(status) if status.code == Code::Unauthenticated => Err(WRONG),
        Err(status) => Err(commands::completion(status.code)),
    }
}
