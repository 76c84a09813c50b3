//! A connection that is behind: what it missed, and how far it has come.
//!
//! While it is behind it is a cursor into its shard's window, or into the log where the window does
//! not reach back so far. It first works off the replays
//! that it asked for, then everything else that has come meanwhile; when nothing is left it
//! goes live. Nothing is delivered to it in any other way, so there is no gap, nothing comes
//! twice, and there is no second path.

use std::collections::VecDeque;

use crate::base::masks::Mask;
use crate::conn::machine::Conn;
use crate::policy::{Audience, Reach};

/// Events of some namespaces that a client missed.
#[derive(Debug)]
pub struct Replay {
    /// Everything up to this position is done with.
    pub after: u64,
    /// The last position that belongs to the replay.
    pub until: u64,
    /// Namespaces that were asked for.
    pub namespaces: Mask,
    /// The last position of an event without need of a subscription that belongs to the replay:
    /// later ones come, or came, to this connection anyway.
    pub unasked_until: u64,
    /// What they were called, for `caught_up`.
    pub names: Vec<Box<str>>,
    /// Events sent.
    pub sent: u64,
}

impl Replay {
    /// Whether the event at `position` can be part of it: of a namespace that was asked for, or of
    /// those that reach a client without a subscription. Whether it is admitted is another question.
    #[must_use]
    pub fn covers(&self, audience: &Audience, position: u64) -> bool {
        match audience.reach {
            Reach::Subscribers => self.namespaces.has(audience.namespace.0),
            Reach::Addressed | Reach::Everybody => position <= self.unasked_until,
        }
    }
}

/// What a connection that is behind has before it.
#[derive(Debug, Default)]
pub struct Resume {
    /// Replays, the one under way in front.
    pub replays: VecDeque<Replay>,
    /// It waits for the part of the log behind this position.
    pub waits: Option<u64>,
    /// Namespaces, and up to which position the general catch-up passes over their events: a
    /// replay brings those, or a subscription of later date leaves them out.
    skips: Vec<(u8, u64)>,
    /// The client has seen everything up to here on a shard that was quicker: the cursor does not
    /// go live before this shard has come so far, and brings nothing of it.
    hold_until: u64,
}

/// Replays that may wait for each other. A client has one per subscription to restore.
pub const REPLAYS_MAX: usize = 64;

impl Resume {
    /// The general catch-up brings no event of `namespaces` up to `until`.
    pub fn skip(&mut self, namespaces: Mask, until: u64) {
        for namespace in namespaces.iter() {
            match self.skips.iter_mut().find(|(n, _)| *n == namespace) {
                Some((_, position)) => *position = until.max(*position),
                None => self.skips.push((namespace, until)),
            }
        }
    }

    /// Whether the general catch-up passes over the event at `position`.
    #[must_use]
    pub fn skips(&self, audience: &Audience, position: u64) -> bool {
        match audience.reach {
            Reach::Subscribers => {
                self.skips.iter().any(|(n, until)| *n == audience.namespace.0 && position <= *until)
            }
            Reach::Addressed | Reach::Everybody => position <= self.hold_until,
        }
    }

    /// Leaves out everything of `namespaces` up to `position`, which lies ahead of the shard.
    pub fn hold(&mut self, namespaces: Mask, position: u64) {
        self.skip(namespaces, position);
        self.hold_until = self.hold_until.max(position);
    }

    /// Whether the cursor may go live once it has seen everything up to `last`.
    #[must_use]
    pub fn may_end(&self, last: u64) -> bool {
        last >= self.hold_until
    }

    /// Whether no further replay can wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.replays.len() >= REPLAYS_MAX
    }
}

/// Bytes that a replay puts into an outbox at a time: what one write carries.
pub const REPLAY_BYTES: usize = 64 << 10;

impl Conn {
    /// What it has before it from now on; `last` is the position up to which it was given
    /// everything, where it was not behind.
    pub(super) fn fall_behind(&mut self, last: u64) -> &mut Resume {
        if self.resume.is_none() {
            self.seen = last;
        }
        self.resume.get_or_insert_default()
    }

