//! The one place that reads a clock. Only reactors hold a [`Clock`]; below them time is an
//! argument.

use std::time::{Instant, SystemTime};

use crate::base::time::Now;

/// The node's clocks. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic side starts at one day, so that nothing is ever before zero.
    #[must_use]
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Both clocks, read once.
    #[must_use]
    pub fn now(&self) -> Now {
        const HEAD_START_MS: u64 = 86_400_000;
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Now {
            mono: HEAD_START_MS + self.start.elapsed().as_millis() as u64,
            wall: wall.map_or(0, |d| d.as_millis() as u64),
        }
    }
}
