//! What a client says: read as a command, and said to a shard before and after `auth`.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};

use omnicast::base::slots::Id;
use omnicast::shard::core::{Wires, Wrote};
use omnicast::wire::command::{Body, parse};
use omnicast::wire::reply;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::rng::Rng;
use crate::world::{SECRET, World};

/// A socket that takes everything.
#[derive(Default)]
struct Socket(Vec<u8>);

impl Wires for Socket {
    fn write(&mut self, _: u32, slices: &[IoSlice<'_>]) -> Wrote {
        slices.iter().for_each(|slice| self.0.extend_from_slice(slice));
        Wrote::Bytes(slices.iter().map(|slice| slice.len()).sum())
    }
    fn shut(&mut self, _: u32) {}
    fn drop(&mut self, _: u32, _: bool) {}
}

fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0xff];
    match text.len() {
        len @ 0..126 => frame[1] = 0x80 | len as u8,
        len @ 126..0x1_0000 => {
            frame[1] = 0x80 | 126;
            frame.extend((len as u16).to_be_bytes());
        }
        len => frame.extend((len as u64).to_be_bytes()),
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// The payloads of the text frames in what the node wrote; whole frames, and no other but closes.
fn texts(mut wire: &[u8]) -> Vec<Value> {
    let mut texts = Vec::new();
    while let [first, second, rest @ ..] = wire {
        let (len, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            len => (usize::from(*len), rest),
        };
        match first {
            0x81 => texts.push(serde_json::from_slice(&rest[..len]).expect("the node writes JSON")),
            first => assert_eq!(*first, 0x88, "a close"),
        }
        wire = &rest[len..];
    }
    texts
}

fn say(world: &mut World, id: Id, bytes: &mut [u8]) -> Vec<u8> {
    let mut socket = Socket::default();
    world.core.handle_bytes(id, bytes, world.now);
    while world.core.flush(&mut socket, world.now) {}
    world.core.retire(&mut socket);
    world.core.check_invariants();
    socket.0
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = parse(text);
    match &parsed {
        Ok(command) => {
            serde_json::from_str::<IgnoredAny>(text).expect("what is no JSON is no command");
            if let Some(id) = command.id {
                serde_json::from_str::<IgnoredAny>(id).expect("an id is echoed as it is");
            }
            if let Body::Auth(data) | Body::Publish { data, .. } = &command.body {
                assert!(data.starts_with('{'), "data is an object");
                serde_json::from_str::<IgnoredAny>(data).expect("data is JSON");
            }
        }
        Err(fault) => {
            assert!(!fault.message.is_empty());
            let error = reply::error(fault.id, fault.code.into(), &fault.message, &[]);
            serde_json::from_str::<IgnoredAny>(&error).expect("a refusal is JSON");
        }
    }

    let mut world = World::new(Rng::new(1));
    let id = world.core.welcome(IpAddr::from(Ipv4Addr::LOCALHOST), world.now);
    let mut upgrade = *b"GET /api/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert!(say(&mut world, id, &mut upgrade).starts_with(b"HTTP/1.1 101 "));
    let early = texts(&say(&mut world, id, &mut text_frame(text)));
    assert!(
        early.iter().all(|reply| matches!(reply["type"].as_str(), Some("error" | "closing"))),
        "{early:?}"
    );
    if !early.iter().any(|reply| reply["type"] == "closing") {
        let claims = omnicast::policy::Claims {
            sub: "u".into(),
            role: "admin".into(),
            sid: "s".into(),
            exp: world.now.wall / 1000 + 600,
            nbf: None,
        };
        let token = omnicast::policy::mint_hs256(SECRET, &claims);
        let auth = format!(r#"{{"type":"auth","data":{{"token":"{token}"}}}}"#);
        let welcome = texts(&say(&mut world, id, &mut text_frame(&auth)));
        assert_eq!(welcome[0]["data"]["userId"], "u", "{welcome:?}");
        let replies = texts(&say(&mut world, id, &mut text_frame(text)));
        assert!(!replies.is_empty() || !world.core.reports().is_empty(), "every command is answered");
        if let Some(id) = parsed.as_ref().map_or_else(|fault| fault.id, |command| command.id)
            && let Ok(id) = serde_json::from_str::<Value>(id)
            && let Some(first) = replies.first()
        {
            let echoed = if first["type"] == "closing" { &id } else { &first["id"] };
            assert_eq!(*echoed, id, "{replies:?}");
        }
    }
}
