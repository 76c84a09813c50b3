//! A report for people. Pure.

use std::fmt::Write;

use crate::cli::bench::report::{Comeback, Deliveries, Latency, Report};

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n", self.target);
        let roles: Vec<_> = self.roles.iter().map(|(role, count)| format!("{role} {count}")).collect();
        let _ = writeln!(
            out,
            "clients: {} ({}), watching {}; {} thread(s) of the generator",
            self.clients,
            roles.join(", "),
            self.namespaces.join(", "),
            self.threads
        );
        out.push_str(&self.connects_table());
        out.push_str(&self.phases_table());
        out.push_str(&self.posts_table());
        if let Some(comeback) = &self.comeback {
            out.push_str(&comeback.text());
        }
        out.push_str(&self.verdict());
        out
    }

    fn connects_table(&self) -> String {
        let head = [
            "connecting",
            "clients",
            "seconds",
            "a second",
            "CPU us each",
            "RSS B each",
            "p50 ms",
            "p99 ms",
            "max ms",
        ];
        table(
            &head,
            self.connects.iter().map(|row| {
                vec![
                    row.name.into(),
                    row.clients.to_string(),
                    format!("{:.2}", row.seconds),
                    format!("{:.0}", row.per_second),
                    optional(row.cpu_us, 1),
                    optional(row.rss_bytes, 0),
                    format!("{:.1}", row.took_ms.p50),
                    format!("{:.1}", row.took_ms.p99),
                    format!("{:.1}", row.took_ms.max),
                ]
            }),
        )
    }

    fn phases_table(&self) -> String {
        let head = [
            "phase",
            "events",
            "deliveries",
            "lost",
            "disordered",
            "twice",
            "a second",
            "CPU us each",
            "p50 ms",
            "p90",
            "p99",
            "p99.9",
            "max",
        ];
        table(
            &head,
            self.phases.iter().map(|row| {
                let mut cells = vec![
                    row.name.clone(),
                    row.events.to_string(),
                    format!("{}/{}", row.deliveries.received, row.deliveries.expected),
                    row.deliveries.lost.to_string(),
                    row.deliveries.out_of_order.to_string(),
                    row.deliveries.twice.to_string(),
                    format!("{:.0}", row.per_second),
                    optional(row.cpu_us, 2),
                ];
                cells.extend(percentiles(&row.latency_ms));
                cells
            }),
        )
    }

    fn posts_table(&self) -> String {
        let head = [
            "posts",
            "connections",
            "posts",
            "events",
            "events a second",
            "CPU us each",
            "refused",
            "answer p50 ms",
            "p99",
            "max",
        ];
        table(
            &head,
            self.posts.iter().map(|row| {
                vec![
                    row.name.into(),
                    row.connections.to_string(),
                    row.posts.to_string(),
                    row.events.to_string(),
                    format!("{:.0}", row.per_second),
                    optional(row.cpu_us, 2),
                    row.refused.to_string(),
                    format!("{:.2}", row.answer_ms.p50),
                    format!("{:.2}", row.answer_ms.p99),
                    format!("{:.2}", row.answer_ms.max),
                ]
            }),
        )
    }

    fn verdict(&self) -> String {
        let mut out = String::new();
        if let Some(slow) = &self.slow {
            let _ = writeln!(
                out,
                "\nslow {}, paused {}: {} got everything once they read on, {} live and miss events",
                slow.slow, slow.paused, slow.complete, slow.incomplete
            );
            for (cause, count) in &slow.ended {
                let _ = writeln!(out, "  {count} {cause}");
            }
            if let Some(count) = slow.node_closed_4103 {
                let _ = writeln!(out, "  the node says that it closed {count} with 4103");
            }
        }
        if !self.failures.is_empty() {
            let _ = writeln!(out, "\nconnections that ended or never began:");
        }
        for (cause, count) in &self.failures {
            let _ = writeln!(out, "  {count} {cause}");
        }
        let Deliveries { expected, received, lost, out_of_order, twice, foreign } = self.total;
        let _ = writeln!(
            out,
            "\n{received} of {expected} deliveries; {lost} lost, {out_of_order} out of order, {twice} twice, {foreign} to the wrong client"
        );
        for note in &self.notes {
            let _ = writeln!(out, "note: {note}");
        }
        out
    }
}

impl Comeback {
    fn text(&self) -> String {
        let head = ["latency of those that stayed", "p50 ms", "p90", "p99", "p99.9", "max"];
        let rows = [
            ("everybody there", &self.everybody_ms),
            ("the others away", &self.quiet_ms),
            ("the others coming back", &self.meanwhile_ms),
        ];
        let mut out = table(
            &head,
            rows.into_iter().map(|(name, latency)| {
                std::iter::once(name.to_owned()).chain(percentiles(latency)).collect()
            }),
        );
        let _ = writeln!(
            out,
            "\n{} came back at once, each {} events behind, while {} got {} events a second:\nall caught up after {:.2} s \
             (p50 {:.0} ms, p99 {:.0} ms; {:.0} replayed a second{}); p99 of those that \
             stayed {:.2} times that with everybody there, {:.2} times that with the others away",
            self.returning,
            self.behind,
            self.live,
            self.rate,
            self.seconds,
            self.caught_up_ms.p50,
            self.caught_up_ms.p99,
            self.replayed_per_second,
            self.cpu_seconds.map(|s| format!("; {s:.2} s of CPU")).unwrap_or_default(),
            self.p99_to_everybody,
            self.p99_to_quiet
        );
        out
    }
}

fn percentiles(latency: &Latency) -> [String; 5] {
    [latency.p50, latency.p90, latency.p99, latency.p999, latency.max].map(|ms| format!("{ms:.1}"))
}

fn optional(number: Option<f64>, digits: usize) -> String {
    number.map_or("-".into(), |number| format!("{number:.digits$}"))
}

/// Rows under their head, first column to the left, all others to the right; nothing without rows.
fn table<const N: usize>(head: &[&str; N], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    if rows.len() == 1 {
        return String::new();
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let mut out = String::from("\n");
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ =
                if column == 0 { write!(line, "{cell:width$}") } else { write!(line, "  {cell:>width$}") };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
