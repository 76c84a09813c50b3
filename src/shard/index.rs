//! Who is where: connections by user, by session, and by the entity they ask for.
//!
//! Users and sessions are chains through the connections themselves: the table holds the first
//! slot of each chain and no text, so that an entry costs a few bytes however long the names.
//! Tables hash with the standard keyed hasher: the names are chosen by clients.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::base::slots::Slots;
use crate::conn::interest::Key;
use crate::conn::machine::Conn;
use crate::policy::{Identity, Namespace};

/// End of a chain.
const END: u32 = u32::MAX;

/// Which name of an identity a chain goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `userId`.
    User,
    /// `sessionId`.
    Session,
}

impl By {
    fn name(self, identity: &Identity) -> &str {
        match self {
            By::User => &identity.user,
            By::Session => &identity.session,
        }
    }

    fn next(self, conn: &mut Conn) -> &mut u32 {
        match self {
            By::User => &mut conn.next_of_user,
            By::Session => &mut conn.next_of_session,
        }
    }

    fn prev(self, conn: &mut Conn) -> &mut u32 {
        match self {
            By::User => &mut conn.prev_of_user,
            By::Session => &mut conn.prev_of_session,
        }
    }
}

/// The name under which `slot` is in a chain. Every slot in a chain holds an identity.
fn name_at(conns: &Slots<Conn>, by: By, slot: u32) -> &str {
    let identity = conns.at(slot).and_then(|c| c.identity.as_ref());
    by.name(identity.expect("a chain holds authenticated connections only"))
}

/// Chains of live connections that share a name.
#[derive(Debug)]
pub struct Chains {
    by: By,
    heads: HashTable<u32>,
    hasher: RandomState,
}

impl Chains {
    /// No chains yet.
    #[must_use]
    pub fn new(by: By) -> Chains {
        Chains { by, heads: HashTable::new(), hasher: RandomState::new() }
    }

    /// Adds `slot` under the name it has now.
    pub fn insert(&mut self, conns: &mut Slots<Conn>, slot: u32) {
        let (by, hasher) = (self.by, &self.hasher);
        let hash = hasher.hash_one(name_at(conns, by, slot));
        let name = name_at(conns, by, slot);
        let next = match self.heads.find_mut(hash, |&head| name_at(conns, by, head) == name) {
            Some(head) => std::mem::replace(head, slot),
            None => {
                self.heads.insert_unique(hash, slot, |&head| hasher.hash_one(name_at(conns, by, head)));
                END
            }
        };
        let conn = conns.at_mut(slot).expect("inserted slots are taken");
        *by.next(conn) = next;
        *by.prev(conn) = END;
        if next != END {
            *by.prev(conns.at_mut(next).expect("chained slots are taken")) = slot;
        }
    }

    /// Takes `slot` out of the chain of the name it has now. Its neighbours close the gap, so
    /// that it costs the same however many share the name.
    pub fn remove(&mut self, conns: &mut Slots<Conn>, slot: u32) {
        let by = self.by;
        let conn = conns.at_mut(slot).expect("removed slots are taken");
        let next = std::mem::replace(by.next(conn), END);
        let prev = std::mem::replace(by.prev(conn), END);
        if next != END {
            *by.prev(conns.at_mut(next).expect("chained slots are taken")) = prev;
        }
        if prev == END {
            self.behead(conns, slot, next);
        } else {
            *by.next(conns.at_mut(prev).expect("chained slots are taken")) = next;
        }
    }

    /// `next` is the head now where `slot` was; at the end of a chain there is none.
    fn behead(&mut self, conns: &Slots<Conn>, slot: u32, next: u32) {
        let hash = self.hasher.hash_one(name_at(conns, self.by, slot));
        let Ok(entry) = self.heads.find_entry(hash, |&head| head == slot) else {
            debug_assert!(false, "a slot without predecessor is the head of its chain");
            return;
        };
        if next == END {
            entry.remove();
        } else {
            *entry.into_mut() = next;
        }
    }

