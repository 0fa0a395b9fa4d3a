//! What the library asks of us for one connection: who logs in, and what is opened. It decides nothing but which requests there are: sessions with a
//! shell or a command, with or without a terminal. All else is refused.

use std::borrow::Cow;
use std::sync::Arc;

use gate::Login;
use ipc::{Code, Status};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty};
use zeroize::Zeroizing;

use crate::calls::Shared;
use crate::channel::{self, Channels};
use crate::conn::{Conn, Place};

/// Largest piece of what a client types, bytes (RFC 4253 §6.1 has 32 KiB for a whole packet).
pub(crate) const PACKET: u32 = 16 * 1024;

/// How somebody logs in here.
pub(crate) fn methods() -> MethodSet {
    MethodSet::from(&[MethodKind::KeyboardInteractive, MethodKind::Password][..])
}

/// One connection's client.
pub(crate) struct Client {
    shared: Arc<Shared>,
    conn: Arc<Conn>,
    open: Channels,
    _place: Place,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>, conn: Arc<Conn>) -> Self {
        let _place = Place(Arc::clone(&shared), conn.id);
        Self { shared, conn, open: Channels::default(), _place }
    }

    async fn sign_in(&self, username: &str, password: &str) -> Auth {
        match self.try_sign_in(username, password).await {
            Ok(login) => {
                if !self.conn.logs_in(login.clone(), self.shared.clock.now()) {
                    // The client went while its password was looked at: nobody else knows of this session.
                    self.shared.sign_out(&login, self.conn.peer).await;
                }
                Auth::Accept
            }
            Err(status) => {
                if status.code != Code::Unauthenticated {
                    tracing::warn!(peer = %self.conn.peer, %status, "cannot let in over SSH");
                }
                // All methods stay open: how often one may try is usermgr's to say, and bounded for each connection.
                Auth::Reject { proceed_with_methods: Some(methods()), partial_success: false }
            }
        }
    }

    async fn try_sign_in(&self, username: &str, password: &str) -> Result<Login, Status> {
        let (shared, conn) = (&self.shared, &self.conn);
        if conn.has_logged_in() {
            return Err(Status::failed_precondition("somebody has logged in here already"));
        }
        let login = shared.sign_in(username, password, conn.peer).await?;
        let caller = login.caller();
        let placed = shared.admission().log_in(conn.id, caller.account(), caller.administrator());
        if let Err(full) = placed {
            shared.sign_out(&login, conn.peer).await;
            // It has no place any more, neither among strangers nor among users.
            conn.loses(full.to_string());
            return Err(Status::resource_exhausted(full.to_string()));
        }
        Ok(login)
    }
}

type Result<T = (), E = russh::Error> = std::result::Result<T, E>;

/// Ends the connection of a client that sends larger pieces than it was told to: the library takes packets of 256 KiB, and keeps some for each channel.
fn is_small(bytes: &[u8]) -> Result {
    match u32::try_from(bytes.len()) {
        Ok(length) if length <= PACKET => Ok(()),
        _ => Err(russh::Error::PacketSize(bytes.len())),
    }
}

fn answer(session: &mut Session, channel: ChannelId, is_granted: bool) -> Result {
    if is_granted { session.channel_success(channel) } else { session.channel_failure(channel) }
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth> {
        Ok(self.sign_in(user, password).await)
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth> {
        let Some(password) = response.map(|mut response| response.next()) else {
            return Ok(Auth::Partial {
                name: Cow::Borrowed(""),
                instructions: Cow::Borrowed(""),
                prompts: Cow::Borrowed(&[(Cow::Borrowed("Password: "), false)]),
            });
        };
        let password = password.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        let password = Zeroizing::new(password.unwrap_or_default());
        Ok(self.sign_in(user, &password).await)
    }

    async fn auth_publickey_offered(&mut self, _user: &str, _offer: PublicKeyOffer<'_>) -> Result<Auth> {
        // No account has one. The library would let each of them be shown.
        Ok(Auth::Reject { proceed_with_methods: Some(methods()), partial_success: false })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result {
        let Some(open) = self.open.open(channel.id()) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        reply.accept().await;
        tokio::spawn(channel::serve(
            channel,
            session.handle(),
            Arc::clone(&self.conn),
            Arc::clone(&self.shared),
            open,
        ));
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _col_width: u32,
        _row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result {
        answer(session, channel, true)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result {
        let is_granted = self.open.begins(channel);
        answer(session, channel, is_granted)
    }

    async fn data(&mut self, _channel: ChannelId, data: &[u8], _session: &mut Session) -> Result {
        is_small(data)
    }

    async fn extended_data(
        &mut self,
        _channel: ChannelId,
        _kind: u32,
        data: &[u8],
        _session: &mut Session,
    ) -> Result {
        is_small(data)
    }

    async fn exec_request(&mut self, channel: ChannelId, words: &[u8], session: &mut Session) -> Result {
        is_small(words)?;
        let is_granted = self.open.begins(channel);
        answer(session, channel, is_granted)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result {
        answer(session, channel, false)
    }

    async fn subsystem_request(&mut self, channel: ChannelId, _name: &str, session: &mut Session) -> Result {
        answer(session, channel, false)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result {
        answer(session, channel, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_as_large_as_a_client_is_told_and_no_larger() {
        let most = usize::try_from(PACKET).unwrap();
        assert!(is_small(&vec![0; most]).is_ok() && is_small(b"").is_ok());
        assert!(matches!(is_small(&vec![0; most + 1]), Err(russh::Error::PacketSize(_))));
    }
}
