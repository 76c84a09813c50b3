//! What is older than the window: asked for, part by part, from whoever keeps it.
//!
//! A shard never reads a disk. It asks, by [`Ask`], for the part of the log behind a position, and
//! goes on with its turn; the part comes back as [`crate::shard::mail::Order::Past`].
//!
//! [`Archive`] is the bookkeeping of that: parts that came and are in use, questions that are
//! open, cursors that wait. Those who wait stand in the order of their positions, so that one part
//! serves everybody within its reach, and the questions go through the log from its beginning to
//! its end and over again: each one's turn comes within one such pass, and those who have read a
//! part are where the questions come next.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::base::slots::Id;
use crate::shard::envelope::Envelope;

/// Parts held and questions open, together. What the past costs a shard at most is so many times
/// the bytes of a part, some 64 KiB: little, and yet the reader never waits for the next question.
pub const PLACES: usize = 16;
/// Events that a part is expected to bring, behind the position that was asked for: whoever wants
/// one of them waits for that part. Where it brings fewer, the question goes on behind it.
pub const STRETCH_EVENTS: u64 = 256;

/// A question for a part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which shard asks.
    pub shard: usize,
    /// The position behind which it wants to read: the answer holds the event of the next one.
    pub after: u64,
}

/// Consecutive events out of the log. Never empty.
#[derive(Debug)]
pub struct Chunk {
    /// In the order of their positions, without a gap.
    pub envelopes: Vec<Arc<Envelope>>,
}

impl Chunk {
    /// The positions behind which it has the next event.
    fn reach(&self) -> Range<u64> {
        let (Some(first), Some(last)) = (self.envelopes.first(), self.envelopes.last()) else { return 0..0 };
        first.position.saturating_sub(1)..last.position
    }

    /// Whether the event behind `position` is in it.
    #[must_use]
    pub fn covers(&self, position: u64) -> bool {
        self.reach().contains(&position)
    }

    /// The events behind `position`, which it covers.
    #[must_use]
    pub fn after(&self, position: u64) -> &[Arc<Envelope>] {
        let skip = usize::try_from(position.saturating_sub(self.reach().start)).unwrap_or(usize::MAX);
        self.envelopes.get(skip..).unwrap_or_default()
    }

    /// Whether it is what it says: consecutive events.
    fn is_whole(&self) -> bool {
        let reach = self.reach();
        reach.end.saturating_sub(reach.start) == self.envelopes.len() as u64
    }
}

/// An answer that is in use.
#[derive(Debug)]
struct Part {
    /// The position behind which it was asked for.
    after: u64,
    /// `None`: it is not to be had.
    chunk: Option<Arc<Chunk>>,
    /// All who waited for it have had their turn once so many turns were taken.
    needed_until: u64,
}

/// What is here of the events behind a position.
#[derive(Clone, Copy, Debug)]
pub enum Held<'a> {
    /// This, and it covers the position.
    Part(&'a Chunk),
    /// It was asked for, and is not to be had.
    Lost,
    /// Nothing: ask.
    Nothing,
}

/// What a shard holds of the log, has asked for, and is waited for.
#[derive(Debug)]
pub struct Archive {
    places: usize,
    /// In the order in which they came.
    parts: Vec<Part>,
    /// Positions behind which a part was asked for that has not come.
    open: Vec<u64>,
    /// Positions whose cursors waited for a part that did not reach so far: asked for before all
    /// others. Each takes the place of a question, so that both together are bounded.
    owed: VecDeque<u64>,
    /// Who waits, by the position behind which it wants to read.
    waiting: BTreeSet<(u64, Id)>,
    /// Where the pass through the log has come to.
    pass: u64,
}

/// Before every other id.
const FIRST_ID: Id = Id { slot: 0, generation: 0 };

impl Archive {
    /// Nothing held and nothing asked, with so many places.
    #[must_use]
    pub fn new(places: usize) -> Archive {
        Archive {
            places,
            parts: Vec::new(),
            open: Vec::new(),
            owed: VecDeque::new(),
            waiting: BTreeSet::new(),
            pass: 0,
        }
    }

