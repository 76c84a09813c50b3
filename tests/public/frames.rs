//! Frames over a real socket: what is legal in any shape, and what is not with its code.

use serde_json::{Value, json};

use crate::support::{Client, Frame, Node, frame, identity};

const PING: &[u8] = br#"{"type":"ping","id":"f"}"#;

fn expect_pong(client: &mut Client) {
    assert_eq!(client.message()["id"], "f");
}

#[test]
fn a_message_may_come_in_any_fragments() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut client = Client::live(&node, "u", "admin", &[]);
        for cut in [0, 1, 5, PING.len()] {
            client.send_raw(&frame(0x01, &PING[..cut]));
            client.send_raw(&frame(0x00, b""));
            client.send_raw(&frame(0x80, &PING[cut..]));
            expect_pong(&mut client);
        }
        let mut all = frame(0x01, &PING[..1]);
        for byte in &PING[1..] {
            all.extend(frame(0x00, &[*byte]));
        }
        all.extend(frame(0x80, b""));
        client.send_raw(&all);
        expect_pong(&mut client);
    }
}

#[test]
fn control_frames_come_between_fragments() {
    let node = Node::start(&[]);
    let mut client = Client::live(&node, "u", "admin", &[]);
    client.send_raw(&frame(0x01, &PING[..5]));
    client.send_raw(&frame(0x89, b"are you there"));
    assert_eq!(client.next(), Frame::Pong(b"are you there".to_vec()));
    client.send_raw(&frame(0x8a, b"unasked"));
    client.send_raw(&frame(0x00, &PING[5..9]));
    client.send_raw(&frame(0x89, &[0xff; 125]));
    assert_eq!(client.next(), Frame::Pong(vec![0xff; 125]));
    client.send_raw(&frame(0x80, &PING[9..]));
    expect_pong(&mut client);
    client.send_raw(&frame(0x01, &PING[..5]));
    client.send_raw(&frame(0x88, &[3, 232]));
    assert_eq!(client.next(), Frame::Close(1000, String::new()));
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let node = Node::start(&[]);
    let mut client = Client::connect(&node);
    let auth = json!({"type": "auth", "data": identity("\u{1f600}", "admin")}).to_string();
    let mut all = frame(0x81, auth.as_bytes());
    all.extend(frame(0x89, b"p"));
    all.extend(frame(0x01, &PING[..7]));
    all.extend(frame(0x80, &PING[7..]));
    for byte in all {
        client.send_raw(&[byte]);
    }
    assert_eq!(client.expect_welcome()["data"]["userId"], "\u{1f600}");
    expect_pong(&mut client); // The pong of the ping may come before it or after it.
}

/// A frame whose length is written in this form, whatever it is.
fn with_length(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[first][..], length, &[0, 0, 0, 0], payload].concat()
}

