//! TLS that the node ends itself: handshakes good and bad, limits, reload, the end.

mod operating;
mod wire;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use serde_json::{Value, json};

use crate::support::{
    Client, Frame, Node, PATIENCE, Stream, descriptors, frame, omnicast, order, read_response, rss,
    wait_until,
};

/// Certificate and key in files that a node reads.
struct Files {
    dir: tempfile::TempDir,
    certificate: CertificateDer<'static>,
}

/// A certificate for `localhost` that nobody but its holder signed, and its key, both in PEM.
fn pair() -> (CertificateDer<'static>, String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.der().clone(), made.cert.pem(), made.signing_key.serialize_pem())
}

impl Files {
    fn new() -> Files {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files { dir, certificate: CertificateDer::from(Vec::new()) };
        files.renew();
        files
    }

    /// Puts another certificate and its key in the place of those that are there.
    fn renew(&mut self) {
        let (certificate, chain, key) = pair();
        self.certificate = certificate;
        std::fs::write(self.chain(), chain).unwrap();
        std::fs::write(self.key(), key).unwrap();
        std::fs::set_permissions(self.key(), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn chain(&self) -> PathBuf {
        self.dir.path().join("chain.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    fn settings(&self) -> [(&'static str, String); 2] {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        [("WS_TLS_CERT", text(self.chain())), ("WS_TLS_KEY", text(self.key()))]
    }

    /// A node with these files.
    fn node(&self, settings: &[(&str, &str)]) -> Node {
        let own = self.settings();
        let mut all: Vec<(&str, &str)> = own.iter().map(|(name, path)| (*name, path.as_str())).collect();
        all.extend_from_slice(settings);
        let node = Node::start(&all);
        assert!(node.is_tls);
        node
    }

    fn config(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_protocol_versions(versions).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn tls(&self) -> ClientConnection {
        tls(&self.config(&[&TLS13]))
    }

    /// A stream to `node` that believes this certificate only.
    fn stream(&self, node: &Node) -> Tls {
        Tls(StreamOwned::new(self.tls(), socket(node)))
    }

    fn upgraded(&self, node: &Node) -> Client<Tls> {
        upgrade(node, self.stream(node)).expect("an upgrade")
    }

    fn live(&self, node: &Node, user: &str, namespaces: &[&str]) -> Client<Tls> {
        let mut client = self.upgraded(node);
        client.auth(user, "admin");
        client.subscribe(namespaces);
        client
    }
}

fn tls(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap()
}

fn socket(node: &Node) -> TcpStream {
    let socket = TcpStream::connect(node.address).unwrap();
    socket.patient();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Upgrades, unless TLS or the socket fail.
fn upgrade<S: Stream>(node: &Node, mut stream: S) -> io::Result<Client<S>> {
    stream.patient();
    stream.write_all(Client::upgrade_request(node).as_bytes())?;
    stream.flush()?;
    assert_eq!(read_response(&mut stream).status, 101);
    Ok(Client::over(stream, Vec::new()))
}

/// A stream through TLS.
struct Tls<T: Read + Write = TcpStream>(StreamOwned<ClientConnection, T>);

impl<T: Read + Write> Read for Tls<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl<T: Read + Write> Write for Tls<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<T: Stream> Stream for Tls<T> {
    fn set_patience(&self, patience: Duration) {
        self.0.sock.set_patience(patience);
    }

    /// By `close_notify`; the socket stays open.
    fn shut_write(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
    }
}

/// A socket that takes and gives a byte at a time.
struct Drip(TcpStream);

impl Read for Drip {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let end = into.len().min(1);
        self.0.read(&mut into[..end])
    }
}

impl Write for Drip {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(&bytes[..1.min(bytes.len())]);
        std::thread::sleep(Duration::from_micros(200)); // So that the node reads in between.
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Drip {
    fn set_patience(&self, patience: Duration) {
        self.0.set_patience(patience);
    }

    fn shut_write(&mut self) {
        self.0.shut_write();
    }
}

/// The first bytes of a handshake.
fn hello(files: &Files) -> Vec<u8> {
    let mut bytes = Vec::new();
    files.tls().write_tls(&mut bytes).unwrap();
    bytes
}

/// Reads raw bytes to the end of the stream, or to its reset.
fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(e) = socket.read_to_end(&mut bytes) {
        assert_eq!(e.kind(), ErrorKind::ConnectionReset, "closed, and not left open");
    }
    bytes
}

fn large_order(pad: usize) -> Value {
    let mut event = order("o_large", "c");
    event["data"]["pad"] = "x".repeat(pad).into();
    event
}
