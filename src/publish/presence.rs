//! Who is online: the first connection of a user in, the last one out after a grace.
//!
//! A page that reloads is gone for a moment; that is not an outage. So a user who leaves stays
//! online for the grace, and nobody hears of it when they are back in time.

use std::collections::{HashMap, VecDeque};

/// A user came online or went offline.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// `userId`.
    pub user: Box<str>,
    /// Which way.
    pub online: bool,
    /// When they were last connected (wall ms).
    pub last_seen: u64,
}

#[derive(Debug, Default)]
struct Entry {
    connections: u32,
    /// When the grace ends (monotonic ms), while nobody is connected.
    leaves_at: Option<u64>,
    last_seen: u64,
}

/// Users with a connection, or within the grace after their last one.
#[derive(Debug, Default)]
pub struct Presence {
    grace_ms: u64,
    users: HashMap<Box<str>, Entry>,
    /// In order: the grace is constant.
    leaving: VecDeque<(u64, Box<str>)>,
}

impl Presence {
    /// Nobody is online.
    #[must_use]
    pub fn new(grace_ms: u64) -> Presence {
        Presence { grace_ms, ..Presence::default() }
    }

    /// A connection of `user` became live.
    pub fn join(&mut self, user: Box<str>, now_wall: u64) -> Option<Change> {
        let known = self.users.contains_key(&user);
        let entry = self.users.entry(user.clone()).or_default();
        entry.connections += 1;
        entry.leaves_at = None;
        entry.last_seen = now_wall;
        (!known).then_some(Change { user, online: true, last_seen: now_wall })
    }

    /// A connection of `user` ended.
    pub fn leave(&mut self, user: Box<str>, now_mono: u64, now_wall: u64) {
        let Some(entry) = self.users.get_mut(&user) else { return };
        entry.connections = entry.connections.saturating_sub(1);
        if entry.connections == 0 {
            let at = now_mono + self.grace_ms;
            entry.leaves_at = Some(at);
            entry.last_seen = now_wall;
            self.leaving.push_back((at, user));
        }
    }

    /// The next user whose grace is over.
    pub fn pop_gone(&mut self, now_mono: u64) -> Option<Change> {
        while self.leaving.front().is_some_and(|(at, _)| *at <= now_mono) {
            let (at, user) = self.leaving.pop_front()?;
            // They came back, or came back and left again: a later entry speaks for them.
            if self.users.get(&user).is_some_and(|e| e.leaves_at == Some(at)) {
                let last_seen = self.users.remove(&user).map_or(0, |e| e.last_seen);
                return Some(Change { user, online: false, last_seen });
            }
        }
        None
    }

    /// When the next grace ends (monotonic ms).
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.leaving.front().map(|(at, _)| *at)
    }

    /// Users online, those within the grace included.
    #[must_use]
    pub fn online(&self) -> usize {
        self.users.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_is_not_an_outage() {
        let mut p = Presence::new(5000);
        let change = p.join("ada".into(), 100).unwrap();
        assert_eq!(change, Change { user: "ada".into(), online: true, last_seen: 100 });
        assert_eq!(p.join("ada".into(), 110), None, "a second tab");
        p.leave("ada".into(), 0, 120);
        assert_eq!((p.next_due(), p.online()), (None, 1));
        p.leave("ada".into(), 10, 130);
        assert_eq!(p.pop_gone(5009), None);
        assert_eq!(p.join("ada".into(), 140), None, "back in time");
        assert_eq!(p.pop_gone(99_999), None);
        p.leave("ada".into(), 6000, 150);
        assert_eq!(p.pop_gone(10_999), None);
        let change = p.pop_gone(11_000).unwrap();
        assert_eq!(change, Change { user: "ada".into(), online: false, last_seen: 150 });
        assert_eq!((p.online(), p.pop_gone(u64::MAX)), (0, None));
        assert!(p.join("ada".into(), 160).is_some(), "and online again");
    }

    #[test]
    fn leaving_twice_within_the_grace_goes_offline_once() {
        let mut p = Presence::new(100);
        p.join("ada".into(), 0);
        p.leave("ada".into(), 0, 0);
        p.join("ada".into(), 0);
        p.leave("ada".into(), 50, 0);
        assert_eq!(p.pop_gone(100), None, "the first leave was taken back");
        assert!(p.pop_gone(150).is_some());
        assert_eq!(p.pop_gone(u64::MAX), None);
    }
}
