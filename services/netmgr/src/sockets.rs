//! The sockets DHCP is spoken over: one per interface and protocol, bound to its device. UDP sockets, so that the kernel checks
//! lengths and sums, and no process sees packets that are not for it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::{wire4, wire6};

/// A packet from a server.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) interface: String,
    pub(crate) six: bool,
    pub(crate) bytes: Vec<u8>,
}

/// A socket and the task that reads it. Closed when dropped.
#[derive(Debug)]
pub(crate) struct Talk {
    /// The same socket as the reader's, without the runtime between: a packet goes out now or is lost.
    socket: std::net::UdpSocket,
    /// The interface it is bound to; an interface that came back has another number.
    pub(crate) index: u32,
    reader: AbortHandle,
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Talk {
    /// For DHCPv4. Works on an interface that has no address yet.
    pub(crate) fn four(name: &str, index: u32, packets: mpsc::Sender<Packet>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_broadcast(true)?;
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, wire4::CLIENT_PORT);
        Self::start(socket, SocketAddr::V4(any), name, index, packets)
    }

    /// For DHCPv6, from the link-local address.
    pub(crate) fn six(
        name: &str,
        index: u32,
        from: Ipv6Addr,
        packets: mpsc::Sender<Packet>,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(true)?;
        socket.set_multicast_if_v6(index)?;
        let from = SocketAddrV6::new(from, wire6::CLIENT_PORT, 0, index);
        Self::start(socket, SocketAddr::V6(from), name, index, packets)
    }

    fn start(
        socket: Socket,
        at: SocketAddr,
        name: &str,
        index: u32,
        packets: mpsc::Sender<Packet>,
    ) -> io::Result<Self> {
        socket.set_reuse_address(true)?;
        socket.bind_device(Some(name.as_bytes()))?;
        socket.set_nonblocking(true)?;
        socket.bind(&at.into())?;
        let socket = std::net::UdpSocket::from(socket);
        let reading = UdpSocket::from_std(socket.try_clone()?)?;
        let reader = tokio::spawn(read(reading, name.to_owned(), at.is_ipv6(), packets)).abort_handle();
        Ok(Self { socket, index, reader })
    }

    /// Sends to a DHCPv4 server, or to all.
    pub(crate) fn send4(&self, to: Ipv4Addr, bytes: &[u8]) -> io::Result<()> {
        self.send(SocketAddrV4::new(to, wire4::SERVER_PORT).into(), bytes)
    }

    /// Sends to all DHCPv6 servers of the link.
    pub(crate) fn send6(&self, bytes: &[u8]) -> io::Result<()> {
        self.send(SocketAddrV6::new(wire6::SERVERS, wire6::SERVER_PORT, 0, self.index).into(), bytes)
    }

    fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        // A full queue is a lost packet, which the machine's next try makes good.
        self.socket.send_to(bytes, to).map(drop)
    }
}

async fn read(socket: UdpSocket, interface: String, six: bool, packets: mpsc::Sender<Packet>) {
    let server = if six { wire6::SERVER_PORT } else { wire4::SERVER_PORT };
    // One more than a message may have, so that a longer one is seen to be too long.
    let mut buffer = vec![0; wire4::MAX_MESSAGE + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                // DHCPv6 servers may answer from any port.
                if !six && from.port() != server {
                    continue;
                }
                let Some(bytes) = buffer.get(..length) else { continue };
                let packet = Packet { interface: interface.clone(), six, bytes: bytes.to_vec() };
                // A flood is dropped here; what is lost is asked for again.
                if let Err(mpsc::error::TrySendError::Closed(_)) = packets.try_send(packet) {
                    return;
                }
            }
            // The link went down, or somebody answered with ICMP. Wait, lest an error that stays turns this into a busy loop.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(500)).await,
        }
    }
}
