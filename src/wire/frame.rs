//! WebSocket frames: what the node writes, and the headers of what it reads (RFC 6455 section 5).
//!
//! The codec is that of `tungstenite`, made strict: it passes reserved bits, lengths that are not
//! minimal and lengths with the top bit set, all of which are refused here.

use bytes::Bytes;
use std::io::Cursor;
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{self, OpCode},
};

/// Bytes of a client's frame header at most.
pub const CLIENT_HEADER_MAX: usize = 14;
/// Bytes of a control frame's payload at most (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
/// Bytes of a close reason at most: the code takes two.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// The reserved bits of a frame's first byte, and the one that marks a compressed message.
const RSV: u8 = 0x70;
const RSV1: u8 = 0x40;

/// Why the connection must close. What the peer sends after it is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFault {
    /// The peer broke the protocol, and how: 1002.
    Protocol(&'static str),
    /// Text that is not UTF-8: 1007.
    Utf8,
    /// A message over the limit: 1009.
    TooBig,
}

impl FrameFault {
    /// The code to close with (RFC 6455 section 7.4.1).
    #[must_use]
    pub fn close_code(&self) -> u16 {
        match self {
            FrameFault::Protocol(_) => 1002,
            FrameFault::Utf8 => 1007,
            FrameFault::TooBig => 1009,
        }
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A further fragment.
    Continue,
    /// Text, or its first fragment.
    Text,
    /// Binary, or its first fragment.
    Binary,
    /// The end.
    Close,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
}

impl Opcode {
    /// Whether this may come between the fragments of a message.
    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    fn from_bits(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continue,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    fn codec(self) -> OpCode {
        match self {
            Opcode::Continue => OpCode::Data(coding::Data::Continue),
            Opcode::Text => OpCode::Data(coding::Data::Text),
            Opcode::Binary => OpCode::Data(coding::Data::Binary),
            Opcode::Close => OpCode::Control(coding::Control::Close),
            Opcode::Ping => OpCode::Control(coding::Control::Ping),
            Opcode::Pong => OpCode::Control(coding::Control::Pong),
        }
    }
}

/// A control frame of the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
    /// The end; see [`encode_close`].
    Close,
}

impl From<Control> for Opcode {
    fn from(control: Control) -> Opcode {
        match control {
            Control::Ping => Opcode::Ping,
            Control::Pong => Opcode::Pong,
            Control::Close => Opcode::Close,
        }
    }
}

/// The header of a client's frame that keeps all rules a single header can keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientHeader {
    /// Whether this is the last fragment.
    pub is_final: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// RSV1: this begins a compressed message (RFC 7692 section 6).
    pub is_compressed: bool,
    /// The mask of the payload.
    pub key: [u8; 4],
    /// Bytes of the payload, as claimed.
    pub payload_len: usize,
    /// Bytes of the header.
    pub size: usize,
}

impl ClientHeader {
    /// Reads a header from the start of `bytes`; `None` where more bytes are needed, at most
    /// [`CLIENT_HEADER_MAX`] in all. `deflate`: compressed messages were agreed on.
    ///
    /// # Errors
    /// As soon as the bytes at hand are certain to break a rule.
    pub fn parse(bytes: &[u8], deflate: bool) -> Result<Option<ClientHeader>, FrameFault> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (opcode, is_compressed) = check_first(first, deflate)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        check_second(second, opcode)?;
        check_length(bytes)?;
        let mut cursor = Cursor::new(bytes);
        let parsed =
            FrameHeader::parse(&mut cursor).map_err(|_| FrameFault::Protocol("malformed frame header"))?;
        let Some((header, len)) = parsed else { return Ok(None) };
        let payload_len = usize::try_from(len).map_err(|_| FrameFault::TooBig)?;
        let key = header.mask.ok_or(FrameFault::Protocol("frame is not masked"))?;
        // At most CLIENT_HEADER_MAX.
        let size = cursor.position() as usize;
        Ok(Some(ClientHeader { is_final: header.is_final, opcode, is_compressed, key, payload_len, size }))
    }
}

/// What the frame is, and whether a compressed message begins with it: only the first frame of a
/// message may say so.
fn check_first(first: u8, deflate: bool) -> Result<(Opcode, bool), FrameFault> {
    let may_be_compressed = deflate && matches!(first & 0x0f, 1 | 2);
    let reserved = if may_be_compressed { RSV & !RSV1 } else { RSV };
    if first & reserved != 0 {
        return Err(FrameFault::Protocol("reserved bits are set"));
    }
    let opcode = Opcode::from_bits(first & 0x0f).ok_or(FrameFault::Protocol("reserved opcode"))?;
    if opcode.is_control() && first & 0x80 == 0 {
        return Err(FrameFault::Protocol("control frame is fragmented"));
    }
    Ok((opcode, first & RSV1 != 0))
}

fn check_second(second: u8, opcode: Opcode) -> Result<(), FrameFault> {
    if second & 0x80 == 0 {
        return Err(FrameFault::Protocol("frame is not masked"));
    }
    if opcode.is_control() && usize::from(second & 0x7f) > CONTROL_BYTES_MAX {
        return Err(FrameFault::Protocol("control frame is over 125 bytes"));
    }
    Ok(())
}

