//! Delivery: from the mailbox into the window, and on to those who may see it.

use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::time::Now;
use crate::conn::machine::Conn;
use crate::conn::outbox::{Outbox, SLICES_MAX};
use crate::conn::phase::Phase;
use crate::conn::reason::Ending;
use crate::policy::Verdict;
use crate::shard::columns::Flag;
use crate::shard::core::{Core, Wires, Wrote};
use crate::shard::counters::Counters;
use crate::shard::envelope::Envelope;

/// Sockets written to in one turn, before the shard looks at its mailbox and its readable
/// sockets again: about five milliseconds of work. The length of a pass over many sockets must
/// not become everybody's latency.
pub const SWEEP_WRITES_MAX: usize = 512;

impl Core {
    /// Whether another event can be taken from the mailbox now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.sweep.has_room()
    }

    /// The next event of the one order.
    pub fn handle_event(&mut self, envelope: Arc<Envelope>, now: Now) {
        let position = self.window.push(envelope.clone(), envelope.frame.len());
        assert_eq!(position, envelope.position, "a shard gets every event, in order");
        self.run_ahead();
        if self.columns.live() == 0 {
            return;
        }
        let audience = &envelope.audience;
        let mut found = std::mem::take(&mut self.found);
        for person in audience.persons() {
            self.users.find(&self.conns, person, &mut found);
        }
        if let Some(session) = &audience.exclude_session {
            self.sessions.find(&self.conns, session, &mut found);
        }
        if let Some(key) = &audience.key {
            self.keys.find(audience.namespace, key, &mut found);
        }
        let by_class = self.columns.classes().any(|(class, _)| audience.ask_class(class) == Verdict::Yes);
        if by_class {
            // Joins the sweep; those it names are served by themselves.
            for &slot in &found {
                self.columns.set(slot, Flag::Individual, true);
                self.touch(slot);
            }
            self.sweep.join(envelope);
        } else {
            for &slot in &found {
                self.deliver_alone(slot, &envelope, now);
            }
        }
        found.clear();
        self.found = found;
    }

    /// Delivers to one connection an event that no whole class gets.
    fn deliver_alone(&mut self, slot: u32, envelope: &Arc<Envelope>, now: Now) {
        self.catch_up_to(slot, envelope.position - 1, now);
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if conn.seen >= envelope.position || conn.resume.is_some() {
            return; // Found by two of its names, or behind.
        }
        conn.seen = envelope.position;
        if conn.viewer().is_some_and(|viewer| envelope.audience.admits(&viewer)) {
            let frame = self.press.frame(envelope, conn.deflates);
            conn.send(frame.clone(), now);
            self.counters.deliveries.add(1);
            self.touch(slot);
        }
    }

    /// Gives a live connection what the sweep has not brought it yet, so that it is up to date.
    pub(super) fn catch_up(&mut self, slot: u32, now: Now) {
        self.catch_up_to(slot, self.window.last(), now);
    }

    fn catch_up_to(&mut self, slot: u32, position: u64, now: Now) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        // One who is behind comes for its events itself.
        if conn.phase != Phase::Live || conn.resume.is_some() {
            return;
        }
        let seen = conn.seen;
        let mut due: Vec<Bytes> = Vec::new();
        if let Some(viewer) = conn.viewer() {
            let ahead = self.sweep.ahead_of(slot).filter(|e| e.position > seen && e.position <= position);
            let admitted = ahead.filter(|e| e.audience.admits(&viewer));
            due.extend(admitted.map(|e| self.press.frame(e, conn.deflates).clone()));
        }
        conn.seen = position.max(seen);
        self.columns.set(slot, Flag::Individual, !self.sweep.is_empty());
        if !due.is_empty() {
            self.counters.deliveries.add(due.len() as u64);
            for frame in due {
                conn.send(frame, now);
            }
            self.touch(slot);
        }
    }

    /// Writes what is to be written: to the connections touched this turn, and on with the
    /// sweep. `true`: there is more to do, do not sleep.
    pub fn flush(&mut self, wires: &mut impl Wires, now: Now) -> bool {
        self.advance_cursors(now);
        self.flush_touched(wires, now);
        let more = self.sweep_on(wires, now);
        // Those whom the sweep found too slow, and ended, are told so now.
        self.flush_touched(wires, now);
        // One write per connection and turn: whoever has more is served again after the others.
        for slot in std::mem::take(&mut self.hungry) {
            self.touch(slot);
        }
        // A cursor whose client took all that it was offered goes on without a word of its socket.
        more || !self.touched.is_empty() || !self.cursors.is_empty()
    }

    fn flush_touched(&mut self, wires: &mut impl Wires, now: Now) {
        let mut next = 0;
        while let Some(&slot) = self.touched.get(next) {
            next += 1;
            if self.columns.word(slot).has(Flag::Individual) {
                self.catch_up(slot, now);
            }
            self.columns.set(slot, Flag::Touched, false);
            self.flush_one(slot, wires, now);
        }
        self.touched.clear();
    }

    fn flush_one(&mut self, slot: u32, wires: &mut impl Wires, now: Now) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if let Some(out) = &mut conn.out {
            match write_out(out, slot, wires, now, &self.counters) {
                Taken::Broken => return self.handle_broken_at(slot, now),
                _ if out.is_empty() => conn.handle_flushed(now),
                Taken::All => {
                    // It is not slow: more waited than one write can offer. It would never say
                    // that it can take more, since it did not fall short.
                    self.hungry.push(slot);
                    self.columns.set(slot, Flag::Queued, true);
                    return;
                }
                Taken::Some => {}
            }
        }
        let queued = conn.out.is_some();
        // One who waits for a part of the log has nothing to take before that comes.
        let may_go_on = conn.resume.as_ref().is_some_and(|resume| resume.waits.is_none());
        let takes_more = may_go_on && conn.takes_replay(self.config.backlog_bytes_max);
        self.columns.set(slot, Flag::Queued, queued);
        if takes_more {
            self.run_cursor(slot);
        }
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if !queued && std::mem::take(&mut conn.shut) {
            wires.shut(slot);
            if conn.peer_done {
                return self.handle_broken_at(slot, now);
            }
        }
        self.check_backlog(slot, now);
    }

    fn handle_broken_at(&mut self, slot: u32, now: Now) {
        self.columns.set(slot, Flag::Queued, false);
        if let Some(id) = self.conns.id_at(slot) {
            self.handle_broken(id, now);
        }
    }

    /// Ends a connection that lets more wait than it may.
    fn check_backlog(&mut self, slot: u32, now: Now) {
        let max = self.config.backlog_bytes_max;
        let over = |conn: &Conn| conn.out.as_ref().is_some_and(|out| out.bytes() > max);
        let Some(conn) = self.conns.at(slot) else { return };
        if !over(conn) || !conn.phase.is_open() {
            return;
        }
        if let Some(id) = self.conns.id_at(slot) {
            let retry = Ending::SlowConsumer.retry_after_ms();
            self.act(id, now, |conn, cx, changes| conn.close(Ending::SlowConsumer, retry, cx.now, changes));
        }
    }

    /// Goes on with the sweep for one turn's share. `true`: it is not done.
    fn sweep_on(&mut self, wires: &mut impl Wires, now: Now) -> bool {
        if self.sweep.is_empty() {
            return false;
        }
        let mut writes = 0;
        while let Some(stop) = self.sweep.leg(self.columns.width()) {
            if self.sweep.waits_until(now.mono).is_some() {
                return false;
            }
            self.sweep.begin(now.mono + self.config.batch_window_ms);
            let mut slot = self.sweep.cursor();
            while slot < stop {
                if writes >= self.sweep_writes_max {
                    self.sweep.set_cursor(slot);
                    return true;
                }
                let word = self.columns.word(slot);
                if let Some(class) = word.plain_class() {
                    let outcome = self.sweep.outcome(class, self.columns.kind(class), &mut self.press);
                    if outcome.events > 0 {
                        writes += 1;
                        self.counters.deliveries.add(u64::from(outcome.events));
                        self.counters.writes.add(1);
                        // Not even the count of references is touched where all is taken: shards
                        // share it.
                        let wrote = wires.write(slot, &[IoSlice::new(&outcome.bytes)]);
                        if wrote == Wrote::Bytes(outcome.bytes.len()) {
                            self.counters.bytes_out.add(outcome.bytes.len() as u64);
                        } else {
                            let bytes = outcome.bytes.clone();
                            self.handle_refusal(slot, bytes, wrote, now);
                        }
                    }
                } else if let Some(class) = word.class().filter(|_| !word.has(Flag::Behind)) {
                    writes += 1;
                    if word.has(Flag::Individual) {
                        self.sweep.set_cursor(slot);
                        self.columns.set(slot, Flag::Touched, true);
                        self.catch_up(slot, now);
                        self.columns.set(slot, Flag::Touched, false);
                        self.columns.set(slot, Flag::Individual, false);
                        self.flush_one(slot, wires, now);
                    } else {
                        let outcome = self.sweep.outcome(class, self.columns.kind(class), &mut self.press);
                        if outcome.events > 0 {
                            let bytes = outcome.bytes.clone();
                            self.counters.deliveries.add(u64::from(outcome.events));
                            self.queue_behind(slot, bytes, now);
                        }
                    }
                }
                slot += 1;
            }
            self.sweep.set_cursor(slot);
        }
        self.sweep.rest();
        false
    }

    /// What a connection without a queue did not take of `bytes` becomes one.
    fn handle_refusal(&mut self, slot: u32, bytes: Bytes, wrote: Wrote, now: Now) {
        match wrote {
            Wrote::Bytes(n) => {
                self.counters.bytes_out.add(n as u64);
                self.counters.short_writes.add(1);
                let Some(conn) = self.conns.at_mut(slot) else { return };
                conn.send(bytes, now);
                if let Some(out) = &mut conn.out {
                    out.advance(n, now.mono);
                }
                self.columns.set(slot, Flag::Queued, true);
                self.check_backlog(slot, now);
            }
            Wrote::Broken => self.handle_broken_at(slot, now),
        }
    }

    /// Queues behind what the connection has not taken yet; its socket will say when it can.
    fn queue_behind(&mut self, slot: u32, bytes: Bytes, now: Now) {
        if let Some(conn) = self.conns.at_mut(slot) {
            conn.send(bytes, now);
            self.check_backlog(slot, now);
        }
    }
}

/// How much of an offer a socket took.
enum Taken {
    All,
    Some,
    Broken,
}

/// Offers an outbox to its socket: one vectored write.
fn write_out(out: &mut Outbox, slot: u32, wires: &mut impl Wires, now: Now, counters: &Counters) -> Taken {
    /// Slices that are offered without a detour over the heap.
    const FEW: usize = 16;
    let parts = out.parts();
    if parts == 0 {
        return Taken::All;
    }
    counters.writes.add(1);
    let (wrote, offered) = if parts <= FEW {
        let mut slices = [IoSlice::new(&[]); FEW];
        let (count, offered) = out.gather(&mut slices);
        (wires.write(slot, &slices[..count]), offered)
    } else {
        let mut slices = vec![IoSlice::new(&[]); parts.min(SLICES_MAX)];
        let (count, offered) = out.gather(&mut slices);
        (wires.write(slot, &slices[..count]), offered)
    };
    let Wrote::Bytes(n) = wrote else { return Taken::Broken };
    counters.bytes_out.add(n as u64);
    out.advance(n, now.mono);
    if n == offered {
        return Taken::All;
    }
    counters.short_writes.add(1);
    Taken::Some
}
