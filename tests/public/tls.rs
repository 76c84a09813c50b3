//! TLS that the node ends itself: handshakes good and bad, limits, reload, the end.

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

#[test]
fn everything_goes_through_tls_of_both_versions() {
    for (version, shards) in [(&TLS13, "1"), (&TLS12, "2")] {
        let files = Files::new();
        let node = files.node(&[("WS_SHARDS", shards)]);
        let stream = Tls(StreamOwned::new(tls(&files.config(&[version])), socket(&node)));
        let mut client = upgrade(&node, stream).unwrap();
        assert_eq!(client.stream.0.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        client.auth("u", "admin");
        client.subscribe(&["orders"]);
        let mut other = files.live(&node, "v", &["orders"]);
        for pad in [0, 1, 16_000, 16_384, 20_000, 150_000] {
            let ids = node.post(&large_order(pad));
            for client in [&mut client, &mut other] {
                let event = client.expect("order:created");
                assert_eq!(event["id"], ids[0].as_str());
                assert_eq!(event["data"]["pad"].as_str().unwrap().len(), pad);
            }
        }
        client.send_text(&format!(r#"{{"type":"ping","pad":"{}"}}"#, "y".repeat(60_000)));
        assert_eq!(client.message()["type"], "pong");
        client.sync();
        assert_eq!(node.metric("tls_handshakes_total"), 2.0);
        assert_eq!(node.metric("tls_handshake_failures_total"), 0.0);
    }
}

#[test]
fn plain_http_is_answered_through_tls_and_a_shut_side_does_not_cut_the_answer() {
    let files = Files::new();
    let node = files.node(&[]);
    for (path, shuts) in [("/readyz", false), ("/api/ws/info", true)] {
        let mut stream = files.stream(&node);
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        if shuts {
            stream.shut_write();
        }
        assert_eq!(read_response(&mut stream).status, 200);
        assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0, "the end is said by close_notify");
    }
}

#[test]
fn a_handshake_and_messages_byte_by_byte() {
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "1")]);
    let stream = Tls(StreamOwned::new(files.tls(), Drip(socket(&node))));
    let mut client = upgrade(&node, stream).unwrap();
    client.auth("u", "admin");
    client.subscribe(&["orders"]);
    node.post(&order("o_1", "c"));
    client.expect("order:created");
    client.sync();
}

#[test]
fn a_handshake_that_stalls_ends_at_the_deadline_of_the_head() {
    let files = Files::new();
    let node = files.node(&[("WS_HEAD_TIMEOUT", "300")]);
    let mut live = files.live(&node, "u", &["orders"]);
    let hello = hello(&files);
    let began = Instant::now();
    let mut stalled: Vec<_> = [0, 1, hello.len() / 2, hello.len() - 1, hello.len()]
        .map(|sent| {
            let mut socket = socket(&node);
            socket.write_all(&hello[..sent]).unwrap();
            socket
        })
        .into();
    // Through the handshake, and then silent: as without TLS it is told in HTTP that time is up.
    let mut silent = files.stream(&node);
    silent.0.conn.complete_io(&mut silent.0.sock).unwrap();
    for socket in &mut stalled {
        rest(socket);
        let took = began.elapsed();
        assert!(took > Duration::from_millis(250) && took < Duration::from_secs(3), "{took:?}");
    }
    assert_eq!(read_response(&mut silent).status, 408);
    wait_until("all are counted", || node.metric("tls_handshake_failures_total") == 4.0);
    assert_eq!(node.metric("tls_handshakes_total"), 2.0);
    drop(silent);
    wait_until("they are gone", || node.metric("sockets") == 1.0);
    node.post(&order("o_1", "c"));
    live.expect("order:created");
}

