//! When events are due in an open loop, and how well that was kept. Pure.
//!
//! Latency counts from the time when an event was due, not from when it was sent: a server that stalls would otherwise
//! hold up the very measurements that should show it (coordinated omission).

use std::time::Duration;

use hdrhistogram::Histogram;

/// Events at an even rate.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    start_ns: u64,
    gap_ns: f64,
    events: u64,
}

impl Schedule {
    /// `rate` events a second for `seconds`, from `start_ns` on; at least one.
    pub fn new(start_ns: u64, rate: f64, seconds: f64) -> Schedule {
        let events = (rate * seconds).round().max(1.0) as u64;
        Schedule { start_ns, gap_ns: 1e9 / rate, events }
    }

    /// How many events there are.
    pub fn len(&self) -> u64 {
        self.events
    }

    /// When event `index` is due, in ns since the start of the run.
    pub fn due_ns(&self, index: u64) -> u64 {
        // From the start each time: rounding must not add up.
        self.start_ns + (index as f64 * self.gap_ns) as u64
    }

    /// Events that are due by `now_ns`.
    pub fn due_by(&self, now_ns: u64) -> u64 {
        let Some(since) = now_ns.checked_sub(self.start_ns) else { return 0 };
        let mut count = ((since as f64 / self.gap_ns) as u64 + 1).min(self.events);
        // The division may be off by one.
        while count < self.events && self.due_ns(count) <= now_ns {
            count += 1;
        }
        while count > 0 && self.due_ns(count - 1) > now_ns {
            count -= 1;
        }
        count
    }

    /// Time between two events.
    pub fn gap(&self) -> Duration {
        Duration::from_nanos(self.gap_ns as u64)
    }
}

/// How late events were sent.
#[derive(Debug, Clone)]
pub struct Slip(Histogram<u64>);

impl Slip {
    /// None yet.
    pub fn new() -> Slip {
        Slip(latencies())
    }

    /// One event went out.
    pub fn sent(&mut self, due_ns: u64, now_ns: u64) {
        self.0.saturating_record(now_ns.saturating_sub(due_ns) / 1000);
    }

    /// The lateness that 1 % of the events passed, in ms.
    pub fn p99_ms(&self) -> f64 {
        self.0.value_at_quantile(0.99) as f64 / 1000.0
    }

    /// Whether the schedule was kept: 99 % of the events went out within a tenth of their gap, or within 2 ms, which is what
    /// the timers of a busy machine are good for.
    pub fn is_kept(&self, gap: Duration) -> bool {
        self.p99_ms() <= (gap.as_secs_f64() * 100.0).max(2.0)
    }
}

/// An empty histogram of microseconds, good to three digits. What takes longer than an hour counts as an hour.
pub fn latencies() -> Histogram<u64> {
    /// An hour.
    const US_MAX: u64 = 3_600_000_000;
    Histogram::new_with_bounds(1, US_MAX, 3).expect("the bounds and three digits are allowed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stall_counts_for_every_event_that_was_due_in_it() {
        // A server that answers in 1 ms, and stands still from 1.0 s to 2.0 s; 100 events a second.
        let schedule = Schedule::new(0, 100.0, 3.0);
        let mut corrected = latencies();
        let mut naive = latencies();
        let mut free_at = 0;
        for index in 0..schedule.len() {
            let due = schedule.due_ns(index);
            let sent = due.max(free_at);
            let begun = if (1_000_000_000..2_000_000_000).contains(&sent) { 2_000_000_000 } else { sent };
            free_at = begun + 1_000_000;
            corrected.record((free_at - due) / 1000).unwrap();
            naive.record((free_at - sent) / 1000).unwrap();
        }
        // One who waits for the answer before it looks at the clock sees one slow event of 300.
        assert_eq!(naive.value_at_quantile(0.99), 1000);
        assert!(corrected.value_at_quantile(0.99) > 900_000, "{}", corrected.value_at_quantile(0.99));
        assert!(corrected.value_at_quantile(0.75) > 300_000);
    }

    #[test]
    fn lateness_is_told_from_a_kept_schedule() {
        let gap = Duration::from_millis(100);
        let mut slip = Slip::new();
        (0..100).for_each(|i| slip.sent(i, i + 5_000_000));
        assert!(slip.is_kept(gap));
        (0..2).for_each(|i| slip.sent(i, i + 20_000_000));
        assert!(!slip.is_kept(gap) && slip.p99_ms() > 19.0);
    }

    #[test]
    fn histograms_of_several_threads_are_one() {
        let (mut a, mut b, mut both) = (latencies(), latencies(), latencies());
        for i in 1..=1000u64 {
            if i % 3 == 0 { &mut a } else { &mut b }.record(i * i).unwrap();
            both.record(i * i).unwrap();
        }
        a.add(&b).unwrap();
        for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
            assert_eq!(a.value_at_quantile(quantile), both.value_at_quantile(quantile));
        }
        assert_eq!(a.len(), 1000);
    }

    proptest! {
        #[test]
        fn as_many_are_due_as_have_a_due_time_behind(rate in 0.5..5000.0f64, seconds in 0.1..5.0f64, now in 0u64..6_000_000_000) {
            let schedule = Schedule::new(1_000, rate, seconds);
            let naive = (0..schedule.len()).filter(|i| schedule.due_ns(*i) <= now).count() as u64;
            prop_assert_eq!(schedule.due_by(now), naive);
        }
    }
}
