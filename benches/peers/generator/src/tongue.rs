//! What clients and servers say to each other besides events: one small adapter for each kind of server.

use crate::event::{self, Stamp};
use crate::frames::client_frame;

/// A server's own protocol within WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// None: whoever is upgraded gets every event.
    Plain,
    /// The client protocol of NATS, <https://docs.nats.io/reference/reference-protocols/nats-protocol>.
    Nats,
    /// Engine.IO 4 and Socket.IO 5 packets.
    SocketIo,
    /// The Pusher channels protocol, version 7.
    Pusher,
    /// The node's: authenticated and subscribed.
    Omnicast,
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// What a word of the server without an event in it asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The client is subscribed: it is ready.
    Ready,
    /// It answered, and is not ready yet or was long before.
    Fine,
    /// The server refused something.
    Refused,
}

impl Tongue {
    /// The tongue of that name.
    pub fn named(name: &str) -> Option<Tongue> {
        Some(match name {
            "plain" => Tongue::Plain,
            "nats" => Tongue::Nats,
            "socketio" => Tongue::SocketIo,
            "pusher" => Tongue::Pusher,
            "omnicast" => Tongue::Omnicast,
            _ => return None,
        })
    }

    /// Whether a client is ready once it is upgraded.
    pub fn is_silent(self) -> bool {
        self == Tongue::Plain
    }

    /// Whether payloads of frames are one stream, in which a frame may end anywhere.
    pub fn is_stream(self) -> bool {
        self == Tongue::Nats
    }

    /// What a client says as soon as it is upgraded.
    pub fn greet(self, client: usize, subscribes: bool, wall_ms: u64, out: &mut Vec<u8>) {
        match self {
            Tongue::Plain | Tongue::SocketIo | Tongue::Pusher => {} // The server speaks first.
            Tongue::Nats => {
                let subscribe = if subscribes { "SUB inventory 1\r\n" } else { "" };
                let words =
                    format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\n{subscribe}PING\r\n");
                client_frame(BINARY, words.as_bytes(), out);
            }
            Tongue::Omnicast => {
                let expires = wall_ms + 86_400_000;
                let auth = format!(
                    r#"{{"type":"auth","data":{{"userId":"user_{client:06}","role":"staff","sessionId":"session_{client:06}","expiresAt":{expires}}}}}"#
                );
                client_frame(TEXT, auth.as_bytes(), out);
                client_frame(TEXT, br#"{"type":"subscribe","data":{"namespaces":["inventory"]}}"#, out);
            }
        }
    }

    /// Takes words without an event.
    pub fn hear(self, words: &[u8], subscribes: bool, out: &mut Vec<u8>) -> Heard {
        let has = |mark: &str| memchr::memmem::find(words, mark.as_bytes()).is_some();
        let mut ready = false;
        match self {
            Tongue::Plain => {}
            Tongue::Nats => {
                if has("-ERR") {
                    return Heard::Refused;
                }
                ready = has("PONG\r\n");
                if has("PING\r\n") {
                    client_frame(BINARY, b"PONG\r\n", out);
                }
            }
            Tongue::SocketIo if words == b"2" => client_frame(TEXT, b"3", out),
            Tongue::SocketIo if words.starts_with(b"0") => client_frame(TEXT, b"40", out),
            Tongue::SocketIo if words.starts_with(b"40") && subscribes => {
                client_frame(TEXT, br#"420["subscribe","inventory"]"#, out);
            }
            Tongue::SocketIo if words.starts_with(b"44") => return Heard::Refused,
            Tongue::SocketIo => ready = words.starts_with(b"40") || words.starts_with(b"430"),
            Tongue::Pusher => {
                if has("pusher:ping") {
                    client_frame(TEXT, br#"{"event":"pusher:pong","data":{}}"#, out);
                } else if has("pusher:connection_established") {
                    client_frame(
                        TEXT,
                        br#"{"event":"pusher:subscribe","data":{"channel":"inventory"}}"#,
                        out,
                    );
                } else if has("pusher:error") {
                    return Heard::Refused;
                }
                ready = has("subscription_succeeded");
            }
            Tongue::Omnicast => {
                if has(r#""type":"error""#) {
                    return Heard::Refused;
                }
                ready = has(r#""type":"subscribed""#);
            }
        }
        if ready { Heard::Ready } else { Heard::Fine }
    }

    /// An event as it is published over WebSocket.
    pub fn publish(self, stamp: Stamp, out: &mut Vec<u8>) {
        match self {
            Tongue::Nats => {
                let event = event::event(stamp);
                client_frame(BINARY, format!("PUB inventory {}\r\n{event}\r\n", event.len()).as_bytes(), out);
            }
            Tongue::SocketIo => {
                client_frame(TEXT, format!(r#"42["publish",{}]"#, event::data(stamp)).as_bytes(), out);
            }
            Tongue::Plain | Tongue::Pusher | Tongue::Omnicast => {
                client_frame(TEXT, event::event(stamp).as_bytes(), out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tongue_knows_its_words() {
        let cases: [(Tongue, &str, Heard, &str); 12] = [
            (Tongue::Nats, "INFO {}\r\n", Heard::Fine, ""),
            (Tongue::Nats, "PONG\r\n", Heard::Ready, ""),
            (Tongue::Nats, "tail\"}\r\nPING\r\n", Heard::Fine, "PONG\r\n"),
            (Tongue::Nats, "-ERR 'Slow Consumer'\r\n", Heard::Refused, ""),
            (Tongue::SocketIo, r#"0{"sid":"a"}"#, Heard::Fine, "40"),
            (Tongue::SocketIo, r#"40{"sid":"a"}"#, Heard::Fine, r#"420["subscribe","inventory"]"#),
            (Tongue::SocketIo, "430[]", Heard::Ready, ""),
            (Tongue::SocketIo, "2", Heard::Fine, "3"),
            (Tongue::Pusher, r#"{"event":"pusher_internal:subscription_succeeded"}"#, Heard::Ready, ""),
            (Tongue::Pusher, r#"{"event":"pusher:error","data":{}}"#, Heard::Refused, ""),
            (Tongue::Omnicast, r#"{"type":"subscribed","data":{}}"#, Heard::Ready, ""),
            (Tongue::Omnicast, r#"{"type":"error","data":{}}"#, Heard::Refused, ""),
        ];
        for (tongue, words, heard, answer) in cases {
            let mut out = Vec::new();
            assert_eq!(tongue.hear(words.as_bytes(), true, &mut out), heard, "{words}");
            let said = out.get(6..).unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(said), answer, "{words}");
        }
    }
}
