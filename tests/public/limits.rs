//! How much a client may send: messages a minute, bytes a message.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Frame, Node, frame, identity};

#[test]
fn the_burst_is_what_the_limit_says_and_auth_counts_too() {
    let node = Node::start(&[("WS_RATE_LIMIT", "5")]);
    let mut client = Client::live(&node, "u", "admin", &["orders"]);
    for id in 0..3 {
        assert_eq!(client.ask(&id.to_string(), json!({"type": "ping"}))["type"], "pong");
    }
    for message in [
        json!({"type": "ping", "id": "x"}),
        json!({"type": "nothing", "id": "x"}),
        json!({"type": "auth", "id": "x", "data": identity("u", "admin")}),
        json!({"type": "unsubscribe", "id": "x", "data": {"namespace": "orders"}}),
    ] {
        client.send(&message);
        let (code, error) = client.expect_error();
        assert_eq!((code.as_str(), &error["id"]), ("rate_limited", &json!("x")), "{message}");
        assert_eq!(error["data"]["retryable"], true);
        let wait = error["data"]["retryAfterMs"].as_u64().unwrap();
        assert!((1..=12_000).contains(&wait), "a permit comes every 12 s: {wait}");
    }
    client.send_text("no json");
    assert_eq!(client.expect_error().0, "rate_limited", "every text message counts");
    node.post(&crate::support::order("o_1", "c"));
    client.expect("order:created"); // Who is refused still hears.
}

#[test]
fn permits_come_back_at_the_rate_and_when_the_refusal_says() {
    // One every 200 ms.
    let node = Node::start(&[("WS_RATE_LIMIT", "300"), ("WS_RATE_ABUSE", "10000")]);
    let mut client = Client::live(&node, "u", "guest", &[]);
    let mut ping = |n: &mut u32| {
        let answer = client.ask("p", json!({"type": "ping"}));
        *n += 1;
        answer["data"]["retryAfterMs"].as_u64()
    };
    let mut sent = 1; // The auth.
    let begin = Instant::now();
    let wait = loop {
        if let Some(wait) = ping(&mut sent) {
            break wait;
        }
    };
    let refilled = begin.elapsed().as_millis() as u32 / 200 + 1;
    assert!((301..=301 + refilled).contains(&sent), "the burst is 300 and not {sent}");
    assert!((1..=200).contains(&wait), "{wait}");
    std::thread::sleep(Duration::from_millis(wait + 5));
    assert_eq!(ping(&mut sent), None, "after `retryAfterMs` there is a permit");
    let begin = Instant::now();
    let mut accepted = 0;
    while begin.elapsed() < Duration::from_millis(900) {
        accepted += u32::from(ping(&mut sent).is_none());
        std::thread::sleep(Duration::from_millis(5)); // So as not to be called abusive.
    }
    assert!((3..=6).contains(&accepted), "about 4.5 in 900 ms: {accepted}");
}

#[test]
fn the_twentieth_refusal_within_a_minute_closes() {
    for abuse in [None, Some("3")] {
        let mut settings = vec![("WS_RATE_LIMIT", "2")];
        settings.extend(abuse.map(|n| ("WS_RATE_ABUSE", n)));
        let node = Node::start(&settings);
        let mut client = Client::live(&node, "u", "admin", &["orders"]);
        for _ in 0..abuse.map_or(20, |n| n.parse().unwrap()) {
            client.send(&json!({"type": "ping"}));
            assert_eq!(client.expect_error().0, "rate_limited");
        }
        let (code, closing) = client.expect_close();
        assert_eq!((code, &closing["data"]["reason"]), (4102, &json!("rate_abuse")));
        assert_eq!(closing["data"]["retry"], true);
        assert!(closing["data"]["retryAfterMs"].as_u64().unwrap() > 0);
        assert_eq!(client.passed(), [] as [Value; 0]);
        assert_eq!(node.metric("closes_total{reason=\"rate_abuse\"}"), 1.0);
    }
}

#[test]
fn of_a_flood_of_pings_only_the_newest_pongs_are_owed() {
    let node = Node::start(&[("WS_RATE_LIMIT", "1000000")]);
    let mut client = Client::live(&node, "u", "admin", &[]);
    let flood: Vec<u8> = (0..4000u32).flat_map(|i| frame(0x89, &i.to_be_bytes())).collect();
    client.send_raw(&flood);
    let (mut pongs, mut last) = (0, None);
    while last != Some(3999) {
        let Frame::Pong(payload) = client.next() else { continue };
        let n = u32::from_be_bytes(payload.try_into().unwrap());
        assert!(last.is_none_or(|last| last < n), "in order");
        (pongs, last) = (pongs + 1, Some(n));
    }
    assert!(pongs < 1000, "many pings that were read together have few pongs: {pongs}");
    client.sync();
}

