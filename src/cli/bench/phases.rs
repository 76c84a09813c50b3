//! What is done to a node, phase by phase.

use std::time::Duration;

use crate::cli::bench::options::Scenario;
use crate::cli::bench::orders::Clock;
use crate::cli::bench::publisher::Publisher;
use crate::cli::bench::report::Generator;
use crate::cli::bench::schedule::{Schedule, Slip};
use crate::cli::bench::session::{Bench, Mark};

/// Events before the first phase: the node's memory is warm, and so are the caches.
const WARM_UP_EVENTS: u64 = 3;

impl Bench<'_> {
    /// A few events before it counts: of the kind that follows, since a server may wait for a whole burst.
    ///
    /// # Errors
    /// As for the phases.
    pub fn warm_up(&mut self) -> Result<(), String> {
        let mark = self.begin("warming up", WARM_UP_EVENTS)?;
        let first = self.publisher.next();
        let bursts_only = |scenario: &Scenario| matches!(scenario, Scenario::Storm | Scenario::Burst);
        if self.options.scenarios.iter().all(bursts_only) {
            self.at_once(&mark, 1)?;
        } else {
            self.one_at_a_time(&mark, WARM_UP_EVENTS)?;
        }
        let phase = self.end(&mark, "warm-up", first, None)?;
        let calm = Generator { kept_schedule: true, ..Generator::default() };
        self.report.account("warm-up", phase.deliveries, &calm);
        Ok(())
    }

    /// The next event when the last one has reached everybody.
    ///
    /// # Errors
    /// One sentence: the node is gone, or refuses what it must not.
    pub fn closed(&mut self) -> Result<(), String> {
        let mark = self.begin("closed", self.options.events)?;
        let first = self.publisher.next();
        self.one_at_a_time(&mark, self.options.events)?;
        self.finish("closed".into(), &mark, first, None)
    }

    fn one_at_a_time(&mut self, mark: &Mark, events: u64) -> Result<(), String> {
        let mut due = mark.delivered;
        for event in 0..events {
            due += self.run.crowd.viewers(self.publisher.next());
            self.fleet.aim(due);
            self.publisher.publish(std::iter::once(self.run.clock.now_ns()))?;
            self.publisher.settle()?;
            if !self.fleet.wait(due) {
                due = self.fleet.delivered(); // Lost; the next event is not to wait for it again.
            }
            self.bar.at(event + 1);
        }
        Ok(())
    }

    /// Many events at once, several times.
    ///
    /// # Errors
    /// As for `closed`.
    pub fn burst(&mut self) -> Result<(), String> {
        let name = format!("burst of {}", self.options.burst);
        let mark = self.begin(&name, self.options.bursts)?;
        let first = self.publisher.next();
        self.at_once(&mark, self.options.bursts)?;
        self.finish(name, &mark, first, None)
    }

    fn at_once(&mut self, mark: &Mark, bursts: u64) -> Result<(), String> {
        let burst = self.options.burst;
        let mut due = mark.delivered;
        for round in 0..bursts {
            let next = self.publisher.next();
            due += self.run.crowd.deliveries(next..next + burst);
            self.fleet.aim(due);
            let now_ns = self.run.clock.now_ns();
            self.publisher.publish(std::iter::repeat_n(now_ns, burst as usize))?;
            self.publisher.settle()?;
            let refused = (next..next + burst).filter(|seq| self.publisher.refused().contains(seq));
            due -= self.run.crowd.deliveries(refused);
            if !self.fleet.wait(due) {
                due = self.fleet.delivered();
            }
            self.bar.at(round + 1);
        }
        Ok(())
    }

    /// Events at a rate, whatever the node does.
    ///
    /// # Errors
    /// As for `closed`.
    pub fn open(&mut self) -> Result<(), String> {
        let (rate, seconds) = (self.options.open_rate(), self.options.seconds.unwrap_or(10.0));
        let name = format!("open {rate}/s");
        let mark = self.begin(&name, 0)?;
        let first = self.publisher.next();
        let schedule = Schedule::new(self.run.clock.now_ns(), rate, seconds);
        self.bar.begin(&name, schedule.len());
        let mut slip = Slip::new();
        let mut sent = 0;
        while sent < schedule.len() {
            sent = publish_due(&mut self.publisher, &schedule, sent, self.run.clock, &mut slip)?;
            self.bar.at(sent);
        }
        self.publisher.settle()?;
        self.finish(name, &mark, first, Some((&slip, schedule.gap())))
    }
}

/// Publishes all that is due, else waits for the next due time. Returns how many are out.
///
/// # Errors
/// Those of the publisher.
pub fn publish_due(
    publisher: &mut Publisher,
    schedule: &Schedule,
    sent: u64,
    clock: Clock,
    slip: &mut Slip,
) -> Result<u64, String> {
    let now_ns = clock.now_ns();
    let due = schedule.due_by(now_ns);
    if due <= sent {
        std::thread::sleep(Duration::from_nanos(schedule.due_ns(sent).saturating_sub(now_ns)));
        return Ok(sent);
    }
    publisher.publish((sent..due).map(|index| schedule.due_ns(index)))?;
    (sent..due).for_each(|index| slip.sent(schedule.due_ns(index), now_ns));
    Ok(due)
}
