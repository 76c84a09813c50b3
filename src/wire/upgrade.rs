//! The opening handshake of a WebSocket, server side (RFC 6455 section 4.2).

use crate::wire::extension::Deflate;
use crate::wire::head::{BodyLength, Duplicate, Head, body_length};
use tungstenite::handshake::derive_accept_key;

/// Length of a `Sec-WebSocket-Key`: 16 bytes in base64.
const KEY_CHARS: usize = 24;

/// A handshake that can be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: String,
    /// What was agreed about compression: by itself nothing, see [`Upgrade::agree_on_deflate`].
    pub deflate: Option<Deflate>,
}

impl Upgrade {
    /// Agrees to compress, where the client offers it in a way that can be taken.
    pub fn agree_on_deflate(&mut self, head: &Head<'_>) {
        self.deflate = Deflate::agree(head.all("sec-websocket-extensions"));
    }
}

/// Why a request to the WebSocket path is not upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeFault {
    /// A plain request: 426 with `Upgrade: websocket`.
    NotAnUpgrade,
    /// Another version of the protocol: 426 with `Sec-WebSocket-Version: 13`.
    WrongVersion,
    /// A handshake gone wrong, and what of it: 400.
    Malformed(&'static str),
    /// Not `GET`: 405.
    Method,
}

impl UpgradeFault {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            UpgradeFault::NotAnUpgrade | UpgradeFault::WrongVersion => 426,
            UpgradeFault::Malformed(_) => 400,
            UpgradeFault::Method => 405,
        }
    }
}

