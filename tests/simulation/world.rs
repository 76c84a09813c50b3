//! One run: a shard core, its clients, its sequencer, its clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use omnicast::base::permits::Rate;
use omnicast::base::time::Now;
use omnicast::base::window::Bounds;
use omnicast::conn::config::Config;
use omnicast::policy::{Draft, Gate, Policy, Rules};
use omnicast::shard::admission::Admission;
use omnicast::shard::core::{Core, Place};
use omnicast::shard::counters::{Counters, Shared};
use omnicast::shard::envelope::Envelope;
use omnicast::shard::mail::{Mail, Order, Overloaded, Report, Who};
use omnicast::wire::envelope::{encode_event, event_id};
use omnicast::wire::origin::Origins;

use crate::client::{Client, Manner, Say};
use crate::log::Log;
use crate::net::Net;
use crate::oracle::{Fact, invent};
use crate::reader::Reader;
use crate::rng::Rng;
use crate::saga::Saga;

pub const SECRET: &str = "a secret of the simulation, 32 bytes at least";
pub const PING_INTERVAL_MS: u64 = 10_000;
pub const PONG_TIMEOUT_MS: u64 = 5_000;
pub const AUTH_TIMEOUT_MS: u64 = 8_000;
pub const HEAD_TIMEOUT_MS: u64 = 6_000;
pub const DRAIN_TIMEOUT_MS: u64 = 9_000;
pub const MESSAGES_PER_MINUTE: u32 = 300;
/// Events with much in them are longer than that, others are not.
pub const DEFLATE_MIN_BYTES: usize = 300;
pub const PER_ADDRESS_MAX: u32 = 5_000;
pub const ADDRESSES: u8 = 3;
/// Events that the reactor takes in one turn.
pub const EVENT_BUDGET: usize = 1024;

pub struct World {
    pub rng: Rng,
    pub core: Core,
    pub net: Net,
    pub clients: Vec<Client>,
    pub log: Log,
    pub now: Now,
    pub mailbox: VecDeque<Mail>,
    /// Events that got a position and are not handed to the core yet.
    pub placed: u64,
    pub orders: VecDeque<Order>,
    pub config: Arc<Config>,
    pub admission: Arc<Admission>,
    pub counters: Arc<Counters>,
    pub shared: Arc<Shared>,
    /// Facts of events that are in the mailbox, by position.
    pub pending: VecDeque<Fact>,
    pub online: BTreeMap<Box<str>, i64>,
    pub drained_at: Option<u64>,
    /// When an event came to the shard last (monotonic ms).
    pub taken_at: u64,
    /// When the wall clock jumped last (monotonic ms).
    pub jumped_at: u64,
    pub step_ms_max: u64,
    pub padding: usize,
    pub population: usize,
    pub tickets: u64,
    pub sagas: Vec<Saga>,
    pub reader: Reader,
    /// Events come to this shard late.
    pub lags: bool,
    /// Events that came in sagas.
    pub saga_events: u64,
}

