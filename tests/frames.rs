//! Pairs: tungstenite's client against our reading and writing, over memory, in any chunking.

use omnicast::wire::envelope::encode_event;
use omnicast::wire::frame::{Control, encode_close, encode_control, encode_text, next_boundary};
use omnicast::wire::head;
use omnicast::wire::message::{Assembler, Flow, Item, Sink};
use omnicast::wire::upgrade::{accept_response, check_upgrade};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};
use tungstenite::{ClientHandshake, Message, WebSocket, client::IntoClientRequest};

/// Sizes around the steps of the length encoding.
const SIZES: [usize; 7] = [0, 1, 125, 126, 65535, 65536, 70000];

/// The client's end of two byte queues.
#[derive(Clone, Default)]
struct Pipe {
    to_client: Rc<RefCell<VecDeque<u8>>>,
    from_client: Rc<RefCell<Vec<u8>>>,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut queue = self.to_client.borrow_mut();
        if queue.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { queue.read(buf) }
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.from_client.borrow_mut().extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn client() -> (WebSocket<Pipe>, Pipe) {
    let pipe = Pipe::default();
    let config = WebSocketConfig::default().read_buffer_size(4096);
    (WebSocket::from_raw_socket(pipe.clone(), Role::Client, Some(config)), pipe)
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary,
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

#[derive(Default)]
struct Recorder(Vec<Seen>);

impl Sink for Recorder {
    fn limit(&self) -> usize {
        1 << 20
    }

    fn item(&mut self, item: Item<'_>) -> Flow {
        self.0.push(match item {
            Item::Text(text) => Seen::Text(text.to_owned()),
            Item::Binary => Seen::Binary,
            Item::Ping(payload) => Seen::Ping(payload.to_owned()),
            Item::Pong(payload) => Seen::Pong(payload.to_owned()),
            Item::Close { code, reason } => Seen::Close(code, reason.to_owned()),
        });
        Flow::Go
    }

    fn empty_fragment(&mut self) -> Flow {
        Flow::Go
    }
}

/// What we read of `bytes` that come `step` at a time.
fn read_all(bytes: &[u8], step: usize) -> Vec<Seen> {
    let mut assembler = Assembler::default();
    let mut seen = Recorder::default();
    for piece in bytes.chunks(step) {
        assembler
            .feed(&mut piece.to_vec(), None, &mut seen)
            .expect("a client of the library keeps the rules");
    }
    seen.0
}

#[test]
fn what_the_client_sends_we_read() {
    let (mut client, pipe) = client();
    let mut expected = Vec::new();
    for size in SIZES {
        let text = "\u{e9}".repeat(size / 2) + &"x".repeat(size % 2);
        client.send(Message::text(text.clone())).unwrap();
        expected.push(Seen::Text(text));
        client.send(Message::binary(vec![0xff; size])).unwrap();
        expected.push(Seen::Binary);
        let payload = vec![size as u8; size.min(125)];
        client.send(Message::Ping(payload.clone().into())).unwrap();
        expected.push(Seen::Ping(payload.clone()));
        client.send(Message::Pong(payload.clone().into())).unwrap();
        expected.push(Seen::Pong(payload));
    }
    client.close(Some(CloseFrame { code: CloseCode::Library(4000), reason: "b\u{fc}".into() })).unwrap();
    expected.push(Seen::Close(Some(4000), "b\u{fc}".into()));
    let bytes = pipe.from_client.borrow();
    for step in [1, 2, 3, 7, 13, 125, 4096, 65536, usize::MAX] {
        assert!(read_all(&bytes, step) == expected, "in steps of {step}");
    }
}

/// What the client reads of `bytes` that come `step` at a time.
fn client_reads(bytes: &[u8], step: usize) -> Vec<Message> {
    let (mut client, pipe) = client();
    let mut got = Vec::new();
    for piece in bytes.chunks(step) {
        pipe.to_client.borrow_mut().extend(piece);
        loop {
            match client.read() {
                Ok(message) => got.push(message),
                Err(tungstenite::Error::Io(fault)) if fault.kind() == ErrorKind::WouldBlock => break,
                Err(tungstenite::Error::ConnectionClosed) => return got,
                Err(fault) => panic!("the client refuses what we wrote: {fault}"),
            }
        }
    }
    got
}

#[test]
fn what_we_write_the_client_reads() {
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for size in SIZES {
        let text = "y".repeat(size);
        bytes.extend(encode_text(text.as_bytes()));
        expected.push(Message::text(text));
        let payload = vec![7; size.min(125)];
        bytes.extend(encode_control(Control::Ping, &payload));
        expected.push(Message::Ping(payload.clone().into()));
        bytes.extend(encode_control(Control::Pong, &payload));
        expected.push(Message::Pong(payload.into()));
        let data = format!("{{\"x\":\"{}\"}}", "z".repeat(size));
        bytes.extend(encode_event("order:created", "orders", &data, 1, "2"));
        let event = r#"{"type":"order:created","namespace":"orders","data":DATA,"timestamp":1,"id":"2"}"#;
        expected.push(Message::text(event.replace("DATA", &data)));
    }
    let reason = "\u{20ac}".repeat(50);
    bytes.extend(encode_close(4103, &reason));
    expected.push(Message::Close(Some(CloseFrame {
        code: CloseCode::Library(4103),
        reason: reason[..123].to_owned().into(),
    })));
    for step in [1, 3, 126, 4096, 65536, usize::MAX] {
        assert!(client_reads(&bytes, step) == expected, "in steps of {step}");
    }
    // A stream may end at any boundary, and only there.
    let first = next_boundary(&bytes, 1);
    assert_eq!(client_reads(&bytes[..first], usize::MAX), expected[..1]);
    let cut = next_boundary(&bytes, bytes.len() / 2);
    let got = client_reads(&bytes[..cut], usize::MAX);
    assert!(got == expected[..got.len()] && client_reads(&bytes[..cut - 1], usize::MAX).len() < got.len());
}

#[test]
fn the_client_accepts_our_handshake() {
    let pipe = Pipe::default();
    let request = "ws://shop.example:3001/api/ws".into_client_request().unwrap();
    let start = ClientHandshake::start(pipe.clone(), request, None).unwrap();
    let Err(HandshakeError::Interrupted(waiting)) = start.handshake() else {
        panic!("it waits for our answer")
    };
    let sent = pipe.from_client.borrow().clone();
    let mut scanned = 0;
    assert_eq!(head::find_end(&sent, &mut scanned), Some(sent.len()));
    let head = head::parse(&sent).unwrap();
    assert_eq!((head.path(), head.one("host")), ("/api/ws", Ok(Some(&b"shop.example:3001"[..]))));
    let mut answer = Vec::new();
    accept_response(&check_upgrade(&head).unwrap(), &mut answer);
    answer.extend(encode_text(b"at once"));
    pipe.to_client.borrow_mut().extend(answer);
    let Ok((mut client, _)) = waiting.handshake() else { panic!("the client refuses our answer") };
    assert_eq!(client.read().unwrap(), Message::text("at once"));
}

proptest! {
    #[test]
    fn any_text_in_any_chunking(
        texts in proptest::collection::vec("\\PC{0,200}", 1..5), step in 1usize..300,
    ) {
        let (mut client, pipe) = client();
        let mut bytes = Vec::new();
        for text in &texts {
            client.send(Message::text(text.clone())).unwrap();
            bytes.extend(encode_text(text.as_bytes()));
        }
        let seen: Vec<Seen> = texts.iter().cloned().map(Seen::Text).collect();
        prop_assert_eq!(read_all(&pipe.from_client.borrow(), step), seen);
        let messages: Vec<Message> = texts.into_iter().map(Message::text).collect();
        prop_assert_eq!(client_reads(&bytes, step), messages);
    }
}
