//! Parts of the past that were read not long ago, ready to be shared.

use std::sync::Arc;

use crate::shard::archive::Chunk;

/// Bytes of all parts at most.
const BYTES_MAX: usize = 16 << 20;
/// What an event takes beside its frame, about.
const EVENT_OVERHEAD: usize = 256;

/// The parts that were asked for last.
#[derive(Debug, Default)]
pub struct Cache {
    /// By the position they begin with; the one used last at the end. They are a few hundred, so
    /// that looking at each costs nothing beside what is saved.
    parts: Vec<(u64, usize, Arc<Chunk>)>,
    bytes: usize,
}

impl Cache {
    /// The part that begins with `first`.
    pub fn get(&mut self, first: u64) -> Option<Arc<Chunk>> {
        let at = self.parts.iter().position(|(of, ..)| *of == first)?;
        let part = self.parts.remove(at);
        let chunk = part.2.clone();
        self.parts.push(part);
        Some(chunk)
    }

    /// Keeps a part, in the place of one that begins alike.
    pub fn put(&mut self, first: u64, chunk: Arc<Chunk>) {
        let bytes = chunk.envelopes.iter().map(|envelope| envelope.frame.len() + EVENT_OVERHEAD).sum();
        if let Some(at) = self.parts.iter().position(|(of, ..)| *of == first) {
            self.bytes -= self.parts.remove(at).1;
        }
        if bytes > BYTES_MAX {
            return;
        }
        self.bytes += bytes;
        self.parts.push((first, bytes, chunk));
        while self.bytes > BYTES_MAX {
            self.bytes -= self.parts.remove(0).1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Audience, EventType, Namespace};
    use crate::shard::envelope::Envelope;
    use bytes::Bytes;

    fn chunk(position: u64, bytes: usize) -> Arc<Chunk> {
        let audience = Audience::nobody(Namespace(0));
        let frame = Bytes::from(vec![0; bytes]);
        let envelope = Envelope::new(position, EventType(0), audience, frame);
        Arc::new(Chunk { envelopes: vec![Arc::new(envelope)] })
    }

    #[test]
    fn holds_what_was_used_last_and_no_more_than_fits() {
        const PART: usize = (BYTES_MAX >> 2) - EVENT_OVERHEAD;
        let mut cache = Cache::default();
        for first in 1..=4 {
            cache.put(first, chunk(first, PART));
        }
        assert_eq!(cache.bytes, BYTES_MAX);
        assert!(cache.get(1).is_some());
        cache.put(5, chunk(5, PART));
        assert!(cache.get(2).is_none(), "the one that was not used for longest");
        assert!([1, 3, 4, 5].iter().all(|first| cache.get(*first).is_some()));
        cache.put(5, chunk(5, 10));
        assert_eq!(cache.get(5).unwrap().envelopes[0].frame.len(), 10);
        assert_eq!(cache.bytes, 3 * (PART + EVENT_OVERHEAD) + 10 + EVENT_OVERHEAD);
        cache.put(6, chunk(6, BYTES_MAX));
        assert!(cache.get(6).is_none() && cache.get(5).is_some(), "one that fits nowhere pushes nobody out");
    }
}
