//! The payloads of permessage-deflate (RFC 7692 section 7.2), without context takeover: each message stands
//! alone, so that one compressed copy of an event fits every connection, and one inflater and one
//! compressor serve a whole thread.
//!
//! What is agreed with a peer is in [`crate::wire::extension`].

use crate::wire::frame::FrameFault;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a sender leaves off a message: the end of the empty block of a sync flush.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// An empty last block. Behind a tail it is one only where the message ended between two blocks: so one that
/// was cut short is found out.
const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xff, 0xff];
/// Bytes that an empty output begins with.
const FIRST_ROOM: usize = 1 << 10;
/// Bytes of output that are kept for the next message.
const KEPT_ROOM: usize = 64 << 10;
/// The quickest: of 4 KiB it makes half as much again as level 6, in a third of the time
/// (`cargo bench --bench codec`).
const LEVEL: u32 = 1;

/// Bytes that the compressed form of a message of `limit` bytes may have. A sender with very little memory
/// puts five bytes in front of each 127 that it cannot compress; nobody needs more.
#[must_use]
pub fn compressed_max(limit: usize) -> usize {
    limit.saturating_add(limit / 16).saturating_add(16)
}

/// One thread's inflater and compressor. Until they are used they are two pointers; then about 48 KiB and
/// 380 KiB.
#[derive(Debug, Default)]
pub struct Codec {
    /// For what clients send.
    pub inflater: Inflater,
    /// For what the node sends.
    pub deflater: Deflater,
}

/// Inflates one message after the other.
#[derive(Debug, Default)]
pub struct Inflater(Option<Box<Inflating>>);

#[derive(Debug)]
struct Inflating {
    stream: Decompress,
    out: Vec<u8>,
}

impl Inflater {
    /// The message whose compressed payload this is. Memory grows with the bytes that come out, and not
    /// beyond `limit`.
    ///
    /// # Errors
    /// [`FrameFault::TooBig`] as soon as there are more than `limit` bytes, [`FrameFault::Protocol`] for what
    /// no compressor makes.
    pub fn inflate(&mut self, payload: &[u8], limit: usize) -> Result<&[u8], FrameFault> {
        let inflating = self
            .0
            .get_or_insert_with(|| Box::new(Inflating { stream: Decompress::new(false), out: Vec::new() }));
        inflating.stream.reset(false);
        inflating.out.clear();
        inflating.out.shrink_to(KEPT_ROOM);
        // Some compressors end a message with a last block and one byte of an empty one (RFC 7692 7.2.3.4).
        if let Some(rest) = inflating.run(payload, limit)? {
            return if matches!(rest, [] | [0]) { Ok(&inflating.out) } else { Err(CORRUPT) };
        }
        let ended_early = inflating.run(&TAIL, limit)?.is_some();
        let bytes = inflating.out.len();
        // Whatever that block is taken for inside of another one, it is no part of the message.
        let is_whole = !ended_early && matches!(inflating.run(&LAST_BLOCK, limit), Ok(Some([])));
        if is_whole && inflating.out.len() == bytes { Ok(&inflating.out) } else { Err(CORRUPT) }
    }
}

const CORRUPT: FrameFault = FrameFault::Protocol("compressed message does not inflate");

impl Inflating {
    /// Takes all of `input`, or as much as there is up to the end of the stream: then the rest of it.
    fn run<'i>(&mut self, mut input: &'i [u8], limit: usize) -> Result<Option<&'i [u8]>, FrameFault> {
        loop {
            if self.out.len() == self.out.capacity() {
                // One more than is allowed shows that there is more.
                let room = (self.out.len() * 2).max(FIRST_ROOM).min(limit.saturating_add(1));
                self.out.reserve_exact(room.saturating_sub(self.out.len()).max(1));
            }
            let (taken, given) = (self.stream.total_in(), self.out.len());
            let status = self.stream.decompress_vec(input, &mut self.out, FlushDecompress::None);
            // First of all: what follows the limit is not looked at, good or bad.
            if self.out.len() > limit {
                return Err(FrameFault::TooBig);
            }
            let status = status.map_err(|_| CORRUPT)?;
            // No more than there was of it.
            let taken = (self.stream.total_in() - taken) as usize;
            input = &input[taken..];
            if status == Status::StreamEnd {
                return Ok(Some(input));
            }
            let has_room = self.out.len() < self.out.capacity();
            if input.is_empty() && has_room {
                return Ok(None);
            }
            if taken == 0 && self.out.len() == given && has_room {
                return Err(CORRUPT);
            }
        }
    }
}

/// Room in which every compressed message ends: nine bits a byte at most, and what surrounds them.
fn room_for(len: usize) -> usize {
    len + len / 8 + 64
}

/// Compresses one message after the other.
#[derive(Debug, Default)]
pub struct Deflater(Option<Box<Deflating>>);

#[derive(Debug)]
struct Deflating {
    stream: Compress,
    out: Vec<u8>,
}

