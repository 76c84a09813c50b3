//! What was measured, and whether all is well. Pure.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// A thread that runs so much of the time can't do more: what is measured is the generator.
const BUSY: f64 = 0.85;
/// A thread that waits for a core so much of the time adds that to every latency.
const WAITED: f64 = 0.25;

/// Percentiles in ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Latency {
    /// Of a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Latency {
            p50: ms(0.5),
            p90: ms(0.9),
            p99: ms(0.99),
            p999: ms(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}

/// How the generator itself was doing: shares of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generator {
    /// Of its busiest thread, on a processor.
    pub busy: f64,
    /// Of the thread that waited longest for one.
    pub waited: f64,
    /// Lateness that 1 % of the events passed, where there was a schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slip_p99_ms: Option<f64>,
    /// Whether it kept the schedule.
    pub kept_schedule: bool,
}

impl Generator {
    /// Whether it, and not the node, set the limit; in a sentence.
    pub fn complaint(&self) -> Option<String> {
        let percent = |share: f64| (share * 100.0).round();
        if self.busy > BUSY {
            return Some(format!(
                "the generator was the bottleneck: one of its threads ran {} % of the time, so the node may do better",
                percent(self.busy)
            ));
        }
        if !self.kept_schedule {
            let slip = self.slip_p99_ms.unwrap_or(0.0);
            return Some(format!(
                "the generator was the bottleneck: it sent 1 % of the events more than {slip:.1} ms late, which is part of the latencies"
            ));
        }
        (self.waited > WAITED).then(|| {
            format!(
                "the machine was the bottleneck: a thread of the generator waited {} % of the time for a core, which is part of \
                 the latencies",
                percent(self.waited)
            )
        })
    }
}

/// Everybody connects.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connect {
    pub name: &'static str,
    pub clients: u64,
    pub seconds: f64,
    pub per_second: f64,
    /// Of the node, for each connection.
    pub cpu_us: Option<f64>,
    /// Resident memory of the node that came with each connection.
    pub rss_bytes: Option<f64>,
    /// From the first step of a client to its last.
    pub took_ms: Latency,
    pub generator: Generator,
}

/// What became of the deliveries of a phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deliveries {
    pub expected: u64,
    pub received: u64,
    pub lost: u64,
    pub out_of_order: u64,
    pub twice: u64,
    /// To clients that must not see them.
    pub foreign: u64,
}

impl Deliveries {
    /// Whether every client got what it must, once and in order.
    pub fn is_sound(&self) -> bool {
        self.lost + self.out_of_order + self.twice + self.foreign == 0
    }

    fn add(&mut self, other: Deliveries) {
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.out_of_order += other.out_of_order;
        self.twice += other.twice;
        self.foreign += other.foreign;
    }
}

/// Events were published.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    pub name: String,
    pub events: u64,
    /// Events that the node did not take, as it may when it is overloaded.
    pub refused: u64,
    pub seconds: f64,
    pub deliveries: Deliveries,
    pub per_second: f64,
    /// Of the node, for each delivery.
    pub cpu_us: Option<f64>,
    /// From when an event was due until a client had it.
    pub latency_ms: Latency,
    #[serde(skip)]
    pub histogram: Histogram<u64>,
    pub generator: Generator,
}

/// Events were posted as fast as they were answered.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Posts {
    pub name: &'static str,
    pub connections: u64,
    pub posts: u64,
    pub events: u64,
    pub refused: u64,
    pub seconds: f64,
    /// Events a second.
    pub per_second: f64,
    /// Of the node, for each event.
    pub cpu_us: Option<f64>,
    /// From a post to its answer.
    pub answer_ms: Latency,
    pub deliveries: Deliveries,
    pub generator: Generator,
}

/// Very many came back.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comeback {
    pub live: u64,
    pub returning: u64,
    /// Events that each of them missed.
    pub behind: u64,
    /// Events a second, all the time.
    pub rate: f64,
    /// Until all were caught up and live.
    pub seconds: f64,
    /// From the first step of one to its last missed event.
    pub caught_up_ms: Latency,
    pub replayed_per_second: f64,
    /// Of the node, from the return until all were back.
    pub cpu_seconds: Option<f64>,
    /// Of those that stayed, while everybody was there.
    pub everybody_ms: Latency,
    /// Of those that stayed, while the others were away.
    pub quiet_ms: Latency,
    /// Of those that stayed, while the others came back.
    pub meanwhile_ms: Latency,
    /// p99 of those that stayed, meanwhile against everybody there.
    pub p99_to_everybody: f64,
    /// p99 of those that stayed, meanwhile against the others away.
    pub p99_to_quiet: f64,
    pub deliveries: Deliveries,
    pub generator: Generator,
    #[serde(skip)]
    pub histograms: [Histogram<u64>; 3],
}