/// The length in its longer forms, once all of it is there: the mask behind it need not be.
fn check_length(bytes: &[u8]) -> Result<(), FrameFault> {
    let (len, longest_before) = match *bytes {
        [_, 0xfe, a, b, ..] => (u64::from(u16::from_be_bytes([a, b])), CONTROL_BYTES_MAX as u64),
        [_, 0xff, a, b, c, d, e, f, g, h, ..] => {
            (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from(u16::MAX))
        }
        _ => return Ok(()),
    };
    if len <= longest_before {
        return Err(FrameFault::Protocol("length is not minimal"));
    }
    if len >> 63 != 0 {
        return Err(FrameFault::TooBig);
    }
    Ok(())
}

/// Whether a peer may close with that code (RFC 6455 section 7.4 and the IANA registry).
#[must_use]
pub fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The header of one of the node's frames: final, unmasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerHeader {
    bytes: [u8; 10],
    size: usize,
}

impl ServerHeader {
    fn new(opcode: Opcode, rsv1: bool, payload_len: usize) -> ServerHeader {
        let header = FrameHeader { opcode: opcode.codec(), rsv1, ..FrameHeader::default() };
        let mut bytes = [0; 10];
        let size = header.len(payload_len as u64);
        header
            .format(payload_len as u64, &mut &mut bytes[..])
            .expect("ten bytes hold every header without a mask");
        ServerHeader { bytes, size }
    }
}

impl AsRef<[u8]> for ServerHeader {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.size]
    }
}

/// The header of a text frame of `payload_len` bytes.
#[must_use]
pub fn frame_header(payload_len: usize) -> ServerHeader {
    ServerHeader::new(Opcode::Text, false, payload_len)
}

/// A text frame. `payload` is UTF-8, by the caller's word.
#[must_use]
pub fn encode_text(payload: &[u8]) -> Bytes {
    encode(Opcode::Text, &[payload])
}

/// A binary frame.
#[cfg(feature = "conformance")]
#[must_use]
pub fn encode_binary(payload: &[u8]) -> Bytes {
    encode(Opcode::Binary, &[payload])
}

/// A text frame of a compressed message, for who agreed to that. `payload` is as
/// [`crate::wire::deflate`] makes it.
#[must_use]
pub fn encode_compressed_text(payload: &[u8]) -> Bytes {
    encode_with(Opcode::Text, true, &[payload])
}

/// The same for a binary message.
#[cfg(feature = "conformance")]
#[must_use]
pub fn encode_compressed_binary(payload: &[u8]) -> Bytes {
    encode_with(Opcode::Binary, true, &[payload])
}

/// A control frame.
///
/// # Panics
/// When the payload is over [`CONTROL_BYTES_MAX`]: no ping that was read carries more.
#[must_use]
pub fn encode_control(control: Control, payload: &[u8]) -> Bytes {
    assert!(payload.len() <= CONTROL_BYTES_MAX, "a control frame holds 125 bytes");
    encode(control.into(), &[payload])
}

/// A close frame; a reason over [`CLOSE_REASON_BYTES_MAX`] is cut at the end of a character.
#[must_use]
pub fn encode_close(code: u16, reason: &str) -> Bytes {
    let longest = reason.len().min(CLOSE_REASON_BYTES_MAX);
    let end = (0..=longest).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    let reason = &reason[..end];
    encode(Opcode::Close, &[&code.to_be_bytes(), reason.as_bytes()])
}

fn encode(opcode: Opcode, parts: &[&[u8]]) -> Bytes {
    encode_with(opcode, false, parts)
}

fn encode_with(opcode: Opcode, rsv1: bool, parts: &[&[u8]]) -> Bytes {
    let payload_len = parts.iter().map(|part| part.len()).sum();
    let header = ServerHeader::new(opcode, rsv1, payload_len);
    let mut frame = Vec::with_capacity(header.size + payload_len);
    frame.extend_from_slice(header.as_ref());
    for part in parts {
        frame.extend_from_slice(part);
    }
    Bytes::from(frame)
}

/// The sizes of header and payload of the frame of the node's that `frames` begins with.
pub(crate) fn spans(frames: &[u8]) -> Option<(usize, usize)> {
    match (*frames.get(1)?, frames) {
        (126, [_, _, a, b, ..]) => Some((4, usize::from(u16::from_be_bytes([*a, *b])))),
        (127, [_, _, a, b, c, d, e, f, g, h, ..]) => {
            let len = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            Some((10, usize::try_from(len).ok()?))
        }
        (len @ 0..=125, _) => Some((2, usize::from(len))),
        _ => None,
    }
}

