//! A log for tests that is as slow and as unreliable as the test wants.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::journal::{Entry, Journal, Progress};

#[derive(Debug, Default)]
struct State {
    appended: Vec<Entry>,
    committed: usize,
    progress: VecDeque<Progress>,
    full: bool,
    instant: bool,
    broken: bool,
}

/// The log.
#[derive(Debug, Default)]
pub struct Faulty(Arc<Mutex<State>>);

/// The hand that moves it.
#[derive(Debug, Clone)]
pub struct Hand(Arc<Mutex<State>>);

impl Faulty {
    /// A log that commits nothing by itself.
    pub fn new() -> (Faulty, Hand) {
        let state = Arc::<Mutex<State>>::default();
        (Faulty(state.clone()), Hand(state))
    }
}

impl Hand {
    /// Positions of the events that are in the log and safe.
    pub fn log(&self) -> Vec<u64> {
        let state = self.0.lock().unwrap();
        state.appended[..state.committed].iter().map(|entry| entry.envelope.position).collect()
    }

    /// So many more events are safe.
    pub fn commit(&self, events: usize) {
        let mut state = self.0.lock().unwrap();
        state.committed += events;
        let last = state.appended[state.committed - 1].envelope.position;
        state.progress.push_back(Progress::Committed(last));
    }

    /// What is not safe by now will not be.
    pub fn refuse(&self) {
        let mut state = self.0.lock().unwrap();
        let committed = state.committed;
        state.appended.truncate(committed);
        let after = state.appended.last().map_or(0, |entry| entry.envelope.position);
        state.progress.push_back(Progress::Refused { after });
    }

    /// From now on it has room, or not.
    pub fn set_full(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }

    /// From now on whatever is appended is refused at once, or not.
    pub fn set_broken(&self, broken: bool) {
        self.0.lock().unwrap().broken = broken;
    }

    /// From now on whatever is appended is safe at once, or not.
    pub fn set_instant(&self, instant: bool) {
        self.0.lock().unwrap().instant = instant;
    }
}

impl Journal for Faulty {
    fn has_room(&self, _events: usize, _bytes: usize) -> bool {
        !self.0.lock().unwrap().full
    }

    fn append(&mut self, entry: Entry) {
        let mut state = self.0.lock().unwrap();
        let last = state.appended.last().map_or(0, |entry| entry.envelope.position);
        assert_eq!(entry.envelope.position, last + 1, "the sequencer is the only writer of order");
        state.appended.push(entry);
    }

    fn commit(&mut self) {
        if self.0.lock().unwrap().broken {
            return Hand(self.0.clone()).refuse();
        }
        let instant = {
            let state = self.0.lock().unwrap();
            state.instant.then(|| state.appended.len() - state.committed)
        };
        if let Some(events) = instant.filter(|events| *events > 0) {
            Hand(self.0.clone()).commit(events);
        }
    }

    fn poll(&mut self) -> Option<Progress> {
        self.0.lock().unwrap().progress.pop_front()
    }
}
