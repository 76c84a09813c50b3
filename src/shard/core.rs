//! The shard's mind: many connections, no socket, no clock.
//!
//! A turn of the reactor calls, in this order: [`Core::handle_order`] and [`Core::handle_mail`]
//! for the mail, [`Core::welcome`] and [`Core::handle_bytes`] for what arrived on sockets,
//! [`Core::fire_deadlines`], [`Core::flush`], [`Core::retire`]. The world is a [`Wires`] that is
//! handed in, so a simulation can be the world.
//!
//! Invariants, checked by [`Core::check_invariants`]: a slot is live in the columns exactly when
//! its connection is in phase `Live`; live connections are in the chains of their user and
//! session and in the index of every key they ask for, others in none; a queue exists exactly
//! where the flag says so at the end of a turn.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::deadlines::{Fifo, Heap};
use crate::base::slots::{Id, Slots};
use crate::base::time::Now;
use crate::base::window::{Bounds, Window};
use crate::conn::config::{CLOSE_TIMEOUT_MS, Config};
use crate::conn::machine::{Changes, Conn, Context, Door, Origin};
use crate::conn::opening::is_trusted;
use crate::conn::phase::Phase;
use crate::conn::reason::Ending;
use crate::shard::admission::Admission;
use crate::shard::archive::{Archive, Ask, PLACES};
use crate::shard::columns::{Columns, Flag, Kind};
use crate::shard::counters::{Counters, Shared};
use crate::shard::cursors::{CURSORS_PER_TURN, EVENTS_PER_CURSOR};
use crate::shard::deadlines::Drain;
use crate::shard::deliver::SWEEP_WRITES_MAX;
use crate::shard::envelope::Envelope;
use crate::shard::index::{By, Chains, Keys};
use crate::shard::mail::Report;
use crate::shard::press::Press;
use crate::shard::sweep::Sweep;

/// The sockets of a shard, by slot.
pub trait Wires {
    /// Offers bytes to a socket, once.
    fn write(&mut self, slot: u32, slices: &[IoSlice<'_>]) -> Wrote;
    /// Says that nothing more will be written.
    fn shut(&mut self, slot: u32);
    /// Lets go of the socket; with `abort`, of the bytes too that it has not delivered yet.
    fn drop(&mut self, slot: u32, abort: bool);
}

/// What a socket took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// So many bytes; fewer than offered: it will say when it can take more.
    Bytes(usize),
    /// The connection is broken.
    Broken,
}

/// What a connection is called: `connectionId`, unique within one run of the node.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// Which shard.
    pub shard: usize,
    /// Which life.
    pub id: Id,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.id.slot, self.id.generation)
    }
}

/// Where a shard stands in its node.
#[derive(Clone, Debug)]
pub struct Place {
    /// Index of this shard.
    pub shard: usize,
    /// How many there are.
    pub shards: usize,
    /// Position of the last event before this shard began to listen.
    pub last_position: u64,
    /// What the window keeps.
    pub window: Bounds,
    /// The log's latest events, up to `last_position`: as many as the window keeps, or fewer. Who
    /// comes back after a restart is served from memory.
    pub recent: Vec<Arc<Envelope>>,
}

/// Of which kind a live connection is.
fn kind(conn: &Conn) -> Option<Kind> {
    conn.viewer().map(|viewer| Kind { viewer: viewer.class, deflates: conn.deflates })
}

/// Many connections.
#[derive(Debug)]
pub struct Core {
    pub(super) place: Place,
    pub(super) config: Arc<Config>,
    pub(super) shared: Arc<Shared>,
    pub(super) admission: Arc<Admission>,
    pub(super) counters: Arc<Counters>,
    pub(super) conns: Slots<Conn>,
    pub(super) columns: Columns,
    pub(super) users: Chains,
    pub(super) sessions: Chains,
    pub(super) keys: Keys,
    pub(super) window: Window<Arc<Envelope>>,
    pub(super) sweep: Sweep,
    pub(super) press: Press,
    /// Slots to flush this turn.
    pub(super) touched: Vec<u32>,
    /// Slots that took one whole write this turn and have more: to flush next turn.
    pub(super) hungry: Vec<u32>,
    /// Connections that are behind and may go on, next one in front.
    pub(super) cursors: VecDeque<Id>,
    /// How many have left that line at its front.
    pub(super) cursor_turns: u64,
    pub(super) archive: Archive,
    /// Questions to the log's reader, oldest first.
    pub(super) asks: VecDeque<Ask>,
    /// Connections whose clients have seen more than this shard.
    pub(super) ahead: Vec<Id>,
    /// Connections that have lost their right to events; what the wires still hold for them must not
    /// go out either.
    pub(super) silenced: Vec<Id>,
    /// Lives that are over and still hold their slot.
    pub(super) dead: Vec<Id>,
    pub(super) reports: VecDeque<Report>,
    pub(super) head_deadlines: Fifo,
    pub(super) auth_deadlines: Fifo,
    pub(super) pong_deadlines: Fifo,
    pub(super) close_deadlines: Fifo,
    pub(super) expiries: Heap,
    /// Heartbeat slices served so far, since the clock's zero.
    pub(super) beats: u64,
    pub(super) drain: Option<Drain>,
    changes: Changes,
    pub(super) found: Vec<u32>,
    pub(super) sweep_writes_max: usize,
    pub(super) cursors_per_turn: usize,
    pub(super) events_per_cursor: usize,
}

