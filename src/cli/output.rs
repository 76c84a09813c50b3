//! What commands say, and how they end.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bad arguments or settings.
const EXIT_REFUSED: u8 = 2;

/// Says on stderr why a command does not even begin; exit code 2.
pub fn refuse(sentence: &str) -> ExitCode {
    tell(sentence);
    ExitCode::from(EXIT_REFUSED)
}

/// Says on stderr what went wrong; exit code 1.
pub fn fail(sentence: &str) -> ExitCode {
    tell(sentence);
    ExitCode::FAILURE
}

/// One line on stderr, without control characters: it may quote what a peer said.
pub fn tell(line: &str) {
    // Nobody reads a stderr that is gone, so there is nobody to tell.
    let _ = writeln!(io::stderr(), "omnicast: {}", printable(line));
}

/// Prints one line and ends the command.
pub fn print_line(line: &str) -> ExitCode {
    ended(writeln!(io::stdout().lock(), "{line}"))
}

/// The end of a command that printed: a reader that went away (`| head`) is no failure and no noise.
pub fn ended(written: io::Result<()>) -> ExitCode {
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => fail(&format!("can't write: {e}")),
        _ => ExitCode::SUCCESS,
    }
}

/// Whether stdout takes colours (no-color.org).
pub fn colours(env: impl Fn(&str) -> Option<String>) -> bool {
    io::stdout().is_terminal() && env("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `text` with its control characters escaped, C1 ones too: some terminals obey those.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

/// Milliseconds since the epoch; a clock before it counts as at it.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Ends the process with code 0 on SIGINT and SIGTERM: for commands that run until they are stopped.
///
/// # Errors
/// Those of installing the handler.
pub fn stop_on_signals() -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            std::process::exit(0);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        assert_eq!(printable("a\u{1b}[2J\r\n\u{9b}é"), "a\\u{1b}[2J\\r\\n\\u{9b}é");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let debug = |end| format!("{:?}", ended(end));
        assert_eq!(debug(Err(io::ErrorKind::BrokenPipe.into())), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(debug(Err(io::ErrorKind::StorageFull.into())), format!("{:?}", ExitCode::FAILURE));
    }
}
