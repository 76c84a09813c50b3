//! Deadlines, heartbeats and back-pressure: how the node ends a connection.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Frame, Node, PATIENCE, exchange, frame, order, wait_until};

#[test]
fn who_does_not_authenticate_in_time_is_closed() {
    let node = Node::start(&[("WS_AUTH_TIMEOUT", "120")]);
    let mut silent = Client::connect(&node);
    let mut busy = Client::connect(&node);
    let mut live = Client::live(&node, "u", "admin", &[]);
    busy.send(&json!({"type": "auth", "data": {"userId": "u"}}));
    for client in [&mut silent, &mut busy] {
        let (code, closing) = client.expect_close();
        assert_eq!((code, &closing["data"]["reason"]), (4001, &json!("auth_timeout")));
        assert_eq!(closing["data"]["retry"], false);
    }
    live.sync();
    assert_eq!(node.metric("closes_total{reason=\"auth_timeout\"}"), 2.0);
}

#[test]
fn the_silent_are_closed_and_those_who_answer_are_not() {
    for shards in ["1", "4"] {
        let node =
            Node::start(&[("WS_SHARDS", shards), ("WS_PING_INTERVAL", "120"), ("WS_PONG_TIMEOUT", "100")]);
        let mut silent = Client::live(&node, "u", "admin", &["orders"]);
        let mut greeting = Client::connect(&node);
        let mut answers = Client::live(&node, "u", "admin", &[]);
        let (mut pings, begin) = (0, Instant::now());
        while pings < 6 {
            if let Frame::Ping(payload) = answers.next() {
                answers.send_raw(&frame(0x8a, &payload));
                pings += 1;
            }
        }
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(500), "five intervals of 120 ms: {took:?}");
        for client in [&mut silent, &mut greeting] {
            let (code, closing) = client.expect_close();
            assert_eq!((code, &closing["data"]["reason"]), (4201, &json!("pong_timeout")));
            assert_eq!(closing["data"]["retry"], true);
        }
        assert_eq!(node.metric("closes_total{reason=\"pong_timeout\"}"), 2.0);
        assert_eq!(node.stats()["totalConnections"], 1);
    }
}

#[test]
fn any_traffic_is_a_sign_of_life() {
    let node =
        Node::start(&[("WS_PING_INTERVAL", "80"), ("WS_PONG_TIMEOUT", "80"), ("WS_RATE_LIMIT", "100000")]);
    let mut client = Client::live(&node, "u", "admin", &[]);
    let mut pings = 0;
    while pings < 6 {
        client.send(&json!({"type": "ping"}));
        loop {
            match client.next() {
                Frame::Ping(_) => pings += 1,
                Frame::Text(text) => break assert_eq!(text["type"], "pong"),
                other => panic!("{other:?}"),
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn pings_are_spread_over_the_interval() {
    let node = Node::start(&[("WS_SHARDS", "1"), ("WS_PING_INTERVAL", "600")]);
    let mut clients: Vec<Client> = (0..24).map(|_| Client::live(&node, "u", "admin", &[])).collect();
    let begin = Instant::now();
    let mut at = vec![None; clients.len()];
    while at.iter().any(Option::is_none) {
        assert!(begin.elapsed() < PATIENCE);
        for (client, at) in clients.iter_mut().zip(&mut at) {
            if at.is_none()
                && client.next_within(Duration::from_millis(1)).is_some_and(|f| matches!(f, Frame::Ping(_)))
            {
                *at = Some(begin.elapsed().as_millis());
            }
        }
    }
    let mut at: Vec<u128> = at.into_iter().flatten().collect();
    at.sort_unstable();
    let spread = at[at.len() - 1] - at[0];
    assert!(spread >= 250, "24 clients within {spread} ms: {at:?}");
    let together =
        (0..at.len()).map(|i| at.iter().filter(|t| at[i] <= **t && **t < at[i] + 30).count()).max();
    assert!(together.unwrap() <= 12, "not in unison: {at:?}");
}

#[test]
fn who_does_not_read_is_closed_and_the_others_notice_nothing() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards), ("WS_MAX_BACKLOG", "65536")]);
        let mut slow = Client::live(&node, "slow", "admin", &["orders"]);
        let mut others: Vec<Client> =
            (0..4).map(|_| Client::live(&node, "u", "admin", &["orders"])).collect();
        let counted = || node.metric("closes_total{reason=\"slow_consumer\"}");
        let mut ids = Vec::new();
        let mut large = order("o", "c");
        large["data"]["customerName"] = "x".repeat(200_000).into();
        while counted() == 0.0 {
            assert!(ids.len() < 500, "it is never closed");
            ids.extend(node.post(&large));
            for client in &mut others {
                let event = client.expect("order:created");
                assert_eq!(Some(&event["id"]), ids.last().map(|id| json!(id)).as_ref());
            }
        }
        // It reads again: whole events in order, why it ends, and nothing after that.
        let (code, closing) = slow.expect_close();
        assert_eq!((code, &closing["data"]["reason"]), (4103, &json!("slow_consumer")));
        assert_eq!(closing["data"]["retry"], true);
        let seen: Vec<Value> = slow.passed().iter().map(|event| event["id"].clone()).collect();
        assert!(!seen.is_empty());
        assert_eq!(json!(seen), json!(ids[..seen.len()]), "a prefix, so that the last id is a position");
        assert_eq!(counted(), 1.0);
        assert_eq!(node.stats()["totalConnections"], 4);
    }
}