impl Core {
    /// A shard without connections.
    ///
    /// # Panics
    /// When the recent events of its place are not those up to its last position.
    #[must_use]
    pub fn new(
        mut place: Place,
        config: Arc<Config>,
        shared: Arc<Shared>,
        admission: Arc<Admission>,
        counters: Arc<Counters>,
    ) -> Core {
        let recent = std::mem::take(&mut place.recent);
        let mut window = Window::new(place.window, place.last_position - recent.len() as u64);
        for envelope in recent {
            let (position, bytes) = (envelope.position, envelope.frame.len());
            assert_eq!(window.push(envelope, bytes), position, "recent events are consecutive");
        }
        // Where nobody agrees to compress, nothing asks.
        let press = Press::new(config.deflate_min_bytes.unwrap_or(usize::MAX), counters.clone());
        Core {
            place,
            config,
            shared,
            admission,
            counters,
            conns: Slots::default(),
            columns: Columns::default(),
            users: Chains::new(By::User),
            sessions: Chains::new(By::Session),
            keys: Keys::default(),
            window,
            sweep: Sweep::default(),
            press,
            touched: Vec::new(),
            hungry: Vec::new(),
            cursors: VecDeque::new(),
            cursor_turns: 0,
            archive: Archive::new(PLACES),
            asks: VecDeque::new(),
            ahead: Vec::new(),
            silenced: Vec::new(),
            dead: Vec::new(),
            reports: VecDeque::new(),
            head_deadlines: Fifo::default(),
            auth_deadlines: Fifo::default(),
            pong_deadlines: Fifo::default(),
            close_deadlines: Fifo::default(),
            expiries: Heap::default(),
            beats: u64::MAX,
            drain: None,
            changes: Changes::default(),
            found: Vec::new(),
            sweep_writes_max: SWEEP_WRITES_MAX,
            cursors_per_turn: CURSORS_PER_TURN,
            events_per_cursor: EVENTS_PER_CURSOR,
        }
    }

    /// With another bound on the writes of a sweep in one turn, so that a simulation of few connections too
    /// has passes that take many turns.
    #[must_use]
    pub fn with_sweep_writes(self, sweep_writes_max: usize) -> Core {
        Core { sweep_writes_max, ..self }
    }

    /// With another share of a turn for those who are behind, so that in a simulation of short
    /// histories too a replay takes many turns.
    #[must_use]
    pub fn with_replay_share(self, cursors_per_turn: usize, events_per_cursor: usize) -> Core {
        Core { cursors_per_turn, events_per_cursor, ..self }
    }

    /// With so many places for parts of the log, so that in a simulation of few connections too they
    /// are taken.
    #[must_use]
    pub fn with_archive_places(self, places: usize) -> Core {
        Core { archive: Archive::new(places), ..self }
    }

    /// How many connections there are, in any phase.
    #[must_use]
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Whether there is no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// What the shard has for the sequencer, oldest first.
    pub fn reports(&mut self) -> &mut VecDeque<Report> {
        &mut self.reports
    }

    /// What the shard has to ask of the log's reader, oldest first.
    pub fn asks(&mut self) -> &mut VecDeque<Ask> {
        &mut self.asks
    }

    /// Parts of the log that the shard holds or has asked for.
    #[must_use]
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Whether the connection `id` waits for a part of the log.
    #[must_use]
    pub fn waits_for_log(&self, id: Id) -> bool {
        self.conns.get(id).and_then(|conn| conn.resume.as_ref()).is_some_and(|resume| resume.waits.is_some())
    }

