//! Where in the segments which position is. The reader's: the writer tells it what is new.

use std::collections::VecDeque;

use crate::journal::segment::{BLOCK_BYTES, Block, HEADER_BYTES};

/// What the writer tells the reader. Each stands for a block of log or a file, so their number is
/// bounded by that of the bytes written while the reader does not look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// A segment that begins with this position is written to from now on.
    Began(u64),
    /// A block of it is complete.
    Filled(Block),
    /// The segment that begins with this position is gone.
    Removed(u64),
}

/// A segment, as the reader knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// The position in its name.
    pub first: u64,
    /// Its complete blocks.
    pub blocks: Vec<Block>,
}

/// A place to read at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spot {
    /// The position in the name of the segment.
    pub segment: u64,
    /// The position of the first record there.
    pub first: u64,
    /// The position of the last one there that is committed.
    pub last: u64,
    /// Where it begins.
    pub offset: u64,
    /// Where to stop reading; the file may end before.
    pub end: u64,
}

/// All segments, oldest first.
#[derive(Debug, Default)]
pub struct Index {
    segments: VecDeque<Stretch>,
}

impl Index {
    /// An index of these, oldest first. The last one may be written to.
    #[must_use]
    pub fn new(segments: Vec<Stretch>) -> Index {
        Index { segments: segments.into() }
    }

    /// Takes what the writer tells.
    pub fn note(&mut self, note: Note) {
        match note {
            Note::Began(first) => {
                // In the place of one without events that could not be used.
                self.segments.retain(|segment| segment.first != first);
                self.segments.push_back(Stretch { first, blocks: Vec::new() });
            }
            Note::Filled(block) => {
                if let Some(segment) = self.segments.back_mut() {
                    segment.blocks.push(block);
                }
            }
            Note::Removed(first) => self.segments.retain(|segment| segment.first != first),
        }
    }

    /// Where the event of `position` is, or else the first one behind it that is there, up to
    /// `committed`.
    #[must_use]
    pub fn find(&self, position: u64, committed: u64) -> Option<Spot> {
        if position > committed {
            return None;
        }
        let behind = self.segments.partition_point(|segment| segment.first <= position);
        let from = behind.saturating_sub(1);
        self.segments.range(from..).find_map(|segment| self.find_in(segment, position, committed))
    }

    /// The last position up to `committed` in the segment that begins with `first`; 0 where it has
    /// none.
    #[must_use]
    pub fn last_in(&self, first: u64, committed: u64) -> u64 {
        let behind = self.segments.partition_point(|segment| segment.first <= first);
        let Some(segment) = behind.checked_sub(1).and_then(|at| self.segments.get(at)) else { return 0 };
        match segment.blocks.last() {
            Some(block) if behind < self.segments.len() => block.last.min(committed),
            None if behind < self.segments.len() => 0,
            _ => committed,
        }
    }

    fn find_in(&self, segment: &Stretch, position: u64, committed: u64) -> Option<Spot> {
        let at = segment.blocks.partition_point(|block| block.last < position);
        if let Some(block) = segment.blocks.get(at) {
            let &Block { first, last, offset, end } = block;
            let last = last.min(committed);
            return (first <= last).then_some(Spot { segment: segment.first, first, last, offset, end });
        }
        // What the writer adds to the last segment fills a block before it is as long as one.
        let is_last = self.segments.back().is_some_and(|last| last.first == segment.first);
        let (first, offset) = match segment.blocks.last() {
            Some(block) => (block.last + 1, block.end),
            None => (segment.first, HEADER_BYTES as u64),
        };
        let end = offset + BLOCK_BYTES;
        let spot = Spot { segment: segment.first, first, last: committed, offset, end };
        (is_last && first <= committed).then_some(spot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(first: u64, last: u64, offset: u64) -> Block {
        Block { first, last, offset, end: offset + 100 }
    }

    #[test]
    fn finds_what_is_there_or_comes_next() {
        let mut index = Index::new(vec![
            Stretch { first: 10, blocks: vec![block(10, 19, 68), block(20, 29, 168)] },
            Stretch { first: 30, blocks: vec![block(35, 39, 500)] },
        ]);
        let at = |index: &Index, position, committed| {
            index.find(position, committed).map(|spot| (spot.segment, spot.first, spot.offset))
        };
        for (position, found) in [
            (1, Some((10, 10, 68))),
            (10, Some((10, 10, 68))),
            (19, Some((10, 10, 68))),
            (20, Some((10, 20, 168))),
            (30, Some((30, 35, 500))),
            (39, Some((30, 35, 500))),
            (40, None),
        ] {
            assert_eq!(at(&index, position, 39), found, "{position}");
        }
        let ends = [index.last_in(10, 39), index.last_in(10, 25), index.last_in(30, 42), index.last_in(5, 9)];
        assert_eq!(ends, [29, 25, 42, 0]);
        assert_eq!(at(&index, 40, 42), Some((30, 40, 600)), "the block that is not full");
        index.note(Note::Filled(block(40, 49, 600)));
        index.note(Note::Began(50));
        assert_eq!(at(&index, 45, 44), None, "behind what is committed");
        assert_eq!(at(&index, 44, 44), Some((30, 40, 600)));
        assert_eq!(at(&index, 50, 49), None);
        assert_eq!(at(&index, 50, 50), Some((50, 50, 68)));
        index.note(Note::Began(50));
        index.note(Note::Removed(10));
        assert_eq!(at(&index, 10, 50), Some((30, 35, 500)));
    }
}