#[test]
fn floods_of_control_frames_count_against_the_rate() {
    for opcode in [0x89, 0x8a] {
        let node = Node::start(&[("WS_RATE_LIMIT", "50"), ("WS_SHARDS", "1")]);
        let mut other = Client::live(&node, "u", "admin", &["orders"]);
        let mut client = Client::live(&node, "u", "admin", &[]);
        let flood: Vec<u8> = (0..200).flat_map(|_| frame(opcode, b"x")).collect();
        client.send_raw(&flood);
        let (code, closing) = client.expect_close();
        assert_eq!((code, &closing["data"]["reason"]), (4102, &json!("rate_abuse")), "{opcode:x}");
        let refusals = client.passed();
        assert_eq!(refusals.len(), 20, "{opcode:x}");
        assert!(refusals.iter().all(|r| r["data"]["code"] == "rate_limited"));
        node.post(&crate::support::order("o_1", "c"));
        other.expect("order:created");
    }
}

#[test]
fn a_flood_of_empty_fragments_counts_against_the_rate() {
    let node = Node::start(&[("WS_RATE_LIMIT", "50"), ("WS_SHARDS", "1")]);
    for (before_auth, first) in [(true, ""), (true, "{"), (false, ""), (false, "{")] {
        let mut client = Client::connect(&node);
        if !before_auth {
            client.auth("u", "admin");
        }
        let rest = (0..200).flat_map(|_| frame(0x00, b""));
        client.send_raw(&frame(0x01, first.as_bytes()).into_iter().chain(rest).collect::<Vec<u8>>());
        let (code, closing) = client.expect_close();
        assert_eq!((code, &closing["data"]["reason"]), (4102, &json!("rate_abuse")), "{before_auth} {first}");
        let refusals = client.passed();
        assert_eq!(refusals.len(), 20, "{before_auth} {first}");
        assert!(refusals.iter().all(|r| r["data"]["code"] == "rate_limited"));
    }
}

#[test]
fn a_message_in_fragments_costs_one_permit() {
    let node = Node::start(&[("WS_RATE_LIMIT", "5")]);
    let mut client = Client::live(&node, "u", "admin", &[]);
    for round in 0..5 {
        for (i, byte) in br#"{"type":"ping"}"#.iter().enumerate() {
            client.send_raw(&frame(u8::from(i == 0), &[*byte]));
        }
        client.send_raw(&frame(0x80, b"")); // As of one who writes a stream, and ends it.
        let kind = if round < 4 { "pong" } else { "error" };
        assert_eq!(client.message()["type"], kind, "{round}");
    }
}

/// A command of exactly this many bytes.
fn ping_of(bytes: usize) -> String {
    let text = r#"{"type":"ping","x":""}"#;
    format!(r#"{{"type":"ping","x":"{}"}}"#, "y".repeat(bytes - text.len()))
}

fn assert_too_big(mut client: Client) {
    let (code, closing) = client.expect_close();
    assert_eq!(code, 1009);
    assert_eq!(closing["data"]["retry"], false);
}

#[test]
fn a_message_has_4096_bytes_before_auth_and_65536_after() {
    let node = Node::start(&[]);
    let mut client = Client::connect(&node);
    client.send_text(&ping_of(4096));
    assert_eq!(client.expect_error().0, "not_authenticated");
    client.auth("u", "admin");
    client.send_text(&ping_of(65536));
    assert_eq!(client.message()["type"], "pong");
    client.send_text(&ping_of(65537));
    assert_too_big(client);

    let mut client = Client::connect(&node);
    client.send_text(&ping_of(4097));
    assert_too_big(client);
    assert_eq!(node.metric("closes_total{reason=\"message_too_big\"}"), 2.0);
}

#[test]
fn the_limit_is_of_the_message_and_not_of_its_fragments() {
    let node = Node::start(&[("WS_MAX_MESSAGE_SIZE", "5000")]);
    for (size, fits) in [(5000, true), (5001, false)] {
        let mut client = Client::live(&node, "u", "admin", &[]);
        let text = ping_of(size).into_bytes();
        let pieces: Vec<&[u8]> = text.chunks(1000).collect();
        for (i, piece) in pieces.iter().enumerate() {
            let opcode = if i == 0 { 1 } else { 0 };
            let fin = if i + 1 == pieces.len() { 0x80 } else { 0 };
            client.send_raw(&frame(fin | opcode, piece));
        }
        if fits {
            assert_eq!(client.message()["type"], "pong");
        } else {
            assert_too_big(client);
        }
    }
}

#[test]
fn a_length_is_refused_at_its_header() {
    let node = Node::start(&[("WS_SHARDS", "1")]);
    let before = crate::support::rss(node.pid());
    let mut clients = Vec::new();
    for len in [65537u64, 1 << 32, u64::MAX >> 1, 1 << 63, u64::MAX] {
        for _ in 0..8 {
            let mut client = Client::live(&node, "u", "admin", &[]);
            let mut header = vec![0x81, 0xff];
            header.extend(len.to_be_bytes());
            header.extend([1, 2, 3, 4]);
            client.send_raw(&header);
            let (code, _) = client.expect_close();
            assert_eq!(code, 1009, "{len:x}, with no byte of it sent");
            clients.push(client);
        }
    }
    let grown = crate::support::rss(node.pid()).saturating_sub(before);
    assert!(grown < 8 << 20, "nothing of that is allocated: {grown}");
}
