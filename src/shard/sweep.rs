//! The sweep: how events travel over the slots of a shard, many at a time.
//!
//! Slots form a ring, and a cursor goes round it. An event that arrives joins the sweep where
//! the cursor stands and leaves it when the cursor is there again; meanwhile the cursor writes
//! to each slot everything that is in the sweep. So a single event goes out at once, what
//! arrives during a pass joins it in the middle instead of waiting for its end, a burst leaves
//! as one write per connection, and every connection still gets events in their order.
//!
//! ```text
//!            cursor ▼
//! slots  0 1 2 3 4 5 6 7 8 9     e1 joined at 2: has 0 1 left after the wrap
//!            e1^   ^e2           e2 joined at 5: goes with e1 to 5…9 and 0 1, then alone to 2 3 4
//! ```
//!
//! A pass is once round the ring. Where a window for gathering is set, so much time lies between the
//! beginnings of two of them: the first event after a silence leaves at once, those that follow it closely
//! leave together.
//!
//! Viewers of one class get the same events, so the bytes they get are gathered once per
//! outcome of the filter, not per connection.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::policy::Verdict;
use crate::shard::columns::{ClassId, Kind};
use crate::shard::envelope::Envelope;
use crate::shard::press::Press;

/// Events in a sweep at most. What a burst brings beyond it waits in the mailbox for a place.
pub const EVENTS_MAX: usize = 256;
/// Bytes in a sweep past which no further event joins: what one write carries at most, but for
/// a single larger event. Past the size of a socket's buffer gathering gains nothing.
pub const BYTES_MAX: usize = 256 << 10;

#[derive(Debug)]
struct Traveller {
    envelope: Arc<Envelope>,
    lap: u64,
    slot: u32,
}

/// What the viewers of one class get.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whole frames back to back; empty: nothing.
    pub bytes: Bytes,
    /// How many events those are.
    pub events: u32,
}

/// Which travellers, and in which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Chosen {
    travellers: [u64; EVENTS_MAX / 64],
    deflates: bool,
}

/// Events under way to the slots of one shard.
#[derive(Debug, Default)]
pub struct Sweep {
    travellers: VecDeque<Traveller>,
    bytes: usize,
    lap: u64,
    cursor: u32,
    /// Lap and slot where the pass began that is not over.
    pass: Option<(u64, u32)>,
    /// Monotonic ms before which the next pass does not begin, as long as there is room for more.
    begins_at: u64,
    /// Changes with the travellers; outcomes of another edition are void.
    edition: u64,
    by_class: Vec<(u64, Outcome)>,
    by_choice: Vec<(Chosen, Outcome)>,
    choices_of: u64,
}

