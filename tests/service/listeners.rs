//! Where services reach the node: the socket and its mode, TCP and its token, and who else is there.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use crate::support::{Client, Control, Node, omnicast, order, wait_until};

pub fn control_address(node: &Node) -> SocketAddr {
    let mut found = None;
    wait_until("the address is logged", || {
        let log = node.log();
        let line = log.lines().find(|line| line.contains("control address"));
        found = line.and_then(|line| line.rsplit("address=").next()?.trim().parse().ok());
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn tcp_asks_for_the_token_on_every_request() {
    let token = "t0ken-of-the-backend";
    let node = Node::start(&[("WS_CONTROL_ADDR", "127.0.0.1:0"), ("WS_CONTROL_TOKEN", token)]);
    let address = control_address(&node);
    let body = order("o", "c").to_string();
    for header in [
        String::new(),
        "Authorization: Bearer wrong\r\n".into(),
        format!("Authorization: Bearer {token}x\r\n"),
        format!("Authorization: Bearer {}\r\n", &token[1..]),
        format!("Authorization: Basic {token}\r\n"),
        format!("Authorization: {token}\r\n"),
        format!("Authorization: Bearer wrong\r\nAuthorization: Bearer {token}\r\n"),
    ] {
        for (method, path) in
            [("POST", "/api/events"), ("GET", "/metrics"), ("DELETE", "/api/users/u"), ("GET", "/x")]
        {
            let mut control = Control::over(TcpStream::connect(address).unwrap());
            control.send(crate::support::request(method, path, &header, &body).as_bytes());
            let answer = control.answer();
            assert!(matches!(answer.status, 400 | 401), "{header} {path}: {answer:?}");
            assert!(answer.status == 400 || answer.header("www-authenticate").is_some());
        }
    }
    assert_eq!(node.stats()["eventsAccepted"], 0);
    // One good request does not open the door for the next.
    let mut client = Client::live(&node, "boss", "admin", &["orders"]);
    let mut control = Control::over(TcpStream::connect(address).unwrap());
    for (header, status) in [("Authorization: bearer ", 200), ("Authorization: Bearer ", 200), ("X: ", 401)] {
        let header = format!("{header}{token}\r\n");
        control.send(crate::support::request("POST", "/api/events", &header, &body).as_bytes());
        assert_eq!(control.answer().status, status);
    }
    control.expect_end();
    assert_eq!(client.settle(&node).len(), 2);
    assert!(!node.log().contains(token), "the token is in no log");
    // The socket is guarded by its mode instead.
    assert_eq!(node.control("GET", "/metrics", "").status, 200);
}

#[test]
fn an_address_without_a_token_is_refused_before_anything_is_bound() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let settings = [
        ("WS_PORT", "0"),
        ("WS_CONTROL_SOCKET", socket.to_str().unwrap()),
        ("WS_CONTROL_ADDR", "127.0.0.1:0"),
    ];
    let output = omnicast(&[], &settings, "");
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("WS_CONTROL_ADDR") && told.contains("WS_CONTROL_TOKEN"), "{told}");
    assert!(!socket.exists());
}

#[test]
fn the_socket_is_for_its_owner_and_group() {
    let node = Node::start(&[]);
    let metadata = std::fs::metadata(&node.control).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
}

#[test]
fn a_socket_that_a_dead_node_left_is_replaced_and_other_files_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run").join("c.sock");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a stale socket");
    let text = path.to_str().unwrap().to_owned();
    let mut node = Node::start(&[("WS_CONTROL_SOCKET", &text)]);
    node.control = path.clone();
    assert_eq!(node.control("GET", "/healthz", "").status, 200);
    node.signal("KILL");
    node.wait(crate::support::PATIENCE);
    assert!(path.exists(), "a node that was killed leaves its socket");
    let mut node = Node::start(&[("WS_CONTROL_SOCKET", &text)]);
    node.control = path.clone();
    assert_eq!(node.control("GET", "/healthz", "").status, 200);
    drop(node);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    let output = omnicast(&[], &[("WS_PORT", "0"), ("WS_CONTROL_SOCKET", &text)], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("WS_CONTROL_SOCKET"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_second_node_on_the_same_socket_or_port_is_refused_and_the_first_lives_on() {
    let mut node = Node::start(&[("WS_SHARDS", "2")]);
    let socket = node.control.to_str().unwrap().to_owned();
    let output = omnicast(&[], &[("WS_PORT", "0"), ("WS_CONTROL_SOCKET", &socket)], "");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("WS_CONTROL_SOCKET") && told.contains(&socket), "{told}");
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("s");
    let port = node.address.port().to_string();
    let settings = [("WS_PORT", &*port), ("WS_CONTROL_SOCKET", other.to_str().unwrap())];
    let output = omnicast(&[], &settings, "");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("WS_PORT") && told.contains(&port), "{told}");
    assert!(output.stdout.is_empty(), "it never said that it listens");
    let mut client = Client::live(&node, "boss", "admin", &["orders"]);
    node.post(&order("o", "c"));
    client.expect("order:created");
    assert!(node.is_running());
}

