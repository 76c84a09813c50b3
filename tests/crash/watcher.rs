//! One who watches, leaves, pauses, and always comes back where it was.

use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::load::{VIEWERS, Viewer};
use crate::rng::Rng;
use crate::stage::Stage;
use crate::support::now_ms;
use crate::wire::{Gone, Got, Socket};

/// How long nobody tells that a port is there.
const MOMENT: Duration = Duration::from_millis(3);
/// After so long without a word a watcher looks whether it should go on.
const LOOK: Duration = Duration::from_millis(20);

/// What one has seen since its first subscription.
#[derive(Default)]
pub struct Seen {
    /// The position at its first subscription.
    pub first: Option<u64>,
    /// Position and fingerprint of each event, as they came.
    pub events: Vec<(u64, u64)>,
}

impl Seen {
    fn last(&self) -> Option<u64> {
        self.events.last().map(|(position, _)| *position).or(self.first)
    }
}

/// A number that stands for a text.
pub fn fingerprint(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    hasher.finish()
}

/// How a watcher behaves on one connection.
enum Habit {
    Steady,
    /// Leaves after so many events, or so long.
    Leaves(u64, Duration),
    /// Stops reading after every so many events, for so long.
    Pauses(u64, Duration),
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(default)]
    id: Option<&'a str>,
}

struct Watcher<'a> {
    stage: &'a Stage,
    seen: &'a Mutex<Seen>,
    index: usize,
    viewer: Viewer,
    rng: Rng,
    /// Since when it comes back: where a replay begins, and the events that came of it.
    replayed: Option<u64>,
}

/// Watches until the run is over.
pub fn run(stage: &Stage, seen: &Mutex<Seen>, address: SocketAddr, index: usize, seed: u64) {
    let rng = Rng::new(seed ^ (0xbeef + index as u64));
    let mut watcher = Watcher { stage, seen, index, viewer: VIEWERS[index], rng, replayed: None };
    while stage.wait_up() {
        let habit = watcher.habit();
        match Socket::open(address, matches!(habit, Habit::Pauses(..))) {
            Err(Gone(_)) => stage.rest(MOMENT),
            Ok(mut socket) => match watcher.watch(&mut socket, &habit) {
                Ok(()) | Err(End::Gone) => {}
                Err(End::Wrong(what)) => {
                    stage.fail(format!("viewer {index}, {:?}: {what}", watcher.viewer));
                    return;
                }
            },
        }
    }
}

/// Why a connection is over.
enum End {
    Gone,
    Wrong(String),
}

impl From<Gone> for End {
    fn from(_: Gone) -> End {
        End::Gone
    }
}

impl Watcher<'_> {
    fn habit(&mut self) -> Habit {
        let ms = |ms| Duration::from_millis(ms);
        // A quarter of them leaves again and again, a quarter always reads slowly, the others change.
        let likely = [[40, 30, 30], [0, 1, 0], [0, 0, 1], [40, 30, 30]];
        match self.rng.weighted(&likely[self.index % 4]) {
            0 => Habit::Steady,
            1 => Habit::Leaves(self.rng.within(1, 300), ms(self.rng.within(1, 60))),
            _ => Habit::Pauses(self.rng.within(1, 500), ms(self.rng.within(10, 150))),
        }
    }

    /// One connection, to its end.
    fn watch(&mut self, socket: &mut Socket, habit: &Habit) -> Result<(), End> {
        let since = self.seen.lock().unwrap().last();
        let epoch = self.stage.look().epoch.clone();
        let auth = json!({"type": "auth", "data": {
            "userId": self.viewer.user, "role": self.viewer.role,
            "sessionId": format!("session_{}", self.index), "expiresAt": now_ms() + 3_600_000}});
        let mut subscribe = json!({"type": "subscribe", "data": {"namespaces": self.viewer.namespaces}});
        if !self.viewer.keys.is_empty() {
            subscribe["data"]["keys"] = json!(self.viewer.keys);
        }
        if let Some(id) = since {
            let epoch = epoch.expect("it was told with the position");
            subscribe["data"]["since"] = json!({"epoch": epoch, "id": id.to_string()});
        }
        // In one write: between the two nothing can come that is out of order.
        socket.send(&[&auth.to_string(), &subscribe.to_string()])?;
        self.replayed = None;
        let (opened, mut events) = (Instant::now(), 0);
        loop {
            let (calm, up, stop) = {
                let state = self.stage.look();
                (state.calm, state.up, state.stop)
            };
            match habit {
                _ if stop => return Ok(()),
                Habit::Leaves(count, time) if !calm && (events >= *count || opened.elapsed() > *time) => {
                    return Ok(());
                }
                Habit::Pauses(count, time) if !calm && up && events >= *count => {
                    events = 0;
                    std::thread::sleep(*time);
                }
                _ => {}
            }
            match socket.next(LOOK)? {
                Got::Nothing => {}
                Got::Close(code) => {
                    self.stage.tell(|state| *state.tally.closes.entry(code).or_default() += 1);
                    return match code {
                        1001 | 4103 => Ok(()),
                        code => Err(End::Wrong(format!("closed with {code}"))),
                    };
                }
                Got::Text(text) => events += u64::from(self.take(&text, since)?),
            }
        }
    }

    /// Takes in a message. Whether it is an event.
    fn take(&mut self, text: &str, since: Option<u64>) -> Result<bool, End> {
        let wrong = |what: &str| Err(End::Wrong(format!("{what}: {text:.300}")));
        let head: Head<'_> = serde_json::from_str(text).expect("a message is JSON");
        match (head.kind, head.id) {
            ("subscribed", _) => self.subscribed(&serde_json::from_str(text).unwrap(), since)?,
            ("caught_up", _) => {
                let caught_up: Value = serde_json::from_str(text).unwrap();
                let Some(replayed) = self.replayed.take() else { return wrong("no replay was under way") };
                if caught_up["data"]["replayed"] != replayed {
                    return wrong(&format!("{replayed} events were replayed"));
                }
                self.stage.look().tally.replayed += replayed;
            }
            (_, Some(id)) => {
                let position = id.parse().unwrap();
                let mut seen = self.seen.lock().unwrap();
                match seen.last() {
                    None => return wrong("an event before the first subscription"),
                    Some(last) if position <= last => return wrong(&format!("after {last} there came")),
                    Some(_) => seen.events.push((position, fingerprint(text.as_bytes()))),
                }
                drop(seen);
                if let Some(replayed) = &mut self.replayed {
                    *replayed += 1;
                }
                self.stage.tell(|state| state.seen[self.index] = position);
                return Ok(true);
            }
            ("system:notification" | "closing" | "pong", None) => {}
            _ => return wrong("not expected"),
        }
        Ok(false)
    }

    fn subscribed(&mut self, answer: &Value, since: Option<u64>) -> Result<(), End> {
        let wrong = |what: String| Err(End::Wrong(format!("{what}: {answer}")));
        let epoch = answer["data"]["epoch"].as_str().expect("an epoch");
        let known = self.stage.tell(|state| state.epoch.get_or_insert(epoch.to_owned()).clone());
        if known != epoch {
            return wrong(format!("the epoch was {known}"));
        }
        match since {
            None => {
                let first = answer["data"]["lastEventId"].as_str().expect("a position").parse().unwrap();
                self.seen.lock().unwrap().first = Some(first);
            }
            Some(_) if answer["data"]["recovered"] == true => {
                self.replayed = Some(0);
                self.stage.look().tally.resumes += 1;
            }
            Some(since) => return wrong(format!("not recovered, since {since}")),
        }
        Ok(())
    }
}
