//! Node after node is killed under load; whatever was acknowledged or seen stays, once.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::check::check;
use crate::load::{Event, MARKERS, VIEWERS};
use crate::poster;
use crate::rng::Rng;
use crate::site::Site;
use crate::stage::{POSTERS, Stage};
use crate::support::now_ms;
use crate::watcher::{self, Seen};

/// Rounds between two looks at the whole history.
const LOOK_EVERY: u64 = 10;

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Kill,
    Terminate,
}

/// What is asked for by the environment.
struct Wish {
    rounds: u64,
    seed: u64,
    /// `WS_JOURNAL_SYNC`; without it, one or the other.
    sync: Option<String>,
}

fn wish() -> Wish {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    Wish {
        rounds: number("OMNICAST_CRASH_ROUNDS").unwrap_or(6),
        seed: number("OMNICAST_CRASH_SEED").unwrap_or_else(now_ms),
        sync: std::env::var("OMNICAST_CRASH_SYNC").ok(),
    }
}

/// A run: its node, and the threads that surround it.
struct Run<'a> {
    site: Site,
    stage: &'a Stage,
    seen: &'a [Mutex<Seen>],
    rng: Rng,
    wish: &'a Wish,
    /// Numbers and ids of the events that all viewers waited for.
    markers: Vec<(u64, u64)>,
}

#[test]
fn what_was_acknowledged_or_seen_survives_kill_9() {
    let wish = wish();
    println!("OMNICAST_CRASH_SEED={} OMNICAST_CRASH_ROUNDS={}", wish.seed, wish.rounds);
    let began = Instant::now();
    let stage = Stage::new();
    let seen: Vec<Mutex<Seen>> = VIEWERS.iter().map(|_| Mutex::default()).collect();
    let mut rng = Rng::new(wish.seed);
    let site = Site::new(&[("WS_MAX_BACKLOG", "262144"), ("WS_PRESENCE_GRACE", "50")]);
    let (address, control) = (site.address, site.control());
    let seed = rng.next() >> 16;
    let mut run = Run { site, stage: &stage, seen: &seen, rng, wish: &wish, markers: Vec::new() };
    std::thread::scope(|scope| {
        for index in 0..POSTERS {
            let (stage, control) = (&stage, &control);
            scope.spawn(move || poster::run(stage, control, index, seed));
        }
        for (index, seen) in seen.iter().enumerate() {
            let stage = &stage;
            scope.spawn(move || watcher::run(stage, seen, address, index, seed));
        }
        // Whatever happens, the others end, and the failure is told with its seed.
        let over = Over(&stage);
        let held = run.rounds(seed);
        drop(over);
        println!("{}", run.summary(held, began.elapsed()));
    });
}

/// Ends the other threads.
struct Over<'a>(&'a Stage);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.tell(|state| state.stop = true);
    }
}

impl Run<'_> {
    /// Returns how many events there are in the end.
    fn rounds(&mut self, seed: u64) -> u64 {
        for round in 0..self.wish.rounds {
            self.settings(round);
            self.site.start();
            self.stage.up();
            if round > 0 && round % LOOK_EVERY == 0 {
                self.look(seed);
            }
            let acked = self.stage.look().acked.len();
            self.stage.wait("a post is acknowledged", |state| state.acked.len() > acked);
            std::thread::sleep(Duration::from_millis(self.rng.within(5, 400)));
            if self.rng.percent(25) {
                self.count_asks();
            }
            let ending = if self.rng.percent(90) { Ending::Kill } else { Ending::Terminate };
            match ending {
                Ending::Kill => self.site.kill(),
                Ending::Terminate => assert_eq!(self.site.terminate().code(), Some(0)),
            }
            self.stage.tell(|state| state.up = false);
            self.stage.wait("nothing went wrong", |_| true);
        }
        // Whoever did not see the very last event now needs what is on the disk only.
        self.settings(0);
        self.site.set("WS_HISTORY_EVENTS", "1");
        self.site.start();
        self.stage.up();
        let held = self.look(seed);
        let tally = self.stage.look().tally.clone();
        assert!(
            tally.resumes > 0 && tally.replayed > 0 && tally.asks > 0,
            "it got where it should: {tally:?}"
        );
        held
    }

    /// Counts how often a shard needed older history than its window.
    fn count_asks(&self) {
        let asks = self.site.metric("journal_asks_total");
        self.stage.look().tally.asks += asks;
    }

    /// What the next node runs with.
    fn settings(&mut self, round: u64) {
        let sync = self.wish.sync.as_deref().unwrap_or(["always", "interval"][round as usize % 2]);
        self.site.set("WS_JOURNAL_SYNC", sync);
        self.site.set("WS_JOURNAL_INTERVAL", self.rng.pick(&["1", "20", "200"]));
        self.site.set("WS_JOURNAL_SEGMENT", self.rng.pick(&["65536", "65536", "262144", "1048576"]));
        self.site.set("WS_HISTORY_EVENTS", self.rng.pick(&["50", "500", "65536"]));
        self.site.set("WS_SHARDS", self.rng.pick(&["1", "2", "4"]));
    }

    /// Lets everything come to rest, and looks at all of it.
    fn look(&mut self, seed: u64) -> u64 {
        self.stage.tell(|state| {
            state.calm = true;
            state.idle = [false; POSTERS];
        });
        self.stage.wait("all posts are acknowledged", |state| state.idle.iter().all(|idle| *idle));
        let n = MARKERS + self.markers.len() as u64;
        let answer = self.site.ask("POST", "/api/events", &Event::of(seed, n).body(seed, n));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let marker: u64 = answer.json()["ids"][0].as_str().unwrap().parse().unwrap();
        self.markers.push((n, marker));
        self.stage.wait("everybody has seen all", |state| state.seen.iter().all(|seen| *seen >= marker));
        self.count_asks();
        let held = check(&self.site, self.stage, self.seen, seed, &self.markers);
        let held = held.unwrap_or_else(|what| panic!("{what}"));
        self.stage.tell(|state| state.calm = false);
        held
    }

    fn summary(&self, held: u64, took: Duration) -> String {
        let state = self.stage.look();
        let (rounds, seed, tally) = (self.wish.rounds, self.wish.seed, &state.tally);
        let seen: usize = self.seen.iter().map(|seen| seen.lock().unwrap().events.len()).sum();
        format!(
            "{rounds} rounds in {:.1} s, seed {seed}: {} events acked, {held} in the log, {seen} seen, {} resumes, \
             {} replayed, {} asked of the disk, {} posts again, {} refused, closes {:?}",
            took.as_secs_f64(),
            state.acked.len(),
            tally.resumes,
            tally.replayed,
            tally.asks,
            tally.again,
            tally.refused,
            tally.closes
        )
    }
}