/// The smallest frame boundary at or after `at`.
///
/// `frames` are frames of the node's, back to back, the first at 0; 0 and the end are boundaries
/// too. Where a write stopped at `at`, this is how far it must get before the stream may end.
#[must_use]
pub fn next_boundary(frames: &[u8], at: usize) -> usize {
    let mut boundary = 0;
    while boundary < at && boundary < frames.len() {
        let Some((header, payload)) = spans(&frames[boundary..]) else { return frames.len() };
        boundary = boundary.saturating_add(header).saturating_add(payload).min(frames.len());
    }
    boundary
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_bad_headers_as_soon_as_they_are_certain() {
        let protocol = Some(1002);
        let mut top = vec![0x81, 0xff, 0x80];
        top.extend([0; 11]);
        for (bytes, code) in [
            (&b""[..], None),
            (&[0x81], None),
            (&[0x81, 0x80, 1, 2, 3], None),
            (&[0xc1], protocol),
            (&[0xa1], protocol),
            (&[0x91], protocol),
            (&[0x83], protocol),
            (&[0x87], protocol),
            (&[0x8b], protocol),
            (&[0x8f], protocol),
            (&[0x08], protocol),
            (&[0x09], protocol),
            (&[0x81, 0x00], protocol),
            (&[0x81, 0x7e], protocol),
            (&[0x89, 0xfe], protocol),
            (&[0x88, 0xff], protocol),
            (&[0x81, 0xfe, 0, 125], protocol),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 255, 255], protocol),
            (&top[..9], None),
            (&top[..10], Some(1009)),
        ] {
            // The one that may be up where that was agreed on.
            let deflate = bytes.first() != Some(&0xc1);
            let outcome = ClientHeader::parse(bytes, deflate);
            assert_eq!(outcome.err().map(|fault| fault.close_code()), code, "{bytes:02x?}");
            assert!(!matches!(outcome, Ok(Some(_))), "{bytes:02x?}");
        }
    }

    #[test]
    fn rsv1_is_for_the_first_frame_of_a_message_and_for_those_who_agreed() {
        for (first, is_good) in [
            (0xc1, true),
            (0x41, true),
            (0xc2, true),
            (0x42, true),
            (0xc0, false),
            (0x40, false),
            (0xc8, false),
            (0xc9, false),
            (0xca, false),
            (0xc3, false),
            (0xe1, false),
            (0xd1, false),
        ] {
            let bytes = [first, 0x80, 1, 2, 3, 4];
            let fault = FrameFault::Protocol("reserved bits are set");
            let outcome = ClientHeader::parse(&bytes, true);
            if is_good {
                assert!(outcome.unwrap().is_some_and(|header| header.is_compressed), "{first:02x}");
                assert_eq!(ClientHeader::parse(&bytes[..1], true), Ok(None));
            } else {
                assert_eq!(outcome, Err(fault), "{first:02x}");
            }
            assert_eq!(ClientHeader::parse(&bytes, false), Err(fault), "{first:02x}");
        }
        let frame = encode_compressed_text(b"x");
        assert_eq!((&frame[..], next_boundary(&frame, 1)), (&[0xc1, 1, b'x'][..], 3));
    }

    #[test]
    fn reads_good_headers() {
        for (bytes, len, size) in [
            (vec![0x81, 0xfd, 1, 2, 3, 4], 125, 6),
            (vec![0x81, 0xfe, 0, 126, 1, 2, 3, 4], 126, 8),
            (vec![0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], 65536, 14),
        ] {
            let key = [1, 2, 3, 4];
            let (opcode, is_compressed) = (Opcode::Text, false);
            let header = ClientHeader { is_final: true, opcode, is_compressed, key, payload_len: len, size };
            assert_eq!(ClientHeader::parse(&bytes, true), Ok(Some(header)));
            for cut in 0..bytes.len() {
                assert_eq!(ClientHeader::parse(&bytes[..cut], true), Ok(None));
            }
        }
    }

    #[test]
    fn close_codes() {
        for code in [1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4001, 4999] {
            assert!(is_close_code(code), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert!(!is_close_code(code), "{code}");
        }
        let frame = encode_close(4002, &"\u{e9}".repeat(100));
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert_eq!(&frame[..4], [0x88, 124, 15, 162]);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
        assert_eq!(&encode_control(Control::Ping, b"x")[..], [0x89, 1, b'x']);
    }

    proptest! {
        #[test]
        fn boundaries_are_where_frames_meet(
            sizes in proptest::collection::vec(prop_oneof![0usize..5, 120usize..130, 65530usize..65540], 0..6),
            at: proptest::sample::Index,
        ) {
            let mut frames = Vec::new();
            let mut boundaries = vec![0];
            for size in sizes {
                frames.extend(encode_text(&vec![b'x'; size]));
                boundaries.push(frames.len());
            }
            let mut asked = boundaries.clone();
            asked.extend([at.index(frames.len() + 1), frames.len() + 9]);
            asked.extend(boundaries.iter().map(|boundary| boundary + 1));
            for at in asked {
                let expected = boundaries.iter().copied().find(|b| *b >= at).unwrap_or(frames.len());
                prop_assert_eq!(next_boundary(&frames, at), expected);
            }
        }

        #[test]
        fn any_bytes_have_a_boundary(bytes in proptest::collection::vec(any::<u8>(), 0..40), at in 0usize..50) {
            prop_assert!(next_boundary(&bytes, at) <= bytes.len());
        }
    }
}
