//! The chunked transfer coding, decoded as the bytes come (RFC 9112 section 7.1).
//!
//! Only CRLF ends a line. Extensions and trailers are read, bounded and thrown away.

use crate::wire::head::hex_digit;

/// Bytes of chunk extensions in one body at most: they carry nothing here, and one byte of data
/// could otherwise bring any number of them.
pub const EXTENSION_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the trailer section at most.
pub const TRAILER_BYTES_MAX: usize = 4096;
/// Digits of a chunk size at most: what a `u64` holds.
const SIZE_DIGITS_MAX: u8 = 16;

/// Why a chunked body is refused. The connection cannot be kept after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkFault {
    /// Not chunks: 400.
    Malformed,
    /// The body is over its limit, as seen at the size of a chunk, before its data: 413.
    TooLarge,
    /// Extensions or trailers over their bound: 431.
    OverheadTooLarge,
}

impl ChunkFault {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            ChunkFault::Malformed => 400,
            ChunkFault::TooLarge => 413,
            ChunkFault::OverheadTooLarge => 431,
        }
    }
}

/// What one call of [`Chunked::feed`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that belong to this body. Where `done`, what follows them does not.
    pub consumed: usize,
    /// Whether the body is complete.
    pub done: bool,
}

/// A decoder of one body.
#[derive(Debug, Clone)]
pub struct Chunked {
    state: State,
    /// Data bytes still allowed.
    room: u64,
    /// Extension bytes so far.
    extension: usize,
    /// Trailer bytes so far.
    trailer: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { digits: u8, value: u64 },
    Extension { value: u64 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
}

impl Chunked {
    /// A decoder of a body of at most `limit` data bytes.
    #[must_use]
    pub fn new(limit: u64) -> Chunked {
        Chunked { state: State::Size { digits: 0, value: 0 }, room: limit, extension: 0, trailer: 0 }
    }

    /// Takes the next bytes and appends the data in them to `out`.
    ///
    /// # Errors
    /// See [`ChunkFault`]. After a fault the decoder is of no more use.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, ChunkFault> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if let State::Data { left } = self.state {
                let rest = &input[at..];
                let here = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                out.extend_from_slice(&rest[..here]);
                at += here;
                let left = left - here as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
            } else {
                self.state = self.step(input[at])?;
                at += 1;
            }
        }
        Ok(Progress { consumed: at, done: self.state == State::Done })
    }

    /// One byte of anything but data.
    fn step(&mut self, byte: u8) -> Result<State, ChunkFault> {
        Ok(match (self.state, byte) {
            (State::Size { digits, value }, b'\r') if digits > 0 => State::SizeLf { value },
            (State::Size { digits, value }, b';' | b' ' | b'\t') if digits > 0 => {
                self.count_extension()?;
                State::Extension { value }
            }
            (State::Size { digits, value }, byte) => {
                let digit = hex_digit(byte).ok_or(ChunkFault::Malformed)?;
                if digits == SIZE_DIGITS_MAX {
                    return Err(ChunkFault::Malformed);
                }
                let value = value << 4 | u64::from(digit);
                if value > self.room {
                    return Err(ChunkFault::TooLarge);
                }
                State::Size { digits: digits + 1, value }
            }
            (State::Extension { value }, b'\r') => State::SizeLf { value },
            (State::Extension { .. }, byte) if is_line_byte(byte) => {
                self.count_extension()?;
                self.state
            }
            (State::SizeLf { value: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { value }, b'\n') => {
                self.room -= value;
                State::Data { left: value }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0, value: 0 },
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerStart | State::Trailer, byte) if is_line_byte(byte) => {
                self.trailer += 1;
                if self.trailer > TRAILER_BYTES_MAX {
                    return Err(ChunkFault::OverheadTooLarge);
                }
                State::Trailer
            }
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::LastLf, b'\n') => State::Done,
            _ => return Err(ChunkFault::Malformed),
        })
    }

    fn count_extension(&mut self) -> Result<(), ChunkFault> {
        self.extension += 1;
        if self.extension > EXTENSION_BYTES_MAX { Err(ChunkFault::OverheadTooLarge) } else { Ok(()) }
    }
}

