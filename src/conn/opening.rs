//! From the first byte to the upgrade, or to the answer of a plain HTTP request.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::conn::machine::{Changes, Conn, Context};
use crate::conn::phase::Phase;
use crate::conn::reason::Ending;
use crate::policy::{Gate, Policy};
use crate::wire::deflate::Codec;
use crate::wire::extension::Deflate;
use crate::wire::head::{self, BodyLength, HEAD_BYTES_MAX, HeadError, body_length};
use crate::wire::response::{Response, error_body};
use crate::wire::upgrade::{UpgradeFault, accept_response, check_upgrade};

/// The part of a request head that has arrived. Exists only while it is incomplete.
#[derive(Debug, Default)]
pub struct Head {
    buf: Vec<u8>,
    scanned: usize,
}

/// How the statistics were asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The allowed origin of the page that asked.
    cors: Option<String>,
    /// By `HEAD`.
    head_only: bool,
}

/// How a request is answered.
pub(crate) struct Answer {
    status: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, Cow<'static, str>)>,
    body: String,
}

impl Answer {
    fn json(status: u16, body: impl Into<String>) -> Answer {
        Answer { status, content_type: "application/json", headers: Vec::new(), body: body.into() }
    }

    fn error(status: u16, code: &str, message: &str) -> Answer {
        Answer::json(status, error_body(code, message))
    }

    fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }
}

/// What a request wants, when it is not just answered.
enum Verdict {
    Answer(Answer),
    Upgrade(crate::wire::upgrade::Upgrade, Phase),
    Stats(Option<String>),
}

impl Conn {
    pub(super) fn handle_opening(
        &mut self,
        input: &mut [u8],
        codec: &mut Codec,
        cx: &Context<'_>,
        changes: &mut Changes,
    ) {
        let mut head = self.head.take().unwrap_or_default();
        if head.buf.is_empty() {
            // The common case: the whole head in one read, parsed where it lies.
            if let Some(end) = head::find_end(input, &mut head.scanned) {
                let (head, rest) = input.split_at_mut(end);
                return self.handle_head(head, rest, codec, cx, changes);
            }
        }
        let room = (HEAD_BYTES_MAX + 1).saturating_sub(head.buf.len());
        head.buf.extend_from_slice(&input[..input.len().min(room)]);
        if let Some(end) = head::find_end(&head.buf, &mut head.scanned) {
            // What follows the head is in `input`; only the head itself had to be kept.
            let before = head.buf.len() - input.len().min(room);
            let rest = end.saturating_sub(before).min(input.len());
            return self.handle_head(&head.buf[..end], &mut input[rest..], codec, cx, changes);
        }
        if head.buf.len() > HEAD_BYTES_MAX {
            return self.refuse_head(HeadError::TooLarge, cx, changes);
        }
        self.head = Some(head);
    }

    fn refuse_head(&mut self, error: HeadError, cx: &Context<'_>, changes: &mut Changes) {
        let answer = match error {
            HeadError::Malformed => Answer::error(400, "bad_request", "the request is not HTTP/1.1"),
            HeadError::TooLarge => Answer::error(431, "head_too_large", "the request head is over 8 KiB"),
            HeadError::TooManyHeaders => Answer::error(431, "too_many_headers", "over 64 header lines"),
        };
        self.respond(&answer, Ending::HttpRefused, false, cx, changes);
    }

    /// The head did not arrive in time.
    pub fn handle_head_timeout(&mut self, cx: &Context<'_>, changes: &mut Changes) {
        let answer = Answer::error(408, "head_timeout", "the request head was not complete in time");
        self.respond(&answer, Ending::HeadTimeout, false, cx, changes);
    }

    /// Too many come from its address. It is told at once, whatever it would have asked: a
    /// socket that is refused anyway must not wait for its head.
    pub fn handle_crowd(&mut self, wait_ms: u64, cx: &Context<'_>, changes: &mut Changes) {
        self.respond(&crowded(wait_ms), Ending::HttpRefused, false, cx, changes);
    }