#[test]
fn what_is_no_tls_is_closed_at_once_and_nobody_else_notices() {
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "1"), ("WS_HEAD_TIMEOUT", "60000"), ("WS_LOG", "info")]);
    let mut live = files.live(&node, "u", &["orders"]);
    let hello = hello(&files);
    let mut damaged = hello.clone();
    damaged[5] ^= 0xff;
    // A hello that says it has 60 kB, in records of 4 kB, and more of it than anybody needs.
    let mut endless = Vec::new();
    for record in 0..8 {
        endless.extend_from_slice(&[0x16, 3, 1, 0x10, 0]);
        endless.extend_from_slice(if record == 0 { &[1, 0, 0xea, 0x60] } else { &[0; 4] });
        endless.extend_from_slice(&[0; 4092]);
    }
    let cases: [(&str, Vec<u8>); 6] = [
        ("plain HTTP", Client::upgrade_request(&node).into_bytes()),
        ("noise", (0..600u32).map(|i| (i * i + 7 * i) as u8 | 0x80).collect()),
        ("zeros", vec![0; 300]),
        ("a damaged hello", damaged),
        ("data before the handshake", vec![0x17, 3, 3, 0, 2, 1, 1]),
        ("an endless hello", endless),
    ];
    for (what, bytes) in &cases {
        let began = Instant::now();
        let mut socket = socket(&node);
        let _ = socket.write_all(bytes); // It may be closed before all is out.
        let answer = rest(&mut socket);
        assert!(answer.is_empty() || answer[0] == 0x15, "{what}: an alert at most: {answer:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{what}");
    }
    // Ended in the middle of it.
    for sent in [1, hello.len() / 2, hello.len()] {
        let mut socket = socket(&node);
        socket.write_all(&hello[..sent]).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        rest(&mut socket);
    }
    wait_until("each is counted", || node.metric("tls_handshake_failures_total") == cases.len() as f64 + 3.0);
    assert_eq!(node.metric("sockets"), 1.0);
    node.post(&order("o_1", "c"));
    live.expect("order:created");
    assert!(!node.log().contains("speak TLS"), "nothing about clients at level info: {}", node.log());
}

#[test]
fn a_record_that_was_tampered_with_ends_its_connection_alone() {
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "1")]);
    let mut other = files.live(&node, "u", &["orders"]);
    let mut victim = files.live(&node, "v", &["orders"]);
    victim.stream.0.sock.write_all(&[0x17, 3, 3, 0, 20]).unwrap();
    victim.stream.0.sock.write_all(&[7; 20]).unwrap();
    assert_eq!(victim.next(), Frame::End);
    wait_until("it is gone", || node.metric("sockets") == 1.0);
    assert_eq!(node.metric("tls_handshake_failures_total"), 0.0, "its handshake was good");
    node.post(&order("o_1", "c"));
    other.expect("order:created");
}

#[test]
fn who_does_not_read_is_closed_by_4103_behind_what_was_written() {
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "1"), ("WS_MAX_BACKLOG", "200000")]);
    let mut deaf = files.live(&node, "deaf", &["orders"]);
    let mut other = files.live(&node, "other", &["orders"]);
    let mut ids = Vec::new();
    wait_until("it has too much before it", || {
        for _ in 0..4 {
            ids.extend(node.post(&large_order(30_000)));
            other.expect("order:created");
        }
        node.metric("closes_total{reason=\"slow_consumer\"}") == 1.0
    });
    let (code, closing) = deaf.expect_close();
    assert_eq!((code, &closing["data"]["reason"]), (4103, &json!("slow_consumer")));
    let got = deaf.passed();
    assert!(got.len() > 1 && got.len() < ids.len(), "{} of {}", got.len(), ids.len());
    for (event, id) in got.iter().zip(&ids) {
        assert_eq!(event["id"], id.as_str(), "in order, without a gap");
    }
    other.sync();
}

#[test]
fn who_reads_slowly_gets_everything_in_order() {
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "1"), ("WS_MAX_BACKLOG", "100000000")]);
    let mut slow = files.live(&node, "slow", &["orders"]);
    let sizes = [10, 40_000, 3, 16_384, 100_000, 16_300, 70_000];
    let ids: Vec<_> = (0..200).flat_map(|i| node.post(&large_order(sizes[i % sizes.len()]))).collect();
    assert!(node.stats()["backlogBytes"].as_u64().unwrap() > 1_000_000, "it waits in the node");
    for (i, id) in ids.iter().enumerate() {
        let event = slow.expect("order:created");
        assert_eq!(event["id"], id.as_str());
        assert_eq!(event["data"]["pad"].as_str().unwrap().len(), sizes[i % sizes.len()]);
    }
    slow.sync();
    assert_eq!(node.stats()["backlogBytes"], 0);
}

