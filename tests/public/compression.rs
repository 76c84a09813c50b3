//! permessage-deflate (RFC 7692) over a real socket: who gets it, what it may carry, and what is not inflated.

use serde_json::{Value, json};

use crate::support::{Client, Frame, Node, deflate, frame, identity, order, rss, unique};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const PING: &[u8] = br#"{"type":"ping","id":"f"}"#;

fn node() -> Node {
    Node::start(&[("WS_COMPRESSION", "on"), ("WS_COMPRESSION_THRESHOLD", "300"), ("WS_SHARDS", "2")])
}

/// A live client that offered this.
fn offering(node: &Node, offer: &str, namespaces: &[&str]) -> Client {
    let mut client = Client::connect_with(node, offer).unwrap();
    client.auth(&unique("user"), "admin");
    if !namespaces.is_empty() {
        client.subscribe(namespaces);
    }
    client
}

/// An order with a name of so many bytes.
fn long_order(id: &str, name: &str) -> Value {
    let mut order = order(id, "ada");
    order["data"]["customerName"] = name.into();
    order
}

#[test]
fn nothing_is_agreed_on_unless_the_node_is_told_to() {
    let node = Node::start(&[]);
    let mut client = offering(&node, OFFER, &["orders"]);
    assert_eq!(client.extensions, None);
    node.post(&long_order("o", &"x".repeat(5000)));
    assert_eq!(client.expect("order:created")["data"]["orderId"], "o");
    client.send_raw(&frame(0xc1, &deflate(PING)));
    assert_eq!(client.expect_close().0, 1002);
    assert_eq!(node.metric("deflate_upgrades_total"), 0.0);
}

#[test]
fn an_offer_is_taken_as_far_as_it_can_be() {
    let node = node();
    for (offer, answer) in [
        ("", None),
        (OFFER, Some(AGREED.to_owned())),
        ("Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\n", None),
        ("Sec-WebSocket-Extensions: permessage-deflate; what\r\n", None),
        ("Sec-WebSocket-Extensions: permessage-deflate;;\r\n", None),
        (
            "Sec-WebSocket-Extensions: permessage-deflate; what\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n",
            Some(format!("{AGREED}; server_max_window_bits=9")),
        ),
    ] {
        let client = Client::connect_with(&node, offer).unwrap();
        assert_eq!(client.extensions, answer, "{offer}");
    }
}

#[test]
fn everybody_gets_the_same_events_and_only_those_who_agreed_get_them_compressed() {
    let node = node();
    let small = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
    let mut clients: Vec<(Client, bool)> = (0..12)
        .map(|i| match i % 3 {
            0 => (offering(&node, OFFER, &["orders"]), true),
            1 => (offering(&node, "", &["orders"]), false),
            _ => (offering(&node, small, &["orders"]), false),
        })
        .collect();
    let position = node.post(&order("before", "ada"))[0].clone();
    // Short, long, long and hardly compressible, many in one post; one that names somebody.
    let noise: String =
        (0..400u32).map(|i| char::from(b' ' + (i.wrapping_mul(2_654_435_761) >> 25) as u8)).collect();
    let mut posted =
        vec![order("short", "ada"), long_order("long", &"x".repeat(900)), long_order("noise", &noise)];
    posted.extend((0..50).map(|i| long_order(&format!("many-{i}"), &"y".repeat(300 + i))));
    for (client, _) in &mut clients {
        assert_eq!(client.expect("order:created")["data"]["orderId"], "before");
    }
    node.post(&json!(posted[..3]));
    node.post(&json!(posted[3..]));
    let mut named = long_order("named", &"z".repeat(500));
    named["excludeUserIds"] = json!(["nobody"]);
    posted.push(named);
    node.post(&posted[posted.len() - 1]);
    for (client, compresses) in &mut clients {
        let got: Vec<Value> = posted.iter().map(|_| client.expect("order:created")["data"].clone()).collect();
        assert_eq!(got, posted.iter().map(|event| event["data"].clone()).collect::<Vec<_>>());
        assert_eq!(client.compressed, if *compresses { posted.len() - 1 } else { 0 });
    }
    assert_eq!(node.metric("deflate_upgrades_total"), 8.0);
    assert_eq!(
        node.metric("deflated_events_total"),
        posted.len() as f64 - 1.0,
        "once each, over both shards"
    );
    let (before, after) = (node.metric("deflated_bytes_in_total"), node.metric("deflated_bytes_out_total"));
    assert!(after * 2.0 < before, "{before} {after}");

    // Who comes back gets what there is: those that were compressed then, as they were.
    for (offer, compressed) in [(OFFER, posted.len() - 1), ("", 0)] {
        let mut back = offering(&node, offer, &[]);
        let epoch = back.subscribe(&["products"])["data"]["epoch"].clone();
        let since = json!({"epoch": epoch, "id": position});
        back.send(&json!({"type": "subscribe", "data": {"namespaces": ["orders"], "since": since}}));
        assert_eq!(back.expect("subscribed")["data"]["recovered"], true);
        for event in &posted {
            assert_eq!(back.expect("order:created")["data"], event["data"]);
        }
        assert_eq!(back.expect("caught_up")["data"]["replayed"], posted.len());
        assert_eq!(back.compressed, compressed);
    }
}

