//! What one connection asked to hear of: whole namespaces, or single entities in them.

use crate::base::masks::Mask;
use crate::policy::{HoldsKey, Namespace};

/// An entity of a namespace.
pub type Key = (Namespace, Box<str>);

/// Subscriptions of one connection. A namespace is subscribed as a whole, by keys, or not at all.
#[derive(Debug, Default)]
pub struct Interest {
    whole: Mask,
    keyed: Mask,
    /// Sorted; without heap for the many who ask for no single entity.
    keys: Vec<Key>,
}

/// How the keys of a connection changed: what the key index must learn.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// No longer asked for.
    pub removed: Vec<Key>,
    /// Newly asked for.
    pub added: Vec<Key>,
}

impl KeyChange {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

/// More entities than a connection may ask for.
#[derive(Debug, PartialEq, Eq)]
pub struct TooManyKeys;

impl Interest {
    /// Namespaces subscribed as a whole.
    #[must_use]
    pub fn whole(&self) -> Mask {
        self.whole
    }

    /// Namespaces subscribed by keys.
    #[must_use]
    pub fn keyed(&self) -> Mask {
        self.keyed
    }

    /// Namespaces subscribed in either way.
    #[must_use]
    pub fn any(&self) -> Mask {
        self.whole | self.keyed
    }

    /// The entities asked for.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Subscribes `namespaces`, replacing what was asked for in them: all entities, or those
    /// of `keys` alone.
    ///
    /// # Errors
    /// [`TooManyKeys`] when the connection would ask for more than `max_keys` entities in all;
    /// nothing is changed then.
    pub fn subscribe(
        &mut self,
        namespaces: Mask,
        keys: Option<&[&str]>,
        max_keys: usize,
    ) -> Result<KeyChange, TooManyKeys> {
        let mut wanted: Vec<Key> = Vec::new();
        if let Some(keys) = keys {
            let kept = self.keys.iter().filter(|k| !namespaces.has(k.0.0)).count();
            let mut distinct: Vec<&str> = keys.to_vec();
            distinct.sort_unstable();
            distinct.dedup();
            if kept + distinct.len() * namespaces.len() > max_keys {
                return Err(TooManyKeys);
            }
            for namespace in namespaces.iter() {
                wanted.extend(distinct.iter().map(|&key| (Namespace(namespace), key.into())));
            }
        }
        let change = self.replace(namespaces, wanted);
        if keys.is_some() {
            self.keyed = self.keyed | namespaces;
            self.whole = self.whole.without(namespaces);
        } else {
            self.whole = self.whole | namespaces;
            self.keyed = self.keyed.without(namespaces);
        }
        Ok(change)
    }

    /// Ends the subscriptions of `namespaces`; with `keys`, only of those entities, and of the
    /// namespace when none is left. Entities cannot be taken out of a whole namespace: such a
    /// subscription stays as it is.
    pub fn unsubscribe(&mut self, namespaces: Mask, keys: Option<&[&str]>) -> KeyChange {
        let Some(keys) = keys else {
            self.whole = self.whole.without(namespaces);
            self.keyed = self.keyed.without(namespaces);
            return self.replace(namespaces, Vec::new());
        };
        // Sorted: a message may list many thousand, and a connection hold a thousand.
        let mut unwanted = keys.to_vec();
        unwanted.sort_unstable();
        let keep = self.keys.iter().filter(|k| {
            let listed = unwanted.binary_search(&&*k.1).is_ok();
            namespaces.has(k.0.0) && !listed
        });
        let keep: Vec<Key> = keep.cloned().collect();
        let change = self.replace(namespaces, keep);
        for namespace in (self.keyed & namespaces).iter() {
            if !self.keys.iter().any(|k| k.0.0 == namespace) {
                self.keyed = self.keyed.without(Mask::only(namespace));
            }
        }
        change
    }