    /// Appends the slots of everyone called `name` to `out`.
    pub fn find(&self, conns: &Slots<Conn>, name: &str, out: &mut Vec<u32>) {
        let hash = self.hasher.hash_one(name);
        let mut at = self.heads.find(hash, |&head| name_at(conns, self.by, head) == name).copied();
        while let Some(slot) = at.filter(|&s| s != END) {
            out.push(slot);
            at = conns.at(slot).map(|c| match self.by {
                By::User => c.next_of_user,
                By::Session => c.next_of_session,
            });
        }
    }

    /// How many distinct names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether nobody is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }
}

/// Watchers that are looked for one by one; more of them are hashed. Most entities have a
/// handful, and a list of that length is quicker and smaller than a table.
const FEW_MAX: usize = 16;

/// Who asks for one entity. Nobody is in twice.
#[derive(Debug)]
enum Watchers {
    Few(Vec<u32>),
    Many(HashSet<u32>),
}

impl Watchers {
    fn insert(&mut self, slot: u32) {
        match self {
            Watchers::Few(slots) if slots.len() < FEW_MAX => slots.push(slot),
            Watchers::Few(slots) => {
                *self = Watchers::Many(slots.iter().copied().chain([slot]).collect());
            }
            Watchers::Many(slots) => {
                slots.insert(slot);
            }
        }
    }