impl Deflater {
    /// The compressed payload of a message; `None` where it would not be shorter.
    pub fn deflate(&mut self, message: &[u8]) -> Option<&[u8]> {
        let deflating = self.0.get_or_insert_with(|| {
            Box::new(Deflating { stream: Compress::new(Compression::new(LEVEL), false), out: Vec::new() })
        });
        let out = &mut deflating.out;
        deflating.stream.reset();
        out.clear();
        out.shrink_to(KEPT_ROOM);
        out.reserve(room_for(message.len()));
        let status = deflating.stream.compress_vec(message, out, FlushCompress::Sync);
        let is_whole = status.is_ok()
            && deflating.stream.total_in() == message.len() as u64
            && out.len() < out.capacity();
        if !is_whole {
            // One that still holds output must not be used again: zlib-rs 0.6.8 keeps its place in that over
            // a reset, and panics when a later message needs the room.
            self.0 = None;
            return None;
        }
        let payload = self.0.as_ref()?.out.strip_suffix(&TAIL)?;
        (payload.len() < message.len()).then_some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 64 << 10;

    fn inflate(payload: &[u8], limit: usize) -> Result<Vec<u8>, FrameFault> {
        Inflater::default().inflate(payload, limit).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        for (payload, message) in [
            // 7.2.3.1: one block.
            (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], "Hello"),
            // 7.2.3.3: a block without compression.
            (&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], "Hello"),
            // 7.2.3.4: the last block is marked as such.
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "Hello"),
            // 7.2.3.5: two blocks.
            (&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], "Hello"),
            // 7.2.3.6: nothing.
            (&[0x00], ""),
        ] {
            assert_eq!(inflate(payload, LIMIT).as_deref(), Ok(message.as_bytes()), "{payload:02x?}");
            for limit in 0..message.len() {
                assert_eq!(inflate(payload, limit), Err(FrameFault::TooBig), "{payload:02x?} {limit}");
            }
            assert!(inflate(payload, message.len()).is_ok());
        }
    }

    #[test]
    fn what_no_compressor_makes_is_refused() {
        for payload in [
            &b""[..],
            // A type of block that there is not.
            &[0x06],
            // A stored block whose lengths disagree, one that is cut short, a match before the beginning.
            &[0x00, 0x05, 0x00, 0xfa, 0xfe, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65],
            &[0x02, 0x13, 0x00],
            // More than a byte behind the last block, and one that is not that of an empty one.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x01],
            // The second message of one who keeps its window (7.2.3.2).
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
        ] {
            assert_eq!(inflate(payload, LIMIT), Err(CORRUPT), "{payload:02x?}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_leaves_no_memory_behind() {
        let mut deflater = Deflater::default();
        let bomb = deflater.deflate(&vec![b' '; 4 << 20]).unwrap().to_vec();
        assert!(bomb.len() < compressed_max(LIMIT), "{}", bomb.len());
        assert!(deflater.0.as_ref().unwrap().out.capacity() > KEPT_ROOM);
        deflater.deflate(b"short").map(<[u8]>::len);
        assert!(deflater.0.as_ref().unwrap().out.capacity() <= KEPT_ROOM);

        let mut inflater = Inflater::default();
        for _ in 0..3 {
            assert_eq!(inflater.inflate(&bomb, LIMIT), Err(FrameFault::TooBig));
            assert!(inflater.0.as_ref().unwrap().out.capacity() <= LIMIT + 8);
        }
        assert_eq!(inflater.inflate(&bomb, 4 << 20).map(<[u8]>::len), Ok(4 << 20));
        inflater.inflate(&[0], LIMIT).unwrap();
        assert!(inflater.0.as_ref().unwrap().out.capacity() <= KEPT_ROOM);
    }

    /// Found by the Autobahn suite, 12.2.11: a compressor that was left with output in it.
    #[test]
    fn what_does_not_become_shorter_leaves_nothing_behind() {
        let noise = |len: u32| {
            let mut x = 1u32;
            let mut next = || {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 24) as u8
            };
            (0..len).map(|_| next()).collect::<Vec<u8>>()
        };
        let mut codec = Codec::default();
        for round in 0..40 {
            for len in [100, 5_000, 60_000, 70_000 + round, 200_000] {
                assert_eq!(codec.deflater.deflate(&noise(len)), None, "{len}");
                assert!(codec.deflater.0.is_some(), "there was room for {len}");
            }
            let text = b"a text that is said ".repeat(9_000);
            let payload = codec.deflater.deflate(&text).unwrap();
            assert_eq!(codec.inflater.inflate(payload, text.len()), Ok(&text[..]));
        }
    }

    proptest! {
        /// What comes out of the compressor goes through the inflater, after any other messages, within its
        /// limit and not below it.
        #[test]
        fn messages_come_back(
            messages in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..40), 0usize..400), 1..6),
        ) {
            let mut codec = Codec::default();
            for (piece, times) in messages {
                let message = piece.repeat(times);
                let Some(payload) = codec.deflater.deflate(&message) else {
                    prop_assert!(message.len() < 1000 || piece.len() * 2 > message.len());
                    continue;
                };
                prop_assert!(payload.len() < message.len());
                prop_assert_eq!(codec.inflater.inflate(payload, message.len()), Ok(&message[..]));
                prop_assert_eq!(
                    codec.inflater.inflate(payload, message.len() - 1),
                    Err(FrameFault::TooBig)
                );
                for cut in 0..payload.len().min(40) {
                    let cut_short = codec.inflater.inflate(&payload[..cut], LIMIT);
                    prop_assert!(cut_short.is_err() || cut_short.unwrap().len() < message.len());
                }
            }
        }

        #[test]
        fn any_bytes_inflate_or_are_refused(
            payload in proptest::collection::vec(any::<u8>(), 0..200), limit in 0usize..300,
        ) {
            if let Ok(message) = inflate(&payload, limit) {
                prop_assert!(message.len() <= limit);
            }
        }
    }
}
