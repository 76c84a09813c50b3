//! What the threads of a run share: whether a node is there, what was acknowledged, who is where.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::load::VIEWERS;

/// Threads that post.
pub const POSTERS: usize = 3;
/// Events that posters begin in one round at most: a run of many rounds has to be read again.
const ROUND_EVENTS: u64 = 4_000;
/// Nothing that is awaited takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shared state and its bell.
pub struct Stage {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub struct State {
    /// A node is there, or about to be.
    pub up: bool,
    /// Nothing new is posted, and nobody leaves or pauses.
    pub calm: bool,
    pub stop: bool,
    /// The number of the next event, and where those of this round end.
    next: u64,
    end: u64,
    /// Ids of acknowledged events, by number.
    pub acked: HashMap<u64, u64>,
    /// Posters with nothing unacknowledged, while it is calm.
    pub idle: [bool; POSTERS],
    /// The last position that each viewer saw.
    pub seen: [u64; VIEWERS.len()],
    pub epoch: Option<String>,
    /// What went wrong.
    pub failures: Vec<String>,
    pub tally: Tally,
}

/// What happened in a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub resumes: u64,
    pub replayed: u64,
    /// Questions of shards to the journal, where that was asked for before the node ended.
    pub asks: u64,
    /// Posts sent again because the node went away before it answered.
    pub again: u64,
    /// Posts answered by 503.
    pub refused: u64,
    /// Closes by the node, by code.
    pub closes: HashMap<u16, u64>,
}

impl Stage {
    pub fn new() -> Stage {
        Stage { state: Mutex::new(State::default()), changed: Condvar::new() }
    }

    /// Also where somebody failed in the middle of a change: what that was is told by then.
    pub fn look(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and tells everybody.
    pub fn tell<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let changed = change(&mut self.look());
        self.changed.notify_all();
        changed
    }

    pub fn fail(&self, what: String) {
        self.tell(|state| state.failures.push(what));
    }

    /// Waits for something; the first failure ends it.
    pub fn wait(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.look();
        loop {
            if let Some(failure) = state.failures.first().cloned() {
                drop(state);
                panic!("{failure}");
            }
            if holds(&state) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let told =
                    format!("waited in vain until: {what}; idle {:?}, seen {:?}", state.idle, state.seen);
                drop(state);
                panic!("{told}");
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until something changes, or a moment: for what nobody tells.
    pub fn rest(&self, moment: Duration) {
        drop(self.changed.wait_timeout(self.look(), moment).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for a node. `false`: the run is over.
    pub fn wait_up(&self) -> bool {
        let state = self.changed.wait_while(self.look(), |state| !state.up && !state.stop);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        !state.stop
    }

    /// A new round: posters may begin more events.
    pub fn up(&self) {
        self.tell(|state| {
            state.up = true;
            state.end = state.next + ROUND_EVENTS;
        });
    }

    /// Numbers for so many events, unless it is calm, or enough for this round.
    pub fn take(&self, count: u64) -> Option<Range<u64>> {
        let mut state = self.look();
        if state.calm || state.next + count > state.end {
            return None;
        }
        state.next += count;
        Some(state.next - count..state.next)
    }
}