    /// The statistics that it asked for, or `None` when they could not be had.
    pub fn handle_stats(&mut self, body: Option<&str>, cx: &Context<'_>, changes: &mut Changes) {
        if self.phase != Phase::Asking {
            return;
        }
        let asked = self.asked.take().map(|asked| *asked).unwrap_or_default();
        let answer = match body {
            Some(body) => Answer::json(200, body),
            None => Answer::error(503, "unavailable", "the statistics could not be gathered")
                .with("Retry-After", "1"),
        };
        self.respond(&with_cors(answer, asked.cors), Ending::HttpAnswered, asked.head_only, cx, changes);
    }

    fn respond(
        &mut self,
        answer: &Answer,
        ending: Ending,
        head_only: bool,
        cx: &Context<'_>,
        changes: &mut Changes,
    ) {
        let headers: Vec<(&str, &str)> = answer.headers.iter().map(|(n, v)| (*n, &**v)).collect();
        let mut out = Vec::with_capacity(256 + answer.body.len());
        let response = Response {
            status: answer.status,
            headers: &headers,
            content_type: answer.content_type,
            body: answer.body.as_bytes(),
            close: true,
        };
        if head_only {
            response.encode_head(&mut out)
        } else {
            response.encode(&mut out)
        }
        self.outbox(cx.now).push_raw(out.into());
        self.ending = Some(ending);
        changes.ending = self.ending;
        self.phase = Phase::Draining;
        self.shut = true;
    }

    fn handle_head(
        &mut self,
        bytes: &[u8],
        rest: &mut [u8],
        codec: &mut Codec,
        cx: &Context<'_>,
        changes: &mut Changes,
    ) {
        if bytes.len() > HEAD_BYTES_MAX {
            return self.refuse_head(HeadError::TooLarge, cx, changes);
        }
        let head = match head::parse(bytes) {
            Ok(head) => head,
            Err(error) => return self.refuse_head(error, cx, changes),
        };
        match self.decide(&head, cx) {
            Verdict::Answer(answer) => {
                let ending = if answer.status < 400 { Ending::HttpAnswered } else { Ending::HttpRefused };
                self.respond(&answer, ending, head.method == "HEAD", cx, changes);
            }
            Verdict::Stats(cors) => {
                self.phase = Phase::Asking;
                changes.asked_stats = true;
                self.head = None;
                self.asked = Some(Box::new(Asked { cors, head_only: head.method == "HEAD" }));
            }
            Verdict::Upgrade(upgrade, phase) => {
                let mut out = Vec::with_capacity(160);
                accept_response(&upgrade, &mut out);
                self.outbox(cx.now).push_raw(out.into());
                self.phase = phase;
                self.seated = true;
                self.inflates = upgrade.deflate.is_some();
                self.deflates = upgrade.deflate.is_some_and(Deflate::takes_shared_copies);
                changes.upgraded = true;
                changes.agreed_on_deflate = self.inflates;
                self.handle_frames(rest, codec, cx, changes);
            }
        }
    }