    fn remove(&mut self, slot: u32) {
        match self {
            Watchers::Few(slots) => {
                if let Some(at) = slots.iter().position(|&s| s == slot) {
                    slots.swap_remove(at);
                }
            }
            Watchers::Many(slots) => {
                slots.remove(&slot);
                // Well below the bound, so that one who comes and goes does not rebuild it.
                if slots.len() <= FEW_MAX / 2 {
                    *self = Watchers::Few(slots.iter().copied().collect());
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Watchers::Few(slots) if slots.is_empty())
    }

    fn append_to(&self, out: &mut Vec<u32>) {
        match self {
            Watchers::Few(slots) => out.extend_from_slice(slots),
            Watchers::Many(slots) => {
                let from = out.len();
                out.extend(slots);
                // The hasher is keyed at random: what the node does must not hang on that.
                out[from..].sort_unstable();
            }
        }
    }
}

/// Slots by the entity they ask for.
#[derive(Debug, Default)]
pub struct Keys {
    map: HashMap<Key, Watchers>,
}

impl Keys {
    /// `slot`, which did not yet, asks for `key`.
    pub fn insert(&mut self, key: Key, slot: u32) {
        self.map.entry(key).or_insert(Watchers::Few(Vec::new())).insert(slot);
    }

    /// `slot` no longer asks for `key`. Costs the same however many do.
    pub fn remove(&mut self, key: &Key, slot: u32) {
        let Some(watchers) = self.map.get_mut(key) else { return };
        watchers.remove(slot);
        if watchers.is_empty() {
            self.map.remove(key);
        }
    }

    /// Appends the slots that ask for `key` to `out`.
    pub fn find(&self, namespace: Namespace, key: &str, out: &mut Vec<u32>) {
        // A look-up by borrowed parts would need a second hasher; events with keys are not the
        // hot case, and most nodes have no keyed subscriber at all.
        if self.map.is_empty() {
            return;
        }
        if let Some(watchers) = self.map.get(&(namespace, Box::from(key))) {
            watchers.append_to(out);
        }
    }

    /// How many distinct entities are asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether nobody asks for a single entity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::base::slots::Id;
    use crate::base::time::Now;
    use crate::conn::machine::Origin;
    use crate::policy::Role;

    /// What the slowest machine needs for work that is linear; a square of it takes far longer.
    const LINEAR: Duration = Duration::from_secs(5);

    fn conn(user: &str, session: &str) -> Conn {
        let origin = Origin { address: Ipv4Addr::LOCALHOST.into(), proxied: false, counted: false };
        let identity =
            Identity { user: user.into(), session: session.into(), role: Role(0), expires_at: u64::MAX };
        let mut conn = Conn::new(origin, Now { mono: 1, wall: 1 });
        conn.identity = Some(identity);
        conn
    }

    fn key(name: u8) -> Key {
        (Namespace(name % 2), name.to_string().into())
    }

    fn sorted(mut slots: Vec<u32>) -> Vec<u32> {
        slots.sort_unstable();
        slots
    }

    proptest! {
        /// Chains find what a map of lists finds, whoever comes and goes.
        #[test]
        fn chains_are_a_map_of_lists(acts in proptest::collection::vec((any::<bool>(), 0u8..4, 0u8..3, any::<prop::sample::Index>()), 0..200)) {
            let mut conns = Slots::default();
            let mut chains = [Chains::new(By::User), Chains::new(By::Session)];
            let mut oracle: [BTreeMap<String, Vec<u32>>; 2] = Default::default();
            let mut lives: Vec<(Id, [String; 2])> = Vec::new();
            for (comes, user, session, whom) in acts {
                if comes || lives.is_empty() {
                    let names = [format!("u{user}"), format!("s{session}")];
                    let id = conns.insert(conn(&names[0], &names[1]));
                    for i in 0..2 {
                        chains[i].insert(&mut conns, id.slot);
                        oracle[i].entry(names[i].clone()).or_default().push(id.slot);
                    }
                    lives.push((id, names));
                } else {
                    let (id, names) = lives.swap_remove(whom.index(lives.len()));
                    for i in 0..2 {
                        chains[i].remove(&mut conns, id.slot);
                        oracle[i].get_mut(&names[i]).unwrap().retain(|&s| s != id.slot);
                    }
                    conns.remove(id);
                }
                for i in 0..2 {
                    oracle[i].retain(|_, slots| !slots.is_empty());
                    prop_assert_eq!(chains[i].len(), oracle[i].len());
                    for name in ["u0", "u1", "u2", "u3", "s0", "s1", "s2"] {
                        let mut found = Vec::new();
                        chains[i].find(&conns, name, &mut found);
                        let due = oracle[i].get(name).cloned().unwrap_or_default();
                        prop_assert_eq!(sorted(found), sorted(due), "{}", name);
                    }
                }
            }
        }

        /// Keys find what a map of lists finds, on both sides of the bound of few.
        #[test]
        fn keys_are_a_map_of_lists(acts in proptest::collection::vec((0u8..5, 0u8..3, 0u32..40), 0..400)) {
            let mut keys = Keys::default();
            let mut oracle: BTreeMap<Key, Vec<u32>> = BTreeMap::new();
            for (act, name, slot) in acts {
                let slots = oracle.entry(key(name)).or_default();
                if act < 2 {
                    slots.retain(|&s| s != slot);
                    keys.remove(&key(name), slot);
                } else if !slots.contains(&slot) {
                    slots.push(slot);
                    keys.insert(key(name), slot);
                }
                let mut found = vec![7];
                keys.find(key(name).0, &key(name).1, &mut found);
                prop_assert_eq!(found.remove(0), 7, "it appends");
                prop_assert_eq!(sorted(found), sorted(slots.clone()));
                oracle.retain(|_, slots| !slots.is_empty());
                prop_assert_eq!((keys.len(), keys.is_empty()), (oracle.len(), oracle.is_empty()));
            }
        }
    }

    #[test]
    fn a_crowd_under_one_name_leaves_in_linear_time() {
        const CROWD: u32 = 60_000;
        let (mut conns, mut chains) = (Slots::default(), Chains::new(By::User));
        let mut keys = Keys::default();
        for _ in 0..CROWD {
            let slot = conns.insert(conn("guest", "s")).slot;
            chains.insert(&mut conns, slot);
            keys.insert(key(1), slot);
        }
        assert!(matches!(keys.map[&key(1)], Watchers::Many(_)), "not looked for one by one");
        let begin = Instant::now();
        // The first to come is the last of its chain; the last to come is the last of a list.
        for slot in (0..CROWD).step_by(2).chain((1..CROWD).step_by(2).rev()) {
            chains.remove(&mut conns, slot);
            keys.remove(&key(1), slot);
        }
        assert!(chains.is_empty() && keys.is_empty());
        assert!(begin.elapsed() < LINEAR, "{:?}", begin.elapsed());
    }
}