fn is_line_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(input: &[u8], limit: u64) -> Result<(Vec<u8>, Progress), ChunkFault> {
        let mut out = Vec::new();
        Chunked::new(limit).feed(input, &mut out).map(|progress| (out, progress))
    }

    #[test]
    fn reads_whole_bodies_and_nothing_behind_them() {
        for (input, data, behind) in [
            ("0\r\n\r\n", "", ""),
            ("3\r\nabc\r\n0\r\n\r\nGET", "abc", "GET"),
            ("A;x=\"y\"\r\n0123456789\r\n00 ;z\r\n\r\n", "0123456789", ""),
            ("1\r\na\r\n1\r\nb\r\n0\r\nDigest: x\r\nB: c\r\n\r\n0\r\n", "ab", "0\r\n"),
        ] {
            let (out, progress) = decode(input.as_bytes(), 10).unwrap();
            assert_eq!(out, data.as_bytes());
            assert_eq!(progress, Progress { consumed: input.len() - behind.len(), done: true });
        }
        assert!(!decode(b"3\r\nabc\r\n0\r\n\r", 3).unwrap().1.done);
    }

    #[test]
    fn refuses_the_rest() {
        let extension = format!("0;{}", "x".repeat(EXTENSION_BYTES_MAX));
        let trailer = format!("0\r\n{}", "x".repeat(TRAILER_BYTES_MAX + 1));
        let lines = format!("0\r\n{}", "a:b\r\n".repeat(TRAILER_BYTES_MAX / 3 + 1));
        for (input, fault) in [
            ("\r\n", ChunkFault::Malformed),
            (";x\r\n", ChunkFault::Malformed),
            ("-1\r\n", ChunkFault::Malformed),
            ("+1\r\n", ChunkFault::Malformed),
            ("0x1\r\n", ChunkFault::Malformed),
            (" 1\r\n", ChunkFault::Malformed),
            ("1\na", ChunkFault::Malformed),
            ("1\ra", ChunkFault::Malformed),
            ("1\r\nab", ChunkFault::Malformed),
            ("1\r\na\n", ChunkFault::Malformed),
            ("1;a\0", ChunkFault::Malformed),
            ("0\r\na\n", ChunkFault::Malformed),
            ("0\r\n\n", ChunkFault::Malformed),
            ("00000000000000000", ChunkFault::Malformed),
            ("b\r\n", ChunkFault::TooLarge),
            ("ffffffffffffffff", ChunkFault::TooLarge),
            ("a\r\n0123456789\r\n1\r\n", ChunkFault::TooLarge),
            (&extension, ChunkFault::OverheadTooLarge),
            (&trailer, ChunkFault::OverheadTooLarge),
            (&lines, ChunkFault::OverheadTooLarge),
        ] {
            assert_eq!(
                decode(input.as_bytes(), 10).unwrap_err(),
                fault,
                "{:?}",
                input.get(..20).unwrap_or(input)
            );
        }
    }

    proptest! {
        /// Encoded by hand, cut anywhere.
        #[test]
        fn any_cut_gives_the_same(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..30), 0..6),
            cuts in proptest::collection::vec(0usize..200, 0..8),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
            }
            wire.extend(b"0\r\nT: x\r\n\r\n");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(wire.len())).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let mut decoder = Chunked::new(200);
            let mut out = Vec::new();
            for cut in cuts.windows(2) {
                let progress = decoder.feed(&wire[cut[0]..cut[1]], &mut out).unwrap();
                prop_assert_eq!(progress.consumed, cut[1] - cut[0]);
                prop_assert_eq!(progress.done, cut[1] == wire.len());
            }
            prop_assert_eq!(out, chunks.concat());
        }
    }
}
