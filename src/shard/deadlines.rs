//! Time in a shard: what falls due, and the heartbeat.

use crate::base::slots::Id;
use crate::base::time::Now;
use crate::conn::machine::Conn;
use crate::conn::phase::Phase;
use crate::conn::reason::Ending;
use crate::shard::core::Core;

/// The heartbeat serves this fraction of the slots at a time, so that pings do not beat in
/// unison.
const BEAT_SLICES_MAX: u64 = 128;
/// A slice is no shorter than this: an idle node sleeps.
const BEAT_SLICE_MS_MIN: u64 = 20;
/// The wall clock may jump, so it is looked at this often whatever falls due.
const WALL_CHECK_MS: u64 = 1_000;
/// Of the drain timeout, what the closes are spread over; the rest is for the last ones to
/// read what was said to them.
const DRAIN_SPREAD_PERCENT: u64 = 70;

/// A shard that sends everybody away.
#[derive(Debug)]
pub(super) struct Drain {
    since: u64,
    /// Slots to end, in order; one that is reused meanwhile is found by its new life.
    next: u32,
    /// Connections that were open when the drain began, and how many have been ended.
    total: u64,
    done: u64,
}

impl Core {
    /// Begins to end every connection, each at its own time.
    pub fn begin_drain(&mut self, now: Now) {
        if self.drain.is_none() {
            let total = self.conns.len() as u64;
            self.drain = Some(Drain { since: now.mono, next: 0, total, done: 0 });
        }
    }

    /// Ends every connection now: the node does not wait for them any longer.
    pub fn end_all(&mut self, now: Now) {
        self.begin_drain(now);
        for slot in 0..self.conns.width() {
            self.send_away(slot, now);
        }
    }