impl Sweep {
    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.travellers.is_empty()
    }

    /// Whether another event may join.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.travellers.len() < EVENTS_MAX && self.bytes < BYTES_MAX
    }

    /// When the next pass begins, in monotonic ms, if it does not at `now`.
    #[must_use]
    pub fn waits_until(&self, now: u64) -> Option<u64> {
        let waits = self.pass.is_none() && now < self.begins_at && !self.is_empty() && self.has_room();
        waits.then_some(self.begins_at)
    }

    /// A pass begins, if none is under way; the next one begins at `next_at` (monotonic ms) or later, but for one
    /// that takes up what this one had no room for.
    #[inline]
    pub fn begin(&mut self, next_at: u64) {
        if self.pass.is_none() {
            self.pass = Some((self.lap, self.cursor));
            self.begins_at = if self.has_room() { next_at } else { 0 };
        }
    }

    /// An event joins where the cursor stands.
    pub fn join(&mut self, envelope: Arc<Envelope>) {
        self.bytes += envelope.frame.len();
        self.travellers.push_back(Traveller { envelope, lap: self.lap, slot: self.cursor });
        self.edition += 1;
    }

    /// Where the cursor is.
    #[must_use]
    pub fn cursor(&self) -> u32 {
        self.cursor
    }

    /// Moves the cursor on.
    pub fn set_cursor(&mut self, slot: u32) {
        self.cursor = slot;
    }

    /// Wraps the cursor at `width`, lets go of events that have been everywhere, ends the pass where it is over,
    /// and says how far the cursor may go with the present travellers; `None` when none is left.
    pub fn leg(&mut self, width: u32) -> Option<u32> {
        if self.cursor >= width {
            self.cursor = 0;
            self.lap += 1;
        }
        let mut stop = width;
        if let Some((lap, slot)) = self.pass.filter(|(lap, _)| self.lap > *lap) {
            if self.lap > lap + 1 || self.cursor >= slot {
                self.pass = None;
            } else {
                stop = slot.min(width);
            }
        }
        while let Some(t) = self.travellers.front() {
            let finished = self.lap > t.lap + 1 || (self.lap == t.lap + 1 && self.cursor >= t.slot);
            if !finished {
                return Some(if self.lap == t.lap { stop } else { t.slot.min(stop) });
            }
            self.bytes -= t.envelope.frame.len();
            self.travellers.pop_front();
            self.edition += 1;
        }
        None
    }

    /// The events that the cursor has not brought to `slot` yet, in order.
    pub fn ahead_of(&self, slot: u32) -> impl Iterator<Item = &Arc<Envelope>> {
        let (lap, cursor) = (self.lap, self.cursor);
        self.travellers
            .iter()
            .filter(move |t| {
                let visit = if slot >= t.slot { t.lap } else { t.lap + 1 };
                (lap, cursor) <= (visit, slot)
            })
            .map(|t| &t.envelope)
    }

    /// What viewers of a class, which is of this kind, get of the present travellers.
    // Asked once per slot: what is known already must cost a look-up and no call.
    #[inline]
    pub fn outcome(&mut self, class: ClassId, kind: &Kind, press: &mut Press) -> &Outcome {
        let index = class as usize;
        if self.by_class.get(index).is_none_or(|(edition, _)| *edition != self.edition) {
            self.refresh(index, kind, press);
        }
        &self.by_class[index].1
    }

    #[cold]
    fn refresh(&mut self, index: usize, kind: &Kind, press: &mut Press) {
        if self.by_class.len() <= index {
            self.by_class.resize(index + 1, (u64::MAX, Outcome::default()));
        }
        let outcome = self.build(kind, press);
        self.by_class[index] = (self.edition, outcome);
    }

    /// Drops what was gathered, so that it does not outlive its use.
    pub fn rest(&mut self) {
        debug_assert!(self.travellers.is_empty());
        self.pass = None;
        self.by_choice.clear();
        self.by_class.clear();
    }

    fn build(&mut self, kind: &Kind, press: &mut Press) -> Outcome {
        if self.choices_of != self.edition {
            self.choices_of = self.edition;
            self.by_choice.clear(); // They name travellers by index.
        }
        let mut chosen = Chosen { deflates: kind.deflates, ..Chosen::default() };
        let (mut events, mut last) = (0, 0);
        for (i, t) in self.travellers.iter().enumerate() {
            if t.envelope.audience.ask_class(&kind.viewer) == Verdict::Yes {
                chosen.travellers[i / 64] |= 1 << (i % 64);
                (events, last) = (events + 1, i);
            }
        }
        if events == 0 {
            return Outcome::default();
        }
        if events == 1 {
            let frame = press.frame(&self.travellers[last].envelope, kind.deflates);
            return Outcome { bytes: frame.clone(), events };
        }
        if let Some((_, outcome)) = self.by_choice.iter().find(|(c, _)| *c == chosen) {
            return outcome.clone();
        }
        let is_chosen = |i: usize| chosen.travellers[i / 64] & 1 << (i % 64) != 0;
        let mut frames = Vec::with_capacity(events as usize);
        for (_, t) in self.travellers.iter().enumerate().filter(|(i, _)| is_chosen(*i)) {
            frames.push(press.frame(&t.envelope, kind.deflates));
        }
        let mut gathered = BytesMut::with_capacity(frames.iter().map(|frame| frame.len()).sum());
        frames.iter().for_each(|frame| gathered.extend_from_slice(frame));
        let outcome = Outcome { bytes: gathered.freeze(), events };
        self.by_choice.push((chosen, outcome.clone()));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::masks::Mask;
    use crate::policy::{Audience, EventType, Namespace, Reach, Role, Viewer, ViewerClass};
    use crate::shard::columns::{Columns, Flag};
    use crate::wire::deflate::Inflater;
    use crate::wire::envelope::payload_of;
    use crate::wire::frame::{encode_text, next_boundary};
    use proptest::prelude::*;

    /// An event for those of `roles` who subscribed to the namespace of that number.
    fn envelope(position: u64, roles: u64, namespace: u8, person: Option<u8>) -> Arc<Envelope> {
        let audience = Audience {
            namespace: Namespace(namespace),
            reach: Reach::Subscribers,
            roles: (0..3).filter(|r| roles >> r & 1 == 1).fold(Mask::EMPTY, |m, r| m | Mask::only(r)),
            own_roles: Mask::EMPTY,
            owner: None,
            users: None,
            exclude_users: person.map(|p| p.to_string().into()).into_iter().collect(),
            exclude_session: None,
            key: None,
        };
        let frame = encode_text(format!("{position:>40}").as_bytes());
        Arc::new(Envelope::new(position, EventType(0), audience, frame))
    }

    /// The positions in frames of text back to back, and whether any, and all, of them are compressed.
    fn positions(mut bytes: &[u8]) -> (Vec<u64>, bool, bool) {
        let (mut positions, mut any, mut all) = (vec![], false, true);
        let mut inflater = Inflater::default();
        while !bytes.is_empty() {
            let end = next_boundary(bytes, 1);
            let payload = payload_of(&bytes[..end]);
            let is_compressed = bytes[0] & 0x40 != 0;
            let text = if is_compressed { inflater.inflate(payload, 1000).unwrap() } else { payload };
            positions.push(std::str::from_utf8(text).unwrap().trim().parse().unwrap());
            (any, all) = (any | is_compressed, all & is_compressed);
            bytes = &bytes[end..];
        }
        (positions, any, all)
    }

    /// Compresses whatever is asked for.
    fn press() -> Press {
        Press::new(0, Arc::default())
    }

    #[test]
    fn the_next_pass_waits_while_there_is_room() {
        let (mut sweep, mut columns) = (Sweep::default(), Columns::default());
        columns.widen(4);
        (0..4).for_each(|slot| columns.enlist(slot, kind(0, 1)));
        let life = Life { kind: kind(0, 1), since: 0, got: vec![] };
        let (mut lives, mut seen) = (vec![life; 4], vec![0; 4]);
        let mut walk = |sweep: &mut Sweep, budget, now| {
            walk(sweep, &mut columns, &mut lives, &mut seen, budget, now);
            lives.iter().map(|life| life.got.len()).collect::<Vec<_>>()
        };
        sweep.join(envelope(1, 1, 0, None));
        assert_eq!(walk(&mut sweep, 2, 10), [1, 1, 0, 0], "the first leaves at once");
        sweep.join(envelope(2, 1, 0, None));
        assert_eq!(walk(&mut sweep, 9, 11), [1, 1, 2, 2], "who comes later goes with it to the end");
        assert_eq!(sweep.waits_until(11), Some(10 + WINDOW), "and then waits");
        sweep.join(envelope(3, 1, 0, None));
        assert_eq!(walk(&mut sweep, 9, 10 + WINDOW - 1), [1, 1, 2, 2]);
        assert_eq!(walk(&mut sweep, 9, 10 + WINDOW), [3, 3, 3, 3]);
        assert_eq!(sweep.waits_until(10 + WINDOW), None, "nobody is left to wait");

        for position in 4..EVENTS_MAX as u64 + 4 {
            assert!(sweep.has_room());
            sweep.join(envelope(position, 1, 0, None));
        }
        assert_eq!(sweep.waits_until(0), None, "nobody waits who has no room");
        assert_eq!(walk(&mut sweep, 9, 11 + WINDOW)[0], 3 + EVENTS_MAX);
        sweep.join(envelope(999, 1, 0, None));
        assert_eq!(sweep.waits_until(0), None, "nor what had found none");
    }

    /// Who lives in the slots: a class, or one who is served by itself.
    #[derive(Clone, Debug)]
    struct Life {
        kind: Kind,
        /// Events from here on are due to it.
        since: u64,
        got: Vec<u64>,
    }

    #[derive(Clone, Debug)]
    enum Op {
        /// An event joins.
        Join { roles: u64, namespace: u8 },
        /// The cursor goes on over so many slots.
        Sweep(u32),
        /// A new slot, of a class.
        Widen { role: u8, subscribed: u8 },
        /// Somebody is brought up to date out of turn, and perhaps moves to another class.
        CatchUp { slot: usize, role: Option<u8> },
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u64..8, 0u8..3).prop_map(|(roles, namespace)| Op::Join { roles, namespace }),
            5 => (0u32..12).prop_map(Op::Sweep),
            2 => (0u8..6, 0u8..8).prop_map(|(role, subscribed)| Op::Widen { role, subscribed }),
            2 => (any::<usize>(), proptest::option::of(0u8..3))
                .prop_map(|(slot, role)| Op::CatchUp { slot, role }),
        ]
    }

    /// Roles from 3 on are those from 0 on, with compression.
    fn kind(role: u8, subscribed: u8) -> Kind {
        let subscribed =
            (0..3).filter(|n| subscribed >> n & 1 == 1).fold(Mask::EMPTY, |m, n| m | Mask::only(n));
        let viewer = ViewerClass { role: Role(role % 3), subscribed, keyed: Mask::EMPTY };
        Kind { viewer, deflates: role >= 3 }
    }

    /// Ticks between two passes.
    const WINDOW: u64 = 5;

    /// The walk of the shard's delivery, without sockets: at most `budget` slots.
    fn walk(
        sweep: &mut Sweep,
        columns: &mut Columns,
        lives: &mut [Life],
        seen: &mut [u64],
        mut budget: u32,
        now: u64,
    ) {
        let mut press = press();
        while let Some(stop) = sweep.leg(columns.width()) {
            if sweep.waits_until(now).is_some() {
                return;
            }
            sweep.begin(now + WINDOW);
            let mut slot = sweep.cursor();
            while slot < stop {
                if budget == 0 {
                    return sweep.set_cursor(slot);
                }
                budget -= 1;
                let (word, life) = (columns.word(slot), &mut lives[slot as usize]);
                if let Some(class) = word.plain_class() {
                    let outcome = sweep.outcome(class, columns.kind(class), &mut press);
                    let (got, any, all) = positions(&outcome.bytes);
                    assert_eq!(got.len(), outcome.events as usize);
                    assert!(if life.kind.deflates { all } else { !any });
                    life.got.extend(got);
                } else {
                    sweep.set_cursor(slot);
                    catch_up(sweep, slot, life, seen, u64::MAX);
                    columns.set(slot, Flag::Individual, false);
                }
                slot += 1;
            }
            sweep.set_cursor(slot);
        }
        sweep.rest();
    }

    fn catch_up(sweep: &Sweep, slot: u32, life: &mut Life, seen: &mut [u64], last: u64) {
        for e in sweep.ahead_of(slot).filter(|e| e.position > seen[slot as usize]) {
            if e.audience.ask_class(&life.kind.viewer) == Verdict::Yes {
                life.got.push(e.position);
            }
        }
        if last != u64::MAX {
            seen[slot as usize] = last;
        }
    }

    proptest! {
        /// Every slot gets each event that its class at that time gets, once, in order, whatever
        /// joins, budgets, new slots and changes of class there are on the way.
        #[test]
        fn every_traveller_comes_to_every_slot_once(
            first in proptest::collection::vec((0u8..6, 0u8..8), 1..10),
            ops in proptest::collection::vec(op(), 1..120),
        ) {
            let (mut sweep, mut columns) = (Sweep::default(), Columns::default());
            let (mut lives, mut seen): (Vec<Life>, Vec<u64>) = (vec![], vec![]);
            let mut due: Vec<Vec<u64>> = vec![];
            let (mut last, mut now) = (0, 0);
            for (role, subscribed) in first {
                columns.widen(lives.len() as u32 + 1);
                columns.enlist(lives.len() as u32, kind(role, subscribed));
                lives.push(Life { kind: kind(role, subscribed), since: 0, got: vec![] });
                seen.push(0);
                due.push(vec![]);
            }
            for op in ops {
                now += 1;
                match op {
                    Op::Join { roles, namespace } if sweep.has_room() => {
                        last += 1;
                        let envelope = envelope(last, roles, namespace, None);
                        for (life, due) in lives.iter().zip(&mut due) {
                            let is_due = roles >> life.kind.viewer.role.0 & 1 == 1
                                && life.kind.viewer.subscribed.has(namespace);
                            if is_due && last > life.since {
                                due.push(last);
                            }
                        }
                        sweep.join(envelope);
                    }
                    Op::Join { .. } => {}
                    Op::Sweep(budget) => walk(&mut sweep, &mut columns, &mut lives, &mut seen, budget, now),
                    Op::Widen { role, subscribed } => {
                        let slot = lives.len() as u32;
                        columns.widen(slot + 1);
                        columns.enlist(slot, kind(role, subscribed));
                        columns.set(slot, Flag::Individual, !sweep.is_empty());
                        lives.push(Life { kind: kind(role, subscribed), since: last, got: vec![] });
                        seen.push(last);
                        due.push(vec![]);
                    }
                    Op::CatchUp { slot, role } => {
                        let slot = slot % lives.len();
                        catch_up(&sweep, slot as u32, &mut lives[slot], &mut seen, last);
                        columns.set(slot as u32, Flag::Individual, !sweep.is_empty());
                        if let Some(role) = role {
                            lives[slot].kind.viewer.role = Role(role);
                            columns.enlist(slot as u32, lives[slot].kind);
                        }
                    }
                }
                columns.check_invariants();
            }
            for _ in 0..3 {
                now += WINDOW;
                walk(&mut sweep, &mut columns, &mut lives, &mut seen, u32::MAX, now);
            }
            prop_assert!(sweep.is_empty() && sweep.bytes == 0);
            for (slot, (life, due)) in lives.iter().zip(&due).enumerate() {
                prop_assert_eq!(&life.got, due, "slot {}", slot);
            }
        }

        /// The scan by classes against the predicate, asked of every viewer: where the class says
        /// yes, only those that the event names may differ; where it says no, nobody is admitted.
        #[test]
        fn the_scan_of_classes_equals_the_predicate(
            viewers in proptest::collection::vec((0u8..6, 0u8..8), 1..30),
            (roles, namespace, excluded) in (0u64..8, 0u8..3, proptest::option::of(0u8..30)),
        ) {
            let mut columns = Columns::default();
            columns.widen(viewers.len() as u32);
            for (slot, &(role, subscribed)) in viewers.iter().enumerate() {
                columns.enlist(slot as u32, kind(role, subscribed));
            }
            let envelope = envelope(1, roles, namespace, excluded);
            let named: Vec<&str> = envelope.audience.persons().collect();
            let (mut sweep, mut press) = (Sweep::default(), press());
            sweep.join(envelope.clone());
            for (slot, &(role, subscribed)) in viewers.iter().enumerate() {
                let user = slot.to_string();
                let viewer = Viewer { class: kind(role, subscribed).viewer, user: &user, session: "s", keys: &() };
                let admitted = envelope.audience.admits(&viewer);
                let by_hand = roles >> (role % 3) & 1 == 1
                    && subscribed >> namespace & 1 == 1
                    && excluded.map(usize::from) != Some(slot);
                prop_assert_eq!(admitted, by_hand);
                if !named.contains(&&*user) {
                    let class = columns.word(slot as u32).plain_class().expect("everybody is plain");
                    let outcome = sweep.outcome(class, columns.kind(class), &mut press);
                    prop_assert_eq!(outcome.events == 1, admitted, "slot {}", slot);
                }
            }
        }
    }
}
