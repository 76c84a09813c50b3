//! A small HTTP/1.1 client: one request, one response, over any byte stream.
//!
//! For the control listener only, so it speaks what that needs: no redirects, no compression, no reuse of a connection
//! (a connect to a Unix socket costs less than knowing whether an idle one is still alive). All that it reads is bounded.

use std::io::{self, Read, Write};

/// Longest head of a response.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Most headers of a response.
const MAX_HEADERS: usize = 64;
/// Longest body of a response: the ids of the largest post fit many times over.
pub const MAX_BODY_BYTES: usize = 64 << 20;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `POST`.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// The bearer token, where the listener wants one.
    pub bearer: Option<&'a str>,
    /// A JSON body.
    pub body: Option<&'a [u8]>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Its headers that are text, in order.
    pub headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// `Retry-After` in seconds, where it was given as a number.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        self.header("retry-after").and_then(|text| text.parse().ok())
    }
}

/// Writes `request` to `stream` and reads the response.
///
/// # Errors
/// Those of the stream; `InvalidData` for what is no HTTP/1.1 response or passes a limit; `UnexpectedEof` for one that
/// ends early.
pub fn exchange<S: Read + Write>(stream: &mut S, request: Request<'_>) -> io::Result<Response> {
    let sent = send(stream, request);
    match (read_response(stream), sent) {
        // A listener that refuses early stops reading: its answer counts, not our broken pipe.
        (Ok(response), _) => Ok(response),
        (Err(_), Err(unsent)) => Err(unsent),
        (Err(unread), Ok(())) => Err(unread),
    }
}

fn send<S: Write>(stream: &mut S, request: Request<'_>) -> io::Result<()> {
    let Request { method, path, bearer, body } = request;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: omnicast\r\nConnection: close\r\n");
    if let Some(token) = bearer {
        head.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    if let Some(body) = body {
        head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.unwrap_or_default())?;
    stream.flush()
}

/// How the end of a body is known (RFC 9112 section 6.3).
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

struct Head {
    status: u16,
    headers: Vec<(String, String)>,
    framing: Framing,
}

fn read_response<S: Read>(stream: &mut S) -> io::Result<Response> {
    let mut source = Source { stream, buffer: Vec::new(), at: 0 };
    let head = loop {
        let head = source.head()?;
        if head.status >= 200 {
            break head; // Anything below is an interim response (RFC 9110 section 15.2).
        }
    };
    let body = match head.framing {
        Framing::Length(length) => source.exactly(length)?,
        Framing::Chunked => source.chunks()?,
        Framing::UntilClose => source.rest()?,
    };
    Ok(Response { status: head.status, headers: head.headers, body })
}

/// Bytes of the response: those that are read and not used yet, then those of the stream.
struct Source<'a, S> {
    stream: &'a mut S,
    buffer: Vec<u8>,
    at: usize,
}

impl<S: Read> Source<'_, S> {
    fn unused(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Reads once more; an end of the stream is an error here.
    fn more(&mut self) -> io::Result<()> {
        if self.read_some()? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the response ended early"));
        }
        Ok(())
    }

    fn read_some(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(n) => {
                    self.buffer.drain(..self.at);
                    self.at = 0;
                    self.buffer.extend_from_slice(&chunk[..n]);
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn head(&mut self) -> io::Result<Head> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            match response.parse(self.unused()) {
                Ok(httparse::Status::Complete(length)) => {
                    let head = read_head(&response)?;
                    self.at += length;
                    return Ok(head);
                }
                Ok(httparse::Status::Partial) if self.unused().len() < MAX_HEAD_BYTES => self.more()?,
                Ok(httparse::Status::Partial) => return Err(invalid("the head of the response is too long")),
                Err(_) => return Err(invalid("the answer is not HTTP")),
            }
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        self.append(length, &mut body)?;
        Ok(body)
    }

    /// Moves the next `length` bytes to `body`, which never grows past its limit.
    fn append(&mut self, length: usize, body: &mut Vec<u8>) -> io::Result<()> {
        if length > MAX_BODY_BYTES - body.len() {
            return Err(invalid("the body of the response is too long"));
        }
        let mut missing = length;
        while missing > 0 {
            if self.unused().is_empty() {
                self.more()?;
            }
            let take = missing.min(self.unused().len());
            body.extend_from_slice(&self.unused()[..take]);
            self.at += take;
            missing -= take;
        }
        Ok(())
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let unused = self.unused().len();
            self.append(unused, &mut body)?;
            if self.read_some()? == 0 {
                return Ok(body);
            }
        }
    }

    /// The chunks of RFC 9112 section 7.1. Trailers are not read: the connection ends here anyway.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = self.chunk_length()?;
            if length == 0 {
                return Ok(body);
            }
            self.append(length, &mut body)?;
            if self.exactly(2)? != b"\r\n" {
                return Err(invalid("a chunk of the response does not end where it should"));
            }
        }
    }

    fn chunk_length(&mut self) -> io::Result<usize> {
        loop {
            match httparse::parse_chunk_size(self.unused()) {
                Ok(httparse::Status::Complete((head, length))) => {
                    self.at += head;
                    return usize::try_from(length).map_err(|_| invalid("a chunk is too long"));
                }
                Ok(httparse::Status::Partial) if self.unused().len() < MAX_HEAD_BYTES => self.more()?,
                _ => return Err(invalid("a chunk of the response has no length")),
            }
        }
    }
}

