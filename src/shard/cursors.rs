//! Connections that are behind: each turn they come for what they missed, as far as they can
//! take it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::slots::Id;
use crate::base::time::Now;
use crate::base::window::Window;
use crate::conn::machine::Conn;
use crate::conn::phase::Phase;
use crate::conn::reason::Ending;
use crate::conn::resume::{Replay, Resume};
use crate::shard::archive::{Archive, Ask, Chunk, Held};
use crate::shard::columns::Flag;
use crate::shard::core::Core;
use crate::shard::counters::Counters;
use crate::shard::envelope::Envelope;
use crate::shard::press::frame_at_hand;
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
    /// The events behind this position must be had from the log first.
    Waiting(u64),
    /// Nothing is left: it goes live.
    Level,
    /// Its client has seen more, elsewhere, than has come here.
    Ahead,
    /// The window has moved past it, and there is no log that could help.
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

    /// Lets cursors go on, in turn; those that could go on further stay in the line. Then asks for
    /// what some of them wait for.
    pub(super) fn advance_cursors(&mut self, now: Now) {
        if self.cursors.is_empty() {
            // Who still reads here waits for its socket: that may take long.
            self.archive.clear_idle(self.cursor_turns);
        }
        for _ in 0..self.cursors_per_turn {
            let Some(id) = self.cursors.pop_front() else { break };
            self.cursor_turns += 1;
            if self.conns.get(id).is_none() {
                continue; // Its slot, and the flag there, are somebody else's now.
            }
            self.columns.set(id.slot, Flag::Runnable, false);
            match self.advance_cursor(id, now) {
                Stand::Ready => self.run_cursor(id.slot),
                Stand::Full => {} // Its flush brings it back.
                Stand::Waiting(position) => self.archive.wait(position, id),
                Stand::Level => self.end_cursor(id),
                Stand::Ahead => self.ahead.push(id),
                Stand::Overrun => {
                    self.close(id, Ending::SlowConsumer, Ending::SlowConsumer.retry_after_ms(), now)
                }
            }
        }
        while let Some(after) = self.archive.next_question(self.cursor_turns) {
            self.asks.push_back(Ask { shard: self.place.shard, after });
            self.counters.asks.add(1);
        }
    }

    fn advance_cursor(&mut self, id: Id, now: Now) -> Stand {
        self.stop_waiting(id);
        let Some(conn) = self.conns.get_mut(id) else { return Stand::Full };
        let Some(mut resume) = conn.resume.take() else { return Stand::Full };
        let past = Past {
            window: &self.window,
            archive: &self.archive,
            kept_from: self.shared.archive_first.load(Ordering::Relaxed),
        };
        let mut share = Share {
            events: self.events_per_cursor,
            backlog_bytes_max: self.config.backlog_bytes_max,
            counters: &self.counters,
            now,
        };
        let replayed = share.replay(conn, &mut resume, &past);
        let stand = replayed.and_then(|()| share.catch_up(conn, &resume, &past)).err();
        let stand =
            stand.unwrap_or(if resume.may_end(past.window.last()) { Stand::Level } else { Stand::Ahead });
        if let Stand::Waiting(position) = stand {
            resume.waits = Some(position);
        }
        conn.resume = Some(resume);
        if conn.out.is_some() {
            self.touch(id.slot);
        }
        stand
    }

    /// It does not wait for a part of the log any more, if it did.
    pub(super) fn stop_waiting(&mut self, id: Id) {
        let resume = self.conns.get_mut(id).and_then(|conn| conn.resume.as_mut());
        if let Some(position) = resume.and_then(|resume| resume.waits.take()) {
            self.archive.leave(position, id);
        }
    }

    /// A part of the log has come, or word that it is not to be had: those who wait for it go on.
    pub(super) fn handle_part(&mut self, after: u64, chunk: Option<Arc<Chunk>>) {
        let is_lost = chunk.is_none();
        let served = self.archive.take(after, chunk);
        let is_used = !served.is_empty();
        served.into_iter().for_each(|id| self.wait_no_more(id));
        if is_used {
            // Until all of them have had their turn.
            self.archive.keep(after, self.cursor_turns + self.cursors.len() as u64);
        }
        if is_lost {
            // So is what lies before the log's new beginning: that need not be asked for.
            for id in self.archive.take_before(self.shared.archive_first.load(Ordering::Relaxed)) {
                self.wait_no_more(id);
            }
        }
    }

    fn wait_no_more(&mut self, id: Id) {
        if let Some(resume) = self.conns.get_mut(id).and_then(|conn| conn.resume.as_mut()) {
            resume.waits = None;
            self.run_cursor(id.slot);
        }
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

/// What cursors read.
struct Past<'a> {
    window: &'a Window<Arc<Envelope>>,
    archive: &'a Archive,
    /// Position of the oldest event in the log; 0: there is no log.
    kept_from: u64,
}