impl World {
    pub fn new(mut rng: Rng) -> World {
        let gate = Gate::keys(Some(SECRET), None).expect("the secret is long enough");
        let config = Arc::new(Config {
            policy: Policy::builtin(),
            gate,
            origins: Origins::parse("").expect("an empty list is one"),
            trusted_proxies: Vec::new(),
            epoch: "epoch".into(),
            info: "\"version\":\"0\"}".into(),
            rules: Rules { validate: true, max_event_bytes: 256 << 10 },
            head_timeout_ms: HEAD_TIMEOUT_MS,
            auth_timeout_ms: AUTH_TIMEOUT_MS,
            ping_interval_ms: PING_INTERVAL_MS,
            pong_timeout_ms: PONG_TIMEOUT_MS,
            message_rate: Rate::per_minute(MESSAGES_PER_MINUTE),
            rate_abuse: 20,
            message_bytes_max: 8192,
            deflate_min_bytes: Some(DEFLATE_MIN_BYTES),
            batch_window_ms: [0, 0, 20, 500][rng.below(4)],
            backlog_bytes_max: [3_000, 10_000, 60_000][rng.below(3)],
            keys_max: 1024,
            drain_timeout_ms: DRAIN_TIMEOUT_MS,
        });
        let shared = Arc::new(Shared::default());
        shared.started.store(true, Ordering::Relaxed);
        let admission = Arc::new(Admission::new(10_000, PER_ADDRESS_MAX, 1_000_000));
        let counters = Arc::new(Counters::default());
        let base = [0, 1, 9_999_990][rng.below(3)];
        let window = Bounds { items: [12, 64, 500][rng.below(3)], bytes: 100_000 };
        let padding = [0, 100, 900][rng.below(3)];
        let now = Now { mono: rng.within(0, 100_000), wall: 1_700_000_000_000 };
        let mut log = Log::new(base, window);
        let mut history = Vec::new();
        for position in base + 1..base + 1 + [0, 0, 9, 200][rng.below(4)] {
            let (mut fact, posted) = invent(&mut rng, padding);
            let draft = config.policy.draft_posted(&posted.to_string(), &config.rules).expect("it is valid");
            history.push(encode(&config.policy, position, &mut fact, draft, now));
            log.push(fact);
        }
        if rng.percent(75) {
            log.archive_first = base + 1;
            shared.archive_first.store(base + 1, Ordering::Relaxed);
        }
        let past = if rng.percent(50) { 0 } else { (log.first() - base - 1) as usize };
        let place = Place {
            shard: 0,
            shards: 1,
            last_position: log.last(),
            window,
            recent: history[past..].to_vec(),
        };
        let placed = log.last();
        let reader = Reader::new(&mut rng, history);
        let writes = [1, 3, 17, 512][rng.below(4)];
        let core = Core::new(place, config.clone(), shared.clone(), admission.clone(), counters.clone())
            .with_sweep_writes(writes)
            .with_replay_share([1, 64][rng.below(2)], [3, 20, 512][rng.below(3)]);
        let core = reader.limit(core);
        let sagas = (0..4).map(|_| Saga::new(&mut rng)).collect();
        let net = Net { wires: Vec::new(), dropped: Vec::new(), rng: Rng::new(rng.next()) };
        World {
            core,
            net,
            clients: Vec::new(),
            log,
            now,
            mailbox: VecDeque::new(),
            placed,
            orders: VecDeque::new(),
            config,
            admission,
            counters,
            shared,
            pending: VecDeque::new(),
            online: BTreeMap::new(),
            drained_at: None,
            taken_at: 0,
            jumped_at: 0,
            step_ms_max: [20, 300, 3_000][rng.below(3)],
            padding,
            population: [8, 30, 90][rng.below(3)],
            tickets: 0,
            sagas,
            reader,
            lags: rng.percent(40),
            saga_events: 0,
            rng,
        }
    }

    /// One random thing happens, time passes, clients read, the shard takes its turn.
    pub fn step(&mut self) {
        for _ in 0..1 + self.rng.below(4) {
            self.act();
        }
        let mut ms = self.rng.within(0, self.step_ms_max);
        if self.rng.percent(10) {
            ms = self.core.due_in(self.now).min(3_000); // To the very moment.
        }
        self.now = self.now.plus(ms);
        if self.rng.percent(1) && self.rng.percent(50) {
            let hour = 3_600_000;
            self.jumped_at = self.now.mono;
            self.now.wall = if self.rng.percent(50) { self.now.wall + hour } else { self.now.wall - hour };
        }
        self.read_all();
        let mut more = self.turn();
        let mut turns = 0;
        while more && self.rng.percent(70) {
            turns += 1;
            assert!(turns < 100_000, "a shard that never rests");
            if self.rng.percent(20) {
                self.act();
            }
            more = self.turn();
        }
    }

    pub fn place(&mut self, mut fact: Fact, draft: Draft) -> u64 {
        self.placed += 1;
        let position = self.placed;
        let envelope = encode(&self.config.policy, position, &mut fact, draft, self.now);
        self.reader.history.push(envelope.clone());
        self.mailbox.push_back(Mail::Event(envelope));
        self.pending.push_back(fact);
        position
    }

