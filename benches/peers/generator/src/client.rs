//! One connection to a server as a machine: bytes in, words to say and deliveries to count out. Pure.

use hdrhistogram::Histogram;

use crate::event::{STAMP_BYTES, Stamp, find};
use crate::frames::{client_frame, first, head_end, upgrade_request};
use crate::tongue::{Heard, Tongue};

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waits for TCP.
    Connecting,
    /// Waits for the 101.
    Upgrading,
    /// Waits until it is subscribed.
    Greeting,
    /// Gets events.
    Ready,
}

/// How connections are opened.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What the server speaks.
    pub tongue: Tongue,
    /// The path of the upgrade.
    pub path: String,
    /// Whether it asks for events.
    pub subscribes: bool,
    /// Whether it says no word after the upgrade.
    pub upgrade_only: bool,
    /// Wall time, for credentials.
    pub wall_ms: u64,
}

/// What came to the clients of a run.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Events before this one belong to an earlier phase.
    pub from_seq: u64,
    /// Events that reached a client.
    pub delivered: u64,
    /// Of them, those that came behind a later one, or again.
    pub disordered: u64,
    /// Events of earlier phases that came after all.
    pub stale: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// From the due time to the arrival.
    pub latency_us: Histogram<u64>,
}

impl Tally {
    /// Nothing yet.
    pub fn new(from_seq: u64) -> Tally {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("bounds in their order");
        Tally { from_seq, delivered: 0, disordered: 0, stale: 0, bytes: 0, latency_us }
    }
}

/// No wait is longer: patience ends before.
const LATENCY_MAX_US: u64 = 600_000_000;

/// The connection.
#[derive(Debug)]
pub struct Client {
    index: usize,
    /// Where it is.
    pub phase: Phase,
    next_seq: u64,
    hint: usize,
    /// The end of a payload whose event goes on in the next frame; streams only.
    carry: Vec<u8>,
}

impl Client {
    /// One that is being connected.
    pub fn new(index: usize) -> Client {
        Client { index, phase: Phase::Connecting, next_seq: 0, hint: 0, carry: Vec::new() }
    }

    /// TCP is there.
    pub fn connected(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        self.phase = Phase::Upgrading;
        out.extend_from_slice(&upgrade_request(&entry.path));
    }

    /// Takes what came; returns how much of it was used.
    ///
    /// # Errors
    /// Why the connection is of no use.
    pub fn take(
        &mut self,
        bytes: &[u8],
        entry: &Entry,
        now_ns: u64,
        tally: &mut Tally,
        out: &mut Vec<u8>,
    ) -> Result<usize, String> {
        let mut used = 0;
        if self.phase == Phase::Upgrading {
            let Some(end) = head_end(bytes) else { return Ok(0) };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return Err(format!("no upgrade: {}", String::from_utf8_lossy(&bytes[..end.min(60)])));
            }
            used = end;
            self.phase = Phase::Greeting;
            if entry.upgrade_only {
                self.phase = Phase::Ready;
            } else if entry.tongue.is_silent() {
                // A client that has said something acknowledges what it gets later and less often, at the
                // cost of its server: so all say something, if only a pong that no server answers.
                client_frame(10, b"here", out);
                self.phase = Phase::Ready;
            } else {
                entry.tongue.greet(self.index, entry.subscribes, entry.wall_ms, out);
            }
        }
        while let Some(frame) = first(&bytes[used..]) {
            let payload = &bytes[used + frame.start..used + frame.end];
            used += frame.end;
            match frame.opcode {
                0..=2 => self.hear(payload, entry, now_ns, tally, out)?,
                9 => client_frame(10, payload, out),
                8 => return Err(format!("closed by the server: {}", close_words(payload))),
                _ => {}
            }
        }
        Ok(used)
    }

    fn hear(
        &mut self,
        payload: &[u8],
        entry: &Entry,
        now_ns: u64,
        tally: &mut Tally,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let joined;
        let mut words = payload;
        if !self.carry.is_empty() {
            joined = [&self.carry[..], payload].concat();
            self.carry.clear();
            words = &joined;
        }
        let mut at = 0;
        while let Some((stamp, end)) = find(words, at, &mut self.hint) {
            self.deliver(stamp, now_ns, tally);
            at = end;
            if !entry.tongue.is_stream() {
                return Ok(());
            }
        }
        let rest = &words[at..];
        if entry.tongue.is_stream() && !rest.ends_with(b"\r\n") {
            self.carry.extend_from_slice(&rest[rest.len().saturating_sub(STAMP_BYTES - 1)..]);
        }
        if entry.upgrade_only || (at > 0 && rest.len() < 8) {
            return Ok(());
        }
        match entry.tongue.hear(rest, entry.subscribes, out) {
            Heard::Refused => Err(format!("refused: {}", String::from_utf8_lossy(rest))),
            Heard::Ready if self.phase == Phase::Greeting => {
                self.phase = Phase::Ready;
                Ok(())
            }
            Heard::Ready | Heard::Fine => Ok(()),
        }
    }

    fn deliver(&mut self, stamp: Stamp, now_ns: u64, tally: &mut Tally) {
        if stamp.seq < tally.from_seq {
            tally.stale += 1;
            return;
        }
        tally.delivered += 1;
        if stamp.seq < self.next_seq {
            tally.disordered += 1;
        } else {
            self.next_seq = stamp.seq + 1;
        }
        tally.latency_us.saturating_record(now_ns.saturating_sub(stamp.due_ns) / 1000);
    }
}

