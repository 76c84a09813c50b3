//! HTTP/1.1 request heads, for the public and for the control listener (RFC 9112).
//!
//! [`find_end`] says where a head ends in a growing buffer, [`parse`] reads a complete one,
//! [`body_length`] says what follows it. Everything that two parsers could read differently is
//! refused: bare CR or LF, obsolete folding, NUL, several hosts, two framings of one body.

use std::borrow::Cow;

/// Bytes of a head at most, blank lines included. Beyond: 431.
pub const HEAD_BYTES_MAX: usize = 8192;
/// Header lines at most. Beyond: 431.
pub const HEADERS_MAX: usize = 64;
/// Bytes of blank lines tolerated before the request line (RFC 9112 section 2.2): some clients
/// send one after a body. A stream of nothing else is refused here already.
pub const LEADING_BLANK_MAX: usize = 8;

/// The head of one request, borrowed from the buffer.
#[derive(Debug, Clone)]
pub struct Head<'b> {
    /// The method as sent; methods are case-sensitive.
    pub method: &'b str,
    /// The request target as sent: `/path?query`, an absolute URL, or `*` (of `OPTIONS` only).
    pub target: &'b str,
    /// The minor version: 0 or 1.
    pub version: u8,
    headers: Vec<httparse::Header<'b>>,
}

/// A header that may be there once is there several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duplicate;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// Not HTTP/1.x, or something that may be read in two ways.
    Malformed,
    /// Over [`HEAD_BYTES_MAX`].
    TooLarge,
    /// Over [`HEADERS_MAX`].
    TooManyHeaders,
}

impl HeadError {
    /// The status of the answer. After it the connection closes.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            HeadError::Malformed => 400,
            HeadError::TooLarge | HeadError::TooManyHeaders => 431,
        }
    }
}

impl<'b> Head<'b> {
    /// The path of the target, still percent-encoded; `/` for an absolute URL without one.
    #[must_use]
    pub fn path(&self) -> &'b str {
        let (path, _) = self.split();
        if path.is_empty() { "/" } else { path }
    }

    /// What follows the first `?`, still percent-encoded.
    #[must_use]
    pub fn query(&self) -> Option<&'b str> {
        self.split().1
    }

    /// The first query parameter of that name, decoded as a form is: `+` is a space, a malformed
    /// escape stands for itself, bad UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Cow<'b, str>> {
        self.query()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decoded(key) == name).then(|| form_decoded(value))
        })
    }

    /// Every header as sent, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + '_ {
        self.headers.iter().map(|h| (h.name, h.value))
    }

    /// The values of all lines of that header, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    }

    /// The value of a header that may be there once.
    ///
    /// # Errors
    /// [`Duplicate`] where there are several lines of it, equal or not.
    pub fn one(&self, name: &str) -> Result<Option<&'b [u8]>, Duplicate> {
        let mut lines = self.all(name);
        match (lines.next(), lines.next()) {
            (_, Some(_)) => Err(Duplicate),
            (line, None) => Ok(line),
        }
    }

    /// Whether `token` is an element of the comma lists of that header, case ignored.
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether the client wants the connection kept after the answer (RFC 9112 section 9.3).
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        !self.has_token("connection", "close")
            && (self.version > 0 || self.has_token("connection", "keep-alive"))
    }

    fn split(&self) -> (&'b str, Option<&'b str>) {
        let local = match after_scheme(self.target) {
            Some(rest) => &rest[rest.find(['/', '?']).unwrap_or(rest.len())..],
            None => self.target,
        };
        match local.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (local, None),
        }
    }
}

/// What follows `http://` or `https://`, if the target is of that form.
fn after_scheme(target: &str) -> Option<&str> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &target[scheme.len()..])
    })
}

/// A percent-encoded path segment decoded: a malformed escape stands for itself, bad UTF-8
/// becomes U+FFFD.
#[must_use]
pub fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = (byte == b'%')
            .then(|| Some((hex_digit(*bytes.get(at + 1)?)?, hex_digit(*bytes.get(at + 2)?)?)))
            .flatten();
        if let Some((high, low)) = escape {
            out.push(high << 4 | low);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn form_decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        Cow::Owned(percent_decoded(&text.replace('+', " ")).into_owned())
    } else {
        percent_decoded(text)
    }
}

pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Finds the end of a head (the index after its blank line) in a buffer that grows at its end.
///
/// `scanned` belongs to the buffer: 0 for a new one, then whatever the last call left, so that no
/// byte is looked at twice however the head is cut up. Blank lines before the request line are
/// passed over. A head with bare LFs is found, so that [`parse`] can refuse it at once. Where
/// nothing is found and the buffer is [`HEAD_BYTES_MAX`] long, the head is too large.
pub fn find_end(buf: &[u8], scanned: &mut usize) -> Option<usize> {
    let blank = buf.iter().take(LEADING_BLANK_MAX).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if blank == LEADING_BLANK_MAX {
        return Some(blank);
    }
    let mut at = blank.max(*scanned);
    while let Some(step) = buf.get(at..)?.iter().position(|byte| *byte == b'\n') {
        at += step;
        match (buf.get(at + 1), buf.get(at + 2)) {
            (Some(b'\n'), _) => return Some(at + 2),
            (Some(b'\r'), Some(b'\n')) => return Some(at + 3),
            (None, _) | (Some(b'\r'), None) => {
                *scanned = at;
                return None;
            }
            _ => at += 1,
        }
    }
    *scanned = buf.len();
    None
}

/// Reads a complete head, as delimited by [`find_end`].
///
/// # Errors
/// See [`HeadError`]. A head of HTTP/1.1 without a `Host`, and any with two, is malformed
/// (RFC 9112 section 3.2).
pub fn parse(head: &[u8]) -> Result<Head<'_>, HeadError> {
    if head.len() > HEAD_BYTES_MAX {
        return Err(HeadError::TooLarge);
    }
    if !lines_are_clean(head) {
        return Err(HeadError::Malformed);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(end)) if end == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyHeaders),
        _ => return Err(HeadError::Malformed),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Malformed);
    };
    if !target_is_clean(method, target) {
        return Err(HeadError::Malformed);
    }
    let head = Head { method, target, version, headers: request.headers.to_vec() };
    match head.one("host") {
        Ok(Some(_)) => Ok(head),
        Ok(None) if version == 0 => Ok(head),
        _ => Err(HeadError::Malformed),
    }
}

/// Every CR is followed by a LF and every LF preceded by a CR. (NUL the parser refuses itself.)
fn lines_are_clean(head: &[u8]) -> bool {
    let mut previous = 0;
    head.iter().chain([&b' ']).all(|&byte| {
        let clean = (previous == b'\r') == (byte == b'\n');
        previous = byte;
        clean
    })
}

/// Printable ASCII without a fragment, of a form that goes with the method.
fn target_is_clean(method: &str, target: &str) -> bool {
    let form = match after_scheme(target) {
        Some(rest) => !rest.is_empty() && !rest.starts_with(['/', '?']),
        None => target.starts_with('/') || (target == "*" && method == "OPTIONS"),
    };
    form && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// No body is announced.
    None,
    /// That many bytes.
    Known(u64),
    /// Chunks, see [`crate::wire::chunked`].
    Chunked,
}

/// How the body of a request is delimited (RFC 9112 section 6.3).
///
/// # Errors
/// `Malformed` for whatever two parsers could read differently: both framings, lengths that
/// differ or are not plain digits, a transfer coding other than exactly `chunked`, or one in HTTP/1.0.
pub fn body_length(head: &Head<'_>) -> Result<BodyLength, HeadError> {
    let coding = head.one("transfer-encoding").map_err(|Duplicate| HeadError::Malformed)?;
    let mut length = None;
    for value in head.all("content-length") {
        let this = decimal(value).ok_or(HeadError::Malformed)?;
        if length.is_some_and(|earlier| earlier != this) {
            return Err(HeadError::Malformed);
        }
        length = Some(this);
    }
    match (coding, length) {
        (None, None) => Ok(BodyLength::None),
        (None, Some(length)) => Ok(BodyLength::Known(length)),
        (Some(coding), None) if head.version > 0 && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(BodyLength::Chunked)
        }
        (Some(_), _) => Err(HeadError::Malformed),
    }
}

fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