impl<'a> Past<'a> {
    /// Events behind `position`, at least one where the shard has seen one: from the window if that
    /// reaches back so far, from a part of the log otherwise.
    fn after(&self, position: u64) -> Result<impl Iterator<Item = &'a Arc<Envelope>>, Stand> {
        let in_memory = self.window.covers(position);
        let part = match self.archive.find(position) {
            _ if in_memory => &[],
            Held::Part(chunk) => chunk.after(position),
            Held::Lost => return Err(Stand::Overrun),
            Held::Nothing if self.kept_from == 0 || position + 1 < self.kept_from => {
                return Err(Stand::Overrun);
            }
            Held::Nothing => return Err(Stand::Waiting(position)),
        };
        let recent = in_memory.then(|| self.window.after(position)).into_iter().flatten();
        Ok(part.iter().chain(recent.map(|(_, envelope)| envelope)))
    }
}

/// What one cursor may do in one turn.
struct Share<'a> {
    /// Events that it may still look at.
    events: usize,
    backlog_bytes_max: usize,
    counters: &'a Counters,
    now: Now,
}

impl Share<'_> {
    /// Works off the replays.
    fn replay(&mut self, conn: &mut Conn, resume: &mut Resume, past: &Past<'_>) -> Result<(), Stand> {
        while let Some(replay) = resume.replays.front_mut() {
            while replay.after < replay.until {
                self.check(conn)?;
                for envelope in past.after(replay.after)?.take_while(|e| e.position <= replay.until) {
                    self.look_on(conn)?;
                    replay.after = envelope.position;
                    if replay.covers(&envelope.audience, envelope.position) && self.offer(conn, envelope) {
                        replay.sent += 1;
                    }
                }
            }
            say_caught_up(conn, replay, self.now);
            resume.replays.pop_front();
        }
        Ok(())
    }

    /// Brings everything else that the shard has seen; the log may have come further.
    fn catch_up(&mut self, conn: &mut Conn, resume: &Resume, past: &Past<'_>) -> Result<(), Stand> {
        let last = past.window.last();
        while conn.seen < last {
            self.check(conn)?;
            for envelope in past.after(conn.seen)?.take_while(|e| e.position <= last) {
                self.look_on(conn)?;
                conn.seen = envelope.position;
                if !resume.skips(&envelope.audience, envelope.position) {
                    self.offer(conn, envelope);
                }
            }
        }
        Ok(())
    }

    /// Whether the cursor may go on.
    fn check(&self, conn: &Conn) -> Result<(), Stand> {
        if !conn.takes_replay(self.backlog_bytes_max) {
            return Err(Stand::Full);
        }
        if self.events == 0 { Err(Stand::Ready) } else { Ok(()) }
    }

    /// Takes another event out of the share.
    fn look_on(&mut self, conn: &Conn) -> Result<(), Stand> {
        self.check(conn)?;
        self.events -= 1;
        Ok(())
    }

    /// Sends the event to one who may see it. `false`: this one may not.
    fn offer(&self, conn: &mut Conn, envelope: &Envelope) -> bool {
        let admitted = conn.viewer().is_some_and(|viewer| envelope.audience.admits(&viewer));
        if admitted {
            conn.send(frame_at_hand(envelope, conn.deflates).clone(), self.now);
            self.counters.deliveries.add(1);
        }
        admitted
    }
}

