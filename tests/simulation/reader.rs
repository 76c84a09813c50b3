//! Whoever keeps the log and reads it for the shard: slow, out of order, forgetful, and free to cut
//! the log into parts as it likes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use omnicast::shard::archive::{Ask, Chunk};
use omnicast::shard::core::Core;
use omnicast::shard::envelope::Envelope;
use omnicast::shard::mail::Order;

use crate::rng::Rng;
use crate::world::World;

/// What a run with enough seeds must have been through.
pub const PATHS: [&str; 15] = [
    "a question",
    "a part for one",
    "a part for several",
    "a part for nobody",
    "a part beyond what has come here",
    "an answer that overtakes another",
    "an answer that nobody asked for",
    "no answer: not kept",
    "no answer: not readable",
    "every place is taken",
    "the line to the reader is full",
    "gone while it waits",
    "kicked while it waits",
    "rights change while it waits",
    "its slot is reused while its question is open",
];

/// Turns after which a position that was not to be had is no reason any more to close anybody.
const LOST_TURNS: u64 = 400;

struct Asked {
    ask: Ask,
    number: u64,
    /// Turns until it is answered.
    turns: usize,
}

pub struct Reader {
    /// Every event that got a position, the oldest in front.
    pub history: Vec<Arc<Envelope>>,
    asked: Vec<Asked>,
    /// Questions so far, and the latest one that was answered.
    asks: u64,
    answered: u64,
    turns: u64,
    places: usize,
    delay_turns: usize,
    chunk_max: usize,
    unreadable_percent: u64,
    forgets: bool,
    /// Slots whose connection ended while it waited, and how many questions there were by then.
    left: Vec<(u32, u64)>,
    /// Turns and positions of questions without an answer.
    lost: VecDeque<(u64, u64)>,
    pub reached: BTreeMap<&'static str, u64>,
}

impl Reader {
    pub fn new(rng: &mut Rng, history: Vec<Arc<Envelope>>) -> Reader {
        Reader {
            history,
            asked: Vec::new(),
            asks: 0,
            answered: 0,
            turns: 0,
            places: [1, 2, 16][rng.below(3)],
            delay_turns: [1, 4, 40][rng.below(3)],
            chunk_max: [3, 40, 300][rng.below(3)],
            unreadable_percent: [0, 0, 5, 30][rng.below(4)],
            forgets: rng.percent(50),
            left: Vec::new(),
            lost: VecDeque::new(),
            reached: BTreeMap::new(),
        }
    }

    /// Limits the core as this run has it.
    pub fn limit(&self, core: Core) -> Core {
        core.with_archive_places(self.places)
    }

    /// Whether no question waits for its answer.
    pub fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    pub fn reach(&mut self, path: &'static str) {
        assert!(PATHS.contains(&path), "{path}");
        *self.reached.entry(path).or_default() += 1;
    }

    /// A connection that waited for a part has ended.
    pub fn note_end(&mut self, slot: u32) {
        self.reach("gone while it waits");
        self.left.push((slot, self.asks));
    }

    /// A new one is in `slot`.
    pub fn note_begin(&mut self, slot: u32) {
        let asked = &self.asked;
        let is_open = |asks: u64| asked.iter().any(|a| a.number <= asks);
        let reused = self.left.iter().any(|(s, asks)| *s == slot && is_open(*asks));
        self.left.retain(|(s, _)| *s != slot);
        if reused {
            self.reach("its slot is reused while its question is open");
        }
    }

    fn chunk(&self, after: u64, rng: &mut Rng) -> Chunk {
        let base = self.history[0].position - 1;
        let at = (after - base) as usize;
        let from = at - rng.below(at.min(self.chunk_max) + 1);
        let until = (at + 1 + rng.below(self.chunk_max)).min(self.history.len());
        Chunk { envelopes: self.history[from..until].to_vec() }
    }
}

