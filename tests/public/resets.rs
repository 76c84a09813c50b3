//! Connections that break at every byte.

use std::io::Write;
use std::net::TcpStream;

use serde_json::json;

use crate::support::{Client, Node, descriptors, frame, identity, reset, wait_until};

/// Breaks off after every byte of `bytes`, by a reset and by an end; the node must hold nothing of it.
fn break_everywhere(node: &Node, bytes: &[u8], open: impl Fn() -> TcpStream) {
    wait_until("nobody is there", || node.metric("sockets") == 0.0);
    let before = descriptors(node.pid());
    for cut in 0..=bytes.len() {
        for by_reset in [true, false] {
            let mut stream = open();
            let _ = stream.write_all(&bytes[..cut]);
            if by_reset {
                reset(stream);
            }
        }
    }
    wait_until("every socket is let go", || node.metric("sockets") == 0.0);
    wait_until("no descriptor leaks", || descriptors(node.pid()) <= before);
    let stats = node.stats();
    assert_eq!((&stats["totalConnections"], &stats["authenticatedConnections"]), (&json!(0), &json!(0)));
    assert_eq!(stats["connectionsByRole"]["admin"], 0);
    assert_eq!(stats["connectionsByNamespace"]["orders"], 0);
    Client::live(node, "u", "admin", &["orders"]).sync();
}

#[test]
fn a_reset_at_any_byte_of_the_handshake_leaves_nothing() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards), ("WS_MAX_CONNECTIONS", "64")]);
        let request = Client::upgrade_request(&node);
        break_everywhere(&node, request.as_bytes(), || TcpStream::connect(node.address).unwrap());
        let log = node.log();
        assert!(log.lines().count() < 20, "no log flood: {log}");
    }
}

#[test]
fn a_reset_at_any_byte_of_a_message_leaves_nothing() {
    for shards in ["1", "4"] {
        // A leak of seats shows, because there are few.
        let node =
            Node::start(&[("WS_SHARDS", shards), ("WS_MAX_CONNECTIONS", "64"), ("WS_PRESENCE_GRACE", "0")]);
        let mut bytes =
            frame(0x81, json!({"type": "auth", "data": identity("u", "customer")}).to_string().as_bytes());
        bytes.extend(frame(0x01, br#"{"type":"subscribe","#));
        bytes.extend(frame(0x89, b"ping"));
        bytes.extend(frame(0x80, br#""data":{"namespace":"orders","keys":["a","b"]}}"#));
        bytes.extend(frame(0x88, &[3, 232]));
        let connect = || loop {
            // The seats of those who have just gone may not be free yet.
            if let Ok(client) = Client::connect_with(&node, "") {
                break client.stream;
            }
        };
        break_everywhere(&node, &bytes, connect);
        wait_until("no customer is left", || node.stats()["customersOnline"] == 0);
        assert_eq!(node.metric("backlog_bytes"), 0.0);
    }
}

#[test]
fn a_reset_while_events_stream_leaves_nothing() {
    let node = Node::start(&[("WS_SHARDS", "2")]);
    wait_until("nobody is there", || node.metric("sockets") == 0.0);
    let before = descriptors(node.pid());
    let mut stays = Client::live(&node, "u", "admin", &["orders"]);
    let mut ids = Vec::new();
    for round in 0..40 {
        let client = Client::live(&node, "u", "admin", &["orders"]);
        let batch: Vec<_> = (0..5).map(|i| crate::support::order(&format!("o_{round}_{i}"), "c")).collect();
        ids.extend(node.post(&json!(batch)));
        client.reset();
    }
    for id in &ids {
        assert_eq!(stays.message()["id"], id.as_str());
    }
    drop(stays);
    wait_until("every socket is let go", || node.metric("sockets") == 0.0);
    wait_until("no descriptor leaks", || descriptors(node.pid()) <= before);
}

#[test]
fn a_control_connection_that_both_sides_closed_is_let_go_at_once() {
    let node = Node::start(&[("WS_SHARDS", "1")]);
    let before = descriptors(node.pid());
    for _ in 0..200 {
        node.post(&crate::support::order("o", "c"));
    }
    assert!(descriptors(node.pid()) < before + 20, "they do not linger after their end");
}