/// Checks everything that RFC 6455 section 4.2.1 asks for but the origin.
///
/// # Errors
/// See [`UpgradeFault`]. The version is looked at before the key: an older client has another one.
pub fn check_upgrade(head: &Head<'_>) -> Result<Upgrade, UpgradeFault> {
    if head.method != "GET" {
        return Err(UpgradeFault::Method);
    }
    let upgrade = once(head, "upgrade", "more than one Upgrade header")?;
    let speaks_websocket = head.headers().any(|(name, _)| is_websocket_header(name));
    if upgrade.is_none() && !speaks_websocket {
        return Err(UpgradeFault::NotAnUpgrade);
    }
    if head.version == 0 {
        return Err(UpgradeFault::Malformed("an upgrade needs HTTP/1.1"));
    }
    if !head.has_token("upgrade", "websocket") {
        return Err(UpgradeFault::Malformed("no Upgrade: websocket header"));
    }
    if !head.has_token("connection", "upgrade") {
        return Err(UpgradeFault::Malformed("no Connection: Upgrade header"));
    }
    match once(head, "sec-websocket-version", "more than one Sec-WebSocket-Version header")? {
        Some(b"13") => {}
        Some(_) => return Err(UpgradeFault::WrongVersion),
        None => return Err(UpgradeFault::Malformed("no Sec-WebSocket-Version header")),
    }
    let key = once(head, "sec-websocket-key", "more than one Sec-WebSocket-Key header")?
        .ok_or(UpgradeFault::Malformed("no Sec-WebSocket-Key header"))?;
    if !is_key(key) {
        return Err(UpgradeFault::Malformed("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    match body_length(head) {
        Ok(BodyLength::None | BodyLength::Known(0)) => {
            Ok(Upgrade { accept: derive_accept_key(key), deflate: None })
        }
        _ => Err(UpgradeFault::Malformed("an upgrade has no body")),
    }
}

/// Appends the 101 response.
pub fn accept_response(upgrade: &Upgrade, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(upgrade.accept.as_bytes());
    if let Some(deflate) = upgrade.deflate {
        out.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
        out.extend_from_slice(deflate.answer().as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

fn once<'b>(head: &Head<'b>, name: &str, fault: &'static str) -> Result<Option<&'b [u8]>, UpgradeFault> {
    head.one(name).map_err(|Duplicate| UpgradeFault::Malformed(fault))
}

fn is_websocket_header(name: &str) -> bool {
    const PREFIX: &str = "sec-websocket-";
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Whether `key` decodes to 16 bytes. The four spare bits of its last digit may be anything:
/// decoders differ on them, and the answer is derived from the text.
fn is_key(key: &[u8]) -> bool {
    key.len() == KEY_CHARS
        && key.strip_suffix(b"==").is_some_and(|digits| {
            digits.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::head::parse;

    const GOOD: [&str; 5] = [
        "Host: h",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ];

    fn check(request_line: &str, lines: &[&str]) -> Result<Upgrade, UpgradeFault> {
        let text = format!("{request_line}\r\n{}\r\n\r\n", lines.join("\r\n"));
        check_upgrade(&parse(text.as_bytes()).unwrap())
    }

    /// The good lines with the one that begins like `line` replaced (or `line` added).
    fn but<'a>(lines: &[&'a str]) -> Vec<&'a str> {
        let name = |line: &str| line.split(':').next().unwrap().to_owned();
        let mut all: Vec<&str> =
            GOOD.iter().filter(|good| lines.iter().all(|line| name(line) != name(good))).copied().collect();
        all.extend(lines.iter().filter(|line| line.contains(": ")));
        all
    }

    #[test]
    fn the_example_of_the_rfc() {
        let upgrade = check("GET /chat HTTP/1.1", &GOOD).unwrap();
        assert_eq!(upgrade.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut out = Vec::new();
        accept_response(&upgrade, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 101 ")
                && text.ends_with("Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
        );
    }

    #[test]
    fn an_extension_is_agreed_on_only_where_the_node_asks_for_it() {
        let offer = "Sec-WebSocket-Extensions: x, permessage-deflate; client_max_window_bits";
        let text = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", but(&[offer]).join("\r\n"));
        let head = parse(text.as_bytes()).unwrap();
        let mut upgrade = check_upgrade(&head).unwrap();
        let answer = |upgrade: &Upgrade| {
            let mut out = Vec::new();
            accept_response(upgrade, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert!(!answer(&upgrade).contains("Extensions"));
        upgrade.agree_on_deflate(&head);
        let line = "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
            client_no_context_takeover\r\n\r\n";
        assert!(answer(&upgrade).ends_with(line), "{}", answer(&upgrade));
    }

    #[test]
    fn takes_what_is_legal() {
        for lines in [
            vec!["Connection: keep-alive", "Connection: upgrade"],
            vec!["Connection: keep-alive, Upgrade"],
            vec!["Upgrade: h2c, WebSocket"],
            vec!["Content-Length: 0"],
            vec!["Sec-WebSocket-Extensions: permessage-deflate"],
        ] {
            assert!(check("GET / HTTP/1.1", &but(&lines)).is_ok(), "{lines:?}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        use UpgradeFault::{Method, NotAnUpgrade, WrongVersion};
        assert_eq!(check("POST / HTTP/1.1", &GOOD), Err(Method));
        assert_eq!(check("get / HTTP/1.1", &GOOD), Err(Method));
        assert_eq!(check("GET / HTTP/1.1", &["Host: h"]), Err(NotAnUpgrade));
        assert_eq!(check("GET / HTTP/1.1", &["Host: h", "Connection: Upgrade"]), Err(NotAnUpgrade));
        assert_eq!(
            check("GET / HTTP/1.1", &but(&["Sec-WebSocket-Version: 8", "Sec-WebSocket-Key:"])),
            Err(WrongVersion)
        );
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        for lines in [
            vec!["Upgrade:"],
            vec!["Upgrade: h2c"],
            vec!["Upgrade: websocket", "Upgrade: websocket"],
            vec!["Connection:"],
            vec!["Connection: close"],
            vec!["Sec-WebSocket-Key:"],
            vec!["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ="],
            vec!["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQQ="],
            vec!["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub2 jZQ=="],
            vec![key, key],
            vec!["Sec-WebSocket-Version:"],
            vec!["Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"],
            vec!["Content-Length: 1"],
            vec!["Transfer-Encoding: chunked"],
            vec!["Content-Length: x"],
        ] {
            let outcome = check("GET / HTTP/1.1", &but(&lines));
            assert!(matches!(outcome, Err(UpgradeFault::Malformed(_))), "{lines:?}: {outcome:?}");
        }
        assert!(matches!(check("GET / HTTP/1.0", &GOOD), Err(UpgradeFault::Malformed(_))));
        // Whatever subset of the headers is there.
        for subset in 0..1u32 << GOOD.len() {
            let lines: Vec<&str> = GOOD
                .iter()
                .enumerate()
                .filter(|(i, _)| subset >> i & 1 == 1)
                .map(|(_, line)| *line)
                .collect();
            let text = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
            let upgraded = parse(text.as_bytes()).is_ok_and(|head| check_upgrade(&head).is_ok());
            assert_eq!(upgraded, lines.len() == GOOD.len());
        }
    }
}