    /// The key of the connection in `slot`.
    #[must_use]
    pub fn id_at(&self, slot: u32) -> Option<Id> {
        self.conns.id_at(slot)
    }

    /// A socket was accepted (and counted with [`Admission::take_socket`]) from `peer`.
    pub fn welcome(&mut self, peer: IpAddr, now: Now) -> Id {
        let address = peer.to_canonical();
        let proxied = is_trusted(&self.config.trusted_proxies, address);
        let entered = if proxied { Ok(()) } else { self.admission.enter(address, now) };
        let origin = Origin { address, proxied, counted: !proxied && entered.is_ok() };
        let id = self.conns.insert(Conn::new(origin, now));
        self.columns.widen(self.conns.width());
        self.head_deadlines.push(now.mono + self.config.head_timeout_ms, id);
        self.counters.accepted.add(1);
        if let Err(wait_ms) = entered {
            self.act(id, now, |conn, cx, changes| conn.handle_crowd(wait_ms, cx, changes));
        }
        id
    }

    /// Bytes that arrived from `id`. They are unmasked in place.
    pub fn handle_bytes(&mut self, id: Id, input: &mut [u8], now: Now) {
        self.counters.bytes_in.add(input.len() as u64);
        // A reply must not overtake the events before it, nor fall behind those after it.
        if !self.sweep.is_empty() {
            self.catch_up(id.slot, now);
        }
        let mut codec = std::mem::take(&mut self.press.codec);
        self.act(id, now, |conn, cx, changes| conn.handle_bytes(input, &mut codec, cx, changes));
        self.press.codec = codec;
    }

