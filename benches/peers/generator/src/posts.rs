//! Events as HTTP requests, and the answers to them. Pure.

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;

use crate::event::{self, Stamp};
use crate::frames::head_end;

/// Whom posts are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Office {
    /// The control API of the node, with this bearer token, see [`NODE_TOKEN`].
    Node,
    /// The same, many events as lines of one body.
    NodeLines,
    /// The HTTP API of Pusher: each request is signed.
    Pusher,
}

/// The bearer token that the node is started with.
pub const NODE_TOKEN: &str = "omnicast-peers-bench";

/// App id, key and secret that a Pusher server is started with.
const PUSHER_APP: (&str, &str, &str) = ("bench", "bench-key", "bench-secret");

/// Lines in one body at most.
const LINES_MAX: usize = 256;

impl Office {
    /// How many of the waiting events go into the next request.
    pub fn batch(self, waiting: usize) -> usize {
        if self == Office::NodeLines { waiting.min(LINES_MAX) } else { waiting.min(1) }
    }

    /// Appends a request with these events.
    pub fn request(self, events: &[Stamp], wall_s: u64, out: &mut Vec<u8>) {
        let node =
            |stamp: &Stamp| format!("{{\"type\":\"inventory:updated\",\"data\":{}}}\n", event::data(*stamp));
        match self {
            Office::Node | Office::NodeLines => {
                let body: String = events.iter().map(node).collect();
                let body = body.trim_end();
                let head = format!(
                    "POST /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {NODE_TOKEN}\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(body.as_bytes());
            }
            Office::Pusher => {
                for stamp in events {
                    pusher(&event::data(*stamp), wall_s, out);
                }
            }
        }
    }
}

/// One event, signed as <https://pusher.com/docs/channels/library_auth_reference/rest-api/> says.
fn pusher(data: &str, wall_s: u64, out: &mut Vec<u8>) {
    let (app, key, secret) = PUSHER_APP;
    let text = serde_json::Value::from(data);
    let body = format!(r#"{{"name":"inventory:updated","channel":"inventory","data":{text}}}"#);
    let path = format!("/apps/{app}/events");
    let query = format!(
        "auth_key={key}&auth_timestamp={wall_s}&auth_version=1.0&body_md5={}",
        hex(&Md5::digest(body.as_bytes()))
    );
    let mut hmac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    hmac.update(format!("POST\n{path}\n{query}").as_bytes());
    let signature = hex(&hmac.finalize().into_bytes());
    let head = format!(
        "POST {path}?{query}&auth_signature={signature} HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body.as_bytes());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An answer in a buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Where it ends.
    pub end: usize,
    /// Whether the server closes behind it.
    pub closes: bool,
}

/// The first answer of `bytes`, if all of it is there. Bodies have a length: no server here answers in chunks.
pub fn answer(bytes: &[u8]) -> Option<Answer> {
    let body = head_end(bytes)?;
    let head = String::from_utf8_lossy(&bytes[..body]).to_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let length: usize = field("content-length").and_then(|value| value.trim().parse().ok()).unwrap_or(0);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let closes = field("connection").is_some_and(|value| value.trim() == "close");
    (body + length <= bytes.len()).then_some(Answer { status, end: body + length, closes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_all_of_it_is_there() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabcHTTP/1.1 2";
        let end = bytes.len() - 10;
        assert_eq!(answer(bytes), Some(Answer { status: 200, end, closes: true }));
        assert_eq!(answer(&bytes[..end - 1]), None);
        assert_eq!(answer(&bytes[end..]), None);
    }

    #[test]
    fn lines_share_a_request_and_single_events_do_not() {
        let events = [Stamp { seq: 1, due_ns: 2 }, Stamp { seq: 2, due_ns: 3 }];
        assert_eq!(
            (Office::Node.batch(9), Office::NodeLines.batch(9), Office::NodeLines.batch(999)),
            (1, 9, 256)
        );
        let mut out = Vec::new();
        Office::NodeLines.request(&events, 0, &mut out);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert_eq!(body.lines().count(), 2);
        assert!(body.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }
}