#[test]
fn a_client_may_compress_what_it_sends() {
    let node = node();
    let small = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n";
    for offer in [OFFER, small] {
        let mut client = Client::connect_with(&node, offer).unwrap();
        let auth = json!({"type": "auth", "data": identity("\u{1f600}", "admin")}).to_string();
        client.send_raw(&frame(0xc1, &deflate(auth.as_bytes())));
        assert_eq!(client.expect_welcome()["data"]["userId"], "\u{1f600}");
        let ping = deflate(PING);
        // Plain beside compressed, in fragments, around a ping, one byte at a time.
        client.send_raw(&frame(0x81, PING));
        client.send_raw(&frame(0xc1, &ping));
        client.send_raw(&[frame(0x41, &ping[..3]), frame(0x80, &ping[3..])].concat());
        client
            .send_raw(&[frame(0x41, b""), frame(0x89, b"p"), frame(0x00, &ping), frame(0x80, b"")].concat());
        for byte in frame(0xc1, &ping) {
            client.send_raw(&[byte]);
        }
        for _ in 0..5 {
            assert_eq!(client.expect("pong")["id"], "f");
        }
        // Nothing, compressed: a message without JSON in it.
        client.send_raw(&frame(0xc1, &[0]));
        assert_eq!(client.expect_error().0, "bad_json");
    }
}

#[test]
fn what_is_wrong_with_a_compressed_message_has_its_code() {
    let node = node();
    let ping = deflate(PING);
    let bomb = deflate(&vec![b' '; 4 << 20]);
    assert!(bomb.len() < 5000);
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("RSV1 on a continuation", [frame(0x41, &ping[..5]), frame(0xc0, &ping[5..])].concat(), 1002),
        ("RSV1 on a ping", frame(0xc9, b""), 1002),
        ("RSV1 on a close", frame(0xc8, &[3, 232]), 1002),
        ("RSV2 beside it", frame(0xe1, &ping), 1002),
        ("no block", frame(0xc1, b""), 1002),
        ("a bad block", frame(0xc1, &[0x06, 1, 2, 3]), 1002),
        ("a block that is cut short", frame(0xc1, &deflate(&[b'"'; 3000])[..6]), 1002),
        ("bytes behind the end", frame(0xc1, &[&ping[..], &[1, 2, 3]].concat()), 1002),
        ("bad UTF-8", frame(0xc1, &deflate(b"\"\xff\"")), 1007),
        ("a cut character", frame(0xc1, &deflate(b"\"\xe2\x82")), 1007),
        ("a compressed binary", frame(0xc2, &ping), 1003),
        ("a bomb", frame(0xc1, &bomb), 1009),
        ("a bomb in fragments", [frame(0x41, &bomb[..99]), frame(0x80, &bomb[99..])].concat(), 1009),
        ("one byte too many", frame(0xc1, &deflate(&[b' '; 65_537])), 1009),
        ("too much of it before it is inflated", frame(0xc1, &[0; 80_000]), 1009),
    ];
    for (what, bytes, code) in cases {
        for step in [bytes.len(), 1000] {
            let mut client = offering(&node, OFFER, &[]);
            for piece in bytes.chunks(step) {
                if std::io::Write::write_all(&mut client.stream, piece).is_err() {
                    break;
                }
            }
            let (got, closing) = client.expect_close();
            assert_eq!(got, *code, "{what}, in steps of {step}");
            assert_eq!(closing["data"]["retry"], false, "{what}");
        }
    }
    // The limit itself is fine, and before auth it is lower.
    let mut client = offering(&node, OFFER, &[]);
    client.send_raw(&frame(0xc1, &deflate(&[b' '; 65_536])));
    assert_eq!(client.expect_error().0, "bad_json");
    let mut stranger = Client::connect_with(&node, OFFER).unwrap();
    stranger.send_raw(&frame(0xc1, &deflate(&[b' '; 4097])));
    loop {
        match stranger.next() {
            Frame::Close(code, _) => break assert_eq!(code, 1009),
            Frame::End => panic!("no close"),
            _ => {}
        }
    }
}

#[test]
fn many_bombs_leave_memory_as_it_was() {
    let node =
        Node::start(&[("WS_COMPRESSION", "on"), ("WS_SHARDS", "1"), ("WS_CONNECT_RATE_PER_IP", "100000")]);
    let bomb = frame(0xc1, &deflate(&vec![b' '; 8 << 20]));
    let explode = || {
        let mut client = offering(&node, OFFER, &[]);
        client.send_raw(&bomb);
        assert_eq!(client.expect_close().0, 1009);
    };
    (0..5).for_each(|_| explode());
    let before = rss(node.pid());
    (0..100).for_each(|_| explode());
    let after = rss(node.pid());
    assert!(after < before + (2 << 20), "{before} {after}");
}