#[test]
fn the_reader_of_the_first_line_may_go_away() {
    // What `omnicast | head -1` does; every node of these tests does it too.
    let mut node = Node::start(&[]);
    wait_until("it went on", || node.log().contains("control socket"));
    assert!(node.is_running());
}

/// Strangers who come over the network can fill their own places only, and not for long; nor can
/// they make the node hold their bodies.
#[test]
fn strangers_over_tcp_do_not_lock_out_the_socket() {
    let node =
        Node::start(&[("WS_CONTROL_ADDR", "127.0.0.1:0"), ("WS_CONTROL_TOKEN", "t0ken-of-the-backend")]);
    let address = control_address(&node);
    let mut silent: Vec<_> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut refused = Control::over(silent.pop().unwrap());
    assert_eq!(refused.answer().status, 503, "the places of that kind are taken");
    assert_eq!(node.control("GET", "/metrics", "").status, 200, "the socket has its own");
    drop(silent);
    // The token is asked for at the end of the head: the body is never waited for.
    crate::support::wait_until("there is a place", || {
        let mut control = Control::over(TcpStream::connect(address).unwrap());
        control.send(b"POST /api/events HTTP/1.1\r\nHost: n\r\nContent-Length: 8000000\r\n\r\n");
        control.answer().status == 401
    });
}

/// What a connection sends ahead of its answers stays with it.
#[test]
fn a_connection_that_runs_ahead_of_its_answers_costs_no_memory() {
    let node = Node::start(&[]);
    let mut control = Control::open(&node);
    let before = crate::support::rss(node.pid());
    let requests = "HEAD /api/ws/stats HTTP/1.1\r\nHost: n\r\n\r\n".repeat(20_000);
    let mut chunk = vec![0; 1 << 16];
    let (mut sent, mut at) = (0, 0);
    control.stream.set_nonblocking(true).unwrap();
    let begin = std::time::Instant::now();
    while begin.elapsed() < std::time::Duration::from_secs(1) {
        if let Ok(n) = std::io::Write::write(&mut control.stream, &requests.as_bytes()[at..]) {
            sent += n;
            at = (at + n) % requests.len();
        }
        let _ = std::io::Read::read(&mut control.stream, &mut chunk); // Its answers are read.
    }
    let grown = crate::support::rss(node.pid()).saturating_sub(before);
    assert!(sent > 100_000 && grown < 4 << 20, "{grown} bytes for {sent} bytes sent");
    assert_eq!(node.control("GET", "/healthz", "").status, 200);
}

/// One who sends everything and then shuts its side gets every answer, however many turns they take.
#[test]
fn requests_before_the_end_of_a_stream_are_all_answered() {
    let token = "t0ken-of-the-backend";
    let node = Node::start(&[("WS_CONTROL_ADDR", "127.0.0.1:0"), ("WS_CONTROL_TOKEN", token)]);
    let header = format!("Authorization: Bearer {token}\r\n");
    for count in [64, 65, 128, 700] {
        let stream = TcpStream::connect(control_address(&node)).unwrap();
        let end = stream.try_clone().unwrap();
        let mut control = Control::over(stream);
        control.send(crate::support::request("GET", "/healthz", &header, "").repeat(count).as_bytes());
        end.shutdown(std::net::Shutdown::Write).unwrap();
        for n in 0..count {
            assert_eq!(control.answer().status, 200, "{n} of {count}");
        }
        control.expect_end();
    }
}
