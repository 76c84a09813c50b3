//! The answers to posts on one connection, one after the other, in whatever pieces they come. Pure.

/// Longest head of an answer.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Longest answer: the ids of the largest post fit many times over.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Most headers of an answer.
const MAX_HEADERS: usize = 32;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// What was said, where it is not 200.
    pub body: String,
}

/// What has come and is not a whole answer yet.
#[derive(Debug, Default)]
pub struct Answers {
    buffer: Vec<u8>,
    at: usize,
}

impl Answers {
    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole answer.
    ///
    /// # Errors
    /// One sentence for what is no answer with a length.
    pub fn next(&mut self) -> Result<Option<Answer>, String> {
        let unread = &self.buffer[self.at..];
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let head = match response.parse(unread) {
            Ok(httparse::Status::Complete(head)) => head,
            Ok(httparse::Status::Partial) if unread.len() <= MAX_HEAD_BYTES => return Ok(None),
            _ => return Err("the node's answer to a post can't be read".into()),
        };
        let length = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|h| std::str::from_utf8(h.value).ok()?.trim().parse::<usize>().ok());
        let Some(length) = length.filter(|length| *length <= MAX_ANSWER_BYTES) else {
            return Err("the node's answer to a post has no length".into());
        };
        let Some(body) = unread.get(head..head + length) else { return Ok(None) };
        let status = response.code.unwrap_or(0);
        let body = if status == 200 { String::new() } else { String::from_utf8_lossy(body).into_owned() };
        self.at += head + length;
        Ok(Some(Answer { status, body }))
    }
}

/// A request that posts `body`, at the end of `out`.
pub fn write_post(body: &[u8], token: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"POST /api/events HTTP/1.1\r\nHost: omnicast\r\n");
    if let Some(token) = token {
        out.extend_from_slice(format!("Authorization: Bearer {token}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
}

/// What a status means for the events of a post: true, they are published; false, none of them is.
///
/// # Errors
/// One sentence where going on makes no sense.
pub fn is_accepted(answer: &Answer) -> Result<bool, String> {
    match answer.status {
        200 => Ok(true),
        503 => Ok(false),
        status => Err(format!("the node refused a post with status {status}: {:.300}", answer.body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_the_same_in_any_pieces() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
                    HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}\
                    HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        for piece in [1, 2, 3, 10, 1000] {
            let (mut answers, mut got) = (Answers::default(), Vec::new());
            for bytes in text.as_bytes().chunks(piece) {
                answers.push(bytes);
                while let Some(answer) = answers.next().unwrap() {
                    got.push((answer.status, answer.body));
                }
            }
            assert_eq!(got, [(200, String::new()), (503, "{}".into()), (200, String::new())], "{piece}");
        }
        for bad in ["SSH-2.0\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
        {
            let mut answers = Answers::default();
            answers.push(bad.as_bytes());
            assert!(answers.next().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_is_told_from_a_mistake() {
        let answer = |status| is_accepted(&Answer { status, body: "why".into() });
        assert_eq!((answer(200), answer(503)), (Ok(true), Ok(false)));
        assert!(answer(422).unwrap_err().contains("422: why"));
    }

    #[test]
    fn a_post_is_one_request() {
        let mut out = Vec::new();
        write_post(b"{}", Some("t"), &mut out);
        let expected = "POST /api/events HTTP/1.1\r\nHost: omnicast\r\nAuthorization: Bearer t\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