#[test]
fn after_a_kick_not_one_more_event_is_written_though_it_was_encrypted() {
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "1"), ("WS_MAX_BACKLOG", "100000000")]);
    let mut deaf = files.live(&node, "deaf", &["orders"]);
    let mut sent = 0;
    // One record each. The first that waits in the node does so whole, behind one that was encrypted
    // and which the socket has taken in part.
    wait_until("its socket is full", || {
        sent += node.post(&large_order(16_000)).len();
        node.stats()["backlogBytes"].as_u64().unwrap() > 16_000
    });
    let before = node.metric("bytes_out_total");
    assert_eq!(node.control("DELETE", "/api/users/deaf", "").json()["closed"], 1);
    wait_until("it is gone", || node.metric("sockets") == 0.0);
    assert_eq!(node.metric("bytes_out_total"), before);
    let mut events = 0;
    loop {
        match deaf.next() {
            Frame::Text(event) => events += usize::from(event["type"] == "order:created"),
            Frame::End => break,
            other => panic!("nothing is said to it any more: {other:?}"),
        }
    }
    assert!(events < sent - 1, "{events} of {sent}");
}

#[test]
fn an_end_is_said_by_close_notify_on_both_sides() {
    let files = Files::new();
    let node = files.node(&[]);
    // By the client, in the middle of everything.
    let mut client = files.live(&node, "u", &["orders"]);
    client.close_write();
    assert_eq!(client.stream.read(&mut [0; 9]).unwrap(), 0, "and not an end without it");
    wait_until("it is gone", || node.metric("sockets") == 0.0);
    assert_eq!(node.metric("closes_total{reason=\"peer_gone\"}"), 1.0);
    // By the close of WebSocket.
    let mut client = files.live(&node, "u", &["orders"]);
    client.send_raw(&frame(0x88, &1000u16.to_be_bytes()));
    assert!(matches!(client.next(), Frame::Close(1000, _)));
    assert_eq!(client.stream.read(&mut [0; 9]).unwrap(), 0);
    drop(client);
    // Without a word.
    let client = files.live(&node, "u", &["orders"]);
    client.stream.0.sock.shutdown(Shutdown::Write).unwrap();
    wait_until("all are gone", || node.metric("sockets") == 0.0);
    // By a reset.
    let client = files.live(&node, "u", &["orders"]);
    crate::support::reset(client.stream.0.sock);
    wait_until("all are gone", || node.metric("sockets") == 0.0);
}

#[test]
fn a_signal_brings_the_new_certificate_and_keeps_everybody() {
    let mut files = Files::new();
    let node = files.node(&[("WS_SHARDS", "2")]);
    let old = files.config(&[&TLS13]);
    let stream = |config: &Arc<ClientConfig>| Tls(StreamOwned::new(tls(config), socket(&node)));
    let mut veteran = files.live(&node, "veteran", &["orders"]);
    files.renew();
    assert!(upgrade(&node, stream(&old)).is_ok(), "nothing changes before the signal");
    node.signal("HUP");
    wait_until("it says so", || node.log().contains("were read again"));
    let mut fresh = files.live(&node, "fresh", &["orders"]);
    for _ in 0..8 {
        files.live(&node, "fresh", &["orders"]); // Whichever shard takes it.
    }
    // One that comes back with a session of the old certificate meets the new one too.
    let error = upgrade(&node, stream(&old)).err().expect("it does not know the new one");
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");

    // What is no good changes nothing.
    let good = std::fs::read_to_string(files.key()).unwrap();
    let stranger = pair().2;
    for bad in ["", "no pem", &stranger] {
        std::fs::write(files.key(), bad).unwrap();
        let complaints = node.log().matches("the old one stays").count();
        node.signal("HUP");
        wait_until("it complains", || node.log().matches("the old one stays").count() > complaints);
        files.live(&node, "more", &["orders"]);
    }
    assert!(node.log().contains("WS_TLS_KEY"), "{}", node.log());
    std::fs::write(files.key(), good).unwrap();
    node.signal("HUP");
    wait_until("it says so", || node.log().matches("were read again").count() == 2);
    node.post(&order("o_1", "c"));
    for client in [&mut veteran, &mut fresh] {
        client.expect("order:created");
    }
}

#[test]
fn a_stop_tells_everybody_and_a_reload_meanwhile_does_not_force_it() {
    let files = Files::new();
    let mut node = files.node(&[("WS_SHARDS", "2"), ("WS_DRAIN_TIMEOUT", "1500")]);
    let mut clients: Vec<_> = (0..40).map(|i| files.live(&node, &format!("u_{i}"), &["orders"])).collect();
    let mut begun = socket(&node);
    begun.write_all(&hello(&files)).unwrap();
    node.signal("TERM");
    node.signal("HUP");
    for client in &mut clients {
        assert_eq!(client.expect_close().0, 1001);
    }
    assert_eq!(node.wait(PATIENCE).code(), Some(0), "{}", node.log());
}

