//! The echo of a build for conformance tests: `cargo test --features conformance --test conformance`.
//! The suite that needs it is started by `tests/conformance/run`.
#![cfg(feature = "conformance")]

#[path = "../support/mod.rs"]
mod support;

use std::net::TcpStream;
use support::Node;
use tungstenite::protocol::frame::{
    Frame,
    coding::{CloseCode, Data, OpCode},
};
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, WebSocket};

const MIB: usize = 1 << 20;

fn echo(node: &Node, path: &str) -> WebSocket<TcpStream> {
    let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
    let stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let url = format!("ws://{}{path}", node.address);
    tungstenite::client::client_with_config(url, stream, Some(config)).unwrap().0
}

/// Sends `payload` in `count` fragments of the same size.
fn send_fragments(client: &mut WebSocket<TcpStream>, first: Data, payload: &[u8], count: usize) {
    let size = payload.len() / count;
    for (i, piece) in payload.chunks(size).enumerate() {
        let opcode = OpCode::Data(if i == 0 { first } else { Data::Continue });
        client.write(Message::Frame(Frame::message(piece.to_vec(), opcode, i == count - 1))).unwrap();
    }
    client.flush().unwrap();
}

#[test]
fn every_message_comes_back_as_it_was() {
    let node = Node::start(&[("WS_MAX_BACKLOG", "67108864"), ("WS_RATE_LIMIT", "1000000")]);
    let mut client = echo(&node, "/conformance/echo");
    for size in [0, 1, 125, 126, 65_535, 65_536, 16 * MIB] {
        for message in [Message::binary(vec![0xff; size]), Message::text("x".repeat(size))] {
            client.send(message.clone()).unwrap();
            assert!(client.read().unwrap() == message, "{size}");
        }
    }
    for (first, byte) in [(Data::Text, b'x'), (Data::Binary, 0xff)] {
        let payload = vec![byte; 16 * MIB];
        send_fragments(&mut client, first, &payload, 65_536);
        assert!(client.read().unwrap().into_data() == payload);
    }
}

#[test]
fn the_echo_has_room_for_16_mib_and_the_others_what_they_always_had() {
    let node = Node::start(&[]);
    for (path, size, code) in [
        ("/conformance/echo", 16 * MIB + 1, CloseCode::Size),
        ("/api/ws", 4097, CloseCode::Size),
        ("/api/ws", 1, CloseCode::Unsupported),
    ] {
        let mut client = echo(&node, path);
        // Refused at its header; the rest may not be taken any more.
        let _ = client.send(Message::binary(vec![0; size]));
        let close = loop {
            match client.read() {
                Ok(Message::Close(Some(CloseFrame { code, .. }))) => break code,
                Ok(Message::Ping(_)) => {}
                Ok(Message::Text(text)) if path == "/api/ws" => assert!(text.contains("closing"), "{text}"),
                other => panic!("{path}: {other:?}"),
            }
        };
        assert_eq!(close, code, "{path} {size}");
    }
}
