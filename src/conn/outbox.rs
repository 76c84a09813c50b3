//! What one connection still has to send: shared frames, by reference.
//!
//! An idle connection has no outbox at all. Data waits in one lane, in order; control frames
//! (the newest pongs, a ping) have their own room and go out at the next frame boundary, so
//! that a full lane never makes a live client look dead.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use crate::wire::frame::next_boundary;

/// Slices offered to one vectored write at most: what the kernel takes (`IOV_MAX`).
pub const SLICES_MAX: usize = 1024;

/// Pongs that wait at most. RFC 6455 5.5.3 asks for the newest one only, but who sends a few pings
/// in one breath gets an answer to each.
pub const PONGS_MAX: usize = 16;

/// Unsent bytes of one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The chunk being sent: whole frames back to back, or an HTTP response.
    chunk: Bytes,
    /// How much of `chunk` is sent.
    sent: usize,
    /// `chunk` is an HTTP response: it has no frame boundary inside.
    raw: bool,
    /// The newest [`PONGS_MAX`], oldest first.
    pongs: VecDeque<Bytes>,
    ping: Option<Bytes>,
    lane: VecDeque<Bytes>,
    bytes: usize,
    /// When a byte last left (monotonic ms), or when the outbox came to be.
    progress_at: u64,
    /// Whether a byte left at all.
    moved: bool,
}

impl Outbox {
    /// An empty outbox, made at `now_mono`.
    #[must_use]
    pub fn new(now_mono: u64) -> Outbox {
        Outbox { progress_at: now_mono, ..Outbox::default() }
    }

    /// Queues an HTTP response: the first thing a connection ever sends.
    pub fn push_raw(&mut self, response: Bytes) {
        debug_assert!(self.is_empty(), "an HTTP response is the first thing sent");
        self.bytes += response.len();
        self.chunk = response;
        self.sent = 0;
        self.raw = true;
    }

    /// Queues frames behind everything queued before.
    pub fn push(&mut self, frames: Bytes) {
        let idle = self.is_empty();
        self.bytes += frames.len();
        if idle {
            self.chunk = frames;
            self.sent = 0;
            self.raw = false;
        } else {
            self.lane.push_back(frames);
        }
    }

    /// Owes the peer this pong, behind a bounded number of older ones.
    pub fn push_pong(&mut self, frame: Bytes) {
        if self.pongs.len() == PONGS_MAX {
            self.pongs.pop_front();
        }
        self.pongs.push_back(frame);
        self.make_way();
    }

    /// Asks the peer for a sign of life. One outstanding ping is enough.
    pub fn push_ping(&mut self, frame: Bytes) {
        self.ping = Some(frame);
        self.make_way();
    }

    /// Cuts the chunk at the end of the frame that is under way, so that control frames can
    /// follow it.
    fn make_way(&mut self) {
        if self.raw || self.chunk.is_empty() {
            return;
        }
        let boundary = next_boundary(&self.chunk, self.sent);
        if boundary < self.chunk.len() {
            let rest = self.chunk.split_off(boundary);
            self.lane.push_front(rest);
        }
        if boundary == self.sent {
            self.chunk = Bytes::new();
            self.sent = 0;
        }
    }

    /// Takes the next chunk to send when there is none. Only when some of it is sent: a control
    /// frame stays in its room, where newer ones replace it, until it is under way.
    fn refill(&mut self) {
        while self.chunk.len() == self.sent {
            self.raw = false;
            self.sent = 0;
            self.chunk = match self.pongs.pop_front().or_else(|| self.ping.take()) {
                Some(frame) => {
                    self.bytes += frame.len();
                    frame
                }
                None => match self.lane.pop_front() {
                    Some(frames) => frames,
                    None => {
                        self.chunk = Bytes::new();
                        return;
                    }
                },
            };
        }
    }

    /// How many slices everything that waits would take.
    #[must_use]
    pub fn parts(&self) -> usize {
        let controls = self.pongs.len() + usize::from(self.ping.is_some());
        usize::from(self.chunk.len() > self.sent) + controls + self.lane.len()
    }

