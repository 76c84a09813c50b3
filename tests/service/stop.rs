//! The end of a node: by which signal, how soon, and what its clients are told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Control, Node, PATIENCE, order, wait_until};

#[test]
fn both_signals_tell_every_client_its_slot_and_end_with_0() {
    for (signal, shards) in [("TERM", "1"), ("INT", "4")] {
        let mut node = Node::start(&[("WS_SHARDS", shards), ("WS_DRAIN_TIMEOUT", "1500")]);
        let mut clients: Vec<_> =
            (0..60).map(|i| Client::live(&node, &format!("u_{i}"), "admin", &["orders"])).collect();
        let began = Instant::now();
        node.signal(signal);
        wait_until("it drains", || node.get("/readyz").status == 503);
        assert_eq!(Client::connect_with(&node, "").err().expect("no new client").status, 503);
        let slots: BTreeSet<_> = clients
            .iter_mut()
            .map(|client| {
                let (code, closing) = client.expect_close();
                assert_eq!(code, 1001);
                closing["data"]["retryAfterMs"].as_u64().unwrap()
            })
            .collect();
        assert_eq!(slots.len(), 60, "each client has its own slot: {slots:?}");
        assert_eq!(node.wait(PATIENCE).code(), Some(0), "{}", node.log());
        let took = began.elapsed();
        assert!(took < Duration::from_millis(1_800), "{took:?}");
        assert!(!node.control.exists(), "the control socket is gone");
    }
}

#[test]
fn a_stop_without_clients_is_immediate() {
    for signal in ["TERM", "INT"] {
        let mut node = Node::start(&[("WS_SHARDS", "4"), ("WS_DRAIN_TIMEOUT", "60000")]);
        // Neither one that left nor one that asks for health keeps the node.
        drop(Client::live(&node, "u", "admin", &["orders"]));
        wait_until("it is gone", || node.stats()["totalConnections"] == 0);
        let _idle = Control::open(&node);
        let began = Instant::now();
        node.signal(signal);
        assert_eq!(node.wait(PATIENCE).code(), Some(0));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert!(!node.control.exists());
    }
}

#[test]
fn a_second_signal_forces() {
    let mut node = Node::start(&[("WS_DRAIN_TIMEOUT", "60000")]);
    let _clients: Vec<_> = (0..5).map(|_| Client::live(&node, "u", "admin", &["orders"])).collect();
    let began = Instant::now();
    node.signal("TERM");
    wait_until("it drains", || node.get("/readyz").status == 503);
    node.signal("INT");
    assert_eq!(node.wait(PATIENCE).code(), Some(130), "{}", node.log());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(!node.control.exists());
}

#[test]
fn a_client_that_never_reads_does_not_delay_the_end_past_the_deadline() {
    let mut node = Node::start(&[("WS_DRAIN_TIMEOUT", "1000"), ("WS_MAX_BACKLOG", "1000000000")]);
    let _deaf = Client::live(&node, "deaf", "admin", &["orders"]);
    let mut large = order("o", "c");
    large["data"]["pad"] = "x".repeat(200_000).into();
    let batch = Value::Array(vec![large; 20]);
    let mut control = Control::open(&node);
    wait_until("its socket is full", || {
        control.post(&batch);
        node.stats()["backlogBytes"].as_u64().unwrap() > 1_000_000
    });
    let began = Instant::now();
    node.signal("TERM");
    assert_eq!(node.wait(PATIENCE).code(), Some(0));
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
}

#[test]
fn posts_are_taken_while_a_stop_drains() {
    let mut node = Node::start(&[("WS_SHARDS", "1"), ("WS_DRAIN_TIMEOUT", "1500")]);
    let mut clients: Vec<_> = (0..2).map(|_| Client::live(&node, "u", "admin", &["orders"])).collect();
    let mut control = Control::open(&node);
    // One goes at once, the other in the middle of the drain.
    node.signal("TERM");
    wait_until("it drains", || control.ask("GET", "/readyz", "").status == 503);
    let ids = control.post(&order("o", "c"));
    assert_eq!(ids.len(), 1);
    let codes: Vec<_> = clients.iter_mut().map(|client| client.expect_close().0).collect();
    assert_eq!(codes, [1001, 1001]);
    // Who was not yet sent away got it before the close.
    let got: Vec<Value> = clients.iter_mut().flat_map(Client::passed).collect();
    assert!(got.iter().any(|m| m["id"] == json!(ids[0])), "{got:?}");
    assert_eq!(node.wait(PATIENCE).code(), Some(0));
}

#[test]
fn however_short_the_drain_everybody_is_told() {
    for timeout in ["0", "100", "300"] {
        let mut node = Node::start(&[("WS_SHARDS", "2"), ("WS_DRAIN_TIMEOUT", timeout)]);
        let mut clients: Vec<_> = (0..6).map(|_| Client::live(&node, "u", "admin", &["orders"])).collect();
        node.signal("TERM");
        for client in &mut clients {
            let (code, closing) = client.expect_close();
            assert_eq!((code, &closing["data"]["reason"]), (1001, &json!("going_away")), "{timeout}");
            assert!(closing["data"]["retryAfterMs"].as_u64().unwrap() >= 500);
        }
        assert_eq!(node.wait(PATIENCE).code(), Some(0));
    }
}
