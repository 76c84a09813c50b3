//! HTTP/1.1 responses of both listeners.

use serde::Serialize;
use std::io::Write;

/// The media type of everything that is JSON.
pub const JSON: &str = "application/json";

/// One response. Its length is always said, so that the connection can be kept.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// More headers, names and values. Control characters in them are left out.
    pub headers: &'a [(&'a str, &'a str)],
    /// The media type of the body; empty where there is no body.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Whether the connection closes after this answer.
    pub close: bool,
}

impl Response<'_> {
    /// Appends the response to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_head(out);
        if self.may_have_body() {
            out.extend_from_slice(self.body);
        }
    }

    /// Appends only its head, as the answer to `HEAD` (RFC 9110 section 9.3.2).
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        let mut put = |arguments: std::fmt::Arguments<'_>| {
            out.write_fmt(arguments).expect("writing to memory does not fail");
        };
        put(format_args!("HTTP/1.1 {} {}\r\n", self.status, reason_phrase(self.status)));
        for (name, value) in self.headers {
            put(format_args!("{}: {}\r\n", one_line(name), one_line(value)));
        }
        if self.may_have_body() {
            if !self.content_type.is_empty() {
                put(format_args!("Content-Type: {}\r\n", one_line(self.content_type)));
            }
            put(format_args!("Content-Length: {}\r\n", self.body.len()));
        }
        if self.close {
            put(format_args!("Connection: close\r\n"));
        }
        put(format_args!("\r\n"));
    }

    /// RFC 9110 section 6.4.1, RFC 9112 section 6.3.
    fn may_have_body(&self) -> bool {
        self.status >= 200 && self.status != 204 && self.status != 304
    }
}

/// A header that cannot start another one.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// The phrase that goes with a status (RFC 9110 section 15).
#[must_use]
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "",
    }
}

/// The body of every refusal: `{"error":{"code","message"}}`.
#[must_use]
pub fn error_body(code: &str, message: &str) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Fault<'a>,
    }
    #[derive(Serialize)]
    struct Fault<'a> {
        code: &'a str,
        message: &'a str,
    }
    serde_json::to_string(&Body { error: Fault { code, message } }).expect("two texts are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(response: &Response<'_>) -> String {
        let mut out = Vec::new();
        response.encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn says_its_length_and_its_end() {
        let body = error_body("bad_\"request\"", "no");
        assert_eq!(body, r#"{"error":{"code":"bad_\"request\"","message":"no"}}"#);
        let refusal = Response {
            status: 503,
            headers: &[("Retry-After", "1"), ("X", "a\r\nSet-Cookie: b")],
            content_type: JSON,
            body: b"{}",
            close: true,
        };
        let head = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nX: aSet-Cookie: b\r\n\
            Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
        assert_eq!(encoded(&refusal), format!("{head}{{}}"));
        let mut out = Vec::new();
        refusal.encode_head(&mut out);
        assert_eq!(out, head.as_bytes());
        let preflight = Response { status: 204, headers: &[], content_type: "", body: b"", close: false };
        assert_eq!(encoded(&preflight), "HTTP/1.1 204 No Content\r\n\r\n");
        let empty = Response { status: 200, ..preflight };
        assert_eq!(encoded(&empty), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn every_status_of_the_contract_has_a_phrase() {
        for status in [101, 200, 202, 204, 400, 401, 403, 404, 405, 408, 413, 422, 426, 429, 431, 500, 503] {
            assert!(!reason_phrase(status).is_empty(), "{status}");
        }
    }
}