    /// Every client reads what its manner lets it.
    pub fn read_all(&mut self) {
        for slot in 0..self.net.wires.len() {
            let Some(wire) = &mut self.net.wires[slot] else { continue };
            let client = &mut self.clients[wire.client];
            let n = match (wire.moody, wire.unread) {
                (_, 0) => 0,
                (false, unread) => unread,
                (true, _) if wire.capacity < 50 || self.rng.percent(40) => 0,
                (true, unread) => 1 + self.rng.below(unread),
            };
            wire.unread -= n;
            let closed = client.read(n as u64, &mut self.rng);
            if (closed && self.rng.percent(80)) || (wire.shut && wire.unread == 0) {
                if closed && self.rng.percent(50) && !client.peer_closed {
                    client.control(&mut self.rng, 8, b"", Say::Noise);
                }
                client.fin = client.manner != Manner::Silent;
            }
        }
    }

    /// A turn, step by step as the reactor takes it. True: there is more to do.
    pub fn turn(&mut self) -> bool {
        let now = self.now;
        self.answer_asks();
        self.take_readiness();
        while let Some(order) = self.orders.pop_front() {
            self.handle_order(order);
        }
        // The log may have come further than what has come here.
        let lags = self.lags && self.rng.percent(30);
        let budget = if lags { self.rng.below(16) } else { EVENT_BUDGET };
        let mut taken = 0;
        while taken < budget && self.core.has_room() {
            let Some(mail) = self.mailbox.pop_front() else { break };
            let fact = self.pending.pop_front().expect("each event has its fact");
            self.log.push(fact);
            self.core.handle_mail(mail, now);
            self.taken_at = now.mono;
            taken += 1;
        }
        self.expire();
        self.core.fire_deadlines(now);
        let more = self.core.flush(&mut self.net, now);
        self.take_asks();
        self.hear_all();
        self.core.retire(&mut self.net);
        for wire in self.net.dropped.drain(..) {
            self.clients[wire.client].slot = None;
        }
        self.take_reports();
        self.core.check_invariants();
        if !more && self.rng.percent(15) {
            let is_out = now.mono >= self.taken_at + self.config.batch_window_ms;
            let is_level = self.mailbox.is_empty() && self.is_answered() && is_out;
            self.check_connections(is_level);
        }
        more || !self.mailbox.is_empty()
    }

    fn take_readiness(&mut self) {
        for slot in 0..self.net.wires.len() {
            let Some(wire) = &mut self.net.wires[slot] else { continue };
            let at = wire.client;
            if wire.owes_edge && wire.unread < wire.capacity && !(wire.moody && self.rng.percent(20)) {
                wire.owes_edge = false;
                self.core.handle_writable(slot as u32);
            }
            let broken = wire.broken;
            self.deliver(at, slot as u32, broken);
        }
    }

    /// Hands the core what a client said, cut at random.
    fn deliver(&mut self, at: usize, slot: u32, broken: bool) {
        let id = self.core.id_at(slot).expect("a wire has a life");
        let now = self.now;
        let client = &mut self.clients[at];
        while !client.outgoing.is_empty() {
            // A saga says who it is and what it missed in one breath.
            let halting = client.manner == Manner::Sluggish && client.upgraded && !client.is_saga;
            if halting && self.rng.percent(15) {
                return;
            }
            let n = if self.rng.percent(50) {
                client.outgoing.len()
            } else {
                1 + self.rng.below(client.outgoing.len().min(300))
            };
            let waits = self.core.waits_for_log(id);
            let was = client.truth.clone();
            let mut bytes: Vec<u8> = client.outgoing.drain(..n).collect();
            client.delivered_bytes += n as u64;
            client.last_heard = now.mono;
            while client.said.front().is_some_and(|(end, ..)| *end <= client.delivered_bytes) {
                let (_, id, say) = client.said.pop_front().expect("seen above");
                if matches!(say, Say::Upgrade) && self.drained_at.is_some() {
                    client.over = true;
                }
                client.obey(id, &say, &self.log, now.wall);
            }
            let ended = client.over;
            if waits && was != client.truth {
                self.reader.reach("rights change while it waits");
            }
            self.core.handle_bytes(id, &mut bytes, now);
            if waits && ended {
                self.reader.note_end(slot);
            }
        }
        if (broken || client.fin) && self.core.waits_for_log(id) {
            self.reader.note_end(slot);
        }
        if broken {
            client.over = true;
            self.core.handle_broken(id, now);
        } else if client.fin {
            client.fin = false;
            client.over = true;
            self.core.handle_end(id, now);
        }
    }

