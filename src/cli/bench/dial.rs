//! A client's socket: where it comes from, and how much it buffers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Receive buffer of those that are slow or paused, so that not the kernel but the server has to wait for them.
const SLOW_BUFFER_BYTES: usize = 4096;
/// The same once they are let: what waits comes in good time.
const RELEASED_BUFFER_BYTES: usize = 1 << 20;
/// Clients of one source address: a node that limits connections by address allows 200.
const CLIENTS_PER_ADDRESS: u32 = 150;

/// Begins to connect a client. The poll tells when it is there.
///
/// # Errors
/// No socket, no address, or refused at once.
pub fn dial(
    address: SocketAddr,
    client: u32,
    slow: bool,
    token: Token,
    poll: &Poll,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if slow {
        socket.set_recv_buffer_size(SLOW_BUFFER_BYTES)?;
    }
    if address.ip().is_loopback() && address.is_ipv4() {
        socket.bind(&SocketAddr::from((source(client), 0)).into())?;
    }
    match socket.connect(&address.into()) {
        Err(e) if e.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => return Err(e),
        _ => {}
    }
    let mut socket = TcpStream::from_std(socket.into());
    poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(socket)
}

/// From now on a slow one buffers as others do.
pub fn widen(socket: &TcpStream) {
    // Without it everything comes too, only later.
    let _ = SockRef::from(socket).set_recv_buffer_size(RELEASED_BUFFER_BYTES);
}

/// The loopback address that a client comes from: 127.0.0.2 and on.
fn source(client: u32) -> IpAddr {
    let [_, b, c, d] = (2 + client / CLIENTS_PER_ADDRESS).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_from_several_addresses() {
        for (client, address) in
            [(0, "127.0.0.2"), (149, "127.0.0.2"), (150, "127.0.0.3"), (40_000, "127.0.1.12")]
        {
            assert_eq!(source(client).to_string(), address);
        }
    }
}
