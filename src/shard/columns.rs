//! The dense column that fan-out scans: four bytes per slot.
//!
//! What the filter asks about a connection apart from *who* it is — its role and its
//! subscription masks — is the same for very many connections, and so is the form in which it takes
//! events. Each distinct combination is a class, kept once; the column holds the class number of each slot. So an
//! event is filtered once per class (a few bit operations on masks), and a scan over ten
//! thousand connections reads forty kilobytes in order.
//!
//! ```text
//! slot     0      1      2      3    …        class   role      subscribed   keyed
//! word  [f| 0] [f| 2] [f| –] [f| 0]  …          0     staff     {0,2,3}      {}
//!        │  └─ class, – = not live              2     customer  {0,2}        {0}
//!        └─ flags, see `Flag`
//! ```

use std::collections::HashMap;

use crate::policy::ViewerClass;

/// Number of a class.
pub type ClassId = u32;

const CLASS_BITS: u32 = 24;
const CLASS_MASK: u32 = (1 << CLASS_BITS) - 1;
/// The class of a slot in which no live connection is.
const NOT_LIVE: u32 = CLASS_MASK;

/// Something that keeps a slot out of the common path of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Flag {
    /// Events in the sweep are decided for this connection by itself: it has seen some of them
    /// already, or one of them names it.
    Individual = 1 << 31,
    /// Its outbox holds something: what comes must queue behind it.
    Queued = 1 << 30,
    /// It is in the list of connections to flush this turn.
    Touched = 1 << 29,
    /// It is a cursor into the window or the log: what comes is not delivered to it, it comes for it.
    Behind = 1 << 28,
    /// It is behind, and in the list of those that may go on.
    Runnable = 1 << 27,
}

/// One slot of the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u32);

impl Word {
    const VACANT: Word = Word(NOT_LIVE);

    /// The class, where a live connection is.
    #[must_use]
    pub fn class(self) -> Option<ClassId> {
        let class = self.0 & CLASS_MASK;
        (class != NOT_LIVE).then_some(class)
    }

    /// Whether `flag` is up.
    #[must_use]
    pub fn has(self, flag: Flag) -> bool {
        self.0 & flag as u32 != 0
    }

    /// The class of a live connection that a sweep may write to without looking closer.
    #[must_use]
    pub fn plain_class(self) -> Option<ClassId> {
        const SPECIAL: u32 = Flag::Individual as u32 | Flag::Queued as u32 | Flag::Behind as u32;
        if self.0 & SPECIAL != 0 { None } else { self.class() }
    }
}

/// What the members of a class have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// What the filter asks about them.
    pub viewer: ViewerClass,
    /// They take compressed events.
    pub deflates: bool,
}

#[derive(Debug)]
struct Class {
    kind: Kind,
    members: u32,
}

/// The column, and the classes that it refers to.
#[derive(Debug, Default)]
pub struct Columns {
    words: Vec<Word>,
    classes: Vec<Class>,
    free: Vec<ClassId>,
    by_kind: HashMap<Kind, ClassId>,
    live: usize,
}

impl Columns {
    /// Makes room for slots below `width`.
    pub fn widen(&mut self, width: u32) {
        if self.words.len() < width as usize {
            self.words.resize(width as usize, Word::VACANT);
        }
    }

    /// The column itself.
    #[must_use]
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// One slot of it.
    #[must_use]
    pub fn word(&self, slot: u32) -> Word {
        self.words[slot as usize]
    }

