//! What the public listener answers before, and instead of, an upgrade.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Client, Node, PATIENCE, Response, frame, identity, read_response, wait_until};
use crate::tokens::token;

/// Sends a head of these lines and reads the answer, after which the node must close.
fn ask(node: &Node, head: &str) -> Response {
    let mut stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(head.as_bytes());
    let response = read_response(&mut stream);
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).is_ok(), "closed in order, not reset: {head:.80?}");
    assert!(rest.is_empty(), "nothing follows the answer: {rest:?}");
    response
}

/// The good upgrade with the lines of `but` replaced: `Name:` alone removes it.
fn upgrade_but(but: &[&str]) -> String {
    let good = [
        "Host: node",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let name = |line: &str| line.split(':').next().unwrap().to_owned();
    let kept = good.iter().filter(|line| but.iter().all(|b| name(b) != name(line)));
    let lines: Vec<&str> = kept.chain(but.iter().filter(|line| line.contains(": "))).copied().collect();
    format!("GET /api/ws HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"))
}

#[test]
fn a_request_without_upgrade_is_told_how_to_connect() {
    let node = Node::start(&[]);
    let response = ask(&node, "GET /api/ws HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(response.status, 426);
    assert_eq!(response.header("upgrade"), Some("websocket"));
    let body = response.json();
    assert_eq!(body["error"]["code"], "upgrade_required");
    assert!(body["error"]["message"].is_string());
    assert_eq!(body["connect"]["path"], "/api/ws");
    assert_eq!(body["connect"]["first"]["type"], "auth");
}

#[test]
fn another_version_is_told_which_one_is_spoken() {
    let node = Node::start(&[]);
    for version in ["7", "8", "14", "13, 8", "x"] {
        let response = ask(&node, &upgrade_but(&[&format!("Sec-WebSocket-Version: {version}")]));
        assert_eq!(response.status, 426, "{version}");
        assert_eq!(response.header("sec-websocket-version"), Some("13"), "{version}");
        assert_eq!(response.code(), "wrong_version");
    }
}

#[test]
fn a_malformed_upgrade_is_refused_and_a_legal_one_is_not() {
    let node = Node::start(&[]);
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for but in [
        &["Upgrade:"][..],
        &["Upgrade: h2c"],
        &["Upgrade: websocket", "Upgrade: websocket"],
        &["Connection:"],
        &["Connection: close"],
        &["Sec-WebSocket-Key:"],
        &["Sec-WebSocket-Key: short"],
        &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==="],
        &[key, key],
        &["Sec-WebSocket-Version:"],
        &["Host:"],
        &["Host: a", "Host: b"],
        &["Content-Length: 5"],
        &["Transfer-Encoding: chunked"],
    ] {
        let response = ask(&node, &upgrade_but(but));
        assert_eq!(response.status, 400, "{but:?}");
        assert!(!response.code().is_empty(), "{but:?}");
    }
    for but in [
        &["Connection: keep-alive", "Connection: upgrade"][..],
        &["Connection: keep-alive, Upgrade"],
        &["Upgrade: WebSocket"],
        &["Content-Length: 0"],
        &["Sec-WebSocket-Extensions: x-unknown; a=1"],
        &["Sec-WebSocket-Protocol: chat"],
    ] {
        let mut stream = TcpStream::connect(node.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(upgrade_but(but).as_bytes()).unwrap();
        let response = read_response(&mut stream);
        assert_eq!(response.status, 101, "{but:?}");
        assert_eq!(response.header("sec-websocket-extensions"), None, "nothing unknown is agreed to");
        assert_eq!(response.header("sec-websocket-protocol"), None);
    }
}

#[test]
fn the_echo_is_in_a_build_for_conformance_tests_only() {
    let node = Node::start(&[]);
    let request = format!(
        "GET /conformance/echo HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        node.address
    );
    let status = if cfg!(feature = "conformance") { 101 } else { 404 };
    let mut stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).status, status);
}