fn close_words(payload: &[u8]) -> String {
    match payload {
        [a, b, reason @ ..] => {
            format!("{} {}", u16::from_be_bytes([*a, *b]), String::from_utf8_lossy(reason))
        }
        _ => "no code".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::event;
    use crate::frames::server_frame;

    fn entry(tongue: Tongue) -> Entry {
        Entry { tongue, path: "/".into(), subscribes: true, upgrade_only: false, wall_ms: 0 }
    }

    /// Gives `bytes` in pieces of `size`, keeping what was not used.
    fn feed(entry: &Entry, bytes: &[u8], size: usize) -> (Client, Tally, Result<(), String>) {
        let (mut client, mut tally, mut out) = (Client::new(0), Tally::new(0), Vec::new());
        client.connected(entry, &mut out);
        let mut rest = Vec::new();
        for piece in bytes.chunks(size) {
            rest.extend_from_slice(piece);
            match client.take(&rest, entry, 2_000_000, &mut tally, &mut out) {
                Ok(used) => drop(rest.drain(..used)),
                Err(e) => return (client, tally, Err(e)),
            }
        }
        (client, tally, Ok(()))
    }

    const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

    #[test]
    fn deliveries_are_counted_whatever_the_pieces() {
        let mut bytes = ANSWER.to_vec();
        server_frame(1, br#"{"type":"subscribed"}"#, &mut bytes);
        for seq in [0, 1, 3, 2, 2] {
            server_frame(1, event(Stamp { seq, due_ns: 1_000_000 }).as_bytes(), &mut bytes);
        }
        for size in [1, 2, 7, 100, 10_000] {
            let (client, tally, end) = feed(&entry(Tongue::Omnicast), &bytes, size);
            end.unwrap();
            assert_eq!(client.phase, Phase::Ready);
            assert_eq!((tally.delivered, tally.disordered), (5, 2));
            assert_eq!((tally.latency_us.min(), tally.latency_us.max()), (1000, 1000));
        }
    }

    #[test]
    fn a_stream_is_read_across_its_frames() {
        let mut stream = b"INFO {}\r\nPONG\r\n".to_vec();
        for seq in 0..5 {
            let text = event(Stamp { seq, due_ns: 0 });
            stream.extend_from_slice(format!("MSG inventory 1 {}\r\n{text}\r\n", text.len()).as_bytes());
        }
        stream.extend_from_slice(b"PING\r\n");
        for size in [1, 5, 64, 200, 333, 5000] {
            let mut bytes = ANSWER.to_vec();
            for part in stream.chunks(size) {
                server_frame(2, part, &mut bytes);
            }
            let (_, tally, end) = feed(&entry(Tongue::Nats), &bytes, 4096);
            end.unwrap();
            assert_eq!((tally.delivered, tally.disordered), (5, 0), "frames of {size} bytes");
        }
    }

    #[test]
    fn ends_have_their_reason() {
        let close = [ANSWER, &[0x88, 2, 0x10, 0x07]].concat();
        for (bytes, reason) in [(&b"HTTP/1.1 503 Busy\r\n\r\n"[..], "no upgrade"), (&close, "4103")] {
            let (_, _, end) = feed(&entry(Tongue::Plain), bytes, 100);
            assert!(end.unwrap_err().contains(reason));
        }
    }
}
