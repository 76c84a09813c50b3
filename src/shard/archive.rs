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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::masks::Mask;
    use crate::policy::{Audience, EventType, Namespace, Reach};

    const NONE: [u64; 0] = [];

    fn chunk(first: u64, last: u64) -> Arc<Chunk> {
        let envelope = |position| {
            let audience = Audience {
                namespace: Namespace(0),
                reach: Reach::Everybody,
                roles: Mask::EMPTY,
                own_roles: Mask::EMPTY,
                owner: None,
                users: None,
                exclude_users: Box::default(),
                exclude_session: None,
                key: None,
            };
            Arc::new(Envelope::new(position, EventType(0), audience, bytes::Bytes::new()))
        };
        Arc::new(Chunk { envelopes: (first..=last).map(envelope).collect() })
    }

    fn id(slot: u64) -> Id {
        Id { slot: slot as u32, generation: 7 }
    }

    fn questions(archive: &mut Archive, turns: u64) -> Vec<u64> {
        let asked = std::iter::from_fn(|| archive.next_question(turns)).collect();
        archive.check_invariants();
        asked
    }

    #[test]
    fn a_chunk_covers_the_positions_before_its_events() {
        let events = chunk(11, 13);
        for (position, covered) in [(9, None), (10, Some(3)), (11, Some(2)), (12, Some(1)), (13, None)] {
            assert_eq!(events.covers(position), covered.is_some(), "{position}");
            if let Some(rest) = covered {
                assert_eq!(events.after(position).len(), rest);
                assert_eq!(events.after(position)[0].position, position + 1);
            }
        }
        assert!(!chunk(2, 1).covers(0) && !chunk(2, 1).covers(1), "an empty one covers nothing");
    }

    #[test]
    fn ten_thousand_at_one_stretch_ask_once_and_share_the_answer() {
        let mut archive = Archive::new(PLACES);
        for n in 0..10_000 {
            archive.wait(500 + n % STRETCH_EVENTS, id(n));
        }
        assert_eq!(questions(&mut archive, 0), [500]);
        let part = chunk(401, 900);
        assert_eq!(archive.take(500, Some(part.clone())).len(), 10_000);
        archive.keep(500, 10_000);
        assert_eq!(questions(&mut archive, 0), NONE);
        assert_eq!(Arc::strong_count(&part), 2, "one is held, and it is the one that came");
        let Held::Part(held) = archive.find(700) else { panic!("it is not held") };
        assert!(std::ptr::eq(held, &*part));
        archive.clear_idle(9_999);
        assert_eq!(archive.held(), 1, "one of them has not had its turn");
        archive.clear_idle(10_000);
        assert_eq!((archive.held(), Arc::strong_count(&part)), (0, 1));
    }

    /// A run line, as the shard has it, and a reader. Ends when everybody has read so far as it
    /// wants; returns how many questions that took.
    fn read_on(cursors: &mut [(u64, u64)], part_events: u64, per_turn: usize) -> usize {
        let mut archive = Archive::new(PLACES);
        let (mut line, mut turns) = (VecDeque::new(), 0);
        let (mut open, mut asked) = (VecDeque::new(), 0);
        for (n, (at, _)) in cursors.iter().enumerate() {
            archive.wait(*at, id(n as u64));
        }
        while archive.waiting() > 0 || !line.is_empty() {
            if line.is_empty() {
                archive.clear_idle(turns);
            }
            for _ in 0..per_turn {
                let Some(one) = line.pop_front() else { break };
                turns += 1;
                let Id { slot, .. } = one;
                let (at, until) = &mut cursors[slot as usize];
                let from = *at;
                while let Held::Part(part) = archive.find(*at) {
                    *at = part.after(*at).last().unwrap().position;
                }
                assert!(*at > from, "{at}: its part is gone");
                if *at < *until {
                    archive.wait(*at, one);
                }
            }
            let new: Vec<u64> = std::iter::from_fn(|| archive.next_question(turns)).collect();
            assert!(archive.waiting() == 0 || archive.open() > 0 || !line.is_empty(), "all stand still");
            asked += new.len();
            open.extend(new);
            // The latest question first, and one a turn.
            let Some(after) = open.pop_back() else { continue };
            let first = after / part_events * part_events + 1;
            let served = archive.take(after, Some(chunk(first, first + part_events - 1)));
            line.extend(&served);
            if !served.is_empty() {
                archive.keep(after, turns + line.len() as u64);
            }
            if asked % 64 == 0 {
                archive.check_invariants();
            }
        }
        archive.clear_idle(turns);
        assert_eq!((archive.held(), archive.owed.len()), (0, 0), "nothing is left behind");
        asked
    }

    #[test]
    fn ten_thousand_at_different_stretches_all_come_through() {
        let mut cursors: Vec<(u64, u64)> = (0..10_000).map(|n| (n * 1_000, n * 1_000 + 300)).collect();
        assert_eq!(read_on(&mut cursors, 100, 64), 30_000, "each asks for what it reads, once");
        // Everybody through the same, from different places: little more than the log once.
        let mut cursors: Vec<(u64, u64)> = (0..10_000).map(|n| (n * 3, 30_000)).collect();
        let asked = read_on(&mut cursors, 300, 64);
        assert!(asked < 2_000, "{asked} questions for 100 parts");
        // Large events: parts do not reach as far as is expected.
        let mut cursors: Vec<(u64, u64)> = (0..500).map(|n| (n * 7, n * 7 + 50)).collect();
        read_on(&mut cursors, 4, 1);
    }

    #[test]
    fn one_whose_part_fell_short_comes_next_whoever_else_comes() {
        let mut archive = Archive::new(PLACES);
        archive.wait(250, id(0));
        for n in 1..100 {
            archive.clear_idle(n);
            // There is always an open question that is expected to bring what it wants.
            archive.wait(249, id(n));
            let mut open = questions(&mut archive, n);
            archive.wait(247, id(n));
            archive.wait(1_000_000 + n, id(n));
            open.extend(questions(&mut archive, n));
            for after in open {
                if archive.take(after, Some(chunk(after + 1, after + 1))).contains(&id(0)) {
                    return assert!(n <= 2, "in round {n}");
                }
                archive.keep(after, n);
            }
        }
        panic!("it waits for ever");
    }

    #[test]
    fn one_who_leaves_leaves_nothing_and_what_comes_for_nobody_is_dropped() {
        let mut archive = Archive::new(PLACES);
        archive.wait(10, id(1));
        assert_eq!(questions(&mut archive, 0), [10]);
        archive.leave(10, id(1));
        assert_eq!((archive.waiting(), archive.open()), (0, 1));
        let part = chunk(11, 20);
        assert_eq!(archive.take(10, Some(part.clone())), []);
        assert_eq!((archive.held(), archive.open(), Arc::strong_count(&part)), (0, 0, 1));
        // One that was not asked for, and one that comes twice.
        archive.wait(12, id(2));
        assert_eq!(archive.take(10, Some(part.clone())), []);
        assert_eq!((archive.held(), archive.waiting(), Arc::strong_count(&part)), (0, 1, 1));
        // One who leaves before it is its turn to ask.
        archive.leave(12, id(2));
        assert_eq!(questions(&mut archive, 0), NONE);
    }

    #[test]
    fn a_question_is_open_until_it_is_answered_sent_or_not() {
        let mut archive = Archive::new(2);
        archive.wait(10, id(1));
        archive.wait(1_000, id(2));
        archive.wait(2_000, id(3));
        assert_eq!(questions(&mut archive, 0), [10, 1_000], "there are two places");
        archive.wait(10, id(4));
        for turn in 0..10 {
            assert_eq!(questions(&mut archive, turn), NONE);
        }
        assert_eq!(archive.take(10, Some(chunk(11, 12))), [id(1), id(4)]);
        archive.keep(10, 12);
        assert_eq!(questions(&mut archive, 11), NONE, "the part is in use");
        assert_eq!(questions(&mut archive, 12), [2_000]);
        assert_eq!(archive.held(), 0);
    }

    #[test]
    fn what_is_not_to_be_had_is_so_for_those_who_asked_for_it_and_not_for_ever() {
        let broken = Chunk { envelopes: [&chunk(11, 11).envelopes[..], &chunk(13, 13).envelopes].concat() };
        for answer in [None, Some(chunk(12, 20)), Some(chunk(2, 1)), Some(Arc::new(broken))] {
            let mut archive = Archive::new(PLACES);
            archive.wait(10, id(1));
            archive.wait(10, id(2));
            archive.wait(11, id(3));
            assert_eq!(questions(&mut archive, 0), [10]);
            assert_eq!(archive.take(10, answer), [id(1), id(2)]);
            archive.keep(10, 2);
            assert!(matches!(archive.find(10), Held::Lost));
            assert!(matches!(archive.find(11), Held::Nothing));
            assert_eq!(questions(&mut archive, 1), [11]);
            assert!(matches!(archive.find(10), Held::Lost));
            assert_eq!(questions(&mut archive, 2), NONE);
            assert!(matches!(archive.find(10), Held::Nothing), "another may be luckier");
            assert_eq!(archive.take_before(12), []);
            assert_eq!(archive.take_before(13), [id(3)], "it wants the event 12");
        }
    }
}
