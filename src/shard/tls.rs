//! TLS of one connection. The only file that knows the TLS library.
//!
//! ```text
//! socket ──pull──▶ Session ──open──▶ plaintext, to the core
//! socket ◀─flush── Session ◀─write── plaintext, of the core
//! ```
//!
//! After every [`Session::pull`] the plaintext is to be taken until there is none: no edge of a
//! socket announces what is already here. Built without the feature `tls` this is a pair of types
//! of which there can be no value.

#[cfg(feature = "tls")]
pub use with::{Acceptor, Session};
#[cfg(not(feature = "tls"))]
pub use without::{Acceptor, Session};

/// Why there can be no TLS with these files: one clause each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The chain of certificates, and what is wrong with it.
    Certificate(String),
    /// The private key, and what is wrong with it.
    Key(String),
    /// Each is good, but the key is that of another certificate.
    Pair,
    /// This program was built without TLS.
    NotBuilt,
}

/// What came of reading from the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// So many bytes of ciphertext; 0: the stream has ended, as [`Session::open`] will say.
    Bytes(usize),
    /// Nothing is there.
    Blocked,
    /// The connection is broken, or what it sent is no TLS.
    Broken,
}

/// What came of decrypting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// So many bytes of plaintext.
    Bytes(usize),
    /// None before more is pulled.
    Nothing,
    /// The peer will send no more.
    End,
}

/// What became of the ciphertext that waits for the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// All of it is out.
    All,
    /// Some waits; the socket will say when it can take more.
    Some,
    /// The connection is broken.
    Broken,
}

#[cfg(feature = "tls")]
mod with {
    use std::fmt;
    use std::io::{self, ErrorKind, IoSlice, Read, Write};
    use std::sync::Arc;

    use rustls::crypto::ring;
    use rustls::pki_types::pem::{self, PemObject};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{Error, ServerConfig, ServerConnection};

    use super::{Fault, Flushed, Opened, Pulled};
    use crate::shard::core::Wrote;

    /// Bytes that a client may send before its handshake is over. A `ClientHello` with every
    /// extension in use has less than 4 KiB; the library alone would keep 64 KiB for each.
    const HANDSHAKE_BYTES_MAX: usize = 16 << 10;
    /// Plaintext that is encrypted before the socket has taken what was encrypted before: one
    /// record (RFC 8446 section 5.1). What is encrypted cannot be taken back when the client is
    /// kicked, and what a slow client does not take is kept twice.
    const RECORD_BYTES: usize = 16 << 10;
    /// Slices gathered into one record.
    const SLICES: usize = 64;
    /// Session tickets handed to a client: it has one connection, and comes back with one.
    const TICKETS: usize = 1;

    /// A certificate with its key: what new connections are greeted with.
    #[derive(Clone)]
    pub struct Acceptor(Arc<ServerConfig>);