#[test]
fn what_breaks_the_protocol_has_its_code() {
    let e = "\u{e9}".as_bytes();
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("RSV1", frame(0xc1, PING), 1002),
        ("RSV2", frame(0xa1, PING), 1002),
        ("RSV3", frame(0x91, PING), 1002),
        ("RSV1 on a ping", frame(0xc9, b""), 1002),
        ("opcode 3", frame(0x83, b""), 1002),
        ("opcode 7", frame(0x87, b""), 1002),
        ("opcode 11", frame(0x8b, b""), 1002),
        ("opcode 15", frame(0x8f, b""), 1002),
        ("an unmasked text", [&[0x81, PING.len() as u8], PING].concat(), 1002),
        ("an unmasked ping", vec![0x89, 0], 1002),
        ("an unmasked close", vec![0x88, 2, 3, 232], 1002),
        ("a fragmented ping", frame(0x09, b""), 1002),
        ("a fragmented close", frame(0x08, &[3, 232]), 1002),
        ("a ping of 126", frame(0x89, &[0; 126]), 1002),
        ("a close of 126", frame(0x88, &[3; 126]), 1002),
        ("16 bits for 125", with_length(0x81, &[0xfe, 0, 125], &[b' '; 125]), 1002),
        ("64 bits for 65535", with_length(0x81, &[0xff, 0, 0, 0, 0, 0, 0, 255, 255], &[]), 1002),
        ("the top bit of 64", with_length(0x81, &[0xff, 128, 0, 0, 0, 0, 0, 0, 1], &[]), 1009),
        ("a stray continuation", frame(0x80, PING), 1002),
        ("an open stray continuation", frame(0x00, PING), 1002),
        ("a text in a text", [frame(0x01, b"{"), frame(0x81, PING)].concat(), 1002),
        ("a binary in a text", [frame(0x01, b"{"), frame(0x82, b"")].concat(), 1002),
        ("a binary", frame(0x82, PING), 1003),
        ("an empty binary", frame(0x82, b""), 1003),
        ("the start of a binary", frame(0x02, b"\x01"), 1003),
        ("bad UTF-8", frame(0x81, b"\"\xff\""), 1007),
        ("an overlong form", frame(0x81, b"\"\xc0\xaf\""), 1007),
        ("a surrogate", frame(0x81, b"\"\xed\xa0\x80\""), 1007),
        ("beyond Unicode", frame(0x81, b"\"\xf4\x90\x80\x80\""), 1007),
        ("a cut character", frame(0x81, &e[..1]), 1007),
        ("bad UTF-8 in a fragment, not ended", frame(0x01, b"\xff"), 1007),
        ("bad UTF-8 across frames", [frame(0x01, b"\"\xe2\x82"), frame(0x00, b"\x28")].concat(), 1007),
        ("bad UTF-8 before its frame is complete", with_length(0x81, &[0xfe, 1, 0], b"\xff"), 1007),
        ("bad UTF-8 in a reason", frame(0x88, b"\x03\xe8\xff"), 1007),
        ("a close of one byte", frame(0x88, &[3]), 1002),
    ];
    let node = Node::start(&[]);
    for (what, bytes, code) in cases {
        for step in [bytes.len(), 1] {
            let mut client = Client::live(&node, "u", "admin", &["orders"]);
            for piece in bytes.chunks(step) {
                // A frame that is refused at its header may be cut off by the close.
                if std::io::Write::write_all(&mut client.stream, piece).is_err() {
                    break;
                }
            }
            let (got, closing) = client.expect_close();
            assert_eq!(got, *code, "{what}, in steps of {step}");
            assert_eq!(closing["data"]["retry"], false, "{what}");
            assert_eq!(client.passed(), [] as [Value; 0], "{what}");
        }
    }
    let mut alive = Client::live(&node, "u", "admin", &["orders"]);
    alive.sync();
}

#[test]
fn a_character_may_be_cut_by_a_fragment() {
    let node = Node::start(&[]);
    let mut client = Client::live(&node, "u", "admin", &[]);
    let text = "{\"type\":\"ping\",\"id\":\"f\",\"x\":\"\u{e9}\u{20ac}\u{1f600}\u{10ffff}\"}".as_bytes();
    for cut in 1..text.len() {
        client.send_raw(&[frame(0x01, &text[..cut]), frame(0x80, &text[cut..])].concat());
        expect_pong(&mut client);
    }
}

#[test]
fn a_close_code_that_no_peer_may_send_is_a_protocol_error() {
    let node = Node::start(&[]);
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let mut client = Client::live(&node, "u", "admin", &[]);
        client.send_raw(&frame(0x88, &code.to_be_bytes()));
        assert_eq!(client.expect_close().0, 1002, "{code}");
    }
    for code in [1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999] {
        let mut client = Client::live(&node, "u", "admin", &[]);
        client.send_raw(&frame(0x88, &code.to_be_bytes()));
        assert_eq!(client.next(), Frame::Close(code, String::new()), "{code}");
    }
}

#[test]
fn what_comes_after_an_error_is_not_looked_at() {
    let node = Node::start(&[]);
    let mut client = Client::live(&node, "u", "customer", &[]);
    let mut boss = Client::live(&node, "boss", "admin", &["customers"]);
    let publish = json!({"type": "publish", "data": {"type": "customer:viewing_product",
        "data": {"productId": "p", "productName": "n"}}});
    client.send_raw(&[frame(0x82, b"x"), frame(0x81, publish.to_string().as_bytes())].concat());
    assert_eq!(client.expect_close().0, 1003);
    node.settle();
    assert!(boss.sync().iter().all(|e| e["type"] == "customer:online" || e["type"] == "customer:offline"));
}