    /// Whether a drain has begun and nobody is left but those who have not asked for anything.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drain.is_some() && self.conns.iter().all(|(_, conn)| conn.phase == Phase::Opening)
    }

    /// Fires everything that is due.
    pub fn fire_deadlines(&mut self, now: Now) {
        while let Some(id) = self.head_deadlines.pop_due(now.mono) {
            match self.phase_of(id) {
                Some(Phase::Opening) => {
                    self.act(id, now, |conn, cx, changes| conn.handle_head_timeout(cx, changes));
                }
                Some(Phase::Asking) => {
                    self.act(id, now, |conn, cx, changes| conn.handle_stats(None, cx, changes));
                }
                _ => {}
            }
        }
        while let Some(id) = self.auth_deadlines.pop_due(now.mono) {
            if self.phase_of(id) == Some(Phase::Greeting) {
                self.close(id, Ending::AuthTimeout, 0, now);
            }
        }
        while let Some(id) = self.pong_deadlines.pop_due(now.mono) {
            self.check_pong(id, now);
        }
        while let Some(id) = self.close_deadlines.pop_due(now.mono) {
            if self.conns.get(id).is_some() {
                self.handle_broken(id, now);
            }
        }
        while let Some((due, id)) = self.expiries.pop_due(now.wall) {
            self.check_expiry(id, due, now);
        }
        self.drain_on(now);
        self.beat(now);
    }

    /// Milliseconds until something may be due.
    #[must_use]
    pub fn due_in(&self, now: Now) -> u64 {
        let fifos = [&self.head_deadlines, &self.auth_deadlines, &self.pong_deadlines, &self.close_deadlines];
        let mono = fifos.iter().filter_map(|f| f.next_due()).map(|due| due.saturating_sub(now.mono));
        let wall = self.expiries.next_due().map(|due| due.saturating_sub(now.wall));
        let beat = (!self.conns.is_empty()).then(|| {
            let (interval, slices) = self.beat_shape();
            ((now.mono * slices / interval + 1) * interval).div_ceil(slices) - now.mono
        });
        let drain = self.drain.as_ref().filter(|_| !self.conns.is_empty()).map(|_| BEAT_SLICE_MS_MIN);
        let batch = self.sweep.waits_until(now.mono).map(|due| due - now.mono);
        mono.chain(wall)
            .chain(beat)
            .chain(drain)
            .chain(batch)
            .min()
            .unwrap_or(WALL_CHECK_MS)
            .min(WALL_CHECK_MS)
    }

    fn phase_of(&self, id: Id) -> Option<Phase> {
        self.conns.get(id).map(Conn::phase)
    }

    pub(super) fn close(&mut self, id: Id, ending: Ending, retry_after_ms: u64, now: Now) {
        self.act(id, now, |conn, cx, changes| conn.close(ending, retry_after_ms, cx.now, changes));
    }

    fn beat_shape(&self) -> (u64, u64) {
        let interval = self.config.ping_interval_ms.max(1);
        (interval, (interval / BEAT_SLICE_MS_MIN).clamp(1, BEAT_SLICES_MAX))
    }

    /// Pings the slices of the slots whose turn has come since the last beat.
    fn beat(&mut self, now: Now) {
        let (interval, slices) = self.beat_shape();
        let beats = now.mono * slices / interval;
        let last = std::mem::replace(&mut self.beats, beats);
        if last > beats {
            return; // The first beat: nobody is overdue yet.
        }
        for beat in beats.saturating_sub((beats - last).min(slices))..beats {
            let slice = (beat + 1) % slices;
            for slot in (slice as u32..self.conns.width()).step_by(slices as usize) {
                self.ping(slot, now);
            }
        }
    }

    fn ping(&mut self, slot: u32, now: Now) {
        let Some(id) = self.conns.id_at(slot) else { return };
        if !self.phase_of(id).is_some_and(Phase::is_open) {
            return;
        }
        self.act(id, now, |conn, cx, _| conn.ping(cx.now));
        self.counters.pings.add(1);
        self.pong_deadlines.push(now.mono + self.config.pong_timeout_ms, id);
    }

    /// A pong was due. One whose outbox still moves is slow, not dead: the ping is on its way.
    fn check_pong(&mut self, id: Id, now: Now) {
        let timeout = self.config.pong_timeout_ms;
        let Some(conn) = self.conns.get(id).filter(|c| c.awaits_pong && c.phase.is_open()) else { return };
        let waited = u64::from((now.mono as u32).wrapping_sub(conn.pinged_at));
        if waited < timeout {
            // An earlier ping was answered, or this one left its queue late.
            return self.pong_deadlines.push(now.mono + timeout - waited, id);
        }
        let moving = conn.out.as_ref().is_some_and(|out| out.moved_within(timeout, now.mono));
        if moving {
            self.pong_deadlines.push(now.mono + timeout, id);
        } else {
            self.close(id, Ending::PongTimeout, 0, now);
        }
    }

    fn check_expiry(&mut self, id: Id, due: u64, now: Now) {
        let Some(conn) = self.conns.get(id).filter(|c| c.phase == Phase::Live && c.expiry_due == due) else {
            return;
        };
        let expires_at = conn.identity.as_ref().map_or(0, |i| i.expires_at);
        if expires_at <= now.wall {
            return self.close(id, Ending::SessionExpired, 0, now);
        }
        if !conn.noticed {
            self.act(id, now, |conn, cx, _| conn.notice_expiry(cx.now));
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.expiry_due = conn.expiry_check_at();
        self.expiries.push(conn.expiry_due, id);
    }

    /// Sessions that are refreshed over and over, and connections that end long before their
    /// session, leave stale entries behind; those are swept out before they outnumber the rest.
    /// As many were pushed since the last time, so that an entry costs the same on average.
    pub(super) fn bound_expiries(&mut self) {
        if self.expiries.len() > 64 + 4 * self.conns.len() {
            let conns = &self.conns;
            // One entry a connection: refreshing with the same credential makes equal ones.
            let mut kept = std::collections::HashSet::new();
            self.expiries
                .retain(|due, id| conns.get(id).is_some_and(|c| c.expiry_due == due) && kept.insert(id));
        }
    }

    /// The time nearest to `even_ms` at which nobody of another shard is told to come back:
    /// each shard has the times that leave its own remainder, however many clients it has.
    fn return_slot(&self, even_ms: u64) -> u64 {
        let shards = self.place.shards as u64;
        even_ms - even_ms % shards + self.place.shard as u64
    }

    /// Ends as many connections as the drain should have ended by now.
    fn drain_on(&mut self, now: Now) {
        let Some(drain) = &self.drain else { return };
        let spread = (self.config.drain_timeout_ms * DRAIN_SPREAD_PERCENT / 100).max(1);
        let elapsed = now.mono - drain.since;
        let wanted = if elapsed >= spread { u64::MAX } else { 1 + drain.total * elapsed / spread };
        while let Some(drain) = &mut self.drain
            && drain.done < wanted
            && drain.next < self.conns.width()
        {
            let slot = drain.next;
            drain.next += 1;
            self.send_away(slot, now);
        }
    }

    /// Ends the connection in `slot`, if it is open, and tells it when to come back: each one
    /// at its own time.
    fn send_away(&mut self, slot: u32, now: Now) {
        let Some(drain) = &mut self.drain else { return };
        let Some(id) =
            self.conns.id_at(slot).filter(|&id| self.conns.get(id).is_some_and(|c| c.phase.is_open()))
        else {
            return;
        };
        let even_ms = self.config.drain_timeout_ms * drain.done / drain.total.max(1);
        drain.done += 1;
        let slot_ms = self.return_slot(even_ms);
        // What was published before it has to leave it still gets.
        self.catch_up_if_sweeping(id, now);
        self.close(id, Ending::GoingAway, RETURN_MS_MIN + slot_ms, now);
    }
}