    impl fmt::Debug for Acceptor {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Acceptor(secret)")
        }
    }

    impl Acceptor {
        /// Reads the texts of two PEM files: a chain, the node's own certificate first, and the key
        /// of that (PKCS #8, PKCS #1 or SEC 1).
        ///
        /// # Errors
        /// [`Fault`].
        pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Acceptor, Fault> {
            let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
                .collect::<Result<_, _>>()
                .map_err(|e| Fault::Certificate(e.to_string()))?;
            if chain.is_empty() {
                return Err(Fault::Certificate("it has no certificate in PEM".into()));
            }
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| match e {
                pem::Error::NoItemsFound => {
                    Fault::Key("it has no private key in PEM without a passphrase".into())
                }
                e => Fault::Key(e.to_string()),
            })?;
            let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|e| Fault::Key(e.to_string()))?
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .map_err(|e| match e {
                    Error::InconsistentKeys(_) => Fault::Pair,
                    Error::InvalidCertificate(e) => {
                        Fault::Certificate(format!("its first certificate is bad: {e}"))
                    }
                    Error::General(text) => Fault::Key(text),
                    e => Fault::Key(e.to_string()),
                })?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            config.send_tls13_tickets = TICKETS;
            // Who comes back after a restart of the network costs no signature, and the node keeps
            // nothing for it. Without tickets all still works.
            if let Ok(ticketer) = ring::Ticketer::new() {
                config.ticketer = ticketer;
            }
            Ok(Acceptor(Arc::new(config)))
        }

        /// The node's end of a new connection; `None` where the library refuses to make one.
        #[must_use]
        pub fn session(&self) -> Option<Box<Session>> {
            let mut tls = ServerConnection::new(self.0.clone()).ok()?;
            tls.set_buffer_limit(Some(RECORD_BYTES));
            Some(Box::new(Session { tls, greeted_bytes: 0, waits: false, finished: false }))
        }
    }

    /// The node's end of one connection.
    pub struct Session {
        tls: ServerConnection,
        /// Bytes that came before the handshake was over.
        greeted_bytes: usize,
        /// It is in the reactor's line of those to be read.
        waits: bool,
        /// The write side is to be shut once all is out.
        finished: bool,
    }

    impl fmt::Debug for Session {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Session").field("shakes", &self.shakes()).finish_non_exhaustive()
        }
    }

    impl Session {
        /// Whether the handshake is not over.
        #[must_use]
        pub fn shakes(&self) -> bool {
            self.tls.is_handshaking()
        }

        /// Whether the peer has sent anything.
        #[must_use]
        pub fn has_begun(&self) -> bool {
            self.greeted_bytes > 0
        }

        /// Reads from the socket once, and does what the protocol wants done for it.
        pub fn pull(&mut self, socket: &mut (impl Read + Write)) -> Pulled {
            let shook = self.shakes();
            let read = loop {
                match self.tls.read_tls(socket) {
                    Ok(n) => break n,
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => return Pulled::Blocked,
                    Err(_) => return Pulled::Broken,
                }
            };
            if shook {
                self.greeted_bytes += read;
                if self.greeted_bytes > HANDSHAKE_BYTES_MAX {
                    return Pulled::Broken;
                }
            }
            let fault = self.tls.process_new_packets().err();
            let flushed = self.flush(socket); // An alert too, as far as the socket takes it at once.
            if let Some(error) = fault {
                tracing::debug!(%error, handshake = shook, "a client does not speak TLS as it should");
                return Pulled::Broken;
            }
            if flushed == Flushed::Broken { Pulled::Broken } else { Pulled::Bytes(read) }
        }

        /// Takes plaintext.
        pub fn open(&mut self, into: &mut [u8]) -> Opened {
            match self.tls.reader().read(into) {
                Ok(0) => Opened::End,
                Ok(n) => Opened::Bytes(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => Opened::Nothing,
                // An end without `close_notify`: a message that is cut short shows in its own frame.
                Err(_) => Opened::End,
            }
        }

        /// Writes ciphertext until there is none or the socket takes no more.
        pub fn flush(&mut self, socket: &mut impl Write) -> Flushed {
            while self.tls.wants_write() {
                match self.tls.write_tls(socket) {
                    Ok(0) => return Flushed::Broken,
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => return Flushed::Some,
                    Err(_) => return Flushed::Broken,
                }
            }
            Flushed::All
        }

        /// Encrypts and writes, record by record, until the socket takes no more.
        ///
        /// Before the handshake is over the connection counts as broken: a client that the node has a
        /// word for then is one that is sent away, and nothing can be said to it.
        pub fn write(&mut self, socket: &mut impl Write, slices: &[IoSlice<'_>]) -> Wrote {
            if self.shakes() {
                return Wrote::Broken;
            }
            let mut taken = 0;
            loop {
                match self.flush(socket) {
                    Flushed::All => {}
                    Flushed::Some => return Wrote::Bytes(taken),
                    Flushed::Broken => return Wrote::Broken,
                }
                match self.seal(slices, taken) {
                    Ok(0) => return Wrote::Bytes(taken),
                    Ok(n) => taken += n,
                    Err(_) => return Wrote::Broken,
                }
            }
        }

        /// Makes a record of what is behind the first `skip` bytes. Returns how many it holds.
        fn seal(&mut self, slices: &[IoSlice<'_>], mut skip: usize) -> io::Result<usize> {
            let mut gathered = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for slice in slices {
                if skip >= slice.len() {
                    skip -= slice.len();
                    continue;
                }
                gathered[count] = IoSlice::new(&slice[skip..]);
                (skip, count) = (0, count + 1);
                if count == SLICES {
                    break;
                }
            }
            if count == 0 {
                return Ok(0);
            }
            self.tls.writer().write_vectored(&gathered[..count])
        }

        /// Whether something is encrypted that the socket has not taken.
        #[must_use]
        pub fn holds(&self) -> bool {
            self.tls.wants_write()
        }

        /// Says that nothing more will be written (`close_notify`). To be flushed.
        pub fn finish(&mut self) {
            self.finished = true;
            if !self.shakes() {
                self.tls.send_close_notify();
            }
        }

        /// Whether that was said.
        #[must_use]
        pub fn is_finished(&self) -> bool {
            self.finished
        }

        /// Notes whether it is in the line of those to be read. `true`: that is new.
        pub fn note_waits(&mut self, waits: bool) -> bool {
            std::mem::replace(&mut self.waits, waits) != waits
        }
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    use std::convert::Infallible;
    use std::io::{IoSlice, Read, Write};

    use super::{Fault, Flushed, Opened, Pulled};
    use crate::shard::core::Wrote;

    /// There is none.
    #[derive(Clone, Debug)]
    pub struct Acceptor(Infallible);

    impl Acceptor {
        /// Refuses.
        ///
        /// # Errors
        /// [`Fault::NotBuilt`].
        pub fn from_pem(_chain: &[u8], _key: &[u8]) -> Result<Acceptor, Fault> {
            Err(Fault::NotBuilt)
        }

        /// Cannot be called.
        #[must_use]
        pub fn session(&self) -> Option<Box<Session>> {
            match self.0 {}
        }
    }

    /// There is none.
    #[derive(Debug)]
    pub struct Session(Infallible);

    /// Cannot be called, any of them.
    impl Session {
        /// See the module `with`.
        #[must_use]
        pub fn shakes(&self) -> bool {
            match self.0 {}
        }

        /// See the module `with`.
        #[must_use]
        pub fn has_begun(&self) -> bool {
            match self.0 {}
        }

        /// See the module `with`.
        pub fn pull(&mut self, _socket: &mut (impl Read + Write)) -> Pulled {
            match self.0 {}
        }

        /// See the module `with`.
        pub fn open(&mut self, _into: &mut [u8]) -> Opened {
            match self.0 {}
        }

        /// See the module `with`.
        pub fn flush(&mut self, _socket: &mut impl Write) -> Flushed {
            match self.0 {}
        }

        /// See the module `with`.
        pub fn write(&mut self, _socket: &mut impl Write, _slices: &[IoSlice<'_>]) -> Wrote {
            match self.0 {}
        }

        /// See the module `with`.
        pub fn finish(&mut self) {
            match self.0 {}
        }

        /// See the module `with`.
        #[must_use]
        pub fn holds(&self) -> bool {
            match self.0 {}
        }

        /// See the module `with`.
        #[must_use]
        pub fn is_finished(&self) -> bool {
            match self.0 {}
        }

        /// See the module `with`.
        pub fn note_waits(&mut self, _waits: bool) -> bool {
            match self.0 {}
        }
    }
}

#[cfg(feature = "tls")]
#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::{self, ErrorKind, IoSlice, Read, Write};
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;
    use crate::shard::core::Wrote;

    /// A socket between the two ends: what the session reads and what it wrote, of which it takes so
    /// many bytes more.
    #[derive(Default)]
    struct Wire {
        to_session: VecDeque<u8>,
        from_session: VecDeque<u8>,
        room: usize,
    }

    impl Read for Wire {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.to_session.is_empty() {
                Err(ErrorKind::WouldBlock.into())
            } else {
                self.to_session.read(into)
            }
        }
    }

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= n;
            self.from_session.write(&bytes[..n])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Both ends, after their handshake.
    fn ends() -> (Box<Session>, ClientConnection, Wire) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = made.signing_key.serialize_pem();
        let acceptor = Acceptor::from_pem(made.cert.pem().as_bytes(), key.as_bytes()).unwrap();
        let mut session = acceptor.session().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let mut client = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        let mut wire = Wire { room: usize::MAX, ..Wire::default() };
        assert!(session.shakes() && !session.has_begun());
        assert_eq!(session.write(&mut wire, &[IoSlice::new(b"too early")]), Wrote::Broken);
        while session.shakes() || client.is_handshaking() {
            hand_over(&mut client, &mut wire);
            while let Pulled::Bytes(_) = session.pull(&mut wire) {
                assert_eq!(session.open(&mut [0; 9]), Opened::Nothing);
            }
        }
        hand_over(&mut client, &mut wire);
        assert!(session.has_begun() && !session.holds());
        (session, client, wire)
    }

    /// Brings each end's ciphertext to the wire, and to the client.
    fn hand_over(client: &mut ClientConnection, wire: &mut Wire) {
        while client.wants_write() {
            client.write_tls(&mut wire.to_session).unwrap();
        }
        while !wire.from_session.is_empty() {
            client.read_tls(&mut wire.from_session).unwrap();
            client.process_new_packets().unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// However the socket takes it: the client reads what was said to be taken, in order, and no
        /// more than one record is encrypted before its time.
        #[test]
        fn what_is_taken_arrives(
            offers in proptest::collection::vec(proptest::collection::vec(0usize..40_000, 1..90), 1..4),
            rooms in proptest::collection::vec(0usize..60_000, 1..40),
        ) {
            let (mut session, mut client, mut wire) = ends();
            let mut rooms = rooms.iter().cycle();
            let (mut sent, mut got, mut seed) = (Vec::new(), Vec::new(), 0u8);
            for lengths in offers {
                let parts: Vec<Vec<u8>> = lengths.iter().map(|&length| {
                    seed = seed.wrapping_add(1);
                    vec![seed; length]
                }).collect();
                let all: Vec<u8> = parts.concat();
                let mut taken = 0;
                while taken < all.len() {
                    wire.room = rooms.next().copied().unwrap() + 1;
                    let before = wire.from_session.len();
                    // As an outbox offers what is left: in parts, the first of them begun.
                    let mut skip = taken;
                    let left: Vec<&[u8]> = parts.iter().map(|part| {
                        let begun = skip.min(part.len());
                        skip -= begun;
                        &part[begun..]
                    }).collect();
                    let slices: Vec<IoSlice<'_>> = left.iter().map(|part| IoSlice::new(part)).collect();
                    let Wrote::Bytes(n) = session.write(&mut wire, &slices) else { panic!("it is broken") };
                    prop_assert!(n <= wire.from_session.len() - before + (16 << 10) * 2, "{n} taken");
                    prop_assert!(n == all.len() - taken || session.holds(), "it will say when it can take more");
                    taken += n;
                    hand_over_and_read(&mut client, &mut wire, &mut got);
                }
                sent.extend_from_slice(&all);
            }
            wire.room = usize::MAX;
            session.finish();
            prop_assert_eq!(session.flush(&mut wire), Flushed::All);
            hand_over_and_read(&mut client, &mut wire, &mut got);
            prop_assert!(got == sent, "{} of {} bytes, or others", got.len(), sent.len());
        }
    }

    fn hand_over_and_read(client: &mut ClientConnection, wire: &mut Wire, got: &mut Vec<u8>) {
        while !wire.from_session.is_empty() {
            client.read_tls(&mut wire.from_session).unwrap();
            client.process_new_packets().unwrap();
            // Ends where nothing is there, or at the end of all.
            let _ = client.reader().read_to_end(got);
        }
    }

    #[test]
    fn files_are_refused_by_what_is_wrong_with_them() {
        let pair = |name: &str| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            (made.cert.pem(), made.signing_key.serialize_pem())
        };
        let ((chain, key), (_, stranger)) = (pair("a"), pair("b"));
        let fault =
            |chain: &str, key: &str| Acceptor::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(fault(&chain, &stranger), Fault::Pair);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bad in ["", &key, broken, &chain[..chain.len() / 2]] {
            assert!(matches!(fault(bad, &key), Fault::Certificate(_)), "{bad}");
        }
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        for bad in ["", &chain, &encrypted, &key[..key.len() / 2]] {
            assert!(matches!(fault(&chain, bad), Fault::Key(_)), "{bad}");
        }
        assert!(!format!("{:?}", Acceptor::from_pem(chain.as_bytes(), key.as_bytes())).contains("MII"));
        Acceptor::from_pem(format!("{key}{chain}").as_bytes(), format!("{chain}{key}").as_bytes()).unwrap();
    }
}
