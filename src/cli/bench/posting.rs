//! The phase that posts: how many events a second a node takes, and what each of them costs it.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::cli::bench::event::Maker;
use crate::cli::bench::load::{Kind, Load};
use crate::cli::bench::report::{Latency, Posts};
use crate::cli::bench::session::{Bench, Mark, deliveries};

/// Messages that may be under way to a server that does not answer them.
const WINDOW: u64 = 256;
/// Length of each kind.
const SECONDS: f64 = 3.0;

impl Bench<'_> {
    /// Posts in each way, one after the other.
    ///
    /// # Errors
    /// One sentence: the node is gone, or refuses what it must not.
    pub fn posts(&mut self) -> Result<(), String> {
        let length = Duration::from_secs_f64(self.options.seconds.unwrap_or(SECONDS));
        let Some(control) = self.target.control().cloned() else { return self.messages(length) };
        let kinds = [
            Kind { name: "single", depth: 1, batch: 1 },
            Kind { name: "pipelined", depth: self.options.pipeline, batch: 1 },
            Kind { name: "ndjson", depth: 1, batch: self.options.batch },
        ];
        for kind in kinds {
            let mark = self.begin(kind.name, 0)?;
            let maker = Maker::new(self.run.id, self.options.size);
            let connections = self.options.publishers;
            let starts = self.published.ends.clone();
            let crowd = self.run.crowd.clone();
            let load = Load {
                kind,
                connections,
                length,
                starts: &starts,
                maker: &maker,
                crowd: &crowd,
                clock: self.run.clock,
            };
            let loaded = load.run(&control)?;
            let seconds = mark.seconds();
            let (mut events, mut refused, mut expected) = (0, 0, 0);
            for (lane, (start, end)) in starts.iter().zip(&loaded.ends).enumerate().skip(1) {
                let accepted = (*start..*end).filter(|seq| !loaded.refused[lane].contains(seq));
                expected += crowd.deliveries(accepted);
                events += end - start;
                refused += loaded.refused[lane].len() as u64;
                self.published.ends[lane] = *end;
                self.published.refused[lane].extend(&loaded.refused[lane]);
            }
            let row =
                Row { name: kind.name, connections, posts: loaded.posts, events, refused, expected, seconds };
            self.report_posts(row, &mark, &loaded.answers)?;
        }
        Ok(())
    }

    /// Messages to a server that hands them on, a window of them at once.
    fn messages(&mut self, length: Duration) -> Result<(), String> {
        let mark = self.begin("messages", 0)?;
        let first = self.publisher.next();
        let mut expected = 0;
        while mark.seconds() < length.as_secs_f64() {
            let next = self.publisher.next();
            let half = next..next + WINDOW / 2;
            // All but the last half of the window are to be there before another half goes out.
            let due = mark.delivered + expected;
            expected += self.run.crowd.deliveries(half.clone());
            self.fleet.aim(due);
            let now_ns = self.run.clock.now_ns();
            self.publisher.publish(half.map(|_| now_ns))?;
            if !self.fleet.wait(due) {
                break;
            }
        }
        self.fleet.wait(mark.delivered + expected);
        let events = self.publisher.next() - first;
        let seconds = mark.seconds();
        let row =
            Row { name: "messages", connections: 1, posts: events, events, refused: 0, expected, seconds };
        let none = crate::cli::bench::schedule::latencies();
        self.report_posts(row, &mark, &none)
    }

    fn report_posts(&mut self, row: Row, mark: &Mark, answers: &Histogram<u64>) -> Result<(), String> {
        self.fleet.wait(mark.delivered + row.expected);
        let cpu_us = self.cpu_us(mark, row.events - row.refused);
        let gathered = self.gather()?;
        let deliveries = deliveries(row.expected, &gathered.counts);
        let generator = self.generator(mark, &gathered, None);
        self.report.account(&format!("posts, {}", row.name), deliveries, &generator);
        self.report.posts.push(Posts {
            name: row.name,
            connections: row.connections.into(),
            posts: row.posts,
            events: row.events,
            refused: row.refused,
            seconds: row.seconds,
            per_second: (row.events - row.refused) as f64 / row.seconds,
            cpu_us,
            answer_ms: Latency::of(answers),
            deliveries,
            generator,
        });
        Ok(())
    }
}

struct Row {
    name: &'static str,
    connections: u16,
    posts: u64,
    events: u64,
    refused: u64,
    expected: u64,
    seconds: f64,
}
