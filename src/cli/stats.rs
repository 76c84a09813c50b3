//! `omnicast stats`: what a node counts, once as JSON or every second on a terminal.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use crossbeam_channel::{Receiver, bounded};
use serde_json::Value;

use crate::cli::control::{CONTROL_HELP, Control};
use crate::cli::output;

/// Time between two looks.
const REFRESH: Duration = Duration::from_secs(1);
/// Most lines that are drawn.
const MAX_LINES: usize = 200;

/// The subcommand's arguments.
pub fn command() -> Command {
    Command::new("stats")
        .about("Show what a running node counts: refreshing on a terminal, JSON otherwise")
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print JSON once, on a terminal too"),
        )
        .arg(Arg::new("control").long("control").value_name("PATH").help(CONTROL_HELP))
}

/// Prints or shows the counts.
pub fn run(matches: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> ExitCode {
    let control = Control::find(matches.get_one::<String>("control").map(String::as_str), env);
    if matches.get_flag("json") || !io::stdout().is_terminal() {
        return match ask(&control) {
            Ok(stats) => output::print_line(&stats.to_string()),
            Err(sentence) => output::fail(&sentence),
        };
    }
    if let Err(e) = output::stop_on_signals() {
        return output::fail(&format!("can't listen for signals: {e}"));
    }
    output::ended(watch(&control))
}

fn ask(control: &Control) -> Result<Value, String> {
    let response = control.ask("GET", "/api/ws/stats", None)?;
    if response.status != 200 {
        return Err(format!("the node refused with status {}", response.status));
    }
    serde_json::from_slice(&response.body).map_err(|e| format!("the node's answer can't be read: {e}"))
}

/// Draws until somebody types q (and Enter: the terminal hands over whole lines), or ends the command.
fn watch(control: &Control) -> io::Result<()> {
    let quit = wait_for_q();
    let mut out = io::stdout();
    write!(out, "\x1b[2J")?;
    loop {
        let lines = match ask(control) {
            Ok(stats) => render(&stats),
            Err(sentence) => vec![output::printable(&sentence)],
        };
        // Over the old picture rather than on a cleared screen: that does not flicker.
        let mut picture = String::from("\x1b[H");
        for line in lines.iter().take(MAX_LINES) {
            picture.push_str(&format!("{line}\x1b[K\n"));
        }
        write!(out, "{picture}\x1b[K\nCtrl-C, or q and Enter, leaves\x1b[K\n\x1b[J")?;
        out.flush()?;
        if quit.recv_timeout(REFRESH).is_ok() {
            return Ok(());
        }
    }
}

/// Reports a line that begins with q.
fn wait_for_q() -> Receiver<()> {
    let (sender, receiver) = bounded(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if line.trim_start().starts_with(['q', 'Q']) && sender.send(()).is_err() {
                return;
            }
        }
        // Without a stdin there is no q: the sender stays, so that its end is not taken for one.
        std::thread::park();
        drop(sender);
    });
    receiver
}

/// A line for each count, objects indented under their name, numbers in one column.
fn render(stats: &Value) -> Vec<String> {
    let mut rows = Vec::new();
    collect(stats, 0, &mut rows);
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let line = |(name, value): (String, String)| format!("{name:width$}  {value:>12}").trim_end().to_string();
    rows.into_iter().map(line).collect()
}

fn collect(value: &Value, depth: usize, rows: &mut Vec<(String, String)>) {
    let Value::Object(fields) = value else { return };
    for (name, field) in fields {
        let name = format!("{}{}", "  ".repeat(depth), output::printable(name));
        match field {
            Value::Object(_) => {
                rows.push((name, String::new()));
                collect(field, depth + 1, rows);
            }
            Value::String(text) => rows.push((name, output::printable(text))),
            other => rows.push((name, output::printable(&other.to_string()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_in_a_column_under_their_name() {
        let stats = serde_json::json!({"connectionsByRole": {"admin": 2, "e\u{1b}[2J": 1}, "total": 12});
        let expected = [
            "connectionsByRole",
            "  admin                       2",
            "  e\\u{1b}[2J                  1",
            "total                        12",
        ];
        assert_eq!(render(&stats), expected);
        assert!(render(&serde_json::json!([1])).is_empty());
    }
}
