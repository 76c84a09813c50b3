//! Too many at once: descriptors that run out, clients that leave together, sockets that say nothing.

use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Control, Node, PATIENCE, frame, identity, order, wait_until};

fn metric(control: &mut Control<std::os::unix::net::UnixStream>, name: &str) -> f64 {
    let page = control.ask("GET", "/metrics", "").body;
    let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap()
}

#[test]
fn a_node_without_descriptors_pauses_accepting_and_recovers() {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("ulimit -n 64; exec {}", env!("CARGO_BIN_EXE_omnicast"))]);
    let node = Node::launch(command, &[("WS_MAX_CONNECTIONS", "1000"), ("WS_SHARDS", "2")]);
    wait_until("it warns", || {
        node.log().contains("the limit of open files is too low for WS_MAX_CONNECTIONS=1000")
    });
    let mut control = Control::open(&node);
    let mut client = Client::live(&node, "boss", "admin", &["orders"]);
    let flood: Vec<_> = (0..100).map(|_| TcpStream::connect(node.address).unwrap()).collect();
    wait_until("accepting pauses", || metric(&mut control, "omnicast_accept_pauses_total") > 0.0);
    for _ in 0..20 {
        let ids = control.post(&order("o", "c"));
        assert_eq!(client.message()["id"], ids[0].as_str(), "live connections are unaffected");
    }
    let readyz = node.control("GET", "/readyz", "");
    assert_eq!(readyz.status, 200, "an operator gets in while clients wait: {}", readyz.body);
    drop(flood);
    let mut late = Client::live(&node, "late", "admin", &["orders"]);
    node.post(&order("o", "c"));
    for client in [&mut client, &mut late] {
        client.expect("order:created");
    }
    assert!(metric(&mut control, "omnicast_accept_pauses_total") < 1_000.0, "it pauses, it does not spin");
    let warnings = node.log().matches("accepting pauses: out of").count();
    assert!((1..=2).contains(&warnings), "one a shard: {warnings}");
}

#[test]
fn a_thousand_connections_dropped_at_once_stall_nobody() {
    let node = Node::start(&[("WS_SHARDS", "2")]);
    let mut stayers: Vec<_> =
        (0..4).map(|i| Client::live(&node, &format!("stay_{i}"), "admin", &["orders"])).collect();
    // Each has a word in flight and unread events, so that there is something to clean up.
    let leavers: Vec<_> = (0..1_000)
        .map(|i| {
            let mut client = Client::connect(&node);
            client.send(&json!({"type": "auth", "data": identity(&format!("c_{i}"), "customer")}));
            client.send(&json!({"type": "subscribe", "data": {"namespaces": ["orders", "products"]}}));
            client
        })
        .collect();
    wait_until("all are there", || node.stats()["connectionsByNamespace"]["products"] == 1_000);
    let mut control = Control::open(&node);
    control.post(&json!({"type": "product:deleted", "data": {"productId": "p"}}));
    drop(leavers);
    let began = Instant::now();
    for i in 0..100 {
        let ids = control.post(&order(&format!("o_{i}"), "c"));
        for client in &mut stayers {
            assert_eq!(client.expect("order:created")["id"], ids[0].as_str());
        }
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    Client::live(&node, "new", "admin", &["orders"]);
    wait_until("the rest is gone", || metric(&mut control, "omnicast_sockets") <= 5.0);
    assert_eq!(node.metric("backlog_bytes"), 0.0);
}

#[test]
fn sockets_that_never_speak_are_closed_at_their_deadline() {
    let node = Node::start(&[("WS_HEAD_TIMEOUT", "300"), ("WS_AUTH_TIMEOUT", "300")]);
    let mut live = Client::live(&node, "boss", "admin", &["orders"]);
    let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(node.address).unwrap()).collect();
    let unknown: Vec<_> = (0..100).map(|_| Client::connect(&node)).collect();
    for mut socket in silent {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut told = String::new();
        socket.read_to_string(&mut told).unwrap();
        assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
    }
    for mut client in unknown {
        assert_eq!(client.expect_close().0, 4001);
    }
    node.post(&order("o", "c"));
    live.expect("order:created");
    wait_until("their sockets are gone", || node.metric("sockets") <= 1.0);
    assert_eq!(node.metric("closes_total{reason=\"head_timeout\"}"), 100.0);
    assert_eq!(node.metric("closes_total{reason=\"auth_timeout\"}"), 100.0);
}

#[test]
fn a_control_connection_that_reads_no_answers_does_not_stop_the_others() {
    let node = Node::start(&[]);
    let mut deaf = Control::open(&node);
    let mut ids = Vec::new();
    let large = Value::Array(vec![order("o", "c"); 2_000]);
    ids.extend(deaf.post(&large));
    // Megabytes of history that it asks for and does not read.
    deaf.stream.set_nonblocking(true).unwrap();
    let ask = crate::support::request("GET", "/api/events?limit=2000", "", "").repeat(200);
    let _ = std::io::Write::write(&mut deaf.stream, ask.as_bytes()).unwrap();
    let mut client = Client::live(&node, "boss", "admin", &["orders"]);
    let mut control = Control::open(&node);
    for _ in 0..20 {
        let ids = control.post(&order("o", "c"));
        assert_eq!(client.message()["id"], ids[0].as_str());
    }
    assert!(crate::support::rss(node.pid()) < 200 << 20, "its answers are not piled up");
    // It gets them once it reads.
    deaf.stream.set_nonblocking(false).unwrap();
    for _ in 0..3 {
        assert_eq!(deaf.answer().body.lines().count(), 2_000);
    }
}

#[test]
fn a_flood_of_control_connections_ends_when_they_do() {
    let node = Node::start(&[]);
    let mut client = Client::live(&node, "boss", "admin", &["orders"]);
    let mut control = Control::open(&node);
    let flood: Vec<_> = (0..1_200).map(|_| Control::open(&node)).collect();
    for _ in 0..10 {
        let ids = control.post(&order("o", "c"));
        assert_eq!(client.message()["id"], ids[0].as_str());
    }
    assert!(crate::support::descriptors(node.pid()) < 1_100, "the rest was turned away");
    drop(flood);
    wait_until("there is room again", || crate::support::descriptors(node.pid()) < 100);
    assert_eq!(node.post(&order("o", "c")).len(), 1);
}

#[test]
fn one_who_leaves_in_the_middle_of_a_burst_leaves_nothing_behind() {
    let node = Node::start(&[("WS_SHARDS", "4")]);
    let mut witness = Client::live(&node, "boss", "admin", &["orders"]);
    let mut control = Control::open(&node);
    for round in 0..10 {
        let mut leavers: Vec<_> =
            (0..8).map(|i| Client::live(&node, &format!("u_{i}"), "admin", &["orders"])).collect();
        control.post(&Value::Array(vec![order("o", "c"); 50]));
        for (i, client) in leavers.iter_mut().enumerate() {
            match i % 3 {
                0 => client.send_raw(&frame(0x88, &1001_u16.to_be_bytes())),
                1 => client.send_raw(&frame(0x81, b"{")[..3]),
                _ => assert_eq!(client.expect("order:created")["namespace"], "orders", "round {round}"),
            }
        }
    }
    let got = witness.settle(&node);
    assert_eq!(got.iter().filter(|m| m["type"] == "order:created").count(), 500);
    wait_until("all are gone", || metric(&mut control, "omnicast_sockets") == 1.0);
    assert_eq!(node.stats()["totalConnections"], 1);
}