    /// Fills `slices` with what to send next, in order. Returns how many were filled and
    /// their bytes.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> (usize, usize) {
        let first = self.chunk.get(self.sent..).filter(|rest| !rest.is_empty());
        let control = self.pongs.iter().chain(&self.ping);
        let all = first.into_iter().chain(control.chain(&self.lane).map(|b| &b[..]));
        let (mut n, mut bytes) = (0, 0);
        for (slot, part) in slices.iter_mut().zip(all) {
            *slot = IoSlice::new(part);
            n += 1;
            bytes += part.len();
        }
        (n, bytes)
    }

    /// Takes note that the first `n` bytes of the last [`Outbox::gather`] are sent.
    pub fn advance(&mut self, mut n: usize, now_mono: u64) {
        if n > 0 {
            self.progress_at = now_mono;
            self.moved = true;
        }
        while n > 0 {
            self.refill();
            let rest = self.chunk.len() - self.sent;
            debug_assert!(rest > 0, "more sent than was queued");
            let step = n.min(rest);
            self.sent += step;
            self.bytes -= step;
            n -= step;
        }
        if self.chunk.len() == self.sent {
            self.chunk = Bytes::new();
            (self.sent, self.raw) = (0, false);
        }
    }

    /// Drops all that waits, but for an HTTP response and for the rest of a frame that is under
    /// way: cutting those would break the stream. Says whether such a frame stays; a response
    /// holds nothing that was meant for one viewer.
    pub fn forfeit(&mut self) -> bool {
        self.lane.clear();
        self.pongs.clear();
        self.ping = None;
        let keep = match (self.raw, self.sent) {
            (true, _) => self.chunk.len(),
            (false, 0) => 0,
            (false, sent) => next_boundary(&self.chunk, sent),
        };
        if keep <= self.sent {
            self.chunk = Bytes::new();
            self.sent = 0;
        } else {
            self.chunk.truncate(keep);
        }
        self.bytes = self.chunk.len() - self.sent;
        !self.raw && self.bytes > 0
    }

    /// Bytes of data that wait; control frames have their own room and do not count until
    /// they are under way.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a byte left within the last `ms`. An outbox that has only just come to be, for an
    /// event of this turn, shows nothing about its peer.
    #[must_use]
    pub fn moved_within(&self, ms: u64, now_mono: u64) -> bool {
        self.moved && now_mono - self.progress_at < ms
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunk.len() == self.sent && self.lane.is_empty() && self.pongs.is_empty() && self.ping.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{Control, encode_control, encode_text};
    use proptest::prelude::*;

    /// Sends up to `n` bytes of `outbox` to `wire`.
    fn send(outbox: &mut Outbox, n: usize, wire: &mut Vec<u8>) {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let (count, bytes) = outbox.gather(&mut slices);
        let flat: Vec<u8> = slices[..count].iter().flat_map(|s| s.iter().copied()).collect();
        assert_eq!(flat.len(), bytes);
        let n = n.min(bytes);
        wire.extend_from_slice(&flat[..n]);
        outbox.advance(n, 7);
    }

    /// The text and control frames of a whole server stream: (opcode, payload).
    fn frames(mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut out = vec![];
        while !wire.is_empty() {
            let (header, len) = match wire[1] {
                126 => (4, usize::from(u16::from_be_bytes([wire[2], wire[3]]))),
                n => (2, usize::from(n)),
            };
            out.push((wire[0] & 15, wire[header..header + len].to_vec()));
            wire = &wire[header + len..];
        }
        out
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push(Vec<usize>),
        Pong(u8),
        Ping,
        Send(usize),
        Forfeit,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => proptest::collection::vec(0usize..300, 1..5).prop_map(Op::Push),
            1 => any::<u8>().prop_map(Op::Pong),
            1 => Just(Op::Ping),
            4 => (0usize..700).prop_map(Op::Send),
            1 => Just(Op::Forfeit),
        ]
    }

    proptest! {
        /// Whatever is pushed and however it is cut: the stream stays whole frames, texts stay
        /// in order, the newest pong is there, and nothing but a forfeit loses a text.
        #[test]
        fn the_stream_stays_whole(ops in proptest::collection::vec(op(), 1..80)) {
            let mut outbox = Outbox::new(0);
            let mut wire = vec![];
            let (mut next, mut forfeited, mut last_pong) = (0u32, false, None);
            for op in ops {
                match op {
                    Op::Push(sizes) => {
                        let mut chunk = vec![];
                        for size in sizes {
                            let text = format!("{next}:{}", "x".repeat(size));
                            next += 1;
                            chunk.extend_from_slice(&encode_text(text.as_bytes()));
                        }
                        outbox.push(chunk.into());
                    }
                    Op::Pong(n) => {
                        last_pong = Some(n);
                        outbox.push_pong(encode_control(Control::Pong, &[n]));
                    }
                    Op::Ping => outbox.push_ping(encode_control(Control::Ping, &[])),
                    Op::Send(n) => send(&mut outbox, n, &mut wire),
                    Op::Forfeit => {
                        outbox.forfeit();
                        forfeited = true;
                        last_pong = None;
                    }
                }
            }
            while !outbox.is_empty() {
                send(&mut outbox, 97, &mut wire);
            }
            prop_assert_eq!(outbox.bytes(), 0);
            let got = frames(&wire);
            let texts: Vec<u32> = got.iter().filter(|f| f.0 == 1)
                .map(|f| std::str::from_utf8(&f.1).unwrap().split(':').next().unwrap().parse().unwrap())
                .collect();
            prop_assert!(texts.windows(2).all(|w| w[0] < w[1]), "order");
            if !forfeited {
                prop_assert_eq!(texts.len(), next as usize, "nothing lost");
            }
            if let Some(n) = last_pong {
                let pongs: Vec<_> = got.iter().filter(|f| f.0 == 10).collect();
                prop_assert_eq!(&pongs.last().unwrap().1, &vec![n]);
            }
        }
    }

    #[test]
    fn a_ping_overtakes_a_full_lane_at_the_next_frame() {
        let mut outbox = Outbox::new(0);
        let two = [encode_text(b"first").to_vec(), encode_text(b"second").to_vec()].concat();
        outbox.push(two.into());
        outbox.push(encode_text(b"third"));
        let mut wire = vec![];
        send(&mut outbox, 3, &mut wire);
        outbox.push_ping(encode_control(Control::Ping, &[]));
        while !outbox.is_empty() {
            send(&mut outbox, 1000, &mut wire);
        }
        let opcodes: Vec<u8> = frames(&wire).iter().map(|f| f.0).collect();
        assert_eq!(opcodes, [1, 9, 1, 1]);
        assert_eq!(outbox.progress_at, 7);
        assert!(outbox.moved_within(2, 8) && !outbox.moved_within(2, 9));
        assert!(!Outbox::new(8).moved_within(2, 8), "nothing has moved yet");
    }

    #[test]
    fn of_many_pongs_the_newest_go_out_in_order() {
        let mut outbox = Outbox::new(0);
        let mut wire = vec![];
        let pong = |n: usize| encode_control(Control::Pong, &[n as u8]);
        let sent = |wire: &[u8]| frames(wire).iter().map(|f| usize::from(f.1[0])).collect::<Vec<_>>();
        // As many as have room are all answered.
        (0..PONGS_MAX).for_each(|n| outbox.push_pong(pong(n)));
        send(&mut outbox, 1, &mut wire);
        // The first one is under way, and cannot be replaced any more.
        (PONGS_MAX..3 * PONGS_MAX).for_each(|n| outbox.push_pong(pong(n)));
        assert_eq!(outbox.parts(), 1 + PONGS_MAX);
        while !outbox.is_empty() {
            send(&mut outbox, 1, &mut wire);
        }
        assert_eq!(sent(&wire), [vec![0], (2 * PONGS_MAX..3 * PONGS_MAX).collect()].concat());
        assert!(frames(&wire).iter().all(|f| f.0 == 10));
        (0..PONGS_MAX).for_each(|n| outbox.push_pong(pong(n)));
        wire.clear();
        send(&mut outbox, usize::MAX, &mut wire);
        assert_eq!(sent(&wire), (0..PONGS_MAX).collect::<Vec<_>>());
    }

    #[test]
    fn what_stays_of_a_forfeit_is_told_to_be_a_frame_or_not() {
        // (is an HTTP response, bytes sent, a frame stays, anything stays)
        for (raw, sent, frame_stays, stays) in [
            (true, 0, false, true),
            (true, 3, false, true),
            (false, 0, false, false),
            (false, 3, true, true),
            (false, 7, false, false),
        ] {
            let mut outbox = Outbox::new(0);
            if raw {
                outbox.push_raw(Bytes::from_static(b"HTTP/1.1 101 X\r\n\r\n"));
            } else {
                outbox.push([encode_text(b"first"), encode_text(b"second")].concat().into());
            }
            outbox.push(encode_text(b"third"));
            send(&mut outbox, sent, &mut vec![]);
            assert_eq!(outbox.forfeit(), frame_stays, "{raw} {sent}");
            assert_eq!(!outbox.is_empty(), stays, "{raw} {sent}");
        }
    }

    #[test]
    fn an_http_response_is_never_cut_by_a_control_frame() {
        let mut outbox = Outbox::new(0);
        outbox.push_raw(Bytes::from_static(b"HTTP/1.1 101 X\r\n\r\n"));
        let mut wire = vec![];
        send(&mut outbox, 4, &mut wire);
        outbox.push_pong(encode_control(Control::Pong, b"p"));
        while !outbox.is_empty() {
            send(&mut outbox, 5, &mut wire);
        }
        assert_eq!(&wire[..18], b"HTTP/1.1 101 X\r\n\r\n");
        assert_eq!(frames(&wire[18..]), [(10, b"p".to_vec())]);
    }
}