    /// The peer of `id` will send no more.
    pub fn handle_end(&mut self, id: Id, now: Now) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        // One who asked over HTTP and shut its side still wants to read the answer.
        let unread = conn.phase == Phase::Asking || (conn.phase == Phase::Draining && conn.out.is_some());
        if unread {
            conn.peer_done = true;
        } else {
            self.handle_broken(id, now);
        }
    }

    /// Connections that have lost their right to events since they were last taken from here. Where the
    /// wires hold back bytes that they had taken, the connection is to be [`Core::cut_off`].
    pub fn silenced(&mut self) -> &mut Vec<Id> {
        &mut self.silenced
    }

    /// Ends the connection `id` without another byte.
    pub fn cut_off(&mut self, id: Id) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.abort();
            self.columns.set(id.slot, Flag::Queued, false);
            self.dead.push(id);
        }
    }

    /// The connection `id` is broken.
    pub fn handle_broken(&mut self, id: Id, now: Now) {
        if self.conns.get(id).is_some() {
            self.act(id, now, |conn, _, changes| conn.handle_end(changes));
            self.dead.push(id);
        }
    }

    /// The socket in `slot` can take bytes again.
    pub fn handle_writable(&mut self, slot: u32) {
        if slot < self.columns.width() && self.columns.word(slot).has(Flag::Queued) {
            self.touch(slot);
        }
    }

    /// Notes that `slot` has something to flush this turn.
    pub(super) fn touch(&mut self, slot: u32) {
        if !self.columns.word(slot).has(Flag::Touched) {
            self.columns.set(slot, Flag::Touched, true);
            self.touched.push(slot);
        }
    }

    /// Lets a connection act, and takes note of what that changed for others.
    pub(super) fn act(&mut self, id: Id, now: Now, f: impl FnOnce(&mut Conn, &Context<'_>, &mut Changes)) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let was = conn.phase;
        let cx = Context {
            config: &self.config,
            door: &*self.admission,
            now,
            last_position: self.window.last(),
            first_position: match self.shared.archive_first.load(Ordering::Relaxed) {
                0 => self.window.first(),
                kept => kept.min(self.window.first()),
            },
            node_position: self.shared.last_position.load(Ordering::Relaxed),
            online: self.shared.online.load(Ordering::Relaxed),
            alive: self.shared.is_alive(),
            ready: self.shared.is_ready(now.mono),
            draining: self.drain.is_some() || self.shared.is_draining(),
            name: &Name { shard: self.place.shard, id },
        };
        let mut changes = std::mem::take(&mut self.changes);
        f(conn, &cx, &mut changes);
        let speaks = conn.out.is_some() || conn.shut;
        self.apply(id, was, &mut changes, now);
        self.changes = changes;
        if speaks {
            self.touch(id.slot);
        }
    }

    /// Carries what a connection changed into the columns, indexes and deadlines.
    fn apply(&mut self, id: Id, was: Phase, changes: &mut Changes, now: Now) {
        if std::mem::take(&mut changes.upgraded) {
            self.counters.upgrades.add(1);
            self.counters.deflate_upgrades.add(u64::from(std::mem::take(&mut changes.agreed_on_deflate)));
            self.auth_deadlines.push(now.mono + self.config.auth_timeout_ms, id);
        }
        if std::mem::take(&mut changes.asked_stats) {
            self.reports.push_back(Report::AskedStats { shard: self.place.shard, conn: id });
        }
        let reauthenticated = changes.reauthenticated.take();
        if std::mem::take(&mut changes.authenticated) {
            self.enlist(id);
        } else if let Some(old) = reauthenticated
            && was == Phase::Live
        {
            self.reenlist(id, &old);
        }
        let listed = self.columns.word(id.slot).class().is_some();
        for change in changes.keys.drain(..).filter(|_| listed) {
            for key in change.removed {
                self.keys.remove(&key, id.slot);
            }
            for key in change.added {
                self.keys.insert(key, id.slot);
            }
        }
        if std::mem::take(&mut changes.interest)
            && listed
            && let Some(kind) = self.conns.get(id).and_then(kind)
        {
            self.columns.enlist(id.slot, kind);
        }
        if std::mem::take(&mut changes.behind) && listed {
            self.begin_cursor(id);
        }
        for (request, draft) in changes.published.drain(..) {
            let (shard, draft) = (self.place.shard, Box::new(draft));
            self.reports.push_back(Report::Publish { shard, conn: id, request, draft });
        }
        if let Some(ending) = changes.ending.take() {
            self.handle_ending(id, ending, now);
        }
    }

    /// A first accepted credential: from here on the connection is seen by the filter.
    fn enlist(&mut self, id: Id) {
        self.counters.auths.add(1);
        let slot = id.slot;
        let Some(conn) = self.conns.get_mut(id) else { return };
        // It may have authenticated and ended in one breath.
        let Some(kind) = kind(conn) else { return };
        let Some(identity) = &conn.identity else { return };
        let (role, user) = (identity.role, identity.user.clone());
        // What is under way now is older than its welcome.
        conn.seen = self.window.last();
        conn.expiry_due = conn.expiry_check_at();
        let due = conn.expiry_due;
        self.expiries.push(due, id);
        self.bound_expiries();
        self.users.insert(&mut self.conns, slot);
        self.sessions.insert(&mut self.conns, slot);
        self.columns.enlist(slot, kind);
        self.columns.set(slot, Flag::Individual, !self.sweep.is_empty());
        if self.is_present(role) {
            self.reports.push_back(Report::Joined { user });
        }
    }

    /// A later credential of the same user: another session, role or end.
    fn reenlist(&mut self, id: Id, old: &crate::policy::Identity) {
        let slot = id.slot;
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.expiry_due = conn.expiry_check_at();
        let due = conn.expiry_due;
        self.expiries.push(due, id);
        let Some(new) = &conn.identity else { return };
        let (role, user) = (new.role, new.user.clone());
        if new.session != old.session {
            // The chain is keyed by the name it had: put that back for the removal.
            let new_session = std::mem::replace(&mut self.identity_mut(slot).session, old.session.clone());
            self.sessions.remove(&mut self.conns, slot);
            self.identity_mut(slot).session = new_session;
            self.sessions.insert(&mut self.conns, slot);
        }
        match (self.is_present(old.role), self.is_present(role)) {
            (false, true) => self.reports.push_back(Report::Joined { user }),
            (true, false) => self.reports.push_back(Report::Left { user }),
            _ => {}
        }
        self.bound_expiries();
    }

    fn identity_mut(&mut self, slot: u32) -> &mut crate::policy::Identity {
        let identity = self.conns.at_mut(slot).and_then(|c| c.identity.as_mut());
        identity.expect("live connections have an identity")
    }

    fn is_present(&self, role: crate::policy::Role) -> bool {
        self.config.policy.presence().is_some_and(|p| p.role == role)
    }

    /// From here on no event reaches the connection. Its slot is freed when the peer has read
    /// what is still to be said, or at the deadline.
    fn handle_ending(&mut self, id: Id, ending: Ending, now: Now) {
        self.counters.ending(ending).add(1);
        tracing::debug!(connection = %Name { shard: self.place.shard, id }, reason = ending.word(), "ending");
        self.close_deadlines.push(now.mono + CLOSE_TIMEOUT_MS, id);
        self.stop_waiting(id);
        if let Some(conn) = self.conns.get_mut(id) {
            conn.resume = None;
        }
        self.delist(id.slot);
        if ending.loses_rights() {
            self.silenced.push(id);
        }
        if self.conns.get(id).is_some_and(|conn| conn.aborted) {
            self.columns.set(id.slot, Flag::Queued, false);
            self.dead.push(id);
        }
    }

    fn delist(&mut self, slot: u32) {
        if self.columns.word(slot).class().is_none() {
            return;
        }
        self.columns.discharge(slot);
        self.columns.set(slot, Flag::Individual, false);
        self.columns.set(slot, Flag::Behind, false);
        self.users.remove(&mut self.conns, slot);
        self.sessions.remove(&mut self.conns, slot);
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let interest = std::mem::take(&mut conn.interest);
        for key in interest.keys() {
            self.keys.remove(key, slot);
        }
        if let Some(identity) = &conn.identity {
            let (role, user) = (identity.role, identity.user.clone());
            if self.is_present(role) {
                self.reports.push_back(Report::Left { user });
            }
        }
    }

    /// Frees the slots of all lives that are over. The one place where a life ends.
    pub fn retire(&mut self, wires: &mut impl Wires) {
        let mut dead = std::mem::take(&mut self.dead);
        for id in dead.drain(..) {
            if self.conns.get(id).is_none() {
                continue; // Twice in the list.
            }
            self.delist(id.slot);
            self.columns.vacate(id.slot);
            let Some(conn) = self.conns.remove(id) else { continue };
            if conn.origin.counted {
                self.admission.leave(conn.origin.address);
            }
            if conn.seated {
                self.admission.return_seat();
            }
            self.admission.return_socket();
            if conn.ending.is_none() {
                self.counters.ending(Ending::PeerGone).add(1);
            }
            wires.drop(id.slot, conn.aborted);
        }
        self.dead = dead;
        self.silenced.clear(); // Where nothing is held back nobody takes from it.
    }

    /// Sweeps all books. For tests and the simulation, between turns.
    ///
    /// # Panics
    /// When they disagree.
    pub fn check_invariants(&self) {
        self.columns.check_invariants();
        let (mut live, mut keys, mut waiting) = (0, 0, 0);
        let mut found = Vec::new();
        for (id, conn) in self.conns.iter() {
            let word = self.columns.word(id.slot);
            assert_eq!(word.class().is_some(), conn.phase == Phase::Live, "{id:?}");
            assert_eq!(word.has(Flag::Touched), self.touched.contains(&id.slot), "{id:?}");
            assert_eq!(word.has(Flag::Queued), conn.out.is_some(), "{id:?}");
            assert!(conn.out.as_ref().is_none_or(|o| !o.is_empty()), "{id:?} has an empty queue");
            assert_eq!(word.has(Flag::Behind), conn.resume.is_some(), "{id:?}");
            if let Some(position) = conn.resume.as_ref().and_then(|resume| resume.waits) {
                assert!(self.archive.is_waited_for(position, id), "{id:?} waits in no line");
                waiting += 1;
            }
            let Some(viewer) = conn.viewer() else { continue };
            live += 1;
            assert_eq!(kind(conn), word.class().map(|c| *self.columns.kind(c)), "{id:?}");
            for (chains, name) in [(&self.users, viewer.user), (&self.sessions, viewer.session)] {
                found.clear();
                chains.find(&self.conns, name, &mut found);
                assert_eq!(found.iter().filter(|&&s| s == id.slot).count(), 1, "{id:?} in its chain");
            }
            for key in conn.interest.keys() {
                found.clear();
                self.keys.find(key.0, &key.1, &mut found);
                assert_eq!(found.iter().filter(|&&s| s == id.slot).count(), 1, "{id:?} under {key:?}");
                keys += 1;
            }
        }
        assert_eq!(live, self.columns.live());
        self.archive.check_invariants();
        assert_eq!(waiting, self.archive.waiting(), "nobody is waited for who does not wait");
        let goes_on = self.archive.open() > 0 || !self.cursors.is_empty();
        assert!(waiting == 0 || goes_on, "nobody waits for nothing");
        assert!(self.keys.len() <= keys && self.users.len() <= live && self.sessions.len() <= live);
    }
}
