//! The socket of IPMI over LAN, which says to which of the controller's addresses each datagram came, and sends what answers it from there. Clients connect
//! their sockets: what comes from another address their kernel throws away.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use ipmi::Path;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Largest datagram of IPMI there is here, bytes; what is longer is none.
const DATAGRAM: usize = 1100;
/// Room for what the kernel joins of one sender to be read at once (UDP GRO), bytes.
pub(crate) const BUFFER: usize = 64 * 1024;

/// A socket that knows its ways.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// What was read at once: datagrams of one length from one sender, of which the last one may be shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) path: Path,
    length: usize,
    each: usize,
}

impl Received {
    /// The datagrams, as they lie in `buffer`.
    pub(crate) fn datagrams<'a>(&self, buffer: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let all = buffer.get(..self.length).unwrap_or_default();
        all.chunks(self.each.max(1)).filter(|datagram| datagram.len() <= DATAGRAM)
    }
}

impl Socket {
    /// # Errors
    /// The address cannot be had, or the kernel does not say where datagrams came to.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        // It also keeps it from blocking.
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { socket: UdpSocket::from_std(socket)?, state })
    }

    /// # Errors
    /// The kernel does not tell.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Datagrams that have come. Dropping it loses none.
    ///
    /// # Errors
    /// Something that was sent did not arrive, for which the kernel has no other way to tell.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut meta = [RecvMeta::default()];
        let read = || {
            self.state.recv((&self.socket).into(), &mut [IoSliceMut::new(buffer)], &mut meta)?;
            Ok(())
        };
        self.socket.async_io(Interest::READABLE, read).await?;
        let [RecvMeta { addr, len, stride, dst_ip, .. }] = meta;
        // What goes to many is answered from the one that the kernel chooses.
        let is_one = |to: &IpAddr| match to.to_canonical() {
            IpAddr::V4(to) => !to.is_multicast() && !to.is_broadcast(),
            IpAddr::V6(to) => !to.is_multicast(),
        };
        let path = Path { peer: addr, local: dst_ip.filter(is_one) };
        Ok(Received { path, length: len, each: stride })
    }

    /// Sends a datagram, from the address that was asked: from the one that the kernel chooses where that is none to send from, as the address of all in a
    /// network, or one that was taken away.
    ///
    /// # Errors
    /// The kernel does not send it.
    pub(crate) async fn send(&self, to: Path, bytes: &[u8]) -> io::Result<()> {
        let send = async |from: Option<IpAddr>| {
            let transmit = Transmit {
                destination: to.peer,
                ecn: None,
                contents: bytes,
                segment_size: None,
                src_ip: from,
            };
            let write = || self.state.try_send((&self.socket).into(), &transmit);
            self.socket.async_io(Interest::WRITABLE, write).await
        };
        match send(to.local).await {
            Err(error) if to.local.is_some() => {
                tracing::debug!(%error, local = ?to.local, "cannot send datagram from the address that was asked");
                send(None).await
            }
            sent => sent,
        }
    }
}
