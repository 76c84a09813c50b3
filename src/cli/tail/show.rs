//! An event as one line.

use crate::cli::output::printable;
use crate::cli::tail::session::Shown;

const RESET: &str = "\x1b[0m";
const DIM: &str = "\x1b[2m";

/// Time of day (UTC), type, id and data; coloured by namespace where colours are wanted.
#[must_use]
pub fn line(event: &Shown, colours: bool) -> String {
    let (kind, id, data) = (printable(&event.kind), printable(&event.id), printable(&event.data));
    let time = time_of_day(event.timestamp_ms);
    if !colours {
        return format!("{time} {kind} {id} {data}");
    }
    let colour = match event.namespace.as_str() {
        "orders" => "\x1b[32m",
        "customers" => "\x1b[36m",
        "products" => "\x1b[34m",
        "inventory" => "\x1b[33m",
        "payments" => "\x1b[35m",
        "system" => "\x1b[31m",
        _ => "\x1b[1m",
    };
    format!("{DIM}{time}{RESET} {colour}{kind}{RESET} {DIM}{id}{RESET} {data}")
}

fn time_of_day(timestamp_ms: u64) -> String {
    let (seconds, ms) = (timestamp_ms / 1000, timestamp_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_the_event() {
        let event = Shown {
            kind: "order:created".into(),
            namespace: "orders".into(),
            timestamp_ms: 1_700_000_000_042,
            id: "9\u{1b}[2J".into(),
            data: "{\"a\":\"\u{9b}\"}".into(),
        };
        assert_eq!(line(&event, false), "22:13:20.042Z order:created 9\\u{1b}[2J {\"a\":\"\\u{9b}\"}");
        assert!(line(&event, true).contains("\x1b[32morder:created\x1b[0m"));
    }
}