#[test]
fn whatever_is_malformed_or_too_much_has_its_status_and_the_socket_closes() {
    let node = Node::start(&[]);
    let headers = |n: usize| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(n - 1));
    let long = |n: usize| format!("GET /readyz HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(n));
    let cases: &[(String, u16)] = &[
        ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".into(), 404),
        ("GET /api/ws/ HTTP/1.1\r\nHost: x\r\n\r\n".into(), 404),
        ("GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n".into(), 404),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".into(), 404),
        ("POST /api/ws/info HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".into(), 405),
        ("DELETE /api/ws/stats HTTP/1.1\r\nHost: x\r\n\r\n".into(), 405),
        ("PUT /readyz HTTP/1.1\r\nHost: x\r\n\r\n".into(), 405),
        ("POST /api/ws HTTP/1.1\r\nHost: x\r\n\r\n".into(), 405),
        ("get /api/ws/info HTTP/1.1\r\nHost: x\r\n\r\n".into(), 405),
        ("nonsense\r\n\r\n".into(), 400),
        ("GET /api/ws/info HTTP/1.1\r\n\r\n".into(), 400),
        ("GET /api/ws/info HTTP/1.1\nHost: x\n\n".into(), 400),
        ("GET /api/ws/info HTTP/3.0\r\nHost: x\r\n\r\n".into(), 400),
        ("GET /api/ws/info HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n".into(), 400),
        ("GET /api/ws/info HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n".into(), 400),
        ("GET /api/ws/info HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n".into(), 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into(), 400),
        ("GET /api/ws/info HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".into(), 413),
        ("GET /readyz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 413),
        (
            "GET /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                .into(),
            400,
        ),
        (headers(64), 404),
        (headers(65), 431),
        (long(8000), 200),
        (long(8192), 431),
        (long(20 << 20), 431),
    ];
    for (head, status) in cases {
        let shown = head.get(..60.min(head.len())).unwrap();
        let response = ask(&node, head);
        assert_eq!(response.status, *status, "{shown:?}");
        assert_eq!(response.header("connection"), Some("close"), "{shown:?}");
        if *status >= 400 {
            assert!(!response.code().is_empty(), "{shown:?}");
            assert!(response.json()["error"]["message"].is_string(), "{shown:?}");
        }
        if *status == 405 {
            assert!(response.header("allow").unwrap().contains("GET"), "{shown:?}");
        }
    }
    wait_until("all sockets are gone", || node.metric("sockets") == 0.0);
}

#[test]
fn a_head_that_dribbles_past_the_deadline_gets_408() {
    let node = Node::start(&[("WS_HEAD_TIMEOUT", "80")]);
    for start in ["", "GET /api/ws HTTP/1.1\r\nHost: x\r\n"] {
        assert_eq!(ask(&node, start).status, 408, "{start:?}");
    }
    wait_until("counted", || node.metric("closes_total{reason=\"head_timeout\"}") == 2.0);
}

#[test]
fn what_follows_the_upgrade_head_in_the_same_packet_is_not_lost() {
    let node = Node::start(&[]);
    let mut all = Client::upgrade_request(&node).into_bytes();
    all.extend(frame(0x81, json!({"type": "auth", "data": identity("u", "admin")}).to_string().as_bytes()));
    all.extend(frame(0x81, br#"{"type":"subscribe","id":7,"data":{"namespace":"orders"}}"#));
    for step in [all.len(), 1, 7] {
        let mut stream = TcpStream::connect(node.address).unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in all.chunks(step) {
            stream.write_all(piece).unwrap();
        }
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read_response(&mut stream).status, 101);
        let mut client = Client::over(stream, Vec::new());
        client.expect_welcome();
        assert_eq!(client.expect("subscribed")["id"], 7, "in steps of {step}");
    }
}

#[test]
fn info_tells_a_client_all_it_needs() {
    let node = Node::start(&[("WS_PING_INTERVAL", "4321"), ("WS_MAX_KEYS", "77")]);
    let response = node.get("/api/ws/info");
    assert_eq!(response.status, 200);
    assert!(response.header("content-type").unwrap().starts_with("application/json"));
    let info = response.json();
    assert_eq!(info["status"], "ok");
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["path"], "/api/ws");
    assert_eq!(info["auth"]["mode"], "trusted");
    assert_eq!(info["auth"]["fields"], json!(["userId", "role", "sessionId", "expiresAt"]));
    assert_eq!(info["heartbeat"]["pingIntervalMs"], 4321);
    assert_eq!(info["limits"]["maxKeys"], 77);
    let types = |namespace: &str| info["namespaces"][namespace].as_array().unwrap().len();
    let counts = ["orders", "customers", "products", "inventory", "payments", "system"].map(types);
    assert_eq!(counts, [4, 5, 4, 4, 3, 3]);
    assert!(info["namespaces"]["orders"].as_array().unwrap().contains(&json!("order:status_changed")));

    let keyed = Node::start_with_key(&[]);
    let auth = keyed.get("/api/ws/info").json()["auth"].clone();
    assert_eq!((&auth["mode"], &auth["fields"]), (&json!("jwt"), &json!(["token"])));
}

#[test]
fn a_head_request_has_the_head_only() {
    let node = Node::start(&[]);
    for path in ["/api/ws/info", "/healthz", "/readyz"] {
        let mut stream = TcpStream::connect(node.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{path}: {answer}");
        assert!(answer.contains("Content-Length: "), "{path}: {answer}");
    }
}

#[test]
fn health_is_well_until_the_node_drains() {
    let node = Node::start(&[("WS_DRAIN_TIMEOUT", "60000")]);
    let mut stays = Client::connect(&node);
    for path in ["/healthz", "/readyz"] {
        let response = node.get(path);
        assert_eq!((response.status, &response.json()["status"]), (200, &json!("ok")), "{path}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
    assert_eq!(node.control("POST", "/api/drain", "").status, 202);
    let unready = || node.get("/readyz").status == 503;
    wait_until("unready", unready);
    assert_eq!(node.get("/api/ws/info").json()["status"], "draining");
    let refused = Client::connect_with(&node, "").err().expect("nobody comes in any more");
    assert_eq!((refused.status, refused.code().as_str()), (503, "draining"));
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    let (code, closing) = stays.expect_close();
    assert_eq!((code, &closing["data"]["retry"]), (1001, &json!(true)));
}

#[test]
fn stats_are_for_admins_and_true() {
    let node = Node::start_with_key(&[("WS_SHARDS", "4")]);
    let ask_with =
        |header: &str| node.public(&format!("GET /api/ws/stats HTTP/1.1\r\nHost: x\r\n{header}\r\n"));
    let bearer = |token: &str| ask_with(&format!("Authorization: Bearer {token}\r\n"));
    for (header, what) in [
        ("", "no token"),
        ("Authorization: Basic YTpi\r\n", "another scheme"),
        ("Authorization: Bearer\r\n", "an empty one"),
        ("Authorization: Bearer nonsense\r\n", "no JWT"),
    ] {
        let response = ask_with(header);
        assert_eq!(response.status, 401, "{what}");
        assert!(response.header("www-authenticate").unwrap().starts_with("Bearer"), "{what}");
    }
    assert_eq!(bearer(&token("u", "admin", -1000)).status, 401, "expired");
    for role in ["manager", "staff", "customer", "guest"] {
        assert_eq!(bearer(&token("u", role, 600_000)).status, 403, "{role}");
    }
    let admin = token("u", "admin", 600_000);
    assert_eq!(bearer(&admin).json()["totalConnections"], 0);

    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(&node)).collect();
    for (client, role) in clients.iter_mut().zip(["admin", "staff", "staff", "customer"]) {
        crate::tokens::admitted(client, &token("u", role, 600_000));
        client.subscribe(&["products"]);
    }
    clients[0].subscribe(&["orders"]);
    let stats = bearer(&admin).json();
    assert_eq!((&stats["totalConnections"], &stats["authenticatedConnections"]), (&json!(6), &json!(4)));
    assert_eq!(
        stats["connectionsByRole"],
        json!({"admin": 1, "manager": 0, "staff": 2, "customer": 1, "guest": 0})
    );
    let namespaces = &stats["connectionsByNamespace"];
    assert_eq!((&namespaces["products"], &namespaces["orders"]), (&json!(4), &json!(1)));
    let same = |v: &Value| v["connectionsByRole"].clone();
    assert_eq!(same(&node.stats()), same(&stats), "the control socket says the same");
}

#[test]
fn stats_of_a_node_without_a_key_are_on_the_control_socket_only() {
    let node = Node::start(&[]);
    let header = format!("Authorization: Bearer {}\r\n", token("u", "admin", 600_000));
    for header in ["", header.as_str()] {
        let response = node.public(&format!("GET /api/ws/stats HTTP/1.1\r\nHost: x\r\n{header}\r\n"));
        assert_eq!(response.status, 401);
    }
    assert_eq!(node.stats()["totalConnections"], 0);
}

#[test]
fn allowed_pages_may_read_info_and_stats_and_others_may_not() {
    let node = Node::start_with_key(&[("ALLOWED_ORIGINS", "https://shop.example")]);
    let admin = token("u", "admin", 600_000);
    for path in ["/api/ws/info", "/api/ws/stats"] {
        for (origin, allowed) in
            [("https://shop.example", true), ("https://evil.example", false), ("null", false)]
        {
            let ask = |method: &str, more: &str| {
                node.public(&format!("{method} {path} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n{more}\r\n"))
            };
            let got = ask("GET", &format!("Authorization: Bearer {admin}\r\n"));
            let preflight = ask(
                "OPTIONS",
                "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n",
            );
            let expected = allowed.then_some(origin);
            assert_eq!((got.status, preflight.status), (200, 204), "{path} {origin}");
            for response in [&got, &preflight, &ask("GET", "")] {
                let header = response.header("access-control-allow-origin");
                assert_eq!(header, expected, "{path} {origin}");
                assert_eq!(response.header("vary"), Some("Origin"), "caches must not mix them up");
                assert_eq!(response.header("access-control-allow-credentials"), None);
            }
            assert!(preflight.header("access-control-allow-methods").unwrap().contains("GET"));
            let headers = preflight.header("access-control-allow-headers").unwrap().to_lowercase();
            assert!(headers.contains("authorization"));
        }
    }
}