impl World {
    /// The reader is handed what the shard asks, unless its line is full.
    pub fn take_asks(&mut self) {
        let archive = self.core.archive();
        if archive.open() + archive.held() >= self.reader.places {
            self.reader.reach("every place is taken");
        }
        while !self.core.asks().is_empty() {
            if self.rng.percent(20) {
                self.reader.reach("the line to the reader is full");
                return;
            }
            let ask = self.core.asks().pop_front().expect("it is not empty");
            assert!(self.log.archive_first > 0, "a question where there is no log");
            assert!(ask.shard == 0 && ask.after + 1 < self.log.first(), "{ask:?}: the window has that");
            assert!(!self.reader.asked.iter().any(|a| a.ask == ask), "{ask:?} twice");
            self.reader.asks += 1;
            self.reader.reach("a question");
            let turns = self.rng.below(self.reader.delay_turns);
            self.reader.asked.push(Asked { ask, number: self.reader.asks, turns });
        }
    }

    /// Another turn has passed for the reader too.
    pub fn answer_asks(&mut self) {
        self.reader.turns += 1;
        let turns = self.reader.turns;
        while self.reader.lost.front().is_some_and(|(turn, _)| turn + LOST_TURNS < turns) {
            self.reader.lost.pop_front();
        }
        self.log.lost = self.reader.lost.iter().map(|(_, position)| *position).collect();
        if self.log.archive_first > 0 && self.rng.percent(2) {
            self.answer_unasked();
        }
        for at in (0..self.reader.asked.len()).rev() {
            if self.reader.asked[at].turns > 0 {
                self.reader.asked[at].turns -= 1;
                continue;
            }
            let Asked { ask, number, .. } = self.reader.asked.swap_remove(at);
            if number < self.reader.answered {
                self.reader.reach("an answer that overtakes another");
            }
            self.reader.answered = self.reader.answered.max(number);
            self.answer(ask.after);
        }
    }

    fn answer(&mut self, after: u64) {
        let is_kept = after + 1 >= self.log.archive_first || self.rng.percent(10);
        let is_readable = !self.rng.percent(self.reader.unreadable_percent);
        let chunk = (is_kept && is_readable).then(|| Arc::new(self.reader.chunk(after, &mut self.rng)));
        if chunk.is_none() {
            self.reader.reach(if is_kept { "no answer: not readable" } else { "no answer: not kept" });
            self.reader.lost.push_back((self.reader.turns, after));
            self.log.lost.push(after);
        }
        let beyond = chunk.as_ref().and_then(|chunk| chunk.envelopes.last());
        if beyond.is_some_and(|last| last.position > self.log.last()) {
            self.reader.reach("a part beyond what has come here");
        }
        let (is_part, waited) = (chunk.is_some(), self.core.archive().waiting());
        self.core.handle_order(Order::Past { after, chunk }, self.now);
        if is_part {
            self.reader.reach(match waited - self.core.archive().waiting() {
                0 => "a part for nobody",
                1 => "a part for one",
                _ => "a part for several",
            });
        }
    }

    fn answer_unasked(&mut self) {
        let after = self.log.base + self.rng.within(0, (self.log.last() - self.log.base).max(1) - 1);
        if after >= self.log.last() || self.reader.asked.iter().any(|a| a.ask.after == after) {
            return;
        }
        if self.core.asks().iter().any(|ask| ask.after == after) {
            return;
        }
        self.reader.reach("an answer that nobody asked for");
        let chunk = self.rng.percent(50).then(|| Arc::new(self.reader.chunk(after, &mut self.rng)));
        let (waiting, held) = (self.core.archive().waiting(), self.core.archive().held());
        let is_lost = chunk.is_none();
        self.core.handle_order(Order::Past { after, chunk }, self.now);
        assert_eq!(self.core.archive().held(), held, "what nobody asked for is dropped");
        assert!(is_lost || self.core.archive().waiting() == waiting);
    }

    /// The oldest events are dropped from the log.
    pub fn forget_some(&mut self) {
        if !self.reader.forgets || self.log.archive_first == 0 {
            return;
        }
        let kept = (self.log.last() + 1).saturating_sub(self.log.archive_first);
        let asked = self.reader.asked.first().map_or(0, |asked| asked.ask.after + 2);
        self.log.archive_first = match self.rng.below(2) {
            0 => self.log.archive_first.max(asked), // Under the eyes of one who waits.
            _ => self.log.archive_first + self.rng.within(0, kept / 4),
        };
        self.shared.archive_first.store(self.log.archive_first, Ordering::Relaxed);
    }
}