    /// What is held of the events behind `position`.
    #[must_use]
    pub fn find(&self, position: u64) -> Held<'_> {
        let mut held = Held::Nothing;
        for part in &self.parts {
            match &part.chunk {
                Some(chunk) if chunk.covers(position) => return Held::Part(chunk),
                None if part.after == position => held = Held::Lost,
                _ => {}
            }
        }
        held
    }

    /// Lets `id` wait for the events behind `position`.
    pub fn wait(&mut self, position: u64, id: Id) {
        self.waiting.insert((position, id));
    }

    /// It does not wait any more.
    pub fn leave(&mut self, position: u64, id: Id) {
        self.waiting.remove(&(position, id));
    }

    /// Whether `id` waits for the events behind `position`.
    #[must_use]
    pub fn is_waited_for(&self, position: u64, id: Id) -> bool {
        self.waiting.contains(&(position, id))
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Questions that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Parts that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.parts.len()
    }

    /// Takes the answer to the question for `after`, and out of the line those for whom it is the
    /// answer. If there are any it is held until [`Archive::keep`] says otherwise; an answer for
    /// nobody is dropped, and so is one that nobody asked for.
    pub fn take(&mut self, after: u64, chunk: Option<Arc<Chunk>>) -> Vec<Id> {
        let Some(question) = self.open.iter().position(|asked| *asked == after) else { return Vec::new() };
        self.open.swap_remove(question);
        let chunk = chunk.filter(|chunk| chunk.is_whole() && chunk.covers(after));
        let reach = chunk.as_deref().map_or(after..after + 1, Chunk::reach);
        let served = self.take_out(reach.clone());
        // Others may have waited for it in vain.
        self.owed.extend(self.first_of(reach.end..expected(after).end));
        if !served.is_empty() {
            self.parts.push(Part { after, chunk, needed_until: u64::MAX });
        }
        served
    }

    /// The part that came for `after` is needed until so many turns were taken.
    pub fn keep(&mut self, after: u64, needed_until: u64) {
        if let Some(part) = self.parts.iter_mut().rfind(|part| part.after == after) {
            part.needed_until = needed_until;
        }
    }

    /// Takes those out of the line who want an event before `first`.
    pub fn take_before(&mut self, first: u64) -> Vec<Id> {
        self.take_out(0..first.saturating_sub(1))
    }

    fn take_out(&mut self, positions: Range<u64>) -> Vec<Id> {
        let range = (positions.start, FIRST_ID)..(positions.end, FIRST_ID);
        let taken: Vec<(u64, Id)> = self.waiting.range(range).copied().collect();
        for entry in &taken {
            self.waiting.remove(entry);
        }
        taken.into_iter().map(|(_, id)| id).collect()
    }

    /// The next question, open from here on, where one is due and there is a place for it or for
    /// its answer; `turns` were taken so far. A part whose turns are over gives up its place.
    pub fn next_question(&mut self, turns: u64) -> Option<u64> {
        // What is not to be had now may be another time.
        self.parts.retain(|part| part.chunk.is_some() || part.needed_until > turns);
        while let Some(&position) = self.owed.front()
            && (self.open.contains(&position) || self.first_of(position..position + 1).is_none())
        {
            self.owed.pop_front();
        }
        let owed = self.owed.front().copied();
        let position = owed.or_else(|| self.unexpected(self.pass)).or_else(|| self.unexpected(0))?;
        if self.parts.len() + self.open.len() >= self.places {
            let idle = self.parts.iter().position(|part| part.needed_until <= turns)?;
            self.parts.remove(idle);
        }
        match owed {
            Some(_) => drop(self.owed.pop_front()),
            None => self.pass = position + 1,
        }
        self.open.push(position);
        Some(position)
    }

    /// Lets go of all parts whose turns are over.
    pub fn clear_idle(&mut self, turns: u64) {
        self.parts.retain(|part| part.needed_until > turns);
    }

    /// Sweeps the books, as [`crate::shard::core::Core::check_invariants`] does.
    ///
    /// # Panics
    /// When they disagree.
    pub fn check_invariants(&self) {
        assert!(self.parts.len() + self.open.len() <= self.places, "more than there are places");
        assert!(self.owed.len() + self.open.len() <= self.places, "each owes one at most");
        let here = |position: u64| matches!(self.find(position), Held::Part(_));
        assert!(!self.waiting.iter().any(|(position, _)| here(*position)), "nobody waits for what is here");
    }

    /// The first of these positions where somebody waits.
    fn first_of(&self, positions: Range<u64>) -> Option<u64> {
        if positions.is_empty() {
            return None;
        }
        let range = (positions.start, FIRST_ID)..(positions.end, FIRST_ID);
        self.waiting.range(range).next().map(|(position, _)| *position)
    }

    /// The first position not before `from` where somebody waits and no open question is expected
    /// to bring what it waits for.
    fn unexpected(&self, mut from: u64) -> Option<u64> {
        loop {
            let position = self.first_of(from..u64::MAX)?;
            match self.open.iter().find(|asked| expected(**asked).contains(&position)) {
                None => return Some(position),
                Some(asked) => from = expected(*asked).end,
            }
        }
    }
}

/// The positions that the answer to the question for `after` is expected to cover.
fn expected(after: u64) -> Range<u64> {
    after..after.saturating_add(STRETCH_EVENTS)
}