#[test]
fn two_hundred_at_once_and_no_descriptor_is_left_behind() {
    const CLIENTS: usize = 200;
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "2")]);
    files.live(&node, "u", &["orders"]);
    wait_until("the first is gone", || node.metric("sockets") == 0.0);
    let before = descriptors(node.pid());
    let config = files.config(&[&TLS13]);
    let start = std::sync::Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..CLIENTS)
            .map(|i| {
                let (node, config, start) = (&node, &config, &start);
                scope.spawn(move || {
                    start.wait();
                    let stream = Tls(StreamOwned::new(tls(config), socket(node)));
                    let mut client = upgrade(node, stream).unwrap();
                    client.auth(&format!("u_{i}"), "admin");
                    client.subscribe(&["orders"]);
                    client
                })
            })
            .collect();
        let mut clients: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        assert_eq!(node.stats()["totalConnections"], CLIENTS);
        node.post(&order("o_1", "c"));
        for client in &mut clients {
            client.expect("order:created");
        }
    });
    wait_until("they are gone", || node.metric("sockets") == 0.0);
    // The control connection of the last question may be among them.
    wait_until("their descriptors too", || descriptors(node.pid()) <= before);
    assert_eq!(node.metric("tls_handshakes_total"), 201.0);
}

#[test]
fn limits_by_address_hold_before_a_handshake_costs_anything() {
    let files = Files::new();
    let node =
        files.node(&[("WS_MAX_CONNECTIONS_PER_IP", "1"), ("WS_TRUSTED_PROXIES", ""), ("WS_SHARDS", "1")]);
    let mut first = files.live(&node, "u", &["orders"]);
    let mut second = socket(&node);
    let _ = second.write_all(&hello(&files)); // It may be closed already.
    assert_eq!(rest(&mut second), b"");
    assert_eq!(node.metric("tls_handshakes_total"), 1.0);
    first.sync();
    drop(first);
    wait_until("there is room again", || node.metric("sockets") == 0.0);
    files.live(&node, "u", &["orders"]);
}

#[test]
fn with_very_many_handshakes_under_way_accepting_waits_and_goes_on() {
    const SILENT: usize = 2200; // More than a shard has at once.
    let limit = omnicast::node::descriptors::raise(SILENT as u64 + 300);
    if limit.is_some_and(|limit| limit < SILENT as u64 + 300) {
        return; // This machine gives no process so many.
    }
    let files = Files::new();
    let node = files.node(&[
        ("WS_SHARDS", "1"),
        ("WS_HEAD_TIMEOUT", "4000"),
        ("WS_MAX_CONNECTIONS_PER_IP", "10000"),
        ("WS_CONNECT_RATE_PER_IP", "100000"),
    ]);
    let mut live = files.live(&node, "u", &["orders"]);
    let silent: Vec<_> = (0..SILENT).map(|_| TcpStream::connect(node.address).unwrap()).collect();
    wait_until("they are in", || node.metric("sockets") >= 2048.0);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(node.metric("sockets"), 2049.0, "no more than that");
    node.post(&order("o_1", "c"));
    live.expect("order:created");
    let began = Instant::now();
    let mut late = files.live(&node, "late", &["orders"]);
    assert!(began.elapsed() > Duration::from_millis(200), "it waited behind them");
    late.sync();
    drop(silent);
    wait_until("they are gone", || node.metric("sockets") == 2.0);
}