#[test]
fn who_never_reads_again_does_not_stay() {
    let node = Node::start(&[("WS_SHARDS", "1"), ("WS_MAX_BACKLOG", "65536"), ("WS_PRESENCE_GRACE", "0")]);
    let slow = Client::live(&node, "slow", "admin", &["orders"]);
    let mut large = order("o", "c");
    large["data"]["customerName"] = "x".repeat(200_000).into();
    let closed = || node.metric("closes_total{reason=\"slow_consumer\"}") == 1.0;
    while !closed() {
        node.post(&large);
    }
    wait_until("its socket is dropped after a courtesy", || node.metric("sockets") == 0.0);
    assert_eq!(node.metric("backlog_bytes"), 0.0);
    drop(slow);
}

#[test]
fn a_full_outbox_does_not_make_a_client_look_dead() {
    let node = Node::start(&[
        ("WS_SHARDS", "1"),
        ("WS_MAX_BACKLOG", "100000000"),
        ("WS_PING_INTERVAL", "150"),
        ("WS_PONG_TIMEOUT", "1500"),
    ]);
    let mut client = Client::live(&node, "u", "admin", &["orders"]);
    let mut large = order("o", "c");
    large["data"]["customerName"] = "x".repeat(200_000).into();
    let count = 100; // 20 MB, more than the kernel takes.
    for _ in 0..count {
        node.post(&large);
    }
    let (mut events, mut pings) = (0, 0);
    while events < count {
        // Slower than the node writes, for longer than a pong may take.
        std::thread::sleep(Duration::from_millis(20));
        match client.next() {
            Frame::Ping(payload) => {
                client.send_raw(&frame(0x8a, &payload));
                pings += 1;
            }
            Frame::Text(event) => {
                assert_eq!(event["type"], "order:created");
                events += 1;
            }
            other => panic!("{other:?} after {events} events and {pings} pings"),
        }
    }
    assert!(pings > 0);
    client.sync();
}

#[test]
fn a_kick_closes_and_says_not_to_come_back() {
    let node = Node::start(&[]);
    let mut tabs: Vec<Client> = (0..2).map(|_| Client::live(&node, "u_1", "manager", &["orders"])).collect();
    let mut other = Client::live(&node, "u_2", "manager", &["orders"]);
    let answer = node.control("DELETE", "/api/users/u_1", "");
    assert_eq!((answer.status, answer.json()["closed"].as_u64()), (200, Some(2)));
    node.post(&order("o_1", "c"));
    for tab in &mut tabs {
        let (code, closing) = tab.expect_close();
        assert_eq!((code, &closing["data"]["reason"]), (4004, &json!("kicked")));
        assert_eq!(closing["data"]["retry"], false);
        assert_eq!(tab.passed(), [] as [Value; 0], "no event after the kick was acknowledged");
    }
    other.expect("order:created");
}

#[test]
fn a_client_that_closes_gets_its_code_back_and_nothing_more() {
    let node = Node::start(&[]);
    for (sent, code) in [(vec![], 1005), (vec![3, 232], 1000), (vec![15, 160, b'b', b'y', b'e'], 4000)] {
        let mut client = Client::live(&node, "u", "admin", &["orders"]);
        client.send_raw(&frame(0x88, &sent));
        assert_eq!(client.next(), Frame::Close(code, String::new()));
        assert_eq!(client.next(), Frame::End);
    }
    wait_until("all are gone", || node.metric("sockets") == 0.0);
    assert_eq!(node.metric("closes_total{reason=\"peer_closed\"}"), 3.0);
}

#[test]
fn a_peer_that_does_not_answer_the_close_is_dropped() {
    let node = Node::start(&[("WS_AUTH_TIMEOUT", "20")]);
    let mut client = Client::connect(&node);
    let begin = Instant::now();
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(8), "a courtesy, not a promise");
    assert!(!rest.is_empty());
    wait_until("the socket is gone", || node.metric("sockets") == 0.0);
}

#[test]
fn a_node_whose_output_nobody_reads_any_more_serves_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_omnicast"))
        .env_clear()
        .envs([("WS_PORT", "0"), ("WS_LOG", "debug"), ("WS_SHARDS", "2")])
        .env("WS_CONTROL_SOCKET", dir.path().join("control.sock"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    drop(child.stderr.take());
    let address = line.split("ws://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let outcomes: Vec<u16> = (0..20)
        .map(|_| {
            let stream = TcpStream::connect(address).expect("it listens on");
            exchange(stream, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status
        })
        .collect();
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(running && outcomes == [200; 20], "{outcomes:?}");
}