    /// Replaces the keys of `namespaces` by `wanted`, which is all in them.
    fn replace(&mut self, namespaces: Mask, mut wanted: Vec<Key>) -> KeyChange {
        if self.keys.is_empty() && wanted.is_empty() {
            return KeyChange::default();
        }
        wanted.sort_unstable();
        let (old, mut kept): (Vec<Key>, Vec<Key>) =
            std::mem::take(&mut self.keys).into_iter().partition(|k| namespaces.has(k.0.0));
        let added = wanted.iter().filter(|k| old.binary_search(k).is_err()).cloned().collect();
        let removed = old.into_iter().filter(|k| wanted.binary_search(k).is_err()).collect();
        kept.append(&mut wanted);
        kept.sort_unstable();
        kept.shrink_to_fit();
        self.keys = kept;
        KeyChange { removed, added }
    }
}

impl HoldsKey for Interest {
    fn holds(&self, namespace: Namespace, key: &str) -> bool {
        self.keys.binary_search_by(|k| (k.0, &*k.1).cmp(&(namespace, key))).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is asked for and given up: what is held is what a plain set holds.
        #[test]
        fn keys_are_a_set(acts in proptest::collection::vec(
            (any::<bool>(), 1u64..8, proptest::collection::vec(0u8..6, 1..6)), 0..30,
        )) {
            let mut interest = Interest::default();
            let mut oracle: BTreeSet<Key> = BTreeSet::new();
            for (asks, namespaces, names) in acts {
                let mask = (0..3).filter(|n| namespaces >> n & 1 == 1).fold(Mask::EMPTY, |m, n| m | Mask::only(n));
                let names: Vec<String> = names.iter().map(u8::to_string).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let listed = mask.iter().flat_map(|n| names.iter().map(move |name| key(n, name)));
                let before = oracle.clone();
                let change = if asks {
                    oracle.retain(|k| !mask.has(k.0.0));
                    oracle.extend(listed);
                    interest.subscribe(mask, Some(&names), usize::MAX).unwrap()
                } else {
                    listed.for_each(|k| { oracle.remove(&k); });
                    interest.unsubscribe(mask, Some(&names))
                };
                prop_assert!(interest.keys().iter().eq(&oracle));
                prop_assert!(change.added.iter().eq(oracle.difference(&before)));
                prop_assert!(change.removed.iter().eq(before.difference(&oracle)));
                let keyed = oracle.iter().fold(Mask::EMPTY, |m, k| m | Mask::only(k.0.0));
                prop_assert_eq!(interest.keyed(), keyed);
            }
        }
    }

    #[test]
    fn giving_up_many_of_many_does_not_compare_each_with_each() {
        let names = |prefix: &str| -> Vec<String> { (0..30_000).map(|n| format!("{prefix}{n}")).collect() };
        let (held, listed) = (names("order_"), names("other_"));
        let [held, listed] =
            [&held, &listed].map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut interest = Interest::default();
        interest.subscribe(Mask::only(0), Some(&held), usize::MAX).unwrap();
        let begin = Instant::now();
        assert!(interest.unsubscribe(Mask::only(0), Some(&listed)).is_empty());
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    }

    fn key(namespace: u8, key: &str) -> Key {
        (Namespace(namespace), key.into())
    }

    #[test]
    fn keys_replace_and_end() {
        let orders = Mask::only(0);
        let both = Mask::only(0) | Mask::only(1);
        let mut i = Interest::default();
        let change = i.subscribe(both, Some(&["a", "b", "a"]), 4).unwrap();
        assert_eq!(change.added, [key(0, "a"), key(0, "b"), key(1, "a"), key(1, "b")]);
        assert_eq!(i.subscribe(Mask::only(2), Some(&["c"]), 4), Err(TooManyKeys));
        assert_eq!((i.keyed(), i.whole()), (both, Mask::EMPTY));

        let change = i.subscribe(orders, Some(&["b", "c"]), 4).unwrap();
        assert_eq!((change.removed, change.added), (vec![key(0, "a")], vec![key(0, "c")]));
        assert!(i.holds(Namespace(0), "c") && !i.holds(Namespace(0), "a") && i.holds(Namespace(1), "a"));

        let change = i.subscribe(orders, None, 4).unwrap();
        assert_eq!((change.removed.len(), change.added.len()), (2, 0));
        assert_eq!((i.whole(), i.keyed()), (orders, Mask::only(1)));
        assert!(i.unsubscribe(orders, Some(&["zzz"])).is_empty());
        assert_eq!(i.whole(), orders, "entities cannot be taken out of a whole namespace");

        assert_eq!(i.unsubscribe(both, Some(&["a"])).removed, [key(1, "a")]);
        assert_eq!(i.keyed(), Mask::only(1));
        assert_eq!(i.unsubscribe(both, Some(&["b"])).removed, [key(1, "b")]);
        assert_eq!(i.keyed(), Mask::EMPTY, "the last key ends the subscription");
        assert!(i.unsubscribe(Mask::ALL, None).is_empty());
        assert_eq!(i.any(), Mask::EMPTY);
    }
}