    /// The public listener's one routing table.
    fn decide(&mut self, head: &head::Head<'_>, cx: &Context<'_>) -> Verdict {
        let path = head.path();
        if let Some(phase) = websocket_at(path) {
            return self.decide_upgrade(head, phase, cx);
        }
        let cors = allowed_origin(head, cx).unwrap_or_default();
        let answer = match (path, head.method) {
            ("/api/ws/info" | "/api/ws/stats", "OPTIONS") => Answer::json(204, "")
                .with("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
                .with("Access-Control-Allow-Headers", "Authorization")
                .with("Access-Control-Max-Age", "600"),
            ("/api/ws/info", "GET" | "HEAD") => Answer::json(200, cx.config.info_body(cx.draining)),
            ("/api/ws/stats", "GET" | "HEAD") => match check_stats_right(head, cx).and(check_no_body(head)) {
                Ok(()) => return Verdict::Stats(cors),
                Err(answer) => answer,
            },
            ("/healthz", "GET" | "HEAD") => health(cx, cx.alive),
            ("/readyz", "GET" | "HEAD") => health(cx, cx.alive && cx.ready),
            ("/healthz" | "/readyz", _) => {
                Answer::error(405, "method_not_allowed", "only GET").with("Allow", "GET, HEAD")
            }
            ("/api/ws/info" | "/api/ws/stats", _) => {
                Answer::error(405, "method_not_allowed", "only GET").with("Allow", "GET, HEAD, OPTIONS")
            }
            _ => Answer::error(404, "not_found", "nothing here; the WebSocket is at /api/ws"),
        };
        let answer = match check_no_body(head) {
            Err(refusal) if answer.status < 400 => refusal,
            _ => answer,
        };
        Verdict::Answer(if path.starts_with("/api/ws/") { with_cors(answer, cors) } else { answer })
    }

    fn decide_upgrade(&mut self, head: &head::Head<'_>, phase: Phase, cx: &Context<'_>) -> Verdict {
        let refusal = match check_upgrade(head) {
            Ok(mut upgrade) => match self.admit(head, cx) {
                Ok(()) => {
                    if cx.config.deflate_min_bytes.is_some() {
                        upgrade.agree_on_deflate(head);
                    }
                    return Verdict::Upgrade(upgrade, phase);
                }
                Err(refusal) => refusal,
            },
            Err(UpgradeFault::Method) => {
                Answer::error(405, "method_not_allowed", "a WebSocket is opened with GET")
                    .with("Allow", "GET")
            }
            Err(UpgradeFault::NotAnUpgrade) => {
                let body = serde_json::json!({
                    "error": { "code": "upgrade_required", "message": "this is a WebSocket endpoint" },
                    "connect": { "path": "/api/ws", "subprotocol": null, "first": {"type": "auth"}, "info": "/api/ws/info" },
                });
                Answer::json(426, body.to_string()).with("Upgrade", "websocket")
            }
            Err(UpgradeFault::WrongVersion) => {
                Answer::error(426, "wrong_version", "only version 13 of the WebSocket protocol")
                    .with("Sec-WebSocket-Version", "13")
                    .with("Upgrade", "websocket")
            }
            Err(UpgradeFault::Malformed(what)) => Answer::error(400, "bad_upgrade", what),
        };
        Verdict::Answer(refusal)
    }

    /// Everything that must hold before a good upgrade request becomes a WebSocket.
    fn admit(&mut self, head: &head::Head<'_>, cx: &Context<'_>) -> Result<(), Answer> {
        if allowed_origin(head, cx).is_err() {
            return Err(Answer::error(403, "origin_not_allowed", "pages of this origin may not connect"));
        }
        if cx.draining {
            return Err(unavailable("draining", "the node is shutting down"));
        }
        if self.origin.proxied
            && let Some(address) = forwarded_for(head, &cx.config.trusted_proxies, self.origin.address)
        {
            self.origin.address = address;
            cx.door.enter(address, cx.now).map_err(crowded)?;
            self.origin.counted = true;
        }
        if !cx.door.take_seat() {
            return Err(unavailable("node_full", "the node is full"));
        }
        Ok(())
    }
}

/// The phase that begins with an upgrade at `path`, if there is a WebSocket.
fn websocket_at(path: &str) -> Option<Phase> {
    match path {
        "/api/ws" => Some(Phase::Greeting),
        #[cfg(feature = "conformance")]
        super::echo::PATH => Some(Phase::Echoing),
        _ => None,
    }
}

fn crowded(wait_ms: u64) -> Answer {
    Answer::error(429, "too_many_connections", "too many connections from this address")
        .with("Retry-After", wait_ms.div_ceil(1000).max(1).to_string())
}

fn unavailable(code: &str, message: &str) -> Answer {
    /// Another node, or a restarted one, is there by then.
    const RETRY_AFTER_S: &str = "5";
    Answer::error(503, code, message).with("Retry-After", RETRY_AFTER_S)
}

/// No request to this listener has a body: one that announces it is not read on, so the limit is
/// nothing (RFC 9110 section 15.5.14).
fn check_no_body(head: &head::Head<'_>) -> Result<(), Answer> {
    match body_length(head) {
        Ok(BodyLength::None | BodyLength::Known(0)) => Ok(()),
        Ok(_) => Err(Answer::error(413, "body_too_large", "requests have no body here")),
        Err(_) => Err(Answer::error(400, "bad_request", "the length of the body is unclear")),
    }
}

fn health(cx: &Context<'_>, well: bool) -> Answer {
    let (status, word) = health_status(cx.draining, well);
    Answer::json(status, format!(r#"{{"status":"{word}"}}"#)).with("Cache-Control", "no-store")
}

/// How a health check is answered: the HTTP status and the word in the body.
#[must_use]
pub fn health_status(draining: bool, well: bool) -> (u16, &'static str) {
    match (draining, well) {
        (true, _) => (503, "draining"),
        (false, true) => (200, "ok"),
        (false, false) => (503, "starting"),
    }
}

/// The request's origin, if it has one: allowed, or not.
fn allowed_origin(head: &head::Head<'_>, cx: &Context<'_>) -> Result<Option<String>, ()> {
    let origin = match head.one("origin") {
        Ok(None) => return Ok(None),
        Ok(Some(origin)) => origin,
        Err(_) => return Err(()),
    };
    let host = head.one("host").ok().flatten();
    let trusted = matches!(cx.config.gate, Gate::Trusted);
    if !cx.config.origins.admits(origin, host, trusted) {
        return Err(());
    }
    Ok(Some(String::from_utf8_lossy(origin).into_owned()))
}

fn with_cors(answer: Answer, origin: Option<String>) -> Answer {
    let answer = answer.with("Vary", "Origin");
    match origin {
        Some(origin) => answer.with("Access-Control-Allow-Origin", origin),
        None => answer,
    }
}

/// The role whose tokens open the statistics.
const STATS_ROLE: &str = "admin";

fn check_stats_right(head: &head::Head<'_>, cx: &Context<'_>) -> Result<(), Answer> {
    let denied = |message| {
        Answer::error(401, "unauthorized", message).with("WWW-Authenticate", "Bearer realm=\"omnicast\"")
    };
    if matches!(cx.config.gate, Gate::Trusted) {
        return Err(denied("this node has no key to check a token with; ask on the control socket"));
    }
    let token = head
        .one("authorization")
        .ok()
        .flatten()
        .and_then(|value| std::str::from_utf8(value).ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let Some(token) = token else { return Err(denied("a bearer token of role admin is needed")) };
    let data = serde_json::json!({ "token": token }).to_string();
    let policy: &Policy = &cx.config.policy;
    match cx.config.gate.check(policy, &data, cx.now.wall) {
        Ok(identity) if policy.role_name(identity.role) == STATS_ROLE => Ok(()),
        Ok(_) => Err(Answer::error(403, "forbidden", "a token of role admin is needed")),
        Err(_) => Err(denied("the token does not hold")),
    }
}

/// Whom a trusted proxy speaks for: the right-most address in `X-Forwarded-For` that is not a
/// trusted proxy itself. `None`: nobody is named, so nobody is limited. A list that cannot be
/// read counts against the proxy, so that garbage is no way around the limits.
fn forwarded_for(head: &head::Head<'_>, trusted: &[IpNet], proxy: IpAddr) -> Option<IpAddr> {
    let lines: Vec<&[u8]> = head.all("x-forwarded-for").collect();
    for line in lines.iter().rev() {
        for entry in line.rsplit(|b| *b == b',') {
            let Some(address) = std::str::from_utf8(entry).ok().and_then(|e| address(e.trim())) else {
                return Some(proxy);
            };
            if !is_trusted(trusted, address) {
                return Some(address);
            }
        }
    }
    None
}

/// Whether `address` is one of the proxies whose word counts.
#[must_use]
pub fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// `192.0.2.1`, `192.0.2.1:8080`, `2001:db8::1`, `[2001:db8::1]:8080`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|a| a.ip()));
    parsed.ok().map(|a| a.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rightmost_untrusted_address_counts() {
        let trusted: Vec<IpNet> = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        let proxy: IpAddr = "127.0.0.1".parse().unwrap();
        let cases: &[(&str, Option<&str>)] = &[
            ("", None),
            ("X-Forwarded-For: 192.0.2.1\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: 198.51.100.9, 192.0.2.1, 10.1.2.3\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 10.1.1.1\r\n", Some("192.0.2.7")),
            ("X-Forwarded-For: 10.1.1.1, 127.0.0.1\r\n", None),
            ("X-Forwarded-For: 192.0.2.1:5000\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: [2001:db8::1]:443\r\n", Some("2001:db8::1")),
            ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: 192.0.2.1, unknown\r\n", Some("127.0.0.1")),
            ("X-Forwarded-For: 192.0.2.1,\r\n", Some("127.0.0.1")),
        ];
        for (lines, expected) in cases {
            let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
            let head = head::parse(text.as_bytes()).unwrap();
            let got = forwarded_for(&head, &trusted, proxy);
            assert_eq!(got, expected.map(|a| a.parse().unwrap()), "{lines}");
        }
    }
}