/// Those that read slowly, or not at all.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Slow {
    pub slow: u64,
    pub paused: u64,
    pub received: u64,
    /// Have everything, once they were let.
    pub complete: u64,
    /// Live, and miss something.
    pub incomplete: u64,
    /// Closed by the node, by cause.
    pub ended: BTreeMap<String, u64>,
    /// How many the node says it closed with 4103 since the start of the run.
    pub node_closed_4103: Option<u64>,
}

/// Everything.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What was measured, in a line.
    pub target: String,
    pub url: String,
    pub pid: Option<u32>,
    pub shards: Option<u64>,
    pub clients: u64,
    pub roles: BTreeMap<String, u64>,
    pub namespaces: Vec<String>,
    pub threads: u64,
    pub connects: Vec<Connect>,
    pub phases: Vec<Phase>,
    pub posts: Vec<Posts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comeback: Option<Comeback>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<Slow>,
    /// Of all phases, warm-up included.
    pub total: Deliveries,
    /// Connections of prompt clients that ended, or never began, by cause.
    pub failures: BTreeMap<String, u64>,
    /// Where the generator or the machine set the limit.
    pub notes: Vec<String>,
    /// Whether every client got what it must.
    pub sound: bool,
}

impl Report {
    /// Adds what was delivered, and what is to be said about it.
    pub fn account(&mut self, name: &str, deliveries: Deliveries, generator: &Generator) {
        self.total.add(deliveries);
        if let Some(complaint) = generator.complaint() {
            self.notes.push(format!("{name}: {complaint}"));
        }
    }

    /// Decides whether all is well.
    pub fn conclude(&mut self) {
        if self.failures.keys().any(|cause| cause.contains("4103")) {
            self.notes.push(
                "the generator was the bottleneck: the node closed clients as slow consumers that were to read at once".into(),
            );
        }
        let slow = self.slow.as_ref().is_none_or(|slow| slow.incomplete == 0);
        self.sound = self.total.is_sound() && self.failures.is_empty() && slow;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(lost: u64, busy: f64) -> Phase {
        let mut histogram = Histogram::new(3).unwrap();
        (1..=1000).for_each(|ms| histogram.record(ms * 1000).unwrap());
        Phase {
            name: "closed".into(),
            events: 2,
            refused: 0,
            seconds: 1.0,
            deliveries: Deliveries { expected: 10, received: 10 - lost, lost, ..Deliveries::default() },
            per_second: 10.0,
            cpu_us: Some(1.5),
            latency_ms: Latency::of(&histogram),
            histogram,
            generator: Generator { busy, kept_schedule: true, ..Generator::default() },
        }
    }

    fn report(phase: Phase) -> Report {
        let mut report = Report { target: "a node".into(), ..Report::default() };
        report.account(&phase.name, phase.deliveries, &phase.generator);
        report.phases.push(phase);
        report.conclude();
        report
    }

    #[test]
    fn a_report_is_sound_when_everybody_got_everything() {
        let good = report(phase(0, 0.5));
        assert!(good.sound && good.notes.is_empty());
        assert!(!report(phase(1, 0.5)).sound);
        let mut failed = report(phase(0, 0.5));
        failed.failures.insert("cut off".into(), 1);
        failed.conclude();
        assert!(!failed.sound && failed.text().contains("1 cut off"));
        let mut slow = report(phase(0, 0.5));
        slow.slow = Some(Slow { ended: [("closed with 4103".into(), 3)].into(), ..Slow::default() });
        slow.conclude();
        assert!(slow.sound && slow.text().contains("3 closed with 4103"));
        slow.slow = Some(Slow { incomplete: 1, ..Slow::default() });
        slow.conclude();
        assert!(!slow.sound);
    }

    #[test]
    fn it_says_when_not_the_node_was_the_limit() {
        let calm = Generator { busy: 0.5, waited: 0.1, slip_p99_ms: Some(1.0), kept_schedule: true };
        assert_eq!(calm.complaint(), None);
        for (generator, part) in [
            (Generator { busy: 0.9, ..calm }, "ran 90 %"),
            (Generator { kept_schedule: false, slip_p99_ms: Some(40.0), ..calm }, "40.0 ms late"),
            (Generator { waited: 0.5, ..calm }, "waited 50 %"),
        ] {
            assert!(generator.complaint().unwrap().contains(part), "{generator:?}");
        }
        let noted = report(phase(0, 0.99));
        assert!(noted.sound && noted.text().contains("note: closed: the generator was the bottleneck"));
    }

    #[test]
    fn people_and_programs_read_the_same_figures() {
        let report = report(phase(1, 0.5));
        let text = report.text();
        let line = text.lines().find(|line| line.starts_with("closed")).unwrap();
        let cells: Vec<_> = line.split_whitespace().collect();
        let expected = [
            "closed", "2", "9/10", "1", "0", "0", "10", "1.50", "500.2", "900.1", "990.2", "999.4", "1000.4",
        ];
        assert_eq!(cells, expected, "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["phases"][0]["deliveries"]["lost"], 1);
        assert_eq!(json["phases"][0]["cpuUs"], 1.5);
        assert_eq!((&json["sound"], json["phases"][0].get("histogram")), (&false.into(), None));
    }
}
