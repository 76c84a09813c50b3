//! A shard full of viewers, whose sockets take everything.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnicast::base::permits::Rate;
use omnicast::base::time::Now;
use omnicast::base::window::Bounds;
use omnicast::conn::config::Config;
use omnicast::policy::{Gate, Policy};
use omnicast::shard::admission::Admission;
use omnicast::shard::core::{Core, Place, Wires, Wrote};
use omnicast::shard::counters::Counters;
use omnicast::shard::envelope::Envelope;
use omnicast::wire::envelope::encode_event;
use omnicast::wire::origin::Origins;

use super::{NOW, PLAIN_HEAD, RULES, auth, client_frame};

/// What a shard's window keeps here: enough to be full soon, so that letting go of old events
/// is measured too.
const WINDOW: Bounds = Bounds { items: 4_096, bytes: 8 << 20 };

/// Sockets that take every byte at once.
#[derive(Default)]
pub struct Taking;

impl Wires for Taking {
    fn write(&mut self, _: u32, slices: &[IoSlice<'_>]) -> Wrote {
        Wrote::Bytes(slices.iter().map(|slice| slice.len()).sum())
    }

    fn shut(&mut self, _: u32) {}

    fn drop(&mut self, _: u32, _: bool) {}
}

/// A viewer to come: `None` as `keys` for all entities.
pub struct Viewer {
    /// Its role.
    pub role: &'static str,
    /// What it subscribes to, as JSON.
    pub namespaces: &'static str,
    /// The entities that it asks for.
    pub key: Option<String>,
}

/// A shard, and the line of events that come to it.
pub struct Shop {
    core: Core,
    counters: Arc<Counters>,
    config: Arc<Config>,
    position: u64,
}

impl Shop {
    /// A shard with `count` viewers, who came in as clients do: by upgrade, `auth` and
    /// `subscribe`. Viewer `i` is the user `user_i`.
    pub fn open(count: usize, viewer: impl Fn(usize) -> Viewer) -> Shop {
        let config = Arc::new(config());
        let counters = Arc::new(Counters::default());
        let admission = Arc::new(Admission::new(count, u32::MAX, u32::MAX));
        let place = Place { shard: 0, shards: 1, last_position: 0, window: WINDOW, recent: Vec::new() };
        let core = Core::new(place, config.clone(), Arc::default(), admission.clone(), counters.clone());
        let mut shop = Shop { core, counters, config, position: 0 };
        for i in 0..count {
            assert!(admission.take_socket(), "there is a socket for each viewer");
            shop.enter(i, &viewer(i));
        }
        shop.core.flush(&mut Taking, NOW);
        shop.core.check_invariants();
        assert_eq!(shop.counters.auths.read(), count as u64, "every viewer is live");
        shop
    }

    fn enter(&mut self, i: usize, viewer: &Viewer) {
        let id = self.core.welcome(IpAddr::V4(Ipv4Addr::LOCALHOST), NOW);
        let keys = viewer.key.as_ref().map(|key| format!(r#","keys":["{key}"]"#)).unwrap_or_default();
        let subscribe =
            format!(r#"{{"type":"subscribe","data":{{"namespaces":{}{keys}}}}}"#, viewer.namespaces);
        let mut input = PLAIN_HEAD.as_bytes().to_vec();
        input.extend(client_frame(&auth(&format!("user_{i}"), viewer.role, &format!("session_{i}"))));
        input.extend(client_frame(&subscribe));
        self.core.handle_bytes(id, &mut input, NOW);
        self.core.flush(&mut Taking, NOW);
        self.core.reports().clear();
    }

    /// An event as posted, ready to be given a position again and again.
    pub fn model(&self, posted: &str) -> Envelope {
        let policy = &self.config.policy;
        let draft = policy.draft_posted(posted, &RULES).expect("the benches post sound events");
        let namespace = policy.namespace_name(draft.audience.namespace);
        let name = policy.event_name(draft.event);
        let frame = encode_event(name, namespace, &draft.data, NOW.wall, "1000000");
        Envelope::new(0, draft.event, draft.audience, frame)
    }

    /// Delivers the events of `models`, over and over, `iterations` times `burst` of them, and
    /// says how long that took without the making of them.
    pub fn run(&mut self, models: &[Envelope], burst: usize, iterations: u64) -> Duration {
        /// Turns whose events are made ahead: they should neither fill the memory nor leave the
        /// clock to dominate what is measured.
        const AHEAD: u64 = 256;
        let mut turning = models.iter().cycle();
        let mut took = Duration::ZERO;
        let mut left = iterations;
        while left > 0 {
            let turns = left.min(AHEAD);
            left -= turns;
            let events = turning.by_ref().take(turns as usize * burst);
            let line: Vec<_> = events.map(|model| self.next(model)).collect();
            let start = Instant::now();
            for (i, envelope) in line.into_iter().enumerate() {
                self.core.handle_event(envelope, NOW);
                if (i + 1) % burst == 0 {
                    while self.core.flush(&mut Taking, NOW) {}
                }
            }
            took += start.elapsed();
        }
        took
    }

    /// `count` events in the next positions.
    pub fn line(&mut self, model: &Envelope, count: usize) -> Vec<Arc<Envelope>> {
        (0..count).map(|_| self.next(model)).collect()
    }

    /// Delivers events that came together.
    pub fn deliver(&mut self, line: Vec<Arc<Envelope>>, wires: &mut impl Wires) {
        for envelope in line {
            self.core.handle_event(envelope, NOW);
        }
        while self.core.flush(wires, NOW) {}
    }

    /// Both.
    pub fn turn(&mut self, model: &Envelope, count: usize, wires: &mut impl Wires) {
        let line = self.line(model, count);
        self.deliver(line, wires);
    }

    /// Lets a viewer say something.
    pub fn hear(&mut self, slot: u32, frame: &[u8], now: Now, wires: &mut impl Wires) {
        let id = self.core.id_at(slot).expect("the viewer is there");
        self.core.handle_bytes(id, &mut frame.to_vec(), now);
        self.core.flush(wires, now);
    }

    /// How many deliveries one turn with all of `models` makes.
    pub fn deliveries(&mut self, models: &[Envelope]) -> u64 {
        let before = self.counters.deliveries.read();
        self.run(models, models.len(), 1);
        self.counters.deliveries.read() - before
    }

    fn next(&mut self, model: &Envelope) -> Arc<Envelope> {
        self.position += 1;
        Arc::new(Envelope::new(self.position, model.event, model.audience.clone(), model.frame.clone()))
    }
}

/// The settings of a node in trusted mode; no proxies, so that the shard counts addresses too.
fn config() -> Config {
    Config {
        policy: Policy::builtin(),
        gate: Gate::Trusted,
        origins: Origins::default(),
        trusted_proxies: Vec::new(),
        epoch: "bench".into(),
        info: "}".into(),
        rules: RULES,
        head_timeout_ms: 10_000,
        auth_timeout_ms: 10_000,
        ping_interval_ms: 30_000,
        pong_timeout_ms: 5_000,
        message_rate: Rate::per_minute(100),
        rate_abuse: 20,
        message_bytes_max: 64 << 10,
        deflate_min_bytes: None,
        batch_window_ms: 0,
        backlog_bytes_max: 1 << 20,
        keys_max: 1_024,
        drain_timeout_ms: 10_000,
    }
}