fn read_head(response: &httparse::Response<'_, '_>) -> io::Result<Head> {
    let status = response.code.ok_or_else(|| invalid("the response has no status"))?;
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let chunked = header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let framing = match header("content-length") {
        _ if status < 200 || status == 204 || status == 304 => Framing::Length(0),
        _ if chunked => Framing::Chunked,
        None => Framing::UntilClose,
        Some(length) => {
            Framing::Length(length.parse().map_err(|_| invalid("the response has no valid length"))?)
        }
    };
    let text = |value| std::str::from_utf8(value).ok().map(|value| value.trim().to_owned());
    let headers = response.headers.iter().filter_map(|h| Some((h.name.to_owned(), text(h.value)?)));
    Ok(Head { status, headers: headers.collect(), framing })
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that answers with canned bytes, some at a time, and keeps what it is sent.
    struct Canned<'a> {
        answer: &'a [u8],
        step: usize,
        sent: Vec<u8>,
        broken: bool,
    }

    impl Read for Canned<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.answer.len().min(self.step).min(buffer.len());
            buffer[..n].copy_from_slice(&self.answer[..n]);
            self.answer = &self.answer[n..];
            Ok(n)
        }
    }

    impl Write for Canned<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.broken {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.sent.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const GET: Request<'_> = Request { method: "GET", path: "/x", bearer: None, body: None };

    fn ask(answer: &[u8], step: usize) -> io::Result<Response> {
        exchange(&mut Canned { answer, step, sent: vec![], broken: false }, GET)
    }

    #[test]
    fn bodies_end_where_their_framing_says_whatever_the_reads() {
        let table: [(&str, u16, Option<u64>, &str); 7] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, more", 200, None, "hello"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
                200,
                None,
                "hello",
            ),
            ("HTTP/1.1 200 OK\r\n\r\nhello", 200, None, "hello"),
            ("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length:0\r\n\r\n", 503, Some(7), ""),
            ("HTTP/1.1 503 Busy\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", 503, None, ""),
            ("HTTP/1.1 204 Done\r\n\r\nnot a body", 204, None, ""),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Yes\r\nContent-Length: 2\r\n\r\nok", 202, None, "ok"),
        ];
        for (answer, status, retry_after_s, body) in table {
            for step in [1, 2, 7, 10_000] {
                let got = ask(answer.as_bytes(), step).unwrap();
                let told = (got.status, got.retry_after_s(), &*got.body);
                assert_eq!(told, (status, retry_after_s, body.as_bytes()), "{answer} by {step}");
            }
        }
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2 * MAX_HEAD_BYTES));
        let table = [
            ("", UnexpectedEof),
            ("HTTP/1.1 200 OK\r\n", UnexpectedEof),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", UnexpectedEof),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", UnexpectedEof),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhello\r\n", InvalidData),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", InvalidData),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", InvalidData),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", InvalidData),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", InvalidData),
            ("SSH-2.0-OpenSSH\r\n", InvalidData),
            (&long, InvalidData),
        ];
        for (answer, kind) in table {
            assert_eq!(ask(answer.as_bytes(), 1000).unwrap_err().kind(), kind, "{:.60}", answer);
        }
    }

    #[test]
    fn the_request_is_written_whole_and_an_early_refusal_is_still_read() {
        let answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
        let post = Request { method: "POST", path: "/api/events", bearer: Some("t"), body: Some(b"{}") };
        let mut peer = Canned { answer, step: 9, sent: vec![], broken: false };
        exchange(&mut peer, post).unwrap();
        assert_eq!(
            String::from_utf8(peer.sent).unwrap(),
            "POST /api/events HTTP/1.1\r\nHost: omnicast\r\nConnection: close\r\nAuthorization: Bearer t\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        );
        let mut closed = Canned { answer, step: 9, sent: vec![], broken: true };
        assert_eq!(exchange(&mut closed, post).unwrap().status, 413);
        let mut dead = Canned { answer: b"", step: 9, sent: vec![], broken: true };
        assert_eq!(exchange(&mut dead, post).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