/// A node that restarts is not back before that.
const RETURN_MS_MIN: u64 = 500;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::window::Bounds;
    use crate::conn::config::Config;
    use crate::shard::admission::Admission;
    use crate::shard::core::{Place, Wires, Wrote};

    const NOW: Now = Now { mono: 1_000_000, wall: 1_000_000 };

    /// A world that takes everything.
    struct Sink;

    impl Wires for Sink {
        fn write(&mut self, _: u32, slices: &[std::io::IoSlice<'_>]) -> Wrote {
            Wrote::Bytes(slices.iter().map(|s| s.len()).sum())
        }
        fn shut(&mut self, _: u32) {}
        fn drop(&mut self, _: u32, _: bool) {}
    }

    /// The bytes of a client that upgrades and authenticates with a session of `expires_at`.
    fn opening(expires_at: u64) -> Vec<u8> {
        let auth = format!(
            r#"{{"type":"auth","data":{{"userId":"u","role":"guest","sessionId":"s","expiresAt":{expires_at}}}}}{}"#,
            " ".repeat(126)
        );
        let mut bytes = b"GET /api/ws HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
        bytes.extend([0x81, 0x80 | 126]);
        bytes.extend((auth.len() as u16).to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(auth.as_bytes());
        bytes
    }

    #[test]
    fn one_who_comes_back_over_and_over_leaves_no_heap_of_expiries() {
        let place = Place {
            shard: 0,
            shards: 1,
            last_position: 0,
            window: Bounds { items: 9, bytes: 1 << 20 },
            recent: Vec::new(),
        };
        let admission = Arc::new(Admission::new(9, 9, 1_000_000));
        let mut core =
            Core::new(place, Arc::new(Config::sample()), Arc::default(), admission, Arc::default());
        let stays = core.welcome([127, 0, 0, 1].into(), NOW);
        core.handle_bytes(stays, &mut opening(NOW.wall + 500_000), NOW);
        for _ in 0..1_000 {
            let id = core.welcome([127, 0, 0, 1].into(), NOW);
            core.handle_bytes(id, &mut opening(NOW.wall + 900_000), NOW);
            assert_eq!(core.columns.live(), 2, "accepted");
            core.handle_broken(id, NOW);
            while core.flush(&mut Sink, NOW) {}
            core.retire(&mut Sink);
            assert!(core.expiries.len() <= 64 + 4 * 2, "{}", core.expiries.len());
        }
        let later = Now { wall: NOW.wall + 500_001, ..NOW };
        core.fire_deadlines(later);
        assert_eq!(core.columns.live(), 0, "the entry that counts was not swept out");
    }
}
