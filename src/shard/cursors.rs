//! Connections that are behind: each turn they come for what they missed, as far as they can
//! take it.

use crate::base::slots::Id;
use crate::base::time::Now;
use crate::conn::machine::Conn;
use crate::conn::phase::Phase;
use crate::conn::reason::Ending;
use crate::conn::resume::{Replay, Resume};
use crate::shard::columns::Flag;
use crate::shard::core::Core;
use crate::wire::reply;

/// Cursors that go on in one turn: ten thousand that come back at once do not stall the rest.
pub const CURSORS_PER_TURN: usize = 64;
/// Events that one cursor looks at in one turn.
pub const EVENTS_PER_CURSOR: usize = 512;

/// How a cursor stands after its share of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// It has more to look at.
    Ready,
    /// Its client must take something first.
    Full,
    /// Nothing is left: it goes live.
    Level,
    /// Its client has seen more, elsewhere, than has come here.
    Ahead,
    /// The window has moved past it.
    Overrun,
}

impl Core {
    /// Makes a live connection a cursor. It has been given everything up to now.
    pub(super) fn begin_cursor(&mut self, id: Id) {
        let slot = id.slot;
        let Some(conn) = self.conns.get(id) else { return };
        if conn.resume.is_none() || conn.phase != Phase::Live {
            return;
        }
        self.columns.set(slot, Flag::Behind, true);
        self.columns.set(slot, Flag::Individual, false);
        self.run_cursor(slot);
    }

    /// Puts a cursor in the line of those that may go on.
    pub(super) fn run_cursor(&mut self, slot: u32) {
        if self.columns.word(slot).has(Flag::Runnable) {
            return;
        }
        if let Some(id) = self.conns.id_at(slot) {
            self.columns.set(slot, Flag::Runnable, true);
            self.cursors.push_back(id);
        }
    }

    /// Lets cursors go on, in turn; those that could go on further stay in the line.
    pub(super) fn advance_cursors(&mut self, now: Now) {
        for _ in 0..self.cursors_per_turn {
            let Some(id) = self.cursors.pop_front() else { return };
            if self.conns.get(id).is_none() {
                continue; // Its slot, and the flag there, are somebody else's now.
            }
            self.columns.set(id.slot, Flag::Runnable, false);
            match self.advance_cursor(id, now) {
                Stand::Ready => self.run_cursor(id.slot),
                Stand::Full => {} // Its flush brings it back.
                Stand::Level => self.end_cursor(id),
                Stand::Ahead => self.ahead.push(id),
                Stand::Overrun => {
                    self.close(id, Ending::SlowConsumer, Ending::SlowConsumer.retry_after_ms(), now)
                }
            }
        }
    }

    fn advance_cursor(&mut self, id: Id, now: Now) -> Stand {
        let Some(conn) = self.conns.get_mut(id) else { return Stand::Full };
        let Some(mut resume) = conn.resume.take() else { return Stand::Full };
        let stand = self.advance_resume(id, &mut resume, now);
        if let Some(conn) = self.conns.get_mut(id) {
            conn.resume = Some(resume);
            if conn.out.is_some() {
                self.touch(id.slot);
            }
        }
        stand
    }

    fn advance_resume(&mut self, id: Id, resume: &mut Resume, now: Now) -> Stand {
        let backlog_max = self.config.backlog_bytes_max;
        let mut looked = 0;
        let Some(conn) = self.conns.get_mut(id) else { return Stand::Full };
        while let Some(replay) = resume.replays.front_mut() {
            if !self.window.covers(replay.after) {
                return Stand::Overrun;
            }
            for (position, envelope) in self.window.after(replay.after) {
                if position > replay.until {
                    break;
                }
                if !conn.takes_replay(backlog_max) {
                    return Stand::Full;
                }
                if looked == self.events_per_cursor {
                    return Stand::Ready;
                }
                looked += 1;
                replay.after = position;
                let audience = &envelope.audience;
                if replay.covers(audience, position)
                    && conn.viewer().is_some_and(|viewer| audience.admits(&viewer))
                {
                    conn.send(envelope.frame.clone(), now);
                    replay.sent += 1;
                    self.counters.deliveries.add(1);
                }
            }
            say_caught_up(conn, replay, now);
            resume.replays.pop_front();
        }
        if !self.window.covers(conn.seen) {
            return Stand::Overrun;
        }
        for (position, envelope) in self.window.after(conn.seen) {
            if !conn.takes_replay(backlog_max) {
                return Stand::Full;
            }
            if looked == self.events_per_cursor {
                return Stand::Ready;
            }
            looked += 1;
            conn.seen = position;
            let audience = &envelope.audience;
            if !resume.skips(audience, position)
                && conn.viewer().is_some_and(|viewer| audience.admits(&viewer))
            {
                conn.send(envelope.frame.clone(), now);
                self.counters.deliveries.add(1);
            }
        }
        if resume.may_end(self.window.last()) { Stand::Level } else { Stand::Ahead }
    }

    /// An event has come: those who wait for it may go on.
    pub(super) fn run_ahead(&mut self) {
        for id in std::mem::take(&mut self.ahead) {
            if self.conns.get(id).is_some() {
                self.run_cursor(id.slot);
            }
        }
    }