#[test]
fn files_that_are_no_good_end_with_2_before_anything_is_bound() {
    let files = Files::new();
    let path = |name: &str, text: &str| {
        let path = files.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let [(_, chain), (_, key)] = files.settings();
    let (empty, noise, stranger) = (path("empty", ""), path("noise", "noise"), path("stranger", &pair().2));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let (broken, broken_key) = (path("broken", broken), path("broken_key", broken_key));
    let missing = files.dir.path().join("missing").to_str().unwrap().to_owned();
    let both =
        |chain: &str, key: &str| vec![("WS_TLS_CERT", chain.to_owned()), ("WS_TLS_KEY", key.to_owned())];
    type Row = (Vec<(&'static str, String)>, [&'static str; 2]);
    let table: Vec<Row> = vec![
        (vec![("WS_TLS_CERT", chain.clone())], ["WS_TLS_CERT is set", "WS_TLS_KEY is not"]),
        (vec![("WS_TLS_KEY", key.clone())], ["WS_TLS_KEY is set", "WS_TLS_CERT is not"]),
        (both(&missing, &key), ["WS_TLS_CERT", "missing"]),
        (both(&chain, &missing), ["WS_TLS_KEY", "missing"]),
        (both(&empty, &key), ["WS_TLS_CERT", "no certificate"]),
        (both(&noise, &key), ["WS_TLS_CERT", "no certificate"]),
        (both(&broken, &key), ["WS_TLS_CERT", "certificate"]),
        (both(&chain, &empty), ["WS_TLS_KEY", "no private key"]),
        (both(&chain, &broken_key), ["WS_TLS_KEY", "key"]),
        (both(&key, &chain), ["WS_TLS_CERT", "no certificate"]),
        (both(&chain, &stranger), ["WS_TLS_KEY", "not the key of"]),
    ];
    let control = files.dir.path().join("s");
    for (settings, told) in &table {
        let mut all = vec![("WS_PORT", "0"), ("WS_CONTROL_SOCKET", control.to_str().unwrap())];
        all.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
        for arguments in [&[][..], &["check"]] {
            let output = omnicast(arguments, &all, "");
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{settings:?}: {stderr}");
            assert!(output.stdout.is_empty() && !control.exists(), "{settings:?}");
            assert!(told.iter().all(|part| stderr.contains(part)), "{told:?} in {stderr}");
            assert_eq!(stderr.lines().count(), 1, "one sentence: {stderr}");
        }
    }
    let own = files.settings();
    let good: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(omnicast(&["check"], &good, "").status.code(), Some(0));
    // What has no TLS says so.
    let refused = omnicast(&["tail", "--url", "wss://localhost:1/api/ws"], &[], "");
    assert!(String::from_utf8(refused.stderr).unwrap().contains("wss:// is not supported"));
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_key_that_everybody_can_read_is_pointed_out() {
    let files = Files::new();
    let node = files.node(&[]);
    files.live(&node, "u", &["orders"]);
    assert!(!node.log().contains("WS_TLS_KEY"), "{}", node.log());
    std::fs::set_permissions(files.key(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let node = files.node(&[]);
    assert!(node.log().contains("can read the key in WS_TLS_KEY"), "{}", node.log());
}

/// What the operations page says a connection costs. By hand, of a release build:
/// `cargo test --release --test public -- --ignored --nocapture an_idle_connection`.
#[test]
#[ignore = "a measurement"]
fn an_idle_connection_and_its_memory() {
    const CLIENTS: usize = 2000;
    omnicast::node::descriptors::raise(2 * CLIENTS as u64 + 300);
    let limits =
        [("WS_MAX_CONNECTIONS_PER_IP", "10000"), ("WS_CONNECT_RATE_PER_IP", "100000"), ("WS_SHARDS", "1")];
    let files = Files::new();
    let plain = Node::start(&limits);
    let before = rss(plain.pid());
    let kept: Vec<_> =
        (0..CLIENTS).map(|i| Client::live(&plain, &format!("u_{i}"), "admin", &["orders"])).collect();
    println!("plain: {} bytes a connection", (rss(plain.pid()) - before) / CLIENTS as u64);
    drop((kept, plain));
    let node = files.node(&limits);
    let config = files.config(&[&TLS13]);
    let before = rss(node.pid());
    let began = Instant::now();
    let mut clients = Vec::new();
    for i in 0..CLIENTS {
        let stream = Tls(StreamOwned::new(tls(&config), socket(&node)));
        let mut client = upgrade(&node, stream).unwrap();
        client.auth(&format!("u_{i}"), "admin");
        client.subscribe(&["orders"]);
        clients.push(client);
    }
    println!("TLS: {} bytes a connection", (rss(node.pid()) - before) / CLIENTS as u64);
    println!("{CLIENTS} handshakes, one after the other, with their clients: {:?}", began.elapsed());
    node.post(&order("o_1", "c"));
    for client in &mut clients {
        client.expect("order:created");
    }
    println!("TLS after an event: {} bytes", (rss(node.pid()) - before) / CLIENTS as u64);
}
