//! In which form an event goes to a connection: as it is, or compressed for those who agreed to that.
//!
//! The compressed copy of an event is made when the first connection of the node needs it, by the shard
//! that has that connection, and lies beside the frame in the [`Envelope`] for all others.

use std::sync::Arc;

use bytes::Bytes;

use crate::shard::counters::Counters;
use crate::shard::envelope::Envelope;
use crate::wire::deflate::Codec;
use crate::wire::envelope::payload_of;
use crate::wire::frame::encode_compressed_text;

/// One shard's inflater and compressor, and what it compresses.
#[derive(Debug)]
pub struct Press {
    pub(super) codec: Codec,
    /// Shorter events go out as they are.
    min_bytes: usize,
    counters: Arc<Counters>,
}

impl Press {
    /// A press for events of `min_bytes` and more.
    #[must_use]
    pub fn new(min_bytes: usize, counters: Arc<Counters>) -> Press {
        Press { codec: Codec::default(), min_bytes, counters }
    }

    /// The frame of an event for a connection that takes compressed ones, or does not.
    pub fn frame<'e>(&mut self, envelope: &'e Envelope, deflates: bool) -> &'e Bytes {
        if !deflates || payload_of(&envelope.frame).len() < self.min_bytes {
            return &envelope.frame;
        }
        let deflated = envelope.deflated_by(|payload| {
            let deflated = self.codec.deflater.deflate(payload).map(encode_compressed_text);
            let bytes = deflated.as_ref().unwrap_or(&envelope.frame).len();
            self.counters.deflated_events.add(1);
            self.counters.deflated_bytes_in.add(envelope.frame.len() as u64);
            self.counters.deflated_bytes_out.add(bytes as u64);
            deflated
        });
        deflated.unwrap_or(&envelope.frame)
    }
}

/// The same without work: compressed where somebody has done that already. For those who come back:
/// ten thousand events that nobody compressed while they were new are not compressed in one turn.
pub fn frame_at_hand(envelope: &Envelope, deflates: bool) -> &Bytes {
    if deflates { envelope.deflated().unwrap_or(&envelope.frame) } else { &envelope.frame }
}