    /// A cursor that has seen everything is live again.
    fn end_cursor(&mut self, id: Id) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.resume = None;
        }
        self.columns.set(id.slot, Flag::Behind, false);
        // What is in the sweep it has seen already.
        self.columns.set(id.slot, Flag::Individual, !self.sweep.is_empty());
    }
}

fn say_caught_up(conn: &mut Conn, replay: &Replay, now: Now) {
    let text = reply::caught_up(&replay.names, replay.sent);
    conn.reply(&text, now);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::base::window::Bounds;
    use crate::conn::config::Config;
    use crate::policy::Rules;
    use crate::shard::admission::Admission;
    use crate::shard::core::{Place, Wires, Wrote};
    use crate::shard::counters::{Counters, Shared};
    use crate::shard::envelope::Envelope;
    use crate::wire::envelope::{encode_event, event_id};

    const NOW: Now = Now { mono: 1_000_000, wall: 1_000_000 };

    /// A world that takes everything, and one client in it.
    #[derive(Default)]
    struct Taken(Vec<u8>);

    impl Wires for Taken {
        fn write(&mut self, _: u32, slices: &[std::io::IoSlice<'_>]) -> Wrote {
            self.0.extend(slices.iter().flat_map(|s| s.iter()));
            Wrote::Bytes(slices.iter().map(|s| s.len()).sum())
        }
        fn shut(&mut self, _: u32) {}
        fn drop(&mut self, _: u32, _: bool) {}
    }

    fn core(shared: &Arc<Shared>) -> Core {
        let config = Arc::new(Config::sample());
        let window = Bounds { items: 100, bytes: 1 << 20 };
        let place = Place { shard: 0, shards: 1, last_position: 0, window };
        Core::new(place, config, shared.clone(), Arc::new(Admission::new(9, 9, 9)), Arc::default())
    }

    fn post(core: &mut Core, position: u64) {
        let posted = r#"{"type":"product:deleted","data":{"productId":"p"}}"#;
        let rules = Rules { validate: true, max_event_bytes: 1000 };
        let draft = core.config.policy.draft_posted(posted, &rules).unwrap();
        let frame = encode_event("product:deleted", "products", &draft.data, 1, &event_id(position));
        let envelope = Envelope { position, event: draft.event, audience: draft.audience, frame };
        core.handle_event(Arc::new(envelope), NOW);
    }

    fn say(core: &mut Core, id: Id, text: &str) {
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend((text.len() as u16).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        core.handle_bytes(id, &mut frame, NOW);
    }

    /// The ids of the events that were written, in order.
    fn seen(core: &mut Core, world: &mut Taken) -> Vec<u64> {
        while core.flush(world, NOW) {}
        core.retire(world);
        core.check_invariants();
        let text = String::from_utf8_lossy(&std::mem::take(&mut world.0)).into_owned();
        let ids = text.split("\"type\":\"product:deleted\"").skip(1);
        ids.map(|t| t.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect()
    }

    #[test]
    fn one_who_saw_more_on_a_quicker_shard_gets_nothing_twice() {
        let shared = Arc::new(Shared::default());
        let mut core = core(&shared);
        let mut world = Taken::default();
        for position in 1..=3 {
            post(&mut core, position);
        }
        shared.last_position.store(5, Ordering::Relaxed);
        let id = core.welcome([127, 0, 0, 1].into(), NOW);
        let mut head = b"GET /api/ws HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
        core.handle_bytes(id, &mut head, NOW);
        let auth =
            r#"{"type":"auth","data":{"userId":"u","role":"guest","sessionId":"s","expiresAt":999999999}}"#;
        say(&mut core, id, &format!("{auth}{}", " ".repeat(126)));
        let since = |id: u64| {
            let epoch = Config::sample().epoch;
            let data = format!(r#"{{"namespaces":["products"],"since":{{"epoch":"{epoch}","id":"{id}"}}}}"#);
            format!(r#"{{"type":"subscribe","data":{data}}}{}"#, " ".repeat(126))
        };
        say(&mut core, id, &since(6));
        while core.flush(&mut world, NOW) {}
        let text = String::from_utf8_lossy(&std::mem::take(&mut world.0)).into_owned();
        assert!(text.contains("bad_position"), "beyond what the node has published: {text}");

        say(&mut core, id, &since(5));
        while core.flush(&mut world, NOW) {}
        let text = String::from_utf8_lossy(&std::mem::take(&mut world.0)).into_owned();
        assert!(text.contains(r#""recovered":true"#) && text.contains(r#""lastEventId":"5""#), "{text}");
        assert!(text.contains(r#""replayed":0"#), "{text}");
        for position in 4..=7 {
            post(&mut core, position);
        }
        assert_eq!(seen(&mut core, &mut world), [6, 7], "4 and 5 it has seen");
        post(&mut core, 8);
        assert_eq!(seen(&mut core, &mut world), [8], "and it is live");
        let counters: &Counters = &core.counters;
        assert_eq!(counters.deliveries.read(), 3);
    }
}