    fn handle_order(&mut self, order: Order) {
        let now = self.now;
        match &order {
            Order::Kick { who, .. } => {
                let mut due = 0;
                // Who is there is asked of the shard, who they are is ours to know.
                for at in self.listed() {
                    let Some(truth) = &self.clients[at].truth else { continue };
                    let hit = match who {
                        Who::Session(name) => **name == *truth.session,
                        Who::User(name) => **name == *truth.user,
                    };
                    if hit {
                        due += 1;
                        let slot = self.clients[at].slot.expect("it is listed");
                        if self.core.id_at(slot).is_some_and(|id| self.core.waits_for_log(id)) {
                            self.reader.reach("kicked while it waits");
                        }
                        self.clients[at].end(4004);
                        self.clients[at].barred = true;
                    }
                }
                self.core.handle_order(order, now);
                match self.core.reports().pop_back() {
                    Some(Report::Kicked { closed, .. }) => assert_eq!(closed, due, "kicked"),
                    other => panic!("{other:?}"),
                }
            }
            Order::Count { .. } => self.check_census(),
            Order::Drain => {
                self.drained_at = Some(now.mono);
                for client in &mut self.clients {
                    client.causes.insert(1001);
                }
                self.core.handle_order(order, now);
            }
            _ => {
                self.core.handle_order(order, now);
            }
        }
    }

    /// Sessions whose time has come, before the core is told.
    fn expire(&mut self) {
        for wire in self.net.wires.iter().flatten() {
            let client = &mut self.clients[wire.client];
            // One that was closing when the clock jumped over its end may still get what waits.
            let open = client.manner == Manner::Prompt && !client.over && self.drained_at.is_none();
            let sure = open || self.now.mono - self.jumped_at > 4_000 + self.step_ms_max;
            if client.truth.as_ref().is_some_and(|t| t.expires_at <= self.now.wall) {
                client.end(4101);
                client.barred |= sure;
            }
        }
    }

    fn hear_all(&mut self) {
        for wire in self.net.wires.iter_mut().flatten() {
            if !wire.fresh.is_empty() {
                self.clients[wire.client].hear(&wire.fresh, &self.log);
                wire.fresh.clear();
            }
        }
    }

    /// The sequencer's part.
    fn take_reports(&mut self) {
        while let Some(report) = self.core.reports().pop_front() {
            match report {
                Report::Joined { user } => *self.online.entry(user).or_default() += 1,
                Report::Left { user } => {
                    let n = self.online.get_mut(&user).expect("who leaves has joined");
                    *n -= 1;
                    assert!(*n >= 0, "left more often than joined");
                }
                Report::Publish { conn, request, draft, .. } => {
                    let request = request.expect("every publish has an id");
                    let number: u64 = request.parse().expect("ids are numbers");
                    let user = draft.audience.owner.clone().expect("activity has an owner").to_string();
                    let fact = Fact {
                        event: "customer:viewing_product".into(),
                        namespace: "customers".into(),
                        owner: Some(user.clone()),
                        key: Some(user.clone()),
                        ..Fact::default()
                    };
                    let outcome = if self.rng.percent(10) {
                        Err(Overloaded)
                    } else {
                        Ok(event_id(self.place(fact, *draft)).into_boxed_str())
                    };
                    let wire = self.net.wires.get(conn.slot as usize).and_then(Option::as_ref);
                    if let Some(wire) = wire.filter(|_| self.core.id_at(conn.slot) == Some(conn)) {
                        let client = &mut self.clients[wire.client];
                        if let Some(truth) = &client.truth {
                            assert_eq!(truth.user, user, "an event of another user");
                        }
                        let event = outcome.as_ref().ok().map(|id| id.to_string());
                        client.publishing.insert(number, event);
                    }
                    self.orders.push_back(Order::Published { conn, request: Some(request), outcome });
                }
                other => panic!("{other:?}"),
            }
        }
        let online: i64 = self.online.values().sum();
        self.shared.online.store(online as usize, Ordering::Relaxed);
    }
}

/// The event as the node makes it.
fn encode(policy: &Policy, position: u64, fact: &mut Fact, draft: Draft, now: Now) -> Arc<Envelope> {
    let frame = encode_event(&fact.event, &fact.namespace, &draft.data, now.wall, &event_id(position));
    fact.frame_bytes = frame.len();
    assert_eq!(policy.event_name(draft.event), fact.event);
    Arc::new(Envelope::new(position, draft.event, draft.audience, frame))
}