    /// Slots that the column has room for.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.words.len() as u32
    }

    /// How many slots are live.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// Puts `flag` up or down.
    pub fn set(&mut self, slot: u32, flag: Flag, up: bool) {
        let word = &mut self.words[slot as usize].0;
        if up {
            *word |= flag as u32;
        } else {
            *word &= !(flag as u32);
        }
    }

    /// Makes `slot` live as a member of the class of that kind, or moves it there.
    pub fn enlist(&mut self, slot: u32, kind: Kind) {
        let id = match self.by_kind.get(&kind) {
            Some(&id) => id,
            None => {
                let class = Class { kind, members: 0 };
                let id = match self.free.pop() {
                    Some(id) => {
                        self.classes[id as usize] = class;
                        id
                    }
                    None => {
                        self.classes.push(class);
                        (self.classes.len() - 1) as ClassId
                    }
                };
                debug_assert!(id < NOT_LIVE);
                self.by_kind.insert(kind, id);
                id
            }
        };
        self.classes[id as usize].members += 1;
        self.discharge(slot);
        self.words[slot as usize].0 = self.words[slot as usize].0 & !CLASS_MASK | id;
        self.live += 1;
    }

    /// Ends the liveness of `slot`; its flags stay.
    pub fn discharge(&mut self, slot: u32) {
        let word = &mut self.words[slot as usize];
        let Some(id) = word.class() else { return };
        word.0 |= NOT_LIVE;
        self.live -= 1;
        let class = &mut self.classes[id as usize];
        class.members -= 1;
        if class.members == 0 {
            self.by_kind.remove(&class.kind);
            self.free.push(id);
        }
    }

    /// Empties `slot`: not live, no flag.
    pub fn vacate(&mut self, slot: u32) {
        self.discharge(slot);
        self.words[slot as usize] = Word::VACANT;
    }

    /// What the members of a class have in common; it must have some.
    #[must_use]
    pub fn kind(&self, id: ClassId) -> &Kind {
        &self.classes[id as usize].kind
    }

    /// What the filter asks about every class that has members, and how many those are. Two classes may be
    /// the same to the filter.
    pub fn classes(&self) -> impl Iterator<Item = (&ViewerClass, u32)> {
        self.classes.iter().filter(|c| c.members > 0).map(|c| (&c.kind.viewer, c.members))
    }

    /// Sweeps the books (debug builds and tests): members and liveness agree with the words.
    pub fn check_invariants(&self) {
        let mut members = vec![0u32; self.classes.len()];
        for word in &self.words {
            if let Some(id) = word.class() {
                members[id as usize] += 1;
            }
        }
        assert_eq!(members.iter().sum::<u32>() as usize, self.live);
        for (id, class) in self.classes.iter().enumerate() {
            assert_eq!(members[id], class.members, "class {id}");
            assert_eq!(class.members == 0, self.free.contains(&(id as u32)), "class {id}");
            if class.members > 0 {
                assert_eq!(self.by_kind.get(&class.kind), Some(&(id as u32)));
            }
        }
        assert_eq!(self.by_kind.len(), self.classes.len() - self.free.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::masks::Mask;
    use crate::policy::Role;
    use proptest::prelude::*;

    /// Even roles take compressed events.
    fn class(role: u8, subscribed: u8) -> Kind {
        let viewer =
            ViewerClass { role: Role(role / 2), subscribed: Mask::only(subscribed), keyed: Mask::EMPTY };
        Kind { viewer, deflates: role.is_multiple_of(2) }
    }

    proptest! {
        /// Against a plain map from slot to class.
        #[test]
        fn equals_a_map(ops in proptest::collection::vec((0u32..20, 0u8..6, 0u8..3), 1..200)) {
            let mut columns = Columns::default();
            let mut map: HashMap<u32, Kind> = HashMap::new();
            for (slot, role, what) in ops {
                columns.widen(slot + 1);
                match what {
                    0 => { columns.vacate(slot); map.remove(&slot); }
                    1 => { columns.set(slot, Flag::Queued, role % 2 == 0); }
                    _ => { columns.enlist(slot, class(role, 1)); map.insert(slot, class(role, 1)); }
                }
                columns.check_invariants();
                prop_assert_eq!(columns.live(), map.len());
                for slot in 0..columns.width() {
                    let got = columns.word(slot).class().map(|id| *columns.kind(id));
                    prop_assert_eq!(got, map.get(&slot).copied());
                }
            }
        }
    }

    #[test]
    fn flags_survive_a_change_of_class() {
        let mut columns = Columns::default();
        columns.widen(1);
        columns.enlist(0, class(1, 1));
        columns.set(0, Flag::Queued, true);
        columns.enlist(0, class(2, 1));
        assert!(columns.word(0).has(Flag::Queued) && columns.word(0).plain_class().is_none());
        columns.set(0, Flag::Queued, false);
        assert!(columns.word(0).plain_class().is_some());
        columns.vacate(0);
        assert_eq!(columns.word(0).class(), None);
    }
}