fn say_caught_up(conn: &mut Conn, replay: &Replay, now: Now) {
    let text = reply::caught_up(&replay.names, replay.sent);
    conn.reply(&text, now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::window::Bounds;
    use crate::conn::config::Config;
    use crate::policy::Rules;
    use crate::shard::admission::Admission;
    use crate::shard::core::{Place, Wires, Wrote};
    use crate::shard::counters::Shared;
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

    fn core(shared: &Arc<Shared>, items: usize, recent: Vec<Arc<Envelope>>) -> Core {
        let config = Arc::new(Config::sample());
        let window = Bounds { items, bytes: 1 << 20 };
        let last_position = recent.last().map_or(0, |envelope| envelope.position);
        let place = Place { shard: 0, shards: 1, last_position, window, recent };
        Core::new(place, config, shared.clone(), Arc::new(Admission::new(9, 9, 9)), Arc::default())
    }

    fn event(position: u64) -> Arc<Envelope> {
        let posted = r#"{"type":"product:deleted","data":{"productId":"p"}}"#;
        let rules = Rules { validate: true, max_event_bytes: 1000 };
        let draft = Config::sample().policy.draft_posted(posted, &rules).unwrap();
        let frame = encode_event("product:deleted", "products", &draft.data, 1, &event_id(position));
        Arc::new(Envelope::new(position, draft.event, draft.audience, frame))
    }

    fn post(core: &mut Core, position: u64) {
        core.handle_event(event(position), NOW);
    }

    /// A client that has said who it is.
    fn client(core: &mut Core) -> Id {
        let id = core.welcome([127, 0, 0, 1].into(), NOW);
        let mut head = b"GET /api/ws HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
        core.handle_bytes(id, &mut head, NOW);
        let auth =
            r#"{"type":"auth","data":{"userId":"u","role":"guest","sessionId":"s","expiresAt":999999999}}"#;
        say(core, id, &format!("{auth}{}", " ".repeat(126)));
        id
    }

    fn since(position: u64) -> String {
        let epoch = Config::sample().epoch;
        let data =
            format!(r#"{{"namespaces":["products"],"since":{{"epoch":"{epoch}","id":"{position}"}}}}"#);
        format!(r#"{{"type":"subscribe","data":{data}}}{}"#, " ".repeat(126))
    }

    fn said(core: &mut Core, world: &mut Taken) -> String {
        while core.flush(world, NOW) {}
        core.retire(world);
        core.check_invariants();
        String::from_utf8_lossy(&std::mem::take(&mut world.0)).into_owned()
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
        let text = said(core, world);
        let ids = text.split("\"type\":\"product:deleted\"").skip(1);
        ids.map(|t| t.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect()
    }

    #[test]
    fn one_who_saw_more_on_a_quicker_shard_gets_nothing_twice() {
        let shared = Arc::new(Shared::default());
        let mut core = core(&shared, 100, Vec::new());
        let mut world = Taken::default();
        for position in 1..=3 {
            post(&mut core, position);
        }
        shared.last_position.store(5, Ordering::Relaxed);
        let id = client(&mut core);
        say(&mut core, id, &since(6));
        let text = said(&mut core, &mut world);
        assert!(text.contains("bad_position"), "beyond what the node has published: {text}");

        say(&mut core, id, &since(5));
        let text = said(&mut core, &mut world);
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

    #[test]
    fn the_window_is_filled_with_what_was_before_the_start() {
        let shared = Arc::new(Shared::default());
        let recent: Vec<_> = (11..=20).map(event).collect();
        let mut core = core(&shared, 4, recent);
        let mut world = Taken::default();
        let id = client(&mut core);
        say(&mut core, id, &since(15));
        assert!(said(&mut core, &mut world).contains("window_exceeded"), "it keeps four");
        say(&mut core, id, &since(16));
        assert_eq!(seen(&mut core, &mut world), [17, 18, 19, 20]);
        post(&mut core, 21);
        assert_eq!(seen(&mut core, &mut world), [21]);
        assert!(core.asks().is_empty());
    }

    #[test]
    fn one_who_missed_more_than_the_window_holds_reads_the_log_up_to_it_and_goes_live() {
        let shared = Arc::new(Shared::default());
        shared.archive_first.store(3, Ordering::Relaxed);
        let log: Vec<_> = (1..=99).map(event).collect();
        let part =
            |first: usize, last: usize| Some(Arc::new(Chunk { envelopes: log[first - 1..last].to_vec() }));
        // Parts that end before the window, where it begins, in it, and beyond what has come here.
        for ends in [&[6, 15, 16][..], &[16], &[18], &[15, 25]] {
            let mut core = core(&shared, 4, log[..20].to_vec());
            let mut world = Taken::default();
            let id = client(&mut core);
            say(&mut core, id, &since(1));
            assert!(said(&mut core, &mut world).contains("window_exceeded"), "the log begins behind that");
            say(&mut core, id, &since(2));
            let answer = said(&mut core, &mut world);
            assert!(answer.contains(r#""recovered":true"#) && !answer.contains("caught_up"), "{answer}");
            let (mut got, mut after) = (Vec::new(), 2);
            for end in ends {
                assert!(core.waits_for_log(id));
                assert_eq!(core.asks().pop_front(), Some(Ask { shard: 0, after }));
                assert_eq!(core.asks().pop_front(), None);
                core.handle_part(after, part(3, *end as usize));
                got.extend(seen(&mut core, &mut world));
                after = *end;
            }
            assert_eq!(got, (3..=20).collect::<Vec<_>>(), "{ends:?}");
            post(&mut core, 21);
            assert_eq!(seen(&mut core, &mut world), [21], "live, and nothing twice: {ends:?}");
            assert_eq!(core.counters.asks.read(), ends.len() as u64);
        }
    }

    #[test]
    fn the_log_brings_nothing_that_has_not_come_here() {
        let shared = Arc::new(Shared::default());
        shared.archive_first.store(1, Ordering::Relaxed);
        let log: Vec<_> = (1..=40).map(event).collect();
        let part = |first: usize| Some(Arc::new(Chunk { envelopes: log[first - 1..].to_vec() }));
        let mut core = core(&shared, 4, log[..20].to_vec());
        let mut world = Taken::default();
        let id = client(&mut core);
        say(&mut core, id, &since(5));
        said(&mut core, &mut world);
        // While it waits, the window moves past what it will need next.
        (21..=30).for_each(|position| post(&mut core, position));
        core.handle_part(5, part(6));
        assert_eq!(seen(&mut core, &mut world), (6..=30).collect::<Vec<_>>());
        (31..=32).for_each(|position| post(&mut core, position));
        assert_eq!(seen(&mut core, &mut world), [31, 32]);
        assert!(!core.waits_for_log(id));
    }

    #[test]
    fn one_for_whom_nothing_is_left_is_told_to_come_back() {
        let shared = Arc::new(Shared::default());
        shared.archive_first.store(1, Ordering::Relaxed);
        // The part cannot be read; the log has been shortened meanwhile, for two at once.
        for kept_from in [1, 10] {
            let mut core = core(&shared, 4, (1..=20).map(event).collect());
            let mut world = Taken::default();
            let (first, second) = (client(&mut core), client(&mut core));
            said(&mut core, &mut world);
            say(&mut core, first, &since(2));
            say(&mut core, second, &since(3));
            said(&mut core, &mut world);
            shared.archive_first.store(kept_from, Ordering::Relaxed);
            core.handle_part(2, None);
            let closed = said(&mut core, &mut world).matches("slow_consumer\"").count();
            let (lost, waits) = if kept_from == 1 { (1, true) } else { (2, false) };
            assert_eq!((closed, core.waits_for_log(second)), (lost, waits));
        }
    }
}
