//! One who posts without end, and sends again what was not acknowledged.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use crate::load::Event;
use crate::stage::Stage;
use crate::support::Response;
use crate::wire::{Gone, Line};

/// How long nobody tells that a socket is there.
const MOMENT: Duration = Duration::from_millis(3);

/// How one posts.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Events of a request.
    pub events: u64,
    /// Requests that are on their way at a time.
    pub depth: usize,
}

/// Single posts on a connection that stays; many on their way; many in one.
pub const STYLES: [Style; crate::stage::POSTERS] =
    [Style { events: 1, depth: 1 }, Style { events: 1, depth: 16 }, Style { events: 50, depth: 1 }];

struct Poster<'a> {
    stage: &'a Stage,
    index: usize,
    seed: u64,
    /// Requests without an answer, oldest first: the numbers of their events.
    unacked: VecDeque<Vec<u64>>,
    /// Of them, how many were sent on this connection.
    sent: usize,
}

/// Posts until the run is over.
pub fn run(stage: &Stage, control: &Path, index: usize, seed: u64) {
    let mut poster = Poster { stage, index, seed, unacked: VecDeque::new(), sent: 0 };
    while stage.wait_up() {
        if let Ok(mut line) = Line::open(control) {
            let Err(Gone(_)) = poster.post(&mut line) else { return };
            let again = std::mem::take(&mut poster.sent) as u64;
            stage.tell(|state| state.tally.again += again);
        } else {
            stage.rest(MOMENT);
        }
    }
}

impl Poster<'_> {
    /// Posts on one connection, until it breaks. `Ok`: the run is over.
    fn post(&mut self, line: &mut Line) -> Result<(), Gone> {
        let Style { events, depth } = STYLES[self.index];
        loop {
            while self.sent < depth {
                if self.sent == self.unacked.len() {
                    let Some(numbers) = self.stage.take(events) else { break };
                    self.unacked.push_back(numbers.collect());
                }
                let body = self.body(&self.unacked[self.sent]);
                self.sent += 1; // Before it is: half a request may be taken for a whole one's loss.
                line.send("POST", "/api/events", &body)?;
            }
            if self.sent > 0 {
                let answer = line.answer()?;
                self.sent -= 1;
                let numbers = self.unacked.pop_front().expect("it was sent");
                self.take(numbers, &answer);
                continue;
            }
            let (stop, up) = self.stage.tell(|state| {
                state.idle[self.index] = state.calm;
                (state.stop, state.up)
            });
            if stop {
                return Ok(());
            }
            if !up {
                return Err(Gone("the node is gone".into()));
            }
            self.stage.rest(Duration::from_millis(20));
        }
    }

    fn body(&self, numbers: &[u64]) -> String {
        let bodies: Vec<_> = numbers.iter().map(|&n| Event::of(self.seed, n).body(self.seed, n)).collect();
        bodies.join("\n")
    }

    fn take(&mut self, numbers: Vec<u64>, answer: &Response) {
        match answer.status {
            200 => {
                let ids: Vec<String> = serde_json::from_value(answer.json()["ids"].clone()).unwrap();
                assert_eq!(ids.len(), numbers.len(), "an id for each");
                let pairs = numbers.into_iter().zip(ids.iter().map(|id| id.parse().unwrap()));
                self.stage.tell(|state| state.acked.extend(pairs));
            }
            503 => {
                self.unacked.push_back(numbers);
                self.stage.tell(|state| state.tally.refused += 1);
                self.stage.rest(MOMENT);
            }
            status => self.stage.fail(format!("a post was answered by {status}: {}", answer.body)),
        }
    }
}
