//! Binding: the public port once per shard, and the control listener.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::Path;

use mio::net::{TcpListener, UnixListener};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps for us to accept; it caps this at `somaxconn`. A storm of
/// reconnects is lost in a short queue.
const BACKLOG: i32 = 4096;
/// Access to the control socket: its owner and group.
const SOCKET_MODE: u32 = 0o660;
/// Access to the directory that the node makes for it.
const DIRECTORY_MODE: u32 = 0o755;

/// Binds `host:port` once for each of `shards`. The kernel spreads new connections over them.
///
/// # Errors
/// When the address cannot be bound, also when another node holds it: sharing a port with a
/// stranger would split the clients between two truths.
pub fn public(host: IpAddr, port: u16, shards: usize) -> io::Result<Vec<TcpListener>> {
    // Without the option to share, binding tells whether somebody else is there.
    let probe = socket(SocketAddr::new(host, port))?;
    let address = local_address(&probe)?;
    drop(probe);
    (0..shards)
        .map(|_| {
            let socket = unbound(address)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            listening(socket)
        })
        .collect()
}

/// Binds a TCP address for the control listener.
///
/// # Errors
/// When it cannot be bound.
pub fn control_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    listening(socket(address)?)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| ErrorKind::AddrNotAvailable.into())
}

fn unbound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    // Inherited by accepted sockets: a frame goes out when it is written.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = unbound(address)?;
    socket.bind(&address.into())?;
    // Two binds without listening may coexist where the address may be reused.
    socket.listen(1)?;
    Ok(socket)
}

fn listening(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Binds the control socket at `path`. A file that a dead node left there is replaced; a live
/// node, or anything that is no socket, is left alone.
///
/// # Errors
/// When the path is taken or cannot be bound.
pub fn control_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent()
        && !parent.exists()
    {
        fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(parent)?;
    }
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            _ => return Err(io::Error::new(ErrorKind::AddrInUse, "another node answers there")),
        }
    }
    // Nobody may connect between the bind and the change of mode.
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(!SOCKET_MODE & 0o777));
    let bound = std::os::unix::net::UnixListener::bind(path);
    rustix::process::umask(mask);
    let listener = bound?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener))
}
