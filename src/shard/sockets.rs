//! The client sockets of a shard by slot, each with its TLS where there is TLS.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use socket2::SockRef;

use crate::shard::core::{Wires, Wrote};
use crate::shard::counters::Counters;
use crate::shard::tls::{Flushed, Opened, Pulled, Session};

/// TLS handshakes under way in a shard at most; past it accepting pauses, and the kernel keeps
/// who waits. Each may hold as much as a client may send before it is over: 32 MiB in all.
pub const HANDSHAKES_MAX: usize = 2048;

/// The sockets of a shard.
#[derive(Debug)]
pub struct Sockets {
    by_slot: Vec<Option<TcpStream>>,
    /// Empty without TLS. With it every socket has one.
    sessions: Vec<Option<Box<Session>>>,
    /// Sessions whose handshake is not over.
    handshakes: usize,
    counters: Arc<Counters>,
}

/// A socket that notes whether it was emptied.
struct Tap<'a> {
    socket: &'a TcpStream,
    emptied: bool,
}

impl Read for Tap<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.socket.read(into)?;
        self.emptied = n < into.len();
        Ok(n)
    }
}

impl Write for Tap<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sockets {
    /// None yet.
    #[must_use]
    pub fn new(counters: Arc<Counters>) -> Sockets {
        Sockets { by_slot: Vec::new(), sessions: Vec::new(), handshakes: 0, counters }
    }

    /// Takes a socket, with its end of TLS where there is TLS.
    pub fn put(&mut self, slot: u32, socket: TcpStream, session: Option<Box<Session>>) {
        let slot = slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize_with(slot + 1, || None);
        }
        self.by_slot[slot] = Some(socket);
        if let Some(session) = session {
            if self.sessions.len() <= slot {
                self.sessions.resize_with(slot + 1, || None);
            }
            self.sessions[slot] = Some(session);
            self.handshakes += 1;
        }
    }

    /// The socket in `slot`.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&TcpStream> {
        self.by_slot.get(slot as usize)?.as_ref()
    }

    /// Ends all streams in good order; what is written is still delivered.
    pub fn shut_all(&mut self) {
        for slot in 0..self.by_slot.len() as u32 {
            self.shut(slot);
        }
    }

    /// Whether as many handshakes are under way as may be.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.handshakes >= HANDSHAKES_MAX
    }

    /// Whether the handshake of `slot` is not over.
    #[must_use]
    pub fn shakes(&self, slot: u32) -> bool {
        self.sessions.get(slot as usize).and_then(Option::as_ref).is_some_and(|session| session.shakes())
    }

    /// Notes whether `slot` is in the line of those to be read. `true`: that is new.
    pub fn note_waits(&mut self, slot: u32, waits: bool) -> bool {
        self.sealed(slot).is_some_and(|(_, session)| session.note_waits(waits))
    }

    fn sealed(&mut self, slot: u32) -> Option<(&TcpStream, &mut Session)> {
        let socket = self.by_slot.get(slot as usize)?.as_ref()?;
        Some((socket, self.sessions.get_mut(slot as usize)?.as_mut()?))
    }

    /// Reads ciphertext of `slot` once. Also says whether that emptied the socket.
    pub fn pull(&mut self, slot: u32) -> (Pulled, bool) {
        let Some((socket, session)) = self.sealed(slot) else { return (Pulled::Broken, true) };
        let mut tap = Tap { socket, emptied: false };
        let shook = session.shakes();
        let pulled = session.pull(&mut tap);
        let (over, emptied) = (shook && !session.shakes(), tap.emptied);
        if over {
            self.handshakes -= 1;
            self.counters.tls_handshakes.add(1);
        }
        (pulled, emptied)
    }

    /// Whether something for `slot` is encrypted that its socket has not taken.
    #[must_use]
    pub fn holds(&self, slot: u32) -> bool {
        self.sessions.get(slot as usize).and_then(Option::as_ref).is_some_and(|session| session.holds())
    }

    /// Takes plaintext of `slot` that was pulled.
    pub fn open(&mut self, slot: u32, into: &mut [u8]) -> Opened {
        self.sealed(slot).map_or(Opened::End, |(_, session)| session.open(into))
    }

    /// The socket in `slot` can take bytes again: it gets the ciphertext that waits.
    pub fn flush(&mut self, slot: u32) -> Flushed {
        let Some((mut socket, session)) = self.sealed(slot) else { return Flushed::Broken };
        let flushed = session.flush(&mut socket);
        if flushed == Flushed::All && session.is_finished() {
            let _ = socket.shutdown(Shutdown::Write); // Broken sockets say so when read.
        }
        flushed
    }
}

impl Wires for Sockets {
    fn write(&mut self, slot: u32, slices: &[IoSlice<'_>]) -> Wrote {
        if !self.sessions.is_empty() {
            let Some((mut socket, session)) = self.sealed(slot) else { return Wrote::Broken };
            return session.write(&mut socket, slices);
        }
        let Some(mut socket) = self.get(slot) else { return Wrote::Broken };
        loop {
            let wrote = match slices {
                [one] => socket.write(one),
                many => socket.write_vectored(many),
            };
            return match wrote {
                Ok(n) => Wrote::Bytes(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => Wrote::Bytes(0),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => Wrote::Broken,
            };
        }
    }

    fn shut(&mut self, slot: u32) {
        if let Some((_, session)) = self.sealed(slot) {
            session.finish();
            self.flush(slot); // What does not go out now goes out when the socket can take it.
        } else if let Some(socket) = self.get(slot) {
            let _ = socket.shutdown(Shutdown::Write); // Broken sockets say so when read.
        }
    }

    fn drop(&mut self, slot: u32, abort: bool) {
        if let Some(mut session) = self.sessions.get_mut(slot as usize).and_then(Option::take) {
            if session.shakes() {
                self.handshakes -= 1;
                self.counters.tls_failures.add(u64::from(session.has_begun()));
            } else if !abort && let Some(mut socket) = self.get(slot) {
                session.finish();
                session.flush(&mut socket); // A courtesy to one who has closed, or is gone.
            }
        }
        let Some(socket) = self.by_slot.get_mut(slot as usize).and_then(Option::take) else { return };
        if abort {
            // A reset instead of an orderly end; a socket that refuses is closed all the same.
            let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
        drop(socket); // Closing the descriptor also ends its registration.
    }
}
