//! What a server sends, taken apart where it lies: frame heads only, no copy, no JSON. Pure.

/// Longest frame that is accepted from a server.
const MAX_FRAME_BYTES: usize = 64 << 20;
/// Longest head of the answer to an upgrade.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A text message, whole.
    Text(&'a [u8]),
    /// A ping, which wants its payload back.
    Ping(&'a [u8]),
    /// A close, with its code.
    Close(Option<u16>),
    /// A pong or something binary: nothing to do.
    Other,
}

/// The first frame of `bytes` and its length; `None` while its end is missing.
///
/// # Errors
/// What no server may send: a masked frame (RFC 6455 section 5.1), one in parts (the node sends none), or one too long.
pub fn first(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, &'static str> {
    let Some(&[first, second]) = bytes.get(..2) else { return Ok(None) };
    let (head, length) = match second {
        0..126 => (2, usize::from(second)),
        126 => match bytes.get(2..4) {
            Some(length) => (4, usize::from(u16::from_be_bytes([length[0], length[1]]))),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|length| length.try_into().ok()) {
            Some(length) => (10, usize::try_from(u64::from_be_bytes(length)).unwrap_or(usize::MAX)),
            None => return Ok(None),
        },
        _ => return Err("a masked frame from the server"),
    };
    if length > MAX_FRAME_BYTES {
        return Err("a frame without end");
    }
    if first & 0x80 == 0 || first & 0x0f == 0 {
        return Err("a message in parts");
    }
    let Some(payload) = bytes.get(head..head + length) else { return Ok(None) };
    let frame = match first & 0x0f {
        1 => Frame::Text(payload),
        8 => Frame::Close(payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]))),
        9 => Frame::Ping(payload),
        _ => Frame::Other,
    };
    Ok(Some((frame, head + length)))
}

/// A client's frame. A mask may be zero, and leaves the payload as it is then.
pub fn client_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// The answer to an upgrade: its status and length; `None` while its end is missing.
///
/// # Errors
/// What is no HTTP.
pub fn answer(bytes: &[u8]) -> Result<Option<(u16, usize)>, &'static str> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > MAX_HEAD_BYTES { Err("an answer without end") } else { Ok(None) };
    };
    let status = bytes.strip_prefix(b"HTTP/1.1 ").and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok());
    match status.and_then(|status| status.parse().ok()) {
        Some(status) => Ok(Some((status, end + 4))),
        None => Err("an answer that is no HTTP"),
    }
}

/// What is there of a stream whose end has not come: keeps the begun piece between reads, and nothing else.
#[derive(Debug, Default)]
pub struct Rest(Vec<u8>);

impl Rest {
    /// Hands `take` the bytes from the first that was not used on; it returns how many it used.
    pub fn feed<E>(&mut self, bytes: &[u8], take: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<(), E> {
        if self.0.is_empty() {
            let used = take(bytes)?;
            self.0.extend_from_slice(&bytes[used..]);
        } else {
            self.0.extend_from_slice(bytes);
            let used = take(&self.0)?;
            self.0.drain(..used);
        }
        if self.0.is_empty() {
            self.0 = Vec::new(); // An idle client keeps no buffer.
        }
        Ok(())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::envelope::encode_event;
    use proptest::prelude::*;

    /// What `Frame` says, owned.
    fn told(bytes: &[u8], chunks: &[usize]) -> Vec<String> {
        let (mut rest, mut told, mut at) = (Rest::default(), Vec::new(), 0);
        let mut sizes = chunks.iter().copied().cycle();
        while at < bytes.len() {
            let end = bytes.len().min(at + sizes.next().unwrap_or(1).max(1));
            let fed = rest.feed(&bytes[at..end], |bytes| {
                let mut used = 0;
                while let Some((frame, length)) = first(&bytes[used..])? {
                    told.push(format!("{frame:?}"));
                    used += length;
                }
                Ok::<_, &str>(used)
            });
            assert_eq!(fed, Ok(()));
            at = end;
        }
        assert!(rest.0.is_empty());
        told
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        for (bytes, why) in [
            (&[0x81, 0x80][..], "masked"),
            (&[0x01, 0x00], "parts"),
            (&[0x80, 0x00], "parts"),
            (&[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0], "without end"),
        ] {
            assert!(first(bytes).unwrap_err().contains(why), "{bytes:?}");
        }
    }

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n\x81\x00";
        for end in 0..text.len() {
            let expected = if end < text.len() - 2 { None } else { Some((101, text.len() - 2)) };
            assert_eq!(answer(&text[..end]), Ok(expected), "{end}");
        }
        assert!(answer(b"SSH-2.0\r\n\r\n").is_err());
        assert!(answer(&[b'x'; MAX_HEAD_BYTES + 1]).is_err());
    }

    proptest! {
        #[test]
        fn frames_are_the_same_in_any_chunking(
            sizes in prop::collection::vec(0usize..70_000, 1..6), chunks in prop::collection::vec(1usize..5_000, 1..8),
        ) {
            let mut bytes = Vec::new();
            for (i, size) in sizes.iter().enumerate() {
                match i % 3 {
                    0 => bytes.extend_from_slice(&encode_event("a", "b", &"x".repeat(*size), 7, "1")),
                    1 => bytes.extend_from_slice(&[0x89, 2, b'h', b'i']),
                    _ => bytes.extend_from_slice(&[0x88, 2, 0x10, 0x07]),
                }
            }
            let whole = told(&bytes, &[usize::MAX / 2]);
            prop_assert_eq!(whole.len(), sizes.len());
            prop_assert_eq!(told(&bytes, &chunks), whole);
        }

        #[test]
        fn a_client_frame_is_one_that_a_server_reads(size in 0usize..70_000) {
            let payload = vec![b'x'; size];
            let mut frame = Vec::new();
            client_frame(1, &payload, &mut frame);
            let masked = frame[1] & 0x80 != 0;
            let head = frame.len() - size - 4;
            prop_assert!(masked && frame[head..head + 4] == [0; 4]);
            // Without mask and its bit it is a frame as servers send them.
            frame.drain(head..head + 4);
            frame[1] &= 0x7f;
            let length = frame.len();
            prop_assert_eq!(first(&frame), Ok(Some((Frame::Text(&payload), length))));
        }
    }
}