    /// The position from which its client misses nothing, should it come back with that: `last`,
    /// or less while it is behind.
    #[must_use]
    pub fn sent_up_to(&self, last: u64) -> u64 {
        let Some(resume) = &self.resume else { return last };
        resume.replays.iter().map(|replay| replay.after).fold(last.min(self.seen), u64::min)
    }

    /// Whether a replay may go on: its client has taken what it got so far, or nearly. Half of a
    /// small backlog stays free for the event that goes beyond, and for answers.
    #[must_use]
    pub fn takes_replay(&self, backlog_bytes_max: usize) -> bool {
        let enough = REPLAY_BYTES.min(backlog_bytes_max / 2);
        self.out.as_ref().is_none_or(|out| out.bytes() < enough.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Now;
    use crate::conn::machine::Origin;
    use crate::policy::Namespace;
    use bytes::Bytes;
    use std::net::{IpAddr, Ipv4Addr};

    fn audience(namespace: u8, reach: Reach) -> Audience {
        Audience {
            namespace: Namespace(namespace),
            reach,
            roles: Mask::EMPTY,
            own_roles: Mask::EMPTY,
            owner: None,
            users: None,
            exclude_users: Box::default(),
            exclude_session: None,
            key: None,
        }
    }

    #[test]
    fn a_replay_brings_its_namespaces_and_the_unasked_that_did_not_come_otherwise() {
        let replay = Replay {
            after: 10,
            until: 20,
            namespaces: Mask::only(1) | Mask::only(2),
            unasked_until: 15,
            names: vec![],
            sent: 0,
        };
        for (namespace, reach, position, covered) in [
            (1, Reach::Subscribers, 11, true),
            (2, Reach::Subscribers, 20, true),
            (0, Reach::Subscribers, 11, false),
            (0, Reach::Addressed, 15, true),
            (0, Reach::Addressed, 16, false),
            (1, Reach::Addressed, 16, false),
            (5, Reach::Everybody, 15, true),
            (5, Reach::Everybody, 16, false),
        ] {
            let audience = audience(namespace, reach);
            assert_eq!(replay.covers(&audience, position), covered, "{namespace} {reach:?} {position}");
        }
    }

    #[test]
    fn the_catch_up_passes_over_what_replays_bring_and_nothing_else() {
        let mut resume = Resume::default();
        resume.skip(Mask::only(1) | Mask::only(2), 10);
        resume.skip(Mask::only(2), 20);
        resume.skip(Mask::only(1), 5);
        for (namespace, reach, position, skipped) in [
            (1, Reach::Subscribers, 10, true),
            (1, Reach::Subscribers, 11, false),
            (2, Reach::Subscribers, 20, true),
            (2, Reach::Subscribers, 21, false),
            (3, Reach::Subscribers, 1, false),
            (1, Reach::Addressed, 1, false),
            (2, Reach::Everybody, 1, false),
        ] {
            let audience = audience(namespace, reach);
            assert_eq!(resume.skips(&audience, position), skipped, "{namespace} {reach:?} {position}");
        }
    }

    #[test]
    fn a_replay_waits_for_its_client_before_the_backlog_is_full() {
        for (waiting, backlog_max, takes) in [
            (0, 0, true),
            (1, 0, false),
            (499, 1_000, true),
            (500, 1_000, false),
            (REPLAY_BYTES - 1, 1 << 20, true),
            (REPLAY_BYTES, 1 << 20, false),
        ] {
            let now = Now { mono: 0, wall: 0 };
            let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let mut conn = Conn::new(Origin { address, proxied: false, counted: false }, now);
            if waiting > 0 {
                conn.send(Bytes::from(vec![0; waiting]), now);
            }
            assert_eq!(conn.takes_replay(backlog_max), takes, "{waiting} of {backlog_max}");
        }
    }

    #[test]
    fn the_line_of_replays_has_an_end() {
        let mut resume = Resume::default();
        for _ in 0..REPLAYS_MAX {
            assert!(!resume.is_full());
            let (namespaces, names) = (Mask::EMPTY, vec![]);
            resume.replays.push_back(Replay {
                after: 0,
                until: 0,
                namespaces,
                unasked_until: 0,
                names,
                sent: 0,
            });
        }
        assert!(resume.is_full());
    }
}
